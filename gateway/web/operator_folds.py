"""What binds at every node, folded once and again only where something changed, in slices between which the event loop turns.

A resolution stays true until its next change as long as nobody ordered anything else at its node: the ledger replaces the list of
a node's limits and never changes it, so that the same list says the same.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway.domain.limits import Limit, Resolution, resolve
from gateway.domain.topology import Node

_NOBODY: frozenset[str] = frozenset()
_NO_LIMITS: Sequence[Limit] = ()
_SLICE = 500
"""Limits and nodes that are folded at a stretch: a few milliseconds."""
_LOOKED = 20
"""So many nodes where nothing changed count as one that is folded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ordered:
    """What everybody ordered, as known at an instant."""

    limits: Mapping[str, Sequence[Limit]]
    """By node; the lists are replaced and never changed."""
    lost: Mapping[str, frozenset[str]]
    steady: Mapping[str, frozenset[str]]
    now: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class _Fold:
    """A resolution and what it was folded from."""

    node: Node
    limits: Sequence[Limit]
    lost: frozenset[str]
    steady: frozenset[str]
    resolution: Resolution

    def holds(self, node: Node, ordered: Ordered) -> bool:
        """Tell whether it says what folding anew would say."""
        until = self.resolution.until
        return (
            self.node is node
            and self.limits is ordered.limits.get(node.id, _NO_LIMITS)
            and self.resolution.at <= ordered.now
            and (until is None or ordered.now < until)
            and self.lost == ordered.lost.get(node.id, _NOBODY)
            and self.steady == ordered.steady.get(node.id, _NOBODY)
        )


class NodeFolds:
    """Remembers the resolutions of every node of every tenant that people look at."""

    def __init__(self) -> None:
        """Begin with none."""
        self._known: dict[str, dict[str, _Fold]] = {}

    async def resolutions(self, tenant: str, nodes: Sequence[Node], ordered: Ordered) -> list[Resolution]:
        """Return what binds at some nodes, in their order; `Resolution.at` may be earlier than asked for.

        Args:
            tenant: Whose.
            nodes: Nodes of its tree.
            ordered: What is known; it must not change meanwhile.
        """
        known = self._known.setdefault(tenant, {})
        found, work = [], 0
        for node in nodes:
            fold = known.get(node.id)
            if fold is None or not fold.holds(node, ordered):
                fold = known[node.id] = _fold(node, ordered)
                work += _LOOKED * (1 + len(fold.limits))
            found.append(fold.resolution)
            work += 1
            if work >= _SLICE * _LOOKED:
                work = 0
                await asyncio.sleep(0)
        return found

    def forget(self, tenant: str, kept: Mapping[str, Node]) -> None:
        """Forget nodes that are not in the tree any more."""
        known = self._known.get(tenant, {})
        if len(known) > len(kept):
            self._known[tenant] = {name: fold for name, fold in known.items() if name in kept}


def _fold(node: Node, ordered: Ordered) -> _Fold:
    limits = ordered.limits.get(node.id, _NO_LIMITS)
    lost, steady = ordered.lost.get(node.id, _NOBODY), ordered.steady.get(node.id, _NOBODY)
    resolution = resolve(node, limits, ordered.now, lost=lost, steady=steady)
    return _Fold(node=node, limits=limits, lost=lost, steady=steady, resolution=resolution)
