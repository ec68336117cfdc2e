"""Says what would open if a person ended the say of an authority; writes nothing."""

import asyncio
from datetime import datetime

from gateway.domain.identity import Permission, Principal
from gateway.domain.limits import Direction, Limit
from gateway.domain.release import OpenedPlace, SimulatedRelease, opened_place
from gateway.services.gather_signals.contacts import Contacts
from gateway.services.gather_signals.ledger import UNSAVED
from gateway.services.gather_signals.scribe import Scribe

_AT_A_TIME = 10
"""Nodes that are folded at a stretch."""
_NOBODY: frozenset[str] = frozenset()


class ReleaseSimulator:
    """Looks at the limits known now without one authority."""

    def __init__(self, scribe: Scribe, contacts: Contacts) -> None:
        """Remember who knows the limits and who is in contact."""
        self._scribe = scribe
        self._contacts = contacts

    async def simulate(self, principal: Principal, authority: str) -> SimulatedRelease:
        """Return what would open, see `SignalGatherer.simulate_release`."""
        principal.require(Permission.SIGNAL_READ)
        principal.require(Permission.LIMIT_SET)
        tenant, now = principal.tenant, self._scribe.clock.now()
        released = self._contacts.without(tenant, authority, now)
        known = next((one for one in self._contacts.standings(tenant) if one.id == authority), released)
        found = [
            *await self._places(tenant, authority, Direction.IMPORT, now),
            *await self._places(tenant, authority, Direction.EXPORT, now),
        ]
        _, limits = self._scribe.ledger(tenant).of_authority(authority)
        return SimulatedRelease(
            authority=authority,
            is_lost=known.is_lost,
            changed_at=known.changed_at,
            limit_count=sum(not limit.is_over(now) for limit in limits),
            places=tuple(sorted(found, key=lambda one: (-one.most_kw, one.before.node))),
        )

    async def _places(self, tenant: str, authority: str, direction: Direction, now: datetime) -> list[OpenedPlace]:
        """Return every place where an authority has a say in one direction, in slices between which others have their turn."""
        limits = dict(self._scribe.ledger(tenant).by_node())
        lost, steady = self._contacts.lost_nodes(tenant), self._contacts.steady_nodes(tenant, direction)
        spoken = self._scribe.ledger(tenant).nodes_of(authority)
        own = frozenset({authority, f"{authority}{UNSAVED}"})
        names = {name for name in spoken if any(_counts(limit, own, direction, now) for limit in limits.get(name, ()))}
        names |= {name for said in (lost, steady) for name in said if authority in said[name]}
        places = []
        for count, name in enumerate(sorted(names)):
            place = self._scribe.sources.find_place(tenant, name)
            if place is not None:
                silent = (lost.get(name, _NOBODY), steady.get(name, _NOBODY))
                known = limits.get(name, ())
                places.append(opened_place(place, known, own, direction=direction, silent=silent, now=now))
            if count % _AT_A_TIME == 0:
                await asyncio.sleep(0)
        return [one for one in places if direction is Direction.IMPORT or one.most_kw > 0.0]


def _counts(limit: Limit, own: frozenset[str], direction: Direction, now: datetime) -> bool:
    return limit.authority in own and limit.direction is direction and not limit.is_over(now)
