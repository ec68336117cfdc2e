"""Where the values of a report come from, and in which units: one table, by payload type.

| payload type                      | source                                        | units            |
|-----------------------------------|-----------------------------------------------|------------------|
| USAGE                             | meters, mean over the interval                | energy or power  |
| DEMAND                            | meters, mean or (reading type PEAK) highest   | power            |
| READING                           | meters, last minute of the interval           | power            |
| BASELINE, DELTA_USAGE             | the event's baseline, where it has one        | energy or power  |
| SIMPLE_LEVEL                      | the event, where we follow it                 | none             |
| SETPOINT                          | the limit in force at the moment              | power            |
| OPERATING_STATE                   | the chargers at the moment                    | words            |
| UP_, DOWN_REGULATION_AVAILABLE    | power, limit and need at the moment           | power            |
| DATA_QUALITY                      | how much of the interval was measured         | words            |

A program's profile adds types of its own. A type that is not here is not answered, and the duty says so: nothing is made up.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from gateway.domain.errors import InvalidInput
from gateway.openadr.profiles.pack import ReportDemand
from gateway.openadr.v3.literals import parse_duration
from gateway.openadr.v3.wire import ReportDescriptor

FORECAST = "FORECAST"
PEAK = "PEAK"
"""Reading type of the highest measurement of an interval."""
_POWER_UNITS = {"W": 1_000.0, "KW": 1.0, "kW": 1.0, "MW": 0.001}
_ENERGY_UNITS = {"WH": 1_000.0, "KWH": 1.0, "kWh": 1.0, "MWH": 0.001}
_DECIMALS = {1_000.0: 1, 1.0: 4, 0.001: 7}


class Source(enum.StrEnum):
    """Where values come from."""

    MEAN = "mean"
    PEAK = "peak"
    LAST = "last"
    BASELINE = "baseline"
    DELTA = "delta"
    DELIVERED = "delivered"
    """How far below the profile's baseline power was, at least 0 (NL-Flex)."""
    LEVEL = "level"
    LIMIT = "limit"
    STATE = "state"
    LESS = "less"
    """How much less could be drawn now."""
    MORE = "more"
    """How much more could be drawn now."""
    QUALITY = "quality"
    RECEIPT = "receipt"
    """That the event arrived: always true."""
    OPERATION = "operation"
    """Whether a resource can deliver: `NORMAL` or `ERROR` (NL-Flex)."""


MOMENTARY = frozenset({Source.LIMIT, Source.STATE, Source.LESS, Source.MORE, Source.OPERATION})
"""Sources that only know the moment they are asked."""
TOLD_ON_CHANGE = frozenset({Source.STATE, Source.OPERATION, Source.LIMIT})
"""Sources whose change is worth a report by itself where the moment is ours."""


class Measure(enum.StrEnum):
    """What values are measured in."""

    POWER = "power"
    ENERGY = "energy"
    WORDS = "words"


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """How one descriptor is answered."""

    payload_type: str
    source: Source
    measure: Measure = Measure.WORDS
    units: str = ""
    """As written into the report; empty for words."""
    per_kw: float = 1.0
    """Units in a kW, or in a kWh."""
    decimals: int = 0
    reading_type: str = ""
    step: timedelta | None = None
    """Length of what one value stands for, where one payload holds several; None for one value."""
    baseline: str = ""
    """Payload type of the baseline that a delivery is counted from."""
    on_receipt: bool = False
    """Sent as soon as the event has arrived, once, whatever the descriptor's timing."""
    report_name: str = ""
    """Name that the report must have; empty leaves it to us."""


_POWER_OR_ENERGY = (Measure.ENERGY, Measure.POWER)
_TABLE: dict[str, tuple[Source, tuple[Measure, ...]]] = {
    "USAGE": (Source.MEAN, _POWER_OR_ENERGY),
    "DEMAND": (Source.MEAN, (Measure.POWER,)),
    "READING": (Source.LAST, (Measure.POWER,)),
    "BASELINE": (Source.BASELINE, _POWER_OR_ENERGY[::-1]),
    "DELTA_USAGE": (Source.DELTA, _POWER_OR_ENERGY),
    "SIMPLE_LEVEL": (Source.LEVEL, (Measure.WORDS,)),
    "SETPOINT": (Source.LIMIT, (Measure.POWER,)),
    "OPERATING_STATE": (Source.STATE, (Measure.WORDS,)),
    "UP_REGULATION_AVAILABLE": (Source.LESS, (Measure.POWER,)),
    "DOWN_REGULATION_AVAILABLE": (Source.MORE, (Measure.POWER,)),
    "DATA_QUALITY": (Source.QUALITY, (Measure.WORDS,)),
}
"""Source and possible measures by payload type; the first measure is the one where the descriptor names no unit."""
_DEMANDED: dict[str, tuple[Source, tuple[Measure, ...]]] = {
    "acknowledgement": (Source.RECEIPT, (Measure.WORDS,)),
    "usage": (Source.MEAN, (Measure.POWER, Measure.ENERGY)),
    "delivery": (Source.DELIVERED, (Measure.POWER,)),
    "status": (Source.OPERATION, (Measure.WORDS,)),
    "limit": (Source.LIMIT, (Measure.POWER,)),
}
"""The same by what a profile calls the content of a report."""
_OWN_UNIT = {Measure.POWER: "KW", Measure.ENERGY: "KWH", Measure.WORDS: ""}
_FIXED_NAMES = {"status": "OPERATIONAL_STATUS", "registration": "RESOURCE_REGISTRATION"}
"""Names that NL-Flex gives reports by their content (OpenADR DER profile 1.0.0)."""


def answer_to(descriptor: ReportDescriptor, demands: Mapping[str, ReportDemand]) -> Answer:
    """Return how a descriptor is answered.

    Args:
        descriptor: What the event asks for.
        demands: What the program's profile says about its reports, by payload type.

    Raises:
        InvalidInput: It is not answered; the text says why.
    """
    demand = demands.get(descriptor.payload_type)
    found = _TABLE.get(descriptor.payload_type) if demand is None else _DEMANDED.get(demand.content)
    if found is None:
        raise InvalidInput(descriptor.payload_type, "has no source here, and nothing is made up")
    source, measures = found
    if descriptor.reading_type == PEAK and source is Source.MEAN:
        source = Source.PEAK
    if source not in MOMENTARY and source is not Source.RECEIPT and _is_forecast(descriptor):
        raise InvalidInput(descriptor.payload_type, "is asked as a forecast, and there is none")
    units = (demand.units if demand is not None else "") or descriptor.units
    measure, per_kw = _measure(descriptor.payload_type, units, measures)
    return Answer(
        payload_type=descriptor.payload_type,
        source=source,
        measure=measure,
        units=units or _OWN_UNIT[measure],
        per_kw=per_kw,
        decimals=_DECIMALS[per_kw] if demand is None or demand.decimals is None else demand.decimals,
        reading_type=descriptor.reading_type,
        step=_step(demand),
        baseline="" if demand is None else demand.baseline,
        on_receipt=demand is not None and demand.when == "on-receipt",
        report_name="" if demand is None else _FIXED_NAMES.get(demand.content, ""),
    )


def _is_forecast(descriptor: ReportDescriptor) -> bool:
    return not descriptor.historical or descriptor.reading_type == FORECAST


def _measure(payload_type: str, units: str, measures: tuple[Measure, ...]) -> tuple[Measure, float]:
    """Return what values are measured in and how many of the unit make a kW or kWh."""
    tables = {Measure.POWER: _POWER_UNITS, Measure.ENERGY: _ENERGY_UNITS}
    if not units or measures == (Measure.WORDS,):
        return measures[0], 1.0
    for measure in measures:
        if units in tables[measure]:
            return measure, tables[measure][units]
    wanted = " or ".join(measure.value for measure in measures)
    raise InvalidInput(payload_type, f"is wanted in a unit that is none of {wanted}")


def _step(demand: ReportDemand | None) -> timedelta | None:
    if demand is None or demand.step is None:
        return None
    return parse_duration("step", demand.step).exact
