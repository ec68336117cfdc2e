"""The audit cannot be changed through the database, and what is changed behind its back is found and named."""

import sqlite3
from datetime import timedelta, timezone
from pathlib import Path
from typing import Any

import psycopg
import pytest

from gateway.domain.errors import InvalidInput
from gateway.domain.evidence import verify_chain
from gateway.ports import Batch
from gateway.storage import queries
from gateway.storage.engines import database_of, reader_engine
from gateway.storage.store import SqlStore
from tests.storage.conftest import HandClock
from tests.storage.postgres_server import PostgresServer
from tests.storage.records import TENANT, entry

ENTRIES = 4
FORBIDDEN = [
    "UPDATE audit SET actor = 'nobody' WHERE seq = 2",
    "DELETE FROM audit WHERE seq = 4",
    "DELETE FROM audit",
    "INSERT INTO audit SELECT 9, prev_hash, hash, tenant, id, at_us, actor, action, object_kind, object_id, request_id, body"
    " FROM audit WHERE seq = 2",
]
COLUMNS = ["prev_hash", "hash", "tenant", "id", "actor", "action", "object_kind", "object_id", "request_id", "body"]


@pytest.fixture
async def filled(url: str, clock: HandClock) -> str:
    async with SqlStore.open(url, clock) as store:
        for number in range(ENTRIES):
            await store.apply(Batch(tenant=TENANT, audit=(entry(f"audit-{number}"),)))
    return url


def _explicit(statement: str) -> str:
    names = "(seq, prev_hash, hash, tenant, id, at_us, actor, action, object_kind, object_id, request_id, body)"
    return statement.replace("INTO audit ", f"INTO audit {names} ")


@pytest.mark.parametrize(
    "statement", [*FORBIDDEN, FORBIDDEN[-1].replace("9,", "2,").replace("INSERT", "INSERT OR REPLACE")]
)
async def test_sqlite_refuses_to_change_the_audit(
    sqlite_url: str, clock: HandClock, statement: str, tmp_path: Path
) -> None:
    async with SqlStore.open(sqlite_url, clock) as store:
        await store.apply(Batch(tenant=TENANT, audit=tuple(entry(str(number)) for number in range(ENTRIES))))
    connection = sqlite3.connect(tmp_path / "voltbridge.sqlite")
    with pytest.raises(sqlite3.IntegrityError, match="the audit"):
        connection.execute(_explicit(statement))
    assert connection.execute("SELECT count(*) FROM audit").fetchone() == (ENTRIES,)
    connection.close()


@pytest.mark.postgres
@pytest.mark.parametrize("statement", [*FORBIDDEN, "TRUNCATE audit"])
async def test_postgres_refuses_to_change_the_audit(
    postgres_url: str, postgres_server: PostgresServer, clock: HandClock, statement: str
) -> None:
    async with SqlStore.open(postgres_url, clock) as store:
        await store.apply(Batch(tenant=TENANT, audit=tuple(entry(str(number)) for number in range(ENTRIES))))
        name = postgres_url.split("/")[3].partition("?")[0]
        with (
            psycopg.connect(postgres_server.conninfo(name)) as connection,
            pytest.raises(psycopg.errors.IntegrityError, match="the audit"),
        ):
            connection.execute(_explicit(statement).encode())
        assert verify_chain(await store.audit_entries()) == ENTRIES


class TamperedAudit:
    """A SQLite audit whose guards an intruder has taken away."""

    def __init__(self, file: Path) -> None:
        self.connection = sqlite3.connect(file, isolation_level=None)
        self.connection.execute("PRAGMA synchronous = OFF")
        for kind in ("update", "delete", "gap"):
            self.connection.execute(f"DROP TRIGGER audit_refuses_{kind}")
        self._engine = reader_engine(database_of(f"sqlite:///{file}"), 1)

    def read(self, expression: str) -> Any:
        """Return a value of the second entry."""
        query = f"SELECT {expression} FROM audit WHERE id = 'audit-1'"  # noqa: S608 - column names of this file
        return self.connection.execute(query).fetchone()[0]

    def write(self, column: str, expression: str, value: object) -> None:
        """Overwrite a value of the second entry."""
        change = f"UPDATE audit SET {column} = {expression} WHERE rowid = 2"  # noqa: S608 - column names of this file
        self.connection.execute(change, (value,))

    def complaint(self) -> str | None:
        """Return the field that the check names; None when it finds nothing."""
        with self._engine.connect() as connection:
            try:
                verify_chain(queries.audit_entries(connection, 1, 100))
            except InvalidInput as error:
                return error.field
        return None

    def close(self) -> None:
        self.connection.close()
        self._engine.dispose()


@pytest.fixture
async def tampered(sqlite_url: str, clock: HandClock, tmp_path: Path) -> TamperedAudit:
    async with SqlStore.open(sqlite_url, clock) as store:
        for number in range(ENTRIES):
            await store.apply(Batch(tenant=TENANT, audit=(entry(f"audit-{number}"),)))
    return TamperedAudit(tmp_path / "voltbridge.sqlite")


async def test_every_flipped_bit_of_a_text_is_found(tampered: TamperedAudit) -> None:
    flips = 0
    for column in COLUMNS:
        raw: bytes = tampered.read(f"CAST({column} AS BLOB)")
        for bit in range(len(raw) * 8):
            changed = bytearray(raw)
            changed[bit // 8] ^= 1 << bit % 8
            tampered.write(column, "CAST(? AS TEXT)", bytes(changed))
            assert tampered.complaint() == "audit[2]", f"{column} bit {bit}"
            flips += 1
        tampered.write(column, "CAST(? AS TEXT)", raw)
        assert tampered.complaint() is None
    assert flips > 2000
    tampered.close()


@pytest.mark.parametrize("column", ["seq", "at_us"])
async def test_every_flipped_bit_of_a_number_is_found(tampered: TamperedAudit, column: str) -> None:
    number: int = tampered.read(column)
    for bit in range(1, 63):  # bit 0 of sequence number 2 gives 3, which is taken
        tampered.write(column, "?", number ^ 1 << bit)
        assert tampered.complaint() == "audit[2]", f"bit {bit}"
        tampered.write(column, "?", number)
    assert tampered.complaint() is None
    tampered.close()


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("DELETE FROM audit WHERE seq = 2", "audit[2]"),
        ("DELETE FROM audit WHERE seq = 1", "audit[1]"),
        ("UPDATE audit SET id = CASE seq WHEN 2 THEN 'audit-2' WHEN 3 THEN 'audit-1' ELSE id END", "audit[2]"),
        ("UPDATE audit SET body = replace(body, ',', ', ') WHERE seq = 3", "audit[3]"),
        ("UPDATE audit SET body = '[]' WHERE seq = 3", "audit[3]"),
    ],
)
async def test_removed_moved_and_rewritten_entries_are_found(
    tampered: TamperedAudit, statement: str, named: str
) -> None:
    assert tampered.complaint() is None
    tampered.connection.execute(statement)
    assert tampered.complaint() == named
    tampered.close()


async def test_an_entry_of_any_time_zone_verifies(filled: str, clock: HandClock) -> None:
    async with SqlStore.open(filled, clock) as store:
        local = entry("local", at=entry().at.astimezone(timezone(timedelta(hours=2))))
        await store.apply(Batch(tenant=TENANT, audit=(local,)))
        entries = await store.audit_entries()
        assert verify_chain(entries) == ENTRIES + 1
        assert entries[-1].entry == local
