"""The answer of bidirectional sessions to a price: exact, by a rule, losses never paid for, checked apart."""

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bidding.arrays import FloatArray
from bidding.v2g import batches, kernel
from bidding.v2g.recheck import BrokenRule, V2gClaim, recheck_v2g
from bidding.v2g.response import Engine, FleetResponse, respond_to_price
from bidding.v2g.sessions import BidirectionalSessions, fit_bidirectional
from gateway.domain.errors import InvalidInput
from tests.bidding.v2g_oracle import least_cost, random_sessions, sessions_of

LOSSY: dict[str, Any] = {"charge_efficiency": np.array([0.9]), "discharge_efficiency": np.array([0.9])}


def one_car(price: list[float], **columns: Any) -> tuple[float, np.ndarray]:
    """Cost and net draw of a car with 1 of 2 kWh, which must leave with 1, at 1 kWh per slot."""
    plan = respond_to_price(sessions_of(soc_arrival_kwh=np.ones(1), **columns), price).plan
    return plan.cost_eur, plan.draw_kwh[0]


def claim_of(sessions: BidirectionalSessions, price: np.ndarray) -> V2gClaim:
    plan = respond_to_price(sessions, price).plan
    return V2gClaim(charge_kwh=plan.charge_kwh, discharge_kwh=plan.discharge_kwh, cost_eur=plan.cost_eur)


# ---------------------------------------------------------------- hand cases


def test_case_18_a_lossless_car_earns_the_whole_spread() -> None:
    cost, draw = one_car([10.0, 30.0])
    assert cost == pytest.approx(-20.0)
    assert draw == pytest.approx([1.0, -1.0])


def test_case_19_losses_cost_their_share_and_a_small_spread_is_left_alone() -> None:
    cost, draw = one_car([10.0, 30.0], **LOSSY)
    assert cost == pytest.approx(-14.3)
    assert draw == pytest.approx([1.0, -0.81])
    cost, draw = one_car([10.0, 12.0], **LOSSY)
    assert cost == 0.0
    assert draw == pytest.approx([0.0, 0.0])


def test_case_20_wear_is_paid_each_way() -> None:
    assert one_car([10.0, 30.0], degradation_eur_per_kwh=np.array([2.0]))[0] == pytest.approx(-16.0)


def test_at_equal_prices_a_car_charges_early_and_never_cycles() -> None:
    needs = {"departure_slot": np.array([4]), "soc_departure_kwh": np.array([2.0])}
    assert one_car([5.0] * 4, **needs)[1] == pytest.approx([1.0, 0.0, 0.0, 0.0])
    assert one_car([0.0] * 4, departure_slot=np.array([4]))[1] == pytest.approx([0.0] * 4)


def test_a_car_below_its_trip_reserve_charges_at_once_whatever_the_price() -> None:
    cars = {"departure_slot": np.array([4]), "soc_max_kwh": np.array([4.0]), "trip_reserve_kwh": np.array([2.5])}
    cost, draw = one_car([90.0, 80.0, 1.0, 100.0], **cars)
    # 1.5 kWh at once, 1 more while it is cheap; what is above the reserve is sold.
    assert draw == pytest.approx([1.0, 0.5, 1.0, -1.0])
    assert cost == pytest.approx(90.0 + 40.0 + 1.0 - 100.0)


def test_the_rule_is_two_levels() -> None:
    policy = respond_to_price(sessions_of(soc_arrival_kwh=np.ones(1)), [10.0, 30.0]).policy
    assert policy.charge_up_to_kwh[0] == pytest.approx([2.0, 1.0])
    assert policy.discharge_down_to_kwh[0] == pytest.approx([2.0, 1.0])


# ---------------------------------------------------------------- against the oracle


@pytest.mark.parametrize("seed", range(60))
def test_r2_the_answer_costs_what_the_linear_program_costs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    slot_count = int(rng.integers(1, 24))
    sessions = random_sessions(rng, 10, slot_count, kind_count=1 + seed % 10)
    price = np.maximum(rng.normal(0.05, 0.05, slot_count), 0.0)
    if seed % 3 == 0:
        price = np.round(price, 2)  # ties
    plan = respond_to_price(sessions, price).plan
    expected = least_cost(sessions, price)
    assert expected is not None
    assert plan.cost_eur == pytest.approx(expected, abs=1e-9)
    assert plan.lower_bound_eur == plan.cost_eur
    assert recheck_v2g(sessions, claim_of(sessions, price), price) == ()


@pytest.mark.parametrize("slot_count", [92, 96, 100])
def test_days_of_any_length(slot_count: int) -> None:
    rng = np.random.default_rng(slot_count)
    sessions = random_sessions(rng, 6, slot_count)
    price: FloatArray = np.maximum(rng.normal(0.08, 0.06, slot_count), 0.0).round(2)
    assert respond_to_price(sessions, price).plan.cost_eur == pytest.approx(least_cost(sessions, price), abs=1e-9)


@pytest.mark.parametrize("seed", range(12))
def test_the_rule_is_best_from_any_state_it_was_not_made_for(seed: int) -> None:
    rng = np.random.default_rng(100 + seed)
    sessions = random_sessions(rng, 8, 12)
    sessions = replace(sessions, arrival_slot=np.zeros(8, dtype=np.int64), departure_slot=np.full(8, 12))
    sessions = replace(sessions, soc_departure_kwh=0.3 * sessions.soc_max_kwh, trip_reserve_kwh=np.zeros(8))
    price = np.maximum(rng.normal(0.05, 0.05, 12), 0.0)
    policy = respond_to_price(sessions, price).policy
    state = sessions.soc_min_kwh + rng.uniform(0.3, 1.0, 8) * (sessions.soc_max_kwh - sessions.soc_min_kwh)
    later = replace(sessions, arrival_slot=np.full(8, 5), soc_arrival_kwh=state)
    charged = np.zeros((8, 12))
    for slot in range(5, 12):
        up, down = policy.charge_up_to_kwh[:, slot], policy.discharge_down_to_kwh[:, slot]
        rise = np.clip(up - state, 0.0, sessions.stored_per_slot_kwh)
        fall = np.clip(state - down, 0.0, sessions.taken_per_slot_kwh)
        state = state + rise - fall
        charged[:, slot] = rise / sessions.charge_efficiency - fall * sessions.discharge_efficiency
    wear = float(np.abs(charged).sum(axis=1) @ sessions.degradation_eur_per_kwh)
    assert float(charged.sum(axis=0) @ price) + wear == pytest.approx(least_cost(later, price), abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-3, 9), min_size=1, max_size=9), st.integers(0, 2**32 - 1))
def test_every_plan_passes_the_recheck_whatever_the_price(cents: list[int], seed: int) -> None:
    price = np.array(cents) / 10.0
    sessions = random_sessions(np.random.default_rng(seed), 5, len(price))
    assert recheck_v2g(sessions, claim_of(sessions, price), price) == ()


def test_a_session_does_not_depend_on_its_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    sessions, price = random_sessions(rng, 40, 30, kind_count=7), rng.normal(0.0, 0.1, 30)
    together = respond_to_price(sessions, price)
    monkeypatch.setattr(batches.lay_out, "__defaults__", (7,))
    apart = respond_to_price(sessions, price)
    assert np.array_equal(together.plan.draw_kwh, apart.plan.draw_kwh)
    total = FleetResponse(sessions, 30).total(price)
    assert total.draw_kwh == pytest.approx(together.plan.aggregate_kwh, abs=1e-9)
    assert total.cost_eur == pytest.approx(together.plan.cost_eur, abs=1e-9)


# ---------------------------------------------------------------- strongly negative prices


def clipped_feed_in(sessions: BidirectionalSessions, price: FloatArray) -> FloatArray:
    """The feed-in price per session and slot at which charging and discharging at once earns nothing."""
    both = sessions.charge_efficiency * sessions.discharge_efficiency
    wear = sessions.degradation_eur_per_kwh[:, None]
    clipped: FloatArray = np.minimum(price, (price + wear) / both[:, None] + wear)
    return clipped


@pytest.mark.parametrize("seed", range(25))
def test_energy_is_never_burnt_and_the_bound_holds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    slot_count = int(rng.integers(2, 8))
    sessions, price = random_sessions(rng, 3, slot_count), rng.normal(-0.2, 0.5, slot_count)
    plan = respond_to_price(sessions, price).plan
    assert float(np.minimum(plan.charge_kwh, plan.discharge_kwh).max()) == 0.0
    # The optimum without both at once lies between the bound and the cost, the one that burns at or below it.
    exact = least_cost(sessions, price, exclusive=True)
    burning = least_cost(sessions, price)
    assert exact is not None
    assert burning is not None
    assert plan.lower_bound_eur <= exact + 1e-9 <= plan.cost_eur + 2e-9
    assert burning <= plan.lower_bound_eur + 1e-9
    # At feed-in prices that do not pay for losses the plan is the optimum.
    feed_in = clipped_feed_in(sessions, price)
    wear = sessions.degradation_eur_per_kwh[:, None]
    at_clipped = (price + wear) * plan.charge_kwh + (wear - feed_in) * plan.discharge_kwh
    assert at_clipped.sum() == pytest.approx(least_cost(sessions, price, feed_in_price=feed_in), abs=1e-9)


def test_a_linear_program_burns_where_the_plan_does_not() -> None:
    full = sessions_of(soc_arrival_kwh=np.array([2.0]), soc_departure_kwh=np.array([2.0]), **LOSSY)
    price = np.array([-1.0, -1.0])
    assert least_cost(full, price) == pytest.approx(-0.38)
    plan = respond_to_price(full, price).plan
    assert plan.cost_eur == 0.0
    assert plan.lower_bound_eur < 0.0
    # Emptied where it costs little and filled again where that is paid more: moved, not burnt.
    moved = respond_to_price(full, [-0.1, -1.0]).plan
    assert moved.draw_kwh[0] == pytest.approx([-0.81, 1.0])
    assert moved.cost_eur == pytest.approx(0.081 - 1.0)


def test_mildly_negative_prices_are_exact_because_wear_outweighs_the_losses() -> None:
    rng = np.random.default_rng(8)
    sessions = replace(random_sessions(rng, 8, 12), degradation_eur_per_kwh=np.full(8, 0.05))
    price = rng.uniform(-0.1, 0.1, 12)
    plan = respond_to_price(sessions, price).plan
    assert plan.gap_eur == 0.0
    assert plan.cost_eur == pytest.approx(least_cost(sessions, price), abs=1e-9)


# ---------------------------------------------------------------- the two engines


def through_loops(
    sessions: BidirectionalSessions, slot_count: int, monkeypatch: pytest.MonkeyPatch, loops: tuple[Any, Any, Any]
) -> FleetResponse:
    monkeypatch.setattr(kernel, "is_numba_installed", lambda: True)
    monkeypatch.setattr(kernel, "compiled", lambda: loops)
    return FleetResponse(sessions, slot_count, engine=Engine.NUMBA)


def assert_same(loops: FleetResponse, sessions: BidirectionalSessions, price: np.ndarray) -> None:
    one, other = loops.respond(price), respond_to_price(sessions, price)
    for name in ("charge_up_to_kwh", "discharge_down_to_kwh"):
        assert np.array_equal(getattr(one.policy, name), getattr(other.policy, name))
    assert np.array_equal(one.plan.charge_kwh, other.plan.charge_kwh)
    assert np.array_equal(one.plan.discharge_kwh, other.plan.discharge_kwh)
    assert one.plan.cost_eur == pytest.approx(other.plan.cost_eur, abs=1e-9)
    assert one.plan.lower_bound_eur == pytest.approx(other.plan.lower_bound_eur, abs=1e-9)
    assert loops.total(price).draw_kwh == pytest.approx(other.plan.aggregate_kwh, abs=1e-9)


@pytest.mark.parametrize("seed", range(10))
def test_the_loops_give_the_same_as_numpy(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seed)
    sessions, price = random_sessions(rng, 10, 14, kind_count=3), np.round(rng.normal(0.0, 0.2, 14), 1)
    assert_same(through_loops(sessions, 14, monkeypatch, kernel.PLAIN), sessions, price)


def test_the_compiled_loops_give_the_same_as_numpy() -> None:
    pytest.importorskip("numba", reason="numba is the extra `fast`: pip install voltbridge[fast]")
    for seed in range(5):
        rng = np.random.default_rng(seed)
        sessions, price = random_sessions(rng, 60, 40, kind_count=5), np.round(rng.normal(0.02, 0.1, 40), 2)
        assert_same(FleetResponse(sessions, 40, engine=Engine.NUMBA), sessions, price)


def test_numba_is_asked_for_by_name_and_its_absence_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "is_numba_installed", lambda: False)
    with pytest.raises(InvalidInput, match=r"engine: needs numba: install voltbridge\[fast\]"):
        respond_to_price(sessions_of(soc_arrival_kwh=np.ones(1)), [1.0, 2.0], engine=Engine.NUMBA)


# ---------------------------------------------------------------- sessions


@pytest.mark.parametrize(
    ("column", "bad", "field"),
    [
        ("arrival_slot", [0, 5], "departure_slot[1]"),
        ("departure_slot", [0, 2], "departure_slot[0]"),
        ("charge_kwh_per_slot", [1.0, 0.0], "charge_kwh_per_slot[1]"),
        ("discharge_kwh_per_slot", [-1.0, 0.0], "discharge_kwh_per_slot[0]"),
        ("charge_efficiency", [0.9, 1.1], "charge_efficiency[1]"),
        ("discharge_efficiency", [0.0, 1.0], "discharge_efficiency[0]"),
        ("soc_arrival_kwh", [1.0, 2.5], "soc_arrival_kwh[1]"),
        ("soc_arrival_kwh", [1.0, np.nan], "soc_arrival_kwh[1]"),
        ("soc_min_kwh", [-0.1, 0.0], "soc_min_kwh[0]"),
        ("soc_min_kwh", [0.0, 1.5], "soc_arrival_kwh[1]"),
        ("soc_max_kwh", [2.0, -1.0], "soc_max_kwh[1]"),
        ("soc_departure_kwh", [1.0, 2.1], "soc_departure_kwh[1]"),
        ("trip_reserve_kwh", [3.0, 0.0], "trip_reserve_kwh[0]"),
        ("trip_reserve_kwh", [0.0, -1.0], "trip_reserve_kwh[1]"),
        ("degradation_eur_per_kwh", [0.0, -0.1], "degradation_eur_per_kwh[1]"),
        ("degradation_eur_per_kwh", [0.0], "degradation_eur_per_kwh"),
        ("session_ids", ("one",), "session_ids"),
    ],
)
def test_the_wrong_element_is_named(column: str, bad: Any, field: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        sessions_of(**{"soc_arrival_kwh": np.ones(2), column: bad if column == "session_ids" else np.array(bad)})
    assert raised.value.field == field


@pytest.mark.parametrize(
    ("columns", "field"),
    [
        ({"arrival_slot": np.array([-1])}, "arrival_slot[0]"),
        ({"departure_slot": np.array([3])}, "departure_slot[0]"),
        ({"soc_arrival_kwh": np.zeros(1), "soc_departure_kwh": np.array([2.0]), "charge_kwh_per_slot": np.array([0.9])},
         "soc_departure_kwh[0]"),
    ],
)  # fmt: skip
def test_sessions_that_do_not_fit_are_refused(columns: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        respond_to_price(sessions_of(**columns), [1.0, 2.0])
    assert raised.value.field == field


def test_a_price_must_be_numbers_one_per_slot() -> None:
    prepared = FleetResponse(sessions_of(soc_arrival_kwh=np.ones(1)), 2)
    with pytest.raises(InvalidInput, match=r"price_eur_per_kwh\[1\]"):
        prepared.total([1.0, np.nan])
    with pytest.raises(InvalidInput, match="has 3 values, expected 2"):
        prepared.respond([1.0, 2.0, 3.0])


def test_windows_are_clipped_and_what_cannot_be_met_is_told_apart() -> None:
    fitted = fit_bidirectional(
        sessions_of(
            arrival_slot=np.array([-3, 1, 5, 1]),
            departure_slot=np.array([2, 9, 7, 5]),
            soc_arrival_kwh=np.array([0.0, 0.0, 0.0, 0.0]),
            soc_max_kwh=np.full(4, 20.0),
            soc_departure_kwh=np.array([2.0, 6.0, 1.0, 6.0]),
        ),
        4,
    )
    assert fitted.kept_rows.tolist() == [0, 1, 3]
    assert fitted.sessions.arrival_slot.tolist() == [0, 1, 1]
    assert fitted.sessions.departure_slot.tolist() == [2, 4, 4]
    assert fitted.sessions.soc_departure_kwh.tolist() == [2.0, 3.0, 3.0]
    assert fitted.shortfall_kwh.tolist() == [0.0, 0.0, 2.0]
    assert fitted.deferred_kwh.tolist() == [0.0, 3.0, 1.0]
    respond_to_price(fitted.sessions, [1.0, 2.0, 3.0, 4.0])


def test_no_sessions_answer_nothing() -> None:
    rows: Any = np.zeros(0, dtype=np.int64)
    nobody = sessions_of(soc_arrival_kwh=np.ones(1)).select(rows)
    plan = respond_to_price(nobody, [1.0, 2.0]).plan
    assert plan.cost_eur == 0.0
    assert plan.aggregate_kwh.tolist() == [0.0, 0.0]


def test_sessions_and_plans_survive_the_pipe_of_a_worker() -> None:
    sessions = sessions_of(soc_arrival_kwh=np.ones(1), session_ids=("car",))
    again = pickle.loads(pickle.dumps(sessions))  # noqa: S301  # bytes of our own
    assert again.name_of(0) == "car"
    answer = respond_to_price(again, [1.0, 2.0])
    received = pickle.loads(pickle.dumps(answer))  # noqa: S301  # bytes of our own
    assert received.plan.cost_eur == answer.plan.cost_eur


# ---------------------------------------------------------------- the independent check


PRICE = np.array([10.0, 30.0])
CAR = sessions_of(soc_arrival_kwh=np.ones(1), trip_reserve_kwh=np.array([0.4]), soc_min_kwh=np.array([0.2]))


@pytest.mark.parametrize(
    ("sessions", "charge", "discharge", "rules"),
    [
        (CAR, [1.0, 0.0], [0.0, 1.0], []),
        (CAR, [1.1, 0.0], [0.0, 1.0], ["charge-rate", "soc-max"]),
        (CAR, [0.0, 1.0], [1.0, 0.0], ["soc-min", "trip-reserve"]),
        (CAR, [0.0, 0.7], [0.7, 0.0], ["trip-reserve"]),
        (CAR, [0.0, 0.0], [0.0, 0.5], ["departure"]),
        (CAR, [1.0, 0.0], [1.0, 0.0], ["both-at-once"]),
        (CAR, [1.0, -0.5], [0.0, 0.0], ["charge-rate"]),
        (CAR, [1.0, 0.2], [0.0, 1.2], ["discharge-rate", "both-at-once"]),
        (replace(CAR, departure_slot=np.array([1])), [0.0, 0.5], [0.0, 0.0], ["window"]),
        (replace(CAR, charge_efficiency=np.array([0.9])), [1.0, 0.0], [0.0, 1.0], ["departure"]),
        (replace(CAR, discharge_efficiency=np.array([0.9])), [1.0, 0.0], [0.0, 1.0], ["departure"]),
        (replace(CAR, trip_reserve_kwh=np.array([2.0])), [0.0, 1.0], [0.0, 0.0], ["trip-reserve"]),
    ],
)
def test_the_check_finds_each_broken_rule(
    sessions: BidirectionalSessions, charge: list[float], discharge: list[float], rules: list[str]
) -> None:
    drawn, fed = np.array([charge]), np.array([discharge])
    claim = V2gClaim(charge_kwh=drawn, discharge_kwh=fed, cost_eur=float(((drawn - fed) @ PRICE)[0]))
    assert [broken.rule for broken in recheck_v2g(sessions, claim, PRICE)] == rules


def test_the_check_finds_wrong_costs_shapes_and_numbers() -> None:
    claim = claim_of(CAR, PRICE)
    assert [one.rule for one in recheck_v2g(CAR, replace(claim, cost_eur=claim.cost_eur + 0.01), PRICE)] == ["cost"]
    assert [one.rule for one in recheck_v2g(CAR, replace(claim, cost_eur=np.nan), PRICE)] == ["cost"]
    assert [one.rule for one in recheck_v2g(CAR, claim, np.ones(3))] == ["shape"]
    lost = replace(claim, charge_kwh=np.full((1, 2), np.nan))
    assert [one.rule for one in recheck_v2g(CAR, lost, PRICE)] == ["number"]
    worn = replace(CAR, degradation_eur_per_kwh=np.array([2.0]))
    assert [one.rule for one in recheck_v2g(worn, claim, PRICE)] == ["cost"]
    assert str(BrokenRule(rule="cost", session=-1, slot=-1, excess=0.25)) == "cost[-1, -1] by 0.25"
