"""The page of a delivered day: nominations with the BRP's answer, and every deviation with its cause and its money."""

import csv
import io
import re
from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from gateway.client import connect
from gateway.domain.bids import Nomination
from gateway.domain.limits import Binding, Direction, Limit, LimitKind
from gateway.domain.timegrid import Interval
from gateway.services.report_delivery.cause_words import CauseTeller
from gateway.v1 import bidding_service_pb2 as pb
from tests.fakes.wired import OTHER, PORTFOLIO, TENANT, Wired, token_of, wired
from tests.services.market_scene import DAY, SYSTEM
from tests.services.scene import event
from tests.web.conftest import AUTUMN, HTML, SPRING, Browser, browsing, serving

POINT = "541448820000000000"
EVENT = "vtn:utility:ev-4"
HOUR = timedelta(hours=1)


async def delivered(day: date = DAY.day) -> tuple[Wired, datetime]:
    """Return a settled day on which a limit came late and half of the energy was drawn, and when the limit began."""
    house = await wired(day)
    scene = house.scene
    await scene.awarded()
    periods = next(n for n in scene.store.all(Nomination, TENANT) if n.connection_point == POINT).periods
    begin = max(periods, key=lambda one: one.volume_mw).start
    limit = Limit(
        id="limit-late",
        tenant=TENANT,
        authority="vtn:utility",
        node="site-01",
        direction=Direction.IMPORT,
        kind=LimitKind.LIMIT,
        binding=Binding.MANDATORY,
        max_kw=1.0,
        interval=Interval(start=begin, end=begin + HOUR),
        cause=f"event:{EVENT}",
        known_at=scene.clock.now(),
    )
    asked = event("ev-4", id=EVENT, tenant=TENANT, authority="vtn:utility")
    await scene.store.seed(TENANT, limit, asked)
    await scene.deliver(share=0.5)
    await scene.settler.settle(SYSTEM, PORTFOLIO, scene.iso)
    return house, begin


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.parametrize(("day", "count"), [(DAY.day, 96), (SPRING, 92), (AUTUMN, 100)])
async def test_every_deviation_is_there_with_its_cause_in_words_and_its_money(day: date, count: int) -> None:
    house, begin = await delivered(day)
    iso = day.isoformat()
    async with serving(house) as url, browsing(url) as browser:
        await browser.login("aud")
        rows = table((await browser.get(f"/delivery/{iso}/deviations.csv")).text)
        told = table((await browser.get(f"/delivery/{iso}/nominations.csv")).text)
        page = await browser.get(f"/delivery/{iso}", **HTML)
    async with house.listening() as address, connect(address, token=token_of(TENANT, "tara")) as gateway:
        positions = (await gateway.bidding.ListPositions(pb.ListPositionsRequest(delivery_day=iso))).positions
        nominations = (await gateway.bidding.ListNominations(pb.ListNominationsRequest(delivery_day=iso))).nominations
    assert len(rows) == len(told) == 3 * count
    # The same numbers as over gRPC, period by period: nothing is computed a second time.
    said = [
        (one.connection_point_id, period.position_mwh, period.metered_mwh, period.imbalance_cash, period.cause)
        for one in positions
        for period in one.periods
    ]
    columns = ("connection_point", "position_mwh", "metered_mwh", "imbalance_cash", "cause_id")
    assert [tuple(row[name] for name in columns) for row in rows] == said
    sums = {one.connection_point_id: Decimal(one.imbalance_cash) for one in positions}
    for point, cash in sums.items():
        assert sum(Decimal(row["imbalance_cash"]) for row in rows if row["connection_point"] == point) == cash
    assert {row["acknowledgement"] for row in told} == {one.acknowledgement for one in nominations}
    assert {row["state"] for row in told} == {"acknowledged"}
    assert [row["volume_mw"] for row in told] == [volume for one in nominations for volume in one.volume_mw]
    # Each instant once in UTC and once on the local clock with its offset.
    for row in (*rows, *told):
        assert datetime.fromisoformat(row["start_local"]) == datetime.fromisoformat(row["start_utc"])
        assert row["start_utc"].endswith("+00:00")
    assert len({row["start_local"] for row in rows}) == count
    at_limit = next(row for row in rows if row["start_utc"] == begin.isoformat() and row["connection_point"] == POINT)
    assert (at_limit["cause"], at_limit["cause_id"]) == ("limit of utility, event ev-4", "limit:limit-late")
    assert "limit of utility, event ev-4" in page.text
    assert "limit-late" not in page.text
    assert all(one.acknowledgement in page.text for one in nominations)
    assert page.text.count('data-head="UTC"') == sum(row["deviation_mwh"].strip("0.-") != "" for row in rows)


async def test_a_page_of_one_point_has_that_point_only() -> None:
    house, _ = await delivered()
    async with serving(house) as url, browsing(url) as browser:
        await browser.login("tara")
        page = await browser.get(f"/delivery/{house.scene.iso}?point={POINT}", **HTML)
        shown = re.findall(r'data-head="Connection point"><a[^>]*>([^<]*)<', page.text)
        assert set(shown) == {POINT}
        assert (await browser.get("/delivery?day=2025-10-26")).headers["Location"] == "/delivery/2025-10-26"
        yesterday = (await browser.get("/delivery")).headers["Location"]
        assert yesterday == f"/delivery/{house.scene.iso}"
        assert (await browser.get("/delivery/tomorrow")).json["field"] == "day"


async def test_a_day_without_anything_says_so_and_other_tenants_see_nothing() -> None:
    house, _ = await delivered()
    async with serving(house, tenant=OTHER) as url, browsing(url) as browser:
        await browser.login("bo")
        page = await browser.get(f"/delivery/{house.scene.iso}", **HTML)
        assert "Nothing was nominated for this day." in page.text
        assert "The day is not settled yet." in page.text
        for name in ("nominations", "deviations"):
            assert table((await browser.get(f"/delivery/{house.scene.iso}/{name}.csv")).text) == []


async def test_only_who_is_logged_in_sees_it(browser: Browser) -> None:
    for name in ("", "/nominations.csv", "/deviations.csv"):
        assert (await browser.get(f"/delivery/2025-10-15{name}")).status == 401


async def test_a_cause_whose_rows_are_gone_keeps_its_id() -> None:
    house = await wired()
    teller = CauseTeller(house.scene.store)
    words = await teller.words(
        TENANT,
        ["none", "forecast", "missing-meter", "limit:l-1", "after-limit:l-1", "dispatch:d-1"],
        ZoneInfo("Europe/Brussels"),
    )
    assert words == {
        "none": "within the tolerance",
        "forecast": "other than forecast",
        "missing-meter": "no meter reading, the position stands in",
        "limit:l-1": "limit l-1",
        "after-limit:l-1": "charged later, held back before by the limit l-1",
        "dispatch:d-1": "chargers did not follow the command d-1",
    }
