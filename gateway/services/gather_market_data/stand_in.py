"""What stands in for prices that were never published: another day's, on this day's wall clock, and labelled so."""

import dataclasses
from datetime import datetime
from decimal import Decimal

from gateway.domain.series import PriceProduct, PriceSeries, Quality, price_series_id
from gateway.domain.timegrid import DeliveryDay, zone_of


def shifted_series(past: PriceSeries, past_day: DeliveryDay, day: DeliveryDay, now: datetime) -> PriceSeries:
    """Return the prices of one day on the wall clock of another, labelled as a stand-in.

    On a day with a clock change the repeated hour takes the value of its wall-clock time, the missing one is left out.
    """
    local = zone_of(day.zone)
    by_clock: dict[tuple[int, int], Decimal | None] = {}
    for start, price in zip(past.grid.starts(), past.prices_per_mwh, strict=True):
        wall = start.astimezone(local)
        by_clock.setdefault((wall.hour, wall.minute), price)
    grid = day.grid(past.grid.step)
    walls = [start.astimezone(local) for start in grid.starts()]
    # The hour that the past day skipped takes the value of the hour before it.
    prices = [by_clock.get((w.hour, w.minute), by_clock.get((w.hour - 1, w.minute))) for w in walls]
    series = dataclasses.replace(
        past,
        grid=grid,
        prices_per_mwh=tuple(prices),
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
        note=f"stand-in: prices of the local auction, because the coupling published none for {day.day.isoformat()}",
    )
    return dataclasses.replace(series, id=price_series_id(series, day))
