"""What every part of one VEN works with."""

from dataclasses import dataclass

from gateway.openadr.profiles.gate import ProfileGate
from gateway.openadr.surroundings import VenSurroundings
from gateway.openadr.v20b.settings import VenSettings
from gateway.ports import StatusDesk, UsageDesk


@dataclass(frozen=True, kw_only=True, slots=True)
class Surroundings(VenSurroundings[VenSettings]):
    """Settings and ports of one VEN, and the identity it acts under."""

    usage_desk: UsageDesk
    status_desk: StatusDesk | None = None
    """None where nobody knows how chargers are: a status report then has no values."""
    gate: ProfileGate | None = None
    """Profile that the VTN's events must keep; None for none."""
