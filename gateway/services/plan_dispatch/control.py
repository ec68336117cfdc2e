"""The control loop of one tenant: look, clip, allocate, be calm, send."""

from collections.abc import Generator, Sequence
from datetime import datetime, timedelta
from functools import partial

import numpy as np
import numpy.typing as npt

from gateway.domain.allocation import Demand, RunRules, RunTimes, allocate_within, clip, quantise
from gateway.domain.bids import Schedule
from gateway.domain.calm import CalmState, CapRelief, Marks
from gateway.domain.clock_steps import ClockSteps
from gateway.domain.fleet import FleetView
from gateway.domain.limits import Limit
from gateway.domain.platforms import Platforms
from gateway.observe import logger
from gateway.services.plan_dispatch.caps import Margins, changing_by, read_caps, with_limit
from gateway.services.plan_dispatch.charger_limits import within_charger_limits
from gateway.services.plan_dispatch.compliance import ComplianceWatch
from gateway.services.plan_dispatch.delays import Delays
from gateway.services.plan_dispatch.exact import CarsNow, ExactPlans, by_plan
from gateway.services.plan_dispatch.folds import Folds, Orders
from gateway.services.plan_dispatch.greener import CarbonForecast, GreenWaits
from gateway.services.plan_dispatch.headroom import Headroom
from gateway.services.plan_dispatch.link import DispatchLink
from gateway.services.plan_dispatch.loop_turns import LoopTurns, at_once
from gateway.services.plan_dispatch.phases import phase_bounds, phases_beside, pilots_of
from gateway.services.plan_dispatch.picture import ControlPorts, Picture
from gateway.services.plan_dispatch.reach import LastStream
from gateway.services.plan_dispatch.room import within_room
from gateway.services.plan_dispatch.sender import Sender
from gateway.services.plan_dispatch.settings import DispatchSettings
from gateway.services.plan_dispatch.wants import (
    Departures,
    IdleCars,
    floor_to_quantum,
    needed_kwh,
    priority_of,
    read_wants,
    sleeper_bonus,
    weight_of,
)

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_log = logger("dispatch")

_SAME_KW = 1e-6
_IDLE_KW = 0.05
_LONGEST_DAY = timedelta(hours=26)
"""A day whose clocks go back, and what is looked back at its end."""
_DAYS_AHEAD = timedelta(days=2)
_ALL_ROWS = 1_000_000
"""More than a tenant has sites with a schedule on three days."""


class Control:
    """Moves the set points of one tenant."""

    def __init__(self, *, tenant: str, ports: ControlPorts, settings: DispatchSettings) -> None:
        """Begin without links and schedules.

        Args:
            tenant: Whose chargers.
            ports: The world.
            settings: How limits are kept and changed.
        """
        self.tenant = tenant
        self.links: dict[str, DispatchLink] = {}
        self.gone: dict[str, LastStream] = {}
        """Last streams of platforms that were here and are away."""
        self.schedules: tuple[Schedule, ...] = ()
        self._ports = ports
        self._settings = settings
        self._loop = LoopTurns(inline_charger_count=settings.inline_charger_count)
        self.sender = Sender(tenant=tenant, ports=ports, settings=settings)
        self._departures = Departures(ports.sources.believe_departure)
        self._idle = IdleCars(settings.ask_idle_after, settings.ask_urgent_after)
        self._calm = CalmState(0, np.zeros(0))
        self._platforms: Platforms | None = None
        self._charger_ids: Sequence[str] = ()
        self._folds = Folds(settings.lead)
        self._clock_steps = ClockSteps()
        self._headroom = Headroom(settings)
        self._relief = CapRelief()
        self._delays = Delays(
            tenant=tenant, store=ports.store, clock=ports.clock, ids=ports.ids, rules=settings.random_delay
        )
        self.compliance = ComplianceWatch(
            tenant=tenant,
            ports=ports,
            store_patience_s=settings.store_patience_s,
            guaranteed_min_kw=settings.guaranteed_min_kw,
        )
        self._runs = RunTimes(0)
        self.exact = ExactPlans()
        self._carbon = CarbonForecast(ports.store, tenant, settings.carbon_zone)
        self._green = GreenWaits(self._carbon)

    async def load(self) -> None:
        """Go on from rows: commands in force, sequence numbers, schedules."""
        await self._ports.desk.load(self.tenant)
        await self.sender.load()
        await self.load_schedules()
        await self.load_carbon()
        await self._delays.load()
        await self.compliance.load()

    async def load_schedules(self) -> None:
        """Read the schedules of today and of the next days; yesterday's for as long as it may run."""
        now = self._ports.clock.now()
        since, until = now - _LONGEST_DAY, now + _DAYS_AHEAD
        rows = await self._ports.store.find(Schedule, self.tenant, since=since, until=until, limit=_ALL_ROWS)
        self.schedules = tuple(row.record for row in rows)

    async def load_carbon(self) -> None:
        """Read the carbon forecast by which cars wait whose driver asked for low carbon."""
        await self._carbon.load(self._ports.clock.now().timestamp())

    # ---------------------------------------------------------------- one step

    async def step(self) -> datetime:
        """Bring every set point where it should be now and return when to look again at the latest."""
        loop, count = self._loop, len(self._ports.desk.book(self.tenant).charger_ids)
        picture = await loop.in_turns(count, self._looking())
        await loop.breathe(count)
        lowered = await loop.beside(count, partial(self._clipped, picture))
        if lowered is not None:
            await self.sender.issue(picture, lowered, self.links)
            await loop.breathe(count, self._settings.ack_pause_s)
            picture = await loop.in_turns(count, self._looking())
            await loop.breathe(count)
        target = await self._ahead(picture, await self._allocate(picture))
        latest = await loop.in_turns(count, self._looking()) if loop.is_big(count) else picture
        if latest.view.tree is picture.view.tree:
            await loop.breathe(count)
            stepped = await loop.in_turns(count, self._stepping(latest, target))
            await loop.breathe(count)
            calmed = await loop.beside(count, partial(within_room, latest, stepped))
            await self.sender.issue(latest, calmed, self.links, is_tighter=partial(self._is_tighter, latest))
            await loop.breathe(count)
            await self.compliance.watch(latest)
        return self._next_look(latest)

    def look(self, supposed: Limit | None = None) -> Picture:
        """Return what is the case now, or would be with one more limit."""
        return at_once(self._looking(supposed))

    def _looking(self, supposed: Limit | None = None) -> Generator[None, None, Picture]:
        """Look as `look` does; where it yields others may go on: what is read of the book is read in one piece."""
        sources, desk, settings = self._ports.sources, self._ports.desk, self._settings
        self._follow_clock(self._ports.clock.now())
        desk.measured(self.tenant)
        yield
        now = self._ports.clock.now()
        view, seconds = sources.fleet(self.tenant), now.timestamp()
        self.follow_tree()
        if self._charger_ids is not view.tree.charger_ids:
            self._begin_anew(view.tree.charger_ids)
        self._follow_clock(now)
        book, runs = desk.book(self.tenant), self._runs
        is_connected = self.is_connected(len(view.max_kw))
        in_force = np.where(is_connected, book.in_force_kw(view.lapsed_kw, seconds), 0.0)
        is_present = view.has_session | (np.nan_to_num(view.power_kw) > _IDLE_KW)
        is_loose = ~is_connected | book.is_troubled | book.is_doubted(seconds, desk.rules)
        counted = book.counted_kw(view.lapsed_kw, view.power_kw, seconds, desk.rules)
        loose_kw = counted
        if is_loose.any():
            # A lease that nobody renews may open when it ends: others make room before it does.
            soon = seconds + (settings.tick + settings.lead).total_seconds()
            loose_kw = np.maximum(counted, book.counted_kw(view.lapsed_kw, view.power_kw, soon, desk.rules))
            # Where nobody enforces a lease, nothing is counted on as soon as nobody is there to command.
            is_counted_on = is_connected | (view.lapsed_kw < view.max_kw)
            loose_kw = np.where(is_counted_on, loose_kw, np.maximum(loose_kw, view.max_kw))
        # A car may come to a charger that nobody hears of: out of reach, an empty one counts as well.
        counted = np.where(is_loose, loose_kw, np.where(is_present, counted, 0.0))
        yield
        orders = self._orders(supposed)
        wants, own_changes = within_charger_limits(
            read_wants(view, self._departures.of(view, now), settings.believed_energy_kwh, seconds),
            view,
            orders,
            self._folds,
            now,
        )
        yield
        margins = self._margins(self._headroom.of(view, book, seconds))
        return Picture(
            at=now,
            view=view,
            book=book,
            caps=changing_by(read_caps(view, orders, margins, self._folds, now), own_changes),
            wants=wants,
            is_connected=is_connected,
            is_loose=is_loose,
            is_present=is_present,
            in_force_kw=in_force,
            counted_kw=counted,
            priority=priority_of(wants.laxity, self._turns(runs, view, in_force, seconds)),
        )

    def _orders(self, supposed: Limit | None = None) -> Orders:
        sources = self._ports.sources
        return Orders(
            limits=with_limit(sources.limits(self.tenant), supposed),
            lost=sources.lost(self.tenant),
            schedules=self.schedules,
            find_charger=partial(sources.find_charger, self.tenant),
            steady=sources.steady(self.tenant),
            other_kw=partial(sources.other_kw, self.tenant),
        )

    def _margins(self, headroom: FloatArray) -> Margins:
        return Margins(headroom=headroom, guaranteed_min_kw=self._settings.guaranteed_min_kw)

    def _is_tighter(self, picture: Picture) -> bool:
        """Tell whether less may flow anywhere than a picture says: what was ordered while its set points were worked out."""
        view = picture.view
        if self._ports.sources.fleet(self.tenant).tree is not view.tree:
            return True
        orders, now, then = self._orders(), self._ports.clock.now(), picture.caps
        wants, _ = within_charger_limits(picture.wants, view, orders, self._folds, now)
        caps = read_caps(view, orders, self._margins(self._headroom.known), self._folds, now)
        return any(
            bool((less < before - _SAME_KW).any())
            for less, before in (
                (wants.wanted_kw, picture.wants.wanted_kw),
                (caps.cap_kw, then.cap_kw),
                (caps.phase_cap_kw, then.phase_cap_kw),
            )
        )

    def _turns(self, runs: RunTimes, view: FleetView, in_force_kw: FloatArray, now: float) -> FloatArray:
        """Return what priority each charger gains by its turn, and by not waking up after a pause, shape (C,)."""
        runs.follow(in_force_kw > 0.0, view.arrival, now)
        return runs.turns(self._run_rules, now) + sleeper_bonus(view, in_force_kw)

    @property
    def _run_rules(self) -> RunRules:
        calm = self._settings.calm
        return RunRules(min_on_s=calm.min_on_s, min_off_s=calm.min_off_s)

    def _follow_clock(self, now: datetime) -> None:
        """Move leases and waits along when the clock was set: they are durations, and the platforms keep them as such."""
        step_s = self._clock_steps.seconds(now, self._ports.clock.monotonic())
        if step_s != 0.0:
            _log.warning("the clock was set", tenant=self.tenant, seconds=round(step_s, 3))
            keepers = (self._calm, self._relief, self._runs, self._delays, self._idle, self._headroom, self.exact)
            for keeper in keepers:
                keeper.shift(step_s)
            for link in self.links.values():
                link.shift(step_s)

    def follow_tree(self) -> Platforms:
        """Bring the streams to the tree as it is now, at once: what platforms say is about its places; return whose they are."""
        view, older = self._ports.sources.fleet(self.tenant), self._platforms
        if older is not None and older.charger_ids is view.tree.charger_ids:
            return older
        platforms = self._platforms = view.platforms
        moved = np.zeros(0, dtype=np.int64) if older is None else platforms.moved_since(older)
        if moved.size:  # the new platform knows nothing of their commands
            self._ports.desk.moved(self.tenant, moved)
        for link in self.links.values():
            link.bind(platforms.own_places(link.csms, link.charger_ids))
        return platforms

    def _begin_anew(self, charger_ids: Sequence[str]) -> None:
        """Let what the loop remembers of chargers begin anew with another tree."""
        self._charger_ids, count = charger_ids, len(charger_ids)
        self._calm = CalmState(count, self._shares(count))
        self._runs = RunTimes(count)

    def is_connected(self, count: int) -> BoolArray:
        """Return which of so many chargers have a platform that is connected."""
        is_connected = np.zeros(count, dtype=bool)
        if self.links:
            is_connected[np.concatenate([link.reached for link in self.links.values()])] = True
        return is_connected

    def within_caps(self, picture: Picture) -> FloatArray:
        """Return the set points in force of a picture, lowered to what its caps allow."""
        lowered = self._clipped(picture)
        return picture.in_force_kw if lowered is None else lowered

    def _clipped(self, picture: Picture) -> FloatArray | None:
        """Return set points lowered to what the caps allow; None when they are within them already.

        Who obeys makes room for what the others may be drawing; those are asked to stay within what is left, and not believed.
        """
        in_force, is_loose = picture.in_force_kw, picture.is_loose
        reserved = np.where(is_loose, picture.counted_kw, 0.0)
        obeying = self._clip(picture, reserved, np.where(is_loose, 0.0, in_force))
        asked = np.where(is_loose, in_force, 0.0)
        if is_loose.any():
            away = np.where(picture.is_connected, 0.0, picture.counted_kw)
            asked = self._clip(picture, obeying + away, asked)
        lowered = np.where(is_loose, asked, obeying)
        return None if (lowered == in_force).all() else floor_to_quantum(lowered)

    def _clip(self, picture: Picture, taken_kw: FloatArray, setpoints_kw: FloatArray) -> FloatArray:
        wants, levels = picture.wants, picture.view.levels
        room = np.maximum(picture.caps.cap_kw - levels.totals(taken_kw), 0.0)
        phases = phases_beside(picture.view, picture.caps.phase_cap_kw, taken_kw)
        return clip(levels, room, setpoints_kw, min_kw=wants.min_kw, priority=picture.priority, phases=phases)

    async def _allocate(self, picture: Picture) -> FloatArray:
        """Return where the set points should end; big fleets are computed in a thread."""
        view, wants = picture.view, picture.wants
        planned = self._planned_kw(picture)
        weight, priority = by_plan(planned, wants.min_kw, weight_of(wants.laxity), picture.priority)
        is_planned = self._is_planned(picture)
        waits, runs = self._green.of(view, wants, is_planned, picture.now), self._runs
        await self._loop.breathe(picture.charger_count)
        demand = Demand(
            wanted_kw=np.where(waits, 0.0, wants.wanted_kw),
            min_kw=wants.min_kw,
            priority=priority,
            weight=weight,
            must_run=wants.must_run,
            reserved_kw=np.where(picture.is_loose, picture.counted_kw, 0.0),
            comes_last=self._idle.of(view, self._takes_nothing(picture), wants.must_run, picture.now),
            must_stay=runs.must_stay(self._run_rules, picture.now),
            must_rest=runs.must_rest(self._run_rules, picture.now) & ~is_planned,
        )
        aim = self._aim(picture)
        target = await self._loop.beside(picture.charger_count, partial(_split, picture, aim, demand))
        # Who is not believed is not asked to rise; what its own car or limit takes it is told all the same.
        own_kw = np.where(picture.is_present, np.minimum(picture.in_force_kw, wants.wanted_kw), picture.in_force_kw)
        return np.where(picture.is_loose, own_kw, floor_to_quantum(target))

    def _planned_kw(self, picture: Picture) -> FloatArray:
        """Return what each car should draw now by the schedule that it is part of, shape (C,); NaN where there is none."""
        view, believed_kwh = picture.view, self._settings.believed_energy_kwh
        cars = CarsNow(
            needed_kwh=needed_kwh(view, believed_kwh),
            leaves_at=self._departures.of(view, picture.at),
            most_kw=picture.wants.wanted_kw,
        )
        return self.exact.power_kw(view, picture.caps.schedules, cars, picture.at)

    async def _ahead(self, picture: Picture, target: FloatArray) -> FloatArray:
        """Return targets lowered to demand response that begins soon, where chargers come down to it at random times before."""
        for limit in self._delays.coming(self._ports.sources.limits(self.tenant), picture.at):
            supposed = self.look(limit)
            lowered = await self._allocate(supposed)
            if supposed.view.tree is picture.view.tree:
                target = self._delays.lowered(picture.view, target, lowered)
        return target

    def _takes_nothing(self, picture: Picture) -> BoolArray:
        """Return whose car has long drawn nothing although its limit lets it charge, shape (C,)."""
        unused = picture.book.unused_kw(picture.view.power_kw, picture.now, self._ports.desk.rules)
        may_charge = picture.is_connected & (picture.in_force_kw >= picture.wants.min_kw) & (picture.in_force_kw > 0.0)
        return np.asarray(may_charge & (unused >= picture.in_force_kw - _IDLE_KW))

    def _aim(self, picture: Picture) -> FloatArray:
        """Return what the schedule leaves to give, shape (N,): what cars do not take of their limits goes to others."""
        unused = picture.book.lastingly_unused_kw(picture.view.power_kw, picture.now, self._ports.desk.rules)
        unused = np.where(picture.is_connected & picture.view.has_session, unused, 0.0)
        return picture.caps.target_kw + picture.view.levels.totals(unused)

    def _stepping(self, picture: Picture, target: FloatArray) -> Generator[None, None, FloatArray]:
        """Return the next set points on the way to the target; `within_room` says how far they may rise."""
        view, wants, now = picture.view, picture.wants, picture.now
        grace = self._settings.arrival_grace.total_seconds()
        has_just_arrived = view.has_session & (now - np.nan_to_num(view.arrival, nan=-np.inf) <= grace)
        is_relaxed = self._relaxed(picture)
        # What a charger's own limit takes is a reduction like any other.
        is_cut = wants.wanted_kw < np.minimum(picture.in_force_kw, floor_to_quantum(view.session_max_kw))
        marks = Marks(
            urgent=is_cut | (wants.wanted_kw <= 0.0) | view.levels.is_below(self._is_over_schedule(picture, target)),
            prompt=(has_just_arrived & (picture.in_force_kw <= 0.0)) | (self._is_planned(picture) & ~is_relaxed),
            restoring=is_relaxed & ~wants.must_run,
        )
        current, calm = picture.in_force_kw, self._calm
        yield
        is_own = (has_just_arrived & (current <= 0.0)) | (wants.wanted_kw <= 0.0) | is_cut
        held = self._delays.held(view, self.schedules, self._ports.sources.limits(self.tenant), picture.at)
        target = np.where(held & ~is_own, current, target)
        return floor_to_quantum(calm.step(current, target, wants.min_kw, marks, rules=self._settings.calm, now=now))

    def _relaxed(self, picture: Picture) -> BoolArray:
        """Return which chargers hang below a node whose limit was relaxed lately, shape (C,): they are spread at random.

        Each relief draws new places, so that the same charger is not always the last, and everybody below waits anew.
        """
        levels, rules = picture.view.levels, self._settings.calm
        rose = self._relief.see(picture.caps.cap_kw, picture.now)
        if rose.any():
            self._calm.restart(levels.is_below(rose), self._shares(len(picture.in_force_kw)), picture.now)
        return levels.is_below(self._relief.is_recent(picture.now, rules.stability_s + rules.restore_spread_s))

    def _shares(self, count: int) -> FloatArray:
        """Return a random place per charger, 0 to 1."""
        return np.random.default_rng(int(self._ports.ids.uniform(0, 2**31))).random(count)

    def _is_planned(self, picture: Picture) -> BoolArray:
        """Return which chargers may rise with their schedule at once, shape (C,).

        A schedule is sold energy: waiting for stability in every quarter-hour would deliver a third less than was bought. Below a
        node whose limit was relaxed lately power still returns calmly.
        """
        return picture.view.levels.is_below(np.isfinite(picture.caps.target_kw))

    def _is_over_schedule(self, picture: Picture, target: FloatArray) -> BoolArray:
        levels = picture.view.levels
        must_run = levels.totals(np.where(picture.wants.must_run, target, 0.0))
        planned = np.maximum(self._aim(picture), must_run)
        return np.asarray(levels.totals(picture.in_force_kw) > planned + self._settings.calm.deadband_kw)

    def _next_look(self, picture: Picture) -> datetime:
        """Return when to look again: after a tick, the lead before a limit changes and then, and when a command is doubted."""
        at, lead = picture.at, self._settings.lead
        times = [at + self._settings.tick]
        # Within the lead of a change its limits count already, and nothing new is to be seen before it.
        times += [change - lead if change - lead > at else change for change in picture.caps.changes if change > at]
        doubt = picture.book.next_doubt(picture.now, self._ports.desk.rules)
        if doubt is not None:
            times.append(picture.at + timedelta(seconds=doubt - picture.now))
        # Less than half a microsecond ahead rounds to this instant, which would then be due for ever.
        return max(min(times), at + timedelta.resolution)


def _split(picture: Picture, aim_kw: FloatArray, demand: Demand) -> FloatArray:
    """Return the set points that the caps and the schedule allow, in total and per phase, on the steps of the chargers."""
    view, caps = picture.view, picture.caps
    phases = phase_bounds(view, caps.phase_cap_kw)
    target = allocate_within(view.levels, caps.cap_kw, aim_kw, demand, phases)
    pilots = pilots_of(view, demand.wanted_kw)
    if pilots is None:
        return target
    room = np.maximum(caps.cap_kw - view.levels.totals(demand.reserved_kw), 0.0)
    beside = phases_beside(view, caps.phase_cap_kw, demand.reserved_kw)
    return quantise(view.levels, room, target, pilots, demand.priority, beside)
