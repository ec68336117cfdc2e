"""The most by which two phases of a node may differ: only chargers of the heavier phases come down, everything else stays.

A charger that loads all phases alike moves no difference. Of the others each counts on its phase, and one whose phase nobody knows
counts on the heaviest: it could be there.
"""

import numpy as np

from gateway.domain.allocation.active import active_set
from gateway.domain.allocation.levels import (
    TOLERANCE_KW,
    Bound,
    FloatArray,
    PhaseBounds,
    TreeLevels,
)
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
        rows = _rows(levels, uneven, anywhere, lowered + reserved_kw, most)
        over = [k for k, (share, room) in enumerate(rows) if _exceeds(levels, share, lowered, reserved_kw, room)]
        if not over:
            return lowered
        bounds = [_bound(levels, *rows[k], reserved_kw) for k in over]
        lowered = _lowered(levels, bounds, lowered, min_kw, priority)
    return _without_uneven(levels, (uneven, anywhere), most, lowered, reserved_kw)


def _uneven_share(share: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return what each charger puts on each phase beyond its lightest, shape (C, 3), and what it may put on any, shape (C,)."""
    is_open = share.sum(axis=1) > 1.0 + TOLERANCE_KW
    uneven = share - share.min(axis=1, keepdims=True)
    return uneven, np.where(is_open, share.max(axis=1), 0.0)


def _rows(
    levels: TreeLevels, uneven: FloatArray, anywhere: FloatArray, power_kw: FloatArray, most_kw: FloatArray
) -> list[tuple[FloatArray, FloatArray]]:
    """Return for each phase who counts on it, shape (C,), and how much may, shape (N,); last the chargers of unknown phase."""
    known = [levels.totals(uneven[:, phase] * power_kw) for phase in range(PHASE_COUNT)]
    lightest = np.minimum.reduce(known)
    rows = [(uneven[:, phase] + anywhere, lightest + most_kw) for phase in range(PHASE_COUNT)]
    return [*rows, (anywhere, most_kw)]


def _exceeds(
    levels: TreeLevels, share: FloatArray, setpoints_kw: FloatArray, reserved_kw: FloatArray, room_kw: FloatArray
) -> bool:
    load, ours = levels.totals(share * (setpoints_kw + reserved_kw)), levels.totals(share * setpoints_kw)
    return bool(((load > room_kw + TOLERANCE_KW) & (ours > TOLERANCE_KW)).any())


def _bound(levels: TreeLevels, share: FloatArray, room_kw: FloatArray, reserved_kw: FloatArray) -> Bound:
    return Bound(share, np.maximum(room_kw - levels.totals(share * reserved_kw), 0.0))


def _lowered(
    levels: TreeLevels, bounds: list[Bound], setpoints_kw: FloatArray, min_kw: FloatArray, priority: FloatArray
) -> FloatArray:
    floor = np.minimum(min_kw, setpoints_kw)
    active = active_set(levels, bounds, setpoints_kw > 0.0, floor, priority)
    return shrink(levels, bounds, np.where(active, setpoints_kw, 0.0), np.where(active, floor, 0.0))


def _without_uneven(
    levels: TreeLevels,
    shares: tuple[FloatArray, FloatArray],
    most_kw: FloatArray,
    setpoints_kw: FloatArray,
    reserved_kw: FloatArray,
) -> FloatArray:
    """Return set points with 0 for everybody uneven below a node that is still uneven."""
    uneven, anywhere = shares
    is_over = np.zeros(len(most_kw), dtype=bool)
    for share, room in _rows(levels, uneven, anywhere, setpoints_kw + reserved_kw, most_kw):
        is_over |= levels.totals(share * (setpoints_kw + reserved_kw)) > room + TOLERANCE_KW
    is_uneven = (anywhere > 0.0) | (uneven.max(axis=1) > 0.0)
    return np.where(levels.is_below(is_over) & is_uneven, 0.0, setpoints_kw)
