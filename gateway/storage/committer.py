"""The writing side of the database: one connection, one thread, one commit for a whole group of batches."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from gateway.domain.errors import Conflict, InvalidInput, VoltbridgeError
from gateway.ports import Batch
from gateway.storage.engines import Database, create_file, require_durable, unavailable, writer_engine
from gateway.storage.instance_lock import FileLock, take_advisory_lock
from gateway.storage.migrate import migrate
from gateway.storage.transaction import Breathe, Head, PreparedBatch, prepare, read_head, write

ResultT = TypeVar("ResultT")
Outcome = Exception | None
"""None: the batch is durable; otherwise why nothing of it was written."""


class GaveWay(Exception):
    """A group was rolled back so that somebody more urgent goes first; it is to be written again."""


def pass_on() -> None:
    """Go on writing whoever waits."""


Prepared = PreparedBatch | Exception
"""A batch as rows, or why it cannot be kept."""

_WRONG_CONTENT = (VoltbridgeError, ValueError, TypeError, AttributeError, OverflowError)
"""What wrongly typed content of one batch can raise while it is encoded."""


class Committer:
    """The writing connection and the head of the audit chain; used by one thread only."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._engine = writer_engine(database)
        self._lock = None if database.lock_file is None else FileLock(database.lock_file)
        self._connection: Connection | None = None
        self._head: Head | None = None

    def start(self) -> None:
        """Take the database for this process and bring its schema up to date.

        Raises:
            PreconditionFailed: Another process has it, it is of a newer version, or it cannot promise durability.
            StorageUnavailable: It cannot be reached or written.
        """
        if self._database.file is not None:
            create_file(self._database.file)
        if self._lock is not None:
            self._lock.take()
        try:
            migrate(self._connected())
        except DBAPIError as error:
            raise unavailable(error) from error

    def stop(self) -> None:
        """Close the connection and give the database up; harmless when `start` failed."""
        self._disconnect()
        self._engine.dispose()
        if self._lock is not None:
            self._lock.release()

    def commit(self, batches: Sequence[Batch | Prepared], now_us: int, breathe: Breathe = pass_on) -> list[Outcome]:
        """Write a group of batches, encoded already or not, and return one outcome per batch.

        Args:
            batches: What to write.
            now_us: Instant of writing, microseconds since 1970-01-01 UTC.
            breathe: Called now and then; may raise `GaveWay`.

        Raises:
            GaveWay: Nothing of the group was written, for somebody else's sake.
            StorageUnavailable: The commit failed: nothing of the group was written. Only when the connection to PostgreSQL
                breaks during the commit itself is that not certain; a retry with the same `request_id` then tells.
        """
        prepared = [encoded(batch) if isinstance(batch, Batch) else batch for batch in batches]

        def work(connection: Connection) -> tuple[list[Outcome], Head]:
            head = read_head(connection) if self._head is None else self._head
            outcomes: list[Outcome] = []
            for batch in prepared:
                outcome, head = _write_alone(connection, batch, head, now_us, breathe)
                outcomes.append(outcome)
            return outcomes, head

        outcomes, self._head = self.run(work)
        return outcomes

    def run(self, work: Callable[[Connection], ResultT]) -> ResultT:
        """Do some work in a transaction and return its result once it is durable.

        Raises:
            StorageUnavailable: It failed; nothing of it was written.
        """
        try:
            connection = self._connected()
            with connection.begin():
                return work(connection)
        except DBAPIError as error:
            self._disconnect()
            raise unavailable(error) from error

    def _connected(self) -> Connection:
        """Return the connection, made anew after a failure; who lost it must be granted the database again."""
        if self._connection is None:
            connection = self._engine.connect()
            try:
                require_durable(connection)
                if self._database.file is None:
                    take_advisory_lock(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection, self._head = self._connection, None, None
        if connection is not None:
            connection.invalidate()
            connection.close()


def encoded(batch: Batch) -> Prepared:
    """Return a batch as rows, or why it cannot be kept; needs no connection."""
    try:
        return prepare(batch)
    except _WRONG_CONTENT as error:
        return error


def _write_alone(
    connection: Connection, batch: Prepared, head: Head, now_us: int, breathe: Breathe
) -> tuple[Outcome, Head]:
    """Write one batch of the group so that its failure leaves the others as they are."""
    if isinstance(batch, Exception):
        return batch, head
    connection.exec_driver_sql("SAVEPOINT batch")
    outcome: Outcome = None
    try:
        head = write(connection, batch, head, now_us, breathe)
    except VoltbridgeError as error:
        outcome = error
    except IntegrityError:
        outcome = Conflict("a row of the batch was written by somebody else meanwhile")
    except DataError:
        outcome = InvalidInput("batch", "holds a value that the database cannot keep")
    if outcome is not None:
        connection.exec_driver_sql("ROLLBACK TO SAVEPOINT batch")
        if isinstance(outcome, Conflict):
            # Whoever wrote the row may have written to the audit as well.
            head = read_head(connection)
    connection.exec_driver_sql("RELEASE SAVEPOINT batch")
    return outcome, head
