"""Calm over the whole control path: what falls falls at once, what rises waits, spreads and ramps; who cannot comply says so."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from gateway.domain.calm import CalmRules
from gateway.domain.compliance import ComplianceShortfall
from gateway.domain.dispatch import DispatchState
from gateway.domain.limits import Binding, Direction, Limit, LimitKind
from gateway.domain.timegrid import Interval
from gateway.domain.topology import Charger, EnforcementClass, Node
from gateway.observe import SETPOINT_CHANGES_PER_HOUR
from gateway.ports import StatedLimits
from tests.services.scene import GRID, OPERATOR, PLATFORM, SETTINGS, TENANT, VTN, Scene, event, message, session, tree

DSO = "lpc:dso"


def stated(scene: Scene, max_kw: float, *, node: str = "vpp", minutes: float = 60.0) -> StatedLimits:
    now = scene.clock.now()
    limit = Limit(
        id=scene.ids.new("limit"),
        tenant=TENANT,
        authority=DSO,
        node=node,
        direction=Direction.IMPORT,
        kind=LimitKind.LIMIT,
        binding=Binding.MANDATORY,
        max_kw=max_kw,
        interval=Interval(start=now, end=now + timedelta(minutes=minutes)),
        cause="signal",
        known_at=now,
    )
    return StatedLimits(authority=DSO, raw=None, limits=(limit,))


def shortfalls(scene: Scene) -> list[ComplianceShortfall]:
    return scene.store.all(ComplianceShortfall, TENANT)


# ---------------------------------------------------------------- falls at once, rises calmly


async def test_o40_a_reduction_is_sent_at_once_and_an_increase_waits_and_ramps() -> None:
    scene = Scene(settings=replace(SETTINGS, calm=CalmRules(ramp_kw_per_s=0.05)))
    platform = await scene.start()
    await scene.services.signals.state_limits(GRID, stated(scene, 60.0, minutes=10.0))
    await scene.services.dispatcher.step(TENANT)
    await platform.read()
    assert platform.total() <= 57.0, "in the same instant"
    await scene.pass_time(600 + 55)
    low = platform.total()
    assert low <= 57.0, "60 seconds have not passed"
    await scene.pass_time(60)
    assert low < platform.total() <= low + 10 * 0.05 * 60 + 10.0, "ten chargers ramp at 0.05 kW per second"


async def test_o40_half_a_kilowatt_more_moves_nobody() -> None:
    scene = Scene()
    platform = await scene.start()
    await scene.services.signals.state_limits(GRID, stated(scene, 60.0))
    await scene.pass_time(300)
    platform.received.clear()
    await scene.services.signals.state_limits(GRID, stated(scene, 61.0))
    before = scene.limits()
    await scene.pass_time(200)
    assert scene.limits() == before


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_g14_after_the_return_of_an_authority_power_comes_back_over_ten_minutes_without_a_cliff(
    seed: int,
) -> None:
    calm = CalmRules(restore_spread_s=600.0, ramp_kw_per_s=1.0)
    scene = Scene(settings=replace(SETTINGS, calm=calm))
    generator = np.random.default_rng(seed)
    scene.ids.uniform = lambda low, high: float(generator.uniform(low, high))  # type: ignore[method-assign]
    platform = await scene.start()
    await scene.services.signals.contact(GRID, DSO, is_lost=False)
    await scene.services.signals.state_limits(GRID, stated(scene, 48.0, minutes=120.0))
    await scene.services.signals.contact(GRID, DSO, is_lost=True)
    await scene.pass_time(600)
    low = platform.total()
    assert low <= 50.0
    await scene.services.signals.contact(GRID, DSO, is_lost=False)
    await scene.services.signals.state_limits(GRID, stated(scene, 200.0))
    totals = [low]
    for _ in range(75):
        await scene.pass_time(10)
        totals.append(platform.total())
    steps = np.diff(totals)
    assert totals[6] <= low + 0.01, "not within the first minute"
    assert totals[-1] == pytest.approx(110.0, abs=2.0)
    assert steps.max() <= 3 * 11.0, "at most a few chargers at once"
    assert np.flatnonzero(steps > 0.1).size >= 5, "spread over the time"


async def test_g7_a_platform_that_says_ok_while_the_meter_disagrees_does_not_make_the_others_swing() -> None:
    scene = Scene()
    platform = await scene.start()
    platform.disobeys.add("ch-1-0")
    await scene.services.signals.state_limits(GRID, stated(scene, 60.0))
    await scene.pass_time(60)
    assert [one.charger_id for one in scene.services.follower.not_following(TENANT)] == ["ch-1-0"]
    totals = []
    for _ in range(60):
        await scene.pass_time(10)
        totals.append(platform.total())
    assert max(totals) <= 57.01
    assert np.ptp(totals[6:]) <= 1.0, "no oscillation"


async def test_g13_ten_percent_of_the_chargers_flap_and_the_others_stay_where_they_are() -> None:
    scene = Scene()
    platform = await scene.start()
    generator = np.random.default_rng(4)
    await scene.services.signals.state_limits(GRID, stated(scene, 60.0, minutes=600))
    await scene.pass_time(300)
    quiet = [c for c in platform.chargers if c != "ch-1-0"]
    before, changes = scene.limits(), 0
    for _ in range(60):
        platform.unmeasured = {"ch-1-0"} if generator.random() < 0.5 else set()
        await scene.pass_time(10)
        after = scene.limits()
        changes += sum(after[c] != before[c] for c in quiet)
        before = after
    assert changes <= 2 * len(quiet)


async def test_24_hours_of_noisy_meters_move_set_points_less_than_once_an_hour(
    record_property: Callable[[str, object], None],
) -> None:
    scene = Scene(settings=replace(SETTINGS, tick=timedelta(seconds=120), lease=timedelta(minutes=15)))
    platform = await scene.start()
    for session_id in platform.chargers:
        need = session(session_id, energy_needed_kwh=600.0, expected_departure=scene.clock.now() + timedelta(hours=30))
        await scene.services.tracker.report_sessions(
            PLATFORM, [need], is_history=False, request_id=f"more-{session_id}"
        )
    await scene.services.signals.state_limits(GRID, stated(scene, 70.0, minutes=1500))
    await scene.pass_time(600, step=120)
    generator, plain = np.random.default_rng(7), platform.power

    def noisy(charger: str) -> float:
        kw = plain(charger)
        return kw * float(np.clip(1.0 + 0.03 * generator.standard_normal(), 0.9, 1.04))

    platform.power = noisy  # type: ignore[method-assign]
    before, changes = scene.limits(), 0
    for _ in range(24 * 30):
        await scene.pass_time(120, step=120)
        after = scene.limits()
        changes += sum(after[c] != before[c] for c in after)
        before = after
    per_hour = changes / 24.0 / len(before)
    record_property("setpoint_changes_per_charger_and_hour", per_hour)
    assert per_hour <= 1.0, f"{per_hour:.2f} changes per charger and hour"
    [metric] = SETPOINT_CHANGES_PER_HOUR.collect()
    assert metric.samples[0].value <= 2.0


# ---------------------------------------------------------------- who cannot comply says so


async def test_o35_a_refused_command_counts_as_not_applied_and_others_shrink_at_once() -> None:
    scene = Scene()
    platform = await scene.start()
    platform.rejects.update({"ch-1-0", "ch-1-1"})
    await scene.services.signals.state_limits(GRID, stated(scene, 60.0))
    await scene.turn()
    await scene.turn()
    assert platform.total() <= 57.01, "without time passing"


async def test_o41_what_cannot_be_kept_is_told_before_the_partner_finds_out_and_settled_later() -> None:
    scene = Scene()
    platform = await scene.start()
    await scene.services.signals.state_limits(GRID, stated(scene, 80.0))
    await scene.pass_time(30)
    await platform.disconnect()
    scene.platform = None
    await scene.services.signals.state_limits(GRID, stated(scene, 20.0))
    await scene.turn()
    [raised] = shortfalls(scene)
    assert (raised.authority, raised.node, raised.limit_kw, raised.is_open) == (DSO, "vpp", 20.0, True)
    assert raised.expected_kw > 60.0
    assert "10 chargers do not follow, 10 of them out of contact" in raised.reason
    assert raised.limit_ids[0].startswith("limit")
    scene.platform = platform
    await platform.connect()
    await scene.pass_time(30)
    [settled] = shortfalls(scene)
    assert (settled.id, settled.is_open, settled.settled_at is not None) == (raised.id, False, True)
    actions = [chained.entry.action for chained in await scene.store.audit_entries()]
    assert (actions.count("limit.shortfall"), actions.count("limit.kept-again")) == (1, 1)


async def test_o41_whoever_is_shadowed_is_told_too_when_its_own_limit_is_not_kept() -> None:
    scene = Scene()
    platform = await scene.start()
    await platform.disconnect()
    scene.platform = None
    await scene.services.signals.state_limits(GRID, stated(scene, 20.0))
    await scene.services.signals.receive(GRID, message(event(start=scene.clock.now(), max_kw=10.0)))
    await scene.turn()
    told = {one.authority: one.limit_kw for one in shortfalls(scene)}
    assert told == {DSO: 20.0, VTN: 10.0}


async def test_o41_two_measurements_above_the_limit_are_told() -> None:
    scene = Scene()
    platform = await scene.start()
    await scene.services.signals.state_limits(GRID, stated(scene, 30.0))
    platform.disobeys.update(platform.chargers[:4])
    await scene.pass_time(60)
    [raised] = shortfalls(scene)
    assert raised.expected_kw > 30.0 * 1.05
    assert set(raised.charger_ids) <= set(platform.chargers[:4])


async def test_an_open_shortfall_survives_a_restart_and_is_not_raised_twice() -> None:
    scene = Scene()
    platform = await scene.start()
    await platform.disconnect()
    scene.platform = None
    await scene.services.signals.state_limits(GRID, stated(scene, 20.0))
    await scene.turn()
    await scene.restart(keeps_stream=False)
    await scene.turn()
    assert [one.is_open for one in shortfalls(scene)] == [True]


async def test_a_car_that_draws_less_than_its_schedule_is_no_shortfall() -> None:
    scene = Scene()
    platform = await scene.start()
    platform.cars |= dict.fromkeys(platform.cars, 1.0)
    await scene.services.signals.receive(GRID, message(event(start=scene.clock.now(), max_kw=60.0)))
    await scene.pass_time(300)
    assert shortfalls(scene) == []
    assert scene.services.follower.not_following(TENANT) == []


async def test_an_unsaved_shortfall_is_written_once_the_store_is_back() -> None:
    scene = Scene()
    platform = await scene.start()
    await scene.services.signals.state_limits(GRID, stated(scene, 20.0))
    await platform.disconnect()
    scene.platform = None
    scene.store.is_down = True
    await scene.turn()
    assert shortfalls(scene) == []
    scene.store.is_down = False
    await scene.turn()
    assert len(shortfalls(scene)) == 1


# ---------------------------------------------------------------- authorities, time and reach


async def test_g9_authorities_lost_one_by_one_step_to_each_fallback_and_end_at_the_fail_safe() -> None:
    scene = Scene()
    platform = await scene.start()
    await scene.services.signals.state_limits(GRID, stated(scene, 100.0, minutes=5))
    now = scene.clock.now()
    await scene.services.signals.set_manual_limit(
        OPERATOR,
        node_id="vpp",
        max_kw=80.0,
        start=None,
        end=now + timedelta(minutes=3),
        reason="works",
        request_id="m",
    )
    await scene.turn()
    assert platform.total() <= 76.0
    await scene.services.signals.contact(GRID, DSO, is_lost=True)
    await scene.pass_time(170)
    assert platform.total() <= 76.0, "the manual limit goes on"
    await scene.pass_time(100)
    assert platform.total() <= 95.0, "the last limit of the lost authority runs to its end"
    await scene.pass_time(400)
    assert 30.0 <= platform.total() <= 47.5, "then the fail-safe of 50 kW, for good"


@pytest.mark.parametrize("jump_s", [-3600.0, -30.0, 30.0, 3600.0])
async def test_a_clock_that_is_set_neither_drops_leases_nor_stops_the_renewal(jump_s: float) -> None:
    scene = Scene()
    platform = await scene.start()
    ahead = timedelta(seconds=jump_s)
    plain, before = scene.clock.now, scene.limits()
    scene.clock.now = lambda: plain() + ahead  # type: ignore[method-assign]
    assert scene.services.dispatcher.is_due(TENANT) or jump_s > 0
    await scene.services.dispatcher.step(TENANT)
    book = scene.services.follower.book(TENANT)
    left = book.lease_until - scene.clock.now().timestamp()
    assert ((left > 60.0) & (left <= 120.0)).all(), "a lease is a duration"
    assert scene.limits() == before
    assert platform.link is not None


async def test_a_car_that_may_come_to_a_charger_out_of_reach_is_counted() -> None:
    scene = Scene()
    platform = await scene.start(cars=3)
    await platform.disconnect()
    scene.platform = None
    await scene.pass_time(300)
    control = scene.services.dispatcher._controls[TENANT]
    picture = control.look()
    assert picture.counted_kw.tolist() == [4.14] * 10, "empty ones as well, at their fallback"


async def test_class_c_is_reserved_at_its_worst_as_soon_as_its_platform_is_gone() -> None:
    scene = Scene()
    rows = [
        replace(row, enforcement=EnforcementClass.C) if isinstance(row, Charger) and row.id == "ch-1-0" else row
        for row in tree()
    ]
    platform = await scene.start(rows=rows)
    await scene.services.signals.state_limits(GRID, stated(scene, 60.0))
    await scene.pass_time(60)
    await platform.disconnect()
    picture = scene.services.dispatcher._controls[TENANT].look()
    counted = dict(zip(picture.view.tree.charger_ids, picture.counted_kw.tolist(), strict=True))
    assert counted["ch-1-0"] == 11.0, "whatever it was told: nobody makes it keep to it"
    assert counted["ch-1-1"] < 11.0, "class B keeps its limit until the lease ends"


# ---------------------------------------------------------------- streams that break


async def test_g5_a_stream_cut_in_the_middle_of_many_events_resumes_with_the_newest_only() -> None:
    count = 2_500
    rows: list[object] = [row for row in tree() if not isinstance(row, Charger)]
    plain = next(row for row in tree() if isinstance(row, Charger))
    rows += [replace(plain, id=f"ch-{s}-{k:04d}", parent=f"c-{s}") for s in (1, 2) for k in range(count)]
    big = [replace(row, max_import_kw=1e6, fail_safe_import_kw=1e6) if isinstance(row, Node) else row for row in rows]
    scene = Scene()
    platform = await scene.start(cars=0, rows=big)
    cars = [session(charger, arrival=scene.clock.now()) for charger in platform.chargers]
    await scene.services.tracker.report_sessions(PLATFORM, cars, is_history=False, request_id="all")
    platform.plug(*platform.chargers)
    scene.platform = None
    link = platform.link
    assert link is not None
    seen = []
    for max_kw in (40_000.0, 38_000.0, 36_000.0):
        await scene.services.signals.state_limits(GRID, stated(scene, max_kw))
        await scene.services.dispatcher.step(TENANT)
        seen.append(max_kw)
    cut = await link.next()
    link.close()
    await scene.services.signals.state_limits(GRID, stated(scene, 30_000.0))
    await scene.services.dispatcher.step(TENANT)
    await platform.connect()
    await scene.services.dispatcher.step(TENANT)
    assert platform.link is not None
    resumed = await platform.link.next()
    assert not platform.link.has_pending, "one message, nothing twice"
    assert len(resumed.charger_index) == len(platform.chargers) == 2 * count
    assert resumed.sequence > cut.sequence
    assert resumed.limit_kw.sum() <= 30_000.0 * 0.95 + 1e-6, "of the newest event only"
    assert len(set(resumed.limit_kw.tolist())) == 1, "no mixed generation"


@pytest.mark.parametrize("seed", range(5))
async def test_g3_old_and_reordered_words_of_a_platform_never_change_what_is_known(seed: int) -> None:
    scene = Scene()
    platform = await scene.start()
    link = platform.link
    assert link is not None
    generator, sequences = np.random.default_rng(seed), []
    scene.platform = None
    for max_kw in (80.0, 70.0, 60.0, 50.0):
        await scene.services.signals.state_limits(GRID, stated(scene, max_kw))
        await scene.services.dispatcher.step(TENANT)
        sequences.append((await link.next()).sequence)
    nobody = np.zeros(0, dtype=np.int32)
    for sequence in [*generator.permutation(sequences).tolist(), *sequences]:
        link.ack(sequence, nobody, ())
    book = scene.services.follower.book(TENANT)
    assert (book.acked_sequence == book.sequence).all()
    assert book.accepted_kw.tolist() == book.limit_kw.tolist()
    link.outcome(sequences[0], np.arange(10, dtype=np.int32), np.full(10, DispatchState.REJECTED, dtype=np.int8))
    assert not book.is_troubled.any(), "an old outcome says nothing"


async def test_o44_after_a_reconnect_every_charger_is_told_again_within_one_step() -> None:
    scene = Scene()
    platform = await scene.start()
    before = scene.limits()
    await platform.disconnect()
    platform.token, platform.received = "", []
    await platform.connect()
    await scene.turn()
    told = {platform.chargers[i] for batch in platform.received for i in batch.charger_index.tolist()}
    assert told == set(platform.chargers)
    assert scene.limits() == before


async def test_o30_when_the_gateway_is_killed_every_charger_is_at_its_fallback_within_its_lease() -> None:
    scene = Scene()
    platform = await scene.start()
    sent_at = {
        platform.chargers[i]: batch.lease_until for batch in platform.received for i in batch.charger_index.tolist()
    }
    now = scene.clock.now()
    assert max(sent_at.values()) <= now + SETTINGS.lease
    scene.platform = None
    scene.clock.move(seconds=SETTINGS.lease.total_seconds())
    assert platform.total() == pytest.approx(10 * 4.14), "no car above its fallback, none at zero without an order"


async def test_g12_a_charger_that_appears_is_at_its_fail_safe_until_it_is_known() -> None:
    scene = Scene()
    platform = await scene.start(cars=4)
    fresh = next(replace(row, id="ch-1-9", parent="c-1") for row in tree() if isinstance(row, Charger))
    await scene.store.seed(TENANT, fresh)
    await scene.services.tracker.reload(TENANT)
    picture = scene.services.dispatcher._controls[TENANT].look()
    place = picture.view.tree.charger_ids.index("ch-1-9")
    assert picture.counted_kw[place] == 4.14, "its platform does not command it yet"
    assert len(set(picture.view.tree.charger_ids)) == len(picture.view.tree.charger_ids)
    assert platform.link is not None


async def test_g12_a_charger_with_a_new_name_is_another_one_and_its_old_name_moves_nobody() -> None:
    scene = Scene()
    platform = await scene.start()
    before = scene.limits()
    rows = scene.store._rows[Charger, TENANT]
    renamed = replace(rows.pop("ch-1-0").record, id="ch-1-new")
    await scene.store.seed(TENANT, renamed)
    await scene.services.tracker.reload(TENANT)
    picture = scene.services.dispatcher._controls[TENANT].look()
    place = picture.view.tree.charger_ids.index("ch-1-new")
    assert picture.counted_kw[place] == 4.14
    assert not picture.is_connected[place]
    assert "ch-1-0" not in picture.view.tree.charger_ids
    others = {name: kw for name, kw in before.items() if name != "ch-1-0"}
    assert {name: kw for name, kw in scene.limits().items() if name in others} == others
    link, last = platform.link, platform.received[-1].sequence
    assert link is not None
    link.ack(last, np.array([platform.chargers.index("ch-1-0")], dtype=np.int32), ["gone"])
    await scene.services.dispatcher.step(TENANT)
    assert {name: kw for name, kw in scene.limits().items() if name in others} == others


async def test_o41_one_measurement_is_not_two_because_somebody_elsewhere_was_measured() -> None:
    scene = Scene()
    platform = await scene.start()
    await scene.services.signals.state_limits(GRID, stated(scene, 30.0, node="c-1"))
    await scene.pass_time(60)
    one_side = {charger for charger in platform.chargers if charger.startswith("ch-1")}
    platform.disobeys |= one_side
    await scene.pass_time(5)
    platform.disobeys.clear()
    platform.unmeasured |= one_side
    await scene.pass_time(15)
    assert shortfalls(scene) == []
    platform.disobeys |= one_side
    platform.unmeasured.clear()
    await scene.pass_time(10)
    assert [one.node for one in shortfalls(scene)] == ["c-1"]
