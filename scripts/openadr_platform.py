"""A charging platform that says when limits reach it: one line for each Limits message, with the machine's monotonic clock.

`python -m scripts.openadr_platform ADDRESS TOKEN_FILE CHARGER... [--clock FILE] [--energy-kwh KWH]`; every charger has a car that
would take all it is given. The lines are JSON: `{"at": seconds, "kw": {charger: limit}}`. The clock is the same for all processes of a machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import grpc

from gateway.client import Gateway, connect
from gateway.clock import FileClock, SystemClock
from gateway.v1 import dispatch_service_pb2 as dispatch
from gateway.v1 import fleet_service_pb2 as fleet

MAX_KW = 22.0
BEAT_S = 0.5
"""Seconds between measurements and between signs of life."""
CALL_S = 30.0
ENERGY_KWH = 10.0
"""What each car needs by tomorrow: little enough that no event has to be declined for the sake of drivers."""


class Platform:
    """Keeps the streams open and prints what comes.

    Args:
        gateway: Stubs with the platform's token.
        charger_ids: All chargers.
        clock: Tells when measurements are made and cars arrived.
        energy_kwh: What each car needs within twelve hours.
    """

    def __init__(
        self, gateway: Gateway, charger_ids: list[str], clock: FileClock | SystemClock, energy_kwh: float = ENERGY_KWH
    ) -> None:
        self._gateway = gateway
        self._clock = clock
        self._energy_kwh = energy_kwh
        self._charger_ids = charger_ids
        self._limit_kw = dict.fromkeys(charger_ids, 0.0)
        self._acks: asyncio.Queue[dispatch.ConnectRequest] = asyncio.Queue()

    async def run(self) -> None:
        """Report the cars, then measure and obey until the process ends."""
        await self._gateway.fleet.ReportSessions(self._sessions(), timeout=CALL_S, wait_for_ready=True)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._measure())
            tasks.create_task(self._obey())

    def _sessions(self) -> fleet.ReportSessionsRequest:
        arrival = int(self._clock.now().timestamp()) - 60
        request = fleet.ReportSessionsRequest(request_id=f"bench-{arrival}-{self._charger_ids[0]}")
        for charger in self._charger_ids:
            session = request.sessions.add(
                id=f"session-{arrival}-{charger}", charger_id=charger, max_power_kw=MAX_KW, phase_count=3
            )
            session.arrival_time.seconds = arrival
            session.energy_needed_kwh = self._energy_kwh
            session.expected_departure_time.seconds = arrival + 12 * 3600
        return request

    async def _measure(self) -> None:
        async for _ in self._gateway.fleet.StreamTelemetry(self._batches()):
            continue

    async def _batches(self) -> AsyncIterator[fleet.StreamTelemetryRequest]:
        started, is_first = time.monotonic(), True
        while True:
            now = self._clock.now()
            hours = (time.monotonic() - started) / 3600.0
            batch = fleet.StreamTelemetryRequest(
                charger_ids=self._charger_ids if is_first else [],
                sequence=int(1e3 * now.timestamp()),
                power_kw=[self._limit_kw[charger] for charger in self._charger_ids],
                energy_register_kwh=[MAX_KW * hours] * len(self._charger_ids),
            )
            batch.measure_time.FromDatetime(now)
            yield batch
            is_first = False
            await asyncio.sleep(BEAT_S)

    async def _obey(self) -> None:
        async for message in self._gateway.dispatch.Connect(self._requests()):
            at = time.monotonic()
            if not message.HasField("limits"):
                continue
            limits = message.limits
            names = [self._charger_ids[index] for index in limits.charger_index]
            found = dict(zip(names, limits.limit_power_kw, strict=True))
            self._limit_kw |= found
            await self._acks.put(dispatch.ConnectRequest(ack=dispatch.Ack(sequence=limits.sequence)))
            self._took(at, found)

    def _took(self, at: float, limits: dict[str, float]) -> None:
        """Say which limits came, and when by the machine's clock in seconds."""
        print(json.dumps({"at": at, "kw": limits}), flush=True)

    async def _requests(self) -> AsyncIterator[dispatch.ConnectRequest]:
        yield dispatch.ConnectRequest(hello=dispatch.Hello(charger_ids=self._charger_ids))
        while True:
            try:
                async with asyncio.timeout(BEAT_S):
                    request = await self._acks.get()
            except TimeoutError:
                request = dispatch.ConnectRequest(ping=dispatch.Ping())
            yield request


async def main(given: argparse.Namespace) -> None:
    """Run until killed.

    Raises:
        SystemExit: The gateway refuses or is gone.
    """
    token = given.token_file.read_text(encoding="utf-8").strip()
    clock = SystemClock() if given.clock is None else FileClock(given.clock)
    try:
        async with connect(given.address, token=token) as gateway:
            await Platform(gateway, given.chargers, clock, given.energy_kwh).run()
    except* grpc.aio.AioRpcError as group:
        raise SystemExit(f"the gateway is gone: {group.exceptions[0]}") from group


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("token_file", type=Path)
    parser.add_argument("chargers", nargs="+")
    parser.add_argument("--clock", type=Path)
    parser.add_argument("--energy-kwh", type=float, default=ENERGY_KWH)
    asyncio.run(main(parser.parse_args()))
