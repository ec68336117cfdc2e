"""What the same cars would have drawn without control: full rate from plug-in, as far as the connection carries it.

This is a model, for comparison only: nobody measured it.
"""

import numpy as np

from bidding.arrays import FloatArray, finite_vector, sum_by
from bidding.fleet.sessions import SessionArrays, require_fitted


def uncontrolled_within_room(sessions: SessionArrays, energy_kwh: FloatArray, room_kwh: FloatArray) -> FloatArray:
    """Return the draw per slot when every car charges at full rate from arrival until it has its energy.

    Where the connection cannot carry all at once, the cars that are there get the same share of their rate. A car that leaves
    before it has its energy goes without the rest.

    Args:
        sessions: Sessions fitted to the horizon (`fit_to_horizon`).
        energy_kwh: What each takes if it can, shape (N,).
        room_kwh: What the connection carries beside its other load, per slot, at least 0, shape (T,).

    Returns:
        kWh per slot, shape (T,).

    Raises:
        InvalidInput: A session was not fitted, or the energies have another length.
    """
    require_fitted(sessions, len(room_kwh))
    left = finite_vector("energy_kwh", energy_kwh, len(sessions)).copy()
    drawn = np.zeros(len(room_kwh))
    order = np.argsort(sessions.arrival_slot, kind="stable")
    came = np.searchsorted(sessions.arrival_slot[order], np.arange(len(room_kwh)), side="right")
    charging = order[:0]
    for slot, room in enumerate(room_kwh):
        charging = np.concatenate([charging, order[came[slot - 1] if slot else 0 : came[slot]]])
        charging = charging[(sessions.departure_slot[charging] > slot) & (left[charging] > 0.0)]
        wanted = np.minimum(left[charging], sessions.rate_kwh_per_slot[charging])
        total = float(wanted.sum())
        share = 1.0 if total <= room else room / total
        left[charging] -= wanted * share
        drawn[slot] = total * share
    return drawn


def uncontrolled_by_site(
    sessions: SessionArrays, energy_kwh: FloatArray, room_kwh: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return the uncontrolled draw per site and slot, and the energy each site's cars went without.

    Args:
        sessions: Fitted sessions with their `site_index`.
        energy_kwh: What each takes if it can, shape (N,).
        room_kwh: Shape (S, T).

    Returns:
        Draw in kWh, shape (S, T), and energy not served in kWh, shape (S,).
    """
    site = sessions.site_index if sessions.site_index is not None else np.zeros(len(sessions), dtype=np.int64)
    drawn = np.zeros_like(room_kwh)
    for index in range(len(room_kwh)):
        rows = np.flatnonzero(site == index)
        drawn[index] = uncontrolled_within_room(sessions.select(rows), energy_kwh[rows], room_kwh[index])
    missing = sum_by(site, energy_kwh, len(room_kwh)) - drawn.sum(axis=1)
    return drawn, np.maximum(missing, 0.0)
