"""From readings and states to the values of a report; what is not known is left out, because unknown is never zero."""

import math
from collections.abc import Sequence
from datetime import datetime, timedelta

from gateway.domain.signals import ResourceStatus, UsageReading
from gateway.domain.timegrid import TimeGrid
from gateway.openadr.v20b.report_catalogue import DataPoint, Quantity
from gateway.openadr.v20b.wire_reports import ControlRange, LoadStatus, ReportInterval

_GOOD = "Quality Good - Non Specific"
_OVERRIDDEN = "Quality Good - Local Override"
_UNCERTAIN = "Quality Uncertain - Sub Normal"
_UNKNOWN = "Quality Bad - Not Connected"
_GOOD_COVERAGE = 0.95
_WHOLE_PERCENT = 100
_FULL_LOAD = 1.0

Series = Sequence[tuple[TimeGrid, Sequence[UsageReading] | None]]
"""Grids that follow one another, each with its readings; None where there is nobody to give any."""


def known_values(
    point: DataPoint, series: Series, patient_until: datetime
) -> tuple[datetime | None, list[ReportInterval]]:
    """Return how far one data point is known and its values up to there.

    Args:
        point: What is reported.
        series: Its readings.
        patient_until: A slot that ends after this instant and has no reading is waited for; in an older one what is missing is
            left out.

    Returns:
        The end of the last slot covered, None when not even the first can be told, and the values.
    """
    until: datetime | None = None
    values: list[ReportInterval] = []
    for grid, readings in series:
        for index in range(grid.count):
            value = None if readings is None else _value(point, grid, index, readings)
            slot_end = grid.slot_start(index) + grid.step
            if value is None and readings is not None and slot_end > patient_until:
                return until, values
            if value is not None:
                values.append(value)
            until = slot_end
    return until, values


def _value(point: DataPoint, grid: TimeGrid, index: int, readings: Sequence[UsageReading]) -> ReportInterval | None:
    reading = readings[index] if index < len(readings) else None
    if reading is None or reading.power_kw is None or not math.isfinite(reading.power_kw):
        return None
    return ReportInterval(
        start=grid.slot_start(index),
        duration=grid.step,
        r_id=point.r_id,
        value=reading.power_kw * (grid.step_hours if point.quantity is Quantity.ENERGY else 1.0),
        confidence=min(_WHOLE_PERCENT, max(0, round(reading.coverage * _WHOLE_PERCENT))),
        quality=_GOOD if reading.coverage >= _GOOD_COVERAGE else _UNCERTAIN,
    )


def status_value(point: DataPoint, status: ResourceStatus, start: datetime, duration: timedelta) -> ReportInterval:
    """Return how a resource is as a value; one that nobody knows about is offline, and its quality says so.

    Where a limit cannot be kept, the present capacity is what is drawn instead, not what was ordered.
    """
    rating = status.rating_kw
    capacity = None
    if rating > 0.0:
        held_kw = status.limit_kw
        if status.is_short:
            held_kw = max(status.limit_kw, rating if status.power_kw is None else status.power_kw)
        low, current = status.floor_kw / rating, held_kw / rating
        capacity = ControlRange(current=current, low=min(low, current), high=_FULL_LOAD, normal=_FULL_LOAD)
    quality = _OVERRIDDEN if status.is_overridden else _GOOD
    return ReportInterval(
        start=start,
        duration=duration,
        r_id=point.r_id,
        value=LoadStatus(
            is_online=status.is_online is True,
            is_overridden=status.is_overridden,
            capacity=capacity,
            set_point=ControlRange(
                current=status.limit_kw, low=min(status.floor_kw, status.limit_kw), high=rating, normal=rating
            ),
        ),
        quality=_UNKNOWN if status.is_online is None else quality,
    )


def status_mark(status: ResourceStatus) -> str:
    """Return what counts as a change of a status: reachable, overridden, the limit and whether it is kept, the rating; not the power."""
    return f"{status.is_online} {status.is_overridden} {status.is_short} {status.limit_kw:.3f} {status.rating_kw:.3f}"
