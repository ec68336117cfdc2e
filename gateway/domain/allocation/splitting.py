"""Set points for everybody, and the quick clip of those in force to a new limit."""

from dataclasses import dataclass

import numpy as np

from gateway.domain.allocation.active import active_set
from gateway.domain.allocation.filling import fill
from gateway.domain.allocation.frames import Bounds, Caps, Frame
from gateway.domain.allocation.levels import TOLERANCE_KW, BoolArray, FloatArray, PhaseBounds, TreeLevels
from gateway.domain.allocation.shrinking import shrink_sums
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
    """Chargers that went on so recently that they stay on, at least at their minimum, unless a cap or the target forbids it.
    None for nobody."""
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
    caps = _beside_reserved(levels, Caps.of(caps_kw, phases), demand.reserved_kw)
    free = (demand.reserved_kw <= 0.0) & (demand.wanted_kw >= demand.min_kw) & (demand.wanted_kw > 0.0)
    if demand.must_rest is not None:
        free &= ~demand.must_rest
    last = np.zeros(len(free), dtype=bool) if demand.comes_last is None else free & demand.comes_last
    first = free & demand.must_run & ~last
    aim = target_kw - levels.totals(demand.reserved_kw)
    kept = _kept_minima(levels, caps, aim, demand, free)
    setpoints = np.zeros(len(free))
    for tier, has_aim in ((first, False), (free & ~first & ~last, True), (last, True)):
        if tier.any():
            frame = Frame.of(levels, tier)
            power, drawn = _serve(frame, caps, demand, kept, aim if has_aim else None)
            setpoints[frame.items] = power
            caps = caps.less(drawn)
            aim = aim - drawn[0]
            kept[frame.items] = 0.0
    if phases is not None and phases.max_unbalance_kw is not None:
        return balance(levels, phases, setpoints, demand.reserved_kw, demand.min_kw, demand.priority)
    return setpoints


def _beside_reserved(levels: TreeLevels, caps: Caps, reserved_kw: FloatArray) -> Caps:
    """Return what reserved power leaves."""
    is_reserved = reserved_kw > 0.0
    return caps.less(_drawn(levels, caps, is_reserved, reserved_kw)) if is_reserved.any() else caps


def _drawn(levels: TreeLevels, caps: Caps, who: BoolArray, power_kw: FloatArray) -> FloatArray:
    """Return what the power of some chargers, shape (C,), counts at each node, shape (B, N)."""
    frame = Frame.of(levels, who)
    return frame.totals(caps.within(frame).share * power_kw.take(frame.items))


def _kept_minima(levels: TreeLevels, caps: Caps, aim_kw: FloatArray, demand: Demand, free: BoolArray) -> FloatArray:
    """Return the minimum of each charger that stays on whatever the others want, shape (C,); 0 for the others."""
    kept = np.zeros(len(free))
    if demand.must_stay is not None and (free & demand.must_stay).any():
        frame = Frame.of(levels, free & demand.must_stay)
        minima = demand.min_kw[frame.items]
        room = caps.room_kw.copy()
        room[0] = np.minimum(room[0], np.maximum(aim_kw, 0.0))
        inner = Bounds(caps.within(frame).share, room)
        stays = active_set(frame, inner, minima, demand.priority[frame.items])
        kept[frame.items] = np.where(stays, minima, 0.0)
    return kept


def _serve(
    frame: Frame, caps: Caps, demand: Demand, kept_kw: FloatArray, aim_kw: FloatArray | None
) -> tuple[FloatArray, FloatArray]:
    """Return the power of one tier, shape (K,), and what of it counts at each node, shape (B, N).

    Args:
        frame: The tier.
        caps: What is left to it and to those that come later.
        demand: What the chargers want.
        kept_kw: Minimum of the chargers that stay on and were not served yet, shape (C,).
        aim_kw: What is left of the target, shape (N,); None: it does not hold for this tier.
    """
    inner = caps.within(frame)
    own = kept_kw[frame.items]
    room = caps.room_kw
    if (kept_kw > 0.0).any():
        others = kept_kw.copy()
        others[frame.items] = 0.0
        room = caps.less(_drawn(frame.levels, caps, others > 0.0, others)).room_kw
    if aim_kw is not None:
        # Must-run chargers may have used what was kept of the target for those that stay on: theirs it remains.
        total = np.minimum(room[0], np.maximum(np.maximum(aim_kw, 0.0), frame.totals(own[None, :])[0]))
        room = np.concatenate([total[None, :], room[1:]])
    power = _split(frame, Bounds(inner.share, room), demand, own)
    return power, frame.totals(inner.share * power)


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
        phases: Bounds per phase, reserved power already taken off; None without any.

    Returns:
        New set points, shape (C,); the same array when nothing has to change.
    """
    lowered = _within_caps(levels, Caps.of(caps_kw, phases), setpoints_kw, min_kw, priority)
    if phases is None or phases.max_unbalance_kw is None:
        return lowered
    beside = np.zeros(len(lowered)) if phases.beside_kw is None else phases.beside_kw
    return balance(levels, phases, lowered, beside, min_kw, priority)


def _within_caps(
    levels: TreeLevels, caps: Caps, setpoints_kw: FloatArray, min_kw: FloatArray, priority: FloatArray
) -> FloatArray:
    """Return the set points lowered to the caps; the same array when nothing has to change."""
    frame = Frame.of(levels, setpoints_kw > 0.0)
    bounds = caps.within(frame)
    power = setpoints_kw.take(frame.items)
    drawn = frame.direct(bounds.share * power)
    over: BoolArray = np.logical_or.reduce(frame.lift(drawn) > bounds.room_kw + TOLERANCE_KW, axis=1)
    if not over.any():
        return setpoints_kw
    bounds, drawn = bounds.rows(over), drawn[over]
    floor = np.minimum(min_kw.take(frame.items), power)
    least = frame.direct(bounds.share * floor)
    active = active_set(frame, bounds, floor, priority.take(frame.items), frame.lift(least))
    if not active.all():
        gone = np.flatnonzero(~active)
        share = bounds.share.take(gone, axis=1)
        drawn = drawn - frame.direct_of(gone, share * power.take(gone))
        least = least - frame.direct_of(gone, share * floor.take(gone))
        power, floor = power * active, floor * active
    lowered = np.zeros(len(setpoints_kw))
    lowered[frame.items] = shrink_sums(frame, bounds, power, floor, (drawn, least))
    return lowered


def _split(frame: Frame, bounds: Bounds, demand: Demand, kept_kw: FloatArray) -> FloatArray:
    """Return the power of the items of a frame, shape (K,); those with kept power are active before all others."""
    minima, priority = demand.min_kw[frame.items], demand.priority[frame.items]
    if (kept_kw > 0.0).any():
        priority = priority + (float(priority.max() - priority.min()) + 1.0) * (kept_kw > 0.0)
    active = active_set(frame, bounds, minima, priority)
    charging = frame if active.all() else frame.subset(active)
    inner = bounds if active.all() else bounds.only(active)
    floor, at = minima[active], charging.items
    least = charging.direct(inner.share * floor)
    room = inner.less(charging.lift(least))
    above = floor + fill(charging, room, demand.weight[at], demand.wanted_kw[at] - floor)
    power = np.zeros(len(minima))
    power[active] = shrink_sums(charging, inner, above, floor, (charging.direct(inner.share * above), least))
    return power
