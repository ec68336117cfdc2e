"""Carbon samples of any regular step onto the quarter-hours of a delivery day, without inventing any."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import TimeGrid
from gateway.domain.units import QUARTER_HOUR


def on_quarter_hours(samples: Mapping[datetime, float], step: timedelta, grid: TimeGrid) -> tuple[float | None, ...]:
    """Return one intensity in g/kWh per slot of the grid, None where a sample is missing.

    A step of a quarter-hour is taken as it is, a longer one is repeated, a shorter one is averaged, and then only when all its
    samples are there.

    Args:
        samples: Intensity in g/kWh by the begin of its sample; each holds for one step.
        step: Length of a sample.
        grid: Quarter-hours of the delivery day.

    Raises:
        InvalidInput: The step is neither a divisor nor a multiple of a quarter-hour.
    """
    if step <= timedelta(0) or (QUARTER_HOUR % step and step % QUARTER_HOUR):
        raise InvalidInput("step", "must divide a quarter-hour or be a multiple of it")
    if step >= QUARTER_HOUR:
        return tuple(samples.get(_begin_of(start, step)) for start in grid.starts())
    parts = QUARTER_HOUR // step
    values: list[float | None] = []
    for start in grid.starts():
        found = [samples.get(start + step * part) for part in range(parts)]
        known = [value for value in found if value is not None]
        values.append(sum(known) / parts if len(known) == parts else None)
    return tuple(values)


def fill(values: list[float | None], further: Sequence[float | None]) -> None:
    """Put values into slots that have none yet: what was measured stays, a forecast fills the rest.

    Args:
        values: One per slot of a day; changed.
        further: One per slot, or nothing at all.
    """
    for slot, value in enumerate(further):
        if values[slot] is None:
            values[slot] = value


def _begin_of(instant: datetime, step: timedelta) -> datetime:
    """Return the begin of the sample that holds at an instant; samples begin on whole steps of UTC."""
    return instant - timedelta(seconds=instant.timestamp() % step.total_seconds())
