"""From the events of one authority to limits: levels and fractions to kW, priority and shadowing, opt and binding.

```
 priority 1  event A         |======| 60 kW             in force while it lasts
 priority 2  event B   |------------------| 40 kW       shadowed in the middle: kept as voluntary, shown, never binding
```

Within one VTN the highest priority selects the event in force (OpenADR 2.0b: 1 highest, 0 lowest); events of equal priority hold
together and the smaller limit binds. Across authorities nothing is shadowed: the minimum binds.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from gateway.domain.errors import InvalidInput
from gateway.domain.evidence import content_hash
from gateway.domain.limits import Binding, Direction, Limit, LimitKind
from gateway.domain.signals import BINDING_INSTRUCTIONS, EventInterval, EventStatus, GridEvent, Instruction, OptType
from gateway.domain.timegrid import Interval


@dataclass(frozen=True, kw_only=True, slots=True)
class ProgramRules:
    """What one authority's program means."""

    simple_fraction: tuple[float, float, float, float] = (1.0, 0.7, 0.4, 0.0)
    """Most that may be drawn at SIMPLE levels 0 to 3, as a fraction of the node's rating; level 0 is normal operation."""
    is_mandatory: bool = False
    """Its events bind whatever we answer."""
    is_unconditional: bool = False
    """Losing contact with it puts its nodes to fallback or fail-safe; until first contact it counts as lost."""

    def __post_init__(self) -> None:
        """Reject fractions outside [0, 1] and fractions that grow with the level."""
        if any(not 0.0 <= f <= 1.0 for f in self.simple_fraction):
            raise InvalidInput("program.simple_fraction", "must be fractions of 0 to 1")
        if list(self.simple_fraction) != sorted(self.simple_fraction, reverse=True):
            raise InvalidInput("program.simple_fraction", "must not grow with the level")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Block:
    """What one event asks of one node over one span."""

    event: GridEvent
    node: str
    span: Interval
    max_kw: float
    """Infinite for normal operation: it asks for nothing but still shadows."""


def binds(event: GridEvent, rules: ProgramRules) -> bool:
    """Tell whether an event obliges us."""
    return rules.is_mandatory or event.opt is OptType.OPT_IN


def rank(event: GridEvent) -> float:
    """Return the place of an event among those of its authority; smaller goes first."""
    return event.rank


def limits_of_events(
    events: Iterable[GridEvent], rules: ProgramRules, ratings_kw: Mapping[str, float], now: datetime
) -> list[Limit]:
    """Return the limits that follow from all events of one authority, as known now.

    Args:
        events: Every event of the authority that we hold.
        rules: Meaning of the authority's program.
        ratings_kw: Import rating of each node that events name; other nodes are left out.
        now: Completed and cancelled events and tests yield nothing.
    """
    blocks: dict[str, list[_Block]] = {}
    for event in events:
        if _is_live(event, now):
            for block in _blocks(event, rules, ratings_kw):
                blocks.setdefault(block.node, []).append(block)
    limits = []
    for at_node in blocks.values():
        first = [block for block in at_node if binds(block.event, rules)] if _has_ranks(at_node) else []
        for block in at_node:
            if np.isfinite(block.max_kw):
                shadows = [other for other in first if _shadows(other, block)]
                limits += [_limit(block, rules, span, shadow, now) for span, shadow in _cut(block.span, shadows)]
    return limits


def _has_ranks(blocks: Sequence[_Block]) -> bool:
    return len({rank(block.event) for block in blocks}) > 1


def _is_live(event: GridEvent, now: datetime) -> bool:
    is_over = event.status(now) in {EventStatus.CANCELLED, EventStatus.COMPLETED}
    return not event.test_event and not is_over


def _blocks(event: GridEvent, rules: ProgramRules, ratings_kw: Mapping[str, float]) -> list[_Block]:
    blocks = []
    for interval in event.intervals:
        span = _effective_span(event, interval)
        if span is None or interval.instruction not in BINDING_INSTRUCTIONS:
            continue
        for node in event.nodes:
            if node in ratings_kw:
                max_kw = _max_kw(interval, rules, ratings_kw[node])
                blocks.append(_Block(event=event, node=node, span=span, max_kw=max_kw))
    return blocks


def _effective_span(event: GridEvent, interval: EventInterval) -> Interval | None:
    """Return the interval up to a cancellation that takes effect later; None when nothing of it remains."""
    end = interval.end
    if event.cancelled and event.cancelled_at is not None:
        end = event.cancelled_at if end is None else min(end, event.cancelled_at)
    if end is not None and end <= interval.start:
        return None
    return Interval(start=interval.start, end=end)


def _max_kw(interval: EventInterval, rules: ProgramRules, rating_kw: float) -> float:
    match interval.instruction:
        case Instruction.IMPORT_LIMIT_KW:
            return min(interval.value, rating_kw)
        case Instruction.IMPORT_LIMIT_FRACTION:
            return interval.value * rating_kw
        case Instruction.SIMPLE_LEVEL:
            level = int(interval.value)
            return float("inf") if level == 0 else rules.simple_fraction[level] * rating_kw
        case Instruction.REDUCTION_KW:
            # Where there was no past to reduce from, the rating stands in; such an event is answered optOut.
            baseline_kw = rating_kw if interval.baseline_kw is None else interval.baseline_kw
            return max(0.0, baseline_kw - interval.value)
        case _:
            return float("inf")


def _shadows(other: _Block, block: _Block) -> bool:
    return rank(other.event) < rank(block.event) and other.span.overlaps(block.span)


def _cut(span: Interval, shadows: Sequence[_Block]) -> list[tuple[Interval, GridEvent | None]]:
    """Cut a span at the borders of what shadows it; each piece comes with the event that shadows it."""
    borders = {span.start}
    for shadow in shadows:
        borders |= {b for b in (shadow.span.start, shadow.span.end) if b is not None and span.contains(b)}
    ordered = sorted(borders)
    pieces = []
    for start, end in zip(ordered, [*ordered[1:], span.end], strict=True):
        covering = [shadow.event for shadow in shadows if shadow.span.contains(start)]
        pieces.append((Interval(start=start, end=end), min(covering, key=rank, default=None)))
    return pieces


def _limit(block: _Block, rules: ProgramRules, span: Interval, shadow: GridEvent | None, now: datetime) -> Limit:
    event, max_kw = block.event, block.max_kw
    binding = Binding.MANDATORY if rules.is_mandatory else Binding.COMMITTED
    if shadow is not None or not binds(event, rules):
        binding = Binding.VOLUNTARY
    reason = f"event {event.event_id}"
    if shadow is not None:
        reason += f", shadowed by event {shadow.event_id}"
    elif binding is Binding.VOLUNTARY:
        reason += ", not opted in"
    digest = content_hash([block.node, span, max_kw, binding, reason])[:12]
    return Limit(
        id=f"{event.id}:{event.modification}:{digest}",
        tenant=event.tenant,
        authority=event.authority,
        node=block.node,
        direction=Direction.IMPORT,
        kind=LimitKind.LIMIT,
        binding=binding,
        max_kw=max_kw,
        interval=span,
        cause=f"event:{event.id}",
        known_at=now,
        reason=reason,
    )
