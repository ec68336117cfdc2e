"""From what is known to the values of a report. What is not known has no value: unknown is never zero."""

import math
from collections.abc import Callable, Sequence
from decimal import Decimal

from gateway.domain.signals import ResourceStatus, UsageReading
from gateway.openadr.v3.report_facts import Facts, Span, Yardstick, baseline_kw, simple_level
from gateway.openadr.v3.report_schedule import Slot, parts_of
from gateway.openadr.v3.report_sources import MOMENTARY, Answer, Measure, Source
from gateway.openadr.v3.wire import Value

_GOOD_COVERAGE = 0.95
_IDLE_BELOW_KW = 0.1
_HOUR_S = 3_600.0


def values_of(answer: Answer, facts: Facts, slot: Slot, against: Yardstick, *, is_moment: bool) -> tuple[Value, ...]:
    """Return the values of one payload in one interval; none when they are not known.

    Args:
        answer: What is reported, in which unit.
        facts: What is known about the resource.
        slot: The interval.
        against: The event as we follow it, and the profile's baseline.
        is_moment: Whether what is only known of this moment belongs into this interval.
    """
    if answer.source is Source.RECEIPT:
        return (True,)
    if answer.source in MOMENTARY:
        found = _MOMENTS[answer.source](facts.status) if is_moment and facts.status is not None else None
        return () if found is None else (_written(answer, found, slot),)
    if answer.source is Source.QUALITY:
        return (_quality(facts.means.get(_span(slot))),)
    if answer.source is Source.LEVEL:
        level = simple_level(against.event, slot)
        return () if level is None else (Decimal(level),)
    pieces = [slot] if answer.step is None else parts_of(slot, answer.step)
    powers = [_power_kw(answer, facts, piece, against) for piece in pieces]
    if None in powers:
        return ()
    return tuple(
        _written(answer, power, piece) for power, piece in zip(powers, pieces, strict=True) if power is not None
    )


def _span(slot: Slot) -> Span:
    return slot.start, slot.end


def _power_kw(answer: Answer, facts: Facts, slot: Slot, against: Yardstick) -> float | None:
    """Return the power that stands for an interval."""
    if answer.source is Source.BASELINE:
        return baseline_kw(against.event, slot)
    if answer.source is Source.PEAK:
        return _highest(facts.fine.get(_span(slot), ()))
    if answer.source is Source.LAST:
        readings = facts.fine.get(_span(slot), ())
        return _known(readings[-1]) if readings else None
    mean = _known(facts.means.get(_span(slot)))
    if answer.source is Source.MEAN or mean is None:
        return mean
    if answer.source is Source.DELIVERED:
        return None if against.agreed_kw is None else max(0.0, against.agreed_kw - mean)
    base = baseline_kw(against.event, slot)
    return None if base is None else mean - base


def _known(reading: UsageReading | None) -> float | None:
    if reading is None or reading.power_kw is None or not math.isfinite(reading.power_kw):
        return None
    return reading.power_kw


def _highest(readings: Sequence[UsageReading]) -> float | None:
    """Return the highest reading; without all of them nobody knows which it was."""
    known = [_known(one) for one in readings]
    found = [power for power in known if power is not None]
    return max(found) if found and len(found) == len(known) else None


def _written(answer: Answer, found: float | str, slot: Slot) -> Value:
    if isinstance(found, str):
        return found
    scaled = found * answer.per_kw
    if answer.measure is Measure.ENERGY and slot.end is not None:
        scaled *= (slot.end - slot.start).total_seconds() / _HOUR_S
    return Decimal(f"{scaled:.{answer.decimals}f}") + 0  # + 0 makes the zero below zero a zero


def _quality(mean: UsageReading | None) -> str:
    """Return the word for how well an interval was measured (Definition, data quality)."""
    if mean is None or _known(mean) is None:
        return "MISSING"
    return "OK" if mean.coverage >= _GOOD_COVERAGE else "ESTIMATED"


def _state(status: ResourceStatus) -> str | None:
    """Return the operating state; None when nobody knows whether the chargers can be reached, or what they draw.

    Chargers that cannot keep a limit are not `CURTAILED` as ordered: that is an error before the meter shows it.
    """
    if status.is_online is None:
        return None
    if not status.is_online or status.is_short:
        return "ERROR"
    is_curtailed = status.limit_kw < status.rating_kw
    if status.power_kw is None:
        return None if is_curtailed or status.is_overridden else "NORMAL"
    running = "RUNNING" if abs(status.power_kw) >= _IDLE_BELOW_KW else "IDLE"
    if status.is_overridden:
        return f"{running}_OPTED_OUT"
    return f"{running}_CURTAILED" if is_curtailed else f"{running}_NORMAL"


def _operation(status: ResourceStatus) -> str | None:
    if status.is_online is None:
        return None
    return "NORMAL" if status.is_online and not status.is_short else "ERROR"


def _less(status: ResourceStatus) -> float | None:
    if status.power_kw is None or not status.is_online:
        return None
    return max(0.0, status.power_kw - status.floor_kw)


def _more(status: ResourceStatus) -> float | None:
    if status.power_kw is None or not status.is_online:
        return None
    return max(0.0, min(status.limit_kw, status.rating_kw) - status.power_kw)


def _limit(status: ResourceStatus) -> float | None:
    return status.limit_kw if math.isfinite(status.limit_kw) else None


_MOMENTS: dict[Source, Callable[[ResourceStatus], float | str | None]] = {
    Source.LIMIT: _limit,
    Source.STATE: _state,
    Source.LESS: _less,
    Source.MORE: _more,
    Source.OPERATION: _operation,
}
