"""How much each charger gets above its minimum: weighted max-min fair under every bound at once.

A charger's level is its power above the minimum over its weight. Progressive filling raises all levels together; whoever meets a
full row (a node, or one phase of a node) or its own wish stops (Bertsekas and Gallager, Data Networks, 6.5.2). Here without its
steps: the rows of one kind form a tree, so one pass bottom-up solves them exactly for given levels elsewhere. A car on several
phases stands in several trees. Each round therefore brackets every level: from below by what each tree gives when the others give
all they might, from above by what it gives when the others give the least they must. Where both agree the level is final; the
smallest level that is not final agrees in every round, so that the rounds end. Totals alone need half a round.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gateway.domain.allocation.levels import BoolArray, Bound, FloatArray, IntArray, TreeLevels

_MOST_ROUNDS = 1000
"""Rounds end by themselves; this bounds them should rounding errors keep two brackets apart."""
_SAME_LEVEL = 1e-12
"""Levels closer than this, relative to their size, are the same."""


def fill(
    levels: TreeLevels, bounds: Sequence[Bound], chosen: BoolArray, weight: FloatArray, most: FloatArray
) -> FloatArray:
    """Return what each charger gets above its minimum, shape (C,): 0 for those not chosen.

    Args:
        levels: The tree.
        bounds: What remains at the nodes when everybody chosen draws its minimum.
        chosen: Who charges.
        weight: Share of each, above 0.
        most: Most that each can use above its minimum, kW.
    """
    above = np.zeros(len(chosen))
    items = levels.walk[chosen[levels.walk]]
    ends = most[items] / weight[items]
    trees = [_Tree.of(levels, bound, items, weight) for bound in bounds]
    upper = [np.full(len(items), np.inf) for _ in trees]
    for _ in range(_MOST_ROUNDS):
        lower = [tree.levels_within(_least(ends, upper, but=k)) for k, tree in enumerate(trees)]
        sure = _least(ends, lower)
        binding = [bool(np.isfinite(level).any()) for level in lower]
        if sum(binding) <= 1:
            above[items] = sure * weight[items]
            break
        trees = [tree for tree, binds in zip(trees, binding, strict=True) if binds]
        lower = [level for level, binds in zip(lower, binding, strict=True) if binds]
        upper = [tree.levels_within(_least(ends, lower, but=k)) for k, tree in enumerate(trees)]
        is_final = _least(ends, upper) <= sure + _SAME_LEVEL * (1.0 + sure)
        above[items] = sure * weight[items]
        if is_final.all():
            break
        goes_on = ~is_final
        trees = [tree.without(is_final, sure) for tree in trees]
        upper, ends, items = [level[goes_on] for level in upper], ends[goes_on], items[goes_on]
    return above


def _least(ends: FloatArray, levels: Sequence[FloatArray], *, but: int = -1) -> FloatArray:
    """Return the smallest of the ends and all levels but one."""
    least = ends
    for k, level in enumerate(levels):
        if k != but:
            least = np.minimum(least, level)
    return least


@dataclass(frozen=True, slots=True, eq=False)
class _Tree:
    """The rows of one bound with the items that count in them; items lie in walking order."""

    nodes: tuple[IntArray, ...]
    """Node of every item at each level, deepest first; the number of nodes stands for none."""
    slope: FloatArray
    """What counts of an item per level, shape (items,)."""
    room: FloatArray
    """Shape (nodes + 1,), infinite at the end."""

    @classmethod
    def of(cls, levels: TreeLevels, bound: Bound, items: IntArray, weight: FloatArray) -> "_Tree":
        slope = weight[items] if bound.share is None else weight[items] * bound.share[items]
        room = np.append(np.maximum(bound.room_kw, 0.0), np.inf)
        return cls(tuple(row[items] for row in levels.node), slope, room)

    def without(self, gone: BoolArray, level: FloatArray) -> "_Tree":
        """Return the tree with items taken out at their final level, and their power off the room of their nodes."""
        taken, room, stays = self.slope[gone] * level[gone], self.room.copy(), ~gone
        for nodes in self.nodes:
            room -= np.bincount(nodes[gone], weights=taken, minlength=len(room))
        room[-1] = np.inf
        return _Tree(tuple(nodes[stays] for nodes in self.nodes), self.slope[stays], np.maximum(room, 0.0))

    def levels_within(self, ends: FloatArray) -> FloatArray:
        """Return for each item the lowest water level of the nodes above it; infinite where none is full.

        Args:
            ends: Level at which each item stops by itself, shape (items,).
        """
        level = np.full(len(ends), np.inf)
        counts = np.flatnonzero(self.slope > 0.0)
        if not len(counts):
            return level
        is_whole = len(counts) == len(ends)
        slope, stop = (self.slope, ends) if is_whole else (self.slope[counts], ends[counts])
        for row in self.nodes:
            at, theta = _full_rows(row if is_whole else row[counts], slope, stop, self.room)
            if len(at):
                stop = stop.copy() if stop is ends else stop
                stop[at] = np.minimum(stop[at], theta)
                place = at if is_whole else counts[at]
                level[place] = np.minimum(level[place], theta)
        return level


def _full_rows(node: IntArray, slope: FloatArray, ends: FloatArray, room: FloatArray) -> tuple[IntArray, FloatArray]:
    """Return the items below full nodes of one level and the water level of their node."""
    starts = np.flatnonzero(np.r_[True, node[1:] != node[:-1]])
    counts = np.diff(np.r_[starts, len(node)])
    size = room[node[starts]]
    is_full = np.add.reduceat(slope * ends, starts) > size
    if not is_full.any():
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    if is_full.all():
        theta = water_levels(slope, ends, starts, counts, size)
        return np.arange(len(node)), np.repeat(theta, counts)
    at = np.flatnonzero(np.repeat(is_full, counts))
    counts = counts[is_full]
    theta = water_levels(slope[at], ends[at], np.cumsum(counts) - counts, counts, size[is_full])
    return at, np.repeat(theta, counts)


def water_levels(
    slope: FloatArray, ends: FloatArray, starts: IntArray, counts: IntArray, room: FloatArray
) -> FloatArray:
    """Return for each run of items the level at which `sum(slope * min(level, end)) = room`; every run must be over its room.

    The sum is concave in the level, so Newton's steps from 0 never overshoot and end after as many steps as ends are passed in
    one go; each step is one sum per run, and no sum runs over two of them.

    Args:
        slope: What counts of each item per level.
        ends: Level at which each item stops by itself.
        starts: First item of each run.
        counts: Items of each run.
        room: Room of each run.
    """
    theta = np.zeros(len(starts))
    load = slope * ends
    total = np.add.reduceat(slope, starts)
    going = np.arange(len(starts))
    step = room / total
    while len(going):
        theta[going] = np.maximum(theta[going], step)
        has_stopped = ends <= np.repeat(theta[going], counts)
        stopped_slope = np.add.reduceat(slope * has_stopped, starts)
        rising = np.maximum(total - stopped_slope, np.finfo(np.float64).tiny)
        step = (room - np.add.reduceat(load * has_stopped, starts)) / rising
        moves = (step > theta[going] * (1.0 + 1e-15)) & (stopped_slope < total)
        if 2 * int(moves.sum()) > len(going):
            continue
        keeps = np.repeat(moves, counts)
        slope, ends, load = slope[keeps], ends[keeps], load[keeps]
        going, room, total, step, counts = going[moves], room[moves], total[moves], step[moves], counts[moves]
        starts = np.cumsum(counts) - counts
    return theta
