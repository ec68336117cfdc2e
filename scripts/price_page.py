"""Ten years of quarter-hours in the browser: the gateway's market page, and the same numbers drawn by Plotly, in the same run.

Plotly (MIT) comes from npm into a temporary folder and is drawn from the same bytes by a page that holds nothing else. Time is the
browser's own: from the start of the navigation to the first picture with all points.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import json
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from gateway.app.pages import PageServer, page_site
from gateway.app.services import World, wire_services
from gateway.clock import SystemClock
from gateway.domain.identity import Account, Role
from gateway.exchanges.absent import AbsentBrp, AbsentExchange
from gateway.ids import RandomIds
from gateway.ports import Batch, Put, Store
from gateway.services.admit import hash_password
from gateway.settings import MarketSettings, Settings, WebSettings
from gateway.workers.process import ProcessWorker
from scripts.environment import ROOT, say
from scripts.page_assets import npm_command
from scripts.price_years import ZONE

Browser = Any
Page = Any
"""Of Playwright, which only the environment of the browser tests has."""
TENANT, ACTOR, PASSWORD = "bench", "bench", "bench bench bench"
PLOTLY = "plotly.js-dist-min@3.0.1"
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_QUIET = ["--headless", "--no-sandbox", "--disable-background-networking", "--no-first-run"]
_PATIENCE_MS = 60_000
_LOOK_S = 0.01
_WATCH = """
window.firstDrawn = null;
new MutationObserver(() => {
  const chart = document.querySelector('[data-history][data-drawn]');
  if (chart && window.firstDrawn === null) window.firstDrawn = performance.now();
}).observe(document, { subtree: true, attributes: true, childList: true });
"""
_PLOTLY_PAGE = """<!doctype html><meta charset="utf-8"><div id="chart" style="width:1200px;height:320px"></div>
<script src="/plotly.js"></script><script>
(async () => {
  const block = await (await fetch("/history")).arrayBuffer();
  const length = new DataView(block).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(block, 4, length)));
  const prices = new Float32Array(block, 4 + length, head.count);
  const moments = new Float64Array(head.count);
  for (let i = 0; i < head.count; i++) moments[i] = (head.start + i * head.step) * 1000;
  const trace = { x: moments, y: prices, type: new URLSearchParams(location.search).get("type"), mode: "lines" };
  await Plotly.newPlot("chart", [trace], { xaxis: { type: "date" } });
  window.firstDrawn = performance.now();
})();
</script>"""


def find_browser() -> str | None:
    """Return the Chromium on this machine; None without one, or where Playwright is not installed to drive it."""
    if importlib.util.find_spec("playwright") is None:
        return None
    return next((path for path in map(shutil.which, _BROWSERS) if path is not None), None)


async def measure_page(store: Store, browser_path: str, repeats: int) -> dict[str, list[float]]:
    """Return milliseconds to the first picture of each load: `ours`, and `plotly scatter`, `plotly scattergl` where npm works.

    Args:
        store: Holds the years of prices of zone `BE`.
        browser_path: Chromium.
        repeats: Loads of each page.
    """
    playwright = importlib.import_module("playwright.async_api")
    async with _site(store) as url, playwright.async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=browser_path, args=_QUIET)
        try:
            page = await _logged_in(browser, url)
            block = await (await page.request.get(f"{url}/market/history?zone=BE")).body()
            found = {"ours": [await _ours(page, url) for _ in range(repeats)]}
            script = await asyncio.to_thread(_fetch_plotly)
            if script is not None:
                found |= await _plotly(browser, script, block, repeats)
        finally:
            await browser.close()
    return found


def median(values: list[float]) -> float:
    """Return the median."""
    return statistics.median(values)


@asynccontextmanager
async def _site(store: Store) -> AsyncIterator[str]:
    """Serve the gateway's pages over a store."""
    market = MarketSettings(
        zone="BE", time_zone=ZONE, entsoe_url="http://127.0.0.1:9/api", entsoe_token_file=Path("none")
    )
    page = WebSettings(tenant=TENANT, port=0, allow_plain_on_loopback=True)
    settings = Settings(tenants=(TENANT,), market=market, web=page)
    world = World(
        store=store,
        clock=SystemClock(),
        ids=RandomIds(),
        worker=ProcessWorker(),
        prices={},
        carbon={},
        exchange=AbsentExchange(),
        nomination_desk=AbsentBrp(),
    )
    account = Account(
        id="account-bench", tenant=TENANT, actor=ACTOR, roles=(Role.TRADER,), password_hash=hash_password(PASSWORD)
    )
    await store.apply(Batch(tenant=TENANT, puts=(Put(record=account),)))
    services = wire_services(settings, world)
    server = PageServer(page_site(settings, world, services), page)
    url = server.bind()
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(server.serve()), tasks.create_task(services.price_histories.follow())]
        yield url
        for task in running:
            task.cancel()


async def _logged_in(browser: Browser, url: str) -> Page:
    page = await (await browser.new_context(viewport={"width": 1280, "height": 900})).new_page()
    page.set_default_timeout(_PATIENCE_MS)
    await page.goto(url)
    await page.get_by_label("Name").fill(ACTOR)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Log in").click()
    await page.get_by_test_id("who").wait_for()
    await page.add_init_script(_WATCH)
    return page


async def _ours(page: Page, url: str) -> float:
    await page.goto(f"{url}/market?zone=BE")
    return await _drawn(page)


async def _drawn(page: Page) -> float:
    # The page's own policy forbids the text that Playwright would wait with, so that one must look again and again.
    async with asyncio.timeout(_PATIENCE_MS / 1_000):
        while (moment := await page.evaluate("window.firstDrawn")) is None:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_S)
    return float(moment)


async def _plotly(browser: Browser, script: bytes, block: bytes, repeats: int) -> dict[str, list[float]]:
    async with _plotly_site(script, block) as url:
        page = await (await browser.new_context(viewport={"width": 1280, "height": 900})).new_page()
        page.set_default_timeout(_PATIENCE_MS)
        found: dict[str, list[float]] = {}
        for kind in ("scatter", "scattergl"):
            found[f"plotly {kind}"] = []
            for _ in range(repeats):
                await page.goto(f"{url}/?type={kind}")
                found[f"plotly {kind}"].append(await _drawn(page))
    return found


@asynccontextmanager
async def _plotly_site(script: bytes, block: bytes) -> AsyncIterator[str]:
    def answer(body: bytes, content_type: str) -> Any:  # noqa: ANN401  # aiohttp's handler type has a private name
        async def handler(_: web.Request) -> web.Response:
            return web.Response(body=body, content_type=content_type)

        return handler

    site = web.Application()
    site.router.add_get("/", answer(_PLOTLY_PAGE.encode(), "text/html"))
    site.router.add_get("/plotly.js", answer(script, "text/javascript"))
    site.router.add_get("/history", answer(block, "application/octet-stream"))
    runner = web.AppRunner(site)
    await runner.setup()
    door = web.TCPSite(runner, "127.0.0.1", 0)
    await door.start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


def _fetch_plotly() -> bytes | None:
    """Return Plotly's script from npm; None where it cannot be fetched."""
    with tempfile.TemporaryDirectory(prefix="voltbridge-plotly-") as scratch:
        folder = Path(scratch)
        (folder / "package.json").write_text(json.dumps({"name": "bench", "private": True}))
        with npm_command(ROOT, folder, say) as (npm, _):
            ended = subprocess.run(
                [*npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", PLOTLY],
                cwd=folder,
                capture_output=True,
                text=True,
                check=False,
            )
        file = folder / "node_modules" / "plotly.js-dist-min" / "plotly.min.js"
        if ended.returncode != 0 or not file.is_file():
            say(f"{PLOTLY} could not be fetched: {ended.stderr.strip()[-300:]}")
            return None
        return file.read_bytes()
