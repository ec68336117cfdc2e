"""Trees of limits against a sparse LP with a variable per session and slot, and the cut that explains when nothing fits."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import linprog

from bidding.arrays import ragged_ranges
from bidding.fleet.sessions import SessionArrays, uncontrolled_schedule
from bidding.optimum.decomposition import SearchLimits
from bidding.optimum.outcome import Conflict, Feasible, Infeasible, Proved, SolutionRejected, TimedOut
from bidding.optimum.recheck import Following, recheck_tree
from bidding.optimum.site_tree import SiteTree, members_of
from bidding.optimum.tree_optimum import TreeOptimum, optimise_tree
from gateway.domain.errors import InvalidInput

Sessions = Callable[..., SessionArrays]
BY_COLUMNS, BY_SESSION = 0, 10**9
"""Values of `sessions_per_member` that choose one of the two ways to the same optimum."""
both_ways = pytest.mark.parametrize(
    "way", [pytest.param(BY_COLUMNS, id="by-columns"), pytest.param(BY_SESSION, id="by-session")]
)


def tree_of(*nodes: tuple[str, int, Any], slot_count: int) -> SiteTree:
    caps = np.array([np.broadcast_to(np.asarray(cap, dtype=float), slot_count) for _, _, cap in nodes])
    return SiteTree(
        names=tuple(name for name, _, _ in nodes), parent=np.array([parent for _, parent, _ in nodes]), cap_kwh=caps
    )


def random_tree(rng: np.random.Generator, node_count: int, slot_count: int, tightness: float) -> SiteTree:
    """A root and nodes below it at any depth; some without a limit, some limited in some slots only."""
    parent = np.array([-1] + [int(rng.integers(0, node)) for node in range(1, node_count)])
    cap = rng.uniform(0.5, 4.0, (node_count, slot_count)) * tightness
    cap[rng.random(node_count) < 0.3] = np.inf
    cap[:, rng.random(slot_count) < 0.2] = np.inf
    cap[0] *= 2.0
    return SiteTree(names=tuple(f"n{i}" for i in range(node_count)), parent=parent, cap_kwh=cap)


def entries_of(sessions: SessionArrays) -> tuple[np.ndarray, np.ndarray]:
    length = sessions.window_length
    return np.repeat(np.arange(len(sessions)), length), ragged_ranges(sessions.arrival_slot, length)


def limit_rows(tree: SiteTree, node: np.ndarray, row: np.ndarray, slot: np.ndarray) -> tuple[Any, np.ndarray]:
    """Sparse rows of all finite limits over (session, slot) entries, climbing from each session to its root."""
    slot_count = tree.cap_kwh.shape[1]
    cells, columns = [], []
    for entry, (session, at) in enumerate(zip(row, slot, strict=True)):
        place = int(node[session])
        while place >= 0:
            cells.append(place * slot_count + at)
            columns.append(entry)
            place = int(tree.parent[place])
    matrix = sp.csr_matrix((np.ones(len(cells)), (cells, columns)), shape=(tree.cap_kwh.size, len(row)))
    finite = np.flatnonzero(np.isfinite(tree.cap_kwh.ravel()))
    return matrix[finite], tree.cap_kwh.ravel()[finite]


def by_lp(
    sessions: SessionArrays, node: np.ndarray, price: np.ndarray, tree: SiteTree, *, may_miss: bool = False
) -> float | None:
    """Least cost, None when nothing fits; with `may_miss` the least energy that cannot be delivered."""
    row, slot = entries_of(sessions)
    count, size = len(sessions), len(row)
    charged: Any = sp.csr_matrix((np.ones(size), (row, np.arange(size))), shape=(count, size))
    limits, caps = limit_rows(tree, node, row, slot)
    missed = sp.eye(count) if may_miss else sp.csr_matrix((count, count))
    matrix: Any = sp.vstack(
        [
            sp.hstack([charged, sp.csr_matrix((count, count))]),
            sp.hstack([-charged, -missed]),
            sp.hstack([limits, sp.csr_matrix((limits.shape[0], count))]),
        ]
    ).tocsr()
    cost = np.zeros(size) if may_miss else price[slot]
    result = linprog(
        np.concatenate([cost, np.ones(count)]),
        A_ub=matrix,
        b_ub=np.concatenate([sessions.energy_max_kwh, -sessions.energy_min_kwh, caps]),
        bounds=[*((0.0, rate) for rate in sessions.rate_kwh_per_slot[row]), *((0.0, None),) * count],
        method="highs",
    )
    if result.status != 0:
        return None
    assert result.fun is not None
    return float(result.fun)


def assert_inside(sessions: SessionArrays, node: np.ndarray, tree: SiteTree, best: TreeOptimum) -> None:
    plan = best.session_schedule
    assert plan is not None
    assert best.node_kwh is not None
    total = plan.total_kwh()
    assert np.all(total >= sessions.energy_min_kwh - 1e-7)
    assert np.all(total <= sessions.energy_max_kwh + 1e-7)
    limits, caps = limit_rows(tree, node, plan.row, plan.slot)
    assert np.all(limits @ plan.energy_kwh <= caps + 1e-5)
    own = np.zeros(tree.cap_kwh.shape)
    for node_number in range(len(tree.names)):
        below = np.array([node_number in path_of(tree, int(one)) for one in node], dtype=bool)
        here = below[plan.row]
        own[node_number] = np.bincount(plan.slot[here], plan.energy_kwh[here], minlength=tree.slot_count)
    np.testing.assert_allclose(best.node_kwh, own, atol=1e-9)


def path_of(tree: SiteTree, node: int) -> list[int]:
    return [] if node < 0 else [node, *path_of(tree, int(tree.parent[node]))]


@both_ways
@pytest.mark.parametrize(("slot_count", "with_range"), [(12, False), (24, True)])
def test_random_trees_equal_the_lp(random_sessions: Sessions, slot_count: int, with_range: bool, way: int) -> None:
    rng = np.random.default_rng(51)
    solved, impossible = 0, 0
    for _ in range(20):
        sessions = random_sessions(rng, 14, slot_count, with_range=with_range)
        tree = random_tree(rng, 6, slot_count, 1.6)
        node, price = rng.integers(0, 6, 14), rng.uniform(-1, 5, slot_count)
        expected = by_lp(sessions, node, price, tree)
        best = optimise_tree(sessions, node, price, tree, sessions_per_member=way)
        if expected is None:
            impossible += 1
            assert isinstance(best.outcome, Infeasible)
            continue
        solved += 1
        assert isinstance(best.outcome, Proved)
        assert best.outcome.objective_eur == pytest.approx(expected, abs=1e-5)
        assert best.outcome.lower_bound_eur <= expected + 1e-7
        assert_inside(sessions, node, tree, best)
    assert solved >= 4
    assert impossible >= 2


@both_ways
def test_what_cannot_be_delivered_is_what_the_cuts_miss(random_sessions: Sessions, way: int) -> None:
    rng = np.random.default_rng(52)
    impossible, more_than_one_limit = 0, 0
    for _ in range(25):
        sessions = random_sessions(rng, 12, 8)
        tree = random_tree(rng, 5, 8, 1.0)
        node, price = rng.integers(0, 5, 12), rng.uniform(0, 1, 8)
        missing = by_lp(sessions, node, price, tree, may_miss=True)
        best = optimise_tree(sessions, node, price, tree, sessions_per_member=way)
        assert missing is not None
        assert isinstance(best.outcome, Infeasible) == (missing > 1e-6)
        if isinstance(best.outcome, Infeasible):
            impossible += 1
            assert sum(conflict.missing_kwh for conflict in best.outcome.conflicts) == pytest.approx(missing, abs=1e-6)
            for conflict in best.outcome.conflicts:
                more_than_one_limit += len(conflict.limits) > 1
                assert_true_of(conflict, sessions, node, tree)
    assert impossible >= 10
    assert more_than_one_limit >= 3


def assert_true_of(conflict: Conflict, sessions: SessionArrays, node: np.ndarray, tree: SiteTree) -> None:
    """The limits allow what is said, and the sessions named must draw what is said in the slots their limits cover."""
    allowed, must = 0.0, 0.0
    for limit in conflict.limits:
        allowed += tree.cap_kwh[tree.names.index(limit.node), list(limit.slots)].sum()
    for row in range(len(sessions)):
        path = path_of(tree, int(node[row]))
        covered = np.zeros(tree.slot_count, dtype=bool)
        for limit in conflict.limits:
            if tree.names.index(limit.node) in path:
                covered[list(limit.slots)] = True
        here = np.arange(sessions.arrival_slot[row], sessions.departure_slot[row])
        elsewhere = sessions.rate_kwh_per_slot[row] * (~covered[here]).sum()
        forced = max(0.0, float(sessions.energy_min_kwh[row] - elsewhere))
        must += forced
        assert (sessions.name_of(row) in conflict.sessions) == (forced > 1e-9)
    assert conflict.allowed_kwh == pytest.approx(allowed)
    assert conflict.must_flow_kwh == pytest.approx(must, abs=1e-7)


def test_a_feeder_too_small_is_named_with_slots_and_energy(sessions_of: Sessions) -> None:
    sessions = sessions_of((0, 2, 3, 5), (0, 2, 3, 2), (0, 4, 1, 1))
    tree = tree_of(("site", -1, 10.0), ("north", 0, 2.5), ("south", 0, 2.0), slot_count=4)
    best = optimise_tree(sessions, np.array([1, 1, 2]), np.ones(4), tree)
    assert isinstance(best.outcome, Infeasible)
    (conflict,) = best.outcome.conflicts
    (limit,) = conflict.limits
    assert (limit.node, limit.slots, limit.allowed_kwh) == ("north", (0, 1), 5.0)
    assert conflict.missing_kwh == pytest.approx(2.0, abs=1e-8)
    assert conflict.sessions == ("s0", "s1")


def test_two_feeders_too_small_are_two_conflicts_the_worse_first(sessions_of: Sessions) -> None:
    sessions = sessions_of((0, 1, 3, 3), (2, 3, 4, 4))
    tree = tree_of(("site", -1, np.inf), ("north", 0, 2.5), ("south", 0, 2.0), slot_count=4)
    best = optimise_tree(sessions, np.array([1, 2]), np.ones(4), tree)
    assert isinstance(best.outcome, Infeasible)
    assert [conflict.limits[0].node for conflict in best.outcome.conflicts] == ["south", "north"]
    assert [conflict.slots for conflict in best.outcome.conflicts] == [(2,), (0,)]


def test_a_feeder_and_the_site_may_be_too_small_only_together(sessions_of: Sessions) -> None:
    """The feeder pushes its car into the second slot, where the site has no room left."""
    sessions = sessions_of((0, 2, 2, 3), (1, 2, 2, 2))
    tree = tree_of(("site", -1, [9.0, 3.0]), ("feeder", 0, [0.5, 9.0]), slot_count=2)
    best = optimise_tree(sessions, np.array([1, 0]), np.ones(2), tree)
    assert isinstance(best.outcome, Infeasible)
    (conflict,) = best.outcome.conflicts
    assert [(limit.node, limit.slots) for limit in conflict.limits] == [("site", (1,)), ("feeder", (0,))]
    assert (conflict.must_flow_kwh, conflict.allowed_kwh) == pytest.approx((5.0, 3.5), abs=1e-8)


@pytest.mark.parametrize("slot_count", [92, 96, 100])
def test_a_portfolio_of_sites_and_feeders_equals_the_lp(
    city_sessions: Sessions, evening_prices: Callable[..., np.ndarray], slot_count: int
) -> None:
    sessions, price = city_sessions(250, slot_count), evening_prices(slot_count)
    rng = np.random.default_rng(53)
    parent = np.array([-1, 0, 0, 1, 1, 2, 2])
    node = rng.integers(3, 7, len(sessions))
    peak = uncontrolled_schedule(sessions, sessions.energy_min_kwh, slot_count).max()
    share = np.array([0.55, 0.32, 0.3, 0.2, 0.2, 0.2, 0.2])
    tree = SiteTree(
        names=("portfolio", "a", "b", "a1", "a2", "b1", "b2"),
        parent=parent,
        cap_kwh=np.repeat(share[:, None] * peak, slot_count, axis=1),
    )
    best = optimise_tree(sessions, node, price, tree, sessions_per_member=BY_COLUMNS)
    assert isinstance(best.outcome, Proved)
    assert best.outcome.gap_eur <= 1.01e-6 * best.outcome.objective_eur
    assert_inside(sessions, node, tree, best)
    assert best.node_kwh is not None
    assert best.node_kwh[0].sum() == pytest.approx(sessions.energy_min_kwh.sum(), rel=1e-9)
    if slot_count == 96:
        assert best.outcome.objective_eur == pytest.approx(by_lp(sessions, node, price, tree), rel=1e-6)
    assert best.room_price_eur_per_kwh is not None
    binding = best.room_price_eur_per_kwh > 1e-5
    assert binding[0].any()
    assert np.all(best.node_kwh[binding] >= 0.98 * tree.cap_kwh[binding])


def test_r9_a_tighter_feeder_never_lowers_the_cost(random_sessions: Sessions) -> None:
    rng = np.random.default_rng(54)
    sessions, node, price = random_sessions(rng, 20, 10), rng.integers(1, 3, 20), rng.uniform(0, 5, 10)
    costs = []
    for cap in (30.0, 9.0, 7.0, 6.0):
        tree = tree_of(("site", -1, 14.0), ("left", 0, cap), ("right", 0, np.inf), slot_count=10)
        outcome = optimise_tree(sessions, node, price, tree).outcome
        if isinstance(outcome, Proved):
            costs.append(outcome.objective_eur)
    assert len(costs) >= 3
    assert costs == sorted(costs)


def test_sessions_with_the_same_limits_are_one_member(random_sessions: Sessions) -> None:
    rng = np.random.default_rng(55)
    sessions = random_sessions(rng, 12, 6)
    tree = tree_of(("site", -1, 9.0), ("free", 0, np.inf), ("deep", 1, np.inf), ("feeder", 0, 3.0), slot_count=6)
    members = members_of(sessions, np.arange(12) % 4, tree)
    assert [len(member.rows) for member in members] == [9, 3]
    assert [member.above.tolist() for member in members] == [[True, False, False, False], [True, False, False, True]]


def test_a_spent_budget_is_said(city_sessions: Sessions, evening_prices: Callable[..., np.ndarray]) -> None:
    sessions, price = city_sessions(200), evening_prices()
    peak = uncontrolled_schedule(sessions, sessions.energy_min_kwh, 96).max()
    tree = tree_of(("site", -1, 0.5 * peak), ("left", 0, 0.3 * peak), ("right", 0, 0.3 * peak), slot_count=96)
    node = np.arange(200) % 2 + 1
    by_columns = partial(optimise_tree, sessions, node, price, tree, sessions_per_member=BY_COLUMNS)
    assert isinstance(by_columns(limits=SearchLimits(iteration_limit=3)).outcome, TimedOut)
    done = by_columns()
    halfway = by_columns(limits=SearchLimits(relative_gap=1e-12, iteration_limit=done.iteration_count - 3)).outcome
    assert isinstance(halfway, Feasible)
    assert isinstance(done.outcome, Proved)
    assert halfway.lower_bound_eur <= done.outcome.objective_eur


def test_nobody_anywhere_is_a_schedule_of_zeros(sessions_of: Sessions) -> None:
    nobody = sessions_of((0, 1, 1, 1)).select(np.zeros(0, dtype=int))
    best = optimise_tree(nobody, np.zeros(0, dtype=int), np.ones(3), tree_of(("site", -1, 1.0), slot_count=3))
    assert best.outcome == Proved(objective_eur=0.0, lower_bound_eur=0.0)
    assert best.node_kwh is not None
    assert not best.node_kwh.any()


def test_no_limit_at_all_is_the_plain_price_response(sessions_of: Sessions) -> None:
    best = optimise_tree(
        sessions_of((0, 3, 1, 1)), np.array([0]), np.array([3.0, 1, 2]), tree_of(("site", -1, np.inf), slot_count=3)
    )
    assert best.node_kwh is not None
    assert best.node_kwh.tolist() == [[0, 1, 0]]


@pytest.mark.parametrize(
    ("build", "field"),
    [
        (lambda: tree_of(("a", 0, 1.0), slot_count=2), "tree.parent[0]"),
        (lambda: tree_of(("a", -1, 1.0), ("b", 2, 1.0), ("c", 0, 1.0), slot_count=2), "tree.parent[1]"),
        (lambda: tree_of(("a", -1, 1.0), ("a", 0, 1.0), slot_count=2), "tree.names"),
        (lambda: tree_of(("a", -1, 1.0), ("b", 0, [1.0, -1.0]), slot_count=2), "tree.cap_kwh[1]"),
        (lambda: tree_of(("a", -1, [np.nan, 1.0]), slot_count=2), "tree.cap_kwh[0]"),
        (lambda: SiteTree(names=("a",), parent=np.array([-1]), cap_kwh=np.ones((2, 3))), "tree.cap_kwh"),
    ],
    ids=["itself", "later", "twice", "negative", "nan", "rows"],
)
def test_a_tree_that_cannot_be_is_refused_by_name(build: Callable[[], object], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        build()
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("node", "price", "field"),
    [
        (np.array([0, 5]), np.ones(3), "node[1]"),
        (np.array([0]), np.ones(3), "node"),
        (np.array([0, 0]), np.array([1.0, np.inf, 1.0]), "price_eur_per_kwh[1]"),
        (np.array([0, 0]), np.ones(4), "price_eur_per_kwh"),
    ],
    ids=["unknown", "short", "infinite", "long"],
)
def test_sessions_at_no_node_are_refused_by_name(
    sessions_of: Sessions, node: np.ndarray, price: np.ndarray, field: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        optimise_tree(sessions_of((0, 3, 1, 1), (0, 3, 1, 1)), node, price, tree_of(("site", -1, 2.0), slot_count=3))
    assert refused.value.field == field


def test_the_recheck_climbs_to_every_limit() -> None:
    claim = Following(
        row=np.array([0, 1, 2]), slot=np.array([0, 0, 1]), energy_kwh=np.ones(3), schedule_kwh=np.array([2.0, 1.0])
    )
    node, parent = np.array([2, 1, 3]), np.array([-1, 0, 1, 0])
    caps = np.array([[2.0, 1.0], [2.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert recheck_tree(claim, node, parent, caps) == ()
    for number, slot in ((0, 0), (1, 0), (2, 0), (3, 1)):
        tighter = caps.copy()
        tighter[number, slot] -= 0.5
        assert [(v.rule, v.index) for v in recheck_tree(claim, node, parent, tighter)] == [
            (f"cap-of-node-{number}", slot)
        ]


def test_a_wrong_solution_is_never_returned(sessions_of: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "bidding.optimum.site_tree.PriceResponse.schedule", lambda self, price, *known: np.zeros(len(price))
    )
    sessions = sessions_of((0, 2, 2, 2), (0, 2, 2, 2))
    with pytest.raises(SolutionRejected, match="cap-of-node-0"):
        optimise_tree(
            sessions,
            np.array([0, 0]),
            np.array([1.0, 2.0]),
            tree_of(("site", -1, 2.0), slot_count=2),
            sessions_per_member=BY_COLUMNS,
        )
