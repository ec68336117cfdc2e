"""Where everything that must survive is kept."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

from gateway.domain.evidence import AuditEntry, ChainedEntry

RecordT = TypeVar("RecordT")
"""Any frozen domain dataclass with `id` and `tenant` that storage knows (or with `id` alone: tenant is then a column only)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Put:
    """One record to write.

    Attributes:
        record: A frozen domain record that storage has a table for.
        expected_version: Version the row must have now; 0 means it must not exist; None means write whatever is there.
    """

    record: Any
    expected_version: int | None = None


@dataclass(frozen=True, slots=True)
class NotBefore:
    """What an indexed time must be to be found: not before an instant, or absent."""

    at: datetime


@dataclass(frozen=True, slots=True)
class AtLeast:
    """What an indexed number must be to be found: not smaller."""

    number: int


@dataclass(frozen=True, kw_only=True, slots=True)
class OutboxItem:
    """Something that must reach a peer exactly once in effect: written with what caused it, sent after, retried until settled.

    Attributes:
        id: Idempotency key chosen before the first try.
        topic: Who picks it up, for example `order`, `nomination`, `openadr-report`.
        key: Id of the record it is about.
        due_at: Not before this instant.
        expires_at: Past it the item is dead and its owner is told; None never.
    """

    id: str
    tenant: str
    topic: str
    key: str
    due_at: datetime
    expires_at: datetime | None = None
    attempts: int = 0
    settled_at: datetime | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """What becomes true together: all of it or nothing.

    Attributes:
        tenant: Every record in it belongs to this tenant.
        puts: Records with their expected versions.
        audit: Entries appended to the hash chain in the same transaction.
        outbox: Items to be sent after it is durable (also used to update an item: the latest with an id wins).
        request_id: Idempotency key of the caller; with `request_hash` and `response`, remembered for 24 h.
        request_hash: Content hash of the request; the same id with another hash raises `RequestReused`.
        response: Canonical text that a replay of the request gets.
    """

    tenant: str
    puts: tuple[Put, ...] = ()
    audit: tuple[AuditEntry, ...] = ()
    outbox: tuple[OutboxItem, ...] = ()
    request_id: str = ""
    request_hash: str = ""
    response: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored(Generic[RecordT]):
    """A record with the version and time of its row."""

    record: RecordT
    version: int
    written_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """Wake-up: a record of this kind was written. Carries no content; whoever cares reads the store."""

    tenant: str
    kind: str
    """Class name of the record, for example `GridEvent`."""
    id: str


class Store(Protocol):
    """Where everything that must survive is. A returned `apply` is durable (fsync) on disk."""

    async def apply(self, batch: Batch) -> None:
        """Write a batch atomically and return once it is durable.

        Raises:
            Conflict: A row has another version than expected; nothing of this batch was written.
            RequestReused: The request id was used with other content.
            StorageUnavailable: Disk full, locked or gone; nothing of this batch was written.
        """
        ...

    async def get(self, kind: type[RecordT], tenant: str, record_id: str) -> "Stored[RecordT] | None":
        """Return a record, or None when this tenant has none with the id."""
        ...

    async def find(  # noqa: PLR0913  # what a query can say
        self,
        kind: type[RecordT],
        tenant: str,
        where: Mapping[str, str | int | Sequence[str] | NotBefore | AtLeast] | None = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        newest_first: bool = False,
        limit: int = 10_000,
    ) -> "list[Stored[RecordT]]":
        """Return records of a tenant, ordered by their time column then id.

        Args:
            kind: The record's class.
            tenant: Whose rows.
            where: Exact matches on indexed columns; a sequence means any of, `NotBefore` a time that is not earlier or absent,
                `AtLeast` a number that is not smaller.
            since: Time column at or after.
            until: Time column before.
            newest_first: Reverse the order.
            limit: At most so many.

        Raises:
            InvalidInput: `where` names a column that is not indexed.
        """
        ...

    async def replay(self, tenant: str, request_id: str, request_hash: str) -> str | None:
        """Return the remembered response of a request id, or None when it is new.

        Raises:
            RequestReused: The id was used with another hash.
        """
        ...

    async def due_outbox(self, topic: str, now: datetime, limit: int = 100) -> list[OutboxItem]:
        """Return unsettled items of a topic, of all tenants, with `due_at <= now`, oldest first."""
        ...

    async def audit_entries(self, first_seq: int = 1, limit: int = 10_000) -> list[ChainedEntry]:
        """Return a run of the hash chain from a sequence number on."""
        ...

    async def audit_of(self, tenant: str, kind: str, record_id: str) -> list[ChainedEntry]:
        """Return the entries about one object, in order."""
        ...

    def changes(self, kinds: Collection[str] | None = None) -> AbstractAsyncContextManager[AsyncIterator[Change]]:
        """Subscribe to wake-ups; a slow reader loses wake-ups but never the rows behind them.

        Args:
            kinds: Class names of the records that the reader cares for; None for all.
        """
        ...
