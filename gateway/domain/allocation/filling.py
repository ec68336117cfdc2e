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
from gateway.domain.allocation.levels import BoolArray, FloatArray, IntArray, summed

_MOST_ROUNDS = 100
"""Turns end by themselves; this bounds them should rounding errors keep two trees apart."""
_TINY = float(np.finfo(np.float64).tiny)
_SAME_LEVEL = 1e-13
"""Levels closer than this, relative to their size, are the same."""


def fill(frame: Frame, bounds: Bounds, weight: FloatArray, most: FloatArray) -> FloatArray:
    """Return what everybody in a frame gets above its minimum, shape (H, R).

    Args:
        frame: Who charges.
        bounds: What remains at the nodes when everybody draws its minimum; shares of those who charge.
        weight: Share of each, above 0, also for nobody; shape (H, R).
        most: Most that each can use above its minimum, kW, 0 for nobody; shape (H, R).
    """
    # Rows that are not full when everybody takes all it may never are: who meets no full row gets all it may.
    load = frame.drawn(bounds.share, most)
    rows = np.flatnonzero(np.logical_or.reduce(frame.lift(load) > bounds.room_kw, axis=1)).tolist()
    if not rows:
        return most
    meets = np.zeros(most.shape, dtype=bool)
    for row in rows:
        meets |= _meets_full_rows(frame, load[row], bounds.room_kw[row]) & (bounds.share[row] > 0.0)
    meets &= most > 0.0
    part = frame.part(meets)
    weights = part.of(weight)
    slope = np.empty((len(rows), *weights.shape))
    for own, row in zip(slope, rows, strict=True):
        np.multiply(part.of(bounds.share[row]) if part.at is not None else bounds.share[row], weights, out=own)
    trees = _Trees(part.frame, slope, bounds.room_kw[rows], part.of(most / weight))
    for _ in range(_MOST_ROUNDS):
        moves = [trees.settle(row) for row in range(len(rows))]
        if len(rows) == 1 or not any(moves):
            break
    stops = part.back(trees.stops())
    return np.where(meets, np.minimum(most, stops * weight), most)


class _Trees:
    """The rows of all bounds, who stands in them, and the level at which each row holds them.

    Rows hold all places of a column alike, so levels are kept per bound and column. Those who stand there are of few kinds: a kind
    counts in the same bounds.
    """

    def __init__(self, frame: Frame, slope: FloatArray, room: FloatArray, ends: FloatArray) -> None:
        """Begin with rows that hold nobody.

        Args:
            frame: Who charges.
            slope: What counts of each per level, 0 for nobody, shape (B, H, R).
            room: Room of each node, shape (B, N).
            ends: Level at which each stops by itself, 0 for nobody, shape (H, R).
        """
        self._frame, self._slope, self._room, self._ends = frame, slope, room, ends
        self._nodes = [nodes.compress(frame.count.take(nodes) > 0) for nodes in frame.levels.nodes_at]
        self._above = [above.take(frame.node) for above in frame.levels.above]
        self._rows_of, self._cell = _kinds(slope)
        self._stop = np.zeros(slope.shape)
        self._load, self._theta = np.zeros(room.shape), np.full((len(room), room.shape[1] + 1), np.inf)
        self._direct = np.zeros((len(room), len(frame.node)))
        self._met = np.full(self._direct.shape, np.inf)
        self._heard: list[FloatArray | None] = [None] * len(room)

    def stops(self) -> FloatArray:
        """Return the least level at which everybody stops by itself or by any row, shape (H, R)."""
        return np.minimum(self._ends, self._least(-1).ravel().take(self._cell))

    def _least(self, but: int) -> FloatArray:
        """Return the least level at which the rows hold each kind in each column, but those of one bound; shape (kinds, R).

        What is said of kinds that do not count in that bound is of no use.
        """
        least = np.full((len(self._rows_of), len(self._frame.node)), np.inf)
        for held, rows in zip(least, self._rows_of, strict=True):
            for other in rows if but < 0 or but in rows else ():
                if other != but:
                    np.minimum(held, self._met[other], out=held)
        return least

    def settle(self, row: int) -> bool:
        """Solve the rows of one bound above everybody who stops elsewhere now by what the others say; return whether any are."""
        least = self._least(row)
        heard, self._heard[row] = self._heard[row], least
        columns = None if heard is None else np.flatnonzero(np.logical_or.reduce(least != heard, axis=0))
        if columns is not None:
            if not len(columns):
                return False
            if 2 * len(columns) > len(self._frame.node):
                columns = None
        columns, load = self._restop(row, least, columns)
        if not len(columns):
            return False
        count = self._theta.shape[1]
        node = self._frame.node.take(columns)
        is_due = np.zeros(count, dtype=bool)
        is_due[node] = True
        rise = summed(node, load - self._direct[row].take(columns), count)
        self._direct[row, columns] = load
        met, before = self._solve(row, is_due, rise), self._met[row]
        differs = (met < before * (1.0 - _SAME_LEVEL)) | (met > before * (1.0 + _SAME_LEVEL))
        np.copyto(before, met, where=differs)
        return True

    def _restop(self, row: int, least: FloatArray, columns: IntArray | None) -> tuple[IntArray, FloatArray]:
        """Say anew where those in some columns stop; return the columns in which anybody's stop has moved, and what they count.

        Args:
            row: The bound.
            least: What the others say, shape (kinds, R).
            columns: Columns for which they say something else than before; None for all.
        """
        ends, cell, stops, slope = self._ends, self._cell, self._stop[row], self._slope[row]
        if columns is not None:
            ends, stops, slope = (each.take(columns, axis=1) for each in (ends, stops, slope))
            cell = cell.take(columns, axis=1)
        stop = least.ravel().take(cell)
        np.minimum(ends, stop, out=stop)
        moved = stop != stops
        moved &= slope > 0.0
        at = np.flatnonzero(np.logical_or.reduce(moved, axis=0))
        if columns is None:
            self._stop[row] = stop
        else:
            self._stop[row][:, columns] = stop
        stop *= slope
        return at if columns is None else columns.take(at), np.add.reduce(stop, axis=0).take(at)

    def _solve(self, row: int, is_due: BoolArray, rise: FloatArray) -> FloatArray:
        """Solve the rows of one bound at nodes that are due and above them, bottom-up; return what holds each column, shape (R,).

        Args:
            row: The bound.
            is_due: Nodes on which somebody hangs whose stop has moved, shape (N + 1,); those above them are added.
            rise: By how much more counts at each of them than before, shape (N + 1,); what they pass on is added.
        """
        theta, load = self._theta[row], self._load[row]
        met = np.full(len(self._frame.node), np.inf)
        for level, above in zip(self._nodes, self._above, strict=True):
            nodes = level.compress(is_due.take(level))
            if len(nodes):
                size, before = self._room[row].take(nodes), load.take(nodes)
                here = before + rise.take(nodes)
                last = theta.take(nodes)
                load[nodes], theta[nodes] = here, np.inf
                over = here > size
                if np.count_nonzero(over):
                    full = nodes.compress(over)
                    theta[full] = self._water_levels(row, full, size.compress(over), met, last.compress(over))
                up = self._frame.levels.up.take(nodes)
                is_due[up] = True
                raise_up(rise, up, np.minimum(here, size) - np.minimum(before, size))
            np.minimum(met, theta.take(above), out=met)
        return met

    def _water_levels(
        self, row: int, nodes: IntArray, room: FloatArray, met: FloatArray, start: FloatArray
    ) -> FloatArray:
        columns, counts = self._frame.below(nodes)
        ends = np.minimum(self._stop[row].take(columns, axis=1), met.take(columns))
        return water_levels(self._slope[row].take(columns, axis=1), ends, counts, room, start)


def _kinds(slope: FloatArray) -> tuple[list[list[int]], IntArray]:
    """Return the bounds in which each kind counts, and where each place's kind in its column is, row by row, shape (H, R).

    Args:
        slope: What counts of each per level, 0 for nobody, shape (B, H, R).
    """
    kind_of = np.zeros(slope.shape[1:], dtype=np.int64)
    for bound, own in enumerate(slope):
        kind_of += (own > 0.0).astype(np.int64) << bound
    kinds = np.flatnonzero(np.bincount(kind_of.ravel(), minlength=1 << len(slope)))
    number = np.zeros(1 << len(slope), dtype=np.int64)
    number[kinds] = np.arange(len(kinds))
    columns = slope.shape[2]
    rows_of = [[row for row in range(len(slope)) if kind >> row & 1] for kind in kinds.tolist()]
    return rows_of, (number * columns).take(kind_of) + np.arange(columns)


def _meets_full_rows(frame: Frame, load: FloatArray, room: FloatArray) -> BoolArray:
    """Return which columns are below a node that is full in one bound, shape (R,).

    Args:
        frame: Who charges.
        load: What they count in one bound at the node each hangs on, shape (N,).
        room: Room of each node, shape (N,).
    """
    is_full = np.zeros(len(room) + 1, dtype=bool)
    for nodes, parents, number in frame.levels.climb:
        here, size = load.take(nodes), room.take(nodes)
        is_full[nodes] = here > size
        load[parents] += summed(number, np.minimum(here, size), len(parents))
    roots = frame.levels.nodes_at[-1]
    is_full[roots] = load.take(roots) > room.take(roots)
    for nodes in frame.levels.nodes_at[-2::-1]:
        is_full[nodes] |= is_full.take(frame.levels.up.take(nodes))
    return is_full.take(frame.node)


def water_levels(
    slope: FloatArray, ends: FloatArray, counts: IntArray, room: FloatArray, start: FloatArray
) -> FloatArray:
    """Return for each run of columns the level at which `sum(slope * min(level, end)) = room`; every run must be over its room.

    The sum is concave in the level, so no step of Newton's overshoots, wherever it starts, and the steps end after as many as ends
    are passed in one go; each step is one sum per run, and no sum runs over two of them.

    Args:
        slope: What counts of each per level, 0 for nobody, shape (H, n).
        ends: Level at which each stops by itself, shape (H, n).
        counts: Columns of each run, at least 1.
        room: Room of each run.
        start: A level that may be near, infinite where none is known.
    """
    theta = np.zeros(len(counts))
    runs = _Runs(counts)
    load = slope * ends
    total = runs.sums(slope)
    going = np.arange(len(counts))
    step, scratch = room / total, np.empty(slope.shape)
    if np.count_nonzero(start < np.inf):
        has_stopped = ends <= runs.spread(start)
        rising = total - runs.sums(slope * has_stopped)
        near = (room - runs.sums(load * has_stopped)) / np.where(rising > 0.0, rising, np.inf)
        step = np.maximum(step, near)
    while True:
        theta[going] = np.maximum(theta[going], step)
        has_stopped = ends <= runs.spread(theta[going])
        stopped_slope = runs.sums(np.multiply(slope, has_stopped, out=scratch))
        rising = np.maximum(total - stopped_slope, _TINY)
        step = (room - runs.sums(np.multiply(load, has_stopped, out=scratch))) / rising
        moves = (step > theta[going] * (1.0 + 1e-15)) & (stopped_slope < total)
        if 2 * int(np.count_nonzero(moves)) > len(going):
            continue
        if not np.count_nonzero(moves):
            break
        keeps = np.flatnonzero(runs.spread(moves))
        slope, ends, load = slope.take(keeps, axis=1), ends.take(keeps, axis=1), load.take(keeps, axis=1)
        going, room, total, step, counts = (each.compress(moves) for each in (going, room, total, step, counts))
        runs, scratch = _Runs(counts), np.empty(slope.shape)
    return theta


class _Runs:
    """Columns side by side in runs: sums over each and values handed to all columns of each."""

    def __init__(self, counts: IntArray) -> None:
        self._counts = counts
        self._is_single = int(counts.sum()) == len(counts)
        self._starts = np.cumsum(counts) - counts

    def sums(self, values: FloatArray) -> FloatArray:
        """Return the sum of each run, of values of shape (H, n)."""
        columns = np.add.reduce(values, axis=0)
        return columns if self._is_single else np.asarray(np.add.reduceat(columns, self._starts))

    def spread(self, per_run: npt.NDArray[ValueT]) -> npt.NDArray[ValueT]:
        """Return for each column the value of its run."""
        return per_run if self._is_single else np.repeat(per_run, self._counts)
