"""The plan of drivers with different prices as one model with a variable per session, slot and step.

The families of constraints are those of `bidding.optimum.models`; what is new here are prices that differ from car to car,
steps that are only bought below their worth, fixed draw as a lower bound, and the stage that makes urgent energy early.
"""

from dataclasses import dataclass

import cvxpy as cp
import numpy as np
import scipy.sparse as sp

from bidding.arrays import BoolArray, FloatArray
from bidding.goals.response import GoalProblem
from bidding.optimum.coupling import Coupling, CouplingPrices, legal_prices
from bidding.optimum.models import HIGHS_OPTIONS, USABLE_STATUS, aggregate_of_sessions
from bidding.optimum.terms import Term, demand_charge, rules, site_cap

INTERIOR_POINT_FROM = 1000
"""From this many sessions on HiGHS's interior point is many times faster than its simplex."""
EARLIER_EUR_PER_KWH = 2e-8
"""Added to the price from the first to the last slot: among equal slots the earlier one, as everywhere in this package."""
DUAL_TOLERANCE = 1e-10
"""Reduced costs HiGHS takes for zero; below `EARLIER_EUR_PER_KWH` per slot, or equal slots would be filled by chance."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class GoalSolution:
    """What HiGHS found."""

    entry_kwh: FloatArray
    """Draw per session and slot of its window."""
    prices: CouplingPrices
    """Duals of cap and peak."""


def energy_with_steps(
    energy: cp.Variable, step: cp.Variable, session_of: sp.csr_array, problem: GoalProblem
) -> list[cp.Constraint]:
    """Every session gets its need and what it takes of its steps, no more and no less."""
    width = problem.demand.step_kwh.shape[1]
    step_of = sp.csr_array(sp.kron(sp.eye_array(len(problem.cars)), np.ones((1, width))))
    got: cp.Expression = energy @ session_of.T
    return [got == problem.need_kwh + step_of @ step]


def urgent_part(
    energy: cp.Variable, urgent: cp.Variable, session_of: sp.csr_array, entries: BoolArray, urgent_kwh: FloatArray
) -> list[cp.Constraint]:
    """Urgent energy is a part of what is drawn, and all of it is drawn."""
    wanted = urgent_kwh > 0.0
    drawn: cp.Expression = urgent @ session_of[wanted][:, entries].T
    return [urgent <= energy[entries], drawn == urgent_kwh[wanted]]


def solve_goal_model(problem: GoalProblem, coupling: Coupling) -> GoalSolution | None:
    """Return the least cost at everyone's own prices, or None when the needs do not fit the coupling."""
    energy, session_of, slot_of = _energy_variable(problem, coupling)
    schedule = cp.Variable(coupling.slot_count)
    size = problem.demand.step_kwh.ravel()
    step = cp.Variable(len(size), bounds=[np.zeros(len(size)), size])
    constraints = energy_with_steps(energy, step, session_of, problem)
    constraints += aggregate_of_sessions(schedule, energy, slot_of)
    earlier = np.linspace(0.0, EARLIER_EUR_PER_KWH, coupling.slot_count)
    cost: cp.Expression = energy @ (problem.own_price_eur_per_kwh + earlier[problem.slot])
    cost -= problem.demand.step_value_eur_per_kwh.ravel() @ step
    caps, peaks = site_cap(schedule, coupling.cap_kwh), rules()
    charge = coupling.demand_charge
    if charge is not None:
        drawn = schedule + charge.load_kwh
        peaks = demand_charge(drawn, charge.eur_per_peak_kwh, peak_so_far_kwh=charge.peak_so_far_kwh)
    if not _is_solved(Term(cost=cost, constraints=tuple(constraints)) + caps + peaks, len(problem.cars)):
        return None
    cap_prices, peak_prices = np.zeros(coupling.slot_count), np.zeros(coupling.slot_count)
    if caps.constraints:
        cap_prices[np.isfinite(coupling.cap_kwh)] = caps.constraints[0].dual_value
    if peaks.constraints:
        peak_prices = np.asarray(peaks.constraints[0].dual_value)
    return GoalSolution(
        entry_kwh=_within_bounds(problem, np.asarray(energy.value)),
        prices=legal_prices(coupling, cap_prices, peak_prices),
    )


def solve_earliest(problem: GoalProblem, urgent_kwh: FloatArray, coupling: Coupling) -> FloatArray | None:
    """Return the draw of urgent energy with the least waiting while every need can still be met.

    Waiting is counted in kWh times slots, over all that is urgent together.

    Args:
        problem: Everyone's needs and what is fixed already, which is a part of the urgent energy.
        urgent_kwh: Energy of each session that shall be early, at most its need; 0 for none.
        coupling: The cap; a demand charge does not delay what is urgent.

    Returns:
        kWh per entry, or None when the needs do not fit.
    """
    energy, session_of, slot_of = _energy_variable(problem, coupling)
    schedule = cp.Variable(coupling.slot_count)
    entries: BoolArray = (urgent_kwh > 0.0)[problem.row]
    count = int(entries.sum())
    fixed = problem.floor_kwh[entries]
    urgent = cp.Variable(count, bounds=[fixed, np.full(count, np.inf)])
    got: cp.Expression = energy @ session_of.T
    constraints = [got == problem.need_kwh, *aggregate_of_sessions(schedule, energy, slot_of)]
    constraints += urgent_part(energy, urgent, session_of, entries, urgent_kwh)
    waiting: cp.Expression = urgent @ problem.slot[entries].astype(np.float64)
    model = Term(cost=waiting, constraints=tuple(constraints)) + site_cap(schedule, coupling.cap_kwh)
    if not _is_solved(model, len(problem.cars)):
        return None
    drawn = np.zeros(len(entries))
    drawn[entries] = np.asarray(urgent.value)
    return _within_bounds(problem, np.maximum(drawn, problem.floor_kwh))


def _energy_variable(problem: GoalProblem, coupling: Coupling) -> tuple[cp.Variable, sp.csr_array, sp.csr_array]:
    """Return the draw per entry and the sums of entries by session and by slot."""
    row, slot = problem.row, problem.slot
    entry, ones = np.arange(len(row)), np.ones(len(row))
    session_of = sp.csr_array((ones, (row, entry)), shape=(len(problem.cars), len(row)))
    slot_of = sp.csr_array((ones, (slot, entry)), shape=(coupling.slot_count, len(row)))
    most = problem.cars.rate_kwh_per_slot[row]
    return cp.Variable(len(row), bounds=[problem.floor_kwh, most]), session_of, slot_of


def _is_solved(term: Term, session_count: int) -> bool:
    model = cp.Problem(cp.Minimize(term.cost), list(term.constraints))
    algorithm = "ipm" if session_count >= INTERIOR_POINT_FROM else "choose"
    options = {**HIGHS_OPTIONS, "solver": algorithm, "dual_feasibility_tolerance": DUAL_TOLERANCE}
    model.solve(solver=cp.HIGHS, highs_options=options)  # type: ignore[no-untyped-call]  # not annotated in cvxpy
    return model.status in USABLE_STATUS


def _within_bounds(problem: GoalProblem, entry_kwh: FloatArray) -> FloatArray:
    """Return the draw cleaned of the solver's rounding at the bounds."""
    cleaned: FloatArray = np.clip(entry_kwh, problem.floor_kwh, problem.cars.rate_kwh_per_slot[problem.row])
    return cleaned
