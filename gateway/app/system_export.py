"""Demand and forecasts of demand, wind and sun in the database, as lines and as a table for other programs. Reads only."""

import csv
from collections.abc import AsyncIterator, Iterator
from datetime import date, datetime
from pathlib import Path

from gateway.app.offline_market import day_of, open_desk
from gateway.domain.errors import NotFound
from gateway.domain.identity import system_principal
from gateway.domain.system_series import SystemKind, SystemSeries
from gateway.domain.timegrid import DeliveryDay, zone_of
from gateway.services.gather_market_data import GatherSettings, SystemGatherer
from gateway.settings import Settings

_COLUMNS = (
    "start_utc",
    "end_utc",
    "power_mw",
    "zone",
    "kind",
    "source",
    "published_at",
    "fetched_at",
    "licence",
)


async def system_of(
    settings: Settings, zone: str, kind: SystemKind, day: date, known_at: datetime | None
) -> SystemSeries:
    """Return the series of a delivery day, as known now or at an instant.

    Raises:
        InvalidInput: The zone is not one of the settings.
        NotFound: Nothing is, or was, known.
    """
    [series] = [one async for one in _days(settings, zone, kind, (day, day), known_at)]
    if isinstance(series, DeliveryDay):
        raise NotFound("system-series", f"{zone}:{kind.value}:{day.isoformat()}")
    return series


def system_lines(series: SystemSeries, day: DeliveryDay) -> Iterator[str]:
    """Yield a series as lines: where it comes from, then every slot on the wall clock of the market, gaps as gaps."""
    published = "" if series.published_at is None else f", published {series.published_at:%Y-%m-%d %H:%M}Z"
    yield f"{series.zone} {series.kind.value} {day.day.isoformat()} in MW"
    yield f"source {series.source}{published}, fetched {series.fetched_at:%Y-%m-%d %H:%M}Z, licence {series.licence}"
    local = zone_of(day.zone)
    for start, power in zip(series.grid.starts(), series.power_mw, strict=True):
        yield f"{start.astimezone(local):%H:%M%z}  {'gap' if power is None else f'{power:>10g}'}"


async def export_system(
    settings: Settings, zone: str, kind: SystemKind, span: tuple[date, date], out: Path
) -> tuple[int, tuple[str, ...]]:
    """Write the series of several delivery days as CSV, gaps as empty cells.

    Args:
        settings: The deployment.
        zone: Bidding zone.
        kind: What the power is the power of.
        span: First and last delivery day.
        out: File to write.

    Returns:
        How many slots were written, and the days that are not known at all.
    """
    count, unknown = 0, []
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        async for one in _days(settings, zone, kind, span, None):
            if isinstance(one, DeliveryDay):
                unknown.append(one.day.isoformat())
            else:
                writer.writerows(_rows(one))
                count += one.grid.count
    return count, tuple(unknown)


async def _days(
    settings: Settings, zone: str, kind: SystemKind, span: tuple[date, date], known_at: datetime | None
) -> AsyncIterator[SystemSeries | DeliveryDay]:
    """Yield the series of each day of a span, or the day itself when nothing is known of it."""
    principal = system_principal(settings.tenants[0], "market")
    day = day_of(settings, zone, span[0])
    rules = GatherSettings(tenants=settings.tenants, time_zones=settings.time_zones)
    async with open_desk(settings) as desk:
        reader = SystemGatherer(store=desk.store, clock=desk.clock, sources={}, settings=rules)
        while day.day <= span[1]:
            try:
                yield await reader.series(principal, zone, kind, day, known_at)
            except NotFound:
                yield day
            day = day.next()


def _rows(series: SystemSeries) -> Iterator[tuple[str, ...]]:
    published = "" if series.published_at is None else series.published_at.isoformat()
    for start, power in zip(series.grid.starts(), series.power_mw, strict=True):
        yield (
            start.isoformat(),
            (start + series.grid.step).isoformat(),
            "" if power is None else repr(power),
            series.zone,
            series.kind.value,
            series.source,
            published,
            series.fetched_at.isoformat(),
            series.licence,
        )
