"""What the command line says about market data in the database: prices with where they come from, and what is wrong with them.

Reads only, so it works beside a running gateway.
"""

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from gateway.app.offline import clock_of
from gateway.domain.errors import InvalidInput
from gateway.domain.identity import system_principal
from gateway.domain.series import (
    PriceProduct,
    PriceSeries,
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
    local, slot = zone_of(day.zone), 0
    for run in series.runs:
        minutes, since = int(run.native_step.total_seconds()) // 60, series.grid.slot_start(slot).astimezone(local)
        yield f"from {since:%H:%M%z}: native resolution {minutes} minutes, {run.quality.value}, source {run.source}"
        slot += run.count
    for start, price in zip(series.grid.starts(), series.prices_per_mwh, strict=True):
        wall = start.astimezone(local)
        yield f"{wall:%H:%M%z}  {'gap' if price is None else price:>10}"


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
