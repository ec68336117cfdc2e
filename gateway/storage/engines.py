"""Connections that keep their promises: SQLite in WAL with a full sync at each commit, PostgreSQL with synchronous commits.

A database that cannot promise durability is refused at the start. The writer has one connection of its own; readers have
others that can neither write nor checkpoint. SQLite before 3.51.3 may corrupt its log when two connections write or checkpoint
at the same instant; here only one ever does.
"""

import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, NullPool, QueuePool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from gateway.domain.errors import InvalidInput, PreconditionFailed, StorageUnavailable

BUSY_TIMEOUT_MS = 5000
"""How long a statement waits for a lock before the caller is told that storage is unavailable."""

_SQLITE_PROMISES = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": BUSY_TIMEOUT_MS}
_POSTGRES_PROMISES = {"fsync": {"on"}, "synchronous_commit": {"on", "remote_write", "remote_apply"}}


@dataclass(frozen=True, kw_only=True, slots=True)
class Database:
    """Where the rows are."""

    url: URL
    file: Path | None
    """The SQLite file; None for PostgreSQL."""

    @property
    def lock_file(self) -> Path | None:
        """The file whose lock says who may write; None for PostgreSQL."""
        return None if self.file is None else self.file.with_name(f"{self.file.name}-lock")


def database_of(url: str) -> Database:
    """Return the database of `sqlite:///path/to/file` or `postgresql://user@host/name`.

    Raises:
        InvalidInput: It is neither, or a SQLite database in memory, which survives nothing.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise InvalidInput("storage.url", "must look like sqlite:///FILE or postgresql://USER@HOST/NAME") from None
    match parsed.get_backend_name():
        case "sqlite":
            if parsed.database is None or parsed.database in {"", ":memory:"} or parsed.query:
                raise InvalidInput("storage.url", "must name a SQLite file; memory survives nothing")
            return Database(url=parsed, file=Path(parsed.database).absolute())
        case "postgresql":
            return Database(url=parsed.set(drivername="postgresql+psycopg"), file=None)
        case _:
            raise InvalidInput("storage.url", "must be sqlite or postgresql")


def create_file(file: Path) -> None:
    """Create the SQLite file and its folder, readable by nobody else, unless they are there.

    Raises:
        StorageUnavailable: The place cannot be written.
    """
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise StorageUnavailable(f"{file} cannot be written: {error.strerror}") from error


def writer_engine(database: Database) -> Engine:
    """Return the engine of the one writing connection; every transaction takes the write lock when it begins."""
    if database.file is None:
        return _postgres(database, read_only=False, connections=0)
    engine = _sqlite(database.file, mode="rw", connections=0)

    @event.listens_for(engine, "begin")
    def begin_immediate(connection: Connection) -> None:
        # Reading first and writing later in a deferred transaction fails at once, whatever the busy timeout.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def reader_engine(database: Database, connections: int) -> Engine:
    """Return the engine of the readers' connections, which cannot write."""
    if database.file is None:
        return _postgres(database, read_only=True, connections=connections)
    return _sqlite(database.file, mode="ro", connections=connections)


def require_durable(connection: Connection) -> None:
    """Check on the connection itself that what it commits is on disk.

    Raises:
        PreconditionFailed: A setting differs; it is named.
    """
    is_sqlite = connection.dialect.name == "sqlite"
    for name, promised in (_SQLITE_PROMISES if is_sqlite else _POSTGRES_PROMISES).items():
        actual = connection.exec_driver_sql(f"PRAGMA {name}" if is_sqlite else f"SHOW {name}").scalar_one()
        if actual not in (promised if isinstance(promised, set) else {promised}):
            raise PreconditionFailed(f"the database has {name} = {actual}, so what it commits may be lost")
    connection.rollback()


def unavailable(error: DBAPIError) -> StorageUnavailable:
    """Return the error that callers see for a database that fails; without statement and values, which may be secret."""
    return StorageUnavailable(f"{type(error.orig).__name__}: {str(error.orig).strip().partition(chr(10))[0]}")


def _sqlite(file: Path, *, mode: str, connections: int) -> Engine:
    # Never create here: a file that vanished under us must be an error, not a fresh empty database.
    address = f"{file.as_uri()}?mode={mode}"

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False)
        for name in ("busy_timeout", "foreign_keys", "synchronous"):
            connection.execute(f"PRAGMA {name} = {_SQLITE_PROMISES[name]}")
        if mode == "rw":
            connection.execute("PRAGMA journal_mode = WAL")
        # Damaged text is found where it is decoded, with the row named, instead of failing the whole query.
        connection.text_factory = _decode_text
        return connection

    return create_engine("sqlite://", creator=connect, hide_parameters=True, **_pool(connections))


def _decode_text(raw: bytes) -> str:
    return raw.decode(errors="surrogateescape")


def _postgres(database: Database, *, read_only: bool, connections: int) -> Engine:
    options = {
        "connect_timeout": BUSY_TIMEOUT_MS // 1000,
        "application_name": "voltbridge",
        "options": f"-c lock_timeout={BUSY_TIMEOUT_MS} -c default_transaction_read_only={'on' if read_only else 'off'}",
    }
    try:
        return create_engine(database.url, connect_args=options, hide_parameters=True, **_pool(connections))
    except ModuleNotFoundError:
        raise InvalidInput("storage.url", "PostgreSQL needs voltbridge[postgres] to be installed") from None


def _pool(connections: int) -> dict[str, object]:
    if connections == 0:
        return {"poolclass": NullPool}
    return {"poolclass": QueuePool, "pool_size": connections, "max_overflow": 0, "pool_pre_ping": True}
