"""The market page in Chromium: a day with its gap, where a value comes from, and all years at once."""

from typing import Any

import pytest

from gateway.domain.series import PriceProduct
from tests.services.market_scene import DAY
from tests.web.test_browser import PHONE, desk_at, page_is_wider_than_the_screen
from tests.web.test_market import put_carbon, put_day

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
