"""How late the event loop is."""

import asyncio

from gateway.observe import LOOP_LAG_SECONDS


class LoopWatch:
    """Measures the lag of the loop at every tick."""

    async def tick(self) -> None:
        """Ask the loop for a turn and measure how long it takes to get it."""
        loop = asyncio.get_running_loop()
        asked = loop.time()
        await asyncio.sleep(0)
        LOOP_LAG_SECONDS.observe(loop.time() - asked)
