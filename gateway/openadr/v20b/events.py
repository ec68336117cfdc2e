"""Events: each one translated on its own, all of them made durable by the signal desk, then answered."""

import asyncio
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from gateway.domain.programs import OptSchedule
from gateway.domain.signals import EventAnswer, GridEvent, OptType, RawSignal
from gateway.observe import logger
from gateway.openadr.v20b.conversation import Conversation, Declined, Heard
from gateway.openadr.v20b.names import Code, Service
from gateway.openadr.v20b.profile_view import ProfileDoor
from gateway.openadr.v20b.refusal import EventRefused
from gateway.openadr.v20b.rejection import TOO_MUCH, MessageRejected
from gateway.openadr.v20b.settings import LaterWord
from gateway.openadr.v20b.surroundings import Surroundings
from gateway.openadr.v20b.translate import PROTOCOL, Programme, Receipt, needs_history, record_id, translate
from gateway.openadr.v20b.wire import OadrResponse
from gateway.openadr.v20b.wire_events import (
    BrokenEvent,
    CreatedEvent,
    DistributeEvent,
    EventResponse,
    RequestEvent,
    WireEvent,
)
from gateway.openadr.v20b.wire_parts import Response
from gateway.ports import Batch, Put, ReceivedEvents

CHANGED_OPT_TOPIC = "openadr-opt"
"""Outbox topic under which the signal desk leaves answers that a person has changed."""
_BREATHE_EVERY = 50
"""After so many events the event loop gets its turn."""
_log = logger("openadr")

_OBSOLETE = EventRefused(Code.OUT_OF_SEQUENCE, "the same message has a newer modification")
_Key = tuple[str, int]
_Sent = WireEvent | BrokenEvent


class EventExchange:
    """Takes what the VTN distributes and answers it."""

    def __init__(self, around: Surroundings, conversation: Conversation) -> None:
        self._around = around
        self._settings = around.settings
        self._conversation = conversation
        self._door = ProfileDoor(around, around.gate)

    async def request_all(self) -> None:
        """Ask for every event there is, take and answer them: after a start, and when something may have been missed.

        Raises:
            PeerUnavailable: The VTN does not answer or answers with an error.
            StorageUnavailable: Nothing was kept and nothing answered.
        """
        request = RequestEvent(request_id=self._conversation.new_request_id(), ven_id=self._conversation.ven_id)
        try:
            heard = await self._conversation.ask(Service.EVENT, request)
        except MessageRejected as error:
            await self.decline(error)
            raise
        if heard is None:
            return
        message = heard.message
        if isinstance(message, DistributeEvent):
            await self.take(Heard(message=message, body=heard.body))
        elif isinstance(message, OadrResponse) and not message.response.is_ok:
            raise Declined("RequestEvent", message.response)

    async def decline(self, error: MessageRejected) -> bool:
        """Answer a message that has more than we take with an error as a whole; tell whether it was one.

        Raises:
            PeerUnavailable: The VTN may not have our answer.
        """
        if error.why not in TOO_MUCH:
            return False
        _log.warning("more events than we take", authority=self._settings.authority, problem=error.problem)
        await self._answer((), Response(code=Code.OTHER, description=f"the message {error.problem}"))
        return True

    async def take(self, heard: Heard[DistributeEvent]) -> None:
        """Make the events of one message durable and answer those that want an answer.

        A message with an error code lists nothing, so that it cancels nothing. A message of another VTN is answered 452.

        Raises:
            StorageUnavailable: Nothing was kept and nothing answered.
            PeerUnavailable: All is kept, but the VTN may not have our answer.
        """
        message = heard.message
        if message.response is not None and not message.response.is_ok:
            raise Declined("RequestEvent", message.response)
        known = self._conversation.registration
        expected = self._settings.vtn_id or ("" if known is None else known.vtn_id)
        if message.vtn_id != expected:
            _log.warning("events of another VTN", authority=self._settings.authority)
            await self._answer((), Response(code=Code.INVALID_ID, description="not our VTN"))
            return
        receipt = Receipt(raw_signal=self._around.ids.new("signal"), received_at=self._around.clock.now())
        events, rejected = await self._translate(message.events, receipt)
        raw = RawSignal(
            id=receipt.raw_signal,
            tenant=self._settings.tenant,
            authority=self._settings.authority,
            protocol=PROTOCOL,
            received_at=receipt.received_at,
            sha256=hashlib.sha256(heard.body).hexdigest(),
            body=heard.body,
        )
        answers = await self._around.signal_desk.receive(
            self._around.principal,
            ReceivedEvents(raw=raw, events=tuple(events), rejected=tuple(rejected), complete=True),
        )
        responses = _responses(message, [*rejected, *answers])
        if responses:
            await self._answer(responses, Response(code=Code.OK, description="OK"))

    async def tell_changed_opts(self) -> None:
        """Tell the VTN about answers that a person has changed, each once it has not been told yet.

        An event that is over is not told about any more. What is told is settled only after the VTN has taken it.

        Raises:
            PeerUnavailable: The VTN does not answer; the rest is told with the next poll.
            StorageUnavailable: What was told could not be noted; it is told again, which is harmless.
        """
        now = self._around.clock.now()
        for item in await self._around.store.due_outbox(CHANGED_OPT_TOPIC, now):
            if item.tenant != self._settings.tenant or not item.key.startswith(f"{self._settings.authority}:"):
                continue
            stored = await self._around.store.get(GridEvent, self._settings.tenant, item.key)
            opts: tuple[OptSchedule, ...] = ()
            note = "told"
            if item.expires_at is not None and item.expires_at <= now:
                note = "the event was over"
            elif stored is None or stored.record.opt is None:
                note = "there is no answer to tell"
            elif self._settings.later_word is LaterWord.OPT:
                opts, note = (_word(stored.record, stored.record.opt, item.id, now),), "told by EiOpt"
            else:
                await self._tell_opt(stored.record, stored.record.opt)
            settled = replace(item, settled_at=now, note=note)
            puts = tuple(Put(record=opt) for opt in opts)
            await self._around.store.apply(Batch(tenant=item.tenant, puts=puts, outbox=(settled,)))

    async def _tell_opt(self, event: GridEvent, opt: OptType) -> None:
        response = EventResponse(
            code=Code.OK,
            description=event.opt_reason,
            request_id=self._conversation.new_request_id(),
            event_id=event.event_id,
            modification=event.modification,
            opt=opt.value,
        )
        await self._answer((response,), Response(code=Code.OK, description="OK"))

    async def _translate(self, events: Sequence[_Sent], receipt: Receipt) -> tuple[list[GridEvent], list[EventAnswer]]:
        programme = Programme(
            authority=self._settings.authority,
            tenant=self._settings.tenant,
            ven_id=self._conversation.ven_id,
            market_contexts=frozenset(self._settings.market_contexts),
            own_nodes=self._settings.own_nodes,
            nodes=self._settings.nodes,
            device_classes=self._settings.device_classes,
        )
        latest, obsolete = _latest(events)
        understood: list[GridEvent] = []
        rejected = [_refusal(event, _OBSOLETE) for event in obsolete]
        for index, event in enumerate(latest, start=1):
            if index % _BREATHE_EVERY == 0:
                await asyncio.sleep(0)
            try:
                await self._door.check(event, receipt)
                known = await self._known(event)
                found = translate(event, programme, receipt, known, self._around.ids.uniform)
                understood.append(self._door.as_agreed(found))
            except EventRefused as error:
                rejected.append(_refusal(event, error))
                _log.warning(
                    "event refused", authority=self._settings.authority, code=error.code, problem=error.problem
                )
        self._door.end_of_message()
        return understood, rejected

    async def _known(self, event: _Sent) -> GridEvent | None:
        if isinstance(event, BrokenEvent) or not needs_history(event):
            return None
        key = record_id(self._settings.authority, event.event_id)
        stored = await self._around.store.get(GridEvent, self._settings.tenant, key)
        return None if stored is None else stored.record

    async def _answer(self, responses: Sequence[EventResponse], response: Response) -> None:
        """Send one `oadrCreatedEvent`; the overall code stays 200 when single events are refused (25)."""
        await self._conversation.tell(
            Service.EVENT,
            CreatedEvent(response=response, responses=tuple(responses), ven_id=self._conversation.ven_id),
        )


def _word(event: GridEvent, opt: OptType, cause: str, now: datetime) -> OptSchedule:
    """Return our later word on an event for EiOpt, with an id that is the same however often it is made."""
    opt_id = f"opt-{hashlib.sha256(f'{event.id}|{cause}'.encode()).hexdigest()[:24]}"
    return OptSchedule(
        id=f"{event.authority}:{opt_id}",
        tenant=event.tenant,
        authority=event.authority,
        opt_id=opt_id,
        opt=opt,
        reason="participating" if opt is OptType.OPT_IN else "notParticipating",
        market_context=event.market_context,
        windows=(),
        resources=(),
        created_by=event.opt_by or "operator",
        created_at=now,
        event_id=event.event_id,
        modification=event.modification,
    )


def _latest(events: Sequence[_Sent]) -> tuple[list[_Sent], list[_Sent]]:
    """Split a message's events into the newest modification of each event id and what it makes obsolete.

    A repetition of the same modification is dropped: it is one event, sent twice.
    """
    newest: dict[str, _Sent] = {}
    for event in events:
        held = newest.get(event.event_id)
        if held is None or event.modification > held.modification:
            newest[event.event_id] = event
    obsolete = {
        (event.event_id, event.modification): event
        for event in events
        if event.modification < newest[event.event_id].modification
    }
    return list(newest.values()), list(obsolete.values())


def _refusal(event: _Sent, error: EventRefused) -> EventAnswer:
    return EventAnswer(
        event_id=event.event_id,
        modification=event.modification,
        opt=OptType.OPT_OUT,
        code=error.code,
        description=error.problem,
    )


def _responses(message: DistributeEvent, answers: Iterable[EventAnswer]) -> list[EventResponse]:
    """Return the answers in the order of the message's events, without those that want none (12, 62)."""
    by_event: dict[_Key, EventAnswer] = {(answer.event_id, answer.modification): answer for answer in answers}
    wanted = [(event.event_id, event.modification) for event in message.events if event.response_required]
    return [
        EventResponse(
            code=by_event[key].code,
            description=by_event[key].description,
            request_id=message.request_id,
            event_id=by_event[key].event_id,
            modification=by_event[key].modification,
            opt=by_event[key].opt.value,
        )
        for key in dict.fromkeys(wanted)
        if key in by_event
    ]
