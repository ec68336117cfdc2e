"""How far an event was followed: what was asked for, what was drawn, and what would have been drawn without it."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from bidding.civil_day import day_type
from bidding.delivery.baselines import Baseline, BaselineRule, MeteredDay, high_days_baseline
from gateway.domain.capacity import limit_profile_kw
from gateway.domain.limits import Direction, Limit, LimitKind
from gateway.domain.residuals import in_force
from gateway.domain.settlement import MeteredPeriod
from gateway.domain.signals import BINDING_INSTRUCTIONS, GridEvent, OptType, UsageReading
from gateway.domain.timegrid import DeliveryDay, Interval, TimeGrid, zone_of
from gateway.domain.units import QUARTER_HOUR

FloatArray = npt.NDArray[np.float64]
MINUTE = timedelta(minutes=1)
_TRUSTED_COVERAGE = 0.9


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivered:
    """What was drawn while an event was active, against what was asked for."""

    requested_kw: float
    """The least that was asked for at any time."""
    mean_power_kw: float
    compliance: float
    """Share of the measured time at or under the requested power."""


def asked_kw(limits: Sequence[Limit], nodes: Sequence[str], grid: TimeGrid) -> FloatArray:
    """Return the most that an event asked its nodes to draw together, per slot; infinity where a node was not asked."""
    total = np.zeros(grid.count)
    for node in nodes:
        applied = [(limit, in_force(limit)) for limit in limits if limit.node == node and is_asking(limit)]
        total += limit_profile_kw(
            [dataclasses.replace(limit, interval=when) for limit, when in applied if when is not None], grid
        )
    return total


def is_asking(limit: Limit) -> bool:
    """Tell whether a limit asks to draw less; fallbacks, wishes and limits of feeding in do not."""
    return limit.kind is LimitKind.LIMIT and limit.direction is Direction.IMPORT


def moved_load(event: GridEvent) -> bool:
    """Tell whether an event changed what was drawn: we followed it, it was neither test nor dry run, and it asked for limits."""
    is_meant = event.opt is OptType.OPT_IN and not event.test_event and not event.is_dry_run
    return is_meant and any(interval.instruction in BINDING_INSTRUCTIONS for interval in event.intervals)


def delivered_under(asked: FloatArray, readings: Sequence[UsageReading]) -> Delivered | None:
    """Return how readings compare with what was asked, slot by slot; None when nothing was asked for or measured."""
    drawn = np.array([np.nan if reading.power_kw is None else reading.power_kw for reading in readings])
    is_asked = np.isfinite(asked)
    is_measured = is_asked & ~np.isnan(drawn)
    if not is_measured.any():
        return None
    return Delivered(
        requested_kw=float(asked[is_asked].min()),
        mean_power_kw=float(drawn[is_measured].mean()),
        compliance=float((drawn[is_measured] <= asked[is_measured]).mean()),
    )


def event_minutes(span: Interval, now: datetime) -> TimeGrid:
    """Return the minutes of an event that have passed, at least one."""
    end = now if span.end is None else min(span.end, now)
    return TimeGrid(start=span.start, step=MINUTE, count=max(1, (end - span.start) // MINUTE))


def event_quarters(span: Interval, now: datetime) -> TimeGrid:
    """Return the delivery periods that an event touches, so far."""
    end = now if span.end is None else min(span.end, now)
    first = span.start - timedelta(seconds=span.start.timestamp() % QUARTER_HOUR.total_seconds())
    return TimeGrid(start=first, step=QUARTER_HOUR, count=max(1, -((first - end) // QUARTER_HOUR)))


def same_slots(grid: TimeGrid, zone: str, days_earlier: int) -> tuple[datetime, ...]:
    """Return the begins of the same wall-clock slots on an earlier day."""
    found = []
    for start in grid.starts():
        day = DeliveryDay.containing(start, zone).next(-days_earlier)
        found.append(day.at(start.astimezone(zone_of(zone)).time()))
    return tuple(found)


def past_day(
    meters: Sequence[Mapping[datetime, MeteredPeriod]], starts: Sequence[datetime], day: DeliveryDay, *, is_like: bool
) -> MeteredDay:
    """Return what all connection points drew in some slots of a past day; not comparable when a reading is missing."""
    power = np.zeros(len(starts))
    is_whole = True
    for readings in meters:
        for index, start in enumerate(starts):
            period = readings.get(start)
            if period is None or period.coverage < _TRUSTED_COVERAGE:
                is_whole = False
                continue
            power[index] += period.chargers_kwh * 3600.0 / (period.end - period.start).total_seconds()
    return MeteredDay(day=day.day, power_kw=power, is_comparable=is_like and is_whole)


def is_like_day(day: DeliveryDay, event_day: DeliveryDay, busy: Sequence[Interval]) -> bool:
    """Tell whether a past day is of the event day's type and had no event of its own."""
    return day_type(day.day) is day_type(event_day.day) and not any(span.overlaps(day.interval) for span in busy)


def baseline_of(days: Sequence[MeteredDay], slot_count: int, rule: BaselineRule) -> Baseline | None:
    """Return the baseline of slots; None when there is too little past."""
    usable = sum(day.is_comparable for day in days)
    return None if usable < rule.counted else high_days_baseline(days, slice(0, slot_count), rule)


def why_no_baseline(days: Sequence[MeteredDay], rule: BaselineRule) -> str:
    """Return in words that there is too little past for a baseline."""
    return f"{rule.name}: only {sum(day.is_comparable for day in days)} comparable days with meter readings"
