"""Plays trader and approver over gRPC, watches the day, and writes the summary at its end."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import aiohttp
import grpc

from gateway.client import Gateway, connect
from gateway.clock import FileClock
from gateway.demo.configuration import Market
from gateway.demo.summary import summarise
from gateway.demo.timeline import Timeline
from gateway.domain.errors import PeerUnavailable
from gateway.v1 import bidding_service_pb2 as bidding
from gateway.v1 import dispatch_service_pb2 as dispatch
from gateway.v1 import evidence_service_pb2 as evidence
from gateway.v1 import signals_service_pb2 as signals

Say = Callable[[str], None]
AnswerT = TypeVar("AnswerT")
CALL_SECONDS = 60.0
PLAN_REAL_SECONDS = 300.0
SETTLE_REAL_SECONDS = 240.0
_LOOK_SECONDS = 0.25
_LEFT = frozenset(
    {
        bidding.BID_STATE_SUBMITTED,
        bidding.BID_STATE_AWARDED,
        bidding.BID_STATE_REJECTED,
        bidding.BID_STATE_MISSED,
        bidding.BID_STATE_UNKNOWN,
        bidding.BID_STATE_WITHDRAWN,
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Autopilot:
    """Both people, and a reader of evidence."""

    address: str
    tokens: Mapping[str, str]
    fleet_url: str
    market: Market
    timeline: Timeline

    @property
    def day(self) -> str:
        """Delivery day as ISO date."""
        return self.timeline.delivery.day.isoformat()

    @asynccontextmanager
    async def acting_as(self, actor: str) -> AsyncIterator[Gateway]:
        """Open a channel as one of the people."""
        async with connect(self.address, token=self.tokens[actor]) as gateway:
            yield gateway

    async def newest_bid(self) -> bidding.Bid | None:
        """Return the newest version of the day's bid."""
        async with self.acting_as("trader") as gateway:
            request = bidding.ListBidsRequest(delivery_day=self.day)
            answer = await self.patiently(lambda: gateway.bidding.ListBids(request, timeout=CALL_SECONDS))
            return max(answer.bids, key=lambda bid: bid.version, default=None)

    async def propose_and_approve(self, say: Say) -> None:
        """Propose the bid as the trader, see that the trader cannot approve it, and approve it as the approver.

        Raises:
            PeerUnavailable: The gateway let the trader approve.
        """
        bid = await self.newest_bid()
        if bid is None:
            raise PeerUnavailable("there is no bid to propose")
        async with self.acting_as("trader") as gateway:
            await gateway.bidding.ProposeBid(
                bidding.ProposeBidRequest(request_id=f"propose-{bid.id}", bid_id=bid.id, content_hash=bid.content_hash),
                timeout=CALL_SECONDS,
            )
            approval = bidding.ApproveBidRequest(
                request_id=f"self-approve-{bid.id}", bid_id=bid.id, content_hash=bid.content_hash
            )
            try:
                await gateway.bidding.ApproveBid(approval, timeout=CALL_SECONDS)
            except grpc.aio.AioRpcError as error:
                say(f"The trader cannot approve: {error.code().name}")
            else:
                raise PeerUnavailable("the gateway let the trader approve an own bid")
        async with self.acting_as("approver") as gateway:
            await gateway.bidding.ApproveBid(
                bidding.ApproveBidRequest(request_id=f"approve-{bid.id}", bid_id=bid.id, content_hash=bid.content_hash),
                timeout=CALL_SECONDS,
            )
        say(f"Bid {bid.id} proposed by the trader and approved by the approver")

    async def until_submitted_or_gate(self, clock: FileClock) -> None:
        """Return when the bid has left, or can no longer leave."""
        while True:
            bid = await self.newest_bid()
            gate = None if bid is None else bid.gate_closure_time.ToDatetime(tzinfo=clock.now().tzinfo)
            if bid is not None and (bid.state in _LEFT or (gate is not None and clock.now() > gate)):
                return
            if bid is None and clock.now() >= self.timeline.award_look:
                return
            await asyncio.sleep(_LOOK_SECONDS)

    async def until_nominated_or(self, clock: FileClock, deadline: datetime) -> None:
        """Return when the BRP has acknowledged all nominations, or at the deadline in market time."""
        while clock.now() < deadline:
            nominations = await self._nominations()
            if nominations and all(n.state == bidding.NOMINATION_STATE_ACKNOWLEDGED for n in nominations):
                return
            await asyncio.sleep(_LOOK_SECONDS)

    async def summary(self, clock: FileClock) -> dict[str, Any]:
        """Wait for settlement and return the summary.

        Raises:
            PeerUnavailable: The day was not settled in time.
        """
        async with self.acting_as("operator") as gateway, aiohttp.ClientSession() as http:
            positions = await self._settled(gateway) if self.market.has_exchange else []
            day = bidding.ListBidsRequest(delivery_day=self.day)
            events = (await gateway.signals.ListEvents(signals.ListEventsRequest(), timeout=CALL_SECONDS)).events
            performances = [await self._performance(gateway, event.id) for event in events if not event.is_test]
            residuals = await gateway.bidding.ListResiduals(
                bidding.ListResidualsRequest(delivery_day=self.day), timeout=CALL_SECONDS
            )
            states = await gateway.dispatch.ListDispatchStates(
                dispatch.ListDispatchStatesRequest(only_not_following=True), timeout=CALL_SECONDS
            )
            fleet = await (await http.get(f"{self.fleet_url}/state")).json()
            return summarise(
                market=self.market.name,
                delivery_day=self.day,
                market_time=clock.now(),
                bids=(await gateway.bidding.ListBids(day, timeout=CALL_SECONDS)).bids,
                award=await self._award(gateway),
                nominations=await self._nominations(),
                positions=positions,
                residuals=residuals.residuals,
                events=events,
                performances=performances,
                troubles=states.chargers,
                fleet=fleet,
                trace=await self._trace(gateway, positions),
                audit=await gateway.evidence.VerifyAudit(evidence.VerifyAuditRequest(), timeout=CALL_SECONDS),
            )

    async def patiently(self, call: Callable[[], Awaitable[AnswerT]]) -> AnswerT:
        """Repeat a reading call while the gateway is being restarted."""
        for _ in range(60):
            try:
                return await call()
            except grpc.aio.AioRpcError as error:
                if error.code() not in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}:
                    raise
                await asyncio.sleep(0.5)
        raise PeerUnavailable("the gateway does not answer")

    async def _nominations(self) -> list[bidding.Nomination]:
        async with self.acting_as("trader") as gateway:
            request = bidding.ListNominationsRequest(delivery_day=self.day)
            answer = await self.patiently(lambda: gateway.bidding.ListNominations(request, timeout=CALL_SECONDS))
            return list(answer.nominations)

    async def _award(self, gateway: Gateway) -> bidding.GetAwardResponse | None:
        try:
            answer: bidding.GetAwardResponse = await gateway.bidding.GetAward(
                bidding.GetAwardRequest(portfolio_id=self.market.portfolio, delivery_day=self.day), timeout=CALL_SECONDS
            )
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return None
            raise
        return answer

    async def _settled(self, gateway: Gateway) -> list[bidding.Position]:
        async with asyncio.timeout(SETTLE_REAL_SECONDS):
            while True:
                request = bidding.ListPositionsRequest(delivery_day=self.day)
                answer = await self.patiently(lambda: gateway.bidding.ListPositions(request, timeout=CALL_SECONDS))  # noqa: B023
                if answer.positions and len(answer.positions) >= self.market.connection_point_count:
                    return list(answer.positions)
                await asyncio.sleep(_LOOK_SECONDS)

    async def _performance(self, gateway: Gateway, event_id: str) -> evidence.GetEventPerformanceResponse | None:
        try:
            answer: evidence.GetEventPerformanceResponse = await gateway.evidence.GetEventPerformance(
                evidence.GetEventPerformanceRequest(event_id=event_id), timeout=CALL_SECONDS
            )
        except grpc.aio.AioRpcError as error:
            if error.code() in {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION}:
                return None
            raise
        return answer

    async def _trace(self, gateway: Gateway, positions: list[bidding.Position]) -> list[evidence.TraceStep]:
        if not positions:
            return []
        answer = await gateway.evidence.GetTrace(
            evidence.GetTraceRequest(kind="settlement", id=f"{positions[0].connection_point_id}:{self.day}"),
            timeout=CALL_SECONDS,
        )
        return list(answer.steps)


async def wait_for_bid(pilot: Autopilot, say: Say) -> None:
    """Wait until the gateway has planned tomorrow and a bid is there.

    Raises:
        PeerUnavailable: There is no bid in time.
    """
    try:
        async with asyncio.timeout(PLAN_REAL_SECONDS):
            bid = await pilot.newest_bid()
            while bid is None:
                await asyncio.sleep(_LOOK_SECONDS)
                bid = await pilot.newest_bid()
    except TimeoutError as error:
        raise PeerUnavailable(f"no bid after {PLAN_REAL_SECONDS:.0f} s") from error
    say(f"Bid {bid.id} for {bid.delivery_day} is ready: {len(bid.periods)} delivery periods")
