"""BiddingService: plans, bids with two people, awards, nominations and positions."""

from collections.abc import AsyncIterator

from typing_extensions import override

from gateway.domain.bids import Award, Bid, Nomination, Residual
from gateway.domain.identity import Permission
from gateway.domain.settlement import Settlement
from gateway.ports import Clock, Store
from gateway.rpc import convert
from gateway.rpc.bid_messages import (
    award_message,
    bid_message,
    input_message,
    nomination_message,
    position_message,
    residual_message,
    tariff_cost_message,
)
from gateway.rpc.bidding_doors import OrderDoor, PlanDoor, PositionDoor, ReviewDoor
from gateway.rpc.door import Context, caller
from gateway.rpc.watching import LOOK_AGAIN, RowWatch
from gateway.v1 import bidding_service_pb2 as pb
from gateway.v1 import bidding_service_pb2_grpc as pb_grpc
from gateway.wakeup import woken_by

_LONGEST_REASON = 1000


class BiddingServicer(pb_grpc.BiddingServiceServicer):
    """Translates bidding messages."""

    def __init__(  # noqa: PLR0913  # one argument per service behind it
        self,
        *,
        store: Store,
        clock: Clock,
        planner: PlanDoor,
        reviewer: ReviewDoor,
        submitter: OrderDoor,
        settler: PositionDoor,
        time_zone: str,
    ) -> None:
        """Remember the services behind and the IANA time zone of delivery days."""
        self._store = store
        self._clock = clock
        self._time_zone = time_zone
        self._planner = planner
        self._reviewer = reviewer
        self._submitter = submitter
        self._settler = settler

    @override
    async def PlanBid(self, request: pb.PlanBidRequest, context: Context) -> pb.PlanBidResponse:
        """Compute a plan and draft a bid."""
        outcome = await self._planner.plan(
            caller(),
            portfolio_id=convert.required_text("portfolio_id", request.portfolio_id),
            delivery_day=convert.iso_day("delivery_day", request.delivery_day),
            request_id=convert.required_text("request_id", request.request_id),
        )
        bid = None if outcome.bid is None else bid_message(outcome.bid)
        return pb.PlanBidResponse(
            plan_id=outcome.plan.id,
            outcome=outcome.plan.outcome,
            message=outcome.plan.message,
            bid=bid,
            inputs=[input_message(one) for one in outcome.plan.inputs],
            price_doubts=outcome.plan.price_doubts,
        )

    @override
    async def GetBid(self, request: pb.GetBidRequest, context: Context) -> pb.GetBidResponse:
        """Return one bid."""
        bid = await self._reviewer.get(caller(), convert.required_text("bid_id", request.bid_id))
        return pb.GetBidResponse(bid=bid_message(bid))

    @override
    async def ListBids(self, request: pb.ListBidsRequest, context: Context) -> pb.ListBidsResponse:
        """List bids, newest first."""
        day = convert.iso_day("delivery_day", request.delivery_day) if request.delivery_day else None
        rows = await self._reviewer.list_bids(caller(), day)
        bids = sorted(rows, key=lambda bid: (bid.drafted_at, bid.id), reverse=True)
        chosen, token = convert.page(bids, request.page, [bid.id for bid in bids])
        return pb.ListBidsResponse(bids=[bid_message(bid) for bid in chosen], next_page_token=token)

    @override
    async def WatchBids(self, request: pb.WatchBidsRequest, context: Context) -> AsyncIterator[pb.WatchBidsResponse]:
        """Stream bids as they change."""
        principal = caller()
        principal.require(Permission.BID_READ)
        watch = RowWatch(self._store, self._clock, Bid, principal.tenant, request.resume_token)
        async with woken_by(self._store, self._clock, (Bid,)) as wake:
            while True:
                for row in await watch.newer():
                    watch.passed(row)
                    at = convert.timestamp(row.written_at)
                    yield pb.WatchBidsResponse(resume_token=watch.token, event_time=at, bid=bid_message(row.record))
                await wake.wait(self._clock.now() + LOOK_AGAIN)

    @override
    async def ProposeBid(self, request: pb.ProposeBidRequest, context: Context) -> pb.ProposeBidResponse:
        """Propose a bid."""
        bid = await self._reviewer.propose(
            caller(),
            bid_id=convert.required_text("bid_id", request.bid_id),
            content_hash=convert.required_text("content_hash", request.content_hash),
            request_id=convert.required_text("request_id", request.request_id),
        )
        return pb.ProposeBidResponse(bid=bid_message(bid))

    @override
    async def ApproveBid(self, request: pb.ApproveBidRequest, context: Context) -> pb.ApproveBidResponse:
        """Approve a bid that somebody else proposed."""
        bid = await self._reviewer.approve(
            caller(),
            bid_id=convert.required_text("bid_id", request.bid_id),
            content_hash=convert.required_text("content_hash", request.content_hash),
            request_id=convert.required_text("request_id", request.request_id),
        )
        return pb.ApproveBidResponse(bid=bid_message(bid))

    @override
    async def RejectBid(self, request: pb.RejectBidRequest, context: Context) -> pb.RejectBidResponse:
        """Refuse a bid."""
        bid = await self._reviewer.reject(
            caller(),
            bid_id=convert.required_text("bid_id", request.bid_id),
            reason=convert.required_text("reason", request.reason, _LONGEST_REASON),
            request_id=convert.required_text("request_id", request.request_id),
        )
        return pb.RejectBidResponse(bid=bid_message(bid))

    @override
    async def WithdrawBid(self, request: pb.WithdrawBidRequest, context: Context) -> pb.WithdrawBidResponse:
        """Take a bid back."""
        bid = await self._reviewer.withdraw(
            caller(),
            bid_id=convert.required_text("bid_id", request.bid_id),
            reason=convert.required_text("reason", request.reason, _LONGEST_REASON),
            request_id=convert.required_text("request_id", request.request_id),
        )
        return pb.WithdrawBidResponse(bid=bid_message(bid))

    @override
    async def GetAward(self, request: pb.GetAwardRequest, context: Context) -> pb.GetAwardResponse:
        """Return the award of a day."""
        award: Award = await self._submitter.award(
            caller(),
            convert.required_text("portfolio_id", request.portfolio_id),
            convert.iso_day("delivery_day", request.delivery_day),
        )
        return award_message(award)

    @override
    async def ListNominations(self, request: pb.ListNominationsRequest, context: Context) -> pb.ListNominationsResponse:
        """List nominations of a day."""
        day = convert.iso_day("delivery_day", request.delivery_day)
        rows: list[Nomination] = await self._submitter.nominations(caller(), day)
        return pb.ListNominationsResponse(nominations=[nomination_message(row) for row in rows])

    @override
    async def ListResiduals(self, request: pb.ListResidualsRequest, context: Context) -> pb.ListResidualsResponse:
        """List what late limits made impossible."""
        day = convert.iso_day("delivery_day", request.delivery_day)
        rows: list[Residual] = await self._settler.residuals(caller(), day, self._time_zone)
        return pb.ListResidualsResponse(residuals=[residual_message(row) for row in rows])

    @override
    async def ListPositions(self, request: pb.ListPositionsRequest, context: Context) -> pb.ListPositionsResponse:
        """List settled positions of a day."""
        day = convert.iso_day("delivery_day", request.delivery_day)
        rows: list[Settlement] = await self._settler.positions(caller(), day)
        return pb.ListPositionsResponse(positions=[position_message(row) for row in rows])

    @override
    async def GetTariffCost(self, request: pb.GetTariffCostRequest, context: Context) -> pb.GetTariffCostResponse:
        """Return what a day on a tariff cost."""
        day = await self._settler.tariff_cost(
            caller(),
            convert.required_text("portfolio_id", request.portfolio_id),
            convert.iso_day("delivery_day", request.delivery_day),
        )
        return tariff_cost_message(day)
