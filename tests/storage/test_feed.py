"""A reader of wake-ups may stop waiting and come back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import pytest

from gateway.ports import Batch, Change, Put
from gateway.storage.feed import Feed
from tests.fakes.store import MemoryStore
from tests.storage.records import TENANT, session


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


async def test_the_end_of_the_store_ends_every_reader_for_good() -> None:
    feed = Feed()
    async with feed.subscribe() as changes:
        feed.close()
        assert [change async for change in changes] == []
        assert [change async for change in changes] == []
