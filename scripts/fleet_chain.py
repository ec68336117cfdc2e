"""From sessions to set points as the product does it: CPU seconds of each step, what was reached, and the memory it takes."""

from __future__ import annotations

import dataclasses
import statistics
import time
import tracemalloc
from collections.abc import Sequence

import numpy as np

from bidding.fleet.flexibility import FlexibilityTable
from bidding.optimum.decomposition import Mixture, generate_columns
from bidding.optimum.optimise import OptimiserOptions, optimise
from bidding.optimum.outcome import Proved
from bidding.optimum.set_points import FleetSetPoints
from scripts.fleet_case import SLOTS, FleetCase

BY_COLUMNS = OptimiserOptions(session_model_limit=0)
TICK_SLOT = SLOTS // 3
"""A slot in the evening, when nearly every car of the fleet is plugged in."""
WARM_UP_SESSIONS = 50


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ChainTimes:
    """CPU seconds of all threads of this process, the median of some rounds."""

    aggregate_s: float
    """Sessions to the additive table."""
    optimum_s: float
    """Capped optimum with its certified gap, from the table."""
    by_block_s: float
    """Exact set points of every session in every slot, made block by block and not kept."""
    by_slot_s: float
    """The same set points slot by slot, as a dispatcher would take them."""
    tick_s: float
    """Set points of one slot."""

    @property
    def set_points_s(self) -> float:
        """All set points in the way that suits the size: slots for small fleets, blocks for large ones."""
        return min(self.by_block_s, self.by_slot_s)

    @property
    def chain_s(self) -> float:
        """Sessions to all set points."""
        return self.aggregate_s + self.optimum_s + self.set_points_s


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Reached:
    """What the set points come to, counted on them and not on the optimiser's word."""

    objective_eur: float
    gap: float
    """Certified: how far the optimum can be below, relative to the cost."""
    iteration_count: int
    energy_missed_kwh: float
    """Largest difference between what a session needs and what its set points give."""
    over_cap: float
    """Largest excess over the cap, relative to the cap; below 0 when it is kept everywhere."""


def measure_chains(cases: Sequence[FleetCase], rounds: int) -> list[tuple[ChainTimes, Reached]]:
    """Return times and result of every case; the cases take turns, so that a slow minute of the machine meets all of them."""
    _solve(FleetCase.of(WARM_UP_SESSIONS))
    taken: list[list[ChainTimes]] = [[] for _ in cases]
    reached: list[Reached] = []
    for turn in range(rounds):
        for case, times in zip(cases, taken, strict=True):
            one, mixture, set_points = _time_once(case)
            times.append(one)
            if turn == 0:
                reached.append(_count_up(case, mixture, set_points))
    return list(zip(map(_median, taken), reached, strict=True))


def checked_seconds(case: FleetCase) -> float:
    """Return CPU seconds of the public call, which keeps all set points and lets separate code check every one.

    Raises:
        RuntimeError: The outcome was not proved.
    """
    started = time.process_time()
    optimum = optimise(case.sessions, case.price_eur_per_kwh, case.coupling, BY_COLUMNS)
    spent = time.process_time() - started
    is_proved = isinstance(optimum.outcome, Proved)
    if not is_proved:
        raise RuntimeError(f"{len(case.sessions)} sessions: {optimum.outcome}")
    return spent


def peak_bytes(count: int) -> int:
    """Return the most memory that Python and numpy hold during the whole chain, the sessions' own columns included.

    To be called in a process of its own: tracing slows everything down. What HiGHS allocates is not seen; its master has a
    hundred rows whatever the number of sessions.
    """
    case = FleetCase.of(count)
    _solve(FleetCase.of(WARM_UP_SESSIONS))
    tracemalloc.start()
    set_points = _solve(case)
    for _ in set_points.blocks():
        pass
    for _ in set_points.by_slot():
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak + case.session_bytes


def _solve(case: FleetCase) -> FleetSetPoints:
    table = FlexibilityTable.build(case.sessions, SLOTS)
    return FleetSetPoints(case.sessions, table, generate_columns(table, case.price_eur_per_kwh, case.coupling))


def _time_once(case: FleetCase) -> tuple[ChainTimes, Mixture, FleetSetPoints]:
    marks = [time.process_time()]
    table = FlexibilityTable.build(case.sessions, SLOTS)
    marks.append(time.process_time())
    mixture = generate_columns(table, case.price_eur_per_kwh, case.coupling)
    marks.append(time.process_time())
    set_points = FleetSetPoints(case.sessions, table, mixture)
    marks.append(time.process_time())
    for _ in set_points.blocks():
        pass
    marks.append(time.process_time())
    for _ in set_points.by_slot():
        pass
    marks.append(time.process_time())
    set_points.at(TICK_SLOT)
    marks.append(time.process_time())
    aggregate_s, optimum_s, prepare_s, by_block_s, by_slot_s, tick_s = np.diff(marks).tolist()
    times = ChainTimes(
        aggregate_s=aggregate_s,
        optimum_s=optimum_s,
        by_block_s=prepare_s + by_block_s,
        by_slot_s=prepare_s + by_slot_s,
        tick_s=tick_s,
    )
    return times, mixture, set_points


def _median(rounds: Sequence[ChainTimes]) -> ChainTimes:
    names = [field.name for field in dataclasses.fields(ChainTimes)]
    return ChainTimes(**{name: statistics.median(getattr(one, name) for one in rounds) for name in names})


def _count_up(case: FleetCase, mixture: Mixture, set_points: FleetSetPoints) -> Reached:
    charged, objective_eur, over_cap = np.zeros(len(case.sessions)), 0.0, -np.inf
    for slot, drawn in set_points.by_slot():
        charged += drawn
        total = float(drawn.sum())
        objective_eur += float(case.price_eur_per_kwh[slot]) * total
        over_cap = max(over_cap, total / float(case.cap_kwh[slot]) - 1.0)
    return Reached(
        objective_eur=objective_eur,
        gap=(objective_eur - mixture.lower_bound_eur) / abs(objective_eur),
        iteration_count=mixture.iteration_count,
        energy_missed_kwh=float(np.max(np.abs(charged - case.sessions.energy_min_kwh))),
        over_cap=over_cap,
    )
