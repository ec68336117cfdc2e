"""Limits and the one pure fold that says what binds.

```
 rating (physical, always) ─┐
 authority A: LIMIT blocks  ├─ min ─> value in force, binding limit, shadowed ones, next change
 authority B: FALLBACK      ┘
```

Per authority: the blocks of kind LIMIT that cover `now`; if none covers it, those of kind FALLBACK. An authority may be lost (out
of contact) and may be steady (a forecast: it has a word for every instant); a lost steady one has both, so that its fallback
applies at once, else the node's fail-safe, and its last limit still runs to its end. Of one that is lost or steady and has neither
limit nor fallback, the fail-safe.
Losing an authority therefore never opens a limit. Across authorities the minimum binds, for the total and for each phase. OPTIMUM
is a wish inside the limits and never a limit. Zero is a limit; absent is not zero.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import overload

import numpy as np
from typing_extensions import override

from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import Interval
from gateway.domain.topology import Node
from gateway.domain.units import ac_power_kw

MANUAL = "manual:"
"""Before the name of the person in the authority of a limit that somebody ordered."""
OF_EVENT = "event:"
"""Before the id of the event in the cause of a limit."""
NOTHING_AGREED: Mapping[str, float] = {}
PHASE_NAMES = ("L1", "L2", "L3")
PhasePowers = tuple[float | None, float | None, float | None]
"""A power per phase, L1 to L3, in kW."""


class Direction(StrEnum):
    """Which way the power flows; IMPORT is drawn from the grid."""

    IMPORT = "import"
    EXPORT = "export"


class LimitKind(StrEnum):
    """What a limit is for."""

    LIMIT = "limit"
    FALLBACK = "fallback"
    OPTIMUM = "optimum"


class Binding(StrEnum):
    """How far a limit obliges us."""

    PHYSICAL = "physical"
    MANDATORY = "mandatory"
    COMMITTED = "committed"
    VOLUNTARY = "voluntary"
    """Asked but not (yet) opted in: shown, never binding."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit:
    """One authority's upper bound on the power of one node over a time."""

    id: str
    tenant: str
    authority: str
    node: str
    direction: Direction
    kind: LimitKind
    binding: Binding
    max_kw: float
    """Total over phases, at least 0."""
    interval: Interval
    """When it applies; open end only for limits of an authority that can withdraw them."""
    cause: str
    """Id of the signal, event, person's request or award behind it."""
    known_at: datetime
    """When it was on disk here."""
    withdrawn_at: datetime | None = None
    """From when it no longer applies although its interval goes on; None while in force."""
    reason: str = ""
    """Why, in the authority's own words, for people."""
    phase_max_kw: PhasePowers | None = None
    """Upper bound of each phase L1 to L3 beside the total; None inside it: that phase has no bound of its own."""
    guaranteed_kw: float = 0.0
    """What the authority guarantees at the node: headroom never pushes this limit under it; lifts nobody else's limit."""
    is_at_grid: bool = False
    """True when it bounds what is drawn from the grid at the connection point: own generation and batteries carry the rest."""

    def __post_init__(self) -> None:
        """Reject powers that are negative or not finite and a manual limit without an end."""
        for name, power_kw in (("max_kw", self.max_kw), ("guaranteed_kw", self.guaranteed_kw)):
            if not math.isfinite(power_kw) or power_kw < 0.0:
                raise InvalidInput(f"limit.{name}", "must be a finite number of at least 0")
        for phase_kw in self.phase_max_kw or ():
            if phase_kw is not None and (not math.isfinite(phase_kw) or phase_kw < 0.0):
                raise InvalidInput("limit.phase_max_kw", "must be finite numbers of at least 0")
        if self.interval.end is None and self.is_manual:
            raise InvalidInput("limit.interval.end", "a manual limit must expire")

    @property
    def bound_kw(self) -> float:
        """Most that it leaves, total over phases: its authority's own guarantee goes before its order."""
        return max(self.max_kw, self.guaranteed_kw)

    def usable_kw(self, headroom: float, other_kw: float = 0.0, agreed_kw: float = 0.0) -> float:
        """Return what chargers may fill of it: headroom taken off, never under what its authority guarantees.

        Args:
            headroom: Share that is left free, 0 to 1.
            other_kw: What else flows at the connection point, negative when it feeds in; counts where the limit is at the grid.
            agreed_kw: What the authority guarantees by our settings, beside what it says itself.
        """
        free_kw = self.bound_kw * (1.0 - headroom) - (other_kw if self.is_at_grid else 0.0)
        return max(free_kw, self.guaranteed_kw, min(self.bound_kw, agreed_kw), 0.0)

    @property
    def is_manual(self) -> bool:
        """Whether a person ordered it."""
        return self.authority.startswith(MANUAL)

    def is_over(self, instant: datetime) -> bool:
        """Tell whether it never applies again from an instant on."""
        return self.over_at is not None and self.over_at <= instant

    @property
    def over_at(self) -> datetime | None:
        """From when it never applies again: the end of its interval or its withdrawal; None while neither is known."""
        ends = [end for end in (self.interval.end, self.withdrawn_at) if end is not None]
        return min(ends, default=None)

    def covers(self, instant: datetime) -> bool:
        """Tell whether the limit applies at the instant."""
        return self.interval.contains(instant) and (self.withdrawn_at is None or instant < self.withdrawn_at)


class NodeLimits(Sequence[Limit]):
    """All limits of one node, in the order given, found by the instant: a question costs what applies then, not what is known."""

    def __init__(self, limits: Iterable[Limit]) -> None:
        """Take the limits; they are put in order when they are first asked for."""
        self._limits = tuple(limits)
        self._ways: dict[Direction, _InTime] = {}

    @classmethod
    def of(cls, limits: Sequence[Limit]) -> "NodeLimits":
        """Return limits of one node as what they are found in, unless they are that already."""
        return limits if isinstance(limits, cls) else cls(limits)

    @overload
    def __getitem__(self, place: int) -> Limit: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[Limit]: ...

    @override
    def __getitem__(self, place: int | slice) -> Limit | Sequence[Limit]:
        return self._limits[place]

    @override
    def __len__(self) -> int:
        return len(self._limits)

    @override
    def __iter__(self) -> Iterator[Limit]:
        return iter(self._limits)

    def covering(self, instant: datetime, direction: Direction) -> list[Limit]:
        """Return the limits of one direction that apply at an instant, by their start."""
        way = self._way(direction)
        begun = bisect_right(way.starts, instant)
        known = zip(way.limits[:begun], way.over_at, strict=False)
        return [limit for limit, over_at in known if over_at is None or instant < over_at]

    def next_change(self, instant: datetime, direction: Direction) -> datetime | None:
        """Return the first instant after this one at which a limit begins to apply or is over; None if none will."""
        borders = self._way(direction).borders
        place = bisect_right(borders, instant)
        return borders[place] if place < len(borders) else None

    def _way(self, direction: Direction) -> "_InTime":
        if direction not in self._ways:
            self._ways[direction] = _in_time(limit for limit in self._limits if limit.direction is direction)
        return self._ways[direction]


@dataclass(frozen=True, kw_only=True, slots=True)
class _InTime:
    """Limits of one node and direction by their start."""

    limits: tuple[Limit, ...]
    starts: tuple[datetime, ...]
    over_at: tuple[datetime | None, ...]
    borders: tuple[datetime, ...]
    """When anything changes, in order."""


def _in_time(limits: Iterable[Limit]) -> _InTime:
    ordered = sorted(limits, key=lambda limit: limit.interval.start)
    borders = {border for limit in ordered for border in _borders(limit)}
    return _InTime(
        limits=tuple(ordered),
        starts=tuple(limit.interval.start for limit in ordered),
        over_at=tuple(limit.over_at for limit in ordered),
        borders=tuple(sorted(borders)),
    )


def _borders(limit: Limit) -> tuple[datetime, ...]:
    """Return when a limit begins and is over: the end of one that was withdrawn changes nothing, nor what never begins."""
    start, over_at = limit.interval.start, limit.over_at
    if over_at is None:
        return (start,)
    return (start, over_at) if start < over_at else ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Resolution:
    """What applies at one node at one instant, and why."""

    node: str
    direction: Direction
    at: datetime
    kw: float
    """Value in force in kW."""
    binding: Limit | None
    """The limit that binds; None when it is the node's own rating or its fail-safe."""
    authority: str
    """Who decides: the authority of `binding`, `rating`, or `fail-safe of {authority}`."""
    until: datetime | None
    """When something next changes; None when nothing known will."""
    shadowed: tuple[Limit, ...] = field(default=())
    """Limits that apply too but do not bind, smallest first."""
    optimum_kw: float | None = None
    """Smallest wish of kind OPTIMUM that we agreed to, inside the value in force; None when nobody wishes."""
    own_kw: float = np.inf
    """What the node itself leaves whatever anybody orders: its rating or its fail-safe."""
    because: str = ""
    """Why a fallback or the fail-safe applies; empty when neither does."""
    phase_kw: tuple[float, float, float] | None = None
    """Value in force of each phase L1 to L3, infinite where only the total is bounded; None when no phase is bounded."""
    phase_binding: tuple[Limit | None, Limit | None, Limit | None] = (None, None, None)
    """The limit that binds on each phase; None when it is the fuse of the node, or nothing."""

    @property
    def applying(self) -> tuple[Limit, ...]:
        """Every limit that applies, smallest first where none is the node's own."""
        return self.shadowed if self.binding is None else (self.binding, *self.shadowed)

    def usable_kw(
        self, headroom: float, other_kw: float = 0.0, agreed_kw: Mapping[str, float] = NOTHING_AGREED
    ) -> float:
        """Return what chargers may fill of everything that applies, never negative.

        Args:
            headroom: Share that is left free, 0 to 1; taken off the node's own rating or fail-safe, too.
            other_kw: As in `Limit.usable_kw`.
            agreed_kw: What authorities guarantee by our settings, by their name.
        """
        own_kw = min(self.own_kw, self.kw) if self.binding is None else self.own_kw
        rooms = [x.usable_kw(headroom, other_kw, agreed_kw.get(x.authority, 0.0)) for x in self.applying]
        return min(own_kw * (1.0 - headroom), *rooms) if rooms else own_kw * (1.0 - headroom)

    def usable_phase_kw(self, headroom: float) -> tuple[float, float, float] | None:
        """Return what chargers may fill of each phase with headroom taken off; None when no phase is bounded."""
        if self.phase_kw is None:
            return None
        one, two, three = (kw * (1.0 - headroom) for kw in self.phase_kw)
        return one, two, three

    def why(self) -> str:
        """Return the one sentence that says what binds, by whose order and until when; the same text everywhere."""
        until = "until further notice" if self.until is None else f"until {self.until:%Y-%m-%d %H:%M}Z"
        said = "; ".join(text for text in ("" if self.binding is None else self.binding.reason, self.because) if text)
        whose = f"its {self.authority}" if self.binding is None else f"order of {self.authority}"
        reason = f" ({said})" if said else ""
        return f"{self.kw:.1f} kW at {self.node} by {whose}{reason}{self._why_phases()} {until}"

    def _why_phases(self) -> str:
        """Say which phases limits bound, and by whose order."""
        if self.phase_kw is None:
            return ""
        by_order: dict[str, list[str]] = {}
        for name, kw, limit in zip(PHASE_NAMES, self.phase_kw, self.phase_binding, strict=True):
            if limit is not None:
                by_order.setdefault(limit.authority, []).append(f"{name} {kw:.1f} kW")
        return "".join(f", {' '.join(phases)} by order of {name}" for name, phases in by_order.items())


RATING = "rating"
NO_FALLBACK = "it cannot be reached and left no fallback"
NO_WORD = "it says nothing for this time"
NO_WORD_FALLBACK = "its fallback: it says nothing else for this time"
CONTACT_FALLBACK = "its fallback: it cannot be reached"


def resolve(  # what a fold depends on
    node: Node,
    limits: Iterable[Limit],
    now: datetime,
    *,
    direction: Direction = Direction.IMPORT,
    lost: frozenset[str] = frozenset(),
    steady: frozenset[str] = frozenset(),
) -> Resolution:
    """Fold all limits of one node into what binds now.

    Args:
        node: The node; limits of other nodes are ignored. Its ratings bind always.
        limits: All limits known for the node, of any authority, kind and time; as `NodeLimits` they are not put in order anew.
        now: The instant asked for, aware UTC.
        direction: Direction asked for.
        lost: Authorities that are out of contact and unconditional; the node's fail-safe applies for one of them that left
            neither limit nor fallback.
        steady: Authorities that say a limit for every instant; the fail-safe applies for one of them that has neither now, and
            when it is lost, too, its fallback, else the fail-safe, applies at once.

    Returns:
        The value in force, the binding limit, the shadowed ones and the next change.
    """
    is_import = direction is Direction.IMPORT
    mine = limits if isinstance(limits, NodeLimits) else NodeLimits(lim for lim in limits if lim.node == node.id)
    covering = [lim for lim in mine.covering(now, direction) if lim.binding is not Binding.VOLUNTARY]
    heard = {name: _in_force(covering, name, falls_back=name in lost & steady) for name in _authorities(covering)}
    candidates = [lim for found in heard.values() for lim in found]
    silent = sorted(
        name for name in lost | steady if not _has_word(heard.get(name, ()), falls_back=name in lost & steady)
    )
    ordered = sorted(candidates, key=lambda lim: (lim.bound_kw, lim.authority, lim.id))
    fail_safe_kw = node.fail_safe_import_kw if is_import else 0.0
    value, binding, authority, because = node.max_import_kw if is_import else node.max_export_kw, None, RATING, ""
    if silent and fail_safe_kw < value:
        value, authority = fail_safe_kw, f"fail-safe of {silent[0]}"
        because = NO_FALLBACK if silent[0] in lost else NO_WORD
    own_kw = value
    if ordered and ordered[0].bound_kw <= value:
        binding = ordered[0]
        value, authority = binding.bound_kw, binding.authority
        because = _why_fallback(binding, lost)
    wishes = [lim.max_kw for lim in covering if lim.kind is LimitKind.OPTIMUM]
    phase_kw, phase_binding = _phases(node if is_import else None, ordered)
    return Resolution(
        node=node.id,
        direction=direction,
        at=now,
        kw=value,
        binding=binding,
        authority=authority,
        until=mine.next_change(now, direction),
        shadowed=tuple(lim for lim in ordered if lim is not binding),
        optimum_kw=min([*wishes, value]) if wishes else None,
        own_kw=own_kw,
        because=because,
        phase_kw=phase_kw,
        phase_binding=phase_binding,
    )


def _in_force(covering: Iterable[Limit], authority: str, *, falls_back: bool) -> list[Limit]:
    """Return which limits of one authority bind, of all that apply; one that falls back has its fallback beside its last limit."""
    own = [lim for lim in covering if lim.authority == authority]
    blocks = [lim for lim in own if lim.kind is LimitKind.LIMIT]
    fallbacks = [lim for lim in own if lim.kind is LimitKind.FALLBACK]
    return [*blocks, *fallbacks] if falls_back else blocks or fallbacks


def _has_word(applying: Iterable[Limit], *, falls_back: bool) -> bool:
    """Tell whether what applies of an authority stands in for its silence; a last limit does not where it must fall back."""
    return any(not falls_back or limit.kind is LimitKind.FALLBACK for limit in applying)


def _authorities(limits: Iterable[Limit]) -> list[str]:
    return sorted({lim.authority for lim in limits})


def _why_fallback(binding: Limit, lost: frozenset[str]) -> str:
    if binding.kind is not LimitKind.FALLBACK:
        return ""
    return CONTACT_FALLBACK if binding.authority in lost else NO_WORD_FALLBACK


_Phases = tuple[float, float, float]
_PhaseLimits = tuple[Limit | None, Limit | None, Limit | None]


def _phases(node: Node | None, applying: Sequence[Limit]) -> tuple[_Phases | None, _PhaseLimits]:
    """Return what binds on each phase: the fuse of a node that has one, else the smallest bound of a limit that names it."""
    fuse_kw = (
        np.inf if node is None or node.phase_rating_a is None else ac_power_kw(node.phase_rating_a, 1, node.voltage_v)
    )
    found = [_on_phase(i, fuse_kw, applying) for i in range(len(PHASE_NAMES))]
    values, (one, two, three) = [kw for kw, _ in found], (limit for _, limit in found)
    if not np.isfinite(values).any():
        return None, (None, None, None)
    return (values[0], values[1], values[2]), (one, two, three)


def _on_phase(phase: int, fuse_kw: float, applying: Iterable[Limit]) -> tuple[float, Limit | None]:
    value, binding = fuse_kw, None
    for limit in applying:
        kw = None if limit.phase_max_kw is None else limit.phase_max_kw[phase]
        if kw is not None and kw < value:
            value, binding = kw, limit
    return value, binding
