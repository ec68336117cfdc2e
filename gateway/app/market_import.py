"""Market data from files and, on request, from the configured sources: what the command line imports, fetches and compares."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import aiohttp

from gateway.app.offline import clock_of
from gateway.app.offline_market import day_of
from gateway.app.peers import PriceKey, entsoe_endpoint, price_sources, tariff_prices
from gateway.domain.errors import NotFound
from gateway.domain.series import MarketDayStatus, PriceProduct, PriceSeries, market_day_id, missing_slots
from gateway.domain.timegrid import DeliveryDay
from gateway.ids import RandomIds
from gateway.market_data.entsoe import READER_MEMORY_BYTES
from gateway.market_data.price_file import FileTerms, PriceFile
from gateway.market_data.table_file import read_table
from gateway.ports import Clock, PriceSource, Store
from gateway.services.gather_market_data import (
    GatherSettings,
    MarketDataGatherer,
    SourceAnswer,
    SourceBans,
    ask_sources,
    better,
    says_the_same,
)
from gateway.settings import Settings
from gateway.storage.store import SqlStore
from gateway.workers import ProcessWorker

_SQLITE = "sqlite:///"


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportedDay:
    """What an import does, or would do, to one delivery day."""

    day: str
    missing_count: int
    """Delivery periods without a price in the file."""
    fate: str
    """`new`, `revised`, `same`, or `refused` with the reason after a colon."""


async def import_prices(settings: Settings, file: Path, terms: FileTerms, *, dry_run: bool) -> tuple[ImportedDay, ...]:
    """Import the prices of a file, day by day, as a source like any other: judged, kept as revisions, audited.

    Args:
        settings: The deployment.
        file: CSV, gzipped CSV or Parquet.
        terms: What its prices are.
        dry_run: Say what would happen and write nothing.

    Raises:
        InvalidInput: The file cannot be read, or the zone has no time zone in the settings; nothing was written.
    """
    clock = clock_of(settings)
    source = PriceFile(read_table(file), terms, clock)
    time_zone = day_of(settings, terms.zone, clock.now().date()).zone
    async with SqlStore.open(settings.store.url, clock, read_only=dry_run and is_there(settings.store.url)) as store:
        gatherer = _gatherer(settings, store, clock, {(terms.zone, terms.product): (source,)})
        done = []
        for day in source.days(time_zone):
            fetched = await source.fetch(terms.zone, day)
            if fetched is None:
                continue
            done.append(await _fate(settings, store, fetched, day))
            if not dry_run:
                await gatherer.refresh(terms.zone, terms.product, day)
    return tuple(done)


def is_there(url: str) -> bool:
    """Tell whether a database can be opened for reading: a file may not have been made yet, which a dry run does not mind."""
    path = url.removeprefix(_SQLITE)
    return path == url or Path(path).exists()


async def _fate(settings: Settings, store: Store, series: PriceSeries, day: DeliveryDay) -> ImportedDay:
    """Return what a series means for the day as it is kept now."""
    row = await store.get(MarketDayStatus, settings.tenants[0], market_day_id(series.zone, series.product, day))
    missing = missing_slots(series, series.product, day)
    known = None if row is None else row.record
    if known is None or known.series_id is None:
        fate = "new"
    else:
        kept = await store.get(PriceSeries, settings.tenants[0], known.series_id)
        fate = "revised" if kept is None else _against(kept.record, series)
    return ImportedDay(day=day.day.isoformat(), missing_count=missing, fate=fate)


def _against(known: PriceSeries, series: PriceSeries) -> str:
    """Return what a series means for a day that has prices: the rule that the gatherer keeps, too."""
    if says_the_same(known, series):
        return "same"
    chosen, why = better(known, series, "")
    if chosen is not known:
        return "revised"
    return f"refused: {why if len(series.gaps) <= len(known.gaps) else 'it has fewer prices than are known'}"


async def fetch_day(settings: Settings, zone: str, product: PriceProduct, day: date) -> MarketDayStatus:
    """Ask the configured sources for a delivery day now, keep what is new, and return where the day stands.

    Raises:
        InvalidInput: The zone is not one of the settings.
        NotFound: No source is configured for the zone and product.
    """
    wanted, clock = day_of(settings, zone, day), clock_of(settings)
    async with SqlStore.open(settings.store.url, clock) as store, _sources(settings, store, clock) as sources:
        return await _gatherer(settings, store, clock, sources).refresh(zone, product, wanted)


async def confirm_day(settings: Settings, zone: str, product: PriceProduct, day: date) -> str:
    """Ask another source about a day of any age that is complete, and keep what it says beside the day's prices.

    Returns:
        What it says; empty when the day is not complete, or no other source can be compared.

    Raises:
        InvalidInput: The zone is not one of the settings.
        NotFound: No source is configured for the zone and product.
    """
    wanted, clock = day_of(settings, zone, day), clock_of(settings)
    async with SqlStore.open(settings.store.url, clock) as store, _sources(settings, store, clock) as sources:
        _of(sources, zone, product)
        return await _gatherer(settings, store, clock, sources).confirm(zone, product, wanted)


async def ask_all(settings: Settings, zone: str, product: PriceProduct, day: date) -> tuple[SourceAnswer, ...]:
    """Ask every configured source for a delivery day, in their order; nothing is kept.

    Raises:
        InvalidInput: The zone is not one of the settings.
        NotFound: No source is configured for the zone and product.
    """
    wanted, clock = day_of(settings, zone, day), clock_of(settings)
    async with (
        SqlStore.open(settings.store.url, clock) as store,
        _sources(settings, store, clock) as sources,
    ):
        return await ask_sources(_of(sources, zone, product), zone, wanted)


def _of(sources: dict[PriceKey, tuple[PriceSource, ...]], zone: str, product: PriceProduct) -> tuple[PriceSource, ...]:
    if (zone, product) not in sources:
        raise NotFound("price-source", f"{zone}:{product.value}")
    return sources[zone, product]


@asynccontextmanager
async def _sources(
    settings: Settings, store: Store, clock: Clock
) -> AsyncIterator[dict[PriceKey, tuple[PriceSource, ...]]]:
    """Provide the configured sources; bans that the running gateway has written are kept here too."""
    async with aiohttp.ClientSession() as http:
        if settings.market is not None:
            bans = SourceBans(store=store, clock=clock, ids=RandomIds(), tenant=settings.tenants[0])
            door = entsoe_endpoint(settings.market, http, clock, ProcessWorker(memory_bytes=READER_MEMORY_BYTES), bans)
            yield price_sources(settings.market, door, http, clock, bans)
        elif settings.tariff is not None:
            yield tariff_prices(settings.tariff, clock)
        else:
            yield {}


def _gatherer(
    settings: Settings, store: Store, clock: Clock, sources: dict[PriceKey, tuple[PriceSource, ...]]
) -> MarketDataGatherer:
    return MarketDataGatherer(
        store=store,
        clock=clock,
        ids=RandomIds(),
        price_sources=sources,
        carbon_sources={},
        settings=GatherSettings(tenants=settings.tenants, time_zones=settings.time_zones),
    )
