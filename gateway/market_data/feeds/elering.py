"""Day-ahead prices of Estonia, Latvia, Lithuania and Finland from Elering: `GET /api/nps/price?start=...&end=...`.

The reply has one list per country: `{"success": true, "data": {"ee": [{"timestamp": seconds, "price": 45.06}]}}`, EUR/MWh.
Source: dashboard.elering.ee, public API of the transmission system operator.
"""

from datetime import UTC, datetime, timedelta

from gateway.domain.errors import InvalidInput, PeerUnavailable
from gateway.domain.series import PriceProduct
from gateway.domain.timegrid import DeliveryDay
from gateway.market_data.feeds.energy_charts import by_start, step_of
from gateway.market_data.feeds.public_prices import Ask, Samples
from gateway.market_data.json_document import as_decimal, as_list, as_object, from_epoch, read_object

_COUNTRIES = {"EE": "ee", "LV": "lv", "LT": "lt", "FI": "fi"}
_SECOND = timedelta(seconds=1)


class Elering:
    """The feed; `PriceFeed`."""

    name = "elering"
    licence = "Elering AS, public API"
    product = PriceProduct.DAY_AHEAD_SDAC

    async def samples(self, ask: Ask, zone: str, day: DeliveryDay) -> Samples | None:
        """Return the day's prices; see `PriceFeed`."""
        country = _COUNTRIES.get(zone)
        if country is None:
            raise InvalidInput("zone", f"{zone!r} is not published by Elering")
        grid = day.grid()
        last = grid.end - timedelta(milliseconds=1)
        body = await ask("/api/nps/price", {"start": _stamp(grid.start), "end": _stamp(last)})
        return None if body is None else _read(body, country)


def _read(body: bytes, country: str) -> Samples | None:
    document = read_object(body, "elering", exact=True)
    if document.get("success") is not True:
        raise PeerUnavailable("elering says that the request failed")
    rows = as_list(as_object(document.get("data"), "data").get(country, []), f"data.{country}")
    if not rows:
        return None
    entries = [as_object(row, f"data.{country}[{i}]") for i, row in enumerate(rows)]
    starts = [
        from_epoch(row.get("timestamp"), f"data.{country}[{i}].timestamp", unit=_SECOND)
        for i, row in enumerate(entries)
    ]
    prices = [
        None if row.get("price") is None else as_decimal(row["price"], f"data.{country}[{i}].price")
        for i, row in enumerate(entries)
    ]
    return Samples(currency="EUR", step=step_of(starts), price_per_mwh=by_start(starts, prices))


def _stamp(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
