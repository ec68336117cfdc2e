"""The operator's page: what binds, by whose order, until when, and who does not follow."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Form, Request, Response

from gateway.domain.errors import InvalidInput
from gateway.domain.identity import Permission, Principal
from gateway.domain.simulation import SimulatedLimit
from gateway.domain.topology import NodeKind
from gateway.web.operator_time import find_node, portfolio_of, stretch_lines
from gateway.web.operator_tree import node_lines
from gateway.web.operator_view import (
    ContactLine,
    door_contact,
    event_lines,
    headline,
    partner_contact,
    site_line,
    stated_contact,
    stream_contact,
)
from gateway.web.rooms import TEMPLATES, Login, Rooms, SameOrigin, WebRooms, go_to
from gateway.web.sessions import PageSession, require_csrf

router = APIRouter(prefix="/operator")
LONGEST_MANUAL = timedelta(days=7)
_MOST_ROWS = 50
_MOST_SITES = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Typed:
    """What is in the fields of the form."""

    node_id: str
    max_kw: str = ""
    minutes: str = "30"
    reason: str = ""


@router.get("")
async def operator_page(request: Request, rooms: Rooms, session: Login, node: str = "") -> Response:
    """Show the state of the portfolio, and one node in time."""
    chosen = node or portfolio_of(rooms, session.principal.tenant)
    return await _page(request, rooms, session, chosen, Typed(node_id=chosen))


@router.get("/now")
async def now_fragment(request: Request, rooms: Rooms, session: Login) -> Response:
    """Return the part of the page that changes, for htmx."""
    context = await _context(rooms, session.principal)
    return TEMPLATES.TemplateResponse(request, "_operator.html", {**context, "session": session})


@router.get("/ahead")
async def ahead_fragment(request: Request, rooms: Rooms, session: Login, node: str = "") -> Response:
    """Return what is in force at a node in the next 24 hours, for htmx."""
    session.principal.require(Permission.SIGNAL_READ)
    found = find_node(rooms, session.principal.tenant, node)
    lines = stretch_lines(rooms, session.principal, found)
    return TEMPLATES.TemplateResponse(request, "_operator_ahead.html", {"ahead": lines})


@router.post("/limits/try", dependencies=[SameOrigin])
async def try_limit(  # noqa: PLR0913, PLR0917  # one argument per form field
    request: Request,
    rooms: Rooms,
    session: Login,
    node_id: Annotated[str, Form()],
    max_kw: Annotated[str, Form()] = "",
    minutes: Annotated[str, Form()] = "",
    reason: Annotated[str, Form()] = "",
    csrf: Annotated[str, Form()] = "",
) -> Response:
    """Say what a manual limit would do; nothing is set."""
    require_csrf(session, csrf)
    limit = rooms.signals.draft_manual_limit(
        session.principal,
        node_id=node_id,
        max_kw=_number("max_kw", max_kw),
        start=None,
        end=rooms.clock.now() + _duration(minutes),
        reason=reason,
    )
    trial = await rooms.dispatcher.simulate(session.principal, limit)
    if "hx-request" in request.headers:
        return TEMPLATES.TemplateResponse(request, "_operator_trial.html", {"trial": trial})
    typed = Typed(node_id=node_id, max_kw=max_kw, minutes=minutes, reason=reason)
    return await _page(request, rooms, session, node_id, typed, trial)


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
    await rooms.signals.set_manual_limit(
        session.principal,
        node_id=node_id,
        max_kw=_number("max_kw", max_kw),
        start=None,
        end=rooms.clock.now() + _duration(minutes),
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


async def _page(  # what the page is made of
    request: Request,
    rooms: WebRooms,
    session: PageSession,
    node: str,
    typed: Typed,
    trial: SimulatedLimit | None = None,
) -> Response:
    principal = session.principal
    context = await _context(rooms, principal)
    found = find_node(rooms, principal.tenant, node)
    more = {
        "node": found,
        "ahead": stretch_lines(rooms, principal, found),
        "typed": typed,
        "trial": trial,
        "session": session,
    }
    return TEMPLATES.TemplateResponse(request, "operator.html", {**context, **more})


async def _context(rooms: WebRooms, principal: Principal) -> dict[str, object]:
    now, tenant = rooms.clock.now(), principal.tenant
    portfolio = find_node(rooms, tenant, "")
    resolution = await rooms.signals.resolve(principal, portfolio.id, None)
    troubles = rooms.follower.states(principal, only_not_following=True)
    lines = await node_lines(rooms, principal, (NodeKind.PORTFOLIO, NodeKind.SITE))
    measured = next((line.power_kw for line in lines if line.node.id == portfolio.id), None)
    sites = sorted((line for line in lines if line.node.kind is NodeKind.SITE), key=lambda line: line.headroom_kw)
    contacts = _contacts(rooms, tenant, now)
    return {
        "headline": headline(resolution, measured, len(troubles), contacts),
        "resolution": resolution,
        "troubles": troubles[:_MOST_ROWS],
        "trouble_count": len(troubles),
        "contacts": sorted(contacts, key=lambda line: not line.is_away)[:_MOST_ROWS],
        "sites": [site_line(line.node, line.resolution, line.power_kw) for line in sites[:_MOST_SITES]],
        "site_count": len(sites),
        "events": event_lines(await rooms.signals.events(principal), now, rooms.time_zone),
        "manual_limits": rooms.signals.manual_limits(principal)[:_MOST_ROWS],
        "portfolio": portfolio.name,
        "time_zone": rooms.time_zone,
        "can_set": principal.may(Permission.LIMIT_SET),
        "market_time": f"{now:%Y-%m-%d %H:%M:%S}Z",
        "request_id": rooms.ids.new("page"),
    }


def _contacts(rooms: WebRooms, tenant: str, now: datetime) -> list[ContactLine]:
    """Return grid partners, then authorities that state limits themselves, then charging platforms."""
    partners = [partner_contact(one, now) for one in rooms.health.standings(tenant)]
    named = {line.who for line in partners}
    stated = [stated_contact(one) for one in rooms.signals.standings(tenant) if one.id not in named]
    doors = {one.csms: one for one in rooms.doors.standings(tenant)}
    streams = [stream_contact(one, now) for one in rooms.dispatcher.streams(tenant)]
    platforms = [door_contact(line, doors[line.who], now) if line.who in doors else line for line in streams]
    return [*partners, *stated, *platforms]


def _duration(minutes: str) -> timedelta:
    duration = timedelta(minutes=min(_number("minutes", minutes), LONGEST_MANUAL / timedelta(minutes=1) + 1))
    if not timedelta(0) < duration <= LONGEST_MANUAL:
        raise InvalidInput("minutes", "must be above 0 and at most 7 days")
    return duration


def _number(field: str, text: str) -> float:
    try:
        value = float(text.strip())
    except ValueError as error:
        raise InvalidInput(field, "must be a number") from error
    if not np.isfinite(value):
        raise InvalidInput(field, "must be a finite number")
    return value
