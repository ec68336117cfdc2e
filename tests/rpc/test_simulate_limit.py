"""What a limit would do, over gRPC: nothing is kept, and what a person typed is checked as for a limit that is set."""

import math
from datetime import timedelta
from typing import Any

import pytest

from gateway.domain.limits import Limit
from gateway.v1 import signals_service_pb2
from tests.fakes.wired import TENANT, Wired
from tests.rpc.conftest import Caller
from tests.rpc.test_services import WAIT, refused, stamp


def question(house: Wired, **changes: Any) -> signals_service_pb2.SimulateLimitRequest:
    fields: dict[str, Any] = {"node_id": "site-01", "max_power_kw": 40.0, "expire_time": stamp(house, minutes=30)}
    return signals_service_pb2.SimulateLimitRequest(**{k: v for k, v in (fields | changes).items() if v is not None})


async def test_a_limit_is_tried_without_a_row(house: Wired, call: Caller) -> None:
    async with call("olga") as gateway:
        before = len(house.scene.store.applied)
        said = await gateway.signals.SimulateLimit(question(house), timeout=WAIT)
        later = await gateway.signals.SimulateLimit(question(house, start_time=stamp(house, minutes=10)), timeout=WAIT)
    assert len(house.scene.store.applied) == before
    assert not house.scene.store.all(Limit, TENANT)
    assert (said.before.power_kw, said.before.authority) == (130.0, "rating")
    assert (said.after.power_kw, said.after.binding.authority, said.would_bind) == (40.0, "manual:olga", True)
    assert said.why.startswith("40.0 kW at site-01 by order of manual:olga until")
    assert said.step_minutes == 15
    assert len(said.expected_power_kw) == len(said.reduction_power_kw) == 24 * 4
    assert all(math.isnan(kw) for kw in said.expected_power_kw), "nobody knows, and unknown is not zero"
    assert not said.HasField("reduction_kwh")
    assert later.after.at_time.ToDatetime() - said.after.at_time.ToDatetime() == timedelta(minutes=10)


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("max_power_kw", {"max_power_kw": None}),
        ("max_power_kw", {"max_power_kw": float("nan")}),
        ("max_power_kw", {"max_power_kw": 1e308}),
        ("expire_time", {"expire_time": None}),
        ("node_id", {"node_id": ""}),
    ],
)
async def test_a_wrong_question_is_refused_by_the_field(
    house: Wired, call: Caller, field: str, changes: dict[str, Any]
) -> None:
    async with call("olga") as gateway:
        seen = await refused(gateway.signals.SimulateLimit(question(house, **changes), timeout=WAIT))
    assert field in str(seen)
