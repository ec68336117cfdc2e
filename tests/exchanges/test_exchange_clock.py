"""Case 29 over sockets: the exchange's clock is read from its answers, a difference over two seconds alarms, the gate is theirs."""

from datetime import timedelta
from email.utils import format_datetime

import aiohttp
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from gateway.domain.errors import GateClosed
from gateway.exchanges.nord_pool import NordPoolExchange
from tests.exchanges.orders import DAY
from tests.exchanges.test_nord_pool_answers import AUCTION, ORDER, auction_json, confirmation, exchange, text
from tests.fakes.clock import HandClock
from tests.fakes.scripted_peer import ScriptedPeer

__all__ = ["exchange"]


def clock_of(held: NordPoolExchange) -> HandClock:
    clock = held._clock
    assert isinstance(clock, HandClock)
    return clock


def answer(peer: ScriptedPeer, held: NordPoolExchange, body: object, *, behind: float, status: int = 200) -> None:
    """Let the exchange answer with the date of a clock that ours is so many seconds behind."""
    date = clock_of(held).now() + timedelta(seconds=behind)
    peer.reply(text(body), status=status, headers={"Date": format_datetime(date, usegmt=True)})


@pytest.mark.parametrize(
    ("behind", "told"),
    [
        (0.0, ""),
        (2.0, ""),
        (-3.0, ""),
        (4.0, "at least 4.0 s behind that of the exchange"),
        (-4.0, "at least 3.0 s ahead of that of the exchange"),
    ],
)
async def test_m29_a_skew_that_is_certainly_over_two_seconds_alarms(
    exchange: NordPoolExchange, peer: ScriptedPeer, behind: float, told: str
) -> None:
    answer(peer, exchange, [], behind=behind)
    with capture_logs() as logs:
        await exchange.auction("BE", DAY)
        await exchange.auction("BE", DAY)
    alarms = [one["told"] for one in logs if one["event"] == "clock_skew"]
    assert len(alarms) == (1 if told else 0), "told once"
    skew = exchange.clock_skew
    assert skew is not None
    assert skew.is_off is bool(told)
    if told:
        assert told in alarms[0]
        value = REGISTRY.get_sample_value("gateway_exchange_clock_skew_seconds")
        assert value == skew.certain.total_seconds()


async def test_m29_a_clock_that_was_set_right_is_no_alarm_any_more(
    exchange: NordPoolExchange, peer: ScriptedPeer
) -> None:
    answer(peer, exchange, [], behind=10.0)
    await exchange.auction("BE", DAY)
    before = exchange.clock_skew
    clock_of(exchange).move(seconds=10)
    with capture_logs() as logs:
        await exchange.auction("BE", DAY)
    after = exchange.clock_skew
    assert [one is not None and one.is_off for one in (before, after)] == [True, False]
    assert [one["event"] for one in logs if one["event"].startswith("clock_skew")] == ["clock_skew_over"]


@pytest.mark.parametrize(("left_s", "behind", "is_sent"), [(1.0, 0.0, True), (0.0, 0.0, False), (5.0, 6.0, False)])
async def test_m29_an_order_goes_until_the_gate_closes_by_the_exchanges_clock(
    exchange: NordPoolExchange, peer: ScriptedPeer, left_s: float, behind: float, is_sent: bool
) -> None:
    clock_of(exchange).set(AUCTION.gate_closure - timedelta(seconds=left_s))
    answer(peer, exchange, auction_json(), behind=behind)
    answer(peer, exchange, {"curveOrders": [], "blockLists": []}, behind=behind)
    answer(peer, exchange, confirmation(), behind=behind, status=201)
    if is_sent:
        assert (await exchange.submit(ORDER)).exchange_order_id == "e1"
    else:
        with pytest.raises(GateClosed):
            await exchange.submit(ORDER)
        assert not [one for one in peer.asked if one.path.endswith("/curveorders")]


@pytest.mark.parametrize("date", ["", "yesterday", "Tue, 99 Oct 2025 10:00:00 GMT"])
async def test_an_answer_without_a_date_tells_nothing(
    exchange: NordPoolExchange, peer: ScriptedPeer, session: aiohttp.ClientSession, date: str
) -> None:
    peer.reply(text([]), headers={"Date": date})
    await exchange.auction("BE", DAY)
    assert exchange.clock_skew is None
