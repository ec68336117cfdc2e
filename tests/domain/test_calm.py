"""What falls falls at once, what rises waits and ramps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.calm import CalmRules, CalmState, CapRelief, Marks, TrackingError

RULES = CalmRules(stability_s=60.0, deadband_kw=0.5, deadband_share=0.02, ramp_kw_per_s=0.1)
NONE = np.zeros(1, dtype=bool)


def step(
    state: CalmState, current: float, target: float, now: float, *, urgent: bool = False, prompt: bool = False
) -> float:
    marks = Marks(urgent=np.array([urgent]), prompt=np.array([prompt]), restoring=np.ones(1, dtype=bool))
    minimum = np.array([4.14])
    return float(state.step(np.array([current]), np.array([target]), minimum, marks, rules=RULES, now=now)[0])


def test_an_urgent_reduction_is_taken_at_once() -> None:
    assert step(CalmState(1, np.zeros(1)), 10.0, 5.0, 0.0, urgent=True) == 5.0


def test_a_reduction_that_nothing_forces_waits_for_stability() -> None:
    state = CalmState(1, np.zeros(1))
    assert step(state, 10.0, 5.0, 0.0) == 10.0
    assert step(state, 10.0, 5.0, 59.0) == 10.0
    assert step(state, 10.0, 5.0, 60.0) == 5.0


def test_an_increase_waits_then_ramps_and_never_passes_the_target() -> None:
    state = CalmState(1, np.zeros(1))
    kw, history = 5.0, []
    for now in range(0, 200, 10):
        kw = step(state, kw, 10.0, float(now))
        history.append(kw)
    assert history[:7] == [5.0] * 7
    assert history[7] == pytest.approx(6.0)
    assert max(np.diff(history)) == pytest.approx(1.0)
    assert len(set(history)) == 6, "in steps of one kW"
    assert history[-1] == 10.0


def test_who_starts_waits_and_then_goes_to_its_minimum_at_once() -> None:
    state = CalmState(1, np.zeros(1))
    assert step(state, 0.0, 10.0, 0.0) == 0.0
    assert step(state, 0.0, 10.0, 59.0) == 0.0
    assert step(state, 0.0, 10.0, 60.0) == pytest.approx(4.14)


def test_a_change_of_direction_starts_the_wait_again() -> None:
    state = CalmState(1, np.zeros(1))
    step(state, 5.0, 10.0, 0.0)
    step(state, 5.0, 5.0, 30.0)
    assert step(state, 5.0, 10.0, 61.0) == 5.0


def test_trifles_are_left_alone_but_stopping_is_not_a_trifle() -> None:
    state = CalmState(1, np.zeros(1))
    step(state, 5.0, 5.4, 0.0)
    assert step(state, 5.0, 5.4, 100.0) == 5.0
    step(state, 0.3, 0.0, 400.0)
    assert step(state, 0.3, 0.0, 500.0) == 0.0


def test_a_car_that_has_just_arrived_need_not_wait() -> None:
    assert step(CalmState(1, np.zeros(1)), 0.0, 11.0, 0.0, prompt=True) == 11.0


def both(*, restoring: bool) -> Marks:
    nobody = np.zeros(2, dtype=bool)
    return Marks(urgent=nobody, prompt=nobody, restoring=np.full(2, restoring))


@pytest.mark.parametrize(
    ("restoring", "reached"), [(True, [10.0, 5.0]), (False, [10.0, 10.0])], ids=["relief", "other"]
)
def test_increases_of_different_chargers_are_spread_after_a_limit_was_relaxed(
    restoring: bool, reached: list[float]
) -> None:
    rules = CalmRules(stability_s=0.0, restore_spread_s=100.0, ramp_kw_per_s=1000.0)
    state = CalmState(2, np.array([0.1, 0.9]))
    marks = both(restoring=restoring)
    current, target, low = np.full(2, 5.0), np.full(2, 10.0), np.full(2, 4.14)
    state.step(current, target, low, marks, rules=rules, now=0.0)
    assert state.step(current, target, low, marks, rules=rules, now=50.0).tolist() == reached


def test_relief_lets_everybody_wait_anew_at_a_new_place() -> None:
    rules = CalmRules(stability_s=10.0, restore_spread_s=100.0, ramp_kw_per_s=1000.0)
    state = CalmState(2, np.zeros(2))
    marks, current, low = both(restoring=True), np.full(2, 5.0), np.full(2, 4.14)
    state.step(current, np.full(2, 10.0), low, marks, rules=rules, now=0.0)
    state.restart(np.array([True, False]), np.array([0.5, 0.5]), now=50.0)
    assert state.step(current, np.full(2, 10.0), low, marks, rules=rules, now=100.0).tolist() == [5.0, 10.0]
    assert state.step(current, np.full(2, 10.0), low, marks, rules=rules, now=111.0).tolist() == [10.0, 10.0]


def test_g10_who_has_just_started_is_not_paused_unless_a_limit_forces_it() -> None:
    state = CalmState(1, np.zeros(1))
    step(state, 0.0, 11.0, 0.0, prompt=True)
    step(state, 11.0, 0.0, 10.0)
    assert step(state, 11.0, 0.0, 80.0) == 4.14, "down to its minimum, but on"
    step(state, 4.14, 0.0, 310.0)
    assert step(state, 4.14, 0.0, 370.0) == 0.0
    other = CalmState(1, np.zeros(1))
    step(other, 11.0, 11.0, 0.0)
    assert step(other, 11.0, 0.0, 10.0, urgent=True) == 0.0


def test_g10_who_was_just_paused_rests_unless_its_car_has_just_come() -> None:
    state = CalmState(1, np.zeros(1))
    step(state, 11.0, 11.0, 0.0)
    step(state, 0.0, 11.0, 10.0)
    assert step(state, 0.0, 11.0, 300.0) == 0.0
    step(state, 0.0, 11.0, 310.0)
    assert step(state, 0.0, 11.0, 370.0) == 4.14
    other = CalmState(1, np.zeros(1))
    step(other, 11.0, 11.0, 0.0)
    assert step(other, 0.0, 11.0, 10.0, prompt=True) == 11.0


@given(
    current=st.floats(0, 22),
    target=st.floats(0, 22),
    gaps=st.lists(st.floats(0, 500), min_size=1, max_size=10),
    urgent=st.booleans(),
)
def test_a_step_stays_between_where_it_is_and_where_it_should_be(
    current: float, target: float, gaps: list[float], urgent: bool
) -> None:
    state, now, kw = CalmState(1, np.zeros(1)), 0.0, current
    for gap in gaps:
        now += gap
        new = step(state, kw, target, now, urgent=urgent)
        assert min(kw, target) <= new <= max(kw, target)
        kw = new


def test_relief_is_recent_until_patience_is_over() -> None:
    relief = CapRelief()
    low, high = np.array([50.0, 10.0]), np.array([80.0, 10.0])
    assert not relief.see(low, 0.0).any(), "nothing is known to have risen"
    assert relief.see(high, 10.0).tolist() == [True, False]
    assert not relief.see(high, 11.0).any()
    assert relief.is_recent(69.0, 60.0).tolist() == [True, False]
    assert not relief.is_recent(70.0, 60.0).any()
    assert not relief.see(low, 71.0).any(), "a tighter cap is no relief"
    assert not relief.see(np.array([1.0]), 72.0).any(), "another tree begins anew"
    assert not relief.is_recent(72.0, 60.0).any()


def test_the_tracking_error_is_the_worst_of_a_whole_window_and_unknown_before() -> None:
    error = TrackingError(100.0)
    assert np.isnan(error.share(2)).all()
    error.see(np.array([2.0, 0.0]), np.array([20.0, 20.0]), 0.0)
    assert np.isnan(error.share(2)).all(), "one look is no window"
    error.see(np.array([1.0, 0.0]), np.array([20.0, 20.0]), 100.0)
    assert error.share(2).tolist() == [0.1, 0.0]
    error.see(np.zeros(2), np.full(2, 20.0), 200.0)
    assert error.share(2).tolist() == [0.05, 0.0], "the first window is forgotten"
    assert np.isnan(error.share(3)).all(), "another tree begins anew"


def test_who_is_not_measured_in_a_whole_window_is_not_exact() -> None:
    error, nobody, somebody = TrackingError(100.0), np.zeros(2), np.array([10.0, 0.0])
    for second in range(0, 300, 10):
        error.see(nobody, somebody, float(second))
    assert error.share(2)[0] == 0.0
    assert np.isnan(error.share(2)[1])
    for second in range(300, 600, 10):
        error.see(nobody, nobody, float(second))
    assert np.isnan(error.share(2)).all()


def test_the_window_moves_with_a_clock_that_is_set() -> None:
    error, ones = TrackingError(100.0), np.ones(1)
    for second in range(0, 300, 10):
        error.see(0.1 * ones, ones, float(second))
    error.shift(-86_400.0)
    for second in range(300, 600, 10):
        error.see(np.zeros(1), ones, second - 86_400.0)
    assert error.share(1) == 0.0, "two whole exact windows after the clock went back a day"
