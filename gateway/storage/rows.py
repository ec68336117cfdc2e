"""What every table of records has: columns to find rows by, the whole record as `body`, and a register of all kinds."""

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, SupportsIndex, TypeVar

from sqlalchemy import BigInteger, Boolean, ColumnElement, Index, LargeBinary, Table, Text, exists
from sqlalchemy.orm import declared_attr
from sqlmodel import Field, SQLModel
from typing_extensions import override

from gateway.domain.errors import InvalidInput
from gateway.storage import codec

Values = dict[str, Any]
"""A row as the driver takes it: column name to plain value."""

ExpiryRule = Callable[[Table], ColumnElement[bool]]
"""Which rows of a table may be deleted once they are old enough."""

RowT = TypeVar("RowT", bound="Row")


class Row(SQLModel):
    """What every record table has."""

    tenant: str = Field(primary_key=True)
    id: str = Field(primary_key=True)
    version: int = Field(sa_type=BigInteger)
    """1 for the first write, then one more each time."""
    written_at_us: int = Field(sa_type=BigInteger)
    """When it was written, microseconds since 1970-01-01 UTC."""
    at_us: int = Field(sa_type=BigInteger)
    """The kind's own time, microseconds since 1970-01-01 UTC."""

    @declared_attr.directive
    @override
    def __tablename__(cls) -> str:  # noqa: N805 - SQLAlchemy hands in the class
        """Name the table after the class: `PlanRunRecord` is `plan_run_record`."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).lower()


class TextRow(Row):
    """A row whose body is readable JSON."""

    body: str = Field(sa_type=Text)


class CompactRow(Row):
    """A row whose body is zlib-compressed JSON."""

    body: bytes = Field(sa_type=LargeBinary)


@dataclass(frozen=True, kw_only=True, slots=True)
class TableSpec:
    """How a kind of record is kept.

    Attributes:
        kind: The record's class.
        table: Its table.
        at: Dotted path of its time field; None means the time of writing.
        columns: Fields that have a column of their own and an index, and the type of value each is compared with.
        expires: Which old rows may be deleted; None means never any.
    """

    kind: type
    table: Table
    at: str | None
    columns: dict[str, type]
    expires: ExpiryRule | None

    def values(self, record: object, tenant: str) -> Values:
        """Return the row of a record, without version and time of writing, which the writer knows.

        Raises:
            InvalidInput: A value cannot be stored; the field is named.
        """
        body = codec.encode(record)
        name = self.kind.__name__
        row: Values = {
            "tenant": tenant,
            "id": text(f"{name}.id", operator.attrgetter("id")(record)),
            "body": codec.pack(body) if self.is_compact else body,
        }
        if self.at is not None:
            row["at_us"] = codec.micros(f"{name}.{self.at}", operator.attrgetter(self.at)(record))
        for column, python_type in self.columns.items():
            row[column] = _plain(f"{name}.{column}", getattr(record, column), python_type)
        return row

    @property
    def is_compact(self) -> bool:
        """Whether the body is compressed."""
        return isinstance(self.table.c.body.type, LargeBinary)


RECORDS: dict[type, TableSpec] = {}
"""Every kind of record that can be stored."""


def text(field: str, value: object) -> str:
    """Return a text as both databases can keep it.

    Raises:
        InvalidInput: It is not text, or holds a NUL or half of a surrogate pair.
    """
    if not isinstance(value, str):
        raise InvalidInput(field, "must be text")
    plain: str = value.value if isinstance(value, Enum) else value
    try:
        plain.encode()
    except UnicodeEncodeError:
        raise InvalidInput(field, "must not hold half of a surrogate pair") from None
    if "\x00" in plain:
        raise InvalidInput(field, "must not hold NUL")
    return plain


def _plain(field: str, value: object, python_type: type) -> str | int | None:
    """Return a column's value without enums and numpy numbers, which drivers do not know."""
    if value is None:
        return None
    if isinstance(value, datetime):
        return codec.micros(field, value)
    if python_type is str:
        return text(field, value)
    if not isinstance(value, SupportsIndex):
        raise InvalidInput(field, f"must be {python_type.__name__}")
    return bool(value) if python_type is bool else operator.index(value)


def record(
    kind: type, *, at: str | None = None, expires: ExpiryRule | None = None
) -> Callable[[type[RowT]], type[RowT]]:
    """Register a table for a kind of record and index its columns."""

    def register(row: type[RowT]) -> type[RowT]:
        table = SQLModel.metadata.tables[str(row.__tablename__)]
        names = [column.name for column in table.c if column.name not in CompactRow.model_fields]
        for name in names:
            Index(f"ix_{table.name}_{name}", table.c.tenant, table.c[name], table.c.at_us)
        Index(f"ix_{table.name}_at", table.c.tenant, table.c.at_us, table.c.id)
        if expires is not None:
            Index(f"ix_{table.name}_expiry", table.c.at_us)
        columns = {name: _python_type(table, name) for name in names}
        RECORDS[kind] = TableSpec(kind=kind, table=table, at=at, columns=columns, expires=expires)
        return row

    return register


def _python_type(table: Table, column: str) -> type:
    match table.c[column].type:
        case Boolean():
            return bool
        case BigInteger():
            return int
        case _:
            return str


def no_longer_open(table: Table) -> ColumnElement[bool]:
    """Let rows go that are not open any more."""
    return table.c.is_open.is_(False)


def any_row(table: Table) -> ColumnElement[bool]:
    """Let every row go."""
    return table.c.at_us.is_not(None)


def has_successor(table: Table) -> ColumnElement[bool]:
    """Let commands go that have a newer one to the same platform."""
    # The newest command to a CSMS is kept for ever: its sequence number must go on growing.
    newer = table.alias("newer")
    return exists().where(newer.c.tenant == table.c.tenant, newer.c.csms == table.c.csms, newer.c.at_us > table.c.at_us)
