"""What payload types of events mean, and in which units their values may come (Definition, event enumerations and units).

| payload type                              | instruction                  | unit                                        |
|-------------------------------------------|------------------------------|---------------------------------------------|
| SIMPLE                                    | level 0 to 3                 | none                                        |
| {IMPORT,EXPORT}_CAPACITY_LIMIT            | limit                        | W, KW, MW                                   |
| ..._SUBSCRIPTION, ..._RESERVATION         | what holds without a limit   | W, KW, MW                                   |
| ..._AVAILABLE, fees and prices of capacity| information                  | kept beside the value                       |
| DISPATCH_SETPOINT, ..._RELATIVE           | wished power, wished change  | W, KW, MW                                   |
| CONTROL_SETPOINT                          | as the program's settings say| W, KW, MW                                   |
| CONTROL_LEVEL_OFFSET, ..._PERCENT         | step, share                  | none, PERCENT                               |
| CHARGE_STATE_SETPOINT                     | state of charge, energy      | PERCENT, WH, KWH, MWH                       |
| PRICE, EXPORT_PRICE                       | price per MWh                | KWH, MWH, with a currency                   |
| GHG                                       | carbon in g/kWh              | GHG or none: the type has one unit          |
| ALERT_*                                   | alert                        | texts                                       |
| CTA2045_*, CURVE, OLS, PRICE_ALTERNATE... | information                  | kept beside the value                       |

A unit that is missing or unknown is never guessed: the payload is refused and named. Units are spelled exactly, because `MW` and
`mW` differ; only `kW` and `kWh` are taken as what they can only mean.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from gateway.domain.errors import InvalidInput
from gateway.domain.signals import Instruction
from gateway.openadr.v3.wire import Payload, PayloadDescriptor, Point, Value

UNIT_UNKNOWN = "unit-unknown"
"""Rule of a finding about a value whose unit is missing or not one of its kind."""
VALUE_REFUSED = "value-refused"
"""Rule of a finding about a value that its type does not allow."""
TYPE_UNKNOWN = "type-unknown"
"""Rule of a finding about a payload type that neither the specification nor the settings know."""


class Quantity(StrEnum):
    """What the values of a payload type measure."""

    PURE = "pure"
    """A number without a unit."""
    POWER = "power"
    ENERGY_PRICE = "energy-price"
    CARBON = "carbon"
    CHARGE = "charge"
    SHARE = "share"
    WORDS = "words"
    """Texts, for people."""
    KEPT = "kept"
    """Whatever it is, kept and shown with its unit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Meaning:
    """What a payload type asks for."""

    instruction: Instruction
    quantity: Quantity


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """What one payload says: one value per equal part of its interval."""

    type: str
    instruction: Instruction
    values: tuple[float, ...]
    """In the unit of the instruction."""
    currency: str = ""
    text: str = ""


class PayloadRefused(InvalidInput):
    """A payload cannot be used.

    Attributes:
        rule: Why, as a finding names it.
    """

    def __init__(self, rule: str, payload_type: str, problem: str) -> None:
        super().__init__(payload_type, problem)
        self.rule = rule


def _power(instruction: Instruction) -> Meaning:
    return Meaning(instruction=instruction, quantity=Quantity.POWER)


_KEPT = Meaning(instruction=Instruction.INFORMATION, quantity=Quantity.KEPT)
_ALERT = Meaning(instruction=Instruction.ALERT, quantity=Quantity.WORDS)
_KEPT_TYPES = (
    *("PRICE_ALTERNATE", "DISPATCH_INSTRUCTION", "CURVE", "OLS", "CTA2045_REBOOT", "CTA2045_SET_OVERRIDE_STATUS"),
    *(
        f"{direction}_CAPACITY_{what}"
        for direction in ("IMPORT", "EXPORT")
        for what in ("RESERVATION_FEE", "AVAILABLE", "AVAILABLE_PRICE", "AVAILABLE_FEE")
    ),
)
_ALERTS = (
    *("GRID_EMERGENCY", "BLACK_START", "POSSIBLE_OUTAGE", "FLEX_ALERT", "FIRE", "FREEZING", "WIND", "TSUNAMI"),
    *("AIR_QUALITY", "OTHER"),
)
MEANINGS: Mapping[str, Meaning] = {
    "SIMPLE": Meaning(instruction=Instruction.SIMPLE_LEVEL, quantity=Quantity.PURE),
    "PRICE": Meaning(instruction=Instruction.PRICE, quantity=Quantity.ENERGY_PRICE),
    "EXPORT_PRICE": Meaning(instruction=Instruction.EXPORT_PRICE, quantity=Quantity.ENERGY_PRICE),
    "GHG": Meaning(instruction=Instruction.CARBON_G_PER_KWH, quantity=Quantity.CARBON),
    "CHARGE_STATE_SETPOINT": Meaning(instruction=Instruction.STATE_OF_CHARGE, quantity=Quantity.CHARGE),
    "DISPATCH_SETPOINT": _power(Instruction.TARGET_KW),
    "DISPATCH_SETPOINT_RELATIVE": _power(Instruction.TARGET_DELTA_KW),
    "CONTROL_LEVEL_OFFSET": Meaning(instruction=Instruction.LEVEL_OFFSET, quantity=Quantity.PURE),
    "CONTROL_LEVEL_OFFSET_PERCENT": Meaning(instruction=Instruction.PERCENT_OFFSET, quantity=Quantity.SHARE),
    "IMPORT_CAPACITY_LIMIT": _power(Instruction.IMPORT_LIMIT_KW),
    "EXPORT_CAPACITY_LIMIT": _power(Instruction.EXPORT_LIMIT_KW),
    "IMPORT_CAPACITY_SUBSCRIPTION": _power(Instruction.IMPORT_SUBSCRIPTION_KW),
    "EXPORT_CAPACITY_SUBSCRIPTION": _power(Instruction.EXPORT_SUBSCRIPTION_KW),
    "IMPORT_CAPACITY_RESERVATION": _power(Instruction.IMPORT_RESERVATION_KW),
    "EXPORT_CAPACITY_RESERVATION": _power(Instruction.EXPORT_RESERVATION_KW),
    **dict.fromkeys((f"ALERT_{name}" for name in _ALERTS), _ALERT),
    **dict.fromkeys(_KEPT_TYPES, _KEPT),
}
"""Meaning of every payload type of the specification but CONTROL_SETPOINT, which the program's settings explain."""

_POWER_KW = {"W": Decimal("0.001"), "KW": Decimal(1), "kW": Decimal(1), "MW": Decimal(1000)}
_ENERGY_KWH = {"WH": Decimal("0.001"), "KWH": Decimal(1), "kWh": Decimal(1), "MWH": Decimal(1000)}
_PRICES_PER_MWH = {"KWH": Decimal(1000), "kWh": Decimal(1000), "MWH": Decimal(1)}
_CURRENCY = re.compile("[A-Z]{3}")
_LONGEST_TEXT = 500
_PERCENT = "PERCENT"


def meaning_of(payload_type: str, control_setpoint: Instruction, private: Mapping[str, Instruction]) -> Meaning | None:
    """Return what a payload type means; None when nobody knows.

    Args:
        payload_type: As sent.
        control_setpoint: What the program means by CONTROL_SETPOINT.
        private: Meaning of types of the program's own.
    """
    if payload_type == "CONTROL_SETPOINT":
        return _KEPT if control_setpoint is Instruction.INFORMATION else _power(control_setpoint)
    instruction = private.get(payload_type)
    if instruction is None:
        return MEANINGS.get(payload_type)
    return _KEPT if instruction is Instruction.INFORMATION else _like(instruction)


def _like(instruction: Instruction) -> Meaning:
    """Return the meaning of a private type: its quantity is that of the specification's types with the instruction."""
    quantities = (one.quantity for one in MEANINGS.values() if one.instruction is instruction)
    return Meaning(instruction=instruction, quantity=next(quantities, Quantity.POWER))


def say(payload: Payload, meaning: Meaning, descriptor: PayloadDescriptor | None) -> Said:
    """Return what a payload says in our units.

    Args:
        payload: Type and values.
        meaning: What its type asks for.
        descriptor: What its values are measured in; None when nobody says.

    Raises:
        PayloadRefused: No values, a value of another kind, or a unit that is missing or unknown.
    """
    units = "" if descriptor is None else descriptor.units
    currency = "" if descriptor is None else descriptor.currency
    if meaning.quantity is Quantity.WORDS:
        return _worded(payload, meaning.instruction, payload.type)
    if meaning.quantity is Quantity.KEPT:
        return _kept(payload, units, currency)
    numbers = _numbers(payload)
    instruction, factor = meaning.instruction, Decimal(1)
    match meaning.quantity:
        case Quantity.POWER:
            factor = _factor(payload.type, units, _POWER_KW)
        case Quantity.ENERGY_PRICE:
            factor = _factor(payload.type, units, _PRICES_PER_MWH)
            if currency and not _CURRENCY.fullmatch(currency):
                raise PayloadRefused(UNIT_UNKNOWN, payload.type, "is in a currency that is no ISO 4217 code")
        case Quantity.CARBON if units not in {"", "GHG"}:
            raise PayloadRefused(UNIT_UNKNOWN, payload.type, f"is in {units[:20]}, which is not grams per kWh")
        case Quantity.SHARE if units not in {"", _PERCENT}:
            raise PayloadRefused(UNIT_UNKNOWN, payload.type, f"is in {units[:20]}, which is not PERCENT")
        case Quantity.CHARGE if units != _PERCENT:
            instruction, factor = Instruction.CHARGE_KWH, _factor(payload.type, units, _ENERGY_KWH)
    is_price = meaning.quantity is Quantity.ENERGY_PRICE
    return Said(
        type=payload.type,
        instruction=instruction,
        values=tuple(float(number * factor) for number in numbers),
        currency=currency if is_price else "",
    )


def _factor(payload_type: str, units: str, factors: Mapping[str, Decimal]) -> Decimal:
    found = factors.get(units)
    if found is None:
        said = f"is in {units[:20]}, which is none of" if units else "comes without a unit: it must be one of"
        raise PayloadRefused(UNIT_UNKNOWN, payload_type, f"{said} {', '.join(factors)}")
    return found


def _numbers(payload: Payload) -> tuple[Decimal, ...]:
    numbers = tuple(value for value in payload.values if isinstance(value, Decimal))
    if not numbers or len(numbers) != len(payload.values):
        raise PayloadRefused(VALUE_REFUSED, payload.type, "must have numbers and nothing else")
    return numbers


def _worded(payload: Payload, instruction: Instruction, name: str) -> Said:
    words = "; ".join(_spell(value) for value in payload.values)
    text = f"{name}: {words}" if words else name
    return Said(type=payload.type, instruction=instruction, values=(0.0,), text=text[:_LONGEST_TEXT])


def _kept(payload: Payload, units: str, currency: str) -> Said:
    """Return a payload that only informs: one number each where it has numbers, else its words."""
    name = " ".join(part for part in (payload.type, currency, units) if part)
    if payload.values and all(isinstance(value, Decimal) for value in payload.values) and payload.type != "OLS":
        values = tuple(float(value) for value in payload.values if isinstance(value, Decimal))
        return Said(type=payload.type, instruction=Instruction.INFORMATION, values=values, text=name[:_LONGEST_TEXT])
    return _worded(payload, Instruction.INFORMATION, name)


def _spell(value: Value) -> str:
    if isinstance(value, Point):
        return f"({value.x}, {value.y})"
    return str(value).lower() if isinstance(value, bool) else str(value)
