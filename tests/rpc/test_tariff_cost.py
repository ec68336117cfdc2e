"""The cost of a day on a tariff over a real connection."""

from datetime import date
from decimal import Decimal

import grpc
import pytest

from gateway.domain.settlement import TariffCost, TariffDay
from gateway.rpc.bid_messages import tariff_cost_message
from gateway.v1 import bidding_service_pb2 as pb
from tests.fakes.wired import PORTFOLIO
from tests.rpc.conftest import Caller


def test_what_is_unknown_is_absent() -> None:
    point = TariffCost(
        connection_point="caltech-meter",
        metered_period_count=96,
        charged_kwh=Decimal("10.5"),
        cost=Decimal("0.639135"),
        emissions_kg=0.0,
        uncontrolled_kwh=Decimal("10.5"),
        uncontrolled_cost=Decimal("0.7"),
        uncontrolled_emissions_kg=None,
    )
    day = TariffDay(
        portfolio="vpp-us",
        delivery_day=date(2019, 5, 23).isoformat(),
        currency="USD",
        period_count=96,
        price_series="s",
        carbon_series=None,
        points=(point,),
    )
    message = tariff_cost_message(day)
    assert (message.currency_code, message.period_count, message.carbon_series_id) == ("USD", 96, "")
    [row] = message.points
    assert (row.charged_kwh, row.cost, row.uncontrolled_cost) == ("10.5", "0.639135", "0.7")
    assert row.HasField("emissions_kg")
    assert not row.HasField("uncontrolled_emissions_kg")


@pytest.mark.parametrize(
    ("portfolio", "day", "code"),
    [
        (PORTFOLIO, "2025-10-15", grpc.StatusCode.FAILED_PRECONDITION),
        ("nobody", "2025-10-15", grpc.StatusCode.NOT_FOUND),
        (PORTFOLIO, "15.10.2025", grpc.StatusCode.INVALID_ARGUMENT),
        ("", "2025-10-15", grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
async def test_refusals_are_typed(call: Caller, portfolio: str, day: str, code: grpc.StatusCode) -> None:
    request = pb.GetTariffCostRequest(portfolio_id=portfolio, delivery_day=day)
    async with call("tara") as gateway:
        with pytest.raises(grpc.RpcError) as caught:
            await gateway.bidding.GetTariffCost(request, timeout=5.0)
    assert caught.value.code() is code
