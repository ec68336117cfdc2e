"""What each driver is told: energy at departure, when it is reached, cost, carbon, and why the car waits."""

from dataclasses import dataclass

import numpy as np

from bidding.arrays import BoolArray, FloatArray, IntArray, finite_vector, integer_vector, require_each, sum_by
from bidding.goals.plan import GoalPlan
from bidding.goals.reasons import (
    GaveWay,
    LimitBinds,
    NotEnoughTime,
    PriceAboveCap,
    Reason,
    RoomWorthMore,
    WaitsForCheaper,
    WaitsForGreener,
)
from bidding.goals.response import earliest_draw

NOTICEABLE_KWH = 1e-4
"""Energy below this is no delay and no shortage: it is rounding."""
SHARE_OF_NOTICEABLE = 0.01
"""A slot counts as held back from this share of `NOTICEABLE_KWH` on: many slots may make a delay together."""
NEVER = -1
"""In columns of slots: not in this plan."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DriverOutcomes:
    """One row per session of the plan; all expectations are by the plan."""

    energy_kwh: FloatArray
    """Energy at departure, counted from slot 0."""
    missing_kwh: FloatArray
    """Needed energy that is not charged: the limit is too low or the time too short."""
    need_reached_slot: IntArray
    """Slot in which the need is reached, with the car ready at its end; `NEVER` when it is not, or nothing is needed."""
    last_charging_slot: IntArray
    """Slot in which the last planned energy is charged; `NEVER` when none is."""
    cost_eur: FloatArray
    """At the price per slot, without the share of a demand charge."""
    carbon_kg: FloatArray
    """0.0 when carbon is unknown."""
    saving_eur: FloatArray
    """Full rate from arrival with the same energy would cost so much more."""
    saving_kg: FloatArray
    """Full rate from arrival with the same energy would emit so much more."""
    waited_kwh: FloatArray
    """Draw below full rate that the driver's own goal chose, up to the last charging slot."""
    displaced_kwh: FloatArray
    """Draw that the car would choose by itself in slots in which the limit is reached."""
    reasons: tuple[tuple[Reason, ...], ...]
    """Why, one entry per row of `reasons_for`: what is missing, then delays, then what is left out; empty: nothing waits."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Facts:
    """Columns and entries from which reasons are read."""

    plan: GoalPlan
    row: IntArray
    slot: IntArray
    drawn: FloatArray
    waited: FloatArray
    """Per entry: left free by the driver's own choice before the last charging slot."""
    displaced: FloatArray
    """Per entry: chosen alone, but not drawn, where the limit is reached."""
    energy: FloatArray
    alone_energy: FloatArray
    urgent_per_slot: FloatArray
    """Boosts and minimums of all per slot."""
    leaving_before: IntArray
    """How many cars that charge in slot t leave before slot d, shape (T, T + 1)."""
    saving_eur: FloatArray
    saving_kg: FloatArray
    shortfall: FloatArray
    gave_way: FloatArray


def tell_drivers(
    plan: GoalPlan, shortfall_kwh: FloatArray | None = None, *, reasons_for: IntArray | None = None
) -> DriverOutcomes:
    """Return what every driver can expect.

    Args:
        plan: The plan.
        shortfall_kwh: Needed energy that no plan can deliver before departure (`FittedWishes.shortfall_kwh`); None: none.
        reasons_for: Rows whose reasons are wanted; None: all. Columns are filled for all rows at array speed, reasons are
            objects and take some 0.1 ms each.

    Raises:
        InvalidInput: The shortfall has another length.
    """
    count = len(plan.wishes.cars)
    shortfall = finite_vector("shortfall_kwh", np.zeros(count) if shortfall_kwh is None else shortfall_kwh, count)
    facts = _facts(plan, shortfall)
    rows = np.arange(count) if reasons_for is None else integer_vector("reasons_for", reasons_for)
    require_each("reasons_for", (rows >= 0) & (rows < count), f"must be at least 0 and below {count}")
    price, carbon = plan.prices.price_eur_per_kwh[facts.slot], plan.prices.carbon[facts.slot]
    need_reached, last = _completion(facts)
    return DriverOutcomes(
        energy_kwh=facts.energy,
        missing_kwh=facts.gave_way + shortfall,
        need_reached_slot=need_reached,
        last_charging_slot=last,
        cost_eur=sum_by(facts.row, price * facts.drawn, count),
        carbon_kg=sum_by(facts.row, carbon * facts.drawn, count),
        saving_eur=facts.saving_eur,
        saving_kg=facts.saving_kg,
        waited_kwh=sum_by(facts.row, facts.waited, count),
        displaced_kwh=sum_by(facts.row, facts.displaced, count),
        reasons=tuple(_reasons_of(facts, int(row)) for row in rows),
    )


def _facts(plan: GoalPlan, shortfall: FloatArray) -> _Facts:
    cars, count = plan.wishes.cars, len(plan.wishes.cars)
    row, slot, drawn = plan.session_schedule.row, plan.session_schedule.slot, plan.session_schedule.energy_kwh
    energy = sum_by(row, drawn, count)
    rate = cars.rate_kwh_per_slot[row]
    is_full = _limit_reached(plan)[slot]
    lost = np.where(is_full, np.maximum(plan.alone_kwh - drawn, 0.0), 0.0)
    last = np.full(count, NEVER)
    charging = drawn > NOTICEABLE_KWH
    np.maximum.at(last, row[charging], slot[charging])
    waited = np.where(slot <= last[row], np.maximum(rate - drawn - lost, 0.0), 0.0)
    saved = earliest_draw(cars, energy) - drawn
    gave_way = np.maximum(plan.demand.need_kwh - energy, 0.0)
    return _Facts(
        plan=plan,
        row=row,
        slot=slot,
        drawn=drawn,
        waited=_cut_off_last(waited, row, slot, last),
        displaced=lost,
        energy=energy,
        alone_energy=sum_by(row, plan.alone_kwh, count),
        urgent_per_slot=sum_by(slot, plan.urgent_kwh, len(plan.schedule_kwh)),
        leaving_before=_leaving_before(row[charging], slot[charging], cars.departure_slot, len(plan.schedule_kwh)),
        saving_eur=sum_by(row, saved * plan.prices.price_eur_per_kwh[slot], count),
        saving_kg=sum_by(row, saved * plan.prices.carbon[slot], count),
        shortfall=shortfall,
        gave_way=np.where(gave_way > NOTICEABLE_KWH, gave_way, 0.0),
    )


def _cut_off_last(waited: FloatArray, row: IntArray, slot: IntArray, last: IntArray) -> FloatArray:
    """Return the waits without the rest of the last charging slot: a car that is done there does not wait."""
    return np.where(slot < last[row], waited, 0.0)


def _leaving_before(row: IntArray, slot: IntArray, departure: IntArray, slot_count: int) -> IntArray:
    """Count the cars charging in each slot that leave before each border, from the entries in which cars charge."""
    cell = slot * (slot_count + 1) + departure[row]
    leaving_at = np.bincount(cell, minlength=slot_count * (slot_count + 1)).reshape(slot_count, slot_count + 1)
    before: IntArray = np.cumsum(leaving_at, axis=1) - leaving_at
    return before


def _limit_reached(plan: GoalPlan) -> BoolArray:
    """Return the slots in which the cap is reached or one kWh more of room would save something."""
    at_cap: BoolArray = plan.schedule_kwh >= plan.cap_kwh - NOTICEABLE_KWH
    return at_cap | (plan.room_price_eur_per_kwh > 0.0)


def _completion(facts: _Facts) -> tuple[IntArray, IntArray]:
    """Return the slot in which each need is reached, and the last charging slot."""
    count = len(facts.energy)
    need = facts.plan.demand.need_kwh
    running = np.concatenate([[0.0], np.cumsum(facts.drawn)])
    offset = facts.plan.session_schedule.offset
    so_far = running[1:] - running[offset[:-1]][facts.row]
    reached = (so_far >= need[facts.row] - NOTICEABLE_KWH) & (need[facts.row] > NOTICEABLE_KWH)
    first = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(first, facts.row[reached], facts.slot[reached])
    last = np.full(count, NEVER)
    charging = facts.drawn > NOTICEABLE_KWH
    np.maximum.at(last, facts.row[charging], facts.slot[charging])
    never = (first == np.iinfo(np.int64).max) | (facts.shortfall > NOTICEABLE_KWH)
    return np.where(never, NEVER, first), last


def _reasons_of(facts: _Facts, row: int) -> tuple[Reason, ...]:
    """Return everything that holds one car back."""
    begin, end = facts.plan.session_schedule.offset[row : row + 2]
    mine = slice(int(begin), int(end))
    found = (
        _not_enough_time(facts, row),
        _gave_way(facts, row),
        _limit_binds(facts, row, mine),
        _waits(facts, row, mine),
        *_steps_left_out(facts, row, mine),
    )
    return tuple(reason for reason in found if reason is not None)


def _not_enough_time(facts: _Facts, row: int) -> NotEnoughTime | None:
    missing = float(facts.shortfall[row])
    return NotEnoughTime(missing_kwh=missing) if missing > NOTICEABLE_KWH else None


def _gave_way(facts: _Facts, row: int) -> GaveWay | None:
    missing = float(facts.gave_way[row])
    if missing == 0.0:
        return None
    return GaveWay(missing_kwh=missing, served_share=1.0 - missing / float(facts.plan.demand.need_kwh[row]))


def _limit_binds(facts: _Facts, row: int, mine: slice) -> LimitBinds | None:
    displaced = facts.displaced[mine]
    if displaced.sum() <= NOTICEABLE_KWH:
        return None
    held_back = displaced > NOTICEABLE_KWH * SHARE_OF_NOTICEABLE
    slots = facts.slot[mine][held_back]
    urgent = facts.urgent_per_slot[slots] - facts.plan.urgent_kwh[mine][held_back]
    return LimitBinds(
        first_slot=int(slots.min()),
        until_slot=int(slots.max()) + 1,
        displaced_kwh=float(displaced.sum()),
        urgent_others_kwh=max(float(urgent.sum()), 0.0),
        leaving_earlier_count=int(facts.leaving_before[slots, facts.plan.wishes.cars.departure_slot[row]].max()),
    )


def _waits(facts: _Facts, row: int, mine: slice) -> WaitsForCheaper | WaitsForGreener | None:
    waited = facts.waited[mine]
    if waited.sum() <= NOTICEABLE_KWH:
        return None
    first = int(np.argmax(waited > NOTICEABLE_KWH))
    later = np.flatnonzero(facts.drawn[mine][first + 1 :] > NOTICEABLE_KWH)
    until = int(facts.slot[mine][first + 1 + later[0]])
    if facts.plan.wishes.weight[row] > 0.0:
        return WaitsForGreener(until_slot=until, delayed_kwh=float(waited.sum()), saving_kg=float(facts.saving_kg[row]))
    return WaitsForCheaper(until_slot=until, delayed_kwh=float(waited.sum()), saving_eur=float(facts.saving_eur[row]))


def _steps_left_out(facts: _Facts, row: int, mine: slice) -> tuple[Reason, ...]:
    plan = facts.plan
    steps = plan.wishes.steps
    if steps is None or row not in steps.session_row:
        return ()
    found: list[Reason] = []
    alone = max(float(facts.alone_energy[row]), float(facts.energy[row]))
    too_dear = float(plan.demand.top_kwh[row]) - alone
    spare = plan.wishes.cars.rate_kwh_per_slot[row] - plan.alone_kwh[mine] > NOTICEABLE_KWH
    if too_dear > NOTICEABLE_KWH and spare.any():
        reached = float(plan.demand.need_kwh[row]) + np.cumsum(plan.demand.step_kwh[row])
        place = int(np.argmax(reached > alone + NOTICEABLE_KWH))
        caps = steps.price_cap_eur_per_kwh[steps.session_row == row]
        least = float(plan.prices.price_eur_per_kwh[facts.slot[mine]][spare].min())
        found.append(
            PriceAboveCap(
                price_cap_eur_per_kwh=float(caps[place]), least_price_eur_per_kwh=least, left_out_kwh=too_dear
            )
        )
    crowded_out = alone - max(float(facts.energy[row]), float(plan.demand.need_kwh[row]))
    if crowded_out > NOTICEABLE_KWH:
        found.append(RoomWorthMore(left_out_kwh=crowded_out))
    return tuple(found)
