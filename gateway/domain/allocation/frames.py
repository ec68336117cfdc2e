"""Some chargers of a tree in columns, and the bounds that hold above them: sums without sorting or searching.

A value per charger is a matrix of `H` places and `R` columns, 0 where nobody stands: sums run down whole columns, and what a node
says is handed to all places of its columns at once. `N` nodes, `B` bounds: the total first, then the phases that are bounded
anywhere.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from gateway.domain.allocation.levels import BoolArray, FloatArray, IntArray, PhaseBounds, TreeLevels, summed
from gateway.domain.topology import PHASE_COUNT

ValueT = TypeVar("ValueT", bound=np.generic)

_SPARSE = 3
"""Where fewer than one place in so many is taken, those who stand there move together."""
_FEW = 8
"""Values for fewer than one node in so many are added one by one."""
_SMALL = 512
"""So few places are not worth moving anybody."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Some chargers of a tree, the columns below any node side by side."""

    levels: TreeLevels
    slots: IntArray
    """The charger at each place, `C` for nobody, shape (H, R)."""
    node: IntArray
    """Node that the chargers of each column hang on, shape (R,)."""
    first: IntArray
    """First column at or below each node, shape (N,)."""
    count: IntArray
    """Columns at or below each node, shape (N,)."""
    is_whole: bool
    """Whether everybody stands where the tree has its place."""

    @classmethod
    def of(cls, levels: TreeLevels, who: BoolArray) -> "Frame":
        """Return the frame of the chargers marked, shape (C,)."""
        grid = levels.grid
        whole = cls(levels, grid.slots, grid.node, grid.first, grid.count, True)
        return whole.part(_padded(who, False).take(grid.slots)).frame

    def part(self, keeps: BoolArray) -> "Part":
        """Return some of those who stand in the frame, shape (H, R); nobody where nobody stands."""
        if keeps.size > _SMALL and _SPARSE * np.count_nonzero(keeps) < keeps.size:
            return self._moved_together(keeps)
        nobody = len(self.levels.leaf)
        slots = (self.slots - nobody) * keeps
        slots += nobody
        return Part(Frame(self.levels, slots, self.node, self.first, self.count, self.is_whole), keeps, None)

    def _moved_together(self, keeps: BoolArray) -> "Part":
        is_used: BoolArray = np.logical_or.reduce(keeps, axis=0)
        columns = np.flatnonzero(is_used)
        kept = keeps.take(columns, axis=1)
        depth = np.add.accumulate(kept, axis=0, dtype=np.int64)
        flat = np.flatnonzero(kept)
        row = flat // max(len(columns), 1)
        at = np.full((max(int(depth[-1].max(initial=0)), 1), len(columns)), keeps.size, dtype=np.int64)
        column = flat - row * len(columns)
        at[depth.take(flat) - 1, column] = row * keeps.shape[1] + columns.take(column)
        opened = np.concatenate([[0], np.cumsum(is_used)])
        first = opened.take(self.first)
        count = opened.take(self.first + self.count) - first
        slots = _padded(self.slots.ravel(), len(self.levels.leaf)).take(at)
        return Part(Frame(self.levels, slots, self.node.take(columns), first, count, False), keeps, at)

    def is_in(self) -> BoolArray:
        """Return at which places somebody stands, shape (H, R)."""
        return np.asarray(self.slots < len(self.levels.leaf))

    def walked(self) -> IntArray:
        """Return the chargers of the frame in walking order, those below any node side by side."""
        return self.slots.T[self.is_in().T]

    def values(self, per_charger: npt.NDArray[ValueT], nobody: float = 0.0) -> npt.NDArray[ValueT]:
        """Return a value per charger, shape (C,), place by place, shape (H, R)."""
        return _padded(per_charger, nobody).take(self.slots)

    def ranks(self, priority: FloatArray) -> FloatArray:
        """Return priorities, shape (C,), place by place, shape (H, R); nobody has that of somebody in the frame."""
        somebody = int(self.slots.min(initial=len(self.levels.leaf)))
        return self.values(priority, float(priority[somebody]) if somebody < len(priority) else 0.0)

    def chargers(self, values: FloatArray) -> FloatArray:
        """Return values of places, shape (H, R) and 0 for nobody, for each charger, shape (C,); 0 for those not in the frame."""
        if self.is_whole:
            return values.ravel().take(self.levels.grid.place)
        per_charger = np.zeros(len(self.levels.leaf) + 1)
        per_charger[self.slots] = values
        return per_charger[:-1]

    def direct_of(self, columns: IntArray, values: FloatArray) -> FloatArray:
        """Add values of some columns, shape (B, H, n), at the nodes they hang on: shape (B, N)."""
        node, count = self.node.take(columns), len(self.first)
        return np.stack([summed(node, row, count) for row in np.add.reduce(values, axis=1)])

    def direct(self, values: FloatArray) -> FloatArray:
        """Add values of places, shape (B, H, R), at the nodes they hang on: shape (B, N)."""
        return self.at_nodes(np.add.reduce(values, axis=1))

    def drawn(self, share: FloatArray, power_kw: FloatArray) -> FloatArray:
        """Add what counts of the power of each place, shape (H, R), by its shares, (B, H, R), at the nodes: shape (B, N)."""
        return self.at_nodes(np.einsum("bhr,hr->br", share, power_kw))

    def at_nodes(self, per_column: FloatArray) -> FloatArray:
        """Add values of columns, shape (B, R), at the nodes they hang on: shape (B, N)."""
        count = len(self.first)
        if self.levels.grid.is_split:
            return np.stack([summed(self.node, row, count) for row in per_column])
        total = np.zeros((len(per_column), count))
        for row, values in zip(total, per_column, strict=True):
            row[self.node] = values
        return total

    def totals(self, values: FloatArray) -> FloatArray:
        """Add values of places up the tree: shape (B, H, R) in, (B, N) out."""
        return self.lift(self.direct(values))

    def lift(self, direct: FloatArray) -> FloatArray:
        """Add values of nodes up the tree, shape (B, N)."""
        return self.levels.lift(direct)

    def below(self, nodes: IntArray) -> tuple[IntArray, IntArray]:
        """Return the columns below each of some nodes, one node after the other, and how many each has."""
        return below(self.first.take(nodes), self.count.take(nodes))


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Some of those who stand in a frame."""

    frame: Frame
    keeps: BoolArray
    """Who of the whole, shape (H, R)."""
    at: IntArray | None
    """Where in the whole each place was, row by row, shape of the part; `H * R` for nobody. None where nobody has moved."""

    def of(self, values: npt.NDArray[ValueT]) -> npt.NDArray[ValueT]:
        """Return what values of the whole, shape (..., H, R), are in the part; 0 for nobody."""
        if self.at is None:
            return np.asarray(values * self.keeps, dtype=values.dtype)
        picked = values.reshape(*values.shape[:-2], self.keeps.size).take(self.at, axis=-1, mode="clip")
        return np.asarray(picked * (self.at < self.keeps.size), dtype=values.dtype)

    def back(self, values: FloatArray) -> FloatArray:
        """Return values of the part, 0 for nobody, in the whole."""
        if self.at is None:
            return values
        whole = np.zeros(self.keeps.size + 1)
        whole[self.at] = values
        return whole[:-1].reshape(self.keeps.shape)


def _padded(values: npt.NDArray[ValueT], last: float) -> npt.NDArray[ValueT]:
    """Return values with one more at the end: what nobody has."""
    padded = np.empty(len(values) + 1, dtype=values.dtype)
    padded[:-1] = values
    padded[-1] = last
    return padded


def below(first: IntArray, counts: IntArray) -> tuple[IntArray, IntArray]:
    """Return the columns of each of some runs, one after the other, and how many each has."""
    shift = first - (np.cumsum(counts) - counts)
    return np.arange(int(counts.sum())) + np.repeat(shift, counts), counts


@dataclass(frozen=True, slots=True, eq=False)
class Bounds:
    """What holds at every node for the chargers of a frame: the total, and each phase that is bounded anywhere."""

    share: FloatArray
    """What counts of each one's power in each bound, 0 for nobody, shape (B, H, R)."""
    room_kw: FloatArray
    """Most that may flow through each node, shape (B, N)."""

    def rows(self, marked: BoolArray) -> "Bounds":
        """Return some of the bounds, shape (B,)."""
        return self if np.count_nonzero(marked) == len(marked) else Bounds(self.share[marked], self.room_kw[marked])

    def less(self, drawn_kw: FloatArray) -> "Bounds":
        """Return what remains when so much flows through each node in each bound already, shape (B, N); at least 0."""
        return Bounds(self.share, np.maximum(self.room_kw - drawn_kw, 0.0))


@dataclass(frozen=True, slots=True, eq=False)
class Caps:
    """What holds at every node for whoever draws: the bounds before it is said for whom."""

    share: FloatArray
    """What counts of the power of each charger on each bounded phase, shape (B - 1, C + 1): of nobody, who comes last, nothing."""
    room_kw: FloatArray
    """Most that may flow through each node, in total and on each bounded phase, shape (B, N)."""

    @classmethod
    def of(cls, caps_kw: FloatArray, phases: PhaseBounds | None) -> "Caps":
        """Return the caps of totals and phases."""
        if phases is None:
            return cls(np.zeros((0, 1)), caps_kw[None, :].copy())
        bounded = [p for p in range(PHASE_COUNT) if np.isfinite(phases.caps_kw[:, p]).any()]
        share = np.zeros((len(bounded), len(phases.share) + 1))
        share[:, :-1] = phases.share.T[bounded]
        return cls(share, np.concatenate([caps_kw[None, :], phases.caps_kw.T[bounded]]))

    def within(self, frame: Frame) -> Bounds:
        """Return the bounds for the chargers of a frame."""
        share = np.empty((1 + len(self.share), *frame.slots.shape))
        share[0] = frame.is_in()
        for own, of_phase in zip(share[1:], self.share, strict=True):
            of_phase.take(frame.slots, out=own, mode="clip")
        return Bounds(share, self.room_kw)

    def drawn(self, levels: TreeLevels, power_kw: FloatArray) -> FloatArray:
        """Return what the power of the chargers, shape (C,), counts at each node, shape (B, N)."""
        at = np.flatnonzero(power_kw > 0.0)
        power, leaf = power_kw.take(at), levels.leaf.take(at)
        direct = [summed(leaf, power * own.take(at), self.room_kw.shape[1]) for own in self.share]
        return levels.lift(np.stack([summed(leaf, power, self.room_kw.shape[1]), *direct]))

    def less(self, drawn_kw: FloatArray) -> "Caps":
        """Return what remains when so much flows through each node in each bound already, shape (B, N); at least 0."""
        return Caps(self.share, np.maximum(self.room_kw - drawn_kw, 0.0))
