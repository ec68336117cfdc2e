"""One Lasso per delivery hour: the linear half of the price forecast.

LEAR, the Lasso-estimated autoregression of the price-forecast benchmark (Lago, Marcjasz, De Schutter and Weron 2021, Applied
Energy 293:116983): the prices of the last days and of the same weekday in the last weeks, with the calendar; the Lasso leaves
out what does not help. Prices pass through `asinh` first, which tames spikes (Uniejewski, Weron and Ziel 2018). What is centred
and scaled there decides how soon a model follows the market: by all days it was fitted on, or by the last days before each day.
Several views are averaged, because none is best in every year.
"""

import importlib
import warnings
from dataclasses import dataclass

import numpy as np

from bidding.arrays import FloatArray
from bidding.forecasts.price_days import HISTORY_DAYS, HOURS, WEEK, Calendar

MAD_TO_DEVIATION = 1.4826
"""A normal distribution's deviation over the median of its absolute deviations."""
LEAST_SCALE_EUR_PER_MWH = 0.1
"""Days of one constant price have no scale; this is the smallest a price is divided by."""
LAG_DAYS = (1, 2, 3, 7)
FARTHEST = 8.0
"""A transformed price stays within plus and minus this: `asinh` is undone by `sinh`, which would make a small slip huge."""
ITERATION_LIMIT = 3000
TOLERANCE = 1e-3


@dataclass(frozen=True, kw_only=True, slots=True)
class LearView:
    """One way to look at the past."""

    scale_days: int | None
    """Prices are centred and scaled by so many days before each day, at most 28; None: by all days of the fit."""
    half_life_days: float | None
    """A day so old counts half as much in the fit; None: all count the same."""
    penalty: float = 0.015
    """Weight of the Lasso's sum of absolute coefficients, for columns of deviation one."""


LEAR_VIEWS = (
    LearView(scale_days=None, half_life_days=180.0),
    LearView(scale_days=7, half_life_days=None),
    LearView(scale_days=28, half_life_days=365.0),
)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scale:
    """Middle and spread of prices, each of shape (n, 1, 1)."""

    middle: FloatArray
    spread: FloatArray

    @classmethod
    def of(cls, history: FloatArray, days: int | None) -> "Scale":
        """Return the scale of each row's last days, or one scale for all rows when `days` is None."""
        seen = history.reshape(1, -1) if days is None else history[:, -days:].reshape(len(history), -1)
        middle = np.median(seen, axis=1)
        spread = MAD_TO_DEVIATION * np.median(np.abs(seen - middle[:, None]), axis=1)
        spread = np.maximum(spread, LEAST_SCALE_EUR_PER_MWH)
        return cls(middle=middle[:, None, None], spread=spread[:, None, None])

    def squeeze(self, price: FloatArray) -> FloatArray:
        """Return transformed prices of shape (n, days, 24)."""
        squeezed: FloatArray = np.arcsinh((price - self.middle) / self.spread)
        return squeezed

    def stretch(self, squeezed: FloatArray) -> FloatArray:
        """Return prices of transformed ones of shape (n, 24)."""
        bounded = np.clip(squeezed, -FARTHEST, FARTHEST)
        price: FloatArray = np.sinh(bounded) * self.spread[:, 0] + self.middle[:, 0]
        return price


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Lear:
    """Twenty-four fitted regressions that share their columns."""

    view: LearView
    scale: Scale | None
    """Of all days of the fit; None when each day has its own."""
    mean: FloatArray
    deviation: FloatArray
    """Per column."""
    coefficient: FloatArray
    """Shape (columns, 24)."""
    intercept: FloatArray

    @classmethod
    def fit(cls, history: FloatArray, calendar: Calendar, price: FloatArray, view: LearView) -> "Lear":
        """Fit to days whose prices are known; needs scikit-learn.

        Args:
            history: The four weeks before each day, EUR per MWh, shape (n, 28, 24), oldest day last row first.
            calendar: Of the n days.
            price: Of the n days, EUR per MWh, shape (n, 24), in the order of time.
            view: How to look at them.
        """
        scale = Scale.of(history, view.scale_days)
        columns = _columns(scale.squeeze(history), calendar)
        target = scale.squeeze(price[:, None])[:, 0]
        age = np.arange(len(price) - 1, -1, -1.0)
        weight = np.ones(len(price)) if view.half_life_days is None else 0.5 ** (age / view.half_life_days)
        weight /= weight.mean()
        mean, intercept = np.average(columns, axis=0, weights=weight), np.average(target, axis=0, weights=weight)
        deviation = np.sqrt(np.average((columns - mean) ** 2, axis=0, weights=weight))
        deviation[deviation < TOLERANCE] = 1.0
        root = np.sqrt(weight)[:, None]
        coefficient = _lasso((columns - mean) / deviation * root, (target - intercept) * root, view.penalty)
        return cls(
            view=view,
            scale=scale if view.scale_days is None else None,
            mean=mean,
            deviation=deviation,
            coefficient=coefficient,
            intercept=intercept,
        )

    def predict(self, history: FloatArray, calendar: Calendar) -> FloatArray:
        """Return forecasts of days from the four weeks before each, EUR per MWh, shape (n, 24)."""
        scale = self.scale or Scale.of(history, self.view.scale_days)
        columns = (_columns(scale.squeeze(history), calendar) - self.mean) / self.deviation
        return scale.stretch(columns @ self.coefficient + self.intercept)


def _columns(history: FloatArray, calendar: Calendar) -> FloatArray:
    """Return what the regressions see, shape (n, columns), from transformed prices."""
    daily = history.mean(axis=2)
    yesterday = history[:, -1]
    angle = 2.0 * np.pi * calendar.year_share[:, None] * np.array([1.0, 2.0])
    return np.concatenate(
        [
            *(history[:, -lag] for lag in LAG_DAYS),
            history.reshape(len(history), HISTORY_DAYS // WEEK, WEEK, HOURS)[:, :, 0].mean(axis=1),
            np.column_stack([yesterday.min(axis=1), yesterday.max(axis=1), daily[:, -1]]),
            np.column_stack([daily[:, -WEEK:].mean(axis=1), daily[:, -6:-3]]),
            np.sin(angle),
            np.cos(angle),
            np.eye(WEEK)[calendar.weekday],
            np.column_stack([calendar.is_holiday, calendar.is_after_holiday]).astype(np.float64),
        ],
        axis=1,
    )


def _lasso(columns: FloatArray, target: FloatArray, penalty: float) -> FloatArray:
    """Return the coefficients of one Lasso per column of `target`, without intercept, shape (columns, targets)."""
    linear = importlib.import_module("sklearn.linear_model")
    endless = importlib.import_module("sklearn.exceptions").ConvergenceWarning
    ordered = np.asfortranarray(columns)
    products = ordered.T @ ordered
    lasso = linear.Lasso(
        alpha=penalty, fit_intercept=False, precompute=products, max_iter=ITERATION_LIMIT, tol=TOLERANCE
    )
    with warnings.catch_warnings():
        # Coefficients that are still moving a little are good enough; the rolling comparison judges the outcome.
        warnings.simplefilter("ignore", endless)
        return np.column_stack([lasso.fit(ordered, one).coef_ for one in target.T])
