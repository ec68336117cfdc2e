"""How the doors stand, for people: connected or not, what each reaches, and what became of the last orders."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from gateway.domain.topology import EnforcementClass


@dataclass(frozen=True, kw_only=True, slots=True)
class DoorStanding:
    """One door at this moment."""

    csms: str
    kind: str
    """`ocpi-2.2.1`, `ocpi-2.3.0`, `citrineos` or `webhook`."""
    is_connected: bool
    """Whether the platform knows us and answered last."""
    state: str
    """In words, for example `not registered`."""
    enforcement: EnforcementClass
    """Best class that targets behind this door can have, whatever the inventory says."""
    charger_count: int
    reached_count: int
    """Chargers that can be commanded now; OCPI reaches running sessions only."""
    heard_at: datetime | None
    """When the platform last said something; None if not since the start."""
    accepted: int
    rejected: int
    unknown: int
    delayed: int
    last_error: str
    """What the last failure was, without secrets; empty if there was none."""
    troubled: tuple[str, ...]
    """Chargers whose last order was refused or is unknown."""


class Door(Protocol):
    """What can be asked of every door."""

    def standing(self) -> DoorStanding:
        """Return how it stands now."""
        ...


class DoorBook:
    """All doors, by tenant."""

    def __init__(self) -> None:
        self._doors: dict[str, list[Door]] = {}

    def add(self, tenant: str, door: Door) -> None:
        """Take a door in."""
        self._doors.setdefault(tenant, []).append(door)

    def standings(self, tenant: str) -> Sequence[DoorStanding]:
        """Return how a tenant's doors stand, in the order of the settings."""
        return [door.standing() for door in self._doors.get(tenant, [])]
