"""A bare fan-out of the same bytes: numbers from numpy, one SQLite commit with full sync, one message per stream, acks counted.

No limits, tree, leases, audit or authentication: what gRPC, the disk and the wire cost on this machine at this moment.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TypeAlias

import grpc
import numpy as np

from gateway.v1 import dispatch_service_pb2 as pb
from gateway.v1 import fleet_service_pb2
from scripts.dispatch_bench.talk import Acks, Lag, orders, say

Context: TypeAlias = "grpc.aio.ServicerContext[object, object]"
LIMIT_BYTES = 8 * 1024 * 1024


class Outbox:
    """What is sent, on disk before it is sent."""

    def __init__(self, file: Path) -> None:
        self._rows = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        for order in (
            "pragma journal_mode=wal",
            "pragma synchronous=full",
            "create table outbox(id int, csms int, body blob)",
        ):
            self._rows.execute(order)

    def commit(self, number: int, bodies: list[bytes]) -> None:
        """Write the messages of one event."""
        self._rows.execute("begin immediate")
        self._rows.executemany("insert into outbox values(?,?,?)", [(number, k, body) for k, body in enumerate(bodies)])
        self._rows.execute("commit")


class Floor:
    """The two streams of the gateway, bare."""

    def __init__(self, outbox: Outbox) -> None:
        self.streams: dict[int, tuple[int, asyncio.Queue[pb.ConnectResponse]]] = {}
        self.acks: Acks | None = None
        self.readings = 0
        self._outbox = outbox
        self._count = 0
        self._number = 0

    async def connect(self, request_iterator: AsyncIterator[pb.ConnectRequest], context: Context) -> None:
        """Serve the stream of one platform."""
        hello = (await anext(request_iterator)).hello
        size, mailbox = len(hello.charger_ids), asyncio.Queue[pb.ConnectResponse]()
        self._count += 1
        key = self._count
        self.streams[key] = (size, mailbox)
        await context.write(pb.ConnectResponse(welcome=pb.Welcome(lease_seconds=120.0, heartbeat_seconds=60.0)))
        try:
            async with asyncio.TaskGroup() as tasks:
                sending = tasks.create_task(self._send(context, mailbox))
                async for request in request_iterator:
                    if request.WhichOneof("payload") == "ack" and self.acks is not None:
                        self.acks.take(size)
                sending.cancel()
        finally:
            del self.streams[key]

    async def _send(self, context: Context, mailbox: asyncio.Queue[pb.ConnectResponse]) -> None:
        while True:
            await context.write(await mailbox.get())

    async def take_telemetry(
        self, request_iterator: AsyncIterator[fleet_service_pb2.StreamTelemetryRequest], context: Context
    ) -> AsyncIterator[fleet_service_pb2.StreamTelemetryResponse]:
        """Read measurements into arrays and acknowledge them."""
        del context
        async for request in request_iterator:
            columns = (
                np.array(request.charger_index),
                np.array(request.power_kw),
                np.array(request.energy_register_kwh),
            )
            self.readings += len(columns[0])
            yield fleet_service_pb2.StreamTelemetryResponse(acknowledged_sequence=request.sequence)

    async def fire(self, due: float) -> dict[str, float]:
        """Send a limit to every charger and return when all were acknowledged."""
        self._number += 1
        total = sum(size for size, _ in self.streams.values())
        self.acks = Acks(due, total)
        limits = np.minimum(11.0, np.random.default_rng(self._number).random(total) * 22.0).round(2)
        fallback, at, messages = np.full(total, 1.4), 0, []
        for size, mailbox in self.streams.values():
            part = pb.Limits(
                dispatch_id=f"dispatch-{self._number}",
                sequence=self._number,
                charger_index=range(size),
                limit_power_kw=limits[at : at + size].tolist(),
                fallback_power_kw=fallback[at : at + size].tolist(),
                cause="limit:bench",
            )
            messages.append((mailbox, pb.ConnectResponse(limits=part)))
            at += size
        bodies = [message.SerializeToString() for _, message in messages]
        await asyncio.get_running_loop().run_in_executor(None, self._outbox.commit, self._number, bodies)
        for mailbox, message in messages:
            mailbox.put_nowait(message)
        async with asyncio.timeout(60.0):
            await self.acks.done.wait()
        return self.acks.facts()


def handlers_of(floor: Floor) -> list[grpc.GenericRpcHandler]:
    """Return the two methods under the names that the gateway has."""
    connect = grpc.stream_stream_rpc_method_handler(
        floor.connect, pb.ConnectRequest.FromString, pb.ConnectResponse.SerializeToString
    )
    telemetry = grpc.stream_stream_rpc_method_handler(
        floor.take_telemetry,
        fleet_service_pb2.StreamTelemetryRequest.FromString,
        fleet_service_pb2.StreamTelemetryResponse.SerializeToString,
    )
    return [
        grpc.method_handlers_generic_handler("gateway.v1.DispatchService", {"Connect": connect}),
        grpc.method_handlers_generic_handler("gateway.v1.FleetService", {"StreamTelemetry": telemetry}),
    ]


async def main() -> None:
    """Serve and fire when told to."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory(prefix="dispatch-floor-") as folder:
        floor, lag = Floor(Outbox(Path(folder) / "outbox.sqlite")), Lag()
        server = grpc.aio.server(options=[("grpc.max_receive_message_length", LIMIT_BYTES)])
        server.add_generic_rpc_handlers(handlers_of(floor))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(lag.watch())
            say(port=port)
            async for order in orders():
                lag.take()
                due = time.perf_counter() + order["in_s"]
                await asyncio.sleep(order["in_s"])
                say(**await floor.fire(due), **lag.take(), readings=floor.readings)
            watching.cancel()
        await server.stop(0.1)


if __name__ == "__main__":
    asyncio.run(main())
