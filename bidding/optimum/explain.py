"""Why nothing fits: the set of slots in which more must flow than a limit allows."""

import numpy as np

from bidding.arrays import BoolArray, FloatArray
from bidding.fleet.flexibility import FlexibilityTable
from bidding.fleet.sessions import SLOT_TOLERANCE, SessionArrays
from bidding.optimum.outcome import Conflict


def explain_conflict(
    table: FlexibilityTable, sessions: SessionArrays, cap_kwh: FloatArray, overflow_prices: FloatArray
) -> Conflict:
    """Return the slots where the largest energy is missing, and the sessions that must draw there.

    The least overflow of a cap equals `max over A of p(A) - cap(A)`. The duals of the least-overflow problem maximise the
    piecewise linear extension of that function over the unit cube, whose level sets all are maximisers; with duals known up
    to a tolerance, the best level set is taken.
    """
    levels = np.unique(overflow_prices[overflow_prices > SLOT_TOLERANCE])
    candidates = [overflow_prices >= level for level in levels] or [np.isfinite(cap_kwh)]
    missing = [table.least_kwh(slots) - float(cap_kwh[slots].sum()) for slots in candidates]
    slots = candidates[int(np.argmax(missing))]
    bound = np.flatnonzero(forced_kwh(sessions, slots) > SLOT_TOLERANCE)
    return Conflict(
        slots=tuple(int(slot) for slot in np.flatnonzero(slots)),
        must_flow_kwh=table.least_kwh(slots),
        allowed_kwh=float(cap_kwh[slots].sum()),
        sessions=tuple(sessions.name_of(int(row)) for row in bound),
    )


def forced_kwh(sessions: SessionArrays, slots: BoolArray) -> FloatArray:
    """Return what each session must draw in the slots even at full rate in all its others."""
    outside = np.concatenate([[0], np.cumsum(~slots)])
    elsewhere = outside[sessions.departure_slot] - outside[sessions.arrival_slot]
    forced: FloatArray = np.maximum(sessions.energy_min_kwh - sessions.rate_kwh_per_slot * elsewhere, 0.0)
    return forced
