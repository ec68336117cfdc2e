"""What one batch does to the database, inside the transaction of its group."""

import functools
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import (
    ARRAY,
    BindParameter,
    Column,
    ColumnElement,
    Connection,
    Select,
    Table,
    Text,
    any_,
    bindparam,
    cast,
    func,
    insert,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import Insert

from gateway.domain.errors import Conflict, InvalidInput, RequestReused
from gateway.domain.evidence import GENESIS_HASH
from gateway.ports import Batch
from gateway.storage.ledger import (
    AUDIT,
    OUTBOX,
    REQUEST,
    WrittenEntry,
    link,
    outbox_values,
    request_values,
    written_entry,
)
from gateway.storage.rows import TableSpec, Values, text
from gateway.storage.tables import spec_of

REQUEST_MEMORY = timedelta(hours=24)
"""How long a request id is honoured."""

SLICE_ROWS = 500
"""Rows between two looks whether somebody more urgent waits."""

Breathe = Callable[[], None]
Head = tuple[int, str]
"""Sequence number and hash of the last audit entry."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedPut:
    """A record as a row, and the version it must find."""

    expected_version: int | None
    values: Values


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedBatch:
    """A batch that has been checked and encoded, so that the transaction itself is short."""

    tenant: str
    puts: tuple[tuple[TableSpec, tuple[PreparedPut, ...]], ...]
    """By kind, in the order given."""
    audit: tuple[WrittenEntry, ...]
    outbox: tuple[Values, ...]
    request: Values | None


def prepare(batch: Batch) -> PreparedBatch:
    """Return the batch as rows.

    Raises:
        InvalidInput: A record is of no known kind, of another tenant, or holds something that cannot be stored.
    """
    tenant = text("batch.tenant", batch.tenant)
    if not tenant:
        raise InvalidInput("batch.tenant", "must not be empty")
    by_kind: dict[type, list[PreparedPut]] = {}
    for put in batch.puts:
        kind = type(put.record)
        _require_tenant(kind.__name__, tenant, getattr(put.record, "tenant", tenant))
        row = PreparedPut(expected_version=put.expected_version, values=spec_of(kind).values(put.record, tenant))
        by_kind.setdefault(kind, []).append(row)
    for name, items in (("audit", batch.audit), ("outbox", batch.outbox)):
        for item in items:
            _require_tenant(name, tenant, item.tenant)
    return PreparedBatch(
        tenant=tenant,
        puts=tuple((spec_of(kind), tuple(rows)) for kind, rows in by_kind.items()),
        audit=tuple(written_entry(entry) for entry in batch.audit),
        outbox=tuple(outbox_values(item) for item in batch.outbox),
        request=request_values(batch) if batch.request_id else None,
    )


def write(connection: Connection, batch: PreparedBatch, head: Head, now_us: int, breathe: Breathe) -> Head:
    """Write a batch and return the new head of the audit chain.

    Args:
        connection: In the transaction.
        batch: What to write.
        head: Of the audit chain as it is now.
        now_us: Instant of writing, microseconds since 1970-01-01 UTC.
        breathe: Called after every slice of rows; what it raises goes on.

    Raises:
        Conflict: A row has another version than expected, or the request was answered meanwhile.
        RequestReused: The request id was used with other content.
    """
    if batch.request is not None:
        _remember(connection, batch.request, now_us)
    for spec, puts in batch.puts:
        rows = _numbered(connection, spec, batch.tenant, puts, now_us)
        _execute(connection, upsert(spec.table, connection.dialect.name), rows, breathe)
    _execute(connection, upsert(OUTBOX, connection.dialect.name), batch.outbox, breathe)
    entries, head = _linked(batch.audit, head)
    _execute(connection, insert(AUDIT), entries, breathe)
    return head


def read_head(connection: Connection) -> Head:
    """Return the last sequence number and hash of the audit chain; `(0, GENESIS_HASH)` when it is empty."""
    row = connection.execute(select(AUDIT.c.seq, AUDIT.c.hash).order_by(AUDIT.c.seq.desc()).limit(1)).one_or_none()
    return (0, GENESIS_HASH) if row is None else (row.seq, row.hash)


def replay(connection: Connection, tenant: str, request_id: str, request_hash: str, now_us: int) -> str | None:
    """Return the response remembered for a request id; None when there is none or it is older than 24 h.

    Raises:
        RequestReused: The id was used with another hash.
    """
    query = select(REQUEST.c.request_hash, REQUEST.c.response, REQUEST.c.written_at_us).where(
        REQUEST.c.tenant == tenant, REQUEST.c.request_id == request_id
    )
    row = connection.execute(query).one_or_none()
    if row is None or row.written_at_us <= now_us - REQUEST_MEMORY // timedelta(microseconds=1):
        return None
    if row.request_hash != request_hash:
        raise RequestReused(f"request_id {request_id} was used with other content")
    response: str = row.response
    return response


def one_of(dialect: str, column: Column[Any], parameter: "BindParameter[Any]") -> ColumnElement[bool]:
    """Return the condition that a text column has one of the values of a parameter made by `many`."""
    if dialect == "postgresql":
        return column == any_(cast(parameter, ARRAY(Text)))
    return column.in_(select(func.json_each(parameter).table_valued("value").c.value))


def many(dialect: str, values: Iterable[str]) -> list[str] | str:
    """Return any number of texts as the value of one parameter: a list, or the JSON of one where there are no lists."""
    return list(values) if dialect == "postgresql" else json.dumps(list(values), ensure_ascii=False)


@functools.cache
def upsert(table: Table, dialect: str) -> Insert:
    """Return the statement that inserts a row or overwrites the one with its primary key."""
    insert_into = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement = insert_into(table)
    keys = [column.name for column in table.primary_key]
    rest = {column.name: statement.excluded[column.name] for column in table.c if column.name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=rest)


@functools.cache
def _versions(table: Table, dialect: str) -> Select[Any]:
    known = one_of(dialect, table.c.id, bindparam("ids"))
    return select(table.c.id, table.c.version).where(table.c.tenant == bindparam("tenant"), known)


def _require_tenant(what: str, tenant: str, actual: str) -> None:
    if actual != tenant:
        raise InvalidInput(f"{what}.tenant", "differs from the tenant of the batch")


def _remember(connection: Connection, request: Values, now_us: int) -> None:
    request_id = request["request_id"]
    if replay(connection, request["tenant"], request_id, request["request_hash"], now_us) is not None:
        # Another call with the same content came first. This one carries an answer of its own that must not be given.
        raise Conflict(f"request_id {request_id} was answered meanwhile; replay it")
    connection.execute(upsert(REQUEST, connection.dialect.name), request | {"written_at_us": now_us})


def _execute(connection: Connection, statement: Insert, rows: Sequence[Values], breathe: Breathe) -> None:
    for start in range(0, len(rows), SLICE_ROWS):
        connection.execute(statement, rows[start : start + SLICE_ROWS])
        breathe()


def _numbered(
    connection: Connection, spec: TableSpec, tenant: str, puts: Sequence[PreparedPut], now_us: int
) -> list[Values]:
    """Return the rows of a kind with their next versions."""
    dialect = connection.dialect.name
    known = {"tenant": tenant, "ids": many(dialect, {put.values["id"] for put in puts})}
    rows_now = connection.execute(_versions(spec.table, dialect), known)
    versions: dict[str, int] = {row.id: row.version for row in rows_now}
    rows = []
    for put in puts:
        record_id = put.values["id"]
        found = versions.get(record_id, 0)
        if put.expected_version not in {None, found}:
            raise Conflict(f"{spec.kind.__name__} {record_id} has version {found}, not {put.expected_version}")
        versions[record_id] = found + 1
        rows.append({"at_us": now_us, **put.values, "version": found + 1, "written_at_us": now_us})
    return rows


def _linked(entries: Sequence[WrittenEntry], head: Head) -> tuple[list[Values], Head]:
    """Return the rows of entries in the audit chain, and its new head."""
    rows = []
    for entry in entries:
        row, head = link(entry, head)
        rows.append(row)
    return rows, head
