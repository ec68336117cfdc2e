"""A 2.0b VTN with a profile: its events are seen in the shape of OpenADR 3, and one that breaks a rule is answered 459."""

from collections.abc import Sequence
from typing import Any

import pytest

from gateway.app.peers import ven_of
from gateway.domain.errors import InvalidInput
from gateway.domain.programs import NonCompliance
from gateway.domain.signals import GridEvent
from gateway.openadr.journal import ExchangeJournal
from gateway.openadr.profiles import ProfileGate, load_profile
from gateway.openadr.profiles.gate import gate_of_dialect
from gateway.openadr.v20b.guard import GuardPolicy
from gateway.openadr.v20b.profile_view import as_object
from gateway.openadr.v20b.reader import read
from gateway.openadr.v20b.wire_events import DistributeEvent, WireEvent
from tests.fakes.clock import HandClock
from tests.openadr.v20b import messages
from tests.openadr.v20b.bench import Bench, virtually
from tests.openadr.virtual_life import AUTHORITY, START, TENANT
from tests.web.partners_scene import vtn

HOURLY = [messages.interval("PT1H", 0.1 + hour / 100, uid=str(hour)) for hour in range(24)]


def prices(event_id: str, intervals: Sequence[str] = HOURLY, currency: str = "USD", **changes: Any) -> str:
    unit = messages.price_unit(currency)
    signal = messages.signal(list(intervals), name="ELECTRICITY_PRICE", kind="price", unit=unit)
    return messages.event(event_id, signals=[signal], duration=f"PT{len(intervals)}H", **changes)


def wire(event: str) -> WireEvent:
    message = read(messages.distribute_event(event), GuardPolicy(), START).message
    assert isinstance(message, DistributeEvent)
    [found] = message.events
    assert isinstance(found, WireEvent)
    return found


def told(bench: Bench) -> list[tuple[str, str, bool]]:
    return [(one.object_id, one.rule, one.is_applied) for one in bench.store.all(NonCompliance, TENANT)]


def plays(*events: str, profile: str = "us-ca-prices-1.0", applies_broken: bool = False) -> Bench:
    async def scenario(bench: Bench) -> None:
        gate = ProfileGate(load_profile(profile), tenant=TENANT, authority=AUTHORITY, applies_broken=applies_broken)
        bench.gate = gate
        bench.ven = bench.build()
        message = messages.distribute_event(*events)
        await bench.play(*((at, lambda: bench.vtn.queue.append(message)) for at in (5, 20)), seconds=40)

    return virtually(scenario)


def test_a_price_event_is_seen_as_one_of_openadr_3() -> None:
    content = as_object(wire(prices("day")))
    assert content["programID"] == messages.CONTEXT
    assert content["payloadDescriptors"] == [{"payloadType": "PRICE", "units": "KWH", "currency": "USD"}]
    assert [one["id"] for one in content["intervals"]] == list(range(24))
    assert content["intervals"][23]["intervalPeriod"]["duration"] == "PT1H"
    assert content["priority"] == 1
    limit = as_object(wire(messages.event("limit", priority=0)))
    assert limit["payloadDescriptors"] == [{"payloadType": "IMPORT_CAPACITY_LIMIT", "units": "KW"}]
    assert "priority" not in limit


def test_an_event_that_breaks_its_profile_is_answered_459_beside_a_good_one() -> None:
    bench = plays(prices("good"), prices("euros", currency="EUR"), prices("short", HOURLY[:3]))
    assert bench.vtn.opts()[:3] == [
        ("good", 0, "200", "optIn"),
        ("euros", 0, "459", "optOut"),
        ("short", 0, "459", "optOut"),
    ]
    assert [event.event_id for event in bench.store.all(GridEvent, TENANT)] == ["good"]
    assert told(bench) == [("euros", "currency", False), ("short", "hourly", False)]
    [one, _] = bench.store.all(NonCompliance, TENANT)
    assert one.raw_signal == bench.desk.received[0].raw.id


def test_settings_may_use_it_all_the_same() -> None:
    bench = plays(prices("euros", currency="EUR"), applies_broken=True)
    assert bench.vtn.opts()[0] == ("euros", 0, "200", "optIn")
    assert told(bench) == [("euros", "currency", True)]


def test_a_cancellation_always_passes() -> None:
    bench = plays(prices("euros", currency="EUR", status="cancelled"))
    assert bench.vtn.opts()[0][2] == "200"
    assert told(bench) == []


def test_a_profile_says_whether_events_bind() -> None:
    bench = plays(messages.event("limit"), profile="se-conditional-1.0")
    [event] = bench.store.all(GridEvent, TENANT)
    assert event.is_binding
    assert told(bench) == []


def test_a_profile_must_be_for_the_dialect() -> None:
    with pytest.raises(InvalidInput, match=r"gac-2\.2 is for 3\.1\.0, the VTN speaks 2\.0b"):
        gate_of_dialect("gac-2.2", "2.0b", tenant="t", authority="a")
    wrong = vtn().model_copy(update={"profile": "gac-2.0"})
    unused: Any = None
    with pytest.raises(InvalidInput, match="vtn.profile"):
        ven_of(
            wrong,
            store=unused,
            signal_desk=unused,
            usage_desk=unused,
            status_desk=unused,
            clock=HandClock(),
            ids=unused,
            worker=unused,
            journal=ExchangeJournal(),
        )
