"""SignalsService: grid events, limits and what binds."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Protocol

from typing_extensions import override

from gateway.domain.alerts import Alert, AlertSeverity
from gateway.domain.authorities import AuthorityStanding
from gateway.domain.errors import InvalidInput
from gateway.domain.evidence import content_hash
from gateway.domain.identity import Permission, Principal
from gateway.domain.limits import Direction, Limit, Resolution
from gateway.domain.settlement import EventPerformance
from gateway.domain.signals import EventInterval, EventStatus, GridEvent, OptType
from gateway.ports import Clock, Store, Stored
from gateway.rpc import convert
from gateway.rpc.availability import OPTS, AvailabilityCalls, AvailabilityDoor, opt_of
from gateway.rpc.door import Context, caller
from gateway.rpc.programs import ProgramCalls, ProgramDoor
from gateway.rpc.simulation import DraftDoor, SimulationCalls, SimulationDoor
from gateway.rpc.watching import LOOK_AGAIN, RowWatch
from gateway.v1 import signals_service_pb2 as pb
from gateway.v1 import types_pb2
from gateway.wakeup import woken_by

_STATUSES = {
    EventStatus.FAR: pb.EVENT_STATUS_FAR,
    EventStatus.NEAR: pb.EVENT_STATUS_NEAR,
    EventStatus.ACTIVE: pb.EVENT_STATUS_ACTIVE,
    EventStatus.COMPLETED: pb.EVENT_STATUS_COMPLETED,
    EventStatus.CANCELLED: pb.EVENT_STATUS_CANCELLED,
}
_LARGEST_INT32 = 2**31 - 1
"""OpenADR 2.0b counts modifications further than the message does."""
_SEVERITIES = {
    AlertSeverity.NOTICE: pb.ALERT_SEVERITY_NOTICE,
    AlertSeverity.WARNING: pb.ALERT_SEVERITY_WARNING,
    AlertSeverity.EMERGENCY: pb.ALERT_SEVERITY_EMERGENCY,
}


class SignalDoor(DraftDoor, Protocol):
    """What this servicer needs of `services.gather_signals.SignalGatherer`."""

    async def events(self, principal: Principal) -> list[GridEvent]:
        """Return the tenant's events."""
        ...

    async def limits(self, principal: Principal, node_id: str, now: datetime) -> list[Limit]:
        """Return limits of a node that apply now or later."""
        ...

    async def set_manual_limit(  # noqa: PLR0913  # what a person must say
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
        """Set a manual limit."""
        ...

    async def withdraw_manual_limit(
        self, principal: Principal, *, limit_id: str, reason: str, request_id: str
    ) -> Limit:
        """Withdraw a manual limit."""
        ...

    async def release_authority(
        self, principal: Principal, *, authority: str, reason: str, request_id: str
    ) -> AuthorityStanding:
        """End the say of an authority that states limits."""
        ...

    async def resolve(
        self, principal: Principal, node_id: str, at: datetime | None, *, direction: Direction = Direction.IMPORT
    ) -> Resolution:
        """Say what binds."""
        ...

    async def alerts(self, principal: Principal) -> list[Alert]:
        """Return the alerts that are not over."""
        ...


class OptDoor(Protocol):
    """What this servicer needs of `services.decide_opt.OptDecider`."""

    async def decide(
        self, principal: Principal, *, event_id: str, opt: OptType, reason: str, request_id: str
    ) -> GridEvent:
        """Decide on an event."""
        ...


class SignalsServicer(ProgramCalls, AvailabilityCalls, SimulationCalls):
    """Translates signal messages."""

    def __init__(  # noqa: PLR0913  # each is a service of its own
        self,
        store: Store,
        clock: Clock,
        *,
        signals: SignalDoor,
        opt: OptDoor,
        programs: ProgramDoor,
        availability: AvailabilityDoor,
        simulator: SimulationDoor,
    ) -> None:
        """Remember the services behind."""
        ProgramCalls.__init__(self, programs)
        AvailabilityCalls.__init__(self, availability)
        SimulationCalls.__init__(self, signals, simulator)
        self._store = store
        self._clock = clock
        self._signals = signals
        self._opt = opt

    @override
    async def ListEvents(self, request: pb.ListEventsRequest, context: Context) -> pb.ListEventsResponse:
        """List events, newest first."""
        now = self._clock.now()
        events = sorted(await self._signals.events(caller()), key=lambda e: (e.received_at, e.id), reverse=True)
        chosen, token = convert.page(events, request.page, [event.id for event in events])
        messages = [event_message(event, now, await self._outcome(event, now)) for event in chosen]
        return pb.ListEventsResponse(events=messages, next_page_token=token)

    @override
    async def WatchSignals(
        self, request: pb.WatchSignalsRequest, context: Context
    ) -> AsyncIterator[pb.WatchSignalsResponse]:
        """Stream events as they change and what binds at the node whenever that changes."""
        principal = caller()
        principal.require(Permission.SIGNAL_READ)
        node_id = convert.required_text("node_id", request.node_id)
        watch = RowWatch(self._store, self._clock, GridEvent, principal.tenant, request.resume_token)
        last: Resolution | None = None
        async with woken_by(self._store, self._clock, (GridEvent, Limit, AuthorityStanding)) as wake:
            while True:
                resolution = await self._signals.resolve(principal, node_id, None)
                if last is None or not _is_same(resolution, last):
                    yield self._resolution(resolution, watch.token)
                last = resolution
                for row in await watch.newer():
                    watch.passed(row)
                    yield self._event(row, watch.token)
                # What binds also changes by the mere passing of time.
                soon = self._clock.now() + LOOK_AGAIN
                await wake.wait(soon if last.until is None else min(soon, last.until))

    @override
    async def DecideOpt(self, request: pb.DecideOptRequest, context: Context) -> pb.DecideOptResponse:
        """Decide for people."""
        event = await self._opt.decide(
            caller(),
            event_id=convert.required_text("event_id", request.event_id),
            opt=opt_of(request.opt),
            reason=request.reason,
            request_id=convert.required_text("request_id", request.request_id),
        )
        return pb.DecideOptResponse(event=event_message(event, self._clock.now()))

    @override
    async def ListLimits(self, request: pb.ListLimitsRequest, context: Context) -> pb.ListLimitsResponse:
        """List limits that apply now or later."""
        node_id = convert.required_text("node_id", request.node_id)
        rows = await self._signals.limits(caller(), node_id, self._clock.now())
        limits = sorted(rows, key=lambda limit: (limit.interval.start, limit.id))
        chosen, token = convert.page(limits, request.page, [limit.id for limit in limits])
        return pb.ListLimitsResponse(limits=[convert.limit_message(limit) for limit in chosen], next_page_token=token)

    @override
    async def SetManualLimit(self, request: pb.SetManualLimitRequest, context: Context) -> pb.SetManualLimitResponse:
        """Set a limit that expires."""
        if not request.HasField("max_power_kw"):
            raise InvalidInput("max_power_kw", "is required; say 0 if you mean zero")
        start = convert.instant("start_time", request.start_time) if request.HasField("start_time") else None
        limit = await self._signals.set_manual_limit(
            caller(),
            node_id=convert.required_text("node_id", request.node_id),
            max_kw=convert.finite("max_power_kw", request.max_power_kw),
            start=start,
            end=convert.required_instant("expire_time", request, "expire_time"),
            reason=convert.required_text("reason", request.reason, 1000),
            request_id=convert.required_text("request_id", request.request_id),
        )
        return pb.SetManualLimitResponse(limit=convert.limit_message(limit))

    @override
    async def WithdrawManualLimit(
        self, request: pb.WithdrawManualLimitRequest, context: Context
    ) -> pb.WithdrawManualLimitResponse:
        """Withdraw a manual limit."""
        limit = await self._signals.withdraw_manual_limit(
            caller(),
            limit_id=convert.required_text("limit_id", request.limit_id),
            reason=convert.required_text("reason", request.reason, 1000),
            request_id=convert.required_text("request_id", request.request_id),
        )
        return pb.WithdrawManualLimitResponse(limit=convert.limit_message(limit))

    @override
    async def ReleaseAuthority(
        self, request: pb.ReleaseAuthorityRequest, context: Context
    ) -> pb.ReleaseAuthorityResponse:
        """End the say of an authority."""
        standing = await self._signals.release_authority(
            caller(),
            authority=convert.required_text("authority", request.authority),
            reason=convert.required_text("reason", request.reason, 1000),
            request_id=convert.required_text("request_id", request.request_id),
        )
        return pb.ReleaseAuthorityResponse(authority=standing.id, release_time=convert.timestamp(standing.changed_at))

    @override
    async def ResolveLimit(self, request: pb.ResolveLimitRequest, context: Context) -> pb.ResolveLimitResponse:
        """Say what binds."""
        at = convert.instant("at_time", request.at_time) if request.HasField("at_time") else None
        node_id = convert.required_text("node_id", request.node_id)
        is_export = request.direction == types_pb2.DIRECTION_EXPORT
        direction = Direction.EXPORT if is_export else Direction.IMPORT
        resolution = await self._signals.resolve(caller(), node_id, at, direction=direction)
        return pb.ResolveLimitResponse(resolution=convert.resolution_message(resolution))

    @override
    async def ListAlerts(self, request: pb.ListAlertsRequest, context: Context) -> pb.ListAlertsResponse:
        """List alerts, the most severe first."""
        alerts = await self._signals.alerts(caller())
        keys = [content_hash([alert.event, alert.kind, alert.text]) for alert in alerts]
        chosen, token = convert.page(alerts, request.page, keys)
        return pb.ListAlertsResponse(alerts=[alert_message(alert) for alert in chosen], next_page_token=token)

    async def _outcome(self, event: GridEvent, now: datetime) -> EventPerformance | None:
        principal = caller()
        if event.status(now) is not EventStatus.COMPLETED or not principal.may(Permission.EVIDENCE_READ):
            return None
        row = await self._store.get(EventPerformance, principal.tenant, event.id)
        return None if row is None else row.record

    def _event(self, row: Stored[GridEvent], token: str) -> pb.WatchSignalsResponse:
        return pb.WatchSignalsResponse(
            resume_token=token,
            event_time=convert.timestamp(row.written_at),
            event=event_message(row.record, self._clock.now()),
        )

    def _resolution(self, resolution: Resolution, token: str) -> pb.WatchSignalsResponse:
        return pb.WatchSignalsResponse(
            resume_token=token,
            event_time=convert.timestamp(resolution.at),
            resolution=convert.resolution_message(resolution),
        )


def _is_same(one: Resolution, other: Resolution) -> bool:
    return (one.kw, one.authority, one.until, one.binding) == (other.kw, other.authority, other.until, other.binding)


def event_message(event: GridEvent, now: datetime, outcome: EventPerformance | None = None) -> pb.GridEvent:
    """Return an event as a message with its status at `now`, and what became of it where that is known."""
    return pb.GridEvent(
        id=event.id,
        authority=event.authority,
        event_id=event.event_id,
        modification=min(event.modification, _LARGEST_INT32),
        status=_STATUSES[event.status(now)],
        active=convert.span_message(event.active),
        node_ids=event.nodes,
        opt=pb.OPT_UNSPECIFIED if event.opt is None else OPTS[event.opt],
        opt_reason=event.opt_reason,
        is_test=event.test_event,
        protocol=event.protocol,
        program=event.market_context,
        priority=event.priority,
        opt_by=event.opt_by,
        opt_deadline=None if event.opt_deadline is None else convert.timestamp(event.opt_deadline),
        is_binding=event.is_binding,
        is_dry_run=event.is_dry_run,
        expected_change_kw=event.expected_change_kw,
        intervals=[_interval_message(interval) for interval in event.intervals],
        comment=event.comment,
        raw_signal_id=event.raw_signal,
        outcome=None if outcome is None else _outcome_message(outcome),
    )


def _interval_message(interval: EventInterval) -> pb.EventInterval:
    return pb.EventInterval(
        span=convert.open_span_message(interval.start, interval.end),
        instruction=interval.instruction.value,
        value=interval.value,
        signal_id=interval.signal_id,
        baseline_power_kw=interval.baseline_kw,
        currency_code=interval.currency,
        text=interval.text,
    )


def _outcome_message(outcome: EventPerformance) -> pb.EventOutcome:
    return pb.EventOutcome(
        requested_power_kw=outcome.requested_kw,
        mean_power_kw=outcome.mean_power_kw,
        baseline_power_kw=outcome.baseline_kw,
        compliance_ratio=outcome.compliance,
    )


def alert_message(alert: Alert) -> pb.Alert:
    """Return an alert as a message."""
    return pb.Alert(
        event_id=alert.event,
        authority=alert.authority,
        program=alert.program,
        kind=alert.kind,
        severity=_SEVERITIES[alert.severity],
        text=alert.text,
        span=convert.span_message(alert.interval),
        node_ids=alert.nodes,
        is_test=alert.is_test,
    )
