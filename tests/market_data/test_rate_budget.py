from datetime import timedelta

import pytest

from gateway.domain.errors import InvalidInput, PeerUnavailable
from gateway.market_data.rate_budget import RateBudget
from tests.fakes.clock import HandClock


def spend(budget: RateBudget, count: int) -> None:
    for _ in range(count):
        budget.take()


def test_a_minute_has_its_budget_and_no_more() -> None:
    clock = HandClock()
    budget = RateBudget(peer="ENTSO-E", per_minute=60, clock=clock)
    spend(budget, 60)
    with pytest.raises(PeerUnavailable, match="budget of 60 requests a minute for ENTSO-E is spent"):
        budget.take()
    clock.move(seconds=1)
    budget.take()
    with pytest.raises(PeerUnavailable):
        budget.take()


def test_a_long_rest_saves_no_more_than_a_minute() -> None:
    clock = HandClock()
    budget = RateBudget(peer="ENTSO-E", per_minute=10, clock=clock)
    clock.move(hours=5)
    spend(budget, 10)
    with pytest.raises(PeerUnavailable):
        budget.take()


def test_after_a_ban_nothing_goes_out_until_its_end() -> None:
    clock = HandClock()
    budget = RateBudget(peer="ENTSO-E", per_minute=60, clock=clock)
    budget.hold(timedelta(minutes=10))
    clock.move(minutes=9, seconds=59)
    with pytest.raises(PeerUnavailable, match="asked to wait; 1 s are left"):
        budget.take()
    clock.move(seconds=1)
    budget.take()


def test_a_shorter_hold_does_not_end_a_longer_one() -> None:
    clock = HandClock()
    budget = RateBudget(peer="ENTSO-E", per_minute=60, clock=clock)
    budget.hold(timedelta(minutes=10))
    budget.hold(timedelta(minutes=1))
    clock.move(minutes=5)
    with pytest.raises(PeerUnavailable):
        budget.take()


def test_a_budget_must_allow_something() -> None:
    with pytest.raises(InvalidInput, match="per_minute"):
        RateBudget(peer="ENTSO-E", per_minute=0, clock=HandClock())
