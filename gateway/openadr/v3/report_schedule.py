"""When a report descriptor's reports are due and which intervals they hold: pure, property-tested.

```
 interval      0     1     2     3     4     5        frequency 2, repeat 3
           |-----|-----|-----|-----|-----|-----|
 report            0 ^         1 ^         2 ^        ^ due, when the last of its intervals has ended
```

Where the User Guide (7.5, 8.3, 8.7, 8.8) leaves a choice, this is ours:

- A report that looks back holds the intervals up to `startInterval` and is due at the end of that one (8.3; "regular period").
  With fewer intervals before it than `numIntervals` it holds those from `startInterval` on and is due at their end ("subset").
- A forecast is due at the beginning of `startInterval`, the first one by default, and holds the intervals from there on (8.8).
- Repeated reports without a `startInterval` begin with the first intervals, `frequency` of them.
- An event without intervals that has a period has implied ones, each as long as the period, without end (8.7).
- Of reports whose time had passed when the event was first seen only the latest is made (7.3).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import require_utc
from gateway.openadr.v3.literals import ZERO, IsoDuration, add
from gateway.openadr.v3.report_descriptors import AD_HOC, FOR_EVER, INTERVALS, LAST_OR_ALL, OPEN_INTERVALS
from gateway.openadr.v3.timing import Schedule
from gateway.openadr.v3.wire import ReportDescriptor, WireEvent

MOST_SLOTS = 10_000
"""Intervals that one report holds at most, however many it is asked for."""
_MOST_DOUBLINGS = 40


@dataclass(frozen=True, kw_only=True, slots=True)
class Slot:
    """One interval of an event or of a report, in absolute time."""

    id: int
    """The interval's id in the event, or ours where the event has none."""
    start: datetime
    end: datetime | None
    """First instant outside; None when it never ends."""

    def __post_init__(self) -> None:
        """Reject naive or reversed bounds."""
        require_utc("slot.start", self.start)
        if self.end is not None and require_utc("slot.end", self.end) < self.start:
            raise InvalidInput("slot.end", "must not lie before the start")


@dataclass(frozen=True, kw_only=True, slots=True)
class Course:
    """The intervals of an event as they follow each other, also where they repeat or are only implied."""

    schedule: Schedule
    implied: IsoDuration | None = None
    """Length of each interval where the event names none and they follow from its period alone; None otherwise."""

    @property
    def count(self) -> int:
        """How many intervals the event names; 0 when it names none."""
        return len(self.schedule.slots)

    def slot(self, index: int) -> Slot | None:
        """Return an interval counted from the event's first; None when there is no such one."""
        if index < 0:
            return None
        if self.count:
            return self._named(index)
        if self.implied is None:
            return None
        start = add(self.schedule.start, self.implied.times(index))
        return self._cut(index, start, add(self.schedule.start, self.implied.times(index + 1)))

    def _named(self, index: int) -> Slot | None:
        turn, place = divmod(index, self.count)
        if turn and self.schedule.cycle is None:
            return None
        passed = ZERO if self.schedule.cycle is None else self.schedule.cycle.times(turn)
        found = self.schedule.slots[place]
        return self._cut(found.interval.id, found.start(passed), found.end(passed))

    def _cut(self, slot_id: int, start: datetime | None, end: datetime | None) -> Slot | None:
        """Return an interval where it is inside the event, cut at the event's end."""
        last = self.schedule.end
        if start is None or (last is not None and start >= last):
            return None
        return Slot(id=slot_id, start=start, end=end if last is None or (end is not None and end <= last) else last)


def course_of(event: WireEvent, schedule: Schedule | None) -> Course | None:
    """Return the intervals that reports are about; None when it is ours to choose them.

    Args:
        event: Asks for the reports.
        schedule: When its intervals are; None when no time can be told.
    """
    if schedule is None:
        return None
    if schedule.slots:
        return Course(schedule=schedule)
    length = None if event.period is None else event.period.duration
    if length is None or length.is_zero or length.is_negative or length.is_endless:
        return None
    return Course(schedule=schedule, implied=length)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportDue:
    """One report to make."""

    number: int
    """Counted from 0."""
    at: datetime
    """When it is due."""
    slots: tuple[Slot, ...]
    """Intervals of the event that it is about, at least one."""


def is_ad_hoc(descriptor: ReportDescriptor, course: Course | None) -> bool:
    """Tell whether the moments of the reports are ours to choose."""
    return descriptor.frequency == AD_HOC or course is None


def report_due(descriptor: ReportDescriptor, course: Course | None, number: int) -> ReportDue | None:
    """Return a report by its number; None when there is none: too many, never due, or left to us.

    Args:
        descriptor: What is asked for.
        course: The event's intervals; None when it has none.
        number: Counted from 0.
    """
    is_wanted = descriptor.repeat == FOR_EVER or number < descriptor.repeat
    if course is None or is_ad_hoc(descriptor, course) or number < 0 or not is_wanted:
        return None
    if descriptor.start_interval != LAST_OR_ALL and course.slot(descriptor.start_interval) is None:
        return None
    size, step = _size(descriptor, course), _step(descriptor, course)
    first = _first(descriptor, course, size, step) + number * step
    kept = _existing(course, first, first + size)
    if not kept:
        return None
    if not descriptor.historical:
        begin = course.slot(first)
        return None if begin is None else ReportDue(number=number, at=begin.start, slots=kept)
    is_new = number == 0 or course.slot(first + size - step) is not None
    ends = [slot.end for slot in kept]
    at = max((end for end in ends if end is not None), default=None)
    if not is_new or at is None or None in ends:
        return None
    return ReportDue(number=number, at=at, slots=kept)


def _existing(course: Course, first: int, past_last: int) -> tuple[Slot, ...]:
    found = []
    for index in range(max(0, first), min(past_last, max(0, first) + MOST_SLOTS)):
        slot = course.slot(index)
        if slot is None:
            break
        found.append(slot)
    return tuple(found)


def _whole(descriptor: ReportDescriptor, course: Course) -> int:
    """How many intervals `all` means: where they are only implied, as many as are reported at a time."""
    if course.count:
        return course.count
    return max(1, descriptor.num_intervals, descriptor.frequency)


def _size(descriptor: ReportDescriptor, course: Course) -> int:
    if descriptor.num_intervals != LAST_OR_ALL:
        return descriptor.num_intervals
    repeats = descriptor.repeat != 1 and descriptor.frequency != LAST_OR_ALL
    return descriptor.frequency if repeats else _whole(descriptor, course)


def _step(descriptor: ReportDescriptor, course: Course) -> int:
    return _size(descriptor, course) if descriptor.frequency == LAST_OR_ALL else descriptor.frequency


def _first(descriptor: ReportDescriptor, course: Course, size: int, step: int) -> int:
    """Return the index of the first interval of report 0; below 0 when it reaches back before the event."""
    start = descriptor.start_interval
    if not descriptor.historical:
        return max(0, start)
    if start != LAST_OR_ALL:
        return start + 1 - size if start + 1 >= size else start
    whole = _whole(descriptor, course)
    past_last = whole if descriptor.repeat == 1 else min(step, whole)
    return past_last - size


def first_number(descriptor: ReportDescriptor, course: Course | None, now: datetime) -> int:
    """Return the number of the first report to make for an event first seen now: the latest whose time has passed, else 0."""
    if not _is_past(descriptor, course, 1, now):
        return 0
    low, high = 1, 2
    for _ in range(_MOST_DOUBLINGS):
        if not _is_past(descriptor, course, high, now):
            break
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _is_past(descriptor, course, middle, now) else (low, middle)
    return low


def _is_past(descriptor: ReportDescriptor, course: Course | None, number: int, now: datetime) -> bool:
    due = report_due(descriptor, course, number)
    return due is not None and due.at <= now


def resumed_number(descriptor: ReportDescriptor, course: Course | None, reported_until: datetime) -> int:
    """Return the number of the first report that holds anything after what was reported, for an event that has changed."""
    number = first_number(descriptor, course, reported_until)
    due = report_due(descriptor, course, number)
    while due is not None and all(slot.end is not None and slot.end <= reported_until for slot in due.slots):
        number += 1
        due = report_due(descriptor, course, number)
    return number


def report_slots(descriptor: ReportDescriptor, slots: tuple[Slot, ...], part: timedelta) -> tuple[Slot, ...]:
    """Return the intervals that a report holds for some intervals of the event.

    Args:
        descriptor: Says whether they are those of the event, parts of them, or ours.
        slots: The event's intervals, none without end.
        part: How long the parts are, from the begin of each interval; the last one may be shorter.

    Returns:
        The intervals in order: with the event's ids, or numbered from 0 where they are ours.
    """
    if descriptor.report_intervals == INTERVALS:
        return slots
    parts = [piece for slot in slots for piece in parts_of(slot, part)]
    if descriptor.report_intervals == OPEN_INTERVALS:
        return tuple(Slot(id=index, start=piece.start, end=piece.end) for index, piece in enumerate(parts))
    return tuple(parts)


def parts_of(slot: Slot, part: timedelta) -> list[Slot]:
    """Return an interval in parts of a length, the last one what is left; whole when it is no longer, or has no end."""
    if slot.end is None or slot.end - slot.start <= part:
        return [slot]
    count = -((slot.start - slot.end) // part)
    if count > MOST_SLOTS:
        return [slot]
    starts = [slot.start + part * index for index in range(count)]
    return [Slot(id=slot.id, start=start, end=min(start + part, slot.end)) for start in starts]
