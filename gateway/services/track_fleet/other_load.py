"""What flows at connection points beside the chargers: other load above 0, own generation below, from registers read together."""

import numpy as np
import numpy.typing as npt

from gateway.domain.rare_column import RareColumn

FloatArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.int64]

WINDOW_S = 60.0
"""Mean power over at least so long: registers count in whole watt-hours."""
_STALE_AFTER_S = 180.0
"""A mean older than this is not known any more."""
_S_PER_HOUR = 3600.0


class OtherLoad:
    """The mean power beside the chargers at P connection points with C chargers behind them."""

    def __init__(self, point_count: int, point_of: npt.NDArray[np.int32]) -> None:
        """Begin with nothing known.

        Args:
            point_count: Number of connection points.
            point_of: Connection point of each charger, shape (C,); -1 without one.
        """
        self._point_of = point_of
        self._meter_kwh = np.full(point_count, np.nan)
        self._since = np.full(point_count, np.nan)
        self._charger_kwh = RareColumn(len(point_of), np.nan)
        self._kw = np.full(point_count, np.nan)
        self._at = np.full(point_count, -np.inf)
        self._worst_kw = np.zeros(point_count)

    def carry_over(self, older: "OtherLoad", points: tuple[IndexArray, IndexArray]) -> None:
        """Take over what was measured before the tree changed; the windows that had begun begin anew.

        Args:
            older: As it was.
            points: Places here and there of connection points that are in both.
        """
        new, old = points
        for name in ("_kw", "_at", "_worst_kw"):
            getattr(self, name)[new] = getattr(older, name)[old]

    def shift(self, seconds: float) -> None:
        """Move every instant with a clock that was set by so many seconds."""
        self._since += seconds
        self._at += seconds

    def remember(self, points: IndexArray, kw: FloatArray) -> None:
        """Take note of what was seen before our start: until the first window is over the most of it counts, never as generation.

        Args:
            points: Connection points.
            kw: What flowed there beside the chargers, in kW.
        """
        np.maximum.at(self._worst_kw, points, np.nan_to_num(kw))

    def take(self, points: IndexArray, meter_kwh: FloatArray, at: float, charger_kwh: FloatArray) -> None:
        """Take net registers of connection points that were read with those of their chargers.

        Args:
            points: Connection points that were read.
            meter_kwh: Their net registers.
            at: Instant of the readings, seconds since 1970-01-01 UTC.
            charger_kwh: Registers of all chargers, shape (C,); NaN unknown.
        """
        has_begun = ~np.isnan(self._since[points])
        is_over = has_begun & (at - self._since[points] >= WINDOW_S)
        if has_begun.all() and not is_over.any():
            return
        self._close(points[is_over], meter_kwh[is_over], at, charger_kwh)
        opened = points[is_over | ~has_begun]
        self._meter_kwh[opened] = meter_kwh[is_over | ~has_begun]
        self._since[opened] = at
        behind = np.flatnonzero(np.isin(self._point_of, opened))
        self._charger_kwh.put(behind, charger_kwh[behind])

    def _close(self, points: IndexArray, meter_kwh: FloatArray, at: float, charger_kwh: FloatArray) -> None:
        """Account for a window; chargers that were not read count as other load."""
        drawn = np.nan_to_num(charger_kwh - self._charger_kwh.values)
        is_behind = self._point_of >= 0
        total = np.bincount(self._point_of[is_behind], weights=drawn[is_behind], minlength=len(self._kw))
        hours = (at - self._since[points]) / _S_PER_HOUR
        self._kw[points] = (meter_kwh - self._meter_kwh[points] - total[points]) / hours
        self._at[points] = at
        self._worst_kw[points] = np.maximum(self._worst_kw[points], self._kw[points])

    def kw(self, points: IndexArray, now: float) -> float:
        """Return what flows at some connection points together, in kW.

        A point that is not measured counts at the most that was ever seen there, and never as generation.
        """
        is_known = now - self._at[points] <= _STALE_AFTER_S
        return float(np.where(is_known, np.nan_to_num(self._kw[points]), self._worst_kw[points]).sum())
