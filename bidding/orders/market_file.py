"""From a configuration document to the rules of markets; strict, so that a slip of the pen stops the start, not an order.

The document is a plain mapping as `tomllib` returns it; amounts are decimal text, days are dates, gates are local times:

```
[auctions.<market>]           currency, time_zone
[[auctions.<market>.rules]]   one for each span of delivery days
[[auctions.<market>.specifications]]   the member's own, for blocks
[reserves.<product>]          kind, currency, time_zone
[[reserves.<product>.rules]]
```
"""

from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from functools import partial
from typing import TypeVar

from bidding.orders.curves import MarketRules
from bidding.orders.market_products import (
    AuctionRules,
    BlockRules,
    BlockSpecification,
    Gate,
    MarketBook,
    ReserveKind,
    ReserveRules,
    ValidDays,
)
from gateway.domain.errors import InvalidInput

Parsed = TypeVar("Parsed")


def parse_markets(document: Mapping[str, object]) -> MarketBook:
    """Return the markets of a configuration document.

    Args:
        document: What `tomllib` made of the file.

    Raises:
        InvalidInput: A field is missing, unknown, of the wrong kind or breaks a rule; named `market.rules[0].field`.
    """
    root = _Table("markets", document)
    auctions: list[AuctionRules] = []
    specifications: list[BlockSpecification] = []
    for name, market in root.tables("auctions"):
        currency, zone = market.text("currency"), market.text("time_zone")
        auction = partial(_auction, market=name, currency=currency, zone=zone)
        auctions += [_built(row, auction) for row in market.rows("rules")]
        specification = partial(_specification, market=name)
        specifications += [_built(row, specification) for row in market.rows("specifications")]
        market.require_no_more()
    reserves: list[ReserveRules] = []
    for name, product in root.tables("reserves"):
        currency, zone = product.text("currency"), product.text("time_zone")
        reserve = partial(_reserve, product=name, kind=product.kind("kind"), currency=currency, zone=zone)
        reserves += [_built(row, reserve) for row in product.rows("rules")]
        product.require_no_more()
    root.require_no_more()
    return MarketBook(auctions=tuple(auctions), reserves=tuple(reserves), specifications=tuple(specifications))


class _Table:
    """One table of the document that knows its place in it and what was read from it."""

    def __init__(self, path: str, values: Mapping[str, object]) -> None:
        self.path = path
        self._values = values
        self._read: set[str] = set()

    def text(self, name: str) -> str:
        value = self._take(name)
        if not isinstance(value, str) or not value:
            raise InvalidInput(self.field(name), "must be text")
        return value

    def decimal(self, name: str) -> Decimal:
        text = self.text(name)
        try:
            value = Decimal(text)
        except ArithmeticError as error:
            raise InvalidInput(self.field(name), "must be decimal text") from error
        if not value.is_finite():
            raise InvalidInput(self.field(name), "must be a finite number")
        return value

    def integer(self, name: str) -> int:
        value = self._take(name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise InvalidInput(self.field(name), "must be an integer")
        return value

    def flag(self, name: str) -> bool:
        value = self._take(name)
        if not isinstance(value, bool):
            raise InvalidInput(self.field(name), "must be true or false")
        return value

    def local_time(self, name: str) -> time:
        value = self._take(name)
        if not isinstance(value, time):
            raise InvalidInput(self.field(name), "must be a local time")
        return value

    def kind(self, name: str) -> ReserveKind:
        text = self.text(name)
        try:
            return ReserveKind(text)
        except ValueError as error:
            known = ", ".join(kind.value for kind in ReserveKind)
            raise InvalidInput(self.field(name), f"must be one of {known}") from error

    def days(self) -> ValidDays:
        first = self._day("valid_from", self._take("valid_from"))
        until = self._values.get("valid_to")
        self._read.add("valid_to")
        return ValidDays(first=first, until=None if until is None else self._day("valid_to", until))

    def rows(self, name: str) -> "list[_Table]":
        """Return the tables of a list; an absent list is empty."""
        values = self._values.get(name, [])
        self._read.add(name)
        if not isinstance(values, list):
            raise InvalidInput(self.field(name), "must be a list of tables")
        return [_as_table(f"{self.path}.{name}[{index}]", value) for index, value in enumerate(values)]

    def tables(self, name: str) -> "list[tuple[str, _Table]]":
        """Return the named tables under a name; they are called by their own name alone."""
        self._read.add(name)
        group = _as_table(name, self._values.get(name, {}))
        return [(key, _as_table(key, value)) for key, value in group._values.items()]

    def require_no_more(self) -> None:
        unknown = sorted(set(self._values) - self._read)
        if unknown:
            raise InvalidInput(self.field(unknown[0]), "is not a known field")

    def field(self, name: str) -> str:
        return f"{self.path}.{name}"

    def _take(self, name: str) -> object:
        if name not in self._values:
            raise InvalidInput(self.field(name), "is missing")
        self._read.add(name)
        return self._values[name]

    def _day(self, name: str, value: object) -> date:
        if not isinstance(value, date) or isinstance(value, datetime):
            raise InvalidInput(self.field(name), "must be a date")
        return value


def _as_table(path: str, value: object) -> _Table:
    if not isinstance(value, Mapping):
        raise InvalidInput(path, "must be a table")
    return _Table(path, value)


def _built(row: _Table, build: Callable[[_Table], Parsed]) -> Parsed:
    """Build one thing from a row; what its own checks refuse is named with the row's place."""
    try:
        built = build(row)
    except InvalidInput as error:
        if error.field.startswith(row.path):
            raise
        raise InvalidInput(row.field(error.field.removeprefix("market.")), error.problem) from error
    row.require_no_more()
    return built


def _auction(row: _Table, *, market: str, currency: str, zone: str) -> AuctionRules:
    return AuctionRules(
        market=market,
        currency=currency,
        days=row.days(),
        gate=_gate(row, zone),
        mtu_minutes=row.integer("mtu_minutes"),
        curve=MarketRules(
            lot_mw=row.decimal("lot_mw"),
            min_volume_mw=row.decimal("min_volume_mw"),
            min_price_per_mwh=row.decimal("min_price_per_mwh"),
            max_price_per_mwh=row.decimal("max_price_per_mwh"),
            price_tick=row.decimal("price_tick_per_mwh"),
            max_points=row.integer("max_curve_points"),
        ),
    )


def _specification(row: _Table, *, market: str) -> BlockSpecification:
    return BlockSpecification(
        market=market,
        days=row.days(),
        rules=BlockRules(
            specification=row.text("specification"),
            max_blocks_per_group=row.integer("max_blocks_per_group"),
            max_groups=row.integer("max_groups"),
            max_block_mw=row.decimal("max_block_mw"),
            min_block_minutes=row.integer("min_block_minutes"),
            max_block_minutes=row.integer("max_block_minutes"),
            takes_gaps=row.flag("takes_gaps"),
        ),
    )


def _reserve(row: _Table, *, product: str, kind: ReserveKind, currency: str, zone: str) -> ReserveRules:
    return ReserveRules(
        product=product,
        kind=kind,
        currency=currency,
        days=row.days(),
        gate=_gate(row, zone),
        block_hours=row.integer("block_hours"),
        min_bid_mw=row.decimal("min_bid_mw"),
        step_mw=row.decimal("step_mw"),
        max_activation_s=float(row.integer("max_activation_s")),
        sustain_minutes=row.integer("sustain_minutes"),
        needs_local_frequency=row.flag("needs_local_frequency"),
    )


def _gate(row: _Table, zone: str) -> Gate:
    return Gate(
        days_before=row.integer("gate_days_before"), local_time=row.local_time("gate_local_time"), time_zone=zone
    )
