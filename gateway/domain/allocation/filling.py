"""How much each charger gets above its minimum: weighted max-min fair under every bound at once.

A charger's level is its power above the minimum over its weight. Progressive filling raises all levels together; whoever meets a
full row (a node, or one phase of a node) or its own wish stops (Bertsekas and Gallager, Data Networks, 6.5.2). Here without its
steps: every row has a level of its own, at which it holds those who would go beyond, and a charger is at the least of its wish and
the levels of its rows. All rows move at once, turn by turn, until none is over its room and none that holds somebody below it:

- a row over its room comes down to the level at which it is just full, the others where they are;
- a row below its room that holds somebody rises as if nobody else stopped (Newton's step: the sum is concave, so it never goes
  beyond that level);
- a row below its room that holds nobody is open: its level is infinite.

That is max-min fair, for everybody stops by its wish or is, in a full row, at the highest level there. And it ends: no row comes
down below the level at which it would be full if others stopped by their wishes alone; the least of these is therefore reached by
all after finitely many steps, from where on the row it belongs to is full and final, and so on with those that remain.
"""

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from gateway.domain.allocation.frames import Bounds, Frame, ValueT, below
from gateway.domain.allocation.levels import BoolArray, FloatArray, IntArray

_MOST_TURNS = 1_000
"""Turns end by themselves, after some dozen; this bounds them should rounding errors go on moving a row."""
_MARGIN = 1e-13
"""A row that is off its room by less, relative to it, is full: sums have rounding errors."""
_BLOCK = 4096
"""Columns at a time, so that what is worked out stays in a memory near the processor."""
_ROUNDING = 1e-15
"""A step that is shorter, relative to the level, is a rounding error."""


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
        share = bounds.share[row]
        np.multiply(share if part.at is None else part.of(share), weights, out=own)
    stops = part.back(_Rows(part.frame, slope, bounds.room_kw[rows], part.of(most / weight)).levels())
    return np.where(meets, np.minimum(most, stops * weight), most)


class _Rows:
    """The rows of all bounds and their levels, infinite where a row holds nobody.

    Rows hold all places of a column alike, so what holds a place is said per bound and column. Those who stand there are of few
    kinds: a kind counts in the same bounds. The `M` nodes with anybody below are numbered anew, level by level from the deepest;
    one more stands above them all.
    """

    def __init__(self, frame: Frame, slope: FloatArray, room: FloatArray, ends: FloatArray) -> None:
        """Begin with low levels of the deepest rows: those above come down where they turn out to be full.

        Args:
            frame: Who charges.
            slope: What counts of each per level, 0 for nobody, shape (B, H, R).
            room: Room of each node, shape (B, N).
            ends: Level at which each stops by itself, 0 for nobody, shape (H, R).
        """
        bounds, _height, columns = slope.shape
        used = [nodes.compress(frame.count.take(nodes) > 0) for nodes in frame.levels.nodes_at]
        order = np.concatenate(used)
        number = np.full(room.shape[1] + 1, len(order))
        number[order] = np.arange(len(order))
        tree = (np.arange(bounds) * (len(order) + 1))[:, None]
        self._first, self._count = frame.first.take(order), frame.count.take(order)
        self._parts = [slice(*each) for each in pairwise(np.cumsum([0, *map(len, used)]).tolist())]
        self._up = [number.take(frame.levels.up.take(nodes)) for nodes in used]
        self._up_flat = [(up + tree).ravel() for up in self._up]
        self._node = number.take(frame.node)
        self._node_flat = (self._node + tree).ravel()
        self._room = np.full((bounds, len(order) + 1), np.inf)
        self._room[:, :-1] = room.take(order, axis=1)
        self._ends, self._slope = ends, slope
        self._opens = (np.arange(len(ends)) * columns)[:, None]
        self._rows_of, self._cell = _kinds(slope)
        self._level, self._met = np.empty(ends.shape), np.full((bounds, columns), -1.0)
        self._load, self._rise = np.einsum("bhr,hr->br", slope, ends), np.add.reduce(slope, axis=1)
        self._theta = np.full(self._room.shape, np.inf)
        load, rise = self._lifted(self._theta)
        deepest = next(part for part in self._parts if part.stop)
        own = self._room[:, deepest]
        np.divide(own, rise[:, deepest], out=self._theta[:, deepest], where=load[:, deepest] > own)

    def levels(self) -> FloatArray:
        """Return the level of each when no row moves any more, shape (H, R)."""
        for _ in range(_MOST_TURNS):
            if not self._turn():
                break
        return self._level

    def _turn(self) -> bool:
        """Let every row over its room come down and every row below it that holds somebody rise; return whether any moved."""
        best = self._theta.copy()
        for part, up in zip(reversed(self._parts), reversed(self._up), strict=True):
            np.minimum(best[:, part], best.take(up, axis=1), out=best[:, part])
        self._hold(best.take(self._node, axis=1))
        load, rise = self._lifted(best)
        slack, margin = self._room - load, self._room * _MARGIN
        holds, is_over = (rise > 0.0) & (self._theta == best), slack < -margin
        before, theta = self._theta.copy(), self._theta.reshape(-1)
        theta[np.flatnonzero((self._theta < np.inf) & ~holds & ~is_over)] = np.inf
        moves, over = np.flatnonzero(holds & (is_over | (slack > margin))), np.flatnonzero(is_over)
        theta[moves] += slack.take(moves) / rise.take(moves)  # over its room a step too far: where the way down begins
        if len(over):
            theta[over] = self._lowered(over)
        # A row may be off its room by the rounding errors of a high level, and no step is short enough to mend that.
        return not np.array_equal(self._theta, before)

    def _hold(self, met: FloatArray) -> None:
        """Say at which level everybody is, and what that counts, when rows hold the columns at levels, shape (B, R)."""
        columns = np.flatnonzero(np.logical_or.reduce(met != self._met, axis=0))
        self._met = met
        width = met.shape[1]
        is_most = 2 * len(columns) > width
        least = self._least()
        for at in _blocks(0, width) if is_most else (columns,):
            level = np.minimum(_picked(self._ends, at), least.take(_picked(self._cell, at)))
            self._level[:, at] = level
            for row, held in enumerate(met):
                slope = _picked(self._slope[row], at)
                self._load[row, at] = np.einsum("hn,hn->n", slope, level)
                self._rise[row, at] = np.einsum("hn,hn->n", slope, (level == held[at]).astype(np.float64))

    def _least(self) -> FloatArray:
        """Return the least level at which the rows hold each kind in each column, one kind after the other."""
        least = np.zeros((len(self._rows_of), self._met.shape[1]))
        for held, rows in zip(least, self._rows_of, strict=True):
            if rows:
                np.minimum.reduce(self._met[rows], out=held)
        return least.ravel()

    def _lifted(self, best: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return what counts at each node, and how much more per level of those no row below holds, shape (B, M + 1) each.

        Args:
            best: The least level of each node and those above it, shape (B, M + 1).
        """
        loads, rises = np.zeros(best.shape), np.zeros(best.shape)
        load, rise = loads.reshape(-1), rises.reshape(-1)
        np.add.at(load, self._node_flat, self._load.ravel())
        np.add.at(rise, self._node_flat, self._rise.ravel())
        for part, up, flat in zip(self._parts, self._up, self._up_flat, strict=True):
            np.add.at(load, flat, loads[:, part].ravel())
            np.add.at(rise, flat, (rises[:, part] * (best[:, part] == best.take(up, axis=1))).ravel())
        return loads, rises

    def _lowered(self, nodes: IntArray) -> FloatArray:
        """Return the levels at which rows that are over their room are just full, the others where they are.

        Args:
            nodes: The nodes, those of all bounds counted through.
        """
        row, number = np.divmod(nodes, self._room.shape[1])
        first, count = self._first.take(number), self._count.take(number)
        room, found = self._room.take(nodes), self._theta.take(nodes)
        near = np.flatnonzero(count <= _BLOCK)
        if len(near):
            columns, counts = below(first.take(near), count.take(near))
            level = self._level.take(columns, axis=1)
            columns += np.repeat(row.take(near) * self._level.size, counts)
            slope = self._slope.ravel().take(self._opens + columns)
            found[near] = water_levels(slope, level, counts, room.take(near), found.take(near))
        for at in np.flatnonzero(count > _BLOCK).tolist():
            blocks = _blocks(int(first[at]), int(first[at] + count[at]))
            found[at] = _wide_level(self._slope[row[at]], self._level, blocks, float(room[at]), float(found[at]))
        return found


def _blocks(start: int, stop: int) -> list[slice]:
    """Return columns side by side in parts that a memory near the processor holds."""
    return [slice(at, min(at + _BLOCK, stop)) for at in range(start, stop, _BLOCK)]


def _picked(values: npt.NDArray[ValueT], at: slice | IntArray) -> npt.NDArray[ValueT]:
    """Return some columns of values, shape (H, R)."""
    return values[:, at] if isinstance(at, slice) else values.take(at, axis=1)


def _wide_level(slope: FloatArray, ends: FloatArray, blocks: list[slice], room: float, start: float) -> float:
    """Return what `water_levels` does for one run of many columns, block by block."""
    least = room / sum(float(np.add.reduce(slope[:, at], axis=None)) for at in blocks)
    level, is_first = max(least, start) if start < np.inf else least, True
    while True:
        left, rising = room, 0.0
        for at in blocks:
            own, end = slope[:, at], ends[:, at]
            rises = (end > level).astype(np.float64)
            rising += float(np.einsum("hn,hn->", own, rises))
            left -= float(np.einsum("hn,hn->", own, end * (1.0 - rises)))
        step = max(left / rising, least) if rising > 0.0 else least
        if not step > level * (1.0 + _ROUNDING) and not (is_first and step < level * (1.0 - _ROUNDING)):
            return level
        level, is_first = step, False


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
    for nodes, above in frame.levels.climb:
        here, size = load.take(nodes), room.take(nodes)
        is_full[nodes] = here > size
        np.add.at(load, above, np.minimum(here, size))
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
    runs = _Runs(counts)
    load, total, going = slope * ends, runs.sums(slope), np.arange(len(counts))
    least = room / total
    theta = np.where(start < np.inf, np.maximum(start, least), least)
    is_first = True
    while True:
        at = theta.take(going)
        has_stopped = (ends <= runs.spread(at)).astype(np.float64)
        stopped = runs.sums(slope, has_stopped)
        rising = total - stopped
        step = (room - runs.sums(load, has_stopped)) / np.where(rising > 0.0, rising, np.inf)
        np.maximum(step, least, out=step)
        moves = (step > at * (1.0 + _ROUNDING)) & (rising > 0.0)
        if is_first:
            moves |= step < at * (1.0 - _ROUNDING)
        if not np.count_nonzero(moves):
            return theta
        theta[going.compress(moves)] = step.compress(moves)
        if 2 * int(np.count_nonzero(moves)) <= len(going):
            keeps = np.flatnonzero(runs.spread(moves))
            slope, ends, load = slope.take(keeps, axis=1), ends.take(keeps, axis=1), load.take(keeps, axis=1)
            going, room, total, least, counts = (each.compress(moves) for each in (going, room, total, least, counts))
            runs = _Runs(counts)
        is_first = False


class _Runs:
    """Columns side by side in runs: sums over each and values handed to all columns of each."""

    def __init__(self, counts: IntArray) -> None:
        self._counts = counts
        self._is_single = int(counts.sum()) == len(counts)
        self._starts = np.cumsum(counts) - counts

    def sums(self, values: FloatArray, where: FloatArray | None = None) -> FloatArray:
        """Return the sum of each run, of values of shape (H, n), each times 0 or 1 of the same shape."""
        columns = np.add.reduce(values, axis=0) if where is None else np.einsum("hn,hn->n", values, where)
        return columns if self._is_single else np.asarray(np.add.reduceat(columns, self._starts))

    def spread(self, per_run: npt.NDArray[ValueT]) -> npt.NDArray[ValueT]:
        """Return for each column the value of its run."""
        return per_run if self._is_single else np.repeat(per_run, self._counts)
