"""What is remembered about asking sources of market data: how often, when next, and who has asked to be left alone."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import require_utc

FIRST_BAN = timedelta(minutes=10)
"""How long ENTSO-E refuses an address and token after too many requests."""
LONGEST_BAN = timedelta(hours=2)
PROBE_PATIENCE = timedelta(minutes=2)
"""So long everybody waits for the answer to the one request after a ban; when none came by then, another one probes."""


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
    probed_at: datetime | None = None
    """When the one request after its end went out; None before."""
    is_lifted: bool = False
    """Whether that request was answered: then everybody may ask again."""

    def __post_init__(self) -> None:
        """Reject a ban that ends before it begins."""
        if require_utc("ban.until", self.until) <= require_utc("ban.banned_at", self.banned_at):
            raise InvalidInput("ban.until", "must be after banned_at")


@dataclass(frozen=True, kw_only=True, slots=True)
class Admission:
    """Whether a source may be asked now."""

    wait_until: datetime | None = None
    """Nobody may before this instant; None when the one who asks may."""
    is_probe: bool = False
    """Whether it would be the one request after a ban, whose answer everybody else waits for."""


def admission(ban: SourceBan | None, now: datetime) -> Admission:
    """Return whether a source may be asked: not during a ban, and after it by one request alone until that is answered.

    Args:
        ban: The last one of the source; None when it never refused.
        now: The instant.
    """
    if ban is None or ban.is_lifted:
        return Admission()
    if now < ban.until:
        return Admission(wait_until=ban.until)
    if ban.probed_at is not None and now < ban.probed_at + PROBE_PATIENCE:
        return Admission(wait_until=ban.probed_at + PROBE_PATIENCE)
    return Admission(is_probe=True)


def next_ban(last: SourceBan | None, now: datetime) -> timedelta:
    """Return how long to stay away after a refusal: ten minutes, twice as long after each further one, at most two hours.

    A refusal counts as a further one when the last ban ended less than two hours ago.
    """
    if last is None or now - last.until >= LONGEST_BAN:
        return FIRST_BAN
    return min(2 * (last.until - last.banned_at), LONGEST_BAN)
