"""The cheapest schedule of one connection point's sessions, with its proof and the set points of every car.

Which way is taken depends on the case only, never on chance: the price response alone when the coupling does not bind, the
session model for a few hundred sessions, columns otherwise. All three give the same optimum, the same certificate and pass
the same independent check.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from bidding.arrays import FloatArray, finite_vector
from bidding.fleet.flexibility import FlexibilityTable
from bidding.fleet.sessions import SessionArrays
from bidding.optimum.coupling import Coupling, CouplingPrices, lagrangian_bound
from bidding.optimum.decomposition import (
    SMALL_SHARE,
    ColumnSet,
    Mixture,
    SearchLimits,
    generate_columns,
    reweighted,
)
from bidding.optimum.departures import departure_slack, wanting_at_most
from bidding.optimum.disaggregation import Disaggregation, SessionSchedule
from bidding.optimum.explain import explain_conflict
from bidding.optimum.greedy import PriceResponse
from bidding.optimum.models import session_schedule, solve_column_model, solve_session_model
from bidding.optimum.outcome import (
    DepartureSlack,
    Feasible,
    Infeasible,
    Outcome,
    Proved,
    SolutionRejected,
    TimedOut,
)
from bidding.optimum.recheck import Claim, Terms, recheck
from bidding.optimum.set_points import FleetSetPoints

SESSION_MODEL_LIMIT = 250
"""Up to here the model with a variable per session and slot is faster than columns: CPU ms of one thread for a day of quarter
hours with a binding cap at 100, 200, 250, 300, 1000 sessions are 51, 83, 110, 148, 819 by session and 90, 97, 119, 101, 171
by columns."""
NOTHING_EUR = 1e-9
"""A gap below this is rounding, also where everything is free."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimiserOptions:
    """How to search."""

    limits: SearchLimits = field(default_factory=SearchLimits)
    session_model_limit: int = SESSION_MODEL_LIMIT


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Optimum:
    """The result for one connection point."""

    outcome: Outcome
    schedule_kwh: FloatArray | None
    """Draw of all sessions per slot; None when the outcome is Infeasible or TimedOut."""
    session_schedule: SessionSchedule | None
    """Draw of every session in its window; None likewise."""
    coupling_price_eur_per_kwh: FloatArray | None
    """What one kWh more of room would save in each slot; None likewise."""
    departure_slack: tuple[DepartureSlack, ...] = ()
    """Who leaves without some of the energy needed, the most missing first; only `serve_most` lets anybody."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Case:
    """One problem and what every way of solving it needs."""

    sessions: SessionArrays
    table: FlexibilityTable
    response: PriceResponse
    price: FloatArray
    coupling: Coupling
    options: OptimiserOptions


def optimise(
    sessions: SessionArrays,
    price_eur_per_kwh: FloatArray,
    coupling: Coupling,
    options: OptimiserOptions | None = None,
) -> Optimum:
    """Return the cheapest way to give every session its energy inside the limits.

    Args:
        sessions: Sessions fitted to the horizon (`fit_to_horizon`).
        price_eur_per_kwh: Energy price per slot including whatever should shift it (network tariff, carbon), shape (T,).
        coupling: Cap per slot and demand charge.
        options: How to search.

    Raises:
        InvalidInput: A session was not fitted, or the price has not one finite number per slot.
        SolutionRejected: The independent check refused the solution; nothing of it may be used.
    """
    price = finite_vector("price_eur_per_kwh", price_eur_per_kwh, coupling.slot_count)
    table = FlexibilityTable.build(sessions, coupling.slot_count)
    case = _Case(
        sessions=sessions,
        table=table,
        response=PriceResponse(table),
        price=price,
        coupling=coupling,
        options=options if options is not None else OptimiserOptions(),
    )
    uncoupled = _uncoupled_optimum(case)
    if uncoupled is not None:
        return uncoupled
    if 0 < len(sessions) <= case.options.session_model_limit:
        by_session = _optimum_by_session(case)
        if by_session is not None:
            return by_session
    return _optimum_by_columns(case)


def serve_most(
    sessions: SessionArrays,
    price_eur_per_kwh: FloatArray,
    coupling: Coupling,
    options: OptimiserOptions | None = None,
) -> Optimum:
    """Return the cheapest among the schedules that deliver the most of the needed energy inside the limits.

    For an infeasible case: limits hold, needs give way. Energy is worth more than any price difference, so the most is
    delivered first. One kWh more can always be placed by shifting others such that only one slot's draw grows, therefore a
    worth above the highest price is enough. A demand charge counts, but only after energy. Who leaves without energy is
    named in `departure_slack`.
    """
    wanted = wanting_at_most(sessions)
    charge = 0.0 if coupling.demand_charge is None else coupling.demand_charge.eur_per_peak_kwh
    worth = 1.0 + 2.0 * float(np.max(np.abs(price_eur_per_kwh))) + charge
    options = options if options is not None else OptimiserOptions()
    best = optimise(wanted, price_eur_per_kwh - worth, coupling, options)
    if best.schedule_kwh is None:
        # The budget ended without a schedule: drawing nothing is inside every limit.
        none = np.zeros(len(sessions))
        best = optimise(wanted.with_energy(none, none), price_eur_per_kwh, coupling, options)
    return (
        best
        if best.session_schedule is None
        else replace(best, departure_slack=departure_slack(sessions, best.session_schedule))
    )


def _uncoupled_optimum(case: _Case) -> Optimum | None:
    """Return the plain price response when it is the optimum: no demand charge, and the cap respected anyway."""
    if case.coupling.demand_charge is not None:
        return None
    schedule = case.response.schedule(case.price)
    if np.any(schedule > case.coupling.cap_kwh):
        return None
    columns = ColumnSet(price=case.price[None, :], schedule_kwh=schedule[None, :])
    free = np.zeros(case.coupling.slot_count)
    per_session = Disaggregation(case.sessions, columns, np.ones(1)).schedule()
    return _checked(case, schedule, per_session, CouplingPrices(cap=free, peak=free), -np.inf)


def _optimum_by_session(case: _Case) -> Optimum | None:
    """Return the optimum of the session model, or None when it has none (the columns then explain why)."""
    solution = solve_session_model(case.sessions, case.price, case.coupling)
    if solution is None:
        return None
    per_session = session_schedule(case.sessions, solution.variables)
    schedule = per_session.per_slot_kwh(case.coupling.slot_count)
    return _checked(case, schedule, per_session, solution.prices, -np.inf)


def _optimum_by_columns(case: _Case) -> Optimum:
    mixture = generate_columns(case.table, case.price, case.coupling, limits=case.options.limits)
    if mixture.overflow_kwh > 0.0:
        return _without_schedule(case, mixture)
    solution = solve_column_model([part.columns for part in mixture.parts], case.price, case.coupling)
    free = np.zeros(case.coupling.slot_count)
    prices = CouplingPrices(cap=free, peak=free)
    if solution is not None:
        mixture, prices = reweighted(mixture, solution.variables), solution.prices
    per_session = FleetSetPoints(case.sessions, case.table, mixture).schedule()
    return _checked(case, mixture.schedule_kwh, per_session, prices, mixture.lower_bound_eur)


def _without_schedule(case: _Case, mixture: Mixture) -> Optimum:
    outcome: Outcome = TimedOut(iteration_count=mixture.iteration_count)
    if mixture.least_overflow_kwh > 0.0 and mixture.overflow_prices is not None:
        conflict = explain_conflict(case.table, case.sessions, case.coupling.cap_kwh, mixture.overflow_prices)
        outcome = Infeasible(conflicts=(conflict,))
    return Optimum(outcome=outcome, schedule_kwh=None, session_schedule=None, coupling_price_eur_per_kwh=None)


def _checked(
    case: _Case, schedule: FloatArray, per_session: SessionSchedule, prices: CouplingPrices, known_bound: float
) -> Optimum:
    """Return the solution with its certificate after the independent check has passed it."""
    objective = case.coupling.cost_eur(case.price, schedule)
    _require_recheck(case, schedule, per_session, objective)
    response = case.response.schedule(case.price + prices.total)
    bound = lagrangian_bound(case.coupling, prices, float((case.price + prices.total) @ response))
    bound = max(bound, known_bound)
    turnover = float(np.abs(case.price) @ schedule)
    reference = max(abs(objective), SMALL_SHARE * turnover)
    proved = objective - bound <= case.options.limits.relative_gap * reference + NOTHING_EUR
    kind = Proved if proved else Feasible
    return Optimum(
        outcome=kind(objective_eur=objective, lower_bound_eur=bound),
        schedule_kwh=schedule,
        session_schedule=per_session,
        coupling_price_eur_per_kwh=prices.total,
    )


def _require_recheck(case: _Case, schedule: FloatArray, per_session: SessionSchedule, objective: float) -> None:
    charge = case.coupling.demand_charge
    violations = recheck(
        case.sessions,
        Claim(
            row=per_session.row,
            slot=per_session.slot,
            energy_kwh=per_session.energy_kwh,
            schedule_kwh=schedule,
            objective_eur=objective,
        ),
        Terms(
            price_eur_per_kwh=case.price,
            cap_kwh=case.coupling.cap_kwh,
            load_kwh=np.zeros(len(schedule)) if charge is None else charge.load_kwh,
            eur_per_peak_kwh=0.0 if charge is None else charge.eur_per_peak_kwh,
            peak_so_far_kwh=0.0 if charge is None else charge.peak_so_far_kwh,
        ),
    )
    if violations:
        raise SolutionRejected(violations)
