"""A degraded day is marked where it is used: in the plan, in the bid's checks, and when it became doubtful after the plan."""

import dataclasses

import pytest

from gateway.domain.bids import BidCheck, BidState, CheckOutcome
from gateway.domain.errors import PreconditionFailed
from gateway.domain.series import DayState, MarketDayStatus, PriceProduct, PriceSeries, Quality, market_day_id
from gateway.domain.timegrid import DeliveryDay
from gateway.rpc.bid_messages import position_message
from gateway.web.trader_view import money_line
from tests.services.market_scene import APPROVER, DAY, PORTFOLIO, SYSTEM, TENANT, TRADER, MarketScene

SDAC = PriceProduct.DAY_AHEAD_SDAC
DIFFERS = "smard differs from prices in 1 of 96 periods, most at 2025-10-12 10:00Z: 1 instead of 2"


@pytest.fixture
async def scene() -> MarketScene:
    return await MarketScene().with_past()


async def doubt(
    scene: MarketScene,
    day: DeliveryDay,
    *,
    quality: Quality | None = None,
    product: PriceProduct = SDAC,
    **changes: object,
) -> None:
    """Rewrite a day's status and, when asked to, the quality of its prices."""
    row = await scene.store.get(MarketDayStatus, TENANT, market_day_id("BE", product, day))
    assert row is not None
    assert row.record.series_id is not None
    await scene.store.seed(TENANT, dataclasses.replace(row.record, **changes))  # type: ignore[arg-type]  # fields of it
    if quality is not None:
        series = await scene.store.get(PriceSeries, TENANT, row.record.series_id)
        assert series is not None
        await scene.store.seed(TENANT, dataclasses.replace(series.record, quality=quality))


def price_check(checks: tuple[BidCheck, ...]) -> BidCheck:
    [found] = [check for check in checks if check.name == "price-data"]
    return found


async def test_a_past_that_nobody_doubts_passes(scene: MarketScene) -> None:
    outcome = await scene.plan()
    assert outcome.plan.price_doubts == ()
    assert len(outcome.plan.price_days) == 11
    assert outcome.bid is not None
    assert price_check(outcome.bid.checks).outcome is CheckOutcome.PASSED


async def test_the_past_that_a_forecast_learned_from_is_marked_in_plan_and_bid(scene: MarketScene) -> None:
    await doubt(scene, DAY.next(-3), cross_check=DIFFERS)
    await doubt(scene, DAY.next(-2), quality=Quality.SUBSTITUTED, state=DayState.FALLBACK)
    outcome = await scene.plan()
    assert outcome.plan.price_series is None
    contradicted, stood_in = outcome.plan.price_doubts
    assert contradicted.startswith("prices that another source contradicts on 1 of 11 days")
    assert stood_in == "stand-ins instead of prices on 1 of 11 days, last " + DAY.next(-2).day.isoformat()
    assert f"prices: {stood_in}" in outcome.plan.message
    assert outcome.bid is not None
    check = price_check(outcome.bid.checks)
    assert check.outcome is CheckOutcome.WARNING
    assert check.message == f"{contradicted}; {stood_in}"


@pytest.mark.parametrize("state", [DayState.LATE, DayState.DECOUPLED])
async def test_a_day_that_did_not_come_is_marked(scene: MarketScene, state: DayState) -> None:
    await doubt(scene, DAY.next(-1), state=state, series_id=None, missing_count=96)
    outcome = await scene.plan()
    [told] = outcome.plan.price_doubts
    assert "on 1 of 11 days" in told
    assert DAY.next(-1).day.isoformat() in told


async def test_a_day_that_is_still_waited_for_is_no_doubt(scene: MarketScene) -> None:
    scene.source.answers[scene.iso] = [None]
    status = await scene.gatherer.refresh("BE", SDAC, DAY)
    assert status.state is DayState.WAITING
    outcome = await scene.plan()
    assert outcome.plan.price_doubts == ()
    assert status.id not in outcome.plan.price_days


async def test_what_became_doubtful_after_the_plan_is_seen_by_who_proposes_and_who_approves(scene: MarketScene) -> None:
    bid = await scene.drafted()
    assert price_check(bid.checks).outcome is CheckOutcome.PASSED
    await doubt(scene, DAY.next(-1), state=DayState.DECOUPLED)
    proposed = await scene.reviewer.propose(TRADER, bid_id=bid.id, content_hash=bid.content_hash, request_id="p")
    assert price_check(proposed.checks).outcome is CheckOutcome.WARNING
    await doubt(scene, DAY.next(-4), quality=Quality.ESTIMATED)
    with pytest.raises(PreconditionFailed, match="look at its checks again"):
        await scene.reviewer.approve(APPROVER, bid_id=bid.id, content_hash=bid.content_hash, request_id="a")
    shown = await scene.bid(bid.id)
    assert shown.state is BidState.PROPOSED
    assert "estimates instead of prices on 1 of 11 days" in price_check(shown.checks).message
    # Now that the approver could see it, the same click counts.
    approved = await scene.reviewer.approve(APPROVER, bid_id=bid.id, content_hash=bid.content_hash, request_id="a")
    assert approved.state is BidState.APPROVED
    said = price_check(approved.checks).message
    assert "no prices by the deadline of the coupling" in said
    assert "estimates instead of prices on 1 of 11 days" in said


async def test_what_is_doubtful_no_more_stops_nobody(scene: MarketScene) -> None:
    await doubt(scene, DAY.next(-4), quality=Quality.ESTIMATED)
    bid = await scene.drafted()
    await scene.reviewer.propose(TRADER, bid_id=bid.id, content_hash=bid.content_hash, request_id="p")
    await doubt(scene, DAY.next(-4), quality=Quality.FINAL)
    approved = await scene.reviewer.approve(APPROVER, bid_id=bid.id, content_hash=bid.content_hash, request_id="a")
    assert price_check(approved.checks).outcome is CheckOutcome.PASSED


async def test_a_settlement_says_what_is_doubtful_about_its_prices() -> None:
    scene = await MarketScene().with_past()
    await scene.awarded()
    await scene.deliver(share=1.1)
    plain = await scene.settler.settle(SYSTEM, PORTFOLIO, scene.iso)
    assert {one.price_doubts for one in plain} == {()}
    await doubt(scene, DAY, product=PriceProduct.IMBALANCE, quality=Quality.PRELIMINARY)
    await doubt(scene, DAY, cross_check=DIFFERS)
    marked = await scene.settler.settle(SYSTEM, PORTFOLIO, scene.iso)
    assert {one.price_doubts for one in marked} == {
        ("day-ahead-sdac: prices that another source contradicts", "imbalance: preliminary prices")
    }
    assert [one.imbalance_cash for one in marked] == [one.imbalance_cash for one in plain]
    line = money_line(marked)
    assert line is not None
    assert line.price_doubts == marked[0].price_doubts
    assert list(position_message(marked[0]).price_doubts) == list(marked[0].price_doubts)
