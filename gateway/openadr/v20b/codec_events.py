"""The event messages between elements and values."""

from datetime import timedelta

from lxml import etree

from gateway.domain.errors import InvalidInput
from gateway.openadr.v20b.literals import parse_count, parse_duration, parse_number
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
    text_of,
)
from gateway.openadr.v20b.names import EI, EMIX, OADR, PYLD, STRM, XCAL
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

_NOT_UNITS = frozenset(
    {STRM + "intervals", EI + "eiTarget", EI + "signalName", EI + "signalType", EI + "signalID", EI + "currentValue"}
)
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
    outer = parts(element)
    event = parts(outer[EI + "eiEvent"])
    descriptor = parts(event[EI + "eventDescriptor"])
    event_id = text_of(descriptor, EI + "eventID")
    modification = parse_count("event.modification", text_of(descriptor, EI + "modificationNumber"))
    required = text_of(outer, OADR + "oadrResponseRequired").strip() == "always"
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
    event: Parts, descriptor: Parts, event_id: str, modification: int, *, response_required: bool
) -> WireEvent:
    properties = parts(parts(event[EI + "eiActivePeriod"])[XCAL + "properties"])
    start = read_start(properties, "event")
    duration = read_span(properties, "event")
    if start is None or duration is None:
        raise InvalidInput("event.active_period", "needs a start and a duration")
    return WireEvent(
        event_id=event_id,
        modification=modification,
        priority=parse_count("event.priority", text_of(descriptor, EI + "priority") or "0"),
        market_context=text_of(parts(descriptor[EI + "eiMarketContext"]), EMIX + "marketContext").strip(),
        status=text_of(descriptor, EI + "eventStatus").strip(),
        test_event=text_of(descriptor, EI + "testEvent").strip().lower() not in {"", "false"},
        start=start,
        duration=duration,
        start_after=_read_start_after(properties),
        notification=_read_extension(properties, EI + "x-eiNotification"),
        ramp_up=_read_extension(properties, EI + "x-eiRampUp"),
        recovery=_read_extension(properties, EI + "x-eiRecovery"),
        signals=tuple(
            _read_signal(signal) for signal in event[EI + "eiEventSignals"].iterchildren(EI + "eiEventSignal")
        ),
        targets=read_targets(event.get(EI + "eiTarget")),
        response_required=response_required,
        baseline=_read_baseline(event[EI + "eiEventSignals"].find(EI + "eiEventBaseline")),
        comment=text_of(descriptor, EI + "vtnComment"),
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
    signal = parts(element)
    units = [read_unit(child) for tag, child in signal.items() if tag not in _NOT_UNITS]
    targets = read_targets(signal.get(EI + "eiTarget"))
    return WireSignal(
        signal_id=text_of(signal, EI + "signalID"),
        name=text_of(signal, EI + "signalName").strip(),
        type=text_of(signal, EI + "signalType").strip(),
        unit=units[0] if units else None,
        intervals=tuple(_read_interval(interval) for interval in signal[STRM + "intervals"]),
        device_classes=tuple(target.value for target in targets if target.kind == DEVICE_KIND),
    )


def _read_interval(element: etree._Element) -> WireInterval:
    interval = parts(element)
    values = [value for payload in element.iterchildren(EI + "signalPayload") for value in payload.iter(EI + "value")]
    if len(values) != 1:
        raise InvalidInput("event.interval.value", "must be exactly one number")
    uid = interval.get(XCAL + "uid")
    return WireInterval(
        start=read_start(interval, "event.interval"),
        duration=read_span(interval, "event.interval"),
        uid=None if uid is None else leaf_text(uid),
        value=parse_number("event.interval.value", values[0].text or ""),
    )


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
