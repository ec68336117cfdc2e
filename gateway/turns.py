"""Keeps the event loop turning while a large message is taken in: no stall over 50 ms, however much a partner sends."""

import asyncio
import sys
from collections.abc import Callable, Iterable, Sized
from typing import TypeVar

ItemT = TypeVar("ItemT")

EVERY = 100
"""After so many items the event loop gets its turn."""
_EACH = 25
"""A decision on an event counts as so many items."""
INLINE = 500
"""More things than this, such as intervals of events, are worked out in a thread."""
THREADS_GIVE_WAY_S = 0.0005
"""Seconds after which a thread that computes lets the event loop go on, where Python's own 0.005 is too long: the loop asks for its
turn again after each of the dozens of calls in a step that let others run (sockets, numpy over more than 500 values).
"""


def let_the_loop_go_first() -> None:
    """Have threads that compute give way to the event loop soon, in this process."""
    sys.setswitchinterval(THREADS_GIVE_WAY_S)


async def in_turns(items: Iterable[ItemT]) -> list[ItemT]:
    """Return all items, letting others run in between."""
    found: list[ItemT] = []
    for item in items:
        found.append(item)
        if len(found) % EVERY == 0:
            await asyncio.sleep(0)
    return found


async def beside(size: int, compute: Callable[[], ItemT]) -> ItemT:
    """Return what a pure function computes: at once when there is little to do, else in a thread.

    Args:
        size: How much there is to do, in things such as intervals of events.
        compute: Reads nothing that changes while it runs.
    """
    return compute() if size <= INLINE else await asyncio.to_thread(compute)


class Turns:
    """Counts work and gives way when enough of it was done."""

    def __init__(self) -> None:
        """Begin with nothing done."""
        self._done = 0

    async def after(self, work: Sized) -> None:
        """Count a piece of work and let others run when it is time."""
        self._done += _EACH + len(work)
        if self._done >= EVERY:
            self._done = 0
            await asyncio.sleep(0)
