"""The messages of EiReport as frozen values: data points, wishes for them and their values."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.openadr.v20b.wire_parts import Response, Unit


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportDescription:
    """One data point that we can report."""

    r_id: str
    resource_id: str
    report_type: str
    reading_type: str
    unit: Unit | None
    """None where the values are no quantity, as in status reports."""
    market_context: str | None
    min_period: timedelta
    max_period: timedelta
    on_change: bool = False
    """Whether a change can be reported when it happens, at most once in `min_period`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlRange:
    """`oadrLoadControlStateType`: where a control stands and how far it may go."""

    current: float
    low: float | None = None
    high: float | None = None
    normal: float | None = None
    """What it is without any event."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadStatus:
    """`oadrPayloadResourceStatus`: how a resource is."""

    is_online: bool
    is_overridden: bool
    """Whether people decide, not the program (`oadrManualOverride`)."""
    capacity: ControlRange | None = None
    """Share of the greatest load, 0 to 1."""
    set_point: ControlRange | None = None
    """Power, in kW."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportInterval:
    """One value of one data point; a status has a duration of zero where it is that of one instant."""

    start: datetime
    duration: timedelta
    r_id: str
    value: float | LoadStatus
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
