"""Chargers that can be set to a few currents only: round down, then hand what that frees to who lost most."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gateway.domain.allocation.active import active_set
from gateway.domain.allocation.frames import Caps, Frame
from gateway.domain.allocation.levels import FloatArray, IntArray, PhaseBounds, TreeLevels
from gateway.domain.allocation.unbalance import balance

_SAME_A = 1e-6
"""A current this little under a step is on it."""
_MOST_PASSES = 6
"""Rounding down can upset the balance of phases and balancing the rounding: so often both are done in turn."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pilots:
    """What each charger can be set to; `C` chargers."""

    sets_a: Sequence[tuple[float, ...]]
    """Sets of currents per phase above 0, ascending; an empty one allows any current."""
    set_of: IntArray
    """Position in `sets_a` of each charger, shape (C,)."""
    kw_per_a: FloatArray
    """Power of the car at each charger per ampere on each phase that it uses, shape (C,)."""
    most_kw: FloatArray
    """Most that each can use, shape (C,): nobody is lifted above it."""

    @property
    def is_any(self) -> bool:
        """Whether no charger is bound to steps."""
        return all(not currents for currents in self.sets_a)

    def steps(self, power_kw: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the largest step at or below each power and the next one above, kW, shape (C,) each.

        Where any current goes the power itself is the step and there is no next one (infinite).
        """
        low, high = power_kw.copy(), np.full(len(power_kw), np.inf)
        for k, currents in enumerate(self.sets_a):
            at = np.flatnonzero(self.set_of == k) if currents else np.zeros(0, dtype=np.int64)
            grid = np.r_[0.0, currents, np.inf]
            place = np.searchsorted(grid, power_kw[at] / self.kw_per_a[at] + _SAME_A, side="right") - 1
            low[at], high[at] = grid[place] * self.kw_per_a[at], grid[place + 1] * self.kw_per_a[at]
        return low, high


def quantise(
    levels: TreeLevels,
    caps_kw: FloatArray,
    setpoints_kw: FloatArray,
    pilots: Pilots,
    priority: FloatArray,
    phases: PhaseBounds | None = None,
) -> FloatArray:
    """Return set points on the steps of their chargers, shape (C,), no node above its cap.

    Everybody goes down to a step; the freed power lifts those that lost the largest part of a step to their next one, by priority
    where they lost the same, as far as it fits below every node and on every phase.

    Args:
        levels: The tree.
        caps_kw: Most that the set points may sum to at each node, shape (N,).
        setpoints_kw: Set points, shape (C,).
        pilots: The steps.
        priority: Higher first, shape (C,).
        phases: Bounds per phase; None without any.
    """
    if pilots.is_any:
        return setpoints_kw
    low, high = pilots.steps(setpoints_kw)
    gap = high - low
    lost = np.where(np.isfinite(gap), (setpoints_kw - low) / np.where(np.isfinite(gap), gap, 1.0), 0.0)
    may_rise = (lost > 0.0) & (high <= pilots.most_kw + _SAME_A * pilots.kw_per_a)
    on_steps = low
    if may_rise.any():
        drawing, rising = Frame.of(levels, low > 0.0), Frame.of(levels, may_rise)
        caps = Caps.of(caps_kw, phases)
        drawn = drawing.lift(drawing.drawn(caps.within(drawing).share, drawing.values(low)))
        left = caps.less(drawn).within(rising)
        size = left.share * rising.values(np.where(may_rise, gap, 0.0))
        ranks = rising.ranks(_rank(lost, priority, rising.walked()))
        rises = active_set(rising, left.room_kw, size, rising.totals(size), ranks)
        on_steps = np.where(may_rise & (rising.chargers(rises.astype(np.float64)) > 0.0), high, low)
    if phases is None or phases.max_unbalance_kw is None:
        return on_steps
    return _balanced(levels, phases, on_steps, pilots, priority)


def _rank(lost: FloatArray, priority: FloatArray, rising: IntArray) -> FloatArray:
    """Return who of some chargers is lifted first, higher first: who lost the larger part of a step, then by priority; shape (C,)."""
    rank = np.zeros(len(lost))
    order = np.lexsort((priority.take(rising), np.round(lost.take(rising), 9)))
    rank[rising.take(order)] = np.arange(len(rising), dtype=np.float64)
    return rank


def _balanced(
    levels: TreeLevels, phases: PhaseBounds, setpoints_kw: FloatArray, pilots: Pilots, priority: FloatArray
) -> FloatArray:
    """Lower set points in turn to the balance of phases and to steps; whoever is still uneven in the end pauses."""
    beside = np.zeros(len(setpoints_kw)) if phases.beside_kw is None else phases.beside_kw
    for _ in range(_MOST_PASSES):
        least, _unused = pilots.steps(setpoints_kw)
        even = balance(levels, phases, least, beside, np.minimum(least, _lowest_step(pilots)), priority)
        on_steps, _unused = pilots.steps(even)
        if (on_steps >= setpoints_kw - _SAME_A).all():
            return on_steps
        setpoints_kw = on_steps
    is_even = phases.share.max(axis=1) - phases.share.min(axis=1) <= 0.0
    return np.where(is_even & (phases.share.sum(axis=1) <= 1.0 + _SAME_A), setpoints_kw, 0.0)


def _lowest_step(pilots: Pilots) -> FloatArray:
    lowest_a = np.array([min(currents, default=0.0) for currents in pilots.sets_a])
    return np.asarray(lowest_a[pilots.set_of] * pilots.kw_per_a)
