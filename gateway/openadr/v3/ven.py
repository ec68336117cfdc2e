"""One VEN of one 3.x VTN: survey, poll, act, rest; supervised, for ever.

```
             ┌────────────── after survey_interval, a start, a failure ─────────────┐
             v                                                                      │
  survey (ven, resources, programs) ──> poll (events) ──> act (reports) ──> rest ───┤
                                          ^                                  │      │
                                          └───── poll_interval, wake() ──────┘      │
  any failure ──> pause: doubled each time, jittered, Retry-After honoured ─────────┘
```

Polling is the truth: a notification over a webhook or MQTT only ends the rest. Whatever goes wrong is logged and tried again; limits
in force are not touched by it, and events that repeat are unrolled further meanwhile.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.domain.errors import PeerUnavailable, VoltbridgeError
from gateway.domain.identity import Principal
from gateway.observe import logger
from gateway.openadr.backoff import jittered_pause_after
from gateway.openadr.contact import Contact
from gateway.openadr.health import VenHealth, VenState
from gateway.openadr.v3.absence import Absences
from gateway.openadr.v3.answers import AnswerNotes
from gateway.openadr.v3.client import VtnClient
from gateway.openadr.v3.companion import Companion, KnownEvent
from gateway.openadr.v3.deletion import Deletions
from gateway.openadr.v3.events import EventExchange
from gateway.openadr.v3.holdings import Holdings
from gateway.openadr.v3.names import Dialect
from gateway.openadr.v3.notifications import Interest
from gateway.openadr.v3.refusals import VtnBusy, VtnRefused, heeded_pause
from gateway.openadr.v3.restoring import restored
from gateway.openadr.v3.settings import VenSettings
from gateway.openadr.v3.standing import Registrar, Standing
from gateway.openadr.v3.surroundings import Surroundings
from gateway.openadr.v3.survey import Survey, Surveyor
from gateway.openadr.v3.transport import HttpTransport, Transport
from gateway.openadr.v3.understanding import GateOf, Understanding
from gateway.ports import Clock, Ids, SignalDesk, Store

_SHORTEST_REST = timedelta(seconds=1)
"""However often somebody wakes us, and whatever is due, in market time."""
_log = logger("openadr")


@dataclass(frozen=True, kw_only=True, slots=True)
class VenPorts:
    """What a VEN works with."""

    store: Store
    signal_desk: SignalDesk
    clock: Clock
    ids: Ids
    principal: Principal


class Ven:
    """One VEN for one VTN.

    Args:
        settings: The VTN and who we are for it.
        ports: Where events go, where rows are, time and chance.
        gate_of: Profiles that hold a program's objects to its rules; None for none.
        transport: Carries requests; None is HTTP as the settings say.

    Raises:
        InvalidInput: A TLS file cannot be used.
    """

    def __init__(
        self,
        settings: VenSettings,
        ports: VenPorts,
        *,
        gate_of: GateOf | None = None,
        transport: Transport | None = None,
    ) -> None:
        self.around = Surroundings(
            settings=settings,
            store=ports.store,
            signal_desk=ports.signal_desk,
            clock=ports.clock,
            ids=ports.ids,
            principal=ports.principal,
        )
        """Settings and ports, for companions."""
        self._settings, self._clock = settings, ports.clock
        self._transport = transport or HttpTransport(
            settings.tls, max_bytes=settings.json.max_bytes, timeout_s=settings.request_timeout_s
        )
        self.client = VtnClient(settings, self._transport, ports.clock)
        """Asks the VTN, for companions and listeners."""
        self._contact = Contact(
            authority=settings.authority,
            lost_after=settings.lost_after,
            signal_desk=ports.signal_desk,
            clock=ports.clock,
            principal=ports.principal,
        )
        self._holdings = Holdings(self.around)
        self._registrar = Registrar(self.around, self.client, self._holdings)
        self._deletions = Deletions(self.client)
        self._surveyor = Surveyor(self.around, self.client, self._registrar, self._holdings, self._deletions)
        self._gate_of: GateOf = gate_of or (lambda _program: None)
        self._events: EventExchange | None = None
        self._companions: list[Companion] = [AnswerNotes(self.around)]
        self._survey: Survey | None = None
        self._next_survey = self._next_poll = self._next_act = ports.clock.now()
        self._last_poll = self._next_poll - _SHORTEST_REST
        self._must_take = True
        self._woken = asyncio.Event()
        self._failures = 0
        self._failure: VoltbridgeError | None = None
        self._last_error = ""

    # ---------------------------------------------------------------- what others ask

    def accompany(self, companion: Companion) -> None:
        """Let another part act on this VEN's events; before `run`."""
        self._companions.append(companion)

    def wake(self) -> None:
        """Poll now instead of at the next turn; returns at once, and several calls are one."""
        earliest = max(self._clock.now(), self._last_poll + min(_SHORTEST_REST, self._settings.poll_interval))
        self._next_poll = min(self._next_poll, earliest)
        self._woken.set()

    @property
    def dialect(self) -> Dialect:
        """The dialect that is spoken with the VTN."""
        return self._settings.dialect

    @property
    def ven_id(self) -> str:
        """The VTN's id of our ven; empty while unknown."""
        return "" if self._registrar.registration is None else self._registrar.registration.ven_id

    @property
    def survey(self) -> Survey | None:
        """What surrounds the events, as last seen; None before the first survey."""
        return self._survey

    @property
    def standing(self) -> Standing:
        """Our ven and resources at the VTN, as last seen."""
        return Standing(ven=None) if self._survey is None else self._survey.standing

    @property
    def known(self) -> Sequence[KnownEvent]:
        """Events that the VTN has now."""
        return () if self._events is None else self._events.known

    def interest(self) -> Interest:
        """Return what notifications may be about to be worth a look."""
        found = self._survey
        if found is None:
            return Interest()
        return Interest(
            targets=frozenset(target.value for target in found.standing.targets),
            programs=frozenset() if found.takes_all else frozenset(found.programs),
        )

    def health(self) -> VenHealth:
        """Return how the VEN is."""
        found = self._survey
        return VenHealth(
            state=VenState.UNREGISTERED if found is None else VenState.REGISTERED,
            is_lost=self._contact.is_lost,
            heard_at=self._contact.heard_at if self._contact.has_been_heard else None,
            failures=self._failures,
            last_error=self._last_error,
            pending_reports=sum(one.pending_count for one in self._companions),
            ven_id="" if self.standing.ven is None else self.standing.ven.meta.id,
            lost_since=self._contact.lost_since,
            programs=() if found is None else tuple(sorted(one.name for one in found.programs.values())),
            events=len(self.known),
        )

    # ---------------------------------------------------------------- the loop

    async def run(self) -> None:
        """Survey, poll and act until cancelled."""
        try:
            while True:
                try:
                    if self._failure is not None:
                        failure, self._failure = self._failure, None
                        await self._pause(failure)
                    await self._turn()
                except VoltbridgeError as error:
                    self._take_failure(error)
        finally:
            await self._transport.close()

    def _take_failure(self, error: VoltbridgeError) -> None:
        """Note what went wrong; after a failure nothing is taken for granted."""
        self._failures += 1
        self._failure = error
        self._last_error = str(error)
        self._next_survey = self._next_poll = self._clock.now()
        _log.warning(
            "exchange failed",
            authority=self._settings.authority,
            failures=self._failures,
            reason=error.reason,
            error=str(error),
        )

    async def _pause(self, failure: VoltbridgeError) -> None:
        """Wait after failures, as long as the VTN wants; meanwhile unroll what repeats and look at the contact."""
        own = jittered_pause_after(self._failures, self._settings, self.around.ids)
        until = self._clock.now() + heeded_pause(own, failure, self._settings.longest_wait)
        if self._clock.now() < self._contact.lost_at < until:
            await self._clock.sleep_until(self._contact.lost_at)
            await self._contact.check()
        await self._clock.sleep_until(until)
        await self._contact.check()
        await self._roll()

    async def _turn(self) -> None:
        events = await self._loaded()
        now = self._clock.now()
        if self._survey is None or now >= self._next_survey:
            self._next_survey = now + self._settings.survey_interval
            self._survey = await self._surveyed()
            self._next_poll = now
        if now >= self._next_poll:
            self._last_poll, self._next_poll = now, now + self._settings.poll_interval
            self._woken.clear()
            self._must_take = await events.poll(self._survey) or self._must_take
            await self._contact.heard()
            self._failures = 0
        await self._roll()
        await self._act()
        await self._rest()

    async def _surveyed(self) -> Survey:
        """Return what surrounds the events; where the VTN refuses to say it again, what it said before goes on to hold."""
        try:
            return await self._surveyor.look()
        except VtnRefused as error:
            if self._survey is None or isinstance(error, VtnBusy):
                raise
            self._last_error = str(error)
            _log.warning("survey refused", authority=self._settings.authority, error=str(error))
            return self._survey

    async def _resurveyed(self) -> Survey | None:
        """Look anew at what surrounds the events, because some are missing; None when the VTN does not say."""
        try:
            self._survey = await self._surveyor.look()
        except PeerUnavailable as error:
            _log.warning("survey refused", authority=self._settings.authority, error=str(error))
            return None
        self._next_survey = self._clock.now() + self._settings.survey_interval
        return self._survey

    async def _loaded(self) -> EventExchange:
        """Take up what an earlier run left, once."""
        if self._events is None:
            await self._holdings.load()
            await self._registrar.load()
            for companion in self._companions:
                await companion.load()
            understanding = Understanding(self.around, self._holdings, self._gate_of, self._registrar.seed)
            absences = Absences(self.around, self._holdings, self._deletions, self._resurveyed)
            events = EventExchange(self.around, self.client, self._holdings, understanding, absences)
            events.take_up(await restored(self.around, self._holdings, self._registrar.seed, self._gate_of))
            self._events = events
        return self._events

    async def _roll(self) -> None:
        if self._events is not None:
            due = self._events.next_roll()
            if due is not None and due <= self._clock.now():
                await self._events.roll()

    async def _act(self) -> None:
        """Let companions act; what fails there is tried again after a while and holds up no poll."""
        if self._clock.now() < self._next_act:
            return
        try:
            for companion in self._companions if self._must_take else ():
                await companion.take(self.known)
            self._must_take = False
            for companion in self._companions:
                await companion.act()
        except VoltbridgeError as error:
            self._last_error = str(error)
            pause = heeded_pause(self._settings.first_backoff, error, self._settings.longest_wait)
            self._next_act = self._clock.now() + pause
            _log.warning("reports failed", authority=self._settings.authority, reason=error.reason, error=str(error))

    async def _rest(self) -> None:
        """Sleep until something is due or somebody wakes us."""
        others = [max(due, self._clock.now() + _SHORTEST_REST) for due in self._other_dues()]
        until = min(self._next_poll, *others)
        async with asyncio.TaskGroup() as tasks:
            alarm = tasks.create_task(self._alarm(until))
            await self._woken.wait()
            alarm.cancel()
        self._woken.clear()

    async def _alarm(self, until: datetime) -> None:
        await self._clock.sleep_until(until)
        self._woken.set()

    def _other_dues(self) -> list[datetime]:
        roll = None if self._events is None else self._events.next_roll()
        acts = [due for one in self._companions if (due := one.next_due()) is not None]
        acted = [max(due, self._next_act) for due in acts]
        if self._must_take:
            acted.append(self._next_act)
        return [self._next_survey, *acted] if roll is None else [self._next_survey, roll, *acted]
