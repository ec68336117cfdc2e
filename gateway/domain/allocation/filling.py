"""How much each charger gets above its minimum: weighted max-min fair under every bound at once.

A charger's level is its power above the minimum over its weight. Progressive filling raises all levels together; whoever meets a
full row (a node, or one phase of a node) or its own wish stops (Bertsekas and Gallager, Data Networks, 6.5.2). Here without its
steps: the rows of one bound form a tree, so one pass bottom-up solves them exactly for given levels elsewhere. A car on several
phases stands in several trees. Each round therefore brackets every level: from below by what each tree gives when the others give
all they might, from above by what it gives when the others give the least they must. A level is final where both agree, and in a
row that is full by what is sure already; the smallest level that is not final becomes so in every round, so that the rounds end.
Totals alone need half a round.
"""

import numpy as np

from gateway.domain.allocation.frames import Bounds, Frame, raise_up
from gateway.domain.allocation.levels import BoolArray, FloatArray, IntArray

_MOST_ROUNDS = 100
"""Rounds end by themselves; this bounds them should rounding errors keep two brackets apart."""
_SAME_LEVEL = 1e-12
"""Levels closer than this, relative to their size, are the same."""
_SAME_LOAD = 1e-11
"""A row is full when this share of its room is left."""


def fill(frame: Frame, bounds: Bounds, weight: FloatArray, most: FloatArray) -> FloatArray:
    """Return what each item of a frame gets above its minimum, shape (K,).

    Args:
        frame: Who charges.
        bounds: What remains at the nodes when everybody draws its minimum; shares of the items.
        weight: Share of each, above 0.
        most: Most that each can use above its minimum, kW.
    """
    ends = most / weight
    final, place = ends.copy(), np.arange(len(ends))
    slope, room = bounds.share * weight, bounds.room_kw
    stop = np.repeat(ends[None, :], len(slope), axis=0)
    is_loose = len(slope) > 1
    for _ in range(_MOST_ROUNDS):
        lower = _loose_levels(frame, slope, room, stop) if is_loose else _levels_within(frame, slope, room, stop)
        is_met = np.isfinite(lower)
        binds: BoolArray = np.logical_or.reduce(is_met, axis=1)
        final[place] = np.minimum(ends, lower.min(axis=0, initial=np.inf))
        if not binds.any() or (int(binds.sum()) == 1 and not is_loose):
            break
        is_loose = False
        # Rows that are not full when everybody takes all it may never are: who meets no full row is done.
        met: BoolArray = np.logical_or.reduce(is_met, axis=0)
        frame, place, ends = frame.subset(met), place.compress(met), ends.compress(met)
        slope, lower = _part(slope, binds, met), _part(lower, binds, met)
        room, sure = room[binds], final.take(place)
        upper = _levels_within(frame, slope, room, _but_own(ends, lower))
        goes_on = np.minimum(ends, upper.min(axis=0)) > sure + _SAME_LEVEL * (1.0 + sure)
        goes_on &= ~_in_full_rows(frame, slope, room, sure)
        if not goes_on.any():
            break
        room = np.maximum(room - frame.totals(slope * (sure * ~goes_on)), 0.0)
        frame, place, ends = frame.subset(goes_on), place.compress(goes_on), ends.compress(goes_on)
        slope = slope.compress(goes_on, axis=1)
        stop = _but_own(ends, upper.compress(goes_on, axis=1))
    return final * weight


def _part(values: FloatArray, rows: BoolArray, items: BoolArray) -> FloatArray:
    """Return some of the rows and items, shape (B, K)."""
    return values.compress(rows, axis=0).compress(items, axis=1)


def _in_full_rows(frame: Frame, slope: FloatArray, room: FloatArray, level: FloatArray) -> BoolArray:
    """Return which items stand in a row that is full at levels which all of them reach for sure, shape (K,): none can rise.

    Rows that are alike (a car whose phase nobody knows stands in one on each) hold each other off the bracket from above.
    """
    is_full = np.zeros((len(room), room.shape[1] + 1), dtype=bool)
    is_full[:, :-1] = frame.totals(slope * level) * (1.0 + _SAME_LOAD) + _SAME_LOAD >= room
    met = np.zeros((len(room), len(frame.run_node)), dtype=bool)
    for above in frame.levels.above:
        met |= is_full.take(above.take(frame.run_node), axis=1)
    stands: BoolArray = np.logical_or.reduce(frame.spread_runs(met) & (slope > 0.0), axis=0)
    return stands


def _but_own(ends: FloatArray, levels: FloatArray) -> FloatArray:
    """Return for each bound the least of an item's end and of its levels by all other bounds, shape (B, K)."""
    least = np.repeat(ends[None, :], len(levels), axis=0)
    for row, level in enumerate(levels):
        for other in range(len(levels)):
            if other != row:
                np.minimum(least[other], level, out=least[other])
    return least


def _loose_levels(frame: Frame, slope: FloatArray, room: FloatArray, stop: FloatArray) -> FloatArray:
    """Return levels at or below those of `_levels_within`, and infinite for the same items: nobody stops before a node is full."""
    met = np.full((len(room), len(frame.run_node)), np.inf)
    load, speed = frame.direct(slope * stop), frame.totals(slope)
    theta = np.full((len(room), room.shape[1] + 1), np.inf)
    for depth, nodes in enumerate(frame.levels.nodes_at):
        here, size = load[:, nodes], room[:, nodes]
        is_full = here > size
        theta[:, nodes] = np.where(is_full, size / np.where(is_full, speed[:, nodes], 1.0), np.inf)
        met = np.minimum(met, theta.take(frame.levels.above[depth].take(frame.run_node), axis=1))
        raise_up(load, frame.levels.parent[nodes], np.minimum(here, size))
    level = frame.spread_runs(met)
    level[slope <= 0.0] = np.inf
    return level


def _levels_within(frame: Frame, slope: FloatArray, room: FloatArray, stop: FloatArray) -> FloatArray:
    """Return for each item and bound the lowest water level of the nodes above it, infinite where none is full, shape (B, K).

    Args:
        frame: The items.
        slope: What counts of each item per level, shape (B, K).
        room: Room of each node, shape (B, N).
        stop: Level at which each item stops anyway, shape (B, K).
    """
    met = np.full((len(room), len(frame.run_node)), np.inf)
    load = frame.direct(slope * stop)
    for depth, nodes in enumerate(frame.levels.nodes_at):
        here, size = load[:, nodes], room[:, nodes]
        bound, hit = np.nonzero(here > size)
        if len(hit):
            at, counts = frame.below(nodes[hit])
            at += np.repeat(bound * stop.shape[1], counts)
            now = stop if depth == 0 else np.minimum(stop, frame.spread_runs(met))
            theta = np.full((len(room), room.shape[1] + 1), np.inf)
            starts = np.cumsum(counts) - counts
            ends = now.ravel().take(at)
            theta[bound, nodes[hit]] = water_levels(slope.ravel().take(at), ends, starts, counts, size[bound, hit])
            met = np.minimum(met, theta.take(frame.levels.above[depth].take(frame.run_node), axis=1))
        raise_up(load, frame.levels.parent[nodes], np.minimum(here, size))
    level = frame.spread_runs(met)
    level[slope <= 0.0] = np.inf
    return level


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
        counts: Items of each run, at least 1.
        room: Room of each run.
    """
    theta = np.zeros(len(starts))
    load = slope * ends
    total = np.add.reduceat(slope, starts)
    going = np.arange(len(starts))
    step = room / total
    while True:
        theta[going] = np.maximum(theta[going], step)
        has_stopped = ends <= np.repeat(theta[going], counts)
        stopped_slope = np.add.reduceat(slope * has_stopped, starts)
        rising = np.maximum(total - stopped_slope, np.finfo(np.float64).tiny)
        step = (room - np.add.reduceat(load * has_stopped, starts)) / rising
        moves = (step > theta[going] * (1.0 + 1e-15)) & (stopped_slope < total)
        if 2 * int(moves.sum()) > len(going):
            continue
        if not moves.any():
            break
        keeps = np.repeat(moves, counts)
        slope, ends, load = slope.compress(keeps), ends.compress(keeps), load.compress(keeps)
        going, room, total, step, counts = going[moves], room[moves], total[moves], step[moves], counts[moves]
        starts = np.cumsum(counts) - counts
    return theta
