"""What may change while a command is under way: streams, platforms, clocks, and rows read back in another order."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from gateway.domain.commands import CommandBook
from gateway.domain.dispatch import DispatchBatch, DispatchOutcome, DispatchState
from gateway.domain.identity import Principal, Role
from gateway.domain.topology import Charger, EnforcementClass
from gateway.ports import Batch
from gateway.services.plan_dispatch import DispatchLink, LinkBatch
from tests.fakes.clock import SetClock
from tests.services.scene import CSMS, GRID, OPERATOR, PLATFORM, SETTINGS, TENANT, Scene, event, message, tree

OTHER = Principal(tenant=TENANT, actor="csms-other", roles=frozenset({Role.CSMS}), csms="csms-other")
NOBODY = np.array([], dtype=np.int32)


async def change_platform(scene: Scene, *charger_ids: str, csms: str) -> None:
    """Write chargers as another platform's, and follow the tree."""
    rows = [row for row in scene.store.all(Charger, TENANT) if row.id in charger_ids]
    await scene.store.seed(TENANT, *(replace(row, csms=csms) for row in rows))
    await scene.services.tracker.reload(TENANT)


def newest_sequence(scene: Scene) -> int:
    return max(row.sequence for row in scene.store.all(DispatchBatch, TENANT))


# ---------------------------------------------------------------- a platform that connects twice


async def reconnect_during_a_write(charger_ids: list[str]) -> tuple[Scene, DispatchLink]:
    """Let a platform come back with fewer chargers while a reduction for all of them is being written."""
    scene = Scene()
    scene._patience_s = 10.0
    scene.services = scene._build()
    platform = await scene.start()
    await scene.services.signals.receive(GRID, message(event(start=scene.clock.now(), max_kw=40.0)))
    scene.store.hang = asyncio.Event()
    step = asyncio.create_task(scene.services.dispatcher.step(TENANT))
    await asyncio.sleep(0.01)
    assert not step.done(), "the write hangs"
    link = await scene.services.dispatcher.connect(PLATFORM, charger_ids, platform.token)
    hang, scene.store.hang = scene.store.hang, None
    hang.set()
    await step
    return scene, link


@pytest.mark.parametrize("charger_ids", [["ch-1-0"], ["ch-2-4", "ch-1-3"]])
async def test_a_platform_that_comes_back_with_fewer_chargers_during_a_write_gets_only_theirs(
    charger_ids: list[str],
) -> None:
    scene, link = await reconnect_during_a_write(charger_ids)
    batch = await link.next()
    told = {charger_ids[i]: kw for i, kw in zip(batch.charger_index.tolist(), batch.limit_kw.tolist(), strict=True)}
    assert told == {charger_id: scene.limits()[charger_id] for charger_id in charger_ids}
    assert sum(kw < 11.0 for kw in told.values()) == len(charger_ids)


# ---------------------------------------------------------------- an order that comes while something is written


async def test_no_increase_leaves_after_an_order_that_came_while_it_was_written() -> None:
    scene = Scene()
    scene._patience_s = 10.0
    scene.services = scene._build()
    platform = await scene.start()
    begin = scene.clock.now()
    await scene.services.signals.receive(GRID, message(event(start=begin, max_kw=60.0, minutes=5)))
    await scene.pass_time(360)
    assert platform.total() <= 57.0
    apply, gate = scene.store.apply, asyncio.Event()

    async def slowly(batch: Batch) -> None:
        if any(isinstance(put.record, DispatchBatch) and put.record.limits_kw.max() > 6.0 for put in batch.puts):
            await gate.wait()
        await apply(batch)

    scene.store.apply = slowly  # type: ignore[method-assign]
    step = None
    while step is None or step.done():
        if step is not None:
            await platform.read()
        scene.clock.move(seconds=5)
        platform.measure()
        step = asyncio.create_task(scene.services.dispatcher.step(TENANT))
        await asyncio.sleep(0.01)
    scene.store.apply = apply  # type: ignore[method-assign]
    again = event("e2", start=scene.clock.now(), max_kw=60.0)
    await scene.services.signals.receive(GRID, message(again, raw_id="raw-2"))
    gate.set()
    await step
    await platform.read()
    assert platform.total() <= 60.0, "it was known when the increase could leave"
    await scene.pass_time(30)
    assert platform.total() <= 57.0


# ---------------------------------------------------------------- chargers that move between platforms


async def test_a_charger_of_another_platform_is_commanded_anew_and_its_acknowledgement_counts() -> None:
    scene = Scene()
    platform = await scene.start()
    moved = scene.services.follower.book(TENANT).charger_ids.index("ch-1-0")
    await change_platform(scene, "ch-1-0", csms="csms-other")
    link = await scene.services.dispatcher.connect(OTHER, ["ch-1-0"], "")
    await scene.services.dispatcher.step(TENANT)
    book = scene.services.follower.book(TENANT)
    assert scene.state("ch-1-0") is DispatchState.SENT, "what the old platform accepted is not what the new one did"
    batch = await link.next()
    assert batch.sequence < platform.received[-1].sequence, "every platform has numbers of its own"
    link.ack(batch.sequence, NOBODY, [])
    assert scene.state("ch-1-0") is DispatchState.ACCEPTED
    assert book.acked_sequence[moved] == book.sequence[moved] == batch.sequence


async def test_a_resume_token_of_the_new_platform_says_nothing_about_what_the_old_one_sent() -> None:
    scene = Scene()
    await scene.start()
    await change_platform(scene, "ch-1-0", csms="csms-other")
    link = await scene.services.dispatcher.connect(OTHER, ["ch-1-0"], "5000@csms-other")
    await scene.services.dispatcher.step(TENANT)
    assert link.has_pending


async def test_a_charger_that_left_a_platform_keeps_its_share_reserved_while_nobody_commands_it() -> None:
    scene = Scene()
    await scene.start()
    moved = scene.services.follower.book(TENANT).charger_ids.index("ch-1-0")
    await change_platform(scene, "ch-1-0", csms="csms-other")
    picture = scene.services.dispatcher._controls[TENANT].look()
    assert not picture.is_connected[moved], "the stream of the old platform commands it no more"
    assert picture.is_loose[moved]
    assert picture.counted_kw[moved] == 11.0, "it may still hold what the old platform passed on"


async def test_after_a_restart_rows_of_the_old_platform_do_not_speak_for_the_new_one() -> None:
    scene = Scene()
    platform = await scene.start()
    await change_platform(scene, "ch-1-0", csms="csms-other")
    platform.chargers.remove("ch-1-0")
    await scene.restart()
    assert scene.state("ch-1-0") is DispatchState.NONE
    assert scene.state("ch-1-1") is not DispatchState.NONE


# ---------------------------------------------------------------- a tree that changes while an answer is on its way


async def with_a_reduction_on_its_way() -> tuple[Scene, LinkBatch]:
    """Let a platform read a reduction that it has not answered yet."""
    scene = Scene()
    platform = await scene.start()
    await scene.services.signals.receive(GRID, message(event(start=scene.clock.now(), max_kw=40.0)))
    await scene.services.dispatcher.step(TENANT)
    assert platform.link is not None
    return scene, await platform.link.next()


async def change_tree(scene: Scene, change: str) -> None:
    """Let a charger come that sorts before all others, or the last one go, and follow the tree before any look."""
    chargers = {row.id: row for row in scene.store.all(Charger, TENANT)}
    if change == "grows":
        await scene.store.seed(TENANT, replace(chargers["ch-1-0"], id="ch-0-0"))
    else:
        await scene.store.seed(TENANT, replace(chargers["ch-2-4"], parent="elsewhere"))
    await scene.services.tracker.reload(TENANT)


def accepted_kw(scene: Scene) -> dict[str, float]:
    book = scene.services.follower.book(TENANT)
    return dict(zip(book.charger_ids, book.accepted_kw.tolist(), strict=True))


@pytest.mark.parametrize("change", ["grows", "shrinks"])
@pytest.mark.parametrize("word", ["ack", "settle", "outcome", "show"])
async def test_what_a_platform_says_between_a_new_tree_and_the_next_look_counts_for_its_chargers_only(
    change: str, word: str
) -> None:
    scene, batch = await with_a_reduction_on_its_way()
    platform, accepted = scene.platform, accepted_kw(scene)
    assert platform is not None
    assert platform.link is not None
    sent = dict(zip((platform.chargers[i] for i in batch.charger_index), batch.limit_kw.tolist(), strict=True))
    await change_tree(scene, change)
    everybody = batch.charger_index
    match word:
        case "ack":
            platform.link.ack(batch.sequence, NOBODY, [])
        case "settle":
            platform.link.settle(batch.sequence, everybody, NOBODY, [])
        case "outcome":
            refused = np.full(len(everybody), DispatchState.REJECTED, dtype=np.int8)
            platform.link.outcome(batch.sequence, everybody, refused)
        case _:
            platform.link.show(everybody, np.full(len(everybody), 11.0))
    now = accepted_kw(scene)
    assert all(now[c] in {accepted.get(c, 0.0), sent.get(c)} for c in now), "nobody accepted what another was sent"
    await scene.services.dispatcher.step(TENANT)
    assert sum(scene.limits().values()) <= 38.01


async def test_a_mailbox_that_waits_while_the_tree_changes_is_handed_over_for_the_same_chargers() -> None:
    scene = Scene()
    platform = await scene.start()
    assert platform.link is not None
    await scene.services.signals.receive(GRID, message(event(start=scene.clock.now(), max_kw=40.0)))
    await scene.services.dispatcher.step(TENANT)
    limits = scene.limits()
    await change_tree(scene, "shrinks")
    batch = await platform.link.next()
    told = dict(zip((platform.chargers[i] for i in batch.charger_index), batch.limit_kw.tolist(), strict=True))
    assert told == {charger_id: kw for charger_id, kw in limits.items() if charger_id != "ch-2-4"}
    book = scene.services.follower.book(TENANT)
    assert set(book.sequence[book.limit_kw < 11.0].tolist()) == {batch.sequence}


# ---------------------------------------------------------------- numbers that only grow


async def test_a_platform_without_chargers_at_our_start_goes_on_from_its_last_number() -> None:
    scene = Scene()
    platform = await scene.start()
    last, all_of_them = newest_sequence(scene), tuple(platform.chargers)
    await change_platform(scene, *all_of_them, csms="csms-other")
    await scene.restart(keeps_stream=False)
    await change_platform(scene, *all_of_them, csms=CSMS)
    platform.token = ""
    await platform.connect()
    await scene.turn()
    assert platform.received[-1].sequence == last + 1


async def set_back(scene: Scene, hours: float) -> None:
    scene.clock._now -= timedelta(hours=hours)


async def test_numbers_grow_and_leases_stay_short_when_the_clock_was_set_back_before_a_restart() -> None:
    scene = Scene()
    platform = await scene.start()
    await set_back(scene, 1.0)
    await scene.services.signals.receive(GRID, message(event(start=scene.clock.now(), max_kw=50.0)))
    await scene.pass_time(300)
    last, told = newest_sequence(scene), scene.limits()
    await scene.restart(keeps_stream=False)
    book = scene.services.follower.book(TENANT)
    assert scene.limits() == told, "what was sent after the clock was set back is newer"
    lease_s = SETTINGS.lease.total_seconds()
    assert (book.lease_until - scene.clock.now().timestamp()).max() <= lease_s
    platform.token = ""
    await platform.connect()
    await scene.turn()
    assert platform.received[-1].sequence == last + 1


async def test_a_clock_set_back_while_we_were_away_prolongs_no_lease() -> None:
    scene = Scene()
    await scene.start()
    await set_back(scene, 1.0)
    await scene.restart(keeps_stream=False)
    book = scene.services.follower.book(TENANT)
    left_s = book.lease_until - scene.clock.now().timestamp()
    assert (left_s > 0.0).all()
    assert (left_s <= SETTINGS.lease.total_seconds()).all()


# ---------------------------------------------------------------- rows in another order


async def test_a_state_written_while_the_next_command_was_on_its_way_to_disk_does_not_accept_that_one() -> None:
    scene = Scene()
    await scene.start(cars=0)
    await scene.restart(keeps_stream=False)
    now = scene.clock.now()
    first = DispatchBatch(
        id="dispatch-a",
        tenant=TENANT,
        csms=CSMS,
        sequence=1_000,
        issued_at=now,
        lease_until=now + timedelta(seconds=120),
        charger_ids=("ch-1-0",),
        limit_kw=(11.0,),
        fallback_kw=(4.14,),
        cause="session:s",
    )
    tighter = replace(first, id="dispatch-b", sequence=1_001, limit_kw=(5.0,), issued_at=now + timedelta(seconds=10))
    outcome = DispatchOutcome(
        id="outcome-a",
        tenant=TENANT,
        batch="dispatch-a",
        csms=CSMS,
        sequence=1_000,
        at=now + timedelta(seconds=10.2),
        charger_ids=("ch-1-0",),
        states=(int(DispatchState.FOLLOWED),),
        detail=("",),
    )
    await scene.store.seed(TENANT, first, tighter, outcome)
    scene.clock.move(seconds=11)
    await scene.restart(keeps_stream=False)
    book = scene.services.follower.book(TENANT)
    at = book.charger_ids.index("ch-1-0")
    assert scene.state("ch-1-0") is DispatchState.SENT
    picture = scene.services.dispatcher._controls[TENANT].look()
    assert picture.counted_kw[at] == 11.0, "nobody acknowledged the tighter one"


# ---------------------------------------------------------------- what binds at one charger, and when to look


async def test_a_limit_at_one_charger_reduces_it_at_once() -> None:
    scene = Scene()
    platform = await scene.start()
    assert scene.limits()["ch-1-0"] == 11.0
    hour = timedelta(hours=1)
    await scene.services.signals.set_manual_limit(
        OPERATOR, node_id="ch-1-0", max_kw=5.0, start=None, end=scene.clock.now() + hour, reason="hot", request_id="m"
    )
    await scene.services.dispatcher.step(TENANT)
    await platform.read()
    assert platform.power("ch-1-0") == 5.0
    assert platform.power("ch-1-1") == 11.0


async def test_within_the_lead_of_a_change_the_loop_rests_until_the_change_and_looks_ahead_of_the_next() -> None:
    scene = Scene(settings=replace(SETTINGS, lead=timedelta(seconds=10), tick=timedelta(seconds=60)))
    await scene.start()
    now = scene.clock.now()
    first = event("e1", start=now + timedelta(seconds=8), max_kw=60.0)
    second = event("e2", start=now + timedelta(seconds=14), max_kw=50.0)
    await scene.services.signals.receive(GRID, message(first, second))
    await scene.services.dispatcher.step(TENANT)
    looks = []
    for _ in range(4):
        scene.clock.set(scene.services.dispatcher.next_look(TENANT))
        looks.append((scene.clock.now() - now).total_seconds())
        await scene.services.dispatcher.step(TENANT)
    assert looks[:3] == [4.0, 5.0, 8.0], "the lead before the second, then doubts, then the change itself"


async def test_a_charger_out_of_reach_that_draws_more_than_its_rating_counts_as_it_draws() -> None:
    scene = Scene()
    rows = [replace(row, enforcement=EnforcementClass.C) if isinstance(row, Charger) else row for row in tree()]
    platform = await scene.start(rows=rows)
    await platform.disconnect()
    platform.disobeys.add("ch-1-0")
    platform.cars["ch-1-0"] = 14.0
    await scene.pass_time(30)
    picture = scene.services.dispatcher._controls[TENANT].look()
    at = picture.view.tree.charger_ids.index("ch-1-0")
    assert picture.counted_kw[at] == 14.0
    assert picture.counted_kw[at + 1] == 11.0


# ---------------------------------------------------------------- who drew too much and says nothing any more


async def overdrawing(max_kw: float = 30.0) -> Scene:
    """Return a scene in which one car draws 11 kW, whatever it is told, below a circuit of so much."""
    scene = Scene()
    platform = await scene.start()
    end = scene.clock.now() + timedelta(hours=2)
    await scene.services.signals.set_manual_limit(
        OPERATOR, node_id="c-1", max_kw=max_kw, start=None, end=end, reason="fuse", request_id="m1"
    )
    platform.disobeys.add("ch-1-0")
    await scene.pass_time(120)
    assert scene.state("ch-1-0") is DispatchState.NOT_FOLLOWING
    platform.unmeasured.add("ch-1-0")
    return scene


def counted(scene: Scene, charger_id: str) -> float:
    picture = scene.services.dispatcher._controls[TENANT].look()
    return float(picture.counted_kw[picture.view.tree.charger_ids.index(charger_id)])


async def test_a_charger_that_drew_too_much_and_falls_silent_keeps_its_share_reserved() -> None:
    scene = await overdrawing()
    platform = scene.platform
    assert platform is not None
    for _ in range(12):
        await scene.pass_time(60)
        assert platform.total("ch-1") <= 30.0
    assert counted(scene, "ch-1-0") == 11.0
    platform.unmeasured.clear()
    platform.disobeys.clear()
    await scene.pass_time(60)
    assert scene.state("ch-1-0") is DispatchState.FOLLOWED
    assert counted(scene, "ch-1-0") < 11.0


async def test_after_a_restart_a_charger_that_drew_too_much_counts_at_its_rating_until_it_is_measured() -> None:
    scene = await overdrawing()
    await scene.restart()
    assert counted(scene, "ch-1-0") == 11.0
    assert counted(scene, "ch-1-1") < 11.0
    await scene.pass_time(300)
    assert scene.platform is not None
    assert scene.platform.total("ch-1") <= 30.0


@pytest.mark.parametrize("is_told_less", [False, True], ids=["same-limit", "tighter-limit-accepted"])
async def test_long_after_it_fell_silent_a_restart_still_knows_what_a_charger_drew(is_told_less: bool) -> None:
    scene = await overdrawing(40.0)
    if is_told_less:
        await scene.pass_time(400)
        end = scene.clock.now() + timedelta(hours=2)
        await scene.services.signals.set_manual_limit(
            OPERATOR, node_id="c-1", max_kw=7.0, start=None, end=end, reason="fuse", request_id="m2"
        )
        await scene.pass_time(10)
        assert scene.state("ch-1-0") is DispatchState.ACCEPTED
    await scene.pass_time(400)
    assert counted(scene, "ch-1-0") == 11.0
    await scene.restart()
    assert counted(scene, "ch-1-0") == 11.0
    assert scene.platform is not None
    scene.platform.unmeasured.clear()
    scene.platform.disobeys.clear()
    await scene.pass_time(60)
    assert counted(scene, "ch-1-0") < 11.0


async def test_a_lease_in_the_mailbox_is_as_long_as_before_when_the_clock_is_set_back() -> None:
    scene = Scene()
    scene.clock = clock = SetClock()
    scene.store._clock = clock
    scene.services = scene._build()
    platform = await scene.start()
    await scene.services.signals.receive(GRID, message(event(start=clock.now(), max_kw=50.0)))
    await scene.services.dispatcher.step(TENANT)
    link = platform.link
    assert link is not None
    waiting = await link.next()
    await scene.services.signals.receive(GRID, message(event("e2", start=clock.now(), max_kw=40.0), raw_id="raw-2"))
    await scene.services.dispatcher.step(TENANT)
    clock.ahead = -timedelta(hours=1)
    scene.services.dispatcher._controls[TENANT].look()
    batch = await link.next()
    assert batch.lease_until - clock.now() <= SETTINGS.lease
    link.ack(waiting.sequence, NOBODY, [])
    book = scene.services.follower.book(TENANT)
    assert (book.accepted_until - clock.now().timestamp()).max() <= SETTINGS.lease.total_seconds()


async def test_a_doubt_within_half_a_microsecond_does_not_make_the_same_instant_due_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = Scene()
    await scene.start()
    monkeypatch.setattr(CommandBook, "next_doubt", lambda _book, now, _rules: now + 1e-7)
    await scene.services.dispatcher.step(TENANT)
    assert scene.services.dispatcher.next_look(TENANT) > scene.clock.now()
    assert not scene.services.dispatcher.is_due(TENANT)
