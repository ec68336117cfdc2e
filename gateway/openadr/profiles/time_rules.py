"""Rules about when: where the time is said, that intervals fit together, how fine values are, how early an event is told."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from gateway.domain.errors import InvalidInput
from gateway.openadr.profiles.rules import INTERVALS, Breach, RuleBase
from gateway.openadr.profiles.selecting import Found, Json, elements, field_of, select, spell, text_of
from gateway.openadr.v3.literals import IsoDuration, parse_duration, parse_start

_PERIOD = "intervalPeriod"
_REPORT_INTERVALS = "resources[*].intervals"
_LONGEST = timedelta(days=3660)
"""A longer interval is nothing to count with: it means "until further notice"."""


@dataclass(frozen=True, slots=True)
class Placed:
    """An interval with exact times."""

    path: str
    start: datetime
    duration: timedelta

    @property
    def end(self) -> datetime:
        """First instant outside."""
        return self.start + self.duration


def stated_duration(value: Json) -> IsoDuration | None:
    """Return a duration as stated; None for everything else."""
    try:
        return parse_duration("duration", text_of(value))
    except InvalidInput:
        return None


def duration_of(value: Json) -> timedelta | None:
    """Return an exact, positive duration; None for everything else: months, no time, over ten years."""
    stated = stated_duration(value)
    if stated is None or stated.is_endless or stated.months != 0 or not timedelta(0) < stated.exact <= _LONGEST:
        return None
    return stated.exact


def _checked_duration(text: str) -> str:
    if duration_of(text) is None:
        raise ValueError("must be a duration above zero")
    return text


DurationText = Annotated[str, AfterValidator(_checked_duration)]
"""A duration in a rule, as its text."""


def instant_of(value: Json) -> datetime | None:
    """Return an instant; None for everything else and for "now"."""
    try:
        return parse_start("start", text_of(value)).instant
    except InvalidInput:
        return None


def placed(holder: Found) -> Placed | None:
    """Return when an object with an `intervalPeriod` is; None when that is not said exactly."""
    period = field_of(holder, _PERIOD)
    start, duration = instant_of(field_of(period, "start").value), duration_of(field_of(period, "duration").value)
    if start is None or duration is None:
        return None
    return Placed(holder.path, start, duration) if start <= datetime.max.replace(tzinfo=UTC) - duration else None


class PeriodRule(RuleBase):
    """Where the time is said: on the event, on every interval, on either, nowhere."""

    rule: Literal["period"]
    where: Literal["event", "intervals", "either", "both", "nowhere"]
    path: Literal["intervals", "resources[*].intervals"] = INTERVALS

    def check(self, root: Json) -> Iterator[Breach]:
        """Give out periods that are missing or too many."""
        event = Found(root)
        has_own = field_of(event, _PERIOD).value is not None
        intervals = [one for holder in select(root, self.path) for one in elements(holder)]
        on_event = has_own if self.where == "either" else self.where in {"event", "both"}
        on_intervals = not has_own if self.where == "either" else self.where in {"intervals", "both"}
        is_report = self.path == _REPORT_INTERVALS
        if has_own != on_event and not is_report:
            yield Breach(_PERIOD, "must not be there" if has_own else "is missing")
        for one in intervals:
            period = field_of(one, _PERIOD)
            if (period.value is not None) != on_intervals:
                yield Breach(period.path, self._why(on_intervals=on_intervals))

    def _why(self, *, on_intervals: bool) -> str:
        if self.where == "either":
            return "is missing, and the event has none" if on_intervals else "must not be there beside the event's own"
        return "is missing" if on_intervals else "must not be there"


class ScheduleRule(RuleBase):
    """Intervals do not overlap, lie inside the event, adjacent ones touch another and carry a fixed value."""

    rule: Literal["schedule"]
    is_within_event: bool = True
    adjacent: DurationText | None = None
    """Duration of an interval that must directly precede or follow a longer one."""
    adjacent_value: float | None = None
    """What every payload of an adjacent interval must be."""

    def check(self, root: Json) -> Iterator[Breach]:
        """Give out overlaps, intervals outside the event and adjacent ones that stand alone."""
        found = [(one, placed(one)) for one in elements(select(root, INTERVALS)[0])]
        spans = [span for _, span in found if span is not None]
        yield from _overlaps(spans)
        window = placed(Found(root))
        if self.is_within_event and window is not None:
            for span in spans:
                if span.start < window.start or span.end > window.end:
                    yield Breach(f"{span.path}.{_PERIOD}", "lies outside the event")
        yield from self._adjacent([(one, span) for one, span in found if span is not None])

    def _adjacent(self, found: list[tuple[Found, Placed]]) -> Iterator[Breach]:
        short = None if self.adjacent is None else duration_of(self.adjacent)
        if short is None:
            return
        long = [span for _, span in found if span.duration != short]
        borders = {span.start for span in long}, {span.end for span in long}
        for one, span in found:
            if span.duration != short:
                continue
            if span.end not in borders[0] and span.start not in borders[1]:
                yield Breach(f"{span.path}.{_PERIOD}", f"lasts {self.adjacent} and touches no longer interval")
            for value in select(one.value, "payloads[*].values[*]"):
                if self.adjacent_value is not None and value.value != self.adjacent_value:
                    place = f"{one.path}.{value.path}"
                    yield Breach(
                        place, f"is {spell(value.value)} and must be {self.adjacent_value:g} beside a dispatch"
                    )


def _overlaps(spans: list[Placed]) -> Iterator[Breach]:
    for before, after in itertools.pairwise(sorted(spans, key=lambda span: (span.start, span.path))):
        if after.start < before.end:
            yield Breach(f"{after.path}.{_PERIOD}", f"overlaps with {before.path}")


class ResolutionRule(RuleBase):
    """Each value stands for one of these durations, and together they stand for long enough."""

    rule: Literal["resolution"]
    steps: tuple[DurationText, ...] = Field(min_length=1)
    minimum_total: DurationText | None = None
    path: Literal["intervals", "resources[*].intervals"] = INTERVALS

    def check(self, root: Json) -> Iterator[Breach]:
        """Give out values that stand for another duration, and a row that is too short."""
        allowed = {duration_of(text) for text in self.steps}
        inherited = field_of(field_of(Found(root), _PERIOD), "duration").value
        for holder in select(root, self.path):
            total = timedelta(0)
            for interval in elements(holder):
                own = field_of(field_of(interval, _PERIOD), "duration").value
                stated = inherited if own is None else own
                duration = duration_of(stated)
                if duration is None:
                    if stated_duration(stated) is None:
                        yield Breach(f"{interval.path}.{_PERIOD}", "says no duration")
                    continue
                total += duration
                yield from self._steps(interval, duration, allowed)
            needed = None if self.minimum_total is None else duration_of(self.minimum_total)
            if needed is not None and total < needed:
                yield Breach(holder.path, f"lasts {total} and must last at least {needed}")

    def _steps(self, interval: Found, duration: timedelta, allowed: set[timedelta | None]) -> Iterator[Breach]:
        for payload in elements(field_of(interval, "payloads")):
            values = field_of(payload, "values")
            count = len(elements(values))
            if count > 0 and duration / count not in allowed:
                wanted = " or ".join(self.steps)
                yield Breach(values.path, f"has {count} values for {duration} and must have one per {wanted}")


class NoticeRule(RuleBase):
    """An event was made so long before it starts."""

    rule: Literal["notice"]
    at_least: DurationText

    def check(self, root: Json) -> Iterator[Breach]:
        """Give out a start that is too near to the making; nothing where the VTN does not say when it made the event."""
        event = Found(root)
        made, notice = instant_of(field_of(event, "createdDateTime").value), duration_of(self.at_least)
        starts = [instant_of(field_of(field_of(event, _PERIOD), "start").value)]
        starts += [instant_of(found.value) for found in select(root, "intervals[*].intervalPeriod.start")]
        first = min((start for start in starts if start is not None), default=None)
        if made is not None and notice is not None and first is not None and first - made < notice:
            yield Breach(_PERIOD, f"starts {first - made} after it was made and must leave {notice}")
