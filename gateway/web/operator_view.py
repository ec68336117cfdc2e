"""What the operator page shows, computed from rows: pure, without request or template."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from zoneinfo import ZoneInfo

from gateway.domain.authorities import AuthorityStanding
from gateway.domain.limits import Resolution
from gateway.domain.signals import GridEvent
from gateway.domain.topology import Node
from gateway.ports import DoorStanding, PartnerStanding
from gateway.services.plan_dispatch import StreamState

_MOST_EVENTS = 20
_MOST_NAMED = 3


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


@dataclass(frozen=True, kw_only=True, slots=True)
class ContactLine:
    """One grid partner or charging platform: whether it is there, and until when what it was told holds."""

    who: str
    state: str
    heard: str
    lease: str
    trouble: str
    is_away: bool


def headline(
    resolution: Resolution, measured_kw: float | None, trouble_count: int, away: Sequence[ContactLine] = ()
) -> str:
    """Return the one honest line: what binds, by whose order, until when, what is drawn, who does not follow, who is away."""
    power = "power unknown" if measured_kw is None else f"now {measured_kw:.1f} kW"
    match trouble_count:
        case 0:
            following = "all chargers follow"
        case 1:
            following = "1 charger does not follow"
        case _:
            following = f"{trouble_count} chargers do not follow"
    return "; ".join((f"{resolution.why()}; {power}; {following}", *_away(away)))


def _away(lines: Sequence[ContactLine]) -> list[str]:
    """Return who is away, the first of them by name."""
    names = [line.who for line in lines if line.is_away]
    if not names:
        return []
    others = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    verb = "is" if len(names) == 1 else "are"
    return [f"{', '.join(names[:_MOST_NAMED])}{others} {verb} out of contact"]


def partner_contact(standing: PartnerStanding, now: datetime) -> ContactLine:
    """Return how we stand with a grid partner."""
    lost = standing.lost_since
    return ContactLine(
        who=standing.authority,
        state=standing.state,
        heard=_ago(standing.heard_at, now),
        lease="",
        trouble=_partner_trouble(standing),
        is_away=lost is not None,
    )


def _partner_trouble(standing: PartnerStanding) -> str:
    """Return what is wrong; a failure that was followed by a success is told as one of the past."""
    if standing.lost_since is not None:
        return f"lost since {_clock(standing.lost_since)}; {standing.last_error}".rstrip("; ")
    if standing.last_error and standing.failures == 0:
        return f"earlier: {standing.last_error}"
    return standing.last_error


def stated_contact(standing: AuthorityStanding) -> ContactLine:
    """Return whether an authority that states limits itself can be reached."""
    return ContactLine(
        who=standing.id,
        state="lost" if standing.is_lost else "not lost",
        heard="",
        lease="",
        trouble=f"lost since {_clock(standing.changed_at)}" if standing.is_lost else "",
        is_away=standing.is_lost,
    )


def stream_contact(stream: StreamState, now: datetime) -> ContactLine:
    """Return how the stream of a charging platform is."""
    lease = "none runs"
    if stream.lease_until is not None:
        length = "" if stream.lease is None else f"{stream.lease.total_seconds():.0f} s, "
        lease = f"{length}the first ends in {(stream.lease_until - now).total_seconds():.0f} s"
    unreachable = f"{stream.unreachable_count} of {stream.charger_count} chargers cannot be commanded"
    return ContactLine(
        who=stream.csms,
        state="connected" if stream.is_connected else "not connected",
        heard="",
        lease=lease,
        trouble=unreachable if stream.unreachable_count > 0 else "",
        is_away=not stream.is_connected,
    )


def door_contact(line: ContactLine, door: DoorStanding, now: datetime) -> ContactLine:
    """Return the line of a charging platform behind a door, with what only the door knows.

    Args:
        line: As its stream is (see `stream_contact`).
        door: How the door stands.
        now: Market time.
    """
    named = f"refused or unknown: {', '.join(door.troubled[:_MOST_NAMED])}" if door.troubled else ""
    others = f" and {len(door.troubled) - _MOST_NAMED} more" if len(door.troubled) > _MOST_NAMED else ""
    has_trouble = bool(door.troubled) or not door.is_connected
    last_error = door.last_error if has_trouble else ""
    return replace(
        line,
        state=f"{door.kind}: {door.state}; class {door.enforcement} at best",
        heard=_ago(door.heard_at, now),
        trouble="; ".join(part for part in (line.trouble, named + others, last_error) if part),
        is_away=not door.is_connected,
    )


def _ago(heard_at: datetime | None, now: datetime) -> str:
    return "not since the start" if heard_at is None else f"{max((now - heard_at).total_seconds(), 0.0):.0f} s ago"


def _clock(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M:%S}Z"


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
