"""Reports: what we offer, what the VTN asked for, and measured power delivered without loss or repeat.

Readings are not queued: they are in the store anyway. A request remembers how far the VTN has acknowledged it and everything
after that is sent when it is due, however long the VTN was away. It moves on only when the VTN has said `oadrUpdatedReport`.
"""

import functools
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from gateway.domain.errors import InvalidInput, NotFound, PeerUnavailable, Unavailable
from gateway.domain.signals import ReportRequest, UsageReading
from gateway.domain.timegrid import TimeGrid
from gateway.observe import logger
from gateway.openadr.v20b.codec_reports import POWER_REAL_KW
from gateway.openadr.v20b.conversation import Conversation, Declined, NotRegistered, ReregistrationRequested
from gateway.openadr.v20b.literals import format_instant
from gateway.openadr.v20b.names import Code, Service
from gateway.openadr.v20b.report_requests import (
    METADATA_SPECIFIER,
    USAGE_SPECIFIER,
    Problem,
    accept,
    carry_on,
    is_repetition,
    pending,
    record_id,
)
from gateway.openadr.v20b.report_schedule import due_at, floor_to, is_finished, ready_grids
from gateway.openadr.v20b.surroundings import Surroundings
from gateway.openadr.v20b.wire import OadrResponse
from gateway.openadr.v20b.wire_parts import Response
from gateway.openadr.v20b.wire_reports import (
    CanceledReport,
    CancelReport,
    CreatedReport,
    CreateReport,
    RegisteredReport,
    RegisterReport,
    Report,
    ReportDescription,
    ReportInterval,
    UpdatedReport,
    UpdateReport,
    WireReportRequest,
)

USAGE_NAME = "TELEMETRY_USAGE"
MOST_VALUES = 1_000
"""Values in one update; a longer backlog goes out in several."""
NEVER = datetime.max.replace(tzinfo=UTC)
_GOOD = "Quality Good - Non Specific"
_UNCERTAIN = "Quality Uncertain - Sub Normal"
_GOOD_COVERAGE = 0.95
_SECOND = timedelta(seconds=1)
_WHOLE_PERCENT = 100

Readings = Mapping[str, Sequence[UsageReading] | None]
"""Readings by data point, one per slot; None for a point that has none to give."""
_log = logger("openadr")


class ReportEngine:
    """Offers, accepts and delivers the reports of one VEN."""

    def __init__(self, around: Surroundings, conversation: Conversation) -> None:
        self._around = around
        self._settings = around.settings
        self._conversation = conversation
        self._requests: dict[str, ReportRequest] = {}
        self._unsaved: set[str] = set()
        self._retry_at: dict[str, datetime] = {}
        self._offer_at = NEVER

    async def load(self) -> None:
        """Take up the requests of an earlier run."""
        rows = await self._around.store.find(
            ReportRequest, self._settings.tenant, {"authority": self._settings.authority}
        )
        self._requests = {row.record.id: row.record for row in rows if not is_finished(row.record)}

    def registered(self) -> None:
        """After a registration: our METADATA is to be offered again."""
        self._offer_at = self._around.clock.now() if self._settings.report_points else NEVER

    @property
    def pending_count(self) -> int:
        """How many report requests are still served."""
        return len(self._requests)

    def next_due(self) -> datetime:
        """Return when `send_due` next has something to do."""
        dues = [max(due, self._retry_at.get(key, due)) for key, due in self._dues()]
        return min([self._offer_at, *dues])

    def _dues(self) -> list[tuple[str, datetime]]:
        found = [(key, due_at(request)) for key, request in self._requests.items()]
        return [(key, due) for key, due in found if due is not None]

    async def send_due(self) -> None:
        """Offer METADATA if that is to be done, then send one update of every request that is due.

        What fails is tried again later and harms neither the other reports nor the poll.

        Raises:
            NotRegistered: The VTN does not know us.
            ReregistrationRequested: The VTN wants us to register again.
        """
        now = self._around.clock.now()
        if now >= self._offer_at:
            is_done = await self._attempt("metadata", self._offer)
            self._offer_at = NEVER if is_done else now + self._settings.longest_backoff
        for key, due in self._dues():
            is_waiting = now < max(due, self._retry_at.get(key, due))
            if is_waiting or key not in self._requests:  # an answer to another update may have ended it
                continue
            if await self._attempt(key, functools.partial(self._update, key)):
                self._retry_at.pop(key, None)
            else:
                self._retry_at[key] = now + self._settings.first_backoff
        if self._unsaved:
            await self._attempt("progress", functools.partial(self._save, ()))

    async def _attempt(self, what: str, action: Callable[[], Awaitable[bool]]) -> bool:
        try:
            return await action()
        except (NotRegistered, ReregistrationRequested):
            raise
        except (Unavailable, InvalidInput) as error:
            _log.warning("report not sent", authority=self._settings.authority, what=what, error=str(error))
            return False

    async def _offer(self) -> bool:
        await self._send_metadata(None)
        return True

    async def _send_metadata(self, report_request_id: str | None) -> None:
        now = self._around.clock.now()
        report = Report(
            report_id=None,
            request_id=report_request_id or "0",
            specifier_id=USAGE_SPECIFIER,
            name=f"METADATA_{USAGE_NAME}",
            created=now,
            duration=self._settings.max_sampling,
            descriptions=tuple(
                ReportDescription(
                    r_id=point.r_id,
                    resource_id=point.resource_id,
                    report_type="usage",
                    reading_type="Mean",
                    unit=POWER_REAL_KW,
                    market_context=self._settings.market_contexts[0],
                    min_period=self._settings.min_sampling,
                    max_period=self._settings.max_sampling,
                )
                for point in self._settings.report_points
            ),
        )
        message = RegisterReport(
            request_id=self._conversation.new_request_id(),
            reports=(report,),
            ven_id=self._conversation.ven_id,
            report_request_id=report_request_id,
        )
        heard = await self._conversation.ask_for(Service.REPORT, message, RegisteredReport)
        if heard.message.requests:
            await self._replace(heard.message)

    async def _replace(self, message: RegisteredReport) -> None:
        """Serve what the VTN asks for in answer to METADATA in place of what it asked for before."""
        old = [request for request in self._requests.values() if not is_finished(request)]
        wished = {record_id(self._settings.authority, wish.request_id): wish for wish in message.requests}
        problem, accepted = self._judge(message.requests)
        moved = [
            carry_on(request, old) if request.id not in self._requests and wished[request.id].start is None else request
            for request in accepted
        ]
        replaced = [replace(request, cancelled=True) for request in old if request.id not in wished]
        await self._save((*moved, *replaced), action="openadr.report-requested")
        await self._tell_created(problem, message.response.request_id)

    async def create(self, message: CreateReport) -> None:
        """Take up the VTN's wishes for reports, once they are on disk say so.

        Raises:
            StorageUnavailable: Nothing was kept and nothing answered.
            PeerUnavailable: All is kept, but the VTN may not know.
        """
        metadata = [wish for wish in message.requests if wish.specifier_id == METADATA_SPECIFIER]
        problem, accepted = self._judge([wish for wish in message.requests if wish not in metadata])
        await self._save(accepted, action="openadr.report-requested")
        await self._tell_created(problem, message.request_id)
        for wish in metadata:
            await self._send_metadata(wish.request_id)

    def _judge(self, wishes: Sequence[WireReportRequest]) -> tuple[Problem | None, list[ReportRequest]]:
        """Return the first problem, if any, and what is accepted; a wish that came before keeps its progress."""
        problem: Problem | None = None
        accepted: list[ReportRequest] = []
        for wish in wishes:
            verdict = accept(wish, self._settings, self._around.clock.now())
            if isinstance(verdict, Problem):
                problem = problem or verdict
                _log.warning("report refused", authority=self._settings.authority, problem=verdict.description)
                continue
            known = self._requests.get(verdict.id)
            accepted.append(known if known is not None and is_repetition(wish, verdict, known) else verdict)
        return problem, accepted

    async def _tell_created(self, problem: Problem | None, request_id: str) -> None:
        code, text = (Code.OK, "OK") if problem is None else (problem.code, problem.description)
        message = CreatedReport(
            response=Response(code=code, description=text, request_id=request_id),
            pending=pending(self._requests),
            ven_id=self._conversation.ven_id,
        )
        await self._conversation.tell(Service.REPORT, message)

    async def cancel(self, message: CancelReport) -> None:
        """End reports; with `reportToFollow` each after one last update up to now.

        Raises:
            StorageUnavailable: Nothing was kept and nothing answered.
            PeerUnavailable: All is kept, but the VTN may not know.
        """
        keys = [record_id(self._settings.authority, request_id) for request_id in message.report_request_ids]
        known = [self._requests[key] for key in keys if key in self._requests]
        now = floor_to(self._around.clock.now(), _SECOND)
        ended = [_ended(request, now, to_follow=message.to_follow) for request in known]
        await self._save(ended, action="openadr.report-cancelled")
        response = Response(code=Code.OK, description="OK", request_id=message.request_id)
        if len(known) < len(keys):
            response = replace(response, code=Code.INVALID_ID, description="no such report request")
        message_out = CanceledReport(
            response=response, pending=pending(self._requests), ven_id=self._conversation.ven_id
        )
        await self._conversation.tell(Service.REPORT, message_out)

    async def _update(self, key: str) -> bool:
        """Send one update of a request; tell whether it got any further."""
        request = self._requests[key]
        now = self._around.clock.now()
        most = max(1, MOST_VALUES // len(request.r_ids))
        series = [(grid, await self._readings(request, grid)) for grid in ready_grids(request, now, most)]
        until, intervals = sendable(series, now - self._settings.report_patience)
        if until is None:
            return False
        cancel = await self._send(request, intervals, until) if intervals else None
        self._note(replace(request, reported_until=until))
        if cancel is None:
            return await self._save(())
        await self.cancel(cancel)
        return True

    async def _readings(self, request: ReportRequest, grid: TimeGrid) -> Readings:
        """Return the readings of each data point; one that has none to give (no such node) harms no other."""
        nodes = {point.r_id: point.node for point in self._settings.report_points}
        found: dict[str, Sequence[UsageReading] | None] = {}
        for r_id in request.r_ids:
            try:
                found[r_id] = await self._around.usage_desk.usage(self._around.principal, nodes.get(r_id, r_id), grid)
            except (NotFound, InvalidInput) as error:
                _log.warning("no readings", authority=self._settings.authority, r_id=r_id, error=str(error))
                found[r_id] = None
        return found

    async def _send(
        self, request: ReportRequest, intervals: tuple[ReportInterval, ...], until: datetime
    ) -> CancelReport | None:
        """Send values and return once the VTN has acknowledged them, with the cancel that came along.

        Raises:
            PeerUnavailable: Not acknowledged; the same values go out again.
        """
        start = request.reported_until
        report = Report(
            report_id=f"{request.report_request_id}/{format_instant(start)}",
            request_id=request.report_request_id,
            specifier_id=request.report_specifier_id,
            name=USAGE_NAME,
            created=self._around.clock.now(),
            start=start,
            duration=until - start,
            intervals=intervals,
        )
        message = UpdateReport(
            request_id=self._conversation.new_request_id(), reports=(report,), ven_id=self._conversation.ven_id
        )
        heard = await self._conversation.ask(Service.REPORT, message)
        answer = None if heard is None else heard.message
        if not isinstance(answer, UpdatedReport | OadrResponse):
            raise PeerUnavailable("the VTN did not acknowledge the update")
        if answer.response.code == Code.INVALID_ID:
            await self._save([replace(request, cancelled=True)], action="openadr.report-unknown-to-vtn")
        if not answer.response.is_ok:
            raise Declined("UpdateReport", answer.response)
        return answer.cancel if isinstance(answer, UpdatedReport) else None

    def _note(self, request: ReportRequest) -> None:
        """Take over a request in memory, to be saved with the next write at the latest."""
        self._requests[request.id] = request
        self._unsaved.add(request.id)

    async def _save(self, requests: Sequence[ReportRequest], action: str = "") -> bool:
        """Make requests durable together with what was not yet; only then they count."""
        latest = {key: self._requests[key] for key in self._unsaved} | {request.id: request for request in requests}
        if latest:
            await self._around.keep(*latest.values(), action=action)
        self._requests.update(latest)
        self._requests = {key: request for key, request in self._requests.items() if not is_finished(request)}
        self._retry_at = {key: at for key, at in self._retry_at.items() if key in self._requests}
        self._unsaved.clear()
        return True


def _ended(request: ReportRequest, now: datetime, *, to_follow: bool) -> ReportRequest:
    """Return a request that the VTN ends: at once, or after what has been measured up to now."""
    if not to_follow or now <= request.reported_until:
        return replace(request, cancelled=True)
    return replace(request, end=now if request.end is None else min(now, request.end))


def sendable(
    series: Sequence[tuple[TimeGrid, Readings]], patient_until: datetime
) -> tuple[datetime | None, tuple[ReportInterval, ...]]:
    """Return how far the readings reach and the values up to there.

    Args:
        series: Grids that follow one another, each with its readings.
        patient_until: A slot that ends after this instant and lacks a reading is waited for; in an older one what is missing is
            left out, because unknown is never zero.

    Returns:
        The end of the last slot covered, None when not even the first can be sent, and the values.
    """
    until: datetime | None = None
    values: list[ReportInterval] = []
    for grid, readings in series:
        for index in range(grid.count):
            slot_end = grid.slot_start(index) + grid.step
            known = [_value(r_id, grid, index, given) for r_id, given in readings.items() if given is not None]
            if None in known and slot_end > patient_until:
                return until, tuple(values)
            values += [value for value in known if value is not None]
            until = slot_end
    return until, tuple(values)


def _value(r_id: str, grid: TimeGrid, index: int, given: Sequence[UsageReading]) -> ReportInterval | None:
    reading = given[index] if index < len(given) else None
    if reading is None or reading.power_kw is None or not math.isfinite(reading.power_kw):
        return None
    return ReportInterval(
        start=grid.slot_start(index),
        duration=grid.step,
        r_id=r_id,
        value=reading.power_kw,
        confidence=min(_WHOLE_PERCENT, max(0, round(reading.coverage * _WHOLE_PERCENT))),
        quality=_GOOD if reading.coverage >= _GOOD_COVERAGE else _UNCERTAIN,
    )
