"""One process per database: a lock file beside a SQLite database, an advisory lock inside PostgreSQL."""

import fcntl
import os
from pathlib import Path

from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from gateway.domain.errors import PreconditionFailed

_ADVISORY_KEY = int.from_bytes(b"voltbrdg")
"""Advisory locks are per database, so one key for the product is enough."""
_PATIENCE_MS = 2000
_LOCK_NOT_AVAILABLE = "55P03"
"""PostgreSQL's SQLSTATE for a lock that was not granted in time."""


class FileLock:
    """An exclusive lock on a file, held until released or until the process ends, however it ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def take(self) -> None:
        """Take the lock at once or not at all.

        Raises:
            PreconditionFailed: Another process (or another store of this one) holds it.
        """
        file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.pread(file, 32, 0).decode(errors="replace").strip()
            os.close(file)
            raise PreconditionFailed(f"the database beside {self._path} is in use by process {owner}") from None
        os.ftruncate(file, 0)
        os.pwrite(file, str(os.getpid()).encode(), 0)
        self._file = file

    def release(self) -> None:
        """Give the lock up; harmless when it is not held. The file stays: removing it would let two processes lock two files."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def take_advisory_lock(connection: Connection) -> None:
    """Take PostgreSQL's lock for the life of the connection, so that who loses the connection loses the right to write.

    Waits a moment: the server may not have noticed yet that the process before this one has died.

    Raises:
        PreconditionFailed: Another process holds it.
    """
    try:
        with connection.begin():
            connection.execute(text(f"SET LOCAL lock_timeout = {_PATIENCE_MS}"))
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _ADVISORY_KEY})
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE:
            raise
        raise PreconditionFailed("the PostgreSQL database is in use by another gateway process") from None
