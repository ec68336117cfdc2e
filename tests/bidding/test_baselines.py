"""Baselines and event performance by hand."""

from datetime import date, timedelta

import numpy as np
import pytest

from bidding.delivery.baselines import Adjustment, BaselineRule, MeteredDay, high_days_baseline, measure_performance
from gateway.domain.errors import InvalidInput

EVENT = slice(2, 4)


def days(*levels: float, comparable: bool = True) -> list[MeteredDay]:
    """Newest first; slots 0 and 1 before the event, 2 and 3 in it."""
    return [
        MeteredDay(
            day=date(2026, 5, 5) - timedelta(days=n),
            power_kw=np.array([10.0, 10.0, level, level + 2]),
            is_comparable=comparable,
        )
        for n, level in enumerate(levels)
    ]


def test_the_highest_of_the_latest_days_count() -> None:
    past = days(50, 10, 40, 30, 999)
    baseline = high_days_baseline(past[::-1], EVENT, BaselineRule(looked_at=4, counted=2))
    assert baseline.power_kw.tolist() == [10, 10, 45, 47]
    assert baseline.days == (date(2026, 5, 5), date(2026, 5, 3))
    assert baseline.method == "high 2 of 4"
    assert baseline.shift_kw == 0.0


def test_of_equal_days_the_later_counts() -> None:
    assert high_days_baseline(days(5, 5, 5), EVENT, BaselineRule(looked_at=3, counted=1)).days == (date(2026, 5, 5),)


def test_days_that_do_not_compare_are_left_out() -> None:
    past = [*days(20, 30), *(MeteredDay(day=date(2026, 4, 1), power_kw=np.full(4, 500.0), is_comparable=False),)]
    assert high_days_baseline(past, EVENT, BaselineRule(looked_at=3, counted=2)).power_kw[2] == 25
    with pytest.raises(InvalidInput, match="2 comparable days"):
        high_days_baseline(past, EVENT, BaselineRule(looked_at=3, counted=3))


@pytest.mark.parametrize(("limit", "shift"), [(None, 6.0), (4.0, 4.0)])
def test_the_morning_shifts_the_baseline(limit: float | None, shift: float) -> None:
    rule = BaselineRule(looked_at=2, counted=2, adjustment=Adjustment(window=slice(0, 2), limit_kw=limit))
    today = np.array([15.0, 17.0, np.nan, np.nan])  # not over yet: only the window is read
    baseline = high_days_baseline(days(20, 30), EVENT, rule, today)
    assert baseline.shift_kw == pytest.approx(shift)
    assert baseline.power_kw[2:].tolist() == pytest.approx([25 + shift, 27 + shift])
    assert baseline.method == "high 2 of 2, same-day adjusted"


def test_performance_is_baseline_minus_metered() -> None:
    performance = measure_performance(
        np.array([45.0, 47.0]), np.array([25.0, 17.0]), requested_kw=30.0, committed_kw=20.0
    )
    assert performance.delivered_per_slot_kw.tolist() == [20, 30]
    assert performance.delivered_kw == 25
    assert performance.percent == pytest.approx(125)
    nothing = measure_performance(np.ones(1), np.ones(1), requested_kw=5.0, committed_kw=0.0)
    assert nothing.percent is None


def test_impossible_rules_and_gaps_are_refused() -> None:
    with pytest.raises(InvalidInput, match="counted"):
        BaselineRule(looked_at=3, counted=4)
    with pytest.raises(InvalidInput, match="event"):
        high_days_baseline(days(1, 2), slice(3, 9), BaselineRule(looked_at=2, counted=1))
    late = BaselineRule(looked_at=2, counted=1, adjustment=Adjustment(window=slice(1, 3)))
    with pytest.raises(InvalidInput, match="before the event"):
        high_days_baseline(days(1, 2), EVENT, late, np.ones(4))
    with pytest.raises(InvalidInput, match="event_day_kw"):
        high_days_baseline(days(1, 2), EVENT, late)
    gap = MeteredDay(day=date(2026, 5, 5), power_kw=np.array([1.0, np.nan, 1.0, 1.0]))
    with pytest.raises(InvalidInput, match=r"past\.2026-05-05\[1\]"):
        high_days_baseline([gap], EVENT, BaselineRule(looked_at=1, counted=1))
    with pytest.raises(InvalidInput, match="metered_kw"):
        measure_performance(np.ones(2), np.ones(3), requested_kw=1.0, committed_kw=1.0)
