"""What stands where no exchange or BRP is configured: nothing is announced and nothing can be sent."""

from datetime import datetime

from typing_extensions import override

from gateway.domain.bids import Award, Nomination, Order
from gateway.domain.clock_skew import ClockSkew
from gateway.domain.errors import NoRoute
from gateway.domain.timegrid import DeliveryDay
from gateway.ports import AuctionInfo, Exchange, NominationDesk, OrderReceipt


class AbsentExchange(Exchange):
    """No market: portfolios are tariff-only."""

    @property
    @override
    def clock_skew(self) -> ClockSkew | None:
        """Return None: nobody has a clock."""
        return None

    @override
    async def auction(self, area: str, day: DeliveryDay) -> AuctionInfo | None:
        """Return None: no auction is ever announced."""
        return None

    @override
    async def submit(self, order: Order) -> OrderReceipt:
        """Refuse.

        Raises:
            NoRoute: Always.
        """
        raise NoRoute("no exchange is configured")

    @override
    async def find_order(self, order: Order) -> OrderReceipt | None:
        """Return None: nobody holds an order."""
        return None

    @override
    async def award(self, order: Order, award_id: str, received_at: datetime) -> Award | None:
        """Return None: nothing clears."""
        return None


class AbsentBrp(NominationDesk):
    """No balance responsible party."""

    @override
    async def nominate(self, nomination: Nomination) -> str:
        """Refuse.

        Raises:
            NoRoute: Always.
        """
        raise NoRoute("no balance responsible party is configured")
