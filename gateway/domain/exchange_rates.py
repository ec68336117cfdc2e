"""Amounts of one currency in another: by a stated rate with its day and source, and never without one.

```
EUR/GBP 0.87 of 2025-10-15 by ecb     100 GBP --> 114.94 EUR     against the direction it is stated in
EUR/GBP 0.87, EUR/SEK 10.9            100 GBP --> 1252.87 SEK    across a currency that both rates share: same day and source
```
"""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_EVEN, Decimal

from gateway.domain.errors import InvalidInput, RateMissing
from gateway.domain.series import PriceSeries
from gateway.domain.timegrid import require_utc

MOST_AGE = timedelta(days=7)
"""Central banks state no rate on weekends and holidays, Easter and New Year included; an older one is not that of the day."""
CONVERTED_DIGITS = Decimal("0.000001")
"""A converted price is rounded to so much of its currency per MWh, half to even."""
_CODE_LENGTH = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class ExchangeRate:
    """What a source says one currency is worth in another on a day."""

    base: str
    """ISO 4217 code of what is priced."""
    quote: str
    """ISO 4217 code of what it is priced in."""
    rate: Decimal
    """Units of `quote` for one unit of `base`, above 0."""
    day: date
    """Day the source states it for."""
    source: str
    """Who states it, for example `ecb`."""
    fetched_at: datetime

    def __post_init__(self) -> None:
        """Reject codes that are not ISO 4217, a rate that is not above 0, no source and naive times."""
        for field in ("base", "quote"):
            require_currency(f"exchange_rate.{field}", getattr(self, field))
        if self.base == self.quote:
            raise InvalidInput("exchange_rate.quote", "must be another currency than base")
        if not (self.rate.is_finite() and self.rate > 0):
            raise InvalidInput("exchange_rate.rate", "must be a finite number above 0")
        if not self.source:
            raise InvalidInput("exchange_rate.source", "must not be empty")
        require_utc("exchange_rate.fetched_at", self.fetched_at)

    @property
    def id(self) -> str:
        """`{base}:{quote}:{day}:{source}`: a source has one rate of a pair and day."""
        return f"{self.base}:{self.quote}:{self.day.isoformat()}:{self.source}"

    @property
    def begins_at(self) -> datetime:
        """Midnight UTC of its day, by which rates are ordered."""
        return datetime.combine(self.day, time(0), UTC)

    def told(self) -> str:
        """Return the rate in words, the same everywhere."""
        return f"{self.base}/{self.quote} {self.rate} of {self.day.isoformat()} by {self.source}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversion:
    """How amounts of one currency become amounts of another."""

    source_currency: str
    target_currency: str
    factor: Decimal
    """Units of the target for one unit of the source."""
    rates: tuple[ExchangeRate, ...]
    """What it was computed from: one rate, or two of one day and source across a currency that they share."""

    @property
    def day(self) -> date:
        """Day of the rates."""
        return self.rates[0].day

    @property
    def source(self) -> str:
        """Who states them."""
        return self.rates[0].source

    def price(self, price_per_mwh: Decimal) -> Decimal:
        """Return a price in the target currency, rounded to `CONVERTED_DIGITS`."""
        return (price_per_mwh * self.factor).quantize(CONVERTED_DIGITS, rounding=ROUND_HALF_EVEN)

    def told(self) -> str:
        """Return the conversion in one sentence, with every rate, its day and its source."""
        stated = " and ".join(rate.told() for rate in self.rates)
        return f"converted from {self.source_currency} to {self.target_currency} by {stated}"


def require_currency(field: str, code: str) -> str:
    """Return an ISO 4217 code.

    Raises:
        InvalidInput: It is not three capital letters; `field` is named.
    """
    if len(code) != _CODE_LENGTH or not (code.isascii() and code.isalpha() and code.isupper()):
        raise InvalidInput(field, "must be an ISO 4217 code")
    return code


def rate_window(day: date) -> tuple[datetime, datetime]:
    """Return the half-open span of `ExchangeRate.begins_at` whose rates may be used for amounts of a day."""
    until = datetime.combine(day, time(0), UTC) + timedelta(days=1)
    return until - MOST_AGE, until


def conversion_of(rates: Iterable[ExchangeRate], *, field: str, source: str, target: str, day: date) -> Conversion:
    """Return how amounts of a currency become amounts of another on a day: by the newest rate of the last week.

    A rate of a later day is never used, and one that is stated is preferred to one across a third currency.

    Args:
        rates: What is known, in any order.
        field: What would be converted, for example `imbalance.currency`; named when it cannot be.
        source: ISO 4217 code of the amounts.
        target: ISO 4217 code they are wanted in, another one.
        day: Day of the amounts.

    Raises:
        RateMissing: No rate, or two sources that state different ones.
        InvalidInput: A code is none, or both are the same.
    """
    require_currency(field, source)
    if require_currency(field, target) == source:
        raise InvalidInput(field, f"is {source} already")
    usable = [rate for rate in rates if timedelta(0) <= day - rate.day < MOST_AGE]
    for at in sorted({rate.day for rate in usable}, reverse=True):
        found = _ways([rate for rate in usable if rate.day == at], source, target)
        if found:
            return _only(found, field, day)
    raise RateMissing(
        field,
        f"is {source}, not {target}, and no exchange rate of the seven days up to {day.isoformat()} is known: "
        "import one (`voltbridge market rates import`)",
    )


def _only(found: Sequence[Conversion], field: str, day: date) -> Conversion:
    """Return the one way there is; sources that differ are not chosen between."""
    others = {one.factor for one in found}
    if len(others) > 1:
        stated = "; ".join(sorted(" and ".join(rate.told() for rate in one.rates) for one in found))
        raise RateMissing(field, f"has several exchange rates for {day.isoformat()}: {stated}")
    return min(found, key=lambda one: one.source)


def _ways(rates: Sequence[ExchangeRate], source: str, target: str) -> list[Conversion]:
    """Return the conversions that rates of one day allow: stated ones, else those across a currency of one source."""
    stated = [
        Conversion(source_currency=source, target_currency=target, factor=factor, rates=(rate,))
        for rate in rates
        if (factor := _factor(rate, source, target)) is not None
    ]
    if stated:
        return stated
    found = []
    for first in rates:
        middle = first.quote if first.base == source else first.base
        inward = _factor(first, source, middle)
        for then in rates:
            outward = _factor(then, middle, target)
            if then.source == first.source and inward is not None and outward is not None:
                found.append(
                    Conversion(
                        source_currency=source, target_currency=target, factor=inward * outward, rates=(first, then)
                    )
                )
    return found


def _factor(rate: ExchangeRate, source: str, target: str) -> Decimal | None:
    """Return units of the target for one unit of the source; None when the rate is of another pair."""
    if (rate.base, rate.quote) == (source, target):
        return rate.rate
    if (rate.quote, rate.base) == (source, target):
        return 1 / rate.rate
    return None


def converted_prices(series: PriceSeries, conversion: Conversion) -> PriceSeries:
    """Return prices in another currency, labelled with the rate, its day and its source; gaps stay gaps.

    They keep the id of the series they were published as: they are for showing and computing and are never stored.

    Raises:
        InvalidInput: The prices are in another currency than the conversion is from.
    """
    if series.currency != conversion.source_currency:
        raise InvalidInput("series.currency", f"is {series.currency}, not {conversion.source_currency}")
    return dataclasses.replace(
        series,
        currency=conversion.target_currency,
        prices_per_mwh=tuple(None if one is None else conversion.price(one) for one in series.prices_per_mwh),
        note="; ".join(part for part in (series.note, conversion.told()) if part),
    )
