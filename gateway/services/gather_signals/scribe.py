"""The pen of the desk: works out the limits that follow from what changed, makes both durable, then lets the limits act."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TypeVar

from gateway.domain.errors import NotFound, StorageUnavailable
from gateway.domain.limits import OF_EVENT, Limit
from gateway.domain.programs import Enrolment, ProgramState
from gateway.domain.signals import GridEvent
from gateway.ports import Batch, Clock, Ids, NotBefore, Store
from gateway.services.gather_signals.agreements import Agreements
from gateway.services.gather_signals.blocks import ConsentEnd
from gateway.services.gather_signals.entries import SignalEntries
from gateway.services.gather_signals.ledger import KEPT_AFTER_END, LimitLedger
from gateway.services.gather_signals.programs import Circumstances, limits_of_events
from gateway.services.gather_signals.settings import SignalSettings, SignalSources
from gateway.turns import beside

MOST_ROWS = 200_000
_ALL_ROWS = 2**62
"""What applies is never left out because there is much of it."""
_PATIENCE_PER_ROW_S = 0.001
"""Real seconds that a write may take longer for each of its rows."""


class Scribe:
    """What the parts of the desk share: books of every tenant, and the way to change them."""

    def __init__(  # each is a seam of its own
        self,
        *,
        store: Store,
        clock: Clock,
        ids: Ids,
        tenants: Sequence[str],
        sources: SignalSources,
        settings: SignalSettings,
    ) -> None:
        """Remember the ports; `load` fills the books."""
        self.store = store
        self.clock = clock
        self.ids = ids
        self.entries = SignalEntries(clock=clock, ids=ids)
        self.sources = sources
        self.settings = settings
        self.tenants = tuple(tenants)
        self._ledgers = {tenant: LimitLedger() for tenant in tenants}
        self._agreements = {tenant: Agreements() for tenant in tenants}
        self._locks = {tenant: asyncio.Lock() for tenant in tenants}
        self.on_change: list[Callable[[str], None]] = []

    async def load(self) -> None:
        """Fill the books from rows."""
        now = self.clock.now()
        for tenant, ledger in self._ledgers.items():
            events = await self.store.find(GridEvent, tenant, newest_first=True, limit=MOST_ROWS)
            limits = await self._limits_of(tenant, now)
            ledger.load([row.record for row in events], limits, now)
            enrolments = await self.store.find(Enrolment, tenant, limit=MOST_ROWS)
            states = await self.store.find(ProgramState, tenant, limit=MOST_ROWS)
            self._agreements[tenant] = Agreements([row.record for row in enrolments], [row.record for row in states])

    async def _limits_of(self, tenant: str, now: datetime) -> list[Limit]:
        """Return every limit that applies now or later, however old it is, and what ended lately, for those who look back."""
        ahead = await self.store.find(Limit, tenant, {"over_at": NotBefore(now)}, limit=_ALL_ROWS)
        ended = {"over_at": NotBefore(now - KEPT_AFTER_END)}
        past = await self.store.find(Limit, tenant, ended, until=now, newest_first=True, limit=MOST_ROWS)
        return list({row.record.id: row.record for row in (*past, *ahead)}.values())

    def ledger(self, tenant: str) -> LimitLedger:
        """Return the events and limits of a tenant.

        Raises:
            NotFound: There is no such tenant.
        """
        return _of_tenant(self._ledgers, tenant)

    def agreements(self, tenant: str) -> Agreements:
        """Return the enrolments and switches of a tenant.

        Raises:
            NotFound: There is no such tenant.
        """
        return _of_tenant(self._agreements, tenant)

    def agree(self, tenant: str, agreements: Agreements) -> None:
        """Put other enrolments and switches in force; whoever does holds the lock."""
        self._agreements[tenant] = agreements

    def lock(self, tenant: str) -> asyncio.Lock:
        """Return the lock that whoever changes events of a tenant holds.

        Raises:
            NotFound: There is no such tenant.
        """
        return _of_tenant(self._locks, tenant)

    async def limits_after(self, tenant: str, changed: Sequence[GridEvent], now: datetime) -> list[Limit]:
        """Return the limit rows to write: new ones, and old ones that are withdrawn."""
        rows: list[Limit] = []
        for authority in sorted({event.authority for event in changed}):
            events, limits = self.ledger(tenant).of_authority(authority)
            current = {event.id: event for event in events} | {e.id: e for e in changed if e.authority == authority}
            around = Circumstances(
                rules_of=self.settings.rules_of,
                ratings_kw=self._ratings(tenant, current.values()),
                now=now,
                consent_end=self._consent_end(tenant, now),
            )
            size = sum(len(event.intervals) for event in current.values())
            found = await beside(size, partial(_fold, tuple(current.values()), around))
            wanted = {limit.id: limit for limit in found}
            in_force = {x.id: x for x in limits if x.withdrawn_at is None and x.cause.startswith(OF_EVENT)}
            rows += [limit for key, limit in wanted.items() if key not in in_force]
            gone = (x for key, x in in_force.items() if key not in wanted and not x.is_over(now))
            rows += [replace(limit, withdrawn_at=now) for limit in gone]
        return rows

    def _ratings(self, tenant: str, events: Iterable[GridEvent]) -> dict[str, float]:
        names = {node for event in events for node in event.nodes}
        nodes = {name: self.sources.find_node(tenant, name) for name in names}
        return {name: node.max_import_kw for name, node in nodes.items() if node is not None}

    def _consent_end(self, tenant: str, now: datetime) -> ConsentEnd:
        # Agreements are replaced, never changed, so that a fold in a thread reads one state of them.
        agreements = self.agreements(tenant)

        def end(event: GridEvent, node: str) -> datetime | None:
            is_asked = self.settings.rules_of(event).requires_enrolment
            return agreements.consent_end(event, node, now) if is_asked else None

        return end

    async def write(self, batch: Batch, events: Iterable[GridEvent], limits: Sequence[Limit]) -> None:
        """Write, then let the limits act; when that fails or is given up, reductions act from memory and the error goes on.

        Raises:
            StorageUnavailable: Nothing was kept.
        """
        ledger = self.ledger(batch.tenant)
        try:
            await self.apply(batch)
        except (StorageUnavailable, asyncio.CancelledError):
            # Nobody waits for the answer any more, or nobody can give one: it may be on disk.
            ledger.hold(limits)
            self.notify(batch.tenant)
            raise
        ledger.commit(events, limits)
        self.notify(batch.tenant)

    def catch_up(self, limit: Limit) -> None:
        """Let a limit act that is on disk although nobody waited for it to get there."""
        ledger, now = self.ledger(limit.tenant), self.clock.now()
        held = ledger.limits.get(limit.id)
        is_news = not limit.is_over(now) if held is None else limit.is_over(now) and not held.is_over(now)
        if is_news:
            ledger.commit([], [limit])
            self.notify(limit.tenant)

    async def apply(self, batch: Batch) -> None:
        """Write a batch within the patience, which grows with its rows.

        Raises:
            StorageUnavailable: Nothing was kept, or nobody can say.
        """
        try:
            row_count = len(batch.puts) + len(batch.audit)
            async with asyncio.timeout(self.settings.store_patience_s + row_count * _PATIENCE_PER_ROW_S):
                await self.store.apply(batch)
        except TimeoutError as error:
            raise StorageUnavailable("the store does not answer") from error

    def notify(self, tenant: str) -> None:
        """Tell whoever listens that limits or contacts changed."""
        for callback in self.on_change:
            callback(tenant)


def _fold(events: Sequence[GridEvent], around: Circumstances) -> list[Limit]:
    return list(limits_of_events(events, around))


_BookT = TypeVar("_BookT")


def _of_tenant(books: Mapping[str, _BookT], tenant: str) -> _BookT:
    try:
        return books[tenant]
    except KeyError as error:
        raise NotFound("tenant", tenant) from error
