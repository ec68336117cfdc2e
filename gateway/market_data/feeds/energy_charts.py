"""Day-ahead prices from energy-charts (Fraunhofer ISE): `GET /price?bzn=DE-LU&start=2026-07-01&end=2026-07-01`.

Dates are days of the bidding zone, both included; 404 for a day that is not there yet; prices may be null. The reply names its
own licence. Values are those of the single day-ahead coupling; their native step is read from the times.
Source: api.energy-charts.info, OpenAPI description (price: unix_seconds, price, unit, license_info).
"""

from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from gateway.domain.errors import InvalidInput
from gateway.domain.series import PriceProduct
from gateway.domain.timegrid import DeliveryDay
from gateway.market_data.feeds.public_prices import Ask, Samples
from gateway.market_data.json_document import as_decimal, as_list, as_text, from_epoch, read_object

_ZONES = {
    "AT": "AT",
    "BE": "BE",
    "CH": "CH",
    "CZ": "CZ",
    "DE_LU": "DE-LU",
    "DK_1": "DK1",
    "DK_2": "DK2",
    "FR": "FR",
    "HU": "HU",
    "IT_NORD": "IT-North",
    "NL": "NL",
    "NO_2": "NO2",
    "PL": "PL",
    "SE_4": "SE4",
    "SI": "SI",
}
"""Zones whose values are published under CC BY 4.0; others are for private use and not offered here."""
_UNIT = "EUR / MWh"
_SECOND = timedelta(seconds=1)


class EnergyCharts:
    """The feed; `PriceFeed`."""

    name = "energy-charts"
    licence = "CC BY 4.0, Bundesnetzagentur | SMARD.de, by energy-charts.info"
    product = PriceProduct.DAY_AHEAD_SDAC

    async def samples(self, ask: Ask, zone: str, day: DeliveryDay) -> Samples | None:
        """Return the day's prices; see `PriceFeed`."""
        name = _ZONES.get(zone)
        if name is None:
            raise InvalidInput("zone", f"{zone!r} is not offered by energy-charts under an open licence")
        iso = day.day.isoformat()
        body = await ask("/price", {"bzn": name, "start": iso, "end": iso})
        return None if body is None else _read(body)


def _read(body: bytes) -> Samples:
    document = read_object(body, "energy-charts", exact=True)
    if as_text(document.get("unit"), "unit") != _UNIT:
        raise InvalidInput("unit", f"must be {_UNIT!r}")
    times = as_list(document.get("unix_seconds"), "unix_seconds")
    values = as_list(document.get("price"), "price")
    if len(times) != len(values):
        raise InvalidInput("price", f"has {len(values)} values for {len(times)} times")
    starts = [from_epoch(one, f"unix_seconds[{i}]", unit=_SECOND) for i, one in enumerate(times)]
    prices = [None if one is None else as_decimal(one, f"price[{i}]") for i, one in enumerate(values)]
    return Samples(currency="EUR", step=step_of(starts), price_per_mwh=by_start(starts, prices))


def step_of(starts: list[datetime]) -> timedelta:
    """Return the native step of times in order: the shortest distance of two neighbours.

    Raises:
        InvalidInput: They do not grow, or there are fewer than two.
    """
    steps = [later - earlier for earlier, later in pairwise(starts)]
    if not steps or min(steps) <= timedelta(0):
        raise InvalidInput("times", "must grow, and be at least two")
    return min(steps)


def by_start(starts: list[datetime], prices: list[Decimal | None]) -> dict[datetime, Decimal | None]:
    """Return prices by the begin of their period.

    Raises:
        InvalidInput: A begin is there twice.
    """
    found = dict(zip(starts, prices, strict=True))
    if len(found) != len(starts):
        raise InvalidInput("times", "name a period twice")
    return found
