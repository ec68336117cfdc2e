"""Who goes next to the disk: small batches before bulk ones, in order where they are about the same thing, nobody waiting for ever."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection

from gateway.domain.errors import Conflict, InvalidInput, StorageUnavailable
from gateway.domain.evidence import verify_chain
from gateway.domain.limits import Limit
from gateway.ports import Batch, Put
from gateway.storage import transaction, writer
from gateway.storage.committer import Prepared, encoded
from gateway.storage.store import SqlStore
from gateway.storage.waiting import BULK_ROWS, MOST_PASSES, Job, Waiting
from tests.storage.records import TENANT, entry, limit, session


def small(name: str) -> Batch:
    return Batch(tenant=TENANT, puts=(Put(record=limit(name)),))


def bulk(prefix: str, count: int = BULK_ROWS + 1) -> Batch:
    puts = tuple(Put(record=limit(f"{prefix}{number}")) for number in range(count))
    return Batch(tenant=TENANT, puts=puts, audit=(entry(prefix),))


def job(batch: Batch, *, is_ready: bool = True) -> Job:
    made = Job(batch, asyncio.get_running_loop().create_future())
    made.prepared = Conflict("stands for rows") if is_ready and made.is_bulk else None
    return made


def queue(*jobs: Job) -> Waiting:
    made = Waiting()
    for one in jobs:
        made.add(one)
    return made


async def test_small_batches_pass_a_bulk_one_that_goes_alone() -> None:
    big, one, two = job(bulk("b")), job(small("x")), job(small("y"))
    line = queue(big, one, two)
    assert line.take() == [one, two]
    assert line.take() == [big]
    assert line.take() == []


async def test_a_bulk_batch_that_is_being_encoded_holds_up_nobody() -> None:
    big, one = job(bulk("b"), is_ready=False), job(small("x"))
    line = queue(big, one)
    assert [line.take(), line.take()] == [[one], []]
    assert len(line) == 1
    big.prepared = Conflict("stands for rows")
    assert line.take() == [big]


@pytest.mark.parametrize(
    "later",
    [
        small("b7"),
        Batch(tenant=TENANT, audit=(entry("later", object_id="b7"),)),
        Batch(tenant=TENANT, puts=(Put(record=session("b7")),)),
    ],
    ids=["same-record", "same-object", "another-kind-of-the-same-name"],
)
async def test_a_batch_about_a_thing_of_a_bulk_one_keeps_its_place(later: Batch) -> None:
    big, same, then, free = job(bulk("b")), job(later), job(small("b7")), job(small("x"))
    line = queue(big, same, then, free)
    assert line.take() == [free]
    assert line.take() == [big]
    assert line.take() == [same, then]


async def test_a_batch_behind_one_that_must_wait_waits_with_it() -> None:
    both = Batch(tenant=TENANT, puts=(Put(record=limit("b7")), Put(record=limit("x"))))
    big, between, last = job(bulk("b")), job(both), job(small("x"))
    line = queue(big, between, last)
    assert [line.take(), line.take()] == [[big], [between, last]]


async def test_a_bulk_batch_is_passed_a_few_times_and_then_goes() -> None:
    big = job(bulk("b"))
    line = queue(big)
    for number in range(MOST_PASSES):
        line.add(job(small(f"x{number}")))
        assert line.take() != [big]
    line.add(job(small("late")))
    assert line.take() == [big]


async def test_while_a_bulk_batch_is_being_encoded_it_is_not_passed_over_its_turn() -> None:
    big = job(bulk("b"), is_ready=False)
    line = queue(big)
    for number in range(2 * MOST_PASSES):
        line.add(job(small(f"x{number}")))
        assert len(line.take()) == 1
    assert big.passes == 0


async def test_bulk_batches_go_in_order_and_what_came_before_one_goes_before_it() -> None:
    before, first, second = job(small("a")), job(bulk("b")), job(bulk("c"))
    line = queue(before, first, second)
    assert [line.take(), line.take(), line.take()] == [[before], [first], [second]]


Plan = list[tuple[bool, int]]
"""Batches that come: bulk or not, and what they are about."""


@given(plan=st.lists(st.tuples(st.booleans(), st.integers(0, 3)), max_size=25), seed=st.randoms(use_true_random=False))
async def test_every_batch_goes_once_and_those_about_one_thing_in_order(plan: Plan, seed: Any) -> None:
    line, jobs, gone = Waiting(), [], []
    pending = list(plan)
    while pending or len(line):
        if pending and (seed.random() < 0.6 or not len(line)):
            is_bulk, thing = pending.pop(0)
            jobs.append(job(bulk(f"{thing}-") if is_bulk else small(f"{thing}-0"), is_ready=seed.random() < 0.5))
            line.add(jobs[-1])
        else:
            gone += line.take()
            for one in jobs:
                one.prepared = Conflict("stands for rows") if one.is_bulk else None
    assert sorted(map(id, gone)) == sorted(map(id, jobs))
    for thing in range(4):
        about = [one for one in jobs if one.batch.puts[0].record.id == f"{thing}-0"]
        assert [one for one in gone if one in about] == about


# ---------------------------------------------------------------- with a real disk


class Gate:
    """Holds the encoding of bulk batches until it is opened."""

    def __init__(self) -> None:
        self.opened = threading.Event()

    def __call__(self, batch: Batch) -> Prepared:
        assert self.opened.wait(3.0)
        return encoded(batch)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    made = Gate()
    monkeypatch.setattr(writer, "encoded", made)
    return made


async def limits_of(store: SqlStore) -> set[str]:
    return {row.record.id for row in await store.find(Limit, TENANT)}


async def test_a_small_batch_is_on_disk_while_a_bulk_one_is_still_being_encoded(store: SqlStore, gate: Gate) -> None:
    async with asyncio.TaskGroup() as tasks:
        large = tasks.create_task(store.apply(bulk("b")))
        await asyncio.sleep(0)
        await store.apply(small("x"))
        assert await limits_of(store) == {"x"}
        assert not large.done()
        gate.opened.set()
    assert len(await limits_of(store)) == BULK_ROWS + 2


async def test_a_bulk_batch_that_fails_in_the_middle_leaves_nothing_and_the_chain_whole(store: SqlStore) -> None:
    fine = bulk("b")
    conflicting = Put(record=session("changed meanwhile"), expected_version=3)
    spoilt = Batch(tenant=TENANT, puts=(*fine.puts, conflicting), audit=fine.audit)
    results = await asyncio.gather(store.apply(spoilt), store.apply(small("x")), return_exceptions=True)
    assert [type(result) for result in results] == [Conflict, type(None)]
    assert await limits_of(store) == {"x"}
    await store.apply(bulk("c"))
    entries = await store.audit_entries()
    assert [verify_chain(entries), [one.entry.id for one in entries]] == [1, ["c"]]


async def test_a_bulk_batch_with_content_that_cannot_be_kept_is_refused_alone(store: SqlStore) -> None:
    wrong = bulk("b")
    wrong = Batch(tenant=TENANT, puts=(*wrong.puts, Put(record=session("bad\x00id"))))
    results = await asyncio.gather(store.apply(wrong), store.apply(bulk("c")), return_exceptions=True)
    assert [type(result) for result in results] == [InvalidInput, type(None)]
    assert not any(name.startswith("b") for name in await limits_of(store))


async def test_a_commit_that_fails_takes_a_bulk_batch_whole(
    sqlite_store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    write: Callable[..., Any] = transaction.write
    times: list[int] = []

    def breaks_in_the_middle(connection: Connection, batch: Any, *rest: Any) -> Any:
        times.append(1)
        head = write(connection, batch, *rest)
        if len(times) == 1:
            connection.exec_driver_sql("SELECT one FROM nowhere")
        return head

    monkeypatch.setattr("gateway.storage.committer.write", breaks_in_the_middle)
    with pytest.raises(StorageUnavailable, match="no such table"):
        await sqlite_store.apply(bulk("b"))
    assert await limits_of(sqlite_store) == set()
    await sqlite_store.apply(bulk("b"))
    assert len(await limits_of(sqlite_store)) == BULK_ROWS + 1


class Slices:
    """Stops the writing thread after every slice of a bulk batch until the test lets it go on."""

    def __init__(self) -> None:
        self.written = threading.Semaphore(0)
        self.may_go_on = threading.Semaphore(0)
        self.begun = 0

    def __call__(self, connection: Connection, batch: Any, head: Any, now_us: int, breathe: Callable[[], None]) -> Any:
        is_bulk = len(batch.audit) + sum(len(puts) for _, puts in batch.puts) > BULK_ROWS
        self.begun += is_bulk

        def stop() -> None:
            self.written.release()
            assert self.may_go_on.acquire(timeout=3.0)
            breathe()

        return transaction.write(connection, batch, head, now_us, stop if is_bulk else breathe)

    async def one(self) -> None:
        """Wait until a slice is written."""
        assert await asyncio.to_thread(self.written.acquire, timeout=3.0)


@pytest.fixture
def slices(monkeypatch: pytest.MonkeyPatch) -> Slices:
    made = Slices()
    monkeypatch.setattr("gateway.storage.committer.write", made)
    monkeypatch.setattr(transaction, "SLICE_ROWS", 100)
    return made


async def test_a_small_batch_waits_for_a_slice_of_a_bulk_one_and_not_for_all_of_it(
    store: SqlStore, slices: Slices
) -> None:
    async with asyncio.TaskGroup() as tasks:
        large = tasks.create_task(store.apply(bulk("b")))
        await slices.one()
        urgent = tasks.create_task(
            store.apply(Batch(tenant=TENANT, puts=small("x").puts, audit=(entry("x", object_id="x"),)))
        )
        await asyncio.sleep(0)
        slices.may_go_on.release()
        await urgent
        await slices.one()
        assert await limits_of(store) == {"x"}
        assert not large.done()
        slices.may_go_on.release(10)
    assert [row.version for row in await store.find(Limit, TENANT)] == [1] * (BULK_ROWS + 2)
    entries = await store.audit_entries()
    assert [verify_chain(entries), [one.entry.id for one in entries]] == [2, ["x", "b"]]


async def test_a_bulk_batch_goes_whole_however_many_small_ones_come(store: SqlStore, slices: Slices) -> None:
    async with asyncio.TaskGroup() as tasks:
        large = tasks.create_task(store.apply(bulk("b")))
        number = 0
        while not large.done():
            if await asyncio.to_thread(slices.written.acquire, timeout=0.02):
                tasks.create_task(store.apply(small(f"x{number}")))
                number += 1
                await asyncio.sleep(0)
                slices.may_go_on.release()
    assert 1 < slices.begun <= MOST_PASSES + 1
    assert len(await limits_of(store)) == BULK_ROWS + 1 + number


async def test_closing_writes_a_bulk_batch_that_is_being_encoded(sqlite_url: str, clock: Any, gate: Gate) -> None:
    async with SqlStore.open(sqlite_url, clock) as store:
        large = asyncio.ensure_future(store.apply(bulk("b")))
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.05, gate.opened.set)
    await large
    async with SqlStore.open(sqlite_url, clock) as store:
        assert len(await limits_of(store)) == BULK_ROWS + 1
