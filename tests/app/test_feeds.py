"""Public feeds by name: which are made, in which order, and what they are asked."""

from datetime import date
from pathlib import Path

import aiohttp
import pytest

from gateway.app.feeds import carbon_feed, public_feeds
from gateway.app.peers import carbon_sources, price_sources
from gateway.domain.errors import InvalidInput
from gateway.domain.series import PriceProduct
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
    assert [source.name for source in made[PriceProduct.DAY_AHEAD_SDAC]] == NAMES


async def test_an_address_of_the_settings_is_asked() -> None:
    async with scripted_peer() as peer, aiohttp.ClientSession() as session:
        peer.reply(status=404)
        feed = FeedSettings.model_validate({"name": "energy-charts", "url": peer.url})
        (source,) = public_feeds(market("BE", feed), session, HandClock())[PriceProduct.DAY_AHEAD_SDAC]
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


PLATFORM = EntsoeAccount(url="https://example.com/api", token="token")


def without_platform(zone: str, *feeds: FeedSettings) -> MarketSettings:
    return market(zone, *feeds).model_copy(update={"entsoe_url": None, "entsoe_token_file": None})


async def test_each_zone_is_asked_for_the_auctions_and_the_imbalance_prices_that_it_has() -> None:
    async with aiohttp.ClientSession() as session:
        door = EntsoeEndpoint(account=PLATFORM, session=session, clock=HandClock())
        belgium = price_sources(market("BE"), door, session, HandClock())
        netherlands = price_sources(market("NL"), door, session, HandClock())
        britain = price_sources(market("GB", FeedSettings(name="elexon")), door, session, HandClock())
    assert {product.value for _, product in belgium} == {"day-ahead-sdac", "imbalance"}
    assert {product.value for _, product in netherlands} == {"day-ahead-sdac", "imbalance-long", "imbalance-short"}
    assert {product.value for _, product in britain} == {"day-ahead-local", "imbalance"}
    assert [source.name for source in britain["GB", PriceProduct.IMBALANCE]] == ["entsoe", "elexon"]


async def test_further_auctions_of_the_settings_are_gathered_where_the_zone_has_them() -> None:
    async with aiohttp.ClientSession() as session:
        door = EntsoeEndpoint(account=PLATFORM, session=session, clock=HandClock())
        german = market("DE_LU").model_copy(update={"auctions": ("day-ahead-exaa",)})
        assert {product.value for _, product in price_sources(german, door, session, HandClock())} == {
            "day-ahead-sdac",
            "day-ahead-exaa",
            "imbalance",
        }
        spanish = market("ES").model_copy(update={"auctions": ("intraday-ida1", "intraday-ida3")})
        assert ("ES", PriceProduct.INTRADAY_IDA3) in price_sources(spanish, door, session, HandClock())
        belgian = german.model_copy(update={"zone": "BE"})
        with pytest.raises(InvalidInput, match="day-ahead-exaa is no auction of BE"):
            price_sources(belgian, door, session, HandClock())


async def test_a_zone_can_do_without_the_platform() -> None:
    octopus = FeedSettings(name="octopus", product_code="AGILE-24-10-01", region="C")
    index = FeedSettings(name="elexon-market-index")
    node = FeedSettings(name="caiso-oasis", node="TH_SP15_GEN-APND")
    async with aiohttp.ClientSession() as session:
        british = price_sources(without_platform("GB", octopus, index), None, session, HandClock())
        assert {product.value for _, product in british} == {"tariff-energy", "intraday-reference"}
        american = price_sources(without_platform("CAISO_SP15", node), None, session, HandClock())
        assert [product.value for _, product in american] == ["day-ahead-lmp"]
        for feed, field in [(octopus, "region"), (octopus, "product_code"), (node, "node")]:
            bare = without_platform("GB", feed.model_copy(update={field: None}))
            with pytest.raises(InvalidInput) as refusal:
                price_sources(bare, None, session, HandClock())
            assert refusal.value.field == f"market.feeds.{field}"
        with pytest.raises(InvalidInput, match="source of prices"):
            price_sources(without_platform("GB"), None, session, HandClock())
        asks = without_platform("GB", octopus).model_copy(update={"auctions": ("intraday-ida1",)})
        with pytest.raises(InvalidInput, match="entsoe_url"):
            price_sources(asks, None, session, HandClock())
        german = CarbonFeedSettings(name="energy-charts", country="de")
        assert carbon_feed("DE_LU", german, session, HandClock()).name == "energy-charts-co2eq"


async def test_swiss_sources_are_all_of_the_swiss_auction() -> None:
    async with aiohttp.ClientSession() as session:
        endpoint = EntsoeEndpoint(account=PLATFORM, session=session, clock=HandClock())
        swiss = market("CH", *(FeedSettings.model_validate({"name": name}) for name in ("energy-charts", "smard")))
        made = price_sources(swiss, endpoint, session, HandClock())
    names = {product: [source.name for source in sources] for (_, product), sources in made.items()}
    assert names[PriceProduct.DAY_AHEAD_LOCAL] == ["entsoe", "energy-charts", "smard"]
    assert PriceProduct.DAY_AHEAD_SDAC not in names
