"""The exchange behind its door: auctions, contracts, orders, validation and clearing, without any HTTP.

An auction of a delivery day opens 60 days before its gate, which closes at 12:00 local time the day before delivery; at 12:45 it
is cleared against the recorded price of the day, which our small orders do not move. Its contracts are the quarter-hours of the
day: 92, 96 or 100. Positive volumes are bought, in MW; prices are EUR/MWh.
"""

import itertools
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import ClassVar

import numpy as np

from gateway.domain.timegrid import DeliveryDay
from gateway.sandbox.clock import SandboxClock
from gateway.sandbox.market_recorded import MARKET_ZONE, RecordedSeries

PRODUCT = "CWE_QH_DA_1"
AREA = "BE"
CURRENCY = "EUR"
GATE_TIME = time(12, 0)
CLEARING_TIME = time(12, 45)
OPENS_BEFORE = timedelta(days=60)
MIN_PRICE = Decimal(-500)
MAX_PRICE = Decimal(4000)
LOT_MW = Decimal("0.1")
MAX_BLOCK_MW = Decimal(900)
_ZERO = Decimal(0)

Point = tuple[Decimal, Decimal]
"""Price and cumulative net volume."""


class Refused(Exception):
    """The exchange refuses a request; `kind` ends the problem's type."""

    def __init__(self, status: int, kind: str, text: str, at: str = "") -> None:
        super().__init__(text)
        self.status = status
        self.kind = kind
        self.at = at
        """Path of the offending field; empty when it is not about a field."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Contract:
    """One delivery period."""

    id: str
    start: datetime
    end: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Auction:
    """The auction of one delivery day."""

    id: str
    day: DeliveryDay
    contracts: tuple[Contract, ...]

    opens_before: ClassVar[timedelta] = OPENS_BEFORE

    @property
    def gate_closure(self) -> datetime:
        """From this instant no order is taken."""
        return self.day.next(-1).at(GATE_TIME)

    @property
    def opens_at(self) -> datetime:
        """From this instant orders are taken."""
        return self.gate_closure - self.opens_before

    def state(self, now: datetime) -> str:
        """Return the state as the API names it."""
        if now < self.gate_closure:
            return "Open"
        return "ResultsPublished" if now >= self.day.next(-1).at(CLEARING_TIME) else "Closed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """A block: all its volume in all its periods or nothing."""

    name: str
    price: Decimal
    minimum_acceptance_ratio: Decimal
    linked_to: str | None
    exclusive_group: str | None
    periods: tuple[tuple[str, Decimal], ...]
    """Contract id and volume."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BookOrder:
    """One version of an order in the book: curves or blocks."""

    id: str
    auction: str
    portfolio: str
    area: str
    comment: str | None
    modified: datetime
    curves: Mapping[str, tuple[Point, ...]] = field(default_factory=dict)
    blocks: tuple[Block, ...] = ()
    is_cancelled: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class BookTrade:
    """What one order got in one contract."""

    order: BookOrder
    contract: Contract
    volume: Decimal
    """Positive bought."""
    price: Decimal


class AuctionHouse:
    """All auctions and the order book.

    Args:
        prices: Recorded clearing prices.
        clock: Market time.
        rng: For order ids.
        portfolios: Names that may trade.
    """

    def __init__(
        self, prices: RecordedSeries, clock: SandboxClock, rng: np.random.Generator, portfolios: tuple[str, ...]
    ) -> None:
        self.portfolios = portfolios
        self._prices = prices
        self._clock = clock
        self._rng = rng
        self._versions: dict[str, list[BookOrder]] = {}

    def now(self) -> datetime:
        """Return market time."""
        return self._clock.now()

    def auction(self, auction_id: str) -> Auction:
        """Return an auction by its id, `{product}-{gate closure day}`.

        Raises:
            Refused: No such auction.
        """
        product, _, stamp = auction_id.rpartition("-")
        try:
            gate_day = date.fromisoformat(stamp)
        except ValueError:
            gate_day = None
        if product != PRODUCT or gate_day is None or len(stamp) != 8:
            raise Refused(404, "not-found", "Auction not found")
        day = DeliveryDay(day=gate_day + timedelta(days=1), zone=MARKET_ZONE)
        grid = day.grid()
        contracts = tuple(
            Contract(id=f"{PRODUCT}-{day.day:%Y%m%d}-{number:02}", start=start, end=start + grid.step)
            for number, start in enumerate(grid.starts(), start=1)
        )
        return Auction(id=auction_id, day=day, contracts=contracts)

    def closing_between(self, start: datetime, end: datetime) -> Iterator[Auction]:
        """Return the auctions whose gate closes in `[start, end]` and that are announced."""
        day = DeliveryDay.containing(start, MARKET_ZONE).next()
        while day.next(-1).at(GATE_TIME) <= end:
            auction = self.auction(f"{PRODUCT}-{day.next(-1).day:%Y%m%d}")
            if start <= auction.gate_closure and auction.opens_at <= self.now():
                yield auction
            day = day.next()

    def place(self, order: BookOrder) -> BookOrder:
        """Take a new order into the book under a fresh id.

        Raises:
            Refused: The order breaks a rule, the gate has closed, or the portfolio already has a curve order there.
        """
        auction = self._require_open(order)
        if order.curves and any(
            held.curves and (held.portfolio, held.area) == (order.portfolio, order.area)
            for held in self.active(auction.id)
        ):
            raise Refused(409, "order-exists", "The portfolio already has a curve order in this auction")
        placed = BookOrder(
            id=str(uuid.UUID(bytes=self._rng.bytes(16), version=4)),
            auction=order.auction,
            portfolio=order.portfolio,
            area=order.area,
            comment=order.comment,
            modified=self.now(),
            curves=order.curves,
            blocks=order.blocks,
        )
        self._versions[placed.id] = [placed]
        return placed

    def replace(self, order: BookOrder) -> BookOrder:
        """Put a new version of an order in the place of the last one.

        Raises:
            Refused: The order breaks a rule or the gate has closed.
        """
        self._require_open(order)
        self._versions[order.id].append(order)
        return order

    def versions(self, order_id: str) -> tuple[BookOrder, ...]:
        """Return all versions of an order, oldest first.

        Raises:
            Refused: No such order.
        """
        if order_id not in self._versions:
            raise Refused(404, "not-found", "Order not found")
        return tuple(self._versions[order_id])

    def active(self, auction_id: str) -> list[BookOrder]:
        """Return the last versions of an auction's orders that were not cancelled."""
        last = (versions[-1] for versions in self._versions.values())
        return [order for order in last if order.auction == auction_id and not order.is_cancelled]

    def in_auction(self, auction_id: str) -> list[BookOrder]:
        """Return the last versions of all orders of an auction, cancelled ones too."""
        last = (versions[-1] for versions in self._versions.values())
        return [order for order in last if order.auction == auction_id]

    def clearing_prices(self, auction: Auction) -> dict[str, Decimal]:
        """Return the clearing price per contract id.

        Raises:
            Refused: The auction has not cleared yet.
        """
        if auction.state(self.now()) != "ResultsPublished":
            raise Refused(404, "results-not-published", "The results of the auction are not published yet")
        values = self._prices.day(auction.day).values
        return {contract.id: price for contract, price in zip(auction.contracts, values, strict=True)}

    def price_label(self, auction: Auction) -> str | None:
        """Return what the prices of an auction really are; None when they are the day's own."""
        return self._prices.day(auction.day).stand_in

    def trades(self, auction: Auction) -> list[BookTrade]:
        """Return what each order got.

        Raises:
            Refused: The auction has not cleared yet.
        """
        prices = self.clearing_prices(auction)
        by_id = {contract.id: contract for contract in auction.contracts}
        found: list[BookTrade] = []
        for order in self.active(auction.id):
            for contract_id, volume in _cleared(order, prices):
                if volume != _ZERO:
                    found.append(
                        BookTrade(order=order, contract=by_id[contract_id], volume=volume, price=prices[contract_id])
                    )
        return found

    def net_volumes(self, portfolio: str, day: DeliveryDay) -> dict[datetime, Decimal] | None:
        """Return the net volume per begin of a quarter-hour that a portfolio got; None when it has no cleared order."""
        auction = self.auction(f"{PRODUCT}-{day.next(-1).day:%Y%m%d}")
        cleared = auction.state(self.now()) == "ResultsPublished"
        if not cleared or all(order.portfolio != portfolio for order in self.active(auction.id)):
            return None
        volumes = {contract.start: _ZERO for contract in auction.contracts}
        for trade in self.trades(auction):
            if trade.order.portfolio == portfolio:
                volumes[trade.contract.start] += trade.volume
        return volumes

    def _require_open(self, order: BookOrder) -> Auction:
        auction = self.auction(order.auction)
        if self.now() >= auction.gate_closure:
            raise Refused(409, "gate-closed", "The auction is closed for bidding")
        if self.now() < auction.opens_at:
            raise Refused(400, "not-open", "The auction is not open yet", "auctionId")
        if order.portfolio not in self.portfolios:
            raise Refused(403, "portfolio", "No permission to trade this portfolio", "portfolio")
        if order.area != AREA:
            raise Refused(400, "validation", f"The area must be {AREA}", "areaCode")
        known = {contract.id for contract in auction.contracts}
        for index, (contract_id, points) in enumerate(order.curves.items()):
            if contract_id not in known:
                raise Refused(400, "validation", "The contract is not in the auction", f"curves[{index}].contractId")
            _check_curve(points, f"curves[{index}].curvePoints")
        _check_blocks(order.blocks, known)
        return auction


def _check_curve(points: tuple[Point, ...], at: str) -> None:
    if not 2 <= len(points) <= 200:
        raise Refused(400, "validation", "A curve must have 2 to 200 points", at)
    if points[0][0] != MIN_PRICE or points[-1][0] != MAX_PRICE:
        raise Refused(400, "validation", f"A curve must start at {MIN_PRICE} and end at {MAX_PRICE}", at)
    for index, (price, volume) in enumerate(points):
        if price % Decimal("0.01") != _ZERO:
            raise Refused(400, "validation", "The price must be a multiple of 0.01", f"{at}[{index}].price")
        if volume % LOT_MW != _ZERO:
            raise Refused(400, "validation", f"The volume must be a multiple of {LOT_MW}", f"{at}[{index}].volume")
    for index, (low, high) in enumerate(itertools.pairwise(points), start=1):
        if high[0] <= low[0]:
            raise Refused(400, "validation", "Prices must increase", f"{at}[{index}].price")
        if high[1] > low[1]:
            raise Refused(400, "validation", "Volumes must not increase with the price", f"{at}[{index}].volume")


def _check_blocks(blocks: tuple[Block, ...], known: set[str]) -> None:
    names = [block.name for block in blocks]
    if len(set(names)) != len(names):
        raise Refused(400, "validation", "Block names must be unique", "blocks")
    for index, block in enumerate(blocks):
        at = f"blocks[{index}]"
        if not MIN_PRICE <= block.price <= MAX_PRICE or block.price % Decimal("0.01") != _ZERO:
            raise Refused(400, "validation", "The price is outside the limits or off 0.01", f"{at}.price")
        if not _ZERO <= block.minimum_acceptance_ratio <= 1:
            raise Refused(400, "validation", "The ratio must be 0 to 1", f"{at}.minimumAcceptanceRatio")
        if block.linked_to is not None and (block.linked_to not in names or block.linked_to == block.name):
            raise Refused(400, "validation", "The linked block does not exist", f"{at}.linkedTo")
        _check_block_periods(block, known, at)


def _check_block_periods(block: Block, known: set[str], at: str) -> None:
    if not block.periods or len({contract for contract, _ in block.periods}) != len(block.periods):
        raise Refused(400, "validation", "A block needs periods, each contract once", f"{at}.periods")
    for contract, volume in block.periods:
        if contract not in known:
            raise Refused(400, "validation", "The contract is not in the auction", f"{at}.periods")
        if volume == _ZERO or volume % LOT_MW != _ZERO or abs(volume) > MAX_BLOCK_MW:
            raise Refused(400, "validation", f"The volume must be {LOT_MW} to {MAX_BLOCK_MW} MW", f"{at}.periods")
    if len({volume > _ZERO for _, volume in block.periods}) != 1:
        raise Refused(400, "validation", "A block buys or sells, not both", f"{at}.periods")


def _cleared(order: BookOrder, prices: Mapping[str, Decimal]) -> Iterator[tuple[str, Decimal]]:
    for contract, points in order.curves.items():
        yield contract, _curve_volume(points, prices[contract])
    for block in _accepted_blocks(order.blocks, prices):
        yield from block.periods


def _curve_volume(points: tuple[Point, ...], price: Decimal) -> Decimal:
    """Return the volume at a price by straight lines between the points, to the lot."""
    for (low, volume), (high, next_volume) in itertools.pairwise(points):
        if low <= price <= high:
            exact = volume + (next_volume - volume) * (price - low) / (high - low)
            return exact.quantize(LOT_MW, rounding=ROUND_HALF_EVEN)
    return _ZERO


def _accepted_blocks(blocks: tuple[Block, ...], prices: Mapping[str, Decimal]) -> list[Block]:
    """Return the blocks that are in the money on average, one per exclusive group, children only with their parent."""
    gains = {block.name: _gain(block, prices) for block in blocks}
    accepted = {block.name for block in blocks if gains[block.name] >= _ZERO}
    for group in {block.exclusive_group for block in blocks if block.exclusive_group is not None}:
        rivals = [block.name for block in blocks if block.exclusive_group == group and block.name in accepted]
        accepted -= set(sorted(rivals, key=lambda name: (-gains[name], name))[1:])
    while orphans := {b.name for b in blocks if b.name in accepted and b.linked_to is not None} - {
        b.name for b in blocks if b.linked_to is None or b.linked_to in accepted
    }:
        accepted -= orphans
    return [block for block in blocks if block.name in accepted]


def _gain(block: Block, prices: Mapping[str, Decimal]) -> Decimal:
    """Return what a block gains against its limit price: (limit - price) x volume; negative volumes sell."""
    return sum(((block.price - prices[contract]) * volume for contract, volume in block.periods), _ZERO)
