"""The messages of OpenADR 2.0b as frozen values: exactly what is on the wire, not yet what it means to us.

Ids are opaque strings and kept character for character. Durations, instants and numbers are already exact (`literals.py`); an
event in which one of them is not becomes a `BrokenEvent` of its own and harms no other. `None` is an absent element.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.openadr.v20b.wire_events import CreatedEvent, DistributeEvent, RequestEvent
from gateway.openadr.v20b.wire_parts import Response, Unit


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
