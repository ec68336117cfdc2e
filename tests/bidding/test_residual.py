"""What an auction did not give goes on in order, with its exposure; overnight cars are bought in two auctions."""

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from scipy.optimize import linprog

from bidding.fleet.flexibility import FlexibilityTable
from bidding.fleet.sessions import SessionArrays, require_fitted
from bidding.optimum.greedy import PriceResponse
from bidding.orders.residual import Fallback, FallbackStep, Venue, plan_fallback
from bidding.orders.two_auctions import SecondDay, plan_second_day
from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import TimeGrid

Sessions = Callable[..., SessionArrays]
START = datetime(2026, 5, 4, tzinfo=UTC)
PERIODS = TimeGrid(start=START, count=4)
FIRST = FallbackStep(
    name="first auction",
    venue=Venue.INTRADAY_AUCTION,
    premium_eur_per_mwh=2.0,
    fill_share=0.5,
    gate=START - timedelta(hours=9),
)
SECOND = FallbackStep(
    name="second auction",
    venue=Venue.INTRADAY_AUCTION,
    premium_eur_per_mwh=4.0,
    fill_share=0.5,
    gate=START - timedelta(hours=2),
    first_delivery=START + timedelta(minutes=30),
)
TRADED = FallbackStep(
    name="continuous",
    venue=Venue.CONTINUOUS,
    premium_eur_per_mwh=10.0,
    fill_share=0.8,
    lead_time=timedelta(minutes=30),
)
LAST = FallbackStep(name="imbalance", venue=Venue.IMBALANCE, premium_eur_per_mwh=100.0)
STEPS = (FIRST, SECOND, TRADED, LAST)


def fallback(now: datetime, wanted: tuple[float, ...] = (4.0, 0.0, 8.0, -4.0)) -> Fallback:
    return plan_fallback(
        np.array(wanted), np.zeros(4), STEPS, periods=PERIODS, price_eur_per_mwh=np.full(4, 50.0), now=now
    )


def test_a_residual_goes_through_every_open_step_and_nothing_is_stranded() -> None:
    way = fallback(START - timedelta(hours=12))
    volumes = [step.volume_mw.tolist() for step in way.steps]
    assert np.array(volumes) == pytest.approx(
        np.array([[4, 0, 8, -4], [0, 0, 4, -2], [2, 0, 2, -1], [0.4, 0, 0.4, -0.2]])
    )
    assert way.steps[-1].left_mw.tolist() == [0.0] * 4
    # 16 MW over a quarter of an hour are 4 MWh.
    assert [step.exposure_eur for step in way.steps] == pytest.approx([8.0, 12.0, 40.0, 400.0])
    assert way.steps[0].cost_eur == pytest.approx(50 * 2 + 8)
    assert [step.expected_eur for step in way.steps] == pytest.approx([4.0, 3.0, 10.0, 25.0], abs=0.1)
    assert way.expected_eur == pytest.approx(sum(step.expected_eur for step in way.steps))
    assert way.worst_eur == pytest.approx(400.0)


@pytest.mark.parametrize(
    ("hours", "arrives"),
    [
        (-12.0, [16, 6, 5, 1]),
        (-9.0, [0, 12, 10, 2]),  # a gate that closes now is closed
        (-1.0, [0, 0, 16, 3.2]),
        (-0.25, [0, 0, 12, 6.4]),  # too late to trade the first half hour
        (1.0, [0, 0, 0, 16]),
    ],
)
def test_closed_gates_are_passed_over(hours: float, arrives: list[float]) -> None:
    way = fallback(START + timedelta(hours=hours))
    assert [float(np.abs(step.volume_mw).sum()) for step in way.steps] == pytest.approx(arrives)
    assert not way.steps[-1].left_mw.any()


def test_what_was_awarded_is_not_bought_again() -> None:
    wanted = np.array([1.0, 2.0, 3.0, 4.0])
    way = plan_fallback(wanted, wanted, (LAST,), periods=PERIODS, price_eur_per_mwh=np.full(4, -50.0), now=START)
    assert way.worst_eur == 0.0
    assert not way.residual_mw.any()


def plan(steps: tuple[FallbackStep, ...], **changes: Any) -> Fallback:
    arguments = {"periods": PERIODS, "price_eur_per_mwh": np.ones(4), "now": START, **changes}
    return plan_fallback(np.ones(4), np.ones(4), steps, **arguments)


@pytest.mark.parametrize(
    ("build", "field"),
    [
        pytest.param(lambda: plan(()), "steps", id="no-step"),
        pytest.param(lambda: plan((FIRST,)), "steps", id="no-last-resort"),
        pytest.param(lambda: plan((TRADED, FIRST, LAST)), "steps[1]", id="auction-after-trading"),
        pytest.param(lambda: plan((LAST, LAST)), "steps[1]", id="two-last-resorts"),
        (lambda: plan((SECOND, FIRST, LAST)), "steps[1].gate"),
        (lambda: plan((LAST,), now=datetime(2026, 5, 4)), "now"),  # noqa: DTZ001
        (lambda: plan((LAST,), price_eur_per_mwh=np.ones(3)), "price_eur_per_mwh"),
        (lambda: dataclasses.replace(LAST, fill_share=0.5), "imbalance.fill_share"),
        (lambda: dataclasses.replace(TRADED, fill_share=1.5), "continuous.fill_share"),
        (lambda: dataclasses.replace(TRADED, premium_eur_per_mwh=-1.0), "continuous.premium_eur_per_mwh"),
        (lambda: dataclasses.replace(FIRST, gate=None), "first auction.gate"),
        (lambda: dataclasses.replace(LAST, gate=START), "imbalance.gate"),
    ],
)
def test_a_way_out_of_order_is_refused(build: Callable[[], object], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        build()
    assert refused.value.field == field


# ---------------------------------------------------------------- two auctions


def test_the_award_is_followed_and_the_rest_is_planned_for_the_second_day(sessions_of: Sessions) -> None:
    sessions = sessions_of((0, 6, 2.0, 6.0), (1, 3, 1.0, 1.0), (4, 6, 1.0, 1.0))
    price = np.array([1.0, 1.0, 1.0, 0.1, 0.5, 0.2])
    awarded = np.array([2.0, 1.0, 0.0])
    night = plan_second_day(sessions, awarded, price, shortage_eur_per_kwh=3.0, surplus_eur_per_kwh=3.0)
    assert isinstance(night, SecondDay)
    assert night.deviation_kwh == pytest.approx(np.zeros(3), abs=1e-6)
    # 3 kWh of the first two cars are in the award; 4 are left, and the third car's 1 at its cheaper slot.
    assert night.schedule_kwh == pytest.approx([2, 1, 0, 2, 0, 3], abs=1e-5)
    assert night.cost_eur == pytest.approx(2 * 0.1 + 3 * 0.2, abs=1e-5)
    assert night.lower_bound_eur == pytest.approx(night.cost_eur, abs=1e-3)
    assert night.kept_rows.tolist() == [0, 2]
    assert night.sessions.arrival_slot.tolist() == [0, 1]
    assert night.sessions.departure_slot.tolist() == [3, 3]
    assert night.sessions.energy_min_kwh == pytest.approx([4.0, 1.0], abs=1e-6)
    require_fitted(night.sessions, 3)


def test_what_cannot_be_followed_is_short_and_priced(sessions_of: Sessions) -> None:
    sessions = sessions_of((0, 2, 1.0, 2.0), (1, 4, 1.0, 1.0))
    night = plan_second_day(
        sessions, np.array([0.5, 3.0]), np.full(4, 0.1), shortage_eur_per_kwh=1.0, surplus_eur_per_kwh=0.5
    )
    assert isinstance(night, SecondDay)
    assert night.deviation_kwh == pytest.approx([0.5, -1.0], abs=1e-6)
    assert night.cost_eur == pytest.approx(0.1 * -0.5 + 0.5 * 1.0 + 1.0 * 0.5, abs=1e-5)


def least_cost(sessions: SessionArrays, awarded: np.ndarray, price: np.ndarray, short: float, surplus: float) -> float:
    """By an LP with a variable per session and slot, and one per deviation."""
    count, slots, first = len(sessions), len(price), len(awarded)
    present = (np.arange(slots) >= sessions.arrival_slot[:, None]) & (
        np.arange(slots) < sessions.departure_slot[:, None]
    )
    upper = np.where(present, sessions.rate_kwh_per_slot[:, None], 0.0).ravel()
    own = np.kron(np.eye(count), np.ones(slots))
    own = np.hstack([own, np.zeros((count, 2 * first))])
    follow = np.hstack([np.tile(np.eye(slots)[:first], count), -np.eye(first), np.eye(first)])
    cost = np.concatenate([np.tile(price, count), np.full(first, short), np.full(first, surplus)])
    result = linprog(
        cost,
        A_ub=np.vstack([own, -own]),
        b_ub=np.concatenate([sessions.energy_max_kwh, -sessions.energy_min_kwh]),
        A_eq=follow,
        b_eq=awarded,
        bounds=[*((0.0, high) for high in upper), *([(0.0, None)] * (2 * first))],
        method="highs",
    )
    assert result.fun is not None
    return float(result.fun) - float(price[:first] @ awarded)


@pytest.mark.parametrize("seed", range(8))
def test_the_plan_over_two_auctions_is_the_optimum(random_sessions: Sessions, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sessions = random_sessions(rng, 6, 8, with_range=seed % 2 == 0)
    price = np.round(rng.uniform(-0.2, 0.5, 8), 1)
    other = np.round(rng.uniform(-0.2, 0.5, 8), 1)
    awarded = np.round(PriceResponse(FlexibilityTable.build(sessions, 8)).schedule(other)[:4])
    night = plan_second_day(sessions, awarded, price, shortage_eur_per_kwh=0.3, surplus_eur_per_kwh=0.2)
    assert isinstance(night, SecondDay)
    best = least_cost(sessions, awarded, price, 0.3, 0.2)
    assert night.cost_eur == pytest.approx(best, abs=1e-4)
    assert night.lower_bound_eur <= best + 1e-6
    require_fitted(night.sessions, 4)
    rest = night.sessions.energy_min_kwh.sum()
    most = night.sessions.energy_max_kwh.sum()
    assert rest - 1e-6 <= night.schedule_kwh[4:].sum() <= most + 1e-6


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"awarded": np.ones(4)}, "awarded_kwh"),
        ({"awarded": np.ones(0)}, "awarded_kwh"),
        ({"awarded": np.array([1.0, np.nan])}, "awarded_kwh[1]"),
        ({"price": np.array([1.0, np.inf, 1.0, 1.0])}, "price_eur_per_kwh[1]"),
        ({"short": -1.0}, "shortage_eur_per_kwh[0]"),
    ],
)
def test_a_malformed_award_is_refused(sessions_of: Sessions, change: dict[str, Any], field: str) -> None:
    given = {"awarded": np.ones(2), "price": np.ones(4), "short": 1.0, **change}
    with pytest.raises(InvalidInput) as refused:
        plan_second_day(
            sessions_of((0, 4, 1.0, 1.0)),
            given["awarded"],
            given["price"],
            shortage_eur_per_kwh=given["short"],
            surplus_eur_per_kwh=1.0,
        )
    assert refused.value.field == field
