"""Public price feeds over real sockets: one contract for all of them, then what is particular to each."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import InvalidInput, PeerUnavailable
from gateway.domain.market_time_units import day_ahead_product, market_time_unit
from gateway.domain.series import PriceProduct, Quality
from gateway.domain.timegrid import DeliveryDay, TimeGrid
from gateway.market_data.feeds.awattar import Awattar
from gateway.market_data.feeds.elering import Elering
from gateway.market_data.feeds.elexon import ElexonSystemPrices
from gateway.market_data.feeds.elexon_index import ElexonMarketIndex
from gateway.market_data.feeds.energy_charts import EnergyCharts
from gateway.market_data.feeds.nord_pool_portal import NordPoolPortal
from gateway.market_data.feeds.oasis import SPACING, CaisoOasis
from gateway.market_data.feeds.octopus import OctopusAgile
from gateway.market_data.feeds.public_prices import PriceFeed, PublicPrices, Samples, honest, on_grid
from gateway.market_data.feeds.smard import Smard
from gateway.market_data.http_fetch import FetchCaps
from gateway.market_data.turnstile import Pace
from tests.fakes.clock import HandClock
from tests.fakes.scripted_peer import ScriptedPeer
from tests.market_data.documents import zipped

NOW = datetime(2026, 10, 3, 14, 0, tzinfo=UTC)
REPLIES = Path(__file__).parent / "replies"
QUARTER, HALF, HOUR = timedelta(minutes=15), timedelta(minutes=30), timedelta(hours=1)
Prices = Sequence[str | None]
Document = dict[str, Any]


def seconds(starts: Sequence[datetime]) -> list[int]:
    return [int(start.timestamp()) for start in starts]


def of_energy_charts(starts: Sequence[datetime], prices: Prices, step: timedelta) -> list[Document]:
    return [{"license_info": "CC BY 4.0", "unix_seconds": seconds(starts), "price": prices, "unit": "EUR / MWh"}]


def of_smard(starts: Sequence[datetime], prices: Prices, step: timedelta) -> list[Document]:
    stamps = [1000 * second for second in seconds(starts)]
    week = 7 * 86_400_000
    index = {"timestamps": [stamps[0] - week, stamps[0], stamps[0] + week]}
    return [index, {"series": [[stamp, price] for stamp, price in zip(stamps, prices, strict=True)]}]


def of_elering(starts: Sequence[datetime], prices: Prices, step: timedelta) -> list[Document]:
    rows = [{"timestamp": second, "price": price} for second, price in zip(seconds(starts), prices, strict=True)]
    return [{"success": True, "data": {"fi": rows, "ee": []}}]


def of_awattar(starts: Sequence[datetime], prices: Prices, step: timedelta) -> list[Document]:
    rows = [
        {
            "start_timestamp": 1000 * second,
            "end_timestamp": 1000 * (second + int(step.total_seconds())),
            "marketprice": price,
            "unit": "Eur/MWh",
        }
        for second, price in zip(seconds(starts), prices, strict=True)
        if price is not None
    ]
    return [{"object": "list", "data": rows}]


def of_portal(starts: Sequence[datetime], prices: Prices, step: timedelta) -> list[Document]:
    rows = [
        {
            "deliveryStart": start.isoformat(),
            "deliveryEnd": (start + step).isoformat(),
            "entryPerArea": {"SE3": price} if price is not None else {},
        }
        for start, price in zip(starts, prices, strict=True)
    ]
    return [
        {
            "updatedAt": "2026-10-02T11:02:15.1234567Z",
            "currency": "EUR",
            "areaStates": [{"state": "Final", "areas": ["SE3"]}],
            "multiIndexEntries": rows,
        }
    ]


def of_octopus(starts: Sequence[datetime], prices: Prices, step: timedelta) -> list[Document]:
    rows = [
        {"value_exc_vat": price, "value_inc_vat": 99, "valid_from": f"{start:%Y-%m-%dT%H:%M:%SZ}",
         "valid_to": f"{start + step:%Y-%m-%dT%H:%M:%SZ}"}
        for start, price in zip(starts, prices, strict=True)
        if price is not None
    ]  # fmt: skip
    return [{"count": len(rows), "next": None, "results": rows[::-1]}]


def of_elexon(starts: Sequence[datetime], prices: Prices, step: timedelta) -> list[Document]:
    rows = [
        {
            "settlementDate": starts[0].astimezone(UTC).date().isoformat() if starts[0].hour == 0 else "2026-10-03",
            "settlementPeriod": number + 1,
            "createdDateTime": "2026-10-03T13:31:12Z",
            "systemSellPrice": price,
            "systemBuyPrice": price,
        }
        for number, price in enumerate(prices)
        if price is not None
    ]
    return [{"data": rows}]


def of_market_index(starts: Sequence[datetime], prices: Prices, step: timedelta) -> list[Document]:
    rows = [
        {"startTime": f"{start:%Y-%m-%dT%H:%M:%SZ}", "dataProvider": provider, "price": written, "volume": volume}
        for start, price in zip(starts, prices, strict=True)
        if price is not None
        for provider, written, volume in (("N2EXMIDP", exact("0"), 0), ("APXMIDP", price, exact("812.5")))
    ]
    return [{"data": rows}]


class Archive:
    """The rows of an OASIS reply, which are no JSON: `answer` zips them."""

    def __init__(self, rows: str) -> None:
        self.rows = rows


OASIS_HEAD = "INTERVALSTARTTIME_GMT,INTERVALENDTIME_GMT,NODE,MARKET_RUN_ID,LMP_TYPE,MW,GROUP"


def of_oasis(starts: Sequence[datetime], prices: Prices, step: timedelta) -> list[Any]:
    rows = [OASIS_HEAD]
    for start, price in zip(starts, prices, strict=True):
        if price is not None:
            span = f"{start:%Y-%m-%dT%H:%M:%S}-00:00,{start + step:%Y-%m-%dT%H:%M:%S}-00:00"
            rows += [f"{span},TH_SP15_GEN-APND,DAM,{kind},{price},1" for kind in ("MCC", "LMP", "MCE")]
    return [Archive("\n".join(rows) + "\n")]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One feed and how its replies look."""

    feed: PriceFeed
    zone: str
    tz: str
    documents: Callable[[Sequence[datetime], Prices, timedelta], list[Any]]
    step: timedelta
    currency: str = "EUR"
    factor: Decimal = Decimal(1)
    """From what the feed counts in to the currency per MWh."""
    requests: int = 1
    quality: Quality = Quality.FINAL
    notes: str = ""
    day: date = field(default=date(2026, 10, 3))
    clock_changes: tuple[tuple[int, int], tuple[int, int]] = ((3, 29), (10, 25))
    """Month and day of both clock changes of 2026."""


CASES = [
    pytest.param(
        Case(feed=EnergyCharts(), zone="DE_LU", tz="Europe/Berlin", documents=of_energy_charts, step=QUARTER),
        id="energy-charts",
    ),
    pytest.param(
        Case(feed=Smard(), zone="DE_LU", tz="Europe/Berlin", documents=of_smard, step=QUARTER, requests=2), id="smard"
    ),
    pytest.param(
        Case(feed=Elering(), zone="FI", tz="Europe/Brussels", documents=of_elering, step=QUARTER), id="elering"
    ),
    pytest.param(
        Case(
            feed=Awattar("AT"),
            zone="AT",
            tz="Europe/Vienna",
            documents=of_awattar,
            step=HOUR,
            quality=Quality.ESTIMATED,
            notes="means",
        ),
        id="awattar",
    ),
    pytest.param(
        Case(feed=NordPoolPortal(), zone="SE_3", tz="Europe/Brussels", documents=of_portal, step=QUARTER),
        id="nord-pool-portal",
    ),
    pytest.param(
        Case(
            feed=OctopusAgile(product_code="AGILE-24-10-01", region="C", zone="GB-C"),
            zone="GB-C",
            tz="Europe/London",
            documents=of_octopus,
            step=HALF,
            currency="GBP",
            factor=Decimal(10),
        ),
        id="octopus",
    ),
    pytest.param(
        Case(
            feed=ElexonSystemPrices(),
            zone="GB",
            tz="Europe/London",
            documents=of_elexon,
            step=HALF,
            currency="GBP",
            quality=Quality.PRELIMINARY,
            notes="settlement runs",
        ),
        id="elexon",
    ),
    pytest.param(
        Case(
            feed=ElexonMarketIndex(),
            zone="GB",
            tz="Europe/London",
            documents=of_market_index,
            step=HALF,
            currency="GBP",
        ),
        id="elexon-market-index",
    ),
    pytest.param(
        Case(
            feed=CaisoOasis(node="TH_SP15_GEN-APND", zone="CAISO_SP15"),
            zone="CAISO_SP15",
            tz="America/Los_Angeles",
            documents=of_oasis,
            step=HOUR,
            currency="USD",
            clock_changes=((3, 8), (11, 1)),
        ),
        id="caiso-oasis",
    ),
]
each_feed = pytest.mark.parametrize("case", CASES)

Open = Callable[[PriceFeed], PublicPrices]


@pytest.fixture
def source(peer: ScriptedPeer, session: aiohttp.ClientSession, clock: HandClock) -> Open:
    def make(feed: PriceFeed) -> PublicPrices:
        caps = FetchCaps(connect_s=1.0, total_s=1.0, max_bytes=200_000)
        return PublicPrices(feed=feed, url=peer.url, session=session, clock=clock, caps=caps)

    return make


@pytest.fixture
def clock() -> HandClock:
    return HandClock(NOW)


def answer(peer: ScriptedPeer, documents: Sequence[Any], **headers: str) -> None:
    peer.answers.clear()
    for document in documents:
        peer.reply(written_out(document), content_type="application/octet-stream", headers=headers)


def written_out(document: Any) -> bytes:
    if isinstance(document, Archive):
        return zipped({"20261003_20261003_PRC_LMP_DAM_v12.csv": document.rows.replace("#", "").encode()})
    return json.dumps(document).replace('"#', "").replace('#"', "").encode()


def exact(number: str) -> str:
    """A price that stands in the document as a JSON number, digit for digit."""
    return f"#{number}#"


def native(case: Case, day: DeliveryDay) -> tuple[TimeGrid, list[str], list[Decimal]]:
    grid = day.grid(case.step)
    texts = [f"{number - 3}.10" for number in range(grid.count)]
    return grid, [exact(text) for text in texts], [Decimal(text) * case.factor for text in texts]


# ---------------------------------------------------------------- the contract


@each_feed
async def test_a_whole_day_comes_digit_for_digit(case: Case, source: Open, peer: ScriptedPeer) -> None:
    day = DeliveryDay(day=case.day, zone=case.tz)
    grid, written, expected = native(case, day)
    answer(peer, case.documents(grid.starts(), written, case.step))
    found = await source(case.feed).fetch(case.zone, day)
    assert found is not None
    repeated = case.step // found.grid.step
    assert found.prices_per_mwh == tuple(price for price in expected for _ in range(repeated))
    assert (found.grid.start, found.grid.end) == (grid.start, grid.end)
    assert (found.zone, found.product, found.currency) == (case.zone, case.feed.product, case.currency)
    assert (found.source, found.licence, found.fetched_at) == (case.feed.name, case.feed.licence, NOW)
    assert found.quality is case.quality
    assert case.notes in found.note
    assert len(peer.asked) == case.requests


@each_feed
async def test_what_is_missing_stays_missing(case: Case, source: Open, peer: ScriptedPeer) -> None:
    day = DeliveryDay(day=case.day, zone=case.tz)
    grid, written, _ = native(case, day)
    holes: Prices = [None if i in {2, 5} else text for i, text in enumerate(written)]
    answer(peer, case.documents(grid.starts(), holes, case.step))
    found = await source(case.feed).fetch(case.zone, day)
    assert found is not None
    assert not found.is_complete
    assert {start for start in grid.starts() if start in set(found.gaps)} == {grid.slot_start(2), grid.slot_start(5)}


@each_feed
async def test_a_day_that_is_not_there_is_none(case: Case, source: Open, peer: ScriptedPeer) -> None:
    peer.reply(b"not found", status=404, content_type="text/plain")
    assert await source(case.feed).fetch(case.zone, DeliveryDay(day=case.day, zone=case.tz)) is None


@each_feed
@pytest.mark.parametrize("status", [401, 500, 503])
async def test_a_refusal_is_no_price(case: Case, source: Open, peer: ScriptedPeer, status: int) -> None:
    peer.reply(b"<html>busy</html>", status=status, content_type="text/html")
    with pytest.raises(PeerUnavailable, match=f"status {status}"):
        await source(case.feed).fetch(case.zone, DeliveryDay(day=case.day, zone=case.tz))


@each_feed
async def test_after_429_nobody_is_asked_for_ten_minutes(
    case: Case, source: Open, peer: ScriptedPeer, clock: HandClock
) -> None:
    peer.reply(b"", status=429)
    day, prices = DeliveryDay(day=case.day, zone=case.tz), source(case.feed)
    for _ in range(3):
        with pytest.raises(PeerUnavailable):
            await prices.fetch(case.zone, day)
    assert len(peer.asked) == 1
    clock.move(minutes=10)
    with pytest.raises(PeerUnavailable):
        await prices.fetch(case.zone, day)
    assert len(peer.asked) == 2


async def test_two_requests_to_oasis_keep_their_distance(
    peer: ScriptedPeer, session: aiohttp.ClientSession, clock: HandClock
) -> None:
    feed, pace = CaisoOasis(node="TH_SP15_GEN-APND", zone="CAISO_SP15"), Pace(spacing=SPACING)
    prices = PublicPrices(feed=feed, url=peer.url, session=session, clock=clock, pace=pace)
    peer.reply(status=404)
    day = DeliveryDay(day=date(2026, 10, 3), zone="America/Los_Angeles")
    await prices.fetch("CAISO_SP15", day)
    async with asyncio.TaskGroup() as group:
        second = group.create_task(prices.fetch("CAISO_SP15", day))
        clock.move(seconds=4.9)
        await asyncio.sleep(0.05)
        assert len(peer.asked) == 1
        assert not second.done()
        clock.move(seconds=0.1)
    assert len(peer.asked) == 2


@each_feed
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"<html>maintenance</html>", id="a web page"),
        pytest.param(b"", id="nothing"),
        pytest.param(b'{"data": [', id="cut short"),
        pytest.param(b'{"price": NaN}', id="NaN"),
        pytest.param(b"[1, 2]", id="a list"),
        pytest.param(b"\xff\xfe{\x00}\x00", id="UTF-16"),
        pytest.param(b"{}", id="an empty object"),
        pytest.param(b'{"a":' * 5000 + b"1" + b"}" * 5000, id="nested"),
    ],
)
async def test_a_body_that_is_no_reply_is_refused(case: Case, source: Open, peer: ScriptedPeer, body: bytes) -> None:
    if not body.strip() and case.feed.name == "nord-pool-portal":
        pytest.skip("an empty body is the portal's way to say that the day is not there")
    peer.reply(body, content_type="application/json")
    with pytest.raises((InvalidInput, PeerUnavailable)):
        await source(case.feed).fetch(case.zone, DeliveryDay(day=case.day, zone=case.tz))


@each_feed
async def test_a_body_over_the_cap_is_not_read(case: Case, source: Open, peer: ScriptedPeer) -> None:
    peer.reply(b" " * 300_000, content_type="application/json")
    with pytest.raises(PeerUnavailable, match="more than"):
        await source(case.feed).fetch(case.zone, DeliveryDay(day=case.day, zone=case.tz))


@each_feed
async def test_a_zone_that_it_does_not_cover_is_refused_by_name(case: Case, source: Open, peer: ScriptedPeer) -> None:
    with pytest.raises(InvalidInput) as refusal:
        await source(case.feed).fetch("XX", DeliveryDay(day=case.day, zone=case.tz))
    assert refusal.value.field == "zone"
    assert peer.asked == []


@each_feed
@pytest.mark.parametrize("is_autumn", [False, True], ids=["spring", "autumn"])
async def test_clock_change_days_have_their_own_count(
    case: Case, source: Open, peer: ScriptedPeer, is_autumn: bool
) -> None:
    if case.feed.name == "elexon":
        pytest.skip("its rows carry the day: tested below")
    month, day_of_month = case.clock_changes[is_autumn]
    day = DeliveryDay(day=date(2026, month, day_of_month), zone=case.tz)
    grid, written, _ = native(case, day)
    answer(peer, case.documents(grid.starts(), written, case.step))
    found = await source(case.feed).fetch(case.zone, day)
    assert found is not None
    assert found.is_complete
    assert found.grid.count * found.grid.step == timedelta(hours=25 if is_autumn else 23)


@each_feed
async def test_stand_in_values_say_so(case: Case, source: Open, peer: ScriptedPeer) -> None:
    day = DeliveryDay(day=case.day, zone=case.tz)
    grid, written, _ = native(case, day)
    answer(peer, case.documents(grid.starts(), written, case.step), **{"X-Stand-In": "another year"})
    found = await source(case.feed).fetch(case.zone, day)
    assert found is not None
    assert found.quality is Quality.SUBSTITUTED
    assert "another year" in found.note


# ---------------------------------------------------------------- what is particular


async def test_hourly_values_before_the_quarter_hour_market_are_its_prices(source: Open, peer: ScriptedPeer) -> None:
    day = DeliveryDay(day=date(2025, 9, 30), zone="Europe/Berlin")
    grid = day.grid(HOUR)
    answer(peer, of_energy_charts(grid.starts(), [exact(f"{i}.5") for i in range(24)], HOUR))
    found = await source(EnergyCharts()).fetch("DE_LU", day)
    assert found is not None
    assert found.quality is Quality.FINAL
    assert found.prices_per_mwh[:8] == (Decimal("0.5"),) * 4 + (Decimal("1.5"),) * 4
    [run] = found.runs
    assert (run.count, run.native_step, run.quality) == (96, HOUR, Quality.FINAL)
    assert found.note == ""


async def test_unequal_lists_are_refused(source: Open, peer: ScriptedPeer) -> None:
    day = DeliveryDay(day=date(2026, 10, 3), zone="Europe/Berlin")
    document = of_energy_charts(day.grid().starts(), ["1"] * 96, QUARTER)[0]
    document["price"] = document["price"][:-1]
    answer(peer, [document])
    with pytest.raises(InvalidInput, match="95 values for 96 times"):
        await source(EnergyCharts()).fetch("DE_LU", day)


async def test_a_week_that_smard_does_not_list_is_none(source: Open, peer: ScriptedPeer) -> None:
    answer(peer, [{"timestamps": [0, 604_800_000]}])
    assert await source(Smard()).fetch("DE_LU", DeliveryDay(day=date(2026, 10, 3), zone="Europe/Berlin")) is None
    assert len(peer.asked) == 1


async def test_a_preliminary_area_is_preliminary(source: Open, peer: ScriptedPeer) -> None:
    day = DeliveryDay(day=date(2026, 10, 3), zone="Europe/Brussels")
    document = of_portal(day.grid().starts(), [exact("7.25")] * 96, QUARTER)[0]
    document["areaStates"][0]["state"] = "Preliminary"
    answer(peer, [document])
    found = await source(NordPoolPortal()).fetch("SE_3", day)
    assert found is not None
    assert found.quality is Quality.PRELIMINARY
    assert found.published_at == datetime(2026, 10, 2, 11, 2, 15, 123456, tzinfo=UTC)


async def test_a_real_reply_of_octopus(source: Open, peer: ScriptedPeer) -> None:
    """52 half-hours of 3 and 4 October 2026 as they were served; the last two of the London day are not there yet."""
    peer.reply((REPLIES / "octopus_agile_c.json").read_bytes(), content_type="application/json")
    feed = OctopusAgile(product_code="AGILE-24-10-01", region="C", zone="GB-C")
    found = await source(feed).fetch("GB-C", DeliveryDay(day=date(2026, 10, 4), zone="Europe/London"))
    assert found is not None
    assert found.product is PriceProduct.TARIFF_ENERGY
    assert found.gaps == (datetime(2026, 10, 4, 22, 0, tzinfo=UTC), datetime(2026, 10, 4, 22, 30, tzinfo=UTC))
    at = dict(zip(found.grid.starts(), found.prices_per_mwh, strict=True))
    assert at[datetime(2026, 10, 4, 21, 30, tzinfo=UTC)] == Decimal("250.1")
    assert at[datetime(2026, 10, 4, 20, 0, tzinfo=UTC)] == Decimal("322.6")


async def test_pages_are_followed_by_their_query_only_and_not_for_ever(source: Open, peer: ScriptedPeer) -> None:
    day = DeliveryDay(day=date(2026, 10, 3), zone="Europe/London")
    grid = day.grid(HALF)
    first = of_octopus(grid.starts()[:24], [exact("10")] * 24, HALF)[0]
    second = of_octopus(grid.starts()[24:], [exact("20")] * 24, HALF)[0]
    first["next"] = "https://elsewhere.example/v9/?page=2&period_from=x"
    answer(peer, [first, second])
    feed = OctopusAgile(product_code="AGILE-24-10-01", region="C", zone="GB-C")
    found = await source(feed).fetch("GB-C", day)
    assert found is not None
    assert found.prices_per_mwh == (Decimal(100),) * 24 + (Decimal(200),) * 24
    assert [request.path for request in peer.asked] == [peer.asked[0].path] * 2
    assert peer.asked[1].query["page"] == "2"
    second["next"] = "https://elsewhere.example/?page=3"
    answer(peer, [second])
    with pytest.raises(PeerUnavailable, match="without end|more than"):
        await source(feed).fetch("GB-C", day)


@pytest.mark.parametrize(("month", "day_of_month", "count"), [(3, 29, 46), (10, 25, 50)])
async def test_settlement_periods_are_counted_on_clock_change_days(
    source: Open, peer: ScriptedPeer, month: int, day_of_month: int, count: int
) -> None:
    day = DeliveryDay(day=date(2026, month, day_of_month), zone="Europe/London")
    document = of_elexon(day.grid(HALF).starts(), [exact("5")] * count, HALF)[0]
    for row in document["data"]:
        row["settlementDate"] = day.day.isoformat()
    answer(peer, [document])
    found = await source(ElexonSystemPrices()).fetch("GB", day)
    assert found is not None
    assert found.is_complete
    assert found.grid.count == count
    document["data"][-1]["settlementPeriod"] = count + 1
    answer(peer, [document])
    with pytest.raises(InvalidInput, match=f"must be 1 to {count}"):
        await source(ElexonSystemPrices()).fetch("GB", day)


async def test_two_system_prices_are_not_one_series(source: Open, peer: ScriptedPeer) -> None:
    day = DeliveryDay(day=date(2026, 10, 3), zone="Europe/London")
    document = of_elexon(day.grid(HALF).starts(), [exact("5")] * 48, HALF)[0]
    document["data"][7]["systemSellPrice"] = 4
    answer(peer, [document])
    with pytest.raises(InvalidInput, match=r"systemSellPrice differs|two prices are two series"):
        await source(ElexonSystemPrices()).fetch("GB", day)


async def test_half_hours_without_trades_have_no_index_price(source: Open, peer: ScriptedPeer) -> None:
    day = DeliveryDay(day=date(2026, 10, 3), zone="Europe/London")
    document = of_market_index(day.grid(HALF).starts(), [exact("5")] * 48, HALF)[0]
    document["data"][3] |= {"price": 0, "volume": 0}
    answer(peer, [document])
    found = await source(ElexonMarketIndex()).fetch("GB", day)
    assert found is not None
    assert found.gaps == (day.grid(HALF).slot_start(1),)


def oasis_error(code: int, text: str) -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?><m:OASISReport xmlns:m="http://www.caiso.com/soa/OASISReport_v1.xsd">'
        f"<m:MessagePayload><m:RTO><m:ERROR><m:ERR_CODE>{code}</m:ERR_CODE><m:ERR_DESC>{text}</m:ERR_DESC>"
        "</m:ERROR></m:RTO></m:MessagePayload></m:OASISReport>"
    ).encode()


OASIS_DAY = DeliveryDay(day=date(2026, 10, 3), zone="America/Los_Angeles")


async def test_oasis_says_in_a_zip_that_there_are_no_data_or_that_it_refuses(source: Open, peer: ScriptedPeer) -> None:
    prices = source(CaisoOasis(node="TH_SP15_GEN-APND", zone="CAISO_SP15"))
    peer.reply(zipped({"INVALID_REQUEST.xml": oasis_error(1000, "No data returned for the specified selection")}))
    assert await prices.fetch("CAISO_SP15", OASIS_DAY) is None
    peer.answers.clear()
    peer.reply(zipped({"INVALID_REQUEST.xml": oasis_error(1016, "Invalid node")}))
    with pytest.raises(InvalidInput, match="Invalid node"):
        await prices.fetch("CAISO_SP15", OASIS_DAY)


OASIS_ROW = "2026-10-03T07:00:00-00:00,2026-10-03T08:00:00-00:00,TH_SP15_GEN-APND,DAM,LMP,31.5,1"


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        pytest.param({"../../etc/x.csv": b"a"}, "plain", id="a path"),
        pytest.param({"a.csv": b"a", "b.csv": b"b"}, "2 members", id="two members"),
        pytest.param({"a.exe": b"a"}, "plain", id="another kind"),
        pytest.param({"a.csv": b"0" * 6_000_000}, "larger", id="a bomb"),
        pytest.param({"a.csv": b"A,B\n1,2\n"}, "no column", id="other columns"),
        pytest.param({"a.csv": f"{OASIS_HEAD}\n{OASIS_ROW.replace('TH_SP15', 'TH_NP15')}\n".encode()}, "another node",
                     id="another node"),
        pytest.param({"a.csv": f"{OASIS_HEAD}\n{OASIS_ROW.replace('31.5', 'NaN')}\n".encode()}, "finite", id="NaN"),
        pytest.param({"a.csv": f"{OASIS_HEAD}\n{OASIS_ROW}\n{OASIS_ROW}\n".encode()}, "twice", id="an hour twice"),
        pytest.param({"a.csv": f"{OASIS_HEAD}\n{OASIS_ROW.replace('T08:00', 'T07:05')}\n".encode()}, "an hour after",
                     id="five minutes"),
    ],
)  # fmt: skip
async def test_an_archive_of_oasis_is_not_believed(
    source: Open, peer: ScriptedPeer, members: dict[str, bytes], problem: str
) -> None:
    peer.reply(zipped(members), content_type="application/zip")
    with pytest.raises(InvalidInput, match=problem):
        await source(CaisoOasis(node="TH_SP15_GEN-APND", zone="CAISO_SP15")).fetch("CAISO_SP15", OASIS_DAY)


async def test_m10_a_price_of_9052_dollars_is_a_price(source: Open, peer: ScriptedPeer) -> None:
    answer(peer, of_oasis(OASIS_DAY.grid(HOUR).starts(), [exact("9052.13")] * 24, HOUR))
    found = await source(CaisoOasis(node="TH_SP15_GEN-APND", zone="CAISO_SP15")).fetch("CAISO_SP15", OASIS_DAY)
    assert found is not None
    assert found.is_complete
    assert (found.currency, max(found.as_array())) == ("USD", 9052.13)


@given(step=st.sampled_from([QUARTER, HALF, HOUR]), kept=st.sets(st.integers(0, 99)), shift=st.integers(0, 59))
def test_a_slot_has_the_price_of_the_period_that_holds_it(step: timedelta, kept: set[int], shift: int) -> None:
    day = DeliveryDay(day=date(2026, 10, 25), zone="Europe/Brussels")
    grid, periods = day.grid(), day.grid(step)
    prices = {periods.slot_start(i): Decimal(i) for i in range(periods.count) if i in kept}
    found = on_grid(Samples(currency="EUR", step=step, price_per_mwh=prices), grid)
    for start, price in zip(grid.starts(), found, strict=True):
        holder = (start - grid.start) // step
        assert price == (Decimal(holder) if holder in kept else None)
    if shift % 15:
        off = {grid.start + timedelta(minutes=shift): Decimal(1)}
        with pytest.raises(InvalidInput, match="samples"):
            on_grid(Samples(currency="EUR", step=step, price_per_mwh=off), grid)


@pytest.mark.parametrize(
    ("zone", "product"), [("CH", PriceProduct.DAY_AHEAD_LOCAL), ("IE_SEM", PriceProduct.DAY_AHEAD_SDAC)]
)
def test_m5_hours_of_a_market_that_clears_hours_are_its_prices(zone: str, product: PriceProduct) -> None:
    """Switzerland and Ireland stay hourly after 1 October 2025: what feeds give hourly there is no estimate."""
    day = DeliveryDay(day=date(2025, 10, 15), zone="Europe/Zurich")
    assert day_ahead_product(zone) is product
    unit = market_time_unit(product, zone, day.day)
    assert unit is not None
    assert (unit.step, bool(unit.source)) == (HOUR, True)
    samples = Samples(currency="EUR", step=HOUR, price_per_mwh={})
    assert honest(samples, unit) == (Quality.FINAL, ())
    coupled = market_time_unit(PriceProduct.DAY_AHEAD_SDAC, "DE_LU", day.day)
    quality, notes = honest(samples, coupled)
    assert quality is Quality.ESTIMATED
    assert notes == ("the auction clears periods of 15 minutes: these are means of 60",)


async def test_m5_swiss_prices_are_those_of_the_swiss_auction(source: Open, peer: ScriptedPeer) -> None:
    day = DeliveryDay(day=date(2025, 10, 15), zone="Europe/Zurich")
    answer(peer, of_energy_charts(day.grid(HOUR).starts(), [exact(f"{i}.5") for i in range(24)], HOUR))
    found = await source(EnergyCharts()).fetch("CH", day)
    assert found is not None
    assert (found.product, found.quality, found.grid.count) == (PriceProduct.DAY_AHEAD_LOCAL, Quality.FINAL, 96)
    assert [(run.count, run.native_step) for run in found.runs] == [(96, HOUR)]
