"""When a report request is due and which intervals it then covers: pure, in whole steps from the request's own start.

```
  start      +g      +2g      +3g      +4g            end        g  granularity
    |---------|--------|--------|--------|----- ... ---|-tail     b  report-back, here 2 g
    |<------- b ------>|<------- b ----->|
                       ^ update          ^ update      ^ last update, with the tail that is shorter than g
```

Usage and history are measured over intervals: an update is made up when its last interval is over. A status is that of an
instant: it is looked at when an interval begins, and every interval of one update is in it when the update goes out.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from gateway.domain.signals import ReportRequest
from gateway.domain.timegrid import TimeGrid
from gateway.openadr.v20b.report_catalogue import ReportKind

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOTHING = timedelta(0)
_SECOND = timedelta(seconds=1)


def floor_to(instant: datetime, step: timedelta) -> datetime:
    """Return the last multiple of the step since 1970 that is not after the instant."""
    return _EPOCH + ((instant - _EPOCH) // step) * step


def progress_of(request: ReportRequest) -> dict[str, datetime]:
    """Return how far the values of each data point are made up."""
    reached = request.reached or (request.reported_until,) * len(request.r_ids)
    return dict(zip(request.r_ids, reached, strict=True))


def position_of(request: ReportRequest) -> datetime:
    """Return how far the schedule has come: the farthest data point."""
    return max(request.reached, default=request.reported_until)


def is_made(request: ReportRequest) -> bool:
    """Tell whether everything of a request is made up."""
    return request.end is not None and min(request.reached, default=request.reported_until) >= request.end


def is_finished(request: ReportRequest) -> bool:
    """Tell whether nothing of a request is left to make up or to send."""
    is_acknowledged = request.end is not None and request.reported_until >= request.end
    return request.cancelled or (is_acknowledged and is_made(request))


def is_single(request: ReportRequest) -> bool:
    """Tell whether a request wants one report, and no more."""
    return request.report_back <= _NOTHING


def is_same_course(one: ReportRequest, other: ReportRequest) -> bool:
    """Tell whether two states of a request have the same values left to make up; acknowledgements make no difference."""
    return _course(one) == _course(other)


def _course(request: ReportRequest) -> tuple[object, ...]:
    times = (request.start, request.end, request.granularity, request.report_back, *progress_of(request).values())
    return (request.wish, request.is_on_change, *times)


def due_at(request: ReportRequest) -> datetime | None:
    """Return when there is next something to make up; None when it is finished or never comes due.

    A request without a report-back duration is made up once, at its end; a status is looked at when an interval begins. A
    first update is due when a whole interval is complete, also where the report-back duration is no multiple of the
    granularity.
    """
    if is_finished(request) or is_made(request):
        return None
    position = position_of(request)
    if request.kind in {ReportKind.STATUS, ReportKind.METADATA}:
        return position
    if is_single(request):
        return request.end
    next_border = position + request.granularity - request.start
    due = request.start - (-next_border // request.report_back) * request.report_back
    return due if request.end is None else min(due, request.end)


def ready_until(request: ReportRequest, now: datetime) -> datetime | None:
    """Return up to when intervals can be made up; None before the request is due."""
    due = due_at(request)
    if due is None or now < due:
        return None
    if is_single(request):
        return due
    if request.end is not None and now >= request.end:
        return request.end
    return request.start + ((now - request.start) // request.report_back) * request.report_back


def grids_between(request: ReportRequest, since: datetime, until: datetime, most: int) -> tuple[TimeGrid, ...]:
    """Return the intervals between two instants: whole ones, then the tail before the request's end.

    Args:
        request: Of its granularity and end.
        since: Border of an interval.
        until: What `ready_until` says.
        most: At most so many whole intervals; what is left is due at once again.
    """
    if until <= since:
        return ()
    step = request.granularity
    whole, tail = divmod(until - since, step)
    grids = []
    if whole:
        grids.append(TimeGrid(start=since, step=step, count=min(whole, most)))
    if tail and until == request.end and whole <= most:
        grids.append(TimeGrid(start=until - tail, step=tail, count=1))
    return tuple(grids)


def slot_of(request: ReportRequest, now: datetime) -> datetime:
    """Return the begin of the interval that an instant of a request lies in."""
    return request.start + ((now - request.start) // request.granularity) * request.granularity


def border_after(request: ReportRequest, instant: datetime) -> datetime:
    """Return when the update goes out that a status of an instant is part of."""
    if is_single(request):
        return request.end or instant
    steps = (instant - request.start) // request.report_back + 1
    border = request.start + steps * request.report_back
    return border if request.end is None else min(border, request.end)


def next_metadata(request: ReportRequest, now: datetime) -> datetime:
    """Return when METADATA that was given now is to be given next; the end of a request that wants no more."""
    if is_single(request):
        return request.end or now
    border = request.start + ((now - request.start) // request.report_back + 1) * request.report_back
    return border if request.end is None else min(border, request.end)


def concluded(request: ReportRequest, now: datetime) -> ReportRequest:
    """Return a request that ends now, after one last report: what was measured up to now, or one last look.

    The last report never tells an instant again: where it would, it is due a second later.
    """
    now = floor_to(now, _SECOND)
    position = position_of(request)
    if request.kind != ReportKind.STATUS:
        end = max(now, position + _SECOND)
        return replace(request, report_back=_NOTHING, end=end if request.end is None else min(end, request.end))
    start = max(now, position - request.granularity + _SECOND)
    return replace(
        request,
        granularity=_SECOND,
        report_back=_NOTHING,
        start=start,
        end=start + _SECOND,
        reported_until=min(start, request.reported_until),
        reached=(start,) * len(request.r_ids),
        is_on_change=False,
    )
