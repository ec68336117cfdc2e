"""What the figures about dispatch say: how soon commands leave, and how often set points change."""

import asyncio

import numpy as np

from gateway.observe import DISPATCH_SECONDS, SETPOINT_CHANGES_PER_HOUR
from gateway.services.plan_dispatch.churn import Churn
from gateway.services.plan_dispatch.picture import Picture
from tests.services.scene import GRID, TENANT, Scene, event, message


def observed() -> tuple[float, float]:
    """How many dispatches were timed, and the sum of their seconds."""
    [metric] = DISPATCH_SECONDS.collect()
    samples = {one.name.rpartition("_")[2]: one.value for one in metric.samples}
    return samples["count"], samples["sum"]


async def test_time_until_dispatch_ends_with_the_first_command_and_is_told_only_of_dispatches() -> None:
    scene = Scene()
    platform = await scene.start()
    assert platform.link is not None
    dispatcher, loop = scene.services.dispatcher, asyncio.get_running_loop()
    compliance = dispatcher._controls[TENANT].compliance
    spent: list[float] = []

    async def slow(picture: Picture) -> None:
        del picture
        await asyncio.sleep(0.05)
        spent.append(loop.time() - begin)

    compliance.watch = slow  # type: ignore[method-assign]
    count, total = observed()
    begin = loop.time()
    dispatcher.wake(TENANT)
    await dispatcher.step(TENANT)
    assert observed() == (count, total), "nothing was dispatched"
    await scene.services.signals.receive(GRID, message(event(start=scene.clock.now(), max_kw=40.0)))
    begin = loop.time()
    dispatcher._woken.clear()
    dispatcher.wake(TENANT)
    await dispatcher.step(TENANT)
    assert platform.link.has_pending
    assert observed()[0] == count + 1
    assert observed()[1] - total <= spent[-1] - 0.05, "what comes after the command does not count"


def test_the_rate_of_changes_is_that_of_all_tenants() -> None:
    churn, zeros, ones = Churn(), np.zeros(10), np.ones(10)
    churn.count(zeros, ones, 0.0)
    churn.tell("large", 0.0, 10)
    churn.tell("small", 1.0, 2)
    [metric] = SETPOINT_CHANGES_PER_HOUR.collect()
    assert metric.samples[0].value == 10 / 12
    churn.tell("small", 3600.0, 2)
    [metric] = SETPOINT_CHANGES_PER_HOUR.collect()
    assert metric.samples[0].value == 0.0
