"""The control path on a real database: what is written can be gone on from."""

from datetime import timedelta
from pathlib import Path

from gateway.domain.dispatch import DispatchBatch
from gateway.domain.settlement import MeteredPeriod
from gateway.ports import Batch, Put
from gateway.storage.store import SqlStore
from tests.services.scene import CSMS, GRID, PLATFORM, TENANT, Platform, Scene, event, message, session, tree


async def test_a_day_starts_on_disk_and_goes_on_after_a_restart(tmp_path: Path) -> None:
    scene = Scene()
    cars = [f"ch-{s}-{k}" for s in (1, 2) for k in range(5)]
    await scene.store.seed(TENANT, *tree())  # the platform reads its charger list here
    async with SqlStore.open(f"sqlite:///{tmp_path}/gateway.sqlite", scene.clock) as store:
        await store.apply(Batch(tenant=TENANT, puts=tuple(Put(record=row) for row in tree())))
        scene.go_to(store)
        await scene.load()
        platform = scene.platform = Platform(scene)
        await platform.connect()
        await scene.services.tracker.report_sessions(
            PLATFORM, [session(c) for c in cars], is_history=False, request_id="cars"
        )
        platform.plug(*cars)
        await scene.pass_time(300)
        await scene.services.signals.receive(GRID, message(event(start=scene.clock.now(), max_kw=60.0)))
        await scene.pass_time(15 * 60)
        assert 50.0 <= platform.total() <= 57.01
        assert await scene.services.tracker.close_periods()
        before = scene.limits()
    async with SqlStore.open(f"sqlite:///{tmp_path}/gateway.sqlite", scene.clock) as store:
        scene.go_to(store)
        await scene.load()
        await platform.connect()
        rows = await store.find(DispatchBatch, TENANT, {"csms": CSMS})
        await scene.turn()
        assert scene.limits() == before
        again = await store.find(DispatchBatch, TENANT, {"csms": CSMS})
        assert len(again) == len(rows) + 1, "a renewal of which no answer is on disk is sent once more"
        assert again[-1].record.limits_kw.tolist() == list(before.values())
        assert scene.services.follower.not_following(TENANT) == []
        await scene.pass_time(15 * 60)
        assert platform.total() <= 57.01
        assert await scene.services.tracker.close_periods()
        periods = [row.record for row in await store.find(MeteredPeriod, TENANT)]
        assert len(periods) == 4
        assert min(p.coverage for p in periods) > 0.99
        assert sum(p.energy_kwh for p in periods) <= 57.01 * 0.5 + 110.0 * timedelta(seconds=300) / timedelta(hours=1)
