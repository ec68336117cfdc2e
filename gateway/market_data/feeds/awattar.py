"""Hourly day-ahead prices of Germany and Austria from aWATTar: `GET /v1/marketdata?start={ms}&end={ms}`.

The reply lists `{"start_timestamp": ms, "end_timestamp": ms, "marketprice": 152, "unit": "Eur/MWh"}`. It has stayed hourly
after the auction went to quarter-hours, so its values are means of four prices from October 2025 on and are marked so.
Source: aWATTar data feed, public API (60 requests a minute).
"""

from datetime import timedelta

from gateway.domain.errors import InvalidInput
from gateway.domain.series import PriceProduct
from gateway.domain.timegrid import DeliveryDay
from gateway.market_data.feeds.energy_charts import by_start
from gateway.market_data.feeds.public_prices import Ask, Samples
from gateway.market_data.json_document import as_decimal, as_list, as_object, as_text, from_epoch, read_object

_MILLISECOND = timedelta(milliseconds=1)
_HOUR = timedelta(hours=1)


class Awattar:
    """The feed of one country; `PriceFeed`.

    Args:
        zone: `DE_LU` behind the German address, `AT` behind the Austrian one; the reply does not say which.
    """

    name = "awattar"
    licence = "aWATTar GmbH, public API, fair use"
    product = PriceProduct.DAY_AHEAD_SDAC

    def __init__(self, zone: str) -> None:
        if zone not in {"DE_LU", "AT"}:
            raise InvalidInput("awattar.zone", "must be DE_LU or AT")
        self._zone = zone

    async def samples(self, ask: Ask, zone: str, day: DeliveryDay) -> Samples | None:
        """Return the day's prices; see `PriceFeed`."""
        if zone != self._zone:
            raise InvalidInput("zone", f"{zone!r} is not what this aWATTar address publishes")
        grid = day.grid()
        span = {"start": _milliseconds(grid.start.timestamp()), "end": _milliseconds(grid.end.timestamp())}
        body = await ask("/v1/marketdata", span)
        return None if body is None else _read(body)


def _read(body: bytes) -> Samples | None:
    rows = as_list(read_object(body, "awattar", exact=True).get("data"), "data")
    if not rows:
        return None
    starts, prices = [], []
    for i, row in enumerate(rows):
        entry = as_object(row, f"data[{i}]")
        start = from_epoch(entry.get("start_timestamp"), f"data[{i}].start_timestamp", unit=_MILLISECOND)
        end = from_epoch(entry.get("end_timestamp"), f"data[{i}].end_timestamp", unit=_MILLISECOND)
        if end - start != _HOUR:
            raise InvalidInput(f"data[{i}].end_timestamp", "must be an hour after the begin")
        if as_text(entry.get("unit"), f"data[{i}].unit").lower() != "eur/mwh":
            raise InvalidInput(f"data[{i}].unit", "must be Eur/MWh")
        starts.append(start)
        prices.append(as_decimal(entry.get("marketprice"), f"data[{i}].marketprice"))
    return Samples(currency="EUR", step=_HOUR, price_per_mwh=by_start(starts, list(prices)))


def _milliseconds(seconds: float) -> str:
    return str(round(seconds * 1000))
