"""What bounds each phase, and what the chargers can be set to, in the words of the allocation."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from gateway.domain.allocation import PhaseBounds, Pilots
from gateway.domain.fleet import FleetView
from gateway.domain.topology import PHASE_COUNT

FloatArray = npt.NDArray[np.float64]


def phase_bounds(view: FleetView, phase_cap_kw: FloatArray) -> PhaseBounds | None:
    """Return the bounds per phase of a fleet; None where nothing is bounded per phase.

    Args:
        view: The fleet, for its wiring and the phases that cars use.
        phase_cap_kw: Most that may flow on each phase of each node, headroom taken off, shape (N, 3).
    """
    data, wiring = view.data, view.tree.wiring
    if data is None or wiring is None:
        return None
    is_even = np.isinf(wiring.max_unbalance_a)
    if is_even.all() and np.isinf(phase_cap_kw).all():
        return None
    unbalance = wiring.max_unbalance_a * wiring.voltage_v * data.voltage_factor / 1000.0
    return PhaseBounds(
        share=data.phase_share, caps_kw=phase_cap_kw, max_unbalance_kw=None if is_even.all() else unbalance
    )


def phases_beside(view: FleetView, phase_cap_kw: FloatArray, taken_kw: FloatArray) -> PhaseBounds | None:
    """Return the bounds per phase with what chargers take already taken off; None where nothing is bounded per phase.

    Args:
        view: The fleet.
        phase_cap_kw: Most that may flow on each phase of each node, shape (N, 3).
        taken_kw: What each charger takes, shape (C,).
    """
    bounds = phase_bounds(view, phase_cap_kw)
    if bounds is None:
        return None
    left = phase_cap_kw
    if np.isfinite(phase_cap_kw).any():
        taken = [view.levels.totals(taken_kw * bounds.share[:, phase]) for phase in range(PHASE_COUNT)]
        left = np.maximum(phase_cap_kw - np.stack(taken, axis=1), 0.0)
    return replace(bounds, caps_kw=left, beside_kw=taken_kw)


def pilots_of(view: FleetView, most_kw: FloatArray) -> Pilots | None:
    """Return the steps of the chargers; None where every charger can be set to anything."""
    data, wiring = view.data, view.tree.wiring
    if data is None or wiring is None or len(wiring.pilot_sets) <= 1:
        return None
    return Pilots(
        sets_a=wiring.pilot_sets, set_of=wiring.pilot_set.astype(np.int64), kw_per_a=data.kw_per_a, most_kw=most_kw
    )
