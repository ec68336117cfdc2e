"""The restricted master of the decomposition: the best mix of the columns found so far, as a small LP in HiGHS.

    min  sum_k cost_k w_k + overflow_cost * sum_t o_t + D * peak
    s.t. sum_k v_kt w_k - o_t          <= cap_t          for slots where the cap can bind
         sum_k v_kt w_k        - peak  <= -load_t        for slots that can set a new peak
         sum_{k of part g} w_k = 1                       for each part g of the fleet
         w >= 0,  o >= 0,  peak >= peak_so_far

HiGHS is used directly because rows and columns are added a hundred times; a modelling layer would cost more than the solve.
"""

from dataclasses import dataclass
from enum import Enum

import highspy
import numpy as np

from bidding.arrays import FloatArray, IntArray
from bidding.optimum.coupling import Coupling, CouplingPrices, legal_prices


class Phase(Enum):
    """What the master minimises."""

    PENALTY = "penalty"
    """Cost, with overflow of the cap at a high price: a start from any columns."""
    LEAST_OVERFLOW = "least-overflow"
    """Overflow alone: is there a schedule at all?"""
    EXACT = "exact"
    """Cost, with no overflow: only after columns without overflow are there."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MasterSolution:
    """The best mix of the present columns."""

    objective_eur: float
    """In phase LEAST_OVERFLOW: kWh."""
    weights: FloatArray
    """Of every column, in the order in which they were added; those of one part of the fleet sum to 1."""
    overflow_kwh: FloatArray
    """Draw above the cap per slot, shape (T,)."""
    prices: CouplingPrices
    mix_duals: FloatArray
    """Per part of the fleet the dual of `sum w = 1`: a column pays off when its priced cost is below it."""


class RestrictedMaster:
    """The LP, its columns and the phase it is in.

    Args:
        coupling: Cap and demand charge.
        power_max_kwh: Most the fleet can draw in each slot on its own; slots where that cannot reach a limit get no row.
        overflow_eur_per_kwh: Price of overflow in the phase PENALTY.
        part_count: Number of parts of the fleet that are mixed on their own.
    """

    def __init__(
        self, coupling: Coupling, power_max_kwh: FloatArray, overflow_eur_per_kwh: float, part_count: int
    ) -> None:
        self._coupling = coupling
        self._part_count = part_count
        self._overflow_cost = overflow_eur_per_kwh
        self._cap_slots: IntArray = np.flatnonzero(power_max_kwh > coupling.cap_kwh)
        self._peak_slots = _slots_that_can_peak(coupling, power_max_kwh)
        # Rows near 1 keep the solver's absolute tolerances meaningful for a home and for a city.
        self._scale = 1.0 / max(float(np.max(power_max_kwh, initial=0.0)), 1e-9)
        self._costs: list[float] = []
        self._phase = Phase.PENALTY
        self._lp = quiet_solver()
        self._add_rows_and_slacks()

    def add(self, schedule_kwh: FloatArray, cost_eur: float, part: int) -> None:
        """Add a column: a schedule that a part of the fleet can follow, and its energy cost."""
        self._costs.append(cost_eur)
        coupled = len(self._cap_slots) + len(self._peak_slots)
        rows = np.append(np.arange(coupled), coupled + part)
        entries = np.concatenate(
            [schedule_kwh[self._cap_slots] * self._scale, schedule_kwh[self._peak_slots] * self._scale, [1.0]]
        )
        used = np.flatnonzero(entries)
        cost = 0.0 if self._phase is Phase.LEAST_OVERFLOW else cost_eur
        self._lp.addCol(cost, 0.0, highspy.kHighsInf, len(used), rows[used].astype(np.int32), entries[used])

    def enter(self, phase: Phase) -> None:
        """Change what is minimised; the columns stay."""
        self._phase = phase
        searching = phase is Phase.LEAST_OVERFLOW
        overflow_cost = 1.0 if searching else self._overflow_cost
        upper = 0.0 if phase is Phase.EXACT else highspy.kHighsInf
        for slack in range(len(self._cap_slots)):
            self._lp.changeColCost(slack, overflow_cost / self._scale)
            self._lp.changeColBounds(slack, 0.0, upper)
        if self._coupling.demand_charge is not None:
            charge = 0.0 if searching else self._coupling.demand_charge.eur_per_peak_kwh
            self._lp.changeColCost(len(self._cap_slots), charge / self._scale)
        for index, cost in enumerate(self._costs):
            self._lp.changeColCost(self._first_column + index, 0.0 if searching else cost)

    def solve(self) -> MasterSolution:
        """Return the best mix of the present columns."""
        self._lp.run()
        solution = self._lp.getSolution()
        values = np.array(solution.col_value)
        # HiGHS gives the dual of a "<=" row of a minimisation as a number of at most 0.
        duals = -np.array(solution.row_dual)
        cap_count, peak_count = len(self._cap_slots), len(self._peak_slots)
        cap, peak, overflow = (np.zeros(self._coupling.slot_count) for _ in range(3))
        cap[self._cap_slots] = duals[:cap_count] * self._scale
        peak[self._peak_slots] = duals[cap_count : cap_count + peak_count] * self._scale
        overflow[self._cap_slots] = values[:cap_count] / self._scale
        return MasterSolution(
            objective_eur=float(self._lp.getInfo().objective_function_value),
            weights=values[self._first_column :],
            overflow_kwh=overflow,
            prices=self._prices(cap, peak),
            mix_duals=-duals[cap_count + peak_count :],
        )

    def _prices(self, cap: FloatArray, peak: FloatArray) -> CouplingPrices:
        if self._phase is Phase.LEAST_OVERFLOW:
            return CouplingPrices(cap=np.clip(cap, 0.0, 1.0), peak=np.zeros_like(peak))
        return legal_prices(self._coupling, cap, peak)

    @property
    def _first_column(self) -> int:
        return len(self._cap_slots) + (0 if self._coupling.demand_charge is None else 1)

    def _add_rows_and_slacks(self) -> None:
        infinity = highspy.kHighsInf
        cap_count, peak_count = len(self._cap_slots), len(self._peak_slots)
        for slot in self._cap_slots:
            self._lp.addRow(-infinity, float(self._coupling.cap_kwh[slot]) * self._scale, 0, _NO_ROWS, _NO_VALUES)
        charge = self._coupling.demand_charge
        for slot in self._peak_slots:
            load = 0.0 if charge is None else float(charge.load_kwh[slot])
            self._lp.addRow(-infinity, -load * self._scale, 0, _NO_ROWS, _NO_VALUES)
        for _ in range(self._part_count):
            self._lp.addRow(1.0, 1.0, 0, _NO_ROWS, _NO_VALUES)
        for row in range(cap_count):
            entry = np.array([row], dtype=np.int32)
            self._lp.addCol(self._overflow_cost / self._scale, 0.0, infinity, 1, entry, np.array([-1.0]))
        if charge is not None:
            rows = np.arange(cap_count, cap_count + peak_count, dtype=np.int32)
            cost, least = charge.eur_per_peak_kwh / self._scale, charge.peak_so_far_kwh * self._scale
            self._lp.addCol(cost, least, infinity, peak_count, rows, np.full(peak_count, -1.0))


PRIMAL_SIMPLEX = 4
"""After a new column the last mix is still feasible, so primal simplex goes on where it stood (a third faster here)."""
_NO_ROWS = np.zeros(0, dtype=np.int32)
_NO_VALUES = np.zeros(0)


def _slots_that_can_peak(coupling: Coupling, power_max_kwh: FloatArray) -> IntArray:
    charge = coupling.demand_charge
    if charge is None or charge.eur_per_peak_kwh == 0.0:
        return np.zeros(0, dtype=np.int64)
    return np.flatnonzero(charge.load_kwh + power_max_kwh > charge.peak_so_far_kwh)


def quiet_solver() -> highspy.Highs:
    """Return a HiGHS for a master that gains columns: silent, one thread, primal simplex."""
    solver = highspy.Highs()  # type: ignore[no-untyped-call]  # its constructor is not annotated
    solver.setOptionValue("output_flag", False)
    solver.setOptionValue("threads", 1)  # the same input gives the same path through degenerate vertices
    solver.setOptionValue("simplex_strategy", PRIMAL_SIMPLEX)
    return solver
