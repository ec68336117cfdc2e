"""Which signed messages were read already: a bounded memory on disk, so that none is read twice, also after a restart.

```
 ----- at or below the oldest that is remembered: refused -----|----- newer: every mark is remembered ----->  time stamp
```

The memory has so many rows and no more: when all are in use, the mark with the oldest time stamp gives its row to the new one, which
must be newer. Whatever was forgotten is then no newer than the oldest mark that is remembered, so a message that old is refused:
forgetting never lets a replay in, whatever the clock does. One mark costs one row write and a step in a heap.
"""

import asyncio
import heapq
from dataclasses import dataclass, field
from datetime import datetime

from gateway.domain.signals import SeenNonce
from gateway.openadr.v20b.rejection import MessageRejected, Reason
from gateway.openadr.v20b.signature import ReplayMark
from gateway.ports import Batch, Clock, Put, Store

MOST_MARKS = 2_048
"""Rows for one VTN: half an hour of polls at one a second, a minute and a half at the most that a drained queue gives."""
_MOST_LOADED = 100_000
_LONGEST_SLOT = 9


@dataclass(order=True, frozen=True, slots=True)
class _Held:
    """A remembered mark, ordered by its time stamp."""

    stamp: datetime
    digest: str
    row: str = field(compare=False)


class SeenMarks:
    """Remembers the marks of one VTN's signed messages.

    Args:
        store: Keeps them.
        clock: When they were seen.
        tenant: Whose they are.
        authority: Our name for the VTN.
        most: Rows at most.
    """

    def __init__(self, store: Store, clock: Clock, *, tenant: str, authority: str, most: int = MOST_MARKS) -> None:
        self._store, self._clock = store, clock
        self._tenant, self._authority = tenant, authority
        self._most = most
        self._lock = asyncio.Lock()
        self._is_loaded = False
        self._heap: list[_Held] = []
        self._digests: set[str] = set()
        self._next_slot = 0

    async def take(self, mark: ReplayMark) -> None:
        """Remember a mark durably before its message is used.

        Raises:
            MessageRejected: It was taken before, or is too old to tell.
            StorageUnavailable: It could not be remembered; the message must not be used.
        """
        digest = mark.digest
        async with self._lock:
            if not self._is_loaded:
                await self._load()
            if digest in self._digests:
                raise MessageRejected(Reason.REPLAYED, "was sent before")
            oldest = self._heap[0] if len(self._heap) >= self._most else None
            if oldest is not None and mark.timestamp <= oldest.stamp:
                raise MessageRejected(Reason.REPLAYED, "is older than what is remembered")
            row = f"{self._authority}:{self._next_slot}" if oldest is None else oldest.row
            held = _Held(mark.timestamp, digest, row)
            await self._keep(held)
            self._digests.add(digest)
            if oldest is None:
                self._next_slot += 1
                heapq.heappush(self._heap, held)
            else:
                self._digests.discard(oldest.digest)
                heapq.heapreplace(self._heap, held)

    async def _keep(self, held: _Held) -> None:
        nonce = SeenNonce(
            id=held.row,
            tenant=self._tenant,
            authority=self._authority,
            seen_at=self._clock.now(),
            digest=held.digest,
            stamp=held.stamp,
        )
        await self._store.apply(Batch(tenant=self._tenant, puts=(Put(record=nonce),)))

    async def _load(self) -> None:
        found = await self._store.find(
            SeenNonce, self._tenant, {"authority": self._authority}, newest_first=True, limit=_MOST_LOADED
        )
        nonces = [stored.record for stored in found]
        self._heap = [_held(nonce) for nonce in nonces]
        heapq.heapify(self._heap)
        self._digests = {held.digest for held in self._heap}
        self._next_slot = 1 + max((_slot_of(nonce.id) for nonce in nonces), default=-1)
        self._is_loaded = True


def _held(nonce: SeenNonce) -> _Held:
    """Return a remembered mark; rows of the first release have the digest in their id and no time stamp."""
    digest = nonce.digest or nonce.id.rpartition(":")[2]
    return _Held(nonce.seen_at if nonce.stamp is None else nonce.stamp, digest, nonce.id)


def _slot_of(row: str) -> int:
    """Return the number at the end of a row's id; -1 when it has none."""
    number = row.rpartition(":")[2]
    return int(number) if number.isdecimal() and len(number) <= _LONGEST_SLOT else -1
