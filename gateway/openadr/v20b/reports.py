"""Reports: what we offer, what the VTN asked for, and its delivery without loss or repeat.

```
 CreateReport ──> accept ──> request (disk) ──> CreatedReport
                                │ due
                                v
                 made up: report (disk), request moves on ──> UpdateReport ──> UpdatedReport ──> acknowledged (disk)
                                                               └── no answer: the very same report again
```
"""

import functools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from gateway.domain.errors import InvalidInput, PeerUnavailable, Unavailable
from gateway.domain.signals import ReportRequest
from gateway.observe import logger
from gateway.openadr.backoff import pause_after
from gateway.openadr.v20b.conversation import Conversation, Declined, NotRegistered, ReregistrationRequested
from gateway.openadr.v20b.names import Code, Service
from gateway.openadr.v20b.report_book import ReportBook, Unsent
from gateway.openadr.v20b.report_catalogue import ReportKind, metadata_of
from gateway.openadr.v20b.report_making import ReportMaker
from gateway.openadr.v20b.report_requests import (
    Problem,
    accept,
    carry_on,
    is_repetition,
    pending,
    record_id,
    replaces,
)
from gateway.openadr.v20b.report_schedule import concluded, due_at, is_finished, next_metadata
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
    UpdatedReport,
    UpdateReport,
    WireReportRequest,
)
from gateway.wakeup import WakeUp

NEVER = datetime.max.replace(tzinfo=UTC)
MOST_REQUESTS = 1_000
"""Report requests of one VTN that are served at a time."""
MOST_REFUSALS = 20
"""After so many refusals of one report in a row it is given up, so that those after it are told."""
_FOREIGN = "not our venID"
_CLIENT_ERRORS = range(400, 500)
_log = logger("openadr")


class ReportEngine:
    """Offers, accepts and delivers the reports of one VEN."""

    def __init__(self, around: Surroundings, conversation: Conversation) -> None:
        self._around = around
        self._settings = around.settings
        self._conversation = conversation
        self._book = ReportBook(around)
        self._maker = ReportMaker(around, self._book)
        self._failures: dict[str, int] = {}
        self._retry_at: dict[str, datetime] = {}
        self._offer_at = NEVER
        self._is_loaded = False
        self._made_wake = WakeUp(around.clock)
        self.on_made: Callable[[], None] = _nobody_waits
        """Called when reports may have been made up."""
        self.is_wanted: Callable[[], bool] = _always
        """Says whether the VTN still wants reports: not while a registration has been ended by either side."""

    async def load(self) -> None:
        """Take up the requests and reports of an earlier run."""
        await self._book.load()
        self._is_loaded = True
        self._made_wake.ring()

    def registered(self) -> None:
        """After a registration: our METADATA is to be offered again."""
        self._offer_at = self._around.clock.now() if self._settings.report_points else NEVER
        self._made_wake.ring()

    @property
    def pending_count(self) -> int:
        """How many report requests are still served."""
        return len(self._book.requests)

    # ------------------------------------------------------------ what is due

    async def keep_making(self) -> None:
        """Make reports up as they come due, whether the VTN can be reached or not, until cancelled."""
        while True:
            due = self._maker.next_due() if self._is_on else None
            await self._made_wake.wait(NEVER if due is None else due)
            if self._is_on:
                await self._maker.make_due()
                self.on_made()

    @property
    def _is_on(self) -> bool:
        return self._is_loaded and self.is_wanted()

    def next_due(self) -> datetime:
        """Return when `send_due` next has something to do, unless something is made up before (`on_made`)."""
        return min([self._offer_at, *(due for _, due in self._dues())])

    def _dues(self) -> list[tuple[str, datetime]]:
        """Return when there is something to send for each request; what waits for a retry waits on."""
        found = []
        for key, request in self._book.requests.items():
            unsent = self._book.first_unsent(key)
            due = None if unsent is None else unsent.ready_at
            if request.kind == ReportKind.METADATA:
                due = due_at(request)
            if due is not None:
                found.append((key, max(due, self._retry_at.get(key, due))))
        return found

    async def send_due(self) -> None:
        """Offer METADATA if that is to be done, then send one report of every request that has one.

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
            request = self._book.get(key)
            if due > now or request is None:  # an answer to another report may have ended it
                continue
            send = self._give_metadata if request.kind == ReportKind.METADATA else self._send
            self._take_turn(key, now, is_done=await self._attempt(key, functools.partial(send, key)))
        if self._book.has_unsaved:
            await self._attempt("progress", self._flush)

    def _take_turn(self, key: str, now: datetime, *, is_done: bool) -> None:
        """Note when a request may be tried next: at once after a success, ever later after failures."""
        if is_done:
            self._failures.pop(key, None)
            self._retry_at.pop(key, None)
            return
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        self._retry_at[key] = now + pause_after(failures, self._settings)

    async def _attempt(self, what: str, action: Callable[[], Awaitable[bool]]) -> bool:
        try:
            return await action()
        except (NotRegistered, ReregistrationRequested):
            raise
        except (Unavailable, InvalidInput) as error:
            _log.warning("report not sent", authority=self._settings.authority, what=what, error=str(error))
            return False

    async def _flush(self) -> bool:
        async with self._book.lock:
            await self._book.flush()
        return True

    # ------------------------------------------------------------ METADATA

    async def _offer(self) -> bool:
        await self._replace(await self._register(None))
        return True

    async def _give_metadata(self, key: str) -> bool:
        """Give METADATA that was asked for; what the VTN asks for in return is served beside what it asked for before."""
        request = self._book.requests[key]
        answer = await self._register(request.report_request_id)
        async with self._book.lock:
            latest = self._book.get(key)
            if latest is not None:
                until = next_metadata(latest, self._around.clock.now())
                await self._book.keep(replace(latest, reported_until=until))
        if answer.requests:
            await self._serve(answer, replaces)
        return True

    async def _register(self, report_request_id: str | None) -> RegisteredReport:
        message = RegisterReport(
            request_id=self._conversation.new_request_id(),
            reports=metadata_of(self._settings, self._around.clock.now(), report_request_id),
            ven_id=self._conversation.ven_id,
            report_request_id=report_request_id,
        )
        return (await self._conversation.ask_for(Service.REPORT, message, RegisteredReport)).message

    async def _replace(self, answer: RegisteredReport) -> None:
        """Serve what the VTN asks for in answer to our offer in place of the data it asked for before."""
        if answer.requests:
            await self._serve(answer, lambda _, old: old.kind != ReportKind.METADATA)

    async def _serve(
        self, answer: RegisteredReport, is_replaced: Callable[[ReportRequest, ReportRequest], bool]
    ) -> None:
        wished = {record_id(self._settings.authority, wish.request_id): wish for wish in answer.requests}
        async with self._book.lock:
            old = [request for request in self._book.requests.values() if not is_finished(request)]
            problem, accepted = self._judge(answer.requests)
            moved = [
                carry_on(new, old) if self._book.get(new.id) is None and wished[new.id].start is None else new
                for new in accepted
            ]
            replaced = [
                replace(one, cancelled=True)
                for one in old
                if one.id not in wished and any(is_replaced(new, one) for new in accepted)
            ]
            await self._book.keep(*moved, *replaced, action="openadr.report-requested")
        self._made_wake.ring()
        await self._tell_created(problem, answer.response.request_id)

    # ------------------------------------------------------------ requests

    async def create(self, message: CreateReport) -> None:
        """Take up the VTN's wishes for reports, once they are on disk say so.

        Raises:
            StorageUnavailable: Nothing was kept and nothing answered.
            PeerUnavailable: All is kept, but the VTN may not know.
        """
        if self._is_for_another(message.ven_id):
            await self._tell_created(Problem(code=Code.INVALID_ID, description=_FOREIGN), message.request_id)
            return
        async with self._book.lock:
            problem, accepted = self._judge(message.requests)
            await self._book.keep(*accepted, action="openadr.report-requested")
        self._made_wake.ring()
        await self._tell_created(problem, message.request_id)

    def _is_for_another(self, ven_id: str | None) -> bool:
        """A venID is optional in these messages; one that is not ours is refused (conformance rule 21)."""
        return ven_id not in {None, self._conversation.ven_id}

    def _judge(self, wishes: Sequence[WireReportRequest]) -> tuple[Problem | None, list[ReportRequest]]:
        """Return the first problem, if any, and what is accepted; a wish that came before keeps its progress."""
        problem: Problem | None = None
        accepted: dict[str, ReportRequest] = {}
        for wish in wishes:
            verdict = self._verdict(wish, len(accepted))
            if isinstance(verdict, Problem):
                problem = problem or replace(verdict, description=f"{wish.request_id}: {verdict.description}")
                _log.warning("report refused", authority=self._settings.authority, problem=verdict.description)
                continue
            known = self._book.get(verdict.id)
            accepted[verdict.id] = known if known is not None and is_repetition(verdict, known) else verdict
        return problem, list(accepted.values())

    def _verdict(self, wish: WireReportRequest, others: int) -> ReportRequest | Problem:
        key = record_id(self._settings.authority, wish.request_id)
        if self._book.get(key) is None and len(self._book.requests) + others >= MOST_REQUESTS:
            return Problem(code=Code.NOT_ALLOWED, description="too many reports are asked for already")
        return accept(wish, self._settings, self._around.clock.now())

    async def _tell_created(self, problem: Problem | None, request_id: str) -> None:
        message = CreatedReport(
            response=_response(problem, request_id),
            pending=pending(self._book.requests),
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
        if self._is_for_another(message.ven_id):
            await self._tell_canceled(Problem(code=Code.INVALID_ID, description=_FOREIGN), message.request_id)
            return
        async with self._book.lock:
            known = [request for key in dict.fromkeys(keys) if (request := self._book.get(key)) is not None]
            ended = [_ended(request, self._around.clock.now(), to_follow=message.to_follow) for request in known]
            await self._book.keep(*ended, action="openadr.report-cancelled")
        self._made_wake.ring()
        is_known = all([await self._was_asked_for(key) for key in set(keys) - {request.id for request in known}])
        problem = None if is_known else Problem(code=Code.INVALID_ID, description="no such report request")
        await self._tell_canceled(problem, message.request_id, keys)

    async def _was_asked_for(self, key: str) -> bool:
        """Tell whether a request that is served no longer ever was: ending it once more is no error."""
        return await self._around.store.get(ReportRequest, self._settings.tenant, key) is not None

    async def _tell_canceled(self, problem: Problem | None, request_id: str, ended: Sequence[str] = ()) -> None:
        left = {key: request for key, request in self._book.requests.items() if key not in ended}
        message = CanceledReport(
            response=_response(problem, request_id), pending=pending(left), ven_id=self._conversation.ven_id
        )
        await self._conversation.tell(Service.REPORT, message)

    # ------------------------------------------------------------ delivery

    async def _send(self, key: str) -> bool:
        """Send the oldest report of a request; return once its acknowledgement is noted.

        Raises:
            PeerUnavailable: Not acknowledged; the same report goes out again.
        """
        unsent = self._book.first_unsent(key)
        if unsent is None:
            return True
        message = UpdateReport(
            request_id=self._conversation.new_request_id(), reports=(unsent.report,), ven_id=self._conversation.ven_id
        )
        heard = await self._conversation.ask(Service.REPORT, message)
        answer = None if heard is None else heard.message
        if not isinstance(answer, UpdatedReport | OadrResponse):
            raise PeerUnavailable("the VTN did not acknowledge the update")
        if not answer.response.is_ok:
            await self._take_refusal(unsent, answer.response)
        async with self._book.lock:
            self._book.acknowledged(unsent, self._around.clock.now())
            self._made_wake.ring()  # there is room for more
            await self._book.flush()
        cancel = answer.cancel if isinstance(answer, UpdatedReport) else None
        if cancel is not None:
            await self.cancel(cancel)
        return True

    async def _take_refusal(self, unsent: Unsent, response: Response) -> None:
        """Let go of a request that the VTN has forgotten, and of a report that it will not have; then raise."""
        key = unsent.row.request
        async with self._book.lock:
            request = self._book.get(key)
            if response.code == Code.INVALID_ID and request is not None:
                await self._book.keep(replace(request, cancelled=True), action="openadr.report-unknown-to-vtn")
            elif response.code in _CLIENT_ERRORS and self._failures.get(key, 0) + 1 >= MOST_REFUSALS:
                _log.error("report given up", authority=self._settings.authority, report=unsent.row.id)
                await self._book.give_up(unsent)
        raise Declined("UpdateReport", response)


def _response(problem: Problem | None, request_id: str) -> Response:
    code, text = (Code.OK, "OK") if problem is None else (problem.code, problem.description)
    return Response(code=code, description=text, request_id=request_id)


def _nobody_waits() -> None:
    """Stand in for a VEN that does not sleep."""


def _always() -> bool:
    """Stand in for a VEN that never ends its registration."""
    return True


def _ended(request: ReportRequest, now: datetime, *, to_follow: bool) -> ReportRequest:
    """Return a request that the VTN ends: at once, or after what is known up to now."""
    if not to_follow or request.kind == ReportKind.METADATA:
        return replace(request, cancelled=True)
    return concluded(request, now)
