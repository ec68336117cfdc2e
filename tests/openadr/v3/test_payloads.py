"""Payload types and units: what each asks for, and what is refused."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.signals import Instruction
from gateway.openadr.v3.payloads import MEANINGS, PayloadRefused, Said, meaning_of, say
from gateway.openadr.v3.wire import Payload, PayloadDescriptor, Point, Value


def told(
    payload_type: str, *values: Value, units: str | None = None, currency: str = "", **settings: Instruction
) -> Said:
    meaning = meaning_of(payload_type, settings.pop("control", Instruction.INFORMATION), settings)
    assert meaning is not None
    descriptor = None if units is None else PayloadDescriptor(payload_type=payload_type, units=units, currency=currency)
    return say(Payload(type=payload_type, values=values), meaning, descriptor)


def number(text: str) -> Decimal:
    return Decimal(text)


@pytest.mark.parametrize(
    ("payload_type", "value", "units", "instruction", "found"),
    [
        ("SIMPLE", "2", None, Instruction.SIMPLE_LEVEL, 2.0),
        ("PRICE", "0.25", "KWH", Instruction.PRICE, 250.0),
        ("PRICE", "-0.05", "KWH", Instruction.PRICE, -50.0),
        ("PRICE", "80", "MWH", Instruction.PRICE, 80.0),
        ("EXPORT_PRICE", "0.07", "KWH", Instruction.EXPORT_PRICE, 70.0),
        ("GHG", "420", None, Instruction.CARBON_G_PER_KWH, 420.0),
        ("GHG", "420", "GHG", Instruction.CARBON_G_PER_KWH, 420.0),
        ("CHARGE_STATE_SETPOINT", "0.8", "PERCENT", Instruction.STATE_OF_CHARGE, 0.8),
        ("CHARGE_STATE_SETPOINT", "40", "KWH", Instruction.CHARGE_KWH, 40.0),
        ("DISPATCH_SETPOINT", "0.5", "MW", Instruction.TARGET_KW, 500.0),
        ("DISPATCH_SETPOINT_RELATIVE", "-20", "KW", Instruction.TARGET_DELTA_KW, -20.0),
        ("CONTROL_LEVEL_OFFSET", "-3", None, Instruction.LEVEL_OFFSET, -3.0),
        ("CONTROL_LEVEL_OFFSET_PERCENT", "-0.5", "PERCENT", Instruction.PERCENT_OFFSET, -0.5),
        ("IMPORT_CAPACITY_LIMIT", "10", "KW", Instruction.IMPORT_LIMIT_KW, 10.0),
        ("EXPORT_CAPACITY_LIMIT", "4000", "W", Instruction.EXPORT_LIMIT_KW, 4.0),
        ("IMPORT_CAPACITY_SUBSCRIPTION", "17", "KW", Instruction.IMPORT_SUBSCRIPTION_KW, 17.0),
        ("EXPORT_CAPACITY_SUBSCRIPTION", "5", "KW", Instruction.EXPORT_SUBSCRIPTION_KW, 5.0),
        ("IMPORT_CAPACITY_RESERVATION", "3", "KW", Instruction.IMPORT_RESERVATION_KW, 3.0),
        ("EXPORT_CAPACITY_RESERVATION", "2", "KW", Instruction.EXPORT_RESERVATION_KW, 2.0),
        ("IMPORT_CAPACITY_AVAILABLE", "9", "KW", Instruction.INFORMATION, 9.0),
        ("IMPORT_CAPACITY_AVAILABLE_FEE", "0.3", None, Instruction.INFORMATION, 0.3),
        ("PRICE_ALTERNATE", "1.5", "THERMS", Instruction.INFORMATION, 1.5),
        ("CTA2045_REBOOT", "1", None, Instruction.INFORMATION, 1.0),
        ("CONTROL_SETPOINT", "21", "CELSIUS", Instruction.INFORMATION, 21.0),
    ],
    ids=str,
)  # fmt: skip
def test_b8_what_each_type_asks_for(
    payload_type: str, value: str, units: str | None, instruction: Instruction, found: float
) -> None:
    said = told(payload_type, number(value), units=units)
    assert (said.instruction, said.values) == (instruction, (found,))


@pytest.mark.parametrize(
    ("payload_type", "units"),
    [
        ("PRICE", None), ("PRICE", "KW"), ("PRICE", "THERMS"), ("IMPORT_CAPACITY_LIMIT", None),
        ("IMPORT_CAPACITY_LIMIT", "KVA"), ("DISPATCH_SETPOINT", "AMPS"), ("CHARGE_STATE_SETPOINT", None),
        ("CHARGE_STATE_SETPOINT", "KW"), ("CONTROL_LEVEL_OFFSET_PERCENT", "KW"), ("GHG", "LB"),
        ("IMPORT_CAPACITY_SUBSCRIPTION", "mw"),
    ],
    ids=str,
)  # fmt: skip
def test_b8_a_unit_that_is_not_of_the_kind_is_refused(payload_type: str, units: str | None) -> None:
    with pytest.raises(PayloadRefused) as refused:
        told(payload_type, number("1"), units=units)
    assert refused.value.rule == "unit-unknown"


def test_a_price_keeps_its_currency_and_one_that_is_none_is_refused() -> None:
    assert told("PRICE", number("1"), units="KWH", currency="USD").currency == "USD"
    assert told("PRICE", number("1"), units="KWH").currency == ""
    with pytest.raises(PayloadRefused):
        told("PRICE", number("1"), units="KWH", currency="dollars")


@pytest.mark.parametrize(
    "values", [(), ("10",), (True,), (Point(number("1"), number("2")),), (number("1"), "x")], ids=str
)
def test_b7_a_number_must_be_a_number(values: tuple[Value, ...]) -> None:
    with pytest.raises(PayloadRefused) as refused:
        told("IMPORT_CAPACITY_LIMIT", *values, units="KW")
    assert refused.value.rule == "value-refused"


def test_alerts_carry_their_words() -> None:
    said = told("ALERT_FIRE", "Wind from the east", "stay inside")
    assert (said.instruction, said.values) == (Instruction.ALERT, (0.0,))
    assert said.text == "ALERT_FIRE: Wind from the east; stay inside"
    assert told("ALERT_OTHER").text == "ALERT_OTHER"
    assert sum(one.instruction is Instruction.ALERT for one in MEANINGS.values()) == 10


def test_shapes_and_lists_are_kept_as_words() -> None:
    assert told("OLS", number("0.5"), number("1")).text == "OLS: 0.5; 1"
    assert told("CURVE", Point(number("0"), number("1"))).text == "CURVE: (0, 1)"
    assert told("CTA2045_SET_OVERRIDE_STATUS", True).text == "CTA2045_SET_OVERRIDE_STATUS: true"
    assert len(told("DISPATCH_INSTRUCTION", "x" * 9999).text) == 500


def test_what_a_program_means_by_its_own_words() -> None:
    wished = told("CONTROL_SETPOINT", number("-150"), units="W", control=Instruction.TARGET_DELTA_KW)
    assert (wished.instruction, wished.values) == (Instruction.TARGET_DELTA_KW, (-0.15,))
    limit = told("X_LIMIT", number("3"), units="KW", X_LIMIT=Instruction.IMPORT_LIMIT_KW)
    assert (limit.instruction, limit.values) == (Instruction.IMPORT_LIMIT_KW, (3.0,))
    assert told("X_NOTE", "hello", X_NOTE=Instruction.INFORMATION).text == "X_NOTE: hello"
    assert meaning_of("X_UNKNOWN", Instruction.INFORMATION, {}) is None


@given(
    st.sampled_from(sorted(MEANINGS)),
    st.lists(st.decimals(allow_nan=False, allow_infinity=False) | st.text() | st.booleans()),
    st.text(),
)
def test_b7_any_payload_says_something_or_is_refused(payload_type: str, values: list[Value], units: str) -> None:
    rules = set()
    try:
        assert told(payload_type, *values, units=units).values
    except PayloadRefused as error:
        rules.add(error.rule)
    assert rules <= {"unit-unknown", "value-refused"}
