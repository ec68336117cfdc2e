"""A report's content: which resources and intervals it holds, with what is known of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from gateway.openadr.v3.literals import IsoDuration, Start, format_duration
from gateway.openadr.v3.report_facts import Facts, Needs, Yardstick
from gateway.openadr.v3.report_schedule import Slot, parts_of
from gateway.openadr.v3.report_sources import MOMENTARY, Answer, Source
from gateway.openadr.v3.report_values import values_of
from gateway.openadr.v3.wire import (
    AGGREGATED,
    IntervalPeriod,
    Payload,
    PayloadDescriptor,
    ReportResource,
    WireInterval,
    WireReport,
)

REGISTRATION_NAME = "RESOURCE_REGISTRATION"
"""Name of the report that registers resources into a group or takes them out (OpenADR DER profile 1.0.0)."""
_MEASURED = frozenset({Source.MEAN, Source.PEAK, Source.LAST, Source.DELTA, Source.DELIVERED, Source.QUALITY})
_FINE = frozenset({Source.PEAK, Source.LAST})
_UNTOLD = "NORMAL"
"""What a partner takes for granted of a resource whose operation it was never told (NL-Flex)."""
_TIMELESS = frozenset({Source.RECEIPT, Source.OPERATION})
"""Sources whose intervals have no time of their own (NL-Flex)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One resource of a report."""

    name: str
    """The partner's name for it; `AGGREGATED_REPORT` for the sum of several."""
    nodes: tuple[str, ...]
    """Nodes of the site tree that it is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outline:
    """What a report is about, before anything is looked up."""

    event_id: str
    program_id: str
    client_name: str
    name: str
    answers: tuple[Answer, ...]
    entries: tuple[Entry, ...]
    slots: tuple[Slot, ...]
    """The intervals it holds."""
    moment: int | None = None
    """Place of the interval that momentary values belong into; None when the moment is in none."""
    against: Yardstick = field(default_factory=Yardstick)
    """What measured power is held against."""
    skips: Mapping[str, str] = field(default_factory=dict)
    """What each resource last told, for answers that only tell a change."""

    def needs(self) -> Needs:
        """Return what must be found out."""
        sources = {answer.source for answer in self.answers}
        return Needs(
            means=bool(sources & (_MEASURED - _FINE)),
            fine=bool(sources & _FINE),
            status=self.moment is not None and bool(sources & MOMENTARY),
        )

    def measured_slots(self) -> tuple[Slot, ...]:
        """Return the intervals to look up readings for: also the parts where one payload holds several values."""
        steps = {answer.step for answer in self.answers if answer.step is not None}
        parts = [piece for step in steps for slot in self.slots for piece in parts_of(slot, step)]
        return (*self.slots, *parts)


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """A report as far as it is known."""

    report: WireReport | None
    """None when nothing is known."""
    missing: int
    """Measured values that are not known (yet)."""
    told: Mapping[str, str]
    """What each resource tells that only a change is told of."""


def compose(outline: Outline, facts: Mapping[str, Facts]) -> Content:
    """Return a report from what is known.

    Args:
        outline: What it is about.
        facts: What is known, by resource name.
    """
    missing = 0
    told: dict[str, str] = {}
    resources: list[ReportResource] = []
    for entry in outline.entries:
        known = facts.get(entry.name, Facts())
        intervals, lacking = _intervals(outline, known)
        missing += lacking
        said = _said(intervals, outline.answers)
        if said:
            told[entry.name] = said
        if intervals and not (said and outline.skips.get(entry.name, _UNTOLD) == said):
            resources.append(_resource(entry.name, outline, intervals))
    report = WireReport(
        event_id=outline.event_id,
        program_id=outline.program_id,
        client_name=outline.client_name,
        name=outline.name,
        descriptors=tuple(_descriptor(answer) for answer in outline.answers if _is_described(answer)),
        resources=tuple(resources),
    )
    return Content(report=report if resources else None, missing=missing, told=told)


def _intervals(outline: Outline, known: Facts) -> tuple[list[tuple[Slot, tuple[Payload, ...]]], int]:
    """Return the intervals of one resource that say something, and how many measured values are missing."""
    found: list[tuple[Slot, tuple[Payload, ...]]] = []
    missing = 0
    for place, slot in enumerate(outline.slots):
        payloads: list[Payload] = []
        for answer in outline.answers:
            values = values_of(answer, known, slot, outline.against, is_moment=place == outline.moment)
            if values:
                payloads.append(Payload(type=answer.payload_type, values=values))
            is_lacking = not values or values == ("MISSING",)
            missing += is_lacking and answer.source in _MEASURED
        if payloads:
            found.append((slot, tuple(payloads)))
    return found, missing


def _said(intervals: Sequence[tuple[Slot, tuple[Payload, ...]]], answers: Sequence[Answer]) -> str:
    """Return what a resource says in words that stand until they change; empty for other reports."""
    if not all(answer.source is Source.OPERATION for answer in answers):
        return ""
    return " ".join(str(value) for _, payloads in intervals for payload in payloads for value in payload.values)


def _resource(name: str, outline: Outline, intervals: Sequence[tuple[Slot, tuple[Payload, ...]]]) -> ReportResource:
    if all(answer.source in _TIMELESS for answer in outline.answers):
        return ReportResource(
            name=name, intervals=tuple(WireInterval(id=0, payloads=payloads) for _, payloads in intervals)
        )
    first = intervals[0][0]
    is_even = _is_even([slot for slot, _ in intervals]) and all(answer.step is None for answer in outline.answers)
    return ReportResource(
        name=name,
        period=_period(first) if is_even else None,
        intervals=tuple(
            WireInterval(id=slot.id, payloads=payloads, period=None if is_even else _period(slot))
            for slot, payloads in intervals
        ),
    )


def _is_even(slots: Sequence[Slot]) -> bool:
    """Tell whether intervals of one length follow each other, so that the first one's period says it for all."""
    if slots[0].end is None:
        return len(slots) == 1
    length = slots[0].end - slots[0].start
    return all(
        slot.end is not None and slot.end - slot.start == length and slot.start == slots[0].start + length * place
        for place, slot in enumerate(slots)
    )


def _period(slot: Slot) -> IntervalPeriod:
    length: timedelta | None = None if slot.end is None else slot.end - slot.start
    text = "P9999Y" if length is None else format_duration(length)
    duration = IsoDuration(text=text, exact=length or timedelta(0), is_endless=length is None)
    return IntervalPeriod(start=Start(instant=slot.start), duration=duration)


def _is_described(answer: Answer) -> bool:
    """Tell whether values need a word about their unit or reading type."""
    return bool(answer.units or answer.reading_type)


def _descriptor(answer: Answer) -> PayloadDescriptor:
    return PayloadDescriptor(
        payload_type=answer.payload_type, units=answer.units, reading_type=answer.reading_type, is_report=True
    )


def moment_of(slots: Sequence[Slot], now: datetime, tolerance: timedelta) -> int | None:
    """Return the place of the interval that this moment belongs into: the one it is in, or the last that has just ended."""
    for place, slot in enumerate(slots):
        if slot.start <= now and (slot.end is None or now < slot.end):
            return place
    last = slots[-1].end if slots else None
    return len(slots) - 1 if last is not None and last <= now <= last + tolerance else None


def registration(
    event_id: str, program_id: str, client_name: str, group_id: str, resource_ids: Sequence[str], *, is_removal: bool
) -> WireReport:
    """Return the report that registers resources into a resource group, or takes them out (NL-Flex).

    Args:
        event_id: The program's reporting anchor event.
        program_id: The program.
        client_name: Our ven's name.
        group_id: The VTN's object id of the group.
        resource_ids: The VTN's object ids of the resources.
        is_removal: Take them out.
    """
    word = "DE_REGISTRATION_REQUEST" if is_removal else "REGISTRATION_REQUEST"
    payloads = (
        Payload(type="RESOURCE_GROUP_ID", values=(group_id,)),
        Payload(type=word, values=tuple(resource_ids)),
    )
    return WireReport(
        event_id=event_id,
        program_id=program_id,
        client_name=client_name,
        name=REGISTRATION_NAME,
        resources=(ReportResource(name=AGGREGATED, intervals=(WireInterval(id=0, payloads=payloads),)),),
    )
