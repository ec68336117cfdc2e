"""Deleting what has been kept long enough: raw messages, nonces, dispatches, answered requests, settled outbox items."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, Table, delete, select, tuple_

from gateway.domain.errors import InvalidInput
from gateway.storage.codec import micros
from gateway.storage.ledger import OUTBOX, REQUEST
from gateway.storage.tables import spec_of
from gateway.storage.transaction import REQUEST_MEMORY

CHUNK_ROWS = 1000
"""Rows deleted in one transaction: bounds how long a batch waits behind the cleaning."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Retention:
    """How long what grows is kept. The audit, bids, money and evidence are never deleted.

    Attributes:
        records: How long per kind, by the kind's own time; only kinds that `tables.py` lets expire. The newest dispatch to
            each CSMS stays whatever its age, so that its sequence number goes on growing.
        requests: How long answers to requests are kept; at least the 24 h for which they are honoured.
        settled_outbox: How long items are kept after they were settled; unsettled items stay.
    """

    records: Mapping[type, timedelta] = field(default_factory=dict)
    requests: timedelta = REQUEST_MEMORY
    settled_outbox: timedelta = timedelta(days=30)

    def __post_init__(self) -> None:
        """Reject kinds that must be kept and times that would delete what is still needed."""
        for kind, age in self.records.items():
            if spec_of(kind).expires is None:
                raise InvalidInput("retention.records", f"{kind.__name__} is kept for ever")
            if age <= timedelta(0):
                raise InvalidInput("retention.records", f"{kind.__name__} needs a positive time")
        if self.requests < REQUEST_MEMORY:
            raise InvalidInput("retention.requests", "must be at least 24 h")
        if self.settled_outbox <= timedelta(0):
            raise InvalidInput("retention.settled_outbox", "must be positive")


@dataclass(frozen=True, kw_only=True, slots=True)
class Expired:
    """The rows of one table that may go."""

    table: Table
    condition: ColumnElement[bool]

    def delete_chunk(self, connection: Connection) -> int:
        """Delete at most `CHUNK_ROWS` rows and return how many."""
        keys = list(self.table.primary_key)
        doomed = select(*keys).where(self.condition).limit(CHUNK_ROWS)
        return connection.execute(delete(self.table).where(tuple_(*keys).in_(doomed))).rowcount


def expired(retention: Retention, now: datetime) -> list[Expired]:
    """Return what may be deleted at `now`."""
    found = []
    for kind, age in retention.records.items():
        spec = spec_of(kind)
        condition = spec.table.c.at_us < micros("now", now - age)
        if spec.expires is not None:
            found.append(Expired(table=spec.table, condition=condition & spec.expires(spec.table)))
    written, settled = REQUEST.c.written_at_us, OUTBOX.c.settled_at_us
    found.append(Expired(table=REQUEST, condition=written < micros("now", now - retention.requests)))
    found.append(Expired(table=OUTBOX, condition=settled < micros("now", now - retention.settled_outbox)))
    return found
