"""The operator's page in Chromium: the tree of thousands of nodes, a node in time, and a limit tried before it is set."""

from datetime import timedelta
from typing import Any

import pytest

from gateway.domain.limits import Limit, LimitKind
from gateway.domain.topology import Node, NodeKind
from tests.fakes.wired import PORTFOLIO, TENANT, Wired
from tests.services.market_scene import DAY
from tests.web.test_browser import PHONE, Desk, desk_at, page_is_wider_than_the_screen
from tests.web.test_operator import DSO, GRID, say, stated

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

SITES = 40
CIRCUITS = 50
ROWS_IN_SIGHT = 40
"""More rows than fit into the tree and its spare ones are never in the document."""


async def grow(house: Wired) -> None:
    """Give the portfolio 40 more sites of 50 circuits each."""
    rows = []
    for s in range(SITES):
        site = f"depot-{s:02d}"
        rows.append(_node(site, PORTFOLIO, NodeKind.SITE, 500.0))
        rows += [_node(f"{site}/c{c:02d}", site, NodeKind.CIRCUIT, 50.0) for c in range(CIRCUITS)]
    await house.scene.store.seed(TENANT, *rows)
    await house.services.fleet.load()


def _node(node_id: str, parent: str, kind: NodeKind, rating_kw: float) -> Node:
    return Node(
        id=node_id,
        tenant=TENANT,
        parent=parent,
        kind=kind,
        name=node_id,
        max_import_kw=rating_kw,
        fail_safe_import_kw=rating_kw / 5,
    )


async def at_the_tree(desk: Desk, path: str = "/operator", **context: Any) -> Any:
    page = await desk.person("olga", **context)
    await page.goto(desk.url + path)
    await page.locator("[data-tree][data-drawn]").wait_for()
    return page


async def test_two_thousand_nodes_open_and_close_and_only_those_in_sight_are_drawn(chromium_executable: str) -> None:
    async with desk_at(DAY.day, chromium_executable) as desk:
        await grow(desk.house)
        page = await at_the_tree(desk)
        tree = page.get_by_test_id("tree")
        closed = int(await tree.get_attribute("data-shown"))
        assert closed < 60, "sites are closed where there are many nodes"
        await page.get_by_role("button", name="Open depot-03").click()
        assert int(await tree.get_attribute("data-shown")) == closed + CIRCUITS
        await page.get_by_role("button", name="Close depot-03").click()
        assert int(await tree.get_attribute("data-shown")) == closed
        await page.evaluate(
            """() => {
              const names = () => [...document.querySelectorAll('[data-tree] .toggle')].filter((b) => b.textContent === '▸' && !b.hidden);
              const port = document.querySelector('.tree-port');
              for (let turn = 0; turn < 2000 && port.scrollTop + port.clientHeight < port.scrollHeight; turn += 1) {
                names().forEach((button) => button.click());
                port.scrollTop += port.clientHeight;
                port.dispatchEvent(new Event('scroll'));
              }
            }"""
        )
        assert int(await tree.get_attribute("data-shown")) > SITES * CIRCUITS * 0.9
        assert await tree.locator("[data-node]").count() <= ROWS_IN_SIGHT
        await page.get_by_role("link", name="depot-39/c49").click()
        await page.get_by_role("heading", name="depot-39/c49: 24 hours back and ahead").wait_for()
        await page.locator("[data-tree][data-drawn]").wait_for()
        assert await page.get_by_role("link", name="depot-39/c49").get_attribute("aria-current") == "true"


async def test_the_tree_says_power_limit_and_whose_order_and_is_walked_by_keyboard(chromium_executable: str) -> None:
    async with desk_at(DAY.day, chromium_executable) as desk:
        now = desk.house.scene.clock.now()
        await desk.house.services.signals.set_manual_limit(
            _olga(),
            node_id="site-01",
            max_kw=42.0,
            start=None,
            end=now + timedelta(hours=2),
            reason="works",
            request_id="r",
        )
        page = await at_the_tree(desk)
        row = page.locator('[data-node="site-01"]')
        await row.get_by_text("person: manual:olga").wait_for()
        assert await row.locator(".limit").inner_text() == "42.0"
        assert await row.locator(".power").inner_text() in {"unknown", "0.0"}
        await page.locator(f'[data-node="{PORTFOLIO}"] a').focus()
        await page.keyboard.press("ArrowDown")
        assert await page.evaluate("document.activeElement.textContent") != PORTFOLIO
        shown = int(await page.get_by_test_id("tree").get_attribute("data-shown"))
        await page.locator(f'[data-node="{PORTFOLIO}"] a').focus()
        await page.keyboard.press("ArrowLeft")
        assert int(await page.get_by_test_id("tree").get_attribute("data-shown")) == 1
        await page.keyboard.press("ArrowRight")
        assert int(await page.get_by_test_id("tree").get_attribute("data-shown")) == shown
        phone = await at_the_tree(desk, viewport=PHONE)
        assert not await page_is_wider_than_the_screen(phone)


async def test_a_limit_is_tried_then_set_and_the_day_ahead_shows_it(chromium_executable: str) -> None:
    async with desk_at(DAY.day, chromium_executable) as desk:
        page = await at_the_tree(desk, "/operator?node=site-01")
        await page.locator(".chart[data-chart=operator][data-drawn] canvas").wait_for()
        await page.get_by_label("At most, kW").fill("42")
        await page.get_by_label("For, minutes").fill("90")
        await page.get_by_label("Because").fill("works")
        await page.get_by_role("button", name="Try it first").click()
        trial = page.get_by_test_id("trial")
        await trial.get_by_text("42.0 kW at site-01 by order of manual:olga (works) until").first.wait_for()
        await trial.get_by_text("Nothing was set").wait_for()
        assert not desk.house.scene.store.all(Limit, TENANT)
        await page.get_by_role("button", name="Set limit").click()
        await page.get_by_test_id("manual-limits").get_by_text("site-01: 42.0 kW until").wait_for()
        assert [limit.max_kw for limit in desk.house.scene.store.all(Limit, TENANT)] == [42.0]
        await page.goto(f"{desk.url}/operator?node=site-01")
        ahead = page.get_by_test_id("ahead").locator("tbody tr")
        assert [await ahead.nth(i).locator("td").nth(1).inner_text() for i in range(2)] == ["42.0", "130.0"]
        assert await ahead.nth(0).locator("td").nth(2).inner_text() == "manual:olga"


async def test_a_lost_authority_is_released_by_keyboard_after_a_look_at_what_opens(chromium_executable: str) -> None:
    async with desk_at(DAY.day, chromium_executable) as desk:
        await say(desk.house, stated(desk.house, "f1", 20.0, (-5, 600), kind=LimitKind.FALLBACK))
        await desk.house.services.signals.contact(GRID, DSO, is_lost=True)
        page: Any = None
        said: list[str] = []
        for screen in ({"width": 1280, "height": 900}, PHONE):
            page = await at_the_tree(desk, viewport=screen)
            page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
            await page.get_by_role("link", name=f"Release {DSO}").focus()
            await page.keyboard.press("Enter")
            await page.get_by_role("heading", name=f"Release {DSO}?").wait_for()
            await page.get_by_test_id("places").get_by_text(PORTFOLIO).wait_for()
            assert not await page_is_wider_than_the_screen(page)
            assert said == []
        await page.get_by_label("Because").focus()
        await page.keyboard.type("its contract ended")
        await page.keyboard.press("Enter")
        await page.get_by_test_id("headline").get_by_text(f"at {PORTFOLIO} by its rating").wait_for()
        assert await page.get_by_test_id("contacts").get_by_text("released by a person; lost").count() == 1


def _olga() -> Any:
    from tests.services.scene import OPERATOR

    return OPERATOR
