"""What may flow through every node now: limits and ratings with headroom, and what the schedule asks for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from gateway.domain.bids import Schedule
from gateway.domain.fleet import FleetView
from gateway.domain.limits import Limit, Resolution, next_change, resolve

FloatArray = npt.NDArray[np.float64]

_NOBODY: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Caps:
    """What binds at the nodes of a tenant, shape (N,) each."""

    cap_kw: FloatArray
    """Most that may flow, headroom taken off, the limits that begin within the lead included."""
    target_kw: FloatArray
    """What the schedule asks for, or less where a grid partner wishes so; infinite where there is neither."""
    resolutions: Mapping[int, Resolution]
    """By node index, where anything but the rating has a say."""
    schedules: Mapping[int, Schedule]
    """By node index, those that are followed now."""
    next_change: datetime | None
    """When a limit or a slot of a schedule next begins or ends."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Orders:
    """Everything that anybody ordered, as known now."""

    limits: Mapping[str, Sequence[Limit]]
    lost: Mapping[str, frozenset[str]]
    schedules: Sequence[Schedule]


@dataclass(frozen=True, kw_only=True, slots=True)
class Margins:
    """How far from a limit to stay, and how long ahead to look."""

    headroom: float
    guaranteed_min_kw: Mapping[str, float]
    lead: timedelta

    def taken_off(self, kw: float, authority: str) -> float:
        """Return a limit without headroom, never under what its authority guarantees, never above the limit."""
        return max(kw * (1.0 - self.headroom), min(kw, self.guaranteed_min_kw.get(authority, 0.0)))


def read_caps(view: FleetView, orders: Orders, margins: Margins, now: datetime) -> Caps:
    """Return what binds at every node now.

    Args:
        view: The fleet, for its tree.
        orders: Limits, lost authorities and schedules.
        margins: Headroom and lead.
        now: The instant.
    """
    cap = view.tree.rating_kw * (1.0 - margins.headroom)
    place = {node_id: i for i, node_id in enumerate(view.tree.node_ids)}
    resolutions = {}
    for node_id in sorted({*orders.limits, *orders.lost}):
        i = place.get(node_id)
        if i is not None:
            limits, lost = orders.limits.get(node_id, ()), orders.lost.get(node_id, _NOBODY)
            resolutions[i] = resolve(view.nodes[node_id], limits, now, lost=lost)
            ahead = [resolve(view.nodes[node_id], limits, at, lost=lost) for at in _borders(limits, now, margins.lead)]
            cap[i] = min(margins.taken_off(r.kw, r.authority) for r in (resolutions[i], *ahead))
    target, followed = _targets(view, place, orders.schedules, now)
    for i, resolution in resolutions.items():
        if resolution.optimum_kw is not None:
            target[i] = min(target[i], resolution.optimum_kw)
    changes = [r.until for r in resolutions.values() if r.until is not None]
    changes += [_slot_end(schedule, now) for schedule in followed.values()]
    changes += [s.start for s in orders.schedules if s.start > now]
    return Caps(
        cap_kw=cap,
        target_kw=target,
        resolutions=resolutions,
        schedules=followed,
        next_change=min(changes, default=None),
    )


def _borders(limits: Sequence[Limit], now: datetime, lead: timedelta) -> list[datetime]:
    """Return the instants within the lead at which something changes."""
    borders = []
    at = next_change(limits, now)
    while at is not None and at <= now + lead:
        borders.append(at)
        at = next_change(limits, at)
    return borders


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
