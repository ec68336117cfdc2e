"""The instance that the aggregation bench and every peer solve, and the plain linear program of it.

A fleet from noon to noon, prices of one day, and a limit at 60 % of the uncontrolled peak, which binds. Energy is counted in kWh
per slot of a quarter of an hour, prices in EUR per kWh.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import cvxpy as cp
import numpy as np
import scipy.sparse as sp

from bidding.arrays import FloatArray, IntArray, ragged_ranges
from bidding.fleet.sessions import SessionArrays, uncontrolled_schedule
from bidding.optimum.coupling import Coupling

SLOTS = 96
CAP_SHARE = 0.6


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FleetCase:
    """One capped fleet: charge everybody by departure, under the cap, at the least cost of energy."""

    sessions: SessionArrays
    """Sessions that each need a fixed energy."""
    price_eur_per_kwh: FloatArray
    """Energy price per slot, shape (96,)."""
    cap_kwh: FloatArray
    """Most that all may draw together in each slot, shape (96,)."""

    @classmethod
    def of(cls, count: int) -> FleetCase:
        """Return the case with this many sessions; the same one every time."""
        sessions = _draw_sessions(count)
        peak = float(np.max(uncontrolled_schedule(sessions, sessions.energy_min_kwh, SLOTS)))
        return cls(sessions=sessions, price_eur_per_kwh=_draw_prices(), cap_kwh=np.full(SLOTS, CAP_SHARE * peak))

    @property
    def coupling(self) -> Coupling:
        """The cap as the optimum takes it."""
        return Coupling(cap_kwh=self.cap_kwh)

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """The five columns that say all about the sessions."""
        names = ("arrival_slot", "departure_slot", "rate_kwh_per_slot", "energy_min_kwh", "energy_max_kwh")
        return {name: getattr(self.sessions, name) for name in names}

    @property
    def session_bytes(self) -> int:
        """Memory of the session columns."""
        return sum(column.nbytes for column in self.columns.values())

    def save(self, file: Path) -> None:
        """Write the case for a peer, as an `.npz` file: the sessions' columns, `price_eur_per_kwh` and `cap_kwh`."""
        np.savez(
            file, allow_pickle=False, **self.columns, price_eur_per_kwh=self.price_eur_per_kwh, cap_kwh=self.cap_kwh
        )


def _draw_sessions(count: int) -> SessionArrays:
    """Noon to noon: 65 % overnight at home, 25 % at work, 10 % short public stops."""
    rng = np.random.default_rng(20260506)
    per_hour = SLOTS / 24.0
    kind = rng.choice(3, size=count, p=[0.65, 0.25, 0.10])
    morning = rng.integers(0, 2, count) == 1
    come = np.select(
        [kind == 0, (kind == 1) & morning, kind == 1],
        [rng.normal(6.3, 1.5, count), rng.normal(20.5, 0.6, count), np.zeros(count)],
        rng.uniform(0.0, 21.0, count),
    )
    leave = np.select(
        [kind == 0, (kind == 1) & morning, kind == 1],
        [rng.normal(19.3, 0.9, count), np.full(count, 24.0), np.clip(rng.normal(5.0, 1.0, count), 2.0, 8.0)],
        come + np.clip(rng.gamma(3.0, 0.6, count), 0.5, 4.0),
    )
    arrival = np.clip(np.floor(come * per_hour), 0, SLOTS - 2).astype(np.int64)
    departure = np.clip(np.ceil(leave * per_hour).astype(np.int64), arrival + 2, SLOTS)
    home, public = rng.choice([3.7, 7.4, 11.0], count, p=[0.15, 0.35, 0.5]), rng.choice([7.4, 11.0, 22.0], count)
    rate = np.where(kind == 0, home, public) / per_hour
    energy = np.minimum(rng.lognormal(np.log(11.5), 0.65, count), 0.92 * rate * (departure - arrival))
    return SessionArrays(
        arrival_slot=arrival,
        departure_slot=departure,
        rate_kwh_per_slot=rate,
        energy_min_kwh=energy,
        energy_max_kwh=energy,
    )


def _draw_prices() -> FloatArray:
    """A day-ahead-like curve from noon to noon in EUR per kWh."""
    hour = (12.0 + np.arange(SLOTS) * 24.0 / SLOTS) % 24.0
    bumps = ((-0.045, 13.0, 2.2), (0.075, 19.0, 1.8), (-0.035, 3.2, 2.3), (0.03, 8.0, 1.3))
    shape = sum((height * np.exp(-(((hour - middle) / width) ** 2)) for height, middle, width in bumps), 0.085)
    noisy: FloatArray = shape + np.random.default_rng(1000).normal(0.0, 0.006, SLOTS)
    return noisy


# ---------------------------------------------------------------- the plain linear program


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LpSolver:
    """One way to let cvxpy solve the program on one thread."""

    name: str
    solver: str
    options: Mapping[str, object]


# `solver=` of HiGHS travels in `highs_options`: as a plain keyword it would be cvxpy's own.
HIGHS_IPM = LpSolver(
    name="cvxpy, HiGHS ipm",
    solver=cp.HIGHS,
    options=MappingProxyType({"highs_options": {"threads": 1, "solver": "ipm"}}),
)
HIGHS_DEFAULT = LpSolver(
    name="cvxpy, HiGHS default", solver=cp.HIGHS, options=MappingProxyType({"highs_options": {"threads": 1}})
)
CLARABEL = LpSolver(name="cvxpy, Clarabel", solver=cp.CLARABEL, options=MappingProxyType({"max_threads": 1}))


def solve_plain_lp(case: FleetCase, solver: LpSolver) -> float:
    """Write the case as one sparse linear program in cvxpy, solve it, and return the least cost in EUR.

    The form is the best known one: a variable for each session and slot of its window, rates as bounds and not as rows.

    Raises:
        RuntimeError: The solver did not end with an optimum.
    """
    sessions = case.sessions
    length = sessions.window_length
    slot = ragged_ranges(sessions.arrival_slot, length)
    row = np.repeat(np.arange(len(sessions)), length)
    energy = cp.Variable(len(slot), bounds=[np.zeros(len(slot)), sessions.rate_kwh_per_slot[row]])
    problem = cp.Problem(
        cp.Minimize(case.price_eur_per_kwh[slot] @ energy),
        [
            _sums_by(row, len(sessions)) @ energy == sessions.energy_min_kwh,
            _sums_by(slot, SLOTS) @ energy <= case.cap_kwh,
        ],
    )
    problem.solve(solver=solver.solver, **solver.options)  # type: ignore[no-untyped-call]  # not annotated in cvxpy
    if problem.status != cp.OPTIMAL:
        raise RuntimeError(f"{solver.name} ended with {problem.status}")
    return float(problem.value)


def _sums_by(place: IntArray, count: int) -> cp.Constant:
    """Return the matrix that adds up entries by the place they belong to."""
    ones = np.ones(len(place))
    return cp.Constant(sp.csr_array((ones, (place, np.arange(len(place)))), shape=(count, len(place))))
