"""The adapter against the sandbox exchange as a process of its own, over a socket, with its faults."""

import asyncio
import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import aiohttp
import pytest

from gateway.domain.bids import Order
from gateway.domain.errors import GateClosed, InvalidInput, OutcomeUnknown, PeerUnavailable, PreconditionFailed
from gateway.domain.timegrid import DeliveryDay
from gateway.exchanges.nord_pool import NordPoolAccount, NordPoolExchange, NordPoolMarket
from gateway.exchanges.transport import Timeouts
from tests.exchanges.orders import AUTUMN, DAY, SPRING, bid_period, day_periods, order_of
from tests.fakes.sandbox_market import MarketClock, SandboxMarket

Exchange = Callable[..., NordPoolExchange]


@pytest.fixture
def make_exchange(market: SandboxMarket, session: aiohttp.ClientSession) -> Exchange:
    def make(**changed: Any) -> NordPoolExchange:
        fields: dict[str, Any] = {
            "base_url": market.ready["exchange_url"],
            "sts_url": market.ready["sts_url"],
            "username": market.ready["exchange_username"],
            "password": market.ready["exchange_password"],
        }
        return NordPoolExchange(
            account=NordPoolAccount(**{**fields, **changed}),
            market=NordPoolMarket(products={"BE": "CWE_QH_DA_1"}, time_zone="Europe/Brussels"),
            session=session,
            clock=MarketClock(market),
            timeouts=Timeouts(connect_s=1.0, total_s=0.5),
        )

    return make


@pytest.fixture
def exchange(make_exchange: Exchange) -> NordPoolExchange:
    return make_exchange()


def open_for(market: SandboxMarket, day: DeliveryDay) -> DeliveryDay:
    market.set(day.next(-1).at(time(11)))
    return day


def clear(market: SandboxMarket, day: DeliveryDay) -> None:
    market.set(day.next(-1).at(time(12, 45)))


async def orders_at(market: SandboxMarket, session: aiohttp.ClientSession) -> int:
    return (await market.requests(session)).get("POST /exchange/api/v1/curveorders", 0)


@pytest.mark.parametrize(("day", "count"), [(SPRING, 92), (DAY, 96), (AUTUMN, 100)])
async def test_an_auction_has_the_contracts_of_its_day(
    market: SandboxMarket, exchange: NordPoolExchange, day: DeliveryDay, count: int
) -> None:
    open_for(market, day)
    auction = await exchange.auction("BE", day)
    assert auction is not None
    assert auction.id == f"CWE_QH_DA_1-{day.next(-1).day:%Y%m%d}"
    assert [start for _, start, _ in auction.contracts] == list(day.grid().starts())
    assert len({contract for contract, _, _ in auction.contracts}) == count
    assert auction.contracts[0][0] == f"CWE_QH_DA_1-{day.day:%Y%m%d}-01"
    assert auction.gate_closure == day.next(-1).at(time(12))
    assert auction.opens_at == auction.gate_closure - timedelta(days=60)
    assert Decimal(auction.min_price_per_mwh) == -500
    assert Decimal(auction.max_price_per_mwh) == 4000


async def test_a_far_day_is_not_announced(market: SandboxMarket, exchange: NordPoolExchange) -> None:
    open_for(market, DAY)
    assert await exchange.auction("BE", DAY.next(62)) is None


async def test_an_area_without_product_is_refused(exchange: NordPoolExchange) -> None:
    with pytest.raises(InvalidInput, match="no product is configured for NL"):
        await exchange.auction("NL", DAY)


@pytest.mark.parametrize("day", [SPRING, DAY, AUTUMN])
async def test_an_order_becomes_an_award_at_the_clearing_prices(
    market: SandboxMarket, exchange: NordPoolExchange, day: DeliveryDay
) -> None:
    steps = (("0", "2.0"), ("20", "1.5"), ("70", "0.9"), ("100", "0.2"))
    order = order_of(open_for(market, day), bid="award", periods=day_periods(day, steps))
    receipt = await exchange.submit(order)
    assert await exchange.award(order, "award-1", market.now) is None
    clear(market, day)
    award = await exchange.award(order, "award-1", market.now)
    assert award is not None
    assert (award.id, award.order, award.bid, award.tenant) == ("award-1", order.id, "award", "demo")
    assert award.delivery_day == day.day.isoformat()
    assert award.portfolio == "BE-EV"
    assert [(p.start, p.end) for p in award.periods] == [(p.start, p.end) for p in order.periods]
    for awarded, wanted in zip(award.periods, order.periods, strict=True):
        assert awarded.volume_mw == wanted.volume_at(awarded.price_per_mwh)
    assert len({p.volume_mw for p in award.periods}) > 1
    by_id = dataclasses.replace(order, exchange_order_id=receipt.exchange_order_id)
    assert await exchange.award(by_id, "award-1", award.received_at) == award


async def test_clearing_prices_are_the_recorded_ones(market: SandboxMarket, exchange: NordPoolExchange) -> None:
    day = open_for(market, DAY.next(-10))
    order = order_of(day, bid="prices")
    await exchange.submit(order)
    clear(market, day)
    award = await exchange.award(order, "a", market.now)
    assert award is not None
    assert award.periods[0].price_per_mwh == Decimal("1.54")


async def test_a_second_try_finds_the_first_order(
    market: SandboxMarket, exchange: NordPoolExchange, session: aiohttp.ClientSession
) -> None:
    order = order_of(open_for(market, DAY.next(-1)), bid="twice")
    assert await exchange.find_order(order) is None
    before = await orders_at(market, session)
    first = await exchange.submit(order)
    again = await exchange.submit(order)
    assert first.exchange_order_id == again.exchange_order_id
    assert await orders_at(market, session) == before + 1


async def test_two_tries_at_once_send_one_order(
    market: SandboxMarket, exchange: NordPoolExchange, session: aiohttp.ClientSession
) -> None:
    order = order_of(open_for(market, DAY.next(-2)), bid="at-once")
    before = await orders_at(market, session)
    receipts = await asyncio.gather(*(exchange.submit(order) for _ in range(5)))
    assert len({receipt.exchange_order_id for receipt in receipts}) == 1
    assert await orders_at(market, session) == before + 1


@pytest.mark.parametrize(("kind", "back"), [("reset-after-accept", -3), ("hang-after-accept", -4), ("truncated", -5)])
async def test_a_lost_answer_is_unknown_and_the_order_is_found_later(
    market: SandboxMarket, exchange: NordPoolExchange, session: aiohttp.ClientSession, kind: str, back: int
) -> None:
    order = order_of(open_for(market, DAY.next(back)), bid=kind)
    before = await orders_at(market, session)
    await market.fault(session, door="exchange", kind=kind, method="POST", path="curveorders")
    with pytest.raises(OutcomeUnknown):
        await exchange.submit(order)
    found = await exchange.find_order(order)
    assert found is not None
    assert (await exchange.submit(order)).exchange_order_id == found.exchange_order_id
    assert await orders_at(market, session) == before + 1


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("status-503", PeerUnavailable),
        ("status-429", PeerUnavailable),
        ("status-500", OutcomeUnknown),
        ("reset", OutcomeUnknown),
        ("hang", OutcomeUnknown),
        ("html", OutcomeUnknown),
    ],
)
async def test_what_is_certain_about_a_failure_is_said(
    market: SandboxMarket,
    exchange: NordPoolExchange,
    session: aiohttp.ClientSession,
    kind: str,
    error: type[Exception],
) -> None:
    order = order_of(open_for(market, DAY.next(-6)), bid=kind)
    before = await orders_at(market, session)
    await market.fault(session, door="exchange", kind=kind, method="POST", path="curveorders")
    with pytest.raises(error):
        await exchange.submit(order)
    assert await orders_at(market, session) == before + 1
    assert await exchange.find_order(order) is None


@pytest.mark.parametrize("kind", ["status-503", "status-500", "hang", "html"])
async def test_when_it_cannot_be_asked_whether_it_holds_the_order_nothing_is_sent(
    market: SandboxMarket, exchange: NordPoolExchange, session: aiohttp.ClientSession, kind: str
) -> None:
    order = order_of(open_for(market, DAY.next(-6)), bid="unasked")
    before = await orders_at(market, session)
    await market.fault(session, door="exchange", kind=kind, method="GET", path="/orders", count=1)
    with pytest.raises(PeerUnavailable):
        await exchange.submit(order)
    assert await orders_at(market, session) == before


async def test_the_gate_is_closed_by_our_clock_before_anything_is_sent(
    market: SandboxMarket, exchange: NordPoolExchange, session: aiohttp.ClientSession
) -> None:
    day = DAY.next(-7)
    market.set(day.next(-1).at(time(12)))
    before = await orders_at(market, session)
    with pytest.raises(GateClosed):
        await exchange.submit(order_of(day, bid="late"))
    assert await orders_at(market, session) == before


async def test_the_exchanges_word_that_the_gate_closed_counts(
    market: SandboxMarket, session: aiohttp.ClientSession, make_exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = DAY.next(-7)
    market.set(day.next(-1).at(time(12)))
    exchange = make_exchange()
    # So far behind that the exchange's clock does not count for ours: only its word is left.
    early = market.now - timedelta(hours=2)
    monkeypatch.setattr(MarketClock, "now", lambda _self: early)
    before = await orders_at(market, session)
    with pytest.raises(GateClosed, match="closed for bidding"):
        await exchange.submit(order_of(day, bid="slow-clock"))
    assert await orders_at(market, session) == before + 1


async def test_a_minute_before_the_gate_is_in_time(market: SandboxMarket, exchange: NordPoolExchange) -> None:
    day = DAY.next(-8)
    market.set(day.next(-1).at(time(11, 59, 59)))
    receipt = await exchange.submit(order_of(day, bid="in-time"))
    assert receipt.received_at == market.now


async def test_a_second_order_of_the_portfolio_is_refused_by_the_exchange(
    market: SandboxMarket, exchange: NordPoolExchange
) -> None:
    day = open_for(market, DAY.next(-9))
    await exchange.submit(order_of(day, bid="one"))
    with pytest.raises(InvalidInput, match="already has a curve order"):
        await exchange.submit(order_of(day, bid="other"))


async def test_a_portfolio_of_somebody_else_is_refused(market: SandboxMarket, exchange: NordPoolExchange) -> None:
    open_for(market, DAY)
    with pytest.raises(InvalidInput) as caught:
        await exchange.submit(order_of(bid="foreign", exchange_portfolio="NL-EV"))
    assert caught.value.field == "order.exchange_portfolio"


async def test_a_wrong_order_is_refused_before_it_leaves(
    market: SandboxMarket, exchange: NordPoolExchange, session: aiohttp.ClientSession
) -> None:
    open_for(market, DAY)
    before = await orders_at(market, session)
    wrong = order_of(bid="wrong", periods=(bid_period(("80.005", "1.0")),))
    with pytest.raises(InvalidInput, match="must be a multiple of"):
        await exchange.submit(wrong)
    with pytest.raises(InvalidInput, match="knows no auction"):
        await exchange.submit(order_of(bid="wrong", auction="CWE_QH_DA_1-unknown"))
    assert await orders_at(market, session) == before


async def test_a_cancelled_order_is_gone(market: SandboxMarket, exchange: NordPoolExchange) -> None:
    day = open_for(market, DAY.next(-11))
    order = order_of(day, bid="cancelled")
    receipt = await exchange.submit(order)
    await exchange.cancel(order, receipt.exchange_order_id)
    assert await exchange.find_order(order) is None
    clear(market, day)
    with pytest.raises(PreconditionFailed, match="holds no order"):
        await exchange.award(order, "a", market.now)
    with pytest.raises(GateClosed):
        await exchange.cancel(order, receipt.exchange_order_id)


async def test_nothing_bought_is_an_award_of_zero(market: SandboxMarket, exchange: NordPoolExchange) -> None:
    day = open_for(market, DAY.next(-12))
    order = order_of(day, bid="cheap", periods=day_periods(day, (("-400", "5.0"),)))
    await exchange.submit(order)
    clear(market, day)
    award = await exchange.award(order, "a", market.now)
    assert award is not None
    assert award.energy_mwh == 0
    assert len(award.periods) == 96


async def test_part_of_a_day_may_be_ordered(market: SandboxMarket, exchange: NordPoolExchange) -> None:
    day = open_for(market, DAY.next(-13))
    order = order_of(day, bid="part", periods=day_periods(day, (("4000", "1.0"),))[40:44])
    await exchange.submit(order)
    clear(market, day)
    award = await exchange.award(order, "a", market.now)
    assert award is not None
    assert award.energy_mwh == 1


async def test_a_token_that_has_ended_is_renewed(
    market: SandboxMarket, exchange: NordPoolExchange, session: aiohttp.ClientSession
) -> None:
    open_for(market, DAY)
    await exchange.auction("BE", DAY)
    logins = (await market.requests(session))["POST /exchange/connect/token"]
    await exchange.auction("BE", DAY)
    assert (await market.requests(session))["POST /exchange/connect/token"] == logins
    market.set(market.now + timedelta(hours=2))
    assert await exchange.auction("BE", DAY) is not None
    assert (await market.requests(session))["POST /exchange/connect/token"] == logins + 1


async def test_a_refused_login_is_the_peers_failure_without_the_password(
    market: SandboxMarket, make_exchange: Exchange
) -> None:
    with pytest.raises(PeerUnavailable, match="refuses our login") as caught:
        await make_exchange(password="canary-password").auction("BE", DAY)
    assert "canary-password" not in repr(caught.value) + repr(caught.value.__context__)


async def test_nobody_there_has_certainly_no_effect(make_exchange: Exchange) -> None:
    exchange = make_exchange(base_url="http://127.0.0.1:9/api/v1", sts_url="http://127.0.0.1:9/token")
    with pytest.raises(PeerUnavailable, match="cannot be reached"):
        await exchange.submit(order_of())


@pytest.mark.parametrize("field", ["base_url", "sts_url", "username", "password"])
def test_an_account_must_be_safe(field: str) -> None:
    fields = {
        "base_url": "https://a.example/api/v1",
        "sts_url": "https://a.example/t",
        "username": "u",
        "password": "p",
    }
    wrong = "http://a.example" if field.endswith("url") else ""
    with pytest.raises(InvalidInput, match=f"exchange.{field}"):
        NordPoolAccount(**{**fields, field: wrong})
    assert "secret" not in repr(NordPoolAccount(**{**fields, "password": "secret"}))


def test_orders_of_these_tests_are_before_their_gates() -> None:
    order: Order = order_of(DAY)
    assert order.created_at < order.gate_closure < datetime(2025, 10, 15, tzinfo=UTC)
