"""FleetService: what charging platforms tell us about chargers, sessions and measurements."""

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Protocol

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from gateway.domain.errors import InvalidInput
from gateway.domain.fleet import FleetView
from gateway.domain.identity import Permission, Principal
from gateway.domain.sessions import DriverGoal, Session, SessionState
from gateway.domain.topology import PHASE_COUNT, Charger, ConnectionPoint, Node, NodeKind
from gateway.ports import LimitDesk, Store
from gateway.rpc import convert
from gateway.rpc.charger_limits import state_charger_limits
from gateway.rpc.charger_states import state_message
from gateway.rpc.door import Context, caller
from gateway.services.track_fleet import MeterHistory, TelemetryBatch
from gateway.turns import in_turns
from gateway.v1 import fleet_service_pb2 as pb
from gateway.v1 import fleet_service_pb2_grpc as pb_grpc

MOST_SESSIONS = 20_000
_KINDS = {
    NodeKind.PORTFOLIO: pb.NODE_KIND_PORTFOLIO,
    NodeKind.SITE: pb.NODE_KIND_SITE,
    NodeKind.CIRCUIT: pb.NODE_KIND_CIRCUIT,
}
_GOALS: dict[int, DriverGoal] = {
    pb.DRIVER_GOAL_UNSPECIFIED: DriverGoal.CHEAPEST,
    pb.DRIVER_GOAL_GUARANTEED: DriverGoal.GUARANTEED,
    pb.DRIVER_GOAL_CHEAPEST: DriverGoal.CHEAPEST,
    pb.DRIVER_GOAL_GREENEST: DriverGoal.GREENEST,
}
_WIRE_NAMES = {
    "charger": "charger_id",
    "arrival": "arrival_time",
    "departure": "departure_time",
    "expected_departure": "expected_departure_time",
    "phases": "phase_count",
    "delivered_kwh": "delivered_energy_kwh",
}
"""What a caller calls the fields that the domain calls otherwise."""


class FleetDoor(Protocol):
    """What this servicer needs of `services.track_fleet.FleetTracker`."""

    async def report_sessions(
        self, principal: Principal, sessions: Sequence[Session], *, is_history: bool, request_id: str
    ) -> int:
        """Keep sessions and return how many."""
        ...

    async def report_meter_history(self, principal: Principal, history: MeterHistory, *, request_id: str) -> int:
        """Keep what is not known yet of a meter's past and return how many periods."""
        ...

    def take_telemetry(self, principal: Principal, batch: TelemetryBatch) -> None:
        """Take measurements in."""
        ...

    def view(self, tenant: str) -> FleetView:
        """Return the fleet as it is known now."""
        ...


class FleetServicer(pb_grpc.FleetServiceServicer):
    """Translates fleet messages."""

    def __init__(self, store: Store, fleet: FleetDoor, limits: LimitDesk) -> None:
        """Remember where rows are read, who tracks the fleet and where limits that chargers announce go."""
        self._store = store
        self._fleet = fleet
        self._limits = limits

    @override
    async def ListNodes(self, request: pb.ListNodesRequest, context: Context) -> pb.ListNodesResponse:
        """List the site tree, parents first."""
        principal = caller()
        principal.require(Permission.FLEET_READ)
        rows = [row.record for row in await self._store.find(Node, principal.tenant)]
        order = {NodeKind.PORTFOLIO: 0, NodeKind.SITE: 1, NodeKind.CIRCUIT: 2, NodeKind.CHARGER: 3}
        nodes = sorted(rows, key=lambda node: (order[node.kind], node.id))
        chosen, token = convert.page(nodes, request.page, [node.id for node in nodes])
        return pb.ListNodesResponse(nodes=[_node_message(node) for node in chosen], next_page_token=token)

    @override
    async def ListChargers(self, request: pb.ListChargersRequest, context: Context) -> pb.ListChargersResponse:
        """List chargers: of the caller's platform, or all for people."""
        principal = caller()
        principal.require(Permission.FLEET_READ)
        where = {} if principal.csms is None else {"csms": principal.csms}
        rows = [row.record for row in await self._store.find(Charger, principal.tenant, where, limit=1_000_000)]
        chargers = sorted(rows, key=lambda charger: charger.id)
        chosen, token = convert.page(chargers, request.page, [charger.id for charger in chargers])
        return pb.ListChargersResponse(chargers=[_charger_message(c) for c in chosen], next_page_token=token)

    @override
    async def ListConnectionPoints(
        self, request: pb.ListConnectionPointsRequest, context: Context
    ) -> pb.ListConnectionPointsResponse:
        """List connection points by id."""
        principal = caller()
        principal.require(Permission.FLEET_READ)
        rows = [row.record for row in await self._store.find(ConnectionPoint, principal.tenant)]
        points = sorted(rows, key=lambda point: point.id)
        chosen, token = convert.page(points, request.page, [point.id for point in points])
        return pb.ListConnectionPointsResponse(
            connection_points=[_point_message(point) for point in chosen], next_page_token=token
        )

    @override
    async def ListChargerStates(
        self, request: pb.ListChargerStatesRequest, context: Context
    ) -> pb.ListChargerStatesResponse:
        """List what is known of chargers now, and what is wrong with it."""
        principal = caller()
        principal.require(Permission.FLEET_READ)
        view = self._fleet.view(principal.tenant)
        shown = np.ones(len(view.power_kw), dtype=bool)
        if principal.csms is not None:
            own = [i for i, csms in enumerate(view.csms_ids) if csms == principal.csms]
            shown &= np.isin(view.csms_index, own)
        if request.flagged_only and view.data is not None:
            shown &= view.data.flags > 0
        ids = view.tree.charger_ids
        places = sorted(np.flatnonzero(shown).tolist(), key=ids.__getitem__)
        chosen, token = convert.page(places, request.page, [ids[i] for i in places])
        return pb.ListChargerStatesResponse(states=[state_message(view, i) for i in chosen], next_page_token=token)

    @override
    async def ReportSessions(self, request: pb.ReportSessionsRequest, context: Context) -> pb.ReportSessionsResponse:
        """Keep sessions; all or none."""
        if len(request.sessions) > MOST_SESSIONS:
            raise InvalidInput("sessions", f"must have at most {MOST_SESSIONS} entries")
        principal = caller()
        sessions = await in_turns(
            _session(f"sessions[{i}]", m, principal.tenant) for i, m in enumerate(request.sessions)
        )
        count = await self._fleet.report_sessions(
            principal,
            sessions,
            is_history=request.is_history,
            request_id=convert.required_text("request_id", request.request_id),
        )
        return pb.ReportSessionsResponse(accepted_count=count)

    @override
    async def ReportMeterHistory(
        self, request: pb.ReportMeterHistoryRequest, context: Context
    ) -> pb.ReportMeterHistoryResponse:
        """Keep what is not known yet of a meter's past."""
        history = MeterHistory(
            connection_point=convert.required_text("connection_point_id", request.connection_point_id),
            start=convert.required_instant("start_time", request, "start_time"),
            resolution=timedelta(minutes=request.resolution_minutes),
            energy_kwh=np.asarray(request.energy_kwh, dtype=np.float64),
            chargers_kwh=np.asarray(request.charger_energy_kwh, dtype=np.float64),
            is_modelled=request.is_modelled,
        )
        count = await self._fleet.report_meter_history(
            caller(), history, request_id=convert.required_text("request_id", request.request_id)
        )
        return pb.ReportMeterHistoryResponse(accepted_count=count)

    @override
    async def ReportChargerLimits(
        self, request: pb.ReportChargerLimitsRequest, context: Context
    ) -> pb.ReportChargerLimitsResponse:
        """Keep what a charger announces that somebody else limits it to."""
        count = await state_charger_limits(caller(), request, self._store, self._limits)
        return pb.ReportChargerLimitsResponse(limit_count=count)

    @override
    async def StreamTelemetry(
        self, request_iterator: AsyncIterator[pb.StreamTelemetryRequest], context: Context
    ) -> AsyncIterator[pb.StreamTelemetryResponse]:
        """Take batches in and acknowledge each."""
        principal = caller()
        principal.require(Permission.TELEMETRY_WRITE)
        charger_ids: tuple[str, ...] = ()
        point_ids: tuple[str, ...] = ()
        taken = 0
        async for request in request_iterator:
            if request.charger_ids:
                charger_ids, point_ids = tuple(request.charger_ids), tuple(request.connection_point_ids)
            if request.sequence > taken:
                self._fleet.take_telemetry(principal, _batch(request, charger_ids, point_ids))
                taken = request.sequence
            yield pb.StreamTelemetryResponse(acknowledged_sequence=taken)


def _node_message(node: Node) -> pb.Node:
    return pb.Node(
        id=node.id,
        parent_id=node.parent or "",
        kind=_KINDS.get(node.kind, pb.NODE_KIND_UNSPECIFIED),
        display_name=node.name,
        max_import_power_kw=node.max_import_kw,
        fail_safe_import_power_kw=node.fail_safe_import_kw,
        phase_rating_a=node.phase_rating_a,
        max_unbalance_a=node.max_unbalance_a,
        voltage_v=node.voltage_v,
    )


def _charger_message(charger: Charger) -> pb.Charger:
    return pb.Charger(
        id=charger.id,
        parent_id=charger.parent,
        max_power_kw=charger.max_import_kw,
        min_power_kw=charger.min_import_kw,
        phase_count=charger.phases,
        fallback_power_kw=charger.fallback_kw,
        phase_map=charger.phase_map,
        is_dc=charger.is_dc,
        pilots_a=charger.pilots_a,
        wakes_after_pause=charger.wakes_after_pause,
    )


def _point_message(point: ConnectionPoint) -> pb.ConnectionPoint:
    return pb.ConnectionPoint(
        id=point.id,
        site_id=point.site,
        bidding_zone=point.bidding_zone,
        time_zone=point.time_zone,
        site_class=point.site_class,
    )


def _session(field: str, message: pb.Session, tenant: str) -> Session:
    try:
        departure = (
            convert.instant("departure_time", message.departure_time) if message.HasField("departure_time") else None
        )
        expected = (
            convert.instant("expected_departure_time", message.expected_departure_time)
            if message.HasField("expected_departure_time")
            else None
        )
        return Session(
            id=convert.required_text("id", message.id),
            tenant=tenant,
            charger=convert.required_text("charger_id", message.charger_id),
            arrival=convert.required_instant("arrival_time", message, "arrival_time"),
            state=SessionState.PLUGGED_IN if departure is None else SessionState.ENDED,
            max_power_kw=message.max_power_kw,
            phases=message.phase_count,
            energy_needed_kwh=message.energy_needed_kwh if message.HasField("energy_needed_kwh") else None,
            expected_departure=expected,
            departure=departure,
            delivered_kwh=message.delivered_energy_kwh,
            goal=_goal(message.goal),
            boost=message.boost,
            battery_kwh=message.battery_kwh if message.HasField("battery_kwh") else None,
        )
    except InvalidInput as error:
        name = error.field.removeprefix("session.")
        raise InvalidInput(f"{field}.{_WIRE_NAMES.get(name, name)}", error.problem) from error


def _goal(value: int) -> DriverGoal:
    goal = _GOALS.get(value)
    if goal is None:
        raise InvalidInput("goal", "is not a known goal")
    return goal


def _batch(
    request: pb.StreamTelemetryRequest, charger_ids: tuple[str, ...], point_ids: tuple[str, ...]
) -> TelemetryBatch:
    if not charger_ids and not point_ids:
        raise InvalidInput("charger_ids", "are required in the first message of a stream")
    index = np.asarray(request.charger_index, dtype=np.int32)
    if not index.size:
        index = np.arange(len(charger_ids), dtype=np.int32)
    return TelemetryBatch(
        charger_ids=charger_ids,
        connection_point_ids=point_ids,
        measure_time=convert.required_instant("measure_time", request, "measure_time"),
        charger_index=index,
        power_kw=np.asarray(request.power_kw, dtype=np.float64),
        energy_register_kwh=np.asarray(request.energy_register_kwh, dtype=np.float64),
        meter_register_kwh=np.asarray(request.meter_register_kwh, dtype=np.float64),
        phase_current_a=_phases("phase_current_a", request.phase_current_a),
        phase_voltage_v=_phases("phase_voltage_v", request.phase_voltage_v),
        state_of_charge=np.asarray(request.state_of_charge, dtype=np.float64),
    )


def _phases(field: str, values: Sequence[float]) -> npt.NDArray[np.float64]:
    """Return three values per position."""
    column = np.asarray(values, dtype=np.float64)
    if column.size % PHASE_COUNT:
        raise InvalidInput(field, "must have three values per position")
    return column.reshape(-1, PHASE_COUNT)
