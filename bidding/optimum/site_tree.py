"""The exact optimum of sessions behind a tree of limits: circuits, feeders, sites, a portfolio.

Sessions with the same limits above them form a *member*; its table is the sum of their tables, and its schedules are mixed on
their own. Limits and demand charges enter the master where a schedule breaks them or sets a peak (`tree_master`), so that a
tree of thousands of limits costs what the few that bind cost. Their prices add up along the path from a session to the root,
which is why the price response stays a greedy. Every result carries a certified gap; when nothing fits, a cut of the tree says where: these limits,
in these slots, allow less than the sessions below must draw.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bidding.arrays import BoolArray, FloatArray, IntArray, finite_vector, integer_vector, require_each, same_length
from bidding.fleet.flexibility import FlexibilityTable, power_bounds
from bidding.fleet.sessions import SessionArrays, require_fitted
from bidding.optimum.coupling import Coupling, DemandCharge
from bidding.optimum.decomposition import (
    OVERFLOW_PRICE_FACTOR,
    OVERFLOW_TOLERANCE,
    REDUCED_COST_TOLERANCE,
    SMALL_SHARE,
    SMOOTHING,
    ColumnSet,
    SearchLimits,
    generate_columns,
)
from bidding.optimum.greedy import PriceResponse, rank_counts
from bidding.optimum.restricted_master import Phase
from bidding.optimum.tree_master import PeakTerms, TreeMaster, TreePoint, TreePrices, TreeShape
from bidding.optimum.window_groups import default_group_count, group_windows
from gateway.domain.errors import InvalidInput

PROOF_SHARE = 0.8
"""The search stops at this share of the gap asked for: summing up set points moves the last digit of the objective."""
NO_PARENT = -1
"""Parent of a root. Several roots are several portfolios solved at once."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SiteTree:
    """Nodes with limits, each below one other."""

    names: tuple[str, ...]
    """What operators call the nodes; different ones."""
    parent: IntArray
    """Index of the node above, lower than the node's own; -1 for a root."""
    cap_kwh: npt.NDArray[np.float64]
    """Most that all sessions at and below a node may draw per slot, infinity where nothing limits, shape (nodes, T)."""
    demand_charges: tuple[DemandCharge | None, ...] = ()
    """Price on the highest draw at and below each node, None for none; empty when no node has one."""

    def __post_init__(self) -> None:
        """Reject loops, equal names and negative limits."""
        parent = integer_vector("tree.parent", self.parent)
        same_length([("tree.names", len(self.names)), ("tree.parent", len(parent))])
        if not self.names or len(set(self.names)) < len(self.names):
            raise InvalidInput("tree.names", "must be different, and at least one")
        above = (parent >= NO_PARENT) & (parent < np.arange(len(parent)))
        require_each("tree.parent", above, "must be -1 or the index of a node before it")
        cap = np.array(self.cap_kwh, dtype=np.float64)
        if cap.ndim != 2 or len(cap) != len(parent) or not cap.shape[1]:
            raise InvalidInput("tree.cap_kwh", f"must have {len(parent)} rows, one per node, and at least one slot")
        require_each("tree.cap_kwh", np.all(cap >= 0.0, axis=1), "must be at least 0 in every slot")
        cap.setflags(write=False)
        object.__setattr__(self, "parent", parent)
        object.__setattr__(self, "cap_kwh", cap)
        self._check_charges()

    def _check_charges(self) -> None:
        if self.demand_charges and len(self.demand_charges) != len(self.names):
            raise InvalidInput("tree.demand_charges", f"must be one per node, {len(self.names)}, or none at all")
        for node, charge in enumerate(self.demand_charges):
            if charge is not None and len(charge.load_kwh) != self.slot_count:
                raise InvalidInput(f"tree.demand_charges[{node}].load_kwh", f"must have {self.slot_count} values")

    @property
    def slot_count(self) -> int:
        """Length of the horizon."""
        return int(self.cap_kwh.shape[1])

    @property
    def is_below(self) -> BoolArray:
        """Whether node j is node i or below it, at [i, j]."""
        below: BoolArray = np.eye(len(self.parent), dtype=np.bool_)
        for node, parent in enumerate(self.parent):
            if parent != NO_PARENT:
                below[:, node] |= below[:, parent]
        return below

    @property
    def peaks(self) -> PeakTerms:
        """The demand charges as arrays."""
        price, so_far, load = np.zeros(len(self.names)), np.zeros(len(self.names)), np.zeros(self.cap_kwh.shape)
        for node, charge in enumerate(self.demand_charges):
            if charge is not None:
                price[node], so_far[node] = charge.eur_per_peak_kwh, charge.peak_so_far_kwh
                load[node] = charge.load_kwh
        return PeakTerms(eur_per_peak_kwh=price, peak_so_far_kwh=so_far, load_kwh=load)

    @property
    def is_coupled(self) -> BoolArray:
        """Whether a node ties together what is below it, by a limit or by a charge on its peak."""
        coupled: BoolArray = np.any(np.isfinite(self.cap_kwh), axis=1) | self.peaks.is_charged
        return coupled

    def charges_eur(self, node_kwh: npt.NDArray[np.float64]) -> float:
        """Return all demand charges for a draw per node and slot, including what the peaks so far cost anyway."""
        pairs = zip(self.demand_charges, node_kwh, strict=False)
        return sum(charge.cost_eur(draw) for charge, draw in pairs if charge is not None)

    @property
    def nearest_limit(self) -> IntArray:
        """The lowest node that couples at or above each node; -1 where there is none."""
        nearest = np.full(len(self.parent), NO_PARENT)
        limits = self.is_coupled
        for node, parent in enumerate(self.parent):
            above = NO_PARENT if parent == NO_PARENT else nearest[parent]
            nearest[node] = node if limits[node] else above
        return nearest


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Member:
    """Sessions with the same limits above them."""

    rows: IntArray
    """Which sessions."""
    table: FlexibilityTable
    above: BoolArray
    """Which nodes limit them, shape (nodes,)."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TreeUnit:
    """A part of a member that is mixed on its own, with its mixture."""

    member: int
    windows: IntArray
    """Its windows, numbers in the table's layout."""
    columns: ColumnSet
    weights: FloatArray


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TreeMixture:
    """What the search came to."""

    members: tuple[Member, ...]
    units: tuple[TreeUnit, ...]
    """Empty when no schedule was found."""
    lower_bound_eur: float
    is_proved: bool
    prices_eur_per_kwh: npt.NDArray[np.float64]
    """What one kWh more of room would save, per node and slot, demand charges included."""
    least_left_out_kwh: float
    """Lower bound on the energy that cannot be delivered; above 0.0 proves that nothing fits."""
    cut_prices: npt.NDArray[np.float64] | None
    """Duals of the least energy left out, shape (nodes, T); sums along paths within [0, 1]. None when everything fits."""
    iteration_count: int


def members_of(sessions: SessionArrays, node: IntArray, tree: SiteTree) -> tuple[Member, ...]:
    """Return the sessions grouped by the limits above them.

    Raises:
        InvalidInput: A node does not exist, or a session was not fitted to the horizon.
    """
    at = integer_vector("node", node)
    same_length([("sessions", len(sessions)), ("node", len(at))])
    require_each("node", (at >= 0) & (at < len(tree.names)), f"must be within [0, {len(tree.names)})")
    require_fitted(sessions, tree.slot_count)
    limit = tree.nearest_limit[at]
    is_below = tree.is_below & tree.is_coupled[:, None]
    members = []
    for number in np.unique(limit):
        rows = np.flatnonzero(limit == number)
        above = np.zeros(len(tree.names), dtype=np.bool_) if number == NO_PARENT else is_below[:, number]
        table = FlexibilityTable.build(sessions.select(rows), tree.slot_count)
        members.append(Member(rows=rows, table=table, above=above))
    return tuple(members)


def mix_tree(
    members: Sequence[Member], price_eur_per_kwh: FloatArray, tree: SiteTree, *, limits: SearchLimits
) -> TreeMixture:
    """Return the cheapest schedules of all members inside all limits.

    Args:
        members: At least one, from `members_of`; tables of other origin (published ones) will do as well.
        price_eur_per_kwh: Energy price per slot, shape (T,).
        tree: The limits.
        limits: When to stop.
    """
    price = finite_vector("price_eur_per_kwh", price_eur_per_kwh, tree.slot_count)
    search = _Search(members, price, tree, limits)
    search.start(_prices_at_the_top(members, price, tree, limits))
    return search.run()


def _prices_at_the_top(
    members: Sequence[Member], price: FloatArray, tree: SiteTree, limits: SearchLimits
) -> list[FloatArray]:
    """Return prices that matter when only the highest limits count: the columns of that far smaller problem."""
    found = [price]
    limited = np.array([member.above for member in members])
    for top in np.flatnonzero(tree.parent == NO_PARENT):
        below = [member.table for member, above in zip(members, limited, strict=True) if above[top]]
        if below:
            table = sum(below[1:], start=below[0])
            charge = tree.demand_charges[top] if tree.demand_charges else None
            coupling = Coupling(cap_kwh=tree.cap_kwh[top], demand_charge=charge)
            mixture = generate_columns(table, price, coupling, limits=limits)
            found += [one for part in mixture.parts for one in part.columns.price]
    return list({one.tobytes(): one for one in found}.values())


class _Search:
    """One column and row generation."""

    def __init__(self, members: Sequence[Member], price: FloatArray, tree: SiteTree, limits: SearchLimits) -> None:
        self.members = tuple(members)
        self.price, self.cap, self.limits = price, tree.cap_kwh, limits
        per_member = max(1, default_group_count(tree.slot_count) // len(members))
        self.windows = [(m, w) for m, one in enumerate(members) for w in group_windows(one.table, per_member)]
        self.responses = [PriceResponse(members[m].table, windows) for m, windows in self.windows]
        shape = TreeShape(
            member_below=np.array([member.above for member in members]).T,
            member_of_unit=np.array([m for m, _ in self.windows]),
            cap_kwh=tree.cap_kwh,
            peaks=tree.peaks,
        )
        self.peaks = shape.peaks
        nothing = np.zeros(len(tree.names))
        self.nothing_paid = PeakTerms(eur_per_peak_kwh=nothing, peak_so_far_kwh=nothing, load_kwh=self.peaks.load_kwh)
        self.member_below = shape.member_below.astype(np.float64)
        self.below = shape.unit_below.astype(np.float64)
        power_max = np.array([power_bounds(member.table)[1] for member in members])
        self.highest_kwh = max(float(power_max.sum(axis=0).max()), 1e-9)
        self.largest_price = float(np.max(np.abs(price)))
        dearest = self.largest_price + float(shape.peaks.eur_per_peak_kwh.sum())
        self.master = TreeMaster(shape, self.highest_kwh, max(1.0, OVERFLOW_PRICE_FACTOR * dearest))
        self.column_prices: list[FloatArray] = []
        turnover = float(np.mean(np.abs(price))) * sum(float(member.table.major.sum()) for member in members)
        self.reference_eur = max(SMALL_SHARE * turnover, 1e-9)
        self.iteration_count = 0

    def start(self, prices: Sequence[FloatArray]) -> None:
        """Begin with what every unit would do at some prices."""
        for price in prices:
            counts = rank_counts(price)
            for unit, response in enumerate(self.responses):
                self.add(unit, price, response.schedule(price, counts))

    def run(self) -> TreeMixture:
        """Go through the phases, as `decomposition` does."""
        point, bound, centre, proved = self.descend(Phase.PENALTY)
        if not self.fits(point):
            self.master.enter(Phase.LEAST_OVERFLOW)
            point, bound, centre, _ = self.descend(Phase.LEAST_OVERFLOW)
            if not self.fits(point):
                surely = bound if bound > OVERFLOW_TOLERANCE * self.highest_kwh else 0.0
                return self.mixture(None, -np.inf, centre, least=surely)
            self.master.enter(Phase.EXACT)
            point, bound, centre, proved = self.descend(Phase.EXACT)
        done = point if self.fits(point) and not self.broken_caps(point).any() else None
        return self.mixture(done, bound, centre, proved=proved)

    def add(self, unit: int, price: FloatArray, schedule: FloatArray) -> None:
        """Add a column of one unit."""
        self.master.add(unit, schedule, float(self.price @ schedule))
        self.column_prices.append(price)

    def descend(self, phase: Phase) -> tuple[TreePoint, float, TreePrices, bool]:
        """Add rows and columns until the gap of this phase is closed; return point, bound, its duals, and whether closed."""
        bound, centre = -np.inf, TreePrices(cap=np.zeros(self.cap.shape), peak=np.zeros(self.cap.shape))
        while True:
            point = self.master.solve()
            self.iteration_count += 1
            spent = self.iteration_count >= self.limits.iteration_limit
            is_incomplete = self.add_rows(point) if not spent else bool(self.broken_caps(point).any())
            if is_incomplete and not spent:
                continue
            if phase is Phase.LEAST_OVERFLOW and self.fits(point):
                return point, 0.0, point.prices, True
            smoothed = point.prices.towards(centre, SMOOTHING)
            improved = False
            for prices in [smoothed, point.prices] if np.isfinite(bound) else [point.prices]:
                found, improved = self.respond(phase, prices, point)
                if found > bound:
                    bound, centre = found, prices
                if improved:
                    break
            gap = point.objective - bound
            closed = gap <= PROOF_SHARE * self.limits.relative_gap * self.reference(phase, point)
            if closed or not improved or spent:
                return point, bound, centre, closed and not is_incomplete

    def add_rows(self, point: TreePoint) -> bool:
        """Put what the point breaks into the LP; tell whether there was something."""
        caps, peaks = self.broken_caps(point), self.broken_peaks(point)
        if caps.any():
            self.master.add_rows(caps, peak=False)
        if peaks.any():
            self.master.add_rows(peaks, peak=True)
        return bool(caps.any() or peaks.any())

    def legal(self, phase: Phase, prices: TreePrices) -> TreePrices:
        """Return prices that bound the objective of a phase.

        More than 1 per kWh left out is never paid, so while that is searched for the prices of limits are legal only up to 1
        along every path, and peaks cost nothing; otherwise the prices of a node's peak add up to its charge at most.
        """
        if phase is not Phase.LEAST_OVERFLOW:
            return prices.legal(self.peaks)
        steep = float(np.max(self.member_below.T @ prices.cap, initial=0.0))
        return TreePrices(cap=prices.cap / max(steep, 1.0), peak=np.zeros_like(prices.peak))

    def respond(self, phase: Phase, prices: TreePrices, point: TreePoint) -> tuple[float, bool]:
        """Respond to prices of limits and peaks; return the bound there, and whether a column is new."""
        base = np.zeros_like(self.price) if phase is Phase.LEAST_OVERFLOW else self.price
        legal = self.legal(phase, prices)
        peaks = self.nothing_paid if phase is Phase.LEAST_OVERFLOW else self.peaks
        bound = legal.constant_eur(self.cap, peaks)
        now, at = base + self.below.T @ point.prices.total, base + self.below.T @ legal.total
        known, unit_of = np.array(self.master.schedules), np.array(self.master.unit_of)
        smallest = REDUCED_COST_TOLERANCE * self.reference(phase, point)
        improved = False
        for unit, response in enumerate(self.responses):
            schedule = response.schedule(at[unit])
            bound += float(at[unit] @ schedule)
            least = float(np.min(known[unit_of == unit] @ now[unit]))
            if float(now[unit] @ schedule) < least - smallest:
                self.add(unit, at[unit], schedule)
                improved = True
        return bound, improved

    def drawn(self, point: TreePoint) -> npt.NDArray[np.float64]:
        """Return what each node draws at a point, nothing left out, shape (nodes, T)."""
        # Columns that were added after the point was found have no weight in it.
        count = len(point.weights)
        by_unit = np.zeros((len(self.windows), self.cap.shape[1]))
        weighted = np.array(self.master.schedules[:count]) * point.weights[:, None]
        np.add.at(by_unit, np.array(self.master.unit_of[:count]), weighted)
        by_node: npt.NDArray[np.float64] = self.below @ by_unit
        return by_node

    def broken_caps(self, point: TreePoint) -> BoolArray:
        """Return the limits that the point breaks and the master does not know yet."""
        net = self.drawn(point) - self.member_below @ point.left_out_kwh
        above = net > self.cap + OVERFLOW_TOLERANCE * self.highest_kwh
        broken: BoolArray = above & ~self.master.has_row(peak=False)
        return broken

    def broken_peaks(self, point: TreePoint) -> BoolArray:
        """Return the slots in which a charged node draws more than the point pays for and the master does not know yet."""
        above = (
            self.drawn(point) + self.peaks.load_kwh > point.peak_kwh[:, None] + OVERFLOW_TOLERANCE * self.highest_kwh
        )
        broken: BoolArray = above & self.peaks.is_charged[:, None] & ~self.master.has_row(peak=True)
        return broken

    def reference(self, phase: Phase, point: TreePoint) -> float:
        """Return what gaps are relative to."""
        searching = phase is Phase.LEAST_OVERFLOW
        smallest = OVERFLOW_TOLERANCE * self.highest_kwh if searching else self.reference_eur
        return max(abs(point.objective), smallest)

    def fits(self, point: TreePoint) -> bool:
        """Tell whether nothing is left out, up to the solver's rounding."""
        return float(point.left_out_kwh.max(initial=0.0)) <= OVERFLOW_TOLERANCE * self.highest_kwh

    def mixture(
        self,
        point: TreePoint | None,
        bound: float,
        prices: TreePrices,
        *,
        least: float = 0.0,
        proved: bool = False,
    ) -> TreeMixture:
        """Return the mixture, columns without weight left out; without a point the proof that there is none."""
        steep = max(float(np.max(self.member_below.T @ prices.cap, initial=0.0)), 1.0)
        return TreeMixture(
            members=self.members,
            units=() if point is None else tuple(self.units(point)),
            lower_bound_eur=bound,
            is_proved=proved,
            prices_eur_per_kwh=prices.total,
            least_left_out_kwh=least,
            cut_prices=prices.cap / steep if least > 0.0 else None,
            iteration_count=self.iteration_count,
        )

    def units(self, point: TreePoint) -> Iterator[TreeUnit]:
        """Yield the mixture of every unit."""
        unit_of = np.array(self.master.unit_of[: len(point.weights)])
        schedules = np.array(self.master.schedules)
        for unit, (member, windows) in enumerate(self.windows):
            used = np.flatnonzero((unit_of == unit) & (point.weights > 0.0))
            columns = ColumnSet(price=np.array(self.column_prices)[used], schedule_kwh=schedules[used])
            weights = point.weights[used] / point.weights[used].sum()
            yield TreeUnit(member=member, windows=windows, columns=columns, weights=weights)
