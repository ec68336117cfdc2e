"""Orders and auctions for the tests of `exchanges`."""

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from gateway.domain.bids import BidPeriod, CurvePoint, Order, OrderState
from gateway.domain.timegrid import DeliveryDay
from gateway.ports import AuctionInfo

DAY = DeliveryDay(day=date(2025, 10, 15), zone="Europe/Brussels")
SPRING = DeliveryDay(day=date(2026, 3, 29), zone="Europe/Brussels")
AUTUMN = DeliveryDay(day=date(2025, 10, 26), zone="Europe/Brussels")
TWO_STEPS = (("80", "2.0"), ("120.5", "0.5"))


def curve(*steps: tuple[object, object]) -> tuple[CurvePoint, ...]:
    return tuple(CurvePoint(price_per_mwh=Decimal(str(p)), volume_mw=Decimal(str(v))) for p, v in steps)


def bid_period(*steps: tuple[object, object], start: datetime = DAY.grid().start) -> BidPeriod:  # noqa: B008
    return BidPeriod(start=start, end=start + timedelta(minutes=15), curve=curve(*steps))


def day_periods(day: DeliveryDay = DAY, steps: Sequence[tuple[object, object]] = TWO_STEPS) -> tuple[BidPeriod, ...]:
    return tuple(bid_period(*steps, start=start) for start in day.grid().starts())


def auction_of(day: DeliveryDay = DAY, **changed: Any) -> AuctionInfo:
    gate = day.next(-1).at(time(12))
    grid = day.grid()
    fields: dict[str, Any] = {
        "id": f"CWE_QH_DA_1-{day.next(-1).day:%Y%m%d}",
        "area": "BE",
        "currency": "EUR",
        "contracts": tuple((f"C-{i}", start, start + grid.step) for i, start in enumerate(grid.starts(), start=1)),
        "opens_at": gate - timedelta(days=60),
        "gate_closure": gate,
        "min_price_per_mwh": "-500",
        "max_price_per_mwh": "4000",
        "lot_mw": "0.1",
    }
    return AuctionInfo(**{**fields, **changed})


def order_of(day: DeliveryDay = DAY, bid: str = "bid-1", **changed: Any) -> Order:
    auction = auction_of(day)
    fields: dict[str, Any] = {
        "id": f"{auction.id}:vpp-be:{bid}",
        "tenant": "demo",
        "bid": bid,
        "bid_hash": "ab" * 32,
        "auction": auction.id,
        "exchange_portfolio": "BE-EV",
        "bidding_zone": "BE",
        "currency": "EUR",
        "gate_closure": auction.gate_closure,
        "periods": day_periods(day),
        "state": OrderState.SENDING,
        "created_at": auction.gate_closure - timedelta(hours=1),
    }
    return Order(**{**fields, **changed})
