"""Gradient-boosted trees over hours: the half of the price forecast that sees thresholds and interactions.

One model for all hours, fitted to the absolute error (so that it forecasts the median) of prices as a multiple of the local
spread above the local middle: what it learned in a calm year still holds in a wild one. A few models that saw different halves of
the columns are averaged.
"""

import importlib
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np

from bidding.arrays import FloatArray
from bidding.forecasts.lear import Scale
from bidding.forecasts.price_days import HOURS, WEEK, Calendar

EVENING, AFTERNOON, PEAK = slice(20, 24), slice(12, 16), slice(18, 21)
"""Hours of yesterday whose mean tells about the day to come."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BoostingOptions:
    """How the trees are grown."""

    scale_days: int = 28
    """Prices are centred and scaled by so many days before each day, at most 28."""
    model_count: int = 3
    """Models per view, each with a seed of its own; 0 leaves the trees out."""
    tree_count: int = 200
    learning_rate: float = 0.06
    leaf_limit: int = 24
    least_leaf: int = 60
    """Hours in a leaf, at least."""
    column_share: float = 0.5
    """Columns each split may look at."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Boosting:
    """Fitted trees: those that see few columns and those that see more of the last week."""

    options: BoostingOptions
    few: tuple[Any, ...]
    many: tuple[Any, ...]

    @classmethod
    def fit(cls, history: FloatArray, calendar: Calendar, price: FloatArray, options: BoostingOptions) -> "Boosting":
        """Fit to days whose prices are known; needs scikit-learn.

        Args:
            history: The four weeks before each day, EUR per MWh, shape (n, 28, 24), oldest day first.
            calendar: Of the n days.
            price: Of the n days, EUR per MWh, shape (n, 24).
            options: How the trees are grown.
        """
        scale = Scale.of(history, options.scale_days)
        target = ((price - scale.middle[:, 0]) / scale.spread[:, 0]).ravel()
        few, more = _columns((history - scale.middle) / scale.spread, calendar)
        ensemble = importlib.import_module("sklearn.ensemble")

        def grown(columns: FloatArray) -> tuple[Any, ...]:
            return tuple(
                ensemble.HistGradientBoostingRegressor(
                    loss="absolute_error",
                    max_iter=options.tree_count,
                    learning_rate=options.learning_rate,
                    max_leaf_nodes=options.leaf_limit,
                    min_samples_leaf=options.least_leaf,
                    max_features=options.column_share,
                    early_stopping=False,
                    random_state=seed,
                ).fit(columns, target)
                for seed in range(options.model_count)
            )

        with one_thread():
            return cls(options=options, few=grown(few), many=grown(np.column_stack([few, more])))

    def predict(self, history: FloatArray, calendar: Calendar) -> FloatArray:
        """Return forecasts of days from the four weeks before each, EUR per MWh, shape (n, 24)."""
        scale = Scale.of(history, self.options.scale_days)
        few, more = _columns((history - scale.middle) / scale.spread, calendar)
        many = np.column_stack([few, more])
        said = [model.predict(few) for model in self.few] + [model.predict(many) for model in self.many]
        price: FloatArray = np.mean(said, axis=0).reshape(-1, HOURS) * scale.spread[:, 0] + scale.middle[:, 0]
        return price


def one_thread() -> AbstractContextManager[object]:
    """Keep learners on one thread inside the block; needs scikit-learn, which brings what is needed.

    The problems are small: on a busy machine threads that wait for each other cost ten times the work.
    """
    limits: AbstractContextManager[object] = importlib.import_module("threadpoolctl").threadpool_limits(limits=1)
    return limits


def _columns(history: FloatArray, calendar: Calendar) -> tuple[FloatArray, FloatArray]:
    """Return what every hour of every day shows, shapes (n * 24, few) and (n * 24, more), from scaled prices."""
    week = history[:, -WEEK:]
    yesterday = week[:, -1]
    daily = week.mean(axis=2)
    hour = np.tile(np.arange(float(HOURS)), len(history))
    of_day = [calendar.weekday, calendar.year_share, daily[:, -1], yesterday.max(axis=1), yesterday.min(axis=1)]
    of_day += [yesterday[:, -1], daily.mean(axis=1)]
    few = [hour, *(np.repeat(one, HOURS) for one in of_day), *(week[:, -lag].ravel() for lag in (1, 2, WEEK))]
    more_of_day = [daily[:, -2], daily[:, -3], daily[:, -WEEK], calendar.is_after_holiday]
    more_of_day += [yesterday[:, part].mean(axis=1) for part in (EVENING, AFTERNOON, PEAK)]
    of_hour = [week.mean(axis=1), week.std(axis=1), history[:, ::WEEK].mean(axis=1), week[:, -3]]
    of_hour += [np.roll(yesterday, 1, axis=1), np.roll(yesterday, -1, axis=1)]
    more = [*(np.repeat(one, HOURS) for one in more_of_day), *(one.ravel() for one in of_hour)]
    return np.column_stack(few), np.column_stack(more)
