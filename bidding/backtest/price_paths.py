"""Prices as a gate believes them: a point and equally likely paths over the delivery day, a point for the morning after."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Protocol

import numpy as np

from bidding.arrays import FloatArray
from bidding.forecasts.prices import PastPrices, forecast_prices
from gateway.domain.timegrid import DeliveryDay

PLAIN_DAYS = 60
"""How far back the plain forecast looks."""
UNKNOWN_ERROR_EUR_PER_MWH = 20.0
"""Taken as the forecast's error while the past is too short to measure it."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PricePaths:
    """A forecast of one delivery day, EUR per MWh per delivery period."""

    point: FloatArray
    paths: FloatArray
    """Equally likely, shape (S, periods), the latest last; S at least 1."""
    error: float
    """Mean absolute error of the point on past days."""


class PriceModel(Protocol):
    """A way to forecast prices from those of earlier days."""

    @property
    def name(self) -> str:
        """For the report."""
        ...

    def forecast(self, past: Sequence[PastPrices], day: DeliveryDay, step: timedelta) -> PricePaths:
        """Return the forecast of a delivery day; `past` ends one or two days before it."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class DayTypeMean:
    """The mean of the last days of the same type, with the errors that the same method made (`forecasts.prices`)."""

    name: str = "mean of like days"
    holidays: AbstractSet[date] = frozenset()

    def forecast(self, past: Sequence[PastPrices], day: DeliveryDay, step: timedelta) -> PricePaths:
        """Return the forecast.

        Raises:
            InvalidInput: There is no past day.
        """
        found = forecast_prices(past[-PLAIN_DAYS:], day, step=step, holidays=self.holidays)
        paths = found.scenarios_eur_per_mwh
        return PricePaths(
            point=found.price_eur_per_mwh,
            paths=paths if len(paths) else found.price_eur_per_mwh[None, :],
            error=UNKNOWN_ERROR_EUR_PER_MWH if found.mae_eur_per_mwh is None else found.mae_eur_per_mwh,
        )


def over_horizon(first: FloatArray, second: FloatArray, slots_per_period: int, slot_count: int) -> FloatArray:
    """Return prices per slot of a horizon that begins with one day and ends within the next.

    Args:
        first: Of the delivery day per delivery period, shape (periods,) or (S, periods).
        second: Of the day after, shape (periods,).
        slots_per_period: Slots in a delivery period.
        slot_count: Length of the horizon.
    """
    after = np.broadcast_to(second, (*first.shape[:-1], len(second)))
    joined = np.concatenate([first, after], axis=-1)
    slots: FloatArray = np.repeat(joined, slots_per_period, axis=-1)[..., :slot_count]
    return slots
