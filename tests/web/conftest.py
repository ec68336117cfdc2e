import asyncio
import html
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import aiohttp
import pytest

from gateway.app.pages import PageServer, page_site
from gateway.openadr.health import PartnerBook
from gateway.openadr.journal import ExchangeJournal
from gateway.settings import WebSettings
from tests.fakes.wired import PASSWORD, TENANT, Wired, wired

HTML = {"Accept": "text/html"}


@dataclass
class Page:
    status: int
    text: str
    headers: Any
    json: dict[str, Any] = field(default_factory=dict)


@dataclass
class Browser:
    """A person's browser without scripts: keeps cookies, follows no redirect, sends forms with the page's hidden fields."""

    url: str
    http: aiohttp.ClientSession

    async def get(self, path: str, **headers: str) -> Page:
        return await self._send("GET", path, None, headers)

    async def post(self, path: str, form: dict[str, str], **headers: str) -> Page:
        return await self._send("POST", path, form, headers)

    async def _send(self, method: str, path: str, form: dict[str, str] | None, headers: dict[str, str]) -> Page:
        async with self.http.request(
            method, self.url + path, data=form, headers=headers, allow_redirects=False
        ) as answer:
            text = await answer.text()
            is_json = "json" in answer.headers.get("Content-Type", "")
            return Page(answer.status, text, answer.headers, await answer.json(content_type=None) if is_json else {})

    async def login(self, actor: str, password: str = PASSWORD, **headers: str) -> Page:
        return await self.post("/login", {"actor": actor, "password": password}, **headers)

    async def form(self, path: str, action: str) -> dict[str, str]:
        """Return the fields of the form on a page that posts to a path."""
        page = await self.get(path, **HTML)
        assert page.status == 200, page.text
        [body] = re.findall(rf'action="{re.escape(action)}".*?</form>', page.text, re.DOTALL)
        fields = re.findall(r'<input[^>]*name="([^"]+)"[^>]*value="([^"]*)"', body)
        return {name: html.unescape(value) for name, value in fields}


@asynccontextmanager
async def serving(
    house: Wired,
    *,
    tenant: str = TENANT,
    journal: ExchangeJournal | None = None,
    book: PartnerBook | None = None,
    **more: Any,
) -> AsyncIterator[str]:
    """Serve the pages on a free port."""
    web = WebSettings(tenant=tenant, port=0, allow_plain_on_loopback=True, **more)
    settings = house.settings.model_copy(update={"web": web})
    server = PageServer(page_site(settings, house.world, house.services, journal, book), web)
    url = server.bind()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(server.serve())
        while not server._server.started:
            await asyncio.sleep(0.005)
        try:
            yield url
        finally:
            server._server.should_exit = True
            await asyncio.wait({task}, timeout=5)


@asynccontextmanager
async def browsing(url: str, tls: ssl.SSLContext | bool = True) -> AsyncIterator[Browser]:
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar, connector=aiohttp.TCPConnector(ssl=tls)) as http:
        yield Browser(url, http)


@pytest.fixture
async def house() -> Wired:
    return await wired()


@pytest.fixture
async def site(house: Wired) -> AsyncIterator[str]:
    async with serving(house) as url:
        yield url


@pytest.fixture
async def browser(site: str) -> AsyncIterator[Browser]:
    async with browsing(site) as one:
        yield one


SPRING = date(2026, 3, 29)
AUTUMN = date(2025, 10, 26)
