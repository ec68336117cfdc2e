"""A person ends the say of an authority that is gone for good: what would open is shown first, and a reason is asked for."""

from dataclasses import dataclass
from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Form, Request, Response

from gateway.domain.errors import InvalidInput, PreconditionFailed
from gateway.domain.release import OpenedPlace
from gateway.web.local_time import DAY_AND_SECOND, local_text
from gateway.web.rooms import TEMPLATES, Login, Rooms, SameOrigin, go_to
from gateway.web.sessions import require_csrf

router = APIRouter(prefix="/operator/authorities")
_MOST_PLACES = 50
_LONGEST_REASON = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class PlaceLine:
    """One node in the table."""

    node: str
    direction: str
    before_kw: float
    whose: str
    after_kw: float
    whose_after: str
    most_kw: float
    most_at: str


@router.get("/release")
async def look_again(request: Request, rooms: Rooms, session: Login, authority: str = "") -> Response:
    """Show what would open; nothing is changed."""
    found = await rooms.signals.simulate_release(session.principal, authority)
    zone = ZoneInfo(rooms.time_zone)
    context = {
        "session": session,
        "release": found,
        "since": local_text(found.changed_at, zone, DAY_AND_SECOND),
        "places": [_line(place, zone) for place in found.places[:_MOST_PLACES]],
        "time_zone": rooms.time_zone,
        "longest_reason": _LONGEST_REASON,
        "request_id": rooms.ids.new("page"),
    }
    return TEMPLATES.TemplateResponse(request, "operator_release.html", context)


@router.post("/release", dependencies=[SameOrigin])
async def release(  # noqa: PLR0913, PLR0917  # one argument per form field
    request: Request,
    rooms: Rooms,
    session: Login,
    authority: Annotated[str, Form()],
    reason: Annotated[str, Form()],
    request_id: Annotated[str, Form()],
    csrf: Annotated[str, Form()] = "",
) -> Response:
    """End the say of an authority that cannot be reached; who came back meanwhile keeps it.

    Raises:
        InvalidInput: There is no reason.
        PreconditionFailed: The authority can be reached again.
    """
    require_csrf(session, csrf)
    said = reason.strip()
    if not 0 < len(said) <= _LONGEST_REASON:
        raise InvalidInput("reason", f"must have 1 to {_LONGEST_REASON} characters")
    if not (await rooms.signals.simulate_release(session.principal, authority)).is_lost:
        raise PreconditionFailed(f"{authority} can be reached: its limits stay")
    await rooms.signals.release_authority(session.principal, authority=authority, reason=said, request_id=request_id)
    return go_to(request, "/operator")


def _line(place: OpenedPlace, zone: ZoneInfo) -> PlaceLine:
    return PlaceLine(
        node=place.before.node,
        direction="drawn" if place.before.direction.value == "import" else "fed in",
        before_kw=place.before.kw,
        whose=place.before.authority,
        after_kw=place.after.kw,
        whose_after=place.after.authority,
        most_kw=place.most_kw,
        most_at=local_text(place.most_at, zone),
    )
