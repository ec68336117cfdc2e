"""A recorded month of a workplace behind a site that is too small for it, with limits of a grid partner, over the real services.

52 stations of 6.656 kW and 150 kW for all of them: uncontrolled they would draw up to 293 kW. Cars need what they were recorded to have
taken; drivers say it with the departure that they announced. What the month could have given at best is told by linear programs that
know everything in advance.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.optimize
import scipy.sparse

from gateway.domain.fleet import TelemetryBatch
from gateway.domain.identity import Principal, Role, system_principal
from gateway.domain.limits import Binding, Direction, Limit, LimitKind
from gateway.domain.sessions import Session, SessionState
from gateway.domain.timegrid import Interval
from gateway.domain.topology import Charger, ConnectionPoint, Node, NodeKind
from gateway.ports import Batch, Put, StatedLimits
from gateway.services.follow_dispatch import Follower
from gateway.services.gather_signals import SignalGatherer, SignalSettings, SignalSources
from gateway.services.plan_dispatch import Dispatcher, DispatchLink, DispatchSettings, DispatchSources
from gateway.services.track_fleet import FleetTracker
from scripts.dispatch_store import CampaignStore
from scripts.dispatch_world import DrawnIds, SetClock, agree

FloatArray = npt.NDArray[np.float64]

FILE = Path(__file__).resolve().parents[1] / "config" / "data" / "ev_sessions" / "workplace_month.csv"
TENANT, AUTHORITY, CSMS = "replay", "lpc:grid", "csms"
SITE_KW, CAR_KW, MIN_KW = 150.0, 6.656, 1.248
"""32 A and 6 A at 208 V, one phase."""
STEP_S = 300.0
SLOT_S = 900.0
MISSED_KWH = 0.5
"""Less than this is no miss: about five minutes of charging."""
DAY_S = 86_400.0
EVENTS_PER_DAY, SHARES = 0.5, (0.3, 0.5, 0.7)
GRID = system_principal(TENANT, "replay")
PLATFORM = Principal(tenant=TENANT, actor="csms", roles=frozenset({Role.CSMS}), csms=CSMS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stay:
    """One recorded session; times in seconds since the month began."""

    name: str
    station: int
    arrival_s: float
    departure_s: float
    energy_kwh: float
    announced_s: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Reduction:
    """One event of the grid partner."""

    start_s: float
    end_s: float
    max_kw: float


@dataclass(kw_only=True, slots=True)
class Month:
    """What happened."""

    stays: list[Stay]
    events: list[Reduction]
    delivered_kwh: dict[str, float] = field(default_factory=dict)
    peak_kw: float = 0.0
    worst_excess_kw: float = 0.0
    """Most that was drawn above the limit in force."""
    change_count: int = 0
    charging_hours: float = 0.0


def read_stays(days: float) -> list[Stay]:
    """Return the sessions that begin within the first days of the month, in order."""
    with FILE.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    stays = []
    for number, row in enumerate(rows):
        arrival = 60.0 * float(row["arrival_minute"])
        said = row["estimated_stay_min"]
        if arrival < days * DAY_S:
            stays.append(
                Stay(
                    name=f"session-{number}",
                    station=int(row["station"]) - 1,
                    arrival_s=arrival,
                    departure_s=arrival + 60.0 * float(row["stay_min"]),
                    energy_kwh=float(row["energy_kwh"]),
                    announced_s=arrival + 60.0 * float(said) if said else None,
                )
            )
    return stays


def draw_events(rng: np.random.Generator, days: float) -> list[Reduction]:
    """Return reductions on about every second day, within working hours, whole quarter-hours long."""
    events = []
    for day in range(int(days)):
        if rng.random() < EVENTS_PER_DAY:
            start = day * DAY_S + SLOT_S * int(rng.integers(36, 64))
            share = float(rng.choice(SHARES))
            events.append(
                Reduction(start_s=start, end_s=start + SLOT_S * int(rng.integers(4, 13)), max_kw=share * SITE_KW)
            )
    return events


class Replay:
    """The site, its services and its cars."""

    def __init__(self, stays: list[Stay], events: list[Reduction], seed: int) -> None:
        """Put a station per number of the recording below one site."""
        self.month = Month(stays=stays, events=events)
        self._clock, self._store = SetClock(), CampaignStore()
        self._ids = DrawnIds(np.random.default_rng(seed))
        count = 1 + max(stay.station for stay in stays)
        self._names = tuple(f"station-{k:03d}" for k in range(count))
        self._left_kwh, self._limit_kw, self._register_kwh = np.zeros(count), np.zeros(count), np.zeros(count)
        self._stay: list[Stay | None] = [None] * count
        self._link: DispatchLink | None = None

    async def run(self, days: float) -> Month:
        """Live the days and return what happened."""
        await self._start()
        ends = [stay.departure_s for stay in self.month.stays]
        moments = {s for stay in self.month.stays for s in (stay.arrival_s, stay.departure_s)}
        moments |= {s for event in self.month.events for s in (event.start_s, event.end_s)}
        moments |= set(np.arange(0.0, max(days * DAY_S, *ends) + STEP_S, STEP_S).tolist())
        for moment in sorted(moments):
            self._pass(moment)
            await self._happen(moment)
            await self._act()
        return self.month

    async def _start(self) -> None:
        rows: list[object] = [_node("all", None, NodeKind.PORTFOLIO), _node("site", "all", NodeKind.SITE), _point()]
        rows += [_charger(name) for name in self._names]
        await self._store.apply(Batch(tenant=TENANT, puts=tuple(Put(record=row) for row in rows)))
        store, clock, ids = self._store, self._clock, self._ids
        self._tracker = FleetTracker(store=store, clock=clock, ids=ids, tenants=[TENANT])
        sources = SignalSources(find_node=self._tracker.find_node, decide=agree, baseline_kw=lambda _t, _n, _at: None)
        self._signals = SignalGatherer(
            store=store, clock=clock, ids=ids, tenants=[TENANT], sources=sources, settings=SignalSettings()
        )
        self._follower = Follower(store=store, clock=clock, ids=ids, fleet=self._tracker.view)
        self._dispatcher = Dispatcher(
            store=store,
            clock=clock,
            ids=ids,
            tenants=[TENANT],
            desk=self._follower,
            sources=DispatchSources(
                fleet=self._tracker.view,
                find_charger=self._tracker.find_charger,
                limits=self._signals.limits_by_node,
                lost=self._signals.lost_nodes,
                believe_departure=lambda _kind, _arrival, now: now + timedelta(hours=4),
            ),
            settings=DispatchSettings(tick=timedelta(seconds=STEP_S), lease=timedelta(hours=1), store_patience_s=60.0),
        )
        await self._tracker.load()
        await self._signals.load()
        await self._dispatcher.load()
        self._link = await self._dispatcher.connect(PLATFORM, self._names, "")
        await self._announce()

    async def _announce(self) -> None:
        begin, now = self._clock.now(), self._clock.now()
        limits = tuple(
            Limit(
                id=self._ids.new("limit"),
                tenant=TENANT,
                authority=AUTHORITY,
                node="site",
                direction=Direction.IMPORT,
                kind=LimitKind.LIMIT,
                binding=Binding.MANDATORY,
                max_kw=event.max_kw,
                interval=Interval(
                    start=begin + timedelta(seconds=event.start_s), end=begin + timedelta(seconds=event.end_s)
                ),
                cause="event",
                known_at=now,
            )
            for event in self.month.events
        )
        await self._signals.state_limits(GRID, StatedLimits(authority=AUTHORITY, raw=None, limits=limits))

    def _power_kw(self) -> FloatArray:
        wants = np.where(self._left_kwh > 0.0, CAR_KW, 0.0)
        return np.where(self._limit_kw >= MIN_KW - 1e-6, np.minimum(wants, self._limit_kw), 0.0)

    def _pass(self, moment: float) -> None:
        """Let time pass until a moment: cars charge, and stop when they have what they need."""
        hours = (moment - self._clock.elapsed_s) / 3600.0
        power = self._power_kw()
        month, total = self.month, float(power.sum())
        month.peak_kw = max(month.peak_kw, total)
        month.worst_excess_kw = max(month.worst_excess_kw, total - self._in_force_kw(self._clock.elapsed_s))
        month.charging_hours += hours * int((self._left_kwh > 0.0).sum())
        taken = np.minimum(power * hours, self._left_kwh)
        self._left_kwh -= taken
        self._left_kwh[self._left_kwh < 1e-9] = 0.0  # noqa: PLR2004  # a rounding error is no need
        self._register_kwh += taken
        self._clock.elapsed_s = moment

    def _in_force_kw(self, at_s: float) -> float:
        return min([SITE_KW, *(event.max_kw for event in self.month.events if event.start_s <= at_s < event.end_s)])

    async def _happen(self, moment: float) -> None:
        """Let cars go and come."""
        sessions = []
        for station, stay in enumerate(self._stay):
            if stay is not None and stay.departure_s <= moment:
                self.month.delivered_kwh[stay.name] = stay.energy_kwh - float(self._left_kwh[station])
                self._left_kwh[station], self._stay[station] = 0.0, None
                sessions.append(self._session(stay, has_left=True))
        for stay in self.month.stays:
            if stay.arrival_s == moment:
                self._left_kwh[stay.station], self._stay[stay.station] = stay.energy_kwh, stay
                sessions.append(self._session(stay, has_left=False))
        if sessions:
            request = self._ids.new("sessions")
            await self._tracker.report_sessions(PLATFORM, sessions, is_history=False, request_id=request)

    def _session(self, stay: Stay, *, has_left: bool) -> Session:
        begin = self._clock.now() - timedelta(seconds=self._clock.elapsed_s)
        announced = None if stay.announced_s is None else begin + timedelta(seconds=stay.announced_s)
        return Session(
            id=stay.name,
            tenant=TENANT,
            charger=self._names[stay.station],
            arrival=begin + timedelta(seconds=stay.arrival_s),
            state=SessionState.ENDED if has_left else SessionState.PLUGGED_IN,
            max_power_kw=CAR_KW,
            phases=1,
            energy_needed_kwh=stay.energy_kwh,
            expected_departure=announced,
            departure=self._clock.now() if has_left else None,
        )

    async def _act(self) -> None:
        """Measure, decide, obey."""
        batch = TelemetryBatch(
            charger_ids=self._names,
            connection_point_ids=(),
            measure_time=self._clock.now(),
            charger_index=np.arange(len(self._names), dtype=np.int32),
            power_kw=self._power_kw(),
            energy_register_kwh=self._register_kwh.copy(),
            meter_register_kwh=np.zeros(0),
        )
        self._tracker.take_telemetry(PLATFORM, batch)
        await self._dispatcher.step(TENANT)
        if await self._dispatcher.plan(TENANT):
            await self._dispatcher.step(TENANT)
        link = self._link
        while link is not None and link.has_pending:
            sent = await link.next()
            self.month.change_count += int((np.abs(self._limit_kw[sent.charger_index] - sent.limit_kw) > 1e-6).sum())  # noqa: PLR2004
            self._limit_kw[sent.charger_index] = sent.limit_kw
            link.ack(sent.sequence, np.zeros(0, dtype=np.int32), ())


def _node(node_id: str, parent: str | None, kind: NodeKind) -> Node:
    return Node(
        id=node_id,
        tenant=TENANT,
        parent=parent,
        kind=kind,
        name=node_id,
        max_import_kw=SITE_KW,
        fail_safe_import_kw=0.0,
    )


def _point() -> ConnectionPoint:
    return ConnectionPoint(
        id="meter", tenant=TENANT, site="site", bidding_zone="US", time_zone="America/Los_Angeles", dso="grid", brp=None
    )


def _charger(name: str) -> Charger:
    return Charger(
        id=name,
        tenant=TENANT,
        csms=CSMS,
        parent="site",
        max_import_kw=CAR_KW,
        min_import_kw=MIN_KW,
        phases=1,
        fallback_kw=0.0,
    )


# ---------------------------------------------------------------- what could have been


def uncontrolled(stays: list[Stay]) -> tuple[FloatArray, float]:
    """Return what each car gets when it charges at full rate from its arrival on, without any limit, in kWh, and the peak in kW."""
    delivered = np.array(
        [min(stay.energy_kwh, CAR_KW * (stay.departure_s - stay.arrival_s) / 3600.0) for stay in stays]
    )
    starts = np.array([stay.arrival_s for stay in stays])
    ends = starts + delivered / CAR_KW * 3600.0
    borders = np.concatenate([starts, ends])
    order = np.argsort(borders, kind="stable")
    steps = np.concatenate([np.full(len(stays), CAR_KW), np.full(len(stays), -CAR_KW)])
    return delivered, float(np.cumsum(steps[order]).max(initial=0.0))


def could_have_got(month: Month, missed: Stay) -> float:
    """Return the most in kWh that a car could have got while every other car gets at least what it got, knowing everything.

    Powers are free between 0 and the car's rate within each quarter of an hour; what the site may draw is what was in force, without
    headroom. A car that cannot get its energy even so could not be helped by any control: the number is the certificate.
    """
    near = [s for s in month.stays if s.arrival_s < missed.departure_s and s.departure_s > missed.arrival_s - DAY_S]
    first, last = min(s.arrival_s for s in near) // SLOT_S, max(s.departure_s for s in near) // SLOT_S + 1
    slots = np.arange(first, last) * SLOT_S
    car, slot, most = [], [], []
    for k, stay in enumerate(near):
        inside = np.minimum(slots + SLOT_S, stay.departure_s) - np.maximum(slots, stay.arrival_s)
        at = np.flatnonzero(inside > 0.0)
        car += [k] * len(at)
        slot += at.tolist()
        most += (inside[at] / 3600.0 * CAR_KW).tolist()
    count = len(car)
    limits = [
        (s, e.start_s, e.end_s, e.max_kw)
        for s in slots.tolist()
        for e in month.events
        if s < e.end_s and s + SLOT_S > e.start_s
    ]
    cap = dict.fromkeys(slots.tolist(), SITE_KW)
    for s, _, _, kw in limits:
        cap[s] = min(cap[s], kw)
    cap_kwh = np.array([cap[s] for s in slots.tolist()]) * SLOT_S / 3600.0
    by_slot = scipy.sparse.csr_array((np.ones(count), (slot, range(count))), shape=(len(slots), count))
    by_car = scipy.sparse.csr_array((np.ones(count), (car, range(count))), shape=(len(near), count))
    got = np.array([month.delivered_kwh[s.name] if s is not missed else 0.0 for s in near])
    need = np.array([s.energy_kwh for s in near])
    goal = -np.array([1.0 if near[k] is missed else 0.0 for k in car])
    solved = scipy.optimize.linprog(
        goal,
        A_ub=scipy.sparse.vstack([by_slot, by_car, -by_car]).toarray(),
        b_ub=np.concatenate([cap_kwh, need, -np.maximum(got - 1e-6, 0.0)]),
        bounds=[(0.0, kwh) for kwh in most],
        method="highs",
    )
    if solved.status != 0 or solved.fun is None:
        raise RuntimeError(f"the certificate of {missed.name} cannot be computed: {solved.message}")
    return float(-solved.fun)
