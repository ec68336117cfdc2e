"""What readers ask: each function takes a connection that cannot write and returns domain objects."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TypeVar

from sqlalchemy import ColumnElement, Connection, bindparam, or_, select, union

from gateway.domain.errors import InvalidInput
from gateway.domain.evidence import ChainedEntry
from gateway.domain.identity import Account
from gateway.domain.topology import Node
from gateway.ports import AtLeast, NotBefore, OutboxItem, Stored
from gateway.storage import codec
from gateway.storage.ledger import AUDIT, OUTBOX, chained_entry, outbox_item
from gateway.storage.rows import TableSpec, text
from gateway.storage.tables import spec_of
from gateway.storage.transaction import many, one_of

RecordT = TypeVar("RecordT")
WhereValue = str | int | Sequence[str] | NotBefore | AtLeast


def get(connection: Connection, kind: type[RecordT], tenant: str, record_id: str) -> Stored[RecordT] | None:
    """Return a record; see `Store.get`."""
    table = spec_of(kind).table
    query = select(table.c.version, table.c.written_at_us, table.c.body).where(
        table.c.tenant == text("tenant", tenant), table.c.id == text("id", record_id)
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else _stored(kind, *row)


def find(
    connection: Connection,
    kind: type[RecordT],
    tenant: str,
    conditions: Sequence[ColumnElement[bool]],
    *,
    newest_first: bool,
    limit: int,
) -> list[Stored[RecordT]]:
    """Return the records of a tenant that meet all conditions, in the order of their time column, then id."""
    table = spec_of(kind).table
    order = (table.c.at_us.desc(), table.c.id.desc()) if newest_first else (table.c.at_us, table.c.id)
    query = (
        select(table.c.version, table.c.written_at_us, table.c.body)
        .where(table.c.tenant == text("tenant", tenant), *conditions)
        .order_by(*order)
        .limit(limit)
    )
    return [_stored(kind, *row) for row in connection.execute(query)]


def conditions(
    dialect: str,
    kind: type,
    where: Mapping[str, WhereValue],
    since: datetime | None,
    until: datetime | None,
) -> list[ColumnElement[bool]]:
    """Return the conditions of `Store.find`.

    Raises:
        InvalidInput: `where` names no indexed column of the kind or a value does not have its type; or a time is naive.
    """
    spec = spec_of(kind)
    found = [_condition(dialect, spec, name, value) for name, value in where.items()]
    if since is not None:
        found.append(spec.table.c.at_us >= codec.micros("since", since))
    if until is not None:
        found.append(spec.table.c.at_us < codec.micros("until", until))
    return found


def tenants(connection: Connection) -> list[str]:
    """Return the tenants that have an account or a node, in order."""
    query = union(*(select(spec_of(kind).table.c.tenant) for kind in (Account, Node)))
    return sorted(connection.execute(query).scalars())


def due_outbox(connection: Connection, topic: str, now: datetime, limit: int) -> list[OutboxItem]:
    """Return unsettled items that are due; see `Store.due_outbox`."""
    query = (
        select(OUTBOX)
        .where(
            OUTBOX.c.topic == topic, OUTBOX.c.settled_at_us.is_(None), OUTBOX.c.due_at_us <= codec.micros("now", now)
        )
        .order_by(OUTBOX.c.due_at_us, OUTBOX.c.tenant, OUTBOX.c.id)
        .limit(limit)
    )
    return [outbox_item(row) for row in connection.execute(query)]


def audit_entries(connection: Connection, first_seq: int, limit: int) -> list[ChainedEntry]:
    """Return a run of the chain; see `Store.audit_entries`."""
    query = select(AUDIT).where(AUDIT.c.seq >= first_seq).order_by(AUDIT.c.seq).limit(limit)
    return [chained_entry(row) for row in connection.execute(query)]


def audit_of(connection: Connection, tenant: str, kind: str, record_id: str) -> list[ChainedEntry]:
    """Return the entries about one object; see `Store.audit_of`."""
    query = (
        select(AUDIT)
        .where(
            AUDIT.c.tenant == text("tenant", tenant),
            AUDIT.c.object_kind == text("kind", kind),
            AUDIT.c.object_id == text("id", record_id),
        )
        .order_by(AUDIT.c.seq)
    )
    return [chained_entry(row) for row in connection.execute(query)]


def _condition(dialect: str, spec: TableSpec, name: str, value: WhereValue) -> ColumnElement[bool]:
    python_type = spec.columns.get(name)
    if python_type is None:
        raise InvalidInput(f"where.{name}", f"is not an indexed column of {spec.kind.__name__}")
    column = spec.table.c[name]
    field = f"where.{name}"
    if isinstance(value, NotBefore):
        if python_type is not int:
            raise InvalidInput(field, f"must be {python_type.__name__}")
        return or_(column.is_(None), column >= codec.micros(field, value.at))
    if isinstance(value, AtLeast):
        if python_type is not int:
            raise InvalidInput(field, f"must be {python_type.__name__}")
        return column >= value.number
    if isinstance(value, int):
        if not issubclass(python_type, int):
            raise InvalidInput(field, "must be text")
        return column == python_type(value)
    if python_type is not str:
        raise InvalidInput(field, f"must be {python_type.__name__}")
    if isinstance(value, str):
        return column == text(field, value)
    return one_of(dialect, column, bindparam(None, many(dialect, [text(field, item) for item in value])))


def _stored(kind: type[RecordT], version: int, written_at_us: int, body: str | bytes) -> Stored[RecordT]:
    text_body = codec.unpack(body) if isinstance(body, bytes) else body
    return Stored(record=codec.decode(kind, text_body), version=version, written_at=codec.instant_of(written_at_us))
