"""The most by which two phases of a node may differ: only chargers of the heavier phases come down, everything else stays.

A charger that loads all phases alike moves no difference. Of the others each counts on its phase, and one whose phase nobody knows
counts on the heaviest: it could be there.
"""

import numpy as np

from gateway.domain.allocation.active import active_set
from gateway.domain.allocation.frames import Bounds, Frame
from gateway.domain.allocation.levels import TOLERANCE_KW, BoolArray, FloatArray, PhaseBounds, TreeLevels
from gateway.domain.allocation.shrinking import shrink
from gateway.domain.topology import PHASE_COUNT

_MOST_PASSES = 12
"""Lowering one node can upset another; after so many passes whoever is uneven below a node that is still uneven pauses."""


def balance(
    levels: TreeLevels,
    phases: PhaseBounds,
    setpoints_kw: FloatArray,
    reserved_kw: FloatArray,
    min_kw: FloatArray,
    priority: FloatArray,
) -> FloatArray:
    """Return set points that keep the unbalance of every node within its limit; none is raised.

    Each pass holds every phase to the lightest one plus what is allowed: the lowest priorities pause where the minima do not fit,
    the rest shrinks. Reserved power that is uneven cannot be helped, but nothing is added to it.

    Args:
        levels: The tree.
        phases: Shares and the greatest unbalance.
        setpoints_kw: Set points, shape (C,).
        reserved_kw: What is drawn beside them and cannot be moved, shape (C,).
        min_kw: Least at which each charges, shape (C,).
        priority: Who goes on when not all can: higher first, shape (C,).
    """
    most = phases.max_unbalance_kw
    if most is None or not np.isfinite(most).any():
        return setpoints_kw
    uneven, anywhere = _uneven_share(phases.share)
    lowered = setpoints_kw
    for _ in range(_MOST_PASSES):
        share, room = _rows(levels, uneven, anywhere, lowered + reserved_kw, most)
        load, ours = _loads(levels, share, lowered + reserved_kw), _loads(levels, share, lowered)
        over = ((load > room + TOLERANCE_KW) & (ours > TOLERANCE_KW)).any(axis=1)
        if not over.any():
            return lowered
        left = np.maximum(room - (load - ours), 0.0)
        lowered = _lowered(levels, Bounds(share[over], left[over]), lowered, min_kw, priority)
    return _without_uneven(levels, (uneven, anywhere), most, lowered, reserved_kw)


def _uneven_share(share: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return what each charger puts on each phase beyond its lightest, shape (C, 3), and what it may put on any, shape (C,)."""
    is_open = share.sum(axis=1) > 1.0 + TOLERANCE_KW
    uneven = share - share.min(axis=1, keepdims=True)
    return uneven, np.where(is_open, share.max(axis=1), 0.0)


def _loads(levels: TreeLevels, share: FloatArray, power_kw: FloatArray) -> FloatArray:
    """Return what counts of a power at each node, shape (B, N)."""
    return np.stack([levels.totals(row * power_kw) for row in share])


def _rows(
    levels: TreeLevels, uneven: FloatArray, anywhere: FloatArray, power_kw: FloatArray, most_kw: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return what counts on each phase and, last, of the chargers of unknown phase, shape (4, C), and how much may, (4, N)."""
    lightest = _loads(levels, uneven.T, power_kw).min(axis=0)
    share = np.concatenate([uneven.T + anywhere, anywhere[None, :]])
    room = np.concatenate([np.repeat((lightest + most_kw)[None, :], PHASE_COUNT, axis=0), most_kw[None, :]])
    return share, room


def _lowered(
    levels: TreeLevels, bounds: Bounds, setpoints_kw: FloatArray, min_kw: FloatArray, priority: FloatArray
) -> FloatArray:
    counts = (bounds.share > 0.0).any(axis=0) & (setpoints_kw > 0.0)
    frame = Frame.of(levels, counts)
    inner = Bounds(np.stack([frame.values(row) for row in bounds.share]), bounds.room_kw)
    power = frame.values(setpoints_kw)
    floor = np.minimum(frame.values(min_kw), power)
    size = inner.share * floor
    stays = active_set(frame, inner.room_kw, size, frame.totals(size), frame.ranks(priority))
    return np.where(counts, frame.chargers(shrink(frame, inner, power * stays, floor * stays)), setpoints_kw)


def _without_uneven(
    levels: TreeLevels,
    shares: tuple[FloatArray, FloatArray],
    most_kw: FloatArray,
    setpoints_kw: FloatArray,
    reserved_kw: FloatArray,
) -> FloatArray:
    """Return set points with 0 for everybody uneven below a node that is still uneven."""
    uneven, anywhere = shares
    is_uneven = np.maximum(anywhere, uneven.max(axis=1)) > 0.0
    lowered = setpoints_kw
    while True:
        share, room = _rows(levels, uneven, anywhere, lowered + reserved_kw, most_kw)
        over = _loads(levels, share, lowered + reserved_kw) > room + TOLERANCE_KW
        is_over: BoolArray = np.logical_or.reduce(over, axis=0)
        pauses = levels.is_below(is_over) & is_uneven & (lowered > 0.0)
        if not pauses.any():
            return lowered
        lowered = np.where(pauses, 0.0, lowered)
