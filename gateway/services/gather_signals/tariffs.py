"""Prices and carbon that events carry, as series of delivery days: what planners and pages read like any other market data.

Within one zone the event of the highest priority says the price, among equal ones the one that started first. Multipliers and
additions change the price of the same program's events; without one to change they are kept with the event and shown there only.
A price is the mean over the quarter-hour; a quarter-hour that is not covered whole is a gap, never a guess.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from gateway.domain.series import (
    CarbonKind,
    CarbonSeries,
    MarketDayStatus,
    PriceProduct,
    PriceSeries,
    Quality,
    carbon_series_id,
    judge_day,
    market_day_id,
    price_series_id,
)
from gateway.domain.signals import EventInterval, GridEvent, Instruction
from gateway.domain.timegrid import DeliveryDay, Interval
from gateway.domain.units import QUARTER_HOUR

FloatArray = npt.NDArray[np.float64]

DAYS_AHEAD = 8
"""Days after today for which prices are kept; later ones follow as time goes on."""
_MINUTE = timedelta(minutes=1)
_PER_SLOT = QUARTER_HOUR // _MINUTE
_DIGITS = 6

IMPORT_PRICES = (Instruction.PRICE, Instruction.PRICE_MULTIPLIER, Instruction.PRICE_RELATIVE)
FEED = frozenset({*IMPORT_PRICES, Instruction.EXPORT_PRICE, Instruction.CARBON_G_PER_KWH})
"""Instructions that become series."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Feed:
    """Where the prices of a program go."""

    authority: str
    zone: str
    product: PriceProduct
    carbon_kind: CarbonKind


def days_of(events: Iterable[GridEvent], zone: str, now: datetime) -> list[DeliveryDay]:
    """Return the days from today on that the prices or carbon of some events reach into, in order."""
    today = DeliveryDay.containing(now, zone)
    days = [today.next(offset) for offset in range(DAYS_AHEAD + 1)]
    reach = {span for event in events if (span := _span_of(event)) is not None}
    return [day for day in days if any(_meets(day.interval, start, end) for start, end in reach)]


def _span_of(event: GridEvent) -> tuple[datetime, datetime | None] | None:
    """Return from when until when an event says prices or carbon; None when it says none."""
    spans = [(i.start, i.end) for i in event.intervals if i.instruction in FEED]
    if not spans:
        return None
    ends = [end for _, end in spans if end is not None]
    return min(start for start, _ in spans), max(ends) if len(ends) == len(spans) else None


def _meets(day: Interval, start: datetime, end: datetime | None) -> bool:
    return (day.end is None or start < day.end) and (end is None or end > day.start)


def prices_of(
    events: Iterable[GridEvent], feed: Feed, product: PriceProduct, day: DeliveryDay, now: datetime
) -> PriceSeries | None:
    """Return the prices of a day, hours that have passed included; None when no event says any, or they mix currencies.

    Args:
        events: All events of the authority's programs that share the zone.
        feed: Where they go.
        product: What they are the price of: the feed's product, or `PROGRAM_EXPORT_TARIFF` for feed-in.
        day: The delivery day.
        now: Instant of the question.
    """
    live = _by_precedence(events)
    if product is PriceProduct.PROGRAM_EXPORT_TARIFF:
        minutes, used = _minutes(live, (Instruction.EXPORT_PRICE,), day)[0]
    else:
        minutes, used = _import_price(live, day)
    currencies = {i.currency for event in used for i in event.intervals if i.currency}
    slots = _slots(minutes)
    if np.isnan(slots).all() or len(currencies) != 1:
        return None
    values = tuple(None if np.isnan(x) else round(Decimal(repr(x)), _DIGITS) for x in slots.tolist())
    series = PriceSeries(
        id="",
        zone=feed.zone,
        product=product,
        currency=currencies.pop(),
        grid=day.grid(),
        prices_per_mwh=values,
        source=feed.authority,
        published_at=None,
        fetched_at=now,
        quality=Quality.FINAL,
        licence=f"as agreed with {feed.authority}",
        note=_note(used),
    )
    return replace(series, id=price_series_id(series, day))


def carbon_of(events: Iterable[GridEvent], feed: Feed, day: DeliveryDay, now: datetime) -> CarbonSeries | None:
    """Return the carbon intensity of a day in g/kWh; None when no live event says any."""
    minutes, used = _minutes(_by_precedence(events), (Instruction.CARBON_G_PER_KWH,), day)[0]
    slots = _slots(minutes)
    if np.isnan(slots).all():
        return None
    series = CarbonSeries(
        id="",
        zone=feed.zone,
        kind=feed.carbon_kind,
        grid=day.grid(),
        intensity_g_per_kwh=tuple(None if np.isnan(x) else round(x, _DIGITS) for x in slots.tolist()),
        source=feed.authority,
        fetched_at=now,
        quality=Quality.ESTIMATED,
        licence=f"as agreed with {feed.authority}",
        note=_note(used),
    )
    return replace(series, id=carbon_series_id(series, day))


def status_of(
    tenant: str, series: PriceSeries | None, key: tuple[str, PriceProduct], day: DeliveryDay, now: datetime
) -> MarketDayStatus:
    """Return how far the prices of a day have come; `key` is zone and product."""
    zone, product = key
    return MarketDayStatus(
        id=market_day_id(zone, product, day),
        tenant=tenant,
        zone=zone,
        product=product,
        day=day.day.isoformat(),
        state=judge_day(product, series, day, now),
        missing_count=day.grid().count if series is None else len(series.gaps),
        series_id=None if series is None else series.id,
        checked_at=now,
        note="" if series is None else series.note,
    )


def _note(used: Sequence[GridEvent]) -> str:
    names = sorted({event.event_id for event in used})
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"the program's tariff, as its events say: {shown}"


def _by_precedence(events: Iterable[GridEvent]) -> list[GridEvent]:
    """Return events that are meant, those that go first at the end: what is written last stands."""
    meant = [event for event in events if not event.test_event and not event.is_dry_run]
    return sorted(meant, key=lambda each: (each.rank, each.active.start, each.id), reverse=True)


def _import_price(live: Sequence[GridEvent], day: DeliveryDay) -> tuple[FloatArray, list[GridEvent]]:
    (price, used), (factor, scaled), (added, raised) = _minutes(live, IMPORT_PRICES, day)
    price = np.where(np.isnan(factor), price, price * factor)
    price = np.where(np.isnan(added), price, price + added)
    return price, [*used, *scaled, *raised]


def _minutes(
    live: Sequence[GridEvent], instructions: Sequence[Instruction], day: DeliveryDay
) -> list[tuple[FloatArray, list[GridEvent]]]:
    """Return a value per minute of the day for each instruction, and the events it is from; NaN where none says one."""
    grid, whole = day.grid(_MINUTE), day.interval
    values = np.full((len(instructions), grid.count), np.nan)
    source = np.full((len(instructions), grid.count), -1)
    for place, event in enumerate(live):
        for interval in event.intervals:
            if interval.instruction in instructions and _meets(whole, interval.start, interval.end):
                row = instructions.index(interval.instruction)
                reach = slice(*_reach(interval, event, grid.start, grid.count))
                values[row, reach], source[row, reach] = interval.value, place
    return [
        (values[row], [live[place] for place in np.unique(source[row]).tolist() if place >= 0])
        for row in range(len(instructions))
    ]


def _reach(interval: EventInterval, event: GridEvent, start: datetime, count: int) -> tuple[int, int]:
    """Return the minutes of a day that an interval covers, up to a cancellation that takes effect later."""
    gone = (interval.start if event.cancelled_at is None else event.cancelled_at) if event.cancelled else None
    end = min((each for each in (interval.end, gone) if each is not None), default=None)
    first = min(max(0, (interval.start - start) // _MINUTE), count)
    last = count if end is None else min((end - start) // _MINUTE, count)
    return first, max(first, last)


def _slots(minutes: FloatArray) -> FloatArray:
    """Return the mean of each quarter-hour; NaN where a minute of it is missing."""
    return np.asarray(minutes.reshape(-1, _PER_SLOT).mean(axis=1))
