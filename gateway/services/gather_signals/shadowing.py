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
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from gateway.domain.signals import GridEvent
from gateway.domain.timegrid import Interval
from gateway.services.gather_signals.blocks import Block

_FIRST_STARTED_WINS = "openadr-2.0b"
"""Dialect whose rules decide between equal priorities."""

_Key = tuple[float, datetime]
"""Priority and start: the smallest is in force."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A part of a block in which the same is true of it."""

    span: Interval
    shadows: tuple[str, ...] = ()
    """The partner's ids of the events in force instead, in order; empty where the block itself holds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Reign:
    """The events in force over a span."""

    start: datetime
    key: _Key
    contexts: frozenset[str]
    """Market contexts of the 2.0b events among them."""
    event_id: str


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
        key = (event.rank, event.active.start)
        if key not in self.peers:
            self.peers[key] = _Peers()
            heapq.heappush(self.order, key)
        self.peers[key].count(event, 1)

    def leave(self, event: GridEvent) -> None:
        """Let an event go."""
        self.peers[event.rank, event.active.start].count(event, -1)

    def reign(self, start: datetime) -> _Reign | None:
        """Return what is in force from an instant on; None when nothing is."""
        while self.order and not self.peers[self.order[0]].event_ids:
            del self.peers[heapq.heappop(self.order)]
        if not self.order:
            return None
        peers = self.peers[self.order[0]]
        name = next(iter(peers.event_ids))
        return _Reign(start=start, key=self.order[0], contexts=frozenset(peers.contexts), event_id=name)


class Precedence:
    """Who is in force when, among the blocks of one node, direction and purpose."""

    def __init__(self, blocks: Iterable[Block], binds: Callable[[GridEvent], bool]) -> None:
        """Walk once over all borders.

        Args:
            blocks: Everything asked there, in an order that is always the same for the same events.
            binds: Whether an event obliges us; others shadow nothing.
        """
        self._reigns: list[_Reign | None] = []
        self._starts: list[datetime] = []
        first = [block for block in blocks if not block.is_edge and binds(block.event)]
        if len({(block.event.rank, block.event.market_context) for block in blocks}) > 1:
            self._walk(first)

    def _walk(self, blocks: Sequence[Block]) -> None:
        changes = [(block.span.start, 1, i) for i, block in enumerate(blocks)]
        changes += [(block.span.end, 0, i) for i, block in enumerate(blocks) if block.span.end is not None]
        changes.sort()
        covering = _Covering()
        for place, (at, is_start, i) in enumerate(changes):
            (covering.enter if is_start else covering.leave)(blocks[i].event)
            if place + 1 == len(changes) or changes[place + 1][0] > at:
                self._note(at, covering.reign(at))

    def _note(self, at: datetime, reign: _Reign | None) -> None:
        last = self._reigns[-1] if self._reigns else None
        if not _is_same(last, reign):
            self._starts.append(at)
            self._reigns.append(reign)

    def pieces(self, block: Block) -> Iterator[Piece]:
        """Yield the parts of a block in order; neighbours in which it is shadowed are one part."""
        shadows: tuple[str, ...] = ()
        begun = block.span.start
        for start, end, reign in self._over(block.span):
            by = (reign.event_id,) if reign is not None and _shadows(reign, block.event) else ()
            if start == begun:
                shadows = by
            elif bool(by) != bool(shadows):
                yield Piece(span=Interval(start=begun, end=start), shadows=shadows)
                begun, shadows = start, by
            elif by and by[0] not in shadows:
                shadows = (*shadows, *by)
            if end == block.span.end:
                yield Piece(span=Interval(start=begun, end=end), shadows=shadows)

    def _over(self, span: Interval) -> Iterator[tuple[datetime, datetime | None, _Reign | None]]:
        """Yield the reigns that a span meets, cut to it."""
        place = bisect_right(self._starts, span.start) - 1
        start = span.start
        while True:
            following = self._starts[place + 1] if place + 1 < len(self._starts) else None
            is_last = following is None or (span.end is not None and following >= span.end)
            yield start, span.end if is_last else following, self._reigns[place] if place >= 0 else None
            if is_last or following is None:
                return
            place, start = place + 1, following


def _count(counter: Counter[str], name: str, by: int) -> None:
    counter[name] += by
    if not counter[name]:
        del counter[name]


def _is_same(one: _Reign | None, other: _Reign | None) -> bool:
    if one is None or other is None:
        return one is other
    return (one.key, one.contexts, one.event_id) == (other.key, other.contexts, other.event_id)


def _shadows(reign: _Reign, event: GridEvent) -> bool:
    first, start = reign.key
    if first != event.rank:
        return first < event.rank
    is_later = event.protocol == _FIRST_STARTED_WINS and start < event.active.start
    return is_later and bool(reign.contexts) and event.market_context not in reign.contexts
