"""The utility's page over a real connection: what it shows, what a person may decide, what it never shows."""

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from urllib.parse import urlencode

import pytest

from gateway.domain.limits import Limit
from gateway.domain.programs import REFUSED_RULE, NonCompliance, ProgramState
from gateway.domain.signals import GridEvent, OptType
from gateway.openadr.health import PartnerBook, VenHealth, VenState
from tests.fakes.wired import OTHER, TENANT, Wired
from tests.web.conftest import HTML, Browser, browsing, serving
from tests.web.partners_scene import PARTNER, PROGRAM, grid_event, with_partners

COMING = f"{PARTNER}:E&1 <b>"
EVENT = f"/utility/event?{urlencode({'id': COMING})}"


@pytest.fixture
async def place() -> AsyncIterator[tuple[Wired, Browser]]:
    house, journal = await with_partners()
    async with serving(house, journal=journal) as url, browsing(url) as browser:
        yield house, browser


def plain(text: str) -> str:
    """Return what a person reads."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))


async def test_the_page_tells_what_there_is_between_us_and_partners(place: tuple[Wired, Browser]) -> None:
    _, browser = place
    await browser.login("olga")
    page = await browser.get("/utility", **HTML)
    assert page.status == 200
    text = plain(page.text)
    for said in (
        "EiReport: oadrUpdateReport → the VTN did not answer EiReport (TimeoutError)",
        "Waiting for a decision: 1",
        "12 min left",
        "draw at most 40 kW",
        "-12.5 kW",
        "36.5 kW drawn by the chargers only, 40.0 kW asked, -15.5 kW to the baseline, kept 97% of the time",
        "optIn by policy: within the agreement",
        "usage telemetry-usage running every 2 min",
        "USAGE of done",
        "gac-2.2 one-payload not used",
        "intervals[0].payloads has 2 elements",
        "DEPOT-1",
        "reductions in emergencies",
        "dry run",
    ):
        assert said in text, said
    rows = re.findall(
        r'<th scope="row" class="words"><a[^>]*>(.*?)</a>.*?data-head="Status">(\w+)<', page.text, re.DOTALL
    )
    assert rows == [
        ("running", "active"),
        ("E&amp;1 &lt;b&gt;", "far"),
        ("practised", "far"),
        ("done", "completed"),
    ]


async def test_no_content_and_nothing_of_other_tenants_is_shown(place: tuple[Wired, Browser]) -> None:
    house, browser = place
    await browser.login("olga")
    for path in ("/utility", "/utility/now", EVENT, "/utility/message?id=raw-1"):
        page = await browser.get(path, **HTML)
        assert page.status == 200, page.text
        assert "SECRET-BODY" not in page.text
        assert "oadrSignedObject" not in page.text
        assert "vtn:theirs" not in page.text
        assert "E&1 <b>" not in page.text
    async with serving(house, tenant=OTHER) as url, browsing(url) as stranger:
        await stranger.login("olga")
        assert PROGRAM not in (await stranger.get("/utility", **HTML)).text
        assert (await stranger.get(EVENT)).status == 404
        assert (await stranger.get("/utility/message?id=raw-1")).status == 404


async def test_an_event_has_a_page_with_the_limits_that_follow(place: tuple[Wired, Browser]) -> None:
    _, browser = place
    await browser.login("only-utility")
    text = plain((await browser.get(EVENT, **HTML)).text)
    assert "vpp-be: import at most 40.0 kW" in text
    assert "(limit, committed)" in text
    assert "none measured" in text
    assert "Opt out" not in text
    done = plain((await browser.get(f"/utility/event?{urlencode({'id': f'{PARTNER}:done'})}", **HTML)).text)
    assert "thank you" in done
    assert "Rules that it breaks" in done
    assert (await browser.get("/utility/event?id=nothing")).status == 404


async def test_a_person_decides_before_the_deadline(place: tuple[Wired, Browser]) -> None:
    house, browser = place
    await browser.login("olga")
    form = await browser.form(EVENT, "/utility/opt")
    assert (await browser.post("/utility/opt", form | {"opt": "optOut"})).json["field"] == "reason"
    assert (await browser.post("/utility/opt", form | {"opt": "perhaps"})).json["field"] == "opt"
    decided = form | {"opt": "optOut", "reason": "the fleet is on the road"}
    for _ in range(2):  # a double click is one decision
        page = await browser.post("/utility/opt", decided)
        assert (page.status, page.headers["Location"]) == (303, EVENT)
    row = await house.scene.store.get(GridEvent, TENANT, COMING)
    assert row is not None
    assert (row.record.opt, row.record.opt_reason) == (OptType.OPT_OUT, "the fleet is on the road")
    assert "optOut" in plain((await browser.get(EVENT, **HTML)).text)
    limits = [one for one in house.scene.store.all(Limit, TENANT) if one.cause == f"event:{COMING}"]
    assert all(one.withdrawn_at is not None or one.binding.value == "voluntary" for one in limits)


async def test_after_the_deadline_the_answer_stands(place: tuple[Wired, Browser]) -> None:
    house, browser = place
    await browser.login("olga")
    form = await browser.form(EVENT, "/utility/opt")
    house.scene.clock.set(house.scene.clock.now() + timedelta(minutes=13))
    page = await browser.post("/utility/opt", form | {"opt": "optOut", "reason": "too late"})
    assert (page.status, page.json["title"]) == (409, "PRECONDITION_FAILED")
    text = (await browser.get(EVENT, **HTML)).text
    assert 'action="/utility/opt"' not in text


async def test_a_dry_run_is_switched_on_and_off(place: tuple[Wired, Browser]) -> None:
    house, browser = place
    await browser.login("olga")
    for is_on in (True, False):
        form = await browser.form("/utility", "/utility/dry-run")
        assert (form["authority"], form["program"], form["is_on"]) == (PARTNER, PROGRAM, "on" if is_on else "off")
        assert (await browser.post("/utility/dry-run", form)).headers["Location"] == "/utility"
        [state] = house.scene.store.all(ProgramState, TENANT)
        assert (state.is_dry_run, state.changed_by) == (is_on, "olga")
    wrong = await browser.form("/utility", "/utility/dry-run") | {"is_on": "perhaps"}
    assert (await browser.post("/utility/dry-run", wrong)).json["field"] == "is_on"


@pytest.mark.parametrize("path", ["/utility/opt", "/utility/dry-run"])
async def test_a_form_needs_token_origin_and_role(place: tuple[Wired, Browser], path: str) -> None:
    house, browser = place
    fields = {
        "event_id": COMING,
        "opt": "optOut",
        "reason": "x",
        "request_id": "r",
        "authority": PARTNER,
        "is_on": "on",
    }
    await browser.login("olga")
    before = len(house.scene.store.applied)
    assert (await browser.post(path, fields)).status == 403
    csrf = (await browser.form("/utility", "/logout"))["csrf"]
    assert (await browser.post(path, fields | {"csrf": csrf}, Origin="https://evil.example")).status == 403
    for actor in ("only-utility", "aud", "tara"):
        await browser.login(actor)
        csrf = (await browser.form("/utility", "/logout"))["csrf"]
        assert (await browser.post(path, fields | {"csrf": csrf})).json["title"] == "PERMISSION_REFUSED"
        assert f'action="{path}"' not in (await browser.get("/utility", **HTML)).text
    assert len(house.scene.store.applied) == before


async def test_who_may_not_read_signals_sees_nothing(place: tuple[Wired, Browser]) -> None:
    _, browser = place
    assert (await browser.get("/utility", **HTML)).headers["Location"] == "/login"
    await browser.login("only-admin")
    for path in ("/utility", "/utility/now", EVENT, "/utility/event/now?id=x", "/utility/message?id=raw-1"):
        assert (await browser.get(path)).status == 403, path


async def test_a_utility_lands_on_its_page(place: tuple[Wired, Browser]) -> None:
    _, browser = place
    assert (await browser.login("only-utility")).headers["Location"] == "/utility"
    assert (await browser.get("/utility", **HTML)).status == 200


async def test_a_message_is_read_again_without_effect(place: tuple[Wired, Browser]) -> None:
    house, browser = place
    await browser.login("aud")
    before = len(house.scene.store.applied)
    text = plain((await browser.get("/utility/message?id=raw-1", **HTML)).text)
    assert "Event running, modification 0" in text
    assert "Would ask draw at most 40 kW" in text
    assert "Event foreign, modification 0 Would not be used 452: the market context is not one of ours" in text
    assert "Is kept as modification 0" in text
    assert "no event of this id is known" in text
    gone = plain((await browser.get("/utility/message?id=raw-2", **HTML)).text)
    assert "vtn:gone is no partner of this gateway any more" in gone
    assert len(house.scene.store.applied) == before
    assert (await browser.get("/utility/message?id=raw-9")).status == 404


async def test_a_hundred_events_are_cut_and_counted(place: tuple[Wired, Browser]) -> None:
    house, browser = place
    now = house.world.clock.now()
    many = [grid_event(f"old-{n}", now - timedelta(hours=5 + n)) for n in range(100)]
    await house.scene.store.seed(TENANT, *(replace(one, nodes=()) for one in many))
    await browser.login("olga")
    page = await browser.get("/utility", **HTML)
    assert "74 older events are not shown" in page.text


async def test_more_events_than_are_shown_wait_for_a_decision(place: tuple[Wired, Browser]) -> None:
    house, browser = place
    now = house.world.clock.now()
    more = [
        grid_event(f"many-{n}", now + n * timedelta(hours=1), opt_deadline=now + timedelta(hours=1))
        for n in range(1, 36)
    ]
    await house.scene.store.seed(TENANT, *more)
    await browser.login("olga")
    text = plain((await browser.get("/utility", **HTML)).text)
    assert "Waiting for a decision: 36" in text
    assert "9 older events are not shown" in text


class Ven:
    def __init__(self, health: VenHealth) -> None:
        self.said = health

    def health(self) -> VenHealth:
        return self.said


async def test_the_page_tells_how_we_stand_with_each_partner() -> None:
    house, journal = await with_partners()
    now = house.world.clock.now()
    ven = Ven(
        VenHealth(
            state=VenState.REGISTERED,
            is_lost=False,
            heard_at=now - timedelta(seconds=70),
            failures=0,
            last_error="",
            pending_reports=2,
            ven_id="ven-<7>",
        )
    )
    book = PartnerBook()
    book.add(TENANT, PARTNER, ven)
    book.add(OTHER, "vtn:theirs", Ven(replace(ven.said, ven_id="ven-of-others")))
    async with serving(house, journal=journal, book=book) as url, browsing(url) as browser:
        await browser.login("olga")
        text = (await browser.get("/utility", **HTML)).text
        assert "registered as ven-&lt;7&gt;, heard 1 min 10 s ago; 2 reports pending" in plain(text).replace(" ,", ",")
        assert "ven-of-others" not in text
        error = "no answer to <b> Bearer s3cr3t"
        ven.said = replace(ven.said, is_lost=True, lost_since=now, failures=3, last_error=error)
        text = (await browser.get("/utility/now", **HTML)).text
        assert f"lost since {now:%d %b %H:%M:%S}Z" in text
        assert "3 failed attempts; last error: no answer to &lt;b&gt; Bearer ***" in text
        assert "s3cr3t" not in text


async def test_a_refused_event_is_shown_as_refused_with_its_reason(place: tuple[Wired, Browser]) -> None:
    house, browser = place
    now = house.scene.clock.now()
    row = NonCompliance(
        id=f"{PARTNER}:event:ev-9:{REFUSED_RULE}",
        tenant=TENANT,
        authority=PARTNER,
        profile="openadr-2.0b",
        rule=REFUSED_RULE,
        object_kind="event",
        object_id="ev-9",
        problem="has no duration (told as 454)",
        is_applied=False,
        raw_signal="raw-1",
        at=now,
    )
    await house.scene.store.seed(TENANT, row)
    await browser.login("olga")
    page = (await browser.get("/utility", **HTML)).text
    [section] = re.findall(r'aria-labelledby="refused-title">.*?</section>', page, re.DOTALL)
    assert "ev-9 refused" in plain(section)
    assert "has no duration (told as 454)" in plain(section)
    assert "live events live" not in plain(page)
    assert "now or to come" in plain(page)
