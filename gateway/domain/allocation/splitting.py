"""Set points for everybody, and the quick clip of those in force to a new limit."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gateway.domain.allocation.active import active_set
from gateway.domain.allocation.filling import fill
from gateway.domain.allocation.levels import (
    TOLERANCE_KW,
    BoolArray,
    Bound,
    FloatArray,
    PhaseBounds,
    TreeLevels,
    bounds_of,
)
from gateway.domain.allocation.shrinking import shrink
from gateway.domain.allocation.unbalance import balance


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Demand:
    """What the chargers want, all of shape (C,)."""

    wanted_kw: FloatArray
    """Most that each can use now; 0 wants nothing."""
    min_kw: FloatArray
    """Least at which it charges at all."""
    priority: FloatArray
    """Who charges when not all can: higher first."""
    weight: FloatArray
    """Share of what is above the minimum, above 0."""
    must_run: BoolArray
    """Chargers served before all others."""
    reserved_kw: FloatArray
    """Drawn whatever we say (silent, over-drawing or lost chargers): taken off the caps above them."""
    comes_last: BoolArray | None = None
    """Chargers that get what all others leave: their cars take nothing of what they may. None for nobody."""
    must_stay: BoolArray | None = None
    """Chargers that went on so recently that they stay on, at least at their minimum, unless a cap forbids it; None for nobody."""
    must_rest: BoolArray | None = None
    """Chargers that went off so recently that they stay off; None for nobody."""


def allocate(levels: TreeLevels, caps_kw: FloatArray, demand: Demand, phases: PhaseBounds | None = None) -> FloatArray:
    """Return set points in kW, shape (C,): 0 or at least the minimum, at most what is wanted, no node above its cap.

    Args:
        levels: The tree.
        caps_kw: Most that may flow through each node, reserved power included, shape (N,).
        demand: What the chargers want; those with reserved power get nothing beside it.
        phases: Bounds per phase; None without any.
    """
    return allocate_within(levels, caps_kw, caps_kw, demand, phases)


def allocate_within(
    levels: TreeLevels,
    caps_kw: FloatArray,
    target_kw: FloatArray,
    demand: Demand,
    phases: PhaseBounds | None = None,
) -> FloatArray:
    """Return set points as `allocate` does, where only must-run chargers may use more than a node's target.

    Served one after the other: who must run, everybody else, who comes last. The minimum of those that must stay on is kept for
    them from the beginning.

    Args:
        levels: The tree.
        caps_kw: Most that may flow through each node, shape (N,): kept by everybody.
        target_kw: What shall flow through each node at most, shape (N,), infinite where there is no target: must-run
            chargers are placed by the caps alone, the others share what they leave of the target.
        demand: What the chargers want.
        phases: Bounds per phase, reserved power included; None without any.
    """
    bounds = [bound.less(levels, demand.reserved_kw) for bound in bounds_of(caps_kw, phases)]
    free = (demand.reserved_kw <= 0.0) & (demand.wanted_kw >= demand.min_kw) & (demand.wanted_kw > 0.0)
    if demand.must_rest is not None:
        free &= ~demand.must_rest
    last = np.zeros(len(free), dtype=bool) if demand.comes_last is None else free & demand.comes_last
    first = free & demand.must_run & ~last
    kept = _kept_minima(levels, bounds, demand, free)
    aim = target_kw - levels.totals(demand.reserved_kw)
    setpoints = np.zeros(len(free))
    for tier, has_aim in ((first, False), (free & ~first & ~last, True), (last, True)):
        if tier.any():
            waiting = np.where(tier, 0.0, np.where(setpoints > 0.0, 0.0, kept))
            left = [bound.less(levels, setpoints + waiting) for bound in bounds]
            if has_aim:
                left[0] = _aimed(levels, left[0], aim - levels.totals(setpoints), np.where(tier, kept, 0.0))
            setpoints = setpoints + _split(levels, left, demand, tier, kept)
    if phases is not None and phases.max_unbalance_kw is not None:
        return balance(levels, phases, setpoints, demand.reserved_kw, demand.min_kw, demand.priority)
    return setpoints


def _kept_minima(levels: TreeLevels, bounds: Sequence[Bound], demand: Demand, free: BoolArray) -> FloatArray:
    """Return the minimum of each charger that stays on whatever the others want, shape (C,); 0 for the others."""
    if demand.must_stay is None or not (free & demand.must_stay).any():
        return np.zeros(len(free))
    stays = active_set(levels, bounds, free & demand.must_stay, demand.min_kw, demand.priority)
    return np.where(stays, demand.min_kw, 0.0)


def _aimed(levels: TreeLevels, left: Bound, aim_kw: FloatArray, kept_kw: FloatArray) -> Bound:
    """Return what a target leaves of the room, never less than what is kept for chargers that stay on."""
    kept = levels.totals(kept_kw)
    return Bound(None, np.minimum(left.room_kw, np.maximum(np.maximum(aim_kw, 0.0), kept)))


def clip(
    levels: TreeLevels,
    caps_kw: FloatArray,
    setpoints_kw: FloatArray,
    *,
    min_kw: FloatArray,
    priority: FloatArray,
    phases: PhaseBounds | None = None,
) -> FloatArray:
    """Lower set points in force until no node exceeds its cap; the quick answer to a new limit.

    Where the minima of the charging chargers still fit, everything above the minimum shrinks in proportion; where they do not,
    the lowest priorities pause first. Nothing is ever raised.

    Args:
        levels: The tree.
        caps_kw: Most that may flow through each node, shape (N,); reserved power already taken off.
        setpoints_kw: Set points in force, shape (C,).
        min_kw: Least at which each charges, shape (C,).
        priority: Who goes on when not all can: higher first, shape (C,).
        phases: Bounds per phase, reserved power already taken off; None without any. A greatest unbalance is not looked at: it is
            kept by the allocation that follows.

    Returns:
        New set points, shape (C,); the same array when nothing has to change.
    """
    bounds = [bound for bound in bounds_of(caps_kw, phases) if _is_over(levels, bound, setpoints_kw)]
    if not bounds:
        return setpoints_kw
    floor = np.minimum(min_kw, setpoints_kw)
    active = active_set(levels, bounds, setpoints_kw > 0.0, floor, priority)
    lowered = np.where(active, setpoints_kw, 0.0)
    return shrink(levels, bounds, lowered, np.where(active, floor, 0.0))


def _is_over(levels: TreeLevels, bound: Bound, setpoints_kw: FloatArray) -> bool:
    return bool((levels.totals(bound.counted(setpoints_kw)) > bound.room_kw + TOLERANCE_KW).any())


def _split(
    levels: TreeLevels, bounds: Sequence[Bound], demand: Demand, who: BoolArray, kept_kw: FloatArray
) -> FloatArray:
    priority = demand.priority
    if (kept_kw > 0.0).any():
        span = float(priority.max() - priority.min()) + 1.0
        priority = priority + span * (kept_kw > 0.0)
    active = active_set(levels, bounds, who, demand.min_kw, priority)
    floor = np.where(active, demand.min_kw, 0.0)
    above = fill(
        levels,
        [bound.less(levels, floor) for bound in bounds],
        active,
        demand.weight,
        demand.wanted_kw - demand.min_kw,
    )
    return shrink(levels, bounds, floor + above, floor)
