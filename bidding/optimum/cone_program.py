"""A user's cvxpy model as plain matrices, with the Lagrangian bound that any multipliers of it give.

cvxpy writes the model once in its conic form

    min  1/2 x'Qx + c'x + offset    subject to    Ax + s = b,   s in a product of cones,

in which every fleet schedule P_m is a run of columns of x. The schedules must also lie in the exact sets F_m of what the
fleets can do. For multipliers z in the dual cones and any point w, with `g = c + Qw + A'z`,

    optimum >= offset - 1/2 w'Qw - b'z + sum_m  min over v in F_m of  g_m.v  + (what g leaves on the model's own variables)

by weak duality and convexity of the quadratic. The minimum is an exact price response at the prices g_m. The bound needs no
trust in the solver: multipliers are used as numbers, whatever their quality. For a dual solution g is zero on the model's
own variables up to rounding; that rest is counted against the bound.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import numpy as np
import scipy.sparse as sp

from bidding.arrays import FloatArray, IntArray
from gateway.domain.errors import InvalidInput

OWN_VARIABLE_MARGIN = 2.0
"""How much farther than in the present solution the model's own variables are assumed to range in the bound's rounding."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Multipliers:
    """A point at which the bound is taken."""

    rows: FloatArray
    """z, one per row of the program, in the dual cones."""
    point: FloatArray
    """w, one per column of the program."""

    def towards(self, other: "Multipliers", share: float) -> "Multipliers":
        """Return the point on the way to `other`: legal again, because cones are convex."""
        return Multipliers(
            rows=(1.0 - share) * self.rows + share * other.rows, point=(1.0 - share) * self.point + share * other.point
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ConeProgram:
    """The model in the conic form, without what the fleets can do."""

    quadratic: sp.csc_array
    """Q, symmetric."""
    linear: FloatArray
    """c."""
    offset: float
    matrix: sp.csr_array
    """A."""
    side: FloatArray
    """b."""
    equality_count: int
    """The first rows: s = 0."""
    inequality_count: int
    """The rows after those: s >= 0."""
    cone_sizes: Any
    """cvxpy's sizes of all cones in row order (`ConeDims`)."""
    first_columns: tuple[int, ...]
    """Where the schedule of each fleet begins in x."""
    slot_count: int

    @property
    def is_linear(self) -> bool:
        """Whether an LP solver can take it."""
        return self.quadratic.nnz == 0 and self.equality_count + self.inequality_count == len(self.side)

    @property
    def fleet_columns(self) -> IntArray:
        """Column of x per fleet and slot, shape (M, T), integers."""
        columns: IntArray = np.array(self.first_columns)[:, None] + np.arange(self.slot_count)[None, :]
        return columns

    def gradient(self, at: Multipliers, *, with_cost: bool) -> FloatArray:
        """Return g, or A'z alone when only feasibility counts."""
        own: FloatArray = self.matrix.T @ at.rows
        if with_cost:
            own = own + self.linear + self.quadratic @ at.point
        return own

    def fleet_prices(self, at: Multipliers, *, with_cost: bool) -> FloatArray:
        """Return the prices g_m that each fleet responds to, EUR per kWh, shape (M, T)."""
        return self.gradient(at, with_cost=with_cost)[self.fleet_columns]

    def bound(self, at: Multipliers, least_cost: float, *, with_cost: bool) -> float:
        """Return what no feasible point undercuts.

        Args:
            at: The multipliers.
            least_cost: `sum_m g_m.v_m` of the fleets' responses to `fleet_prices(at)`.
            with_cost: False for the bound on the least mismatch between model and fleets.
        """
        rest = self.gradient(at, with_cost=with_cost)
        rest[self.fleet_columns] = 0.0
        rounding = float(np.abs(rest) @ (1.0 + OWN_VARIABLE_MARGIN * np.abs(at.point)))
        constant = self.offset - 0.5 * float(at.point @ (self.quadratic @ at.point)) if with_cost else 0.0
        return constant - float(self.side @ at.rows) + least_cost - rounding


def cone_program(
    cost: cp.Expression, constraints: Sequence[cp.Constraint], schedules: Sequence[cp.Variable]
) -> ConeProgram:
    """Return the model as matrices.

    Args:
        cost: Convex, to be minimised.
        constraints: Convex.
        schedules: The fleets' schedules: variables of shape (T,) without attributes.

    Raises:
        InvalidInput: The model is not convex, holds integers, or a schedule has attributes or other than one dimension.
    """
    slot_count = _slot_count(schedules)
    # Every schedule must be a column of the program, also where the model does not look at it.
    mention = sum((0.0 * schedule.sum() for schedule in schedules[1:]), 0.0 * schedules[0].sum())
    problem = cp.Problem(cp.Minimize(cost + mention), list(constraints))
    if not problem.is_dcp():
        raise InvalidInput("cost", "is not convex in the sense of cvxpy (is_dcp)")
    if problem.is_mixed_integer():
        raise InvalidInput("constraints", "must not make variables integer")
    data, _, inverse = problem.get_problem_data(cp.CLARABEL)
    size = len(data["c"])
    place = data["param_prob"].var_id_to_col
    return ConeProgram(
        quadratic=sp.csc_array(data["P"]) if "P" in data else sp.csc_array((size, size)),
        linear=np.asarray(data["c"], dtype=np.float64),
        offset=float(inverse[-1]["offset"]),
        matrix=sp.csr_array(data["A"]),
        side=np.asarray(data["b"], dtype=np.float64),
        equality_count=int(data["dims"].zero),
        inequality_count=int(data["dims"].nonneg),
        cone_sizes=data["dims"],
        first_columns=tuple(int(place[schedule.id]) for schedule in schedules),
        slot_count=slot_count,
    )


def _slot_count(schedules: Sequence[cp.Variable]) -> int:
    if not schedules:
        raise InvalidInput("schedules", "must hold at least one")
    for number, schedule in enumerate(schedules):
        if schedule.ndim != 1 or schedule.shape != schedules[0].shape:
            raise InvalidInput(f"schedules[{number}]", "must have one dimension, the same for all")
        if any(schedule.attributes.values()):
            raise InvalidInput(
                f"schedules[{number}]", "must be a variable without attributes; write them as constraints"
            )
    if len({schedule.id for schedule in schedules}) < len(schedules):
        raise InvalidInput("schedules", "must be different variables")
    return int(schedules[0].size)
