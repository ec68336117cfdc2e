"""Which auction sets the day-ahead prices of a zone, and for how long each of its prices holds: facts of the markets, with sources.

A price of a market's own time unit is a price, however long that is; one of a longer period is a mean of several. The tables say
what a market clears, not what a feed happens to send.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from types import MappingProxyType

from gateway.domain.series import PriceProduct
from gateway.domain.units import QUARTER_HOUR

_HOUR = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class MarketTimeUnit:
    """For how long one price of an auction holds, from a delivery day on."""

    valid_from: date
    step: timedelta
    source: str


OUTSIDE_COUPLING: Mapping[str, str] = MappingProxyType(
    {
        "AL": "Contracting Party of the Energy Community: its own exchange (ALPEX), coupled with Kosovo only",
        "BA": "Contracting Party of the Energy Community, not in the coupling",
        "CH": "no electricity agreement with the EU: an auction of its own (EPEX SPOT Switzerland, 11:00)",
        "GB": "left the coupling on 31 December 2020: auctions of its own (N2EX, EPEX SPOT)",
        "GE": "Contracting Party of the Energy Community, not in the coupling",
        "MD": "Contracting Party of the Energy Community, not in the coupling",
        "ME": "Contracting Party of the Energy Community: its own exchange (BELEN), not in the coupling",
        "MK": "Contracting Party of the Energy Community: its own exchange (MEMO), not in the coupling",
        "RS": "Contracting Party of the Energy Community: its own exchange (SEEPEX), not in the coupling",
        "TR": "its own exchange (EPIAS), not in the coupling",
        "UA": "Contracting Party of the Energy Community, not in the coupling",
        "UA_IPS": "Contracting Party of the Energy Community, not in the coupling",
        "XK": "Contracting Party of the Energy Community: coupled with Albania only",
    }
)
"""Zones whose day-ahead prices come from an auction of their own, and why: prices of the coupling there are nobody's.

Source: list of operational bidding zones of the single day-ahead coupling (NEMO Committee, 2025); Energy Community Secretariat.
"""

_COUPLED = (
    MarketTimeUnit(valid_from=date.min, step=_HOUR, source="hourly products since the coupling began in 2014"),
    MarketTimeUnit(
        valid_from=date(2025, 10, 1),
        step=QUARTER_HOUR,
        source="NEMO Committee: 15-minute products in the single day-ahead coupling, first delivery day 1 October 2025",
    ),
)
_HOURLY: Mapping[str, MarketTimeUnit] = MappingProxyType(
    {
        "IE_SEM": MarketTimeUnit(
            valid_from=date.min,
            step=_HOUR,
            source="SEMOpx: day-ahead market of Ireland in hourly products, also after 1 October 2025",
        ),
        "CH": MarketTimeUnit(
            valid_from=date.min, step=_HOUR, source="EPEX SPOT: Swiss day-ahead auction in hourly products"
        ),
        "GB": MarketTimeUnit(
            valid_from=date.min, step=_HOUR, source="N2EX and EPEX SPOT: day-ahead auctions of Great Britain, hourly"
        ),
    }
)
"""Zones whose day-ahead auction still clears hours."""


def day_ahead_product(zone: str) -> PriceProduct:
    """Return which auction sets the day-ahead prices of a bidding zone: the coupling's, or its own."""
    return PriceProduct.DAY_AHEAD_LOCAL if zone in OUTSIDE_COUPLING else PriceProduct.DAY_AHEAD_SDAC


def market_time_unit(product: PriceProduct, zone: str, day: date) -> MarketTimeUnit | None:
    """Return for how long one price of a zone's day-ahead auction holds on a delivery day; None where it is not known.

    Args:
        product: What the prices are of.
        zone: Bidding zone.
        day: Delivery day in the market's time zone.
    """
    if product not in {PriceProduct.DAY_AHEAD_SDAC, PriceProduct.DAY_AHEAD_LOCAL}:
        return None
    own = _HOURLY.get(zone)
    if own is not None:
        return own
    if product is PriceProduct.DAY_AHEAD_LOCAL:
        return None
    return max((unit for unit in _COUPLED if unit.valid_from <= day), key=lambda unit: unit.valid_from)
