"""What one event asks of one node over one span: levels, fractions and offsets to kW, with ramps at its edges.

```
 rating ──┐                         ┌──────        x-eiRampUp > 0: in steps before the start, so that it is reached then
          └─┐                     ┌─┘              x-eiRampUp < 0: in steps after the start
            └─┐   limit         ┌─┘                x-eiRecovery > 0: back in steps after the end
              └─────────────────┘                  x-eiRecovery < 0: back in steps before the end
          start               end
```

Steps outside the active period only hold the load down on its way; they never displace another event's limit.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from gateway.domain.limits import Direction
from gateway.domain.signals import EventInterval, EventStatus, GridEvent, Instruction
from gateway.domain.timegrid import Interval
from gateway.services.gather_signals.rules import ProgramRules

RAMP_STEP_COUNT = 4
"""Steps between the rating and a limit while it ramps."""
NORMAL_KW = float("inf")
"""Normal operation: it asks for nothing and still goes before events of lower priority."""

ConsentEnd = Callable[[GridEvent, str], datetime | None]
"""Until when a node may be called by an event; None without end."""


class Layer(StrEnum):
    """What a block is for; only blocks of one layer, node and direction compete by priority."""

    LIMIT = "limit"
    FALLBACK = "fallback"
    RESERVATION = "reservation"
    OPTIMUM = "optimum"


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """What one event asks of one node over one span."""

    event: GridEvent
    node: str
    direction: Direction
    layer: Layer
    span: Interval
    max_kw: float
    """`NORMAL_KW` for normal operation."""
    is_edge: bool = False
    """A step of a ramp outside the active period."""

    @property
    def place(self) -> tuple[str, Direction, Layer]:
        """Where it competes with others."""
        return self.node, self.direction, self.layer


_Meaning = tuple[Direction, Layer, float]
_FALLBACKS = {
    Instruction.IMPORT_SUBSCRIPTION_KW: (Direction.IMPORT, Layer.FALLBACK),
    Instruction.EXPORT_SUBSCRIPTION_KW: (Direction.EXPORT, Layer.FALLBACK),
    Instruction.IMPORT_RESERVATION_KW: (Direction.IMPORT, Layer.RESERVATION),
    Instruction.EXPORT_RESERVATION_KW: (Direction.EXPORT, Layer.RESERVATION),
}
_OFFSETS = frozenset({Instruction.LEVEL_OFFSET, Instruction.PERCENT_OFFSET})
_FROM_BASELINE = frozenset({Instruction.REDUCTION_KW, Instruction.TARGET_DELTA_KW})


def needs_baseline(interval: EventInterval, rules: ProgramRules) -> bool:
    """Tell whether the value of an interval is measured from what would be drawn otherwise."""
    return interval.instruction in _FROM_BASELINE or (rules.has_measured_normal and interval.instruction in _OFFSETS)


def is_live(event: GridEvent, now: datetime) -> bool:
    """Tell whether an event asks for anything now or later: not a test, not a dry run, not over with its recovery."""
    if event.test_event or event.is_dry_run:
        return False
    match event.status(now):
        case EventStatus.CANCELLED:
            return False
        case EventStatus.COMPLETED:
            return event.active.end is not None and now < event.active.end + event.recovery
        case _:
            return True


def blocks_of(
    event: GridEvent, rules: ProgramRules, ratings_kw: Mapping[str, float], consent_end: ConsentEnd | None = None
) -> Iterator[Block]:
    """Yield what an event asks of its nodes.

    Args:
        event: The event, live.
        rules: Meaning of its program.
        ratings_kw: Import rating of each node; other nodes are left out.
        consent_end: Until when a node may be called; None for no bound.
    """
    by_signal: dict[str, list[EventInterval]] = {}
    for interval in event.intervals:
        by_signal.setdefault(interval.signal_id, []).append(interval)
    for node in event.nodes:
        if node not in ratings_kw:
            continue
        ends_at = None if consent_end is None else consent_end(event, node)
        for intervals in by_signal.values():
            blocks = [b for i in intervals for b in _of_interval(event, i, rules, node, ratings_kw[node])]
            for block in _ramped(blocks, event, ratings_kw[node]):
                span = _until(block.span, _earliest(ends_at, event.cancelled_at if event.cancelled else None))
                if span is not None:
                    yield block if span is block.span else replace(block, span=span)


def _of_interval(
    event: GridEvent, interval: EventInterval, rules: ProgramRules, node: str, rating_kw: float
) -> list[Block]:
    if interval.end is not None and interval.end <= interval.start:
        return []
    span = Interval(start=interval.start, end=interval.end)
    return [
        Block(event=event, node=node, direction=direction, layer=layer, span=span, max_kw=kw)
        for direction, layer, kw in _meanings(interval, rules, rating_kw)
    ]


def _meanings(interval: EventInterval, rules: ProgramRules, rating_kw: float) -> list[_Meaning]:
    match interval.instruction:
        case Instruction.EXPORT_LIMIT_KW:
            return [(Direction.EXPORT, Layer.LIMIT, interval.value)]
        case Instruction.TARGET_KW:
            return _wish(interval.value)
        case Instruction.TARGET_DELTA_KW:
            return [] if interval.baseline_kw is None else _wish(interval.baseline_kw + interval.value)
        case _:
            place = _FALLBACKS.get(interval.instruction)
            if place is not None:
                return [(*place, interval.value)]
            kw = _import_limit_kw(interval, rules, rating_kw)
            return [] if kw is None else [(Direction.IMPORT, Layer.LIMIT, kw)]


def _wish(power_kw: float) -> list[_Meaning]:
    """Return a wished power as a wish per direction: who shall feed in shall not draw."""
    if power_kw >= 0.0:
        return [(Direction.IMPORT, Layer.OPTIMUM, power_kw)]
    return [(Direction.IMPORT, Layer.OPTIMUM, 0.0), (Direction.EXPORT, Layer.OPTIMUM, -power_kw)]


def _import_limit_kw(interval: EventInterval, rules: ProgramRules, rating_kw: float) -> float | None:
    """Return the most that may be drawn; None when the interval says nothing about that."""
    value = interval.value
    # Where there was no past to measure from, the rating stands in; a reduction without one is answered optOut if it may be.
    baseline_kw = rating_kw if interval.baseline_kw is None else interval.baseline_kw
    match interval.instruction:
        case Instruction.IMPORT_LIMIT_KW:
            return min(value, rating_kw)
        case Instruction.IMPORT_LIMIT_FRACTION:
            return value * rating_kw
        case Instruction.SIMPLE_LEVEL:
            return NORMAL_KW if value == 0.0 else rules.simple_fraction[int(value)] * rating_kw
        case Instruction.REDUCTION_KW:
            return max(0.0, baseline_kw - value)
        case _:
            normal_kw = baseline_kw if rules.has_measured_normal else rating_kw
            return _offset_kw(interval, rules, normal_kw) if interval.instruction in _OFFSETS else None


def _offset_kw(interval: EventInterval, rules: ProgramRules, normal_kw: float) -> float:
    """Return the most that may be drawn at an offset from normal operation; asked for more, nothing is limited."""
    if interval.value >= 0.0:
        return NORMAL_KW
    if interval.instruction is Instruction.PERCENT_OFFSET:
        return max(0.0, (1.0 + interval.value) * normal_kw)
    # A step that is not whole takes the next one down: asked for less, never given more.
    return rules.level_fraction[math.ceil(-interval.value) - 1] * normal_kw


def _earliest(one: datetime | None, other: datetime | None) -> datetime | None:
    return min((each for each in (one, other) if each is not None), default=None)


def _until(span: Interval, end: datetime | None) -> Interval | None:
    """Return a span up to an instant; None when nothing of it remains."""
    if end is None or (span.end is not None and span.end <= end):
        return span
    return None if end <= span.start else Interval(start=span.start, end=end)


def _ramped(blocks: Sequence[Block], event: GridEvent, rating_kw: float) -> list[Block]:
    """Return a signal's blocks with its first one approached and its last one left in steps."""
    limits = [b for b in blocks if b.layer is Layer.LIMIT and b.direction is Direction.IMPORT]
    if not limits or not (event.ramp_up or event.recovery):
        return list(blocks)
    limits.sort(key=lambda block: block.span.start)
    others = [b for b in blocks if b.layer is not Layer.LIMIT or b.direction is not Direction.IMPORT]
    limits[:1] = _approached(limits[0], event.ramp_up, rating_kw)
    limits[-1:] = _left(limits[-1], event.recovery, rating_kw)
    return others + limits


def _approached(block: Block, ramp: timedelta, rating_kw: float) -> list[Block]:
    if not ramp or block.max_kw >= rating_kw:
        return [block]
    start = block.span.start
    if ramp > timedelta(0):
        return [*_steps(block, start - ramp, start, rating_kw, is_falling=True, is_edge=True), block]
    reached = _within(start - ramp, block.span)
    rest = _from(block.span, reached)
    steps = _steps(block, start, reached, rating_kw, is_falling=True, is_edge=False)
    return steps if rest is None else [*steps, replace(block, span=rest)]


def _left(block: Block, recovery: timedelta, rating_kw: float) -> list[Block]:
    end = block.span.end
    if not recovery or end is None or block.max_kw >= rating_kw or block.is_edge:
        return [block]
    if recovery > timedelta(0):
        return [block, *_steps(block, end, end + recovery, rating_kw, is_falling=False, is_edge=True)]
    begun = max(end + recovery, block.span.start)
    steps = _steps(block, begun, end, rating_kw, is_falling=False, is_edge=False)
    held = _until(block.span, begun)
    return steps if held is None else [replace(block, span=held), *steps]


def _within(instant: datetime, span: Interval) -> datetime:
    return instant if span.end is None else min(instant, span.end)


def _from(span: Interval, start: datetime) -> Interval | None:
    return Interval(start=start, end=span.end) if span.end is None or start < span.end else None


def _steps(
    block: Block, start: datetime, end: datetime, rating_kw: float, *, is_falling: bool, is_edge: bool
) -> list[Block]:
    """Return equal steps between the rating and a block's limit, the nearest to the limit beside it."""
    places = range(1, RAMP_STEP_COUNT + 1)
    borders = [start + (end - start) * i / RAMP_STEP_COUNT for i in range(RAMP_STEP_COUNT + 1)]
    shares = [place / (RAMP_STEP_COUNT + 1) for place in (places if is_falling else reversed(places))]
    return [
        replace(
            block,
            span=Interval(start=begin, end=until),
            max_kw=rating_kw - (rating_kw - block.max_kw) * share,
            is_edge=is_edge,
        )
        for (begin, until), share in zip(itertools.pairwise(borders), shares, strict=True)
        if begin < until
    ]
