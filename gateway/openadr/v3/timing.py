"""When the intervals of an event are, in absolute time (User Guide 7.3 and 7.4). Pure: no clock, no chance of its own.

```
 event.intervalPeriod  start ──┬─ default start of the first interval      0001-01-01 is now: the anchor
                       duration└─ default duration of EACH interval        P9999Y is without end
 interval.intervalPeriod          overrides both; without a start an interval follows the one before it
 randomizeStart                   shifts the first start and with it all others, until an interval has a range of its own
 event.duration                   longer than the intervals: they repeat; shorter: they are cut

   |--0--|--1--|--2--|--0--|--1--|--2--|--0--|--1-            three intervals, repeated, cut at the end
   start      cycle 0       cycle 1          event.duration
```

A `Schedule` is as small as the event; `unroll` lists what falls into a window, so that an event without end never costs more than
the window. All ends saturate: beyond the calendar there is no end. Cycles count from the first start in whole multiples, so that a
tariff by the month begins on the same day each month.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from gateway.domain.errors import InvalidInput
from gateway.openadr.v3.findings import Finding
from gateway.openadr.v3.literals import ZERO, IsoDuration, add
from gateway.openadr.v3.wire import IntervalPeriod, WireEvent, WireInterval

Draw = Callable[[str], float]
"""Returns the share of a range that a start is shifted by, in [-1, 1): the same for the same name for ever. The name of the event's
own range is empty, that of an interval its place."""

_LONGEST_MONTH = timedelta(days=31)
_SHORTEST_CYCLE = timedelta(seconds=1)
_LONGEST_SHIFT = timedelta(days=366)
_NO_PERIOD = IntervalPeriod()


@dataclass(frozen=True, kw_only=True, slots=True)
class Slot:
    """One interval of an event in its first cycle, relative to an instant that its cycles count from."""

    index: int
    """Place of the interval in the event."""
    interval: WireInterval
    origin: datetime
    before: IsoDuration
    """From the origin to the start."""
    length: IsoDuration
    after: IsoDuration = field(init=False)
    """From the origin to the end."""

    def __post_init__(self) -> None:
        """Add up the end once, not in every cycle."""
        object.__setattr__(self, "after", self.before.plus(self.length))

    def start(self, passed: IsoDuration) -> datetime | None:
        """Return the start after so much time of whole cycles; None when it never comes."""
        return add(self.origin, self.before if passed is ZERO else self.before.plus(passed))

    def end(self, passed: IsoDuration) -> datetime | None:
        """Return the end after so much time of whole cycles; None when it never comes."""
        return add(self.origin, self.after if passed is ZERO else self.after.plus(passed))


@dataclass(frozen=True, kw_only=True, slots=True)
class Occurrence:
    """One interval in absolute time, half-open."""

    interval: WireInterval
    index: int
    cycle: int
    """0 for the first time; repeated events count on."""
    start: datetime
    end: datetime | None
    """None: without end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """When an event's intervals are, once and repeated."""

    start: datetime
    """First start, shifted."""
    end: datetime | None
    """First instant after the event; None: without end."""
    slots: tuple[Slot, ...]
    """By start. Empty for an event that only asks for reports."""
    cycle: IsoDuration | None
    """Time from one repetition to the next; None when nothing is repeated."""
    shift: timedelta
    """By how much the first start is randomised."""
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Unrolled:
    """The part of a schedule that falls into a window."""

    occurrences: tuple[Occurrence, ...]
    until: datetime | None
    """From here on nothing is listed yet; None when all of the event is."""


def is_cancelled(event: WireEvent) -> bool:
    """Tell whether an event is taken back: it starts at the beginning of the calendar and takes no time (User Guide 7.9).

    A VTN may fill in `PT0S` where a duration was not said, so an interval that has a duration of its own speaks against it. One that
    has no intervals and asks for reports asks for them now (8.6).
    """
    if event.report_descriptors and not event.intervals:
        return False
    period = event.period or _NO_PERIOD
    if period.start is None or not period.start.is_now:
        return False
    said = [duration for duration in (period.duration, event.duration) if duration is not None]
    if not said or not all(duration.is_zero for duration in said):
        return False
    own = [interval.period.duration for interval in event.intervals if interval.period is not None]
    return all(duration is None or duration.is_zero for duration in own)


def plan(event: WireEvent, anchor: datetime, draw: Draw, *, period_repeats: bool = False) -> Schedule:
    """Return when an event's intervals are.

    Args:
        event: As read.
        anchor: What now means: the instant this version of the event was first seen.
        draw: Chance, the same for the same event at each call.
        period_repeats: An endless duration of the event's period repeats intervals that all have a duration of their own; how
            3.0.1 says it, which has no `event.duration`.

    Raises:
        InvalidInput: No start can be told, or a randomisation has no exact length.
    """
    laid = _Layout(event, anchor, draw)
    for index, interval in enumerate(event.intervals):
        laid.place(index, interval)
    slots = tuple(sorted(laid.slots, key=_first_start))
    if not slots:
        start = laid.event_start()
        return Schedule(
            start=start,
            end=add(start, _length(event.duration)),
            slots=(),
            cycle=None,
            shift=laid.shift,
            findings=tuple(laid.findings),
        )
    start = _first_start(slots[0])
    total = _total(event, period_repeats=period_repeats)
    cycle = None if total is None else _cycle(slots, start)
    end = _last_end(slots) if total is None else add(start, total)
    if cycle is not None and not _repeats(start, cycle, end):
        cycle = None
    if cycle is None and total is not None:
        end = _earlier(end, _last_end(slots))
    if cycle is not None and _is_too_fast(cycle):
        raise InvalidInput("duration", "repeats intervals more often than once a second")
    return Schedule(start=start, end=end, slots=slots, cycle=cycle, shift=laid.shift, findings=tuple(laid.findings))


def unroll(schedule: Schedule, since: datetime, until: datetime, most: int) -> Unrolled:
    """Return the intervals that overlap `[since, until)`, at most so many, in order of their starts.

    Args:
        schedule: When the intervals are.
        since: Intervals that end before are left out.
        until: Intervals that start then or later are left out.
        most: Length of the list.
    """
    found: list[Occurrence] = []
    cycle = _first_cycle(schedule, since)
    while True:
        passed = ZERO if schedule.cycle is None else schedule.cycle.times(cycle)
        for slot in schedule.slots:
            start, end = slot.start(passed), _earlier(slot.end(passed), schedule.end)
            if start is None or (schedule.end is not None and start >= schedule.end):
                if schedule.cycle is None:
                    continue
                return Unrolled(occurrences=tuple(found), until=None)
            if start >= until or len(found) == most:
                return Unrolled(occurrences=tuple(found), until=start)
            if end is None or end > max(since, start):
                found.append(Occurrence(interval=slot.interval, index=slot.index, cycle=cycle, start=start, end=end))
        if schedule.cycle is None:
            return Unrolled(occurrences=tuple(found), until=None)
        cycle += 1


def divide(start: datetime, end: datetime | None, parts: int) -> tuple[tuple[datetime, datetime | None], ...]:
    """Return a span in equal parts, to the microsecond: several values of one payload share its interval (User Guide 7.3).

    Raises:
        InvalidInput: The span has no end and more than one part is asked for.
    """
    if parts == 1:
        return ((start, end),)
    if end is None:
        raise InvalidInput("values", "cannot share an interval that has no end")
    length = end - start
    borders = [start + length * part // parts for part in range(parts + 1)]
    return tuple(itertools.pairwise(borders))


class _Layout:
    """Lays intervals one after the other."""

    def __init__(self, event: WireEvent, anchor: datetime, draw: Draw) -> None:
        self._event = event
        self._period = event.period or _NO_PERIOD
        self._anchor = anchor
        self._draw = draw
        self.shift = self._drawn(self._period.randomize, "", "intervalPeriod.randomizeStart")
        self._current_shift = self.shift
        self._origin: datetime | None = None
        self._before = ZERO
        self.slots: list[Slot] = []
        self.findings: list[Finding] = []

    def event_start(self) -> datetime:
        """Return the start of an event without intervals."""
        return self._shifted(self._default_start("intervalPeriod.start"))

    def place(self, index: int, interval: WireInterval) -> None:
        """Lay an interval after those before it, or where it says."""
        path = f"intervals[{index}]"
        own = interval.period or _NO_PERIOD
        length = self._length_of(own)
        if length.is_zero or length.is_negative:
            self._note("no-duration", path, "has no duration")
            return
        self._take_shift(own, index, path)
        if own.start is not None and own.start.instant is not None:
            self._origin, self._before = self._shifted(own.start.instant), ZERO
        elif self._origin is None:
            self._origin = self._shifted(self._default_start(path, is_now=own.start is not None))
        if self._before.is_endless:
            self._note("never-begins", path, "follows an interval without end")
            return
        slot = Slot(index=index, interval=interval, origin=self._origin, before=self._before, length=length)
        self.slots.append(slot)
        self._before = slot.after

    def _length_of(self, own: IntervalPeriod) -> IsoDuration:
        """Return how long an interval is; one alone without a duration takes the event's."""
        for duration in (own.duration, self._period.duration):
            if duration is not None and not duration.is_zero:
                return duration
        alone = len(self._event.intervals) == 1
        return self._event.duration if alone and self._event.duration is not None else ZERO

    def _take_shift(self, own: IntervalPeriod, index: int, path: str) -> None:
        """An interval with a range of its own is shifted by it, and so are those after it."""
        if own.randomize is None or own.randomize.is_zero:
            return
        before = self._current_shift
        self._current_shift = self._drawn(own.randomize, str(index), f"{path}.intervalPeriod.randomizeStart")
        if not self.slots:
            self.shift = self._current_shift
        if self._origin is not None:
            self._origin = _moved(self._origin, self._current_shift - before)

    def _drawn(self, longest: IsoDuration | None, name: str, path: str) -> timedelta:
        if longest is None or longest.is_zero:
            return timedelta(0)
        if longest.is_endless or longest.months != 0 or abs(longest.exact) > _LONGEST_SHIFT:
            raise InvalidInput(path, "must have an exact length of at most a year")
        return abs(longest.exact) * self._draw(name)

    def _default_start(self, path: str, *, is_now: bool = False) -> datetime:
        start = self._period.start
        if start is None:
            if is_now:
                return self._anchor
            raise InvalidInput(path, "has no start")
        return self._anchor if start.instant is None else start.instant

    def _shifted(self, instant: datetime) -> datetime:
        return _moved(instant, self._current_shift)

    def _note(self, rule: str, path: str, problem: str) -> None:
        self.findings.append(Finding(rule=rule, path=path, problem=problem))


def _moved(instant: datetime, shift: timedelta) -> datetime:
    try:
        return instant + shift
    except OverflowError as error:
        raise InvalidInput("intervalPeriod.start", "is at the end of the calendar") from error


def _length(duration: IsoDuration | None) -> IsoDuration:
    """Return a duration of the event; one that is not said, or zero because a VTN fills it in, is without end."""
    if duration is None or duration.is_zero:
        return IsoDuration(text="", is_endless=True)
    return duration


def _total(event: WireEvent, *, period_repeats: bool) -> IsoDuration | None:
    """Return how long the event is where it says so; None where its intervals say it."""
    if event.duration is not None and not event.duration.is_zero and not event.duration.is_negative:
        return event.duration
    default = (event.period or _NO_PERIOD).duration
    if not period_repeats or default is None or not default.is_endless:
        return None
    own = [interval.period.duration if interval.period is not None else None for interval in event.intervals]
    return default if all(duration is not None and not duration.is_zero for duration in own) else None


def _first_start(slot: Slot) -> datetime:
    start = slot.start(ZERO)
    if start is None:
        raise InvalidInput(f"intervals[{slot.index}]", "begins after the end of the calendar")
    return start


def _last_end(slots: Sequence[Slot]) -> datetime | None:
    ends = [slot.end(ZERO) for slot in slots]
    known = [end for end in ends if end is not None]
    return max(known) if len(known) == len(ends) else None


def _cycle(slots: Sequence[Slot], start: datetime) -> IsoDuration | None:
    """Return the time from one repetition to the next: the sum of the durations, or the whole span when starts are absolute."""
    if len({slot.origin for slot in slots}) == 1:
        total = ZERO
        for slot in slots:
            total = total.plus(slot.length)
        return None if total.is_endless else total
    end = _last_end(slots)
    return None if end is None else IsoDuration(text="", exact=end - start)


def _repeats(start: datetime, cycle: IsoDuration, end: datetime | None) -> bool:
    second = add(start, cycle)
    return second is not None and (end is None or second < end)


def _is_too_fast(cycle: IsoDuration) -> bool:
    return cycle.months == 0 and cycle.exact < _SHORTEST_CYCLE


def _first_cycle(schedule: Schedule, since: datetime) -> int:
    """Return a cycle that has certainly begun before `since`, and as late as is cheap to tell."""
    cycle = schedule.cycle
    if cycle is None or since <= schedule.start:
        return 0
    longest = cycle.exact + cycle.months * _LONGEST_MONTH
    return max(0, (since - schedule.start) // longest - 1)


def _earlier(one: datetime | None, other: datetime | None) -> datetime | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)
