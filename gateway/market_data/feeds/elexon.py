"""Imbalance prices of Great Britain from Elexon's Insights API: `GET /balancing/settlement/system-prices/{date}`.

A settlement day is a day of London with 46, 48 or 50 half-hours, numbered from 1. Buy and sell price have been one price
since P305 (November 2015); where they differ, one series cannot hold them and the reply is refused. Prices are revised by later
settlement runs, so they stay preliminary here. Source: Elexon Insights Solution, data set DISEBSP; BMRS data licence.
"""

from datetime import datetime, timedelta
from decimal import Decimal

from gateway.domain.errors import InvalidInput
from gateway.domain.series import PriceProduct, Quality
from gateway.domain.timegrid import DeliveryDay
from gateway.market_data.feeds.energy_charts import by_start
from gateway.market_data.feeds.public_prices import Ask, Samples
from gateway.market_data.json_document import as_count, as_decimal, as_instant, as_list, as_object, as_text, read_object

_HALF_HOUR = timedelta(minutes=30)


class ElexonSystemPrices:
    """The feed; `PriceFeed`."""

    name = "elexon"
    licence = "BMRS data licence, Elexon"
    product = PriceProduct.IMBALANCE

    async def samples(self, ask: Ask, zone: str, day: DeliveryDay) -> Samples | None:
        """Return the day's system prices; see `PriceFeed`."""
        if zone != "GB":
            raise InvalidInput("zone", f"{zone!r} is not settled by Elexon")
        if day.zone != "Europe/London":
            raise InvalidInput("day.zone", "a settlement day is a day of London")
        body = await ask(f"/balancing/settlement/system-prices/{day.day.isoformat()}", {"format": "json"})
        return None if body is None else _read(body, day)


def _read(body: bytes, day: DeliveryDay) -> Samples | None:
    rows = as_list(read_object(body, "elexon", exact=True).get("data"), "data")
    if not rows:
        return None
    grid = day.grid(_HALF_HOUR)
    starts: list[datetime] = []
    prices: list[Decimal | None] = []
    published: list[datetime] = []
    for i, row in enumerate(rows):
        entry = as_object(row, f"data[{i}]")
        if as_text(entry.get("settlementDate"), f"data[{i}].settlementDate") != day.day.isoformat():
            raise InvalidInput(f"data[{i}].settlementDate", "is of another day")
        period = as_count(entry.get("settlementPeriod"), f"data[{i}].settlementPeriod")
        if not 1 <= period <= grid.count:
            raise InvalidInput(f"data[{i}].settlementPeriod", f"must be 1 to {grid.count} on this day")
        buy = as_decimal(entry.get("systemBuyPrice"), f"data[{i}].systemBuyPrice")
        if as_decimal(entry.get("systemSellPrice"), f"data[{i}].systemSellPrice") != buy:
            raise InvalidInput(f"data[{i}].systemSellPrice", "differs from the buy price: two prices are two series")
        starts.append(grid.slot_start(period - 1))
        prices.append(buy)
        published.append(as_instant(entry.get("createdDateTime"), f"data[{i}].createdDateTime"))
    return Samples(
        currency="GBP",
        step=_HALF_HOUR,
        price_per_mwh=by_start(starts, prices),
        quality=Quality.PRELIMINARY,
        published_at=max(published),
        notes=("later settlement runs may revise these prices",),
    )
