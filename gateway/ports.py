"""The seams of the gateway: small protocols that services speak to and edge rooms implement.

Each port has one meaning and a unit in every docstring. `app` wires the implementations; tests wire fakes with scripted faults.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, Protocol, TypeVar

from gateway.domain.bids import Award, Nomination, Order
from gateway.domain.evidence import AuditEntry, ChainedEntry
from gateway.domain.identity import Principal
from gateway.domain.limits import Limit
from gateway.domain.series import CarbonSeries, PriceSeries
from gateway.domain.signals import EventAnswer, GridEvent, RawSignal, ResourceStatus, UsageReading
from gateway.domain.timegrid import DeliveryDay, TimeGrid

RecordT = TypeVar("RecordT")
"""Any frozen domain dataclass with `id` and `tenant` that storage knows (or with `id` alone: tenant is then a column only)."""


class Clock(Protocol):
    """The only source of time. In the demo market time runs faster than real time and may jump forward."""

    def now(self) -> datetime:
        """Return the current instant, aware UTC, of the market."""
        ...

    def monotonic(self) -> float:
        """Return seconds of market time that never go back; for leases and timeouts of protocols."""
        ...

    async def sleep_until(self, when: datetime) -> None:
        """Return once `now() >= when`, also after a jump."""
        ...

    async def sleep(self, duration: timedelta) -> None:
        """Return after a duration of market time."""
        ...


class Ids(Protocol):
    """The only source of fresh ids and random draws; seeded in tests and in the demo."""

    def new(self, prefix: str) -> str:
        """Return a fresh id such as `bid-7f3a...`, unique for ever."""
        ...

    def uniform(self, low: float, high: float) -> float:
        """Return a uniform draw in `[low, high)`; for jitter and protocol randomisation."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Put:
    """One record to write.

    Attributes:
        record: A frozen domain record that storage has a table for.
        expected_version: Version the row must have now; 0 means it must not exist; None means write whatever is there.
    """

    record: Any
    expected_version: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class OutboxItem:
    """Something that must reach a peer exactly once in effect: written with what caused it, sent after, retried until settled.

    Attributes:
        id: Idempotency key chosen before the first try.
        topic: Who picks it up, for example `order`, `nomination`, `openadr-report`.
        key: Id of the record it is about.
        due_at: Not before this instant.
        expires_at: Past it the item is dead and its owner is told; None never.
    """

    id: str
    tenant: str
    topic: str
    key: str
    due_at: datetime
    expires_at: datetime | None = None
    attempts: int = 0
    settled_at: datetime | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """What becomes true together: all of it or nothing.

    Attributes:
        tenant: Every record in it belongs to this tenant.
        puts: Records with their expected versions.
        audit: Entries appended to the hash chain in the same transaction.
        outbox: Items to be sent after it is durable (also used to update an item: the latest with an id wins).
        request_id: Idempotency key of the caller; with `request_hash` and `response`, remembered for 24 h.
        request_hash: Content hash of the request; the same id with another hash raises `RequestReused`.
        response: Canonical text that a replay of the request gets.
    """

    tenant: str
    puts: tuple[Put, ...] = ()
    audit: tuple[AuditEntry, ...] = ()
    outbox: tuple[OutboxItem, ...] = ()
    request_id: str = ""
    request_hash: str = ""
    response: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored(Generic[RecordT]):
    """A record with the version and time of its row."""

    record: RecordT
    version: int
    written_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """Wake-up: a record of this kind was written. Carries no content; whoever cares reads the store."""

    tenant: str
    kind: str
    """Class name of the record, for example `GridEvent`."""
    id: str


class Store(Protocol):
    """Where everything that must survive is. A returned `apply` is durable (fsync) on disk."""

    async def apply(self, batch: Batch) -> None:
        """Write a batch atomically and return once it is durable.

        Raises:
            Conflict: A row has another version than expected; nothing of this batch was written.
            RequestReused: The request id was used with other content.
            StorageUnavailable: Disk full, locked or gone; nothing of this batch was written.
        """
        ...

    async def get(self, kind: type[RecordT], tenant: str, record_id: str) -> "Stored[RecordT] | None":
        """Return a record, or None when this tenant has none with the id."""
        ...

    async def find(  # noqa: PLR0913  # what a query can say
        self,
        kind: type[RecordT],
        tenant: str,
        where: Mapping[str, str | int | Sequence[str]] | None = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        newest_first: bool = False,
        limit: int = 10_000,
    ) -> "list[Stored[RecordT]]":
        """Return records of a tenant, ordered by their time column then id.

        Args:
            kind: The record's class.
            tenant: Whose rows.
            where: Exact matches on indexed columns; a sequence means any of.
            since: Time column at or after.
            until: Time column before.
            newest_first: Reverse the order.
            limit: At most so many.

        Raises:
            InvalidInput: `where` names a column that is not indexed.
        """
        ...

    async def replay(self, tenant: str, request_id: str, request_hash: str) -> str | None:
        """Return the remembered response of a request id, or None when it is new.

        Raises:
            RequestReused: The id was used with another hash.
        """
        ...

    async def due_outbox(self, topic: str, now: datetime, limit: int = 100) -> list[OutboxItem]:
        """Return unsettled items of a topic, of all tenants, with `due_at <= now`, oldest first."""
        ...

    async def audit_entries(self, first_seq: int = 1, limit: int = 10_000) -> list[ChainedEntry]:
        """Return a run of the hash chain from a sequence number on."""
        ...

    async def audit_of(self, tenant: str, kind: str, record_id: str) -> list[ChainedEntry]:
        """Return the entries about one object, in order."""
        ...

    def changes(self) -> AbstractAsyncContextManager[AsyncIterator[Change]]:
        """Subscribe to wake-ups; a slow reader loses wake-ups but never the rows behind them."""
        ...


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
    """How we stand with grid partners, for people; implemented by `openadr`."""

    def standings(self, tenant: str) -> Sequence[PartnerStanding]:
        """Return how a tenant stands with each partner that is spoken to, in the order of the settings."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class DoorStanding:
    """How the door to one charging platform stands."""

    csms: str
    kind: str
    """`ocpi-2.2.1`, `ocpi-2.3.0`, `citrineos` or `webhook`."""
    is_connected: bool
    """Whether the platform knows us and answered last."""
    state: str
    """In words, for example `not registered`."""
    enforcement: str
    """Best class that targets behind this door can have, whatever the inventory says: `A`, `B` or `C`."""
    charger_count: int
    reached_count: int
    """Chargers that can be commanded now; OCPI reaches running sessions only."""
    heard_at: datetime | None
    """When the platform last said something; None if not since the start."""
    accepted: int
    rejected: int
    unknown: int
    delayed: int
    """Orders of which the platform said that they come too often."""
    last_error: str
    """What the last failure was, without secrets; empty if there was none."""
    troubled: tuple[str, ...]
    """Chargers whose last order was refused or is unknown."""


class DoorHealth(Protocol):
    """How the doors to charging platforms stand, for people; implemented by `csms`."""

    def standings(self, tenant: str) -> Sequence[DoorStanding]:
        """Return how a tenant's doors stand, in the order of the settings."""
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


class PriceSource(Protocol):
    """A place that publishes prices of one product."""

    @property
    def name(self) -> str:
        """Short name for provenance, for example `entsoe`."""
        ...

    async def fetch(self, zone: str, day: DeliveryDay) -> PriceSeries | None:
        """Return the prices of a delivery day, gaps as None inside; None when nothing is published yet.

        Raises:
            PeerUnavailable: The source does not answer or asks to wait.
            InvalidInput: The document breaks a rule; the field says where.
        """
        ...


class CarbonSource(Protocol):
    """A place that publishes carbon intensity of one kind."""

    @property
    def name(self) -> str:
        """Short name for provenance."""
        ...

    async def fetch(self, zone: str, day: DeliveryDay) -> CarbonSeries | None:
        """Return the intensity of a delivery day in g/kWh; None when nothing is published yet.

        Raises:
            PeerUnavailable: The source does not answer.
            InvalidInput: The document breaks a rule.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class AuctionInfo:
    """An auction as its exchange describes it.

    Attributes:
        id: Id at the exchange.
        contracts: Id and half-open delivery period of each contract in order: 92, 96 or 100 for a quarter-hourly day.
        opens_at: From when orders are taken.
        gate_closure: From this instant no order is taken.
        min_price_per_mwh: Smallest price of a curve, decimal text in `currency`.
        max_price_per_mwh: Largest price of a curve, decimal text.
        lot_mw: Volume step, decimal text.
    """

    id: str
    area: str
    currency: str
    contracts: tuple[tuple[str, datetime, datetime], ...]
    opens_at: datetime
    gate_closure: datetime
    min_price_per_mwh: str
    max_price_per_mwh: str
    lot_mw: str


@dataclass(frozen=True, kw_only=True, slots=True)
class OrderReceipt:
    """The exchange's word that it holds an order."""

    exchange_order_id: str
    received_at: datetime


class Exchange(Protocol):
    """Where orders go and awards come from."""

    async def auction(self, area: str, day: DeliveryDay) -> AuctionInfo | None:
        """Return the day-ahead auction of a delivery day; None when it is not announced.

        Raises:
            PeerUnavailable: The exchange does not answer.
        """
        ...

    async def submit(self, order: Order) -> OrderReceipt:
        """Send an order once.

        Raises:
            GateClosed: The exchange says the gate has closed.
            InvalidInput: The exchange refuses the order for its content.
            PeerUnavailable: It certainly did not take effect (connection refused, 503 before acceptance).
            OutcomeUnknown: It left but no answer tells whether it took effect.
        """
        ...

    async def find_order(self, order: Order) -> OrderReceipt | None:
        """Return the receipt of an order the exchange already holds under our key; None when it does not.

        Raises:
            PeerUnavailable: The exchange does not answer.
        """
        ...

    async def award(self, order: Order, award_id: str, received_at: datetime) -> Award | None:
        """Return the result of an order; None until the auction has cleared.

        Raises:
            PeerUnavailable: The exchange does not answer.
        """
        ...


class NominationDesk(Protocol):
    """The balance responsible party's door for nominations."""

    async def nominate(self, nomination: Nomination) -> str:
        """Send one nomination (idempotent by its id) and return the BRP's acknowledgement reference.

        Raises:
            InvalidInput: The BRP rejects it; the message says why.
            PeerUnavailable: The BRP does not answer.
        """
        ...


class Worker(Protocol):
    """Killable worker processes for everything that computes longer than 50 ms."""

    async def run(self, function: Callable[..., Any], *args: Any, deadline_s: float) -> Any:  # noqa: ANN401  # whatever runs
        """Run a module-level function in a worker process and return its result.

        Args:
            function: Importable by name; arguments and result travel pickled.
            args: Positional arguments.
            deadline_s: Real seconds after which the process is killed.

        Raises:
            TimeoutError: The deadline passed; the process is gone.
            Exception: Whatever the function raised.
        """
        ...
