from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from gateway.domain.bids import Order
from gateway.domain.errors import GateClosed, InvalidInput
from gateway.domain.timegrid import DeliveryDay
from gateway.exchanges.order_check import require_open, validate_order
from tests.exchanges.orders import AUTUMN, DAY, SPRING, auction_of, bid_period, day_periods, order_of


def field_of(order: Order, **auction: Any) -> str:
    with pytest.raises(InvalidInput) as caught:
        validate_order(order, auction_of(**auction))
    return caught.value.field


@pytest.mark.parametrize(("day", "count"), [(SPRING, 92), (DAY, 96), (AUTUMN, 100)])
def test_every_period_gets_the_auctions_own_contract(day: DeliveryDay, count: int) -> None:
    curves = validate_order(order_of(day), auction_of(day))
    assert list(curves) == [f"C-{i}" for i in range(1, count + 1)]
    assert len(curves["C-1"]) == 6


def test_contracts_are_looked_up_and_never_computed() -> None:
    auction = auction_of()
    renamed = tuple((f"X{97 - i}", start, end) for i, (_, start, end) in enumerate(auction.contracts))
    curves = validate_order(order_of(), auction_of(contracts=tuple(reversed(renamed))))
    assert next(iter(curves)) == "X97"


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"id": ""}, "order.id"),
        ({"id": "x" * 256}, "order.id"),
        ({"auction": "CWE_QH_DA_1-20251013"}, "order.auction"),
        ({"bidding_zone": "NL"}, "order.bidding_zone"),
        ({"currency": "PLN"}, "order.currency"),
        ({"exchange_portfolio": ""}, "order.exchange_portfolio"),
        ({"periods": ()}, "order.periods"),
        ({"periods": day_periods(DAY.next())}, "order.periods[0].start"),
        ({"periods": (*day_periods(), bid_period((1, 1)))}, "order.periods[96].start"),
        ({"periods": (bid_period((1, "0.05")),)}, "order.periods[0].curve[0].volume_mw"),
        ({"periods": (bid_period((1, 2), (2, "1.25")),)}, "order.periods[0].curve[1].volume_mw"),
        ({"periods": (bid_period(("1.005", 1)),)}, "order.periods[0].curve[0].price_per_mwh"),
        ({"periods": (bid_period(("4000.01", 1)),)}, "order.periods[0].curve[0].price_per_mwh"),
        ({"periods": (bid_period((1, 2), (2, -1)),)}, "order.periods[0].curve.volume_mw"),
        ({"periods": (bid_period(*((i, 200 - i) for i in range(100))),)}, "order.periods[0].curve"),
    ],
)
def test_what_the_exchange_would_refuse_is_found_first(changed: dict[str, Any], field: str) -> None:
    assert field_of(order_of(**changed)) == field


def test_as_many_steps_as_points_allow_pass() -> None:
    steps = tuple((i, 200 - i) for i in range(99))
    assert len(validate_order(order_of(periods=(bid_period(*steps),)), auction_of())["C-1"]) == 200


def test_a_half_hour_is_no_contract_of_a_quarter_hourly_auction() -> None:
    start = DAY.grid().start
    auction = auction_of(contracts=(("H-1", start, start + timedelta(minutes=30)),))
    with pytest.raises(InvalidInput, match="is no delivery period"):
        validate_order(order_of(), auction)


def test_the_price_step_is_the_exchanges() -> None:
    order = order_of(periods=(bid_period((50, 3)),))
    points = validate_order(order, auction_of(), tick=Decimal("0.1"))["C-1"]
    assert [point.price_per_mwh for point in points] == [Decimal(p) for p in ("-500", "50", "50.1", "4000")]
    with pytest.raises(InvalidInput):
        validate_order(order_of(periods=(bid_period(("50.05", 3)),)), auction_of(), tick=Decimal("0.1"))


def test_the_gate_closes_on_the_second() -> None:
    auction, order = auction_of(), order_of()
    require_open(order, auction, auction.gate_closure - timedelta(seconds=1))
    with pytest.raises(GateClosed, match="2025-10-14T10:00:00"):
        require_open(order, auction, auction.gate_closure)


def test_the_earlier_gate_counts() -> None:
    auction = auction_of()
    early = order_of(gate_closure=auction.gate_closure - timedelta(minutes=10))
    with pytest.raises(GateClosed):
        require_open(early, auction, auction.gate_closure - timedelta(minutes=10))
    late = order_of(gate_closure=auction.gate_closure + timedelta(hours=1))
    with pytest.raises(GateClosed):
        require_open(late, auction, auction.gate_closure)


def test_before_the_auction_opens_nothing_is_sent() -> None:
    auction = auction_of()
    require_open(order_of(), auction, auction.opens_at)
    with pytest.raises(InvalidInput, match="takes orders from"):
        require_open(order_of(), auction, auction.opens_at - timedelta(seconds=1))
