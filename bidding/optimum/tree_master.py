"""The restricted master of a fleet behind a tree of limits: rows only where a limit was found in the way.

    min  sum_k cost_k w_k + price * sum_mt e_mt + sum_n D_n peak_n
    s.t. sum over the columns below node n of v_kt w_k - sum over the members m below n of e_mt <= cap_nt     (lazily)
         sum over the columns below node n of v_kt w_k - peak_n <= -load_nt                                  (lazily)
         sum of w over the columns of each unit = 1,  w >= 0,  e >= 0,  peak_n >= peak_so_far_n

`e` is energy that a member's sessions would have to leave out in a slot; it is left out at the bottom of the tree and so
relieves every limit above. Its least total is, by the max-flow min-cut theorem, the largest energy missing at a cut of the
tree, and the duals of the limits name the cut. Everything is divided by the fleet's highest draw (`scale_kwh`).
"""

from dataclasses import dataclass

import highspy
import numpy as np
import numpy.typing as npt

from bidding.arrays import BoolArray, FloatArray, IntArray
from bidding.optimum.restricted_master import PRIMAL_SIMPLEX, Phase, quiet_solver

_NO_ROWS = np.zeros(0, dtype=np.int32)
DUAL_SIMPLEX = 1
"""After new rows the last duals still hold, so dual simplex goes on where it stood; after columns primal simplex does."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TreeShape:
    """Who is below what."""

    member_below: BoolArray
    """Whether a member is below a node, shape (nodes, members)."""
    member_of_unit: IntArray
    """Units are the parts of members that are mixed on their own, shape (U,)."""
    cap_kwh: npt.NDArray[np.float64]
    """Limit per node and slot, infinity where there is none, shape (nodes, T)."""
    peaks: "PeakTerms"

    @property
    def unit_below(self) -> BoolArray:
        """Whether a unit is below a node, shape (nodes, U)."""
        below: BoolArray = self.member_below[:, self.member_of_unit]
        return below


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PeakTerms:
    """The demand charges of all nodes as arrays; a node without one pays 0 and has no load."""

    eur_per_peak_kwh: FloatArray
    """Shape (nodes,)."""
    peak_so_far_kwh: FloatArray
    """Shape (nodes,)."""
    load_kwh: npt.NDArray[np.float64]
    """Draw of everything else behind a node's meter, shape (nodes, T)."""

    @property
    def is_charged(self) -> BoolArray:
        """Whether a node pays for its peak, shape (nodes,)."""
        charged: BoolArray = self.eur_per_peak_kwh > 0.0
        return charged


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TreePrices:
    """Duals of the limits and of the peaks, at least 0, shape (nodes, T) each."""

    cap: npt.NDArray[np.float64]
    peak: npt.NDArray[np.float64]

    @property
    def total(self) -> npt.NDArray[np.float64]:
        """What one kWh more at a node costs beyond the energy, per node and slot."""
        both: npt.NDArray[np.float64] = self.cap + self.peak
        return both

    def towards(self, other: "TreePrices", share: float) -> "TreePrices":
        """Return the point on the way to `other`: 0.0 is here, 1.0 is there."""
        return TreePrices(
            cap=(1.0 - share) * self.cap + share * other.cap, peak=(1.0 - share) * self.peak + share * other.peak
        )

    def constant_eur(self, cap_kwh: npt.NDArray[np.float64], peaks: PeakTerms) -> float:
        """Return the part of the Lagrangian bound that does not depend on schedules (see `coupling.lagrangian_bound`)."""
        priced = self.cap > 0.0
        unassigned = peaks.eur_per_peak_kwh - self.peak.sum(axis=1)
        paid = float(np.sum(self.peak * peaks.load_kwh) + unassigned @ peaks.peak_so_far_kwh)
        return paid - float(self.cap[priced] @ cap_kwh[priced])

    def legal(self, peaks: PeakTerms) -> "TreePrices":
        """Return prices of which those of a node's peak add up to its charge at most: only these bound the cost."""
        sums = self.peak.sum(axis=1)
        steep = np.where(sums > peaks.eur_per_peak_kwh, peaks.eur_per_peak_kwh / np.maximum(sums, 1e-300), 1.0)
        return TreePrices(cap=self.cap, peak=self.peak * steep[:, None])


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TreePoint:
    """The best mix of the present columns under the present rows."""

    objective: float
    """EUR; in phase LEAST_OVERFLOW kWh."""
    weights: FloatArray
    """One per column in the order they were added."""
    left_out_kwh: npt.NDArray[np.float64]
    """Per member and slot, shape (members, T)."""
    peak_kwh: FloatArray
    """What each node's charge is paid for in the LP, shape (nodes,); 0.0 where nothing is charged."""
    prices: TreePrices


class TreeMaster:
    """The LP, its columns and rows, and the phase it is in."""

    def __init__(self, shape: TreeShape, scale_kwh: float, left_out_eur_per_kwh: float) -> None:
        self._shape = shape
        self._scale = scale_kwh
        self._left_out_cost = left_out_eur_per_kwh
        self._phase = Phase.PENALTY
        self._below = shape.unit_below
        self.unit_of: list[int] = []
        self.schedules: list[FloatArray] = []
        self._costs: list[float] = []
        self._column_of: list[int] = []
        self._left_out: dict[tuple[int, int], int] = {}
        self._row_node: list[int] = []
        self._row_slot: list[int] = []
        self._row_is_peak: list[bool] = []
        self._lp = quiet_solver()
        for _ in range(len(shape.member_of_unit)):
            self._lp.addRow(1.0, 1.0, 0, _NO_ROWS, np.zeros(0))
        self._peak_column = {int(node): self._peak_of(int(node)) for node in np.flatnonzero(shape.peaks.is_charged)}

    def _peak_of(self, node: int) -> int:
        """Add the column of a node's peak, from what was already measured upwards."""
        peaks = self._shape.peaks
        column = self._add_column(float(peaks.eur_per_peak_kwh[node]), highspy.kHighsInf, _NO_ROWS, np.zeros(0))
        self._lp.changeColBounds(column, float(peaks.peak_so_far_kwh[node]) / self._scale, highspy.kHighsInf)
        return column

    def has_row(self, *, peak: bool) -> BoolArray:
        """Tell which limits, or which slots of peaks, are in the LP, shape (nodes, T)."""
        present: BoolArray = np.zeros(self._shape.cap_kwh.shape, dtype=np.bool_)
        nodes, slots = self._rows_of(peak=peak)
        present[nodes, slots] = True
        return present

    def _rows_of(self, *, peak: bool) -> tuple[IntArray, IntArray]:
        mine = np.array(self._row_is_peak, dtype=np.bool_) == peak
        nodes, slots = np.array(self._row_node, dtype=np.int64), np.array(self._row_slot, dtype=np.int64)
        return nodes[mine], slots[mine]

    def add(self, unit: int, schedule_kwh: FloatArray, cost_eur: float) -> None:
        """Add a column of one unit: a schedule its sessions can follow, and its energy cost."""
        self._lp.setOptionValue("simplex_strategy", PRIMAL_SIMPLEX)
        cost = cost_eur / self._scale
        nodes, slots = np.array(self._row_node, dtype=np.int64), np.array(self._row_slot, dtype=np.int64)
        entries = np.where(self._below[nodes, unit], schedule_kwh[slots] / self._scale, 0.0)
        used = np.flatnonzero(entries)
        rows = np.concatenate([[unit], used + len(self._shape.member_of_unit)]).astype(np.int32)
        self.unit_of.append(unit)
        self.schedules.append(schedule_kwh)
        self._costs.append(cost)
        now = 0.0 if self._phase is Phase.LEAST_OVERFLOW else cost
        self._column_of.append(self._add_column(now, highspy.kHighsInf, rows, np.append(1.0, entries[used])))

    def add_rows(self, violated: BoolArray, *, peak: bool) -> None:
        """Put limits, or slots that set a peak, into the LP, given as a mask of nodes and slots."""
        self._lp.setOptionValue("simplex_strategy", DUAL_SIMPLEX)
        unit_of, schedules = np.array(self.unit_of), np.array(self.schedules)
        columns = np.array(self._column_of)
        for node, slot in zip(*np.nonzero(violated), strict=True):
            relief = [self._peak_column[int(node)]] if peak else self._left_out_below(int(node), int(slot))
            limit = -self._shape.peaks.load_kwh[node, slot] if peak else self._shape.cap_kwh[node, slot]
            mine = np.flatnonzero(self._below[node, unit_of] & (schedules[:, slot] != 0.0))
            entries = np.concatenate([schedules[mine, slot] / self._scale, -np.ones(len(relief))])
            index = np.concatenate([columns[mine], relief]).astype(np.int32)
            self._lp.addRow(-highspy.kHighsInf, float(limit) / self._scale, len(index), index, entries)
            self._row_node.append(int(node))
            self._row_slot.append(int(slot))
            self._row_is_peak.append(peak)

    def _left_out_below(self, node: int, slot: int) -> list[int]:
        """Return the columns of what the members below a node leave out in a slot; a peak is paid for without them."""
        return [self._left_out_column(int(member), slot) for member in np.flatnonzero(self._shape.member_below[node])]

    def enter(self, phase: Phase) -> None:
        """Change what is minimised; columns and rows stay."""
        self._phase = phase
        cost, highest = self._left_out_terms()
        for column in self._left_out.values():
            self._lp.changeColCost(column, cost)
            self._lp.changeColBounds(column, 0.0, highest)
        searching = phase is Phase.LEAST_OVERFLOW
        for node, column in self._peak_column.items():
            self._lp.changeColCost(column, 0.0 if searching else float(self._shape.peaks.eur_per_peak_kwh[node]))
        for column, energy_cost in zip(self._column_of, self._costs, strict=True):
            self._lp.changeColCost(column, 0.0 if searching else energy_cost)

    def solve(self) -> TreePoint:
        """Return the best mix of the present columns."""
        self._lp.run()
        solution = self._lp.getSolution()
        values = np.array(solution.col_value)
        # HiGHS gives the dual of a "<=" row of a minimisation as a number of at most 0.
        duals = np.maximum(-np.array(solution.row_dual)[len(self._shape.member_of_unit) :], 0.0)
        is_peak = np.array(self._row_is_peak, dtype=np.bool_)
        cap, peak = np.zeros(self._shape.cap_kwh.shape), np.zeros(self._shape.cap_kwh.shape)
        cap[self._rows_of(peak=False)] = duals[~is_peak]
        peak[self._rows_of(peak=True)] = duals[is_peak]
        paid = np.zeros(len(self._shape.cap_kwh))
        for node, column in self._peak_column.items():
            paid[node] = values[column] * self._scale
        left_out = np.zeros((len(self._shape.member_below.T), len(cap.T)))
        for (member, slot), column in self._left_out.items():
            left_out[member, slot] = values[column] * self._scale
        return TreePoint(
            objective=float(self._lp.getInfo().objective_function_value) * self._scale,
            weights=np.maximum(values[self._column_of], 0.0),
            left_out_kwh=left_out,
            peak_kwh=paid,
            prices=TreePrices(cap=cap, peak=peak),
        )

    def _left_out_terms(self) -> tuple[float, float]:
        cost = 1.0 if self._phase is Phase.LEAST_OVERFLOW else self._left_out_cost
        return cost, 0.0 if self._phase is Phase.EXACT else highspy.kHighsInf

    def _left_out_column(self, member: int, slot: int) -> int:
        """Return the column of what a member leaves out in a slot, made when first needed."""
        if (member, slot) not in self._left_out:
            above = [
                row + len(self._shape.member_of_unit)
                for row, (node, at) in enumerate(zip(self._row_node, self._row_slot, strict=True))
                if at == slot and not self._row_is_peak[row] and self._shape.member_below[node, member]
            ]
            cost, highest = self._left_out_terms()
            rows = np.array(above, dtype=np.int32)
            self._left_out[member, slot] = self._add_column(cost, highest, rows, -np.ones(len(rows)))
        return self._left_out[member, slot]

    def _add_column(self, cost: float, highest: float, rows: npt.NDArray[np.int32], entries: FloatArray) -> int:
        self._lp.addCol(cost, 0.0, highest, len(rows), rows, entries)
        return int(self._lp.getNumCol()) - 1
