import asyncio

from gateway.ticker import Ticker


async def test_a_tick_comes_again_and_again_and_never_twice_at_once() -> None:
    running = most = count = 0
    enough = asyncio.Event()

    async def tick() -> None:
        nonlocal running, most, count
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.03)
        running -= 1
        count += 1
        if count == 3:
            enough.set()

    ticker = Ticker()
    ticker.every(0.01, "test", tick)
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        task = tasks.create_task(ticker.run())
        await enough.wait()
        task.cancel()
    assert most == 1


async def test_a_tick_that_comes_late_is_not_dropped() -> None:
    ticked = asyncio.Event()

    async def tick() -> None:
        ticked.set()

    ticker = Ticker()
    ticker.every(0.01, "test", tick)
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        task = tasks.create_task(ticker.run())
        await ticked.wait()
        job = ticker._scheduler.get_jobs()[0]
        assert (job.misfire_grace_time, job.coalesce, job.max_instances) == (None, True, 1)
        task.cancel()
