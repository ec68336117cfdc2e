"""The market page in Chromium: a day with its gap, where a value comes from, and all years at once."""

from typing import Any

import pytest

from gateway.domain.series import PriceProduct
from tests.services.market_scene import DAY
from tests.web.test_browser import PHONE, desk_at, page_is_wider_than_the_screen
from tests.web.test_market import contradict, put_carbon, put_day

DESKTOP = {"width": 1280, "height": 900}
pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]


async def point_at_the_middle(chart: Any) -> None:
    box = await chart.bounding_box()
    await chart.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 3)


async def test_a_day_and_all_years_are_drawn_and_say_where_they_come_from(chromium_executable: str) -> None:
    async with desk_at(DAY.day, chromium_executable) as desk:
        await put_day(desk.house, DAY, gap=40, source="ENTSO-E")
        await put_carbon(desk.house, DAY)
        page = await desk.person("tara")
        await page.goto(f"{desk.url}/market/{DAY.day}")
        await page.locator(".chart[data-chart=market][data-drawn] canvas").wait_for()
        await page.locator(".chart[data-history][data-drawn] canvas").wait_for()
        assert await page.get_by_test_id("market-rows").locator("tbody tr").count() == 96
        assert await page.get_by_test_id("market-rows").get_by_text("gap", exact=True).count() > 0
        await point_at_the_middle(page.locator(".chart[data-chart=market] .u-over"))
        origin = page.get_by_test_id("origin")
        assert "ENTSO-E" in await origin.inner_text()
        assert "carbon average" in await origin.inner_text()
        await page.locator(".chart[data-history]").scroll_into_view_if_needed()
        await point_at_the_middle(page.locator(".chart[data-history] .u-over"))
        assert PriceProduct.DAY_AHEAD_SDAC.value in await page.get_by_test_id("years-origin").inner_text()


async def test_prices_that_arrive_are_shown_by_themselves(chromium_executable: str) -> None:
    async with desk_at(DAY.day, chromium_executable) as desk:
        page = await desk.person("tara")
        # A day that the scene has no prices of.
        await page.goto(f"{desk.url}/market/{DAY.next(30).day}")
        await page.get_by_text("nothing was asked for this day").wait_for()
        await put_day(desk.house, DAY.next(30))
        await page.get_by_test_id("market-rows").wait_for()


async def test_another_day_is_chosen_with_the_picker_and_a_phone_needs_no_sideways_scroll(
    chromium_executable: str,
) -> None:
    async with desk_at(DAY.day, chromium_executable) as desk:
        await put_day(desk.house, DAY)
        page = await desk.person("tara", viewport=PHONE)
        await page.goto(f"{desk.url}/market/{DAY.day}")
        await page.locator(".chart[data-history][data-drawn] canvas").wait_for()
        assert not await page_is_wider_than_the_screen(page)
        await page.get_by_label("Delivery day").fill("2020-02-29")
        await page.get_by_role("heading", name="Prices of 2020-02-29").wait_for()


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["1280", "390"])
async def test_values_and_their_origin_are_reached_by_keys_and_by_a_finger(
    chromium_executable: str, viewport: dict[str, int]
) -> None:
    async with desk_at(DAY.day, chromium_executable) as desk:
        await put_day(desk.house, DAY, gap=2, source="ENTSO-E")
        await put_carbon(desk.house, DAY)
        page = await desk.person("tara", viewport=viewport, has_touch=True)
        await page.goto(f"{desk.url}/market/{DAY.day}")
        chart, origin = page.locator(".chart[data-chart=market]"), page.get_by_test_id("origin")
        await page.locator(".chart[data-chart=market][data-drawn] canvas").wait_for()
        await chart.focus()
        said = []
        for _ in range(3):
            await page.keyboard.press("ArrowRight")
            said.append(await origin.inner_text())
        assert [one.partition(",")[0] for one in said] == [
            "15 Oct 00:00: Price per MWh 66.5",
            "15 Oct 00:15: Price per MWh 70.61",
            "15 Oct 00:30: Price per MWh gap",
        ]
        assert all("ENTSO-E" in one and "carbon average, basis not stated" in one for one in said)
        await page.keyboard.press("End")
        await page.keyboard.press("ArrowLeft")
        assert (await origin.inner_text()).startswith("15 Oct 23:45: ")
        box = await chart.locator(".u-over").bounding_box()
        await page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        assert (await origin.inner_text()).startswith("15 Oct 12:00: ")
        await desk_fits(page)


async def desk_fits(page: Any) -> None:
    """Nothing needs a sideways scroll, and what scrolls inside the page can be reached with the tab key."""
    assert not await page_is_wider_than_the_screen(page)
    assert await page.locator(".scroll:not([tabindex])").count() == 0


async def test_years_are_looked_at_closer_by_keys_and_buttons(chromium_executable: str) -> None:
    async with desk_at(DAY.day, chromium_executable) as desk:
        page = await desk.person("tara", viewport=PHONE)
        await page.goto(f"{desk.url}/market/{DAY.day}")
        years = page.locator(".chart[data-history]")
        await page.locator(".chart[data-history][data-drawn] canvas").wait_for()

        async def hours() -> float:
            return float(await years.evaluate("(e) => (e.chart.scales.x.max - e.chart.scales.x.min) / 3600"))

        whole = await hours()
        assert whole > 24 * 7
        await years.focus()
        await page.keyboard.press("+")
        assert await hours() == pytest.approx(whole / 4, rel=0.05)
        await page.keyboard.press("ArrowRight")
        assert " · day-ahead-sdac, final, 15 min, " in await page.get_by_test_id("years-origin").inner_text()
        await page.keyboard.press("0")
        assert await hours() == pytest.approx(whole)
        await page.get_by_role("button", name="Closer").click()
        assert await hours() == pytest.approx(whole / 4, rel=0.05)
        await page.get_by_role("button", name="Further away").click()
        assert await hours() == pytest.approx(whole, rel=0.05)
        await page.get_by_role("button", name="Closer").click()
        await page.get_by_role("button", name="All years").click()
        assert await hours() == pytest.approx(whole)


async def test_a_person_acknowledges_a_contradiction_on_a_phone(chromium_executable: str) -> None:
    async with desk_at(DAY.day, chromium_executable) as desk:
        await put_day(desk.house, DAY)
        await contradict(desk.house, "c1")
        page = await desk.person("tara", viewport=PHONE)
        await page.goto(f"{desk.url}/market/{DAY.day}")
        await page.get_by_label("I believe").select_option("smard")
        await page.get_by_label("Because").fill("the publisher's own file")
        await page.get_by_role("button", name="Acknowledge").click()
        await page.get_by_text("acknowledged by tara, who believes smard").wait_for()
        await page.get_by_role("heading", name="A contradiction that was acknowledged").wait_for()
        await desk_fits(page)
