"""Objects of OpenADR 3 as frozen values: what both dialects say, in one spelling. Nothing here knows JSON or HTTP.

Ids are opaque texts, numbers `Decimal`, an absent or null text is empty. Targets of 3.0.1 (`{type, values}`) and of 3.1.0 (a flat
text) are both `Target`; the kind is empty in 3.1.0.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from gateway.json_guard import Json
from gateway.openadr.v3.findings import Finding
from gateway.openadr.v3.literals import IsoDuration, Start
from gateway.openadr.v3.names import Operation

AGGREGATED = "AGGREGATED_REPORT"
"""Resource name of a report that sums several resources."""


@dataclass(frozen=True, slots=True)
class Point:
    """A pair of numbers on a plane, of curves."""

    x: Decimal
    y: Decimal


Value = Decimal | str | bool | Point


@dataclass(frozen=True, slots=True)
class Target:
    """A label that an object is for; `kind` is the target type of 3.0.1, for example `VEN_NAME`, and empty in 3.1.0."""

    kind: str
    value: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Meta:
    """What the VTN adds to every object."""

    id: str
    created: str = ""
    modified: str = ""
    """`modificationDateTime`, as sent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IntervalPeriod:
    """When an interval is; what is None is not said."""

    start: Start | None = None
    duration: IsoDuration | None = None
    randomize: IsoDuration | None = None
    """Largest shift of the start to either side."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Payload:
    """Values of one type (`valuesMap`)."""

    type: str
    values: tuple[Value, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class WireInterval:
    """An interval of an event or a report."""

    id: int
    """Chosen by the client; neither unique nor in order for certain."""
    payloads: tuple[Payload, ...]
    period: IntervalPeriod | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class PayloadDescriptor:
    """What the values of a payload type are measured in, for events and for reports."""

    payload_type: str
    units: str = ""
    currency: str = ""
    reading_type: str = ""
    accuracy: Decimal | None = None
    confidence: int | None = None
    is_report: bool = False
    """A reportPayloadDescriptor, not an eventPayloadDescriptor."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportDescriptor:
    """A report that an event asks for, defaults filled in."""

    payload_type: str
    reading_type: str = ""
    units: str = ""
    targets: tuple[Target, ...] = ()
    aggregate: bool = False
    start_interval: int = -1
    """-1: the report is made at the end of the last interval."""
    num_intervals: int = -1
    """-1: all intervals."""
    historical: bool = True
    """Intervals before the start interval; otherwise those after it (a forecast)."""
    frequency: int = -1
    """Intervals between two reports; -1 the same as `num_intervals`, 0 whenever we like."""
    repeat: int = 1
    """How many reports; -1 for ever."""
    report_intervals: str = "INTERVALS"
    """`INTERVALS`, `SUB_INTERVALS` or `OPEN_INTERVALS`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """A program: what its events mean by default."""

    meta: Meta
    name: str
    program_type: str = ""
    retailer_name: str = ""
    is_binding: bool = False
    """Its events are fixed once sent (`bindingEvents`, attribute `BINDING_EVENTS`)."""
    period: IntervalPeriod | None = None
    descriptors: tuple[PayloadDescriptor, ...] = ()
    attributes: tuple[Payload, ...] = ()
    targets: tuple[Target, ...] = ()
    content: Mapping[str, Json] = field(default_factory=dict, compare=False, repr=False)
    """The object as read, for checks of profiles."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WireEvent:
    """An event as the VTN has it. What could not be read in it is left out and named in `findings`."""

    meta: Meta
    program_id: str
    name: str = ""
    duration: IsoDuration | None = None
    """Of the whole event (3.1.0): longer than its intervals repeats them, shorter cuts them."""
    priority: int | None = None
    """0 goes first, None last."""
    targets: tuple[Target, ...] = ()
    report_descriptors: tuple[ReportDescriptor, ...] = ()
    descriptors: tuple[PayloadDescriptor, ...] = ()
    period: IntervalPeriod | None = None
    intervals: tuple[WireInterval, ...] = ()
    findings: tuple[Finding, ...] = ()
    content: Mapping[str, Json] = field(default_factory=dict, compare=False, repr=False)
    """The object as read, for checks of profiles."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WireVen:
    """A ven object: who we are for the VTN, and the targets it granted us."""

    meta: Meta
    name: str
    client_id: str = ""
    attributes: tuple[Payload, ...] = ()
    targets: tuple[Target, ...] = ()
    content: Mapping[str, Json] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class WireResource:
    """A resource of a ven."""

    meta: Meta
    name: str
    ven_id: str = ""
    client_id: str = ""
    attributes: tuple[Payload, ...] = ()
    targets: tuple[Target, ...] = ()
    content: Mapping[str, Json] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportResource:
    """What a report says about one resource."""

    name: str
    """`AGGREGATED_REPORT` for the sum of several."""
    intervals: tuple[WireInterval, ...]
    period: IntervalPeriod | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class WireReport:
    """A report of ours; the program is only said in 3.0.1."""

    event_id: str
    program_id: str
    client_name: str
    resources: tuple[ReportResource, ...]
    name: str = ""
    descriptors: tuple[PayloadDescriptor, ...] = ()
    meta: Meta | None = None
    """None before the VTN has it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectOperations:
    """Which operations on which kinds of objects are told to which address."""

    objects: tuple[str, ...]
    """For example `EVENT`."""
    operations: tuple[Operation, ...]
    callback_url: str
    bearer_token: str = field(default="", repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class WireSubscription:
    """A subscription of ours to notifications over webhooks."""

    client_name: str
    program_id: str
    """Empty for every program (3.1.0 only)."""
    operations: tuple[ObjectOperations, ...]
    targets: tuple[Target, ...] = ()
    meta: Meta | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Notification:
    """What a VTN tells a subscriber: something happened to an object. Only a reason to look, never content to use."""

    object_type: str
    operation: Operation
    object_id: str
    program_id: str = ""
    targets: tuple[Target, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """Why a VTN refused a request."""

    status: int
    title: str = ""
    detail: str = ""
