"""Dantzig-Wolfe decomposition: the exact optimum of a coupled fleet from a hundred price responses.

The master mixes columns (schedules the fleet can follow); its duals say what a kWh costs in each slot beyond the energy
price; the price response at that price is the best new column, found exactly by the greedy rule. Wentges smoothing damps
the duals. Every iterate is feasible, can be disaggregated, and carries a certified distance to the optimum, because each
price response also gives a Lagrangian lower bound. The work does not grow with the number of sessions. The fleet is mixed in
parts (`window_groups`): each part has its own weights, so that one price response brings as many columns as there are parts.

Phases: first with a price on overflow of the cap. If overflow remains, the least overflow is found: when that is above zero
nothing fits and its duals name the slots (`least_overflow` is certified too); otherwise the search goes on with overflow
forbidden.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bidding.arrays import FloatArray, IntArray
from bidding.fleet.flexibility import FlexibilityTable, power_bounds
from bidding.optimum.coupling import Coupling, CouplingPrices, lagrangian_bound
from bidding.optimum.greedy import PriceResponse, rank_counts
from bidding.optimum.restricted_master import MasterSolution, Phase, RestrictedMaster
from bidding.optimum.window_groups import default_group_count, group_windows

SMOOTHING = 0.5
"""Share of the best duals so far in the price of a response (Wentges 1997)."""
REDUCED_COST_TOLERANCE = 1e-9
OVERFLOW_TOLERANCE = 1e-7
"""Overflow below this share of the fleet's highest draw is the solver's rounding."""
OVERFLOW_PRICE_FACTOR = 10.0
ASCENT_STEPS = 30
"""Steps on the cap's prices before the first master: a third of the later iterations for the cost of the responses alone."""
ASCENT_KEPT_FROM = 10
"""Responses of earlier steps are too far off to be worth a column."""
ASCENT_DECAY = 0.6
SMALL_SHARE = 1e-3
"""Gaps are relative to the objective, but at least to this share of what the energy turns over: costs near 0 exist."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchLimits:
    """When to stop."""

    relative_gap: float = 1e-6
    """Certified gap, relative to the objective, that counts as proved."""
    iteration_limit: int = 2000
    """Master solves; there is no clock here, a worker process can be killed."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ColumnSet:
    """The columns of a solution: schedules, each with the price whose greedy response it is.

    The price is what makes a column tell every single session what to do (`disaggregation`).
    """

    price: FloatArray
    """Shape (K, T)."""
    schedule_kwh: FloatArray
    """Shape (K, T)."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MixedPart:
    """The mixture of one part of the fleet."""

    windows: IntArray
    """Windows of its sessions, numbers in the table's layout."""
    columns: ColumnSet
    weights: FloatArray
    """One per column, above 0, sum 1."""

    @property
    def schedule_kwh(self) -> FloatArray:
        """Draw of the part per slot, shape (T,)."""
        schedule: FloatArray = self.weights @ self.columns.schedule_kwh
        return schedule


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Mixture:
    """What the search came to: columns and weights per part of the fleet, and the certificates."""

    parts: tuple[MixedPart, ...]
    objective_eur: float
    lower_bound_eur: float
    is_proved: bool
    """Whether the certified gap is within the limits asked for."""
    overflow_kwh: float
    """Draw above the cap over all slots in the present mix; 0.0 when it respects the cap."""
    least_overflow_kwh: float
    """Lower bound on the overflow of any schedule; above 0.0 proves that nothing fits."""
    overflow_prices: FloatArray | None
    """Duals of the least overflow, in [0, 1] per slot; None when that phase was not needed."""
    iteration_count: int

    @property
    def schedule_kwh(self) -> FloatArray:
        """Draw of the fleet per slot, shape (T,)."""
        return sum_of([part.schedule_kwh for part in self.parts])


def reweighted(mixture: Mixture, weights: FloatArray) -> Mixture:
    """Return the same columns with other weights: those of all parts one after the other, cleaned of rounding."""
    border = np.cumsum([len(part.weights) for part in mixture.parts])[:-1]
    parts = []
    for part, share in zip(mixture.parts, np.split(np.maximum(weights, 0.0), border), strict=True):
        parts.append(replace(part, weights=share / share.sum()))
    return replace(mixture, parts=tuple(parts))


def sum_of(schedules_kwh: Sequence[FloatArray]) -> FloatArray:
    """Return the sum of schedules of equal length, at least one."""
    total: FloatArray = np.sum(schedules_kwh, axis=0)
    return total


def generate_columns(
    table: FlexibilityTable,
    price_eur_per_kwh: FloatArray,
    coupling: Coupling,
    *,
    limits: SearchLimits = SearchLimits(),
    part_count: int | None = None,
) -> Mixture:
    """Return the cheapest mixture of schedules under the coupling.

    Args:
        table: What the fleet can do.
        price_eur_per_kwh: Energy price per slot, shape (T,).
        coupling: Cap per slot and demand charge.
        limits: When to stop.
        part_count: Parts of the fleet that are mixed on their own, None for the fastest number; the optimum is always the same.
    """
    count = default_group_count(coupling.slot_count) if part_count is None else part_count
    search = _Search(table, price_eur_per_kwh, coupling, limits, group_windows(table, count))
    search.start()
    return search.run()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Column:
    """One column of the master."""

    part: int
    price: FloatArray
    schedule_kwh: FloatArray


class _Search:
    """One column generation: the master, the bound and the best duals so far."""

    def __init__(
        self,
        table: FlexibilityTable,
        price: FloatArray,
        coupling: Coupling,
        limits: SearchLimits,
        groups: tuple[IntArray, ...],
    ) -> None:
        _, power_max = power_bounds(table)
        self.price = price
        self.coupling = coupling
        self.limits = limits
        self.groups = groups
        self.responses = [PriceResponse(table, windows) for windows in groups]
        highest = float(np.max(np.abs(price)))
        charge = 0.0 if coupling.demand_charge is None else coupling.demand_charge.eur_per_peak_kwh
        overflow_price = max(1.0, OVERFLOW_PRICE_FACTOR * (highest + charge))
        self.master = RestrictedMaster(coupling, power_max, overflow_price, len(groups))
        self.columns: list[_Column] = []
        self.bound_eur = -np.inf
        self.centre: CouplingPrices | None = None
        self.iteration_count = 0
        turnover = float(np.mean(np.abs(price))) * float(table.major.sum())
        self.reference_eur = max(SMALL_SHARE * turnover, 1e-9)
        self.reference_kwh = max(float(np.max(power_max, initial=0.0)), 1e-9)

    def start(self) -> None:
        """Begin with what every part would do alone, and with its answers while the prices of the cap first rise.

        A subgradient ascent with falling steps (Shor 1985): where the parts together draw more than the cap, a slot becomes
        dearer. It finds no optimum, but a good place to begin and columns from around it.
        """
        schedules = self.respond(self.price)
        self.add_all(self.price, schedules)
        free = np.zeros_like(self.price)
        cap_price = free
        spans = (float(np.ptp(self.price)), float(np.max(np.abs(self.price))), 1.0)
        step_eur = 0.5 * next(span for span in spans if span > 0.0)
        for step in range(ASCENT_STEPS):
            drawn = sum_of(schedules)
            prices = CouplingPrices(cap=cap_price, peak=free)
            self.see_bound(self.bound_of(Phase.PENALTY, prices, drawn), prices)
            over = np.where(np.isfinite(self.coupling.cap_kwh), drawn - self.coupling.cap_kwh, -np.inf)
            farthest = float(np.max(np.abs(over[np.isfinite(over)]), initial=0.0))
            if farthest == 0.0 or (step == 0 and over.max() <= 0.0):
                return
            pace = step_eur / (1 + step) ** ASCENT_DECAY / farthest
            cap_price = np.maximum(cap_price + pace * np.where(np.isfinite(over), over, 0.0), 0.0)
            schedules = self.respond(self.price + cap_price)
            if step >= ASCENT_KEPT_FROM:
                self.add_all(self.price + cap_price, schedules)

    def see_bound(self, bound_eur: float, prices: CouplingPrices) -> None:
        """Remember the best bound on the cost and where it was found."""
        if bound_eur > self.bound_eur:
            self.bound_eur, self.centre = bound_eur, prices

    def add_all(self, price: FloatArray, schedules: Sequence[FloatArray]) -> None:
        """Add the responses of all parts to a price as columns."""
        for part, schedule in enumerate(schedules):
            self.add(part, price, schedule)

    def respond(self, price: FloatArray) -> list[FloatArray]:
        """Return the response of every part to a price."""
        counts = rank_counts(price)
        return [response.schedule(price, counts) for response in self.responses]

    def add(self, part: int, price: FloatArray, schedule: FloatArray) -> None:
        """Add the response of a part to a price as a column."""
        self.master.add(schedule, float(self.price @ schedule), part)
        self.columns.append(_Column(part=part, price=price, schedule_kwh=schedule))

    def run(self) -> Mixture:
        """Go through the phases."""
        solution, bound, proved = self.descend(Phase.PENALTY)
        if self.fits(solution):
            return self.mixture(solution, bound, proved=proved)
        self.master.enter(Phase.LEAST_OVERFLOW)
        least, least_bound, _ = self.descend(Phase.LEAST_OVERFLOW)
        prices = least.prices.cap
        if not self.fits(least):
            mixture = self.mixture(least, -np.inf, proved=False)
            surely = least_bound if least_bound > OVERFLOW_TOLERANCE * self.reference_kwh else 0.0
            return replace(mixture, least_overflow_kwh=surely, overflow_prices=prices)
        self.master.enter(Phase.EXACT)
        solution, bound, proved = self.descend(Phase.EXACT)
        return replace(self.mixture(solution, bound, proved=proved), overflow_prices=prices)

    def descend(self, phase: Phase) -> tuple[MasterSolution, float, bool]:
        """Add columns until the gap of this phase is closed; return the mix, its bound and whether it is proved."""
        searching = phase is Phase.LEAST_OVERFLOW
        bound, centre = (-np.inf, None) if searching else (self.bound_eur, self.centre)
        base = np.zeros_like(self.price) if searching else self.price
        while True:
            solution = self.master.solve()
            self.iteration_count += 1
            if searching and self.fits(solution):
                return solution, 0.0, True
            improved = False
            for prices in self.prices_to_try(solution, centre):
                schedules = self.respond(base + prices.total)
                found = self.bound_of(phase, prices, sum_of(schedules))
                if found > bound:
                    bound, centre = found, prices
                if self.add_what_pays(phase, base, prices, schedules, solution):
                    improved = True
                    break
            gap = solution.objective_eur - bound
            closed = gap <= self.limits.relative_gap * self.reference(phase, solution)
            if closed or not improved or self.iteration_count >= self.limits.iteration_limit:
                return solution, bound, closed

    def add_what_pays(
        self,
        phase: Phase,
        base: FloatArray,
        prices: CouplingPrices,
        schedules: Sequence[FloatArray],
        solution: MasterSolution,
    ) -> bool:
        """Add the responses that improve the mix of their part; tell whether there was one."""
        tolerance = REDUCED_COST_TOLERANCE * self.reference(phase, solution) / len(self.groups)
        priced = np.array(schedules) @ (base + solution.prices.total)
        paying = np.flatnonzero(priced < solution.mix_duals - tolerance)
        for part in paying:
            self.add(int(part), base + prices.total, schedules[int(part)])
        return bool(paying.size)

    def prices_to_try(self, solution: MasterSolution, centre: CouplingPrices | None) -> tuple[CouplingPrices, ...]:
        """Return the duals to respond to: smoothed towards the best so far first, the master's own if that fails."""
        if centre is None:
            return (solution.prices,)
        return (solution.prices.towards(centre, SMOOTHING), solution.prices)

    def bound_of(self, phase: Phase, prices: CouplingPrices, schedule: FloatArray) -> float:
        """Return the Lagrangian bound of this phase at some prices, given the fleet's response to them."""
        if phase is Phase.LEAST_OVERFLOW:
            priced = prices.cap > 0.0
            return float(prices.cap[priced] @ (schedule - self.coupling.cap_kwh)[priced])
        return lagrangian_bound(self.coupling, prices, float((self.price + prices.total) @ schedule))

    def reference(self, phase: Phase, solution: MasterSolution) -> float:
        """Return what gaps are relative to."""
        searching = phase is Phase.LEAST_OVERFLOW
        smallest = OVERFLOW_TOLERANCE * self.reference_kwh if searching else self.reference_eur
        return max(abs(solution.objective_eur), smallest)

    def fits(self, solution: MasterSolution) -> bool:
        """Tell whether the mix respects the cap up to the solver's rounding."""
        return float(solution.overflow_kwh.max()) <= OVERFLOW_TOLERANCE * self.reference_kwh

    def mixture(self, solution: MasterSolution, bound: float, *, proved: bool) -> Mixture:
        """Return the mix with its columns, weights cleaned of the solver's rounding."""
        parts = tuple(self.mixed_part(part, solution) for part in range(len(self.groups)))
        return Mixture(
            parts=parts,
            objective_eur=self.coupling.cost_eur(self.price, sum_of([part.schedule_kwh for part in parts])),
            lower_bound_eur=bound,
            is_proved=proved,
            overflow_kwh=0.0 if self.fits(solution) else float(solution.overflow_kwh.sum()),
            least_overflow_kwh=0.0,
            overflow_prices=None,
            iteration_count=self.iteration_count,
        )

    def mixed_part(self, part: int, solution: MasterSolution) -> MixedPart:
        """Return the used columns of one part with their weights."""
        # Columns that came after the last mix have no weight in it.
        mixed = zip(self.columns, solution.weights, strict=False)
        used = [(column, weight) for column, weight in mixed if column.part == part and weight > 0.0]
        weights = np.array([weight for _, weight in used])
        columns = ColumnSet(
            price=np.array([column.price for column, _ in used]),
            schedule_kwh=np.array([column.schedule_kwh for column, _ in used]),
        )
        return MixedPart(windows=self.groups[part], columns=columns, weights=weights / weights.sum())
