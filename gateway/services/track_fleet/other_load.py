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
_S_PER_DAY = 86_400.0
_MOST_OF_RATING = 10.0
"""A mean beyond so many times the rating of the site is no power: a meter was exchanged or a unit mistaken. Buildings and roofs may
well be larger than what the chargers are allowed."""
_MOST_OF_CHARGER = 2.0
"""A charger whose register moved by more than so many times its rating was not read."""


class OtherLoad:
    """The mean power beside the chargers at P connection points with C chargers behind them.

    A point that was never measured counts 0: paragraph 14a EnWG bounds what controllable devices draw, and nothing is known of own
    generation that would carry more of it.
    """

    def __init__(self, point_of: npt.NDArray[np.int32], rating_kw: FloatArray, charger_max_kw: FloatArray) -> None:
        """Begin with nothing known.

        Args:
            point_of: Connection point of each charger, shape (C,); -1 without one.
            rating_kw: Rating of the site behind each connection point, shape (P,).
            charger_max_kw: Rating of each charger, shape (C,).
        """
        point_count = len(rating_kw)
        self._point_of = point_of
        self._most_kw = _MOST_OF_RATING * rating_kw
        self._charger_max_kw = charger_max_kw
        self._meter_kwh = np.full(point_count, np.nan)
        self._since = np.full(point_count, np.nan)
        self._charger_kwh = RareColumn(len(point_of), np.nan)
        self._kw = np.full(point_count, np.nan)
        self._at = np.full(point_count, -np.inf)
        self._worst_kw = np.zeros((2, point_count))
        """The most that was seen since `_worst_since`, and on the day before."""
        self._worst_since = np.full(point_count, -np.inf)

    def carry_over(self, older: "OtherLoad", points: tuple[IndexArray, IndexArray]) -> None:
        """Take over what was measured before the tree changed; the windows that had begun begin anew.

        Args:
            older: As it was.
            points: Places here and there of connection points that are in both.
        """
        new, old = points
        for name in ("_kw", "_at", "_worst_kw", "_worst_since"):
            getattr(self, name)[..., new] = getattr(older, name)[..., old]

    def shift(self, seconds: float) -> None:
        """Move every instant with a clock that was set by so many seconds."""
        self._since += seconds
        self._at += seconds
        self._worst_since += seconds

    def remember(self, points: IndexArray, kw: FloatArray) -> None:
        """Take note of what was seen before our start: until the first window is over the most of it counts, never as generation.

        Args:
            points: Connection points.
            kw: What flowed there beside the chargers, in kW.
        """
        np.maximum.at(self._worst_kw[0], points, np.minimum(np.nan_to_num(kw), self._most_kw[points]))

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
        """Account for a window; chargers that were not read count as other load, more than can be as the most that can."""
        hours = np.full(len(self._kw) + 1, np.nan)  # the last is that of chargers without a connection point
        hours[points] = (at - self._since[points]) / _S_PER_HOUR
        drawn = charger_kwh - self._charger_kwh.values
        is_read = np.abs(drawn) <= _MOST_OF_CHARGER * self._charger_max_kw * hours[self._point_of]
        total = np.bincount(self._point_of[is_read], weights=drawn[is_read], minlength=len(self._kw))
        kw = (meter_kwh - self._meter_kwh[points] - total[points]) / hours[points]
        is_believed = kw >= -self._most_kw[points]
        believed = points[is_believed]
        self._kw[believed] = np.minimum(kw[is_believed], self._most_kw[believed])
        self._at[believed] = at
        self._keep_worst(believed, at)

    def _keep_worst(self, points: IndexArray, at: float) -> None:
        """Remember the most of this day and the last; a point that falls silent is not forgotten."""
        over = points[at - self._worst_since[points] >= _S_PER_DAY]
        self._worst_kw[1, over] = self._worst_kw[0, over]
        self._worst_kw[0, over] = 0.0
        self._worst_since[over] = at
        self._worst_kw[0, points] = np.maximum(self._worst_kw[0, points], self._kw[points])

    def kw(self, points: IndexArray, now: float) -> float:
        """Return what flows at some connection points together, in kW.

        A point that is not measured counts at the most that was seen there on its last two days, and never as generation.
        """
        is_known = now - self._at[points] <= _STALE_AFTER_S
        return float(np.where(is_known, self._kw[points], self._worst_kw[:, points].max(axis=0)).sum())
