"""A portfolio on a tariff: planned on its own prices, held back only where energy is dear, and told what a day cost."""

import dataclasses
from datetime import timedelta
from decimal import Decimal

import pytest

from gateway.domain.bids import Bid, PlanRun, Schedule
from gateway.domain.errors import NotFound, PermissionRefused, PreconditionFailed
from gateway.domain.series import CarbonKind, CarbonSeries, DayState, MarketDayStatus, PriceProduct, Quality
from gateway.domain.sessions import Session, SessionState
from gateway.domain.settlement import MeteredPeriod, TariffDay
from gateway.domain.timegrid import DeliveryDay
from gateway.domain.topology import Portfolio, Route
from gateway.services.plan_bids.records import free_slots
from tests.fakes.market import price_series
from tests.services.market_scene import DAY, PORTFOLIO, STRANGER, TENANT, TRADER, MarketScene

POINTS = [f"54144882000000{site:04d}" for site in range(3)]
CHEAP, DEAR = Decimal("60.87"), Decimal("266.68")


def tariff_of(day: DeliveryDay) -> list[Decimal | None]:
    """Return a day that is dear from 12:00 to 20:00."""
    return [DEAR if 48 <= slot < 80 else CHEAP for slot in range(day.grid().count)]


async def on_tariff(first: int = -10, last: int = 1) -> MarketScene:
    """Return the scene with a portfolio that has no route to the market, and a tariff for some days around delivery."""
    scene = await MarketScene().with_past()
    [portfolio] = scene.store.all(Portfolio, TENANT)
    await scene.store.seed(TENANT, dataclasses.replace(portfolio, route=Route.TARIFF_ONLY))
    for offset in range(first, last + 1):
        day = DAY.next(offset)
        iso = day.day.isoformat()
        series = price_series(
            day, tariff_of(day), product=PriceProduct.TARIFF_ENERGY, fetched_at=DAY.next(-10).interval.start
        )
        status = MarketDayStatus(
            id=f"BE:tariff-energy:{iso}",
            tenant=TENANT,
            zone="BE",
            product=PriceProduct.TARIFF_ENERGY,
            day=iso,
            state=DayState.COMPLETE,
            missing_count=0,
            series_id=f"tariff-{iso}",
            checked_at=series.fetched_at,
        )
        await scene.store.seed(TENANT, dataclasses.replace(series, id=f"tariff-{iso}"), status)
    return scene


async def test_it_is_planned_on_its_tariff_and_nothing_is_bid() -> None:
    scene = await on_tariff()
    planned = await scene.plan()
    assert planned.bid is None
    assert not scene.store.all(Bid, TENANT)
    assert planned.plan.price_series == f"tariff-{scene.iso}"
    assert set(planned.plan.price_per_mwh) == {float(CHEAP), float(DEAR)}
    assert planned.plan.outcome in {"proved", "feasible"}
    assert planned.plan.expected_cost < planned.plan.uncontrolled_cost
    assert planned.plan.message.startswith("no route to the market, planned for the tariff")


async def test_prices_of_the_auction_do_not_stand_in_for_a_tariff() -> None:
    scene = await on_tariff(first=1, last=0)
    with pytest.raises(PreconditionFailed, match="not enough to plan from"):
        await scene.plan()


async def test_only_dear_slots_hold_back() -> None:
    scene = await on_tariff()
    plan = (await scene.plan()).plan
    schedules = {schedule.node: schedule for schedule in scene.store.all(Schedule, TENANT)}
    assert len(schedules) == 3
    for site in plan.sites:
        power_kw = schedules[site.node].power_kw
        for slot in range(96):
            is_dear = 48 <= slot < 80
            assert power_kw[slot] == pytest.approx(site.power_kw[slot] if is_dear else 130.0)


async def plan_with(prices: list[float], drawn_kw: list[float]) -> PlanRun:
    plan = (await (await on_tariff()).plan()).plan
    site = dataclasses.replace(plan.sites[0], power_kw=tuple(drawn_kw), uncontrolled_kw=tuple(drawn_kw))
    return dataclasses.replace(plan, price_per_mwh=tuple(prices), sites=(site,))


@pytest.mark.parametrize(
    ("drawn_kw", "free"),
    [
        ([1.0, 4.0, 1.0], (True, True, False)),
        ([9.0, 1.0, 1.0], (True, False, False)),
        ([0.0, 0.0, 5.0], (True, True, True)),
        ([0.0, 0.0, 0.0], (True, True, True)),
    ],
)
async def test_half_of_the_energy_says_what_is_dear(drawn_kw: list[float], free: tuple[bool, ...]) -> None:
    assert free_slots(await plan_with([60.0, 75.0, 87.0], drawn_kw)) == free


def metered(point: str, slot: int, kwh: float, coverage: float = 1.0) -> MeteredPeriod:
    start = DAY.interval.start + timedelta(minutes=15) * slot
    return MeteredPeriod(
        id=f"{point}:{slot}",
        tenant=TENANT,
        connection_point=point,
        start=start,
        end=start + timedelta(minutes=15),
        energy_kwh=kwh + 5.0,
        chargers_kwh=kwh,
        coverage=coverage,
    )


def carbon(grams: float | None, quality: Quality = Quality.FINAL, hours: float = 0.0) -> CarbonSeries:
    return CarbonSeries(
        id=f"carbon-{hours}",
        zone="BE",
        kind=CarbonKind.MARGINAL,
        grid=DAY.grid(),
        intensity_g_per_kwh=tuple([200.0] * 50 + [grams] + [200.0] * 45),
        source="file",
        fetched_at=DAY.interval.start + timedelta(hours=hours),
        quality=quality,
        licence="CC BY 4.0",
    )


async def cost_of(scene: MarketScene) -> TariffDay:
    return await scene.settler.tariff_cost(TRADER, PORTFOLIO, scene.iso)


async def test_a_day_costs_its_metered_energy_at_the_tariff() -> None:
    scene = await on_tariff()
    rows = [metered(POINTS[0], 0, 10.0), metered(POINTS[0], 50, 2.5), metered(POINTS[0], 51, 7.0, coverage=0.2)]
    await scene.store.seed(TENANT, *rows, carbon(100.0, Quality.ESTIMATED), carbon(400.0, hours=25.0))
    scene.clock.set(DAY.next().interval.start)
    day = await cost_of(scene)
    assert [point.connection_point for point in day.points] == POINTS
    first = day.points[0]
    assert (first.metered_period_count, day.period_count) == (2, 96)
    assert first.charged_kwh == Decimal("12.5")
    assert first.cost == Decimal("0.010") * CHEAP + Decimal("0.0025") * DEAR
    assert first.emissions_kg == pytest.approx(10.0 * 0.2 + 2.5 * 0.4), "the newest intensity counts"
    assert (day.carbon_series, day.price_series) == ("carbon-25.0", f"tariff-{scene.iso}")
    assert day.points[1].cost == 0


async def test_uncontrolled_charging_is_what_came_at_full_rate_from_plug_in_on() -> None:
    scene = await on_tariff()
    arrival = DAY.interval.start + timedelta(hours=19, minutes=45)
    car = Session(
        id="car",
        tenant=TENANT,
        charger="site-01/ev000",
        arrival=arrival,
        state=SessionState.ENDED,
        max_power_kw=11.0,
        phases=3,
        energy_needed_kwh=None,
        expected_departure=None,
        departure=arrival + timedelta(hours=3),
        delivered_kwh=5.5,
    )
    await scene.store.seed(TENANT, car, carbon(100.0))
    scene.clock.set(DAY.next().interval.start)
    point = (await cost_of(scene)).points[0]
    assert point.uncontrolled_kwh == Decimal("5.5")
    assert point.uncontrolled_cost == Decimal("0.00275") * (DEAR + CHEAP)
    assert point.uncontrolled_emissions_kg == pytest.approx(1.1)
    assert (point.charged_kwh, point.cost, point.emissions_kg) == (Decimal(0), Decimal(0), 0.0)


@pytest.mark.parametrize(("grams", "slot", "expected"), [(None, 50, None), (None, 3, 2.0), (300.0, 50, 3.0)])
async def test_unknown_intensity_is_unknown_not_zero(grams: float | None, slot: int, expected: float | None) -> None:
    scene = await on_tariff()
    await scene.store.seed(TENANT, metered(POINTS[0], slot, 10.0), carbon(grams))
    scene.clock.set(DAY.next().interval.start)
    assert (await cost_of(scene)).points[0].emissions_kg == (None if expected is None else pytest.approx(expected))


async def test_cost_is_refused_before_it_means_anything() -> None:
    scene = await on_tariff()
    with pytest.raises(PreconditionFailed, match="not over"):
        await cost_of(scene)
    scene.clock.set(DAY.next(8).interval.start)
    with pytest.raises(PreconditionFailed, match="not complete"):
        await scene.settler.tariff_cost(TRADER, PORTFOLIO, DAY.next(5).day.isoformat())
    with pytest.raises(NotFound):
        await scene.settler.tariff_cost(STRANGER, PORTFOLIO, scene.iso)
    with pytest.raises(PermissionRefused):
        await scene.settler.tariff_cost(dataclasses.replace(TRADER, roles=frozenset()), PORTFOLIO, scene.iso)
    trading = await MarketScene().with_past()
    trading.clock.set(DAY.next().interval.start)
    with pytest.raises(PreconditionFailed, match="trades"):
        await cost_of(trading)
