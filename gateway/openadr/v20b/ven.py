"""The state machine of one VEN: unregistered, registered, cancelled by the VTN, left by us; supervised, for ever.

```
            register (query, create)                poll, drain, answer, report
 UNREGISTERED ───────────────────────> REGISTERED ──────────────┐
      ^   ^── 463, oadrRequestReregistration ──┘ │ ^────────────┘
      ├── after register_again_after ── CANCELLED <┤ oadrCancelPartyRegistration of the VTN
      └── when somebody wants to join ─────── LEFT <┘ ours, because somebody wants to leave
```

It speaks simpleHttp: it always polls, unless told otherwise, and takes what the VTN pushes between polls, one message at a time and
by the same rules. XMPP is not offered.

Whatever goes wrong with the peer, the store or a message is logged and tried again after a jittered, growing pause; limits in
force are not touched by it. `run` ends only by cancellation or by a mistake in the program.
"""

import asyncio
from datetime import datetime

from gateway.domain.errors import InvalidInput, PeerUnavailable, Unavailable, VoltbridgeError
from gateway.domain.identity import Principal
from gateway.observe import logger
from gateway.openadr.backoff import jittered_pause_after
from gateway.openadr.contact import Contact
from gateway.openadr.health import VenHealth, VenState
from gateway.openadr.profiles.gate import ProfileGate
from gateway.openadr.v20b.conversation import Conversation, Declined, Heard, NotRegistered, ReregistrationRequested
from gateway.openadr.v20b.events import EventExchange
from gateway.openadr.v20b.names import Code, Service
from gateway.openadr.v20b.opts import OptExchange
from gateway.openadr.v20b.push import PushInbox, PushTaker
from gateway.openadr.v20b.registration import EndedBy, Registrar, Wish
from gateway.openadr.v20b.rejection import MessageRejected
from gateway.openadr.v20b.reports import ReportEngine
from gateway.openadr.v20b.settings import VenSettings
from gateway.openadr.v20b.shortfalls import ShortfallTeller
from gateway.openadr.v20b.surroundings import Surroundings
from gateway.openadr.v20b.transport import HttpTransport, Transport
from gateway.openadr.v20b.wire import CancelPartyRegistration, Incoming, OadrResponse, Poll, RequestReregistration
from gateway.openadr.v20b.wire_events import DistributeEvent
from gateway.openadr.v20b.wire_parts import Response
from gateway.openadr.v20b.wire_reports import CancelReport, CreateReport, RegisteredReport, RegisterReport
from gateway.ports import Clock, Ids, SignalDesk, StatusDesk, Store, UsageDesk, Worker
from gateway.wakeup import WakeUp

_LONGEST_GOODBYE_S = 5.0
"""Real seconds for telling the VTN that we leave because the gateway stops."""
_log = logger("openadr")


class Ven:
    """One VEN for one VTN.

    Args:
        settings: The VTN and who we are for it.
        store: Keeps registration, report requests and nonces.
        signal_desk: Takes translated events and says what we answer.
        usage_desk: Gives measured power for reports.
        clock: Market time; all protocol durations follow it.
        ids: Fresh ids, jitter and randomised starts.
        principal: Who the VEN acts as inside the gateway.
        status_desk: Says how chargers are, for status reports.
        transport: Carries messages; None is HTTP as the settings say.
        worker: Reads large messages off the event loop; None reads them on it.
        gate: Profile that the VTN's events must keep; None for none.

    Raises:
        InvalidInput: A TLS or signing file cannot be used.
    """

    def __init__(  # noqa: PLR0913, PLR0917  # the composition root names every port
        self,
        settings: VenSettings,
        store: Store,
        signal_desk: SignalDesk,
        usage_desk: UsageDesk,
        clock: Clock,
        ids: Ids,
        principal: Principal,
        *,
        status_desk: StatusDesk | None = None,
        transport: Transport | None = None,
        worker: Worker | None = None,
        gate: ProfileGate | None = None,
    ) -> None:
        self._around = Surroundings(
            settings=settings,
            store=store,
            signal_desk=signal_desk,
            usage_desk=usage_desk,
            clock=clock,
            ids=ids,
            principal=principal,
            status_desk=status_desk,
            gate=gate,
        )
        self._settings, self._clock = settings, clock
        self._transport = transport or HttpTransport(
            settings.vtn_url,
            settings.tls,
            max_bytes=settings.guard_policy().max_bytes,
            timeout_s=settings.request_timeout_s,
        )
        self._contact = Contact(
            authority=settings.authority,
            lost_after=settings.lost_after,
            signal_desk=signal_desk,
            clock=clock,
            principal=principal,
        )
        self._conversation = Conversation(self._around, self._transport, self._contact, worker)
        self._registrar = Registrar(self._around, self._conversation)
        self._events = EventExchange(self._around, self._conversation)
        self._reports = ReportEngine(self._around, self._conversation)
        self._opts, self._shortfalls = OptExchange(self._around, self._conversation), ShortfallTeller(self._around)
        self._wake = WakeUp(clock)
        self._reports.on_made = self._wake.ring
        self._reports.is_wanted = lambda: self._state not in {VenState.CANCELLED, VenState.LEFT}
        self._inbox = PushInbox(self._wake)
        self._pushes = PushTaker(self._conversation, self._take)
        self._state = VenState.UNREGISTERED
        self._must_sync = True
        self._poll_interval = settings.poll_interval
        self._next_poll = clock.now()
        self._next_tell = clock.now()
        self._next_leave = clock.now()
        self._away_until = clock.now()
        self._failures = 0
        self._is_pause_due = False
        self._last_error = ""

    @property
    def state(self) -> VenState:
        """Where the VEN stands with its VTN."""
        return self._state

    def health(self) -> VenHealth:
        """Return how the VEN is."""
        return VenHealth(
            state=self._state,
            is_lost=self._contact.is_lost,
            heard_at=self._contact.heard_at if self._contact.has_been_heard else None,
            failures=self._failures,
            last_error=self._last_error,
            pending_reports=self._reports.pending_count,
            ven_id=self._conversation.ven_id,
            lost_since=self._contact.lost_since,
        )

    def register_again(self) -> None:
        """Come back at once after the VTN has cancelled our registration, instead of staying away."""
        self._away_until = self._clock.now()
        self._wake.ring()

    async def leave(self) -> None:
        """End our registration with the VTN for good: the wish is kept, and fulfilled as soon as the VTN can be told.

        Limits in force run on to their end.

        Raises:
            StorageUnavailable: The wish is not kept.
        """
        await self._registrar.wish_for(Wish.LEAVE)
        self._wake.ring()

    async def join(self) -> None:
        """Register again after `leave`.

        Raises:
            StorageUnavailable: The wish is not kept.
        """
        await self._registrar.wish_for(Wish.JOIN)
        self._wake.ring()

    async def receive(self, service: Service, body: bytes) -> bytes:
        """Take a message that the VTN has pushed to one of our services and return our answer.

        Raises:
            Unavailable: It could not be kept, or there was no time for it; the VTN must send it again.
            InvalidInput: It is not let in.
        """
        return await self._inbox.receive(service, body, patience_s=self._settings.request_timeout_s)

    async def run(self) -> None:
        """Register, poll, answer and report until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._reports.keep_making())
                tasks.create_task(self._converse())
        finally:
            await self._transport.close()

    async def _converse(self) -> None:
        is_loaded = False
        while True:
            try:
                if self._is_pause_due:
                    self._is_pause_due = False
                    await self._pause()
                if not is_loaded:
                    if await self._registrar.load():
                        self._state = VenState.LEFT
                    await self._reports.load()
                    is_loaded = True
                await self._turn()
            except asyncio.CancelledError:
                await self._leave_at_stop()
                raise
            except VoltbridgeError as error:
                await self._take_failure(error)

    async def _leave_at_stop(self) -> None:
        if not self._settings.cancel_at_stop or self._state is not VenState.REGISTERED:
            return
        try:
            async with asyncio.timeout(min(self._settings.request_timeout_s, _LONGEST_GOODBYE_S)):
                await self._registrar.leave(EndedBy.STOP)
        except (TimeoutError, VoltbridgeError) as error:
            _log.warning("left without a word", authority=self._settings.authority, error=str(error))

    async def _take_failure(self, error: VoltbridgeError) -> None:
        """Note what went wrong; after a failure nothing is taken for granted, so all events are asked for again."""
        self._failures += 1
        self._last_error = str(error)
        self._is_pause_due = True
        self._must_sync = True
        _log.warning(
            "exchange failed",
            authority=self._settings.authority,
            state=self._state.value,
            failures=self._failures,
            reason=error.reason,
            error=str(error),
        )
        if isinstance(error, NotRegistered | ReregistrationRequested):
            self._is_pause_due = self._failures > 1 or self._state is VenState.UNREGISTERED
        if isinstance(error, NotRegistered):
            self._state = VenState.UNREGISTERED
        elif isinstance(error, ReregistrationRequested):
            await self._take_reregistration(error)

    async def _take_reregistration(self, wish: ReregistrationRequested) -> None:
        try:
            if await self._registrar.acknowledge_reregistration(wish.ven_id):
                self._state = VenState.UNREGISTERED
        except VoltbridgeError as error:
            self._state = VenState.UNREGISTERED
            self._last_error = str(error)

    async def _pause(self) -> None:
        """Wait after failures: twice as long each time, up to a cap, jittered; look at the contact meanwhile."""
        until = self._clock.now() + jittered_pause_after(self._failures, self._settings, self._around.ids)
        while (now := self._clock.now()) < until:
            await self._rest(min(until, self._contact.lost_at) if now < self._contact.lost_at else until)
            await self._contact.check()

    async def _rest(self, until: datetime) -> None:
        """Wait for an instant, or until something rings; then take what the VTN has pushed."""
        await self._wake.wait(until)
        while (pushed := self._inbox.take()) is not None:
            try:
                await self._pushes.answer(pushed)
            except VoltbridgeError as error:
                if not pushed.is_waiting:
                    raise
                pushed.fail(error)

    async def _turn(self) -> None:
        await self._heed_wishes()
        if self._state is VenState.UNREGISTERED:
            await self._register()
        elif self._state is VenState.REGISTERED:
            await self._serve()
        else:
            await self._stay_away()

    async def _heed_wishes(self) -> None:
        """Leave or join as somebody wants; what cannot be done now is tried again."""
        wish, items = await self._registrar.wish()
        if wish is Wish.LEAVE and self._state is not VenState.LEFT:
            if not await self._has_left():
                return
            self._state = VenState.LEFT
        elif wish is Wish.JOIN and self._state in {VenState.LEFT, VenState.CANCELLED}:
            self._state = VenState.UNREGISTERED
        if items:
            await self._registrar.fulfilled(items)

    async def _has_left(self) -> bool:
        """Try to leave; as long as the VTN does not let us go, events and limits are kept as before."""
        if self._clock.now() < self._next_leave:
            return False
        try:
            await self._registrar.leave(EndedBy.OPERATOR)
        except ReregistrationRequested:
            raise
        except (PeerUnavailable, InvalidInput) as error:
            self._next_leave = self._clock.now() + self._settings.first_backoff
            self._last_error = str(error)
            _log.warning("could not leave yet", authority=self._settings.authority, error=str(error))
            return False
        return True

    async def _register(self) -> None:
        has_new_ids = await self._registrar.register()
        self._state = VenState.REGISTERED
        self._must_sync = True
        self._poll_interval = self._registrar.poll_interval
        self._next_poll = self._clock.now() + self._poll_interval
        self._reports.registered()
        if has_new_ids:
            await self._opts.tell_all_again()

    async def _stay_away(self) -> None:
        now = self._clock.now()
        if self._state is VenState.CANCELLED and now >= self._away_until:
            self._state = VenState.UNREGISTERED
            return
        look = now + self._settings.first_backoff
        await self._rest(min(look, self._away_until) if self._state is VenState.CANCELLED else look)

    async def _serve(self) -> None:
        """Do what is due, then sleep until something is."""
        if self._must_sync:
            await self._sync()
        now = self._clock.now()
        is_poll_due = self._is_polling and now >= self._next_poll
        if is_poll_due:
            self._next_poll = now + self._poll_interval
            await self._poll()
        if self._state is VenState.REGISTERED and (is_poll_due or now >= self._next_tell):
            self._next_tell = now + self._settings.tell_within
            await self._events.tell_changed_opts()
            await self._shortfalls.look()
            await self._opts.tell_unsettled()
        if is_poll_due or not self._is_polling:
            self._failures = 0
        if self._state is VenState.REGISTERED:
            await self._reports.send_due()
            next_poll = self._next_poll if self._is_polling else self._next_tell
            await self._rest(min(next_poll, self._next_tell, self._reports.next_due()))

    @property
    def _is_polling(self) -> bool:
        return self._settings.push is None or self._settings.push.is_polling

    async def _sync(self) -> None:
        """Ask for all events; a VTN that cannot say is asked again before the next poll, which goes on."""
        try:
            await self._events.request_all()
        except (NotRegistered, ReregistrationRequested):
            raise
        except (Unavailable, InvalidInput) as error:
            self._last_error = str(error)
            _log.warning("events not listed", authority=self._settings.authority, error=str(error))
        else:
            self._must_sync = False

    async def _poll(self) -> None:
        """Take messages from the VTN's queue until it has none, but not for ever."""
        for _ in range(self._settings.longest_drain):
            try:
                heard = await self._conversation.ask(Service.POLL, Poll(ven_id=self._conversation.ven_id))
            except MessageRejected as error:
                if not await self._events.decline(error):
                    raise
                continue
            if heard is None:
                return
            if isinstance(heard.message, OadrResponse):
                if not heard.message.response.is_ok:
                    raise Declined("Poll", heard.message.response)
                return
            await self._take(heard)
            if self._state is not VenState.REGISTERED:
                return

    async def _take(self, heard: Heard[Incoming]) -> None:
        message = heard.message
        if isinstance(message, DistributeEvent):
            await self._events.take(Heard(message=message, body=heard.body))
        elif isinstance(message, CreateReport):
            await self._reports.create(message)
        elif isinstance(message, CancelReport):
            await self._reports.cancel(message)
        elif isinstance(message, CancelPartyRegistration):
            await self._take_cancel(message)
        elif isinstance(message, RegisterReport):
            await self._decline_offer(message)
        elif isinstance(message, RequestReregistration):
            await self._take_reregistration(ReregistrationRequested(message.ven_id))
        else:
            raise PeerUnavailable(f"the VTN answered Poll with {type(message).__name__}")

    async def _take_cancel(self, message: CancelPartyRegistration) -> None:
        was_registered = self._conversation.registration
        try:
            await self._registrar.accept_cancel(message)
        finally:
            if was_registered is not None and self._conversation.registration is None:
                self._state = VenState.CANCELLED
                self._away_until = self._clock.now() + self._settings.register_again_after

    async def _decline_offer(self, message: RegisterReport) -> None:
        """The VTN offers reports of its own: thank it and ask for none."""
        answer = RegisteredReport(
            response=Response(code=Code.OK, description="OK", request_id=message.request_id),
            requests=(),
            ven_id=self._conversation.ven_id,
        )
        await self._conversation.tell(Service.REPORT, answer)
