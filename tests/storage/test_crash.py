"""Nothing that was acknowledged is lost when the process is killed, and nothing is ever there by halves."""

import subprocess
import sys
from pathlib import Path

import pytest

from gateway.domain.evidence import verify_chain
from gateway.domain.sessions import Session
from gateway.storage.store import SqlStore
from tests.storage.conftest import HandClock
from tests.storage.crash_writer import WRITERS, batch
from tests.storage.records import T0, TENANT

ROOT = Path(__file__).parents[2]


async def test_kill_minus_nine_loses_no_acknowledged_batch(url: str, clock: HandClock) -> None:
    kills = 8 if url.startswith("sqlite") else 4
    command = [sys.executable, "-m", "tests.storage.crash_writer", url, str(kills), "20261121"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    promised = set(done.stdout.split())
    assert len(promised) > kills

    async with SqlStore.open(url, clock) as store:
        entries = await store.audit_entries(limit=100_000)
        assert verify_chain(entries) == len(entries)
        names = {one.entry.id for one in entries}
        assert promised <= names
        # At most the batches under way at each kill are there without having been promised.
        assert len(names - promised) <= kills * WRITERS
        sessions = {found.record.id for found in await store.find(Session, TENANT, limit=1_000_000)}
        assert sessions == {f"{name}:{part}" for name in names for part in range(3)}
        assert {one.id for one in await store.due_outbox("order", T0, limit=1_000_000)} == names
        for name in names:
            assert await store.replay(TENANT, name, "h") == name
        if store._readers.dialect == "sqlite":
            check = await store._readers.ask(
                lambda connection: connection.exec_driver_sql("PRAGMA integrity_check").scalar()
            )
            assert check == "ok"


async def test_what_is_acknowledged_is_whole_in_the_files(sqlite_url: str, clock: HandClock, tmp_path: Path) -> None:
    async with SqlStore.open(sqlite_url, clock) as store:
        await store.apply(batch("promised"))
        copies = tmp_path / "copy"
        copies.mkdir()
        for suffix in ("", "-wal"):
            (copies / f"voltbridge.sqlite{suffix}").write_bytes(
                Path(f"{tmp_path}/voltbridge.sqlite{suffix}").read_bytes()
            )
    async with SqlStore.open(f"sqlite:///{copies}/voltbridge.sqlite", clock) as restored:
        assert [one.entry.id for one in await restored.audit_entries()] == ["promised"]


@pytest.mark.parametrize("cut", [1, 100, 5000])
async def test_a_torn_log_falls_back_to_a_whole_commit(
    sqlite_url: str, clock: HandClock, tmp_path: Path, cut: int
) -> None:
    async with SqlStore.open(sqlite_url, clock) as store:
        for number in range(3):
            await store.apply(batch(str(number)))
        copies = tmp_path / "copy"
        copies.mkdir()
        (copies / "voltbridge.sqlite").write_bytes((tmp_path / "voltbridge.sqlite").read_bytes())
        log = (tmp_path / "voltbridge.sqlite-wal").read_bytes()
        (copies / "voltbridge.sqlite-wal").write_bytes(log[:-cut])
    async with SqlStore.open(f"sqlite:///{copies}/voltbridge.sqlite", clock) as restored:
        entries = await restored.audit_entries()
        assert verify_chain(entries) == len(entries) == 2
        assert {found.record.id for found in await restored.find(Session, TENANT)} == {
            f"{n}:{p}" for n in "01" for p in range(3)
        }
