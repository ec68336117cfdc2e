"""Load and sun of a day to come: like days by the wall clock, sun by UTC, bands, whole days, nothing from the future."""

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from bidding.forecasts.profiles import PastProfile, forecast_load, forecast_pv
from bidding.forecasts.scores import interval_coverage
from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import DeliveryDay
from gateway.domain.units import QUARTER_HOUR

ZONE = "Europe/Brussels"
SPRING, AUTUMN = date(2026, 3, 29), date(2025, 10, 26)


def day(when: date) -> DeliveryDay:
    return DeliveryDay(day=when, zone=ZONE)


def eve(when: date) -> datetime:
    """The gate: noon of the day before."""
    return day(when).interval.start - timedelta(hours=12)


def office(when: date, level: float = 0.0, step: timedelta = QUARTER_HOUR) -> PastProfile:
    """100 kW by day on weekdays, 20 kW otherwise, plus a level."""
    zone = ZoneInfo(ZONE)
    hours = np.array([start.astimezone(zone).hour for start in day(when).grid(step).starts()])
    busy = (hours >= 8) & (hours < 18) & (when.weekday() < 5)
    return PastProfile(day=day(when), power_kw=np.where(busy, 100.0, 20.0) + level)


def offices(target: date, count: int = 35, spread: float = 0.0, seed: int = 1) -> list[PastProfile]:
    rng = np.random.default_rng(seed)
    days = [target - timedelta(days=n) for n in range(2, count + 2)]
    return [office(when, rng.normal(0.0, spread) if spread else 0.0) for when in days]


def sun(when: date, share: float = 1.0, step: timedelta = QUARTER_HOUR) -> PastProfile:
    """A bell around 11:30 UTC."""
    hours = np.array([start.hour + start.minute / 60 for start in day(when).grid(step).starts()])
    return PastProfile(day=day(when), power_kw=share * 50.0 * np.exp(-(((hours - 11.5) / 2.5) ** 2)))


class TestLoad:
    @pytest.mark.parametrize(("target", "count"), [(SPRING, 92), (date(2026, 5, 6), 96), (AUTUMN, 100)])
    def test_equal_days_are_forecast_exactly(self, target: date, count: int) -> None:
        forecast = forecast_load(offices(target), day(target), known_until=eve(target))
        assert len(forecast.expected_kw) == count
        for band in (forecast.expected_kw, forecast.p10_kw, forecast.p50_kw, forecast.p90_kw):
            np.testing.assert_allclose(band, office(target).power_kw)
        assert forecast.is_same_type

    def test_hours_work_too(self) -> None:
        target, hour = date(2026, 5, 6), timedelta(hours=1)
        past = [office(target - timedelta(days=n), step=hour) for n in range(2, 30)]
        forecast = forecast_load(past, day(target), known_until=eve(target), step=hour)
        np.testing.assert_allclose(forecast.expected_kw, office(target, step=hour).power_kw)

    def test_a_holiday_is_like_a_sunday(self) -> None:
        target = date(2026, 5, 1)
        forecast = forecast_load(offices(target), day(target), known_until=eve(target), holidays={target})
        np.testing.assert_allclose(forecast.expected_kw, 20.0)
        assert all(source.weekday() == 6 for source in forecast.source_days)

    def test_later_days_weigh_more(self) -> None:
        target = date(2026, 5, 8)
        past = [office(date(2026, 4, 17), 0.0), office(date(2026, 5, 1), 30.0)]  # three and one week old
        forecast = forecast_load(past, day(target), known_until=eve(target))
        assert forecast.expected_kw[0] == pytest.approx(20.0 + 30.0 * 2 / 3)

    def test_scenarios_are_whole_days_and_the_band_holds_most_days(self) -> None:
        target = date(2026, 5, 6)
        covered = []
        for seed in range(10):
            forecast = forecast_load(
                offices(target, 70, 8.0, seed), day(target), known_until=eve(target), floor_kw=None
            )
            shift = forecast.scenarios.paths - forecast.expected_kw
            np.testing.assert_allclose(shift, np.repeat(shift[:, :1], 96, axis=1), atol=1e-9)
            rng = np.random.default_rng(100 + seed)
            came = [office(target, rng.normal(0.0, 8.0)).power_kw for _ in range(100)]
            covered += [interval_coverage(one, forecast.p10_kw, forecast.p90_kw) for one in came]
        assert 0.72 < np.mean(covered) < 0.88

    def test_load_does_not_fall_below_its_floor(self) -> None:
        target = date(2026, 5, 6)
        past = offices(target, 60, 40.0)
        assert forecast_load(past, day(target), known_until=eve(target)).scenarios.paths.min() == 0.0
        free = forecast_load(past, day(target), known_until=eve(target), floor_kw=None)
        assert free.scenarios.paths.min() < 0.0

    def test_one_day_is_enough_and_says_what_it_is(self) -> None:
        target = date(2026, 5, 6)
        forecast = forecast_load([office(date(2026, 5, 3))], day(target), known_until=eve(target))
        assert not forecast.is_same_type
        assert len(forecast.scenarios) == 1
        np.testing.assert_allclose(forecast.expected_kw, 20.0)


class TestPv:
    @pytest.mark.parametrize(("target", "count"), [(SPRING, 92), (date(2026, 5, 6), 96), (AUTUMN, 100)])
    def test_the_sun_does_not_change_its_clock(self, target: date, count: int) -> None:
        past = [sun(target - timedelta(days=n)) for n in range(2, 20)]
        forecast = forecast_pv(past, day(target), known_until=eve(target))
        assert len(forecast.expected_kw) == count
        np.testing.assert_allclose(forecast.expected_kw, sun(target).power_kw, atol=1e-9)

    def test_days_after_the_clock_change_keep_the_sun(self) -> None:
        target = SPRING + timedelta(days=3)
        past = [sun(target - timedelta(days=n)) for n in range(2, 20)]
        np.testing.assert_allclose(
            forecast_pv(past, day(target), known_until=eve(target)).expected_kw, sun(target).power_kw, atol=1e-6
        )

    def test_clouds_come_as_whole_days_and_make_the_band(self) -> None:
        target = date(2026, 5, 6)
        past = [sun(target - timedelta(days=n), 0.3 if n % 2 else 1.0) for n in range(2, 32)]
        forecast = forecast_pv(past, day(target), known_until=eve(target))
        noon = 54
        np.testing.assert_allclose(forecast.p10_kw, sun(target, 0.3).power_kw, atol=1e-9)
        np.testing.assert_allclose(forecast.p90_kw, sun(target).power_kw, atol=1e-9)
        assert forecast.p10_kw[noon] < forecast.expected_kw[noon] < forecast.p90_kw[noon]
        assert forecast.expected_kw[0] == pytest.approx(0.0, abs=1e-3)

    def test_negative_power_is_refused(self) -> None:
        target = date(2026, 5, 6)
        wrong = PastProfile(day=day(date(2026, 5, 1)), power_kw=np.full(96, -1.0))
        with pytest.raises(InvalidInput, match="at least 0"):
            forecast_pv([wrong], day(target), known_until=eve(target))


@pytest.mark.parametrize("forecast", [forecast_load, forecast_pv])
@pytest.mark.parametrize(
    ("days", "problem"),
    [
        ([], "at least one"),
        ([date(2026, 5, 6)], "not before"),
        ([date(2026, 5, 1)] * 2, "twice"),
        ([date(2026, 5, 5)], "known_until"),  # is not over at noon of that very day
    ],
)
def test_a_past_that_does_not_fit_is_refused(forecast: object, days: list[date], problem: str) -> None:
    assert callable(forecast)
    target = date(2026, 5, 6)
    with pytest.raises(InvalidInput, match=problem):
        forecast([office(when) for when in days], day(target), known_until=eve(target))


def test_other_zones_and_lengths_are_refused() -> None:
    target = date(2026, 5, 6)
    elsewhere = PastProfile(day=DeliveryDay(day=date(2026, 5, 1), zone="Europe/Lisbon"), power_kw=np.ones(96))
    short = PastProfile(day=day(date(2026, 5, 1)), power_kw=np.ones(95))
    for wrong, problem in ((elsewhere, "Lisbon"), (short, "95 values")):
        with pytest.raises(InvalidInput, match=problem):
            forecast_load([wrong], day(target), known_until=eve(target))
        with pytest.raises(InvalidInput, match=problem):
            forecast_pv([wrong], day(target), known_until=eve(target))
