"""Learned prices on series of known structure: what can be learned is, the naive wins where it is better, the future stays unseen."""

from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from bidding.arrays import FloatArray
from bidding.forecasts import learned_prices
from bidding.forecasts.boosting import Boosting, BoostingOptions, one_thread
from bidding.forecasts.kernel import Kernel
from bidding.forecasts.lear import LEAR_VIEWS, Lear, LearView, Scale
from bidding.forecasts.learned_prices import (
    LearningOptions,
    PriceMethod,
    PriceWalk,
    forecast_learned,
    walk_prices,
)
from bidding.forecasts.price_days import Calendar, PriceDays, histories
from bidding.forecasts.prices import PastPrices
from bidding.forecasts.scores import relative_mae
from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import DeliveryDay

ZONE = "Europe/Brussels"
HOUR, QUARTER = timedelta(hours=1), timedelta(minutes=15)
START = date(2025, 3, 3)  # a Monday
SPRING, AUTUMN = date(2026, 3, 29), date(2025, 10, 26)
LIGHT = LearningOptions(boosting=BoostingOptions(model_count=0), refit_days=28)
"""Without trees and with few fits, so that a test takes a second."""


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


def day(when: date) -> DeliveryDay:
    return DeliveryDay(day=when, zone=ZONE)


def gate(when: date) -> datetime:
    return day(when).next(-1).interval.start + timedelta(hours=12)


def market(count: int, seed: int = 1, persistence: float = 0.7) -> FloatArray:
    """A level that returns to its mean, a daily shape, cheap weekends, some noise: shape (count, 24)."""
    rng = np.random.default_rng(seed)
    level = np.zeros(count)
    for n in range(1, count):
        level[n] = persistence * level[n - 1] + rng.normal(0.0, 15.0)
    weekend = np.array([-20.0 if (START + timedelta(days=n)).weekday() >= 5 else 0.0 for n in range(count)])
    hour = np.arange(24)
    shape = 15.0 * np.sin((hour - 9) / 24 * 2 * np.pi) + 10.0 * np.exp(-(((hour - 19) / 2) ** 2))
    walls: FloatArray = 60.0 + level[:, None] + weekend[:, None] + shape + rng.normal(0.0, 2.0, (count, 24))
    return walls


def past_of(walls: FloatArray, first: date = START, step: timedelta = HOUR) -> list[PastPrices]:
    """Past days of a wall-clock table, on the delivery periods that each day really has."""
    days = []
    for n, wall in enumerate(walls):
        delivery = day(first + timedelta(days=n))
        local = [start.astimezone(ZoneInfo(ZONE)) for start in delivery.grid(step).starts()]
        slots = [(one.hour * 3600 + one.minute * 60) // int(step.total_seconds()) for one in local]
        days.append(PastPrices(day=delivery, price_eur_per_mwh=wall[slots]))
    return days


def days_of(walls: FloatArray, first: date = START) -> PriceDays:
    return PriceDays.of(past_of(walls, first), step=HOUR)


def known(walls: FloatArray) -> tuple[FloatArray, Calendar, FloatArray]:
    index = np.arange(28, len(walls))
    return histories(walls, index), Calendar.of(START, len(walls)).rows(index), walls[index]


class TestModels:
    def test_the_lasso_finds_what_decides_and_leaves_out_the_rest(self) -> None:
        rng = np.random.default_rng(2)
        walls = np.zeros((250, 24))
        for n in range(1, 250):
            walls[n] = 0.8 * walls[n - 1, 23] + rng.normal(0.0, 10.0, 24)
        view = LearView(scale_days=None, half_life_days=None, penalty=0.05)
        fitted = Lear.fit(*known(walls), view)
        last_hour = fitted.coefficient[23]
        assert np.all(np.abs(last_hour) > 0.4)  # 0.8 less what the penalty shrinks
        others = np.delete(fitted.coefficient, 23, axis=0)
        assert np.mean(others == 0.0) > 0.8
        history, calendar, price = known(walls)
        assert np.abs(fitted.predict(history, calendar) - price).mean() < 10.0

    @pytest.mark.parametrize("view", LEAR_VIEWS)
    def test_every_view_forecasts_a_new_day(self, view: LearView) -> None:
        walls = market(400)
        fitted = Lear.fit(*known(walls[:-1]), view)
        history, calendar, price = known(walls)
        said = fitted.predict(history[-1:], Calendar.rows(calendar, np.array([len(calendar) - 1])))
        assert said.shape == (1, 24)
        assert np.abs(said[0] - price[-1]).mean() < 40.0

    def test_old_days_fade(self) -> None:
        walls = np.concatenate([np.full((150, 24), 50.0), np.full((60, 24), 90.0)])
        walls += np.random.default_rng(3).normal(0.0, 1.0, walls.shape)
        slow, fast = (
            Lear.fit(*known(walls), LearView(scale_days=None, half_life_days=half, penalty=10.0))
            for half in (None, 20.0)
        )
        history, calendar, _ = known(walls)
        # With a penalty that leaves no column the forecast is the weighted mean.
        one = calendar.rows(np.array([0]))
        assert slow.predict(history[-1:], one).mean() + 8.0 < fast.predict(history[-1:], one).mean()

    def test_the_kernel_knows_the_days_of_the_week(self) -> None:
        walls = np.array([np.full(24, 10.0 * ((START + timedelta(days=n)).weekday() + 1)) for n in range(250)])
        walls += np.random.default_rng(4).normal(0.0, 1.0, walls.shape)
        fitted = Kernel.fit(*known(walls[:-7]))
        history, calendar, price = known(walls)
        said = fitted.predict(history[-7:], calendar.rows(np.arange(len(calendar) - 7, len(calendar))))
        assert np.abs(said - price[-7:]).mean() < 3.0

    def test_trees_see_an_interaction_that_no_line_follows(self) -> None:
        rng = np.random.default_rng(5)
        walls = 50.0 + rng.normal(0.0, 20.0, (300, 24))
        for n in range(1, 300):
            # A high last hour means a dear day, on weekends a cheap one.
            sign = 1.0 if walls[n - 1, 23] > 50.0 else -1.0
            walls[n, :23] += 25.0 * (sign if (START + timedelta(days=n)).weekday() < 5 else -sign)
        history, calendar, price = known(walls)
        late = np.flatnonzero(calendar.weekday >= 5)[-20:]
        options = BoostingOptions(model_count=1, tree_count=60, least_leaf=20)
        grown = Boosting.fit(*known(walls[:-70]), options).predict(history[late], calendar.rows(late))
        line = Lear.fit(*known(walls[:-70]), LEAR_VIEWS[0]).predict(history[late], calendar.rows(late))
        # The noise alone is 16 in the mean.
        assert np.abs(grown - price[late])[:, :23].mean() < 0.75 * np.abs(line - price[late])[:, :23].mean()

    def test_squeezing_is_undone(self) -> None:
        history = market(60)[None, -28:] - 80.0
        scale = Scale.of(history, 7)
        np.testing.assert_allclose(scale.stretch(scale.squeeze(history[:, -1:])[:, 0]), history[:, -1])

    def test_constant_prices_have_a_scale(self) -> None:
        walls = np.full((200, 24), 40.0)
        for view in LEAR_VIEWS:
            np.testing.assert_allclose(Lear.fit(*known(walls), view).predict(*known(walls)[:2]), 40.0, atol=1e-6)
        np.testing.assert_allclose(Kernel.fit(*known(walls)).predict(*known(walls)[:2]), 40.0, atol=1e-6)


class TestWalk:
    def test_what_can_be_learned_beats_the_naive(self) -> None:
        walls = market(300)
        walk = walk_prices(
            days_of(walls), day(START + timedelta(days=220)), day(START + timedelta(days=299)), options=LIGHT
        )
        assert walk.learned is not None
        assert relative_mae(walls[220:], walk.learned, walk.naive) < 0.9
        assert walk.forecast(day(START + timedelta(days=299))).method is PriceMethod.LEARNED

    def test_trees_join_the_average(self) -> None:
        walls = market(240)
        first, last = day(START + timedelta(days=215)), day(START + timedelta(days=239))
        light = walk_prices(days_of(walls), first, last, options=LIGHT)
        options = LearningOptions(boosting=BoostingOptions(model_count=1, tree_count=40), refit_days=28)
        whole = walk_prices(days_of(walls), first, last, options=options)
        again = walk_prices(days_of(walls), first, last, options=options)
        assert light.learned is not None
        assert whole.learned is not None
        assert again.learned is not None
        np.testing.assert_array_equal(whole.learned, again.learned)
        assert 0.1 < np.abs(whole.learned - light.learned).mean() < 10.0
        assert relative_mae(walls[215:], whole.learned, whole.naive) < 0.9

    def test_the_naive_wins_where_nothing_beats_it(self) -> None:
        rng = np.random.default_rng(6)
        week = rng.normal(60.0, 30.0, (1, 24)) * np.ones((7, 1))
        walls = np.concatenate([market(200), np.tile(week, (6, 1))])
        forecast = forecast_learned(
            past_of(walls),
            day(START + timedelta(days=len(walls))),
            known_until=gate(START + timedelta(days=len(walls))),
            step=HOUR,
            options=LIGHT,
        )
        assert forecast.method is PriceMethod.NAIVE
        assert forecast.naive_mae_eur_per_mwh == pytest.approx(0.0, abs=1e-9)
        assert forecast.learned_mae_eur_per_mwh is not None
        assert forecast.learned_mae_eur_per_mwh > 0.0
        assert "28 days" in forecast.reason
        np.testing.assert_allclose(forecast.price_eur_per_mwh, week[0])

    @pytest.mark.parametrize(
        ("when", "lead", "source"),
        [
            (date(2025, 4, 7), 1, date(2025, 3, 31)),  # Monday: the last one
            (date(2025, 4, 8), 1, date(2025, 4, 7)),  # Tuesday: the day before
            (date(2025, 4, 11), 1, date(2025, 4, 10)),
            (date(2025, 4, 12), 1, date(2025, 4, 5)),  # Saturday
            (date(2025, 4, 13), 1, date(2025, 4, 6)),  # Sunday
            (date(2025, 4, 10), 2, date(2025, 4, 8)),  # Thursday when Wednesday is not known
            (date(2025, 4, 8), 2, date(2025, 3, 31)),  # Tuesday by the Monday that is forecast by the last one
        ],
    )
    def test_the_naive_is_that_of_the_benchmark(self, when: date, lead: int, source: date) -> None:
        walls = np.arange(60.0)[:, None] * np.ones(24)
        walk = walk_prices(days_of(walls), day(when), day(when), lead_days=lead)
        np.testing.assert_array_equal(walk.naive[0], float((source - START).days))

    @pytest.mark.parametrize("lead", [1, 2])
    def test_nothing_after_the_gate_changes_a_forecast(self, lead: int) -> None:
        walls = market(200)
        first, last = day(START + timedelta(days=180)), day(START + timedelta(days=189))
        before = walk_prices(days_of(walls), first, last, lead_days=lead, options=LIGHT)
        changed = walls.copy()
        changed[190 - lead :] += 500.0
        after = walk_prices(days_of(changed), first, last, lead_days=lead, options=LIGHT)
        assert before.learned is not None
        assert after.learned is not None
        np.testing.assert_array_equal(before.learned, after.learned)
        np.testing.assert_array_equal(before.naive, after.naive)
        one, two = before.forecast(last), after.forecast(last)
        np.testing.assert_array_equal(one.scenarios_eur_per_mwh, two.scenarios_eur_per_mwh)
        assert one.mae_eur_per_mwh == two.mae_eur_per_mwh
        changed[189 - lead] += 1.0  # but the last known day does
        seen = walk_prices(days_of(changed), first, last, lead_days=lead, options=LIGHT)
        assert seen.learned is not None
        assert not np.array_equal(before.learned[-1], seen.learned[-1])

    @pytest.mark.parametrize("lead", [1, 2])
    def test_models_are_not_fitted_to_the_day_they_forecast(self, lead: int) -> None:
        walls = market(185)
        first = day(START + timedelta(days=180))
        before = walk_prices(days_of(walls), first, first, lead_days=lead, options=LIGHT)
        walls[181 - lead :] += 500.0
        after = walk_prices(days_of(walls), first, first, lead_days=lead, options=LIGHT)
        assert before.learned is not None
        assert after.learned is not None
        np.testing.assert_array_equal(before.learned, after.learned)

    def test_a_walk_and_a_single_forecast_agree(self) -> None:
        walls = market(230)
        target = START + timedelta(days=229)
        single = forecast_learned(past_of(walls[:-1]), day(target), known_until=gate(target), step=HOUR, options=LIGHT)
        walk = walk_prices(days_of(walls), day(START + timedelta(days=169)), day(target), options=LIGHT).forecast(
            day(target)
        )
        np.testing.assert_allclose(single.price_eur_per_mwh, walk.price_eur_per_mwh)
        np.testing.assert_allclose(single.scenarios_eur_per_mwh, walk.scenarios_eur_per_mwh)
        assert single.reason == walk.reason

    def test_a_day_farther_off_is_forecast_over_the_days_between(self) -> None:
        walls = market(230)
        target = START + timedelta(days=229)
        forecast = forecast_learned(
            past_of(walls[:-2]), day(target), known_until=gate(target - timedelta(days=1)), step=HOUR, options=LIGHT
        )
        assert forecast.method is PriceMethod.LEARNED
        assert np.abs(forecast.price_eur_per_mwh - walls[-1]).mean() < 40.0

    def test_errors_are_those_of_the_days_before(self) -> None:
        walls = market(230)
        walk = walk_prices(
            days_of(walls), day(START + timedelta(days=200)), day(START + timedelta(days=229)), options=LIGHT
        )
        forecast = walk.forecast(day(START + timedelta(days=220)))
        assert walk.learned is not None
        errors = walls[200:220] - walk.learned[:20]
        np.testing.assert_allclose(forecast.errors_eur_per_mwh, errors)
        assert forecast.mae_eur_per_mwh == pytest.approx(np.abs(errors).mean())
        assert forecast.compared_day_count == 20
        made = forecast.scenario_set()
        np.testing.assert_allclose(made.paths, forecast.price_eur_per_mwh + errors)
        assert np.all(np.diff(forecast.quantiles(), axis=0) >= 0.0)


class TestDays:
    @pytest.mark.parametrize("step", [HOUR, QUARTER])
    @pytest.mark.parametrize("target", [SPRING, AUTUMN, date(2026, 5, 6)])
    def test_days_have_their_length(self, target: date, step: timedelta) -> None:
        count = 190
        first = target - timedelta(days=count)
        walls = np.repeat(market(count), HOUR // step, axis=1)
        forecast = forecast_learned(
            past_of(walls, first, step), day(target), known_until=gate(target), step=step, options=LIGHT
        )
        periods = day(target).grid(step).count
        assert forecast.price_eur_per_mwh.shape == (periods,)
        assert forecast.scenarios_eur_per_mwh.shape[1] == periods
        assert forecast.learned_mae_eur_per_mwh is not None

    def test_the_pattern_inside_the_hour_is_kept(self) -> None:
        pattern = np.tile([9.0, 3.0, -3.0, -9.0], 24)
        hours = market(190)
        walls = np.repeat(hours, 4, axis=1) + pattern
        target = START + timedelta(days=190)
        quarter = forecast_learned(past_of(walls, step=QUARTER), day(target), known_until=gate(target), options=LIGHT)
        hourly = forecast_learned(past_of(hours), day(target), known_until=gate(target), step=HOUR, options=LIGHT)
        np.testing.assert_allclose(
            quarter.price_eur_per_mwh, np.repeat(hourly.price_eur_per_mwh, 4) + pattern, atol=1e-6
        )

    def test_the_pattern_inside_the_hour_is_that_of_days_before(self) -> None:
        walls = np.repeat(market(181), 4, axis=1)
        target = day(START + timedelta(days=180))
        before = walk_prices(PriceDays.of(past_of(walls, step=QUARTER)), target, target, options=LIGHT)
        walls[180, ::4] += 70.0
        after = walk_prices(PriceDays.of(past_of(walls, step=QUARTER)), target, target, options=LIGHT)
        assert before.learned is not None
        assert after.learned is not None
        np.testing.assert_array_equal(before.learned, after.learned)

    def test_holidays_are_learned_as_sundays(self) -> None:
        calendar = Calendar.of(date(2026, 4, 30), 3, {date(2026, 5, 1)})
        assert calendar.weekday.tolist() == [3, 6, 5]
        assert calendar.is_holiday.tolist() == [False, True, False]
        assert calendar.is_after_holiday.tolist() == [False, False, True]

    def test_a_missing_day_is_filled_but_neither_learned_nor_scored(self) -> None:
        walls = market(60)
        past = past_of(walls)
        del past[40]
        days = PriceDays.of(past, step=HOUR)
        np.testing.assert_array_equal(days.wall_eur_per_mwh[40], walls[33])
        assert np.flatnonzero(days.is_filled).tolist() == [40]
        walk = walk_prices(days, day(START + timedelta(days=35)), day(START + timedelta(days=59)))
        assert walk.forecast(day(START + timedelta(days=59))).compared_day_count == 23

    def test_histories_end_the_day_before(self) -> None:
        walls = np.arange(40.0)[:, None] * np.ones(24)
        seen = histories(walls, np.array([28, 40]))
        assert seen[:, :, 0].tolist() == [list(range(28)), list(range(12, 40))]


class TestNaiveAlone:
    def test_without_scikit_learn_the_naive_forecasts_and_says_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(learned_prices, "is_learning_installed", lambda: False)
        walls = market(230)
        target = START + timedelta(days=230)
        forecast = forecast_learned(past_of(walls), day(target), known_until=gate(target), step=HOUR)
        assert forecast.method is PriceMethod.NAIVE
        assert "scikit-learn" in forecast.reason
        assert forecast.learned_mae_eur_per_mwh is None
        assert forecast.scenarios_eur_per_mwh.shape == (60, 24)
        assert forecast.mae_eur_per_mwh == forecast.naive_mae_eur_per_mwh

    def test_nothing_is_imported_before_it_is_needed(self) -> None:
        import subprocess
        import sys

        code = "import sys, bidding.forecasts.learned_prices; sys.exit('sklearn' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

    @pytest.mark.parametrize(("count", "scenarios"), [(1, 0), (5, 4), (100, 60)])
    def test_a_young_past_is_forecast_naively(self, count: int, scenarios: int) -> None:
        target = START + timedelta(days=count)
        forecast = forecast_learned(past_of(market(count)), day(target), known_until=gate(target), step=HOUR)
        assert forecast.method is PriceMethod.NAIVE
        assert "days to learn from" in forecast.reason
        assert forecast.scenarios_eur_per_mwh.shape == (scenarios, 24)

    def test_learning_begins_when_it_can_be_compared(self) -> None:
        for count, learned in ((154, False), (155, True)):
            target = START + timedelta(days=count)
            forecast = forecast_learned(
                past_of(market(count)), day(target), known_until=gate(target), step=HOUR, options=LIGHT
            )
            assert (forecast.learned_mae_eur_per_mwh is not None) is learned


class TestRefused:
    def test_prices_of_an_auction_that_was_not_held(self) -> None:
        target = START + timedelta(days=40)
        past = past_of(market(40))
        with pytest.raises(InvalidInput) as refused:
            forecast_learned(
                past, day(target), known_until=gate(target - timedelta(days=1)) - timedelta(hours=1), step=HOUR
            )
        assert refused.value.field == "past[39].day"

    def test_days_that_cannot_be_forecast(self) -> None:
        days = days_of(market(40))

        def walk(first: int, last: int, lead: int = 1) -> PriceWalk:
            return walk_prices(days, day(START + timedelta(first)), day(START + timedelta(last)), lead_days=lead)

        for first, last, lead, field in (
            (0, 0, 1, "first"),
            (9, 8, 1, "last"),
            (9, 41, 1, "last"),
            (9, 9, 0, "lead_days"),
        ):
            with pytest.raises(InvalidInput) as refused:
                walk(first, last, lead)
            assert refused.value.field == field
        assert len(walk(9, 40)) == 32
        with pytest.raises(InvalidInput, match="not among"):
            walk(9, 9).forecast(day(START))
        with pytest.raises(InvalidInput, match="Lisbon"):
            days.index_of(DeliveryDay(day=START, zone="Europe/Lisbon"))

    def test_a_past_that_does_not_fit(self) -> None:
        past = past_of(market(3))
        lisbon = PastPrices(
            day=DeliveryDay(day=START + timedelta(days=5), zone="Europe/Lisbon"), price_eur_per_mwh=np.ones(24)
        )
        for wrong, problem in (([], "at least one"), ([*past, past[1]], "twice"), ([*past, lisbon], "Lisbon")):
            with pytest.raises(InvalidInput, match=problem):
                PriceDays.of(wrong, step=HOUR)
        with pytest.raises(InvalidInput, match="divide an hour"):
            PriceDays.of(past, step=timedelta(minutes=40))
        with pytest.raises(InvalidInput, match="after every past day"):
            forecast_learned(
                past, day(START + timedelta(days=2)), known_until=gate(START + timedelta(days=9)), step=HOUR
            )

    def test_options(self) -> None:
        options: dict[str, Callable[[], LearningOptions]] = {
            "window_days": lambda: LearningOptions(window_days=119),
            "refit_days": lambda: LearningOptions(refit_days=0),
            "boosting_refit_days": lambda: LearningOptions(boosting_refit_days=0),
            "compare_days": lambda: LearningOptions(compare_days=0),
            "error_days": lambda: LearningOptions(error_days=0),
            "views": lambda: LearningOptions(views=()),
        }
        for field, make in options.items():
            with pytest.raises(InvalidInput) as refused:
                make()
            assert refused.value.field == field
