"""Plans know only what was known, fail as values, and draft a bid only where one may leave."""

import asyncio
import dataclasses
from datetime import timedelta
from decimal import Decimal

import numpy as np
import pytest

from bidding.optimum.outcome import SolutionRejected
from bidding.optimum.recheck import Violation
from gateway.domain.bids import Bid, BidState, CheckOutcome, PlanRun, Schedule
from gateway.domain.errors import (
    InvalidInput,
    NotFound,
    PeerUnavailable,
    PermissionRefused,
    PreconditionFailed,
    RequestReused,
    Unavailable,
)
from gateway.domain.identity import Principal, Role
from gateway.domain.limits import Binding, Direction, Limit, LimitKind
from gateway.domain.series import (
    CarbonKind,
    CarbonSeries,
    DayState,
    MarketDayStatus,
    PriceProduct,
    Quality,
    market_day_id,
)
from gateway.domain.sessions import Session, SessionState
from gateway.domain.settlement import MeteredPeriod
from gateway.domain.timegrid import DeliveryDay, Interval
from gateway.domain.topology import Portfolio, Route
from gateway.services.plan_bids.knowledge import KnowledgeReader, mean_other_load_kw, planned_product
from gateway.services.plan_bids.records import market_rules
from gateway.services.plan_bids.settings import PlanSettings
from gateway.services.track_fleet import FleetTracker, MeterHistory
from tests.fakes.market import price_series
from tests.services.market_scene import (
    APPROVER,
    DAY,
    PORTFOLIO,
    STRANGER,
    TENANT,
    TRADER,
    ZONE,
    MarketScene,
    site_rows,
)


@pytest.fixture
async def scene() -> MarketScene:
    return await MarketScene().with_past()


def limit_at(node: str, max_kw: float, *, start_h: float, hours: float, binding: Binding = Binding.MANDATORY) -> Limit:
    start = DAY.interval.start + timedelta(hours=start_h)
    return Limit(
        id=f"limit-{node}-{max_kw}",
        tenant=TENANT,
        authority="dso-demo",
        node=node,
        direction=Direction.IMPORT,
        kind=LimitKind.LIMIT,
        binding=binding,
        max_kw=max_kw,
        interval=Interval(start=start, end=start + timedelta(hours=hours)),
        cause="signal:made-up",
        known_at=DAY.interval.start - timedelta(days=2),
    )


async def tariff_of(scene: MarketScene, day: DeliveryDay) -> None:
    """Let the supply contract's prices of a day be known: dear in the afternoon and evening."""
    product = PriceProduct.TARIFF_ENERGY
    dear = [Decimal(240 if 60 <= i < 84 else 120) for i in range(day.grid().count)]
    series = dataclasses.replace(
        price_series(day, list(dear), product=product, fetched_at=scene.clock.now()), id=f"tariff-{day.day}"
    )
    status = MarketDayStatus(
        id=market_day_id("BE", product, day),
        tenant=TENANT,
        zone="BE",
        product=product,
        day=day.day.isoformat(),
        state=DayState.COMPLETE,
        missing_count=0,
        series_id=series.id,
        checked_at=scene.clock.now(),
    )
    await scene.store.seed(TENANT, series, status)


async def reader_inputs(scene: MarketScene, **changes: object):  # type: ignore[no-untyped-def]  # noqa: ANN201
    settings = dataclasses.replace(PlanSettings(tenants=(TENANT,), history_days=14), **changes)  # type: ignore[arg-type]
    reader = KnowledgeReader(scene.store, settings)
    scope = await reader.scope(TENANT, PORTFOLIO)
    return await reader.read(scope, DAY, scene.clock.now(), market_rules(None, DAY, "EUR"))


async def test_plan_says_what_it_knew_and_what_it_came_from(scene: MarketScene) -> None:
    plan = (await scene.plan()).plan
    assert plan.known_until == scene.clock.now()
    assert (plan.price_series, plan.price_quality) == (None, "forecast")
    assert "forecast from 2025-10-" in plan.message
    assert plan.gap is not None
    assert plan.gap < 1e-5
    assert any(cause.startswith("series:BE:day-ahead-sdac:2025-10-14") for cause in plan.causes)
    assert [site.session_count for site in plan.sites] == [20, 20, 20]


async def test_nothing_from_the_future_goes_in(scene: MarketScene) -> None:
    before = (await scene.plan()).plan
    later = MarketScene()
    await later.with_past()
    await later.store.seed(
        TENANT,
        *[
            dataclasses.replace(
                row, id=f"future-{row.id}", arrival=DAY.interval.start, departure=DAY.next().interval.start
            )
            for row in later.store.all(Session, TENANT)[:50]
        ],
    )
    now = later.clock.now()
    ahead_of_us = dataclasses.replace(
        later.store.all(Session, TENANT)[0],
        id="ends-later",
        arrival=now - timedelta(hours=1),
        departure=now + timedelta(hours=1),
    )
    await later.store.seed(TENANT, ahead_of_us)
    after = (await later.plan()).plan
    assert [site.power_kw for site in after.sites] == [site.power_kw for site in before.sites]


async def test_same_knowledge_gives_the_same_bid_hash(scene: MarketScene) -> None:
    other = await MarketScene().with_past()
    assert (await scene.drafted()).content_hash == (await other.drafted()).content_hash


async def test_plan_is_made_in_a_worker_with_small_inputs(scene: MarketScene) -> None:
    await scene.plan()
    assert scene.worker.calls == ["plan_portfolio"]


@pytest.mark.parametrize(
    ("failure", "outcome", "message"),
    [
        (TimeoutError(), "timed-out", "no plan within 60 s"),
        (Unavailable("killed"), "failed", "the solving process died: killed"),
        (SolutionRejected((Violation(rule="cap", index=3, excess=1.5),)), "failed", "refused the solution: cap"),
    ],
)
async def test_solver_that_fails_is_an_outcome_and_no_bid(
    scene: MarketScene, failure: Exception, outcome: str, message: str
) -> None:
    scene.worker.failures.append(failure)
    planned = await scene.plan()
    assert (planned.plan.outcome, planned.bid) == (outcome, None)
    assert message in planned.plan.message
    assert not scene.store.all(Bid, TENANT)
    assert not scene.store.all(Schedule, TENANT)


async def test_plan_without_a_past_is_refused() -> None:
    scene = MarketScene()
    await scene.store.seed(TENANT, *site_rows())
    with pytest.raises(PreconditionFailed, match="not enough to plan from"):
        await scene.plan()


async def test_too_small_portfolio_gets_schedules_and_no_bid() -> None:
    scene = MarketScene()
    scene.exchange.lot_mw = "5"
    await scene.with_past()
    planned = await scene.plan()
    assert planned.bid is None
    assert planned.plan.outcome == "too-small"
    assert "the market takes 5 MW or more" in planned.plan.message
    schedules = scene.store.all(Schedule, TENANT)
    assert {s.cause for s in schedules} == {f"plan:{planned.plan.id}"}
    assert [s.power_kw for s in schedules] == [site.power_kw for site in planned.plan.sites]


async def test_evening_before_delivery_is_scheduled_with_the_bid_and_never_replaced(scene: MarketScene) -> None:
    made = await scene.plan()
    day_before = DAY.next(-1).day.isoformat()
    evening = {row.node: row for row in scene.store.all(Schedule, TENANT)}
    assert {row.delivery_day for row in evening.values()} == {day_before}
    assert sorted(evening) == ["site-01", "site-02", "site-03"]
    for row in evening.values():
        assert row.cause == f"plan:{made.plan.id}"
        assert row.start <= scene.clock.now() + timedelta(minutes=15)
        assert row.start + timedelta(minutes=15) * len(row.power_kw) == DAY.interval.start
        assert 0 < max(row.power_kw) <= scene.rating_kw + 1e-6
    scene.clock.move(minutes=5)
    await scene.plan("again")
    assert {row.node: row for row in scene.store.all(Schedule, TENANT)} == evening


async def test_closed_gate_or_silent_exchange(scene: MarketScene) -> None:
    scene.exchange.is_announced = False
    planned = await scene.plan("early")
    assert planned.bid is None
    assert "no auction takes orders" in planned.plan.message
    scene.exchange.is_announced = True
    scene.clock.set(scene.gate)
    assert (await scene.plan("late")).bid is None

    async def silent(area: str, day: object) -> None:
        raise PeerUnavailable("maintenance")

    scene.exchange.auction = silent  # type: ignore[method-assign]
    with pytest.raises(PeerUnavailable):
        await scene.plan("silent")


async def test_delivery_day_that_has_begun_or_is_no_date_is_refused(scene: MarketScene) -> None:
    with pytest.raises(InvalidInput) as caught:
        await scene.planner.plan(TRADER, portfolio_id=PORTFOLIO, delivery_day="15.10.2025", request_id="x")
    assert caught.value.field == "delivery_day"
    scene.clock.set(DAY.interval.start)
    with pytest.raises(PreconditionFailed, match="has begun"):
        await scene.plan()


async def test_only_drafters_of_the_tenant_may_plan(scene: MarketScene) -> None:
    with pytest.raises(PermissionRefused):
        await scene.planner.plan(APPROVER, portfolio_id=PORTFOLIO, delivery_day=scene.iso, request_id="x")
    with pytest.raises(NotFound):
        await scene.planner.plan(STRANGER, portfolio_id=PORTFOLIO, delivery_day=scene.iso, request_id="x")


async def test_same_request_plans_once(scene: MarketScene) -> None:
    first = await scene.plan("same")
    assert await scene.plan("same") == first
    assert len(scene.store.all(PlanRun, TENANT)) == 1
    with pytest.raises(RequestReused):
        await scene.planner.plan(TRADER, portfolio_id=PORTFOLIO, delivery_day="2025-10-16", request_id="same")


async def test_new_plan_replaces_a_bid_that_nobody_proposed_and_refuses_beside_one_that_somebody_did(
    scene: MarketScene,
) -> None:
    first = await scene.drafted()
    second = (await scene.plan("again")).bid
    assert second is not None
    assert second.version == 2
    gone = await scene.bid(first.id)
    assert (gone.state, gone.reason) == (BidState.WITHDRAWN, "replaced by version 2")
    await scene.reviewer.propose(TRADER, bid_id=second.id, content_hash=second.content_hash, request_id="p")
    with pytest.raises(PreconditionFailed, match="proposed already"):
        await scene.plan("third")


async def test_limit_known_at_the_gate_binds_the_plan_and_the_bid(scene: MarketScene) -> None:
    free = (await scene.plan("free")).plan
    site = free.sites[0]
    busiest = int(np.argmax(site.power_kw))
    start_h = busiest / 4.0
    limit = limit_at("site-01", site.power_kw[busiest] / 2.0, start_h=start_h, hours=1.0)
    await scene.store.seed(TENANT, limit)
    bound = (await scene.plan("bound")).plan
    assert bound.limits == (limit.id,)
    assert f"limit:{limit.id}" in bound.causes
    assert max(bound.sites[0].power_kw[busiest : busiest + 4]) <= limit.max_kw + 1e-6


async def test_limit_that_is_withdrawn_voluntary_or_elsewhere_does_not_bind(scene: MarketScene) -> None:
    gone = dataclasses.replace(limit_at("site-01", 1.0, start_h=0, hours=24), withdrawn_at=scene.clock.now())
    asked = limit_at("site-02", 1.0, start_h=0, hours=24, binding=Binding.VOLUNTARY)
    past = limit_at("site-03", 1.0, start_h=-60, hours=12)
    await scene.store.seed(TENANT, gone, asked, past)
    assert (await scene.plan()).plan.limits == ()


async def test_published_prices_are_used_as_they_are(scene: MarketScene) -> None:
    await scene.publish(DAY, PriceProduct.DAY_AHEAD_SDAC)
    plan = (await scene.plan()).plan
    assert plan.price_quality == "final"
    assert plan.price_series is not None
    assert [Decimal(str(price)) for price in plan.price_per_mwh] == scene.prices


async def test_plugged_in_cars_are_planned_with_what_they_said_or_like_others(scene: MarketScene) -> None:
    now = scene.clock.now()
    said = Session(
        id="said",
        tenant=TENANT,
        charger="site-01/ev000",
        arrival=now - timedelta(hours=1),
        state=SessionState.PLUGGED_IN,
        max_power_kw=11.0,
        phases=3,
        energy_needed_kwh=30.0,
        expected_departure=now + timedelta(hours=30),
        delivered_kwh=4.0,
    )
    silent = dataclasses.replace(
        said, id="silent", charger="site-02/ev001", energy_needed_kwh=None, expected_departure=None
    )
    await scene.store.seed(TENANT, said, silent)
    knowledge = await reader_inputs(scene)
    present = knowledge.inputs.present
    assert len(present) == 2
    assert present.site_index.tolist() == [0, 1]
    assert present.energy_needed_kwh[0] == 30.0
    assert np.isnan(present.energy_needed_kwh[1])
    assert np.isnan(present.expected_departure_s[1])
    assert (await scene.plan()).plan.outcome == "proved"


async def test_horizon_reaches_the_noon_after_delivery(scene: MarketScene) -> None:
    grid = (await reader_inputs(scene)).inputs.grid
    assert grid.start == scene.clock.now()
    assert grid.end == DAY.next().interval.start + timedelta(hours=12)


async def test_history_begins_where_the_rows_begin(scene: MarketScene) -> None:
    inputs = (await reader_inputs(scene)).inputs
    assert inputs.history.covered_since == DAY.next(-10).interval.start
    assert (await reader_inputs(scene, history_days=3)).inputs.history.covered_since == DAY.next(-4).interval.start


async def test_other_load_is_learned_from_the_meter_and_bought_too(scene: MarketScene) -> None:
    rows = []
    start = DAY.next(-3).interval.start
    for i in range(96):
        at = start + timedelta(minutes=15 * i)
        rows.append(
            MeteredPeriod(
                id=f"m{i}",
                tenant=TENANT,
                connection_point="541448820000000000",
                start=at,
                end=at + timedelta(minutes=15),
                energy_kwh=12.5,
                chargers_kwh=2.5,
                coverage=1.0,
            )
        )
    await scene.store.seed(TENANT, *rows)
    scene.exchange.lot_mw = "0.01"
    loaded = await scene.plan("loaded")
    assert loaded.plan.sites[0].other_load_kw == (40.0,) * 96
    assert loaded.plan.sites[1].other_load_kw == ()
    assert "other load is unknown and not bought at 2 of 3 connection points" in loaded.plan.message
    assert max(kw + 40.0 for kw in loaded.plan.sites[0].power_kw) <= 130.0 + 1e-6
    assert loaded.bid is not None
    chargers_kwh = sum(site.energy_kwh for site in loaded.plan.sites)
    assert float(loaded.bid.energy_mwh) * 1000.0 == pytest.approx(chargers_kwh + 40.0 * 24.0, abs=25.0)


async def test_reported_meter_history_enters_the_order_and_the_position_of_its_point(scene: MarketScene) -> None:
    points = [f"54144882000000{s:04d}" for s in range(3)]
    tracker = FleetTracker(store=scene.store, clock=scene.clock, ids=scene.ids, tenants=[TENANT])
    await tracker.load()
    start = DAY.next(-4).interval.start
    for point, other_kw in zip(points, (40.0, 0.0, 20.0), strict=True):
        history = MeterHistory(
            connection_point=point,
            start=start,
            resolution=timedelta(minutes=15),
            energy_kwh=np.full(96, 2.5 + other_kw / 4.0),
            chargers_kwh=np.full(96, 2.5),
        )
        csms = Principal(tenant=TENANT, actor="csms", roles=frozenset({Role.CSMS}), csms="csms-demo")
        await tracker.report_meter_history(csms, history, request_id=f"meters-{point}")
    scene.exchange.lot_mw = "0.001"
    outcome = await scene.plan("metered")
    assert [site.other_load_kw for site in outcome.plan.sites] == [(kw,) * 96 for kw in (40.0, 0.0, 20.0)]
    assert "unknown" not in outcome.plan.message
    assert outcome.bid is not None
    assert {check.name: check.outcome for check in outcome.bid.checks}["other-load"] is CheckOutcome.PASSED
    least_mw = [min(point.volume_mw for point in period.curve) for period in outcome.bid.periods]
    assert min(least_mw) >= Decimal("0.059")
    chargers_kwh = sum(site.energy_kwh for site in outcome.plan.sites)
    assert float(outcome.bid.energy_mwh) * 1000.0 == pytest.approx(chargers_kwh + 60.0 * 24.0, abs=20.0)


async def test_without_meter_history_the_other_load_is_unknown_and_said_so(scene: MarketScene) -> None:
    outcome = await scene.plan()
    assert {site.other_load_kw for site in outcome.plan.sites} == {()}
    assert "other load is unknown and not bought at 3 of 3 connection points" in outcome.plan.message
    assert outcome.bid is not None
    [check] = [check for check in outcome.bid.checks if check.name == "other-load"]
    assert check.outcome is CheckOutcome.WARNING
    assert "unknown and not bought at 3 connection points" in check.message


async def test_loop_waits_until_the_past_of_the_meters_has_settled() -> None:
    scene = await MarketScene().with_past()
    planner = scene.new_planner(history_quiet=timedelta(minutes=3))
    start = DAY.next(-3).interval.start
    reported = MeteredPeriod(
        id="m", tenant=TENANT, connection_point="541448820000000000", start=start, end=start + timedelta(minutes=15),
        energy_kwh=9.0, chargers_kwh=0.0, coverage=1.0,
    )  # fmt: skip
    await scene.store.seed(TENANT, reported)
    async with asyncio.TaskGroup() as group:
        loop = group.create_task(planner.run())
        for _ in range(200):
            await asyncio.sleep(0)
        assert not scene.store.all(PlanRun, TENANT)
        scene.clock.move(minutes=4)
        for _ in range(400):
            await asyncio.sleep(0)
        assert len(scene.store.all(PlanRun, TENANT)) == 1
        loop.cancel()


def test_other_load_follows_the_wall_clock_and_ignores_poor_readings() -> None:
    start = DAY.next(-1).interval.start
    poor = MeteredPeriod(
        id="p", tenant=TENANT, connection_point="c", start=start, end=start + timedelta(minutes=15),
        energy_kwh=99.0, chargers_kwh=0.0, coverage=0.2,
    )  # fmt: skip
    assert mean_other_load_kw([poor], DAY.grid(), ZONE) is None
    good = dataclasses.replace(poor, coverage=1.0, energy_kwh=5.0)
    other = dataclasses.replace(
        good, start=start + timedelta(hours=6), end=start + timedelta(hours=6.25), energy_kwh=1.0
    )
    load = mean_other_load_kw([good, other], DAY.grid(), ZONE)
    assert load is not None
    assert (load[0], load[24], load[50]) == (20.0, 4.0, 12.0)


async def test_carbon_shifts_the_plan_only_when_it_is_worth_something(scene: MarketScene) -> None:
    rows = []
    for offset in (-1, 0, 1):
        day = DAY.next(offset)
        rows.append(
            CarbonSeries(
                id=f"carbon-{offset}",
                zone="BE",
                kind=CarbonKind.MARGINAL,
                grid=day.grid(),
                intensity_g_per_kwh=(250.0,) * day.grid().count,
                source="stand-in",
                fetched_at=scene.clock.now() + timedelta(minutes=offset),
                quality=Quality.SUBSTITUTED,
                licence="CC BY 4.0",
            )
        )
    await scene.store.seed(TENANT, *rows)
    assert (await reader_inputs(scene)).carbon_series is None
    knowledge = await reader_inputs(scene, carbon_eur_per_tonne=80.0)
    assert knowledge.carbon_series == "carbon-1"
    shift = knowledge.inputs.points[0].price_shift_eur_per_mwh
    assert shift is not None
    assert set(shift.tolist()) == {20.0}


async def test_loop_waits_for_the_planning_time_and_for_a_past_that_has_settled() -> None:
    scene = await MarketScene().with_past()
    planner = scene.new_planner(history_quiet=timedelta(minutes=3))
    reported = dataclasses.replace(
        next(s for s in scene.store.all(Session, TENANT) if s.arrival >= DAY.next(-3).interval.start),
        id="just-reported",
    )
    await scene.store.seed(TENANT, reported)
    async with asyncio.TaskGroup() as group:
        loop = group.create_task(planner.run())
        for _ in range(200):
            await asyncio.sleep(0)
        assert not scene.store.all(PlanRun, TENANT)
        scene.clock.move(minutes=4)
        for _ in range(400):
            await asyncio.sleep(0)
        assert len(scene.store.all(PlanRun, TENANT)) == 1
        scene.clock.move(minutes=10)
        for _ in range(400):
            await asyncio.sleep(0)
        assert len(scene.store.all(PlanRun, TENANT)) == 1
        loop.cancel()


async def test_loop_plans_again_with_published_prices_when_nobody_approved(scene: MarketScene) -> None:
    async with asyncio.TaskGroup() as group:
        loops = [group.create_task(scene.planner.run()), group.create_task(scene.submitter.run())]
        for _ in range(500):
            await asyncio.sleep(0)
        assert [plan.price_quality for plan in scene.store.all(PlanRun, TENANT)] == ["forecast"]
        scene.clock.set(scene.gate + timedelta(hours=1))
        for _ in range(200):
            await asyncio.sleep(0)
        await scene.publish(DAY, PriceProduct.DAY_AHEAD_SDAC)
        for _ in range(500):
            await asyncio.sleep(0)
        plans = scene.store.all(PlanRun, TENANT)
        assert [plan.price_quality for plan in plans] == ["forecast", "final"]
        for_the_day = [s for s in scene.store.all(Schedule, TENANT) if s.delivery_day == scene.iso]
        assert {s.cause for s in for_the_day} == {f"plan:{plans[1].id}"}
        for loop in loops:
            loop.cancel()


async def test_loop_tries_a_failing_day_three_times(scene: MarketScene) -> None:
    scene.worker.failures += [TimeoutError()] * 5
    async with asyncio.TaskGroup() as group:
        loop = group.create_task(scene.planner.run())
        for _ in range(6):
            for _ in range(200):
                await asyncio.sleep(0)
            scene.clock.move(minutes=2)
        assert [plan.outcome for plan in scene.store.all(PlanRun, TENANT)] == ["timed-out"] * 3
        loop.cancel()


async def test_auction_of_other_periods_is_refused(scene: MarketScene) -> None:
    info = await scene.exchange.auction("BE", DAY)
    assert info is not None
    with pytest.raises(PreconditionFailed, match="sells 95 periods"):
        market_rules(dataclasses.replace(info, contracts=info.contracts[1:]), DAY, "EUR")
    with pytest.raises(PreconditionFailed, match="is in EUR"):
        market_rules(info, DAY, "GBP")
    with pytest.raises(InvalidInput) as caught:
        market_rules(dataclasses.replace(info, lot_mw="a tenth"), DAY, "EUR")
    assert caught.value.field == "auction.lot_mw"


@pytest.mark.parametrize(
    ("zone", "route", "product"),
    [
        ("BE", Route.OWN_MEMBER, PriceProduct.DAY_AHEAD_SDAC),
        ("CH", Route.OWN_MEMBER, PriceProduct.DAY_AHEAD_LOCAL),
        ("CH", Route.TARIFF_ONLY, PriceProduct.TARIFF_ENERGY),
    ],
)
def test_a_portfolio_is_planned_by_the_auction_of_its_zone(zone: str, route: Route, product: PriceProduct) -> None:
    [portfolio] = [row for row in site_rows() if isinstance(row, Portfolio)]
    assert planned_product(dataclasses.replace(portfolio, bidding_zone=zone, route=route)) is product
