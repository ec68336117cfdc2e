"""SteeringService: steering boxes of grid operators, their orders and the proof of execution."""

from collections.abc import AsyncIterator
from datetime import timedelta

from google.protobuf import duration_pb2
from typing_extensions import override

from gateway.domain.errors import InvalidInput
from gateway.domain.limits import Direction
from gateway.domain.section_14a import Relays
from gateway.domain.steering import Limitation, LimitWrite, SteeringState, most_of, signed_kw, signed_or_none
from gateway.domain.steering_orders import ExecutionProof, OrderKind, SteeringOrder
from gateway.ports import Clock, Store
from gateway.rpc import convert
from gateway.rpc.door import Context, caller
from gateway.rpc.watching import LOOK_AGAIN
from gateway.services.steer_power import BoxView, LimitationView, SteeringDesk
from gateway.v1 import steering_service_pb2 as pb
from gateway.v1 import steering_service_pb2_grpc as pb_grpc
from gateway.wakeup import woken_by

_STATES = {
    SteeringState.INIT: pb.STEERING_STATE_INIT,
    SteeringState.LIMITED: pb.STEERING_STATE_LIMITED,
    SteeringState.UNLIMITED_CONTROLLED: pb.STEERING_STATE_UNLIMITED_CONTROLLED,
    SteeringState.UNLIMITED_AUTONOMOUS: pb.STEERING_STATE_UNLIMITED_AUTONOMOUS,
    SteeringState.FAILSAFE: pb.STEERING_STATE_FAILSAFE,
}
_KINDS = {
    OrderKind.LIMIT: pb.STEERING_ORDER_KIND_LIMIT,
    OrderKind.RELAYS: pb.STEERING_ORDER_KIND_RELAYS,
    OrderKind.FAILSAFE_VALUES: pb.STEERING_ORDER_KIND_FAILSAFE_VALUES,
    OrderKind.FAILSAFE: pb.STEERING_ORDER_KIND_FAILSAFE,
    OrderKind.RESTART: pb.STEERING_ORDER_KIND_RESTART,
}


class SteeringServicer(pb_grpc.SteeringServiceServicer):
    """Translates messages of steering boxes."""

    def __init__(self, store: Store, clock: Clock, desk: SteeringDesk) -> None:
        """Remember the service behind.

        Args:
            store: Wakes watchers.
            clock: Time of what is streamed.
            desk: The service.
        """
        self._store = store
        self._clock = clock
        self._desk = desk

    @override
    async def SendHeartbeat(self, request: pb.SendHeartbeatRequest, context: Context) -> pb.SendHeartbeatResponse:
        """Take a sign of life."""
        view = await self._desk.heartbeat(caller(), convert.required_text("box", request.box))
        return pb.SendHeartbeatResponse(steering_box=box_message(view))

    @override
    async def WriteLimit(self, request: pb.WriteLimitRequest, context: Context) -> pb.WriteLimitResponse:
        """Take a limit, or that there is none."""
        direction = _direction(request.direction)
        if not request.HasField("is_active"):
            raise InvalidInput("is_active", "is required; say false if you mean that nothing is limited")
        power_kw = 0.0
        if request.is_active:
            if not request.HasField("power_kw"):
                raise InvalidInput("power_kw", "is required; say 0 if you mean zero")
            power_kw = most_of("power_kw", request.power_kw, direction)
        duration = _duration("duration", request.duration) if request.HasField("duration") else None
        order = await self._desk.write_limit(
            caller(),
            convert.required_text("box", request.box),
            direction=direction,
            word=LimitWrite(max_kw=power_kw, is_active=request.is_active, duration=duration),
            request_id=convert.required_text("request_id", request.request_id),
        )
        return pb.WriteLimitResponse(order=order_message(order, None))

    @override
    async def WriteFailsafe(self, request: pb.WriteFailsafeRequest, context: Context) -> pb.WriteFailsafeResponse:
        """Take other failsafe values."""
        direction = _direction(request.direction)
        max_kw, duration = None, None
        if request.HasField("failsafe_power_kw"):
            max_kw = most_of("failsafe_power_kw", request.failsafe_power_kw, direction)
        if request.HasField("failsafe_duration"):
            duration = _duration("failsafe_duration", request.failsafe_duration)
        view = await self._desk.write_failsafe(
            caller(),
            convert.required_text("box", request.box),
            direction=direction,
            max_kw=max_kw,
            duration=duration,
            request_id=convert.required_text("request_id", request.request_id),
        )
        return pb.WriteFailsafeResponse(steering_box=box_message(view))

    @override
    async def SetRelays(self, request: pb.SetRelaysRequest, context: Context) -> pb.SetRelaysResponse:
        """Take how two contacts are."""
        for name in ("is_dim_closed", "is_off_closed"):
            if not request.HasField(name):
                raise InvalidInput(name, "is required; say false if the contact is open")
        order = await self._desk.set_relays(
            caller(),
            convert.required_text("box", request.box),
            relays=Relays(dim=request.is_dim_closed, off=request.is_off_closed),
            request_id=convert.required_text("request_id", request.request_id),
        )
        return pb.SetRelaysResponse(order=order_message(order, None))

    @override
    async def GetSteeringBox(self, request: pb.GetSteeringBoxRequest, context: Context) -> pb.GetSteeringBoxResponse:
        """Tell how a box stands."""
        view = self._desk.state(caller(), convert.required_text("box", request.box))
        return pb.GetSteeringBoxResponse(steering_box=box_message(view))

    @override
    async def ListSteeringBoxes(
        self, request: pb.ListSteeringBoxesRequest, context: Context
    ) -> pb.ListSteeringBoxesResponse:
        """List boxes by name."""
        views = self._desk.states(caller())
        chosen, token = convert.page(views, request.page, [view.name for view in views])
        return pb.ListSteeringBoxesResponse(
            steering_boxes=[box_message(view) for view in chosen], next_page_token=token
        )

    @override
    async def WatchSteeringBox(
        self, request: pb.WatchSteeringBoxRequest, context: Context
    ) -> AsyncIterator[pb.WatchSteeringBoxResponse]:
        """Stream how a box stands, whenever that changes."""
        principal, name = caller(), convert.required_text("box", request.box)
        last: pb.SteeringBox | None = None
        async with woken_by(self._store, self._clock, (Limitation,)) as wake:
            while True:
                message = box_message(self._desk.state(principal, name))
                if last is None or _without_heartbeat(message) != _without_heartbeat(last):
                    yield pb.WatchSteeringBoxResponse(
                        event_time=convert.timestamp(self._clock.now()), steering_box=message
                    )
                last = message
                await wake.wait(self._clock.now() + LOOK_AGAIN)

    @override
    async def ListSteeringOrders(
        self, request: pb.ListSteeringOrdersRequest, context: Context
    ) -> pb.ListSteeringOrdersResponse:
        """List orders by the time they were received."""
        has_since, has_until = request.HasField("since_time"), request.HasField("until_time")
        found = await self._desk.orders(
            caller(),
            convert.required_text("box", request.box),
            since=convert.instant("since_time", request.since_time) if has_since else None,
            until=convert.instant("until_time", request.until_time) if has_until else None,
        )
        chosen, token = convert.page(found, request.page, [order.id for order, _ in found])
        return pb.ListSteeringOrdersResponse(
            orders=[order_message(order, proof) for order, proof in chosen], next_page_token=token
        )


def box_message(view: BoxView) -> pb.SteeringBox:
    """Return how a box stands as a message."""
    return pb.SteeringBox(
        box=view.name,
        authority=view.authority,
        node_id=view.node,
        is_section_14a=view.is_section_14a,
        heartbeat_time=None if view.heartbeat_at is None else convert.timestamp(view.heartbeat_at),
        is_silent=view.is_silent,
        limitations=[_limitation_message(one) for one in view.limitations],
    )


def _limitation_message(view: LimitationView) -> pb.Limitation:
    return pb.Limitation(
        direction=convert.DIRECTIONS[view.direction],
        state=_STATES[view.state],
        since_time=convert.timestamp(view.since),
        rule=view.rule,
        power_kw=signed_or_none(view.limit_kw, view.direction),
        until_time=None if view.until is None else convert.timestamp(view.until),
        ordered_power_kw=signed_or_none(view.ordered_kw, view.direction),
        failsafe_power_kw=signed_kw(view.failsafe_kw, view.direction),
        failsafe_duration=_duration_message(view.failsafe_duration),
        guaranteed_power_kw=view.guaranteed_kw,
        order_id=view.order,
    )


def order_message(order: SteeringOrder, proof: ExecutionProof | None) -> pb.SteeringOrder:
    """Return an order with what became of it as a message."""
    return pb.SteeringOrder(
        id=order.id,
        box=order.box,
        node_id=order.node,
        direction=convert.DIRECTIONS[order.direction],
        kind=_KINDS[order.kind],
        receive_time=convert.timestamp(order.received_at),
        ordered_power_kw=signed_or_none(order.ordered_kw, order.direction),
        duration=None if order.duration is None else _duration_message(order.duration),
        applied_power_kw=signed_or_none(order.applied_kw, order.direction),
        state=_STATES[order.state],
        rule=order.rule,
        end_time=None if order.ended_at is None else convert.timestamp(order.ended_at),
        end_reason=order.end_reason,
        proof=None if proof is None else _proof_message(proof),
    )


def _proof_message(proof: ExecutionProof) -> pb.SteeringProof:
    return pb.SteeringProof(
        power_before_kw=proof.power_before_kw,
        reach_time=None if proof.reached_at is None else convert.timestamp(proof.reached_at),
        steps=[
            pb.SteeringStep(
                charger_id=step.charger,
                power_kw=step.set_kw,
                set_time=convert.timestamp(step.set_at),
                state=step.state,
                state_time=None if step.state_at is None else convert.timestamp(step.state_at),
            )
            for step in proof.steps
        ],
        samples=[
            pb.SteeringSample(measure_time=convert.timestamp(sample.at), power_kw=sample.power_kw)
            for sample in proof.samples
        ],
        is_complete=proof.is_complete,
    )


def _duration_message(duration: timedelta) -> duration_pb2.Duration:
    out = duration_pb2.Duration()
    out.FromTimedelta(duration)
    return out


def _duration(field: str, value: duration_pb2.Duration) -> timedelta:
    try:
        return value.ToTimedelta()
    except (ValueError, OverflowError) as error:
        raise InvalidInput(field, "is not a valid duration") from error


def _direction(wire: int) -> Direction:
    for direction, number in convert.DIRECTIONS.items():
        if wire == number:
            return direction
    raise InvalidInput("direction", "must be DIRECTION_IMPORT or DIRECTION_EXPORT")


def _without_heartbeat(message: pb.SteeringBox) -> pb.SteeringBox:
    out = pb.SteeringBox()
    out.CopyFrom(message)
    out.ClearField("heartbeat_time")
    return out
