"""The pages in Chromium, as people use them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from typing import Any

import pytest

from gateway.domain.bids import Bid, BidState, CheckOutcome
from gateway.domain.errors import PreconditionFailed
from gateway.domain.limits import Limit
from tests.fakes.wired import PASSWORD, PORTFOLIO, TENANT, Wired, wired
from tests.services.market_scene import DAY, SYSTEM
from tests.web.conftest import AUTUMN, SPRING, serving

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]
playwright_api = pytest.importorskip("playwright.async_api")

QUIET = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
NO_TRAFFIC = ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
PHONE = {"width": 390, "height": 844}


@asynccontextmanager
async def open_browser(executable: str) -> AsyncIterator[Any]:
    async with playwright_api.async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=executable, args=[*QUIET, *NO_TRAFFIC])
        try:
            yield browser
        finally:
            await browser.close()


class Desk:
    """Browsers of several people at one site."""

    def __init__(self, house: Wired, url: str, browser: Any) -> None:
        self.house = house
        self.url = url
        self.browser = browser
        self.complaints: list[str] = []

    async def person(self, actor: str, **context: Any) -> Any:
        """Log a person in and return the page that opens."""
        page = await (await self.browser.new_context(**context)).new_page()
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda message: self.complaints.append(message.text) if "policy" in message.text else None)
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))
        page.set_default_timeout(15_000)
        await page.goto(self.url)
        await page.get_by_label("Name").fill(actor)
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Log in").click()
        await page.get_by_test_id("who").wait_for()
        return page


@asynccontextmanager
async def desk_at(day: date, executable: str) -> AsyncIterator[Desk]:
    house = await wired(day)
    async with serving(house) as url, open_browser(executable) as browser:
        desk = Desk(house, url, browser)
        yield desk
        assert not desk.complaints


@pytest.fixture
async def desk(chromium_executable: str) -> AsyncIterator[Desk]:
    async with desk_at(DAY.day, chromium_executable) as one:
        yield one


async def state_of(page: Any, state: str) -> None:
    await page.get_by_test_id("state").get_by_text(state, exact=True).wait_for()


async def page_is_wider_than_the_screen(page: Any) -> bool:
    wide: bool = await page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
    return wide


async def test_trader_and_approver_take_an_order_to_approved(desk: Desk) -> None:
    trader = await desk.person("tara")
    await trader.get_by_role("button", name="Plan this day").click()
    await trader.get_by_role("button", name="Propose version 1").wait_for()
    await trader.locator(".chart[data-drawn] canvas").wait_for()
    assert await trader.locator("[data-testid=periods] tbody tr").count() == 96
    assert await trader.get_by_role("button", name="Approve").count() == 0
    approver = await desk.person("ann")
    await approver.get_by_test_id("state").wait_for()
    assert await approver.get_by_role("button", name="Propose").count() == 0
    await trader.get_by_role("button", name="Propose version 1").click()
    await state_of(trader, "proposed")
    # The other person's page follows by itself.
    await approver.get_by_role("button", name="Approve version 1").click()
    await state_of(approver, "approved")
    await state_of(trader, "approved")
    [bid] = desk.house.scene.store.all(Bid, TENANT)
    assert (bid.state, bid.proposed_by, bid.approved_by) == (BidState.APPROVED, "tara", "ann")


async def test_planning_says_at_once_that_it_runs_and_how_it_ended(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    page = await desk.person("tara")
    planner, go_on = desk.house.services.planner, asyncio.Event()
    plan = planner.plan

    async def slow(*args: Any, **more: Any) -> Any:
        await go_on.wait()
        return await plan(*args, **more)

    monkeypatch.setattr(planner, "plan", slow)
    await page.get_by_role("button", name="Plan this day").click()
    await page.get_by_test_id("planning").get_by_text("it may take a minute").wait_for()
    go_on.set()
    await page.get_by_test_id("planning").get_by_text("Last planned on").wait_for()

    async def failing(*_: Any, **__: Any) -> Any:
        raise PreconditionFailed("there is no past to forecast from")

    monkeypatch.setattr(planner, "plan", failing)
    await page.get_by_role("button", name="Plan this day anew").click()
    await page.get_by_test_id("planning").get_by_text("That failed").wait_for()
    await page.get_by_test_id("problem").get_by_text("no past to forecast from").wait_for()


@pytest.mark.parametrize("viewport", [{"width": 1280, "height": 900}, PHONE], ids=["desk", "phone"])
async def test_a_delivered_day_and_both_of_its_files(desk: Desk, viewport: dict[str, int]) -> None:
    scene = desk.house.scene
    await scene.awarded()
    await scene.deliver(share=0.5)
    await scene.settler.settle(SYSTEM, PORTFOLIO, scene.iso)
    page = await desk.person("tara", viewport=viewport)
    await page.get_by_role("link", name="Delivery", exact=True).click()
    await page.get_by_role("heading", name=f"Delivery on {scene.iso}").wait_for()
    assert not await page_is_wider_than_the_screen(page)
    for name in ("nominations", "deviations"):
        async with page.expect_download() as coming:
            await page.get_by_test_id(f"{name}-csv").click()
        assert (await coming.value).suggested_filename == f"{name}-{scene.iso}.csv"
    await page.get_by_test_id("nominations").get_by_role("link").first.click()
    await page.get_by_role("link", name="All connection points").wait_for()


@pytest.mark.parametrize(("day", "count"), [(SPRING, 92), (AUTUMN, 100)])
async def test_days_on_which_the_clock_changes(chromium_executable: str, day: date, count: int) -> None:
    async with desk_at(day, chromium_executable) as desk:
        await desk.house.scene.drafted()
        page = await desk.person("tara", timezone_id="America/New_York")
        await page.get_by_role("heading", name=f"{count} delivery periods").wait_for()
        labels = await page.locator("[data-testid=periods] tbody th").all_inner_texts()
        assert len(set(labels)) == len(labels) == count
        assert (labels[0][:5], labels[-1][:5]) == ("00:00", "23:45")
        await page.locator(".chart[data-drawn] canvas").wait_for()


async def test_a_hundred_typed_for_one_is_stopped(desk: Desk) -> None:
    await desk.house.scene.drafted()
    page = await desk.person("tara")
    await page.locator("input[name=volume_8]").fill("100")
    assert await page.get_by_text("Unsaved changes").is_visible()
    await page.get_by_role("button", name="Save as new version").click()
    await state_of(page, "draft")
    failed = await page.locator(".checks .failed").all_inner_texts()
    assert any("hundredfold" in text for text in failed)
    assert await page.get_by_role("button", name="Propose").count() == 0
    newest = max(desk.house.scene.store.all(Bid, TENANT), key=lambda bid: bid.version)
    assert CheckOutcome.FAILED in {check.outcome for check in newest.checks}
    await page.locator("input[name=volume_8]").fill("a lot")
    await page.get_by_role("button", name="Save as new version").click()
    await page.get_by_test_id("problem").get_by_text("must be a decimal number").wait_for()
    assert await page.locator("input[name=volume_8]").input_value() == "a lot"


async def test_what_a_trader_types_survives_news_and_comes_from_a_spreadsheet(desk: Desk) -> None:
    bid = await desk.house.scene.drafted()
    page = await desk.person("tara")
    field = page.locator("input[name=volume_0]")
    await field.focus()
    await page.evaluate(
        """() => {
          const data = new DataTransfer();
          data.setData("text", "0.2\\t\\n0.3\\n0.4\\n");
          document.activeElement.dispatchEvent(new ClipboardEvent("paste", {clipboardData: data, bubbles: true, cancelable: true}));
        }"""
    )
    values = [await page.locator(f"input[name=volume_{i}]").input_value() for i in range(3)]
    assert values == ["0.2", "0.3", "0.4"]
    await desk.house.scene.reviewer.propose(
        _tara(), bid_id=bid.id, content_hash=bid.content_hash, request_id="elsewhere"
    )
    await page.get_by_text("The order changed meanwhile").wait_for()
    assert await field.input_value() == "0.2"


def _tara() -> Any:
    from tests.services.market_scene import TRADER

    return TRADER


async def test_operator_sets_and_withdraws_a_limit_by_keyboard(desk: Desk) -> None:
    page = await desk.person("olga")
    assert "10000.0 kW at vpp-be by its rating" in await page.get_by_test_id("headline").inner_text()
    await page.get_by_label("At most, kW").focus()
    await page.keyboard.type("250")
    for text in ("15", "works"):
        await page.keyboard.press("Tab")
        await page.keyboard.press("Control+A")
        await page.keyboard.type(text)
    await page.keyboard.press("Enter")
    await page.get_by_test_id("headline").get_by_text("250.0 kW at vpp-be by order of manual:olga (works)").wait_for()
    [limit] = desk.house.scene.store.all(Limit, TENANT)
    assert limit.max_kw == 250.0
    await page.get_by_role("button", name="Withdraw the limit of 250.0 kW").focus()
    await page.keyboard.press("Enter")
    await page.get_by_test_id("headline").get_by_text("by its rating").wait_for()


async def test_the_page_can_be_walked_by_keyboard(desk: Desk) -> None:
    await desk.house.scene.drafted()
    page = await desk.person("tara")
    seen: list[str] = []
    for _ in range(14):
        await page.keyboard.press("Tab")
        seen.append(
            await page.evaluate(
                "(e => (e.getAttribute('aria-label') || e.textContent.trim() || e.id || e.className))(document.activeElement)"
            )
        )
    assert seen[0] == "Skip to content"
    assert [name for name in seen if name in {"Trader", "Operator", "Log out"}] == ["Trader", "Operator", "Log out"]
    assert any(name.startswith("Propose version 1") for name in seen)


async def test_every_field_and_button_has_a_name(desk: Desk) -> None:
    await desk.house.scene.drafted()
    for actor in ("tara", "olga"):
        page = await desk.person(actor)
        nameless = await page.evaluate(
            """() => [...document.querySelectorAll("input:not([type=hidden]), select, button, [role=img]")]
              .filter((e) => !(e.labels && e.labels.length) && !e.getAttribute("aria-label") && !e.textContent.trim())
              .map((e) => e.outerHTML)"""
        )
        assert nameless == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_on_a_phone_the_page_does_not_scroll_sideways(desk: Desk, scheme: str) -> None:
    await desk.house.scene.drafted()
    for actor in ("tara", "olga"):
        page = await desk.person(actor, viewport=PHONE, color_scheme=scheme)
        await asyncio.sleep(0.3)
        assert not await page_is_wider_than_the_screen(page), actor
        assert await contrast(page, "body") >= 7.0
        assert await contrast(page, "button:not(.quiet)") >= 4.5


async def contrast(page: Any, selector: str) -> float:
    """Return the contrast ratio of text to ground by WCAG 2.2."""
    ratio: float = await page.evaluate(
        """(selector) => {
          const style = getComputedStyle(document.querySelector(selector));
          const light = (colour) => {
            const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map((v) => v / 255)
              .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
          };
          const [one, other] = [light(style.color), light(style.backgroundColor)];
          return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
        }""",
        selector,
    )
    return ratio
