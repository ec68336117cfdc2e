"""Limits by order of a person: named after who set them, always with an end."""

import math
from dataclasses import replace
from datetime import datetime

from gateway.domain.errors import InvalidInput, NotFound, PreconditionFailed
from gateway.domain.evidence import content_hash, require_request_id
from gateway.domain.identity import Permission, Principal
from gateway.domain.limits import MANUAL, Binding, Direction, Limit, LimitKind
from gateway.domain.timegrid import Interval
from gateway.domain.topology import Node
from gateway.ports import Batch, Put
from gateway.services.gather_signals.scribe import Scribe


def request_hash(request_id: str, content: list[object]) -> str:
    """Return what a repetition of a request must match.

    Raises:
        InvalidInput: The request id is empty or too long.
    """
    require_request_id(request_id)
    return content_hash(content)


class ManualOrders:
    """Sets and withdraws limits for people."""

    def __init__(self, scribe: Scribe) -> None:
        """Remember who writes."""
        self._scribe = scribe

    async def set_limit(  # noqa: PLR0913  # what a person must say is six things
        self,
        principal: Principal,
        *,
        node: Node,
        max_kw: float,
        start: datetime | None,
        end: datetime,
        reason: str,
        request_id: str,
    ) -> Limit:
        """Set a limit; see `SignalGatherer.set_manual_limit`."""
        content_id = request_hash(request_id, [node.id, max_kw, start, end, reason])
        known = await self._replayed(principal, request_id, content_id)
        if known is not None:
            return known
        limit = self.draft(principal, node=node, max_kw=max_kw, start=start, end=end, reason=reason)
        await self._write(principal, limit, request_id, content_id)
        return limit

    def draft(  # what a person must say
        self, principal: Principal, *, node: Node, max_kw: float, start: datetime | None, end: datetime, reason: str
    ) -> Limit:
        """Return the limit that an order would set, checked; nothing is written.

        Raises:
            InvalidInput: A value is wrong.
        """
        require_finite(max_kw)
        now = self._scribe.clock.now()
        if not 0.0 <= max_kw <= node.max_import_kw:
            raise InvalidInput("max_power_kw", f"must be 0 to the node's rating of {node.max_import_kw:g} kW")
        begin, longest = now if start is None else start, self._scribe.settings.longest_manual
        if not now < end <= begin + longest:
            raise InvalidInput("expire_time", f"must lie ahead, at most {longest.days} days after the start")
        return Limit(
            id=self._scribe.ids.new("limit"),
            tenant=principal.tenant,
            authority=f"{MANUAL}{principal.actor}",
            node=node.id,
            direction=Direction.IMPORT,
            kind=LimitKind.LIMIT,
            binding=Binding.MANDATORY,
            max_kw=max_kw,
            interval=Interval(start=begin, end=end),
            cause=f"account:{principal.actor}",
            known_at=now,
            reason=reason,
        )

    async def withdraw(self, principal: Principal, *, limit_id: str, reason: str, request_id: str) -> Limit:
        """Withdraw a limit; see `SignalGatherer.withdraw_manual_limit`."""
        principal.require(Permission.LIMIT_SET)
        content_id = request_hash(request_id, [limit_id, reason])
        known = await self._replayed(principal, request_id, content_id)
        if known is not None:
            return known
        limit = await self._known(principal.tenant, limit_id)
        if limit is None or not limit.is_manual:
            raise NotFound("limit", limit_id)
        now = self._scribe.clock.now()
        if limit.is_over(now):
            raise PreconditionFailed("the limit is over")
        withdrawn = replace(limit, withdrawn_at=now)
        await self._write(principal, withdrawn, request_id, content_id, reason)
        return withdrawn

    async def _known(self, tenant: str, limit_id: str) -> Limit | None:
        """Return a limit that is on disk, or that acts from memory because it could not be written."""
        row = await self._scribe.store.get(Limit, tenant, limit_id)
        if row is not None:
            return row.record
        return next((x for x in self._scribe.ledger(tenant).held(MANUAL) if x.id == limit_id), None)

    async def _write(
        self, principal: Principal, limit: Limit, request_id: str, content_id: str, reason: str = ""
    ) -> None:
        entries = self._scribe.entries.of_limits(principal, [limit], reason)
        batch = Batch(
            tenant=principal.tenant,
            puts=(Put(record=limit),),
            audit=tuple(replace(entry, request_id=request_id) for entry in entries),
            request_id=request_id,
            request_hash=content_id,
            response=limit.id,
        )
        await self._scribe.write(batch, [], [limit])

    async def _replayed(self, principal: Principal, request_id: str, content_id: str) -> Limit | None:
        known = await self._scribe.store.replay(principal.tenant, request_id, content_id)
        row = None if known is None else await self._scribe.store.get(Limit, principal.tenant, known)
        if row is None:
            return None
        # Whoever asked first may have gone before it acted.
        self._scribe.catch_up(row.record)
        return row.record


def require_finite(max_kw: float) -> None:
    """Check a power that a person typed.

    Raises:
        InvalidInput: It is not a finite number.
    """
    if not math.isfinite(max_kw):
        raise InvalidInput("max_power_kw", "must be a finite number")
