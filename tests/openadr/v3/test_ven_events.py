"""Events of a 3.x VTN, from listing to desk: values, times, changes, faults and restarts, in virtual time."""

from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from gateway.domain.signals import Instruction
from gateway.openadr.v3.names import Dialect
from tests.openadr.v3.bench import Bench, virtually
from tests.openadr.v3.memory_vtn import Json, intervals, limit_event, period
from tests.openadr.virtual_life import START

NOW = "0001-01-01T00:00:00Z"
MINUTE = timedelta(minutes=1)
BOTH = pytest.mark.parametrize("dialect", list(Dialect), ids=lambda dialect: dialect.value)


def descriptor(payload_type: str, units: str | None = None, currency: str | None = None) -> list[Json]:
    said = {"units": units, "currency": currency}
    return [{"objectType": "EVENT_PAYLOAD_DESCRIPTOR", "payloadType": payload_type, **said}]


def prices(values: list[Any], **times: Any) -> Json:
    return {
        "payloadDescriptors": descriptor("PRICE", "KWH", "EUR"),
        "intervals": intervals("PRICE", *values),
        **times,
    }


def sees(event: Json, *, seconds: float = 15, **changes: Any) -> Bench:
    """Return the bench after a VEN saw one event."""

    async def scenario(bench: Bench) -> None:
        bench.vtn.program()
        bench.vtn.event(**event)
        await bench.run(seconds=seconds)

    return virtually(scenario, **changes)


@BOTH
def test_b8_a_limit_in_kilowatts_arrives_with_its_times_and_provenance(dialect: Dialect) -> None:
    bench = sees(limit_event(START, 10.0, 8.0, eventName="evening peak"), dialect=dialect)
    event = bench.events()["e1"]
    assert [(one.start, one.end, one.instruction, one.value) for one in event.intervals] == [
        (START, START + 30 * MINUTE, Instruction.IMPORT_LIMIT_KW, 10.0),
        (START + 30 * MINUTE, START + 60 * MINUTE, Instruction.IMPORT_LIMIT_KW, 8.0),
    ]
    assert (event.active.start, event.active.end) == (START, START + 60 * MINUTE)
    assert (event.nodes, event.market_context, event.comment) == (("vpp-be",), "p1", "evening peak")
    assert event.protocol == f"openadr-{dialect.value}"
    [received] = bench.desk.received
    assert received.complete
    assert event.raw_signal == received.raw.id
    assert b"IMPORT_CAPACITY_LIMIT" in received.raw.body


def test_b4_an_event_from_now_on_without_end_is_active_and_never_overflows() -> None:
    bench = sees(limit_event(NOW, 5.0, duration="P9999Y"))
    event = bench.events()["e1"]
    assert event.active.end is None
    assert START <= event.active.start <= START + timedelta(seconds=15)
    [interval] = event.intervals
    assert (interval.start, interval.end, interval.value) == (event.active.start, None, 5.0)
    assert event.unrolled_until is None, "one interval without end is all there is"


def test_b4_now_stays_when_it_was_through_redelivery_and_restart() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.program()
        bench.vtn.event(**limit_event(NOW, 5.0, duration="PT1H"))
        await bench.run(seconds=60)
        first = bench.events()["e1"].active
        await bench.run(seconds=60)
        assert bench.events()["e1"].active == first

    assert virtually(scenario).desk.effects == ["receive e1/0"]


@pytest.mark.parametrize(
    ("dialect", "times"),
    [
        (Dialect.V310, {"duration": "P9999Y", "intervalPeriod": period(START - timedelta(days=400), "PT1H")}),
        (Dialect.V310, {"duration": "P9999Y", "intervalPeriod": period(NOW, "PT1H")}),
        (Dialect.V301, {"intervalPeriod": period(START - timedelta(days=400), "P9999Y"), "own": "PT1H"}),
    ],
    ids=["3.1.0", "3.1.0-from-now", "3.0.1"],
)
def test_b5_a_repeating_tariff_has_the_price_of_its_hour_for_ever(dialect: Dialect, times: Json) -> None:
    own = times.pop("own", "")
    tariff = prices([0.10 + hour / 100 for hour in range(24)], **times)
    if own:
        tariff["intervals"] = [one | {"intervalPeriod": {"duration": own}} for one in tariff["intervals"]]

    async def scenario(bench: Bench) -> None:
        bench.vtn.program()
        bench.vtn.event(**tariff)
        await bench.run(seconds=15)
        begin = bench.events()["e1"].active.start
        for days in (0, 1, 2, 7, 30):
            for hour in (0, 5, 23):
                at = max(bench.clock.now(), START + timedelta(days=days, hours=hour, minutes=30))
                await bench.run(seconds=max((at - bench.clock.now()).total_seconds(), 1.0))
                cycle_hour = int((bench.clock.now() - begin) / timedelta(hours=1)) % 24
                [price] = bench.now()
                assert price.value == pytest.approx((0.10 + cycle_hour / 100) * 1000), (days, hour)
                assert (price.instruction, price.currency) == (Instruction.PRICE, "EUR")
                assert len(bench.events()["e1"].intervals) <= 24 * 5, "only what comes into sight is unrolled"

    slow = {"poll_interval": timedelta(hours=6), "survey_interval": timedelta(days=1)}
    bench = virtually(scenario, dialect=dialect, lost_after=timedelta(days=100), **slow)
    assert set(bench.desk.effects) == {"receive e1/0", "unroll e1/0"}


def test_b5_a_repeating_event_goes_on_while_the_vtn_is_down() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.program()
        bench.vtn.event(**limit_event(START, 4.0, 9.0, duration="PT12H") | {"duration": "P9999Y"})
        await bench.run(
            (30, lambda: setattr(bench.vtn, "is_down", True)), seconds=timedelta(days=5, hours=1).total_seconds()
        )
        assert [one.value for one in bench.now()] == [4.0]
        assert [one.value for one in bench.now(hours=12)] == [9.0]
        assert bench.desk.contacts[-1][1], "the VTN counts as lost meanwhile"

    virtually(scenario)


def test_b5_a_repeating_event_goes_on_after_a_restart_without_the_vtn() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.program(payloadDescriptors=descriptor("IMPORT_CAPACITY_LIMIT", "KW"))
        repeating = limit_event(START, 4.0, 9.0, duration="PT12H") | {"duration": "P9999Y", "payloadDescriptors": None}
        repeating["intervalPeriod"]["randomizeStart"] = "PT5M"
        bench.vtn.event(**repeating)
        await bench.run(seconds=30)
        offset = bench.events()["e1"].start_offset
        bench.vtn.is_down = True
        await bench.run(seconds=timedelta(days=5, hours=1).total_seconds())
        assert [one.value for one in bench.now()] == [4.0]
        assert [one.value for one in bench.now(hours=12)] == [9.0]
        assert bench.now()[0].start == START + timedelta(days=5) + offset
        bench.vtn.is_down = False
        await bench.run(seconds=600)
        assert bench.in_force() == {"e1": 0}

    assert set(virtually(scenario).desk.effects) == {"receive e1/0", "unroll e1/0"}


def test_b6_several_values_share_their_interval() -> None:
    event = prices([[0.1, 0.2, 0.3]], intervalPeriod=period(START, "PT3H"))
    found = sees(event).events()["e1"].intervals
    hours = [START + timedelta(hours=hour) for hour in range(4)]
    assert [(one.start, one.end) for one in found] == list(pairwise(hours))
    assert [one.value for one in found] == pytest.approx([100.0, 200.0, 300.0])


def test_b7_hostile_a25_what_cannot_be_used_harms_nobody_and_is_told() -> None:
    curve = {"type": "CURVE", "values": [{"x": 0, "y": 1}, {"x": 1.5, "y": 0.2}]}
    odd: list[Json] = [
        {"intervals": [{"id": 0, "payloads": []}], "intervalPeriod": period(START, "PT1H")},
        {"intervals": [{"id": 0, "payloads": [curve]}], "intervalPeriod": period(START, "PT1H")},
        {"intervals": intervals("FROBNICATE", 1), "intervalPeriod": period(START, "PT1H")},
        limit_event(START, 7.0, somethingNew={"deep": [1, 2, {"x": None}]}),
        {"intervals": "none", "intervalPeriod": period(START, "PT1H")},
        limit_event("the day after tomorrow", 7.0),
        limit_event(START, 7.0) | {"programID": None},
        limit_event(START, 7.0) | {"duration": "for ever"},
    ]

    async def scenario(bench: Bench) -> None:
        bench.vtn.program()
        for number in range(3):
            bench.vtn.event(f"good-{number}", **limit_event(START, 10.0 + number))
        for number, event in enumerate(odd):
            bench.vtn.event(f"odd-{number}", **event)
        bench.vtn.extra = ["an event", {"programID": "p1"}, None]
        await bench.run(seconds=25)

    bench = virtually(scenario)
    good = {f"good-{number}": 0 for number in range(3)}
    assert bench.in_force() == {**good, "odd-1": 0, "odd-3": 0}
    [curve_interval] = bench.events()["odd-1"].intervals
    assert curve_interval.instruction is Instruction.INFORMATION
    assert curve_interval.text == "CURVE: (0, 1); (1.5, 0.2)"
    assert {(one.object_id, one.rule, one.is_applied) for one in bench.broken()} == {
        ("odd-0", "no-payloads", False),
        ("odd-2", "type-unknown", False),
        ("odd-4", "field-broken", False),
        ("odd-5", "field-broken", False),
        ("odd-6", "field-broken", False),
        ("odd-7", "field-broken", False),
    }


@pytest.mark.parametrize("place", ["id", "name", "target", "alert", "type", "program"])
@pytest.mark.parametrize("character", ["\ud800", "\0"], ids=["surrogate", "nul"])
def test_b7_a_character_that_no_text_has_harms_only_its_own_event(place: str, character: str) -> None:
    bad = f"x{character}y"
    alert = {"intervalPeriod": period(START, "PT1H"), "intervals": intervals("ALERT_OTHER", "fine")}
    spoiled: dict[str, Json] = {
        "id": alert | {"id": bad},
        "name": alert | {"eventName": bad},
        "target": alert | {"targets": [{"type": "GROUP", "values": [bad]}]},
        "alert": alert | {"intervals": intervals("ALERT_OTHER", bad)},
        "type": alert | {"intervals": intervals(bad, 1)},
        "program": alert | {"programID": bad},
    }

    async def scenario(bench: Bench) -> None:
        bench.vtn.program()
        bench.vtn.event("good", **limit_event(START, 1.0))
        bench.vtn.extra = [{**bench.vtn.event("bad", **alert), **spoiled[place]}]
        bench.vtn.events.pop("bad")
        ven = await bench.run(seconds=15)
        assert bench.in_force() == {"good": 0}
        assert ven.health().failures == 0

    virtually(scenario, dialect=Dialect.V301)


def test_b7_events_at_the_end_of_the_calendar_are_survived() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.program()
        end = "9999-12-30T00:00:00Z"
        for number, duration in enumerate(("PT1H", "P2D", "P9999Y")):
            bench.vtn.event(f"e{number}", **limit_event(end, 1.0, 2.0, duration=duration) | {"duration": "P9999Y"})
        bench.vtn.event("good", **limit_event(START, 1.0))
        ven = await bench.run(seconds=15)
        assert ven.health().failures == 0
        assert "good" in bench.in_force()

    virtually(scenario)


def test_b7_a_broken_interval_or_payload_does_not_spoil_its_event() -> None:
    event = limit_event(START, 10.0, 8.0, 6.0)
    event["intervals"][1]["payloads"][0]["values"] = ["eight"]
    event["intervals"][2]["payloads"].append({"type": "IMPORT_CAPACITY_LIMIT", "values": None})
    event["intervals"].append({"id": "three", "payloads": []})
    bench = sees(event)
    assert [(one.start, one.value) for one in bench.events()["e1"].intervals] == [
        (START, 10.0),
        (START + 60 * MINUTE, 6.0),
    ]
    assert {(one.problem.split(":")[0], one.is_applied) for one in bench.broken()} == {
        ("intervals[1].payloads[0]", True),
        ("intervals[2].payloads[1].values", True),
        ("intervals[3].id", True),
    }


@pytest.mark.parametrize(
    ("units", "value", "kw"),
    [("KW", 10, 10.0), ("kW", 10, 10.0), ("W", 10_000, 10.0), ("MW", 0.01, 10.0), ("KW", 0, 0.0)],
    ids=["KW", "kW", "W", "MW", "zero"],
)
def test_b8_units_of_power_are_scaled(units: str, value: float, kw: float) -> None:
    event = limit_event(START, value) | {"payloadDescriptors": descriptor("IMPORT_CAPACITY_LIMIT", units)}
    assert [one.value for one in sees(event).events()["e1"].intervals] == [kw]


@pytest.mark.parametrize("units", ["KVA", "mW", "PERCENT", "", None], ids=["KVA", "mW", "PERCENT", "empty", "null"])
def test_b8_a_unit_that_is_unknown_or_missing_is_refused_and_not_guessed(units: str | None) -> None:
    bench = sees(limit_event(START, 10.0) | {"payloadDescriptors": descriptor("IMPORT_CAPACITY_LIMIT", units)})
    assert bench.events() == {}
    assert [(one.rule, one.is_applied) for one in bench.broken()] == [("unit-unknown", False)]


def test_b8_the_program_says_the_unit_where_the_event_does_not() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.program(payloadDescriptors=descriptor("IMPORT_CAPACITY_LIMIT", "W"))
        bench.vtn.event("plain", **limit_event(START, 9_000) | {"payloadDescriptors": None})
        bench.vtn.event("own", **limit_event(START, 9))
        await bench.run(seconds=15)

    events = virtually(scenario).events()
    assert [one.value for one in events["plain"].intervals] == [9.0]
    assert [one.value for one in events["own"].intervals] == [9.0]


def test_b9_zero_goes_first_and_nothing_said_goes_last() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.program()
        for event_id, priority in (("first", 0), ("later", 5), ("last", None), ("broken", "high")):
            bench.vtn.event(event_id, **limit_event(START, 10.0), priority=priority)
        await bench.run(seconds=15)

    events = virtually(scenario).events()
    assert sorted(("first", "later", "last"), key=lambda key: events[key].rank) == ["first", "later", "last"]
    assert (events["first"].priority, events["last"].priority, events["broken"].priority) == (0, None, None)


def test_b10_a_change_is_applied_once() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.program()
        bench.vtn.event(**limit_event(START, 10.0, duration="PT2H"))
        await bench.run(
            (25, lambda: bench.vtn.event(**limit_event(START, 10.0, duration="PT1H"))),
            (45, lambda: bench.vtn.events["e1"].update(createdDateTime="2020-01-01T00:00:00Z")),
            seconds=65,
        )
        assert bench.events()["e1"].active.end == START + 60 * MINUTE
        await bench.run(seconds=35)

    bench = virtually(scenario)
    assert bench.desk.effects == ["receive e1/0", "modify e1/1"]
    assert bench.held()["event:e1"].version == 1
    assert len(bench.desk.received) == 3, "one for each change and one for the restart"


def test_b10_the_same_command_sent_anew_acts_anew() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.program()
        bench.vtn.event(**limit_event(NOW, 10.0, duration="PT1H"))
        await bench.run((1800, lambda: bench.vtn.event(**limit_event(NOW, 10.0, duration="PT1H"))), seconds=1900)
        assert bench.events()["e1"].active.start >= START + 30 * MINUTE

    assert virtually(scenario).desk.effects == ["receive e1/0", "modify e1/1"]


def test_b10_a_deleted_event_is_released_and_comes_back_when_it_does() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.program()
        event = bench.vtn.event(**limit_event(START, 10.0, duration="PT2H"))
        await bench.run((25, bench.vtn.events.clear), seconds=45)
        assert bench.in_force() == {}
        assert bench.held()["event:e1"].gone_at is not None
        bench.vtn.events["e1"] = event
        await bench.run(seconds=15)
        assert bench.in_force() == {"e1": 0}

    assert virtually(scenario).desk.effects == ["receive e1/0", "cancel e1/0", "modify e1/0"]


def test_b10_an_event_deleted_while_we_were_away_is_released() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.program()
        bench.vtn.event(**limit_event(START, 10.0, duration="PT2H"))
        await bench.run(seconds=15)
        bench.vtn.events.clear()
        await bench.run(seconds=15)
        assert bench.in_force() == {}

    virtually(scenario)


@pytest.mark.parametrize("later", [{}, {"duration": "PT0S"}], ids=["period", "and-event"])
def test_b10_an_event_set_back_to_the_beginning_of_time_is_cancelled(later: Json) -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.program()
        bench.vtn.event(**limit_event(START, 10.0, duration="PT2H"))
        await bench.run(
            (25, lambda: bench.vtn.event(**limit_event("0001-01-01", 10.0, duration="PT0S"), **later)), seconds=45
        )
        assert bench.in_force() == {}
        await bench.run(seconds=15)

    bench = virtually(scenario)
    assert bench.desk.effects == ["receive e1/0", "cancel e1/1"]


def test_b10_zeros_that_a_vtn_fills_in_cancel_nothing() -> None:
    event = limit_event(NOW, 10.0, duration="P9999Y") | {"duration": "PT0S"}
    event["intervalPeriod"]["randomizeStart"] = "PT0S"
    found = sees(event).events()["e1"]
    assert [one.value for one in found.intervals] == [10.0]
    assert (found.active.end, found.cancelled) == (None, False)


def test_b11_an_event_read_late_is_in_the_interval_of_its_time() -> None:
    bench = sees(prices(list(range(24)), intervalPeriod=period(START - timedelta(hours=6, minutes=10), "PT1H")))
    event = bench.events()["e1"]
    assert event.active.start < START
    at = START + timedelta(seconds=10)
    assert [one.value for one in event.intervals if one.start <= at and (one.end is None or at < one.end)] == [6000.0]


def test_b11_an_event_that_is_over_is_not_taken() -> None:
    bench = sees(limit_event(START - timedelta(hours=2), 10.0))
    assert bench.events() == {}
    assert bench.broken() == []


def test_b12_one_offset_for_all_intervals_kept_through_everything() -> None:
    def event(kw: float, randomize: str = "PT5M") -> Json:
        return limit_event(START, kw, 8.0) | {"intervalPeriod": period(START + 60 * MINUTE, "PT30M", randomize)}

    async def scenario(bench: Bench) -> None:
        bench.vtn.program()
        for number in range(40):
            bench.vtn.event(f"e{number}", **event(10.0))
        await bench.run(seconds=25)
        first = {key: one.start_offset for key, one in bench.events().items()}
        assert all(abs(offset) <= 5 * MINUTE for offset in first.values())
        assert min(first.values()) < -MINUTE
        assert max(first.values()) > MINUTE
        for one in bench.events().values():
            starts = [interval.start for interval in one.intervals]
            assert starts == [START + 60 * MINUTE + one.start_offset, START + 90 * MINUTE + one.start_offset]
        await bench.run(seconds=25)
        bench.vtn.event("e1", **event(7.0))
        bench.vtn.event("e2", **event(10.0, "PT1M"))
        bench.vtn.event("e3", **event(10.0, ""))
        await bench.run(seconds=25)
        later = {key: one.start_offset for key, one in bench.events().items()}
        assert later["e2"] == first["e2"] / 5, "another range, the same share of it"
        assert later["e3"] == timedelta(0)
        same = set(first) - {"e2", "e3"}
        assert {key: later[key] for key in same} == {key: first[key] for key in same}

    virtually(scenario)


def test_b12_a_cancellation_is_not_randomised() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.program()
        bench.vtn.event(**limit_event(START, 10.0, intervalPeriod=period(START - 30 * MINUTE, "PT4H", "PT5M")))
        await bench.run((25, bench.vtn.events.clear), seconds=45)
        assert bench.in_force() == {}

    virtually(scenario)


def test_b13_when_the_limits_run_out_the_subscription_is_there() -> None:
    both = descriptor("IMPORT_CAPACITY_LIMIT", "KW") + descriptor("IMPORT_CAPACITY_SUBSCRIPTION", "KW")

    async def scenario(bench: Bench) -> None:
        bench.vtn.program(payloadDescriptors=both)
        bench.vtn.event("limits", **limit_event(START, 30.0, 20.0) | {"payloadDescriptors": None})
        subscribed = {"intervals": intervals("IMPORT_CAPACITY_SUBSCRIPTION", 12.5)}
        bench.vtn.event("subscribed", **subscribed, intervalPeriod=period(NOW, "P9999Y"))
        await bench.run((30, lambda: setattr(bench.vtn, "is_down", True)), seconds=3 * 3600)
        assert bench.now("limits") == []
        [left] = bench.now("subscribed")
        assert (left.instruction, left.value, left.end) == (Instruction.IMPORT_SUBSCRIPTION_KW, 12.5, None)
        assert set(bench.in_force()) == {"limits", "subscribed"}, "silence releases nothing"
        assert bench.desk.contacts[-1][1]

    virtually(scenario)


def test_nothing_acts_twice_after_a_restart_and_what_was_not_kept_is_told_again() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.program()
        bench.vtn.event(**limit_event(START, 10.0, duration="PT2H"))
        bench.desk.is_down = True
        await bench.run((60, lambda: setattr(bench.desk, "is_down", False)), seconds=200)
        assert bench.in_force() == {"e1": 0}
        for _ in range(3):
            await bench.run(seconds=15)

    assert virtually(scenario).desk.effects == ["receive e1/0"]


def test_a_change_between_two_lives_is_a_new_version_even_after_a_kill_before_the_desk() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.program()
        bench.vtn.event(**limit_event(START, 10.0, duration="PT2H"))
        bench.desk.is_down = True
        await bench.run(seconds=15)
        assert bench.held()["event:e1"].version == 0, "what was seen is on disk before the desk"
        bench.desk.is_down = False
        bench.vtn.event(**limit_event(START, 9.0, duration="PT2H"))
        await bench.run(seconds=15)
        assert [one.value for one in bench.now()] == [9.0]

    assert virtually(scenario).desk.effects == ["receive e1/1"]


def test_a_version_that_cannot_be_used_leaves_the_last_good_one_in_force() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.program()
        bench.vtn.event(**limit_event(START, 10.0, duration="PT2H"))
        await bench.run((25, lambda: bench.vtn.event(**limit_event("soon", 1.0))), seconds=45)
        assert bench.in_force() == {"e1": 0}
        assert [one.value for one in bench.now()] == [10.0]

    virtually(scenario)


def test_an_unchanged_list_writes_nothing() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.program()
        bench.vtn.event(**limit_event(START, 10.0, duration="PT8H"))
        await bench.run(seconds=3600)
        assert len(bench.desk.received) == 1
        assert len(bench.vtn.asked("GET /events")) == 360

    virtually(scenario)


def test_only_programs_that_were_chosen_are_taken() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.program("p1")
        bench.vtn.program("p2")
        bench.vtn.program("p3")
        for program in ("p1", "p2", "p3"):
            bench.vtn.event(f"e-{program}", **limit_event(START, 10.0) | {"programID": program})
        await bench.run(seconds=15)

    bench = virtually(scenario, programs=("program p1", "p3"))
    contexts = {key: event.market_context for key, event in bench.events().items()}
    assert contexts == {"e-p1": "program p1", "e-p3": "p3"}


def test_the_events_of_a_binding_program_bind() -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.program("p1", attributes=[{"type": "BINDING_EVENTS", "values": [True]}])
        bench.vtn.program("p2", bindingEvents=True)
        bench.vtn.program("p3")
        for program in ("p1", "p2", "p3"):
            bench.vtn.event(f"e-{program}", **limit_event(START, 10.0) | {"programID": program})
        await bench.run(seconds=15)

    events = virtually(scenario).events()
    assert {key: event.is_binding for key, event in events.items()} == {"e-p1": True, "e-p2": True, "e-p3": False}


def test_an_event_that_only_asks_for_reports_limits_nothing() -> None:
    event = {"reportDescriptors": [{"payloadType": "USAGE"}], "intervalPeriod": period(START, "PT1H")}
    bench = sees(event)
    assert bench.events() == {}
    assert bench.broken() == []
