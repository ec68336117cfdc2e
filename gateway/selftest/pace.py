"""How fast market time runs in the self-test: as fast as this machine can follow."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from gateway.clock import FileClock, write_clock_file

FASTEST = 60.0
"""Market seconds per real second on a machine with nothing else to do: a minute of the protocol is a second."""
SLOWEST = 6.0
FIRST = 15.0
"""While everybody starts and registers at once."""
_LOOK_S = 0.25
_BUSY_S = 0.12
"""A look at the gateway that takes longer than so much real time says that the machine is behind."""
_IDLE_S = 0.04
_FASTER, _SLOWER = 1.15, 0.6
LOST_S = 1.0
"""A gateway that does not answer for so long is being started again."""


def next_speed(speed: float, lag_s: float) -> float:
    """Return the speed after a look that took so many real seconds: slower at once, faster bit by bit."""
    if lag_s > _BUSY_S:
        return max(SLOWEST, speed * _SLOWER)
    return min(FASTEST, speed * _FASTER) if lag_s < _IDLE_S else speed


async def keep_pace(clock: FileClock, file: Path, look: Callable[[], Awaitable[object]]) -> None:
    """Adapt the speed of market time until cancelled, so that a slow machine plays the same minutes, only longer.

    Args:
        clock: Market time.
        file: Its clock file.
        look: Asks the gateway something small.
    """
    loop = asyncio.get_running_loop()
    while True:
        begin = loop.time()
        try:
            async with asyncio.timeout(LOST_S):
                await look()
        except TimeoutError:
            pass
        speed = next_speed(clock.speed, loop.time() - begin)
        if speed != clock.speed:
            write_clock_file(file, clock.now(), speed)
        await asyncio.sleep(_LOOK_S)
