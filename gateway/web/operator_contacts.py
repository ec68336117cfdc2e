"""Who is there and who is not: grid partners, authorities that state limits themselves, steering boxes, charging platforms."""

from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

from gateway.domain.authorities import AuthorityStanding
from gateway.domain.identity import Permission, Principal
from gateway.services.steer_power import BoxView
from gateway.web.operator_view import (
    ContactLine,
    ago,
    box_contact,
    door_contact,
    partner_contact,
    stated_contact,
    stream_contact,
)
from gateway.web.rooms import WebRooms


def contact_lines(rooms: WebRooms, principal: Principal, now: datetime) -> list[ContactLine]:
    """Return grid partners, then who states limits directly, boxes that never did included, then charging platforms.

    Args:
        rooms: Who knows.
        principal: Who looks.
        now: Market time.
    """
    tenant, zone = principal.tenant, ZoneInfo(rooms.time_zone)
    known = rooms.signals.standings(tenant)
    gone = {one.id for one in known if one.is_lost and not one.is_released}
    partners = [partner_contact(one, now, zone) for one in rooms.health.standings(tenant)]
    named = {line.who for line in partners}
    boxes = {box.authority: box for box in _boxes(rooms, principal)}
    standings = [one for one in known if one.id not in named]
    stated = [stated_contact(one, _heard(rooms, one, boxes.get(one.id), now), zone) for one in standings]
    spoken = {one.id for one in standings}
    mute = [box_contact(box, now, zone) for name, box in boxes.items() if name not in spoken]
    doors = {one.csms: one for one in rooms.doors.standings(tenant)}
    streams = [stream_contact(one, now, zone) for one in rooms.dispatcher.streams(tenant)]
    platforms = [door_contact(line, doors[line.who], now) if line.who in doors else line for line in streams]
    authorities = [replace(line, may_be_released=line.who in gone) for line in (*partners, *stated)]
    return [*authorities, *mute, *platforms]


def _boxes(rooms: WebRooms, principal: Principal) -> list[BoxView]:
    return rooms.steering.states(principal) if principal.may(Permission.STEERING_READ) else []


def _heard(rooms: WebRooms, standing: AuthorityStanding, box: BoxView | None, now: datetime) -> str:
    """Return when an authority last said something: a box by its heartbeat, others by the newest limit that is known of them."""
    if box is not None:
        return ago(box.heartbeat_at, now)
    at = rooms.signals.spoke_at(standing.tenant, standing.id)
    return "no limit of it is known" if at is None else f"its newest limit {ago(at, now)}"
