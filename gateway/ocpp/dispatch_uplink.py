"""The dispatch stream as the CSMS keeps it: limits come down, what became of them at the chargers goes up.

A message is acknowledged once it is on disk and every charger in it has its profile, has refused it, or has not answered in
time. The resume token survives a stop of the program. When the gateway is gone nothing needs to be told to anybody: every lease
ends by itself, in the charger and here.
"""

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import grpc

from gateway.client import Gateway
from gateway.ocpp.journal import Journal, UplinkRecord
from gateway.ocpp.layers import Command
from gateway.ocpp.settings import TimeSettings
from gateway.ocpp.station import Station
from gateway.ocpp.surroundings import Clock
from gateway.ocpp.words import Answer, Verdict
from gateway.v1 import dispatch_service_pb2 as pb

_LOG = logging.getLogger(__name__)
_FIRST_HEARTBEAT_S = 5.0
_PINGS_PER_HEARTBEAT = 3.0
_MOST_SKEW = timedelta(seconds=5)
_NOT_CONNECTED = Answer(verdict=Verdict.REJECTED, reason="the charger is not connected")
_LATE = Answer(verdict=Verdict.NO_ANSWER, reason="the charger has not answered yet")
_STATES = {
    Verdict.ACCEPTED: pb.DISPATCH_STATE_APPLIED,
    Verdict.REJECTED: pb.DISPATCH_STATE_REJECTED,
    Verdict.NOT_SUPPORTED: pb.DISPATCH_STATE_REJECTED,
    Verdict.TOO_OFTEN: pb.DISPATCH_STATE_REJECTED,
    Verdict.NO_ANSWER: pb.DISPATCH_STATE_TIMED_OUT,
}


@dataclass(kw_only=True, slots=True)
class _Pending:
    """A message whose chargers are not all done."""

    sequence: int
    resume_token: str
    waiting: set[str]
    answers: dict[str, Answer] = field(default_factory=dict)
    is_done: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, charger: str, answer: Answer | None) -> None:
        """Take a charger's answer; None: a newer message has overtaken this one."""
        self.waiting.discard(charger)
        if answer is not None:
            self.answers[charger] = answer
        if not self.waiting:
            self.is_done.set()


class DispatchUplink:
    """Keeps the dispatch stream open for ever."""

    def __init__(
        self,
        *,
        clock: Clock,
        times: TimeSettings,
        journal: Journal,
        record: UplinkRecord,
        stations: Mapping[str, Station],
    ) -> None:
        """Remember whom to command.

        Args:
            clock: Time.
            times: Durations.
            journal: Keeps the place in the stream.
            record: The place.
            stations: By charger; their order is the charger index of the stream.
        """
        self.last_sequence = 0
        self._clock = clock
        self._times = times
        self._journal = journal
        self._record = record
        self._stations = stations
        self._chargers = list(stations)
        self._index = {charger: place for place, charger in enumerate(self._chargers)}
        self._pending: dict[int, _Pending] = {}
        self._outgoing: asyncio.Queue[pb.ConnectRequest] = asyncio.Queue()
        self._heartbeat_s = _FIRST_HEARTBEAT_S
        self._ahead = timedelta(0)
        self._welcomed = asyncio.Event()

    @property
    def is_connected(self) -> bool:
        """Whether the gateway has accepted the stream that is open now."""
        return self._welcomed.is_set()

    def settled(self, charger: str, sequence: int, answer: Answer) -> None:
        """Tell the gateway what a charger did with a command, with the acknowledgement or after it."""
        pending = self._pending.get(sequence)
        if pending is not None and charger in pending.waiting:
            pending.take(charger, answer)
        else:
            self._send_outcome(sequence, {charger: answer})

    async def converse(self, gateway: Gateway) -> None:
        """Say hello and serve the stream until it ends.

        Raises:
            grpc.aio.AioRpcError: The stream broke or was refused.
        """
        self._outgoing = asyncio.Queue()
        self._pending.clear()
        try:
            async with asyncio.TaskGroup() as tasks:
                async for response in gateway.dispatch.Connect(self._requests(self._outgoing)):
                    match response.WhichOneof("payload"):
                        case "welcome":
                            self._take_welcome(response.welcome)
                        case "limits":
                            pending = await self._take_limits(response.limits)
                            if pending is not None:
                                tasks.create_task(self._acknowledge(pending))
                        case _:
                            pass
        except* grpc.aio.AioRpcError as errors:
            first = errors.exceptions[0]
            if isinstance(first, grpc.aio.AioRpcError) and first.code() is grpc.StatusCode.OUT_OF_RANGE:
                self._record.resume_token = ""  # the gateway no longer knows this place: everything comes anew
                for station in self._stations.values():
                    station.forget_sequences()
            raise first from None
        finally:
            self._welcomed.clear()

    async def _requests(self, outgoing: asyncio.Queue[pb.ConnectRequest]) -> AsyncIterator[pb.ConnectRequest]:
        hello = pb.Hello(charger_ids=self._chargers, resume_token=self._record.resume_token)
        yield pb.ConnectRequest(hello=hello)
        while True:
            try:
                async with asyncio.timeout(self._heartbeat_s / _PINGS_PER_HEARTBEAT):
                    message = await outgoing.get()
            except TimeoutError:
                message = pb.ConnectRequest(ping=pb.Ping())
            yield message

    def _take_welcome(self, welcome: pb.Welcome) -> None:
        if welcome.heartbeat_seconds > 0.0:
            self._heartbeat_s = welcome.heartbeat_seconds
        self._ahead = welcome.gateway_time.ToDatetime(tzinfo=UTC) - self._clock.now()
        if abs(self._ahead) > _MOST_SKEW:
            _LOG.warning("the gateway's clock is %.0f s ahead of ours", self._ahead.total_seconds())
        self._welcomed.set()
        _LOG.info("the gateway accepted the stream, leases of %.0f s", welcome.lease_seconds)

    async def _take_limits(self, limits: pb.Limits) -> _Pending | None:
        """Make a message durable and let it act; None when it makes no sense and is left unanswered."""
        if not _is_sound(limits, len(self._chargers)):
            _LOG.error("limits %d ignored: columns of different lengths or values out of range", limits.sequence)
            return None
        lease_until = limits.lease_expire_time.ToDatetime(tzinfo=UTC) - self._ahead
        concerned = [self._chargers[place] for place in limits.charger_index]
        pending = _Pending(sequence=limits.sequence, resume_token=limits.resume_token, waiting=set(concerned))
        for older in self._pending.values():
            for charger in older.waiting & pending.waiting:
                older.take(charger, None)
        self._pending[limits.sequence] = pending
        self.last_sequence = max(self.last_sequence, limits.sequence)
        await self._keep(concerned, limits, lease_until)
        for charger in concerned:
            if not self._stations[charger].is_connected:
                pending.take(charger, _NOT_CONNECTED)
        for station in {id(self._stations[c]): self._stations[c] for c in concerned}.values():
            station.wake()
        return pending

    async def _keep(self, concerned: Sequence[str], limits: pb.Limits, lease_until: datetime) -> None:
        touched: dict[str, Station] = {}
        columns = zip(concerned, limits.limit_power_kw, limits.fallback_power_kw, strict=True)
        for charger, limit_kw, fallback_kw in columns:
            station = touched[self._stations[charger].settings.identity] = self._stations[charger]
            command = Command(
                sequence=limits.sequence,
                limit_kw=_shortest(limit_kw),
                fallback_kw=_shortest(fallback_kw),
                lease_until=lease_until,
            )
            if not station.take_command(charger, command):
                # It has this one or a newer one; what became of this one is told again.
                self._pending[limits.sequence].take(charger, station.answer_to(charger, limits.sequence))
        async with asyncio.TaskGroup() as tasks:
            for station in touched.values():
                tasks.create_task(station.keep())

    async def _acknowledge(self, pending: _Pending) -> None:
        """Wait for the chargers, then answer the message and remember that it is done."""
        try:
            async with asyncio.timeout(self._times.settle_real):
                await pending.is_done.wait()
        except TimeoutError:
            for charger in sorted(pending.waiting):
                pending.take(charger, _LATE)
        self._pending.pop(pending.sequence, None)
        refused = {charger: answer for charger, answer in pending.answers.items() if not answer.is_accepted}
        ack = pb.Ack(
            sequence=pending.sequence,
            rejected_index=[self._index[charger] for charger in refused],
            reject_reasons=[answer.reason for answer in refused.values()],
            shown_power_kw=_shown_kw(list(refused.values())),
        )
        self._outgoing.put_nowait(pb.ConnectRequest(ack=ack))
        told = {c: a for c, a in pending.answers.items() if a.is_accepted or a.verdict is Verdict.NO_ANSWER}
        self._send_outcome(pending.sequence, told)
        if pending.sequence == self.last_sequence:
            self._record.resume_token = pending.resume_token
            await self._journal.keep_uplink(self._record)

    def _send_outcome(self, sequence: int, answers: Mapping[str, Answer]) -> None:
        if answers and self.is_connected:
            outcome = pb.Outcome(
                sequence=sequence,
                charger_index=[self._index[charger] for charger in answers],
                states=[_STATES[answer.verdict] for answer in answers.values()],
            )
            self._outgoing.put_nowait(pb.ConnectRequest(outcome=outcome))


def _shown_kw(answers: Sequence[Answer]) -> list[float]:
    """Return what chargers show beyond what they were given, one value each; nothing when none shows anything."""
    if all(answer.shown_kw is None for answer in answers):
        return []
    return [math.nan if answer.shown_kw is None else answer.shown_kw for answer in answers]


def _shortest(value: float) -> float:
    """Return the shortest decimal number that is this one on the wire: 4.14 kW travel as 4.1399998664855957."""
    return float(f"{value:.7g}")


def _is_sound(limits: pb.Limits, charger_count: int) -> bool:
    """Tell whether the columns of a message fit together and hold possible values."""
    powers = (*limits.limit_power_kw, *limits.fallback_power_kw)
    is_whole = len(limits.charger_index) == len(limits.limit_power_kw) == len(limits.fallback_power_kw)
    in_range = all(0 <= place < charger_count for place in limits.charger_index)
    return is_whole and in_range and all(0.0 <= power < float("inf") for power in powers)
