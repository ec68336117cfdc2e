"""What the platform reports up: sessions when cars come and go, measurements every few minutes, and at first its history.

Nothing that the gateway has not acknowledged is forgotten: reports wait while it is away, the newest of each session, and of the
measurements at least those at the borders of delivery periods.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Sequence

import grpc
import numpy as np

from gateway.sandbox.fleet_bank import EndedSessions
from gateway.sandbox.fleet_past import model_past_meters
from gateway.sandbox.fleet_retry import Backoff
from gateway.sandbox.fleet_simulation import FleetSimulation, Reading
from gateway.sandbox.fleet_statistics import Ints
from gateway.sandbox.fleet_wire import (
    metadata_of,
    meter_history_request,
    report_request,
    session_messages,
    telemetry_request,
)
from gateway.v1 import fleet_service_pb2 as fleet_pb
from gateway.v1 import fleet_service_pb2_grpc as fleet_grpc

MOST_SESSIONS_PER_CALL = 5000
MOST_WAITING_BATCHES = 240
_BORDER_S = 900
_CALL_TIMEOUT_S = 30.0
_REFUSALS = frozenset({grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNIMPLEMENTED})
"""Answers to a report of the past that trying again would not change."""
_LOG = logging.getLogger(__name__)


class SessionReporter:
    """Reports sessions and keeps what has not been accepted yet.

    Args:
        channel: To the gateway.
        token: Bearer token.
        simulation: Whose sessions are reported.
        backoff: Between tries.

    Attributes:
        history_count: Sessions of the past that were accepted so far.
    """

    def __init__(self, channel: grpc.aio.Channel, token: str, simulation: FleetSimulation, backoff: Backoff) -> None:
        self.history_count = 0
        self._stub = fleet_grpc.FleetServiceStub(channel)
        self._metadata = metadata_of(token)
        self._simulation = simulation
        self._backoff = backoff
        self._charger_ids = [charger.id for charger in simulation.chargers]
        self._waiting: dict[str, fleet_pb.Session] = {}
        self._has_waiting = asyncio.Event()

    @property
    def waiting_count(self) -> int:
        """Reports that the gateway has not accepted yet."""
        return len(self._waiting)

    def add_plugged_in(self, chargers: Ints) -> None:
        """Report the cars that are at these chargers now."""
        bank = self._simulation.bank
        self._add(
            session_messages(bank.cars.take(chargers), bank.delivered_kwh[chargers], self._charger_ids, is_over=False)
        )

    def add_ended(self, ended: EndedSessions) -> None:
        """Report cars that left."""
        self._add(session_messages(ended.sessions, ended.delivered_kwh, self._charger_ids, is_over=True))

    async def send_history(self) -> None:
        """Send the sessions of the past, once."""
        history = self._simulation.history
        for first in range(0, len(history), MOST_SESSIONS_PER_CALL):
            part = history.take(np.arange(first, min(first + MOST_SESSIONS_PER_CALL, len(history))))
            messages = session_messages(part, part.energy_kwh, self._charger_ids, is_over=True)
            while not await self._send(messages, is_history=True):
                pass
            self.history_count += len(part)
        _LOG.info("the gateway has %d sessions of the past", self.history_count)

    async def run(self) -> None:
        """Send what waits whenever something waits; ends only by cancellation."""
        while True:
            if not self._waiting:
                self._has_waiting.clear()
                await self._has_waiting.wait()
            messages = list(self._waiting.values())[:MOST_SESSIONS_PER_CALL]
            if await self._send(messages, is_history=False):
                for message in messages:
                    if self._waiting[message.id] is message:
                        del self._waiting[message.id]

    async def _send(self, messages: Sequence[fleet_pb.Session], *, is_history: bool) -> bool:
        """Send one report and return whether it is settled; what the gateway refuses for good is settled and logged."""
        request = report_request(messages, is_history=is_history)
        try:
            await self._stub.ReportSessions(request, metadata=self._metadata, timeout=_CALL_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                _LOG.error("%d sessions were refused: %s", len(messages), error.details())
                return True
            await self._backoff.wait(error)
            return False
        self._backoff.reset()
        return True

    def _add(self, messages: Iterable[fleet_pb.Session]) -> None:
        for message in messages:
            self._waiting[message.id] = message
        if self._waiting:
            self._has_waiting.set()


class MeterHistoryReporter:
    """Reports once what the meters of the sites counted before the program started.

    Args:
        channel: To the gateway.
        token: Bearer token.
        simulation: Whose meters they are.
        backoff: Between tries.

    Attributes:
        period_count: Delivery periods of the past that the gateway did not know before.
    """

    def __init__(self, channel: grpc.aio.Channel, token: str, simulation: FleetSimulation, backoff: Backoff) -> None:
        self.period_count = 0
        self._stub = fleet_grpc.FleetServiceStub(channel)
        self._metadata = metadata_of(token)
        self._simulation = simulation
        self._backoff = backoff

    async def send(self, day_count: int) -> None:
        """Send the first days of the history, one report per connection point; days as in `model_past_meters`."""
        past = model_past_meters(self._simulation, day_count)
        for place, point in enumerate(self._simulation.points):
            request = meter_history_request(past, point, place)
            while not await self._send(request):
                pass
        _LOG.info("the gateway took %d periods of the meters' past", self.period_count)

    async def _send(self, request: fleet_pb.ReportMeterHistoryRequest) -> bool:
        """Send one report and return whether it is settled; what the gateway refuses for good is settled and logged."""
        try:
            response = await self._stub.ReportMeterHistory(request, metadata=self._metadata, timeout=_CALL_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            if error.code() in _REFUSALS:
                _LOG.error("the past of %s was refused: %s", request.connection_point_id, error.details())
                return True
            await self._backoff.wait(error)
            return False
        self._backoff.reset()
        self.period_count += response.accepted_count
        return True


class TelemetryReporter:
    """Streams measurements and keeps batches until they are acknowledged.

    Args:
        channel: To the gateway.
        token: Bearer token.
        simulation: Whose meters are read.
        backoff: Between tries.
    """

    def __init__(self, channel: grpc.aio.Channel, token: str, simulation: FleetSimulation, backoff: Backoff) -> None:
        self._stub = fleet_grpc.FleetServiceStub(channel)
        self._metadata = metadata_of(token)
        self._backoff = backoff
        self._charger_ids = [charger.id for charger in simulation.chargers]
        self._points = simulation.points
        self._waiting: dict[int, fleet_pb.StreamTelemetryRequest] = {}
        self._has_new = asyncio.Event()

    @property
    def waiting_count(self) -> int:
        """Batches that are not acknowledged yet."""
        return len(self._waiting)

    def add(self, reading: Reading) -> None:
        """Queue a batch; when too many wait, the oldest one that is not at the border of a delivery period makes room."""
        self._waiting[reading.measure_s] = telemetry_request(reading)
        if len(self._waiting) > MOST_WAITING_BATCHES:
            inside = (sequence for sequence in self._waiting if sequence % _BORDER_S)
            del self._waiting[next(inside, min(self._waiting))]
        self._has_new.set()

    async def run(self) -> None:
        """Stream, and stream again after every break; ends only by cancellation."""
        while True:
            error: grpc.aio.AioRpcError | None = None
            try:
                call = self._stub.StreamTelemetry(self._requests(), metadata=self._metadata)
                async for response in call:
                    self._backoff.reset()
                    self._forget_up_to(response.acknowledged_sequence)
            except grpc.aio.AioRpcError as broken:
                error = broken
                self._drop_refused(broken)
            await self._backoff.wait(error)

    async def _requests(self) -> AsyncIterator[fleet_pb.StreamTelemetryRequest]:
        """Give everything that waits, oldest first; the first message names the columns."""
        sent = 0
        while True:
            following = next((sequence for sequence in self._waiting if sequence > sent), None)
            if following is None:
                self._has_new.clear()
                await self._has_new.wait()
                continue
            request = self._waiting[following]
            if not sent:
                named = fleet_pb.StreamTelemetryRequest(
                    charger_ids=self._charger_ids, connection_point_ids=self._points
                )
                named.MergeFrom(request)
                request = named
            sent = following
            yield request

    def _forget_up_to(self, sequence: int) -> None:
        for taken in [waiting for waiting in self._waiting if waiting <= sequence]:
            del self._waiting[taken]

    def _drop_refused(self, error: grpc.aio.AioRpcError) -> None:
        """Let the oldest batch go when its content was refused: it would be refused for ever."""
        if error.code() is grpc.StatusCode.INVALID_ARGUMENT and self._waiting:
            del self._waiting[min(self._waiting)]
