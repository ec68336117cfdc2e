"""What everybody ordered in a campaign and what is owed for it: a memory beside the gateway's, folded by rules of its own.

Owed is what was answered, to its end and through every restart; a reduction that the gateway could not write down and did not answer
acts all the same until it is killed, or its author says something else. What silence means is the table of the rules, written down once more, so that a fault of the gateway's own fold cannot hide itself:

| authority | speaks, no limit for now | cannot be reached |
| --- | --- | --- |
| `oscp:` says a limit for every instant | fallback, else fail-safe | limit and fallback, or limit and fail-safe |
| `lpc:` | fallback | limit, else fallback, else fail-safe |
| `charger:`, `manual:` | fallback | the same |

What is over once is forgotten, so that a clock that is set back brings nothing to life; the gateway may be stricter than this.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from gateway.domain.limits import Limit, LimitKind
from gateway.domain.topology import Node

FloatArray = npt.NDArray[np.float64]
Span = tuple[datetime, datetime]

FOREVER = datetime.max.replace(tzinfo=UTC)
PHASES = 3
UNCONDITIONAL = ("oscp:", "lpc:")
STEADY = "oscp:"


@dataclass(kw_only=True)
class Word:
    """One limit as it was said, and the time in which nothing newer replaced it."""

    limit_id: str
    authority: str
    node: str
    is_fallback: bool
    kw: float
    phase_kw: FloatArray
    """Bound of each phase, infinite where only the total is bounded."""
    spans: list[Span]

    @property
    def place(self) -> tuple[str, str, bool, tuple[bool, ...]]:
        """What a newer word must share to replace it: authority, node, kind and the phases that it bounds."""
        return self.authority, self.node, self.is_fallback, tuple(np.isfinite(self.phase_kw).tolist())

    @property
    def bounds_kw(self) -> FloatArray:
        """Bounds in total and of each phase, shape (4,)."""
        return np.array([self.kw, *self.phase_kw])

    def covers(self, now: datetime) -> bool:
        """Tell whether it applies at an instant."""
        return any(start <= now < end for start, end in self.spans)


class Words:
    """Everything that was said about the nodes of one tree."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        """Begin with the ratings and fuses.

        Args:
            nodes: In the order of what `in_force` returns.
        """
        self._nodes = list(nodes)
        self._words: list[Word] = []
        self._acting: list[Word] = []
        """Reductions that were not answered."""
        self._held: set[tuple[str, str]] = set()
        """Authorities with the nodes that they ever limited."""
        self._lost: set[str] = set()
        self._unwritten: set[str] = set()
        """Authorities whose loss nobody could write down: a gateway that starts again may not know of it."""
        self._told: dict[str, set[str]] = {}
        """Ids of everything that an authority ever said, answered or not, since it last took everything back."""
        self._known: tuple[datetime, datetime, FloatArray] | None = None

    # ---------------------------------------------------------------- what is said

    def tell(self, limits: Iterable[Limit]) -> None:
        """Take note that limits were brought to the gateway, whatever it answered."""
        for limit in limits:
            self._told.setdefault(limit.authority, set()).add(limit.id)

    def told(self, authority: str) -> tuple[str, ...]:
        """Return the ids of everything that an authority may take back."""
        return tuple(sorted(self._told.get(authority, ())))

    def unanswered(self, limits: Iterable[Limit]) -> None:
        """Take note of limits that the gateway did not answer because it could not write them."""
        self._known = None
        self._acting += [_word(limit) for limit in limits if limit.kind is LimitKind.LIMIT]

    def answered(self, limits: Iterable[Limit]) -> None:
        """Owe limits: each replaces what was said before of its place for its time, except where people order."""
        self._known = None
        for limit in limits:
            word = _word(limit)
            self._end_acting(limit.authority)
            if not limit.authority.startswith("manual:"):
                for older in self._words:
                    if older.place == word.place:
                        older.spans = [left for span in older.spans for left in _without(span, word.spans[0])]
                self._held.add((limit.authority, limit.node))
            self._words.append(word)

    def taken_back(self, authority: str) -> None:
        """Owe nothing of what an authority said so far."""
        self._known = None
        self._words = [word for word in self._words if word.authority != authority]
        self._told.pop(authority, None)
        self._end_acting(authority)

    def _end_acting(self, authority: str) -> None:
        self._acting = [word for word in self._acting if word.authority != authority]

    def lose(self, authority: str, *, is_written: bool) -> None:
        """Take note that an authority cannot be reached."""
        self._known = None
        if authority not in self._lost and not is_written:
            self._unwritten.add(authority)
        self._lost.add(authority)

    def find(self, authority: str) -> None:
        """Take note that an authority can be reached again."""
        self._known = None
        self._lost.discard(authority)
        self._unwritten.discard(authority)

    def restart(self) -> None:
        """Forget what the gateway could not write before it was killed."""
        self._known = None
        self._lost -= self._unwritten
        self._unwritten.clear()
        self._acting = []

    # ---------------------------------------------------------------- what is owed

    def in_force(self, now: datetime) -> FloatArray:
        """Return the most that may be drawn below each node now, in total and on each phase, in kW, shape (N, 4)."""
        if self._known is None or not self._known[0] <= now < self._known[1]:
            self._forget(now)
            values = np.array([self._owed(node, now) for node in self._nodes])
            self._known = (now, min(self.borders(now), default=FOREVER), values)
        return self._known[2]

    def borders(self, now: datetime) -> list[datetime]:
        """Return the instants at which anything begins or ends after now."""
        words = (*self._words, *self._acting)
        return [at for word in words for span in word.spans for at in span if now < at < FOREVER]

    def _forget(self, now: datetime) -> None:
        for word in (*self._words, *self._acting):
            word.spans = [span for span in word.spans if span[1] > now]
        self._words = [word for word in self._words if word.spans]
        self._acting = [word for word in self._acting if word.spans]

    def _owed(self, node: Node, now: datetime) -> FloatArray:
        fuse_kw = np.inf if node.phase_rating_a is None else node.phase_rating_a * node.voltage_v / 1000.0
        owed = np.array([node.max_import_kw, *[fuse_kw] * PHASES])
        words = [word for word in self._words if word.node == node.id and word.covers(now)]
        here = {authority for authority, held in self._held if held == node.id}
        for authority in sorted(here | {word.authority for word in words}):
            theirs = [word for word in words if word.authority == authority]
            owed = np.minimum(owed, self._by(authority, theirs, node.fail_safe_import_kw))
        for word in self._acting:
            if word.node == node.id and word.covers(now):
                owed = np.minimum(owed, word.bounds_kw)
        return owed

    def _by(self, authority: str, words: list[Word], fail_safe_kw: float) -> FloatArray:
        """Return what one authority leaves at a node that it ever limited."""
        limits = [word for word in words if not word.is_fallback]
        fallbacks = [word for word in words if word.is_fallback]
        is_steady = authority.startswith(STEADY)
        is_lost = authority in self._lost and authority.startswith(UNCONDITIONAL)
        falls_back = is_steady and is_lost
        applying = [*limits, *fallbacks] if falls_back else limits or fallbacks
        bounds = [word.bounds_kw for word in applying]
        is_silent = not (fallbacks if falls_back else applying)
        if is_silent and (is_steady or is_lost):
            bounds.append(np.array([fail_safe_kw, *[np.inf] * PHASES]))
        return np.min(bounds, axis=0) if bounds else np.full(1 + PHASES, np.inf)


def _word(limit: Limit) -> Word:
    phases = limit.phase_max_kw or (None,) * PHASES
    return Word(
        limit_id=limit.id,
        authority=limit.authority,
        node=limit.node,
        is_fallback=limit.kind is LimitKind.FALLBACK,
        kw=limit.max_kw,
        phase_kw=np.array([np.inf if kw is None else kw for kw in phases]),
        spans=[(limit.interval.start, limit.interval.end or FOREVER)],
    )


def _without(span: Span, cover: Span) -> list[Span]:
    """Return what a cover leaves of a span."""
    parts = [(span[0], min(span[1], cover[0])), (max(span[0], cover[1]), span[1])]
    return [(start, end) for start, end in parts if start < end]
