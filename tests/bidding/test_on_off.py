"""Cars that are on or off: needs and minimum power hold, and the sum is near the plan."""

from collections.abc import Callable

import numpy as np
import pytest

from bidding.fleet.flexibility import FlexibilityTable
from bidding.fleet.sessions import SessionArrays, uncontrolled_schedule
from bidding.optimum.coupling import Coupling
from bidding.optimum.decomposition import ColumnSet, generate_columns
from bidding.optimum.duty import MixtureRanks
from bidding.optimum.greedy import PriceResponse
from bidding.optimum.on_off import OnOffPlan, draw_on_off, least_kwh_per_slot
from bidding.optimum.set_points import FleetSetPoints
from gateway.domain.errors import InvalidInput

Sessions = Callable[..., SessionArrays]
Prices = Callable[..., np.ndarray]


def mixture_of(price: np.ndarray, weights: np.ndarray) -> MixtureRanks:
    return MixtureRanks(ColumnSet(price=price, schedule_kwh=np.zeros_like(price)), weights)


def drawn_alone(sessions: SessionArrays, ranks: MixtureRanks, least: np.ndarray) -> OnOffPlan:
    """All sessions in one part."""
    return draw_on_off(sessions, [(np.arange(len(sessions)), ranks)], least)


def whole(plan: OnOffPlan) -> np.ndarray:
    return np.array([drawn for _, drawn in plan.by_slot()]).T


@pytest.mark.parametrize("with_range", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_needs_and_minimum_hold_for_every_car(random_sessions: Sessions, seed: int, *, with_range: bool) -> None:
    rng = np.random.default_rng(seed)
    sessions = random_sessions(rng, 300, 12, with_range=with_range)
    price = rng.integers(-2, 3, (4, 12)).astype(float)
    least = sessions.rate_kwh_per_slot * rng.choice([0.0, 0.2, 0.4, 0.5], 300)
    plan = drawn_alone(sessions, mixture_of(price, rng.dirichlet(np.ones(4))), least)
    drawn = whole(plan)
    total = drawn.sum(axis=1)
    assert np.all(total >= sessions.energy_min_kwh - 1e-9)
    assert np.all(total <= sessions.energy_max_kwh + 1e-9)
    assert np.all(drawn <= sessions.rate_kwh_per_slot[:, None] + 1e-12)
    slot = np.arange(12)
    away = (slot < sessions.arrival_slot[:, None]) | (slot >= sessions.departure_slot[:, None])
    assert not drawn[away].any()
    on_or_off = (drawn == 0.0) | (drawn >= least[:, None] - 1e-12)
    assert np.all(on_or_off[~plan.is_pulsed])
    # Pulsed is who needs less than one slot at the minimum and may not take more: with half the rate as minimum, a whole
    # slot and a rest can always be shared out.
    assert np.all(total[plan.is_pulsed] < least[plan.is_pulsed])
    assert np.all((~on_or_off).sum(axis=1) == plan.is_pulsed)


def test_without_a_minimum_each_car_follows_the_response_to_its_price(random_sessions: Sessions) -> None:
    rng = np.random.default_rng(3)
    sessions = random_sessions(rng, 50, 9, with_range=True)
    price = rng.normal(0.0, 1.0, (3, 9))
    plan = drawn_alone(sessions, mixture_of(price, np.array([0.2, 0.5, 0.3])), np.zeros(50))
    drawn = whole(plan)
    followed = set()
    for row in range(50):
        alone = PriceResponse(FlexibilityTable.build(sessions.select(np.array([row])), 9))
        misses = [float(np.abs(drawn[row] - alone.schedule(one)).max()) for one in price]
        assert min(misses) <= 1e-9
        followed.add(int(np.argmin(misses)))
    assert followed == {0, 1, 2}


@pytest.mark.parametrize(
    ("row", "least", "drawn", "pulsed"),
    [
        ((0, 4, 10, 21), 4, [10, 7, 4, 0], False),  # the last full slot lends to the rest
        ((0, 4, 10, 25), 4, [10, 10, 5, 0], False),  # the rest is above the minimum
        ((0, 4, 10, 2), 4, [2, 0, 0, 0], True),  # less than one slot at the minimum: on for half of it
        ((0, 4, 10, 2, 5), 4, [4, 0, 0, 0], False),  # may take more: filled up to the minimum
        ((0, 4, 10, 10), 4, [10, 0, 0, 0], False),  # no rest
        ((0, 4, 10, 21), 6, [10, 10, 1, 0], True),  # 11 kWh do not fill two slots at 6
    ],
)
def test_small_rests_by_hand(
    sessions_of: Sessions, row: tuple[float, ...], least: float, drawn: list[float], *, pulsed: bool
) -> None:
    plan = drawn_alone(sessions_of(row), mixture_of(np.array([[1.0, 2, 3, 4]]), np.ones(1)), np.array([float(least)]))
    assert whole(plan).tolist() == [drawn]
    assert plan.is_pulsed.tolist() == [pulsed]


def test_a_rest_beyond_need_is_left_out(sessions_of: Sessions) -> None:
    """Paid for two slots, needs one and may take 1.2: the 0.2 beyond is below the minimum and no must."""
    plan = drawn_alone(
        sessions_of((0, 3, 10, 10, 12)), mixture_of(np.array([[-1.0, -1, 5]]), np.ones(1)), np.full(1, 4.0)
    )
    assert whole(plan).tolist() == [[10, 0, 0]]


@pytest.mark.parametrize(("count", "aggregate", "over_cap"), [(1000, 0.045, 0.13), (10_000, 0.012, 0.035)])
def test_the_sum_is_near_the_plan_and_nearer_on_a_large_fleet(
    city_sessions: Sessions, evening_prices: Prices, count: int, aggregate: float, over_cap: float
) -> None:
    sessions, price = city_sessions(count), evening_prices()
    cap = np.full(96, 0.6 * uncontrolled_schedule(sessions, sessions.energy_min_kwh, 96).max())
    table = FlexibilityTable.build(sessions, 96)
    mixture = generate_columns(table, price, Coupling(cap_kwh=cap))
    planned = mixture.schedule_kwh
    parts = [(rows, part.ranks) for rows, part in FleetSetPoints(sessions, table, mixture).parts]
    phases = np.where(sessions.rate_kwh_per_slot > 7.4 / 4, 3, 1)
    least = least_kwh_per_slot(phases, 0.25)
    drawn = draw_on_off(sessions, parts, least)
    deviation = drawn.deviation(planned, cap)
    assert deviation.aggregate_share <= aggregate
    assert deviation.worst_over_cap_share <= over_cap
    assert deviation.partial_share <= 0.25
    assert deviation.pulsed_count < 0.05 * count
    cost = sum(price[slot] * float(now.sum()) for slot, now in drawn.by_slot())
    assert cost == pytest.approx(float(price @ planned), rel=2e-3)
    rng = np.random.default_rng(1)
    chance = [(rows, ranks, rng.choice(len(ranks.weights), len(rows), p=ranks.weights)) for rows, ranks in parts]
    assert deviation.aggregate_share < OnOffPlan(sessions, chance, least).deviation(planned, cap).aggregate_share


def test_six_ampere_per_phase() -> None:
    np.testing.assert_allclose(least_kwh_per_slot(np.array([1, 3]), 0.25), [0.345, 1.035])


def test_a_minimum_that_cannot_be_is_refused(sessions_of: Sessions) -> None:
    car, ranks = sessions_of((0, 3, 1, 2)), mixture_of(np.ones((1, 3)), np.ones(1))
    for least, field in (([1.1], r"least_kwh_per_slot\[0\]"), ([-0.1], r"least_kwh_per_slot\[0\]"), ([], "least_kwh")):
        with pytest.raises(InvalidInput, match=field):
            drawn_alone(car, ranks, np.array(least))
    with pytest.raises(InvalidInput, match="planned_kwh"):
        drawn_alone(car, ranks, np.zeros(1)).deviation(np.zeros(4), np.zeros(4))
    for rows in (np.array([0, 0]), np.zeros(0, dtype=np.int64)):
        with pytest.raises(InvalidInput, match=r"parts\[0\]"):
            draw_on_off(car, [(rows, ranks)], np.zeros(1))
