"""What a doctor of market data says: one thing that is wrong, where, and why it is wrong or came to be."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that is wrong with market data."""

    kind: str
    """`missing`, `gaps`, `stale`, `contradictory`, `stand-in`, `estimated`, `preliminary`, `decoupled`, `repeated`, `format` or `coarse`."""
    what: str
    """Zone, product and day, or file and column."""
    why: str
