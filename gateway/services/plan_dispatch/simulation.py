"""Tries a limit out on the cars that are here and on what is planned for the next 24 hours; writes nothing."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from gateway.domain.errors import NotFound
from gateway.domain.identity import Permission, Principal
from gateway.domain.limits import Limit, resolve
from gateway.domain.simulation import BrokenPromise, Pause, SimulatedLimit
from gateway.domain.timegrid import Interval, TimeGrid
from gateway.domain.timeline import Silence, timeline
from gateway.domain.topology import Node
from gateway.domain.units import QUARTER_HOUR
from gateway.ports import Clock
from gateway.services.plan_dispatch.control import Control
from gateway.services.plan_dispatch.picture import Picture
from gateway.services.plan_dispatch.settings import DispatchSources
from gateway.services.plan_dispatch.wants import promised_power_kw

FloatArray = npt.NDArray[np.float64]

AHEAD = timedelta(hours=24)
_SAME_KW = 0.01
_NOBODY: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Trial:
    """Set points of one picture under its caps, shape (C,)."""

    picture: Picture
    lowered_kw: FloatArray
    """What the set points in force come down to."""
    promised_kw: FloatArray
    """What is left of the power that promises need."""


class LimitSimulator:
    """Answers what a limit would do."""

    def __init__(
        self,
        *,
        clock: Clock,
        sources: DispatchSources,
        control: Callable[[str], Control],
    ) -> None:
        """Remember whom to ask.

        Args:
            clock: Market time.
            sources: Fleet, limits, contact with authorities, and what nodes without a schedule are expected to draw.
            control: The control loop of a tenant.
        """
        self._clock = clock
        self._sources = sources
        self._control = control

    async def simulate(self, principal: Principal, limit: Limit) -> SimulatedLimit:
        """Return what a limit would do if it were set now.

        Args:
            principal: Who asks.
            limit: As it would be set; limits that apply beside it are those known now.

        Raises:
            PermissionRefused: The caller may not read limits and cars.
            NotFound: There is no such node.
        """
        principal.require(Permission.SIGNAL_READ)
        principal.require(Permission.FLEET_READ)
        now, tenant = self._clock.now(), principal.tenant
        view = self._sources.fleet(tenant)
        node = view.nodes.get(limit.node)
        if node is None:
            raise NotFound("node", limit.node)
        begins = max(limit.interval.start, now)
        end = limit.interval.end
        present = replace(limit, interval=Interval(start=now, end=None if end is None else now + (end - begins)))
        control = self._control(tenant)
        without = _tried(control, None, limit.interval)
        await asyncio.sleep(0)
        under = _tried(control, present, limit.interval)
        await asyncio.sleep(0)
        known = self._sources.limits(tenant).get(node.id, ())
        lost, steady = (by.get(node.id, _NOBODY) for by in (self._sources.lost(tenant), self._sources.steady(tenant)))
        before, after = (resolve(node, found, begins, lost=lost, steady=steady) for found in (known, (*known, limit)))
        grid = _grid_from(now)
        expected, origin = self.expected(tenant, node.id, grid)
        reduction = self._reduction(tenant, limit, grid, expected)
        measured = float(view.node_power_kw()[view.tree.node_index(node.id)])
        return SimulatedLimit(
            limit=limit,
            before=before,
            after=after,
            power_kw=None if np.isnan(measured) else measured,
            reduction_now_kw=_less_now_kw(without, under),
            grid=grid,
            expected_kw=_optional(expected),
            reduction_kw=_optional(reduction),
            expected_from=origin,
            lowered_count=int((without.lowered_kw - under.lowered_kw > _SAME_KW).sum()),
            pauses=_pauses(without, under),
            broken=_broken(without, under, limit.interval, now),
        )

    def expected(self, tenant: str, node_id: str, grid: TimeGrid) -> tuple[FloatArray, str]:
        """Return what a node is expected to draw per slot, in kW, NaN unknown, and where that comes from.

        Schedules of the node and of those below it go first, then what it drew.
        """
        view = self._sources.fleet(tenant)
        planned = np.full(grid.count, np.nan)
        for schedule in self._control(tenant).schedules:
            if schedule.node in view.nodes and node_id in _with_those_above(view.nodes, schedule.node):
                own = _on_grid(schedule.power_kw, schedule.start, timedelta(minutes=schedule.step_minutes), grid)
                planned = np.where(np.isnan(own), planned, np.nan_to_num(planned) + own)
        past = self._sources.expected_kw(tenant, node_id, grid)
        found = planned if past is None else np.where(np.isnan(planned), past, planned)
        names = []
        if not np.isnan(planned).all():
            names.append("schedule")
        if past is not None and np.isnan(planned).any():
            names.append("measurements")
        return found, " and ".join(names)

    def _reduction(self, tenant: str, limit: Limit, grid: TimeGrid, expected: FloatArray) -> FloatArray:
        """Return how much less flows per slot: what the limits known leave of what is expected, against the same with the limit."""
        view = self._sources.fleet(tenant)
        chain = [view.nodes[name] for name in _with_those_above(view.nodes, limit.node)]
        by_node = self._sources.limits(tenant)
        known = [x for one in chain for x in by_node.get(one.id, ())]
        silence = Silence(lost=self._sources.lost(tenant), steady=self._sources.steady(tenant))
        span = Interval(start=grid.start, end=grid.start + grid.count * grid.step)
        before, after = (
            np.min([folded.profile_kw(one.id, grid) for one in chain], axis=0)
            for folded in (timeline(chain, found, span, silence=silence) for found in (known, [*known, limit]))
        )
        return np.asarray(np.minimum(expected, before) - np.minimum(expected, after))


def _tried(control: Control, limit: Limit | None, span: Interval) -> _Trial:
    """Return what a picture comes to under its caps, now and for what drivers were promised within a span."""
    picture = control.look(limit)
    promised = promised_power_kw(picture.view, span, picture.now)
    wants = replace(picture.wants, min_kw=np.zeros_like(promised))
    needs = replace(picture, in_force_kw=promised, wants=wants)
    return _Trial(picture=picture, lowered_kw=control.within_caps(picture), promised_kw=control.within_caps(needs))


def _less_now_kw(without: _Trial, under: _Trial) -> float:
    """Return how much less is drawn now; a car of which nothing is known counts at its set point."""
    power = without.picture.view.power_kw
    drawn = np.where(np.isnan(power), without.lowered_kw, np.minimum(power, without.lowered_kw))
    return float(np.maximum(drawn - under.lowered_kw, 0.0).sum())


def _pauses(without: _Trial, under: _Trial) -> tuple[Pause, ...]:
    view = without.picture.view
    stops = np.flatnonzero((without.lowered_kw > 0.0) & (under.lowered_kw <= 0.0) & view.has_session)
    ordered = stops[np.argsort(-without.lowered_kw[stops], kind="stable")]
    return tuple(
        Pause(
            charger_id=view.tree.charger_ids[i],
            session_id=view.session_ids[i],
            power_kw=float(without.lowered_kw[i]),
        )
        for i in ordered.tolist()
    )


def _broken(without: _Trial, under: _Trial, span: Interval, now: datetime) -> tuple[BrokenPromise, ...]:
    view = without.picture.view
    start = max(span.start, now).timestamp()
    ends = np.nan_to_num(view.expected_departure, nan=start)
    if span.end is not None:
        ends = np.minimum(ends, span.end.timestamp())
    missing = (without.promised_kw - under.promised_kw) * np.maximum(ends - start, 0.0) / 3600.0
    at = np.flatnonzero((without.promised_kw - under.promised_kw > _SAME_KW) & (missing > 0.0))
    found = [
        BrokenPromise(
            session_id=session,
            charger_id=view.tree.charger_ids[i],
            departure=datetime.fromtimestamp(float(view.expected_departure[i]), tz=now.tzinfo),
            missing_kwh=float(missing[i]),
        )
        for i in at[np.argsort(-missing[at], kind="stable")].tolist()
        if (session := view.session_ids[i]) is not None
    ]
    return tuple(found)


def _grid_from(now: datetime) -> TimeGrid:
    """Return the quarter-hours of the next 24 hours, the one that runs first."""
    start = now - timedelta(seconds=now.timestamp() % QUARTER_HOUR.total_seconds())
    return TimeGrid(start=start, step=QUARTER_HOUR, count=AHEAD // QUARTER_HOUR)


def _on_grid(power_kw: Sequence[float], start: datetime, step: timedelta, grid: TimeGrid) -> FloatArray:
    """Return the power of a schedule in the slots of a grid; NaN outside it."""
    index = np.array([(grid.start + i * grid.step - start) // step for i in range(grid.count)])
    inside = (index >= 0) & (index < len(power_kw))
    return np.where(inside, np.array(power_kw)[np.clip(index, 0, len(power_kw) - 1)], np.nan)


def _with_those_above(nodes: Mapping[str, Node], node_id: str) -> list[str]:
    chain, name = [], node_id
    while name in nodes:
        chain.append(name)
        name = nodes[name].parent or ""
    return chain


def _optional(values: FloatArray) -> tuple[float | None, ...]:
    return tuple(None if np.isnan(x) else float(x) for x in values.tolist())
