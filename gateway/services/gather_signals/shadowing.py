"""Which events of one authority are in force when several ask something of the same node.

```
 priority 1  event A         |======| 60 kW             in force while it lasts
 priority 2  event B   |------------------| 40 kW       shadowed in the middle: kept as voluntary, shown, never binding
```

Within one authority the event of the highest priority is in force and the others are shadowed. Of equal priority:

- OpenADR 2.0b, different market contexts: the event that started first is in force and the later one is shadowed (rule 18 of the
  VEN conformance rules), even when the later one asks for less power. Within one market context events of equal priority must
  not overlap; when they do all the same, they hold together and the smaller limit binds.
- Other dialects say nothing: events of equal priority hold together and the smaller limit binds.

Only events that oblige us shadow, only where they ask something themselves (same node, direction and purpose), and never before
or after their active period. Across authorities nothing is shadowed: the minimum binds, see `domain.limits`.
"""

import heapq
import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np
import numpy.typing as npt

from gateway.domain.signals import GridEvent
from gateway.domain.timegrid import Interval
from gateway.services.gather_signals.blocks import Block

BoolArray = npt.NDArray[np.bool_]

_FIRST_STARTED_WINS = "openadr-2.0b"
"""Dialect whose rules decide between equal priorities."""

_Key = tuple[float, float]
"""Priority and start of an event in seconds: the smallest is in force."""
_NOBODY = (math.inf, math.inf)


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A part of a block in which the same is true of it."""

    span: Interval
    shadows: tuple[str, ...] = ()
    """The partner's ids of up to two events in force instead, in order; empty where the block itself holds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Reign:
    """The events in force from an instant on."""

    start: datetime
    rank: float
    """Their priority; infinite with `begun` infinite when nobody is."""
    begun: float
    """When they started, in seconds."""
    contexts: frozenset[str]
    """Market contexts of the 2.0b events among them."""
    event_id: str
    """The partner's id of one of them."""


@dataclass(slots=True)
class _Peers:
    """Events of one priority and start that cover the instant."""

    event_ids: Counter[str] = field(default_factory=Counter)
    contexts: Counter[str] = field(default_factory=Counter)
    """Market contexts of the 2.0b events among them."""

    def count(self, event: GridEvent, by: int) -> None:
        """Let an event come (1) or go (-1)."""
        _count(self.event_ids, event.event_id, by)
        if event.protocol == _FIRST_STARTED_WINS:
            _count(self.contexts, event.market_context, by)


@dataclass(slots=True)
class _Covering:
    """Events that cover the instant which a sweep has reached."""

    order: list[_Key] = field(default_factory=list)
    peers: dict[_Key, _Peers] = field(default_factory=dict)

    def enter(self, event: GridEvent) -> None:
        """Take an event in."""
        key = _key(event)
        if key not in self.peers:
            self.peers[key] = _Peers()
            heapq.heappush(self.order, key)
        self.peers[key].count(event, 1)

    def leave(self, event: GridEvent) -> None:
        """Let an event go."""
        self.peers[_key(event)].count(event, -1)

    def reign(self, start: datetime) -> _Reign:
        """Return what is in force from an instant on."""
        while self.order and not self.peers[self.order[0]].event_ids:
            del self.peers[heapq.heappop(self.order)]
        rank, begun = self.order[0] if self.order else _NOBODY
        peers = self.peers[rank, begun] if self.order else _Peers()
        name = next(iter(peers.event_ids), "")
        return _Reign(start=start, rank=rank, begun=begun, contexts=frozenset(peers.contexts), event_id=name)


class Precedence:
    """Who is in force when, among the blocks of one node, direction and purpose."""

    def __init__(self, blocks: Iterable[Block], binds: Callable[[GridEvent], bool]) -> None:
        """Walk once over all borders.

        Args:
            blocks: Everything asked there, in an order that is always the same for the same events.
            binds: Whether an event obliges us; others shadow nothing.
        """
        blocks = list(blocks)
        is_contested = len({(block.event.rank, block.event.market_context) for block in blocks}) > 1
        first = [block for block in blocks if not block.is_edge and binds(block.event)] if is_contested else []
        self._reigns = reigns = _walk(first)
        self._starts = [reign.start for reign in reigns]
        if not reigns:
            return
        self._rank = np.array([reign.rank for reign in reigns])
        self._begun = np.array([reign.begun for reign in reigns])
        self._has_rule = np.array([bool(reign.contexts) for reign in reigns], dtype=bool)
        self._has_context: dict[str, BoolArray] = {}

    def pieces(self, block: Block) -> list[Piece]:
        """Return the parts of a block in order; neighbours in which it is shadowed are one part."""
        span = block.span
        if not self._reigns:
            return [Piece(span=span)]
        first = bisect_right(self._starts, span.start) - 1
        last = len(self._starts) if span.end is None else bisect_left(self._starts, span.end)
        low = max(first, 0)
        is_shadowed = self._is_shadowed(block.event, low, last)
        if first < 0:
            is_shadowed = np.concatenate(([False], is_shadowed))
        if not is_shadowed.any():
            return [Piece(span=span)]
        turns = [0, *(np.flatnonzero(np.diff(is_shadowed)) + 1).tolist()]
        borders = [span.start, *(self._starts[first + turn] for turn in turns[1:])]
        ends: list[datetime | None] = [*borders[1:], span.end]
        stops = [*turns[1:], len(is_shadowed)]
        return [
            Piece(
                span=Interval(start=start, end=end),
                shadows=self._names(first + turn, first + stop) if is_shadowed[turn] else (),
            )
            for start, end, turn, stop in zip(borders, ends, turns, stops, strict=True)
        ]

    def _is_shadowed(self, event: GridEvent, low: int, high: int) -> BoolArray:
        """Return in which reigns of a run an event is shadowed."""
        rank, begun = self._rank[low:high], self._begun[low:high]
        shadowed = rank < event.rank
        if event.protocol == _FIRST_STARTED_WINS:
            is_later = (rank == event.rank) & (begun < event.active.start.timestamp()) & self._has_rule[low:high]
            if is_later.any():
                shadowed = shadowed | (is_later & ~self._holds(event.market_context)[low:high])
        return np.asarray(shadowed)

    def _holds(self, context: str) -> BoolArray:
        """Return which reigns are of events of a market context."""
        if context not in self._has_context:
            self._has_context[context] = np.array([context in reign.contexts for reign in self._reigns], dtype=bool)
        return self._has_context[context]

    def _names(self, first: int, stop: int) -> tuple[str, ...]:
        """Return the partner's ids of the first two events in force in a run of reigns."""
        one = self._reigns[first].event_id
        other = next((reign.event_id for reign in self._reigns[first + 1 : stop] if reign.event_id != one), None)
        return (one,) if other is None else (one, other)


def _key(event: GridEvent) -> _Key:
    return event.rank, event.active.start.timestamp()


def _walk(blocks: Sequence[Block]) -> list[_Reign]:
    """Return who is in force from each border on, where that changes."""
    changes = [(block.span.start, 1, i) for i, block in enumerate(blocks)]
    changes += [(block.span.end, 0, i) for i, block in enumerate(blocks) if block.span.end is not None]
    changes.sort()
    covering = _Covering()
    reigns: list[_Reign] = []
    for place, (at, is_start, i) in enumerate(changes):
        (covering.enter if is_start else covering.leave)(blocks[i].event)
        if place + 1 == len(changes) or changes[place + 1][0] > at:
            reign = covering.reign(at)
            if not reigns or replace(reign, start=reigns[-1].start) != reigns[-1]:
                reigns.append(reign)
    return reigns


def _count(counter: Counter[str], name: str, by: int) -> None:
    counter[name] += by
    if not counter[name]:
        del counter[name]
