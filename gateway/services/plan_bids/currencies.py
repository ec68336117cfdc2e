"""Market prices in the portfolio's currency: by a stated rate, labelled; a plan is not made from prices that nobody can convert."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import date

from gateway.domain.errors import RateMissing
from gateway.domain.exchange_rates import ExchangeRate, conversion_of, converted_prices, rate_window
from gateway.domain.price_doubts import UsedDay
from gateway.domain.series import PriceSeries
from gateway.domain.topology import Portfolio
from gateway.ports import Store


async def in_own_currency(store: Store, portfolio: Portfolio, days: Iterable[UsedDay]) -> list[UsedDay]:
    """Return market days with their prices in the portfolio's currency, each converted by the rate of its own day.

    Prices without a rate stay in their own currency: nobody may use them (`require_own_currency`).
    """
    found = []
    for day in days:
        series = day.series
        if series is not None and series.currency != portfolio.currency:
            series = await _converted(store, portfolio, series, day.status.day)
        found.append(replace(day, series=series))
    return found


def require_own_currency(portfolio: Portfolio, days: Iterable[UsedDay]) -> None:
    """Check that all prices are in the portfolio's currency.

    Raises:
        RateMissing: Those of a day are not, because no exchange rate is known for it.
    """
    for day in days:
        if day.series is not None and day.series.is_complete and day.series.currency != portfolio.currency:
            conversion_of(
                (),
                field="plan.prices.currency",
                source=day.series.currency,
                target=portfolio.currency,
                day=date.fromisoformat(day.status.day),
            )


async def _converted(store: Store, portfolio: Portfolio, series: PriceSeries, iso_day: str) -> PriceSeries:
    day = date.fromisoformat(iso_day)
    since, until = rate_window(day)
    rows = await store.find(ExchangeRate, portfolio.tenant, since=since, until=until)
    rates = [row.record for row in rows]
    try:
        conversion = conversion_of(
            rates, field="plan.prices.currency", source=series.currency, target=portfolio.currency, day=day
        )
    except RateMissing:
        return series
    return converted_prices(series, conversion)
