"""How a VEN is, whatever it speaks, for the health endpoint and the operator's page."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from gateway.observe import redacted
from gateway.ports import PartnerStanding

_LONGEST_ERROR = 200


class VenState(enum.StrEnum):
    """Where a VEN stands with its VTN."""

    UNREGISTERED = "unregistered"
    REGISTERED = "registered"
    """The VTN has told us who we are."""
    CANCELLED = "cancelled"
    """The VTN has ended our registration; we stay away for a while. Only in 2.0b."""
    LEFT = "left"
    """We have ended our registration, by order of a person; we stay away until somebody wants us back. Only in 2.0b."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VenHealth:
    """How a VEN is."""

    state: VenState
    is_lost: bool
    """Whether the VTN has been out of reach for longer than allowed."""
    heard_at: datetime | None
    """When the VTN last said something understandable; None if not since the start."""
    failures: int
    """Attempts that failed since the last successful poll."""
    last_error: str
    """What the last failure was; empty if there was none."""
    pending_reports: int
    ven_id: str = ""
    """Who we are for the VTN; empty while it has not said."""
    lost_since: datetime | None = None
    """Since when the VTN counts as lost; None when it can be reached."""
    programs: tuple[str, ...] = ()
    """Names of the programs we take part in; empty in 2.0b, where the settings name them."""
    events: int | None = None
    """Events that the VTN has now and that can be used; None where nobody counts them, as in 2.0b."""


class HasHealth(Protocol):
    """A VEN of any dialect."""

    def health(self) -> VenHealth:
        """Return how the VEN is."""
        ...


class PartnerBook:
    """Implements `ports.PartnerHealth` over the VENs of a gateway."""

    def __init__(self) -> None:
        """Begin without partners."""
        self._vens: dict[tuple[str, str], HasHealth] = {}

    def add(self, tenant: str, authority: str, ven: HasHealth) -> None:
        """Ask this VEN from now on when somebody wants to know about a partner."""
        self._vens[tenant, authority] = ven

    def standings(self, tenant: str) -> Sequence[PartnerStanding]:
        """Return how a tenant stands with each of its partners (see `ports.PartnerHealth`)."""
        return [_standing(name, ven.health()) for (owner, name), ven in self._vens.items() if owner == tenant]


def _standing(authority: str, health: VenHealth) -> PartnerStanding:
    return PartnerStanding(
        authority=authority,
        state=health.state.value,
        ven_id=health.ven_id,
        heard_at=health.heard_at,
        lost_since=health.lost_since,
        failures=health.failures,
        last_error=redacted(health.last_error)[:_LONGEST_ERROR],
        pending_reports=health.pending_reports,
    )
