"""Which authorities can be reached, which nodes are in their hands, and what of that survives a restart."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from gateway.domain.authorities import AuthorityStanding, StatedRules
from gateway.domain.errors import NotFound, StorageUnavailable
from gateway.domain.identity import Permission, Principal
from gateway.domain.limits import Direction, Limit
from gateway.domain.signals import GridEvent
from gateway.domain.topology import CapacityGroup
from gateway.ports import Batch, Put
from gateway.services.gather_signals.scribe import MOST_ROWS, Scribe

_DEFAULT = StatedRules()


class Contacts:
    """Contact with the authorities of every tenant."""

    def __init__(self, scribe: Scribe) -> None:
        """Count those as lost that are unconditional by configuration; `load` adds what was known before."""
        self._scribe = scribe
        unconditional = {name for name, rules in scribe.settings.programs.items() if rules.is_unconditional}
        self._lost = {tenant: set(unconditional) for tenant in scribe.tenants}
        self._said: dict[str, dict[str, bool]] = {tenant: {} for tenant in scribe.tenants}
        """The last word about each authority, which may not be on disk yet."""
        self._groups: dict[str, list[CapacityGroup]] = {}
        self._standings: dict[str, dict[str, AuthorityStanding]] = {tenant: {} for tenant in scribe.tenants}

    async def load(self) -> None:
        """Take over rows: whoever was lost when the process ended still is."""
        store = self._scribe.store
        for tenant in self._scribe.tenants:
            await self.refresh(tenant)
            standings = [row.record for row in await store.find(AuthorityStanding, tenant, limit=MOST_ROWS)]
            self._standings[tenant] = {one.id: one for one in standings}
            self._lost[tenant] |= {one.id for one in standings if one.is_lost}

    async def refresh(self, tenant: str) -> None:
        """Read again which nodes are in whose hands: the tree may have been imported anew."""
        rows = await self._scribe.store.find(CapacityGroup, tenant, limit=MOST_ROWS)
        groups = [row.record for row in rows]
        if groups != self._groups.get(tenant):
            self._groups[tenant] = groups
            self._scribe.notify(tenant)

    def unwritten(self, tenant: str) -> list[AuthorityStanding]:
        """Return who was lost while the store failed, as it is to be remembered."""
        lost = self._lost[tenant]
        found = (self._changed(tenant, name, is_lost=True) for name in sorted(lost & set(self._said[tenant])))
        known = self._standings[tenant]
        return [one for one in found if one is not None and not (one.id in known and known[one.id].is_lost)]

    def standings(self, tenant: str) -> list[AuthorityStanding]:
        """Return what is remembered of the authorities of a tenant that state limits, by name; lost as known now."""
        known, lost = self._standings[tenant], self._lost[tenant]
        return [replace(known[name], is_lost=name in lost) for name in sorted(known)]

    @property
    def lost(self) -> frozenset[str]:
        """Authorities that any tenant cannot reach."""
        return frozenset(name for names in self._lost.values() for name in names)

    def lost_nodes(self, tenant: str) -> dict[str, frozenset[str]]:
        """Return, for each node in their hands, the unconditional authorities that cannot be reached."""
        lost = {name for name in self._lost[tenant] if self._is_unconditional(tenant, name)} - self._released(tenant)
        if not lost:
            return {}
        ledger = self._scribe.ledger(tenant)
        held = [(node, name) for name in lost for node in ledger.nodes_of(name)]
        granted = [(group.node, group.authority) for group in self._groups.get(tenant, ())]
        spoken = [(node, one.id) for one in self._standings[tenant].values() for node in _all_nodes(one)]
        return _by_node(place for place in (*held, *granted, *spoken) if place[1] in lost)

    def steady_nodes(self, tenant: str, direction: Direction) -> dict[str, frozenset[str]]:
        """Return, for each node in their hands, the authorities that say a limit for every instant."""
        is_import = direction is Direction.IMPORT
        granted = [(group.node, group.authority) for group in self._groups.get(tenant, ()) if is_import]
        spoken = [
            (node, one.id)
            for one in self._standings[tenant].values()
            for node in (one.nodes if is_import else one.export_nodes)
        ]
        released = self._released(tenant)
        return _by_node(p for p in (*granted, *spoken) if p[1] not in released and self._is_forecast(p[1]))

    async def change(self, principal: Principal, authority: str, *, is_lost: bool) -> None:
        """Tell whether an authority can be reached; a loss acts at once and never opens a limit."""
        principal.require(Permission.SIGNAL_RECEIVE)
        tenant = principal.tenant
        lost, said = self._lost[tenant], self._said[tenant]
        if said.get(authority, authority in lost) == is_lost:
            return
        said[authority] = is_lost
        if is_lost:
            lost.add(authority)
            self._scribe.notify(tenant)
        try:
            async with self._scribe.lock(tenant):
                if said[authority] == is_lost:
                    await self._keep(principal, authority, is_lost=is_lost)
        except asyncio.CancelledError:
            # What nobody waited for did not happen: the next word counts again.
            said[authority] = authority in lost
            raise

    async def _keep(self, principal: Principal, authority: str, *, is_lost: bool) -> None:
        """Write a change of contact; only then whoever was found counts as found."""
        tenant = principal.tenant
        standing = self._changed(tenant, authority, is_lost=is_lost)
        entry = self._scribe.entries.of(principal, "signal.lost" if is_lost else "signal.found", ("signal", authority))
        puts = () if standing is None else (Put(record=standing),)
        try:
            await self._scribe.apply(Batch(tenant=tenant, puts=puts, audit=(entry,)))
        except StorageUnavailable:
            if is_lost:
                return
            self._said[tenant][authority] = True
            raise
        if standing is not None:
            self.commit(standing)
        if not is_lost and not self._said[tenant][authority]:
            # Who was lost again while this was written stays lost.
            self._lost[tenant].discard(authority)
            self._scribe.notify(tenant)

    def after(self, tenant: str, authority: str, limits: Iterable[Limit], now: datetime) -> AuthorityStanding | None:
        """Return what is to be remembered when an authority has stated limits; None when that is known already."""
        old = self._standings[tenant].get(authority) or AuthorityStanding(
            id=authority, tenant=tenant, nodes=(), is_lost=authority in self._lost[tenant], changed_at=now
        )
        drawn = {limit.node for limit in limits if limit.direction is Direction.IMPORT}
        fed_in = {limit.node for limit in limits if limit.direction is Direction.EXPORT}
        nodes = tuple(sorted({*old.nodes, *drawn}))
        export_nodes = tuple(sorted({*old.export_nodes, *fed_in}))
        if (nodes, export_nodes, False) == (old.nodes, old.export_nodes, old.is_released):
            return None
        return replace(old, nodes=nodes, export_nodes=export_nodes, is_released=False, changed_at=now)

    def called(
        self, tenant: str, authority: str, events: Iterable[GridEvent], now: datetime
    ) -> AuthorityStanding | None:
        """Return what is to be remembered when an authority has sent events; None when that is known already or means nothing.

        Whose silence counts must be known where, also when its last event is long over.
        """
        if not self._scribe.settings.rules(authority).is_unconditional:
            return None
        old = self._standings[tenant].get(authority) or AuthorityStanding(
            id=authority,
            tenant=tenant,
            nodes=(),
            is_lost=authority in self._lost[tenant],
            changed_at=now,
            sends_events=True,
        )
        called = {node for event in events if not (event.test_event or event.is_dry_run) for node in event.nodes}
        if not called or (called <= set(old.nodes) and not old.is_released):
            return None
        return replace(old, nodes=tuple(sorted({*old.nodes, *called})), is_released=False, changed_at=now)

    def without(self, tenant: str, authority: str, now: datetime) -> AuthorityStanding:
        """Return what is to be remembered of an authority when a person has ended its say.

        Raises:
            NotFound: Nobody of that name states limits here.
        """
        old = self._standings[tenant].get(authority)
        is_granted = any(group.authority == authority for group in self._groups.get(tenant, ()))
        if old is None and (not is_granted or self._scribe.settings.stated_rules(authority) is None):
            raise NotFound("authority", authority)
        is_lost = authority in self._lost[tenant]
        plain = AuthorityStanding(id=authority, tenant=tenant, nodes=(), is_lost=is_lost, changed_at=now)
        return replace(old or plain, nodes=(), export_nodes=(), is_released=True, changed_at=now)

    def _released(self, tenant: str) -> set[str]:
        return {one.id for one in self._standings[tenant].values() if one.is_released}

    def commit(self, standing: AuthorityStanding) -> None:
        """Take over what is on disk now."""
        self._standings[standing.tenant][standing.id] = standing

    def _changed(self, tenant: str, authority: str, *, is_lost: bool) -> AuthorityStanding | None:
        """Return what is to be remembered of a change of contact; None where there is nothing yet: events start as lost."""
        now = self._scribe.clock.now()
        old = self._standings[tenant].get(authority)
        if old is not None:
            return replace(old, is_lost=is_lost, changed_at=now)
        if self._scribe.settings.stated_rules(authority) is None:
            return None
        return AuthorityStanding(id=authority, tenant=tenant, nodes=(), is_lost=is_lost, changed_at=now)

    def _is_unconditional(self, tenant: str, authority: str) -> bool:
        stated, known = self._scribe.settings.stated_rules(authority), self._standings[tenant].get(authority)
        if stated is None and known is not None and not known.sends_events:
            stated = _DEFAULT
        by_events = self._scribe.settings.rules(authority).is_unconditional
        return by_events or (stated is not None and stated.is_unconditional)

    def _is_forecast(self, authority: str) -> bool:
        stated = self._scribe.settings.stated_rules(authority)
        return stated is not None and stated.is_forecast


def _all_nodes(standing: AuthorityStanding) -> set[str]:
    return {*standing.nodes, *standing.export_nodes}


def _by_node(places: Iterable[tuple[str, str]]) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for node, authority in places:
        found.setdefault(node, set()).add(authority)
    return _frozen(found)


def _frozen(found: Mapping[str, set[str]]) -> dict[str, frozenset[str]]:
    return {node: frozenset(names) for node, names in found.items()}
