"""What is above a floor comes down in proportion until every node is within every bound."""

import numpy as np

from gateway.domain.allocation.frames import Bounds, Frame, raise_up
from gateway.domain.allocation.levels import TOLERANCE_KW, FloatArray, TreeLevels


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
    room = np.maximum(bounds.room_kw - frame.lift(floor), 0.0)
    load = np.maximum(power - floor, 0.0)
    least = np.ones(len(power_kw))
    for row, share in enumerate(bounds.share):
        factor = _factors(frame.levels, load[row], room[row])
        if factor is not None:
            held = factor.take(frame.run_node).take(frame.run)
            np.minimum(least, np.maximum(held, share <= 0.0), out=least)
    at = np.flatnonzero(least < 1.0)
    if not len(at):
        return power_kw
    above = power_kw.take(at) - floor_kw.take(at)
    lowered = power_kw.copy()
    lowered[at] = floor_kw.take(at) + above * least.take(at)
    return lowered


def _factors(levels: TreeLevels, load: FloatArray, room: FloatArray) -> FloatArray | None:
    """Return by how much what is below each node comes down in one bound, shape (N,); None where nothing has to.

    Args:
        levels: The tree.
        load: What is above the floor of those that hang on each node, shape (N,); what each node lets through is added in place.
        room: What may flow through each node above the floor, shape (N,).
    """
    factor = np.ones(len(room))
    is_over = False
    for nodes in levels.nodes_at:
        here, size = load.take(nodes), room.take(nodes)
        full = np.flatnonzero(here > size + TOLERANCE_KW / 2.0)
        if len(full):
            is_over = True
            factor[nodes.take(full)] = size.take(full) / here.take(full)
        raise_up(load[None, :], levels.parent.take(nodes), np.minimum(here, size)[None, :])
    if not is_over:
        return None
    for nodes in levels.nodes_at[-2::-1]:
        factor[nodes] *= factor.take(levels.parent.take(nodes))
    return factor
