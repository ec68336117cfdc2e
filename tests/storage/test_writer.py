"""Group commit: who shares a commit, who is told what, and what is left after a failure."""

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, Engine, event, text
from typing_extensions import override

from gateway.domain.errors import Conflict, RequestReused, StorageUnavailable
from gateway.domain.evidence import verify_chain
from gateway.domain.sessions import Session
from gateway.ports import Batch, Put
from gateway.storage import engines, waiting, writer
from gateway.storage.ledger import link, written_entry
from gateway.storage.store import SqlStore
from tests.storage.conftest import HandClock
from tests.storage.postgres_server import PostgresServer
from tests.storage.records import TENANT, entry, item, session


def batch(name: str, expected_version: int | None = 0) -> Batch:
    puts = (Put(record=session(name), expected_version=expected_version),)
    return Batch(tenant=TENANT, puts=puts, audit=(entry(name),), outbox=(item(name),))


async def apply_all(store: SqlStore, batches: list[Batch]) -> list[BaseException | None]:
    return await asyncio.gather(*(store.apply(one) for one in batches), return_exceptions=True)


async def stored_names(store: SqlStore) -> list[str]:
    sessions = [found.record.id for found in await store.find(Session, TENANT)]
    entries = await store.audit_entries()
    assert verify_chain(entries) == len(entries)
    assert sorted(one.entry.id for one in entries) == sessions
    assert sorted(one.id for one in await store.due_outbox("order", session().arrival)) == sessions
    return sessions


def writer_engine_of(store: SqlStore) -> Engine:
    assert store._writer is not None
    return store._writer._committer._engine


async def test_all_who_wait_share_one_commit(store: SqlStore) -> None:
    commits: list[Any] = []
    event.listen(writer_engine_of(store), "commit", commits.append)
    assert await apply_all(store, [batch(f"{number:02}") for number in range(60)]) == [None] * 60
    # The first finds the writer idle and goes alone; all others wait for it and go together.
    assert len(commits) == 2
    assert await stored_names(store) == [f"{number:02}" for number in range(60)]


async def test_a_group_is_bounded(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "MOST_GROUP", 10)
    commits: list[Any] = []
    event.listen(writer_engine_of(store), "commit", commits.append)
    assert await apply_all(store, [batch(f"{number:02}") for number in range(31)]) == [None] * 31
    assert len(commits) == 4


async def test_bad_batches_fail_alone_within_a_group(store: SqlStore) -> None:
    await store.apply(Batch(tenant=TENANT, request_id="request-1", request_hash="a"))
    group = [
        batch("0"),
        batch("1"),
        batch("missing", expected_version=5),
        Batch(tenant=TENANT, puts=batch("reused").puts, request_id="request-1", request_hash="b"),
        batch("2"),
        batch("bad\x00id"),
        Batch(tenant=TENANT, puts=(Put(record=session("3")), Put(record=object()))),
        batch("1"),
        batch("4"),
    ]
    results = await apply_all(store, group)
    names = [None if result is None else type(result).__name__ for result in results]
    expected = [None, None, "Conflict", "RequestReused", None, "InvalidInput", "InvalidInput", "Conflict", None]
    assert names == expected
    assert isinstance(results[3], RequestReused)
    assert await stored_names(store) == ["0", "1", "2", "4"]


async def test_batches_of_a_group_see_each_other_in_order(store: SqlStore) -> None:
    results = await apply_all(store, [batch("first"), batch("same", 0), batch("same", 1), batch("same", 1)])
    assert [type(result) for result in results] == [type(None), type(None), type(None), Conflict]
    found = await store.get(Session, TENANT, "same")
    assert found is not None
    assert found.version == 2


async def test_when_apply_returns_another_connection_sees_it(sqlite_store: SqlStore, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "voltbridge.sqlite") as other:
        for number in range(20):
            await sqlite_store.apply(batch(f"{number:02}"))
            assert other.execute("SELECT count(*) FROM session_record").fetchone() == (number + 1,)
    other.close()


async def test_too_many_waiting_batches_are_refused(sqlite_store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MAX_WAITING", 3)
    results = await apply_all(sqlite_store, [batch(str(number)) for number in range(6)])
    assert [result is None for result in results] == [True, True, True, True, False, False]
    assert isinstance(results[5], StorageUnavailable)
    assert await stored_names(sqlite_store) == ["0", "1", "2", "3"]


async def test_a_caller_who_goes_away_disturbs_nobody(sqlite_store: SqlStore) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(sqlite_store.apply(batch(str(number)))) for number in range(5)]
        await asyncio.sleep(0)
        tasks[2].cancel()
    assert [task.cancelled() for task in tasks] == [False, False, True, False, False]
    assert {"0", "1", "3", "4"} <= set(await stored_names(sqlite_store))


class FlakyConnection(sqlite3.Connection):
    """A connection whose disk fails while it commits, as often as told."""

    failures = 0

    @override
    def commit(self) -> None:
        if type(self).failures:
            type(self).failures -= 1
            raise sqlite3.OperationalError("disk I/O error")
        super().commit()


@pytest.fixture
def flaky(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FlakyConnection]]:
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **options: connect(*args, factory=FlakyConnection, **options))
    yield FlakyConnection
    FlakyConnection.failures = 0


async def test_a_failed_commit_fails_the_whole_group_and_nothing_else(
    flaky: type[FlakyConnection], sqlite_url: str, clock: HandClock
) -> None:
    async with SqlStore.open(sqlite_url, clock) as store, store.changes() as changes:
        await store.apply(batch("before"))
        flaky.failures = 2
        results = await apply_all(store, [batch(f"{number}") for number in range(10)])
        assert all(isinstance(result, StorageUnavailable) for result in results)
        assert "disk I/O error" in str(results[0])
        assert await stored_names(store) == ["before"]
        await store.apply(batch("then"))
        assert await stored_names(store) == ["before", "then"]
        assert [(await anext(changes)).id for _ in range(2)] == ["before", "then"]


async def test_a_locked_database_is_unavailable_until_it_is_free(
    sqlite_url: str, tmp_path: Path, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(engines._SQLITE_PROMISES, "busy_timeout", 20)
    async with SqlStore.open(sqlite_url, clock) as store:
        other = sqlite3.connect(tmp_path / "voltbridge.sqlite", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageUnavailable, match="locked"):
            await store.apply(batch("during"))
        assert await stored_names(store) == []
        other.execute("COMMIT")
        other.close()
        await store.apply(batch("after"))
        assert await stored_names(store) == ["after"]


async def test_nobody_writes_between_our_reading_and_writing(sqlite_store: SqlStore, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "voltbridge.sqlite", isolation_level=None, timeout=0, check_same_thread=False)

    def read_then_write(connection: Connection) -> None:
        assert connection.exec_driver_sql("SELECT count(*) FROM outbox").scalar_one() == 0
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("DELETE FROM outbox")
        connection.exec_driver_sql("DELETE FROM outbox")

    assert sqlite_store._writer is not None
    await sqlite_store._writer.run(read_then_write)
    other.execute("DELETE FROM outbox")
    other.close()


async def test_an_audit_entry_from_elsewhere_costs_one_conflict(sqlite_store: SqlStore, tmp_path: Path) -> None:
    await sqlite_store.apply(batch("1"))
    row, _ = link(written_entry(entry("elsewhere")), read_head_of(tmp_path))
    with sqlite3.connect(tmp_path / "voltbridge.sqlite") as other:
        insert = f"INSERT INTO audit ({','.join(row)}) VALUES ({','.join('?' * len(row))})"  # noqa: S608 - our own columns
        other.execute(insert, list(row.values()))
    other.close()
    with pytest.raises(Conflict, match="somebody else"):
        await sqlite_store.apply(batch("2"))
    await sqlite_store.apply(batch("2"))
    entries = await sqlite_store.audit_entries()
    assert [one.entry.id for one in entries] == ["1", "elsewhere", "2"]
    assert verify_chain(entries) == 3


def read_head_of(folder: Path) -> tuple[int, str]:
    with sqlite3.connect(folder / "voltbridge.sqlite") as connection:
        seq, head = connection.execute("SELECT seq, hash FROM audit ORDER BY seq DESC").fetchone()
    connection.close()
    return seq, head


async def test_a_vanished_file_is_an_error_not_a_fresh_database(
    flaky: type[FlakyConnection], sqlite_url: str, tmp_path: Path, clock: HandClock
) -> None:
    async with SqlStore.open(sqlite_url, clock) as store:
        for file in tmp_path.glob("voltbridge.sqlite*"):
            file.unlink()
        flaky.failures = 1
        with pytest.raises(StorageUnavailable):
            await store.apply(batch("0"))
        with pytest.raises(StorageUnavailable, match="unable to open"):
            await store.apply(batch("1"))
        assert not (tmp_path / "voltbridge.sqlite").exists()


@pytest.mark.postgres
async def test_a_broken_connection_costs_one_group(
    postgres_url: str, postgres_server: PostgresServer, clock: HandClock
) -> None:
    async with SqlStore.open(postgres_url, clock) as store:
        await store.apply(batch("before"))
        _terminate_backends(postgres_server)
        with pytest.raises(StorageUnavailable):
            await store.apply(batch("during"))
        await store.apply(batch("after"))
        assert await stored_names(store) == ["after", "before"]


@pytest.mark.postgres
async def test_who_lost_the_connection_must_be_granted_the_database_again(
    postgres_url: str, postgres_server: PostgresServer, clock: HandClock
) -> None:
    async with SqlStore.open(postgres_url, clock) as old:
        await old.apply(batch("before"))
        _terminate_backends(postgres_server)
        async with SqlStore.open(postgres_url, clock) as new:
            await new.apply(batch("new"))
            for _ in range(2):
                with pytest.raises(StorageUnavailable):
                    await old.apply(batch("old"))
            assert await stored_names(new) == ["before", "new"]
        await old.apply(batch("old"))
        assert await stored_names(old) == ["before", "new", "old"]


@pytest.mark.postgres
async def test_a_restart_of_the_server_loses_nothing_acknowledged(
    postgres_url: str, postgres_server: PostgresServer, clock: HandClock
) -> None:
    async with SqlStore.open(postgres_url, clock) as store:
        await store.apply(batch("before"))
        postgres_server.stop("immediate")
        for _ in range(2):
            with pytest.raises(StorageUnavailable):
                await store.apply(batch("during"))
        with pytest.raises(StorageUnavailable):
            await store.get(Session, TENANT, "before")
        postgres_server.start()
        await store.apply(batch("after"))
        assert await stored_names(store) == ["after", "before"]


def _terminate_backends(server: PostgresServer) -> None:
    others = "SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity WHERE application_name = 'voltbridge'"
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        connection.execute(others)


async def test_an_error_tells_neither_statement_nor_values(sqlite_store: SqlStore) -> None:
    assert sqlite_store._writer is not None
    with pytest.raises(StorageUnavailable) as caught:
        await sqlite_store._writer.run(
            lambda connection: connection.execute(text("SELECT :x FROM nowhere"), {"x": "secret"})
        )
    assert str(caught.value) == "OperationalError: no such table: nowhere"
    assert "secret" not in str(caught.value.__cause__)
