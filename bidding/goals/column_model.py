"""The plan of many drivers with different prices: column generation over everyone's exact answer to a price of room.

When room in each slot costs so much on top of everyone's own price, each session's best answer is exact (`response`), steps
and fixed draw included. What a part of the sessions draws then is a column; the best mixture of columns per part is the
optimum (Dantzig and Wolfe 1960), and a mixture of answers is a schedule that each car can follow. Time and memory per column
grow with the number of sessions, those of the master do not.
"""

import numpy as np

from bidding.arrays import FloatArray, IntArray, sum_by
from bidding.goals.response import GoalProblem, respond_alone
from bidding.goals.session_model import GoalSolution
from bidding.optimum.coupling import Coupling, CouplingPrices, lagrangian_bound
from bidding.optimum.decomposition import (
    OVERFLOW_TOLERANCE,
    REDUCED_COST_TOLERANCE,
    SMALL_SHARE,
    SMOOTHING,
    SearchLimits,
)
from bidding.optimum.restricted_master import MasterSolution, RestrictedMaster

PART_COUNT = 16
"""Parts that are mixed on their own: more columns from each answer, more rows in the master."""


def solve_goal_columns(problem: GoalProblem, coupling: Coupling, limits: SearchLimits) -> GoalSolution | None:
    """Return the least cost at everyone's own prices, or None when the needs do not fit the coupling."""
    search = _Search(problem, coupling, limits)
    solution = search.run()
    if float(solution.overflow_kwh.max(initial=0.0)) > OVERFLOW_TOLERANCE * search.reference_kwh:
        return None
    return GoalSolution(entry_kwh=search.mixed(solution.weights), prices=search.centre)


def parts_of(problem: GoalProblem) -> IntArray:
    """Return the part of each session: equally many per part, alike in price class, departure and arrival."""
    cars = problem.cars
    order = np.lexsort((cars.arrival_slot, cars.departure_slot, problem.demand.class_of))
    part = np.empty(len(cars), dtype=np.int64)
    count = min(PART_COUNT, max(len(cars), 1))
    part[order] = np.arange(len(cars)) * count // max(len(cars), 1)
    return part


class _Search:
    """One column generation: the master, part and prices of each column, and the prices with the best bound."""

    def __init__(self, problem: GoalProblem, coupling: Coupling, limits: SearchLimits) -> None:
        self.problem = problem
        self.coupling = coupling
        self.limits = limits
        free = np.zeros(coupling.slot_count)
        self.centre = CouplingPrices(cap=free, peak=free)
        self.part_of = parts_of(problem)
        self.part_count = int(self.part_of.max(initial=0)) + 1
        self.cell = self.part_of[problem.row] * coupling.slot_count + problem.slot
        self.answers: list[FloatArray] = []
        """Prices of room of each answer of which some column was added."""
        self.columns: list[tuple[int, int]] = []
        """Part and answer of each column."""
        power_max = sum_by(problem.slot, problem.cars.rate_kwh_per_slot[problem.row], coupling.slot_count)
        self.reference_kwh = float(power_max.max(initial=0.0))
        self.master = RestrictedMaster(coupling, power_max, self._overflow_price(), self.part_count)

    def _overflow_price(self) -> float:
        """Return a price no relief of the cap is worth: overflow remains only where nothing fits.

        A kWh of overflow moves to a slot with room over a chain of exchanges that enters each slot once, and each exchange
        costs at most the spread of prices and worths.
        """
        demand, charge = self.problem.demand, self.coupling.demand_charge
        highest = float(np.abs(demand.class_price_eur_per_kwh).max(initial=0.0))
        highest = max(highest, float(np.abs(demand.step_value_eur_per_kwh).max(initial=0.0)))
        peak = 0.0 if charge is None else charge.eur_per_peak_kwh
        return 1.0 + 2.0 * self.coupling.slot_count * (highest + peak)

    def run(self) -> MasterSolution:
        """Add columns until the gap is closed, none pays off any more or the budget ends."""
        bound, iteration_count = -np.inf, 0
        schedules, costs = self._answer(self.centre)
        self._add(self.centre, schedules, costs, np.arange(self.part_count))
        while True:
            solution = self.master.solve()
            iteration_count += 1
            reference = self._reference(solution)
            paying: IntArray = np.zeros(0, dtype=np.int64)
            for prices in (solution.prices.towards(self.centre, SMOOTHING), solution.prices):
                schedules, costs = self._answer(prices)
                least = float((costs + schedules @ prices.total).sum())
                at_prices = lagrangian_bound(self.coupling, prices, least)
                if at_prices > bound:
                    bound, self.centre = at_prices, prices
                pays = costs + schedules @ solution.prices.total < solution.mix_duals - (
                    REDUCED_COST_TOLERANCE * reference / self.part_count
                )
                paying = np.flatnonzero(pays)
                if paying.size:
                    self._add(prices, schedules, costs, paying)
                    break
            is_closed = solution.objective_eur - bound <= self.limits.relative_gap * reference
            if is_closed or not paying.size or iteration_count >= self.limits.iteration_limit:
                return solution

    def mixed(self, weights: FloatArray) -> FloatArray:
        """Return the mixture of answers, kWh per entry.

        Args:
            weights: Of the columns the master knew; what was added after its last solution is left out.
        """
        share = np.zeros((len(self.answers), self.part_count))
        for (part, answer), weight in zip(self.columns[: len(weights)], weights, strict=True):
            share[answer, part] = max(float(weight), 0.0)
        share /= share.sum(axis=0)
        entry_kwh = np.zeros(len(self.problem.row))
        for part_share, shift in zip(share, self.answers, strict=True):
            if part_share.any():
                entry_kwh += part_share[self.part_of[self.problem.row]] * respond_alone(self.problem, shift)
        return entry_kwh

    def _answer(self, prices: CouplingPrices) -> tuple[FloatArray, FloatArray]:
        """Return what each part draws at these prices of room, shape (parts, T), and its cost without them."""
        problem, size = self.problem, self.part_count * self.coupling.slot_count
        entry_kwh = respond_alone(problem, prices.total)
        schedules = sum_by(self.cell, entry_kwh, size).reshape(self.part_count, -1)
        return schedules, sum_by(self.part_of, problem.session_cost_eur(entry_kwh), self.part_count)

    def _add(self, prices: CouplingPrices, schedules: FloatArray, costs: FloatArray, parts: IntArray) -> None:
        for part in parts:
            self.master.add(schedules[part], float(costs[part]), int(part))
            self.columns.append((int(part), len(self.answers)))
        self.answers.append(prices.total)

    def _reference(self, solution: MasterSolution) -> float:
        turnover = self.reference_kwh * float(np.abs(self.problem.demand.class_price_eur_per_kwh).mean())
        return max(abs(solution.objective_eur), SMALL_SHARE * turnover, 1e-9)
