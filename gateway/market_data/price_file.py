"""Prices in a file as a source: a table of begins and prices, made into the series of each delivery day.

```
begin and price per row  ──>  one price per begin  ──>  delivery day's grid, gaps as None
```

A period that is there twice with different prices is refused: which counts would be a guess. Prices of hours are those of their
quarter-hours only before the day-ahead coupling cleared quarter-hours; later they are means and marked so.
"""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation

from gateway.domain.errors import InvalidInput
from gateway.domain.market_time_units import market_time_unit
from gateway.domain.series import DELIVERY_STEPS, PriceProduct, PriceSeries, Quality
from gateway.domain.timegrid import DeliveryDay
from gateway.market_data.feeds.public_prices import Samples, grid_step, honest, native_runs, on_grid
from gateway.market_data.file_times import read_times, step_of
from gateway.market_data.provenance import UNNAMED, joined_note, named_prices
from gateway.market_data.table_file import Table
from gateway.ports import Clock

PRICE_COLUMNS = ("price_per_mwh", "price_eur_mwh", "price")
"""Names under which files have prices, in the order in which they are looked for; the first one is this gateway's own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FileTerms:
    """What a file's prices are, as far as the file does not say."""

    zone: str
    product: PriceProduct
    currency: str
    licence: str
    quality: Quality = Quality.FINAL
    time_column: str | None = None
    """None takes the first name that files use."""
    price_column: str | None = None


class PriceFile:
    """Prices of a table; `ports.PriceSource`.

    Args:
        table: The file.
        terms: What its prices are.
        clock: For the fetch times.

    Raises:
        InvalidInput: A column is missing, a value is no time or number, or a period is there twice with different prices.
    """

    def __init__(self, table: Table, terms: FileTerms, clock: Clock) -> None:
        self._terms = terms
        self._clock = clock
        self._name = f"file: {table.name}"
        _require_said(table, terms)
        times = read_times(table, terms.time_column)
        column = _price_column(table, terms.price_column)
        self._step = step_of(times.starts)
        if self._step not in DELIVERY_STEPS:
            raise InvalidInput("file", f"has a step of {self._step}, which is no delivery period of a market")
        self._prices: dict[datetime, Decimal | None] = {}
        for number, (start, text) in enumerate(zip(times.starts, table.column(column), strict=True), start=2):
            price = _price(text, f"{column}, row {number}")
            if self._prices.setdefault(start, price) != price:
                raise InvalidInput(f"{times.column}, row {number}", "is there twice with different prices")
        self._starts = sorted(self._prices)

    @property
    def name(self) -> str:
        """Short name for provenance."""
        return self._name

    @property
    def prices(self) -> Mapping[datetime, Decimal | None]:
        """Price by the begin of its period."""
        return self._prices

    def days(self, time_zone: str) -> tuple[DeliveryDay, ...]:
        """Return the delivery days that the file touches, in order."""
        days = {DeliveryDay.containing(start, time_zone).day for start in self._prices}
        return tuple(DeliveryDay(day=day, zone=time_zone) for day in sorted(days))

    async def fetch(self, zone: str, day: DeliveryDay) -> PriceSeries | None:
        """Return the prices of a delivery day, gaps as None; None when the file has none of them.

        Raises:
            InvalidInput: Another zone, or a period that does not begin on one of the day.
        """
        if zone != self._terms.zone:
            raise InvalidInput("zone", f"the file is of {self._terms.zone}")
        own = self._starts[
            bisect_left(self._starts, day.interval.start) : bisect_left(self._starts, day.next().interval.start)
        ]
        samples = Samples(
            currency=self._terms.currency,
            step=self._step,
            price_per_mwh={start: self._prices[start] for start in own},
            quality=self._terms.quality,
        )
        grid = day.grid(grid_step(self._terms.product, self._step))
        prices = on_grid(samples, grid)
        if all(price is None for price in prices):
            return None
        quality, notes = honest(samples, market_time_unit(self._terms.product, zone, day.day))
        series = PriceSeries(
            id=UNNAMED,
            zone=zone,
            product=self._terms.product,
            currency=self._terms.currency,
            grid=grid,
            prices_per_mwh=prices,
            source=self._name,
            published_at=None,
            fetched_at=self._clock.now(),
            quality=quality,
            licence=self._terms.licence,
            note=joined_note(notes, None),
            runs=native_runs(samples, grid, self._name, quality),
        )
        return named_prices(series, day)


def _require_said(table: Table, terms: FileTerms) -> None:
    """Check that a file that says itself what its prices are says the same."""
    told = {"currency": terms.currency, "zone": terms.zone, "product": terms.product.value}
    for name, value in told.items():
        others = set(table.columns.get(name, ())) - {value}
        if others:
            raise InvalidInput(name, f"{table.name} says {', '.join(sorted(others))}, not {value}")


def _price_column(table: Table, name: str | None) -> str:
    if name is not None:
        table.column(name)
        return name
    found = next((one for one in PRICE_COLUMNS if one in table.columns), None)
    if found is None:
        columns = ", ".join(table.columns)
        raise InvalidInput("column", f"{table.name} has no column of prices; name it (one of {columns})")
    return found


def _price(text: str, place: str) -> Decimal | None:
    """Return a price digit for digit; an empty text is a gap."""
    if not text:
        return None
    try:
        price = Decimal(text)
    except InvalidOperation as error:
        raise InvalidInput(place, f"{text[:40]!r} is no number") from error
    if not price.is_finite():
        raise InvalidInput(place, "must be a finite number")
    return price
