"""The sandbox's sources of prices and carbon, served in this process under a clock that a test moves by hand."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from aiohttp import web

from gateway.domain.series import PriceProduct
from gateway.market_data.entsoe import EntsoeAccount, EntsoeEndpoint, EntsoeImbalanceSource, EntsoePriceSource
from gateway.market_data.http_fetch import FetchCaps
from gateway.market_data.market_rules import load_market_rules
from gateway.market_data.turnstile import Pace
from gateway.ports import Clock
from gateway.sandbox.market_sources import TOKEN, create_app
from tests.fakes.clock import HandClock

RULES = load_market_rules(Path(__file__).resolve().parents[2] / "config" / "market_rules.toml")
CAPS = FetchCaps(connect_s=5.0, total_s=10.0, max_bytes=5_000_000)
IMPATIENT = FetchCaps(connect_s=0.5, total_s=0.5, max_bytes=5_000_000)
"""For peers that never answer."""


@dataclass
class Sources:
    """Running sandbox sources."""

    url: str
    clock: HandClock
    session: aiohttp.ClientSession
    token: str

    def door(self, *, clock: Clock | None = None, pace: Pace | None = None, caps: FetchCaps = CAPS) -> EntsoeEndpoint:
        account = EntsoeAccount(url=f"{self.url}/entsoe/api", token=self.token)
        own_clock = self.clock if clock is None else clock
        return EntsoeEndpoint(account=account, session=self.session, clock=own_clock, caps=caps, pace=pace)

    def prices(self, product: PriceProduct = PriceProduct.DAY_AHEAD_SDAC) -> EntsoePriceSource:
        return EntsoePriceSource(endpoint=self.door(), rules=RULES, product=product)

    def imbalance(self, product: PriceProduct = PriceProduct.IMBALANCE) -> EntsoeImbalanceSource:
        return EntsoeImbalanceSource(endpoint=self.door(), rules=RULES, product=product)

    async def tell(self, part: str, **document: object) -> None:
        """Bend days, the platform's habits, or the next requests."""
        async with self.session.post(f"{self.url}/control/{part}", json=document) as response:
            assert response.status == 201, await response.text()

    async def asked(self, path: str) -> int:
        """How often a path was asked for."""
        async with self.session.get(f"{self.url}/control/requests") as response:
            counts: dict[str, int] = await response.json()
            return sum(count for name, count in counts.items() if path in name)


@asynccontextmanager
async def market_sources(clock: HandClock, *, token: str = TOKEN, seed: int = 5) -> AsyncIterator[Sources]:
    """Serve the sources on loopback."""
    runner = web.AppRunner(create_app(clock, seed, token), shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with aiohttp.ClientSession() as session:
            url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield Sources(url=url, clock=clock, session=session, token=token)
    finally:
        await runner.cleanup()
