"""Columns of drivers with different prices reach the optimum of the session model, and every session's answer is its best."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bidding.arrays import FloatArray, sum_by
from bidding.fleet.sessions import SessionArrays
from bidding.goals.column_model import solve_goal_columns
from bidding.goals.demand import GoalPrices, demand_of
from bidding.goals.plan import plan_goals
from bidding.goals.response import GoalProblem, earliest_draw, respond_alone
from bidding.goals.session_model import solve_goal_model
from bidding.goals.wishes import DriverWishes, Goal, PriceSteps
from bidding.optimum.coupling import Coupling, DemandCharge
from bidding.optimum.decomposition import SearchLimits
from bidding.optimum.optimise import OptimiserOptions
from bidding.optimum.outcome import Proved

Sessions = Callable[..., SessionArrays]
BY_COLUMNS = OptimiserOptions(session_model_limit=0)


def mixed_wishes(rng: np.random.Generator, cars: SessionArrays) -> DriverWishes:
    """A fifth each: guaranteed, cheapest, greenest, capped, boost; some with a minimum."""
    count = len(cars)
    goal = np.arange(count) % 5
    rows = np.flatnonzero(goal == Goal.CAPPED)
    full = float(cars.energy_max_kwh.max()) + 1.0
    energy = cars.energy_max_kwh[rows]
    return DriverWishes(
        cars=cars,
        goal=goal,
        carbon_weight=np.where(goal == Goal.GREENEST, rng.choice([0.5, 1.0], count), 0.0),
        boost_kwh=np.where(goal == Goal.BOOST, 0.6 * cars.energy_max_kwh + 1e-6, 0.0).clip(0.0, cars.energy_max_kwh),
        minimum_kwh=np.where(rng.random(count) < 0.3, 0.3 * cars.energy_min_kwh, 0.0),
        steps=PriceSteps(
            session_row=np.repeat(rows, 2),
            share=np.column_stack([0.6 * energy / full, energy / full]).ravel().clip(1e-6)
            + np.tile([0, 1e-6], len(rows)),
            price_cap_eur_per_kwh=np.tile([0.09, 0.05], len(rows)),
        ),
        full_kwh=np.full(count, full),
        state_of_charge=np.zeros(count),
    )


def prices_of(rng: np.random.Generator, price: FloatArray) -> GoalPrices:
    return GoalPrices(
        price_eur_per_kwh=price, carbon_kg_per_kwh=rng.uniform(0.1, 0.5, len(price)), carbon_eur_per_kg=0.2
    )


def whole_problem(wishes: DriverWishes, prices: GoalPrices) -> GoalProblem:
    demand = demand_of(wishes, prices)
    return GoalProblem(
        cars=wishes.cars,
        need_kwh=demand.need_kwh,
        demand=demand,
        floor_kwh=earliest_draw(wishes.cars, demand.minimum_kwh),
    )


def test_the_answer_of_every_session_is_its_optimum(random_sessions: Sessions) -> None:
    """Against the model with no limit at all, with fixed draw in the way, negative prices and ties."""
    rng = np.random.default_rng(31)
    for _ in range(15):
        cars = random_sessions(rng, 10, 8, with_range=True)
        problem = whole_problem(mixed_wishes(rng, cars), prices_of(rng, rng.integers(-3, 12, 8) / 100.0))
        answer = respond_alone(problem, np.zeros(8))
        best = solve_goal_model(problem, Coupling(cap_kwh=np.full(8, np.inf)))
        assert best is not None
        assert problem.cost_eur(answer) == pytest.approx(problem.cost_eur(best.entry_kwh), abs=1e-6)
        assert np.all(answer >= problem.floor_kwh - 1e-12)
        assert np.all(answer <= cars.rate_kwh_per_slot[problem.row] + 1e-9)
        total = sum_by(problem.row, answer, 10)
        assert np.all(total >= problem.need_kwh - 1e-9)
        assert np.all(total <= problem.demand.top_kwh + 1e-9)


@pytest.mark.parametrize("slot_count", [92, 96, 100])
@pytest.mark.parametrize("with_charge", [False, True])
def test_columns_and_sessions_agree(
    city_sessions: Sessions, evening_prices: Any, slot_count: int, with_charge: bool
) -> None:
    rng = np.random.default_rng(slot_count)
    cars = city_sessions(40, slot_count)
    most = np.minimum(cars.energy_max_kwh * 1.3, cars.rate_kwh_per_slot * cars.window_length)
    wishes = mixed_wishes(rng, cars.with_energy(cars.energy_min_kwh * 0.8, most))
    prices = prices_of(rng, evening_prices(slot_count))
    peak = plan_goals(wishes, prices, Coupling(cap_kwh=np.full(slot_count, np.inf))).schedule_kwh.max()
    charge = DemandCharge(eur_per_peak_kwh=0.5, peak_so_far_kwh=0.1 * peak, load_kwh=np.zeros(slot_count))
    coupling = Coupling(cap_kwh=np.full(slot_count, 0.6 * peak), demand_charge=charge if with_charge else None)
    by_session, by_columns = (
        plan_goals(wishes, prices, coupling),
        plan_goals(wishes, prices, coupling, options=BY_COLUMNS),
    )
    assert isinstance(by_session.outcome, Proved)
    assert isinstance(by_columns.outcome, Proved)
    assert by_columns.outcome.objective_eur == pytest.approx(by_session.outcome.objective_eur, rel=2e-6)
    np.testing.assert_allclose(by_columns.served_kwh, by_session.served_kwh, atol=1e-6)


def test_columns_say_when_nothing_fits(sessions_of: Sessions) -> None:
    wishes = DriverWishes(cars=sessions_of((0, 2, 2, 3), (0, 2, 2, 1)), goal=np.array([1, 1]))
    problem = whole_problem(wishes, GoalPrices(price_eur_per_kwh=np.array([0.1, 0.2])))
    assert solve_goal_columns(problem, Coupling(cap_kwh=np.array([1.9, 2.0])), SearchLimits()) is None
    fits = solve_goal_columns(problem, Coupling(cap_kwh=np.array([2.0, 2.0])), SearchLimits())
    assert fits is not None
    assert sum_by(problem.slot, fits.entry_kwh, 2) == pytest.approx([2, 2])


def test_shares_are_the_same_by_columns(sessions_of: Sessions) -> None:
    wishes = DriverWishes(cars=sessions_of((0, 2, 2, 3), (0, 2, 2, 1)), goal=np.array([1, 1]))
    prices = GoalPrices(price_eur_per_kwh=np.array([0.1, 0.2]))
    plan = plan_goals(wishes, prices, Coupling(cap_kwh=np.ones(2)), options=BY_COLUMNS)
    assert plan.served_kwh == pytest.approx([1.5, 0.5])
    assert plan.session_schedule.total_kwh() == pytest.approx([1.5, 0.5])
