"""Bring a database to the schema of this version: all of it or nothing, never back.

`python -m gateway.storage.migrate "what changed"` writes a new migration from the difference between tables and migrations.
"""

import sqlite3
import sys
import tempfile
import threading
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect
from sqlalchemy.exc import DBAPIError, ProgrammingError
from sqlmodel import SQLModel

import gateway.storage.ledger
import gateway.storage.tables  # noqa: F401 - defines the tables
from gateway.domain.errors import PreconditionFailed
from gateway.storage.engines import create_file, database_of, writer_engine

MIGRATIONS = Path(__file__).parent / "migrations"

_MADE_ELSEWHERE = "the database was made by another version of the program"
_WAY_OUT = "start the version that made it, or set store.url to a backup of this version or to a new database"

_alembic = threading.Lock()
"""Alembic keeps the migration under way in module globals."""


def migrate(connection: Connection) -> None:
    """Apply the migrations that the database lacks, in one transaction.

    Raises:
        PreconditionFailed: Another version of the program has made the database, and this one cannot go on from there.
    """
    if is_current(connection):
        return
    _upgrade(connection)
    _refuse_other_tables(connection)


def is_current(connection: Connection) -> bool:
    """Tell whether the database has the schema of this version.

    Raises:
        PreconditionFailed: Another version of the program has made the database: a newer one, or one whose tables differ.
    """
    scripts = ScriptDirectory.from_config(_config(connection))
    known = {script.revision for script in scripts.walk_revisions()}
    found = set(MigrationContext.configure(connection).get_current_heads())
    connection.rollback()
    if not found <= known:
        newer = ", ".join(sorted(found - known))
        raise PreconditionFailed(
            f"{_MADE_ELSEWHERE}: it has schema {newer}, which this version does not know: {_WAY_OUT}"
        )
    if found != set(scripts.get_heads()):
        return False
    _refuse_other_tables(connection)
    return True


def _upgrade(connection: Connection) -> None:
    try:
        with _alembic, connection.begin():
            command.upgrade(_config(connection), "head")
    except DBAPIError as error:
        if not _does_not_fit(error):
            raise
        raise PreconditionFailed(
            f"{_MADE_ELSEWHERE} and cannot be brought up to date ({error.orig}): {_WAY_OUT}"
        ) from error


def _refuse_other_tables(connection: Connection) -> None:
    """Refuse a database that says it has our schema but lacks one of our columns, as one of a version between releases does."""
    found = {
        name: {one["name"] for one in columns} for (_, name), columns in inspect(connection).get_multi_columns().items()
    }
    connection.rollback()
    ours = SQLModel.metadata.sorted_tables
    missing = [
        f"{table.name}.{one.name}"
        for table in ours
        for one in table.columns
        if one.name not in found.get(table.name, ())
    ]
    if missing:
        more = f" and {len(missing) - 1} more columns" if len(missing) > 1 else ""
        raise PreconditionFailed(f"{_MADE_ELSEWHERE}: it lacks {missing[0]}{more}: {_WAY_OUT}")


def _does_not_fit(error: DBAPIError) -> bool:
    """Tell whether a statement cannot be meant for these tables, other than a database that is full, locked or gone."""
    code = getattr(error.orig, "sqlite_errorcode", None)
    return code == sqlite3.SQLITE_ERROR or isinstance(error, ProgrammingError)


def write_migration(message: str) -> Path:
    """Write the migration that leads from the migrations so far to the tables of now, and return its file."""
    with tempfile.TemporaryDirectory() as folder:
        database = database_of(f"sqlite:///{folder}/reference.sqlite")
        create_file(Path(folder, "reference.sqlite"))
        engine = writer_engine(database)
        with engine.connect() as connection:
            _upgrade(connection)
            config = _config(connection)
            number = len(list(ScriptDirectory.from_config(config).walk_revisions())) + 1
            with _alembic, connection.begin():
                script = command.revision(config, message, autogenerate=True, rev_id=f"r{number:04}")
        engine.dispose()
    if script is None or isinstance(script, list):
        raise PreconditionFailed("alembic wrote no single migration")
    return Path(script.path)


def _config(connection: Connection) -> Config:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


if __name__ == "__main__":
    sys.stdout.write(f"{write_migration(' '.join(sys.argv[1:]))}\n")
