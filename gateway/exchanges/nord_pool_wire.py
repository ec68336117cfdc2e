"""The wire format of Nord Pool's Auction API (v1): requests we write and replies we read.

Positive volumes are bought, in MW; prices are per MWh. A curve's points are cumulative net volumes, not increments. Source: Nord
Pool Auction API (developer portal, Postman collection and AuctionApi-StarterKit): curve orders, orders, trades, prices, errors.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from gateway.domain.bids import CurvePoint, Order
from gateway.domain.errors import InvalidInput
from gateway.exchanges.json_wire import as_decimal, as_instant, as_list, as_object, as_text, read_json, shown
from gateway.ports import AuctionInfo

RESULTS_PUBLISHED = "ResultsPublished"
CANCELLED = "Cancelled"
_FINAL = "Final"
_SIDES = {"Buy": Decimal(1), "Sell": Decimal(-1)}


@dataclass(frozen=True, kw_only=True, slots=True)
class AuctionRow:
    """An auction in the list."""

    id: str
    state: str
    delivery_start: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class AreaAuction:
    """What is asked of an auction's description, and what the API does not say about it.

    Attributes:
        area: Bidding zone.
        currency: ISO 4217 code.
        lot_mw: Volume step, decimal text.
        opens_before: How long before its gate closes the auction takes orders.
    """

    area: str
    currency: str
    lot_mw: str
    opens_before: timedelta


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """An error reply (RFC 7807 problem details, with the field errors of ASP.NET)."""

    kind: str
    field: str
    """Path of the offending field as the exchange names it; `order` when it names none."""
    text: str


def read_token(body: bytes) -> tuple[str, float]:
    """Return the access token and its life in seconds."""
    document = as_object(read_json(body, "token"), "token")
    life = as_decimal(document.get("expires_in"), "token.expires_in")
    return as_text(document.get("access_token"), "token.access_token"), float(life)


def read_auctions(body: bytes) -> tuple[AuctionRow, ...]:
    """Return the auctions of a list."""
    rows: list[AuctionRow] = []
    for index, value in enumerate(as_list(read_json(body, "auctions"), "auctions")):
        place = f"auctions[{index}]"
        row = as_object(value, place)
        rows.append(
            AuctionRow(
                id=as_text(row.get("id"), f"{place}.id"),
                state=as_text(row.get("state"), f"{place}.state"),
                delivery_start=as_instant(row.get("deliveryStart"), f"{place}.deliveryStart"),
            )
        )
    return tuple(rows)


def read_auction(body: bytes, asked: AreaAuction) -> tuple[AuctionInfo, str]:
    """Return the description of an auction for one area and its state.

    Raises:
        InvalidInput: The area or currency is not traded in it, or the description breaks a rule.
    """
    document = as_object(read_json(body, "auction"), "auction")
    gate = as_instant(document.get("closeForBidding"), "auction.closeForBidding")
    low, high = _price_range(document, asked.currency)
    info = AuctionInfo(
        id=as_text(document.get("id"), "auction.id"),
        area=asked.area,
        currency=asked.currency,
        contracts=_contracts(document, asked.area),
        opens_at=gate - asked.opens_before,
        gate_closure=gate,
        min_price_per_mwh=str(low),
        max_price_per_mwh=str(high),
        lot_mw=asked.lot_mw,
    )
    return info, as_text(document.get("state"), "auction.state")


def curve_order(order: Order, curves: Mapping[str, Sequence[CurvePoint]]) -> bytes:
    """Return the body of a curve order; the comment carries our order id, by which we find the order again."""
    document = {
        "auctionId": order.auction,
        "portfolio": order.exchange_portfolio,
        "areaCode": order.bidding_zone,
        "comment": order.id,
        "curves": [
            {
                "contractId": contract,
                "curvePoints": [
                    {"price": float(point.price_per_mwh), "volume": float(point.volume_mw)} for point in points
                ],
            }
            for contract, points in curves.items()
        ],
    }
    return json.dumps(document, allow_nan=False).encode()


def cancellation(key: str) -> bytes:
    """Return the body of a PATCH that takes all curves of an order back."""
    return json.dumps({"curves": [], "comment": key}).encode()


def read_receipt(body: bytes, order: Order, curves: Mapping[str, Sequence[CurvePoint]]) -> str:
    """Return the exchange's order id after checking that it holds what we sent, point by point.

    Raises:
        InvalidInput: The reply is another order than ours.
    """
    document = as_object(read_json(body, "order"), "order")
    expected: dict[str, object] = {
        "auctionId": order.auction,
        "portfolio": order.exchange_portfolio,
        "areaCode": order.bidding_zone,
        "comment": order.id,
    }
    for name, value in expected.items():
        if document.get(name) != value:
            raise InvalidInput(f"order.{name}", "is not what was sent")
    held: dict[str, list[tuple[Decimal, Decimal]]] = {}
    for index, value in enumerate(as_list(document.get("curves"), "order.curves")):
        place = f"order.curves[{index}]"
        curve = as_object(value, place)
        held[as_text(curve.get("contractId"), f"{place}.contractId")] = _points(curve, place)
    sent = {name: [(p.price_per_mwh, p.volume_mw) for p in points] for name, points in curves.items()}
    if held != sent:
        raise InvalidInput("order.curves", "are not what was sent")
    return as_text(document.get("orderId"), "order.orderId")


def read_order_ids(body: bytes, key: str) -> tuple[str, ...]:
    """Return the exchange's ids of the curve orders that carry our key and were not cancelled."""
    document = as_object(read_json(body, "orders"), "orders")
    found: list[str] = []
    for index, value in enumerate(as_list(document.get("curveOrders"), "orders.curveOrders")):
        place = f"orders.curveOrders[{index}]"
        order = as_object(value, place)
        if order.get("comment") == key and order.get("state") != CANCELLED:
            found.append(as_text(order.get("orderId"), f"{place}.orderId"))
    return tuple(found)


def read_trades(body: bytes, exchange_order_id: str) -> dict[str, Decimal] | None:
    """Return the volume in MW (positive bought) per contract that an order got; None while a result is preliminary."""
    volumes: dict[str, Decimal] = {}
    for index, value in enumerate(as_list(read_json(body, "trades"), "trades")):
        result = as_object(value, f"trades[{index}]")
        if result.get("orderId") != exchange_order_id:
            continue
        for number, entry in enumerate(as_list(result.get("trades"), f"trades[{index}].trades")):
            place = f"trades[{index}].trades[{number}]"
            trade = as_object(entry, place)
            if trade.get("status") != _FINAL:
                return None
            contract = as_text(trade.get("contractId"), f"{place}.contractId")
            sign = _SIDES.get(as_text(trade.get("side"), f"{place}.side"))
            if sign is None:
                raise InvalidInput(f"{place}.side", "must be Buy or Sell")
            volume = as_decimal(trade.get("volume"), f"{place}.volume")
            if volume < 0:
                raise InvalidInput(f"{place}.volume", "must not be negative: the side says the direction")
            volumes[contract] = volumes.get(contract, Decimal(0)) + sign * volume
    return volumes


def read_prices(body: bytes, area: str, currency: str) -> dict[str, Decimal]:
    """Return the final clearing price per contract of an area; contracts without one are left out."""
    prices: dict[str, Decimal] = {}
    for index, value in enumerate(as_list(read_json(body, "prices"), "prices")):
        contracts = as_list(as_object(value, f"prices[{index}]").get("contracts"), f"prices[{index}].contracts")
        for number, entry in enumerate(contracts):
            place = f"prices[{index}].contracts[{number}]"
            contract = as_object(entry, place)
            price = _area_price(contract, area, currency, place)
            if price is not None:
                prices[as_text(contract.get("contractId"), f"{place}.contractId")] = price
    return prices


def read_problem(body: bytes) -> Problem:
    """Return what an error reply says; a reply that is no problem document says only its text."""
    try:
        document = as_object(read_json(body, "problem"), "problem")
    except InvalidInput:
        return Problem(kind="", field="order", text=shown(body.decode("utf-8", "replace")))
    errors = document.get("errors")
    if isinstance(errors, dict) and errors:
        name, messages = next(iter(errors.items()))
        text = messages[0] if isinstance(messages, list) and messages else messages
        return Problem(kind=shown(document.get("type")), field=f"order.{shown(name)}", text=shown(text))
    text = document.get("detail") or document.get("title") or "refused without a reason"
    return Problem(kind=shown(document.get("type")), field="order", text=shown(text))


def _contracts(document: Mapping[str, object], area: str) -> tuple[tuple[str, datetime, datetime], ...]:
    """Return the contracts of an area in the order of their delivery."""
    groups = as_list(document.get("contracts"), "auction.contracts")
    for index, value in enumerate(groups):
        group = as_object(value, f"auction.contracts[{index}]")
        if group.get("areaCode") != area:
            continue
        contracts: list[tuple[str, datetime, datetime]] = []
        for number, entry in enumerate(as_list(group.get("contracts"), f"auction.contracts[{index}].contracts")):
            place = f"auction.contracts[{index}].contracts[{number}]"
            contract = as_object(entry, place)
            start = as_instant(contract.get("deliveryStart"), f"{place}.deliveryStart")
            end = as_instant(contract.get("deliveryEnd"), f"{place}.deliveryEnd")
            contracts.append((as_text(contract.get("id"), f"{place}.id"), start, end))
        return tuple(sorted(contracts, key=lambda contract: contract[1]))
    raise InvalidInput("auction.contracts", f"area {area} is not traded in this auction")


def _price_range(document: Mapping[str, object], currency: str) -> tuple[Decimal, Decimal]:
    for index, value in enumerate(as_list(document.get("currencies"), "auction.currencies")):
        place = f"auction.currencies[{index}]"
        row = as_object(value, place)
        if row.get("currencyCode") == currency:
            low = as_decimal(row.get("minPrice"), f"{place}.minPrice")
            high = as_decimal(row.get("maxPrice"), f"{place}.maxPrice")
            if low >= high:
                raise InvalidInput(f"{place}.maxPrice", "must be above minPrice")
            return low, high
    raise InvalidInput("auction.currencies", f"{currency} is not traded in this auction")


def _points(curve: Mapping[str, object], place: str) -> list[tuple[Decimal, Decimal]]:
    points: list[tuple[Decimal, Decimal]] = []
    for index, value in enumerate(as_list(curve.get("curvePoints"), f"{place}.curvePoints")):
        point = as_object(value, f"{place}.curvePoints[{index}]")
        price = as_decimal(point.get("price"), f"{place}.curvePoints[{index}].price")
        volume = as_decimal(point.get("volume"), f"{place}.curvePoints[{index}].volume")
        points.append((price, volume))
    return points


def _area_price(contract: Mapping[str, object], area: str, currency: str, place: str) -> Decimal | None:
    for value in as_list(contract.get("areas"), f"{place}.areas"):
        row = as_object(value, f"{place}.areas")
        if row.get("areaCode") != area:
            continue
        for entry in as_list(row.get("prices"), f"{place}.areas.prices"):
            price = as_object(entry, f"{place}.areas.prices")
            if price.get("currencyCode") == currency and price.get("status") == _FINAL:
                return as_decimal(price.get("marketPrice"), f"{place}.areas.prices.marketPrice")
    return None
