"""Turns of the event loop: what a large fleet takes is split into parts, so that platforms are heard in between."""

import asyncio
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TypeVar

_ResultT = TypeVar("_ResultT")


@dataclass(frozen=True, kw_only=True, slots=True)
class LoopTurns:
    """What is done at once, in parts, or beside the event loop, by the size of a fleet.

    Attributes:
        inline_charger_count: Up to so many chargers everything is done at once.
    """

    inline_charger_count: int

    def is_big(self, charger_count: int) -> bool:
        """Tell whether a fleet is too large for doing everything at once."""
        return charger_count > self.inline_charger_count

    async def breathe(self, charger_count: int, real_seconds: float = 0.0) -> None:
        """Let the event loop turn, where a fleet is large."""
        if self.is_big(charger_count):
            await asyncio.sleep(real_seconds)

    async def in_turns(self, charger_count: int, parts: Generator[None, None, _ResultT]) -> _ResultT:
        """Return what some work gives; where a fleet is large, the event loop turns wherever the work yields."""
        while True:
            try:
                next(parts)
            except StopIteration as end:
                result: _ResultT = end.value
                return result
            await self.breathe(charger_count)

    async def beside(self, charger_count: int, work: Callable[[], _ResultT]) -> _ResultT:
        """Return what some work gives; for a large fleet it is done in a thread.

        Args:
            charger_count: Size of the fleet.
            work: Reads nothing that changes meanwhile, and changes nothing.
        """
        return await asyncio.to_thread(work) if self.is_big(charger_count) else work()


def at_once(parts: Generator[None, None, _ResultT]) -> _ResultT:
    """Return what some work gives that could be done in turns."""
    while True:
        try:
            next(parts)
        except StopIteration as end:
            result: _ResultT = end.value
            return result
