"""What the utility's page shows, computed from rows: pure, without request or template."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from gateway.domain.programs import PendingReport, ReportDuty
from gateway.domain.settlement import EventPerformance
from gateway.domain.signals import EventInterval, EventStatus, GridEvent, Instruction, OptType, ReportRequest
from gateway.ports import PartnerExchange, PartnerStanding

_OVER = frozenset({EventStatus.CANCELLED, EventStatus.COMPLETED})
_ORDER = {
    EventStatus.ACTIVE: 0,
    EventStatus.NEAR: 1,
    EventStatus.FAR: 2,
    EventStatus.COMPLETED: 3,
    EventStatus.CANCELLED: 4,
}
_WORDS = {
    Instruction.IMPORT_LIMIT_KW: ("draw at most", "kW"),
    Instruction.EXPORT_LIMIT_KW: ("feed in at most", "kW"),
    Instruction.IMPORT_LIMIT_FRACTION: ("draw at most", "of the rating"),
    Instruction.REDUCTION_KW: ("draw less by", "kW"),
    Instruction.SIMPLE_LEVEL: ("SIMPLE level", ""),
    Instruction.TARGET_KW: ("wished power", "kW"),
    Instruction.TARGET_DELTA_KW: ("wished change", "kW"),
    Instruction.LEVEL_OFFSET: ("level offset", ""),
    Instruction.PERCENT_OFFSET: ("offset", "of normal"),
    Instruction.STATE_OF_CHARGE: ("wished state of charge", ""),
    Instruction.CHARGE_KWH: ("wished energy", "kWh"),
    Instruction.IMPORT_SUBSCRIPTION_KW: ("contracted import", "kW"),
    Instruction.EXPORT_SUBSCRIPTION_KW: ("contracted export", "kW"),
    Instruction.IMPORT_RESERVATION_KW: ("reserved import", "kW"),
    Instruction.EXPORT_RESERVATION_KW: ("reserved export", "kW"),
    Instruction.PRICE: ("price", "per MWh"),
    Instruction.EXPORT_PRICE: ("export price", "per MWh"),
    Instruction.PRICE_MULTIPLIER: ("price times", ""),
    Instruction.PRICE_RELATIVE: ("price plus", "per MWh"),
    Instruction.DEMAND_CHARGE: ("demand charge", "per kW"),
    Instruction.CARBON_G_PER_KWH: ("carbon", "g/kWh"),
}
"""What an instruction asks for, in words, and the unit of its value."""

_STATES = {
    "unregistered": "not registered",
    "registered": "registered",
    "cancelled": "registration cancelled by the VTN",
    "left": "left by us",
    "handshaken": "registered and agreed, no heartbeat yet",
    "online": "online",
    "offline": "offline",
}
"""What a state of a VEN or of a link is called."""
_GOOD = frozenset({"registered", "handshaken", "online"})


@dataclass(frozen=True, kw_only=True, slots=True)
class EventLine:
    """One event of a grid partner in the table."""

    id: str
    event_id: str
    authority: str
    program: str
    protocol: str
    comment: str
    status: str
    active: str
    asks: str
    opt: str
    opt_reason: str
    opt_by: str
    deadline: str
    """Time left for a person to decide; empty when nobody is asked any more."""
    expected: str
    flags: tuple[str, ...]
    """`test`, `dry run`, `binding`: what holds the event apart from others."""
    is_over: bool
    nodes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class IntervalLine:
    """One interval of an event."""

    span: str
    asks: str
    is_now: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportLine:
    """One report that a partner asked for."""

    authority: str
    what: str
    cadence: str
    reported_until: str
    sent: str
    pending: int
    """Made up and not acknowledged."""
    state: str


@dataclass(frozen=True, kw_only=True, slots=True)
class StandingLine:
    """How we stand with one grid partner, in words."""

    state: str
    is_good: bool
    """Registered and within reach."""
    heard: str
    problem: str
    """Attempts that failed and the last error; empty when there is nothing to tell."""
    pending: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PartnerLine:
    """One grid partner and what was last exchanged with it."""

    authority: str
    is_lost: bool
    last: PartnerExchange | None
    ago: str
    exchanges: tuple[PartnerExchange, ...]
    failed_count: int

    @property
    def standing(self) -> str:
        """`lost`, `heard` (it answered something that is still noted) or `not heard`."""
        if self.is_lost:
            return "lost"
        return "heard" if any(not one.is_failed for one in self.exchanges) else "not heard"


def event_lines(events: Sequence[GridEvent], now: datetime, zone: ZoneInfo, most: int) -> list[EventLine]:
    """Return the events that run or come, the nearest first, then the latest of those that are over."""

    def place(event: GridEvent) -> tuple[bool, int, float]:
        status = event.status(now)
        away = event.active.start.timestamp()
        return status in _OVER, 0 if status in _OVER else _ORDER[status], -away if status in _OVER else away

    return [event_line(event, now, zone) for event in sorted(events, key=place)[:most]]


def waiting_lines(events: Sequence[GridEvent], now: datetime, zone: ZoneInfo) -> list[EventLine]:
    """Return every event that a person can still decide on before a deadline, the most urgent first."""
    open_ones = [
        (event.opt_deadline, event)
        for event in events
        if event.opt_deadline is not None and now < event.opt_deadline and event.status(now) not in _OVER
    ]
    return [event_line(event, now, zone) for _, event in sorted(open_ones, key=lambda one: (one[0], one[1].id))]


def event_line(event: GridEvent, now: datetime, zone: ZoneInfo) -> EventLine:
    """Return one event as the page shows it."""
    status = event.status(now)
    flags = (("test", event.test_event), ("dry run", event.is_dry_run), ("binding", event.is_binding))
    return EventLine(
        id=event.id,
        event_id=event.event_id,
        authority=event.authority,
        program=event.market_context,
        protocol=event.protocol,
        comment=event.comment,
        status=status.value,
        active=span_text(event.active.start, event.active.end, zone),
        asks=asks_text(event.intervals),
        opt="undecided" if event.opt is None else event.opt.value,
        opt_reason=event.opt_reason,
        opt_by=event.opt_by,
        deadline=left_text(event.opt_deadline, now) if status not in _OVER else "",
        expected=change_text(event.expected_change_kw),
        flags=tuple(name for name, holds in flags if holds),
        is_over=status in _OVER,
        nodes=event.nodes,
    )


def interval_lines(event: GridEvent, now: datetime, zone: ZoneInfo, most: int) -> list[IntervalLine]:
    """Return an event's intervals from the running one on, at most so many."""
    left = [one for one in event.intervals if one.end is None or one.end > now] or list(event.intervals)
    return [
        IntervalLine(
            span=span_text(one.start, one.end, zone),
            asks=asks_text([one]),
            is_now=one.start <= now and (one.end is None or now < one.end),
        )
        for one in sorted(left, key=lambda one: one.start)[:most]
    ]


def may_decide(event: GridEvent, now: datetime) -> bool:
    """Tell whether a person can still say something about an event; the service checks again."""
    if event.test_event or event.is_binding or event.status(now) in _OVER:
        return False
    return event.opt_deadline is None or now < event.opt_deadline


def other_opt(event: GridEvent) -> tuple[OptType, ...]:
    """Return the answers that would change something."""
    return tuple(opt for opt in OptType if opt is not event.opt)


def asks_text(intervals: Sequence[EventInterval]) -> str:
    """Return what intervals ask for, one phrase per instruction with the range of its values."""
    phrases = []
    for instruction in dict.fromkeys(one.instruction for one in intervals):
        mine = [one for one in intervals if one.instruction is instruction]
        if instruction in {Instruction.ALERT, Instruction.INFORMATION}:
            phrases.append("; ".join(dict.fromkeys(one.text or instruction.value for one in mine)))
            continue
        words, unit = _WORDS[instruction]
        values = [one.value for one in mine]
        currency = next((one.currency for one in mine if one.currency), "")
        phrases.append(" ".join(part for part in (words, _range(values), currency, unit) if part))
    return ", ".join(phrases)


def change_text(change_kw: float | None) -> str:
    """Return the change of power that an event should make."""
    return "not known" if change_kw is None else f"{change_kw:+.1f} kW"


def response_text(performance: EventPerformance | None) -> str:
    """Return how far an event was followed, so far or in the end."""
    if performance is None:
        return ""
    said = f"{performance.mean_power_kw:.1f} kW drawn by the chargers only, {performance.requested_kw:.1f} kW asked"
    if performance.baseline_kw is not None:
        said += f", {performance.mean_power_kw - performance.baseline_kw:+.1f} kW to the baseline"
    return f"{said}, kept {performance.compliance:.0%} of the time"


def baseline_text(performance: EventPerformance | None) -> str:
    """Return what would have been drawn without the event, by which method and from which days."""
    if performance is None:
        return ""
    if performance.baseline_kw is None:
        return performance.baseline_method
    return f"{performance.baseline_kw:.1f} kW by the chargers only: {performance.baseline_method}"


def report_lines(
    requests: Sequence[ReportRequest],
    duties: Sequence[ReportDuty],
    pending: Sequence[PendingReport],
    now: datetime,
    zone: ZoneInfo,
) -> list[ReportLine]:
    """Return the reports that partners asked for, those that still run first."""
    waiting = Counter(one.request for one in pending if one.sent_at is None and one.dropped_at is None)
    sent = Counter(one.request for one in pending if one.sent_at is not None)
    lines = [_request_line(one, waiting[one.id], sent[one.id], now, zone) for one in requests]
    lines += [_duty_line(one, waiting[one.id], zone) for one in duties]
    return sorted(lines, key=lambda line: (line.state != "running", line.authority, line.what))


def partner_lines(
    authorities: Sequence[str], exchanges: Sequence[PartnerExchange], lost: frozenset[str], now: datetime, most: int
) -> list[PartnerLine]:
    """Return every partner with its last exchanges, newest first."""
    names = dict.fromkeys([*authorities, *(one.authority for one in exchanges)])
    lines = []
    for name in names:
        mine = [one for one in exchanges if one.authority == name]
        lines.append(
            PartnerLine(
                authority=name,
                is_lost=name in lost,
                last=mine[0] if mine else None,
                ago=f"{duration_text(now - mine[0].at)} ago" if mine else "not yet",
                exchanges=tuple(mine[:most]),
                failed_count=sum(one.repeats for one in mine if one.is_failed),
            )
        )
    return lines


def standing_line(one: PartnerStanding, now: datetime) -> StandingLine:
    """Return how we stand with a partner as the page shows it."""
    state = _STATES.get(one.state, one.state)
    if one.state == "registered" and one.ven_id:
        state += f" as {one.ven_id}"
    if one.lost_since is not None:
        state += f", lost since {one.lost_since:%d %b %H:%M:%S}Z"
    failed = f"{one.failures} failed attempt{'' if one.failures == 1 else 's'}" if one.failures else ""
    said = f"last error: {one.last_error}" if one.last_error else ""
    return StandingLine(
        state=state,
        is_good=one.state in _GOOD and one.lost_since is None,
        heard="not heard since the start" if one.heard_at is None else f"heard {duration_text(now - one.heard_at)} ago",
        problem="; ".join(part for part in (failed, said) if part),
        pending=one.pending_reports,
    )


def span_text(start: datetime, end: datetime | None, zone: ZoneInfo) -> str:
    """Return a span in local time; without an end it lasts until cancelled."""
    begin = start.astimezone(zone)
    if end is None:
        return f"{begin:%d %b %H:%M} until cancelled"
    last = end.astimezone(zone)
    return (
        f"{begin:%d %b %H:%M} to {last:%H:%M}"
        if begin.date() == last.date()
        else f"{begin:%d %b %H:%M} to {last:%d %b %H:%M}"
    )


def left_text(deadline: datetime | None, now: datetime) -> str:
    """Return the time left until a deadline; empty when there is none or it has passed."""
    return "" if deadline is None or deadline <= now else f"{duration_text(deadline - now)} left"


def duration_text(duration: timedelta) -> str:
    """Return a duration in its two largest units, for example `2 h 5 min`; below a second it is `0 s`."""
    left = max(0, int(duration.total_seconds()))
    amounts = []
    for name, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        amount, left = divmod(left, size)
        amounts.append((amount, name))
    first = next((place for place, (amount, _) in enumerate(amounts) if amount > 0), len(amounts) - 1)
    said = [f"{amount} {name}" for amount, name in amounts[first : first + 2] if amount > 0]
    return " ".join(said) or "0 s"


def _range(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _request_line(one: ReportRequest, waiting: int, sent: int, now: datetime, zone: ZoneInfo) -> ReportLine:
    if one.cancelled:
        state = "cancelled"
    else:
        state = "done" if one.end is not None and one.reported_until >= one.end and now >= one.end else "running"
    cadence = "on change" if one.is_on_change else f"every {duration_text(one.report_back)}"
    if not one.is_on_change and one.report_back <= timedelta(0):
        cadence = "once"
    return ReportLine(
        authority=one.authority,
        what=f"{one.kind} {one.report_specifier_id}".strip(),
        cadence=cadence,
        reported_until=f"{one.reported_until.astimezone(zone):%d %b %H:%M:%S}",
        sent=str(max(sent, one.made_count - waiting)),
        pending=waiting,
        state=state,
    )


def _duty_line(one: ReportDuty, waiting: int, zone: ZoneInfo) -> ReportLine:
    descriptor = _descriptor(one.descriptor)
    until = "" if one.reported_until is None else f"{one.reported_until.astimezone(zone):%d %b %H:%M:%S}"
    return ReportLine(
        authority=one.authority,
        what=f"{descriptor.get('payloadType', 'report')} of {one.event_id}",
        cadence=f"frequency {descriptor.get('frequency', -1)}, repeat {descriptor.get('repeat', 1)}",
        reported_until=until,
        sent=str(one.sent_count),
        pending=waiting,
        state="done" if one.is_finished else "running",
    )


def _descriptor(text: str) -> Mapping[str, object]:
    try:
        content = json.loads(text)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
