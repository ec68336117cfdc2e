"""The exchange's JSON: bodies that come in, read strictly, and documents that go out."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal

from aiohttp import web

from gateway.sandbox.market_auction import CURRENCY, PRODUCT, Auction, Block, BookOrder, BookTrade, Point, Refused

COMPANY = "Sandbox Trading"


def order_json(order: BookOrder, *, has_results: bool) -> dict[str, object]:
    """Return an order as the API shows it."""
    state = "Accepted"
    if order.is_cancelled:
        state = "Cancelled"
    elif has_results:
        state = "ResultsPublished"
    document: dict[str, object] = {
        "orderId": order.id,
        "auctionId": order.auction,
        "companyName": COMPANY,
        "portfolio": order.portfolio,
        "areaCode": order.area,
        "modifier": "sandbox",
        "modified": instant_text(order.modified),
        "currencyCode": CURRENCY,
        "comment": order.comment,
        "resolutionSeconds": 900,
    }
    if order.blocks:
        return {**document, "blocks": [block_json(block, state) for block in order.blocks]}
    curves = [
        {
            "contractId": contract,
            "curvePoints": [{"price": float(price), "volume": float(volume)} for price, volume in points],
        }
        for contract, points in order.curves.items()
    ]
    return {**document, "state": state, "curves": curves}


def problem_document(refusal: Refused) -> web.Response:
    """Return a refusal as an RFC 7807 problem document."""
    document: dict[str, object] = {
        "type": f"https://sandbox.example/problems/{refusal.kind}",
        "title": "One or more validation errors occurred." if refusal.at else str(refusal),
        "status": refusal.status,
        "detail": str(refusal),
    }
    if refusal.at:
        document["errors"] = {refusal.at: [str(refusal)]}
    return web.json_response(document, status=refusal.status, content_type="application/problem+json")


def summary_json(auction: Auction, now: datetime) -> dict[str, object]:
    """Return an auction as a row of the list."""
    grid = auction.day.grid()
    return {
        "id": auction.id,
        "name": f"CWE QH Day Ahead {auction.day.next(-1).day:%d.%m.%Y}",
        "state": auction.state(now),
        "closeForBidding": instant_text(auction.gate_closure),
        "deliveryStart": instant_text(grid.start),
        "deliveryEnd": instant_text(grid.end),
    }


def trade_json(trade: BookTrade, number: int) -> dict[str, object]:
    """Return a trade; the side says the direction, the volume is positive."""
    return {
        "tradeId": f"{PRODUCT}-T{number:06}",
        "contractId": trade.contract.id,
        "deliveryStart": instant_text(trade.contract.start),
        "deliveryEnd": instant_text(trade.contract.end),
        "volume": float(abs(trade.volume)),
        "price": float(trade.price),
        "side": "Buy" if trade.volume > 0 else "Sell",
        "status": "Final",
    }


def block_json(block: Block, state: str) -> dict[str, object]:
    """Return a block with its state."""
    return {
        "name": block.name,
        "price": float(block.price),
        "minimumAcceptanceRatio": float(block.minimum_acceptance_ratio),
        "linkedTo": block.linked_to,
        "exclusiveGroup": block.exclusive_group,
        "isSpreadBlock": False,
        "periods": [{"contractId": contract, "volume": float(volume)} for contract, volume in block.periods],
        "modifier": "sandbox",
        "state": state,
    }


def new_order(
    document: Mapping[str, object],
    now: datetime,
    *,
    curves: Mapping[str, tuple[Point, ...]] | None = None,
    blocks: tuple[Block, ...] = (),
) -> BookOrder:
    """Return the order that a document asks for, not yet in the book."""
    return BookOrder(
        id="",
        auction=_string(document, "auctionId"),
        portfolio=_string(document, "portfolio"),
        area=_string(document, "areaCode"),
        comment=read_comment(document),
        modified=now,
        curves={} if curves is None else curves,
        blocks=blocks,
    )


async def read_body(request: web.Request) -> Mapping[str, object]:
    """Return the JSON object of a request, its numbers exact.

    Raises:
        Refused: It is no JSON object.
    """
    try:
        document = json.loads(await request.text(), parse_float=Decimal, parse_int=Decimal, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Refused(400, "validation", "The body is not JSON", "$") from None
    if not isinstance(document, dict):
        raise Refused(400, "validation", "The body must be an object", "$")
    return document


def _no_constant(name: str) -> Decimal:
    raise ValueError(name)


def read_curves(document: Mapping[str, object]) -> dict[str, tuple[Point, ...]]:
    """Return the points per contract id.

    Raises:
        Refused: A field is missing or wrong; it is named.
    """
    found: dict[str, tuple[Point, ...]] = {}
    for index, curve in enumerate(_objects(document, "curves", "curves")):
        at = f"curves[{index}]"
        contract = _string(curve, "contractId", at)
        if contract in found:
            raise Refused(400, "validation", "The contract is given twice", f"{at}.contractId")
        points = [
            (_number(point, "price", f"{at}.curvePoints[{i}]"), _number(point, "volume", f"{at}.curvePoints[{i}]"))
            for i, point in enumerate(_objects(curve, "curvePoints", f"{at}.curvePoints"))
        ]
        found[contract] = tuple(points)
    return found


def read_blocks(document: Mapping[str, object]) -> tuple[Block, ...]:
    """Return the blocks.

    Raises:
        Refused: A field is missing or wrong; it is named.
    """
    found: list[Block] = []
    for index, block in enumerate(_objects(document, "blocks", "blocks")):
        at = f"blocks[{index}]"
        ratio = block.get("minimumAcceptanceRatio")
        periods = [
            (_string(period, "contractId", f"{at}.periods[{i}]"), _number(period, "volume", f"{at}.periods[{i}]"))
            for i, period in enumerate(_objects(block, "periods", f"{at}.periods"))
        ]
        found.append(
            Block(
                name=_string(block, "name", at),
                price=_number(block, "price", at),
                # Blank means the whole block or nothing.
                minimum_acceptance_ratio=Decimal(1) if ratio is None else _number(block, "minimumAcceptanceRatio", at),
                linked_to=_optional(block, "linkedTo", at),
                exclusive_group=_optional(block, "exclusiveGroup", at),
                periods=tuple(periods),
            )
        )
    return tuple(found)


def _objects(document: Mapping[str, object], name: str, at: str) -> Sequence[Mapping[str, object]]:
    values = document.get(name)
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise Refused(400, "validation", "Must be an array of objects", at)
    return values


def _string(document: Mapping[str, object], name: str, at: str = "") -> str:
    value = document.get(name)
    if not isinstance(value, str) or not value:
        raise Refused(400, "validation", "Must be a text", f"{at}.{name}".lstrip("."))
    return value


def _optional(document: Mapping[str, object], name: str, at: str) -> str | None:
    return None if document.get(name) is None else _string(document, name, at)


def read_comment(document: Mapping[str, object]) -> str | None:
    """Return the comment; None without one."""
    comment = _optional(document, "comment", "")
    if comment is not None and len(comment) > 255:
        raise Refused(400, "validation", "Must have at most 255 characters", "comment")
    return comment


def _number(document: Mapping[str, object], name: str, at: str) -> Decimal:
    value = document.get(name)
    if not isinstance(value, Decimal) or not value.is_finite():
        raise Refused(400, "validation", "Must be a number", f"{at}.{name}")
    return value


def read_instant(request: web.Request, name: str) -> datetime:
    """Return an instant of the query."""
    try:
        instant = datetime.fromisoformat(request.query[name])
    except (KeyError, ValueError):
        raise Refused(400, "validation", "Must be an ISO 8601 instant", name) from None
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)


def instant_text(instant: datetime) -> str:
    """Return an instant as the API writes it."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
