"""A node in time: the last 24 hours as measured, the next 24 hours as limited and planned."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from gateway.domain.errors import NotFound, PreconditionFailed
from gateway.domain.identity import Permission, Principal
from gateway.domain.timegrid import Interval, TimeGrid
from gateway.domain.timeline import Silence, Stretch, timeline
from gateway.domain.topology import Node, NodeKind
from gateway.domain.units import QUARTER_HOUR
from gateway.web.local_time import local_text
from gateway.web.rooms import Login, Rooms, WebRooms

router = APIRouter(prefix="/operator")
AROUND = timedelta(hours=24)
"""How far the page looks back and ahead."""
STEP = timedelta(minutes=5)
_MOST_STRETCHES = 40

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class StretchLine:
    """One time ahead in which nothing changes, for people."""

    start: str
    end: str
    kw: float
    whose: str
    reason: str


@router.get("/series")
async def series(rooms: Rooms, session: Login, node: str = "") -> Response:
    """Return measured power, the value in force and what is planned from 24 hours ago to 24 hours ahead, columnar."""
    principal = session.principal
    principal.require(Permission.SIGNAL_READ)
    principal.require(Permission.FLEET_READ)
    found = find_node(rooms, principal.tenant, node)
    now = rooms.clock.now()
    start = now - timedelta(seconds=now.timestamp() % STEP.total_seconds()) - AROUND
    grid = TimeGrid(start=start, step=STEP, count=2 * (AROUND // STEP))
    x: FloatArray = start.timestamp() + np.arange(grid.count, dtype=np.float64) * STEP.total_seconds()
    times, power = rooms.fleet.node_power(principal.tenant, found.id, start)
    ahead = TimeGrid(start=_quarter(now), step=QUARTER_HOUR, count=AROUND // QUARTER_HOUR)
    planned, _ = rooms.dispatcher.expected_kw(principal.tenant, found.id, ahead)
    starts, kw = _steps(stretches(rooms, principal, found, Interval(start=start, end=start + 2 * AROUND), now))
    columns = {
        "x": x.tolist(),
        "power_kw": _optional(_means(x, np.array([t.timestamp() for t in times]), power)),
        "limit_kw": [float(value) for value in kw[np.searchsorted(starts, x, side="right") - 1]],
        "plan_kw": _optional(_held(x, ahead, planned)),
        "now": now.timestamp(),
        "time_zone": rooms.time_zone,
    }
    return JSONResponse(columns)


def find_node(rooms: WebRooms, tenant: str, node_id: str) -> Node:
    """Return a node of the tree; without an id the portfolio that the page is about.

    Raises:
        NotFound: There is no such node.
        PreconditionFailed: No portfolio was imported yet.
    """
    chosen = node_id or portfolio_of(rooms, tenant)
    node = rooms.fleet.find_node(tenant, chosen)
    if node is None:
        raise NotFound("node", chosen)
    return node


def portfolio_of(rooms: WebRooms, tenant: str) -> str:
    """Return the portfolio that is planned, or without plans the first of the tree.

    Raises:
        PreconditionFailed: No portfolio was imported yet.
    """
    if rooms.portfolio:
        return rooms.portfolio
    view = rooms.fleet.view(tenant)
    for name in view.tree.node_ids:
        if view.nodes[name].kind is NodeKind.PORTFOLIO:
            return name
    raise PreconditionFailed("there is no portfolio yet: bring one in with `voltbridge import`")


def stretches(rooms: WebRooms, principal: Principal, node: Node, span: Interval, now: datetime) -> list[Stretch]:
    """Return what was and will be in force at a node; who is lost now counts from now on only.

    Limits are remembered for a day after their end: as far as the page looks back.
    """
    tenant = principal.tenant
    known = rooms.signals.limits_by_node(tenant).get(node.id, ())
    steady, lost = rooms.signals.steady_nodes(tenant), rooms.signals.lost_nodes(tenant)
    found: list[Stretch] = []
    if span.start < now:
        past = Interval(start=span.start, end=now)
        found += timeline([node], known, past, silence=Silence(steady=steady)).of(node.id)
    future = Interval(start=max(now, span.start), end=span.end)
    return found + timeline([node], known, future, silence=Silence(lost=lost, steady=steady)).of(node.id)


def stretch_lines(rooms: WebRooms, principal: Principal, node: Node) -> list[StretchLine]:
    """Return the next 24 hours of a node for people, in the time of the page, neighbours that say the same as one."""
    now, zone = rooms.clock.now(), ZoneInfo(rooms.time_zone)
    ends_at = now + AROUND
    merged: list[tuple[datetime, datetime, tuple[float, str, str]]] = []
    for stretch in stretches(rooms, principal, node, Interval(start=now, end=ends_at), now):
        reason = "" if stretch.binding is None else stretch.binding.reason
        said = (stretch.kw, stretch.authority, reason)
        start, end = stretch.interval.start, stretch.interval.end or ends_at
        if merged and merged[-1][2] == said:
            merged[-1] = (merged[-1][0], end, said)
        else:
            merged.append((start, end, said))
    return [
        StretchLine(start=local_text(start, zone), end=local_text(end, zone), kw=kw, whose=whose, reason=reason)
        for start, end, (kw, whose, reason) in merged[:_MOST_STRETCHES]
    ]


def _steps(found: Sequence[Stretch]) -> tuple[FloatArray, FloatArray]:
    return np.array([s.interval.start.timestamp() for s in found]), np.array([s.kw for s in found])


def _means(x: FloatArray, times: FloatArray, power_kw: FloatArray) -> FloatArray:
    """Return the mean of the known samples in each step; NaN where there is none."""
    is_known = ~np.isnan(power_kw)
    edges = np.append(x, x[-1] + STEP.total_seconds())
    count, _ = np.histogram(times[is_known], edges)
    total, _ = np.histogram(times[is_known], edges, weights=power_kw[is_known])
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _held(x: FloatArray, grid: TimeGrid, values: FloatArray) -> FloatArray:
    """Return the value of the slot that holds each instant; NaN outside the grid."""
    slot = np.floor((x - grid.start.timestamp()) / grid.step.total_seconds()).astype(np.int64)
    inside = (slot >= 0) & (slot < grid.count)
    return np.where(inside, values[np.clip(slot, 0, grid.count - 1)], np.nan)


def _quarter(now: datetime) -> datetime:
    return now - timedelta(seconds=now.timestamp() % QUARTER_HOUR.total_seconds())


def _optional(values: FloatArray) -> list[float | None]:
    return [None if np.isnan(value) else round(value, 3) for value in values.tolist()]
