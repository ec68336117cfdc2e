"""The plan of everyone's wishes behind one connection point, stage after stage, each exact.

1. Who gets how much. When not every need fits, tiers give way from the last to the first: what is guaranteed (minimums, the
   need of GUARANTEED), then boosts, then all other needs; inside a tier by the rule of scarcity (`fair_service`).
2. Boosts are as early as can be while every energy of stage 1 can still be met. 3. Minimums likewise, boosts fixed.
4. Least cost of all the rest at every driver's own price, with steps as far as they are worth it (`demand`).

When full rate from arrival for everything urgent leaves room for every need, stages 1 to 3 have nothing to decide and only the
fourth is solved. Boost and minimum are fixed as found before the next stage looks for less cost, so a later stage never
delays them.
"""

from dataclasses import dataclass

import numpy as np

from bidding.arrays import FloatArray, sum_by
from bidding.fleet.sessions import require_fitted
from bidding.goals.column_model import solve_goal_columns
from bidding.goals.demand import Demand, GoalPrices, demand_of
from bidding.goals.fair_service import ScarcityRule, Tier, serve_fairly, tier_ranks
from bidding.goals.response import GoalProblem, earliest_draw, respond_alone
from bidding.goals.session_model import EARLIER_EUR_PER_KWH, GoalSolution, solve_earliest, solve_goal_model
from bidding.goals.verify import verify_plan
from bidding.goals.wishes import DriverWishes
from bidding.optimum.coupling import Coupling, CouplingPrices, lagrangian_bound
from bidding.optimum.decomposition import SMALL_SHARE
from bidding.optimum.disaggregation import SessionSchedule
from bidding.optimum.optimise import NOTHING_EUR, OptimiserOptions
from bidding.optimum.outcome import Feasible, Proved, SolutionRejected
from bidding.optimum.recheck import Violation
from gateway.domain.errors import InvalidInput

NO_PLAN = Violation(rule="no-plan", index=-1, excess=0.0)
"""Energies were shared out so that they fit, and yet the solver found no plan for them."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class GoalPlan:
    """The plan of one connection point."""

    wishes: DriverWishes
    prices: GoalPrices
    demand: Demand
    outcome: Proved | Feasible
    """Of the last stage: least cost given energies and what is urgent; the objective is at drivers' own prices, steps counted
    at their worth, with the demand charge."""
    is_best_effort: bool
    """Whether needs had to give way to the limit."""
    served_kwh: FloatArray
    """What each session gets of its need, shape (N,)."""
    urgent_kwh: FloatArray
    """Boost and minimum per session and slot of its window: fixed before costs were looked at."""
    session_schedule: SessionSchedule
    """Draw of every session in every slot of its window."""
    alone_kwh: FloatArray
    """What each session would draw by itself at the same prices, entry by entry: the comparison for reasons."""
    schedule_kwh: FloatArray
    """Draw of all sessions per slot, shape (T,)."""
    cap_kwh: FloatArray
    """Most the sessions may draw together per slot, shape (T,)."""
    room_price_eur_per_kwh: FloatArray
    """What one kWh more of room would save in each slot, shape (T,)."""


def plan_goals(
    wishes: DriverWishes,
    prices: GoalPrices,
    coupling: Coupling,
    *,
    rule: ScarcityRule = ScarcityRule.BY_NEED,
    fairness_weight: FloatArray | None = None,
    options: OptimiserOptions | None = None,
) -> GoalPlan:
    """Return the plan that meets all wishes, or the one in which as little as fair gives way.

    Args:
        wishes: Fitted to the horizon (`fit_wishes`).
        prices: Money and carbon per slot.
        coupling: Cap per slot and demand charge of the connection point.
        rule: Who gives way when the cap is short.
        fairness_weight: Share each session gets per unit of level under scarcity, above 0; None: all the same.
        options: How to search.

    Raises:
        InvalidInput: Sessions were not fitted, series have another length than the coupling, a goal lacks its series, a
            weight is not above 0.
        SolutionRejected: The independent check refused the plan; nothing of it may be used.
    """
    require_fitted(wishes.cars, coupling.slot_count)
    if prices.slot_count != coupling.slot_count:
        raise InvalidInput("price_eur_per_kwh", f"has {prices.slot_count} values, expected {coupling.slot_count}")
    demand = demand_of(wishes, prices)
    options = options if options is not None else OptimiserOptions()
    solved = _solve_at_once(wishes, demand, coupling, options)
    if solved is not None:
        problem, solution = solved
        return _checked(wishes, prices, coupling, problem, solution, options)
    weight = np.ones(len(wishes.cars)) if fairness_weight is None else fairness_weight
    problem = _after_scarcity(wishes, demand, coupling, (rule, weight), options)
    found = _least_cost(problem, coupling, options)
    if found is None:
        raise SolutionRejected((NO_PLAN,))
    return _checked(wishes, prices, coupling, problem, found, options)


def _solve_at_once(
    wishes: DriverWishes, demand: Demand, coupling: Coupling, options: OptimiserOptions
) -> tuple[GoalProblem, GoalSolution] | None:
    """Return the plan with full rate for everything urgent and every need met, or None when that does not fit."""
    cars = wishes.cars
    problem = GoalProblem(
        cars=cars, need_kwh=demand.need_kwh, demand=demand, floor_kwh=earliest_draw(cars, demand.minimum_kwh)
    )
    no_prices = np.zeros(coupling.slot_count)
    if np.any(sum_by(problem.slot, problem.floor_kwh, coupling.slot_count) > coupling.cap_kwh):
        return None
    if coupling.demand_charge is None:
        alone = respond_alone(problem, no_prices)
        if np.all(sum_by(problem.slot, alone, coupling.slot_count) <= coupling.cap_kwh):
            free = CouplingPrices(cap=no_prices, peak=no_prices)
            return problem, GoalSolution(entry_kwh=alone, prices=free)
    found = _least_cost(problem, coupling, options)
    return None if found is None else (problem, found)


def _least_cost(problem: GoalProblem, coupling: Coupling, options: OptimiserOptions) -> GoalSolution | None:
    """Return the optimum of the last stage: one model for a few hundred sessions, columns for more."""
    if len(problem.cars) <= options.session_model_limit:
        return solve_goal_model(problem, coupling)
    return solve_goal_columns(problem, coupling, options.limits)


def _after_scarcity(
    wishes: DriverWishes,
    demand: Demand,
    coupling: Coupling,
    scarcity: tuple[ScarcityRule, FloatArray],
    options: OptimiserOptions,
) -> GoalProblem:
    """Return what is left to decide after energies are shared out and everything urgent is placed."""
    cars, (rule, weight) = wishes.cars, scarcity
    tiers = [
        one
        for wanted in (demand.firm_kwh, np.maximum(demand.firm_kwh, demand.boost_kwh), demand.need_kwh)
        for one in tier_ranks(Tier(wanted_kwh=wanted, weight=weight), cars.arrival_slot, rule)
    ]
    served = serve_fairly(cars, tiers, coupling, options)
    floor = np.zeros(int(cars.window_length.sum()))
    for urgent in (demand.boost_kwh, demand.minimum_kwh):
        problem = GoalProblem(cars=cars, need_kwh=served, demand=demand, floor_kwh=floor)
        wanted = np.minimum(urgent, served)
        if np.any(wanted > 0.0):
            placed = solve_earliest(problem, wanted, coupling)
            if placed is None:
                raise SolutionRejected((NO_PLAN,))
            floor = placed
    return GoalProblem(cars=cars, need_kwh=served, demand=demand, floor_kwh=floor)


def _checked(
    wishes: DriverWishes,
    prices: GoalPrices,
    coupling: Coupling,
    problem: GoalProblem,
    solution: GoalSolution,
    options: OptimiserOptions,
) -> GoalPlan:
    """Return the plan with its certificate after the independent check has passed it."""
    per_session = SessionSchedule(offset=problem.offset, slot=problem.slot, energy_kwh=solution.entry_kwh)
    violations = verify_plan(
        wishes, prices.price_eur_per_kwh, coupling, problem.need_kwh, problem.floor_kwh, per_session
    )
    if violations:
        raise SolutionRejected(violations)
    missing = problem.demand.need_kwh - problem.need_kwh
    no_shift = np.zeros(coupling.slot_count)
    return GoalPlan(
        wishes=wishes,
        prices=prices,
        demand=problem.demand,
        outcome=_certified(problem, coupling, solution, options),
        is_best_effort=bool(np.any(missing > 0.0)),
        served_kwh=problem.need_kwh,
        urgent_kwh=problem.floor_kwh,
        session_schedule=per_session,
        alone_kwh=respond_alone(_unhindered(problem), no_shift),
        schedule_kwh=per_session.per_slot_kwh(coupling.slot_count),
        cap_kwh=coupling.cap_kwh,
        room_price_eur_per_kwh=solution.prices.total,
    )


def _unhindered(problem: GoalProblem) -> GoalProblem:
    """Return the problem every session would have alone: its whole need, urgent energy from arrival."""
    return GoalProblem(
        cars=problem.cars,
        need_kwh=problem.demand.need_kwh,
        demand=problem.demand,
        floor_kwh=earliest_draw(problem.cars, problem.demand.minimum_kwh),
    )


def _certified(
    problem: GoalProblem, coupling: Coupling, solution: GoalSolution, options: OptimiserOptions
) -> Proved | Feasible:
    """Return the cost with a bound from everyone's exact answer to the duals, which no solver has touched."""
    cost = problem.cost_eur(solution.entry_kwh)
    charge = coupling.demand_charge
    if charge is not None:
        cost += charge.cost_eur(sum_by(problem.slot, solution.entry_kwh, coupling.slot_count))
    shift = solution.prices.total
    answer = respond_alone(problem, shift)
    least = problem.cost_eur(answer) + float(shift[problem.slot] @ answer)
    bound = lagrangian_bound(coupling, solution.prices, least)
    turnover = float(np.abs(problem.own_price_eur_per_kwh) @ solution.entry_kwh)
    reference = max(abs(cost), SMALL_SHARE * turnover)
    # Taking the earlier of equal slots may cost this much.
    unseen = NOTHING_EUR + EARLIER_EUR_PER_KWH * float(solution.entry_kwh.sum())
    is_proved = cost - bound <= options.limits.relative_gap * reference + unseen
    kind = Proved if is_proved else Feasible
    return kind(objective_eur=cost, lower_bound_eur=bound)
