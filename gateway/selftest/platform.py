"""A charging platform for the self-test: measures every charger, takes limits and never says what became of them."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import grpc

from gateway.client import Gateway
from gateway.clock import FileClock
from gateway.domain.errors import PeerUnavailable
from gateway.v1 import dispatch_service_pb2 as dispatch
from gateway.v1 import fleet_service_pb2 as fleet

POWER_KW = 7.0
"""What every charger draws, all the time."""
BEAT_S = 0.5
"""Real seconds between measurements and between signs of life."""
_AGAIN_S = 1.0
_PASSING = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN})
"""What a break looks like; anything else is a refusal."""
_SECONDS_PER_HOUR = 3600.0


class MutePlatform:
    """Streams measurements and opens the dispatch stream without ever acknowledging.

    Args:
        gateway: Stubs with the platform's token.
        clock: Market time.
        charger_ids: Chargers that are measured; a charger left out stays unknown.
        all_ids: Every charger of the platform.
    """

    def __init__(self, gateway: Gateway, clock: FileClock, charger_ids: Sequence[str], all_ids: Sequence[str]) -> None:
        self._gateway = gateway
        self._clock = clock
        self._charger_ids = list(charger_ids)
        self._all_ids = list(all_ids)
        self._start = clock.now()

    async def run(self) -> None:
        """Go on until cancelled; streams are opened again after a break.

        Raises:
            PeerUnavailable: The gateway refuses a stream.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._again_and_again(self._measure))
            tasks.create_task(self._again_and_again(self._listen))

    async def _again_and_again(self, stream: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await stream()
            except grpc.aio.AioRpcError as error:
                if error.code() not in _PASSING:
                    raise PeerUnavailable(f"the gateway refuses the charging platform: {error.details()}") from error
                await asyncio.sleep(_AGAIN_S)

    async def _measure(self) -> None:
        async for _ in self._gateway.fleet.StreamTelemetry(self._batches()):
            continue

    async def _listen(self) -> None:
        async for _ in self._gateway.dispatch.Connect(self._signs_of_life()):
            continue

    async def _batches(self) -> AsyncIterator[fleet.StreamTelemetryRequest]:
        is_first = True
        while True:
            now = self._clock.now()
            hours = (now - self._start).total_seconds() / _SECONDS_PER_HOUR
            batch = fleet.StreamTelemetryRequest(
                charger_ids=self._charger_ids if is_first else [],
                sequence=math.floor(now.timestamp()),
                power_kw=[POWER_KW] * len(self._charger_ids),
                energy_register_kwh=[POWER_KW * hours] * len(self._charger_ids),
            )
            batch.measure_time.FromDatetime(now)
            yield batch
            is_first = False
            await asyncio.sleep(BEAT_S)

    async def _signs_of_life(self) -> AsyncIterator[dispatch.ConnectRequest]:
        yield dispatch.ConnectRequest(hello=dispatch.Hello(charger_ids=self._all_ids))
        while True:
            await asyncio.sleep(BEAT_S)
            yield dispatch.ConnectRequest(ping=dispatch.Ping())
