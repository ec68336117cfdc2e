"""Parts of a fleet that are mixed apart from each other: sessions with neighbouring windows.

One mixture for a whole fleet ties all sessions to the same few price responses. With a mixture for each part a response says
more, and the decomposition ends after a third of the iterations; what the fleet can do stays exactly the same, because
it is the sum of what its parts can do.
"""

import numpy as np

from bidding.arrays import BoolArray, FloatArray, IntArray, offsets_of, ragged_ranges
from bidding.fleet.flexibility import FlexibilityTable
from bidding.fleet.sessions import SessionArrays

SLOTS_PER_GROUP = 32
"""More parts need fewer iterations, but each brings columns of its own to the master: 3 parts are best for a day of quarter-hours,
6 for two days."""


def default_group_count(slot_count: int) -> int:
    """Return the number of parts that takes the least time over a horizon."""
    return max(1, slot_count // SLOTS_PER_GROUP)


def group_windows(table: FlexibilityTable, count: int) -> tuple[IntArray, ...]:
    """Split the occupied windows of a table into at most `count` parts of about equal energy, by the middle of the window.

    Returns:
        Window numbers in the table's layout, each part in order; one part (empty for an empty table) at least.
    """
    occupied = table.occupied_windows
    if len(occupied) <= count or count <= 1:
        return (occupied,)
    cells = ragged_ranges(table.layout.offset[occupied], table.window_length[occupied])
    energy: FloatArray = np.add.reduceat(table.major[cells], offsets_of(table.window_length[occupied])[:-1])
    middle = table.layout.arrival[occupied] + table.layout.departure[occupied]
    order = np.argsort(middle, kind="stable")
    share = np.cumsum(energy[order]) / max(float(energy.sum()), 1e-300)
    border = np.searchsorted(share, np.arange(1, count) / count)
    parts = (np.sort(occupied[part]) for part in np.split(order, border))
    return tuple(part for part in parts if part.size)


def sessions_in(sessions: SessionArrays, table: FlexibilityTable, windows: IntArray) -> IntArray:
    """Return the rows of the sessions whose window is one of these."""
    chosen: BoolArray = np.zeros(table.layout.window_count, dtype=np.bool_)
    chosen[windows] = True
    return np.flatnonzero(chosen[table.layout.window_of(sessions.arrival_slot, sessions.departure_slot)])
