"""A clock that somebody sets is noticed; one that only drifts is followed a second at a time."""

from datetime import timedelta

import pytest

from gateway.domain.clock_steps import ClockSteps
from tests.fakes.clock import START


@pytest.mark.parametrize("step_s", [-3600.0, -1.5, 0.0, 1.5, 3600.0])
def test_a_clock_that_is_set_is_noticed_once(step_s: float) -> None:
    steps = ClockSteps()
    assert steps.seconds(START, 100.0) == 0.0
    assert steps.seconds(START + timedelta(seconds=5), 105.0) == 0.0
    after = START + timedelta(seconds=10 + step_s)
    assert steps.seconds(after, 110.0) == pytest.approx(step_s)
    assert steps.seconds(after + timedelta(seconds=5), 115.0) == 0.0


def test_a_slow_clock_is_followed_a_second_at_a_time() -> None:
    steps = ClockSteps()
    found = [steps.seconds(START + timedelta(seconds=0.6 * k), float(k)) for k in range(8)]
    assert [s for s in found if s != 0.0] == pytest.approx([-1.2, -1.2])
