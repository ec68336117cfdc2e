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
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from bidding.arrays import BoolArray, FloatArray, IntArray, offsets_of, ragged_ranges, sum_by
from bidding.fleet.sessions import SessionArrays, require_fitted, split_duration
from gateway.domain.errors import InvalidInput


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


class FlexibilityTable:
    """The exact aggregate flexibility of charge-only sessions; mutable by `add` and `remove`, additive by `+`.

    Attributes:
        layout: Which cell belongs to which window and rank.
        major: k-th largest slot amounts at `energy_max_kwh`, flat in `layout` order, kWh.
        minor: The same at `energy_min_kwh`; the very same array as `major` while no session has a range.
        session_count: Sessions per window; a window without sessions has exact zeros.
    """

    def __init__(self, slot_count: int) -> None:
        self.layout = window_layout(slot_count)
        self.major: FloatArray = np.zeros(self.layout.cell_count)
        self.minor: FloatArray = self.major
        self.session_count: IntArray = np.zeros(self.layout.window_count, dtype=np.int64)

    @classmethod
    def build(cls, sessions: SessionArrays, slot_count: int) -> "FlexibilityTable":
        """Return the table of sessions that were fitted to the horizon, in O(N).

        Raises:
            InvalidInput: A session was not fitted (`fit_to_horizon`).
        """
        require_fitted(sessions, slot_count)
        table = cls(slot_count)
        if not len(sessions):
            return table
        window = table.layout.window_of(sessions.arrival_slot, sessions.departure_slot)
        table.session_count = np.bincount(window, minlength=table.layout.window_count)
        occupied = table.occupied_windows
        cells = ragged_ranges(table.layout.offset[occupied], table.window_length[occupied])
        table.major[cells] = _amounts_by_rank(sessions, sessions.energy_max_kwh, window, occupied)
        if bool(np.any(sessions.energy_min_kwh < sessions.energy_max_kwh)):
            table.minor = np.zeros(table.layout.cell_count)
            table.minor[cells] = _amounts_by_rank(sessions, sessions.energy_min_kwh, window, occupied)
        return table

    @property
    def slot_count(self) -> int:
        """Length of the horizon."""
        return self.layout.slot_count

    @property
    def has_range(self) -> bool:
        """Whether some session may take more than it must."""
        return self.minor is not self.major

    @property
    def window_length(self) -> IntArray:
        """Number of slots of each window."""
        return np.diff(self.layout.offset)

    @property
    def occupied_windows(self) -> IntArray:
        """Windows that hold a session, in layout order."""
        return np.flatnonzero(self.session_count)

    def add(self, sessions: SessionArrays) -> None:
        """Put sessions into the table, each in O(its window).

        Raises:
            InvalidInput: A session was not fitted to the horizon.
        """
        require_fitted(sessions, self.slot_count)
        for row in range(len(sessions)):
            self._change(sessions, row, 1)

    def remove(self, sessions: SessionArrays) -> None:
        """Take sessions out that were put in before, each in O(its window).

        Raises:
            InvalidInput: A session was not fitted, or no session of its window is in the table.
        """
        require_fitted(sessions, self.slot_count)
        window = self.layout.window_of(sessions.arrival_slot, sessions.departure_slot)
        if np.any(np.bincount(window, minlength=self.layout.window_count) > self.session_count):
            raise InvalidInput("sessions", "holds a window that the table does not have")
        for row in range(len(sessions)):
            self._change(sessions, row, -1)

    def __add__(self, other: "FlexibilityTable") -> "FlexibilityTable":
        """Return the table of both fleets together.

        Raises:
            InvalidInput: The horizons differ.
        """
        if other.slot_count != self.slot_count:
            raise InvalidInput("slot_count", f"{other.slot_count} does not add to {self.slot_count}")
        total = FlexibilityTable(self.slot_count)
        total.major = self.major + other.major
        total.minor = self.minor + other.minor if self.has_range or other.has_range else total.major
        total.session_count = self.session_count + other.session_count
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

    def _change(self, sessions: SessionArrays, row: int, sign: int) -> None:
        one = slice(row, row + 1)
        window = int(self.layout.window_of(sessions.arrival_slot[one], sessions.departure_slot[one])[0])
        begin, end = int(self.layout.offset[window]), int(self.layout.offset[window + 1])
        rate = float(sessions.rate_kwh_per_slot[row])
        needs, may = float(sessions.energy_min_kwh[row]), float(sessions.energy_max_kwh[row])
        if needs < may and not self.has_range:
            self.minor = self.major.copy()
        self.session_count[window] += sign
        _change_row(self.major[begin:end], rate, may, sign)
        if self.has_range:
            _change_row(self.minor[begin:end], rate, needs, sign)
        if self.session_count[window] == 0:
            # The last one leaves: what floating point left behind must not look like flexibility.
            self.major[begin:end] = 0.0
            self.minor[begin:end] = 0.0


def _change_row(cells: FloatArray, rate_kwh: float, energy_kwh: float, sign: int) -> None:
    """Add or subtract one session's amounts by rank in the row of its window."""
    full, rest = split_duration(np.array([energy_kwh]), np.array([rate_kwh]), np.array([len(cells)]))
    slots = int(full[0])
    cells[:slots] += sign * rate_kwh
    if slots < len(cells):
        cells[slots] += sign * float(rest[0])


def _amounts_by_rank(
    sessions: SessionArrays, energy_kwh: FloatArray, window: IntArray, occupied: IntArray
) -> FloatArray:
    """Sum the sessions' k-th slot amounts per occupied window, as a flat array in the order of `occupied`.

    Every row gets a spare cell at its end, so that a difference array can close there; the running sum starts anew in every
    row, because over many rows the rounding of one global sum would leak from row to row.
    """
    full, rest = split_duration(energy_kwh, sessions.rate_kwh_per_slot, sessions.window_length)
    row_of = np.searchsorted(occupied, window)
    length = np.zeros(len(occupied), dtype=np.int64)
    length[row_of] = sessions.window_length
    offset = offsets_of(length + 1)
    size = int(offset[-1])
    begin = offset[row_of]
    rate = np.where(full > 0, sessions.rate_kwh_per_slot, 0.0)
    running: FloatArray = np.cumsum(sum_by(begin, rate, size) - sum_by(begin + full, rate, size))
    spare = offset[1:] - 1
    leaked = np.concatenate([[0.0], running[spare[:-1]]])
    amounts = running - np.repeat(leaked, length + 1) + sum_by(begin + full, rest, size)
    by_rank: FloatArray = np.maximum(np.delete(amounts, spare), 0.0)
    return by_rank


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class OuterBound:
    """A 'battery-like' summary of a fleet: bands that every reachable schedule stays in.

    **Never to be bid or dispatched.** It keeps only 4 T of the 2^T conditions, so many schedules inside the bands cannot be
    delivered. It is for charts and quick upper bounds.
    """

    power_min_kwh: FloatArray
    """Least draw of each slot on its own, kWh per slot."""
    power_max_kwh: FloatArray
    """Most draw of each slot on its own, kWh per slot."""
    energy_min_kwh: FloatArray
    """Least energy up to and including each slot (everything as late as possible)."""
    energy_max_kwh: FloatArray
    """Most energy up to and including each slot (everything as early as possible)."""


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
