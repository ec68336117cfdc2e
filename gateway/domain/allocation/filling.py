"""How much each charger gets above its minimum: weighted max-min fair under every bound at once.

A charger's level is its power above the minimum over its weight. Progressive filling raises all levels together; whoever meets a
full row (a node, or one phase of a node) or its own wish stops (Bertsekas and Gallager, Data Networks, 6.5.2). Here without its
steps: the rows of one bound form a tree, and one pass bottom-up solves a tree exactly where it is known at which level everybody
stops by what the other trees say. A car on several phases stands in several trees. The trees are therefore solved in turn, each
with what the others said last, until none of them changes. That ends: once the smallest levels are final, every row that is full at
the next one is solved with levels of at least that one elsewhere, which makes it final too. After the first turn only the rows above
somebody whose level has moved are solved again. Totals alone need one turn.
"""

import numpy as np
import numpy.typing as npt

from gateway.domain.allocation.frames import Bounds, Frame, ValueT, raise_up
from gateway.domain.allocation.levels import BoolArray, FloatArray, IntArray

_MOST_ROUNDS = 100
"""Turns end by themselves; this bounds them should rounding errors keep two trees apart."""
_SAME_LEVEL = 1e-13
"""Levels closer than this, relative to their size, are the same."""
_SHORT_RUN = 24
"""Runs with fewer items than this on average are summed item by item, longer ones run by run."""


def fill(frame: Frame, bounds: Bounds, weight: FloatArray, most: FloatArray) -> FloatArray:
    """Return what each item of a frame gets above its minimum, shape (K,).

    Args:
        frame: Who charges.
        bounds: What remains at the nodes when everybody draws its minimum; shares of the items.
        weight: Share of each, above 0.
        most: Most that each can use above its minimum, kW.
    """
    # Rows that are not full when everybody takes all it may never are: who meets no full row gets all it may.
    is_met = _meets_full_rows(frame, frame.direct(bounds.share * most), bounds.room_kw)
    rows = np.flatnonzero(is_met.any(axis=1))
    if not len(rows):
        return most
    meets = np.zeros(len(most), dtype=bool)
    for row in rows:
        meets |= is_met[row].take(frame.run) & (bounds.share[row] > 0.0)
    weights, mosts = weight.compress(meets), most.compress(meets)
    slope = np.stack([bounds.share[row].compress(meets) for row in rows]) * weights
    trees = _Trees(frame.subset(meets), slope, bounds.room_kw[rows], mosts / weights)
    for _ in range(_MOST_ROUNDS):
        moves = [trees.settle(row) for row in range(len(rows))]
        if len(rows) == 1 or not any(moves):
            break
    power = most.copy()
    power[meets] = np.minimum(mosts, trees.stops() * weights)
    return power


class _Trees:
    """The rows of all bounds, who stands in them, and the level at which each row holds them.

    Rows hold all items of a run alike, so levels are kept per bound and run. Items are of few kinds: a kind counts in the same
    bounds.
    """

    def __init__(self, frame: Frame, slope: FloatArray, room: FloatArray, ends: FloatArray) -> None:
        """Begin with rows that hold nobody.

        Args:
            frame: Who charges.
            slope: What counts of each item per level, shape (B, K).
            room: Room of each node, shape (B, N).
            ends: Level at which each stops by itself, shape (K,).
        """
        self._frame, self._slope, self._room, self._ends = frame, slope, room, ends
        self._nodes = [nodes.compress(frame.count.take(nodes) > 0) for nodes in frame.levels.nodes_at]
        self._above = [above.take(frame.run_node) for above in frame.levels.above]
        self._up = np.where(frame.levels.parent < 0, room.shape[1], frame.levels.parent)
        kind_of = (1 << np.arange(len(slope))) @ (slope > 0.0)
        kinds = np.flatnonzero(np.bincount(kind_of))
        self._rows_of = [[row for row in range(len(slope)) if kind >> row & 1] for kind in kinds.tolist()]
        self._cell = np.searchsorted(kinds, kind_of) * len(frame.run_node) + frame.run
        self._stop = np.zeros(slope.shape)
        self._load, self._theta = np.zeros(room.shape), np.full((len(room), room.shape[1] + 1), np.inf)
        self._direct = np.zeros((len(room), len(frame.run_node)))
        self._met = np.full(self._direct.shape, np.inf)

    def stops(self, but: int = -1) -> FloatArray:
        """Return the least level at which each item stops by itself or by any row, but those of one bound; shape (K,).

        What is said of items that do not count in that bound is of no use.
        """
        least = np.full((len(self._rows_of), len(self._frame.run_node)), np.inf)
        for held, rows in zip(least, self._rows_of, strict=True):
            for other in rows if but < 0 or but in rows else ():
                if other != but:
                    np.minimum(held, self._met[other], out=held)
        return np.asarray(np.minimum(self._ends, least.ravel().take(self._cell)))

    def settle(self, row: int) -> bool:
        """Solve the rows of one bound above everybody who stops elsewhere now by what the others say; return whether any are."""
        stop = self.stops(but=row)
        moved = stop != self._stop[row]
        moved &= self._slope[row] > 0.0
        if not moved.any():
            return False
        self._stop[row] = stop
        load = np.bincount(self._frame.run, weights=self._slope[row] * stop, minlength=len(self._frame.run_node))
        is_due = np.zeros(self._theta.shape[1], dtype=bool)
        is_due[self._frame.run_node.take(self._frame.run.compress(moved))] = True
        rise = np.zeros(self._theta.shape[1])
        rise[self._frame.run_node] = load - self._direct[row]
        self._direct[row] = load
        met, before = self._solve(row, is_due, rise), self._met[row]
        differs = (met < before * (1.0 - _SAME_LEVEL)) | (met > before * (1.0 + _SAME_LEVEL))
        np.copyto(before, met, where=differs)
        return True

    def _solve(self, row: int, is_due: BoolArray, rise: FloatArray) -> FloatArray:
        """Solve the rows of one bound at nodes that are due and above them, bottom-up, and return what holds each run, shape (R,).

        Args:
            row: The bound.
            is_due: Nodes on which somebody hangs whose stop has moved, shape (N + 1,); those above them are added.
            rise: By how much more counts at each of them than before, shape (N + 1,); what they pass on is added.
        """
        theta, load = self._theta[row], self._load[row]
        met = np.full(len(self._frame.run_node), np.inf)
        for level, above in zip(self._nodes, self._above, strict=True):
            nodes = level.compress(is_due.take(level))
            size, before = self._room[row].take(nodes), load.take(nodes)
            here = before + rise.take(nodes)
            last = theta.take(nodes)
            load[nodes], theta[nodes] = here, np.inf
            over = here > size
            if over.any():
                full = nodes.compress(over)
                theta[full] = self._water_levels(row, full, size.compress(over), met, last.compress(over))
            np.minimum(met, theta.take(above), out=met)
            up = self._up.take(nodes)
            is_due[up] = True
            passed = np.minimum(here, size) - np.minimum(before, size)
            rise += np.bincount(up, weights=passed, minlength=len(rise))
        return met

    def _water_levels(
        self, row: int, nodes: IntArray, room: FloatArray, met: FloatArray, start: FloatArray
    ) -> FloatArray:
        at, counts = self._frame.below(nodes)
        ends = np.minimum(self._stop[row].take(at), met.take(self._frame.run.take(at)))
        return water_levels(self._slope[row].take(at), ends, counts, room, start)


def _meets_full_rows(frame: Frame, load: FloatArray, room: FloatArray) -> BoolArray:
    """Return which runs are below a node that is full in each bound, shape (B, R).

    Args:
        frame: The items.
        load: What they count at the node each hangs on, shape (B, N).
        room: Room of each node, shape (B, N).
    """
    is_full = np.zeros((len(room), room.shape[1] + 1), dtype=bool)
    met = np.zeros((len(room), len(frame.run_node)), dtype=bool)
    for nodes, above in zip(frame.levels.nodes_at, frame.levels.above, strict=True):
        here, size = load.take(nodes, axis=1), room.take(nodes, axis=1)
        is_full[:, nodes] = here > size
        met |= is_full.take(above.take(frame.run_node), axis=1)
        raise_up(load, frame.levels.parent[nodes], np.minimum(here, size))
    return met


def water_levels(
    slope: FloatArray, ends: FloatArray, counts: IntArray, room: FloatArray, start: FloatArray
) -> FloatArray:
    """Return for each run of items the level at which `sum(slope * min(level, end)) = room`; every run must be over its room.

    The sum is concave in the level, so no step of Newton's overshoots, wherever it starts, and the steps end after as many as ends
    are passed in one go; each step is one sum per run, and no sum runs over two of them.

    Args:
        slope: What counts of each item per level.
        ends: Level at which each item stops by itself.
        counts: Items of each run, at least 1.
        room: Room of each run.
        start: A level that may be near, infinite where none is known.
    """
    theta = np.zeros(len(counts))
    runs = _Runs(counts)
    load = slope * ends
    total = runs.sums(slope)
    going = np.arange(len(counts))
    step = room / total
    if np.isfinite(start).any():
        has_stopped = ends <= runs.spread(start)
        rising = total - runs.sums(slope * has_stopped)
        near = (room - runs.sums(load * has_stopped)) / np.where(rising > 0.0, rising, np.inf)
        step = np.maximum(step, near)
    while True:
        theta[going] = np.maximum(theta[going], step)
        has_stopped = ends <= runs.spread(theta[going])
        stopped_slope = runs.sums(slope * has_stopped)
        rising = np.maximum(total - stopped_slope, np.finfo(np.float64).tiny)
        step = (room - runs.sums(load * has_stopped)) / rising
        moves = (step > theta[going] * (1.0 + 1e-15)) & (stopped_slope < total)
        if 2 * int(moves.sum()) > len(going):
            continue
        if not moves.any():
            break
        keeps = runs.spread(moves)
        slope, ends, load = slope.compress(keeps), ends.compress(keeps), load.compress(keeps)
        going, room, total, step, counts = going[moves], room[moves], total[moves], step[moves], counts[moves]
        runs = _Runs(counts)
    return theta


class _Runs:
    """Items side by side in runs: sums over each and values handed to all items of each."""

    def __init__(self, counts: IntArray) -> None:
        self._starts = np.cumsum(counts) - counts
        self._run = np.repeat(np.arange(len(counts)), counts)
        self._is_short = len(self._run) < _SHORT_RUN * len(counts)

    def sums(self, values: FloatArray) -> FloatArray:
        """Return the sum of each run."""
        if self._is_short:
            return np.bincount(self._run, weights=values, minlength=len(self._starts)).astype(np.float64, copy=False)
        return np.asarray(np.add.reduceat(values, self._starts))

    def spread(self, per_run: npt.NDArray[ValueT]) -> npt.NDArray[ValueT]:
        """Return for each item the value of its run."""
        return per_run.take(self._run)
