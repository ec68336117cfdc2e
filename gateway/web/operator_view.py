"""What the operator page shows, computed from rows: pure, without request or template."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from gateway.domain.limits import Resolution
from gateway.domain.signals import GridEvent
from gateway.domain.topology import Node

_MOST_EVENTS = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteLine:
    """One site in the table."""

    node: str
    name: str
    power_kw: float | None
    limit_kw: float
    why: str

    @property
    def headroom_kw(self) -> float:
        """Limit minus power; a site without a measurement comes first, for unknown is not fine."""
        return float("-inf") if self.power_kw is None else self.limit_kw - self.power_kw


@dataclass(frozen=True, kw_only=True, slots=True)
class EventLine:
    """One grid event in the table."""

    event_id: str
    authority: str
    status: str
    opt: str
    opt_reason: str
    active: str
    is_test: bool


def headline(resolution: Resolution, measured_kw: float | None, trouble_count: int) -> str:
    """Return the one honest line: what binds, by whose order, until when, what is drawn, and who does not follow."""
    power = "power unknown" if measured_kw is None else f"now {measured_kw:.1f} kW"
    match trouble_count:
        case 0:
            following = "all chargers follow"
        case 1:
            following = "1 charger does not follow"
        case _:
            following = f"{trouble_count} chargers do not follow"
    return f"{resolution.why()}; {power}; {following}"


def site_line(node: Node, resolution: Resolution, power_kw: float | None) -> SiteLine:
    """Return a site with what binds there."""
    return SiteLine(node=node.id, name=node.name, power_kw=power_kw, limit_kw=resolution.kw, why=resolution.why())


def event_lines(events: Sequence[GridEvent], now: datetime, time_zone: str) -> list[EventLine]:
    """Return the newest events with their status at `now` and their active time in local time."""
    zone = ZoneInfo(time_zone)
    newest = sorted(events, key=lambda event: event.received_at, reverse=True)[:_MOST_EVENTS]
    return [
        EventLine(
            event_id=event.event_id,
            authority=event.authority,
            status=event.status(now).value,
            opt="undecided" if event.opt is None else event.opt.value,
            opt_reason=event.opt_reason,
            active=_span(event, zone),
            is_test=event.test_event,
        )
        for event in newest
    ]


def _span(event: GridEvent, zone: ZoneInfo) -> str:
    start = f"{event.active.start.astimezone(zone):%d %b %H:%M}"
    if event.active.end is None:
        return f"{start} until cancelled"
    return f"{start} to {event.active.end.astimezone(zone):%H:%M}"
