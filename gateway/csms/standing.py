"""How the doors stand, for people: connected or not, what each reaches, and what became of the last orders."""

from collections.abc import Sequence
from typing import Protocol

from gateway.ports import DoorStanding


class Door(Protocol):
    """What can be asked of every door."""

    def standing(self) -> DoorStanding:
        """Return how it stands now."""
        ...


class DoorBook:
    """All doors, by tenant; implements `ports.DoorHealth`."""

    def __init__(self) -> None:
        self._doors: dict[str, list[Door]] = {}

    def add(self, tenant: str, door: Door) -> None:
        """Take a door in."""
        self._doors.setdefault(tenant, []).append(door)

    def standings(self, tenant: str) -> Sequence[DoorStanding]:
        """Return how a tenant's doors stand, in the order of the settings."""
        return [door.standing() for door in self._doors.get(tenant, [])]
