"""The way to one peer: a budget, a distance between requests, and a ban that everybody keeps and that outlives a restart."""

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from gateway.domain.errors import PeerUnavailable
from gateway.domain.market_asking import Admission, SourceBan, admission, next_ban
from gateway.market_data.rate_budget import RateBudget
from gateway.ports import Clock

TOO_MANY = 429
"""Status of a peer that had too many requests."""
SERVER_ERROR = 500
"""From this status on the peer itself is in trouble: no answer to the question whether it takes requests again."""


class BanBook(Protocol):
    """Remembers which sources asked to be left alone, also after a restart."""

    async def admit(self, source: str) -> Admission:
        """Return whether a source may be called now; the one call after a ban is given to one asker only."""
        ...

    async def lift(self, source: str) -> None:
        """Keep that the one call after a ban was answered."""
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


class BansInMemory:
    """Bans of one turnstile, for as long as the program runs; `BanBook`."""

    def __init__(self, clock: Clock) -> None:
        """Take the clock."""
        self._clock = clock
        self._bans: dict[str, SourceBan] = {}

    async def admit(self, source: str) -> Admission:
        """Return whether a source may be called now."""
        now, ban = self._clock.now(), self._bans.get(source)
        found = admission(ban, now)
        if ban is not None and found.is_probe:
            self._bans[source] = replace(ban, probed_at=now)
        return found

    async def lift(self, source: str) -> None:
        """Keep that the one call after a ban was answered."""
        ban = self._bans.get(source)
        if ban is not None:
            self._bans[source] = replace(ban, is_lifted=True)

    async def ban(self, source: str) -> timedelta:
        """Keep that a source refuses; return for how long it is left alone."""
        now = self._clock.now()
        duration = next_ban(self._bans.get(source), now)
        self._bans[source] = SourceBan(id=source, tenant="", banned_at=now, until=now + duration)
        return duration


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
        self._bans: BanBook = BansInMemory(clock) if pace.bans is None else pace.bans
        self._clock = clock
        self._budget = RateBudget(peer=peer, per_minute=pace.per_minute, clock=clock)
        self._turn = asyncio.Lock()
        self._last: datetime | None = None
        self._is_probing = False
        """Whether the one request after a ban is ours."""

    async def enter(self) -> None:
        """Return when a request may go out; `answered` or `refused` is told what became of it.

        After a ban one request goes out alone: until it is answered, everybody else is refused.

        Raises:
            PeerUnavailable: The peer asked us to wait, or the budget is spent; nothing may be sent.
        """
        self._budget.take()
        found = await self._bans.admit(self._key)
        if found.wait_until is not None:
            self._budget.put_back()
            raise PeerUnavailable(f"{self._peer} asked to wait until {found.wait_until:%Y-%m-%d %H:%M:%S}Z")
        self._is_probing |= found.is_probe
        if self._pace.spacing <= timedelta(0):
            return
        async with self._turn:
            if self._last is not None:
                await self._clock.sleep_until(self._last + self._pace.spacing)
            self._last = self._clock.now()

    async def answered(self) -> None:
        """Remember that the peer answers: when it was asked for the first time after a ban, everybody may ask again."""
        if self._is_probing:
            self._is_probing = False
            await self._bans.lift(self._key)

    async def refused(self) -> timedelta:
        """Remember that the peer had too many requests; return how long nothing is sent now."""
        self._is_probing = False
        duration = await self._bans.ban(self._key)
        self._budget.hold(duration)
        return duration
