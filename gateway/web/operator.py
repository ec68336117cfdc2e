"""The operator's page: what binds, by whose order, until when, and who does not follow."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

import numpy as np
from fastapi import APIRouter, Form, Request, Response

from gateway.domain.errors import InvalidInput
from gateway.domain.fleet import FleetView
from gateway.domain.identity import Permission, Principal
from gateway.domain.simulation import SimulatedLimit
from gateway.domain.topology import NodeKind
from gateway.web.local_time import DAY_AND_SECOND, local_text
from gateway.web.operator_contacts import contact_lines
from gateway.web.operator_following import PortfolioLine, following_of, worst_first
from gateway.web.operator_reach import NodeReach, node_reach
from gateway.web.operator_time import find_node, portfolio_of, stretch_lines
from gateway.web.operator_tree import NodeLine, node_lines
from gateway.web.operator_view import away_clauses, event_lines, manual_line, site_line, trouble_line
from gateway.web.rooms import TEMPLATES, Login, Rooms, SameOrigin, WebRooms, go_to
from gateway.web.sessions import PageSession, require_csrf

router = APIRouter(prefix="/operator")
LONGEST_MANUAL = timedelta(days=7)
_MOST_ROWS = 50
_MOST_SITES = 10
_MOST_HEADLINES = 3
"""Portfolios that are always in sight; the others are one click away."""


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
    ahead = stretch_lines(rooms, session.principal, found)
    reach = _reach(rooms, session.principal, found.id)
    context = {"ahead": ahead, "reach": reach, "time_zone": rooms.time_zone}
    return TEMPLATES.TemplateResponse(request, "_operator_ahead.html", context)


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
        "reach": _reach(rooms, principal, found.id),
        "typed": typed,
        "trial": trial,
        "session": session,
    }
    return TEMPLATES.TemplateResponse(request, "operator.html", {**context, **more})


async def _context(rooms: WebRooms, principal: Principal) -> dict[str, object]:
    now, tenant, zone = rooms.clock.now(), principal.tenant, ZoneInfo(rooms.time_zone)
    portfolio = find_node(rooms, tenant, "")
    troubles = rooms.follower.states(principal, only_not_following=True)
    view = rooms.fleet.view(tenant)
    lines = await node_lines(rooms, principal, view, (NodeKind.PORTFOLIO, NodeKind.SITE))
    portfolios = portfolio_lines(rooms, tenant, view, lines)
    sites = sorted((line for line in lines if line.node.kind is NodeKind.SITE), key=lambda line: line.headroom_kw)
    contacts = contact_lines(rooms, principal, now)
    away = away_clauses(contacts)
    return {
        "headlines": ["; ".join((line.text(), *(away if len(portfolios) == 1 else ()))) for line in portfolios],
        "away": away if len(portfolios) != 1 else [],
        "most_headlines": _MOST_HEADLINES,
        "shadowed": [limit for line in portfolios for limit in line.resolution.shadowed][:_MOST_ROWS],
        "shadowed_count": sum(len(line.resolution.shadowed) for line in portfolios),
        "troubles": [trouble_line(one, zone) for one in troubles[:_MOST_ROWS]],
        "trouble_count": len(troubles),
        "contacts": sorted(contacts, key=lambda line: not line.is_away)[:_MOST_ROWS],
        "sites": [site_line(line.node, line.resolution, line.power_kw, zone) for line in sites[:_MOST_SITES]],
        "site_count": len(sites),
        "events": event_lines(await rooms.signals.events(principal), now, zone),
        "manual_limits": [manual_line(one, zone) for one in rooms.signals.manual_limits(principal)[:_MOST_ROWS]],
        "portfolio": portfolio.name if len(portfolios) == 1 else f"{len(portfolios)} portfolios",
        "time_zone": rooms.time_zone,
        "can_set": principal.may(Permission.LIMIT_SET),
        "market_time": local_text(now, zone, DAY_AND_SECOND),
        "request_id": rooms.ids.new("page"),
    }


def portfolio_lines(rooms: WebRooms, tenant: str, view: FleetView, lines: Sequence[NodeLine]) -> list[PortfolioLine]:
    """Return one line for every portfolio, the worst first.

    Args:
        rooms: Who knows what follows and what can be commanded.
        tenant: Whose.
        view: The fleet.
        lines: Nodes of its tree with what binds there; others than portfolios are left out.
    """
    is_following, is_troubled = rooms.follower.following(tenant)
    is_commandable = rooms.dispatcher.reach(tenant).is_commandable
    return worst_first(
        PortfolioLine(
            node=line.node,
            resolution=line.resolution,
            power_kw=line.power_kw,
            following=following_of(
                view.tree.below(line.node.id),
                is_following=is_following,
                is_troubled=is_troubled,
                is_commandable=is_commandable,
            ),
        )
        for line in lines
        if line.node.kind is NodeKind.PORTFOLIO
    )


def _reach(rooms: WebRooms, principal: Principal, node_id: str) -> NodeReach:
    principal.require(Permission.FLEET_READ)
    tenant = principal.tenant
    return node_reach(rooms.fleet.view(tenant), rooms.dispatcher.reach(tenant), node_id, ZoneInfo(rooms.time_zone))


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
