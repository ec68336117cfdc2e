"""The best schedule of one connection point for any convex model, with its proof and the set points of every car.

    schedule = cp.Variable(96)
    battery = battery_model(StationaryBattery(...), 96)
    draw = schedule + battery.draw_kwh - sunshine.used_kwh + load_kwh
    best = optimise_convex(sessions, schedule, energy_cost(draw, price) + site_cap(draw, cap) + battery.term + sunshine.term)

After the call the variables of the model hold the solution's values, and `dual_value` of its constraints their prices.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cvxpy as cp
import numpy as np

from bidding.arrays import BoolArray, FloatArray
from bidding.fleet.flexibility import FlexibilityTable
from bidding.fleet.sessions import SLOT_TOLERANCE, SessionArrays
from bidding.optimum.convex import CONVEX_LIMITS, ConvexMixture, Fleet, FleetMixture, mix_columns
from bidding.optimum.decomposition import SMALL_SHARE, MixedPart, SearchLimits
from bidding.optimum.departures import departure_slack, wanting_at_most
from bidding.optimum.disaggregation import SessionSchedule
from bidding.optimum.explain import forced_kwh
from bidding.optimum.models import HIGHS_OPTIONS, USABLE_STATUS
from bidding.optimum.outcome import (
    Conflict,
    DepartureSlack,
    Feasible,
    Infeasible,
    Outcome,
    Proved,
    SolutionRejected,
    TimedOut,
)
from bidding.optimum.recheck import RELATIVE_TOLERANCE, Following, Violation, recheck_following
from bidding.optimum.set_points import FleetSetPoints
from bidding.optimum.terms import Term, rules
from gateway.domain.errors import InvalidInput

NOTHING_EUR = 1e-7
"""A gap below this is rounding, also where everything is free."""
EXCLUSION_ROUNDS = 10
"""How often what physics forbids and convexity allows is ruled out and the search repeated."""
CONFLICT_LEVELS = 16
"""At most so many sets of slots are tried as an explanation."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ConvexOptimum:
    """The result for one connection point and one model."""

    outcome: Outcome
    schedule_kwh: FloatArray | None
    """Draw of all sessions per slot; None when the outcome is Infeasible or TimedOut."""
    copies_kwh: tuple[FloatArray, ...]
    """The further schedules asked for (`copies`), in their order; empty likewise."""
    session_schedule: SessionSchedule | None
    """Draw of every session in its window; None likewise."""
    price_eur_per_kwh: FloatArray | None
    """What one more kWh drawn by the sessions costs in each slot; their best response to it is the schedule."""
    iteration_count: int
    departure_slack: tuple[DepartureSlack, ...] = ()
    """Who leaves without some of the energy needed, the most missing first; only `serve_most_convex` lets anybody."""


def serve_most_convex(
    sessions: SessionArrays,
    schedule: cp.Variable,
    model: Term,
    *,
    worth_eur_per_kwh: float,
    limits: SearchLimits = CONVEX_LIMITS,
) -> ConvexOptimum:
    """Return the best among the schedules that deliver the most of the needed energy inside the model's rules.

    Rules hold, needs give way, and who leaves without energy is named in `departure_slack`. The outcome's objective counts
    the worth of the energy.

    Args:
        sessions: Sessions fitted to the horizon (`fit_to_horizon`), with their needs.
        schedule: Their draw per slot, as for `optimise_convex`.
        model: Cost and rules; drawing nothing must be inside the rules.
        worth_eur_per_kwh: What one kWh for a driver is worth. Above every marginal cost of the model nobody is left short who
            could be served; the model's cost is the caller's own, so the caller says what is above it.
        limits: When to stop.

    Raises:
        InvalidInput: The worth is not a finite number above 0, or what `optimise_convex` raises.
        SolutionRejected: The independent check refused the solution; nothing of it may be used.
    """
    if not np.isfinite(worth_eur_per_kwh) or worth_eur_per_kwh <= 0.0:
        raise InvalidInput("worth_eur_per_kwh", "must be a finite number above 0")
    served = replace(model, cost=model.cost - worth_eur_per_kwh * schedule.sum())
    best = optimise_convex(wanting_at_most(sessions), schedule, served, limits=limits)
    plan = best.session_schedule
    return best if plan is None else replace(best, departure_slack=departure_slack(sessions, plan))


def optimise_convex(
    sessions: SessionArrays,
    schedule: cp.Variable,
    model: Term,
    *,
    copies: Sequence[cp.Variable] = (),
    seeds: Sequence[FloatArray] = (),
    limits: SearchLimits = CONVEX_LIMITS,
) -> ConvexOptimum:
    """Return the best way to give every session its energy, for any convex cost and rules.

    Args:
        sessions: Sessions fitted to the horizon (`fit_to_horizon`).
        schedule: Their draw per slot, a variable of shape (T,) without attributes.
        model: Cost and rules over the schedule and any variables of its own.
        copies: Further schedules of the same sessions (other scenarios, reserve activations), each as `schedule`.
        seeds: Prices whose responses start the search (`mix_columns`); expected prices save iterations.
        limits: When to stop.

    Raises:
        InvalidInput: A session was not fitted, the model is not convex, or has no lowest cost.
        SolutionRejected: The independent check refused the solution; nothing of it may be used.
    """
    table = FlexibilityTable.build(sessions, schedule.size)
    fleets = [Fleet(schedule=variable, table=table) for variable in (schedule, *copies)]
    mixture = mix_columns(fleets, model, limits=limits, seeds=seeds)
    if not mixture.is_usable:
        return _without_schedule(sessions, fleets, model, mixture)
    bound, count, present = mixture.lower_bound_eur, mixture.iteration_count, model
    solved = solve_over_columns(fleets, mixture, present)
    for _ in range(EXCLUSION_ROUNDS):
        excluded = [constraint for asset in model.assets for constraint in asset.exclusions()]
        if not excluded:
            break
        present = present + rules(*excluded)
        again = [*seeds, *(price for part in mixture.fleets[0].parts for price in part.columns.price)]
        tighter = mix_columns(fleets, present, limits=limits, seeds=again)
        count += tighter.iteration_count
        if not tighter.is_usable:
            break
        mixture = tighter
        solved = solve_over_columns(fleets, mixture, present)
    per_session = FleetSetPoints(sessions, table, solved[0]).schedule()
    _require_recheck(sessions, per_session, fleets, present)
    return ConvexOptimum(
        outcome=_outcome(float(np.asarray(model.cost.value)), bound, mixture, limits),
        schedule_kwh=np.array(schedule.value),
        copies_kwh=tuple(np.array(copy.value) for copy in copies),
        session_schedule=per_session,
        price_eur_per_kwh=mixture.prices_eur_per_kwh[0],
        iteration_count=count,
    )


def solve_over_columns(fleets: Sequence[Fleet], mixture: ConvexMixture, model: Term) -> tuple[FleetMixture, ...]:
    """Solve the model in cvxpy over the columns of a mixture, which gives all its variables their values.

    Returns:
        The fleets' mixtures with the weights of this solution; the schedules' values are exactly these mixtures.

    Raises:
        SolutionRejected: cvxpy finds no solution where the search found one.
    """
    shares, links = [], []
    for fleet, mixed in zip(fleets, mixture.fleets, strict=True):
        own = [cp.Variable(len(part.weights), nonneg=True) for part in mixed.parts]
        drawn = [part.columns.schedule_kwh.T @ share for part, share in zip(mixed.parts, own, strict=True)]
        links += [share.sum() == 1.0 for share in own]
        links.append(fleet.schedule == sum(drawn[1:], drawn[0]))
        shares.append(own)
    problem = cp.Problem(cp.Minimize(model.cost), [*model.constraints, *links])
    if problem.is_lp():
        problem.solve(solver=cp.HIGHS, highs_options=HIGHS_OPTIONS)  # type: ignore[no-untyped-call]  # not annotated
    else:
        problem.solve(solver=cp.CLARABEL, max_threads=1)  # type: ignore[no-untyped-call]  # not annotated in cvxpy
    if problem.status not in USABLE_STATUS:
        raise SolutionRejected((Violation(rule="model", index=-1, excess=np.inf),))
    solved = []
    for fleet, mixed, own in zip(fleets, mixture.fleets, shares, strict=True):
        parts = [_reweighted(part, share) for part, share in zip(mixed.parts, own, strict=True)]
        solved.append(FleetMixture(parts=tuple(parts)))
        fleet.schedule.value = solved[-1].schedule_kwh
    return tuple(solved)


def _reweighted(part: MixedPart, share: cp.Variable) -> MixedPart:
    weights = np.maximum(np.asarray(share.value), 0.0)
    return replace(part, weights=weights / weights.sum())


def _outcome(objective: float, bound: float, mixture: ConvexMixture, limits: SearchLimits) -> Outcome:
    prices = np.abs(mixture.prices_eur_per_kwh)
    drawn = [mixed.schedule_kwh for mixed in mixture.fleets]
    turnover = float(np.sum(prices * np.array(drawn)))
    allowed = limits.relative_gap * max(abs(objective), SMALL_SHARE * turnover) + NOTHING_EUR
    kind = Proved if objective - bound <= allowed else Feasible
    return kind(objective_eur=objective, lower_bound_eur=bound)


def _require_recheck(
    sessions: SessionArrays, per_session: SessionSchedule, fleets: Sequence[Fleet], model: Term
) -> None:
    """Check the set points against the sessions, the model's rules by evaluating them, and its devices."""
    schedule = np.asarray(fleets[0].schedule.value)
    following = Following(
        row=per_session.row, slot=per_session.slot, energy_kwh=per_session.energy_kwh, schedule_kwh=schedule
    )
    violations = recheck_following(sessions, following) + _broken_rules(model.constraints, float(np.max(schedule)))
    violations += tuple(found for asset in model.assets for found in asset.recheck())
    if violations:
        raise SolutionRejected(violations)


def _broken_rules(constraints: Sequence[cp.Constraint], highest_kwh: float) -> tuple[Violation, ...]:
    found = []
    for number, constraint in enumerate(constraints):
        excess = float(np.max(constraint.violation(), initial=0.0))  # type: ignore[no-untyped-call]
        size = max(float(np.max(np.abs(_values(constraint)), initial=0.0)), highest_kwh, 1.0)
        # `not <=` also finds a NaN.
        if not excess <= RELATIVE_TOLERANCE * size:
            found.append(Violation(rule="model", index=number, excess=excess))
    return tuple(found)


def _values(constraint: cp.Constraint) -> FloatArray:
    """Return every number of the variables in a constraint: what its rounding is relative to."""
    values = [np.ravel(variable.value) for variable in constraint.variables() if variable.value is not None]
    return np.concatenate([np.zeros(1), *values])


# ---------------------------------------------------------------- when nothing fits


def _without_schedule(
    sessions: SessionArrays, fleets: Sequence[Fleet], model: Term, mixture: ConvexMixture
) -> ConvexOptimum:
    outcome: Outcome = TimedOut(iteration_count=mixture.iteration_count)
    if mixture.least_mismatch_kwh > 0.0:
        outcome = Infeasible(conflicts=_conflicts(sessions, fleets, model, mixture))
    return ConvexOptimum(
        outcome=outcome,
        schedule_kwh=None,
        copies_kwh=(),
        session_schedule=None,
        price_eur_per_kwh=None,
        iteration_count=mixture.iteration_count,
    )


def _conflicts(
    sessions: SessionArrays, fleets: Sequence[Fleet], model: Term, mixture: ConvexMixture
) -> tuple[Conflict, ...]:
    """Return the set of slots that shows best why model and sessions do not meet; none when no set of slots shows it.

    The multipliers' level sets are tried from both sides: slots in which the sessions must draw more than the model allows,
    and slots in which the model asks for more than the sessions can draw. For rules per slot one of them misses exactly the
    least mismatch; rules that join slots with other weights may need more than one set.
    """
    if mixture.mismatch_prices is None:
        return ()
    found = []
    for fleet, prices in zip(fleets, mixture.mismatch_prices, strict=True):
        found += [_must_draw(sessions, fleet, model, slots) for slots in _level_sets(prices)]
        found += [_cannot_draw(fleet, model, slots) for slots in _level_sets(-prices)]
    proofs = [conflict for conflict in found if conflict is not None and conflict.missing_kwh > SLOT_TOLERANCE]
    return (max(proofs, key=lambda conflict: conflict.missing_kwh),) if proofs else ()


def _level_sets(prices: FloatArray) -> list[BoolArray]:
    levels = np.unique(np.round(prices[prices > SLOT_TOLERANCE], 6))
    chosen = levels[np.linspace(0, len(levels) - 1, min(len(levels), CONFLICT_LEVELS)).astype(np.int64)]
    return [prices >= level - SLOT_TOLERANCE for level in np.maximum(chosen - 1e-6, SLOT_TOLERANCE)]


def _must_draw(sessions: SessionArrays, fleet: Fleet, model: Term, slots: BoolArray) -> Conflict | None:
    allowed = _extreme(fleet, model, slots, cp.Maximize)
    if allowed is None:
        return None
    rows = np.flatnonzero(forced_kwh(sessions, slots) > SLOT_TOLERANCE)
    return Conflict(
        slots=tuple(int(slot) for slot in np.flatnonzero(slots)),
        must_flow_kwh=fleet.table.least_kwh(slots),
        allowed_kwh=allowed,
        sessions=tuple(sessions.name_of(int(row)) for row in rows),
    )


def _cannot_draw(fleet: Fleet, model: Term, slots: BoolArray) -> Conflict | None:
    asked = _extreme(fleet, model, slots, cp.Minimize)
    if asked is None:
        return None
    return Conflict(
        slots=tuple(int(slot) for slot in np.flatnonzero(slots)),
        must_flow_kwh=asked,
        allowed_kwh=fleet.table.most_kwh(slots),
        sessions=(),
    )


def _extreme(fleet: Fleet, model: Term, slots: BoolArray, sense: type[cp.Minimize] | type[cp.Maximize]) -> float | None:
    """Return the most or the least draw in some slots that the model knows of; None when it has no limit there."""
    problem = cp.Problem(sense(fleet.schedule[np.flatnonzero(slots)].sum()), list(model.constraints))
    problem.solve(solver=cp.CLARABEL, max_threads=1)  # type: ignore[no-untyped-call]  # not annotated in cvxpy
    return float(problem.value) if problem.status in USABLE_STATUS else None
