"""Hunts for an instant at which chargers draw more than a limit in force: a day of faults in a random tree, over real services.

One case is one virtual day: authorities state, replace and withdraw limits and get lost, platforms lose their streams, stop reading or
answering, the gateway is killed and starts again from its rows, the store fails, the clock is set, cars come and go, chargers refuse,
draw too much or fall silent. Time stands still between steps, and steps fall on every lease end and every border of a limit, so that
what is checked at each step holds at every instant. Checked are: no node above what is in force, as far as anybody can command the
chargers below it (who is out of reach counts, so that the others make room); every charger that enforces its lease at its fallback
within lease + 5 s after its stream has ended; sequences that only grow; and that whoever never drew too much is not blamed for it.
The same seed gives the same history, of which a digest is told.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import numpy as np

from gateway.domain.calm import CalmRules
from gateway.domain.commands import FollowRules
from gateway.domain.dispatch import DispatchBatch, DispatchOutcome, DispatchState
from gateway.domain.errors import StorageUnavailable
from gateway.domain.identity import Principal, Role, system_principal
from gateway.domain.limits import Binding, Direction, Limit, LimitKind, resolve
from gateway.domain.sessions import Session, SessionState
from gateway.domain.timegrid import Interval
from gateway.domain.topology import Charger, Node
from gateway.ports import Batch, Put, StatedLimits
from gateway.services.follow_dispatch import Follower
from gateway.services.gather_signals import SignalGatherer, SignalSettings, SignalSources
from gateway.services.plan_dispatch import Dispatcher, DispatchSettings, DispatchSources
from gateway.services.track_fleet import FleetTracker, TrackSettings
from scripts.dispatch_store import CampaignStore
from scripts.dispatch_world import TENANT, DrawnIds, Hands, Platform, SetClock, agree, draw_tree
from scripts.soak_runner import Outcome

SLICE_SECONDS = 8.0
"""What the tests spend on it."""
DAY_S = 86_400.0
LEASE_S, TICK_S = 600.0, 120.0
LEASE_GRACE_S = 5.0
RETRY_S = 30.0
DETECTION_S = 2 * TICK_S + 60.0
"""Until then an over-drawing charger need not be known: two measurements after a command has settled."""
ASKED_AGAIN_S = RETRY_S + TICK_S + 10.0
"""Until then who refused or was silent has been asked again."""
CALM_S = 20 * 60.0
"""Mean time between two happenings."""
AUTHORITIES = ("oscp:dso", "lpc:box", "charger:station")
GRID = system_principal(TENANT, "soak")
SETTINGS = DispatchSettings(
    tick=timedelta(seconds=TICK_S),
    lease=timedelta(seconds=LEASE_S),
    lead=timedelta(seconds=10),
    retry_after=timedelta(seconds=RETRY_S),
    calm=CalmRules(restore_spread_s=600.0, ramp_kw_per_s=0.05),
    store_patience_s=60.0,
)
RULES = FollowRules(ack_timeout_s=60.0, silent_after_s=600.0, taper_after_s=2 * TICK_S)
SAME_KW = 0.02
"""Rounding of set points on the wire."""


def run(seed: int, until: Callable[[], bool]) -> Outcome:
    """Live days until told to stop; the case number with the seed lives a day again."""
    failures: list[str] = []
    days = steps = alarms = changes = 0
    charger_days = 0.0
    digest = hashlib.sha256()
    while not until():
        life = asyncio.run(live_day(np.random.default_rng([seed, days])))
        failures += [f"seed {seed}, case {days}: {text}" for text in life.failures[:5]]
        days += 1
        steps += life.steps
        alarms += life.false_alarms
        changes += life.changes
        charger_days += len(life.chargers)
        digest.update(life.history.digest())
    return Outcome(
        case_count=days,
        failures=tuple(failures),
        measured={
            "virtual_years": days / 365.0,
            "instant_count": steps,
            "charger_days": charger_days,
            "false_alarms_per_1000_chargers_and_day": 1000.0 * alarms / max(charger_days, 1.0),
            "changes_per_charger_and_hour": changes / max(charger_days * 24.0, 1.0),
            "history_digest": float(int(digest.hexdigest()[:12], 16)),
        },
    )


async def live_day(rng: np.random.Generator) -> Life:
    """Live one day and return what was seen."""
    life = Life(rng)
    await life.start()
    while life.clock.elapsed_s < DAY_S:
        await life.next()
    return life


class Life:
    """One tree, its services and what happens to them."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.clock = SetClock()
        self.store = CampaignStore()
        self.ids = DrawnIds(rng)
        self.failures: list[str] = []
        self.history = hashlib.sha256()
        self.steps = self.false_alarms = self.changes = 0
        rows = draw_tree(rng)
        self.rows = rows
        self.nodes = [row for row in rows if isinstance(row, Node)]
        self.chargers = sorted((row for row in rows if isinstance(row, Charger)), key=lambda c: c.id)
        self.happens_at_s = 0.0
        self.hot_until_s = 0.0
        self.is_up = True
        self.up_again_s = np.inf
        self.store_back_s = np.inf
        self.session_count = 0
        self.changed_s = -np.inf
        """When a platform or charger last changed how it behaves."""
        self.blamed = np.zeros(len(self.chargers), dtype=bool)

    # ---------------------------------------------------------------- the gateway

    async def start(self) -> None:
        """Write the tree and start everything."""
        await self.store.apply(Batch(tenant=TENANT, puts=tuple(Put(record=row) for row in self.rows)))
        await self.boot()
        # The services put chargers in an order of their own.
        by_id = {charger.id: charger for charger in self.chargers}
        tree = self.tracker.view(TENANT).tree
        self.chargers = [by_id[name] for name in tree.charger_ids]
        self.hands = Hands(self.chargers, self.rng)
        self.levels = self.tracker.view(TENANT).levels
        self.node_ids = tree.node_ids
        names = sorted({charger.csms for charger in self.chargers})
        self.platforms = [Platform(name, self.hands, self.clock) for name in names]
        self.platform_of = np.array([names.index(charger.csms) for charger in self.chargers])
        self.sessions: list[Session | None] = [None] * len(self.chargers)
        await self.reconnect()
        await self.settle()

    async def boot(self) -> None:
        """Make all services anew on the same store."""
        store, clock, ids = self.store, self.clock, self.ids
        settings = TrackSettings(stale_after=timedelta(seconds=3 * TICK_S))
        self.tracker = FleetTracker(store=store, clock=clock, ids=ids, tenants=[TENANT], settings=settings)
        sources = SignalSources(
            find_node=self.tracker.find_node,
            decide=agree,
            baseline_kw=lambda _tenant, _node, _at: None,
        )
        patience = SignalSettings(store_patience_s=60.0)
        self.signals = SignalGatherer(
            store=store, clock=clock, ids=ids, tenants=[TENANT], sources=sources, settings=patience
        )
        self.follower = Follower(
            store=store,
            clock=clock,
            ids=ids,
            fleet=self.tracker.view,
            charger_ids=self.tracker.charger_ids,
            rules=RULES,
        )
        self.dispatcher = Dispatcher(
            store=store,
            clock=clock,
            ids=ids,
            tenants=[TENANT],
            desk=self.follower,
            sources=DispatchSources(
                fleet=self.tracker.view,
                limits=self.signals.limits_by_node,
                lost=self.signals.lost_nodes,
                steady=self.signals.steady_nodes,
                believe_departure=lambda _kind, _arrival, now: now + timedelta(hours=4),
            ),
            settings=SETTINGS,
        )
        for tell in (self.tracker.on_change, self.signals.on_change, self.follower.on_news):
            tell.append(self.dispatcher.wake)
        await self.tracker.load()
        await self.signals.load()
        await self.dispatcher.load()

    async def reconnect(self) -> None:
        """Connect every platform that has no stream."""
        for platform in self.platforms:
            if platform.link is None:
                await platform.connect(self.dispatcher)
                await self.tell_sessions(platform)

    async def tell_sessions(self, platform: Platform) -> None:
        """Report the cars at a platform's chargers; while the store fails, it will try again."""
        mine = [session for i in platform.places.tolist() if (session := self.sessions[i]) is not None]
        if mine and not self.store.is_down:
            await self.tracker.report_sessions(
                platform.principal, mine, is_history=False, request_id=self.ids.new("sessions")
            )

    async def settle(self) -> None:
        """Let the loop and the platforms act until nothing is left to do at this instant."""
        while self.is_up:
            acted = False
            if self.dispatcher.is_due(TENANT):
                before = self.follower.book(TENANT).limit_kw.copy()
                await self.dispatcher.step(TENANT)
                self.changes += int((self.follower.book(TENANT).limit_kw != before).sum())
                acted = True
            for platform in self.platforms:
                acted |= await platform.read()
            if not acted:
                return

    # ---------------------------------------------------------------- time

    async def next(self) -> None:
        """Go to the next instant at which anything changes, check, let things happen, act, check again."""
        now_s = self.clock.elapsed_s
        longest_s = float(self.rng.choice([1.0, 5.0, 30.0])) if now_s < self.hot_until_s else TICK_S
        borders = [now_s + longest_s, self.happens_at_s, self.up_again_s, self.store_back_s, *self.limit_borders()]
        borders += self.hands.lease_end_s[self.hands.lease_end_s > now_s].tolist()
        self.clock.elapsed_s = max(min(b for b in borders if b > now_s + 1e-3), now_s + 1e-3)
        self.steps += 1
        self.check("before")
        await self.happen()
        if self.is_up:
            reported = self.hands.reported_kw(self.clock.elapsed_s)
            for platform in self.platforms:
                platform.report(self.tracker, reported)
            self.follower.measured(TENANT)
            await self.settle()
            await self.follower.flush()
            self.count_blame()
        self.check("after")
        self.remember()

    def limit_borders(self) -> list[float]:
        """Return when the loop looks next and when a limit next begins or ends at each node, in elapsed seconds."""
        now = self.clock.now()
        found = [self.clock.elapsed_s + (self.dispatcher.next_look(TENANT) - now).total_seconds()]
        for node in self.nodes:
            until = resolve(node, self.signals.limits_by_node(TENANT).get(node.id, ()), now).until
            if until is not None:
                found.append(self.clock.elapsed_s + (until - now).total_seconds())
        return found

    async def happen(self) -> None:
        """Let what is due happen."""
        now_s = self.clock.elapsed_s
        if now_s >= self.up_again_s:
            self.is_up, self.up_again_s = True, np.inf
            await self.boot()
            await self.reconnect()
        if now_s >= self.store_back_s:
            self.store.is_down, self.store_back_s = False, np.inf
            for platform in self.platforms if self.is_up else ():
                await self.tell_sessions(platform)
        if now_s < self.happens_at_s:
            return
        self.happens_at_s = now_s + float(self.rng.exponential(CALM_S))
        self.hot_until_s = now_s + 120.0
        happening = str(self.rng.choice(list(HAPPENINGS), p=SHARES))
        self.history.update(happening.encode())
        await HAPPENINGS[happening](self)

    # ---------------------------------------------------------------- what is checked

    def check(self, when: str) -> None:
        """Compare what is drawn below every node with what is in force there."""
        now_s, hands = self.clock.elapsed_s, self.hands
        power = hands.power_kw(now_s)
        self.check_fail_safe(power)
        if not self.is_up:
            return
        out_of_reach = self.out_of_reach()
        is_unseen = hands.is_silent | np.array([p.link is None for p in self.platforms])[self.platform_of]
        seen_s = np.array([p.came_s for p in self.platforms])[self.platform_of]
        known_s = np.max([hands.wild_since_s, hands.car_since_s, seen_s], axis=0) + DETECTION_S
        is_new = (now_s >= hands.wild_since_s) & ((now_s < known_s) | is_unseen)
        unknown = power * (is_new | self.is_under_way())
        totals = self.levels.totals
        drawn, fixed = totals(power), totals(np.where(out_of_reach, power, 0.0))
        excused = totals(unknown)
        for i, node_id in enumerate(self.node_ids):
            in_force = self.in_force_kw(node_id)
            movable = drawn[i] - fixed[i]
            if movable > max(in_force - (fixed[i] - excused[i]), 0.0) + SAME_KW:
                self.failures.append(
                    f"{when} the step at {now_s:.3f} s {node_id} draws {drawn[i]:.2f} kW, {fixed[i]:.2f} kW of it out of "
                    f"reach, above {in_force:.2f} kW in force"
                )

    def in_force_kw(self, node_id: str) -> float:
        """Return what is in force at a node now."""
        node = next(node for node in self.nodes if node.id == node_id)
        limits = self.signals.limits_by_node(TENANT).get(node_id, ())
        lost = self.signals.lost_nodes(TENANT).get(node_id, frozenset())
        steady = self.signals.steady_nodes(TENANT).get(node_id, frozenset())
        return resolve(node, limits, self.clock.now(), lost=lost, steady=steady).kw

    def out_of_reach(self) -> np.ndarray:
        """Return which chargers nobody can command now, shape (C,)."""
        gone = np.array([p.link is None or p.is_deaf or p.is_mute for p in self.platforms])[self.platform_of]
        wild = self.clock.elapsed_s >= self.hands.wild_since_s
        # Who refused or did not answer is asked again after a while, and only then known to obey again.
        is_asked_soon = self.clock.elapsed_s < self.changed_s + ASKED_AGAIN_S
        return np.asarray(gone | wild | self.hands.refuses | (self.follower.book(TENANT).is_troubled & is_asked_soon))

    def is_under_way(self) -> np.ndarray:
        """Return whose newest command may not be doubted yet although nobody has acknowledged it, shape (C,)."""
        book = self.follower.book(TENANT)
        is_open = (book.sequence > book.acked_sequence) & ~book.is_troubled
        # The instant at which doubt begins belongs to both.
        return np.asarray(is_open & ~book.is_doubted(self.clock.now().timestamp() - 1e-2, RULES))

    def check_fail_safe(self, power: np.ndarray) -> None:
        """Check that every obeying charger of class A or B is at its fallback soon enough after its stream has ended."""
        now_s, hands = self.clock.elapsed_s, self.hands
        left = np.array([np.inf if p.link is not None else p.left_s for p in self.platforms])[self.platform_of]
        is_late = now_s > left + LEASE_S + LEASE_GRACE_S
        obeys = ~hands.is_c & (now_s < hands.wild_since_s)
        above = is_late & obeys & (power > hands.fallback_kw + SAME_KW)
        for i in np.flatnonzero(above).tolist():
            self.failures.append(f"at {now_s:.3f} s {self.chargers[i].id} draws {power[i]:.2f} kW without a lease")

    def count_blame(self) -> None:
        """Count chargers that are said to draw too much and never did lately."""
        blamed = self.follower.book(TENANT).state == DispatchState.NOT_FOLLOWING
        now_s, hands = self.clock.elapsed_s, self.hands
        hands.was_wild_s = np.where(now_s >= hands.wild_since_s, now_s, hands.was_wild_s)
        innocent = now_s - hands.was_wild_s > DETECTION_S
        self.false_alarms += int((blamed & ~self.blamed & innocent).sum())
        self.blamed = blamed

    def remember(self) -> None:
        """Write the instant into the history."""
        self.history.update(f"{self.clock.elapsed_s:.6f}".encode())
        self.history.update(self.hands.power_kw(self.clock.elapsed_s).tobytes())
        self.history.update(self.hands.limit_kw.tobytes())

    # ---------------------------------------------------------------- what may happen

    def pick(self) -> int:
        """Return a charger."""
        return int(self.rng.integers(len(self.chargers)))

    async def state_limit(self) -> None:
        """An authority states a limit or a fallback, from now on or later, or everything it said is withdrawn."""
        authority, now = str(self.rng.choice(AUTHORITIES)), self.clock.now()
        start = now + timedelta(seconds=float(self.rng.choice([0.0, 0.0, 60.0, 1800.0])))
        node = self.nodes[int(self.rng.integers(len(self.nodes)))]
        limit = Limit(
            id=self.ids.new("limit"),
            tenant=TENANT,
            authority=authority,
            node=node.id,
            direction=Direction.IMPORT,
            kind=LimitKind(self.rng.choice(["limit", "limit", "limit", "fallback"])),
            binding=Binding.MANDATORY,
            max_kw=round(float(self.rng.choice([0.0, 0.1, 0.3, 0.6])) * node.max_import_kw, 1),
            interval=Interval(start=start, end=start + timedelta(minutes=float(self.rng.integers(5, 240)))),
            cause="signal",
            known_at=now,
        )
        known = self.signals.stated_by(TENANT, authority) if self.is_up else ()
        takes_back = self.rng.random() < 0.3  # noqa: PLR2004  # now and then
        stated = StatedLimits(
            authority=authority,
            raw=None,
            limits=() if takes_back else (limit,),
            withdrawn=tuple(old.id for old in known) if takes_back else (),
        )
        await self.tell(stated)

    async def tell(self, stated: StatedLimits) -> None:
        """Bring limits to the desk; a partner that is not answered does not count."""
        try:
            if self.is_up:
                await self.signals.state_limits(GRID, stated)
        except StorageUnavailable:
            self.history.update(b"unanswered")

    async def lose_authority(self) -> None:
        """An authority gets out of contact or comes back."""
        authority = str(self.rng.choice(AUTHORITIES))
        try:
            if self.is_up:
                await self.signals.contact(GRID, authority, is_lost=bool(self.rng.random() < 0.5))  # noqa: PLR2004
        except StorageUnavailable:
            self.history.update(b"unanswered")

    async def order(self) -> None:
        """An operator sets a limit for a while."""
        node = self.nodes[int(self.rng.integers(len(self.nodes)))]
        person = Principal(tenant=TENANT, actor="olga", roles=frozenset({Role.OPERATOR}))
        try:
            if self.is_up:
                await self.signals.set_manual_limit(
                    person,
                    node_id=node.id,
                    max_kw=round(float(self.rng.random()) * node.max_import_kw, 1),
                    start=None,
                    end=self.clock.now() + timedelta(minutes=float(self.rng.integers(1, 60))),
                    reason="works",
                    request_id=self.ids.new("order"),
                )
        except StorageUnavailable:
            self.history.update(b"unanswered")

    async def cars(self) -> None:
        """Cars come and go."""
        for _ in range(int(self.rng.integers(1, 5))):
            i = self.pick()
            await (self.car_comes(i) if self.sessions[i] is None else self.car_leaves(i))

    async def car_comes(self, i: int) -> None:
        """A car comes to a charger; some drivers say what they need."""
        self.session_count += 1
        now = self.clock.now()
        says = self.rng.random() < 0.6  # noqa: PLR2004  # most do
        self.hands.car_since_s[i] = self.clock.elapsed_s
        self.hands.car_kw[i] = min(float(self.rng.choice([7.4, 11.0, 22.0])), self.hands.max_kw[i])
        session = Session(
            id=f"car-{self.session_count}",
            tenant=TENANT,
            charger=self.chargers[i].id,
            arrival=now,
            state=SessionState.PLUGGED_IN,
            max_power_kw=float(self.hands.car_kw[i]),
            phases=3,
            energy_needed_kwh=float(self.rng.uniform(5.0, 60.0)) if says else None,
            expected_departure=now + timedelta(hours=float(self.rng.uniform(1.0, 10.0))) if says else None,
        )
        await self.tell_session(i, session)

    async def car_leaves(self, i: int) -> None:
        """A car leaves a charger."""
        session = self.sessions[i]
        if session is not None:
            self.hands.car_kw[i] = 0.0
            await self.tell_session(
                i, replace(session, state=SessionState.ENDED, departure=max(session.arrival, self.clock.now()))
            )

    async def tell_session(self, i: int, session: Session) -> None:
        """Report a session, if the platform has its stream and the store works; else it is told later, or not at all."""
        self.sessions[i] = session if session.state is SessionState.PLUGGED_IN else None
        platform = self.platforms[int(self.platform_of[i])]
        if self.is_up and platform.link is not None and not self.store.is_down:
            await self.tracker.report_sessions(
                platform.principal, [session], is_history=False, request_id=self.ids.new("session")
            )

    async def break_stream(self) -> None:
        """A platform loses its stream or gets it back, sometimes without its resume token."""
        platform = self.platforms[int(self.rng.integers(len(self.platforms)))]
        if platform.link is not None:
            await platform.disconnect()
            return
        if self.rng.random() < 0.3:  # noqa: PLR2004  # now and then
            platform.forget()
        if self.is_up:
            await platform.connect(self.dispatcher)
            await self.tell_sessions(platform)

    async def stop_reading(self) -> None:
        """A platform stops reading or answering, or does both again."""
        platform = self.platforms[int(self.rng.integers(len(self.platforms)))]
        self.changed_s = self.clock.elapsed_s
        platform.is_deaf, platform.is_mute = (bool(x) for x in self.rng.random(2) < 0.25)  # noqa: PLR2004

    async def misbehave(self) -> None:
        """A charger draws what it likes, refuses or falls silent; or all are good again."""
        hands, i = self.hands, self.pick()
        self.changed_s = self.clock.elapsed_s
        hands.wild_since_s[:], hands.refuses[:], hands.is_silent[:] = np.inf, False, False
        kind = int(self.rng.integers(4))
        if kind == 0:
            hands.wild_since_s[i] = self.clock.elapsed_s
        elif kind == 1:
            hands.refuses[i] = True
        elif kind == 2:  # the third kind
            hands.is_silent[i] = True

    async def kill(self) -> None:
        """The gateway is killed and starts again after a while, from its rows."""
        if self.is_up:
            self.is_up = False
            self.up_again_s = self.clock.elapsed_s + float(self.rng.choice([1.0, 30.0, 1500.0]))
            for platform in self.platforms:
                platform.left_s = self.clock.elapsed_s if platform.link is not None else platform.left_s
                platform.link = None
            for kind in (DispatchBatch, DispatchOutcome):
                self.store.forget(kind, self.clock.now() - timedelta(hours=4))

    async def fail_store(self) -> None:
        """The store refuses everything for a while."""
        self.store.is_down = True
        self.store_back_s = self.clock.elapsed_s + float(self.rng.uniform(10.0, 900.0))

    async def set_clock(self) -> None:
        """Somebody sets the gateway's clock."""
        self.clock.ahead_s += float(self.rng.choice([-300.0, -2.0, 2.0, 60.0, 3600.0]))


HAPPENINGS = {
    "limit": Life.state_limit,
    "authority": Life.lose_authority,
    "order": Life.order,
    "cars": Life.cars,
    "stream": Life.break_stream,
    "reading": Life.stop_reading,
    "charger": Life.misbehave,
    "kill": Life.kill,
    "store": Life.fail_store,
    "clock": Life.set_clock,
}
SHARES = (0.2, 0.06, 0.08, 0.36, 0.1, 0.06, 0.06, 0.03, 0.03, 0.02)
"""How often each of them happens."""
