"""Hunts for an instant at which chargers draw more than a limit in force: a day of faults in a random tree, over real services.

One case is one virtual day: authorities state, replace and withdraw limits and get lost, platforms lose their streams, stop reading or
answering, the gateway is killed and starts again from its rows, the store fails, the clock is set, cars come and go, chargers refuse,
draw too much, fall silent or are moved to another circuit; now and then one of these happens just before a limit that binds. Time
stands still between steps, and steps fall on every lease end and every border of a limit, so that what is checked at each step holds
at every instant. Checked are: no node and no phase above what is owed there (`scripts/dispatch_words.py`), as far as anybody can
command the chargers below it (who is out of reach counts, so that the others make room); no lease longer than agreed, and every
charger that enforces it at its fallback within lease + 5 s after its stream has ended; sequences that only grow; and that whoever
never drew too much is not blamed for it. The same seed gives the same history, of which a digest is told.

What it sees was tried with faults in a copy of the gateway, one at a time, over 30 days of two hours with something every five minutes
(`tests/soak/test_dispatch_campaign.py`; seed 1), together about as eventful as ten storm days. Seen for the first time on day

- 1: reductions wait for calm; leases 10 s longer; who resumes is given a number again; class C counts at its limit, or at its fallback;
- 2 to 5: limits forgotten at a restart; an empty charger out of contact counts nothing, and so do charging ones; a gap in a forecast is
  open; a lost authority's limit is lifted; a reduction that cannot be written waits;
- 6 to 10: a moved charger stays at its old node; answered without being written; refusals ignored; a loss forgotten at a restart;
- 11 to 25: bounds of phases taken as a total; the end of a lease ignored; no room made before it; what was refused counts as taken; a
  limit seen only when it begins, or not then; numbers from 1 after a restart;
- 26 to 30: what a platform read and did not answer is believed when it comes back;
- with some seeds only: who does not acknowledge is believed, the oldest waiting command wins, a loss is not seen, commands are forgotten
  at a restart (each seen in an earlier run).

Not seen: rises before the reductions that they need are acknowledged (chargers obey at once here); leases that stay when the clock is
set (needs a broken stream, a clock set ahead within the lease and cars that want more); refusals not written again once a lease; the
rest of a limit lost that a newer one covers in part; an old acknowledgement that counts; overdraw forgotten with the measurements.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from datetime import timedelta

import numpy as np

from gateway.domain.commands import CommandBook
from gateway.domain.dispatch import DispatchState
from gateway.domain.errors import InvalidInput
from gateway.domain.sessions import Session
from gateway.domain.topology import Charger, Node
from gateway.ports import Batch, Put
from gateway.services.follow_dispatch import Follower
from gateway.services.gather_signals import SignalGatherer, SignalSettings, SignalSources
from gateway.services.plan_dispatch import Dispatcher, DispatchSources
from gateway.services.track_fleet import FleetTracker
from scripts.dispatch_checks import IndexArray, Watch
from scripts.dispatch_happenings import HAPPENINGS, SHARES, TROUBLES
from scripts.dispatch_pace import PACES
from scripts.dispatch_pace import SHARES as PACE_SHARES
from scripts.dispatch_store import CampaignStore
from scripts.dispatch_words import Words
from scripts.dispatch_world import TENANT, DrawnIds, Hands, Platform, SetClock, agree, draw_tree
from scripts.soak_runner import Outcome

SLICE_SECONDS = 8.0
"""What the tests spend on it."""
DAY_S = 86_400.0
BURST_SHARE = 0.2
BURST_S = 120.0
HOT_S = 120.0
"""Steps are short for so long after something happened."""
FORGETFUL_SHARE = 0.25
"""Share of streams that begin without a resume token."""
RETURN_SHARE = 0.7
"""Share of platforms that come back as soon as the gateway has started again; the others come later, when their stream does."""
MOST_FAILURES = 5
"""A day with so many is not lived to its end."""


def run(seed: int, until: Callable[[], bool]) -> Outcome:
    """Live days until told to stop; the case number with the seed lives a day again."""
    failures: list[str] = []
    days = steps = alarms = changes = 0
    charger_days = 0.0
    digest = hashlib.sha256()
    while not until():
        life = asyncio.run(live_day(np.random.default_rng([seed, days])))
        failures += [f"seed {seed}, case {days}: {text}" for text in life.failures]
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
    while life.clock.elapsed_s < DAY_S and len(life.failures) < MOST_FAILURES:
        await life.next()
    return life


class Life:
    """One tree, its services and what happens to them."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.pace = PACES[int(rng.choice(len(PACES), p=PACE_SHARES))]
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
        self.later: list[tuple[float, str, int]] = []
        """What is to go wrong and when, in elapsed seconds: a trouble and the charger around which it comes."""
        self.session_count = 0
        self.blamed = np.zeros(len(self.chargers), dtype=bool)
        self.words = Words(self.nodes)
        self.hands = Hands(self.chargers, rng)
        names = sorted({charger.csms for charger in self.chargers})
        self.platforms = [Platform(name, self.hands, self.clock) for name in names]
        self.platform_of = np.array([names.index(charger.csms) for charger in self.chargers])
        self.sessions: list[Session | None] = [None] * len(self.chargers)
        self.watch = Watch(self)
        self._places: tuple[object, IndexArray] = (None, np.zeros(0, dtype=np.int64))

    # ---------------------------------------------------------------- the gateway

    async def start(self) -> None:
        """Write the tree and start everything."""
        await self.store.apply(Batch(tenant=TENANT, puts=tuple(Put(record=row) for row in self.rows)))
        await self.boot()
        for platform in self.platforms:
            await self.connect(platform)
        await self.settle()

    async def boot(self) -> None:
        """Make all services anew on the same store."""
        store, clock, ids = self.store, self.clock, self.ids
        tracking = self.pace.tracking
        self.tracker = FleetTracker(store=store, clock=clock, ids=ids, tenants=[TENANT], settings=tracking)
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
            power=self.tracker.power,
            rules=self.pace.rules,
        )
        self.dispatcher = Dispatcher(
            store=store,
            clock=clock,
            ids=ids,
            tenants=[TENANT],
            desk=self.follower,
            sources=DispatchSources(
                fleet=self.tracker.view,
                find_charger=self.tracker.find_charger,
                limits=self.signals.limits_by_node,
                lost=self.signals.lost_nodes,
                steady=self.signals.steady_nodes,
                believe_departure=lambda _kind, _arrival, now: now + timedelta(hours=4),
            ),
            settings=self.pace.settings,
        )
        self.tracker.on_tree.append(self.dispatcher.follow_tree)
        for tell in (self.tracker.on_change, self.signals.on_change, self.follower.on_news):
            tell.append(self.dispatcher.wake)
        await self.tracker.load()
        await self.signals.load()
        await self.dispatcher.load()

    def book(self) -> tuple[CommandBook, IndexArray]:
        """Return the gateway's book of commands and where our chargers are in it: the services have an order of their own."""
        book = self.follower.book(TENANT)
        if self._places[0] is not book.charger_ids:
            place = {charger_id: i for i, charger_id in enumerate(book.charger_ids)}
            self._places = (
                book.charger_ids,
                np.array([place[charger.id] for charger in self.chargers], dtype=np.int64),
            )
        return book, self._places[1]

    async def rewire(self, i: int, charger: Charger) -> None:
        """Import a charger anew."""
        self.chargers[i] = charger
        await self.store.apply(Batch(tenant=TENANT, puts=(Put(record=charger),)))
        await self.tracker.reload(TENANT)
        self.watch.rewired()

    async def connect(self, platform: Platform) -> None:
        """Open the stream of a platform, sometimes without its resume token, and report its cars."""
        if self.rng.random() < FORGETFUL_SHARE:
            platform.forget(keeps_count=bool(self.rng.random() < 0.5))  # noqa: PLR2004  # one in two
        await platform.connect(self.dispatcher)
        await self.tell_sessions(platform)

    async def tell_sessions(self, platform: Platform) -> None:
        """Report the cars at a platform's chargers."""
        mine = [session for i in platform.places.tolist() if (session := self.sessions[i]) is not None]
        if mine:
            await self.report(platform, mine)

    async def report(self, platform: Platform, sessions: list[Session]) -> None:
        """Report cars, if the gateway runs and hears the platform; while the store fails, the platform will try again."""
        if not self.is_up or platform.link is None or self.store.is_down:
            return
        try:
            await self.tracker.report_sessions(
                platform.principal, sessions, is_history=False, request_id=self.ids.new("sessions")
            )
        except InvalidInput:
            self.history.update(b"refused")  # the clock was set back: to the gateway the car will come later

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
                acted |= await platform.read(is_written=not self.store.is_down)
            if not acted:
                return

    # ---------------------------------------------------------------- time

    async def next(self) -> None:
        """Go to the next instant at which anything changes, check, let things happen, act, check again."""
        now_s = self.clock.elapsed_s
        longest_s = float(self.rng.choice([1.0, 5.0, 30.0])) if now_s < self.hot_until_s else self.pace.tick_s
        borders = [now_s + longest_s, self.happens_at_s, self.up_again_s, self.store_back_s, *self.limit_borders()]
        borders += [*self.watch.fail_safe_borders(), *(at for at, _, _ in self.later)]
        borders += self.hands.lease_end_s[self.hands.lease_end_s > now_s].tolist()
        self.clock.elapsed_s = max(min(b for b in borders if b > now_s + 1e-3), now_s + 1e-3)
        self.steps += 1
        self.watch.check("before")
        await self.happen()
        if self.is_up:
            reported = self.hands.reported_kw(self.clock.elapsed_s)
            for platform in self.platforms:
                platform.report(self.tracker, reported)
            self.follower.measured(TENANT)
            before = self.hands.power_kw(self.clock.elapsed_s)
            await self.settle()
            await self.follower.flush()
            await self.dispatcher.save()
            self.count_blame()
            self.watch.check_rises(before)
        self.watch.check("after")
        self.remember()

    def limit_borders(self) -> list[float]:
        """Return when the loop looks next and when limits begin or end, in elapsed seconds."""
        now = self.clock.now()
        borders = [self.dispatcher.next_look(TENANT), *self.words.borders(now)]
        return [self.clock.elapsed_s + (border - now).total_seconds() for border in borders]

    async def happen(self) -> None:
        """Let what is due happen."""
        now_s = self.clock.elapsed_s
        if now_s >= self.up_again_s:
            self.is_up, self.up_again_s = True, np.inf
            self.words.restart()
            await self.boot()
            for platform in self.platforms:
                if self.rng.random() < RETURN_SHARE:
                    await self.connect(platform)
        if now_s >= self.store_back_s:
            self.store.is_down, self.store_back_s = False, np.inf
            for platform in self.platforms if self.is_up else ():
                await self.tell_sessions(platform)
        due, self.later = [x for x in self.later if x[0] <= now_s], [x for x in self.later if x[0] > now_s]
        for _, trouble, i in due:
            self.history.update(trouble.encode())
            await TROUBLES[trouble](self, i)
        if now_s < self.happens_at_s:
            return
        # Now and then one thing comes right after another.
        is_burst = self.rng.random() < BURST_SHARE
        wait_s = self.rng.uniform(1.0, BURST_S) if is_burst else self.rng.exponential(self.pace.calm_s)
        self.happens_at_s = now_s + float(wait_s)
        self.hot_until_s = now_s + HOT_S
        happening = str(self.rng.choice(list(HAPPENINGS), p=SHARES))
        self.history.update(happening.encode())
        await HAPPENINGS[happening](self)

    # ---------------------------------------------------------------- what is checked

    def count_blame(self) -> None:
        """Count chargers that are said to draw too much and never did lately."""
        book, places = self.book()
        blamed = book.state[places] == DispatchState.NOT_FOLLOWING
        now_s, hands = self.clock.elapsed_s, self.hands
        hands.was_wild_s = np.where(now_s >= hands.wild_since_s, now_s, hands.was_wild_s)
        innocent = now_s - hands.was_wild_s > self.pace.detection_s
        self.false_alarms += int((blamed & ~self.blamed & innocent).sum())
        self.blamed = blamed

    def remember(self) -> None:
        """Write the instant into the history."""
        self.history.update(f"{self.clock.elapsed_s:.6f}".encode())
        self.history.update(self.hands.power_kw(self.clock.elapsed_s).tobytes())
        self.history.update(self.hands.limit_kw.tobytes())
