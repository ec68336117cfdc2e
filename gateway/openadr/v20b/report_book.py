"""The report requests that are served and the reports that are made up and not acknowledged: in memory and on disk alike.

What is kept counts only once it is on disk. One thing is the other way round: what the VTN has acknowledged is so whether our
disk takes it or not; it is noted and written as soon as that is possible.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gateway.domain.errors import InvalidInput
from gateway.domain.programs import PendingReport
from gateway.domain.signals import ReportRequest
from gateway.observe import logger
from gateway.openadr.v20b.codec_report_body import read_report, report_text
from gateway.openadr.v20b.report_schedule import is_finished, progress_of
from gateway.openadr.v20b.surroundings import Surroundings
from gateway.openadr.v20b.wire_reports import Report

MOST_UNSENT = 2_000
"""Reports of one request that wait for a VTN that is away; beyond it usage waits in the meters' history."""
_FIRST_LOOK = 50
_NOTHING = timedelta(0)
_log = logger("openadr")


@dataclass(frozen=True, kw_only=True, slots=True)
class Unsent:
    """A report that is made up and not acknowledged."""

    row: PendingReport
    report: Report
    ready_at: datetime
    """Not to be sent before; a report of statuses grows until then."""


class ReportBook:
    """Requests and unsent reports of one VEN."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._settings = around.settings
        self._requests: dict[str, ReportRequest] = {}
        self._unsent: dict[str, deque[Unsent]] = {}
        self._unsaved: dict[str, ReportRequest | PendingReport] = {}
        self.lock = asyncio.Lock()
        """Held from reading a request to writing it."""

    @property
    def requests(self) -> dict[str, ReportRequest]:
        """The requests that are served, by the id of their row."""
        return dict(self._requests)

    @property
    def has_unsaved(self) -> bool:
        """Whether something acknowledged is not on disk yet."""
        return bool(self._unsaved)

    async def load(self) -> None:
        """Take up requests and reports of an earlier run.

        Raises:
            StorageUnavailable: Nothing was read.
        """
        where = {"authority": self._settings.authority}
        rows = await self._around.store.find(ReportRequest, self._settings.tenant, where)
        requests = {row.record.id: row.record for row in rows if not is_finished(row.record)}
        self._unsent = {key: await self._load_unsent(key) for key in requests}
        self._requests = requests
        self._drop_finished()

    async def _load_unsent(self, key: str) -> deque[Unsent]:
        """Return what was not acknowledged: the newest rows of a request, because reports are acknowledged in their order."""
        where, limit = {"authority": self._settings.authority, "request": key}, _FIRST_LOOK
        while True:
            rows = await self._around.store.find(
                PendingReport, self._settings.tenant, where, newest_first=True, limit=limit
            )
            unsent = [row.record for row in rows if row.record.sent_at is None and row.record.dropped_at is None]
            if len(unsent) < limit or len(rows) < limit:
                break
            limit *= 2
        return deque(found for record in reversed(unsent) if (found := self._read(record)) is not None)

    def _read(self, record: PendingReport) -> Unsent | None:
        """Return a report as it was kept; None for one that cannot be read, which must not keep the others back."""
        try:
            report = read_report(record.body)
        except InvalidInput as error:
            _log.error("kept report lost", authority=self._settings.authority, report=record.id, error=str(error))
            return None
        return Unsent(row=record, report=report, ready_at=_end_of(report) or record.made_at)

    def get(self, key: str) -> ReportRequest | None:
        """Return a request; None when it is not served."""
        return self._requests.get(key)

    def first_unsent(self, key: str) -> Unsent | None:
        """Return the oldest report of a request that is to be sent; None when there is none."""
        queue = self._unsent.get(key)
        return queue[0] if queue else None

    def last_unsent(self, key: str) -> Unsent | None:
        """Return the newest report of a request; None when all are acknowledged."""
        queue = self._unsent.get(key)
        return queue[-1] if queue else None

    def is_full(self, key: str) -> bool:
        """Tell whether as many reports of a request wait as may."""
        return len(self._unsent.get(key, ())) >= MOST_UNSENT

    def unsent_report(self, report: Report, request: ReportRequest, ready_at: datetime) -> Unsent:
        """Return a new report of a request, not kept yet.

        Raises:
            InvalidInput: A text that XML cannot carry.
        """
        row = PendingReport(
            id=f"{request.authority}:{report.report_id}",
            tenant=request.tenant,
            authority=request.authority,
            request=request.id,
            body=report_text(report),
            made_at=self._around.clock.now(),
        )
        return Unsent(row=row, report=report, ready_at=ready_at)

    async def keep(self, *requests: ReportRequest, reports: Sequence[Unsent] = (), action: str = "") -> None:
        """Make requests durable, and with them reports that are made up; only then they count.

        Raises:
            StorageUnavailable: Nothing was written and nothing changed.
        """
        if action:
            await self.flush()
        settled = [self._settled(request, is_waiting=bool(reports)) for request in requests]
        dropped = [row for request in settled for row in self._dropped(request)]
        if not requests and not self._unsaved:
            return
        rows = {row.id: row for row in (*self._unsaved.values(), *dropped, *(report.row for report in reports))}
        await self._around.keep(*(rows | {request.id: request for request in settled}).values(), action=action)
        self._unsaved.clear()
        for row in dropped:
            self._unsent.pop(row.request, None)
        self._requests.update({request.id: request for request in settled})
        for report in reports:
            self._put(report)
        self._drop_finished()

    def _dropped(self, request: ReportRequest) -> list[PendingReport]:
        """Return the reports that nobody wants any longer once a request is kept: it is cancelled, or another under its id."""
        known = self._requests.get(request.id)
        if not request.cancelled and (known is None or known.wish == request.wish):
            return []
        now = self._around.clock.now()
        return [replace(unsent.row, dropped_at=now) for unsent in self._unsent.get(request.id, ())]

    async def give_up(self, unsent: Unsent) -> None:
        """Send a report no more, which the VTN refuses again and again.

        Raises:
            StorageUnavailable: Nothing was written and nothing changed.
        """
        await self._around.keep(
            replace(unsent.row, dropped_at=self._around.clock.now()), action="openadr.report-given-up"
        )
        self._take_off(unsent)
        request = self._requests.get(unsent.row.request)
        if request is not None:
            self._requests[request.id] = self._unsaved[request.id] = self._settled(request)

    def _take_off(self, unsent: Unsent) -> bool:
        queue = self._unsent.get(unsent.row.request, deque())
        is_first = bool(queue) and queue[0].row.id == unsent.row.id
        if is_first:
            queue.popleft()
        return is_first

    def note(self, request: ReportRequest) -> None:
        """Take over a request in memory; it is written with the next that must be."""
        self._requests[request.id] = request

    def acknowledged(self, unsent: Unsent, at: datetime) -> None:
        """Note that the VTN has a report."""
        if not self._take_off(unsent):
            return
        key = unsent.row.request
        self._unsaved[unsent.row.id] = replace(unsent.row, sent_at=at)
        request = self._requests.get(key)
        if request is None:
            return
        until = max(request.reported_until, _end_of(unsent.report) or request.reported_until)
        until = until if request.end is None else min(until, request.end)
        request = self._settled(replace(request, reported_until=until, reached=_explicit(request)))
        self._requests[key] = self._unsaved[key] = request

    async def flush(self) -> None:
        """Write what was acknowledged.

        Raises:
            StorageUnavailable: Nothing was written; it stays noted.
        """
        if self._unsaved:
            await self._around.keep(*self._unsaved.values())
            self._unsaved.clear()
        self._drop_finished()

    def _settled(self, request: ReportRequest, *, is_waiting: bool = False) -> ReportRequest:
        """Return a request of which nothing waits as acknowledged up to where it is made up."""
        if is_waiting or self._unsent.get(request.id) or not request.reached:
            return request
        return replace(request, reported_until=max(request.reported_until, min(request.reached)))

    def _put(self, report: Unsent) -> None:
        queue = self._unsent.setdefault(report.row.request, deque())
        if queue and queue[-1].row.id == report.row.id:
            queue.pop()
        queue.append(report)

    def _drop_finished(self) -> None:
        finished = {key for key, request in self._requests.items() if is_finished(request)}
        finished -= self._unsaved.keys()
        for key in finished:
            del self._requests[key]
            self._unsent.pop(key, None)


def _explicit(request: ReportRequest) -> tuple[datetime, ...]:
    return tuple(progress_of(request).values())


def _end_of(report: Report) -> datetime | None:
    return None if report.start is None else report.start + (report.duration or _NOTHING)
