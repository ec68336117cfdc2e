"""Day-ahead prices from Nord Pool's public data portal: `GET /api/DayAheadPriceIndices?date=...&indexNames=SE3&...`.

204 when the day is not there; `areaStates` says whether a price is final. The portal's terms reserve all rights: whoever
configures it takes that on, which is why it is never a default. Source: dataportal-api.nordpoolgroup.com, replies as seen.
"""

from datetime import timedelta

from gateway.domain.errors import InvalidInput
from gateway.domain.series import PriceProduct, Quality
from gateway.domain.timegrid import DeliveryDay
from gateway.domain.units import QUARTER_HOUR
from gateway.market_data.feeds.energy_charts import by_start
from gateway.market_data.feeds.public_prices import Ask, Samples
from gateway.market_data.json_document import as_decimal, as_instant, as_list, as_object, as_text, read_object

_AREAS = {
    **{zone: zone for zone in ("AT", "BE", "EE", "FI", "FR", "LT", "LV", "NL", "PL")},
    **{f"DK_{i}": f"DK{i}" for i in (1, 2)},
    **{f"NO_{i}": f"NO{i}" for i in range(1, 6)},
    **{f"SE_{i}": f"SE{i}" for i in range(1, 5)},
    "DE_LU": "GER",
}
"""Name of each zone in the portal."""


class NordPoolPortal:
    """The feed; `PriceFeed`. Prices are asked for in euro."""

    name = "nord-pool-portal"
    licence = "Nord Pool, all rights reserved: used at the operator's own responsibility"
    product = PriceProduct.DAY_AHEAD_SDAC

    async def samples(self, ask: Ask, zone: str, day: DeliveryDay) -> Samples | None:
        """Return the day's prices; see `PriceFeed`."""
        area = _AREAS.get(zone)
        if area is None:
            raise InvalidInput("zone", f"{zone!r} is not in Nord Pool's portal")
        params = {
            "date": day.day.isoformat(),
            "market": "DayAhead",
            "indexNames": area,
            "currency": "EUR",
            "resolutionInMinutes": "15",
        }
        body = await ask("/api/DayAheadPriceIndices", params)
        return None if body is None or not body.strip() else _read(body, area)


def _read(body: bytes, area: str) -> Samples | None:
    document = read_object(body, "nord-pool-portal", exact=True)
    rows = as_list(document.get("multiIndexEntries"), "multiIndexEntries")
    if not rows:
        return None
    starts, prices, steps = [], [], set[timedelta]()
    for i, row in enumerate(rows):
        entry = as_object(row, f"multiIndexEntries[{i}]")
        start = as_instant(entry.get("deliveryStart"), f"multiIndexEntries[{i}].deliveryStart")
        steps.add(as_instant(entry.get("deliveryEnd"), f"multiIndexEntries[{i}].deliveryEnd") - start)
        values = as_object(entry.get("entryPerArea"), f"multiIndexEntries[{i}].entryPerArea")
        value = values.get(area)
        starts.append(start)
        prices.append(None if value is None else as_decimal(value, f"multiIndexEntries[{i}].entryPerArea.{area}"))
    if len(steps) != 1 or min(steps) < QUARTER_HOUR:
        raise InvalidInput("multiIndexEntries", "must all have one length of at least a quarter-hour")
    return Samples(
        currency=as_text(document.get("currency"), "currency"),
        step=steps.pop(),
        price_per_mwh=by_start(starts, prices),
        quality=Quality.FINAL if _is_final(document.get("areaStates"), area) else Quality.PRELIMINARY,
        published_at=as_instant(document.get("updatedAt"), "updatedAt"),
    )


def _is_final(states: object, area: str) -> bool:
    for i, state in enumerate(as_list(states, "areaStates")):
        entry = as_object(state, f"areaStates[{i}]")
        if area in as_list(entry.get("areas"), f"areaStates[{i}].areas"):
            return entry.get("state") == "Final"
    return False
