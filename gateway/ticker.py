"""APScheduler as the tick: it calls small coroutines at intervals of real time and decides nothing.

Deadlines (gates, event starts, leases) are rows that services look at; a tick that comes late finds them all the same. APScheduler's
own job stores are not used: its default `misfire_grace_time` of one second drops a job silently when the loop was busy, and its
SQL store pickles code into the database.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC

from apscheduler.schedulers.asyncio import AsyncIOScheduler


class Ticker:
    """Calls coroutines at fixed intervals while it runs."""

    def __init__(self) -> None:
        """Make a scheduler in UTC that never drops a tick and never runs one twice at once."""
        self._scheduler = AsyncIOScheduler(
            timezone=UTC, job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
        )

    def every(self, seconds: float, name: str, tick: Callable[[], Awaitable[None]]) -> None:
        """Call `tick` every so many real seconds from the start on.

        Args:
            seconds: Interval in real seconds, above 0.
            name: For APScheduler's log.
            tick: Must return fast; long work belongs to a service's own task.
        """
        self._scheduler.add_job(tick, "interval", seconds=seconds, name=name, id=name)

    async def run(self) -> None:
        """Tick until cancelled."""
        self._scheduler.start()
        try:
            await asyncio.Event().wait()
        finally:
            self._scheduler.shutdown(wait=False)
