"""Commands that went out from memory: nobody waits for them to be written, and nothing about them is lost (G1)."""

import asyncio
from dataclasses import replace
from datetime import timedelta

from structlog.testing import capture_logs

from gateway.domain.dispatch import CommandRoster, DispatchBatch
from gateway.observe import COMMANDS_UNWRITTEN
from gateway.ports import Batch
from gateway.services.plan_dispatch.backlog import Unwritten
from tests.services.scene import OPERATOR, TENANT, Platform, Scene


async def tighten(scene: Scene, kw: float) -> None:
    """Let an operator's limit be there, and look at it at once."""
    await scene.services.signals.set_manual_limit(
        OPERATOR,
        node_id="vpp",
        max_kw=kw,
        start=None,
        end=scene.clock.now() + timedelta(hours=3),
        reason="x",
        request_id=f"limit-{kw:g}",
    )


async def gone_out_from_memory(scene: Scene, platform: Platform, looks: int) -> set[int]:
    """Let the store fail while leases are renewed; return the sequence numbers that went out meanwhile."""
    scene.store.is_down = True
    known = {row.sequence for row in scene.store.all(DispatchBatch, TENANT)}
    for _ in range(looks):
        await scene.pass_time(60)
    return {batch.sequence for batch in platform.received} - known


async def test_g1_a_command_is_written_alone_whatever_waits_to_be_written() -> None:
    scene = Scene()
    platform = await scene.start()
    await tighten(scene, 30.0)
    waiting = await gone_out_from_memory(scene, platform, 5)
    assert len(waiting) > 3
    tried: list[Batch] = []
    apply = scene.store.apply

    async def seen(batch: Batch) -> None:
        tried.append(batch)
        await apply(batch)

    scene.store.apply = seen  # type: ignore[method-assign]
    scene.store.is_down = False
    await tighten(scene, 20.0)
    await scene.services.dispatcher.step(TENANT)
    rows = [put.record for batch in tried for put in batch.puts if isinstance(put.record, DispatchBatch)]
    assert len(rows) == 1
    assert rows[0].sequence not in waiting
    assert await scene.services.dispatcher.save()
    assert waiting <= {row.sequence for row in scene.store.all(DispatchBatch, TENANT)}


async def test_g1_what_went_out_from_memory_is_written_by_a_task_of_its_own() -> None:
    scene = Scene()
    platform = await scene.start()
    waiting = await gone_out_from_memory(scene, platform, 3)
    assert not await scene.services.dispatcher.save()
    scene.store.is_down = False
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(scene.services.dispatcher.run())
        for _ in range(10):
            await asyncio.sleep(0)
            scene.clock.move(seconds=5)
            if waiting <= {row.sequence for row in scene.store.all(DispatchBatch, TENANT)}:
                break
        running.cancel()
    assert waiting <= {row.sequence for row in scene.store.all(DispatchBatch, TENANT)}


async def test_g1_a_reduction_leaves_while_the_store_hangs_over_what_waits() -> None:
    scene = Scene()
    platform = await scene.start()
    await gone_out_from_memory(scene, platform, 3)
    scene.store.is_down = False
    await tighten(scene, 30.0)
    scene.store.hang = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        saving = tasks.create_task(scene.services.dispatcher.save())
        await asyncio.sleep(0)
        await scene.services.dispatcher.step(TENANT)
        assert not saving.done()
        await platform.read()
        assert platform.total() <= 28.51
        scene.store.hang.set()
        assert await saving


async def test_g1_a_reduction_that_went_out_from_memory_is_in_the_audit_afterwards() -> None:
    scene = Scene()
    platform = await scene.start()
    await tighten(scene, 30.0)
    scene.store.is_down = True
    platform.received.clear()
    await scene.services.dispatcher.step(TENANT)
    await platform.read()
    cut = platform.received[0]
    await scene.pass_time(120)
    assert not [one for one in scene.store.all(DispatchBatch, TENANT) if one.id == cut.dispatch_id]
    scene.store.is_down = False
    assert await scene.services.dispatcher.save()
    audit = [one.entry for one in await scene.store.audit_of(TENANT, "dispatch", cut.dispatch_id)]
    assert [one.action for one in audit] == ["dispatch.send"]
    assert float(audit[0].detail["total_kw"]) <= 28.51
    renewals = {batch.dispatch_id for batch in platform.received[1:]}
    assert renewals
    entries = [one.entry for one in await scene.store.audit_entries()]
    assert not [one for one in entries if one.object_id in renewals], "renewing decides nothing"


async def test_g1_what_is_let_go_unwritten_in_a_very_long_outage_is_counted() -> None:
    scene = Scene()
    platform = await scene.start()
    waiting = await gone_out_from_memory(scene, platform, 2)
    row = scene.store.all(DispatchBatch, TENANT)[-1]
    roster = scene.store.all(CommandRoster, TENANT)[-1]
    backlog = scene.services.dispatcher._controls[TENANT].sender.backlog
    before = COMMANDS_UNWRITTEN._value.get()
    with capture_logs() as logs:
        backlog.keep(Unwritten(row=replace(row, id=f"more-{n}"), roster=roster, audit=()) for n in range(1_000))
    assert COMMANDS_UNWRITTEN._value.get() - before == len(waiting)
    assert [(line["event"], line["count"]) for line in logs] == [
        ("commands that went out will never be written", len(waiting))
    ]
    scene.store.is_down = False
    assert await scene.services.dispatcher.save()
    rows = scene.store.all(DispatchBatch, TENANT)
    assert {f"more-{n}" for n in range(1_000)} <= {one.id for one in rows}, "the newest are kept"
    assert not waiting & {one.sequence for one in rows}
