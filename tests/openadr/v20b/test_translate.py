"""From events on the wire to events of the domain: the conformance rules that concern one event at a time."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.signals import EventStatus, GridEvent, Instruction
from gateway.openadr.v20b.guard import GuardPolicy
from gateway.openadr.v20b.reader import read
from gateway.openadr.v20b.refusal import EventRefused
from gateway.openadr.v20b.translate import Programme, Receipt, needs_history, translate
from gateway.openadr.v20b.wire_events import BrokenEvent, DistributeEvent, WireEvent
from tests.openadr.v20b import messages

NOW = datetime(2025, 10, 15, 8, 0, tzinfo=UTC)
START = datetime(2025, 10, 15, 9, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
PROGRAMME = Programme(
    authority="vtn:test",
    tenant="demo",
    ven_id=messages.VEN_ID,
    market_contexts=frozenset({messages.CONTEXT}),
    own_nodes=("vpp-be",),
    nodes={"R-1": "site-01", "G-1": "site-02", "541448820000000018": "site-03"},
)
RECEIPT = Receipt(raw_signal="signal-1", received_at=NOW)


def half(low: float, high: float) -> float:
    return (low + high) / 2


def never(_low: float, _high: float) -> float:
    pytest.fail("nothing was to be drawn")


def wire_event(**changes: Any) -> WireEvent | BrokenEvent:
    message = read(messages.distribute_event(messages.event(**changes)), GuardPolicy(), NOW).message
    assert isinstance(message, DistributeEvent)
    return message.events[0]


def understood(
    known: GridEvent | None = None, draw: Callable[[float, float], float] = half, **changes: Any
) -> GridEvent:
    return translate(wire_event(**changes), PROGRAMME, RECEIPT, known, draw)


def refused(**changes: Any) -> int:
    with pytest.raises(EventRefused) as caught:
        understood(**changes)
    assert caught.value.problem
    return caught.value.code


def values(event: GridEvent) -> list[tuple[Instruction, float]]:
    return [(interval.instruction, interval.value) for interval in event.intervals]


def row(value: object, *, name: str, kind: str, unit: str = "", duration: str | None = "PT1H", **more: Any) -> str:
    return messages.signal([messages.interval(duration, value, uid="0")], name=name, kind=kind, unit=unit, **more)


def test_a_plain_event_is_understood() -> None:
    event = understood(event_id="E 7", modification=2, priority=None, notification="PT30M")
    assert event.id == "vtn:test:E 7"
    assert (event.tenant, event.authority, event.event_id, event.modification) == ("demo", "vtn:test", "E 7", 2)
    assert (event.active.start, event.active.end) == (START, START + HOUR)
    assert (event.priority, event.test_event, event.response_required, event.cancelled) == (None, False, True, False)
    assert (event.nodes, event.opt, event.raw_signal, event.received_at) == (("vpp-be",), None, "signal-1", NOW)
    assert values(event) == [(Instruction.IMPORT_LIMIT_KW, 40.0)]
    assert event.status(START - timedelta(minutes=31)) is EventStatus.FAR
    assert event.status(START - timedelta(minutes=30)) is EventStatus.NEAR


@pytest.mark.parametrize(
    ("value", "unit", "kw"),
    [
        (40, messages.power_unit("k"), 40.0),
        (40_000, messages.power_unit("none"), 40.0),
        (0.04, messages.power_unit("M"), 40.0),
        (40, messages.power_unit("k", "J/s"), 40.0),
        (40_000_000, messages.power_unit("m"), 40.0),
        (40, messages.custom_unit("kW"), 40.0),
        (0.04, messages.custom_unit("MW"), 40.0),
        (40, messages.custom_unit("W", "k"), 40.0),
        (0, messages.power_unit("k"), 0.0),
    ],
)
def test_power_is_read_with_unit_and_scale(value: float, unit: str, kw: float) -> None:
    for name, kind in (("LOAD_DISPATCH", "setpoint"), ("LOAD_CONTROL", "x-loadControlSetpoint")):
        event = understood(signals=[row(value, name=name, kind=kind, unit=unit)])
        assert values(event) == [(Instruction.IMPORT_LIMIT_KW, kw)]


def test_the_other_signals() -> None:
    assert values(understood(signals=[row(3, name="SIMPLE", kind="level")])) == [(Instruction.SIMPLE_LEVEL, 3.0)]
    capacity = row("0.25", name="LOAD_CONTROL", kind="x-loadControlCapacity")
    assert values(understood(signals=[capacity])) == [(Instruction.IMPORT_LIMIT_FRACTION, 0.25)]
    delta = row(-15, name="LOAD_DISPATCH", kind="delta", unit=messages.power_unit())
    assert values(understood(signals=[delta])) == [(Instruction.REDUCTION_KW, 15.0)]
    price = row("0.125", name="ELECTRICITY_PRICE", kind="price", unit=messages.price_unit())
    assert values(understood(signals=[price])) == [(Instruction.PRICE, 125.0)]
    cents = row("12.5", name="ENERGY_PRICE", kind="price", unit=messages.price_unit(scale="c"))
    assert values(understood(signals=[cents])) == [(Instruction.PRICE, 125.0)]
    negative = row("-0.05", name="ELECTRICITY_PRICE", kind="price", unit=messages.price_unit())
    assert values(understood(signals=[negative])) == [(Instruction.PRICE, -50.0)]


@pytest.mark.parametrize(
    ("signal", "code"),
    [
        (row(1, name="x-FOO", kind="level"), 460),
        (row(1, name="CHARGE_STATE", kind="setpoint"), 460),
        (row(1, name="LOAD_CONTROL", kind="x-loadControlLevelOffset"), 460),
        (row(1, name="ELECTRICITY_PRICE", kind="priceRelative", unit=messages.price_unit()), 460),
        (row(7, name="SIMPLE", kind="level"), 454),
        (row(1.5, name="SIMPLE", kind="level"), 454),
        (row(-1, name="SIMPLE", kind="level"), 454),
        (row("NaN", name="SIMPLE", kind="level"), 454),
        (row("1e400", name="LOAD_DISPATCH", kind="setpoint", unit=messages.power_unit()), 454),
        (row("9e307", name="LOAD_DISPATCH", kind="setpoint", unit=messages.power_unit("T")), 454),
        (row(-1, name="LOAD_DISPATCH", kind="setpoint", unit=messages.power_unit()), 454),
        (row(1, name="LOAD_DISPATCH", kind="delta", unit=messages.power_unit()), 454),
        (row(40, name="LOAD_DISPATCH", kind="setpoint"), 454),
        (row(40, name="LOAD_DISPATCH", kind="setpoint", unit=messages.custom_unit("KW")), 454),
        (row(40, name="LOAD_DISPATCH", kind="setpoint", unit=messages.price_unit()), 454),
        (row(1.01, name="LOAD_CONTROL", kind="x-loadControlCapacity"), 454),
        (row(-0.01, name="LOAD_CONTROL", kind="x-loadControlCapacity"), 454),
        (row(0.2, name="ELECTRICITY_PRICE", kind="price"), 454),
        (row(0.2, name="ELECTRICITY_PRICE", kind="price", unit=messages.price_unit(name="currencyPerKW")), 454),
        (row(1, name="SIMPLE", kind="level", device_class="Thermostat"), 462),
    ],
)
def test_what_a_signal_may_not_say(signal: str, code: int) -> None:
    assert refused(signals=[signal]) == code


def test_a_known_signal_beside_an_unknown_one_counts() -> None:
    event = understood(signals=[row(1, name="x-FOO", kind="level"), row(2, name="SIMPLE", kind="level")])
    assert values(event) == [(Instruction.SIMPLE_LEVEL, 2.0)]
    event = understood(
        signals=[
            row(1, name="SIMPLE", kind="level", device_class="Thermostat"),
            row(2, name="SIMPLE", kind="level", device_class="EVSE"),
        ]
    )
    assert values(event) == [(Instruction.SIMPLE_LEVEL, 2.0)]


@pytest.mark.parametrize(
    ("targets", "nodes"),
    [
        ("", ("vpp-be",)),
        (messages.target("venID", messages.VEN_ID), ("vpp-be",)),
        (messages.target("resourceID", "R-1"), ("site-01",)),
        (messages.target("groupID", "nobody") + messages.target("resourceID", "R-1"), ("site-01",)),
        (messages.target("resourceID", "R-1") + messages.target("venID", "OTHER"), ("site-01",)),
        (messages.target("groupName", "G-1") + messages.target("resourceID", "R-1"), ("site-02", "site-01")),
        (messages.target("resourceID", "R-1") + messages.target("venID", messages.VEN_ID), ("site-01", "vpp-be")),
        (messages.delivery_point("541448820000000018"), ("site-03",)),
        (messages.target("partyID", "G-1"), ("site-02",)),
    ],
)
def test_targets_are_alternatives(targets: str, nodes: tuple[str, ...]) -> None:
    assert understood(targets=targets).nodes == nodes


@pytest.mark.parametrize(
    "targets",
    [
        messages.target("venID", "OTHER"),
        messages.target("venID", "R-1"),
        messages.target("resourceID", messages.VEN_ID),
        messages.target("groupID", "nobody"),
        messages.target("resourceID", ""),
    ],
)
def test_an_event_for_others_is_refused(targets: str) -> None:
    assert refused(targets=targets) == 462


def test_an_event_of_another_programme_is_refused() -> None:
    assert refused(context="http://else.example") == 452


@pytest.mark.parametrize("event_id", ["", "9" * 1025])
def test_ids_have_a_length(event_id: str) -> None:
    assert refused(event_id=event_id) == 452


def test_intervals_lie_end_to_end() -> None:
    rows = [
        messages.signal(
            [messages.interval("PT15M", 40, uid="0"), messages.interval("PT30M", 20), messages.interval("PT15M", 0)],
            unit=messages.power_unit(),
        )
    ]
    event = understood(signals=rows)
    assert [(each.start, each.end, each.value) for each in event.intervals] == [
        (START, START + timedelta(minutes=15), 40.0),
        (START + timedelta(minutes=15), START + timedelta(minutes=45), 20.0),
        (START + timedelta(minutes=45), START + HOUR, 0.0),
    ]


@pytest.mark.parametrize(
    "intervals",
    [
        [messages.interval("PT30M", 1)],
        [messages.interval("PT30M", 1), messages.interval("PT31M", 1)],
        [messages.interval("PT60M", 1), messages.interval("PT0S", 1)],
        [messages.interval("PT90M", 1), messages.interval("-PT30M", 1)],
        [messages.interval(None, 1), messages.interval("PT60M", 1)],
        [messages.interval("PT30M", 1, uid="1"), messages.interval("PT30M", 1, uid="0")],
        [messages.interval("PT30M", 1, uid="0"), messages.interval("PT30M", 1, uid="0")],
        [messages.interval("PT30M", 1), messages.interval("PT30M", 1, start="2025-10-15T09:31:00Z")],
        [messages.interval("PT60M", 1, start="2025-10-15T08:00:00Z")],
    ],
)
def test_intervals_that_do_not_fit_are_refused(intervals: list[str]) -> None:
    assert refused(signals=[messages.signal(intervals, name="SIMPLE", kind="level")]) == 454


def test_intervals_may_say_what_we_know_anyway() -> None:
    dated = [
        messages.interval("PT30M", 1, uid="0", start="2025-10-15T09:00:00Z"),
        messages.interval("PT30M", 2, uid="1", start="2025-10-15T09:30:00"),
    ]
    assert len(understood(signals=[messages.signal(dated, name="SIMPLE", kind="level")]).intervals) == 2
    huge = messages.interval("PT1H", 1, uid="9" * 5_000)
    assert len(understood(signals=[messages.signal([huge], name="SIMPLE", kind="level")]).intervals) == 1
    bare = [messages.interval(None, 1)]
    assert understood(signals=[messages.signal(bare, name="SIMPLE", kind="level")]).intervals[0].end == START + HOUR


@pytest.mark.parametrize("span", ["PT0S", None])
def test_an_open_ended_event_has_no_end(span: str | None) -> None:
    rows = [messages.signal([messages.interval("PT1H", 1), messages.interval(span, 2)], name="SIMPLE", kind="level")]
    event = understood(duration="PT0S", signals=rows)
    assert event.active.end is None
    assert [each.end for each in event.intervals] == [START + HOUR, None]
    assert event.status(START + timedelta(days=400)) is EventStatus.ACTIVE


def test_an_open_ended_event_does_not_end_by_its_intervals() -> None:
    rows = [messages.signal([messages.interval("PT1H", 1)], name="SIMPLE", kind="level")]
    assert refused(duration="PT0S", signals=rows) == 454


@pytest.mark.parametrize(
    "changes", [{"duration": "-PT1H"}, {"start_after": "-PT5M"}, {"start": "9999-12-31T23:30:00Z"}, {"duration": "P1M"}]
)
def test_times_out_of_range_are_refused(changes: dict[str, str]) -> None:
    assert refused(**changes) == 454


def test_the_start_is_randomised_once() -> None:
    first = understood(start_after="PT5M", draw=lambda low, high: high * 0.4)
    assert first.start_offset == timedelta(minutes=2)
    assert first.active.start == START + timedelta(minutes=2)
    assert first.active.end == START + timedelta(minutes=62)
    assert first.intervals[0].start == first.active.start
    again = understood(known=first, draw=never, start_after="PT5M", modification=4, start="2025-10-15T11:00:00Z")
    assert again.start_offset == timedelta(minutes=2)
    assert again.active.start == START + timedelta(hours=2, minutes=2)
    changed = understood(known=first, draw=half, start_after="PT20M")
    assert changed.start_offset == timedelta(minutes=10)
    assert understood(known=first, draw=never).start_offset == timedelta(0)


@given(st.floats(0, 1, exclude_max=True), st.integers(1, 10_000))
def test_a_randomised_start_is_never_outside_its_window(share: float, seconds: int) -> None:
    event = understood(start_after=f"PT{seconds}S", draw=lambda low, high: low + share * (high - low))
    assert timedelta(0) <= event.start_offset <= timedelta(seconds=seconds)
    assert event.active.end is not None
    assert event.active.end - event.active.start == HOUR


def test_history_is_asked_for_only_where_it_matters() -> None:
    plain, cancelled, shifted = wire_event(), wire_event(status="cancelled"), wire_event(start_after="PT1S")
    assert isinstance(plain, WireEvent)
    assert isinstance(cancelled, WireEvent)
    assert isinstance(shifted, WireEvent)
    assert [needs_history(event) for event in (plain, cancelled, shifted)] == [False, True, True]


def test_a_cancelled_event_is_what_we_knew_but_cancelled() -> None:
    known = replace(understood(targets=messages.target("resourceID", "R-1")), opt_reason="capacity")
    gone = understood(
        known=known,
        draw=never,
        status="cancelled",
        modification=5,
        targets=messages.target("venID", "OTHER"),
        signals=[row(7, name="x-FOO", kind="level")],
    )
    assert (gone.cancelled, gone.cancelled_at, gone.modification) == (True, NOW, 5)
    assert (gone.nodes, gone.intervals, gone.active) == (known.nodes, known.intervals, known.active)
    assert (gone.opt, gone.opt_reason) == (None, "")
    assert gone.status(NOW) is EventStatus.CANCELLED


def test_a_running_randomised_event_ends_at_random() -> None:
    known = understood(start_after="PT5M", start="2025-10-15T07:00:00Z", duration="PT3H")
    gone = understood(
        known=known, draw=lambda low, high: high * 0.4, status="cancelled", start_after="PT5M", modification=1
    )
    assert gone.cancelled_at == NOW + timedelta(minutes=2)
    assert gone.status(NOW + timedelta(minutes=1)) is EventStatus.ACTIVE
    assert gone.status(NOW + timedelta(minutes=2)) is EventStatus.CANCELLED
    again = understood(known=gone, draw=never, status="cancelled", start_after="PT5M", modification=1)
    assert again.cancelled_at == gone.cancelled_at


def test_a_randomised_event_that_has_not_begun_is_gone_at_once() -> None:
    known = understood(start_after="PT5M")
    gone = understood(known=known, draw=never, status="cancelled", start_after="PT5M", modification=1)
    assert gone.cancelled_at == NOW


def test_an_unknown_cancelled_event_is_no_error() -> None:
    gone = understood(
        status="cancelled",
        context="http://else.example",
        targets=messages.target("venID", "OTHER"),
        start_after="PT5M",
        signals=[row(7, name="x-FOO", kind="level")],
        draw=never,
    )
    assert (gone.cancelled, gone.cancelled_at, gone.intervals, gone.nodes) == (True, NOW, (), ())


def test_a_completed_status_does_not_end_an_event() -> None:
    event = understood(status="completed", start_after="PT5M", start="2025-10-15T07:00:00Z")
    assert event.status(NOW + timedelta(minutes=1)) is EventStatus.ACTIVE


def test_a_start_without_zone_is_utc() -> None:
    assert understood(start="2025-10-15T09:00:00").active.start == START


@given(
    st.lists(st.integers(1, 5_000), min_size=1, max_size=8),
    st.floats(0, 5_000, allow_nan=False),
    st.integers(0, 600),
)
def test_intervals_always_tile_the_active_period(spans: list[int], value: float, start_after: int) -> None:
    rows = [
        messages.signal(
            [messages.interval(f"PT{span}S", value, uid=str(index)) for index, span in enumerate(spans)],
            unit=messages.power_unit(),
        )
    ]
    event = understood(duration=f"PT{sum(spans)}S", start_after=f"PT{start_after}S", signals=rows)
    assert event.intervals[0].start == event.active.start
    assert event.intervals[-1].end == event.active.end
    assert all(one.end == other.start for one, other in pairwise(event.intervals))
    assert all(each.value == pytest.approx(value) for each in event.intervals)
