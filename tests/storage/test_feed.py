"""A reader of wake-ups may stop waiting and come back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import pytest

from gateway.ports import Batch, Change, Put
from gateway.storage.feed import Feed
from tests.fakes.store import MemoryStore
from tests.storage.records import TENANT, limit, session


async def _waits_twice(subscribed: AbstractAsyncContextManager[AsyncIterator[Change]]) -> AsyncIterator[Change | None]:
    async with subscribed as changes:
        for _ in range(2):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await anext(changes)
        yield None
        yield await anext(changes)


@pytest.mark.parametrize("is_fake", [False, True])
async def test_a_reader_that_gave_up_waiting_still_hears_what_comes(is_fake: bool) -> None:
    feed, store = Feed(), MemoryStore()
    batch = Batch(tenant=TENANT, puts=(Put(record=session()),))
    reader = _waits_twice(store.changes() if is_fake else feed.subscribe())
    await anext(reader)
    if is_fake:
        await store.apply(batch)
    else:
        feed.publish(batch)
    assert await anext(reader) == Change(tenant=TENANT, kind="Session", id=session().id)


@pytest.mark.parametrize("is_fake", [False, True])
async def test_a_reader_hears_only_of_the_kinds_that_it_cares_for(is_fake: bool) -> None:
    feed, store = Feed(), MemoryStore()
    async with store.changes({"Limit"}) if is_fake else feed.subscribe({"Limit"}) as changes:
        batch = Batch(tenant=TENANT, puts=(Put(record=session()), Put(record=limit())))
        if is_fake:
            await store.apply(batch)
        else:
            feed.publish(batch)
        assert await anext(changes) == Change(tenant=TENANT, kind="Limit", id=limit().id)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await anext(changes)


async def test_a_slow_reader_loses_what_it_is_too_far_behind_for_and_hears_what_comes_later() -> None:
    feed = Feed(most_waiting=3)
    async with feed.subscribe() as changes:
        feed.publish(Batch(tenant=TENANT, puts=tuple(Put(record=limit(f"l{number}")) for number in range(5))))
        assert [(await anext(changes)).id for _ in range(3)] == ["l0", "l1", "l2"]
        feed.publish(Batch(tenant=TENANT, puts=(Put(record=limit("l5")),)))
        assert (await anext(changes)).id == "l5"


async def test_the_end_of_the_store_ends_every_reader_for_good() -> None:
    feed = Feed()
    async with feed.subscribe() as changes:
        feed.close()
        assert [change async for change in changes] == []
        assert [change async for change in changes] == []
