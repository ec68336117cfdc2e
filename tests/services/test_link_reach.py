"""Links of platforms that reach only some chargers, answer one by one, or hold commands longer than others."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from gateway.domain.dispatch import DispatchState
from gateway.domain.errors import InvalidInput
from gateway.domain.topology import Charger, EnforcementClass
from gateway.services.track_fleet import FleetTracker, TrackSettings
from tests.services.scene import CSMS, GRID, PLATFORM, TENANT, Scene, event, message, tree

NOBODY = np.zeros(0, dtype=np.int32)


def positions(*numbers: int) -> "np.ndarray[tuple[int], np.dtype[np.int32]]":
    return np.array(numbers, dtype=np.int32)


def unenforced() -> list[object]:
    return [replace(r, enforcement=EnforcementClass.C) if isinstance(r, Charger) else r for r in tree()]


async def test_who_cannot_be_reached_counts_at_the_worst_and_the_others_make_room() -> None:
    scene = Scene()
    platform = await scene.start(rows=unenforced())
    assert platform.link is not None
    await scene.services.signals.receive(GRID, message(event(start=scene.clock.now(), max_kw=60.0)))
    await scene.pass_time(60)
    place = platform.chargers.index("ch-1-0")
    platform.link.reach(positions(place), is_reachable=False)
    platform.disobeys.add("ch-1-0")
    platform.received.clear()
    await scene.pass_time(60)
    assert all(place not in batch.charger_index for batch in platform.received), "nobody is told what cannot be done"
    assert sum(kw for c, kw in scene.limits().items() if c != "ch-1-0") <= 57.0 - 11.0 + 0.01
    assert platform.total() <= 57.01
    assert scene.state("ch-1-0") is DispatchState.NONE
    platform.disobeys.clear()
    platform.link.reach(positions(place), is_reachable=True)
    await scene.pass_time(20)
    assert any(place in batch.charger_index for batch in platform.received), "o44: it is told again at once"
    assert scene.state("ch-1-0") in {DispatchState.ACCEPTED, DispatchState.FOLLOWED}


async def test_a_new_car_is_not_counted_at_what_the_one_before_it_accepted() -> None:
    scene = Scene()
    platform = await scene.start(rows=unenforced())
    assert platform.link is not None
    await scene.services.signals.receive(GRID, message(event(start=scene.clock.now(), max_kw=45.0)))
    await scene.pass_time(60)
    place = platform.chargers.index("ch-1-0")
    book = scene.services.follower.book(TENANT)
    view = scene.services.tracker.view(TENANT)
    i = book.charger_ids.index("ch-1-0")

    def counted() -> float:
        now, rules = scene.clock.now().timestamp(), scene.services.follower.rules
        return float(book.counted_kw(view.lapsed_kw, np.full(10, np.nan), now, rules)[i])

    assert counted() < 11.0
    platform.link.reach(positions(place), is_reachable=True)
    assert counted() == 11.0
    await scene.turn()
    await scene.turn()
    assert counted() < 11.0


@pytest.mark.parametrize("is_sent_again", [False, True], ids=["not-sent-yet", "sent-again"])
@pytest.mark.parametrize("enforcement", [EnforcementClass.B, EnforcementClass.C], ids=["b", "c"])
async def test_after_a_restart_chargers_that_began_anew_still_hold_nothing(
    enforcement: EnforcementClass,
    is_sent_again: bool,
) -> None:
    scene = Scene()
    platform = await scene.start(
        rows=[replace(r, enforcement=enforcement) if isinstance(r, Charger) else r for r in tree()]
    )
    assert platform.link is not None
    await scene.services.signals.receive(GRID, message(event(start=scene.clock.now(), max_kw=6.0)))
    await scene.pass_time(120)

    def counted() -> list[float]:
        picture = scene.services.dispatcher._controls[TENANT].look()
        powers, rules = np.full(10, np.nan), scene.services.follower.rules
        return list(picture.book.counted_kw(picture.view.lapsed_kw, powers, picture.now, rules)[:5].round(2))

    held = counted()
    platform.answers = False
    platform.link.reach(positions(0, 1, 2, 3, 4), is_reachable=True)
    if is_sent_again:
        await scene.services.dispatcher.step(TENANT)
        await platform.read()
    assert await scene.services.follower.flush()
    live = counted()
    assert min(live) >= 4.14
    assert sum(held) < sum(live)
    await scene.restart(keeps_stream=False)
    assert all(after >= before for after, before in zip(counted(), live, strict=True))


async def test_targets_count_as_no_better_than_the_way_to_their_platform() -> None:
    scene = Scene()
    await scene.store.seed(TENANT, *tree())

    async def lapsed_kw(best: EnforcementClass, csms: str = CSMS) -> set[float]:
        settings = TrackSettings(best_class={(TENANT, csms): best})
        tracker = FleetTracker(store=scene.store, clock=scene.clock, ids=scene.ids, tenants=[TENANT], settings=settings)
        await tracker.load()
        return set(tracker.view(TENANT).lapsed_kw.tolist())

    assert await lapsed_kw(EnforcementClass.C) == {11.0}, "the inventory says B"
    assert await lapsed_kw(EnforcementClass.B) == {4.14}
    assert await lapsed_kw(EnforcementClass.A) == {4.14}, "never better than the inventory"
    assert await lapsed_kw(EnforcementClass.C, "another") == {4.14}


async def test_commands_are_settled_one_by_one() -> None:
    scene = Scene()
    platform = await scene.start()
    link = platform.link
    assert link is not None
    platform.answers = False
    await scene.services.signals.receive(GRID, message(event(start=scene.clock.now(), max_kw=60.0)))
    await scene.pass_time(5)
    sequence = platform.received[-1].sequence
    first, second, third = (platform.chargers.index(f"ch-1-{k}") for k in range(3))
    link.settle(sequence, positions(first), positions(second), ["full"])
    assert [scene.state(f"ch-1-{k}") for k in range(3)] == [
        DispatchState.ACCEPTED,
        DispatchState.REJECTED,
        DispatchState.SENT,
    ]
    link.settle(sequence, positions(third), NOBODY, [])
    assert scene.state("ch-1-2") is DispatchState.ACCEPTED
    link.settle(sequence - 1_000, positions(0), NOBODY, [])
    for wrong in (positions(99), positions(-1)):
        with pytest.raises(InvalidInput):
            link.settle(sequence, wrong, NOBODY, [])
        with pytest.raises(InvalidInput):
            link.reach(wrong, is_reachable=False)
    with pytest.raises(InvalidInput):
        link.settle(sequence, NOBODY, positions(first), [])


@pytest.mark.parametrize("word", ["ack", "settle"])
async def test_others_are_looked_at_as_soon_as_a_charger_refuses(word: str) -> None:
    scene = Scene()
    platform = await scene.start()
    link, dispatcher = platform.link, scene.services.dispatcher
    assert link is not None
    platform.answers = False
    await scene.services.signals.receive(GRID, message(event(start=scene.clock.now(), max_kw=60.0)))
    await scene.pass_time(5)
    sequence = platform.received[-1].sequence
    first, second = (platform.chargers.index(f"ch-1-{k}") for k in range(2))
    link.settle(sequence, positions(first), NOBODY, [])
    assert not dispatcher.is_due(TENANT), "all is as it was thought"
    if word == "ack":
        link.ack(sequence, positions(second), ["full"])
    else:
        link.settle(sequence, NOBODY, positions(second), ["full"])
    assert dispatcher.is_due(TENANT)


async def test_a_platform_may_hold_commands_longer_and_is_renewed_as_seldom() -> None:
    scene = Scene()
    platform = await scene.start()
    long = timedelta(minutes=15)
    platform.link = await scene.services.dispatcher.connect(PLATFORM, platform.chargers, "", lease=long)
    assert platform.link.lease == long
    await scene.pass_time(10)
    platform.received.clear()
    await scene.pass_time(280)
    assert platform.received == [], "nothing to renew within a third of the lease"
    await scene.pass_time(40)
    assert platform.received
    assert platform.received[-1].lease_until > scene.clock.now() + timedelta(minutes=13)
