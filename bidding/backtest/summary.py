"""Days to numbers: what a strategy cost, what it saved against others and how sure that is, and how well it delivered."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bidding.arrays import FloatArray
from bidding.backtest.results import DayResult
from bidding.forecasts.scores import DEFAULT_CONFIDENCE, mean_with_interval
from gateway.domain.errors import InvalidInput
from gateway.domain.units import KW_PER_MW

DEFAULT_BLOCK_DAYS = 3
DEFAULT_KWH_PER_CAR_YEAR = 2500.0
"""What a battery-electric car charges in a year: 14 000 km at 18 kWh per 100 km."""
P95 = 0.95


@dataclass(frozen=True, kw_only=True, slots=True)
class Saving:
    """What a strategy saved against a reference on the same days; negative when it cost more.

    The block bootstrap is paired: whole blocks of days are drawn, with the difference of both strategies on them. Energy
    that one strategy moves over midnight and the other does not is valued at the mean day-ahead price of the study.
    """

    reference: str
    eur_per_day: float
    low_eur_per_day: float
    high_eur_per_day: float
    confidence: float
    eur_per_mwh: float
    """Per MWh that the reference's cars were to get."""
    low_eur_per_mwh: float
    high_eur_per_mwh: float
    eur_per_car_year: float
    low_eur_per_car_year: float
    high_eur_per_car_year: float

    @property
    def is_sure(self) -> bool:
        """Whether the whole interval is above 0."""
        return self.low_eur_per_day > 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class StrategySummary:
    """One strategy over all days."""

    strategy: str
    day_count: int
    cost_eur: float
    """Day-ahead, imbalance and the convention for unserved energy (`DayResult.cost_eur`)."""
    day_ahead_eur: float
    imbalance_eur: float
    unserved_eur: float
    delivered_mwh: float
    unserved_mwh: float
    eur_per_mwh: float
    """Cost over delivered and unserved energy."""
    delivered_share: float
    """Of the bought energy, drawn in its period."""
    period_share: float
    """Of the delivery periods, within 1 % or 1 kWh."""
    deviation_mean_kwh: float
    """Mean absolute deviation per delivery period."""
    deviation_p95_kwh: float
    promised_count: int
    missed_count: int
    """Guaranteed departures without their energy."""
    savings: tuple[Saving, ...]
    captured_share: float | None
    """Share of the gap between the first reference but one and foresight, where both are given (`summarise`)."""


def summarise(
    results: Sequence[DayResult],
    generator: np.random.Generator,
    *,
    references: Sequence[str] = (),
    foresight: str | None = None,
    block_days: int = DEFAULT_BLOCK_DAYS,
    kwh_per_car_year: float = DEFAULT_KWH_PER_CAR_YEAR,
) -> tuple[StrategySummary, ...]:
    """Return one summary per strategy, in the order they first appear.

    Args:
        results: Days of all strategies; every strategy has the same days.
        generator: For the bootstrap.
        references: Strategies that savings are stated against; the gap that is captured begins at the last of them.
        foresight: Strategy at which the gap ends; None when it is not reported.
        block_days: Days that are drawn together.
        kwh_per_car_year: Turns money per MWh into money per car and year.

    Raises:
        InvalidInput: A strategy lacks a day, or a reference is missing.
    """
    by_strategy = _grouped(results)
    days = [tuple(one.day for one in found) for found in by_strategy.values()]
    if len(set(days)) > 1:
        raise InvalidInput("results", "have strategies with different days")
    for name in (*references, *(() if foresight is None else (foresight,))):
        if name not in by_strategy:
            raise InvalidInput("references", f"{name!r} is not among the results")
    mean_price = float(np.mean([price for one in results for price in one.day_ahead_eur_per_mwh]))
    costs = {name: _comparable(found, mean_price) for name, found in by_strategy.items()}
    summaries = []
    for name, found in by_strategy.items():
        savings = []
        for reference in references:
            mwh_per_day = float(np.mean([_energy_mwh(one) for one in by_strategy[reference]]))
            difference = costs[reference] - costs[name]
            savings.append(_saving(reference, difference, mwh_per_day, generator, block_days, kwh_per_car_year))
        gap = None
        if references and foresight is not None:
            widest = float((costs[references[-1]] - costs[foresight]).sum())
            gap = float((costs[references[-1]] - costs[name]).sum()) / widest if widest > 0.0 else None
        summaries.append(_summary(name, found, tuple(savings), gap))
    return tuple(summaries)


def _grouped(results: Sequence[DayResult]) -> dict[str, list[DayResult]]:
    found: dict[str, list[DayResult]] = {}
    for one in results:
        found.setdefault(one.strategy, []).append(one)
    return {name: sorted(days, key=lambda one: one.day) for name, days in found.items()}


def _energy_mwh(one: DayResult) -> float:
    return (float(one.part.delivered_kwh.sum()) + one.part.unserved_kwh) / KW_PER_MW


def _comparable(days: Sequence[DayResult], mean_price: float) -> FloatArray:
    """Return the cost of each day less the mean price of its energy: what is left does not depend on how much was drawn."""
    return np.array([float(one.cost_eur) - _energy_mwh(one) * mean_price for one in days])


def _saving(
    reference: str,
    difference: FloatArray,
    mwh_per_day: float,
    generator: np.random.Generator,
    block_days: int,
    kwh_per_car_year: float,
) -> Saving:
    found = mean_with_interval(difference, generator, block_days=block_days, confidence=DEFAULT_CONFIDENCE)
    per_mwh = 1.0 / mwh_per_day if mwh_per_day > 0.0 else 0.0
    per_car = per_mwh * kwh_per_car_year / KW_PER_MW
    return Saving(
        reference=reference,
        eur_per_day=found.mean,
        low_eur_per_day=found.low,
        high_eur_per_day=found.high,
        confidence=found.confidence,
        eur_per_mwh=found.mean * per_mwh,
        low_eur_per_mwh=found.low * per_mwh,
        high_eur_per_mwh=found.high * per_mwh,
        eur_per_car_year=found.mean * per_car,
        low_eur_per_car_year=found.low * per_car,
        high_eur_per_car_year=found.high * per_car,
    )


def _summary(
    name: str, days: Sequence[DayResult], savings: tuple[Saving, ...], captured: float | None
) -> StrategySummary:
    deviation = np.abs(np.concatenate([one.deviation_kwh for one in days]))
    cost = float(sum(one.cost_eur for one in days))
    energy = sum(_energy_mwh(one) for one in days)
    bought = sum(float(one.part.award_kwh.sum()) for one in days)
    drawn = sum(float(np.minimum(one.part.award_kwh, one.part.delivered_kwh).sum()) for one in days)
    return StrategySummary(
        strategy=name,
        day_count=len(days),
        cost_eur=cost,
        day_ahead_eur=float(sum(one.day_ahead_eur for one in days)),
        imbalance_eur=float(sum(one.imbalance_eur for one in days)),
        unserved_eur=float(sum(one.unserved_eur for one in days)),
        delivered_mwh=sum(float(one.part.delivered_kwh.sum()) for one in days) / KW_PER_MW,
        unserved_mwh=sum(one.part.unserved_kwh for one in days) / KW_PER_MW,
        eur_per_mwh=cost / energy if energy > 0.0 else 0.0,
        delivered_share=drawn / bought if bought > 0.0 else 1.0,
        period_share=float(np.mean([one.period_share for one in days])),
        deviation_mean_kwh=float(deviation.mean()),
        deviation_p95_kwh=float(np.quantile(deviation, P95)),
        promised_count=sum(one.part.promised_count for one in days),
        missed_count=sum(one.part.missed_count for one in days),
        savings=savings,
        captured_share=captured,
    )
