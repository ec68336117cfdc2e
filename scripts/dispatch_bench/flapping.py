"""Charging platforms whose chargers flap: on order a share of them falls silent each minute, and comes back a while later.

`python -m scripts.dispatch_bench.flapping ADDRESS TOKEN_FOLDER PLATFORMS CHARGERS`; every charger has a car. It says how many chargers have
come back and how many readings were sent so far whenever it is ordered something: `{"flap": true}` begins it.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import numpy as np
from typing_extensions import override

from gateway.client import connect
from gateway.clock import SystemClock
from gateway.v1 import fleet_service_pb2 as fleet
from scripts.dispatch_bench.talk import orders, say
from scripts.openadr_platform import MAX_KW, Platform

SHARE_PER_MINUTE = 0.1
SILENT_S = 30.0
MEASURE_S = 5.0
ENERGY_KWH = 200.0
"""So much that every car charges all the time."""


def platform_name(number: int) -> str:
    """Return the name of a platform, of its account and of its site."""
    return f"csms-{number}"


def chargers_of(number: int, count: int) -> list[str]:
    """Return the chargers of a platform, as the inventory numbers them."""
    digits = max(3, len(str(count)))
    return [f"{platform_name(number)}-{place:0{digits}d}" for place in range(1, count + 1)]


class Flapping(Platform):
    """A platform that measures every few seconds whoever is not silent, and may silence its chargers."""

    is_flapping = False
    come_back = 0
    """Chargers that have come back."""
    measured = 0
    """Readings that were sent."""

    def silence(self, seed: int, count: int) -> None:
        """Prepare to silence so many chargers at random times."""
        self._random = Random(seed)  # noqa: S311  # who falls silent
        self._silent_until = np.zeros(count)

    def turn(self, now: float, seconds: float) -> np.ndarray:
        """Let chargers fall silent and come back; return the positions of those that measure.

        Args:
            now: The machine's clock in seconds.
            seconds: Since the last turn.
        """
        ended = (self._silent_until > 0.0) & (self._silent_until <= now)
        self.come_back += int(np.count_nonzero(ended))
        self._silent_until[ended] = 0.0
        if self.is_flapping:
            count = len(self._silent_until)
            for _ in range(round(count * SHARE_PER_MINUTE * seconds / 60.0)):
                self._silent_until[self._random.randrange(count)] = now + SILENT_S
        found: np.ndarray = np.flatnonzero(self._silent_until == 0.0)
        return found

    @override
    async def _batches(self) -> AsyncIterator[fleet.StreamTelemetryRequest]:
        started, is_first = time.monotonic(), True
        await asyncio.sleep(MEASURE_S * self._random.random())
        while True:
            measuring = self.turn(time.monotonic(), MEASURE_S)
            now, hours = self._clock.now(), (time.monotonic() - started) / 3600.0
            batch = fleet.StreamTelemetryRequest(
                charger_ids=self._charger_ids if is_first else [],
                sequence=int(1e3 * now.timestamp()),
                charger_index=measuring.tolist(),
                power_kw=[self._limit_kw[self._charger_ids[place]] for place in measuring],
                energy_register_kwh=[MAX_KW * hours] * len(measuring),
            )
            batch.measure_time.FromDatetime(now)
            yield batch
            self.measured += len(measuring)
            is_first = False
            await asyncio.sleep(MEASURE_S)

    @override
    def _took(self, at: float, limits: dict[str, float]) -> None:
        """Say nothing: nobody asks when."""


async def main() -> None:
    """Run all platforms until the parent goes away."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("tokens", type=Path)
    parser.add_argument("platforms", type=int)
    parser.add_argument("chargers", type=int)
    given = parser.parse_args()
    running: list[Flapping] = []

    async def one(number: int) -> None:
        token = (given.tokens / f"{platform_name(number)}.token").read_text(encoding="utf-8").strip()
        async with connect(given.address, token=token) as gateway:
            chargers = chargers_of(number, given.chargers)
            platform = Flapping(gateway, chargers, SystemClock(), ENERGY_KWH)
            platform.silence(number, len(chargers))
            running.append(platform)
            await platform.run()

    async with asyncio.TaskGroup() as tasks:
        all_of_them = [tasks.create_task(one(number)) for number in range(given.platforms)]
        async for order in orders():
            for platform in running:
                platform.is_flapping = bool(order["flap"])
            say(
                come_back=sum(platform.come_back for platform in running),
                measured=sum(platform.measured for platform in running),
            )
        for task in all_of_them:
            task.cancel()


if __name__ == "__main__":
    asyncio.run(main())
