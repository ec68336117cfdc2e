"""The fleet's world: cars come and go on time, meters add up, drivers are let down or not, and everything is repeatable."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from gateway.domain.timegrid import DeliveryDay
from gateway.sandbox.fleet_bank import EndedSessions, Obedience
from gateway.sandbox.fleet_load import draw_other_load
from gateway.sandbox.fleet_simulation import LATENCY_S, FleetSimulation, Received, Score
from gateway.sandbox.fleet_statistics import Floats
from tests.sandbox.fleet_worlds import START, ZONE, cars, options, small_world

OTHER_SITES = [("h", "home", 900.0), ("p", "public", 900.0), ("w", "workplace", 900.0)]


def _limit_all(world: FleetSimulation, limit_kw: float, *, sequence: int = 1, lease_min: int = 60) -> Received:
    count = len(world.chargers)
    return world.receive(
        np.arange(count),
        np.full(count, limit_kw),
        np.full(count, 1.38),
        sequence=sequence,
        lease_until_s=world.time_s + 60.0 * lease_min,
        now_s=float(world.time_s),
    )


def _release(world: FleetSimulation) -> None:
    world.set_obedience(np.arange(len(world.chargers)), Obedience.NOT_FOLLOWING)


def _run(world: FleetSimulation, minutes: int) -> list[Floats]:
    powers = []
    for _ in range(minutes):
        world.step()
        powers.append(world.bank.power_kw.copy())
    return powers


def test_two_worlds_of_one_seed_pass_the_same_day() -> None:
    first, second = small_world(), small_world()
    other = small_world(chosen=options(seed=8))
    for world in (first, second, other):
        _release(world)
        _run(world, 600)
    assert first.score == second.score
    np.testing.assert_array_equal(first.bank.register_kwh, second.bank.register_kwh)
    np.testing.assert_array_equal(first.meter_register_kwh, second.meter_register_kwh)
    assert first.bank.register_kwh.tolist() != other.bank.register_kwh.tolist()


def test_when_the_program_starts_later_the_same_cars_are_there() -> None:
    early = small_world(start=START)
    _release(early)
    _run(early, 60)
    late = small_world(start=START + timedelta(hours=1))
    for world in (early, late):
        world.step()
    assert early.plugged_in().tolist() == late.plugged_in().tolist()
    here = early.plugged_in()
    assert early.bank.cars.id[here].tolist() == late.bank.cars.id[here].tolist()


def test_history_has_ended_before_the_start_and_nobody_is_both_there_and_gone() -> None:
    world = small_world(history_days=5)
    start_s = int(START.timestamp())
    assert (world.history.departure_s <= start_s).all()
    days = {datetime.fromtimestamp(s, UTC).date() for s in world.history.arrival_s.tolist()}
    assert days >= {date(2025, 10, day) for day in range(10, 14)}
    assert not set(world.history.id.tolist()) & set(world.bank.cars.id[world.plugged_in()].tolist())


def test_cars_that_came_before_the_start_have_charged_but_not_more_than_they_take() -> None:
    world = small_world()
    here = world.plugged_in()
    assert here.size > 10
    delivered, wanted = world.bank.delivered_kwh[here], world.bank.cars.energy_kwh[here]
    assert (delivered > 0.0).all()
    assert (delivered <= wanted + 1e-9).all()


def test_plug_ins_and_departures_are_told_in_the_minute_in_which_they_happen() -> None:
    world = small_world()
    plugged = ended = 0
    for _ in range(600):
        time_s = world.time_s
        events = world.step()
        assert (world.bank.cars.arrival_s[events.plugged] == time_s).all()
        plugged += len(events.plugged)
        if events.ended is not None:
            assert (events.ended.sessions.departure_s == time_s).all()
            ended += len(events.ended.sessions)
    assert plugged > 20
    assert ended == world.score.ended_count > 20


def test_meters_count_chargers_and_other_load_and_registers_are_integrals() -> None:
    world = small_world()
    _release(world)
    before, meters = world.bank.register_kwh.copy(), world.meter_register_kwh.copy()
    powers = np.array(_run(world, 300))
    counted = world.bank.register_kwh - before
    # A charger's power is known at the ends of minutes: the integral is right to the ramps and arrivals inside them.
    assert counted.sum() == pytest.approx(powers.sum() / 60.0, rel=0.03)
    load = draw_other_load(DeliveryDay.containing(START, ZONE), OTHER_SITES, 7)
    minute = int((START - DeliveryDay.containing(START, ZONE).interval.start).total_seconds()) // 60
    other_kwh = load[:, minute : minute + 300].sum(axis=1) / 60.0
    per_site = [counted[site.charger].sum() for site in world.sites]
    np.testing.assert_allclose(world.meter_register_kwh - meters, np.array(per_site) + other_kwh, rtol=1e-9)


def test_everybody_obeys_within_the_latency_and_falls_back_when_the_lease_is_over() -> None:
    world = small_world(start=datetime(2025, 10, 14, 17, tzinfo=UTC))
    received = _limit_all(world, 2.0, lease_min=10)
    assert received.accepted.all()
    assert [at - world.time_s for at, _ in received.groups] == list(LATENCY_S)
    assert sum(len(index) for _, index in received.groups) == len(world.chargers)
    powers = _run(world, 12)
    assert max(power.max() for power in powers[:9]) == pytest.approx(2.0)
    assert powers[11].max() == pytest.approx(1.38, abs=1e-6)


def test_shares_of_chargers_reject_or_do_not_follow_and_at_least_one_does() -> None:
    world = small_world(chosen=options(rejecting=0.1, not_following=0.05))
    assert (world.bank.obedience == Obedience.REJECTING).sum() == 6
    assert (world.bank.obedience == Obedience.NOT_FOLLOWING).sum() == 3
    few = small_world(chosen=options(rejecting=0.001, not_following=0.001), count=2)
    assert sorted(few.bank.obedience.tolist()) == [0, 0, 0, 0, 1, 2]
    received = _limit_all(world, 0.0)
    assert (~received.accepted).sum() == 6
    assert all(received.accepted[index].all() for _, index in received.groups)


def test_only_the_disobedient_draw_more_than_their_limit() -> None:
    world = small_world(chosen=options(rejecting=0.1, not_following=0.1), start=datetime(2025, 10, 14, 17, tzinfo=UTC))
    over = np.zeros(len(world.chargers), dtype=bool)
    for minute in range(120):
        if minute % 10 == 0:
            _limit_all(world, 1.5, sequence=minute + 1, lease_min=15)
        _run(world, 1)
        over |= world.bank.power_kw > 1.5 + 0.006
    assert over.any()
    assert (world.bank.obedience[over] != Obedience.OBEYS).all()


def test_drivers_are_let_down_by_limits_and_by_nothing_else() -> None:
    free, starved = small_world(), small_world()
    _release(free)
    _limit_all(starved, 0.0, lease_min=10_000)
    for world in (free, starved):
        _run(world, 1440)
    assert free.score.missed_count == 0
    assert starved.score.missed_count > 20
    assert starved.score.missed_early_count < starved.score.missed_count
    assert len(starved.missed_ids) == starved.score.missed_count
    assert starved.score.missed_kwh > 0.0


def test_a_driver_who_said_nothing_or_got_nearly_all_is_not_let_down() -> None:
    rows = cars(4, energy_kwh=10.0)
    rows.stated_energy_kwh[:] = [10.0, 10.0, np.nan, 10.0]
    rows.stated_departure_s[:] = [np.nan, np.nan, np.nan, rows.departure_s[3] + 900]
    score = Score()
    missed = score.add(EndedSessions(sessions=rows, delivered_kwh=np.array([9.6, 9.4, 0.0, 2.0])))
    assert missed.tolist() == [False, True, False, True]
    assert (score.ended_count, score.missed_count, score.missed_early_count) == (4, 2, 1)
    assert score.missed_kwh == pytest.approx(0.6 + 8.0)


@pytest.mark.parametrize("day", [date(2026, 3, 29), date(2025, 10, 26)])
def test_the_world_passes_the_clock_change(day: date) -> None:
    first = DeliveryDay(day=day, zone=ZONE)
    world = small_world(start=first.interval.start - timedelta(hours=1))
    meters = world.meter_register_kwh.copy()
    _run(world, 27 * 60)
    assert world.time_s == int(first.interval.start.timestamp()) + 26 * 3600
    assert world.score.ended_count > 50
    assert (world.meter_register_kwh > meters).all()


@pytest.mark.parametrize(
    ("day", "minutes"), [(date(2026, 3, 29), 1380), (date(2025, 10, 15), 1440), (date(2025, 10, 26), 1500)]
)
def test_other_load_has_a_value_for_each_minute_of_the_local_day(day: date, minutes: int) -> None:
    load = draw_other_load(DeliveryDay(day=day, zone=ZONE), OTHER_SITES, 7)
    assert load.shape == (3, minutes)
    assert (load >= 0.0).all()
    assert load.max() < 900.0 * 0.5


def test_other_load_follows_the_place_and_the_week() -> None:
    wednesday = draw_other_load(DeliveryDay(day=date(2025, 10, 15), zone=ZONE), OTHER_SITES, 7)
    sunday = draw_other_load(DeliveryDay(day=date(2025, 10, 19), zone=ZONE), OTHER_SITES, 7)
    again = draw_other_load(DeliveryDay(day=date(2025, 10, 15), zone=ZONE), OTHER_SITES, 7)
    noon, evening, night = 12 * 60, 20 * 60, 3 * 60
    assert wednesday[2, noon] > 2.0 * wednesday[2, night]
    assert wednesday[0, evening] > wednesday[0, night]
    assert sunday[2, noon] < 0.6 * wednesday[2, noon]
    np.testing.assert_array_equal(wednesday, again)
