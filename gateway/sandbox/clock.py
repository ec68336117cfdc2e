"""The clock of the sandbox programs: market time read from a small file that a supervisor replaces atomically.

```json
{"market_anchor": "2025-10-14T09:00:00+00:00", "monotonic_anchor": 12345.6, "speed": 144.0}
```

Market time now is `market_anchor + (monotonic - monotonic_anchor) * speed`. The monotonic clock is the same for all processes
of a Linux machine, so that everyone who reads the file reads the same time. The supervisor jumps over quiet hours and changes
the speed by replacing the file.
"""

import asyncio
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import require_utc

_RECHECK_SECONDS = 0.02
"""The file is looked at most so often, in real time."""
_NAP_SECONDS = 0.05
"""A sleeper looks again after at most so much real time, so that it notices a jump."""
_FIELDS = ("market_anchor", "monotonic_anchor", "speed")


@dataclass(frozen=True, kw_only=True, slots=True)
class ClockAnchor:
    """A point where market time and the monotonic clock are known, and how fast market time passes from there."""

    market_anchor: datetime
    """Market time at the anchor, aware UTC."""
    monotonic_anchor: float
    """Monotonic clock at the anchor, in seconds."""
    speed: float
    """Market seconds per real second, above 0."""

    def __post_init__(self) -> None:
        """Reject a naive anchor and numbers that are not finite or a speed that is not positive."""
        require_utc("clock.market_anchor", self.market_anchor)
        if not math.isfinite(self.monotonic_anchor):
            raise InvalidInput("clock.monotonic_anchor", "must be a finite number")
        if not math.isfinite(self.speed) or self.speed <= 0.0:
            raise InvalidInput("clock.speed", "must be a finite number above 0")

    def at(self, monotonic: float) -> datetime:
        """Return the market time at a reading of the monotonic clock in seconds."""
        return self.market_anchor + timedelta(seconds=(monotonic - self.monotonic_anchor) * self.speed)


def parse_anchor(text: str) -> ClockAnchor:
    """Return the anchor that the text of a clock file says.

    Raises:
        InvalidInput: The text is no JSON object, or a field is missing or wrong; the field is named.
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise InvalidInput("clock", "must be a JSON object") from error
    if not isinstance(document, dict):
        raise InvalidInput("clock", "must be a JSON object")
    for field in _FIELDS:
        if field not in document:
            raise InvalidInput(f"clock.{field}", "is missing")
    for field in _FIELDS[1:]:
        if isinstance(document[field], bool) or not isinstance(document[field], int | float):
            raise InvalidInput(f"clock.{field}", "must be a number")
    try:
        market = datetime.fromisoformat(document["market_anchor"])
    except (TypeError, ValueError) as error:
        raise InvalidInput("clock.market_anchor", "must be an ISO 8601 instant") from error
    return ClockAnchor(
        market_anchor=require_utc("clock.market_anchor", market),
        monotonic_anchor=float(document["monotonic_anchor"]),
        speed=float(document["speed"]),
    )


def write_anchor(path: Path, anchor: ClockAnchor) -> None:
    """Replace a clock file atomically; readers see the old or the new text, never half of one."""
    document = {
        "market_anchor": anchor.market_anchor.isoformat(),
        "monotonic_anchor": anchor.monotonic_anchor,
        "speed": anchor.speed,
    }
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(json.dumps(document), encoding="utf-8")
    beside.replace(path)


class SandboxClock:
    """Market time for a sandbox program.

    Args:
        path: The clock file; None means real time (then market time is the machine's UTC time).
        monotonic: Reads the monotonic clock in seconds; tests pass their own.

    Raises:
        OSError: The file cannot be read at the start.
        InvalidInput: The file is wrong; the field is named.
    """

    def __init__(self, path: Path | str | None, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._path = None if path is None else Path(path)
        self._monotonic = monotonic
        self._checked_at = -math.inf
        self._stamp: tuple[int, int] | None = None
        self._anchor = ClockAnchor(market_anchor=datetime.now(UTC), monotonic_anchor=monotonic(), speed=1.0)
        if self._path is not None:
            self._anchor = parse_anchor(self._path.read_text(encoding="utf-8"))

    @property
    def speed(self) -> float:
        """Market seconds per real second now."""
        self._reload(self._monotonic())
        return self._anchor.speed

    def now(self) -> datetime:
        """Return the market time, aware UTC; it may jump forward."""
        reading = self._monotonic()
        self._reload(reading)
        return self._anchor.at(reading)

    async def sleep_until(self, when: datetime) -> None:
        """Return once `now() >= when`, within a twentieth of a real second also after a jump."""
        while (left := when - self.now()) > timedelta(0):
            seconds = left.total_seconds() / self.speed
            await asyncio.sleep(seconds if self._path is None else min(seconds, _NAP_SECONDS))

    async def sleep(self, duration: timedelta) -> None:
        """Return after a duration of market time."""
        await self.sleep_until(self.now() + duration)

    def _reload(self, reading: float) -> None:
        """Read the file again when it was replaced; a file that is gone leaves the time as it runs."""
        if self._path is None or reading - self._checked_at < _RECHECK_SECONDS:
            return
        self._checked_at = reading
        try:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_ino)
            if stamp == self._stamp:
                return
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return
        self._anchor = parse_anchor(text)
        self._stamp = stamp
