"""Limitation of power consumption and production: the state machine of EEBUS LPC and LPP 1.0.0, without any transport.

```
 from                   to                     because                                      LPC-
 (re)start              INIT                   the failsafe limit holds first               901/1
 INIT                   LIMITED                heartbeat, then a limit                      904
 INIT                   UNLIMITED_CONTROLLED   heartbeat, then no limit                     905
 INIT                   UNLIMITED_AUTONOMOUS   120 s without a word                         906
 LIMITED                UNLIMITED_CONTROLLED   the duration is over, or it is taken back    908, 909
 UNLIMITED_CONTROLLED   LIMITED                a limit                                      910
 UNLIMITED_CONTROLLED   FAILSAFE               120 s without a heartbeat                    911
 LIMITED                FAILSAFE               120 s without a heartbeat                    912
 FAILSAFE, AUTONOMOUS   LIMITED                heartbeat, then a limit                      916, 919
 FAILSAFE, AUTONOMOUS   UNLIMITED_CONTROLLED   heartbeat, then no limit                     916, 920
 FAILSAFE               UNLIMITED_AUTONOMOUS   heard again, but no limit for 120 s          921
 FAILSAFE               UNLIMITED_AUTONOMOUS   the minimum duration is over                 922
```

Numbers are those of the requirements LPC-9xx; LPP has the same ones. In INIT and FAILSAFE the failsafe limit holds. The box that steers
sends a heartbeat at least every 60 s; 120 s without one is a loss.

Where the specification leaves a choice ("may"), the safer one is taken:

- A limit without duration never expires, and one that was in force when contact was lost or we were restarted goes on to its end beside
  the failsafe limit: the smaller of both holds. INIT and FAILSAFE are not left by time alone while it runs.
- INIT is left after 120 s (LPC-906) only where no box was ever heard, or where one is heard and says nothing.
- FAILSAFE is not left after its minimum duration (LPC-922) unless that was configured.
- A refused command never leaves a state: LPC-902 and LPC-918 would open a limit because a command was wrong.

All functions are pure; instants are aware UTC. Timed transitions happen at the instant at which they are due, however late `pass_time` is
called, so that a stalled loop or a restart changes nothing.
"""

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from gateway.domain.errors import InvalidInput, PreconditionFailed
from gateway.domain.limits import Direction

HEARTBEAT_EVERY = timedelta(seconds=60)
"""A box sends its heartbeat at least so often (LPC-005, LPC-031)."""
SILENCE = timedelta(seconds=120)
"""So long without a heartbeat is a loss (LPC-911, LPC-912)."""
WRITE_WINDOW = timedelta(seconds=60)
"""A limit must follow a heartbeat within this time to be looked at outside the controlled states (LPC-913)."""
RELEASE_WAIT = timedelta(seconds=120)
"""So long a box that is heard again may take to say its limit (LPC-906, LPC-921)."""
SHORTEST_FAILSAFE = timedelta(hours=2)
LONGEST_FAILSAFE = timedelta(hours=24)
"""Range of the minimum duration of the failsafe (LPC-022)."""
LONGEST_LIMIT = timedelta(days=3_650)
"""Longest duration of a limit; whoever wants more leaves it out."""
DEFAULT_FAILSAFE_KW = 4.2
"""Failsafe limit of a single device."""


class SteeringState(StrEnum):
    """Where a limitation is."""

    INIT = "init"
    LIMITED = "limited"
    UNLIMITED_CONTROLLED = "unlimited-controlled"
    UNLIMITED_AUTONOMOUS = "unlimited-autonomous"
    FAILSAFE = "failsafe"


CONTROLLED = frozenset({SteeringState.LIMITED, SteeringState.UNLIMITED_CONTROLLED})
"""States in which a box steers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LimitationRules:
    """What was agreed for one box and direction."""

    failsafe_kw: float = DEFAULT_FAILSAFE_KW
    """Failsafe limit until the box writes another one (LPC-021/1, LPC-903)."""
    failsafe_duration: timedelta = SHORTEST_FAILSAFE
    """Minimum duration of the failsafe until the box writes another one (LPC-022/1)."""
    guaranteed_kw: float = 0.0
    """No order of this box goes below it; 0 guarantees nothing. For consumption only."""
    leaves_init: bool = True
    """LPC-906."""
    leaves_without_limit: bool = True
    """LPC-921."""
    leaves_after_minimum: bool = False
    """LPC-922: leave the failsafe although the box is still silent."""

    def __post_init__(self) -> None:
        """Reject powers that are negative or not finite and durations outside 2 to 24 hours."""
        require_power("steering.failsafe_kw", self.failsafe_kw)
        require_power("steering.guaranteed_kw", self.guaranteed_kw)
        require_failsafe_duration("steering.failsafe_duration", self.failsafe_duration)


@dataclass(frozen=True, kw_only=True, slots=True)
class LimitWrite:
    """What a box wants to hold."""

    max_kw: float
    """Most that may be drawn, or fed in where the production is limited; at least 0."""
    is_active: bool
    """False takes the limit back; `max_kw` then says nothing."""
    duration: timedelta | None = None
    """From its receipt; None until it is taken back, zero takes it back at once."""

    def __post_init__(self) -> None:
        """Reject powers that are negative or not finite (LPC-001), and durations that are negative or longer than ten years."""
        require_power("max_kw", self.max_kw)
        if self.duration is not None and not timedelta(0) <= self.duration <= LONGEST_LIMIT:
            raise InvalidInput("duration", f"must be 0 to {LONGEST_LIMIT.days} days; left out, the limit has no end")

    @property
    def limits(self) -> bool:
        """Whether anything is limited by it."""
        return self.is_active and self.duration != timedelta(0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Bound:
    """An upper bound that holds from the end of the one before it, or from now, to its own end."""

    max_kw: float
    end: datetime | None
    """None has no end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limitation:
    """One direction of one box, as kept on disk; every change returns a new one."""

    id: str
    """`{box}:{direction}`."""
    tenant: str
    box: str
    direction: Direction
    state: SteeringState
    since: datetime
    """When the state was entered."""
    rule: str
    """Number of the requirement by which it was entered."""
    failsafe_kw: float
    failsafe_duration: timedelta
    heartbeat_at: datetime | None = None
    """Last heartbeat ever, of an earlier process too; None if none came."""
    returned_at: datetime | None = None
    """First heartbeat in INIT or FAILSAFE since the box was last silent; None in other states."""
    limit_kw: float | None = None
    """As ordered; in INIT and FAILSAFE what was in force before them; None without one."""
    limit_until: datetime | None = None
    """End of that limit; None without end."""
    order: str = ""
    """Id of the last order; empty before the first."""
    limit_ids: tuple[str, ...] = ()
    """Ids of the limits that were stated for it."""

    # ---------------------------------------------------------------- what holds

    def bounds(self, rules: LimitationRules, now: datetime) -> tuple[Bound, ...]:
        """Return what holds from now on, first things first; empty when nothing is limited.

        Args:
            rules: What was agreed.
            now: The instant; a kept limit that is over by then is left out.
        """
        floor_kw = rules.guaranteed_kw if self.direction is Direction.IMPORT else 0.0
        match self.state:
            case SteeringState.LIMITED:
                ordered_kw = self.failsafe_kw if self.limit_kw is None else self.limit_kw
                return (Bound(max_kw=max(ordered_kw, floor_kw), end=self.limit_until),)
            case SteeringState.INIT | SteeringState.FAILSAFE:
                failsafe = Bound(max_kw=max(self.failsafe_kw, floor_kw), end=None)
                if self.limit_kw is None or not self._keeps_limit(now):
                    return (failsafe,)
                kept = Bound(max_kw=min(failsafe.max_kw, max(self.limit_kw, floor_kw)), end=self.limit_until)
                return (kept,) if kept.end is None else (kept, failsafe)
            case _:
                return ()

    def in_force_kw(self, rules: LimitationRules, now: datetime) -> float | None:
        """Return the limit in kW at an instant to which time has passed; None when nothing is limited."""
        bounds = self.bounds(rules, now)
        return bounds[0].max_kw if bounds else None

    def due_at(self, rules: LimitationRules) -> datetime | None:
        """Return when something happens by time alone; None when nothing does."""
        step = self._next(rules)
        return None if step is None else step[0]

    # ---------------------------------------------------------------- what happens

    def restarted(self, now: datetime) -> "Limitation":
        """Return what holds after a restart of ours (LPC-901/1): the failsafe, and what was in force before it."""
        is_kept = self.limit_kw is not None and self._keeps_limit(now)
        return replace(
            self,
            state=SteeringState.INIT,
            since=now,
            rule="LPC-901/1",
            returned_at=None,
            limit_kw=self.limit_kw if is_kept else None,
            limit_until=self.limit_until if is_kept else None,
        )

    def pass_time(self, rules: LimitationRules, now: datetime) -> "Limitation":
        """Return the limitation after everything that was due until now, each at its instant."""
        limitation = self
        while (step := limitation.next_due(rules, now)) is not None:
            limitation = step
        return limitation

    def next_due(self, rules: LimitationRules, now: datetime) -> "Limitation | None":
        """Return what the next timed transition leads to; None when none is due until now."""
        step = self._next(rules)
        return None if step is None or step[0] > now else step[1]

    def heartbeat(self, now: datetime) -> "Limitation":
        """Return the limitation after a heartbeat; alone it leaves no state (LPC-916). Time must have passed to now."""
        waits = self.state in {SteeringState.INIT, SteeringState.FAILSAFE}
        returned_at = now if waits and self.returned_at is None else self.returned_at
        return replace(self, heartbeat_at=now, returned_at=returned_at)

    def write(self, word: LimitWrite, now: datetime) -> "Limitation":
        """Return the limitation after a limit was written. Time must have passed to now.

        Raises:
            PreconditionFailed: Outside the controlled states a limit must follow a heartbeat within 60 s (LPC-916).
        """
        self._require_heartbeat(now)
        state = SteeringState.LIMITED if word.limits else SteeringState.UNLIMITED_CONTROLLED
        is_new = state is not self.state
        until = None if word.duration is None else now + word.duration
        return replace(
            self,
            state=state,
            since=now if is_new else self.since,
            rule=_WRITTEN[self.state, state] if is_new else self.rule,
            returned_at=None,
            limit_kw=word.max_kw if word.limits else None,
            limit_until=until if word.limits else None,
        )

    def write_failsafe(self, max_kw: float | None, duration: timedelta | None) -> "Limitation":
        """Return the limitation with other failsafe values (LPC-021/2, LPC-022/2); None leaves one as it is.

        Raises:
            InvalidInput: A value is out of range.
            PreconditionFailed: No heartbeat with a following limit came yet.
        """
        if max_kw is not None:
            require_power("failsafe_kw", max_kw)
        if duration is not None:
            require_failsafe_duration("failsafe_duration", duration)
        if self.state not in CONTROLLED:
            raise PreconditionFailed("a heartbeat and a limit must come before other values are written")
        return replace(
            self,
            failsafe_kw=self.failsafe_kw if max_kw is None else max_kw,
            failsafe_duration=self.failsafe_duration if duration is None else duration,
        )

    # ---------------------------------------------------------------- inside

    def _keeps_limit(self, at: datetime) -> bool:
        """Tell whether the limit that was ordered still runs."""
        return self.limit_kw is not None and (self.limit_until is None or at < self.limit_until)

    def _require_heartbeat(self, now: datetime) -> None:
        if self.state in CONTROLLED:
            return
        heard = self.heartbeat_at
        is_old = self.returned_at is None and self.state is not SteeringState.UNLIMITED_AUTONOMOUS
        if heard is None or is_old or now - heard > WRITE_WINDOW:
            raise PreconditionFailed("a limit must follow a heartbeat within 60 seconds; send one and write again")

    def _next(self, rules: LimitationRules) -> "tuple[datetime, Limitation] | None":
        """Return the next timed transition and what comes of it."""
        match self.state:
            case SteeringState.LIMITED | SteeringState.UNLIMITED_CONTROLLED:
                return self._next_controlled()
            case SteeringState.INIT | SteeringState.FAILSAFE:
                return self._next_waiting(rules)
            case _:
                return None

    def _next_controlled(self) -> "tuple[datetime, Limitation]":
        is_limited = self.state is SteeringState.LIMITED
        silent_at = (self.since if self.heartbeat_at is None else self.heartbeat_at) + SILENCE
        if is_limited and self.limit_until is not None and self.limit_until <= silent_at:
            free = replace(
                self, state=SteeringState.UNLIMITED_CONTROLLED, rule="LPC-908", limit_kw=None, limit_until=None
            )
            return self.limit_until, replace(free, since=self.limit_until)
        rule = "LPC-912" if is_limited else "LPC-911"
        return silent_at, replace(self, state=SteeringState.FAILSAFE, since=silent_at, rule=rule, returned_at=None)

    def _next_waiting(self, rules: LimitationRules) -> "tuple[datetime, Limitation] | None":
        leave = self._leave(rules)
        if self.returned_at is not None and self.heartbeat_at is not None:
            silent_at = self.heartbeat_at + SILENCE
            if leave is None or silent_at <= leave[0]:
                return silent_at, replace(self, returned_at=None)
        if leave is None:
            return None
        at, rule = leave
        state = SteeringState.UNLIMITED_AUTONOMOUS
        free = replace(self, state=state, since=at, rule=rule, returned_at=None, limit_kw=None, limit_until=None)
        return at, free

    def _leave(self, rules: LimitationRules) -> tuple[datetime, str] | None:
        """Return when the failsafe limit is given up by time alone, and by which rule."""
        if self.limit_kw is not None and self.limit_until is None:
            return None
        is_init = self.state is SteeringState.INIT
        found: list[tuple[datetime, str]] = []
        if is_init and rules.leaves_init and self.heartbeat_at is None:
            found.append((self.since + RELEASE_WAIT, "LPC-906"))
        if self.returned_at is not None and (rules.leaves_init if is_init else rules.leaves_without_limit):
            found.append((self.returned_at + RELEASE_WAIT, "LPC-906" if is_init else "LPC-921"))
        if not is_init and rules.leaves_after_minimum:
            found.append((self.since + self.failsafe_duration, "LPC-922"))
        if not found:
            return None
        at, rule = min(found)
        return (at if self.limit_until is None else max(at, self.limit_until)), rule


_WRITTEN = {
    (SteeringState.INIT, SteeringState.LIMITED): "LPC-904",
    (SteeringState.INIT, SteeringState.UNLIMITED_CONTROLLED): "LPC-905",
    (SteeringState.LIMITED, SteeringState.UNLIMITED_CONTROLLED): "LPC-909",
    (SteeringState.UNLIMITED_CONTROLLED, SteeringState.LIMITED): "LPC-910",
    (SteeringState.FAILSAFE, SteeringState.LIMITED): "LPC-919",
    (SteeringState.FAILSAFE, SteeringState.UNLIMITED_CONTROLLED): "LPC-920",
    (SteeringState.UNLIMITED_AUTONOMOUS, SteeringState.LIMITED): "LPC-919",
    (SteeringState.UNLIMITED_AUTONOMOUS, SteeringState.UNLIMITED_CONTROLLED): "LPC-920",
}
"""Transitions by a written limit; leaving the failsafe needs the heartbeat before it (LPC-916)."""


def new_limitation(tenant: str, box: str, direction: Direction, rules: LimitationRules, now: datetime) -> Limitation:
    """Return the limitation of a box that was never heard, at its first start (LPC-901/1)."""
    return Limitation(
        id=f"{box}:{direction.value}",
        tenant=tenant,
        box=box,
        direction=direction,
        state=SteeringState.INIT,
        since=now,
        rule="LPC-901/1",
        failsafe_kw=rules.failsafe_kw,
        failsafe_duration=rules.failsafe_duration,
    )


def require_power(field: str, power_kw: float) -> None:
    """Check a limit in kW.

    Raises:
        InvalidInput: It is negative or not finite; `field` is named.
    """
    if not math.isfinite(power_kw) or power_kw < 0.0:
        raise InvalidInput(field, "must be a finite number of at least 0")


def most_of(field: str, power_kw: float, direction: Direction) -> float:
    """Return a limit that was said with the sign of its direction as the most that may flow, at least 0.

    Power fed in is negative: a limit of production is at most 0 (LPP-001), one of consumption at least 0 (LPC-001).

    Raises:
        InvalidInput: It has the sign of the other direction or is not finite; `field` is named.
    """
    if not math.isfinite(power_kw):
        raise InvalidInput(field, "must be a finite number")
    if direction is Direction.IMPORT and power_kw < 0.0:
        raise InvalidInput(field, "must be at least 0: it limits what is drawn")
    if direction is Direction.EXPORT and power_kw > 0.0:
        raise InvalidInput(field, "must be at most 0: power fed in is negative")
    return abs(power_kw)


def signed_kw(max_kw: float, direction: Direction) -> float:
    """Return the most that may flow with the sign of its direction; the reverse of `most_of`."""
    return max_kw if direction is Direction.IMPORT or max_kw == 0.0 else -max_kw


def signed_or_none(max_kw: float | None, direction: Direction) -> float | None:
    """Return a limit with the sign of its direction; None stays None."""
    return None if max_kw is None else signed_kw(max_kw, direction)


def require_failsafe_duration(field: str, duration: timedelta) -> None:
    """Check a minimum duration of the failsafe.

    Raises:
        InvalidInput: It is outside 2 to 24 hours; `field` is named.
    """
    if not SHORTEST_FAILSAFE <= duration <= LONGEST_FAILSAFE:
        raise InvalidInput(field, "must be 2 to 24 hours")
