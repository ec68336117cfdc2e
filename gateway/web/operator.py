"""The operator's page: what binds, by whose order, until when, and who does not follow."""

from datetime import timedelta
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import JSONResponse

from gateway.domain.errors import InvalidInput
from gateway.domain.identity import Permission, Principal
from gateway.domain.limits import Limit, resolve
from gateway.domain.topology import Node, NodeKind
from gateway.web.operator_view import SiteLine, event_lines, headline, site_line
from gateway.web.rooms import TEMPLATES, Login, Rooms, SameOrigin, WebRooms, go_to
from gateway.web.sessions import require_csrf

router = APIRouter(prefix="/operator")
CHART_SPAN = timedelta(hours=6)
LONGEST_MANUAL = timedelta(days=7)
_MOST_POINTS = 400
_MOST_ROWS = 50


@router.get("")
async def operator_page(request: Request, rooms: Rooms, session: Login) -> Response:
    """Show the state of the portfolio."""
    context = await _context(rooms, session.principal)
    return TEMPLATES.TemplateResponse(request, "operator.html", {**context, "session": session})


@router.get("/now")
async def now_fragment(request: Request, rooms: Rooms, session: Login) -> Response:
    """Return the part of the page that changes, for htmx."""
    context = await _context(rooms, session.principal)
    return TEMPLATES.TemplateResponse(request, "_operator.html", {**context, "session": session})


@router.get("/series")
async def series(rooms: Rooms, session: Login) -> Response:
    """Return measured power and the binding limit of the last hours, columnar."""
    principal = session.principal
    principal.require(Permission.SIGNAL_READ)
    principal.require(Permission.FLEET_READ)
    start = rooms.clock.now() - CHART_SPAN
    node = await _node(rooms, principal.tenant, rooms.portfolio)
    times, power = rooms.fleet.node_power(principal.tenant, node.id, start)
    rows = await rooms.store.find(Limit, principal.tenant, {"node": node.id}, newest_first=True)
    limits = [row.record for row in rows if row.record.interval.end is None or row.record.interval.end > start]
    stride = max(1, len(times) // _MOST_POINTS)
    chosen = times[::stride]
    columns = {
        "x": [instant.timestamp() for instant in chosen],
        "power_kw": [None if np.isnan(kw) else float(kw) for kw in power[::stride]],
        "limit_kw": [resolve(node, limits, instant).kw for instant in chosen],
        "time_zone": rooms.time_zone,
    }
    return JSONResponse(columns)


@router.post("/limits", dependencies=[SameOrigin])
async def set_limit(  # noqa: PLR0913, PLR0917  # one argument per form field
    request: Request,
    rooms: Rooms,
    session: Login,
    node_id: Annotated[str, Form()],
    max_kw: Annotated[str, Form()],
    minutes: Annotated[str, Form()],
    reason: Annotated[str, Form()],
    request_id: Annotated[str, Form()],
    csrf: Annotated[str, Form()] = "",
) -> Response:
    """Set a manual limit that expires."""
    require_csrf(session, csrf)
    duration = timedelta(minutes=_number("minutes", minutes))
    if not timedelta(0) < duration <= LONGEST_MANUAL:
        raise InvalidInput("minutes", "must be above 0 and at most 7 days")
    await rooms.signals.set_manual_limit(
        session.principal,
        node_id=node_id,
        max_kw=_number("max_kw", max_kw),
        start=None,
        end=rooms.clock.now() + duration,
        reason=reason,
        request_id=request_id,
    )
    return go_to(request, "/operator")


@router.post("/limits/withdraw", dependencies=[SameOrigin])
async def withdraw_limit(  # one argument per form field
    request: Request,
    rooms: Rooms,
    session: Login,
    limit_id: Annotated[str, Form()],
    request_id: Annotated[str, Form()],
    csrf: Annotated[str, Form()] = "",
) -> Response:
    """Withdraw a manual limit before its end."""
    require_csrf(session, csrf)
    await rooms.signals.withdraw_manual_limit(
        session.principal, limit_id=limit_id, reason="withdrawn on the page", request_id=request_id
    )
    return go_to(request, "/operator")


async def _context(rooms: WebRooms, principal: Principal) -> dict[str, object]:
    now = rooms.clock.now()
    resolution = await rooms.signals.resolve(principal, rooms.portfolio, None)
    troubles = rooms.follower.states(principal, only_not_following=True)
    measured = _latest_power(rooms, principal.tenant, rooms.portfolio)
    lines = await _site_lines(rooms, principal)
    limits = await rooms.signals.limits(principal, rooms.portfolio, now)
    return {
        "headline": headline(resolution, measured, len(troubles)),
        "resolution": resolution,
        "troubles": troubles[:_MOST_ROWS],
        "trouble_count": len(troubles),
        "sites": sorted(lines, key=lambda line: line.headroom_kw),
        "events": event_lines(await rooms.signals.events(principal), now, rooms.time_zone),
        "manual_limits": [limit for limit in limits if limit.authority.startswith("manual:")],
        "portfolio": rooms.portfolio,
        "can_set": principal.may(Permission.LIMIT_SET),
        "market_time": f"{now:%Y-%m-%d %H:%M:%S}Z",
        "request_id": rooms.ids.new("page"),
    }


async def _site_lines(rooms: WebRooms, principal: Principal) -> list[SiteLine]:
    nodes = [row.record for row in await rooms.store.find(Node, principal.tenant)]
    lines = []
    for node in nodes:
        if node.kind is NodeKind.SITE:
            resolution = await rooms.signals.resolve(principal, node.id, None)
            lines.append(site_line(node, resolution, _latest_power(rooms, principal.tenant, node.id)))
    return lines


def _latest_power(rooms: WebRooms, tenant: str, node_id: str) -> float | None:
    times, power = rooms.fleet.node_power(tenant, node_id, rooms.clock.now() - CHART_SPAN)
    if not len(times) or np.isnan(power[-1]):
        return None
    return float(power[-1])


async def _node(rooms: WebRooms, tenant: str, node_id: str) -> Node:
    row = await rooms.store.get(Node, tenant, node_id)
    if row is None:
        raise InvalidInput("portfolio", f"{node_id} is not in the tree")
    return row.record


def _number(field: str, text: str) -> float:
    try:
        value = float(text.strip())
    except ValueError as error:
        raise InvalidInput(field, "must be a number") from error
    if not np.isfinite(value):
        raise InvalidInput(field, "must be a finite number")
    return value
