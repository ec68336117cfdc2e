"""The utility's view: events with our answers and what became of them, reports, broken rules, consents, and the last exchanges.

Nothing here shows what a message said beyond its meaning: no body, no token, no key.
"""

from collections.abc import Sequence
from typing import Annotated
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Form, Request, Response

from gateway.domain.errors import InvalidInput, NotFound, PreconditionFailed
from gateway.domain.identity import Permission, Principal
from gateway.domain.limits import Limit
from gateway.domain.programs import REFUSED_RULE, NonCompliance, PendingReport, ReportDuty
from gateway.domain.settlement import EventPerformance
from gateway.domain.signals import EventStatus, GridEvent, OptType, RawSignal, ReportRequest
from gateway.web import event_csv
from gateway.web import partners_view as view
from gateway.web.availability import availability_context
from gateway.web.rooms import TEMPLATES, Login, Rooms, SameOrigin, WebRooms, go_to
from gateway.web.sessions import require_csrf
from gateway.web.spreadsheet import csv_answer
from gateway.web.steering_view import box_lines

router = APIRouter(prefix="/utility")
_MOST_EVENTS = 30
_MOST_ROWS = 50
_MOST_EXCHANGES = 10
_MOST_INTERVALS = 48
_MOST_PENDING = 5_000
_MOST_MESSAGES = 15


@router.get("")
async def utility_page(request: Request, rooms: Rooms, session: Login) -> Response:
    """Show everything between us and grid partners."""
    context = await _context(rooms, session.principal) | await availability_context(rooms, session.principal)
    return TEMPLATES.TemplateResponse(request, "utility.html", {**context, "session": session})


@router.get("/now")
async def now_fragment(request: Request, rooms: Rooms, session: Login) -> Response:
    """Return the part of the page that changes, for htmx."""
    context = await _context(rooms, session.principal)
    return TEMPLATES.TemplateResponse(request, "_utility.html", {**context, "session": session})


@router.get("/event")
async def event_page(request: Request, rooms: Rooms, session: Login, id: str) -> Response:  # noqa: A002  # name in the address
    """Show one event: what it asks, what we answered and why, the limits that follow, how far it was followed."""
    context = await _event_context(rooms, session.principal, id)
    return TEMPLATES.TemplateResponse(request, "utility_event.html", {**context, "session": session})


@router.get("/event/now")
async def event_fragment(request: Request, rooms: Rooms, session: Login, id: str) -> Response:  # noqa: A002  # as above
    """Return the part of an event's page that changes, for htmx."""
    context = await _event_context(rooms, session.principal, id)
    return TEMPLATES.TemplateResponse(request, "_utility_event.html", {**context, "session": session})


@router.get("/event/measurement.csv")
async def measurement_csv(rooms: Rooms, session: Login, id: str) -> Response:  # noqa: A002  # as above
    """Export the meter rows behind what an event's page says, with its baseline's method."""
    session.principal.require(Permission.SIGNAL_READ)
    found = await rooms.reporter.event_measurement(session.principal, id)
    return csv_answer(event_csv.measurement_csv(found), "event-measurement.csv")


@router.get("/message")
async def message_page(request: Request, rooms: Rooms, session: Login, id: str) -> Response:  # noqa: A002  # as above
    """Read a stored message again and show what it would mean now; nothing is applied."""
    principal = session.principal
    principal.require(Permission.SIGNAL_READ)
    row = await rooms.store.get(RawSignal, principal.tenant, id)
    if row is None:
        raise NotFound("signal", id)
    raw, now, zone = row.record, rooms.clock.now(), ZoneInfo(rooms.time_zone)
    problem, read = "", []
    try:
        read = list(await rooms.rereader.read_again(raw))
    except InvalidInput as error:
        problem = str(error)
    lines = []
    for one in read:
        kept = await rooms.store.get(GridEvent, principal.tenant, f"{raw.authority}:{one.event_id}")
        lines.append(
            {
                "event_id": one.event_id,
                "modification": one.modification,
                "problem": one.problem,
                "would": None if one.event is None else view.event_line(one.event, now, zone),
                "kept": None if kept is None else view.event_line(kept.record, now, zone),
                "kept_modification": None if kept is None else kept.record.modification,
            }
        )
    context = {"raw": raw, "size": len(raw.body), "problem": problem, "lines": lines, "session": session}
    return TEMPLATES.TemplateResponse(request, "utility_message.html", context)


@router.post("/opt", dependencies=[SameOrigin])
async def decide(  # noqa: PLR0913, PLR0917  # one argument per form field
    request: Request,
    rooms: Rooms,
    session: Login,
    event_id: Annotated[str, Form()],
    opt: Annotated[str, Form()],
    request_id: Annotated[str, Form()],
    reason: Annotated[str, Form()] = "",
    csrf: Annotated[str, Form()] = "",
) -> Response:
    """Change our answer to an event by order of a person."""
    require_csrf(session, csrf)
    try:
        wanted = OptType(opt)
    except ValueError as error:
        raise InvalidInput("opt", "must be optIn or optOut") from error
    event = await rooms.opt.decide(
        session.principal, event_id=event_id, opt=wanted, reason=reason.strip(), request_id=request_id
    )
    return go_to(request, f"/utility/event?{urlencode({'id': event.id})}")


@router.post("/dry-run", dependencies=[SameOrigin])
async def switch_dry_run(  # noqa: PLR0913, PLR0917  # one argument per form field
    request: Request,
    rooms: Rooms,
    session: Login,
    authority: Annotated[str, Form()],
    is_on: Annotated[str, Form()],
    request_id: Annotated[str, Form()],
    program: Annotated[str, Form()] = "",
    csrf: Annotated[str, Form()] = "",
) -> Response:
    """Switch the dry run of a program on or off."""
    require_csrf(session, csrf)
    if is_on not in {"on", "off"}:
        raise InvalidInput("is_on", "must be on or off")
    await rooms.programs.set_dry_run(
        session.principal,
        authority=authority,
        program=program,
        is_dry_run=is_on == "on",
        reason="switched on the page",
        request_id=request_id,
    )
    return go_to(request, "/utility")


async def _context(rooms: WebRooms, principal: Principal) -> dict[str, object]:
    principal.require(Permission.SIGNAL_READ)
    tenant, now, zone = principal.tenant, rooms.clock.now(), ZoneInfo(rooms.time_zone)
    events = await rooms.signals.events(principal)
    lines = view.event_lines(events, now, zone, _MOST_EVENTS)
    shown = {line.id for line in lines}
    responses = await _responses(rooms, principal, [event for event in events if event.id in shown])
    broken = await rooms.store.find(NonCompliance, tenant, newest_first=True, limit=_MOST_ROWS)
    messages = await rooms.store.find(RawSignal, tenant, newest_first=True, limit=_MOST_MESSAGES)
    lost = frozenset(rooms.signals.lost)
    return {
        "partners": view.partner_lines(rooms.partners, rooms.journal.latest(tenant), lost, now, _MOST_EXCHANGES),
        "standings": {one.authority: view.standing_line(one, now) for one in rooms.health.standings(tenant)},
        "boxes": box_lines(rooms.steering.states(principal), now) if principal.may(Permission.STEERING_READ) else [],
        "waiting": view.waiting_lines(events, now, zone),
        "events": lines,
        "event_count": len(events),
        "responses": responses,
        "alerts": await rooms.signals.alerts(principal),
        "reports": await _reports(rooms, tenant),
        "broken": [row.record for row in broken if row.record.rule != REFUSED_RULE],
        "refused": [row.record for row in broken if row.record.rule == REFUSED_RULE],
        "messages": [row.record for row in messages],
        "programs": await rooms.programs.programs(principal),
        "enrolments": await rooms.programs.enrolments(principal),
        "can_switch": principal.may(Permission.PROGRAM_SWITCH),
        "can_decide": principal.may(Permission.OPT_DECIDE),
        "market_time": f"{now:%Y-%m-%d %H:%M:%S}Z",
        "now": now,
        "request_id": rooms.ids.new("page"),
    }


async def _event_context(rooms: WebRooms, principal: Principal, event_id: str) -> dict[str, object]:
    principal.require(Permission.SIGNAL_READ)
    tenant, now, zone = principal.tenant, rooms.clock.now(), ZoneInfo(rooms.time_zone)
    row = await rooms.store.get(GridEvent, tenant, event_id)
    if row is None:
        raise NotFound("event", event_id)
    event = row.record
    limits = await rooms.store.find(Limit, tenant, {"cause": f"event:{event.id}"}, limit=_MOST_ROWS)
    broken = await rooms.store.find(
        NonCompliance, tenant, {"authority": event.authority, "object_id": event.event_id}, limit=_MOST_ROWS
    )
    live = sorted((one.record for one in limits), key=lambda one: (one.withdrawn_at is not None, one.interval.start))
    performance = await _performance(rooms, principal, event)
    return {
        "line": view.event_line(event, now, zone),
        "event": event,
        "intervals": view.interval_lines(event, now, zone, _MOST_INTERVALS),
        "interval_count": len(event.intervals),
        "limits": [(one, view.span_text(one.interval.start, one.interval.end, zone)) for one in live],
        "response": view.response_text(performance),
        "baseline": view.baseline_text(performance),
        "broken": [one.record for one in broken],
        "can_decide": principal.may(Permission.OPT_DECIDE) and view.may_decide(event, now),
        "choices": view.other_opt(event),
        "request_id": rooms.ids.new("page"),
        "market_time": f"{now:%Y-%m-%d %H:%M:%S}Z",
    }


async def _responses(rooms: WebRooms, principal: Principal, events: Sequence[GridEvent]) -> dict[str, str]:
    """Return how far each event was followed, in words; empty for events that have not begun or asked for nothing."""
    return {event.id: view.response_text(await _performance(rooms, principal, event)) for event in events}


async def _performance(rooms: WebRooms, principal: Principal, event: GridEvent) -> EventPerformance | None:
    has_begun = event.status(rooms.clock.now()) in {EventStatus.ACTIVE, EventStatus.COMPLETED}
    if not has_begun or not principal.may(Permission.EVIDENCE_READ):
        return None
    try:
        return await rooms.reporter.event_performance(principal, event.id)
    except (PreconditionFailed, NotFound):
        return None


async def _reports(rooms: WebRooms, tenant: str) -> list[view.ReportLine]:
    requests = await rooms.store.find(ReportRequest, tenant, newest_first=True, limit=_MOST_ROWS)
    duties = await rooms.store.find(ReportDuty, tenant, limit=_MOST_ROWS)
    pending = await rooms.store.find(PendingReport, tenant, newest_first=True, limit=_MOST_PENDING)
    return view.report_lines(
        [row.record for row in requests],
        [row.record for row in duties],
        [row.record for row in pending],
        rooms.clock.now(),
        ZoneInfo(rooms.time_zone),
    )
