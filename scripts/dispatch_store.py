"""A store in memory for campaigns: rows by kind, forgotten with the case; it can be told to fail."""

from __future__ import annotations

import operator
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from gateway.domain.dispatch import DispatchBatch
from gateway.domain.errors import StorageUnavailable
from gateway.domain.evidence import ChainedEntry
from gateway.ports import AtLeast, Batch, Change, NotBefore, OutboxItem, RecordT, Stored

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
TIMES = {"DispatchBatch": "issued_at", "DispatchOutcome": "at", "Limit": "interval.start", "Schedule": "start"}
"""Time field of the kinds that are asked for by time."""


class CampaignStore:
    """Rows in dictionaries; while `is_down` every write fails."""

    def __init__(self) -> None:
        self.is_down = False
        self.actions: list[str] = []
        """Actions of the audit entries so far."""
        self._rows: dict[str, dict[str, Stored[Any]]] = {}
        self._answers: dict[str, str] = {}

    async def apply(self, batch: Batch) -> None:
        """Keep the rows of a batch; see `gateway.ports.Store`."""
        if self.is_down:
            raise StorageUnavailable("told to fail")
        for put in batch.puts:
            rows = self._rows.setdefault(type(put.record).__name__, {})
            rows[put.record.id] = Stored(record=put.record, version=1, written_at=LONG_AGO)
        self.actions += [entry.action for entry in batch.audit]
        if batch.request_id:
            self._answers[batch.request_id] = batch.response

    async def get(self, kind: type[RecordT], tenant: str, record_id: str) -> Stored[RecordT] | None:
        """Return a row."""
        del tenant
        return self._rows.get(kind.__name__, {}).get(record_id)

    async def find(  # noqa: PLR0913  # as the port has it
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
        """Return rows by time and id."""
        del tenant
        time_of = operator.attrgetter(TIMES[kind.__name__]) if kind.__name__ in TIMES else lambda _record: LONG_AGO
        found = [
            row
            for row in self._rows.get(kind.__name__, {}).values()
            if all(matches(getattr(row.record, name), wanted) for name, wanted in (where or {}).items())
            and (since is None or time_of(row.record) >= since)
            and (until is None or time_of(row.record) < until)
        ]
        found.sort(key=lambda row: (time_of(row.record), row.record.id), reverse=newest_first)
        return found[:limit]

    async def replay(self, tenant: str, request_id: str, request_hash: str) -> str | None:
        """Return the answer to a request that was kept."""
        del tenant, request_hash
        return self._answers.get(request_id)

    async def due_outbox(self, topic: str, now: datetime, limit: int = 100) -> list[OutboxItem]:
        """Return nothing: no room of a partner runs."""
        del topic, now, limit
        return []

    async def audit_entries(self, first_seq: int = 1, limit: int = 10_000) -> list[ChainedEntry]:
        """Return nothing: only actions are kept."""
        del first_seq, limit
        return []

    async def audit_of(self, tenant: str, kind: str, record_id: str) -> list[ChainedEntry]:
        """Return nothing: only actions are kept."""
        del tenant, kind, record_id
        return []

    def forget(self, kind: type, before: datetime) -> None:
        """Delete old rows, as retention does: the last command to each platform is kept for ever."""
        rows = self._rows.get(kind.__name__, {})
        time_of = operator.attrgetter(TIMES[kind.__name__])
        by_number = sorted((row.record for row in rows.values() if kind is DispatchBatch), key=lambda one: one.sequence)
        last = {one.csms: one.id for one in by_number}
        old = [name for name, row in rows.items() if time_of(row.record) < before]
        for record_id in old:
            if record_id not in last.values():
                del rows[record_id]

    @asynccontextmanager
    async def changes(self, kinds: Collection[str] | None = None) -> AsyncIterator[AsyncIterator[Change]]:
        """Tell of no change: campaigns look by themselves."""
        del kinds

        async def nothing() -> AsyncIterator[Change]:
            return
            yield

        yield nothing()


def matches(value: object, wanted: str | int | Sequence[str] | NotBefore | AtLeast) -> bool:
    """Tell whether a field is what is asked for."""
    if isinstance(wanted, NotBefore):
        return not isinstance(value, datetime) or value >= wanted.at
    if isinstance(wanted, AtLeast):
        return isinstance(value, int) and value >= wanted.number
    plain = value.value if isinstance(value, Enum) else value
    return bool(plain == wanted) if isinstance(wanted, str | int) else plain in wanted
