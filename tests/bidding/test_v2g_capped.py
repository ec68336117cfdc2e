"""Bidirectional fleets under caps: the optimum with its certificate, set points that hold, and why nothing fits."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bidding.arrays import FloatArray
from bidding.v2g import capped, kernel, mixing
from bidding.v2g.capped import (
    CappedLimits,
    V2gFeasible,
    V2gInfeasible,
    V2gProved,
    V2gTimedOut,
    plan_within_caps,
)
from bidding.v2g.caps import FleetCaps
from bidding.v2g.plan import V2gPlan
from bidding.v2g.recheck import V2gClaim, recheck_v2g
from bidding.v2g.response import Engine, FleetResponse, respond_to_price
from bidding.v2g.sessions import BidirectionalSessions
from gateway.domain.errors import InvalidInput
from tests.bidding.v2g_oracle import least_cost, least_overflow, random_sessions, sessions_of

TWO_CARS = sessions_of(soc_arrival_kwh=np.ones(2), session_ids=("blue", "red"))

LOSS_SEEDS = (2, 63, 122)
"""Cases in which an export cap is worth just the price of a slot, so that the cheapest mix loses energy there for nothing."""


def flat_caps(slot_count: int, import_kwh: float, export_kwh: float) -> FleetCaps:
    return FleetCaps(import_kwh=np.full(slot_count, import_kwh), export_kwh=np.full(slot_count, export_kwh))


def random_case(seed: int) -> tuple[BidirectionalSessions, FloatArray, FleetCaps]:
    rng = np.random.default_rng(seed)
    slot_count = int(rng.integers(4, 14))
    sessions = random_sessions(rng, 8, slot_count, kind_count=1 + seed % 4)
    price = np.maximum(rng.normal(0.08, 0.05, slot_count), 0.001)
    alone = FleetResponse(sessions, slot_count).total(price).draw_kwh
    import_kwh = max(float(alone.max()), 0.1) * rng.choice([0.3, 0.5, 0.7, 0.9])
    export_kwh = max(float(-alone.min()), 0.1) * rng.choice([0.0, 0.3, 0.6, 1.0])
    return sessions, price, flat_caps(slot_count, import_kwh, export_kwh)


def broken_rules(
    sessions: BidirectionalSessions, plan: V2gPlan, price: FloatArray, caps: FleetCaps
) -> tuple[object, ...]:
    claim = V2gClaim(charge_kwh=plan.charge_kwh, discharge_kwh=plan.discharge_kwh, cost_eur=plan.cost_eur)
    return recheck_v2g(sessions, claim, price, caps)


def test_two_cars_share_a_cap_both_ways() -> None:
    price = np.array([10.0, 30.0])
    outcome = plan_within_caps(TWO_CARS, price, flat_caps(2, 0.5, 9.0))
    assert isinstance(outcome, V2gProved)
    assert outcome.plan.aggregate_kwh == pytest.approx([0.5, -0.5])
    assert outcome.plan.cost_eur == pytest.approx(-10.0)
    assert outcome.plan.gap_eur == pytest.approx(0.0, abs=1e-9)
    outcome = plan_within_caps(TWO_CARS, price, flat_caps(2, 9.0, 0.4))
    assert isinstance(outcome, V2gProved)
    assert outcome.plan.cost_eur == pytest.approx(-8.0)


def test_caps_that_do_not_bind_change_nothing() -> None:
    price = np.array([10.0, 30.0])
    outcome = plan_within_caps(TWO_CARS, price, flat_caps(2, np.inf, np.inf))
    assert isinstance(outcome, V2gProved)
    assert outcome.iteration_count == 0
    assert np.array_equal(outcome.plan.draw_kwh, respond_to_price(TWO_CARS, price).plan.draw_kwh)


@pytest.mark.parametrize("seed", range(40))
def test_the_plan_is_the_optimum_of_the_linear_program_or_none_exists(seed: int) -> None:
    sessions, price, caps = random_case(seed)
    outcome = plan_within_caps(sessions, price, caps)
    expected = least_cost(sessions, price, caps)
    if expected is None:
        assert isinstance(outcome, V2gInfeasible)
        assert outcome.missing_kwh == pytest.approx(least_overflow(sessions, caps), rel=1e-5)
        return
    assert isinstance(outcome, V2gProved | V2gFeasible)
    assert outcome.plan.cost_eur == pytest.approx(expected, rel=1e-5, abs=1e-5)
    assert outcome.plan.lower_bound_eur <= expected + 1e-7
    assert broken_rules(sessions, outcome.plan, price, caps) == ()


def test_random_cases_have_plans_and_conflicts() -> None:
    kinds = [plan_within_caps(*random_case(seed)).kind for seed in range(20)]
    assert kinds.count("proved") > 8
    assert kinds.count("infeasible") > 2


def test_a_day_of_half_hours_with_ties() -> None:
    rng = np.random.default_rng(5)
    sessions = random_sessions(rng, 40, 48)
    price = np.maximum(rng.normal(0.08, 0.06, 48), 0.01).round(2)
    alone = FleetResponse(sessions, 48).total(price).draw_kwh
    caps = flat_caps(48, 0.6 * float(alone.max()), 0.4 * float(-alone.min()))
    outcome = plan_within_caps(sessions, price, caps)
    assert isinstance(outcome, V2gProved)
    assert outcome.plan.gap_eur <= 1e-6 * abs(outcome.plan.cost_eur)
    assert broken_rules(sessions, outcome.plan, price, caps) == ()


@pytest.mark.parametrize("seed", range(6))
def test_negative_prices_leave_a_gap_that_holds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sessions, price = random_sessions(rng, 3, 5), rng.normal(-0.1, 0.4, 5)
    alone = FleetResponse(sessions, 5).total(price).draw_kwh
    # At least what charging at once draws, so that something fits.
    first = FleetResponse(sessions, 5).total(np.zeros(5)).draw_kwh
    caps = flat_caps(5, max(0.6 * float(alone.max()), float(first.max())), 0.5 * max(float(-alone.min()), 0.2))
    outcome = plan_within_caps(sessions, price, caps)
    assert isinstance(outcome, V2gProved | V2gFeasible)
    exact = least_cost(sessions, price, caps, exclusive=True)
    assert exact is not None
    assert outcome.plan.lower_bound_eur <= exact + 1e-7
    assert exact <= outcome.plan.cost_eur + 1e-7
    assert float(np.minimum(outcome.plan.charge_kwh, outcome.plan.discharge_kwh).max()) == 0.0
    assert broken_rules(sessions, outcome.plan, price, caps) == ()


# ---------------------------------------------------------------- nothing fits


def test_a_conflict_names_slots_energy_and_sessions() -> None:
    cars = sessions_of(
        departure_slot=np.array([1, 2]),
        soc_arrival_kwh=np.array([0.0, 1.0]),
        soc_departure_kwh=np.array([1.0, 1.0]),
        discharge_kwh_per_slot=np.zeros(2),
        session_ids=("blue", "red"),
    )
    outcome = plan_within_caps(cars, [10.0, 20.0], flat_caps(2, 0.25, 1.0))
    assert isinstance(outcome, V2gInfeasible)
    assert outcome.slots == (0,)
    assert outcome.weights == pytest.approx([1.0])
    assert outcome.must_draw_kwh == pytest.approx(1.0)
    assert outcome.allowed_kwh == pytest.approx(0.25)
    assert outcome.missing_kwh == pytest.approx(0.75)
    assert outcome.sessions == ("blue",)


def test_another_car_may_give_what_the_grid_does_not() -> None:
    cars = sessions_of(
        departure_slot=np.array([1, 2]),
        soc_arrival_kwh=np.array([0.0, 1.0]),
        soc_departure_kwh=np.array([1.0, 1.0]),
    )
    outcome = plan_within_caps(cars, [10.0, 20.0], flat_caps(2, 1.0, 0.0))
    assert isinstance(outcome, V2gProved)
    outcome = plan_within_caps(cars, [10.0, 20.0], FleetCaps(import_kwh=np.array([0.25, 0.75]), export_kwh=np.zeros(2)))
    assert isinstance(outcome, V2gProved)
    assert outcome.plan.draw_kwh == pytest.approx(np.array([[1.0, 0.0], [-0.75, 0.75]]))


def test_iterations_may_end_before_anything_is_known() -> None:
    sessions, price, caps = random_case(3)
    outcomes = [
        plan_within_caps(sessions, price, caps, limits=CappedLimits(iteration_limit=count)) for count in range(1, 60, 4)
    ]
    kinds = [outcome.kind for outcome in outcomes]
    assert kinds[0] in {"timed-out", "feasible"}
    assert kinds[-1] == "proved"
    for outcome in outcomes:
        if isinstance(outcome, V2gFeasible | V2gProved):
            assert broken_rules(sessions, outcome.plan, price, caps) == ()
        else:
            assert isinstance(outcome, V2gTimedOut)


# ---------------------------------------------------------------- losses at an export cap


def test_losses_are_kept_out_of_a_plan_at_an_export_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    tightened: list[float] = []
    tighten = mixing.Mixer.tighten_export

    def note(mixer: mixing.Mixer, excess: FloatArray) -> None:
        tightened.append(float(excess.max()))
        tighten(mixer, excess)

    monkeypatch.setattr(mixing.Mixer, "tighten_export", note)
    plans: list[capped.V2gOutcome] = []
    for seed in LOSS_SEEDS:
        sessions, price, caps = random_case(seed)
        tightened.clear()
        outcome = plan_within_caps(sessions, price, caps)
        assert tightened
        assert isinstance(outcome, V2gProved | V2gFeasible)
        assert broken_rules(sessions, outcome.plan, price, caps) == ()
        with monkeypatch.context() as patch:
            patch.setattr(capped, "TIGHTENINGS", 1)
            charging = plan_within_caps(sessions, price, caps)
        plans.append(charging)
        if isinstance(charging, V2gFeasible):
            assert charging.plan.discharge_kwh.max() == 0.0
            assert charging.plan.lower_bound_eur <= outcome.plan.cost_eur + 1e-7 <= charging.plan.cost_eur + 2e-7
            assert broken_rules(sessions, charging.plan, price, caps) == ()
    # Without feeding in there is not always a plan: a car may need what another gives.
    assert {plan.kind for plan in plans} == {"feasible", "timed-out"}


# ---------------------------------------------------------------- engines and input


def test_the_loops_find_the_same_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions, price, caps = random_case(3)
    by_numpy = plan_within_caps(sessions, price, caps)
    monkeypatch.setattr(kernel, "is_numba_installed", lambda: True)
    monkeypatch.setattr(kernel, "compiled", lambda: kernel.PLAIN)
    by_loops = plan_within_caps(sessions, price, caps, engine=Engine.NUMBA)
    assert isinstance(by_numpy, V2gProved)
    assert isinstance(by_loops, V2gProved)
    assert by_loops.plan.cost_eur == pytest.approx(by_numpy.plan.cost_eur, rel=1e-6)


@pytest.mark.parametrize(
    ("import_kwh", "export_kwh", "field"),
    [
        ([1.0, -1.0], [1.0, 1.0], "import_kwh[1]"),
        ([1.0, 1.0], [np.nan, 1.0], "export_kwh[0]"),
        ([1.0, 1.0], [1.0], "export_kwh"),
        ("much", [1.0], "import_kwh"),
    ],
)
def test_the_wrong_cap_is_named(import_kwh: Any, export_kwh: Any, field: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        FleetCaps(import_kwh=import_kwh, export_kwh=export_kwh)
    assert raised.value.field == field


def test_caps_are_as_long_as_the_price() -> None:
    with pytest.raises(InvalidInput, match="have 3 slots, the price has 2"):
        plan_within_caps(TWO_CARS, [1.0, 2.0], flat_caps(3, 1.0, 1.0))


def test_the_check_finds_a_broken_cap() -> None:
    price = np.array([10.0, 30.0])
    plan = respond_to_price(TWO_CARS, price).plan
    found = broken_rules(TWO_CARS, plan, price, flat_caps(2, 1.5, 1.0))
    assert [str(one) for one in found] == ["import-cap[-1, 0] by 0.5", "export-cap[-1, 1] by 1"]
    assert broken_rules(TWO_CARS, replace(plan, cost_eur=plan.cost_eur + 1.0), price, flat_caps(2, 2.0, 2.0))
