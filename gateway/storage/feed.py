"""Wake-ups: who subscribed hears which records were written, after they are durable."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager

from gateway.ports import Batch, Change

MOST_WAITING = 10_000
"""Wake-ups that a slow reader may be behind before it loses some; the rows are in the store anyway."""


class Feed:
    """All subscribers of one store; lives on one event loop."""

    def __init__(self, most_waiting: int = MOST_WAITING) -> None:
        self._most_waiting = most_waiting
        self._readers: set[_Changes] = set()

    @asynccontextmanager
    async def subscribe(self, kinds: Collection[str] | None = None) -> AsyncIterator[AsyncIterator[Change]]:
        """Subscribe to records of some kinds, None: of all, until the context ends; the iterator ends when the store is closed."""
        reader = _Changes(kinds, self._most_waiting)
        self._readers.add(reader)
        try:
            yield reader
        finally:
            self._readers.discard(reader)

    def publish(self, batch: Batch) -> None:
        """Tell every subscriber about every record of a batch that it cares for, by kind; never waits for a slow one."""
        written: dict[str, list[str]] = {}
        for put in batch.puts:
            written.setdefault(type(put.record).__name__, []).append(put.record.id)
        for kind, ids in written.items():
            readers = [reader for reader in self._readers if reader.cares_for(kind)]
            changes = [Change(tenant=batch.tenant, kind=kind, id=name) for name in ids] if readers else []
            for reader in readers:
                reader.tell(changes)

    def close(self) -> None:
        """End all subscriptions."""
        for reader in self._readers:
            reader.end()


class _Changes:
    """The wake-ups of one subscriber. Unlike an async generator it survives a reader that stops waiting after a while."""

    def __init__(self, kinds: Collection[str] | None, most_waiting: int) -> None:
        self._kinds = None if kinds is None else frozenset(kinds)
        self._most_waiting = most_waiting
        self._waiting: deque[Change] = deque()
        self._told = asyncio.Event()
        self._is_over = False

    def cares_for(self, kind: str) -> bool:
        """Tell whether the subscriber wants to hear of a kind."""
        return self._kinds is None or kind in self._kinds

    def tell(self, changes: Sequence[Change]) -> None:
        """Keep changes for the reader, as many as it may be behind."""
        self._waiting.extend(changes[: self._most_waiting - len(self._waiting)])
        self._told.set()

    def end(self) -> None:
        """End once what waits is read."""
        self._is_over = True
        self._told.set()

    def __aiter__(self) -> AsyncIterator[Change]:
        return self

    async def __anext__(self) -> Change:
        while not self._waiting:
            if self._is_over:
                raise StopAsyncIteration
            self._told.clear()
            await self._told.wait()
        return self._waiting.popleft()
