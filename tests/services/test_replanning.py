"""Cases 19 and 25: revised prices are planned with again, small news about carbon is not."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from gateway.domain.bids import PlanRun, Schedule
from gateway.domain.carbon_change import has_moved
from gateway.domain.series import CarbonBasis, CarbonKind, CarbonSeries, PriceProduct, PriceSeries, Quality
from gateway.domain.timegrid import DeliveryDay
from tests.services.market_scene import DAY, TENANT, MarketScene

SDAC = PriceProduct.DAY_AHEAD_SDAC


def carbon(
    scene: MarketScene, name: str, level: float, *, day: DeliveryDay = DAY, minutes: int = 0, is_estimate: bool = True
) -> CarbonSeries:
    return CarbonSeries(
        id=name,
        zone="BE",
        kind=CarbonKind.AVERAGE,
        grid=day.grid(),
        intensity_g_per_kwh=tuple([level] * day.grid().count),
        source="electricity-maps",
        fetched_at=scene.clock.now() + timedelta(minutes=minutes),
        quality=Quality.ESTIMATED if is_estimate else Quality.FINAL,
        licence="made up",
    )


async def settle_down() -> None:
    for _ in range(500):
        await asyncio.sleep(0)


@pytest.fixture
async def after_gate() -> MarketScene:
    """The auction is over, nobody approved a bid."""
    scene = await MarketScene().with_past()
    scene.clock.set(scene.gate + timedelta(hours=1))
    return scene


async def test_m19_a_revision_is_planned_with_and_both_versions_stay(after_gate: MarketScene) -> None:
    scene = after_gate
    async with asyncio.TaskGroup() as group:
        loops = [group.create_task(scene.new_planner().run()), group.create_task(scene.submitter.run())]
        for level in (80.0, 40.0, 40.0):
            await scene.publish(DAY, SDAC, level=level)
            await settle_down()
        for loop in loops:
            loop.cancel()
    plans = [plan for plan in scene.store.all(PlanRun, TENANT) if plan.price_series is not None]
    assert len(plans) == 2, "one plan for each version, none for the same prices again"
    versions = {series.id for series in scene.store.all(PriceSeries, TENANT) if series.grid == DAY.grid()}
    assert {plan.price_series for plan in plans} == versions
    schedules = [one for one in scene.store.all(Schedule, TENANT) if one.delivery_day == scene.iso]
    assert {one.cause for one in schedules} == {f"plan:{plans[-1].id}"}


async def test_m25_measured_values_a_few_grams_away_make_no_new_plan(after_gate: MarketScene) -> None:
    scene = after_gate
    days = [DAY.next(offset) for offset in (-1, 0, 1)]
    await scene.store.seed(TENANT, *(carbon(scene, f"first-{day.day}", 250.0, day=day) for day in days))
    await scene.publish(DAY, SDAC)
    async with asyncio.TaskGroup() as group:
        loop = group.create_task(scene.new_planner(carbon_eur_per_tonne=80.0).run())
        await settle_down()
        made = len(scene.store.all(PlanRun, TENANT))
        assert made >= 1
        for step in range(1, 6):
            rows = [
                carbon(scene, f"near-{step}-{day.day}", 250.0 + 4 * step, day=day, minutes=step, is_estimate=False)
                for day in days
            ]
            await scene.store.seed(TENANT, *rows)
            scene.clock.move(minutes=2)
            await settle_down()
        assert len(scene.store.all(PlanRun, TENANT)) == made
        rows = [carbon(scene, f"far-{day.day}", 400.0, day=day, minutes=30, is_estimate=False) for day in days]
        await scene.store.seed(TENANT, *rows)
        scene.clock.move(minutes=2)
        await settle_down()
        assert len(scene.store.all(PlanRun, TENANT)) == made + 1
        loop.cancel()


@pytest.mark.parametrize(
    ("level", "moved"), [(250.0, False), (274.9, False), (275.1, True), (225.1, False), (224.9, True)]
)
async def test_ten_percent_are_worth_a_plan(level: float, moved: bool) -> None:
    scene = MarketScene()
    assert has_moved(carbon(scene, "a", 250.0), carbon(scene, "b", level)) is moved


async def test_another_measure_is_another_question() -> None:
    scene = MarketScene()
    one = carbon(scene, "a", 250.0)
    assert has_moved(one, replace(one, basis=CarbonBasis.LIFECYCLE))
    assert not has_moved(one, carbon(scene, "b", 900.0, day=DAY.next(3)))
