import asyncio
import functools
import itertools
from collections.abc import Callable, Coroutine

import async_solipsism
import pytest

from gateway.app.supervise import EssentialJobEnded, Job, run_jobs


def in_virtual_time(story: Callable[[], Coroutine[object, object, None]]) -> Callable[[], None]:
    @functools.wraps(story)
    def run() -> None:
        with asyncio.Runner(loop_factory=async_solipsism.EventLoop) as runner:
            runner.run(story())

    return run


@in_virtual_time
async def test_a_failing_job_is_restarted_with_growing_pauses() -> None:
    starts: list[float] = []

    async def fail() -> None:
        starts.append(asyncio.get_running_loop().time())
        raise RuntimeError("once more")

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(20):
            await run_jobs([Job(name="edge", run=fail)])
    pauses = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert pauses == [1.0, 2.0, 4.0, 8.0]


@in_virtual_time
async def test_a_job_that_ran_long_starts_over_with_a_short_pause() -> None:
    starts: list[float] = []

    async def work() -> None:
        starts.append(asyncio.get_running_loop().time())
        await asyncio.sleep(100)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(350):
            await run_jobs([Job(name="edge", run=work)])
    assert [round(later - earlier, 3) for earlier, later in itertools.pairwise(starts)] == [100.5] * 3


@in_virtual_time
async def test_another_job_goes_on_while_one_fails() -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(1)
            ticks += 1

    async def fail() -> None:
        raise ValueError

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(10.5):
            await run_jobs([Job(name="good", run=tick), Job(name="bad", run=fail)])
    assert ticks == 10


@pytest.mark.parametrize("returns", [True, False])
async def test_an_essential_job_takes_the_process_down(returns: bool) -> None:
    async def end() -> None:
        if not returns:
            raise OSError("disk")

    with pytest.raises(ExceptionGroup) as caught:
        await run_jobs([Job(name="store", run=end, is_essential=True)])
    assert caught.group_contains(EssentialJobEnded, match="store")
