"""Clocks for tests: one moved by hand, one that follows the (virtual) time of the event loop."""

import asyncio
from datetime import UTC, datetime, timedelta

START = datetime(2025, 10, 15, 8, 0, tzinfo=UTC)


class HandClock:
    """Time stands still until a test moves it; sleepers wake when it passes their instant."""

    def __init__(self, now: datetime = START) -> None:
        self._now = now
        self._start = now
        self._sleepers: list[tuple[datetime, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return (self._now - self._start).total_seconds()

    async def sleep_until(self, when: datetime) -> None:
        if when <= self._now:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (when, future)
        self._sleepers.append(entry)
        try:
            await future
        finally:
            if entry in self._sleepers:
                self._sleepers.remove(entry)

    async def sleep(self, duration: timedelta) -> None:
        await self.sleep_until(self._now + duration)

    def set(self, when: datetime) -> None:
        """Jump to an instant; never back."""
        assert when >= self._now
        self._now = when
        for due, future in list(self._sleepers):
            if due <= when and not future.done():
                future.set_result(None)

    def move(self, **duration: float) -> None:
        """Move forward, for example `move(seconds=30)`."""
        self.set(self._now + timedelta(**duration))


class SetClock(HandClock):
    """A hand-moved clock that can be set; elapsed time goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead = timedelta(0)

    def now(self) -> datetime:
        return super().now() + self.ahead


class VirtualClock:
    """Follows the loop's time; with an `async_solipsism` loop a day passes in no time."""

    def __init__(self, start: datetime = START) -> None:
        self._start = start

    def now(self) -> datetime:
        return self._start + timedelta(seconds=asyncio.get_running_loop().time())

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep_until(self, when: datetime) -> None:
        await asyncio.sleep(max(0.0, (when - self.now()).total_seconds()))

    async def sleep(self, duration: timedelta) -> None:
        await asyncio.sleep(max(0.0, duration.total_seconds()))
