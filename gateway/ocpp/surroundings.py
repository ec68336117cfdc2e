"""What the CSMS needs of its surroundings."""

from datetime import datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """The only source of time; market time in the demo, real time in the field."""

    def now(self) -> datetime:
        """Return the current instant, aware UTC."""
        ...

    async def sleep_until(self, when: datetime) -> None:
        """Return once `now() >= when`."""
        ...

    async def sleep(self, duration: timedelta) -> None:
        """Return after a duration."""
        ...
