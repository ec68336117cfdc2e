"""Civil days of a market: what kind of day it is, and its wall clock where the clock changes.

People come and go, and prices have their shape, by the wall clock. On the two days a year when the clock changes, wall time
and elapsed time differ by an hour after the change:

```
   spring, 23 h:  wall 00 01 | 03 04 ...      the hour after the jump does not exist
   autumn, 25 h:  wall 00 01 02 | 02 03 ...   the hour before the jump comes twice
```
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum

import numpy as np

from bidding.arrays import FloatArray, IntArray, finite_vector
from gateway.domain.timegrid import DeliveryDay, zone_of

HOUR_S = 3600
DAY_S = 24 * HOUR_S
SATURDAY, SUNDAY = 5, 6


class DayType(StrEnum):
    """Days on which people and prices behave alike."""

    WEEKDAY = "weekday"
    SATURDAY = "saturday"
    SUNDAY = "sunday"
    """Sundays and public holidays."""


def day_type(day: date, holidays: AbstractSet[date] = frozenset()) -> DayType:
    """Return the type of a civil day; a public holiday counts as a Sunday."""
    if day in holidays or day.weekday() == SUNDAY:
        return DayType.SUNDAY
    return DayType.SATURDAY if day.weekday() == SATURDAY else DayType.WEEKDAY


@dataclass(frozen=True, kw_only=True, slots=True)
class CivilDay:
    """One civil day as seconds: when it begins, and where its clock jumps."""

    start_s: int
    """Local midnight, seconds since 1970-01-01 UTC."""
    length_s: int
    """23, 24 or 25 hours."""
    jump_s: int
    """Elapsed seconds since midnight at which the clock changes; the length of the day when it does not."""

    @classmethod
    def of(cls, day: DeliveryDay) -> "CivilDay":
        """Return the civil day of a market's delivery day."""
        start, end = day.interval.start, day.next().interval.start
        length_s = int((end - start).total_seconds())
        jump_s = length_s
        if length_s != DAY_S:
            zone = zone_of(day.zone)
            offset = start.astimezone(zone).utcoffset()
            hours = range(length_s // HOUR_S)
            jump_s = next(
                hour * HOUR_S
                for hour in hours
                if (start + timedelta(hours=hour)).astimezone(zone).utcoffset() != offset
            )
        return cls(start_s=int(start.timestamp()), length_s=length_s, jump_s=jump_s)

    @property
    def gain_s(self) -> int:
        """What the wall clock gains at the jump: an hour in spring, minus an hour in autumn, else 0."""
        return DAY_S - self.length_s

    def wall_of(self, elapsed_s: IntArray) -> IntArray:
        """Return the wall clock (seconds since midnight) at elapsed seconds since midnight."""
        return np.where(elapsed_s >= self.jump_s, elapsed_s + self.gain_s, elapsed_s)

    def elapsed_of(self, wall_s: IntArray) -> IntArray:
        """Return elapsed seconds at a wall clock: the first time where it comes twice, the jump where it never comes."""
        after = np.maximum(wall_s - self.gain_s, self.jump_s)
        return np.where(wall_s >= self.jump_s, after, wall_s)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class WallTimes:
    """When many instants were, by the wall clock."""

    types: tuple[DayType, ...]
    """Type of every civil day the instants span."""
    day: IntArray
    """Position in `types` of each instant's day."""
    wall_s: IntArray
    """Wall clock of each instant, seconds since midnight."""


def wall_times(instants_s: IntArray, zone: str) -> WallTimes:
    """Return the civil days and wall clocks of instants given as seconds since 1970-01-01 UTC (at least one)."""
    first, last = (datetime.fromtimestamp(int(edge), tz=UTC) for edge in (instants_s.min(), instants_s.max()))
    days = [DeliveryDay.containing(first, zone)]
    while days[-1].next().interval.start <= last:
        days.append(days[-1].next())
    civil = [CivilDay.of(day) for day in days]
    starts = np.array([one.start_s for one in civil])
    day_of = np.searchsorted(starts, instants_s, side="right") - 1
    elapsed = instants_s - starts[day_of]
    jumped = elapsed >= np.array([one.jump_s for one in civil])[day_of]
    gain = np.array([one.gain_s for one in civil])[day_of]
    return WallTimes(
        types=tuple(day_type(day.day) for day in days), day=day_of, wall_s=elapsed + np.where(jumped, gain, 0)
    )


def by_wall_clock(values: FloatArray, day: DeliveryDay, step: timedelta) -> FloatArray:
    """Return values of a delivery day on the 24-hour wall clock.

    A repeated hour is averaged, a missing one is interpolated between its neighbours.

    Args:
        values: One per delivery period of the day.
        day: The day.
        step: Length of a delivery period.

    Raises:
        InvalidInput: The values are not finite or not one per period.
    """
    grid = day.grid(step)
    checked = finite_vector("values", values, grid.count)
    slot = _wall_slots(day, step)
    count = timedelta(days=1) // step
    seen = np.bincount(slot, minlength=count)
    total = np.bincount(slot, weights=checked, minlength=count)
    present = np.flatnonzero(seen)
    return np.interp(np.arange(count), present, total[present] / seen[present])


def on_delivery_day(wall_values: FloatArray, day: DeliveryDay, step: timedelta) -> FloatArray:
    """Return values of the 24-hour wall clock on the delivery periods of a day: 92, 96 or 100 quarter-hours.

    The last axis is the wall clock.
    """
    taken: FloatArray = wall_values[..., _wall_slots(day, step)]
    return taken


def _wall_slots(day: DeliveryDay, step: timedelta) -> IntArray:
    step_s = int(step.total_seconds())
    civil = CivilDay.of(day)
    return civil.wall_of(np.arange(0, civil.length_s, step_s)) // step_s
