"""Making reports up: whenever a request is due its values are read, and kept on disk before anybody sends them.

It goes on while the VTN is away, so that the status of an instant is told later although nobody could know it any more.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gateway.domain.errors import NotFound, VoltbridgeError
from gateway.domain.signals import ReportRequest, ResourceStatus, UsageReading
from gateway.domain.timegrid import TimeGrid
from gateway.observe import logger
from gateway.openadr.v20b.literals import format_instant
from gateway.openadr.v20b.report_book import ReportBook, Unsent
from gateway.openadr.v20b.report_catalogue import DataPoint, Offer, ReportKind, offers_of
from gateway.openadr.v20b.report_schedule import (
    border_after,
    due_at,
    floor_to,
    grids_between,
    is_same_course,
    is_single,
    progress_of,
    ready_until,
    slot_of,
)
from gateway.openadr.v20b.report_values import Series, known_values, status_mark, status_value
from gateway.openadr.v20b.surroundings import Surroundings
from gateway.openadr.v20b.wire_reports import Report, ReportInterval

MOST_VALUES = 1_000
"""Values in one update; a longer backlog goes out in several."""
_NOTHING = timedelta(0)
_SECOND = timedelta(seconds=1)
_log = logger("openadr")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Measured:
    """How far each data point is known, and the values up to there."""

    reached: tuple[datetime, ...]
    values: tuple[ReportInterval, ...]


class ReportMaker:
    """Makes up the reports of one VEN."""

    def __init__(self, around: Surroundings, book: ReportBook) -> None:
        self._around = around
        self._settings = around.settings
        self._book = book
        self._offers = offers_of(around.settings)
        self._retry_at: dict[str, datetime] = {}

    def next_due(self) -> datetime | None:
        """Return when `make_due` next has something to do; None while nothing is asked for."""
        return min((due for _, due in self._dues()), default=None)

    def _dues(self) -> list[tuple[str, datetime]]:
        found = []
        for key, request in self._book.requests.items():
            due = None if request.kind == ReportKind.METADATA or self._is_full(request) else due_at(request)
            if due is not None:
                found.append((key, max(due, self._retry_at.get(key, due))))
        return found

    def _is_full(self, request: ReportRequest) -> bool:
        """Usage that is not made up stays in the meters' history; a status would be lost, so it goes on."""
        return request.kind != ReportKind.STATUS and self._book.is_full(request.id)

    async def make_due(self) -> None:
        """Make up what is due, statuses first; what fails is tried again later and harms no other request."""
        begin = self._around.clock.now()
        for key in [key for key, due in sorted(self._dues(), key=self._haste) if due <= begin]:
            if await self._attempt(key):
                self._retry_at.pop(key, None)
            else:
                self._retry_at[key] = self._around.clock.now() + self._settings.first_backoff
        self._retry_at = {key: at for key, at in self._retry_at.items() if self._book.get(key) is not None}

    def _haste(self, due: tuple[str, datetime]) -> bool:
        """A status is that of this instant; what was measured waits in the history."""
        request = self._book.get(due[0])
        return request is None or request.kind != ReportKind.STATUS

    async def _attempt(self, key: str) -> bool:
        request, now = self._book.get(key), self._around.clock.now()
        if request is None:
            return True
        try:
            if request.report_specifier_id not in self._offers:
                async with self._book.lock:
                    await self._book.keep(replace(request, cancelled=True), action="openadr.report-not-offered-now")
                return True
            if request.kind == ReportKind.STATUS:
                return await self._look(request, now)
            return await self._measure(request, now)
        except VoltbridgeError as error:
            _log.warning("report not made", authority=self._settings.authority, request=key, error=str(error))
            return False

    def _current(self, request: ReportRequest) -> ReportRequest | None:
        """Return a request as it is after its values were read; None when they are no longer what it is about.

        Values are read without the lock, so that a slow meter keeps no message of the VTN waiting.
        """
        latest = self._book.get(request.id)
        return latest if latest is not None and is_same_course(latest, request) else None

    # ------------------------------------------------------------ usage and history

    async def _measure(self, request: ReportRequest, now: datetime) -> bool:
        """Make up the intervals that are over; tell whether any data point got any further."""
        until = ready_until(request, now)
        if until is None:
            return True
        measured = await self._measured(request, until, now)
        async with self._book.lock:
            latest = self._current(request)
            if latest is None:
                return True
            if measured.reached == tuple(progress_of(latest).values()):
                return False
            await self._take_measured(latest, measured)
        return True

    async def _take_measured(self, request: ReportRequest, measured: _Measured) -> None:
        moved = replace(request, reached=measured.reached)
        if not measured.values:
            await self._book.keep(moved)
            return
        start = min(value.start for value in measured.values)
        end = max(value.start + value.duration for value in measured.values)
        report = self._report(request, measured.values, start, end - start)
        unsent = self._book.unsent_report(report, request, self._around.clock.now())
        await self._book.keep(replace(moved, made_count=request.made_count + 1), reports=[unsent])

    async def _measured(self, request: ReportRequest, until: datetime, now: datetime) -> _Measured:
        offer = self._offers[request.report_specifier_id]
        series = await self._series(request, offer, until)
        measured = _known(offer, series, request, now - self._settings.report_patience)
        if not is_single(request):
            return measured
        at_once = _known(
            offer, series, request, now
        )  # one report waits for no late reading once it has something to tell
        return at_once if at_once.values else measured

    async def _series(self, request: ReportRequest, offer: Offer, until: datetime) -> dict[str, Series]:
        most = max(1, MOST_VALUES // len(request.r_ids))
        asked: dict[tuple[str, TimeGrid], Sequence[UsageReading] | None] = {}
        series: dict[str, Series] = {}
        for r_id, reached in progress_of(request).items():
            point = offer.points.get(r_id)
            grids = grids_between(request, reached, until, most)
            for place in ((point.node, grid) for grid in grids if point is not None):
                if place not in asked:  # power and energy of a node come from the same readings
                    asked[place] = await self._readings(r_id, *place)
            series[r_id] = [(grid, None if point is None else asked[point.node, grid]) for grid in grids]
        return series

    async def _readings(self, r_id: str, node: str, grid: TimeGrid) -> Sequence[UsageReading] | None:
        """Return the readings of a node; None when it is gone, empty when it cannot be read now."""
        try:
            return await self._around.usage_desk.usage(self._around.principal, node, grid)
        except NotFound as error:
            _log.warning("no readings", authority=self._settings.authority, r_id=r_id, error=str(error))
            return None
        except VoltbridgeError as error:
            _log.warning("readings fail", authority=self._settings.authority, r_id=r_id, error=str(error))
            return ()

    # ------------------------------------------------------------ status

    async def _look(self, request: ReportRequest, now: datetime) -> bool:
        """Look at the resources of a request and keep what is to be told; tell whether it is done for this interval."""
        slot = slot_of(request, now)
        # One look that comes late is still wanted; a missed one among many is not made up with a later state.
        is_one_look = not request.is_on_change and request.end == request.start + _SECOND
        is_missed = request.end is not None and slot >= request.end and not is_one_look
        seen = {} if is_missed else await self._statuses(request)
        if is_one_look and not any(seen.values()) and now < request.start + self._settings.report_patience:
            return False
        async with self._book.lock:
            latest = self._current(request)
            if latest is not None and is_missed:
                await self._book.keep(replace(latest, reached=(request.end or slot,) * len(request.r_ids)))
            elif latest is not None:
                await self._take_look(latest, seen, slot, now)
        return True

    async def _take_look(
        self, request: ReportRequest, seen: dict[str, ResourceStatus | None], slot: datetime, now: datetime
    ) -> None:
        after = slot + request.granularity
        after = after if request.end is None else min(after, request.end)
        moved = replace(request, reached=(after,) * len(request.r_ids))
        if request.is_on_change:
            marks = tuple("" if status is None else status_mark(status) for status in seen.values())
            last_seen = request.last_seen or ("",) * len(marks)
            is_new = dict(
                zip(request.r_ids, (one != last for one, last in zip(marks, last_seen, strict=True)), strict=True)
            )
            seen = {r_id: status for r_id, status in seen.items() if is_new[r_id]}
            moved = replace(moved, last_seen=marks)
        await self._take_statuses(request, moved, self._status_values(request, seen, now), now)

    async def _take_statuses(
        self, request: ReportRequest, moved: ReportRequest, values: tuple[ReportInterval, ...], now: datetime
    ) -> None:
        is_over = moved.end is not None and min(moved.reached) >= moved.end
        if not values or self._book.is_full(request.id):
            if values:
                _log.warning("status not kept", authority=self._settings.authority, request=request.id)
            if is_over or not request.is_on_change:
                await self._book.keep(moved)
            else:
                self._book.note(moved)
            return
        unsent, made_count = self._with_statuses(request, values, now, is_over=is_over)
        await self._book.keep(replace(moved, made_count=made_count), reports=[unsent])

    def _with_statuses(
        self, request: ReportRequest, values: tuple[ReportInterval, ...], now: datetime, *, is_over: bool
    ) -> tuple[Unsent, int]:
        """Return the report that the values belong to, the growing one or a new one, and how many there are then."""
        start = values[0].start
        border = border_after(request, start)
        is_last = is_over or (not request.is_on_change and start + request.granularity >= border)
        ready_at = now if is_last else border
        growing = self._book.last_unsent(request.id)
        if growing is not None and growing.ready_at > now and growing.report.start is not None:
            report = replace(growing.report, intervals=growing.report.intervals + values)
            row = self._book.unsent_report(report, request, ready_at).row
            return Unsent(row=replace(row, made_at=growing.row.made_at), report=report, ready_at=ready_at), (
                request.made_count
            )
        report = self._report(request, values, start, max(border - start, _NOTHING))
        return self._book.unsent_report(report, request, ready_at), request.made_count + 1

    async def _statuses(self, request: ReportRequest) -> dict[str, ResourceStatus | None]:
        """Return how each resource is; None for one that cannot be looked at, which harms no other."""
        points = self._offers[request.report_specifier_id].points
        found: dict[str, ResourceStatus | None] = {}
        for r_id in request.r_ids:
            found[r_id] = await self._status(points.get(r_id))
        return found

    async def _status(self, point: DataPoint | None) -> ResourceStatus | None:
        desk = self._around.status_desk
        if point is None or desk is None:
            return None
        try:
            return await desk.status(self._around.principal, point.node)
        except VoltbridgeError as error:
            _log.warning("no status", authority=self._settings.authority, r_id=point.r_id, error=str(error))
            return None

    def _status_values(
        self, request: ReportRequest, seen: dict[str, ResourceStatus | None], now: datetime
    ) -> tuple[ReportInterval, ...]:
        points = self._offers[request.report_specifier_id].points
        start = floor_to(now, _SECOND)
        is_instant = request.is_on_change or request.granularity == _SECOND
        duration = _NOTHING if is_instant else request.granularity
        return tuple(
            status_value(points[r_id], status, start, duration) for r_id, status in seen.items() if status is not None
        )

    # ------------------------------------------------------------ both

    def _report(
        self, request: ReportRequest, values: tuple[ReportInterval, ...], start: datetime, duration: timedelta
    ) -> Report:
        now = self._around.clock.now()
        return Report(
            report_id=f"{request.report_request_id}/{format_instant(now)}/{request.made_count + 1}",
            request_id=request.report_request_id,
            specifier_id=request.report_specifier_id,
            name=self._offers[request.report_specifier_id].name,
            created=now,
            start=start,
            duration=duration,
            intervals=values,
        )


def _known(offer: Offer, series: dict[str, Series], request: ReportRequest, patient_until: datetime) -> _Measured:
    """Return what is known of every data point, each as far as it goes: one that is late holds up no other."""
    reached, values = [], []
    before = progress_of(request)
    for r_id in request.r_ids:
        point = offer.points.get(r_id)
        if point is None:
            reached.append(_end_of(series[r_id]) or before[r_id])
            continue
        until, found = known_values(point, series[r_id], patient_until)
        reached.append(until or before[r_id])
        values += found
    return _Measured(reached=tuple(reached), values=tuple(sorted(values, key=lambda value: value.start)))


def _end_of(series: Series) -> datetime | None:
    return series[-1][0].end if series else None
