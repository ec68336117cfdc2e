"""The `Store` port over SQLite or PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import datetime
from functools import partial
from typing import TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError
from typing_extensions import override

from gateway.domain.errors import InvalidInput, PreconditionFailed, StorageUnavailable
from gateway.domain.evidence import ChainedEntry
from gateway.ports import Batch, Change, Clock, OutboxItem, Store, Stored
from gateway.storage import queries, transaction
from gateway.storage.codec import micros
from gateway.storage.engines import Database, database_of, reader_engine, unavailable
from gateway.storage.feed import Feed
from gateway.storage.migrate import is_current
from gateway.storage.queries import WhereValue
from gateway.storage.retention import Retention, expired
from gateway.storage.writer import Writer

RecordT = TypeVar("RecordT")
ResultT = TypeVar("ResultT")


class Readers:
    """A few threads with a connection each, so that no query ever runs on the event loop."""

    def __init__(self, database: Database, threads: int) -> None:
        self._engine: Engine = reader_engine(database, threads)
        self._threads = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="storage-reader")

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self._engine.dialect.name

    async def ask(self, query: Callable[[Connection], ResultT]) -> ResultT:
        """Run a query in a thread.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._ask, query)

    async def close(self) -> None:
        """Let running queries end and close the connections."""
        await asyncio.to_thread(self._threads.shutdown)
        self._engine.dispose()

    def _ask(self, query: Callable[[Connection], ResultT]) -> ResultT:
        try:
            with self._engine.connect() as connection:
                return query(connection)
        except DBAPIError as error:
            raise unavailable(error) from error


class SqlStore(Store):
    """Everything that must survive, in SQL; implements `gateway.ports.Store`. Made by `SqlStore.open`."""

    def __init__(self, clock: Clock, readers: Readers, writer: Writer | None, feed: Feed) -> None:
        self._clock = clock
        self._readers = readers
        self._writer = writer
        self._feed = feed

    @classmethod
    @asynccontextmanager
    async def open(
        cls, url: str, clock: Clock, *, reader_threads: int = 4, read_only: bool = False
    ) -> AsyncIterator["SqlStore"]:
        """Open a database, bring its schema up to date and close it when the context ends.

        Args:
            url: `sqlite:///FILE` (the file and its folder are created) or `postgresql://USER@HOST/NAME`.
            clock: Stamps rows and forgets requests after 24 h.
            reader_threads: How many queries run at once.
            read_only: For tools beside a running gateway: takes no lock, changes nothing, and `apply` is refused.

        Raises:
            InvalidInput: The URL is not one of these.
            PreconditionFailed: Another process has the database, a newer version has migrated it, or what it commits could
                be lost.
            StorageUnavailable: It cannot be reached or written.
        """
        database = database_of(url)
        feed = Feed()
        async with AsyncExitStack() as stack:
            writer = None
            if not read_only:
                writer = Writer(database, clock, feed)
                stack.push_async_callback(writer.stop)
                await writer.start()
            readers = Readers(database, reader_threads)
            stack.push_async_callback(readers.close)
            if read_only and not await readers.ask(is_current):
                raise PreconditionFailed(
                    "the database has an older schema: start the gateway once to bring it up to date"
                )
            stack.callback(feed.close)
            yield cls(clock, readers, writer, feed)

    @override
    async def apply(self, batch: Batch) -> None:
        """Write a batch atomically and return once it is durable; see `Store.apply`.

        A batch whose request id has an answer already, with the same content, raises `Conflict`: `replay` gives the answer.
        When the caller is cancelled while it waits, the batch may still be written.

        Raises:
            Conflict: A row has another version than expected, or the request was answered meanwhile; nothing was written.
            RequestReused: The request id was used with other content.
            InvalidInput: A record is of no known kind or another tenant, or a field cannot be stored.
            StorageUnavailable: Disk full, locked or gone; nothing of this batch was written.
        """
        await self._writing().write(batch)

    @override
    async def get(self, kind: type[RecordT], tenant: str, record_id: str) -> Stored[RecordT] | None:
        """Return a record, or None when this tenant has none with the id."""
        return await self._readers.ask(partial(queries.get, kind=kind, tenant=tenant, record_id=record_id))

    @override
    async def find(
        self,
        kind: type[RecordT],
        tenant: str,
        where: Mapping[str, WhereValue] | None = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        newest_first: bool = False,
        limit: int = 10_000,
    ) -> list[Stored[RecordT]]:
        """Return records of a tenant, ordered by their time column then id; see `Store.find`."""
        if limit < 1:
            raise InvalidInput("limit", "must be at least 1")
        conditions = queries.conditions(self._readers.dialect, kind, where or {}, since, until)
        ordered = partial(queries.find, newest_first=newest_first, limit=limit)
        return await self._readers.ask(partial(ordered, kind=kind, tenant=tenant, conditions=conditions))

    @override
    async def replay(self, tenant: str, request_id: str, request_hash: str) -> str | None:
        """Return the remembered response of a request id, or None when it is new; see `Store.replay`."""
        now_us = micros("now", self._clock.now())
        return await self._readers.ask(
            lambda connection: transaction.replay(connection, tenant, request_id, request_hash, now_us)
        )

    @override
    async def due_outbox(self, topic: str, now: datetime, limit: int = 100) -> list[OutboxItem]:
        """Return unsettled items of a topic, of all tenants, with `due_at <= now`, oldest first."""
        return await self._readers.ask(partial(queries.due_outbox, topic=topic, now=now, limit=limit))

    @override
    async def audit_entries(self, first_seq: int = 1, limit: int = 10_000) -> list[ChainedEntry]:
        """Return a run of the hash chain from a sequence number on.

        Raises:
            InvalidInput: An entry is damaged so that it cannot be read; the field names its sequence number. Entries that
                can be read are returned as stored: `verify_chain` says whether they are right.
        """
        return await self._readers.ask(partial(queries.audit_entries, first_seq=first_seq, limit=limit))

    @override
    async def audit_of(self, tenant: str, kind: str, record_id: str) -> list[ChainedEntry]:
        """Return the entries about one object, in order."""
        return await self._readers.ask(partial(queries.audit_of, tenant=tenant, kind=kind, record_id=record_id))

    @override
    def changes(self, kinds: Collection[str] | None = None) -> AbstractAsyncContextManager[AsyncIterator[Change]]:
        """Subscribe to wake-ups; a slow reader loses wake-ups but never the rows behind them; see `Store.changes`."""
        return self._feed.subscribe(kinds)

    async def tenants(self) -> list[str]:
        """Return the tenants that have an account or a node, in order: for rebuilding what lives in memory at the start."""
        return await self._readers.ask(queries.tenants)

    async def prune(self, retention: Retention) -> dict[str, int]:
        """Delete what has been kept long enough, in small steps between the batches, and return the rows deleted per table.

        Raises:
            StorageUnavailable: Deleting failed; what was deleted before stays deleted.
        """
        counts: dict[str, int] = {}
        for old in expired(retention, self._clock.now()):
            counts[old.table.name] = 0
            while deleted := await self._writing().run(old.delete_chunk):
                counts[old.table.name] += deleted
        return counts

    def _writing(self) -> Writer:
        if self._writer is None:
            raise StorageUnavailable("the store is open for reading only")
        return self._writer
