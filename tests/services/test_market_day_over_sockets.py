"""The whole thread on days of 92 and 100 quarter-hours with real peers: the market program over HTTP, rows in real SQLite.

Nothing is scripted: ENTSO-E documents, the auction with its contract list, clearing and trades, and the balance responsible party
are the sandbox's; the adapters are those that the gateway is wired with. The prices are recorded ones under the dates of a clock
change, because the recording has none; the market takes them for a record of these days.
"""

import shutil
from collections.abc import AsyncIterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.domain.bids import BidState, NominationState, Order, OrderState, Schedule, energy_mwh
from gateway.domain.series import PriceProduct, PriceSeries
from gateway.domain.timegrid import DeliveryDay
from gateway.exchanges.brp import BrpAccount, BrpDesk
from gateway.exchanges.nord_pool import NordPoolAccount, NordPoolExchange, NordPoolMarket
from gateway.market_data.entsoe import EntsoeAccount, EntsoeEndpoint, EntsoeImbalanceSource, EntsoePriceSource
from gateway.market_data.market_rules import load_market_rules
from gateway.sandbox.market_recorded import DATA, read_recording
from gateway.storage.store import SqlStore
from tests.fakes.clock import HandClock
from tests.fakes.sandbox_market import SandboxMarket, running_market
from tests.services.market_scene import APPROVER, AUDITOR, PORTFOLIO, SYSTEM, TENANT, TRADER, ZONE, MarketScene
from tests.services.market_scene import opening_clock as opening
from tests.services.test_market_day_on_disk import DiskStore

RULES = Path(__file__).resolve().parents[2] / "config" / "market_rules.toml"


class SharedClock(HandClock):
    """A hand-moved clock that the market program follows."""

    def __init__(self, market: SandboxMarket, now: datetime) -> None:
        super().__init__(now)
        self._market = market

    def set(self, when: datetime) -> None:
        super().set(when)
        self._market.set(when)


class SocketScene(MarketScene):
    """The scene with the gateway's own adapters in place of everything scripted."""

    def __init__(self, day: DeliveryDay, market: SandboxMarket, session: aiohttp.ClientSession, store: Any) -> None:
        clock = store._store._clock
        super().__init__(day, clock=clock, store=store)
        ready, rules = market.ready, load_market_rules(RULES)
        entsoe = EntsoeAccount(url=ready["entsoe_url"], token=ready["entsoe_token"])
        endpoint = EntsoeEndpoint(account=entsoe, session=session, clock=clock)
        self.day_ahead = EntsoePriceSource(endpoint=endpoint, rules=rules)
        self.imbalance = EntsoeImbalanceSource(endpoint=endpoint, rules=rules)
        self.source, self.imbalance_source = self.day_ahead, self.imbalance  # type: ignore[assignment]
        account = NordPoolAccount(
            base_url=ready["exchange_url"],
            sts_url=ready["sts_url"],
            username=ready["exchange_username"],
            password=ready["exchange_password"],
        )
        product = NordPoolMarket(products={"BE": "CWE_QH_DA_1"}, time_zone=ZONE)
        self.exchange = NordPoolExchange(account=account, market=product, session=session, clock=clock)  # type: ignore[assignment]
        desk = BrpAccount(base_url=ready["brp_url"], token=ready["brp_token"], brp="brp-demo", portfolio="BE-EV")
        self.desk = BrpDesk(account=desk, session=session)  # type: ignore[assignment]
        self.planner, self.submitter, self.gatherer = self.new_planner(), self.new_submitter(), self.new_gatherer()

    async def publish(self, day: DeliveryDay, product: PriceProduct, level: float = 0.0) -> None:
        """Pull what the market has published; its own numbers count."""
        await self.gatherer.refresh("BE", product, day)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as client:
        yield client


def record_around(folder: Path, delivery: DeliveryDay) -> Path:
    """Write recordings of the days around a delivery day: those of October 2025, moved by weekday and wall clock."""
    moved = read_recording()
    columns = (moved.day_ahead_eur_per_mwh, moved.imbalance_eur_per_mwh)
    lines = ["start_utc,day_ahead_eur_per_mwh,imbalance_eur_per_mwh"]
    for offset in range(-14, 2):
        day = delivery.next(offset)
        values = zip(*(series.day(day).values for series in columns), strict=True)
        lines += [f"{start:%Y-%m-%dT%H:%MZ},{a},{b}" for start, (a, b) in zip(day.grid().starts(), values, strict=True)]
    (folder / "be_october_2025").mkdir(parents=True)
    (folder / "be_october_2025" / "prices.csv").write_text("\n".join(lines) + "\n")
    shutil.copytree(DATA / "carbon_standin", folder / "carbon_standin")
    return folder


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("day", "count"), [(date(2026, 3, 29), 92), (date(2025, 10, 26), 100)])
async def test_day_of_the_clock_change_passes_from_price_to_money_over_real_sockets(
    tmp_path: Path, session: aiohttp.ClientSession, day: date, count: int
) -> None:
    delivery = DeliveryDay(day=day, zone=ZONE)
    start = opening(delivery).now()
    with running_market(tmp_path, start, data=record_around(tmp_path / "data", delivery)) as market:
        clock = SharedClock(market, start)
        async with SqlStore.open(f"sqlite:///{tmp_path}/voltbridge.sqlite", clock) as store:
            scene = SocketScene(delivery, market, session, DiskStore(store))
            await scene.with_past()
            await _bid(scene, count)
            await _award(scene, count)
            await _settle(scene, count)
            assert (await scene.auditor.verify(AUDITOR)).is_intact


async def _bid(scene: SocketScene, count: int) -> None:
    """The plan has the day's periods; two people; the order is in the exchange's book once."""
    plan = await scene.plan()
    assert plan.plan.outcome in {"proved", "feasible"}, plan.plan.message
    assert len(plan.plan.price_per_mwh) == count
    bid = plan.bid
    assert bid is not None
    assert len(bid.periods) == count
    await scene.reviewer.propose(TRADER, bid_id=bid.id, content_hash=bid.content_hash, request_id="p")
    await scene.reviewer.approve(APPROVER, bid_id=bid.id, content_hash=bid.content_hash, request_id="a")
    await scene.submitter.step()
    assert (await scene.bid(bid.id)).state is BidState.SUBMITTED
    [order] = await scene.store.find(Order, TENANT)
    assert order.record.state is OrderState.ACCEPTED
    assert order.record.exchange_order_id


async def _award(scene: SocketScene, count: int) -> None:
    """The exchange clears at its recorded prices; the BRP acknowledges a nomination per connection point."""
    scene.clock.set(scene.gate + timedelta(hours=1))
    await scene.submitter.step()
    award = await scene.submitter.award(TRADER, PORTFOLIO, scene.iso)
    published = await scene.day_ahead.fetch("BE", scene.day)
    assert isinstance(published, PriceSeries)
    assert [period.price_per_mwh for period in award.periods] == list(published.prices_per_mwh)
    assert len(award.periods) == count
    nominations = await scene.submitter.nominations(TRADER, scene.iso)
    assert {one.state for one in nominations} == {NominationState.ACKNOWLEDGED}
    for index, period in enumerate(award.periods):
        assert sum(one.periods[index].volume_mw for one in nominations) == period.volume_mw
    rows = [row.record for row in await scene.store.find(Schedule, TENANT)]
    awarded = [one for one in rows if one.delivery_day == scene.iso]
    assert [len(one.power_kw) for one in awarded] == [count] * 3


async def _settle(scene: SocketScene, count: int) -> None:
    """A tenth less than bought is drawn: bought at the auction's price, the rest sold at the recorded imbalance price."""
    await scene.deliver(share=0.9)
    settled = await scene.settler.settle(SYSTEM, PORTFOLIO, scene.iso)
    assert [len(one.periods) for one in settled] == [count] * 3
    award = await scene.submitter.award(TRADER, PORTFOLIO, scene.iso)
    bought = sum((energy_mwh(p.volume_mw, p.start, p.end) * p.price_per_mwh for p in award.periods), Decimal(0))
    assert sum(one.day_ahead_cash for one in settled) == bought
    imbalance = await scene.imbalance.fetch("BE", scene.day)
    assert isinstance(imbalance, PriceSeries)
    for one in settled:
        assert [period.imbalance_price_per_mwh for period in one.periods] == list(imbalance.prices_per_mwh)
        assert one.imbalance_cash == sum(
            (p.metered_mwh - p.position_mwh) * p.imbalance_price_per_mwh for p in one.periods
        )
