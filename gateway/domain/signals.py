"""What grid partners say, as received and as understood.

A `RawSignal` keeps the bytes; a `GridEvent` is the one translation of them. Ids from outside are opaque strings and are echoed
byte for byte. A voluntary event becomes a commitment only after opt-in; a test event is answered and never dispatched.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import numpy as np

from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import Interval, require_utc


class EventStatus(StrEnum):
    """Where an event is in its life, computed from our clock (OpenADR 2.0b section 8.1)."""

    FAR = "far"
    NEAR = "near"
    ACTIVE = "active"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


class OptType(StrEnum):
    """Our answer to an event."""

    OPT_IN = "optIn"
    OPT_OUT = "optOut"


class Instruction(StrEnum):
    """What one interval of an event asks for, translated from the protocol's signal."""

    IMPORT_LIMIT_KW = "import-limit-kw"
    """`value` is the most that may be drawn, in kW."""
    IMPORT_LIMIT_FRACTION = "import-limit-fraction"
    """`value` is the most that may be drawn as a fraction of the target's rating, 0 to 1."""
    REDUCTION_KW = "reduction-kw"
    """`value` is how much less than the baseline shall be drawn, in kW, at least 0."""
    SIMPLE_LEVEL = "simple-level"
    """`value` is 0 (normal) to 3 (most severe); the program's table gives the fraction."""
    PRICE = "price"
    """`value` is a price per MWh in the event's currency; informs, never binds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EventInterval:
    """One interval of one signal of an event, in absolute time after randomisation."""

    start: datetime
    end: datetime | None
    """First instant outside; None when the event is open-ended."""
    instruction: Instruction
    value: float
    signal_id: str
    baseline_kw: float | None = None
    """For a reduction: the power it is measured from, fixed when the event was taken in; None when there was no past."""

    def __post_init__(self) -> None:
        """Reject values that are not finite or outside what the instruction allows."""
        require_utc("event.interval.start", self.start)
        if not np.isfinite(self.value):
            raise InvalidInput("event.interval.value", "must be a finite number")
        if self.instruction is Instruction.SIMPLE_LEVEL and self.value not in {0.0, 1.0, 2.0, 3.0}:
            raise InvalidInput("event.interval.value", "SIMPLE level must be 0, 1, 2 or 3")
        if self.instruction is Instruction.IMPORT_LIMIT_FRACTION and not 0.0 <= self.value <= 1.0:
            raise InvalidInput("event.interval.value", "must be a fraction of 0 to 1")
        if self.instruction in {Instruction.IMPORT_LIMIT_KW, Instruction.REDUCTION_KW} and self.value < 0.0:
            raise InvalidInput("event.interval.value", "must be at least 0 kW")

    @property
    def is_reduction(self) -> bool:
        """Whether the value is measured from a baseline."""
        return self.instruction is Instruction.REDUCTION_KW


@dataclass(frozen=True, kw_only=True, slots=True)
class RawSignal:
    """A message from a grid partner, kept as it came."""

    id: str
    tenant: str
    authority: str
    protocol: str
    received_at: datetime
    sha256: str
    body: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class GridEvent:
    """A demand-response event in force or to come, one row per authority and event id; the latest modification is the row."""

    id: str
    """`{authority}:{event_id}`."""
    tenant: str
    authority: str
    """Name of the grid partner as configured, for example `vtn:elia-demo`."""
    event_id: str
    modification: int
    """modificationNumber; only a higher one replaces."""
    cancelled: bool
    cancelled_at: datetime | None
    market_context: str
    priority: int
    """As on the wire in 2.0b: 1 highest, 0 lowest or none."""
    test_event: bool
    response_required: bool
    active: Interval
    """Active period after randomisation."""
    start_offset: timedelta
    """Randomised shift of the start, in [0, startafter]; kept over redelivery, modification and restart."""
    start_after: timedelta
    notification: timedelta
    """How long before the start the event turns from far to near."""
    intervals: tuple[EventInterval, ...]
    nodes: tuple[str, ...]
    """Nodes of the site tree that the event's targets name."""
    opt: OptType | None
    """Our answer; None while undecided."""
    opt_reason: str
    raw_signal: str
    """Id of the `RawSignal` this is the translation of."""
    received_at: datetime

    def __post_init__(self) -> None:
        """Reject empty ids, negative modification numbers and priorities."""
        if not self.event_id:
            raise InvalidInput("event.event_id", "must not be empty")
        if self.modification < 0:
            raise InvalidInput("event.modification", "must be at least 0")
        if self.priority < 0:
            raise InvalidInput("event.priority", "must be at least 0")

    def status(self, now: datetime) -> EventStatus:
        """Return where the event is in its life by our clock.

        A cancellation of an event whose start was randomised takes effect at `cancelled_at`, which the protocol room has
        already shifted into [cancel, cancel + startafter] (conformance rule 65).
        """
        if self.cancelled and (self.cancelled_at is None or now >= self.cancelled_at):
            return EventStatus.CANCELLED
        if self.active.end is not None and now >= self.active.end:
            return EventStatus.COMPLETED
        if now >= self.active.start:
            return EventStatus.ACTIVE
        return EventStatus.NEAR if now >= self.active.start - self.notification else EventStatus.FAR


@dataclass(frozen=True, kw_only=True, slots=True)
class EventAnswer:
    """What we tell the grid partner about one event it sent."""

    event_id: str
    modification: int
    opt: OptType
    code: int
    """OpenADR response code: 200, 4xx."""
    description: str


@dataclass(frozen=True, kw_only=True, slots=True)
class VenRegistration:
    """Our registration with one VTN; survives restarts."""

    id: str
    """Name of the authority as configured."""
    tenant: str
    vtn_id: str
    ven_id: str
    registration_id: str
    poll_interval: timedelta
    registered_at: datetime
    active: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportRequest:
    """A report a VTN asked for and where its delivery stands; survives restarts."""

    id: str
    """`{authority}:{report_request_id}`."""
    tenant: str
    authority: str
    report_request_id: str
    report_specifier_id: str
    r_ids: tuple[str, ...]
    granularity: timedelta
    """Spacing of the readings; zero asks for one shot."""
    report_back: timedelta
    """How often an update goes out."""
    start: datetime
    end: datetime | None
    reported_until: datetime
    """End of the last interval that the VTN has acknowledged."""
    cancelled: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class SeenNonce:
    """A replay-protection nonce that was used, kept until it could no longer pass the clock window."""

    id: str
    tenant: str
    authority: str
    seen_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class UsageReading:
    """One measured mean power of a node over an interval, for reports to grid partners."""

    start: datetime
    end: datetime
    power_kw: float | None
    """Mean power drawn; None when no meter value arrived (unknown is never zero)."""
    coverage: float
    """Share of the interval covered by measurements, 0 to 1."""
