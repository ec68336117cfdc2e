"""What is above a floor comes down in proportion until every node is within every bound."""

import numpy as np

from gateway.domain.allocation.frames import Bounds, Frame, raise_up
from gateway.domain.allocation.levels import TOLERANCE_KW, FloatArray, TreeLevels


def shrink(frame: Frame, bounds: Bounds, power_kw: FloatArray, floor_kw: FloatArray) -> FloatArray:
    """Scale what is above the floor, bottom-up, until every node is within every bound.

    Sums that exceed a bound by rounding errors only are left as they are.

    Args:
        frame: Who draws.
        bounds: Most that may flow through each node; shares of those who draw.
        power_kw: Power of each, 0 for nobody, shape (H, R).
        floor_kw: What stays of it, shape (H, R).
    """
    floor = frame.direct(bounds.share * floor_kw)
    return shrink_sums(frame, bounds, power_kw, floor_kw, (frame.direct(bounds.share * power_kw), floor))


def shrink_sums(
    frame: Frame, bounds: Bounds, power_kw: FloatArray, floor_kw: FloatArray, direct: tuple[FloatArray, FloatArray]
) -> FloatArray:
    """Do as `shrink` where it is known what power and floor count at the node each hangs on, shape (B, N) each."""
    power, floor = direct
    room = np.maximum(bounds.room_kw - frame.lift(floor), 0.0)
    load = np.maximum(power - floor, 0.0)
    lowers: FloatArray | None = None
    for row, share in enumerate(bounds.share):
        factor = _factors(frame.levels, load[row], room[row])
        if factor is not None:
            lower = (1.0 - factor).take(frame.node) * (share > 0.0)
            lowers = lower if lowers is None else np.maximum(lowers, lower, out=lowers)
    if lowers is None:
        return power_kw
    lowers *= power_kw - floor_kw
    # Who is not lowered at all keeps its power to the last bit.
    return np.maximum(power_kw - lowers, floor_kw)


def _factors(levels: TreeLevels, load: FloatArray, room: FloatArray) -> FloatArray | None:
    """Return by how much what is below each node comes down in one bound, shape (N,); None where nothing has to.

    Args:
        levels: The tree.
        load: What is above the floor of those that hang on each node, shape (N,); what each node lets through is added in place.
        room: What may flow through each node above the floor, shape (N,).
    """
    factor: FloatArray | None = None
    for nodes in levels.nodes_at:
        here, size = load.take(nodes), room.take(nodes)
        is_full = here > size + TOLERANCE_KW / 2.0
        if is_full.any():
            factor = np.ones(len(room)) if factor is None else factor
            full = np.flatnonzero(is_full)
            factor[nodes.take(full)] = size.take(full) / here.take(full)
        raise_up(load, levels.up.take(nodes), np.minimum(here, size))
    if factor is None:
        return None
    for nodes in levels.nodes_at[-2::-1]:
        factor[nodes] *= factor.take(levels.parent.take(nodes))
    return factor
