"""What may change while a word of an authority is being written, and what must not be lost with it."""

import asyncio
from datetime import timedelta

import pytest

from gateway.domain.errors import StorageUnavailable
from gateway.domain.limits import Limit
from gateway.ports import Batch
from gateway.services.gather_signals import ProgramRules
from tests.services.scene import GRID, OPERATOR, TENANT, VTN, Scene, event, message


def with_patience(programs: dict[str, ProgramRules] | None = None) -> Scene:
    """Return a scene in which a write may take its time."""
    scene = Scene(programs=programs)
    scene._patience_s = 10.0
    scene.services = scene._build()
    return scene


async def test_an_authority_that_is_lost_again_while_its_return_is_written_stays_lost() -> None:
    scene = with_patience({VTN: ProgramRules(is_unconditional=True)})
    await scene.start(cars=0)
    signals = scene.services.signals
    await signals.receive(GRID, message(event(start=scene.clock.now())))
    assert VTN in signals.lost
    scene.store.hang = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(signals.contact(GRID, VTN, is_lost=False))
        await asyncio.sleep(0.01)
        tasks.create_task(signals.contact(GRID, VTN, is_lost=True))
        await asyncio.sleep(0.01)
        hang, scene.store.hang = scene.store.hang, None
        hang.set()
    assert VTN in signals.lost
    assert signals.lost_nodes(TENANT) == {"vpp": frozenset({VTN})}
    await scene.restart(keeps_stream=False)
    assert VTN in scene.services.signals.lost
    await scene.services.signals.contact(GRID, VTN, is_lost=False)
    assert scene.services.signals.lost == frozenset(), "found in the end"


def at_vpp(scene: Scene) -> list[float]:
    return sorted(limit.max_kw for limit in scene.services.signals.limits_by_node(TENANT).get("vpp", ()))


async def test_a_reduction_that_acts_from_memory_outlasts_words_about_other_events() -> None:
    scene = Scene()
    await scene.start(cars=0)
    signals, now = scene.services.signals, scene.clock.now()
    scene.store.is_down = True
    with pytest.raises(StorageUnavailable):
        await signals.receive(GRID, message(event("e1", start=now, max_kw=30.0)))
    scene.store.is_down = False
    await signals.receive(GRID, message(event("e2", start=now, max_kw=60.0), raw_id="raw-2"))
    assert at_vpp(scene) == [30.0, 60.0], "nobody took the first one back"
    await signals.receive(GRID, message(event("e1", start=now, max_kw=40.0), raw_id="raw-3"))
    assert at_vpp(scene) == [40.0, 60.0], "now it is on disk as it was said last"


async def test_a_message_that_names_every_event_takes_back_what_acted_from_memory() -> None:
    scene = Scene()
    await scene.start(cars=0)
    signals, now = scene.services.signals, scene.clock.now()
    scene.store.is_down = True
    with pytest.raises(StorageUnavailable):
        await signals.receive(GRID, message(event("e1", start=now, max_kw=30.0)))
    scene.store.is_down = False
    await signals.receive(GRID, message(event("e2", start=now, max_kw=60.0), raw_id="raw-2", complete=True))
    assert at_vpp(scene) == [60.0]


async def test_an_order_whose_sender_gave_up_while_it_was_written_acts_when_it_is_repeated() -> None:
    scene = with_patience()
    await scene.start(cars=0)
    apply = scene.store.apply

    async def too_late(batch: Batch) -> None:
        await apply(batch)
        await asyncio.Event().wait()

    end = scene.clock.now() + timedelta(hours=2)

    async def order() -> Limit:
        return await scene.services.signals.set_manual_limit(
            OPERATOR, node_id="c-1", max_kw=20.0, start=None, end=end, reason="fuse", request_id="m1"
        )

    async def withdraw(limit_id: str) -> Limit:
        return await scene.services.signals.withdraw_manual_limit(
            OPERATOR, limit_id=limit_id, reason="mended", request_id="w1"
        )

    scene.store.apply = too_late  # type: ignore[method-assign]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(order(), 0.02)
    scene.store.apply = apply  # type: ignore[method-assign]
    limit = await order()
    assert list(scene.services.signals.limits_by_node(TENANT)["c-1"]) == [limit]
    scene.store.apply = too_late  # type: ignore[method-assign]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(withdraw(limit.id), 0.02)
    scene.store.apply = apply  # type: ignore[method-assign]
    withdrawn = await withdraw(limit.id)
    assert scene.services.signals.manual_limits(OPERATOR) == []
    await order()
    assert scene.services.signals.limits_by_node(TENANT).get("c-1", []) in ([], [withdrawn]), (
        "a repetition opens nothing"
    )


async def test_a_reduction_whose_sender_gave_up_while_it_was_written_acts_from_memory() -> None:
    scene = with_patience()
    await scene.start(cars=0)
    scene.store.hang = asyncio.Event()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(
            scene.services.signals.receive(GRID, message(event(start=scene.clock.now(), max_kw=30.0))), 0.02
        )
    assert at_vpp(scene) == [30.0]


async def test_an_authority_whose_return_was_given_up_while_it_was_written_can_return_later() -> None:
    scene = with_patience({VTN: ProgramRules(is_unconditional=True)})
    await scene.start(cars=0)
    signals = scene.services.signals
    scene.store.hang = asyncio.Event()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(signals.contact(GRID, VTN, is_lost=False), 0.02)
    scene.store.hang = None
    assert VTN in signals.lost
    await signals.contact(GRID, VTN, is_lost=False)
    assert signals.lost == frozenset()
