"""What applies at a provider's groups while it is gone and has left no fallback: the fail-safe of the node, stated in its name.

```
 provider      |--------- CONSUMPTION 50 kW ---------|
               |            |== FALLBACK 20 kW ==|
 gone from          x
 stand-in           |-------|                    |-----...     fail-safe; withdrawn when it is back
```

A limit that a provider stated while it was there may be too much once it cannot correct it (case o19).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway.domain.limits import Binding, Direction, Limit, LimitKind
from gateway.domain.timegrid import Interval
from gateway.domain.topology import Node
from gateway.ports import Ids

_CAUSE = "oscp-link:"
_REASON = "fail-safe: the provider is offline and left no fallback"
_CUT = "#"


@dataclass(frozen=True, kw_only=True, slots=True)
class Absence:
    """A provider that is gone.

    Attributes:
        tenant: Whose it is.
        authority: The provider.
        stated: Its limits that are in force or to come, stand-ins among them.
        now: The instant.
    """

    tenant: str
    authority: str
    stated: Sequence[Limit]
    now: datetime

    def missing(self, nodes: Sequence[Node], ids: Ids) -> tuple[Limit, ...]:
        """Return the stand-ins that are needed from now on: where the provider limits a direction and no fallback covers now."""
        return tuple(
            self._stand_in(node, direction, ids)
            for node in nodes
            for direction in Direction
            if self._is_open(node, direction)
        )

    def standing_in(self) -> tuple[str, ...]:
        """Return the ids of stand-ins, to withdraw them."""
        return tuple(sorted({one.id.partition(_CUT)[0] for one in self.stated if one.cause.startswith(_CAUSE)}))

    def next_gap(self) -> datetime | None:
        """Return when a fallback that covers now ends; None when none does."""
        covering = [one for one in self.stated if one.kind is LimitKind.FALLBACK and one.covers(self.now)]
        return min((one.interval.end for one in covering if one.interval.end is not None), default=None)

    def _is_open(self, node: Node, direction: Direction) -> bool:
        mine = self._of(node, direction)
        is_limited = any(one.kind is LimitKind.LIMIT for one in mine)
        return is_limited and not any(one.kind is LimitKind.FALLBACK and one.covers(self.now) for one in mine)

    def _of(self, node: Node, direction: Direction) -> list[Limit]:
        return [one for one in self.stated if one.node == node.id and one.direction is direction]

    def _stand_in(self, node: Node, direction: Direction, ids: Ids) -> Limit:
        starts = [
            one.interval.start
            for one in self._of(node, direction)
            if one.kind is LimitKind.FALLBACK and one.interval.start > self.now
        ]
        return Limit(
            id=ids.new("limit"),
            tenant=self.tenant,
            authority=self.authority,
            node=node.id,
            direction=direction,
            kind=LimitKind.FALLBACK,
            binding=Binding.MANDATORY,
            max_kw=node.fail_safe_import_kw if direction is Direction.IMPORT else 0.0,
            interval=Interval(start=self.now, end=min(starts, default=None)),
            cause=f"{_CAUSE}{self.authority}",
            known_at=self.now,
            reason=_REASON,
        )
