"""The event messages between elements and values."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from lxml import etree

from gateway.domain.errors import InvalidInput
from gateway.openadr.v20b.literals import parse_count, parse_duration, parse_instant, parse_number
from gateway.openadr.v20b.markup import (
    Parts,
    add,
    add_if,
    add_response,
    body,
    leaf_text,
    local_name,
    parts,
    read_response,
    read_span,
    read_start,
    read_targets,
    read_text,
    read_unit,
)
from gateway.openadr.v20b.names import EI, OADR, PYLD, STRM, XCAL
from gateway.openadr.v20b.wire_events import (
    DEVICE_KIND,
    BrokenEvent,
    CreatedEvent,
    DistributeEvent,
    RequestEvent,
    WireBaseline,
    WireEvent,
    WireInterval,
    WireSignal,
)
from gateway.openadr.v20b.wire_parts import Target, Unit

_EVENT_ID = EI + "eventID"
_MODIFICATION = EI + "modificationNumber"
_PRIORITY = EI + "priority"
_MARKET_CONTEXT = EI + "eiMarketContext"
_STATUS = EI + "eventStatus"
_TEST_EVENT = EI + "testEvent"
_COMMENT = EI + "vtnComment"
_SIGNAL, _BASELINE = EI + "eiEventSignal", EI + "eiEventBaseline"
_SIGNAL_NAME, _SIGNAL_TYPE, _SIGNAL_ID = EI + "signalName", EI + "signalType", EI + "signalID"
_SIGNAL_TEXTS = frozenset({_SIGNAL_NAME, _SIGNAL_TYPE, _SIGNAL_ID})
_TARGET = EI + "eiTarget"
_NOT_UNITS = frozenset({STRM + "intervals", EI + "currentValue"})
_PAYLOAD, _VALUE = EI + "signalPayload", EI + "value"
_ALWAYS_THERE = 2
"""Properties of an active period that the schema demands: start and duration."""
_START, _DURATION, _UID = XCAL + "dtstart", XCAL + "duration", XCAL + "uid"
_NOT_BASELINE_UNITS = frozenset(
    {
        XCAL + "dtstart",
        XCAL + "duration",
        STRM + "intervals",
        EI + "baselineID",
        EI + "resourceID",
        EI + "baselineName",
    }
)
_NOTHING = timedelta(0)


def read_distribute_event(element: etree._Element) -> DistributeEvent:
    """Return an `oadrDistributeEvent` as a value; a broken event is kept apart from the others."""
    response = element.find(EI + "eiResponse")
    return DistributeEvent(
        response=None if response is None else read_response(response),
        request_id=read_text(element, PYLD + "requestID"),
        vtn_id=read_text(element, EI + "vtnID"),
        events=tuple(_read_event(event) for event in element.iterchildren(OADR + "oadrEvent")),
    )


def _read_event(element: etree._Element) -> WireEvent | BrokenEvent:
    """Return an event; the places of its parts are those that the schema fixes, which is much faster than looking for them."""
    event, required = element[0], (element[1].text or "").strip() == "always"
    descriptor: dict[str, str] = {}
    for child in event[0]:
        tag = child.tag
        descriptor[tag] = (child[0].text if tag == _MARKET_CONTEXT else child.text) or ""
    event_id = descriptor[_EVENT_ID]
    modification = parse_count("event.modification", descriptor[_MODIFICATION])
    try:
        return _read_content(event, descriptor, event_id, modification, response_required=required)
    except InvalidInput as error:
        return BrokenEvent(
            event_id=event_id,
            modification=modification,
            response_required=required,
            problem=f"{error.field} {error.problem}",
        )


def _read_content(
    event: etree._Element, descriptor: Mapping[str, str], event_id: str, modification: int, *, response_required: bool
) -> WireEvent:
    properties, signals = event[1][0], event[2]
    extensions = parts(properties) if len(properties) > _ALWAYS_THERE else {}
    return WireEvent(
        event_id=event_id,
        modification=modification,
        priority=parse_count("event.priority", descriptor.get(_PRIORITY) or "0"),
        market_context=descriptor[_MARKET_CONTEXT].strip(),
        status=descriptor[_STATUS].strip(),
        test_event=descriptor.get(_TEST_EVENT, "").strip().lower() not in {"", "false"},
        start=parse_instant("event.dtstart", properties[0][0].text or ""),
        duration=parse_duration("event.duration", properties[1][0].text or ""),
        start_after=_read_start_after(extensions),
        notification=_read_extension(extensions, EI + "x-eiNotification"),
        ramp_up=_read_extension(extensions, EI + "x-eiRampUp"),
        recovery=_read_extension(extensions, EI + "x-eiRecovery"),
        signals=tuple(_read_signal(child) for child in signals if child.tag == _SIGNAL),
        targets=read_targets(event[3]) if len(event[3]) else (),
        response_required=response_required,
        baseline=_read_baseline(signals[-1] if signals[-1].tag == _BASELINE else None),
        comment=descriptor.get(_COMMENT, ""),
    )


def _read_baseline(element: etree._Element | None) -> WireBaseline | None:
    """Return the baseline; None for one that cannot be read exactly: it informs, so the event does not fail for it."""
    if element is None:
        return None
    baseline = parts(element)
    units = [read_unit(child) for tag, child in baseline.items() if tag not in _NOT_BASELINE_UNITS]
    try:
        start, duration = read_start(baseline, "event.baseline"), read_span(baseline, "event.baseline")
        intervals = tuple(_read_interval(interval) for interval in baseline[STRM + "intervals"])
    except InvalidInput:
        return None
    if start is None or duration is None:
        return None
    return WireBaseline(
        start=start,
        duration=duration,
        unit=units[0] if units else None,
        intervals=intervals,
        resources=tuple(resource.text or "" for resource in element.iterchildren(EI + "resourceID")),
    )


def _read_start_after(properties: Parts) -> timedelta:
    tolerance = properties.get(XCAL + "tolerance")
    text = None if tolerance is None else tolerance.findtext(f"{XCAL}tolerate/{XCAL}startafter")
    return _NOTHING if text is None else parse_duration("event.startafter", text)


def _read_extension(properties: Parts, tag: str) -> timedelta:
    extension = properties.get(tag)
    return _NOTHING if extension is None else parse_duration(f"event.{local_name(extension)}", leaf_text(extension))


def _read_signal(element: etree._Element) -> WireSignal:
    unit: Unit | None = None
    targets: tuple[Target, ...] = ()
    texts: dict[str, str] = {}
    for child in element:
        tag = child.tag
        if tag in _SIGNAL_TEXTS:
            texts[tag] = child.text or ""
        elif tag == _TARGET:
            targets = read_targets(child)
        elif tag not in _NOT_UNITS:
            unit = read_unit(child)
    return WireSignal(
        signal_id=texts[_SIGNAL_ID],
        name=texts[_SIGNAL_NAME].strip(),
        type=texts[_SIGNAL_TYPE].strip(),
        unit=unit,
        intervals=tuple(_read_interval(interval) for interval in element[0]),
        device_classes=tuple(target.value for target in targets if target.kind == DEVICE_KIND),
    )


def _read_interval(element: etree._Element) -> WireInterval:
    start: datetime | None = None
    duration: timedelta | None = None
    uid: str | None = None
    numbers: list[str] = []
    for child in element:
        tag = child.tag
        if tag == _PAYLOAD:
            numbers += [value.text or "" for value in child[0] if value.tag == _VALUE]
        elif tag == _DURATION:
            duration = parse_duration("event.interval.duration", child[0].text or "")
        elif tag == _UID:
            uid = leaf_text(child)
        elif tag == _START:
            start = parse_instant("event.interval.dtstart", child[0].text or "")
    if len(numbers) != 1:
        raise InvalidInput("event.interval.value", "must be exactly one number")
    return WireInterval(start=start, duration=duration, uid=uid, value=parse_number("event.interval.value", numbers[0]))


def write_created_event(parent: etree._Element, message: CreatedEvent) -> None:
    """Append an `oadrCreatedEvent`; an empty list of responses goes out only with an error (conformance rule 35)."""
    created = add(body(parent, "oadrCreatedEvent"), PYLD + "eiCreatedEvent")
    add_response(created, message.response)
    if message.responses:
        responses = add(created, EI + "eventResponses")
        for answer in message.responses:
            element = add(responses, EI + "eventResponse")
            add(element, EI + "responseCode", f"{answer.code:03d}")
            add_if(element, EI + "responseDescription", answer.description or None)
            add(element, PYLD + "requestID", answer.request_id)
            qualified = add(element, EI + "qualifiedEventID")
            add(qualified, EI + "eventID", answer.event_id)
            add(qualified, EI + "modificationNumber", str(answer.modification))
            add(element, EI + "optType", answer.opt)
    add(created, EI + "venID", message.ven_id)


def write_request_event(parent: etree._Element, message: RequestEvent) -> None:
    """Append an `oadrRequestEvent` without a limit, so that the answer lists everything."""
    request = add(body(parent, "oadrRequestEvent"), PYLD + "eiRequestEvent")
    add(request, PYLD + "requestID", message.request_id)
    add(request, EI + "venID", message.ven_id)
