"""How far this machine's clock is from a peer's, as far as the peer's answers tell.

An answer over HTTP says in its `Date` at which second of the peer's clock it was made (RFC 9110, 6.6.1), and it was made between our
question and our reading of it. So one answer bounds the difference, and several bound it closer:

```
ours    |--- sent ------------- received ---|
theirs        |-- the second of Date --|          ours - theirs is in (sent - Date - 1 s, received - Date]
```
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.domain.errors import InvalidInput

MOST_SKEW = timedelta(seconds=2)
"""A clock that is certainly further off than this is told to people: gates close to the second (brief, case 29)."""
SAME_TIME = timedelta(hours=1)
"""Two clocks that are further apart do not show the same time: one of them is simulated, or nobody set it."""
_FRESH = timedelta(minutes=10)
_DATE_STEP = timedelta(seconds=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClockSkew:
    """Bounds of our clock minus the peer's; positive when ours is ahead."""

    at_least: timedelta
    at_most: timedelta
    seen_at: datetime
    """By our clock."""

    def __post_init__(self) -> None:
        """Reject bounds that exclude everything."""
        if self.at_least > self.at_most:
            raise InvalidInput("at_least", "must not be above at_most")

    @property
    def is_off(self) -> bool:
        """Whether the clocks are certainly more than `MOST_SKEW` apart."""
        return self.at_least > MOST_SKEW or self.at_most < -MOST_SKEW

    @property
    def certain(self) -> timedelta:
        """The part of the difference that is certain, positive when ours is ahead; zero when they may be the same."""
        if self.at_least > timedelta(0):
            return self.at_least
        return min(self.at_most, timedelta(0))

    def latest(self, now: datetime) -> datetime:
        """Return the later of both clocks' certain time: by which a deadline that counts at the peer has surely passed.

        Args:
            now: Our clock.
        """
        return now - self.certain if -SAME_TIME < self.certain < timedelta(0) else now

    def narrowed(self, newer: "ClockSkew") -> "ClockSkew":
        """Return what both measurements allow; the newer one alone when they disagree or this one is old: a clock was set."""
        at_least, at_most = max(self.at_least, newer.at_least), min(self.at_most, newer.at_most)
        if at_least > at_most or newer.seen_at - self.seen_at > _FRESH:
            return newer
        return ClockSkew(at_least=at_least, at_most=at_most, seen_at=newer.seen_at)

    def told(self, peer: str) -> str:
        """Return it in one sentence."""
        way = "behind" if self.certain < timedelta(0) else "ahead of"
        return f"this machine's clock is at least {abs(self.certain).total_seconds():.1f} s {way} that of {peer}"


def seen_skew(sent_at: datetime, received_at: datetime, date: datetime) -> ClockSkew:
    """Return what one answer tells.

    Args:
        sent_at: When the question was sent, by our clock.
        received_at: When the answer was there, by our clock; not before `sent_at` unless the clock was set back meanwhile.
        date: The answer's `Date`.
    """
    first, last = min(sent_at, received_at), max(sent_at, received_at)
    return ClockSkew(at_least=first - date - _DATE_STEP, at_most=last - date, seen_at=received_at)
