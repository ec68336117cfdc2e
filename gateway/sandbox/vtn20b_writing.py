"""What the scripted VTN writes: OpenADR 2.0b messages from plain JSON, field by field as the script says it.

Values are put on the wire as they stand in the script, so that a script can also say what no good VTN would.
"""

from typing import Any

from lxml import etree

from gateway.domain.errors import InvalidInput
from gateway.sandbox.vtn_control import Script

NAMESPACES = {
    "oadr": "http://openadr.org/oadr-2.0b/2012/07",
    "ei": "http://docs.oasis-open.org/ns/energyinterop/201110",
    "pyld": "http://docs.oasis-open.org/ns/energyinterop/201110/payloads",
    "emix": "http://docs.oasis-open.org/ns/emix/2011/06",
    "power": "http://docs.oasis-open.org/ns/emix/2011/06/power",
    "scale": "http://docs.oasis-open.org/ns/emix/2011/06/siscale",
    "strm": "urn:ietf:params:xml:ns:icalendar-2.0:stream",
    "xcal": "urn:ietf:params:xml:ns:icalendar-2.0",
}
Node = tuple[str, Any]
"""Prefixed name, and text or nodes inside; None among nodes stands for nothing."""

_POWER_ATTRIBUTES: Node = (
    "power:powerAttributes",
    [("power:hertz", "50"), ("power:voltage", "230"), ("power:ac", "true")],
)


def payload(message: Node) -> bytes:
    """Return a message wrapped into `oadrPayload` and `oadrSignedObject`, encoded."""
    root = etree.Element(_name("oadr:oadrPayload"), nsmap=NAMESPACES)
    signed = etree.SubElement(root, _name("oadr:oadrSignedObject"))
    signed.set(_name("oadr:Id"), "oadrSignedObject")
    _append(signed, message)
    signed[0].set(_name("ei:schemaVersion"), "2.0b")
    return etree.tostring(root, xml_declaration=True, encoding="utf-8")


def message_of(kind: str, script: Script) -> bytes:
    """Return the message of a kind with the fields of a script.

    Raises:
        InvalidInput: The VTN says no message of this kind, or a field is missing.
    """
    writer = _WRITERS.get(kind)
    if writer is None:
        raise InvalidInput("message.kind", f"must be one of {', '.join(sorted(_WRITERS))}")
    try:
        return payload((f"oadr:{kind}", writer(script)))
    except KeyError as error:
        raise InvalidInput(f"message.{error.args[0]}", "is missing") from error


def response(script: Script) -> Node:
    """Return an `eiResponse` with code, description and the request it answers."""
    return (
        "ei:eiResponse",
        [
            ("ei:responseCode", str(script.get("code", 200))),
            ("ei:responseDescription", str(script.get("description", "OK"))),
            ("pyld:requestID", str(script.get("answers", ""))),
        ],
    )


def _name(prefixed: str) -> str:
    prefix, _, local = prefixed.partition(":")
    return f"{{{NAMESPACES[prefix]}}}{local}"


def _append(parent: etree._Element, node: Node) -> None:
    name, content = node
    element = etree.SubElement(parent, _name(name))
    if isinstance(content, str):
        element.text = content
        return
    for inner in content:
        if inner is not None:
            _append(element, inner)


def _if(script: Script, field: str, name: str) -> Node | None:
    value = script.get(field)
    return None if value is None else (name, str(value))


def _duration(script: Script, field: str, name: str) -> Node | None:
    value = script.get(field)
    return None if value is None else (name, [("xcal:duration", str(value))])


def _start(script: Script) -> Node | None:
    value = script.get("start")
    return None if value is None else ("xcal:dtstart", [("xcal:date-time", str(value))])


def _oadr_response(script: Script) -> list[Node | None]:
    return [response(script), _if(script, "ven_id", "ei:venID")]


def _registration(script: Script) -> list[Node | None]:
    transport: Node = (
        "oadr:oadrTransports",
        [("oadr:oadrTransport", [("oadr:oadrTransportName", "simpleHttp")])],
    )
    return [
        response(script),
        _if(script, "registration_id", "ei:registrationID"),
        _if(script, "ven_id", "ei:venID"),
        ("ei:vtnID", str(script["vtn_id"])),
        ("oadr:oadrProfiles", [("oadr:oadrProfile", [("oadr:oadrProfileName", "2.0b"), transport])]),
        _duration(script, "poll", "oadr:oadrRequestedOadrPollFreq"),
    ]


def _cancel_registration(script: Script) -> list[Node | None]:
    return [
        ("pyld:requestID", str(script.get("request_id", "RQ-CANCEL"))),
        ("ei:registrationID", str(script["registration_id"])),
        _if(script, "ven_id", "ei:venID"),
    ]


def _canceled_registration(script: Script) -> list[Node | None]:
    return [
        response(script),
        ("ei:registrationID", str(script["registration_id"])),
        _if(script, "ven_id", "ei:venID"),
    ]


def _reregistration(script: Script) -> list[Node | None]:
    return [("ei:venID", str(script["ven_id"]))]


def _distribute_event(script: Script) -> list[Node | None]:
    return [
        response(script) if "code" in script else None,
        ("pyld:requestID", str(script.get("request_id", "RQ-EVENTS"))),
        ("ei:vtnID", str(script["vtn_id"])),
        *(_event(event) for event in script.get("events", ())),
    ]


def _event(script: Script) -> Node:
    context = ("ei:eiMarketContext", [("emix:marketContext", str(script["context"]))])
    descriptor: Node = (
        "ei:eventDescriptor",
        [
            ("ei:eventID", str(script["event_id"])),
            ("ei:modificationNumber", str(script.get("modification", 0))),
            _if(script, "priority", "ei:priority"),
            context,
            ("ei:createdDateTime", str(script["created"])),
            ("ei:eventStatus", str(script.get("status", "far"))),
            _if(script, "test_event", "ei:testEvent"),
            _if(script, "comment", "ei:vtnComment"),
        ],
    )
    signals = [_signal(each, index) for index, each in enumerate(script.get("signals", ()))]
    targets: Node = ("ei:eiTarget", [(f"ei:{each['kind']}", str(each["id"])) for each in script.get("targets", ())])
    return (
        "oadr:oadrEvent",
        [
            ("ei:eiEvent", [descriptor, _active_period(script), ("ei:eiEventSignals", signals), targets]),
            ("oadr:oadrResponseRequired", str(script.get("response_required", "always"))),
        ],
    )


def _active_period(script: Script) -> Node:
    start_after = script.get("start_after")
    tolerance: Node | None = None
    if start_after is not None:
        tolerance = ("xcal:tolerance", [("xcal:tolerate", [("xcal:startafter", str(start_after))])])
    properties = [
        _start(script),
        _duration(script, "duration", "xcal:duration"),
        tolerance,
        _duration(script, "notification", "ei:x-eiNotification"),
        _duration(script, "ramp_up", "ei:x-eiRampUp"),
        _duration(script, "recovery", "ei:x-eiRecovery"),
    ]
    return ("ei:eiActivePeriod", [("xcal:properties", properties), ("xcal:components", "")])


def _signal(script: Script, index: int) -> Node:
    intervals = [_interval(each, uid) for uid, each in enumerate(script.get("intervals", ()))]
    return (
        "ei:eiEventSignal",
        [
            ("strm:intervals", intervals),
            ("ei:signalName", str(script.get("name", "LOAD_DISPATCH"))),
            ("ei:signalType", str(script.get("type", "setpoint"))),
            ("ei:signalID", str(script.get("signal_id", f"S{index}"))),
            _unit(script.get("unit")),
            ("ei:currentValue", _value(0)),
        ],
    )


def _interval(script: Script, uid: int) -> Node:
    return (
        "ei:interval",
        [
            _start(script),
            _duration(script, "duration", "xcal:duration"),
            ("xcal:uid", [("xcal:text", str(script.get("uid", uid)))]),
            ("ei:signalPayload", _value(script["value"])),
        ],
    )


def _value(value: object) -> list[Node]:
    return [("ei:payloadFloat", [("ei:value", str(value))])]


def _unit(script: Script | None) -> Node | None:
    """Return real power (`{"scale": "k"}`) or a price (`{"price": "currencyPerKWh", "currency": "EUR"}`)."""
    if script is None:
        return None
    scale = str(script.get("scale", "none"))
    if "price" in script:
        name = str(script["price"])
        return (
            f"oadr:{name}",
            [
                ("oadr:itemDescription", name),
                ("oadr:itemUnits", str(script["currency"])),
                ("scale:siScaleCode", scale),
            ],
        )
    described: list[Node] = [("power:itemDescription", "RealPower"), ("power:itemUnits", "W")]
    return ("power:powerReal", [*described, ("scale:siScaleCode", scale), _POWER_ATTRIBUTES])


def _registered_report(script: Script) -> list[Node | None]:
    return [response(script), *_requests(script), _if(script, "ven_id", "ei:venID")]


def _create_report(script: Script) -> list[Node | None]:
    return [
        ("pyld:requestID", str(script.get("request_id", "RQ-REPORT"))),
        *_requests(script),
        _if(script, "ven_id", "ei:venID"),
    ]


def _requests(script: Script) -> list[Node]:
    return [_report_request(each) for each in script.get("requests", ())]


def _report_request(script: Script) -> Node:
    span: Node | None = None
    if script.get("start") is not None:
        properties = [_start(script), _duration(script, "duration", "xcal:duration")]
        span = ("ei:reportInterval", [("xcal:properties", properties)])
    points: list[Node] = [
        ("ei:specifierPayload", [("ei:rID", str(each["r_id"])), ("ei:readingType", str(each["reading_type"]))])
        for each in script["points"]
    ]
    specifier: list[Node | None] = [
        ("ei:reportSpecifierID", str(script["specifier_id"])),
        _duration(script, "granularity", "xcal:granularity"),
        _duration(script, "back", "ei:reportBackDuration"),
        span,
        *points,
    ]
    return (
        "oadr:oadrReportRequest",
        [("ei:reportRequestID", str(script["report_request_id"])), ("ei:reportSpecifier", specifier)],
    )


def _cancel_report(script: Script) -> list[Node | None]:
    return [
        ("pyld:requestID", str(script.get("request_id", "RQ-CANCEL-REPORT"))),
        *(("ei:reportRequestID", str(each)) for each in script["report_request_ids"]),
        ("pyld:reportToFollow", "true" if script.get("to_follow") else "false"),
        _if(script, "ven_id", "ei:venID"),
    ]


def _updated_report(script: Script) -> list[Node | None]:
    cancel = script.get("cancel")
    inside: Node | None = None if cancel is None else ("oadr:oadrCancelReport", _cancel_report(cancel))
    return [response(script), inside, _if(script, "ven_id", "ei:venID")]


def _opt(script: Script) -> list[Node | None]:
    return [response(script), ("ei:optID", str(script["opt_id"]))]


_WRITERS = {
    "oadrResponse": _oadr_response,
    "oadrCreatedPartyRegistration": _registration,
    "oadrCancelPartyRegistration": _cancel_registration,
    "oadrCanceledPartyRegistration": _canceled_registration,
    "oadrRequestReregistration": _reregistration,
    "oadrDistributeEvent": _distribute_event,
    "oadrRegisteredReport": _registered_report,
    "oadrCreateReport": _create_report,
    "oadrCancelReport": _cancel_report,
    "oadrUpdatedReport": _updated_report,
    "oadrCreatedOpt": _opt,
    "oadrCanceledOpt": _opt,
}
