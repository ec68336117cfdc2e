"""A database that cannot keep its promises, or that somebody else has, is refused at the start."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from gateway.domain.errors import InvalidInput, PreconditionFailed, StorageUnavailable
from gateway.domain.sessions import Session
from gateway.ports import Batch, Put
from gateway.storage import engines
from gateway.storage.store import SqlStore
from tests.storage.conftest import HandClock
from tests.storage.postgres_server import PostgresServer
from tests.storage.records import TENANT, session

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "sqlite:///f?mode=memory", "mysql://u@h/d", "nonsense", ""]
)
async def test_only_a_file_or_a_postgres_database_is_a_place(url: str, clock: HandClock) -> None:
    with pytest.raises(InvalidInput, match=r"storage\.url"):
        async with SqlStore.open(url, clock):
            pass


async def test_the_writer_waits_for_the_disk_at_each_commit(sqlite_store: SqlStore) -> None:
    assert sqlite_store._writer is not None

    def settings(connection: Any) -> list[Any]:
        names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        return [connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in names]

    assert await sqlite_store._writer.run(settings) == ["wal", 2, 1, 5000]


@pytest.mark.parametrize(
    "pragma",
    ["synchronous = NORMAL", "synchronous = OFF", "foreign_keys = OFF", "busy_timeout = 0", "journal_mode = DELETE"],
)
def test_a_sqlite_connection_without_its_promises_is_refused(sqlite_url: str, pragma: str) -> None:
    database = engines.database_of(sqlite_url)
    assert database.file is not None
    engines.create_file(database.file)
    engine = engines.writer_engine(database)
    with engine.connect() as connection:
        engines.require_durable(connection)
        connection.connection.cursor().execute(f"PRAGMA {pragma}")
        with pytest.raises(PreconditionFailed, match=pragma.partition(" ")[0]):
            engines.require_durable(connection)
    engine.dispose()


@pytest.mark.postgres
async def test_a_postgres_database_without_synchronous_commits_is_refused(
    postgres_url: str, postgres_server: PostgresServer, clock: HandClock
) -> None:
    name = postgres_url.split("/")[3].partition("?")[0]
    with psycopg.connect(postgres_server.conninfo(), autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = off".encode())
    with pytest.raises(PreconditionFailed, match="synchronous_commit = off"):
        async with SqlStore.open(postgres_url, clock):
            pass
    with psycopg.connect(postgres_server.conninfo(), autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} RESET synchronous_commit".encode())
    async with SqlStore.open(postgres_url, clock):
        pass


async def test_a_second_store_is_refused_while_the_first_is_open(url: str, clock: HandClock) -> None:
    async with SqlStore.open(url, clock) as first:
        with pytest.raises(PreconditionFailed, match="in use by"):
            async with SqlStore.open(url, clock):
                pass
        await first.apply(Batch(tenant=TENANT, puts=(Put(record=session()),)))
    async with SqlStore.open(url, clock) as second:
        assert len(await second.find(Session, TENANT)) == 1


async def test_a_second_process_is_refused_and_told_who_has_it(sqlite_url: str, clock: HandClock) -> None:
    program = (
        "import asyncio, sys\n"
        "from gateway.domain.errors import PreconditionFailed\n"
        "from gateway.storage.store import SqlStore\n"
        "async def main():\n"
        "    async with SqlStore.open(sys.argv[1], None): pass\n"
        "try: asyncio.run(main())\n"
        "except PreconditionFailed as error: print(error)\n"
    )
    command = [sys.executable, "-c", program, sqlite_url]
    async with SqlStore.open(sqlite_url, clock):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        assert f"is in use by process {os.getpid()}\n" in done.stdout


async def test_a_failed_start_gives_the_database_back(
    sqlite_url: str, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(engines._SQLITE_PROMISES, "journal_mode", "delete")
        with pytest.raises(PreconditionFailed, match="journal_mode = wal"):
            async with SqlStore.open(sqlite_url, clock):
                pass
    async with SqlStore.open(sqlite_url, clock):
        pass


async def test_the_file_is_readable_by_nobody_else(tmp_path: Path, clock: HandClock) -> None:
    folder = tmp_path / "var" / "voltbridge"
    async with SqlStore.open(f"sqlite:///{folder}/db", clock) as store:
        await store.apply(Batch(tenant=TENANT, puts=(Put(record=session()),)))
        files = {file.name: file.stat().st_mode & 0o777 for file in folder.iterdir()}
    assert files == {"db": 0o600, "db-wal": 0o600, "db-shm": 0o600, "db-lock": 0o600}
    assert folder.stat().st_mode & 0o777 == 0o700


async def test_a_place_that_cannot_be_written_is_unavailable(tmp_path: Path, clock: HandClock) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StorageUnavailable, match="cannot be written"):
        async with SqlStore.open(f"sqlite:///{tmp_path}/file/db", clock):
            pass


async def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path, clock: HandClock) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("These are notes, not a database. " * 100)
    with pytest.raises(StorageUnavailable, match="not a database"):
        async with SqlStore.open(f"sqlite:///{file}", clock):
            pass
    assert file.read_text().startswith("These are notes")


async def test_readers_cannot_write(url: str, store: SqlStore) -> None:
    with pytest.raises(StorageUnavailable, match=r"(?i)read-?only"):
        await store._readers.ask(lambda connection: connection.exec_driver_sql("DELETE FROM session_record"))


async def test_a_damaged_page_is_an_error_never_a_wrong_answer(
    sqlite_url: str, tmp_path: Path, clock: HandClock
) -> None:
    sessions = tuple(Put(record=session(f"session-{number:03}")) for number in range(200))
    async with SqlStore.open(sqlite_url, clock) as store:
        await store.apply(Batch(tenant=TENANT, puts=sessions))
    file = tmp_path / "voltbridge.sqlite"
    raw = bytearray(file.read_bytes())
    place = raw.index(b'{"id":"session-100"')
    raw[place + 2] = 0xFF
    file.write_bytes(raw)
    async with SqlStore.open(sqlite_url, clock) as store:
        with pytest.raises(StorageUnavailable, match="Session row cannot be read"):
            await store.find(Session, TENANT)
        assert await store.get(Session, TENANT, "session-099") is not None
