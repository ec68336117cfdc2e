"""Supervised tasks: an edge that fails is restarted with backoff and counted; store and dispatcher take the process down.

The one job runner of the house: the only place besides the RPC door that catches every exception.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from gateway.observe import TASK_RESTARTS, logger

_log = logger("app")
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
CALM_SECONDS = 60.0
"""A task that ran so long before it failed starts over with the first pause."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One long-lived task.

    Attributes:
        name: For logs and metrics.
        run: Runs until cancelled; returning early counts as a failure.
        is_essential: Its failure ends the process, so that leases run out and a supervisor outside starts us anew.
    """

    name: str
    run: Callable[[], Awaitable[None]]
    is_essential: bool = False


class EssentialJobEnded(RuntimeError):
    """Store or dispatcher failed; the process must end."""


async def run_jobs(jobs: list[Job]) -> None:
    """Run all jobs until cancelled.

    Raises:
        ExceptionGroup: An essential job ended; it holds an `EssentialJobEnded`.
    """
    async with asyncio.TaskGroup() as tasks:
        for job in jobs:
            tasks.create_task(_keep_running(job), name=job.name)


async def _keep_running(job: Job) -> None:
    pause = FIRST_PAUSE_SECONDS
    clock = asyncio.get_running_loop()
    while True:
        started = clock.time()
        try:
            await job.run()
            _log.error("task ended", task=job.name)
        except Exception as error:  # a job may fail in any way; that is what this runner is for
            _log.error("task failed", task=job.name, exc_info=error)
            if job.is_essential:
                raise EssentialJobEnded(job.name) from error
        else:
            if job.is_essential:
                raise EssentialJobEnded(job.name)
        TASK_RESTARTS.labels(task=job.name).inc()
        pause = FIRST_PAUSE_SECONDS if clock.time() - started > CALM_SECONDS else min(pause * 2, LONGEST_PAUSE_SECONDS)
        await asyncio.sleep(pause)
