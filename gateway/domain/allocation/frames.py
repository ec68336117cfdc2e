"""Some chargers of a tree in walking order, and the bounds that hold above them: sums without sorting or searching.

`K` chargers of the frame, `N` nodes, `B` bounds: the total first, then the phases that are bounded anywhere.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from gateway.domain.allocation.levels import BoolArray, FloatArray, IntArray, PhaseBounds, TreeLevels
from gateway.domain.topology import PHASE_COUNT

ValueT = TypeVar("ValueT", bound=np.generic)


_FEW = 0.3
"""Fewer items than this share of the nodes are added up each for itself."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Some chargers of a tree, those below any node side by side."""

    levels: TreeLevels
    items: IntArray
    """Which chargers, in walking order, shape (K,)."""
    first: IntArray
    """First item below each node, shape (N,)."""
    count: IntArray
    """Items below each node, shape (N,)."""
    run_node: IntArray
    """Nodes that items hang on, in walking order, shape (R,)."""
    run_start: IntArray
    """First item of each of them, shape (R,)."""
    run: IntArray
    """Place in `run_node` of the node that each item hangs on, shape (K,)."""

    @classmethod
    def of(cls, levels: TreeLevels, who: BoolArray) -> "Frame":
        """Return the frame of the chargers marked, shape (C,)."""
        keeps = who.take(levels.walk)
        passed = np.append(0, np.cumsum(keeps))
        items = levels.walk.compress(keeps)
        first = passed[levels.first]
        leaf = levels.leaf[items]
        starts = np.flatnonzero(np.append(True, leaf[1:] != leaf[:-1])) if len(leaf) else leaf
        run = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(leaf))))
        return cls(levels, items, first, passed[levels.first + levels.count] - first, leaf[starts], starts, run)

    def subset(self, keeps: BoolArray) -> "Frame":
        """Return the frame of the items marked, shape (K,)."""
        passed = np.append(0, np.cumsum(keeps))
        first = passed[self.first]
        starts = passed[self.run_start]
        ends = np.append(starts[1:], passed[-1])
        lives = ends > starts
        count = passed[self.first + self.count] - first
        run = (np.cumsum(lives) - 1).take(self.run.compress(keeps))
        return Frame(self.levels, self.items.compress(keeps), first, count, self.run_node[lives], starts[lives], run)

    def run_count(self) -> IntArray:
        """Return how many items hang on the node of each run, shape (R,)."""
        return np.diff(np.append(self.run_start, len(self.items)))

    def direct(self, values: FloatArray) -> FloatArray:
        """Add values per item, shape (B, K), at the nodes they hang on: shape (B, N)."""
        total = np.zeros((len(values), len(self.first)))
        for row, value in zip(total, values, strict=True):
            row[self.run_node] = np.bincount(self.run, weights=value, minlength=len(self.run_node))
        return total

    def totals(self, values: FloatArray) -> FloatArray:
        """Add values per item up the tree: shape (B, K) in, (B, N) out."""
        return self.lift(self.direct(values))

    def lift(self, direct: FloatArray) -> FloatArray:
        """Add values of nodes up the tree, shape (B, N)."""
        total = direct.copy()
        for nodes in self.levels.nodes_at[:-1]:
            up = self.levels.parent.take(nodes)
            for row in range(len(total)):
                total[row] += np.bincount(up, weights=total[row].take(nodes), minlength=total.shape[1])
        return total

    def totals_of(self, at: IntArray, values: FloatArray) -> FloatArray:
        """Add values of some items up the tree: shape (B, n) in, (B, N) out; of few items only along the nodes above them."""
        count = len(self.first)
        if len(at) >= _FEW * count:
            return self.lift(self.direct_of(at, values))
        above = self.levels.above.take(self.levels.leaf.take(self.items.take(at)), axis=1)
        places, times = above.ravel(), len(above)
        return np.stack([np.bincount(places, np.tile(row, times), count + 1)[:count] for row in values])

    def direct_of(self, at: IntArray, values: FloatArray) -> FloatArray:
        """Add values of some items at the nodes they hang on: shape (B, n) in, (B, N) out."""
        leaf, count = self.levels.leaf.take(self.items.take(at)), len(self.first)
        return np.stack([np.bincount(leaf, weights=row, minlength=count) for row in values])

    def items_of_runs(self, runs: IntArray) -> tuple[IntArray, IntArray]:
        """Return the items of some runs, one run after the other, and how many each has."""
        counts = self.run_count().take(runs)
        shift = self.run_start.take(runs) - (np.cumsum(counts) - counts)
        return np.arange(int(counts.sum())) + np.repeat(shift, counts), counts

    def spread(self, per_node: FloatArray) -> FloatArray:
        """Return for each item the value of the node it hangs on: shape (B, N) in, (B, K) out."""
        return self.spread_runs(per_node.take(self.run_node, axis=1))

    def spread_runs(self, per_run: npt.NDArray[ValueT]) -> npt.NDArray[ValueT]:
        """Return for each item the value of its run: shape (B, R) in, (B, K) out."""
        return per_run.take(self.run, axis=1)

    def below(self, nodes: IntArray) -> tuple[IntArray, IntArray]:
        """Return the items below each of some nodes, one node after the other, and how many each has."""
        counts = self.count[nodes]
        shift = self.first[nodes] - (np.cumsum(counts) - counts)
        return np.arange(int(counts.sum())) + np.repeat(shift, counts), counts


def raise_up(total: FloatArray, up: IntArray, values: FloatArray) -> None:
    """Add values of nodes, shape (B, n), to those of the nodes above them, in place; -1 is above a root."""
    inside = up >= 0
    if not inside.all():
        up, values = up[inside], values[:, inside]
    for row in range(len(total)):
        total[row] += np.bincount(up, weights=values[row], minlength=total.shape[1])


@dataclass(frozen=True, slots=True, eq=False)
class Bounds:
    """What holds at every node for the items of a frame: the total, and each phase that is bounded anywhere."""

    share: FloatArray
    """What counts of each item's power in each bound, shape (B, K)."""
    room_kw: FloatArray
    """Most that may flow through each node, shape (B, N)."""

    def only(self, keeps: BoolArray) -> "Bounds":
        """Return the bounds for some of the items, shape (K,)."""
        return Bounds(self.share.compress(keeps, axis=1), self.room_kw)

    def rows(self, marked: BoolArray) -> "Bounds":
        """Return some of the bounds, shape (B,)."""
        return self if marked.all() else Bounds(self.share[marked], self.room_kw[marked])

    def less(self, drawn_kw: FloatArray) -> "Bounds":
        """Return what remains when so much flows through each node in each bound already, shape (B, N); at least 0."""
        return Bounds(self.share, np.maximum(self.room_kw - drawn_kw, 0.0))


@dataclass(frozen=True, slots=True, eq=False)
class Caps:
    """What holds at every node for whoever draws: the bounds before it is said for whom."""

    phases: PhaseBounds | None
    bounded: tuple[int, ...]
    """Phases that are bounded anywhere."""
    room_kw: FloatArray
    """Most that may flow through each node, in total and on each bounded phase, shape (B, N)."""

    @classmethod
    def of(cls, caps_kw: FloatArray, phases: PhaseBounds | None) -> "Caps":
        """Return the caps of totals and phases."""
        if phases is None:
            return cls(None, (), caps_kw[None, :].copy())
        bounded = tuple(p for p in range(PHASE_COUNT) if np.isfinite(phases.caps_kw[:, p]).any())
        return cls(phases, bounded, np.concatenate([caps_kw[None, :], phases.caps_kw.T[list(bounded)]]))

    def within(self, frame: Frame) -> Bounds:
        """Return the bounds for the chargers of a frame."""
        share = np.empty((1 + len(self.bounded), len(frame.items)))
        share[0] = 1.0
        if self.phases is not None:
            flat, place = self.phases.share.ravel(), frame.items * PHASE_COUNT
            for row, phase in enumerate(self.bounded, start=1):
                share[row] = flat.take(place + phase)
        return Bounds(share, self.room_kw)

    def less(self, drawn_kw: FloatArray) -> "Caps":
        """Return what remains when so much flows through each node in each bound already, shape (B, N); at least 0."""
        return Caps(self.phases, self.bounded, np.maximum(self.room_kw - drawn_kw, 0.0))
