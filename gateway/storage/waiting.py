"""Who waits for the disk, and who goes next: small batches pass a bulk one, which goes alone, soon, and gives way at first.

```
 queue      BULK(limits a..)  small(x)  small(a)  small(y)
 next       small(x), small(y)             in one commit, while the bulk one is being encoded
 then       BULK                           encoded, and passed by no more than a few commits
 then       small(a)                       it names a thing that the bulk one names: order is kept
```

A thousand events of one message are a second's work; the command that carries a reduction out is one row.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field

from gateway.ports import Batch
from gateway.storage.committer import Prepared

BULK_ROWS = 200
"""A batch with more rows is encoded in a thread of its own before it has its turn, and is committed alone."""
MOST_GROUP = 512
"""Batches in one commit: bounds how long the first of them waits for the last."""
MOST_PASSES = 6
"""So often a bulk batch that is ready lets small ones go first or gives way to them while it is being written, and never more."""


@dataclass(slots=True, eq=False)
class Job:
    """A batch on its way to the disk."""

    batch: Batch
    done: "asyncio.Future[None]"
    prepared: Prepared | None = None
    """The batch as rows, or why it cannot be kept; None while it is not encoded."""
    passes: int = field(default=0, init=False)
    """How often it has let small batches go first or given way to them."""

    @property
    def gives_way(self) -> bool:
        """Whether small batches may go before it."""
        return self.is_bulk and self.passes < MOST_PASSES

    @property
    def is_bulk(self) -> bool:
        """Whether it has very many rows."""
        return len(self.batch.puts) + len(self.batch.audit) + len(self.batch.outbox) > BULK_ROWS


class Waiting:
    """The batches that wait for the disk, in the order in which they came."""

    def __init__(self) -> None:
        self._jobs: deque[Job] = deque()
        self._names: dict[Job, frozenset[str]] = {}
        """What each bulk batch that waits is about."""

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, job: Job) -> None:
        """Let a batch wait."""
        self._jobs.append(job)
        if job.is_bulk:
            self._names[job] = _names_of(job.batch)

    def put_back(self, job: Job) -> None:
        """Let a bulk batch that gave way wait again, before all others."""
        job.passes += 1
        self._jobs.appendleft(job)
        self._names[job] = _names_of(job.batch)

    def take(self) -> list[Job]:
        """Return who goes next, together; nobody when none wait, or only bulk batches that are being encoded.

        A batch never passes one that came before it and names the same record, outbox item, object or request.
        """
        if not self._names:
            return [self._jobs.popleft() for _ in range(min(len(self._jobs), MOST_GROUP))]
        first = self._jobs[0]
        is_ready = first.is_bulk and first.prepared is not None
        group = [] if is_ready and not first.gives_way else self._small()
        if is_ready and group:
            first.passes += 1
        elif is_ready:
            group = [first]
            del self._names[first]
        taken = set(group)
        self._jobs = deque(job for job in self._jobs if job not in taken)
        return group

    def _small(self) -> list[Job]:
        """Return the small batches that need not wait for anything that came before them."""
        group: list[Job] = []
        before: list[frozenset[str]] = []
        for job in self._jobs:
            names = self._names.get(job)
            if names is None:
                names = _names_of(job.batch) if before else frozenset()
                if all(names.isdisjoint(others) for others in before):
                    group.append(job)
                    names = None
            if names is not None:
                before.append(names)
            if len(group) == MOST_GROUP:
                break
        return group


def _names_of(batch: Batch) -> frozenset[str]:
    """Return the ids of everything that a batch is about, whatever its kind."""
    return frozenset(
        (
            *(put.record.id for put in batch.puts),
            *(entry.object_id for entry in batch.audit),
            *(item.id for item in batch.outbox),
            *((batch.request_id,) if batch.request_id else ()),
        )
    )
