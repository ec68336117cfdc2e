"""The events and limits of one tenant that may still matter, in memory; rebuilt from rows."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from gateway.domain.limits import Limit, LimitKind
from gateway.domain.signals import GridEvent

_KEPT_AFTER_END = timedelta(days=1)
_UNSAVED = " (not on disk yet)"
"""Behind the name of an authority: its unsaved limits bind beside its others and never in their place."""


class LimitLedger:
    """What is in force or to come. What is on disk and what could not be written yet are kept apart."""

    def __init__(self) -> None:
        """Begin empty."""
        self.events: dict[str, GridEvent] = {}
        self.limits: dict[str, Limit] = {}
        self._unsaved: dict[str, Limit] = {}
        self._by_node: dict[str, list[Limit]] | None = None

    def load(self, events: Iterable[GridEvent], limits: Iterable[Limit], now: datetime) -> None:
        """Take over rows; what ended long ago is left out."""
        self.events = {event.id: event for event in events}
        self.limits = {limit.id: limit for limit in limits}
        self.prune(now)

    def prune(self, now: datetime) -> None:
        """Forget what ended more than a day ago."""
        horizon = now - _KEPT_AFTER_END
        self.events = {key: event for key, event in self.events.items() if not _has_ended(event.active.end, horizon)}
        self.limits = {key: limit for key, limit in self.limits.items() if not _is_over(limit, horizon)}
        self._unsaved = {key: limit for key, limit in self._unsaved.items() if not _is_over(limit, now)}
        self._by_node = None

    def commit(self, events: Iterable[GridEvent], limits: Iterable[Limit]) -> None:
        """Take over what is on disk now; what was held for the same authorities is superseded."""
        events, limits = list(events), list(limits)
        self.events |= {event.id: event for event in events}
        self.limits |= {limit.id: limit for limit in limits}
        spoken = {limit.authority for limit in limits} | {event.authority for event in events}
        spoken = {f"{authority}{_UNSAVED}" for authority in spoken}
        self._unsaved = {key: limit for key, limit in self._unsaved.items() if limit.authority not in spoken}
        self._by_node = None

    def hold(self, limits: Iterable[Limit]) -> None:
        """Apply limits that could not be written: they reduce at once and open nothing."""
        self._unsaved |= {
            limit.id: replace(limit, authority=f"{limit.authority}{_UNSAVED}")
            for limit in limits
            if limit.withdrawn_at is None and limit.kind is LimitKind.LIMIT
        }
        self._by_node = None

    def of_authority(self, authority: str) -> tuple[list[GridEvent], list[Limit]]:
        """Return what one authority said."""
        events = [event for event in self.events.values() if event.authority == authority]
        return events, [limit for limit in self.limits.values() if limit.authority == authority]

    def at_node(self, node_id: str) -> Sequence[Limit]:
        """Return all limits of a node."""
        return self.by_node().get(node_id, ())

    def by_node(self) -> dict[str, list[Limit]]:
        """Return all limits, grouped by node."""
        if self._by_node is None:
            self._by_node = {}
            for limit in (*self.limits.values(), *self._unsaved.values()):
                self._by_node.setdefault(limit.node, []).append(limit)
        return self._by_node


def _is_over(limit: Limit, instant: datetime) -> bool:
    return _has_ended(limit.interval.end, instant) or _has_ended(limit.withdrawn_at, instant)


def _has_ended(end: datetime | None, instant: datetime) -> bool:
    return end is not None and end <= instant
