"""Who waits at random with a change that a schedule, a wish or the end of a limit brings: the rule of `domain.random_delay`, applied.

What a limit in force demands is clipped before and is never delayed. So that demand response we opted in to does not make all chargers
fall at the instant at which it begins, it is followed early: each charger comes down at a time of its own within the longest delay
before. A delay is added once: chargers that delay by themselves, or whose platform does, are left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from gateway.domain.bids import Schedule
from gateway.domain.fleet import FleetView
from gateway.domain.limits import MANUAL, Binding, Direction, Limit, LimitKind, resolve
from gateway.domain.random_delay import DelayBook, DelayRules, DelaySeed
from gateway.domain.timegrid import Interval
from gateway.domain.topology import Node
from gateway.ports import Batch, Clock, Ids, Put, Store

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_SEED_ID = "random-delay"
_SEED_RANGE = 2.0**53
_SAME_KW = 1e-6
_JUST_BEFORE = timedelta(microseconds=1)
_LOOK_BACK = timedelta(minutes=1)
"""Rows may be known so long after the instant that they tell of."""


class Delays:
    """The random delays of one tenant."""

    def __init__(self, *, tenant: str, store: Store, clock: Clock, ids: Ids, rules: DelayRules) -> None:
        """Begin with nobody waiting.

        Args:
            tenant: Whose chargers.
            store: Where the seed is kept.
            clock: When it was drawn.
            ids: Draws it.
            rules: Where and how long.
        """
        self._tenant = tenant
        self._store = store
        self._clock = clock
        self._ids = ids
        self._rules = rules
        self._seed = 0
        self._charger_ids: Sequence[str] | None = None
        self._book = DelayBook((), 0, rules)
        self._is_delayed = np.zeros(0, dtype=bool)
        self._seen_until: datetime | None = None

    async def load(self) -> None:
        """Read the seed; the first time draw it.

        Raises:
            StorageUnavailable: It can neither be read nor kept.
        """
        if not self._rules.is_on:
            return
        row = await self._store.get(DelaySeed, self._tenant, _SEED_ID)
        if row is None:
            seed = int(self._ids.uniform(0.0, _SEED_RANGE))
            record = DelaySeed(id=_SEED_ID, tenant=self._tenant, seed=seed, drawn_at=self._clock.now())
            await self._store.apply(Batch(tenant=self._tenant, puts=(Put(record=record),)))
        else:
            seed = row.record.seed
        self._seed = seed
        self._charger_ids = None

    def shift(self, seconds: float) -> None:
        """Take the changes of the last time anew after the clock was set by so many seconds."""
        del seconds
        self._charger_ids = None

    def held(
        self, view: FleetView, schedules: Sequence[Schedule], limits: Mapping[str, Sequence[Limit]], now: datetime
    ) -> BoolArray:
        """Return who still waits with a change and keeps its set point, shape (C,).

        Args:
            view: The fleet.
            schedules: What sites shall draw.
            limits: By node.
            now: The instant.
        """
        if not self._rules.is_on:
            return np.zeros(len(view.tree.charger_ids), dtype=bool)
        self._follow_tree(view)
        since = now - self._rules.longest if self._seen_until is None else self._seen_until - _LOOK_BACK
        place = {node_id: i for i, node_id in enumerate(view.tree.node_ids)}
        early = [
            (max(one.interval.start - self._rules.longest, one.known_at), one.node) for one in self._near(limits, now)
        ]
        for at, node_id in (
            *self._of_schedules(schedules, since, now),
            *self._of_limits(view, limits, since, now),
            *early,
        ):
            if node_id in place:
                is_node = np.zeros(len(place), dtype=bool)
                is_node[place[node_id]] = True
                self._book.change(at.timestamp(), view.levels.is_below(is_node) & self._is_delayed)
        self._seen_until = now
        held = self._book.is_held(now.timestamp())
        return held if view.data is None else np.asarray(held & ~view.data.is_boosted)

    def coming(self, limits: Mapping[str, Sequence[Limit]], now: datetime) -> list[Limit]:
        """Return the limits of demand response that begin within the longest delay, as if they began now.

        Only those that we opted in to: whoever may order is followed when the order holds.
        """
        return [replace(one, interval=Interval(start=now, end=one.interval.end)) for one in self._near(limits, now)]

    def lowered(self, view: FleetView, target_kw: FloatArray, ahead_kw: FloatArray) -> FloatArray:
        """Return targets that are not above what demand response will leave, for those who delay; others wait for its begin."""
        self._follow_tree(view)
        return np.asarray(np.where(self._is_delayed, np.minimum(target_kw, ahead_kw), target_kw))

    # ---------------------------------------------------------------- inside

    def _near(self, limits: Mapping[str, Sequence[Limit]], now: datetime) -> list[Limit]:
        if not self._rules.is_on:
            return []
        return [
            limit
            for found in limits.values()
            for limit in found
            if limit.binding is Binding.COMMITTED
            and limit.kind is LimitKind.LIMIT
            and limit.direction is Direction.IMPORT
            and limit.withdrawn_at is None
            and limit.authority not in self._rules.response_authorities
            and now < limit.interval.start <= now + self._rules.longest
        ]

    def _follow_tree(self, view: FleetView) -> None:
        tree = view.tree
        if self._charger_ids is tree.charger_ids:
            return
        self._charger_ids = tree.charger_ids
        self._book = DelayBook(tree.charger_ids, self._seed, self._rules)
        self._seen_until = None
        is_node = np.array([node_id in self._rules.nodes for node_id in tree.node_ids], dtype=bool)
        platform = np.array([name in self._rules.applied_by for name in view.csms_ids], dtype=bool)
        by_itself = np.array([name in self._rules.applied_by for name in tree.charger_ids], dtype=bool)
        by_platform = platform[view.csms_index] if len(platform) else np.zeros(len(by_itself), dtype=bool)
        self._is_delayed = view.levels.is_below(is_node) & ~by_itself & ~by_platform

    def _of_schedules(
        self, schedules: Sequence[Schedule], since: datetime, now: datetime
    ) -> Iterator[tuple[datetime, str]]:
        """Yield when schedules changed what they ask for, or came to be known."""
        for schedule in schedules:
            step = timedelta(minutes=schedule.step_minutes)
            powers = (None, *schedule.power_kw, None)
            first = max(0, (since - schedule.start) // step)
            last = min(len(schedule.power_kw), (now - schedule.start) // step)
            for k in range(first, last + 1):
                at = schedule.start + step * k
                if since < at <= now and powers[k] != powers[k + 1] and not _is_replaced(schedule, schedules, at):
                    yield at, schedule.node
            if since < schedule.made_at <= now and schedule.start < schedule.made_at < _end(schedule):
                yield schedule.made_at, schedule.node

    def _of_limits(
        self, view: FleetView, limits: Mapping[str, Sequence[Limit]], since: datetime, now: datetime
    ) -> Iterator[tuple[datetime, str]]:
        """Yield when a limit at a node was relaxed or a wish changed; who may override is left out."""
        for node_id, found in limits.items():
            node = view.nodes.get(node_id)
            if node is None:
                continue
            borders = {border for limit in found for border in _borders(limit) if since < border <= now}
            for at in sorted(borders):
                if self._asks_for_change(node, found, at):
                    yield at, node_id

    def _asks_for_change(self, node: Node, limits: Sequence[Limit], at: datetime) -> bool:
        before, after = resolve(node, limits, at - _JUST_BEFORE), resolve(node, limits, at)
        if before.authority.startswith(MANUAL) or before.authority in self._rules.response_authorities:
            return False
        return after.kw > before.kw + _SAME_KW or after.optimum_kw != before.optimum_kw


def _is_replaced(schedule: Schedule, schedules: Sequence[Schedule], at: datetime) -> bool:
    """Tell whether a newer schedule of the same node is followed at an instant."""
    return any(
        other.node == schedule.node and schedule.made_at < other.made_at <= at and other.start <= at < _end(other)
        for other in schedules
    )


def _end(schedule: Schedule) -> datetime:
    return schedule.start + timedelta(minutes=schedule.step_minutes) * len(schedule.power_kw)


def _borders(limit: Limit) -> Iterator[datetime]:
    ends = [end for end in (limit.interval.end, limit.withdrawn_at) if end is not None]
    yield limit.interval.start
    if ends:
        yield min(ends)
