"""The past of a meter over a socket."""

from datetime import timedelta
from typing import Any

import grpc
import pytest

from gateway.domain.settlement import MeteredPeriod
from gateway.rpc import convert
from gateway.v1 import fleet_service_pb2
from tests.fakes.wired import TENANT, Wired
from tests.rpc.conftest import Caller
from tests.rpc.refusals import refusal

WAIT = 5.0
POINT = "541448820000000000"


def past(house: Wired, **changes: Any) -> fleet_service_pb2.ReportMeterHistoryRequest:
    fields: dict[str, Any] = {
        "request_id": "m1",
        "connection_point_id": POINT,
        "start_time": convert.timestamp(house.scene.clock.now() - timedelta(days=3)),
        "resolution_minutes": 15,
        "energy_kwh": [10.0, -2.5, 0.0],
        "charger_energy_kwh": [4.0, 0.0, 0.0],
    }
    merged = {name: value for name, value in (fields | changes).items() if value is not None}
    return fleet_service_pb2.ReportMeterHistoryRequest(**merged)


async def test_the_past_of_a_meter_is_kept_once_and_refused_by_the_field(house: Wired, call: Caller) -> None:
    async with call("csms") as gateway:
        for _ in range(2):
            assert (await gateway.fleet.ReportMeterHistory(past(house), timeout=WAIT)).accepted_count == 3
        again = await gateway.fleet.ReportMeterHistory(past(house, request_id="m2"), timeout=WAIT)
        assert again.accepted_count == 0
        for field, changes in (
            ("request_id", {"request_id": ""}),
            ("connection_point_id", {"connection_point_id": ""}),
            ("start_time", {"start_time": None}),
            ("start_time", {"start_time": convert.timestamp(house.scene.clock.now())}),
            ("resolution_minutes", {"resolution_minutes": 60}),
            ("energy_kwh", {"energy_kwh": [float("nan"), 0.0, 0.0]}),
            ("charger_energy_kwh", {"charger_energy_kwh": None}),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                await gateway.fleet.ReportMeterHistory(past(house, **({"request_id": "m3"} | changes)), timeout=WAIT)
            seen = refusal(caught.value)
            assert (seen.code, seen.field) == (grpc.StatusCode.INVALID_ARGUMENT, field)
        stranger = past(house, request_id="m4", connection_point_id="541448820000009999")
        with pytest.raises(grpc.RpcError) as caught:
            await gateway.fleet.ReportMeterHistory(stranger, timeout=WAIT)
        assert refusal(caught.value).code is grpc.StatusCode.NOT_FOUND
    async with call("tara") as gateway:
        with pytest.raises(grpc.RpcError) as caught:
            await gateway.fleet.ReportMeterHistory(past(house, request_id="m5"), timeout=WAIT)
        assert refusal(caught.value).code is grpc.StatusCode.PERMISSION_DENIED
    rows = sorted(house.scene.store.all(MeteredPeriod, TENANT), key=lambda row: row.start)
    assert [(row.energy_kwh, row.chargers_kwh, row.coverage) for row in rows] == [
        (10.0, 4.0, 1.0),
        (-2.5, 0.0, 1.0),
        (0.0, 0.0, 1.0),
    ]
    assert {row.connection_point for row in rows} == {POINT}
