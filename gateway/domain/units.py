"""Units and signs, said once.

Power and energy are **positive when drawn from the grid** (import), negative when fed in. An order volume is positive when
bought. Cash is positive when paid. Adapters convert at the edge; inside, no other sign exists. Units are part of every name:
`_kw`, `_kwh`, `_mw`, `_mwh`, `_a`, `_v`, `_eur_per_mwh`, `_g_per_kwh`.
"""

from datetime import timedelta

from gateway.domain.errors import InvalidInput

QUARTER_HOUR = timedelta(minutes=15)
KW_PER_MW = 1000.0
MIN_CHARGING_CURRENT_A = 6.0
"""Lowest current at which an AC car charges (IEC 61851-1); below it the only valid value is 0."""


def energy_kwh(power_kw: float, duration: timedelta) -> float:
    """Return the energy of a constant power over a duration, in kWh with the sign of the power."""
    return power_kw * duration.total_seconds() / 3600.0


def mean_power_kw(energy: float, duration: timedelta) -> float:
    """Return the mean power in kW of an energy in kWh over a duration.

    Raises:
        InvalidInput: The duration is not positive.
    """
    seconds = duration.total_seconds()
    if seconds <= 0:
        raise InvalidInput("duration", "must be positive")
    return energy * 3600.0 / seconds


def ac_power_kw(current_a: float, phases: int, voltage_v: float = 230.0) -> float:
    """Return the AC power in kW of a current per phase (line-to-neutral voltage, unity power factor)."""
    return current_a * phases * voltage_v / 1000.0
