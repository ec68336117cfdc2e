"""How late the event loop is: every look counts, and the worst of two pages is told."""

import asyncio
import time

from gateway.app.watch import LoopWatch
from gateway.observe import LOOP_LAG_SECONDS, LOOP_LAG_WORST_SECONDS


def worst() -> float:
    [metric] = LOOP_LAG_WORST_SECONDS.collect()
    return float(metric.samples[0].value)


def looks() -> float:
    [metric] = LOOP_LAG_SECONDS.collect()
    return float(next(one.value for one in metric.samples if one.name.endswith("_count")))


async def test_the_worst_of_two_pages_is_told_and_then_forgotten() -> None:
    watch, before = LoopWatch(), looks()
    for late_s in (0.001, 0.4, 0.002):
        watch.take(late_s)
    assert (worst(), looks() - before) == (0.4, 3)
    await watch.turn_page()
    watch.take(0.1)
    assert worst() == 0.4
    await watch.turn_page()
    assert worst() == 0.1
    await watch.turn_page()
    assert worst() == 0.0


async def test_who_holds_the_loop_is_seen() -> None:
    watch = LoopWatch()
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(watch.run())
        await asyncio.sleep(0)
        time.sleep(0.3)  # the stall that is to be seen
        before = looks()
        while looks() == before:
            await asyncio.sleep(0)
        watching.cancel()
    assert worst() > 0.0
