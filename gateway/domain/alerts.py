"""Alerts of grid partners: what people must know, the most severe first.

An alert is an interval of an event with `Instruction.ALERT`. Its kind is the partner's own name (OpenADR 3.x names ten, from
`ALERT_BLACK_START` to `ALERT_OTHER`); what has no name is a warning, so that nothing unknown is played down.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from gateway.domain.signals import EventInterval, EventStatus, GridEvent, Instruction
from gateway.domain.timegrid import Interval

_PREFIX = "ALERT_"


class AlertSeverity(IntEnum):
    """How urgent an alert is; the larger comes first."""

    NOTICE = 1
    WARNING = 2
    EMERGENCY = 3


_SEVERITY = {
    "ALERT_BLACK_START": AlertSeverity.EMERGENCY,
    "ALERT_GRID_EMERGENCY": AlertSeverity.EMERGENCY,
    "ALERT_FIRE": AlertSeverity.EMERGENCY,
    "ALERT_TSUNAMI": AlertSeverity.EMERGENCY,
    "ALERT_AIR_QUALITY": AlertSeverity.NOTICE,
    "ALERT_OTHER": AlertSeverity.NOTICE,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Alert:
    """One alert that is in force or to come."""

    event: str
    """Id of the `GridEvent` it came in."""
    authority: str
    program: str
    kind: str
    """The partner's name, for example `ALERT_GRID_EMERGENCY`; `ALERT_OTHER` when it gave none."""
    severity: AlertSeverity
    text: str
    """The partner's words."""
    interval: Interval
    nodes: tuple[str, ...]
    is_test: bool
    received_at: datetime


def alerts_of(events: Iterable[GridEvent], now: datetime) -> list[Alert]:
    """Return the alerts that are not over: the most severe first, then the earliest, each event's words once.

    Alerts of tests and of dry runs are shown like others: they change nothing but what people know.
    """
    found: dict[tuple[str, str, str], Alert] = {}
    for event in events:
        if event.status(now) in {EventStatus.CANCELLED, EventStatus.COMPLETED}:
            continue
        for interval in event.intervals:
            if interval.instruction is Instruction.ALERT and (interval.end is None or interval.end > now):
                alert = _alert(event, interval)
                found.setdefault((alert.event, alert.kind, alert.text), alert)
    return sorted(found.values(), key=lambda each: (-each.severity, each.interval.start, each.event, each.text))


def kind_of(interval: EventInterval) -> str:
    """Return the partner's name of an alert, found in its signal id or at the beginning of its text."""
    first_word = interval.text.split(maxsplit=1)[0].rstrip(":") if interval.text.strip() else ""
    return next((name for name in (interval.signal_id, first_word) if name.startswith(_PREFIX)), "ALERT_OTHER")


def severity_of(kind: str) -> AlertSeverity:
    """Return how urgent a kind of alert is; one that is not known is a warning."""
    return _SEVERITY.get(kind, AlertSeverity.WARNING)


def _alert(event: GridEvent, interval: EventInterval) -> Alert:
    kind = kind_of(interval)
    is_named = kind != "ALERT_OTHER" or interval.signal_id == kind or interval.text.startswith(kind)
    return Alert(
        event=event.id,
        authority=event.authority,
        program=event.market_context,
        kind=kind,
        severity=severity_of(kind) if is_named else AlertSeverity.WARNING,
        text=interval.text,
        interval=Interval(start=interval.start, end=interval.end),
        nodes=event.nodes,
        is_test=event.test_event,
        received_at=event.received_at,
    )
