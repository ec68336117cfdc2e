"""The life of a VEN in virtual time, whatever it speaks: who it is, who is told about its contact, steps at their seconds."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeVar

import async_solipsism

from gateway.domain.errors import StorageUnavailable
from gateway.domain.identity import Principal
from gateway.ports import Clock, ReceivedEvents
from tests.fakes.store import MemoryStore

TENANT, AUTHORITY = "demo", "vtn:test"
START = datetime(2025, 10, 15, 8, 0, tzinfo=UTC)
BenchT = TypeVar("BenchT")
Step = tuple[float, Callable[[], Any]]
"""At which second, and what happens then."""


class Living(Protocol):
    """What has a life of its own."""

    async def run(self) -> None: ...


class DeskOnDisk:
    """The part of a signal desk that every test wants: what came in, who is in contact, and a disk that may be full."""

    def __init__(self, store: MemoryStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self.received: list[ReceivedEvents] = []
        self.contacts: list[tuple[datetime, bool]] = []
        self.is_down = False

    def check_disk(self) -> None:
        if self.is_down:
            raise StorageUnavailable("the disk is full")

    async def contact(self, principal: Principal, authority: str, *, is_lost: bool) -> None:
        assert authority == AUTHORITY
        self.check_disk()
        self.contacts.append((self._clock.now(), is_lost))


async def live(one: Living, clock: Clock, *steps: Step, seconds: float) -> None:
    """Let a VEN live for so many market seconds while steps happen at theirs, then kill it."""
    begin = clock.now()

    async def script() -> None:
        for at, step in steps:
            await clock.sleep_until(begin + timedelta(seconds=at))
            step()

    try:
        async with asyncio.timeout(seconds), asyncio.TaskGroup() as tasks:
            tasks.create_task(one.run())
            tasks.create_task(script())
    except TimeoutError:
        pass


def in_virtual_time(build: Callable[[], BenchT], scenario: Callable[[BenchT], Awaitable[None]]) -> BenchT:
    """Run a scenario in virtual time and return its bench for a look."""

    async def main() -> BenchT:
        bench = build()
        await scenario(bench)
        return bench

    with asyncio.Runner(loop_factory=async_solipsism.EventLoop) as runner:
        return runner.run(main())
