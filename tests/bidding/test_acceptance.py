"""Small cases with answers worked out by hand: slots are an hour or a quarter, whatever; u in kWh per slot."""

from collections.abc import Callable

import numpy as np
import pytest

from bidding.fleet.flexibility import FlexibilityTable
from bidding.fleet.sessions import SessionArrays
from bidding.fleet.summary import outer_bound
from bidding.optimum.coupling import Coupling, DemandCharge
from bidding.optimum.greedy import respond_to_price
from bidding.optimum.optimise import OptimiserOptions, Optimum, optimise
from bidding.optimum.outcome import Infeasible, Proved

Sessions = Callable[..., SessionArrays]

BY_COLUMNS = OptimiserOptions(session_model_limit=0)
BY_SESSION = OptimiserOptions()
BOTH_WAYS = pytest.mark.parametrize("options", [BY_COLUMNS, BY_SESSION], ids=["columns", "sessions"])


def solve(
    sessions: SessionArrays,
    price: tuple[float, ...],
    cap: float = np.inf,
    options: OptimiserOptions = BY_COLUMNS,
    charge: DemandCharge | None = None,
) -> Optimum:
    coupling = Coupling(cap_kwh=np.full(len(price), cap), demand_charge=charge)
    return optimise(sessions, np.array(price), coupling, options)


def cost_of(optimum: Optimum) -> float:
    assert isinstance(optimum.outcome, Proved)
    return optimum.outcome.objective_eur


@pytest.mark.parametrize(
    ("row", "price", "schedule", "cost"),
    [
        ((0, 2, 1, 1), (10, 20), (1, 0), 10),
        ((0, 3, 1, 2), (10, 20, 5), (1, 0, 1), 15),
        ((0, 3, 2, 3), (30, 10, 20), (0, 2, 1), 40),
        ((1, 3, 1, 1), (1, 9, 7), (0, 0, 1), 7),
        ((0, 2, 1, 1, 2), (-5, 10), (1, 0), -5),
        ((0, 2, 1, 1, 2), (-5, -3), (1, 1), -8),
    ],
    ids=["01", "02", "03", "04", "05a", "05b"],
)
def test_one_car_charges_in_its_cheapest_slots(
    sessions_of: Sessions, row: tuple[float, ...], price: tuple[float, ...], schedule: tuple[float, ...], cost: float
) -> None:
    optimum = solve(sessions_of(row), price)
    assert optimum.schedule_kwh is not None
    np.testing.assert_allclose(optimum.schedule_kwh, schedule)
    assert cost_of(optimum) == pytest.approx(cost)


@BOTH_WAYS
def test_06_a_cap_spreads_two_cars(sessions_of: Sessions, options: OptimiserOptions) -> None:
    optimum = solve(sessions_of((0, 2, 1, 1), (0, 2, 1, 1)), (10, 20), 1.0, options)
    assert optimum.schedule_kwh is not None
    np.testing.assert_allclose(optimum.schedule_kwh, (1, 1), atol=1e-9)
    assert cost_of(optimum) == pytest.approx(30)


@BOTH_WAYS
def test_07_the_car_that_leaves_first_goes_first(sessions_of: Sessions, options: OptimiserOptions) -> None:
    optimum = solve(sessions_of((0, 1, 1, 1), (0, 2, 1, 1)), (10, 20), 1.0, options)
    assert cost_of(optimum) == pytest.approx(30)
    assert optimum.session_schedule is not None
    np.testing.assert_allclose(optimum.session_schedule.at(0), (1, 0), atol=1e-9)


@BOTH_WAYS
def test_08_an_impossible_limit_is_explained(sessions_of: Sessions, options: OptimiserOptions) -> None:
    optimum = solve(sessions_of((0, 1, 1, 1), (0, 1, 1, 1)), (10, 20), 1.0, options)
    assert optimum.schedule_kwh is None
    assert isinstance(optimum.outcome, Infeasible)
    (conflict,) = optimum.outcome.conflicts
    assert conflict.slots == (0,)
    assert conflict.must_flow_kwh == pytest.approx(2)
    assert conflict.allowed_kwh == pytest.approx(1)
    assert conflict.missing_kwh == pytest.approx(1)
    assert conflict.sessions == ("s0", "s1")


def envelope_cost(sessions: SessionArrays, price: np.ndarray) -> float:
    """Least cost inside the bands of the outer bound, by LP: what a 'virtual battery' would promise."""
    from scipy.optimize import linprog

    bound = outer_bound(FlexibilityTable.build(sessions, len(price)))
    running = np.tril(np.ones((len(price), len(price))))
    result = linprog(
        price,
        A_ub=np.vstack([running, -running]),
        b_ub=np.concatenate([bound.energy_max_kwh, -bound.energy_min_kwh]),
        bounds=list(zip(bound.power_min_kwh, bound.power_max_kwh, strict=True)),
    )
    assert result.fun is not None
    return float(result.fun)


@pytest.mark.parametrize(
    ("rows", "price", "exact"),
    [
        (((0, 4, 1, 1), (0, 4, 1, 3)), (10, 0, 0, 10), 10),
        (((1, 3, 2, 2), (0, 4, 2, 2)), (0, 10, 10, 0), 20),
    ],
    ids=["09", "11"],
)
def test_the_outer_bound_promises_what_cannot_be_done(
    sessions_of: Sessions, rows: tuple[tuple[float, ...], ...], price: tuple[float, ...], exact: float
) -> None:
    sessions = sessions_of(*rows)
    assert cost_of(solve(sessions, price)) == pytest.approx(exact)
    assert envelope_cost(sessions, np.array(price, dtype=float)) == pytest.approx(0)


def test_10_the_table_counts_the_most_of_k_slots(sessions_of: Sessions) -> None:
    table = FlexibilityTable.build(sessions_of((0, 4, 1, 1), (0, 4, 1, 3)), 4)
    most = [table.most_kwh(np.arange(4) < count) for count in (1, 2, 3, 4)]
    assert most == pytest.approx([2, 3, 4, 4])


@pytest.mark.parametrize("case", ["12 identical", "13 first in first out"])
def test_the_outer_bound_is_exact_in_its_two_special_cases(sessions_of: Sessions, case: str) -> None:
    rng = np.random.default_rng(3)
    for _ in range(25):
        if case.startswith("12"):
            sessions = sessions_of(*[(1, 6, 1, 2.5)] * 4)
        else:
            arrival, departure = np.sort(rng.integers(0, 5, 4)), np.sort(rng.integers(5, 9, 4))
            need = rng.uniform(0.5, 3, 4)
            sessions = sessions_of(*zip(arrival, departure, need, need, strict=True))
        price = rng.uniform(0, 10, 8)
        exact = float(price @ respond_to_price(FlexibilityTable.build(sessions, 8), price))
        assert envelope_cost(sessions, price) == pytest.approx(exact)


def test_14_different_durations_in_one_window_break_the_outer_bound(sessions_of: Sessions) -> None:
    rng = np.random.default_rng(4)
    too_good = 0
    for _ in range(30):
        sessions = sessions_of(*[(0, 6, 1, need) for need in rng.uniform(0.5, 5.5, 5)])
        price = rng.uniform(0, 10, 6)
        exact = float(price @ respond_to_price(FlexibilityTable.build(sessions, 6), price))
        too_good += envelope_cost(sessions, price) < exact - 1e-6
    assert too_good >= 27


def test_15_a_fractional_duration_is_two_whole_ones(sessions_of: Sessions) -> None:
    rate, energy = 2.0, 5.0  # 2.5 slots: half of the rate for 2 slots, half for 3
    whole = FlexibilityTable.build(sessions_of((0, 5, rate, energy)), 5)
    parts = FlexibilityTable.build(sessions_of((0, 5, 1.0, 2.0), (0, 5, 1.0, 3.0)), 5)
    np.testing.assert_allclose(whole.major, parts.major)


@pytest.mark.parametrize(("target", "is_reachable"), [((2, 2, 2), True), ((3, 3, 0), False)])
def test_16_what_three_cars_can_do(sessions_of: Sessions, target: tuple[float, ...], is_reachable: bool) -> None:
    table = FlexibilityTable.build(sessions_of((0, 3, 1, 1), (0, 3, 1, 2), (0, 3, 1, 3)), 3)
    masks = [np.array([(n >> t) & 1 for t in range(3)], dtype=bool) for n in range(8)]
    excess = max(sum(np.array(target)[mask]) - table.most_kwh(mask) for mask in masks)
    assert (excess <= 1e-12) == is_reachable
    assert is_reachable or excess == pytest.approx(1)


@BOTH_WAYS
@pytest.mark.parametrize(("charge", "cost"), [(10.0, 22.0), (0.25, 1.0)])
def test_17_a_demand_charge_flattens_when_it_is_worth_it(
    sessions_of: Sessions, options: OptimiserOptions, charge: float, cost: float
) -> None:
    demand = DemandCharge(eur_per_peak_kwh=charge, peak_so_far_kwh=0.0, load_kwh=np.zeros(2))
    optimum = solve(sessions_of((0, 2, 2, 2), (0, 2, 2, 2)), (0, 1), options=options, charge=demand)
    assert cost_of(optimum) == pytest.approx(cost)
