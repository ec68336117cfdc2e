"""What becomes of energy that an auction did not give: the ordered way to the last resort, with its exposure at each step.

```
   wanted - awarded -> intraday auctions -> continuous trading -> imbalance
                         open gates only     until lead time       always, and dearest
```

Energy that cars must have is never stranded: the last step takes whatever is left. How much each step will fill is an
assumption that is stated; the exposure also says what it costs if nothing is filled until there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import numpy as np

from bidding.arrays import FloatArray, finite_vector
from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import TimeGrid, require_utc


class Venue(StrEnum):
    """Where a position can still be changed, in the order of time."""

    INTRADAY_AUCTION = "intraday-auction"
    CONTINUOUS = "continuous"
    IMBALANCE = "imbalance"


VENUE_ORDER = (Venue.INTRADAY_AUCTION, Venue.CONTINUOUS, Venue.IMBALANCE)


@dataclass(frozen=True, kw_only=True, slots=True)
class FallbackStep:
    """One place to trade what is missing, with what is assumed of it."""

    name: str
    venue: Venue
    premium_eur_per_mwh: float
    """What buying a MWh costs above the day-ahead price (and selling brings below it), at least 0."""
    fill_share: float = 1.0
    """Share of what arrives that is expected to be traded, in [0, 1]; 1 for imbalance."""
    gate: datetime | None = None
    """Of an auction: until when it takes orders; None for the other venues."""
    first_delivery: datetime | None = None
    """Of an auction: delivery periods that begin earlier are not in it; None for all."""
    lead_time: timedelta = timedelta(0)
    """Of continuous trading: it ends this long before a delivery period begins."""

    def __post_init__(self) -> None:
        """Reject premiums and shares outside their range, and auctions without a gate."""
        if not np.isfinite(self.premium_eur_per_mwh) or self.premium_eur_per_mwh < 0.0:
            raise InvalidInput(f"{self.name}.premium_eur_per_mwh", "must be a finite number of at least 0")
        if not 0.0 <= self.fill_share <= 1.0:
            raise InvalidInput(f"{self.name}.fill_share", "must be within [0, 1]")
        if self.venue is Venue.IMBALANCE and self.fill_share < 1.0:
            raise InvalidInput(f"{self.name}.fill_share", "is 1 for imbalance: it takes whatever is left")
        if (self.gate is None) is (self.venue is Venue.INTRADAY_AUCTION):
            raise InvalidInput(f"{self.name}.gate", "belongs to auctions, and only to them")

    def takes(self, start: datetime, now: datetime) -> bool:
        """Tell whether a delivery period beginning at `start` can still be traded at `now`."""
        if self.venue is Venue.IMBALANCE:
            return True
        if self.venue is Venue.CONTINUOUS:
            return now < start - self.lead_time
        is_in_it = self.first_delivery is None or start >= self.first_delivery
        return is_in_it and self.gate is not None and now < self.gate


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StepExposure:
    """What one step gets and what it may cost."""

    step: FallbackStep
    volume_mw: FloatArray
    """Expected to arrive and tradable here, per period; positive still to be bought, negative to be sold."""
    left_mw: FloatArray
    """Expected to be left after this step, per period."""
    expected_eur: float
    """Cost above the day-ahead price of what is expected to be traded here."""
    exposure_eur: float
    """Cost above the day-ahead price if nothing was traded before and all that is tradable here is traded here."""
    cost_eur: float
    """The whole cost in that case: the same energy at the day-ahead price plus the exposure."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Fallback:
    """The way of a residual to the last resort."""

    residual_mw: FloatArray
    """Wanted minus awarded per period."""
    steps: tuple[StepExposure, ...]
    """In the order of time; the last is imbalance and leaves nothing."""

    @property
    def expected_eur(self) -> float:
        """Expected cost above the day-ahead price over all steps."""
        return sum(step.expected_eur for step in self.steps)

    @property
    def worst_eur(self) -> float:
        """Cost above the day-ahead price when everything ends as imbalance."""
        return self.steps[-1].exposure_eur


def plan_fallback(
    wanted_mw: FloatArray,
    awarded_mw: FloatArray,
    steps: Sequence[FallbackStep],
    *,
    periods: TimeGrid,
    price_eur_per_mwh: FloatArray,
    now: datetime,
) -> Fallback:
    """Return how a residual goes on, and what it is exposed to at each step.

    Args:
        wanted_mw: What the fleet needs per delivery period.
        awarded_mw: What the auction gave.
        steps: Intraday auctions, then continuous trading, then imbalance; the last must be imbalance.
        periods: Delivery periods.
        price_eur_per_mwh: Day-ahead price per period.
        now: Gates before this instant are closed.

    Raises:
        InvalidInput: Lengths differ, or the steps are out of order or do not end with imbalance.
    """
    require_utc("now", now)
    count = periods.count
    residual = finite_vector("wanted_mw", wanted_mw, count) - finite_vector("awarded_mw", awarded_mw, count)
    price = finite_vector("price_eur_per_mwh", price_eur_per_mwh, count)
    _require_order(steps)
    left = residual
    found: list[StepExposure] = []
    for step in steps:
        is_open = np.array([step.takes(start, now) for start in periods.starts()])
        arriving = np.where(is_open, left, 0.0)
        traded = arriving * step.fill_share
        left = left - traded
        whole = np.where(is_open, residual, 0.0) * periods.step_hours
        exposure = step.premium_eur_per_mwh * float(np.abs(whole).sum())
        found.append(
            StepExposure(
                step=step,
                volume_mw=arriving,
                left_mw=left,
                expected_eur=step.premium_eur_per_mwh * float(np.abs(traded).sum()) * periods.step_hours,
                exposure_eur=exposure,
                cost_eur=float(price @ whole) + exposure,
            )
        )
    return Fallback(residual_mw=residual, steps=tuple(found))


def _require_order(steps: Sequence[FallbackStep]) -> None:
    if not steps or steps[-1].venue is not Venue.IMBALANCE:
        raise InvalidInput("steps", "must end with imbalance: nothing may be stranded")
    places = [VENUE_ORDER.index(step.venue) for step in steps]
    for index in range(1, len(steps)):
        if places[index] < places[index - 1] or places[index - 1] == VENUE_ORDER.index(Venue.IMBALANCE):
            raise InvalidInput(f"steps[{index}]", "must not come after a later venue")
        earlier, later = steps[index - 1].gate, steps[index].gate
        if earlier is not None and later is not None and later <= earlier:
            raise InvalidInput(f"steps[{index}].gate", "must be after the gate before it")
