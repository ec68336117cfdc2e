"""Limits and the one pure fold that says what binds.

```
 rating (physical, always) ─┐
 authority A: LIMIT blocks  ├─ min ─> value in force, binding limit, shadowed ones, next change
 authority B: FALLBACK      ┘
```

Per authority: the blocks of kind LIMIT that cover `now` (the smallest binds); if none covers it and the authority has declared
FALLBACK blocks, or is lost, the fallback; if it is lost and has none, the node's fail-safe. Losing an authority therefore never
opens a limit. Across authorities the minimum binds. OPTIMUM is a wish inside the limits and never a limit. Zero is a limit;
absent is not zero.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

import numpy as np

from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import Interval
from gateway.domain.topology import Node

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
            if not np.isfinite(power_kw) or power_kw < 0.0:
                raise InvalidInput(f"limit.{name}", "must be a finite number of at least 0")
        for phase_kw in self.phase_max_kw or ():
            if phase_kw is not None and (not np.isfinite(phase_kw) or phase_kw < 0.0):
                raise InvalidInput("limit.phase_max_kw", "must be finite numbers of at least 0")
        if self.interval.end is None and self.authority.startswith("manual:"):
            raise InvalidInput("limit.interval.end", "a manual limit must expire")

    def covers(self, instant: datetime) -> bool:
        """Tell whether the limit applies at the instant."""
        return self.interval.contains(instant) and (self.withdrawn_at is None or instant < self.withdrawn_at)


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

    def why(self) -> str:
        """Return the one sentence that says what binds, by whose order and until when; the same text everywhere."""
        until = "until further notice" if self.until is None else f"until {self.until:%Y-%m-%d %H:%M}Z"
        if self.binding is None:
            return f"{self.kw:.1f} kW at {self.node} by its {self.authority} {until}"
        reason = f" ({self.binding.reason})" if self.binding.reason else ""
        return f"{self.kw:.1f} kW at {self.node} by order of {self.authority}{reason} {until}"


RATING = "rating"


def resolve(
    node: Node,
    limits: Iterable[Limit],
    now: datetime,
    *,
    direction: Direction = Direction.IMPORT,
    lost: frozenset[str] = frozenset(),
) -> Resolution:
    """Fold all limits of one node into what binds now.

    Args:
        node: The node; limits of other nodes are ignored. Its rating binds always.
        limits: All limits known for the node, of any authority, kind and time.
        now: The instant asked for, aware UTC.
        direction: Direction asked for.
        lost: Authorities that are out of contact and unconditional; the node's fail-safe applies for one of them that left
            neither limit nor fallback.

    Returns:
        The value in force, the binding limit, the shadowed ones and the next change.
    """
    is_import = direction is Direction.IMPORT
    rating_kw = node.max_import_kw if is_import else node.max_export_kw
    fail_safe_kw = node.fail_safe_import_kw if is_import else 0.0
    mine = [lim for lim in limits if lim.node == node.id and lim.direction is direction]
    candidates = [lim for name in _authorities(mine) for lim in _in_force(mine, name, now)]
    silent = sorted(lost - {lim.authority for lim in candidates})
    ordered = sorted(candidates, key=lambda lim: (lim.max_kw, lim.authority, lim.id))
    value, binding, authority = rating_kw, None, RATING
    if silent and fail_safe_kw < value:
        value, authority = fail_safe_kw, f"fail-safe of {silent[0]}"
    if ordered and ordered[0].max_kw <= value:
        binding = ordered[0]
        value, authority = binding.max_kw, binding.authority
    wishes = [lim.max_kw for lim in mine if _is_wish(lim) and lim.covers(now)]
    return Resolution(
        node=node.id,
        direction=direction,
        at=now,
        kw=value,
        binding=binding,
        authority=authority,
        until=next_change(mine, now),
        shadowed=tuple(lim for lim in ordered if lim is not binding),
        optimum_kw=min([*wishes, value]) if wishes else None,
    )


def next_change(limits: Iterable[Limit], now: datetime) -> datetime | None:
    """Return the first instant after `now` at which any of the limits begins, ends or is withdrawn; None if none will."""
    borders = (
        border
        for lim in limits
        for border in (lim.interval.start, lim.interval.end, lim.withdrawn_at)
        if border is not None
    )
    return min((border for border in borders if border > now), default=None)


def _is_wish(limit: Limit) -> bool:
    return limit.kind is LimitKind.OPTIMUM and limit.binding is not Binding.VOLUNTARY


def _authorities(limits: Iterable[Limit]) -> list[str]:
    return sorted({lim.authority for lim in limits})


def _in_force(limits: list[Limit], authority: str, now: datetime) -> list[Limit]:
    covering = [
        lim for lim in limits if lim.authority == authority and lim.binding is not Binding.VOLUNTARY and lim.covers(now)
    ]
    blocks = [lim for lim in covering if lim.kind is LimitKind.LIMIT]
    return blocks or [lim for lim in covering if lim.kind is LimitKind.FALLBACK]
