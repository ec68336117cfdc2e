"""What one event of a message means beside what we already hold; one event at a time, none affects another.

| we hold                         | the message says               | what happens                                  |
|---------------------------------|--------------------------------|-----------------------------------------------|
| nothing                         | a new event                    | decided, kept                                 |
| nothing                         | a cancelled event              | kept, answered optIn, never dispatched        |
| it                              | a lower modification           | kept as it is, answered 450 (out of sequence) |
| it                              | the same modification          | the same answer, no second effect             |
| it                              | the same, unrolled further     | the same answer, later intervals beside       |
| it, cancelled because it was missing | the same modification     | comes back, decided again                     |
| it                              | a higher modification          | replaced, decided again                       |
| it                              | nothing, in a complete message | cancelled (conformance rule 61)               |
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gateway.domain.errors import VoltbridgeError
from gateway.domain.signals import EventAnswer, EventInterval, EventStatus, GridEvent, OptType
from gateway.domain.timegrid import Interval
from gateway.observe import logger

OK = 200
OUT_OF_SEQUENCE = 450
TARGET_MISMATCH = 462
OTHER = 469
_LOG = logger("gather_signals")
_REMEMBERED = timedelta(days=1)
"""For so long a repeating event keeps what it said of the past."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Decided:
    """What becomes of one event."""

    event: GridEvent | None
    """As it is to be kept; None when nothing changes."""
    answer: EventAnswer | None
    """What the partner is told; None when it did not ask."""
    action: str = "event.receive"


class Intake:
    """Takes the events of one message in, in order."""

    def __init__(
        self,
        *,
        known: Mapping[str, GridEvent],
        decide: Callable[[GridEvent, datetime], tuple[GridEvent, str]],
        draw: Callable[[timedelta], timedelta],
        now: datetime,
    ) -> None:
        """Remember what is held already and how to decide.

        Args:
            known: Events held, by id.
            decide: Returns an event with its answer, or a text why it cannot be applied.
            draw: Returns a random duration of zero to the one given, for the end of an active event (rule 65).
            now: Instant of arrival.
        """
        self._known = dict(known)
        self._decide = decide
        self._draw = draw
        self._now = now
        self._named: set[str] = set()

    def take(self, event: GridEvent) -> Decided:
        """Return what becomes of an event."""
        self._named.add(event.id)
        held = self._known.get(event.id)
        if held is None:
            return self._keep(event, "event.cancel" if event.cancelled else "event.receive")
        if event.modification < held.modification:
            return Decided(
                event=None, answer=_answer(event, _opt_of(held), OUT_OF_SEQUENCE, "modification is out of sequence")
            )
        is_revived = held.cancelled and not event.cancelled
        if event.modification == held.modification and not is_revived:
            further = _unrolled(held, event, self._now)
            return Decided(event=further, answer=_answer(event, _opt_of(held)), action="event.unroll")
        return self._keep(_with_offset(event, held), "event.cancel" if event.cancelled else "event.modify")

    def cancel_missing(self, authority: str, refused: Iterable[str]) -> list[Decided]:
        """Return cancellations of the authority's events that a complete message did not name.

        Args:
            authority: Who sent the message.
            refused: The partner's ids of events that were named but broke a rule: named all the same, and their last good
                version stays in force.
        """
        named = self._named | {f"{authority}:{event_id}" for event_id in refused}
        gone = [
            event
            for event in self._known.values()
            if event.authority == authority and event.id not in named and not event.cancelled
        ]
        return [
            Decided(
                event=replace(event, cancelled=True, cancelled_at=self._ends_at(event)),
                answer=None,
                action="event.cancel",
            )
            for event in gone
            if event.status(self._now) is not EventStatus.COMPLETED
        ]

    def _ends_at(self, event: GridEvent) -> datetime:
        """Return when a cancellation takes effect: an active event whose start was randomised ends at random, too."""
        if event.status(self._now) is not EventStatus.ACTIVE or not event.start_after:
            return self._now
        return self._now + self._draw(event.start_after)

    def _keep(self, event: GridEvent, action: str) -> Decided:
        if event.cancelled:
            kept, problem = _cancelled(event, self._known.get(event.id)), ""
        else:
            try:
                kept, problem = self._decide(event, self._now)
            except (VoltbridgeError, ArithmeticError, ValueError) as error:
                return self._unusable(event, error)
        if problem:
            return Decided(event=None, answer=_answer(event, OptType.OPT_OUT, TARGET_MISMATCH, problem))
        self._known[kept.id] = kept
        return Decided(event=kept, answer=_answer(kept, _opt_of(kept)), action=action)

    def _unusable(self, event: GridEvent, error: Exception) -> Decided:
        """Return the refusal of an event that could not be worked out: the others go on, and it is tried again when sent again."""
        _LOG.warning("event_not_decided", event_id=event.id, error=str(error))
        return Decided(event=None, answer=_answer(event, OptType.OPT_OUT, OTHER, f"cannot be used: {error}"))


def _cancelled(event: GridEvent, held: GridEvent | None) -> GridEvent:
    """Return a cancelled event as it is to be kept: until the cancellation takes effect it obliges us as it did before."""
    if held is None:
        return replace(event, opt=OptType.OPT_IN, opt_reason="cancelled")
    return replace(event, opt=held.opt, opt_reason="cancelled", is_dry_run=held.is_dry_run, opt_deadline=None)


def _opt_of(event: GridEvent) -> OptType:
    """Return what the partner is told: a cancellation is always confirmed (36)."""
    if event.cancelled:
        return OptType.OPT_IN
    return OptType.OPT_OUT if event.opt is None else event.opt


def _answer(event: GridEvent, opt: OptType, code: int = OK, description: str = "OK") -> EventAnswer:
    return EventAnswer(
        event_id=event.event_id, modification=event.modification, opt=opt, code=code, description=description
    )


def _unrolled(held: GridEvent, event: GridEvent, now: datetime) -> GridEvent | None:
    """Return the held event with the intervals of a repeating one that have come into sight; None when there are none.

    What it said of the last day stays, and so does what its values are measured from.
    """
    is_same = event.unrolled_until == held.unrolled_until
    if held.cancelled or held.unrolled_until is None or is_same or not event.intervals:
        return None
    first = min(interval.start for interval in event.intervals)
    past = [i for i in held.intervals if i.start < first and (i.end is None or i.end > now - _REMEMBERED)]
    baselines = {i.instruction: i.baseline_kw for i in held.intervals if i.baseline_kw is not None}
    ahead = [replace(i, baseline_kw=baselines.get(i.instruction)) for i in event.intervals]
    return replace(held, intervals=(*past, *ahead), unrolled_until=event.unrolled_until)


def _with_offset(event: GridEvent, held: GridEvent) -> GridEvent:
    """Return the event with the randomised start it had before: a modification draws again only with another `startafter`."""
    shift = held.start_offset - event.start_offset
    if not shift or not event.start_after or event.start_after != held.start_after:
        return event
    return replace(
        event,
        start_offset=held.start_offset,
        active=_shifted(event.active, shift),
        intervals=tuple(_shifted_interval(interval, shift) for interval in event.intervals),
    )


def _shifted(interval: Interval, shift: timedelta) -> Interval:
    return Interval(start=interval.start + shift, end=None if interval.end is None else interval.end + shift)


def _shifted_interval(interval: EventInterval, shift: timedelta) -> EventInterval:
    span = _shifted(Interval(start=interval.start, end=interval.end), shift)
    return replace(interval, start=span.start, end=span.end)
