"""Prices as a gate believes them: a point and equally likely paths over the delivery day, a point for the morning after."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Protocol

import numpy as np

from bidding.arrays import FloatArray
from bidding.forecasts.learned_prices import LEAST_TRAINING_DAYS, LearningOptions, PriceWalk, walk_prices
from bidding.forecasts.price_days import HISTORY_DAYS, PriceDays
from bidding.forecasts.prices import PastPrices, forecast_prices
from bidding.forecasts.scores import relative_mae
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
    """Equally likely, shape (S, periods), the latest last; S at least 1. Their mean is the point."""
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
        return PricePaths(
            point=found.price_eur_per_mwh,
            paths=_around(found.price_eur_per_mwh, found.scenarios_eur_per_mwh),
            error=_known_or(found.mae_eur_per_mwh),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class LearnedPrices:
    """The learned forecasts of all days of a study, made beforehand by a walk that sees earlier days only.

    The day after delivery is forecast with the knowledge of the same gate, two days ahead.
    """

    one_ahead: PriceWalk
    two_ahead: PriceWalk
    name: str = "learned (Lasso, trees, kernel) where better than naive"

    @classmethod
    def over(
        cls,
        recorded: Sequence[PastPrices],
        first: DeliveryDay,
        last: DeliveryDay,
        step: timedelta,
        options: LearningOptions | None = None,
    ) -> "LearnedPrices":
        """Forecast the days from `first` to `last` and the day after it.

        Args:
            recorded: All days, with the ones to forecast; each forecast uses only those before its gate.
            first: First delivery day.
            last: Last one.
            step: Length of a delivery period.
            options: How much past is used; errors of up to `error_days` before the first day become its scenarios.

        Raises:
            InvalidInput: Too few days lie before the first one.
        """
        options = options or LearningOptions()
        until = last.next().day
        days = PriceDays.of([one for one in recorded if one.day.day <= until], step=step)
        learnable = HISTORY_DAYS + LEAST_TRAINING_DAYS
        walks = []
        for lead in (1, 2):
            index = days.index_of(first) - options.error_days
            start = max(index, min(learnable + lead - 1, days.index_of(first)), lead)
            walks.append(walk_prices(days, days.day_at(start), last.next(), lead_days=lead, options=options))
        return cls(one_ahead=walks[0], two_ahead=walks[1])

    def relative_mae(self, first: DeliveryDay, last: DeliveryDay) -> float:
        """Return the mean absolute error of the forecasts used, one day ahead, as a share of the naive one's.

        Raises:
            InvalidInput: A day is not among the forecast ones.
        """
        walk, days = self.one_ahead, self.one_ahead.days
        said, came, naive = [], [], []
        for index in range(days.index_of(first), days.index_of(last) + 1):
            said.append(walk.forecast(days.day_at(index)).price_eur_per_mwh)
            came.append(days.on_day(days.wall_eur_per_mwh[index], index))
            naive.append(days.on_day(walk.naive[index - walk.first_index], index))
        return relative_mae(np.concatenate(came), np.concatenate(said), np.concatenate(naive))

    def forecast(self, past: Sequence[PastPrices], day: DeliveryDay, step: timedelta) -> PricePaths:
        """Return the forecast made for a day when `past` was all that was known.

        Raises:
            InvalidInput: The day is not among the forecast ones.
        """
        del step  # decided when the walk was made
        is_next = bool(past) and past[-1].day.next() == day
        walk = self.one_ahead if is_next else self.two_ahead
        found = walk.forecast(day)
        return PricePaths(
            point=found.price_eur_per_mwh,
            paths=_around(found.price_eur_per_mwh, found.scenarios_eur_per_mwh),
            error=_known_or(found.mae_eur_per_mwh),
        )


def _around(point: FloatArray, paths: FloatArray) -> FloatArray:
    """Return the paths moved so that their mean is the point; the point alone when there is none.

    The mean of a few past errors is mostly chance; a lasting bias is the forecast's business to take out.
    """
    if not len(paths):
        return point[None, :]
    centred: FloatArray = paths + (point - paths.mean(axis=0))
    return centred


def _known_or(error: float | None) -> float:
    return UNKNOWN_ERROR_EUR_PER_MWH if error is None else error


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
