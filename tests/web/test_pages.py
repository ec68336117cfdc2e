"""The pages over a real connection: logins, forms, headers, tenants, exports."""

import asyncio
import csv
import html
import io
import re
import ssl
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import trustme

from gateway.client import connect
from gateway.domain.bids import Bid, BidState, CurvePoint
from gateway.domain.clock_skew import ClockSkew
from gateway.domain.identity import Role
from gateway.domain.limits import Limit
from gateway.domain.topology import Node
from gateway.v1 import bidding_service_pb2
from gateway.web.armour import LARGEST_BODY_BYTES
from tests.fakes.wired import OTHER, PASSWORD, PORTFOLIO, TENANT, Wired, account, token_of
from tests.services.scene import event
from tests.web.conftest import HTML, Browser, browsing, serving

EVIL = "<script>alert(1)</script>"


# ------------------------------------------------------------ logging in


async def test_a_login_opens_the_page_of_the_role(browser: Browser) -> None:
    assert (await browser.get("/trader", **HTML)).headers["Location"] == "/login"
    page = await browser.login("tara")
    assert (page.status, page.headers["Location"]) == (303, "/trader")
    cookie = page.headers["Set-Cookie"]
    assert {"HttpOnly", "Path=/", "SameSite=strict"} <= set(cookie.split("; "))
    tomorrow = (await browser.get("/trader", **HTML)).headers["Location"]
    assert (await browser.get(tomorrow, **HTML)).status == 200
    assert (await browser.login("olga")).headers["Location"] == "/operator"


async def test_over_tls_the_cookie_is_bound_to_the_host(house: Wired, tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    key, chain = tmp_path / "key.pem", tmp_path / "chain.pem"
    issued.private_key_pem.write_to_path(key)
    key.chmod(0o600)
    chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    async with serving(house, tls_key=key, tls_certificate=chain) as url, browsing(url, trust) as browser:
        assert url.startswith("https:")
        page = await browser.login("tara", Origin=url)
        cookie = page.headers["Set-Cookie"]
        assert cookie.startswith("__Host-voltbridge=")
        assert {"Secure", "HttpOnly", "Path=/", "SameSite=strict"} <= set(cookie.split("; "))
        assert "Domain" not in cookie
        assert page.headers["Strict-Transport-Security"] == "max-age=31536000"
        assert (await browser.get("/trader/2025-10-15")).status == 200


@pytest.mark.parametrize(("actor", "password"), [("tara", "wrong password"), ("nobody", PASSWORD), ("csms", "x")])
async def test_a_wrong_login_gets_one_answer(browser: Browser, actor: str, password: str) -> None:
    page = await browser.login(actor, password)
    assert page.status == 401
    assert "unknown name or wrong password" in page.text
    assert "Set-Cookie" not in page.headers
    assert (await browser.get("/trader/2025-10-15")).status == 401


async def test_guessing_is_stopped_for_right_passwords_too(browser: Browser) -> None:
    for _ in range(5):
        assert (await browser.login("tara", "wrong password")).status == 401
    page = await browser.login("tara")
    assert (page.status, page.headers["Retry-After"]) == (429, "60")
    assert (await browser.login("ann")).status == 303


async def test_a_login_gives_a_new_session_and_logging_out_ends_it(browser: Browser, site: str) -> None:
    first = (await browser.login("tara")).headers["Set-Cookie"].split(";")[0]
    second = (await browser.login("tara")).headers["Set-Cookie"].split(";")[0]
    assert first != second
    async with browsing(site) as thief:
        assert (await thief.get("/trader/2025-10-15", Cookie=first)).status == 401
    form = await browser.form("/trader/2025-10-15", "/logout")
    assert (await browser.post("/logout", {"csrf": "x"})).status == 403
    assert (await browser.post("/logout", form)).headers["Location"] == "/login"
    async with browsing(site) as thief:
        assert (await thief.get("/trader/2025-10-15", Cookie=second)).status == 401


async def test_an_account_of_another_tenant_cannot_log_in_here(house: Wired) -> None:
    await house.scene.store.seed(OTHER, account(OTHER, "eve", Role.TRADER))
    async with serving(house) as url, browsing(url) as here:
        assert (await here.login("eve")).status == 401
    async with serving(house, tenant=OTHER) as url, browsing(url) as there:
        assert (await there.login("eve")).status == 303


# ------------------------------------------------------------ forms

PATHS = ("/trader/2025-10-15/plan", "/trader/2025-10-15/revise", "/trader/2025-10-15/decide", "/operator/limits")


def filled(**changes: str) -> dict[str, str]:
    """Every field that any form needs."""
    plain = {
        "action": "propose",
        "bid_id": "b",
        "content_hash": "h",
        "node_id": "site-01",
        "max_kw": "10",
        "minutes": "5",
        "reason": "why",
        "request_id": "r",
        "limit_id": "x",
    }
    return plain | changes


@pytest.mark.parametrize("path", [*PATHS, "/operator/limits/withdraw"])
async def test_a_form_needs_the_token_and_our_origin(house: Wired, browser: Browser, path: str) -> None:
    bid = await house.scene.drafted()
    await browser.login("bo")
    fields = await browser.form("/trader/2025-10-15", "/logout")
    before = len(house.scene.store.applied)
    for form in (filled(bid_id=bid.id), filled(bid_id=bid.id, csrf=""), filled(bid_id=bid.id, csrf="wrong-ü")):
        assert (await browser.post(path, form)).status == 403
    for origin in ("https://evil.example", "null", browser.url.replace("http:", "https:")):
        page = await browser.post(path, filled(csrf=fields["csrf"], bid_id=bid.id), Origin=origin)
        assert (page.status, page.json["title"]) == (403, "PERMISSION_REFUSED")
    assert (await browser.login("bo", Origin="https://evil.example")).status == 403
    assert len(house.scene.store.applied) == before


async def test_a_get_never_changes_anything(house: Wired, browser: Browser) -> None:
    await house.scene.drafted()
    await browser.login("bo")
    before = len(house.scene.store.applied)
    for path in (*PATHS, "/operator/limits/withdraw", "/logout"):
        assert (await browser.get(path)).status in {404, 405}
    for path in ("/", "/trader", "/trader/2025-10-15", "/trader/2025-10-15/bid", "/operator/now", "/operator/series"):
        assert (await browser.get(path)).status < 500
    assert len(house.scene.store.applied) == before


async def test_a_missing_or_wrong_field_is_named(browser: Browser) -> None:
    await browser.login("olga")
    csrf = (await browser.form("/operator", "/logout"))["csrf"]
    for changes, name in (
        ({"max_kw": "much"}, "max_kw"),
        ({"max_kw": "inf"}, "max_kw"),
        ({"minutes": "0"}, "minutes"),
        ({"minutes": "1e9"}, "minutes"),
        ({"max_kw": "1000"}, "max_power_kw"),
    ):
        page = await browser.post("/operator/limits", filled(csrf=csrf, **changes))
        assert (page.status, page.json["field"]) == (400, name), page.text
        assert page.headers["Content-Type"] == "application/problem+json"
    form = filled(csrf=csrf)
    del form["node_id"]
    page = await browser.post("/operator/limits", form)
    assert (page.status, page.json["field"]) == (400, "node_id")
    assert (await browser.get("/trader/tomorrow")).json["field"] == "day"
    assert (await browser.get("/nowhere")).json["status"] == 404


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"max_kw": "much"}, "At most, kW: must be a number"),
        ({"max_kw": "100000000"}, "At most, kW: must be 0 to the node"),
        ({"minutes": "x"}, "For, minutes: must be a number"),
    ],
)
async def test_a_person_reads_the_label_of_a_wrong_field(browser: Browser, changes: dict[str, str], told: str) -> None:
    await browser.login("olga")
    form = await browser.form("/operator", "/operator/limits")
    form |= {"node_id": PORTFOLIO, "max_kw": "1", "minutes": "30", "reason": "works"} | changes
    for headers in (HTML, {"HX-Request": "true"}):
        page = await browser.post("/operator/limits", form, **headers)
        assert page.status == 400
        assert told in html.unescape(page.text)
        assert "max_kw:" not in page.text
        assert "max_power_kw:" not in page.text


async def test_every_answer_carries_the_headers(browser: Browser) -> None:
    await browser.login("tara")
    for path in ("/login", "/trader/2025-10-15", "/trader/2025-10-15/series", "/nowhere", "/operator/limits"):
        headers = (await browser.get(path)).headers
        assert headers["Content-Security-Policy"].startswith("default-src 'self'; frame-ancestors 'none'")
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Cache-Control"] == "no-store"
    assert "max-age" in (await browser.get("/static/site.css")).headers["Cache-Control"]


@pytest.mark.parametrize("framing", ["declared", "chunked"])
async def test_a_body_that_is_too_large_is_refused(site: str, framing: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(site.rpartition(":")[2]))
    size = LARGEST_BODY_BYTES + 1
    length = f"Content-Length: {size}" if framing == "declared" else "Transfer-Encoding: chunked"
    kind = "Content-Type: application/x-www-form-urlencoded"
    writer.write(f"POST /login HTTP/1.1\r\nHost: x\r\n{kind}\r\n{length}\r\n\r\n".encode())
    if framing == "chunked":
        writer.write(f"{size:x}\r\n".encode() + b"a" * size + b"\r\n")
    assert b" 413 " in await reader.readline()
    writer.close()


# ------------------------------------------------------------ the trader


async def test_two_people_take_a_bid_to_approved(house: Wired, site: str, browser: Browser) -> None:
    day = f"/trader/{house.scene.iso}"
    await browser.login("tara")
    plan = await browser.form(day, f"{day}/plan")
    assert (await browser.post(f"{day}/plan", plan)).headers["Location"] == day
    form = await browser.form(day, f"{day}/decide")
    assert (await browser.post(f"{day}/decide", form | {"action": "approve"})).status == 403
    assert (await browser.post(f"{day}/decide", form | {"action": "dance"})).json["field"] == "action"
    assert (await browser.post(f"{day}/decide", form | {"action": "propose"})).status == 303
    assert "Approve version" not in (await browser.get(day, **HTML)).text
    async with browsing(site) as other:
        await other.login("ann")
        assert "Approve version 1" in (await other.get(day, **HTML)).text
        form = await other.form(day, f"{day}/decide")
        for _ in range(2):  # a double click is one approval
            assert (await other.post(f"{day}/decide", form | {"action": "approve"})).status == 303
    [bid] = house.scene.store.all(Bid, TENANT)
    assert (bid.state, bid.proposed_by, bid.approved_by) == (BidState.APPROVED, "tara", "ann")


async def test_who_proposed_sees_why_not_to_approve(house: Wired, browser: Browser) -> None:
    bid = await house.scene.drafted()
    await browser.login("bo")
    day = f"/trader/{bid.delivery_day}"
    form = await browser.form(day, f"{day}/decide")
    await browser.post(f"{day}/decide", form | {"action": "propose"})
    assert "another person must approve" in (await browser.get(day, **HTML)).text
    page = await browser.post(f"{day}/decide", form | {"action": "approve", "request_id": "again"})
    assert (page.status, page.json["title"]) == (409, "SELF_APPROVAL")


async def test_a_typo_leaves_nothing_behind_once_it_is_corrected(house: Wired, browser: Browser) -> None:
    drafted = await house.scene.drafted()
    index = max(range(len(drafted.periods)), key=lambda i: drafted.periods[i].max_volume_mw)
    full, lot = drafted.periods[index].max_volume_mw, drafted.lot_mw
    steps = ((Decimal(100), full), (Decimal(4000), full - lot))
    curve = tuple(CurvePoint(price_per_mwh=price, volume_mw=volume) for price, volume in steps)
    periods = list(drafted.periods)
    periods[index] = replace(periods[index], curve=curve)
    await house.scene.store.seed(TENANT, replace(drafted, periods=tuple(periods)))
    await browser.login("tara")
    day = f"/trader/{drafted.delivery_day}"
    for volume in (lot, Decimal(-5), full + lot, full):
        form = await browser.form(day, f"{day}/revise")
        page = await browser.post(f"{day}/revise", form | {f"volume_{index}": str(volume)})
        assert page.status == 303, page.text
    newest = max(house.scene.store.all(Bid, TENANT), key=lambda bid: bid.version)
    assert (newest.version, newest.periods, newest.state) == (5, tuple(periods), BidState.VALIDATED)
    async with house.listening() as address, connect(address, token=token_of(TENANT, "tara")) as gateway:
        request = bidding_service_pb2.ListBidsRequest(delivery_day=drafted.delivery_day)
        bids = {bid.version: bid for bid in (await gateway.bidding.ListBids(request)).bids}
    shown = {
        version: [(Decimal(one.price_per_mwh), Decimal(one.volume_mw)) for one in bid.periods[index].curve]
        for version, bid in bids.items()
    }
    assert shown[5] == list(steps)
    assert shown[4] == [(Decimal(100), full + lot), (Decimal(4000), full - lot)]
    assert shown[3] == [(Decimal(100), Decimal(-5)), (Decimal(4000), Decimal(-5))]


async def test_the_bid_of_another_tenant_is_not_found(house: Wired) -> None:
    bid = await house.scene.drafted()
    async with serving(house, tenant=OTHER) as url, browsing(url) as browser:
        await browser.login("bo")
        day = f"/trader/{bid.delivery_day}"
        csrf = (await browser.form(day, "/logout"))["csrf"]
        assert "no order for" in (await browser.get(day, **HTML)).text
        assert (await browser.get(f"{day}/series")).json == {"x": []}
        assert (await browser.get(f"{day}/bid.csv")).status == 404
        sign = filled(csrf=csrf, bid_id=bid.id, content_hash=bid.content_hash)
        for action in ("propose", "approve", "reject", "withdraw"):
            assert (await browser.post(f"{day}/decide", sign | {"action": action})).status == 404
        assert (await browser.post(f"{day}/revise", sign)).status == 404
    assert (await house.scene.bid(bid.id)).state is BidState.VALIDATED


async def test_the_export_is_the_table(house: Wired, browser: Browser) -> None:
    bid = await house.scene.awarded()
    await browser.login("aud")
    page = await browser.get(f"/trader/{bid.delivery_day}/bid.csv")
    assert page.headers["Content-Disposition"] == f'attachment; filename="bid-{bid.delivery_day}-v1.csv"'
    head, *lines = csv.reader(io.StringIO(page.text))
    table = (await browser.get(f"/trader/{bid.delivery_day}/bid")).text
    rows = re.findall(r'<th scope="row">(.*?)</th>(.*?)</tr>', table, re.DOTALL)
    assert len(lines) == len(rows) == 96
    for line, (label, cells) in zip(lines, rows, strict=True):
        row = dict(zip(head, line, strict=True))
        shown = [re.sub(r"<[^>]+>", "", cell).strip() for cell in re.findall(r"<td.*?>(.*?)</td>", cells, re.DOTALL)]
        columns = ("volume_mw", "curve", "plan_price_per_mwh", "awarded_mw", "clearing_price_per_mwh")
        assert [row["local_start"], *(row[name] for name in columns)] == [label.replace("&#43;", "+"), *shown]
        assert (row["bid"], row["content_hash"]) == (bid.id, bid.content_hash)


async def test_names_are_text_wherever_they_come_from(house: Wired, browser: Browser) -> None:
    bid = await house.scene.drafted()
    site = Node(
        id="site-01",
        tenant=TENANT,
        parent=PORTFOLIO,
        kind=next(n.kind for n in house.scene.store.all(Node, TENANT) if n.id == "site-01"),
        name=EVIL,
        max_import_kw=130.0,
        fail_safe_import_kw=0.0,
    )
    hostile = replace(bid, reason=EVIL, drafted_by=EVIL, plan="none")
    grid = event(EVIL, tenant=TENANT, opt_reason=EVIL, authority=EVIL, id="evil")
    await house.scene.store.seed(TENANT, site, hostile, grid)
    await browser.login("olga")
    for path in (f"/trader/{bid.delivery_day}", f"/trader/{bid.delivery_day}/bid", "/operator", "/operator/now"):
        text = (await browser.get(path, **HTML)).text
        assert EVIL not in text
        assert "&lt;script&gt;" in text
    page = await browser.login(EVIL, "wrong password")
    assert EVIL not in page.text
    assert EVIL not in (await browser.get(f"/trader/{EVIL}", **HTML)).text


# ------------------------------------------------------------ the operator


async def test_an_operator_sets_and_withdraws_a_limit(house: Wired, browser: Browser) -> None:
    await browser.login("olga")
    form = await browser.form("/operator", "/operator/limits")
    form |= {"node_id": PORTFOLIO, "max_kw": "0", "minutes": "30", "reason": "fire drill"}
    assert (await browser.post("/operator/limits", form)).status == 303
    assert (await browser.post("/operator/limits", form)).status == 303  # a double click is one limit
    [limit] = house.scene.store.all(Limit, TENANT)
    assert limit.max_kw == 0.0
    page = await browser.get("/operator", **HTML)
    assert "0.0 kW at vpp-be by order of manual:olga (fire drill)" in page.text
    form = await browser.form("/operator", "/operator/limits/withdraw")
    assert (await browser.post("/operator/limits/withdraw", form)).status == 303
    assert "by its rating" in (await browser.get("/operator", **HTML)).text


async def test_who_may_not_set_limits_sees_no_form(browser: Browser) -> None:
    await browser.login("tara")
    page = await browser.get("/operator", **HTML)
    assert page.status == 200
    assert 'action="/operator/limits"' not in page.text
    csrf = (await browser.form("/operator", "/logout"))["csrf"]
    assert (await browser.post("/operator/limits", filled(csrf=csrf))).status == 403


async def test_what_a_role_may_not_read_is_refused(browser: Browser) -> None:
    await browser.login("only-utility")
    for path in ("/operator", "/operator/now", "/operator/series", "/trader/2025-10-15", "/trader/2025-10-15/bid.csv"):
        assert (await browser.get(path)).status == 403, path


# ------------------------------------------------------------ the live stream


async def test_the_live_stream_tells_topics_of_the_own_tenant_only(house: Wired, browser: Browser) -> None:
    assert (await browser.get("/live")).status == 401
    await browser.login("tara")
    async with browser.http.get(browser.url + "/live") as stream:
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        lines = stream.content

        async def next_event() -> str:
            async with asyncio.timeout(5):
                while True:
                    line = (await lines.readline()).decode().strip()
                    if line.startswith("event: "):
                        return line.removeprefix("event: ")

        assert await next_event() == "hello"
        await house.scene.store.seed(OTHER, event("theirs", tenant=OTHER))
        bid = await house.scene.drafted()
        assert await next_event() == "bids"
        changed = replace(bid.periods[0], curve=(CurvePoint(price_per_mwh=Decimal(1), volume_mw=Decimal(1)),))
        await house.scene.store.seed(TENANT, replace(bid, periods=(changed, *bid.periods[1:])))
        assert await next_event() == "bids"
        await house.scene.store.seed(TENANT, event("ours", tenant=TENANT))
        assert await next_event() == "limits"


async def test_m29_the_trader_is_told_that_the_clock_is_off(browser: Browser, house: Wired) -> None:
    await browser.login("tara")
    gate = f"/trader/{house.scene.iso}/gate"
    assert "clock-alarm" not in (await browser.get(gate, **HTML)).text
    off = timedelta(seconds=4.5)
    house.scene.exchange.clock_skew = ClockSkew(at_least=off, at_most=off, seen_at=house.scene.clock.now())
    text = (await browser.get(gate, **HTML)).text
    assert "This machine&#39;s clock is at least 4.5 s ahead of that of the exchange: set it" in text
    assert "clock-alarm" in (await browser.get(f"/trader/{house.scene.iso}", **HTML)).text
