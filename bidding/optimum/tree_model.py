"""The tree of limits as one sparse LP with a variable per session and slot: faster than columns where members are small.

    min  sum_it price_t x_it + sum_n D_n peak_n
    s.t. energy_min_i <= sum_t x_it <= energy_max_i,                  0 <= x_it <= rate_i in the window of i
         flow_nt = sum of x of the sessions at n + sum of flow of the nodes below n,     0 <= flow_nt <= cap_nt
         flow_nt + load_nt <= peak_n,                                  peak_n >= peak_so_far_n

A flow per node and slot keeps every session in one row however deep the tree is. Solved by HiGHS's interior point without a
crossover; the prices it leaves bound the cost from below like any others, so the certificate does not rest on the solver.
"""

from dataclasses import dataclass

import highspy
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from bidding.arrays import FloatArray, IntArray, offsets_of, ragged_ranges
from bidding.fleet.sessions import SLOT_TOLERANCE, SessionArrays
from bidding.optimum.disaggregation import SessionSchedule
from bidding.optimum.restricted_master import quiet_solver
from bidding.optimum.site_tree import NO_PARENT, SiteTree
from bidding.optimum.tree_master import TreePrices


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TreeModelSolution:
    """What the solver found."""

    plan: SessionSchedule
    prices: TreePrices


class TreeModel:
    """The LP of one fleet behind one tree.

    Args:
        sessions: Sessions fitted to the horizon.
        node: At which node each session charges, shape (N,).
        tree: The limits.
    """

    def __init__(self, sessions: SessionArrays, node: IntArray, tree: SiteTree) -> None:
        self._sessions, self._tree = sessions, tree
        length = sessions.window_length
        self._row = np.repeat(np.arange(len(sessions)), length)
        self._slot = ragged_ranges(sessions.arrival_slot, length)
        self._nodes = np.flatnonzero(tree.is_coupled)
        self._place = np.full(len(tree.names) + 1, NO_PARENT)
        self._place[self._nodes] = np.arange(len(self._nodes))
        # The last entry stands for NO_PARENT: whoever is below nothing is in no flow.
        self._nearest = np.append(tree.nearest_limit, NO_PARENT)
        self._at = self._place[self._nearest[node]][self._row]
        self._charged = np.flatnonzero(tree.peaks.is_charged)

    def cheapest(self, price_eur_per_kwh: FloatArray) -> TreeModelSolution | None:
        """Return the cheapest schedule inside all limits; None when HiGHS found none."""
        charges = self._tree.peaks.eur_per_peak_kwh[self._charged]
        costs = np.concatenate([price_eur_per_kwh[self._slot], np.zeros(self._flow_count), charges])
        solver = self._solver(costs, sp.csc_array((self._row_count, 0)))
        solver.run()
        if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            return None
        solution = solver.getSolution()
        values, reduced = np.array(solution.col_value), np.array(solution.col_dual)
        length = self._sessions.window_length
        energy = np.clip(values[: len(self._row)], 0.0, self._sessions.rate_kwh_per_slot[self._row])
        plan = SessionSchedule(offset=offsets_of(length), slot=self._slot, energy_kwh=energy)
        cap, peak = np.zeros(self._tree.cap_kwh.shape), np.zeros(self._tree.cap_kwh.shape)
        # The reduced cost of a flow at its limit, and the dual of a "<=" row of a minimisation, are at most 0.
        cap[self._nodes] = np.maximum(-self._flows(reduced), 0.0)
        peak[self._charged] = np.maximum(-self._peak_duals(np.array(solution.row_dual)), 0.0)
        cap[~np.isfinite(self._tree.cap_kwh)] = 0.0
        return TreeModelSolution(plan=plan, prices=TreePrices(cap=cap, peak=peak))

    def cut_prices(self) -> npt.NDArray[np.float64] | None:
        """Return the duals of the least energy left out, shape (nodes, T); None when everything fits or HiGHS says nothing."""
        first = len(self._sessions)
        left_out = sp.csc_array(
            (np.ones(self._flow_count), (first + np.arange(self._flow_count), np.arange(self._flow_count))),
            shape=(self._row_count, self._flow_count),
        )
        costs = np.concatenate(
            [np.zeros(len(self._row) + self._flow_count + len(self._charged)), np.ones(self._flow_count)]
        )
        solver = self._solver(costs, left_out)
        solver.setOptionValue("run_crossover", "on")
        solver.run()
        if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            return None
        prices = np.zeros(self._tree.cap_kwh.shape)
        prices[self._nodes] = np.maximum(-self._flows(np.array(solver.getSolution().col_dual)), 0.0)
        return prices if float(solver.getInfo().objective_function_value) > SLOT_TOLERANCE else None

    # ---------------------------------------------------------------- the matrix

    @property
    def _flow_count(self) -> int:
        return len(self._nodes) * self._tree.slot_count

    @property
    def _row_count(self) -> int:
        return len(self._sessions) + self._flow_count + len(self._charged) * self._tree.slot_count

    def _flows(self, by_column: FloatArray) -> npt.NDArray[np.float64]:
        first = len(self._row)
        flows: npt.NDArray[np.float64] = by_column[first : first + self._flow_count].reshape(
            len(self._nodes), self._tree.slot_count
        )
        return flows

    def _peak_duals(self, by_row: FloatArray) -> npt.NDArray[np.float64]:
        duals: npt.NDArray[np.float64] = by_row[len(self._sessions) + self._flow_count :].reshape(
            len(self._charged), self._tree.slot_count
        )
        return duals

    def _matrix(self) -> sp.csc_array:
        """Return the rows: energies of sessions, balance of every node and slot, peaks."""
        slots, first = self._tree.slot_count, len(self._sessions)
        entry, flow = np.arange(len(self._row)), len(self._row) + np.arange(self._flow_count)
        coupled = np.flatnonzero(self._at != NO_PARENT)
        above = self._place[self._nearest[self._tree.parent[self._nodes]]]
        lower = np.flatnonzero(above != NO_PARENT)
        by_slot = np.arange(slots)
        inner = (lower[:, None] * slots + by_slot).ravel()
        outer = (above[lower][:, None] * slots + by_slot).ravel()
        measured = (self._place[self._charged][:, None] * slots + by_slot).ravel()
        peak_row = first + self._flow_count + np.arange(len(measured))
        peak_column = len(self._row) + self._flow_count + np.repeat(np.arange(len(self._charged)), slots)
        parts = (
            (self._row, entry, 1.0),
            (first + self._at[coupled] * slots + self._slot[coupled], coupled, -1.0),
            (first + np.arange(self._flow_count), flow, 1.0),
            (first + outer, flow[inner], -1.0),
            (peak_row, flow[measured], 1.0),
            (peak_row, peak_column, -1.0),
        )
        rows, columns = np.concatenate([r for r, _, _ in parts]), np.concatenate([c for _, c, _ in parts])
        values = np.concatenate([np.full(len(r), value) for r, _, value in parts])
        return sp.csc_array(
            (values, (rows, columns)), shape=(self._row_count, len(self._row) + self._flow_count + len(self._charged))
        )

    def _solver(self, costs: FloatArray, further: sp.csc_array) -> highspy.Highs:
        """Return HiGHS with the model and further columns, which are at least 0."""
        matrix = sp.hstack([self._matrix(), further], format="csc")
        sessions, tree, infinity = self._sessions, self._tree, highspy.kHighsInf
        balance, peaks = np.zeros(self._flow_count), -tree.peaks.load_kwh[self._charged].ravel()
        model = highspy.HighsLp()
        model.num_col_, model.num_row_ = len(costs), self._row_count
        model.col_cost_ = costs
        model.col_lower_ = np.concatenate(
            [
                np.zeros(len(self._row) + self._flow_count),
                tree.peaks.peak_so_far_kwh[self._charged],
                np.zeros(further.shape[1]),
            ]
        )
        model.col_upper_ = np.concatenate(
            [
                sessions.rate_kwh_per_slot[self._row],
                tree.cap_kwh[self._nodes].ravel(),
                np.full(len(self._charged) + further.shape[1], infinity),
            ]
        )
        model.row_lower_ = np.concatenate([sessions.energy_min_kwh, balance, np.full(len(peaks), -infinity)])
        model.row_upper_ = np.concatenate([sessions.energy_max_kwh, balance, peaks])
        model.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        model.a_matrix_.start_, model.a_matrix_.index_ = matrix.indptr, matrix.indices
        model.a_matrix_.value_ = matrix.data
        solver = quiet_solver()
        solver.setOptionValue("solver", "ipm")
        solver.setOptionValue("run_crossover", "off")
        solver.passModel(model)
        return solver
