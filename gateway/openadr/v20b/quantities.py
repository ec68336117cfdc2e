"""What a signal's name, type and unit mean as instructions with values in our units.

| signal | type | unit | becomes |
| --- | --- | --- | --- |
| SIMPLE | level | - | `SIMPLE_LEVEL` 0 to 3 |
| LOAD_DISPATCH | setpoint | real power | `IMPORT_LIMIT_KW`; below 0 see `_setpoint` |
| LOAD_DISPATCH | delta | real power | at most 0 `REDUCTION_KW`, above 0 `TARGET_DELTA_KW` |
| LOAD_DISPATCH | multiplier | - | `PERCENT_OFFSET`: 0.8 of normal is -0.2 |
| LOAD_DISPATCH | level | - | `LEVEL_OFFSET` |
| LOAD_CONTROL | x-loadControlSetpoint | real power | as LOAD_DISPATCH setpoint |
| LOAD_CONTROL | x-loadControlCapacity | - | `IMPORT_LIMIT_FRACTION` 0 to 1 |
| LOAD_CONTROL | x-loadControlLevelOffset | - | `LEVEL_OFFSET` -10 to 10 |
| LOAD_CONTROL | x-loadControlPercentOffset | - | `PERCENT_OFFSET` -1 to 1 |
| CHARGE_STATE | setpoint | real energy | `CHARGE_KWH` |
| CHARGE_STATE | multiplier | - | `STATE_OF_CHARGE` 0 to 1 |
| CHARGE_STATE | delta | real energy | `INFORMATION` in kWh |
| ELECTRICITY_PRICE, ENERGY_PRICE | price, priceRelative | currencyPerKWh | `PRICE`, `PRICE_RELATIVE` per MWh |
| ELECTRICITY_PRICE, ENERGY_PRICE | priceMultiplier | - | `PRICE_MULTIPLIER` |
| DEMAND_CHARGE | price | currencyPerKW | `DEMAND_CHARGE` per kW |
| DEMAND_CHARGE | priceRelative, priceMultiplier | currencyPerKW, - | `INFORMATION` |
| BID_PRICE | price | currency, currencyPerKWh, currencyPerKW | `INFORMATION` |
| BID_LOAD, BID_ENERGY | setpoint | real power, real energy | `INFORMATION` in kW, kWh |

Real power is powerReal or a custom unit of W, kW, MW; real energy is energyReal or a custom unit of Wh, kWh, MWh. Everything
else is answered 460. A unit that is missing or not in the table is refused, never guessed: ampere, volt, apparent and reactive
power say nothing about kW without phases and power factor.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from gateway.domain.signals import Instruction
from gateway.openadr.v20b.names import Code
from gateway.openadr.v20b.refusal import EventRefused
from gateway.openadr.v20b.wire_events import WireSignal
from gateway.openadr.v20b.wire_parts import Unit

_SCALE = {
    code: Decimal(10) ** exponent
    for code, exponent in {
        "p": -12,
        "n": -9,
        "micro": -6,
        "m": -3,
        "c": -2,
        "d": -1,
        "none": 0,
        "k": 3,
        "M": 6,
        "G": 9,
        "T": 12,
    }.items()
}
"""Factor of each `siScaleCode`."""
_WATTS = {
    ("powerReal", "W"): Decimal(1),
    ("powerReal", "J/s"): Decimal(1),
    ("customUnit", "W"): Decimal(1),
    ("customUnit", "kW"): Decimal(1000),
    ("customUnit", "MW"): Decimal(1_000_000),
}
_WATT_HOURS = {
    ("energyReal", "Wh"): Decimal(1),
    ("customUnit", "Wh"): Decimal(1),
    ("customUnit", "kWh"): Decimal(1000),
    ("customUnit", "MWh"): Decimal(1_000_000),
}
_KWH_PER_MWH = Decimal(1000)
_HIGHEST_LEVEL = 3
_PER = {"currency": "", "currencyPerKWh": " per kWh", "currencyPerKW": " per kW"}
"""Kinds of money a bid may be in, and how a person reads them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Meaning:
    """One thing that one value asks for."""

    instruction: Instruction
    value: float
    currency: str = ""
    text: str = ""


_Convert = Callable[[Decimal, Unit | None], tuple[Meaning, ...]]


def _scaled(value: Decimal, unit: Unit | None, known: dict[tuple[str, str], Decimal], wanted: str) -> Decimal:
    factor = None if unit is None else known.get((unit.name, unit.units))
    scale = None if unit is None else _SCALE.get(unit.scale)
    if factor is None or scale is None:
        raise EventRefused(Code.INVALID_DATA, f"the signal needs {wanted} as its unit")
    return value * factor * scale / 1000


def power_kw(value: Decimal, unit: Unit | None) -> Decimal:
    """Return a power in kW.

    Raises:
        EventRefused: The unit is missing or is no real power.
    """
    return _scaled(value, unit, _WATTS, "real power")


def energy_kwh(value: Decimal, unit: Unit | None) -> Decimal:
    """Return an energy in kWh.

    Raises:
        EventRefused: The unit is missing or is no real energy.
    """
    return _scaled(value, unit, _WATT_HOURS, "real energy")


def is_energy(unit: Unit | None) -> bool:
    """Tell whether a unit counts real energy."""
    return unit is not None and (unit.name, unit.units) in _WATT_HOURS


def _money(value: Decimal, unit: Unit | None, *names: str) -> tuple[Decimal, str]:
    """Return an amount in whole units of its currency, and the currency."""
    scale = None if unit is None else _SCALE.get(unit.scale)
    if unit is None or unit.name not in names or scale is None:
        raise EventRefused(Code.INVALID_DATA, f"the price needs {' or '.join(names)} as its unit")
    return value * scale, unit.units


def _one(instruction: Instruction, value: Decimal, currency: str = "", text: str = "") -> tuple[Meaning, ...]:
    return (Meaning(instruction=instruction, value=float(value + 0), currency=currency, text=text),)


def _setpoint(value: Decimal, unit: Unit | None) -> tuple[Meaning, ...]:
    """Read a set point: the most to draw; below 0 draw nothing, feed in that much if possible and no more."""
    power = power_kw(value, unit)
    if power >= 0:
        return _one(Instruction.IMPORT_LIMIT_KW, power)
    return (
        *_one(Instruction.IMPORT_LIMIT_KW, Decimal(0)),
        *_one(Instruction.EXPORT_LIMIT_KW, -power),
        *_one(Instruction.TARGET_KW, power),
    )


def _delta(value: Decimal, unit: Unit | None) -> tuple[Meaning, ...]:
    power = power_kw(value, unit)
    if power > 0:
        return _one(Instruction.TARGET_DELTA_KW, power)
    return _one(Instruction.REDUCTION_KW, -power)


def _multiplier(value: Decimal, _unit: Unit | None) -> tuple[Meaning, ...]:
    return _one(Instruction.PERCENT_OFFSET, value - 1)


def _level(value: Decimal, _unit: Unit | None) -> tuple[Meaning, ...]:
    if value != value.to_integral_value() or not 0 <= value <= _HIGHEST_LEVEL:
        raise EventRefused(Code.INVALID_DATA, "a SIMPLE level must be 0, 1, 2 or 3")
    return _one(Instruction.SIMPLE_LEVEL, value)


def _level_offset(value: Decimal, _unit: Unit | None) -> tuple[Meaning, ...]:
    if value != value.to_integral_value():
        raise EventRefused(Code.INVALID_DATA, "a level must be a whole number")
    return _one(Instruction.LEVEL_OFFSET, value)


def _plain(instruction: Instruction) -> _Convert:
    """Return the reading of a value without unit whose bounds the instruction checks."""
    return lambda value, _unit: _one(instruction, value)


def _charge(value: Decimal, unit: Unit | None) -> tuple[Meaning, ...]:
    return _one(Instruction.CHARGE_KWH, energy_kwh(value, unit))


def _price_per_mwh(instruction: Instruction) -> _Convert:
    def read(value: Decimal, unit: Unit | None) -> tuple[Meaning, ...]:
        amount, currency = _money(value, unit, "currencyPerKWh")
        return _one(instruction, amount * _KWH_PER_MWH, currency)

    return read


def _demand_charge(value: Decimal, unit: Unit | None) -> tuple[Meaning, ...]:
    return _one(Instruction.DEMAND_CHARGE, *_money(value, unit, "currencyPerKW"))


def _demand_charge_change(value: Decimal, unit: Unit | None) -> tuple[Meaning, ...]:
    amount, currency = _money(value, unit, "currencyPerKW")
    return _one(Instruction.INFORMATION, amount, currency, "DEMAND_CHARGE priceRelative per kW")


def _bid_price(value: Decimal, unit: Unit | None) -> tuple[Meaning, ...]:
    amount, currency = _money(value, unit, *_PER)
    per = "" if unit is None else _PER[unit.name]
    return _one(Instruction.INFORMATION, amount, currency, f"BID_PRICE{per}")


def _known_kw(text: str) -> _Convert:
    return lambda value, unit: _one(Instruction.INFORMATION, power_kw(value, unit), text=text)


def _known_kwh(text: str) -> _Convert:
    return lambda value, unit: _one(Instruction.INFORMATION, energy_kwh(value, unit), text=text)


def _known_number(text: str) -> _Convert:
    return lambda value, _unit: _one(Instruction.INFORMATION, value, text=text)


_MEANINGS: dict[tuple[str, str], _Convert] = {
    ("SIMPLE", "level"): _level,
    ("simple", "level"): _level,
    ("LOAD_DISPATCH", "setpoint"): _setpoint,
    ("LOAD_DISPATCH", "delta"): _delta,
    ("LOAD_DISPATCH", "multiplier"): _multiplier,
    ("LOAD_DISPATCH", "level"): _level_offset,
    ("LOAD_CONTROL", "x-loadControlSetpoint"): _setpoint,
    ("LOAD_CONTROL", "x-loadControlCapacity"): _plain(Instruction.IMPORT_LIMIT_FRACTION),
    ("LOAD_CONTROL", "x-loadControlLevelOffset"): _level_offset,
    ("LOAD_CONTROL", "x-loadControlPercentOffset"): _plain(Instruction.PERCENT_OFFSET),
    ("CHARGE_STATE", "setpoint"): _charge,
    ("CHARGE_STATE", "multiplier"): _plain(Instruction.STATE_OF_CHARGE),
    ("CHARGE_STATE", "delta"): _known_kwh("CHARGE_STATE delta in kWh"),
    ("ELECTRICITY_PRICE", "price"): _price_per_mwh(Instruction.PRICE),
    ("ELECTRICITY_PRICE", "priceRelative"): _price_per_mwh(Instruction.PRICE_RELATIVE),
    ("ELECTRICITY_PRICE", "priceMultiplier"): _plain(Instruction.PRICE_MULTIPLIER),
    ("ENERGY_PRICE", "price"): _price_per_mwh(Instruction.PRICE),
    ("ENERGY_PRICE", "priceRelative"): _price_per_mwh(Instruction.PRICE_RELATIVE),
    ("ENERGY_PRICE", "priceMultiplier"): _plain(Instruction.PRICE_MULTIPLIER),
    ("DEMAND_CHARGE", "price"): _demand_charge,
    ("DEMAND_CHARGE", "priceRelative"): _demand_charge_change,
    ("DEMAND_CHARGE", "priceMultiplier"): _known_number("DEMAND_CHARGE priceMultiplier"),
    ("BID_PRICE", "price"): _bid_price,
    ("BID_LOAD", "setpoint"): _known_kw("BID_LOAD in kW"),
    ("BID_ENERGY", "setpoint"): _known_kwh("BID_ENERGY in kWh"),
}


def is_supported(signal: WireSignal) -> bool:
    """Tell whether a signal's name and type mean something to us."""
    return (signal.name, signal.type) in _MEANINGS


def read_value(signal: WireSignal, value: Decimal) -> tuple[Meaning, ...]:
    """Return what one value of a supported signal asks for, in our units; several things for a set point below 0.

    Raises:
        EventRefused: The value or its unit is outside what the signal allows.
    """
    return _MEANINGS[signal.name, signal.type](value, signal.unit)
