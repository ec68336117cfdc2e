"""The mix of fleet schedules under caps: a small LP in HiGHS that grows by a column whenever a better schedule is known.

    min  sum_k cost_k w_k
    s.t. sum_k draw_kt w_k - o_t <= import_t     where the cars together could draw more
        -sum_k draw_kt w_k       <= export_t     where they could feed in more
         sum_k w_k = 1,  w >= 0,  o >= 0

While it is not known whether anything fits, the overflow o is minimised instead of the cost; then it is forbidden. Resting
is always within an export cap, so that one needs no overflow.
"""

from dataclasses import dataclass

import highspy
import numpy as np

from bidding.arrays import FloatArray, IntArray, sum_by
from bidding.v2g.caps import FleetCaps
from bidding.v2g.sessions import BidirectionalSessions

PRIMAL_SIMPLEX = 4
"""The last mix stays feasible when a column is added, so this algorithm goes on from it."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CapPrices:
    """Duals: what a kWh of each cap is worth, at least 0, shape (T,) each."""

    import_cap: FloatArray
    export_cap: FloatArray

    @property
    def net(self) -> FloatArray:
        """What they add to the price of drawing."""
        return self.import_cap - self.export_cap

    def towards(self, other: "CapPrices", share: float) -> "CapPrices":
        """Return the prices between these and others."""
        return CapPrices(
            import_cap=(1.0 - share) * self.import_cap + share * other.import_cap,
            export_cap=(1.0 - share) * self.export_cap + share * other.export_cap,
        )

    def rent(self, caps: FleetCaps) -> float:
        """Return what the caps are worth together; a slot without a price counts nothing, even under no cap."""
        bought, sold = self.import_cap > 0.0, self.export_cap > 0.0
        return float(self.import_cap[bought] @ caps.import_kwh[bought] + self.export_cap[sold] @ caps.export_kwh[sold])


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Mix:
    """The best mix of the schedules known so far."""

    objective: float
    """EUR, or kWh of overflow while that is minimised."""
    weights: FloatArray
    """One per column, in the order they came."""
    overflow_kwh: float
    """Draw above the import cap, over all slots."""
    prices: CapPrices
    is_within_caps: bool
    """False when an export cap was tightened to what no mix of these schedules keeps; the rest says nothing then."""
    dual: float
    """A schedule improves the mix when its priced cost is below this."""


def power_limits(sessions: BidirectionalSessions, slot_count: int) -> tuple[FloatArray, FloatArray]:
    """Return the most all cars together could draw and feed in per slot, kWh."""

    def present(rate: FloatArray) -> FloatArray:
        edges = sum_by(sessions.arrival_slot, rate, slot_count + 1)
        total: FloatArray = np.cumsum(edges - sum_by(sessions.departure_slot, rate, slot_count + 1))[:-1]
        return total

    return present(sessions.charge_kwh_per_slot), present(sessions.discharge_kwh_per_slot)


class Mixer:
    """The LP with its columns.

    Args:
        caps: Limits.
        most: What all cars together could draw and feed in per slot; where that is within a cap there is no row.
    """

    def __init__(self, caps: FleetCaps, most: tuple[FloatArray, FloatArray]) -> None:
        self._caps = caps
        self._import_slots: IntArray = np.flatnonzero(most[0] > caps.import_kwh)
        self._export_slots: IntArray = np.flatnonzero(most[1] > caps.export_kwh)
        # Rows near 1 keep the solver's absolute tolerances meaningful for a home and for a city.
        self._scale = 1.0 / max(float(np.max(most[0], initial=0.0)), 1e-9)
        self._costs: list[float] = []
        self._is_searching = True
        self._lp = _quiet_solver()
        self._export_now = caps.export_kwh.copy()
        self._add_rows()

    def add(self, draw_kwh: FloatArray, cost_eur: float) -> None:
        """Add a schedule the fleet can follow, with its energy cost and degradation."""
        self._costs.append(cost_eur)
        entries = np.concatenate(
            [draw_kwh[self._import_slots] * self._scale, -draw_kwh[self._export_slots] * self._scale, [1.0]]
        )
        used = np.flatnonzero(entries)
        cost = 0.0 if self._is_searching else cost_eur
        self._lp.addCol(cost, 0.0, highspy.kHighsInf, len(used), used.astype(np.int32), entries[used])

    def forbid_overflow(self) -> None:
        """Minimise cost from now on."""
        self._is_searching = False
        for row in range(len(self._import_slots)):
            self._lp.changeColCost(row, 0.0)
            self._lp.changeColBounds(row, 0.0, 0.0)
        for index, cost in enumerate(self._costs):
            self._lp.changeColCost(len(self._import_slots) + index, cost)

    def tighten_export(self, excess_kwh: FloatArray) -> None:
        """Lower the export cap of the mix by an excess per slot; below 0 it demands a draw."""
        self._export_now = self._export_now - excess_kwh
        for row, slot in enumerate(self._export_slots, start=len(self._import_slots)):
            self._lp.changeRowBounds(row, -highspy.kHighsInf, float(self._export_now[slot]) * self._scale)

    def solve(self) -> Mix:
        """Return the best mix."""
        self._lp.run()
        solution = self._lp.getSolution()
        values = np.array(solution.col_value)
        # HiGHS gives the dual of a "<=" row of a minimisation as a number of at most 0.
        duals = np.array(solution.row_dual)
        first = len(self._import_slots)
        import_price, export_price = np.zeros(self._caps.slot_count), np.zeros(self._caps.slot_count)
        import_price[self._import_slots] = np.maximum(-duals[:first], 0.0) * self._scale
        export_price[self._export_slots] = np.maximum(-duals[first:-1], 0.0) * self._scale
        return Mix(
            objective=float(self._lp.getInfo().objective_function_value),
            weights=values[first:],
            overflow_kwh=float(np.sum(values[:first])) / self._scale,
            prices=CapPrices(import_cap=import_price, export_cap=export_price),
            is_within_caps=self._lp.getModelStatus() == highspy.HighsModelStatus.kOptimal,
            dual=float(duals[-1]),
        )

    def _add_rows(self) -> None:
        infinity = highspy.kHighsInf
        none = np.zeros(0, dtype=np.int32)
        for cap, slots in ((self._caps.import_kwh, self._import_slots), (self._caps.export_kwh, self._export_slots)):
            for slot in slots:
                self._lp.addRow(-infinity, float(cap[slot]) * self._scale, 0, none, np.zeros(0))
        self._lp.addRow(1.0, 1.0, 0, none, np.zeros(0))
        for row in range(len(self._import_slots)):
            entry = np.array([row], dtype=np.int32)
            self._lp.addCol(1.0 / self._scale, 0.0, infinity, 1, entry, np.array([-1.0]))


def _quiet_solver() -> highspy.Highs:
    solver = highspy.Highs()  # type: ignore[no-untyped-call]  # its constructor is not annotated
    solver.setOptionValue("output_flag", False)
    solver.setOptionValue("threads", 1)  # the same input gives the same path through degenerate vertices
    solver.setOptionValue("simplex_strategy", PRIMAL_SIMPLEX)
    return solver
