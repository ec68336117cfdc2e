"""What drivers are told: energies, completion, money and carbon of the plan, and a true reason for every delay."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bidding.fleet.sessions import SessionArrays
from bidding.goals.demand import GoalPrices
from bidding.goals.plan import plan_goals
from bidding.goals.reasons import (
    GaveWay,
    LimitBinds,
    NotEnoughTime,
    PriceAboveCap,
    RoomWorthMore,
    WaitsForCheaper,
    WaitsForGreener,
)
from bidding.goals.told import NEVER, DriverOutcomes, tell_drivers
from bidding.goals.wishes import DriverWishes, Goal, PriceSteps, fit_wishes
from bidding.optimum.coupling import Coupling
from gateway.domain.errors import InvalidInput

Sessions = Callable[..., SessionArrays]


def clock(slot: int) -> str:
    return f"{slot:02d}:00"


def told(cars: SessionArrays, goal: list[Goal], price: list[float], cap: float = 9.0, **columns: Any) -> DriverOutcomes:
    wishes = DriverWishes(cars=cars, goal=np.array(goal), **columns)
    prices = GoalPrices(
        price_eur_per_kwh=np.array(price),
        carbon_kg_per_kwh=np.array(price)[::-1].clip(0.0),
        carbon_eur_per_kg=1.0,
    )
    return tell_drivers(plan_goals(wishes, prices, Coupling(cap_kwh=np.full(len(price), cap))))


def test_a_car_that_charges_at_once_has_no_reason_to_wait(sessions_of: Sessions) -> None:
    outcome = told(sessions_of((0, 4, 2, 5)), [Goal.GUARANTEED], [0.1, 0.1, 0.2, 0.3])
    assert outcome.reasons == ((),)
    assert outcome.energy_kwh.tolist() == [5]
    assert outcome.need_reached_slot.tolist() == [2]
    assert outcome.last_charging_slot.tolist() == [2]
    assert outcome.cost_eur[0] == pytest.approx(0.6)
    assert outcome.carbon_kg[0] == pytest.approx(2 * 0.3 + 2 * 0.2 + 1 * 0.1)
    assert outcome.saving_eur[0] == pytest.approx(0.0)


def test_waiting_for_cheaper_energy(sessions_of: Sessions) -> None:
    outcome = told(sessions_of((0, 4, 2, 3)), [Goal.CHEAPEST], [0.3, 0.4, 0.1, 0.2])
    (reason,) = outcome.reasons[0]
    assert isinstance(reason, WaitsForCheaper)
    assert reason.until_slot == 2
    assert reason.delayed_kwh == pytest.approx(4)
    assert reason.saving_eur == pytest.approx(2 * 0.3 + 0.4 - 0.2 - 0.2)
    assert reason.sentence(clock) == "Waits for cheaper energy until 02:00 and saves 0.60 EUR."
    assert outcome.need_reached_slot.tolist() == [3]


def test_waiting_for_greener_energy(sessions_of: Sessions) -> None:
    outcome = told(sessions_of((0, 3, 1, 1)), [Goal.GREENEST], [0.1, 0.2, 0.4], carbon_weight=np.array([1.0]))
    (reason,) = outcome.reasons[0]
    assert isinstance(reason, WaitsForGreener)
    assert reason.until_slot == 2
    assert reason.saving_kg == pytest.approx(0.3)
    assert reason.sentence(clock) == "Waits for greener energy until 02:00 and saves 0.30 kg of CO2."


def test_the_limit_binds_and_others_leave_earlier(sessions_of: Sessions) -> None:
    outcome = told(sessions_of((0, 4, 1, 1), (0, 1, 1, 1)), [Goal.CHEAPEST] * 2, [0.1, 0.2, 0.3, 0.4], cap=1.0)
    (reason,) = outcome.reasons[0]
    assert isinstance(reason, LimitBinds)
    assert (reason.first_slot, reason.until_slot, reason.leaving_earlier_count) == (0, 1, 1)
    assert reason.displaced_kwh == pytest.approx(1.0)
    assert reason.urgent_others_kwh == 0.0
    said = "The site is at its limit from 00:00 to 01:00: 1.0 kWh move, because 1 car leaves earlier."
    assert reason.sentence(clock) == said
    assert outcome.reasons[1] == ()
    assert outcome.displaced_kwh == pytest.approx([1, 0])


def test_the_boost_of_others_goes_first(sessions_of: Sessions) -> None:
    cars = sessions_of((0, 4, 1, 2), (0, 4, 1, 2))
    outcome = told(cars, [Goal.CHEAPEST, Goal.BOOST], [0.1, 0.2, 0.3, 0.4], cap=1.0, boost_kwh=np.array([0.0, 2.0]))
    (reason,) = outcome.reasons[0]
    assert isinstance(reason, LimitBinds)
    assert reason.urgent_others_kwh == pytest.approx(2.0)
    assert "others have booked 2.0 kWh at once" in reason.sentence()
    assert outcome.need_reached_slot.tolist() == [3, 1]


def test_a_step_above_its_cap_is_left_out_and_said_so(sessions_of: Sessions) -> None:
    steps = PriceSteps(
        session_row=np.array([0, 0]), share=np.array([0.5, 0.8]), price_cap_eur_per_kwh=np.array([np.inf, 0.15])
    )
    outcome = told(
        sessions_of((0, 4, 2, 0, 8)),
        [Goal.CAPPED],
        [0.1, 0.12, 0.18, 0.2],
        steps=steps,
        full_kwh=np.array([10.0]),
        state_of_charge=np.array([0.1]),
    )
    (reason,) = outcome.reasons[0]
    assert isinstance(reason, PriceAboveCap)
    assert reason.left_out_kwh == pytest.approx(3.0)
    assert (reason.price_cap_eur_per_kwh, reason.least_price_eur_per_kwh) == (0.15, 0.18)
    assert "above your cap of 0.150" in reason.sentence()
    assert outcome.energy_kwh == pytest.approx([4])


def test_a_step_gives_room_to_a_need(sessions_of: Sessions) -> None:
    steps = PriceSteps(session_row=np.array([0]), share=np.array([0.5]), price_cap_eur_per_kwh=np.array([0.15]))
    outcome = told(
        sessions_of((0, 2, 1, 0, 1), (0, 2, 1, 1)),
        [Goal.CAPPED, Goal.CHEAPEST],
        [0.1, 0.3],
        cap=1.0,
        steps=steps,
        full_kwh=np.array([2.0, 2.0]),
        state_of_charge=np.zeros(2),
    )
    assert outcome.energy_kwh == pytest.approx([0, 1])
    assert any(isinstance(reason, RoomWorthMore) for reason in outcome.reasons[0])
    assert outcome.last_charging_slot.tolist() == [NEVER, 0]
    assert outcome.missing_kwh.tolist() == [0, 0]


def test_needs_that_give_way_are_told_with_their_share(sessions_of: Sessions) -> None:
    outcome = told(sessions_of((0, 2, 2, 3), (0, 2, 2, 1)), [Goal.CHEAPEST] * 2, [0.1, 0.2], cap=1.0)
    assert outcome.missing_kwh == pytest.approx([1.5, 0.5], abs=1e-5)
    reason = outcome.reasons[0][0]
    assert isinstance(reason, GaveWay)
    assert reason.served_share == pytest.approx(0.5, abs=1e-5)
    assert "1.5 kWh are missing, 50 % of what you need is charged" in reason.sentence()
    assert outcome.need_reached_slot.tolist() == [NEVER, NEVER]


def test_a_window_that_is_too_short_is_told_beside_the_plan(sessions_of: Sessions) -> None:
    wishes = DriverWishes(cars=sessions_of((0, 2, 1, 3)), goal=np.array([Goal.GUARANTEED]))
    fitted = fit_wishes(wishes, 4)
    plan = plan_goals(fitted.wishes, GoalPrices(price_eur_per_kwh=np.zeros(4)), Coupling(cap_kwh=np.full(4, np.inf)))
    outcome = tell_drivers(plan, fitted.shortfall_kwh)
    assert outcome.missing_kwh.tolist() == [1]
    assert outcome.reasons[0][0] == NotEnoughTime(missing_kwh=1.0)
    assert outcome.need_reached_slot.tolist() == [NEVER]
    with pytest.raises(InvalidInput, match="shortfall_kwh"):
        tell_drivers(plan, np.zeros(2))


def test_every_delay_has_a_reason_and_every_reason_a_sentence(random_sessions: Sessions) -> None:
    rng = np.random.default_rng(2)
    for _ in range(15):
        cars = random_sessions(rng, 8, 10)
        price = np.round(rng.uniform(0.05, 0.4, 10), 3).tolist()
        cap = float(rng.uniform(0.15, 0.6) * cars.rate_kwh_per_slot.sum())
        goal = rng.choice([0, 1, 4], 8).tolist()
        boost = np.where(np.array(goal) == 4, cars.energy_max_kwh * 0.5, 0.0)
        outcome = told(cars, goal, price, cap, boost_kwh=boost)
        at_once = cars.arrival_slot + np.ceil(cars.energy_min_kwh / cars.rate_kwh_per_slot - 1e-6) - 1
        for row, reasons in enumerate(outcome.reasons):
            reached = outcome.need_reached_slot[row]
            is_late = bool(reached == NEVER or reached > at_once[row])
            assert not is_late or reasons, (row, reached, at_once[row])
            for reason in reasons:
                assert reason.sentence().endswith(".")
                assert "nan" not in reason.sentence()
