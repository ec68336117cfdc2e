"""What a fleet whose sessions are known can deliver of an award, exactly, as a maximum flow.

```
   source -- need --> car -- full rate --> slot -- no limit --> period -- award --> sink
```

The flow is the most of the award that can be drawn. Energy that cars must have before the award ends, whatever comes after, is
sent first and then augmented: augmenting a flow never takes from what leaves the source (Ford and Fulkerson 1956), so the
result draws the most of the award and serves the most of the must-charge energy inside it at once (the theorem of Mendelsohn
and Dulmage, 1958). What then is missing from the award, and what must be drawn on top, are both as small as they can be.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import maximum_flow

from bidding.arrays import FloatArray, IntArray, offsets_of, ragged_ranges, sum_by
from bidding.fleet.sessions import SessionArrays, require_fitted

UNITS_PER_KWH = 1000.0
"""Flows are whole watt-hours."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Delivery:
    """How an award is delivered by known sessions."""

    draw_kwh: FloatArray
    """Per slot of the award."""
    row: IntArray
    """Session of each entry: every session in every slot of its window while the award lasts."""
    slot: IntArray
    """Slot of each entry."""
    energy_kwh: FloatArray
    """Draw of each entry."""
    missing_kwh: FloatArray
    """Per delivery period: bought and not drawn; their sum is as small as it can be."""
    excess_kwh: FloatArray
    """Per delivery period: drawn on top, because cars must have it; likewise."""

    def drawn_before(self, slot: int, session_count: int) -> FloatArray:
        """Return what each session draws before a slot."""
        early = self.slot < slot
        return sum_by(self.row[early], self.energy_kwh[early], session_count)

    @property
    def deviation_kwh(self) -> float:
        """Missing plus excess over all periods."""
        return float(self.missing_kwh.sum() + self.excess_kwh.sum())


def deliver(
    sessions: SessionArrays, slot_count: int, award_kwh: FloatArray, slots_per_period: int, price: FloatArray
) -> Delivery:
    """Return the delivery of an award that misses and exceeds it least, with every need met.

    Args:
        sessions: Known sessions, fitted to the horizon; slot 0 is the first of the award, windows may last longer than it.
        slot_count: Length of the horizon.
        award_kwh: Bought energy per delivery period, at least 0.
        slots_per_period: Slots in a delivery period.
        price: Per slot of the award, any unit: what must be drawn on top goes to the cheapest slots of each car.

    Raises:
        InvalidInput: A session was not fitted to the horizon.
    """
    require_fitted(sessions, slot_count)
    lasting = len(award_kwh) * slots_per_period
    inside = np.minimum(sessions.departure_slot, lasting) - np.minimum(sessions.arrival_slot, lasting)
    after = sessions.window_length - inside
    need = sessions.energy_min_kwh
    must = np.maximum(need - sessions.rate_kwh_per_slot * after, 0.0)
    network = _Network(sessions, inside, slots_per_period, award_kwh)
    flow = network.flow(_units(must), _units(need))
    drawn = np.minimum(flow / UNITS_PER_KWH, sessions.rate_kwh_per_slot[network.row])
    drawn += _forced(network, drawn, must, sessions.rate_kwh_per_slot, price)
    per_slot = sum_by(network.slot, drawn, lasting)
    off = per_slot.reshape(-1, slots_per_period).sum(axis=1) - award_kwh
    return Delivery(
        draw_kwh=per_slot,
        row=network.row,
        slot=network.slot,
        energy_kwh=drawn,
        missing_kwh=np.maximum(-off, 0.0),
        excess_kwh=np.maximum(off, 0.0),
    )


def _units(energy_kwh: FloatArray) -> IntArray:
    return np.floor(energy_kwh * UNITS_PER_KWH + 0.5).astype(np.int64)


class _Network:
    """Nodes are cars, slots, periods, source and sink, in this order."""

    def __init__(self, sessions: SessionArrays, inside: IntArray, slots_per_period: int, award_kwh: FloatArray) -> None:
        self.car_count = len(sessions)
        self.slot = ragged_ranges(sessions.arrival_slot, inside)
        self.row = np.repeat(np.arange(self.car_count), inside)
        slot_count = len(award_kwh) * slots_per_period
        first_period = self.car_count + slot_count
        self.source = first_period + len(award_kwh)
        slots, periods = np.arange(slot_count), np.arange(len(award_kwh))
        award = _units(award_kwh)
        self._tail = np.concatenate([self.row, self.car_count + slots, first_period + periods])
        self._head = np.concatenate(
            [
                self.car_count + self.slot,
                first_period + slots // slots_per_period,
                np.full(len(periods), self.source + 1),
            ]
        )
        rate = _units(sessions.rate_kwh_per_slot)[self.row]
        self._most = np.concatenate([rate, award[slots // slots_per_period], award])

    def flow(self, must: IntArray, need: IntArray) -> IntArray:
        """Return the flow of every (car, slot) in watt-hours: `must` first, then up to `need`."""
        first = self._maximum(must, np.zeros_like(self._most))
        both = first + self._maximum(np.maximum(need - must, 0), first)
        return both[: len(self.row)]

    def _maximum(self, supply: IntArray, used: IntArray) -> IntArray:
        """Return the maximum flow on every arc on top of what is used, negative where it takes back."""
        cars = np.arange(self.car_count)
        tail = np.concatenate([np.full(self.car_count, self.source), self._tail, self._head])
        head = np.concatenate([cars, self._head, self._tail])
        room = np.concatenate([supply, self._most - used, used])
        size = self.source + 2
        graph = sp.csr_array((room.astype(np.int32), (tail, head)), shape=(size, size))
        found = maximum_flow(graph, self.source, self.source + 1).flow
        return np.asarray(found[self._tail, self._head]).ravel().astype(np.int64)


def _forced(network: _Network, drawn: FloatArray, must: FloatArray, rate: FloatArray, price: FloatArray) -> FloatArray:
    """Return what each (car, slot) draws on top so that every must-charge energy is met, in its cheapest slots first."""
    lacking = np.maximum(must - sum_by(network.row, drawn, network.car_count), 0.0)
    order = np.lexsort((network.slot, price[network.slot], network.row))
    room = (rate[network.row] - drawn)[order]
    running = np.concatenate([[0.0], np.cumsum(room)])
    begin = offsets_of(np.bincount(network.row, minlength=network.car_count))[:-1]
    before = running[:-1] - running[begin][network.row]
    added = np.zeros(len(drawn))
    added[order] = np.clip(lacking[network.row] - before, 0.0, room)
    return added
