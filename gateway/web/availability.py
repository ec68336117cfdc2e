"""The part of the utility's page where people say when we are available, and whether we take part at all."""

from datetime import UTC, datetime
from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Form, Request, Response

from gateway.domain.errors import InvalidInput
from gateway.domain.identity import Permission, Principal
from gateway.domain.signals import OptType
from gateway.domain.timegrid import Interval
from gateway.services.declare_availability import REASONS
from gateway.web.rooms import Login, Rooms, SameOrigin, WebRooms, go_to
from gateway.web.sessions import require_csrf

router = APIRouter(prefix="/utility")
_MOST_SCHEDULES = 20


async def availability_context(rooms: WebRooms, principal: Principal) -> dict[str, object]:
    """Return what the part shows."""
    schedules = await rooms.availability.schedules(principal)
    return {
        "partner_names": rooms.declarable_partners,
        "reasons": REASONS,
        "schedules": schedules[:_MOST_SCHEDULES],
        "time_zone": rooms.time_zone,
        "can_declare": principal.may(Permission.OPT_DECIDE),
        "can_take_part": principal.may(Permission.PROGRAM_SWITCH),
    }


@router.post("/availability", dependencies=[SameOrigin])
async def declare(  # noqa: PLR0913, PLR0917  # one argument per form field
    request: Request,
    rooms: Rooms,
    session: Login,
    authority: Annotated[str, Form()],
    opt: Annotated[str, Form()],
    reason: Annotated[str, Form()],
    start: Annotated[str, Form()],
    end: Annotated[str, Form()],
    request_id: Annotated[str, Form()],
    second_start: Annotated[str, Form()] = "",
    second_end: Annotated[str, Form()] = "",
    market_context: Annotated[str, Form(max_length=1024)] = "",
    resource: Annotated[str, Form()] = "",
    csrf: Annotated[str, Form()] = "",
) -> Response:
    """Declare when we are available to a partner, or are not."""
    require_csrf(session, csrf)
    if opt not in set(OptType):
        raise InvalidInput("opt", "must be optIn or optOut")
    windows = [_window("", start, end, rooms.time_zone)]
    if second_start or second_end:
        windows.append(_window("second_", second_start, second_end, rooms.time_zone))
    await rooms.availability.declare(
        session.principal,
        authority=_partner(rooms, authority),
        opt=OptType(opt),
        reason=reason,
        windows=windows,
        market_context=market_context,
        resources=[resource] if resource else [],
        request_id=request_id,
    )
    return go_to(request, "/utility")


@router.post("/availability/withdraw", dependencies=[SameOrigin])
async def withdraw(  # one argument per form field
    request: Request,
    rooms: Rooms,
    session: Login,
    schedule_id: Annotated[str, Form()],
    request_id: Annotated[str, Form()],
    csrf: Annotated[str, Form()] = "",
) -> Response:
    """Withdraw a declaration before its end."""
    require_csrf(session, csrf)
    await rooms.availability.withdraw(session.principal, schedule_id=schedule_id, request_id=request_id)
    return go_to(request, "/utility")


@router.post("/registration", dependencies=[SameOrigin])
async def take_part(  # noqa: PLR0913, PLR0917  # one argument per form field
    request: Request,
    rooms: Rooms,
    session: Login,
    authority: Annotated[str, Form()],
    wish: Annotated[str, Form()],
    request_id: Annotated[str, Form()],
    csrf: Annotated[str, Form()] = "",
) -> Response:
    """Cancel our registration with a partner, or register again after that."""
    require_csrf(session, csrf)
    if wish not in {"leave", "join"}:
        raise InvalidInput("wish", "must be leave or join")
    await rooms.availability.take_part(
        session.principal, authority=_partner(rooms, authority), is_wanted=wish == "join", request_id=request_id
    )
    return go_to(request, "/utility")


def _partner(rooms: WebRooms, authority: str) -> str:
    if authority not in rooms.declarable_partners:
        raise InvalidInput("authority", "is not a grid partner of ours that speaks OpenADR 2.0b")
    return authority


def _window(prefix: str, start: str, end: str, time_zone: str) -> Interval:
    first, last = _instant(f"{prefix}start", start, time_zone), _instant(f"{prefix}end", end, time_zone)
    if last <= first:
        raise InvalidInput(f"{prefix}end", "must be later than the start")
    return Interval(start=first, end=last)


def _instant(field: str, text: str, time_zone: str) -> datetime:
    """Return an instant from what a form sends: a local time of the market without zone."""
    try:
        local = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(field, "must be a time such as 2025-10-15T18:00") from error
    if local.tzinfo is not None:
        raise InvalidInput(field, "must be a local time without zone")
    return local.replace(tzinfo=ZoneInfo(time_zone)).astimezone(UTC)
