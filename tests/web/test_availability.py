"""What people declare on the utility's page: availability, withdrawals, leaving and joining."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from gateway.domain.programs import OptSchedule
from gateway.domain.signals import OptType
from gateway.grid_settings import VtnSettings
from gateway.services.declare_availability import REGISTRATION_TOPIC
from tests.fakes.wired import TENANT, Wired
from tests.web.conftest import HTML, Browser, browsing, serving
from tests.web.partners_scene import PARTNER, with_partners

DECLARE, WITHDRAW, REGISTRATION = "/utility/availability", "/utility/availability/withdraw", "/utility/registration"
FIELDS = {
    "authority": PARTNER,
    "opt": "optOut",
    "reason": "mustRun",
    "start": "2030-07-01T18:00",
    "end": "2030-07-01T20:30",
    "resource": "Depot A&B <1>",
}


@pytest.fixture
async def place() -> AsyncIterator[tuple[Wired, Browser]]:
    house, journal = await with_partners()
    async with serving(house, journal=journal) as url, browsing(url) as browser:
        yield house, browser


async def test_only_partners_that_speak_2_0b_can_be_told() -> None:
    house, journal = await with_partners()
    modern = VtnSettings(
        authority="vtn:modern",
        tenant=TENANT,
        dialect="3.1.0",
        url="https://127.0.0.1:1/openadr3/3.1.0",
        ven_name="depot",
        portfolio_node=house.settings.vtn[0].portfolio_node,
    )
    house.settings = house.settings.model_copy(update={"vtn": (*house.settings.vtn, modern)})
    async with serving(house, journal=journal) as url, browsing(url) as browser:
        await browser.login("olga")
        page = (await browser.get("/utility", **HTML)).text
        assert "vtn:modern" in page  # among the partners, and not among those to choose from
        assert "<option>vtn:modern</option>" not in page
        assert f"<option>{PARTNER}</option>" in page
        form = await browser.form("/utility", DECLARE) | FIELDS | {"authority": "vtn:modern"}
        assert (await browser.post(DECLARE, form)).json["field"] == "authority"
    assert house.scene.store.all(OptSchedule, TENANT) == []


async def test_what_is_declared_is_kept_shown_and_withdrawn(place: tuple[Wired, Browser]) -> None:
    house, browser = place
    await browser.login("olga")
    form = await browser.form("/utility", DECLARE) | FIELDS
    for _ in range(2):  # a double click is one declaration
        assert (await browser.post(DECLARE, form)).headers["Location"] == "/utility"
    (row,) = house.scene.store.all(OptSchedule, TENANT)
    assert (row.authority, row.opt, row.reason, row.resources) == (
        PARTNER,
        OptType.OPT_OUT,
        "mustRun",
        ("Depot A&B <1>",),
    )
    window = row.windows[0]
    assert (window.start, window.end) == (
        datetime(2030, 7, 1, 16, 0, tzinfo=UTC),
        datetime(2030, 7, 1, 18, 30, tzinfo=UTC),
    )
    page = (await browser.get("/utility", **HTML)).text
    assert "Depot A&amp;B &lt;1&gt;" in page
    assert "to be told" in page
    gone = await browser.form("/utility", WITHDRAW)
    assert (await browser.post(WITHDRAW, gone)).headers["Location"] == "/utility"
    assert house.scene.store.all(OptSchedule, TENANT)[0].cancelled_at is not None
    assert "being withdrawn" in (await browser.get("/utility", **HTML)).text


async def test_a_second_window_and_a_market_context_may_be_said(place: tuple[Wired, Browser]) -> None:
    house, browser = place
    await browser.login("olga")
    second = {
        "second_start": "2030-07-02T18:00",
        "second_end": "2030-07-02T19:00",
        "market_context": "http://a.example/b",
    }
    form = await browser.form("/utility", DECLARE) | FIELDS | second
    assert (await browser.post(DECLARE, form)).headers["Location"] == "/utility"
    (row,) = house.scene.store.all(OptSchedule, TENANT)
    assert [window.start.isoformat() for window in row.windows] == [
        "2030-07-01T16:00:00+00:00",
        "2030-07-02T16:00:00+00:00",
    ]
    assert row.market_context == "http://a.example/b"
    page = (await browser.get("/utility", **HTML)).text
    assert "http://a.example/b" in page
    assert "2030-07-02 16:00Z to 2030-07-02 17:00Z" in page


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"opt": "perhaps"}, "opt"),
        ({"authority": "vtn:nobody"}, "authority"),
        ({"start": "soon"}, "start"),
        ({"start": "2030-07-01T18:00+02:00"}, "start"),
        ({"end": "2030-07-01T18:00"}, "end"),
        ({"reason": "because"}, "reason"),
        ({"start": "2001-07-01T18:00", "end": "2001-07-01T20:00"}, "windows"),
        ({"second_start": "2030-07-02T18:00"}, "second_end"),
        ({"second_start": "2030-07-02T18:00", "second_end": "2030-07-02T17:00"}, "second_end"),
    ],
    ids=range(9),
)
async def test_what_makes_no_sense_is_said_so(
    place: tuple[Wired, Browser], changes: dict[str, str], field: str
) -> None:
    house, browser = place
    await browser.login("olga")
    form = await browser.form("/utility", DECLARE) | FIELDS | changes
    assert (await browser.post(DECLARE, form)).json["field"] == field
    assert not house.scene.store.all(OptSchedule, TENANT)


async def test_leaving_and_joining_are_wishes(place: tuple[Wired, Browser]) -> None:
    house, browser = place
    await browser.login("olga")
    for wish in ("leave", "join"):
        form = await browser.form("/utility", REGISTRATION) | {"authority": PARTNER, "wish": wish}
        assert (await browser.post(REGISTRATION, form)).headers["Location"] == "/utility"
    items = await house.scene.store.due_outbox(REGISTRATION_TOPIC, house.scene.clock.now())
    assert {item.key for item in items} == {f"{PARTNER}:leave", f"{PARTNER}:join"}
    form = await browser.form("/utility", REGISTRATION) | {"authority": PARTNER, "wish": "perhaps"}
    assert (await browser.post(REGISTRATION, form)).json["field"] == "wish"


@pytest.mark.parametrize("path", [DECLARE, WITHDRAW, REGISTRATION])
async def test_a_form_needs_token_and_role(place: tuple[Wired, Browser], path: str) -> None:
    house, browser = place
    fields = {**FIELDS, "request_id": "r", "schedule_id": "x", "wish": "leave"}
    await browser.login("olga")
    before = len(house.scene.store.applied)
    assert (await browser.post(path, fields)).status == 403
    await browser.login("aud")
    csrf = (await browser.form("/utility", "/logout"))["csrf"]
    assert (await browser.post(path, fields | {"csrf": csrf})).json["title"] == "PERMISSION_REFUSED"
    assert f'action="{path}"' not in (await browser.get("/utility", **HTML)).text
    assert len(house.scene.store.applied) == before
