"""Plans of wishes against an LP that spells every step out, hand cases, and what must hold for every plan."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from bidding.arrays import FloatArray
from bidding.fleet.sessions import SessionArrays
from bidding.goals.demand import Demand, GoalPrices
from bidding.goals.plan import GoalPlan, plan_goals
from bidding.goals.verify import verify_plan
from bidding.goals.wishes import DriverWishes, Goal, PriceSteps
from bidding.optimum.coupling import Coupling, DemandCharge
from bidding.optimum.disaggregation import SessionSchedule
from bidding.optimum.optimise import optimise
from bidding.optimum.outcome import Proved
from gateway.domain.errors import InvalidInput

Sessions = Callable[..., SessionArrays]
ANY_PRICE = np.inf


def drawn(plan: GoalPlan) -> FloatArray:
    """The plan as a matrix (N, T)."""
    matrix = np.zeros((len(plan.wishes.cars), len(plan.schedule_kwh)))
    matrix[plan.session_schedule.row, plan.session_schedule.slot] = plan.session_schedule.energy_kwh
    return matrix


def capped(cars: SessionArrays, *steps: tuple[int, float, float], full_kwh: float = 10.0) -> DriverWishes:
    """Wishes with steps (row, energy, cap); sessions without are CHEAPEST."""
    rows = [row for row, _, _ in steps]
    return DriverWishes(
        cars=cars,
        goal=np.where(np.isin(np.arange(len(cars)), rows), int(Goal.CAPPED), int(Goal.CHEAPEST)),
        steps=PriceSteps(
            session_row=np.array(rows, dtype=np.int64),
            share=np.array([energy / full_kwh for _, energy, _ in steps]),
            price_cap_eur_per_kwh=np.array([cap for _, _, cap in steps]),
        ),
        full_kwh=np.full(len(cars), full_kwh),
        state_of_charge=np.zeros(len(cars)),
    )


def least_cost_with_steps(
    cars: SessionArrays, demand: Demand, money: FloatArray, cap: FloatArray, peak_price: float = 0.0
) -> float:
    """The same plan with a variable per session, slot and part: parts of one car share its rate, and no part is charged in
    a slot dearer than it is worth. Written from the definition, without the concavity the product relies on."""
    own = demand.class_price_eur_per_kwh[demand.class_of]
    size = np.column_stack([demand.need_kwh, demand.step_kwh])
    worth = np.column_stack([np.full(len(cars), np.inf), demand.step_value_eur_per_kwh])
    count, slots, parts = len(cars), len(money), size.shape[1]
    inside = (np.arange(slots) >= cars.arrival_slot[:, None]) & (np.arange(slots) < cars.departure_slot[:, None])
    may = inside[:, None, :] & (own[:, None, :] <= worth[:, :, None])
    upper = np.where(may, cars.rate_kwh_per_slot[:, None, None], 0.0).ravel()
    cost = (own[:, None, :] - np.where(np.isinf(worth), 0.0, worth)[:, :, None]).ravel()
    rate = sp.kron(sp.eye(count), sp.kron(np.ones((1, parts)), sp.eye(slots)))
    total = sp.kron(sp.eye(count * parts), np.ones((1, slots)))
    site = sp.kron(np.ones((1, count * parts)), sp.eye(slots))
    none = sp.csr_matrix((count * slots, 1))
    rows: Any = sp.csr_matrix(
        sp.vstack(
            [
                sp.hstack([rate, none]),
                sp.hstack([total, sp.csr_matrix((count * parts, 1))]),
                sp.hstack([site, sp.csr_matrix((slots, 1))]),
                sp.hstack([site, sp.csr_matrix(-np.ones((slots, 1)))]),
            ]
        )
    )
    sides = [np.repeat(cars.rate_kwh_per_slot, slots), size.ravel(), cap, np.zeros(slots)]
    needs = np.zeros((count, count * parts * slots + 1))
    for i in range(count):
        needs[i, i * parts * slots : i * parts * slots + slots] = 1.0
    result = linprog(
        np.append(cost, peak_price),
        A_ub=rows,
        b_ub=np.concatenate(sides),
        A_eq=needs,
        b_eq=demand.need_kwh,
        bounds=[*((0.0, high) for high in upper), (0.0, None)],
    )
    assert result.fun is not None
    return float(result.fun)


def test_eighty_percent_if_below_fifteen_cents_else_fifty(sessions_of: Sessions) -> None:
    wishes = capped(sessions_of((0, 6, 2, 0, 10)), (0, 5.0, ANY_PRICE), (0, 8.0, 0.15))
    free = Coupling(cap_kwh=np.full(6, np.inf))
    cheap = plan_goals(wishes, GoalPrices(price_eur_per_kwh=np.array([0.3, 0.2, 0.15, 0.1, 0.15, 0.12])), free)
    assert drawn(cheap).tolist() == [[0, 0, 2, 2, 2, 2]]
    dear = plan_goals(wishes, GoalPrices(price_eur_per_kwh=np.array([0.3, 0.2, 0.16, 0.1, 0.2, 0.25])), free)
    assert drawn(dear).tolist() == [[0, 1, 2, 2, 0, 0]]
    # Two cheap slots: 4 kWh below the cap; 1 kWh of the 50 % must be bought dear, and no more.
    one = plan_goals(wishes, GoalPrices(price_eur_per_kwh=np.array([0.3, 0.2, 0.14, 0.1, 0.2, 0.25])), free)
    assert one.session_schedule.total_kwh().tolist() == [5]


def test_steps_as_sessions_of_their_own_would_break_the_rate(sessions_of: Sessions) -> None:
    """Both parts want slot 0; the car can charge 1 kWh there, not 2."""
    wishes = capped(sessions_of((0, 2, 1, 0, 2)), (0, 1.0, ANY_PRICE), (0, 2.0, 0.15))
    plan = plan_goals(wishes, GoalPrices(price_eur_per_kwh=np.array([0.1, 0.2])), Coupling(cap_kwh=np.full(2, 9.0)))
    assert drawn(plan).tolist() == [[1, 0]]
    both = plan_goals(wishes, GoalPrices(price_eur_per_kwh=np.array([0.1, 0.15])), Coupling(cap_kwh=np.full(2, 9.0)))
    assert drawn(both).tolist() == [[1, 1]]


def random_case(
    rng: np.random.Generator, cars: SessionArrays, slot_count: int
) -> tuple[DriverWishes, GoalPrices, Coupling]:
    """Wishes of every kind with prices in whole cents, ties and negative ones among them."""
    count = len(cars)
    goal = rng.integers(0, 5, count)
    steps: list[tuple[int, float, float]] = []
    full = float(cars.energy_max_kwh.max()) * 1.2 + 0.1
    for row in np.flatnonzero(goal == Goal.CAPPED):
        share = np.sort(rng.uniform(0.05, 1.0, 3))
        cap = np.sort(rng.choice(np.arange(-5, 40), 3, replace=False) / 100.0)[::-1]
        cap[0] = ANY_PRICE if rng.random() < 0.5 else cap[0]
        steps += [(int(row), float(s), float(c)) for s, c in zip(share, cap, strict=True)]
    wishes = DriverWishes(
        cars=cars,
        goal=goal,
        carbon_weight=np.where(goal == Goal.GREENEST, rng.choice([0.3, 1.0], count), 0.0),
        minimum_kwh=np.where(rng.random(count) < 0.3, cars.energy_max_kwh * rng.uniform(0, 0.6, count), 0.0),
        boost_kwh=np.where(goal == Goal.BOOST, cars.energy_max_kwh * rng.uniform(0.1, 1, count) + 1e-9, 0.0).clip(
            0.0, cars.energy_max_kwh
        ),
        steps=PriceSteps(
            session_row=np.array([row for row, _, _ in steps], dtype=np.int64),
            share=np.array([share for _, share, _ in steps]),
            price_cap_eur_per_kwh=np.array([cap for _, _, cap in steps]),
        ),
        full_kwh=np.full(count, full),
        state_of_charge=rng.uniform(0, 0.3, count),
    )
    prices = GoalPrices(
        price_eur_per_kwh=rng.integers(-4, 40, slot_count) / 100.0,
        carbon_kg_per_kwh=rng.uniform(0.1, 0.6, slot_count),
        carbon_eur_per_kg=0.3,
    )
    most = float(cars.rate_kwh_per_slot.sum())
    return wishes, prices, Coupling(cap_kwh=rng.uniform(0.1, 0.9, slot_count) * most)


@pytest.mark.parametrize("with_charge", [False, True])
def test_steps_and_different_prices_reach_the_optimum_of_the_spelled_out_lp(
    random_sessions: Sessions, with_charge: bool
) -> None:
    rng = np.random.default_rng(5)
    compared = 0
    for _ in range(40):
        cars = random_sessions(rng, 5, 8, with_range=True)
        cars = cars.with_energy(cars.energy_min_kwh * 0.4, cars.energy_max_kwh)
        wishes, prices, coupling = random_case(rng, cars, 8)
        if with_charge:
            charge = DemandCharge(eur_per_peak_kwh=0.2, peak_so_far_kwh=0.0, load_kwh=np.zeros(8))
            coupling = Coupling(cap_kwh=coupling.cap_kwh, demand_charge=charge)
        wishes = DriverWishes(
            cars=cars,
            goal=np.where(wishes.goal == Goal.BOOST, int(Goal.CHEAPEST), wishes.goal),
            carbon_weight=wishes.carbon_weight,
            steps=wishes.steps,
            full_kwh=wishes.full_kwh,
            state_of_charge=wishes.state_of_charge,
        )
        plan = plan_goals(wishes, prices, coupling)
        if plan.is_best_effort:
            continue
        assert isinstance(plan.outcome, Proved)
        peak_price = 0.2 if with_charge else 0.0
        best = least_cost_with_steps(cars, plan.demand, prices.price_eur_per_kwh, coupling.cap_kwh, peak_price)
        assert plan.outcome.objective_eur == pytest.approx(best, abs=1e-6)
        compared += 1
    assert compared > 15


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_what_holds_for_every_plan(random_sessions: Sessions, seed: int) -> None:
    rng = np.random.default_rng(seed)
    cars = random_sessions(rng, 6, 10, with_range=True)
    wishes, prices, coupling = random_case(rng, cars, 10)
    plan = plan_goals(wishes, prices, coupling)
    matrix, demand = drawn(plan), plan.demand
    assert isinstance(plan.outcome, Proved)
    assert np.all(matrix.sum(axis=0) <= coupling.cap_kwh + 1e-6)
    total = matrix.sum(axis=1)
    assert np.all(total >= plan.served_kwh - 1e-6)
    # What is guaranteed is never violated when it is feasible.
    firm = cars.with_energy(demand.firm_kwh, demand.firm_kwh)
    if optimise(firm, np.zeros(10), coupling).schedule_kwh is not None:
        assert np.all(total >= demand.firm_kwh - 1e-5)
    # A step is never charged above its cap.
    assert wishes.steps is not None
    assert wishes.full_kwh is not None
    assert wishes.state_of_charge is not None
    level = np.maximum(plan.served_kwh, 0.0)
    for row, share, cap in zip(
        wishes.steps.session_row, wishes.steps.share, wishes.steps.price_cap_eur_per_kwh, strict=True
    ):
        dear = float(matrix[row][prices.price_eur_per_kwh > cap + 1e-5].sum())
        assert dear <= level[row] + 1e-5
        level[row] = max(level[row], max(share - wishes.state_of_charge[row], 0.0) * wishes.full_kwh[row])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_boost_is_never_slower_than_any_other_goal(random_sessions: Sessions, seed: int) -> None:
    rng = np.random.default_rng(seed)
    cars = random_sessions(rng, 5, 8)
    coupling = Coupling(cap_kwh=rng.uniform(0.3, 0.9, 8) * float(cars.rate_kwh_per_slot.sum()))
    prices = GoalPrices(
        price_eur_per_kwh=rng.integers(0, 30, 8) / 100, carbon_kg_per_kwh=rng.random(8), carbon_eur_per_kg=1.0
    )
    waiting = {}
    served = {}
    for goal in (Goal.BOOST, Goal.GUARANTEED, Goal.CHEAPEST, Goal.GREENEST):
        first = np.arange(5) == 0
        wishes = DriverWishes(
            cars=cars,
            goal=np.where(first, int(goal), int(Goal.CHEAPEST)),
            carbon_weight=np.where(first & (goal is Goal.GREENEST), 1.0, 0.0),
            boost_kwh=np.where(first & (goal is Goal.BOOST), cars.energy_max_kwh, 0.0),
        )
        plan = plan_goals(wishes, prices, coupling)
        mine = drawn(plan)[0]
        served[goal] = mine.sum()
        waiting[goal] = float(np.arange(8) @ mine) + 8.0 * float(cars.energy_max_kwh[0] - mine.sum())
    assert served[Goal.BOOST] >= served[Goal.CHEAPEST] - 1e-6
    assert waiting[Goal.BOOST] <= min(waiting.values()) + 1e-5


def test_a_boost_goes_first_but_not_over_what_is_guaranteed(sessions_of: Sessions) -> None:
    """One kWh fits into each slot; the guaranteed car must leave after slot 1 and needs both."""
    cars = sessions_of((0, 4, 1, 2), (0, 2, 1, 2), (0, 4, 1, 0))
    wishes = DriverWishes(
        cars=cars, goal=np.array([Goal.BOOST, Goal.GUARANTEED, Goal.CHEAPEST]), boost_kwh=np.array([2.0, 0, 0])
    )
    prices = GoalPrices(price_eur_per_kwh=np.array([0.1, 0.1, 0.3, 0.2]))
    plan = plan_goals(wishes, prices, Coupling(cap_kwh=np.ones(4)))
    np.testing.assert_allclose(drawn(plan), [[0, 0, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]], atol=1e-6)
    roomy = plan_goals(wishes, prices, Coupling(cap_kwh=np.full(4, 2.0)))
    np.testing.assert_allclose(drawn(roomy), [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]], atol=1e-6)


def test_a_boost_goes_before_the_minimum_of_another(sessions_of: Sessions) -> None:
    wishes = DriverWishes(
        cars=sessions_of((0, 4, 1, 1), (0, 4, 1, 1)),
        goal=np.array([Goal.CHEAPEST, Goal.BOOST]),
        minimum_kwh=np.array([1.0, 0.0]),
        boost_kwh=np.array([0.0, 1.0]),
    )
    prices = GoalPrices(price_eur_per_kwh=np.array([0.4, 0.3, 0.2, 0.1]))
    plan = plan_goals(wishes, prices, Coupling(cap_kwh=np.ones(4)))
    np.testing.assert_allclose(drawn(plan), [[0, 1, 0, 0], [1, 0, 0, 0]], atol=1e-6)


def test_the_independent_check_sees_a_step_above_its_cap_and_a_late_boost(sessions_of: Sessions) -> None:
    wishes = capped(sessions_of((0, 2, 1, 0, 2), (0, 2, 1, 1)), (0, 2.0, 0.15))
    price, coupling = np.array([0.1, 0.2]), Coupling(cap_kwh=np.full(2, 9.0))
    urgent = np.array([0.0, 0.0, 1.0, 0.0])

    def rules_broken(*energy_kwh: float) -> list[str]:
        plan = SessionSchedule(offset=np.array([0, 2, 4]), slot=np.array([0, 1, 0, 1]), energy_kwh=np.array(energy_kwh))
        found = verify_plan(wishes, price, coupling, np.array([0.0, 1.0]), urgent, plan)
        return [violation.rule for violation in found]

    assert rules_broken(1, 0, 1, 0) == []
    assert rules_broken(1, 0.5, 1, 0) == ["price-cap"]
    assert rules_broken(1, 0, 0, 1) == ["urgent"]
    assert rules_broken(1.5, 0, 1, 0) == ["rate"]


def test_a_minimum_comes_first_and_the_rest_where_it_is_cheap(sessions_of: Sessions) -> None:
    cars = sessions_of((1, 6, 2, 6), (0, 6, 2, 2))
    wishes = DriverWishes(cars=cars, goal=np.array([Goal.CHEAPEST, Goal.CHEAPEST]), minimum_kwh=np.array([3.0, 0.0]))
    prices = GoalPrices(price_eur_per_kwh=np.array([0.5, 0.4, 0.4, 0.3, 0.1, 0.2]))
    plan = plan_goals(wishes, prices, Coupling(cap_kwh=np.full(6, 9.0)))
    np.testing.assert_allclose(drawn(plan), [[0, 2, 1, 0, 2, 1], [0, 0, 0, 0, 2, 0]], atol=1e-9)
    # Beside a limit of 1 kWh in slot 1 the minimum takes three slots instead of two.
    cap = np.array([9.0, 1.0, 1.0, 9.0, 9.0, 9.0])
    tight = plan_goals(wishes, prices, Coupling(cap_kwh=cap))
    np.testing.assert_allclose(drawn(tight)[0], [0, 1, 1, 1, 2, 1], atol=1e-6)


def test_drivers_with_different_weights_see_different_prices(sessions_of: Sessions) -> None:
    cars = sessions_of((0, 3, 1, 1), (0, 3, 1, 1), (0, 3, 1, 1))
    wishes = DriverWishes(
        cars=cars,
        goal=np.array([Goal.CHEAPEST, Goal.GREENEST, Goal.GREENEST]),
        carbon_weight=np.array([0.0, 0.5, 1.0]),
    )
    prices = GoalPrices(
        price_eur_per_kwh=np.array([0.10, 0.15, 0.40]),
        carbon_kg_per_kwh=np.array([0.5, 0.3, 0.2]),
        carbon_eur_per_kg=1.0,
    )
    plan = plan_goals(wishes, prices, Coupling(cap_kwh=np.full(3, 9.0)))
    assert drawn(plan).tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


@pytest.mark.parametrize("slot_count", [92, 96, 100])
def test_a_market_day_of_any_length(city_sessions: Sessions, evening_prices: Any, slot_count: int) -> None:
    rng = np.random.default_rng(slot_count)
    cars = city_sessions(60, slot_count)
    most = np.minimum(cars.energy_max_kwh * 1.5, cars.rate_kwh_per_slot * cars.window_length)
    wishes, _, _ = random_case(rng, cars.with_energy(cars.energy_min_kwh, most), slot_count)
    prices = GoalPrices(
        price_eur_per_kwh=evening_prices(slot_count),
        carbon_kg_per_kwh=rng.uniform(0.1, 0.5, slot_count),
        carbon_eur_per_kg=0.2,
    )
    uncontrolled = plan_goals(wishes, prices, Coupling(cap_kwh=np.full(slot_count, np.inf))).schedule_kwh
    for share in (0.7, 0.25):
        plan = plan_goals(wishes, prices, Coupling(cap_kwh=np.full(slot_count, share * uncontrolled.max())))
        assert isinstance(plan.outcome, Proved)
        assert plan.outcome.gap_eur <= 1e-6 * abs(plan.outcome.objective_eur) + 1e-6
        assert np.all(plan.session_schedule.total_kwh() >= plan.served_kwh - 1e-6)


def test_equal_slots_are_taken_in_order_of_time(sessions_of: Sessions) -> None:
    wishes = DriverWishes(cars=sessions_of((0, 6, 1, 2), (0, 6, 1, 2), (0, 6, 1, 2)), goal=np.ones(3, dtype=np.int64))
    plan = plan_goals(wishes, GoalPrices(price_eur_per_kwh=np.full(6, 0.2)), Coupling(cap_kwh=np.full(6, 2.0)))
    np.testing.assert_allclose(plan.schedule_kwh, [2, 2, 2, 0, 0, 0], atol=1e-9)


def test_series_and_windows_must_fit_the_horizon(sessions_of: Sessions) -> None:
    wishes = DriverWishes(cars=sessions_of((0, 4, 1, 2)), goal=np.array([1]))
    with pytest.raises(InvalidInput, match="price_eur_per_kwh"):
        plan_goals(wishes, GoalPrices(price_eur_per_kwh=np.zeros(5)), Coupling(cap_kwh=np.ones(4)))
    with pytest.raises(InvalidInput, match=r"departure_slot\[0\]"):
        plan_goals(wishes, GoalPrices(price_eur_per_kwh=np.zeros(3)), Coupling(cap_kwh=np.ones(3)))
    greedy = DriverWishes(cars=sessions_of((0, 4, 1, 5)), goal=np.array([1]))
    with pytest.raises(InvalidInput, match=r"energy_max_kwh\[0\]"):
        plan_goals(greedy, GoalPrices(price_eur_per_kwh=np.zeros(4)), Coupling(cap_kwh=np.ones(4)))
