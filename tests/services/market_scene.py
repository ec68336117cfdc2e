"""A small portfolio with a past, and all services of the market path around one store and one clock."""

import dataclasses
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import numpy as np

from gateway.domain.bids import Bid, BidState
from gateway.domain.identity import Account, Principal, Role, system_principal
from gateway.domain.series import PriceProduct
from gateway.domain.sessions import Session, SessionState
from gateway.domain.settlement import MeteredPeriod
from gateway.domain.timegrid import DeliveryDay
from gateway.domain.topology import Charger, ConnectionPoint, Node, NodeKind, Portfolio, Route
from gateway.services.gather_market_data import GatherSettings, MarketDataGatherer
from gateway.services.keep_audit import AuditKeeper
from gateway.services.plan_bids import BidPlanner, PlanOutcome, PlanSettings
from gateway.services.report_delivery import DeliveryReporter, ReportSettings
from gateway.services.review_bids import BidReviewer
from gateway.services.settle_delivery import Settler, SettleSettings
from gateway.services.submit_orders import OrderSubmitter
from tests.fakes.clock import HandClock
from tests.fakes.ids import CountingIds
from tests.fakes.market import ScriptedDesk, ScriptedExchange, ScriptedSource, price_series
from tests.fakes.store import MemoryStore
from tests.fakes.worker import InlineWorker

TENANT = "demo"
ZONE = "Europe/Brussels"
PORTFOLIO = "vpp-be"
PAST_DAYS = 10
TRADER = Principal(tenant=TENANT, actor="tara", roles=frozenset({Role.TRADER}))
APPROVER = Principal(tenant=TENANT, actor="ann", roles=frozenset({Role.APPROVER}))
BOTH = Principal(tenant=TENANT, actor="bo", roles=frozenset({Role.TRADER, Role.APPROVER}))
AUDITOR = Principal(tenant=TENANT, actor="aud", roles=frozenset({Role.AUDITOR}))
STRANGER = Principal(tenant="other", actor="eve", roles=frozenset(Role) - {Role.SYSTEM})
SYSTEM = system_principal(TENANT, "test")
DAY = DeliveryDay(day=date(2025, 10, 15), zone=ZONE)


def site_rows(sites: int = 3, chargers: int = 20, rating_kw: float = 130.0) -> list[object]:
    """Return portfolio, nodes, chargers and connection points: every site has two circuits."""
    rows: list[object] = [
        Node(
            id=PORTFOLIO,
            tenant=TENANT,
            parent=None,
            kind=NodeKind.PORTFOLIO,
            name="VPP",
            max_import_kw=10_000.0,
            fail_safe_import_kw=0.0,
        ),
        Portfolio(
            id=PORTFOLIO,
            tenant=TENANT,
            bidding_zone="BE",
            time_zone=ZONE,
            currency="EUR",
            route=Route.VIA_BRP,
            brp="brp-demo",
            exchange_portfolio="BE-EV",
            max_order_mw="5",
            max_day_mwh="60",
        ),
    ]
    for s in range(sites):
        site = f"site-{s + 1:02d}"
        rows.append(_node(site, PORTFOLIO, NodeKind.SITE, rating_kw))
        rows.append(
            ConnectionPoint(
                id=f"54144882000000{s:04d}",
                tenant=TENANT,
                site=site,
                bidding_zone="BE",
                time_zone=ZONE,
                dso="dso-demo",
                brp="brp-demo",
                site_class=("home", "public", "workplace")[s % 3],
            )
        )
        rows += [_node(f"{site}/c{c}", site, NodeKind.CIRCUIT, rating_kw) for c in (1, 2)]
        rows += [_charger(f"{site}/ev{n:03d}", f"{site}/c{1 + n % 2}") for n in range(chargers)]
    return rows


def _node(node: str, parent: str, kind: NodeKind, rating_kw: float) -> Node:
    return Node(
        id=node,
        tenant=TENANT,
        parent=parent,
        kind=kind,
        name=node,
        max_import_kw=rating_kw,
        fail_safe_import_kw=0.0,
    )


def _charger(charger: str, parent: str) -> Charger:
    return Charger(
        id=charger,
        tenant=TENANT,
        csms="csms-demo",
        parent=parent,
        max_import_kw=11.0,
        min_import_kw=4.14,
        phases=3,
        fallback_kw=4.14,
    )


def accounts() -> list[Account]:
    return [
        Account(id=f"account-{p.actor}", tenant=TENANT, actor=p.actor, roles=tuple(sorted(p.roles)))
        for p in (TRADER, APPROVER, BOTH, AUDITOR)
    ]


def sessions_of(day: DeliveryDay, rng: np.random.Generator, *, sites: int = 3, chargers: int = 20) -> list[Session]:
    """Return one day's ended sessions: each charger has one car, most of them overnight."""
    rows = []
    for s in range(sites):
        for n in range(chargers):
            hour = float(np.clip(rng.normal(17.0, 2.0), 6.0, 22.0))
            arrival = day.at(time(0)) + timedelta(hours=hour)
            stay_h = float(rng.uniform(8.0, 13.0))
            rows.append(
                Session(
                    id=f"s-{day.day.isoformat()}-{s}-{n}",
                    tenant=TENANT,
                    charger=f"site-{s + 1:02d}/ev{n:03d}",
                    arrival=arrival,
                    state=SessionState.ENDED,
                    max_power_kw=11.0,
                    phases=3,
                    energy_needed_kwh=None,
                    expected_departure=None,
                    departure=arrival + timedelta(hours=stay_h),
                    delivered_kwh=round(float(rng.uniform(15.0, 35.0)), 3),
                )
            )
    return rows


def prices_of(day: DeliveryDay, level: float = 80.0) -> list[Decimal | None]:
    """Return a plausible day: cheap at night and noon, dear in the evening."""
    count = day.grid().count
    hours = np.arange(count) / 4.0
    shape = level + 35.0 * np.sin((hours - 13.0) / 24.0 * 4.0 * np.pi) + (day.day.toordinal() % 5)
    return [Decimal(f"{price:.2f}") for price in shape]


def opening_clock(day: DeliveryDay = DAY) -> HandClock:
    """Return a clock that stands at 11:00 local the day before delivery."""
    return HandClock(day.next(-1).at(time(11)))


class MarketScene:
    """Everything around one delivery day; time stands at 11:00 local the day before."""

    def __init__(
        self,
        day: DeliveryDay = DAY,
        *,
        rating_kw: float = 130.0,
        chargers: int = 20,
        clock: HandClock | None = None,
        store: Any = None,
    ) -> None:
        self.day = day
        self.rating_kw = rating_kw
        self.chargers = chargers
        self.iso = day.day.isoformat()
        self.gate = day.next(-1).at(time(12))
        self.clock = opening_clock(day) if clock is None else clock
        # Another store stands in for the one in memory: it has the port's methods and the few of its own words that a scene needs.
        self.store: MemoryStore = MemoryStore(self.clock) if store is None else store
        self.ids = CountingIds()
        self.worker = InlineWorker()
        self.prices = [Decimal(str(price)) for price in prices_of(day)]
        self.exchange = ScriptedExchange(day, self.gate, self.prices, self.clock.now)
        self.desk = ScriptedDesk()
        self.source = ScriptedSource("prices")
        self.imbalance_source = ScriptedSource("imbalance")
        self.planner = self.new_planner()
        self.reviewer = BidReviewer(store=self.store, clock=self.clock, ids=self.ids)
        self.submitter = self.new_submitter()
        self.settler = Settler(
            store=self.store,
            clock=self.clock,
            ids=self.ids,
            worker=self.worker,
            settings=SettleSettings(tenants=(TENANT,)),
        )
        self.gatherer = self.new_gatherer()
        self.reporter = DeliveryReporter(
            store=self.store,
            clock=self.clock,
            ids=self.ids,
            node_power=lambda _tenant, _node, _since: ([], np.zeros(0)),
            settings=ReportSettings(tenants=(TENANT,)),
        )
        self.auditor = AuditKeeper(store=self.store)

    def new_planner(self, **changes: object) -> BidPlanner:
        settings = dataclasses.replace(
            PlanSettings(tenants=(TENANT,), history_days=PAST_DAYS + 4),
            **changes,  # type: ignore[arg-type]
        )
        return BidPlanner(
            store=self.store,
            clock=self.clock,
            ids=self.ids,
            worker=self.worker,
            exchange=self.exchange,
            settings=settings,
        )

    def new_submitter(self) -> OrderSubmitter:
        """Return a submitter that knows nothing but the rows: what a restart leaves."""
        return OrderSubmitter(
            store=self.store,
            clock=self.clock,
            ids=self.ids,
            exchange=self.exchange,
            nomination_desk=self.desk,
        )

    def new_gatherer(self, **changes: object) -> MarketDataGatherer:
        settings = dataclasses.replace(
            GatherSettings(tenants=(TENANT,), time_zones={"BE": ZONE}, history_days=PAST_DAYS),
            **changes,  # type: ignore[arg-type]
        )
        return MarketDataGatherer(
            store=self.store,
            clock=self.clock,
            ids=self.ids,
            price_sources={
                ("BE", PriceProduct.DAY_AHEAD_SDAC): [self.source],
                ("BE", PriceProduct.IMBALANCE): [self.imbalance_source],
            },
            carbon_sources={},
            settings=settings,
        )

    async def with_past(self) -> "MarketScene":
        """Write the portfolio, its accounts, ten days of sessions, and the prices that are known at 11:00."""
        now = self.clock.now()
        await self.store.seed(TENANT, *site_rows(rating_kw=self.rating_kw, chargers=self.chargers), *accounts())
        rng = np.random.default_rng(7)
        long_ago = HandClock(now - timedelta(days=30))
        self.store._clock = long_ago
        for back in range(PAST_DAYS + 1, 0, -1):
            rows = sessions_of(self.day.next(-back), rng, chargers=self.chargers)
            known = [row for row in rows if row.departure is not None and row.departure <= now]
            await self.store.seed(TENANT, *known)
        self.store._clock = self.clock
        for back in range(PAST_DAYS, -1, -1):
            await self.publish(self.day.next(-1 - back), PriceProduct.DAY_AHEAD_SDAC)
            await self.publish(self.day.next(-2 - back), PriceProduct.IMBALANCE, level=70.0)
        return self

    async def publish(self, day: DeliveryDay, product: PriceProduct, level: float = 80.0) -> None:
        """Let a day's prices come out and the gatherer take them."""
        source = self.source if product is PriceProduct.DAY_AHEAD_SDAC else self.imbalance_source
        series = price_series(day, prices_of(day, level), product=product, fetched_at=self.clock.now())
        source.answers[day.day.isoformat()] = [series]
        await self.gatherer.refresh("BE", product, day)

    # ------------------------------------------------------------ the way to the market

    async def plan(self, request_id: str = "plan-1") -> PlanOutcome:
        return await self.planner.plan(TRADER, portfolio_id=PORTFOLIO, delivery_day=self.iso, request_id=request_id)

    async def drafted(self) -> Bid:
        bid = (await self.plan()).bid
        assert bid is not None
        assert bid.state is BidState.VALIDATED, bid.checks
        return bid

    async def proposed(self) -> Bid:
        bid = await self.drafted()
        return await self.reviewer.propose(TRADER, bid_id=bid.id, content_hash=bid.content_hash, request_id="propose-1")

    async def approved(self) -> Bid:
        bid = await self.proposed()
        return await self.reviewer.approve(
            APPROVER, bid_id=bid.id, content_hash=bid.content_hash, request_id="approve-1"
        )

    async def submitted(self) -> Bid:
        bid = await self.approved()
        await self.submitter.step()
        return await self.bid(bid.id)

    async def awarded(self) -> Bid:
        bid = await self.submitted()
        self.clock.set(self.gate + timedelta(hours=1))
        await self.submitter.step()
        return await self.bid(bid.id)

    async def bid(self, bid_id: str) -> Bid:
        row = await self.store.get(Bid, TENANT, bid_id)
        assert row is not None
        return row.record

    # ------------------------------------------------------------ the delivery

    async def meter(self, *, share: float = 1.0, other_kw: float = 0.0, skip: frozenset[int] = frozenset()) -> None:
        """Let every connection point draw its position times a share; some periods are not read."""
        for nomination in await self.submitter.nominations(TRADER, self.iso):
            rows = []
            for index, period in enumerate(nomination.periods):
                if index in skip:
                    continue
                chargers_kwh = float(period.volume_mw) * 250.0 * share
                rows.append(
                    MeteredPeriod(
                        id=f"{nomination.connection_point}:{period.start.isoformat()}",
                        tenant=TENANT,
                        connection_point=nomination.connection_point,
                        start=period.start,
                        end=period.end,
                        energy_kwh=chargers_kwh + other_kw / 4.0,
                        chargers_kwh=chargers_kwh,
                        coverage=1.0,
                    )
                )
            await self.store.seed(TENANT, *rows)

    async def deliver(self, *, share: float = 1.0) -> None:
        """Let the day pass: sessions come, meters are read, prices of the day come out."""
        rng = np.random.default_rng(11)
        await self.store.seed(TENANT, *sessions_of(self.day, rng, chargers=self.chargers))
        await self.meter(share=share)
        self.clock.set(self.day.next().at(time(1)))
        await self.publish(self.day, PriceProduct.DAY_AHEAD_SDAC)
        await self.publish(self.day, PriceProduct.IMBALANCE, level=95.0)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
