from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from gateway.domain.bids import Bid
from gateway.domain.dispatch import DispatchBatch, DispatchOutcome
from gateway.domain.errors import InvalidInput, StorageUnavailable
from gateway.domain.evidence import verify_chain
from gateway.domain.oscp import OscpMessage, OscpRequest, OscpSegment
from gateway.domain.programs import PendingReport
from gateway.domain.sessions import Session
from gateway.domain.signals import RawSignal, SeenNonce
from gateway.ports import Batch, Put, Stored
from gateway.storage import retention
from gateway.storage.retention import Retention
from gateway.storage.rows import RECORDS
from gateway.storage.store import SqlStore
from tests.storage.conftest import HandClock
from tests.storage.records import T0, TENANT, bid, dispatch, entry, item, nonce, outcome, raw_signal, session

DAY = timedelta(days=1)
INSTANT = timedelta(microseconds=1)


def put(*records: Any) -> Batch:
    return Batch(tenant=TENANT, puts=tuple(Put(record=record) for record in records))


async def names(store: SqlStore, kind: type) -> list[str]:
    rows: list[Stored[Any]] = await store.find(kind, TENANT)
    return [found.record.id for found in rows]


async def test_what_is_old_enough_goes_and_the_rest_stays(store: SqlStore, clock: HandClock) -> None:
    await store.apply(
        put(
            raw_signal("old", received_at=T0 - DAY - INSTANT),
            raw_signal("kept", received_at=T0 - DAY),
            nonce("old", seen_at=T0 - DAY - INSTANT),
            nonce("kept", seen_at=T0),
            outcome("old", at=T0 - 3 * DAY),
            session(arrival=T0 - 1000 * DAY),
            bid(drafted_at=T0 - 1000 * DAY),
        )
    )
    await store.apply(Batch(tenant=TENANT, audit=(entry(at=T0 - 1000 * DAY),)))
    policy = Retention(records={RawSignal: DAY, SeenNonce: DAY, DispatchOutcome: 2 * DAY})
    expected = {"raw_signal_record": 1, "seen_nonce_record": 1, "dispatch_outcome_record": 1, "request": 0, "outbox": 0}
    assert await store.prune(policy) == expected
    assert await names(store, RawSignal) == ["kept"]
    assert await names(store, SeenNonce) == ["kept"]
    assert await names(store, DispatchOutcome) == []
    assert await names(store, Session) == ["session-1"]
    assert await names(store, Bid) == ["bid-1"]
    assert verify_chain(await store.audit_entries()) == 1
    assert set((await store.prune(policy)).values()) == {0}


async def test_the_newest_dispatch_to_each_csms_stays_whatever_its_age(store: SqlStore) -> None:
    def issued(name: str, csms: str, days: int) -> DispatchBatch:
        at = T0 - days * DAY
        return dispatch(name, csms=csms, sequence=100 - days, issued_at=at, lease_until=at + DAY)

    await store.apply(put(*(issued(f"quiet-{days}", "csms-quiet", days) for days in (50, 40, 30))))
    await store.apply(put(*(issued(f"busy-{days}", "csms-busy", days) for days in (20, 11, 5))))
    other = dispatch("other", tenant="tenant-b", csms="csms-quiet", issued_at=T0, lease_until=T0 + DAY)
    await store.apply(Batch(tenant="tenant-b", puts=(Put(record=other),)))
    counts = await store.prune(Retention(records={DispatchBatch: 10 * DAY}))
    assert counts["dispatch_batch_record"] == 4
    assert await names(store, DispatchBatch) == ["quiet-30", "busy-5"]


async def test_a_report_that_still_has_to_reach_its_partner_stays(store: SqlStore) -> None:
    open_report = PendingReport(
        id="open", tenant=TENANT, authority="vtn:demo", request="r", body="{}", made_at=T0 - 50 * DAY
    )
    sent = replace(open_report, id="sent", sent_at=T0)
    dropped = replace(open_report, id="dropped", dropped_at=T0)
    fresh = replace(sent, id="fresh", made_at=T0 - DAY)
    await store.apply(put(open_report, sent, dropped, fresh))
    assert (await store.prune(Retention(records={PendingReport: 10 * DAY})))["pending_report_record"] == 2
    assert sorted(await names(store, PendingReport)) == ["fresh", "open"]


async def test_answered_requests_and_settled_items_go(store: SqlStore, clock: HandClock) -> None:
    items = (item("settled", settled_at=T0), item("open"))
    await store.apply(Batch(tenant=TENANT, outbox=items, request_id="request-1", request_hash="h", response="r"))
    clock.instant = T0 + DAY
    assert await store.prune(Retention(settled_outbox=DAY)) == {"request": 0, "outbox": 0}
    clock.instant = T0 + DAY + INSTANT
    assert await store.prune(Retention(settled_outbox=DAY)) == {"request": 1, "outbox": 1}
    assert [one.id for one in await store.due_outbox("order", clock.instant)] == ["open"]


async def test_much_is_deleted_in_small_steps(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "CHUNK_ROWS", 7)
    await store.apply(put(*(nonce(f"nonce-{number:02}", seen_at=T0 - 2 * DAY) for number in range(50)), nonce("kept")))
    assert (await store.prune(Retention(records={SeenNonce: DAY})))["seen_nonce_record"] == 50
    assert await names(store, SeenNonce) == ["kept"]


@pytest.mark.parametrize(
    "arguments",
    [
        {"records": {Bid: 1000 * DAY}},
        {"records": {str: DAY}},
        {"records": {RawSignal: timedelta(0)}},
        {"requests": DAY - INSTANT},
        {"settled_outbox": timedelta(0)},
    ],
)
def test_a_policy_that_would_delete_what_is_needed_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        Retention(**arguments)


def test_only_what_grows_without_being_evidence_may_expire() -> None:
    assert {kind for kind, spec in RECORDS.items() if spec.expires} == {
        RawSignal,
        SeenNonce,
        PendingReport,
        DispatchBatch,
        DispatchOutcome,
        OscpMessage,
        OscpRequest,
        OscpSegment,
    }


async def test_a_tool_that_reads_cannot_prune(sqlite_store: SqlStore, sqlite_url: str, clock: HandClock) -> None:
    async with SqlStore.open(sqlite_url, clock, read_only=True) as tool:
        with pytest.raises(StorageUnavailable):
            await tool.prune(Retention())
