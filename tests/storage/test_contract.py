"""What every implementation of the `Store` port promises, on SQLite and on PostgreSQL."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest

from gateway.domain.dispatch import DispatchBatch
from gateway.domain.errors import Conflict, InvalidInput, RequestReused, StorageUnavailable
from gateway.domain.evidence import canonical_json, verify_chain
from gateway.domain.limits import Limit
from gateway.domain.sessions import Session, SessionState
from gateway.domain.signals import GridEvent
from gateway.domain.timegrid import Interval
from gateway.ports import AtLeast, Batch, Change, NotBefore, Put, Store
from gateway.storage.rows import RECORDS
from gateway.storage.store import SqlStore
from tests.storage.conftest import HandClock
from tests.storage.records import EXAMPLES, T0, TENANT, bid, dispatch, entry, item, limit, prices, session


def put(*records: Any, expected_version: int | None = None) -> Batch:
    return Batch(tenant=TENANT, puts=tuple(Put(record=one, expected_version=expected_version) for one in records))


async def ids(store: Store, where: Any = None, **options: Any) -> list[str]:
    return [found.record.id for found in await store.find(Session, TENANT, where, **options)]


def test_there_is_an_example_of_every_kind() -> None:
    assert {type(example) for example in EXAMPLES} == set(RECORDS)


async def test_every_kind_comes_back_exactly(store: SqlStore, clock: HandClock) -> None:
    await store.apply(put(*EXAMPLES))
    for example in EXAMPLES:
        found = await store.get(type(example), TENANT, example.id)
        assert found is not None
        assert found.record == example
        assert canonical_json(found.record) == canonical_json(example)
        assert (found.version, found.written_at) == (1, clock.now())
        assert await store.find(type(example), TENANT) == [found]


async def test_every_indexed_column_finds_its_row(store: SqlStore) -> None:
    await store.apply(put(*EXAMPLES))
    for example in EXAMPLES:
        for column in RECORDS[type(example)].columns:
            value = getattr(example, column)
            if column == "over_at":
                continue  # a time, see below
            if value is not None:
                assert [found.record for found in await store.find(type(example), TENANT, {column: value})] == [example]
            other = not value if isinstance(value, bool) else -1 if isinstance(value, int) else "another"
            assert await store.find(type(example), TENANT, {column: other}) == []


async def test_a_time_is_found_from_an_instant_on_or_where_there_is_none(store: SqlStore) -> None:
    ends = {"open": None, "early": T0, "late": T0 + timedelta(hours=2)}
    limits = [
        limit(name, interval=Interval(start=T0 - timedelta(hours=1), end=end), withdrawn_at=None)
        for name, end in ends.items()
    ]
    gone = limit("gone", interval=Interval(start=T0, end=None), withdrawn_at=T0 + timedelta(hours=1))
    await store.apply(put(*limits, gone))

    async def found(at: datetime) -> set[str]:
        return {row.record.id for row in await store.find(Limit, TENANT, {"over_at": NotBefore(at)})}

    assert await found(T0) == {"open", "early", "late", "gone"}
    assert await found(T0 + timedelta(microseconds=1)) == {"open", "late", "gone"}
    assert await found(T0 + timedelta(hours=1, microseconds=1)) == {"open", "late"}
    assert await found(T0 + timedelta(days=9)) == {"open"}


async def test_numbers_are_found_from_one_on(store: SqlStore) -> None:
    await store.apply(put(*(dispatch(f"b-{n}", sequence=n) for n in (7, 8, 9))))
    found = await store.find(DispatchBatch, TENANT, {"sequence": AtLeast(8)})
    assert {row.record.id for row in found} == {"b-8", "b-9"}


async def test_versions_grow_by_one_and_a_wrong_one_is_refused(store: SqlStore) -> None:
    await store.apply(put(session(), expected_version=0))
    await store.apply(put(session(delivered_kwh=1.0), expected_version=1))
    await store.apply(put(session(delivered_kwh=2.0)))
    for wrong in (0, 1, 2, 4):
        with pytest.raises(Conflict, match="session-1 has version 3"):
            await store.apply(put(session(delivered_kwh=9.0), expected_version=wrong))
    with pytest.raises(Conflict, match="session-2 has version 0, not 1"):
        await store.apply(put(session("session-2"), expected_version=1))
    found = await store.get(Session, TENANT, "session-1")
    assert found is not None
    assert (found.version, found.record.delivered_kwh) == (3, 2.0)


async def test_a_record_twice_in_a_batch_is_written_twice(store: SqlStore) -> None:
    twice = (Put(record=session(), expected_version=0), Put(record=session(delivered_kwh=5.0), expected_version=1))
    await store.apply(Batch(tenant=TENANT, puts=twice))
    found = await store.get(Session, TENANT, "session-1")
    assert found is not None
    assert (found.version, found.record.delivered_kwh) == (2, 5.0)


async def test_a_refused_batch_leaves_nothing(store: SqlStore) -> None:
    await store.apply(put(bid(), expected_version=0))
    refused = Batch(
        tenant=TENANT,
        puts=(Put(record=session()), Put(record=limit()), Put(record=bid(), expected_version=0)),
        audit=(entry(),),
        outbox=(item(),),
        request_id="request-1",
        request_hash="hash",
        response="{}",
    )
    with pytest.raises(Conflict):
        await store.apply(refused)
    assert await store.find(Session, TENANT) == []
    assert await store.find(Limit, TENANT) == []
    assert await store.audit_entries() == []
    assert await store.due_outbox("order", T0) == []
    assert await store.replay(TENANT, "request-1", "hash") is None


async def test_many_records_of_a_kind_in_one_batch(store: SqlStore) -> None:
    many = [session(f"session-{number:05}") for number in range(3000)]
    await store.apply(put(*many, expected_version=0))
    await store.apply(put(*many, expected_version=1))
    assert await ids(store) == [one.id for one in many]
    with pytest.raises(Conflict):
        await store.apply(put(*many, session("session-new"), expected_version=2))


async def test_find_orders_by_time_then_id_and_bounds_are_half_open(store: SqlStore) -> None:
    hour = timedelta(hours=1)
    arrivals = {"c": T0, "b": T0, "a": T0 + hour, "d": T0 + hour - timedelta(microseconds=1)}
    await store.apply(put(*(session(name, arrival=arrival) for name, arrival in arrivals.items())))
    assert await ids(store) == ["b", "c", "d", "a"]
    assert await ids(store, newest_first=True) == ["a", "d", "c", "b"]
    assert await ids(store, newest_first=True, limit=2) == ["a", "d"]
    assert await ids(store, since=T0, until=T0 + hour) == ["b", "c", "d"]
    assert await ids(store, since=T0 + hour) == ["a"]
    assert await ids(store, until=T0) == []


async def test_where_takes_one_value_or_any_of_some(store: SqlStore) -> None:
    cars = [session("1", charger="x"), session("2", charger="y"), session("3", charger="ü'\"\\🔌")]
    await store.apply(put(*cars, session("4", charger="x", state=SessionState.ENDED)))
    assert await ids(store, {"charger": "x"}) == ["1", "4"]
    assert await ids(store, {"charger": ["y", "ü'\"\\🔌"]}) == ["2", "3"]
    assert await ids(store, {"charger": ("x", "y"), "state": SessionState.PLUGGED_IN}) == ["1", "2"]
    assert await ids(store, {"charger": []}) == []
    assert await ids(store, {"charger": [f"charger-{number}" for number in range(70_000)] + ["y"]}) == ["2"]


@pytest.mark.parametrize(
    ("kind", "where", "field"),
    [
        (Session, {"delivered_kwh": 1}, "where.delivered_kwh"),
        (Session, {"tenant": "tenant-b"}, "where.tenant"),
        (Session, {"body": "x"}, "where.body"),
        (Session, {"charger": 1}, "where.charger"),
        (Session, {"charger": [1]}, "where.charger"),
        (Session, {"charger": "x\x00"}, "where.charger"),
        (GridEvent, {"cancelled": "true"}, "where.cancelled"),
        (Session, {"charger": NotBefore(T0)}, "where.charger"),
        (Session, {"charger": AtLeast(1)}, "where.charger"),
        (Limit, {"over_at": NotBefore(T0.replace(tzinfo=None))}, "where.over_at"),
        (str, {}, "kind"),
    ],
)
async def test_where_is_checked(sqlite_store: SqlStore, kind: type, where: Any, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        await sqlite_store.find(kind, TENANT, where)
    assert caught.value.field == field


async def test_find_refuses_naive_times_and_silly_limits(sqlite_store: SqlStore) -> None:
    with pytest.raises(InvalidInput, match="since: needs a time zone"):
        await sqlite_store.find(Session, TENANT, since=T0.replace(tzinfo=None))
    with pytest.raises(InvalidInput, match="limit"):
        await sqlite_store.find(Session, TENANT, limit=0)


async def test_a_tenant_never_sees_or_moves_another(store: SqlStore) -> None:
    await store.apply(put(session()))
    other = Batch(
        tenant="tenant-b",
        puts=(Put(record=session(tenant="tenant-b", delivered_kwh=7.0), expected_version=0), Put(record=prices())),
        audit=(entry(tenant="tenant-b"),),
        outbox=(item(tenant="tenant-b", note="b"),),
        request_id="request-1",
        request_hash="b",
        response="b",
    )
    await store.apply(other)
    await store.apply(
        Batch(tenant=TENANT, audit=(entry(),), outbox=(item(),), request_id="request-1", request_hash="a", response="a")
    )
    mine = await store.get(Session, TENANT, "session-1")
    assert mine is not None
    assert mine.record == session()
    assert [found.record.tenant for found in await store.find(Session, TENANT)] == [TENANT]
    assert [found.record.tenant for found in await store.find(Session, "tenant-b", {"charger": "charger-1"})] == [
        "tenant-b"
    ]
    assert await store.find(type(prices()), TENANT) == []
    assert await store.get(type(prices()), TENANT, "prices-1") is None
    assert await store.get(Session, "tenant-c", "session-1") is None
    assert await store.replay(TENANT, "request-1", "a") == "a"
    assert await store.replay("tenant-b", "request-1", "b") == "b"
    assert [one.entry.tenant for one in await store.audit_of(TENANT, "Bid", "bid-1")] == [TENANT]
    assert [(one.tenant, one.note) for one in await store.due_outbox("order", T0)] == [(TENANT, ""), ("tenant-b", "b")]


@pytest.mark.parametrize(
    ("batch", "field"),
    [
        (Batch(tenant=TENANT, puts=(Put(record=session(tenant="tenant-b")),)), "Session.tenant"),
        (Batch(tenant=TENANT, audit=(entry(tenant="tenant-b"),)), "audit.tenant"),
        (Batch(tenant=TENANT, outbox=(item(tenant="tenant-b"),)), "outbox.tenant"),
        (Batch(tenant=""), "batch.tenant"),
        (put(T0), "kind"),
        (put(session("bad\x00id")), "Session.id"),
        (put(session("bad\ud800id")), "Session"),
        (put(session(charger=["a"])), "Session.charger"),
        (put(limit(known_at="today")), "Limit.known_at"),
        (
            put(dispatch(issued_at=T0.replace(tzinfo=None), lease_until=T0.replace(tzinfo=None, year=2027))),
            "DispatchBatch.issued_at",
        ),
        (Batch(tenant=TENANT, audit=(entry(at=T0.replace(tzinfo=None)),)), "audit.at"),
        (Batch(tenant=TENANT, audit=(entry(detail={"kw": 3}),)), "audit.detail"),
        (Batch(tenant=TENANT, audit=(entry(actor="\ud800"),)), "audit.actor"),
        (Batch(tenant=TENANT, outbox=(item(note=None),)), "outbox.note"),
        (Batch(tenant=TENANT, request_id="request-1"), "batch.request_hash"),
    ],
)
async def test_what_cannot_be_kept_is_refused_by_name(sqlite_store: SqlStore, batch: Batch, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        await sqlite_store.apply(batch)
    assert caught.value.field == field


async def test_a_request_is_answered_again_for_24_hours(store: SqlStore, clock: HandClock) -> None:
    def request(request_hash: str, response: str) -> Batch:
        return Batch(tenant=TENANT, request_id="request-1", request_hash=request_hash, response=response)

    assert await store.replay(TENANT, "request-1", "hash") is None
    await store.apply(request("hash", "first"))
    clock.instant = T0 + timedelta(hours=24) - timedelta(microseconds=1)
    assert await store.replay(TENANT, "request-1", "hash") == "first"
    with pytest.raises(RequestReused):
        await store.replay(TENANT, "request-1", "other")
    with pytest.raises(RequestReused):
        await store.apply(request("other", "second"))
    with pytest.raises(Conflict, match="answered meanwhile"):
        await store.apply(request("hash", "second"))
    assert await store.replay(TENANT, "request-1", "hash") == "first"
    clock.instant = T0 + timedelta(hours=24)
    assert await store.replay(TENANT, "request-1", "hash") is None
    await store.apply(request("other", "second"))
    assert await store.replay(TENANT, "request-1", "other") == "second"


async def test_of_equal_requests_at_once_exactly_one_takes_effect(store: SqlStore) -> None:
    def attempt(number: int) -> Batch:
        puts = (Put(record=session(f"session-{number}"), expected_version=0),)
        return Batch(tenant=TENANT, puts=puts, request_id="request-1", request_hash="hash", response=str(number))

    results = await asyncio.gather(*(store.apply(attempt(number)) for number in range(20)), return_exceptions=True)
    winners = [number for number, result in enumerate(results) if result is None]
    assert len(winners) == 1
    assert all(isinstance(result, Conflict) for result in results if result is not None)
    assert await ids(store) == [f"session-{winners[0]}"]
    assert await store.replay(TENANT, "request-1", "hash") == str(winners[0])


async def test_outbox_gives_what_is_due_oldest_first(store: SqlStore) -> None:
    second = timedelta(seconds=1)
    later = item("c", due_at=T0 + second)
    await store.apply(
        Batch(
            tenant=TENANT,
            outbox=(
                later,
                item("b"),
                item("a"),
                item("old", due_at=T0 - second, expires_at=T0 - timedelta(microseconds=1)),
                item("done", settled_at=T0),
                item("other", topic="nomination"),
            ),
        )
    )
    assert [one.id for one in await store.due_outbox("order", T0)] == ["old", "a", "b"]
    assert [one.id for one in await store.due_outbox("order", T0 + second, limit=2)] == ["old", "a"]
    assert (await store.due_outbox("order", T0 + second))[-1] == later
    tried = item("a", attempts=3, due_at=T0 + 9 * second, note="exchange busy", expires_at=T0 + 60 * second)
    await store.apply(Batch(tenant=TENANT, outbox=(tried, item("b", settled_at=T0))))
    assert [one.id for one in await store.due_outbox("order", T0)] == ["old"]
    assert (await store.due_outbox("order", T0 + 9 * second))[-1] == tried


async def test_audit_is_one_chain_over_all_tenants_and_batches(store: SqlStore) -> None:
    await store.apply(Batch(tenant=TENANT, audit=(entry("1"), entry("2", object_id="bid-2"))))
    await store.apply(Batch(tenant="tenant-b", audit=(entry("3", tenant="tenant-b"),)))
    await store.apply(Batch(tenant=TENANT, audit=(entry("4", causes=(), detail={}),)))
    entries = await store.audit_entries()
    assert [(one.seq, one.entry.id) for one in entries] == [(1, "1"), (2, "2"), (3, "3"), (4, "4")]
    assert entries[0].entry == entry("1")
    assert verify_chain(entries) == 4
    assert verify_chain(await store.audit_entries(3, limit=1), prev_hash=entries[1].hash, first_seq=3) == 1
    assert [one.entry.id for one in await store.audit_of(TENANT, "Bid", "bid-1")] == ["1", "4"]
    assert await store.audit_of(TENANT, "Order", "bid-1") == []


async def test_the_chain_goes_on_after_a_restart(url: str, clock: HandClock) -> None:
    for number in range(3):
        async with SqlStore.open(url, clock) as store:
            await store.apply(Batch(tenant=TENANT, audit=(entry(str(number)),)))
            assert verify_chain(await store.audit_entries()) == number + 1


async def test_changes_tell_what_was_written_and_nothing_else(store: SqlStore) -> None:
    async with store.changes() as changes:
        await store.apply(put(session(), limit()))
        with pytest.raises(Conflict):
            await store.apply(put(bid(), expected_version=3))
        await store.apply(put(prices()))
        heard = [await anext(changes) for _ in range(3)]
    assert heard == [
        Change(tenant=TENANT, kind="Session", id="session-1"),
        Change(tenant=TENANT, kind="Limit", id="limit-1"),
        Change(tenant=TENANT, kind="PriceSeries", id="prices-1"),
    ]


async def test_changes_end_when_the_store_closes(url: str, clock: HandClock) -> None:
    async with SqlStore.open(url, clock) as store, asyncio.TaskGroup() as group:
        context = store.changes()
        changes = await context.__aenter__()
        await store.apply(put(session()))

        async def listen() -> list[Change]:
            return [change async for change in changes]

        heard = group.create_task(listen())
        await asyncio.sleep(0)
        store._feed.close()
    assert [change.id for change in heard.result()] == ["session-1"]


async def test_a_closed_store_refuses(url: str, clock: HandClock) -> None:
    async with SqlStore.open(url, clock) as store:
        pass
    with pytest.raises(StorageUnavailable, match="closed"):
        await store.apply(put(session()))


async def test_closing_writes_what_waits(url: str, clock: HandClock) -> None:
    async with asyncio.TaskGroup() as group, SqlStore.open(url, clock) as store:
        for number in range(50):
            group.create_task(store.apply(put(session(f"session-{number:02}"))))
        await asyncio.sleep(0)
    async with SqlStore.open(url, clock) as store:
        assert await ids(store) == [f"session-{number:02}" for number in range(50)]


async def test_tenants_are_those_with_an_account_or_a_node(store: SqlStore) -> None:
    assert await store.tenants() == []
    await store.apply(put(*EXAMPLES))
    await store.apply(Batch(tenant="tenant-b", puts=(Put(record=session(tenant="tenant-b")),)))
    assert await store.tenants() == [TENANT]


async def test_a_tool_may_read_beside_the_gateway(store: SqlStore, url: str, clock: HandClock) -> None:
    await store.apply(Batch(tenant=TENANT, audit=(entry(),)))
    async with SqlStore.open(url, clock, read_only=True) as tool:
        assert verify_chain(await tool.audit_entries()) == 1
        with pytest.raises(StorageUnavailable, match="reading only"):
            await tool.apply(put(session()))
    await store.apply(put(session()))
    assert await ids(store) == ["session-1"]
