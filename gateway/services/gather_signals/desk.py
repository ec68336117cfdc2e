"""The desk where signals arrive: decide on events, write them with the limits that follow, then let the limits act."""

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from gateway.domain.errors import InvalidInput, NotFound, PreconditionFailed, StorageUnavailable
from gateway.domain.evidence import content_hash
from gateway.domain.identity import Permission, Principal
from gateway.domain.limits import Binding, Direction, Limit, LimitKind, Resolution, resolve
from gateway.domain.signals import EventAnswer, EventStatus, GridEvent, OptType
from gateway.domain.timegrid import Interval
from gateway.domain.topology import CapacityGroup, Node
from gateway.ports import Batch, Clock, Ids, OutboxItem, Put, ReceivedEvents, Store
from gateway.services.gather_signals.entries import SignalEntries
from gateway.services.gather_signals.intake import Intake
from gateway.services.gather_signals.ledger import LimitLedger
from gateway.services.gather_signals.programs import limits_of_events
from gateway.services.gather_signals.settings import SignalSettings, SignalSources

_MOST_ROWS = 200_000
_MANUAL = "manual:"


class SignalGatherer:
    """Implements `ports.SignalDesk`; keeps the ledger of limits of every tenant."""

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
        self._entries = SignalEntries(clock=clock, ids=ids)
        self._sources = sources
        self._settings = SignalSettings() if settings is None else settings
        self._ledgers = {tenant: LimitLedger() for tenant in tenants}
        self._groups: dict[str, list[CapacityGroup]] = {}
        self._locks = {tenant: asyncio.Lock() for tenant in tenants}
        unconditional = {name for name, rules in self._settings.programs.items() if rules.is_unconditional}
        self._lost = {tenant: set(unconditional) for tenant in tenants}
        self.on_change: list[Callable[[str], None]] = []
        """Called with the tenant whenever a limit or the contact with an authority changed."""

    async def load(self) -> None:
        """Fill the ledgers from rows."""
        now = self._clock.now()
        for tenant, ledger in self._ledgers.items():
            events = await self._store.find(GridEvent, tenant, newest_first=True, limit=_MOST_ROWS)
            limits = await self._store.find(Limit, tenant, newest_first=True, limit=_MOST_ROWS)
            ledger.load([row.record for row in events], [row.record for row in limits], now)
            groups = await self._store.find(CapacityGroup, tenant, limit=_MOST_ROWS)
            self._groups[tenant] = [row.record for row in groups]
            self._notify(tenant)

    # ---------------------------------------------------------------- what the dispatcher asks

    def limits_by_node(self, tenant: str) -> Mapping[str, Sequence[Limit]]:
        """Return all limits of a tenant that may matter, by node, those that could not be written yet included."""
        return self._ledger(tenant).by_node()

    @property
    def lost(self) -> frozenset[str]:
        """Authorities that any tenant cannot reach."""
        return frozenset(name for names in self._lost.values() for name in names)

    def lost_nodes(self, tenant: str) -> dict[str, frozenset[str]]:
        """Return, for each node in their hands, the unconditional authorities that cannot be reached."""
        lost = {name for name in self._lost[tenant] if self._settings.rules(name).is_unconditional}
        nodes: dict[str, set[str]] = {}
        if lost:
            spoken = [(x.node, x.authority) for found in self._ledger(tenant).by_node().values() for x in found]
            granted = [(group.node, group.authority) for group in self._groups.get(tenant, ())]
            for node, authority in (*spoken, *granted):
                if authority in lost:
                    nodes.setdefault(node, set()).add(authority)
        return {node: frozenset(names) for node, names in nodes.items()}

    # ---------------------------------------------------------------- what grid partners say

    async def receive(self, principal: Principal, received: ReceivedEvents) -> Sequence[EventAnswer]:
        """Make the events durable with our decision and return their answers in order, then those of refused events.

        Args:
            principal: The grid-protocol room.
            received: The events of one verified message.

        Raises:
            StorageUnavailable: Nothing was kept and the partner must not be answered; a reduction acts from memory.
        """
        principal.require(Permission.SIGNAL_RECEIVE)
        tenant = principal.tenant
        async with self._locks[tenant]:
            now = self._clock.now()
            ledger = self._ledger(tenant)
            ledger.prune(now)
            intake = Intake(known=ledger.events, decide=self._decision, draw=self._draw, now=now)
            decided = [intake.take(event) for event in received.events]
            if received.complete:
                decided += intake.cancel_missing(received.raw.authority, (one.event_id for one in received.rejected))
            changed = [d.event for d in decided if d.event is not None]
            limits = self._limits_after(tenant, changed, now)
            puts = (received.raw, *changed, *limits)
            audit = [
                *self._entries.of_events(principal, decided, received.raw.id),
                *self._entries.of_limits(principal, limits),
            ]
            batch = Batch(tenant=tenant, puts=tuple(Put(record=r) for r in puts), audit=tuple(audit))
            await self._write(batch, changed, limits)
        return [d.answer for d in decided if d.answer is not None] + list(received.rejected)

    def _draw(self, longest: timedelta) -> timedelta:
        return timedelta(seconds=self._ids.uniform(0.0, longest.total_seconds()))

    async def contact(self, principal: Principal, authority: str, *, is_lost: bool) -> None:
        """Tell whether a partner can be reached; a loss acts at once and never opens a limit."""
        principal.require(Permission.SIGNAL_RECEIVE)
        tenant = principal.tenant
        lost = self._lost[tenant]
        if is_lost == (authority in lost):
            return
        if is_lost:
            lost.add(authority)
        else:
            lost.discard(authority)
        self._notify(tenant)
        action = "signal.lost" if is_lost else "signal.found"
        entry = self._entries.of(principal, action, ("signal", authority))
        try:
            await self._apply(Batch(tenant=tenant, audit=(entry,)))
        except StorageUnavailable:
            if not is_lost:
                lost.add(authority)
                self._notify(tenant)
                raise

    # ---------------------------------------------------------------- what people ask and order

    async def events(self, principal: Principal) -> list[GridEvent]:
        """Return the tenant's events by the start of their active period."""
        principal.require(Permission.SIGNAL_READ)
        rows = await self._store.find(GridEvent, principal.tenant, newest_first=True)
        return [row.record for row in reversed(rows)]

    async def limits(self, principal: Principal, node_id: str, now: datetime) -> list[Limit]:
        """Return limits of a node that apply now or later.

        Raises:
            NotFound: There is no such node.
        """
        principal.require(Permission.SIGNAL_READ)
        self._node(principal.tenant, node_id)
        found = self._ledger(principal.tenant).at_node(node_id)
        return sorted((x for x in found if not _is_over(x, now)), key=lambda x: (x.interval.start, x.id))

    async def resolve(self, principal: Principal, node_id: str, at: datetime | None) -> Resolution:
        """Say what binds at a node at an instant, now by default.

        Raises:
            NotFound: There is no such node.
        """
        principal.require(Permission.SIGNAL_READ)
        node, now = self._node(principal.tenant, node_id), self._clock.now()
        if at is not None and at < now:
            rows = await self._store.find(Limit, principal.tenant, {"node": node_id}, limit=_MOST_ROWS)
            return resolve(node, [row.record for row in rows if row.record.known_at <= at], at)
        limits = self._ledger(principal.tenant).at_node(node_id)
        lost = self.lost_nodes(principal.tenant).get(node_id, frozenset())
        return resolve(node, limits, now if at is None else at, lost=lost)

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
        if not math.isfinite(max_kw):
            raise InvalidInput("max_power_kw", "must be a finite number")
        request_hash = _request_hash(request_id, [node_id, max_kw, start, end, reason])
        known = await self._replayed_limit(principal, request_id, request_hash)
        if known is not None:
            return known
        now = self._clock.now()
        node = self._node(principal.tenant, node_id)
        if not 0.0 <= max_kw <= node.max_import_kw:
            raise InvalidInput("max_power_kw", f"must be 0 to the node's rating of {node.max_import_kw:g} kW")
        begin = now if start is None else start
        if not now < end <= begin + self._settings.longest_manual:
            raise InvalidInput(
                "expire_time", f"must lie ahead, at most {self._settings.longest_manual.days} days after the start"
            )
        limit = Limit(
            id=self._ids.new("limit"),
            tenant=principal.tenant,
            authority=f"{_MANUAL}{principal.actor}",
            node=node_id,
            direction=Direction.IMPORT,
            kind=LimitKind.LIMIT,
            binding=Binding.MANDATORY,
            max_kw=max_kw,
            interval=Interval(start=begin, end=end),
            cause=f"account:{principal.actor}",
            known_at=now,
            reason=reason,
        )
        await self._write_manual(principal, limit, request_id, request_hash)
        return limit

    async def withdraw_manual_limit(
        self, principal: Principal, *, limit_id: str, reason: str, request_id: str
    ) -> Limit:
        """Withdraw a manual limit before its end.

        Raises:
            NotFound: There is no such manual limit.
            PreconditionFailed: It is over already.
        """
        principal.require(Permission.LIMIT_SET)
        request_hash = _request_hash(request_id, [limit_id, reason])
        known = await self._replayed_limit(principal, request_id, request_hash)
        if known is not None:
            return known
        row = await self._store.get(Limit, principal.tenant, limit_id)
        if row is None or not row.record.authority.startswith(_MANUAL):
            raise NotFound("limit", limit_id)
        now = self._clock.now()
        if _is_over(row.record, now):
            raise PreconditionFailed("the limit is over")
        withdrawn = replace(row.record, withdrawn_at=now)
        await self._write_manual(principal, withdrawn, request_id, request_hash, reason)
        return withdrawn

    async def change_opt(
        self, principal: Principal, *, event_id: str, opt: OptType, reason: str, request_id: str
    ) -> GridEvent:
        """Change our answer to an event; its limits follow and the grid-protocol room is told by outbox (`openadr-opt`).

        Raises:
            NotFound: There is no such event.
            PreconditionFailed: It is over.
        """
        principal.require(Permission.OPT_DECIDE)
        tenant = principal.tenant
        request_hash = _request_hash(request_id, [event_id, opt, reason])
        async with self._locks[tenant]:
            row = await self._store.get(GridEvent, tenant, event_id)
            if row is None:
                raise NotFound("event", event_id)
            if await self._store.replay(tenant, request_id, request_hash) is not None:
                return row.record
            now = self._clock.now()
            if row.record.status(now) in {EventStatus.CANCELLED, EventStatus.COMPLETED}:
                raise PreconditionFailed("the event is over")
            event = replace(row.record, opt=opt, opt_reason=reason)
            limits = self._limits_after(tenant, [event], now)
            entry = self._entries.of(
                principal, "event.opt", ("event", event.id), detail={"opt": opt.value, "reason": reason}
            )
            told = OutboxItem(
                id=f"opt:{request_id}",
                tenant=tenant,
                topic="openadr-opt",
                key=event.id,
                due_at=now,
                expires_at=event.active.end,
            )
            batch = Batch(
                tenant=tenant,
                puts=tuple(Put(record=record) for record in (event, *limits)),
                audit=(replace(entry, request_id=request_id), *self._entries.of_limits(principal, limits)),
                outbox=(told,),
                request_id=request_id,
                request_hash=request_hash,
                response=event.id,
            )
            await self._write(batch, [event], limits)
        return event

    # ---------------------------------------------------------------- inside

    def _decision(self, event: GridEvent, now: datetime) -> tuple[GridEvent, str]:
        """Return the event with baselines and answer filled in; a text when it cannot be applied at all."""
        unknown = [node for node in event.nodes if self._sources.find_node(event.tenant, node) is None]
        if unknown or not event.nodes:
            return event, "target is not a node of ours"
        with_baselines = replace(
            event,
            intervals=tuple(
                replace(i, baseline_kw=self._sources.baseline_kw(event.tenant, event.nodes[0], now))
                if i.is_reduction
                else i
                for i in event.intervals
            ),
        )
        reductions = [i for i in with_baselines.intervals if i.is_reduction]
        if reductions and (len(event.nodes) > 1 or any(i.baseline_kw is None for i in reductions)):
            return replace(with_baselines, opt=OptType.OPT_OUT, opt_reason="no baseline for a reduction"), ""
        opt, reason = self._sources.decide(with_baselines, now)
        return replace(with_baselines, opt=opt, opt_reason=reason), ""

    def _limits_after(self, tenant: str, changed: Sequence[GridEvent], now: datetime) -> list[Limit]:
        """Return the limit rows to write: new ones, and old ones that are withdrawn."""
        rows: list[Limit] = []
        for authority in sorted({event.authority for event in changed}):
            events, limits = self._ledger(tenant).of_authority(authority)
            current = {event.id: event for event in events} | {e.id: e for e in changed if e.authority == authority}
            ratings = {
                node: found.max_import_kw
                for event in current.values()
                for node in event.nodes
                if (found := self._sources.find_node(tenant, node))
            }
            wanted = {
                x.id: x for x in limits_of_events(current.values(), self._settings.rules(authority), ratings, now)
            }
            in_force = {x.id: x for x in limits if x.withdrawn_at is None and x.cause.startswith("event:")}
            rows += [limit for key, limit in wanted.items() if key not in in_force]
            gone = (x for key, x in in_force.items() if key not in wanted and not _is_over(x, now))
            rows += [replace(limit, withdrawn_at=now) for limit in gone]
        return rows

    async def _write_manual(
        self, principal: Principal, limit: Limit, request_id: str, request_hash: str, reason: str = ""
    ) -> None:
        entries = self._entries.of_limits(principal, [limit], reason)
        batch = Batch(
            tenant=principal.tenant,
            puts=(Put(record=limit),),
            audit=tuple(replace(entry, request_id=request_id) for entry in entries),
            request_id=request_id,
            request_hash=request_hash,
            response=limit.id,
        )
        await self._write(batch, [], [limit])

    async def _write(self, batch: Batch, events: Iterable[GridEvent], limits: Sequence[Limit]) -> None:
        """Write, then let the limits act; when the store fails, reductions act from memory and the error goes on."""
        ledger = self._ledger(batch.tenant)
        try:
            await self._apply(batch)
        except StorageUnavailable:
            ledger.hold(limits)
            self._notify(batch.tenant)
            raise
        ledger.commit(events, limits)
        self._notify(batch.tenant)

    async def _apply(self, batch: Batch) -> None:
        try:
            async with asyncio.timeout(self._settings.store_patience_s):
                await self._store.apply(batch)
        except TimeoutError as error:
            raise StorageUnavailable("the store does not answer") from error

    async def _replayed_limit(self, principal: Principal, request_id: str, request_hash: str) -> Limit | None:
        known = await self._store.replay(principal.tenant, request_id, request_hash)
        row = None if known is None else await self._store.get(Limit, principal.tenant, known)
        return None if row is None else row.record

    def _ledger(self, tenant: str) -> LimitLedger:
        try:
            return self._ledgers[tenant]
        except KeyError as error:
            raise NotFound("tenant", tenant) from error

    def _node(self, tenant: str, node_id: str) -> Node:
        node = self._sources.find_node(tenant, node_id)
        if node is None:
            raise NotFound("node", node_id)
        return node

    def _notify(self, tenant: str) -> None:
        for callback in self.on_change:
            callback(tenant)


def _is_over(limit: Limit, now: datetime) -> bool:
    is_withdrawn = limit.withdrawn_at is not None and limit.withdrawn_at <= now
    return is_withdrawn or (limit.interval.end is not None and limit.interval.end <= now)


def _request_hash(request_id: str, content: Sequence[object]) -> str:
    if not 0 < len(request_id) <= 128:
        raise InvalidInput("request_id", "must have 1 to 128 characters")
    return content_hash(list(content))
