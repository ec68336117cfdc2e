"""The moment between two lives of the gateway: it is killed once every case is over or waiting for it."""

import asyncio
from collections.abc import Awaitable, Callable


class Intermission:
    """Kills and starts the gateway once, for all cases that want it.

    Args:
        count: Number of cases that play.
        restart: Kills the gateway and starts it again.
    """

    def __init__(self, count: int, restart: Callable[[], Awaitable[None]]) -> None:
        self._playing = count
        self._waiting = 0
        self._restart = restart
        self._is_over = asyncio.Event()
        self._lock = asyncio.Lock()

    async def wait(self) -> None:
        """Return once the gateway has been killed and runs again."""
        self._waiting += 1
        await self._look()
        await self._is_over.wait()

    async def leave(self) -> None:
        """Say that a case is over."""
        self._playing -= 1
        await self._look()

    async def _look(self) -> None:
        async with self._lock:
            if self._waiting == 0 or self._waiting < self._playing or self._is_over.is_set():
                return
            await self._restart()
            self._is_over.set()
