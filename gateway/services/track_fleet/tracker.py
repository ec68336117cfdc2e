"""Keeps the fleet of every tenant: loads it from rows, takes sessions and measurements in, closes delivery periods."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

import numpy as np
import numpy.typing as npt

from gateway.domain.clock_steps import ClockSteps
from gateway.domain.errors import InvalidInput, NotFound, StorageUnavailable
from gateway.domain.evidence import AuditEntry, content_hash
from gateway.domain.fleet import FleetView, RegisterReading, TelemetryBatch
from gateway.domain.identity import Permission, Principal
from gateway.domain.sessions import Session, SessionState
from gateway.domain.settlement import MeteredPeriod
from gateway.domain.topology import (
    Charger,
    ChargerTable,
    ConnectionPoint,
    EnforcementClass,
    Node,
    in_tree_order,
)
from gateway.pending import PendingBatches
from gateway.ports import Batch, Clock, Ids, Put, Store
from gateway.services.track_fleet.admission import StreamMap, check_power, check_sessions
from gateway.services.track_fleet.closing import metered_periods, register_readings
from gateway.services.track_fleet.history import MeterHistory, MeterHistoryKeeper
from gateway.services.track_fleet.state import STEP_S, FleetRows, FleetState, instant
from gateway.turns import beside

FloatArray = npt.NDArray[np.float64]

_MOST_ROWS = 1_000_000
_CHARGERS_AT_ONCE, _NODES_AT_ONCE = 5_000, 500
_MOST_MAPS = 10_000
"""Streams of telemetry that are remembered; the oldest is worked out again when it comes back."""
_REMEMBERED = timedelta(days=1)
"""At a start, the most that flowed beside the chargers within so long counts until it is measured again."""
_TREE_KINDS = frozenset({"Node", "Charger", "ConnectionPoint"})


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackSettings:
    """How measurements are treated; durations in market time."""

    stale_after: timedelta = timedelta(minutes=2)
    """Charger power older than this is unknown."""
    sample_every: timedelta = timedelta(seconds=30)
    """Spacing of the power history of nodes."""
    longest_gap: timedelta = timedelta(minutes=5)
    """Readings across a period's border further apart leave the time between them uncovered."""
    grace: timedelta = timedelta(seconds=60)
    """How long after its end a delivery period waits for late readings."""
    patience: timedelta = timedelta(hours=1)
    """A delivery period of which no meter was read waits so long before it is given up as unknown."""
    most_future: timedelta = timedelta(seconds=60)
    """Measurements further ahead of our clock are refused."""
    retry_after: timedelta = timedelta(seconds=10)
    """Pause before a failed write is tried again."""
    best_class: Mapping[tuple[str, str], EnforcementClass] = field(default_factory=dict)
    """Best class of targets by tenant and platform, whatever the inventory says: some ways to a platform know no fallback."""


class FleetTracker:
    """Owner of the live arrays; one for all tenants."""

    def __init__(
        self, *, store: Store, clock: Clock, ids: Ids, tenants: Sequence[str], settings: TrackSettings | None = None
    ) -> None:
        """Remember the ports; `load` fills the arrays.

        Args:
            store: Rows.
            clock: Market time.
            ids: Ids of audit entries.
            tenants: Whose fleets are tracked.
            settings: How measurements are treated.
        """
        self._store = store
        self._clock = clock
        self._ids = ids
        self._tenants = tuple(tenants)
        self._settings = TrackSettings() if settings is None else settings
        self._histories = MeterHistoryKeeper(store, clock, ids)
        self._states: dict[str, FleetState] = {}
        self._maps: dict[tuple[str, str | None, int, int], StreamMap] = {}
        self._pending = PendingBatches(store)
        self._late: list[tuple[str, list[Session]]] = []
        """By reload under way: reports of sessions that came while rows were read."""
        self._clock_steps = ClockSteps()
        self._changed_trees: set[str] = set()
        self._tree_changed = asyncio.Event()
        self.on_tree: list[Callable[[str], None]] = []
        """Called with the tenant as soon as its tree is another, before `on_change`: who knows chargers by place follows here."""
        self.on_change: list[Callable[[str], None]] = []
        """Called with the tenant when cars arrived, changed or left, or the tree changed."""
        self.on_measurement: list[Callable[[str], None]] = []
        """Called with the tenant when measurements were taken in."""

    async def load(self) -> None:
        """Build the fleet of every tenant from rows."""
        for tenant in self._tenants:
            await self.reload(tenant)
            await self._remember_other_load(tenant)

    async def _remember_other_load(self, tenant: str) -> None:
        """Let what flowed beside the chargers lately count until it is measured again: unknown is not zero."""
        state, now = self._state(tenant), self._clock.now()
        rows = await self._store.find(
            MeteredPeriod, tenant, since=now - _REMEMBERED, until=now, newest_first=True, limit=_MOST_ROWS
        )
        state.remember_other_load([row.record for row in rows])

    async def reload(self, tenant: str) -> None:
        """Build one tenant's fleet again, after its tree changed; measurements are kept."""
        late: list[Session] = []
        self._late.append((tenant, late))
        try:
            state = await self._built(tenant)
        finally:
            self._late = [one for one in self._late if one[1] is not late]
        older = self._states.get(tenant)
        if older is not None:
            state.carry_over(older)
        state.put_sessions(late)
        self._states[tenant] = state
        self._maps = {key: value for key, value in self._maps.items() if key[0] != tenant}
        for callback in (*self.on_tree, *self.on_change):
            callback(tenant)

    async def _built(self, tenant: str) -> FleetState:
        state = FleetState(
            await self._rows(tenant),
            now=self._clock.now().timestamp(),
            longest_gap_s=self._settings.longest_gap.total_seconds(),
            sample_every_s=self._settings.sample_every.total_seconds(),
        )
        await self._load_sessions(tenant, state)
        return state

    async def _rows(self, tenant: str) -> FleetRows:
        find = self._store.find
        nodes = in_tree_order([row.record for row in await find(Node, tenant, limit=_MOST_ROWS)])
        return FleetRows(
            nodes=nodes,
            chargers=await self._chargers(tenant, nodes),
            points=[row.record for row in await find(ConnectionPoint, tenant, limit=_MOST_ROWS)],
            readings=[row.record for row in await find(RegisterReading, tenant, limit=_MOST_ROWS)],
        )

    async def _chargers(self, tenant: str, nodes: Sequence[Node]) -> ChargerTable:
        """Read the chargers of some nodes at a time: rows of all at once take much memory."""
        place, parts = {node.id: i for i, node in enumerate(nodes)}, [ChargerTable.of((), {})]
        for at in range(0, len(nodes), _NODES_AT_ONCE):
            where = {"parent": [node.id for node in nodes[at : at + _NODES_AT_ONCE]]}
            rows = await self._store.find(Charger, tenant, where, limit=_MOST_ROWS)
            parts.append(ChargerTable.of([self._as_counted(row.record) for row in rows], place))
        return ChargerTable.joined(parts)

    async def _load_sessions(self, tenant: str, state: FleetState) -> None:
        """Let cars that are plugged in be at their chargers, some chargers at a time: rows of all at once take much memory."""
        charger_ids = state.tree.charger_ids
        for at in range(0, len(charger_ids), _CHARGERS_AT_ONCE):
            where = {"state": SessionState.PLUGGED_IN.value, "charger": charger_ids[at : at + _CHARGERS_AT_ONCE]}
            rows = await self._store.find(Session, tenant, where, limit=_MOST_ROWS)
            state.put_sessions(sorted((row.record for row in rows), key=lambda s: (s.arrival, s.id)))

    def _as_counted(self, charger: Charger) -> Charger:
        """Return a charger with the class that the way to its platform allows at best."""
        best = self._settings.best_class.get((charger.tenant, charger.csms), charger.enforcement)
        counted = max(charger.enforcement, best, key=lambda one: one.value)
        return charger if counted is charger.enforcement else replace(charger, enforcement=counted)

    def view(self, tenant: str) -> FleetView:
        """Return the fleet as it is known now.

        Raises:
            NotFound: The tenant is not tracked.
        """
        stale_after_s = self._settings.stale_after.total_seconds()
        self._follow_clock()
        return self._state(tenant).view(self._clock.now().timestamp(), stale_after_s)

    def power(self, tenant: str) -> tuple[FloatArray, FloatArray]:
        """Return what a tenant's chargers were last measured to draw, as a view has it, and when, shape (C,) each; to be read at once.

        Raises:
            NotFound: The tenant is not tracked.
        """
        state, stale_after_s = self._state(tenant), self._settings.stale_after.total_seconds()
        self._follow_clock()
        return state.known_power_kw(self._clock.now().timestamp(), stale_after_s), state.power_at

    def charger_ids(self, tenant: str) -> Sequence[str]:
        """Return the chargers of a tenant's tree as it is now, in the order of every array.

        Raises:
            NotFound: The tenant is not tracked.
        """
        return self._state(tenant).tree.charger_ids

    def find_node(self, tenant: str, node_id: str) -> Node | None:
        """Return a node of a tenant's tree; None when there is none."""
        state = self._states.get(tenant)
        return None if state is None else state.node_of.get(node_id)

    def find_charger(self, tenant: str, charger_id: str) -> Node | None:
        """Return a charger of a tenant as the node that limits of its own bind at; None when there is none."""
        state = self._states.get(tenant)
        place = None if state is None else state.chargers.find(charger_id)
        return None if state is None or place is None else state.charger_as_node(tenant, place)

    def other_kw(self, tenant: str, node_id: str) -> float:
        """Return what flows at the connection points at and below a node beside the chargers, in kW; below 0 it feeds in.

        What is not measured counts at the most that was ever seen, and never as generation; no connection point is 0.
        """
        state = self._state(tenant)
        return state.other.kw(state.points_below(node_id), self._clock.now().timestamp())

    def node_power(self, tenant: str, node_id: str, since: datetime) -> tuple[list[datetime], FloatArray]:
        """Return the recent past of what the chargers below a node drew.

        Returns:
            Instants and power in kW (NaN unknown), oldest first, bounded in number.

        Raises:
            NotFound: The tenant is not tracked or has no such node.
        """
        state = self._state(tenant)
        if node_id not in state.tree.node_ids:
            raise NotFound("node", node_id)
        times, power_kw = state.ring.since(state.tree.node_index(node_id), since.timestamp())
        return [instant(seconds) for seconds in times.tolist()], power_kw

    async def report_sessions(
        self, principal: Principal, sessions: Sequence[Session], *, is_history: bool, request_id: str
    ) -> int:
        """Keep reports of sessions, all or none, and return how many.

        Args:
            principal: The reporting platform.
            sessions: What it says; the newest report of a session is what holds.
            is_history: Past sessions that only teach the forecasts: they must have ended and change nothing live.
            request_id: Idempotency key.

        Raises:
            InvalidInput: A session names a charger that is not the platform's, or cannot be.
            RequestReused: The request id was used with other content.
            StorageUnavailable: Nothing was kept.
        """
        principal.require(Permission.FLEET_WRITE)
        if not request_id:
            raise InvalidInput("request_id", "is required")
        state = self._state(principal.tenant)
        latest = self._clock.now() + self._settings.most_future
        check_sessions(principal, sessions, state, latest=latest, is_history=is_history)
        request_hash = await beside(len(sessions), partial(content_hash, [is_history, tuple(sessions)]))
        known = await self._store.replay(principal.tenant, request_id, request_hash)
        if known is not None:
            if not is_history:
                # Whoever reported first may have gone before it was taken in.
                self._take_sessions(principal.tenant, await self._as_written(principal.tenant, sessions))
            return int(known)
        entry = AuditEntry(
            id=self._ids.new("audit"),
            tenant=principal.tenant,
            at=self._clock.now(),
            actor=principal.actor,
            action="session.report",
            object_kind="session",
            object_id=request_id,
            detail={"count": str(len(sessions)), "is_history": str(is_history)},
            request_id=request_id,
        )
        await self._store.apply(
            Batch(
                tenant=principal.tenant,
                puts=tuple(Put(record=session) for session in sessions),
                audit=(entry,),
                request_id=request_id,
                request_hash=request_hash,
                response=str(len(sessions)),
            )
        )
        if not is_history:
            self._take_sessions(principal.tenant, sessions)
        return len(sessions)

    async def report_meter_history(self, principal: Principal, history: MeterHistory, *, request_id: str) -> int:
        """Keep past delivery periods of a meter where nothing is known of them, and return how many.

        Args:
            principal: The reporting platform.
            history: What the meter counted.
            request_id: Idempotency key.

        Raises:
            InvalidInput: There is no request id, or a period is not over yet.
            NotFound: The tenant has no such connection point, or the platform has no charger at its site.
            RequestReused: The request id was used with other content.
            Conflict: One of the periods was metered in this moment; try again.
            StorageUnavailable: Nothing was kept.
        """
        principal.require(Permission.TELEMETRY_WRITE)
        return await self._histories.keep(principal, self._state(principal.tenant), history, request_id=request_id)

    async def _as_written(self, tenant: str, sessions: Sequence[Session]) -> list[Session]:
        """Return what is on disk of some sessions: newer reports than these may be."""
        rows = [await self._store.get(Session, tenant, session.id) for session in sessions]
        return [row.record for row in rows if row is not None]

    def _take_sessions(self, tenant: str, sessions: Sequence[Session]) -> None:
        state = self._states[tenant]
        state.put_sessions(sessions)
        for name, late in self._late:
            if name == tenant:
                late.extend(sessions)
        for callback in self.on_change:
            callback(tenant)

    def take_telemetry(self, principal: Principal, batch: TelemetryBatch) -> None:
        """Take measurements in; arrays only, nothing is stored until the delivery period closes.

        Raises:
            InvalidInput: A charger or connection point is not the caller's, the instant lies ahead of our clock, or power is not in kW.
        """
        principal.require(Permission.TELEMETRY_WRITE)
        state = self._state(principal.tenant)
        self._follow_clock()
        if batch.measure_time > self._clock.now() + self._settings.most_future:
            raise InvalidInput("measure_time", "lies in the future")
        at = batch.measure_time.timestamp()
        where = self._stream_map(principal, batch, state)
        check_power(batch, state.max_kw[where.chargers[batch.charger_index]])
        state.measure(where.chargers[batch.charger_index], batch, at)
        if batch.meter_register_kwh.size:
            state.meter_bank.take(where.points, batch.meter_register_kwh, at, may_fall=True)
            state.other.take(where.points, batch.meter_register_kwh, at, state.charger_bank.register_kwh)
        if state.ring.is_due(at):
            stale_after_s = self._settings.stale_after.total_seconds()
            state.ring.add(at, state.node_power_kw(self._clock.now().timestamp(), stale_after_s))
        for callback in self.on_measurement:
            callback(principal.tenant)

    def _follow_clock(self) -> None:
        """Move what was measured along when the clock was set back: else it would count as the newest until it is that time again.

        Set forward, it is old, and what comes next is newer.
        """
        step_s = self._clock_steps.seconds(self._clock.now(), self._clock.monotonic())
        if step_s < 0.0:
            for state in self._states.values():
                state.shift(step_s)

    def _stream_map(self, principal: Principal, batch: TelemetryBatch, state: FleetState) -> StreamMap:
        # The map keeps the tuples alive, so that their ids stay theirs.
        key = (principal.tenant, principal.csms, id(batch.charger_ids), id(batch.connection_point_ids))
        known = self._maps.get(key)
        if known is None:
            known = StreamMap.build(principal, batch, state)
            if len(self._maps) >= _MOST_MAPS:
                del self._maps[next(iter(self._maps))]
            self._maps[key] = known
        return known

    async def run(self) -> None:
        """Close delivery periods as they end and follow changes of the tree, for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._close_for_ever())
            tasks.create_task(self._listen_for_ever())
            tasks.create_task(self._reload_for_ever())

    async def _close_for_ever(self) -> None:
        grace_s = self._settings.grace.total_seconds()
        while True:
            while not await self.close_periods():
                await self._clock.sleep(self._settings.retry_after)
            now = self._clock.now().timestamp()
            await self._clock.sleep_until(instant((now - grace_s) // STEP_S * STEP_S + STEP_S + grace_s))

    async def close_periods(self) -> bool:
        """Account for every delivery period that is over and store it.

        Returns:
            True when everything is on disk; False when the store was unavailable and what is pending must be tried again.
        """
        for tenant in list(self._states):
            while self._is_over(self._states[tenant]):
                self._pending.add(await self._closing_batch(tenant, self._states[tenant]))
                await self._pending.write()
        return await self._pending.write()

    def _is_over(self, state: FleetState) -> bool:
        """Tell whether the oldest open period can be accounted for: its readings are in, or nobody will bring them."""
        end, now = state.meter_bank.closed_until + STEP_S, self._clock.now().timestamp()
        newest = max(state.meter_bank.newest_reading, state.charger_bank.newest_reading)
        wait = self._settings.grace if newest >= end else self._settings.patience
        return now >= end + wait.total_seconds()

    async def _closing_batch(self, tenant: str, state: FleetState) -> Batch:
        """Account for the oldest open period; after a long downtime a restart goes on from the last of many."""
        meters, chargers = state.meter_bank.close(), state.charger_bank.close()
        periods = metered_periods(tenant, state, meters, chargers)
        readings: list[RegisterReading] = []
        if not self._is_over(state):
            rows = partial(register_readings, tenant, state, meters, chargers)
            readings = await beside(len(state.chargers), rows)
        detail = {"connection_points": str(len(periods))}
        if meters.repeated_kwh != 0.0:
            detail["repeated_kwh"] = f"{meters.repeated_kwh:.3f}"
        entry = AuditEntry(
            id=self._ids.new("audit"),
            tenant=tenant,
            at=self._clock.now(),
            actor="system:track-fleet",
            action="metered.close",
            object_kind="metered",
            object_id=instant(meters.start).isoformat(),
            detail=detail,
        )
        return Batch(tenant=tenant, puts=tuple(Put(record=r) for r in (*periods, *readings)), audit=(entry,))

    async def _listen_for_ever(self) -> None:
        async with self._store.changes(_TREE_KINDS) as changes:
            async for change in changes:
                if change.tenant in self._states:
                    self._changed_trees.add(change.tenant)
                    self._tree_changed.set()

    async def _reload_for_ever(self) -> None:
        while True:
            await self._tree_changed.wait()
            self._tree_changed.clear()
            while self._changed_trees:
                tenant = self._changed_trees.pop()
                try:
                    await self.reload(tenant)
                except StorageUnavailable:
                    self._changed_trees.add(tenant)
                    await self._clock.sleep(self._settings.retry_after)

    def _state(self, tenant: str) -> FleetState:
        try:
            return self._states[tenant]
        except KeyError as error:
            raise NotFound("fleet", tenant) from error
