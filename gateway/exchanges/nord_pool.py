"""Nord Pool's day-ahead auctions as `ports.Exchange`.

An order is sent once. Before it goes out the exchange is asked whether it already holds an order with our id in its comment, so
that a second try after a lost answer finds the first one instead of doubling it.
"""

import asyncio
import base64
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from urllib.parse import quote, urlencode

import aiohttp

from gateway.domain.bids import Award, AwardedPeriod, Order
from gateway.domain.clock_skew import ClockSkew, seen_skew
from gateway.domain.errors import GateClosed, InvalidInput, OutcomeUnknown, PeerUnavailable, PreconditionFailed
from gateway.domain.timegrid import DeliveryDay
from gateway.exchanges import nord_pool_wire as wire
from gateway.exchanges.json_wire import shown
from gateway.exchanges.order_check import PRICE_TICK, require_open, validate_order
from gateway.exchanges.transport import Answer, Request, Timeouts, ask, checked_url, send
from gateway.observe import EXCHANGE_CLOCK_SKEW_SECONDS, logger
from gateway.ports import AuctionInfo, Clock, OrderReceipt

PEER = "the exchange"
_LOG = logger("exchanges")
_TOKEN_MARGIN_S = 60.0
"""A token is renewed this long before it ends."""
_CLOSED_KINDS = ("gate-closed", "auction-closed", "closed-for-bidding")


@dataclass(frozen=True, kw_only=True, slots=True)
class NordPoolAccount:
    """Where the exchange is and who we are to it."""

    base_url: str
    """Address with its version, for example `https://auctions-api.nordpoolgroup.com/api/v1`; https except on loopback."""
    sts_url: str
    """Address of the token, for example `https://sts.nordpoolgroup.com/connect/token`."""
    username: str
    password: str = field(repr=False)
    client_id: str = "client_auction_api"
    """Public constant of the API's documentation, as is the secret."""
    client_secret: str = field(default="client_auction_api", repr=False)

    def __post_init__(self) -> None:
        """Reject addresses that may not be given credentials, and empty credentials."""
        checked_url("exchange.base_url", self.base_url)
        checked_url("exchange.sts_url", self.sts_url)
        for name in ("username", "password"):
            if not getattr(self, name):
                raise InvalidInput(f"exchange.{name}", "must not be empty")


@dataclass(frozen=True, kw_only=True, slots=True)
class NordPoolMarket:
    """What is traded: the API does not say these."""

    products: Mapping[str, str]
    """Day-ahead product per bidding zone, for example `{"BE": "CWE_QH_DA_1"}`."""
    time_zone: str
    """Market time zone of the products, which decides what a delivery day is."""
    currency: str = "EUR"
    lot_mw: str = "0.1"
    """Volume step, decimal text."""
    price_tick: Decimal = PRICE_TICK
    opens_before: timedelta = timedelta(days=60)
    """How long before its gate closes an auction takes orders."""


class NordPoolExchange:
    """The exchange behind one account; `ports.Exchange`.

    Args:
        account: Addresses and credentials.
        market: Products, currency and steps.
        session: HTTP session of the application.
        clock: For the gate and the life of the token.
        timeouts: Real seconds a message may take.
    """

    def __init__(
        self,
        *,
        account: NordPoolAccount,
        market: NordPoolMarket,
        session: aiohttp.ClientSession,
        clock: Clock,
        timeouts: Timeouts | None = None,
    ) -> None:
        self._account = account
        self._base = checked_url("exchange.base_url", account.base_url)
        self._market = market
        self._session = session
        self._clock = clock
        self._timeouts = Timeouts() if timeouts is None else timeouts
        self._token = ""
        self._token_ends = 0.0
        self._one_submission = asyncio.Lock()
        self._skew: ClockSkew | None = None

    @property
    def clock_skew(self) -> ClockSkew | None:
        """How far our clock is from the exchange's; None before its first answer."""
        return self._skew

    async def auction(self, area: str, day: DeliveryDay) -> AuctionInfo | None:
        """Return the day-ahead auction of a delivery day; None when it is not announced or was cancelled.

        Raises:
            PeerUnavailable: The exchange does not answer or answers nonsense.
            InvalidInput: No product is configured for the area.
        """
        product = self._market.products.get(area)
        if product is None:
            raise InvalidInput("area", f"no product is configured for {area}")
        grid = day.grid()
        params = (
            ("closeBiddingFrom", (grid.start - timedelta(days=2)).isoformat()),
            ("closeBiddingTo", grid.start.isoformat()),
        )
        answer = await self._ask("GET", "/auctions", params)
        with _nonsense():
            for row in wire.read_auctions(_ok(answer)):
                if row.id.startswith(f"{product}-") and row.delivery_start == grid.start:
                    return None if row.state == wire.CANCELLED else (await self._describe(row.id, area))[0]
        return None

    async def submit(self, order: Order) -> OrderReceipt:
        """Check an order, look for it at the exchange, and send it once.

        Raises:
            GateClosed: The gate has closed, by our clock or the exchange's word.
            InvalidInput: The order breaks a rule of the auction; nothing was sent, or the exchange refused it.
            PeerUnavailable: It certainly did not take effect.
            OutcomeUnknown: It left but no answer tells whether it took effect.
        """
        async with self._one_submission:
            auction, _ = await self._describe(order.auction, order.bidding_zone)
            curves = validate_order(order, auction, tick=self._market.price_tick)
            require_open(order, auction, self._gate_time())
            held = await self.find_order(order)
            if held is not None:
                return held
            answer = await self._send("POST", "/curveorders", wire.curve_order(order, curves))
            if answer.status not in {200, 201}:
                raise self._refusal(answer, auction)
            try:
                exchange_id = wire.read_receipt(answer.body, order, curves)
            except InvalidInput as error:
                problem = f"{PEER} took the order but confirms something else: {error}"
            else:
                return OrderReceipt(exchange_order_id=exchange_id, received_at=self._clock.now())
        raise OutcomeUnknown(problem)

    async def find_order(self, order: Order) -> OrderReceipt | None:
        """Return the receipt of an order the exchange already holds under our key; None when it does not.

        Raises:
            PeerUnavailable: The exchange does not answer or answers nonsense.
            OutcomeUnknown: It holds more than one order under our key: a person decides which one counts.
        """
        path = f"/auctions/{quote(order.auction, safe='')}/orders"
        answer = await self._ask("GET", path, _filter(order))
        with _nonsense():
            found = wire.read_order_ids(_ok(answer), order.id)
        if len(found) > 1:
            raise OutcomeUnknown(f"{PEER} holds {len(found)} orders under {order.id}")
        return OrderReceipt(exchange_order_id=found[0], received_at=self._clock.now()) if found else None

    async def award(self, order: Order, award_id: str, received_at: datetime) -> Award | None:
        """Return the result of an order: volume and clearing price per delivery period; None until it is final.

        `Award.portfolio` is the portfolio's name at the exchange, for an order does not carry ours.

        Raises:
            PeerUnavailable: The exchange does not answer or answers nonsense.
            PreconditionFailed: The auction has cleared and the exchange holds no order under our key.
        """
        auction, state = await self._describe(order.auction, order.bidding_zone)
        if state != wire.RESULTS_PUBLISHED:
            return None
        exchange_id = order.exchange_order_id
        if exchange_id is None:
            held = await self.find_order(order)
            if held is None:
                raise PreconditionFailed(f"{PEER} holds no order under {order.id}")
            exchange_id = held.exchange_order_id
        path = f"/auctions/{quote(order.auction, safe='')}"
        trades = await self._ask("GET", f"{path}/trades", _filter(order))
        prices = await self._ask("GET", f"{path}/prices")
        with _nonsense():
            volumes = wire.read_trades(_ok(trades), exchange_id)
            cleared = wire.read_prices(_ok(prices), order.bidding_zone, order.currency)
            periods = None if volumes is None else _awarded(order, auction, volumes, cleared)
        if periods is None:
            return None
        return Award(
            id=award_id,
            tenant=order.tenant,
            order=order.id,
            bid=order.bid,
            portfolio=order.exchange_portfolio,
            delivery_day=DeliveryDay.containing(periods[0].start, self._market.time_zone).day.isoformat(),
            currency=order.currency,
            periods=periods,
            received_at=received_at,
        )

    async def cancel(self, order: Order, exchange_order_id: str) -> None:
        """Take all curves of an order back before the gate.

        Raises:
            GateClosed: Too late.
            InvalidInput: The exchange refuses.
            PeerUnavailable: It certainly did not take effect.
            OutcomeUnknown: It left but no answer tells whether it took effect.
        """
        auction, _ = await self._describe(order.auction, order.bidding_zone)
        require_open(order, auction, self._gate_time())
        path = f"/curveorders/{quote(exchange_order_id, safe='')}"
        answer = await self._send("PATCH", path, wire.cancellation(order.id))
        if answer.status not in {200, 204}:
            raise self._refusal(answer, auction)

    async def _describe(self, auction_id: str, area: str) -> tuple[AuctionInfo, str]:
        answer = await self._ask("GET", f"/auctions/{quote(auction_id, safe='')}")
        if answer.status == 404:
            raise InvalidInput("order.auction", f"{PEER} knows no auction {shown(auction_id)}")
        asked = wire.AreaAuction(
            area=area,
            currency=self._market.currency,
            lot_mw=self._market.lot_mw,
            opens_before=self._market.opens_before,
        )
        with _nonsense():
            return wire.read_auction(_ok(answer), asked)

    def _refusal(self, answer: Answer, auction: AuctionInfo) -> Exception:
        """Return the error for a message that the exchange read and refused: it had no effect."""
        problem = wire.read_problem(answer.body)
        is_late = self._clock.now() >= auction.gate_closure
        if answer.status in {400, 409} and (is_late or problem.kind.endswith(_CLOSED_KINDS)):
            return GateClosed(f"{PEER} says: {problem.text}")
        if answer.status == 403:
            return InvalidInput("order.exchange_portfolio", f"{PEER} does not let us trade it: {problem.text}")
        if 400 <= answer.status < 500:
            return InvalidInput(problem.field, f"{PEER} refuses it: {problem.text}")
        return OutcomeUnknown(f"{PEER} answered with status {answer.status}")

    async def _ask(self, method: str, path: str, params: tuple[tuple[str, str], ...] = ()) -> Answer:
        """Send a question; a token that the exchange no longer knows is renewed once."""
        for attempt in (1, 2):
            request = Request(
                method=method, url=f"{self._base}{path}", headers=await self._headers(attempt), params=params
            )
            sent_at = self._clock.now()
            answer = await ask(self._session, request, peer=PEER, timeouts=self._timeouts)
            self._note_clock(answer, sent_at)
            if answer.status != 401:
                return answer
        raise PeerUnavailable(f"{PEER} refuses our login")

    async def _send(self, method: str, path: str, body: bytes) -> Answer:
        """Send a message that takes effect; only the refusal of the token, which is certain, is tried again."""
        for attempt in (1, 2):
            headers = {**await self._headers(attempt), "Content-Type": "application/json"}
            request = Request(method=method, url=f"{self._base}{path}", headers=headers, body=body)
            sent_at = self._clock.now()
            answer = await send(self._session, request, peer=PEER, timeouts=self._timeouts)
            self._note_clock(answer, sent_at)
            if answer.status != 401:
                return answer
        raise PeerUnavailable(f"{PEER} refuses our login")

    def _note_clock(self, answer: Answer, sent_at: datetime) -> None:
        """Compare the clocks; people are told once when they come to be too far apart, and once when they are not any more."""
        if answer.date is None:
            return
        newer = seen_skew(sent_at, self._clock.now(), answer.date)
        before, self._skew = self._skew, newer if self._skew is None else self._skew.narrowed(newer)
        EXCHANGE_CLOCK_SKEW_SECONDS.set(self._skew.certain.total_seconds())
        was_off = before is not None and before.is_off
        if self._skew.is_off and not was_off:
            _LOG.error("clock_skew", peer=PEER, told=self._skew.told(PEER))
        elif was_off and not self._skew.is_off:
            _LOG.info("clock_skew_over", peer=PEER)

    def _gate_time(self) -> datetime:
        """Return the instant that is held against a gate: it counts by the exchange's clock when that one is ahead of ours."""
        now = self._clock.now()
        return now if self._skew is None else self._skew.latest(now)

    async def _headers(self, attempt: int) -> dict[str, str]:
        if attempt > 1 or not self._token or self._clock.monotonic() >= self._token_ends:
            await self._login()
        return {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}

    async def _login(self) -> None:
        """Get a token by the resource owner's password grant, as the API's documentation prescribes."""
        pair = f"{self._account.client_id}:{self._account.client_secret}".encode()
        form = {
            "grant_type": "password",
            "scope": "auction_api",
            "username": self._account.username,
            "password": self._account.password,
        }
        request = Request(
            method="POST",
            url=self._account.sts_url,
            headers={
                "Authorization": f"Basic {base64.b64encode(pair).decode()}",
                "Content-Type": "application/x-www-form-urlencoded",
            },
            body=urlencode(form).encode(),
        )
        answer = await ask(self._session, request, peer=PEER, timeouts=self._timeouts)
        if answer.status != 200:
            raise PeerUnavailable(f"{PEER} refuses our login (status {answer.status})")
        with _nonsense():
            self._token, life_s = wire.read_token(answer.body)
        self._token_ends = self._clock.monotonic() + max(0.0, life_s - _TOKEN_MARGIN_S)


def _filter(order: Order) -> tuple[tuple[str, str], ...]:
    return (("portfolios", order.exchange_portfolio), ("areas", order.bidding_zone))


def _ok(answer: Answer) -> bytes:
    if answer.status != 200:
        raise PeerUnavailable(f"{PEER} answered with status {answer.status}")
    return answer.body


@contextmanager
def _nonsense() -> Iterator[None]:
    """Turn a reply that breaks the wire format into the peer's failure: the caller did nothing wrong."""
    try:
        yield
    except InvalidInput as error:
        raise PeerUnavailable(f"{PEER} answered nonsense: {error}") from error


def _awarded(
    order: Order, auction: AuctionInfo, volumes: Mapping[str, Decimal], prices: Mapping[str, Decimal]
) -> tuple[AwardedPeriod, ...] | None:
    """Return the award per delivery period; None while a price is missing.

    Raises:
        InvalidInput: A trade is for a contract that the order does not have.
    """
    contracts = {(start, end): contract for contract, start, end in auction.contracts}
    ordered = [contracts[period.start, period.end] for period in order.periods]
    for contract in volumes:
        if contract not in ordered:
            raise InvalidInput("trades.contractId", f"{shown(contract)} was not ordered")
    if any(contract not in prices for contract in ordered):
        return None
    return tuple(
        AwardedPeriod(
            start=period.start.astimezone(UTC),
            end=period.end.astimezone(UTC),
            volume_mw=volumes.get(contract, Decimal(0)),
            price_per_mwh=prices[contract],
        )
        for period, contract in zip(order.periods, ordered, strict=True)
    )
