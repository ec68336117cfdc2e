"""How a VEN is, whatever it speaks, for the health endpoint and the operator's page."""

import enum
from dataclasses import dataclass
from datetime import datetime


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
    programs: tuple[str, ...] = ()
    """Names of the programs we take part in; empty in 2.0b, where the settings name them."""
    events: int | None = None
    """Events that the VTN has now and that can be used; None where nobody counts them, as in 2.0b."""
