"""The whole thread on the real store: everything that is written can be read again, and a restart goes on."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.bids import BidState, PlanRun, Schedule
from gateway.domain.limits import Binding, Direction, Limit, LimitKind
from gateway.domain.timegrid import Interval
from gateway.ports import Batch, Put
from gateway.storage.store import SqlStore
from tests.services.market_scene import APPROVER, AUDITOR, PORTFOLIO, SYSTEM, TENANT, TRADER, MarketScene, opening_clock


class DiskStore:
    """The real store, with the two words that scenes use beyond the port."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def seed(self, tenant: str, *records: Any) -> None:
        await self._store.apply(Batch(tenant=tenant, puts=tuple(Put(record=record) for record in records)))


@pytest.mark.timeout(120)
async def test_day_passes_through_the_real_store_and_two_restarts(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/voltbridge.sqlite"
    clock = opening_clock()
    async with SqlStore.open(url, clock) as store:
        scene = await MarketScene(clock=clock, store=DiskStore(store)).with_past()
        bid = await scene.approved()
        assert bid.state is BidState.APPROVED

    async with SqlStore.open(url, clock) as store:
        again = MarketScene(clock=clock, store=DiskStore(store))
        assert await again.reviewer.get(TRADER, bid.id) == bid
        plan = await store.get(PlanRun, TENANT, bid.plan)
        assert plan is not None
        assert len(plan.record.sites) == 3
        await again.submitter.step()
        assert (await again.bid(bid.id)).state is BidState.SUBMITTED
        held = again.exchange.orders

    async with SqlStore.open(url, clock) as store:
        last = MarketScene(clock=clock, store=DiskStore(store))
        last.exchange.orders = held
        clock.set(last.gate + timedelta(hours=1))
        await last.submitter.step()
        assert (await last.bid(bid.id)).state is BidState.AWARDED
        awarded = [row for row in await store.find(Schedule, TENANT) if row.record.cause.startswith("award:")]
        assert len(awarded) == 3
        nominations = await last.submitter.nominations(TRADER, last.iso)
        start = max(nominations[0].periods, key=lambda period: period.volume_mw).start
        limit = Limit(
            id="late",
            tenant=TENANT,
            authority="dso-demo",
            node="site-01",
            direction=Direction.IMPORT,
            kind=LimitKind.LIMIT,
            binding=Binding.MANDATORY,
            max_kw=0.0,
            interval=Interval(start=start, end=start + timedelta(hours=1)),
            cause="event:ev",
            known_at=clock.now(),
        )
        await last.store.seed(TENANT, limit)
        assert len(await last.settler.find_residuals(limit)) == 1
        await last.deliver()
        settled = await last.settler.settle(SYSTEM, PORTFOLIO, last.iso)
        assert settled == await last.settler.positions(TRADER, last.iso)
        steps = await last.reporter.trace(AUDITOR, "settlement", settled[0].id)
        assert {"nomination", "award", "bid", "plan", "series", "metered"} <= {step.kind for step in steps}
        verdict = await last.auditor.verify(AUDITOR)
        assert verdict.is_intact
        assert verdict.entry_count > 40


async def test_loops_are_woken_by_the_real_feed(tmp_path: Path) -> None:
    clock = opening_clock()
    async with SqlStore.open(f"sqlite:///{tmp_path}/voltbridge.sqlite", clock) as store:
        scene = await MarketScene(clock=clock, store=DiskStore(store)).with_past()
        bid = await scene.proposed()
        async with asyncio.TaskGroup() as group:
            loop = group.create_task(scene.submitter.run())
            await asyncio.sleep(0.1)
            await scene.reviewer.approve(APPROVER, bid_id=bid.id, content_hash=bid.content_hash, request_id="approve-1")
            # Market time stands still: only the wake-up can have sent it.
            while (await scene.bid(bid.id)).state is not BidState.SUBMITTED:
                await asyncio.sleep(0.01)
            loop.cancel()
    assert scene.exchange.submissions == 1
