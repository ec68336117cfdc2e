"""The state machine of one VEN: unregistered, registered, cancelled by the VTN; supervised, for ever.

```
            register (query, create)                poll, drain, answer, report
 UNREGISTERED ───────────────────────> REGISTERED ──────────────┐
      ^   ^── 463, oadrRequestReregistration ──┘ │ ^────────────┘
      └── after register_again_after ── CANCELLED <┘ oadrCancelPartyRegistration
```

Whatever goes wrong with the peer, the store or a message is logged and tried again after a jittered, growing pause; limits in
force are not touched by it. `run` ends only by cancellation or by a mistake in the program.
"""

import asyncio
import enum
from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.domain.errors import InvalidInput, PeerUnavailable, Unavailable, VoltbridgeError
from gateway.domain.identity import Principal
from gateway.observe import logger
from gateway.openadr.contact import Contact
from gateway.openadr.v20b.conversation import Conversation, Declined, Heard, NotRegistered, ReregistrationRequested
from gateway.openadr.v20b.events import EventExchange
from gateway.openadr.v20b.names import Code, Service
from gateway.openadr.v20b.registration import Registrar
from gateway.openadr.v20b.reports import ReportEngine
from gateway.openadr.v20b.settings import VenSettings
from gateway.openadr.v20b.surroundings import Surroundings
from gateway.openadr.v20b.transport import HttpTransport, Transport
from gateway.openadr.v20b.wire import CancelPartyRegistration, Incoming, OadrResponse, Poll
from gateway.openadr.v20b.wire_events import DistributeEvent
from gateway.openadr.v20b.wire_parts import Response
from gateway.openadr.v20b.wire_reports import CancelReport, CreateReport, RegisteredReport, RegisterReport
from gateway.ports import Clock, Ids, SignalDesk, StatusDesk, Store, UsageDesk, Worker

_MOST_DOUBLINGS = 16
_log = logger("openadr")


class VenState(enum.StrEnum):
    """Where the VEN stands with its VTN."""

    UNREGISTERED = "unregistered"
    REGISTERED = "registered"
    CANCELLED = "cancelled"
    """The VTN has ended our registration; we stay away for a while."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VenHealth:
    """How the VEN is, for the health endpoint and the operator's page."""

    state: VenState
    is_lost: bool
    """Whether the VTN has been out of reach for longer than allowed."""
    heard_at: datetime | None
    """When the VTN last said something understandable; None if not since the start."""
    failures: int
    """Attempts that failed since the last successful poll."""
    last_error: str
    """What the last failure was; empty if there was none."""
    pending_reports: int


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
        self._state = VenState.UNREGISTERED
        self._must_sync = True
        self._poll_interval = settings.poll_interval
        self._next_poll = clock.now()
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
        )

    def register_again(self) -> None:
        """Come back at once after the VTN has cancelled our registration, instead of staying away."""
        self._away_until = self._clock.now()

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
                    await self._registrar.load()
                    await self._reports.load()
                    is_loaded = True
                await self._turn()
            except VoltbridgeError as error:
                await self._take_failure(error)

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
        doubled = self._settings.first_backoff * 2 ** min(self._failures - 1, _MOST_DOUBLINGS)
        pause = min(doubled, self._settings.longest_backoff) * self._around.ids.uniform(0.5, 1.0)
        until = self._clock.now() + pause
        if self._clock.now() < self._contact.lost_at < until:
            await self._clock.sleep_until(self._contact.lost_at)
            await self._contact.check()
        await self._clock.sleep_until(until)
        await self._contact.check()

    async def _turn(self) -> None:
        if self._state is VenState.UNREGISTERED:
            await self._register()
        elif self._state is VenState.CANCELLED:
            await self._stay_away()
        else:
            await self._serve()

    async def _register(self) -> None:
        registration = await self._registrar.register()
        self._state = VenState.REGISTERED
        self._must_sync = True
        self._poll_interval = registration.poll_interval
        self._next_poll = self._clock.now() + registration.poll_interval
        self._reports.registered()

    async def _stay_away(self) -> None:
        while (left := self._away_until - self._clock.now()) > timedelta(0):
            await self._clock.sleep(min(left, self._settings.first_backoff))
        self._state = VenState.UNREGISTERED

    async def _serve(self) -> None:
        """Do what is due, then sleep until something is."""
        if self._must_sync:
            await self._sync()
        now = self._clock.now()
        if now >= self._next_poll:
            self._next_poll = now + self._poll_interval
            await self._poll()
            if self._state is VenState.REGISTERED:
                await self._events.tell_changed_opts()
            self._failures = 0
        if self._state is VenState.REGISTERED:
            await self._reports.send_due()
            await self._clock.sleep_until(min(self._next_poll, self._reports.next_due()))

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
            heard = await self._conversation.ask(Service.POLL, Poll(ven_id=self._conversation.ven_id))
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
