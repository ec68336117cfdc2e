"""From the schedule of a fleet to the set points of every car, exactly: every departure is met and the sums match.

A solution is a mixture of columns, each the fleet's response to a price. A price gives every single session its own
schedule: full rate in its best slots. Mixing these with the columns' weights keeps each session inside what it can do (the
set is convex) and sums to the fleet's schedule by construction. Nothing is left to a dispatch rule's luck.

For a session of window class w with m full slots and a rest r, in slot t:

    x(t) = u * C[m] + r * D[m]      D[k] = total weight of the columns in which t has rank k in w,   C[m] = sum_{k<m} D[k]

so that one *duty* curve per class and slot is all that is needed, whatever the number of cars. Sessions with a range use
two curves: columns where the slot's price is below zero fill up to `energy_max_kwh`, the others to `energy_min_kwh`.
"""

from dataclasses import dataclass

import numpy as np

from bidding.arrays import BoolArray, FloatArray, IntArray, offsets_of, ragged_ranges, sum_by
from bidding.fleet.sessions import SessionArrays, split_duration
from bidding.optimum.decomposition import ColumnSet
from bidding.optimum.greedy import rank_counts


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SessionSchedule:
    """Energy of every session in every slot of its window, one session after the other."""

    offset: IntArray
    """First entry of each session, and the total at the end."""
    slot: IntArray
    """Slot of each entry."""
    energy_kwh: FloatArray
    """Draw of each entry, kWh in the slot."""

    @property
    def row(self) -> IntArray:
        """Session of each entry."""
        return np.repeat(np.arange(len(self.offset) - 1), np.diff(self.offset))

    def total_kwh(self) -> FloatArray:
        """Return the energy of each session, shape (N,)."""
        return sum_by(self.row, self.energy_kwh, len(self.offset) - 1)

    def per_slot_kwh(self, slot_count: int) -> FloatArray:
        """Return the draw of all sessions per slot, shape (slot_count,)."""
        return sum_by(self.slot, self.energy_kwh, slot_count)

    def at(self, slot: int) -> FloatArray:
        """Return the draw of every session in one slot, 0.0 where its window is elsewhere, shape (N,)."""
        here = self.slot == slot
        return sum_by(self.row[here], self.energy_kwh[here], len(self.offset) - 1)


class Disaggregation:
    """A mixture of columns prepared for the sessions it was made from."""

    def __init__(self, sessions: SessionArrays, columns: ColumnSet, weights: FloatArray) -> None:
        self._sessions = sessions
        self._weights = weights
        self._below_zero: BoolArray = columns.price < 0.0
        self._counts = np.array([rank_counts(price) for price in columns.price])
        border = columns.price.shape[1] + 1
        windows, self._class_of = np.unique(
            sessions.arrival_slot * border + sessions.departure_slot, return_inverse=True
        )
        self._class_arrival, self._class_departure = windows // border, windows % border
        length = sessions.window_length
        self._full_max, self._rest_max = split_duration(sessions.energy_max_kwh, sessions.rate_kwh_per_slot, length)
        self._full_min, self._rest_min = split_duration(sessions.energy_min_kwh, sessions.rate_kwh_per_slot, length)
        self._has_range = bool(np.any(sessions.energy_min_kwh < sessions.energy_max_kwh))

    def at(self, slot: int) -> FloatArray:
        """Return the draw of every session in one slot: the tick of a dispatcher, shape (N,), kWh."""
        present = self._present(slot)
        draw = np.zeros(len(self._sessions))
        draw[present] = self._draw(slot, present)
        return draw

    def schedule(self) -> SessionSchedule:
        """Return the draw of every session in every slot of its window."""
        length = self._sessions.window_length
        offset = offsets_of(length)
        energy = np.zeros(int(offset[-1]))
        for slot in range(self._counts.shape[1]):
            present = self._present(slot)
            if present.size:
                energy[offset[present] + slot - self._sessions.arrival_slot[present]] = self._draw(slot, present)
        return SessionSchedule(
            offset=offset, slot=ragged_ranges(self._sessions.arrival_slot, length), energy_kwh=energy
        )

    def _present(self, slot: int) -> IntArray:
        here = (self._sessions.arrival_slot <= slot) & (slot < self._sessions.departure_slot)
        return np.flatnonzero(here)

    def _draw(self, slot: int, present: IntArray) -> FloatArray:
        """Return the draw in one slot of the sessions that are there."""
        every = np.ones(len(self._weights), dtype=np.bool_)
        if not self._has_range:
            return self._draw_under(every, slot, present, self._full_max, self._rest_max)
        paid = self._below_zero[:, slot]
        more = self._draw_under(paid, slot, present, self._full_max, self._rest_max)
        return more + self._draw_under(~paid, slot, present, self._full_min, self._rest_min)

    def _draw_under(
        self, chosen: BoolArray, slot: int, present: IntArray, full: IntArray, rest: FloatArray
    ) -> FloatArray:
        """Return the draw in one slot under some of the columns, for durations of `full` slots and a rest."""
        here = (self._class_arrival <= slot) & (slot < self._class_departure)
        arrival, departure = self._class_arrival[here], self._class_departure[here]
        # Ranks run from 0 to the window's length; the last one stands for "no slot left" of a full window.
        offset = offsets_of(departure - arrival + 1)
        counts = self._counts[chosen, slot, :]
        cell = offset[:-1] + counts[:, departure] - counts[:, arrival]
        share = sum_by(cell.ravel(), np.repeat(self._weights[chosen], len(arrival)), int(offset[-1]))
        # Exclusive running sum that starts anew in every class.
        before = np.concatenate([[0.0], np.cumsum(share)[:-1]])
        duty = np.clip(before - np.repeat(before[offset[:-1]], np.diff(offset)), 0.0, 1.0)
        begin = np.zeros(len(here), dtype=np.int64)
        begin[here] = offset[:-1]
        mine = begin[self._class_of[present]] + full[present]
        drawn: FloatArray = self._sessions.rate_kwh_per_slot[present] * duty[mine] + rest[present] * share[mine]
        return drawn
