"""What would have been drawn without an event, and how much of what was promised was delivered.

The baseline is a mean of high days ("X of Y", as in most demand-response programs): of the Y latest comparable days take the
X with the highest draw during the event's hours and average them slot by slot. Optionally the event day's own morning shifts
it. Days are compared by the same slots of the wall clock; whoever builds the arrays takes care of that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from bidding.arrays import FloatArray, finite_vector
from gateway.domain.errors import InvalidInput

PERCENT = 100.0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MeteredDay:
    """Mean power of a past day in the slots that matter (event and adjustment window)."""

    day: date
    power_kw: FloatArray
    """Same slots on every day."""
    is_comparable: bool = True
    """False for another day type, a day with an event of its own, or one without complete metering."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Adjustment:
    """A same-day shift: the difference between the event day and the baseline in a window before the event."""

    window: slice
    """Slots of the arrays, all before the event; leave out the hour in which cars already react to the notice."""
    limit_kw: float | None = None
    """Largest shift in either direction; None for no limit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BaselineRule:
    """How many days are looked at and how many count."""

    looked_at: int = 10
    """Y: the latest comparable days."""
    counted: int = 5
    """X: of these, the ones with the highest draw during the event."""
    adjustment: Adjustment | None = None

    def __post_init__(self) -> None:
        """Reject rules that count more days than they look at."""
        if not 1 <= self.counted <= self.looked_at:
            raise InvalidInput("baseline.counted", "must be 1 to looked_at")

    @property
    def name(self) -> str:
        """How to call the method beside its result."""
        adjusted = "" if self.adjustment is None else ", same-day adjusted"
        return f"high {self.counted} of {self.looked_at}{adjusted}"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Baseline:
    """The estimated draw without the event."""

    power_kw: FloatArray
    """Per slot of the arrays, after adjustment."""
    days: tuple[date, ...]
    """Days that count, latest first."""
    shift_kw: float
    """The same-day adjustment applied; 0.0 without one."""
    method: str


def high_days_baseline(
    past: Sequence[MeteredDay], event: slice, rule: BaselineRule, event_day_kw: FloatArray | None = None
) -> Baseline:
    """Return the baseline of an event.

    Args:
        past: Days before the event day, in any order.
        event: Slots of the event in the arrays.
        rule: How many days, and the adjustment.
        event_day_kw: Measured power of the event day, needed for the adjustment only (values in its window are read).

    Raises:
        InvalidInput: Fewer comparable days than the rule counts, arrays of different length, or an adjustment without the
            event day or not before the event.
    """
    days = sorted((one for one in past if one.is_comparable), key=lambda one: one.day, reverse=True)[: rule.looked_at]
    if len(days) < rule.counted:
        raise InvalidInput("past", f"has {len(days)} comparable days, the rule counts {rule.counted}")
    length = len(days[0].power_kw)
    draws = np.array([finite_vector(f"past.{one.day}", one.power_kw, length) for one in days])
    _require_inside("event", event, length)
    # A stable sort: of equal days the later one counts.
    ranking = np.argsort(-draws[:, event].mean(axis=1), kind="stable")
    counted = np.sort(ranking[: rule.counted])
    mean = draws[counted].mean(axis=0)
    shift = _shift(mean, event, rule.adjustment, event_day_kw)
    return Baseline(
        power_kw=mean + shift,
        days=tuple(days[int(index)].day for index in counted),
        shift_kw=shift,
        method=rule.name,
    )


def _shift(mean: FloatArray, event: slice, adjustment: Adjustment | None, event_day_kw: FloatArray | None) -> float:
    if adjustment is None:
        return 0.0
    if event_day_kw is None:
        raise InvalidInput("event_day_kw", "is needed for the adjustment")
    _require_inside("adjustment.window", adjustment.window, len(mean))
    if adjustment.window.stop > event.start:
        raise InvalidInput("adjustment.window", "must end before the event")
    measured = finite_vector("event_day_kw", event_day_kw[adjustment.window])
    shift = float(measured.mean() - mean[adjustment.window].mean())
    if adjustment.limit_kw is None:
        return shift
    return float(np.clip(shift, -adjustment.limit_kw, adjustment.limit_kw))


def _require_inside(field: str, slots: slice, length: int) -> None:
    if not 0 <= slots.start < slots.stop <= length:
        raise InvalidInput(field, f"must be slots inside [0, {length})")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Performance:
    """How much of a reduction was delivered; reductions are positive."""

    requested_kw: float
    committed_kw: float
    delivered_kw: float
    """Baseline minus metered, averaged over the event."""
    delivered_per_slot_kw: FloatArray

    @property
    def percent(self) -> float | None:
        """Delivered of committed, in percent; None when nothing was committed."""
        return None if self.committed_kw == 0.0 else PERCENT * self.delivered_kw / self.committed_kw


def measure_performance(
    baseline_kw: FloatArray, metered_kw: FloatArray, *, requested_kw: float, committed_kw: float
) -> Performance:
    """Compare the metered power of an event's slots with their baseline.

    Raises:
        InvalidInput: Nothing to compare, or arrays of different length or with gaps.
    """
    baseline = finite_vector("baseline_kw", baseline_kw)
    metered = finite_vector("metered_kw", metered_kw, len(baseline))
    if not baseline.size:
        raise InvalidInput("baseline_kw", "must have at least one slot")
    delivered: FloatArray = baseline - metered
    return Performance(
        requested_kw=requested_kw,
        committed_kw=committed_kw,
        delivered_kw=float(delivered.mean()),
        delivered_per_slot_kw=delivered,
    )
