"""What a node is expected to draw in the coming hours, from what it drew: the present, then the same time yesterday.

```
 now          +1 h                    +2 h                                        +1 day
  |--present---|--yesterday, else present--|--yesterday at the same time, else unknown--|
```

Good enough to tell before an event what it should change; bids and schedules have forecasts of their own. Nothing is read from disk:
the answer is needed while a grid partner waits for ours.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from gateway.domain.errors import NotFound
from gateway.domain.timegrid import TimeGrid
from gateway.ports import Clock

FloatArray = npt.NDArray[np.float64]
NodePower = Callable[[str, str, datetime], tuple[Sequence[datetime], FloatArray]]
"""Instants and mean power in kW of a tenant's node since an instant; NaN is unknown."""

_DAY_S = 86_400.0
_BIN_S = 900.0
_PRESENT = timedelta(minutes=15)
"""The present is the mean over so long."""
_FIRST = timedelta(hours=1)
"""For so long the present says more than yesterday."""
_LAST = timedelta(hours=2)
"""For so long the present stands in where yesterday is not known."""
_PAST = timedelta(hours=34)
_KEPT_S = 60.0
"""Market seconds for which what was computed is used again."""
_KNOWN_SHARE = 0.5
"""With less of the time known, nobody knows."""


@dataclass(frozen=True, slots=True)
class _Past:
    """What was measured, as seen at an instant."""

    at: datetime
    present_kw: float
    mean_kw: dict[int, float]
    """Mean power by quarter-hour since 1970-01-01 UTC."""


class PowerExpectation:
    """Remembers for a minute what it has worked out for a node."""

    def __init__(self, node_power: NodePower, clock: Clock) -> None:
        """Remember who measures."""
        self._node_power = node_power
        self._clock = clock
        self._pasts: dict[tuple[str, str], _Past] = {}

    def __call__(self, tenant: str, node_id: str, grid: TimeGrid) -> FloatArray | None:
        """Return the power of a node in kW per slot; None when less than half of it is known.

        Slots that are not known take the mean of those that are.
        """
        past = self._past(tenant, node_id)
        starts = grid.start.timestamp() + np.arange(grid.count) * grid.step.total_seconds()
        ahead_s = starts - past.at.timestamp()
        yesterday = np.array(
            [past.mean_kw.get(int(instant // _BIN_S), np.nan) for instant in (starts - _DAY_S).tolist()]
        )
        is_near = (ahead_s < _FIRST.total_seconds()) | (np.isnan(yesterday) & (ahead_s < _LAST.total_seconds()))
        expected = np.where(is_near & ~np.isnan(past.present_kw), past.present_kw, yesterday)
        is_known = ~np.isnan(expected)
        if is_known.mean() < _KNOWN_SHARE:
            return None
        return np.asarray(np.where(is_known, expected, expected[is_known].mean()))

    def _past(self, tenant: str, node_id: str) -> _Past:
        now = self._clock.now()
        known = self._pasts.get((tenant, node_id))
        if known is not None and 0.0 <= (now - known.at).total_seconds() < _KEPT_S:
            return known
        past = self._read(tenant, node_id, now)
        self._pasts[tenant, node_id] = past
        return past

    def _read(self, tenant: str, node_id: str, now: datetime) -> _Past:
        try:
            times, power = self._node_power(tenant, node_id, now - _PAST)
        except NotFound:
            return _Past(now, float("nan"), {})
        seconds = np.array([instant.timestamp() for instant in times])
        is_known = ~np.isnan(power)
        seconds, power = seconds[is_known], power[is_known]
        bins, place = np.unique((seconds // _BIN_S).astype(np.int64), return_inverse=True)
        means = np.bincount(place, weights=power) / np.maximum(np.bincount(place), 1)
        recent = power[seconds >= (now - _PRESENT).timestamp()]
        present = float(recent.mean()) if recent.size else float("nan")
        return _Past(now, present, dict(zip(bins.tolist(), means.tolist(), strict=True)))
