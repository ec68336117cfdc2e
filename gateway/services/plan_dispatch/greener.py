"""Cars whose driver asked for low carbon wait for cleaner quarter-hours, where no schedule says when they charge.

A bid's schedule weighs carbon for the whole portfolio already (`services.plan_bids`), and cars below one follow it. For the others
the rule of `bidding.goals.cleaner` decides at the beginning of each quarter-hour, and when a car comes, on the forecast known then.
What a driver was promised goes first: a car is said to need more than it does (cars slow down near full) and a quarter-hour is
kept in hand; who must run, was boosted, said neither energy nor departure, or would not wake up after a pause does not wait.
"""

import numpy as np
import numpy.typing as npt

from bidding.goals.cleaner import charges_now
from gateway.domain.fleet import FleetView
from gateway.domain.series import CarbonSeries
from gateway.domain.units import QUARTER_HOUR
from gateway.ports import Store
from gateway.services.plan_dispatch.wants import TAPER_SHARE, Wants

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_SLOT_S = QUARTER_HOUR.total_seconds()
_AHEAD = 96
"""Slots of the forecast that are looked at."""
_IN_HAND = 1
"""Slots before the departure that are not counted on."""


class CarbonForecast:
    """The carbon intensity of one zone in the present quarter-hour and those after it, as known now."""

    def __init__(self, store: Store, tenant: str, zone: str) -> None:
        """Begin with nothing known; an empty zone never knows anything."""
        self._store = store
        self._tenant = tenant
        self._zone = zone
        self._first = 0
        self._grams = np.zeros(0)

    async def load(self, now: float) -> None:
        """Read what is known; average and marginal, direct and lifecycle never meet: the newest series says which it is.

        Args:
            now: Seconds since 1970-01-01 UTC.
        """
        if not self._zone:
            return
        rows = await self._store.find(CarbonSeries, self._tenant, {"zone": self._zone}, newest_first=True, limit=_AHEAD)
        known = sorted((row.record for row in rows), key=lambda one: one.fetched_at)
        self._first, self._grams = int(now // _SLOT_S), np.full(2 * _AHEAD, np.nan)
        for series in known:
            if series.measure == known[-1].measure:
                self._lay(series)

    def _lay(self, series: CarbonSeries) -> None:
        """Lay a series over what is known; newer ones come later."""
        step = max(1, series.grid.step // QUARTER_HOUR)
        for start, value in zip(series.grid.starts(), series.intensity_g_per_kwh, strict=True):
            slot = int(start.timestamp() // _SLOT_S) - self._first
            if value is not None and slot + step > 0 and slot < len(self._grams):
                self._grams[max(slot, 0) : slot + step] = value

    def ahead(self, now: float) -> FloatArray:
        """Return the intensities in g/kWh from the present quarter-hour up to the first one that is not known."""
        known = self._grams[max(int(now // _SLOT_S) - self._first, 0) :][:_AHEAD]
        gaps = np.flatnonzero(np.isnan(known))
        return known[: gaps[0]] if gaps.size else known


class GreenWaits:
    """Who waits, decided once per car and quarter-hour: nothing flickers within one."""

    def __init__(self, forecast: CarbonForecast) -> None:
        """Remember who knows the forecast."""
        self._forecast = forecast
        self._slot = -1
        self._arrival = np.zeros(0)
        self._waits = np.zeros(0, dtype=bool)

    def of(self, view: FleetView, wants: Wants, is_planned: BoolArray, now: float) -> BoolArray:
        """Return which cars wait for cleaner electricity now, shape (C,).

        Args:
            view: The fleet.
            wants: What the cars want.
            is_planned: Which are below a schedule, shape (C,).
            now: Seconds of the clock.
        """
        count, slot = len(view.max_kw), int(now // _SLOT_S)
        if view.data is None:
            return np.zeros(count, dtype=bool)
        if len(self._arrival) != count:
            self._slot, self._arrival, self._waits = -1, np.full(count, np.nan), np.zeros(count, dtype=bool)
        is_new = np.full(count, slot != self._slot) | (self._arrival != view.arrival)
        may_wait = _may_wait(view, wants, is_planned)
        asked = np.flatnonzero(is_new & may_wait)
        self._waits[is_new] = False
        if asked.size:
            needed, left = _slots(view, asked, now)
            self._waits[asked] = ~charges_now(needed, left, self._forecast.ahead(now))
        self._slot, self._arrival = slot, view.arrival.copy()
        return self._waits & may_wait


def _may_wait(view: FleetView, wants: Wants, is_planned: BoolArray) -> BoolArray:
    if view.data is None:
        return np.zeros(len(view.max_kw), dtype=bool)
    is_promised = ~np.isnan(view.energy_needed_kwh) & ~np.isnan(view.expected_departure)
    free = view.has_session & view.data.is_greenest & ~view.data.is_boosted & ~wants.must_run & ~is_planned
    wakes = np.ones(len(view.max_kw), dtype=bool) if view.tree.wiring is None else view.tree.wiring.wakes_after_pause
    return np.asarray(free & is_promised & wakes & (wants.wanted_kw > 0.0))


def _slots(view: FleetView, cars: npt.NDArray[np.int64], now: float) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """Return how many slots cars still need at their rate, with what slowing down takes, and how many they may wait for."""
    left_kwh = np.maximum(view.energy_needed_kwh[cars] - view.delivered_kwh[cars], 0.0)
    needed = left_kwh * 3600.0 / (view.session_max_kw[cars] * _SLOT_S) * (1.0 + TAPER_SHARE)
    left = np.floor((view.expected_departure[cars] - now) / _SLOT_S).astype(np.int64) - _IN_HAND
    return needed, np.maximum(left, 0)
