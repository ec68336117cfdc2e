"""A plain forecast of day-ahead prices, for a day whose auction has not been held, that states its own error.

The mean of the last days of the same type, by the wall clock. Its errors are measured by forecasting every past day from the
days before it, in the same way (a forecast from days of the same type is not judged by ones that had to do without);
whole-day errors added to the forecast are the scenarios, because what a bid needs is how the hours of one day move together.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from bidding.arrays import FloatArray
from bidding.civil_day import by_wall_clock, day_type, on_delivery_day
from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import DeliveryDay
from gateway.domain.units import QUARTER_HOUR

DEFAULT_DAYS = 5
DEFAULT_SCENARIOS = 60


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PastPrices:
    """The day-ahead prices of a past delivery day."""

    day: DeliveryDay
    price_eur_per_mwh: FloatArray
    """One per delivery period."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PriceForecast:
    """Prices of a day to come: modelled, not published."""

    day: DeliveryDay
    price_eur_per_mwh: FloatArray
    """The forecast, one per delivery period."""
    scenarios_eur_per_mwh: FloatArray
    """Equally likely days, shape (S, periods); S is 0 while the past is too short to measure errors."""
    mae_eur_per_mwh: float | None
    """Mean absolute error of the same method on past days; None while the past is too short."""
    backtest_day_count: int
    """Days the error was measured on."""
    source_days: tuple[date, ...]
    """Days the forecast is the mean of."""
    is_same_type: bool
    """False when no day of the same type was in the past and the last days of any type had to do."""


def forecast_prices(
    past: Sequence[PastPrices],
    target: DeliveryDay,
    *,
    step: timedelta = QUARTER_HOUR,
    day_count: int = DEFAULT_DAYS,
    scenario_count: int = DEFAULT_SCENARIOS,
    holidays: AbstractSet[date] = frozenset(),
) -> PriceForecast:
    """Forecast the prices of a delivery day from earlier days.

    Args:
        past: Earlier delivery days of the same market, in any order.
        target: Day to forecast.
        step: Length of a delivery period.
        day_count: How many days of the same type the mean is taken over, the latest ones.
        scenario_count: How many past whole-day errors become scenarios, the latest ones.
        holidays: Public holidays, which behave as Sundays.

    Raises:
        InvalidInput: No past day, a day given twice, of another zone, incomplete, or not before the target.
    """
    days = _checked(past, target)
    walls = np.array([by_wall_clock(one.price_eur_per_mwh, one.day, step) for one in days])
    dates = [one.day.day for one in days]
    chosen, is_same_type = _sources(dates, target.day, day_count, holidays)
    errors = []
    for index in range(1, len(days)):
        earlier, was_same_type = _sources(dates[:index], dates[index], day_count, holidays)
        if was_same_type == is_same_type:
            errors.append(walls[index] - walls[earlier].mean(axis=0))
    point = walls[chosen].mean(axis=0)
    shifts = np.array(errors[-scenario_count:]).reshape(-1, walls.shape[1])
    return PriceForecast(
        day=target,
        price_eur_per_mwh=on_delivery_day(point, target, step),
        scenarios_eur_per_mwh=on_delivery_day(point + shifts, target, step),
        mae_eur_per_mwh=float(np.mean(np.abs(errors))) if errors else None,
        backtest_day_count=len(errors),
        source_days=tuple(dates[index] for index in chosen),
        is_same_type=is_same_type,
    )


def _checked(past: Sequence[PastPrices], target: DeliveryDay) -> list[PastPrices]:
    days = sorted(past, key=lambda one: one.day.day)
    if not days:
        raise InvalidInput("past", "must have at least one day")
    for index, one in enumerate(days):
        if one.day.zone != target.zone:
            raise InvalidInput(f"past[{index}].day", f"is of {one.day.zone}, the target of {target.zone}")
        if one.day.day >= target.day:
            raise InvalidInput(f"past[{index}].day", "is not before the target")
        if index and one.day.day == days[index - 1].day.day:
            raise InvalidInput(f"past[{index}].day", "comes twice")
    return days


def _sources(
    dates: Sequence[date], target: date, day_count: int, holidays: AbstractSet[date]
) -> tuple[list[int], bool]:
    """Return which of the earlier days stand for the target, and whether they are of its type."""
    wanted = day_type(target, holidays)
    alike = [index for index, day in enumerate(dates) if day_type(day, holidays) is wanted]
    return (alike or list(range(len(dates))))[-day_count:], bool(alike)
