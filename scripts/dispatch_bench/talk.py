"""How the programs of the bench talk to the one that started them: one JSON object per line, and what all of them measure."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np

PAGE_BYTES = 4096
LAG_LOOK_S = 0.005


def say(**facts: object) -> None:
    """Tell the parent something."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


async def orders() -> AsyncIterator[dict[str, Any]]:
    """Give out what the parent orders, until it goes away."""
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[str] = asyncio.Queue()

    def listen() -> None:
        # A thread of the executor would keep the process from ending.
        with contextlib.suppress(RuntimeError):
            for line in sys.stdin:
                loop.call_soon_threadsafe(lines.put_nowait, line)
            loop.call_soon_threadsafe(lines.put_nowait, "")

    threading.Thread(target=listen, daemon=True).start()
    while line := await lines.get():
        yield json.loads(line)


def resident_bytes() -> int:
    """Return how much memory of this process is resident."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


class Lag:
    """How late turns of the event loop come, in seconds."""

    def __init__(self) -> None:
        """Begin with nothing seen."""
        self.late_s: list[float] = []

    async def watch(self) -> None:
        """Look until cancelled."""
        while True:
            due = time.perf_counter() + LAG_LOOK_S
            await asyncio.sleep(LAG_LOOK_S)
            self.late_s.append(max(0.0, time.perf_counter() - due))

    def take(self) -> dict[str, float]:
        """Return the 99th percentile and the worst since the last time, in ms."""
        late, self.late_s = np.array(self.late_s or [0.0]), []
        return {"lag_p99_ms": 1e3 * float(np.quantile(late, 0.99)), "lag_worst_ms": 1e3 * float(late.max())}


class Acks:
    """When the commands of one event were acknowledged, from the instant at which the event was due."""

    def __init__(self, due: float, count: int) -> None:
        """Wait for so many commands.

        Args:
            due: When the event was due, `time.perf_counter` seconds: what came late counts, too.
            count: Commands.
        """
        self._due = due
        self._cpu_s = time.process_time()
        self._left = count
        self._count = count
        self._seen: list[tuple[float, int]] = []
        self.done = asyncio.Event()

    def take(self, count: int) -> None:
        """Note that so many more were acknowledged now."""
        self._seen.append((time.perf_counter() - self._due, count))
        self._left -= count
        if self._left <= 0:
            self.done.set()

    def facts(self) -> dict[str, float]:
        """Return the distribution over chargers, and the CPU time of this process meanwhile, in ms."""
        after = np.array([seconds for seconds, _ in self._seen])
        reached = np.cumsum(np.array([count for _, count in self._seen])) / max(self._count, 1)
        last = len(after) - 1
        at = {name: 1e3 * float(after[min(int(np.searchsorted(reached, q)), last)]) for name, q in QUANTILES.items()}
        cpu_ms = 1e3 * (time.process_time() - self._cpu_s)
        return {"chargers": self._count, **at, "all_ms": 1e3 * float(after[-1]), "cpu_ms": cpu_ms}


QUANTILES = {"p50_ms": 0.5, "p99_ms": 0.99}
