"""Limits that authorities state directly, made durable with what they replace and with the rows of the room that brings them."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial

from gateway.domain.authorities import AuthorityStanding, StatedRules, protocol_of, require_plausible
from gateway.domain.errors import Conflict, InvalidInput
from gateway.domain.identity import Permission, Principal
from gateway.domain.limits import Direction, Limit
from gateway.ports import Batch, Put, StatedLimits
from gateway.services.gather_signals.contacts import Contacts
from gateway.services.gather_signals.manual import request_hash
from gateway.services.gather_signals.replacing import rows_after
from gateway.services.gather_signals.scribe import Scribe
from gateway.turns import EVERY, beside, in_turns

_OTHER_DOORS = frozenset({"manual"})
"""Protocols whose limits are checked elsewhere: what people order always expires within days."""


class StatedWords:
    """Takes what authorities state."""

    def __init__(self, scribe: Scribe, contacts: Contacts) -> None:
        """Remember who writes and who knows which nodes are in whose hands."""
        self._scribe = scribe
        self._contacts = contacts

    def stated_by(self, tenant: str, authority: str) -> Sequence[Limit]:
        """Return the limits of an authority that are in force or to come, by their start."""
        now = self._scribe.clock.now()
        _, limits = self._scribe.ledger(tenant).of_authority(authority)
        return sorted((x for x in limits if not x.is_over(now)), key=lambda x: (x.interval.start, x.id))

    async def state(self, principal: Principal, stated: StatedLimits) -> None:
        """Write what an authority says; see `SignalGatherer.state_limits`."""
        principal.require(Permission.SIGNAL_RECEIVE)
        if protocol_of(stated.authority) in _OTHER_DOORS:
            raise InvalidInput("authority", f"{stated.authority} has a door of its own")
        for number, limit in enumerate(stated.limits, 1):
            self._check(principal, stated.authority, limit)
            if number % EVERY == 0:
                await asyncio.sleep(0)
        tenant = principal.tenant
        ledger, lock = self._scribe.ledger(tenant), self._scribe.lock(tenant)
        if lock.locked():
            # Somebody's thousand events may take a second: a reduction does not wait for them, its acknowledgement does.
            for place in range(0, len(stated.limits), EVERY):
                ledger.hold(stated.limits[place : place + EVERY])
                await asyncio.sleep(0)
            self._scribe.notify(tenant)
        async with lock:
            now = self._scribe.clock.now()
            ledger.prune(now)
            known = (
                ledger.of_authority(stated.authority)[1]
                if stated.withdrawn
                else ledger.touching(stated.authority, (limit.node for limit in stated.limits))
            )
            new, rows = await beside(len(known) + len(stated.limits), partial(_said, stated, known, now))
            standing = self._contacts.after(tenant, stated.authority, new, now)
            own = (stated.raw, standing, *rows)
            batch = Batch(
                tenant=tenant,
                puts=(*stated.puts, *await in_turns(Put(record=record) for record in own if record is not None)),
                audit=(*stated.audit, *await in_turns(self._scribe.entries.of_limits(principal, rows))),
            )
            try:
                await self._scribe.write(batch, [], rows)
            except Conflict:
                ledger.let_go(limit.id for limit in new)
                self._scribe.notify(tenant)
                raise
            if standing is not None:
                self._contacts.commit(standing)

    async def release(self, principal: Principal, authority: str, *, reason: str, request_id: str) -> AuthorityStanding:
        """End the say of an authority; see `SignalGatherer.release_authority`."""
        principal.require(Permission.LIMIT_SET)
        tenant = principal.tenant
        content_id = request_hash(request_id, [authority, reason])
        async with self._scribe.lock(tenant):
            now = self._scribe.clock.now()
            standing = self._contacts.without(tenant, authority, now)
            if await self._scribe.store.replay(tenant, request_id, content_id) is not None:
                return standing
            known = self._scribe.ledger(tenant).of_authority(authority)[1]
            rows = [replace(limit, withdrawn_at=now) for limit in known if not limit.is_over(now)]
            entry = self._scribe.entries.of(
                principal, "authority.release", ("authority", authority), detail={"reason": reason}
            )
            batch = Batch(
                tenant=tenant,
                puts=tuple(Put(record=record) for record in (standing, *rows)),
                audit=(replace(entry, request_id=request_id), *self._scribe.entries.of_limits(principal, rows, reason)),
                request_id=request_id,
                request_hash=content_id,
                response=authority,
            )
            await self._scribe.apply(batch)
            ledger = self._scribe.ledger(tenant)
            ledger.commit([], rows)
            ledger.release(authority)
            self._contacts.commit(standing)
            self._scribe.notify(tenant)
        return standing

    def _check(self, principal: Principal, authority: str, limit: Limit) -> None:
        if limit.authority != authority:
            raise InvalidInput("limit.authority", f"must be {authority}")
        if limit.tenant != principal.tenant:
            raise InvalidInput("limit.tenant", "must be the tenant of the caller")
        place = self._scribe.sources.find_place(principal.tenant, limit.node)
        if place is None:
            raise InvalidInput("limit.node", f"{limit.node} is not a node or charger")
        collar = (self._scribe.settings.stated_rules(authority) or StatedRules()).most_times_rating
        rating_kw = place.max_import_kw if limit.direction is Direction.IMPORT else place.max_export_kw
        require_plausible("limit.max_kw", limit.max_kw, rating_kw, collar)
        for phase_kw in limit.phase_max_kw or ():
            require_plausible("limit.phase_max_kw", 0.0 if phase_kw is None else phase_kw, rating_kw, collar)


def _said(stated: StatedLimits, known: Sequence[Limit], now: datetime) -> tuple[list[Limit], list[Limit]]:
    """Return what an authority says now, and the rows to write for it."""
    new = [replace(limit, known_at=now) for limit in stated.limits]
    return new, rows_after(known, new, stated.withdrawn, now)
