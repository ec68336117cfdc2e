"""Calls about what would be: a limit that nobody has set yet, an authority whose say nobody has ended yet."""

from datetime import datetime
from typing import Protocol

from typing_extensions import override

from gateway.domain.errors import InvalidInput
from gateway.domain.identity import Principal
from gateway.domain.limits import Limit
from gateway.domain.release import SimulatedRelease
from gateway.domain.simulation import SimulatedLimit
from gateway.rpc import convert
from gateway.rpc.door import Context, caller
from gateway.v1 import signals_service_pb2 as pb
from gateway.v1 import signals_service_pb2_grpc as pb_grpc

_MOST_NAMED = 200
"""Chargers, promises and places that are named; the rest is counted."""


class DraftDoor(Protocol):
    """What these calls need of `services.gather_signals.SignalGatherer`."""

    def draft_manual_limit(  # what a person must say
        self,
        principal: Principal,
        *,
        node_id: str,
        max_kw: float,
        start: datetime | None,
        end: datetime,
    ) -> Limit:
        """Return the limit that an order would set, checked; nothing is written."""
        ...

    async def simulate_release(self, principal: Principal, authority: str) -> SimulatedRelease:
        """Return what would open if the say of an authority ended now; nothing is written."""
        ...


class SimulationDoor(Protocol):
    """What these calls need of `services.plan_dispatch.Dispatcher`."""

    async def simulate(self, principal: Principal, limit: Limit) -> SimulatedLimit:
        """Return what a limit would do if it were set now."""
        ...


class SimulationCalls(pb_grpc.SignalsServiceServicer):
    """Translates what a limit would do."""

    def __init__(self, drafts: DraftDoor, simulator: SimulationDoor) -> None:
        """Remember the services behind."""
        self._drafts = drafts
        self._simulator = simulator

    @override
    async def SimulateLimit(self, request: pb.SimulateLimitRequest, context: Context) -> pb.SimulateLimitResponse:
        """Say what a manual limit would do."""
        if not request.HasField("max_power_kw"):
            raise InvalidInput("max_power_kw", "is required; say 0 if you mean zero")
        has_start = request.HasField("start_time")
        limit = self._drafts.draft_manual_limit(
            caller(),
            node_id=convert.required_text("node_id", request.node_id),
            max_kw=convert.finite("max_power_kw", request.max_power_kw),
            start=convert.instant("start_time", request.start_time) if has_start else None,
            end=convert.required_instant("expire_time", request, "expire_time"),
        )
        return simulation_message(await self._simulator.simulate(caller(), limit))

    @override
    async def SimulateRelease(self, request: pb.SimulateReleaseRequest, context: Context) -> pb.SimulateReleaseResponse:
        """Say what would open without an authority."""
        authority = convert.required_text("authority", request.authority)
        return release_message(await self._drafts.simulate_release(caller(), authority))


def simulation_message(said: SimulatedLimit) -> pb.SimulateLimitResponse:
    """Return what a limit would do as a message."""
    return pb.SimulateLimitResponse(
        before=convert.resolution_message(said.before),
        after=convert.resolution_message(said.after),
        would_bind=said.binds,
        why=said.why(),
        reduction_kw=said.reduction_now_kw,
        reduction_kwh=said.energy_kwh,
        grid_start=convert.timestamp(said.grid.start),
        step_minutes=int(said.grid.step.total_seconds() // 60),
        expected_power_kw=[float("nan") if kw is None else kw for kw in said.expected_kw],
        reduction_power_kw=[float("nan") if kw is None else kw for kw in said.reduction_kw],
        expected_from=said.expected_from,
        lowered_count=said.lowered_count,
        paused_charger_ids=[pause.charger_id for pause in said.pauses[:_MOST_NAMED]],
        paused_count=len(said.pauses),
        broken_promises=[
            pb.BrokenPromise(
                session_id=one.session_id,
                charger_id=one.charger_id,
                departure_time=convert.timestamp(one.departure),
                missing_kwh=one.missing_kwh,
            )
            for one in said.broken[:_MOST_NAMED]
        ],
        broken_count=len(said.broken),
    )


def release_message(said: SimulatedRelease) -> pb.SimulateReleaseResponse:
    """Return what would open without an authority as a message."""
    return pb.SimulateReleaseResponse(
        authority=said.authority,
        is_lost=said.is_lost,
        change_time=convert.timestamp(said.changed_at),
        limit_count=said.limit_count,
        why=said.why(),
        places=[
            pb.OpenedPlace(
                before=convert.resolution_message(place.before),
                after=convert.resolution_message(place.after),
                opened_power_kw=place.opened_kw,
                most_opened_power_kw=place.most_kw,
                most_opened_time=convert.timestamp(place.most_at),
            )
            for place in said.places[:_MOST_NAMED]
        ],
        place_count=len(said.places),
    )
