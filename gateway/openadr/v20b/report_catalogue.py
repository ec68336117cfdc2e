"""What we offer to report, as METADATA says it (conformance rule 510).

| report | specifier | data points of each node | recorded |
| --- | --- | --- | --- |
| TELEMETRY_USAGE | `telemetry-usage` | mean power, energy | from `min_sampling` to `max_sampling` |
| TELEMETRY_STATUS | `telemetry-status` | online, override, load control state | from `status_every`, or on change |
| HISTORY_USAGE | `history-usage` | as TELEMETRY_USAGE | from `min_sampling`, the last `history_points` and more |
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from gateway.openadr.v20b.codec_report_body import ENERGY_REAL_KWH, POWER_REAL_KW
from gateway.openadr.v20b.settings import VenSettings
from gateway.openadr.v20b.wire_parts import Unit
from gateway.openadr.v20b.wire_reports import Report, ReportDescription

METADATA_SPECIFIER = "METADATA"
"""Id by which a VTN asks for our METADATA."""


class ReportKind(StrEnum):
    """What a report request is for (`ReportRequest.kind`)."""

    USAGE = "usage"
    STATUS = "status"
    HISTORY = "history"
    METADATA = "metadata"


class Quantity(StrEnum):
    """What a data point is about."""

    POWER = "power"
    ENERGY = "energy"
    STATUS = "status"


@dataclass(frozen=True, kw_only=True, slots=True)
class DataPoint:
    """One thing about one node that can be reported."""

    r_id: str
    node: str
    resource_id: str
    quantity: Quantity


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """One report that we can make."""

    kind: ReportKind
    specifier_id: str
    name: str
    """`reportName` of its updates."""
    points: Mapping[str, DataPoint]
    """By rID."""
    min_period: timedelta
    max_period: timedelta
    span: timedelta
    """How much of the past it can tell of."""
    on_change: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class _Form:
    """How METADATA describes a quantity."""

    report_type: str
    reading_type: str
    unit: Unit | None


_FORMS = {
    Quantity.POWER: _Form(report_type="usage", reading_type="Mean", unit=POWER_REAL_KW),
    Quantity.ENERGY: _Form(report_type="usage", reading_type="Net", unit=ENERGY_REAL_KWH),
    Quantity.STATUS: _Form(report_type="x-resourceStatus", reading_type="x-notApplicable", unit=None),
}


def offers_of(settings: VenSettings) -> dict[str, Offer]:
    """Return what a VEN offers, by specifier; nothing without report points."""
    usage, status = _usage_points(settings), _status_points(settings)
    history_span = settings.min_sampling * settings.history_points
    offers = (
        Offer(
            kind=ReportKind.USAGE,
            specifier_id="telemetry-usage",
            name="TELEMETRY_USAGE",
            points=usage,
            min_period=settings.min_sampling,
            max_period=settings.max_sampling,
            span=settings.max_sampling,
        ),
        Offer(
            kind=ReportKind.STATUS,
            specifier_id="telemetry-status",
            name="TELEMETRY_STATUS",
            points=status,
            min_period=settings.status_every,
            max_period=settings.max_sampling,
            span=settings.max_sampling,
            on_change=True,
        ),
        Offer(
            kind=ReportKind.HISTORY,
            specifier_id="history-usage",
            name="HISTORY_USAGE",
            points=usage,
            min_period=settings.min_sampling,
            max_period=settings.max_sampling,
            span=history_span,
        ),
    )
    return {offer.specifier_id: offer for offer in offers if offer.points}


def metadata_of(settings: VenSettings, now: datetime, report_request_id: str | None) -> tuple[Report, ...]:
    """Return METADATA of everything we offer.

    Args:
        settings: Of the VEN.
        now: When it is made.
        report_request_id: The request it answers; None when nobody asked.
    """
    return tuple(
        Report(
            report_id=None,
            request_id=report_request_id or "0",
            specifier_id=offer.specifier_id,
            name=f"METADATA_{offer.name}",
            created=now,
            duration=offer.span,
            descriptions=tuple(
                _description(point, offer, settings.market_contexts[0]) for point in offer.points.values()
            ),
        )
        for offer in offers_of(settings).values()
    )


def _description(point: DataPoint, offer: Offer, market_context: str) -> ReportDescription:
    form = _FORMS[point.quantity]
    return ReportDescription(
        r_id=point.r_id,
        resource_id=point.resource_id,
        report_type=form.report_type,
        reading_type=form.reading_type,
        unit=form.unit,
        market_context=market_context,
        min_period=offer.min_period,
        max_period=offer.max_period,
        on_change=offer.on_change,
    )


def _usage_points(settings: VenSettings) -> dict[str, DataPoint]:
    found = {}
    for point in settings.report_points:
        for r_id, quantity in ((point.r_id, Quantity.POWER), (point.energy_r_id, Quantity.ENERGY)):
            found[r_id] = DataPoint(r_id=r_id, node=point.node, resource_id=point.resource_id, quantity=quantity)
    return found


def _status_points(settings: VenSettings) -> dict[str, DataPoint]:
    return {
        point.status_r_id: DataPoint(
            r_id=point.status_r_id, node=point.node, resource_id=point.resource_id, quantity=Quantity.STATUS
        )
        for point in settings.report_points
    }
