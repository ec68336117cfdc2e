"""What is above a floor comes down in proportion until every node is within every bound."""

import numpy as np

from gateway.domain.allocation.frames import Bounds, Frame, raise_up
from gateway.domain.allocation.levels import TOLERANCE_KW, FloatArray


def shrink(frame: Frame, bounds: Bounds, power_kw: FloatArray, floor_kw: FloatArray) -> FloatArray:
    """Scale what is above the floor, bottom-up, until every node is within every bound.

    Sums that exceed a bound by rounding errors only are left as they are.

    Args:
        frame: Who draws.
        bounds: Most that may flow through each node; shares of the items.
        power_kw: Power of each, shape (K,).
        floor_kw: What stays of it, shape (K,).
    """
    floor = frame.direct(bounds.share * floor_kw)
    return shrink_sums(frame, bounds, power_kw, floor_kw, (frame.direct(bounds.share * power_kw), floor))


def shrink_sums(
    frame: Frame, bounds: Bounds, power_kw: FloatArray, floor_kw: FloatArray, direct: tuple[FloatArray, FloatArray]
) -> FloatArray:
    """Do as `shrink` where it is known what power and floor count at the node each item hangs on, shape (B, N) each."""
    power, floor = direct
    above = power_kw - floor_kw
    room = np.maximum(bounds.room_kw - frame.lift(floor), 0.0)
    load = np.maximum(power - floor, 0.0)
    factor = np.ones(room.shape)
    is_over = False
    for nodes in frame.levels.nodes_at:
        here, size = load[:, nodes], room[:, nodes]
        over = here > size + TOLERANCE_KW / 2.0
        if over.any():
            is_over = True
            factor[:, nodes] = np.where(over, size / np.where(over, here, 1.0), 1.0)
        raise_up(load, frame.levels.parent[nodes], np.minimum(here, size))
    if not is_over:
        return power_kw
    for nodes in frame.levels.nodes_at[-2::-1]:
        factor[:, nodes] *= factor[:, frame.levels.parent[nodes]]
    least = np.ones(len(power_kw))
    for row in np.flatnonzero((factor < 1.0).any(axis=1)):
        held = factor[row].take(frame.run_node).take(frame.run)
        np.minimum(least, np.maximum(held, bounds.share[row] <= 0.0), out=least)
    at = np.flatnonzero(least < 1.0)
    lowered = power_kw.copy()
    lowered[at] = floor_kw.take(at) + above.take(at) * least.take(at)
    return lowered
