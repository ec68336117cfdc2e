"""The real sandbox market as a process of its own, with a clock that a test moves by hand."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp

from gateway.sandbox.clock import ClockAnchor, write_anchor

FROZEN = 1e-9
"""Market seconds per real second: time stands still, and the clock file's speed is still above 0."""


@dataclass
class SandboxMarket:
    """A running market."""

    ready: dict[str, str]
    clock_path: Path
    now: datetime

    def set(self, when: datetime) -> None:
        """Move market time; wait until the process looks at its clock file again."""
        self.now = when
        _write(self.clock_path, when)
        time.sleep(0.03)

    async def fault(self, session: aiohttp.ClientSession, **fault: object) -> None:
        """Let the next matching requests fail."""
        async with session.post(f"{self.ready['control_url']}/faults", json=fault) as response:
            assert response.status == 201, await response.text()

    async def requests(self, session: aiohttp.ClientSession) -> dict[str, int]:
        """Return how often each door was asked."""
        async with session.get(f"{self.ready['control_url']}/requests") as response:
            asked: dict[str, int] = await response.json()
            return asked


class MarketClock:
    """`ports.Clock` that reads the market's time, which a test may also set back; its monotonic time is real."""

    def __init__(self, market: SandboxMarket) -> None:
        self._market = market

    def now(self) -> datetime:
        return self._market.now

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep_until(self, when: datetime) -> None:
        raise AssertionError("nobody sleeps in these tests")

    async def sleep(self, duration: timedelta) -> None:
        raise AssertionError("nobody sleeps in these tests")


@contextmanager
def running_market(
    folder: Path, now: datetime = datetime(2025, 10, 14, 9, 0, tzinfo=UTC), *, data: Path | None = None
) -> Iterator[SandboxMarket]:
    """Start a market at an instant and stop it at the end; its exit must be clean. `data` replaces the recordings."""
    clock_path, ready_path = folder / "clock.json", folder / "ready.json"
    _write(clock_path, now)
    command = [sys.executable, "-m", "gateway.sandbox.market", "--seed", "7"]
    command += [] if data is None else ["--data", str(data)]
    process = subprocess.Popen(
        [*command, "--clock", str(clock_path), "--ready", str(ready_path)],
        cwd=Path(__file__).resolve().parents[2],
        stderr=subprocess.DEVNULL,
    )
    try:
        while not ready_path.exists():
            assert process.poll() is None, "the market did not start"
            time.sleep(0.02)
        yield SandboxMarket(ready=json.loads(ready_path.read_text()), clock_path=clock_path, now=now)
    finally:
        process.terminate()
        assert process.wait(timeout=10) == 0


def _write(path: Path, now: datetime) -> None:
    write_anchor(path, ClockAnchor(market_anchor=now, monotonic_anchor=time.monotonic(), speed=FROZEN))
