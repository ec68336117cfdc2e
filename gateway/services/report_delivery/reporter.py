"""The reporter: the desk that grid-protocol rooms and people ask what was delivered and why."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from bidding.delivery.baselines import BaselineRule
from gateway.domain.errors import Conflict, InvalidInput, NotFound, PreconditionFailed, Unavailable
from gateway.domain.evidence import AuditEntry, TraceStep
from gateway.domain.identity import Permission, Principal, system_principal
from gateway.domain.limits import Limit
from gateway.domain.settlement import EventPerformance
from gateway.domain.signals import GridEvent, UsageReading
from gateway.domain.timegrid import Interval, TimeGrid, zone_of
from gateway.domain.topology import ConnectionPoint, Node
from gateway.observe import logger
from gateway.ports import Batch, Clock, Ids, Put, Store
from gateway.services.report_delivery.cause_words import CauseTeller
from gateway.services.report_delivery.measurement import BaselineEvidence, BaselineFinder, EventMeasurement
from gateway.services.report_delivery.performance import (
    asked_kw,
    delivered_under,
    event_minutes,
    event_quarters,
    is_asking,
    moved_load,
)
from gateway.services.report_delivery.tracing import Tracer
from gateway.services.report_delivery.usage import fuller, readings_from_meters, readings_from_samples

_LOG = logger("report_delivery")
_ALL = 1_000_000
_MOST_SLOTS = 3_000
_BETWEEN_NODES = ", "
_NO_POINT = "no connection point is below the event's nodes"

NodePower = Callable[[str, str, datetime], tuple[Sequence[datetime], npt.NDArray[np.float64]]]
"""Recent samples of a node: tenant, node and since when in; instants and power in kW out (`FleetTracker.node_power`)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportSettings:
    """How performance is judged."""

    tenants: tuple[str, ...]
    """Whose finished events are judged without being asked."""
    rule: BaselineRule = field(default_factory=BaselineRule)
    longest_hold: timedelta = timedelta(minutes=2)
    """A power sample holds until the next one, at most so long; at least twice the spacing of samples."""
    judge_after: timedelta = timedelta(minutes=20)
    """After the end of an event: its last delivery period is then stored."""
    sweep: timedelta = timedelta(minutes=5)


class DeliveryReporter:
    """Implements `ports.UsageDesk`; reads, and keeps the performance of finished events."""

    def __init__(
        self, *, store: Store, clock: Clock, ids: Ids, node_power: NodePower, settings: ReportSettings
    ) -> None:
        """Take the ports and where recent samples of a node come from."""
        self._store = store
        self._clock = clock
        self._ids = ids
        self._node_power = node_power
        self._settings = settings
        self._tracer = Tracer(store)
        self._teller = CauseTeller(store)
        self._baselines = BaselineFinder(store, settings.rule)

    async def usage(self, principal: Principal, node: str, grid: TimeGrid) -> list[UsageReading]:
        """Return the mean power in kW that the chargers below a node drew, one reading per slot.

        Recent slots come from live samples, older ones from stored delivery periods; an unknown slot has None, never zero.

        Raises:
            PermissionRefused: The caller may read neither evidence nor the fleet.
            NotFound: This tenant has no such node.
            InvalidInput: The grid has more slots than a report may have.
        """
        if not principal.may(Permission.FLEET_READ):
            principal.require(Permission.EVIDENCE_READ)
        if grid.count > _MOST_SLOTS:
            raise InvalidInput("grid.count", f"must be at most {_MOST_SLOTS}")
        return await self._usage(principal.tenant, node, grid)

    async def _usage(self, tenant: str, node: str, grid: TimeGrid) -> list[UsageReading]:
        points = await self._points_under(tenant, node)
        meters = await self._baselines.meters(tenant, [point.id for point in points], grid.start, grid.end)
        stored = readings_from_meters([list(one.values()) for one in meters.values()], grid)
        try:
            times, power_kw = self._node_power(tenant, node, grid.start - self._settings.longest_hold)
        except NotFound:
            return stored
        now, hold = self._clock.now(), self._settings.longest_hold
        return fuller(readings_from_samples(times, power_kw, grid, now=now, longest_hold=hold), stored)

    async def event_performance(self, principal: Principal, event_id: str) -> EventPerformance:
        """Return how far an event was followed, so far or in the end.

        Raises:
            PermissionRefused: The caller may not read evidence.
            NotFound: This tenant has no such event.
            PreconditionFailed: The event has not begun, asked for nothing, or nothing was measured.
        """
        principal.require(Permission.EVIDENCE_READ)
        kept = await self._store.get(EventPerformance, principal.tenant, event_id)
        if kept is not None:
            return kept.record
        row = await self._store.get(GridEvent, principal.tenant, event_id)
        if row is None:
            raise NotFound("event", event_id)
        return await self._judge(row.record)

    async def event_measurement(self, principal: Principal, event_id: str) -> EventMeasurement:
        """Return how far an event was followed with the meter rows of its delivery periods and of its baseline's days.

        Raises:
            PermissionRefused: The caller may not read evidence.
            NotFound: This tenant has no such event.
            PreconditionFailed: As for `event_performance`.
        """
        performance = await self.event_performance(principal, event_id)
        row = await self._store.get(GridEvent, principal.tenant, event_id)
        if row is None:
            raise NotFound("event", event_id)
        event, nodes = row.record, performance.node.split(_BETWEEN_NODES)
        points = await self._points_of(principal.tenant, nodes)
        grid = event_quarters(_judged_span(event), self._clock.now())
        return EventMeasurement(
            event=event,
            performance=performance,
            points=tuple(points),
            time_zone=next((point.time_zone for point in points.values()), "UTC"),
            meters=await self._baselines.meters(principal.tenant, list(points), grid.start, grid.end),
            evidence=await self._baseline(event, nodes, grid),
        )

    async def trace(self, principal: Principal, kind: str, record_id: str) -> list[TraceStep]:
        """Return a thing and everything it follows from, nearest first, at most 500 steps.

        Args:
            principal: Who asks.
            kind: `settled-period` (id `{settlement}@{YYYY-MM-DDTHH:MMZ}`), `settlement`, `residual`, `award`, `order`, `bid`,
                `plan`, `nomination`, `schedule`, `limit`, `event`, `signal`, `series`, `dispatch`, `metered`, `session`.
            record_id: Its id.

        Raises:
            PermissionRefused: The caller may not read evidence.
            NotFound: This tenant has no such thing.
        """
        principal.require(Permission.EVIDENCE_READ)
        return await self._tracer.trace(principal.tenant, kind, record_id)

    async def cause_words(self, principal: Principal, causes: Iterable[str], time_zone: str) -> dict[str, str]:
        """Return the causes of settled periods in words, for example `limit of utility, event ev-4`.

        Args:
            principal: Who asks.
            causes: As `SettledPeriod.cause` says them.
            time_zone: IANA name; its clock tells when a command was given.

        Raises:
            PermissionRefused: The caller may not read bids.
        """
        principal.require(Permission.BID_READ)
        return await self._teller.words(principal.tenant, causes, zone_of(time_zone))

    # ------------------------------------------------------------ performance

    async def _judge(self, event: GridEvent) -> EventPerformance:
        now = self._clock.now()
        if now <= event.active.start:
            raise PreconditionFailed("the event has not begun")
        span = _judged_span(event)
        limits = await self._store.find(Limit, event.tenant, {"cause": f"event:{event.id}"}, limit=_ALL)
        asked = [row.record for row in limits if is_asking(row.record)]
        if not asked:
            raise PreconditionFailed("the event asked for no limit")
        nodes = sorted({limit.node for limit in asked})
        minutes = event_minutes(span, now)
        readings = [await self._usage(event.tenant, node, minutes) for node in nodes]
        delivered = delivered_under(asked_kw(asked, nodes, minutes), _summed(readings))
        if delivered is None:
            raise PreconditionFailed("nothing was measured while the event was active")
        evidence = await self._baseline(event, nodes, event_quarters(span, now))
        return EventPerformance(
            id=event.id,
            tenant=event.tenant,
            event=event.id,
            node=_BETWEEN_NODES.join(nodes),
            requested_kw=delivered.requested_kw,
            mean_power_kw=delivered.mean_power_kw,
            baseline_kw=None if evidence is None else evidence.mean_kw,
            baseline_method=_NO_POINT if evidence is None else evidence.told,
            compliance=delivered.compliance,
            found_at=now,
        )

    async def _baseline(self, event: GridEvent, nodes: Sequence[str], grid: TimeGrid) -> BaselineEvidence | None:
        points = await self._points_of(event.tenant, nodes)
        if not points:
            return None
        zone = next(iter(points.values())).time_zone
        return await self._baselines.find(event, list(points), zone, grid)

    async def _points_of(self, tenant: str, nodes: Sequence[str]) -> dict[str, ConnectionPoint]:
        return {point.id: point for node in nodes for point in await self._points_under(tenant, node)}

    async def _points_under(self, tenant: str, node: str) -> list[ConnectionPoint]:
        nodes = {row.record.id: row.record for row in await self._store.find(Node, tenant, limit=_ALL)}
        if node not in nodes:
            raise NotFound("node", node)
        points = [row.record for row in await self._store.find(ConnectionPoint, tenant, limit=_ALL)]
        return [point for point in points if node in _chain(point.site, nodes)]

    # ------------------------------------------------------------ the loop

    async def run(self) -> None:
        """Keep the performance of every event once it is over, until cancelled."""
        while True:
            for tenant in self._settings.tenants:
                try:
                    await self._keep_finished(tenant)
                except (Conflict, Unavailable) as error:
                    _LOG.warning("judging_waits", tenant=tenant, reason=str(error))
            await self._clock.sleep(self._settings.sweep)

    async def _keep_finished(self, tenant: str) -> None:
        now = self._clock.now()
        rows = await self._store.find(GridEvent, tenant, since=now - timedelta(days=2), until=now, limit=_ALL)
        for row in rows:
            event = row.record
            end = event.active.end
            if end is None or now < end + self._settings.judge_after or not moved_load(event):
                continue
            if await self._store.get(EventPerformance, tenant, event.id) is None:
                await self._keep(event)

    async def _keep(self, event: GridEvent) -> None:
        try:
            found = await self._judge(event)
        except (PreconditionFailed, NotFound) as error:
            _LOG.info("event_not_judged", reason=str(error))
            return
        entry = AuditEntry(
            id=self._ids.new("audit"),
            tenant=event.tenant,
            at=found.found_at,
            actor=system_principal(event.tenant, "reports").actor,
            action="event.judge",
            object_kind="event",
            object_id=event.id,
            causes=(f"signal:{event.raw_signal}",),
            detail={"compliance": f"{found.compliance:.3f}", "baseline_method": found.baseline_method},
        )
        put = Put(record=found, expected_version=0)
        await self._store.apply(Batch(tenant=event.tenant, puts=(put,), audit=(entry,)))


def _judged_span(event: GridEvent) -> Interval:
    """Return when an event was active.

    Raises:
        PreconditionFailed: It was cancelled before it began.
    """
    span = event.active
    if event.cancelled_at is None or (span.end is not None and event.cancelled_at >= span.end):
        return span
    if event.cancelled_at <= span.start:
        raise PreconditionFailed("the event was cancelled before it began")
    return Interval(start=span.start, end=event.cancelled_at)


def _chain(node: str, nodes: dict[str, Node]) -> list[str]:
    chain: list[str] = []
    at: str | None = node
    while at is not None and at in nodes and at not in chain:
        chain.append(at)
        at = nodes[at].parent
    return chain


def _summed(readings: Sequence[Sequence[UsageReading]]) -> list[UsageReading]:
    """Add the readings of several nodes; a slot is unknown when one of them is."""
    summed = []
    for slot in zip(*readings, strict=True):
        known = [reading.power_kw for reading in slot if reading.power_kw is not None]
        power = sum(known) if len(known) == len(slot) else None
        coverage = min(reading.coverage for reading in slot)
        summed.append(UsageReading(start=slot[0].start, end=slot[0].end, power_kw=power, coverage=coverage))
    return summed
