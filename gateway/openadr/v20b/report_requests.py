"""From a VTN's wish for a report to the `ReportRequest` we keep, or the reason why not."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gateway.domain.signals import ReportRequest
from gateway.openadr.v20b.names import Code
from gateway.openadr.v20b.report_schedule import floor_to, is_finished
from gateway.openadr.v20b.settings import VenSettings
from gateway.openadr.v20b.wire_reports import WireReportRequest

USAGE_SPECIFIER = "telemetry-usage"
"""Id of our one report specifier."""
METADATA_SPECIFIER = "METADATA"
"""Id by which a VTN asks for our METADATA again."""
_NOTHING = timedelta(0)
_SECOND = timedelta(seconds=1)
_FARTHEST = timedelta(days=3_660)


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """Why a wish for a report is not served."""

    code: int
    description: str


def record_id(authority: str, request_id: str) -> str:
    """Return the id of the `ReportRequest` row of a partner's request."""
    return f"{authority}:{request_id}"


def accept(wish: WireReportRequest, settings: VenSettings, now: datetime) -> ReportRequest | Problem:
    """Return the request as we will serve it.

    One shot (no granularity, report-back or duration) is the last complete interval of the finest sampling, at the start asked
    for or now. "On change" (report-back without granularity) is served at the finest sampling. Without a reporting interval it
    starts with the interval that is running; a duration of zero has no end. Without report-back it is sent once, at its end.
    """
    problem = _problem(wish, settings) or _range_problem(wish, now)
    if problem is not None:
        return problem
    granularity = wish.granularity or settings.min_sampling
    report_back = max(wish.report_back, granularity) if wish.report_back else _NOTHING
    if not wish.granularity and not wish.report_back and not wish.duration:
        end: datetime | None = floor_to(max(now, wish.start or now), granularity)
        start = floor_to(max(now, wish.start or now), granularity) - granularity
    else:
        start = floor_to(now, granularity) if wish.start is None else floor_to(wish.start, _SECOND)
        end = start + wish.duration if wish.duration else None
        report_back = granularity if end is None and not report_back else report_back
    return ReportRequest(
        id=record_id(settings.authority, wish.request_id),
        tenant=settings.tenant,
        authority=settings.authority,
        report_request_id=wish.request_id,
        report_specifier_id=wish.specifier_id,
        r_ids=wish.r_ids,
        granularity=granularity,
        report_back=report_back,
        start=start,
        end=end,
        reported_until=start,
    )


def _problem(wish: WireReportRequest, settings: VenSettings) -> Problem | None:
    if wish.specifier_id != USAGE_SPECIFIER:
        return Problem(code=Code.REPORT_NOT_SUPPORTED, description="no such report specifier")
    if not wish.r_ids or not set(wish.r_ids) <= {point.r_id for point in settings.report_points}:
        return Problem(code=Code.INVALID_ID, description="no such data point")
    if not wish.request_id:
        return Problem(code=Code.INVALID_ID, description="the report request needs an id")
    if min(wish.granularity, wish.report_back, wish.duration or _NOTHING) < _NOTHING:
        return Problem(code=Code.INVALID_DATA, description="durations must not be negative")
    if wish.granularity and wish.granularity < settings.min_sampling:
        return Problem(code=Code.REPORT_NOT_SUPPORTED, description="finer than the shortest sampling period")
    return None


def _range_problem(wish: WireReportRequest, now: datetime) -> Problem | None:
    """Refuse times so far away that arithmetic with them leaves the calendar."""
    spans = (wish.granularity, wish.report_back, wish.duration or _NOTHING, abs((wish.start or now) - now))
    if max(spans) > _FARTHEST:
        return Problem(code=Code.INVALID_DATA, description="a time is more than ten years away")
    return None


def is_repetition(wish: WireReportRequest, verdict: ReportRequest, known: ReportRequest) -> bool:
    """Tell whether a wish only repeats a request that we serve already, because our answer did not arrive."""
    if wish.start is not None and verdict.start != known.start:
        return False
    return (verdict.r_ids, verdict.granularity, verdict.report_back, verdict.end) == (
        known.r_ids,
        known.granularity,
        known.report_back,
        known.end,
    )


def carry_on(new: ReportRequest, old: Iterable[ReportRequest]) -> ReportRequest:
    """Return a request that starts where the one it replaces has got to, so that no interval is lost or sent twice.

    A VTN that is offered our METADATA again asks for the same report under a new id. Only a request that itself says no
    start is moved: it starts with the current interval, while its predecessor may be behind or ahead.
    """
    same = [
        request
        for request in old
        if request.r_ids == new.r_ids
        and request.granularity == new.granularity
        and request.end is None
        and new.end is None
    ]
    if not same:
        return new
    border = max(request.reported_until for request in same)
    return replace(new, start=border, reported_until=border)


def pending(requests: Mapping[str, ReportRequest]) -> tuple[str, ...]:
    """Return the ids of the requests that are still served, as the VTN knows them."""
    return tuple(request.report_request_id for request in requests.values() if not is_finished(request))
