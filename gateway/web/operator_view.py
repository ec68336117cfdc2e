"""What the operator page shows, computed from rows: pure, without request or template."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from zoneinfo import ZoneInfo

from gateway.domain.authorities import AuthorityStanding
from gateway.domain.limits import Limit, Resolution
from gateway.domain.signals import GridEvent
from gateway.domain.topology import Node
from gateway.ports import DoorStanding, PartnerStanding
from gateway.services.follow_dispatch import ChargerStatus
from gateway.services.plan_dispatch import StreamState
from gateway.services.steer_power import BoxView
from gateway.web.local_time import DAY_AND_SECOND, local_text

_MOST_EVENTS = 20
_MOST_NAMED = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteLine:
    """One site in the table."""

    node: str
    name: str
    power_kw: float | None
    limit_kw: float
    whose: str
    until: str
    """When that changes next, in the time of the page."""
    reason: str


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
    may_be_released: bool = False
    """A person may end its say: it is lost, and what it said or left unsaid still counts."""


def away_clauses(lines: Sequence[ContactLine]) -> list[str]:
    """Return who is away, the first of them by name; nothing when nobody is."""
    names = [line.who for line in lines if line.is_away]
    if not names:
        return []
    others = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    verb = "is" if len(names) == 1 else "are"
    return [f"{', '.join(names[:_MOST_NAMED])}{others} {verb} out of contact"]


def partner_contact(standing: PartnerStanding, now: datetime, zone: ZoneInfo) -> ContactLine:
    """Return how we stand with a grid partner."""
    lost = standing.lost_since
    return ContactLine(
        who=standing.authority,
        state=standing.state,
        heard=ago(standing.heard_at, now),
        lease="",
        trouble=_partner_trouble(standing, zone),
        is_away=lost is not None,
    )


def _partner_trouble(standing: PartnerStanding, zone: ZoneInfo) -> str:
    """Return what is wrong; a failure that was followed by a success is told as one of the past."""
    if standing.lost_since is not None:
        return f"lost since {_clock(standing.lost_since, zone)}; {standing.last_error}".rstrip("; ")
    if standing.last_error and standing.failures == 0:
        return f"earlier: {standing.last_error}"
    return standing.last_error


def stated_contact(standing: AuthorityStanding, heard: str, zone: ZoneInfo) -> ContactLine:
    """Return whether an authority that states limits itself can be reached.

    Args:
        standing: What is remembered of it.
        heard: When it last said something, for people.
        zone: Of the page.
    """
    is_away = standing.is_lost and not standing.is_released
    state = "lost" if standing.is_lost else "not lost"
    return ContactLine(
        who=standing.id,
        state=f"released by a person; {state}" if standing.is_released else state,
        heard=heard,
        lease="",
        trouble=f"lost since {_clock(standing.changed_at, zone)}" if is_away else "",
        is_away=is_away,
    )


def box_contact(box: BoxView, now: datetime, zone: ZoneInfo) -> ContactLine:
    """Return whether a steering box that has not stated a limit yet is there."""
    since = max(view.since for view in box.limitations)
    return ContactLine(
        who=box.authority,
        state="lost" if box.is_silent else "not lost",
        heard=ago(box.heartbeat_at, now),
        lease="",
        trouble=f"silent since {_clock(since, zone)}" if box.is_silent else "",
        is_away=box.is_silent,
    )


def stream_contact(stream: StreamState, now: datetime, zone: ZoneInfo) -> ContactLine:
    """Return how the stream of a charging platform is."""
    lease = "none runs"
    if stream.lease_until is not None:
        length = "" if stream.lease is None else f"{stream.lease.total_seconds():.0f} s, "
        lease = f"{length}the first ends in {(stream.lease_until - now).total_seconds():.0f} s"
    away = "" if stream.away_since is None else f"gone since {_clock(stream.away_since, zone)}"
    unreachable = f"{stream.unreachable_count} of {stream.charger_count} chargers cannot be commanded"
    return ContactLine(
        who=stream.csms,
        state="connected" if stream.is_connected else "not connected",
        heard=ago(stream.heard_at, now),
        lease=lease,
        trouble="; ".join(part for part in (away, unreachable if stream.unreachable_count > 0 else "") if part),
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
        heard=ago(door.heard_at, now),
        trouble="; ".join(part for part in (line.trouble, named + others, last_error) if part),
        is_away=not door.is_connected,
    )


def ago(heard_at: datetime | None, now: datetime) -> str:
    """Return how long ago somebody was heard, for people."""
    return "not since the start" if heard_at is None else f"{max((now - heard_at).total_seconds(), 0.0):.0f} s ago"


def _clock(instant: datetime, zone: ZoneInfo) -> str:
    return local_text(instant, zone, DAY_AND_SECOND)


def site_line(node: Node, resolution: Resolution, power_kw: float | None, zone: ZoneInfo) -> SiteLine:
    """Return a site with what binds there."""
    said = "" if resolution.binding is None else resolution.binding.reason
    return SiteLine(
        node=node.id,
        name=node.name,
        power_kw=power_kw,
        limit_kw=resolution.kw,
        whose=resolution.authority,
        until="further notice" if resolution.until is None else local_text(resolution.until, zone),
        reason="; ".join(text for text in (said, resolution.because) if text),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class TroubleLine:
    """One charger that does not follow."""

    charger_id: str
    limit_kw: float
    measured_kw: float | None
    since: str
    likely_cause: str


def trouble_line(status: ChargerStatus, zone: ZoneInfo) -> TroubleLine:
    """Return a charger that does not follow."""
    return TroubleLine(
        charger_id=status.charger_id,
        limit_kw=status.limit_kw,
        measured_kw=status.measured_kw,
        since=_clock(status.since, zone),
        likely_cause=status.likely_cause,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class ManualLine:
    """One order of a person."""

    id: str
    node: str
    max_kw: float
    until: str
    reason: str


def manual_line(limit: Limit, zone: ZoneInfo) -> ManualLine:
    """Return an order of a person; it always ends."""
    end = limit.interval.end
    until = "" if end is None else local_text(end, zone)
    return ManualLine(id=limit.id, node=limit.node, max_kw=limit.max_kw, until=until, reason=limit.reason)


def event_lines(events: Sequence[GridEvent], now: datetime, zone: ZoneInfo) -> list[EventLine]:
    """Return the newest events with their status at `now` and their active time in local time."""
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
    start = local_text(event.active.start, zone)
    if event.active.end is None:
        return f"{start} until cancelled"
    return f"{start} to {local_text(event.active.end, zone, '%H:%M')}"
