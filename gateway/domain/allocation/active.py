"""Who charges when not all can: a charger draws nothing or at least its minimum (6 A for AC, IEC 61851-1)."""

from collections.abc import Sequence

import numpy as np

from gateway.domain.allocation.levels import TOLERANCE_KW, BoolArray, Bound, FloatArray, IntArray, TreeLevels

_REPAIR_ROUNDS = 8
"""With different minima or bounds per phase: how often chargers that were left out are offered what remains."""


def active_set(
    levels: TreeLevels, bounds: Sequence[Bound], candidates: BoolArray, size_kw: FloatArray, priority: FloatArray
) -> BoolArray:
    """Return the candidates that stay, shape (C,): per node, bottom-up, the highest priorities whose sizes fit every bound.

    With one size for all and totals alone this is the greedy algorithm on a laminar matroid and finds the set of highest total
    priority exactly (Edmonds 1971). Otherwise it is greedy by priority, and no charger is left out that still fits.

    Args:
        levels: The tree.
        bounds: Most that may flow through each node, in total and per phase.
        candidates: Who may charge, shape (C,).
        size_kw: What each needs at least, shape (C,).
        priority: Higher first, shape (C,).
    """
    active = _kept(levels, bounds, candidates, size_kw, priority)
    if len(bounds) == 1 and not _differ(size_kw[candidates]):
        return active
    for _ in range(_REPAIR_ROUNDS):
        used = np.where(active, size_kw, 0.0)
        left = [Bound(bound.share, bound.room_kw - levels.totals(bound.counted(used))) for bound in bounds]
        fits = candidates & ~active
        for bound in left:
            fits &= _fits(levels, bound, size_kw)
        if not fits.any():
            break
        active = active | _kept(levels, left, fits, size_kw, priority)
    return active


def _differ(sizes_kw: FloatArray) -> bool:
    return bool(sizes_kw.size) and float(sizes_kw.max() - sizes_kw.min()) > TOLERANCE_KW


def _fits(levels: TreeLevels, left: Bound, size_kw: FloatArray) -> BoolArray:
    """Return whose size fits below every node above it, shape (C,)."""
    room = np.append(left.room_kw, np.inf) + TOLERANCE_KW
    size = left.counted(size_kw)
    fits = np.ones(len(size), dtype=bool)
    for node in levels.node:
        fits &= (size <= room[node]) | (size <= 0.0)
    return fits


def _kept(
    levels: TreeLevels, bounds: Sequence[Bound], candidates: BoolArray, size_kw: FloatArray, priority: FloatArray
) -> BoolArray:
    active = candidates
    for bound in bounds:
        active = _kept_by_one(levels, bound, active, bound.counted(size_kw), priority)
    return active


def _kept_by_one(
    levels: TreeLevels, bound: Bound, candidates: BoolArray, size: FloatArray, priority: FloatArray
) -> BoolArray:
    active = candidates.copy()
    caps = np.append(bound.room_kw, np.inf) + TOLERANCE_KW
    need = levels.totals(np.where(active, size, 0.0))
    if (need <= caps[:-1]).all():
        return active
    for nodes, node in zip(levels.nodes_at, levels.node, strict=True):
        is_tight = np.zeros(len(caps), dtype=bool)
        is_tight[nodes] = need[nodes] > caps[nodes]
        if not is_tight.any():
            continue
        index = np.flatnonzero(active & is_tight[node] & (size > 0.0))
        order = index[_by_node_and_priority(node[index], priority[index])]
        keeps = _greedy_runs(node[order], size[order], caps)
        active[order[~keeps]] = False
        need = levels.totals(np.where(active, size, 0.0))
    return active


def _greedy_runs(node: IntArray, size_kw: FloatArray, caps: FloatArray) -> BoolArray:
    """Accept items in order within each run of equal nodes while they fit; who does not fit is skipped.

    One round per distinct size at most: once an item does not fit, no later one of its size or larger does.
    """
    starts = np.flatnonzero(np.r_[True, node[1:] != node[:-1]])
    run = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(node)]))
    keeps = np.ones(len(node), dtype=bool)
    position = np.arange(len(node))
    while True:
        used = np.cumsum(np.where(keeps, size_kw, 0.0))
        before = np.r_[0.0, used][starts]
        misfit = keeps & (used - before[run] > caps[node])
        if not misfit.any():
            return keeps
        first = np.full(len(starts), len(node), dtype=np.int64)
        np.minimum.at(first, run[misfit], position[misfit])
        limit = np.where(first < len(node), size_kw[np.minimum(first, len(node) - 1)], np.inf)
        keeps &= ~((position >= first[run]) & (size_kw >= limit[run]))


def _by_node_and_priority(node: IntArray, priority: FloatArray) -> IntArray:
    """Return the order by node, then highest priority first; one sort, and a quick one where chargers lie by node already."""
    low, high = float(priority.min()), float(priority.max())
    behind = (high - priority) / max((high - low) * 1.001, TOLERANCE_KW)  # in [0, 1): never reaches the next node
    return np.argsort(node + behind, kind="stable")
