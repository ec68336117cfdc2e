"""What grid partners say, as received and as understood.

A `RawSignal` keeps the bytes; a `GridEvent` is the one translation of them. Ids from outside are opaque strings and are echoed
byte for byte. A voluntary event becomes a commitment only after opt-in; a test event is answered and never dispatched.
"""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

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
    """What one interval of an event asks for, translated from the protocol's signal.

    Limits and reductions bind when the event does; prices, carbon and offers inform; alerts are for people. What each dialect
    calls them is written where it is translated.
    """

    IMPORT_LIMIT_KW = "import-limit-kw"
    """`value` is the most that may be drawn, in kW."""
    EXPORT_LIMIT_KW = "export-limit-kw"
    """`value` is the most that may be fed in, in kW, at least 0."""
    IMPORT_LIMIT_FRACTION = "import-limit-fraction"
    """`value` is the most that may be drawn as a fraction of the target's rating, 0 to 1."""
    REDUCTION_KW = "reduction-kw"
    """`value` is how much less than the baseline shall be drawn, in kW, at least 0."""
    SIMPLE_LEVEL = "simple-level"
    """`value` is 0 (normal) to 3 (most severe); the program's table gives the fraction."""
    TARGET_KW = "target-kw"
    """`value` is the power wished for, in kW; above 0 drawn, below 0 fed in. A wish inside the limits, never a limit."""
    TARGET_DELTA_KW = "target-delta-kw"
    """`value` is the wished change from the baseline, in kW; above 0 asks for more load. A wish inside the limits."""
    LEVEL_OFFSET = "level-offset"
    """`value` is a step of -10 to 10 around normal operation; the program's table gives its meaning."""
    PERCENT_OFFSET = "percent-offset"
    """`value` is a share of -1 to 1 of normal operation to add."""
    STATE_OF_CHARGE = "state-of-charge"
    """`value` is the wished state of charge, 0 to 1. A wish inside the limits."""
    CHARGE_KWH = "charge-kwh"
    """`value` is the wished energy in the battery, in kWh. A wish inside the limits."""
    IMPORT_SUBSCRIPTION_KW = "import-subscription-kw"
    """`value` is the contracted power to draw, in kW: what applies when no dynamic limit does."""
    EXPORT_SUBSCRIPTION_KW = "export-subscription-kw"
    """`value` is the contracted power to feed in, in kW."""
    IMPORT_RESERVATION_KW = "import-reservation-kw"
    """`value` is power reserved beyond the subscription, in kW."""
    EXPORT_RESERVATION_KW = "export-reservation-kw"
    """`value` is power reserved for feeding in beyond the subscription, in kW."""
    PRICE = "price"
    """`value` is a price per MWh drawn, in `currency`; informs, never binds."""
    EXPORT_PRICE = "export-price"
    """`value` is a price per MWh fed in, in `currency`; informs, never binds."""
    PRICE_MULTIPLIER = "price-multiplier"
    """`value` multiplies the tariff's price."""
    PRICE_RELATIVE = "price-relative"
    """`value` is added to the tariff's price, per MWh, in `currency`."""
    DEMAND_CHARGE = "demand-charge"
    """`value` is a price per kW of the billing peak, in `currency`."""
    CARBON_G_PER_KWH = "carbon-g-per-kwh"
    """`value` is the grid's carbon intensity in g/kWh."""
    ALERT = "alert"
    """Something people must know; `text` says what, `value` is 0."""
    INFORMATION = "information"
    """A value that is kept and shown and changes nothing (bids, capacity offers and their prices); `text` names it."""


BINDING_INSTRUCTIONS = frozenset(
    {
        Instruction.IMPORT_LIMIT_KW,
        Instruction.EXPORT_LIMIT_KW,
        Instruction.IMPORT_LIMIT_FRACTION,
        Instruction.REDUCTION_KW,
        Instruction.SIMPLE_LEVEL,
        Instruction.LEVEL_OFFSET,
        Instruction.PERCENT_OFFSET,
    }
)
"""Instructions that become limits when the event binds."""

_NEVER_NEGATIVE = frozenset(
    {
        Instruction.IMPORT_LIMIT_KW,
        Instruction.EXPORT_LIMIT_KW,
        Instruction.REDUCTION_KW,
        Instruction.CHARGE_KWH,
        Instruction.IMPORT_SUBSCRIPTION_KW,
        Instruction.EXPORT_SUBSCRIPTION_KW,
        Instruction.IMPORT_RESERVATION_KW,
        Instruction.EXPORT_RESERVATION_KW,
        Instruction.PRICE_MULTIPLIER,
        Instruction.CARBON_G_PER_KWH,
    }
)
_BOUNDS = {
    Instruction.IMPORT_LIMIT_FRACTION: (0.0, 1.0),
    Instruction.STATE_OF_CHARGE: (0.0, 1.0),
    Instruction.LEVEL_OFFSET: (-10.0, 10.0),
    Instruction.PERCENT_OFFSET: (-1.0, 1.0),
}


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
    currency: str = ""
    """ISO 4217 code beside a price; empty when the value is no price or the partner named none."""
    text: str = ""
    """Words of an alert, or the partner's name of a value that only informs."""

    def __post_init__(self) -> None:
        """Reject values that are not finite or outside what the instruction allows."""
        require_utc("event.interval.start", self.start)
        if not math.isfinite(self.value):
            raise InvalidInput("event.interval.value", "must be a finite number")
        if self.instruction is Instruction.SIMPLE_LEVEL and self.value not in {0.0, 1.0, 2.0, 3.0}:
            raise InvalidInput("event.interval.value", "SIMPLE level must be 0, 1, 2 or 3")
        low, high = _BOUNDS.get(self.instruction, (self.value, self.value))
        if not low <= self.value <= high:
            raise InvalidInput("event.interval.value", f"must be {low:g} to {high:g} for {self.instruction.value}")
        if self.instruction in _NEVER_NEGATIVE and self.value < 0.0:
            raise InvalidInput("event.interval.value", f"must be at least 0 for {self.instruction.value}")

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
class EventBaseline:
    """One step of the power that the partner will measure an event against."""

    start: datetime
    end: datetime
    power_kw: float
    """Mean power drawn, in kW."""
    resources: tuple[str, ...] = ()
    """The partner's ids of the resources it is for; empty for all of the event."""

    def __post_init__(self) -> None:
        """Reject an empty span and a power that is not finite."""
        require_utc("event.baseline.start", self.start)
        if self.end <= self.start:
            raise InvalidInput("event.baseline.end", "must lie after the start")
        if not math.isfinite(self.power_kw):
            raise InvalidInput("event.baseline.power_kw", "must be a finite number")


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
    priority: int | None
    """Place among the events of one authority: the smaller goes first; None is last.

    The dialects count differently and are read into this one order: 0 is none in OpenADR 2.0b and first in 3.x.
    """
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
    protocol: str = "openadr-2.0b"
    """Dialect it came in, as in `RawSignal.protocol`."""
    is_binding: bool = False
    """The program says that its events cannot be opted out of."""
    is_dry_run: bool = False
    """Taken in and answered while the program's dry run was on: shown and counted, never dispatched."""
    ramp_up: timedelta = timedelta(0)
    """How long before the start a change may begin; negative delays it (x-eiRampUp)."""
    recovery: timedelta = timedelta(0)
    """How long after the end the return may take; negative begins it early (x-eiRecovery)."""
    baselines: tuple[EventBaseline, ...] = ()
    """What the partner will compare with, when it says so."""
    opt_by: str = ""
    """Who gave the answer: `policy` or an actor; empty while undecided."""
    opt_deadline: datetime | None = None
    """Until when a person may decide otherwise, where the program asks one; the default answer stands after it."""
    expected_change_kw: float | None = None
    """Mean change of power over the event that its limits should make, at most 0; None when there is no forecast."""
    comment: str = ""
    """The partner's own words about the event."""
    unrolled_until: datetime | None = None
    """Of an event that repeats without end: `intervals` goes so far, and further as time goes on; None when it holds all."""

    def __post_init__(self) -> None:
        """Reject empty ids, negative modification numbers and priorities."""
        if not self.event_id:
            raise InvalidInput("event.event_id", "must not be empty")
        if self.modification < 0:
            raise InvalidInput("event.modification", "must be at least 0")
        if self.priority is not None and self.priority < 0:
            raise InvalidInput("event.priority", "must be at least 0")

    @property
    def rank(self) -> float:
        """Place among the events of its authority; smaller goes first, infinite is last."""
        return float("inf") if self.priority is None else float(self.priority)

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


_FIRST_ERROR = 400
"""Response codes from here on are errors."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EventAnswer:
    """What we tell the grid partner about one event it sent."""

    event_id: str
    modification: int
    opt: OptType
    code: int
    """OpenADR response code: 200, 4xx."""
    description: str

    @property
    def is_refusal(self) -> bool:
        """Whether the event was not taken, rather than taken and opted out of."""
        return self.code >= _FIRST_ERROR


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
    ended_by: str = ""
    """Who ended it: `vtn`, `operator` (it stays ended until somebody wants it back) or `stop`; empty while active."""


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
    kind: str = "usage"
    """What is reported: `usage`, `status`, `history` or `metadata`."""
    is_on_change: bool = False
    """Send when a value changes, not by the clock (granularity zero with a report-back)."""
    reached: tuple[datetime, ...] = ()
    """How far the values of each data point are made up, in the order of `r_ids`; empty is `reported_until` for all."""
    made_count: int = 0
    """Reports made up so far; it numbers them."""
    last_seen: tuple[str, ...] = ()
    """Of a report on change: what was last told of each data point, in the order of `r_ids`; empty before the first."""
    wish: str = ""
    """What the partner asked for, in one line: the same words again are the same request."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SeenNonce:
    """A replay-protection nonce that was used; its row is used again for a newer one when there are many."""

    id: str
    tenant: str
    authority: str
    seen_at: datetime
    digest: str = ""
    """Hash over nonce and time stamp; empty in rows of the first release, which have it in the id."""
    stamp: datetime | None = None
    """Time stamp inside the signature."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UsageReading:
    """One measured mean power of a node over an interval, for reports to grid partners."""

    start: datetime
    end: datetime
    power_kw: float | None
    """Mean power drawn; None when no meter value arrived (unknown is never zero)."""
    coverage: float
    """Share of the interval covered by measurements, 0 to 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ResourceStatus:
    """How a node's chargers are, for status reports to grid partners."""

    at: datetime
    is_online: bool | None
    """Whether the chargers below the node can be reached; None when nobody knows (unknown is never online)."""
    is_overridden: bool
    """Whether a person's order, not the program, decides what they draw now."""
    power_kw: float | None
    """Power drawn now; None when not measured."""
    limit_kw: float
    """Most that may be drawn now."""
    rating_kw: float
    """Most that may ever be drawn."""
    floor_kw: float = 0.0
    """Least that running sessions need now."""
    is_short: bool = False
    """Whether a limit of a grid partner at the node or below it cannot be kept now, although all that can be lowered was."""
