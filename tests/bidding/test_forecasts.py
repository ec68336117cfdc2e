"""Forecasts of sessions: earlier days only, by the wall clock, exact averages, seeded draws."""

import dataclasses
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import pytest

from bidding.civil_day import CivilDay, DayType, by_wall_clock, day_type, on_delivery_day, wall_times
from bidding.fleet.flexibility import FlexibilityTable
from bidding.fleet.sessions import SessionArrays, fit_to_horizon, join_sessions
from bidding.forecasts.session_scenarios import draw_days, scenario_sessions, scenario_tables
from bidding.forecasts.sessions import (
    ForecastFrame,
    LearnedStays,
    SessionHistory,
    draw_sessions,
    expected_sessions,
    find_sources,
)
from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import DeliveryDay, TimeGrid
from gateway.domain.units import QUARTER_HOUR

ZONE = "Europe/Brussels"
SPRING, AUTUMN = date(2026, 3, 29), date(2025, 10, 26)


def at(day: date, hour: int, minute: int = 0) -> datetime:
    return DeliveryDay(day=day, zone=ZONE).at(time(hour, minute))


def history(*rows: tuple[datetime, float, float, float, int], since: date = date(2026, 1, 1)) -> SessionHistory:
    """Rows of (arrival, hours, kW, kWh, site)."""
    arrival = np.array([int(row[0].timestamp()) for row in rows], dtype=np.int64)
    return SessionHistory(
        covered_since=at(since, 0),
        arrival_s=arrival,
        departure_s=arrival + np.array([round(row[1] * 3600) for row in rows], dtype=np.int64),
        power_kw=np.array([row[2] for row in rows], dtype=float),
        energy_kwh=np.array([row[3] for row in rows], dtype=float),
        site_index=np.array([row[4] for row in rows], dtype=np.int64),
    )


def frame(target: date) -> ForecastFrame:
    """Noon the day before to noon the day after, known at 11:00 the day before."""
    before, after = target - timedelta(days=1), target + timedelta(days=1)
    start = at(before, 12)
    grid = TimeGrid(start=start, count=(at(after, 12) - start) // QUARTER_HOUR)
    return ForecastFrame(grid=grid, zone=ZONE, known_until=at(before, 11))


def every_day(
    first: date, count: int, hour: int, hours: float, energy: float
) -> list[tuple[datetime, float, float, float, int]]:
    return [(at(first + timedelta(days=n), hour), hours, 11.0, energy, 0) for n in range(count)]


class TestWallClock:
    @pytest.mark.parametrize(("day", "length", "jump"), [(SPRING, 23, 2), (date(2026, 5, 6), 24, 24), (AUTUMN, 25, 3)])
    def test_the_jump_is_found(self, day: date, length: int, jump: int) -> None:
        civil = CivilDay.of(DeliveryDay(day=day, zone=ZONE))
        assert (civil.length_s, civil.jump_s) == (length * 3600, jump * 3600)

    @pytest.mark.parametrize("day", [SPRING, date(2026, 5, 6), AUTUMN])
    def test_wall_times_agree_with_the_time_zone(self, day: date) -> None:
        from zoneinfo import ZoneInfo

        delivery = DeliveryDay(day=day, zone=ZONE)
        instants = np.array([int(start.timestamp()) for start in delivery.grid().starts()])
        local = [start.astimezone(ZoneInfo(ZONE)) for start in delivery.grid().starts()]
        expected = [one.hour * 3600 + one.minute * 60 for one in local]
        civil = CivilDay.of(delivery)
        assert civil.wall_of(instants - civil.start_s).tolist() == expected
        assert wall_times(instants, ZONE).wall_s.tolist() == expected
        back = civil.elapsed_of(civil.wall_of(instants - civil.start_s))
        first_times = dict(zip(reversed(expected), reversed(instants - civil.start_s), strict=True))
        assert back.tolist() == [first_times[wall] for wall in expected]

    def test_a_wall_time_that_does_not_exist_is_the_jump(self) -> None:
        civil = CivilDay.of(DeliveryDay(day=SPRING, zone=ZONE))
        assert civil.elapsed_of(np.array([7200 + 1800])).tolist() == [7200]

    @pytest.mark.parametrize(("day", "count"), [(SPRING, 92), (date(2026, 5, 6), 96), (AUTUMN, 100)])
    def test_values_go_to_the_wall_clock_and_back(self, day: date, count: int) -> None:
        delivery = DeliveryDay(day=day, zone=ZONE)
        hour = np.arange(96) / 4
        values = on_delivery_day(hour, delivery, QUARTER_HOUR)
        assert len(values) == count
        np.testing.assert_allclose(by_wall_clock(values, delivery, QUARTER_HOUR), hour)

    def test_holidays_are_sundays(self) -> None:
        assert day_type(date(2026, 5, 1), {date(2026, 5, 1)}) is DayType.SUNDAY
        assert day_type(date(2026, 5, 1)) is DayType.WEEKDAY
        assert day_type(date(2026, 5, 2)) is DayType.SATURDAY
        assert day_type(date(2026, 5, 3)) is DayType.SUNDAY


class TestSources:
    def test_the_latest_days_of_the_type_weigh_most(self) -> None:
        past = history(*every_day(date(2026, 4, 1), 34, 18, 12, 20))
        source = find_sources(past, frame(date(2026, 5, 6)), date(2026, 5, 6))
        assert source.is_same_type
        assert source.days[0].day == date(2026, 5, 4)  # the 5th is not over yet
        assert len(source.days) == 10
        assert all(one.day.weekday() < 5 for one in source.days)
        assert sum(one.weight for one in source.days) == pytest.approx(1)
        by_day = {one.day: one.weight for one in source.days}
        assert by_day[date(2026, 4, 27)] / by_day[date(2026, 5, 4)] == pytest.approx(0.5**0.25)

    @pytest.mark.parametrize(
        ("since", "target", "newest", "is_same_type"),
        [
            (date(2026, 4, 27), date(2026, 5, 9), date(2026, 5, 2), True),  # a Saturday by the last Saturday
            (date(2026, 5, 3), date(2026, 5, 9), date(2026, 5, 3), False),  # by the only Sunday
            (date(2026, 5, 4), date(2026, 5, 9), date(2026, 5, 4), False),  # by a weekday, for want of any weekend
        ],
    )
    def test_other_days_must_do_when_there_is_no_like_day(
        self, since: date, target: date, newest: date, is_same_type: bool
    ) -> None:
        past = history(*every_day(since, 1, 18, 12, 20), since=since)
        source = find_sources(past, frame(date(2026, 5, 6)), target)
        assert (source.days[0].day, source.is_same_type) == (newest, is_same_type)

    def test_without_a_past_there_is_no_forecast(self) -> None:
        new = history(*every_day(date(2026, 5, 5), 1, 8, 1, 5), since=date(2026, 5, 5))
        with pytest.raises(InvalidInput, match="no complete day"):
            expected_sessions(new, frame(date(2026, 5, 6)))


class TestForecast:
    def test_a_history_that_knows_the_future_is_refused(self) -> None:
        leak = history(*every_day(date(2026, 4, 1), 36, 18, 12, 20))
        with pytest.raises(InvalidInput) as refused:
            expected_sessions(leak, frame(date(2026, 5, 6)))
        assert refused.value.field == "history.departure_s[34]"

    def test_equal_days_are_forecast_as_they_were(self) -> None:
        past = history(*every_day(date(2026, 4, 1), 34, 18, 12, 20))
        forecast = expected_sessions(past, frame(date(2026, 5, 6)))
        assert [one.target for one in forecast.sources] == [date(2026, 5, 5), date(2026, 5, 6), date(2026, 5, 7)]
        sessions = forecast.sessions
        assert set(zip(sessions.arrival_slot.tolist(), sessions.departure_slot.tolist(), strict=True)) == {
            (24, 72),  # 18:00 on the day before, for twelve hours
            (24 + 96, 72 + 96),
        }
        first = sessions.arrival_slot == 24
        assert sessions.energy_min_kwh[first].sum() == pytest.approx(20)
        assert sessions.rate_kwh_per_slot[first].sum() == pytest.approx(11 / 4)
        table = FlexibilityTable.build(fit_to_horizon(sessions, 192).sessions, 192)
        whole = SessionArrays(
            arrival_slot=np.array([24, 120]),
            departure_slot=np.array([72, 168]),
            rate_kwh_per_slot=np.full(2, 2.75),
            energy_min_kwh=np.full(2, 20.0),
            energy_max_kwh=np.full(2, 20.0),
        )
        np.testing.assert_allclose(table.major, FlexibilityTable.build(whole, 192).major, atol=1e-12)

    def test_a_draw_is_one_whole_day_and_repeats_with_its_seed(self) -> None:
        rows = []
        for n in range(34):
            day = date(2026, 4, 1) + timedelta(days=n)
            rows += [(at(day, 18), 12.0, 11.0, 5.0 + n, 0), (at(day, 9), 4.0, 22.0, 50.0 + n, 1)]
        past, wanted = history(*rows), frame(date(2026, 5, 6))
        draws = [draw_sessions(past, wanted, np.random.default_rng(seed)) for seed in (1, 1, 2, 3, 4)]
        np.testing.assert_array_equal(draws[0].sessions.energy_min_kwh, draws[1].sessions.energy_min_kwh)
        assert len({one.sources[1].days[0].day for one in draws}) > 1
        for one in draws:
            sessions = one.sessions
            on_day = (sessions.arrival_slot >= 48) & (sessions.arrival_slot < 144)
            assert sessions.site_index is not None
            low, high = sorted(sessions.energy_min_kwh[on_day])
            assert high - low == pytest.approx(45)  # both of the same past day
            assert (date(2026, 4, 1) + timedelta(days=round(low - 5))) == one.sources[1].days[0].day

    def test_cars_that_came_before_now_are_not_forecast(self) -> None:
        past = history(*every_day(date(2026, 4, 1), 34, 10, 6, 20))
        sessions = expected_sessions(past, frame(date(2026, 5, 6))).sessions
        assert sessions.arrival_slot.min() == 96 - 8  # not today's car of 10:00, which is known; tomorrow's

    def test_the_wall_clock_holds_over_a_clock_change(self) -> None:
        past = history(*every_day(date(2026, 3, 1), 26, 18, 12, 20))
        sessions = expected_sessions(past, frame(SPRING)).sessions
        grid = frame(SPRING).grid
        assert {grid.start + slot * QUARTER_HOUR for slot in set(sessions.arrival_slot.tolist())} == {
            at(date(2026, 3, 28), 18),
            at(SPRING, 18),
        }

    def test_a_quiet_day_counts(self) -> None:
        past = history(*[row for row in every_day(date(2026, 4, 1), 34, 18, 12, 20) if row[0].day % 2])
        sessions = expected_sessions(past, frame(date(2026, 5, 6))).sessions
        on_day = sessions.arrival_slot == 120
        assert 5 < sessions.energy_min_kwh[on_day].sum() < 15

    @pytest.mark.parametrize(
        ("row", "field"),
        [
            ((datetime(2026, 4, 1, tzinfo=UTC), -1.0, 11.0, 5.0, 0), "history.departure_s[0]"),
            ((datetime(2026, 4, 1, tzinfo=UTC), 1.0, 0.0, 5.0, 0), "history.power_kw[0]"),
            ((datetime(2026, 4, 1, tzinfo=UTC), 1.0, 11.0, -5.0, 0), "history.energy_kwh[0]"),
            ((datetime(2026, 4, 1, tzinfo=UTC), 1.0, 11.0, np.nan, 0), "history.energy_kwh[0]"),
        ],
    )
    def test_a_bad_history_is_refused_by_name(self, row: tuple[datetime, float, float, float, int], field: str) -> None:
        with pytest.raises(InvalidInput) as refused:
            history(row)
        assert refused.value.field == field


class TestScenarios:
    """Whole past days straight into tables."""

    TARGET = date(2026, 5, 6)

    def past(self) -> SessionHistory:
        rows = []
        for n in range(34):
            day = date(2026, 4, 1) + timedelta(days=n)
            rows += [(at(day, 18), 12.0, 11.0, 5.0 + n, 0), (at(day, 9), 4.0, 22.0, 50.0 + n, 1)]
        return history(*rows)

    def present(self) -> SessionArrays:
        return SessionArrays(
            arrival_slot=np.array([-4, 0]),
            departure_slot=np.array([20, 40]),
            rate_kwh_per_slot=np.array([1.0, 2.75]),
            energy_min_kwh=np.array([10.0, 30.0]),
            energy_max_kwh=np.array([10.0, 30.0]),
            site_index=np.array([0, 1]),
        )

    def test_a_table_is_that_of_the_sessions_drawn_and_of_those_present(self) -> None:
        past, wanted = self.past(), frame(self.TARGET)
        drawn = draw_days(past, wanted, 2, np.random.default_rng(1))
        count = wanted.grid.count
        for number, table in enumerate(scenario_tables(past, wanted, drawn, present=self.present())):
            sessions = join_sessions([self.present(), *scenario_sessions(past, wanted, drawn, number)])
            expected = FlexibilityTable.build(fit_to_horizon(sessions, count).sessions, count)
            np.testing.assert_allclose(table.major, expected.major, atol=1e-9)
            np.testing.assert_array_equal(table.session_count, expected.session_count)
            assert len(drawn.days_of(number)) == 3

    def test_draws_are_whole_like_days_by_recency_and_repeat_with_their_seed(self) -> None:
        past, wanted = self.past(), frame(self.TARGET)
        drawn = draw_days(past, wanted, 4000, np.random.default_rng(2))
        again = draw_days(past, wanted, 4000, np.random.default_rng(2))
        np.testing.assert_array_equal(drawn.picks, again.picks)
        source = drawn.sources[1]
        share = np.bincount(drawn.picks[:, 1], minlength=len(source.days)) / 4000
        np.testing.assert_allclose(share, [day.weight for day in source.days], atol=0.03)
        assert all(one.weekday() < 5 for one in drawn.days_of(0))

    def test_sites_add_up_scenario_by_scenario(self) -> None:
        past, wanted = self.past(), frame(self.TARGET)
        drawn = draw_days(past, wanted, 2, np.random.default_rng(3))
        whole = scenario_tables(past, wanted, drawn, present=self.present())
        parts = [scenario_tables(past, wanted, drawn, present=self.present(), site_index=site) for site in (0, 1)]
        for total, first, second in zip(whole, *parts, strict=True):
            np.testing.assert_allclose(total.major, (first + second).major, atol=1e-9)

    def test_tables_are_independent_of_each_other(self) -> None:
        past, wanted = self.past(), frame(self.TARGET)
        drawn = draw_days(past, wanted, 2, np.random.default_rng(4))
        first, second = scenario_tables(past, wanted, drawn)
        before = second.major.copy()
        extra = self.present().select(np.array([1]))
        first.add(extra)
        np.testing.assert_array_equal(second.major, before)

    @pytest.mark.parametrize("target", [SPRING, AUTUMN])
    def test_days_on_which_the_clock_changes_have_their_length(self, target: date) -> None:
        past = history(*every_day(target - timedelta(days=33), 31, 18, 10, 20), since=target - timedelta(days=33))
        wanted = frame(target)
        drawn = draw_days(past, wanted, 2, np.random.default_rng(5))
        for table in scenario_tables(past, wanted, drawn):
            assert table.slot_count == wanted.grid.count
            everywhere = np.ones(table.slot_count, dtype=bool)
            # The evening before and the day itself; the last evening is after the horizon.
            assert table.most_kwh(everywhere) == pytest.approx(40.0)

    def test_what_cannot_be_is_refused(self) -> None:
        past, wanted = self.past(), frame(self.TARGET)
        with pytest.raises(InvalidInput, match="count"):
            draw_days(past, wanted, 0, np.random.default_rng(1))
        drawn = draw_days(past, wanted, 2, np.random.default_rng(1))
        with pytest.raises(InvalidInput, match="scenario"):
            scenario_sessions(past, wanted, drawn, 2)
        leak = history(*every_day(date(2026, 4, 1), 36, 18, 12, 20))
        with pytest.raises(InvalidInput, match="known_until"):
            draw_days(leak, wanted, 1, np.random.default_rng(1))
        with pytest.raises(InvalidInput, match="known_until"):
            next(scenario_tables(leak, wanted, drawn))


class TestLearnedStays:
    NOW = at(date(2026, 5, 6), 12)

    def learned(self) -> LearnedStays:
        rows = []
        for n in range(30):
            day = date(2026, 4, 1) + timedelta(days=n)
            if day.weekday() < 5:
                rows += [(at(day, 18, m), 10 + m / 10, 11.0, 10.0 + m, 0) for m in (0, 10, 20)]
                rows += [(at(day, 9), 8.0, 11.0, 30.0, 1)]
        return LearnedStays.learn(history(*rows), ["home", "work"], zone=ZONE, known_until=self.NOW)

    def test_like_cars_decide(self) -> None:
        learned = self.learned()
        arrival = at(date(2026, 5, 5), 18, 30)
        assert learned.believe_departure("home", arrival, 0.0) == arrival + timedelta(hours=10)
        assert learned.believe_departure("home", arrival, 0.5) == arrival + timedelta(hours=11)
        assert learned.believe_energy("home", arrival, 1.0) == pytest.approx(30)
        at_work = at(date(2026, 5, 6), 9)
        assert learned.believe_departure("work", at_work, 0.1) == at_work + timedelta(hours=8)

    def test_a_car_that_is_still_there_stays_longer(self) -> None:
        learned = self.learned()
        arrival = at(date(2026, 5, 5), 18)
        seen = arrival + timedelta(hours=11, minutes=30)
        assert learned.believe_departure("home", arrival, 0.1, still_there_at=seen) == arrival + timedelta(hours=12)
        late = arrival + timedelta(hours=20)
        assert learned.believe_departure("home", arrival, 0.1, still_there_at=late) == late
        assert learned.believe_energy("home", arrival, 0.0, delivered_kwh=15.0) == pytest.approx(20)
        assert learned.believe_energy("home", arrival, 0.0, delivered_kwh=99.0) == 99.0

    @pytest.mark.parametrize("quantile", [0.0, 0.1, 1 / 3, 0.5, 0.97, 1.0])
    @pytest.mark.parametrize("seen_after_h", [None, 0.5, 5.0, 9.7])
    def test_what_is_believed_is_the_quantile_of_the_longer_stays(
        self, quantile: float, seen_after_h: float | None
    ) -> None:
        random = np.random.default_rng(4)
        stays_h = np.round(random.uniform(0.1, 10.0, 60), 3)
        evening = at(date(2026, 4, 7), 18)
        rows = [(evening, float(stay_h), 11.0, 20.0, 0) for stay_h in stays_h]
        learned = LearnedStays.learn(history(*rows), ["home"], zone=ZONE, known_until=self.NOW)
        seen = None if seen_after_h is None else evening + timedelta(hours=seen_after_h)
        found = learned.believe_departure("home", evening, quantile, still_there_at=seen)
        longer_s = np.round(3600.0 * stays_h[stays_h > (seen_after_h or 0.0)])
        assert (found - evening).total_seconds() == pytest.approx(np.quantile(longer_s, quantile), abs=1e-3)

    def test_nobody_counts_on_a_silent_car_to_stay_longer_than_believed(self) -> None:
        learned = self.learned()
        evening = at(date(2026, 5, 4), 18)
        past = history((evening, 12.0, 11.0, 22.0, 0), (evening, 12.0, 11.0, 22.0, 0), (evening, 12.0, 2.0, 23.0, 0))
        assert learned.without_promises(past, ["home", "work"], 0.0) is past, "nothing is known of what drivers said"
        said = dataclasses.replace(past, told_departure=np.array([True, False, False]))
        counted = learned.without_promises(said, ["home", "work"], 0.0)
        hours = (counted.departure_s - counted.arrival_s) / 3600.0
        # Said: as it was. Silent: the earliest stay seen, ten hours; but the slow car needs 11.5 hours for its energy.
        assert hours.tolist() == pytest.approx([12.0, 10.0, 11.5])
        short = dataclasses.replace(said, departure_s=said.arrival_s + 3600, energy_kwh=np.full(3, 1.0))
        unchanged = learned.without_promises(short, ["home", "work"], 0.5)
        assert unchanged.departure_s.tolist() == short.departure_s.tolist(), "never longer than it was"
        with pytest.raises(InvalidInput, match="told_departure"):
            dataclasses.replace(past, told_departure=np.array([True]))

    def test_few_samples_widen_the_comparison(self) -> None:
        learned = self.learned()
        night = at(date(2026, 5, 6), 3)
        assert learned.believe_departure("home", night, 0.0) == night + timedelta(hours=10)
        assert learned.believe_departure("airport", night, 0.0) == night + timedelta(hours=8)

    def test_what_cannot_be_learned_from_is_refused(self) -> None:
        with pytest.raises(InvalidInput, match="quantile"):
            self.learned().believe_departure("home", self.NOW, 1.5)
        with pytest.raises(InvalidInput, match="at least one session"):
            LearnedStays.learn(history(), [], zone=ZONE, known_until=self.NOW)
        one = history((at(date(2026, 4, 1), 9), 1.0, 11.0, 5.0, 3))
        with pytest.raises(InvalidInput, match=r"site_index\[0\]"):
            LearnedStays.learn(one, ["home"], zone=ZONE, known_until=self.NOW)
        with pytest.raises(InvalidInput, match="known_until"):
            LearnedStays.learn(one, ["home"] * 4, zone=ZONE, known_until=at(date(2026, 4, 1), 9))
