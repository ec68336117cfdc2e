"""What the page of a delivered day shows, computed from rows: pure, without request or template."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from gateway.domain.bids import Nomination, energy_mwh
from gateway.domain.settlement import MISSING_METER_CAUSE, Settlement
from gateway.web.spreadsheet import local_cell, text_cell
from gateway.web.trader_view import local_label

_TIMES = ("start_utc", "end_utc", "start_local", "end_local")
NOMINATION_COLUMNS = (
    "delivery_day",
    "connection_point",
    "brp",
    "state",
    "acknowledgement",
    "acknowledged_utc",
    "message",
    *_TIMES,
    "volume_mw",
)
DEVIATION_COLUMNS = (
    "delivery_day",
    "portfolio",
    "connection_point",
    *_TIMES,
    "position_mwh",
    "metered_mwh",
    "deviation_mwh",
    "imbalance_price_per_mwh",
    "imbalance_cash",
    "currency",
    "cause",
    "cause_id",
    "price_doubts",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class NominationLine:
    """What the BRP was told of one connection point, and what it said."""

    connection_point: str
    brp: str
    state: str
    acknowledgement: str
    """The BRP's number; empty before it gave one."""
    acknowledged_at: str
    """Local, with its offset; empty before."""
    energy_mwh: Decimal
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Deviation:
    """What one connection point drew in one delivery period besides what was bought for it, and what that cost."""

    portfolio: str
    delivery_day: str
    connection_point: str
    start: datetime
    end: datetime
    label: str
    """Local begin with its offset."""
    position_mwh: Decimal
    metered_mwh: Decimal | None
    """None when nothing was read."""
    deviation_mwh: Decimal | None
    """Positive: more was drawn than bought; None when nothing was read."""
    price_per_mwh: Decimal
    cash: Decimal
    """At the imbalance price; positive is paid."""
    currency: str
    cause: str
    """As the settlement names it."""
    words: str
    """The same for people."""
    price_doubts: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CauseSum:
    """All deviations of one cause together."""

    words: str
    currency: str
    period_count: int
    deviation_mwh: Decimal
    cash: Decimal


def nomination_lines(nominations: Sequence[Nomination], zone: ZoneInfo) -> list[NominationLine]:
    """Return one line per nomination."""
    return [
        NominationLine(
            connection_point=one.connection_point,
            brp=one.brp,
            state=one.state.value,
            acknowledgement=one.acknowledgement or "",
            acknowledged_at="" if one.acknowledged_at is None else local_cell(one.acknowledged_at, zone),
            energy_mwh=sum((energy_mwh(p.volume_mw, p.start, p.end) for p in one.periods), Decimal(0)),
            message=one.message,
        )
        for one in nominations
    ]


def deviations(settlements: Sequence[Settlement], words: Mapping[str, str], zone: ZoneInfo) -> Iterator[Deviation]:
    """Return every settled period of every connection point, those inside the tolerance too: the sums add up.

    Args:
        settlements: Of a delivery day.
        words: Every cause in words.
        zone: Of the clock that labels tell.
    """
    for one in settlements:
        doubts = "; ".join(one.price_doubts)
        for period in one.periods:
            is_read = period.cause != MISSING_METER_CAUSE
            yield Deviation(
                portfolio=one.portfolio,
                delivery_day=one.delivery_day,
                connection_point=one.connection_point,
                start=period.start,
                end=period.end,
                label=local_label(period.start, zone),
                position_mwh=period.position_mwh,
                metered_mwh=period.metered_mwh if is_read else None,
                deviation_mwh=period.metered_mwh - period.position_mwh if is_read else None,
                price_per_mwh=period.imbalance_price_per_mwh,
                cash=period.imbalance_cash,
                currency=one.currency,
                cause=period.cause,
                words=words[period.cause],
                price_doubts=doubts,
            )


def largest(found: Sequence[Deviation], most: int) -> list[Deviation]:
    """Return the deviations that are not zero or have no reading, by time; of more than `most` those that move the most money."""
    shown = [one for one in found if one.deviation_mwh is None or one.deviation_mwh != 0]
    if len(shown) > most:
        shown = sorted(shown, key=lambda one: (-abs(one.cash), one.start, one.connection_point))[:most]
    return sorted(shown, key=lambda one: (one.start, one.connection_point))


def cause_sums(found: Sequence[Deviation]) -> list[CauseSum]:
    """Return what each cause comes to, the most expensive first."""
    groups: dict[tuple[str, str], list[Deviation]] = defaultdict(list)
    for one in found:
        groups[one.words, one.currency].append(one)
    sums = [
        CauseSum(
            words=words,
            currency=currency,
            period_count=len(group),
            deviation_mwh=sum((one.deviation_mwh for one in group if one.deviation_mwh is not None), Decimal(0)),
            cash=sum((one.cash for one in group), Decimal(0)),
        )
        for (words, currency), group in groups.items()
    ]
    return sorted(sums, key=lambda one: (-abs(one.cash), one.words))


def nomination_csv(nominations: Sequence[Nomination], zone: ZoneInfo) -> Iterator[tuple[str, ...]]:
    """Return a header, then one line per connection point and delivery period."""
    yield NOMINATION_COLUMNS
    for one in nominations:
        head = (
            one.delivery_day,
            text_cell(one.connection_point),
            text_cell(one.brp),
            one.state.value,
            text_cell(one.acknowledgement or ""),
            "" if one.acknowledged_at is None else one.acknowledged_at.isoformat(),
            text_cell(one.message),
        )
        for period in one.periods:
            yield (*head, *_times(period.start, period.end, zone), str(period.volume_mw))


def deviation_csv(found: Sequence[Deviation], zone: ZoneInfo) -> Iterator[tuple[str, ...]]:
    """Return a header, then one line per connection point and delivery period; what was not read is empty."""
    yield DEVIATION_COLUMNS
    for one in found:
        yield (
            one.delivery_day,
            text_cell(one.portfolio),
            text_cell(one.connection_point),
            *_times(one.start, one.end, zone),
            str(one.position_mwh),
            "" if one.metered_mwh is None else str(one.metered_mwh),
            "" if one.deviation_mwh is None else str(one.deviation_mwh),
            str(one.price_per_mwh),
            str(one.cash),
            one.currency,
            text_cell(one.words),
            text_cell(one.cause),
            text_cell(one.price_doubts),
        )


def _times(start: datetime, end: datetime, zone: ZoneInfo) -> tuple[str, ...]:
    return start.isoformat(), end.isoformat(), local_cell(start, zone), local_cell(end, zone)
