"""From an event on the wire to a `GridEvent`: the one place where OpenADR's rules about events are read.

```
  start        start + offset                        start + offset + duration
    |--startafter--|==== interval 0 ====|== interval 1 ==|        offset drawn once in [0, startafter], kept ever after
```

Numbers in brackets are the VEN conformance rules of OpenADR 2.0b. Order of modifications (56 to 58) and implied cancellation (61)
need the events already known and are the signal desk's business; this module looks at one event at a time.
"""

import dataclasses
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from gateway.domain.errors import InvalidInput
from gateway.domain.signals import EventBaseline, EventInterval, EventStatus, GridEvent
from gateway.domain.timegrid import Interval
from gateway.openadr.v20b.names import PROFILE, Code
from gateway.openadr.v20b.quantities import energy_kwh, is_energy, is_supported, power_kw, read_value
from gateway.openadr.v20b.refusal import EventRefused
from gateway.openadr.v20b.wire_events import DEVICE_KIND, BrokenEvent, WireBaseline, WireEvent, WireInterval, WireSignal
from gateway.openadr.v20b.wire_parts import Target, Unit

PROTOCOL = f"openadr-{PROFILE}"
"""Dialect of the events made here."""
LONGEST_ID = 1024
"""Longer ids are refused; they are still echoed."""
_LONGEST_UID = 9

Draw = Callable[[float, float], float]
"""Uniform draw in `[low, high)`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Programme:
    """Who we are for one VTN and what of its events concerns us."""

    authority: str
    tenant: str
    ven_id: str
    market_contexts: frozenset[str]
    own_nodes: tuple[str, ...]
    """Nodes that an event for the whole VEN is about."""
    nodes: Mapping[str, str]
    """Node of the site tree by target id (resource, group, party, service delivery point)."""
    device_classes: frozenset[str]
    """End device classes we are: an event or signal for other classes only is not for us."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """What is known about the arrival of an event."""

    raw_signal: str
    """Id of the stored message."""
    received_at: datetime


def record_id(authority: str, event_id: str) -> str:
    """Return the id of the `GridEvent` row of a partner's event."""
    return f"{authority}:{event_id}"


def needs_history(event: WireEvent) -> bool:
    """Tell whether the event known so far matters to the translation: a kept offset, a cancellation."""
    return event.is_cancelled or event.start_after > timedelta(0)


def translate(
    event: WireEvent | BrokenEvent, programme: Programme, receipt: Receipt, known: GridEvent | None, draw: Draw
) -> GridEvent:
    """Return what an event means for us.

    Args:
        event: The event as sent.
        programme: Who we are.
        receipt: When and in which message it came.
        known: The row of this event so far; needed when `needs_history`, otherwise not looked at.
        draw: For a start or cancellation that is to be randomised (30, 65).

    Raises:
        EventRefused: It breaks a rule or is not for us; the code says which (48).
    """
    if isinstance(event, BrokenEvent):
        raise EventRefused(Code.INVALID_DATA, event.problem)
    if not 0 < len(event.event_id) <= LONGEST_ID:
        raise EventRefused(Code.INVALID_ID, f"the event id must have 1 to {LONGEST_ID} characters")
    try:
        if event.is_cancelled:
            return _cancelled(event, programme, receipt, known, draw)
        return _pending(event, programme, receipt, known, draw)
    except InvalidInput as error:
        raise EventRefused(Code.INVALID_DATA, f"{error.field} {error.problem}") from error
    except ArithmeticError as error:
        raise EventRefused(Code.INVALID_DATA, "a time or value is out of range") from error


def _pending(
    event: WireEvent, programme: Programme, receipt: Receipt, known: GridEvent | None, draw: Draw
) -> GridEvent:
    if event.market_context not in programme.market_contexts:
        raise EventRefused(Code.INVALID_ID, "the market context is not one of ours")
    nodes = find_nodes(event.targets, programme)
    if not nodes:
        raise EventRefused(Code.TARGET_MISMATCH, "none of the targets is ours")
    if event.start_after < timedelta(0) or event.duration < timedelta(0):
        raise EventRefused(Code.INVALID_DATA, "durations must not be negative")
    signals = _our_signals(event, programme)
    offset = _offset(event, known, draw)
    start = event.start + offset
    end = start + event.duration if event.duration else None
    intervals = tuple(each for signal in signals for each in _intervals(signal, event, offset))
    asked = _Asked(
        offset=offset,
        start_after=event.start_after,
        intervals=intervals,
        ramp_up=event.ramp_up,
        recovery=event.recovery,
        baselines=_baselines(event.baseline),
    )
    return _framed(event, programme, receipt, Interval(start=start, end=end), nodes, asked)


@dataclass(slots=True, kw_only=True)
class _Asked:
    """What a pending event asks for; of a cancelled one that we did not know nothing."""

    offset: timedelta = timedelta(0)
    start_after: timedelta = timedelta(0)
    intervals: tuple[EventInterval, ...] = ()
    ramp_up: timedelta = timedelta(0)
    recovery: timedelta = timedelta(0)
    baselines: tuple[EventBaseline, ...] = ()


def _framed(
    event: WireEvent, programme: Programme, receipt: Receipt, active: Interval, nodes: tuple[str, ...], asked: _Asked
) -> GridEvent:
    """Return the event as one value, built once: copying it would cost a third of the translation."""
    return GridEvent(
        id=record_id(programme.authority, event.event_id),
        tenant=programme.tenant,
        authority=programme.authority,
        event_id=event.event_id,
        modification=event.modification,
        cancelled=False,
        cancelled_at=None,
        market_context=event.market_context,
        priority=event.priority or None,
        test_event=event.test_event,
        response_required=event.response_required,
        active=active,
        start_offset=asked.offset,
        start_after=asked.start_after,
        notification=event.notification,
        intervals=asked.intervals,
        nodes=nodes,
        opt=None,
        opt_reason="",
        raw_signal=receipt.raw_signal,
        received_at=receipt.received_at,
        protocol=PROTOCOL,
        ramp_up=asked.ramp_up,
        recovery=asked.recovery,
        baselines=asked.baselines,
        comment=event.comment,
    )


def _baselines(baseline: WireBaseline | None) -> tuple[EventBaseline, ...]:
    """Return the steps of what the VTN will compare with; nothing when they cannot be read as power without guessing."""
    if baseline is None:
        return ()
    steps: list[EventBaseline] = []
    cursor = baseline.start
    for interval in baseline.intervals:
        span = baseline.duration if interval.duration is None and len(baseline.intervals) == 1 else interval.duration
        if not span or span < timedelta(0) or interval.start not in {None, cursor}:
            return ()
        try:
            power = _mean_kw(interval.value, span, baseline.unit)
            step = EventBaseline(start=cursor, end=cursor + span, power_kw=power, resources=baseline.resources)
        except (EventRefused, InvalidInput, ArithmeticError):
            return ()
        steps.append(step)
        cursor = step.end
    return tuple(steps)


def _mean_kw(value: Decimal, span: timedelta, unit: Unit | None) -> float:
    """Return a power in kW, also from the energy of a span."""
    if is_energy(unit):
        return float(energy_kwh(value, unit) / Decimal(span / timedelta(hours=1)))
    return float(power_kw(value, unit))


def _offset(event: WireEvent, known: GridEvent | None, draw: Draw) -> timedelta:
    """Return the randomised shift of the start: drawn once, drawn again only when `startafter` changes (30)."""
    if not event.start_after:
        return timedelta(0)
    if known is not None and known.start_after == event.start_after:
        return known.start_offset
    return min(event.start_after, timedelta(seconds=draw(0.0, event.start_after.total_seconds())))


def find_nodes(targets: tuple[Target, ...], programme: Programme) -> tuple[str, ...]:
    """Return the nodes that targets name, each once, in order; an empty list of targets is the whole VEN (22).

    Several targets are alternatives: what we do not know is ignored as long as we know one. Classes of devices do not name
    things but narrow them down: an event that names only classes is for the whole VEN if one of them is ours.
    """
    classes = {target.value for target in targets if target.kind == DEVICE_KIND}
    if classes and not classes & programme.device_classes:
        return ()
    things = [target for target in targets if target.kind != DEVICE_KIND]
    if not things:
        return programme.own_nodes
    found: dict[str, None] = {}
    for target in things:
        if target.kind == "venID":
            found.update(dict.fromkeys(programme.own_nodes if target.value == programme.ven_id else ()))
        elif target.value in programme.nodes:
            found[programme.nodes[target.value]] = None
    return tuple(found)


def _our_signals(event: WireEvent, programme: Programme) -> list[WireSignal]:
    """Return the signals that we understand and that are meant for our kind of device.

    A signal we do not know beside one that we do is left out; an event without any is refused (48).
    """
    known = [signal for signal in event.signals if is_supported(signal)]
    if not known:
        raise EventRefused(Code.SIGNAL_NOT_SUPPORTED, "none of its signals is supported")
    classes = programme.device_classes
    ours = [signal for signal in known if not signal.device_classes or classes.intersection(signal.device_classes)]
    if not ours:
        raise EventRefused(Code.TARGET_MISMATCH, "its signals are for other classes of devices")
    return ours


def _intervals(signal: WireSignal, event: WireEvent, offset: timedelta) -> list[EventInterval]:
    """Lay a signal's intervals end to end from the start of the active period (8)."""
    _check_order(signal.intervals)
    found: list[EventInterval] = []
    cursor = event.start
    for index, interval in enumerate(signal.intervals):
        if interval.start is not None and interval.start != cursor:
            raise EventRefused(Code.INVALID_DATA, "an interval does not start where the one before it ends")
        end = _interval_end(signal.intervals, index, cursor, event)
        found += [
            EventInterval(
                start=cursor + offset,
                end=None if end is None else end + offset,
                instruction=meaning.instruction,
                value=meaning.value,
                signal_id=signal.signal_id,
                currency=meaning.currency,
                text=meaning.text,
            )
            for meaning in read_value(signal, interval.value)
        ]
        cursor = event.start if end is None else end
    if event.duration and cursor != event.start + event.duration:
        raise EventRefused(Code.INVALID_DATA, "the intervals do not add up to the active period")
    return found


def _check_order(intervals: tuple[WireInterval, ...]) -> None:
    """Refuse intervals that are numbered out of order (2)."""
    texts = [interval.uid.strip() for interval in intervals if interval.uid is not None]
    numbers = [int(text) for text in texts if text.isdecimal() and len(text) <= _LONGEST_UID]
    if any(later <= earlier for earlier, later in itertools.pairwise(numbers)):
        raise EventRefused(Code.INVALID_DATA, "the intervals are not in order")


def _interval_end(
    intervals: tuple[WireInterval, ...], index: int, start: datetime, event: WireEvent
) -> datetime | None:
    """Return where an interval ends; None for the last one of an open-ended event (47)."""
    duration = intervals[index].duration
    is_last = index == len(intervals) - 1
    if not event.duration and is_last:
        if duration:
            raise EventRefused(Code.INVALID_DATA, "the last interval of an open-ended event must be open-ended too")
        return None
    if duration is None and len(intervals) == 1:
        return event.start + event.duration
    if duration is None or duration <= timedelta(0):
        raise EventRefused(Code.INVALID_DATA, "an interval needs a duration above zero")
    return start + duration


def _cancelled(
    event: WireEvent, programme: Programme, receipt: Receipt, known: GridEvent | None, draw: Draw
) -> GridEvent:
    """Return the withdrawn event: what we knew of it, cancelled; of an unknown one only the frame, which is no error (60).

    What the message says about signals and targets no longer matters, so it is not judged.
    """
    if known is None:
        return _unknown_cancelled(event, programme, receipt)
    return dataclasses.replace(
        known,
        modification=event.modification,
        cancelled=True,
        cancelled_at=_cancelled_at(known, receipt.received_at, draw),
        response_required=event.response_required,
        opt=None,
        opt_reason="",
        raw_signal=receipt.raw_signal,
        received_at=receipt.received_at,
    )


def _cancelled_at(known: GridEvent, now: datetime, draw: Draw) -> datetime:
    """Return when a cancellation takes effect: at once, or within `startafter` when a randomised event is running (65)."""
    if known.cancelled and known.cancelled_at is not None:
        return known.cancelled_at
    if not known.start_after or known.status(now) is not EventStatus.ACTIVE:
        return now
    return now + timedelta(seconds=draw(0.0, known.start_after.total_seconds()))


def _unknown_cancelled(event: WireEvent, programme: Programme, receipt: Receipt) -> GridEvent:
    end = event.start + event.duration if event.duration > timedelta(0) else None
    frame = _framed(
        event,
        programme,
        receipt,
        Interval(start=event.start, end=end),
        find_nodes(event.targets, programme),
        _Asked(),
    )
    return dataclasses.replace(frame, cancelled=True, cancelled_at=receipt.received_at)
