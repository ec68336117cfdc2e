"""The operator's page without a browser: the tree and a node in time as columns, limits tried, and one sentence everywhere."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import structlog

from gateway.client import connect
from gateway.domain.authorities import AuthorityStanding
from gateway.domain.identity import system_principal
from gateway.domain.limits import Binding, Direction, Limit, LimitKind
from gateway.domain.timegrid import Interval
from gateway.domain.topology import CapacityGroup
from gateway.ports import DoorStanding, PartnerStanding, StatedLimits
from gateway.services.plan_dispatch import StreamState
from gateway.v1 import signals_service_pb2
from gateway.web import operator_view
from tests.fakes.wired import PORTFOLIO, TENANT, Wired, token_of
from tests.web.conftest import HTML, Browser, browsing, serving

DSO = "oscp:dso-1"
UTC_ZONE = ZoneInfo("UTC")
GRID = system_principal(TENANT, "oscp")


def stated(house: Wired, limit_id: str, max_kw: float, minutes: tuple[float, float], **changes: Any) -> Limit:
    now = house.scene.clock.now()
    fields: dict[str, Any] = {
        "id": limit_id,
        "tenant": TENANT,
        "authority": DSO,
        "node": PORTFOLIO,
        "direction": Direction.IMPORT,
        "kind": LimitKind.LIMIT,
        "binding": Binding.MANDATORY,
        "max_kw": max_kw,
        "interval": Interval(start=now + timedelta(minutes=minutes[0]), end=now + timedelta(minutes=minutes[1])),
        "cause": "signal:raw-1",
        "known_at": now,
        "reason": "forecast",
    }
    return Limit(**(fields | changes))


async def say(house: Wired, *limits: Limit) -> None:
    await house.services.signals.state_limits(GRID, StatedLimits(authority=DSO, raw=None, limits=limits))


async def test_the_tree_is_told_in_columns_depth_first_with_the_kind_of_reason(house: Wired, browser: Browser) -> None:
    await say(house, stated(house, "f1", 90.0, (0, 600), kind=LimitKind.FALLBACK, node="site-01"))
    await browser.login("olga")
    shape = (await browser.get("/operator/tree")).json
    values = (await browser.get("/operator/tree/values")).json
    assert shape["ids"][0] == PORTFOLIO
    assert shape["parents"][0] == -1
    assert all(up < i for i, up in enumerate(shape["parents"])), "parents before children"
    assert all(shape["levels"][i] == shape["levels"][up] + 1 for i, up in enumerate(shape["parents"]) if up >= 0)
    at = shape["ids"].index("site-01")
    assert (values["limit_kw"][at], values["bands"][at], values["whose"][at]) == (90.0, "fallback", DSO)
    assert values["bands"][0] == "rating"
    assert {len(column) for column in values.values()} == {len(shape["ids"])}
    assert None in values["power_kw"], "unknown is not zero"


async def test_a_node_in_time_shows_the_past_the_limits_ahead_and_who_says_nothing(
    house: Wired, browser: Browser
) -> None:
    await house.services.signals.contact(GRID, DSO, is_lost=False)
    await say(house, stated(house, "l1", 500.0, (60, 120)), stated(house, "l2", 400.0, (120, 180)))
    await browser.login("olga")
    columns = (await browser.get(f"/operator/series?node={PORTFOLIO}")).json
    now = house.scene.clock.now().timestamp()
    limit_at = dict(zip(columns["x"], columns["limit_kw"], strict=True))
    fail_safe = house.services.fleet.view(TENANT).nodes[PORTFOLIO].fail_safe_import_kw
    seen = [limit_at[now + 60 * minute] for minute in (30, 60, 115, 120, 180, 23 * 60)]
    assert seen == [fail_safe, 500.0, 500.0, 400.0, fail_safe, fail_safe]
    assert len({len(columns[name]) for name in ("x", "power_kw", "limit_kw", "plan_kw")}) == 1
    assert max(columns["x"]) - min(columns["x"]) == pytest.approx(48 * 3600, abs=300)
    page = await browser.get(f"/operator/ahead?node={PORTFOLIO}", **HTML)
    assert f"fail-safe of {DSO}" in page.text
    assert page.text.partition('data-testid="ahead"')[2].count("<tr>") == 1 + 4
    assert (await browser.get("/operator/series?node=nowhere")).status == 404


async def test_a_limit_is_tried_on_the_page_without_scripts_and_nothing_is_set(house: Wired, browser: Browser) -> None:
    await browser.login("olga")
    form = await browser.form("/operator", "/operator/limits")
    form |= {"max_kw": "42", "minutes": "60", "reason": "works", "node_id": "site-01"}
    page = await browser.post("/operator/limits/try", form, **HTML)
    assert page.status == 200
    assert "42.0 kW at site-01 by order of manual:olga (works)" in page.text
    assert 'value="42"' in page.text, "what was typed is still there"
    assert not house.scene.store.all(Limit, TENANT)
    assert (await browser.post("/operator/limits/try", form | {"max_kw": "much"}, **HTML)).status == 400
    assert (await browser.post("/operator/limits/try", form | {"minutes": "1e300"}, **HTML)).status == 400
    assert (await browser.post("/operator/limits/try", form | {"csrf": "x"}, **HTML)).status == 403


async def test_why_is_one_text_over_grpc_on_the_page_in_the_log_and_in_the_audit(
    house: Wired, browser: Browser
) -> None:
    group = CapacityGroup(id=f"{DSO}:g", tenant=TENANT, authority=DSO, name="g", node=PORTFOLIO)
    await house.scene.store.seed(TENANT, group)
    await house.services.signals.contact(GRID, DSO, is_lost=False)
    signals = house.services.signals
    low = stated(house, "f1", 300.0, (0, 40), kind=LimitKind.FALLBACK)
    cases = [
        ("a gap", ()),
        ("a phase", (stated(house, "l1", 500.0, (0, 20), phase_max_kw=(90.0, None, None)),)),
        ("a fallback", (low,)),
    ]
    await browser.login("olga")
    texts = []
    for name, limits in cases:
        if limits:
            await say(house, *limits)
        if name == "a fallback":
            await signals.contact(GRID, DSO, is_lost=True)
        with structlog.testing.capture_logs() as logs:
            await signals.keep_up(TENANT)
        async with house.listening() as address, connect(address, token=token_of(TENANT, "olga")) as gateway:
            request = signals_service_pb2.ResolveLimitRequest(node_id=PORTFOLIO)
            why = (await gateway.signals.ResolveLimit(request, timeout=5.0)).resolution.why
        assert f"{why}; " in (await browser.get("/operator", **HTML)).text.replace("&#39;", "'")
        assert [line["why"] for line in logs if line["event"] == "limit_binds"] == [why]
        entries = [e for b in house.scene.store.applied for e in b.audit if e.action == "limit.binds"]
        assert entries[-1].detail["why"] == why
        texts.append(why)
    assert "fail-safe of oscp:dso-1 (it says nothing for this time)" in texts[0]
    assert ", L1 90.0 kW by order of oscp:dso-1" in texts[1]
    assert "(forecast; its fallback: it cannot be reached)" in texts[2]


async def test_without_a_plan_the_page_is_about_the_portfolio_of_the_tree(house: Wired) -> None:
    house.settings = house.settings.model_copy(update={"plan": None})
    async with serving(house) as url, browsing(url) as browser:
        await browser.login("olga")
        page = await browser.get("/operator", **HTML)
        now = await browser.get("/operator/now", **HTML)
        series = await browser.get("/operator/series")
    assert page.status == 200
    assert f"at {PORTFOLIO} by its rating" in now.text
    assert max(series.json["limit_kw"]) > 0.0


async def test_before_the_first_import_the_page_says_what_is_missing(
    house: Wired, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.settings = house.settings.model_copy(update={"plan": None})
    fleet = house.services.fleet
    await fleet.reload("empty")
    nothing = fleet.view("empty")
    monkeypatch.setattr(fleet, "view", lambda _tenant: nothing)
    async with serving(house) as url, browsing(url) as browser:
        await browser.login("olga")
        page = await browser.get("/operator", **HTML)
    assert "voltbridge import" in page.text


async def test_what_is_ahead_of_a_lost_authority_begins_with_its_fallback_while_the_clock_runs_on(
    house: Wired, monkeypatch: pytest.MonkeyPatch
) -> None:
    await say(
        house, stated(house, "l1", 60.0, (-60, 600)), stated(house, "f1", 25.0, (-60, 600), kind=LimitKind.FALLBACK)
    )
    monkeypatch.setattr(house.services.signals, "lost_nodes", lambda _tenant: {PORTFOLIO: frozenset({DSO})})
    first, ticks = house.scene.clock.now(), count()
    async with serving(house) as url, browsing(url) as browser:
        await browser.login("olga")
        monkeypatch.setattr(house.scene.clock, "now", lambda: first + timedelta(microseconds=next(ticks)))
        ahead = await browser.get("/operator/ahead")
    assert "25.0" in ahead.text
    assert "60.0" not in ahead.text


@pytest.mark.parametrize(("failures", "told"), [(0, "earlier: refused"), (1, "refused")])
def test_a_failure_that_a_success_followed_is_one_of_the_past(house: Wired, failures: int, told: str) -> None:
    now = house.scene.clock.now()
    partner = PartnerStanding(
        authority="vtn:north",
        state="registered",
        ven_id="ven",
        heard_at=now,
        lost_since=None,
        failures=failures,
        last_error="refused",
        pending_reports=0,
    )
    assert operator_view.partner_contact(partner, now, UTC_ZONE).trouble == told


def test_whoever_is_away_is_said_and_unknown_is_not_fine(house: Wired) -> None:
    now = house.scene.clock.now()
    partner = PartnerStanding(
        authority="vtn:north",
        state="registered",
        ven_id="ven",
        heard_at=now - timedelta(seconds=90),
        lost_since=now - timedelta(seconds=30),
        failures=2,
        last_error="refused",
        pending_reports=0,
    )
    stream = StreamState(
        csms="csms-1",
        charger_count=10,
        is_connected=True,
        unreachable_count=0,
        lease=timedelta(seconds=120),
        lease_until=now + timedelta(seconds=45),
        heard_at=now - timedelta(seconds=3),
    )
    box = AuthorityStanding(id="lpc:box", tenant=TENANT, nodes=("site-01",), is_lost=True, changed_at=now)
    lines = [
        operator_view.partner_contact(partner, now, UTC_ZONE),
        operator_view.stated_contact(box, "7 s ago", UTC_ZONE),
        operator_view.stream_contact(stream, now, UTC_ZONE),
    ]
    assert [line.is_away for line in lines] == [True, True, False]
    assert lines[0].heard == "90 s ago"
    assert [line.heard for line in lines[1:]] == ["7 s ago", "3 s ago"]
    assert lines[0].trouble == f"lost since {now - timedelta(seconds=30):%d %b %H:%M:%S}; refused"
    assert lines[2].lease == "120 s, the first ends in 45 s"
    assert operator_view.away_clauses(lines) == ["vtn:north, lpc:box are out of contact"]
    released = operator_view.stated_contact(replace(box, is_released=True), "", UTC_ZONE)
    assert (released.is_away, released.state) == (False, "released by a person; lost"), "its silence means nothing"
    gone = replace(stream, is_connected=False, away_since=now - timedelta(minutes=2), unreachable_count=10)
    away = operator_view.stream_contact(gone, now, UTC_ZONE)
    since = f"{now - timedelta(minutes=2):%d %b %H:%M:%S}"
    assert away.trouble == f"gone since {since}; 10 of 10 chargers cannot be commanded"


def test_a_platform_behind_a_door_says_how_the_door_stands() -> None:
    now = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
    line = operator_view.ContactLine(
        who="cpo",
        state="connected",
        heard="",
        lease="900 s",
        trouble="3 of 4 chargers cannot be commanded",
        is_away=False,
    )
    door = DoorStanding(
        csms="cpo",
        kind="ocpi-2.2.1",
        is_connected=True,
        state="registered",
        enforcement="C",
        charger_count=4,
        reached_count=1,
        heard_at=now - timedelta(seconds=7),
        accepted=9,
        rejected=1,
        unknown=0,
        delayed=0,
        last_error="REJECTED",
        troubled=("a", "b", "c", "d"),
    )
    shown = operator_view.door_contact(line, door, now)
    assert (shown.who, shown.state) == ("cpo", "ocpi-2.2.1: registered; class C at best")
    assert (shown.heard, shown.lease, shown.is_away) == ("7 s ago", "900 s", False)
    assert shown.trouble == "3 of 4 chargers cannot be commanded; refused or unknown: a, b, c and 1 more; REJECTED"
    calm = operator_view.door_contact(replace(line, trouble=""), replace(door, troubled=()), now)
    assert calm.trouble == "", "an error of the past is none of now"
    gone = operator_view.door_contact(line, replace(door, troubled=(), is_connected=False), now)
    assert (gone.is_away, gone.trouble.endswith("REJECTED")) == (True, True)


async def test_the_page_shows_doors_beside_streams(house: Wired, browser: Browser) -> None:
    class Door:
        def standing(self) -> DoorStanding:
            return DoorStanding(
                csms="csms-demo",
                kind="webhook",
                is_connected=False,
                state="takes no limits",
                enforcement="B",
                charger_count=3,
                reached_count=0,
                heard_at=None,
                accepted=0,
                rejected=0,
                unknown=0,
                delayed=0,
                last_error="no answer to POST (TimeoutError)",
                troubled=(),
            )

    house.world.doors.add(TENANT, Door())
    await browser.login("olga")
    text = (await browser.get("/operator", **HTML)).text
    assert "webhook: takes no limits; class B at best" in text
    assert "no answer to POST (TimeoutError)" in text
