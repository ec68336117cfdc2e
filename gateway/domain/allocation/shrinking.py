"""What is above a floor comes down in proportion until every node is within every bound."""

from collections.abc import Sequence

import numpy as np

from gateway.domain.allocation.levels import Bound, FloatArray, TreeLevels


def shrink(levels: TreeLevels, bounds: Sequence[Bound], setpoints_kw: FloatArray, floor_kw: FloatArray) -> FloatArray:
    """Scale what is above the floor, bottom-up, until every node is within every bound; the same array when it is already."""
    above_kw = setpoints_kw - floor_kw
    factor = np.ones(len(above_kw))
    for bound in bounds:
        share = _shares(levels, bound, above_kw, floor_kw)
        if share is not None:
            below = levels.carry_down(share)
            factor = np.minimum(factor, below if bound.share is None else np.where(bound.share > 0.0, below, 1.0))
    return setpoints_kw if (factor >= 1.0).all() else floor_kw + above_kw * factor


def _shares(levels: TreeLevels, bound: Bound, above_kw: FloatArray, floor_kw: FloatArray) -> FloatArray | None:
    """Return the factor of each node by which what flows above the floor must shrink, shape (N,); None when nowhere."""
    room = np.maximum(bound.room_kw - levels.totals(bound.counted(floor_kw)), 0.0)
    load = np.bincount(levels.leaf, weights=bound.counted(above_kw), minlength=len(room))
    factor = np.ones(len(room))
    for nodes in levels.nodes_at:
        is_over = load[nodes] > room[nodes]
        factor[nodes[is_over]] = room[nodes[is_over]] / load[nodes[is_over]]
        up = levels.parent[nodes]
        has_parent = up >= 0
        passed_on = np.minimum(load[nodes], room[nodes])[has_parent]
        load += np.bincount(up[has_parent], weights=passed_on, minlength=len(load))
    return None if (factor >= 1.0).all() else factor
