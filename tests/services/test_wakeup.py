"""An alarm that the store or the clock sets off, whichever comes first."""

import asyncio
from datetime import timedelta

import pytest

from gateway.domain.bids import Bid
from gateway.domain.identity import Account
from gateway.wakeup import woken_by
from tests.fakes.clock import HandClock
from tests.fakes.store import MemoryStore
from tests.services.market_scene import TENANT, accounts


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_wakes_at_the_instant() -> None:
    clock = HandClock()
    async with woken_by(MemoryStore(), clock, (Account,)) as wake, asyncio.TaskGroup() as group:
        waiting = group.create_task(wake.wait(clock.now() + timedelta(seconds=10)))
        await settle()
        clock.move(seconds=9)
        await settle()
        assert not waiting.done()
        clock.move(seconds=1)
        await settle()
        assert waiting.done()


async def test_wakes_when_a_record_of_its_kinds_is_written_and_for_no_other() -> None:
    clock, store = HandClock(), MemoryStore()
    later = clock.now() + timedelta(days=1)
    async with (
        woken_by(store, clock, (Bid,)) as deaf,
        woken_by(store, clock, (Account,)) as wake,
        asyncio.TaskGroup() as group,
    ):
        sleeping = group.create_task(deaf.wait(later))
        waiting = group.create_task(wake.wait(later))
        await settle()
        await store.seed(TENANT, accounts()[0])
        await settle()
        assert (waiting.done(), sleeping.done()) == (True, False)
        sleeping.cancel()


async def test_ring_between_two_waits_is_not_lost() -> None:
    clock = HandClock()
    async with woken_by(MemoryStore(), clock, ()) as wake:
        wake.ring()
        await asyncio.wait_for(wake.wait(clock.now() + timedelta(days=1)), 1.0)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(wake.wait(clock.now() + timedelta(days=1)), 0.02)


async def test_leaving_ends_the_listener() -> None:
    store = MemoryStore()
    async with woken_by(store, HandClock(), (Account,)):
        assert len(store._listeners) == 1
    assert not store._listeners
