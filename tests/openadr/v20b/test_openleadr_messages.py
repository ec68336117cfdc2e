"""Our messages read by openleadr and openleadr's by us: an independent opinion on the codec and the signatures."""

import warnings
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.openadr.v20b import wire, wire_events, wire_parts, wire_reports
from gateway.openadr.v20b.codec import encode
from gateway.openadr.v20b.codec_report_body import POWER_REAL_KW
from gateway.openadr.v20b.guard import GuardPolicy, SignaturePolicy
from gateway.openadr.v20b.reader import read
from gateway.openadr.v20b.signature import MessageSigner
from tests.openadr.v20b import signing

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from openleadr import enums, messaging, objects, utils

START = datetime(2025, 10, 15, 15, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def theirs(name: str, **payload: Any) -> bytes:
    text: str = messaging.create_message(name, **payload)
    return text.encode()


def understood(body: bytes) -> Any:
    return read(body, GuardPolicy(), START).message


def seen_by_openleadr(message: Any) -> tuple[str, dict[str, Any]]:
    body = encode(message)
    messaging.validate_xml_schema(body)
    name, payload = messaging.parse_message(body)
    return name, payload


def test_their_event_is_understood() -> None:
    unit = {
        "name": "powerReal",
        "description": "RealPower",
        "unit": "W",
        "scale": "k",
        "power_attributes": {"hertz": 50, "voltage": 230, "ac": True},
    }
    event = objects.Event(
        event_descriptor=objects.EventDescriptor(
            event_id="E1", modification_number=2, market_context="http://m.c", event_status="far", priority=1
        ),
        active_period=objects.ActivePeriod(
            dtstart=START, duration=30 * MINUTE, tolerance={"startafter": 5 * MINUTE}, notification_period=60 * MINUTE
        ),
        event_signals=[
            objects.EventSignal(
                intervals=[
                    {"dtstart": START, "duration": 15 * MINUTE, "signal_payload": 40},
                    {"dtstart": START + 15 * MINUTE, "duration": 15 * MINUTE, "signal_payload": 20.5},
                ],
                signal_name="LOAD_DISPATCH",
                signal_type="setpoint",
                signal_id="S",
                measurement=unit,
            )
        ],
        targets=[{"resource_id": "vpp-be"}],
    )
    body = theirs(
        "oadrDistributeEvent",
        vtn_id="V",
        request_id="R",
        response={"response_code": 200, "response_description": "OK", "request_id": "x"},
        events=[event],
    )
    message = understood(body)
    (found,) = message.events
    assert (found.event_id, found.modification, found.start, found.duration) == ("E1", 2, START, 30 * MINUTE)
    assert (found.start_after, found.notification) == (5 * MINUTE, 60 * MINUTE)
    assert found.signals[0].unit == wire_parts.Unit(name="powerReal", units="W", scale="k")
    assert [float(each.value) for each in found.signals[0].intervals] == [40.0, 20.5]
    assert [each.start for each in found.signals[0].intervals] == [START, START + 15 * MINUTE]
    assert found.targets == (wire_parts.Target(kind="resourceID", value="vpp-be"),)


def test_their_zero_duration_is_understood() -> None:
    assert utils.timedeltaformat(timedelta(0)) == "P"


def test_their_registration_and_report_messages_are_understood() -> None:
    created = understood(
        theirs(
            "oadrCreatedPartyRegistration",
            response={"response_code": 200, "response_description": "OK", "request_id": "r"},
            ven_id="v",
            registration_id="g",
            vtn_id="V",
            profiles=[{"profile_name": "2.0b", "transports": [{"transport_name": "simpleHttp"}]}],
            requested_oadr_poll_freq=timedelta(seconds=720),
        )
    )
    assert (created.ven_id, created.registration_id, created.poll_interval) == ("v", "g", timedelta(minutes=12))
    request = objects.ReportRequest(
        report_request_id="RR",
        report_specifier=objects.ReportSpecifier(
            report_specifier_id="telemetry-usage",
            granularity=MINUTE,
            report_back_duration=2 * MINUTE,
            specifier_payloads=[objects.SpecifierPayload(r_id="a", reading_type="Mean")],
        ),
    )
    registered = understood(
        theirs(
            "oadrRegisteredReport",
            response={"response_code": 200, "response_description": "OK", "request_id": "r"},
            report_requests=[request],
            ven_id="v",
        )
    )
    assert registered.requests == (
        wire_reports.WireReportRequest(
            request_id="RR",
            specifier_id="telemetry-usage",
            granularity=MINUTE,
            report_back=2 * MINUTE,
            start=None,
            duration=None,
            r_ids=("a",),
        ),
    )


def test_our_answers_are_understood() -> None:
    answer = wire_events.EventResponse(
        code=200, description="OK", request_id="R", event_id="E & 1", modification=3, opt=enums.OPT.OPT_IN
    )
    name, payload = seen_by_openleadr(
        wire_events.CreatedEvent(response=wire_parts.Response(code=200), responses=(answer,), ven_id="ven-1")
    )
    assert name == "oadrCreatedEvent"
    assert payload["ven_id"] == "ven-1"
    assert payload["event_responses"] == [
        {
            "response_code": 200,
            "response_description": "OK",
            "request_id": "R",
            "opt_type": "optIn",
            "event_id": "E & 1",
            "modification_number": 3,
        }
    ]


def test_our_reports_are_understood() -> None:
    description = wire_reports.ReportDescription(
        r_id="a",
        resource_id="Depot A&B <1>",
        report_type="usage",
        reading_type="Mean",
        unit=POWER_REAL_KW,
        market_context=None,
        min_period=MINUTE,
        max_period=60 * MINUTE,
    )
    metadata = wire_reports.Report(
        report_id=None,
        request_id="0",
        specifier_id="telemetry-usage",
        name="METADATA_TELEMETRY_USAGE",
        created=START,
        descriptions=(description,),
    )
    _, payload = seen_by_openleadr(wire_reports.RegisterReport(request_id="R", reports=(metadata,), ven_id="v"))
    (offered,) = payload["reports"][0]["report_descriptions"]
    assert offered["report_data_source"] == {"resource_id": "Depot A&B <1>"}
    assert offered["sampling_rate"] == {"min_period": MINUTE, "max_period": 60 * MINUTE, "on_change": False}
    assert (offered["measurement"]["unit"], offered["measurement"]["scale"]) == ("W", "k")
    intervals = tuple(
        wire_reports.ReportInterval(start=START + i * MINUTE, duration=MINUTE, r_id="a", value=1.5 * i)
        for i in range(2)
    )
    report = wire_reports.Report(
        report_id="x",
        request_id="RR",
        specifier_id="telemetry-usage",
        name="TELEMETRY_USAGE",
        created=START,
        intervals=intervals,
    )
    _, payload = seen_by_openleadr(wire_reports.UpdateReport(request_id="R", reports=(report,), ven_id="v"))
    rows = payload["reports"][0]["intervals"]
    assert [(row["dtstart"], row["report_payload"]["value"]) for row in rows] == [(START, 0.0), (START + MINUTE, 1.5)]


@pytest.mark.parametrize("use_rsa", [False, True])
def test_their_signature_holds_here(use_rsa: bool) -> None:
    now = datetime.now(UTC)
    them = signing.make_identity(use_rsa=use_rsa, starts=now - timedelta(days=1))
    body = theirs(
        "oadrResponse",
        cert=them.certificate_pem,
        key=them.key_pem,
        response={"response_code": 200, "response_description": "OK", "request_id": "x"},
        ven_id="v",
    )
    pin = utils.certificate_fingerprint(them.certificate_pem.decode())
    policy = GuardPolicy(signature=SignaturePolicy.REQUIRED, fingerprints=frozenset({pin}))
    answer = read(body, policy, now)
    assert answer.mark is not None
    assert isinstance(answer.message, wire.OadrResponse)


@pytest.mark.parametrize("use_rsa", [False, True])
def test_our_signature_holds_there(use_rsa: bool) -> None:
    us = signing.make_identity(name="ven", use_rsa=use_rsa)
    signer = MessageSigner(us.certificate_pem, us.key_pem)
    now = datetime.now(UTC)
    body = encode(wire.Poll(ven_id="v"), lambda root: signer.sign(root, now=now, nonce="n"))
    tree = messaging.validate_xml_schema(body)
    messaging.validate_xml_signature(tree, us.fingerprint)
