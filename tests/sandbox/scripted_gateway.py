"""A gateway for tests of its clients: a real gRPC server on loopback that records what it is told and says what it is told to say.

It can be stopped and started again on the same port, refuse calls, break streams, and send limits.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from types import TracebackType
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.v1 import dispatch_service_pb2 as dispatch_pb
from gateway.v1 import dispatch_service_pb2_grpc as dispatch_grpc
from gateway.v1 import fleet_service_pb2 as fleet_pb
from gateway.v1 import fleet_service_pb2_grpc as fleet_grpc

PATIENCE_SECONDS = 15.0


class ScriptedGateway:
    """What a client told the gateway, and what the gateway shall do.

    Attributes:
        sessions: Newest report of each session.
        history: Reports of the past.
        reports: All ReportSessions requests, refused ones included.
        meter_history: Accepted past of each connection point's meter.
        meter_reports: All ReportMeterHistory requests, refused ones included.
        batches: Telemetry, in order of arrival.
        hellos: First messages of all dispatch streams.
        acks: Acknowledgements.
        outcomes: Outcomes.
        pings: Signs of life.
        tokens: `authorization` metadata of all calls.
        calls: How often each rpc was called.
        acknowledges_telemetry: Whether batches are acknowledged.
        refused_batches: Sequences of batches whose content is refused.
        may_answer_reports: While it is not set, session reports wait for their answer.
    """

    def __init__(self, *, heartbeat_seconds: float = 5.0) -> None:
        self.sessions: dict[str, fleet_pb.Session] = {}
        self.history: dict[str, fleet_pb.Session] = {}
        self.reports: list[fleet_pb.ReportSessionsRequest] = []
        self.meter_history: dict[str, fleet_pb.ReportMeterHistoryRequest] = {}
        self.meter_reports: list[fleet_pb.ReportMeterHistoryRequest] = []
        self.batches: list[fleet_pb.StreamTelemetryRequest] = []
        self.hellos: list[dispatch_pb.Hello] = []
        self.acks: list[dispatch_pb.Ack] = []
        self.outcomes: list[dispatch_pb.Outcome] = []
        self.pings = 0
        self.tokens: set[str] = set()
        self.calls: Counter[str] = Counter()
        self.port = 0
        self.acknowledges_telemetry = True
        self.refused_batches: set[int] = set()
        self.may_answer_reports = asyncio.Event()
        self.may_answer_reports.set()
        self.heartbeat_seconds = heartbeat_seconds
        self._sequence = 0
        self._refusals: dict[str, list[grpc.StatusCode]] = {}
        self._mailboxes: list[asyncio.Queue[dispatch_pb.ConnectResponse | grpc.StatusCode]] = []
        self._changed = asyncio.Condition()
        self._server: grpc.aio.Server | None = None

    async def __aenter__(self) -> "ScriptedGateway":
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen; after a stop on the same port as before."""
        server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        fleet_grpc.add_FleetServiceServicer_to_server(_Fleet(self), server)
        dispatch_grpc.add_DispatchServiceServicer_to_server(_Dispatch(self), server)
        self.port = server.add_insecure_port(f"127.0.0.1:{self.port}")
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """End all streams at once and stop listening."""
        if self._server is not None:
            await self._server.stop(grace=None)
            self._server = None
        self._mailboxes.clear()

    def refuse(self, rpc: str, *codes: grpc.StatusCode) -> None:
        """Answer the next calls of an rpc with these codes."""
        self._refusals.setdefault(rpc, []).extend(codes)

    def send_limits(
        self, index: Sequence[int], limit_kw: Sequence[float], fallback_kw: Sequence[float], *, lease_until_s: float
    ) -> int:
        """Send limits to the open dispatch streams and return their sequence."""
        self._sequence += 1
        limits = dispatch_pb.Limits(
            dispatch_id=f"dsp-{self._sequence}",
            sequence=self._sequence,
            resume_token=f"token-{self._sequence}",
            charger_index=index,
            limit_power_kw=limit_kw,
            fallback_power_kw=fallback_kw,
            lease_expire_time=Timestamp(seconds=int(lease_until_s)),
            cause="test:1",
        )
        for mailbox in self._mailboxes:
            mailbox.put_nowait(dispatch_pb.ConnectResponse(limits=limits))
        return self._sequence

    def break_dispatch(self, code: grpc.StatusCode) -> None:
        """End the open dispatch streams with a code."""
        for mailbox in self._mailboxes:
            mailbox.put_nowait(code)

    async def until(self, condition: Callable[[], object]) -> None:
        """Return once the condition holds; it is looked at after every message."""
        async with asyncio.timeout(PATIENCE_SECONDS), self._changed:
            await self._changed.wait_for(lambda: bool(condition()))

    async def note(self, rpc: str, context: Any) -> None:
        """Record a call, and refuse it if the script says so."""
        self.calls[rpc] += 1
        self.tokens.add(dict(context.invocation_metadata()).get("authorization", ""))
        await self.changed()
        refusals = self._refusals.get(rpc)
        if refusals:
            await context.abort(refusals.pop(0), "as the script says")

    async def changed(self) -> None:
        """Wake who waits."""
        async with self._changed:
            self._changed.notify_all()

    async def converse(self, requests: AsyncIterator[dispatch_pb.ConnectRequest], context: Any) -> None:
        """Serve one dispatch stream."""
        mailbox: asyncio.Queue[dispatch_pb.ConnectResponse | grpc.StatusCode] = asyncio.Queue()
        self._mailboxes.append(mailbox)
        async with asyncio.TaskGroup() as tasks:
            listening = tasks.create_task(self._listen(requests, mailbox))
            while isinstance(message := await mailbox.get(), dispatch_pb.ConnectResponse):
                await context.write(message)
            listening.cancel()
        self._mailboxes.remove(mailbox)
        await context.abort(message, "as the script says")

    async def _listen(
        self,
        requests: AsyncIterator[dispatch_pb.ConnectRequest],
        mailbox: "asyncio.Queue[dispatch_pb.ConnectResponse | grpc.StatusCode]",
    ) -> None:
        async for request in requests:
            match request.WhichOneof("payload"):
                case "hello":
                    self.hellos.append(request.hello)
                    welcome = dispatch_pb.Welcome(
                        lease_seconds=900.0,
                        heartbeat_seconds=self.heartbeat_seconds,
                        resumed_sequence=self._sequence,
                    )
                    mailbox.put_nowait(dispatch_pb.ConnectResponse(welcome=welcome))
                case "ack":
                    self.acks.append(request.ack)
                case "outcome":
                    self.outcomes.append(request.outcome)
                case _:
                    self.pings += 1
                    mailbox.put_nowait(dispatch_pb.ConnectResponse(pong=dispatch_pb.Pong()))
            await self.changed()


class _Fleet(fleet_grpc.FleetServiceServicer):
    def __init__(self, script: ScriptedGateway) -> None:
        self._script = script

    async def ReportSessions(  # noqa: N802
        self, request: fleet_pb.ReportSessionsRequest, context: Any
    ) -> fleet_pb.ReportSessionsResponse:
        self._script.reports.append(request)
        await self._script.note("ReportSessions", context)
        await self._script.may_answer_reports.wait()
        kept = self._script.history if request.is_history else self._script.sessions
        kept.update({session.id: session for session in request.sessions})
        await self._script.changed()
        return fleet_pb.ReportSessionsResponse(accepted_count=len(request.sessions))

    async def ReportMeterHistory(  # noqa: N802
        self, request: fleet_pb.ReportMeterHistoryRequest, context: Any
    ) -> fleet_pb.ReportMeterHistoryResponse:
        self._script.meter_reports.append(request)
        await self._script.note("ReportMeterHistory", context)
        is_new = request.connection_point_id not in self._script.meter_history
        self._script.meter_history[request.connection_point_id] = request
        await self._script.changed()
        return fleet_pb.ReportMeterHistoryResponse(accepted_count=len(request.energy_kwh) if is_new else 0)

    async def StreamTelemetry(  # noqa: N802
        self, request_iterator: AsyncIterator[fleet_pb.StreamTelemetryRequest], context: Any
    ) -> AsyncIterator[fleet_pb.StreamTelemetryResponse]:
        await self._script.note("StreamTelemetry", context)
        async for request in request_iterator:
            if request.sequence in self._script.refused_batches:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "as the script says")
            self._script.batches.append(request)
            await self._script.changed()
            if self._script.acknowledges_telemetry:
                yield fleet_pb.StreamTelemetryResponse(acknowledged_sequence=request.sequence)

    async def ListNodes(self, request: Any, context: Any) -> Any:  # noqa: N802
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "no client of these tests lists")

    ListChargers = ListNodes
    ListConnectionPoints = ListNodes
    ListChargerStates = ListNodes
    ReportChargerLimits = ListNodes


class _Dispatch(dispatch_grpc.DispatchServiceServicer):
    def __init__(self, script: ScriptedGateway) -> None:
        self._script = script

    async def Connect(  # type: ignore[override]  # noqa: N802  # grpc.aio takes a coroutine that writes, too
        self, request_iterator: AsyncIterator[dispatch_pb.ConnectRequest], context: Any
    ) -> None:
        await self._script.note("Connect", context)
        await self._script.converse(request_iterator, context)

    async def ListDispatchStates(self, request: Any, context: Any) -> Any:  # noqa: N802
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "no client of these tests lists")
