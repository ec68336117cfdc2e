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
    device_classes=frozenset({"EVSE", "Electric_Vehicle"}),
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


PER_KWH, PER_KW = messages.price_unit(), messages.price_unit(name="currencyPerKW")
READINGS: list[tuple[str, str, object, str, list[tuple[Instruction, float, str, str]]]] = [
    ("SIMPLE", "level", 3, "", [(Instruction.SIMPLE_LEVEL, 3.0, "", "")]),
    ("simple", "level", 0, "", [(Instruction.SIMPLE_LEVEL, 0.0, "", "")]),
    ("LOAD_DISPATCH", "setpoint", 40, messages.power_unit(), [(Instruction.IMPORT_LIMIT_KW, 40.0, "", "")]),
    (
        "LOAD_DISPATCH",
        "setpoint",
        -50,
        messages.power_unit(),
        [
            (Instruction.IMPORT_LIMIT_KW, 0.0, "", ""),
            (Instruction.EXPORT_LIMIT_KW, 50.0, "", ""),
            (Instruction.TARGET_KW, -50.0, "", ""),
        ],
    ),
    ("LOAD_DISPATCH", "delta", -15, messages.power_unit(), [(Instruction.REDUCTION_KW, 15.0, "", "")]),
    ("LOAD_DISPATCH", "delta", 0, messages.power_unit(), [(Instruction.REDUCTION_KW, 0.0, "", "")]),
    ("LOAD_DISPATCH", "delta", 15, messages.power_unit(), [(Instruction.TARGET_DELTA_KW, 15.0, "", "")]),
    ("LOAD_DISPATCH", "multiplier", "0.75", "", [(Instruction.PERCENT_OFFSET, -0.25, "", "")]),
    ("LOAD_DISPATCH", "level", -2, "", [(Instruction.LEVEL_OFFSET, -2.0, "", "")]),
    ("LOAD_CONTROL", "x-loadControlCapacity", "0.25", "", [(Instruction.IMPORT_LIMIT_FRACTION, 0.25, "", "")]),
    ("LOAD_CONTROL", "x-loadControlLevelOffset", 3, "", [(Instruction.LEVEL_OFFSET, 3.0, "", "")]),
    ("LOAD_CONTROL", "x-loadControlPercentOffset", "-0.2", "", [(Instruction.PERCENT_OFFSET, -0.2, "", "")]),
    ("CHARGE_STATE", "setpoint", 30, messages.energy_unit(), [(Instruction.CHARGE_KWH, 30.0, "", "")]),
    ("CHARGE_STATE", "setpoint", 30, messages.custom_unit("kWh"), [(Instruction.CHARGE_KWH, 30.0, "", "")]),
    ("CHARGE_STATE", "setpoint", 2, messages.custom_unit("MWh"), [(Instruction.CHARGE_KWH, 2000.0, "", "")]),
    ("CHARGE_STATE", "multiplier", "0.8", "", [(Instruction.STATE_OF_CHARGE, 0.8, "", "")]),
    (
        "CHARGE_STATE",
        "delta",
        -5,
        messages.energy_unit(),
        [(Instruction.INFORMATION, -5.0, "", "CHARGE_STATE delta in kWh")],
    ),
    ("ELECTRICITY_PRICE", "price", "0.125", PER_KWH, [(Instruction.PRICE, 125.0, "EUR", "")]),
    ("ELECTRICITY_PRICE", "price", "-0.05", PER_KWH, [(Instruction.PRICE, -50.0, "EUR", "")]),
    ("ENERGY_PRICE", "price", "12.5", messages.price_unit("USD", "c"), [(Instruction.PRICE, 125.0, "USD", "")]),
    ("ELECTRICITY_PRICE", "priceRelative", "-0.02", PER_KWH, [(Instruction.PRICE_RELATIVE, -20.0, "EUR", "")]),
    ("ENERGY_PRICE", "priceRelative", "0.02", PER_KWH, [(Instruction.PRICE_RELATIVE, 20.0, "EUR", "")]),
    ("ELECTRICITY_PRICE", "priceMultiplier", "1.5", "", [(Instruction.PRICE_MULTIPLIER, 1.5, "", "")]),
    ("ENERGY_PRICE", "priceMultiplier", 2, "", [(Instruction.PRICE_MULTIPLIER, 2.0, "", "")]),
    ("DEMAND_CHARGE", "price", "9.5", PER_KW, [(Instruction.DEMAND_CHARGE, 9.5, "EUR", "")]),
    (
        "DEMAND_CHARGE",
        "priceRelative",
        1,
        PER_KW,
        [(Instruction.INFORMATION, 1.0, "EUR", "DEMAND_CHARGE priceRelative per kW")],
    ),
    (
        "DEMAND_CHARGE",
        "priceMultiplier",
        2,
        "",
        [(Instruction.INFORMATION, 2.0, "", "DEMAND_CHARGE priceMultiplier")],
    ),
    (
        "BID_PRICE",
        "price",
        80,
        messages.price_unit("USD", name="currency"),
        [(Instruction.INFORMATION, 80.0, "USD", "BID_PRICE")],
    ),
    ("BID_PRICE", "price", "0.1", PER_KWH, [(Instruction.INFORMATION, 0.1, "EUR", "BID_PRICE per kWh")]),
    (
        "BID_LOAD",
        "setpoint",
        2,
        messages.power_unit("M"),
        [(Instruction.INFORMATION, 2000.0, "", "BID_LOAD in kW")],
    ),
    (
        "BID_ENERGY",
        "setpoint",
        7,
        messages.energy_unit(),
        [(Instruction.INFORMATION, 7.0, "", "BID_ENERGY in kWh")],
    ),
]


@pytest.mark.parametrize(
    ("name", "kind", "value", "unit", "meanings"),
    READINGS,
    ids=[f"{name}-{kind}-{value}-{index}" for index, (name, kind, value, *_) in enumerate(READINGS)],
)
def test_every_signal_of_the_specification_has_one_meaning(
    name: str, kind: str, value: object, unit: str, meanings: list[tuple[Instruction, float, str, str]]
) -> None:
    event = understood(signals=[row(value, name=name, kind=kind, unit=unit)])
    assert [(each.instruction, each.value, each.currency, each.text) for each in event.intervals] == meanings
    assert {(each.start, each.end) for each in event.intervals} == {(START, START + HOUR)}


BREACHES: list[tuple[str, int]] = [
    (row(1, name="x-FOO", kind="level"), 460),
    (row(1, name="CHARGE_STATE", kind="level"), 460),
    (row(1, name="SIMPLE", kind="setpoint"), 460),
    (row(1, name="LOAD_CONTROL", kind="delta"), 460),
    (row(1, name="ELECTRICITY_PRICE", kind="multiplier", unit=PER_KWH), 460),
    (row(7, name="SIMPLE", kind="level"), 454),
    (row(1.5, name="SIMPLE", kind="level"), 454),
    (row(-1, name="SIMPLE", kind="level"), 454),
    (row("NaN", name="SIMPLE", kind="level"), 454),
    (row("1e400", name="LOAD_DISPATCH", kind="setpoint", unit=messages.power_unit()), 454),
    (row("9e307", name="LOAD_DISPATCH", kind="setpoint", unit=messages.power_unit("T")), 454),
    (row(40, name="LOAD_DISPATCH", kind="setpoint"), 454),
    (row(40, name="LOAD_DISPATCH", kind="setpoint", unit=messages.custom_unit("KW")), 454),
    (row(40, name="LOAD_DISPATCH", kind="setpoint", unit=messages.custom_unit("A")), 454),
    (row(40, name="LOAD_DISPATCH", kind="setpoint", unit=messages.current_unit()), 454),
    (row(40, name="LOAD_DISPATCH", kind="setpoint", unit=messages.energy_unit()), 454),
    (row(40, name="LOAD_DISPATCH", kind="setpoint", unit=PER_KWH), 454),
    (row("2.5", name="LOAD_DISPATCH", kind="multiplier"), 454),
    (row("-0.1", name="LOAD_DISPATCH", kind="multiplier"), 454),
    (row(11, name="LOAD_DISPATCH", kind="level"), 454),
    (row(1.01, name="LOAD_CONTROL", kind="x-loadControlCapacity"), 454),
    (row(-0.01, name="LOAD_CONTROL", kind="x-loadControlCapacity"), 454),
    (row(0.5, name="LOAD_CONTROL", kind="x-loadControlLevelOffset"), 454),
    (row(-20, name="LOAD_CONTROL", kind="x-loadControlPercentOffset"), 454),
    (row(30, name="CHARGE_STATE", kind="setpoint", unit=messages.power_unit()), 454),
    (row(-1, name="CHARGE_STATE", kind="setpoint", unit=messages.energy_unit()), 454),
    (row(80, name="CHARGE_STATE", kind="multiplier"), 454),
    (row(0.2, name="ELECTRICITY_PRICE", kind="price"), 454),
    (row(0.2, name="ELECTRICITY_PRICE", kind="price", unit=PER_KW), 454),
    (row(-1, name="ENERGY_PRICE", kind="priceMultiplier"), 454),
    (row(9, name="DEMAND_CHARGE", kind="price", unit=PER_KWH), 454),
    (row(9, name="BID_PRICE", kind="price"), 454),
    (row(1, name="SIMPLE", kind="level", device_class="Thermostat"), 462),
]


@pytest.mark.parametrize(("signal", "code"), BREACHES, ids=range(len(BREACHES)))
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
def test_a15_targets_are_alternatives(targets: str, nodes: tuple[str, ...]) -> None:
    assert understood(targets=targets).nodes == nodes


def device(name: str) -> str:
    return f"<power:endDeviceAsset><power:mrid>{name}</power:mrid></power:endDeviceAsset>"


def test_classes_of_devices_narrow_targets_down() -> None:
    assert understood(targets=device("EVSE")).nodes == ("vpp-be",)
    assert understood(targets=device("Thermostat") + device("EVSE")).nodes == ("vpp-be",)
    assert understood(targets=device("EVSE") + messages.target("resourceID", "R-1")).nodes == ("site-01",)
    assert refused(targets=device("Thermostat")) == 462
    assert refused(targets=device("Thermostat") + messages.target("resourceID", "R-1")) == 462
    assert refused(targets=device("EVSE") + messages.target("resourceID", "R-9")) == 462


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
def test_hostile_a14_an_event_for_others_is_refused(targets: str) -> None:
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
def test_a16_intervals_that_do_not_fit_are_refused(intervals: list[str]) -> None:
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
def test_hostile_a23_a_randomised_start_is_never_outside_its_window(share: float, seconds: int) -> None:
    event = understood(start_after=f"PT{seconds}S", draw=lambda low, high: low + share * (high - low))
    assert timedelta(0) <= event.start_offset <= timedelta(seconds=seconds)
    assert event.active.end is not None
    assert event.active.end - event.active.start == HOUR


def test_ramps_and_the_comment_are_kept() -> None:
    event = understood(ramp_up="PT10M", recovery="-PT5M", comment="cold spell, A&B <1>")
    assert (event.ramp_up, event.recovery) == (timedelta(minutes=10), timedelta(minutes=-5))
    assert (event.comment, event.protocol) == ("cold spell, A&B <1>", "openadr-2.0b")


def test_a_baseline_is_what_the_vtn_will_compare_with() -> None:
    steps = [messages.interval("PT30M", 100, uid="0"), messages.interval("PT30M", 80, uid="1")]
    said = messages.baseline(steps, unit=messages.power_unit(), resources=("R-1", "A&B"))
    event = understood(baseline=said, start_after="PT5M")
    half_hour = START + timedelta(minutes=30)
    assert [(step.start, step.end, step.power_kw) for step in event.baselines] == [
        (START, half_hour, 100.0),
        (half_hour, START + HOUR, 80.0),
    ]
    assert event.baselines[0].resources == ("R-1", "A&B")
    energy = messages.baseline(steps, unit=messages.energy_unit())
    assert [step.power_kw for step in understood(baseline=energy).baselines] == [200.0, 160.0]
    whole = messages.baseline([messages.interval(None, 7)], unit=messages.power_unit())
    assert [(step.end, step.power_kw) for step in understood(baseline=whole).baselines] == [(START + HOUR, 7.0)]


@pytest.mark.parametrize(
    "said",
    [
        messages.baseline([messages.interval("PT1H", 1)]),
        messages.baseline([messages.interval("PT1H", 1)], unit=messages.price_unit()),
        messages.baseline([messages.interval("PT1H", "NaN")], unit=messages.power_unit()),
        messages.baseline([messages.interval("PT1H", 1)], unit=messages.power_unit(), duration="P1M"),
        messages.baseline([messages.interval("PT0S", 1)], unit=messages.power_unit()),
        messages.baseline([messages.interval(None, 1), messages.interval("PT1H", 1)], unit=messages.power_unit()),
        messages.baseline([messages.interval("PT1H", 1, start="2025-10-15T09:05:00Z")], unit=messages.power_unit()),
        messages.baseline([messages.interval("PT1H", "9e307")], unit=messages.power_unit("T")),
        messages.baseline([messages.interval("PT1H", 1)], unit=messages.power_unit(), start="9999-12-31T23:30:00Z"),
    ],
    ids=range(9),
)
def test_a_baseline_that_cannot_be_read_exactly_harms_no_event(said: str) -> None:
    event = understood(baseline=said)
    assert event.baselines == ()
    assert values(event) == [(Instruction.IMPORT_LIMIT_KW, 40.0)]


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


def test_a19_a_running_randomised_event_ends_at_random() -> None:
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


def test_a23_a_completed_status_does_not_end_an_event() -> None:
    event = understood(status="completed", start_after="PT5M", start="2025-10-15T07:00:00Z")
    assert event.status(NOW + timedelta(minutes=1)) is EventStatus.ACTIVE


def test_a24_a_start_without_zone_is_utc() -> None:
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
