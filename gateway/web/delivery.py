"""A delivered day for the balance responsible party: what was nominated, what it acknowledged, every deviation and its cause."""

from zoneinfo import ZoneInfo

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from gateway.domain.identity import Principal
from gateway.domain.timegrid import DeliveryDay
from gateway.web import delivery_view as view
from gateway.web.rooms import TEMPLATES, Login, Rooms, WebRooms, iso_day
from gateway.web.spreadsheet import csv_answer

router = APIRouter(prefix="/delivery")
_MOST_POINTS = 500
_MOST_DEVIATIONS = 400


@router.get("")
async def chosen_day(rooms: Rooms, session: Login, day: str = "") -> Response:
    """Open a delivery day; without one the day before today, the last that can be settled."""
    yesterday = DeliveryDay.containing(rooms.clock.now(), rooms.time_zone).next(-1).day.isoformat()
    return RedirectResponse(f"/delivery/{iso_day(day or yesterday)}", status_code=303)


@router.get("/{day}")
async def delivery_page(request: Request, rooms: Rooms, session: Login, day: str, point: str = "") -> Response:
    """Show the nominations and deviations of a day; of one connection point when it is named."""
    at, zone = DeliveryDay(day=iso_day(day), zone=rooms.time_zone), ZoneInfo(rooms.time_zone)
    nominations = await rooms.submitter.nominations(session.principal, at.day.isoformat())
    found = [
        one
        for one in await _deviations(rooms, session.principal, at.day.isoformat())
        if point in {"", one.connection_point}
    ]
    deviating = view.largest(found, len(found))
    context = {
        "day": at.day.isoformat(),
        "before": at.next(-1).day.isoformat(),
        "after": at.next().day.isoformat(),
        "point": point,
        "nominations": view.nomination_lines(nominations[:_MOST_POINTS], zone),
        "nomination_count": len(nominations),
        "causes": view.cause_sums(found),
        "deviations": view.largest(found, _MOST_DEVIATIONS),
        "deviation_count": len(deviating),
        "period_count": len(found),
        "session": session,
    }
    return TEMPLATES.TemplateResponse(request, "delivery.html", context)


@router.get("/{day}/nominations.csv")
async def nominations_csv(rooms: Rooms, session: Login, day: str) -> Response:
    """Export the nominations, one line per connection point and delivery period."""
    iso = iso_day(day).isoformat()
    nominations = await rooms.submitter.nominations(session.principal, iso)
    return csv_answer(view.nomination_csv(nominations, ZoneInfo(rooms.time_zone)), f"nominations-{iso}.csv")


@router.get("/{day}/deviations.csv")
async def deviations_csv(rooms: Rooms, session: Login, day: str) -> Response:
    """Export every settled period of every connection point with its cause and its money."""
    iso = iso_day(day).isoformat()
    found = await _deviations(rooms, session.principal, iso)
    return csv_answer(view.deviation_csv(found, ZoneInfo(rooms.time_zone)), f"deviations-{iso}.csv")


async def _deviations(rooms: WebRooms, principal: Principal, day: str) -> list[view.Deviation]:
    zone = ZoneInfo(rooms.time_zone)
    settlements = await rooms.settler.positions(principal, day)
    causes = (period.cause for one in settlements for period in one.periods)
    words = await rooms.reporter.cause_words(principal, causes, rooms.time_zone)
    return list(view.deviations(settlements, words, zone))
