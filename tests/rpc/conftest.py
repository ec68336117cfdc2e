from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeAlias

import pytest

from gateway.client import Gateway, connect
from tests.fakes.wired import TENANT, Wired, token_of, wired

Caller: TypeAlias = Callable[..., AbstractAsyncContextManager[Gateway]]


@pytest.fixture
async def house() -> Wired:
    return await wired()


@pytest.fixture
async def address(house: Wired) -> AsyncIterator[str]:
    async with house.listening() as where:
        yield where


@pytest.fixture
def call(address: str) -> Caller:
    """Open a client of an actor, for example `async with call("tara") as gateway`."""

    def open_as(actor: str, tenant: str = TENANT) -> AbstractAsyncContextManager[Gateway]:
        return connect(address, token=token_of(tenant, actor))

    return open_as
