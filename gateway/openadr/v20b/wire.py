"""The messages of OpenADR 2.0b as frozen values: exactly what is on the wire, not yet what it means to us.

Ids are opaque strings and kept character for character. Durations, instants and numbers are already exact (`literals.py`); an
event in which one of them is not becomes a `BrokenEvent` of its own and harms no other. `None` is an absent element.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal


@dataclass(frozen=True, kw_only=True, slots=True)
class Response:
    """`eiResponse`: what one side thinks of the other's message."""

    code: int
    description: str = ""
    request_id: str = ""

    @property
    def is_ok(self) -> bool:
        """Whether the code is of the 2xx kind."""
        return 200 <= self.code <= 299


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """One thing an event is meant for."""

    kind: str
    """Local name of the element: `venID`, `resourceID`, `groupID`, `serviceDeliveryPoint`, ..."""
    value: str
    """The id inside; empty for kinds that hold a geometry."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unit:
    """`itemBase`: what a signal or report counts."""

    name: str
    """Local name of the element, for example `powerReal`."""
    units: str
    """`itemUnits`, for example `W` or a currency."""
    scale: str
    """`siScaleCode`, for example `k`; `none` when absent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WireInterval:
    """One interval of a signal."""

    start: datetime | None
    """Usually absent: intervals follow one another from the event's start."""
    duration: timedelta | None
    uid: str | None
    value: Decimal


@dataclass(frozen=True, kw_only=True, slots=True)
class WireSignal:
    """`eiEventSignal`: one row of values over the event's intervals."""

    signal_id: str
    name: str
    type: str
    unit: Unit | None
    intervals: tuple[WireInterval, ...]
    device_classes: tuple[str, ...] = ()
    """End device classes the signal is meant for; empty for all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WireEvent:
    """`oadrEvent`: one demand-response event as sent."""

    event_id: str
    modification: int
    priority: int
    """1 highest, 0 lowest or none."""
    market_context: str
    status: str
    """`eventStatus` by the VTN's clock; only `cancelled` matters to us."""
    test_event: bool
    start: datetime
    duration: timedelta
    """Length of the active period; zero is open-ended."""
    start_after: timedelta
    """Longest randomised delay of the start; zero for none."""
    notification: timedelta
    ramp_up: timedelta
    recovery: timedelta
    signals: tuple[WireSignal, ...]
    targets: tuple[Target, ...]
    response_required: bool

    @property
    def is_cancelled(self) -> bool:
        """Whether the VTN withdraws the event."""
        return self.status == "cancelled"


@dataclass(frozen=True, kw_only=True, slots=True)
class BrokenEvent:
    """An event of which a value has no exact meaning; it is answered and nothing else."""

    event_id: str
    modification: int
    response_required: bool
    problem: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DistributeEvent:
    """All events the VTN has for us."""

    response: Response | None
    request_id: str
    vtn_id: str
    events: tuple[WireEvent | BrokenEvent, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class EventResponse:
    """Our word on one event."""

    code: int
    description: str
    request_id: str
    event_id: str
    modification: int
    opt: str
    """`optIn` or `optOut`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CreatedEvent:
    """Our answer to a `DistributeEvent`."""

    response: Response
    responses: tuple[EventResponse, ...]
    ven_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestEvent:
    """Asks for all events, as after a restart."""

    request_id: str
    ven_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class QueryRegistration:
    """Asks what the VTN offers."""

    request_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CreatePartyRegistration:
    """Registers, or registers again with the ids from before."""

    request_id: str
    registration_id: str | None
    ven_id: str | None
    ven_name: str
    xml_signature: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class CreatedPartyRegistration:
    """The VTN's offer or its word that we are registered."""

    response: Response
    registration_id: str | None
    ven_id: str | None
    vtn_id: str
    profiles: tuple[tuple[str, tuple[str, ...]], ...]
    """Each profile's name and its transports."""
    poll_interval: timedelta | None


@dataclass(frozen=True, kw_only=True, slots=True)
class CancelPartyRegistration:
    """Ends a registration, said by either side."""

    request_id: str
    registration_id: str
    ven_id: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class CanceledPartyRegistration:
    """Answer to a `CancelPartyRegistration`."""

    response: Response
    registration_id: str | None
    ven_id: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestReregistration:
    """The VTN wants us to register again."""

    ven_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Poll:
    """Asks whether there is anything for us."""

    ven_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class OadrResponse:
    """A bare acknowledgement; in answer to a poll: nothing for you."""

    response: Response
    ven_id: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportDescription:
    """One data point that we can report."""

    r_id: str
    resource_id: str
    report_type: str
    reading_type: str
    unit: Unit
    market_context: str | None
    min_period: timedelta
    max_period: timedelta


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportInterval:
    """One value of one data point."""

    start: datetime
    duration: timedelta
    r_id: str
    value: float
    confidence: int | None = None
    """0 to 100."""
    quality: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """`oadrReport`: data points (in METADATA) or their values."""

    report_id: str | None
    request_id: str
    """`reportRequestID`; `0` in METADATA that nobody asked for."""
    specifier_id: str
    name: str
    created: datetime
    start: datetime | None = None
    duration: timedelta | None = None
    descriptions: tuple[ReportDescription, ...] = ()
    intervals: tuple[ReportInterval, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class WireReportRequest:
    """`oadrReportRequest`: which data points, how fine, how often, from when to when."""

    request_id: str
    specifier_id: str
    granularity: timedelta
    report_back: timedelta
    start: datetime | None
    duration: timedelta | None
    """Length of the whole reporting; zero is open-ended."""
    r_ids: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class RegisterReport:
    """Says which reports the sender can make."""

    request_id: str
    reports: tuple[Report, ...]
    ven_id: str | None
    report_request_id: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RegisteredReport:
    """Answer to a `RegisterReport`, with the reports that are wanted at once."""

    response: Response
    requests: tuple[WireReportRequest, ...]
    ven_id: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class CreateReport:
    """Asks for reports."""

    request_id: str
    requests: tuple[WireReportRequest, ...]
    ven_id: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class CreatedReport:
    """Our word on a `CreateReport`."""

    response: Response
    pending: tuple[str, ...]
    """All report requests that we still serve."""
    ven_id: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class UpdateReport:
    """Values of reports that were asked for."""

    request_id: str
    reports: tuple[Report, ...]
    ven_id: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class CancelReport:
    """Ends report requests."""

    request_id: str
    report_request_ids: tuple[str, ...]
    to_follow: bool
    """Whether one last update is wanted."""
    ven_id: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class UpdatedReport:
    """The VTN has the values; it may end reports in the same breath."""

    response: Response
    cancel: CancelReport | None
    ven_id: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class CanceledReport:
    """Our word on a `CancelReport`."""

    response: Response
    pending: tuple[str, ...]
    ven_id: str | None


Incoming = (
    CancelPartyRegistration
    | CanceledPartyRegistration
    | CancelReport
    | CreatedPartyRegistration
    | CreateReport
    | DistributeEvent
    | OadrResponse
    | RegisteredReport
    | RegisterReport
    | RequestReregistration
    | UpdatedReport
)
"""What a VTN may send us."""

Outgoing = (
    CanceledPartyRegistration
    | CanceledReport
    | CancelPartyRegistration
    | CreatedEvent
    | CreatedReport
    | CreatePartyRegistration
    | OadrResponse
    | Poll
    | QueryRegistration
    | RegisteredReport
    | RegisterReport
    | RequestEvent
    | UpdateReport
)
"""What we send."""
