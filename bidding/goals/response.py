"""The best answer of every single session to its own price per slot: fill the cheapest slots, stop where energy is not worth it.

Exact for one session, because the value of its energy is concave and its room per slot is a box: sorted by price, each slot
is filled before a dearer one is touched, and the fill ends at the first part of the staircase that is worth less than the
slot. The answer to the price plus duals of the coupling gives a lower bound that does not rely on any solver.
"""

from dataclasses import dataclass

import numpy as np

from bidding.arrays import FloatArray, IntArray, offsets_of, ragged_ranges, sum_by
from bidding.fleet.sessions import SessionArrays
from bidding.goals.demand import Demand


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

    @property
    def offset(self) -> IntArray:
        """First entry of each session, and the total at the end."""
        return offsets_of(self.cars.window_length)

    @property
    def row(self) -> IntArray:
        """Session of each entry."""
        return np.repeat(np.arange(len(self.cars)), self.cars.window_length)

    @property
    def slot(self) -> IntArray:
        """Slot of each entry."""
        return ragged_ranges(self.cars.arrival_slot, self.cars.window_length)

    def entry_price(self, shift_eur_per_kwh: FloatArray) -> FloatArray:
        """Return every entry's own price with a shift per slot, shape (entries,)."""
        own: FloatArray = self.demand.class_price_eur_per_kwh[self.demand.class_of[self.row], self.slot]
        return own + shift_eur_per_kwh[self.slot]

    def step_part_kwh(self, energy_kwh: FloatArray) -> FloatArray:
        """Return how much of each step some energy per session reaches, shape (N, K)."""
        size = self.demand.step_kwh
        above = energy_kwh[:, None] - self.need_kwh[:, None] - (np.cumsum(size, axis=1) - size)
        return np.clip(above, 0.0, size)

    def cost_eur(self, entry_kwh: FloatArray, shift_eur_per_kwh: FloatArray) -> float:
        """Return cost at own prices less the worth of the steps: what a plan minimises, before any demand charge."""
        paid = float(self.entry_price(shift_eur_per_kwh) @ entry_kwh)
        reached = self.step_part_kwh(sum_by(self.row, entry_kwh, len(self.cars)))
        return paid - float((reached * self.demand.step_value_eur_per_kwh).sum())


def respond_alone(problem: GoalProblem, shift_eur_per_kwh: FloatArray) -> FloatArray:
    """Return what each session draws when nothing but its price concerns it.

    Args:
        problem: Sessions, needs, steps and fixed draw.
        shift_eur_per_kwh: Added to every own price, shape (T,); duals of a coupling or zeros.

    Returns:
        kWh per entry. At equal prices the earlier slot is taken.
    """
    row, price = problem.row, problem.entry_price(shift_eur_per_kwh)
    room = problem.cars.rate_kwh_per_slot[row] - problem.floor_kwh
    order = np.lexsort((problem.slot, price, row))
    # Sorting keeps the sessions in order, so their offsets hold for the sorted entries too.
    before = _running_within(room[order], problem.offset)
    after = before + room[order]
    row, price = row[order], price[order]
    fixed = sum_by(problem.row, problem.floor_kwh, len(problem.cars))
    reached = np.maximum(problem.need_kwh - fixed, 0.0)
    taken = np.clip(np.minimum(after, reached[row]) - before, 0.0, None)
    for size, value in zip(problem.demand.step_kwh.T, problem.demand.step_value_eur_per_kwh.T, strict=True):
        below, reached = reached, reached + size
        part = np.clip(np.minimum(after, reached[row]) - np.maximum(before, below[row]), 0.0, None)
        taken += np.where(price < value[row], part, 0.0)
    entry_kwh = problem.floor_kwh.copy()
    entry_kwh[order] += taken
    return entry_kwh


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
