"""Charging as it comes: the causal rule sees no future, keeps promises, and follows the award as far as it can."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bidding.backtest.charging import ChargingCars, charge_tracking, charge_uncontrolled, remaining_sessions


def cars(*rows: tuple[int, int, float, float, int, float]) -> ChargingCars:
    """(first, end, rate, energy, believed end, believed energy)."""
    columns = list(zip(*rows, strict=True))
    return ChargingCars(
        first=np.array(columns[0]),
        end=np.array(columns[1]),
        rate_kwh=np.array(columns[2], dtype=float),
        energy_kwh=np.array(columns[3], dtype=float),
        believed_end=np.array(columns[4]),
        believed_kwh=np.array(columns[5], dtype=float),
        drawn_kwh=np.zeros(len(rows)),
    )


def test_uncontrolled_charging_is_at_full_rate_from_plug_in() -> None:
    found = charge_uncontrolled(cars((1, 9, 2.0, 5.0, 9, 5.0)), 0, 6)
    assert found.draw_kwh.tolist() == [0.0, 2.0, 2.0, 1.0, 0.0, 0.0]


def test_the_award_is_followed_and_the_rest_waits() -> None:
    found = charge_tracking(cars((0, 6, 2.0, 4.0, 6, 4.0)), 0, np.array([1.0, 0.0, 2.0, 0.0]), 1)
    assert found.draw_kwh.tolist() == [1.0, 0.0, 2.0, 0.0]
    assert found.cars.drawn_kwh.tolist() == [3.0]


def test_a_promise_goes_before_the_award() -> None:
    found = charge_tracking(cars((0, 9, 2.0, 4.0, 3, 4.0)), 0, np.zeros(4), 1)
    assert found.draw_kwh.tolist() == [0.0, 2.0, 2.0, 0.0]
    assert found.due.tolist() == [0]
    assert not found.missed.size


def test_a_car_that_leaves_before_it_said_has_no_promise_and_goes_without() -> None:
    found = charge_tracking(cars((0, 2, 2.0, 4.0, 4, 4.0)), 0, np.zeros(4), 1)
    assert found.draw_kwh.sum() == 0.0
    assert not found.due.size


def test_a_car_that_asks_for_more_than_it_said_is_served_on() -> None:
    found = charge_tracking(cars((0, 4, 2.0, 5.0, 2, 2.0)), 0, np.zeros(4), 1)
    assert found.cars.drawn_kwh.tolist() == [5.0]
    assert not found.missed.size


def test_a_car_that_is_full_early_takes_no_more() -> None:
    found = charge_tracking(cars((0, 4, 2.0, 1.0, 4, 8.0)), 0, np.full(4, 9.0), 1)
    assert found.draw_kwh.tolist() == [1.0, 0.0, 0.0, 0.0]


def test_an_hour_is_spread_over_what_is_left_of_it() -> None:
    found = charge_tracking(cars((2, 8, 3.0, 9.0, 8, 9.0)), 0, np.array([4.0]), 4)
    assert found.draw_kwh.tolist() == [0.0, 0.0, 2.0, 2.0]


def test_a_broken_promise_is_counted() -> None:
    # The car is believed to leave at 2 but was given nothing before: someone else's fault, seen here.
    late = cars((0, 4, 1.0, 2.0, 2, 2.0))
    found = charge_tracking(late, 1, np.zeros(2), 1)
    assert found.missed.tolist() == [0]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_believed_departures_are_kept_whatever_the_award(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = 12
    first = rng.integers(0, 20, count)
    believed_end = first + rng.integers(1, 12, count)
    end = np.maximum(believed_end + rng.integers(-3, 4, count), first + 1)
    rate = rng.choice([1.0, 2.0], count)
    energy = rng.uniform(0.1, 12.0, count)
    fleet = ChargingCars(
        first=first,
        end=end,
        rate_kwh=rate,
        energy_kwh=energy,
        believed_end=believed_end,
        believed_kwh=rng.uniform(0.1, 12.0, count),
        drawn_kwh=np.zeros(count),
    )
    found = charge_tracking(fleet, 0, rng.uniform(0.0, 8.0, 36), 1)
    assert not found.missed.size
    assert set(found.due.tolist()) == set(np.flatnonzero(end >= believed_end).tolist())
    assert np.all(found.cars.drawn_kwh <= energy + 1e-9)
    assert found.draw_kwh.sum() == pytest.approx(found.cars.drawn_kwh.sum())


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), cut=st.integers(3, 15))
def test_nothing_that_happens_later_changes_what_was_done(seed: int, cut: int) -> None:
    rng = np.random.default_rng(seed)
    count, award = 10, rng.uniform(0.0, 6.0, 20)
    first = rng.integers(0, 16, count)
    end = first + rng.integers(2, 8, count)
    fleet = ChargingCars(
        first=first,
        end=end,
        rate_kwh=np.full(count, 1.5),
        energy_kwh=rng.uniform(1.0, 9.0, count),
        believed_end=first + 5,
        believed_kwh=rng.uniform(1.0, 6.0, count),
        drawn_kwh=np.zeros(count),
    )
    # Those still there at the cut leave later, and those to come do not come.
    other = replace(fleet, end=np.where(end > cut, end + 4, end), first=np.where(first >= cut, first + 50, first))
    other = replace(other, end=np.maximum(other.end, other.first + 1))
    one = charge_tracking(fleet, 0, award, 1).draw_kwh[:cut]
    assert one.tolist() == charge_tracking(other, 0, award, 1).draw_kwh[:cut].tolist()


def test_what_remains_is_planned_from_the_first_slot_on() -> None:
    fleet = cars((0, 9, 2.0, 6.0, 8, 6.0), (0, 9, 2.0, 6.0, 3, 6.0), (0, 9, 2.0, 0.0, 8, 0.0))
    sessions, rows = remaining_sessions(fleet.with_drawn(np.array([2.0, 0.0, 0.0])), 4, 20)
    assert rows.tolist() == [0, 1]
    assert sessions.arrival_slot.tolist() == [0, 0]
    assert sessions.departure_slot.tolist() == [4, 3]  # the second one overstays: full rate from now on
    assert sessions.energy_min_kwh.tolist() == [4.0, 6.0]
