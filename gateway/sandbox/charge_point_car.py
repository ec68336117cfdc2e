"""The car at a simulated charger: draws what it is allowed between its own least and most, sleeps, wakes, is metered."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

PAUSE_TO_SLEEP = timedelta(seconds=30)
"""A car that does not wake again needs so long a pause to fall asleep."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CarModel:
    """How a car and its charger behave together."""

    least_a: float = 6.0
    """Least current per phase at which it charges."""
    most_a: float = 16.0
    phases: int = 3
    voltage_v: float = 230.0
    follows_after: timedelta = timedelta(seconds=2)
    """From a new limit to the new current."""
    wakes_after: timedelta = timedelta(seconds=5)
    """From the end of a pause to the first current."""
    stays_asleep: bool = False


@dataclass(kw_only=True, slots=True)
class Car:
    """One car, as of the last instant that it was moved to."""

    model: CarModel
    at: datetime
    current_a: float = 0.0
    energy_wh: float = 0.0
    """Register of the charger."""
    _wanted_a: float = 0.0
    _wanted_since: datetime = field(init=False)
    _paused_since: datetime | None = None
    _is_asleep: bool = False

    def __post_init__(self) -> None:
        """Begin without a limit seen."""
        self._wanted_since = self.at
        self._paused_since = self.at - PAUSE_TO_SLEEP / 2

    def move(self, now: datetime, limit_a: float) -> None:
        """Let time pass up to an instant with what is allowed from now on.

        Args:
            now: Not before the last one.
            limit_a: In A per phase; infinite when nothing binds.
        """
        self._draw_until(now)
        allowed = min(limit_a, self.model.most_a)
        wanted = allowed if allowed >= self.model.least_a - 1e-9 else 0.0
        if wanted != self._wanted_a:
            self._wanted_a, self._wanted_since = wanted, now
        self._draw_until(now)

    @property
    def changes_at(self) -> datetime | None:
        """When its current will next change if nothing else does; None when it will not."""
        if self._wanted_a == self.current_a or (self._is_asleep and self._wanted_a > 0.0):
            return None
        wait = self.model.wakes_after if self.current_a == 0.0 else self.model.follows_after
        return self._wanted_since + wait

    def _draw_until(self, now: datetime) -> None:
        if self._paused_since is not None and self.model.stays_asleep and now - self._paused_since >= PAUSE_TO_SLEEP:
            self._is_asleep = True
        change = self.changes_at
        if change is not None and change <= now:
            self._count(change)
            self.current_a = self._wanted_a
            self._paused_since = change if self.current_a == 0.0 else None
        self._count(now)

    def _count(self, until: datetime) -> None:
        if until > self.at:
            self.energy_wh += self.power_w * (until - self.at).total_seconds() / 3600.0
            self.at = until

    @property
    def power_w(self) -> float:
        """What it draws now."""
        return self.current_a * self.model.phases * self.model.voltage_v
