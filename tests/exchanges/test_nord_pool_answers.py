"""Answers that a correct exchange never gives: the adapter must not take them for an effect, nor for none."""

import json
from decimal import Decimal
from typing import Any

import aiohttp
import pytest

from gateway.domain.errors import InvalidInput, OutcomeUnknown, PeerUnavailable
from gateway.exchanges import nord_pool_wire as wire
from gateway.exchanges.nord_pool import NordPoolAccount, NordPoolExchange, NordPoolMarket
from gateway.exchanges.order_check import validate_order
from gateway.exchanges.transport import Timeouts
from tests.exchanges.orders import DAY, auction_of, order_of
from tests.fakes.clock import HandClock
from tests.fakes.scripted_peer import ScriptedPeer

ORDER = order_of()
AUCTION = auction_of()
CURVES = validate_order(ORDER, AUCTION)


def text(value: Any) -> bytes:
    return json.dumps(value).encode()


def auction_json(state: str = "Open", **changed: Any) -> dict[str, Any]:
    contracts = [
        {"id": name, "deliveryStart": start.isoformat(), "deliveryEnd": end.isoformat()}
        for name, start, end in AUCTION.contracts
    ]
    return {
        "id": AUCTION.id,
        "state": state,
        "closeForBidding": AUCTION.gate_closure.isoformat(),
        "deliveryStart": DAY.grid().start.isoformat(),
        "currencies": [{"currencyCode": "EUR", "minPrice": -500, "maxPrice": 4000.0}],
        "contracts": [{"areaCode": "NL", "contracts": []}, {"areaCode": "BE", "contracts": contracts}],
        **changed,
    }


def confirmation(**changed: Any) -> dict[str, Any]:
    sent: dict[str, Any] = json.loads(wire.curve_order(ORDER, CURVES))
    return {**sent, "orderId": "e1", **changed}


@pytest.fixture
def exchange(peer: ScriptedPeer, session: aiohttp.ClientSession) -> NordPoolExchange:
    account = NordPoolAccount(base_url=f"{peer.url}/api/v1", sts_url=f"{peer.url}/token", username="u", password="p")
    market = NordPoolMarket(products={"BE": "CWE_QH_DA_1"}, time_zone="Europe/Brussels")
    peer.reply(text({"access_token": "t", "expires_in": 3600}))
    return NordPoolExchange(
        account=account,
        market=market,
        session=session,
        clock=HandClock(ORDER.created_at),
        timeouts=Timeouts(connect_s=1.0, total_s=0.5),
    )


def no_orders(peer: ScriptedPeer) -> None:
    peer.reply(text(auction_json()))
    peer.reply(text({"curveOrders": [], "blockLists": []}))


async def test_a_confirmation_of_what_was_sent_is_a_receipt(exchange: NordPoolExchange, peer: ScriptedPeer) -> None:
    no_orders(peer)
    peer.reply(text(confirmation()), status=201)
    assert (await exchange.submit(ORDER)).exchange_order_id == "e1"
    sent = json.loads(peer.bodies[-1])
    assert sent["comment"] == ORDER.id
    assert sent["curves"][0] == {
        "contractId": "C-1",
        "curvePoints": [
            {"price": -500.0, "volume": 2.0},
            {"price": 80.0, "volume": 2.0},
            {"price": 80.01, "volume": 0.5},
            {"price": 120.5, "volume": 0.5},
            {"price": 120.51, "volume": 0.0},
            {"price": 4000.0, "volume": 0.0},
        ],
    }


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"accepted",
        b"[]",
        text(confirmation(orderId=None)),
        text(confirmation(comment="somebody else's")),
        text(confirmation(auctionId="CWE_QH_DA_1-20251015")),
        text(confirmation(portfolio="NL-EV")),
        text(confirmation(curves=[])),
        text(confirmation()).replace(b'"price": 80.01', b'"price": 80.02'),
        text(confirmation()).replace(b'"volume": 2.0', b'"volume": 20.0'),
        text(confirmation()).replace(b'"volume": 2.0', b'"volume": NaN'),
        text(confirmation()).replace(b'"C-1"', b'"C-X"'),
    ],
)
async def test_a_confirmation_of_something_else_is_unknown(
    exchange: NordPoolExchange, peer: ScriptedPeer, body: bytes
) -> None:
    no_orders(peer)
    peer.reply(body, status=201)
    with pytest.raises(OutcomeUnknown):
        await exchange.submit(ORDER)


@pytest.mark.parametrize(
    ("status", "body", "field"),
    [
        (400, {"errors": {"curves[3].curvePoints[1].price": ["Bad price"]}}, "order.curves[3].curvePoints[1].price"),
        (400, {"title": "Bad", "detail": "Too many"}, "order"),
        (400, {"errors": {}, "title": "Bad"}, "order"),
        (422, {}, "order"),
        (403, {"detail": "Not yours"}, "order.exchange_portfolio"),
    ],
)
async def test_a_refusal_names_the_field(
    exchange: NordPoolExchange, peer: ScriptedPeer, status: int, body: dict[str, Any], field: str
) -> None:
    no_orders(peer)
    peer.reply(text(body), status=status, content_type="application/problem+json")
    with pytest.raises(InvalidInput) as caught:
        await exchange.submit(ORDER)
    assert caught.value.field == field


async def test_a_refusal_in_prose_is_shown_in_one_line(exchange: NordPoolExchange, peer: ScriptedPeer) -> None:
    no_orders(peer)
    peer.reply(b"Bad\r\nRequest \x1b[31m" + b"x" * 1000, status=400)
    with pytest.raises(InvalidInput) as caught:
        await exchange.submit(ORDER)
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("fault", ["hang", "break_off", "drip", "promise_more"])
async def test_half_an_answer_is_unknown(exchange: NordPoolExchange, peer: ScriptedPeer, fault: str) -> None:
    no_orders(peer)
    getattr(peer, fault)()
    with pytest.raises(OutcomeUnknown):
        await exchange.submit(ORDER)
    assert len([request for request in peer.asked if request.path.endswith("/curveorders")]) == 1


async def test_a_token_the_exchange_forgot_is_renewed_and_the_order_sent_again(
    exchange: NordPoolExchange, peer: ScriptedPeer
) -> None:
    no_orders(peer)
    peer.reply(b"", status=401)
    peer.reply(text({"access_token": "t2", "expires_in": 3600}))
    peer.reply(text(confirmation()), status=201)
    assert (await exchange.submit(ORDER)).exchange_order_id == "e1"
    assert peer.asked[-1].headers["Authorization"] == "Bearer t2"


async def test_a_token_refused_twice_is_the_peers_failure(exchange: NordPoolExchange, peer: ScriptedPeer) -> None:
    peer.reply(b"", status=401)
    peer.reply(text({"access_token": "t2", "expires_in": 3600}))
    peer.reply(b"", status=401)
    with pytest.raises(PeerUnavailable, match="refuses our login"):
        await exchange.submit(ORDER)


async def test_two_orders_under_one_key_are_for_a_person(exchange: NordPoolExchange, peer: ScriptedPeer) -> None:
    held = {"comment": ORDER.id, "state": "Accepted"}
    peer.reply(text({"curveOrders": [{**held, "orderId": "a"}, {**held, "orderId": "b"}]}))
    with pytest.raises(OutcomeUnknown, match="holds 2 orders"):
        await exchange.find_order(ORDER)


async def test_cancelled_and_foreign_orders_are_not_ours(exchange: NordPoolExchange, peer: ScriptedPeer) -> None:
    rows = [
        {"comment": ORDER.id, "state": "Cancelled", "orderId": "a"},
        {"comment": "other", "state": "Accepted", "orderId": "b"},
        {"comment": None, "state": "Accepted", "orderId": "c"},
    ]
    peer.reply(text({"curveOrders": rows}))
    assert await exchange.find_order(ORDER) is None
    assert peer.asked[-1].query.getall("portfolios") == ["BE-EV"]


async def test_a_cancelled_auction_is_not_announced(exchange: NordPoolExchange, peer: ScriptedPeer) -> None:
    peer.reply(text([auction_json(state="Cancelled")]))
    assert await exchange.auction("BE", DAY) is None


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        text([]),
        text(auction_json(contracts=[{"areaCode": "NL", "contracts": []}])),
        text(auction_json(currencies=[{"currencyCode": "PLN", "minPrice": 0, "maxPrice": 1}])),
        text(auction_json(currencies=[{"currencyCode": "EUR", "minPrice": 1, "maxPrice": 1}])),
        text(auction_json(closeForBidding="2025-10-14T10:00:00")),
        text(auction_json(contracts=3)),
    ],
)
async def test_a_description_that_makes_no_sense_is_the_peers_failure(
    exchange: NordPoolExchange, peer: ScriptedPeer, body: bytes
) -> None:
    peer.reply(body)
    with pytest.raises(PeerUnavailable, match="nonsense"):
        await exchange.submit(ORDER)


def trade(contract: str = "C-1", **changed: Any) -> dict[str, Any]:
    return {"contractId": contract, "volume": 2.0, "price": 50.0, "side": "Buy", "status": "Final", **changed}


def test_trades_of_one_contract_add_up_and_sales_are_negative() -> None:
    rows = [
        {"orderId": "e1", "trades": [trade(), trade(volume=0.5, side="Sell"), trade("C-2", side="Sell")]},
        {"orderId": "e2", "trades": [trade(volume=99)]},
    ]
    assert wire.read_trades(text(rows), "e1") == {"C-1": Decimal("1.5"), "C-2": Decimal(-2)}


def test_a_preliminary_result_is_no_result() -> None:
    assert wire.read_trades(text([{"orderId": "e1", "trades": [trade(status="PreliminaryResults")]}]), "e1") is None


@pytest.mark.parametrize("changed", [{"side": "Hold"}, {"volume": -1}, {"volume": "1"}, {"contractId": ""}])
def test_a_trade_that_makes_no_sense_is_named(changed: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=r"trades\[0\]\.trades\[0\]"):
        wire.read_trades(text([{"orderId": "e1", "trades": [trade(**changed)]}]), "e1")


def prices_json(status: str = "Final", count: int = 96, currency: str = "EUR") -> list[dict[str, Any]]:
    price = {"currencyCode": currency, "marketPrice": 45.23, "status": status}
    areas = [{"areaCode": "NL", "prices": []}, {"areaCode": "BE", "prices": [price]}]
    return [{"contracts": [{"contractId": f"C-{i}", "areas": areas} for i in range(1, count + 1)]}]


async def award_with(exchange: NordPoolExchange, peer: ScriptedPeer, trades: Any, prices: Any) -> Any:
    peer.reply(text(auction_json(state="ResultsPublished")))
    peer.reply(text(trades))
    peer.reply(text(prices))
    return await exchange.award(order_of(exchange_order_id="e1"), "a", ORDER.created_at)


async def test_an_award_needs_all_final_prices(exchange: NordPoolExchange, peer: ScriptedPeer) -> None:
    award = await award_with(exchange, peer, [{"orderId": "e1", "trades": [trade()]}], prices_json())
    assert award.periods[0].volume_mw == 2
    assert award.periods[1].volume_mw == 0
    assert award.periods[0].price_per_mwh == Decimal("45.23")


@pytest.mark.parametrize(
    "prices", [prices_json(status="PreliminaryResults"), prices_json(count=95), prices_json(currency="PLN"), []]
)
async def test_without_them_there_is_none_yet(
    exchange: NordPoolExchange, peer: ScriptedPeer, prices: list[dict[str, Any]]
) -> None:
    assert await award_with(exchange, peer, [], prices) is None


async def test_a_preliminary_trade_is_no_award_yet(exchange: NordPoolExchange, peer: ScriptedPeer) -> None:
    rows = [{"orderId": "e1", "trades": [trade(status="PreliminaryResults")]}]
    assert await award_with(exchange, peer, rows, prices_json()) is None


async def test_a_trade_in_a_contract_not_ordered_is_the_peers_failure(
    exchange: NordPoolExchange, peer: ScriptedPeer
) -> None:
    with pytest.raises(PeerUnavailable, match="was not ordered"):
        await award_with(exchange, peer, [{"orderId": "e1", "trades": [trade("C-X")]}], prices_json())
