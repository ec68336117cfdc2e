"""What may change while the fleet is read or written: cars that come meanwhile, clocks, stores that do not answer."""

import asyncio
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from gateway.domain.bids import Schedule
from gateway.domain.errors import StorageUnavailable
from gateway.domain.fleet import RegisterReading
from gateway.domain.topology import Node
from gateway.ports import Batch
from tests.fakes.clock import SetClock
from tests.services.scene import PLATFORM, TENANT, Scene, session


async def plug_in(scene: Scene, charger: str, request_id: str) -> int:
    return await scene.services.tracker.report_sessions(
        PLATFORM, [session(charger)], is_history=False, request_id=request_id
    )


def cars(scene: Scene) -> list[str]:
    view = scene.services.tracker.view(TENANT)
    return [view.tree.charger_ids[i] for i in np.flatnonzero(view.has_session).tolist()]


async def test_a_car_that_comes_while_a_changed_tree_is_read_is_there_afterwards() -> None:
    scene = Scene()
    await scene.start(cars=0)
    find, gate = scene.store.find, asyncio.Event()

    async def slowly(kind: Any, *args: Any, **options: Any) -> Any:
        if kind is RegisterReading:
            await gate.wait()
        return await find(kind, *args, **options)

    scene.store.find = slowly  # type: ignore[method-assign]
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(scene.services.tracker.reload(TENANT))
        await asyncio.sleep(0.01)
        await plug_in(scene, "ch-1-0", "r1")
        gate.set()
    assert cars(scene) == ["ch-1-0"]


async def test_a_report_whose_sender_gave_up_while_it_was_written_counts_when_it_is_repeated() -> None:
    scene = Scene()
    await scene.start(cars=0)
    apply = scene.store.apply

    async def too_late(batch: Batch) -> None:
        await apply(batch)
        await asyncio.Event().wait()

    scene.store.apply = too_late  # type: ignore[method-assign]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(plug_in(scene, "ch-1-0", "r1"), 0.02)
    scene.store.apply = apply  # type: ignore[method-assign]
    assert await plug_in(scene, "ch-1-0", "r1") == 1
    assert cars(scene) == ["ch-1-0"]


async def with_a_clock_set_back() -> Scene:
    scene = Scene()
    scene.clock = SetClock()
    scene.store._clock = scene.clock
    scene.services = scene._build()
    platform = await scene.start()
    scene.clock.ahead = -timedelta(hours=1)
    platform._measured_at = scene.clock.now()
    return scene


async def test_after_the_clock_was_set_back_measurements_go_on() -> None:
    scene = await with_a_clock_set_back()
    assert scene.platform is not None
    scene.platform.cars["ch-1-0"] = 6.0
    await scene.pass_time(60)
    assert scene.services.tracker.view(TENANT).power_kw[0] == 6.0
    scene.platform.beside_kw[1] = 12.0
    await scene.pass_time(130)
    assert scene.services.tracker.other_kw(TENANT, "site-1") == pytest.approx(12.0, abs=0.5)


async def test_after_the_clock_was_set_back_old_measurements_grow_stale() -> None:
    scene = await with_a_clock_set_back()
    scene.clock.move(seconds=600)
    assert np.isnan(scene.services.tracker.view(TENANT).power_kw).all()


def fail_once(scene: Scene, unread: type[object]) -> None:
    """Let the store refuse the next reading of one kind of rows."""
    find, failures = scene.store.find, 1

    async def at_last(kind: Any, *args: Any, **options: Any) -> Any:
        nonlocal failures
        if kind is unread and failures:
            failures -= 1
            raise StorageUnavailable("database is locked")
        return await find(kind, *args, **options)

    scene.store.find = at_last  # type: ignore[method-assign]


async def test_a_changed_tree_is_read_again_when_the_store_did_not_answer() -> None:
    scene = Scene()
    await scene.start(cars=0)
    fail_once(scene, Node)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(scene.services.tracker.run())
        await asyncio.sleep(0.01)
        lone = Node(
            id="lone",
            tenant=TENANT,
            parent="vpp",
            kind=scene.services.tracker.view(TENANT).nodes["site-1"].kind,
            name="lone",
            max_import_kw=10.0,
            fail_safe_import_kw=1.0,
        )
        await scene.store.seed(TENANT, lone)
        await asyncio.sleep(0.01)
        assert scene.services.tracker.find_node(TENANT, "lone") is None
        scene.clock.move(seconds=60)
        await asyncio.sleep(0.01)
        assert scene.services.tracker.find_node(TENANT, "lone") is not None
        running.cancel()


async def test_the_control_loop_outlives_a_store_that_cannot_be_read() -> None:
    scene = Scene()
    await scene.start(cars=0)
    fail_once(scene, Schedule)
    now = scene.clock.now()
    schedule = Schedule(
        id="schedule-1",
        tenant=TENANT,
        node="site-1",
        connection_point="541448820000000015",
        delivery_day="2025-10-15",
        start=now,
        step_minutes=15,
        power_kw=(20.0,),
        cause="bid:b",
        made_at=now,
    )
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(scene.services.dispatcher.run())
        await asyncio.sleep(0.01)
        await scene.store.seed(TENANT, schedule)
        await asyncio.sleep(0.05)
        assert not running.done()
        scene.clock.move(seconds=60)
        await asyncio.sleep(0.05)
        assert scene.services.dispatcher._controls[TENANT].schedules == (schedule,)
        running.cancel()
