"""How the dispatcher behaves and whom it asks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

import numpy as np
import numpy.typing as npt

from gateway.domain.calm import CalmRules
from gateway.domain.commands import CommandBook, Sent
from gateway.domain.errors import InvalidInput
from gateway.domain.fleet import FleetView
from gateway.domain.follow_rules import FollowRules
from gateway.domain.limits import Limit
from gateway.domain.random_delay import DelayRules
from gateway.domain.timegrid import TimeGrid
from gateway.domain.topology import Node

IndexArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class DispatchSettings:
    """How limits are kept and changed; durations in market time."""

    tick: timedelta = timedelta(seconds=5)
    """Longest pause between two looks at everything."""
    lease: timedelta = timedelta(minutes=2)
    """How long a command holds; renewed after a third of it."""
    lead: timedelta = timedelta(seconds=10)
    """A tighter limit is sent so long before it begins, so that cars have come down when it does."""
    calm: CalmRules = field(default_factory=CalmRules)
    random_delay: DelayRules = field(default_factory=DelayRules)
    """Where changes that schedules and events ask for begin at random times (regulation 11 in Great Britain)."""
    headroom: float = 0.05
    """Share of every limit and rating that is left free until it is known how exactly chargers follow."""
    least_headroom: float = 0.05
    """Share left free at least, however exactly they follow."""
    most_headroom: float = 0.2
    """Share left free at most, however badly."""
    headroom_window: timedelta = timedelta(minutes=15)
    """The worst of the last one to two windows counts."""
    guaranteed_min_kw: Mapping[str, float] = field(default_factory=dict)
    """By authority: headroom never pushes its limit under this."""
    retry_after: timedelta = timedelta(seconds=30)
    """A refused or unanswered command is sent again after this."""
    arrival_grace: timedelta = timedelta(minutes=5)
    """A car that arrived so recently need not wait for stability."""
    ask_idle_after: timedelta = timedelta(minutes=30)
    """A car that takes nothing of what it may comes last for so long, then it is offered its share again."""
    ask_urgent_after: timedelta = timedelta(minutes=5)
    """The same for a car that must run now to get what its driver was promised."""
    believed_energy_kwh: float = 15.0
    """Energy a car is believed to need when the driver said nothing."""
    carbon_zone: str = ""
    """Zone whose carbon forecast says when cars whose driver asked for low carbon wait; empty: they do not."""
    store_patience_s: float = 0.5
    """Real seconds after which a write that hangs counts as failed, so that a reduction can go out from memory."""
    inline_charger_count: int = 1_000
    """Larger fleets are allocated in a thread and looked at in parts, so that the event loop goes on."""
    ack_pause_s: float = 0.05
    """Real seconds that platforms of a larger fleet have to acknowledge a reduction before everything is allocated anew."""

    def __post_init__(self) -> None:
        """Reject times that are not positive and a headroom outside [0, 1)."""
        for name in ("tick", "lease", "retry_after", "headroom_window"):
            if getattr(self, name) <= timedelta(0):
                raise InvalidInput(f"dispatch.{name}", "must be positive")
        for share in ("headroom", "least_headroom", "most_headroom"):
            if not 0.0 <= getattr(self, share) < 1.0:
                raise InvalidInput(f"dispatch.{share}", "must be a share below 1")
        if self.least_headroom > self.most_headroom:
            raise InvalidInput("dispatch.least_headroom", "must not exceed dispatch.most_headroom")


def nobody(tenant: str) -> Mapping[str, frozenset[str]]:
    """Say that no authority must have a word for every instant."""
    del tenant
    return {}


def nothing_else(tenant: str, node_id: str) -> float:
    """Say that nothing flows beside the chargers."""
    del tenant, node_id
    return 0.0


def nobody_knows(tenant: str, node_id: str, grid: TimeGrid) -> FloatArray | None:
    """Say that nothing is expected to be known about a node's power."""
    del tenant, node_id, grid
    return None


@dataclass(frozen=True, kw_only=True, slots=True)
class DispatchSources:
    """What the dispatcher asks of others; all answer from memory."""

    fleet: Callable[[str], FleetView]
    """A tenant's fleet now."""
    limits: Callable[[str], Mapping[str, Sequence[Limit]]]
    """A tenant's limits by node."""
    lost: Callable[[str], Mapping[str, frozenset[str]]]
    """Unconditional authorities out of contact, by node."""
    find_charger: Callable[[str, str], Node | None]
    """Charger of a tenant by id, as the node that a limit of its own binds at."""
    believe_departure: Callable[[str, datetime, datetime], datetime]
    """When a car at a kind of place, arrived then, is believed to leave, as seen now."""
    steady: Callable[[str], Mapping[str, frozenset[str]]] = nobody
    """Authorities that say a limit for every instant, by node."""
    other_kw: Callable[[str, str], float] = nothing_else
    """What else flows at the connection points of a tenant's node, in kW, negative when it feeds in."""
    expected_kw: Callable[[str, str, TimeGrid], FloatArray | None] = nobody_knows
    """What a tenant's node would draw per slot of a grid by what it drew, in kW; None when nobody knows."""


class CommandDesk(Protocol):
    """Who keeps what becomes of commands; implemented by `services.follow_dispatch`."""

    rules: FollowRules

    async def load(self, tenant: str) -> None:
        """Rebuild the book from rows."""
        ...

    def book(self, tenant: str) -> CommandBook:
        """Return the commands in force."""
        ...

    def sent(self, tenant: str, sent: Sent) -> None:
        """A command goes out now."""
        ...

    def handed_over(self, tenant: str, index: IndexArray, sequence: int, lease_until: float) -> None:
        """Coalesced commands left for the platform."""
        ...

    def resumed(self, tenant: str, index: IndexArray, applied_sequence: int) -> None:
        """A platform came back and says what it holds."""
        ...

    def acked(self, tenant: str, sent: Sent, rejected: Sequence[int], reasons: Sequence[str]) -> None:
        """A platform acknowledged a command."""
        ...

    def forgotten(self, tenant: str, index: IndexArray) -> None:
        """Chargers hold nothing of what they were told."""
        ...

    def moved(self, tenant: str, index: IndexArray) -> None:
        """Chargers belong to another platform than before."""
        ...

    def shown(self, tenant: str, index: IndexArray, kw: FloatArray) -> None:
        """Chargers say themselves that they allow more than they were sent."""
        ...

    def told(self, tenant: str, index: IndexArray, states: npt.NDArray[np.int8], sequence: int) -> None:
        """A platform said what became of a command."""
        ...

    def measured(self, tenant: str) -> None:
        """Compare measurements with limits."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class OperatorLine:
    """The state of a node in one line for people."""

    node_id: str
    limit_kw: float
    """In force, before headroom."""
    measured_kw: float | None
    """None when unknown."""
    why: str
    """What binds, by whose order, until when."""
    not_following: tuple[str, ...]
    """Chargers below the node that refused, did not answer or draw too much."""
