"""Public feeds by name: which are made, in which order, and what they are asked."""

from datetime import date
from pathlib import Path

import aiohttp
import pytest

from gateway.app.feeds import carbon_feed, public_feeds
from gateway.app.peers import carbon_sources
from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import DeliveryDay
from gateway.market_data.entsoe import EntsoeAccount, EntsoeEndpoint
from gateway.settings import CarbonFeedSettings, FeedSettings, MarketSettings
from tests.fakes.clock import HandClock
from tests.fakes.scripted_peer import scripted_peer

NAMES = ["smard", "energy-charts", "nord-pool-portal"]


def market(zone: str, *feeds: FeedSettings) -> MarketSettings:
    return MarketSettings.model_validate(
        {
            "zone": zone,
            "time_zone": "Europe/Brussels",
            "entsoe_url": "https://example.com/api",
            "entsoe_token_file": "token",
            "feeds": [feed.model_dump() for feed in feeds],
        }
    )


async def test_feeds_come_in_the_order_of_the_settings() -> None:
    async with aiohttp.ClientSession() as session:
        feeds = [FeedSettings.model_validate({"name": name}) for name in NAMES]
        made = public_feeds(market("BE", *feeds), session, HandClock())
    assert [source.name for source in made] == NAMES


async def test_an_address_of_the_settings_is_asked() -> None:
    async with scripted_peer() as peer, aiohttp.ClientSession() as session:
        peer.reply(status=404)
        feed = FeedSettings.model_validate({"name": "energy-charts", "url": peer.url})
        (source,) = public_feeds(market("BE", feed), session, HandClock())
        assert await source.fetch("BE", DeliveryDay(day=date(2026, 10, 3), zone="Europe/Brussels")) is None
        assert [request.path for request in peer.asked] == ["/price"]


async def test_a_feed_that_cannot_cover_the_zone_is_refused_at_the_start() -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(InvalidInput, match="DE_LU or AT"):
            public_feeds(market("BE", FeedSettings(name="awattar")), session, HandClock())


async def test_a_carbon_feed_is_made_by_name(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("canary")
    secret.chmod(0o600)
    uk = CarbonFeedSettings(name="uk-carbon-intensity", postcode="SW1A")
    us = CarbonFeedSettings(name="watttime", region="CAISO_NORTH", username="who", password_file=secret)
    async with aiohttp.ClientSession() as session:
        assert carbon_feed("GB", uk, session, HandClock()).name == "uk-carbon-intensity"
        assert carbon_feed("US", us, session, HandClock()).name == "watttime"
        with pytest.raises(InvalidInput) as refusal:
            carbon_feed("US", us.model_copy(update={"region": None}), session, HandClock())
        assert refusal.value.field == "market.carbon_feed.region"


async def test_two_sources_of_carbon_are_refused() -> None:
    both = market("GB").model_copy(
        update={"carbon_url": "https://example.com", "carbon_feed": CarbonFeedSettings(name="uk-carbon-intensity")}
    )
    account = EntsoeAccount(url="https://example.com/api", token="token")
    async with aiohttp.ClientSession() as session:
        door = EntsoeEndpoint(account=account, session=session, clock=HandClock())
        with pytest.raises(InvalidInput, match="one source"):
            carbon_sources(both, door, session, HandClock())
        own = market("NL").model_copy(update={"carbon_feed": CarbonFeedSettings(name="entsoe-generation")})
        (source,) = carbon_sources(own, door, session, HandClock())["NL"]
        assert source.name == "entsoe-generation"
