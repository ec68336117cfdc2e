"""DispatchService: limits down to a charging platform, acknowledgements and outcomes up, over one stream."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
from google.protobuf import timestamp_pb2
from typing_extensions import override

from gateway.domain.dispatch import DispatchState
from gateway.domain.errors import InvalidInput, PeerUnavailable
from gateway.domain.identity import Permission, Principal
from gateway.ports import Clock
from gateway.rpc import convert
from gateway.rpc.door import Context, caller
from gateway.rpc.limit_columns import limits_response
from gateway.rpc.pacing import TokenBucket
from gateway.services.follow_dispatch import ChargerStatus
from gateway.services.plan_dispatch import DispatchLink
from gateway.v1 import dispatch_service_pb2 as pb
from gateway.v1 import dispatch_service_pb2_grpc as pb_grpc

MOST_CHARGERS = 200_000
STREAMS_PER_SECOND, STREAMS_AT_ONCE = 500.0, 500.0
"""New streams that are let in: a reconnect storm must not hold up those that are there."""
_SILENT_HEARTBEATS = 3
"""A client that says nothing for so many heartbeats is gone."""
_STATES = {
    DispatchState.SENT: pb.DISPATCH_STATE_SENT,
    DispatchState.ACCEPTED: pb.DISPATCH_STATE_ACCEPTED,
    DispatchState.APPLIED: pb.DISPATCH_STATE_APPLIED,
    DispatchState.FOLLOWED: pb.DISPATCH_STATE_FOLLOWED,
    DispatchState.REJECTED: pb.DISPATCH_STATE_REJECTED,
    DispatchState.TIMED_OUT: pb.DISPATCH_STATE_TIMED_OUT,
    DispatchState.NOT_FOLLOWING: pb.DISPATCH_STATE_NOT_FOLLOWING,
}
_REPORTABLE = {
    pb.DISPATCH_STATE_APPLIED: DispatchState.APPLIED,
    pb.DISPATCH_STATE_REJECTED: DispatchState.REJECTED,
    pb.DISPATCH_STATE_TIMED_OUT: DispatchState.TIMED_OUT,
}


class DispatchDoor(Protocol):
    """What this servicer needs of `services.plan_dispatch.Dispatcher`."""

    async def connect(self, principal: Principal, charger_ids: Sequence[str], resume_token: str) -> DispatchLink:
        """Open the link of a platform."""
        ...


class FollowDoor(Protocol):
    """What this servicer needs of `services.follow_dispatch.Follower`."""

    def states(self, principal: Principal, *, only_not_following: bool) -> list[ChargerStatus]:
        """Return where the commands are."""
        ...


class DispatchServicer(pb_grpc.DispatchServiceServicer):
    """Translates dispatch messages."""

    def __init__(
        self,
        clock: Clock,
        dispatcher: DispatchDoor,
        follower: FollowDoor,
        heartbeat_seconds: float,
        uniform: Callable[[float, float], float],
    ) -> None:
        """Remember the services behind.

        Args:
            clock: Market time.
            dispatcher: Opens links.
            follower: Knows where commands are.
            heartbeat_seconds: How often a client must say something, in real seconds.
            uniform: Draws a number between two: when a refused stream shall come again.
        """
        self._door = TokenBucket(
            rate_per_s=STREAMS_PER_SECOND, burst=STREAMS_AT_ONCE, clock=_real_seconds, uniform=uniform
        )
        self._clock = clock
        self._dispatcher = dispatcher
        self._follower = follower
        self._heartbeat_seconds = heartbeat_seconds

    @override
    async def Connect(  # type: ignore[override]  # grpc.aio takes a coroutine that writes, too
        self, request_iterator: AsyncIterator[pb.ConnectRequest], context: Context
    ) -> None:
        """Serve the stream of one platform until either side ends it."""
        principal = caller()
        principal.require(Permission.DISPATCH_CONNECT)
        self._door.take()
        hello = await self._first(request_iterator)
        link = await self._dispatcher.connect(principal, tuple(hello.charger_ids), hello.resume_token)
        try:
            await context.write(self._welcome(link))
            await self._serve(request_iterator, context, link)
        finally:
            link.close()

    @override
    async def ListDispatchStates(
        self, request: pb.ListDispatchStatesRequest, context: Context
    ) -> pb.ListDispatchStatesResponse:
        """List where the commands are."""
        statuses = self._follower.states(caller(), only_not_following=request.only_not_following)
        return pb.ListDispatchStatesResponse(chargers=[_status_message(status) for status in statuses])

    async def _first(self, requests: AsyncIterator[pb.ConnectRequest]) -> pb.Hello:
        request = await self._next(requests)
        if request is None or request.WhichOneof("payload") != "hello":
            raise InvalidInput("payload", "the first message must be hello")
        if not 0 < len(request.hello.charger_ids) <= MOST_CHARGERS:
            raise InvalidInput("hello.charger_ids", f"must have 1 to {MOST_CHARGERS} entries")
        return request.hello

    async def _next(self, requests: AsyncIterator[pb.ConnectRequest]) -> pb.ConnectRequest | None:
        try:
            async with asyncio.timeout(self._heartbeat_seconds * _SILENT_HEARTBEATS):
                return await anext(requests, None)
        except TimeoutError as error:
            raise PeerUnavailable("nothing heard for three heartbeats") from error

    async def _serve(self, requests: AsyncIterator[pb.ConnectRequest], context: Context, link: DispatchLink) -> None:
        writer = _Writer(context, self._heartbeat_seconds * _SILENT_HEARTBEATS)
        try:
            async with asyncio.TaskGroup() as tasks:
                sending = tasks.create_task(self._send(writer, link))
                await self._receive(requests, writer, link)
                sending.cancel()
        except ExceptionGroup as group:
            raise group.exceptions[0] from group

    async def _send(self, writer: "_Writer", link: DispatchLink) -> None:
        while True:
            batch = await link.next()
            await writer.write(limits_response(batch))

    async def _receive(self, requests: AsyncIterator[pb.ConnectRequest], writer: "_Writer", link: DispatchLink) -> None:
        while (request := await self._next(requests)) is not None:
            link.hear()
            match request.WhichOneof("payload"):
                case "ack":
                    ack = request.ack
                    if ack.shown_power_kw:
                        link.show(_index(ack.rejected_index), np.asarray(ack.shown_power_kw, dtype=np.float64))
                    link.ack(ack.sequence, _index(ack.rejected_index), tuple(ack.reject_reasons))
                case "outcome":
                    states = _reported_states(request.outcome)
                    link.outcome(request.outcome.sequence, _index(request.outcome.charger_index), states)
                case "ping":
                    await writer.write(pb.ConnectResponse(pong=pb.Pong(gateway_time=self._now())))
                case "hello":
                    raise InvalidInput("payload", "hello must come first and only once")
                case _:
                    raise InvalidInput("payload", "is required")

    def _welcome(self, link: DispatchLink) -> pb.ConnectResponse:
        return pb.ConnectResponse(
            welcome=pb.Welcome(
                lease_seconds=link.lease.total_seconds(),
                heartbeat_seconds=self._heartbeat_seconds,
                resumed_sequence=link.resumed_sequence,
                gateway_time=self._now(),
            )
        )

    def _now(self) -> timestamp_pb2.Timestamp:
        return convert.timestamp(self._clock.now())


def _real_seconds() -> float:
    return asyncio.get_running_loop().time()


class _Writer:
    """Writes one message after the other, and gives up on a client that does not read."""

    def __init__(self, context: Context, patience_s: float) -> None:
        self._context = context
        self._patience_s = patience_s
        self._turn = asyncio.Lock()

    async def write(self, message: pb.ConnectResponse) -> None:
        """Send a message.

        Raises:
            PeerUnavailable: The client did not read for so long that nothing more fits into its pipe.
        """
        try:
            async with asyncio.timeout(self._patience_s), self._turn:
                await self._context.write(message)
        except TimeoutError as error:
            raise PeerUnavailable("the client does not read what it is sent") from error


def _index(values: Sequence[int]) -> npt.NDArray[np.int32]:
    return np.asarray(values, dtype=np.int32)


def _reported_states(outcome: pb.Outcome) -> npt.NDArray[np.int8]:
    if len(outcome.states) != len(outcome.charger_index):
        raise InvalidInput("outcome.states", "needs one state per charger_index")
    states = np.empty(len(outcome.states), dtype=np.int8)
    for position, state in enumerate(outcome.states):
        if state not in _REPORTABLE:
            raise InvalidInput(f"outcome.states[{position}]", "must be APPLIED, REJECTED or TIMED_OUT")
        states[position] = _REPORTABLE[state]
    return states


def _status_message(status: ChargerStatus) -> pb.ChargerDispatch:
    return pb.ChargerDispatch(
        charger_id=status.charger_id,
        dispatch_id=status.dispatch_id,
        state=_STATES.get(status.state, pb.DISPATCH_STATE_UNSPECIFIED),
        limit_power_kw=status.limit_kw,
        measured_power_kw=status.measured_kw,
        since_time=convert.timestamp(status.since),
        likely_cause=status.likely_cause,
    )
