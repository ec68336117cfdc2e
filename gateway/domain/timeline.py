"""The fold of limits over time: what binds at many nodes from one instant to another, vectorised.

```
 limits of a node   |---- 50 ----|         |-- 60 --|
                         |-- 40 --|
 stretches          |-50-|---40--|--rating-|-- 60 --|-- rating --|
```

Between two borders of limits nothing changes, so each stretch is folded once, by the rules of `domain.limits.resolve`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from gateway.domain.errors import InvalidInput
from gateway.domain.limits import RATING, Binding, Direction, Limit, LimitKind
from gateway.domain.timegrid import Interval, TimeGrid
from gateway.domain.topology import PHASE_COUNT, Node
from gateway.domain.units import ac_power_kw

FloatArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_PER_SECOND = 1_000_000
_NOBODY = np.iinfo(np.int64).max


@dataclass(frozen=True, kw_only=True, slots=True)
class Stretch:
    """A time in which nothing changes at a node."""

    interval: Interval
    kw: float
    """Value in force, total over phases."""
    phase_kw: tuple[float, float, float]
    """Value in force of each phase; infinite where only the total is bounded."""
    binding: Limit | None
    """The limit that binds; None when it is the node's own rating or its fail-safe."""
    authority: str
    """Who decides, as in `Resolution.authority`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Silence:
    """Whose silence counts, by node; see `domain.limits.resolve`."""

    lost: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Unconditional authorities out of contact."""
    steady: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Authorities that say a limit for every instant."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Timeline:
    """What binds at N nodes over a span in S stretches, ordered by node and time."""

    span: Interval
    node_ids: tuple[str, ...]
    node: IndexArray
    """Position in `node_ids`, shape (S,)."""
    start_us: IndexArray
    """Microseconds since the start of the span, shape (S,)."""
    end_us: IndexArray
    """The same for the end."""
    kw: FloatArray
    """Value in force, shape (S,)."""
    phase_kw: FloatArray
    """Value in force per phase, shape (S, 3); infinite where only the total is bounded."""
    binding: IndexArray
    """Position in `limits`, shape (S,); -1 where the node's own rating or fail-safe binds."""
    silent: IndexArray
    """Position in `authorities` of whose silence brings the fail-safe, shape (S,); -1 nobody's."""
    limits: tuple[Limit, ...]
    authorities: tuple[str, ...]

    def of(self, node_id: str) -> list[Stretch]:
        """Return the stretches of a node in order.

        Raises:
            InvalidInput: The node is not in it.
        """
        if node_id not in self.node_ids:
            raise InvalidInput("node", f"{node_id} is not in the timeline")
        return [self._stretch(i) for i in np.flatnonzero(self.node == self.node_ids.index(node_id)).tolist()]

    def profile_kw(self, node_id: str, grid: TimeGrid) -> FloatArray:
        """Return the mean of the value in force at a node per slot of a grid inside the span, shape (count,).

        Raises:
            InvalidInput: The node is not in it.
        """
        stretches = self.of(node_id)
        starts_s = np.array([(s.interval.start - self.span.start).total_seconds() for s in stretches])
        borders_s = np.append(starts_s, self.end_us[-1] / _PER_SECOND)
        summed = np.concatenate([[0.0], np.cumsum(np.diff(borders_s) * [s.kw for s in stretches])])
        edges = (grid.start - self.span.start).total_seconds() + np.arange(grid.count + 1) * grid.step.total_seconds()
        return np.asarray(np.diff(np.interp(edges, borders_s, summed)) / grid.step.total_seconds())

    def mean_kw(self) -> FloatArray:
        """Return the mean of the value in force over the span, shape (N,)."""
        length = self.end_us - self.start_us
        total = np.bincount(self.node, weights=self.kw * length, minlength=len(self.node_ids))
        return np.asarray(total / np.bincount(self.node, weights=length, minlength=len(self.node_ids)))

    def _stretch(self, i: int) -> Stretch:
        start = self.span.start + int(self.start_us[i]) * _MICROSECOND
        one, two, three = self.phase_kw[i].tolist()
        binding = None if self.binding[i] < 0 else self.limits[int(self.binding[i])]
        authority = RATING if self.silent[i] < 0 else f"fail-safe of {self.authorities[int(self.silent[i])]}"
        return Stretch(
            interval=Interval(start=start, end=self.span.start + int(self.end_us[i]) * _MICROSECOND),
            kw=float(self.kw[i]),
            phase_kw=(one, two, three),
            binding=binding,
            authority=authority if binding is None else binding.authority,
        )


def timeline(
    nodes: Sequence[Node],
    limits: Iterable[Limit],
    span: Interval,
    *,
    direction: Direction = Direction.IMPORT,
    silence: Silence | None = None,
) -> Timeline:
    """Fold the limits of nodes over a span.

    Args:
        nodes: The nodes; limits of others are ignored. Their ratings bind always.
        limits: All limits known, of any node, authority, kind and time.
        span: From when until when, bounded.
        direction: Direction asked for.
        silence: Whose silence counts; nobody's by default.

    Raises:
        InvalidInput: The span has no end.
    """
    return _Fold(nodes, limits, span, direction, Silence() if silence is None else silence).result()


class _Fold:
    """One fold: limits in rank order, stretches of all nodes in one array, pairs of a limit and a stretch that it covers."""

    def __init__(
        self, nodes: Sequence[Node], limits: Iterable[Limit], span: Interval, direction: Direction, silence: Silence
    ) -> None:
        self._nodes = nodes
        self._span = span
        self._length = _length_of(span)
        self._place = {node.id: i for i, node in enumerate(nodes)}
        self._direction = direction
        self._limits = sorted(self._relevant(limits), key=lambda x: (x.bound_kw, x.authority, x.id))
        self._build_spans()
        self._build_stretches()
        self._build_pairs()
        self._build_voices(silence)

    def _relevant(self, limits: Iterable[Limit]) -> Iterator[Limit]:
        kinds = (LimitKind.LIMIT, LimitKind.FALLBACK)
        for limit in limits:
            is_ours = limit.node in self._place and limit.direction is self._direction and limit.kind in kinds
            if is_ours and limit.binding is not Binding.VOLUNTARY:
                yield limit

    def _build_spans(self) -> None:
        """Cut every limit to the span; those outside get no length."""
        origin = self._span.start
        starts = [(x.interval.start - origin) // _MICROSECOND for x in self._limits]
        ends = [_end_of(x, origin, self._length) for x in self._limits]
        self._starts = np.clip(np.array(starts, dtype=np.int64), 0, self._length)
        self._ends = np.clip(np.array(ends, dtype=np.int64), 0, self._length)
        self._node_of = np.array([self._place[x.node] for x in self._limits], dtype=np.int64)

    def _build_stretches(self) -> None:
        width = self._length + 1
        first = np.arange(len(self._nodes), dtype=np.int64) * width
        cuts = [self._node_of * width + at for at in (self._starts, self._ends)]
        keys = np.unique(np.concatenate([first, *cuts])) if self._limits else first
        keys = keys[keys % width < self._length]
        self._keys, self.node, self.start_us = keys, keys // width, keys % width
        is_last = np.append(self.node[1:] != self.node[:-1], True)[: len(keys)]
        self.end_us = np.where(is_last, self._length, np.append(self.start_us[1:], 0)[: len(keys)])
        self._first = np.searchsorted(keys, first)
        self._count = np.bincount(self.node, minlength=len(self._nodes))

    def _build_pairs(self) -> None:
        width = self._length + 1
        low = np.searchsorted(self._keys, self._node_of * width + self._starts)
        high = np.searchsorted(self._keys, self._node_of * width + self._ends)
        self._limit, self._at = _ranges(low, np.maximum(high - low, 0))

    def _build_voices(self, silence: Silence) -> None:
        """Number the pairs of node and authority that have a limit or must have a word."""
        must = {
            (self._place[node], name): name in silence.lost.get(node, ()) and name in silence.steady.get(node, ())
            for by_node in (silence.lost, silence.steady)
            for node, names in by_node.items()
            if node in self._place
            for name in names
        }
        spoken = [(self._place[x.node], x.authority) for x in self._limits]
        voices = sorted({*must, *spoken})
        number = {voice: i for i, voice in enumerate(voices)}
        self.authorities = tuple(sorted({name for _, name in voices}))
        rank = {name: i for i, name in enumerate(self.authorities)}
        self._voice_of = np.array([number[voice] for voice in spoken], dtype=np.int64)
        self._voice_node = np.array([node for node, _ in voices], dtype=np.int64)
        self._voice_name = np.array([rank[name] for _, name in voices], dtype=np.int64)
        self._falls_back = np.array([must.get(voice, False) for voice in voices], dtype=bool)
        self._must_speak = np.array([voice in must for voice in voices], dtype=bool)

    def result(self) -> Timeline:
        """Return what binds in every stretch."""
        applies, silent = self._heard()
        limit, at = self._limit[applies], self._at[applies]
        best = np.full(len(self.node), _NOBODY)
        np.minimum.at(best, at, limit)
        own, silent = self._own_kw(silent)
        bounds = np.array([x.bound_kw for x in self._limits] or [0.0])
        ordered = np.where(best == _NOBODY, np.inf, bounds[np.minimum(best, len(bounds) - 1)])
        binding = np.where(ordered <= own, best, -1)
        binding[best == _NOBODY] = -1
        return Timeline(
            span=self._span,
            node_ids=tuple(node.id for node in self._nodes),
            node=self.node,
            start_us=self.start_us,
            end_us=self.end_us,
            kw=np.minimum(ordered, own),
            phase_kw=self._phases(limit, at),
            binding=binding,
            silent=silent,
            limits=tuple(self._limits),
            authorities=self.authorities,
        )

    def _heard(self) -> tuple[BoolArray, IndexArray]:
        """Return which pairs apply, and per stretch the first authority in order that must have a word and has none."""
        counts = self._count[self._voice_node]
        offset = np.concatenate([[0], np.cumsum(counts)])
        voice = self._voice_of[self._limit]
        cell = offset[voice] + self._at - self._first[self._node_of[self._limit]]
        is_block = np.array([x.kind is LimitKind.LIMIT for x in self._limits], dtype=bool)[self._limit]
        has_block = np.zeros(offset[-1], dtype=bool)
        has_block[cell[is_block]] = True
        applies = is_block | ~has_block[cell] | self._falls_back[voice]
        has_word = np.zeros(offset[-1], dtype=bool)
        has_word[cell[applies & ~(is_block & self._falls_back[voice])]] = True
        voices, at = _ranges(self._first[self._voice_node], counts)
        is_silent = self._must_speak[voices] & ~has_word
        silent = np.full(len(self.node), _NOBODY)
        np.minimum.at(silent, at[is_silent], self._voice_name[voices[is_silent]])
        return applies, silent

    def _own_kw(self, silent: IndexArray) -> tuple[FloatArray, IndexArray]:
        """Return what the node itself leaves per stretch, and whose silence made it the fail-safe; -1 nobody's."""
        is_import = self._direction is Direction.IMPORT
        rating = np.array([n.max_import_kw if is_import else n.max_export_kw for n in self._nodes])[self.node]
        fail_safe = np.array([n.fail_safe_import_kw if is_import else 0.0 for n in self._nodes])[self.node]
        is_safe = (silent != _NOBODY) & (fail_safe < rating)
        return np.where(is_safe, fail_safe, rating), np.where(is_safe, silent, -1)

    def _phases(self, limit: IndexArray, at: IndexArray) -> FloatArray:
        fuses = [
            np.inf if n.phase_rating_a is None else ac_power_kw(n.phase_rating_a, 1, n.voltage_v) for n in self._nodes
        ]
        if self._direction is Direction.EXPORT:
            fuses = [np.inf] * len(self._nodes)
        values = np.repeat(np.array(fuses)[self.node][:, None], PHASE_COUNT, axis=1)
        none = (None,) * PHASE_COUNT
        bounds = np.array(
            [[np.inf if kw is None else kw for kw in (x.phase_max_kw or none)] for x in self._limits], dtype=np.float64
        ).reshape(-1, PHASE_COUNT)
        for phase in range(PHASE_COUNT):
            np.minimum.at(values[:, phase], at, bounds[limit, phase])
        return values


def _length_of(span: Interval) -> int:
    """Return the length of a span in microseconds."""
    if span.end is None:
        raise InvalidInput("timeline.span", "needs an end")
    return (span.end - span.start) // _MICROSECOND


def _end_of(limit: Limit, origin: datetime, length: int) -> int:
    """Return when a limit stops applying, in microseconds since an origin; at least its start."""
    ends = [end for end in (limit.interval.end, limit.withdrawn_at) if end is not None]
    return max(min(ends) - origin, limit.interval.start - origin) // _MICROSECOND if ends else length


def _ranges(low: IndexArray, count: IndexArray) -> tuple[IndexArray, IndexArray]:
    """Return runs of integers end to end: which run each is of, and the integers."""
    owner = np.repeat(np.arange(len(count)), count)
    before = np.concatenate([[0], np.cumsum(count)])[:-1]
    return owner, np.arange(int(count.sum())) - before[owner] + low[owner]
