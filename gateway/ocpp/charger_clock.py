"""How far a charger's clock is off, as far as its measurements tell.

Absolute times in a charging profile are read by the charger's own clock (OCPP 1.6 5.16, 2.0.1 K01), so they are written by it. The
ways around that are no ways: `Relative` schedules begin where the vendor chose (the transaction, the first power, the message), and
no version counts a duration from the arrival of the message.

```
 by its clock      stamped
 by ours               |--- age ---| came          behind = came - stamped - age, and age is at least 0
```
So every stamp says how far the clock is behind *at most*. Messages some seconds apart that say the same tell how far it is; those
that were kept while there was no contact say less and less from one to the next. A charger sets its clock when it is told ours
(BootNotification, the first Heartbeat), or never: until measurements show whether it did, both may be the case.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

SAME_TIME = timedelta(days=1)
"""A clock further off than this was never set, or shows another date: nothing that ends by it is relied on."""
_SAME = timedelta(seconds=2)
"""Differences of so much are the way of a message and whole seconds."""
_STEADY_FOR = timedelta(seconds=10)
_FARTHEST = timedelta(days=60 * 365)
"""Beyond sixty years it makes no difference: instants stay inside the calendar, and seconds inside 31 bits."""
_MUCH = timedelta(minutes=1)
"""By so much a message may be later than any before until schedules are begun earlier; they begin minutes in the past anyway."""
_NOTHING = timedelta(0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Behind:
    """How far a charger's clock is behind ours; negative when it is ahead."""

    least: timedelta = _NOTHING
    most: timedelta = _NOTHING
    """As far as is believed."""
    worst: timedelta = _NOTHING
    """No message allows more, at least `most`: what began so long ago has surely begun by its clock."""

    @property
    def is_absurd(self) -> bool:
        """Whether it is certainly more than a day off: no lease should end by such a clock."""
        return self.least > SAME_TIME or self.most < -SAME_TIME

    def told(self) -> str:
        """Return it in words."""
        one, other = (round(bound.total_seconds()) for bound in (self.least, self.most))
        if one == other:
            return f"{abs(one)} s {'behind' if one >= 0 else 'ahead'}"
        return f"between {one} and {other} s behind"

    def is_as(self, other: "Behind") -> bool:
        """Tell whether the difference to another is too small to write profiles anew."""
        return abs(self.least - other.least) <= _SAME and abs(self.most - other.most) <= _SAME

    @classmethod
    def by(cls, seconds: float) -> "Behind":
        """Return a difference that is known."""
        known = timedelta(seconds=seconds)
        return cls(least=known, most=known, worst=known)


@dataclass(slots=True)
class _Run:
    """Messages one after the other that say the same."""

    since: datetime
    low: timedelta
    high: timedelta

    def takes(self, said: timedelta) -> bool:
        return self.high - said <= _SAME and said - self.low <= _SAME

    def is_steady(self, now: datetime) -> bool:
        return now - self.since >= _STEADY_FOR


class ChargerClock:
    """What is known of one charger's clock."""

    def __init__(self, behind_s: float = 0.0) -> None:
        """Go on from what was known when the program ended.

        Args:
            behind_s: How far it was behind then.
        """
        self.behind = Behind.by(behind_s)
        self._run: _Run | None = None
        self._is_told = False

    def begin(self) -> None:
        """Take note that a connection begins, or that the charger started anew within one."""
        self._is_told = False

    def told(self) -> None:
        """Take note that it was told our time: after the first time it may be right, or still be as it was."""
        if self._is_told:
            return
        self._is_told = True
        known = self.behind
        self.behind = replace(known, least=min(known.least, _NOTHING), most=max(known.most, _NOTHING))
        self.behind = replace(self.behind, worst=max(known.worst, self.behind.most))
        self._run = None

    def see(self, stamped: datetime, came_at: datetime) -> bool:
        """Take the stamp of a measurement or of a transaction's event; True when profiles must be looked at.

        Args:
            stamped: By the charger's clock.
            came_at: When the message was here, by ours.
        """
        said = min(max(came_at - stamped, -_FARTHEST), _FARTHEST)
        said = timedelta(seconds=round(said.total_seconds()))
        if self._run is None or not self._run.takes(said):
            self._run = _Run(since=came_at, low=said, high=said)
        else:
            run = self._run
            run.low, run.high = min(run.low, said), max(run.high, said)
        found = self._after(said, came_at)
        if found.is_as(self.behind) and found.worst - self.behind.worst <= _MUCH:
            return False
        self.behind = found
        return True

    def _after(self, said: timedelta, came_at: datetime) -> Behind:
        """Return what is known after a message: what is steady, otherwise both what was known and what the message allows."""
        run, known = self._run, self.behind
        if run is not None and run.is_steady(came_at):
            return Behind(least=run.low, most=run.low, worst=run.low)
        # It cannot be further behind than the message says; ahead it is believed to be once that is steady, and only so long.
        is_news = said < known.most
        most = min(known.most, max(said, _NOTHING)) if is_news else max(known.most, min(said, _NOTHING))
        return Behind(least=min(known.least, max(said, -SAME_TIME)), most=most, worst=max(most, said))
