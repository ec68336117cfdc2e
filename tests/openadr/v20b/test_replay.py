"""The memory of signed messages: nothing is read twice, and it never grows beyond its rows."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import StorageUnavailable
from gateway.domain.signals import SeenNonce
from gateway.openadr.v20b.rejection import MessageRejected, Reason
from gateway.openadr.v20b.replay import SeenMarks
from gateway.openadr.v20b.signature import ReplayMark
from gateway.ports import Batch, Put, Store
from gateway.storage.store import SqlStore
from tests.fakes.clock import VirtualClock
from tests.fakes.store import MemoryStore
from tests.openadr.v20b import signing

TENANT, VTN = "demo", "vtn:test"
NOW = signing.NOW


def mark(number: int, *, seconds: float = 0.0) -> ReplayMark:
    return ReplayMark(nonce=f"n-{number}", timestamp=NOW + timedelta(seconds=seconds))


def memory(store: Store, most: int = 3, authority: str = VTN) -> SeenMarks:
    return SeenMarks(store, VirtualClock(NOW), tenant=TENANT, authority=authority, most=most)


async def is_refused(marks: SeenMarks, which: ReplayMark) -> bool:
    try:
        await marks.take(which)
    except MessageRejected as error:
        return error.why is Reason.REPLAYED
    return False


async def rows(store: Store) -> int:
    return len(await store.find(SeenNonce, TENANT, limit=100_000))


@pytest.fixture
async def sql(tmp_path: Path) -> AsyncIterator[SqlStore]:
    async with SqlStore.open(f"sqlite:///{tmp_path}/rows.sqlite", VirtualClock(NOW)) as store:
        yield store


async def test_hostile_a12_a_mark_is_taken_once_and_its_neighbours_are_other_marks() -> None:
    marks = memory(MemoryStore())
    await marks.take(mark(1))
    assert await is_refused(marks, mark(1))
    assert not await is_refused(marks, mark(2))
    assert not await is_refused(marks, mark(1, seconds=1))


async def test_hostile_a12_a_restart_forgets_nothing(sql: SqlStore) -> None:
    marks = memory(sql, most=5)
    for number in range(12):
        await marks.take(mark(number, seconds=number))
    again = memory(sql, most=5)
    assert [await is_refused(again, mark(number, seconds=number)) for number in range(12)] == [True] * 12
    assert not await is_refused(again, mark(12, seconds=12))
    assert await rows(sql) == 5


async def test_hostile_a12_vtns_do_not_share_a_memory(sql: SqlStore) -> None:
    await memory(sql).take(mark(1))
    assert not await is_refused(memory(sql, authority="vtn:other"), mark(1))
    assert await is_refused(memory(sql), mark(1))


async def test_hostile_a12_what_had_to_be_forgotten_is_refused_by_its_age() -> None:
    marks = memory(MemoryStore(), most=3)
    for number in (5, 3, 4, 6):
        await marks.take(mark(number, seconds=number))
    assert await is_refused(marks, mark(3, seconds=3))
    assert await is_refused(marks, mark(99, seconds=2.5))
    assert await is_refused(marks, mark(99, seconds=4))
    assert not await is_refused(marks, mark(99, seconds=4.5))


async def test_hostile_a12_a_clock_that_is_set_back_does_not_open_the_memory() -> None:
    marks = memory(MemoryStore(), most=3)
    for number in range(6):
        await marks.take(mark(number, seconds=3_600 * number))
    assert await is_refused(marks, mark(0))


async def test_hostile_a24_fifty_thousand_messages_leave_a_bounded_memory_that_is_pruned_in_passing() -> None:
    store = MemoryStore()
    marks = memory(store, most=2_048)
    for number in range(50_000):
        await marks.take(mark(number, seconds=number / 10))
    assert await rows(store) == 2_048
    again = memory(store, most=2_048)
    replayed = [0, 1, 25_000, 47_951, 47_952, 49_999]
    assert [await is_refused(again, mark(number, seconds=number / 10)) for number in replayed] == [True] * len(replayed)


async def test_a_mark_that_cannot_be_kept_is_not_taken() -> None:
    store = MemoryStore()
    marks = memory(store)
    store.is_down = True
    with pytest.raises(StorageUnavailable):
        await marks.take(mark(1))
    store.is_down = False
    assert not await is_refused(marks, mark(1))
    assert await is_refused(memory(store), mark(1))


async def test_rows_of_the_first_release_still_count() -> None:
    store = MemoryStore()
    old = SeenNonce(id=f"{VTN}:{mark(7).digest}", tenant=TENANT, authority=VTN, seen_at=NOW)
    await store.apply(Batch(tenant=TENANT, puts=(Put(record=old),)))
    marks = memory(store)
    assert await is_refused(marks, mark(7))
    for number in range(8, 12):
        await marks.take(mark(number, seconds=number))
    assert await rows(store) == 3


async def test_rows_that_somebody_deleted_do_not_make_two_marks_share_one() -> None:
    store = MemoryStore()
    marks = memory(store)
    await marks.take(mark(1))
    await marks.take(mark(2))
    del store._rows[SeenNonce, TENANT][f"{VTN}:0"]
    again = memory(store)
    await again.take(mark(3))
    assert [await is_refused(memory(store), mark(number)) for number in (2, 3)] == [True, True]


@given(
    most=st.integers(1, 4),
    stamps=st.lists(st.integers(0, 6), max_size=25),
    restarts=st.sets(st.integers(0, 24)),
)
async def test_nothing_is_ever_taken_twice(most: int, stamps: list[int], restarts: set[int]) -> None:
    store = MemoryStore()
    marks = memory(store, most=most)
    taken: set[tuple[int, int]] = set()
    for step, stamp in enumerate(stamps):
        if step in restarts:
            marks = memory(store, most=most)
        which = (step % 3, stamp)
        if not await is_refused(marks, mark(which[0], seconds=stamp)):
            assert which not in taken
            taken.add(which)
        assert await rows(store) <= most
