"""The dispatch stream as a charging platform sees it: limits come down, acknowledgements and outcomes go up.

The resume token of the last applied message survives a break of the stream, not the end of this program: then the gateway sends
everything anew, which is harmless because limits are absolute.
"""

import asyncio
import heapq
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import grpc
import numpy as np

from gateway.sandbox.clock import SandboxClock
from gateway.sandbox.fleet_retry import Backoff
from gateway.sandbox.fleet_simulation import FleetSimulation
from gateway.sandbox.fleet_statistics import Ints
from gateway.sandbox.fleet_wire import instant_s, metadata_of
from gateway.v1 import dispatch_service_pb2 as dispatch_pb
from gateway.v1 import dispatch_service_pb2_grpc as dispatch_grpc

_FIRST_HEARTBEAT_S = 5.0
_PINGS_PER_HEARTBEAT = 3.0
_LOG = logging.getLogger(__name__)


@dataclass(order=True, slots=True)
class _Applying:
    """Chargers that will have a command at an instant."""

    at_s: float
    sequence: int
    index: Ints = field(compare=False)


class DispatchLink:
    """Keeps the dispatch stream open for ever.

    Args:
        channel: To the gateway.
        token: Bearer token.
        simulation: Takes the commands.
        clock: Market time.
        backoff: Between tries.
        on_welcome: Called each time the gateway has accepted the stream.

    Attributes:
        last_sequence: Sequence of the newest Limits message; 0 before the first.
        resume_token: Of the newest Limits message.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        token: str,
        simulation: FleetSimulation,
        clock: SandboxClock,
        backoff: Backoff,
        *,
        on_welcome: Callable[[], None],
    ) -> None:
        self.last_sequence = 0
        self.resume_token = ""
        self._stub = dispatch_grpc.DispatchServiceStub(channel)
        self._metadata = metadata_of(token)
        self._simulation = simulation
        self._clock = clock
        self._backoff = backoff
        self._on_welcome = on_welcome
        self._charger_ids = [charger.id for charger in simulation.chargers]
        self._heartbeat_s = _FIRST_HEARTBEAT_S
        self._outgoing: asyncio.Queue[dispatch_pb.ConnectRequest] = asyncio.Queue()
        self._applying: list[_Applying] = []
        self._has_applying = asyncio.Event()
        self._connected = asyncio.Event()

    @property
    def is_connected(self) -> bool:
        """Whether the gateway has accepted the stream that is open now."""
        return self._connected.is_set()

    async def run(self) -> None:
        """Connect, converse and connect again after every break; ends only by cancellation."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._report_outcomes())
            while True:
                error: grpc.aio.AioRpcError | None = None
                try:
                    await self._converse()
                except grpc.aio.AioRpcError as broken:
                    error = broken
                    if broken.code() is grpc.StatusCode.OUT_OF_RANGE:
                        self.resume_token = ""
                finally:
                    self._connected.clear()
                await self._backoff.wait(error)

    async def _converse(self) -> None:
        self._outgoing = asyncio.Queue()
        call = self._stub.Connect(self._requests(self._outgoing), metadata=self._metadata)
        async for response in call:
            match response.WhichOneof("payload"):
                case "welcome":
                    self._take_welcome(response.welcome)
                case "limits":
                    self._take_limits(response.limits)
                case _:
                    pass

    async def _requests(
        self, outgoing: asyncio.Queue[dispatch_pb.ConnectRequest]
    ) -> AsyncIterator[dispatch_pb.ConnectRequest]:
        hello = dispatch_pb.Hello(charger_ids=self._charger_ids, resume_token=self.resume_token)
        yield dispatch_pb.ConnectRequest(hello=hello)
        while True:
            try:
                async with asyncio.timeout(self._heartbeat_s / _PINGS_PER_HEARTBEAT):
                    message = await outgoing.get()
            except TimeoutError:
                message = dispatch_pb.ConnectRequest(ping=dispatch_pb.Ping())
            yield message

    def _take_welcome(self, welcome: dispatch_pb.Welcome) -> None:
        self._connected.set()
        self._backoff.reset()
        if welcome.heartbeat_seconds > 0.0:
            self._heartbeat_s = welcome.heartbeat_seconds
        _LOG.info(
            "connected, resumed at sequence %d, leases of %.0f s", welcome.resumed_sequence, welcome.lease_seconds
        )
        self._on_welcome()

    def _take_limits(self, limits: dispatch_pb.Limits) -> None:
        """Install fallbacks and limits, then acknowledge; a message that makes no sense is neither."""
        if not _is_sound(limits, len(self._charger_ids)):
            _LOG.error("limits %d ignored: columns of different lengths or values out of range", limits.sequence)
            return
        index = np.asarray(limits.charger_index, dtype=np.int64)
        received = self._simulation.receive(
            index,
            np.asarray(limits.limit_power_kw, dtype=np.float64),
            np.asarray(limits.fallback_power_kw, dtype=np.float64),
            sequence=limits.sequence,
            lease_until_s=instant_s(limits.lease_expire_time),
            now_s=self._clock.now().timestamp(),
        )
        self.last_sequence = max(self.last_sequence, limits.sequence)
        self.resume_token = limits.resume_token
        rejected = index[~received.accepted].tolist()
        ack = dispatch_pb.Ack(
            sequence=limits.sequence,
            rejected_index=rejected,
            reject_reasons=["the charger refuses charging profiles"] * len(rejected),
        )
        self._outgoing.put_nowait(dispatch_pb.ConnectRequest(ack=ack))
        for at_s, applied in received.groups:
            heapq.heappush(self._applying, _Applying(at_s, limits.sequence, applied))
        self._has_applying.set()

    async def _report_outcomes(self) -> None:
        """Say APPLIED once chargers have a command, unless a newer one has overtaken it; while disconnected it waits."""
        while True:
            if not self._applying:
                self._has_applying.clear()
                await self._has_applying.wait()
            await self._clock.sleep_until(datetime.fromtimestamp(self._applying[0].at_s, UTC))
            await self._connected.wait()
            due = heapq.heappop(self._applying)
            index = due.index[self._simulation.bank.sequence[due.index] == due.sequence]
            if index.size:
                outcome = dispatch_pb.Outcome(
                    sequence=due.sequence,
                    charger_index=index.tolist(),
                    states=[dispatch_pb.DISPATCH_STATE_APPLIED] * int(index.size),
                )
                self._outgoing.put_nowait(dispatch_pb.ConnectRequest(outcome=outcome))


def _is_sound(limits: dispatch_pb.Limits, charger_count: int) -> bool:
    """Tell whether the columns of a message fit together and hold possible values."""
    index = np.asarray(limits.charger_index, dtype=np.int64)
    powers = np.array([limits.limit_power_kw, limits.fallback_power_kw] if _fits(limits) else [[np.nan]])
    in_range = not index.size or (int(index.min()) >= 0 and int(index.max()) < charger_count)
    return in_range and bool(np.isfinite(powers).all() and (powers >= 0.0).all())


def _fits(limits: dispatch_pb.Limits) -> bool:
    return len(limits.charger_index) == len(limits.limit_power_kw) == len(limits.fallback_power_kw)
