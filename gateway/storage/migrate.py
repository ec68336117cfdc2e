"""Bring a database to the schema of this version: all of it or nothing, never back.

`python -m gateway.storage.migrate "what changed"` writes a new migration from the difference between tables and migrations.
"""

import sys
import tempfile
import threading
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from gateway.domain.errors import PreconditionFailed
from gateway.storage.engines import create_file, database_of, writer_engine

MIGRATIONS = Path(__file__).parent / "migrations"

_alembic = threading.Lock()
"""Alembic keeps the migration under way in module globals."""


def migrate(connection: Connection) -> None:
    """Apply the migrations that the database lacks, in one transaction.

    Raises:
        PreconditionFailed: A newer version of the program has migrated the database already.
    """
    if is_current(connection):
        return
    with _alembic, connection.begin():
        command.upgrade(_config(connection), "head")


def is_current(connection: Connection) -> bool:
    """Tell whether the database has the schema of this version.

    Raises:
        PreconditionFailed: A newer version of the program has migrated the database already.
    """
    scripts = ScriptDirectory.from_config(_config(connection))
    known = {script.revision for script in scripts.walk_revisions()}
    found = set(MigrationContext.configure(connection).get_current_heads())
    connection.rollback()
    if not found <= known:
        newer = ", ".join(sorted(found - known))
        raise PreconditionFailed(
            f"the database has schema {newer}, which this version does not know: use the newer program"
        )
    return found == set(scripts.get_heads())


def write_migration(message: str) -> Path:
    """Write the migration that leads from the migrations so far to the tables of now, and return its file."""
    with tempfile.TemporaryDirectory() as folder:
        database = database_of(f"sqlite:///{folder}/reference.sqlite")
        create_file(Path(folder, "reference.sqlite"))
        engine = writer_engine(database)
        with engine.connect() as connection:
            migrate(connection)
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
