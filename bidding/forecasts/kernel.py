"""Kernel ridge regression over whole days: the third voice of the price forecast, cheap and unlike the other two.

A day is compared with every day of the fit, by the shape and level of the days before and by the calendar, and its hours are
all forecast from one solved system (Saunders, Gammerman and Vovk 1998). The kernel adds a Gaussian, which lets the most alike
days decide, to a linear part, which follows levels that were never seen.
"""

from dataclasses import dataclass

import numpy as np

from bidding.arrays import FloatArray
from bidding.civil_day import SATURDAY
from bidding.forecasts.lear import Scale
from bidding.forecasts.price_days import WEEK, Calendar

SCALE_DAYS = 14
RIDGE = 0.5
"""Added to the diagonal: how far the forecast stays from single past days."""
WIDTH = 0.5
"""Of the Gaussian: the exponent at the median squared distance between days."""
LINEAR_SHARE = 0.5
"""Weight of the linear part, normed by the mean squared length, beside the Gaussian's one."""
LAG_WEIGHTS = ((1, 1.0), (2, 0.5), (3, 0.4), (7, 0.7))
"""How much the hours of the day so many days before count in the comparison."""
DAILY_WEIGHT, WEEKDAY_WEIGHT, FLAG_WEIGHT = 2.0, 3.0, 2.0
"""How much daily means, the kind of day and flags count beside single hours."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Kernel:
    """The solved system."""

    columns: FloatArray
    """Of the days of the fit."""
    gaussian_scale: float
    """Exponent per squared distance."""
    linear_scale: float
    dual: FloatArray
    """Weight of every day in every hour, shape (days, 24)."""
    intercept: FloatArray

    @classmethod
    def fit(cls, history: FloatArray, calendar: Calendar, price: FloatArray) -> "Kernel":
        """Fit to days whose prices are known.

        Args:
            history: The four weeks before each day, EUR per MWh, shape (n, 28, 24), oldest day first.
            calendar: Of the n days.
            price: Of the n days, EUR per MWh, shape (n, 24).
        """
        scale = Scale.of(history, SCALE_DAYS)
        columns = _columns(scale.squeeze(history), calendar)
        target = scale.squeeze(price[:, None])[:, 0]
        intercept = target.mean(axis=0)
        apart = _squared_distance(columns, columns)
        gaussian_scale = WIDTH / float(np.median(apart))
        linear_scale = LINEAR_SHARE / float((columns**2).sum(axis=1).mean())
        alike = np.exp(-gaussian_scale * apart) + linear_scale * (columns @ columns.T)
        alike[np.diag_indices_from(alike)] += RIDGE
        return cls(
            columns=columns,
            gaussian_scale=gaussian_scale,
            linear_scale=linear_scale,
            dual=np.linalg.solve(alike, target - intercept),
            intercept=intercept,
        )

    def predict(self, history: FloatArray, calendar: Calendar) -> FloatArray:
        """Return forecasts of days from the four weeks before each, EUR per MWh, shape (n, 24)."""
        scale = Scale.of(history, SCALE_DAYS)
        columns = _columns(scale.squeeze(history), calendar)
        alike = np.exp(-self.gaussian_scale * _squared_distance(columns, self.columns))
        alike += self.linear_scale * (columns @ self.columns.T)
        return scale.stretch(alike @ self.dual + self.intercept)


def _columns(history: FloatArray, calendar: Calendar) -> FloatArray:
    """Return what days are compared by, shape (n, columns), from transformed prices."""
    angle = 2.0 * np.pi * calendar.year_share
    is_weekend = calendar.weekday >= SATURDAY
    flags = np.column_stack([np.sin(angle), np.cos(angle), calendar.is_after_holiday])
    kind = np.column_stack([np.eye(WEEK)[calendar.weekday], is_weekend])
    return np.concatenate(
        [
            *(weight * history[:, -lag] for lag, weight in LAG_WEIGHTS),
            history[:, ::WEEK].mean(axis=1),
            DAILY_WEIGHT * history[:, -WEEK:].mean(axis=2),
            WEEKDAY_WEIGHT * kind,
            FLAG_WEIGHT * flags,
        ],
        axis=1,
    )


def _squared_distance(rows: FloatArray, others: FloatArray) -> FloatArray:
    lengths = (rows**2).sum(axis=1)[:, None] + (others**2).sum(axis=1)
    apart: FloatArray = np.maximum(lengths - 2.0 * rows @ others.T, 0.0)
    return apart
