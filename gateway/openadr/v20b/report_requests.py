"""From a VTN's wish for a report to the `ReportRequest` we keep, or the reason why not.

| granularity | report-back | usage | status |
| --- | --- | --- | --- |
| 0 | 0 | the last complete interval, once | how it is, once |
| g | b | every g, told every b | every g, told every b |
| g | 0 | once, at the end of the reporting interval; without an end every g | the same |
| 0 | b | as finely as offered, told every b | what changed, told every b |

History is told once, when its last interval is over: the reporting interval, or without a duration all that is kept.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gateway.domain.signals import ReportRequest
from gateway.openadr.v20b.names import Code
from gateway.openadr.v20b.report_catalogue import METADATA_SPECIFIER, Offer, ReportKind, offers_of
from gateway.openadr.v20b.report_schedule import floor_to, is_finished, progress_of
from gateway.openadr.v20b.settings import VenSettings
from gateway.openadr.v20b.wire_reports import WireReportRequest

_NOTHING = timedelta(0)
_SECOND = timedelta(seconds=1)
_NOW_WITHIN = timedelta(minutes=5)
"""A start that a VTN names as "now" is so far in the past, at most, when we poll and hear it."""
MOST_PAST_INTERVALS = 100_000
"""So far back may a report begin: 69 days of minutes, almost three years of quarter-hours."""
_FARTHEST = timedelta(days=3_660)
_MOST_R_IDS = 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """Why a wish for a report is not served."""

    code: int
    description: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plan:
    """When a report is made up."""

    granularity: timedelta
    report_back: timedelta
    start: datetime
    end: datetime | None
    is_on_change: bool = False


def record_id(authority: str, request_id: str) -> str:
    """Return the id of the `ReportRequest` row of a partner's request."""
    return f"{authority}:{request_id}"


def accept(wish: WireReportRequest, settings: VenSettings, now: datetime) -> ReportRequest | Problem:
    """Return the request as we will serve it; the module says how.

    Without a reporting interval, usage starts with the interval that is running and status now; a duration of zero has no end.
    """
    offer = offers_of(settings).get(wish.specifier_id)
    problem = _problem(wish, offer) or _range_problem(wish, now, settings.min_sampling)
    if problem is not None:
        return problem
    kind = ReportKind.METADATA if offer is None else offer.kind
    plan = _PLANS[kind](wish, settings, now)
    return ReportRequest(
        id=record_id(settings.authority, wish.request_id),
        tenant=settings.tenant,
        authority=settings.authority,
        report_request_id=wish.request_id,
        report_specifier_id=wish.specifier_id,
        r_ids=tuple(dict.fromkeys(wish.r_ids)) if offer is not None else (),
        granularity=plan.granularity,
        report_back=plan.report_back,
        start=plan.start,
        end=plan.end,
        reported_until=plan.start,
        kind=kind,
        is_on_change=plan.is_on_change,
        wish=wish_text(wish),
    )


def _usage_plan(wish: WireReportRequest, settings: VenSettings, now: datetime) -> _Plan:
    granularity = wish.granularity or settings.min_sampling
    if not wish.granularity and not wish.report_back:
        end = floor_to(max(now, wish.start or now), granularity)
        return _Plan(granularity=granularity, report_back=_NOTHING, start=end - granularity, end=end)
    start = floor_to(now, granularity) if wish.start is None else floor_to(wish.start, _SECOND)
    return _spaced(wish, granularity, start)


def _status_plan(wish: WireReportRequest, settings: VenSettings, now: datetime) -> _Plan:
    start = floor_to(now if wish.start is None else wish.start, _SECOND)
    if not wish.granularity and not wish.report_back:
        start = max(floor_to(now, _SECOND), start)
        return _Plan(granularity=_SECOND, report_back=_NOTHING, start=start, end=start + _SECOND)
    if not wish.granularity:
        end = start + wish.duration if wish.duration else None
        return _Plan(
            granularity=settings.status_every, report_back=wish.report_back, start=start, end=end, is_on_change=True
        )
    return _spaced(wish, wish.granularity, start)


def _spaced(wish: WireReportRequest, granularity: timedelta, start: datetime) -> _Plan:
    end = start + wish.duration if wish.duration else None
    report_back = max(wish.report_back, granularity) if wish.report_back else _NOTHING
    if end is None and not report_back:
        report_back = granularity
    return _Plan(granularity=granularity, report_back=report_back, start=start, end=end)


def _history_plan(wish: WireReportRequest, settings: VenSettings, now: datetime) -> _Plan:
    granularity = wish.granularity or settings.min_sampling
    now = floor_to(now, _SECOND)
    start = None if wish.start is None else floor_to(wish.start, _SECOND)
    if wish.duration:
        start = now - wish.duration if start is None else start
        return _Plan(granularity=granularity, report_back=_NOTHING, start=start, end=start + wish.duration)
    end = floor_to(max(now, start or now), granularity)
    if start is None or start >= now - _NOW_WITHIN:
        start = end - granularity * settings.history_points
    return _Plan(granularity=granularity, report_back=_NOTHING, start=min(start, end - granularity), end=end)


def _metadata_plan(wish: WireReportRequest, settings: VenSettings, now: datetime) -> _Plan:
    start = floor_to(now, _SECOND)
    start = start if wish.start is None else max(start, floor_to(wish.start, _SECOND))
    if not wish.report_back:
        return _Plan(granularity=_NOTHING, report_back=_NOTHING, start=start, end=start + _SECOND)
    end = start + wish.duration if wish.duration else None
    return _Plan(granularity=_NOTHING, report_back=max(wish.report_back, settings.min_sampling), start=start, end=end)


_PLANS = {
    ReportKind.USAGE: _usage_plan,
    ReportKind.STATUS: _status_plan,
    ReportKind.HISTORY: _history_plan,
    ReportKind.METADATA: _metadata_plan,
}


def _problem(wish: WireReportRequest, offer: Offer | None) -> Problem | None:
    if not wish.request_id:
        return Problem(code=Code.INVALID_ID, description="the report request needs an id")
    if min(wish.granularity, wish.report_back, wish.duration or _NOTHING) < _NOTHING:
        return Problem(code=Code.INVALID_DATA, description="durations must not be negative")
    if wish.specifier_id == METADATA_SPECIFIER:
        return None
    return _offer_problem(wish, offer)


def _offer_problem(wish: WireReportRequest, offer: Offer | None) -> Problem | None:
    if offer is None:
        return Problem(code=Code.REPORT_NOT_SUPPORTED, description="no such report specifier")
    if not wish.r_ids or len(wish.r_ids) > _MOST_R_IDS or not set(wish.r_ids) <= offer.points.keys():
        return Problem(code=Code.INVALID_ID, description="no such data point")
    if wish.granularity and wish.granularity < offer.min_period:
        return Problem(code=Code.REPORT_NOT_SUPPORTED, description="finer than the shortest sampling period")
    return None


def _range_problem(wish: WireReportRequest, now: datetime, shortest: timedelta) -> Problem | None:
    """Refuse times so far away that arithmetic with them leaves the calendar, and a past of more intervals than anybody reads."""
    spans = (wish.granularity, wish.report_back, wish.duration or _NOTHING, abs((wish.start or now) - now))
    if max(spans) > _FARTHEST:
        return Problem(code=Code.INVALID_DATA, description="a time is more than ten years away")
    past = now - wish.start if wish.start is not None else wish.duration or _NOTHING
    if past > MOST_PAST_INTERVALS * (wish.granularity or shortest):
        return Problem(code=Code.INVALID_DATA, description="too many intervals lie in the past")
    return None


def wish_text(wish: WireReportRequest) -> str:
    """Return what a VTN asks for in one line, without the id it gives it."""
    start = "" if wish.start is None else wish.start.isoformat()
    times = [str(span) for span in (wish.granularity, wish.report_back, wish.duration)]
    return " ".join([wish.specifier_id, *times, start, *wish.r_ids])


def is_repetition(verdict: ReportRequest, known: ReportRequest) -> bool:
    """Tell whether a wish only repeats a request that we serve already, because our answer did not arrive."""
    return verdict.wish == known.wish


def _is_like(one: ReportRequest, other: ReportRequest) -> bool:
    return (one.report_specifier_id, one.r_ids, one.granularity, one.report_back, one.is_on_change) == (
        other.report_specifier_id,
        other.r_ids,
        other.granularity,
        other.report_back,
        other.is_on_change,
    )


def carry_on(new: ReportRequest, old: Iterable[ReportRequest]) -> ReportRequest:
    """Return a request that starts where the one it replaces has got to, so that no interval is lost or sent twice.

    A VTN that is offered our METADATA again asks for the same report under a new id. Only a request of usage without an end is
    moved, and only when it itself says no start: it starts with the current interval, while its predecessor may be behind or
    ahead. What was made up and not acknowledged is made up again.
    """
    same = [request for request in old if replaces(new, request)]
    if not same or new.kind != ReportKind.USAGE:
        return new
    known = max(same, key=lambda request: request.reported_until)
    border = known.reported_until
    reached = tuple(min(border, progress_of(known)[r_id]) for r_id in new.r_ids)
    return replace(new, start=border, reported_until=border, reached=reached)


def replaces(new: ReportRequest, old: ReportRequest) -> bool:
    """Tell whether a request without an end wants the same as another one of another id."""
    is_endless = new.end is None and old.end is None
    return is_endless and _is_like(replace(new, report_back=old.report_back), old)


def pending(requests: Mapping[str, ReportRequest]) -> tuple[str, ...]:
    """Return the ids of the requests that are still served, as the VTN knows them."""
    return tuple(request.report_request_id for request in requests.values() if not is_finished(request))
