"""Day-ahead prices from SMARD (Bundesnetzagentur): an index of weekly chunks, then the chunk that holds the day.

```
GET /chart_data/4169/DE-LU/index_quarterhour.json               {"timestamps": [ms, ...]}
GET /chart_data/4169/DE-LU/4169_DE-LU_quarterhour_{ms}.json     {"series": [[ms, price | null], ...]}
```
Slots of the future and gaps are null. Source: SMARD.de, chart data of the market data visualisation, CC BY 4.0.
"""

from datetime import datetime, timedelta
from decimal import Decimal

from gateway.domain.errors import InvalidInput
from gateway.domain.series import PriceProduct
from gateway.domain.timegrid import DeliveryDay
from gateway.domain.units import QUARTER_HOUR
from gateway.market_data.feeds.public_prices import Ask, Samples
from gateway.market_data.json_document import as_decimal, as_list, from_epoch, read_object

_FILTERS = {
    "AT": 4170,
    "BE": 4996,
    "CH": 259,
    "CZ": 261,
    "DE_LU": 4169,
    "DK_1": 252,
    "DK_2": 253,
    "FR": 254,
    "HU": 262,
    "IT_NORD": 255,
    "NL": 256,
    "NO_2": 4997,
    "PL": 257,
    "SE_4": 258,
    "SI": 260,
}
"""Number of the price series of a zone in SMARD's catalogue."""
_REGION = "DE-LU"
"""All price series are filed under the region of the platform."""
_MILLISECOND = timedelta(milliseconds=1)
_CHUNK = timedelta(days=8)
"""A chunk holds a week; around clock changes an hour more."""


class Smard:
    """The feed; `PriceFeed`."""

    name = "smard"
    licence = "CC BY 4.0, Bundesnetzagentur | SMARD.de"
    product = PriceProduct.DAY_AHEAD_SDAC

    async def samples(self, ask: Ask, zone: str, day: DeliveryDay) -> Samples | None:
        """Return the day's prices; see `PriceFeed`."""
        number = _FILTERS.get(zone)
        if number is None:
            raise InvalidInput("zone", f"{zone!r} is not published by SMARD")
        folder = f"/chart_data/{number}/{_REGION}"
        index = await ask(f"{folder}/index_quarterhour.json", {})
        stamp = None if index is None else _chunk_of(index, day)
        if stamp is None:
            return None
        body = await ask(f"{folder}/{number}_{_REGION}_quarterhour_{stamp}.json", {})
        return None if body is None else _read(body, day)


def _chunk_of(body: bytes, day: DeliveryDay) -> int | None:
    """Return the stamp of the chunk that holds the begin of the day; None when it is not listed yet."""
    stamps = as_list(read_object(body, "smard.index").get("timestamps"), "timestamps")
    begins = [(from_epoch(one, f"timestamps[{i}]", unit=_MILLISECOND), one) for i, one in enumerate(stamps)]
    start = day.interval.start
    known = [(begin, stamp) for begin, stamp in begins if begin <= start < begin + _CHUNK]
    latest = max(known, default=None, key=lambda pair: pair[0])
    return latest[1] if latest is not None and isinstance(latest[1], int) else None


def _read(body: bytes, day: DeliveryDay) -> Samples | None:
    series = as_list(read_object(body, "smard", exact=True).get("series"), "series")
    grid = day.grid()
    prices: dict[datetime, Decimal | None] = {}
    for i, entry in enumerate(series):
        pair = as_list(entry, f"series[{i}]")
        if len(pair) != 2:
            raise InvalidInput(f"series[{i}]", "must be a time and a price")
        start = from_epoch(pair[0], f"series[{i}][0]", unit=_MILLISECOND)
        if not grid.start <= start < grid.end:
            continue
        if start in prices:
            raise InvalidInput(f"series[{i}]", "names a period twice")
        prices[start] = None if pair[1] is None else as_decimal(pair[1], f"series[{i}][1]")
    return Samples(currency="EUR", step=QUARTER_HOUR, price_per_mwh=prices) if prices else None
