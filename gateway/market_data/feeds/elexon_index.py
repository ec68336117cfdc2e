"""What short-term trading in Great Britain cost: Elexon's market index data, `GET /balancing/pricing/market-index`.

Two exchanges report a price and the volume behind it per half-hour; one that traded nothing reports 0 for both, which is no
price. `{"data": [{"startTime": "2023-07-20T11:30:00Z", "dataProvider": "APXMIDP", "settlementDate": "2023-07-20",
"settlementPeriod": 26, "price": 90.53, "volume": 1234.5}]}`. Source: Elexon Insights Solution, data set MID; BMRS data licence.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from gateway.domain.errors import InvalidInput
from gateway.domain.series import PriceProduct
from gateway.domain.timegrid import DeliveryDay
from gateway.market_data.feeds.energy_charts import by_start
from gateway.market_data.feeds.public_prices import Ask, Samples
from gateway.market_data.json_document import as_decimal, as_instant, as_list, as_object, as_text, read_object

_HALF_HOUR = timedelta(minutes=30)
PROVIDER = "APXMIDP"
"""EPEX SPOT in Great Britain; the other provider has reported no volume for years."""


class ElexonMarketIndex:
    """The feed; `PriceFeed`."""

    name = "elexon-market-index"
    licence = "BMRS data licence, Elexon"
    product = PriceProduct.INTRADAY_REFERENCE

    async def samples(self, ask: Ask, zone: str, day: DeliveryDay) -> Samples | None:
        """Return the day's index prices; see `PriceFeed`."""
        if zone != "GB":
            raise InvalidInput("zone", f"{zone!r} is not reported to Elexon")
        grid = day.grid(_HALF_HOUR)
        last = grid.slot_start(grid.count - 1)
        params = {"from": _stamp(grid.start), "to": _stamp(last), "dataProviders": PROVIDER, "format": "json"}
        body = await ask("/balancing/pricing/market-index", params)
        return None if body is None else _read(body)


def _read(body: bytes) -> Samples | None:
    rows = as_list(read_object(body, "elexon", exact=True).get("data"), "data")
    starts: list[datetime] = []
    prices: list[Decimal | None] = []
    for i, row in enumerate(rows):
        entry = as_object(row, f"data[{i}]")
        if as_text(entry.get("dataProvider"), f"data[{i}].dataProvider") != PROVIDER:
            continue
        volume = as_decimal(entry.get("volume"), f"data[{i}].volume")
        price = as_decimal(entry.get("price"), f"data[{i}].price")
        starts.append(as_instant(entry.get("startTime"), f"data[{i}].startTime"))
        prices.append(None if volume == 0 else price)
    return Samples(currency="GBP", step=_HALF_HOUR, price_per_mwh=by_start(starts, prices)) if starts else None


def _stamp(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")
