"""The exact set points of a bid's schedule: which cars draw how much now so that everybody can still get what was promised.

A rule that looks at one instant, such as least slack first, can follow a schedule now and miss a departure later although another
split would have met all of them. Here the cars that are there are planned against the whole rest of the schedule (`bidding.optimum`),
and their draw in the first slot is what each should take now. The allocation takes these powers as weights: where the schedule can be
followed everybody gets exactly its planned power, and where a limit forces less all are trimmed in proportion.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from bidding.fleet.sessions import SessionArrays, fit_to_horizon
from bidding.optimum.coupling import Coupling
from bidding.optimum.optimise import serve_most
from bidding.optimum.outcome import SolutionRejected
from gateway.domain.allocation import TreeLevels
from gateway.domain.bids import Schedule
from gateway.domain.fleet import FleetView
from gateway.domain.topology import SiteTree
from gateway.observe import logger

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_log = logger("dispatch")
_LEAST_KWH = 0.01
_LEAST_SLOT_KW = 0.01
_MOST_CARS = 20_000
"""With more cars behind one schedule least slack decides."""
_PLAN_AGAIN_S = 60.0
"""While cars come and go they are planned together again after so long; at the begin of a slot at once."""
_EARLY_EUR_PER_KWH = 1e-3
"""What a slot costs more than the one before: energy that was bought is taken when it comes."""
_PLANNED_BONUS = 1_000.0
"""Priority of cars that the plan lets charge now over those that it lets wait."""
_LEAST_WEIGHT = 1e-6


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CarsNow:
    """What cars need, shape (C,) each."""

    needed_kwh: FloatArray
    """Energy until they leave; 0 without a car."""
    leaves_at: FloatArray
    """Seconds of the clock."""
    most_kw: FloatArray
    """Most that each can draw."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Question:
    """What a plan is asked for."""

    schedule: Schedule
    tree: SiteTree
    slot: int
    asked_at: float
    arrival: FloatArray
    """Of the chargers below the node; a car is known by its arrival."""
    cars: CarsNow
    """At the chargers below the node."""


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    of: _Question
    power_kw: FloatArray

    def answers(self, question: _Question) -> bool:
        """Tell whether it is of this slot, tree and revision, and of these cars or so young that new ones can wait."""
        of = self.of
        is_revised = of.schedule.made_at != question.schedule.made_at
        is_of = of.slot == question.slot and of.tree is question.tree and not is_revised
        is_young = question.asked_at - of.asked_at < _PLAN_AGAIN_S
        return is_of and (is_young or np.array_equal(of.arrival, question.arrival, equal_nan=True))


class ExactPlans:
    """The exact set points of every schedule that is followed, planned again when a slot begins or cars came and went.

    Nobody waits for a plan: what was planned last goes on until `answer` has found the next one.
    """

    def __init__(self) -> None:
        """Begin without a plan."""
        self._plans: dict[str, _Plan] = {}
        self._asked: dict[str, _Question] = {}

    @property
    def is_asked(self) -> bool:
        """Tell whether anything is to be planned."""
        return bool(self._asked)

    def power_kw(self, view: FleetView, schedules: Mapping[int, Schedule], cars: CarsNow, now: datetime) -> FloatArray:
        """Return what each car should draw now, shape (C,); NaN where no schedule is followed or nothing is planned yet.

        What is not planned yet is asked for: `answer` plans it.

        Args:
            view: The fleet.
            schedules: Schedules that are followed now, by node index.
            cars: What the cars need.
            now: The instant.
        """
        planned = np.full(len(cars.needed_kwh), np.nan)
        self._asked.clear()
        followed = {schedule.id for schedule in schedules.values()}
        self._plans = {name: plan for name, plan in self._plans.items() if name in followed}
        for schedule, at in zip(schedules.values(), _below(view.levels, list(schedules)), strict=True):
            if 0 < int((cars.needed_kwh[at] > _LEAST_KWH).sum()) <= _MOST_CARS:
                question = _question(schedule, view, at, cars, now)
                plan = self._plans.get(schedule.id)
                if plan is None or not plan.answers(question):
                    self._asked[schedule.id] = question
                if plan is not None and plan.of.tree is view.tree:
                    planned[at] = plan.power_kw
        return planned

    def shift(self, seconds: float) -> None:
        """Move the age of every plan with a clock that was set by so many seconds."""
        self._plans = {
            name: replace(plan, of=replace(plan.of, asked_at=plan.of.asked_at + seconds))
            for name, plan in self._plans.items()
        }

    async def answer(self) -> bool:
        """Plan in a thread what was asked for, one schedule after the other, and tell whether that was anything."""
        is_any = self.is_asked
        while self._asked:
            name, question = next(iter(self._asked.items()))
            schedule, now = question.schedule, question.asked_at
            profile = profile_from(schedule, now)
            power = await asyncio.to_thread(planned_power_kw, profile, schedule.step_minutes, question.cars, now)
            plan = self._plans[name] = _Plan(question, power)
            again = self._asked.get(name)
            if again is not None and plan.answers(again):
                del self._asked[name]
        return is_any


def _below(levels: TreeLevels, nodes: Sequence[int]) -> list[IntArray]:
    """Return the chargers below each of some nodes: in one pass, as there may be a schedule at every site."""
    place = np.full(len(levels.parent) + 1, -1)
    place[list(nodes)] = np.arange(len(nodes))
    above = place[levels.above[:, levels.leaf]]
    depth, charger = np.nonzero(above >= 0)
    which = above[depth, charger]
    ends = np.cumsum(np.bincount(which, minlength=len(nodes)))
    return np.split(charger[np.lexsort((charger, which))], ends)[:-1]


def _question(schedule: Schedule, view: FleetView, at: IntArray, cars: CarsNow, now: datetime) -> _Question:
    return _Question(
        schedule=schedule,
        tree=view.tree,
        slot=(now - schedule.start) // timedelta(minutes=schedule.step_minutes),
        asked_at=now.timestamp(),
        arrival=view.arrival[at],
        cars=CarsNow(needed_kwh=cars.needed_kwh[at], leaves_at=cars.leaves_at[at], most_kw=cars.most_kw[at]),
    )


def profile_from(schedule: Schedule, now: float) -> FloatArray:
    """Return the mean power of a schedule in slots of its own length that begin now, kW; never below 0.

    Args:
        schedule: The schedule; `now` lies in it.
        now: Seconds of the clock.
    """
    step_s = 60.0 * schedule.step_minutes
    passed = (now - schedule.start.timestamp()) / step_s
    first = int(passed)
    share = passed - first
    power = np.maximum(np.array(schedule.power_kw[first:], dtype=np.float64), 0.0)
    following = np.append(power[1:], power[-1])
    return np.asarray((1.0 - share) * power + share * following)


def planned_power_kw(profile_kw: FloatArray, step_minutes: int, cars: CarsNow, now: float) -> FloatArray:
    """Return what each car should draw in the first slot of a profile so that the most energy gets to all of them in time.

    Args:
        profile_kw: Most that they may draw together in each slot, shape (T,).
        step_minutes: Length of a slot.
        cars: What they need, shape (C,).
        now: Begin of the first slot, seconds.

    Returns:
        Power in kW, shape (C,); NaN for everybody when no plan was found.
    """
    hours = step_minutes / 60.0
    slots_left = np.floor((cars.leaves_at - now) / (60.0 * step_minutes) + 1e-9)
    departure = np.clip(np.nan_to_num(slots_left, posinf=len(profile_kw)), 1, len(profile_kw)).astype(np.int64)
    wants = np.flatnonzero((cars.needed_kwh > _LEAST_KWH) & (cars.most_kw > _LEAST_SLOT_KW))
    power = np.zeros(len(cars.needed_kwh))
    if not len(wants):
        return power
    need = cars.needed_kwh[wants]
    sessions = SessionArrays(
        arrival_slot=np.zeros(len(wants), dtype=np.int64),
        departure_slot=departure[wants],
        rate_kwh_per_slot=cars.most_kw[wants] * hours,
        energy_min_kwh=need,
        energy_max_kwh=need,
    )
    fitted = fit_to_horizon(sessions, len(profile_kw))
    price = _EARLY_EUR_PER_KWH * np.arange(len(profile_kw), dtype=np.float64)
    try:
        best = serve_most(fitted.sessions, price, Coupling(cap_kwh=profile_kw * hours))
    except SolutionRejected as error:
        _log.warning("no exact set points for a schedule", reason=str(error))
        return np.full(len(power), np.nan)
    if best.session_schedule is None:
        return np.full(len(power), np.nan)
    drawn = best.session_schedule
    power[wants[fitted.kept_rows]] = drawn.energy_kwh[drawn.offset[:-1]] / hours  # every window begins with slot 0
    return power


def by_plan(
    planned_kw: FloatArray, min_kw: FloatArray, weight: FloatArray, priority: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return weights and priorities with which the allocation gives everybody its planned power, shape (C,) each.

    Above the minimum a share is what is planned above it: where all planned power fits, the common level is 1.

    Args:
        planned_kw: What each should draw now; NaN where nothing is planned.
        min_kw: Least at which each charges.
        weight: Weights where nothing is planned.
        priority: Priorities where nothing is planned.
    """
    is_planned = ~np.isnan(planned_kw)
    above = np.maximum(np.nan_to_num(planned_kw) - min_kw, _LEAST_WEIGHT)
    charges = is_planned & (planned_kw >= np.maximum(min_kw / 2.0, _LEAST_SLOT_KW))
    return np.where(is_planned, above, weight), priority + _PLANNED_BONUS * charges
