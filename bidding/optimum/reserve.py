"""Balancing reserve beside the schedule: energy-limited headroom, exact over the full activation.

A block's reserve R is held when, for every moment an activation may begin, there is a schedule that is the planned one until
then, draws R less (upward) or R more (downward) over the whole activation, and still gives every session its energy
afterwards. Each such schedule is a *copy*: a further variable in the same set of what the sessions can do, with the same
columns and the same price response (`optimise_convex(..., copies=...)`).

Copies agree with the plan in what the fleet drew before the activation, not in which session drew it. With sessions that
differ the co-optimised reserve is therefore an upper bound. `certify_reserve` then takes the plan's set points as they are,
lets every session go on from its own state, and returns what these sessions surely deliver: that is what may be offered.

Symmetric products (FCR, blocks of 4 hours) hold both directions with one R; aFRR has one product per direction.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

import cvxpy as cp
import numpy as np

from bidding.arrays import FloatArray, IntArray, finite_vector
from bidding.fleet.sessions import SessionArrays, fit_to_horizon
from bidding.optimum.convex import CONVEX_LIMITS
from bidding.optimum.convex_optimum import optimise_convex
from bidding.optimum.decomposition import SearchLimits
from bidding.optimum.disaggregation import SessionSchedule
from bidding.optimum.recheck import RELATIVE_TOLERANCE
from bidding.optimum.site_assets import BatteryModel, Ending, StationaryBattery, battery_model
from bidding.optimum.terms import Term, rules, site_cap
from gateway.domain.errors import InvalidInput


class Direction(Enum):
    """What an activation asks of the site."""

    UP = "up"
    """Draw less (or give more): the grid lacks energy."""
    DOWN = "down"
    """Draw more: the grid has too much."""

    @property
    def sign(self) -> float:
        """How the draw changes with the reserve."""
        return -1.0 if self is Direction.UP else 1.0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ReserveProduct:
    """What is offered: blocks of slots, and how long a full activation must be held."""

    blocks: tuple[tuple[int, int], ...]
    """First slot and the slot after the last of each block; one reserve for the whole block."""
    directions: tuple[Direction, ...]
    """Both for a symmetric product."""
    activation_slots: int
    """How long the full reserve must be delivered; activations may begin back to back, and end with the block at last."""
    eur_per_kwh: FloatArray
    """Payment per block for each kWh per slot held, shape (B,)."""

    def __post_init__(self) -> None:
        """Reject blocks out of order and activations that do not fit."""
        payment = finite_vector("reserve.eur_per_kwh", self.eur_per_kwh, len(self.blocks))
        object.__setattr__(self, "eur_per_kwh", payment)
        if not self.blocks or not self.directions:
            raise InvalidInput("reserve", "needs at least one block and one direction")
        if self.activation_slots < 1:
            raise InvalidInput("reserve.activation_slots", "must be at least 1")
        for number, (first, end) in enumerate(self.blocks):
            if first < 0 or end - first < self.activation_slots:
                raise InvalidInput(
                    f"reserve.blocks[{number}]", "must hold a full activation and begin at slot 0 at least"
                )

    def starts(self, block: int) -> tuple[int, ...]:
        """Return the slots in which an activation may begin."""
        first, end = self.blocks[block]
        last = end - self.activation_slots
        return tuple(sorted({*range(first, last + 1, self.activation_slots), last}))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Position:
    """Everything at one connection point that can deliver."""

    schedule: cp.Variable
    """Draw of the sessions per slot."""
    batteries: tuple[BatteryModel, ...] = ()
    fixed_kwh: FloatArray | None = None
    """Draw of everything else per slot, which does not react; None for nothing."""
    cap_kwh: FloatArray | None = None
    """Limit of the connection per slot; None for none."""

    @property
    def draw_kwh(self) -> cp.Expression:
        """Draw of the connection point per slot."""
        draw: cp.Expression = self.schedule + (0.0 if self.fixed_kwh is None else self.fixed_kwh)
        for battery in self.batteries:
            draw = draw + battery.draw_kwh
        return draw

    @property
    def decisions(self) -> tuple[cp.Variable, ...]:
        """What is decided per slot: the same in two positions means the same happened, up to who charged."""
        flows = [flow for battery in self.batteries for flow in (battery.charge_kwh, battery.discharge_kwh)]
        return (self.schedule, *flows)

    def rules(self) -> Term:
        """Return the batteries' physics and the limit, without cost."""
        found = rules() if self.cap_kwh is None else site_cap(self.draw_kwh, self.cap_kwh)
        for battery in self.batteries:
            term = battery.term
            found = found + Term(cost=cp.Constant(0.0), constraints=term.constraints, assets=term.assets)
        return found

    def from_slot(self, slot: int) -> "Position":
        """Return a position of fresh variables from a slot on, batteries at what they hold then."""
        count = self.schedule.size - slot
        batteries = []
        for model in self.batteries:
            stored = model.battery.initial_kwh if slot == 0 else float(np.asarray(model.stored_kwh.value)[slot - 1])
            within = float(np.clip(stored, model.battery.floor_kwh, model.battery.capacity_kwh))
            batteries.append(battery_model(_open_ended(replace(model.battery, initial_kwh=within)), count))
        return Position(
            schedule=cp.Variable(count),
            batteries=tuple(batteries),
            fixed_kwh=None if self.fixed_kwh is None else self.fixed_kwh[slot:],
            cap_kwh=None if self.cap_kwh is None else self.cap_kwh[slot:],
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ReserveModel:
    """Reserve as part of a model."""

    offered_kwh: cp.Variable
    """Reserve per block, kWh per slot, shape (B,): the power times the length of a slot."""
    term: Term
    """The payment (as negative cost) and the rules of all copies."""
    copies: tuple[cp.Variable, ...]
    """For `optimise_convex(..., copies=...)`."""


def reserve_copies(position: Position, product: ReserveProduct) -> ReserveModel:
    """Return the reserve of a product as a variable per block, with a copy per block, direction and start.

    Args:
        position: The plan; its own rules are not part of the result.
        product: Blocks, directions and activation.

    Raises:
        InvalidInput: A block ends after the horizon.
    """
    slot_count = int(position.schedule.size)
    _require_inside(product, slot_count)
    offered = cp.Variable(len(product.blocks), bounds=[np.zeros(len(product.blocks)), None])
    paid: cp.Expression = -(offered @ product.eur_per_kwh)
    term, copies = Term(cost=paid), []
    for block in range(len(product.blocks)):
        for start in product.starts(block):
            active = slice(start, start + product.activation_slots)
            for direction in product.directions:
                copy = _copy_of(position)
                change = copy.draw_kwh[active] - position.draw_kwh[active]
                same = [
                    there[:start] == here[:start]
                    for there, here in zip(copy.decisions, position.decisions, strict=True)
                    if start > 0
                ]
                term = term + copy.rules() + rules(change == direction.sign * offered[block], *same)
                copies.append(copy.schedule)
    return ReserveModel(offered_kwh=offered, term=term, copies=tuple(copies))


def certify_reserve(
    sessions: SessionArrays,
    plan: SessionSchedule,
    position: Position,
    product: ReserveProduct,
    offered_kwh: FloatArray,
    limits: SearchLimits = CONVEX_LIMITS,
) -> FloatArray:
    """Return the reserve per block that the plan's own set points can surely deliver, at most what is offered.

    Every session goes on from what it has by then; batteries from what they hold. The result is deliverable for every start
    and direction because a schedule was found, followed by every session and rechecked, for each.

    Args:
        sessions: Sessions fitted to the horizon.
        plan: Their set points.
        position: The plan, with the values of its variables.
        product: Blocks, directions and activation.
        offered_kwh: What to certify at most, per block.
        limits: How to search.
    """
    _require_inside(product, int(position.schedule.size))
    certified = np.maximum(finite_vector("offered_kwh", offered_kwh, len(product.blocks)), 0.0)
    for block in range(len(product.blocks)):
        for start in product.starts(block):
            going_on = _going_on(sessions, plan, start, int(position.schedule.size))
            for direction in product.directions:
                most = float(certified[block])
                schedule, held, model = _activation(position, product, start, direction, most)
                best = optimise_convex(going_on, schedule, model, limits=limits)
                certified[block] = 0.0 if best.schedule_kwh is None else float(np.asarray(held.value))
    return certified


def simple_reserve_kwh(
    draw_kwh: FloatArray, power_min_kwh: FloatArray, power_max_kwh: FloatArray, product: ReserveProduct
) -> FloatArray:
    """Return what the bounds of single slots allow per block: necessary, not sufficient, and free of any solver."""
    room = {Direction.UP: draw_kwh - power_min_kwh, Direction.DOWN: power_max_kwh - draw_kwh}
    return np.array(
        [
            min(float(np.min(room[direction][first:end])) for direction in product.directions)
            for first, end in product.blocks
        ]
    )


def _require_inside(product: ReserveProduct, slot_count: int) -> None:
    for number, (_, end) in enumerate(product.blocks):
        if end > slot_count:
            raise InvalidInput(f"reserve.blocks[{number}]", f"must end within the horizon of {slot_count} slots")


def _copy_of(position: Position) -> Position:
    count = int(position.schedule.size)
    return replace(
        position,
        schedule=cp.Variable(count),
        batteries=tuple(battery_model(_open_ended(model.battery), count) for model in position.batteries),
    )


def _open_ended(battery: StationaryBattery) -> StationaryBattery:
    """Return the battery without a rule for its end: after an activation it is filled again when it suits."""
    return replace(battery, ending=Ending.VALUED, final_value_eur_per_kwh=0.0)


def _going_on(sessions: SessionArrays, plan: SessionSchedule, start: int, slot_count: int) -> SessionArrays:
    """Return the sessions as they stand at a slot, on a horizon that begins there."""
    before = plan.slot < start
    had = np.bincount(plan.row[before], weights=plan.energy_kwh[before], minlength=len(sessions))
    rows: IntArray = np.flatnonzero(sessions.departure_slot > start)
    here = sessions.select(rows)
    least = np.maximum(here.energy_min_kwh - had[rows], 0.0)
    shifted = replace(
        here,
        arrival_slot=here.arrival_slot - start,
        departure_slot=here.departure_slot - start,
        energy_min_kwh=least,
        energy_max_kwh=np.maximum(here.energy_max_kwh - had[rows], least),
    )
    return fit_to_horizon(shifted, slot_count - start).sessions


def _activation(
    position: Position, product: ReserveProduct, start: int, direction: Direction, most_kwh: float
) -> tuple[cp.Variable, cp.Variable, Term]:
    """Return schedule, reserve and model of the largest activation that begins at a slot."""
    copy = position.from_slot(start)
    held = cp.Variable(bounds=[0.0, most_kwh])
    planned = np.asarray(position.draw_kwh.value)[start : start + product.activation_slots]
    missed = copy.draw_kwh[: product.activation_slots] - planned - direction.sign * held
    rounding = RELATIVE_TOLERANCE * max(float(np.max(np.abs(planned))), 1.0)
    paid: cp.Expression = -held
    return copy.schedule, held, Term(cost=paid) + copy.rules() + rules(missed <= rounding, missed >= -rounding)


def copies_of(models: Sequence[ReserveModel]) -> tuple[cp.Variable, ...]:
    """Return the copies of several products together, for one `optimise_convex`."""
    return tuple(copy for model in models for copy in model.copies)
