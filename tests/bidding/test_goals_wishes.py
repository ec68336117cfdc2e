"""Wishes: every wrong number is refused by name and row; the staircase of energies follows from the columns."""

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bidding.fleet.sessions import SessionArrays
from bidding.goals.demand import GoalPrices, demand_of
from bidding.goals.wishes import BY_ENERGY_ALONE, DriverWishes, Goal, PriceSteps, fit_wishes
from gateway.domain.errors import InvalidInput

Sessions = Callable[..., SessionArrays]
EVERY = [Goal.GUARANTEED, Goal.CHEAPEST, Goal.GREENEST, Goal.CAPPED, Goal.BOOST]


@pytest.fixture
def columns(sessions_of: Sessions) -> dict[str, Any]:
    """One session of each goal, all with what they need."""
    return {
        "cars": sessions_of((0, 8, 1, 2, 4), (0, 8, 1, 2, 4), (0, 8, 1, 2, 4), (2, 8, 1, 1, 4), (1, 8, 1, 2, 4)),
        "goal": np.array(EVERY),
        "carbon_weight": np.array([0.0, 0.0, 0.5, 0.0, 0.0]),
        "minimum_kwh": np.array([0.0, 1.0, 0.0, 0.5, 0.0]),
        "boost_kwh": np.array([0.0, 0.0, 0.0, 0.0, 3.0]),
        "boost_until_slot": np.array([-1, -1, -1, -1, 3]),
        "steps": steps_of([3, 3], [0.5, 0.8], [np.inf, 0.15]),
        "full_kwh": np.full(5, 6.0),
        "state_of_charge": np.full(5, 0.25),
    }


def steps_of(row: list[int], share: list[float], cap: list[float]) -> PriceSteps:
    return PriceSteps(
        session_row=np.array(row, dtype=np.int64), share=np.array(share), price_cap_eur_per_kwh=np.array(cap)
    )


def test_the_staircase_goes_from_urgent_over_needed_to_steps(columns: dict[str, Any]) -> None:
    wishes = DriverWishes(**columns)
    prices = GoalPrices(price_eur_per_kwh=np.full(8, 0.2), carbon_kg_per_kwh=np.full(8, 0.4), carbon_eur_per_kg=0.5)
    demand = demand_of(wishes, prices)
    assert demand.firm_kwh.tolist() == [2, 1, 0, 0.5, 0]
    # The instant (slot 3) ends the boost before its energy does: two slots of 1 kWh.
    assert demand.boost_kwh.tolist() == [0, 0, 0, 0, 2]
    assert demand.minimum_kwh.tolist() == [0, 1, 0, 0.5, 2]
    # 50 % at any price are (0.5 - 0.25) x 6 kWh, more than the 1 kWh asked for.
    assert demand.need_kwh.tolist() == [2, 2, 2, 1.5, 2]
    assert demand.top_kwh.tolist() == [4, 4, 4, pytest.approx(3.3), 4]
    assert demand.step_value_eur_per_kwh[3, 1] == pytest.approx(0.15, abs=2e-6)
    assert demand.class_price_eur_per_kwh[:, 0].tolist() == pytest.approx([0.2, 0.2])


def test_wishes_survive_the_pipe_of_a_worker(columns: dict[str, Any]) -> None:
    again = pickle.loads(pickle.dumps(DriverWishes(**columns)))  # noqa: S301  # our own bytes
    assert again.steps.share.tolist() == [0.5, 0.8]
    assert again.goal.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("column", "value", "named"),
    [
        ("goal", np.array([0, 1, 2, 3, 9]), "goal[4]"),
        ("goal", np.array([0, 1, 2, 3]), "goal"),
        ("goal", np.array([3, 1, 2, 3, 4]), "goal[0]"),
        ("goal", np.array([0, 1, 2, 0, 4]), "goal[3]"),
        ("carbon_weight", None, "carbon_weight[2]"),
        ("carbon_weight", np.array([0, 0.1, 0.5, 0, 0]), "carbon_weight[1]"),
        ("carbon_weight", np.array([0, 0, 1.5, 0, 0]), "carbon_weight[2]"),
        ("carbon_weight", np.array([0, 0, np.nan, 0, 0]), "carbon_weight[2]"),
        ("minimum_kwh", np.array([0, 0, 5.0, 0, 0]), "minimum_kwh[2]"),
        ("minimum_kwh", np.array([0, 0, -1.0, 0, 0]), "minimum_kwh[2]"),
        ("boost_kwh", np.array([0, 0, 0, 0, 4.5]), "boost_kwh[4]"),
        ("boost_kwh", np.array([1.0, 0, 0, 0, 3.0]), "boost_kwh[0]"),
        ("boost_until_slot", np.array([-1, -1, -1, -1, 1]), "boost_until_slot[4]"),
        ("boost_until_slot", np.array([4, -1, -1, -1, -1]), "boost_until_slot[0]"),
        ("boost_until_slot", np.array([0.5, -1, -1, -1, -1]), "boost_until_slot"),
        ("steps", None, "goal[3]"),
        ("full_kwh", None, "full_kwh"),
        ("full_kwh", np.array([0, 0, 0, 0, 0]), "full_kwh[3]"),
        ("state_of_charge", np.array([0, 0, 0, 1.2, 0]), "state_of_charge[3]"),
    ],
)
def test_a_goal_without_its_numbers_is_refused(columns: dict[str, Any], column: str, value: Any, named: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        DriverWishes(**{**columns, column: value})
    assert refused.value.field == named


def test_a_boost_needs_an_energy_or_an_instant(columns: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as refused:
        DriverWishes(**{**columns, "boost_kwh": None, "boost_until_slot": None})
    assert refused.value.field == "boost_kwh[4]"


def test_carbon_alone_cannot_be_held_against_a_price_cap(columns: dict[str, Any]) -> None:
    steps = steps_of([2, 3], [0.5, 0.8], [0.2, 0.15])
    DriverWishes(**{**columns, "steps": steps})
    with pytest.raises(InvalidInput) as refused:
        DriverWishes(**{**columns, "steps": steps, "carbon_weight": np.array([0, 0, 1.0, 0, 0])})
    assert refused.value.field == "goal[2]"


@pytest.mark.parametrize(
    ("row", "share", "cap", "named"),
    [
        ([0, 0], [0.8, 0.5], [0.2, 0.1], "steps.share[1]"),
        ([0, 0], [0.5, 0.5], [0.2, 0.1], "steps.share[1]"),
        ([0, 0], [0.5, 1.1], [0.2, 0.1], "steps.share[1]"),
        ([0, 1, 1], [0.5, 0.5, 0.8], [0.2, 0.2, 0.3], "steps.price_cap_eur_per_kwh[2]"),
        ([0, 0], [0.5, 0.8], [0.2, 0.2], "steps.price_cap_eur_per_kwh[1]"),
        ([0, 0], [0.5, 0.8], [0.2, np.nan], "steps.price_cap_eur_per_kwh[1]"),
        ([0, 0], [0.5, 0.8], [0.2], "steps.price_cap_eur_per_kwh"),
        ([1, 0], [0.5, 0.8], [0.2, 0.1], "steps.session_row[1]"),
    ],
)
def test_steps_rise_in_energy_and_fall_in_price(
    row: list[int], share: list[float], cap: list[float], named: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        steps_of(row, share, cap)
    assert refused.value.field == named


def test_steps_of_a_session_that_is_not_there_are_refused(columns: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as refused:
        DriverWishes(**{**columns, "steps": steps_of([3, 5], [0.5, 0.8], [0.2, 0.1])})
    assert refused.value.field == "steps.session_row[1]"


def test_greenest_needs_carbon_and_its_exchange_rate(columns: dict[str, Any]) -> None:
    wishes = DriverWishes(**columns)
    with pytest.raises(InvalidInput, match="carbon_kg_per_kwh"):
        demand_of(wishes, GoalPrices(price_eur_per_kwh=np.zeros(8), carbon_eur_per_kg=1.0))
    with pytest.raises(InvalidInput, match="carbon_eur_per_kg"):
        demand_of(wishes, GoalPrices(price_eur_per_kwh=np.zeros(8), carbon_kg_per_kwh=np.ones(8)))
    with pytest.raises(InvalidInput, match=r"carbon_kg_per_kwh\[1\]"):
        GoalPrices(price_eur_per_kwh=np.zeros(2), carbon_kg_per_kwh=np.array([1.0, -1.0]))


def test_wishes_are_clipped_to_the_horizon(columns: dict[str, Any], sessions_of: Sessions) -> None:
    cars = sessions_of((-3, 2, 1, 3, 4), (9, 12, 1, 2, 2), (0, 8, 1, 2, 4), (2, 4, 1, 1, 4), (-2, 8, 1, 5, 6))
    until = np.array([-1, -1, -1, -1, 0])
    fitted = fit_wishes(DriverWishes(**{**columns, "cars": cars, "boost_until_slot": until}), 8)
    wishes = fitted.wishes
    assert fitted.kept_rows.tolist() == [0, 2, 3, 4]
    assert fitted.shortfall_kwh.tolist() == [1, 0, 0, 0]
    assert wishes.steps is not None
    assert wishes.steps.session_row.tolist() == [2, 2]
    # The boost ended before the horizon begins: what is left is an ordinary need.
    assert wishes.goal.tolist() == [Goal.GUARANTEED, Goal.GREENEST, Goal.CAPPED, Goal.CHEAPEST]
    assert wishes.boost_until.tolist() == [BY_ENERGY_ALONE] * 4
    assert wishes.cars.energy_max_kwh.tolist() == [2, 4, 2, 6]
