import gzip
import logging
import traceback
import tracemalloc
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.domain.errors import InvalidInput, PeerUnavailable, Unavailable, VoltbridgeError
from gateway.domain.series import PriceProduct, Quality
from gateway.domain.timegrid import DeliveryDay
from gateway.market_data.entsoe import EntsoeAccount, EntsoeEndpoint, EntsoeImbalanceSource, EntsoePriceSource
from gateway.market_data.http_fetch import FetchCaps
from gateway.market_data.market_rules import MarketRules, load_market_rules
from gateway.market_data.turnstile import Pace
from tests.fakes.clock import HandClock
from tests.fakes.scripted_peer import ScriptedPeer
from tests.market_data.documents import (
    DE_LU,
    acknowledgement,
    balancing,
    imbalance_series,
    period,
    points,
    publication,
    series,
    zipped,
)

TOKEN = "canary-7c1d9f-secret"
DAY = DeliveryDay(day=date(2025, 10, 15), zone="Europe/Brussels")
START, END = "2025-10-14T22:00Z", "2025-10-15T22:00Z"
WHOLE = publication(series(period(START, END, points(range(1, 97)))))

Endpoint = Callable[..., EntsoeEndpoint]


class InlineWorker:
    """A worker that runs the function where it is and counts."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    async def run(self, function: Any, *args: Any, deadline_s: float) -> Any:
        self.ran.append(function.__name__)
        return function(*args)


class FailingWorker:
    """A worker that fails in one way."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def run(self, function: Any, *args: Any, deadline_s: float) -> Any:
        raise self.error


class StuckWorker:
    """A worker whose process was killed at its deadline."""

    async def run(self, function: Any, *args: Any, deadline_s: float) -> Any:
        raise TimeoutError


@pytest.fixture
def rules(config: Path) -> MarketRules:
    return load_market_rules(config / "market_rules.toml")


@pytest.fixture
def clock() -> HandClock:
    return HandClock(datetime(2025, 10, 14, 11, tzinfo=UTC))


@pytest.fixture
def endpoint(peer: ScriptedPeer, session: aiohttp.ClientSession, clock: HandClock) -> Endpoint:
    def make(**changed: Any) -> EntsoeEndpoint:
        account = EntsoeAccount(url=f"{peer.url}/api", token=TOKEN)
        return EntsoeEndpoint(account=account, session=session, clock=clock, **changed)

    return make


@pytest.fixture
def prices(endpoint: Endpoint, rules: MarketRules) -> EntsoePriceSource:
    return EntsoePriceSource(endpoint=endpoint(), rules=rules)


@pytest.fixture
def imbalance(endpoint: Endpoint, rules: MarketRules) -> EntsoeImbalanceSource:
    return EntsoeImbalanceSource(endpoint=endpoint(), rules=rules)


def spelled_out(error: BaseException) -> str:
    """All text that a log or a traceback could show of an error."""
    return "".join(traceback.format_exception(error)) + repr(error) + repr(error.__context__) + repr(error.__cause__)


async def test_a_day_comes_with_its_provenance(prices: EntsoePriceSource, peer: ScriptedPeer) -> None:
    peer.reply(WHOLE)
    found = await prices.fetch("BE", DAY)
    assert found is not None
    assert found.is_complete
    assert found.prices_per_mwh == tuple(Decimal(price) for price in range(1, 97))
    assert found.grid == DAY.grid()
    assert (found.zone, found.currency, found.product) == ("BE", "EUR", PriceProduct.DAY_AHEAD_SDAC)
    assert (found.source, found.quality, found.note) == ("entsoe", Quality.FINAL, "")
    assert found.published_at == datetime(2025, 10, 14, 10, 57, 13, tzinfo=UTC)
    assert found.fetched_at == datetime(2025, 10, 14, 11, tzinfo=UTC)


async def test_one_day_is_one_request(prices: EntsoePriceSource, peer: ScriptedPeer) -> None:
    peer.reply(WHOLE)
    await prices.fetch("BE", DAY)
    assert len(peer.asked) == 1
    assert dict(peer.asked[0].query) == {
        "securityToken": TOKEN,
        "documentType": "A44",
        "in_Domain": "10YBE----------2",
        "out_Domain": "10YBE----------2",
        "contract_MarketAgreement.type": "A01",
        "periodStart": "202510142200",
        "periodEnd": "202510152200",
    }


@pytest.mark.parametrize(
    ("day", "asked"),
    [((2026, 3, 29), ("202603282300", "202603292200")), ((2025, 10, 26), ("202510252200", "202510262300"))],
)
async def test_a_day_is_asked_from_local_midnight_to_local_midnight(
    prices: EntsoePriceSource, peer: ScriptedPeer, day: tuple[int, int, int], asked: tuple[str, str]
) -> None:
    peer.reply(acknowledgement())
    assert await prices.fetch("BE", DeliveryDay(day=date(*day), zone="Europe/Brussels")) is None
    assert (peer.asked[0].query["periodStart"], peer.asked[0].query["periodEnd"]) == asked


@pytest.mark.parametrize(
    "content_type", ["text/xml", "application/xml", "text/xml;charset=UTF-8", "application/octet-stream"]
)
@pytest.mark.parametrize("status", [200, 400])
async def test_no_data_yet_is_none_whatever_its_content_type(
    prices: EntsoePriceSource, peer: ScriptedPeer, content_type: str, status: int
) -> None:
    peer.reply(acknowledgement(), status=status, content_type=content_type)
    assert await prices.fetch("BE", DAY) is None


async def test_the_same_prices_have_the_same_id_and_a_revision_another(
    prices: EntsoePriceSource, peer: ScriptedPeer
) -> None:
    changed = publication(series(period(START, END, points([99, *range(2, 97)]))))
    for body in (WHOLE, WHOLE.replace(b"10:57:13Z", b"11:40:00Z"), changed):
        peer.reply(body)
    first, again, revised = [await prices.fetch("BE", DAY) for _ in range(3)]
    assert first is not None
    assert again is not None
    assert revised is not None
    assert first.id == again.id
    assert first.id.startswith("BE:day-ahead-sdac:2025-10-15:")
    assert revised.id != first.id


async def test_exaa_is_a_hint_and_never_the_price(endpoint: Endpoint, rules: MarketRules, peer: ScriptedPeer) -> None:
    both = publication(
        series(period(START, END, points(range(201, 297))), area=DE_LU, sequence=2),
        series(period(START, END, points(range(1, 97))), area=DE_LU, sequence=1),
    )
    peer.reply(both)
    door = endpoint()
    sdac = await EntsoePriceSource(endpoint=door, rules=rules).fetch("DE_LU", DAY)
    hint = await EntsoePriceSource(endpoint=door, rules=rules, product=PriceProduct.DAY_AHEAD_EXAA).fetch("DE_LU", DAY)
    assert sdac is not None
    assert hint is not None
    assert sdac.prices_per_mwh == tuple(Decimal(price) for price in range(1, 97))
    assert hint.prices_per_mwh == tuple(Decimal(price) for price in range(201, 297))
    assert sdac.quality is Quality.FINAL
    assert hint.quality is Quality.PRELIMINARY


async def test_only_exaa_is_not_sdac(prices: EntsoePriceSource, peer: ScriptedPeer) -> None:
    peer.reply(publication(series(period(START, END, points(range(1, 97))), area=DE_LU, sequence=2)))
    assert await prices.fetch("DE_LU", DAY) is None


async def test_a_partial_day_says_so(prices: EntsoePriceSource, peer: ScriptedPeer) -> None:
    peer.reply(publication(series(period(START, "2025-10-15T10:00Z", points(range(48))))))
    found = await prices.fetch("BE", DAY)
    assert found is not None
    assert not found.is_complete
    assert len(found.gaps) == 48


async def test_a_document_that_may_be_cut_short_is_only_preliminary(
    prices: EntsoePriceSource, peer: ScriptedPeer
) -> None:
    peer.reply(publication(series(period(START, END, points(range(20))))))
    found = await prices.fetch("BE", DAY)
    assert found is not None
    assert found.quality is Quality.PRELIMINARY
    assert "may be cut short" in found.note


async def test_a_price_outside_the_markets_limits_is_refused(prices: EntsoePriceSource, peer: ScriptedPeer) -> None:
    peer.reply(publication(series(period(START, END, {1: 5, 96: "4000.01"}))))
    with pytest.raises(InvalidInput) as caught:
        await prices.fetch("BE", DAY)
    assert caught.value.field == "price.amount[95]"


async def test_values_that_stand_in_are_labelled(prices: EntsoePriceSource, peer: ScriptedPeer) -> None:
    peer.reply(WHOLE, headers={"X-Stand-In": "values of 2025-10-08"})
    found = await prices.fetch("BE", DAY)
    assert found is not None
    assert found.quality is Quality.SUBSTITUTED
    assert found.note == "stand-in values: values of 2025-10-08"


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_token_is_not_a_passing_failure(
    prices: EntsoePriceSource, peer: ScriptedPeer, status: int
) -> None:
    peer.reply(b"<html><body>Unauthorized. Missing or invalid security token</body></html>", status=status)
    with pytest.raises(InvalidInput, match=r"entsoe\.token: is refused"):
        await prices.fetch("BE", DAY)


@pytest.mark.parametrize("status", [404, 500, 502, 503, 301])
async def test_a_status_without_document_is_a_passing_failure(
    prices: EntsoePriceSource, peer: ScriptedPeer, status: int
) -> None:
    peer.reply(b"404 page not found", status=status, headers={"Location": "/elsewhere"})
    with pytest.raises(PeerUnavailable):
        await prices.fetch("BE", DAY)
    assert len(peer.asked) == 1


async def test_too_many_requests_stop_all_sources_behind_the_door(
    endpoint: Endpoint, rules: MarketRules, peer: ScriptedPeer, clock: HandClock
) -> None:
    peer.reply(b"<html>Max allowed requests per minute</html>", status=429)
    door = endpoint()
    price_source = EntsoePriceSource(endpoint=door, rules=rules)
    with pytest.raises(PeerUnavailable, match="too many requests"):
        await price_source.fetch("BE", DAY)
    clock.move(minutes=9)
    for source in (price_source, EntsoeImbalanceSource(endpoint=door, rules=rules)):
        with pytest.raises(PeerUnavailable, match="asked to wait"):
            await source.fetch("BE", DAY)
    assert len(peer.asked) == 1
    clock.move(minutes=1)
    peer.answers.clear()
    peer.reply(WHOLE)
    assert await price_source.fetch("BE", DAY) is not None


async def test_the_budget_is_kept(endpoint: Endpoint, rules: MarketRules, peer: ScriptedPeer) -> None:
    peer.reply(acknowledgement())
    source = EntsoePriceSource(endpoint=endpoint(pace=Pace(per_minute=2)), rules=rules)
    await source.fetch("BE", DAY)
    await source.fetch("BE", DAY)
    with pytest.raises(PeerUnavailable, match="budget"):
        await source.fetch("BE", DAY)
    assert len(peer.asked) == 2


@pytest.mark.parametrize("fault", ["hang", "break_off", "drip", "promise_more"])
async def test_a_broken_answer_ends_in_time(
    endpoint: Endpoint, rules: MarketRules, peer: ScriptedPeer, fault: str
) -> None:
    getattr(peer, fault)()
    source = EntsoePriceSource(endpoint=endpoint(caps=FetchCaps(connect_s=1.0, total_s=0.3)), rules=rules)
    with pytest.raises(PeerUnavailable) as caught:
        await source.fetch("BE", DAY)
    assert TOKEN not in spelled_out(caught.value)


async def test_nobody_there_is_a_passing_failure(
    session: aiohttp.ClientSession, clock: HandClock, rules: MarketRules
) -> None:
    account = EntsoeAccount(url="http://127.0.0.1:9/api", token=TOKEN)
    source = EntsoePriceSource(endpoint=EntsoeEndpoint(account=account, session=session, clock=clock), rules=rules)
    with pytest.raises(PeerUnavailable, match="cannot be reached") as caught:
        await source.fetch("BE", DAY)
    assert TOKEN not in spelled_out(caught.value)


async def test_a_gzip_bomb_stops_at_the_cap(prices: EntsoePriceSource, peer: ScriptedPeer) -> None:
    peer.reply(gzip.compress(b" " * 200_000_000), headers={"Content-Encoding": "gzip"})
    tracemalloc.start()
    try:
        with pytest.raises(PeerUnavailable, match="more than 5000000 bytes"):
            await prices.fetch("BE", DAY)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


async def test_a_web_page_with_status_200_is_a_passing_failure(prices: EntsoePriceSource, peer: ScriptedPeer) -> None:
    peer.reply(b"<html><body>We will be back soon.</body></html>", content_type="text/html")
    with pytest.raises(PeerUnavailable, match="web page"):
        await prices.fetch("BE", DAY)


@pytest.mark.parametrize(
    "body",
    [WHOLE[:-200], b"PK\x03\x04zip instead of XML", b"{}", acknowledgement("The requested time period is too long")],
)
async def test_what_is_no_price_document_is_named(prices: EntsoePriceSource, peer: ScriptedPeer, body: bytes) -> None:
    peer.reply(body)
    with pytest.raises(InvalidInput):
        await prices.fetch("BE", DAY)


async def test_an_unknown_zone_is_refused_before_anything_is_sent(
    prices: EntsoePriceSource, peer: ScriptedPeer
) -> None:
    with pytest.raises(InvalidInput, match="zone"):
        await prices.fetch("ATLANTIS", DAY)
    assert peer.asked == []


async def test_the_token_is_nowhere_but_in_the_request(
    prices: EntsoePriceSource, imbalance: EntsoeImbalanceSource, peer: ScriptedPeer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    echo = f"Invalid value for parameter securityToken {TOKEN}"
    errors: list[VoltbridgeError] = []
    for source in (prices, imbalance):
        for status in (200, 400, 401, 404, 503):
            peer.answers.clear()
            peer.reply(acknowledgement(echo), status=status)
            with pytest.raises(VoltbridgeError) as caught:
                await source.fetch("BE", DAY)
            errors.append(caught.value)
    assert any("***" in str(error) for error in errors)
    assert all(TOKEN not in spelled_out(error) for error in errors)
    assert TOKEN not in caplog.text
    assert TOKEN not in repr(EntsoeAccount(url="https://web-api.tp.entsoe.eu/api", token=TOKEN))


@pytest.mark.parametrize(
    "url",
    ["http://web-api.tp.entsoe.eu/api", "ftp://127.0.0.1/api", "https://me:word@web-api.tp.entsoe.eu/api", "", "api"],
)
def test_a_token_is_sent_to_no_open_address(url: str) -> None:
    with pytest.raises(InvalidInput, match=r"entsoe\.url"):
        EntsoeAccount(url=url, token=TOKEN)


def test_an_account_needs_a_token() -> None:
    with pytest.raises(InvalidInput, match=r"entsoe\.token"):
        EntsoeAccount(url="https://web-api.tp.entsoe.eu/api", token="")


async def test_a_big_document_is_read_by_the_worker(endpoint: Endpoint, rules: MarketRules, peer: ScriptedPeer) -> None:
    worker = InlineWorker()
    source = EntsoePriceSource(endpoint=endpoint(worker=worker), rules=rules)
    peer.reply(WHOLE)
    peer.reply(WHOLE.replace(b"</TimeSeries>", b" " * 250_000 + b"</TimeSeries>"))
    small, big = await source.fetch("BE", DAY), await source.fetch("BE", DAY)
    assert small == big
    assert worker.ran == ["read_prices"]


async def test_an_archive_counts_by_what_is_in_it(
    endpoint: Endpoint, rules: MarketRules, peer: ScriptedPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = [imbalance_series(START, END, points(range(96)), category) for category in ("A04", "A05")]
    body = zipped({"a.xml": balancing(*both)})
    monkeypatch.setattr("gateway.market_data.entsoe._WORKER_FROM_BYTES", 2 * len(body))
    worker = InlineWorker()
    peer.reply(body)
    assert await EntsoeImbalanceSource(endpoint=endpoint(worker=worker), rules=rules).fetch("BE", DAY) is not None
    assert worker.ran == ["read_imbalance"]


async def test_a_document_that_takes_too_long_is_refused(
    endpoint: Endpoint, rules: MarketRules, peer: ScriptedPeer
) -> None:
    source = EntsoePriceSource(endpoint=endpoint(worker=StuckWorker()), rules=rules)
    peer.reply(WHOLE + b" " * 250_000)
    with pytest.raises(InvalidInput, match="to read"):
        await source.fetch("BE", DAY)


@pytest.mark.parametrize(
    ("error", "raised", "said"),
    [
        (MemoryError(), InvalidInput, "document: needs more memory"),
        (Unavailable("the worker process ended"), InvalidInput, "document: ends the process"),
        (PeerUnavailable("a web page"), PeerUnavailable, "a web page"),
    ],
)
async def test_a_document_that_breaks_its_reader_is_refused_and_the_next_one_read(
    endpoint: Endpoint, rules: MarketRules, peer: ScriptedPeer, error: Exception, raised: type[Exception], said: str
) -> None:
    source = EntsoePriceSource(endpoint=endpoint(worker=FailingWorker(error)), rules=rules)
    peer.reply(WHOLE + b" " * 250_000)
    peer.reply(WHOLE)
    with pytest.raises(raised, match=said):
        await source.fetch("BE", DAY)
    assert await source.fetch("BE", DAY) is not None


async def test_imbalance_prices_come_out_of_their_archive(imbalance: EntsoeImbalanceSource, peer: ScriptedPeer) -> None:
    both = [imbalance_series(START, END, points(range(-48, 48)), category) for category in ("A04", "A05")]
    peer.reply(zipped({"001-IMBALANCE_PRICES_R3.xml": balancing(*both)}), content_type="application/zip")
    found = await imbalance.fetch("BE", DAY)
    assert found is not None
    assert found.product is PriceProduct.IMBALANCE
    assert found.prices_per_mwh == tuple(Decimal(price) for price in range(-48, 48))
    assert found.quality is Quality.FINAL
    assert peer.asked[0].query["documentType"] == "A85"
    assert peer.asked[0].query["controlArea_Domain"] == "10YBE----------2"


async def test_a_day_in_progress_is_preliminary_with_gaps(imbalance: EntsoeImbalanceSource, peer: ScriptedPeer) -> None:
    passed = imbalance_series(START, "2025-10-15T00:00Z", points(range(8)), None)
    peer.reply(zipped({"a.xml": balancing(passed, status="A01", end="2025-10-15T00:00Z")}))
    found = await imbalance.fetch("BE", DAY)
    assert found is not None
    assert found.quality is Quality.PRELIMINARY
    assert len(found.gaps) == 88


async def test_a_final_document_goes_before_an_early_one(imbalance: EntsoeImbalanceSource, peer: ScriptedPeer) -> None:
    early = balancing(imbalance_series(START, END, points([5] * 96)), status="A01")
    final = balancing(imbalance_series(START, END, points([7] * 96)))
    half = balancing(imbalance_series(START, "2025-10-15T10:00Z", points([7] * 48)))
    withdrawn = balancing(imbalance_series(START, END, points([9] * 96)), status="A13")
    peer.reply(zipped({"a.xml": early, "b.xml": final, "c.xml": withdrawn}))
    peer.reply(zipped({"a.xml": early, "b.xml": half}))
    peer.reply(zipped({"c.xml": withdrawn}))
    whole, mixed, none = [await imbalance.fetch("BE", DAY) for _ in range(3)]
    assert whole is not None
    assert mixed is not None
    assert set(whole.prices_per_mwh) == {Decimal(7)}
    assert whole.quality is Quality.FINAL
    assert mixed.prices_per_mwh[47:49] == (Decimal(7), Decimal(5))
    assert mixed.quality is Quality.PRELIMINARY
    assert none is None


async def test_two_prices_are_not_made_one(imbalance: EntsoeImbalanceSource, peer: ScriptedPeer) -> None:
    long = imbalance_series(START, END, points([5] * 96))
    short = imbalance_series(START, END, points([5] * 95 + [6]), "A05")
    peer.reply(zipped({"a.xml": balancing(long, short)}))
    with pytest.raises(InvalidInput, match="long and short differ at 2025-10-15T21:45"):
        await imbalance.fetch("BE", DAY)


async def test_currencies_of_one_day_do_not_mix(imbalance: EntsoeImbalanceSource, peer: ScriptedPeer) -> None:
    euro = imbalance_series(START, END, points([5] * 96))
    zloty = imbalance_series(START, END, points([5] * 96), "A05", currency="PLN")
    peer.reply(zipped({"a.xml": balancing(euro, zloty)}))
    with pytest.raises(InvalidInput, match="do not mix"):
        await imbalance.fetch("BE", DAY)


@pytest.mark.parametrize("status", [200, 400])
async def test_no_imbalance_price_yet_is_none(
    imbalance: EntsoeImbalanceSource, peer: ScriptedPeer, status: int
) -> None:
    peer.reply(acknowledgement(), status=status)
    assert await imbalance.fetch("BE", DAY) is None


async def test_an_imbalance_price_outside_its_limits_is_refused(
    imbalance: EntsoeImbalanceSource, peer: ScriptedPeer
) -> None:
    peer.reply(zipped({"a.xml": balancing(imbalance_series(START, END, points([-15001])))}))
    with pytest.raises(InvalidInput, match=r"price\.amount\[0\]"):
        await imbalance.fetch("BE", DAY)


async def test_m14_a_refused_token_is_not_sent_again(prices: EntsoePriceSource, peer: ScriptedPeer) -> None:
    peer.reply(b"<html>Unauthorized</html>", status=401)
    for _ in range(3):
        with pytest.raises(InvalidInput, match="refused by ENTSO-E"):
            await prices.fetch("BE", DAY)
    assert len(peer.asked) == 1
