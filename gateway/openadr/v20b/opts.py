"""EiOpt: schedules of availability and later words on events, told to the VTN until it has taken them, once.

Whoever decides writes an `OptSchedule` row and is done: this module looks for rows that are not settled, tells the VTN, and notes
in the row that it was told. A row that somebody changes while the VTN is being told stays unsettled and is told anew. A schedule
that the VTN refuses, or that was over before it could be told, says so in `refusal` and is left alone.
"""

from dataclasses import replace
from datetime import datetime

from gateway.domain.errors import Conflict, InvalidInput, PeerUnavailable, VoltbridgeError
from gateway.domain.programs import OptSchedule
from gateway.domain.signals import EventStatus, GridEvent
from gateway.observe import logger
from gateway.openadr.backoff import pause_after
from gateway.openadr.v20b.codec import encode
from gateway.openadr.v20b.conversation import Conversation, Declined, NotRegistered, ReregistrationRequested
from gateway.openadr.v20b.names import Code, Service
from gateway.openadr.v20b.surroundings import Surroundings
from gateway.openadr.v20b.wire_opts import CanceledOpt, CancelOpt, CreatedOpt, CreateOpt, OptWindow
from gateway.ports import Stored

_OVER = "was over before it could be told"
_UNKNOWN_TO_VTN = frozenset({Code.INVALID_ID, Code.NOT_RECOGNIZED})
_log = logger("openadr")


class _Unspeakable(Exception):
    """A schedule has something that OpenADR cannot carry; the message says what."""


class OptExchange:
    """Tells the VTN about the opt schedules of its authority."""

    def __init__(self, around: Surroundings, conversation: Conversation) -> None:
        self._around = around
        self._settings = around.settings
        self._conversation = conversation
        self._tries: dict[str, tuple[int, datetime]] = {}
        """By row: how often the VTN did not take it, and when it is tried again."""
        self._unnoted: dict[str, tuple[int, str]] = {}
        """By row: the version that the VTN has answered and what came of it, until that is on disk."""

    async def tell_unsettled(self) -> None:
        """Tell the VTN what it has not taken yet; what fails is tried again later and holds up neither polls nor other rows.

        Raises:
            NotRegistered: The VTN does not know us.
            ReregistrationRequested: The VTN wants us to register again.
            StorageUnavailable: What was told could not be noted; that is tried again without telling the VTN again.
        """
        where: dict[str, str | int] = {"authority": self._settings.authority, "is_settled": False}
        rows = await self._around.store.find(OptSchedule, self._settings.tenant, where)
        self._tries = {row.record.id: self._tries[row.record.id] for row in rows if row.record.id in self._tries}
        for row in rows:
            if self._is_waiting(row.record.id):
                continue
            try:
                await self._settle(row)
            except (NotRegistered, ReregistrationRequested):
                raise
            except (PeerUnavailable, InvalidInput) as error:
                self._postpone(row.record.id, error)
                return

    def _is_waiting(self, key: str) -> bool:
        return key in self._tries and self._around.clock.now() < self._tries[key][1]

    def _postpone(self, key: str, error: VoltbridgeError) -> None:
        count = self._tries.get(key, (0, None))[0] + 1
        self._tries[key] = (count, self._around.clock.now() + pause_after(count, self._settings))
        _log.warning("opt not told", authority=self._settings.authority, opt=key, error=str(error))

    async def _settle(self, row: Stored[OptSchedule]) -> None:
        schedule = row.record
        version, refusal = self._unnoted.get(schedule.id, (0, ""))
        if version == row.version:
            await self._note(row, refusal=refusal)
            return
        if schedule.cancelled_at is None and await self._is_over(schedule):
            await self._note(row, refusal=_OVER)
            return
        refusal = ""
        try:
            await (self._create(schedule) if schedule.cancelled_at is None else self._cancel(schedule))
        except Declined as error:
            if error.code not in Code.REQUESTER_ERRORS:
                raise
            refusal = f"the VTN answered {error.code}"
        except _Unspeakable as error:
            refusal = f"cannot be said: {error}"
        self._unnoted[schedule.id] = (row.version, refusal)
        await self._note(row, refusal=refusal)

    async def _is_over(self, schedule: OptSchedule) -> bool:
        now = self._around.clock.now()
        if not schedule.event_id:
            return all(window.end is not None and window.end <= now for window in schedule.windows)
        key = f"{self._settings.authority}:{schedule.event_id}"
        event = await self._around.store.get(GridEvent, self._settings.tenant, key)
        return event is None or event.record.status(now) in {EventStatus.COMPLETED, EventStatus.CANCELLED}

    async def _create(self, schedule: OptSchedule) -> None:
        message = _message_of(schedule, self._conversation.new_request_id(), self._conversation.ven_id)
        try:
            encode(message)
        except InvalidInput as error:
            raise _Unspeakable(error.problem) from error
        heard = await self._conversation.ask_for(Service.OPT, message, CreatedOpt)
        if heard.message.opt_id != schedule.opt_id:
            raise PeerUnavailable("the VTN speaks of another opt")

    async def _cancel(self, schedule: OptSchedule) -> None:
        """Withdraw a schedule; one that the VTN does not know is withdrawn already."""
        message = CancelOpt(
            request_id=self._conversation.new_request_id(),
            opt_id=schedule.opt_id,
            ven_id=self._conversation.ven_id,
        )
        try:
            await self._conversation.ask_for(Service.OPT, message, CanceledOpt)
        except Declined as error:
            if error.code not in _UNKNOWN_TO_VTN:
                raise

    async def _note(self, row: Stored[OptSchedule], *, refusal: str) -> None:
        schedule = row.record
        told_at = None if refusal else self._around.clock.now()
        action = "openadr.opt-refused" if refusal else "openadr.opt-told"
        try:
            await self._around.keep(
                replace(schedule, told_at=told_at, refusal=refusal),
                action=action,
                detail={"opt": schedule.opt.value, "refusal": refusal},
                expected_version=row.version,
            )
        except Conflict:
            _log.info("opt changed meanwhile", authority=self._settings.authority, opt=schedule.id)
        self._unnoted.pop(schedule.id, None)

    async def tell_all_again(self) -> None:
        """After a registration with new ids the VTN knows nothing any more: what still matters is told again.

        Raises:
            StorageUnavailable: Not noted; call again.
        """
        where: dict[str, str | int] = {"authority": self._settings.authority, "is_settled": True}
        for row in await self._around.store.find(OptSchedule, self._settings.tenant, where):
            schedule = row.record
            if schedule.told_at is None or schedule.cancelled_at is not None or await self._is_over(schedule):
                continue
            try:
                await self._around.keep(replace(schedule, told_at=None), expected_version=row.version)
            except Conflict:
                _log.info("opt changed meanwhile", authority=self._settings.authority, opt=schedule.id)


def _message_of(schedule: OptSchedule, request_id: str, ven_id: str) -> CreateOpt:
    return CreateOpt(
        request_id=request_id,
        opt_id=schedule.opt_id,
        opt=schedule.opt.value,
        reason=schedule.reason,
        market_context=schedule.market_context,
        ven_id=ven_id,
        windows=tuple(
            OptWindow(start=window.start, duration=window.end - window.start)
            for window in schedule.windows
            if window.end is not None
        ),
        created=schedule.created_at,
        event_id=schedule.event_id,
        modification=schedule.modification,
        resources=schedule.resources,
    )
