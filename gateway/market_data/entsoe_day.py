"""From what documents say to one delivery day: choose the series by rule, lay them onto the day's quarter-hours.

```
PT15M   |a|b|c|d|               finer wins where its Period covers the slot, also where it has a gap (None)
PT60M   |   h   |   k   |       coarser fills only what no finer Period covers, repeated, with its native step beside it
day     |a|b|c|d|k|k|k|k|
```
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from gateway.domain.errors import InvalidInput
from gateway.domain.series import PriceProduct
from gateway.domain.timegrid import DeliveryDay, TimeGrid
from gateway.domain.units import QUARTER_HOUR
from gateway.market_data.entsoe_document import PriceDocument, PricePeriod, PriceTimeSeries
from gateway.market_data.market_rules import PriceLimits, ZoneRule, contract_of

SUSPICIOUS_TAIL = timedelta(hours=3)
"""A last point that is repeated for longer than this may be a document cut short (no auction day has had it so far)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AssembledDay:
    """The prices of a delivery day on its grid, and what was done to get there."""

    grid: TimeGrid
    currency: str
    prices_per_mwh: tuple[Decimal | None, ...]
    native_steps: tuple[timedelta | None, ...]
    """Length of the period that each slot's price is of, more than a quarter-hour where it was repeated; None for a gap."""
    repeated_tail: timedelta
    """Longest time at the end of a Period that repeats its last point."""

    @property
    def expanded_count(self) -> int:
        """Slots whose price comes from a coarser resolution and was repeated."""
        return sum(step is not None and step > QUARTER_HOUR for step in self.native_steps)

    @property
    def is_suspicious(self) -> bool:
        """Whether the document may have been cut short."""
        return self.repeated_tail > SUSPICIOUS_TAIL

    def notes(self) -> tuple[str, ...]:
        """Return what a person should know about the day."""
        if self.is_suspicious:
            return (f"the last price is repeated for {self.repeated_tail}: the document may be cut short",)
        return ()


def auction_series(document: PriceDocument, rule: ZoneRule, product: PriceProduct) -> tuple[PriceTimeSeries, ...]:
    """Return the series of a price document that are the auction of the product in this zone.

    The auction is never guessed: positions the rule does not list are left out, and so are series of another contract.

    Raises:
        InvalidInput: The rule has no auction of that product, two listed positions are there at once, or a currency is not
            one of the zone's.
    """
    positions = rule.sequences.get(product)
    if positions is None:
        raise InvalidInput("product", f"zone {rule.zone} has no rule for {product.value}")
    chosen = tuple(
        series for series in document.series if series.contract == contract_of(product) and series.sequence in positions
    )
    if len({series.sequence for series in chosen}) > 1:
        raise InvalidInput("classificationSequence", f"zone {rule.zone} has two auctions but its rule tells of one")
    for series in chosen:
        if series.currency not in rule.currencies:
            raise InvalidInput("currency_Unit.name", f"{series.currency} is not a currency of zone {rule.zone}")
    return chosen


def assemble_day(series: Sequence[PriceTimeSeries], day: DeliveryDay) -> AssembledDay | None:
    """Lay series of one product onto the quarter-hours of a delivery day (92, 96 or 100).

    Returns:
        The day with None in each slot nothing is known about; None when no series says anything about the day.

    Raises:
        InvalidInput: Two currencies, two different prices for one slot, or a Period off the quarter-hour grid.
    """
    grid = day.grid()
    touching = [(s, p) for s in series for p in s.periods if p.start < grid.end and grid.start < p.end]
    if not touching:
        return None
    currencies = {s.currency for s, _ in touching}
    if len(currencies) > 1:
        raise InvalidInput("currency_Unit.name", f"{' and '.join(sorted(currencies))} do not mix")
    prices, steps = _lay_out((period for _, period in touching), grid)
    if all(price is None for price in prices):
        return None
    return AssembledDay(
        grid=grid,
        currency=currencies.pop(),
        prices_per_mwh=tuple(prices),
        native_steps=tuple(None if price is None else step for price, step in zip(prices, steps, strict=True)),
        repeated_tail=max(period.step * period.repeated_tail_count for _, period in touching),
    )


def require_limits(day: AssembledDay, limits: PriceLimits | None) -> None:
    """Check that all prices are inside the market's limits; no limits are known for some products and currencies.

    Raises:
        InvalidInput: A price is outside; the field names its slot.
    """
    if limits is None:
        return
    for index, price in enumerate(day.prices_per_mwh):
        if price is not None and not limits.min_per_mwh <= price <= limits.max_per_mwh:
            raise InvalidInput(
                f"price.amount[{index}]",
                f"{price} is outside the market's limits {limits.min_per_mwh} to {limits.max_per_mwh}",
            )


def _lay_out(periods: Iterable[PricePeriod], grid: TimeGrid) -> tuple[list[Decimal | None], list[timedelta]]:
    """Return the price of each slot and the step of the Period it comes from (zero where none covers it)."""
    prices: list[Decimal | None] = [None] * grid.count
    steps = [timedelta(0)] * grid.count
    for period in sorted(periods, key=lambda period: period.step):
        offset = period.start - grid.start
        if offset % QUARTER_HOUR:
            raise InvalidInput("Period.timeInterval", "does not start on a quarter-hour of the delivery day")
        first = offset // QUARTER_HOUR
        width = period.step // QUARTER_HOUR
        for slot in range(max(0, first), min(grid.count, first + width * len(period.prices_per_mwh))):
            price = period.prices_per_mwh[(slot - first) // width]
            covered_finer = timedelta(0) < steps[slot] < period.step
            if covered_finer:
                continue
            steps[slot] = period.step
            prices[slot] = _agree(prices[slot], price, grid, slot)
    return prices, steps


def _agree(known: Decimal | None, found: Decimal | None, grid: TimeGrid, slot: int) -> Decimal | None:
    """Return the one price that two Periods of equal resolution give for a slot."""
    if known is None or found is None:
        return found if known is None else known
    if known != found:
        raise InvalidInput("price.amount", f"{grid.slot_start(slot).isoformat()} has two prices, {known} and {found}")
    return known
