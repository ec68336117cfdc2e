"""What another part of a VEN must offer to act on events beside their translation: the report engine does."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from gateway.openadr.v3.timing import Schedule
from gateway.openadr.v3.wire import Program, WireEvent


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownEvent:
    """An event that the VTN has now."""

    event: WireEvent
    version: int
    """`HeldObject.version`: one more with each change."""
    first_seen: datetime
    """When this version was first seen: what now means in it."""
    program: Program | None
    """None when the VTN does not show it to us."""
    schedule: Schedule | None
    """When its intervals are, shifted as they are acted on; None when no time can be told."""
    nodes: tuple[str, ...]
    """Nodes of ours that it is for."""
    label: str = ""
    """The program as our settings call it: its name or its id."""


class Companion(Protocol):
    """Acts on events; called by the VEN from its one task, never at the same time twice."""

    async def load(self) -> None:
        """Take up what an earlier run left; called once before the first exchange.

        Raises:
            StorageUnavailable: Called again later.
        """
        ...

    async def take(self, events: Sequence[KnownEvent]) -> None:
        """Look at all events that the VTN has now; an event that is not among them is gone.

        Called after each listing that brought a change, and after each start.

        Raises:
            VoltbridgeError: Called again with the next listing.
        """
        ...

    async def act(self) -> None:
        """Do what is due.

        Raises:
            VoltbridgeError: Called again after a pause; what was done is not repeated.
        """
        ...

    def next_due(self) -> datetime | None:
        """Return when something is due; None when nothing is known to be."""
        ...

    @property
    def pending_count(self) -> int:
        """How many reports are not acknowledged yet."""
        ...
