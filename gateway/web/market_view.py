"""What the market page shows of prices and carbon, computed from series: pure, without request or template."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import numpy as np

from gateway.domain.price_check import TOLERANCE_PER_MWH
from gateway.domain.series import CarbonBasis, CarbonScope, CarbonSeries, PriceSeries
from gateway.domain.timegrid import DeliveryDay
from gateway.services.gather_market_data import PriceHistory, SourceAnswer
from gateway.web.trader_view import local_label

GAP = "gap"
_WORD = 4
"""Bytes of a 32-bit float, on whose borders the numbers of a history begin."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MarketRow:
    """One slot of the table."""

    label: str
    """Local begin with its UTC offset."""
    price: str
    """Decimal text as published, `gap`, or empty when there is no series."""
    carbon: str
    """In g/kWh, `gap`, or empty when there is no series."""
    origin: str = ""
    """Native resolution, source and quality of the price, where they are not the same all day."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RevisionLine:
    """One kept revision of a day's prices."""

    fetched: str
    published: str
    """Empty when the source does not say."""
    source: str
    quality: str
    resolution: str
    gap_count: int
    changed_count: int
    """Slots whose price differs from the revision before it; of the first one all."""
    licence: str
    note: str
    is_in_force: bool


def market_rows(prices: PriceSeries | None, carbon: CarbonSeries | None, time_zone: str) -> list[MarketRow]:
    """Return one row per slot of the finer of both series: 92, 96 or 100 for quarter-hours."""
    grids = [series.grid for series in (prices, carbon) if series is not None]
    if not grids:
        return []
    grid = min(grids, key=lambda one: one.step)
    zone = ZoneInfo(time_zone)
    origins = {} if prices is None else _slot_origins(prices)
    return [
        MarketRow(
            label=local_label(start, zone),
            origin=origins.get(start, ""),
            price="" if prices is None else _price_text(_at(prices, start)),
            carbon="" if carbon is None else _carbon_text(_intensity_at(carbon, start)),
        )
        for start in grid.starts()
    ]


def revision_lines(revisions: Sequence[PriceSeries], in_force: str | None, time_zone: str) -> list[RevisionLine]:
    """Return the kept revisions of a day, newest first.

    Args:
        revisions: Of one product and delivery day.
        in_force: Id of the one that counts; None when none does.
        time_zone: Of the market.
    """
    zone = ZoneInfo(time_zone)
    ordered = sorted(revisions, key=lambda series: (series.fetched_at, series.id))
    lines = []
    before: PriceSeries | None = None
    for series in ordered:
        lines.append(
            RevisionLine(
                fetched=_instant(series.fetched_at, zone),
                published="" if series.published_at is None else _instant(series.published_at, zone),
                source=series.source,
                quality=series.quality.value,
                resolution=_resolutions(series),
                gap_count=len(series.gaps),
                changed_count=_changed(before, series),
                licence=series.licence,
                note=series.note,
                is_in_force=series.id == in_force,
            )
        )
        before = series
    return lines[::-1]


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceRow:
    """What the sources say about one slot."""

    label: str
    prices: tuple[str, ...]
    """One text per source that has prices, in their order; `gap` where it has none."""
    differs: bool
    """Whether two of them differ by more than a cent."""


def source_rows(answers: Sequence[SourceAnswer], day: DeliveryDay) -> list[SourceRow]:
    """Return the quarter-hours of a day with what each source that has prices says; a longer period stands in each of its own."""
    known = [answer.series for answer in answers if answer.series is not None]
    zone = ZoneInfo(day.zone)
    rows = []
    for start in day.grid().starts() if known else ():
        prices = [_at(series, start) for series in known]
        said = [price for price in prices if price is not None]
        rows.append(
            SourceRow(
                label=local_label(start, zone),
                prices=tuple(_price_text(price) for price in prices),
                differs=bool(said) and max(said) - min(said) > TOLERANCE_PER_MWH,
            )
        )
    return rows


def chart_columns(prices: PriceSeries | None, carbon: CarbonSeries | None, time_zone: str) -> dict[str, object]:
    """Return the columns of the day's chart and what is told about each line while somebody points at it."""
    grids = [series.grid for series in (prices, carbon) if series is not None]
    if not grids:
        return {"x": [], "time_zone": time_zone}
    grid = min(grids, key=lambda one: one.step)
    starts = grid.starts()
    columns: dict[str, object] = {
        # The last value again at the end of the day: a step is drawn to where its slot ends.
        "x": [start.timestamp() for start in (*starts, grid.end)],
        "time_zone": time_zone,
    }
    if prices is not None:
        values = [_at(prices, start) for start in starts]
        columns["price_per_mwh"] = [None if value is None else float(value) for value in (*values, values[-1])]
        columns["currency"] = prices.currency
        columns["price_origin"] = _price_origin(prices, time_zone)
        told = _slot_origins(prices)
        if told:
            # The last one again, as the value.
            columns["price_slot_origins"] = [told.get(start, "") for start in (*starts, starts[-1])]
    if carbon is not None:
        grams = [_intensity_at(carbon, start) for start in starts]
        columns["carbon_g_per_kwh"] = [*grams, grams[-1]]
        columns["carbon_origin"] = _carbon_origin(carbon, time_zone)
    return columns


def packed_history(history: PriceHistory, time_zone: str) -> bytes:
    """Return years of prices as the page reads them.

    Four bytes little endian: length of a JSON text; the text, padded with blanks to a multiple of four; then one 32-bit float little
    endian per quarter-hour, NaN for a gap.
    """
    head = json.dumps(
        {
            "start": int(history.start.timestamp()),
            "step": 900,
            "count": len(history.prices_per_mwh),
            "zone": history.zone,
            "product": history.product.value,
            "currency": history.currency,
            "time_zone": time_zone,
            "foreign_days": history.foreign_days,
            "origins": [
                [int(origin.start.timestamp()), origin.source, origin.quality, origin.resolution_minutes, origin.note]
                for origin in history.origins
            ],
        }
    ).encode()
    head += b" " * (-len(head) % _WORD)
    return len(head).to_bytes(_WORD, "little") + head + np.asarray(history.prices_per_mwh, dtype="<f4").tobytes()


def _at(series: PriceSeries, start: datetime) -> Decimal | None:
    return series.prices_per_mwh[series.grid.index_of(start)]


def _intensity_at(series: CarbonSeries, start: datetime) -> float | None:
    return series.intensity_g_per_kwh[series.grid.index_of(start)]


def _price_text(price: Decimal | None) -> str:
    return GAP if price is None else f"{price:f}"


def _carbon_text(grams: float | None) -> str:
    return GAP if grams is None else f"{grams:.0f}"


def _changed(before: PriceSeries | None, series: PriceSeries) -> int:
    if before is None or before.grid != series.grid or before.currency != series.currency:
        return series.grid.count
    return sum(old != new for old, new in zip(before.prices_per_mwh, series.prices_per_mwh, strict=True))


def _price_origin(series: PriceSeries, time_zone: str) -> str:
    zone = ZoneInfo(time_zone)
    published = "" if series.published_at is None else f", published {_instant(series.published_at, zone)}"
    note = f" ({series.note})" if series.note else ""
    return (
        f"{series.product.value}, {series.quality.value}, {_resolutions(series)}, {series.source}{published}, "
        f"fetched {_instant(series.fetched_at, zone)}{note}"
    )


def _resolutions(series: PriceSeries) -> str:
    """Return the native resolutions of a day in words, for example `15 and 60 min`."""
    steps = sorted({run.native_step for run in series.origins})
    return " and ".join(str(int(step.total_seconds()) // 60) for step in steps) + " min"


def _slot_origins(series: PriceSeries) -> dict[datetime, str]:
    """Return where the price of each slot comes from, by its begin; nothing when it is the same all day."""
    if len(series.runs) < 2:
        return {}
    return {
        start: f"{int(run.native_step.total_seconds()) // 60} min, {run.quality.value}, {run.source}"
        for start, run in zip(series.grid.starts(), series.origin_of_slot, strict=True)
    }


def _carbon_origin(series: CarbonSeries, time_zone: str) -> str:
    zone = ZoneInfo(time_zone)
    issued = "" if series.issued_at is None else f", forecast of {_instant(series.issued_at, zone)}"
    measure = ", ".join((series.kind.value, *_stated(series)))
    note = f" ({series.note})" if series.note else ""
    return (
        f"carbon {measure}, {series.quality.value}, {series.source}{issued}, "
        f"fetched {_instant(series.fetched_at, zone)}{note}"
    )


def _stated(series: CarbonSeries) -> tuple[str, str]:
    """Return basis and scope, or that the source does not state them."""
    basis = "basis not stated" if series.basis is CarbonBasis.UNSTATED else series.basis.value
    return basis, "scope not stated" if series.scope is CarbonScope.UNSTATED else series.scope.value


def _instant(instant: datetime, zone: ZoneInfo) -> str:
    return f"{instant.astimezone(zone):%Y-%m-%d %H:%M}"
