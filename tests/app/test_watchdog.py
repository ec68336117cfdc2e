"""A wedged control loop ends the process, a slow one does not."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from textwrap import dedent

import pytest

from gateway.app.watchdog import EXIT_WEDGED, Watchdog, WatchdogTimes

TIMES = WatchdogTimes(look=0.01, stale=0.05, dead=0.15)
PROGRAM = """
    import asyncio, re
    from gateway.app.watchdog import Watchdog, WatchdogTimes

    async def main() -> None:
        dog = Watchdog(lambda is_fine: None, times=WatchdogTimes(look=0.05, stale=0.1, dead=0.3), has_fault_timer=True)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(dog.run())
            for _ in range(5):
                dog.beat()
                await asyncio.sleep(0.05)
            {culprit}

    asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("culprit", "code"),
    [
        ("while True: pass", EXIT_WEDGED),
        ("await asyncio.Event().wait()", EXIT_WEDGED),
        ("re.match(r'(a+)+$', 'a' * 60 + 'b')", 1),
    ],
    ids=["endless-loop", "deadlock", "holds-the-interpreters-lock"],
)
def test_g6_a_wedged_process_ends_itself_and_shows_where(culprit: str, code: int) -> None:
    program = dedent(PROGRAM).format(culprit=culprit)
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=15, check=False)
    assert ended.returncode == code
    assert "most recent call first" in ended.stderr


async def watched(beats: Callable[[Watchdog], object], seconds: float) -> tuple[list[bool], int]:
    """Return what was told and how often the process would have been ended."""
    told: list[bool] = []
    ends: list[int] = []
    dog = Watchdog(told.append, times=TIMES, end=lambda: ends.append(1))
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(dog.run())
        acting = asyncio.ensure_future(asyncio.sleep(0)) if beats(dog) is None else None
        await asyncio.sleep(seconds)
        running.cancel()
        if acting is not None:
            acting.cancel()
    return told, len(ends)


async def test_g6_a_loop_that_no_longer_beats_is_not_serving_and_then_ended_once() -> None:
    told, ends = await watched(lambda dog: dog.beat(), 0.6)
    assert told == [False]
    assert ends == 1


async def test_g6_who_beats_again_is_serving_again() -> None:
    told: list[bool] = []
    dog = Watchdog(told.append, times=WatchdogTimes(look=0.01, stale=0.05, dead=60.0), end=lambda: None)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(dog.run())
        while told != [False]:
            await asyncio.sleep(0.01)
        while told != [False, True]:
            dog.beat()
            await asyncio.sleep(0.005)
        running.cancel()
