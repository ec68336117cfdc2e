"""Duty curves: all that a site controller needs to compute the set points of its cars from the plan of a whole portfolio.

A mixture of columns gives a session with window w, rate u and energy e in slot t

    x(t) = u * duty_{w,t}(e / u)

where `duty_{w,t}` is a monotone curve from 0 to 1 over the duration quotient e / u, linear between whole numbers: at a whole
number m it is the total weight of the columns in which t is among the m best slots of w. The curve depends on the window and
the slot only, so that one small table per slot can be broadcast and no data of a car has to leave its site.

A session with a range adds two curves: columns that are paid for taking more in the slot (price below zero) act on
`energy_max_kwh`, the others on `energy_min_kwh`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bidding.arrays import (
    BoolArray,
    FloatArray,
    IntArray,
    finite_vector,
    integer_vector,
    offsets_of,
    ragged_ranges,
    require_each,
    sum_by,
)
from bidding.fleet.sessions import SessionArrays
from bidding.optimum.decomposition import ColumnSet
from bidding.optimum.greedy import rank_counts
from gateway.domain.errors import InvalidInput


class MixtureRanks:
    """The columns of a mixture as ranks: which place a slot takes in a window under each of them."""

    def __init__(self, columns: ColumnSet, weights: FloatArray) -> None:
        self.weights = weights
        self.is_paid: BoolArray = columns.price < 0.0
        """Where a column fills sessions up to their most energy, shape (K, T)."""
        self._before: IntArray = np.ascontiguousarray(
            np.array([rank_counts(price) for price in columns.price]).transpose(2, 1, 0)
        )
        """Slots before border x that column k prefers to slot t, shape (T + 1, T, K)."""

    @property
    def slot_count(self) -> int:
        """Length of the horizon."""
        return int(self._before.shape[1])

    def within(self, slot: IntArray, arrival: IntArray, departure: IntArray) -> IntArray:
        """Return the rank of slots in windows that hold them, under every column, shape (pairs, K)."""
        ranks: IntArray = self._before[departure, slot]
        ranks -= self._before[arrival, slot]
        return ranks

    def of_column(self, slot: int, arrival: IntArray, departure: IntArray, column: IntArray) -> IntArray:
        """Return the rank of one slot in windows that hold it, each under one column of its own, shape (windows,)."""
        before = self._before[:, slot, :]
        ranks: IntArray = before[departure, column] - before[arrival, column]
        return ranks


def weight_by_rank(ranks: IntArray, weights: FloatArray, offset: IntArray) -> FloatArray:
    """Return the total weight of the columns that give a slot each rank, one (window, slot) pair after the other.

    Args:
        ranks: Rank of the slot in the window under each column, shape (pairs, columns).
        weights: Of the columns, or one row of them per pair.
        offset: First cell of each pair, and the total at the end; one cell per rank and one for "no slot left".
    """
    cell = offset[:-1, None] + ranks
    return sum_by(cell.ravel(), np.broadcast_to(weights, cell.shape).ravel(), int(offset[-1]))


def weight_before(share: FloatArray, offset: IntArray) -> FloatArray:
    """Return the running sum of the weights of all lower ranks, which starts anew in every pair."""
    before = np.cumsum(share) - share
    duty: FloatArray = before - np.repeat(before[offset[:-1]], np.diff(offset))
    return np.clip(duty, 0.0, 1.0, out=duty)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DutyCurves:
    """The duty curves of one slot, one per window that holds it: what a portfolio broadcasts to its sites."""

    slot: int
    arrival: IntArray
    """Of each window, in the order of arrival, then departure."""
    departure: IntArray
    due: FloatArray
    """Curve after curve: duty at the quotients 0, 1, .. window length."""
    paid: FloatArray | None
    """The same for what is taken beyond need where the price is below zero; None when no session has a range."""

    def __post_init__(self) -> None:
        """Check what may have come over a wire."""
        for name in ("arrival", "departure"):
            object.__setattr__(self, name, integer_vector(name, getattr(self, name)))
        if len(self.departure) != len(self.arrival):
            raise InvalidInput("departure", f"has {len(self.departure)} values, arrival has {len(self.arrival)}")
        require_each("arrival", (self.arrival >= 0) & (self.arrival <= self.slot), "must not be after the slot")
        require_each("departure", self.departure > self.slot, "must be after the slot")
        size = int((self.departure - self.arrival + 1).sum())
        object.__setattr__(self, "due", finite_vector("due", self.due, size))
        if self.paid is not None:
            object.__setattr__(self, "paid", finite_vector("paid", self.paid, size))


def duty_curves(ranks: MixtureRanks, slot: int, sessions: SessionArrays) -> DutyCurves:
    """Return the curves of one slot for every window that occurs among the sessions.

    Raises:
        InvalidInput: The slot is not in the horizon.
    """
    if not 0 <= slot < ranks.slot_count:
        raise InvalidInput("slot", f"must be from 0 to {ranks.slot_count - 1}")
    here = (sessions.arrival_slot <= slot) & (slot < sessions.departure_slot)
    border = ranks.slot_count + 1
    window = np.unique(sessions.arrival_slot[here] * border + sessions.departure_slot[here])
    arrival, departure = window // border, window % border
    offset = offsets_of(departure - arrival + 1)
    rank = ranks.within(np.full(len(window), slot), arrival, departure)
    due, paid = ranks.weights, None
    if bool(np.any(sessions.energy_min_kwh < sessions.energy_max_kwh)):
        is_paid = ranks.is_paid[:, slot]
        due = np.where(is_paid, 0.0, ranks.weights)
        paid = weight_before(weight_by_rank(rank, np.where(is_paid, ranks.weights, 0.0), offset), offset)
    curve = weight_before(weight_by_rank(rank, due, offset), offset)
    return DutyCurves(slot=slot, arrival=arrival, departure=departure, due=curve, paid=paid)


def join_curves(parts: Sequence[DutyCurves]) -> DutyCurves:
    """Return the curves of all parts of a fleet that is mixed in parts; every window is in one part only.

    Raises:
        InvalidInput: No part, parts of different slots, or a window in more than one.
    """
    if not parts:
        raise InvalidInput("parts", "must not be empty")
    for number, part in enumerate(parts):
        if part.slot != parts[0].slot:
            raise InvalidInput(f"parts[{number}]", f"is of slot {part.slot}, the first of {parts[0].slot}")
    arrival = np.concatenate([part.arrival for part in parts])
    departure = np.concatenate([part.departure for part in parts])
    order = np.lexsort((departure, arrival))
    length = departure - arrival + 1
    cells = ragged_ranges(offsets_of(length)[order], length[order])
    arrival, departure = arrival[order], departure[order]
    if np.any((np.diff(arrival) == 0) & (np.diff(departure) == 0)):
        raise InvalidInput("parts", "hold a window twice")
    paid = None
    if any(part.paid is not None for part in parts):
        paid = np.concatenate([np.zeros(len(part.due)) if part.paid is None else part.paid for part in parts])[cells]
    due = np.concatenate([part.due for part in parts])[cells]
    return DutyCurves(slot=parts[0].slot, arrival=arrival, departure=departure, due=due, paid=paid)


def set_points(curves: DutyCurves, sessions: SessionArrays) -> FloatArray:
    """Return the draw of every session in the slot of the curves, 0.0 where its window is elsewhere, kWh, shape (N,).

    Raises:
        InvalidInput: A session is there in the slot but its window has no curve, or it has a range and the curves do not.
    """
    here = np.flatnonzero((sessions.arrival_slot <= curves.slot) & (curves.slot < sessions.departure_slot))
    drawn = np.zeros(len(sessions))
    if not here.size:
        return drawn
    present = sessions.select(here)
    begin = _curve_of(curves, present, here)
    least = present.rate_kwh_per_slot * _duty(curves.due, begin, present, present.energy_min_kwh)
    if curves.paid is not None:
        drawn[here] = least + present.rate_kwh_per_slot * _duty(curves.paid, begin, present, present.energy_max_kwh)
        return drawn
    fixed = np.ones(len(sessions), dtype=np.bool_)
    fixed[here] = present.energy_min_kwh == present.energy_max_kwh
    require_each("energy_max_kwh", fixed, "exceeds energy_min_kwh, but the curves are for fixed needs")
    drawn[here] = least
    return drawn


def _curve_of(curves: DutyCurves, present: SessionArrays, row: IntArray) -> IntArray:
    """Return the first value of each session's curve."""
    border = int(max(curves.departure.max(initial=0), present.departure_slot.max())) + 1
    known = curves.arrival * border + curves.departure
    wanted = present.arrival_slot * border + present.departure_slot
    place = np.minimum(np.searchsorted(known, wanted), max(len(known) - 1, 0))
    missing = np.flatnonzero(known[place] != wanted) if known.size else np.arange(len(wanted))
    if missing.size:
        raise InvalidInput(f"sessions[{row[missing[0]]}]", "has a window without a duty curve")
    begin: IntArray = offsets_of(curves.departure - curves.arrival + 1)[place]
    return begin


def _duty(values: FloatArray, begin: IntArray, present: SessionArrays, energy_kwh: FloatArray) -> FloatArray:
    """Return the curves' values at each session's duration quotient."""
    quotient = energy_kwh / present.rate_kwh_per_slot
    below = np.minimum(np.floor(quotient).astype(np.int64), present.window_length - 1)
    share = np.minimum(quotient - below, 1.0)
    low, high = values[begin + below], values[begin + below + 1]
    duty: FloatArray = low + share * (high - low)
    return duty
