"""Who gives way: hand cases, progressive filling by LP as oracle, and nobody gains without somebody worse-off losing."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from bidding.arrays import FloatArray
from bidding.fleet.sessions import SessionArrays
from bidding.goals.demand import GoalPrices
from bidding.goals.fair_service import ScarcityRule, Tier, serve_fairly, tier_ranks
from bidding.goals.plan import plan_goals
from bidding.goals.wishes import DriverWishes, Goal
from bidding.optimum.coupling import Coupling
from bidding.optimum.optimise import OptimiserOptions
from gateway.domain.errors import InvalidInput

Sessions = Callable[..., SessionArrays]


class Served:
    """What can be served, as an LP over draws: the slow and obvious way."""

    def __init__(self, cars: SessionArrays, cap: FloatArray) -> None:
        count, slots = len(cars), len(cap)
        slot = np.arange(slots)
        inside = (slot >= cars.arrival_slot[:, None]) & (slot < cars.departure_slot[:, None])
        self.bounds = [(0.0, high) for high in np.where(inside, cars.rate_kwh_per_slot[:, None], 0.0).ravel()]
        self.per_session = np.kron(np.eye(count), np.ones((1, slots)))
        self.per_slot = np.kron(np.ones((1, count)), np.eye(slots))
        self.cap = cap

    def most(self, least: FloatArray, slope: FloatArray, level_limit: float) -> float:
        """Highest level such that every session gets `least + slope * level`."""
        draws = len(self.bounds)
        rows = np.block([[self.per_slot, np.zeros((len(self.cap), 1))], [-self.per_session, slope[:, None]]])
        cost = np.zeros(draws + 1)
        cost[-1] = -1.0
        result = linprog(
            cost, A_ub=rows, b_ub=np.concatenate([self.cap, -least]), bounds=[*self.bounds, (0.0, level_limit)]
        )
        assert result.fun is not None
        return -float(result.fun)


def progressive_filling(
    cars: SessionArrays, cap: FloatArray, base: FloatArray, wanted: FloatArray, weight: FloatArray
) -> FloatArray:
    """Raise all shares together; freeze who is full or cannot be raised alone; go on with the others."""
    served = Served(cars, cap)
    energy, rising = base.copy(), wanted > base + 1e-9
    while rising.any():
        slope = np.where(rising, weight * (wanted - base), 0.0)
        room = np.where(rising, (wanted - energy) / np.where(rising, slope, 1.0), np.inf)
        step = served.most(energy - 1e-10, slope, float(room.min()))
        energy = energy + slope * step
        rising &= energy < wanted - 1e-7
        for i in np.flatnonzero(rising):
            alone = np.where(np.arange(len(cars)) == i, 1.0, 0.0)
            rising[i] = served.most(energy - 1e-9, alone, 1.0) > 1e-6
    return energy


def share_by_need(cars: SessionArrays, cap: FloatArray, weight: FloatArray | None = None) -> FloatArray:
    tier = Tier(wanted_kwh=cars.energy_min_kwh, weight=np.ones(len(cars)) if weight is None else weight)
    return serve_fairly(cars, [tier], Coupling(cap_kwh=cap))


def test_equal_shares_of_unequal_needs(sessions_of: Sessions) -> None:
    cars = sessions_of((0, 2, 2, 3), (0, 2, 2, 1))
    assert share_by_need(cars, np.ones(2)) == pytest.approx([1.5, 0.5])
    assert share_by_need(cars, np.ones(2), np.array([1.0, 2.0])) == pytest.approx([1.2, 0.8])
    # With three times the weight the second is full first; the first gets the rest.
    assert share_by_need(cars, np.ones(2), np.array([1.0, 6.0])) == pytest.approx([1.0, 1.0])


def test_who_is_not_in_the_bottleneck_goes_on_rising(sessions_of: Sessions) -> None:
    """Slot 0 is full at half; slots 1 and 2 at three quarters; the last car has room of its own."""
    cars = sessions_of((0, 1, 2, 2), (0, 1, 2, 2), (1, 3, 2, 4), (3, 4, 2, 2))
    energy = share_by_need(cars, np.array([2.0, 1.5, 1.5, 9.0]))
    assert energy == pytest.approx([1, 1, 3, 2])


def test_who_came_first_is_served_first(sessions_of: Sessions) -> None:
    cars = sessions_of((1, 3, 2, 2), (0, 3, 2, 2), (1, 3, 2, 1))
    tier = Tier(wanted_kwh=cars.energy_min_kwh, weight=np.ones(3))
    tiers = tier_ranks(tier, cars.arrival_slot, ScarcityRule.BY_ARRIVAL)
    energy = serve_fairly(cars, tiers, Coupling(cap_kwh=np.array([0.5, 1.5, 1.5])))
    assert energy == pytest.approx([1, 2, 0.5])
    assert tier_ranks(tier, cars.arrival_slot, ScarcityRule.BY_NEED) == [tier]


def test_what_is_guaranteed_gives_way_last(sessions_of: Sessions) -> None:
    cars = sessions_of((0, 2, 2, 2), (0, 2, 2, 2), (0, 2, 2, 2))
    wishes = DriverWishes(
        cars=cars,
        goal=np.array([Goal.GUARANTEED, Goal.CHEAPEST, Goal.BOOST]),
        minimum_kwh=np.array([0.0, 0.5, 0.0]),
        boost_kwh=np.array([0.0, 0.0, 1.0]),
    )
    prices = GoalPrices(price_eur_per_kwh=np.array([0.1, 0.2]))
    # With 2 kWh per slot 0.5 kWh are left above what is firm and the boost; open needs of 1.5 and 1.0 share them 3 to 2.
    for cap, expected in ((2.0, [2, 0.8, 1.2]), (1.5, [2, 0.5, 0.5]), (1.25, [2, 0.5, 0.0]), (1.0, [1.6, 0.4, 0.0])):
        plan = plan_goals(wishes, prices, Coupling(cap_kwh=np.full(2, cap)))
        assert plan.is_best_effort
        assert plan.session_schedule.total_kwh() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("session_model_limit", [0, 250])
def test_levels_are_those_of_progressive_filling(random_sessions: Sessions, session_model_limit: int) -> None:
    rng = np.random.default_rng(23)
    options = OptimiserOptions(session_model_limit=session_model_limit)
    scarce = 0
    for _ in range(12):
        cars = random_sessions(rng, 6, 6)
        cap = rng.uniform(0.1, 0.5, 6) * float(cars.rate_kwh_per_slot.sum())
        weight = rng.choice([0.5, 1.0, 2.0], 6)
        tiers = [
            Tier(wanted_kwh=cars.energy_min_kwh * 0.3, weight=np.ones(6)),
            Tier(wanted_kwh=cars.energy_min_kwh, weight=weight),
        ]
        energy = serve_fairly(cars, tiers, Coupling(cap_kwh=cap), options)
        firm = progressive_filling(cars, cap, np.zeros(6), tiers[0].wanted_kwh, tiers[0].weight)
        expected = progressive_filling(cars, cap, firm, tiers[1].wanted_kwh, weight)
        np.testing.assert_allclose(energy, expected, atol=2e-5)
        scarce += bool(np.any(energy < cars.energy_min_kwh - 1e-3))
    assert scarce > 4


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_nobody_gains_without_somebody_worse_off_losing(random_sessions: Sessions, seed: int) -> None:
    rng = np.random.default_rng(seed)
    cars = random_sessions(rng, 7, 6)
    cap = rng.uniform(0.05, 0.4, 6) * float(cars.rate_kwh_per_slot.sum())
    energy = share_by_need(cars, cap)
    need = np.maximum(cars.energy_min_kwh, 1e-9)
    share = energy / need
    served = Served(cars, cap)
    for row in np.flatnonzero(share < 1.0 - 1e-4):
        little = 1e-3 * need[row]
        # Who has a larger share may fall to the raised session's new share, not below; all others keep what they have.
        richer = share > share[row] + 1e-6
        floor = np.where(richer, np.minimum(energy, (energy[row] + little) / need[row] * need), energy)
        raised = served.most(np.maximum(floor - 1e-8, 0.0), np.where(np.arange(7) == row, 1.0, 0.0), 10.0)
        assert raised < little + 1e-6


def test_a_weight_of_nothing_is_refused(sessions_of: Sessions) -> None:
    cars = sessions_of((0, 2, 2, 3), (0, 2, 2, 1))
    with pytest.raises(InvalidInput, match=r"weight\[1\]"):
        share_by_need(cars, np.ones(2), np.array([1.0, 0.0]))
