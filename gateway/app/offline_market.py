"""What the command line says about market data in the database: prices with where they come from, and what is wrong with them.

Reads only, so it works beside a running gateway.
"""

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

from gateway.app.offline import clock_of
from gateway.domain.errors import InvalidInput
from gateway.domain.identity import system_principal
from gateway.domain.market_asking import SourceBan
from gateway.domain.market_findings import Finding
from gateway.domain.series import (
    PUBLICATION,
    CarbonSeries,
    DayState,
    MarketDayStatus,
    PriceProduct,
    PriceSeries,
    Quality,
)
from gateway.domain.site_tariff import ILLUSTRATIVE, SiteTariff
from gateway.domain.timegrid import DeliveryDay, zone_of
from gateway.ids import RandomIds
from gateway.market_data.file_findings import FileReport, examine
from gateway.market_data.table_file import is_table, read_table
from gateway.ports import Clock, Store
from gateway.services.gather_market_data import GatherSettings, MarketDataGatherer
from gateway.settings import Settings
from gateway.storage.store import SqlStore

STALE_AFTER = timedelta(days=1)
"""A day that is still open and was not looked at for so long has been forgotten by the loop."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MarketDesk:
    """The store, its clock, and a reader of market data over both."""

    store: Store
    clock: Clock
    reader: MarketDataGatherer


@asynccontextmanager
async def open_desk(settings: Settings) -> AsyncIterator[MarketDesk]:
    """Open the database for reading; works beside a running gateway."""
    clock = clock_of(settings)
    async with SqlStore.open(settings.store.url, clock, read_only=True) as store:
        rules = GatherSettings(tenants=settings.tenants, time_zones=settings.time_zones)
        reader = MarketDataGatherer(
            store=store, clock=clock, ids=RandomIds(), price_sources={}, carbon_sources={}, settings=rules
        )
        yield MarketDesk(store=store, clock=clock, reader=reader)


def day_of(settings: Settings, zone: str, day: date) -> DeliveryDay:
    """Return a delivery day of a zone's market.

    Raises:
        InvalidInput: The settings have no time zone for the zone.
    """
    time_zone = settings.time_zones.get(zone)
    if time_zone is None:
        known = ", ".join(sorted(settings.time_zones)) or "none"
        raise InvalidInput("zone", f"{zone!r} has no time zone in the settings; known are {known}")
    return DeliveryDay(day=day, zone=time_zone)


async def prices_of(
    settings: Settings, zone: str, product: PriceProduct, day: date, known_at: datetime | None
) -> PriceSeries:
    """Return the prices of a delivery day, as known now or at an instant.

    Raises:
        InvalidInput: The zone is not one of the settings.
        NotFound: Nothing is, or was, known.
    """
    wanted = day_of(settings, zone, day)
    principal = system_principal(settings.tenants[0], "market")
    async with open_desk(settings) as desk:
        if known_at is None:
            return await desk.reader.prices(principal, zone, product, wanted)
        return await desk.reader.prices_as_known(principal, zone, product, wanted, known_at)


def told(series: PriceSeries, day: DeliveryDay) -> Iterator[str]:
    """Yield a day's prices as lines: where they come from, then every delivery period on the wall clock of the market."""
    published = "" if series.published_at is None else f", published {series.published_at:%Y-%m-%d %H:%M}Z"
    yield f"{series.zone} {series.product.value} {day.day.isoformat()} in {series.currency} per MWh"
    yield (
        f"source {series.source}, {series.quality.value}{published}, fetched {series.fetched_at:%Y-%m-%d %H:%M}Z, "
        f"licence {series.licence}"
    )
    if series.note:
        yield f"note: {series.note}"
    local = zone_of(day.zone)
    for start, price in zip(series.grid.starts(), series.prices_per_mwh, strict=True):
        wall = start.astimezone(local)
        yield f"{wall:%H:%M%z}  {'gap' if price is None else price:>10}"


async def findings(settings: Settings, *, days: int) -> list[Finding]:
    """Return what is missing, stale, contradictory or stood in for in the market data of the last days, newest first.

    Args:
        settings: The deployment.
        days: How many delivery days to look back, today included; tomorrow is looked at once it should be published.
    """
    place = settings.price_zone
    if place is None:
        return []
    found: list[Finding] = []
    async with open_desk(settings) as desk:
        now = desk.clock.now()
        today = DeliveryDay.containing(now, place.time_zone)
        for tenant in settings.tenants:
            since = today.next(1 - days).interval.start
            rows = await desk.store.find(MarketDayStatus, tenant, {"zone": place.zone}, newest_first=True, limit=10_000)
            statuses = {row.record.id: row.record for row in rows}
            for product in sorted({status.product for status in statuses.values()}):
                for back in range(-1, days):
                    day = today.next(-back)
                    if now >= PUBLICATION[product].late_at(day):
                        key = f"{place.zone}:{product.value}:{day.day.isoformat()}"
                        found += await _price_findings(desk, tenant, key, statuses.get(key))
            bans = [
                row.record for row in await desk.store.find(SourceBan, tenant, limit=10_000) if row.record.until > now
            ]
            found += [_banned(ban) for ban in bans]
            carbon = await desk.store.find(CarbonSeries, tenant, {"zone": place.zone}, since=since, limit=10_000)
            found += _carbon_findings([row.record for row in carbon])
    return found


def _banned(ban: SourceBan) -> Finding:
    why = f"asked to be left alone at {ban.banned_at:%Y-%m-%d %H:%M}Z: it is not called before {ban.until:%Y-%m-%d %H:%M}Z"
    return Finding(kind="stale", what=f"source {ban.id}", why=why)


async def _price_findings(desk: MarketDesk, tenant: str, what: str, status: MarketDayStatus | None) -> list[Finding]:
    if status is None:
        return [Finding(kind="missing", what=what, why="the day was never looked at")]
    found: list[Finding] = []
    if status.series_id is None:
        found.append(Finding(kind="missing", what=what, why=status.note or "no source has published it"))
    elif status.missing_count > 0:
        found.append(Finding(kind="gaps", what=what, why=f"{status.missing_count} delivery periods have no price"))
    if status.state is DayState.DECOUPLED:
        found.append(Finding(kind="missing", what=what, why="the coupling published nothing by its deadline"))
    if status.state is not DayState.COMPLETE and desk.clock.now() - status.checked_at > STALE_AFTER:
        found.append(Finding(kind="stale", what=what, why=f"not looked at since {status.checked_at:%Y-%m-%d %H:%M}Z"))
    if "differs" in status.cross_check:
        found.append(Finding(kind="contradictory", what=what, why=status.cross_check))
    row = None if status.series_id is None else await desk.store.get(PriceSeries, tenant, status.series_id)
    if row is not None and row.record.quality is Quality.SUBSTITUTED:
        found.append(Finding(kind="stand-in", what=what, why=row.record.note))
    if row is not None and row.record.quality is Quality.ESTIMATED:
        found.append(Finding(kind="estimated", what=what, why=row.record.note))
    return found


def _carbon_findings(carbon: list[CarbonSeries]) -> list[Finding]:
    latest: dict[tuple[str, datetime], CarbonSeries] = {}
    for series in sorted(carbon, key=lambda one: one.fetched_at):
        latest[series.zone, series.grid.start] = series
    found = []
    for series in latest.values():
        gaps = sum(value is None for value in series.intensity_g_per_kwh)
        what = f"{series.zone}:carbon-{series.kind.value}:{series.grid.start:%Y-%m-%dT%H:%M}Z"
        if gaps:
            found.append(Finding(kind="gaps", what=what, why=f"{gaps} slots have no intensity from {series.source}"))
        if series.quality is Quality.SUBSTITUTED:
            found.append(Finding(kind="stand-in", what=what, why=series.note))
    return found


def file_reports(
    files: Iterable[Path], *, folder: Path | None, time_zone: str, against: Path | None
) -> Iterator[FileReport | str]:
    """Yield what is wrong with files of market data, in the order of their names.

    Args:
        files: Files to look at.
        folder: Its tables are looked at too, whatever lies below; for one that cannot be looked at, why not is yielded as text.
        time_zone: IANA time zone of the market, for clock changes.
        against: A file of the same prices to compare with.

    Raises:
        InvalidInput: A file that was named cannot be read; the field says why.
    """
    other = None if against is None else read_table(against)
    for file in files:
        yield examine(read_table(file), time_zone=time_zone, against=other)
    for file in () if folder is None else sorted(path for path in folder.rglob("*") if is_table(path)):
        try:
            yield examine(read_table(file), time_zone=time_zone, against=other)
        except InvalidInput as error:
            yield f"{file.name} is skipped: {error}"


def tariff_lines(tariff: SiteTariff, day: date) -> Iterator[str]:
    """Yield what a site pays on a day: each layer, then the sum per MWh where it changes on the wall clock.

    Raises:
        InvalidInput: The tariff does not cover the day.
    """
    yield f"{tariff.name} on {day.isoformat()}, {tariff.currency}, licence {tariff.licence}"
    yield f"source {tariff.source}"
    for layer in tariff.layers:
        until = "" if layer.valid_until is None else f" to {layer.valid_until.isoformat()}"
        state = "" if layer.is_valid_on(day) else ", not valid on this day"
        yield f"  {layer.name} ({layer.kind.value}, {layer.unit.value}) from {layer.valid_from.isoformat()}{until}{state}"
        if layer.is_illustrative or layer.source:
            yield f"    {ILLUSTRATIVE if layer.is_illustrative else f'source {layer.source}'}"
    demand = tariff.demand_per_kw(day)
    if demand > 0:
        yield f"{demand} {tariff.currency} per kW of the month's highest power"
    delivery = DeliveryDay(day=day, zone=tariff.time_zone)
    local, before = zone_of(tariff.time_zone), None
    for start, price in zip(delivery.grid().starts(), tariff.prices_per_mwh(delivery), strict=True):
        if price != before:
            yield f"{start.astimezone(local):%H:%M%z}  {price:>10} {tariff.currency} per MWh"
        before = price
