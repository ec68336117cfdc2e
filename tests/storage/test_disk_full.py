"""A full disk refuses writes, keeps what it has, and is forgotten once there is room again."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.errors import StorageUnavailable
from gateway.domain.evidence import verify_chain
from gateway.domain.signals import RawSignal
from gateway.ports import Batch, Put
from gateway.storage.store import SqlStore
from tests.storage.conftest import HandClock
from tests.storage.records import TENANT, entry, raw_signal


def batch(number: int) -> Batch:
    noise = os.urandom(20_000)
    return Batch(tenant=TENANT, puts=(Put(record=raw_signal(f"{number:03}", body=noise)),), audit=(entry(str(number)),))


async def fill(store: SqlStore, first: int = 0) -> int:
    """Write until the disk is full and return the number of the first batch that was refused."""
    number = first
    with pytest.raises(StorageUnavailable, match="full"):  # noqa: PT012 - which of the writes fails is the question
        while number < 500:
            await store.apply(batch(number))
            number += 1
    return number


async def check(store: SqlStore, count: int) -> None:
    assert [found.record.id for found in await store.find(RawSignal, TENANT)] == [
        f"{number:03}" for number in range(count)
    ]
    entries = await store.audit_entries()
    assert verify_chain(entries) == len(entries) == count
    problems = await store._readers.ask(
        lambda connection: connection.exec_driver_sql("PRAGMA integrity_check").scalar()
    )
    assert problems == "ok"


def limit_pages(store: SqlStore, pages: int) -> Any:
    assert store._writer is not None
    return store._writer.run(lambda connection: connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}").scalar())


async def test_a_full_database_recovers_without_a_restart(sqlite_store: SqlStore) -> None:
    used = await sqlite_store._readers.ask(
        lambda connection: connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    )
    await limit_pages(sqlite_store, used + 100)
    written = await fill(sqlite_store)
    assert written > 0
    await check(sqlite_store, written)
    # The failed connection was replaced, and with it the limit.
    await sqlite_store.apply(batch(written))
    await check(sqlite_store, written + 1)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("NO DISK-FULL TEST: there is no mount program")
    if done.returncode:
        pytest.skip(f"NO DISK-FULL TEST: a small tmpfs cannot be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


async def test_a_full_disk_recovers_without_a_restart(small_disk: Path, clock: HandClock) -> None:
    ballast = small_disk / "ballast"
    async with SqlStore.open(f"sqlite:///{small_disk}/db", clock) as store:
        await store.apply(batch(0))
        ballast.write_bytes(b"x" * 1_000_000)
        written = await fill(store, 1)
        with pytest.raises(StorageUnavailable):
            await store.apply(batch(written))
        await check(store, written)
        ballast.unlink()
        await store.apply(batch(written))
        await check(store, written + 1)
    async with SqlStore.open(f"sqlite:///{small_disk}/db", clock) as store:
        await check(store, written + 1)
