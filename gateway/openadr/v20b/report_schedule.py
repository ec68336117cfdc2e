"""When a report request is due and which intervals it then covers: pure, in whole steps from the request's own start.

```
  start      +g      +2g      +3g      +4g            end        g  granularity
    |---------|--------|--------|--------|----- ... ---|-tail     b  report-back, here 2 g
    |<------- b ------>|<------- b ----->|
                       ^ update          ^ update      ^ last update, with the tail that is shorter than g
```
"""

from datetime import UTC, datetime, timedelta

from gateway.domain.signals import ReportRequest
from gateway.domain.timegrid import TimeGrid

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOTHING = timedelta(0)


def floor_to(instant: datetime, step: timedelta) -> datetime:
    """Return the last multiple of the step since 1970 that is not after the instant."""
    return _EPOCH + ((instant - _EPOCH) // step) * step


def is_finished(request: ReportRequest) -> bool:
    """Tell whether nothing of a request is left to send."""
    return request.cancelled or (request.end is not None and request.reported_until >= request.end)


def due_at(request: ReportRequest) -> datetime | None:
    """Return when the next update of a request goes out; None when it is finished or never comes due.

    A request without a report-back duration goes out once, at its end. A first update is due when a whole interval is
    complete, also where the report-back duration is no multiple of the granularity.
    """
    if is_finished(request):
        return None
    if request.report_back <= _NOTHING:
        return request.end
    next_border = request.reported_until + request.granularity - request.start
    due = request.start - (-next_border // request.report_back) * request.report_back
    return due if request.end is None else min(due, request.end)


def ready_grids(request: ReportRequest, now: datetime, most: int) -> tuple[TimeGrid, ...]:
    """Return the intervals that an update at `now` covers: whole ones, then the tail before the request's end.

    Args:
        request: An unfinished request.
        now: The current instant.
        most: At most so many whole intervals; what is left is due at once again.
    """
    due = due_at(request)
    if due is None or now < due:
        return ()
    until = due if request.report_back <= _NOTHING else _last_border(request, now)
    step = request.granularity
    whole, tail = divmod(until - request.reported_until, step)
    grids = []
    if whole:
        grids.append(TimeGrid(start=request.reported_until, step=step, count=min(whole, most)))
    if tail and until == request.end and whole <= most:
        grids.append(TimeGrid(start=until - tail, step=tail, count=1))
    return tuple(grids)


def _last_border(request: ReportRequest, now: datetime) -> datetime:
    if request.end is not None and now >= request.end:
        return request.end
    return request.start + ((now - request.start) // request.report_back) * request.report_back
