"""What is known of commands when somebody sets the clock: a measurement may come before the control loop looks again."""

from datetime import timedelta

import numpy as np
import pytest

from gateway.domain.dispatch import DispatchState
from gateway.domain.fleet import TelemetryBatch
from tests.fakes.clock import SetClock
from tests.services.scene import GRID, PLATFORM, TENANT, Platform, Scene, event, message


async def settled(clock: SetClock) -> tuple[Scene, Platform]:
    """A fleet that was told to come down half a minute ago and did."""
    scene = Scene()
    scene.clock = scene.store._clock = clock
    scene.services = scene._build()
    platform = await scene.start()
    await scene.services.signals.receive(GRID, message(event(start=clock.now(), max_kw=30.0)))
    await scene.pass_time(30)
    return scene, platform


def report(scene: Scene, platform: Platform, kw: float) -> None:
    """Five seconds later one charger is measured; the others say nothing."""
    scene.clock.move(seconds=5)
    batch = TelemetryBatch(
        charger_ids=tuple(platform.chargers),
        connection_point_ids=(),
        measure_time=scene.clock.now(),
        charger_index=np.array([0], dtype=np.int32),
        power_kw=np.array([kw]),
        energy_register_kwh=np.array([platform.register[platform.chargers[0]]]),
        meter_register_kwh=np.zeros(0),
    )
    scene.services.tracker.take_telemetry(PLATFORM, batch)
    scene.services.follower.measured(TENANT)


@pytest.mark.parametrize("step", [timedelta(hours=1), timedelta(seconds=-300)])
async def test_a_clock_that_is_set_makes_one_late_measurement_no_overdraw(step: timedelta) -> None:
    clock = SetClock()
    scene, platform = await settled(clock)
    charger = platform.chargers[0]
    report(scene, platform, 11.0)  # a meter that still tells the power before
    assert scene.state(charger) is not DispatchState.NOT_FOLLOWING
    clock.ahead = step
    report(scene, platform, platform.power(charger))
    assert scene.state(charger) is DispatchState.FOLLOWED


async def test_a_clock_that_is_set_ahead_gives_nobody_up_who_has_time_left_to_answer() -> None:
    clock = SetClock()
    scene, platform = await settled(clock)
    await scene.services.signals.receive(GRID, message(event("e2", start=clock.now(), max_kw=20.0), raw_id="raw-2"))
    await scene.services.dispatcher.step(TENANT)
    clock.ahead = timedelta(hours=1)
    report(scene, platform, platform.power(platform.chargers[0]))
    states = {scene.state(charger) for charger in platform.chargers}
    assert DispatchState.SENT in states
    assert DispatchState.TIMED_OUT not in states
