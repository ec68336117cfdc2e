"""What chargers announce that somebody else limits them to binds beside every other limit (case o39)."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import grpc
import pytest

from gateway.domain.limits import Limit
from gateway.v1 import dispatch_service_pb2 as dispatch
from gateway.v1 import fleet_service_pb2 as pb
from gateway.v1 import signals_service_pb2 as signals
from tests.fakes.wired import OTHER, TENANT, Wired
from tests.rpc.conftest import Caller
from tests.rpc.refusals import Refusal, refusal
from tests.rpc.test_dispatch import connected, limits_of, plug_cars

CHARGER = "site-01/ev000"
WAIT = 5.0


@pytest.fixture
async def running(house: Wired) -> AsyncIterator[Wired]:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(house.services.dispatcher.run())
        yield house
        task.cancel()


def announced(house: Wired, *kw: float, request_id: str = "n1", **more: Any) -> pb.ReportChargerLimitsRequest:
    request = pb.ReportChargerLimitsRequest(request_id=request_id, charger_id=CHARGER, source="SO", **more)
    for power_kw in kw:
        block = request.blocks.add(max_power_kw=power_kw)
        block.start_time.FromDatetime(house.scene.clock.now())
    return request


async def limit_of(stream: Any, charger: int, *, at_most: float) -> float:
    """Read until the charger is commanded at most so much, and return it."""
    while True:
        limits = await limits_of(stream)
        commanded = dict(zip(limits.charger_index, limits.limit_power_kw, strict=True))
        await stream.write(dispatch.ConnectRequest(ack=dispatch.Ack(sequence=limits.sequence)))
        if charger in commanded and commanded[charger] <= at_most:
            return commanded[charger]


async def refused(call: Any) -> Refusal:
    with pytest.raises(grpc.RpcError) as caught:
        await call
    return refusal(caught.value)


async def test_o39_an_announced_limit_binds_at_its_charger_alone(running: Wired, call: Caller) -> None:
    await plug_cars(running, call)
    async with connected(call, running) as (stream, _), call("csms") as gateway, call("olga") as operator:
        assert min((await limits_of(stream)).limit_power_kw) > 4.0
        answer = await gateway.fleet.ReportChargerLimits(announced(running, 3.0, is_grid_critical=True), timeout=WAIT)
        assert answer.limit_count == 1
        assert await limit_of(stream, 0, at_most=3.0) == 0.0, "under the minimum it pauses"
        resolved = await operator.signals.ResolveLimit(signals.ResolveLimitRequest(node_id=CHARGER), timeout=WAIT)
        assert resolved.resolution.authority == f"charger:{CHARGER}:SO"
        assert resolved.resolution.power_kw == pytest.approx(3.0)
        states = await operator.dispatch.ListDispatchStates(dispatch.ListDispatchStatesRequest(), timeout=WAIT)
        others = [one.limit_power_kw for one in states.chargers if one.charger_id in running.chargers[1:]]
        assert min(others) > 4.0


async def test_o39_another_source_never_opens_what_the_first_closed(house: Wired, call: Caller) -> None:
    async with call("csms") as gateway:
        await gateway.fleet.ReportChargerLimits(announced(house, 1.0), timeout=WAIT)
        ems = announced(house, 11.0, request_id="n2")
        ems.source = "EMS"
        await gateway.fleet.ReportChargerLimits(ems, timeout=WAIT)
    held = [x for x in house.services.signals.limits_by_node(TENANT)[CHARGER] if x.withdrawn_at is None]
    assert sorted(x.max_kw for x in held) == [1.0, 11.0]


async def test_o39_a_source_that_clears_its_word_on_one_charger_leaves_the_one_on_the_station(
    house: Wired, call: Caller
) -> None:
    async with call("csms") as gateway:
        await gateway.fleet.ReportChargerLimits(announced(house, 3.0, is_of_station=True), timeout=WAIT)
        await gateway.fleet.ReportChargerLimits(announced(house, 5.0, request_id="n2"), timeout=WAIT)
        held = house.services.signals.limits_by_node(TENANT)[CHARGER]
        assert sorted((one.authority, one.max_kw) for one in held) == [
            (f"charger:{CHARGER}:SO", 5.0),
            (f"station:{CHARGER}:SO", 3.0),
        ]
        for request_id, is_of_station, left in (("n3", False, "station"), ("n4", True, "")):
            cleared = announced(house, request_id=request_id, is_cleared=True, is_of_station=is_of_station)
            await gateway.fleet.ReportChargerLimits(cleared, timeout=WAIT)
            house.scene.clock.move(seconds=1)
            names = [f"{kind}:{CHARGER}:SO" for kind in ("charger", "station")]
            known = [name for name in names if house.services.signals.stated_by(TENANT, name)]
            assert known == [f"{left}:{CHARGER}:SO"] * bool(left)


async def test_o39_a_cleared_limit_leaves_and_a_newer_word_replaces_the_older(house: Wired, call: Caller) -> None:
    async with call("csms") as gateway:
        await gateway.fleet.ReportChargerLimits(announced(house, 5.0), timeout=WAIT)
        await gateway.fleet.ReportChargerLimits(announced(house, 5.0), timeout=WAIT)
        await gateway.fleet.ReportChargerLimits(announced(house, 7.0, request_id="n2"), timeout=WAIT)
        [held] = house.services.signals.stated_by(TENANT, f"charger:{CHARGER}:SO")
        assert held.max_kw == 7.0
        cleared = announced(house, request_id="n3", is_cleared=True)
        assert (await gateway.fleet.ReportChargerLimits(cleared, timeout=WAIT)).limit_count == 0
        house.scene.clock.move(seconds=1)
        assert house.services.signals.stated_by(TENANT, f"charger:{CHARGER}:SO") == []
    assert len(house.scene.store.all(Limit, TENANT)) == 2


async def test_what_is_no_limit_of_a_charger_of_the_platform_is_refused(house: Wired, call: Caller) -> None:
    async with call("csms") as gateway, call("csms", tenant=OTHER) as strange, call("aud") as auditor:
        report = gateway.fleet.ReportChargerLimits
        assert (await refused(report(announced(house), timeout=WAIT))).field == "blocks"
        both = announced(house, 5.0, is_cleared=True)
        assert (await refused(report(both, timeout=WAIT))).field == "blocks"
        assert (await refused(report(announced(house, -1.0), timeout=WAIT))).code is grpc.StatusCode.INVALID_ARGUMENT
        backwards = announced(house, 5.0)
        backwards.blocks[0].expire_time.FromDatetime(house.scene.clock.now() - timedelta(hours=1))
        assert (await refused(report(backwards, timeout=WAIT))).field == "blocks[0].expire_time"
        nobody = announced(house, 5.0)
        nobody.charger_id = "of-nobody"
        assert (await refused(report(nobody, timeout=WAIT))).code is grpc.StatusCode.NOT_FOUND
        elsewhere = strange.fleet.ReportChargerLimits(announced(house, 5.0), timeout=WAIT)
        assert (await refused(elsewhere)).code is grpc.StatusCode.NOT_FOUND
        reader = auditor.fleet.ReportChargerLimits(announced(house, 5.0), timeout=WAIT)
        assert (await refused(reader)).code is grpc.StatusCode.PERMISSION_DENIED
    assert house.scene.store.all(Limit, TENANT) == []
