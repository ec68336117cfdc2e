"""From the schedule of a fleet to the set points of every car, exactly: every departure is met and the sums match.

A solution is a mixture of columns, each the fleet's response to a price. A price gives every single session its own
schedule: full rate in its best slots. Mixing these with the columns' weights keeps each session inside what it can do (the
set is convex) and sums to the fleet's schedule by construction. Nothing is left to a dispatch rule's luck.

For a session of window class w with m full slots and a rest r, in slot t:

    x(t) = u * C[m] + r * D[m]      D[k] = total weight of the columns in which t has rank k in w,   C[m] = sum_{k<m} D[k]

so that one *duty* curve per class and slot is all that is needed, whatever the number of cars (`duty`). Sessions with a range
use two curves: columns where the slot's price is below zero fill up to `energy_max_kwh`, the others to `energy_min_kwh`.

A million cars have forty million set points. They are made block by block (`blocks`) or slot by slot (`by_slot`), and only
`schedule` holds all of them at once.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bidding.arrays import FloatArray, IntArray, offsets_of, ragged_ranges, sum_by
from bidding.fleet.sessions import SessionArrays, split_duration
from bidding.optimum.decomposition import ColumnSet
from bidding.optimum.duty import MixtureRanks, weight_before, weight_by_rank

BLOCK_SESSIONS = 512
"""Most sessions in one block: with fifty slots each, a block stays in the processor's cache."""
TICK_SESSIONS = 1 << 14
"""So many set points of one slot are computed at once, for the same reason."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ScheduleBlock:
    """Set points of some sessions that share a window, in all its slots."""

    row: IntArray
    """Session of each line."""
    first_slot: int
    """Slot of the first column; the window ends after the last column."""
    energy_kwh: FloatArray
    """Draw, shape (sessions, window length)."""


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

    def blocks(self) -> Iterator[ScheduleBlock]:
        """Yield the set points block by block, as `Disaggregation.blocks` does."""
        length = np.diff(self.offset)
        held = np.flatnonzero(length)
        longest = int(length.max(initial=1))
        kinds, kind = np.unique(self.slot[self.offset[held]] * longest + length[held] - 1, return_inverse=True)
        border = offsets_of(np.bincount(kind, minlength=len(kinds)))
        order = held[_grouped(kind, len(kinds))]
        for number, code in enumerate(kinds):
            first_slot, last = divmod(int(code), longest)
            for first in range(int(border[number]), int(border[number + 1]), BLOCK_SESSIONS):
                row = order[first : min(first + BLOCK_SESSIONS, int(border[number + 1]))]
                energy = self.energy_kwh[self.offset[row][:, None] + np.arange(last + 1)]
                yield ScheduleBlock(row=row, first_slot=first_slot, energy_kwh=energy)


class Disaggregation:
    """A mixture of columns prepared for the sessions it was made from.

    Holds five numbers per session besides the sessions themselves.
    """

    def __init__(self, sessions: SessionArrays, columns: ColumnSet, weights: FloatArray) -> None:
        self._sessions = sessions
        self._ranks = MixtureRanks(columns, weights)
        border = self._ranks.slot_count + 1
        window = sessions.arrival_slot * border + sessions.departure_slot
        occupied = np.flatnonzero(np.bincount(window, minlength=border * border))
        self._class_arrival, self._class_departure = occupied // border, occupied % border
        class_of_window = np.zeros(border * border, dtype=np.int64)
        class_of_window[occupied] = np.arange(len(occupied))
        self._class_of: IntArray = class_of_window[window]
        length, rate = sessions.window_length, sessions.rate_kwh_per_slot
        self._has_range = bool(np.any(sessions.energy_min_kwh < sessions.energy_max_kwh))
        self._durations = [split_duration(sessions.energy_max_kwh, rate, length)]
        """Of every session at its most energy and, when some session has a range, at its least."""
        if self._has_range:
            self._durations.append(split_duration(sessions.energy_min_kwh, rate, length))

    @property
    def ranks(self) -> MixtureRanks:
        """The mixture, for duty curves and on/off plans."""
        return self._ranks

    def at(self, slot: int) -> FloatArray:
        """Return the draw of every session in one slot: the tick of a dispatcher, shape (N,), kWh."""
        here = np.flatnonzero((self._class_arrival <= slot) & (slot < self._class_departure))
        offset, curves = self._curves(here, np.full(len(here), slot))
        # Classes that are not there read from a stretch of zeros behind the curves.
        begin = np.full(len(self._class_arrival), offset[-1])
        begin[here] = offset[:-1]
        nothing = np.zeros(self._ranks.slot_count + 1)
        tables = [(np.append(duty, nothing), np.append(share, nothing)) for duty, share in curves]
        drawn = np.zeros(len(self._sessions))
        for first in range(0, len(drawn), TICK_SESSIONS):
            rows = slice(first, first + TICK_SESSIONS)
            curve = begin[self._class_of[rows]]
            for (duty, share), (full, rest) in zip(tables, self._durations, strict=True):
                cell = curve + full[rows]
                drawn[rows] += self._sessions.rate_kwh_per_slot[rows] * duty[cell] + rest[rows] * share[cell]
        return drawn

    def by_slot(self) -> Iterator[tuple[int, FloatArray]]:
        """Yield every slot with the draw of every session in it, shape (N,), kWh; one slot is held at a time."""
        for slot in range(self._ranks.slot_count):
            yield slot, self.at(slot)

    def blocks(self) -> Iterator[ScheduleBlock]:
        """Yield all set points, some sessions of one window at a time; every session is in exactly one block."""
        border, order = self._by_class()
        rate = self._sessions.rate_kwh_per_slot[order]
        durations = [(full[order], np.column_stack([rate, rest[order]])) for full, rest in self._durations]
        for number, tables in self._class_tables():
            for first in range(int(border[number]), int(border[number + 1]), BLOCK_SESSIONS):
                rows = slice(first, min(first + BLOCK_SESSIONS, int(border[number + 1])))
                parts = [
                    np.einsum("ij,ijt->it", amounts[rows], table.take(full[rows], axis=0))
                    for table, (full, amounts) in zip(tables, durations, strict=True)
                ]
                energy = parts[0] if len(parts) == 1 else parts[0] + parts[1]
                yield ScheduleBlock(row=order[rows], first_slot=int(self._class_arrival[number]), energy_kwh=energy)

    def schedule(self) -> SessionSchedule:
        """Return the draw of every session in every slot of its window: 16 bytes for each, all at once."""
        border, order = self._by_class()
        length = self._sessions.window_length
        offset = offsets_of(length)
        energy = np.zeros(int(offset[-1]))
        for classes in self._classes_by_arrival():
            row = order[border[classes[0]] : border[classes[-1] + 1]]
            pairs, begin, curves = self._class_curves(classes)
            pair = ragged_ranges(pairs[self._class_of[row] - classes[0]], length[row])
            rate = self._sessions.rate_kwh_per_slot[row]
            drawn = np.zeros(len(pair))
            for (duty, share), (full, rest) in zip(curves, self._durations, strict=True):
                cell = begin[pair] + np.repeat(full[row], length[row])
                drawn += np.repeat(rate, length[row]) * duty[cell] + np.repeat(rest[row], length[row]) * share[cell]
            energy[ragged_ranges(offset[row], length[row])] = drawn
        return SessionSchedule(
            offset=offset, slot=ragged_ranges(self._sessions.arrival_slot, length), energy_kwh=energy
        )

    def _by_class(self) -> tuple[IntArray, IntArray]:
        """Return the rows ordered by class, and where each class begins in that order, with the total at the end."""
        count = len(self._class_arrival)
        return offsets_of(np.bincount(self._class_of, minlength=count)), _grouped(self._class_of, count)

    def _classes_by_arrival(self) -> list[IntArray]:
        """Return the classes in pieces of one arrival: enough to work on arrays, little enough to hold."""
        classes = np.arange(len(self._class_arrival))
        return np.split(classes, np.flatnonzero(np.diff(self._class_arrival)) + 1) if classes.size else []

    def _curves(self, number: IntArray, slot: IntArray) -> tuple[IntArray, list[tuple[FloatArray, FloatArray]]]:
        """Return duty and share by rank of (class, slot) pairs, flat with their offsets, for each kind of durations."""
        arrival, departure = self._class_arrival[number], self._class_departure[number]
        offset = offsets_of(departure - arrival + 1)
        ranks = self._ranks.within(slot, arrival, departure)
        weights = [self._ranks.weights]
        if self._has_range:
            paid = np.where(self._ranks.is_paid.T[slot], self._ranks.weights, 0.0)
            weights = [paid, self._ranks.weights - paid]
        shares = [weight_by_rank(ranks, acting, offset) for acting in weights]
        return offset, [(weight_before(share, offset), share) for share in shares]

    def _class_curves(self, classes: IntArray) -> tuple[IntArray, IntArray, list[tuple[FloatArray, FloatArray]]]:
        """Return the first pair of each class, the first cell of each pair, and the curves of all slots of the classes."""
        window = self._class_departure[classes] - self._class_arrival[classes]
        number = np.repeat(classes, window)
        begin, curves = self._curves(number, ragged_ranges(self._class_arrival[classes], window))
        return offsets_of(window), begin, curves

    def _class_tables(self) -> Iterator[tuple[int, list[FloatArray]]]:
        """Yield duty and share of every class, shape (ranks, 2, slots of the window), for each kind of durations."""
        for classes in self._classes_by_arrival():
            pairs, begin, curves = self._class_curves(classes)
            for place, number in enumerate(classes):
                cells = slice(int(begin[pairs[place]]), int(begin[pairs[place + 1]]))
                shape = (int(pairs[place + 1] - pairs[place]), -1)
                tables = [np.stack([one[cells].reshape(shape).T for one in curve], axis=1) for curve in curves]
                yield int(number), tables


def _grouped(kind: IntArray, kind_count: int) -> IntArray:
    """Return the rows ordered by kind."""
    # Narrow integers are sorted by counting, in linear time.
    narrow = kind.astype(np.uint16) if kind_count <= np.iinfo(np.uint16).max else kind
    return np.argsort(narrow, kind="stable")
