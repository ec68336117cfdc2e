"""Public price feeds by name: their addresses, made into sources."""

import aiohttp

from gateway.market_data.feeds.awattar import Awattar
from gateway.market_data.feeds.elering import Elering
from gateway.market_data.feeds.energy_charts import EnergyCharts
from gateway.market_data.feeds.nord_pool_portal import NordPoolPortal
from gateway.market_data.feeds.public_prices import PriceFeed, PublicPrices
from gateway.market_data.feeds.smard import Smard
from gateway.ports import Clock, PriceSource
from gateway.settings import FeedSettings, MarketSettings

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
