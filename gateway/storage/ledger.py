"""The three tables beside the records: the audit chain, the outbox and the remembered requests."""

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Index, Row, Table, Text, column
from sqlmodel import Field, SQLModel

from gateway.domain.errors import InvalidInput
from gateway.domain.evidence import AuditEntry, ChainedEntry, canonical_json, link_hash
from gateway.ports import Batch, OutboxItem
from gateway.storage.codec import instant_of, micros
from gateway.storage.rows import Values, text


class Audit(SQLModel, table=True):
    """The audit: append-only, one hash chain. Triggers refuse UPDATE, DELETE and a row that is not the next one.

    The columns are what is hashed; `body` holds what has no column, so that nothing is kept twice and every bit counts.
    """

    seq: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    prev_hash: str
    hash: str
    tenant: str
    id: str
    at_us: int = Field(sa_type=BigInteger)
    actor: str
    action: str
    object_kind: str
    object_id: str
    request_id: str
    body: str = Field(sa_type=Text)
    """Canonical JSON of `causes` and `detail`."""

    __table_args__ = (Index("ix_audit_object", "tenant", "object_kind", "object_id", "seq"),)


class Outbox(SQLModel, table=True):
    """What must reach a peer, one row per idempotency key."""

    tenant: str = Field(primary_key=True)
    id: str = Field(primary_key=True)
    topic: str
    key: str
    due_at_us: int = Field(sa_type=BigInteger)
    expires_at_us: int | None = Field(sa_type=BigInteger)
    attempts: int = Field(sa_type=BigInteger)
    settled_at_us: int | None = Field(sa_type=BigInteger)
    note: str

    __table_args__ = (
        Index(
            "ix_outbox_due",
            "topic",
            "due_at_us",
            sqlite_where=column("settled_at_us").is_(None),
            postgresql_where=column("settled_at_us").is_(None),
        ),
        Index("ix_outbox_settled", "settled_at_us"),
    )


class Request(SQLModel, table=True):
    """Answers that a repeated request gets again, for 24 hours."""

    tenant: str = Field(primary_key=True)
    request_id: str = Field(primary_key=True)
    request_hash: str
    response: str = Field(sa_type=Text)
    written_at_us: int = Field(sa_type=BigInteger, index=True)


AUDIT: Table = SQLModel.metadata.tables["audit"]
OUTBOX: Table = SQLModel.metadata.tables["outbox"]
REQUEST: Table = SQLModel.metadata.tables["request"]


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenEntry:
    """An audit entry made ready for its place in the chain, which is known only when it is written."""

    text: str
    """Canonical JSON: what is hashed."""
    values: Values
    """Its row without its place and hashes."""


def written_entry(entry: AuditEntry) -> WrittenEntry:
    """Return the entry as it is kept and read back to the same hash: its instant in UTC, its texts plain.

    Raises:
        InvalidInput: A field is not text or not an aware instant.
    """
    at_us = micros("audit.at", entry.at)
    values: Values = {name: text(f"audit.{name}", getattr(entry, name)) for name in _ENTRY_TEXTS}
    causes = tuple(text("audit.causes", cause) for cause in entry.causes)
    detail = {text("audit.detail", key): text("audit.detail", value) for key, value in entry.detail.items()}
    plain = AuditEntry(**values, at=instant_of(at_us), causes=causes, detail=detail)
    body = canonical_json({"causes": causes, "detail": detail})
    return WrittenEntry(text=canonical_json(plain), values=values | {"at_us": at_us, "body": body})


_ENTRY_TEXTS = ("id", "tenant", "actor", "action", "object_kind", "object_id", "request_id")


def link(entry: WrittenEntry, head: tuple[int, str]) -> tuple[Values, tuple[int, str]]:
    """Return the row of an entry after the head of the chain, and the new head: sequence number and hash."""
    seq, prev_hash = head[0] + 1, head[1]
    own_hash = link_hash(entry.text, seq, prev_hash)
    return entry.values | {"seq": seq, "prev_hash": prev_hash, "hash": own_hash}, (seq, own_hash)


def chained_entry(row: Row[Any]) -> ChainedEntry:
    """Return the entry of an audit row, with the hashes as stored: `verify_chain` says whether they are right.

    Raises:
        InvalidInput: The row is damaged so that it cannot even be read; the field names its sequence number.
    """
    values = row._mapping
    try:
        body = json.loads(text("body", values["body"]))
        causes, detail = body["causes"], body["detail"]
        is_canonical = canonical_json({"causes": causes, "detail": detail}) == values["body"]
        texts = {name: text(name, values[name]) for name in (*_ENTRY_TEXTS, "prev_hash", "hash")}
        at = instant_of(values["at_us"])
    except (InvalidInput, ValueError, TypeError, KeyError, OverflowError):
        raise InvalidInput(f"audit[{values['seq']}]", "is not as it was written") from None
    if not is_canonical:
        raise InvalidInput(f"audit[{values['seq']}]", "is not as it was written")
    prev_hash, own_hash = texts.pop("prev_hash"), texts.pop("hash")
    entry = AuditEntry(**texts, at=at, causes=tuple(causes), detail=detail)
    return ChainedEntry(seq=values["seq"], prev_hash=prev_hash, hash=own_hash, entry=entry)


def outbox_values(item: OutboxItem) -> Values:
    """Return the row of an outbox item.

    Raises:
        InvalidInput: A field is not what it says.
    """
    row: Values = {
        name: text(f"outbox.{name}", getattr(item, name)) for name in ("tenant", "id", "topic", "key", "note")
    }
    for name in ("due_at", "expires_at", "settled_at"):
        instant = getattr(item, name)
        row[f"{name}_us"] = None if instant is None else micros(f"outbox.{name}", instant)
    return row | {"attempts": int(item.attempts)}


def outbox_item(row: Row[Any]) -> OutboxItem:
    """Return the outbox item of a row."""
    values = dict(row._mapping)
    for name in ("due_at", "expires_at", "settled_at"):
        microseconds = values.pop(f"{name}_us")
        values[name] = None if microseconds is None else instant_of(microseconds)
    return OutboxItem(**values)


def request_values(batch: Batch) -> Values:
    """Return the row that remembers a batch's request, without the time of writing.

    Raises:
        InvalidInput: An id, hash or response is not text, or the hash is missing.
    """
    if not batch.request_hash:
        raise InvalidInput("batch.request_hash", "must be given with a request_id")
    row: Values = {
        name: text(f"batch.{name}", getattr(batch, name)) for name in ("request_id", "request_hash", "response")
    }
    return row | {"tenant": batch.tenant}
