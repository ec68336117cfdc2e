"""Becoming and staying known to the VTN: query, create, create again with the same ids, cancel by either side."""

from dataclasses import replace
from datetime import timedelta
from enum import StrEnum

from gateway.domain.errors import PeerUnavailable
from gateway.domain.signals import VenRegistration
from gateway.observe import logger
from gateway.openadr.v20b.codec_registration import SIMPLE_HTTP
from gateway.openadr.v20b.conversation import Conversation, Declined, NotRegistered
from gateway.openadr.v20b.names import PROFILE, Code, Service
from gateway.openadr.v20b.surroundings import Surroundings
from gateway.openadr.v20b.wire import (
    CanceledPartyRegistration,
    CancelPartyRegistration,
    CreatedPartyRegistration,
    CreatePartyRegistration,
    OadrResponse,
    QueryRegistration,
)
from gateway.openadr.v20b.wire_parts import Response
from gateway.ports import Batch, OutboxItem

REGISTRATION_TOPIC = "openadr-registration"
"""Outbox topic under which somebody leaves a wish about our registration; its key is `{authority}:{wish}`."""
_REFUSALS_BEFORE_NEW_IDS = 3
_GONE = frozenset({Code.INVALID_ID, Code.NOT_RECOGNIZED, Code.NOT_REGISTERED})
_log = logger("openadr")


class Wish(StrEnum):
    """What somebody wants of our registration."""

    LEAVE = "leave"
    JOIN = "join"


class EndedBy(StrEnum):
    """Who ended a registration."""

    VTN = "vtn"
    OPERATOR = "operator"
    STOP = "stop"


class Registrar:
    """Keeps the registration of one VEN with one VTN; its row survives restarts and so do its ids."""

    def __init__(self, around: Surroundings, conversation: Conversation) -> None:
        self._around = around
        self._settings = around.settings
        self._conversation = conversation
        self._refused = 0
        self._last_known: VenRegistration | None = None

    async def load(self) -> bool:
        """Take up the registration of an earlier run, if it was not cancelled; tell whether we are to stay away."""
        stored = await self._around.store.get(VenRegistration, self._settings.tenant, self._settings.authority)
        self._last_known = None if stored is None else stored.record
        if stored is not None and stored.record.active:
            self._conversation.registration = stored.record
        return stored is not None and stored.record.ended_by == EndedBy.OPERATOR

    async def register(self) -> bool:
        """Register, with the ids we have; return once the registration is on disk, and tell whether its ids are new.

        Raises:
            PeerUnavailable: The VTN does not answer, is another one, speaks another profile or refuses us.
        """
        offer = await self._conversation.ask_for(
            Service.REGISTER,
            QueryRegistration(request_id=self._conversation.new_request_id()),
            CreatedPartyRegistration,
        )
        self._check_offer(offer.message)
        created = await self._create()
        registration = VenRegistration(
            id=self._settings.authority,
            tenant=self._settings.tenant,
            vtn_id=created.vtn_id,
            ven_id=created.ven_id or "",
            registration_id=created.registration_id or "",
            poll_interval=self._poll_interval(created, offer.message),
            registered_at=self._around.clock.now(),
            active=True,
        )
        before = self._last_known
        await self._keep(registration, "openadr.register")
        self._conversation.registration = registration
        self._refused = 0
        _log.info("registered", authority=registration.id, poll_seconds=registration.poll_interval.total_seconds())
        return before is None or before.registration_id != registration.registration_id

    @property
    def poll_interval(self) -> timedelta:
        """How often the VTN may be polled at most."""
        known = self._conversation.registration
        return self._settings.poll_interval if known is None else known.poll_interval

    def _check_offer(self, offer: CreatedPartyRegistration) -> None:
        if self._settings.vtn_id is not None and offer.vtn_id != self._settings.vtn_id:
            raise PeerUnavailable("another VTN than the configured one answers")
        if not any(name == PROFILE and SIMPLE_HTTP in transports for name, transports in offer.profiles):
            raise PeerUnavailable("the VTN does not offer OpenADR 2.0b over simple HTTP")

    def _poll_interval(self, *said: CreatedPartyRegistration) -> timedelta:
        """Return how often the VTN wants to be polled at most, or our default where it does not say."""
        asked = [message.poll_interval for message in said if message.poll_interval is not None]
        return next((interval for interval in asked if interval > timedelta(0)), self._settings.poll_interval)

    async def _create(self) -> CreatedPartyRegistration:
        known = self._conversation.registration
        request = CreatePartyRegistration(
            request_id=self._conversation.new_request_id(),
            registration_id=None if known is None else known.registration_id,
            ven_id=self._settings.ven_id if known is None else known.ven_id,
            ven_name=self._settings.ven_name,
            xml_signature=self._conversation.signs,
            push_address=None if self._settings.push is None else self._settings.push.public_url,
        )
        try:
            heard = await self._conversation.ask_for(Service.REGISTER, request, CreatedPartyRegistration)
        except Declined as error:
            self._note_refusal(error.code)
            raise
        except NotRegistered:
            self._note_refusal(Code.NOT_REGISTERED)
            raise
        if heard.message.registration_id is None or heard.message.ven_id is None:
            self._note_refusal(Code.NOT_REGISTERED)
            raise PeerUnavailable("the VTN gives us no registration")
        return heard.message

    def _note_refusal(self, code: int) -> None:
        """Let go of our ids when the VTN says that it does not know them, or keeps refusing them."""
        self._refused += 1
        if code == Code.INVALID_ID or self._refused >= _REFUSALS_BEFORE_NEW_IDS:
            self._conversation.registration = None

    async def accept_cancel(self, message: CancelPartyRegistration) -> bool:
        """Answer the VTN's wish to end our registration; tell whether it was ours and is over.

        Raises:
            StorageUnavailable: Nothing was kept and the VTN was not answered.
            PeerUnavailable: The registration is over but the VTN may not know that we know.
        """
        known = self._conversation.registration
        is_ours = known is not None and message.registration_id == known.registration_id
        is_ours = is_ours and message.ven_id in {None, self._conversation.ven_id}
        ven_id = self._conversation.ven_id or None
        if is_ours and known is not None:
            await self._end(known, EndedBy.VTN)
        response = Response(code=Code.OK, description="OK", request_id=message.request_id)
        if not is_ours:
            response = Response(code=Code.INVALID_ID, description="not our registration", request_id=message.request_id)
        await self._conversation.tell(
            Service.REGISTER,
            CanceledPartyRegistration(response=response, registration_id=message.registration_id, ven_id=ven_id),
        )
        return is_ours

    async def wish(self) -> tuple[Wish | None, tuple[OutboxItem, ...]]:
        """Return the latest unfulfilled wish about our registration, and all items that it settles."""
        prefix = f"{self._settings.authority}:"
        wishes = {f"{prefix}{wish}": wish for wish in Wish}
        due = await self._around.store.due_outbox(REGISTRATION_TOPIC, self._around.clock.now())
        items = [item for item in due if item.tenant == self._settings.tenant and item.key in wishes]
        return (wishes[items[-1].key] if items else None), tuple(items)

    async def wish_for(self, wish: Wish) -> None:
        """Leave a wish durably, for the next turn.

        Raises:
            StorageUnavailable: It is not kept.
        """
        item = OutboxItem(
            id=self._around.ids.new("wish"),
            tenant=self._settings.tenant,
            topic=REGISTRATION_TOPIC,
            key=f"{self._settings.authority}:{wish}",
            due_at=self._around.clock.now(),
        )
        await self._around.store.apply(Batch(tenant=self._settings.tenant, outbox=(item,)))

    async def fulfilled(self, items: tuple[OutboxItem, ...]) -> None:
        """Note that wishes are fulfilled.

        Raises:
            StorageUnavailable: Not noted; they are looked at again, which changes nothing.
        """
        now = self._around.clock.now()
        settled = tuple(replace(item, settled_at=now, note="done") for item in items)
        await self._around.store.apply(Batch(tenant=self._settings.tenant, outbox=settled))

    async def leave(self, who: EndedBy) -> None:
        """Cancel our registration; return once the VTN knows and it is on disk.

        Raises:
            PeerUnavailable: The VTN does not answer or refuses; we stay registered.
            StorageUnavailable: The VTN knows but it is not kept; leave again.
        """
        known = self._conversation.registration
        if known is None:
            await self._end(self._last_known or self._never(), who)
            return
        message = CancelPartyRegistration(
            request_id=self._conversation.new_request_id(),
            registration_id=known.registration_id,
            ven_id=known.ven_id,
        )
        try:
            heard = await self._conversation.ask(Service.REGISTER, message)
        except NotRegistered:
            _log.info("was not registered any more", authority=self._settings.authority)
        else:
            answer = None if heard is None else heard.message
            if not isinstance(answer, CanceledPartyRegistration | OadrResponse):
                raise PeerUnavailable("the VTN does not say that our registration is over")
            if not answer.response.is_ok and answer.response.code not in _GONE:
                raise Declined("CancelPartyRegistration", answer.response)
        await self._end(known, who)

    def _never(self) -> VenRegistration:
        return VenRegistration(
            id=self._settings.authority,
            tenant=self._settings.tenant,
            vtn_id="",
            ven_id="",
            registration_id="",
            poll_interval=self._settings.poll_interval,
            registered_at=self._around.clock.now(),
            active=False,
        )

    async def _end(self, known: VenRegistration, who: EndedBy) -> None:
        await self._keep(replace(known, active=False, ended_by=who.value), "openadr.registration-cancelled")
        self._conversation.registration = None

    async def acknowledge_reregistration(self, ven_id: str) -> bool:
        """Answer the VTN's wish that we register again; tell whether it meant us."""
        is_ours = ven_id == self._conversation.ven_id
        response = Response(code=Code.OK, description="OK") if is_ours else Response(code=Code.INVALID_ID)
        await self._conversation.tell(
            Service.REGISTER, OadrResponse(response=response, ven_id=self._conversation.ven_id or None)
        )
        return is_ours

    async def _keep(self, registration: VenRegistration, action: str) -> None:
        detail = {"vtn_id": registration.vtn_id, "ven_id": registration.ven_id}
        await self._around.keep(registration, action=action, detail=detail)
        self._last_known = registration
