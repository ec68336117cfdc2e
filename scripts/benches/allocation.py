"""How long one tick of the allocation takes per phase over a tree of four levels, from 1,000 to 1,000,000 chargers.

Ten chargers a panel, ten panels a feeder, ten feeders a site; every node has a cap for the total and one for each phase, and at every
level some of them bind. Half of the cars use three phases, two fifths one known phase, a tenth one phase that nobody knows, which
then counts on all three. One tick is: who must run, then everybody else; who of them charges under the 6 A rule; how much, weighted
max-min fair under every bound. Beside it at 1,000 chargers, in the same run, the split of the same active set as a quadratic program
by cvxpy (default solver, solver time and modelling apart) and by progressive filling, whose answer ours has to equal. All times are
CPU seconds of one thread, the median of five after one to warm up. The floor is one sum per level of the tree for the total and
each phase.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

from gateway.domain.allocation import Demand, PhaseBounds, Pilots, TreeLevels, allocate, clip, quantise
from gateway.domain.topology import SiteTree
from scripts.measuring import Goal, Report, Value, at_least, at_most, cpu_seconds

FloatArray = npt.NDArray[np.float64]

SIZES = (1_000, 10_000, 100_000, 1_000_000)
KW_PER_A = 0.23
SIX_A_KW = 6.0 * KW_PER_A
MUST_RUN_SHARE = 0.05
SILENT_SHARE = 0.02
CAR_SHARE = 0.75
"""Chargers with a car."""
UNKNOWN_PHASE_SHARE = 0.2
"""Of the single-phase chargers: nobody knows which phase they hang on."""
PILOTS_A = (6.0, 8.0, 10.0, 13.0, 16.0, 20.0, 25.0, 32.0)
MEAN_KW_PER_CHARGER = 3.2
"""About what the caps leave to each charger: enough for most, not for all."""


def run() -> Report:
    """Measure every size and hold the small one against its peers."""
    rows = [_measure(size) for size in SIZES]
    peers = _peers()
    of = {row["chargers"]: row for row in rows}
    tick = {size: _number(of[size]["tick_ms"]) for size in SIZES}
    goals = [
        at_most("tick of 100,000 chargers per phase, CPU ms", 60.0, tick[100_000]),
        at_most("tick, 1,000,000 over 100,000 chargers (linear: 10)", 12.5, tick[1_000_000] / tick[100_000]),
        at_most("clip of 100,000 chargers per phase to 97 %, CPU ms", 10.0, _number(of[100_000]["clip_scaling_ms"])),
        at_most("clip of 100,000 chargers per phase to 60 %, CPU ms", 10.0, _number(of[100_000]["clip_pausing_ms"])),
        at_most("worst excess over any bound, kW", 1e-6, max(_number(row["worst_excess_kw"]) for row in rows)),
        at_most("largest difference from progressive filling at 1,000 chargers, kW", 1e-6, peers.filling_kw),
        *peers.goals(),
    ]
    return {"results": [*rows, *peers.rows], "goals": goals}


@dataclass(frozen=True, kw_only=True)
class _Fleet:
    """A fleet of which three quarters have a car, and caps that bind at every level."""

    levels: TreeLevels
    caps_kw: FloatArray
    phases: PhaseBounds
    demand: Demand
    pilots: Pilots

    @classmethod
    def of(cls, count: int) -> "_Fleet":
        generator = np.random.default_rng(11)
        levels = TreeLevels.of(_tree(count))
        used = generator.choice([3, 1], size=count, p=[0.5, 0.5])
        share = np.full((count, 3), 1.0 / 3.0)
        single = np.flatnonzero(used == 1)
        share[single] = np.eye(3)[generator.integers(0, 3, len(single))]
        share[single[generator.random(len(single)) < UNKNOWN_PHASE_SHARE]] = 1.0
        low, high = SIX_A_KW * used, KW_PER_A * used * generator.choice([16.0, 32.0], size=count)
        has_car = generator.random(count) < CAR_SHARE
        below = levels.totals(np.ones(count))
        caps = MEAN_KW_PER_CHARGER * below * generator.uniform(0.7, 1.6, len(below))
        phase_caps = MEAN_KW_PER_CHARGER / 3.0 * below[:, None] * generator.uniform(0.8, 2.0, (len(below), 3))
        demand = Demand(
            wanted_kw=np.where(has_car, high, 0.0),
            min_kw=low,
            priority=generator.random(count),
            weight=generator.choice([1.0, 2.0, 4.0], size=count),
            must_run=generator.random(count) < MUST_RUN_SHARE,
            reserved_kw=np.where(has_car & (generator.random(count) < SILENT_SHARE), SIX_A_KW, 0.0),
        )
        reserved = np.column_stack([levels.totals(share[:, p] * demand.reserved_kw) for p in range(3)])
        return cls(
            levels=levels,
            caps_kw=np.maximum(caps, levels.totals(demand.reserved_kw)),
            phases=PhaseBounds(share=share, caps_kw=np.maximum(phase_caps, reserved)),
            demand=demand,
            pilots=Pilots(
                sets_a=((), PILOTS_A),
                set_of=generator.integers(0, 2, count),
                kw_per_a=KW_PER_A * used,
                most_kw=demand.wanted_kw,
            ),
        )

    def tick(self) -> FloatArray:
        """Return the set points."""
        return allocate(self.levels, self.caps_kw, self.demand, self.phases)

    def clipped(self, setpoints: FloatArray, share: float) -> FloatArray:
        """Return the set points lowered to a share of every bound."""
        phases = replace(self.phases, caps_kw=self.phases.caps_kw * share)
        return clip(
            self.levels,
            self.caps_kw * share,
            setpoints,
            min_kw=self.demand.min_kw,
            priority=self.demand.priority,
            phases=phases,
        )

    def excess_kw(self, setpoints: FloatArray, share: float = 1.0) -> float:
        """Return the most by which any bound is exceeded."""
        drawn = setpoints + (self.demand.reserved_kw if share >= 1.0 else 0.0)
        worst = float((self.levels.totals(drawn) - self.caps_kw * share).max())
        for phase in range(3):
            load = self.levels.totals(drawn * self.phases.share[:, phase])
            worst = max(worst, float((load - self.phases.caps_kw[:, phase] * share).max()))
        return worst


def _tree(count: int) -> SiteTree:
    panels, feeders, sites = count // 10, count // 100, count // 1000
    parent = np.concatenate([[-1], np.zeros(sites), 1 + np.arange(feeders) // 10, 1 + sites + np.arange(panels) // 10])
    return SiteTree(
        node_ids=tuple(f"n{i}" for i in range(len(parent))),
        parent=parent.astype(np.int32),
        level=np.repeat([0, 1, 2, 3], [1, sites, feeders, panels]).astype(np.int32),
        rating_kw=np.full(len(parent), 1e9),
        charger_ids=tuple(f"c{i}" for i in range(count)),
        charger_node=(1 + sites + feeders + np.arange(count) // 10).astype(np.int32),
    )


def _measure(count: int) -> dict[str, Value]:
    fleet = _Fleet.of(count)
    setpoints = fleet.tick()

    def floor() -> None:
        fleet.levels.totals(setpoints)
        for phase in range(3):
            fleet.levels.totals(setpoints * fleet.phases.share[:, phase])

    lowered = [fleet.clipped(setpoints, share) for share in (0.97, 0.6)]
    excess = [fleet.excess_kw(setpoints), fleet.excess_kw(lowered[0], 0.97), fleet.excess_kw(lowered[1], 0.6)]
    return {
        "chargers": count,
        "floor_ms": 1e3 * cpu_seconds(floor),
        "tick_ms": 1e3 * cpu_seconds(fleet.tick),
        "tick_us_per_charger": 1e6 * cpu_seconds(fleet.tick) / count,
        "tick_totals_only_ms": 1e3 * cpu_seconds(lambda: allocate(fleet.levels, fleet.caps_kw, fleet.demand)),
        "steps_ms": 1e3
        * cpu_seconds(
            lambda: quantise(fleet.levels, fleet.caps_kw, setpoints, fleet.pilots, fleet.demand.priority, fleet.phases)
        ),
        "clip_scaling_ms": 1e3 * cpu_seconds(lambda: fleet.clipped(setpoints, 0.97)),
        "clip_pausing_ms": 1e3 * cpu_seconds(lambda: fleet.clipped(setpoints, 0.6)),
        "charging": int((setpoints > 0.0).sum()),
        "paused": int(((setpoints <= 0.0) & (fleet.demand.wanted_kw > 0.0)).sum()),
        "worst_excess_kw": max(excess),
    }


# ---------------------------------------------------------------- peers on the same split


@dataclass(frozen=True, kw_only=True)
class _Peers:
    """What the peers took and said at 1,000 chargers."""

    rows: list[dict[str, Value]]
    filling_kw: float
    """Largest difference of our split from progressive filling."""
    ours_ms: float
    quadratic_ms: float | None
    """None where cvxpy is not installed."""
    quadratic_kw: float | None

    def goals(self) -> list[Goal]:
        """Return the goals that need cvxpy; one that cannot be measured is not met."""
        ratio = np.nan if self.quadratic_ms is None else self.quadratic_ms / self.ours_ms
        far = np.nan if self.quadratic_kw is None else self.quadratic_kw
        return [
            at_least("cvxpy's quadratic program over our split at 1,000 chargers, CPU", 10.0, float(ratio)),
            at_most("bounds that cvxpy's split at 1,000 chargers exceeds, kW", 0.1, float(far)),
        ]


@dataclass(frozen=True, kw_only=True)
class _Problem:
    """One split with its active set given: every bound as a row of coefficients per charging car."""

    rows: FloatArray
    """Shape (R, K)."""
    room: FloatArray
    """Shape (R,)."""
    low: FloatArray
    high: FloatArray
    weight: FloatArray

    @classmethod
    def of(cls, fleet: _Fleet, active: npt.NDArray[np.bool_]) -> "_Problem":
        at = np.flatnonzero(active)
        count = len(fleet.caps_kw)
        above = np.zeros((count, len(at)))
        for node in fleet.levels.above[:, fleet.levels.leaf[at]]:
            is_here = node < count
            above[node[is_here], np.flatnonzero(is_here)] = 1.0
        share = fleet.phases.share[at]
        rows = np.vstack([above, *(above * share[:, phase] for phase in range(3))])
        room = np.concatenate([fleet.caps_kw, *fleet.phases.caps_kw.T])
        demand = fleet.demand
        return cls(rows=rows, room=room, low=demand.min_kw[at], high=demand.wanted_kw[at], weight=demand.weight[at])


def _peers() -> _Peers:
    fleet = _Fleet.of(1_000)
    demand = replace(fleet.demand, must_run=np.zeros(1_000, dtype=bool), reserved_kw=np.zeros(1_000))
    fleet = replace(fleet, demand=demand)
    ours = fleet.tick()
    active = ours > 0.0
    problem = _Problem.of(fleet, active)
    filled = _fill_progressively(problem)
    ours_ms = 1e3 * cpu_seconds(fleet.tick)
    filling_ms = 1e3 * cpu_seconds(lambda: _fill_progressively(problem), repeats=1)
    rows: list[dict[str, Value]] = [
        {"chargers": 1_000, "peer": "ours, who charges included", "tick_ms": ours_ms},
        {"chargers": 1_000, "peer": "progressive filling, numpy, dense", "tick_ms": filling_ms},
    ]
    quadratic = _quadratic(problem)
    if quadratic is not None:
        rows.append({"chargers": 1_000, "peer": quadratic.name, "tick_ms": quadratic.ms})
    return _Peers(
        rows=rows,
        filling_kw=float(np.abs(filled - ours[active]).max()),
        ours_ms=ours_ms,
        quadratic_ms=None if quadratic is None else quadratic.ms,
        quadratic_kw=None if quadratic is None else quadratic.excess_kw,
    )


def _fill_progressively(problem: _Problem) -> FloatArray:
    """Weighted max-min fair by the textbook: raise all together, freeze whoever meets a full row or its wish."""
    power, rising = problem.low.copy(), np.ones(len(problem.low), dtype=bool)
    while rising.any():
        speed = np.where(rising, problem.weight, 0.0)
        flow = problem.rows @ speed
        slack = np.maximum(problem.room - problem.rows @ power, 0.0)
        step = np.divide(slack, flow, out=np.full(len(flow), np.inf), where=flow > 0.0).min()
        wish = np.where(rising, (problem.high - power) / problem.weight, np.inf).min()
        power = power + speed * max(0.0, min(float(step), float(wish)))
        is_full = problem.room - problem.rows @ power <= 1e-10 * (1.0 + problem.room)
        rising &= (power < problem.high - 1e-10) & ~(problem.rows[is_full] > 0.0).any(axis=0)
    return power


@dataclass(frozen=True, kw_only=True)
class _Quadratic:
    name: str
    ms: float
    excess_kw: float


def _quadratic(problem: _Problem) -> _Quadratic | None:
    """Solve the usual quadratic program of such a split: as near to the wishes as the bounds allow; None without cvxpy."""
    if find_spec("cvxpy") is None:
        return None
    cvxpy: Any = import_module("cvxpy")
    sparse: Any = import_module("scipy.sparse")
    bounded = np.isfinite(problem.room)
    rows = sparse.csr_matrix(problem.rows[bounded])
    power = cvxpy.Variable(len(problem.low))
    cost = cvxpy.sum(cvxpy.multiply(1.0 / problem.weight, cvxpy.square(problem.high - power)))
    bounds = [rows @ power <= problem.room[bounded], power >= problem.low, power <= problem.high]
    program = cvxpy.Problem(cvxpy.Minimize(cost), bounds)
    solve: Callable[[], object] = program.solve
    solve()
    spent = []
    for _ in range(3):
        started = time.process_time()
        solve()
        spent.append(time.process_time() - started)
    split = np.asarray(power.value, dtype=np.float64)
    name = f"cvxpy quadratic program, {program.solver_stats.solver_name}"
    excess = float((rows @ split - problem.room[bounded]).max())
    return _Quadratic(name=name, ms=1e3 * sorted(spent)[1], excess_kw=excess)


def _number(value: Value) -> float:
    if not isinstance(value, int | float):
        raise TypeError("a measurement must be a number")
    return float(value)
