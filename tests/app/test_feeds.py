"""Public feeds by name: which are made, in which order, and what they are asked."""

from datetime import date

import aiohttp
import pytest

from gateway.app.feeds import public_feeds
from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import DeliveryDay
from gateway.settings import FeedSettings, MarketSettings
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
