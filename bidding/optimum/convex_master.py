"""The restricted master of a convex model: its best point when every fleet mixes the columns found so far.

    min  1/2 x'Qx + c'x    s.t.  Ax + s = b,  s in cones,  P_m = sum_u V_u w_u + more_m - less_m,  sum w_u = 1,  w_u >= 0

Units u are the parts of a fleet m that are mixed on their own. The mismatch `more`, `less` is 0 when cost is minimised; in the phase that looks for any common point it is what is minimised.
Linear models go to HiGHS, where P_m is substituted and a new column costs a warm start of the simplex method; others go to
Clarabel, which starts anew each time. All quantities are divided by the fleet's highest draw, so that the solvers'
absolute tolerances mean the same for a home and for a city; costs per kWh and multipliers stay as they are.
"""

from copy import copy
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import clarabel
import highspy
import numpy as np
import scipy.sparse as sp
from cvxpy.reductions.solvers.conic_solvers.clarabel_conif import dims_to_solver_cones

from bidding.arrays import BoolArray, FloatArray, IntArray
from bidding.optimum.cone_program import ConeProgram, Multipliers
from bidding.optimum.restricted_master import quiet_solver

SparseMatrix: TypeAlias = Any
"""A scipy sparse array; its published types know neither indexing with arrays nor stacking of mixed formats."""
DUAL_TOLERANCE_EUR_PER_KWH = 1e-9
"""Reduced costs down to here are zero for HiGHS; its default of 1e-7 shows in the sixth digit of a city's cost."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MasterPoint:
    """The best point over the present columns."""

    objective: float
    """EUR, or kWh of mismatch."""
    multipliers: Multipliers
    weights: tuple[FloatArray, ...]
    """Per unit, one per column in the order they were added."""
    mismatch_kwh: FloatArray
    """More minus less, per fleet and slot, shape (M, T)."""


class MasterFailed(Exception):
    """The solver found no point: `is_unbounded` tells why."""

    def __init__(self, *, is_unbounded: bool) -> None:
        super().__init__("unbounded" if is_unbounded else "infeasible")
        self.is_unbounded = is_unbounded


class ConvexMaster(Protocol):
    """What column generation needs of a master."""

    def add(self, unit: int, schedule_kwh: FloatArray) -> None:
        """Add a column of one unit."""
        ...

    def solve(self, *, with_cost: bool) -> MasterPoint:
        """Return the cheapest point without mismatch, or the one with the least mismatch.

        Raises:
            MasterFailed: There is none.
        """
        ...


def convex_master(program: ConeProgram, power_max_kwh: FloatArray, fleet_of_unit: IntArray) -> ConvexMaster:
    """Return the master that fits the model.

    Args:
        program: The model.
        power_max_kwh: Most that each fleet can draw per slot, shape (M, T).
        fleet_of_unit: Fleet of every unit, not falling; every fleet has at least one.
    """
    if program.is_linear:
        return LinearMaster(program, power_max_kwh, fleet_of_unit)
    return ConicMaster(program, power_max_kwh, fleet_of_unit)


class LinearMaster:
    """The master in HiGHS, with P_m substituted by its columns."""

    def __init__(self, program: ConeProgram, power_max_kwh: FloatArray, fleet_of_unit: IntArray) -> None:
        self._program = program
        self._fleet_of_unit = fleet_of_unit
        self._scale = _scale_kwh(power_max_kwh)
        self._shape = program.fleet_columns.shape
        fleet_columns = program.fleet_columns.ravel()
        is_own = np.ones(len(program.linear), dtype=np.bool_)
        is_own[fleet_columns] = False
        self._own: IntArray = np.flatnonzero(is_own)
        self._bounds = _OwnBounds(program, is_own)
        binding = ~self._bounds.is_bound & ~_never_binding(program, fleet_columns, power_max_kwh.ravel())
        self._rows: IntArray = np.flatnonzero(binding)
        kept: SparseMatrix = program.matrix[self._rows]
        self._fleet_matrix: SparseMatrix = sp.csc_array(kept[:, fleet_columns])
        self._fleet_rows = [
            kept[:, columns] for columns in (fleet_columns.reshape(self._shape)[m] for m in range(self._shape[0]))
        ]
        self._unit_of: list[int] = []
        self._costs: list[float] = []
        self._with_cost = False
        self._lp = quiet_solver()
        self._lp.setOptionValue("dual_feasibility_tolerance", DUAL_TOLERANCE_EUR_PER_KWH)
        self._lp.passModel(self._lp_without_columns(sp.csc_array(kept[:, self._own])))

    def add(self, unit: int, schedule_kwh: FloatArray) -> None:
        """Add a column of one unit."""
        schedule, fleet = schedule_kwh / self._scale, int(self._fleet_of_unit[unit])
        entries = np.concatenate([self._fleet_rows[fleet] @ schedule, np.zeros(len(self._fleet_of_unit))])
        entries[len(self._rows) + unit] = 1.0
        used = np.flatnonzero(entries).astype(np.int32)
        cost = float(self._program.linear[self._program.fleet_columns[fleet]] @ schedule)
        self._unit_of.append(unit)
        self._costs.append(cost)
        self._lp.addCol(cost if self._with_cost else 0.0, 0.0, highspy.kHighsInf, len(used), used, entries[used])

    def solve(self, *, with_cost: bool) -> MasterPoint:
        """Return the best point over the present columns (see `ConvexMaster`)."""
        self._enter(with_cost=with_cost)
        self._lp.run()
        status = self._lp.getModelStatus()
        if status != highspy.HighsModelStatus.kOptimal:
            unbounded = {highspy.HighsModelStatus.kUnbounded, highspy.HighsModelStatus.kUnboundedOrInfeasible}
            raise MasterFailed(is_unbounded=status in unbounded)
        solution = self._lp.getSolution()
        values, own_count = np.array(solution.col_value), len(self._own)
        more, less = values[own_count : own_count + 2 * self._mismatch_count].reshape(2, *self._shape)
        weights = values[own_count + 2 * self._mismatch_count :]
        unit_of = np.array(self._unit_of)
        rows = self._multipliers(np.array(solution.row_dual), np.array(solution.col_dual)[:own_count])
        point = np.zeros(len(self._program.linear))
        point[self._own] = values[:own_count] * self._scale
        return MasterPoint(
            objective=float(self._lp.getInfo().objective_function_value) * self._scale
            + (self._program.offset if with_cost else 0.0),
            multipliers=Multipliers(rows=rows, point=point),
            weights=tuple(np.maximum(weights[unit_of == unit], 0.0) for unit in range(len(self._fleet_of_unit))),
            mismatch_kwh=(more - less) * self._scale,
        )

    @property
    def _mismatch_count(self) -> int:
        return int(np.prod(self._shape))

    def _multipliers(self, row_dual: FloatArray, own_dual: FloatArray) -> FloatArray:
        # HiGHS gives the dual of a "<=" row of a minimisation as a number of at most 0.
        kept = -row_dual[: len(self._rows)]
        is_inequality = self._rows >= self._program.equality_count
        multipliers = np.zeros(len(self._program.side))
        multipliers[self._rows] = np.where(is_inequality, np.maximum(kept, 0.0), kept)
        self._bounds.put_multipliers(multipliers, self._own, own_dual)
        return multipliers

    def _enter(self, *, with_cost: bool) -> None:
        if with_cost == self._with_cost:
            return
        self._with_cost = with_cost
        own_count = len(self._own)
        size = own_count + 2 * self._mismatch_count + len(self._costs)
        cost, every = np.zeros(size), np.arange(size, dtype=np.int32)
        if with_cost:
            cost[:own_count] = self._program.linear[self._own]
            cost[own_count + 2 * self._mismatch_count :] = self._costs
        else:
            cost[own_count : own_count + 2 * self._mismatch_count] = 1.0
        self._lp.changeColsCost(size, every, cost)
        mismatch = every[own_count : own_count + 2 * self._mismatch_count]
        highest = np.full(len(mismatch), 0.0 if with_cost else highspy.kHighsInf)
        self._lp.changeColsBounds(len(mismatch), mismatch, np.zeros(len(mismatch)), highest)

    def _lp_without_columns(self, own_matrix: sp.csc_array) -> highspy.HighsLp:
        unit_count, infinity = len(self._fleet_of_unit), highspy.kHighsInf
        body = sp.hstack([own_matrix, self._fleet_matrix, -self._fleet_matrix])
        matrix = sp.csc_array(sp.vstack([body, sp.csr_array((unit_count, body.shape[1]))]))
        side = self._program.side[self._rows] / self._scale
        mixed = np.ones(unit_count)
        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = matrix.shape[1], matrix.shape[0]
        none, ones = np.zeros(2 * self._mismatch_count), np.ones(2 * self._mismatch_count)
        lp.col_cost_ = np.concatenate([np.zeros(len(self._own)), ones])
        lp.col_lower_ = np.concatenate([self._bounds.lower[self._own] / self._scale, none])
        lp.col_upper_ = np.concatenate([self._bounds.upper[self._own] / self._scale, np.full(len(none), infinity)])
        lp.row_lower_ = np.concatenate([np.where(self._rows < self._program.equality_count, side, -infinity), mixed])
        lp.row_upper_ = np.concatenate([side, mixed])
        lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = matrix.indptr, matrix.indices, matrix.data
        return lp


class _OwnBounds:
    """Inequalities on one of the model's own variables, as bounds of it; their multipliers are its reduced cost."""

    def __init__(self, program: ConeProgram, is_own: BoolArray) -> None:
        first = program.equality_count
        length = np.diff(program.matrix.indptr)
        single = np.flatnonzero(length[first : first + program.inequality_count] == 1) + first
        at = program.matrix.indptr[single]
        column, factor = program.matrix.indices[at], program.matrix.data[at]
        kept = is_own[column] & (factor != 0.0)
        row, column, factor = single[kept], column[kept], factor[kept]
        limit = program.side[row] / factor
        self.is_bound: BoolArray = np.zeros(len(program.side), dtype=np.bool_)
        self.is_bound[row] = True
        self.upper, self._upper_row = _tightest(len(is_own), row, column, limit, factor > 0.0)
        lower, self._lower_row = _tightest(len(is_own), row, column, -limit, factor < 0.0)
        self.lower = -lower
        self._factor = np.zeros(len(program.side))
        self._factor[row] = factor

    def put_multipliers(self, multipliers: FloatArray, own: IntArray, own_dual: FloatArray) -> None:
        """Write the multipliers of the bounds that hold variables back: `c + A'z` becomes zero for them."""
        held_up = own[(own_dual > 0.0) & (self._lower_row[own] >= 0)]
        held_down = own[(own_dual < 0.0) & (self._upper_row[own] >= 0)]
        dual = np.zeros(len(self.upper))
        dual[own] = own_dual
        for held, rows in ((held_up, self._lower_row), (held_down, self._upper_row)):
            multipliers[rows[held]] = -dual[held] / self._factor[rows[held]]


def _tightest(
    size: int, row: IntArray, column: IntArray, limit: FloatArray, chosen: BoolArray
) -> tuple[FloatArray, IntArray]:
    """Return the least limit per column among the chosen rows, and the row it is in (-1 where there is none)."""
    least, at = np.full(size, np.inf), np.full(size, -1, dtype=np.int64)
    order = np.flatnonzero(chosen)[np.argsort(-limit[chosen], kind="stable")]
    least[column[order]] = limit[order]
    at[column[order]] = row[order]
    return least, at


def _never_binding(program: ConeProgram, fleet_columns: IntArray, power_max_kwh: FloatArray) -> BoolArray:
    """Tell which inequalities the fleets cannot reach whatever they do: they need no row."""
    highest = np.full(len(program.linear), np.inf)
    highest[fleet_columns] = power_max_kwh
    first = program.equality_count
    part = program.matrix[first : first + program.inequality_count].tocoo()
    reach = np.where(part.data > 0.0, part.data * highest[part.col], np.where(np.isinf(highest[part.col]), np.inf, 0.0))
    most = np.bincount(part.row, weights=reach, minlength=program.inequality_count)
    result = np.zeros(len(program.side), dtype=np.bool_)
    result[first : first + program.inequality_count] = most <= program.side[first : first + program.inequality_count]
    return result


class ConicMaster:
    """The master in Clarabel, with P_m as variables beside their columns."""

    def __init__(self, program: ConeProgram, power_max_kwh: FloatArray, fleet_of_unit: IntArray) -> None:
        self._program = program
        self._fleet_of_unit = fleet_of_unit
        self._scale = _scale_kwh(power_max_kwh)
        self._columns: list[list[FloatArray]] = [[] for _ in fleet_of_unit]
        self._settings = clarabel.DefaultSettings()
        self._settings.verbose = False
        self._settings.max_threads = 1

    def add(self, unit: int, schedule_kwh: FloatArray) -> None:
        """Add a column of one unit."""
        self._columns[unit].append(schedule_kwh / self._scale)

    def solve(self, *, with_cost: bool) -> MasterPoint:
        """Return the best point over the present columns (see `ConvexMaster`)."""
        program, size = self._program, len(self._program.linear)
        counts = [len(columns) for columns in self._columns]
        mismatch_count = 0 if with_cost else program.fleet_columns.size
        free_count = sum(counts) + 2 * mismatch_count
        matrix, side, cones = self._rows(counts, mismatch_count)
        cost = np.concatenate([program.linear, np.zeros(free_count)])
        quadratic = sp.block_diag([program.quadratic * self._scale, sp.csc_array((free_count, free_count))])
        if not with_cost:
            cost[:size] = 0.0
            cost[size + sum(counts) :] = 1.0
            quadratic = sp.csc_array(quadratic.shape)
        upper = sp.csc_matrix(sp.triu(quadratic))
        found = clarabel.DefaultSolver(upper, cost, sp.csc_matrix(matrix), side, cones, self._settings).solve()
        status = str(found.status)
        if status not in {"Solved", "AlmostSolved"}:
            raise MasterFailed(is_unbounded="DualInfeasible" in status)
        values, duals = np.array(found.x), np.array(found.z)
        parts = np.split(np.maximum(values[size : size + sum(counts)], 0.0), np.cumsum(counts)[:-1])
        mismatch = np.zeros(program.fleet_columns.shape)
        if mismatch_count > 0:
            more, less = values[size + sum(counts) :].reshape(2, *mismatch.shape)
            mismatch = (more - less) * self._scale
        return MasterPoint(
            objective=float(found.obj_val) * self._scale + (program.offset if with_cost else 0.0),
            multipliers=Multipliers(rows=self._model_rows(duals, free_count), point=values[:size] * self._scale),
            weights=tuple(parts),
            mismatch_kwh=mismatch,
        )

    def _rows(self, counts: list[int], mismatch_count: int) -> tuple[sp.csr_array, FloatArray, list[object]]:
        """Return the rows in the order of cones: equal, not negative, the others."""
        program, unit_count = self._program, len(self._columns)
        free_count = sum(counts) + 2 * mismatch_count
        size, slots = len(program.linear), program.fleet_columns.size
        pick: SparseMatrix = sp.csr_array(
            (np.ones(slots), (np.arange(slots), program.fleet_columns.ravel())), shape=(slots, size)
        )
        mixtures: SparseMatrix = sp.block_diag(self._mixtures())
        sums: SparseMatrix = sp.block_diag([np.ones((1, count)) for count in counts])
        off = [-sp.eye_array(slots), sp.eye_array(slots)] if mismatch_count > 0 else []
        model = sp.hstack([program.matrix, sp.csr_array((len(program.side), free_count))]).tocsr()
        link: SparseMatrix = sp.hstack([pick, mixtures, *off])
        mixed: SparseMatrix = sp.hstack(
            [sp.csr_array((unit_count, size)), sums, sp.csr_array((unit_count, 2 * mismatch_count))]
        )
        sign: SparseMatrix = sp.hstack([sp.csr_array((free_count, size)), -sp.eye_array(free_count)])
        equal, unequal = program.equality_count, program.equality_count + program.inequality_count
        matrix: SparseMatrix = sp.vstack([model[:equal], link, mixed, model[equal:unequal], sign, model[unequal:]])
        side = program.side / self._scale
        rest = [np.zeros(slots), np.ones(unit_count), side[equal:unequal], np.zeros(free_count), side[unequal:]]
        sizes = copy(program.cone_sizes)
        sizes.zero += slots + unit_count
        sizes.nonneg += free_count
        return sp.csr_array(matrix), np.concatenate([side[:equal], *rest]), dims_to_solver_cones(sizes)  # type: ignore[no-untyped-call]

    def _mixtures(self) -> list[FloatArray]:
        """Return the columns of every fleet, its units side by side, shape (T, columns) each."""
        by_fleet: list[list[FloatArray]] = [[] for _ in self._program.first_columns]
        for fleet, columns in zip(self._fleet_of_unit, self._columns, strict=True):
            by_fleet[fleet] += columns
        return [-np.array(columns).T for columns in by_fleet]

    def _model_rows(self, duals: FloatArray, free_count: int) -> FloatArray:
        program = self._program
        equal, inequalities = program.equality_count, program.inequality_count
        begin = equal + program.fleet_columns.size + len(self._columns)
        after = begin + inequalities + free_count
        return np.concatenate([duals[:equal], duals[begin : begin + inequalities], duals[after:]])


def _scale_kwh(power_max_kwh: FloatArray) -> float:
    highest = float(np.max(power_max_kwh, initial=0.0))
    return highest if highest > 0.0 else 1.0
