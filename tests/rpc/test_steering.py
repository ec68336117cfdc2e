"""Steering boxes over a real connection: heartbeat, limit, failsafe, relays, watching, orders, and precise refusals."""

import asyncio
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.protobuf import duration_pb2

from gateway.domain.limits import Limit
from gateway.v1 import steering_service_pb2 as pb
from gateway.v1 import types_pb2
from gateway.v1.steering_service_pb2_grpc import SteeringServiceStub
from tests.fakes.steering import BOX, SPEAKER, steering_box
from tests.fakes.wired import OTHER, TENANT, Wired, token_of, wired
from tests.rpc.refusals import Refusal, refusal

WAIT = 5.0
IMPORT, EXPORT = types_pb2.DIRECTION_IMPORT, types_pb2.DIRECTION_EXPORT


class Box:
    """A client of one actor."""

    def __init__(self, channel: grpc.aio.Channel, actor: str, tenant: str = TENANT) -> None:
        self.stub: Any = SteeringServiceStub(channel)
        self.metadata = (("authorization", f"Bearer {token_of(tenant, actor)}"),)

    async def beat(self) -> pb.SteeringBox:
        answer = await self.stub.SendHeartbeat(pb.SendHeartbeatRequest(box=BOX), timeout=WAIT, metadata=self.metadata)
        return _box(answer)

    async def write(self, request_id: str = "r-1", **words: Any) -> pb.SteeringOrder:
        wanted: dict[str, Any] = {
            "box": BOX,
            "direction": IMPORT,
            "is_active": True,
            "power_kw": 8.0,
            "request_id": request_id,
        } | words
        known: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None}
        answer = await self.stub.WriteLimit(pb.WriteLimitRequest(**known), timeout=WAIT, metadata=self.metadata)
        return _order(answer)

    async def state(self) -> pb.SteeringBox:
        answer = await self.stub.GetSteeringBox(pb.GetSteeringBoxRequest(box=BOX), timeout=WAIT, metadata=self.metadata)
        return _box(answer)


def _box(answer: Any) -> pb.SteeringBox:
    assert isinstance(answer.steering_box, pb.SteeringBox)
    return answer.steering_box


def _order(answer: Any) -> pb.SteeringOrder:
    assert isinstance(answer.order, pb.SteeringOrder)
    return answer.order


@pytest.fixture
async def house() -> Wired:
    return await wired(steering_box=(steering_box(),))


@pytest.fixture
async def channel(house: Wired) -> Any:
    async with house.listening() as address, grpc.aio.insecure_channel(address) as channel:
        yield channel


@pytest.fixture
def box(channel: grpc.aio.Channel) -> Box:
    return Box(channel, SPEAKER)


async def refused(call: Any) -> Refusal:
    with pytest.raises(grpc.RpcError) as caught:
        await call
    return refusal(caught.value)


def lasting(**words: float) -> duration_pb2.Duration:
    out = duration_pb2.Duration()
    out.FromTimedelta(timedelta(**words))
    return out


async def test_o27_a_box_starts_beats_limits_and_lets_go(house: Wired, box: Box) -> None:
    first = (await box.state()).limitations[0]
    assert (first.state, first.power_kw, first.rule) == (pb.STEERING_STATE_INIT, 30.0, "LPC-901/1")
    assert not (await box.state()).HasField("heartbeat_time")
    assert (await box.beat()).is_silent
    order = await box.write(duration=lasting(minutes=15))
    assert (order.applied_power_kw, order.state, order.rule) == (8.0, pb.STEERING_STATE_LIMITED, "LPC-904")
    seen = await box.state()
    assert (seen.authority, seen.limitations[0].order_id) == (f"lpc:{BOX}", order.id)
    until = seen.limitations[0].until_time.ToDatetime() - seen.heartbeat_time.ToDatetime()
    assert until == timedelta(minutes=15)
    limits = [limit for limit in house.scene.store.all(Limit, TENANT) if limit.authority == f"lpc:{BOX}"]
    assert limits[-1].cause == f"steering-order:{order.id}"
    free = await box.write("r-2", is_active=False, power_kw=None)
    assert not free.HasField("applied_power_kw")
    assert not (await box.state()).limitations[0].HasField("power_kw")


async def test_production_is_said_with_its_sign(box: Box) -> None:
    await box.beat()
    order = await box.write(direction=EXPORT, power_kw=-5.0)
    assert (order.ordered_power_kw, order.direction) == (-5.0, EXPORT)
    assert (await box.state()).limitations[1].power_kw == -5.0
    assert (await refused(box.write("r-2", direction=EXPORT, power_kw=5.0))).field == "power_kw"


@pytest.mark.parametrize(
    ("words", "field"),
    [
        ({"power_kw": -0.1}, "power_kw"),
        ({"power_kw": float("nan")}, "power_kw"),
        ({"power_kw": None}, "power_kw"),
        ({"is_active": None}, "is_active"),
        ({"direction": 0}, "direction"),
        ({"box": ""}, "box"),
        ({"request_id": ""}, "request_id"),
        ({"request_id": "x" * 129}, "request_id"),
        ({"duration": duration_pb2.Duration(seconds=-1)}, "duration"),
        ({"duration": duration_pb2.Duration(seconds=315_576_000_000)}, "duration"),
    ],
    ids=["negative", "nan", "no power", "no word", "no direction", "no box", "no id", "long id", "past", "endless"],
)
async def test_what_is_wrong_is_named_and_changes_nothing(box: Box, words: dict[str, Any], field: str) -> None:
    await box.beat()
    before = await box.state()
    answer = await refused(box.write(**words))
    assert (answer.code, answer.field) == (grpc.StatusCode.INVALID_ARGUMENT, field)
    assert await box.state() == before


async def test_a_limit_before_a_heartbeat_is_refused_and_says_what_to_do(box: Box) -> None:
    answer = await refused(box.write())
    assert answer.code is grpc.StatusCode.FAILED_PRECONDITION
    assert "heartbeat" in answer.text
    await box.beat()
    assert (await box.write()).applied_power_kw == 8.0, "the refusal did not use up the request id"


async def test_one_request_one_effect(box: Box) -> None:
    await box.beat()
    first = await box.write("same")
    await box.write("other", power_kw=9.0)
    assert (await box.write("same")).id == first.id
    assert (await box.state()).limitations[0].power_kw == 9.0
    assert (await refused(box.write("same", power_kw=7.0))).code is grpc.StatusCode.ALREADY_EXISTS


async def test_failsafe_values(box: Box) -> None:
    async def write(request_id: str, **words: Any) -> pb.SteeringBox:
        request = pb.WriteFailsafeRequest(box=BOX, direction=IMPORT, request_id=request_id, **words)
        return _box(await box.stub.WriteFailsafe(request, timeout=WAIT, metadata=box.metadata))

    assert (await refused(write("f-0", failsafe_power_kw=5.0))).code is grpc.StatusCode.FAILED_PRECONDITION
    await box.beat()
    await box.write()
    seen = await write("f-1", failsafe_power_kw=5.0, failsafe_duration=lasting(hours=24))
    assert (seen.limitations[0].failsafe_power_kw, seen.limitations[0].failsafe_duration.seconds) == (5.0, 86_400)
    assert (await refused(write("f-2", failsafe_duration=lasting(hours=25)))).field == "failsafe_duration"
    assert (await refused(write("f-3", failsafe_power_kw=-5.0))).field == "failsafe_power_kw"
    assert (await refused(write("f-4"))).field == "failsafe_kw"


async def test_relays(box: Box) -> None:
    async def set_to(request_id: str, **words: bool) -> pb.SteeringOrder:
        request = pb.SetRelaysRequest(box=BOX, request_id=request_id, **words)
        return _order(await box.stub.SetRelays(request, timeout=WAIT, metadata=box.metadata))

    dimmed = await set_to("1", is_dim_closed=True, is_off_closed=False)
    assert (dimmed.applied_power_kw, dimmed.kind) == (10.0, pb.STEERING_ORDER_KIND_RELAYS)
    assert (await set_to("2", is_dim_closed=True, is_off_closed=True)).applied_power_kw == 0.0
    assert not (await set_to("3", is_dim_closed=False, is_off_closed=False)).HasField("applied_power_kw")
    assert (await refused(set_to("4", is_dim_closed=True))).field == "is_off_closed"


async def test_a_watcher_sees_every_change_but_not_every_heartbeat(box: Box) -> None:
    call = box.stub.WatchSteeringBox(pb.WatchSteeringBoxRequest(box=BOX), metadata=box.metadata)
    states = []
    async with asyncio.timeout(WAIT):
        async for one in call:
            states.append(one.steering_box.limitations[0].state)
            if len(states) == 1:
                await box.beat()
                await box.beat()
                await box.write()
            elif len(states) == 2:
                await box.write("r-2", is_active=False, power_kw=None)
            else:
                break
    call.cancel()
    assert states == [
        pb.STEERING_STATE_INIT,
        pb.STEERING_STATE_LIMITED,
        pb.STEERING_STATE_UNLIMITED_CONTROLLED,
    ]


async def test_orders_are_listed_with_their_ends_in_pages(house: Wired, box: Box) -> None:
    await box.beat()
    await box.write("a")
    house.scene.clock.move(seconds=1)
    await box.write("b", is_active=False, power_kw=None)
    await house.services.proofs.keep_up(TENANT)
    request = pb.ListSteeringOrdersRequest(box=BOX, page=types_pb2.PageRequest(page_size=2))
    first = await box.stub.ListSteeringOrders(request, timeout=WAIT, metadata=box.metadata)
    request.page.page_token = first.next_page_token
    rest = await box.stub.ListSteeringOrders(request, timeout=WAIT, metadata=box.metadata)
    orders = [*first.orders, *rest.orders]
    assert [order.kind for order in orders].count(pb.STEERING_ORDER_KIND_RESTART) == 2
    limit = next(order for order in orders if order.id == f"{BOX}/a")
    assert limit.end_reason == "the box took it back"
    assert limit.HasField("proof")
    request.page.page_token = ""
    request.since_time.FromDatetime(house.scene.clock.now())
    late = await box.stub.ListSteeringOrders(request, timeout=WAIT, metadata=box.metadata)
    assert [order.id for order in late.orders] == [f"{BOX}/b"]


async def test_who_may(channel: grpc.aio.Channel, box: Box) -> None:
    olga = Box(channel, "olga")
    assert (await olga.state()).box == BOX
    assert (await refused(olga.beat())).code is grpc.StatusCode.PERMISSION_DENIED
    assert (await refused(Box(channel, "csms").state())).code is grpc.StatusCode.PERMISSION_DENIED
    other = Box(channel, SPEAKER, OTHER)
    assert (await refused(other.beat())).code is grpc.StatusCode.NOT_FOUND
    listed = await olga.stub.ListSteeringBoxes(pb.ListSteeringBoxesRequest(), timeout=WAIT, metadata=olga.metadata)
    assert [one.box for one in listed.steering_boxes] == [BOX]
    none = await other.stub.ListSteeringBoxes(pb.ListSteeringBoxesRequest(), timeout=WAIT, metadata=other.metadata)
    assert not none.steering_boxes
