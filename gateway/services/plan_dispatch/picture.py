"""What one look at a tenant shows."""

from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import numpy.typing as npt

from gateway.domain.commands import CommandBook
from gateway.domain.fleet import FleetView
from gateway.ports import Clock, Ids, Store
from gateway.services.plan_dispatch.caps import Caps
from gateway.services.plan_dispatch.churn import Churn
from gateway.services.plan_dispatch.settings import CommandDesk, DispatchSources
from gateway.services.plan_dispatch.wants import Wants

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlPorts:
    """What the loop needs of the world."""

    store: Store
    clock: Clock
    ids: Ids
    desk: CommandDesk
    sources: DispatchSources
    churn: Churn = field(default_factory=Churn)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Picture:
    """Everything one look at the tenant shows; arrays of shape (C,) unless said otherwise."""

    at: datetime
    view: FleetView
    book: CommandBook
    caps: Caps
    wants: Wants
    is_connected: BoolArray
    is_loose: BoolArray
    """Not believed now: not connected, refusing, silent to us or over-drawing; asked to come down, never to rise."""
    is_present: BoolArray
    """With a car, as far as anybody knows."""
    in_force_kw: FloatArray
    """Set points in force at connected chargers, else 0."""
    counted_kw: FloatArray
    """Most that each may be drawing; 0 where nobody is and nobody can come unheard of."""
    priority: FloatArray
    """Who comes first when not all can charge: the largest."""

    @property
    def charger_count(self) -> int:
        """How many chargers the fleet has."""
        return len(self.in_force_kw)

    @property
    def now(self) -> float:
        """The instant in seconds since 1970-01-01 UTC."""
        return self.at.timestamp()
