"""What the tests of `market_data` share: an HTTP session, a scripted peer, and one sandbox market for the room."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.fakes.sandbox_market import SandboxMarket, running_market
from tests.fakes.scripted_peer import ScriptedPeer, scripted_peer


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as client:
        yield client


@pytest.fixture
async def peer() -> AsyncIterator[ScriptedPeer]:
    async with scripted_peer() as served:
        yield served


@pytest.fixture(scope="package")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxMarket]:
    with running_market(tmp_path_factory.mktemp("market")) as running:
        yield running


@pytest.fixture(scope="session")
def config() -> Path:
    return Path(__file__).resolve().parents[2] / "config"
