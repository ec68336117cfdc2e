"""Past prices by wall clock and day: what every price model learns from, and what a day looks like to a model.

A model sees hours. Markets with shorter periods add the pattern inside the hour, which is steady from day to day (the price
of a quarter-hour follows the ramp of its hour), so that one model serves markets of every period, and a day on which the
clock changes looks like any other.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from bidding.arrays import BoolArray, FloatArray, IntArray
from bidding.civil_day import SUNDAY, by_wall_clock, on_delivery_day
from bidding.forecasts.prices import PastPrices
from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import DeliveryDay, require_utc
from gateway.domain.units import QUARTER_HOUR

HOURS = 24
WEEK = 7
HISTORY_DAYS = 28
"""A model sees the four weeks before the day."""
SHAPE_DAYS = 14
"""The pattern inside the hour is the mean of so many days."""
AUCTION_AT = time(12)
"""Wall clock of the market at which the auction of the next delivery day closes: its prices cannot be known earlier."""
DAYS_OF_YEAR = 365.25
NEVER_KNOWN = "is of a day whose auction was not held by known_until"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Calendar:
    """What is known of days beforehand, in columns."""

    weekday: IntArray
    """0 for Monday to 6 for Sunday; a public holiday is a Sunday."""
    is_holiday: BoolArray
    is_after_holiday: BoolArray
    year_share: FloatArray
    """Part of the year that has passed, 0 to 1."""

    def __len__(self) -> int:
        return len(self.weekday)

    @classmethod
    def of(cls, first: date, count: int, holidays: AbstractSet[date] = frozenset()) -> "Calendar":
        """Return the calendar of `count` days from a first one on."""
        days = [first + timedelta(days=n) for n in range(-1, count)]
        held = np.array([day in holidays for day in days], dtype=np.bool_)
        weekday = np.array([day.weekday() for day in days[1:]], dtype=np.int64)
        return cls(
            weekday=np.where(held[1:], SUNDAY, weekday),
            is_holiday=held[1:],
            is_after_holiday=held[:-1],
            year_share=np.array([day.timetuple().tm_yday for day in days[1:]]) / DAYS_OF_YEAR,
        )

    def rows(self, index: IntArray) -> "Calendar":
        """Return the days at these positions."""
        return Calendar(
            weekday=self.weekday[index],
            is_holiday=self.is_holiday[index],
            is_after_holiday=self.is_after_holiday[index],
            year_share=self.year_share[index],
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PriceDays:
    """Consecutive past days of one market on the 24-hour wall clock."""

    first: DeliveryDay
    step: timedelta
    """Length of a delivery period; an hour holds a whole number of them."""
    wall_eur_per_mwh: FloatArray
    """Shape (days, periods of 24 hours)."""
    is_filled: BoolArray
    """True for a day whose prices were missing: it shows those of a week before, is not learned from and not scored."""
    holidays: AbstractSet[date] = frozenset()

    def __len__(self) -> int:
        return len(self.wall_eur_per_mwh)

    @classmethod
    def of(
        cls,
        past: Sequence[PastPrices],
        *,
        step: timedelta = QUARTER_HOUR,
        holidays: AbstractSet[date] = frozenset(),
        known_until: datetime | None = None,
    ) -> "PriceDays":
        """Return past days in order, on the wall clock.

        Args:
            past: Days of one market, in any order.
            step: Length of a delivery period.
            holidays: Public holidays, which behave as Sundays.
            known_until: The instant of knowledge; None when the caller vouches for it.

        Raises:
            InvalidInput: No day, one twice, of another zone or incomplete, one whose auction was not held by
                `known_until`, or a period of which an hour does not hold a whole number.
        """
        if step <= timedelta(0) or timedelta(hours=1) % step:
            raise InvalidInput("step", "must divide an hour")
        days = _in_order(past)
        if known_until is not None:
            _require_known(days, known_until)
        first = days[0].day
        count = (days[-1].day.day - first.day).days + 1
        walls = np.full((count, timedelta(days=1) // step), np.nan)
        for one in days:
            walls[(one.day.day - first.day).days] = by_wall_clock(one.price_eur_per_mwh, one.day, step)
        is_filled = np.isnan(walls[:, 0])
        for row in np.flatnonzero(is_filled).tolist():
            walls[row] = walls[row - WEEK] if row >= WEEK else walls[row - 1]
        return cls(first=first, step=step, wall_eur_per_mwh=walls, is_filled=is_filled, holidays=holidays)

    def index_of(self, day: DeliveryDay) -> int:
        """Return the position of a day; the number of days for the first one to come.

        Raises:
            InvalidInput: The day is of another zone.
        """
        if day.zone != self.first.zone:
            raise InvalidInput("target", f"is of {day.zone}, the past of {self.first.zone}")
        return (day.day - self.first.day).days

    def day_at(self, index: int) -> DeliveryDay:
        """Return the delivery day at a position."""
        return self.first.next(index)

    def calendar(self, count: int) -> Calendar:
        """Return the calendar of the first `count` days, which may reach beyond the past."""
        return Calendar.of(self.first.day, count, self.holidays)

    def hourly(self) -> FloatArray:
        """Return the mean price of every hour, shape (days, 24)."""
        means: FloatArray = self.wall_eur_per_mwh.reshape(len(self), HOURS, -1).mean(axis=2)
        return means

    def inside_hours(self, index: int) -> FloatArray:
        """Return the pattern inside the hours, as known before the day at `index`, shape (periods of 24 hours,)."""
        recent = slice(max(0, index - SHAPE_DAYS), index)
        walls = self.wall_eur_per_mwh[recent].mean(axis=0).reshape(HOURS, -1)
        pattern: FloatArray = (walls - walls.mean(axis=1, keepdims=True)).ravel()
        return pattern

    def on_day(self, wall_eur_per_mwh: FloatArray, index: int) -> FloatArray:
        """Return prices of the wall clock on the delivery periods of the day at `index`; the last axis is the day."""
        return on_delivery_day(wall_eur_per_mwh, self.day_at(index), self.step)


def histories(hourly: FloatArray, index: IntArray) -> FloatArray:
    """Return the four weeks before each of some days, oldest first, shape (n, 28, 24); each index at least 28."""
    windows = sliding_window_view(hourly, HISTORY_DAYS, axis=0)
    weeks: FloatArray = windows[index - HISTORY_DAYS].transpose(0, 2, 1)
    return weeks


def _in_order(past: Sequence[PastPrices]) -> list[PastPrices]:
    days = sorted(past, key=lambda one: one.day.day)
    if not days:
        raise InvalidInput("past", "must have at least one day")
    for index, one in enumerate(days):
        if one.day.zone != days[0].day.zone:
            raise InvalidInput(f"past[{index}].day", f"is of {one.day.zone}, others of {days[0].day.zone}")
        if index and one.day.day == days[index - 1].day.day:
            raise InvalidInput(f"past[{index}].day", "comes twice")
    return days


def _require_known(days: Sequence[PastPrices], known_until: datetime) -> None:
    until = require_utc("known_until", known_until)
    for index, one in enumerate(days):
        if one.day.next(-1).at(AUCTION_AT) > until:
            raise InvalidInput(f"past[{index}].day", NEVER_KNOWN)
