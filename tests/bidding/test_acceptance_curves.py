"""Cars that taper: curves learned from telemetry, and plans that a tapering car really follows."""

from collections.abc import Callable

import numpy as np
import pytest

from bidding.fleet.acceptance import (
    AcceptanceCurves,
    AcceptanceSamples,
    TaperedSessions,
    learn_acceptance,
    room_of_full_cars,
    taper_sessions,
)
from bidding.fleet.flexibility import FlexibilityTable
from bidding.fleet.sessions import SessionArrays, require_fitted
from bidding.optimum.decomposition import ColumnSet
from bidding.optimum.disaggregation import Disaggregation
from bidding.optimum.greedy import PriceResponse
from gateway.domain.errors import InvalidInput

Sessions = Callable[..., SessionArrays]
Accepts = Callable[[np.ndarray], np.ndarray]

# 1 kW within the last kWh, 2 kW up to 3 kWh below full, 4 kW up to 6, then 8 kW from the onboard charger.
CURVES = AcceptanceCurves(room_kwh=np.array([0.0, 1.0, 3.0, 6.0]), power_kw=np.array([[1.0, 2.0, 4.0, 8.0]]))
TICKS = 50
"""Steps in which the simulation follows a slot."""


def simulated(limit_kwh: np.ndarray, room_kwh: np.ndarray, accepts: Accepts, step_hours: float = 1.0) -> np.ndarray:
    """What cars draw in every slot when each may draw `limit_kwh` (N, T) and accepts what its present room allows."""
    room = room_kwh.copy()
    drawn = np.zeros_like(limit_kwh)
    for slot in range(limit_kwh.shape[1]):
        for _ in range(TICKS):
            now = np.minimum(limit_kwh[:, slot] / step_hours, accepts(room)) * step_hours / TICKS
            room -= now
            drawn[:, slot] += now
    return drawn


def any_plan(tapered: TaperedSessions, slot_count: int, rng: np.random.Generator) -> np.ndarray:
    """A random mixture of responses to random prices, per session and slot."""
    price = rng.integers(-3, 4, (4, slot_count)).astype(float)
    response = PriceResponse(FlexibilityTable.build(tapered.parts, slot_count))
    columns = ColumnSet(price=price, schedule_kwh=np.array([response.schedule(one) for one in price]))
    plan = Disaggregation(tapered.parts, columns, rng.dirichlet(np.ones(4))).schedule()
    return tapered.per_session(np.array([plan.at(slot) for slot in range(slot_count)]).T)


def tapered_one(
    sessions: SessionArrays, room: float, curves: AcceptanceCurves = CURVES, **options: float
) -> TaperedSessions:
    kind = np.zeros(len(sessions), dtype=np.int64)
    return taper_sessions(sessions, curves, kind, np.full(len(sessions), room), step_hours=1.0, **options)


def rows_of(parts: SessionArrays) -> list[tuple[float, ...]]:
    columns = ("arrival_slot", "departure_slot", "rate_kwh_per_slot", "energy_min_kwh", "energy_max_kwh")
    return [tuple(float(getattr(parts, name)[i]) for name in columns) for i in range(len(parts))]


@pytest.mark.parametrize(
    ("row", "room", "parts", "shortfall"),
    [
        ((0, 9, 8, 14), 20, [(0, 9, 8, 14, 14)], 0),  # ends at the knee: exact
        ((0, 9, 11, 14), 20, [(0, 9, 8, 14, 14)], 0),  # the onboard charger is smaller than the charger
        ((0, 9, 3, 15), 20, [(0, 9, 3, 15, 15)], 0),  # a slow charger sees the knee later
        ((0, 9, 8, 16), 20, [(0, 9, 4, 16, 16)], 0),  # gentle: half rate, any time
        ((0, 9, 8, 19), 20, [(0, 6, 8, 14, 14), (6, 9, 2, 5, 5)], 0),  # top-up in the last three hours
        ((0, 9, 8, 10, 19), 20, [(0, 6, 8, 10, 14), (6, 9, 2, 0, 5)], 0),  # nothing of the top-up is a must
        ((0, 9, 8, 4), 5, [(0, 9, 2, 4, 4)], 0),  # already below the knee
        ((0, 4, 8, 20), 20, [(0, 2, 8, 14, 14), (2, 4, 2, 4, 4)], 2),  # does not fit: what is reached
        ((0, 3, 8, 20), 20, [(0, 2, 8, 14, 14), (2, 3, 4, 3, 3)], 3),  # one last hour at 4 kW, until that ends
        ((0, 1, 8, 8), 20, [(0, 1, 8, 8, 8)], 0),
        ((0, 1, 11, 11), 20, [(0, 1, 8, 8, 8)], 3),
        ((0, 4, 8, 6), 5, [(0, 4, 2, 4, 4)], 2),  # asks for more than full
    ],
)
def test_parts_by_hand(
    sessions_of: Sessions, row: tuple[float, ...], room: float, parts: list[tuple[float, ...]], shortfall: float
) -> None:
    tapered = tapered_one(sessions_of(row), room)
    assert rows_of(tapered.parts) == parts
    assert tapered.shortfall_kwh.tolist() == [shortfall]
    assert tapered.owner.tolist() == [0] * len(parts)


def test_the_planner_may_prefer_one_slow_part(sessions_of: Sessions) -> None:
    car = sessions_of((0, 12, 8, 19))
    assert len(tapered_one(car, 20.0).parts) == 2
    assert rows_of(tapered_one(car, 20.0, gentle_share=0.25).parts) == [(0, 12, 2, 19, 19)]


@pytest.mark.parametrize("with_range", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_every_planned_schedule_is_accepted(random_sessions: Sessions, seed: int, *, with_range: bool) -> None:
    rng = np.random.default_rng(seed)
    sessions = random_sessions(rng, 150, 14, with_range=with_range)
    room = sessions.energy_max_kwh * rng.uniform(0.7, 1.6, 150)
    steps = np.sort(rng.uniform(0.05, 2.5, (2, 4)), axis=1)
    curves = AcceptanceCurves(room_kwh=np.array([0.0, 0.5, 1.5, 4.0]), power_kw=steps)
    kind = rng.integers(0, 2, 150)
    tapered = taper_sessions(sessions, curves, kind, room, step_hours=0.5)
    require_fitted(tapered.parts, 14)
    need = tapered.per_session(tapered.parts.energy_min_kwh)
    np.testing.assert_allclose(need + tapered.shortfall_kwh, sessions.energy_min_kwh, atol=1e-12)
    assert np.all(tapered.per_session(tapered.parts.energy_max_kwh) <= sessions.energy_max_kwh + 1e-12)
    assert len(tapered.parts) > 150
    plan = any_plan(tapered, 14, rng)
    assert np.all(plan.sum(axis=1) >= need - 1e-9)
    assert plan.max(axis=0).max() <= 2.0 + 1e-9
    drawn = simulated(plan, room, lambda left: curves.power_at(kind, left + 1e-7), step_hours=0.5)
    np.testing.assert_allclose(drawn, plan, atol=1e-9)


def test_a_session_above_the_knee_is_planned_as_it_is(random_sessions: Sessions) -> None:
    sessions = random_sessions(np.random.default_rng(4), 40, 10, with_range=True)
    tapered = tapered_one(sessions, 100.0)
    assert rows_of(tapered.parts) == rows_of(sessions)
    assert not tapered.shortfall_kwh.any()


def test_the_gentle_part_is_the_largest_that_treats_slots_alike(sessions_of: Sessions) -> None:
    """A little more rate, and some order of the slots is refused at the end of the charge."""
    (part,) = rows_of(tapered_one(sessions_of((0, 5, 8, 16)), 20.0).parts)
    assert part[2] == 4.0
    for rate, accepted in ((4.0, True), (4.1, False)):
        ascending = np.array([[0.0, 16.0 - 3 * rate, rate, rate, rate]])
        drawn = simulated(ascending, np.array([20.0]), lambda left: CURVES.power_at(np.array([0]), left + 1e-7))
        assert bool(np.allclose(drawn, ascending, atol=1e-9)) is accepted


def test_a_plan_without_the_taper_is_refused_by_the_cars(city_sessions: Sessions) -> None:
    """New cars of a kind that telemetry has shown: nine of ten follow the plan, few did without the taper."""
    rng = np.random.default_rng(9)

    def accepts(room: np.ndarray, onboard: np.ndarray) -> np.ndarray:
        return onboard * np.clip(0.1 + room / 6.0, 0.0, 1.0) * (room > 0.0)

    onboard = rng.normal(10.0, 0.5, 800)
    room = rng.uniform(0.0, 25.0, 800)
    offered = rng.choice([3.7, 7.4, 11.0], 800)
    power = np.minimum(accepts(room, onboard), offered)
    seen = AcceptanceSamples(
        class_index=np.zeros(800, dtype=np.int64), room_kwh=room, power_kw=power, offered_kw=offered
    )
    curves = learn_acceptance(seen, np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]), 1)
    assert curves.power_kw[0, -1] == pytest.approx(np.quantile(onboard, 0.1), abs=0.3)
    sessions = city_sessions(200, 24)
    full = sessions.energy_max_kwh + 0.3
    fitted = taper_sessions(sessions, curves, np.zeros(200, dtype=np.int64), full, step_hours=1.0)
    new_cars = rng.normal(10.0, 0.5, 200)
    follows = {}
    plain = TaperedSessions(parts=sessions, owner=np.arange(200), shortfall_kwh=np.zeros(200))
    for name, tapered in (("with", fitted), ("without", plain)):
        plan = any_plan(tapered, 24, rng)
        drawn = simulated(plan, full, lambda left: accepts(left, new_cars))
        follows[name] = float(np.mean(np.abs(drawn - plan).max(axis=1) < 1e-6))
    assert follows["with"] >= 0.88
    assert follows["without"] < 0.5


def samples_of(*rows: tuple[int, float, float, float]) -> AcceptanceSamples:
    kind, room, power, offered = zip(*rows, strict=True)
    return AcceptanceSamples(
        class_index=np.array(kind), room_kwh=np.array(room), power_kw=np.array(power), offered_kw=np.array(offered)
    )


def test_limits_by_the_offer_count_as_at_least() -> None:
    """Ten cars; the product-limit estimate by hand: 1 - 1/10 = 0.9 at 2 kW, then 0.9 x (1 - 1/4) at 6 kW."""
    cars = [(0, 5.0, 2.0, 11.0), *[(0, 5.0, 3.7, 3.7)] * 5, *[(0, 5.0, power, 11.0) for power in (6.0, 7.0, 8.0, 9.0)]]
    for quantile, power in ((0.05, 2.0), (0.1, 2.0), (0.2, 6.0), (0.5, 7.0), (0.9, 9.0)):
        curves = learn_acceptance(samples_of(*cars), np.array([0.0]), 1, quantile=quantile, fewest_samples=1)
        assert curves.power_kw.tolist() == [[power]]
    offered_only = learn_acceptance(samples_of(*[(0, 5.0, 3.7, 3.7)] * 5), np.array([0.0]), 1, fewest_samples=1)
    assert offered_only.power_kw.tolist() == [[3.7]]


def test_steps_without_samples_take_the_lower_step_and_none_rises_backwards() -> None:
    edges = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
    cars = [(1, 1.5, 6.0, 11.0), (1, 3.5, 5.0, 11.0), (1, 9.0, 10.0, 11.0), (0, 0.5, 4.0, 11.0)]
    curves = learn_acceptance(samples_of(*cars), edges, 2, fewest_samples=1)
    assert curves.power_kw.tolist() == [[4.0] * 5, [0.0, 5.0, 5.0, 5.0, 10.0]]
    assert curves.power_at(np.array([1, 1, 0]), np.array([0.9, 50.0, 0.0])).tolist() == [0.0, 10.0, 4.0]


def test_room_is_counted_back_from_a_full_car() -> None:
    session = np.array([0, 1, 0, 1, 0])
    np.testing.assert_allclose(room_of_full_cars(session, np.array([1.0, 2.0, 4.0, 2.5, 9.0])), [8, 0.5, 5, 0, 0])


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"power_kw": np.array([2.0, 4.0])}, "power_kw"),
        ({"power_kw": np.array([[2.0, 1.0]])}, "power_kw[0]"),
        ({"power_kw": np.array([[1.0, 2.0], [0.0, 0.0]])}, "power_kw[1]"),
        ({"power_kw": np.array([[1.0, np.inf]])}, "power_kw[0]"),
        ({"room_kwh": np.array([1.0, 2.0])}, "room_kwh"),
        ({"room_kwh": np.array([0.0, 0.0])}, "room_kwh"),
    ],
)
def test_curves_that_cannot_be_are_refused(change: dict[str, np.ndarray], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        AcceptanceCurves(**{"room_kwh": np.array([0.0, 1.0]), "power_kw": np.array([[1.0, 2.0]]), **change})
    assert refused.value.field == field


def test_inputs_that_do_not_belong_together_are_refused(sessions_of: Sessions) -> None:
    car = sessions_of((0, 3, 1, 1))
    for kind, room, field in (([1], [1.0], r"class_index\[0\]"), ([0], [-1.0], "room_kwh"), ([0, 0], [1.0], "class")):
        with pytest.raises(InvalidInput, match=field):
            taper_sessions(car, CURVES, np.array(kind), np.array(room), step_hours=1.0)
    with pytest.raises(InvalidInput, match="quantile"):
        learn_acceptance(samples_of((0, 1.0, 1.0, 2.0)), np.array([0.0]), 1, quantile=1.0)
    with pytest.raises(InvalidInput, match=r"class_index\[0\]"):
        learn_acceptance(samples_of((2, 1.0, 1.0, 2.0)), np.array([0.0]), 2)
    with pytest.raises(InvalidInput, match=r"power_kw\[1\]"):
        learn_acceptance(samples_of((0, 1.0, 1.0, 2.0)), np.array([0.0]), 2, fewest_samples=1)
    with pytest.raises(InvalidInput, match=r"power_kw\[0\]"):
        samples_of((0, 1.0, -1.0, 2.0))
