"""A small tenant with everything between a grid signal and a charger, on a memory store and a clock moved by hand."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from gateway.domain.authorities import StatedRules
from gateway.domain.calm import CalmRules
from gateway.domain.dispatch import DispatchState
from gateway.domain.fleet import TelemetryBatch
from gateway.domain.follow_rules import FollowRules
from gateway.domain.identity import Principal, Role, system_principal
from gateway.domain.sessions import Session, SessionState
from gateway.domain.signals import EventInterval, GridEvent, Instruction, RawSignal
from gateway.domain.timegrid import Interval, TimeGrid
from gateway.domain.topology import Charger, ConnectionPoint, EnforcementClass, Node, NodeKind
from gateway.ports import ReceivedEvents, Store
from gateway.services.decide_opt import OptDecider, OptRules
from gateway.services.follow_dispatch import Follower
from gateway.services.gather_signals import (
    ProgramDesk,
    ProgramRules,
    SignalGatherer,
    SignalSettings,
    SignalSources,
)
from gateway.services.plan_dispatch import Dispatcher, DispatchLink, DispatchSettings, DispatchSources, LinkBatch
from gateway.services.track_fleet import FleetTracker, TrackSettings
from tests.fakes.clock import START, HandClock
from tests.fakes.ids import CountingIds
from tests.fakes.store import MemoryStore

FloatArray = npt.NDArray[np.float64]

TENANT = "demo"
CSMS = "csms-demo"
VTN = "vtn:grid"
POINTS = ("541448820000000015", "541448820000000022")

PLATFORM = Principal(tenant=TENANT, actor="csms", roles=frozenset({Role.CSMS}), csms=CSMS)
OPERATOR = Principal(tenant=TENANT, actor="olga", roles=frozenset({Role.OPERATOR}))
GRID = system_principal(TENANT, "openadr")

SETTINGS = DispatchSettings(
    tick=timedelta(seconds=5),
    lease=timedelta(seconds=120),
    lead=timedelta(0),
    calm=CalmRules(stability_s=60.0, deadband_kw=0.5, ramp_kw_per_s=0.5),
    headroom=0.05,
)
RULES = FollowRules(settle_s=10.0, ack_timeout_s=20.0, silent_after_s=120.0)


def tree(chargers_per_circuit: int = 5) -> list[object]:
    """Two sites of one circuit each; 11 kW three-phase chargers with a minimum of 4.14 kW."""
    rows: list[object] = [_node("vpp", None, NodeKind.PORTFOLIO, 200.0)]
    for s, point in enumerate(POINTS, start=1):
        rows += [
            _node(f"site-{s}", "vpp", NodeKind.SITE, 80.0),
            _node(f"c-{s}", f"site-{s}", NodeKind.CIRCUIT, 70.0),
            ConnectionPoint(
                id=point,
                tenant=TENANT,
                site=f"site-{s}",
                bidding_zone="BE",
                time_zone="Europe/Brussels",
                dso="dso-demo",
                brp="brp-demo",
            ),
        ]
        rows += [
            Charger(
                id=f"ch-{s}-{k}",
                tenant=TENANT,
                csms=CSMS,
                parent=f"c-{s}",
                max_import_kw=11.0,
                min_import_kw=4.14,
                phases=3,
                fallback_kw=4.14,
                enforcement=EnforcementClass.B,
            )
            for k in range(chargers_per_circuit)
        ]
    return rows


def _node(node_id: str, parent: str | None, kind: NodeKind, rating_kw: float) -> Node:
    return Node(
        id=node_id,
        tenant=TENANT,
        parent=parent,
        kind=kind,
        name=node_id,
        max_import_kw=rating_kw,
        fail_safe_import_kw=rating_kw / 4,
    )


def session(charger: str, n: int = 1, **changes: object) -> Session:
    """A car that needs 30 kWh until eight hours later."""
    plain = Session(
        id=f"s-{charger}-{n}",
        tenant=TENANT,
        charger=charger,
        arrival=START - timedelta(hours=1),
        state=SessionState.PLUGGED_IN,
        max_power_kw=11.0,
        phases=3,
        energy_needed_kwh=30.0,
        expected_departure=START + timedelta(hours=8),
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def event(event_id: str = "e1", **changes: object) -> GridEvent:
    """A fleet-wide limit of 50 kW for an hour, ten minutes from now."""
    max_kw = float(changes.pop("max_kw", 50.0))  # type: ignore[arg-type]
    start = changes.pop("start", START + timedelta(minutes=10))
    assert isinstance(start, datetime)
    end = start + timedelta(minutes=float(changes.pop("minutes", 60.0)))  # type: ignore[arg-type]
    instruction = Instruction(str(changes.pop("instruction", "import-limit-kw")))
    plain = GridEvent(
        id=f"{VTN}:{event_id}",
        tenant=TENANT,
        authority=VTN,
        event_id=event_id,
        modification=0,
        cancelled=False,
        cancelled_at=None,
        market_context="http://grid-demo.example/dr",
        priority=None,
        test_event=False,
        response_required=True,
        active=Interval(start=start, end=end),
        start_offset=timedelta(0),
        start_after=timedelta(0),
        notification=timedelta(minutes=5),
        intervals=(EventInterval(start=start, end=end, instruction=instruction, value=max_kw, signal_id="sig"),),
        nodes=("vpp",),
        opt=None,
        opt_reason="",
        raw_signal="raw-1",
        received_at=START,
    )
    if "authority" in changes:
        changes.setdefault("id", f"{changes['authority']}:{event_id}")
    return replace(plain, **changes)  # type: ignore[arg-type]


def message(*events: GridEvent, raw_id: str = "raw-1", complete: bool = False) -> ReceivedEvents:
    authority = events[0].authority if events else VTN
    raw = RawSignal(
        id=raw_id,
        tenant=TENANT,
        authority=authority,
        protocol="openadr-2.0b",
        received_at=START,
        sha256="0" * 64,
        body=b"<oadr/>",
    )
    return ReceivedEvents(raw=raw, events=events, rejected=(), complete=complete)


@dataclass
class Services:
    """The services of one process; `Scene.restart` makes new ones on the same store."""

    tracker: FleetTracker
    signals: SignalGatherer
    decider: OptDecider
    follower: Follower
    dispatcher: Dispatcher
    programs: ProgramDesk


class Scene:
    """Services, a platform with cars, and time in steps."""

    def __init__(
        self,
        *,
        settings: DispatchSettings = SETTINGS,
        programs: dict[str, ProgramRules] | None = None,
        opt_rules: dict[str, OptRules] | None = None,
        resource_nodes: dict[str, dict[str, str]] | None = None,
        stated: dict[str, StatedRules] | None = None,
    ) -> None:
        self.clock = HandClock()
        self.store = MemoryStore(self.clock)
        self._store_port: Store = self.store
        self._patience_s = 0.05
        self.ids = CountingIds()
        self.settings = settings
        self.programs = {} if programs is None else programs
        self.opt_rules = {} if opt_rules is None else opt_rules
        self.resource_nodes = resource_nodes
        self.stated = SignalSettings().stated if stated is None else stated
        self.baseline_kw: Callable[[str, str, datetime], float | None] = lambda tenant, node, at: None
        self.expected_kw: Callable[[str, str, TimeGrid], FloatArray | None] = lambda tenant, node, grid: None
        self.services = self._build()
        self.platform: Platform | None = None

    def _build(self) -> Services:
        store, clock, ids = self._store_port, self.clock, self.ids
        tracker = FleetTracker(
            store=store, clock=clock, ids=ids, tenants=[TENANT], settings=TrackSettings(grace=timedelta(seconds=30))
        )
        signals = SignalGatherer(
            store=store,
            clock=clock,
            ids=ids,
            tenants=[TENANT],
            sources=SignalSources(
                find_node=tracker.find_node,
                find_charger=tracker.find_charger,
                decide=lambda e, limits, now: decider.decide_now(e, limits, now),  # noqa: PLW0108  # the decider comes later
                baseline_kw=lambda tenant, node, at: self.baseline_kw(tenant, node, at),  # noqa: PLW0108  # tests change it
                expected_kw=lambda tenant, node, grid: self.expected_kw(tenant, node, grid),  # noqa: PLW0108
            ),
            settings=SignalSettings(programs=self.programs, stated=self.stated, store_patience_s=self._patience_s),
        )
        follower = Follower(
            store=store, clock=clock, ids=ids, fleet=tracker.view, charger_ids=tracker.charger_ids, rules=RULES
        )
        dispatcher = Dispatcher(
            store=store,
            clock=clock,
            ids=ids,
            tenants=[TENANT],
            desk=follower,
            sources=DispatchSources(
                fleet=tracker.view,
                find_charger=tracker.find_charger,
                limits=signals.limits_by_node,
                lost=signals.lost_nodes,
                steady=signals.steady_nodes,
                other_kw=tracker.other_kw,
                expected_kw=lambda tenant, node, grid: self.expected_kw(tenant, node, grid),  # noqa: PLW0108
                believe_departure=lambda site_class, arrival, now: now + timedelta(hours=4),
            ),
            settings=replace(self.settings, store_patience_s=self._patience_s),
        )
        decider = OptDecider(
            store=store,
            clock=clock,
            facts=dispatcher,
            change_opt=signals.change_opt,
            rules=self.opt_rules,
            resource_nodes=self.resource_nodes,
        )
        tracker.on_tree.append(dispatcher.follow_tree)
        tracker.on_change.append(dispatcher.wake)
        tracker.on_measurement.append(follower.noticed)
        follower.on_news.append(dispatcher.wake)
        signals.on_change.append(dispatcher.wake)
        return Services(tracker, signals, decider, follower, dispatcher, ProgramDesk(signals.scribe, signals.appraiser))

    def go_to(self, store: Store) -> None:
        """Make new services on another store, for example a database."""
        self._store_port = store
        self._patience_s = 10.0
        self.services = self._build()

    async def load(self) -> None:
        await self.services.tracker.load()
        await self.services.signals.load()
        await self.services.dispatcher.load()

    async def start(self, cars: int = 5, rows: Sequence[object] | None = None) -> "Platform":
        """Load the tree, plug cars in on both sites, connect the platform and let everything settle."""
        await self.store.seed(TENANT, *(tree() if rows is None else rows))
        await self.load()
        self.platform = Platform(self)
        await self.platform.connect()
        chargers = [f"ch-{s}-{k}" for s in (1, 2) for k in range(cars)]
        await self.services.tracker.report_sessions(
            PLATFORM, [session(c) for c in chargers], is_history=False, request_id="cars"
        )
        self.platform.plug(*chargers)
        await self.pass_time(300)
        return self.platform

    async def pass_time(self, seconds: float, step: float = 5.0) -> None:
        """Let time pass; in each step the platform reads, answers, drives its cars and reports measurements."""
        for _ in range(round(seconds / step)):
            self.clock.move(seconds=step)
            await self.turn()

    async def turn(self) -> None:
        """Let everybody act once, now."""
        if self.platform is not None:
            self.platform.measure()
        await self.services.dispatcher.step(TENANT)
        if await self.services.dispatcher.plan(TENANT):
            await self.services.dispatcher.step(TENANT)
        if self.platform is not None:
            await self.platform.read()
        await self.services.follower.flush()
        await self.services.dispatcher.save()

    async def restart(self, *, keeps_stream: bool = True) -> None:
        """Forget everything in memory and go on from rows, with a platform that comes back with its resume token."""
        self.services = self._build()
        await self.load()
        if keeps_stream and self.platform is not None:
            await self.platform.connect()

    def limits(self) -> dict[str, float]:
        """What the newest command of every charger says."""
        book = self.services.follower.book(TENANT)
        return dict(zip(book.charger_ids, book.limit_kw.tolist(), strict=True))

    def state(self, charger: str) -> DispatchState:
        book = self.services.follower.book(TENANT)
        return DispatchState(int(book.state[book.charger_ids.index(charger)]))


class Platform:
    """A CSMS with cars that obey, unless told otherwise."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.link: DispatchLink | None = None
        self.token = ""
        self.received: list[LinkBatch] = []
        self.chargers = sorted(c.id for c in scene.store.all(Charger, TENANT))
        self.limit_kw = dict.fromkeys(self.chargers, 4.14)
        self.lease_until = dict.fromkeys(self.chargers, datetime(2000, 1, 1, tzinfo=UTC))
        self.cars: dict[str, float] = {}
        self.register = dict.fromkeys(self.chargers, 100.0)
        self.disobeys: set[str] = set()
        self.rejects: set[str] = set()
        self.unmeasured: set[str] = set()
        self.beside_kw = {1: 0.0, 2: 0.0}
        """What else flows at the meter of each site; NaN: the meter is not read."""
        self.beside_kwh = {1: 0.0, 2: 0.0}
        self.answers = True
        self._measured_at = scene.clock.now()

    async def connect(self) -> None:
        self.link = await self.scene.services.dispatcher.connect(PLATFORM, self.chargers, self.token)

    async def disconnect(self) -> None:
        assert self.link is not None
        self.link.close()
        self.link = None

    def plug(self, *chargers: str, kw: float = 11.0) -> None:
        self.cars |= dict.fromkeys(chargers, kw)

    def power(self, charger: str) -> float:
        most = self.cars.get(charger, 0.0)
        if charger in self.disobeys:
            return most
        limit = self.limit_kw[charger] if self.scene.clock.now() < self.lease_until[charger] else 4.14
        return min(most, limit) if limit >= 4.14 else 0.0

    def total(self, prefix: str = "ch-") -> float:
        return round(sum(self.power(c) for c in self.chargers if c.startswith(prefix)), 6)

    async def read(self) -> None:
        """Take what is in the mailbox and acknowledge it."""
        link = self.link
        while link is not None and link._pending.any():
            batch = await link.next()
            self.received.append(batch)
            rejected = []
            for i, kw in zip(batch.charger_index.tolist(), batch.limit_kw.tolist(), strict=True):
                charger = self.chargers[i]
                if charger in self.rejects:
                    rejected.append(i)
                    continue
                self.limit_kw[charger] = kw
                self.lease_until[charger] = batch.lease_until
            self.token = batch.resume_token
            if self.answers:
                link.ack(batch.sequence, np.array(rejected, dtype=np.int32), ["Rejected"] * len(rejected))

    def measure(self) -> None:
        """Report power and registers of the chargers that still send."""
        now = self.scene.clock.now()
        hours = (now - self._measured_at).total_seconds() / 3600.0
        self._measured_at = now
        for site, kw in self.beside_kw.items():
            self.beside_kwh[site] += np.nan_to_num(kw) * hours
        power = {c: self.power(c) for c in self.chargers}
        for charger, kw in power.items():
            self.register[charger] += kw * hours
        index = [i for i, c in enumerate(self.chargers) if c not in self.unmeasured]
        batch = TelemetryBatch(
            charger_ids=tuple(self.chargers),
            connection_point_ids=POINTS,
            measure_time=now,
            charger_index=np.array(index, dtype=np.int32),
            power_kw=np.array([power[self.chargers[i]] for i in index]),
            energy_register_kwh=np.array([self.register[self.chargers[i]] for i in index]),
            meter_register_kwh=np.array(
                [
                    self.beside_kwh[s] + sum(v for c, v in self.register.items() if c.startswith(f"ch-{s}-"))
                    for s in (1, 2)
                ]
                if not np.isnan(list(self.beside_kw.values())).any()
                else []
            ),
        )
        self.scene.services.tracker.take_telemetry(PLATFORM, batch)
