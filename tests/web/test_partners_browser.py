"""The utility's page in Chromium, as people use it."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.domain.programs import ProgramState
from gateway.domain.signals import GridEvent, OptType
from tests.fakes.wired import TENANT
from tests.web.conftest import serving
from tests.web.partners_scene import PARTNER, with_partners
from tests.web.test_browser import PHONE, Desk, contrast, open_browser, page_is_wider_than_the_screen

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]
COMING = f"{PARTNER}:E&1 <b>"


@pytest.fixture
async def desk(chromium_executable: str) -> AsyncIterator[Desk]:
    house, journal = await with_partners()
    async with serving(house, journal=journal) as url, open_browser(chromium_executable) as browser:
        one = Desk(house, url, browser)
        yield one
        assert not one.complaints


async def test_an_operator_opts_out_with_a_reason(desk: Desk) -> None:
    page = await desk.person("olga")
    await page.get_by_role("link", name="Utility").click()
    await page.get_by_test_id("waiting").get_by_role("link", name="E&1 <b>").click()
    await page.get_by_test_id("deadline").get_by_text("12 min left").wait_for()
    await page.get_by_role("button", name="Opt out").click()
    await page.get_by_test_id("problem").get_by_text("is required to opt out").wait_for()
    await page.get_by_label("Reason").fill("the fleet is on the road")
    await page.get_by_role("button", name="Opt out").click()
    await page.get_by_test_id("answer").get_by_text("optOut").wait_for()
    row = await desk.house.scene.store.get(GridEvent, TENANT, COMING)
    assert row is not None
    assert row.record.opt is OptType.OPT_OUT


async def test_a_reason_half_typed_and_an_opened_journal_survive_news(desk: Desk) -> None:
    page = await desk.person("olga")
    await page.goto(f"{desk.url}/utility")
    journal = page.get_by_test_id("partner").locator("details")
    await page.get_by_test_id("partner").get_by_text("The last 2").click()
    await desk.house.scene.store.seed(TENANT, desk.house.scene.store.all(GridEvent, TENANT)[0])
    async with page.expect_response("**/utility/now"):
        pass
    await asyncio.sleep(0.2)
    assert await journal.get_attribute("open") is not None
    await page.get_by_test_id("waiting").get_by_role("link").click()
    field = page.get_by_label("Reason")
    await field.fill("the fle")
    await desk.house.scene.store.seed(TENANT, desk.house.scene.store.all(GridEvent, TENANT)[0])
    async with page.expect_response("**/utility/event/now*"):
        pass
    await asyncio.sleep(0.2)
    assert await field.input_value() == "the fle"


async def test_a_dry_run_is_switched_by_keyboard(desk: Desk) -> None:
    page = await desk.person("olga")
    await page.goto(f"{desk.url}/utility")
    await page.get_by_role("button", name="Begin the dry run").focus()
    await page.keyboard.press("Enter")
    await page.get_by_role("button", name="End the dry run").wait_for()
    [state] = desk.house.scene.store.all(ProgramState, TENANT)
    assert state.is_dry_run


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_on_a_phone_nothing_scrolls_sideways_and_all_is_readable(desk: Desk, scheme: str) -> None:
    page = await desk.person("olga", viewport=PHONE, color_scheme=scheme)
    for path in ("/utility", f"/utility/event?id={PARTNER}:running", "/utility/message?id=raw-1"):
        await page.goto(desk.url + path)
        await asyncio.sleep(0.2)
        assert not await page_is_wider_than_the_screen(page), path
        assert await contrast(page, "body") >= 7.0


async def test_every_field_and_button_of_it_has_a_name(desk: Desk) -> None:
    page = await desk.person("olga")
    for path in ("/utility", f"/utility/event?id={PARTNER}:running", "/utility/message?id=raw-1"):
        await page.goto(desk.url + path)
        nameless = await page.evaluate(
            """() => [...document.querySelectorAll("input:not([type=hidden]), select, button, a, [role=region]")]
              .filter((e) => !(e.labels && e.labels.length) && !e.getAttribute("aria-label") && !e.textContent.trim()
                && !document.getElementById(e.getAttribute("aria-labelledby")))
              .map((e) => e.outerHTML)"""
        )
        assert nameless == []
