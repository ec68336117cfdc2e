"""The desk where signals arrive: decide on events, write them with the limits that follow, then let the limits act."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from gateway.domain.alerts import Alert, alerts_of
from gateway.domain.authorities import AuthorityStanding
from gateway.domain.errors import Conflict, NotFound, PreconditionFailed, Unavailable
from gateway.domain.identity import Permission, Principal, system_principal
from gateway.domain.limits import MANUAL, Direction, Limit, Resolution, resolve
from gateway.domain.release import SimulatedRelease
from gateway.domain.signals import EventAnswer, EventStatus, GridEvent, OptType
from gateway.domain.topology import Node
from gateway.observe import logger
from gateway.ports import Batch, Clock, Ids, NotBefore, Put, ReceivedEvents, StatedLimits, Store
from gateway.services.gather_signals.appraisal import BY_POLICY, Appraiser
from gateway.services.gather_signals.contacts import Contacts
from gateway.services.gather_signals.intake import Decided, Intake
from gateway.services.gather_signals.ledger import LimitLedger
from gateway.services.gather_signals.manual import ManualOrders, request_hash, require_finite
from gateway.services.gather_signals.outbox import changed_answer
from gateway.services.gather_signals.publishing import TariffPublisher
from gateway.services.gather_signals.refused import refused_events
from gateway.services.gather_signals.releasing import ReleaseSimulator
from gateway.services.gather_signals.scribe import MOST_ROWS, Scribe
from gateway.services.gather_signals.settings import SignalSettings, SignalSources
from gateway.services.gather_signals.stated import StatedWords
from gateway.services.gather_signals.watching import BindingWatch
from gateway.turns import Turns, in_turns

_OVER = frozenset({EventStatus.CANCELLED, EventStatus.COMPLETED})
_LOG = logger("gather_signals")


class SignalGatherer:
    """Implements `ports.SignalDesk` and `ports.LimitDesk`; keeps the ledger of limits of every tenant."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        ids: Ids,
        tenants: Sequence[str],
        sources: SignalSources,
        settings: SignalSettings | None = None,
    ) -> None:
        """Remember the ports; `load` fills the ledgers.

        Args:
            store: Rows.
            clock: Market time.
            ids: Ids of limits and audit entries.
            tenants: Whose signals are gathered.
            sources: What the desk asks of others.
            settings: How signals are treated.
        """
        self._store = store
        self._clock = clock
        self._ids = ids
        self._sources = sources
        self._settings = SignalSettings() if settings is None else settings
        self.scribe = Scribe(
            store=store, clock=clock, ids=ids, tenants=tenants, sources=sources, settings=self._settings
        )
        self.appraiser = Appraiser(sources, self._settings)
        self._manual = ManualOrders(self.scribe)
        self._publisher = TariffPublisher(self.scribe)
        self._contacts = Contacts(self.scribe)
        self._words = StatedWords(self.scribe, self._contacts)
        self._releases = ReleaseSimulator(self.scribe, self._contacts)
        self._watch = BindingWatch(self.scribe, self._contacts)
        self.on_change = self.scribe.on_change
        """Called with the tenant whenever a limit or the contact with an authority changed."""

    async def load(self) -> None:
        """Fill the ledgers from rows."""
        await self.scribe.load()
        await self._contacts.load()
        for tenant in self.scribe.tenants:
            self.scribe.notify(tenant)

    # ---------------------------------------------------------------- what the dispatcher asks

    def limits_by_node(self, tenant: str) -> Mapping[str, Sequence[Limit]]:
        """Return all limits of a tenant that may matter, by node, those that could not be written yet included."""
        return self._ledger(tenant).by_node()

    @property
    def lost(self) -> frozenset[str]:
        """Authorities that any tenant cannot reach."""
        return self._contacts.lost

    def lost_nodes(self, tenant: str) -> dict[str, frozenset[str]]:
        """Return, for each node in their hands, the unconditional authorities that cannot be reached."""
        return self._contacts.lost_nodes(tenant)

    def steady_nodes(self, tenant: str, direction: Direction = Direction.IMPORT) -> dict[str, frozenset[str]]:
        """Return, for each node in their hands, the authorities that say a limit for every instant: a gap is never open."""
        return self._contacts.steady_nodes(tenant, direction)

    def standings(self, tenant: str) -> Sequence[AuthorityStanding]:
        """Return what is remembered of the authorities that state limits directly, by name."""
        return self._contacts.standings(tenant)

    def stated_by(self, tenant: str, authority: str) -> Sequence[Limit]:
        """Return the limits of an authority that are in force or to come, by their start."""
        return self._words.stated_by(tenant, authority)

    def spoke_at(self, tenant: str, authority: str) -> datetime | None:
        """Return when the newest limit of an authority became known; None when it stated none that is remembered."""
        return self._ledger(tenant).spoke_at(authority)

    # ---------------------------------------------------------------- what grid partners say

    async def receive(self, principal: Principal, received: ReceivedEvents) -> Sequence[EventAnswer]:
        """Make the events durable with our decision and return their answers in order, then those of refused events.

        Prices and carbon in them become market data in the same batch.

        Args:
            principal: The grid-protocol room.
            received: The events of one verified message.

        Raises:
            StorageUnavailable: Nothing was kept and the partner must not be answered; a reduction acts from memory.
        """
        principal.require(Permission.SIGNAL_RECEIVE)
        tenant = principal.tenant
        async with self.scribe.lock(tenant):
            now = self._clock.now()
            self._ledger(tenant).prune(now)
            decided = await self._decide(tenant, received, now)
            changed = [d.event for d in decided if d.event is not None]
            limits = await self.scribe.limits_after(tenant, changed, now)
            published = await self._publisher.after(principal, changed, now)
            standing = self._contacts.called(tenant, received.raw.authority, changed, now)
            refused = refused_events(received, decided, now)
            contact = () if standing is None else (standing,)
            puts = (received.raw, *changed, *limits, *published.records, *refused, *contact)
            audit = [
                *await in_turns(self.scribe.entries.of_events(principal, decided, received.raw.id)),
                *self.scribe.entries.of_alerts(principal, decided, now),
                *await in_turns(self.scribe.entries.of_limits(principal, limits)),
                *published.audit,
            ]
            batch = Batch(tenant=tenant, puts=tuple(Put(record=r) for r in puts), audit=tuple(audit))
            await self.scribe.write(batch, changed, limits)
            if received.complete:
                self._ledger(tenant).release(received.raw.authority)
                self.scribe.notify(tenant)
            self._publisher.commit(published)
            if standing is not None:
                self._contacts.commit(standing)
        return [d.answer for d in decided if d.answer is not None] + list(received.rejected)

    async def _decide(self, tenant: str, received: ReceivedEvents, now: datetime) -> list[Decided]:
        agreements = self.scribe.agreements(tenant)
        intake = Intake(
            known=self._ledger(tenant).events,
            decide=lambda event, at: self.appraiser.appraise(event, agreements, at),
            draw=self._draw,
            now=now,
        )
        decided, turns = [], Turns()
        for event in received.events:
            decided.append(intake.take(event))
            await turns.after(event.intervals)
        if received.complete:
            decided += intake.cancel_missing(received.raw.authority, (one.event_id for one in received.rejected))
        return decided

    def _draw(self, longest: timedelta) -> timedelta:
        return timedelta(seconds=self._ids.uniform(0.0, longest.total_seconds()))

    async def contact(self, principal: Principal, authority: str, *, is_lost: bool) -> None:
        """Tell whether a partner can be reached; a loss acts at once, and also after a restart; it never opens a limit."""
        await self._contacts.change(principal, authority, is_lost=is_lost)

    async def state_limits(self, principal: Principal, stated: StatedLimits) -> None:
        """Make an authority's limits durable and let them act, see `ports.LimitDesk`.

        Raises:
            InvalidInput: A limit is of another authority or tenant, or names an unknown node.
            Conflict: A row of the caller's own has another version than expected; nothing was kept.
            StorageUnavailable: Nothing was kept and the partner must not be answered; a reduction acts from memory.
        """
        await self._words.state(principal, stated)

    async def release_authority(
        self, principal: Principal, *, authority: str, reason: str, request_id: str
    ) -> AuthorityStanding:
        """End the say of an authority that states limits, for example after its contract: its limits go, its silence means nothing.

        Raises:
            NotFound: Nobody of that name states limits here.
            StorageUnavailable: Nothing changed.
        """
        return await self._words.release(principal, authority, reason=reason, request_id=request_id)

    async def simulate_release(self, principal: Principal, authority: str) -> SimulatedRelease:
        """Return what would open if a person ended the say of an authority now; nothing is written.

        Raises:
            PermissionRefused: The caller may not read or set limits.
            NotFound: Nobody of that name states limits here.
        """
        return await self._releases.simulate(principal, authority)

    # ---------------------------------------------------------------- what people ask and order

    async def events(self, principal: Principal) -> list[GridEvent]:
        """Return the tenant's events by the start of their active period."""
        principal.require(Permission.SIGNAL_READ)
        rows = await self._store.find(GridEvent, principal.tenant, newest_first=True)
        return [row.record for row in reversed(rows)]

    async def alerts(self, principal: Principal) -> list[Alert]:
        """Return the alerts that are in force or to come, the most severe first."""
        principal.require(Permission.SIGNAL_READ)
        return alerts_of(self._ledger(principal.tenant).events.values(), self._clock.now())

    async def limits(self, principal: Principal, node_id: str, now: datetime) -> list[Limit]:
        """Return limits of a node that apply now or later.

        Raises:
            NotFound: There is no such node.
        """
        principal.require(Permission.SIGNAL_READ)
        self._node(principal.tenant, node_id)
        found = self._ledger(principal.tenant).at_node(node_id)
        return sorted((x for x in found if not x.is_over(now)), key=lambda x: (x.interval.start, x.id))

    async def resolve(
        self,
        principal: Principal,
        node_id: str,
        at: datetime | None,
        *,
        direction: Direction = Direction.IMPORT,
    ) -> Resolution:
        """Say what binds at a node at an instant, now by default.

        Raises:
            NotFound: There is no such node.
        """
        principal.require(Permission.SIGNAL_READ)
        node, now = self._node(principal.tenant, node_id), self._clock.now()
        if at is not None and at < now:
            where: dict[str, str | NotBefore] = {"node": node_id, "over_at": NotBefore(at)}
            rows = await self._store.find(Limit, principal.tenant, where, limit=MOST_ROWS)
            return resolve(node, [x.record for x in rows if x.record.known_at <= at], at, direction=direction)
        limits = self._ledger(principal.tenant).at_node(node_id)
        lost = self.lost_nodes(principal.tenant).get(node_id, frozenset())
        steady = self.steady_nodes(principal.tenant, direction).get(node_id, frozenset())
        return resolve(node, limits, now if at is None else at, direction=direction, lost=lost, steady=steady)

    def manual_limits(self, principal: Principal) -> list[Limit]:
        """Return the orders of people that apply now or later, by their end; also those that act from memory."""
        principal.require(Permission.SIGNAL_READ)
        now = self._clock.now()
        ledger = self._ledger(principal.tenant)
        found = [*ledger.of_protocol(MANUAL), *ledger.held(MANUAL)]
        return sorted((x for x in found if not x.is_over(now)), key=lambda x: (x.interval.end or now, x.id))

    async def set_manual_limit(  # noqa: PLR0913  # what a person must say is six things
        self,
        principal: Principal,
        *,
        node_id: str,
        max_kw: float,
        start: datetime | None,
        end: datetime,
        reason: str,
        request_id: str,
    ) -> Limit:
        """Set a limit by order of a person; it always expires.

        Args:
            principal: Who orders.
            node_id: Where.
            max_kw: Most that may be drawn, 0 to the node's rating.
            start: From when; None now.
            end: Until when.
            reason: Why, for the audit and for the colleague at 3 a.m.
            request_id: Idempotency key.

        Raises:
            NotFound: There is no such node.
            InvalidInput: A value is wrong.
            StorageUnavailable: Not on disk; it acts from memory all the same.
        """
        principal.require(Permission.LIMIT_SET)
        require_finite(max_kw)
        node = self._node(principal.tenant, node_id)
        return await self._manual.set_limit(
            principal, node=node, max_kw=max_kw, start=start, end=end, reason=reason, request_id=request_id
        )

    def draft_manual_limit(  # what a person must say
        self,
        principal: Principal,
        *,
        node_id: str,
        max_kw: float,
        start: datetime | None,
        end: datetime,
        reason: str = "",
    ) -> Limit:
        """Return the limit that `set_manual_limit` would set, checked the same; nothing is written.

        Raises:
            NotFound: There is no such node.
            InvalidInput: A value is wrong.
        """
        principal.require(Permission.SIGNAL_READ)
        node = self._node(principal.tenant, node_id)
        return self._manual.draft(principal, node=node, max_kw=max_kw, start=start, end=end, reason=reason)

    async def withdraw_manual_limit(
        self, principal: Principal, *, limit_id: str, reason: str, request_id: str
    ) -> Limit:
        """Withdraw a manual limit before its end.

        Raises:
            NotFound: There is no such manual limit.
            PreconditionFailed: It is over already.
        """
        return await self._manual.withdraw(principal, limit_id=limit_id, reason=reason, request_id=request_id)

    async def change_opt(
        self, principal: Principal, *, event_id: str, opt: OptType, reason: str, request_id: str
    ) -> GridEvent:
        """Change our answer to an event; its limits follow and the room of its dialect is told by outbox.

        Raises:
            NotFound: There is no such event.
            PreconditionFailed: It is over.
        """
        principal.require(Permission.OPT_DECIDE)
        tenant = principal.tenant
        content_id = request_hash(request_id, [event_id, opt, reason])
        async with self.scribe.lock(tenant):
            row = await self._store.get(GridEvent, tenant, event_id)
            if row is None:
                raise NotFound("event", event_id)
            if await self._store.replay(tenant, request_id, content_id) is not None:
                return row.record
            now = self._clock.now()
            if row.record.status(now) in _OVER:
                raise PreconditionFailed("the event is over")
            event = replace(row.record, opt=opt, opt_reason=reason, opt_by=principal.actor)
            limits = await self.scribe.limits_after(tenant, [event], now)
            entry = self.scribe.entries.of(
                principal, "event.opt", ("event", event.id), detail={"opt": opt.value, "reason": reason}
            )
            batch = Batch(
                tenant=tenant,
                puts=tuple(Put(record=record) for record in (event, *limits)),
                audit=(replace(entry, request_id=request_id), *self.scribe.entries.of_limits(principal, limits)),
                outbox=(changed_answer(event, f"opt:{request_id}", now),),
                request_id=request_id,
                request_hash=content_id,
                response=event.id,
            )
            await self.scribe.write(batch, [event], limits)
        return event

    # ---------------------------------------------------------------- what time brings

    async def run(self) -> None:
        """Let deadlines pass and prices reach into new days, until cancelled; what was missed is caught up first."""
        while True:
            for tenant in self.scribe.tenants:
                try:
                    await self.keep_up(tenant)
                except (Conflict, Unavailable) as error:
                    _LOG.warning("signals_wait", tenant=tenant, reason=str(error))
            await self._clock.sleep(self._settings.sweep)

    async def keep_up(self, tenant: str) -> None:
        """Let default answers stand whose deadline has passed, keep the prices of days that have come near, say who decides.

        Raises:
            StorageUnavailable: Nothing was kept.
        """
        principal = system_principal(tenant, "signals")
        await self._contacts.refresh(tenant)
        async with self.scribe.lock(tenant):
            now = self._clock.now()
            events = self._ledger(tenant).events
            stood = [_stood(event) for event in events.values() if _is_decided_by_time(event, now)]
            published = await self._publisher.catch_up(principal, now)
            changes = await self._watch.look(principal, now)
            standings = self._contacts.unwritten(tenant)
            entries = [self.scribe.entries.of(principal, "event.opt-stands", ("event", one.id)) for one in stood]
            entries += [self.scribe.entries.of(principal, "signal.lost", ("signal", one.id)) for one in standings]
            puts = (*stood, *published.records, *standings)
            audit = (*entries, *published.audit, *changes.audit)
            if puts or audit:
                batch = Batch(tenant=tenant, puts=tuple(Put(record=r) for r in puts), audit=audit)
                await self.scribe.write(batch, stood, [])
            self._publisher.commit(published)
            self._watch.commit(tenant, changes)
            for standing in standings:
                self._contacts.commit(standing)

    # ---------------------------------------------------------------- inside

    def _ledger(self, tenant: str) -> LimitLedger:
        return self.scribe.ledger(tenant)

    def _node(self, tenant: str, node_id: str) -> Node:
        node = self._sources.find_place(tenant, node_id)
        if node is None:
            raise NotFound("node", node_id)
        return node


def _is_decided_by_time(event: GridEvent, now: datetime) -> bool:
    return event.opt_deadline is not None and event.opt_deadline <= now and event.opt_by == BY_POLICY


def _stood(event: GridEvent) -> GridEvent:
    until = "" if event.opt_deadline is None else f" until {event.opt_deadline:%Y-%m-%d %H:%M}Z"
    return replace(event, opt_deadline=None, opt_reason=f"{event.opt_reason}; nobody decided otherwise{until}")
