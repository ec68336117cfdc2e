"""3.x VTNs that misbehave: `hostile_a19` and `hostile_a25` are rows of the catalogue of hostile messages; virtual time over memory."""

import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.errors import PeerUnavailable
from gateway.openadr.health import VenState
from gateway.openadr.v3.names import Dialect
from gateway.openadr.v3.transport import Reply, Request
from tests.openadr.v3.bench import Bench, virtually
from tests.openadr.v3.memory_vtn import Heard, Json, intervals, limit_event, period
from tests.openadr.virtual_life import START

LONGEST_PAUSE_S = 300.0
BOTH = pytest.mark.parametrize("dialect", list(Dialect), ids=lambda dialect: dialect.value)


def _hung_up() -> Reply:
    raise PeerUnavailable("ServerDisconnectedError")


FAULTS: dict[str, Callable[[], Reply]] = {
    "reset-connections": _hung_up,
    "503": lambda: Reply(status=503, body=b'{"title": "Service Unavailable"}'),
    "500": lambda: Reply(status=500, body=b"a stack trace"),
    "empty": lambda: Reply(status=200, body=b""),
    "html": lambda: Reply(status=200, body=b"<html><body>502 Bad Gateway</body></html>"),
    "wrong-type": lambda: Reply(status=200, body=b'{"objectType": "PROGRAM"}'),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_hostile_a19_after_ten_bad_minutes_it_registers_within_one_backoff_step(fault: str) -> None:
    tries: list[float] = []

    async def scenario(bench: Bench) -> None:
        async def spoiled(request: Request) -> Reply:
            tries.append((bench.clock.now() - START).total_seconds())
            return FAULTS[fault]()

        decent = bench.vtn.request
        bench.vtn.program()
        bench.vtn.event(**limit_event(START, 5.0, duration="PT8H"))
        bench.vtn.request = spoiled  # type: ignore[method-assign]  # whatever is asked
        back = (600.0, lambda: setattr(bench.vtn, "request", decent))
        ven = await bench.run(back, seconds=600 + LONGEST_PAUSE_S + 1)
        assert ven.health().state is VenState.REGISTERED
        assert bench.in_force() == {"e1": 0}

    bench = virtually(scenario)
    assert len(bench.vtn.vens) == 1
    assert 3 <= len(set(tries)) <= 20, "neither given up nor hammered"


@BOTH
def test_hostile_a25_a_token_that_ends_between_two_pages_is_renewed_once_and_no_event_is_lost(dialect: Dialect) -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.program()
        for number in range(120):
            bench.vtn.event(f"e{number:03}", **limit_event(START, 1.0))
        ended: list[Heard] = []

        def end(heard: Heard) -> None:
            if heard.path == "/events" and heard.all("skip") == ["50"] and not ended:
                ended.append(heard)
                bench.vtn.revoke_tokens()

        bench.vtn.on_request = end
        ven = await bench.run(seconds=5)
        assert (len(ended), ven.health().failures) == (1, 0)
        assert len(bench.in_force()) == 120

    assert virtually(scenario, dialect=dialect).vtn.issued == 2


def test_hostile_a25_a_vtn_that_takes_no_token_for_its_events_is_not_asked_in_a_loop_and_limits_stay() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.program()
        bench.vtn.event(**limit_event(START, 5.0, duration="PT8H"))
        await bench.run(seconds=5)
        issued = bench.vtn.issued

        def refuse(heard: Heard) -> None:
            if heard.path == "/events":
                bench.vtn.tokens.clear()

        bench.vtn.on_request = refuse
        ven = await bench.run(seconds=1800)
        assert "401" in ven.health().last_error
        assert 3 <= ven.health().failures <= 15
        assert bench.vtn.issued - issued <= 2 * (ven.health().failures + 1)
        assert bench.in_force() == {"e1": 0}

    virtually(scenario)


@pytest.mark.parametrize("path", ["/events", "/programs", "/vens/ven-1"])
def test_hostile_a25_a_busy_vtn_is_left_alone_whatever_it_was_asked(path: str) -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.program()
        bench.vtn.event(**limit_event(START, 5.0, duration="PT8H"))
        await bench.run(seconds=5)
        bench.vtn.once(f"GET {path}", 429, {"title": "Too Many Requests"}, retry_after="400")
        before = len(bench.vtn.heard)
        await bench.run(seconds=500)
        heard = bench.vtn.heard[before:]
        refused = next(one for one in heard if one.path == path)
        later = [one for one in heard[heard.index(refused) + 1 :] if one.path != "/auth/server"]
        assert later
        assert min(one.at for one in later) >= refused.at + timedelta(seconds=400)
        assert bench.in_force() == {"e1": 0}

    virtually(scenario)


@settings(max_examples=30)
@given(st.data())
def test_hostile_a25_a_list_that_is_cut_off_anywhere_releases_and_changes_nothing(data: st.DataObject) -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.program()
        for number in range(2):
            bench.vtn.event(f"e{number}", **limit_event(START, 5.0, duration="PT8H"))
        await bench.run(seconds=5)
        changed = bench.vtn.event("e0", **limit_event(START, 9.0, duration="PT8H"))
        whole = json.dumps([changed, bench.vtn.events["e1"]]).encode()
        bench.vtn.once("GET /events", 200, raw=whole[: data.draw(st.integers(0, len(whole) - 1))])
        bench.vtn.event("e0", **limit_event(START, 5.0, duration="PT8H"))
        effects = list(bench.desk.effects)
        await bench.run(seconds=5)
        assert bench.desk.effects == effects
        assert bench.in_force() == {"e0": 0, "e1": 0}
        ven = await bench.run(seconds=60)
        assert ven.health().failures == 0

    virtually(scenario)


UNKNOWN: dict[str, Json] = {
    "payload-type": {"intervalPeriod": period(START, "PT1H"), "intervals": intervals("FROBNICATE", 1)},
    "units": limit_event(
        START,
        7.0,
        payloadDescriptors=[
            {"objectType": "EVENT_PAYLOAD_DESCRIPTOR", "payloadType": "IMPORT_CAPACITY_LIMIT", "units": "FURLONGS"}
        ],
    ),
    "period": limit_event(START, 7.0) | {"intervalPeriod": {"start": "SOON", "duration": "PT1H"}},
}


@BOTH
@pytest.mark.parametrize("place", UNKNOWN)
def test_hostile_a25_an_unknown_word_sets_its_own_event_aside_and_no_other(place: str, dialect: Dialect) -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.program()
        bench.vtn.event("before", **limit_event(START, 5.0))
        bench.vtn.event("odd", **UNKNOWN[place])
        bench.vtn.event("after", **limit_event(START, 6.0))
        ven = await bench.run(seconds=25)
        assert ven.health().failures == 0

    bench = virtually(scenario, dialect=dialect)
    assert {"before", "after"} <= set(bench.in_force()) <= {"before", "after", "odd"}
    assert [one.object_id for one in bench.broken()] == ["odd"]
    assert [one.is_applied for one in bench.broken()] == ["odd" in bench.in_force()]


@BOTH
def test_hostile_a25_an_event_under_another_object_type_is_still_one_of_the_list_of_events(dialect: Dialect) -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.program()
        bench.vtn.event(**limit_event(START, 5.0) | {"objectType": "HAPPENING"})
        await bench.run(seconds=25)
        assert bench.in_force() == {"e1": 0}
        assert not bench.broken()

    virtually(scenario, dialect=dialect)
