"""The market page: prices and carbon of any day with where they come from, gaps as gaps, and years at once."""

import json
import re
import struct
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import numpy as np
import pytest

from gateway.domain.contradictions import Contradiction
from gateway.domain.errors import PeerUnavailable
from gateway.domain.series import (
    CarbonKind,
    CarbonSeries,
    DayState,
    MarketDayStatus,
    PriceProduct,
    PriceSeries,
    Quality,
    SlotRun,
    carbon_series_id,
    market_day_id,
    price_series_id,
)
from gateway.domain.timegrid import DeliveryDay
from gateway.services.gather_market_data import SourceOpinions
from tests.fakes.market import ScriptedSource, price_series
from tests.fakes.wired import TENANT, Wired, wired
from tests.services.market_scene import DAY, ZONE, prices_of
from tests.web.conftest import AUTUMN, HTML, SPRING, Browser, Page, browsing, serving

SDAC = PriceProduct.DAY_AHEAD_SDAC


async def put_day(house: Wired, day: DeliveryDay, *, gap: int | None = None, **changes: object) -> PriceSeries:
    """Store a day's prices and its status, as the gatherer would."""
    prices = prices_of(day)
    if gap is not None:
        prices[gap] = None
    series = replace(price_series(day, prices, fetched_at=house.scene.clock.now()), **changes)  # type: ignore[arg-type]
    series = replace(series, id=price_series_id(series, day))
    status = MarketDayStatus(
        id=market_day_id("BE", SDAC, day),
        tenant=TENANT,
        zone="BE",
        product=SDAC,
        day=day.day.isoformat(),
        state=DayState.COMPLETE if gap is None else DayState.PARTIAL,
        missing_count=0 if gap is None else 1,
        series_id=series.id,
        checked_at=house.scene.clock.now(),
        cross_check="energy-charts agrees in all 96 periods",
    )
    await house.scene.store.seed(TENANT, series, status)
    return series


async def put_carbon(house: Wired, day: DeliveryDay) -> None:
    grid = day.grid(timedelta(hours=1))
    series = CarbonSeries(
        id="",
        zone="BE",
        kind=CarbonKind.AVERAGE,
        grid=grid,
        intensity_g_per_kwh=tuple(None if i == 5 else 100.0 + i for i in range(grid.count)),
        source="a source",
        fetched_at=house.scene.clock.now(),
        quality=Quality.ESTIMATED,
        licence="CC-BY-4.0",
    )
    await house.scene.store.seed(TENANT, replace(series, id=carbon_series_id(series, day)))


async def test_a_stranger_is_asked_to_log_in(browser: Browser) -> None:
    page = await browser.get("/market/2026-03-29", **HTML)
    assert (page.status, page.headers["Location"]) == (303, "/login")


async def test_the_page_opens_at_today_and_says_that_nothing_is_known(browser: Browser, house: Wired) -> None:
    await browser.login("tara")
    opened = await browser.get("/market")
    today = DeliveryDay.containing(house.scene.clock.now(), ZONE)
    assert opened.headers["Location"] == f"/market/{today.day}"
    page = await browser.get("/market/2001-01-01", **HTML)
    assert "nothing was asked for this day" in page.text
    assert (await browser.get("/market/2001-01-01/series")).json == {"x": [], "time_zone": ZONE}


@pytest.mark.parametrize(("day", "count"), [(DAY.day, 96), (SPRING, 92), (AUTUMN, 100)])
async def test_a_day_has_as_many_rows_as_quarter_hours(day: object, count: int) -> None:
    delivery_day = DeliveryDay(day=day, zone=ZONE)  # type: ignore[arg-type]
    house = await wired(delivery_day.day)
    await put_day(house, delivery_day)
    async with serving(house) as url, browsing(url) as browser:
        await browser.login("tara")
        page = await browser.get(f"/market/{delivery_day.day}", **HTML)
        assert f"<h2>{count} periods</h2>" in page.text
        columns = (await browser.get(f"/market/{delivery_day.day}/series")).json
        # The last step is drawn to the end of its slot.
        assert len(columns["x"]) == count + 1
        assert columns["price_per_mwh"][-1] == columns["price_per_mwh"][-2]
        assert columns["x"][-1] == delivery_day.interval.end.timestamp()  # type: ignore[union-attr]


async def test_gaps_are_gaps_in_table_chart_and_history(browser: Browser, house: Wired) -> None:
    await put_day(house, DAY, gap=7)
    await put_carbon(house, DAY)
    await browser.login("tara")
    page = await browser.get(f"/market/{DAY.day}", **HTML)
    # One quarter-hour without a price; one hour without carbon is four of them.
    assert page.text.count('<td class="bad">gap</td>') == 1 + 4
    assert "1 periods missing" in page.text
    columns = (await browser.get(f"/market/{DAY.day}/series")).json
    assert [i for i, price in enumerate(columns["price_per_mwh"]) if price is None] == [7]
    assert [i for i, grams in enumerate(columns["carbon_g_per_kwh"]) if grams is None] == [20, 21, 22, 23]


async def test_where_values_come_from_is_told(browser: Browser, house: Wired) -> None:
    series = await put_day(house, DAY, source="ENTSO-E <SDAC>", note="shifted", quality=Quality.PRELIMINARY)
    await put_carbon(house, DAY)
    await browser.login("tara")
    page = await browser.get(f"/market/{DAY.day}", **HTML)
    assert "ENTSO-E &lt;SDAC&gt;" in page.text
    assert "Second source: energy-charts agrees in all 96 periods" in page.text
    columns = (await browser.get(f"/market/{DAY.day}/series")).json
    for word in (SDAC.value, "preliminary", "15 min", series.source, "fetched", "shifted"):
        assert word in columns["price_origin"]
    for word in ("average", "basis not stated", "scope not stated", "estimated", "a source"):
        assert word in columns["carbon_origin"]


async def test_m6_each_slot_tells_its_native_resolution_and_source(browser: Browser, house: Wired) -> None:
    fine = SlotRun(count=92, native_step=timedelta(minutes=15), source="entsoe", quality=Quality.FINAL)
    hour = SlotRun(count=4, native_step=timedelta(hours=1), source="smard", quality=Quality.ESTIMATED)
    await put_day(house, DAY, runs=(fine, hour))
    await browser.login("tara")
    page = await browser.get(f"/market/{DAY.day}", **HTML)
    assert page.text.count('title="60 min, estimated, smard"') == 4
    assert page.text.count('title="15 min, final, entsoe"') == 92
    assert "15 and 60 min" in page.text
    columns = (await browser.get(f"/market/{DAY.day}/series")).json
    assert columns["price_slot_origins"][90:93] == ["15 min, final, entsoe"] * 2 + ["60 min, estimated, smard"]
    assert len(columns["price_slot_origins"]) == len(columns["x"])


@pytest.mark.parametrize(
    ("quality", "cross_check", "said"),
    [
        (Quality.ESTIMATED, "", "estimates instead of prices"),
        (Quality.SUBSTITUTED, "", "stand-ins instead of prices"),
        (Quality.FINAL, "smard differs from entsoe in 3 of 96 periods", "prices that another source contradicts"),
    ],
    ids=["estimated", "stand-in", "contradicted"],
)
async def test_what_is_doubtful_stands_in_the_first_line(
    browser: Browser, house: Wired, quality: Quality, cross_check: str, said: str
) -> None:
    await put_day(house, DAY, quality=quality)
    row = await house.scene.store.get(MarketDayStatus, TENANT, market_day_id("BE", SDAC, DAY))
    assert row is not None
    await house.scene.store.seed(TENANT, replace(row.record, cross_check=cross_check))
    await browser.login("tara")
    text = (await browser.get(f"/market/{DAY.day}", **HTML)).text
    [line] = re.findall(r'data-testid="market-state">([^<]*)<', text)
    assert said in line


async def test_revisions_are_listed_with_what_changed(browser: Browser, house: Wired) -> None:
    first = await put_day(house, DAY)
    later = replace(
        first,
        prices_per_mwh=tuple(p and p + 1 if i < 3 else p for i, p in enumerate(first.prices_per_mwh)),
        fetched_at=first.fetched_at + timedelta(minutes=5),
    )
    await house.scene.store.seed(TENANT, replace(later, id=price_series_id(later, DAY)))
    await browser.login("tara")
    text = (await browser.get(f"/market/{DAY.day}", **HTML)).text
    table = text[text.index('data-testid="revisions"') :]
    assert table.count("in force") == 1
    newest, oldest = table.split("<tr")[2:4]
    assert '<td data-head="Changed">3</td>' in newest
    assert "in force" not in newest
    assert '<td data-head="Changed">96</td>' in oldest


async def test_a_day_that_was_imported_and_never_asked_for_shows_what_is_known(browser: Browser, house: Wired) -> None:
    day = DAY.next(-400)
    series = price_series(day, prices_of(day), fetched_at=house.scene.clock.now())
    await house.scene.store.seed(TENANT, replace(series, id=price_series_id(series, day)))
    await browser.login("tara")
    page = await browser.get(f"/market/{day.day}", **HTML)
    assert "<h2>96 periods</h2>" in page.text
    assert "in force" in page.text


async def asked(browser: Browser) -> Page:
    page = await browser.get(f"/market/{DAY.day}", **HTML)
    [token] = re.findall(r'name="csrf" value="([^"]+)"', page.text)[-1:]
    return await browser.post(
        f"/market/{DAY.day}/sources", {"zone": "BE", "product": SDAC.value, "csrf": token}, **{"HX-Request": "true"}
    )


async def test_sources_stand_side_by_side_and_a_difference_is_named(house: Wired) -> None:
    clock, first = house.scene.clock, prices_of(DAY)
    sources = [ScriptedSource(name) for name in ("one", "two", "three")]
    key = DAY.day.isoformat()
    for source, more in zip(sources, (Decimal(0), Decimal(5)), strict=False):
        prices = [None if p is None else p + more * (i == 3) for i, p in enumerate(first)]
        source.answers[key] = [replace(price_series(DAY, prices, fetched_at=clock.now()), source=source.name)]
    sources[2].answers[key] = [PeerUnavailable("three is closed on Sundays")]
    opinions = SourceOpinions({("BE", SDAC): sources}, clock)
    house.services = replace(house.services, price_opinions=opinions)
    house.services.market._prices["BE", SDAC] = sources
    async with serving(house) as url, browsing(url) as browser:
        await browser.login("tara")
        text = (await asked(browser)).text
        assert "three is closed on Sundays" in text
        assert "two differs from one in 1 of 96 periods" in text
        rows = text[text.index('data-testid="source-rows"') :].split("<tr>")[2:]
        assert [i for i, row in enumerate(rows) if 'class="bad"' in row] == [3]
        # Asked again at once, nobody is called again.
        assert (await asked(browser)).text == text
        assert [len(source.asked) for source in sources] == [1, 1, 1]


async def test_a_form_from_elsewhere_asks_nobody(browser: Browser) -> None:
    await browser.login("tara")
    form = {"zone": "BE", "product": SDAC.value}
    assert (await browser.post(f"/market/{DAY.day}/sources", form)).status == 403
    foreign = await browser.post(f"/market/{DAY.day}/sources", form, Origin="http://elsewhere.example")
    assert foreign.status == 403


async def contradict(house: Wired, key: str) -> None:
    row = await house.scene.store.get(MarketDayStatus, TENANT, market_day_id("BE", SDAC, DAY))
    assert row is not None
    told = "smard differs from prices in 1 of 96 periods, most at 2025-10-15 10:00Z: 1 instead of 2"
    found = Contradiction(id=key, source="prices", other="smard", told=told, found_at=house.scene.clock.now())
    await house.scene.store.seed(TENANT, replace(row.record, cross_check=told, contradiction=found))


async def test_a_contradiction_is_acknowledged_on_the_page_and_another_one_asks_again(
    browser: Browser, house: Wired
) -> None:
    await put_day(house, DAY)
    await contradict(house, "c1")
    await browser.login("tara")
    text = (await browser.get(f"/market/{DAY.day}", **HTML)).text
    assert "Two sources contradict each other" in text
    form = dict(re.findall(r'name="(csrf|zone|product|contradiction|request_id)" value="([^"]+)"', text))
    form |= {"believed": "smard", "reason": "the publisher's own file"}
    where = f"/market/{DAY.day}/acknowledge"
    assert (await browser.post(where, form | {"csrf": "forged"})).status == 403
    assert (await browser.post(where, form | {"believed": "entsoe"}, **{"HX-Request": "true"})).status == 400
    answer = await browser.post(where, form, **{"HX-Request": "true"})
    assert answer.status == 204
    text = (await browser.get(f"/market/{DAY.day}", **HTML)).text
    assert "acknowledged by tara, who believes smard: the publisher&#39;s own file" in text
    await contradict(house, "c2")
    text = (await browser.get(f"/market/{DAY.day}", **HTML)).text
    assert "Two sources contradict each other" in text
    assert (await browser.post(where, form | {"request_id": "another"}, **{"HX-Request": "true"})).status == 409
    assert 'data-testid="waiting"' not in text
    other = (await browser.get(f"/market/{DAY.next(-1).day}", **HTML)).text
    assert f'<a href="/market/{DAY.day}?zone=BE&amp;product={SDAC.value}">BE {SDAC.value} {DAY.day}</a>' in other
    await browser.login("aud")
    text = (await browser.get(f"/market/{DAY.day}", **HTML)).text
    assert 'data-testid="contradiction"' in text
    assert "/acknowledge" not in text


def unpacked(body: bytes) -> tuple[dict[str, object], "np.ndarray[tuple[int], np.dtype[np.float32]]"]:
    [length] = struct.unpack("<I", body[:4])
    return json.loads(body[4 : 4 + length]), np.frombuffer(body[4 + length :], dtype="<f4")


async def test_history_is_one_block_of_floats(house: Wired) -> None:
    series = await put_day(house, DAY, gap=7)
    async with serving(house) as url, browsing(url) as browser:
        await browser.login("tara")
        async with browser.http.get(f"{url}/market/history?zone=BE&product={SDAC.value}") as answer:
            head, prices = unpacked(await answer.read())
    assert (head["currency"], head["step"], head["time_zone"]) == ("EUR", 900, ZONE)
    assert head["count"] == len(prices)
    at = int((series.grid.start.timestamp() - float(str(head["start"]))) / 900)
    assert np.isnan(prices[at + 7])
    assert prices[at + 8] == np.float32(series.prices_per_mwh[8] or 0)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/market/yesterday", 400),
        ("/market/2026-03-29?product=gold", 400),
        ("/market/2026-03-29?zone=XX", 404),
        ("/market/history?zone=XX", 404),
    ],
    ids=["day", "product", "zone", "zone-of-history"],
)
async def test_what_does_not_exist_is_said(browser: Browser, path: str, status: int) -> None:
    await browser.login("tara")
    assert (await browser.get(path)).status == status
