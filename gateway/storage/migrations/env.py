"""What alembic runs: the migrations on the connection that `gateway.storage.migrate` hands in."""

from typing import Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlmodel import SQLModel
from sqlmodel.sql.sqltypes import AutoString

import gateway.storage.ledger
import gateway.storage.tables  # noqa: F401 - defines the tables


def render_item(kind: str, item: object, autogen: AutogenContext) -> str | Literal[False]:
    """Write SQLModel's text type as the plain SQLAlchemy type it is, so that old migrations never need SQLModel."""
    del autogen
    return "sa.String()" if kind == "type" and isinstance(item, AutoString) else False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    render_item=render_item,
    # SQLite rolls back table definitions as well, whatever alembic assumes.
    transactional_ddl=True,
)
context.run_migrations()
