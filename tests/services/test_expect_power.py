from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import pytest

from gateway.domain.errors import NotFound
from gateway.domain.timegrid import TimeGrid
from gateway.services.expect_power import PowerExpectation
from tests.fakes.clock import START, HandClock

FloatArray = npt.NDArray[np.float64]


class Meter:
    """What was measured each five minutes: 30 kW in the hours that `high` names, else 10 kW."""

    def __init__(self, since_hours: float, high: frozenset[int] = frozenset()) -> None:
        self.since_hours = since_hours
        self.high = high
        self.asked = 0

    def __call__(self, tenant: str, node_id: str, since: datetime) -> tuple[Sequence[datetime], FloatArray]:
        self.asked += 1
        if node_id != "vpp":
            raise NotFound("node", node_id)
        count = int(self.since_hours * 12)
        times = [START - timedelta(minutes=5 * i) for i in range(count, 0, -1)]
        power = np.array([30.0 if time.hour in self.high else 10.0 for time in times])
        power[::7] = np.nan
        return times, power


def hours(first: float, count: int) -> TimeGrid:
    return TimeGrid(start=START + timedelta(hours=first), count=4 * count)


def test_the_present_goes_on_for_an_hour_then_yesterday_comes_again() -> None:
    expect = PowerExpectation(Meter(30, frozenset({7, 10})), HandClock())
    expected = expect("demo", "vpp", hours(0, 4))
    assert expected is not None
    assert expected.reshape(4, 4).mean(axis=1).tolist() == [30.0, 10.0, 30.0, 10.0]


def test_without_a_yesterday_only_two_hours_are_known() -> None:
    expect = PowerExpectation(Meter(3), HandClock())
    assert expect("demo", "vpp", hours(0, 2)) is not None
    assert expect("demo", "vpp", hours(1, 2)) is not None, "half of it is known"
    assert expect("demo", "vpp", hours(2, 1)) is None


@pytest.mark.parametrize("node", ["vpp", "nowhere"])
def test_without_measurements_nobody_knows(node: str) -> None:
    assert PowerExpectation(Meter(0), HandClock())("demo", node, hours(0, 1)) is None


def test_the_past_is_read_once_a_minute() -> None:
    meter, clock = Meter(30), HandClock()
    expect = PowerExpectation(meter, clock)
    for _ in range(3):
        expect("demo", "vpp", hours(0, 1))
    assert meter.asked == 1
    clock.move(seconds=61)
    expect("demo", "vpp", hours(0, 1))
    assert meter.asked == 2
