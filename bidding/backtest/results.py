"""What one strategy earned and delivered on one day."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum

import numpy as np

from bidding.arrays import FloatArray
from bidding.backtest.certificate import Certificate
from bidding.backtest.recording import RecordedDay
from bidding.delivery.settlement import DeliveryFacts, settle_day
from gateway.domain.timegrid import TimeGrid
from gateway.domain.units import KW_PER_MW

PERIOD_TOLERANCE = 0.01
"""A period is delivered when it is within this share of the award..."""
PERIOD_TOLERANCE_KWH = 1.0
"""...or within so much."""
EXACT_KWH = Decimal("0.000001")


class SessionKnowledge(StrEnum):
    """What bid and dispatch know of the sessions."""

    FORECAST = "forecast"
    """What the gate knew; the dispatcher learns departures and energies as they come."""
    REALISED = "realised"
    """The sessions as they came: what is left is the uncertainty of prices, the rounding to lots and the market's rules."""


class ImbalanceBasis(StrEnum):
    """Where the price of deviations is from."""

    RECORDED = "recorded imbalance price"
    SPREAD = "day-ahead price and a stated spread"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Part:
    """A part of a delivery day as it went; sums of parts are days."""

    award_kwh: FloatArray
    """Bought per delivery period."""
    delivered_kwh: FloatArray
    """Drawn per delivery period."""
    promised_count: int = 0
    """Guaranteed departures that fell due."""
    missed_count: int = 0
    """Those without their energy."""
    departed_count: int = 0
    """Cars that left."""
    unserved_kwh: float = 0.0
    """What cars that left would have taken and did not get."""

    def __add__(self, other: "Part") -> "Part":
        """Return this part followed by another."""
        return Part(
            award_kwh=np.concatenate([self.award_kwh, other.award_kwh]),
            delivered_kwh=np.concatenate([self.delivered_kwh, other.delivered_kwh]),
            promised_count=self.promised_count + other.promised_count,
            missed_count=self.missed_count + other.missed_count,
            departed_count=self.departed_count + other.departed_count,
            unserved_kwh=self.unserved_kwh + other.unserved_kwh,
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DayResult:
    """One delivery day of one strategy; cash is positive when paid."""

    day: date
    strategy: str
    knowledge: SessionKnowledge
    part: Part
    """The whole day."""
    day_ahead_eur_per_mwh: FloatArray
    """Clearing price per delivery period."""
    day_ahead_eur: Decimal
    imbalance_eur: Decimal
    imbalance_basis: ImbalanceBasis
    unserved_eur: Decimal
    """Unserved energy at the day's highest day-ahead price: a convention, so that not serving never pays."""
    certificate: Certificate | None = None
    """Of the day's bid; None when none was asked for."""

    @property
    def cost_eur(self) -> Decimal:
        """Day-ahead, imbalance and unserved energy."""
        return self.day_ahead_eur + self.imbalance_eur + self.unserved_eur

    @property
    def deviation_kwh(self) -> FloatArray:
        """Drawn minus bought per delivery period."""
        return self.part.delivered_kwh - self.part.award_kwh

    @property
    def delivered_share(self) -> float:
        """Share of the bought energy that was drawn in its period; 1.0 when nothing was bought."""
        bought = float(self.part.award_kwh.sum())
        return float(np.minimum(self.part.award_kwh, self.part.delivered_kwh).sum()) / bought if bought > 0.0 else 1.0

    @property
    def period_share(self) -> float:
        """Share of the periods that were delivered within the tolerance."""
        allowed = np.maximum(PERIOD_TOLERANCE * self.part.award_kwh, PERIOD_TOLERANCE_KWH)
        return float((np.abs(self.deviation_kwh) <= allowed).mean())


def settled(
    prices: RecordedDay,
    grid: TimeGrid,
    *,
    strategy: str,
    knowledge: SessionKnowledge,
    part: Part,
    spread_eur_per_mwh: float,
) -> DayResult:
    """Return the day in money, exactly.

    Args:
        prices: Of the delivery day.
        grid: Its delivery periods.
        strategy: Name.
        knowledge: Under which it was bid.
        part: The whole day as it went.
        spread_eur_per_mwh: Where no imbalance price is recorded, drawing more costs the day-ahead price plus this, drawing
            less pays the day-ahead price minus this.
    """
    recorded = prices.imbalance_eur_per_mwh
    off = part.delivered_kwh - part.award_kwh
    imbalance = prices.day_ahead_eur_per_mwh + np.sign(off) * spread_eur_per_mwh if recorded is None else recorded
    facts = [
        DeliveryFacts(
            position_mw=_exact(award / (KW_PER_MW * grid.step_hours)),
            day_ahead_price_per_mwh=_exact(price),
            metered_kwh=_exact(drawn),
            imbalance_price_per_mwh=_exact(penalty),
        )
        for award, drawn, price, penalty in zip(
            part.award_kwh, part.delivered_kwh, prices.day_ahead_eur_per_mwh, imbalance, strict=True
        )
    ]
    day = settle_day(grid, facts)
    highest = _exact(float(prices.day_ahead_eur_per_mwh.max()))
    return DayResult(
        day=prices.day.day,
        strategy=strategy,
        knowledge=knowledge,
        part=part,
        day_ahead_eur_per_mwh=prices.day_ahead_eur_per_mwh,
        day_ahead_eur=day.day_ahead_cash,
        imbalance_eur=day.imbalance_cash,
        imbalance_basis=ImbalanceBasis.SPREAD if recorded is None else ImbalanceBasis.RECORDED,
        unserved_eur=_exact(part.unserved_kwh) / 1000 * highest,
    )


def _exact(value: float) -> Decimal:
    return Decimal(repr(float(value))).quantize(EXACT_KWH)
