"""How the doors of charging platforms stand."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class DoorStanding:
    """How the door to one charging platform stands."""

    csms: str
    kind: str
    """`ocpi-2.2.1`, `ocpi-2.3.0`, `citrineos` or `webhook`."""
    is_connected: bool
    """Whether the platform knows us and answered last."""
    state: str
    """In words, for example `not registered`."""
    enforcement: str
    """Best class that targets behind this door can have, whatever the inventory says: `A`, `B` or `C`."""
    charger_count: int
    reached_count: int
    """Chargers that can be commanded now; OCPI reaches running sessions only."""
    heard_at: datetime | None
    """When the platform last said something; None if not since the start."""
    accepted: int = 0
    rejected: int = 0
    unknown: int = 0
    delayed: int = 0
    """Orders of which the platform said that they come too often."""
    last_error: str = ""
    """What the last failure was, without secrets; empty if there was none."""
    troubled: tuple[str, ...] = ()
    """Chargers whose last order was refused or is unknown."""


class DoorHealth(Protocol):
    """How the doors to charging platforms stand, for people; implemented by `csms`."""

    def standings(self, tenant: str) -> Sequence[DoorStanding]:
        """Return how a tenant's doors stand, in the order of the settings."""
        ...
