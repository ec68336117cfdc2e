"""Delivery in money: what was metered, what it was against, and every euro of the difference."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from gateway.domain.errors import InvalidInput
from gateway.domain.used_inputs import UsedInput

NO_CAUSE = "none"
FORECAST_CAUSE = "forecast"
MISSING_METER_CAUSE = "missing-meter"
TOLERANCE_SHARE = 0.05
TOLERANCE_KWH = 2.5
"""A deviation up to 5 % of the position, or 10 kW over a quarter-hour, needs no cause."""
LEAST_COVERAGE = 0.5
"""A period measured for less than half of its time counts as not metered."""


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
    is_modelled: bool = False
    """True when it was reported as the outcome of a model, not of a meter."""

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
    """Why it deviates: `limit:{id}`, `after-limit:{id}` (what the limit held back is charged later), `dispatch:{id}` (chargers
    did not follow it), `missing-meter` (the position stands in for the reading), `forecast`, or `none` inside the tolerance."""


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
    price_doubts: tuple[str, ...] = ()
    """What is doubtful about its prices, for example `imbalance: preliminary prices`; what is paid may change with them."""
    conversions: tuple[str, ...] = ()
    """Which of its prices were published in another currency, and by which rate of which day and source they were converted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TariffCost:
    """What charging at one connection point cost on a tariff on a delivery day, against the same sessions uncontrolled."""

    connection_point: str
    metered_period_count: int
    """Delivery periods with a reading; nothing is counted in the others."""
    charged_kwh: Decimal
    """By the chargers' own meters."""
    cost: Decimal
    """Of the charged energy at the tariff's energy price; positive is paid."""
    emissions_kg: float | None
    """CO2 of the charged energy at the intensity of each period; None when a period's intensity is not known."""
    uncontrolled_kwh: Decimal
    """Modelled: every car that came charges what it was given at full rate from plug-in on, inside the site's rating."""
    uncontrolled_cost: Decimal
    uncontrolled_emissions_kg: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class TariffDay:
    """A delivery day of a portfolio that buys on a tariff, connection point by connection point."""

    portfolio: str
    delivery_day: str
    currency: str
    period_count: int
    """Delivery periods of the day."""
    price_series: str
    carbon_series: str | None
    """None when no intensity is known for the day."""
    points: tuple[TariffCost, ...]
    inputs: tuple[UsedInput, ...] = ()
    """The tariff's prices and the carbon intensity behind it, each with its quality and where it came from."""


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


@dataclass(frozen=True, kw_only=True, slots=True)
class PeriodEvidence:
    """What is known about why a delivery period came out as it did."""

    position_kwh: float
    metered_kwh: float | None
    """None when the meter is missing or was read for too little of the period."""
    limits: tuple[str, ...] = ()
    """Ids of limits that came after the gate, covered the period and touched the connection point."""
    not_followed: tuple[str, ...] = ()
    """Ids of dispatches that chargers of the connection point did not follow in the period."""


def causes_of_deviation(evidence: Sequence[PeriodEvidence]) -> tuple[str, ...]:
    """Return the one main cause per delivery period of a day, in order.

    Less than the position under a limit is the limit's doing; what it held back and is drawn afterwards is too, up to the
    energy that is owed. More than the position while chargers did not follow is theirs. The rest is the forecast's.
    """
    causes: list[str] = []
    owed_kwh, owed_by = 0.0, ""
    for period in evidence:
        cause, deviation = _cause_now(period)
        if cause.startswith("limit:"):
            owed_kwh, owed_by = owed_kwh - deviation, cause.removeprefix("limit:")
        elif cause == FORECAST_CAUSE and deviation > 0.0 and owed_kwh > 0.0:
            cause, owed_kwh = f"after-limit:{owed_by}", owed_kwh - deviation
        causes.append(cause)
    return tuple(causes)


def _cause_now(period: PeriodEvidence) -> tuple[str, float]:
    """Return the cause within a period and its deviation in kWh."""
    if period.metered_kwh is None:
        return MISSING_METER_CAUSE, 0.0
    deviation = period.metered_kwh - period.position_kwh
    if abs(deviation) <= max(TOLERANCE_SHARE * abs(period.position_kwh), TOLERANCE_KWH):
        return NO_CAUSE, deviation
    if deviation < 0.0 and period.limits:
        return f"limit:{period.limits[0]}", deviation
    if deviation > 0.0 and period.not_followed:
        return f"dispatch:{period.not_followed[0]}", deviation
    return FORECAST_CAUSE, deviation
