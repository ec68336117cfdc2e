"""The exact optimum of any convex model over what a fleet can do, with a certified gap.

The user writes cost and rules in cvxpy over one variable, the aggregate schedule (`terms`, `site_assets`, `reserve`, or
expressions of their own). Column generation does the rest: the master mixes schedules the fleet can follow so that the model
is served best; its multipliers price every slot; the exact price response is the best new schedule, and bounds the optimum
from below (`cone_program`). Multipliers are damped as Wentges (1997) does. cvxpy translates the model once before and solves
it once after the search; between the two no modelling layer is in the way. The work does not grow with the number of
sessions.

Every result can be followed by every session (`disaggregation`), and is checked by separate code before it is returned.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cvxpy as cp
import numpy as np

from bidding.arrays import FloatArray, IntArray
from bidding.fleet.flexibility import FlexibilityTable, power_bounds
from bidding.optimum.cone_program import ConeProgram, Multipliers, cone_program
from bidding.optimum.convex_master import ConvexMaster, MasterFailed, MasterPoint, convex_master
from bidding.optimum.decomposition import SMALL_SHARE, SMOOTHING, ColumnSet, MixedPart, SearchLimits, sum_of
from bidding.optimum.greedy import PriceResponse, rank_counts
from bidding.optimum.terms import Term
from bidding.optimum.window_groups import default_group_count, group_windows
from gateway.domain.errors import InvalidInput

CONVEX_LIMITS = SearchLimits(relative_gap=1e-5, iteration_limit=1000)
"""Default of convex models: their solvers' own accuracy is near 1e-8, and the last digits cost most of the iterations."""
MISMATCH_TOLERANCE = 1e-7
"""Mismatch between model and fleets below this share of the fleets' highest draw is rounding."""
COLUMN_TOLERANCE = 1e-10
"""A column that pays off by less than this share of what the fleet turns over is not new."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Fleet:
    """A variable of the model that must be a schedule which these sessions can follow."""

    schedule: cp.Variable
    """kWh per slot, shape (T,), without attributes."""
    table: FlexibilityTable
    """What the sessions can do. Fleets given the very same table share their columns."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FleetMixture:
    """The mixture of one fleet, in parts with weights of their own (`window_groups`)."""

    parts: tuple[MixedPart, ...]

    @property
    def schedule_kwh(self) -> FloatArray:
        """Draw of the fleet per slot, shape (T,)."""
        return sum_of([part.schedule_kwh for part in self.parts])


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ConvexMixture:
    """What the search came to."""

    fleets: tuple[FleetMixture, ...]
    """Empty when no common point was found."""
    lower_bound_eur: float
    is_proved: bool
    """Whether the certified gap is within the limits asked for."""
    prices_eur_per_kwh: FloatArray
    """What one more kWh drawn in each slot costs in the model, shape (M, T); where the bound was best."""
    least_mismatch_kwh: float
    """Lower bound on what keeps model and fleets apart; above 0.0 proves that nothing fits."""
    mismatch_prices: FloatArray | None
    """Multipliers of the least mismatch in [-1, 1], shape (M, T): above 0 where the fleet must draw more than the model
    allows, below 0 where the model asks for more than the fleet can draw; None when there is no mismatch."""
    iteration_count: int

    @property
    def is_usable(self) -> bool:
        """Whether there is a schedule."""
        return bool(self.fleets)


def mix_columns(
    fleets: Sequence[Fleet],
    model: Term,
    *,
    limits: SearchLimits = CONVEX_LIMITS,
    seeds: Sequence[FloatArray] = (),
) -> ConvexMixture:
    """Return the best mixture of schedules for a convex model, one mixture per fleet.

    Args:
        fleets: The variables that fleets must follow; other variables of the model are its own.
        model: Cost and rules.
        limits: When to stop.
        seeds: Prices, shape (T,), whose responses are in the first master: expected prices, scenarios of them.

    Raises:
        InvalidInput: The model is not convex, or has no lowest cost.
    """
    slot_count = fleets[0].table.slot_count if fleets else 0
    for number, fleet in enumerate(fleets):
        if fleet.schedule.shape != (slot_count,) or fleet.table.slot_count != slot_count:
            raise InvalidInput(f"fleets[{number}]", f"must have {slot_count} slots in variable and table")
    program = cone_program(model.cost, model.constraints, [fleet.schedule for fleet in fleets])
    search = _Search(program, fleets, limits)
    search.start(seeds)
    return search.run()


class _Pool:
    """The columns of one part of a table: price, schedule, and which units of the master use them."""

    def __init__(self, table: FlexibilityTable, windows: IntArray) -> None:
        self.windows = windows
        self.response = PriceResponse(table, windows)
        self.units: list[int] = []
        self.prices: list[FloatArray] = []
        self.schedules: list[FloatArray] = []

    def least_known(self, price: FloatArray) -> float:
        """Return the least cost among the present columns."""
        return float(np.min(np.array(self.schedules) @ price))


class _Search:
    """One column generation."""

    def __init__(self, program: ConeProgram, fleets: Sequence[Fleet], limits: SearchLimits) -> None:
        self.program = program
        self.limits = limits
        part_count = max(1, default_group_count(program.slot_count) // len(fleets))
        tables = {id(fleet.table): fleet.table for fleet in fleets}
        parts = {
            key: [_Pool(table, windows) for windows in group_windows(table, part_count)]
            for key, table in tables.items()
        }
        self.pools = [pool for pools in parts.values() for pool in pools]
        self.units = [(number, pool) for number, fleet in enumerate(fleets) for pool in parts[id(fleet.table)]]
        for unit, (_, pool) in enumerate(self.units):
            pool.units.append(unit)
        power_max = np.array([power_bounds(fleet.table)[1] for fleet in fleets])
        self.highest_kwh = max(float(power_max.max()), 1e-9)
        self.master: ConvexMaster = convex_master(program, power_max, np.array([fleet for fleet, _ in self.units]))
        self.iteration_count = 0

    def start(self, seeds: Sequence[FloatArray]) -> None:
        """Put first columns into every pool: as early, as late as possible, and the responses to the seeds."""
        slot = np.arange(self.program.slot_count, dtype=np.float64)
        for pool in self.pools:
            for price in (slot, -slot - 1.0, *seeds):
                self.add(pool, np.asarray(price, dtype=np.float64), pool.response.schedule(np.asarray(price)))

    def add(self, pool: _Pool, price: FloatArray, schedule: FloatArray) -> None:
        """Give a column to every unit of a pool."""
        pool.prices.append(price)
        pool.schedules.append(schedule)
        for unit in pool.units:
            self.master.add(unit, schedule)

    def run(self) -> ConvexMixture:
        """Find a common point of model and fleets, then the cheapest."""
        try:
            point, bound, centre, _ = self.descend(with_cost=False)
        except MasterFailed:
            return self.without_point(np.inf, None)
        if not self.fits(point):
            prices = self.program.fleet_prices(centre, with_cost=False)
            return self.without_point(bound if bound > self.tolerance_kwh else 0.0, prices)
        try:
            point, bound, centre, proved = self.descend(with_cost=True)
        except MasterFailed as failure:
            if failure.is_unbounded:
                raise InvalidInput("cost", "has no lowest value: a variable of the model lacks a bound") from failure
            return self.without_point(0.0, None)
        return self.mixture(point, bound, centre, is_proved=proved)

    def descend(self, *, with_cost: bool) -> tuple[MasterPoint, float, Multipliers, bool]:
        """Add columns until the gap is closed; return the point, its bound, where the bound is best, and whether closed."""
        bound, centre = -np.inf, None
        turnover, improved = 0.0, False
        while True:
            point = self.master.solve(with_cost=with_cost)
            self.iteration_count += 1
            if not with_cost and self.fits(point):
                return point, 0.0, point.multipliers, True
            tries = (
                [point.multipliers]
                if centre is None
                else [point.multipliers.towards(centre, SMOOTHING), point.multipliers]
            )
            centre = point.multipliers if centre is None else centre
            now = self.program.fleet_prices(point.multipliers, with_cost=with_cost)
            for multipliers in tries:
                found, turnover, improved = self.respond(multipliers, now, with_cost=with_cost)
                if found > bound:
                    bound, centre = found, multipliers
                if improved:
                    break
            reference = max(abs(point.objective), SMALL_SHARE * turnover if with_cost else self.highest_kwh)
            closed = point.objective - bound <= self.limits.relative_gap * reference
            # A mismatch that surely stays above rounding has been proved, however far the bound still is.
            closed = closed or (not with_cost and bound > self.tolerance_kwh and not improved)
            if closed or not improved or self.iteration_count >= self.limits.iteration_limit:
                return point, bound, centre, closed

    def respond(self, at: Multipliers, now: FloatArray, *, with_cost: bool) -> tuple[float, float, bool]:
        """Respond to multipliers; return the bound there, what the fleets turn over, and whether a column is new.

        Args:
            at: Where to respond.
            now: Prices of the master's own multipliers, where a new column has to pay off.
            with_cost: Whether cost or mismatch is minimised.
        """
        prices = self.program.fleet_prices(at, with_cost=with_cost)
        least, turnover, improved = 0.0, 0.0, False
        counts = [rank_counts(price) for price in prices]
        for fleet, pool in self.units:
            schedule = pool.response.schedule(prices[fleet], counts[fleet])
            least += float(prices[fleet] @ schedule)
            turnover += float(np.abs(prices[fleet]) @ schedule)
            worth = pool.least_known(now[fleet]) - float(now[fleet] @ schedule)
            if worth > COLUMN_TOLERANCE * float(np.abs(now[fleet]) @ schedule):
                self.add(pool, prices[fleet], schedule)
                improved = True
        return self.program.bound(at, least, with_cost=with_cost), turnover, improved

    @property
    def tolerance_kwh(self) -> float:
        """Mismatch that is rounding."""
        return MISMATCH_TOLERANCE * self.highest_kwh

    def fits(self, point: MasterPoint) -> bool:
        """Tell whether model and fleets meet."""
        return float(np.abs(point.mismatch_kwh).max()) <= self.tolerance_kwh

    def without_point(self, least_mismatch: float, prices: FloatArray | None) -> ConvexMixture:
        """Return that nothing was found."""
        return ConvexMixture(
            fleets=(),
            lower_bound_eur=-np.inf,
            is_proved=False,
            prices_eur_per_kwh=np.zeros(self.program.fleet_columns.shape),
            least_mismatch_kwh=least_mismatch,
            mismatch_prices=prices,
            iteration_count=self.iteration_count,
        )

    def mixture(self, point: MasterPoint, bound: float, centre: Multipliers, *, is_proved: bool) -> ConvexMixture:
        """Return the mix with its columns, those without weight left out."""
        by_fleet: list[list[MixedPart]] = [[] for _ in self.program.first_columns]
        for (fleet, pool), weights in zip(self.units, point.weights, strict=True):
            used = np.flatnonzero(weights > 0.0)
            columns = ColumnSet(price=np.array(pool.prices)[used], schedule_kwh=np.array(pool.schedules)[used])
            share = weights[used] / weights[used].sum()
            by_fleet[fleet].append(MixedPart(windows=pool.windows, columns=columns, weights=share))
        return ConvexMixture(
            fleets=tuple(FleetMixture(parts=tuple(parts)) for parts in by_fleet),
            lower_bound_eur=bound,
            is_proved=is_proved,
            prices_eur_per_kwh=self.program.fleet_prices(centre, with_cost=True),
            least_mismatch_kwh=0.0,
            mismatch_prices=None,
            iteration_count=self.iteration_count,
        )
