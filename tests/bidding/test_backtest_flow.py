"""Exact delivery of an award by known sessions: hand cases, and an LP that says the same."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from bidding.backtest.flow import deliver
from bidding.fleet.sessions import SessionArrays, fit_to_horizon
from gateway.domain.errors import InvalidInput

Sessions = Callable[..., SessionArrays]


def test_least_laxity_fails_here_and_the_exact_delivery_does_not(sessions_of: Sessions) -> None:
    # Brief 3.4: slot 0 must go to the second car alone.
    found = deliver(sessions_of((0, 2, 1.0, 1.0), (0, 3, 1.0, 2.0)), 3, np.array([1.0, 2.0, 0.0]), 1, np.zeros(3))
    assert found.deviation_kwh == 0.0
    assert found.drawn_before(1, 2).tolist() == [0.0, 1.0]


def test_what_must_be_charged_exceeds_an_award_of_nothing_in_the_cheapest_slot(sessions_of: Sessions) -> None:
    found = deliver(sessions_of((0, 3, 2.0, 3.0)), 3, np.zeros(3), 1, np.array([5.0, 1.0, 3.0]))
    assert found.excess_kwh.tolist() == [0.0, 2.0, 1.0]
    assert not found.missing_kwh.any()


def test_a_car_that_stays_longer_than_the_award_need_not_exceed_it(sessions_of: Sessions) -> None:
    found = deliver(sessions_of((0, 4, 1.0, 3.0)), 4, np.zeros(2), 1, np.zeros(2))
    assert found.excess_kwh.sum() == pytest.approx(1.0)
    found = deliver(sessions_of((0, 5, 1.0, 3.0)), 5, np.zeros(2), 1, np.zeros(2))
    assert found.excess_kwh.sum() == 0.0


def test_an_hour_is_delivered_when_its_sum_is(sessions_of: Sessions) -> None:
    found = deliver(sessions_of((3, 4, 4.0, 4.0)), 8, np.array([4.0, 0.0]), 4, np.zeros(8))
    assert found.deviation_kwh == 0.0


def test_no_cars_deliver_nothing() -> None:
    none = np.zeros(0, dtype=np.int64)
    empty = SessionArrays(
        arrival_slot=none,
        departure_slot=none,
        rate_kwh_per_slot=np.zeros(0),
        energy_min_kwh=np.zeros(0),
        energy_max_kwh=np.zeros(0),
    )
    found = deliver(empty, 2, np.array([1.0, 0.0]), 1, np.zeros(2))
    assert found.missing_kwh.tolist() == [1.0, 0.0]


def test_sessions_must_be_fitted(sessions_of: Sessions) -> None:
    with pytest.raises(InvalidInput, match="fit_to_horizon"):
        deliver(sessions_of((0, 9, 1.0, 1.0)), 4, np.zeros(4), 1, np.zeros(4))


def _least_deviation(sessions: SessionArrays, slot_count: int, award: np.ndarray, per_period: int) -> float:
    """Least sum of missing and excess by an LP over sessions and slots."""
    count, lasting = len(sessions), len(award) * per_period
    slot = np.arange(slot_count)
    present = (slot >= sessions.arrival_slot[:, None]) & (slot < sessions.departure_slot[:, None])
    upper = np.where(present, sessions.rate_kwh_per_slot[:, None], 0.0).ravel()
    needs = sp.hstack([sp.kron(sp.eye(count), np.ones((1, slot_count))), sp.csr_matrix((count, 2 * len(award)))])
    into = np.zeros((len(award), slot_count))
    for index in range(lasting):
        into[index // per_period, index] = 1.0
    periods = sp.hstack([sp.kron(np.ones((1, count)), into), sp.eye(len(award)), -sp.eye(len(award))])
    # linprog takes sparse rows, which no published type of it says.
    rows: Any = sp.csr_matrix(sp.vstack([needs, periods]))
    result = linprog(
        np.concatenate([np.zeros(count * slot_count), np.ones(2 * len(award))]),
        A_eq=rows,
        b_eq=np.concatenate([sessions.energy_min_kwh, award]),
        bounds=[*((0.0, high) for high in upper), *((0.0, None) for _ in range(2 * len(award)))],
        method="highs",
    )
    assert result.fun is not None
    return float(result.fun)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), per_period=st.sampled_from([1, 2, 4]))
def test_the_deviation_is_the_least_there_is(seed: int, per_period: int) -> None:
    rng = np.random.default_rng(seed)
    slot_count, periods, count = 14, 12 // per_period, int(rng.integers(1, 9))
    arrival = rng.integers(0, slot_count, count)
    departure = np.minimum(arrival + rng.integers(1, 9, count), slot_count)
    rate = rng.choice([0.5, 1.0, 2.0], count)
    energy = np.round(rng.uniform(0.0, 1.0, count) * rate * (departure - arrival), 3)
    sessions = fit_to_horizon(
        SessionArrays(
            arrival_slot=arrival,
            departure_slot=departure,
            rate_kwh_per_slot=rate,
            energy_min_kwh=energy,
            energy_max_kwh=energy,
        ),
        slot_count,
    ).sessions
    award = np.round(rng.uniform(0.0, 3.0, periods) * per_period, 3)
    price = rng.normal(size=12)
    found = deliver(sessions, slot_count, award, per_period, price)
    assert found.deviation_kwh == pytest.approx(_least_deviation(sessions, slot_count, award, per_period), abs=1e-6)
    charged = found.drawn_before(99, count)
    assert np.all(charged <= sessions.energy_min_kwh + 1e-6)
    assert np.all(found.energy_kwh <= sessions.rate_kwh_per_slot[found.row] + 1e-9)
    after = slot_count - np.maximum(sessions.arrival_slot, 12)
    after = np.maximum(np.minimum(sessions.departure_slot, slot_count) - np.maximum(sessions.arrival_slot, 12), 0)
    assert np.all(sessions.energy_min_kwh - charged <= sessions.rate_kwh_per_slot * after + 2e-3)
