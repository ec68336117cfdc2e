"""Public feeds of prices and carbon by name: their addresses, made into sources."""

from pathlib import Path

import aiohttp

from gateway.domain.errors import InvalidInput
from gateway.market_data.carbon_uk import PUBLIC_URL as UK_URL
from gateway.market_data.carbon_uk import UkCarbonIntensity
from gateway.market_data.carbon_watttime import PUBLIC_URL as WATTTIME_URL
from gateway.market_data.carbon_watttime import WattTime, WattTimeAccount
from gateway.market_data.feeds.awattar import Awattar
from gateway.market_data.feeds.elering import Elering
from gateway.market_data.feeds.energy_charts import EnergyCharts
from gateway.market_data.feeds.nord_pool_portal import NordPoolPortal
from gateway.market_data.feeds.public_prices import PriceFeed, PublicPrices
from gateway.market_data.feeds.smard import Smard
from gateway.ports import CarbonSource, Clock, PriceSource
from gateway.settings import CarbonFeedSettings, FeedSettings, MarketSettings, read_secret

_URLS = {
    "energy-charts": "https://api.energy-charts.info",
    "smard": "https://www.smard.de/app",
    "elering": "https://dashboard.elering.ee",
    "awattar": "https://api.awattar.de",
    "nord-pool-portal": "https://dataportal-api.nordpoolgroup.com",
}
_AWATTAR_AUSTRIA = "https://api.awattar.at"


def public_feeds(market: MarketSettings, session: aiohttp.ClientSession, clock: Clock) -> tuple[PriceSource, ...]:
    """Return the public feeds of the market's zone in the order of the settings.

    Raises:
        InvalidInput: A feed does not cover the zone at all, or an address may not be used.
    """
    return tuple(
        PublicPrices(
            feed=_feed(feed, market.zone), url=feed.url or _url(feed, market.zone), session=session, clock=clock
        )
        for feed in market.feeds
    )


def carbon_feed(zone: str, feed: CarbonFeedSettings, session: aiohttp.ClientSession, clock: Clock) -> CarbonSource:
    """Return the carbon source of a market's zone.

    Raises:
        InvalidInput: A value that the source needs is missing, or the address may not be used; the field says which.
    """
    if feed.name == "uk-carbon-intensity":
        return UkCarbonIntensity(
            zone=zone, postcode=feed.postcode, session=session, clock=clock, url=feed.url or UK_URL
        )
    for name in ("region", "username", "password_file"):
        if not getattr(feed, name):
            raise InvalidInput(f"market.carbon_feed.{name}", "is required for watttime")
    account = WattTimeAccount(
        username=feed.username or "",
        password=read_secret("market.carbon_feed.password_file", feed.password_file or Path()),
        region=feed.region or "",
        zone=zone,
        url=feed.url or WATTTIME_URL,
    )
    return WattTime(account=account, session=session, clock=clock)


def _feed(feed: FeedSettings, zone: str) -> PriceFeed:
    match feed.name:
        case "energy-charts":
            return EnergyCharts()
        case "smard":
            return Smard()
        case "elering":
            return Elering()
        case "awattar":
            return Awattar(zone)
        case "nord-pool-portal":
            return NordPoolPortal()


def _url(feed: FeedSettings, zone: str) -> str:
    return _AWATTAR_AUSTRIA if feed.name == "awattar" and zone == "AT" else _URLS[feed.name]
