"""Messages of a VTN in OpenADR 2.0b, written as text and drawn from a generator: for campaigns and benches.

Nothing here comes from the codec that reads them. Every message that is drawn is valid against the schema.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.sax.saxutils import escape

NOW = datetime(2025, 10, 15, 8, 0, tzinfo=UTC)
"""The instant at which the messages arrive."""
CONTEXT = "http://grid.example/dr"
VEN_ID, VTN_ID = "ven-1", "vtn-1"
RESOURCES = ("site-01", "site-02")
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
_DECLARED = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in NAMESPACES.items())
_VERSION = 'ei:schemaVersion="2.0b"'
_IDS = ("E1", "00123", "true", "1.2.3", "event:7", "A&B", "x" * 128, "\u0661\u0662\u0663", "\u200fE")
_CODES = (200, 200, 200, 201, 452, 463, 999)
Draw = random.Random


def tagged(name: str, *inside: str, attributes: str = "") -> str:
    """Return an element with what is inside it, which is not escaped."""
    return f"<{name}{' ' if attributes else ''}{attributes}>{''.join(inside)}</{name}>"


def payload(name: str, *inside: str) -> bytes:
    """Return a whole message around what is inside its one element."""
    message = tagged(name, *inside, attributes=_VERSION)
    signed = tagged("oadr:oadrSignedObject", message, attributes='oadr:Id="oadrSignedObject"')
    return f'<?xml version="1.0" encoding="UTF-8"?><oadr:oadrPayload {_DECLARED}>{signed}</oadr:oadrPayload>'.encode()


def said(code: int = 200, request_id: str = "") -> str:
    """Return an `eiResponse`."""
    return tagged(
        "ei:eiResponse", tagged("ei:responseCode", f"{code:03d}"), tagged("pyld:requestID", escape(request_id))
    )


def span(seconds: int) -> str:
    """Return a `duration`."""
    return tagged("xcal:duration", tagged("xcal:duration", f"PT{seconds}S"))


def start_at(instant: datetime) -> str:
    """Return a `dtstart`."""
    return tagged("xcal:dtstart", tagged("xcal:date-time", f"{instant:%Y-%m-%dT%H:%M:%SZ}"))


def unit(name: str, units: str, scale: str) -> str:
    """Return an `itemBase`."""
    space = "power" if name.startswith("power") else "oadr"
    grid = (tagged("power:hertz", "50"), tagged("power:voltage", "230"), tagged("power:ac", "true"))
    return tagged(
        f"{space}:{name}",
        tagged(f"{space}:itemDescription", "RealPower" if space == "power" else name),
        tagged(f"{space}:itemUnits", units),
        tagged("scale:siScaleCode", scale),
        tagged("power:powerAttributes", *grid) if space == "power" else "",
    )


def signal(name: str, kind: str, values: Sequence[float], seconds: int, unit_text: str = "") -> str:
    """Return an `eiEventSignal` of intervals of equal length."""
    intervals = [
        tagged(
            "ei:interval",
            span(seconds),
            tagged("xcal:uid", tagged("xcal:text", str(number))),
            tagged("ei:signalPayload", tagged("ei:payloadFloat", tagged("ei:value", repr(float(value))))),
        )
        for number, value in enumerate(values)
    ]
    return tagged(
        "ei:eiEventSignal",
        tagged("strm:intervals", *intervals),
        tagged("ei:signalName", name),
        tagged("ei:signalType", kind),
        tagged("ei:signalID", f"{name}-1"),
        unit_text,
        tagged("ei:currentValue", tagged("ei:payloadFloat", tagged("ei:value", "0.0"))),
    )


def event(  # noqa: PLR0913  # what an event says
    event_id: str,
    signals: Sequence[str],
    seconds: int,
    *,
    modification: int = 0,
    start: datetime = NOW + timedelta(hours=1),
    start_after: int | None = None,
    status: str = "far",
    targets: str = "",
    priority: int = 1,
    required: str = "always",
) -> str:
    """Return an `oadrEvent`."""
    tolerate = "" if start_after is None else tagged("xcal:startafter", f"PT{start_after}S")
    descriptor = tagged(
        "ei:eventDescriptor",
        tagged("ei:eventID", escape(event_id)),
        tagged("ei:modificationNumber", str(modification)),
        tagged("ei:priority", str(priority)),
        tagged("ei:eiMarketContext", tagged("emix:marketContext", CONTEXT)),
        tagged("ei:createdDateTime", f"{NOW:%Y-%m-%dT%H:%M:%SZ}"),
        tagged("ei:eventStatus", status),
        tagged("ei:testEvent", "false"),
    )
    properties = tagged(
        "xcal:properties",
        start_at(start),
        span(seconds),
        tagged("xcal:tolerance", tagged("xcal:tolerate", tolerate)) if tolerate else "",
    )
    content = tagged(
        "ei:eiEvent",
        descriptor,
        tagged("ei:eiActivePeriod", properties, "<xcal:components/>"),
        tagged("ei:eiEventSignals", *signals),
        tagged("ei:eiTarget", targets),
    )
    return tagged("oadr:oadrEvent", content, tagged("oadr:oadrResponseRequired", required))


def distribute_event(*events: str, request_id: str = "RQ-1") -> bytes:
    """Return an `oadrDistributeEvent`."""
    return payload(
        "oadr:oadrDistributeEvent",
        said(),
        tagged("pyld:requestID", escape(request_id)),
        tagged("ei:vtnID", VTN_ID),
        *events,
    )


def draw_signal(draw: Draw, seconds: int) -> str:
    """Return a signal whose intervals add up to so many seconds, a multiple of 12."""
    count = draw.choice((1, 1, 2, 4))
    each = seconds // count
    match draw.randrange(5):
        case 0:
            return signal("SIMPLE", "level", [draw.randrange(4) for _ in range(count)], each)
        case 1:
            values = [draw.choice((0.0, 40.0, 250.5)) for _ in range(count)]
            return signal("LOAD_DISPATCH", "setpoint", values, each, unit("powerReal", "W", draw.choice("kM")))
        case 2:
            return signal("LOAD_DISPATCH", "delta", [-10.0] * count, each, unit("powerReal", "W", "k"))
        case 3:
            return signal("LOAD_CONTROL", "x-loadControlCapacity", [draw.random() for _ in range(count)], each)
        case _:
            values = [draw.uniform(-0.1, 0.9) for _ in range(count)]
            return signal("ELECTRICITY_PRICE", "price", values, each, unit("currencyPerKWh", "EUR", "none"))


def draw_event(draw: Draw) -> str:
    """Return an event that breaks no rule."""
    seconds = draw.choice((12, 900, 3_600, 86_400))
    targets = draw.choice(("", tagged("ei:venID", VEN_ID), tagged("ei:resourceID", draw.choice(RESOURCES))))
    return event(
        draw.choice(_IDS),
        [draw_signal(draw, seconds) for _ in range(draw.choice((1, 1, 2)))],
        seconds,
        modification=draw.choice((0, 0, 1, 7, 4_294_967_295)),
        start=NOW + timedelta(minutes=draw.randrange(-60, 600)),
        start_after=draw.choice((None, None, 0, 300)),
        status=draw.choice(("far", "far", "near", "active", "completed", "cancelled")),
        targets=targets,
        priority=draw.choice((0, 1, 2)),
        required=draw.choice(("always", "never")),
    )


def _ids_of(draw: Draw) -> str:
    return tagged("ei:registrationID", draw.choice(("reg-1", "reg-2"))) + tagged("ei:venID", VEN_ID)


def _draw_created_registration(draw: Draw) -> bytes:
    transport = tagged("oadr:oadrTransport", tagged("oadr:oadrTransportName", draw.choice(("simpleHttp", "xmpp"))))
    profile = tagged(
        "oadr:oadrProfile", tagged("oadr:oadrProfileName", "2.0b"), tagged("oadr:oadrTransports", transport)
    )
    return payload(
        "oadr:oadrCreatedPartyRegistration",
        said(draw.choice(_CODES)),
        _ids_of(draw),
        tagged("ei:vtnID", VTN_ID),
        tagged("oadr:oadrProfiles", profile),
        tagged("oadr:oadrRequestedOadrPollFreq", tagged("xcal:duration", draw.choice(("PT1S", "PT10S", "P1D")))),
    )


def _draw_report_request(draw: Draw) -> str:
    properties = tagged("xcal:properties", start_at(NOW), span(draw.choice((0, 600, 3_600))))
    point = tagged("ei:rID", draw.choice(_IDS[:4])) + tagged("ei:readingType", "Direct Read")
    return tagged(
        "oadr:oadrReportRequest",
        tagged("ei:reportRequestID", draw.choice(_IDS[:6]).replace("&", "&amp;")),
        tagged(
            "ei:reportSpecifier",
            tagged("ei:reportSpecifierID", draw.choice(("telemetry-usage", "METADATA", "x"))),
            tagged("xcal:granularity", tagged("xcal:duration", draw.choice(("PT0S", "PT1M", "PT15M")))),
            tagged("ei:reportBackDuration", tagged("xcal:duration", draw.choice(("PT0S", "PT2M")))),
            tagged("ei:reportInterval", properties) if draw.random() < 0.5 else "",  # noqa: PLR2004  # every other one
            *(tagged("ei:specifierPayload", point) for _ in range(draw.choice((1, 2)))),
        ),
    )


def _draw_report_cancel(draw: Draw) -> str:
    return (
        tagged("pyld:requestID", "RQ-X")
        + "".join(tagged("ei:reportRequestID", f"RR-{number}") for number in range(1, draw.choice((2, 4))))
        + tagged("pyld:reportToFollow", draw.choice(("true", "false")))
    )


def _draw_updated_report(draw: Draw) -> bytes:
    inside = tagged("oadr:oadrCancelReport", _draw_report_cancel(draw), attributes=_VERSION)
    return payload("oadr:oadrUpdatedReport", said(draw.choice(_CODES)), draw.choice(("", inside)))


def _draw_events(draw: Draw) -> bytes:
    return distribute_event(*(draw_event(draw) for _ in range(draw.choice((0, 1, 1, 2, 3)))))


def _draw_create_report(draw: Draw) -> bytes:
    requests = [_draw_report_request(draw) for _ in range(draw.choice((1, 2)))]
    return payload("oadr:oadrCreateReport", tagged("pyld:requestID", "RQ-R"), *requests, tagged("ei:venID", VEN_ID))


_KINDS: tuple[Callable[[Draw], bytes], ...] = (
    _draw_events,
    _draw_events,
    _draw_events,
    _draw_events,
    _draw_create_report,
    _draw_updated_report,
    _draw_created_registration,
    lambda draw: payload("oadr:oadrResponse", said(draw.choice(_CODES)), tagged("ei:venID", VEN_ID)),
    lambda draw: payload("oadr:oadrCancelReport", _draw_report_cancel(draw)),
    lambda draw: payload("oadr:oadrRegisteredReport", said(), _draw_report_request(draw)),
    lambda draw: payload("oadr:oadrCancelPartyRegistration", tagged("pyld:requestID", "RQ-C"), _ids_of(draw)),
    lambda draw: payload("oadr:oadrCanceledPartyRegistration", said(draw.choice(_CODES)), _ids_of(draw)),
    lambda draw: payload("oadr:oadrRegisterReport", tagged("pyld:requestID", "RQ-M")),
    lambda _draw: payload("oadr:oadrRequestReregistration", tagged("ei:venID", VEN_ID)),
)


def draw_message(draw: Draw) -> bytes:
    """Return a valid message of any kind that a VTN sends; nearly every third holds events."""
    message: Any = _KINDS[draw.randrange(len(_KINDS))]
    text: bytes = message(draw)
    return text
