"""Battery, sunshine, building load beside a fleet: hand cases, the direct model, and every direction tried by brute force."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cvxpy
import numpy as np
import pytest

from bidding.fleet.sessions import SessionArrays
from bidding.optimum.convex_optimum import ConvexOptimum, optimise_convex
from bidding.optimum.decomposition import SearchLimits
from bidding.optimum.outcome import Feasible, Proved
from bidding.optimum.recheck import BatteryClaim, recheck_battery, recheck_caps, recheck_curtailment
from bidding.optimum.site_assets import (
    BuildingLoad,
    Ending,
    StationaryBattery,
    battery_model,
    photovoltaic_model,
)
from bidding.optimum.terms import Term, energy_cost, rules, site_cap
from gateway.domain.errors import InvalidInput

cp: Any = cvxpy
"""cvxpy does not export its functions for mypy."""
Sessions = Callable[..., SessionArrays]
TIGHT = SearchLimits(relative_gap=1e-8)
PLAIN = StationaryBattery(capacity_kwh=2.0, initial_kwh=1.0, charge_kwh_per_slot=1.0, discharge_kwh_per_slot=1.0)
LOSSY = replace(PLAIN, charge_efficiency=0.9, discharge_efficiency=0.9)


def battery_alone(sessions_of: Sessions, battery: StationaryBattery, price: np.ndarray) -> ConvexOptimum:
    nobody = sessions_of((0, 1, 1, 1)).select(np.zeros(0, dtype=int))
    schedule, model = cp.Variable(len(price)), battery_model(battery, len(price))
    return optimise_convex(nobody, schedule, energy_cost(schedule + model.draw_kwh, price) + model.term, limits=TIGHT)


@pytest.mark.parametrize(
    ("battery", "price", "profit"),
    [
        (PLAIN, (10, 30), 20.0),
        (LOSSY, (10, 30), 14.3),
        (LOSSY, (10, 12), 0.0),
        (replace(PLAIN, degradation_eur_per_kwh=2.0), (10, 30), 16.0),
        (replace(PLAIN, ending=Ending.VALUED, final_value_eur_per_kwh=25.0), (30, 20), 30.0 - 20.0 + 25.0),
        (replace(PLAIN, ending=Ending.VALUED), (10, 30), 30.0),
    ],
    ids=["18 lossless", "19 losses", "19 losses eat the spread", "20 wear", "worth at the end", "worth nothing"],
)
def test_a_battery_earns_the_spread(
    sessions_of: Sessions, battery: StationaryBattery, price: tuple[float, ...], profit: float
) -> None:
    best = battery_alone(sessions_of, battery, np.array(price, dtype=float))
    assert isinstance(best.outcome, Proved)
    assert -best.outcome.objective_eur == pytest.approx(profit, abs=0.01)


def test_a_battery_with_one_slot(sessions_of: Sessions) -> None:
    best = battery_alone(sessions_of, replace(PLAIN, ending=Ending.VALUED), np.array([7.0]))
    assert isinstance(best.outcome, Proved)
    assert best.outcome.objective_eur == pytest.approx(-7.0)


def cheapest_of_all_directions(battery: StationaryBattery, price: np.ndarray) -> float:
    """Every choice of charging or discharging per slot, each a small LP: no energy can be burnt."""
    count = len(price)
    found = []
    for filling in itertools.product([True, False], repeat=count):
        charge, discharge = cp.Variable(count, nonneg=True), cp.Variable(count, nonneg=True)
        stored = battery.initial_kwh + cp.cumsum(
            battery.charge_efficiency * charge - discharge / battery.discharge_efficiency
        )
        limits = [
            charge <= battery.charge_kwh_per_slot * np.array(filling),
            discharge <= battery.discharge_kwh_per_slot * ~np.array(filling),
            stored >= battery.floor_kwh,
            stored <= battery.capacity_kwh,
            stored[-1] >= battery.initial_kwh,
        ]
        problem = cp.Problem(cp.Minimize(price @ (charge - discharge)), limits)
        problem.solve(solver=cp.HIGHS)
        found.append(float(problem.value))
    return min(found)


def test_strongly_negative_prices_never_burn_energy(sessions_of: Sessions) -> None:
    rng = np.random.default_rng(31)
    burning = 0
    for _ in range(4):
        price = rng.uniform(-100, 40, 4)
        best = battery_alone(sessions_of, LOSSY, price)
        truth = cheapest_of_all_directions(LOSSY, price)
        assert isinstance(best.outcome, Proved | Feasible)
        assert best.outcome.lower_bound_eur <= truth + 1e-6
        assert best.outcome.objective_eur >= truth - 1e-6
        assert best.outcome.objective_eur <= truth + 0.25 * abs(truth)
        burning += isinstance(best.outcome, Feasible)
    assert burning >= 2  # cases in which the convex model alone would have burnt some


def test_a_whole_site_equals_the_direct_model(random_sessions: Sessions) -> None:
    rng = np.random.default_rng(32)
    solved = 0
    for _ in range(8):
        sessions = random_sessions(rng, 6, 8, with_range=True)
        price, load, sun = rng.uniform(0, 1, 8), rng.uniform(0, 2, 8), rng.uniform(0, 3, 8)
        costs = []
        for direct in (True, False):
            schedule = cp.Variable(8)
            battery = battery_model(replace(LOSSY, degradation_eur_per_kwh=0.01), 8)
            plant = photovoltaic_model(sun)
            draw = schedule + battery.draw_kwh - plant.used_kwh + load
            model = energy_cost(draw, price) + site_cap(draw, np.full(8, 5.0)) + battery.term + plant.term
            # Feeding in pays half: selling and buying are different prices, still convex.
            fed_in = cp.Variable(8, nonneg=True)
            model += Term(cost=0.5 * cp.sum(cp.multiply(price, fed_in)), constraints=(fed_in >= -draw,))
            costs.append(direct_cost(sessions, schedule, model) if direct else solved_cost(sessions, schedule, model))
        assert costs[0] == pytest.approx(costs[1], abs=1e-5)
        solved += costs[0] is not None
    assert solved >= 4


def direct_cost(sessions: SessionArrays, schedule: Any, model: Term) -> float | None:
    slot = np.arange(schedule.size)
    here = (slot >= sessions.arrival_slot[:, None]) & (slot < sessions.departure_slot[:, None])
    energy = cp.Variable(here.shape, nonneg=True)
    charged = cp.sum(energy, axis=1)
    own = [
        energy <= here * sessions.rate_kwh_per_slot[:, None],
        charged >= sessions.energy_min_kwh,
        charged <= sessions.energy_max_kwh,
        schedule == cp.sum(energy, axis=0),
    ]
    problem = cp.Problem(cp.Minimize(model.cost), [*model.constraints, *own])
    problem.solve(solver=cp.HIGHS)
    return float(problem.value) if problem.status == cp.OPTIMAL else None


def solved_cost(sessions: SessionArrays, schedule: Any, model: Term) -> float | None:
    outcome = optimise_convex(sessions, schedule, model, limits=TIGHT).outcome
    return outcome.objective_eur if isinstance(outcome, Proved) else None


def test_paid_sunshine_is_curtailed_and_free_sunshine_charges(sessions_of: Sessions) -> None:
    sessions, sun = sessions_of((0, 2, 1, 1)), np.array([2.0, 2.0])
    schedule, plant = cp.Variable(2), photovoltaic_model(sun)
    price = np.array([-1.0, 3.0])
    draw = schedule - plant.used_kwh
    best = optimise_convex(sessions, schedule, energy_cost(draw, price) + plant.term, limits=TIGHT)
    assert best.schedule_kwh is not None
    np.testing.assert_allclose(np.array(best.schedule_kwh), (1, 0), atol=1e-7)
    np.testing.assert_allclose(np.asarray(plant.used_kwh.value), (0, 2), atol=1e-7)
    assert solved_cost(sessions, schedule, energy_cost(draw, price) + plant.term) == pytest.approx(-1 - 6)
    capped = energy_cost(schedule, np.array([1.0, 0.0])) + plant.term + rules(schedule <= plant.used_kwh - [1.5, 1.8])
    assert solved_cost(sessions_of((0, 2, 1, 0.5)), schedule, capped) == pytest.approx(0.3)


def test_headroom_is_what_the_cap_leaves_at_a_quantile() -> None:
    load = BuildingLoad(level=np.array([0.1, 0.5, 0.9]), quantile_kwh=np.array([[1.0, 2], [2, 4], [6, 4]]))
    np.testing.assert_allclose(load.at(0.5), [2, 4])
    np.testing.assert_allclose(load.at(0.7), [4, 4])
    np.testing.assert_allclose(load.headroom_kwh(np.array([5.0, np.inf]), 0.9), [0, np.inf])
    np.testing.assert_allclose(load.headroom_kwh(np.array([5.0, 3.0]), 0.1), [4, 1])
    with pytest.raises(InvalidInput, match="within"):
        load.at(0.95)


@pytest.mark.parametrize(
    ("build", "field"),
    [
        (lambda: replace(PLAIN, initial_kwh=3.0), "battery.initial_kwh"),
        (lambda: replace(PLAIN, floor_kwh=1.5), "battery.initial_kwh"),
        (lambda: replace(PLAIN, capacity_kwh=-1.0), "battery.capacity_kwh"),
        (lambda: replace(PLAIN, charge_efficiency=0.0), "battery.charge_efficiency"),
        (lambda: replace(PLAIN, discharge_efficiency=1.1), "battery.discharge_efficiency"),
        (lambda: replace(PLAIN, degradation_eur_per_kwh=np.nan), "battery.degradation_eur_per_kwh"),
        (lambda: replace(PLAIN, final_value_eur_per_kwh=np.inf), "battery.final_value_eur_per_kwh"),
        (lambda: photovoltaic_model(np.array([1.0, -1.0])), "available_kwh[1]"),
        (lambda: BuildingLoad(level=np.array([0.5, 0.4]), quantile_kwh=np.zeros((2, 3))), "load.level[1]"),
        (lambda: BuildingLoad(level=np.array([0.5, 1.0]), quantile_kwh=np.zeros((2, 3))), "load.level[1]"),
        (lambda: BuildingLoad(level=np.array([0.4]), quantile_kwh=np.zeros((2, 3))), "load.quantile_kwh"),
        (
            lambda: BuildingLoad(level=np.array([0.4, 0.5]), quantile_kwh=np.array([[1.0, 2], [1, 1]])),
            "load.quantile_kwh[1]",
        ),
    ],
    ids=[str(number) for number in range(12)],
)
def test_what_no_device_has_is_refused_by_name(build: Callable[[], object], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        build()
    assert refused.value.field == field


CLAIM = BatteryClaim(
    charge_kwh=np.array([1.0, 0.0, 0.5]),
    discharge_kwh=np.array([0.0, 0.9, 0.0]),
    initial_kwh=1.0,
    floor_kwh=0.5,
    capacity_kwh=2.0,
    charge_kwh_per_slot=1.0,
    discharge_kwh_per_slot=1.0,
    charge_efficiency=0.9,
    discharge_efficiency=0.9,
    final_min_kwh=1.0,
)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"charge_kwh": np.array([1.1, 0.0, 0.5])}, "battery-power"),
        ({"discharge_kwh": np.array([0.0, 1.1, 0.0])}, "battery-power"),
        ({"charge_kwh": np.array([1.0, 0.0, -0.1])}, "battery-power"),
        ({"charge_kwh": np.array([1.0, 0.2, 0.5])}, "battery-both-ways"),
        ({"initial_kwh": 1.2}, "battery-energy"),
        ({"floor_kwh": 0.95}, "battery-energy"),
        ({"final_min_kwh": 1.5}, "battery-end"),
        ({"charge_kwh": np.array([1.0, np.nan, 0.5])}, "battery-energy"),
    ],
    ids=["charge", "discharge", "negative", "both", "full", "empty", "end", "nan"],
)
def test_the_recheck_finds_every_fault_of_a_battery(change: dict[str, Any], rule: str) -> None:
    assert recheck_battery(CLAIM) == ()
    assert rule in {violation.rule for violation in recheck_battery(replace(CLAIM, **change))}


def test_the_recheck_finds_invented_sunshine_and_draws_above_a_cap() -> None:
    sun = np.array([1.0, 0.0])
    assert recheck_curtailment(np.array([1.0, 0.0]), sun) == ()
    assert [v.index for v in recheck_curtailment(np.array([1.0, 0.1]), sun)] == [1]
    assert [v.index for v in recheck_curtailment(np.array([-0.1, 0.0]), sun)] == [0]
    assert recheck_caps(np.array([1.0, 9.0]), np.array([1.0, np.inf])) == ()
    assert [v.index for v in recheck_caps(np.array([1.0, 9.0]), np.array([1.0, 8.0]))] == [1]
