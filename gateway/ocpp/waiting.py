"""Waiting for something to be said or for an instant, whichever comes first."""

import asyncio
from datetime import datetime

from gateway.ocpp.surroundings import Clock


async def first_of(clock: Clock, event: asyncio.Event, due: datetime | None) -> None:
    """Return once the event is set or the instant has come; the event is then set.

    Args:
        clock: Time.
        event: Set by whoever has something to say.
        due: None waits for the event alone.
    """

    async def ring(when: datetime) -> None:
        await clock.sleep_until(when)
        event.set()

    async with asyncio.TaskGroup() as tasks:
        ringing = None if due is None else tasks.create_task(ring(due))
        await event.wait()
        if ringing is not None:
            ringing.cancel()
