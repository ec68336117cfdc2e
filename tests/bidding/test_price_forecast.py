"""The plain price forecast: earlier days only, any day length, an error that is measured and stated."""

from datetime import date, datetime, timedelta

import numpy as np
import pytest

from bidding.forecasts.prices import PastPrices, forecast_prices
from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import DeliveryDay

ZONE = "Europe/Brussels"
SPRING, AUTUMN = date(2026, 3, 29), date(2025, 10, 26)


def day(when: date) -> DeliveryDay:
    return DeliveryDay(day=when, zone=ZONE)


def past(first: date, count: int, level: float = 0.0) -> list[PastPrices]:
    """Every day its own level on a shape by the wall clock; weekends 30 lower."""
    days = []
    for n in range(count):
        delivery = day(first + timedelta(days=n))
        wall = np.array([start.hour for start in _local(delivery)], dtype=float)
        weekend = -30.0 if delivery.day.weekday() >= 5 else 0.0
        days.append(PastPrices(day=delivery, price_eur_per_mwh=100 + wall + weekend + level * n))
    return days


def _local(delivery: DeliveryDay) -> list[datetime]:
    from zoneinfo import ZoneInfo

    return [start.astimezone(ZoneInfo(ZONE)) for start in delivery.grid().starts()]


@pytest.mark.parametrize(("target", "count"), [(SPRING, 92), (date(2026, 5, 6), 96), (AUTUMN, 100)])
def test_equal_days_are_forecast_exactly_whatever_the_length(target: date, count: int) -> None:
    forecast = forecast_prices(past(target - timedelta(days=28), 28), day(target))
    assert len(forecast.price_eur_per_mwh) == count
    wall = np.array([start.hour for start in _local(day(target))])
    weekend = -30 if target.weekday() >= 5 else 0
    np.testing.assert_allclose(forecast.price_eur_per_mwh, 100 + wall + weekend)
    assert forecast.is_same_type
    # The first Saturday, Sunday and weekday had nothing of their type before them.
    assert forecast.scenarios_eur_per_mwh.shape == (25, count)
    assert {one.weekday() >= 5 for one in forecast.source_days} == {weekend < 0}


def test_the_error_is_that_of_the_same_method_on_past_days() -> None:
    days = past(date(2026, 5, 4), 3, level=6.0)  # Monday to Wednesday, 6 more each day
    forecast = forecast_prices(days, day(date(2026, 5, 7)))
    # Tuesday was forecast by Monday (6 off), Wednesday by both (9 off); Thursday is forecast by all three.
    assert forecast.mae_eur_per_mwh == pytest.approx(7.5)
    assert forecast.backtest_day_count == 2
    assert forecast.price_eur_per_mwh[0] == pytest.approx(106)
    np.testing.assert_allclose(forecast.scenarios_eur_per_mwh[:, 0], [112, 115])


def test_only_the_latest_days_count() -> None:
    forecast = forecast_prices(past(date(2026, 5, 4), 3, level=6.0), day(date(2026, 5, 7)), day_count=2)
    assert forecast.source_days == (date(2026, 5, 5), date(2026, 5, 6))
    assert forecast.price_eur_per_mwh[0] == pytest.approx(109)


def test_scenarios_are_whole_days() -> None:
    rng = np.random.default_rng(3)
    days = [
        PastPrices(day=one.day, price_eur_per_mwh=one.price_eur_per_mwh + rng.normal(0, 20))
        for one in past(date(2026, 4, 1), 30)
    ]
    forecast = forecast_prices(days, day(date(2026, 5, 6)), scenario_count=12)
    shift = forecast.scenarios_eur_per_mwh - forecast.price_eur_per_mwh
    assert shift.shape == (12, 96)
    np.testing.assert_allclose(shift, np.repeat(shift[:, :1], 96, axis=1), atol=30)
    assert np.corrcoef(shift[:, 10], shift[:, 80])[0, 1] > 0.5


def test_one_day_is_enough_but_its_error_is_unknown() -> None:
    forecast = forecast_prices(past(date(2026, 5, 3), 1), day(date(2026, 5, 6)))
    assert forecast.mae_eur_per_mwh is None
    assert forecast.scenarios_eur_per_mwh.shape == (0, 96)
    assert not forecast.is_same_type


@pytest.mark.parametrize(
    ("days", "problem"),
    [
        ([], "at least one"),
        (past(date(2026, 5, 6), 1), "not before"),
        (past(date(2026, 5, 4), 1) * 2, "twice"),
        (
            [PastPrices(day=DeliveryDay(day=date(2026, 5, 4), zone="Europe/Lisbon"), price_eur_per_mwh=np.ones(96))],
            "Lisbon",
        ),
        ([PastPrices(day=day(date(2026, 5, 4)), price_eur_per_mwh=np.ones(95))], "95 values"),
        ([PastPrices(day=day(date(2026, 5, 4)), price_eur_per_mwh=np.append(np.ones(95), np.nan))], "finite"),
    ],
)
def test_a_past_that_does_not_fit_is_refused(days: list[PastPrices], problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        forecast_prices(days, day(date(2026, 5, 6)))
