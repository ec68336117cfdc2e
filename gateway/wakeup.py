"""Waiting for whichever comes first: a wake-up from the store or an instant of the clock.

A wake-up is only a hint: a slow reader loses some, so whoever is woken reads the rows, and the instant makes sure that the rows
are looked at even when no hint came.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import datetime

from gateway.ports import Change, Clock, Store


class WakeUp:
    """An alarm that the store or the clock sets off."""

    def __init__(self, clock: Clock) -> None:
        """Take the clock that instants are of."""
        self._clock = clock
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Set it off."""
        self._rung.set()

    async def wait(self, until: datetime) -> None:
        """Return at the instant, or earlier when something rang since the last return."""
        async with asyncio.TaskGroup() as group:
            alarm = group.create_task(self._clock.sleep_until(until))
            rung = group.create_task(self._rung.wait())
            await asyncio.wait({alarm, rung}, return_when=asyncio.FIRST_COMPLETED)
            alarm.cancel()
            rung.cancel()
        self._rung.clear()


@asynccontextmanager
async def woken_by(store: Store, clock: Clock, kinds: Iterable[type]) -> AsyncIterator[WakeUp]:
    """Provide an alarm that rings whenever a record of one of the kinds is written."""
    wake = WakeUp(clock)
    async with store.changes({kind.__name__ for kind in kinds}) as feed, asyncio.TaskGroup() as group:
        listener = group.create_task(_listen(feed, wake))
        try:
            yield wake
        finally:
            listener.cancel()


async def _listen(feed: AsyncIterator[Change], wake: WakeUp) -> None:
    async for _ in feed:
        wake.ring()
