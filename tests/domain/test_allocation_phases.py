"""The split per phase against progressive filling on random trees, unbalance, steps of chargers, and the clip per phase."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.domain.allocation import (
    Demand,
    PhaseBounds,
    Pilots,
    RunRules,
    RunTimes,
    TreeLevels,
    allocate,
    allocate_within,
    clip,
    quantise,
)
from gateway.domain.allocation.filling import _Rows
from gateway.domain.topology import SiteTree

FloatArray = npt.NDArray[np.float64]
TOLERANCE = 1e-9
VOLTS = 230.0
SIX_A = 6.0 * VOLTS / 1000.0


@dataclass(frozen=True)
class Case:
    """A random tree of up to four levels whose chargers use one, two, three or unknown phases."""

    levels: TreeLevels
    above: npt.NDArray[np.bool_]
    """Nodes above each charger, shape (C, N)."""
    caps: FloatArray
    phases: PhaseBounds
    demand: Demand

    def rows(self) -> tuple[FloatArray, FloatArray]:
        """Return every row as coefficients per charger, shape (R, C), and its room, shape (R,): totals first, then phases."""
        total = self.above.T.astype(float)
        per_phase = [total * self.phases.share[:, p] for p in range(3)]
        return np.vstack([total, *per_phase]), np.concatenate([self.caps, *self.phases.caps_kw.T])


def make_case(seed: int, *, chargers: int, is_balanced: bool = False) -> Case:
    generator = np.random.default_rng(seed)
    count = int(generator.integers(1, 9))
    parent, level = [-1], [0]
    for _ in range(1, count):
        up = int(generator.choice([n for n in range(len(parent)) if level[n] < 3]))
        parent.append(up)
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
    kinds = np.array(
        [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1 / 3, 1 / 3, 1 / 3), (0.5, 0.0, 0.5), (1, 1, 1), (1 / 3, 1 / 3, 1 / 3)]
    )
    used = np.array([1, 1, 1, 3, 2, 1, 3])
    kind = generator.choice(generator.integers(0, len(kinds), int(generator.integers(1, 6))), chargers)
    low = SIX_A * used[kind]
    wish = np.where(generator.random(chargers) < 0.15, 0.0, low + generator.uniform(0.0, 12.0, chargers))
    size = max(1.0, float(wish.sum()))
    phase_caps = generator.uniform(0.0, 1.2, (count, 3)) * size * 0.3
    phase_caps[generator.random((count, 3)) < 0.2] = np.inf
    if generator.random() < 0.3:
        phase_caps[:] = phase_caps[:, :1]
    unbalance = np.where(generator.random(count) < 0.5, generator.uniform(0.0, 6.0, count), np.inf)
    demand = Demand(
        wanted_kw=wish,
        min_kw=low,
        priority=generator.permutation(chargers).astype(float),
        weight=generator.choice([0.25, 1.0, 3.0], size=chargers),
        must_run=np.zeros(chargers, dtype=bool),
        reserved_kw=np.zeros(chargers),
    )
    above = np.array([tree.below(node_id) for node_id in tree.node_ids]).T
    phases = PhaseBounds(share=kinds[kind], caps_kw=phase_caps, max_unbalance_kw=unbalance if is_balanced else None)
    caps = generator.uniform(0.0, 1.2, count) * size * 0.6
    return Case(TreeLevels.of(tree), above, caps, phases, demand)


def fill_progressively(case: Case, active: npt.NDArray[np.bool_]) -> FloatArray:
    """Weighted max-min fair by the textbook: raise all together, freeze whoever meets a full row or its wish."""
    rows, room = case.rows()
    setpoints = np.where(active, case.demand.min_kw, 0.0)
    rising = active.copy()
    while rising.any():
        speed = np.where(rising, case.demand.weight, 0.0)
        slack = np.maximum(room - rows @ setpoints, 0.0)
        flow = rows @ speed
        steps = np.where(flow > 0.0, slack / np.where(flow > 0.0, flow, 1.0), np.inf)
        wish = np.where(rising, (case.demand.wanted_kw - setpoints) / case.demand.weight, np.inf)
        setpoints = setpoints + speed * max(0.0, min(float(steps.min(initial=np.inf)), float(wish.min())))
        full = (room - rows @ setpoints) <= 1e-10 * (1.0 + np.where(np.isfinite(room), room, 0.0))
        rising &= (setpoints < case.demand.wanted_kw - 1e-10) & ~((rows[full] > 0.0).any(axis=0))
    return setpoints


@settings(max_examples=400, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_powers_under_bounds_per_phase_are_those_of_progressive_filling(seed: int) -> None:
    case = make_case(seed, chargers=14)
    setpoints = allocate(case.levels, case.caps, case.demand, case.phases)
    assert setpoints == pytest.approx(fill_progressively(case, setpoints > 0.0), abs=1e-7)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6))
def test_a_dozen_turns_are_enough_for_many_chargers(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.domain.allocation.filling._MOST_TURNS", 12)
    case = make_case(seed, chargers=60)
    setpoints = allocate(case.levels, case.caps, case.demand, case.phases)
    assert setpoints == pytest.approx(fill_progressively(case, setpoints > 0.0), abs=1e-7)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6))
def test_tiny_weights_end_as_soon_as_no_level_moves(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    case = make_case(seed, chargers=60)
    tiny = np.where(np.arange(60) % 2 == 0, 1e-6, case.demand.weight)
    demand = replace(case.demand, weight=tiny)
    turns = 0
    turn = _Rows._turn

    def counted(rows: _Rows) -> bool:
        nonlocal turns
        turns += 1
        return turn(rows)

    monkeypatch.setattr(_Rows, "_turn", counted)
    setpoints = allocate(case.levels, case.caps, demand, case.phases)
    assert turns <= 40, "the rounding errors of a high level once went on for a thousand turns"
    rows, room = case.rows()
    assert (rows @ setpoints <= room + TOLERANCE).all()


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_no_row_is_exceeded_nobody_is_between_zero_and_its_minimum_and_nobody_who_fits_is_left_out(seed: int) -> None:
    case = make_case(seed, chargers=20)
    setpoints = allocate(case.levels, case.caps, case.demand, case.phases)
    rows, room = case.rows()
    assert (rows @ setpoints <= room + TOLERANCE).all()
    assert ((setpoints == 0.0) | (setpoints >= case.demand.min_kw)).all()
    assert (setpoints <= case.demand.wanted_kw + TOLERANCE).all()
    left = room - rows @ np.where(setpoints > 0.0, case.demand.min_kw, 0.0)
    for i in np.flatnonzero((setpoints <= 0.0) & (case.demand.wanted_kw > 0.0)):
        assert (rows[:, i] * case.demand.min_kw[i] > left).any()


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10**6), share=st.floats(0.0, 1.0))
def test_clip_per_phase_only_lowers_and_keeps_every_row_and_the_minimum_rule(seed: int, share: float) -> None:
    case = make_case(seed, chargers=20)
    before = allocate(case.levels, case.caps, case.demand, case.phases)
    tighter = replace(case.phases, caps_kw=case.phases.caps_kw * share if share > 0.0 else case.phases.caps_kw)
    after = clip(
        case.levels,
        case.caps,
        before,
        min_kw=case.demand.min_kw,
        priority=case.demand.priority,
        phases=tighter,
    )
    rows, room = replace(case, phases=tighter).rows()
    assert (after <= before + TOLERANCE).all()
    assert (rows @ after <= room + TOLERANCE).all()
    assert ((after == 0.0) | (after >= case.demand.min_kw - TOLERANCE)).all()


def uneven_kw(case: Case, power: FloatArray) -> FloatArray:
    """Return the worst difference of two phases below each node when chargers of unknown phase are where it hurts."""
    is_open = case.phases.share.sum(axis=1) > 1.0 + TOLERANCE
    known = np.where(is_open[:, None], 0.0, case.phases.share) * power[:, None]
    load = case.above.T.astype(float) @ known
    anywhere = case.above.T.astype(float) @ np.where(is_open, power, 0.0)
    return np.asarray(load.max(axis=1) + anywhere - load.min(axis=1))


@settings(max_examples=250, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_g10_unbalanced_phases_only_lower_the_heavier_ones_and_keep_every_other_rule(seed: int) -> None:
    case = make_case(seed, chargers=16, is_balanced=True)
    free = allocate(case.levels, case.caps, case.demand, replace(case.phases, max_unbalance_kw=None))
    even = allocate(case.levels, case.caps, case.demand, case.phases)
    most = case.phases.max_unbalance_kw
    assert most is not None
    assert (uneven_kw(case, even) <= most + 1e-6).all()
    assert (even <= free + TOLERANCE).all()
    is_three_phase = case.phases.share.max(axis=1) - case.phases.share.min(axis=1) <= 0.0
    is_three_phase &= case.phases.share.sum(axis=1) <= 1.0 + TOLERANCE
    assert even[is_three_phase] == pytest.approx(free[is_three_phase])
    assert ((even == 0.0) | (even >= case.demand.min_kw - TOLERANCE)).all()


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10**6), is_balanced=st.booleans())
def test_steps_of_chargers_are_kept_and_what_rounding_frees_is_handed_out_within_every_row(
    seed: int, is_balanced: bool
) -> None:
    case = make_case(seed, chargers=16, is_balanced=is_balanced)
    generator = np.random.default_rng(seed)
    exact = allocate(case.levels, case.caps, case.demand, case.phases)
    pilots = Pilots(
        sets_a=((), (6.0, 8.0, 16.0, 24.0, 32.0), (6.0, 10.0, 13.0)),
        set_of=generator.integers(0, 3, 16),
        kw_per_a=case.demand.min_kw / 6.0,
        most_kw=case.demand.wanted_kw,
    )
    stepped = quantise(case.levels, case.caps, exact, pilots, case.demand.priority, case.phases)
    rows, room = case.rows()
    assert (rows @ stepped <= room + TOLERANCE).all()
    assert (stepped <= case.demand.wanted_kw + 1e-5).all()
    amps = stepped / pilots.kw_per_a
    for i in np.flatnonzero((pilots.set_of > 0) & (stepped > 0.0)):
        assert min(abs(amps[i] - step) for step in pilots.sets_a[pilots.set_of[i]]) < 1e-6
    if not is_balanced:
        is_free = pilots.set_of == 0
        assert stepped[is_free] == pytest.approx(exact[is_free])
    if case.phases.max_unbalance_kw is not None:
        assert (uneven_kw(case, stepped) <= case.phases.max_unbalance_kw + 1e-6).all()


# ---------------------------------------------------------------- numbered cases


def one_node(count: int) -> TreeLevels:
    return TreeLevels.of(
        SiteTree(
            node_ids=("site",),
            parent=np.array([-1], dtype=np.int32),
            level=np.array([0], dtype=np.int32),
            rating_kw=np.array([1e9]),
            charger_ids=tuple(f"c{i}" for i in range(count)),
            charger_node=np.zeros(count, dtype=np.int32),
        )
    )


def alike(count: int, *, wanted_kw: float = 22.0, min_kw: float = 3 * SIX_A) -> Demand:
    return Demand(
        wanted_kw=np.full(count, wanted_kw),
        min_kw=np.full(count, min_kw),
        priority=np.arange(count, 0.0, -1.0),
        weight=np.ones(count),
        must_run=np.zeros(count, dtype=bool),
        reserved_kw=np.zeros(count),
    )


def test_o15_phases_of_50_60_and_40_a_leave_a_balanced_plan_three_times_the_smallest() -> None:
    phases = PhaseBounds(share=np.full((5, 3), 1 / 3), caps_kw=np.array([[50.0, 60.0, 40.0]]) * VOLTS / 1000.0)
    setpoints = allocate(one_node(5), np.array([100.0]), alike(5), phases)
    assert setpoints.sum() == pytest.approx(27.6)


def test_o15_single_phase_cars_use_what_three_phase_cars_must_leave() -> None:
    share = np.array([(1 / 3, 1 / 3, 1 / 3), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)])
    phases = PhaseBounds(share=share, caps_kw=np.array([[50.0, 60.0, 40.0]]) * VOLTS / 1000.0)
    demand = replace(alike(3, wanted_kw=40.0), min_kw=np.array([3.0, 1.0, 1.0]) * SIX_A)
    setpoints = allocate(one_node(3), np.array([100.0]), demand, phases)
    loads = share.T @ setpoints
    assert loads[:2] == pytest.approx([11.5, 13.8])
    assert setpoints == pytest.approx(
        fill_progressively(
            Case(one_node(3), np.ones((3, 1), dtype=bool), np.array([100.0]), phases, demand), setpoints > 0.0
        )
    )


def test_o23_20_kw_for_six_cars_of_three_phases_lets_four_charge_at_six_amperes_or_more() -> None:
    setpoints = allocate(one_node(6), np.array([20.0 * 0.95]), alike(6))
    assert (setpoints > 0.0).tolist() == [True] * 4 + [False] * 2
    assert setpoints.sum() <= 19.0 + TOLERANCE
    assert (setpoints[:4] >= 3 * SIX_A).all()


@pytest.mark.parametrize(
    ("limit_kw", "phases", "amps"), [(4.2, 3, 6.0), (4.2, 1, 18.2)], ids=["three-phases", "one-phase"]
)
def test_o24_4200_w_is_6_a_on_three_phases_and_18_2_a_on_one_in_tenths_rounded_down(
    limit_kw: float, phases: int, amps: float
) -> None:
    tenths = tuple(np.round(np.arange(60, 321) / 10.0, 1).tolist())
    pilots = Pilots(
        sets_a=((), tenths),
        set_of=np.array([1]),
        kw_per_a=np.array([phases * VOLTS / 1000.0]),
        most_kw=np.array([22.0]),
    )
    exact = allocate(one_node(1), np.array([limit_kw]), alike(1, min_kw=phases * SIX_A))
    stepped = quantise(one_node(1), np.array([limit_kw]), exact, pilots, np.zeros(1))
    assert stepped / pilots.kw_per_a == pytest.approx([amps])


def test_o29_a_limit_of_1000_05_w_is_sent_as_1000_w() -> None:
    tenths = tuple((np.arange(1, 400) / 10.0).tolist())
    watts = Pilots(sets_a=((), tenths), set_of=np.array([1]), kw_per_a=np.array([0.1]), most_kw=np.array([10.0]))
    stepped = quantise(one_node(1), np.array([1.00005]), np.array([1.00005]), watts, np.zeros(1))
    assert stepped.tolist() == pytest.approx([1.0], abs=1e-12)


@pytest.mark.parametrize(
    ("caps_a", "wanted_a", "min_a", "weight", "expected"),
    [
        pytest.param([10.0], [2.0, 10.0, 10.0], 0.0, [1.0, 1.0, 1.0], [2.0, 4.0, 4.0], id="27"),
        pytest.param([12.0], [20.0, 20.0], 0.0, [1.0, 2.0], [4.0, 8.0], id="28"),
        pytest.param([16.0], [32.0, 32.0, 32.0], 6.0, [1.0, 1.0, 1.0], [8.0, 8.0, 0.0], id="29"),
        pytest.param([5.0], [32.0, 32.0], 6.0, [1.0, 1.0], [0.0, 0.0], id="29-five-amperes"),
    ],
)
def test_b27_to_b29_water_filling_on_one_phase(
    caps_a: list[float], wanted_a: list[float], min_a: float, weight: list[float], expected: list[float]
) -> None:
    count = len(wanted_a)
    demand = replace(alike(count, min_kw=min_a), wanted_kw=np.array(wanted_a), weight=np.array(weight))
    phases = PhaseBounds(share=np.tile([0.0, 1.0, 0.0], (count, 1)), caps_kw=np.array([[np.inf, caps_a[0], np.inf]]))
    assert allocate(one_node(count), np.array([1e9]), demand, phases).tolist() == pytest.approx(expected)


def test_an_unknown_phase_counts_on_every_phase() -> None:
    phases = PhaseBounds(share=np.ones((2, 3)), caps_kw=np.array([[10.0, 4.0, 10.0]]))
    assert allocate(one_node(2), np.array([1e9]), alike(2, min_kw=SIX_A), phases).sum() == pytest.approx(4.0)


def test_rows_that_are_alike_do_not_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.domain.allocation.filling._MOST_TURNS", 3)
    phases = PhaseBounds(share=np.ones((4, 3)), caps_kw=np.full((1, 3), 10.0))
    demand = replace(alike(4, min_kw=SIX_A), wanted_kw=np.array([2.0, 7.4, 7.4, 7.4]))
    power = allocate(one_node(4), np.array([1e9]), demand, phases)
    assert power.tolist() == pytest.approx([2.0, 8.0 / 3, 8.0 / 3, 8.0 / 3])


def test_reserved_power_is_taken_off_its_own_phases() -> None:
    share = np.array([(1.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)])
    phases = PhaseBounds(share=share, caps_kw=np.array([[5.0, 5.0, 5.0]]))
    demand = replace(alike(3, min_kw=SIX_A), reserved_kw=np.array([3.0, 0.0, 0.0]))
    assert allocate(one_node(3), np.array([100.0]), demand, phases).tolist() == pytest.approx([0.0, 2.0, 5.0])


# ---------------------------------------------------------------- minimum run times


def test_who_must_stay_on_keeps_its_minimum_before_cars_that_must_run_but_not_beyond_the_schedule() -> None:
    demand = replace(
        alike(3),
        must_run=np.array([True, False, False]),
        must_stay=np.array([False, False, True]),
        wanted_kw=np.full(3, 11.0),
    )
    tight = allocate(one_node(3), np.array([8.3]), demand)
    assert tight.tolist() == pytest.approx([8.3 - 4.14, 0.0, 4.14])
    aimed = allocate_within(one_node(3), np.array([30.0]), np.array([5.0]), demand)
    assert aimed.tolist() == pytest.approx([11.0, 0.0, 4.14])
    sold = allocate_within(one_node(3), np.array([30.0]), np.array([0.0]), demand)
    assert sold.tolist() == pytest.approx([11.0, 0.0, 0.0])


def test_who_must_rest_stays_off_and_a_cap_lifts_the_minimum_time_on() -> None:
    demand = replace(alike(2), must_rest=np.array([True, False]), must_stay=np.array([False, True]))
    assert allocate(one_node(2), np.array([50.0]), demand).tolist() == pytest.approx([0.0, 22.0])
    assert allocate(one_node(2), np.array([4.0]), demand).tolist() == [0.0, 0.0]


def test_o23_cars_of_equal_slack_take_turns_after_their_minimum_time_on() -> None:
    rules, runs = RunRules(min_on_s=300.0, min_off_s=300.0, turn_s=900.0), RunTimes(6)
    levels, cap, arrival = one_node(6), np.array([19.0]), np.zeros(6)
    power, charged_s, starts = np.zeros(6), np.zeros(6), 0
    for now in range(60, 4 * 3600 + 1, 60):
        runs.follow(power > 0.0, arrival, float(now))
        demand = replace(
            alike(6),
            priority=runs.turns(rules, float(now)),
            must_stay=runs.must_stay(rules, float(now)),
            must_rest=runs.must_rest(rules, float(now)),
        )
        new = allocate(levels, cap, demand)
        assert int((new > 0.0).sum()) == 4
        assert ((new <= 0.0) | (new >= 3 * SIX_A)).all()
        starts += int(((new > 0.0) & (power <= 0.0)).sum())
        charged_s += 60.0 * (new > 0.0)
        power = new
    assert charged_s.min() >= 0.8 * charged_s.max()
    assert starts <= 4 + 2 * 5 * 4  # two places change hands at most five times an hour


def test_a_new_car_may_start_at_once_where_another_one_was_paused() -> None:
    rules, runs = RunRules(), RunTimes(1)
    runs.follow(np.array([True]), np.array([0.0]), 0.0)
    assert runs.must_stay(rules, 299.0).tolist() == [True]
    assert runs.must_stay(rules, 300.0).tolist() == [False]
    runs.follow(np.array([False]), np.array([0.0]), 300.0)
    assert runs.must_rest(rules, 599.0).tolist() == [True]
    runs.follow(np.array([False]), np.array([400.0]), 400.0)
    assert runs.must_rest(rules, 400.0).tolist() == [False]
