"""A neutral CSV of an order, for traders, spreadsheets and exchanges whose format is for members only.

One row per curve point, one header row, UTF-8, comma, decimal point, instants in UTC:

```
delivery_day,area,portfolio,currency,contract_start_utc,contract_end_utc,price,volume
2025-10-15,BE,BE-EV,EUR,2025-10-14T22:00:00Z,2025-10-14T22:15:00Z,95.00,1.4
```

`price` is per MWh; `volume` is the cumulative net volume in MW wanted at it, positive bought: it holds up to its price and drops
after it. A text that a spreadsheet would run as a formula gets an apostrophe in front, and loses it when it is read back.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation

from gateway.domain.bids import Bid, BidPeriod, CurvePoint, Order
from gateway.domain.errors import InvalidInput

COLUMNS = (
    "delivery_day",
    "area",
    "portfolio",
    "currency",
    "contract_start_utc",
    "contract_end_utc",
    "price",
    "volume",
)
MAX_BYTES = 5_000_000
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "'")
_MAX_DIGITS = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class NeutralOrder:
    """What the file says: whose curves for which day and area."""

    delivery_day: str
    """ISO date in the market's time zone."""
    area: str
    portfolio: str
    currency: str
    periods: tuple[BidPeriod, ...]
    """In the order of the file, one per contract."""


def export_bid(bid: Bid) -> str:
    """Return a bid as neutral CSV under its own portfolio's name."""
    return export_neutral(
        NeutralOrder(
            delivery_day=bid.delivery_day,
            area=bid.bidding_zone,
            portfolio=bid.portfolio,
            currency=bid.currency,
            periods=bid.periods,
        )
    )


def export_order(order: Order, delivery_day: str) -> str:
    """Return an order as neutral CSV under the portfolio's name at the exchange."""
    return export_neutral(
        NeutralOrder(
            delivery_day=delivery_day,
            area=order.bidding_zone,
            portfolio=order.exchange_portfolio,
            currency=order.currency,
            periods=order.periods,
        )
    )


def export_neutral(order: NeutralOrder) -> str:
    """Return the file's text, with CRLF between rows as RFC 4180 has it."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for period in order.periods:
        for point in period.curve:
            writer.writerow(
                (
                    _safe(order.delivery_day),
                    _safe(order.area),
                    _safe(order.portfolio),
                    _safe(order.currency),
                    _stamp(period.start),
                    _stamp(period.end),
                    format(point.price_per_mwh, "f"),
                    format(point.volume_mw, "f"),
                )
            )
    return out.getvalue()


def import_neutral(content: bytes) -> NeutralOrder:
    """Read a file of the format above; exporting what comes back gives the same rows.

    Raises:
        InvalidInput: The file is too large, is no UTF-8 CSV with these columns, mixes days, areas, portfolios or currencies, or
            a value is wrong; the field names the row.
    """
    if len(content) > MAX_BYTES:
        raise InvalidInput("file", f"has more than {MAX_BYTES} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput("file", "is not UTF-8") from error
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise InvalidInput("file", f"is not CSV: {error}") from error
    if not rows or tuple(rows[0]) != COLUMNS:
        raise InvalidInput("file.header", f"must be {','.join(COLUMNS)}")
    points = [_row(row, f"row[{number}]") for number, row in enumerate(rows[1:], start=2)]
    if not points:
        raise InvalidInput("file", "has no rows")
    for index, point in enumerate(points):
        if point.header != points[0].header:
            raise InvalidInput(f"row[{index + 2}]", "has another day, area, portfolio or currency than the first row")
    delivery_day, area, portfolio, currency = points[0].header
    return NeutralOrder(
        delivery_day=delivery_day,
        area=area,
        portfolio=portfolio,
        currency=currency,
        periods=tuple(_periods(points)),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    place: str
    header: tuple[str, str, str, str]
    start: datetime
    end: datetime
    point: CurvePoint


def _periods(rows: Sequence[_Row]) -> Iterator[BidPeriod]:
    """Group rows into periods; the points of one contract must stand together."""
    groups: dict[tuple[datetime, datetime], list[_Row]] = {}
    for row in rows:
        key = (row.start, row.end)
        if key in groups and key != next(reversed(groups)):
            raise InvalidInput(f"{row.place}.contract_start_utc", "comes back after another contract")
        groups.setdefault(key, []).append(row)
    for (start, end), members in groups.items():
        try:
            yield BidPeriod(start=start, end=end, curve=tuple(member.point for member in members))
        except InvalidInput as error:
            raise InvalidInput(f"{members[0].place}.{error.field}", error.problem) from error


def _row(cells: Sequence[str], place: str) -> _Row:
    if len(cells) != len(COLUMNS):
        raise InvalidInput(place, f"must have {len(COLUMNS)} columns")
    values = dict(zip(COLUMNS, cells, strict=True))
    header = (
        _day(_plain(values["delivery_day"]), f"{place}.delivery_day"),
        _name(_plain(values["area"]), f"{place}.area"),
        _name(_plain(values["portfolio"]), f"{place}.portfolio"),
        _name(_plain(values["currency"]), f"{place}.currency"),
    )
    return _Row(
        place=place,
        header=header,
        start=_instant(values["contract_start_utc"], f"{place}.contract_start_utc"),
        end=_instant(values["contract_end_utc"], f"{place}.contract_end_utc"),
        point=CurvePoint(
            price_per_mwh=_number(values["price"], f"{place}.price"),
            volume_mw=_number(values["volume"], f"{place}.volume"),
        ),
    )


def _safe(text: str) -> str:
    """Return a text that no spreadsheet runs as a formula."""
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def _plain(text: str) -> str:
    """Return the text before `_safe`."""
    return text[1:] if text.startswith("'") and text[1:].startswith(_FORMULA_STARTS) else text


def _stamp(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _instant(text: str, place: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError as error:
        raise InvalidInput(place, "must be an instant such as 2025-10-14T22:00:00Z") from error


def _day(text: str, place: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError as error:
        raise InvalidInput(place, "must be an ISO date") from error


def _name(text: str, place: str) -> str:
    if not text or len(text) > 255 or not text.isprintable():
        raise InvalidInput(place, "must be 1 to 255 printable characters")
    return text


def _number(text: str, place: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation as error:
        raise InvalidInput(place, "must be a decimal number with a point") from error
    if not number.is_finite() or len(text) > _MAX_DIGITS:
        raise InvalidInput(place, f"must be a finite number of at most {_MAX_DIGITS} characters")
    return number
