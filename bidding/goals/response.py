"""The best answer of every single session to its own price per slot: fill the cheapest slots, stop where energy is not worth it.

Exact for one session, because the value of its energy is concave and its room per slot is a box: sorted by price, each slot
is filled before a dearer one is touched, and the fill ends at the first part of the staircase that is worth less than the
slot. The answer to the price plus duals of the coupling gives a lower bound that does not rely on any solver.
"""

from dataclasses import dataclass, field

import numpy as np

from bidding.arrays import FloatArray, IntArray, offsets_of, ragged_ranges, sum_by
from bidding.fleet.sessions import SessionArrays
from bidding.goals.demand import Demand
from bidding.optimum.greedy import rank_counts


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class GoalProblem:
    """Who must and may draw how much, when, at whose price; energies already fit what the coupling can serve."""

    cars: SessionArrays
    need_kwh: FloatArray
    """What each session must get, shape (N,)."""
    demand: Demand
    """Steps beyond the need and price classes."""
    floor_kwh: FloatArray
    """Draw already fixed (what is urgent), one entry per session and slot of its window as in `SessionSchedule`."""

    offset: IntArray = field(init=False)
    """First entry of each session, and the total at the end."""
    row: IntArray = field(init=False)
    """Session of each entry."""
    slot: IntArray = field(init=False)
    """Slot of each entry."""
    own_price_eur_per_kwh: FloatArray = field(init=False)
    """Price of each entry its driver goes by."""

    def __post_init__(self) -> None:
        """Lay out the entries once; every answer needs them."""
        length = self.cars.window_length
        row, slot = np.repeat(np.arange(len(self.cars)), length), ragged_ranges(self.cars.arrival_slot, length)
        object.__setattr__(self, "offset", offsets_of(length))
        object.__setattr__(self, "row", row)
        object.__setattr__(self, "slot", slot)
        own = self.demand.class_price_eur_per_kwh[self.demand.class_of[row], slot]
        object.__setattr__(self, "own_price_eur_per_kwh", own)

    def step_part_kwh(self, energy_kwh: FloatArray) -> FloatArray:
        """Return how much of each step some energy per session reaches, shape (N, K)."""
        size = self.demand.step_kwh
        above = energy_kwh[:, None] - self.need_kwh[:, None] - (np.cumsum(size, axis=1) - size)
        return np.clip(above, 0.0, size)

    def session_cost_eur(self, entry_kwh: FloatArray) -> FloatArray:
        """Return each session's cost at its own price less the worth of its steps, shape (N,)."""
        count = len(self.cars)
        reached = self.step_part_kwh(sum_by(self.row, entry_kwh, count))
        worth: FloatArray = (reached * self.demand.step_value_eur_per_kwh).sum(axis=1)
        return sum_by(self.row, self.own_price_eur_per_kwh * entry_kwh, count) - worth

    def cost_eur(self, entry_kwh: FloatArray) -> float:
        """Return the cost of all: what a plan minimises, before any demand charge."""
        return float(self.session_cost_eur(entry_kwh).sum())


def respond_alone(problem: GoalProblem, shift_eur_per_kwh: FloatArray) -> FloatArray:
    """Return what each session draws when nothing but its price concerns it.

    Args:
        problem: Sessions, needs, steps and fixed draw.
        shift_eur_per_kwh: Added to every own price, shape (T,); duals of a coupling or zeros.

    Returns:
        kWh per entry. At equal prices the earlier slot is taken.
    """
    # The order keeps the sessions in place, so their offsets hold for the ordered entries too.
    order, row = _by_price(problem, shift_eur_per_kwh), problem.row
    price = (problem.own_price_eur_per_kwh + shift_eur_per_kwh[problem.slot])[order]
    room = (problem.cars.rate_kwh_per_slot[row] - problem.floor_kwh)[order]
    before = _running_within(room, problem.offset)
    after = before + room
    fixed = sum_by(row, problem.floor_kwh, len(problem.cars))
    reached = np.maximum(problem.need_kwh - fixed, 0.0)
    taken = np.maximum(np.minimum(after, reached[row]) - before, 0.0)
    for size, value in zip(problem.demand.step_kwh.T, problem.demand.step_value_eur_per_kwh.T, strict=True):
        below, reached = reached, reached + size
        wanted = np.flatnonzero(price < np.where(size > 0.0, value, -np.inf)[row])
        whose = row[wanted]
        top, bottom = np.minimum(after[wanted], reached[whose]), np.maximum(before[wanted], below[whose])
        taken[wanted] += np.maximum(top - bottom, 0.0)
    entry_kwh = problem.floor_kwh.copy()
    entry_kwh[order] += taken
    return entry_kwh


def _by_price(problem: GoalProblem, shift_eur_per_kwh: FloatArray) -> IntArray:
    """Return the entries of each session from its cheapest slot to its dearest, session after session.

    All sessions of a class see one order of slots, so a place within a window is a count of preferred slots: nothing is
    sorted per session.
    """
    demand, row, slot = problem.demand, problem.row, problem.slot
    counts = np.array([rank_counts(price + shift_eur_per_kwh) for price in demand.class_price_eur_per_kwh])
    one_class = demand.class_of[row]
    place = counts[one_class, slot, problem.cars.departure_slot[row]]
    place -= counts[one_class, slot, problem.cars.arrival_slot[row]]
    order = np.empty(len(row), dtype=np.int64)
    order[problem.offset[row] + place] = np.arange(len(row))
    return order


def earliest_draw(cars: SessionArrays, energy_kwh: FloatArray) -> FloatArray:
    """Return full rate from arrival until each session has an energy, kWh per entry."""
    row = np.repeat(np.arange(len(cars)), cars.window_length)
    place = ragged_ranges(np.zeros(len(cars), dtype=np.int64), cars.window_length)
    rate = cars.rate_kwh_per_slot[row]
    return np.clip(energy_kwh[row] - place * rate, 0.0, rate)


def _running_within(values: FloatArray, offset: IntArray) -> FloatArray:
    """Return the exclusive running sum that starts anew in every piece."""
    before = np.concatenate([[0.0], np.cumsum(values)])
    lengths = np.diff(offset)
    running: FloatArray = before[:-1] - np.repeat(before[offset[:-1]], lengths)
    return running
