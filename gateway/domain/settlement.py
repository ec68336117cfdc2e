"""Delivery in money: what was metered, what it was against, and every euro of the difference."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from gateway.domain.errors import InvalidInput


@dataclass(frozen=True, kw_only=True, slots=True)
class MeteredPeriod:
    """Energy at the meter of a connection point in one delivery period."""

    id: str
    """`{connection_point}:{start}`."""
    tenant: str
    connection_point: str
    start: datetime
    end: datetime
    energy_kwh: float
    """Net energy, positive drawn from the grid."""
    chargers_kwh: float
    """Of it, what the chargers drew by their own meters."""
    coverage: float
    """Share of the period covered by readings, 0 to 1."""

    def __post_init__(self) -> None:
        """Reject a coverage outside [0, 1]."""
        if not 0.0 <= self.coverage <= 1.0:
            raise InvalidInput("metered.coverage", "must be 0 to 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class SettledPeriod:
    """One delivery period of one connection point, settled."""

    start: datetime
    end: datetime
    position_mwh: Decimal
    metered_mwh: Decimal
    day_ahead_price_per_mwh: Decimal
    imbalance_price_per_mwh: Decimal
    day_ahead_cash: Decimal
    """Position times day-ahead price; positive is paid."""
    imbalance_cash: Decimal
    """(metered - position) times imbalance price; positive is paid."""
    cause: str
    """Why it deviates: a limit, chargers not following, forecast, or `none` inside the tolerance."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settlement:
    """A delivery day of one connection point, settled; the sums are the sums of its periods, to the last digit."""

    id: str
    """`{connection_point}:{delivery_day}`."""
    tenant: str
    portfolio: str
    connection_point: str
    delivery_day: str
    currency: str
    periods: tuple[SettledPeriod, ...]
    day_ahead_cash: Decimal
    imbalance_cash: Decimal
    uncontrolled_cash: Decimal
    """What uncontrolled charging of the same sessions would have cost at day-ahead prices; for comparison only."""
    settled_at: datetime
    causes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class EventPerformance:
    """How far a demand-response event was followed."""

    id: str
    """Id of the event."""
    tenant: str
    event: str
    node: str
    requested_kw: float
    """The most that was to be drawn."""
    mean_power_kw: float
    """What was drawn on average while it was active."""
    baseline_kw: float | None
    """What would have been drawn by the named baseline; None when there is no past to take it from."""
    baseline_method: str
    compliance: float
    """Share of the active delivery time at or under the requested power, 0 to 1."""
    found_at: datetime
