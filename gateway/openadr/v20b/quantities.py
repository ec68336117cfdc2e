"""What a signal's name, type and unit mean as an `Instruction` with a value in our units.

| signal | type | unit | becomes |
| --- | --- | --- | --- |
| SIMPLE | level | - | `SIMPLE_LEVEL` 0 to 3 |
| LOAD_DISPATCH | setpoint | powerReal, or a custom unit of W, kW, MW | `IMPORT_LIMIT_KW` |
| LOAD_DISPATCH | delta | the same, value at most 0 | `REDUCTION_KW` |
| LOAD_CONTROL | x-loadControlCapacity | - | `IMPORT_LIMIT_FRACTION` 0 to 1 |
| LOAD_CONTROL | x-loadControlSetpoint | powerReal, or a custom unit | `IMPORT_LIMIT_KW` |
| ELECTRICITY_PRICE, ENERGY_PRICE | price | currencyPerKWh | `PRICE` per MWh |

Everything else is answered 460. A unit that is missing or not in the table is refused, never guessed.
"""

from collections.abc import Callable
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
_KWH_PER_MWH = Decimal(1000)
_HIGHEST_LEVEL = 3


def power_kw(value: Decimal, unit: Unit | None) -> Decimal:
    """Return a power in kW.

    Raises:
        EventRefused: The unit is missing or is no real power.
    """
    watts = None if unit is None else _WATTS.get((unit.name, unit.units))
    scale = None if unit is None else _SCALE.get(unit.scale)
    if watts is None or scale is None:
        raise EventRefused(Code.INVALID_DATA, "the signal needs real power as its unit")
    return value * watts * scale / 1000


def _limit_kw(value: Decimal, unit: Unit | None) -> Decimal:
    power = power_kw(value, unit)
    if power < 0:
        raise EventRefused(Code.INVALID_DATA, "a set point below 0 kW asks for feed-in, which is not offered")
    return power


def _reduction_kw(value: Decimal, unit: Unit | None) -> Decimal:
    power = power_kw(value, unit)
    if power > 0:
        raise EventRefused(Code.INVALID_DATA, "a delta above 0 kW asks for more load, which is not offered")
    return -power if power else Decimal(0)


def _fraction(value: Decimal, _unit: Unit | None) -> Decimal:
    if not 0 <= value <= 1:
        raise EventRefused(Code.INVALID_DATA, "x-loadControlCapacity must be 0 to 1")
    return value


def _level(value: Decimal, _unit: Unit | None) -> Decimal:
    if value != value.to_integral_value() or not 0 <= value <= _HIGHEST_LEVEL:
        raise EventRefused(Code.INVALID_DATA, "a SIMPLE level must be 0, 1, 2 or 3")
    return value


def _price_per_mwh(value: Decimal, unit: Unit | None) -> Decimal:
    scale = None if unit is None else _SCALE.get(unit.scale)
    if unit is None or unit.name != "currencyPerKWh" or scale is None:
        raise EventRefused(Code.INVALID_DATA, "the price needs currencyPerKWh as its unit")
    return value * scale * _KWH_PER_MWH


_MEANINGS: dict[tuple[str, str], tuple[Instruction, Callable[[Decimal, Unit | None], Decimal]]] = {
    ("SIMPLE", "level"): (Instruction.SIMPLE_LEVEL, _level),
    ("simple", "level"): (Instruction.SIMPLE_LEVEL, _level),
    ("LOAD_DISPATCH", "setpoint"): (Instruction.IMPORT_LIMIT_KW, _limit_kw),
    ("LOAD_DISPATCH", "delta"): (Instruction.REDUCTION_KW, _reduction_kw),
    ("LOAD_CONTROL", "x-loadControlCapacity"): (Instruction.IMPORT_LIMIT_FRACTION, _fraction),
    ("LOAD_CONTROL", "x-loadControlSetpoint"): (Instruction.IMPORT_LIMIT_KW, _limit_kw),
    ("ELECTRICITY_PRICE", "price"): (Instruction.PRICE, _price_per_mwh),
    ("ENERGY_PRICE", "price"): (Instruction.PRICE, _price_per_mwh),
}


def is_supported(signal: WireSignal) -> bool:
    """Tell whether a signal's name and type mean something to us."""
    return (signal.name, signal.type) in _MEANINGS


def read_value(signal: WireSignal, value: Decimal) -> tuple[Instruction, float]:
    """Return what one value of a supported signal asks for, in our units.

    Raises:
        EventRefused: The value or its unit is outside what the signal allows.
    """
    instruction, convert = _MEANINGS[signal.name, signal.type]
    return instruction, float(convert(value, signal.unit))
