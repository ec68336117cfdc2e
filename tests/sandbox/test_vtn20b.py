"""The scripted 2.0b VTN says what its script says, judges what VENs say, and goes wrong on order."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from lxml import etree

from gateway.domain.errors import InvalidInput
from gateway.sandbox.clock import SandboxClock
from gateway.sandbox.vtn20b import PATH, ScriptedVtn
from gateway.sandbox.vtn20b_reading import read_message
from gateway.sandbox.vtn20b_world import parse_fault
from gateway.sandbox.vtn20b_writing import message_of

EVENT: dict[str, Any] = {
    "event_id": "E&1",
    "modification": 2,
    "priority": 1,
    "context": "http://m.c",
    "created": "2025-10-15T07:00:00Z",
    "start": "2025-10-15T09:00:00Z",
    "duration": "PT1H",
    "start_after": "PT5M",
    "notification": "PT1H",
    "ramp_up": "PT5M",
    "recovery": "PT10M",
    "test_event": "false",
    "comment": "a word",
    "signals": [
        {
            "intervals": [{"duration": "PT30M", "value": 40}, {"duration": "PT30M", "value": "8.5"}],
            "unit": {"scale": "k"},
        },
        {
            "name": "ELECTRICITY_PRICE",
            "type": "price",
            "intervals": [{"duration": "PT1H", "value": 0.3}],
            "unit": {"price": "currencyPerKWh", "currency": "EUR"},
        },
    ],
    "targets": [{"kind": "resourceID", "id": "depot"}, {"kind": "venID", "id": "ven-1"}],
}
REQUEST: dict[str, Any] = {
    "report_request_id": "RR-1",
    "specifier_id": "telemetry-usage",
    "granularity": "PT1M",
    "back": "PT2M",
    "start": "2025-10-15T09:00:00Z",
    "duration": "PT10M",
    "points": [{"r_id": "r1", "reading_type": "Direct Read"}],
}
MESSAGES: dict[str, dict[str, Any]] = {
    "oadrResponse": {"code": 463, "answers": "RQ", "ven_id": "ven-1"},
    "oadrCreatedPartyRegistration": {"vtn_id": "V", "ven_id": "ven-1", "registration_id": "r", "poll": "PT10S"},
    "oadrCancelPartyRegistration": {"registration_id": "r", "ven_id": "ven-1"},
    "oadrCanceledPartyRegistration": {"registration_id": "r", "ven_id": "ven-1"},
    "oadrRequestReregistration": {"ven_id": "ven-1"},
    "oadrDistributeEvent": {"vtn_id": "V", "code": 200, "events": [EVENT]},
    "oadrRegisteredReport": {"requests": [REQUEST], "ven_id": "ven-1"},
    "oadrCreateReport": {"requests": [REQUEST, {**REQUEST, "start": None}], "ven_id": "ven-1"},
    "oadrCancelReport": {"report_request_ids": ["RR-1", "RR-2"], "to_follow": True},
    "oadrUpdatedReport": {"cancel": {"report_request_ids": ["RR-1"]}},
    "oadrCreatedOpt": {"opt_id": "o1"},
    "oadrCanceledOpt": {"opt_id": "o1"},
}


@pytest.mark.parametrize("kind", sorted(MESSAGES))
def test_every_message_it_writes_is_valid(kind: str) -> None:
    message = read_message(message_of(kind, MESSAGES[kind]))
    assert (message.kind, message.problem) == (kind, "")


def test_an_event_is_written_as_the_script_says() -> None:
    fields: Any = read_message(message_of("oadrDistributeEvent", MESSAGES["oadrDistributeEvent"])).fields
    event = fields["oadrEvent"]["eiEvent"]
    assert event["eventDescriptor"]["eventID"] == "E&1"
    assert event["eiActivePeriod"]["properties"]["tolerance"] == {"tolerate": {"startafter": "PT5M"}}
    values = [each["signalPayload"]["payloadFloat"]["value"] for each in _intervals(event["eiEventSignals"])]
    assert values == ["40", "8.5"]
    assert event["eiTarget"] == {"resourceID": "depot", "venID": "ven-1"}


def _intervals(signals: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = signals["eiEventSignal"][0]["intervals"]["interval"]
    return found


@pytest.mark.parametrize(
    ("kind", "script", "field"),
    [("oadrPoll", {}, "message.kind"), ("oadrCreatedOpt", {}, "message.opt_id")],
)
def test_what_no_vtn_says_is_refused_by_name(kind: str, script: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        message_of(kind, script)
    assert caught.value.field == field


@pytest.mark.parametrize(
    "document", [{"on": "oadrPoll"}, {"on": "*", "do": "explode"}, {"on": "*", "do": "drop", "x": 1}]
)
def test_an_unknown_fault_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        parse_fault(document)


@pytest.mark.parametrize(
    ("body", "kind", "problem"),
    [(b"no xml", "", "not XML"), (b"<a/>", "", "line 1")],
)
def test_what_is_no_message_is_told_as_a_problem(body: bytes, kind: str, problem: str) -> None:
    message = read_message(body)
    assert message.kind == kind
    assert message.problem.startswith(problem)


def test_a_doctype_is_never_expanded() -> None:
    bomb = b'<!DOCTYPE a [<!ENTITY x "boom">]><a>&x;</a>'
    assert "boom" not in str(read_message(bomb).fields)


class Driver:
    """Speaks to the VTN as a VEN and as a script."""

    def __init__(self, client: "TestClient[Any, Any]") -> None:
        self._client = client

    async def control(self, verb: str, path: str, document: object = None, *, status: int = 201) -> Any:
        answer = await self._client.request(verb, f"/control/worlds/{path}", json=document)
        assert answer.status == status, await answer.text()
        return await answer.json() if answer.content_type == "application/json" else None

    async def post(self, kind: str, inner: str, service: str = "OadrPoll") -> tuple[int, Any]:
        spaces = " ".join(
            f'xmlns:{prefix}="{uri}"'
            for prefix, uri in (
                ("o", "http://openadr.org/oadr-2.0b/2012/07"),
                ("e", "http://docs.oasis-open.org/ns/energyinterop/201110"),
                ("p", "http://docs.oasis-open.org/ns/energyinterop/201110/payloads"),
            )
        )
        body = (
            f"<o:oadrPayload {spaces}><o:oadrSignedObject>"
            f'<o:{kind} e:schemaVersion="2.0b">{inner}</o:{kind}></o:oadrSignedObject></o:oadrPayload>'
        )
        answer = await self._client.post(f"/w1/{PATH}/{service}", data=body.encode())
        content = await answer.read()
        return answer.status, read_message(content) if content else None

    async def register(self, ids: str = "") -> Any:
        said = (
            f"<p:requestID>R</p:requestID>{ids}<o:oadrProfileName>2.0b</o:oadrProfileName>"
            "<o:oadrTransportName>simpleHttp</o:oadrTransportName><o:oadrReportOnly>false</o:oadrReportOnly>"
            "<o:oadrXmlSignature>false</o:oadrXmlSignature><o:oadrVenName>ven</o:oadrVenName>"
            "<o:oadrHttpPullModel>true</o:oadrHttpPullModel>"
        )
        _, answer = await self.post("oadrCreatePartyRegistration", said, "EiRegisterParty")
        return answer.fields

    async def poll(self, ven_id: str = "ven-w1-1") -> tuple[int, Any]:
        return await self.post("oadrPoll", f"<e:venID>{ven_id}</e:venID>")


@pytest.fixture
async def driver() -> AsyncIterator[Driver]:
    async with TestClient(TestServer(ScriptedVtn(SandboxClock(None)).app)) as client:
        made = Driver(client)
        await made.control("PUT", "w1", {"vtn_id": "my_vtn", "poll": "PT10S"})
        yield made


async def test_a_ven_registers_keeps_its_ids_and_is_not_known_with_others(driver: Driver) -> None:
    first = await driver.register()
    assert (first["venID"], first["registrationID"], first["vtnID"]) == ("ven-w1-1", "reg-w1-1", "my_vtn")
    again = await driver.register("<e:registrationID>reg-w1-1</e:registrationID><e:venID>ven-w1-1</e:venID>")
    assert again["registrationID"] == "reg-w1-1"
    wrong = await driver.register("<e:registrationID>reg-9</e:registrationID><e:venID>ven-9</e:venID>")
    assert wrong["eiResponse"]["responseCode"] == "452"


async def test_the_queue_goes_out_poll_by_poll_and_only_to_its_ven(driver: Driver) -> None:
    await driver.register()
    await driver.control("POST", "w1/say", {"kind": "oadrDistributeEvent", "events": [EVENT]})
    await driver.control("POST", "w1/say", {"raw": "<broken"})
    _, stranger = await driver.poll("ven-other")
    assert stranger.fields["eiResponse"]["responseCode"] == "463"
    _, first = await driver.poll()
    assert first.kind == "oadrDistributeEvent"
    assert first.fields["vtnID"] == "my_vtn"
    _, second = await driver.poll()
    assert second.problem.startswith("not XML")
    _, third = await driver.poll()
    assert (third.kind, third.problem) == ("oadrResponse", "")


async def test_the_log_holds_every_message_with_the_verdict_of_the_schema(driver: Driver) -> None:
    await driver.register()
    await driver.post("oadrPoll", "<e:unknown/>")
    log = await driver.control("GET", "w1/log?after=1", status=200)
    assert [(entry["n"], entry["kind"]) for entry in log["entries"]] == [(1, "oadrPoll")]
    assert log["entries"][0]["problem"]
    assert log["ven_id"] == "ven-w1-1"


@pytest.mark.parametrize(
    ("fault", "status", "kind"),
    [
        ({"do": "status", "status": 503, "headers": {"Retry-After": 3}}, 503, None),
        ({"do": "empty"}, 200, None),
        ({"do": "redirect", "status": 307, "body": "http://127.0.0.1:9/"}, 307, None),
        ({"do": "code", "code": 463}, 200, "oadrResponse"),
        ({"do": "say", "message": {"kind": "oadrRequestReregistration"}}, 200, "oadrRequestReregistration"),
        ({"do": "raw", "body": "<"}, 200, ""),
    ],
)
async def test_it_goes_wrong_as_often_as_it_was_told(
    driver: Driver, fault: dict[str, Any], status: int, kind: str | None
) -> None:
    await driver.register()
    await driver.control("POST", "w1/faults", {"on": "oadrPoll", **fault, "times": 1})
    answer = await driver._client.post(f"/w1/{PATH}/OadrPoll", data=_poll(), allow_redirects=False)
    body = await answer.read()
    assert answer.status == status
    assert (read_message(body).kind if body else None) == kind
    assert (await driver.poll())[1].kind == "oadrResponse"


async def test_faults_can_be_taken_back_and_the_ven_forgotten(driver: Driver) -> None:
    await driver.register()
    await driver.control("POST", "w1/faults", {"on": "*", "do": "empty", "times": -1})
    await driver.control("DELETE", "w1/faults", status=200)
    assert (await driver.poll())[1].fields["eiResponse"]["responseCode"] == "200"
    await driver.control("POST", "w1/forget", status=200)
    assert (await driver.poll())[1].fields["eiResponse"]["responseCode"] == "463"


def _poll() -> bytes:
    root = etree.Element("{http://openadr.org/oadr-2.0b/2012/07}oadrPayload")
    signed = etree.SubElement(root, "{http://openadr.org/oadr-2.0b/2012/07}oadrSignedObject")
    poll = etree.SubElement(signed, "{http://openadr.org/oadr-2.0b/2012/07}oadrPoll")
    etree.SubElement(poll, "{http://docs.oasis-open.org/ns/energyinterop/201110}venID").text = "ven-w1-1"
    return etree.tostring(root)
