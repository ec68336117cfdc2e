"""A store in memory with the contract of `gateway.ports.Store`, and faults on order.

Time columns and indexed fields are those of `gateway.storage`; a contract test runs both implementations.
"""

import asyncio
import operator
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from gateway.domain.errors import Conflict, RequestReused, StorageUnavailable
from gateway.domain.evidence import GENESIS_HASH, ChainedEntry, chain
from gateway.ports import AtLeast, Batch, Change, NotBefore, OutboxItem, Put, RecordT, Stored

TIME_FIELDS = {
    "Award": "received_at",
    "Bid": "drafted_at",
    "CarbonSeries": "grid.start",
    "CsmsCommand": "sent_at",
    "DispatchBatch": "issued_at",
    "DispatchOutcome": "at",
    "EventPerformance": "found_at",
    "ExchangeRate": "begins_at",
    "GridEvent": "active.start",
    "DelaySeed": "drawn_at",
    "ExecutionProof": "received_at",
    "Limit": "interval.start",
    "Limitation": "since",
    "MarketDayStatus": "checked_at",
    "MarketPoll": "asked_at",
    "MeteredPeriod": "start",
    "Nomination": "created_at",
    "Order": "created_at",
    "OcpiRegistration": "registered_at",
    "OscpMessage": "created_at",
    "OscpRegister": "until",
    "OscpRequest": "at",
    "OscpSegment": "at",
    "PlanRun": "made_at",
    "PriceSeries": "grid.start",
    "RawSignal": "received_at",
    "ReportRequest": "start",
    "Residual": "start",
    "Schedule": "start",
    "SeenNonce": "seen_at",
    "Session": "arrival",
    "Settlement": "settled_at",
    "SourceBan": "banned_at",
    "SteeringOrder": "received_at",
    "SystemSeries": "grid.start",
    "VenRegistration": "registered_at",
}


class MemoryStore:
    """Rows in dictionaries; `is_down` makes every write fail, `hang` makes it wait, `applied` counts batches."""

    def __init__(self, clock: Any = None) -> None:
        self._clock = clock
        self._rows: dict[tuple[type, str], dict[str, Stored[Any]]] = {}
        self._requests: dict[tuple[str, str], tuple[str, str]] = {}
        self._outbox: dict[tuple[str, str], OutboxItem] = {}
        self._audit: list[ChainedEntry] = []
        self._listeners: list[tuple[Collection[str] | None, asyncio.Queue[Change]]] = []
        self.is_down = False
        self.hang: asyncio.Event | None = None
        self.applied: list[Batch] = []

    def _now(self) -> datetime:
        return self._clock.now() if self._clock is not None else datetime(2000, 1, 1, tzinfo=UTC)

    async def apply(self, batch: Batch) -> None:
        if self.hang is not None:
            await self.hang.wait()
        if self.is_down:
            raise StorageUnavailable("the disk is full")
        self._check(batch)
        for put in batch.puts:
            self._put(batch.tenant, put)
        for entry in batch.audit:
            head = self._audit[-1].hash if self._audit else GENESIS_HASH
            self._audit.append(chain(entry, len(self._audit) + 1, head))
        for item in batch.outbox:
            self._outbox[item.tenant, item.id] = item
        if batch.request_id:
            self._requests[batch.tenant, batch.request_id] = (batch.request_hash, batch.response)
        self.applied.append(batch)
        for put in batch.puts:
            change = Change(tenant=batch.tenant, kind=type(put.record).__name__, id=put.record.id)
            for kinds, queue in self._listeners:
                if kinds is None or change.kind in kinds:
                    queue.put_nowait(change)

    def _check(self, batch: Batch) -> None:
        for put in batch.puts:
            assert getattr(put.record, "tenant", batch.tenant) == batch.tenant, "a row of another tenant"
            row = self._rows.get((type(put.record), batch.tenant), {}).get(put.record.id)
            version = 0 if row is None else row.version
            if put.expected_version is not None and put.expected_version != version:
                raise Conflict(f"{type(put.record).__name__} {put.record.id} has version {version}")
        if batch.request_id:
            known = self._requests.get((batch.tenant, batch.request_id))
            if known is not None and known[0] != batch.request_hash:
                raise RequestReused(batch.request_id)

    def _put(self, tenant: str, put: Put) -> None:
        rows = self._rows.setdefault((type(put.record), tenant), {})
        old = rows.get(put.record.id)
        version = 1 if old is None else old.version + 1
        rows[put.record.id] = Stored(record=put.record, version=version, written_at=self._now())

    async def get(self, kind: type[RecordT], tenant: str, record_id: str) -> Stored[RecordT] | None:
        return self._rows.get((kind, tenant), {}).get(record_id)

    async def find(
        self,
        kind: type[RecordT],
        tenant: str,
        where: Mapping[str, str | int | Sequence[str] | NotBefore | AtLeast] | None = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        newest_first: bool = False,
        limit: int = 10_000,
    ) -> list[Stored[RecordT]]:
        def at(row: Stored[Any]) -> datetime:
            path = TIME_FIELDS.get(kind.__name__)
            return row.written_at if path is None else operator.attrgetter(path)(row.record)

        rows = [
            row
            for row in self._rows.get((kind, tenant), {}).values()
            if all(_matches(getattr(row.record, name), wanted) for name, wanted in (where or {}).items())
            and (since is None or at(row) >= since)
            and (until is None or at(row) < until)
        ]
        rows.sort(key=lambda row: (at(row), row.record.id), reverse=newest_first)
        return rows[:limit]

    async def replay(self, tenant: str, request_id: str, request_hash: str) -> str | None:
        known = self._requests.get((tenant, request_id))
        if known is None:
            return None
        if known[0] != request_hash:
            raise RequestReused(request_id)
        return known[1]

    async def due_outbox(self, topic: str, now: datetime, limit: int = 100) -> list[OutboxItem]:
        due = [i for i in self._outbox.values() if i.topic == topic and i.settled_at is None and i.due_at <= now]
        return sorted(due, key=lambda item: (item.due_at, item.id))[:limit]

    async def audit_entries(self, first_seq: int = 1, limit: int = 10_000) -> list[ChainedEntry]:
        return self._audit[first_seq - 1 : first_seq - 1 + limit]

    async def audit_of(self, tenant: str, kind: str, record_id: str) -> list[ChainedEntry]:
        return [
            c
            for c in self._audit
            if (c.entry.tenant, c.entry.object_kind, c.entry.object_id) == (tenant, kind, record_id)
        ]

    @asynccontextmanager
    async def changes(self, kinds: Collection[str] | None = None) -> AsyncIterator[AsyncIterator[Change]]:
        queue: asyncio.Queue[Change] = asyncio.Queue()
        self._listeners.append((kinds, queue))
        try:
            yield _Changes(queue)
        finally:
            self._listeners.remove((kinds, queue))

    # What tests ask beyond the port.

    async def seed(self, tenant: str, *records: Any) -> None:
        """Write records at once, past any scripted fault."""
        down, self.is_down = self.is_down, False
        await self.apply(Batch(tenant=tenant, puts=tuple(Put(record=record) for record in records)))
        self.is_down = down

    def all(self, kind: type[RecordT], tenant: str) -> list[RecordT]:
        """Return the records of a kind in the order first written."""
        return [row.record for row in self._rows.get((kind, tenant), {}).values()]

    def tamper(self, seq: int, **changes: Any) -> None:
        """Change an audit entry behind the chain's back."""
        chained = self._audit[seq - 1]
        self._audit[seq - 1] = replace(chained, entry=replace(chained.entry, **changes))


class _Changes:
    """Wake-ups of one reader, who may stop waiting and come back."""

    def __init__(self, queue: "asyncio.Queue[Change]") -> None:
        self._queue = queue

    def __aiter__(self) -> AsyncIterator[Change]:
        return self

    async def __anext__(self) -> Change:
        return await self._queue.get()


def _matches(value: Any, wanted: str | int | Sequence[str] | NotBefore | AtLeast) -> bool:
    if isinstance(wanted, NotBefore):
        return value is None or bool(value >= wanted.at)
    if isinstance(wanted, AtLeast):
        return bool(value >= wanted.number)
    plain = value.value if isinstance(value, Enum) else value
    if isinstance(wanted, str | int):
        return bool(plain == wanted)
    return plain in wanted
