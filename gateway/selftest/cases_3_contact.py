"""3.x: tokens, reports, profiles and who is who (B1, B16 to B20)."""

from datetime import datetime, timedelta

from gateway.selftest.cases_3_events import b3_targets
from gateway.selftest.partner import RATING_KW, Fields, expect
from gateway.selftest.partner_3 import LIMIT, Partner3, limit_body

_MINUTE = timedelta(minutes=1)
_WAIT_S = 240
"""Market seconds that the VTN makes the VEN wait."""
_TOLERANCE = timedelta(seconds=2)
EAN13 = "8716867999983"
"""Name of a VEN with a valid check digit."""
EAN18 = "871685900000000011"
GAC_ATTRIBUTES = [
    {"type": "PROGRAM_TYPE", "values": ["DSO_CPO_INTERFACE-2.2.0"]},
    {"type": "RETAILER_NAME", "values": ["Selftest DSO"]},
    {"type": "BINDING_EVENTS", "values": [True]},
]


async def b1(vtn: Partner3) -> str:
    """Discovery, a revoked token, and a VTN that asks for patience."""
    await vtn.heard("GET /events", where=_is_served)
    await vtn.heard("GET /auth/server")
    mark = await vtn.mark()
    await vtn.control("POST", "/revoke")
    refused = (await vtn.heard("GET /events", after=mark, where=_is_refused))[0]
    served = (await vtn.heard("GET /events", after=refused["n"], where=_is_served))[0]
    tokens = [each for each in await vtn.log(mark) if each["kind"] == "POST /oauth/token" and each["n"] < served["n"]]
    expect(len(tokens) == 1, f"{len(tokens)} tokens asked for")
    pause = _at(served) - _at(refused)
    expect(pause < _MINUTE / 2, f"repeated after {pause}")
    await vtn.fault("GET /events", "status", status=503, headers={"Retry-After": _WAIT_S})
    turned_away = (await vtn.heard("GET /events", after=served["n"] + 1, where=_is_turned_away))[0]
    back = (await vtn.heard("GET /events", after=turned_away["n"] + 1))[0]
    waited = _at(back) - _at(turned_away)
    expect(waited >= timedelta(seconds=_WAIT_S) - _TOLERANCE, f"came back after {waited}")
    return f"one token more, repeated at once; waited {waited.total_seconds():.0f} s of {_WAIT_S}"


def _is_served(fields: Fields) -> bool:
    return bool(fields["status"] == 200)


def _is_refused(fields: Fields) -> bool:
    return bool(fields["status"] == 401)


def _is_conflict(fields: Fields) -> bool:
    return bool(fields["status"] == 409)


def _is_turned_away(fields: Fields) -> bool:
    return bool(fields["status"] == 0)


def _at(entry: Fields) -> datetime:
    return datetime.fromisoformat(entry["at"])


async def b16(vtn: Partner3) -> str:
    """A report by default, and one after every second interval."""
    await vtn.program()
    start = vtn.soon(8)
    by_default = await _reported(vtn, start, 4, {})
    often = await _reported(vtn, start, 6, {"numIntervals": 2, "startInterval": 2, "frequency": 2, "repeat": 3})
    await vtn.clock.sleep_until(start + 6 * _MINUTE)
    last = (await _reports(vtn, by_default, 1))[-1]["fields"]["body"]
    ids = [row["id"] for row in last["resources"][0]["intervals"]]
    expect(ids == [0, 1, 2, 3], f"intervals {ids}")
    await _reports(vtn, often, 3)
    await vtn.pass_market(6 * _MINUTE)
    counts = [len(await _reports(vtn, each, 1)) for each in (by_default, often)]
    expect(counts == [1, 3], f"{counts} reports")
    return "one report of 4 intervals; three reports"


async def _reported(vtn: Partner3, start: datetime, count: int, changes: Fields) -> str:
    body = limit_body(start, [40.0] * count, "PT1M", "KW")
    return await vtn.event(**body, reportDescriptors=[{"payloadType": "USAGE", "units": "KWH", **changes}])


async def _reports(vtn: Partner3, event: str, count: int) -> list[Fields]:
    """Return what was taken of reports on an event, once there are so many."""
    found: list[Fields] = []

    async def is_enough() -> bool:
        entries = [each for each in await vtn.log() if each["kind"] in {"POST /reports", "PUT /reports/{id}"}]
        found[:] = [
            each
            for each in entries
            if each["fields"]["status"] in {200, 201} and each["fields"]["body"].get("eventID") == event
        ]
        return len(found) >= count

    await vtn.until(is_enough, f"{count} reports on {event}", seen=lambda: len(found))
    return found


async def b17(vtn: Partner3) -> str:
    """The answer to a report is lost; then the VTN is away while one is due."""
    await vtn.program()
    start = vtn.soon(8)
    await vtn.fault("POST /reports", "swallow")
    await vtn.fault("GET /reports", "raw", body="[]")
    lost = await _reported(vtn, start, 2, {})
    late = await _reported(vtn, start + 4 * _MINUTE, 2, {})
    conflict = (await vtn.heard("POST /reports", where=_is_conflict))[0]
    await vtn.heard("PUT /reports/{id}", after=conflict["n"], where=_is_served)
    await vtn.fault("*", "drop", times=-1)
    await vtn.clock.sleep_until(start + 8 * _MINUTE)
    await vtn.heal()
    await _reports(vtn, late, 1)
    await vtn.pass_market(4 * _MINUTE)
    held = [each["eventID"] for each in await vtn.objects("reports")]
    expect(sorted(held) == sorted([lost, late]), f"reports on {held}")
    return "409 became PUT; the late report came once"


async def b18(vtn: Partner3) -> str:
    """Right and wrong events of Grid Aware Charging 2.2."""
    await vtn.program(attributes=GAC_ATTRIBUTES)
    await vtn.known_ven()
    await vtn.control("POST", "/grant", {"targets": [EAN18, EAN18[:-1]]})
    start = vtn.soon(600)
    two = [{"type": LIMIT, "values": [30.0]}, {"type": LIMIT, "values": [31.0]}]
    place = [EAN18]

    def at(hours: int) -> datetime:
        return start + timedelta(hours=hours)

    await vtn.limit(at(0), [30.0], targets=place, priority=0)
    await vtn.event(
        **{**limit_body(at(2), [30.0], "PT1H", "KW"), "intervals": [{"id": 0, "payloads": two}]}, targets=place
    )
    await vtn.limit(at(4), [30.0], units="kW", targets=place)
    await vtn.limit(at(6), [30.0], targets=[EAN18[:-1]])
    await vtn.limit(at(8), [40.0], targets=place)
    await vtn.limits({at(8) + _MINUTE: 40.0})
    await vtn.reads(2)
    wrong = {at(hours) + _MINUTE: RATING_KW for hours in (0, 2, 4, 6)}
    await vtn.limits(wrong)
    return f"one event applied, {len(wrong)} wrong ones not"


async def b19(vtn: Partner3) -> str:
    """The VTN shows vens as BL_VEN_REQUEST; the VEN sends nothing that the description refuses."""
    await vtn.program()
    ven = await vtn.known_ven()
    expect(ven["objectType"] == "BL_VEN_REQUEST", ven)
    evidence = await b3_targets(vtn)
    sent = [each for each in await vtn.log() if each["fields"].get("body")]
    return f"{evidence}; {len(sent)} bodies without a null"


async def b20(vtn: Partner3) -> str:
    """The configuration names a plain address."""
    said = await vtn.around.refusal({"url": "http://vtn.example/3.1.0", "allow_plain_on_loopback": False})
    expect("https" in said, said)
    elsewhere = await vtn.around.refusal({"url": "http://vtn.example/3.1.0", "allow_plain_on_loopback": True})
    expect("https" in elsewhere or "loopback" in elsewhere or "machine" in elsewhere, elsewhere)
    return said
