"""Dispatches: commands to charging platforms, columnar, each with an id, a sequence, a lease and a fallback.

```
SENT --> ACCEPTED --> APPLIED --> FOLLOWED
 +-> REJECTED             +-> NOT_FOLLOWING   draws more than its limit (drawing less is the car's right)
 +-> TIMED_OUT
```

One `DispatchBatch` is one message to one CSMS for many chargers; the command for one charger is `{batch}/{charger}`. Limits are
absolute and versioned by `sequence`, never deltas: the latest wins and redelivery is harmless.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

import numpy as np

from gateway.domain.errors import InvalidInput


class DispatchState(IntEnum):
    """Where a command to one charger is; integers because they live in arrays."""

    NONE = 0
    SENT = 1
    ACCEPTED = 2
    APPLIED = 3
    FOLLOWED = 4
    REJECTED = 5
    TIMED_OUT = 6
    NOT_FOLLOWING = 7


@dataclass(frozen=True, kw_only=True, slots=True)
class DispatchBatch:
    """One command to one CSMS, for one or many of its chargers, as stored before it is sent."""

    id: str
    tenant: str
    csms: str
    sequence: int
    """Grows by one per CSMS for ever; a CSMS ignores what is not newer than what it has."""
    issued_at: datetime
    lease_until: datetime
    """After it the fallback applies without us."""
    charger_ids: tuple[str, ...]
    limit_kw: tuple[float, ...]
    """Upper bound per charger; zero pauses."""
    fallback_kw: tuple[float, ...]
    """What applies per charger when the lease runs out."""
    cause: str
    """`kind:id` of the limit, schedule or renewal behind it."""

    def __post_init__(self) -> None:
        """Reject columns of different lengths, negative or non-finite powers and a lease that is over at once."""
        if not len(self.charger_ids) == len(self.limit_kw) == len(self.fallback_kw):
            raise InvalidInput("dispatch.limit_kw", "needs one value per charger")
        for field in ("limit_kw", "fallback_kw"):
            values = np.asarray(getattr(self, field))
            if values.size and (not np.isfinite(values).all() or values.min() < 0.0):
                raise InvalidInput(f"dispatch.{field}", "must be finite numbers of at least 0")
        if self.lease_until <= self.issued_at:
            raise InvalidInput("dispatch.lease_until", "must be after dispatch.issued_at")


@dataclass(frozen=True, kw_only=True, slots=True)
class DispatchOutcome:
    """What a CSMS or the meter said about a batch: the chargers that changed state and the state they have now."""

    id: str
    tenant: str
    batch: str
    csms: str
    sequence: int
    at: datetime
    charger_ids: tuple[str, ...]
    states: tuple[int, ...]
    """`DispatchState` values, one per charger."""
    detail: tuple[str, ...] = ()
    """Reason per charger where the CSMS gave one, else empty."""
