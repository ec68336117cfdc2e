"""How often set points change."""

from collections import deque

import numpy as np
import numpy.typing as npt

from gateway.observe import SETPOINT_CHANGES, SETPOINT_CHANGES_PER_HOUR

FloatArray = npt.NDArray[np.float64]

_SAME_KW = 1e-6
_HOUR_S = 3600.0
_RISES, _FALLS = (SETPOINT_CHANGES.labels(direction=direction) for direction in ("up", "down"))


class Churn:
    """How often set points of all tenants change: what flickers wears relays and contactors."""

    def __init__(self) -> None:
        """Begin with a quiet hour."""
        self._changes: deque[tuple[float, int]] = deque()
        self._sum = 0
        self._charger_counts: dict[str, int] = {}

    def count(self, before_kw: FloatArray, after_kw: FloatArray, now: float) -> None:
        """Count the set points of one message that differ from those before."""
        risen = int(np.count_nonzero(after_kw > before_kw + _SAME_KW))
        fallen = int(np.count_nonzero(after_kw < before_kw - _SAME_KW))
        _RISES.inc(risen)
        _FALLS.inc(fallen)
        self._changes.append((now, risen + fallen))
        self._sum += risen + fallen

    def tell(self, tenant: str, now: float, charger_count: int) -> None:
        """Tell the rate of the last hour per commanded charger of all tenants.

        Args:
            tenant: Whose chargers were commanded now.
            now: Seconds since 1970-01-01 UTC.
            charger_count: How many of its chargers ever were.
        """
        self._charger_counts[tenant] = charger_count
        while self._changes and self._changes[0][0] <= now - _HOUR_S:
            self._sum -= self._changes.popleft()[1]
        SETPOINT_CHANGES_PER_HOUR.set(self._sum / max(sum(self._charger_counts.values()), 1))
