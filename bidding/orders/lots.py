"""Profiles in whole lots whose sum is given: every block of an exclusive group buys the same energy, to the lot.

```
   wanted     1.4  1.4  1.4  0.8      sum 5
   running    1.4  2.8  4.2  5.0
   rounded    1    3    4    5        never more than half a lot from the running sum
   lots       1    2    1    1        sum 5
```
"""

import numpy as np

from bidding.arrays import FloatArray, IntArray, finite_vector, require_each
from gateway.domain.errors import InvalidInput

HALF_LOT = 0.5
LOT_TOLERANCE = 1e-9
"""A volume this close (in lots) to a border counts as on it, so that 0.3 MW is three lots of 0.1."""


def whole_lots(volume_lots: FloatArray) -> IntArray:
    """Return the lots that fit below volumes: toward what can be delivered, never above it."""
    return np.floor(volume_lots + LOT_TOLERANCE).astype(np.int64)


def nearest_total(volume_lots: FloatArray, most_lots: float = np.inf) -> int:
    """Return the whole lots nearest to the sum of a profile, and never above what can be delivered in all.

    Args:
        volume_lots: Profile in lots per period.
        most_lots: Most the fleet can take over the whole day, in lots.
    """
    nearest = np.floor(float(volume_lots.sum()) + HALF_LOT + LOT_TOLERANCE)
    return int(min(nearest, np.floor(most_lots + LOT_TOLERANCE)))


def lots_with_total(volume_lots: FloatArray, total: int, capability_lots: FloatArray) -> IntArray | None:
    """Round a profile to whole lots with a given sum, by error diffusion, never above what can be drawn.

    The profile is scaled to the sum, and the running sum of lots stays within half a lot of the running sum of the profile
    wherever capability does not cut. What a cut leaves out is made up for by at most one lot per period, later if there is
    room, otherwise as late as there is room earlier; periods that the profile uses come first.

    Args:
        volume_lots: Wanted volume per period in lots, at least 0.
        total: Sum of the result, at least 0.
        capability_lots: Most that can be drawn per period, in lots.

    Returns:
        Lots per period, or None when capability has no room for the total.

    Raises:
        InvalidInput: A negative volume or total, or volumes without energy for a total above 0.
    """
    wanted = finite_vector("volume_lots", volume_lots)
    require_each("volume_lots", wanted >= 0.0, "must be at least 0")
    room = np.maximum(whole_lots(finite_vector("capability_lots", capability_lots, len(wanted))), 0)
    energy = float(wanted.sum())
    if total < 0 or (total > 0 and energy <= 0.0):
        raise InvalidInput("total", "must be at least 0, and 0 for a profile without energy")
    if total == 0:
        return np.zeros(len(wanted), dtype=np.int64)
    if int(room.sum()) < total:
        return None
    lots = _diffused(wanted * (total / energy), room)
    _add_missing(lots, total - int(lots.sum()), room, wanted)
    return lots


def _diffused(wanted: FloatArray, room: IntArray) -> IntArray:
    lots = np.zeros(len(wanted), dtype=np.int64)
    carried = 0.0
    for period, volume in enumerate(wanted):
        target = volume + min(carried, 1.0)
        lots[period] = min(max(int(np.floor(target + HALF_LOT + LOT_TOLERANCE)), 0), int(room[period]))
        carried += volume - lots[period]
    return lots


def _add_missing(lots: IntArray, missing: int, room: IntArray, wanted: FloatArray) -> None:
    """Add lots one by one from the last period backwards, in place: first where the profile draws anyway."""
    for allowed in (wanted > 0.0, np.ones(len(wanted), dtype=np.bool_)):
        while missing > 0:
            free = np.flatnonzero(allowed & (lots < room))[::-1][:missing]
            if not free.size:
                break
            lots[free] += 1
            missing -= len(free)
