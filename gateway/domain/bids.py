r"""Bids and what follows from them: order, award, nomination, schedule, residual, settlement.

A bid is an immutable version with a content hash; only its state moves, along `TRANSITIONS`:

```
DRAFT -> VALIDATED -> PROPOSED -> APPROVED -> SUBMITTING -> SUBMITTED -> AWARDED
   \________\____________\___________\__> WITHDRAWN    |  \-> UNKNOWN (a person decides)
                          \-> REJECTED  \-> MISSED      \-> REJECTED
```

Volumes are positive when bought, in MW over a delivery period; prices per MWh. Both are exact decimals.
"""

import math
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from gateway.domain.errors import InvalidInput, PreconditionFailed
from gateway.domain.evidence import content_hash
from gateway.domain.topology import Route
from gateway.domain.used_inputs import UsedInput


class BidState(StrEnum):
    """Where a bid is on its way to the market."""

    DRAFT = "draft"
    VALIDATED = "validated"
    PROPOSED = "proposed"
    APPROVED = "approved"
    SUBMITTING = "submitting"
    SUBMITTED = "submitted"
    AWARDED = "awarded"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    MISSED = "missed"
    WITHDRAWN = "withdrawn"


TRANSITIONS: dict[BidState, frozenset[BidState]] = {
    BidState.DRAFT: frozenset({BidState.VALIDATED, BidState.WITHDRAWN, BidState.MISSED}),
    BidState.VALIDATED: frozenset({BidState.PROPOSED, BidState.WITHDRAWN, BidState.MISSED}),
    BidState.PROPOSED: frozenset({BidState.APPROVED, BidState.REJECTED, BidState.WITHDRAWN, BidState.MISSED}),
    BidState.APPROVED: frozenset({BidState.SUBMITTING, BidState.WITHDRAWN, BidState.MISSED}),
    BidState.SUBMITTING: frozenset({BidState.SUBMITTED, BidState.REJECTED, BidState.UNKNOWN, BidState.MISSED}),
    BidState.SUBMITTED: frozenset({BidState.AWARDED, BidState.UNKNOWN, BidState.REJECTED}),
    BidState.UNKNOWN: frozenset({BidState.SUBMITTED, BidState.REJECTED, BidState.AWARDED}),
    BidState.AWARDED: frozenset(),
    BidState.REJECTED: frozenset(),
    BidState.MISSED: frozenset(),
    BidState.WITHDRAWN: frozenset(),
}

ORDERED_STATES = frozenset(
    {BidState.APPROVED, BidState.SUBMITTING, BidState.SUBMITTED, BidState.AWARDED, BidState.UNKNOWN}
)
"""An order exists or may exist at the exchange."""
OPEN_STATES = frozenset({BidState.DRAFT, BidState.VALIDATED, BidState.PROPOSED})
"""People are still at it; no order exists."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CurvePoint:
    """One point of a demand curve: the cumulative net volume wanted at a price."""

    price_per_mwh: Decimal
    volume_mw: Decimal
    """Cumulative net volume at this price, positive bought; never increases with the price."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BidPeriod:
    """What is wanted in one delivery period."""

    start: datetime
    end: datetime
    curve: tuple[CurvePoint, ...]
    """Ascending in price, at least one point; the volume holds up to its price, a step down after it."""

    def __post_init__(self) -> None:
        """Reject empty, unordered or increasing curves and numbers that are not finite."""
        if self.end <= self.start:
            raise InvalidInput("period.end", "must be after period.start")
        if not self.curve:
            raise InvalidInput("period.curve", "must have at least one point")
        for point in self.curve:
            if not point.price_per_mwh.is_finite() or not point.volume_mw.is_finite():
                raise InvalidInput("period.curve", "prices and volumes must be finite")
        for low, high in zip(self.curve, self.curve[1:], strict=False):
            if high.price_per_mwh <= low.price_per_mwh:
                raise InvalidInput("period.curve.price_per_mwh", "must increase")
            if high.volume_mw > low.volume_mw:
                raise InvalidInput("period.curve.volume_mw", "must not increase with the price")

    @property
    def max_volume_mw(self) -> Decimal:
        """Largest volume of the curve."""
        return self.curve[0].volume_mw

    def volume_at(self, price_per_mwh: Decimal) -> Decimal:
        """Return the volume bought at a clearing price: that of the first point whose price is not below it."""
        for point in self.curve:
            if point.price_per_mwh >= price_per_mwh:
                return point.volume_mw
        return Decimal(0)

    def with_volume(self, volume_mw: Decimal) -> "BidPeriod":
        """Return the period with another largest volume; with its own it is the same period.

        A smaller volume cuts the curve from above, a larger one raises its first point; prices stay. Start from what was planned:
        what a curve was cut to before cannot be read back from it.
        """
        first, *rest = self.curve
        if volume_mw == first.volume_mw:
            return self
        if volume_mw > first.volume_mw:
            points = [CurvePoint(price_per_mwh=first.price_per_mwh, volume_mw=volume_mw), *rest]
        else:
            points = [
                CurvePoint(price_per_mwh=point.price_per_mwh, volume_mw=min(point.volume_mw, volume_mw))
                for point in self.curve
            ]
        return BidPeriod(start=self.start, end=self.end, curve=tuple(points))


class CheckOutcome(StrEnum):
    """Result of one pre-trade check."""

    PASSED = "passed"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class BidCheck:
    """One pre-trade check with its outcome and a sentence for people."""

    name: str
    outcome: CheckOutcome
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Bid:
    """One immutable version of what a portfolio wants from one auction."""

    id: str
    tenant: str
    portfolio: str
    delivery_day: str
    """ISO date in the market's time zone."""
    time_zone: str
    bidding_zone: str
    auction: str
    """Id of the auction at the exchange."""
    version: int
    """1 for the first; an edit makes a new bid with the next number."""
    currency: str
    lot_mw: Decimal
    gate_closure: datetime
    route: Route
    brp: str | None
    plan: str
    """Id of the `PlanRun` it was made from."""
    periods: tuple[BidPeriod, ...]
    state: BidState
    checks: tuple[BidCheck, ...]
    content_hash: str
    """Hex SHA-256 over what is bought: portfolio, day, auction, currency, route, BRP and all curves."""
    min_price_per_mwh: Decimal | None = None
    """Smallest price the auction takes; None when it did not say."""
    max_price_per_mwh: Decimal | None = None
    drafted_by: str
    drafted_at: datetime
    proposed_by: str | None = None
    proposed_at: datetime | None = None
    approved_by: str | None = None
    approved_at: datetime | None = None
    reason: str = ""
    """Why it was rejected, withdrawn, missed or is unknown."""

    @property
    def energy_mwh(self) -> Decimal:
        """Energy if everything is bought, in MWh."""
        return sum((energy_mwh(period.max_volume_mw, period.start, period.end) for period in self.periods), Decimal(0))

    def hash_of_content(self) -> str:
        """Return the hash of what is bought as it is now; equal to `content_hash` unless somebody changed it."""
        return bid_content_hash(
            portfolio=self.portfolio,
            delivery_day=self.delivery_day,
            auction=self.auction,
            currency=self.currency,
            route=self.route,
            brp=self.brp,
            periods=self.periods,
        )

    def require_transition(self, target: BidState) -> None:
        """Raise unless the bid may move to the state.

        Raises:
            PreconditionFailed: The state machine does not allow it.
        """
        if target not in TRANSITIONS[self.state]:
            raise PreconditionFailed(f"a bid that is {self.state.value} cannot become {target.value}")


def energy_mwh(volume_mw: Decimal, start: datetime, end: datetime) -> Decimal:
    """Return the energy of a constant volume over a delivery period, in MWh, exactly."""
    return volume_mw * Decimal(int((end - start).total_seconds())) / Decimal(3600)


def bid_content_hash(  # noqa: PLR0913  # everything that is signed, by name
    *,
    portfolio: str,
    delivery_day: str,
    auction: str,
    currency: str,
    route: Route,
    brp: str | None,
    periods: tuple[BidPeriod, ...],
) -> str:
    """Return the hash that two people sign: everything that decides what is bought and for whom."""
    return content_hash([portfolio, delivery_day, auction, currency, route, brp, periods])


class OrderState(StrEnum):
    """Where an order is between us and the exchange."""

    PENDING = "pending"
    SENDING = "sending"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    MISSED = "missed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What leaves for an approved bid; `id` is the idempotency key at the exchange."""

    id: str
    """`{auction}:{portfolio}:{bid}`; chosen before the first try, so a second try is recognisable."""
    tenant: str
    bid: str
    bid_hash: str
    auction: str
    exchange_portfolio: str
    bidding_zone: str
    currency: str
    gate_closure: datetime
    periods: tuple[BidPeriod, ...]
    state: OrderState
    created_at: datetime
    sent_at: datetime | None = None
    exchange_order_id: str | None = None
    message: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class AwardedPeriod:
    """What one delivery period got."""

    start: datetime
    end: datetime
    volume_mw: Decimal
    price_per_mwh: Decimal


@dataclass(frozen=True, kw_only=True, slots=True)
class Award:
    """The auction's result for an order."""

    id: str
    tenant: str
    order: str
    bid: str
    portfolio: str
    delivery_day: str
    currency: str
    periods: tuple[AwardedPeriod, ...]
    received_at: datetime

    @property
    def energy_mwh(self) -> Decimal:
        """Energy bought over the day, in MWh."""
        return sum((energy_mwh(p.volume_mw, p.start, p.end) for p in self.periods), Decimal(0))


class NominationState(StrEnum):
    """Where a nomination is between us and the BRP."""

    PENDING = "pending"
    ACKNOWLEDGED = "acknowledged"
    REJECTED = "rejected"


@dataclass(frozen=True, kw_only=True, slots=True)
class PositionPeriod:
    """The position of a connection point in one delivery period."""

    start: datetime
    end: datetime
    volume_mw: Decimal


@dataclass(frozen=True, kw_only=True, slots=True)
class Nomination:
    """What we told the BRP a connection point will draw; the periods are its position."""

    id: str
    """`{award}:{connection_point}`; idempotency key at the BRP."""
    tenant: str
    award: str
    connection_point: str
    brp: str
    delivery_day: str
    periods: tuple[PositionPeriod, ...]
    state: NominationState
    created_at: datetime
    acknowledged_at: datetime | None = None
    acknowledgement: str | None = None
    """Reference that the BRP gave."""
    message: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """What the chargers of a site shall draw per slot on a delivery day, from an award or a tariff plan."""

    id: str
    """`{node}:{delivery_day}`."""
    tenant: str
    node: str
    connection_point: str
    delivery_day: str
    start: datetime
    step_minutes: int
    power_kw: tuple[float, ...]
    cause: str
    """`award:{id}` or `plan:{id}`."""
    made_at: datetime

    def __post_init__(self) -> None:
        """Reject powers that are not finite: what is not known is no schedule, and no pause either."""
        if not all(math.isfinite(kw) for kw in self.power_kw):
            raise InvalidInput("schedule.power_kw", "must be finite numbers")


@dataclass(frozen=True, kw_only=True, slots=True)
class Residual:
    """Energy of the position that a limit arriving after the gate makes impossible, and what it may cost."""

    id: str
    """`{node}:{limit}`."""
    tenant: str
    node: str
    limit: str
    start: datetime
    end: datetime
    energy_mwh: Decimal
    """Position minus what the limit still allows; positive: bought but cannot be drawn."""
    exposure: Decimal
    """Cash at risk in `currency` at the price assumption named in `basis`; positive is a cost."""
    currency: str
    basis: str
    found_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanSite:
    """What a plan means for one connection point."""

    connection_point: str
    node: str
    power_kw: tuple[float, ...]
    """Per slot of the delivery day."""
    session_count: int
    energy_kwh: float
    uncontrolled_kw: tuple[float, ...]
    """What the same sessions would draw if each charged at once at full rate."""
    other_load_kw: tuple[float, ...] = ()
    """Forecast of what else the connection point draws per slot; empty when there is none."""

    @property
    def meter_kw(self) -> tuple[float, ...]:
        """What the connection point's meter sees per slot: the chargers and the other load."""
        if not self.other_load_kw:
            return self.power_kw
        return tuple(own + other for own, other in zip(self.power_kw, self.other_load_kw, strict=True))


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanRun:
    """One run of the day-ahead optimisation with what it knew and what came out."""

    id: str
    tenant: str
    portfolio: str
    delivery_day: str
    made_at: datetime
    known_until: datetime
    """Nothing later than this instant went in."""
    outcome: str
    """`proved`, `feasible`, `infeasible`, `timed-out`, `too-small`, or `failed` when the independent check refused the
    solution or the solving process died."""
    gap: float | None
    """Certified relative gap; None when no solution."""
    message: str
    start: datetime
    step_minutes: int
    price_series: str | None
    """Id of the price series used; None when prices were forecast."""
    price_per_mwh: tuple[float, ...]
    """Prices per slot of the delivery day that the plan believed."""
    price_quality: str
    carbon_series: str | None
    sites: tuple[PlanSite, ...]
    expected_cost: Decimal
    uncontrolled_cost: Decimal
    currency: str
    limits: tuple[str, ...]
    """Ids of the limits known at the gate that went in."""
    causes: tuple[str, ...] = ()
    price_days: tuple[str, ...] = ()
    """Ids of the market days behind the prices, published or forecast from their past, oldest first."""
    price_doubts: tuple[str, ...] = ()
    """What was doubtful about their prices when the plan was made."""
    inputs: tuple[UsedInput, ...] = ()
    """Prices, carbon and tariff that went in, each with its quality and where it came from."""
