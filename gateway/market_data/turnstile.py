"""The way to one peer: a budget, a distance between requests, and a ban that everybody keeps and that outlives a restart."""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from gateway.domain.errors import PeerUnavailable
from gateway.domain.market_asking import FIRST_BAN
from gateway.market_data.rate_budget import RateBudget
from gateway.ports import Clock


class BanBook(Protocol):
    """Remembers which sources asked to be left alone, also after a restart."""

    async def banned_until(self, source: str) -> datetime | None:
        """Return until when a source may not be called; None when it may."""
        ...

    async def ban(self, source: str) -> timedelta:
        """Keep that a source refuses; return for how long it is left alone."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """How often a peer may be asked, and who remembers that it refused."""

    per_minute: int = 30
    spacing: timedelta = timedelta(0)
    """Least time between two requests, waited for; for peers that refuse bursts."""
    bans: BanBook | None = None
    """Where bans are kept; None keeps them in memory only."""


class Turnstile:
    """Lets requests to one peer through, one after the other.

    Args:
        peer: Its name in errors.
        key: Its name in the book of bans.
        pace: How often.
        clock: For the budget and the distance.
    """

    def __init__(self, *, peer: str, key: str, pace: Pace, clock: Clock) -> None:
        self._peer = peer
        self._key = key
        self._pace = pace
        self._clock = clock
        self._budget = RateBudget(peer=peer, per_minute=pace.per_minute, clock=clock)
        self._turn = asyncio.Lock()
        self._last: datetime | None = None

    async def enter(self) -> None:
        """Return when a request may go out.

        Raises:
            PeerUnavailable: The peer asked us to wait, or the budget is spent; nothing may be sent.
        """
        if self._pace.bans is not None:
            until = await self._pace.bans.banned_until(self._key)
            if until is not None:
                raise PeerUnavailable(f"{self._peer} asked to wait until {until:%Y-%m-%d %H:%M:%S}Z")
        self._budget.take()
        if self._pace.spacing <= timedelta(0):
            return
        async with self._turn:
            if self._last is not None:
                await self._clock.sleep_until(self._last + self._pace.spacing)
            self._last = self._clock.now()

    async def refused(self) -> timedelta:
        """Remember that the peer had too many requests; return how long nothing is sent now."""
        duration = FIRST_BAN if self._pace.bans is None else await self._pace.bans.ban(self._key)
        self._budget.hold(duration)
        return duration
