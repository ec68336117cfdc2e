"""Sessions laid out for one pass over the slots, and the passes: thresholds backwards in time, the exchange forwards.

Let V_t(s) be the least cost from slot t to departure with s kWh in the battery. It is convex and piecewise linear, and its
inverse slope Q_t(v) is the state of charge at which one more kWh is worth v. One slot changes it by a saturating step:

    Q_t(v) = Q_{t+1}(v) - stored   where v is above what a stored kWh costs in t,    (price_t + wear) / charge_efficiency
           = Q_{t+1}(v) + taken    where v is below what a taken kWh earns in t,     (price_t - wear) * discharge_efficiency
           = Q_{t+1}(v)            between the two

each clipped to what the battery may hold. The thresholds of slot t are Q_{t+1} at its own two values, so only the two values
of every slot are carried. Their order is the order of the prices, the same for every session, which makes each step a few
contiguous array operations over all sessions; only "is energy bought in r worth selling in t" depends on losses and wear,
and is a position on the price axis per kind of session.

Sources: slope merging follows from inf-convolution of convex piecewise linear functions (Rockafellar, Convex Analysis,
section 16); the two-threshold rule is the base-stock policy of storage under linear costs.
"""

from dataclasses import dataclass

import numpy as np

from bidding.arrays import BoolArray, FloatArray, IntArray
from bidding.v2g.sessions import BidirectionalSessions

BATCH_SIZE = 512
"""Sessions per pass: their thresholds fit the second-level cache."""
SLOTS_PER_PASS = 8
"""After so many slots back, the values of slots that are done are dropped."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Batch:
    """Sessions that arrive at about the same time, latest departure first: those connected are always a prefix."""

    rows: IntArray
    """Row of each in the arrays that came in."""
    first_slot: int
    """Slots of this batch count from here."""
    slot_count: int
    arrival: IntArray
    is_absent: BoolArray
    """Whether a session is not connected, shape (slots, sessions)."""
    connected_count: IntArray
    """Length of that prefix in each slot; who has not arrived yet is in it too."""
    stored: FloatArray
    taken: FloatArray
    start: FloatArray
    floor: FloatArray
    is_rising: bool
    """Whether some arrive below their floor."""
    needed: FloatArray
    top: FloatArray
    kind: IntArray
    """Which row of `kinds` each session is of."""
    kinds: FloatArray
    """Charge efficiency, discharge efficiency and degradation that occur, shape (kinds, 3)."""

    @property
    def slots(self) -> slice:
        """Where this batch lies in the horizon."""
        return slice(self.first_slot, self.first_slot + self.slot_count)

    def lowest(self, slot: int, count: int) -> FloatArray:
        """Return what the first batteries must hold at the beginning of a slot: the floor, or the way up to it."""
        if not self.is_rising:
            return self.floor[:count]
        rising = self.start[:count] + self.stored[:count] * (slot - self.arrival[:count])
        return np.minimum(self.floor[:count], rising)


def lay_out(sessions: BidirectionalSessions, batch_size: int = BATCH_SIZE) -> tuple[Batch, ...]:
    """Return the sessions in batches of similar arrival."""
    by_arrival = np.argsort(sessions.arrival_slot, kind="stable")
    return tuple(
        _batch(sessions, by_arrival[begin : begin + batch_size]) for begin in range(0, len(by_arrival), batch_size)
    )


def _batch(sessions: BidirectionalSessions, rows: IntArray) -> Batch:
    rows = rows[np.argsort(-sessions.departure_slot[rows], kind="stable")]
    some = sessions.select(rows)
    first, last = int(some.arrival_slot.min()), int(some.departure_slot.max())
    columns = np.stack([some.charge_efficiency, some.discharge_efficiency, some.degradation_eur_per_kwh], axis=1)
    kinds, kind = np.unique(columns, axis=0, return_inverse=True)
    slot = np.arange(first, last)[:, None]
    left_by = np.bincount(some.departure_slot - first, minlength=last - first + 1)
    return Batch(
        rows=rows,
        first_slot=first,
        slot_count=last - first,
        arrival=some.arrival_slot - first,
        is_absent=(slot < some.arrival_slot) | (slot >= some.departure_slot),
        connected_count=len(rows) - np.cumsum(left_by)[: last - first],
        stored=some.stored_per_slot_kwh,
        taken=some.taken_per_slot_kwh,
        start=some.soc_arrival_kwh,
        floor=some.floor_kwh,
        is_rising=bool(np.any(some.soc_arrival_kwh < some.floor_kwh)),
        needed=some.needed_kwh(),
        top=some.soc_max_kwh,
        kind=kind.reshape(-1),
        kinds=kinds,
    )


def buyback_price(price: FloatArray, kinds: FloatArray) -> FloatArray:
    """Return the highest purchase price at which energy sold at `price` is worth buying, shape (kinds, len(price)).

    Losses and wear lower it. Where the price is so negative that they raise it above the price itself, a sale would only
    make room for being paid to draw again, which burns energy; there it is cut to the price.

    Args:
        price: EUR per kWh.
        kinds: Charge efficiency, discharge efficiency and degradation, shape (kinds, 3).
    """
    charge_share, discharge_share, wear = kinds[:, 0:1], kinds[:, 1:2], kinds[:, 2:3]
    return np.minimum(charge_share * discharge_share * (price - wear) - wear, price)


class PriceAxis:
    """The slots of a batch in the order of their prices, and what is worth what among them."""

    def __init__(self, price: FloatArray, kinds: FloatArray) -> None:
        self.order: IntArray = np.argsort(price, kind="stable")
        """Slots, cheapest first."""
        self.sorted: FloatArray = price[self.order]
        self.place: IntArray = np.argsort(self.order, kind="stable")
        """Where each slot stands on the axis."""
        self.below: IntArray = np.searchsorted(self.sorted, price, side="left")
        """How many slots are cheaper than each."""
        self.not_above: IntArray = np.searchsorted(self.sorted, price, side="right")
        """How many are cheaper or equal."""
        count = len(price)
        resold = np.searchsorted(self.sorted, buyback_price(self.sorted, kinds), side="left")
        self.resold: IntArray = resold[:, self.place]
        """Per kind and slot: how many places, from the cheapest, are worth buying at for a sale in the slot."""
        cell = resold + (count + 1) * np.arange(len(kinds))[:, None]
        seen = np.bincount(cell.ravel(), minlength=(count + 1) * len(kinds)).reshape(len(kinds), count + 1)
        self.rebought: IntArray = np.cumsum(seen, axis=1)[:, self.below]
        """Per kind and slot: from which place on a sale is worth buying back in the slot."""
        self.resold_range = _least_and_most(self.resold)
        self.rebought_range = _least_and_most(self.rebought)


def _least_and_most(places: IntArray) -> list[tuple[int, int]]:
    """Return the least and the most of all kinds, per slot."""
    return list(zip(places.min(axis=0).tolist(), places.max(axis=0).tolist(), strict=True))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Thresholds:
    """Levels per slot and session of a batch, shape (slots, sessions); infinite where nobody is connected."""

    charge_up_to: FloatArray
    discharge_down_to: FloatArray


def find_thresholds(batch: Batch, price_eur_per_kwh: FloatArray) -> Thresholds:
    """Go back in time from departure and note both levels of every slot.

    Args:
        batch: Sessions.
        price_eur_per_kwh: Price of the slots of the batch.
    """
    shape = (batch.slot_count, len(batch.rows))
    up, down = np.empty(shape), np.empty(shape)
    axis = PriceAxis(price_eur_per_kwh, batch.kinds)
    buying, selling = _levels_at_departure(batch, axis)
    for end in range(batch.slot_count, 0, -SLOTS_PER_PASS):
        still_ahead = axis.order < end
        buying, selling = buying[still_ahead], selling[still_ahead]
        axis = PriceAxis(price_eur_per_kwh[:end], batch.kinds)
        for slot in range(end - 1, max(end - SLOTS_PER_PASS, 0) - 1, -1):
            there = int(batch.connected_count[slot])
            up[slot], down[slot] = buying[axis.place[slot]], selling[axis.place[slot]]
            _step_back(batch, axis, slot, buying[:, :there], selling[:, :there])
    up[batch.is_absent], down[batch.is_absent] = -np.inf, np.inf
    return Thresholds(charge_up_to=up, discharge_down_to=down)


def _step_back(batch: Batch, axis: PriceAxis, slot: int, buying: FloatArray, selling: FloatArray) -> None:
    """Turn Q of the slot's end into Q of its beginning, for the sessions that are there."""
    there = buying.shape[1]
    lowest = batch.lowest(slot, there)
    stored, taken, top = batch.stored[:there], batch.taken[:there], batch.top[:there]
    _sink(buying[axis.not_above[slot] :], stored, lowest)
    _lift(selling[: axis.below[slot]], taken, top)
    # Where kinds of session differ, the places between the least and the most of them are told apart one by one.
    least, most = axis.resold_range[slot]
    _lift(buying[:least], taken, top)
    if least < most:
        some, place = buying[least:most], np.arange(least, most)[:, None]
        lifted = np.minimum(some + taken, top)
        np.copyto(some, lifted, where=place < axis.resold[batch.kind[:there], slot])
    least, most = axis.rebought_range[slot]
    _sink(selling[most:], stored, lowest)
    if least < most:
        some, place = selling[least:most], np.arange(least, most)[:, None]
        sunk = np.maximum(some - stored, lowest)
        np.copyto(some, sunk, where=place >= axis.rebought[batch.kind[:there], slot])


def _levels_at_departure(batch: Batch, axis: PriceAxis) -> tuple[FloatArray, FloatArray]:
    """Return Q at departure for what is bought and what is sold in each slot, shape (slots by price, sessions).

    A kWh above what is needed is worth 0 there. At a tie the car rests.
    """
    wear, worth = batch.kinds[batch.kind, 2], axis.sorted[:, None]
    return np.where(worth >= -wear, batch.needed, batch.top), np.where(worth > wear, batch.needed, batch.top)


def _sink(levels: FloatArray, stored: FloatArray, lowest: FloatArray) -> None:
    np.subtract(levels, stored, out=levels)
    np.maximum(levels, lowest, out=levels)


def _lift(levels: FloatArray, taken: FloatArray, top: FloatArray) -> None:
    np.add(levels, taken, out=levels)
    np.minimum(levels, top, out=levels)


def follow(batch: Batch, levels: Thresholds) -> tuple[FloatArray, FloatArray]:
    """Go forward from arrival under the thresholds.

    Returns:
        kWh stored and kWh taken, battery side, each of shape (slots, sessions).
    """
    state = np.empty((batch.slot_count + 1, len(batch.rows)))
    state[0] = batch.start
    for slot in range(batch.slot_count):
        now = state[slot]
        risen = np.maximum(now, np.minimum(now + batch.stored, levels.charge_up_to[slot]))
        fallen = np.maximum(now - batch.taken, levels.discharge_down_to[slot])
        np.minimum(risen, fallen, out=state[slot + 1])
    change = np.diff(state, axis=0)
    return np.maximum(change, 0.0), np.maximum(-change, 0.0)


def missed_by_resting(batch: Batch, price_eur_per_kwh: FloatArray, stored: FloatArray, taken: FloatArray) -> float:
    """Return how far below its cost the bound of an exchange lies, EUR; 0.0 unless a price is strongly negative.

    Where a taken kWh costs less than a drawn one pays, the cost of a slot is concave at rest. Its convex hull over what the
    rates allow is the line between full charge and full discharge; the thresholds are optimal for a line of that slope
    through rest, so the bound is the cost less the distance between the two.
    """
    excess = burning_eur(price_eur_per_kwh, batch.kinds)
    if not excess.any():
        return 0.0
    share = batch.taken / (batch.stored + batch.taken)
    missed = np.where(taken > 0.0, (1.0 - share) * (batch.taken - taken), share * (batch.stored - stored))
    return float(np.sum(missed * excess.T[:, batch.kind] * ~batch.is_absent))


def burning_eur(price_eur_per_kwh: FloatArray, kinds: FloatArray) -> FloatArray:
    """Return what charging and discharging one stored kWh in the same slot would be paid, at least 0, shape (kinds, T)."""
    charge_share, discharge_share, wear = kinds[:, 0:1], kinds[:, 1:2], kinds[:, 2:3]
    earned = discharge_share * (price_eur_per_kwh - wear)
    return np.maximum(earned - (price_eur_per_kwh + wear) / charge_share, 0.0)
