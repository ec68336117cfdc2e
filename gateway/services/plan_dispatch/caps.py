"""What may flow through every node now: limits and ratings with headroom, and what the schedule asks for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from gateway.domain.bids import Schedule
from gateway.domain.fleet import FleetView
from gateway.domain.limits import Limit, Resolution
from gateway.domain.topology import fuses_kw
from gateway.services.plan_dispatch.folds import Folds, Orders

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Caps:
    """What binds at the nodes of a tenant, shape (N,) each."""

    cap_kw: FloatArray
    """Most that may flow, headroom taken off, the limits that begin within the lead included."""
    phase_cap_kw: FloatArray
    """The same for each phase L1 to L3, shape (N, 3); infinite where only the total is bounded."""
    target_kw: FloatArray
    """What the schedule asks for, or less where a grid partner wishes so; infinite where there is neither."""
    resolutions: Mapping[int, Resolution]
    """By node index, where anything but the rating has a say; each as it was folded, which may be a while ago."""
    schedules: Mapping[int, Schedule]
    """By node index, those that are followed now."""
    changes: tuple[datetime, ...]
    """When limits and slots of schedules next begin or end: at every node up to the first one that is beyond the lead."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Margins:
    """How far from a limit to stay."""

    headroom: FloatArray
    """Share left free per node, shape (N,)."""
    guaranteed_min_kw: Mapping[str, float]


def read_caps(view: FleetView, orders: Orders, margins: Margins, folds: Folds, now: datetime) -> Caps:
    """Return what binds at every node now.

    Args:
        view: The fleet, for its tree.
        orders: Limits, lost authorities and schedules.
        margins: Headroom and guarantees.
        folds: What limits come to, with those that begin within the lead.
        now: The instant.
    """
    cap = view.tree.rating_kw * (1.0 - margins.headroom)
    phase_cap = fuses_kw(view.tree) * (_voltage_factor(view) * (1.0 - margins.headroom))[:, None]
    resolutions = {}
    changes: list[datetime] = []
    headroom = margins.headroom.tolist()
    for fold in folds.at_nodes(view, orders, now):
        i = fold.place
        resolutions[i] = fold.found[0]
        changes += fold.changes
        cap[i] = fold.usable_kw(headroom[i], orders, margins.guaranteed_min_kw)
        for bounds in (r.usable_phase_kw(headroom[i]) for r in fold.found if r.phase_kw is not None):
            phase_cap[i] = phase_cap[i] if bounds is None else np.minimum(phase_cap[i], bounds)
    target, followed = _targets(view, folds.place, orders.schedules, now)
    for i, resolution in resolutions.items():
        if resolution.optimum_kw is not None:
            target[i] = min(target[i], resolution.optimum_kw)
    changes += [_slot_end(schedule, now) for schedule in followed.values()]
    changes += [s.start for s in orders.schedules if s.start > now]
    return Caps(
        cap_kw=cap,
        phase_cap_kw=phase_cap,
        target_kw=target,
        resolutions=resolutions,
        schedules=followed,
        changes=tuple(changes),
    )


def changing_by(caps: Caps, changes: Sequence[datetime]) -> Caps:
    """Return the caps with more instants at which something changes."""
    return replace(caps, changes=(*caps.changes, *changes)) if changes else caps


def with_limit(limits: Mapping[str, Sequence[Limit]], supposed: Limit | None) -> Mapping[str, Sequence[Limit]]:
    """Return limits by node with one more; the same mapping when there is none."""
    if supposed is None:
        return limits
    return {**limits, supposed.node: (*limits.get(supposed.node, ()), supposed)}


def _voltage_factor(view: FleetView) -> FloatArray:
    """Return the lowest voltage measured below each node over the nominal one, shape (N,): fuses count amperes, not kilowatts."""
    return np.ones(len(view.tree.node_ids)) if view.data is None else view.data.voltage_factor


def _targets(
    view: FleetView, place: Mapping[str, int], schedules: Sequence[Schedule], now: datetime
) -> tuple[FloatArray, dict[int, Schedule]]:
    target = np.full(len(view.tree.node_ids), np.inf)
    followed: dict[int, Schedule] = {}
    for schedule in sorted(schedules, key=lambda s: s.made_at):
        slot = (now - schedule.start) // timedelta(minutes=schedule.step_minutes)
        if schedule.node in place and 0 <= slot < len(schedule.power_kw):
            target[place[schedule.node]] = max(0.0, schedule.power_kw[slot])
            followed[place[schedule.node]] = schedule
    return target, followed


def _slot_end(schedule: Schedule, now: datetime) -> datetime:
    step = timedelta(minutes=schedule.step_minutes)
    return schedule.start + step * ((now - schedule.start) // step + 1)
