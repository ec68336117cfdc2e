"""Forecasts of what is not controlled at a site: the building's load and the sun's power, with bands and whole-day scenarios.

A building follows people, hence the wall clock and the type of the day; a photovoltaic plant follows the sun, hence neither.
Both are forecast from earlier days only, and every scenario is a whole day.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np

from bidding.arrays import FloatArray, IntArray, finite_vector
from bidding.civil_day import DAY_S, by_wall_clock, day_type, on_delivery_day
from bidding.forecasts.scenarios import ScenarioSet
from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import DeliveryDay, require_utc
from gateway.domain.units import QUARTER_HOUR

LOAD_DAYS = 8
"""A building's day is the mean of so many days of its type, the latest ones."""
LOAD_HALF_LIFE_DAYS = 14.0
LOAD_ERROR_DAYS = 60
LOAD_ERROR_HALF_LIFE_DAYS = 30.0
PV_DAYS = 30
PV_HALF_LIFE_DAYS = 10.0
BAND = (0.1, 0.5, 0.9)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PastProfile:
    """What a meter showed on a past delivery day."""

    day: DeliveryDay
    power_kw: FloatArray
    """Mean power of each delivery period; positive as the caller counts it, load drawn or sun produced."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ProfileForecast:
    """Power of a day to come in kW, one value per delivery period."""

    day: DeliveryDay
    expected_kw: FloatArray
    """The forecast."""
    p10_kw: FloatArray
    """One day in ten is expected below, slot by slot."""
    p50_kw: FloatArray
    p90_kw: FloatArray
    """One day in ten is expected above."""
    scenarios: ScenarioSet
    """Whole possible days, shape (S, periods), with their probabilities."""
    source_days: tuple[date, ...]
    """Days the forecast is made of, oldest first."""
    is_same_type: bool
    """False when no day of the target's type was in the past and the last days of any type had to do."""


def forecast_load(
    past: Sequence[PastProfile],
    target: DeliveryDay,
    *,
    known_until: datetime,
    step: timedelta = QUARTER_HOUR,
    holidays: AbstractSet[date] = frozenset(),
    floor_kw: float | None = 0.0,
) -> ProfileForecast:
    """Forecast a building's load: the recency-weighted mean of the last like days, by the wall clock.

    Scenarios are that mean plus the whole-day errors the same rule made on past days, weighted by recency; while no error is
    known, the like days themselves.

    Args:
        past: Earlier days of the same meter, in any order; missing days are simply not used.
        target: Day to forecast.
        known_until: The instant of knowledge: a past day that ends later is refused.
        step: Length of a delivery period.
        holidays: Public holidays, which behave as Sundays.
        floor_kw: Least possible load, which scenarios are cut at; None for a meter that may feed in.

    Raises:
        InvalidInput: No past day, one twice, of another zone, incomplete, not before the target or not over by `known_until`.
    """
    days = _in_order(past, target, known_until)
    walls = np.array([by_wall_clock(one.power_kw, one.day, step) for one in days])
    dates = [one.day.day for one in days]
    rows, is_same_type = _like_days(dates, target.day, holidays)
    point = _recency(dates, rows, target.day, LOAD_HALF_LIFE_DAYS) @ walls[rows]
    errors, error_days = _load_errors(walls, dates, holidays, is_same_type=is_same_type)
    if len(errors):
        paths = point + errors
        weights = _recency(dates, error_days, target.day, LOAD_ERROR_HALF_LIFE_DAYS)
    else:
        paths, weights = walls[rows], _recency(dates, rows, target.day, LOAD_HALF_LIFE_DAYS)
    floor = -np.inf if floor_kw is None else floor_kw
    return _forecast(
        target,
        on_delivery_day(np.maximum(point, floor), target, step),
        ScenarioSet(paths=on_delivery_day(np.maximum(paths, floor), target, step), weights=weights),
        tuple(dates[row] for row in rows.tolist()),
        is_same_type=is_same_type,
    )


def forecast_pv(
    past: Sequence[PastProfile],
    target: DeliveryDay,
    *,
    known_until: datetime,
    step: timedelta = QUARTER_HOUR,
) -> ProfileForecast:
    """Forecast a photovoltaic plant without weather: the last days as they were, each a scenario weighted by recency.

    The sun keeps its time when people change their clocks: days are laid over each other by UTC. The expected power is the mean of
    the scenarios.

    Args:
        past: Earlier days of the same plant, power produced as positive, in any order.
        target: Day to forecast.
        known_until: The instant of knowledge: a past day that ends later is refused.
        step: Length of a delivery period; must divide a day.

    Raises:
        InvalidInput: As `forecast_load`, or a power is negative.
    """
    days = _in_order(past, target, known_until)[-PV_DAYS:]
    suns = np.array([_by_sun(one, step) for one in days])
    dates = [one.day.day for one in days]
    rows = np.arange(len(days))
    weights = _recency(dates, rows, target.day, PV_HALF_LIFE_DAYS)
    scenarios = ScenarioSet(paths=suns[:, _sun_slots(target, step)], weights=weights)
    return _forecast(target, scenarios.mean(), scenarios, tuple(dates), is_same_type=True)


def _forecast(
    target: DeliveryDay,
    expected_kw: FloatArray,
    scenarios: ScenarioSet,
    source_days: tuple[date, ...],
    *,
    is_same_type: bool,
) -> ProfileForecast:
    p10, p50, p90 = scenarios.quantiles(BAND)
    return ProfileForecast(
        day=target,
        expected_kw=expected_kw,
        p10_kw=p10,
        p50_kw=p50,
        p90_kw=p90,
        scenarios=scenarios,
        source_days=source_days,
        is_same_type=is_same_type,
    )


def _in_order(past: Sequence[PastProfile], target: DeliveryDay, known_until: datetime) -> list[PastProfile]:
    days = sorted(past, key=lambda one: one.day.day)
    until = require_utc("known_until", known_until)
    if not days:
        raise InvalidInput("past", "must have at least one day")
    for index, one in enumerate(days):
        field = f"past[{index}].day"
        if one.day.zone != target.zone:
            raise InvalidInput(field, f"is of {one.day.zone}, the target of {target.zone}")
        if one.day.day >= target.day:
            raise InvalidInput(field, "is not before the target")
        if index and one.day.day == days[index - 1].day.day:
            raise InvalidInput(field, "comes twice")
        if one.day.next().interval.start > until:
            raise InvalidInput(field, "ends after known_until")
    return days


def _like_days(dates: Sequence[date], target: date, holidays: AbstractSet[date]) -> tuple[IntArray, bool]:
    """Return the latest days of the target's type, oldest first, and whether there were any."""
    wanted = day_type(target, holidays)
    alike = [row for row, day in enumerate(dates) if day_type(day, holidays) is wanted]
    return np.array((alike or list(range(len(dates))))[-LOAD_DAYS:], dtype=np.int64), bool(alike)


def _recency(dates: Sequence[date], rows: IntArray, target: date, half_life_days: float) -> FloatArray:
    age = np.array([(target - dates[row]).days for row in rows.tolist()], dtype=np.float64)
    weight = 0.5 ** ((age - age.min()) / half_life_days)
    share: FloatArray = weight / weight.sum()
    return share


def _load_errors(
    walls: FloatArray, dates: Sequence[date], holidays: AbstractSet[date], *, is_same_type: bool
) -> tuple[FloatArray, IntArray]:
    """Return the whole-day errors of the rule on past days and which days they are; only days forecast on like grounds count."""
    errors, rows = [], []
    for row in range(max(1, len(dates) - LOAD_ERROR_DAYS), len(dates)):
        earlier, was_same_type = _like_days(dates[:row], dates[row], holidays)
        if was_same_type == is_same_type:
            share = _recency(dates, earlier, dates[row], LOAD_HALF_LIFE_DAYS)
            errors.append(walls[row] - share @ walls[earlier])
            rows.append(row)
    return np.array(errors).reshape(-1, walls.shape[1]), np.array(rows, dtype=np.int64)


def _sun_slots(day: DeliveryDay, step: timedelta) -> IntArray:
    """Return the slot of the UTC day of every delivery period."""
    step_s = int(step.total_seconds())
    grid = day.grid(step)
    start_s = int(grid.start.timestamp())
    return (start_s + step_s * np.arange(grid.count)) % DAY_S // step_s


def _by_sun(one: PastProfile, step: timedelta) -> FloatArray:
    """Return a past day on the slots of a UTC day; an hour that came twice is averaged, a missing one interpolated."""
    slot = _sun_slots(one.day, step)
    checked = finite_vector("power_kw", one.power_kw, len(slot))
    if bool(np.any(checked < 0.0)):
        raise InvalidInput("power_kw", "must be at least 0")
    count = timedelta(days=1) // step
    seen = np.bincount(slot, minlength=count)
    total = np.bincount(slot, weights=checked, minlength=count)
    present = np.flatnonzero(seen)
    return np.interp(np.arange(count), present, total[present] / seen[present], period=count)
