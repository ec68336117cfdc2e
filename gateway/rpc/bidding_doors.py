"""What the bidding servicer needs of the services behind it, as protocols."""

from typing import Protocol

from gateway.domain.bids import Award, Bid, Nomination, PlanRun, Residual
from gateway.domain.identity import Principal
from gateway.domain.settlement import Settlement, TariffDay


class PlanResult(Protocol):
    """What a planning run came to."""

    @property
    def plan(self) -> PlanRun:
        """The run."""
        ...

    @property
    def bid(self) -> Bid | None:
        """The bid that was drafted; None when there is nothing to bid."""
        ...


class PlanDoor(Protocol):
    """`services.plan_bids.BidPlanner`."""

    async def plan(self, principal: Principal, *, portfolio_id: str, delivery_day: str, request_id: str) -> PlanResult:
        """Compute a plan and draft a bid."""
        ...


class ReviewDoor(Protocol):
    """`services.review_bids.BidReviewer`."""

    async def get(self, principal: Principal, bid_id: str) -> Bid:
        """Return a bid; raises NotFound."""
        ...

    async def list_bids(self, principal: Principal, delivery_day: str | None) -> list[Bid]:
        """Return bids of a day or of all days."""
        ...

    async def propose(self, principal: Principal, *, bid_id: str, content_hash: str, request_id: str) -> Bid:
        """Propose a bid."""
        ...

    async def approve(self, principal: Principal, *, bid_id: str, content_hash: str, request_id: str) -> Bid:
        """Approve a bid."""
        ...

    async def reject(self, principal: Principal, *, bid_id: str, reason: str, request_id: str) -> Bid:
        """Refuse a bid."""
        ...

    async def withdraw(self, principal: Principal, *, bid_id: str, reason: str, request_id: str) -> Bid:
        """Take a bid back."""
        ...


class OrderDoor(Protocol):
    """`services.submit_orders.OrderSubmitter`."""

    async def award(self, principal: Principal, portfolio_id: str, delivery_day: str) -> Award:
        """Return an award; raises NotFound."""
        ...

    async def nominations(self, principal: Principal, delivery_day: str) -> list[Nomination]:
        """Return nominations of a day."""
        ...


class PositionDoor(Protocol):
    """`services.settle_delivery.Settler`."""

    async def positions(self, principal: Principal, delivery_day: str) -> list[Settlement]:
        """Return settled positions of a day."""
        ...

    async def tariff_cost(self, principal: Principal, portfolio_id: str, delivery_day: str) -> TariffDay:
        """Return what a day on a tariff cost; raises NotFound."""
        ...

    async def residuals(self, principal: Principal, delivery_day: str, time_zone: str) -> list[Residual]:
        """Return what late limits made impossible on a day."""
        ...
