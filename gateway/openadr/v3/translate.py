"""An event of a 3.x VTN as a `GridEvent`: intervals in absolute time, values in our units, nodes of ours.

What cannot be used is left out and named; the rest is used. An event of which nothing can be used is refused as a whole.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.domain.errors import InvalidInput
from gateway.domain.signals import EventInterval, GridEvent
from gateway.domain.timegrid import Interval
from gateway.openadr.v3.companion import KnownEvent
from gateway.openadr.v3.findings import Finding
from gateway.openadr.v3.payloads import (
    TYPE_UNKNOWN,
    VALUE_REFUSED,
    PayloadRefused,
    Said,
    meaning_of,
    say,
)
from gateway.openadr.v3.settings import VenSettings
from gateway.openadr.v3.timing import Occurrence, Schedule, divide, unroll
from gateway.openadr.v3.wire import Payload, PayloadDescriptor, Program, WireEvent, WireInterval

EMPTY = "no-payloads"
"""Rule of a finding about an interval that says nothing in an event that asks for no report."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Translation:
    """What an event says, as far as it can be used."""

    intervals: tuple[EventInterval, ...]
    """By start."""
    unrolled_until: datetime | None
    """From here on the event goes on, and nothing is translated yet; None when all of it is."""
    findings: tuple[Finding, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """How an event reached us."""

    raw_signal: str
    """Id of the stored message."""
    received_at: datetime


def translate(known: KnownEvent, schedule: Schedule, settings: VenSettings, now: datetime) -> Translation:
    """Return the intervals of an event from now on, or all of them where the event is short and not repeated.

    Args:
        known: The event and its program.
        schedule: When its intervals are.
        settings: Meanings of private payloads, and how far ahead is looked.
        now: Repeated and very long events are translated from here to the horizon.
    """
    event = known.event
    sayings, findings = _sayings(event, known.program, settings)
    is_whole = (
        schedule.cycle is None
        and sum(len(said.values) for one in sayings.values() for _, said in one) <= settings.most_intervals
    )
    since = schedule.start if is_whole else now
    last = datetime.max.replace(tzinfo=now.tzinfo)
    begin = min(max(now, schedule.start), last - settings.horizon)
    until = last if is_whole and schedule.cycle is None else begin + settings.horizon
    unrolled = unroll(schedule, since, until, settings.most_intervals)
    intervals: list[EventInterval] = []
    for occurrence in unrolled.occurrences:
        for place, said in sayings.get(occurrence.index, ()):
            try:
                intervals += [one for one in _intervals(occurrence, said) if is_whole or _lasts(one, now)]
            except InvalidInput as error:
                findings.append(Finding(rule=VALUE_REFUSED, path=place, problem=f"{said.type}: {error.problem}"))
    intervals.sort(key=lambda one: (one.start, one.signal_id))
    cut, beyond = intervals[: settings.most_intervals], intervals[settings.most_intervals :]
    end = unrolled.until
    if beyond:
        end = beyond[0].start
        cut = [one for one in cut if one.start < end]
    return Translation(intervals=tuple(cut), unrolled_until=end, findings=_once(findings))


def grid_event(
    known: KnownEvent, schedule: Schedule, translation: Translation, settings: VenSettings, receipt: Receipt
) -> GridEvent:
    """Return an event in the words of the domain, our answer undecided."""
    event = known.event
    return GridEvent(
        id=record_id(settings.authority, event.meta.id),
        tenant=settings.tenant,
        authority=settings.authority,
        event_id=event.meta.id,
        modification=known.version,
        cancelled=False,
        cancelled_at=None,
        market_context=known.label or event.program_id,
        priority=event.priority,
        test_event=False,
        response_required=False,
        active=Interval(start=schedule.start, end=schedule.end),
        start_offset=schedule.shift,
        start_after=timedelta(0),
        notification=timedelta(0),
        intervals=translation.intervals,
        nodes=known.nodes,
        opt=None,
        opt_reason="",
        raw_signal=receipt.raw_signal,
        received_at=receipt.received_at,
        protocol=settings.protocol,
        is_binding=known.program is not None and known.program.is_binding,
        comment=event.name,
        unrolled_until=translation.unrolled_until,
    )


def record_id(authority: str, event_id: str) -> str:
    """Return the id of an event's row."""
    return f"{authority}:{event_id}"


def asks_only_for_reports(event: WireEvent) -> bool:
    """Tell whether an event says nothing but which reports are wanted (User Guide 7.5)."""
    says = any(interval.payloads for interval in event.intervals)
    return bool(event.report_descriptors) and not says


def asks_at_any_time(event: WireEvent) -> bool:
    """Tell whether an event has no time of its own and asks for reports at moments of our choice (User Guide 7.5).

    The anchor and the baselines of NL-Flex are such: they apply from when they are published until they are gone.
    """
    has_time = event.period is not None or any(interval.period is not None for interval in event.intervals)
    return bool(event.report_descriptors) and not has_time


_Sayings = dict[int, tuple[tuple[str, Said], ...]]


def _sayings(event: WireEvent, program: Program | None, settings: VenSettings) -> tuple[_Sayings, list[Finding]]:
    """Return what each interval says, by its place; repeated intervals say the same each time."""
    descriptors = _descriptors(event, program)
    findings: list[Finding] = []
    sayings: _Sayings = {}
    for index, interval in enumerate(event.intervals):
        path = f"intervals[{index}]"
        if not interval.payloads and not event.report_descriptors:
            findings.append(Finding(rule=EMPTY, path=f"{path}.payloads", problem="is empty"))
        sayings[index] = tuple(_said(interval, path, descriptors, settings, findings))
    return sayings, findings


def _descriptors(event: WireEvent, program: Program | None) -> dict[str, PayloadDescriptor]:
    """Return what values are measured in: the program's word is the default, the event's comes first (User Guide 7.6)."""
    default: Sequence[PayloadDescriptor] = () if program is None else program.descriptors
    return {one.payload_type: one for one in (*default, *event.descriptors) if not one.is_report}


def _said(
    interval: WireInterval,
    path: str,
    descriptors: Mapping[str, PayloadDescriptor],
    settings: VenSettings,
    findings: list[Finding],
) -> list[tuple[str, Said]]:
    found = []
    for number, payload in enumerate(interval.payloads):
        place = f"{path}.payloads[{number}]"
        try:
            found.append((place, _one(payload, descriptors.get(payload.type), settings)))
        except PayloadRefused as error:
            findings.append(Finding(rule=error.rule, path=place, problem=f"{payload.type} {error.problem}"))
    return found


def _one(payload: Payload, descriptor: PayloadDescriptor | None, settings: VenSettings) -> Said:
    meaning = meaning_of(payload.type, settings.control_setpoint, settings.private_payloads)
    if meaning is None:
        raise PayloadRefused(TYPE_UNKNOWN, payload.type, "is a payload type that nobody here knows")
    return say(payload, meaning, descriptor)


def _intervals(occurrence: Occurrence, said: Said) -> list[EventInterval]:
    spans = divide(occurrence.start, occurrence.end, len(said.values))
    return [
        EventInterval(
            start=start,
            end=end,
            instruction=said.instruction,
            value=value,
            signal_id=said.type,
            currency=said.currency,
            text=said.text,
        )
        for (start, end), value in zip(spans, said.values, strict=True)
        if end is None or end > start
    ]


def _lasts(interval: EventInterval, now: datetime) -> bool:
    return interval.end is None or interval.end > now


def _once(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return one finding of those that say the same of several places."""
    return tuple({(one.rule, one.problem): one for one in reversed(findings)}.values())[::-1]
