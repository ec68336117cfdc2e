"""Reserve held by copies of the schedule: hand cases, the direct model, and what set points really deliver."""

from collections.abc import Callable
from typing import Any

import cvxpy
import numpy as np
import pytest

from bidding.fleet.sessions import SessionArrays
from bidding.optimum.convex_optimum import optimise_convex
from bidding.optimum.decomposition import SearchLimits
from bidding.optimum.disaggregation import SessionSchedule
from bidding.optimum.outcome import Proved
from bidding.optimum.reserve import (
    Direction,
    Position,
    ReserveModel,
    ReserveProduct,
    certify_reserve,
    copies_of,
    reserve_copies,
    simple_reserve_kwh,
)
from bidding.optimum.site_assets import StationaryBattery, battery_model
from bidding.optimum.terms import energy_cost, rules
from gateway.domain.errors import InvalidInput

cp: Any = cvxpy
"""cvxpy does not export its functions for mypy."""
Sessions = Callable[..., SessionArrays]
BOTH = (Direction.UP, Direction.DOWN)
TIGHT = SearchLimits(relative_gap=1e-7)


def product(
    *blocks: tuple[int, int], directions: tuple[Direction, ...] = BOTH, slots: int = 1, price: float = 1.0
) -> ReserveProduct:
    return ReserveProduct(
        blocks=blocks, directions=directions, activation_slots=slots, eur_per_kwh=np.full(len(blocks), price)
    )


def offer_of(reserve: ReserveModel) -> float:
    return float(np.asarray(reserve.offered_kwh.value)[0])


def test_25_a_symmetric_block_is_limited_by_the_nearer_bound(sessions_of: Sessions) -> None:
    schedule = cp.Variable(4)
    position = Position(schedule=schedule)
    fcr = product((0, 4), slots=4)
    reserve = reserve_copies(position, fcr)
    model = rules(schedule == 4.0) + reserve.term
    best = optimise_convex(sessions_of((0, 4, 10, 0, 40)), schedule, model, copies=reserve.copies, limits=TIGHT)
    assert isinstance(best.outcome, Proved)
    np.testing.assert_allclose(np.asarray(reserve.offered_kwh.value), [4.0], atol=1e-6)
    ones = np.ones(4)
    np.testing.assert_allclose(simple_reserve_kwh(4 * ones, 0 * ones, 10 * ones, fcr), [4.0])


def test_26_half_a_megawatt_hour_lasts_half_an_hour_at_one_megawatt(sessions_of: Sessions) -> None:
    nobody = sessions_of((0, 1, 1, 1)).select(np.zeros(0, dtype=int))
    schedule = cp.Variable(2)
    battery = battery_model(
        StationaryBattery(
            capacity_kwh=1000.0, initial_kwh=500.0, charge_kwh_per_slot=500.0, discharge_kwh_per_slot=500.0
        ),
        2,
    )
    reserve = reserve_copies(Position(schedule=schedule, batteries=(battery,)), product((0, 2), slots=2))
    held = rules(battery.charge_kwh == 0.0, battery.discharge_kwh == 0.0)
    model = battery.term + held + reserve.term
    best = optimise_convex(nobody, schedule, model, copies=reserve.copies, limits=TIGHT)
    assert isinstance(best.outcome, Proved)
    quarter_hours_per_hour = 4
    assert offer_of(reserve) * quarter_hours_per_hour == pytest.approx(1000.0, abs=1e-3)


def present(sessions: SessionArrays, slot_count: int) -> np.ndarray:
    slot = np.arange(slot_count)
    return (slot >= sessions.arrival_slot[:, None]) & (slot < sessions.departure_slot[:, None])


def follows(sessions: SessionArrays, slot_count: int) -> tuple[Any, list[Any]]:
    """Variables per session and slot, and the rules of the sessions."""
    here = present(sessions, slot_count)
    energy = cp.Variable(here.shape, nonneg=True)
    charged = cp.sum(energy, axis=1)
    limits = [
        energy <= here * sessions.rate_kwh_per_slot[:, None],
        charged >= sessions.energy_min_kwh,
        charged <= sessions.energy_max_kwh,
    ]
    return energy, limits


def direct_cost(sessions: SessionArrays, price: np.ndarray, cap: np.ndarray, offer: ReserveProduct) -> float | None:
    """Plan and copies with a variable per session and slot each; copies share what the fleet drew before."""
    count = len(price)
    plan, limits = follows(sessions, count)
    drawn = cp.sum(plan, axis=0)
    offered = cp.Variable(len(offer.blocks), nonneg=True)
    limits.append(drawn <= cap)
    for block in range(len(offer.blocks)):
        for start in offer.starts(block):
            for direction in offer.directions:
                copy, rules_of_copy = follows(sessions, count)
                there = cp.sum(copy, axis=0)
                active = slice(start, start + offer.activation_slots)
                limits += [*rules_of_copy, there <= cap]
                limits += [there[:start] == drawn[:start]] if start > 0 else []
                limits.append(there[active] - drawn[active] == direction.sign * offered[block])
    problem = cp.Problem(cp.Minimize(price @ drawn - offer.eur_per_kwh @ offered), limits)
    problem.solve(solver=cp.HIGHS)
    return float(problem.value) if problem.status == cp.OPTIMAL else None


def deliverable(
    sessions: SessionArrays, plan: SessionSchedule, cap: np.ndarray, offer: ReserveProduct, block: int
) -> float:
    """What every start and direction allows when the set points before the activation are what they are."""
    count = len(cap)
    fixed = np.zeros((len(sessions), count))
    fixed[plan.row, plan.slot] = plan.energy_kwh
    found = []
    for start in offer.starts(block):
        for direction in offer.directions:
            copy, limits = follows(sessions, count)
            held = cp.Variable(nonneg=True)
            active = slice(start, start + offer.activation_slots)
            change = cp.sum(copy, axis=0)[active] - fixed.sum(axis=0)[active]
            limits += [cp.sum(copy, axis=0) <= cap]
            limits += [copy[:, :start] == fixed[:, :start]] if start > 0 else []
            limits.append(change == direction.sign * held)
            problem = cp.Problem(cp.Maximize(held), limits)
            problem.solve(solver=cp.CLARABEL)
            found.append(float(problem.value))
    return min(found)


def test_copies_equal_the_direct_model_and_the_certificate_what_set_points_deliver(random_sessions: Sessions) -> None:
    rng = np.random.default_rng(41)
    optimistic, solved = 0, 0
    for _ in range(4):
        sessions = random_sessions(rng, 8, 8, with_range=True)
        price, cap = rng.uniform(0, 1, 8), np.full(8, 7.0)
        offer = product((0, 4), (4, 8), slots=2, price=1.5)
        expected = direct_cost(sessions, price, cap, offer)
        schedule = cp.Variable(8)
        position = Position(schedule=schedule, cap_kwh=cap)
        reserve = reserve_copies(position, offer)
        model = energy_cost(schedule, price) + position.rules() + reserve.term
        best = optimise_convex(sessions, schedule, model, copies=copies_of([reserve]), limits=TIGHT)
        if expected is None:
            assert best.schedule_kwh is None
            continue
        solved += 1
        assert isinstance(best.outcome, Proved)
        assert best.outcome.objective_eur == pytest.approx(expected, abs=1e-5)
        assert best.session_schedule is not None
        offered = np.asarray(reserve.offered_kwh.value)
        certified = certify_reserve(sessions, best.session_schedule, position, offer, offered, TIGHT)
        for block in range(2):
            truth = min(deliverable(sessions, best.session_schedule, cap, offer, block), offered[block])
            assert certified[block] == pytest.approx(truth, abs=1e-4)
        optimistic += bool(np.any(certified < offered - 1e-3))
    assert solved >= 3
    assert optimistic >= 1  # who drew the energy before matters: this is why there is a certificate


def test_one_direction_alone_offers_more_than_both(sessions_of: Sessions) -> None:
    held = {}
    for directions in ((Direction.UP,), (Direction.DOWN,), BOTH):
        schedule = cp.Variable(4)
        reserve = reserve_copies(Position(schedule=schedule), product((0, 4), directions=directions, slots=4))
        model = rules(schedule == 4.0) + reserve.term
        optimise_convex(sessions_of((0, 4, 10, 0, 40)), schedule, model, copies=reserve.copies, limits=TIGHT)
        held[directions] = offer_of(reserve)
    assert held[Direction.UP,] == pytest.approx(4.0, abs=1e-6)
    assert held[Direction.DOWN,] == pytest.approx(6.0, abs=1e-6)
    assert held[BOTH] == pytest.approx(4.0, abs=1e-6)


def test_an_activation_stays_below_the_limit_of_the_connection(sessions_of: Sessions) -> None:
    cap = np.full(4, 5.0)
    schedule = cp.Variable(4)
    position = Position(schedule=schedule, cap_kwh=cap, fixed_kwh=np.full(4, 0.25))
    downward = product((0, 4), directions=(Direction.DOWN,), slots=2)
    reserve = reserve_copies(position, downward)
    model = rules(schedule == 4.0) + reserve.term
    sessions = sessions_of((0, 4, 10, 0, 40))
    best = optimise_convex(sessions, schedule, model, copies=reserve.copies, limits=TIGHT)
    assert offer_of(reserve) == pytest.approx(0.75, abs=1e-6)
    assert best.session_schedule is not None
    certified = certify_reserve(sessions, best.session_schedule, position, downward, np.array([2.0]), TIGHT)
    np.testing.assert_allclose(certified, [0.75], atol=1e-5)


def test_a_need_limits_what_may_be_left_out(sessions_of: Sessions) -> None:
    """The car needs 6 of 8 slots: left out for two slots it catches up, left out for four it does not."""
    for slots, most in ((2, 1.0), (4, 0.5)):
        schedule = cp.Variable(8)
        reserve = reserve_copies(Position(schedule=schedule), product((0, 4), directions=(Direction.UP,), slots=slots))
        model = rules(schedule[:4] == 1.0) + reserve.term
        optimise_convex(sessions_of((0, 8, 1, 6)), schedule, model, copies=reserve.copies, limits=TIGHT)
        assert offer_of(reserve) == pytest.approx(most, abs=1e-6)


@pytest.mark.parametrize(
    ("build", "field"),
    [
        (lambda: product((0, 2), slots=3), "reserve.blocks[0]"),
        (lambda: product((0, 4), (-1, 4)), "reserve.blocks[1]"),
        (lambda: product((0, 4), slots=0), "reserve.activation_slots"),
        (product, "reserve"),
        (lambda: product((0, 4), directions=()), "reserve"),
        (lambda: product((0, 4), price=np.nan), "reserve.eur_per_kwh[0]"),
        (lambda: reserve_copies(Position(schedule=cp.Variable(4)), product((0, 2), (2, 5))), "reserve.blocks[1]"),
    ],
    ids=["short", "early", "no activation", "no block", "no direction", "nan", "late"],
)
def test_a_product_that_cannot_be_is_refused_by_name(build: Callable[[], object], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        build()
    assert refused.value.field == field


def test_activations_begin_back_to_back_and_one_ends_with_the_block() -> None:
    assert product((2, 9), slots=3).starts(0) == (2, 5, 6)
    assert product((0, 16), slots=16).starts(0) == (0,)
