"""Charging platforms of the bench: open streams, apply every limit to an array, acknowledge; or send measurements at a rate.

Whoever is refused comes back after the pause that the gateway told, or after a random one; it never gives up before its time is over.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections.abc import Coroutine

import grpc
import numpy as np
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from gateway.v1 import dispatch_service_pb2 as pb
from gateway.v1 import dispatch_service_pb2_grpc, fleet_service_pb2, fleet_service_pb2_grpc
from scripts.dispatch_bench.talk import orders, say

RETRYABLE = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.INTERNAL,
)
GIVES_UP_S = 60.0
PING_S = 4.0
LIMIT_BYTES = 8 * 1024 * 1024
READINGS_PER_MESSAGE = 1_000


def chargers_of(platform: int, per_platform: int) -> list[str]:
    """Return the chargers of a platform."""
    return [f"ch-{platform}-{k}" for k in range(per_platform)]


def channel_to(port: int) -> grpc.aio.Channel:
    """Return a connection of its own."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", LIMIT_BYTES)]
    return grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options)


def metadata_of(platform: int) -> tuple[tuple[str, str], ...]:
    """Return who a platform is."""
    return (("authorization", f"Bearer token-{platform}"),)


class PlatformStream:
    """One platform's dispatch stream."""

    def __init__(self, channel: grpc.aio.Channel, platform: int, per_platform: int) -> None:
        self._stub = dispatch_service_pb2_grpc.DispatchServiceStub(channel)
        self._platform = platform
        self._names = chargers_of(platform, per_platform)
        self._limit_kw = np.zeros(per_platform)
        self._turn = asyncio.Lock()
        self.refusals = 0

    async def open(self) -> bool:
        """Connect, again and again for a while; return whether a welcome came."""
        end = time.monotonic() + GIVES_UP_S
        while time.monotonic() < end:
            try:
                self._call = self._stub.Connect(metadata=metadata_of(self._platform))
                await self._call.write(pb.ConnectRequest(hello=pb.Hello(charger_ids=self._names)))
                answer = await self._call.read()
                if answer is not grpc.aio.EOF:
                    return True
                await self._call.code()
            except grpc.aio.AioRpcError as error:
                if error.code() not in RETRYABLE:
                    raise
                self.refusals += 1
                await asyncio.sleep(pause_of(error))
        return False

    async def serve(self) -> None:
        """Apply and acknowledge limits until the stream ends."""
        while (answer := await self._call.read()) is not grpc.aio.EOF:
            if isinstance(answer, pb.ConnectResponse) and answer.WhichOneof("payload") == "limits":
                limits = answer.limits
                self._limit_kw[np.array(limits.charger_index)] = np.array(limits.limit_power_kw)
                await self._say(pb.ConnectRequest(ack=pb.Ack(sequence=limits.sequence)))

    async def ping(self, every_s: float) -> None:
        """Show signs of life."""
        while True:
            await asyncio.sleep(every_s)
            await self._say(pb.ConnectRequest(ping=pb.Ping()))

    async def _say(self, request: pb.ConnectRequest) -> None:
        # A call takes one message at a time: a second write meanwhile would end the stream.
        async with self._turn:
            await self._call.write(request)

    def drop(self) -> None:
        """Lose the stream."""
        self._call.cancel()


def pause_of(error: grpc.aio.AioRpcError) -> float:
    """Return the pause that a refusal asks for, or a random one."""
    status = rpc_status.from_call(error)
    for detail in () if status is None else status.details:
        told = error_details_pb2.RetryInfo()
        if detail.Unpack(told):
            return float(told.retry_delay.ToTimedelta().total_seconds())
    return random.uniform(0.0, 1.0)  # noqa: S311  # jitter


async def dispatch(port: int, streams: int, per_platform: int) -> None:
    """Serve so many platforms until the parent goes away."""
    platforms = [PlatformStream(channel_to(port), k, per_platform) for k in range(streams)]
    came = await asyncio.gather(*(platform.open() for platform in platforms))
    say(connected=sum(came))
    await _until_told(*(work for platform in platforms for work in (platform.serve(), platform.ping(PING_S))))


async def storm(port: int, streams: int, per_channel: int) -> None:
    """Open all streams at once, lose them all, and open them all again; tell how long each took."""
    channels = [channel_to(port) for _ in range(streams // per_channel)]
    platforms = [PlatformStream(channels[k // per_channel], k, 1) for k in range(streams)]
    for _ in range(2):
        started = time.monotonic()
        came = await asyncio.gather(*(platform.open() for platform in platforms))
        seconds = time.monotonic() - started
        say(connected=sum(came), seconds=seconds, refusals=sum(platform.refusals for platform in platforms))
        async for _ in orders():
            break
        for platform in platforms:
            platform.drop()
            platform.refusals = 0


async def measure(port: int, streams: int, per_platform: int, per_second: float) -> None:
    """Send measurements at a rate until the parent goes away; what is late is sent late, and the plan goes on."""
    say(started=streams)
    await _until_told(*(_measure_one(port, k, streams, per_platform, per_second) for k in range(streams)))


async def _until_told(*work: Coroutine[None, None, None]) -> None:
    """Do all of this until the parent goes away."""
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(each) for each in work]
        async for _ in orders():
            pass
        for task in running:
            task.cancel()


async def _measure_one(port: int, platform: int, streams: int, per_platform: int, per_second: float) -> None:
    call = fleet_service_pb2_grpc.FleetServiceStub(channel_to(port)).StreamTelemetry(metadata=metadata_of(platform))
    size = min(per_platform, READINGS_PER_MESSAGE)
    gap = size / (per_second / streams)
    due, sequence, at = time.monotonic() + gap * platform / streams, 0, 0
    register = np.zeros(per_platform)
    while True:
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        due += gap
        sequence += 1
        index = np.arange(at, at + size) % per_platform
        at = (at + size) % per_platform
        register[index] += 0.001
        request = fleet_service_pb2.StreamTelemetryRequest(
            charger_ids=chargers_of(platform, per_platform) if sequence == 1 else (),
            sequence=sequence,
            charger_index=index.tolist(),
            power_kw=np.full(size, 4.2).tolist(),
            energy_register_kwh=register[index].tolist(),
        )
        request.measure_time.GetCurrentTime()
        await call.write(request)
        await call.read()


async def main() -> None:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["dispatch", "storm", "measure"])
    parser.add_argument("port", type=int)
    parser.add_argument("streams", type=int)
    parser.add_argument("per_platform", type=int)
    parser.add_argument("--per-second", type=float, default=0.0)
    options = parser.parse_args()
    match options.kind:
        case "dispatch":
            await dispatch(options.port, options.streams, options.per_platform)
        case "storm":
            await storm(options.port, options.streams, 10)
        case _:
            await measure(options.port, options.streams, options.per_platform, options.per_second)


if __name__ == "__main__":
    asyncio.run(main())
