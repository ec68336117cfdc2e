"""Instants, intervals, grids and delivery days.

All instants are aware UTC. All intervals are half-open `[start, end)`:

```
   start                     end
     |--slot 0--|--slot 1--|--|      an instant equal to `end` is outside
```

A delivery day is a day of the *market's* time zone: 92, 96 or 100 quarter-hours (clock change in March and October).
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from gateway.domain.errors import InvalidInput
from gateway.domain.units import QUARTER_HOUR


def require_utc(field: str, value: datetime) -> datetime:
    """Return the instant in UTC.

    Raises:
        InvalidInput: The value has no time zone; `field` is named.
    """
    if value.tzinfo is None:
        raise InvalidInput(field, "needs a time zone")
    return value.astimezone(UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A half-open span of time `[start, end)`; `end` None means open-ended."""

    start: datetime
    """First instant inside, aware UTC."""
    end: datetime | None
    """First instant outside, aware UTC; None when it has no end yet."""

    def __post_init__(self) -> None:
        """Reject naive or reversed bounds."""
        require_utc("interval.start", self.start)
        if self.end is not None and require_utc("interval.end", self.end) <= self.start:
            raise InvalidInput("interval.end", "must be after interval.start")

    def contains(self, instant: datetime) -> bool:
        """Tell whether the instant is inside `[start, end)`."""
        return self.start <= instant and (self.end is None or instant < self.end)

    def overlaps(self, other: "Interval") -> bool:
        """Tell whether the two spans share any instant."""
        starts_before = other.end is None or self.start < other.end
        return starts_before and (self.end is None or other.start < self.end)


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeGrid:
    """Equal steps of time: slot `i` is `[start + i*step, start + (i+1)*step)`."""

    start: datetime
    """Begin of slot 0, aware UTC."""
    step: timedelta = QUARTER_HOUR
    """Length of a slot."""
    count: int
    """Number of slots, at least 1."""

    def __post_init__(self) -> None:
        """Reject a naive start, an empty grid and a step that is not positive."""
        require_utc("grid.start", self.start)
        if self.step <= timedelta(0):
            raise InvalidInput("grid.step", "must be positive")
        if self.count < 1:
            raise InvalidInput("grid.count", "must be at least 1")

    @property
    def end(self) -> datetime:
        """First instant after the last slot."""
        return self.start + self.step * self.count

    @property
    def step_hours(self) -> float:
        """Length of a slot in hours, to turn kW into kWh."""
        return self.step.total_seconds() / 3600.0

    def slot_start(self, index: int) -> datetime:
        """Return the begin of a slot.

        Raises:
            InvalidInput: The index is outside `[0, count)`.
        """
        if not 0 <= index < self.count:
            raise InvalidInput("index", f"must be in [0, {self.count})")
        return self.start + self.step * index

    def slot(self, index: int) -> Interval:
        """Return one slot as a half-open interval."""
        start = self.slot_start(index)
        return Interval(start=start, end=start + self.step)

    def index_of(self, instant: datetime) -> int:
        """Return the slot that contains the instant.

        Raises:
            InvalidInput: The instant is outside the grid.
        """
        index = (instant - self.start) // self.step
        if not 0 <= index < self.count:
            raise InvalidInput("instant", f"{instant.isoformat()} is outside the grid")
        return index

    def starts(self) -> tuple[datetime, ...]:
        """Return the begins of all slots in order."""
        return tuple(self.start + self.step * i for i in range(self.count))

    def sub(self, interval: Interval) -> slice:
        """Return the slots that an interval on slot borders covers, as a slice clipped to the grid.

        Raises:
            InvalidInput: A border of the interval lies inside a slot.
        """
        end = self.end if interval.end is None else min(interval.end, self.end)
        first = max(interval.start, self.start) - self.start
        last = end - self.start
        if first % self.step or last % self.step:
            raise InvalidInput("interval", "borders must lie on slot borders")
        return slice(max(0, first // self.step), max(0, last // self.step))


@dataclass(frozen=True, kw_only=True, slots=True)
class DeliveryDay:
    """One day of a market: the civil day in the market's time zone."""

    day: date
    """Civil date in `zone`."""
    zone: str
    """IANA time zone of the market, for example `Europe/Brussels`."""

    def __post_init__(self) -> None:
        """Reject an unknown time zone."""
        zone_of(self.zone)

    @property
    def interval(self) -> Interval:
        """The day as UTC instants: local midnight to local midnight (23, 24 or 25 hours)."""
        return Interval(start=self.at(time(0)), end=self.next().at(time(0)))

    def at(self, local: time) -> datetime:
        """Return a wall-clock time of this day as a UTC instant (the first one where the clock repeats)."""
        return datetime.combine(self.day, local, tzinfo=zone_of(self.zone)).astimezone(UTC)

    def next(self, days: int = 1) -> "DeliveryDay":
        """Return the delivery day `days` later (negative: earlier)."""
        return DeliveryDay(day=self.day + timedelta(days=days), zone=self.zone)

    def grid(self, step: timedelta = QUARTER_HOUR) -> TimeGrid:
        """Return the delivery periods of the day: 92, 96 or 100 for quarter-hours."""
        start = self.at(time(0))
        return TimeGrid(start=start, step=step, count=(self.next().at(time(0)) - start) // step)

    @classmethod
    def containing(cls, instant: datetime, zone: str) -> "DeliveryDay":
        """Return the delivery day of a market that contains the instant."""
        return cls(day=require_utc("instant", instant).astimezone(zone_of(zone)).date(), zone=zone)


def zone_of(name: str) -> ZoneInfo:
    """Return the IANA time zone.

    Raises:
        InvalidInput: The name is not an IANA time zone.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise InvalidInput("time_zone", f"{name!r} is not an IANA time zone") from error
