"""What is remembered about asking sources of market data: how often, when next, and who has asked to be left alone."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import require_utc

FIRST_BAN = timedelta(minutes=10)
"""How long ENTSO-E refuses an address and token after too many requests."""
LONGEST_BAN = timedelta(hours=2)


@dataclass(frozen=True, kw_only=True, slots=True)
class MarketPoll:
    """How often one day was asked for, and when it is due again; it outlives a restart."""

    id: str
    """`{zone}:{product}:{day}`, with `:second-opinion` for the comparison with another source."""
    tenant: str
    asked_count: int
    failed_count: int
    """Failures in a row since the last answer."""
    asked_at: datetime
    due_at: datetime | None
    """When it is asked for again; None for never."""

    def __post_init__(self) -> None:
        """Reject counts below zero and naive times."""
        if self.asked_count < 0 or self.failed_count < 0:
            raise InvalidInput("poll.asked_count", "must be at least 0")
        require_utc("poll.asked_at", self.asked_at)


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceBan:
    """A source asked to be left alone; nobody calls it before the end."""

    id: str
    """Name of the source."""
    tenant: str
    banned_at: datetime
    until: datetime

    def __post_init__(self) -> None:
        """Reject a ban that ends before it begins."""
        if require_utc("ban.until", self.until) <= require_utc("ban.banned_at", self.banned_at):
            raise InvalidInput("ban.until", "must be after banned_at")


def next_ban(last: SourceBan | None, now: datetime) -> timedelta:
    """Return how long to stay away after a refusal: ten minutes, twice as long after each further one, at most two hours.

    A refusal counts as a further one when the last ban ended less than two hours ago.
    """
    if last is None or now - last.until >= LONGEST_BAN:
        return FIRST_BAN
    return min(2 * (last.until - last.banned_at), LONGEST_BAN)
