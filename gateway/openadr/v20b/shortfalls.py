"""Tells the VTN that what one of its events asks for cannot be kept, before its meters show it: an opt-out for that event by EiOpt.

The opt is about what we deliver, not about what we try: the limits of the event stay in force, and the opt is withdrawn as soon as
they are kept again. Where a report point is at the node that falls short, the opt names its resource only (`oadrCreateOpt` with
`eiTarget`); otherwise it is about the whole VEN. The telling itself, its retries and what a restart leaves are those of every opt.
"""

from collections.abc import Iterable

from gateway.domain.compliance import ComplianceShortfall
from gateway.domain.errors import Conflict
from gateway.domain.limits import Limit
from gateway.domain.programs import OptSchedule
from gateway.domain.signals import EventStatus, GridEvent, OptType
from gateway.observe import logger
from gateway.openadr.v20b.settings import ShortfallWord
from gateway.openadr.v20b.surroundings import Surroundings
from gateway.ports import Stored

_REASON = "notParticipating"
_MARK = "shortfall-"
"""Beginning of the ids of these opts."""
_EVENT = "event:"
_OVER = frozenset({EventStatus.COMPLETED, EventStatus.CANCELLED})
_log = logger("openadr")


class ShortfallTeller:
    """Writes and withdraws the opts of events whose limits cannot be kept.

    Args:
        around: Settings and ports of the VEN.
    """

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._settings = around.settings

    async def look(self) -> None:
        """Write an opt for every new shortfall and withdraw those of shortfalls that are over; the next look makes good.

        Raises:
            StorageUnavailable: Nothing could be read or kept.
        """
        if self._settings.on_shortfall is not ShortfallWord.OPT_OUT:
            return
        where: dict[str, str | int] = {"authority": self._settings.authority, "is_open": True}
        rows = await self._around.store.find(ComplianceShortfall, self._settings.tenant, where)
        wanted = await self._wanted([row.record for row in rows])
        said = {row.record.opt_id: row for row in await self._said()}
        for opt_id, schedule in wanted.items():
            known = said.get(opt_id)
            if known is None:
                await self._keep(schedule, 0, "openadr.shortfall")
        for opt_id, row in said.items():
            if opt_id not in wanted and row.record.cancelled_at is None:
                await self._keep(row.record.cancel(self._around.clock.now()), row.version, "openadr.shortfall-over")

    async def _wanted(self, shortfalls: Iterable[ComplianceShortfall]) -> dict[str, OptSchedule]:
        """Return one opt for every event of a shortfall, by its id; the same shortfall gives the same."""
        now, found = self._around.clock.now(), {}
        for shortfall in shortfalls:
            for limit_id in shortfall.limit_ids:
                event = await self._event_of(limit_id)
                if event is None or event.status(now) in _OVER or event.test_event:
                    continue
                opt_id = f"{_MARK}{shortfall.id}"
                found[opt_id] = OptSchedule(
                    id=f"{self._settings.authority}:{opt_id}",
                    tenant=self._settings.tenant,
                    authority=self._settings.authority,
                    opt_id=opt_id,
                    opt=OptType.OPT_OUT,
                    reason=_REASON,
                    market_context="",
                    windows=(),
                    resources=self._resources(shortfall.node),
                    created_by=self._around.principal.actor,
                    created_at=now,
                    event_id=event.event_id,
                    modification=event.modification,
                )
        return found

    async def _event_of(self, limit_id: str) -> GridEvent | None:
        """Return the event behind a limit; None for a limit of another origin."""
        store, tenant = self._around.store, self._settings.tenant
        limit = await store.get(Limit, tenant, limit_id)
        if limit is None or not limit.record.cause.startswith(_EVENT):
            return None
        event = await store.get(GridEvent, tenant, limit.record.cause.removeprefix(_EVENT))
        return None if event is None else event.record

    def _resources(self, node: str) -> tuple[str, ...]:
        if node in self._settings.own_nodes:
            return ()
        return tuple(sorted({point.resource_id for point in self._settings.report_points if point.node == node}))

    async def _said(self) -> list[Stored[OptSchedule]]:
        where: dict[str, str | int] = {"authority": self._settings.authority}
        rows = await self._around.store.find(OptSchedule, self._settings.tenant, where, newest_first=True)
        return [row for row in rows if row.record.opt_id.startswith(_MARK)]

    async def _keep(self, schedule: OptSchedule, version: int, action: str) -> None:
        detail = {"event": schedule.event_id, "resources": " ".join(schedule.resources)}
        try:
            await self._around.keep(schedule, action=action, detail=detail, expected_version=version)
        except Conflict:
            _log.info("opt changed meanwhile", authority=self._settings.authority, opt=schedule.id)
