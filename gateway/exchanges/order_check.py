"""Everything an exchange would refuse, found before anything leaves: each error names the field of the order."""

from datetime import datetime
from decimal import Decimal

from gateway.domain.bids import CurvePoint, Order
from gateway.domain.errors import GateClosed, InvalidInput
from gateway.exchanges.step_curve import exchange_points
from gateway.ports import AuctionInfo

PRICE_TICK = Decimal("0.01")
"""Smallest price step of the European day-ahead auctions, in currency per MWh."""
MAX_CURVE_POINTS = 200
MAX_KEY_LENGTH = 255
"""Longest comment the exchange keeps; our order id travels in it."""


def validate_order(
    order: Order, auction: AuctionInfo, *, tick: Decimal = PRICE_TICK
) -> dict[str, tuple[CurvePoint, ...]]:
    """Check an order against its auction and return the exchange's points per contract id.

    A delivery period gets its contract from the auction's list and nowhere else: on the days of 92 and 100 quarter-hours no
    rule computes their names.

    Args:
        order: The order.
        auction: The auction as the exchange describes it.
        tick: Price step of the exchange.

    Raises:
        InvalidInput: The order would be refused; the field names what and where.
    """
    _require_header(order, auction)
    contracts = {(start, end): contract for contract, start, end in auction.contracts}
    lot = Decimal(auction.lot_mw)
    curves: dict[str, tuple[CurvePoint, ...]] = {}
    for index, period in enumerate(order.periods):
        place = f"order.periods[{index}]"
        contract = contracts.get((period.start, period.end))
        if contract is None:
            raise InvalidInput(f"{place}.start", f"{period.start.isoformat()} is no delivery period of {auction.id}")
        if contract in curves:
            raise InvalidInput(f"{place}.start", "is given twice")
        for number, point in enumerate(period.curve):
            if point.volume_mw % lot != Decimal(0):
                raise InvalidInput(f"{place}.curve[{number}].volume_mw", f"must be a multiple of {lot}")
        try:
            points = exchange_points(
                period,
                min_price=Decimal(auction.min_price_per_mwh),
                max_price=Decimal(auction.max_price_per_mwh),
                tick=tick,
            )
        except InvalidInput as error:
            raise InvalidInput(f"{place}.{error.field}", error.problem) from error
        if len(points) > MAX_CURVE_POINTS:
            raise InvalidInput(f"{place}.curve", f"needs {len(points)} points, allowed are {MAX_CURVE_POINTS}")
        curves[contract] = points
    return curves


def require_open(order: Order, auction: AuctionInfo, now: datetime) -> None:
    """Check that the auction takes orders now.

    Raises:
        GateClosed: The order's gate or the exchange's has closed; the earlier of the two counts.
        InvalidInput: The auction has not opened yet.
    """
    gate = min(order.gate_closure, auction.gate_closure)
    if now >= gate:
        raise GateClosed(f"the gate of {auction.id} closed at {gate.isoformat()}")
    if now < auction.opens_at:
        raise InvalidInput("order.auction", f"{auction.id} takes orders from {auction.opens_at.isoformat()}")


def _require_header(order: Order, auction: AuctionInfo) -> None:
    if not 0 < len(order.id) <= MAX_KEY_LENGTH:
        raise InvalidInput("order.id", f"must have 1 to {MAX_KEY_LENGTH} characters")
    if order.auction != auction.id:
        raise InvalidInput("order.auction", f"must be {auction.id}")
    if order.bidding_zone != auction.area:
        raise InvalidInput("order.bidding_zone", f"must be {auction.area}")
    if order.currency != auction.currency:
        raise InvalidInput("order.currency", f"must be {auction.currency}")
    if not order.exchange_portfolio:
        raise InvalidInput("order.exchange_portfolio", "must not be empty")
    if not order.periods:
        raise InvalidInput("order.periods", "must not be empty")
