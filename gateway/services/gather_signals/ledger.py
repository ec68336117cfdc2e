"""The events and limits of one tenant that may still matter, in memory; rebuilt from rows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from gateway.domain.limits import OF_EVENT, Limit, LimitKind, NodeLimits
from gateway.domain.signals import GridEvent

KEPT_AFTER_END = timedelta(days=1)
"""What is over is remembered so long: as far as people look back."""
_PRUNED_EVERY = timedelta(minutes=15)
_NEVER = datetime.min.replace(tzinfo=UTC)
UNSAVED = " (not on disk yet)"
"""Behind the name of an authority: its unsaved limits bind beside its others and never in their place."""


class LimitLedger:
    """What is in force or to come. What is on disk and what could not be written yet are kept apart.

    Limits are indexed as they come, so that a message costs what it brings and not what is held.
    """

    def __init__(self) -> None:
        """Begin empty."""
        self.events: dict[str, GridEvent] = {}
        self._limits: dict[str, Limit] = {}
        self._of_node: dict[str, dict[str, Limit]] = {}
        self._of_authority: dict[str, dict[str, Limit]] = {}
        self._spoke_at: dict[str, datetime] = {}
        self._count_at: dict[str, dict[str, int]] = {}
        """By authority: how many limits it has at each node."""
        self._unsaved: dict[str, Limit] = {}
        self._by_node: dict[str, NodeLimits] = {}
        self._changed_nodes: set[str] = set()
        self._pruned_at = _NEVER

    @property
    def limits(self) -> Mapping[str, Limit]:
        """Every limit on disk, by id."""
        return self._limits

    def load(self, events: Iterable[GridEvent], limits: Iterable[Limit], now: datetime) -> None:
        """Take over rows; what ended long ago is left out."""
        self.events = {event.id: event for event in events}
        for limit in list(self._limits.values()):
            self._drop(limit)
        for limit in limits:
            self._keep(limit)
        self._pruned_at = _NEVER
        self.prune(now)

    def prune(self, now: datetime) -> None:
        """Forget what ended more than a day ago; looked at now and then only."""
        self._let_go(limit for limit in self._unsaved.values() if limit.is_over(now))
        if now < self._pruned_at + _PRUNED_EVERY and now >= self._pruned_at:
            return
        self._pruned_at = now
        horizon = now - KEPT_AFTER_END
        self.events = {key: event for key, event in self.events.items() if not _has_ended(event.active.end, horizon)}
        for limit in [limit for limit in self._limits.values() if limit.is_over(horizon)]:
            self._drop(limit)

    def commit(self, events: Iterable[GridEvent], limits: Iterable[Limit]) -> None:
        """Take over what is on disk now.

        It supersedes what was held of the same limits and events, and what was held at the same nodes of an authority that states
        limits: a word about one event or node says nothing about another, nor does one order of a person about the next.
        """
        events, limits = list(events), list(limits)
        self.events |= {event.id: event for event in events}
        for limit in limits:
            self._keep(limit)
        spoken = {f"{OF_EVENT}{event.id}" for event in events}
        anew = (x for x in limits if not (x.cause.startswith(OF_EVENT) or x.is_manual))
        places = {(f"{x.authority}{UNSAVED}", x.node) for x in anew}
        written = {x.id for x in limits}
        held = self._unsaved.values()
        self._let_go(x for x in held if x.id in written or x.cause in spoken or (x.authority, x.node) in places)

    def release(self, authority: str) -> None:
        """Let go of what could not be written of an authority that has no say any more, or has just said everything anew."""
        self._let_go(x for x in self._unsaved.values() if x.authority == f"{authority}{UNSAVED}")

    def let_go(self, limit_ids: Iterable[str]) -> None:
        """Let go of limits that were held and are refused after all."""
        gone = set(limit_ids)
        self._let_go(x for x in self._unsaved.values() if x.id in gone)

    def _let_go(self, unsaved: Iterable[Limit]) -> None:
        for limit in list(unsaved):
            del self._unsaved[limit.id]
            self._changed_nodes.add(limit.node)

    def hold(self, limits: Iterable[Limit]) -> None:
        """Apply limits that could not be written: they reduce at once and open nothing."""
        for limit in limits:
            if limit.withdrawn_at is None and limit.kind is LimitKind.LIMIT:
                before = self._unsaved.get(limit.id, limit)
                self._changed_nodes.add(before.node)
                self._unsaved[limit.id] = replace(limit, authority=f"{limit.authority}{UNSAVED}")
                self._changed_nodes.add(limit.node)

    def held(self, prefix: str) -> list[Limit]:
        """Return what is not on disk of all authorities whose names begin so, under their own names."""
        return [
            replace(x, authority=x.authority.removesuffix(UNSAVED))
            for x in self._unsaved.values()
            if x.authority.startswith(prefix)
        ]

    def of_authority(self, authority: str) -> tuple[list[GridEvent], list[Limit]]:
        """Return what one authority said."""
        events = [event for event in self.events.values() if event.authority == authority]
        return events, list(self._of_authority.get(authority, {}).values())

    def nodes_of(self, authority: str) -> Iterable[str]:
        """Return the nodes at which limits of one authority are known."""
        return self._count_at.get(authority, {})

    def spoke_at(self, authority: str) -> datetime | None:
        """Return when the newest limit of one authority became known; None when it stated none that is remembered."""
        return self._spoke_at.get(authority)

    def of_protocol(self, prefix: str) -> list[Limit]:
        """Return what all authorities said whose names begin so."""
        return [x for name, found in self._of_authority.items() if name.startswith(prefix) for x in found.values()]

    def touching(self, authority: str, nodes: Iterable[str]) -> list[Limit]:
        """Return what one authority said of some nodes."""
        found = (self._of_node.get(node, {}).values() for node in set(nodes))
        return [limit for limits in found for limit in limits if limit.authority == authority]

    def at_node(self, node_id: str) -> Sequence[Limit]:
        """Return all limits of a node."""
        return self.by_node().get(node_id, ())

    def by_node(self) -> dict[str, NodeLimits]:
        """Return all limits, grouped by node; what is known of a node is replaced and never changed."""
        if not self._changed_nodes:
            return self._by_node
        unsaved: dict[str, list[Limit]] = {}
        for limit in self._unsaved.values():
            unsaved.setdefault(limit.node, []).append(limit)
        for node in self._changed_nodes:
            found = NodeLimits([*self._of_node.get(node, {}).values(), *unsaved.get(node, ())])
            if found:
                self._by_node[node] = found
            else:
                self._by_node.pop(node, None)
        self._changed_nodes.clear()
        return self._by_node

    def _keep(self, limit: Limit) -> None:
        before = self._limits.get(limit.id)
        if before is not None:
            self._drop(before)
        self._spoke_at[limit.authority] = max(limit.known_at, self._spoke_at.get(limit.authority, _NEVER))
        if limit.withdrawn_at is not None and limit.withdrawn_at <= limit.interval.start:
            return  # it never applied: of a forecast that is said anew every quarter of an hour that is nearly everything
        self._limits[limit.id] = limit
        self._of_node.setdefault(limit.node, {})[limit.id] = limit
        self._of_authority.setdefault(limit.authority, {})[limit.id] = limit
        count_at = self._count_at.setdefault(limit.authority, {})
        count_at[limit.node] = count_at.get(limit.node, 0) + 1
        self._changed_nodes.add(limit.node)

    def _drop(self, limit: Limit) -> None:
        del self._limits[limit.id]
        for index, key in ((self._of_node, limit.node), (self._of_authority, limit.authority)):
            del index[key][limit.id]
            if not index[key]:
                del index[key]
        count_at = self._count_at[limit.authority]
        count_at[limit.node] -= 1
        if count_at[limit.node] == 0:
            del count_at[limit.node]
        self._changed_nodes.add(limit.node)


def _has_ended(end: datetime | None, instant: datetime) -> bool:
    return end is not None and end <= instant
