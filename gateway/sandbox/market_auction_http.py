"""The exchange's door: Nord Pool's Auction API (v1) in JSON over the auction house.

Errors are RFC 7807 problem documents; `errors` names the field. A token is got with the password grant and lives an hour of
market time.
"""

import base64
from collections.abc import Mapping
from datetime import datetime, timedelta

import numpy as np
from aiohttp import web
from aiohttp.typedefs import Handler

from gateway.sandbox.market_auction import (
    AREA,
    CURRENCY,
    MAX_PRICE,
    MIN_PRICE,
    Auction,
    AuctionHouse,
    Block,
    BookOrder,
    Point,
    Refused,
)
from gateway.sandbox.market_auction_wire import (
    COMPANY,
    instant_text,
    new_order,
    order_json,
    problem_document,
    read_blocks,
    read_body,
    read_comment,
    read_curves,
    read_instant,
    summary_json,
    trade_json,
)
from gateway.sandbox.market_entsoe import AREA as AREA_EIC

TOKEN_LIFE = timedelta(hours=1)
_CLIENT = base64.b64encode(b"client_auction_api:client_auction_api").decode()
_LONGEST_LIST = timedelta(days=62)


class ExchangeDoor:
    """Answers the Auction API.

    Args:
        house: The auctions and the book.
        rng: For tokens.
        username: Who may log in.
        password: With which word.
    """

    def __init__(self, house: AuctionHouse, rng: np.random.Generator, username: str, password: str) -> None:
        self._house = house
        self._rng = rng
        self._login = (username, password)
        self._tokens: dict[str, datetime] = {}

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of this door."""
        base = "/exchange/api/v1"
        return [
            web.post("/exchange/connect/token", self._token),
            web.get(f"{base}/auctions", self._auctions),
            web.get(f"{base}/auctions/{{auction}}", self._auction),
            web.get(f"{base}/auctions/{{auction}}/orders", self._orders),
            web.get(f"{base}/auctions/{{auction}}/trades", self._trades),
            web.get(f"{base}/auctions/{{auction}}/prices", self._prices),
            web.get(f"{base}/auctions/{{auction}}/portfoliovolumes", self._volumes),
            web.post(f"{base}/curveorders", self._place_curves),
            web.get(f"{base}/curveorders/{{order}}", self._order),
            web.get(f"{base}/curveorders/{{order}}/versions", self._order_versions),
            web.patch(f"{base}/curveorders/{{order}}", self._replace_curves),
            web.post(f"{base}/blockorders", self._place_blocks),
            web.get(f"{base}/blockorders/{{order}}", self._order),
            web.get(f"{base}/blockorders/{{order}}/versions", self._order_versions),
            web.patch(f"{base}/blockorders/{{order}}", self._replace_blocks),
        ]

    @web.middleware
    async def guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Check the bearer token of the exchange's door and turn refusals into problem documents."""
        if not request.path.startswith("/exchange/"):
            return await handler(request)
        try:
            if not request.path.endswith("/connect/token"):
                self._require_token(request)
            return await handler(request)
        except Refused as refusal:
            return problem_document(refusal)

    def _require_token(self, request: web.Request) -> None:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        ends = self._tokens.get(token)
        if ends is None or ends <= self._house.now():
            raise Refused(401, "unauthorized", "The token is missing or has expired")

    async def _token(self, request: web.Request) -> web.Response:
        form = await request.post()
        is_client = request.headers.get("Authorization") == f"Basic {_CLIENT}"
        is_grant = form.get("grant_type") == "password" and form.get("scope") == "auction_api"
        if not is_client or not is_grant or (form.get("username"), form.get("password")) != self._login:
            return web.json_response({"error": "invalid_grant"}, status=400)
        token = base64.urlsafe_b64encode(self._rng.bytes(24)).decode()
        self._tokens[token] = self._house.now() + TOKEN_LIFE
        life = int(TOKEN_LIFE.total_seconds())
        return web.json_response({"access_token": token, "expires_in": life, "token_type": "Bearer"})

    async def _auctions(self, request: web.Request) -> web.Response:
        start, end = read_instant(request, "closeBiddingFrom"), read_instant(request, "closeBiddingTo")
        if not start <= end <= start + _LONGEST_LIST:
            raise Refused(400, "validation", "The range must be positive and at most 62 days", "closeBiddingTo")
        rows = [summary_json(auction, self._house.now()) for auction in self._house.closing_between(start, end)]
        return web.json_response(rows)

    async def _auction(self, request: web.Request) -> web.Response:
        auction = self._house.auction(request.match_info["auction"])
        contracts = [
            {"id": c.id, "deliveryStart": instant_text(c.start), "deliveryEnd": instant_text(c.end)}
            for c in auction.contracts
        ]
        area = {
            "code": AREA,
            "name": "Belgium",
            "eicCode": AREA_EIC,
            "curveMinVolumeLimit": -10_000.0,
            "curveMaxVolumeLimit": 10_000.0,
            "auctionTradingResolution": 900,
        }
        portfolios = [
            {
                "name": name,
                "id": name,
                "currency": CURRENCY,
                "companyName": COMPANY,
                "permission": "ReadWrite",
                "areas": [area],
            }
            for name in self._house.portfolios
        ]
        document = {
            **summary_json(auction, self._house.now()),
            "availableOrderTypes": [{"id": 1, "name": "Curve"}, {"id": 2, "name": "Block"}],
            "currencies": [{"currencyCode": CURRENCY, "minPrice": float(MIN_PRICE), "maxPrice": float(MAX_PRICE)}],
            "contracts": [{"areaCode": AREA, "contracts": contracts}],
            "portfolios": portfolios,
        }
        return web.json_response(document)

    async def _orders(self, request: web.Request) -> web.Response:
        auction = self._house.auction(request.match_info["auction"])
        orders = [order for order in self._house.in_auction(auction.id) if _wanted(request, order)]
        return web.json_response(
            {
                "curveOrders": [self._order_json(order) for order in orders if not order.blocks],
                "blockLists": [self._order_json(order) for order in orders if order.blocks],
            }
        )

    async def _trades(self, request: web.Request) -> web.Response:
        auction = self._house.auction(request.match_info["auction"])
        results: dict[str, dict[str, object]] = {}
        listed: dict[str, list[dict[str, object]]] = {}
        for number, trade in enumerate(self._house.trades(auction), start=1):
            order = trade.order
            if not _wanted(request, order):
                continue
            rows = listed.setdefault(order.id, [])
            rows.append(trade_json(trade, number))
            results[order.id] = {
                "orderId": order.id,
                "orderResultType": "Block" if order.blocks else "Curve",
                "auctionId": order.auction,
                "companyName": COMPANY,
                "portfolio": order.portfolio,
                "currencyCode": CURRENCY,
                "areaCode": order.area,
                "trades": rows,
            }
        return self._labelled(web.json_response(list(results.values())), auction)

    async def _prices(self, request: web.Request) -> web.Response:
        auction = self._house.auction(request.match_info["auction"])
        prices = self._house.clearing_prices(auction)
        contracts = [
            {
                "contractId": contract.id,
                "deliveryStart": instant_text(contract.start),
                "deliveryEnd": instant_text(contract.end),
                "areas": [
                    {
                        "areaCode": AREA,
                        "prices": [
                            {
                                "currencyCode": CURRENCY,
                                "marketPrice": float(prices[contract.id]),
                                "status": "Final",
                            }
                        ],
                    }
                ],
            }
            for contract in auction.contracts
        ]
        grid = auction.day.grid()
        document = {
            "auction": auction.id,
            "auctionDeliveryStart": instant_text(grid.start),
            "auctionDeliveryEnd": instant_text(grid.end),
            "contracts": contracts,
        }
        return self._labelled(web.json_response([document]), auction)

    async def _volumes(self, request: web.Request) -> web.Response:
        auction = self._house.auction(request.match_info["auction"])
        rows: list[dict[str, object]] = []
        for portfolio in self._house.portfolios:
            volumes = self._house.net_volumes(portfolio, auction.day)
            if volumes is None:
                continue
            net = [
                {
                    "netVolume": float(volumes[c.start]),
                    "contractId": c.id,
                    "deliveryStart": instant_text(c.start),
                    "deliveryEnd": instant_text(c.end),
                }
                for c in auction.contracts
            ]
            rows.append(
                {
                    "portfolio": portfolio,
                    "companyName": COMPANY,
                    "areaNetVolumes": [{"areaCode": AREA, "netVolumes": net}],
                }
            )
        return web.json_response({"auctionId": auction.id, "portfolioNetVolumes": rows})

    async def _place_curves(self, request: web.Request) -> web.Response:
        document = await read_body(request)
        curves = read_curves(document)
        if not curves:
            raise Refused(400, "validation", "An order needs curves", "curves")
        order = self._house.place(new_order(document, self._house.now(), curves=curves))
        return web.json_response(self._order_json(order), status=201)

    async def _place_blocks(self, request: web.Request) -> web.Response:
        document = await read_body(request)
        blocks = read_blocks(document)
        if not blocks:
            raise Refused(400, "validation", "An order needs blocks", "blocks")
        order = self._house.place(new_order(document, self._house.now(), blocks=blocks))
        return web.json_response(self._order_json(order), status=201)

    async def _replace_curves(self, request: web.Request) -> web.Response:
        held = self._house.versions(request.match_info["order"])[-1]
        document = await read_body(request)
        curves = {**held.curves, **read_curves(document)} if document.get("curves") else {}
        return self._replace(held, document, curves, held.blocks)

    async def _replace_blocks(self, request: web.Request) -> web.Response:
        held = self._house.versions(request.match_info["order"])[-1]
        document = await read_body(request)
        changed = {block.name: block for block in read_blocks(document)}
        blocks = tuple({**{block.name: block for block in held.blocks}, **changed}.values()) if changed else ()
        return self._replace(held, document, held.curves, blocks)

    def _replace(
        self,
        held: BookOrder,
        document: Mapping[str, object],
        curves: Mapping[str, tuple[Point, ...]],
        blocks: tuple[Block, ...],
    ) -> web.Response:
        """Put a new version in place; an empty list cancels the order but keeps what it held."""
        is_cancelled = not curves and not blocks
        order = BookOrder(
            id=held.id,
            auction=held.auction,
            portfolio=held.portfolio,
            area=held.area,
            comment=read_comment(document) if "comment" in document else held.comment,
            modified=self._house.now(),
            curves=held.curves if is_cancelled else curves,
            blocks=held.blocks if is_cancelled else blocks,
            is_cancelled=is_cancelled,
        )
        return web.json_response(self._order_json(self._house.replace(order)))

    async def _order(self, request: web.Request) -> web.Response:
        return web.json_response(self._order_json(self._house.versions(request.match_info["order"])[-1]))

    async def _order_versions(self, request: web.Request) -> web.Response:
        versions = self._house.versions(request.match_info["order"])
        return web.json_response([self._order_json(order) for order in versions])

    def _order_json(self, order: BookOrder) -> dict[str, object]:
        auction = self._house.auction(order.auction)
        return order_json(order, has_results=auction.state(self._house.now()) == "ResultsPublished")

    def _labelled(self, response: web.Response, auction: Auction) -> web.Response:
        label = self._house.price_label(auction)
        if label is not None:
            response.headers["X-Stand-In"] = label
        return response


def _wanted(request: web.Request, order: BookOrder) -> bool:
    portfolios, areas = request.query.getall("portfolios", []), request.query.getall("areas", [])
    return (not portfolios or order.portfolio in portfolios) and (not areas or order.area in areas)
