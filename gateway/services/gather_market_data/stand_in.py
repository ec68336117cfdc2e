"""What stands in for prices that were never published: another day's, on this day's wall clock, and labelled so."""

import dataclasses
from datetime import datetime, timedelta
from decimal import Decimal

from gateway.domain.series import (
    MarketDayStatus,
    PriceProduct,
    PriceSeries,
    Quality,
    market_day_id,
    price_series_id,
    slot_runs,
)
from gateway.domain.timegrid import DeliveryDay, zone_of
from gateway.ports import Clock, Store

_WEEK_DAYS = 7
_MOST_WEEKS = 4
"""Prices of more than so many weeks ago say nothing of tomorrow."""


class StandIns:
    """Finds what stands in among the prices that are kept."""

    def __init__(self, store: Store, clock: Clock) -> None:
        """Take the ports."""
        self._store = store
        self._clock = clock

    async def of(self, tenant: str, zone: str, product: PriceProduct, day: DeliveryDay) -> PriceSeries | None:
        """Return what stands in: the zone's own auction, else the prices of the last same weekday that has its own; or None."""
        local = await self._kept(tenant, zone, PriceProduct.DAY_AHEAD_LOCAL, day)
        if local is not None and product is PriceProduct.DAY_AHEAD_SDAC:
            return local_series(local, day, self._clock.now())
        for weeks in range(1, _MOST_WEEKS + 1):
            past_day = day.next(-_WEEK_DAYS * weeks)
            past = await self._kept(tenant, zone, product, past_day)
            if past is not None and past.quality is not Quality.SUBSTITUTED:
                return shifted_series(past, past_day, day, self._clock.now())
        return None

    async def _kept(self, tenant: str, zone: str, product: PriceProduct, day: DeliveryDay) -> PriceSeries | None:
        """Return the prices of a day when all of them are there."""
        row = await self._store.get(MarketDayStatus, tenant, market_day_id(zone, product, day))
        if row is None or row.record.series_id is None:
            return None
        stored = await self._store.get(PriceSeries, tenant, row.record.series_id)
        return stored.record if stored is not None and stored.record.is_complete else None


def shifted_series(past: PriceSeries, past_day: DeliveryDay, day: DeliveryDay, now: datetime) -> PriceSeries:
    """Return the prices of one day on the wall clock of another, labelled as a stand-in.

    On a day with a clock change the repeated hour takes the value of its wall-clock time, the missing one is left out.
    """
    local = zone_of(day.zone)
    by_clock: dict[tuple[int, int], tuple[Decimal | None, timedelta]] = {}
    for start, price, origin in zip(past.grid.starts(), past.prices_per_mwh, past.origin_of_slot, strict=True):
        wall = start.astimezone(local)
        by_clock.setdefault((wall.hour, wall.minute), (price, origin.native_step))
    grid = day.grid(past.grid.step)
    walls = [start.astimezone(local) for start in grid.starts()]
    # The hour that the past day skipped takes the value of the hour before it.
    found = [by_clock.get((w.hour, w.minute), by_clock.get((w.hour - 1, w.minute), (None, grid.step))) for w in walls]
    series = dataclasses.replace(
        past,
        grid=grid,
        prices_per_mwh=tuple(price for price, _ in found),
        runs=slot_runs(
            [(step, past.source, Quality.SUBSTITUTED) for _, step in found],
            (grid.step, past.source, Quality.SUBSTITUTED),
        ),
        published_at=None,
        fetched_at=now,
        quality=Quality.SUBSTITUTED,
        note=f"stand-in: prices of {past_day.day.isoformat()}, because none were published for {day.day.isoformat()}",
    )
    return dataclasses.replace(series, id=price_series_id(series, day))


def local_series(local: PriceSeries, day: DeliveryDay, now: datetime) -> PriceSeries:
    """Return the prices of the zone's own auction in place of the coupled one's, labelled as a stand-in."""
    series = dataclasses.replace(
        local,
        product=PriceProduct.DAY_AHEAD_SDAC,
        fetched_at=now,
        quality=Quality.SUBSTITUTED,
        runs=tuple(dataclasses.replace(run, quality=Quality.SUBSTITUTED) for run in local.runs),
        note=f"stand-in: prices of the local auction, because the coupling published none for {day.day.isoformat()}",
    )
    return dataclasses.replace(series, id=price_series_id(series, day))
