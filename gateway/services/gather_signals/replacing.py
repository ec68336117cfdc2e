"""What an authority that states limits directly says now, against what it said before.

```
 before   |------------- 50 kW --------------|
 new               |--- 20 kW ---|
 after    |--50 kW-|--- 20 kW ---|---50 kW---|      head: the old row, withdrawn from there on; tail: a row of its own
```

The newest word replaces the time that it covers of earlier ones about the same node, direction, kind and phases; the rest stays.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from gateway.domain.limits import Direction, Limit, LimitKind
from gateway.domain.timegrid import Interval

_FOREVER = datetime.max.replace(tzinfo=UTC)
_CUT = "#"
"""Between the id of a limit and the begin of what an overlap left of its end."""
_Place = tuple[str, Direction, LimitKind, tuple[bool, ...]]
_Span = tuple[datetime, datetime]


def rows_after(known: Iterable[Limit], new: Sequence[Limit], withdrawn: Iterable[str], now: datetime) -> list[Limit]:
    """Return the rows to write when an authority has spoken: old ones that end, what is left of them, then the new ones.

    Args:
        known: Every limit of the authority that is in force or to come.
        new: What it says now; an id that is known already is written over.
        withdrawn: Ids that no longer apply from now on, with what overlaps left of them.
        now: The instant.
    """
    gone = set(withdrawn)
    named = {limit.id for limit in new}
    covers = _covers(new)
    rows: list[Limit] = []
    for limit in known:
        end = _end(limit)
        if limit.id in named or end <= now:
            continue
        if limit.id in gone or limit.id.partition(_CUT)[0] in gone:
            rows.append(replace(limit, withdrawn_at=now))
        elif (cover := covers.get(_place(limit))) is not None:
            span = (max(limit.interval.start, now), end)
            rows += _cut(limit, span, list(_left(span, cover)), now)
    return [*rows, *new]


def _place(limit: Limit) -> _Place:
    phases = () if limit.phase_max_kw is None else tuple(kw is not None for kw in limit.phase_max_kw)
    return limit.node, limit.direction, limit.kind, phases


def _covers(new: Iterable[Limit]) -> dict[_Place, list[_Span]]:
    """Return the times that new limits cover, merged and in order, per place."""
    covers: dict[_Place, list[_Span]] = {}
    for limit in sorted(new, key=lambda each: each.interval.start):
        spans = covers.setdefault(_place(limit), [])
        start, end = limit.interval.start, _end(limit)
        if spans and start <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(spans[-1][1], end))
        else:
            spans.append((start, end))
    return covers


def _left(span: _Span, cover: Sequence[_Span]) -> Iterator[_Span]:
    """Yield what a cover leaves of a span."""
    start, end = span
    for begin, stop in cover[max(bisect_right(cover, (start, _FOREVER)) - 1, 0) :]:
        if begin >= end or start >= end:
            break
        if start < begin:
            yield start, begin
        start = max(start, stop)
    if start < end:
        yield start, end


def _cut(limit: Limit, span: _Span, left: Sequence[_Span], now: datetime) -> Iterator[Limit]:
    if list(left) == [span]:
        return
    has_head = bool(left) and left[0][0] == span[0]
    yield replace(limit, withdrawn_at=left[0][1] if has_head else now)
    root = limit.id.partition(_CUT)[0]
    for start, end in left[1:] if has_head else left:
        yield replace(
            limit,
            id=f"{root}{_CUT}{start.isoformat()}",
            interval=Interval(start=start, end=None if end == _FOREVER else end),
            known_at=now,
            withdrawn_at=None,
        )


def _end(limit: Limit) -> datetime:
    return _FOREVER if limit.over_at is None else limit.over_at
