"""Follows causes: from a euro down to awards, orders, bids, plans, prices, limits, events, signals, dispatches and meters.

Every record names what it follows from, as `kind:id`, in a field of its own or in its audit entries. A trace is the walk along
these links, nearest first, each thing once, bounded.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from gateway.domain.bids import Award, Bid, Nomination, Order, PlanRun, Residual, Schedule
from gateway.domain.dispatch import CommandRoster, DispatchBatch
from gateway.domain.errors import NotFound
from gateway.domain.evidence import TraceStep
from gateway.domain.identity import Account
from gateway.domain.limits import Limit
from gateway.domain.series import CarbonSeries, PriceSeries
from gateway.domain.sessions import Session
from gateway.domain.settlement import EventPerformance, MeteredPeriod, SettledPeriod, Settlement
from gateway.domain.signals import GridEvent, RawSignal
from gateway.domain.topology import Charger, ConnectionPoint, Node
from gateway.ports import Store, Stored

MOST_STEPS = 500
PERIOD_KIND = "settled-period"
_WHOLE_DAY_KINDS = frozenset({"nomination", "award", "series"})
_MOST_DISPATCHES = 20
_MOST_AUDITED = 20
_ALL = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class _Kind:
    """How records of a kind are read and told."""

    record: type
    at: Callable[[Any], datetime | None]
    tell: Callable[[Any], str]
    causes: Callable[[Any], tuple[str, ...]] = lambda _: ()


def period_id(settlement_id: str, start: datetime) -> str:
    """Return the id under which one delivery period of a settlement is traced."""
    return f"{settlement_id}@{start:%Y-%m-%dT%H:%MZ}"


_KINDS: dict[str, tuple[_Kind, ...]] = {
    "settlement": (
        _Kind(
            record=Settlement,
            at=lambda r: r.settled_at,
            tell=lambda r: (
                f"{r.connection_point} on {r.delivery_day}: {r.day_ahead_cash:.2f} {r.currency} day-ahead and "
                f"{r.imbalance_cash:.2f} {r.currency} imbalance"
            ),
            causes=lambda r: r.causes,
        ),
    ),
    "award": (
        _Kind(
            record=Award,
            at=lambda r: r.received_at,
            tell=lambda r: f"{r.energy_mwh.normalize():f} MWh awarded to {r.portfolio} for {r.delivery_day}",
            causes=lambda r: (f"order:{r.order}", f"bid:{r.bid}"),
        ),
    ),
    "order": (
        _Kind(
            record=Order,
            at=lambda r: r.sent_at or r.created_at,
            tell=lambda r: f"order {r.state.value} at the exchange as {r.exchange_order_id or 'nothing'}",
            causes=lambda r: (f"bid:{r.bid}",),
        ),
    ),
    "bid": (
        _Kind(
            record=Bid,
            at=lambda r: r.approved_at or r.proposed_at or r.drafted_at,
            tell=lambda r: (
                f"version {r.version}, {r.state.value}, {r.energy_mwh.normalize():f} MWh at most; drafted by {r.drafted_by}, "
                f"proposed by {r.proposed_by or 'nobody'}, approved by {r.approved_by or 'nobody'}"
            ),
            causes=lambda r: (f"plan:{r.plan}",),
        ),
    ),
    "plan": (
        _Kind(
            record=PlanRun,
            at=lambda r: r.made_at,
            tell=lambda r: f"plan of {r.portfolio} for {r.delivery_day}: {r.outcome}; {r.message}",
            causes=lambda r: r.causes,
        ),
    ),
    "nomination": (
        _Kind(
            record=Nomination,
            at=lambda r: r.acknowledged_at or r.created_at,
            tell=lambda r: (
                f"nominated to {r.brp} for {r.connection_point}: {r.state.value} {r.acknowledgement or ''}".strip()
            ),
            causes=lambda r: (f"award:{r.award}",),
        ),
    ),
    "schedule": (
        _Kind(
            record=Schedule,
            at=lambda r: r.made_at,
            tell=lambda r: f"schedule of {r.node} for {r.delivery_day}",
            causes=lambda r: (r.cause,),
        ),
    ),
    "residual": (
        _Kind(
            record=Residual,
            at=lambda r: r.found_at,
            tell=lambda r: (
                f"{r.energy_mwh} MWh at {r.node} cannot be drawn, {r.exposure} {r.currency} at risk ({r.basis})"
            ),
            causes=lambda r: (f"limit:{r.limit}",),
        ),
    ),
    "limit": (
        _Kind(
            record=Limit,
            at=lambda r: r.known_at,
            tell=lambda r: f"{r.max_kw:.1f} kW at {r.node} by order of {r.authority} {r.reason}".strip(),
            causes=lambda r: (r.cause,),
        ),
    ),
    "event": (
        _Kind(
            record=GridEvent,
            at=lambda r: r.received_at,
            tell=lambda r: (
                f"event {r.event_id} of {r.authority}, answer {r.opt.value if r.opt else 'open'}; {r.opt_reason}"
            ),
            causes=lambda r: (f"signal:{r.raw_signal}",),
        ),
        _Kind(
            record=EventPerformance,
            at=lambda r: r.found_at,
            tell=lambda r: f"{r.compliance:.0%} of the time at or under {r.requested_kw:.0f} kW",
            causes=lambda r: (f"event:{r.event}",),
        ),
    ),
    "signal": (
        _Kind(
            record=RawSignal,
            at=lambda r: r.received_at,
            tell=lambda r: f"{r.protocol} message from {r.authority}, sha256 {r.sha256[:12]}",
        ),
    ),
    "series": (
        _Kind(
            record=PriceSeries,
            at=lambda r: r.fetched_at,
            tell=lambda r: f"{r.product.value} prices of {r.zone} from {r.source}, {r.quality.value}; {r.note}".rstrip(
                "; "
            ),
        ),
        _Kind(
            record=CarbonSeries,
            at=lambda r: r.fetched_at,
            tell=lambda r: f"{r.kind.value} carbon of {r.zone} from {r.source}, {r.quality.value}; {r.note}".rstrip(
                "; "
            ),
        ),
    ),
    "dispatch": (
        _Kind(
            record=DispatchBatch,
            at=lambda r: r.issued_at,
            tell=lambda r: (
                f"{r.limits_kw.sum():.1f} kW to {len(r.limits_kw)} chargers of {r.csms}, sequence {r.sequence}"
            ),
            causes=lambda r: (r.cause,),
        ),
    ),
    "metered": (
        _Kind(
            record=MeteredPeriod,
            at=lambda r: r.end,
            tell=lambda r: (
                f"{r.energy_kwh:.3f} kWh at the meter of {r.connection_point} from {r.start:%H:%M}Z, "
                f"{r.chargers_kwh:.3f} kWh of it by chargers, {r.coverage:.0%} measured"
            ),
        ),
    ),
    "session": (
        _Kind(
            record=Session,
            at=lambda r: r.arrival,
            tell=lambda r: f"session at {r.charger}, {r.delivered_kwh:.1f} kWh, {r.state.value}",
        ),
    ),
    "account": (_Kind(record=Account, at=lambda _: None, tell=lambda r: f"account of {r.actor}"),),
}


class Tracer:
    """Walks the links of one tenant."""

    def __init__(self, store: Store) -> None:
        """Take the store."""
        self._store = store

    async def trace(self, tenant: str, kind: str, record_id: str) -> list[TraceStep]:
        """Return the thing and everything it follows from, nearest first, each once, at most `MOST_STEPS`.

        Raises:
            NotFound: This tenant has no such thing.
        """
        first = f"{kind}:{record_id}"
        steps: list[TraceStep] = []
        seen = {first}
        waiting = deque([first])
        while waiting and len(steps) < MOST_STEPS:
            link = waiting.popleft()
            step = await self._step(tenant, link)
            if step is None and not steps:
                raise NotFound(kind, record_id)
            if step is None:
                continue
            steps.append(step)
            for cause in step.causes:
                if cause not in seen:
                    seen.add(cause)
                    waiting.append(cause)
        return steps

    async def _step(self, tenant: str, link: str) -> TraceStep | None:
        kind, _, record_id = link.partition(":")
        if kind == PERIOD_KIND:
            return await self._period_step(tenant, record_id)
        audited, at = await self._audited(tenant, kind, record_id)
        for how in _KINDS.get(kind, ()):
            row: Stored[Any] | None = await self._store.get(how.record, tenant, record_id)
            if row is not None:
                causes = tuple(dict.fromkeys(how.causes(row.record) + audited))
                return TraceStep(
                    kind=kind,
                    id=record_id,
                    at=how.at(row.record) or row.written_at,
                    summary=how.tell(row.record),
                    causes=causes,
                )
        if at is None:
            return None
        return TraceStep(kind=kind, id=record_id, at=at, summary=f"{kind} {record_id} in the audit", causes=audited)

    async def _audited(self, tenant: str, kind: str, record_id: str) -> tuple[tuple[str, ...], datetime | None]:
        """Return the causes that the audit names for a thing, and when it first spoke of it."""
        entries = await self._store.audit_of(tenant, kind, record_id)
        causes = dict.fromkeys(cause for chained in entries for cause in chained.entry.causes if ":" in cause)
        return tuple(causes)[:_MOST_AUDITED], entries[0].entry.at if entries else None

    async def _period_step(self, tenant: str, record_id: str) -> TraceStep | None:
        settlement_id, _, when = record_id.rpartition("@")
        row = await self._store.get(Settlement, tenant, settlement_id)
        if row is None:
            return None
        period = next((one for one in row.record.periods if period_id(settlement_id, one.start) == record_id), None)
        if period is None:
            return None
        causes = [period.cause.removeprefix("after-")] if ":" in period.cause else []
        metered = await self._store.find(
            MeteredPeriod,
            tenant,
            {"connection_point": row.record.connection_point},
            since=period.start,
            until=period.end,
        )
        causes = [f"metered:{one.record.id}" for one in metered] + causes
        causes += await self._dispatches(tenant, row.record, period)
        # The day's other readings, limits and dispatches explain other periods.
        causes += [link for link in row.record.causes if link.partition(":")[0] in _WHOLE_DAY_KINDS]
        return TraceStep(
            kind=PERIOD_KIND,
            id=record_id,
            at=period.end,
            summary=(
                f"{row.record.connection_point} at {when}: {period.position_mwh} MWh bought, {period.metered_mwh} MWh metered, "
                f"{period.day_ahead_cash:.2f} + {period.imbalance_cash:.2f} {row.record.currency}, deviation: {period.cause}"
            ),
            causes=tuple(dict.fromkeys(causes)),
        )

    async def _dispatches(self, tenant: str, settlement: Settlement, period: SettledPeriod) -> list[str]:
        """Return the commands to chargers of the connection point that were issued in or just before a period."""
        point = await self._store.get(ConnectionPoint, tenant, settlement.connection_point)
        if point is None:
            return []
        length = period.end - period.start
        rows = await self._store.find(
            DispatchBatch, tenant, since=period.start - max(length, timedelta(minutes=15)), until=period.end, limit=_ALL
        )
        chargers = await self._chargers_of(tenant, point.record.site)
        rosters = {row.record.id: row.record for row in await self._store.find(CommandRoster, tenant, limit=_ALL)}
        mine = [row.record.id for row in rows if not chargers.isdisjoint(row.record.chargers(rosters))]
        return [f"dispatch:{batch}" for batch in mine[-_MOST_DISPATCHES:]]

    async def _chargers_of(self, tenant: str, site: str) -> set[str]:
        nodes = [row.record for row in await self._store.find(Node, tenant, limit=_ALL)]
        inside = {site}
        grown = True
        while grown:
            more = {node.id for node in nodes if node.parent in inside} - inside
            inside |= more
            grown = bool(more)
        chargers = await self._store.find(Charger, tenant, limit=_ALL)
        return {row.record.id for row in chargers if row.record.parent in inside}
