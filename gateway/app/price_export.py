"""Prices as a table for other programs: every delivery period with where it comes from, and by which rate it was converted."""

import asyncio
import csv
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from gateway.app.offline_market import day_of, open_desk
from gateway.domain.errors import NotFound, RateMissing
from gateway.domain.exchange_rates import Conversion
from gateway.domain.identity import system_principal
from gateway.domain.series import PriceProduct, PriceSeries
from gateway.ids import RandomIds
from gateway.services.gather_market_data import Currencies
from gateway.settings import Settings

_COLUMNS = (
    "start_utc",
    "end_utc",
    "price_per_mwh",
    "currency",
    "zone",
    "product",
    "quality",
    "source",
    "published_at",
    "fetched_at",
    "licence",
    "note",
    "native_minutes",
    "converted_from",
    "exchange_rate",
    "exchange_rate_day",
    "exchange_rate_source",
)


async def export_prices(
    settings: Settings, zone: str, product: PriceProduct, span: tuple[date, date], out: Path, *, currency: str = ""
) -> tuple[int, tuple[str, ...]]:
    """Write the prices of several delivery days as CSV, gaps as empty cells.

    Args:
        settings: The deployment.
        zone: Bidding zone.
        product: What the prices are of.
        span: First and last delivery day.
        out: File to write.
        currency: ISO 4217 code to convert prices to; as published without one. Every converted row has its rate beside it.

    Returns:
        How many delivery periods were written, and the days that are not known at all.

    Raises:
        RateMissing: A day is in another currency and no rate of the week up to it is known; no file is left.
    """
    principal = system_principal(settings.tenants[0], "market")
    day, count, unknown = day_of(settings, zone, span[0]), 0, []
    async with open_desk(settings) as desk:
        currencies = Currencies(store=desk.store, clock=desk.clock, ids=RandomIds())
        try:
            with out.open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(_COLUMNS)
                while day.day <= span[1]:
                    try:
                        series = await desk.reader.prices(principal, zone, product, day)
                    except NotFound:
                        unknown.append(day.day.isoformat())
                    else:
                        wanted = currency or series.currency
                        shown, conversion = await currencies.in_currency(principal, series, day, wanted)
                        writer.writerows(_rows(shown, conversion))
                        count += series.grid.count
                    day = day.next()
        except RateMissing:
            await asyncio.to_thread(out.unlink)
            raise
    return count, tuple(unknown)


def _rows(series: PriceSeries, conversion: Conversion | None) -> Iterator[tuple[str, ...]]:
    published = "" if series.published_at is None else series.published_at.isoformat()
    converted = ("",) * 4
    if conversion is not None:
        rate = (f"{conversion.factor:.10g}", conversion.day.isoformat(), conversion.source)
        converted = (conversion.source_currency, *rate)
    for start, price, run in zip(series.grid.starts(), series.prices_per_mwh, series.origin_of_slot, strict=True):
        yield (
            start.isoformat(),
            (start + series.grid.step).isoformat(),
            "" if price is None else str(price),
            series.currency,
            series.zone,
            series.product.value,
            run.quality.value,
            run.source,
            published,
            series.fetched_at.isoformat(),
            series.licence,
            series.note,
            str(int(run.native_step.total_seconds()) // 60),
            *converted,
        )
