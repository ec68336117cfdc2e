"""Public feeds of prices and carbon by name: their addresses, made into sources."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

import aiohttp

from gateway.domain.errors import InvalidInput
from gateway.domain.series import PriceProduct
from gateway.market_data.carbon_energy_charts import PUBLIC_URL as ENERGY_CHARTS_URL
from gateway.market_data.carbon_energy_charts import EnergyChartsCarbon
from gateway.market_data.carbon_uk import PUBLIC_URL as UK_URL
from gateway.market_data.carbon_uk import UkCarbonIntensity
from gateway.market_data.carbon_watttime import PUBLIC_URL as WATTTIME_URL
from gateway.market_data.carbon_watttime import WattTime, WattTimeAccount
from gateway.market_data.feeds.awattar import Awattar
from gateway.market_data.feeds.elering import Elering
from gateway.market_data.feeds.elexon import ElexonSystemPrices
from gateway.market_data.feeds.elexon_index import ElexonMarketIndex
from gateway.market_data.feeds.energy_charts import EnergyCharts
from gateway.market_data.feeds.nord_pool_portal import NordPoolPortal
from gateway.market_data.feeds.oasis import SPACING, CaisoOasis
from gateway.market_data.feeds.octopus import OctopusAgile
from gateway.market_data.feeds.public_prices import PriceFeed, PublicPrices
from gateway.market_data.feeds.smard import Smard
from gateway.market_data.turnstile import BanBook, Pace
from gateway.ports import CarbonSource, Clock, PriceSource
from gateway.settings import CarbonFeedSettings, FeedSettings, MarketSettings, read_secret

_URLS = {
    "energy-charts": "https://api.energy-charts.info",
    "smard": "https://www.smard.de/app",
    "elering": "https://dashboard.elering.ee",
    "awattar": "https://api.awattar.de",
    "nord-pool-portal": "https://dataportal-api.nordpoolgroup.com",
    "octopus": "https://api.octopus.energy",
    "elexon": "https://data.elexon.co.uk/bmrs/api/v1",
    "elexon-market-index": "https://data.elexon.co.uk/bmrs/api/v1",
    "caiso-oasis": "https://oasis.caiso.com",
}
_PLAIN_FEEDS: Mapping[str, Callable[[], PriceFeed]] = {
    "energy-charts": EnergyCharts,
    "smard": Smard,
    "elering": Elering,
    "nord-pool-portal": NordPoolPortal,
    "elexon": ElexonSystemPrices,
    "elexon-market-index": ElexonMarketIndex,
}
"""Feeds that need no more than their address."""
_AWATTAR_AUSTRIA = "https://api.awattar.at"


def public_feeds(
    market: MarketSettings, session: aiohttp.ClientSession, clock: Clock, bans: BanBook | None = None
) -> dict[PriceProduct, tuple[PriceSource, ...]]:
    """Return the public feeds of the market's zone by product, in the order of the settings.

    Raises:
        InvalidInput: A feed does not cover the zone at all, a value that it needs is missing, or an address may not be used.
    """
    found: dict[PriceProduct, tuple[PriceSource, ...]] = {}
    for settings in market.feeds:
        feed = _feed(settings, market.zone)
        source = PublicPrices(
            feed=feed,
            url=settings.url or _url(settings, market.zone),
            session=session,
            clock=clock,
            pace=Pace(bans=bans, spacing=SPACING if settings.name == "caiso-oasis" else timedelta(0)),
        )
        product = source.product_in(market.zone)
        found[product] = (*found.get(product, ()), source)
    return found


def carbon_feed(zone: str, feed: CarbonFeedSettings, session: aiohttp.ClientSession, clock: Clock) -> CarbonSource:
    """Return the carbon source of a market's zone.

    Raises:
        InvalidInput: A value that the source needs is missing, or the address may not be used; the field says which.
    """
    if feed.name == "uk-carbon-intensity":
        return UkCarbonIntensity(
            zone=zone, postcode=feed.postcode, session=session, clock=clock, url=feed.url or UK_URL
        )
    if feed.name == "energy-charts":
        country = _required("market.carbon_feed.country", feed.country, feed.name)
        return EnergyChartsCarbon(
            zone=zone, country=country, session=session, clock=clock, url=feed.url or ENERGY_CHARTS_URL
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
    if feed.name == "awattar":
        return Awattar(zone)
    if feed.name == "octopus":
        return OctopusAgile(
            product_code=_required("market.feeds.product_code", feed.product_code, feed.name),
            region=_required("market.feeds.region", feed.region, feed.name),
            zone=zone,
            with_vat=feed.with_vat,
        )
    if feed.name == "caiso-oasis":
        return CaisoOasis(node=_required("market.feeds.node", feed.node, feed.name), zone=zone)
    return _PLAIN_FEEDS[feed.name]()


def _required(field: str, value: str | None, name: str) -> str:
    if not value:
        raise InvalidInput(field, f"is required for {name}")
    return value


def _url(feed: FeedSettings, zone: str) -> str:
    return _AWATTAR_AUSTRIA if feed.name == "awattar" and zone == "AT" else _URLS[feed.name]
