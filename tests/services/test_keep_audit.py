"""The chain is checked whole, and a tenant takes home its own part only."""

import json

import pytest

from gateway.domain.errors import PermissionRefused
from gateway.domain.evidence import GENESIS_HASH, AuditEntry, chain
from gateway.domain.identity import Principal, Role
from gateway.ports import Batch
from gateway.services.keep_audit import AuditKeeper
from tests.fakes.clock import START
from tests.fakes.store import MemoryStore
from tests.services.market_scene import AUDITOR, STRANGER, TENANT


async def chain_of(count: int) -> tuple[MemoryStore, AuditKeeper]:
    store = MemoryStore()
    for i in range(count):
        tenant = TENANT if i % 3 else "other"
        entry = AuditEntry(
            id=f"a{i}", tenant=tenant, at=START, actor="x", action="do", object_kind="bid", object_id=f"b{i}"
        )
        await store.apply(Batch(tenant=tenant, audit=(entry,)))
    return store, AuditKeeper(store=store)


@pytest.mark.parametrize("count", [0, 1, 499, 500, 501, 1203])
async def test_whole_chain_is_verified_whatever_its_length(count: int) -> None:
    store, keeper = await chain_of(count)
    verdict = await keeper.verify(AUDITOR)
    head = store._audit[-1].hash if count else GENESIS_HASH
    assert (verdict.entry_count, verdict.head_hash) == (count, head)
    assert (verdict.is_intact, verdict.first_broken_sequence) == (True, 0)


@pytest.mark.parametrize("seq", [1, 2, 500, 501, 700])
async def test_changed_entry_is_found_at_its_place(seq: int) -> None:
    store, keeper = await chain_of(700)
    store.tamper(seq, actor="somebody else")
    verdict = await keeper.verify(AUDITOR)
    assert (verdict.is_intact, verdict.first_broken_sequence, verdict.entry_count) == (False, seq, seq - 1)


async def test_removed_and_reordered_entries_are_found() -> None:
    store, keeper = await chain_of(10)
    taken = store._audit.pop(4)
    assert (await keeper.verify(AUDITOR)).first_broken_sequence == 5
    store._audit.insert(5, taken)
    assert (await keeper.verify(AUDITOR)).first_broken_sequence == 5


async def test_chain_that_does_not_begin_at_one_is_broken_even_if_its_hashes_fit() -> None:
    store, keeper = await chain_of(1)
    store._audit[0] = chain(store._audit[0].entry, 2, GENESIS_HASH)
    assert (await keeper.verify(AUDITOR)).first_broken_sequence == 1


async def test_export_holds_the_tenants_entries_and_nobody_elses() -> None:
    store, keeper = await chain_of(1000)
    lines = [json.loads(line) async for line in keeper.export(AUDITOR)]
    mine = [chained for chained in store._audit if chained.entry.tenant == TENANT]
    assert [line["seq"] for line in lines] == [chained.seq for chained in mine]
    assert [line["hash"] for line in lines] == [chained.hash for chained in mine]
    others = [json.loads(line) async for line in keeper.export(STRANGER)]
    assert {line["entry"]["tenant"] for line in others} == {"other"}


async def test_evidence_needs_its_permission() -> None:
    _, keeper = await chain_of(1)
    csms = Principal(tenant=TENANT, actor="c", roles=frozenset({Role.CSMS}))
    with pytest.raises(PermissionRefused):
        await keeper.verify(csms)
    with pytest.raises(PermissionRefused):
        await anext(keeper.export(csms))
