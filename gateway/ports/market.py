"""Where prices and carbon come from, and where orders and nominations go."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from gateway.domain.bids import Award, Nomination, Order
from gateway.domain.clock_skew import ClockSkew
from gateway.domain.series import CarbonSeries, PriceSeries
from gateway.domain.timegrid import DeliveryDay


class PriceSource(Protocol):
    """A place that publishes prices of one product."""

    @property
    def name(self) -> str:
        """Short name for provenance, for example `entsoe`."""
        ...

    async def fetch(self, zone: str, day: DeliveryDay) -> PriceSeries | None:
        """Return the prices of a delivery day, gaps as None inside; None when nothing is published yet.

        Raises:
            PeerUnavailable: The source does not answer or asks to wait.
            InvalidInput: The document breaks a rule; the field says where.
        """
        ...


class CarbonSource(Protocol):
    """A place that publishes carbon intensity of one kind."""

    @property
    def name(self) -> str:
        """Short name for provenance."""
        ...

    async def fetch(self, zone: str, day: DeliveryDay) -> CarbonSeries | None:
        """Return the intensity of a delivery day in g/kWh; None when nothing is published yet.

        Raises:
            PeerUnavailable: The source does not answer.
            InvalidInput: The document breaks a rule.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class AuctionInfo:
    """An auction as its exchange describes it.

    Attributes:
        id: Id at the exchange.
        contracts: Id and half-open delivery period of each contract in order: 92, 96 or 100 for a quarter-hourly day.
        opens_at: From when orders are taken.
        gate_closure: From this instant no order is taken.
        min_price_per_mwh: Smallest price of a curve, decimal text in `currency`.
        max_price_per_mwh: Largest price of a curve, decimal text.
        lot_mw: Volume step, decimal text.
    """

    id: str
    area: str
    currency: str
    contracts: tuple[tuple[str, datetime, datetime], ...]
    opens_at: datetime
    gate_closure: datetime
    min_price_per_mwh: str
    max_price_per_mwh: str
    lot_mw: str


@dataclass(frozen=True, kw_only=True, slots=True)
class OrderReceipt:
    """The exchange's word that it holds an order."""

    exchange_order_id: str
    received_at: datetime


class Exchange(Protocol):
    """Where orders go and awards come from."""

    @property
    def clock_skew(self) -> ClockSkew | None:
        """How far our clock is from its clock; None while it has not said."""
        ...

    async def auction(self, area: str, day: DeliveryDay) -> AuctionInfo | None:
        """Return the day-ahead auction of a delivery day; None when it is not announced.

        Raises:
            PeerUnavailable: The exchange does not answer.
        """
        ...

    async def submit(self, order: Order) -> OrderReceipt:
        """Send an order once.

        Raises:
            GateClosed: The exchange says the gate has closed.
            InvalidInput: The exchange refuses the order for its content.
            PeerUnavailable: It certainly did not take effect (connection refused, 503 before acceptance).
            OutcomeUnknown: It left but no answer tells whether it took effect.
        """
        ...

    async def find_order(self, order: Order) -> OrderReceipt | None:
        """Return the receipt of an order the exchange already holds under our key; None when it does not.

        Raises:
            PeerUnavailable: The exchange does not answer.
        """
        ...

    async def award(self, order: Order, award_id: str, received_at: datetime) -> Award | None:
        """Return the result of an order; None until the auction has cleared.

        Raises:
            PeerUnavailable: The exchange does not answer.
        """
        ...


class NominationDesk(Protocol):
    """The balance responsible party's door for nominations."""

    async def nominate(self, nomination: Nomination) -> str:
        """Send one nomination (idempotent by its id) and return the BRP's acknowledgement reference.

        Raises:
            InvalidInput: The BRP rejects it; the message says why.
            PeerUnavailable: The BRP does not answer.
        """
        ...
