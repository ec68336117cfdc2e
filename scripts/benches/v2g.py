"""The exact answer of a bidirectional fleet to a price, and its optimum under caps, beside the same programs in HiGHS.

All sides solve the same instance in the same run: quarter-hours from noon to noon, 30 % of the cars only charge, losses of 5 %
each way, 1 cent of wear per kWh. The linear programs have in-window columns with bounds; the response has its interior point,
the faster algorithm for it. Under caps both directions are limited to 40 % of what the fleet would exchange. Times are CPU
seconds of one thread. numba is measured where it is installed (the extra `fast`), after it has compiled.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import highspy
import numpy as np
import scipy.sparse as sp

from bidding.arrays import FloatArray, offsets_of, ragged_ranges
from bidding.v2g.capped import V2gProved, plan_within_caps
from bidding.v2g.caps import FleetCaps
from bidding.v2g.kernel import is_numba_installed
from bidding.v2g.plan import V2gPlan
from bidding.v2g.recheck import V2gClaim, recheck_v2g
from bidding.v2g.response import Engine, FleetResponse, respond_to_price
from bidding.v2g.sessions import BidirectionalSessions
from scripts.measuring import Report, Value, at_least, at_most, cpu_seconds

SLOTS = 96
CAP_SHARE = 0.4
EFFICIENCY = 0.95
WEAR_EUR_PER_KWH = 0.01
Result = TypeVar("Result")


def run() -> Report:
    """Measure the response at 1 000 and 10 000 sessions and the capped optimum at 1 000."""
    small, large = _measure_response(1_000, with_program=True), _measure_response(10_000, with_program=False)
    under_caps = _measure_capped(1_000)
    rows = [small, large, under_caps]
    if is_numba_installed():
        rows.append(_measure_capped_by_numba(10_000))
    goals = [
        at_least("response in numpy against HiGHS ipm, 1 000 sessions", 40.0, _number(small["program_over_numpy"])),
        at_most("relative difference of the response to the LP", 1e-6, _number(small["difference"])),
        at_most(
            "response in numpy, 10 000 over 1 000 sessions", 10.0, _number(large["numpy_s"]) / _number(small["numpy_s"])
        ),
        at_most("certified relative gap under caps", 1e-6, _number(under_caps["gap"])),
        at_most("relative difference to the LP under caps", 1e-6, _number(under_caps["difference"])),
        at_most("rules broken by any plan", 0.0, sum(_number(row["broken_rules"]) for row in rows)),
    ]
    return {"results": rows, "goals": goals}


def _measure_response(count: int, *, with_program: bool) -> dict[str, Value]:
    sessions, price = _fleet(count), _prices()
    numpy_s = cpu_seconds(lambda: respond_to_price(sessions, price))
    prepared = FleetResponse(sessions, SLOTS)
    plan = respond_to_price(sessions, price).plan
    claim = V2gClaim(charge_kwh=plan.charge_kwh, discharge_kwh=plan.discharge_kwh, cost_eur=plan.cost_eur)
    row: dict[str, Value] = {
        "case": "response",
        "sessions": count,
        "numpy_s": numpy_s,
        "numpy_total_only_s": cpu_seconds(lambda: prepared.total(price)),
        "numba_s": None,
        "program_s": None,
        "program_over_numpy": None,
        "program_over_numba": None,
        "difference": None,
        "broken_rules": len(recheck_v2g(sessions, claim, price)),
    }
    if is_numba_installed():
        row["numba_s"] = cpu_seconds(lambda: respond_to_price(sessions, price, engine=Engine.NUMBA))
    if with_program:
        program = _Program.of(sessions, price)
        row |= _beside(row, *_cpu_seconds(lambda: program.solve("ipm")), plan.cost_eur)
    return row


def _measure_capped(count: int) -> dict[str, Value]:
    sessions, price = _fleet(count), _prices()
    caps = _caps(sessions, price)
    numpy_s, plan, row = _plan_within(sessions, price, caps, Engine.NUMPY)
    row |= {"numpy_s": numpy_s, "numba_s": None}
    if is_numba_installed():
        row["numba_s"] = _plan_within(sessions, price, caps, Engine.NUMBA)[0]
    program = _Program.of(sessions, price, caps)
    return row | _beside(row, *_cpu_seconds(lambda: program.solve("ipm")), plan.cost_eur)


def _measure_capped_by_numba(count: int) -> dict[str, Value]:
    sessions, price = _fleet(count), _prices()
    numba_s, _, row = _plan_within(sessions, price, _caps(sessions, price), Engine.NUMBA)
    return row | {"numba_s": numba_s}


def _plan_within(
    sessions: BidirectionalSessions, price: FloatArray, caps: FleetCaps, engine: Engine
) -> tuple[float, V2gPlan, dict[str, Value]]:
    spent_s, outcome = _cpu_seconds(lambda: plan_within_caps(sessions, price, caps, engine=engine))
    if not isinstance(outcome, V2gProved):
        raise TypeError(f"the capped plan is {outcome.kind}")
    plan = outcome.plan
    claim = V2gClaim(charge_kwh=plan.charge_kwh, discharge_kwh=plan.discharge_kwh, cost_eur=plan.cost_eur)
    return (
        spent_s,
        plan,
        {
            "case": "capped",
            "sessions": len(sessions),
            "broken_rules": len(recheck_v2g(sessions, claim, price, caps)),
            "iterations": outcome.iteration_count,
            "gap": plan.gap_eur / abs(plan.cost_eur),
        },
    )


def _caps(sessions: BidirectionalSessions, price: FloatArray) -> FleetCaps:
    most = CAP_SHARE * float(np.abs(FleetResponse(sessions, SLOTS).total(price).draw_kwh).max())
    return FleetCaps(import_kwh=np.full(SLOTS, most), export_kwh=np.full(SLOTS, most))


def _beside(row: dict[str, Value], program_s: float, program_eur: float, cost_eur: float) -> dict[str, Value]:
    numba_s = row["numba_s"]
    return {
        "program_s": program_s,
        "program_over_numpy": program_s / _number(row["numpy_s"]),
        "program_over_numba": None if numba_s is None else program_s / _number(numba_s),
        "difference": abs(program_eur - cost_eur) / abs(cost_eur),
    }


# ---------------------------------------------------------------- the instance


def _fleet(count: int) -> BidirectionalSessions:
    """65 % overnight at home, 25 % at work, 10 % short public stops."""
    rng = np.random.default_rng(20260506)
    per_hour = SLOTS / 24.0
    kind = rng.choice(3, size=count, p=[0.65, 0.25, 0.10])
    come = np.choose(kind, [rng.normal(6.3, 1.5, count), rng.normal(20.5, 0.6, count), rng.uniform(0.0, 21.0, count)])
    stay = np.choose(kind, [rng.normal(13.0, 1.5, count), rng.normal(8.0, 1.0, count), rng.gamma(3.0, 0.6, count)])
    arrival = np.clip(np.floor(come * per_hour), 0, SLOTS - 2).astype(np.int64)
    departure = np.clip(arrival + np.ceil(stay * per_hour).astype(np.int64), arrival + 2, SLOTS)
    rate = rng.choice([3.7, 7.4, 11.0], count) / per_hour
    capacity = rng.choice([40.0, 60.0, 77.0], count)
    arrived = rng.uniform(0.2, 0.7, count) * capacity
    wanted = arrived + np.minimum(rng.lognormal(np.log(10.0), 0.65, count), 0.8 * rate * (departure - arrival))
    return BidirectionalSessions(
        arrival_slot=arrival,
        departure_slot=departure,
        charge_kwh_per_slot=rate,
        discharge_kwh_per_slot=rate * rng.choice([0.0, 1.0], count, p=[0.3, 0.7]),
        charge_efficiency=np.full(count, EFFICIENCY),
        discharge_efficiency=np.full(count, EFFICIENCY),
        soc_arrival_kwh=arrived,
        soc_min_kwh=0.05 * capacity,
        soc_max_kwh=capacity,
        soc_departure_kwh=np.minimum(wanted, capacity),
        trip_reserve_kwh=0.15 * capacity,
        degradation_eur_per_kwh=np.full(count, WEAR_EUR_PER_KWH),
    )


def _prices() -> FloatArray:
    """A day-ahead-like curve from noon to noon in EUR per kWh, above zero, so that the linear program burns nothing."""
    hour = (12.0 + np.arange(SLOTS) * 24.0 / SLOTS) % 24.0
    bumps = ((-0.045, 13.0, 2.2), (0.075, 19.0, 1.8), (-0.035, 3.2, 2.3), (0.03, 8.0, 1.3))
    shape = sum((height * np.exp(-(((hour - middle) / width) ** 2)) for height, middle, width in bumps), 0.085)
    noisy: FloatArray = np.maximum(shape + np.random.default_rng(1000).normal(0.0, 0.006, SLOTS), 0.005)
    return noisy


# ---------------------------------------------------------------- the same problem as one linear program


@dataclass(frozen=True, kw_only=True)
class _Program:
    """Columns: drawn, fed in, held at the end, for every slot of every window; rows: the batteries' balance, then caps."""

    cost: FloatArray
    low: FloatArray
    high: FloatArray
    rows: sp.csc_array
    row_low: FloatArray
    row_high: FloatArray

    @classmethod
    def of(cls, sessions: BidirectionalSessions, price: FloatArray, caps: FleetCaps | None = None) -> "_Program":
        length = sessions.window_length
        row, slot = np.repeat(np.arange(len(sessions)), length), ragged_ranges(sessions.arrival_slot, length)
        size, ends = len(slot), offsets_of(length)
        entry, later = np.arange(size), np.ones(size, dtype=np.bool_)
        later[ends[:-1]] = False
        held = sp.eye(size) - sp.csr_matrix((later[later] * 1.0, (entry[later], entry[later] - 1)), shape=(size, size))
        balance = [-EFFICIENCY * sp.eye(size), sp.eye(size) / EFFICIENCY, held]
        start = np.where(later, 0.0, sessions.soc_arrival_kwh[row])
        least = sessions.floor_kwh[row]
        least[ends[1:] - 1] = sessions.needed_kwh()
        rows, low, high = sp.hstack(balance), start, start
        if caps is not None:
            pick = sp.csr_matrix((np.ones(size), (slot, entry)), shape=(len(price), size))
            rows = sp.vstack([rows, sp.hstack([pick, -pick, 0.0 * pick])])
            low, high = np.concatenate([start, -caps.export_kwh]), np.concatenate([start, caps.import_kwh])
        wear = np.full(size, WEAR_EUR_PER_KWH)
        most = [sessions.charge_kwh_per_slot[row], sessions.discharge_kwh_per_slot[row], sessions.soc_max_kwh[row]]
        return cls(
            cost=np.concatenate([price[slot] + wear, wear - price[slot], np.zeros(size)]),
            low=np.concatenate([np.zeros(2 * size), least]),
            high=np.concatenate(most),
            rows=sp.csc_array(rows),
            row_low=low,
            row_high=high,
        )

    def solve(self, algorithm: str) -> float:
        """Return the optimum of HiGHS with one thread."""
        program = highspy.HighsLp()
        program.num_row_, program.num_col_ = self.rows.shape
        program.col_cost_, program.col_lower_, program.col_upper_ = self.cost, self.low, self.high
        program.row_lower_, program.row_upper_ = self.row_low, self.row_high
        program.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        program.a_matrix_.start_, program.a_matrix_.index_ = self.rows.indptr, self.rows.indices
        program.a_matrix_.value_ = self.rows.data
        solver = highspy.Highs()  # type: ignore[no-untyped-call]  # its constructor is not annotated
        for option, value in (("output_flag", False), ("threads", 1), ("solver", algorithm)):
            solver.setOptionValue(option, value)
        solver.passModel(program)
        solver.run()
        if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            raise RuntimeError(f"HiGHS found no optimum: {solver.getModelStatus()}")
        return float(solver.getInfo().objective_function_value)


def _cpu_seconds(work: Callable[[], Result]) -> tuple[float, Result]:
    begin = time.thread_time()
    result = work()
    return time.thread_time() - begin, result


def _number(value: Value) -> float:
    if not isinstance(value, int | float):
        raise TypeError("a measurement must be a number")
    return float(value)
