"""What the planner is told and what it answers."""

from dataclasses import dataclass
from datetime import date, time, timedelta

from gateway.domain.bids import Bid, PlanRun
from gateway.domain.site_tariff import SiteTariff


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanSettings:
    """When and with how much past a plan is made."""

    tenants: tuple[str, ...]
    """For whose portfolios plans are made without being asked."""
    plan_at: time = time(11)
    """Local time of the market, the day before delivery, from which the plan is made."""
    horizon_end: time = time(12)
    """Local time, the day after delivery, to which cars that stay are planned."""
    history_days: int = 21
    """Past days of sessions and prices that forecasts may use."""
    other_load_days: int = 7
    """Past days that the forecast of the other load is the mean of."""
    deadline_s: float = 60.0
    """Real seconds after which the solving process is killed."""
    sweep: timedelta = timedelta(minutes=1)
    """How often it is looked whether a plan is due."""
    history_quiet: timedelta = timedelta(minutes=3)
    """A past that a charging platform is still filling in is waited for: so long nothing may have been written to it."""
    tries: int = 3
    """A day is planned so often without being asked when planning fails."""
    relative_gap: float = 1e-3
    """Certified gap at which the search for the cheapest schedule stops, as a share of the cost."""
    carbon_eur_per_tonne: float = 0.0
    """What a tonne of CO2 is worth to the portfolio beyond what prices contain; 0 plans by price alone."""
    site_tariff: SiteTariff | None = None
    """What comes on top of the market's prices, or what the supply contract charges for the highest power; None for nothing."""
    holidays: frozenset[date] = frozenset()
    """Public holidays, which behave as Sundays."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanOutcome:
    """What a request for a plan led to."""

    plan: PlanRun
    bid: Bid | None
    """The bid that was drafted; None when there is nothing to bid, and the plan's message says why."""
