"""Wake-ups: who subscribed hears which records were written, after they are durable."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.ports import Batch, Change

QUEUE_SIZE = 10_000
"""Wake-ups that a slow reader may be behind before it loses some; the rows are in the store anyway."""


class Feed:
    """All subscribers of one store; lives on one event loop."""

    def __init__(self, queue_size: int = QUEUE_SIZE) -> None:
        self._queue_size = queue_size
        self._queues: set[asyncio.Queue[Change | None]] = set()

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[AsyncIterator[Change]]:
        """Subscribe until the context ends; the iterator ends when the store is closed."""
        queue: asyncio.Queue[Change | None] = asyncio.Queue(self._queue_size)
        self._queues.add(queue)
        try:
            yield _Changes(queue)
        finally:
            self._queues.discard(queue)

    def publish(self, batch: Batch) -> None:
        """Tell every subscriber about every record of a batch; never waits for a slow one."""
        if not self._queues:
            return
        changes = [Change(tenant=batch.tenant, kind=type(put.record).__name__, id=put.record.id) for put in batch.puts]
        for queue in self._queues:
            for change in changes[: queue.maxsize - queue.qsize()]:
                queue.put_nowait(change)

    def close(self) -> None:
        """End all subscriptions."""
        for queue in self._queues:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(None)


class _Changes:
    """The wake-ups of one subscriber. Unlike an async generator it survives a reader that stops waiting after a while."""

    def __init__(self, queue: "asyncio.Queue[Change | None]") -> None:
        self._queue = queue

    def __aiter__(self) -> AsyncIterator[Change]:
        return self

    async def __anext__(self) -> Change:
        change = await self._queue.get()
        if change is None:
            self._queue.put_nowait(None)  # who asks again is told again
            raise StopAsyncIteration
        return change
