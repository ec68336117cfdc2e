"""How far set points may rise while others still come down: never above what the caps leave."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from gateway.domain.allocation import clip
from gateway.services.plan_dispatch.phases import phase_bounds, phases_beside
from gateway.services.plan_dispatch.picture import Picture
from gateway.services.plan_dispatch.wants import floor_to_quantum

FloatArray = npt.NDArray[np.float64]

_SAME_KW = 1e-6


def within_room(picture: Picture, stepped: FloatArray) -> FloatArray:
    """Return the set points with rises cut to the room that is left while others still come down, shape (C,).

    Whoever was told to draw less counts at what it may still draw, until it is measured lower; what then remains below every
    node is shared by those who rise, the most urgent ones first where not all can start. Below a node where all together may draw
    too much already nobody rises: not even to less than it may be drawing itself, since others may hold what it would leave.

    Args:
        picture: What is the case now.
        stepped: Set points on the way to their targets, in kW, shape (C,).
    """
    current, wants = picture.in_force_kw, picture.wants
    stays = np.minimum(stepped, current)
    drawn = np.maximum(stays, picture.counted_kw)
    is_full = picture.view.levels.totals(drawn) > picture.caps.cap_kw + _SAME_KW
    by_draw = np.where(picture.view.levels.is_below(is_full), current, _granted(picture, stepped, drawn))
    # What is still drawn above a set point that was lowered is no room for others: nor are the set points together.
    by_order = _granted(picture, stepped, np.where(picture.is_loose, np.maximum(stays, picture.counted_kw), stays))
    reached = np.maximum(np.minimum(stepped, np.minimum(by_draw, by_order)), current)
    can_charge = reached >= wants.min_kw
    return _evened(picture, np.where(stepped > current, np.where(can_charge, reached, current), stepped))


def _granted(picture: Picture, stepped: FloatArray, taken: FloatArray) -> FloatArray:
    """Return what each may have when everybody takes so much already and those who rise share the room that is left."""
    levels, caps = picture.view.levels, picture.caps
    rise = np.maximum(stepped - taken, 0.0)
    room = np.maximum(caps.cap_kw + _SAME_KW - levels.totals(taken), 0.0)
    starts = picture.in_force_kw <= 0.0
    least = np.where(starts, np.minimum(np.maximum(picture.wants.min_kw - taken, 0.0), rise), 0.0)
    phases = phases_beside(picture.view, caps.phase_cap_kw + _SAME_KW, taken)
    even = None if phases is None else replace(phases, max_unbalance_kw=None)
    rises = clip(levels, room, rise, min_kw=least, priority=picture.priority, phases=even)
    return floor_to_quantum(taken + rises)


def _evened(picture: Picture, setpoints_kw: FloatArray) -> FloatArray:
    """Return set points lowered where phases would differ by more than a node allows."""
    phases = phase_bounds(picture.view, picture.caps.phase_cap_kw)
    if phases is None or phases.max_unbalance_kw is None:
        return setpoints_kw
    loose = np.where(picture.is_loose, picture.counted_kw, 0.0)
    ours = np.where(picture.is_loose, 0.0, setpoints_kw)
    open_caps = np.full(len(picture.caps.cap_kw), np.inf)
    bounds = replace(phases, caps_kw=np.full_like(phases.caps_kw, np.inf), beside_kw=loose)
    wants = picture.wants
    even = clip(picture.view.levels, open_caps, ours, min_kw=wants.min_kw, priority=picture.priority, phases=bounds)
    return setpoints_kw if even is ours else np.where(picture.is_loose, setpoints_kw, floor_to_quantum(even))
