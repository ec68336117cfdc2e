"""Where no exchange and no BRP are configured nothing is announced and nothing leaves."""

from decimal import Decimal

import pytest

from gateway.domain.errors import NoRoute
from gateway.exchanges.absent import AbsentBrp, AbsentExchange
from tests.exchanges.orders import DAY, order_of
from tests.exchanges.test_brp import nomination_of


async def test_nothing_is_announced_held_or_cleared() -> None:
    exchange, order = AbsentExchange(), order_of()
    assert await exchange.auction("BE", DAY) is None
    assert await exchange.find_order(order) is None
    assert await exchange.award(order, "award-1", order.created_at) is None


async def test_nothing_leaves() -> None:
    with pytest.raises(NoRoute, match="no exchange"):
        await AbsentExchange().submit(order_of())
    with pytest.raises(NoRoute, match="no balance responsible party"):
        await AbsentBrp().nominate(nomination_of(DAY, "541448820000000011", [Decimal(0)] * 96))
