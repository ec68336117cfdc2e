"""The exact capped optimum of a fleet beside the same problem as one sparse LP in cvxpy and HiGHS.

Both sides solve the same instance in the same run: prices of one day, a limit at 60 % of the uncontrolled peak. Times are
CPU seconds of one thread. The LP is given its best known form (in-window variables with bounds, interior point); the default
simplex takes a quarter of an hour at 10 000 sessions and is left out.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bidding.arrays import FloatArray
from bidding.fleet.flexibility import FlexibilityTable
from bidding.fleet.sessions import SessionArrays, uncontrolled_schedule
from bidding.optimum.coupling import Coupling
from bidding.optimum.decomposition import Mixture, generate_columns
from bidding.optimum.greedy import respond_to_price
from bidding.optimum.models import solve_session_model
from bidding.optimum.optimise import OptimiserOptions, optimise
from bidding.optimum.outcome import Proved
from bidding.optimum.set_points import FleetSetPoints

SLOTS = 96
CAP_SHARE = 0.6
BY_COLUMNS = OptimiserOptions(session_model_limit=0)
REPEATS = 5


def run() -> dict[str, list[dict[str, Any]]]:
    """Measure and return `results` (one row per size) and `goals` (target, measured, met)."""
    optimise(*_instance(300), BY_COLUMNS)  # imports and first-call costs of the solvers
    solve_session_model(*_instance(50), algorithm="ipm")
    rows = [_compare(1_000), _compare(10_000), _columns_only(100_000), _columns_only(1_000_000)]
    small, large, _, huge = rows
    goals = [
        _at_least("speed against cvxpy + HiGHS ipm, 1 000 sessions", 3.0, small["lp_over_columns"]),
        _at_least("speed against cvxpy + HiGHS ipm, 10 000 sessions", 50.0, large["lp_over_columns"]),
        _at_most("relative difference to the LP's optimum", 1e-6, max(small["difference"], large["difference"])),
        _at_most("certified relative gap, all sizes", 1e-6, max(row["gap"] for row in rows)),
        _at_most("capped solve, 1 000 000 over 1 000 sessions", 2.0, huge["columns_s"] / small["columns_s"]),
        _at_most("energy missed by any set point of a million cars, kWh", 1e-9, huge["energy_missed_kwh"]),
    ]
    return {"results": rows, "goals": goals}


def _compare(count: int) -> dict[str, Any]:
    sessions, price, coupling = _instance(count)
    row = _columns_only(count)
    lp_s, solution = _cpu_seconds(lambda: solve_session_model(sessions, price, coupling, algorithm="ipm"))
    checked_s, optimum = _cpu_seconds(lambda: optimise(sessions, price, coupling, BY_COLUMNS))
    if solution is None or not isinstance(optimum.outcome, Proved):
        raise RuntimeError(f"{count} sessions: one side found no optimum")
    slot = np.concatenate(
        [np.arange(a, d) for a, d in zip(sessions.arrival_slot, sessions.departure_slot, strict=True)]
    )
    lp_cost = float(price[slot] @ solution.variables)
    return {
        **row,
        "checked_s": checked_s,
        "lp_s": lp_s,
        "lp_over_columns": lp_s / (row["table_s"] + row["columns_s"]),
        "difference": abs(optimum.outcome.objective_eur - lp_cost) / abs(lp_cost),
    }


def _columns_only(count: int) -> dict[str, Any]:
    sessions, price, coupling = _instance(count)
    table_s, table = _median(lambda: FlexibilityTable.build(sessions, SLOTS))
    greedy_s, _ = _median(lambda: respond_to_price(table, price))
    columns_s, mixture = _median(lambda: generate_columns(table, price, coupling))
    disaggregation = FleetSetPoints(sessions, table, mixture)
    tick_s, _ = _median(lambda: disaggregation.at(SLOTS // 3))
    all_s, plan = _cpu_seconds(disaggregation.schedule)
    return {
        "sessions": count,
        "table_s": table_s,
        "price_response_s": greedy_s,
        "columns_s": columns_s,
        "iterations": mixture.iteration_count,
        "gap": _relative_gap(mixture),
        "one_tick_s": tick_s,
        "all_set_points_s": all_s,
        "energy_missed_kwh": float(np.max(np.abs(plan.total_kwh() - sessions.energy_min_kwh))),
    }


def _relative_gap(mixture: Mixture) -> float:
    return (mixture.objective_eur - mixture.lower_bound_eur) / abs(mixture.objective_eur)


def _instance(count: int) -> tuple[SessionArrays, FloatArray, Coupling]:
    sessions = _fleet(count)
    peak = float(np.max(uncontrolled_schedule(sessions, sessions.energy_min_kwh, SLOTS)))
    return sessions, _prices(), Coupling(cap_kwh=np.full(SLOTS, CAP_SHARE * peak))


def _fleet(count: int) -> SessionArrays:
    """Noon to noon: 65 % overnight at home, 25 % at work, 10 % short public stops."""
    rng = np.random.default_rng(20260506)
    per_hour = SLOTS / 24.0
    kind = rng.choice(3, size=count, p=[0.65, 0.25, 0.10])
    morning = rng.integers(0, 2, count) == 1
    come = np.select(
        [kind == 0, (kind == 1) & morning, kind == 1],
        [rng.normal(6.3, 1.5, count), rng.normal(20.5, 0.6, count), np.zeros(count)],
        rng.uniform(0.0, 21.0, count),
    )
    leave = np.select(
        [kind == 0, (kind == 1) & morning, kind == 1],
        [rng.normal(19.3, 0.9, count), np.full(count, 24.0), np.clip(rng.normal(5.0, 1.0, count), 2.0, 8.0)],
        come + np.clip(rng.gamma(3.0, 0.6, count), 0.5, 4.0),
    )
    arrival = np.clip(np.floor(come * per_hour), 0, SLOTS - 2).astype(np.int64)
    departure = np.clip(np.ceil(leave * per_hour).astype(np.int64), arrival + 2, SLOTS)
    home, public = rng.choice([3.7, 7.4, 11.0], count, p=[0.15, 0.35, 0.5]), rng.choice([7.4, 11.0, 22.0], count)
    rate = np.where(kind == 0, home, public) / per_hour
    energy = np.minimum(rng.lognormal(np.log(11.5), 0.65, count), 0.92 * rate * (departure - arrival))
    return SessionArrays(
        arrival_slot=arrival,
        departure_slot=departure,
        rate_kwh_per_slot=rate,
        energy_min_kwh=energy,
        energy_max_kwh=energy,
    )


def _prices() -> FloatArray:
    """A day-ahead-like curve from noon to noon in EUR per kWh."""
    hour = (12.0 + np.arange(SLOTS) * 24.0 / SLOTS) % 24.0
    bumps = ((-0.045, 13.0, 2.2), (0.075, 19.0, 1.8), (-0.035, 3.2, 2.3), (0.03, 8.0, 1.3))
    shape = sum((height * np.exp(-(((hour - middle) / width) ** 2)) for height, middle, width in bumps), 0.085)
    noisy: FloatArray = shape + np.random.default_rng(1000).normal(0.0, 0.006, SLOTS)
    return noisy


def _cpu_seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    begin = time.process_time()
    result = work()
    return time.process_time() - begin, result


def _median(work: Callable[[], Any]) -> tuple[float, Any]:
    runs = [_cpu_seconds(work) for _ in range(REPEATS)]
    return float(np.median([seconds for seconds, _ in runs])), runs[-1][1]


def _at_least(goal: str, target: float, measured: float) -> dict[str, Any]:
    return {"goal": goal, "target": target, "measured": measured, "met": measured >= target}


def _at_most(goal: str, target: float, measured: float) -> dict[str, Any]:
    return {"goal": goal, "target": target, "measured": measured, "met": measured <= target}
