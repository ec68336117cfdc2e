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
    caps = Caps.of(caps_kw, phases)
    if (demand.reserved_kw > 0.0).any():
        caps = caps.less(caps.drawn(levels, demand.reserved_kw))
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
            others = np.where(tier, 0.0, kept)
            power, drawn = _serve(frame, caps, demand, (kept, others), aim if has_aim else None)
            setpoints += frame.chargers(power)
            caps = caps.less(drawn)
            aim = aim - drawn[0]
            kept = others
    if phases is not None and phases.max_unbalance_kw is not None:
        return balance(levels, phases, setpoints, demand.reserved_kw, demand.min_kw, demand.priority)
    return setpoints


def _kept_minima(levels: TreeLevels, caps: Caps, aim_kw: FloatArray, demand: Demand, free: BoolArray) -> FloatArray:
    """Return the minimum of each charger that stays on whatever the others want, shape (C,); 0 for the others."""
    if demand.must_stay is None or not (free & demand.must_stay).any():
        return np.zeros(len(free))
    frame = Frame.of(levels, free & demand.must_stay)
    minima = frame.values(demand.min_kw)
    room = caps.room_kw.copy()
    room[0] = np.minimum(room[0], np.maximum(aim_kw, 0.0))
    size = caps.within(frame).share * minima
    return frame.chargers(minima * active_set(frame, room, size, frame.totals(size), frame.ranks(demand.priority)))


def _serve(
    frame: Frame, caps: Caps, demand: Demand, kept_kw: tuple[FloatArray, FloatArray], aim_kw: FloatArray | None
) -> tuple[FloatArray, FloatArray]:
    """Return the power of one tier, shape (H, R), and what of it counts at each node, shape (B, N).

    Args:
        frame: The tier.
        caps: What is left to it and to those that come later.
        demand: What the chargers want.
        kept_kw: Minimum of the chargers that stay on and were not served yet, and of those of them beyond the tier, (C,) each.
        aim_kw: What is left of the target, shape (N,); None: it does not hold for this tier.
    """
    inner = caps.within(frame)
    kept, others = kept_kw
    own = frame.values(kept)
    room = caps.room_kw
    if others.any():
        room = caps.less(caps.drawn(frame.levels, others)).room_kw
    if aim_kw is not None:
        # Must-run chargers may have used what was kept of the target for those that stay on: theirs it remains.
        total = np.minimum(room[0], np.maximum(np.maximum(aim_kw, 0.0), frame.totals(own[None])[0]))
        room = np.concatenate([total[None, :], room[1:]])
    return _split(frame, Bounds(inner.share, room), demand, own)


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
    power = frame.values(setpoints_kw)
    drawn = frame.drawn(bounds.share, power)
    over: BoolArray = np.logical_or.reduce(frame.lift(drawn) > bounds.room_kw + TOLERANCE_KW, axis=1)
    if not np.count_nonzero(over):
        return setpoints_kw
    bounds, drawn = bounds.rows(over), drawn[over]
    floor = np.minimum(frame.values(min_kw), power)
    size = bounds.share * floor
    least = frame.direct(size)
    stays = active_set(frame, bounds.room_kw, size, frame.lift(least), frame.ranks(priority))
    is_touched = ~np.logical_and.reduce(stays, axis=0)
    touched = np.flatnonzero(is_touched)
    if 3 * len(touched) > len(is_touched):
        power, floor = power * stays, floor * stays
        drawn, least = frame.drawn(bounds.share, power), frame.drawn(bounds.share, floor)
    elif len(touched):
        share, gone = bounds.share.take(touched, axis=2), ~stays.take(touched, axis=1)
        drawn = drawn - frame.direct_of(touched, share * (power.take(touched, axis=1) * gone))
        least = least - frame.direct_of(touched, share * (floor.take(touched, axis=1) * gone))
        power, floor = power * stays, floor * stays
    return frame.chargers(shrink_sums(frame, bounds, power, floor, (drawn, least)))


def _split(frame: Frame, bounds: Bounds, demand: Demand, kept_kw: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the power of those in a frame, shape (H, R), and what of it counts at each node, shape (B, N).

    Those with kept power are active before all others.
    """
    minima, priority = frame.values(demand.min_kw), frame.ranks(demand.priority)
    is_kept = kept_kw > 0.0
    if is_kept.any():
        priority = priority + (float(priority.max() - priority.min()) + 1.0) * is_kept
    size = bounds.share * minima
    least = frame.direct(size)
    need = frame.lift(least)
    stays = active_set(frame, bounds.room_kw, size, need, priority)
    wanted = frame.values(demand.wanted_kw)
    if not stays.all():
        minima, wanted = minima * stays, wanted * stays
        least = frame.drawn(bounds.share, minima)
        need = frame.lift(least)
    above = minima + fill(frame, bounds.less(need), frame.values(demand.weight, 1.0), wanted - minima)
    direct = frame.drawn(bounds.share, above)
    drawn = frame.lift(direct)
    if not np.count_nonzero(drawn > np.maximum(bounds.room_kw, need) + TOLERANCE_KW / 2.0):
        return above, drawn
    power = shrink_sums(frame, bounds, above, minima, (direct, least))
    return power, frame.lift(frame.drawn(bounds.share, power))
