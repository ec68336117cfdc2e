"""Set points of every car: exact, the same whichever way they are asked for, and computed by a site from duty curves."""

import pickle
from collections.abc import Callable

import numpy as np
import pytest

from bidding.fleet.flexibility import FlexibilityTable
from bidding.fleet.sessions import SessionArrays, fit_to_horizon, join_sessions, uncontrolled_schedule
from bidding.optimum.coupling import Coupling
from bidding.optimum.decomposition import ColumnSet, generate_columns
from bidding.optimum.disaggregation import BLOCK_SESSIONS, Disaggregation, SessionSchedule
from bidding.optimum.duty import DutyCurves, duty_curves, join_curves, set_points
from bidding.optimum.greedy import PriceResponse
from gateway.domain.errors import InvalidInput

Sessions = Callable[..., SessionArrays]
Prices = Callable[..., np.ndarray]


def columns_of(table: FlexibilityTable, price: np.ndarray) -> ColumnSet:
    response = PriceResponse(table)
    return ColumnSet(price=price, schedule_kwh=np.array([response.schedule(one) for one in price]))


def mixed(
    sessions: SessionArrays, slot_count: int, rng: np.random.Generator, column_count: int = 5
) -> tuple[Disaggregation, np.ndarray]:
    """Any mixture of responses to prices with ties, zeros and negative values; and its schedule."""
    price = rng.integers(-3, 4, (column_count, slot_count)).astype(float)
    weights = rng.dirichlet(np.ones(column_count))
    columns = columns_of(FlexibilityTable.build(sessions, slot_count), price)
    return Disaggregation(sessions, columns, weights), weights @ columns.schedule_kwh


def assert_r5(plan: SessionSchedule, sessions: SessionArrays, schedule: np.ndarray) -> None:
    """R5: energies to 1e-9, rates, no negative draw, windows, sums."""
    total = plan.total_kwh()
    assert np.all(total >= sessions.energy_min_kwh - 1e-9)
    assert np.all(total <= sessions.energy_max_kwh + 1e-9)
    assert np.all(plan.energy_kwh >= 0.0)
    assert np.all(plan.energy_kwh <= sessions.rate_kwh_per_slot[plan.row] * (1 + 1e-12))
    assert np.all(plan.slot >= sessions.arrival_slot[plan.row])
    assert np.all(plan.slot < sessions.departure_slot[plan.row])
    np.testing.assert_allclose(plan.per_slot_kwh(len(schedule)), schedule, atol=1e-8)


@pytest.mark.parametrize("with_range", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_r5_every_mixture_is_followed_exactly(random_sessions: Sessions, seed: int, *, with_range: bool) -> None:
    rng = np.random.default_rng(seed)
    slot_count = int(rng.integers(2, 30))
    sessions = random_sessions(rng, int(rng.integers(1, 60)), slot_count, with_range=with_range)
    disaggregation, schedule = mixed(sessions, slot_count, rng)
    assert_r5(disaggregation.schedule(), sessions, schedule)


@pytest.mark.parametrize("slot_count", [92, 96, 100])
def test_r7_a_capped_city_on_days_of_any_length(
    city_sessions: Sessions, evening_prices: Prices, slot_count: int
) -> None:
    away = city_sessions(400, slot_count)
    shifted = SessionArrays(
        arrival_slot=away.arrival_slot - 20,
        departure_slot=away.departure_slot + 20,
        rate_kwh_per_slot=away.rate_kwh_per_slot,
        energy_min_kwh=away.energy_min_kwh,
        energy_max_kwh=away.energy_max_kwh,
    )
    # Half the sessions begin before the horizon or end after it.
    sessions = fit_to_horizon(join_sessions([city_sessions(400, slot_count, seed=1), shifted]), slot_count).sessions
    cap = 0.7 * uncontrolled_schedule(sessions, sessions.energy_min_kwh, slot_count).max()
    price = np.round(evening_prices(slot_count) - 0.06, 2)
    assert price.min() < 0.0
    assert len(np.unique(price)) < slot_count / 2
    table = FlexibilityTable.build(sessions, slot_count)
    mixture = generate_columns(table, price, Coupling(cap_kwh=np.full(slot_count, cap)), part_count=1)
    assert mixture.is_proved
    [part] = mixture.parts
    disaggregation = Disaggregation(sessions, part.columns, part.weights)
    plan = disaggregation.schedule()
    assert_r5(plan, sessions, mixture.schedule_kwh)
    assert plan.energy_kwh.sum() == pytest.approx(sessions.energy_min_kwh.sum(), rel=1e-12)
    assert plan.per_slot_kwh(slot_count).max() <= cap * (1 + 1e-6)


def test_32_the_car_that_needs_the_time_goes_first(sessions_of: Sessions) -> None:
    """Least laxity would halve slot 0 and miss 0.5 kWh; the exact split gives all of it to the second car."""
    sessions = sessions_of((0, 2, 1, 1), (0, 3, 1, 2))
    coupling = Coupling(cap_kwh=np.array([1.0, 2.0, 0.0]))
    mixture = generate_columns(FlexibilityTable.build(sessions, 3), np.array([1.0, 2.0, 3.0]), coupling, part_count=1)
    [part] = mixture.parts
    plan = Disaggregation(sessions, part.columns, part.weights).schedule()
    np.testing.assert_allclose(plan.at(0), [0, 1], atol=1e-9)
    np.testing.assert_allclose(plan.at(1), [1, 1], atol=1e-9)
    np.testing.assert_allclose(plan.total_kwh(), [1, 2], atol=1e-9)


@pytest.mark.parametrize("with_range", [False, True])
def test_every_way_of_asking_gives_the_same_set_points(random_sessions: Sessions, *, with_range: bool) -> None:
    rng = np.random.default_rng(5)
    # Few windows and many sessions, so that a class needs more than one block.
    sessions = random_sessions(rng, 4 * BLOCK_SESSIONS, 3, with_range=with_range)
    disaggregation, _ = mixed(sessions, 3, rng)
    plan = disaggregation.schedule()
    for source in (disaggregation, plan):
        seen = np.zeros(len(sessions), dtype=int)
        for block in source.blocks():
            seen[block.row] += 1
            assert len(block.row) <= BLOCK_SESSIONS
            np.testing.assert_array_equal(sessions.arrival_slot[block.row], block.first_slot)
            np.testing.assert_array_equal(sessions.window_length[block.row], block.energy_kwh.shape[1])
            for place in range(block.energy_kwh.shape[1]):
                drawn = plan.at(block.first_slot + place)[block.row]
                np.testing.assert_allclose(block.energy_kwh[:, place], drawn, atol=1e-12)
        assert np.all(seen == 1)
    slots = []
    for slot, drawn in disaggregation.by_slot():
        slots.append(slot)
        np.testing.assert_allclose(drawn, plan.at(slot), atol=1e-12)
    assert slots == [0, 1, 2]


def test_full_windows_and_nothing_needed_leave_no_rest(sessions_of: Sessions) -> None:
    sessions = sessions_of((0, 3, 0.1, 0.1 + 0.1 + 0.1), (0, 3, 0.7, 0), (1, 3, 0.3, 0.6), (2, 3, 0.3, 0.1))
    disaggregation, schedule = mixed(sessions, 3, np.random.default_rng(1))
    plan = disaggregation.schedule()
    assert_r5(plan, sessions, schedule)
    np.testing.assert_allclose(plan.energy_kwh, [0.1, 0.1, 0.1, 0, 0, 0, 0.3, 0.3, 0.1], atol=1e-12)
    for slot in range(3):
        curves = duty_curves(disaggregation.ranks, slot, sessions)
        np.testing.assert_allclose(set_points(curves, sessions), plan.at(slot), atol=1e-12)


def test_nobody_draws_nothing(sessions_of: Sessions) -> None:
    nobody = sessions_of((0, 1, 1, 1)).select(np.zeros(0, dtype=int))
    disaggregation, _ = mixed(nobody, 4, np.random.default_rng(1))
    assert list(disaggregation.blocks()) == []
    assert disaggregation.at(2).size == 0
    assert disaggregation.schedule().energy_kwh.size == 0
    assert list(disaggregation.schedule().blocks()) == []


@pytest.mark.parametrize("with_range", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_a_site_computes_its_set_points_from_broadcast_curves(
    random_sessions: Sessions, seed: int, *, with_range: bool
) -> None:
    rng = np.random.default_rng(seed)
    sessions = random_sessions(rng, 80, 12, with_range=with_range)
    disaggregation, _ = mixed(sessions, 12, rng)
    site = rng.permutation(80)[:25]
    for slot in range(12):
        curves = duty_curves(disaggregation.ranks, slot, sessions)
        told = pickle.loads(pickle.dumps(curves))  # noqa: S301  # bytes of our own
        at_site = set_points(told, sessions.select(site))
        np.testing.assert_allclose(at_site, disaggregation.at(slot)[site], atol=1e-12)


def test_curves_of_a_fleet_that_is_mixed_in_parts_are_joined(random_sessions: Sessions) -> None:
    rng = np.random.default_rng(12)
    ranged, fixed = random_sessions(rng, 60, 10, with_range=True), random_sessions(rng, 60, 10)
    even = (ranged.arrival_slot % 2 == 0, fixed.arrival_slot % 2 == 1)
    parts = [ranged.select(even[0]), fixed.select(even[1])]
    fleet = join_sessions(parts)
    mixtures = [mixed(part, 10, rng)[0] for part in parts]
    joined = [
        [duty_curves(one.ranks, slot, part) for one, part in zip(mixtures, parts, strict=True)] for slot in range(10)
    ]
    for slot, curves in enumerate(joined):
        whole = np.concatenate([one.at(slot) for one in mixtures])
        for order in (curves, curves[::-1]):
            np.testing.assert_allclose(set_points(join_curves(order), fleet), whole, atol=1e-12)
    with pytest.raises(InvalidInput, match="twice"):
        join_curves([joined[9][1], joined[9][1]])
    with pytest.raises(InvalidInput, match="not be empty"):
        join_curves([])
    with pytest.raises(InvalidInput, match=r"parts\[1\]"):
        join_curves([joined[9][0], joined[2][1]])


def test_a_duty_curve_rises_from_zero_to_one(random_sessions: Sessions) -> None:
    rng = np.random.default_rng(3)
    sessions = random_sessions(rng, 60, 10)
    disaggregation, _ = mixed(sessions, 10, rng)
    curves = duty_curves(disaggregation.ranks, 4, sessions)
    assert curves.paid is None
    begin = 0
    for length in curves.departure - curves.arrival:
        curve = curves.due[begin : begin + length + 1]
        assert curve[0] == 0.0
        assert curve[-1] == pytest.approx(1.0)
        assert np.all(np.diff(curve) >= -1e-15)
        begin += length + 1
    assert begin == len(curves.due)


def test_curves_that_do_not_fit_are_refused(sessions_of: Sessions) -> None:
    sessions = sessions_of((0, 3, 1, 2), (1, 4, 1, 1))
    disaggregation, _ = mixed(sessions, 4, np.random.default_rng(1))
    curves = duty_curves(disaggregation.ranks, 1, sessions)
    with pytest.raises(InvalidInput, match=r"sessions\[2\]"):
        set_points(curves, sessions_of((0, 3, 1, 2), (2, 4, 1, 1), (0, 2, 1, 1)))
    with pytest.raises(InvalidInput, match=r"energy_max_kwh\[1\]"):
        set_points(curves, sessions_of((0, 3, 1, 2), (1, 4, 1, 1, 2)))
    with pytest.raises(InvalidInput, match="slot"):
        duty_curves(disaggregation.ranks, 4, sessions)
    empty = duty_curves(disaggregation.ranks, 3, sessions.select(np.array([0])))
    assert set_points(empty, sessions.select(np.array([0]))).tolist() == [0.0]
    with pytest.raises(InvalidInput, match=r"sessions\[0\]"):
        set_points(empty, sessions.select(np.array([1])))
    wire = {"slot": 1, "arrival": [0], "departure": [3], "due": [0.0, 0.5, 1.0, 1.0], "paid": None}
    assert DutyCurves(**wire).due.tolist() == [0.0, 0.5, 1.0, 1.0]  # type: ignore[arg-type]  # lists from a wire
    for field, value in (("due", [0.0]), ("arrival", [2]), ("departure", [1]), ("departure", [3, 4])):
        with pytest.raises(InvalidInput, match=field):
            DutyCurves(**{**wire, field: value})  # type: ignore[arg-type]
