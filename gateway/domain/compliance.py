"""What we tell a grid partner before it finds out: a limit of its that the chargers below a node cannot keep now."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import Interval


@dataclass(frozen=True, kw_only=True, slots=True)
class ComplianceShortfall:
    """One limit at one node that is exceeded although everything that can be lowered was lowered.

    Raised by the dispatcher, read by the rooms of grid partners (OSCP: GroupCapacityComplianceError with the correlation id of the
    forecast behind `limit_ids`). While it lasts the same record grows; afterwards `settled_at` closes it.
    """

    id: str
    tenant: str
    authority: str
    """Whose limit it is."""
    node: str
    """Where it applies."""
    limit_ids: tuple[str, ...]
    """Ids of the limits that are not kept."""
    blocks: tuple[Interval, ...]
    """Times of those limits, in the same order; an open end is until further notice."""
    limit_kw: float
    """What is allowed, without headroom."""
    expected_kw: float
    """What the chargers may be drawing as far as can be known: measured where it is, else at the worst; for a limit of what is
    drawn from the grid, with what flows beside them there, own generation taken off."""
    charger_ids: tuple[str, ...]
    """Chargers that do not follow, the largest first; the rest is in `reason`."""
    reason: str
    """One sentence for the partner, without names of drivers or accounts."""
    raised_at: datetime
    settled_at: datetime | None = None
    """When the limit was kept again or ended; None while it lasts."""
    is_open: bool = True
    """False as soon as it is settled."""

    def __post_init__(self) -> None:
        """Reject powers that are not finite or negative and a shortfall that is none."""
        for name in ("limit_kw", "expected_kw"):
            if not np.isfinite(getattr(self, name)) or getattr(self, name) < 0.0:
                raise InvalidInput(f"shortfall.{name}", "must be a finite number of at least 0")
        if len(self.limit_ids) != len(self.blocks) or not self.limit_ids:
            raise InvalidInput("shortfall.blocks", "needs one block per limit, and one limit at least")
        if self.is_open != (self.settled_at is None):
            raise InvalidInput("shortfall.is_open", "must be true until it is settled")
