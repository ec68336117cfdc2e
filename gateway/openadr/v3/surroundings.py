"""What every part of one VEN works with."""

from dataclasses import dataclass

from gateway.openadr.surroundings import VenSurroundings
from gateway.openadr.v3.settings import VenSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class Surroundings(VenSurroundings[VenSettings]):
    """Settings and ports of one VEN, and the identity it acts under."""
