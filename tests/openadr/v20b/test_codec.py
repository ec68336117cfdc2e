"""Messages between XML and values: ids character for character, escaping right, every outgoing message valid."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from gateway.domain.errors import InvalidInput
from gateway.openadr.v20b import wire, wire_events, wire_parts, wire_reports
from gateway.openadr.v20b.codec import decode, encode
from gateway.openadr.v20b.codec_report_body import POWER_REAL_KW
from gateway.openadr.v20b.guard import GuardPolicy, check
from gateway.openadr.v20b.reader import read
from tests.openadr.v20b import messages

NOW = datetime(2025, 10, 15, 8, 0, tzinfo=UTC)
NS = {
    "oadr": "http://openadr.org/oadr-2.0b/2012/07",
    "ei": "http://docs.oasis-open.org/ns/energyinterop/201110",
    "pyld": "http://docs.oasis-open.org/ns/energyinterop/201110/payloads",
    "power": "http://docs.oasis-open.org/ns/emix/2011/06/power",
    "xcal": "urn:ietf:params:xml:ns:icalendar-2.0",
    "strm": "urn:ietf:params:xml:ns:icalendar-2.0:stream",
}
IDS = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"), min_size=1, max_size=80
)
AWKWARD = [
    "00123",
    "true",
    "1.2.3",
    "E&1",
    "</ei:eventID><ei:optType>optIn",
    "١٢٣",
    "\u202eabc",
    "=cmd|' /C calc'!A0",
    " padded ",
    "9" * 900,
    '"quoted"',
    "a\tb",
]


def texts(body: bytes, path: str) -> list[str]:
    """Read a message as somebody else would."""
    found: Any = etree.fromstring(body).xpath(path, namespaces=NS)
    return [str(element.text or "") for element in found]


def read_events(body: bytes) -> wire_events.DistributeEvent:
    message = read(body, GuardPolicy(), NOW).message
    assert isinstance(message, wire_events.DistributeEvent)
    return message


def answer_to(event_id: str, modification: int = 0) -> wire_events.CreatedEvent:
    answer = wire_events.EventResponse(
        code=200, description="OK", request_id="RQ", event_id=event_id, modification=modification, opt="optIn"
    )
    return wire_events.CreatedEvent(response=wire_parts.Response(code=200), responses=(answer,), ven_id="ven-1")


@pytest.mark.parametrize("event_id", AWKWARD)
def test_awkward_ids_come_back_character_for_character(event_id: str) -> None:
    event = read_events(messages.distribute_event(messages.event(event_id), request_id=event_id)).events[0]
    assert event.event_id == event_id
    answer = encode(answer_to(event.event_id))
    assert texts(answer, "//ei:eventResponse//ei:eventID") == [event_id]
    assert len(texts(answer, "//ei:optType")) == 1


@given(IDS, IDS, st.integers(0, 2**32 - 1))
def test_any_id_comes_back_character_for_character(event_id: str, vtn_id: str, modification: int) -> None:
    message = read_events(
        messages.distribute_event(
            messages.event(event_id, modification=modification), vtn_id=vtn_id, request_id=event_id
        )
    )
    event = message.events[0]
    assert (message.vtn_id, message.request_id) == (vtn_id, event_id)
    answer = encode(answer_to(event.event_id, event.modification))
    assert texts(answer, "//ei:qualifiedEventID/ei:eventID") == [event_id]
    assert texts(answer, "//ei:qualifiedEventID/ei:modificationNumber") == [str(modification)]


@pytest.mark.parametrize("text", ["\x00", "\x1b[2J", "\ufffe", "a\x08b"])
def test_what_xml_cannot_carry_is_refused_and_not_sent(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"openadr\.outgoing"):
        encode(wire.Poll(ven_id=text))


def test_what_the_schema_forbids_is_not_sent() -> None:
    answer = wire_events.EventResponse(
        code=200, description="", request_id="", event_id="E", modification=0, opt="maybe"
    )
    with pytest.raises(InvalidInput, match="breaks the schema"):
        encode(wire_events.CreatedEvent(response=wire_parts.Response(code=200), responses=(answer,), ven_id="v"))


def test_an_event_is_read_whole() -> None:
    rows = [
        messages.signal(
            [messages.interval("PT15M", 40, uid="0"), messages.interval("PT45M", "20.5", uid="1")],
            unit=messages.power_unit(),
            signal_id="S-9",
            device_class="EVSE",
        ),
        messages.signal(
            [messages.interval("PT1H", "0.25", uid="0")],
            name="ELECTRICITY_PRICE",
            kind="price",
            unit=messages.price_unit(),
        ),
    ]
    body = messages.distribute_event(
        messages.event(
            "E7",
            modification=3,
            start="2025-10-15T15:30:00Z",
            start_after="PT5M",
            notification="P1D",
            signals=rows,
            targets=messages.delivery_point("541448820000000018") + messages.target("resourceID", "R 1"),
            required="never",
            test="foo",
            priority=2,
        )
    )
    event = read_events(body).events[0]
    assert event == wire_events.WireEvent(
        event_id="E7",
        modification=3,
        priority=2,
        market_context=messages.CONTEXT,
        status="far",
        test_event=True,
        start=datetime(2025, 10, 15, 15, 30, tzinfo=UTC),
        duration=timedelta(hours=1),
        start_after=timedelta(minutes=5),
        notification=timedelta(days=1),
        ramp_up=timedelta(0),
        recovery=timedelta(0),
        signals=(
            wire_events.WireSignal(
                signal_id="S-9",
                name="LOAD_DISPATCH",
                type="setpoint",
                unit=wire_parts.Unit(name="powerReal", units="W", scale="k"),
                intervals=(
                    wire_events.WireInterval(start=None, duration=timedelta(minutes=15), uid="0", value=Decimal(40)),
                    wire_events.WireInterval(
                        start=None, duration=timedelta(minutes=45), uid="1", value=Decimal("20.5")
                    ),
                ),
                device_classes=("EVSE",),
            ),
            wire_events.WireSignal(
                signal_id="S1",
                name="ELECTRICITY_PRICE",
                type="price",
                unit=wire_parts.Unit(name="currencyPerKWh", units="EUR", scale="none"),
                intervals=(
                    wire_events.WireInterval(start=None, duration=timedelta(hours=1), uid="0", value=Decimal("0.25")),
                ),
            ),
        ),
        targets=(
            wire_parts.Target(kind="serviceDeliveryPoint", value="541448820000000018"),
            wire_parts.Target(kind="resourceID", value="R 1"),
        ),
        response_required=False,
    )


@pytest.mark.parametrize(
    ("text", "is_test"), [("false", False), (None, False), ("true", True), ("foo", True), ("", False)]
)
def test_anything_but_false_is_a_test_event(text: str | None, is_test: bool) -> None:
    event = read_events(messages.distribute_event(messages.event(test=text))).events[0]
    assert isinstance(event, wire_events.WireEvent)
    assert event.test_event is is_test


@pytest.mark.parametrize(
    "broken",
    [
        {"duration": "P1M"},
        {"start": "-2025-10-15T09:00:00Z"},
        {"start_after": "P1Y"},
        {"notification": "P1M"},
        {"modification": "0" * 5_000 + "7", "duration": "P1M"},
    ],
)
def test_a_broken_event_keeps_its_name_and_harms_no_other(broken: dict[str, str]) -> None:
    body = messages.distribute_event(messages.event("E1"), messages.event("E2", **broken), messages.event("E3"))
    events = read_events(body).events
    assert [event.event_id for event in events] == ["E1", "E2", "E3"]
    assert isinstance(events[1], wire_events.BrokenEvent)
    assert events[1].response_required


def test_a_message_that_is_not_for_a_ven_is_refused() -> None:
    body = messages.payload('<oadr:oadrPoll ei:schemaVersion="2.0b"><ei:venID>x</ei:venID></oadr:oadrPoll>')
    with pytest.raises(InvalidInput, match="oadrPoll is not for a VEN"):
        decode(check(body, GuardPolicy(), NOW).signed_object)


def test_registration_messages_are_read() -> None:
    offer = read(messages.created_registration(registration_id="", ven_id="", poll=None), GuardPolicy(), NOW).message
    assert offer == wire.CreatedPartyRegistration(
        response=wire_parts.Response(code=200, description="said"),
        registration_id=None,
        ven_id=None,
        vtn_id=messages.VTN_ID,
        profiles=(("2.0b", ("simpleHttp",)),),
        poll_interval=None,
    )
    cancel = read(messages.cancel_registration(), GuardPolicy(), NOW).message
    assert cancel == wire.CancelPartyRegistration(request_id="RQ-C", registration_id="reg-1", ven_id="ven-1")
    assert read(messages.request_reregistration(), GuardPolicy(), NOW).message == wire.RequestReregistration(
        ven_id="ven-1"
    )
    canceled = messages.payload(
        f'<oadr:oadrCanceledPartyRegistration ei:schemaVersion="2.0b">{messages.response(452)}'
        "</oadr:oadrCanceledPartyRegistration>"
    )
    assert read(canceled, GuardPolicy(), NOW).message == wire.CanceledPartyRegistration(
        response=wire_parts.Response(code=452, description="said"), registration_id=None, ven_id=None
    )


def test_report_messages_are_read() -> None:
    body = messages.create_report(
        messages.report_request("RR-1", granularity="PT90S", report_back="PT3M"),
        messages.report_request("RR-2", start="2025-10-15T08:00:15Z", duration="PT10M", r_ids=("a", "b")),
    )
    message = read(body, GuardPolicy(), NOW).message
    assert isinstance(message, wire_reports.CreateReport)
    first, second = message.requests
    assert (first.granularity, first.report_back) == (timedelta(seconds=90), timedelta(minutes=3))
    assert (first.start, first.duration, first.r_ids) == (None, None, ("vpp-be-power",))
    assert (second.start, second.duration) == (datetime(2025, 10, 15, 8, 0, 15, tzinfo=UTC), timedelta(minutes=10))
    assert second.r_ids == ("a", "b")
    updated = read(messages.updated_report(cancel=["RR-1", "RR-2"], to_follow=True), GuardPolicy(), NOW).message
    assert isinstance(updated, wire_reports.UpdatedReport)
    assert updated.cancel == wire_reports.CancelReport(
        request_id="RQ-X", report_request_ids=("RR-1", "RR-2"), to_follow=True, ven_id=None
    )


OUTGOING: list[Any] = [
    wire.QueryRegistration(request_id="R&1"),
    wire.CreatePartyRegistration(
        request_id="R", registration_id="A&B", ven_id="<v>", ven_name="Depot A&B <1>", xml_signature=True
    ),
    wire.CreatePartyRegistration(request_id="R", registration_id=None, ven_id=None, ven_name="n", xml_signature=False),
    wire.CancelPartyRegistration(request_id="R", registration_id="A&B", ven_id="v"),
    wire.CanceledPartyRegistration(response=wire_parts.Response(code=200), registration_id="A", ven_id="v"),
    wire.OadrResponse(response=wire_parts.Response(code=200, description="OK <fine>"), ven_id=None),
    wire.Poll(ven_id="v&w"),
    wire_events.RequestEvent(request_id="R", ven_id="v"),
    answer_to("E & co"),
    wire_events.CreatedEvent(
        response=wire_parts.Response(code=452, description="not our VTN"), responses=(), ven_id="v"
    ),
    wire_reports.RegisteredReport(response=wire_parts.Response(code=200, request_id="R"), requests=(), ven_id="v"),
    wire_reports.CreatedReport(response=wire_parts.Response(code=200), pending=("A", "B&C"), ven_id="v"),
    wire_reports.CanceledReport(response=wire_parts.Response(code=452, description="x"), pending=(), ven_id="v"),
]


@pytest.mark.parametrize("message", OUTGOING, ids=range(len(OUTGOING)))
def test_every_outgoing_message_passes_the_guard(message: Any) -> None:
    body = encode(message)
    assert (
        check(body, GuardPolicy(), NOW)
        .signed_object[0]
        .tag.endswith(f"oadr{type(message).__name__.removeprefix('Oadr')}")
    )
    assert b"schemaLocation" not in body


def test_metadata_says_what_we_measure() -> None:
    description = wire_reports.ReportDescription(
        r_id="r-1",
        resource_id="Depot A&B <1>",
        report_type="usage",
        reading_type="Mean",
        unit=POWER_REAL_KW,
        market_context=messages.CONTEXT,
        min_period=timedelta(minutes=1),
        max_period=timedelta(hours=1),
    )
    report = wire_reports.Report(
        report_id=None,
        request_id="0",
        specifier_id="telemetry-usage",
        name="METADATA_TELEMETRY_USAGE",
        created=NOW,
        duration=timedelta(hours=1),
        descriptions=(description,),
    )
    body = encode(wire_reports.RegisterReport(request_id="R", reports=(report,), ven_id="v"))
    assert texts(body, "//oadr:oadrReportDescription//ei:resourceID") == ["Depot A&B <1>"]
    assert texts(body, "//power:powerReal/power:itemUnits") == ["W"]
    assert texts(body, "//ei:reportName") == ["METADATA_TELEMETRY_USAGE"]


def test_an_update_holds_one_value_per_interval_and_point() -> None:
    rows = tuple(
        wire_reports.ReportInterval(
            start=NOW + index * timedelta(minutes=1),
            duration=timedelta(minutes=1),
            r_id=r_id,
            value=12.5,
            confidence=100,
            quality="Quality Good - Non Specific",
        )
        for index in range(2)
        for r_id in ("a", "b")
    )
    report = wire_reports.Report(
        report_id="RR-1/x",
        request_id="RR-1",
        specifier_id="telemetry-usage",
        name="TELEMETRY_USAGE",
        created=NOW,
        start=NOW,
        duration=timedelta(minutes=2),
        intervals=rows,
    )
    body = encode(wire_reports.UpdateReport(request_id="R", reports=(report,), ven_id="v"))
    assert texts(body, "//ei:interval/xcal:dtstart/xcal:date-time") == [
        "2025-10-15T08:00:00Z",
        "2025-10-15T08:00:00Z",
        "2025-10-15T08:01:00Z",
        "2025-10-15T08:01:00Z",
    ]
    assert texts(body, "//ei:interval//ei:rID") == ["a", "b", "a", "b"]
    assert texts(body, "//ei:interval//ei:value") == ["12.5"] * 4
