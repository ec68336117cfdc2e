"""Cars whose driver asked for low carbon: they wait for cleaner quarter-hours where no schedule decides, and never past a promise."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from gateway.domain.bids import Schedule
from gateway.domain.series import CarbonKind, CarbonSeries, Quality
from gateway.domain.sessions import DriverGoal
from gateway.domain.timegrid import TimeGrid
from gateway.domain.units import QUARTER_HOUR
from tests.fakes.clock import START
from tests.services.scene import PLATFORM, SETTINGS, TENANT, Platform, Scene, session

GREEN = "ch-1-0"
PLAIN = "ch-1-1"
ZONE = "BE"
DIRTY, CLEAN = 400.0, 100.0


def carbon(scene: Scene, *grams: float | None, name: str = "c1", kind: CarbonKind = CarbonKind.AVERAGE) -> CarbonSeries:
    return CarbonSeries(
        id=name,
        zone=ZONE,
        kind=kind,
        grid=TimeGrid(start=START, step=QUARTER_HOUR, count=len(grams)),
        intensity_g_per_kwh=grams,
        source="test",
        fetched_at=scene.clock.now(),
        quality=Quality.FINAL,
        licence="made up",
    )


async def plugged(*grams: float | None, zone: str = ZONE, **changes: Any) -> tuple[Scene, Platform]:
    """Return two cars alike, of which one shall charge green; it needs 11 of the 32 quarter-hours until it leaves."""
    scene = Scene(settings=replace(SETTINGS, carbon_zone=zone))
    platform = await scene.start(cars=0)
    await scene.store.seed(TENANT, carbon(scene, *grams))
    await scene.services.dispatcher.load()
    cars = [session(PLAIN), session(GREEN, goal=DriverGoal.GREENEST, **changes)]
    await scene.services.tracker.report_sessions(PLATFORM, cars, is_history=False, request_id="r")
    platform.plug(PLAIN, GREEN)
    await scene.pass_time(120)
    return scene, platform


async def test_a_green_car_waits_for_cleaner_quarter_hours_and_leaves_with_what_it_needs() -> None:
    scene, platform = await plugged(*[DIRTY] * 8, *[CLEAN] * 16, *[DIRTY] * 16)
    assert (platform.power(GREEN), platform.power(PLAIN)) == (0.0, 11.0)
    await scene.pass_time(6_000, step=60)
    assert platform.power(GREEN) == 0.0, "two hours are dirty"
    await scene.pass_time(1_500, step=60)
    assert platform.power(GREEN) == 11.0
    await scene.pass_time(8 * 3600 - 8_220, step=60)
    delivered = scene.services.tracker.view(TENANT).delivered_kwh
    place = scene.services.tracker.charger_ids(TENANT).index(GREEN)
    assert delivered[place] >= 30.0 - 0.1


@pytest.mark.parametrize(
    ("zone", "changes"),
    [
        ("", {}),
        ("FR", {}),
        (ZONE, {"energy_needed_kwh": None}),
        (ZONE, {"expected_departure": None}),
        (ZONE, {"expected_departure": START + timedelta(hours=3)}),
        (ZONE, {"boost": True}),
        (ZONE, {"goal": DriverGoal.CHEAPEST}),
    ],
    ids=["no-zone", "another-zone", "no-energy", "no-departure", "no-slack", "boost", "cheapest"],
)
async def test_nobody_waits_without_a_forecast_a_promise_or_slack(zone: str, changes: dict[str, Any]) -> None:
    scene = Scene(settings=replace(SETTINGS, carbon_zone=zone))
    platform = await scene.start(cars=0)
    await scene.store.seed(TENANT, carbon(scene, *[DIRTY] * 8, *[CLEAN] * 24))
    await scene.services.dispatcher.load()
    car = session(GREEN, **{"goal": DriverGoal.GREENEST, **changes})
    await scene.services.tracker.report_sessions(PLATFORM, [car], is_history=False, request_id="r")
    platform.plug(GREEN)
    await scene.pass_time(120)
    assert platform.power(GREEN) == 11.0


async def test_below_a_schedule_the_schedule_decides() -> None:
    scene, platform = await plugged(*[DIRTY] * 8, *[CLEAN] * 24)
    assert platform.power(GREEN) == 0.0
    schedule = Schedule(
        id="s1",
        tenant=TENANT,
        node="site-1",
        connection_point="point-1",
        delivery_day=START.date().isoformat(),
        start=START,
        step_minutes=15,
        power_kw=(22.0,) * 32,
        cause="plan:p1",
        made_at=START,
    )
    await scene.store.seed(TENANT, schedule)
    await scene.services.dispatcher.load()
    await scene.pass_time(300)
    assert platform.power(GREEN) > 0.0


async def test_another_kind_of_carbon_takes_over_whole_and_a_gap_ends_what_is_known() -> None:
    scene, platform = await plugged(*[CLEAN] * 32)
    assert platform.power(GREEN) == 11.0
    scene.clock.move(seconds=1)
    newer = carbon(scene, *[DIRTY] * 4, None, *[CLEAN] * 27, name="c2", kind=CarbonKind.MARGINAL)
    await scene.store.seed(TENANT, newer)
    await scene.services.dispatcher.load()
    await scene.pass_time(960)
    assert platform.power(GREEN) == 11.0, "what is behind a gap is not counted on, and the averages are not mixed in"
    await scene.store.seed(TENANT, carbon(scene, *[DIRTY] * 4, *[CLEAN] * 28, name="c3", kind=CarbonKind.MARGINAL))
    await scene.services.dispatcher.load()
    await scene.pass_time(960)
    assert platform.power(GREEN) == 0.0


async def test_a_newer_forecast_is_followed_when_the_first_has_run_out() -> None:
    scene, platform = await plugged(CLEAN)
    dispatcher = scene.services.dispatcher
    assert platform.power(GREEN) == 11.0
    scene.clock.move(hours=1)
    newer = replace(carbon(scene, *[DIRTY] * 12, *[CLEAN] * 24, name="c2"), fetched_at=scene.clock.now())
    async with asyncio.timeout(15), asyncio.TaskGroup() as tasks:
        run = tasks.create_task(dispatcher.run())
        await asyncio.sleep(0.01)
        await scene.store.seed(TENANT, newer)
        await asyncio.sleep(0.05)
        run.cancel()
    await scene.pass_time(1_800, step=60)
    assert (platform.power(GREEN), platform.power(PLAIN)) == (0.0, 11.0)
