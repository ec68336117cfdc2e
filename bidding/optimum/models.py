"""The two cvxpy models of a capped fleet: over columns and over sessions; costs and limits are those of `terms`.

The *column model* mixes the columns that `decomposition` found; needs and departures are in
the columns by construction. The *session model* has a variable per session and slot and is the faster one for a few hundred
sessions. Both are solved with HiGHS. Anything else that is convex in the schedule is the business of `convex_optimum`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import cvxpy as cp
import numpy as np
import scipy.sparse as sp

from bidding.arrays import FloatArray, offsets_of, ragged_ranges
from bidding.fleet.sessions import SessionArrays
from bidding.optimum.coupling import Coupling, CouplingPrices, legal_prices
from bidding.optimum.decomposition import ColumnSet
from bidding.optimum.disaggregation import SessionSchedule
from bidding.optimum.terms import demand_charge, energy_cost, rules, site_cap

# `solver=` and `threads=` of HiGHS travel in `highs_options`: as plain keywords `solver` would be cvxpy's own.
HIGHS_OPTIONS = {"threads": 1}
SIMPLEX_LIMIT = 100
"""Up to so many sessions simplex solves the session model faster than the interior point method (measured at 96 slots)."""
USABLE_STATUS = frozenset({cp.OPTIMAL, cp.OPTIMAL_INACCURATE})


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ModelSolution:
    """What HiGHS found."""

    variables: FloatArray
    """Weights of the columns, or energies per session and slot."""
    prices: CouplingPrices
    """Duals of cap and peak."""


# ---------------------------------------------------------------- what a fleet can do


def convexity(weights: cp.Variable, part_of: sp.csr_array) -> list[cp.Constraint]:
    """Columns are mixed: the weights of each part of the fleet sum to one (they are not negative by their bounds)."""
    return [cast("cp.Expression", part_of @ weights) == 1.0]


def aggregate_of_columns(schedule: cp.Variable, weights: cp.Variable, columns_kwh: FloatArray) -> list[cp.Constraint]:
    """The fleet's schedule is the mixture of the columns."""
    return [schedule == columns_kwh.T @ weights]


def aggregate_of_sessions(schedule: cp.Variable, energy: cp.Variable, slot_of: sp.csr_array) -> list[cp.Constraint]:
    """The fleet's schedule is the sum of its sessions."""
    return [schedule == slot_of @ energy]


def departure_energy(energy: cp.Variable, session_of: sp.csr_array, sessions: SessionArrays) -> list[cp.Constraint]:
    """Every session has at departure at least what it needs and at most what it may take."""
    fixed = sessions.energy_min_kwh == sessions.energy_max_kwh
    charged = session_of @ energy
    families: list[cp.Constraint] = []
    if fixed.any():
        families.append(charged[fixed] == sessions.energy_min_kwh[fixed])
    if not fixed.all():
        families.append(charged[~fixed] >= sessions.energy_min_kwh[~fixed])
        families.append(charged[~fixed] <= sessions.energy_max_kwh[~fixed])
    return families


# ---------------------------------------------------------------- the two models


def solve_column_model(
    parts: Sequence[ColumnSet], price_eur_per_kwh: FloatArray, coupling: Coupling
) -> ModelSolution | None:
    """Return the best mixture of the columns of a fleet's parts, or None when HiGHS found none.

    Its variables are the weights of all parts, one part after the other.
    """
    counts = [len(part.schedule_kwh) for part in parts]
    columns_kwh = np.concatenate([part.schedule_kwh for part in parts])
    entry = np.arange(sum(counts))
    part_of = sp.csr_array((np.ones(len(entry)), (np.repeat(np.arange(len(parts)), counts), entry)))
    schedule = cp.Variable(coupling.slot_count)
    weights = cp.Variable(len(entry), nonneg=True)
    families = [convexity(weights, part_of), aggregate_of_columns(schedule, weights, columns_kwh)]
    return _solve(schedule, weights, families, price_eur_per_kwh, coupling)


def solve_session_model(
    sessions: SessionArrays, price_eur_per_kwh: FloatArray, coupling: Coupling, *, algorithm: str | None = None
) -> ModelSolution | None:
    """Return the best energies per session and slot of its window, or None when HiGHS found none.

    Args:
        sessions: Sessions fitted to the horizon.
        price_eur_per_kwh: Energy price per slot.
        coupling: Cap and demand charge.
        algorithm: HiGHS's `solver` option; None for the faster one: simplex for few sessions, interior point (`ipm`, with a
            crossover to a vertex) for more, where simplex takes many times longer.
    """
    if algorithm is None:
        algorithm = "simplex" if len(sessions) <= SIMPLEX_LIMIT else "ipm"
    length = sessions.window_length
    slot = ragged_ranges(sessions.arrival_slot, length)
    row = np.repeat(np.arange(len(sessions)), length)
    entry = np.arange(len(slot))
    ones = np.ones(len(slot))
    slot_of = sp.csr_array((ones, (slot, entry)), shape=(coupling.slot_count, len(slot)))
    session_of = sp.csr_array((ones, (row, entry)), shape=(len(sessions), len(slot)))
    schedule = cp.Variable(coupling.slot_count)
    energy = cp.Variable(len(slot), bounds=[np.zeros(len(slot)), sessions.rate_kwh_per_slot[row]])
    families = [departure_energy(energy, session_of, sessions), aggregate_of_sessions(schedule, energy, slot_of)]
    return _solve(schedule, energy, families, price_eur_per_kwh, coupling, algorithm)


def session_schedule(sessions: SessionArrays, energy_kwh: FloatArray) -> SessionSchedule:
    """Return the session model's variables as a schedule, cleaned of the solver's rounding at the bounds."""
    length = sessions.window_length
    highest = np.repeat(sessions.rate_kwh_per_slot, length)
    return SessionSchedule(
        offset=offsets_of(length),
        slot=ragged_ranges(sessions.arrival_slot, length),
        energy_kwh=np.clip(energy_kwh, 0.0, highest),
    )


def _solve(
    schedule: cp.Variable,
    variables: cp.Variable,
    families: Sequence[list[cp.Constraint]],
    price_eur_per_kwh: FloatArray,
    coupling: Coupling,
    algorithm: str = "choose",
) -> ModelSolution | None:
    caps = site_cap(schedule, coupling.cap_kwh)
    charge = coupling.demand_charge
    peaks = rules()
    if charge is not None:
        peaks = demand_charge(
            schedule + charge.load_kwh, charge.eur_per_peak_kwh, peak_so_far_kwh=charge.peak_so_far_kwh
        )
    model = energy_cost(schedule, price_eur_per_kwh) + caps + peaks
    problem = cp.Problem(cp.Minimize(model.cost), [one for family in families for one in family] + [*model.constraints])
    options = {**HIGHS_OPTIONS, "solver": algorithm}
    problem.solve(solver=cp.HIGHS, highs_options=options)  # type: ignore[no-untyped-call]  # not annotated in cvxpy
    if problem.status not in USABLE_STATUS:
        return None
    cap_prices = np.zeros(coupling.slot_count)
    if caps.constraints:
        cap_prices[np.isfinite(coupling.cap_kwh)] = caps.constraints[0].dual_value
    free = np.zeros(coupling.slot_count)
    peak_prices = np.asarray(peaks.constraints[0].dual_value) if peaks.constraints else free
    return ModelSolution(variables=np.asarray(variables.value), prices=legal_prices(coupling, cap_prices, peak_prices))
