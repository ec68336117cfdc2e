"""Messages as a VTN writes them, built as text and not with our codec, so that a mistake in the codec shows."""

from collections.abc import Sequence
from xml.sax.saxutils import escape

NAMESPACES = (
    'xmlns:oadr="http://openadr.org/oadr-2.0b/2012/07" '
    'xmlns:ei="http://docs.oasis-open.org/ns/energyinterop/201110" '
    'xmlns:pyld="http://docs.oasis-open.org/ns/energyinterop/201110/payloads" '
    'xmlns:emix="http://docs.oasis-open.org/ns/emix/2011/06" '
    'xmlns:power="http://docs.oasis-open.org/ns/emix/2011/06/power" '
    'xmlns:scale="http://docs.oasis-open.org/ns/emix/2011/06/siscale" '
    'xmlns:strm="urn:ietf:params:xml:ns:icalendar-2.0:stream" '
    'xmlns:xcal="urn:ietf:params:xml:ns:icalendar-2.0"'
)
VTN_ID = "VTN-TEST"
VEN_ID = "ven-1"
REGISTRATION_ID = "reg-1"
CONTEXT = "http://grid.example/dr"
START = "2025-10-15T09:00:00Z"


def payload(inner: str, *, before: str = "") -> bytes:
    """Wrap a message into oadrPayload and oadrSignedObject."""
    return (
        f'<?xml version="1.0" encoding="utf-8"?><oadr:oadrPayload {NAMESPACES}>{before}'
        f'<oadr:oadrSignedObject oadr:Id="oadrSignedObject">{inner}</oadr:oadrSignedObject></oadr:oadrPayload>'
    ).encode()


def response(code: int = 200, request_id: str = "") -> str:
    return (
        f"<ei:eiResponse><ei:responseCode>{code:03d}</ei:responseCode><ei:responseDescription>said</ei:responseDescription>"
        f"<pyld:requestID>{escape(request_id)}</pyld:requestID></ei:eiResponse>"
    )


def power_unit(scale: str = "k", units: str = "W") -> str:
    return (
        f"<power:powerReal><power:itemDescription>RealPower</power:itemDescription><power:itemUnits>{units}</power:itemUnits>"
        f"<scale:siScaleCode>{scale}</scale:siScaleCode><power:powerAttributes><power:hertz>50</power:hertz>"
        "<power:voltage>230</power:voltage><power:ac>true</power:ac></power:powerAttributes></power:powerReal>"
    )


def custom_unit(units: str, scale: str = "none") -> str:
    return (
        f"<oadr:customUnit><oadr:itemDescription>power</oadr:itemDescription><oadr:itemUnits>{units}</oadr:itemUnits>"
        f"<scale:siScaleCode>{scale}</scale:siScaleCode></oadr:customUnit>"
    )


def energy_unit(scale: str = "k") -> str:
    return (
        "<power:energyReal><power:itemDescription>RealEnergy</power:itemDescription><power:itemUnits>Wh</power:itemUnits>"
        f"<scale:siScaleCode>{scale}</scale:siScaleCode></power:energyReal>"
    )


def current_unit() -> str:
    return (
        "<oadr:current><oadr:itemDescription>Current</oadr:itemDescription><oadr:itemUnits>A</oadr:itemUnits>"
        "<scale:siScaleCode>none</scale:siScaleCode></oadr:current>"
    )


def price_unit(currency: str = "EUR", scale: str = "none", name: str = "currencyPerKWh") -> str:
    return (
        f"<oadr:{name}><oadr:itemDescription>{name}</oadr:itemDescription><oadr:itemUnits>{currency}</oadr:itemUnits>"
        f"<scale:siScaleCode>{scale}</scale:siScaleCode></oadr:{name}>"
    )


def interval(duration: str | None, value: object, *, uid: str | None = None, start: str | None = None) -> str:
    dtstart = "" if start is None else f"<xcal:dtstart><xcal:date-time>{start}</xcal:date-time></xcal:dtstart>"
    span = "" if duration is None else f"<xcal:duration><xcal:duration>{duration}</xcal:duration></xcal:duration>"
    number = "" if uid is None else f"<xcal:uid><xcal:text>{uid}</xcal:text></xcal:uid>"
    return (
        f"<ei:interval>{dtstart}{span}{number}<ei:signalPayload><ei:payloadFloat><ei:value>{value}</ei:value>"
        "</ei:payloadFloat></ei:signalPayload></ei:interval>"
    )


def signal(
    intervals: Sequence[str],
    *,
    name: str = "LOAD_DISPATCH",
    kind: str = "setpoint",
    unit: str = "",
    signal_id: str = "S1",
    device_class: str | None = None,
) -> str:
    target = (
        ""
        if device_class is None
        else f"<ei:eiTarget><power:endDeviceAsset><power:mrid>{device_class}</power:mrid></power:endDeviceAsset></ei:eiTarget>"
    )
    return (
        f"<ei:eiEventSignal><strm:intervals>{''.join(intervals)}</strm:intervals>{target}<ei:signalName>{name}</ei:signalName>"
        f"<ei:signalType>{kind}</ei:signalType><ei:signalID>{signal_id}</ei:signalID>{unit}"
        "<ei:currentValue><ei:payloadFloat><ei:value>0</ei:value></ei:payloadFloat></ei:currentValue></ei:eiEventSignal>"
    )


def baseline(
    intervals: Sequence[str],
    *,
    start: str = START,
    duration: str = "PT1H",
    unit: str = "",
    resources: Sequence[str] = (),
) -> str:
    return (
        f"<ei:eiEventBaseline><xcal:dtstart><xcal:date-time>{start}</xcal:date-time></xcal:dtstart>"
        f"<xcal:duration><xcal:duration>{duration}</xcal:duration></xcal:duration>"
        f"<strm:intervals>{''.join(intervals)}</strm:intervals><ei:baselineID>B1</ei:baselineID>"
        f"{''.join(target('resourceID', each) for each in resources)}<ei:baselineName>ten of ten</ei:baselineName>{unit}"
        "</ei:eiEventBaseline>"
    )


def setpoint(value: object = 40, duration: str = "PT1H") -> str:
    return signal([interval(duration, value, uid="0")], unit=power_unit())


def event(
    event_id: str = "E1",
    *,
    modification: object = 0,
    start: str = START,
    duration: str = "PT1H",
    start_after: str | None = None,
    notification: str | None = None,
    ramp_up: str | None = None,
    recovery: str | None = None,
    status: str = "far",
    signals: Sequence[str] | None = None,
    targets: str = "",
    required: str = "always",
    context: str = CONTEXT,
    test: str | None = "false",
    priority: object = 1,
    comment: str | None = None,
    baseline: str = "",
) -> str:
    tolerance = (
        ""
        if start_after is None
        else f"<xcal:tolerance><xcal:tolerate><xcal:startafter>{start_after}</xcal:startafter></xcal:tolerate></xcal:tolerance>"
    )
    notice = "".join(
        f"<ei:x-ei{name}><xcal:duration>{span}</xcal:duration></ei:x-ei{name}>"
        for name, span in (("Notification", notification), ("RampUp", ramp_up), ("Recovery", recovery))
        if span is not None
    )
    tested = "" if test is None else f"<ei:testEvent>{test}</ei:testEvent>"
    ranked = "" if priority is None else f"<ei:priority>{priority}</ei:priority>"
    said = "" if comment is None else f"<ei:vtnComment>{escape(comment)}</ei:vtnComment>"
    rows = [setpoint(duration=duration)] if signals is None else signals
    return (
        f"<oadr:oadrEvent><ei:eiEvent><ei:eventDescriptor><ei:eventID>{escape(event_id)}</ei:eventID>"
        f"<ei:modificationNumber>{modification}</ei:modificationNumber>{ranked}"
        f"<ei:eiMarketContext><emix:marketContext>{context}</emix:marketContext></ei:eiMarketContext>"
        f"<ei:createdDateTime>2025-10-15T07:00:00Z</ei:createdDateTime><ei:eventStatus>{status}</ei:eventStatus>{tested}{said}"
        "</ei:eventDescriptor><ei:eiActivePeriod><xcal:properties>"
        f"<xcal:dtstart><xcal:date-time>{start}</xcal:date-time></xcal:dtstart>"
        f"<xcal:duration><xcal:duration>{duration}</xcal:duration></xcal:duration>{tolerance}{notice}</xcal:properties>"
        f"<xcal:components/></ei:eiActivePeriod><ei:eiEventSignals>{''.join(rows)}{baseline}</ei:eiEventSignals>"
        f"<ei:eiTarget>{targets}</ei:eiTarget></ei:eiEvent><oadr:oadrResponseRequired>{required}</oadr:oadrResponseRequired>"
        "</oadr:oadrEvent>"
    )


def target(kind: str, value: str) -> str:
    return f"<ei:{kind}>{escape(value)}</ei:{kind}>"


def delivery_point(node: str) -> str:
    return f"<power:serviceDeliveryPoint><power:node>{node}</power:node></power:serviceDeliveryPoint>"


def distribute_event(*events: str, vtn_id: str = VTN_ID, request_id: str = "RQ-1", code: int | None = 200) -> bytes:
    said = "" if code is None else response(code)
    return payload(
        f'<oadr:oadrDistributeEvent ei:schemaVersion="2.0b">{said}<pyld:requestID>{escape(request_id)}</pyld:requestID>'
        f"<ei:vtnID>{escape(vtn_id)}</ei:vtnID>{''.join(events)}</oadr:oadrDistributeEvent>"
    )


def oadr_response(code: int = 200) -> bytes:
    return payload(f'<oadr:oadrResponse ei:schemaVersion="2.0b">{response(code)}</oadr:oadrResponse>')


def created_registration(
    *,
    registration_id: str = REGISTRATION_ID,
    ven_id: str = VEN_ID,
    vtn_id: str = VTN_ID,
    poll: str | None = "PT10S",
    code: int = 200,
    profile: str = "2.0b",
    transport: str = "simpleHttp",
) -> bytes:
    frequency = (
        ""
        if poll is None
        else f"<oadr:oadrRequestedOadrPollFreq><xcal:duration>{poll}</xcal:duration></oadr:oadrRequestedOadrPollFreq>"
    )
    return payload(
        f'<oadr:oadrCreatedPartyRegistration ei:schemaVersion="2.0b">{response(code)}'
        f"<ei:registrationID>{escape(registration_id)}</ei:registrationID><ei:venID>{escape(ven_id)}</ei:venID>"
        f"<ei:vtnID>{escape(vtn_id)}</ei:vtnID><oadr:oadrProfiles><oadr:oadrProfile>"
        f"<oadr:oadrProfileName>{profile}</oadr:oadrProfileName><oadr:oadrTransports><oadr:oadrTransport>"
        f"<oadr:oadrTransportName>{transport}</oadr:oadrTransportName></oadr:oadrTransport></oadr:oadrTransports>"
        f"</oadr:oadrProfile></oadr:oadrProfiles>{frequency}</oadr:oadrCreatedPartyRegistration>"
    )


def request_reregistration(ven_id: str = VEN_ID) -> bytes:
    return payload(
        f'<oadr:oadrRequestReregistration ei:schemaVersion="2.0b"><ei:venID>{ven_id}</ei:venID></oadr:oadrRequestReregistration>'
    )


def cancel_registration(registration_id: str = REGISTRATION_ID, ven_id: str = VEN_ID) -> bytes:
    return payload(
        '<oadr:oadrCancelPartyRegistration ei:schemaVersion="2.0b"><pyld:requestID>RQ-C</pyld:requestID>'
        f"<ei:registrationID>{registration_id}</ei:registrationID><ei:venID>{ven_id}</ei:venID>"
        "</oadr:oadrCancelPartyRegistration>"
    )


def report_request(
    request_id: str = "RR-1",
    *,
    specifier: str = "telemetry-usage",
    granularity: str = "PT1M",
    report_back: str = "PT2M",
    start: str | None = None,
    duration: str = "PT0S",
    r_ids: Sequence[str] = ("vpp-be-power",),
) -> str:
    span = (
        ""
        if start is None
        else f"<ei:reportInterval><xcal:properties><xcal:dtstart><xcal:date-time>{start}</xcal:date-time></xcal:dtstart>"
        f"<xcal:duration><xcal:duration>{duration}</xcal:duration></xcal:duration></xcal:properties></ei:reportInterval>"
    )
    points = "".join(
        f"<ei:specifierPayload><ei:rID>{r_id}</ei:rID><ei:readingType>Mean</ei:readingType></ei:specifierPayload>"
        for r_id in r_ids
    )
    return (
        f"<oadr:oadrReportRequest><ei:reportRequestID>{escape(request_id)}</ei:reportRequestID><ei:reportSpecifier>"
        f"<ei:reportSpecifierID>{specifier}</ei:reportSpecifierID>"
        f"<xcal:granularity><xcal:duration>{granularity}</xcal:duration></xcal:granularity>"
        f"<ei:reportBackDuration><xcal:duration>{report_back}</xcal:duration></ei:reportBackDuration>{span}{points}"
        "</ei:reportSpecifier></oadr:oadrReportRequest>"
    )


def registered_report(*requests: str, code: int = 200) -> bytes:
    return payload(
        f'<oadr:oadrRegisteredReport ei:schemaVersion="2.0b">{response(code)}{"".join(requests)}</oadr:oadrRegisteredReport>'
    )


def create_report(*requests: str) -> bytes:
    return payload(
        f'<oadr:oadrCreateReport ei:schemaVersion="2.0b"><pyld:requestID>RQ-R</pyld:requestID>{"".join(requests)}'
        f"<ei:venID>{VEN_ID}</ei:venID></oadr:oadrCreateReport>"
    )


def _cancel_report(request_ids: Sequence[str], to_follow: str) -> str:
    ids = "".join(f"<ei:reportRequestID>{escape(request_id)}</ei:reportRequestID>" for request_id in request_ids)
    return (
        f'<oadr:oadrCancelReport ei:schemaVersion="2.0b"><pyld:requestID>RQ-X</pyld:requestID>{ids}'
        f"<pyld:reportToFollow>{to_follow}</pyld:reportToFollow></oadr:oadrCancelReport>"
    )


def cancel_report(*request_ids: str, to_follow: bool = False) -> bytes:
    return payload(_cancel_report(request_ids, "true" if to_follow else "false"))


def updated_report(code: int = 200, *, cancel: Sequence[str] = (), to_follow: bool = False) -> bytes:
    inside = _cancel_report(cancel, "1" if to_follow else "0") if cancel else ""
    return payload(f'<oadr:oadrUpdatedReport ei:schemaVersion="2.0b">{response(code)}{inside}</oadr:oadrUpdatedReport>')


def register_report() -> bytes:
    return payload(
        '<oadr:oadrRegisterReport ei:schemaVersion="2.0b"><pyld:requestID>RQ-M</pyld:requestID></oadr:oadrRegisterReport>'
    )


def created_opt(opt_id: str, code: int = 200) -> bytes:
    return payload(
        f'<oadr:oadrCreatedOpt ei:schemaVersion="2.0b">{response(code)}<ei:optID>{escape(opt_id)}</ei:optID></oadr:oadrCreatedOpt>'
    )


def canceled_opt(opt_id: str, code: int = 200) -> bytes:
    return payload(
        f'<oadr:oadrCanceledOpt ei:schemaVersion="2.0b">{response(code)}<ei:optID>{escape(opt_id)}</ei:optID></oadr:oadrCanceledOpt>'
    )


def canceled_registration(code: int = 200) -> bytes:
    return payload(
        f'<oadr:oadrCanceledPartyRegistration ei:schemaVersion="2.0b">{response(code)}'
        f"<ei:registrationID>{REGISTRATION_ID}</ei:registrationID><ei:venID>{VEN_ID}</ei:venID>"
        "</oadr:oadrCanceledPartyRegistration>"
    )
