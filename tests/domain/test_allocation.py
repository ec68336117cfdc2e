"""The split over the tree against brute force and progressive filling on random trees."""

from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.allocation import Demand, TreeLevels, allocate, allocate_within, clip
from gateway.domain.topology import SiteTree

TOLERANCE = 1e-9


@dataclass
class Case:
    tree: SiteTree
    levels: TreeLevels
    caps: np.ndarray
    demand: Demand

    def ancestors(self, charger: int) -> list[int]:
        found, node = [], int(self.tree.charger_node[charger])
        while node >= 0:
            found.append(node)
            node = int(self.tree.parent[node])
        return found

    def fits(self, chosen: tuple[int, ...]) -> bool:
        load = np.zeros(len(self.caps))
        for charger in chosen:
            for node in self.ancestors(charger):
                load[node] += self.demand.min_kw[charger]
        return bool((load <= self.caps + TOLERANCE).all())


def make_case(seed: int, *, chargers: int, minima: tuple[float, ...], must_run: bool = False) -> Case:
    generator = np.random.default_rng(seed)
    count = int(generator.integers(1, 7))
    parent = [-1] + [int(generator.integers(0, n)) for n in range(1, count)]
    level = [0]
    for up in parent[1:]:
        level.append(level[up] + 1)
    order = np.argsort(level, kind="stable")
    rename = np.argsort(order)
    tree = SiteTree(
        node_ids=tuple(f"n{i}" for i in range(count)),
        parent=np.array([-1 if parent[i] < 0 else rename[parent[i]] for i in order], dtype=np.int32),
        level=np.array([level[i] for i in order], dtype=np.int32),
        rating_kw=np.full(count, 1e9),
        charger_ids=tuple(f"c{i}" for i in range(chargers)),
        charger_node=np.sort(generator.integers(0, count, chargers)).astype(np.int32),
    )
    low = generator.choice(minima, size=chargers)
    demand = Demand(
        wanted_kw=np.where(generator.random(chargers) < 0.2, 0.0, low + generator.uniform(0.0, 12.0, chargers)),
        min_kw=low,
        priority=generator.permutation(chargers).astype(float),
        weight=generator.choice([0.25, 1.0, 3.0], size=chargers),
        must_run=generator.random(chargers) < (0.4 if must_run else 0.0),
        reserved_kw=np.zeros(chargers),
    )
    caps = generator.uniform(0.0, 1.2, count) * max(1.0, float(demand.wanted_kw.sum())) * 0.6
    return Case(tree=tree, levels=TreeLevels.of(tree), caps=caps, demand=demand)


def wants(case: Case) -> list[int]:
    return [i for i, kw in enumerate(case.demand.wanted_kw) if kw > 0.0]


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_with_one_minimum_the_active_set_has_the_highest_total_priority(seed: int) -> None:
    case = make_case(seed, chargers=7, minima=(4.14,))
    setpoints = allocate(case.levels, case.caps, case.demand)
    best = max(
        (sum(2.0 ** case.demand.priority[i] for i in chosen), chosen)
        for size in range(len(wants(case)) + 1)
        for chosen in combinations(wants(case), size)
        if case.fits(chosen)
    )
    assert tuple(np.flatnonzero(setpoints > 0.0)) == best[1]


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_with_different_minima_nobody_who_still_fits_is_left_out(seed: int) -> None:
    case = make_case(seed, chargers=8, minima=(1.38, 4.14, 10.0))
    active = tuple(np.flatnonzero(allocate(case.levels, case.caps, case.demand) > 0.0).tolist())
    assert case.fits(active)
    assert not any(case.fits((*active, i)) for i in wants(case) if i not in active)


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_the_first_in_priority_always_charges_when_it_fits_alone(seed: int) -> None:
    case = make_case(seed, chargers=8, minima=(1.38, 4.14, 10.0))
    alone = [i for i in wants(case) if case.fits((i,))]
    if alone:
        first = max(alone, key=lambda i: case.demand.priority[i])
        leaf_rivals = [i for i in wants(case) if case.demand.priority[i] > case.demand.priority[first]]
        if not leaf_rivals:
            assert allocate(case.levels, case.caps, case.demand)[first] > 0.0


def fill_progressively(case: Case, active: np.ndarray) -> np.ndarray:
    """Weighted max-min fair by the textbook: raise all together, freeze whoever meets a full node or its wish."""
    setpoints = np.where(active, case.demand.min_kw, 0.0)
    rising = {int(i) for i in np.flatnonzero(active)}
    while rising:
        slack = case.caps - case.levels.totals(setpoints)
        step = min((case.demand.wanted_kw[i] - setpoints[i]) / case.demand.weight[i] for i in rising)
        for node in range(len(case.caps)):
            speed = sum(case.demand.weight[i] for i in rising if node in case.ancestors(i))
            if speed > 0.0:
                step = min(step, max(0.0, slack[node]) / speed)
        for i in rising:
            setpoints[i] += case.demand.weight[i] * step
        slack = case.caps - case.levels.totals(setpoints)
        done = {
            i
            for i in rising
            if setpoints[i] >= case.demand.wanted_kw[i] - 1e-9 or any(slack[n] <= 1e-9 for n in case.ancestors(i))
        }
        if not done:
            break
        rising -= done
    return setpoints


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_powers_are_weighted_max_min_fair(seed: int) -> None:
    case = make_case(seed, chargers=12, minima=(1.38, 4.14))
    setpoints = allocate(case.levels, case.caps, case.demand)
    assert setpoints == pytest.approx(fill_progressively(case, setpoints > 0.0), abs=1e-6)


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_no_cap_is_exceeded_and_nobody_is_between_zero_and_its_minimum(seed: int) -> None:
    case = make_case(seed, chargers=30, minima=(1.38, 4.14, 6.0), must_run=True)
    generator = np.random.default_rng(seed)
    reserved = np.where(generator.random(30) < 0.2, 3.0, 0.0)
    demand = replace(case.demand, reserved_kw=reserved)
    setpoints = allocate(case.levels, case.caps, demand)
    room = np.maximum(case.caps - case.levels.totals(reserved), 0.0)
    assert (case.levels.totals(setpoints) <= room + TOLERANCE).all()
    assert ((setpoints == 0.0) | (setpoints >= demand.min_kw)).all()
    assert (setpoints <= demand.wanted_kw + TOLERANCE).all()
    assert (setpoints[reserved > 0.0] == 0.0).all()


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_must_run_chargers_get_what_they_would_get_alone(seed: int) -> None:
    case = make_case(seed, chargers=12, minima=(4.14,), must_run=True)
    alone = replace(case.demand, wanted_kw=np.where(case.demand.must_run, case.demand.wanted_kw, 0.0))
    together = allocate(case.levels, case.caps, case.demand)
    first = allocate(case.levels, case.caps, alone)
    assert together[case.demand.must_run] == pytest.approx(first[case.demand.must_run])


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_only_must_run_chargers_exceed_the_target_and_never_a_cap(seed: int) -> None:
    case = make_case(seed, chargers=12, minima=(4.14,), must_run=True)
    target = case.caps * 0.5
    setpoints = allocate_within(case.levels, case.caps, target, case.demand)
    total = case.levels.totals(setpoints)
    urgent = case.levels.totals(np.where(case.demand.must_run, setpoints, 0.0))
    assert (total <= np.maximum(target, urgent) + TOLERANCE).all()
    assert (total <= case.caps + TOLERANCE).all()


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10**6), share=st.floats(0.0, 1.0))
def test_clip_only_lowers_keeps_the_minimum_rule_and_every_cap(seed: int, share: float) -> None:
    case = make_case(seed, chargers=30, minima=(1.38, 4.14))
    before = allocate(case.levels, case.caps, case.demand)
    caps = case.caps * share
    after = clip(case.levels, caps, before, min_kw=case.demand.min_kw, priority=case.demand.priority)
    assert (after <= before + TOLERANCE).all()
    assert (case.levels.totals(after) <= caps + TOLERANCE).all()
    assert ((after == 0.0) | (after >= case.demand.min_kw - TOLERANCE)).all()


def test_clip_returns_the_same_array_when_nothing_has_to_change() -> None:
    case = make_case(1, chargers=10, minima=(4.14,))
    before = allocate(case.levels, case.caps, case.demand)
    assert clip(case.levels, case.caps, before, min_kw=case.demand.min_kw, priority=case.demand.priority) is before


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_totals_are_those_of_the_tree(seed: int) -> None:
    case = make_case(seed, chargers=20, minima=(4.14,))
    values = np.random.default_rng(seed).random(20)
    assert case.levels.totals(values) == pytest.approx(case.tree.sum_up(values))
    for i, node_id in enumerate(case.tree.node_ids):
        marked = np.zeros(len(case.caps), dtype=bool)
        marked[i] = True
        assert (case.levels.is_below(marked) == case.tree.below(node_id)).all()


def test_a_tenant_without_chargers_is_no_special_case() -> None:
    levels = TreeLevels.of(SiteTree.build([], []))
    nothing = np.zeros(0)
    demand = Demand(
        wanted_kw=nothing,
        min_kw=nothing,
        priority=nothing,
        weight=nothing,
        must_run=nothing.astype(bool),
        reserved_kw=nothing,
    )
    assert allocate(levels, nothing, demand).shape == (0,)
