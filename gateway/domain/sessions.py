"""Charging sessions: a car at a charger, what it needs and what we believe about it. No driver identity, ever."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import numpy as np

from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import require_utc


class DriverGoal(StrEnum):
    """What the driver asked for."""

    GUARANTEED = "guaranteed"
    CHEAPEST = "cheapest"
    GREENEST = "greenest"


class SessionState(StrEnum):
    """Whether the car is there."""

    PLUGGED_IN = "plugged-in"
    ENDED = "ended"


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """One car at one charger, under an opaque pseudonymous id."""

    id: str
    tenant: str
    charger: str
    arrival: datetime
    state: SessionState
    max_power_kw: float
    """What car and charger together can draw."""
    phases: int
    energy_needed_kwh: float | None
    """As the driver said; None when the driver said nothing."""
    expected_departure: datetime | None
    """As the driver said; a belief, often wrong; None when the driver said nothing."""
    departure: datetime | None = None
    """When the car left; None while it is there."""
    delivered_kwh: float = 0.0
    goal: DriverGoal = DriverGoal.CHEAPEST
    boost: bool = False
    """True when the driver wants to charge at full power now, whatever the plan says; limits hold all the same."""
    battery_kwh: float | None = None
    """Usable capacity of the battery; None unknown. With it a reported state of charge can be checked and used."""

    def __post_init__(self) -> None:
        """Reject powers and energies that are negative or not finite and a departure before the arrival."""
        require_utc("session.arrival", self.arrival)
        if not np.isfinite(self.max_power_kw) or self.max_power_kw <= 0.0:
            raise InvalidInput("session.max_power_kw", "must be a finite number above 0")
        for field in ("energy_needed_kwh", "delivered_kwh", "battery_kwh"):
            value = getattr(self, field)
            if value is not None and (not np.isfinite(value) or value < 0.0):
                raise InvalidInput(f"session.{field}", "must be a finite number of at least 0")
        if self.phases not in {1, 3}:
            raise InvalidInput("session.phases", "must be 1 or 3")
        if self.departure is not None and self.departure < self.arrival:
            raise InvalidInput("session.departure", "must not be before session.arrival")
