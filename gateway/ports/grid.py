"""What rooms of grid partners call, and what they answer to people."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from gateway.domain.evidence import AuditEntry
from gateway.domain.identity import Principal
from gateway.domain.limits import Limit
from gateway.domain.signals import EventAnswer, GridEvent, RawSignal, ResourceStatus, UsageReading
from gateway.domain.timegrid import TimeGrid
from gateway.ports.storage import Put


@dataclass(frozen=True, kw_only=True, slots=True)
class ReceivedEvents:
    """The events of one verified message of a grid partner, translated.

    Attributes:
        raw: The message as received.
        events: Events that were understood, with `opt` None.
        rejected: Answers for events that break a rule; they are answered but not applied.
        complete: True when the message lists every event the partner has (OpenADR 2.0b oadrDistributeEvent), so that a known
            event that is missing from it counts as cancelled (conformance rule 61).
    """

    raw: RawSignal
    events: tuple[GridEvent, ...]
    rejected: tuple[EventAnswer, ...]
    complete: bool


class SignalDesk(Protocol):
    """What the grid-protocol rooms call when a partner said something; implemented by `services.gather_signals`."""

    async def receive(self, principal: Principal, received: ReceivedEvents) -> Sequence[EventAnswer]:
        """Make the events durable with our decision and return one answer per event, in the order received.

        One bad event never affects another. After return everything answered is on disk.

        Raises:
            StorageUnavailable: Nothing was kept; the partner must not be answered.
        """
        ...

    async def contact(self, principal: Principal, authority: str, *, is_lost: bool) -> None:
        """Tell whether the partner can be reached; a lost partner never opens a limit."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class StatedLimits:
    """What one authority now says of its limits, translated, for authorities that state limits and send no events.

    Attributes:
        authority: Who speaks, `{protocol}:{name}`, for example `oscp:dso-1`, `lpc:box-7` or `charger:cp-3`.
        raw: The message as received; None when the words are not a message (a lost contact, a controller's own step).
        limits: New limits, complete, each of this authority.
        withdrawn: Ids of its limits that no longer apply from now on. What overlaps a new limit of the same node, direction, kind
            and phases need not be named: the newest word replaces it for that time, the rest of it stays.
        puts: Rows of the caller's own (a link, a state machine) that become durable in the same batch.
        audit: Entries of the caller's own, in the same batch.
    """

    authority: str
    raw: RawSignal | None
    limits: tuple[Limit, ...] = ()
    withdrawn: tuple[str, ...] = ()
    puts: tuple[Put, ...] = ()
    audit: tuple[AuditEntry, ...] = ()


class LimitDesk(Protocol):
    """Where rooms bring limits that an authority states directly; implemented by `services.gather_signals`."""

    async def state_limits(self, principal: Principal, stated: StatedLimits) -> None:
        """Make an authority's limits durable and let them act; reductions act from memory even when the store fails.

        Raises:
            InvalidInput: A limit is of another authority or names an unknown node.
            StorageUnavailable: Nothing was kept; the partner must not be answered.
        """
        ...

    async def contact(self, principal: Principal, authority: str, *, is_lost: bool) -> None:
        """Tell whether an unconditional authority can be reached; a loss acts at once and never opens a limit."""
        ...

    def stated_by(self, tenant: str, authority: str) -> Sequence[Limit]:
        """Return the limits of an authority that are in force or to come, for example after a restart."""
        ...


class UsageDesk(Protocol):
    """Where the grid-protocol rooms get measured power for their reports; implemented by `services.report_delivery`."""

    async def usage(self, principal: Principal, node: str, grid: TimeGrid) -> Sequence[UsageReading]:
        """Return one reading per slot of the grid: mean power in kW drawn by the chargers below the node."""
        ...


class StatusDesk(Protocol):
    """Where the grid-protocol rooms learn how chargers are for their status reports; implemented by `services.plan_dispatch`."""

    async def status(self, principal: Principal, node: str) -> ResourceStatus:
        """Return how the chargers below a node are now.

        Raises:
            NotFound: There is no such node.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class PartnerExchange:
    """One exchange with a grid partner: that it was, never what was said."""

    authority: str
    """Name of the partner as configured."""
    at: datetime
    is_ours: bool
    """Whether we asked; otherwise the partner called us."""
    what: str
    """Message or method and path, without query, ids of people and secrets."""
    outcome: str
    """What came of it: the name of the answer, a status, or why there was none."""
    is_failed: bool
    sent_bytes: int
    received_bytes: int
    repeats: int = 1
    """How often in a row the same was exchanged with the same outcome; time and sizes are those of the last."""


class PartnerJournal(Protocol):
    """The last exchanges with grid partners, for people; kept in memory only."""

    def latest(self, tenant: str) -> Sequence[PartnerExchange]:
        """Return the last exchanges of a tenant, newest first, some for each partner."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class PartnerStanding:
    """How we stand with a grid partner."""

    authority: str
    """Name of the partner as configured."""
    state: str
    """`unregistered`, `registered`, `cancelled` (by the partner) or `left` (by us); over OSCP also `handshaken`, `online`, `offline`."""
    ven_id: str
    """Who we are for the partner; empty while it has not said."""
    heard_at: datetime | None
    """When it last said something understandable; None if not since the start."""
    lost_since: datetime | None
    """Since when it counts as lost; None when it can be reached."""
    failures: int
    """Attempts that failed since the last success."""
    last_error: str
    """What the last failure was, without secrets; empty if there was none."""
    pending_reports: int
    """Reports made up and not taken by the partner yet."""


class PartnerHealth(Protocol):
    """How we stand with grid partners, for people; implemented by `openadr` and `oscp`."""

    def standings(self, tenant: str) -> Sequence[PartnerStanding]:
        """Return how a tenant stands with each partner that is spoken to, in the order of the settings."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class RereadEvent:
    """What an event of a stored message would mean now."""

    event_id: str
    modification: int
    problem: str
    """Why it would not be used; empty when it would."""
    event: GridEvent | None


class SignalRereader(Protocol):
    """Reads stored messages of grid partners again, without any effect; implemented by `openadr`."""

    async def read_again(self, raw: RawSignal) -> Sequence[RereadEvent]:
        """Return what the events of a message would mean now.

        Raises:
            InvalidInput: The message cannot be read, or nobody speaks its protocol with this partner any more.
        """
        ...
