"""An exchange, a balance responsible party and price sources that do what a script says."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from gateway.domain.bids import Award, AwardedPeriod, Nomination, Order
from gateway.domain.clock_skew import ClockSkew
from gateway.domain.errors import VoltbridgeError
from gateway.domain.series import PriceProduct, PriceSeries, Quality
from gateway.domain.timegrid import DeliveryDay
from gateway.ports import AuctionInfo, OrderReceipt


class ScriptedExchange:
    """Takes orders until the gate, clears against prices it is given, and fails where it is told to.

    `before` holds errors that are raised before an order takes effect, `after` errors raised once it did; one per call.
    """

    def __init__(self, day: DeliveryDay, gate: datetime, prices: list[Decimal], now: Callable[[], datetime]) -> None:
        self.day = day
        self.gate = gate
        self.prices = prices
        self.now = now
        self.orders: dict[str, Order] = {}
        self.submissions = 0
        self.before: list[BaseException] = []
        self.after: list[BaseException] = []
        self.blind: list[VoltbridgeError] = []
        """Raised by `find_order` and `award`, one per call."""
        self.lot_mw = "0.1"
        self.clock_skew: ClockSkew | None = None
        self.is_announced = True
        self.bend: Callable[[Award], Award] = lambda award: award

    async def auction(self, area: str, day: DeliveryDay) -> AuctionInfo | None:
        if not self.is_announced or day != self.day:
            return None
        grid = day.grid()
        contracts = tuple((f"{area}-{i}", start, start + grid.step) for i, start in enumerate(grid.starts()))
        return AuctionInfo(
            id=f"DA-{area}-{day.day.isoformat()}",
            area=area,
            currency="EUR",
            contracts=contracts,
            opens_at=self.gate - timedelta(days=1),
            gate_closure=self.gate,
            min_price_per_mwh="-500",
            max_price_per_mwh="4000",
            lot_mw=self.lot_mw,
        )

    async def submit(self, order: Order) -> OrderReceipt:
        self.submissions += 1
        if self.before:
            raise self.before.pop(0)
        assert self.now() < self.gate, "an order came after the gate"
        assert order.id not in self.orders or self.orders[order.id].periods == order.periods
        self.orders[order.id] = order
        if self.after:
            raise self.after.pop(0)
        return self._receipt(order)

    async def find_order(self, order: Order) -> OrderReceipt | None:
        if self.blind:
            raise self.blind.pop(0)
        return self._receipt(order) if order.id in self.orders else None

    async def award(self, order: Order, award_id: str, received_at: datetime) -> Award | None:
        if self.blind:
            raise self.blind.pop(0)
        held = self.orders.get(order.id)
        if held is None or self.now() < self.gate + timedelta(minutes=30):
            return None
        periods = tuple(
            AwardedPeriod(start=p.start, end=p.end, volume_mw=p.volume_at(price), price_per_mwh=price)
            for p, price in zip(held.periods, self.prices, strict=True)
        )
        return self.bend(
            Award(
                id=award_id,
                tenant=order.tenant,
                order=order.id,
                bid=order.bid,
                portfolio="",
                delivery_day="",
                currency="EUR",
                periods=periods,
                received_at=received_at,
            )
        )

    def _receipt(self, order: Order) -> OrderReceipt:
        return OrderReceipt(exchange_order_id=f"X-{list(self.orders).index(order.id) + 1}", received_at=self.now())


class ScriptedDesk:
    """A balance responsible party; `failures` are raised one per call, after the nomination was taken or not."""

    def __init__(self) -> None:
        self.taken: dict[str, Nomination] = {}
        self.calls = 0
        self.failures: list[Exception] = []

    async def nominate(self, nomination: Nomination) -> str:
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        self.taken[nomination.id] = nomination
        return f"ACK-{nomination.connection_point}"


class ScriptedSource:
    """A price source: answers per day, one after the other, the last one for ever; an error is raised."""

    def __init__(self, name: str = "scripted") -> None:
        self.name = name
        self.answers: dict[str, list[PriceSeries | VoltbridgeError | None]] = {}
        self.asked: list[tuple[str, str]] = []

    async def fetch(self, zone: str, day: DeliveryDay) -> PriceSeries | None:
        iso = day.day.isoformat()
        self.asked.append((zone, iso))
        answers = self.answers.get(iso, [None])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, VoltbridgeError):
            raise answer
        return answer


def price_series(
    day: DeliveryDay,
    prices: list[Decimal | None],
    *,
    product: PriceProduct = PriceProduct.DAY_AHEAD_SDAC,
    fetched_at: datetime,
    zone: str = "BE",
) -> PriceSeries:
    """Return a series as a source gives it: with an id that the gateway replaces."""
    return PriceSeries(
        id="whatever",
        zone=zone,
        product=product,
        currency="EUR",
        grid=replace(day.grid()),
        prices_per_mwh=tuple(prices),
        source="scripted",
        published_at=None,
        fetched_at=fetched_at,
        quality=Quality.FINAL,
        licence="made up",
    )
