"""The one writer: whoever waits is written together, each batch in a savepoint, with one commit for all.

```
 apply ──┐                     ┌ savepoint batch 1  ok        ─> its future: done
 apply ──┼─ waiting ─ group ─> │ savepoint batch 2  Conflict  ─> rolled back alone, its future: Conflict
 apply ──┘   (event loop)      └ savepoint batch 3  ok        ─> its future: done
                                 COMMIT (fsync), then the futures      (one thread, one connection)
```

A commit that fails fails the whole group: nothing of it is on disk and nobody is told otherwise. A batch of very many rows is
encoded in another thread while small ones are committed, and goes alone (see `waiting`). While it is written it looks after every
slice of rows whether a small one has come: then it is rolled back and begins anew once that is on disk, a few times at most.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from sqlalchemy import Connection

from gateway.domain.errors import StorageUnavailable
from gateway.ports import Batch, Clock
from gateway.storage.codec import micros
from gateway.storage.committer import Committer, GaveWay, Outcome, Prepared, encoded, pass_on
from gateway.storage.engines import Database
from gateway.storage.feed import Feed
from gateway.storage.waiting import Job, Waiting

MAX_WAITING = 20_000
"""Batches that may wait; beyond it writes are refused, so that a stuck disk does not fill the memory."""

ResultT = TypeVar("ResultT")


class Writer:
    """The queue in front of the `Committer`; lives on the event loop that opened it."""

    def __init__(self, database: Database, clock: Clock, feed: Feed) -> None:
        self._committer = Committer(database)
        self._clock = clock
        self._feed = feed
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="storage-writer")
        self._encoder = ThreadPoolExecutor(max_workers=1, thread_name_prefix="storage-encoder")
        self._waiting = Waiting()
        self._running: asyncio.Future[list[Outcome]] | None = None
        self._encoding: set[asyncio.Future[Prepared]] = set()
        self._is_wanted = False
        """A small batch waits for a bulk one that is being written and may give way; read by the writing thread."""
        self._is_open = False

    async def start(self) -> None:
        """Take the database; see `Committer.start` for the errors."""
        await self._in_thread(self._committer.start)
        self._is_open = True

    async def stop(self) -> None:
        """Refuse new batches, write those that wait and give the database up."""
        self._is_open = False
        try:
            while busy := [*self._encoding, *(() if self._running is None else (self._running,))]:
                await asyncio.wait(busy, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await self._in_thread(self._committer.stop)
            self._thread.shutdown()
            self._encoder.shutdown()

    async def write(self, batch: Batch) -> None:
        """Return once the batch is durable; see `Store.apply` for the errors."""
        if not self._is_open:
            raise StorageUnavailable("the store is closed")
        if len(self._waiting) >= MAX_WAITING:
            raise StorageUnavailable(f"{MAX_WAITING} batches are waiting for the disk")
        loop = asyncio.get_running_loop()
        job = Job(batch, loop.create_future())
        self._waiting.add(job)
        if job.is_bulk:
            encoding = loop.run_in_executor(self._encoder, encoded, batch)
            self._encoding.add(encoding)
            encoding.add_done_callback(partial(self._encoded, job))
        else:
            self._is_wanted = True
        self._write_next()
        await job.done

    async def run(self, work: Callable[[Connection], ResultT]) -> ResultT:
        """Do other work in a transaction of its own between two groups; see `Committer.run` for the errors."""
        if not self._is_open:
            raise StorageUnavailable("the store is closed")
        return await self._in_thread(self._committer.run, work)

    def _in_thread(self, function: "Callable[..., ResultT]", *args: object) -> "asyncio.Future[ResultT]":
        return asyncio.get_running_loop().run_in_executor(self._thread, partial(function, *args))

    def _encoded(self, job: Job, encoding: "asyncio.Future[Prepared]") -> None:
        self._encoding.discard(encoding)
        failure = encoding.exception()
        job.prepared = encoding.result() if failure is None else _group_failure(failure)
        self._write_next()

    def _write_next(self) -> None:
        if self._running is not None:
            return
        group = self._waiting.take()
        if not group:
            return
        now_us = micros("now", self._clock.now())
        batches = [job.batch if job.prepared is None else job.prepared for job in group]
        self._is_wanted = False
        breathe = self._give_way if group[0].gives_way else pass_on
        self._running = self._in_thread(self._committer.commit, batches, now_us, breathe)
        self._running.add_done_callback(partial(self._settle, group))

    def _give_way(self) -> None:
        if self._is_wanted:
            raise GaveWay

    def _settle(self, group: list[Job], written: "asyncio.Future[list[Outcome]]") -> None:
        self._running = None
        failure = written.exception()
        if isinstance(failure, GaveWay):
            self._waiting.put_back(group[0])
            self._write_next()
            return
        self._write_next()
        outcomes = written.result() if failure is None else [_group_failure(failure) for _ in group]
        for job, outcome in zip(group, outcomes, strict=True):
            if outcome is None:
                self._feed.publish(job.batch)
            _resolve(job.done, outcome)


def _group_failure(failure: BaseException) -> StorageUnavailable:
    error = StorageUnavailable(str(failure))
    error.__cause__ = failure
    return error


def _resolve(done: "asyncio.Future[None]", outcome: Outcome) -> None:
    if done.done():
        return  # the caller was cancelled; the batch is what it is
    if outcome is None:
        done.set_result(None)
    else:
        done.set_exception(outcome)
