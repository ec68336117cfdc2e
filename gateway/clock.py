"""The only place that reads the machine's clocks.

`SystemClock` is real time. `FileClock` is the demo's market time: it runs `speed` times faster than real time and its anchor may
be moved forward by rewriting a small file that all programs of the demo share:

```
{"market_anchor": "2025-10-14T09:00:00+00:00", "monotonic_anchor": 12345.6, "speed": 144.0}
market now = market_anchor + (monotonic() - monotonic_anchor) * speed
```

The machine's monotonic clock is the same for all processes, so they agree without talking to each other.
"""

import asyncio
import json
import os
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import require_utc

_REREAD_SECONDS = 0.02
"""How often, in real time, the clock file is looked at."""
_LONGEST_NAP_SECONDS = 0.1
"""A sleeper looks up this often in real time, so that a jump of market time wakes it."""


class SystemClock:
    """Real time: `now` is UTC of the machine, durations are real seconds."""

    def now(self) -> datetime:
        """Return the current instant, aware UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()

    async def sleep_until(self, when: datetime) -> None:
        """Return once `now() >= when`, also after a step of the machine's clock."""
        while (left := (when - self.now()).total_seconds()) > 0:
            await asyncio.sleep(min(left, 1.0))

    async def sleep(self, duration: timedelta) -> None:
        """Return after a duration."""
        await asyncio.sleep(max(0.0, duration.total_seconds()))


@dataclass(frozen=True, kw_only=True, slots=True)
class ClockSetting:
    """What a clock file says."""

    market_anchor: datetime
    monotonic_anchor: float
    """Machine's monotonic seconds at which market time was `market_anchor`."""
    speed: float
    """Market seconds per real second, above 0."""

    def market_time(self, monotonic: float) -> datetime:
        """Return market time at an instant of the machine's monotonic clock."""
        return self.market_anchor + timedelta(seconds=(monotonic - self.monotonic_anchor) * self.speed)


class FileClock:
    """Market time of the demo, read from the shared clock file."""

    def __init__(self, path: Path) -> None:
        """Read the file at once; it must exist.

        Raises:
            InvalidInput: The file is missing or is not a clock file.
        """
        self._path = path
        self._setting = read_clock_file(path)
        self._stamp = path.stat().st_mtime_ns
        self._next_look = 0.0
        self._latest = self._setting.market_anchor

    def now(self) -> datetime:
        """Return market time; it never goes back within this process."""
        monotonic = time.monotonic()
        self._look(monotonic)
        self._latest = max(self._latest, self._setting.market_time(monotonic))
        return self._latest

    def monotonic(self) -> float:
        """Return market seconds that never go back."""
        return self.now().timestamp()

    @property
    def speed(self) -> float:
        """Market seconds per real second."""
        return self._setting.speed

    async def sleep_until(self, when: datetime) -> None:
        """Return once `now() >= when`, also after a jump or a change of speed."""
        while (left := (when - self.now()).total_seconds()) > 0:
            await asyncio.sleep(min(left / self._setting.speed, _LONGEST_NAP_SECONDS))

    async def sleep(self, duration: timedelta) -> None:
        """Return after a duration of market time."""
        await self.sleep_until(self.now() + duration)

    def _look(self, monotonic: float) -> None:
        if monotonic < self._next_look:
            return
        self._next_look = monotonic + _REREAD_SECONDS
        stamp = self._path.stat().st_mtime_ns
        if stamp != self._stamp:
            self._setting, self._stamp = read_clock_file(self._path), stamp


def read_clock_file(path: Path) -> ClockSetting:
    """Return what a clock file says.

    Raises:
        InvalidInput: The file is missing or one of its fields is wrong.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        setting = ClockSetting(
            market_anchor=require_utc("clock.market_anchor", datetime.fromisoformat(raw["market_anchor"])),
            monotonic_anchor=float(raw["monotonic_anchor"]),
            speed=float(raw["speed"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInput("clock_file", f"{path.name} is not a clock file ({type(error).__name__})") from error
    if not setting.speed > 0:
        raise InvalidInput("clock.speed", "must be above 0")
    return setting


def write_clock_file(path: Path, market_time: datetime, speed: float) -> ClockSetting:
    """Anchor market time at this instant and replace the clock file in one step.

    Args:
        path: The shared file.
        market_time: What market time is now, aware UTC.
        speed: Market seconds per real second, above 0.
    """
    setting = ClockSetting(
        market_anchor=require_utc("clock.market_anchor", market_time), monotonic_anchor=time.monotonic(), speed=speed
    )
    content = json.dumps(
        {
            "market_anchor": setting.market_anchor.isoformat(),
            "monotonic_anchor": setting.monotonic_anchor,
            "speed": setting.speed,
        }
    )
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(content)
    Path(name).replace(path)
    return setting
