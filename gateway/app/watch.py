"""How late the event loop is, all the time."""

import asyncio

from gateway.observe import LOOP_LAG_SECONDS, LOOP_LAG_WORST_SECONDS

LOOK_SECONDS = 0.02
"""Real seconds between two looks: a stall is seen at most so much shorter than it was."""
PAGE_SECONDS = 5.0
"""The worst of this page and the one before is told: of the last five to ten real seconds."""


class LoopWatch:
    """Asks for a turn all the time and measures how late it comes."""

    def __init__(self) -> None:
        """Begin with nothing seen."""
        self._this_page = 0.0
        self._last_page = 0.0

    async def run(self) -> None:
        """Watch until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LOOK_SECONDS
            await asyncio.sleep(LOOK_SECONDS)
            self.take(max(0.0, loop.time() - due))

    def take(self, late_s: float) -> None:
        """Note that a turn came so late, in real seconds."""
        self._this_page = max(self._this_page, late_s)
        LOOP_LAG_SECONDS.observe(late_s)
        self._tell()

    async def turn_page(self) -> None:
        """Forget what was worst before this page; to be called every `PAGE_SECONDS`."""
        self._last_page, self._this_page = self._this_page, 0.0
        self._tell()

    def _tell(self) -> None:
        LOOP_LAG_WORST_SECONDS.set(max(self._this_page, self._last_page))
