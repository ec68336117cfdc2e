"""Demand charges inside a tree of limits, and who leaves short where a tree or a model leaves no room; LPs as oracles."""

from collections.abc import Callable

import cvxpy as cp
import numpy as np
import pytest
from scipy.optimize import linprog

from bidding.fleet.sessions import SessionArrays
from bidding.optimum.convex_optimum import serve_most_convex
from bidding.optimum.coupling import Coupling, DemandCharge
from bidding.optimum.decomposition import SearchLimits
from bidding.optimum.optimise import optimise, serve_most
from bidding.optimum.outcome import Infeasible, Proved
from bidding.optimum.site_tree import SiteTree
from bidding.optimum.terms import energy_cost, site_cap
from bidding.optimum.tree_optimum import optimise_tree, serve_most_in_tree
from gateway.domain.errors import InvalidInput

Sessions = Callable[..., SessionArrays]


def random_charged_tree(rng: np.random.Generator, node_count: int, slot_count: int, tightness: float) -> SiteTree:
    parent = np.array([-1] + [int(rng.integers(0, node)) for node in range(1, node_count)])
    cap = rng.uniform(1.0, 5.0, (node_count, slot_count)) * tightness
    cap[rng.random(node_count) < 0.5] = np.inf
    charges = [
        DemandCharge(
            eur_per_peak_kwh=float(rng.uniform(0.5, 8.0)),
            peak_so_far_kwh=float(rng.choice([0.0, 0.7])),
            load_kwh=rng.uniform(0.0, 1.0, slot_count),
        )
        if rng.random() < 0.7
        else None
        for _ in range(node_count)
    ]
    return SiteTree(
        names=tuple(f"n{i}" for i in range(node_count)), parent=parent, cap_kwh=cap, demand_charges=tuple(charges)
    )


def by_lp(sessions: SessionArrays, node: np.ndarray, price: np.ndarray, tree: SiteTree, worth: float = 0.0) -> float:
    """Least cost of a dense model: a variable per session and slot, a peak per node; with a worth needs may be missed."""
    count, slots, nodes = len(sessions), tree.slot_count, len(tree.names)
    size = count * slots
    below = tree.is_below[:, node]
    rows, limits = [], []
    for place in range(nodes):
        charge = tree.demand_charges[place]
        for slot in range(slots):
            drawn = np.zeros(size + nodes)
            drawn[slot:size:slots] = below[place]
            if np.isfinite(tree.cap_kwh[place, slot]):
                rows.append(drawn.copy())
                limits.append(tree.cap_kwh[place, slot])
            if charge is not None:
                drawn[size + place] = -1.0
                rows.append(drawn)
                limits.append(-charge.load_kwh[slot])
    for number in range(count):
        total = np.zeros(size + nodes)
        total[number * slots : (number + 1) * slots] = 1.0
        rows += [total, -total]
        most = sessions.energy_min_kwh if worth else sessions.energy_max_kwh
        limits += [most[number], 0.0 if worth else -sessions.energy_min_kwh[number]]
    rate = np.zeros((count, slots))
    for number in range(count):
        window = slice(int(sessions.arrival_slot[number]), int(sessions.departure_slot[number]))
        rate[number, window] = sessions.rate_kwh_per_slot[number]
    peaks = [(0.0 if charge is None else charge.peak_so_far_kwh, None) for charge in tree.demand_charges]
    cost = [0.0 if charge is None else charge.eur_per_peak_kwh for charge in tree.demand_charges]
    result = linprog(
        np.concatenate([np.tile(price - worth, count), cost]),
        A_ub=np.array(rows),
        b_ub=np.array(limits),
        bounds=[*((0.0, most) for most in rate.ravel()), *peaks],
        method="highs",
    )
    return np.inf if result.fun is None else float(result.fun)


@pytest.mark.parametrize("way", [pytest.param(0, id="by-columns"), pytest.param(10**9, id="by-session")])
@pytest.mark.parametrize("slot_count", [6, 12])
def test_random_charged_trees_equal_the_lp(random_sessions: Sessions, slot_count: int, way: int) -> None:
    rng = np.random.default_rng(71)
    solved, impossible = 0, 0
    for _ in range(25):
        sessions = random_sessions(rng, 8, slot_count, with_range=True)
        tree = random_charged_tree(rng, 5, slot_count, 1.5)
        node, price = rng.integers(0, 5, 8), rng.uniform(-1, 5, slot_count)
        expected = by_lp(sessions, node, price, tree)
        best = optimise_tree(sessions, node, price, tree, sessions_per_member=way)
        if np.isinf(expected):
            impossible += 1
            assert isinstance(best.outcome, Infeasible)
            continue
        solved += 1
        assert isinstance(best.outcome, Proved)
        assert best.outcome.objective_eur == pytest.approx(expected, abs=2e-5)
        assert best.outcome.lower_bound_eur <= expected + 1e-7
        assert best.node_kwh is not None
        paid = float(price @ best.node_kwh[0]) + tree.charges_eur(best.node_kwh)
        assert best.outcome.objective_eur == pytest.approx(paid, abs=1e-9)
    assert solved >= 15
    assert impossible >= 1


def test_17_two_cars_share_the_peak_where_it_costs_more_than_it_saves(sessions_of: Sessions) -> None:
    """Case 17 of the acceptance cases, the charge at the site above two circuits."""
    sessions = sessions_of((0, 2, 2.0, 2.0), (0, 2, 2.0, 2.0))
    price, node = np.array([0.0, 1.0]), np.array([1, 2])
    for eur, expected in ((10.0, 22.0), (0.25, 1.0)):
        charge = DemandCharge(eur_per_peak_kwh=eur, peak_so_far_kwh=0.0, load_kwh=np.zeros(2))
        tree = SiteTree(
            names=("site", "left", "right"),
            parent=np.array([-1, 0, 0]),
            cap_kwh=np.full((3, 2), np.inf),
            demand_charges=(charge, None, None),
        )
        best = optimise_tree(sessions, node, price, tree)
        assert isinstance(best.outcome, Proved)
        assert best.outcome.objective_eur == pytest.approx(expected, abs=1e-6)


def test_one_node_is_the_plain_optimum_with_its_charge(random_sessions: Sessions) -> None:
    rng = np.random.default_rng(72)
    sessions = random_sessions(rng, 40, 24)
    price = rng.uniform(0, 3, 24)
    charge = DemandCharge(eur_per_peak_kwh=4.0, peak_so_far_kwh=3.0, load_kwh=rng.uniform(0, 4, 24))
    cap = np.full(24, 0.8 * float(sessions.rate_kwh_per_slot.sum()))
    plain = optimise(sessions, price, Coupling(cap_kwh=cap, demand_charge=charge))
    tree = SiteTree(names=("site",), parent=np.array([-1]), cap_kwh=cap[None, :], demand_charges=(charge,))
    best = optimise_tree(sessions, np.zeros(40, dtype=np.int64), price, tree)
    assert isinstance(plain.outcome, Proved)
    assert isinstance(best.outcome, Proved)
    assert best.outcome.objective_eur == pytest.approx(plain.outcome.objective_eur, rel=3e-6)


def test_a_peak_that_was_measured_already_costs_nothing_more(sessions_of: Sessions) -> None:
    sessions = sessions_of((0, 4, 2.0, 4.0))
    charge = DemandCharge(eur_per_peak_kwh=100.0, peak_so_far_kwh=2.0, load_kwh=np.zeros(4))
    tree = SiteTree(names=("site",), parent=np.array([-1]), cap_kwh=np.full((1, 4), np.inf), demand_charges=(charge,))
    best = optimise_tree(sessions, np.zeros(1, dtype=np.int64), np.array([1.0, 9.0, 9.0, 2.0]), tree)
    assert isinstance(best.outcome, Proved)
    assert best.outcome.objective_eur == pytest.approx(206.0)


@pytest.mark.parametrize(
    ("charges", "field"),
    [
        pytest.param((None, None), "tree.demand_charges", id="one-too-many"),
        pytest.param(
            (DemandCharge(eur_per_peak_kwh=1.0, peak_so_far_kwh=0.0, load_kwh=np.zeros(3)),),
            "tree.demand_charges[0].load_kwh",
            id="another-day",
        ),
    ],
)
def test_charges_that_do_not_fit_are_refused_by_name(charges: tuple[DemandCharge | None, ...], field: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        SiteTree(names=("site",), parent=np.array([-1]), cap_kwh=np.ones((1, 4)), demand_charges=charges)
    assert refusal.value.field == field


# ---------------------------------------------------------------- needs that give way


def test_what_a_tree_can_serve_most_equals_the_lp_and_is_named(random_sessions: Sessions) -> None:
    rng = np.random.default_rng(73)
    short = 0
    for _ in range(12):
        sessions = random_sessions(rng, 8, 8)
        tree = random_charged_tree(rng, 4, 8, 0.5)
        node, price = rng.integers(0, 4, 8), rng.uniform(-1, 3, 8)
        best = serve_most_in_tree(sessions, node, price, tree)
        plan = best.session_schedule
        assert plan is not None
        worth = 1e4
        most = by_lp(sessions, node, np.zeros(8), free_of_charge(tree), worth)
        assert plan.total_kwh().sum() == pytest.approx(-most / worth, abs=1e-5)
        missing = sessions.energy_min_kwh - plan.total_kwh()
        assert sum(one.missing_kwh for one in best.departure_slack) == pytest.approx(missing.clip(0.0).sum(), abs=1e-6)
        assert [one.session for one in best.departure_slack] == [
            sessions.name_of(one.row) for one in best.departure_slack
        ]
        short += len(best.departure_slack)
    assert short >= 5


def free_of_charge(tree: SiteTree) -> SiteTree:
    return SiteTree(
        names=tree.names, parent=tree.parent, cap_kwh=tree.cap_kwh, demand_charges=(None,) * len(tree.names)
    )


def test_a_spent_budget_serves_nobody_inside_the_limits(random_sessions: Sessions) -> None:
    rng = np.random.default_rng(74)
    sessions = random_sessions(rng, 8, 8)
    tree = random_charged_tree(rng, 4, 8, 0.2)
    best = serve_most_in_tree(
        sessions, rng.integers(0, 4, 8), rng.uniform(0, 3, 8), tree, SearchLimits(iteration_limit=1)
    )
    assert best.node_kwh is not None
    assert np.all(best.node_kwh <= tree.cap_kwh + 1e-6)


def test_a_convex_model_serves_the_most_like_the_plain_optimum(random_sessions: Sessions) -> None:
    rng = np.random.default_rng(75)
    for _ in range(4):
        sessions = random_sessions(rng, 12, 8)
        price, cap = rng.uniform(0, 3, 8), np.full(8, 0.25 * float(sessions.rate_kwh_per_slot.sum()))
        plain = serve_most(sessions, price, Coupling(cap_kwh=cap))
        schedule = cp.Variable(8)
        model = energy_cost(schedule, price) + site_cap(schedule, cap)
        best = serve_most_convex(sessions, schedule, model, worth_eur_per_kwh=20.0)
        assert best.schedule_kwh is not None
        assert plain.schedule_kwh is not None
        assert best.schedule_kwh.sum() == pytest.approx(plain.schedule_kwh.sum(), rel=1e-5)
        assert sum(one.missing_kwh for one in best.departure_slack) == pytest.approx(
            sum(one.missing_kwh for one in plain.departure_slack), abs=1e-4
        )


@pytest.mark.parametrize("worth", [0.0, -1.0, np.nan, np.inf])
def test_a_worth_that_is_none_is_refused(sessions_of: Sessions, worth: float) -> None:
    schedule = cp.Variable(4)
    with pytest.raises(InvalidInput, match="worth_eur_per_kwh"):
        serve_most_convex(
            sessions_of((0, 4, 1.0, 2.0)), schedule, energy_cost(schedule, np.ones(4)), worth_eur_per_kwh=worth
        )
