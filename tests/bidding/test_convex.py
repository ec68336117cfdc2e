"""Convex models over the exact set of a fleet, against the same model with a variable per session and slot."""

import itertools
from collections.abc import Callable
from typing import Any

import cvxpy
import numpy as np
import pytest

from bidding.fleet.flexibility import FlexibilityTable
from bidding.fleet.sessions import SessionArrays, join_sessions, uncontrolled_schedule
from bidding.optimum.cone_program import Multipliers, cone_program
from bidding.optimum.convex import Fleet, mix_columns
from bidding.optimum.convex_optimum import ConvexOptimum, optimise_convex, solve_over_columns
from bidding.optimum.decomposition import SearchLimits
from bidding.optimum.outcome import Feasible, Infeasible, Proved, SolutionRejected, TimedOut
from bidding.optimum.terms import (
    Term,
    carbon_cost,
    demand_charge,
    energy_cost,
    energy_costs,
    expected_cost,
    imbalance_costs,
    mean_cvar,
    monotone_in_price,
    rules,
    site_cap,
    track_absolute,
    track_square,
    two_price_imbalance,
)
from gateway.domain.errors import InvalidInput

cp: Any = cvxpy
"""cvxpy does not export its functions for mypy."""
Sessions = Callable[..., SessionArrays]
Build = Callable[[cvxpy.Variable], Term]
TIGHT = SearchLimits(relative_gap=1e-8)


def direct_cost(sessions: SessionArrays, slot_count: int, build: Build) -> float | None:
    """The same model with a variable per session and slot: none of the product's columns or prices; None: nothing fits."""
    slot = np.arange(slot_count)
    here = (slot >= sessions.arrival_slot[:, None]) & (slot < sessions.departure_slot[:, None])
    energy = cp.Variable(here.shape, nonneg=True)
    schedule = cp.Variable(slot_count)
    model = build(schedule)
    charged = cp.sum(energy, axis=1)
    own = [
        energy <= here * sessions.rate_kwh_per_slot[:, None],
        charged >= sessions.energy_min_kwh,
        charged <= sessions.energy_max_kwh,
        schedule == cp.sum(energy, axis=0),
    ]
    problem = cp.Problem(cp.Minimize(model.cost), [*model.constraints, *own])
    problem.solve(solver=cp.CLARABEL)
    if problem.status in {cp.INFEASIBLE, cp.INFEASIBLE_INACCURATE}:
        return None
    assert problem.status == cp.OPTIMAL, problem.status
    return float(problem.value)


def solve(sessions: SessionArrays, slot_count: int, build: Build, limits: SearchLimits = TIGHT) -> ConvexOptimum:
    schedule = cp.Variable(slot_count)
    return optimise_convex(sessions, schedule, build(schedule), limits=limits)


def cost_of(optimum: ConvexOptimum) -> float:
    assert isinstance(optimum.outcome, Proved), optimum.outcome
    return optimum.outcome.objective_eur


def assert_followed(sessions: SessionArrays, optimum: ConvexOptimum) -> None:
    plan, schedule = optimum.session_schedule, optimum.schedule_kwh
    assert plan is not None
    assert schedule is not None
    total = plan.total_kwh()
    assert np.all(total >= sessions.energy_min_kwh - 1e-8)
    assert np.all(total <= sessions.energy_max_kwh + 1e-8)
    assert np.all(plan.energy_kwh >= 0.0)
    assert np.all(plan.energy_kwh <= sessions.rate_kwh_per_slot[plan.row] * (1 + 1e-9))
    np.testing.assert_allclose(plan.per_slot_kwh(len(schedule)), schedule, atol=1e-8)


# ---------------------------------------------------------------- hand cases


def test_06_a_cap_spreads_two_cars(sessions_of: Sessions) -> None:
    price = np.array([10.0, 20.0])
    best = solve(sessions_of((0, 2, 1, 1), (0, 2, 1, 1)), 2, lambda p: energy_cost(p, price) + site_cap(p, np.ones(2)))
    assert best.schedule_kwh is not None
    np.testing.assert_allclose(best.schedule_kwh, (1, 1), atol=1e-9)
    assert cost_of(best) == pytest.approx(30)


def test_07_the_car_that_leaves_first_goes_first(sessions_of: Sessions) -> None:
    price = np.array([10.0, 20.0])
    best = solve(sessions_of((0, 1, 1, 1), (0, 2, 1, 1)), 2, lambda p: energy_cost(p, price) + site_cap(p, np.ones(2)))
    assert cost_of(best) == pytest.approx(30)
    assert best.session_schedule is not None
    np.testing.assert_allclose(best.session_schedule.at(0), (1, 0), atol=1e-9)


def test_08_an_impossible_limit_is_explained(sessions_of: Sessions) -> None:
    price = np.array([10.0, 20.0])
    best = solve(sessions_of((0, 1, 1, 1), (0, 1, 1, 1)), 2, lambda p: energy_cost(p, price) + site_cap(p, np.ones(2)))
    assert best.schedule_kwh is None
    assert isinstance(best.outcome, Infeasible)
    (conflict,) = best.outcome.conflicts
    assert conflict.slots == (0,)
    assert conflict.must_flow_kwh == pytest.approx(2)
    assert conflict.allowed_kwh == pytest.approx(1)
    assert conflict.sessions == ("s0", "s1")


def test_more_than_the_fleet_can_draw_is_explained(sessions_of: Sessions) -> None:
    best = solve(sessions_of((0, 3, 1, 0, 2)), 3, lambda p: rules(p[0] + p[1] >= 1.5, p[1] >= 0.5, p[0] >= 1.25))
    assert isinstance(best.outcome, Infeasible)
    (conflict,) = best.outcome.conflicts
    assert conflict.slots == (0,)
    assert (conflict.must_flow_kwh, conflict.allowed_kwh) == pytest.approx((1.25, 1.0), abs=1e-6)
    assert conflict.sessions == ()


def test_a_model_that_contradicts_itself_is_infeasible_without_a_set_of_slots(sessions_of: Sessions) -> None:
    own = cp.Variable()
    best = solve(sessions_of((0, 2, 1, 1)), 2, lambda p: rules(own >= 2.0, own <= 1.0))
    assert best.outcome == Infeasible(conflicts=())


@pytest.mark.parametrize(("charge", "cost"), [(10.0, 22.0), (1.0, 4.0), (0.25, 1.0)])
def test_17_a_demand_charge_flattens_when_it_is_worth_it(sessions_of: Sessions, charge: float, cost: float) -> None:
    sessions = sessions_of((0, 2, 2, 2), (0, 2, 2, 2))
    best = solve(sessions, 2, lambda p: energy_cost(p, np.array([0.0, 1.0])) + demand_charge(p, charge))
    assert cost_of(best) == pytest.approx(cost)


def test_22_volume_curves_and_blocks_under_opposite_prices(sessions_of: Sessions) -> None:
    sessions, prices = sessions_of((0, 2, 1, 1)), np.array([[10.0, 50.0], [50.0, 10.0]])
    assert cost_of(solve(sessions, 2, lambda p: expected_cost(energy_costs(p, prices)))) == pytest.approx(30)
    assert curve_cost(sessions, prices) == pytest.approx(10)
    assert block_cost(sessions, prices) == pytest.approx(10)


def test_23_a_curve_cannot_tell_scenarios_of_one_price_apart_and_blocks_can(sessions_of: Sessions) -> None:
    sessions, prices = sessions_of((0, 2, 1, 1)), np.array([[10.0, 20.0], [30.0, 20.0]])
    assert cost_of(solve(sessions, 2, lambda p: expected_cost(energy_costs(p, prices)))) == pytest.approx(20)
    assert curve_cost(sessions, prices) == pytest.approx(20)
    assert block_cost(sessions, prices) == pytest.approx(15)


def curve_cost(sessions: SessionArrays, prices: np.ndarray) -> float:
    first, second = cp.Variable(2), cp.Variable(2)
    costs = cp.hstack([prices[0] @ first, prices[1] @ second])
    model = expected_cost(costs) + monotone_in_price([first, second], prices)
    return cost_of(optimise_convex(sessions, first, model, copies=[second], limits=TIGHT))


def block_cost(sessions: SessionArrays, prices: np.ndarray) -> float:
    """Two profile blocks, each free to be the fleet's best for the scenario that clears it."""
    first, second = cp.Variable(2), cp.Variable(2)
    model = expected_cost(cp.hstack([prices[0] @ first, prices[1] @ second]))
    return cost_of(optimise_convex(sessions, first, model, copies=[second], limits=TIGHT))


@pytest.mark.parametrize(("weight", "mean"), [(0.5, 60.0), (0.1, 55.0)])
def test_24_the_tail_weight_decides_whether_to_hedge(sessions_of: Sessions, weight: float, mean: float) -> None:
    prices = np.array([[60.0, 10.0], [60.0, 100.0]])  # the first slot is sure, the second a lottery with mean 55
    best = solve(
        sessions_of((0, 2, 1, 1)), 2, lambda p: mean_cvar(energy_costs(p, prices), tail_weight=weight, level=0.5)
    )
    assert best.schedule_kwh is not None
    assert float((prices @ best.schedule_kwh).mean()) == pytest.approx(mean, abs=1e-6)
    assert cost_of(best) == pytest.approx(60.0 if weight == 0.5 else 0.9 * 55 + 0.1 * 100)


def test_imbalance_holds_a_position_until_leaving_it_pays(sessions_of: Sessions) -> None:
    sessions, price = sessions_of((0, 2, 1, 1)), np.array([10.0, 20.0])
    position = np.array([0.0, 1.0])

    def cost(spread: float) -> float:
        spreads = np.full(2, spread)
        return cost_of(
            solve(sessions, 2, lambda p: energy_cost(p, price) + two_price_imbalance(p, position, spreads, spreads))
        )

    assert cost(6.0) == pytest.approx(20.0)
    assert cost(4.0) == pytest.approx(10.0 + 2 * 4.0)


def test_carbon_shifts_the_price(sessions_of: Sessions) -> None:
    price, intensity = np.array([10.0, 11.0]), np.array([0.5, 0.1])
    best = solve(sessions_of((0, 2, 1, 1)), 2, lambda p: energy_cost(p, price) + carbon_cost(p, intensity, 5.0))
    assert best.schedule_kwh is not None
    np.testing.assert_allclose(best.schedule_kwh, (0, 1), atol=1e-9)
    assert cost_of(best) == pytest.approx(11.5)


# ---------------------------------------------------------------- random fleets against the direct model


@pytest.mark.parametrize("with_range", [False, True])
def test_r1_sixty_capped_fleets_equal_the_lp(random_sessions: Sessions, oracle: Any, with_range: bool) -> None:
    rng = np.random.default_rng(21)
    solved = 0
    for _ in range(30):
        sessions = random_sessions(rng, 7, 8, with_range=with_range)
        price, cap = rng.uniform(-2, 5, 8), rng.uniform(0.5, 4.0, 8)

        def build(schedule: cvxpy.Variable, price: np.ndarray = price, cap: np.ndarray = cap) -> Term:
            return energy_cost(schedule, price) + site_cap(schedule, cap)

        expected = oracle.least_cost(sessions, price, cap)
        best = solve(sessions, 8, build)
        if expected is None:
            assert isinstance(best.outcome, Infeasible)
            worst = max(oracle.least(sessions, slots) - cap[slots].sum() for slots in oracle.subsets(8))
            assert best.outcome.conflicts[0].missing_kwh == pytest.approx(worst, abs=1e-6)
            continue
        solved += 1
        assert cost_of(best) == pytest.approx(expected, abs=1e-6)
        assert_followed(sessions, best)
    assert 5 <= solved <= 29


def scenario_model(rng: np.random.Generator, slot_count: int) -> Build:
    prices = rng.normal(0.1, 0.2, (6, slot_count))
    position, deviation = rng.uniform(0, 3, slot_count), rng.normal(0, 1, (6, slot_count))
    spread = rng.uniform(0, 0.3, slot_count)
    load, probability = rng.uniform(0, 2, slot_count), rng.dirichlet(np.ones(6))

    def build(schedule: cvxpy.Variable) -> Term:
        costs = energy_costs(schedule, prices) + imbalance_costs(schedule, position, spread, 0.5 * spread, deviation)
        risk = mean_cvar(costs, tail_weight=0.4, level=0.7, probability=probability)
        return risk + demand_charge(schedule + load, 0.7, peak_so_far_kwh=1.0)

    return build


def quadratic_model(rng: np.random.Generator, slot_count: int) -> Build:
    price, target = rng.normal(0.1, 0.3, slot_count), rng.uniform(0, 4, slot_count)
    cap = rng.uniform(4.0, 8.0, slot_count)
    return lambda p: energy_cost(p, price) + track_square(p, target, 0.1) + site_cap(p, cap)


def cone_model(rng: np.random.Generator, slot_count: int) -> Build:
    """A norm and an exponential: neither linear nor quadratic."""
    price, target = rng.normal(0.1, 0.3, slot_count), rng.uniform(0, 4, slot_count)
    return lambda p: Term(cost=price @ p + 0.3 * cp.norm2(p - target) + 0.05 * cp.log_sum_exp(0.3 * p))


def absolute_model(rng: np.random.Generator, slot_count: int) -> Build:
    price, target = rng.normal(0.1, 0.3, slot_count), rng.uniform(0, 4, slot_count)
    return lambda p: energy_cost(p, price) + track_absolute(p, target, 0.2)


def quadratic_form_model(rng: np.random.Generator, slot_count: int) -> Build:
    """The schedule itself in a quadratic form, beside a variable of the model's own."""
    factor = rng.normal(0, 0.3, (slot_count, slot_count))

    def build(schedule: cvxpy.Variable) -> Term:
        own = cp.Variable()
        return Term(cost=cp.quad_form(schedule, factor @ factor.T) + own**2 - own, constraints=(own >= schedule[0],))

    return build


@pytest.mark.parametrize("family", [scenario_model, quadratic_model, cone_model, absolute_model, quadratic_form_model])
def test_every_family_equals_the_direct_model(
    random_sessions: Sessions, family: Callable[[np.random.Generator, int], Build]
) -> None:
    rng = np.random.default_rng(22)
    solved = 0
    for _ in range(6):
        sessions = random_sessions(rng, 8, 10, with_range=True)
        build = family(rng, 10)
        expected = direct_cost(sessions, 10, build)
        best = solve(sessions, 10, build, SearchLimits(relative_gap=1e-6))
        if expected is None:
            assert isinstance(best.outcome, Infeasible)
            continue
        solved += 1
        assert cost_of(best) == pytest.approx(expected, abs=2e-5)
        assert isinstance(best.outcome, Proved)
        assert best.outcome.lower_bound_eur <= expected + 1e-6
        assert_followed(sessions, best)
    assert solved >= 3


def test_bounds_on_the_models_own_variables_give_honest_multipliers(random_sessions: Sessions) -> None:
    """Variables held at either bound, fixed ones and ones bounded twice: each reaches the bound by another path."""
    rng = np.random.default_rng(23)
    for _ in range(10):
        sessions = random_sessions(rng, 6, 6)
        price = rng.uniform(0, 2, 6)

        def build(schedule: cvxpy.Variable, price: np.ndarray = price) -> Term:
            help_kwh, held = cp.Variable(6, nonneg=True), cp.Variable(bounds=[1.0, 3.0])
            constraints = (help_kwh <= 0.5, 2 * help_kwh[0] <= 0.6, -3 * help_kwh[1] <= -0.3, help_kwh[2] == 0.25)
            cost = price @ (schedule - help_kwh) + 0.1 * cp.sum(help_kwh) + held
            return Term(cost=cost, constraints=constraints) + site_cap(schedule - help_kwh, np.full(6, 5.0))

        expected = direct_cost(sessions, 6, build)
        best = solve(sessions, 6, build)
        if expected is not None:
            assert cost_of(best) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("slot_count", [92, 96, 100])
def test_r7_a_city_with_scenarios_on_days_of_any_length(
    city_sessions: Sessions, evening_prices: Callable[..., np.ndarray], slot_count: int
) -> None:
    sessions, price = city_sessions(2000, slot_count), evening_prices(slot_count)
    cap = np.full(slot_count, 0.6 * uncontrolled_schedule(sessions, sessions.energy_min_kwh, slot_count).max())
    prices = price + np.random.default_rng(24).normal(0, 0.02, (20, slot_count))
    schedule = cp.Variable(slot_count)
    model = (
        mean_cvar(energy_costs(schedule, prices), tail_weight=0.5, level=0.9)
        + demand_charge(schedule, 2.0, peak_so_far_kwh=0.5 * float(cap[0]))
        + site_cap(schedule, cap)
    )
    best = optimise_convex(sessions, schedule, model, seeds=[price], limits=SearchLimits(relative_gap=1e-4))
    assert isinstance(best.outcome, Proved)
    assert best.outcome.gap_eur <= 1e-4 * best.outcome.objective_eur
    assert best.schedule_kwh is not None
    assert best.schedule_kwh.sum() == pytest.approx(sessions.energy_min_kwh.sum(), rel=1e-9)
    assert_followed(sessions, best)


def test_r9_a_tighter_cap_never_lowers_the_cost(
    city_sessions: Sessions, evening_prices: Callable[..., np.ndarray]
) -> None:
    sessions, price = city_sessions(300), evening_prices()
    peak = uncontrolled_schedule(sessions, sessions.energy_min_kwh, 96).max()
    outcomes = []
    for share in (1.0, 0.6, 0.45):
        cap = np.full(96, share * peak)

        def build(schedule: cvxpy.Variable, cap: np.ndarray = cap) -> Term:
            return energy_cost(schedule, price) + demand_charge(schedule, 0.5) + site_cap(schedule, cap)

        outcomes.append(solve(sessions, 96, build, SearchLimits(relative_gap=1e-6)).outcome)
    for looser, tighter in itertools.pairwise(outcomes):
        assert isinstance(looser, Proved)
        assert isinstance(tighter, Proved | Infeasible)
        if isinstance(tighter, Proved):
            assert tighter.objective_eur >= looser.lower_bound_eur


# ---------------------------------------------------------------- what must hold besides


def test_the_price_makes_every_session_choose_its_part(random_sessions: Sessions) -> None:
    """At the prices that come with the result the schedule is a best response: nobody would rather do otherwise."""
    rng = np.random.default_rng(25)
    sessions = random_sessions(rng, 10, 8)
    target = np.full(8, 4.0)
    best = solve(sessions, 8, lambda p: track_square(p, target, 0.5), SearchLimits(relative_gap=1e-7))
    assert best.price_eur_per_kwh is not None
    assert best.schedule_kwh is not None
    np.testing.assert_allclose(best.price_eur_per_kwh, best.schedule_kwh - target, atol=1e-2)


def test_a_spent_budget_is_said(city_sessions: Sessions, evening_prices: Callable[..., np.ndarray]) -> None:
    sessions, price = city_sessions(300), evening_prices()
    peak = uncontrolled_schedule(sessions, sessions.energy_min_kwh, 96).max()
    done = 0.5 * peak
    halfway = solve(
        sessions,
        96,
        lambda p: energy_cost(p, price) + site_cap(p, np.full(96, done)),
        SearchLimits(relative_gap=1e-9, iteration_limit=40),
    )
    assert isinstance(halfway.outcome, Feasible)
    assert halfway.outcome.gap_eur > 0.0
    none = solve(
        sessions,
        96,
        lambda p: energy_cost(p, price) + site_cap(p, np.full(96, done)),
        SearchLimits(iteration_limit=1),
    )
    assert isinstance(none.outcome, TimedOut)


def test_two_fleets_of_their_own_share_a_limit(random_sessions: Sessions, oracle: Any) -> None:
    rng = np.random.default_rng(26)
    first, second = random_sessions(rng, 6, 8), random_sessions(rng, 5, 8)
    price, cap = rng.uniform(0, 5, 8), np.full(8, 6.0)
    here, there = cp.Variable(8), cp.Variable(8)
    fleets = [
        Fleet(schedule=here, table=FlexibilityTable.build(first, 8)),
        Fleet(schedule=there, table=FlexibilityTable.build(second, 8)),
    ]
    mixture = mix_columns(fleets, energy_cost(here + there, price) + site_cap(here + there, cap), limits=TIGHT)
    assert mixture.is_proved
    expected = oracle.least_cost(join_sessions([first, second]), price, cap)
    assert mixture.lower_bound_eur == pytest.approx(expected, abs=1e-6)
    drawn = sum(mixed.schedule_kwh for mixed in mixture.fleets)
    assert float(price @ drawn) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("build", "field"),
    [
        (lambda p: Term(cost=-cp.sum_squares(p)), "cost"),
        (lambda p: Term(cost=p), "cost"),
        (lambda p: rules(cp.sum_squares(p) >= 1), "constraints[0]"),
        (lambda p: rules(cp.Variable(integer=True) >= p[0]), "constraints"),
        (lambda p: Term(cost=cp.Variable()), "cost"),
        (lambda p: mean_cvar(p, tail_weight=1.5, level=0.5), "tail_weight"),
        (lambda p: mean_cvar(p, tail_weight=0.5, level=1.0), "level"),
        (lambda p: expected_cost(p, np.array([0.5, 0.6, -0.1])), "probability[2]"),
        (lambda p: expected_cost(p, np.array([0.5, 0.4, 0.0])), "probability"),
        (lambda p: demand_charge(p, -1.0), "eur_per_peak_kwh"),
        (lambda p: two_price_imbalance(p, np.zeros(3), np.array([0, -1.0, 0]), np.zeros(3)), "shortage_eur_per_kwh[1]"),
    ],
    ids=["concave", "vector", "rule", "integer", "endless", "weight", "level", "chance", "sum", "charge", "spread"],
)
def test_a_model_no_convex_solver_can_take_is_refused_by_name(sessions_of: Sessions, build: Build, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        solve(sessions_of((0, 3, 1, 1)), 3, build)
    assert refused.value.field == field


def test_a_schedule_with_attributes_is_refused(sessions_of: Sessions) -> None:
    schedule = cp.Variable(3, nonneg=True)
    with pytest.raises(InvalidInput) as refused:
        optimise_convex(sessions_of((0, 3, 1, 1)), schedule, energy_cost(schedule, np.ones(3)))
    assert refused.value.field == "schedules[0]"


def test_nobody_there_is_a_schedule_of_zeros(sessions_of: Sessions) -> None:
    nobody = sessions_of((0, 1, 1, 1)).select(np.zeros(0, dtype=int))
    best = solve(nobody, 4, lambda p: energy_cost(p, np.ones(4)) + track_square(p, np.ones(4), 1.0))
    assert cost_of(best) == pytest.approx(4.0, abs=1e-6)
    assert best.schedule_kwh is not None
    assert not best.schedule_kwh.any()


def test_a_wrong_solution_is_never_returned(sessions_of: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "bidding.optimum.convex.PriceResponse.schedule", lambda self, price, *known: np.ones(len(price))
    )
    with pytest.raises(SolutionRejected, match="sum"):
        solve(sessions_of((0, 2, 1, 1)), 2, lambda p: energy_cost(p, np.array([1.0, 2.0])))


def test_a_broken_rule_of_the_model_is_found(sessions_of: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:

    def careless(fleets: Any, mixture: Any, model: Term) -> Any:
        return solve_over_columns(fleets, mixture, Term(cost=model.cost))

    monkeypatch.setattr("bidding.optimum.convex_optimum.solve_over_columns", careless)
    with pytest.raises(SolutionRejected, match=r"model\[0\]"):
        solve(
            sessions_of((0, 2, 1, 1), (0, 2, 1, 1)),
            2,
            lambda p: energy_cost(p, np.array([1.0, 2.0])) + site_cap(p, np.ones(2)),
        )


def test_what_multipliers_leave_on_the_models_own_variables_counts_against_the_bound() -> None:
    schedule, own = cp.Variable(2), cp.Variable(2)
    program = cone_program(cp.sum(own), [own >= schedule, own <= 9.0], [schedule])
    rows = np.zeros(len(program.side))
    rows[:2] = 1.0  # own >= schedule at multiplier 1: the cost of own is used up
    exact = Multipliers(rows=rows, point=np.ones(4))
    assert program.bound(exact, 3.0, with_cost=True) == pytest.approx(3.0)
    off = Multipliers(rows=0.9 * rows, point=np.ones(4))
    assert program.bound(off, 3.0, with_cost=True) < 3.0 - 2 * 0.1
    np.testing.assert_allclose(program.fleet_prices(off, with_cost=True), [[0.9, 0.9]])
