"""A reconnect storm is let in at a rate, and whoever is refused comes back spread over the time that it takes."""

import numpy as np
import pytest

from gateway.domain.errors import Overloaded
from gateway.rpc.pacing import TokenBucket


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def bucket(clock: Time, rng: np.random.Generator) -> TokenBucket:
    return TokenBucket(
        rate_per_s=500.0, burst=500.0, clock=clock, uniform=lambda low, high: float(rng.uniform(low, high))
    )


def test_a_storm_of_2000_streams_is_in_within_five_seconds() -> None:
    clock, arrivals, let_in = Time(), [(0.0, 0)] * 2000, []
    door = bucket(clock, np.random.default_rng(1))
    most_at_once = 0
    while arrivals:
        clock.now, tries = min(arrivals)
        arrivals.remove((clock.now, tries))
        try:
            door.take()
        except Overloaded as error:
            arrivals.append((clock.now + (error.retry_after_s or 0.0), tries + 1))
        else:
            let_in.append(clock.now)
            most_at_once = max(most_at_once, sum(at > clock.now - 0.1 for at in let_in[-700:]))
    assert len(let_in) == 2000
    assert max(let_in) <= 5.0
    assert most_at_once <= 560, "never more than the burst and what was refilled"


def test_who_comes_in_turn_is_never_refused() -> None:
    clock = Time()
    door = bucket(clock, np.random.default_rng(1))
    for _ in range(5000):
        clock.now += 0.002
        door.take()


def test_the_first_one_too_many_is_told_when_to_come_again() -> None:
    clock = Time()
    door = bucket(clock, np.random.default_rng(1))
    for _ in range(500):
        door.take()
    with pytest.raises(Overloaded) as refused:
        door.take()
    assert refused.value.retry_after_s is not None
    assert 0.0 <= refused.value.retry_after_s <= 0.5
