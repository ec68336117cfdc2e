"""Cases of the market brief on prices and carbon, over the sandbox's sources and over two real replies (names begin with their number)."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.app.offline_market import told
from gateway.domain.errors import InvalidInput, PeerUnavailable
from gateway.domain.price_check import compare_prices
from gateway.domain.series import CarbonKind, CarbonSeries, DayState, PriceProduct, PriceSeries, Quality
from gateway.domain.timegrid import DeliveryDay
from gateway.market_data.carbon import CarbonAccount, CarbonIntensitySource
from gateway.market_data.carbon_of_generation import GenerationCarbon, load_factors
from gateway.market_data.carbon_uk import UkCarbonIntensity
from gateway.market_data.carbon_watttime import WattTime, WattTimeAccount
from gateway.market_data.entsoe import EntsoePriceSource
from gateway.market_data.entsoe_day import assemble_day, auction_series
from gateway.market_data.entsoe_document import read_publication
from gateway.market_data.entsoe_pieces import ReplyCaps
from gateway.market_data.feeds.awattar import Awattar
from gateway.market_data.feeds.elering import Elering
from gateway.market_data.feeds.energy_charts import EnergyCharts
from gateway.market_data.feeds.nord_pool_portal import NordPoolPortal
from gateway.market_data.feeds.oasis import CaisoOasis
from gateway.market_data.feeds.octopus import OctopusAgile
from gateway.market_data.feeds.public_prices import PriceFeed, PublicPrices
from gateway.market_data.feeds.smard import Smard
from gateway.services.gather_market_data import GatherSettings, MarketDataGatherer
from tests.fakes.clock import HandClock
from tests.fakes.ids import CountingIds
from tests.fakes.market_sources import CAPS, IMPATIENT, RULES, Sources, market_sources
from tests.fakes.store import MemoryStore
from tests.market_data.documents import BE, DE_LU, period, points, publication, series
from tests.services.market_scene import TENANT

SDAC, EXAA = PriceProduct.DAY_AHEAD_SDAC, PriceProduct.DAY_AHEAD_EXAA
QUARTER, HOUR = timedelta(minutes=15), timedelta(hours=1)
REPLIES = Path(__file__).parent / "replies"
BRUSSELS, BERLIN = "Europe/Brussels", "Europe/Berlin"
DAY = DeliveryDay(day=date(2026, 10, 3), zone=BERLIN)
ISO = DAY.day.isoformat()


@pytest.fixture
async def world() -> AsyncIterator[Sources]:
    """The afternoon before the day: everything is published."""
    async with market_sources(HandClock(DAY.next(-1).at(time(14)))) as served:
        yield served


def real(name: str, zone: str, product: PriceProduct, day: DeliveryDay) -> list[Decimal | None]:
    area = {"BE": BE, "DE_LU": DE_LU}[zone]
    document = read_publication((REPLIES / name).read_bytes(), area=area)
    assert document is not None
    assembled = assemble_day(auction_series(document, RULES.zone(zone), product), day)
    assert assembled is not None
    return list(assembled.prices_per_mwh)


# ---------------------------------------------------------------- auctions never mix


def test_m2_of_a_real_reply_with_both_auctions_every_slot_is_sequence_1() -> None:
    """DE-LU, 6 and 7 October 2024: SDAC hourly as sequence 1, EXAA quarter-hourly as sequence 2, in one document."""
    days = [DeliveryDay(day=date(2024, 10, day), zone=BERLIN) for day in (6, 7)]
    sdac = [price for day in days for price in real("hass_DE_60M_15M_overlap.xml", "DE_LU", SDAC, day)]
    exaa = [price for day in days for price in real("hass_DE_60M_15M_overlap.xml", "DE_LU", EXAA, day)]
    assert len(sdac) == len(exaa) == 192
    hours = sdac[::4]
    assert all(sdac[i : i + 4] == [hours[i // 4]] * 4 for i in range(0, 192, 4))
    assert (sum(p for p in hours if p is not None), min(p for p in hours if p is not None)) == (
        Decimal("3326.83"),
        Decimal("-0.01"),
    )
    assert sum(p for p in exaa if p is not None) == Decimal("13899.56")
    assert sum(one == other for one, other in zip(sdac, exaa, strict=True)) < 10


async def test_m2_a_platform_that_sends_both_auctions_changes_nothing(world: Sources) -> None:
    alone = await world.prices().fetch("DE_LU", DAY)
    await world.tell("platform", mixes_sequences=True)
    both = await world.prices().fetch("DE_LU", DAY)
    exaa = await world.prices(EXAA).fetch("DE_LU", DAY)
    assert alone is not None
    assert both is not None
    assert exaa is not None
    assert both.prices_per_mwh == alone.prices_per_mwh
    assert exaa.prices_per_mwh != both.prices_per_mwh


def gathering(world: Sources, *sources: EntsoePriceSource | PublicPrices, zone: str = "DE_LU") -> MarketDataGatherer:
    return MarketDataGatherer(
        store=MemoryStore(world.clock),
        clock=world.clock,
        ids=CountingIds(),
        price_sources={(zone, SDAC): list(sources)},
        carbon_sources={},
        settings=GatherSettings(tenants=(TENANT,), time_zones={zone: BERLIN}),
    )


async def test_m3_the_second_auction_alone_is_no_price_of_the_first(world: Sources) -> None:
    await world.tell("days", zone="DE_LU", auction="sdac", day=ISO, is_never=True)
    assert await world.prices().fetch("DE_LU", DAY) is None
    exaa = await world.prices(EXAA).fetch("DE_LU", DAY)
    assert exaa is not None
    assert (exaa.product, exaa.quality) == (EXAA, Quality.PRELIMINARY)
    status = await gathering(world, world.prices()).refresh("DE_LU", SDAC, DAY)
    assert (status.state, status.series_id) == (DayState.LATE, None)


async def test_m4_a_day_in_pieces_beside_a_whole_other_auction_stays_in_pieces(world: Sources) -> None:
    tomorrow = DAY.next()
    world.clock.set(DAY.at(time(14)))
    await world.tell("days", zone="DE_LU", auction="sdac", day=tomorrow.day.isoformat(), slots=40)
    first = await world.prices().fetch("DE_LU", DAY)
    second = await world.prices().fetch("DE_LU", tomorrow)
    assert first is not None
    assert (first.is_complete, first.quality) == (True, Quality.FINAL)
    assert second is not None
    assert len(second.gaps) == 56
    exaa = await world.prices(EXAA).fetch("DE_LU", tomorrow)
    assert exaa is not None
    assert exaa.is_complete
    mixed = [a for a, b in zip(second.prices_per_mwh, exaa.prices_per_mwh, strict=True) if a is not None and a == b]
    assert mixed == []


# ---------------------------------------------------------------- resolutions and clocks


def test_m5_a_real_reply_of_two_resolutions_keeps_both() -> None:
    """BE, 6 to 8 October 2024: two days given as quarter-hours that repeat, one day as hours."""
    document = read_publication((REPLIES / "hass_BE_60M_15M_mix.xml").read_bytes(), area=BE)
    assert document is not None
    periods = sorted((one for ts in document.series for one in ts.periods), key=lambda one: one.start)
    assert [(len(one.prices_per_mwh), int(one.step.total_seconds()) // 60) for one in periods] == [
        (96, 15),
        (96, 15),
        (24, 60),
    ]
    days = [DeliveryDay(day=date(2024, 10, day), zone=BRUSSELS) for day in (6, 7, 8)]
    slots = [real("hass_BE_60M_15M_mix.xml", "BE", SDAC, day) for day in days]
    assert [len(day) for day in slots] == [96, 96, 96]
    known = [price for day in slots for price in day if price is not None]
    assert len(known) == 288
    assert (sum(known[:192]), min(known)) == (Decimal("10761.00"), Decimal("-0.01"))
    assert sum(known[192::4]) == Decimal("1691.96")
    chosen = auction_series(document, RULES.zone("BE"), SDAC)
    kept = [found.native_steps for day in days if (found := assemble_day(chosen, day)) is not None]
    assert [set(steps) for steps in kept] == [{QUARTER}, {QUARTER}, {HOUR}]


def test_m6_a_missing_last_hour_comes_from_the_hourly_copy() -> None:
    day = DeliveryDay(day=date(2025, 10, 15), zone=BRUSSELS)
    quarters = period("2025-10-14T22:00Z", "2025-10-15T21:00Z", points(range(1, 93)))
    hours = period("2025-10-14T22:00Z", "2025-10-15T22:00Z", points(range(500, 524)), "PT60M")
    document = read_publication(publication(series(quarters, curve="A01"), series(hours, curve="A01")), area=BE)
    assert document is not None
    found = assemble_day(auction_series(document, RULES.zone("BE"), SDAC), day)
    assert found is not None
    assert found.prices_per_mwh[91] == 92
    assert found.prices_per_mwh[92:] == (Decimal(523),) * 4
    assert found.native_steps == (QUARTER,) * 92 + (HOUR,) * 4


@pytest.mark.parametrize(("day", "count"), [(date(2025, 10, 26), 100), (date(2026, 3, 29), 92)])
async def test_m7_days_of_clock_changes_have_their_slots_once(day: date, count: int) -> None:
    delivery = DeliveryDay(day=day, zone=BERLIN)
    async with market_sources(HandClock(delivery.next(-1).at(time(14)))) as world:
        found = await world.prices().fetch("DE_LU", delivery)
        feed = PublicPrices(
            feed=EnergyCharts(), url=f"{world.url}/energy-charts", session=world.session, clock=world.clock
        )
        public = await feed.fetch("DE_LU", delivery)
    assert found is not None
    assert public is not None
    starts = found.grid.starts()
    assert len(starts) == len(set(starts)) == count
    assert found.is_complete
    assert public.prices_per_mwh == found.prices_per_mwh
    labels = [line.split()[0] for line in told(found, delivery)][-count:]
    assert len(set(labels)) == count
    if count == 100:
        assert {"02:00+0200", "02:00+0100"} <= set(labels)
    else:
        assert not any(label.startswith("02:") for label in labels)


@pytest.mark.parametrize(
    ("given", "end", "curve", "gaps"),
    [
        pytest.param({1: 10, 90: 20}, "2025-10-15T22:00Z", "A03", 0, id="a tail inside its period is held"),
        pytest.param({1: 10, 40: 20}, "2025-10-15T10:00Z", "A03", 48, id="a period that ends at noon says no more"),
        pytest.param({i: i for i in range(1, 97) if i != 9}, "2025-10-15T22:00Z", "A01", 1, id="a hole stays a hole"),
    ],
)
def test_m8_curves_fill_inside_their_period_only(
    given: dict[int | str, object], end: str, curve: str, gaps: int
) -> None:
    body = publication(series(period("2025-10-14T22:00Z", end, given), curve=curve))
    document = read_publication(body, area=BE)
    assert document is not None
    day = DeliveryDay(day=date(2025, 10, 15), zone=BRUSSELS)
    found = assemble_day(auction_series(document, RULES.zone("BE"), SDAC), day)
    assert found is not None
    assert found.prices_per_mwh.count(None) == gaps


def test_m21_the_switch_to_quarter_hours_is_read_in_one_reply() -> None:
    """Four equal values before, the auction's first real quarter-hours after: 102.68, 92.25, 80.47, 79.53."""
    hours = period("2025-09-29T22:00Z", "2025-09-30T22:00Z", points(range(60, 84)), "PT60M")
    first = ["102.68", "92.25", "80.47", "79.53"]
    quarters = period("2025-09-30T22:00Z", "2025-10-01T22:00Z", points([*first, *range(4, 96)]))
    body = publication(series(hours, quarters), start="2025-09-29T22:00Z", end="2025-10-01T22:00Z")
    document = read_publication(body, area=BE)
    assert document is not None
    chosen = auction_series(document, RULES.zone("BE"), SDAC)
    before, after = (
        assemble_day(chosen, DeliveryDay(day=day, zone=BRUSSELS)) for day in (date(2025, 9, 30), date(2025, 10, 1))
    )
    assert before is not None
    assert after is not None
    assert before.prices_per_mwh[:4] == (Decimal(60),) * 4
    assert before.expanded_count == 96
    assert after.prices_per_mwh[:4] == tuple(Decimal(price) for price in first)
    assert after.expanded_count == 0


# ---------------------------------------------------------------- currencies


async def test_m11_zloty_stay_zloty_and_never_mix_with_euro(world: Sources) -> None:
    polish = DeliveryDay(day=DAY.day, zone="Europe/Warsaw")
    zloty = await world.prices().fetch("PL", polish)
    charts = PublicPrices(
        feed=EnergyCharts(), url=f"{world.url}/energy-charts", session=world.session, clock=world.clock
    )
    euro = await charts.fetch("PL", polish)
    assert zloty is not None
    assert euro is not None
    assert (zloty.currency, euro.currency) == ("PLN", "EUR")
    with pytest.raises(InvalidInput, match=r"series\.currency"):
        compare_prices(zloty, euro)


# ---------------------------------------------------------------- a platform on bad days


async def test_m13_a_ban_of_the_platform_is_kept_by_all_and_ends(world: Sources) -> None:
    await world.tell("platform", per_minute=3)
    source = world.prices()
    for zone in ("BE", "NL", "DE_LU"):
        await source.fetch(zone, DAY)
    with pytest.raises(PeerUnavailable, match="too many requests"):
        await source.fetch("BE", DAY)
    before = await world.asked("/entsoe/api")
    for minutes in (1, 5, 3):
        world.clock.move(minutes=minutes)
        with pytest.raises(PeerUnavailable, match="asked to wait"):
            await source.fetch("BE", DAY)
    assert await world.asked("/entsoe/api") == before
    world.clock.move(minutes=1, seconds=1)
    found = await asyncio.gather(*(source.fetch("BE", DAY) for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(one, PriceSeries) for one in found) == 1
    assert await world.asked("/entsoe/api") == before + 1, "one asks, the others wait for its answer"
    assert await source.fetch("BE", DAY) is not None


@pytest.mark.parametrize("kind", ["status-503", "status-500", "html", "hang"])
async def test_m14_trouble_that_passes_is_tried_again(world: Sources, kind: str) -> None:
    await world.tell("faults", door="entsoe", kind=kind, count=2)
    caps = IMPATIENT if kind == "hang" else CAPS
    source = EntsoePriceSource(endpoint=world.door(caps=caps), rules=RULES)
    for _ in range(2):
        with pytest.raises(PeerUnavailable):
            await source.fetch("DE_LU", DAY)
    found = await source.fetch("DE_LU", DAY)
    assert found is not None
    assert found.is_complete
    assert await world.asked("/entsoe/api") == 3


async def test_m16_an_acknowledgement_with_a_charset_says_that_there_is_nothing_yet(world: Sources) -> None:
    await world.tell("faults", door="entsoe", kind="charset", count=1)
    assert await world.prices().fetch("DE_LU", DAY.next(5)) is None


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("html", PeerUnavailable),
        ("truncated", InvalidInput),
        ("bomb-xml", InvalidInput),
        ("bomb-zip", InvalidInput),
    ],
)
async def test_m16_what_is_no_document_is_refused(world: Sources, kind: str, error: type[Exception]) -> None:
    await world.tell("faults", door="entsoe", kind=kind, count=2)
    with pytest.raises(error):
        await world.prices().fetch("DE_LU", DAY)
    with pytest.raises((InvalidInput, PeerUnavailable)):
        await world.imbalance().fetch("BE", DAY.next(-2))


@pytest.mark.parametrize("kind", ["slow", "gzip", "charset"])
async def test_a_whole_document_is_read_however_it_comes(world: Sources, kind: str) -> None:
    await world.tell("faults", door="entsoe", kind=kind, count=1)
    found = await world.prices().fetch("DE_LU", DAY)
    assert found is not None
    assert found.is_complete


async def test_m17_a_platform_that_ignores_offsets_is_asked_once_a_day(world: Sources) -> None:
    await world.tell("platform", ignores_offset=True)
    found = await world.prices().fetch("DE_LU", DAY)
    assert found is not None
    assert found.is_complete
    assert await world.asked("/entsoe/api") == 1


async def test_m18_a_reply_that_is_capped_is_not_whole_and_a_day_is_below_the_cap(world: Sources) -> None:
    await world.tell("platform", cap_points=1000, curve="A01")
    whole = await world.prices().fetch("DE_LU", DAY)
    assert whole is not None
    assert whole.is_complete
    await world.tell("platform", cap_points=60, curve="A01")
    capped = await world.prices().fetch("DE_LU", DAY)
    assert capped is not None
    assert len(capped.gaps) == 36
    await world.tell("platform", cap_points=60, curve="A03")
    held = await world.prices().fetch("DE_LU", DAY)
    assert held is not None
    assert held.quality is Quality.PRELIMINARY, "a tail of nine hours that repeats one price is not believed"


async def test_m19_a_revision_is_another_series(world: Sources) -> None:
    gatherer = gathering(world, world.prices())
    first = await gatherer.refresh("DE_LU", SDAC, DAY)
    at = (world.clock.now() + timedelta(minutes=30)).isoformat()
    await world.tell("days", zone="DE_LU", auction="sdac", day=ISO, plus="3.00", plus_at=at)
    world.clock.move(minutes=31)
    second = await gatherer.refresh("DE_LU", SDAC, DAY)
    assert isinstance(gatherer.store, MemoryStore)
    kept = {one.id: one.prices_per_mwh for one in gatherer.store.all(PriceSeries, TENANT)}
    assert first.series_id is not None
    assert second.series_id is not None
    old, new = kept[first.series_id], kept[second.series_id]
    assert {b - a for a, b in zip(old, new, strict=True) if a is not None and b is not None} == {Decimal("3.00")}


FEEDS = [
    pytest.param(EnergyCharts(), "energy-charts", "DE_LU", BERLIN, id="energy-charts"),
    pytest.param(Smard(), "smard", "DE_LU", BERLIN, id="smard"),
    pytest.param(NordPoolPortal(), "portal", "DE_LU", BERLIN, id="nord-pool-portal"),
    pytest.param(Elering(), "elering", "FI", BRUSSELS, id="elering"),
]


@pytest.mark.parametrize(("feed", "door", "zone", "time_zone"), FEEDS)
async def test_m20_feeds_and_the_platform_confirm_each_other(
    world: Sources, feed: PriceFeed, door: str, zone: str, time_zone: str
) -> None:
    day = DeliveryDay(day=DAY.day, zone=time_zone)
    public = PublicPrices(feed=feed, url=f"{world.url}/{door}", session=world.session, clock=world.clock, caps=CAPS)
    one, other = await world.prices().fetch(zone, day), await public.fetch(zone, day)
    assert one is not None
    assert other is not None
    comparison = compare_prices(one, other)
    assert comparison is not None
    assert comparison.agrees
    assert comparison.compared_count == 96


@pytest.mark.parametrize(("feed", "door", "zone", "time_zone"), FEEDS)
async def test_m12_before_the_publication_nobody_has_prices(
    feed: PriceFeed, door: str, zone: str, time_zone: str
) -> None:
    day = DeliveryDay(day=DAY.day, zone=time_zone)
    async with market_sources(HandClock(DAY.next(-1).at(time(12, 40)))) as world:
        public = PublicPrices(feed=feed, url=f"{world.url}/{door}", session=world.session, clock=world.clock)
        assert await public.fetch(zone, day) is None
        assert await world.prices().fetch(zone, day) is None
        world.clock.move(minutes=18)
        assert await public.fetch(zone, day) is not None


async def test_hourly_and_half_hourly_feeds_and_a_node_of_california(world: Sources) -> None:
    world.clock.set(DAY.next(-1).at(time(23)))
    cases: list[tuple[PriceFeed, str, str, str, int]] = [
        (Awattar("DE_LU"), "awattar", "DE_LU", BERLIN, 96),
        (OctopusAgile(product_code="AGILE", region="C", zone="GB"), "octopus", "GB", "Europe/London", 48),
        (CaisoOasis(node="TH_SP15_GEN-APND", zone="SP15"), "oasis", "SP15", "America/Los_Angeles", 24),
    ]
    sources = [
        PublicPrices(feed=feed, url=f"{world.url}/{door}", session=world.session, clock=world.clock)
        for feed, door, *_ in cases
    ]
    for source, (_, door, zone, time_zone, count) in zip(sources, cases, strict=True):
        found = await source.fetch(zone, DeliveryDay(day=DAY.day, zone=time_zone))
        assert found is not None, door
        assert (found.grid.count, found.is_complete) == (count, True)
    with pytest.raises(PeerUnavailable, match="too many requests"):
        await sources[-1].fetch("SP15", DeliveryDay(day=DAY.day, zone="America/Los_Angeles"))


# ---------------------------------------------------------------- carbon


async def test_m23_pounds_per_mwh_become_grams_and_a_dead_token_is_renewed(world: Sources) -> None:
    account = WattTimeAccount(
        username="sandbox-user", password="sandbox-password", region="R", zone="R", url=f"{world.url}/watttime"
    )
    source = WattTime(account=account, session=world.session, clock=world.clock, caps=CAPS)
    first = await source.fetch("R", DAY)
    assert first is not None
    assert first.kind is CarbonKind.MARGINAL
    assert all(value is None or 150.0 <= value < 350.0 for value in first.intensity_g_per_kwh)
    world.clock.move(minutes=31)
    assert await source.fetch("R", DAY) is not None
    assert await world.asked("/watttime/login") == 2


@pytest.mark.parametrize(
    ("habits", "most_requests"),
    [
        pytest.param({"cap_points": 300}, 3, id="cut-in-silence"),
        pytest.param({"cap_points": 60}, 31, id="cut-deep"),
        pytest.param({"refuse_points": 300}, 3, id="refused-as-too-much"),
        pytest.param({"refuse_series": 4}, 21, id="refused-as-too-many-series"),
        pytest.param({"cap_points": 300, "whole_days": True}, 23, id="whole-days-whatever-is-asked"),
    ],
)
async def test_m18_a_capped_day_of_production_is_asked_for_in_pieces(
    world: Sources, config: Path, habits: dict[str, object], most_requests: int
) -> None:
    factors = load_factors(config / "carbon_factors.toml", "ipcc-ar5-lifecycle")
    day = DeliveryDay(day=DAY.day, zone=BRUSSELS).next(-2)
    plain = await GenerationCarbon(endpoint=world.door(), factors=factors).fetch("BE", day)
    assert plain is not None
    assert plain.is_complete
    await world.tell("platform", **habits)
    before = await world.asked("/entsoe/api")
    caps = ReplyCaps(points=int(str(habits.get("cap_points", 1_000))))
    found = await GenerationCarbon(endpoint=world.door(), factors=factors, caps=caps).fetch("BE", day)
    assert found is not None
    assert found.intensity_g_per_kwh == plain.intensity_g_per_kwh
    assert found.quality is plain.quality
    assert 1 < await world.asked("/entsoe/api") - before <= most_requests


async def test_m18_a_platform_that_cuts_everything_is_not_asked_for_ever(world: Sources, config: Path) -> None:
    factors = load_factors(config / "carbon_factors.toml", "ipcc-ar5-lifecycle")
    source = GenerationCarbon(endpoint=world.door(), factors=factors, caps=ReplyCaps(points=1))
    day = DeliveryDay(day=DAY.day, zone=BRUSSELS).next(-2)
    await world.tell("platform", cap_points=1)
    with pytest.raises(PeerUnavailable, match="cuts its answer"):
        await source.fetch("BE", day)
    assert await world.asked("/entsoe/api") <= 40
    await world.tell("platform", cap_points=None, refuse_points=0)
    with pytest.raises(PeerUnavailable, match="cuts its answer"):
        await source.fetch("BE", day)
    assert await world.asked("/entsoe/api") <= 80


async def test_m24_a_type_that_does_not_report_makes_no_value(world: Sources, config: Path) -> None:
    factors = load_factors(config / "carbon_factors.toml", "ipcc-ar5-lifecycle")
    source = GenerationCarbon(endpoint=world.door(), factors=factors)
    yesterday = DeliveryDay(day=DAY.day, zone=BRUSSELS).next(-2)
    whole = await source.fetch("BE", yesterday)
    assert whole is not None
    assert whole.is_complete
    today = await source.fetch("BE", yesterday.next())
    assert today is not None
    assert 0 < sum(value is None for value in today.intensity_g_per_kwh) < 96


async def test_m25_an_estimate_is_replaced_by_what_was_measured_and_both_are_kept(world: Sources) -> None:
    day = DeliveryDay(day=DAY.day, zone=BRUSSELS).next(-1)
    world.clock.set(day.next().interval.start)
    account = CarbonAccount(url=f"{world.url}/maps", token=world.token, kind=CarbonKind.AVERAGE)
    source = CarbonIntensitySource(account=account, session=world.session, clock=world.clock)
    store = MemoryStore(world.clock)
    gatherer = MarketDataGatherer(
        store=store,
        clock=world.clock,
        ids=CountingIds(),
        price_sources={},
        carbon_sources={"BE": [source]},
        settings=GatherSettings(tenants=(TENANT,), time_zones={"BE": BRUSSELS}),
    )
    await gatherer.refresh_carbon("BE", day)
    world.clock.move(hours=3)
    await gatherer.refresh_carbon("BE", day)
    estimated, measured = sorted(store.all(CarbonSeries, TENANT), key=lambda one: one.fetched_at)
    assert (estimated.quality, measured.quality) == (Quality.ESTIMATED, Quality.FINAL)
    assert estimated.measure == measured.measure
    changed = [
        round(a - b, 1)
        for a, b in zip(estimated.intensity_g_per_kwh, measured.intensity_g_per_kwh, strict=True)
        if a is not None and b is not None
    ]
    assert set(changed) == {0.0, 4.0}


async def test_the_british_forecast_becomes_what_was(world: Sources) -> None:
    day = DeliveryDay(day=DAY.day, zone="Europe/London").next(-1)
    source = UkCarbonIntensity(
        zone="GB", postcode=None, session=world.session, clock=world.clock, url=f"{world.url}/uk"
    )
    before = await source.fetch("GB", day)
    world.clock.set(day.next().interval.start + timedelta(hours=1))
    after = await source.fetch("GB", day)
    assert before is not None
    assert after is not None
    assert (before.quality, after.quality) == (Quality.ESTIMATED, Quality.FINAL)


async def test_two_prices_of_the_netherlands_come_from_one_archive(world: Sources) -> None:
    day = DeliveryDay(day=DAY.day, zone="Europe/Amsterdam").next(-2)
    long = await world.imbalance(PriceProduct.IMBALANCE_LONG).fetch("NL", day)
    short = await world.imbalance(PriceProduct.IMBALANCE_SHORT).fetch("NL", day)
    assert long is not None
    assert short is not None
    spread = [
        b - a for a, b in zip(long.prices_per_mwh, short.prices_per_mwh, strict=True) if a is not None and b is not None
    ]
    assert spread[::8] == [Decimal(40)] * 12
    assert spread.count(Decimal(0)) == 84
    with pytest.raises(InvalidInput, match="long and short differ"):
        await world.imbalance().fetch("NL", day)


async def test_the_third_intraday_auction_is_whole_with_half_a_day(world: Sources) -> None:
    day = DeliveryDay(day=DAY.day, zone="Europe/Madrid")
    world.clock.set(day.at(time(10, 30)))
    product = PriceProduct.INTRADAY_IDA3
    gatherer = MarketDataGatherer(
        store=MemoryStore(world.clock),
        clock=world.clock,
        ids=CountingIds(),
        price_sources={("ES", product): [world.prices(product)]},
        carbon_sources={},
        settings=GatherSettings(tenants=(TENANT,), time_zones={"ES": "Europe/Madrid"}),
    )
    status = await gatherer.refresh("ES", product, day)
    assert (status.state, status.missing_count) == (DayState.COMPLETE, 0)
    with pytest.raises(InvalidInput, match="no rule for intraday-ida3"):
        await world.prices(product).fetch("BE", day)


async def test_many_askers_share_one_ban(world: Sources) -> None:
    await world.tell("platform", per_minute=5)
    source = world.prices()
    results = await asyncio.gather(*(source.fetch("BE", DAY) for _ in range(12)), return_exceptions=True)
    assert sum(isinstance(one, PriceSeries) for one in results) == 5
    assert all(isinstance(one, PriceSeries | PeerUnavailable) for one in results)
    assert datetime(2026, 10, 2, tzinfo=UTC) < world.clock.now()
