"""Owns the control loop of every tenant and the open streams of the platforms."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

import numpy as np

from gateway.domain.bids import Schedule
from gateway.domain.dispatch import DispatchState
from gateway.domain.errors import InvalidInput, NotFound, PermissionRefused, StorageUnavailable
from gateway.domain.identity import Permission, Principal
from gateway.domain.limits import Limit, resolve
from gateway.domain.platforms import IndexArray, Platforms
from gateway.domain.series import CarbonSeries
from gateway.domain.signals import ResourceStatus
from gateway.domain.simulation import SimulatedLimit
from gateway.domain.timegrid import Interval, TimeGrid
from gateway.observe import DISPATCH_SECONDS, logger
from gateway.ports import Clock, Ids, Store
from gateway.services.plan_dispatch.control import Control
from gateway.services.plan_dispatch.link import DispatchLink, LinkOrigin, read_resume_token
from gateway.services.plan_dispatch.picture import ControlPorts
from gateway.services.plan_dispatch.reach import LastStream, Reach, read_reach
from gateway.services.plan_dispatch.settings import CommandDesk, DispatchSettings, DispatchSources, OperatorLine
from gateway.services.plan_dispatch.simulation import FloatArray, LimitSimulator
from gateway.services.plan_dispatch.status import StatusFacts, read_status
from gateway.services.plan_dispatch.streams import StreamState, read_streams
from gateway.services.plan_dispatch.wants import promised_power_kw

_log = logger("dispatch")

_MANY_STREAMS = 50
"""Fewer open streams are served one by one, at once."""
_GATHER_S, _LONGEST_GATHER_S = 0.001, 0.5
"""Real seconds per open stream, and at most, that a new stream waits for others before its commands are worked out."""
_BEAT_REAL_SECONDS = 1.0
"""While nothing is to be done, the loop turns at least so often."""
_READ = (Schedule, CarbonSeries)
"""Rows by which set points are worked out, read again whenever one changes."""
_TROUBLED = (DispatchState.REJECTED, DispatchState.TIMED_OUT, DispatchState.NOT_FOLLOWING)


class Dispatcher:
    """Keeps every charger inside every limit; implements `ports.StatusDesk`."""

    def __init__(  # noqa: PLR0913  # each is a seam of its own
        self,
        *,
        store: Store,
        clock: Clock,
        ids: Ids,
        tenants: Sequence[str],
        desk: CommandDesk,
        sources: DispatchSources,
        settings: DispatchSettings | None = None,
    ) -> None:
        """Remember the ports; `load` reads commands in force and schedules.

        Args:
            store: Rows.
            clock: Market time.
            ids: Ids of commands and audit entries.
            tenants: Whose chargers are dispatched.
            desk: Who keeps what becomes of commands.
            sources: Fleet, limits and beliefs, all from memory.
            settings: How limits are kept and changed.
        """
        self._store = store
        self._clock = clock
        self._started_at = clock.now()
        self._sources = sources
        self._desk = desk
        self._settings = DispatchSettings() if settings is None else settings
        ports = ControlPorts(store=store, clock=clock, ids=ids, desk=desk, sources=sources)
        self._controls = {tenant: Control(tenant=tenant, ports=ports, settings=self._settings) for tenant in tenants}
        self._simulator = LimitSimulator(clock=clock, sources=sources, control=self._control)
        self._due: dict[str, datetime] = {}
        self._looked: dict[str, datetime] = {}
        self._woken: dict[str, float] = {}
        self._coming: set[str] = set()
        self._wake = asyncio.Event()
        self._asked = asyncio.Event()
        self._unread: set[tuple[str, str]] = set()
        """Tenants and kinds of rows that changed since they were read."""
        self._changed = asyncio.Event()
        self.on_turn: list[Callable[[], None]] = []
        """Called whenever the loop turns, at least every second: who wants to know that it is not wedged."""

    async def load(self) -> None:
        """Go on from rows."""
        for control in self._controls.values():
            await control.load()

    def wake(self, tenant: str) -> None:
        """Look at a tenant at once: a limit, a car or a stream changed. Called from callbacks of other services."""
        if tenant in self._controls:
            self._woken.setdefault(tenant, asyncio.get_running_loop().time())
            self._wake.set()

    def follow_tree(self, tenant: str) -> None:
        """Bring open streams to a tenant's tree as it is now, before anything else is told of it."""
        if tenant in self._controls:
            self._controls[tenant].follow_tree()

    def is_due(self, tenant: str) -> bool:
        """Tell whether a tenant is to be looked at now: it was woken, its next look is due, or the clock went back."""
        now = self._clock.now()
        looked_at = self._looked.get(tenant, now)
        return tenant in self._woken or self._due.get(tenant, now) <= now or now < looked_at

    def next_look(self, tenant: str) -> datetime:
        """Return when a tenant is looked at next at the latest."""
        return self._due.get(tenant, self._clock.now())

    async def run(self) -> None:
        """Keep every tenant inside its limits, for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._step_for_ever())
            tasks.create_task(self._plan_for_ever())
            tasks.create_task(self._listen_for_ever())
            tasks.create_task(self._read_for_ever())
            tasks.create_task(self._save_for_ever())

    async def step(self, tenant: str) -> None:
        """Bring one tenant's set points where they should be now."""
        woken_at = self._woken.pop(tenant, None)
        self._looked[tenant] = self._clock.now()
        control = self._controls[tenant]
        self._due[tenant] = await control.step()
        if control.exact.is_asked:
            self._asked.set()
        left_at = control.sender.take_left_at()
        if woken_at is not None and left_at is not None:
            DISPATCH_SECONDS.observe(left_at - woken_at)

    async def plan(self, tenant: str) -> bool:
        """Work out the exact set points that a tenant's last step asked for; return whether that was anything: then look again."""
        return await self._controls[tenant].exact.answer()

    async def _plan_for_ever(self) -> None:
        """Plan beside the loop: limits are kept meanwhile, however long it takes."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            for tenant in self._controls:
                if await self.plan(tenant):
                    self.wake(tenant)

    async def save(self) -> bool:
        """Write the commands that went out from memory.

        Returns:
            True when everything is on disk; False when the store was unavailable: call again.
        """
        return all([await control.sender.backlog.save() for control in self._controls.values()])

    async def _save_for_ever(self) -> None:
        while True:
            await self._clock.sleep(self._settings.tick)
            await self.save()

    async def _step_for_ever(self) -> None:
        while True:
            self._wake.clear()
            self._beat()
            for tenant in self._controls:
                if self.is_due(tenant):
                    await self.step(tenant)
            await self._pause(min(self._due.values(), default=self._clock.now() + self._settings.tick))

    async def _pause(self, until: datetime) -> None:
        """Return at an instant of market time or when woken, whichever comes first."""
        async with asyncio.TaskGroup() as tasks:
            alarm = tasks.create_task(self._ring(until))
            while not self._wake.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(_BEAT_REAL_SECONDS):
                        await self._wake.wait()
                self._beat()
            alarm.cancel()

    def _beat(self) -> None:
        for tell in self.on_turn:
            tell()

    async def _ring(self, at: datetime) -> None:
        # A duration: whatever happens to the clock meanwhile, the next look comes in time.
        await self._clock.sleep(max(at - self._clock.now(), timedelta(0)))
        self._wake.set()

    async def _listen_for_ever(self) -> None:
        async with self._store.changes({kind.__name__ for kind in _READ}) as changes:
            async for change in changes:
                if change.tenant in self._controls:
                    self._unread.add((change.tenant, change.kind))
                    self._changed.set()

    async def _read_for_ever(self) -> None:
        """Read what changed: many rows that are written together are read once, and limits are kept meanwhile."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            while self._unread:
                tenant, kind = self._unread.pop()
                control = self._controls[tenant]
                try:
                    await (control.load_schedules() if kind == Schedule.__name__ else control.load_carbon())
                except StorageUnavailable as error:
                    _log.warning("what changed is read again", tenant=tenant, kind=kind, reason=str(error))
                    self._unread.add((tenant, kind))
                    await self._clock.sleep(self._settings.tick)
                else:
                    self.wake(tenant)

    async def connect(
        self, principal: Principal, charger_ids: Sequence[str], resume_token: str, *, lease: timedelta | None = None
    ) -> DispatchLink:
        """Open the stream of a charging platform; an older stream of the same platform ends.

        Args:
            principal: The platform.
            charger_ids: Chargers that it commands; positions in this list are the charger index of the stream.
            resume_token: Of the last message that it applied; empty at the first start.
            lease: How long its commands hold; None for as long as everybody's. Platforms that can be told only now and then, or
                whose chargers wear their flash with every command, take longer ones.

        Raises:
            PermissionRefused: The caller is not a charging platform.
            InvalidInput: A charger is not the platform's or is named twice.
            ResumeTokenExpired: The token is not one of this platform's.
            StorageUnavailable: Nothing is known of this platform and the store does not answer.
        """
        principal.require(Permission.DISPATCH_CONNECT)
        if principal.csms is None:
            raise PermissionRefused(Permission.DISPATCH_CONNECT.value)
        control = self._control(principal.tenant)
        await control.sender.load_platform(principal.csms)
        places = _require_own(control.follow_tree(), principal.csms, tuple(charger_ids))
        known = control.sender.sequence_of(principal.csms)
        applied = read_resume_token(resume_token, principal.csms, known)
        control.sender.know_sequence(principal.csms, applied)
        origin = LinkOrigin(
            tenant=principal.tenant,
            csms=principal.csms,
            charger_ids=tuple(charger_ids),
            lease=self._settings.lease if lease is None else lease,
            resumed_sequence=applied,
        )
        link = DispatchLink(
            origin=origin, desk=self._desk, on_close=self._closed, on_reach=self.wake, now=self._clock.now
        )
        link.bind(places)
        older = control.links.get(principal.csms)
        if older is not None:
            older.supersede()
        self._desk.resumed(principal.tenant, link.places, applied)
        control.links[principal.csms] = link
        control.gone.pop(principal.csms, None)
        self._wake_soon(principal.tenant, len(control.links))
        return link

    def _wake_soon(self, tenant: str, stream_count: int) -> None:
        """Look at a tenant in a moment: when thousands of streams come back, one look serves many of them."""
        if stream_count < _MANY_STREAMS:
            self.wake(tenant)
            return
        if tenant in self._coming:
            return
        self._coming.add(tenant)

        def come() -> None:
            self._coming.discard(tenant)
            self.wake(tenant)

        asyncio.get_running_loop().call_later(min(_GATHER_S * stream_count, _LONGEST_GATHER_S), come)

    def _closed(self, link: DispatchLink) -> None:
        links = self._control(link.tenant).links
        if links.get(link.csms) is link:
            del links[link.csms]
            last = LastStream(ended_at=self._clock.now(), heard_at=link.heard_at, lease=link.lease)
            self._control(link.tenant).gone[link.csms] = last
            self._wake_soon(link.tenant, len(links))

    def headline(self, tenant: str, node_id: str) -> OperatorLine:
        """Return the state of a node in one line.

        Raises:
            NotFound: There is no such node.
        """
        view, now = self._sources.fleet(tenant), self._clock.now()
        if node_id not in view.nodes:
            raise NotFound("node", node_id)
        limits = self._sources.limits(tenant).get(node_id, ())
        lost = self._sources.lost(tenant).get(node_id, frozenset())
        steady = self._sources.steady(tenant).get(node_id, frozenset())
        resolution = resolve(view.nodes[node_id], limits, now, lost=lost, steady=steady)
        measured = float(view.node_power_kw()[view.tree.node_index(node_id)])
        is_troubled = np.isin(self._desk.book(tenant).state, _TROUBLED) & view.tree.below(node_id)
        return OperatorLine(
            node_id=node_id,
            limit_kw=resolution.kw,
            measured_kw=None if np.isnan(measured) else measured,
            why=resolution.why(),
            not_following=tuple(view.tree.charger_ids[i] for i in np.flatnonzero(is_troubled).tolist()),
        )

    async def status(self, principal: Principal, node: str) -> ResourceStatus:
        """Return how the chargers below a node are now (`ports.StatusDesk`).

        Raises:
            PermissionRefused: The caller may read neither evidence nor the fleet.
            NotFound: This tenant has no such node.
        """
        if not principal.may(Permission.FLEET_READ):
            principal.require(Permission.EVIDENCE_READ)
        control, view = self._control(principal.tenant), self._sources.fleet(principal.tenant)
        if node not in view.nodes:
            raise NotFound("node", node)
        facts = StatusFacts(
            view=view,
            limits=self._sources.limits(principal.tenant),
            lost=self._sources.lost(principal.tenant),
            steady=self._sources.steady(principal.tenant),
            is_connected=control.is_connected(len(view.max_kw)),
            short_nodes=control.compliance.nodes,
        )
        return read_status(facts, node, self._clock.now())

    def promised_kw(self, tenant: str, node_id: str, span: Interval) -> float:
        """Return the mean power that promises to drivers below a node need within a span, in kW.

        Counted is what a car must draw in the span because it cannot draw it at full rate before or after; only drivers who said
        how much and until when were promised anything. Limits of the tree are left out: they bind whatever is promised.

        Raises:
            NotFound: There is no such node.
        """
        self._control(tenant)
        view = self._sources.fleet(tenant)
        if node_id not in view.nodes:
            raise NotFound("node", node_id)
        needed = promised_power_kw(view, span, self._clock.now().timestamp())
        return float(view.levels.totals(needed)[view.tree.node_index(node_id)])

    def uncontrolled_kw(self, tenant: str, node_id: str) -> float:
        """Return the most that chargers below a node may be drawing that nobody can command now, in kW.

        Counted are cars at chargers whose platform is away, and at those that refuse, are silent or draw more than they may.

        Raises:
            NotFound: There is no such node.
        """
        picture = self._control(tenant).look()
        if node_id not in picture.view.nodes:
            raise NotFound("node", node_id)
        loose = np.where(picture.is_loose & picture.is_present, picture.counted_kw, 0.0)
        return float(picture.view.levels.totals(loose)[picture.view.tree.node_index(node_id)])

    async def simulate(self, principal: Principal, limit: Limit) -> SimulatedLimit:
        """Return what a limit would do if it were set now; nothing is written.

        Args:
            principal: Who asks.
            limit: As it would be set.

        Raises:
            PermissionRefused: The caller may not read limits and cars.
            NotFound: There is no such node.
        """
        return await self._simulator.simulate(principal, limit)

    def expected_kw(self, tenant: str, node_id: str, grid: TimeGrid) -> tuple[FloatArray, str]:
        """Return what a node is expected to draw per slot of a grid, and where that comes from, see `LimitSimulator.expected`."""
        return self._simulator.expected(tenant, node_id, grid)

    def streams(self, tenant: str) -> tuple[StreamState, ...]:
        """Return how the stream of every platform is that has chargers in the tree."""
        control, book = self._control(tenant), self._desk.book(tenant)
        return read_streams(self._sources.fleet(tenant), book, control.links, control.gone, self._clock.now())

    def reach(self, tenant: str) -> Reach:
        """Return which chargers can be commanded now, since when the others cannot, and how long each goes on without us."""
        control = self._control(tenant)
        return read_reach(
            self._sources.fleet(tenant),
            control.links,
            control.gone,
            lease=self._settings.lease,
            started_at=self._started_at,
        )

    def _control(self, tenant: str) -> Control:
        try:
            return self._controls[tenant]
        except KeyError as error:
            raise NotFound("tenant", tenant) from error


def _require_own(platforms: Platforms, csms: str, charger_ids: tuple[str, ...]) -> IndexArray:
    """Return where a platform's chargers are in the tree, each of them its own and named once."""
    places = platforms.own_places(csms, charger_ids)
    is_first = np.zeros(len(places), dtype=bool)
    is_first[np.unique(places, return_index=True)[1]] = True
    for is_wrong, problem in ((places < 0, "is not a charger of this platform"), (~is_first, "is named twice")):
        if is_wrong.any():
            raise InvalidInput(f"hello.charger_ids[{int(np.argmax(is_wrong))}]", problem)
    return places
