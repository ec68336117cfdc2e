"""A car takes the cleanest slots that suffice, and never waits when it must not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bidding.goals.cleaner import charges_now
from gateway.domain.errors import InvalidInput

FORECAST = np.array([240.0, 210.0, 180.0, 190.0, 230.0])


def one(needed: float, waiting: int, forecast: np.ndarray = FORECAST) -> bool:
    return bool(charges_now(np.array([needed]), np.array([waiting]), forecast)[0])


@pytest.mark.parametrize(
    ("needed", "waiting", "now"),
    [
        (2.0, 4, False),
        (4.0, 4, True),
        (3.2, 4, True),
        (4.0, 5, False),
        (0.0, 5, False),
        (1.0, 0, True),
        (9.0, 99, True),
    ],
    ids=["waits", "needs-all", "rounded-up", "dirtiest-of-five", "full", "overdue", "more-than-known"],
)
def test_m26_a_car_waits_only_for_slots_that_are_cleaner_and_in_time(needed: float, waiting: int, now: bool) -> None:
    assert one(needed, waiting) is now


def test_equal_slots_are_not_waited_for() -> None:
    assert one(1.0, 5, np.full(5, 200.0))


def test_without_a_forecast_everybody_charges() -> None:
    assert one(1.0, 5, np.zeros(0))
    assert not one(0.0, 5, np.zeros(0))


@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=8),
    st.lists(st.tuples(st.integers(1, 8), st.integers(1, 8)), min_size=1, max_size=6),
)
def test_it_is_the_first_step_of_the_best_choice(forecast: list[int], cars: list[tuple[int, int]]) -> None:
    intensity = np.array(forecast, dtype=float)
    needed, waiting = (np.array(column) for column in zip(*cars, strict=True))
    found = charges_now(needed.astype(float), waiting, intensity)
    for is_now, slots, until in zip(found.tolist(), needed.tolist(), waiting.tolist(), strict=True):
        order = np.argsort(intensity[:until], kind="stable")[:slots]
        assert is_now is (0 in order.tolist() or slots >= min(until, len(forecast)))


@pytest.mark.parametrize(
    ("needed", "waiting", "forecast", "field"),
    [
        ([-1.0], [1], [1.0], "needed_slots"),
        ([np.nan], [1], [1.0], "needed_slots"),
        ([1.0], [1, 2], [1.0], "waiting_slots"),
        ([1.0], [1], [np.inf], "forecast_g_per_kwh"),
    ],
    ids=["negative", "unknown", "shapes", "forecast"],
)
def test_what_makes_no_sense_is_named(
    needed: list[float], waiting: list[int], forecast: list[float], field: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        charges_now(np.array(needed), np.array(waiting), np.array(forecast))
    assert caught.value.field.startswith(field)
