"""The prices that a delivery day is settled from: complete, in the award's currency, with what is doubtful about them."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal

from gateway.domain.errors import PreconditionFailed
from gateway.domain.exchange_rates import Conversion, ExchangeRate, conversion_of, rate_window
from gateway.domain.market_time_units import day_ahead_product
from gateway.domain.price_doubts import UsedDay, named_doubts
from gateway.domain.series import DayState, MarketDayStatus, PriceProduct, PriceSeries, market_day_id
from gateway.domain.settlement import Settlement
from gateway.domain.timegrid import DeliveryDay, TimeGrid
from gateway.ports import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class ImbalancePrices:
    """What a deviation costs or brings per delivery period; one price holds for both directions unless the zone has two."""

    short: tuple[Decimal, ...]
    """Of a deficit: more was drawn than bought."""
    long: tuple[Decimal, ...]
    """Of a surplus: less was drawn than bought."""
    days: tuple[UsedDay, ...]
    """The market days behind it, one or two."""
    currency: str
    """ISO 4217 code."""

    @property
    def series(self) -> tuple[str, ...]:
        """Ids of the price series behind it."""
        return tuple(dict.fromkeys(day.series.id for day in self.days if day.series is not None))

    def converted(self, conversion: Conversion) -> "ImbalancePrices":
        """Return the same prices in another currency."""
        return replace(
            self,
            short=tuple(conversion.price(one) for one in self.short),
            long=tuple(conversion.price(one) for one in self.long),
            currency=conversion.target_currency,
        )

    def of(self, index: int, deviation: Decimal) -> Decimal:
        """Return the price of a period for a deviation, positive when more was drawn than bought."""
        return self.short[index] if deviation >= 0 else self.long[index]


@dataclass(frozen=True, kw_only=True, slots=True)
class PriceBasis:
    """The prices that a settlement is made from, as they are known now."""

    imbalance: ImbalancePrices
    """In the award's currency."""
    series: tuple[str, ...]
    """Ids of the price series."""
    doubts: tuple[str, ...]
    """What is doubtful about them."""
    conversions: tuple[str, ...]
    """Which were converted, and by which rate."""

    def why_other(self, settlement: Settlement) -> str:
        """Return why a settlement was made from something else than is known now; empty when it was not."""
        made_from = {cause.removeprefix("series:") for cause in settlement.causes if cause.startswith("series:")}
        if made_from != set(self.series):
            return f"prices were revised: made from {_listed(made_from)}, known now {_listed(self.series)}"
        if settlement.price_doubts != self.doubts:
            return f"what is doubtful about its prices is another thing now: {'; '.join(self.doubts) or 'nothing'}"
        if settlement.conversions != self.conversions:
            return f"exchange rates were revised: {'; '.join(self.conversions) or 'none is needed'}"
        return ""


class PriceReader:
    """Reads prices; judges nothing."""

    def __init__(self, store: Store) -> None:
        """Take the store."""
        self._store = store

    async def basis(self, tenant: str, zone: str, day: DeliveryDay, currency: str) -> PriceBasis:
        """Return the prices that a delivery day is settled from, as they are known now.

        Args:
            tenant: Whose rows.
            zone: Bidding zone.
            day: The delivery day.
            currency: ISO 4217 code of the award.

        Raises:
            PreconditionFailed: The imbalance prices of the day are not complete yet.
            RateMissing: They are in another currency, and no rate is known.
        """
        imbalance = await self.imbalance(tenant, zone, day)
        conversion = await self.conversion(tenant, imbalance.currency, currency, day)
        day_ahead = await self._published(tenant, zone, day_ahead_product(zone), day)
        days = (*(() if day_ahead is None else (day_ahead,)), *imbalance.days)
        return PriceBasis(
            imbalance=imbalance if conversion is None else imbalance.converted(conversion),
            series=tuple(dict.fromkeys(price_series_of(one).id for one in days)),
            doubts=named_doubts(days),
            conversions=() if conversion is None else (f"imbalance prices {conversion.told()}",),
        )

    async def conversion(self, tenant: str, source: str, target: str, day: DeliveryDay) -> Conversion | None:
        """Return how imbalance prices become money of the award; None when they are in its currency.

        Raises:
            RateMissing: They are not, and no rate is known.
        """
        if source == target:
            return None
        since, until = rate_window(day.day)
        rows = await self._store.find(ExchangeRate, tenant, since=since, until=until)
        rates = [row.record for row in rows]
        return conversion_of(rates, field="imbalance.currency", source=source, target=target, day=day.day)

    async def imbalance(self, tenant: str, zone: str, day: DeliveryDay) -> ImbalancePrices:
        """Return the imbalance prices of a day: two where the zone has them, otherwise one for both directions.

        Raises:
            PreconditionFailed: They are not complete yet.
        """
        short, long = PriceProduct.IMBALANCE_SHORT, PriceProduct.IMBALANCE_LONG
        if await self._store.get(MarketDayStatus, tenant, market_day_id(zone, short, day)) is None:
            short = long = PriceProduct.IMBALANCE
        days = [await self._complete_day(tenant, zone, product, day) for product in dict.fromkeys((short, long))]
        deficit, surplus = price_series_of(days[0]), price_series_of(days[-1])
        if deficit.currency != surplus.currency:
            raise PreconditionFailed(f"imbalance prices of {day.day.isoformat()} are in two currencies")
        grid = day.grid()
        return ImbalancePrices(
            short=per_period(deficit, grid),
            long=per_period(surplus, grid),
            days=tuple(days),
            currency=deficit.currency,
        )

    async def complete_series(self, tenant: str, zone: str, product: PriceProduct, day: DeliveryDay) -> PriceSeries:
        """Return the published prices of a day.

        Raises:
            PreconditionFailed: They are not complete yet.
        """
        return price_series_of(await self._complete_day(tenant, zone, product, day))

    async def _complete_day(self, tenant: str, zone: str, product: PriceProduct, day: DeliveryDay) -> UsedDay:
        found = await self._published(tenant, zone, product, day)
        if found is None:
            raise PreconditionFailed(f"the {product.value} prices of {day.day.isoformat()} are not complete yet")
        return found

    async def _published(self, tenant: str, zone: str, product: PriceProduct, day: DeliveryDay) -> UsedDay | None:
        status = await self._store.get(MarketDayStatus, tenant, market_day_id(zone, product, day))
        if status is None or status.record.state is not DayState.COMPLETE or status.record.series_id is None:
            return None
        row = await self._store.get(PriceSeries, tenant, status.record.series_id)
        return None if row is None else UsedDay(status=status.record, series=row.record)


def price_series_of(day: UsedDay) -> PriceSeries:
    """Return the prices of a day that is complete.

    Raises:
        PreconditionFailed: It has none.
    """
    if day.series is None:
        raise PreconditionFailed(f"there are no prices of {day.status.id}")
    return day.series


def per_period(series: PriceSeries, grid: TimeGrid) -> tuple[Decimal, ...]:
    """Return complete prices on the delivery periods of a grid: an hour's price holds for its quarters.

    Raises:
        PreconditionFailed: A price is missing.
    """
    each = series.grid.step // grid.step
    prices = [price for price in series.prices_per_mwh for _ in range(each)]
    known = [price for price in prices if price is not None]
    if len(known) != grid.count:
        raise PreconditionFailed(f"series {series.id} has {len(known)} of {grid.count} prices")
    return tuple(known)


def _listed(ids: Iterable[str]) -> str:
    return ", ".join(sorted(ids)) or "none"
