"""The whole thread for one delivery day: price, plan, bid, two people, order, award, nomination, schedule, meter, money."""

from datetime import date, time, timedelta
from decimal import Decimal

import pytest

from gateway.domain.bids import BidState, NominationState, Order, OrderState, Schedule, energy_mwh
from gateway.domain.timegrid import DeliveryDay
from gateway.services.gather_market_data import PublicationLoop
from tests.services.market_scene import APPROVER, AUDITOR, PORTFOLIO, SYSTEM, TENANT, TRADER, ZONE, MarketScene

DAYS = [(date(2025, 3, 30), 92), (date(2025, 10, 15), 96), (date(2025, 10, 26), 100)]


@pytest.mark.parametrize(("day", "count"), DAYS)
async def test_day_of_92_96_or_100_quarter_hours_passes_through_the_whole_thread(day: date, count: int) -> None:
    scene = await MarketScene(DeliveryDay(day=day, zone=ZONE)).with_past()

    plan = await scene.plan()
    assert plan.plan.outcome in {"proved", "feasible"}, plan.plan.message
    assert len(plan.plan.price_per_mwh) == count
    assert all(len(site.power_kw) == count for site in plan.plan.sites)
    bid = plan.bid
    assert bid is not None
    assert len(bid.periods) == count
    assert bid.energy_mwh > 0

    await scene.reviewer.propose(TRADER, bid_id=bid.id, content_hash=bid.content_hash, request_id="p")
    await scene.reviewer.approve(APPROVER, bid_id=bid.id, content_hash=bid.content_hash, request_id="a")
    await scene.submitter.step()
    assert (await scene.bid(bid.id)).state is BidState.SUBMITTED
    assert scene.exchange.submissions == 1

    scene.clock.set(scene.gate + timedelta(hours=1))
    await scene.submitter.step()
    assert (await scene.bid(bid.id)).state is BidState.AWARDED
    award = await scene.submitter.award(TRADER, PORTFOLIO, scene.iso)
    nominations = await scene.submitter.nominations(TRADER, scene.iso)
    assert len(award.periods) == count
    assert {n.state for n in nominations} == {NominationState.ACKNOWLEDGED}
    for index, period in enumerate(award.periods):
        assert sum(n.periods[index].volume_mw for n in nominations) == period.volume_mw
    bridge = [one for one in scene.store.all(Schedule, TENANT) if one.cause.startswith("plan:")]
    assert len(bridge) == 3, "until delivery begins the chargers follow the plan the order was made from"
    assert {one.start + timedelta(minutes=15) * len(one.power_kw) for one in bridge} == {scene.day.interval.start}
    schedules = [one for one in scene.store.all(Schedule, TENANT) if one.cause.startswith("award:")]
    assert len(schedules) == 3
    for index, period in enumerate(award.periods):
        assert sum(s.power_kw[index] for s in schedules) == pytest.approx(float(period.volume_mw) * 1000.0)

    await scene.deliver(share=0.9)
    settled = await scene.settler.settle(SYSTEM, PORTFOLIO, scene.iso)
    assert all(len(one.periods) == count for one in settled)
    bought = sum((energy_mwh(p.volume_mw, p.start, p.end) * p.price_per_mwh for p in award.periods), Decimal(0))
    assert sum(one.day_ahead_cash for one in settled) == bought
    for one in settled:
        assert one.day_ahead_cash == sum(p.position_mwh * p.day_ahead_price_per_mwh for p in one.periods)
        assert one.imbalance_cash == sum(
            (p.metered_mwh - p.position_mwh) * p.imbalance_price_per_mwh for p in one.periods
        )
        assert one.uncontrolled_cash > 0
    # Ten per cent less than bought is sold back at the imbalance price.
    assert sum(one.imbalance_cash for one in settled) < 0

    [order] = scene.store.all(Order, TENANT)
    assert order.state is OrderState.ACCEPTED
    assert (await scene.auditor.verify(AUDITOR)).is_intact


async def test_plan_beats_uncontrolled_charging_and_respects_the_connection() -> None:
    scene = await MarketScene(rating_kw=90.0).with_past()
    plan = (await scene.plan()).plan
    for site in plan.sites:
        assert max(site.power_kw) <= 90.0 + 1e-6
        assert max(site.uncontrolled_kw) > 90.0
    assert plan.expected_cost < plan.uncontrolled_cost


async def test_services_run_by_themselves_from_the_planning_time_to_the_money() -> None:
    """Only the two people are played; the loops do the rest, woken by rows and by the clock."""
    import asyncio

    scene = await MarketScene().with_past()

    async def until(what: str) -> None:
        for _ in range(4000):
            await asyncio.sleep(0)
            bids = await scene.reviewer.list_bids(TRADER, scene.iso)
            if bids and bids[0].state.value == what:
                return
        pytest.fail(f"the bid never became {what}")

    async with asyncio.TaskGroup() as group:
        market = PublicationLoop(scene.gatherer)
        loops = [
            group.create_task(one.run())
            for one in (market, scene.planner, scene.submitter, scene.settler, scene.reporter)
        ]
        await until("validated")
        [bid] = await scene.reviewer.list_bids(TRADER, scene.iso)
        assert bid.drafted_by == "system:planner"
        await scene.reviewer.propose(TRADER, bid_id=bid.id, content_hash=bid.content_hash, request_id="p")
        await scene.reviewer.approve(APPROVER, bid_id=bid.id, content_hash=bid.content_hash, request_id="a")
        await until("submitted")
        scene.clock.set(scene.gate + timedelta(hours=1))
        await until("awarded")
        await scene.deliver()
        scene.clock.set(scene.day.next().at(time(3)))
        for _ in range(2000):
            await asyncio.sleep(0)
            if len(await scene.settler.positions(TRADER, scene.iso)) == 3:
                break
        assert len(await scene.settler.positions(TRADER, scene.iso)) == 3
        for loop in loops:
            loop.cancel()
