"""Answers that come later, over a connection of their own: each request has one address that nobody can guess."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Generic, TypeVar

from gateway.ports import Clock
from gateway.sealing import new_token

AnswerT = TypeVar("AnswerT")


class Callbacks(Generic[AnswerT]):
    """Requests of one door whose answers are still to come.

    Args:
        clock: Market time, in which answers are late.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._open: dict[str, asyncio.Future[AnswerT]] = {}

    def __len__(self) -> int:
        """Return how many answers are waited for."""
        return len(self._open)

    @contextmanager
    def expect(self) -> Iterator[str]:
        """Give out a token for a request; when the block ends its answer is not waited for any more."""
        token = new_token()
        self._open[token] = asyncio.get_running_loop().create_future()
        try:
            yield token
        finally:
            self._open.pop(token).cancel()

    def take(self, token: str, answer: AnswerT) -> bool:
        """Take an answer; False when nobody waits for it, so that a repeated or late one changes nothing."""
        future = self._open.get(token)
        if future is None or future.done():
            return False
        future.set_result(answer)
        return True

    def is_open(self, token: str) -> bool:
        """Tell whether the answer of a token is waited for."""
        future = self._open.get(token)
        return future is not None and not future.done()

    async def wait(self, token: str, until: datetime) -> AnswerT | None:
        """Return the answer, or None when it has not come by an instant of market time."""
        future = self._open[token]
        async with asyncio.TaskGroup() as tasks:
            alarm = tasks.create_task(self._clock.sleep_until(until))
            either: set[asyncio.Future[Any]] = {alarm, future}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            alarm.cancel()
        return future.result() if future.done() else None
