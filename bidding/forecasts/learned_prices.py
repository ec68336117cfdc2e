"""The learned price forecast: three models averaged, the naive one always beside, and the better of both wins.

For each day the forecast is made from earlier days only, models are fitted anew every so many days on a rolling window, and
what is reported of a day's error was measured on the days before it. The naive forecast of the price-forecast benchmark is
yesterday's prices, or last week's on Saturday, Sunday and Monday (Lago et al. 2021); it is used where it was better on the last four
weeks, where the past is too short to learn from, and where scikit-learn (the extra `forecast`) is not installed.
"""

import importlib.util
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum

import numpy as np

from bidding.arrays import BoolArray, FloatArray, IntArray
from bidding.civil_day import SATURDAY
from bidding.forecasts.boosting import Boosting, BoostingOptions, one_thread
from bidding.forecasts.kernel import Kernel
from bidding.forecasts.lear import LEAR_VIEWS, Lear, LearView
from bidding.forecasts.price_days import HISTORY_DAYS, WEEK, Calendar, PriceDays, histories
from bidding.forecasts.prices import PastPrices
from bidding.forecasts.scenarios import PUBLISHED_LEVELS, ScenarioSet, add_errors, conformal_quantiles
from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import DeliveryDay
from gateway.domain.units import QUARTER_HOUR

LEAST_TRAINING_DAYS = 120
"""Days a model is fitted on, at least."""
LEAST_COMPARED_DAYS = 7
"""A young past is learned from once so many days could be forecast for comparison."""
CORRECTION_SHARE = 0.2
"""Part of the hour's median error of the last weeks that is taken back: models lag behind a market that turns."""
CORRECTION_DAYS = 28
LEAST_CORRECTION_DAYS = 7
LEAR_SHARE, BOOSTING_SHARE, KERNEL_SHARE = 0.4, 0.3, 0.3
"""Weights of the models in the average."""


class PriceMethod(StrEnum):
    """What a forecast was made with."""

    LEARNED = "learned"
    NAIVE = "naive"


@dataclass(frozen=True, kw_only=True, slots=True)
class LearningOptions:
    """How much past is used, and for what."""

    window_days: int = 730
    """Days a model is fitted on, the latest ones."""
    refit_days: int = 7
    """Linear and kernel models are fitted anew after so many days."""
    boosting_refit_days: int = 28
    """Trees are fitted anew after so many days: they cost most and change least."""
    compare_days: int = 28
    """Days on which learned and naive forecasts are compared."""
    error_days: int = 60
    """Days whose whole errors become scenarios."""
    error_half_life_days: float | None = None
    """An error so much older is half as likely; None: all are equally likely."""
    views: tuple[LearView, ...] = LEAR_VIEWS
    boosting: BoostingOptions = field(default_factory=BoostingOptions)

    def __post_init__(self) -> None:
        """Check the counts."""
        if self.window_days < LEAST_TRAINING_DAYS:
            raise InvalidInput("window_days", f"must be at least {LEAST_TRAINING_DAYS}")
        for name in ("refit_days", "boosting_refit_days", "compare_days", "error_days"):
            if getattr(self, name) < 1:
                raise InvalidInput(name, "must be at least 1")
        if not self.views:
            raise InvalidInput("views", "must have at least one")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LearnedForecast:
    """Prices of a day to come, with what is known about the error: modelled, not published."""

    day: DeliveryDay
    method: PriceMethod
    price_eur_per_mwh: FloatArray
    """The forecast, one per delivery period."""
    errors_eur_per_mwh: FloatArray
    """What came minus what this method had forecast on past days, oldest first, shape (days, periods)."""
    error_half_life_days: float | None
    mae_eur_per_mwh: float | None
    """Mean absolute error of the method on the compared days; None while there is none."""
    learned_mae_eur_per_mwh: float | None
    """Of the learned forecast on the compared days; None where nothing was learned."""
    naive_mae_eur_per_mwh: float | None
    compared_day_count: int
    reason: str
    """Why this method was taken, in one sentence."""

    @property
    def scenarios_eur_per_mwh(self) -> FloatArray:
        """Possible days, shape (S, periods); S is 0 while no error is known."""
        paths: FloatArray = self.price_eur_per_mwh + self.errors_eur_per_mwh
        return paths

    def scenario_set(self) -> ScenarioSet:
        """Return the forecast plus every past whole-day error, weighted by recency when asked for.

        Raises:
            InvalidInput: No error is known yet.
        """
        return add_errors(self.price_eur_per_mwh, self.errors_eur_per_mwh, self.error_half_life_days)

    def quantiles(self, levels: Sequence[float] = PUBLISHED_LEVELS) -> FloatArray:
        """Return bands to publish, EUR per MWh, shape (levels, periods).

        Raises:
            InvalidInput: No error is known yet, or the levels do not ascend inside (0, 1).
        """
        return conformal_quantiles(self.price_eur_per_mwh, self.errors_eur_per_mwh, levels)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PriceWalk:
    """Forecasts of consecutive days, each from earlier days only; arrays are on the 24-hour wall clock."""

    days: PriceDays
    first_index: int
    """Position of the first forecast day in `days`."""
    lead_days: int
    """1 when the day before was known, 2 when the one before that, and so on."""
    naive: FloatArray
    """Shape (forecast days, periods of 24 hours), EUR per MWh."""
    learned: FloatArray | None
    """The same; None where nothing could be learned."""
    unlearned_reason: str
    """Why nothing was learned; empty when it was."""
    options: LearningOptions

    def __len__(self) -> int:
        return len(self.naive)

    def forecast(self, day: DeliveryDay) -> LearnedForecast:
        """Return the forecast of one of the days with the errors that were known before it.

        Raises:
            InvalidInput: The day is not among the forecast ones.
        """
        index = self.days.index_of(day)
        row = index - self.first_index
        if not 0 <= row < len(self):
            raise InvalidInput("day", f"{day.day.isoformat()} is not among the {len(self)} forecast days")
        known = self._known_rows(row)
        compared = known[-self.options.compare_days :]
        naive_mae = self._mae(self.naive, compared)
        learned_mae = None if self.learned is None else self._mae(self.learned, compared)
        method, reason = _winner(self.unlearned_reason, learned_mae, naive_mae, len(compared))
        said = self.naive if method is PriceMethod.NAIVE or self.learned is None else self.learned
        recent = known[-self.options.error_days :]
        errors = self._actual(recent) - said[recent]
        return LearnedForecast(
            day=day,
            method=method,
            price_eur_per_mwh=self.days.on_day(said[row], index),
            errors_eur_per_mwh=self.days.on_day(errors, index),
            error_half_life_days=self.options.error_half_life_days,
            mae_eur_per_mwh=naive_mae if method is PriceMethod.NAIVE else learned_mae,
            learned_mae_eur_per_mwh=learned_mae,
            naive_mae_eur_per_mwh=naive_mae,
            compared_day_count=len(compared),
            reason=reason,
        )

    def _known_rows(self, row: int) -> IntArray:
        """Return the earlier forecast days whose prices were known when the day of `row` was forecast."""
        rows = np.arange(max(0, row - self.lead_days + 1))
        return rows[~self.days.is_filled[rows + self.first_index]]

    def _actual(self, rows: IntArray) -> FloatArray:
        return self.days.wall_eur_per_mwh[rows + self.first_index]

    def _mae(self, said: FloatArray, rows: IntArray) -> float | None:
        return float(np.abs(self._actual(rows) - said[rows]).mean()) if rows.size else None


def forecast_learned(
    past: Sequence[PastPrices],
    target: DeliveryDay,
    *,
    known_until: datetime,
    step: timedelta = QUARTER_HOUR,
    holidays: AbstractSet[date] = frozenset(),
    options: LearningOptions | None = None,
) -> LearnedForecast:
    """Forecast the prices of a delivery day from earlier days, with the error measured on the days before it.

    The days before are forecast too, as many as scenarios are made of; it takes some CPU seconds with trees. For many days in
    a row use `walk_prices` once.

    Args:
        past: Earlier delivery days of the same market, in any order; a missing day shows the one of a week before.
        target: Day to forecast; days between the past and it are forecast on the way.
        known_until: The instant of knowledge: a past that holds a day whose auction was not held by then is refused.
        step: Length of a delivery period; must divide an hour.
        holidays: Public holidays, which behave as Sundays.
        options: How much past is used.

    Raises:
        InvalidInput: No past day, a day twice, of another zone, incomplete, not before the target or not known yet.
    """
    options = options or LearningOptions()
    days = PriceDays.of(past, step=step, holidays=holidays, known_until=known_until)
    lead = days.index_of(target) - len(days) + 1
    if lead < 1:
        raise InvalidInput("target", "must be after every past day")
    first = max(lead, len(days) - options.error_days)
    learnable = HISTORY_DAYS + LEAST_TRAINING_DAYS + lead - 1
    if first < learnable <= len(days) - LEAST_COMPARED_DAYS:
        first = learnable
    walk = walk_prices(days, days.day_at(first), target, lead_days=lead, options=options)
    return walk.forecast(target)


def walk_prices(
    days: PriceDays,
    first: DeliveryDay,
    last: DeliveryDay,
    *,
    lead_days: int = 1,
    options: LearningOptions | None = None,
) -> PriceWalk:
    """Forecast consecutive days, each with what was known `lead_days` before it: the walk of a backtest.

    Args:
        days: The past; it may hold the forecast days themselves, which are then what came.
        first: First day to forecast.
        last: Last day to forecast.
        lead_days: 1: the prices of the day before are known (the day-ahead auction); 2: of the one before that.
        options: How much past is used.

    Raises:
        InvalidInput: Nothing lies before the first day, the days are reversed, or beyond what the past allows.
    """
    options = options or LearningOptions()
    begin, end = days.index_of(first), days.index_of(last) + 1
    if lead_days < 1:
        raise InvalidInput("lead_days", "must be at least 1")
    if begin < lead_days:
        raise InvalidInput("first", "has no known day before it")
    if not begin < end <= len(days) + lead_days:
        raise InvalidInput("last", "must be at least the first day and at most lead_days after the past")
    reason = _why_not_learned(begin, lead_days)
    return PriceWalk(
        days=days,
        first_index=begin,
        lead_days=lead_days,
        naive=_naive(days, begin, end, lead_days),
        learned=None if reason else _learned(days, begin, end, lead_days, options),
        unlearned_reason=reason,
        options=options,
    )


def days_to_learn_from(index: int, lead_days: int) -> int:
    """Return how many days a model can be fitted on that forecasts the day at `index`."""
    return max(0, index - lead_days + 1 - HISTORY_DAYS)


def is_learning_installed() -> bool:
    """Return whether scikit-learn, the extra `forecast`, is there."""
    return importlib.util.find_spec("sklearn") is not None


def _why_not_learned(first_index: int, lead_days: int) -> str:
    if not is_learning_installed():
        return "scikit-learn (the extra `forecast`) is not installed"
    count = days_to_learn_from(first_index, lead_days)
    if count < LEAST_TRAINING_DAYS:
        return f"only {count} days to learn from, {LEAST_TRAINING_DAYS} are needed after the first {HISTORY_DAYS}"
    return ""


def _winner(
    unlearned: str, learned_mae: float | None, naive_mae: float | None, day_count: int
) -> tuple[PriceMethod, str]:
    """Return the method and the sentence that says why."""
    if unlearned:
        return PriceMethod.NAIVE, f"naive forecast: {unlearned}"
    if learned_mae is None or naive_mae is None:
        return PriceMethod.LEARNED, "learned forecast: no day to compare on yet"
    errors = f"{learned_mae:.2f} learned against {naive_mae:.2f} naive, EUR per MWh over the last {day_count} days"
    if naive_mae < learned_mae:
        return PriceMethod.NAIVE, f"naive forecast: smaller error, {errors}"
    return PriceMethod.LEARNED, f"learned forecast: error {errors}"


def _naive(days: PriceDays, begin: int, end: int, lead_days: int) -> FloatArray:
    walls = [days.wall_eur_per_mwh[_naive_source(days, index, index - lead_days)] for index in range(begin, end)]
    return np.array(walls)


def _naive_source(days: PriceDays, index: int, newest: int) -> int:
    """Return the day whose prices stand for the day at `index` when those up to `newest` are known."""
    source = index
    while source > newest:
        weekday = days.day_at(source).day.weekday()
        source -= WEEK if weekday == 0 or weekday >= SATURDAY else 1
    return source if source >= 0 else newest


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Past:
    """What the models are fitted on and fed with."""

    hourly: FloatArray
    calendar: Calendar
    is_filled: BoolArray
    options: LearningOptions

    def training(self, known_count: int) -> tuple[FloatArray, Calendar, FloatArray]:
        """Return histories, calendar and prices of the latest days of the window, of which `known_count` are known."""
        index = np.arange(max(HISTORY_DAYS, known_count - self.options.window_days), known_count)
        index = index[~self.is_filled[index]]
        return histories(self.hourly, index), self.calendar.rows(index), self.hourly[index]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Voices:
    """All fitted models of one time."""

    lears: tuple[Lear, ...]
    kernel: Kernel
    boosting: Boosting | None

    @classmethod
    def fit(cls, past: _Past, known_count: int, boosting: Boosting | None) -> "_Voices":
        known = past.training(known_count)
        return cls(
            lears=tuple(Lear.fit(*known, view) for view in past.options.views),
            kernel=Kernel.fit(*known),
            boosting=boosting,
        )

    def predict(self, history: FloatArray, calendar: Calendar) -> FloatArray:
        linear = np.mean([lear.predict(history, calendar) for lear in self.lears], axis=0)
        said = LEAR_SHARE * linear + KERNEL_SHARE * self.kernel.predict(history, calendar)
        if self.boosting is None:
            alone: FloatArray = said / (LEAR_SHARE + KERNEL_SHARE)
            return alone
        average: FloatArray = said + BOOSTING_SHARE * self.boosting.predict(history, calendar)
        return average


def _learned(days: PriceDays, begin: int, end: int, lead_days: int, options: LearningOptions) -> FloatArray:
    """Return the averaged forecasts on the wall clock, shape (end - begin, periods)."""
    past = _Past(
        hourly=days.hourly(),
        calendar=days.calendar(end),
        is_filled=days.is_filled,
        options=options,
    )
    with one_thread():
        hours = np.concatenate(_blocks(past, begin, end, lead_days))
    hours = _corrected(past, hours, begin, lead_days)
    inside = np.array([days.inside_hours(index - lead_days + 1) for index in range(begin, end)])
    per_hour = inside.shape[1] // hours.shape[1]
    walls: FloatArray = np.repeat(hours, per_hour, axis=1) + inside
    return walls


def _blocks(past: _Past, begin: int, end: int, lead_days: int) -> list[FloatArray]:
    options = past.options
    boosting: Boosting | None = None
    grown_at = begin - options.boosting_refit_days
    parts = []
    for start in range(begin, end, options.refit_days):
        known_count = start - lead_days + 1
        if options.boosting.model_count > 0 and start - grown_at >= options.boosting_refit_days:
            boosting, grown_at = Boosting.fit(*past.training(known_count), options.boosting), start
        voices = _Voices.fit(past, known_count, boosting)
        index = np.arange(start, min(end, start + options.refit_days))
        parts.append(_lead_on(past, voices, index, lead_days))
    return parts


def _lead_on(past: _Past, voices: _Voices, index: IntArray, lead_days: int) -> FloatArray:
    """Forecast days whose last known day lies `lead_days` before: days in between are forecast on the way."""
    history = histories(past.hourly, index - lead_days + 1)
    said = voices.predict(history, past.calendar.rows(index - lead_days + 1))
    for lead in range(lead_days - 2, -1, -1):
        history = np.concatenate([history[:, 1:], said[:, None]], axis=1)
        said = voices.predict(history, past.calendar.rows(index - lead))
    return said


def _corrected(past: _Past, said: FloatArray, begin: int, lead_days: int) -> FloatArray:
    """Return forecasts moved by a part of what each hour was wrong in the median lately."""
    corrected = said.copy()
    for row in range(len(said)):
        known = np.arange(max(0, row - lead_days + 1 - CORRECTION_DAYS), max(0, row - lead_days + 1))
        known = known[~past.is_filled[known + begin]]
        if len(known) >= LEAST_CORRECTION_DAYS:
            wrong = past.hourly[known + begin] - said[known]
            corrected[row] += CORRECTION_SHARE * np.median(wrong, axis=0)
    return corrected
