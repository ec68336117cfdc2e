"""What a charger measured, read from the sampled values of any OCPP version.

1.6 writes numbers as text and the unit beside them, 2.x numbers with a unit and a multiplier. A value that cannot be read is
left out; the others of the message stay.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from gateway.domain.errors import InvalidInput
from gateway.ocpp.words import Measured, Reading

_ENERGY = "Energy.Active.Import.Register"
"""What a sampled value without a measurand is, in every version."""
_PHASES = {"L1": 0, "L2": 1, "L3": 2, "L1-N": 0, "L2-N": 1, "L3-N": 2}
_LINE_TO_LINE = frozenset({"L1-L2", "L2-L3", "L3-L1"})
_SUMS = frozenset({None, "N"})
_PER_KILO = 1000.0
_STRAY_SHARE = 0.5
"""A voltage under this share of the largest one is not that of a connected phase."""
_LARGEST = 1e12
"""In W, Wh, A or V: what is larger was not measured, and no column of floats holds it."""
_LEAST_GAP_S = 1.0
"""Two registers must be this far apart for their difference to say a power."""


def read_instant(field: str, text: str) -> datetime:
    """Return an RFC 3339 instant in UTC; OCPP means UTC where no zone is given.

    Raises:
        InvalidInput: It is none.
    """
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(field, "must be an RFC 3339 instant") from error
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


def write_instant(instant: datetime) -> str:
    """Return an instant as chargers read it best: UTC, milliseconds, Z."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def readings_of(meter_values: Iterable[Mapping[str, Any]]) -> tuple[Reading, ...]:
    """Return one reading per meter value, oldest first."""
    found = [
        read_samples(read_instant("timestamp", value["timestamp"]), value["sampledValue"]) for value in meter_values
    ]
    return tuple(sorted(found, key=lambda reading: reading.at))


def read_samples(at: datetime, samples: Sequence[Mapping[str, Any]]) -> Reading:
    """Return what one instant's sampled values say."""
    powers, currents, voltages = _Phased(), _Phased(), _Phased()
    energy_kwh: float | None = None
    for sample in samples:
        value = _value(sample)
        if value is None:
            continue
        phase = sample.get("phase")
        match sample.get("measurand", _ENERGY):
            case "Energy.Active.Import.Register" if phase is None:
                energy_kwh = value / _PER_KILO
            case "Power.Active.Import":
                powers.take(phase, value / _PER_KILO)
            case "Current.Import" if (
                value >= 0.0
            ):  # with a sign it says a direction, and nobody knows by which convention
                currents.take(phase, value)
            case "Voltage" if value >= 0.0:
                voltages.take(phase, value / math.sqrt(3.0) if phase in _LINE_TO_LINE else value)
            case _:
                pass
    return Reading(
        at=at,
        power_kw=powers.total(),
        energy_kwh=energy_kwh,
        voltage_v=voltages.mean(),
        phase_current_a=(currents.phases[0], currents.phases[1], currents.phases[2]),
        phase_voltage_v=(voltages.phases[0], voltages.phases[1], voltages.phases[2]),
    )


class _Phased:
    """One quantity, as a total or phase by phase."""

    def __init__(self) -> None:
        self.phases: list[float | None] = [None, None, None]
        self._whole: float | None = None
        self._seen: list[float] = []

    def take(self, phase: str | None, value: float) -> None:
        self._seen.append(value)
        if phase in _PHASES:
            self.phases[_PHASES[phase]] = value
        elif phase in _SUMS:
            self._whole = value

    def total(self) -> float | None:
        """Return the total over phases."""
        known = [value for value in self.phases if value is not None]
        return self._whole if self._whole is not None else (sum(known) if known else None)

    def mean(self) -> float | None:
        """Return the mean of what was seen, without phases that are not connected: those read 0, or a few volts that stray in."""
        live = [value for value in self._seen if value > 0.0 and value > _STRAY_SHARE * max(self._seen)]
        return sum(live) / len(live) if live else None


def _value(sample: Mapping[str, Any]) -> float | None:
    """Return the value in W, Wh, A or V; None when it cannot be read."""
    unit_of_measure = sample.get("unitOfMeasure") or {}
    unit = sample.get("unit") or unit_of_measure.get("unit") or ""
    try:
        value = float(sample["value"]) * 10.0 ** int(unit_of_measure.get("multiplier") or 0)
    except (ValueError, OverflowError):
        return None
    if unit.startswith("k"):
        value *= _PER_KILO
    is_possible = math.isfinite(value) and abs(value) <= _LARGEST and sample.get("format") != "SignedData"
    return value if is_possible else None


def fold(known: Measured, reading: Reading) -> None:
    """Take a reading into what is known of a connector; power follows from the register where none was measured."""
    if known.reading is not None and reading.at < known.reading.at:
        return
    old = known.reading
    power_kw = reading.power_kw
    energy_kwh = reading.energy_kwh
    if power_kw is None:
        power_kw = _power_of_currents(reading, known.voltage_v)
    if energy_kwh is not None:
        if power_kw is None and known.previous_energy is not None:
            power_kw = _power_of_registers(known.previous_energy, (reading.at, energy_kwh))
        known.previous_energy = (reading.at, energy_kwh)
    elif old is not None:
        energy_kwh = old.energy_kwh
    if reading.voltage_v is not None:
        known.voltage_v = reading.voltage_v
    known.reading = replace(reading, power_kw=power_kw, energy_kwh=energy_kwh)


def _power_of_currents(reading: Reading, known_voltage_v: float | None) -> float | None:
    voltage_v = reading.voltage_v if reading.voltage_v is not None else known_voltage_v
    currents = [current for current in reading.phase_current_a if current is not None]
    if voltage_v is None or not currents:
        return None
    return sum(currents) * voltage_v / _PER_KILO


def _power_of_registers(old: tuple[datetime, float], new: tuple[datetime, float]) -> float | None:
    seconds = (new[0] - old[0]).total_seconds()
    if seconds < _LEAST_GAP_S or new[1] < old[1]:
        return None
    return (new[1] - old[1]) / (seconds / 3600.0)
