"""How every migration creates a table of records; frozen, because migrations that ran must mean the same for ever."""

import sqlalchemy as sa
from alembic import op

_TYPES = {"str": sa.String, "int": sa.BigInteger, "bool": sa.Boolean}


def record_table(name: str, *fields: str, compact: bool = False, expires: bool = False) -> None:
    """Create a table of records; a field is `name`, `name type` or, when it may be null, `name?`."""
    columns = [_column(field) for field in fields]
    op.create_table(
        name,
        sa.Column("tenant", sa.String(), primary_key=True),
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("written_at_us", sa.BigInteger(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary() if compact else sa.Text(), nullable=False),
        *columns,
    )
    for column in columns:
        op.create_index(f"ix_{name}_{column.name}", name, ["tenant", column.name, "at_us"])
    op.create_index(f"ix_{name}_at", name, ["tenant", "at_us", "id"])
    if expires:
        op.create_index(f"ix_{name}_expiry", name, ["at_us"])


def _column(field: str) -> "sa.Column[str]":
    name, _, type_name = field.rstrip("?").partition(" ")
    return sa.Column(name, _TYPES[type_name or "str"](), nullable=field.endswith("?"))
