"""The programs of `scripts/bench ingest`, each a process of its own: the gateway's telemetry door, its floor, and a client.

`python -m scripts.ingest_programs gateway|floor FOLDER` prints its port, then answers each line on its input with one JSON line of its CPU seconds so far. `... client PORT STREAMS BATCH SECONDS BEGIN` reports for so long and prints how many readings were acknowledged.

The gateway's program is the real door (caller proven, permission, checks), the real tracker and the real store with a full sync at
each commit; market time runs with the readings, so that delivery periods close and are written while they come in. The floor is the
least that is as durable for what it takes: the same messages, columns to numpy, a thread that writes what has gathered in one
transaction, then the acknowledgements.
"""

from __future__ import annotations

import asyncio
import json
import queue
import sqlite3
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import grpc
import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp
from typing_extensions import override

from gateway.domain.errors import Unauthenticated
from gateway.domain.fleet import TelemetryBatch
from gateway.domain.identity import Principal, Role
from gateway.domain.settlement import MeteredPeriod
from gateway.domain.topology import Charger, ConnectionPoint, Node, NodeKind
from gateway.ports import Batch, LimitDesk, Put
from gateway.rpc.door import Context, Door
from gateway.rpc.fleet import FleetServicer
from gateway.services.track_fleet import FleetTracker
from gateway.storage.store import SqlStore
from gateway.v1 import fleet_service_pb2 as pb
from gateway.v1 import fleet_service_pb2_grpc as pb_grpc

STREAMS = 10
CHARGERS_PER_STREAM = 1_000
STEP_S = 10
"""Market seconds between two readings of a charger."""
WINDOW = 8
"""Batches that a client sends before it waits for the first to be acknowledged."""
START = datetime(2025, 10, 15, 8, 0, tzinfo=UTC)
SERVICE = pb.DESCRIPTOR.services_by_name["FleetService"].full_name
TENANT, CSMS, TOKEN = "bench", "csms-bench", "bench-token"
_ROWS_PER_BATCH = 2_000
_GROUP = 64
_LARGEST_MESSAGE_BYTES = 8 * 1024 * 1024
_OPTIONS = [("grpc.max_receive_message_length", _LARGEST_MESSAGE_BYTES), ("grpc.so_reuseport", 0)]


def charger_ids(stream: int) -> list[str]:
    """Return the chargers of one stream."""
    return [f"ev-{stream:02d}-{i:04d}" for i in range(CHARGERS_PER_STREAM)]


# ---------------------------------------------------------------- the gateway's door


class ReadingsClock:
    """Market time of the newest reading."""

    def __init__(self) -> None:
        self.at = START
        self._moved = asyncio.Event()

    def now(self) -> datetime:
        """Return the time of the newest reading."""
        return self.at

    def monotonic(self) -> float:
        """Return seconds since the begin."""
        return (self.at - START).total_seconds()

    async def sleep_until(self, when: datetime) -> None:
        """Return when the readings have come so far."""
        while self.at < when:
            self._moved.clear()
            await self._moved.wait()

    def move(self, at: datetime) -> None:
        """Go on to the instant of a reading."""
        if at > self.at:
            self.at = at
            self._moved.set()

    async def sleep(self, duration: timedelta) -> None:
        """Return when the readings have come so much further."""
        await self.sleep_until(self.at + duration)


class CountedIds:
    """Numbers in order."""

    def __init__(self) -> None:
        self._count = 0

    def new(self, prefix: str) -> str:
        """Return the next id."""
        self._count += 1
        return f"{prefix}-{self._count}"

    def uniform(self, low: float, high: float) -> float:
        """Return the middle."""
        return (low + high) / 2.0


class OneToken:
    """Proves the bench's platform by its token."""

    async def by_token(self, token: str) -> Principal:
        """Return the platform."""
        if token != TOKEN:
            raise Unauthenticated("wrong token")
        return Principal(tenant=TENANT, actor="bench", roles=frozenset({Role.CSMS}), csms=CSMS)

    async def by_certificate(self, uri: str) -> Principal:
        """Refuse: the bench has no certificates."""
        raise Unauthenticated(uri)


class TimedTracker(FleetTracker):
    """The tracker with market time moved along by what comes in."""

    def __init__(self, store: SqlStore, clock: ReadingsClock) -> None:
        super().__init__(store=store, clock=clock, ids=CountedIds(), tenants=[TENANT])
        self._market = clock
        self.reading_count = 0

    @override
    def take_telemetry(self, principal: Principal, batch: TelemetryBatch) -> None:
        """Move market time to a batch and take it in."""
        self._market.move(batch.measure_time)
        super().take_telemetry(principal, batch)
        self.reading_count += len(batch.charger_index)


async def serve_gateway(folder: str) -> None:
    """Serve the fleet service until the input ends."""
    clock = ReadingsClock()
    async with SqlStore.open(f"sqlite:///{Path(folder) / 'rows.sqlite'}", clock) as store:
        rows = list(_rows())
        for first in range(0, len(rows), _ROWS_PER_BATCH):
            part = rows[first : first + _ROWS_PER_BATCH]
            await store.apply(Batch(tenant=TENANT, puts=tuple(Put(record=row) for row in part)))
        tracker = TimedTracker(store, clock)
        await tracker.load()
        server = grpc.aio.server(interceptors=[Door(OneToken(), CountedIds())], options=_OPTIONS)
        pb_grpc.add_FleetServiceServicer_to_server(FleetServicer(store, tracker, cast("LimitDesk", None)), server)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(tracker.run())
            await _answer(server, lambda: tracker.reading_count)
            running.cancel()
        periods = await store.find(MeteredPeriod, TENANT, limit=1_000_000)
        _say({"rows": len(periods)})


def _rows() -> Iterator[object]:
    yield _node("vpp", None, NodeKind.PORTFOLIO)
    for stream in range(STREAMS):
        site, circuits = f"site-{stream:02d}", [f"site-{stream:02d}-c{c:02d}" for c in range(10)]
        yield _node(site, "vpp", NodeKind.SITE)
        yield ConnectionPoint(
            id=f"point-{stream:02d}",
            tenant=TENANT,
            site=site,
            bidding_zone="BE",
            time_zone="Europe/Brussels",
            dso="dso",
            brp="brp",
        )
        for circuit in circuits:
            yield _node(circuit, site, NodeKind.CIRCUIT)
        for i, charger_id in enumerate(charger_ids(stream)):
            yield _charger(charger_id, circuits[i % len(circuits)])


def _node(node_id: str, parent: str | None, kind: NodeKind) -> Node:
    return Node(
        id=node_id,
        tenant=TENANT,
        parent=parent,
        kind=kind,
        name=node_id,
        max_import_kw=1e6,
        fail_safe_import_kw=0.0,
    )


def _charger(charger_id: str, parent: str) -> Charger:
    return Charger(
        id=charger_id,
        tenant=TENANT,
        csms=CSMS,
        parent=parent,
        max_import_kw=11.0,
        min_import_kw=4.14,
        phases=3,
        fallback_kw=0.0,
    )


# ---------------------------------------------------------------- the floor


class Floor:
    """Columns to numpy, one row per batch, many batches per transaction, then the acknowledgements."""

    def __init__(self, file: Path) -> None:
        self._waiting: queue.SimpleQueue[tuple[bytes, int, asyncio.Queue[int]]] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self.reading_count = 0
        threading.Thread(target=self._write_for_ever, args=(file,), daemon=True).start()

    def _write_for_ever(self, file: Path) -> None:
        connection = sqlite3.connect(file, isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE batches (sequence INTEGER, body BLOB)")
        while True:
            group = [self._waiting.get()]
            while not self._waiting.empty() and len(group) < _GROUP:
                group.append(self._waiting.get())
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO batches VALUES (?, ?)", [(seq, body) for body, seq, _ in group])
            connection.execute("COMMIT")
            self._loop.call_soon_threadsafe(_tell, [(seq, acks) for _, seq, acks in group])

    async def take(self, request_iterator: AsyncIterator[pb.StreamTelemetryRequest], context: Context) -> None:
        """Take batches in and acknowledge each once it is on disk."""
        acks: asyncio.Queue[int] = asyncio.Queue()

        async def acknowledge() -> None:
            while True:
                await context.write(pb.StreamTelemetryResponse(acknowledged_sequence=await acks.get()))

        async with asyncio.TaskGroup() as tasks:
            writing = tasks.create_task(acknowledge())
            async for request in request_iterator:
                columns = (
                    np.asarray(request.charger_index, dtype=np.int32),
                    np.asarray(request.power_kw, dtype=np.float64),
                    np.asarray(request.energy_register_kwh, dtype=np.float64),
                )
                self.reading_count += len(columns[0])
                self._waiting.put((b"".join(column.tobytes() for column in columns), request.sequence, acks))
            writing.cancel()


def _tell(done: Sequence[tuple[int, asyncio.Queue[int]]]) -> None:
    for sequence, acks in done:
        acks.put_nowait(sequence)


async def serve_floor(folder: str) -> None:
    """Serve the floor until the input ends."""
    server = grpc.aio.server(options=_OPTIONS)
    floor = Floor(Path(folder) / "floor.sqlite")
    handler = grpc.stream_stream_rpc_method_handler(
        floor.take,
        request_deserializer=pb.StreamTelemetryRequest.FromString,
        response_serializer=pb.StreamTelemetryResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, {"StreamTelemetry": handler})])
    await _answer(server, lambda: floor.reading_count)
    with closing(sqlite3.connect(Path(folder) / "floor.sqlite")) as connection:
        [count] = connection.execute("SELECT COUNT(*) FROM batches").fetchone()
    _say({"rows": count})


async def _answer(server: grpc.aio.Server, readings: Callable[[], int]) -> None:
    """Start listening, print the port, and answer each line of the input with CPU seconds and readings so far."""
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    _say({"port": port})
    while await asyncio.to_thread(sys.stdin.readline):
        _say({"cpu_s": time.process_time(), "readings": readings()})
    await server.stop(0.0)


def _say(message: dict[str, object]) -> None:
    sys.stdout.write(f"{json.dumps(message)}\n")
    sys.stdout.flush()


# ---------------------------------------------------------------- the client


async def report(port: int, streams: Sequence[int], batch: int, seconds: float) -> None:
    """Report readings of some streams' chargers for so long, and print how late the acknowledgements were."""
    _say({"starts": True})
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(_report_one(port, stream, batch, seconds)) for stream in streams]
    late = sorted(one for task in running for one in task.result())
    _say(
        {
            "p50_ms": 1e3 * late[len(late) // 2],
            "p99_ms": 1e3 * late[int(len(late) * 0.99)],
        }
    )


async def _report_one(port: int, stream: int, batch: int, seconds: float) -> list[float]:
    """Report the readings of one stream and return the seconds that each acknowledgement took."""
    sent: dict[int, float] = {}
    late: list[float] = []
    window = asyncio.Semaphore(WINDOW)
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        stub: Any = pb_grpc.FleetServiceStub(channel)
        call = stub.StreamTelemetry(metadata=[("authorization", f"Bearer {TOKEN}")])

        async def read() -> None:
            done = 0
            while (answer := await call.read()) is not grpc.aio.EOF:
                while done < answer.acknowledged_sequence:
                    done += 1
                    late.append(time.perf_counter() - sent.pop(done))
                    window.release()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(read())
            ends = time.perf_counter() + seconds
            for message in _messages(stream, batch):
                await window.acquire()
                if time.perf_counter() > ends:
                    break
                sent[message.sequence] = time.perf_counter()
                await call.write(message)
            await call.done_writing()
    return late


def _messages(stream: int, batch: int) -> Iterator[pb.StreamTelemetryRequest]:
    """Yield batches without end: every charger in turn, then the next instant; the site's meter with the first."""
    generator = np.random.default_rng(stream)
    parts = [list(range(first, first + batch)) for first in range(0, CHARGERS_PER_STREAM, batch)]
    power = [generator.uniform(4.2, 11.0, batch).tolist() for _ in parts]
    rates = [np.array(one) * STEP_S / 3600.0 for one in power]
    registers = [generator.uniform(0.0, 1e4, batch) for _ in parts]
    sequence, at = 0, START
    while True:
        for part, index in enumerate(parts):
            sequence += 1
            registers[part] = registers[part] + rates[part]
            message = pb.StreamTelemetryRequest(
                sequence=sequence,
                measure_time=_stamp(at),
                charger_index=index,
                power_kw=power[part],
                energy_register_kwh=registers[part].tolist(),
            )
            if sequence == 1:
                message.charger_ids.extend(charger_ids(stream))
                message.connection_point_ids.append(f"point-{stream:02d}")
            if part == 0:
                message.meter_register_kwh.append(5.0 + sequence)
            yield message
        at += timedelta(seconds=STEP_S)


def _stamp(at: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(at)
    return stamp


def main(arguments: Sequence[str]) -> None:
    """Run one program."""
    role, *rest = arguments
    if role == "gateway":
        asyncio.run(serve_gateway(rest[0]))
    elif role == "floor":
        asyncio.run(serve_floor(rest[0]))
    else:
        port, streams, batch, seconds = rest
        asyncio.run(report(int(port), [int(one) for one in streams.split(",")], int(batch), float(seconds)))


if __name__ == "__main__":
    main(sys.argv[1:])
