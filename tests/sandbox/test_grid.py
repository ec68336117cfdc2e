"""The sandbox utility: what events it takes, how it says them, its control door and its command line."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from lxml import etree

from gateway.domain.errors import InvalidInput
from gateway.sandbox.clock import ClockAnchor, write_anchor
from gateway.sandbox.grid import main, read_events
from gateway.sandbox.grid_events import SIGNALS, DrEvent, default_event, parse_event

ROOT = Path(__file__).resolve().parents[2]
START = datetime(2025, 10, 15, 15, 30, tzinfo=UTC)
NS = {
    "oadr": "http://openadr.org/oadr-2.0b/2012/07",
    "ei": "http://docs.oasis-open.org/ns/energyinterop/201110",
    "pyld": "http://docs.oasis-open.org/ns/energyinterop/201110/payloads",
}
CALL: dict[str, object] = {
    "event_id": "call-1",
    "start": "2025-10-15T17:30:00+02:00",
    "duration_minutes": 60,
    "payload": 750,
}


def test_an_event_is_read_from_json() -> None:
    event = parse_event(
        {**CALL, "payload": [750, 500.5], "target": "vpp-be", "priority": 2, "publish_at": "2025-10-15T12:00:00Z"}
    )
    assert (event.start, event.duration, event.payload) == (START, timedelta(hours=1), (750.0, 500.5))
    assert (event.target, event.priority, event.signal) == ("vpp-be", 2, "LOAD_DISPATCH/setpoint")
    assert event.publish_at == datetime(2025, 10, 15, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"event_id": ""}, "event.event_id"),
        ({"event_id": "x" * 201}, "event.event_id"),
        ({"event_id": 7}, "event.event_id"),
        ({"start": "tomorrow"}, "event.start"),
        ({"start": "2025-10-15T17:30:00"}, "event.start"),
        ({"duration_minutes": -1}, "event.duration_minutes"),
        ({"duration_minutes": "60"}, "event.duration_minutes"),
        ({"duration_minutes": float("nan")}, "event.duration_minutes"),
        ({"duration_minutes": True}, "event.duration_minutes"),
        ({"payload": []}, "event.payload"),
        ({"payload": [1, "2"]}, "event.payload"),
        ({"payload": float("inf")}, "event.payload"),
        ({"payload": [1.0] * 7}, "event.payload"),
        ({"payload": [1, 2], "duration_minutes": 0}, "event.payload"),
        ({"payload": 4, "signal": "SIMPLE/level"}, "event.payload"),
        ({"signal": "x-FOO/level"}, "event.signal"),
        ({"target_kind": "mrid"}, "event.target_kind"),
        ({"priority": -1}, "event.priority"),
        ({"priority": 1.5}, "event.priority"),
        ({"response_required": "never"}, "event.response_required"),
        ({"modification": 3}, "event.modification"),
        ({"colour": "red"}, "event.colour"),
        ({"publish_at": "2025-10-15T12:00:00"}, "event.publish_at"),
    ],
)
def test_what_no_vtn_would_send_is_refused_by_name(changes: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_event({**CALL, **changes})
    assert caught.value.field == field


@pytest.mark.parametrize("missing", sorted(CALL))
def test_what_is_missing_is_named(missing: str) -> None:
    with pytest.raises(InvalidInput, match=rf"event\.{missing}: is missing"):
        parse_event({name: value for name, value in CALL.items() if name != missing})


def test_the_default_event_is_the_evening_peak_of_the_market_day() -> None:
    event = default_event(
        date(2025, 10, 15),
        "Europe/Brussels",
        target="vpp-be",
        value=750.0,
        signal="LOAD_DISPATCH/setpoint",
        market_context="m",
    )
    assert (event.start, event.end) == (START, START + timedelta(minutes=75))
    assert event.publish_at == datetime(2025, 10, 15, 12, tzinfo=UTC)
    winter = default_event(
        date(2025, 10, 27), "Europe/Brussels", target="x", value=1.0, signal="SIMPLE/level", market_context="m"
    )
    assert winter.start == datetime(2025, 10, 27, 16, 30, tzinfo=UTC)


def test_status_goes_from_far_to_completed_by_the_market_clock() -> None:
    event = DrEvent(event_id="E", start=START, duration_minutes=60, payload=(1.0,), notification_minutes=30)
    minutes = {-31: "far", -30: "near", -1: "near", 0: "active", 59: "active", 60: "completed"}
    assert {m: event.status(START + timedelta(minutes=m)) for m in minutes} == minutes
    assert replace(event, cancelled=True).status(START) == "cancelled"
    endless = DrEvent(event_id="E", start=START, duration_minutes=0, payload=(1.0,))
    assert (endless.end, endless.status(START + timedelta(days=99))) == (None, "active")


def test_a_script_is_a_list_of_different_events(tmp_path: Path) -> None:
    script = tmp_path / "events.json"
    script.write_text(json.dumps([CALL, {**CALL, "event_id": "call-2"}]))
    assert [event.event_id for event in read_events(script)] == ["call-1", "call-2"]
    for text in ("{}", "no json", json.dumps([CALL, CALL]), json.dumps([3])):
        script.write_text(text)
        with pytest.raises(InvalidInput):
            read_events(script)
    with pytest.raises(InvalidInput):
        read_events(tmp_path / "none.json")


@pytest.mark.parametrize(
    "arguments", [["--event-kw", "nan"], ["--event-level", "7"], ["--events", "/nowhere.json"], ["--day", "someday"]]
)
def test_a_wrong_command_line_says_so(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "error" in capsys.readouterr().err


@contextmanager
def grid_process(folder: Path, *arguments: str, market: datetime = START) -> Iterator[dict[str, Any]]:
    clock, ready = folder / "clock.json", folder / "ready.json"
    write_anchor(clock, ClockAnchor(market_anchor=market, monotonic_anchor=time.monotonic(), speed=1.0))
    command = [sys.executable, "-m", "gateway.sandbox.grid", "--clock", str(clock), "--ready", str(ready), *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        while not ready.exists():
            assert process.poll() is None, "the grid did not start"
            time.sleep(0.02)
        yield json.loads(ready.read_text())
    finally:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=10)
    assert process.returncode == 0
    assert out == b""
    assert all(b" sandbox.grid " in line or b" openleadr " in line for line in err.splitlines()), err


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def _payload(inner: str) -> bytes:
    declared = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in NS.items())
    return (
        f'<oadr:oadrPayload {declared}><oadr:oadrSignedObject oadr:Id="oadrSignedObject">{inner}'
        "</oadr:oadrSignedObject></oadr:oadrPayload>"
    ).encode()


async def _say(session: aiohttp.ClientSession, ready: dict[str, Any], service: str, inner: str) -> Any:
    headers = {"Content-Type": "application/xml"}
    async with session.post(f"{ready['vtn_url']}/{service}", data=_payload(inner), headers=headers) as answer:
        assert answer.status == 200
        root = etree.fromstring(await answer.read())
    return root[0][0]


async def _register(session: aiohttp.ClientSession, ready: dict[str, Any], name: str, registration: str = "") -> Any:
    known = f"<ei:registrationID>{registration}</ei:registrationID>" if registration else ""
    return await _say(
        session,
        ready,
        "EiRegisterParty",
        f'<oadr:oadrCreatePartyRegistration ei:schemaVersion="2.0b"><pyld:requestID>r</pyld:requestID>{known}'
        "<oadr:oadrProfileName>2.0b</oadr:oadrProfileName><oadr:oadrTransportName>simpleHttp</oadr:oadrTransportName>"
        "<oadr:oadrReportOnly>false</oadr:oadrReportOnly><oadr:oadrXmlSignature>false</oadr:oadrXmlSignature>"
        f"<oadr:oadrVenName>{name}</oadr:oadrVenName></oadr:oadrCreatePartyRegistration>",
    )


async def _poll(session: aiohttp.ClientSession, ready: dict[str, Any]) -> Any:
    inner = '<oadr:oadrPoll ei:schemaVersion="2.0b"><ei:venID>ven-voltbridge-demo</ei:venID></oadr:oadrPoll>'
    return await _say(session, ready, "OadrPoll", inner)


def _name(element: Any) -> str:
    return str(etree.QName(element).localname)


async def test_its_door_and_its_voice(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    with grid_process(tmp_path, "--no-event", "--poll-seconds", "3") as ready:
        assert ready["vtn_id"] == "VTN-GRID-DEMO"
        assert _name(await _poll(session, ready)) == "oadrRequestReregistration"
        refused = await _register(session, ready, "stranger")
        assert refused.findtext("ei:registrationID", namespaces=NS) == ""
        unknown = await _register(session, ready, "voltbridge-demo", "reg-else")
        assert unknown.findtext(".//ei:responseCode", namespaces=NS) == "452"
        created = await _register(session, ready, "voltbridge-demo")
        assert created.findtext("ei:venID", namespaces=NS) == "ven-voltbridge-demo"
        assert "PT3S" in etree.tostring(created).decode()
        assert _name(await _poll(session, ready)) == "oadrResponse"

        events = f"{ready['control_url']}/events"
        for body in (b"{", b"[]", json.dumps({**CALL, "priority": -1}).encode()):
            async with session.post(events, data=body) as answer:
                assert answer.status == 400
                assert (await answer.json())["reason"] == "INVALID_INPUT"
        async with session.delete(f"{events}/nothing") as answer:
            assert answer.status == 404

        for index, name in enumerate(SIGNALS):
            async with session.post(
                events, json={**CALL, "event_id": f"E{index}", "signal": name, "payload": 0}
            ) as answer:
                assert answer.status == 201
        told = await _poll(session, ready)
        assert _name(told) == "oadrDistributeEvent"
        assert len(told.findall("oadr:oadrEvent", NS)) == len(SIGNALS)
        assert {element.text for element in told.iter(f"{{{NS['ei']}}}eventStatus")} == {"active"}
        assert _name(await _poll(session, ready)) == "oadrDistributeEvent", "told again until answered"

        async with session.post(events, json={**CALL, "event_id": "E0", "payload": 5}) as answer:
            assert (await answer.json())["modification"] == 1
        async with session.delete(f"{events}/E1") as answer:
            assert (await answer.json())["cancelled"] is True
        async with session.get(events) as answer:
            listed = {event["event_id"]: event for event in await answer.json()}
        assert (listed["E0"]["payload"], listed["E1"]["modification"]) == ([5.0], 1)


async def test_nothing_is_told_before_its_time_or_after_its_end(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    script = tmp_path / "events.json"
    soon = (START + timedelta(minutes=30)).isoformat()
    past = (START - timedelta(hours=2)).isoformat()
    script.write_text(
        json.dumps([{**CALL, "publish_at": soon}, {**CALL, "event_id": "old", "start": past, "publish_at": past}])
    )
    with grid_process(tmp_path, "--events", str(script)) as ready:
        await _register(session, ready, "voltbridge-demo")
        assert _name(await _poll(session, ready)) == "oadrResponse"
        write_anchor(
            tmp_path / "clock.json",
            ClockAnchor(market_anchor=START + timedelta(minutes=30), monotonic_anchor=time.monotonic(), speed=1.0),
        )
        await asyncio.sleep(0.05)
        told = await _poll(session, ready)
        assert [element.text for element in told.iter(f"{{{NS['ei']}}}eventID")] == ["call-1"]
        write_anchor(
            tmp_path / "clock.json",
            ClockAnchor(market_anchor=START + timedelta(hours=1), monotonic_anchor=time.monotonic(), speed=1.0),
        )
        await asyncio.sleep(0.05)
        assert _name(await _poll(session, ready)) == "oadrResponse"
