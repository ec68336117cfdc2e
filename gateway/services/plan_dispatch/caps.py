"""What may flow through every node now: limits and ratings with headroom, and what the schedule asks for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from gateway.domain.bids import Schedule
from gateway.domain.fleet import FleetView
from gateway.domain.limits import Limit, NodeLimits, Resolution, resolve
from gateway.domain.topology import Node, fuses_kw

FloatArray = npt.NDArray[np.float64]

_NOBODY: frozenset[str] = frozenset()


def nothing(node_id: str) -> float:
    """Say that nothing else flows at a node."""
    del node_id
    return 0.0


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
    """By node index, where anything but the rating has a say."""
    schedules: Mapping[int, Schedule]
    """By node index, those that are followed now."""
    changes: tuple[datetime, ...]
    """When limits and slots of schedules next begin or end: at every node up to the first one that is beyond the lead."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Orders:
    """Everything that anybody ordered, as known now."""

    limits: Mapping[str, Sequence[Limit]]
    lost: Mapping[str, frozenset[str]]
    schedules: Sequence[Schedule]
    find_charger: Callable[[str], Node | None]
    """Charger by id, as the node that a limit of its own binds at; None when there is none."""
    steady: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Authorities that say a limit for every instant, by node."""
    other_kw: Callable[[str], float] = nothing
    """What else flows at the connection points of a node, negative when it feeds in."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Margins:
    """How far from a limit to stay, and how long ahead to look."""

    headroom: FloatArray
    """Share left free per node, shape (N,)."""
    guaranteed_min_kw: Mapping[str, float]
    lead: timedelta

    def usable_kw(self, node: int, resolution: Resolution, other_kw: float) -> float:
        """Return what chargers may fill of what applies at a node, see `Resolution.usable_kw`."""
        return resolution.usable_kw(float(self.headroom[node]), other_kw, self.guaranteed_min_kw)


def read_caps(view: FleetView, orders: Orders, margins: Margins, place: Mapping[str, int], now: datetime) -> Caps:
    """Return what binds at every node now.

    Args:
        view: The fleet, for its tree.
        orders: Limits, lost authorities and schedules.
        margins: Headroom and lead.
        place: Index of every node of the tree by its id.
        now: The instant.
    """
    cap = view.tree.rating_kw * (1.0 - margins.headroom)
    phase_cap = fuses_kw(view.tree) * (_voltage_factor(view) * (1.0 - margins.headroom))[:, None]
    resolutions = {}
    changes: list[datetime] = []
    for node_id in sorted({*orders.limits, *orders.lost, *orders.steady}):
        i = place.get(node_id)
        if i is not None:
            found = resolved_ahead(view.nodes[node_id], orders, now, margins.lead)
            resolutions[i] = found[0]
            changes += [r.until for r in found if r.until is not None]
            is_at_grid = any(limit.is_at_grid for r in found for limit in r.applying)
            other_kw = orders.other_kw(node_id) if is_at_grid else 0.0
            cap[i] = min(margins.usable_kw(i, r, other_kw) for r in found)
            for bounds in (r.usable_phase_kw(float(margins.headroom[i])) for r in found):
                phase_cap[i] = phase_cap[i] if bounds is None else np.minimum(phase_cap[i], bounds)
    target, followed = _targets(view, place, orders.schedules, now)
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


def resolved_ahead(node: Node, orders: Orders, now: datetime, lead: timedelta) -> list[Resolution]:
    """Return what binds at a node, or at a charger as a node, now and after every change within the lead."""
    limits = NodeLimits.of(orders.limits.get(node.id, ()))
    lost, steady = orders.lost.get(node.id, _NOBODY), orders.steady.get(node.id, _NOBODY)
    found, at = [], now
    while True:
        found.append(resolve(node, limits, at, lost=lost, steady=steady))
        change = found[-1].until
        if change is None or change > now + lead:
            return found
        at = change


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
