"""Random fleets against an LP with a variable per session and slot, and what must hold for every solution."""

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bidding.fleet.flexibility import FlexibilityTable
from bidding.fleet.sessions import SessionArrays
from bidding.optimum.coupling import Coupling, DemandCharge, lagrangian_bound, legal_prices
from bidding.optimum.decomposition import SearchLimits, generate_columns
from bidding.optimum.greedy import respond_to_price
from bidding.optimum.models import session_schedule, solve_session_model
from bidding.optimum.optimise import OptimiserOptions, Optimum, optimise, serve_most
from bidding.optimum.outcome import Feasible, Infeasible, Proved, SolutionRejected, TimedOut
from bidding.optimum.recheck import Claim, Terms, Violation, recheck
from bidding.optimum.set_points import FleetSetPoints
from gateway.domain.errors import InvalidInput

Sessions = Callable[..., SessionArrays]
BY_COLUMNS = OptimiserOptions(session_model_limit=0)
BY_SESSION = OptimiserOptions(session_model_limit=10**9)
BOTH_WAYS = pytest.mark.parametrize("options", [BY_COLUMNS, BY_SESSION], ids=["columns", "sessions"])


def objective(optimum: Optimum) -> float:
    assert isinstance(optimum.outcome, Proved), optimum.outcome
    return optimum.outcome.objective_eur


def assert_followed(sessions: SessionArrays, optimum: Optimum) -> None:
    """R5: energies, rates, windows and sums of the set points."""
    plan, schedule = optimum.session_schedule, optimum.schedule_kwh
    assert plan is not None
    assert schedule is not None
    total = plan.total_kwh()
    assert np.all(total >= sessions.energy_min_kwh - 1e-9)
    assert np.all(total <= sessions.energy_max_kwh + 1e-9)
    assert np.all(plan.energy_kwh >= 0.0)
    assert np.all(plan.energy_kwh <= sessions.rate_kwh_per_slot[plan.row] * (1 + 1e-12))
    np.testing.assert_allclose(plan.per_slot_kwh(len(schedule)), schedule, atol=1e-9)


@pytest.mark.parametrize("with_range", [False, True])
def test_greedy_is_the_lp_optimum_with_ties_and_negative_prices(
    random_sessions: Sessions, oracle: Any, with_range: bool
) -> None:
    rng = np.random.default_rng(11)
    for _ in range(40):
        sessions = random_sessions(rng, 6, 7, with_range=with_range)
        price = rng.integers(-3, 4, 7).astype(float)
        response = respond_to_price(FlexibilityTable.build(sessions, 7), price)
        assert float(price @ response) == pytest.approx(oracle.least_cost(sessions, price), abs=1e-7)


def test_equal_prices_are_taken_in_order_of_time(sessions_of: Sessions) -> None:
    response = respond_to_price(FlexibilityTable.build(sessions_of((0, 4, 1, 2)), 4), np.array([5.0, 5.0, 5.0, 5.0]))
    assert response.tolist() == [1, 1, 0, 0]
    sawtooth = np.tile([2.0, 1.0], 48)
    response = respond_to_price(FlexibilityTable.build(sessions_of((0, 96, 1, 50)), 96), sawtooth)
    assert np.flatnonzero(response).tolist() == sorted([*range(1, 96, 2), 0, 2])


def test_no_price_gives_a_bound_above_the_optimum(random_sessions: Sessions) -> None:
    rng = np.random.default_rng(16)
    tightest = []
    for _ in range(60):
        sessions = random_sessions(rng, 6, 6)
        price, load = rng.uniform(0, 5, 6), rng.uniform(0, 3, 6)
        cap = np.where(rng.random(6) < 0.5, np.inf, rng.uniform(2, 6, 6))
        charge = DemandCharge(eur_per_peak_kwh=2.0, peak_so_far_kwh=float(rng.uniform(0, 2)), load_kwh=load)
        coupling = Coupling(cap_kwh=cap, demand_charge=charge)
        prices = legal_prices(coupling, rng.normal(0, 1, 6), rng.normal(0.3, 1, 6))
        assert np.all(prices.cap >= 0)
        assert np.all(prices.cap[np.isinf(cap)] == 0)
        assert prices.peak.sum() <= 2.0 + 1e-12
        response = respond_to_price(FlexibilityTable.build(sessions, 6), price + prices.total)
        bound = lagrangian_bound(coupling, prices, float((price + prices.total) @ response))
        best = optimise(sessions, price, coupling, BY_SESSION).outcome
        if isinstance(best, Proved):
            assert bound <= best.objective_eur + 1e-9
            tightest.append(best.objective_eur - bound)
    assert len(tightest) > 20


def test_overflow_is_forbidden_where_it_would_pay(
    random_sessions: Sessions, oracle: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "bidding.optimum.decomposition.OVERFLOW_PRICE_FACTOR", 0.0
    )  # 1 EUR per kWh against prices up to 50
    rng = np.random.default_rng(17)
    solved = 0
    for _ in range(30):
        sessions = random_sessions(rng, 7, 8)
        price, cap = rng.uniform(-2, 50, 8), rng.uniform(1.5, 5.0, 8)
        expected = oracle.least_cost(sessions, price, cap)
        if expected is not None:
            solved += 1
            optimum = optimise(sessions, price, Coupling(cap_kwh=cap), BY_COLUMNS)
            assert objective(optimum) == pytest.approx(expected, abs=1e-5)
    assert solved > 5


@BOTH_WAYS
@pytest.mark.parametrize("with_range", [False, True])
def test_r1_and_r5_capped_fleets_equal_the_lp(
    random_sessions: Sessions, oracle: Any, options: OptimiserOptions, with_range: bool
) -> None:
    rng = np.random.default_rng(12)
    solved = 0
    for _ in range(30):
        sessions = random_sessions(rng, 7, 8, with_range=with_range)
        price = rng.uniform(-2, 5, 8)
        cap = rng.uniform(0.5, 4.0, 8)
        optimum = optimise(sessions, price, Coupling(cap_kwh=cap), options)
        expected = oracle.least_cost(sessions, price, cap)
        if expected is None:
            assert isinstance(optimum.outcome, Infeasible)
            continue
        solved += 1
        assert objective(optimum) == pytest.approx(expected, abs=1e-6)
        assert_followed(sessions, optimum)
        assert optimum.schedule_kwh is not None
        assert np.all(optimum.schedule_kwh <= cap + 1e-6)
    assert 5 <= solved <= 29


@BOTH_WAYS
def test_demand_charge_beside_other_load_equals_the_lp(
    random_sessions: Sessions, oracle: Any, options: OptimiserOptions
) -> None:
    rng = np.random.default_rng(13)
    for _ in range(15):
        sessions = random_sessions(rng, 6, 8)
        price, load = rng.uniform(0, 5, 8), rng.uniform(0, 3, 8)
        charge = DemandCharge(eur_per_peak_kwh=float(rng.uniform(0, 8)), peak_so_far_kwh=0.0, load_kwh=load)
        coupling = Coupling(cap_kwh=np.full(8, np.inf), demand_charge=charge)
        optimum = optimise(sessions, price, coupling, options)
        expected = oracle.least_cost(sessions, price, None, charge.eur_per_peak_kwh, load)
        assert objective(optimum) == pytest.approx(expected, abs=1e-5)
        assert_followed(sessions, optimum)


@BOTH_WAYS
def test_a_peak_already_reached_is_free_to_use(sessions_of: Sessions, options: OptimiserOptions) -> None:
    charge = DemandCharge(eur_per_peak_kwh=10.0, peak_so_far_kwh=3.0, load_kwh=np.zeros(2))
    coupling = Coupling(cap_kwh=np.full(2, np.inf), demand_charge=charge)
    optimum = optimise(sessions_of((0, 2, 2, 2), (0, 2, 2, 2)), np.array([0.0, 1.0]), coupling, options)
    assert optimum.schedule_kwh is not None
    np.testing.assert_allclose(optimum.schedule_kwh, [3, 1], atol=1e-6)
    assert objective(optimum) == pytest.approx(31)


def test_33_the_certificate_is_the_largest_excess_over_all_sets(random_sessions: Sessions, oracle: Any) -> None:
    rng = np.random.default_rng(5)
    infeasible = 0
    for _ in range(60):
        sessions = random_sessions(rng, 5, 6)
        cap = rng.uniform(0.2, 2.5, 6)
        worst = max(oracle.least(sessions, slots) - cap[slots].sum() for slots in oracle.subsets(6))
        optimum = optimise(sessions, rng.uniform(0, 1, 6), Coupling(cap_kwh=cap), BY_COLUMNS)
        assert isinstance(optimum.outcome, Infeasible) == (worst > 1e-6)
        if isinstance(optimum.outcome, Infeasible):
            infeasible += 1
            (conflict,) = optimum.outcome.conflicts
            assert conflict.missing_kwh == pytest.approx(worst, abs=1e-9)
            slots = np.isin(np.arange(6), conflict.slots)
            assert conflict.must_flow_kwh == pytest.approx(oracle.least(sessions, slots))
            named = sessions.select(np.array([int(name[1:]) for name in conflict.sessions]))
            assert oracle.least(named, slots) == pytest.approx(conflict.must_flow_kwh)
    assert 10 < infeasible < 60


def test_r9_a_tighter_cap_never_lowers_the_cost(
    city_sessions: Sessions, evening_prices: Callable[..., np.ndarray]
) -> None:
    sessions, price = city_sessions(300), evening_prices()
    free = respond_to_price(FlexibilityTable.build(sessions, 96), price)
    costs = []
    for share in (1.0, 0.8, 0.6, 0.45):
        coupling = Coupling(cap_kwh=np.full(96, share * free.max()))
        costs.append(objective(optimise(sessions, price, coupling, BY_COLUMNS)))
    assert costs == sorted(costs)
    assert costs[-1] > costs[0] + 0.01


@pytest.mark.parametrize("slot_count", [92, 96, 100])
def test_a_city_is_solved_the_same_both_ways(
    city_sessions: Sessions, evening_prices: Callable[..., np.ndarray], slot_count: int
) -> None:
    sessions, price = city_sessions(250, slot_count), evening_prices(slot_count)
    peak = respond_to_price(FlexibilityTable.build(sessions, slot_count), price).max()
    cap = np.full(slot_count, 0.5 * peak)
    cap[slot_count // 2 :] *= 0.8
    coupling = Coupling(cap_kwh=cap)
    by_columns = optimise(sessions, price, coupling, BY_COLUMNS)
    by_session = optimise(sessions, price, coupling, BY_SESSION)
    assert objective(by_columns) == pytest.approx(objective(by_session), rel=1e-6)
    assert_followed(sessions, by_columns)
    assert by_columns.schedule_kwh is not None
    assert by_columns.schedule_kwh.sum() == pytest.approx(sessions.energy_min_kwh.sum(), rel=1e-9)


def test_the_same_input_gives_the_same_result(
    city_sessions: Sessions, evening_prices: Callable[..., np.ndarray]
) -> None:
    sessions, price = city_sessions(400), evening_prices()
    coupling = Coupling(cap_kwh=np.full(96, 0.5 * sessions.rate_kwh_per_slot.sum() * 0.3))
    first, second = (optimise(sessions, price, coupling, BY_COLUMNS) for _ in range(2))
    assert pickle.dumps(first) == pickle.dumps(second)


def test_one_tick_equals_the_whole_schedule(random_sessions: Sessions) -> None:
    rng = np.random.default_rng(14)
    sessions = random_sessions(rng, 40, 12, with_range=True)
    price = rng.uniform(-2, 5, 12)
    table = FlexibilityTable.build(sessions, 12)
    cap = np.full(12, 0.7 * respond_to_price(table, price).max())
    mixture = generate_columns(table, price, Coupling(cap_kwh=cap), part_count=4)
    assert len(mixture.parts) > 1
    assert max(len(part.weights) for part in mixture.parts) > 1
    points = FleetSetPoints(sessions, table, mixture)
    whole = points.schedule()
    np.testing.assert_allclose(whole.per_slot_kwh(12), mixture.schedule_kwh, atol=1e-12)
    for slot, drawn in points.by_slot():
        np.testing.assert_allclose(drawn, whole.at(slot), atol=1e-12)
    in_blocks = np.zeros(len(whole.energy_kwh))
    for block in points.blocks():
        for row, energy in zip(block.row, block.energy_kwh, strict=True):
            in_blocks[whole.offset[row] : whole.offset[row + 1]] = energy
    np.testing.assert_allclose(in_blocks, whole.energy_kwh, atol=1e-12)


@pytest.mark.parametrize("slot_count", [12, 96])
def test_mixing_a_fleet_in_parts_finds_the_same_optimum_sooner(random_sessions: Sessions, slot_count: int) -> None:
    rng = np.random.default_rng(31)
    sessions = random_sessions(rng, 300, slot_count, with_range=True)
    price = rng.uniform(-2, 5, slot_count)
    table = FlexibilityTable.build(sessions, slot_count)
    coupling = Coupling(cap_kwh=np.full(slot_count, 0.6 * respond_to_price(table, price).max()))
    whole, parted = (generate_columns(table, price, coupling, part_count=count) for count in (1, 8))
    assert (len(whole.parts), len(parted.parts)) == (1, 8)
    assert whole.is_proved
    assert parted.is_proved
    assert parted.objective_eur == pytest.approx(whole.objective_eur, rel=2e-6)
    assert parted.iteration_count <= whole.iteration_count
    windows = np.concatenate([part.windows for part in parted.parts])
    np.testing.assert_array_equal(np.sort(windows), table.occupied_windows)


def test_a_spent_budget_is_said(
    monkeypatch: pytest.MonkeyPatch, city_sessions: Sessions, evening_prices: Callable[..., np.ndarray]
) -> None:
    # From a good start there is nearly always a schedule at once.
    monkeypatch.setattr("bidding.optimum.decomposition.ASCENT_STEPS", 0)
    sessions, price = city_sessions(400), evening_prices()
    peak = respond_to_price(FlexibilityTable.build(sessions, 96), price).max()

    def outcome(iteration_limit: int, share: float = 0.6) -> object:
        options = OptimiserOptions(limits=SearchLimits(iteration_limit=iteration_limit), session_model_limit=0)
        return optimise(sessions, price, Coupling(cap_kwh=np.full(96, share * peak)), options).outcome

    assert outcome(2, share=0.35) == TimedOut(iteration_count=3)
    halfway = outcome(12)
    assert isinstance(halfway, Feasible)
    done = outcome(2000)
    assert isinstance(done, Proved)
    assert halfway.gap_eur > 0.0
    assert halfway.objective_eur - halfway.gap_eur <= done.objective_eur <= halfway.objective_eur


@BOTH_WAYS
def test_when_needs_do_not_fit_the_most_is_served(
    random_sessions: Sessions, oracle: Any, options: OptimiserOptions
) -> None:
    rng = np.random.default_rng(15)
    for _ in range(20):
        sessions = random_sessions(rng, 5, 6)
        cap = rng.uniform(0.0, 1.5, 6)
        worst = max(oracle.least(sessions, slots) - cap[slots].sum() for slots in oracle.subsets(6))
        best = serve_most(sessions, rng.uniform(-1, 3, 6), Coupling(cap_kwh=cap), options)
        assert best.schedule_kwh is not None
        assert np.all(best.schedule_kwh <= cap + 1e-6)
        served = sessions.energy_min_kwh.sum() - max(worst, 0.0)
        assert best.schedule_kwh.sum() == pytest.approx(served, abs=1e-5)
        assert best.session_schedule is not None
        missing = sessions.energy_min_kwh - best.session_schedule.total_kwh()
        assert sum(slack.missing_kwh for slack in best.departure_slack) == pytest.approx(max(worst, 0.0), abs=2e-5)
        for slack in best.departure_slack:
            assert slack.session == sessions.name_of(slack.row)
            assert slack.missing_kwh == missing[slack.row]
        amounts = [slack.missing_kwh for slack in best.departure_slack]
        assert amounts == sorted(amounts, reverse=True)


@BOTH_WAYS
def test_whoever_leaves_without_energy_is_named(sessions_of: Sessions, options: OptimiserOptions) -> None:
    sessions = sessions_of((0, 1, 1, 1), (1, 3, 2, 3), (3, 4, 1, 1))
    best = serve_most(sessions, np.array([1.0, 2, 3, 4]), Coupling(cap_kwh=np.array([0.75, 1, 1, 1])), options)
    assert [(slack.session, slack.row) for slack in best.departure_slack] == [("s1", 1), ("s0", 0)]
    assert [slack.missing_kwh for slack in best.departure_slack] == pytest.approx([1.0, 0.25], abs=1e-6)
    assert optimise(sessions, np.ones(4), Coupling(cap_kwh=np.full(4, 9.0)), options).departure_slack == ()


@pytest.mark.parametrize("algorithm", ["simplex", "ipm", None])
def test_every_algorithm_of_the_session_model_finds_the_optimum(
    city_sessions: Sessions, evening_prices: Callable[..., np.ndarray], algorithm: str | None
) -> None:
    sessions, price = city_sessions(120), evening_prices()
    coupling = Coupling(cap_kwh=np.full(96, 0.6 * respond_to_price(FlexibilityTable.build(sessions, 96), price).max()))
    found = solve_session_model(sessions, price, coupling, algorithm=algorithm)
    assert found is not None
    slot = session_schedule(sessions, found.variables).slot
    expected = objective(optimise(sessions, price, coupling, BY_COLUMNS))
    assert float(price[slot] @ found.variables) == pytest.approx(expected, rel=1e-6)


def test_nobody_there_is_a_schedule_of_zeros(sessions_of: Sessions) -> None:
    nobody = sessions_of((0, 1, 1, 1)).select(np.zeros(0, dtype=int))
    optimum = optimise(nobody, np.ones(4), Coupling(cap_kwh=np.zeros(4)))
    assert optimum.schedule_kwh is not None
    assert not optimum.schedule_kwh.any()
    charge = DemandCharge(eur_per_peak_kwh=1.0, peak_so_far_kwh=0.0, load_kwh=np.ones(4))
    charged = optimise(nobody, np.ones(4), Coupling(cap_kwh=np.ones(4), demand_charge=charge))
    assert objective(charged) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("build", "field"),
    [
        (lambda: Coupling(cap_kwh=np.array([1.0, -1.0])), "cap_kwh[1]"),
        (lambda: Coupling(cap_kwh=np.array([np.nan, 1.0])), "cap_kwh[0]"),
        (lambda: Coupling(cap_kwh=np.zeros(0)), "cap_kwh"),
        (
            lambda: DemandCharge(eur_per_peak_kwh=-1.0, peak_so_far_kwh=0.0, load_kwh=np.zeros(2)),
            "demand_charge.eur_per_peak_kwh",
        ),
        (
            lambda: Coupling(
                cap_kwh=np.zeros(3),
                demand_charge=DemandCharge(eur_per_peak_kwh=1.0, peak_so_far_kwh=0.0, load_kwh=np.zeros(2)),
            ),
            "demand_charge.load_kwh",
        ),
    ],
)
def test_a_bad_coupling_is_refused_by_name(build: Callable[[], object], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        build()
    assert refused.value.field == field


def test_a_price_with_a_gap_is_refused(sessions_of: Sessions) -> None:
    with pytest.raises(InvalidInput) as refused:
        optimise(sessions_of((0, 2, 1, 1)), np.array([1.0, np.nan]), Coupling(cap_kwh=np.ones(2)))
    assert refused.value.field == "price_eur_per_kwh[1]"


CLAIM: dict[str, Any] = {
    "row": np.array([0, 0, 1, 1]),
    "slot": np.array([0, 1, 1, 2]),
    "energy_kwh": np.array([1.0, 0.5, 1.0, 0.0]),
    "schedule_kwh": np.array([1.0, 1.5, 0.0]),
    "objective_eur": 1.0 + 3.0 + 0.5 * 2.5,
}


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("slot", np.array([0, 2, 1, 2]), "window"),
        ("energy_kwh", np.array([1.5, 0.0, 1.0, 0.0]), "rate"),
        ("energy_kwh", np.array([1.0, 0.5, 1.0, -0.1]), "rate"),
        ("energy_kwh", np.array([1.0, 0.4, 1.0, 0.0]), "energy"),
        ("energy_kwh", np.array([1.0, 0.5, 1.0, 0.6]), "energy"),
        ("energy_kwh", np.array([1.0, np.nan, 1.0, 0.0]), "energy"),
        ("schedule_kwh", np.array([1.0, 1.6, 0.0]), "cap"),
        ("schedule_kwh", np.array([1.0, 1.4, 0.0]), "sum"),
        ("objective_eur", 5.0, "objective"),
    ],
)
def test_the_recheck_finds_every_kind_of_fault(sessions_of: Sessions, field: str, value: object, rule: str) -> None:
    sessions = sessions_of((0, 2, 1, 1.5), (1, 3, 1, 1, 1.5))
    terms = Terms(
        price_eur_per_kwh=np.array([1.0, 2.0, 3.0]),
        cap_kwh=np.array([2.0, 1.5, np.inf]),
        load_kwh=np.array([0.0, 1.0, 0.0]),
        eur_per_peak_kwh=0.5,
        peak_so_far_kwh=0.0,
    )
    assert recheck(sessions, Claim(**CLAIM), terms) == ()
    broken = recheck(sessions, Claim(**{**CLAIM, field: value}), terms)
    assert rule in {violation.rule for violation in broken}


def test_a_wrong_solution_is_never_returned(sessions_of: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bidding.optimum.optimise.PriceResponse.schedule", lambda self, price: np.ones(len(price)))
    with pytest.raises(SolutionRejected, match="sum") as rejected:
        optimise(sessions_of((0, 2, 1, 1)), np.array([1.0, 2.0]), Coupling(cap_kwh=np.full(2, 9.0)))
    copy = pickle.loads(pickle.dumps(rejected.value))  # noqa: S301  # bytes of our own
    assert copy.violations == rejected.value.violations
    assert isinstance(copy.violations[0], Violation)
