"""The cheapest schedule of a fleet for one price per slot when nothing ties the sessions together.

Every session charges in the cheapest slots of its window, so the aggregate follows from the *rank* of each slot inside each
window: gather `amount[window, rank]` and sum per slot. Exact (Edmonds' greedy on the aggregate polymatroid), and the cost
does not depend on the number of sessions.
"""

import numpy as np

from bidding.arrays import FloatArray, IntArray, offsets_of, ragged_ranges, sum_by
from bidding.fleet.flexibility import FlexibilityTable


def rank_counts(price: FloatArray) -> IntArray:
    """Count, for every slot t and border x, the slots before x that are preferred to t.

    Preferred is cheaper, and earlier at equal price; so ties are broken by slot index and ranks are unique. The rank of t
    inside a window [a, d) is `counts[t, d] - counts[t, a]`.

    Returns:
        Integers of shape (T, T + 1).
    """
    slot_count = len(price)
    order = np.argsort(price, kind="stable")
    place = np.empty(slot_count, dtype=np.int64)
    place[order] = np.arange(slot_count)
    counts = np.zeros((slot_count, slot_count + 1), dtype=np.int64)
    np.cumsum(place[None, :] < place[:, None], axis=1, out=counts[:, 1:])
    return counts


class PriceResponse:
    """A table prepared for many price responses: only gathers are left to do for each price.

    The table must not change while this is in use.

    Args:
        table: What the fleet can do.
        windows: Answer for the sessions of these windows only; None for all.
    """

    def __init__(self, table: FlexibilityTable, windows: IntArray | None = None) -> None:
        occupied = table.occupied_windows if windows is None else windows
        length = table.window_length[occupied]
        cells = ragged_ranges(table.layout.offset[occupied], length)
        arrival = np.repeat(table.layout.arrival[occupied], length)
        departure = np.repeat(table.layout.departure[occupied], length)
        self.slot_count = table.slot_count
        self._slot = ragged_ranges(table.layout.arrival[occupied], length)
        self._to_departure = self._slot * (self.slot_count + 1) + departure
        self._to_arrival = self._slot * (self.slot_count + 1) + arrival
        self._row = np.repeat(offsets_of(length)[:-1], length)
        self._major = table.major[cells]
        self._minor = table.minor[cells] if table.has_range else self._major

    def schedule(self, price: FloatArray, counts: IntArray | None = None) -> FloatArray:
        """Return the schedule of least cost, kWh per slot.

        A session takes `energy_min_kwh` in its cheapest slots and goes on to `energy_max_kwh` only where the price is
        below zero: being paid to charge is the only reason to take more than needed.

        Args:
            price: Price per slot, any currency per kWh, shape (T,).
            counts: `rank_counts(price)` where it is at hand already, for another part of the fleet; None computes it.
        """
        before = (rank_counts(price) if counts is None else counts).ravel()
        cell = self._row + before[self._to_departure] - before[self._to_arrival]
        amount = self._major[cell]
        if self._minor is not self._major:
            amount = np.where(price[self._slot] < 0.0, amount, self._minor[cell])
        return sum_by(self._slot, amount, self.slot_count)


def respond_to_price(table: FlexibilityTable, price: FloatArray) -> FloatArray:
    """Return the schedule of least cost for one price per slot, kWh per slot (see `PriceResponse`)."""
    return PriceResponse(table).schedule(price)
