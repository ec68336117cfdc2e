r"""Everything a fleet can do, exactly, in one additive table of fixed size.

A session with window W, rate u and energy in [emin, emax] can draw exactly the schedules x with
`p(A) <= x(A) <= b(A)` for every set A of slots, where

    b(A) = min(u |A n W|, emax)            p(A) = max(0, emin - u |W \ A|)

(a generalized polymatroid). The sets of all sessions add up, without loss, by adding b and p (Frank and Tardos 1988; for
EV fleets Mukhi, Loho and Abate, arXiv 2503.23458). Since b depends on A only through `k = |A n W|`, sessions with one
window add up in a row of the table

    major[arrival, departure, k] = sum of the k-th largest slot amount of every session with that window, at emax
    minor[arrival, departure, k] = the same at emin

so that a fleet of a million cars over 96 slots is 152 000 numbers, tables of sites add up to the table of the portfolio,
and no personal data is in it beyond the windows.

A row is kept as the differences of its neighbours: one session changes three of them, whatever its window. Rates and
energies are rounded to `QUANTUM_KWH`, a power of two, so that the sums of floating point are exact: the order of arrivals
does not matter, and what leaves takes away exactly what it brought.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from bidding.arrays import (
    BoolArray,
    FloatArray,
    IntArray,
    finite_vector,
    offsets_of,
    ragged_ranges,
    require_each,
    sum_by,
)
from bidding.fleet.sessions import SessionArrays, require_fitted, split_duration
from gateway.domain.errors import InvalidInput

QUANTUM_KWH = 2.0**-36
"""Amounts are multiples of this (1.5e-11 kWh): the sum in one cell is exact up to 2^53 of them, 131 MWh in a slot."""
CHUNK_SESSIONS = 1 << 16
"""So many sessions are worked on at once: their columns stay in the processor's cache and temporary arrays stay small."""
DENSE_SHARE = 0.05
"""From so many changes per cell on, counting over all cells is cheaper than touching single ones."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class WindowLayout:
    """Where the row of each window `[arrival, departure)` lies in the flat table of one horizon length."""

    slot_count: int
    arrival: IntArray
    """Of window w, in the order of arrival, then departure."""
    departure: IntArray
    offset: IntArray
    """First cell of window w; one cell per slot of the window; the total at the end."""

    @property
    def window_count(self) -> int:
        """Number of windows, `T (T + 1) / 2`."""
        return len(self.arrival)

    @property
    def cell_count(self) -> int:
        """Number of cells, `T (T + 1) (T + 2) / 6`."""
        return int(self.offset[-1])

    def window_of(self, arrival: IntArray, departure: IntArray) -> IntArray:
        """Return the number of each window `[arrival, departure)`."""
        before = arrival * self.slot_count - arrival * (arrival - 1) // 2
        return before + departure - arrival - 1


@lru_cache(maxsize=8)
def window_layout(slot_count: int) -> WindowLayout:
    """Return the layout of a horizon (cached: a day has 92, 96 or 100 slots, a planning horizon a few more lengths)."""
    if slot_count < 1:
        raise InvalidInput("slot_count", "must be at least 1")
    arrival, last = np.triu_indices(slot_count)
    departure = last + 1
    return WindowLayout(
        slot_count=slot_count, arrival=arrival, departure=departure, offset=offsets_of(departure - arrival)
    )


class _RankRows:
    """Amounts by rank of every window, kept as differences along the rank and summed up when they are read.

    Each row has a spare place at its end, where its differences close to zero, and one more place follows the last row.
    """

    def __init__(self, layout: WindowLayout) -> None:
        self.layout = layout
        self.place: IntArray = layout.offset + np.arange(layout.window_count + 1)
        self.steps: FloatArray = np.zeros(layout.cell_count + layout.window_count + 1)
        self.stale: BoolArray = np.zeros(layout.window_count, dtype=np.bool_)
        self._amounts: FloatArray = np.zeros(layout.cell_count)

    def copy(self) -> "_RankRows":
        twin = _RankRows(self.layout)
        twin.steps[:] = self.steps
        twin._amounts[:] = self._amounts
        twin.stale[:] = self.stale
        return twin

    def change(self, window: IntArray, rate_kwh: FloatArray, energy_kwh: FloatArray, sign: int) -> None:
        """Add (`sign` 1) or take away (-1) sessions: full rate in the first ranks, then the rest, then nothing."""
        begin = self.place[window]
        full, rest = split_duration(energy_kwh, rate_kwh, self.place[window + 1] - begin - 1)
        at = np.concatenate([begin, begin + full, begin + full + 1])
        by = np.concatenate([rate_kwh, rest - rate_kwh, -rest])
        if len(at) > DENSE_SHARE * len(self.steps):
            self.steps += sign * sum_by(at, by, len(self.steps))
        else:
            np.add.at(self.steps, at, sign * by)
        self.stale[window] = True

    def clear(self, window: IntArray) -> None:
        """Set the rows of windows that hold nobody to exact zeros."""
        self.steps[ragged_ranges(self.place[window], np.diff(self.place)[window])] = 0.0

    def amounts(self) -> FloatArray:
        """Return the amounts, flat in layout order, read-only."""
        stale = np.flatnonzero(self.stale)
        if stale.size:
            self._sum_up(stale)
            self.stale[stale] = False
        shown = self._amounts.view()
        shown.setflags(write=False)
        return shown

    def _sum_up(self, window: IntArray) -> None:
        """Sum the differences of some rows; every row starts anew, so that huge rows do not blur small ones."""
        length = np.diff(self.layout.offset)[window]
        offset = offsets_of(length + 1)
        running: FloatArray = np.cumsum(self.steps[ragged_ranges(self.place[window], length + 1)])
        spare = offset[1:] - 1
        leaked = np.concatenate([[0.0], running[spare[:-1]]])
        amounts = np.delete(running - np.repeat(leaked, length + 1), spare)
        self._amounts[ragged_ranges(self.layout.offset[window], length)] = np.maximum(amounts, 0.0)


class FlexibilityTable:
    """The exact aggregate flexibility of charge-only sessions; mutable by `add`, `remove`, `replace`, additive by `+`.

    Attributes:
        layout: Which cell belongs to which window and rank.
        session_count: Sessions per window; a window without sessions has exact zeros.
    """

    def __init__(self, slot_count: int) -> None:
        self.layout = window_layout(slot_count)
        self.session_count: IntArray = np.zeros(self.layout.window_count, dtype=np.int64)
        self._major = _RankRows(self.layout)
        self._minor: _RankRows | None = None

    @classmethod
    def build(cls, sessions: SessionArrays, slot_count: int) -> "FlexibilityTable":
        """Return the table of sessions that were fitted to the horizon, in O(N).

        Raises:
            InvalidInput: A session was not fitted (`fit_to_horizon`).
        """
        table = cls(slot_count)
        table.add(sessions)
        return table

    @classmethod
    def from_amounts(
        cls, slot_count: int, session_count: IntArray, major_kwh: FloatArray, minor_kwh: FloatArray | None = None
    ) -> "FlexibilityTable":
        """Return a table with these rows, as an export of another table holds them.

        Args:
            slot_count: Length of the horizon.
            session_count: Sessions per window, shape (windows,).
            major_kwh: Amounts by rank at the most energy, flat in layout order.
            minor_kwh: The same at the least energy; None when no session has a range.

        Raises:
            InvalidInput: A length is wrong, or amounts rise along a row or are negative.
        """
        table = cls(slot_count)
        if len(session_count) != table.layout.window_count:
            raise InvalidInput("session_count", f"must have {table.layout.window_count} values")
        table.session_count = session_count.astype(np.int64)
        table._major = _rows_from(table.layout, major_kwh, "major_kwh")
        table._minor = None if minor_kwh is None else _rows_from(table.layout, minor_kwh, "minor_kwh")
        return table

    @property
    def major(self) -> FloatArray:
        """k-th largest slot amounts at `energy_max_kwh`, kWh, flat in `layout` order; read-only, valid until a change."""
        return self._major.amounts()

    @property
    def minor(self) -> FloatArray:
        """The same at `energy_min_kwh`."""
        return self.major if self._minor is None else self._minor.amounts()

    @property
    def slot_count(self) -> int:
        """Length of the horizon."""
        return self.layout.slot_count

    @property
    def has_range(self) -> bool:
        """Whether some session may, or once might, take more than it must."""
        return self._minor is not None

    @property
    def window_length(self) -> IntArray:
        """Number of slots of each window."""
        return np.diff(self.layout.offset)

    @property
    def occupied_windows(self) -> IntArray:
        """Windows that hold a session, in layout order."""
        return np.flatnonzero(self.session_count)

    def add(self, sessions: SessionArrays) -> None:
        """Put sessions into the table, each in O(1).

        Raises:
            InvalidInput: A session was not fitted to the horizon; the table is as before.
        """
        require_fitted(sessions, self.slot_count)
        self._change(sessions, 1)

    def remove(self, sessions: SessionArrays) -> None:
        """Take sessions out that were put in before with the same columns, each in O(1); an exact undo of `add`.

        Raises:
            InvalidInput: A session was not fitted, or the table holds fewer sessions of its window; the table is as before.
        """
        require_fitted(sessions, self.slot_count)
        window = self.layout.window_of(sessions.arrival_slot, sessions.departure_slot)
        touched, leaving = np.unique(window, return_counts=True)
        if np.any(leaving > self.session_count[touched]):
            raise InvalidInput("sessions", "holds a window that the table does not have")
        self._change(sessions, -1)
        empty = touched[self.session_count[touched] == 0]
        self._major.clear(empty)
        if self._minor is not None:
            self._minor.clear(empty)

    def replace(self, former: SessionArrays, present: SessionArrays) -> None:
        """Put the present state of sessions in the place of the former one: a driver changed a wish, a car has charged.

        Raises:
            InvalidInput: As `remove` and `add`; the table is as before.
        """
        require_fitted(present, self.slot_count)
        self.remove(former)
        self._change(present, 1)

    def __add__(self, other: "FlexibilityTable") -> "FlexibilityTable":
        """Return the table of both fleets together.

        Raises:
            InvalidInput: The horizons differ.
        """
        if other.slot_count != self.slot_count:
            raise InvalidInput("slot_count", f"{other.slot_count} does not add to {self.slot_count}")
        total = FlexibilityTable(self.slot_count)
        total.session_count = self.session_count + other.session_count
        total._major = _sum_of(self._major, other._major)
        if self._minor is not None or other._minor is not None:
            total._minor = _sum_of(self._minor or self._major, other._minor or other._major)
        return total

    def most_kwh(self, slots: BoolArray) -> float:
        """Return b(A): the most the fleet can draw in a set of slots, given as a mask over the horizon."""
        return self._sum_below(self.major, slots)

    def least_kwh(self, slots: BoolArray) -> float:
        """Return p(A): the least the fleet must draw in a set of slots to meet every need."""
        everywhere = np.ones(self.slot_count, dtype=np.bool_)
        return self._sum_below(self.minor, everywhere) - self._sum_below(self.minor, ~slots)

    def _sum_below(self, amounts: FloatArray, slots: BoolArray) -> float:
        occupied = self.occupied_windows
        inside = offsets_of(slots.astype(np.int64))
        taken = inside[self.layout.departure[occupied]] - inside[self.layout.arrival[occupied]]
        return float(amounts[ragged_ranges(self.layout.offset[occupied], taken)].sum())

    def _change(self, sessions: SessionArrays, sign: int) -> None:
        if self._minor is None and bool(np.any(sessions.energy_min_kwh < sessions.energy_max_kwh)):
            self._minor = self._major.copy()
        for first in range(0, len(sessions), CHUNK_SESSIONS):
            rows = slice(first, first + CHUNK_SESSIONS)
            window = self.layout.window_of(sessions.arrival_slot[rows], sessions.departure_slot[rows])
            rate = np.maximum(_on_quanta(sessions.rate_kwh_per_slot[rows]), QUANTUM_KWH)
            self._major.change(window, rate, _on_quanta(sessions.energy_max_kwh[rows]), sign)
            if self._minor is not None:
                self._minor.change(window, rate, _on_quanta(sessions.energy_min_kwh[rows]), sign)
            np.add.at(self.session_count, window, sign)


def _on_quanta(energy_kwh: FloatArray) -> FloatArray:
    """Round to multiples of `QUANTUM_KWH`."""
    rounded: FloatArray = np.rint(energy_kwh / QUANTUM_KWH) * QUANTUM_KWH
    return rounded


def _sum_of(one: _RankRows, other: _RankRows) -> _RankRows:
    total = _RankRows(one.layout)
    np.add(one.steps, other.steps, out=total.steps)
    np.add(one.amounts(), other.amounts(), out=total._amounts)
    return total


def _rows_from(layout: WindowLayout, amounts_kwh: FloatArray, field: str) -> _RankRows:
    """Return rows with these amounts by rank.

    Raises:
        InvalidInput: Not one amount per cell, or a row with a negative or rising amount.
    """
    amounts = _on_quanta(finite_vector(field, amounts_kwh, layout.cell_count))
    rows = _RankRows(layout)
    length = np.diff(layout.offset)
    cell_place = ragged_ranges(rows.place[:-1], length)
    rows.steps[cell_place] = amounts
    rows.steps[1:] -= rows.steps[:-1].copy()
    first = np.zeros(layout.cell_count, dtype=np.bool_)
    first[layout.offset[:-1]] = True
    require_each(field, amounts >= 0.0, "must be at least 0")
    require_each(field, first | (rows.steps[cell_place] <= 0.0), "must not exceed the amount of the rank before")
    rows._amounts[:] = amounts
    return rows


def power_bounds(table: FlexibilityTable) -> tuple[FloatArray, FloatArray]:
    """Return the least and the most draw of every single slot, p({t}) and b({t}), in kWh."""
    occupied = table.occupied_windows
    arrival, departure = table.layout.arrival[occupied], table.layout.departure[occupied]
    first = table.layout.offset[occupied]
    last = table.layout.offset[occupied + 1] - 1
    least = _sum_over_windows(arrival, departure, table.minor[last], table.slot_count)
    most = _sum_over_windows(arrival, departure, table.major[first], table.slot_count)
    return least, most


def _sum_over_windows(arrival: IntArray, departure: IntArray, amount: FloatArray, slot_count: int) -> FloatArray:
    change = sum_by(arrival, amount, slot_count + 1) - sum_by(departure, amount, slot_count + 1)
    running: FloatArray = np.cumsum(change)
    return np.maximum(running[:slot_count], 0.0)
