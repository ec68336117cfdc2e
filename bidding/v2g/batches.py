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
    connected_count: IntArray
    """Length of that prefix in each slot; who has not arrived yet is in it too."""
    stored: FloatArray
    taken: FloatArray
    start: FloatArray
    floor: FloatArray
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
        rising = self.start[:count] + self.stored[:count] * (slot - self.arrival[:count])
        return np.minimum(self.floor[:count], rising)

    def connected(self) -> BoolArray:
        """Return who is there when, shape (slots, sessions)."""
        slot = np.arange(self.slot_count)[:, None]
        return (slot >= self.arrival) & (np.arange(len(self.rows)) < self.connected_count[:, None])


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
    left_by = np.bincount(some.departure_slot - first, minlength=last - first + 1)
    return Batch(
        rows=rows,
        first_slot=first,
        slot_count=last - first,
        arrival=some.arrival_slot - first,
        connected_count=len(rows) - np.cumsum(left_by)[: last - first],
        stored=some.stored_per_slot_kwh,
        taken=some.taken_per_slot_kwh,
        start=some.soc_arrival_kwh,
        floor=some.floor_kwh,
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
    levels = Thresholds(charge_up_to=np.full(shape, -np.inf), discharge_down_to=np.full(shape, np.inf))
    axis = PriceAxis(price_eur_per_kwh, batch.kinds)
    buying, selling = _levels_at_departure(batch, axis)
    for end in range(batch.slot_count, 0, -SLOTS_PER_PASS):
        still_ahead = axis.order < end
        buying, selling = buying[still_ahead], selling[still_ahead]
        axis = PriceAxis(price_eur_per_kwh[:end], batch.kinds)
        for slot in range(end - 1, max(end - SLOTS_PER_PASS, 0) - 1, -1):
            there = int(batch.connected_count[slot])
            arrived = batch.arrival[:there] <= slot
            place = axis.place[slot]
            np.copyto(levels.charge_up_to[slot, :there], buying[place, :there], where=arrived)
            np.copyto(levels.discharge_down_to[slot, :there], selling[place, :there], where=arrived)
            _step_back(batch, axis, slot, buying[:, :there], selling[:, :there])
    return levels


def _step_back(batch: Batch, axis: PriceAxis, slot: int, buying: FloatArray, selling: FloatArray) -> None:
    """Turn Q of the slot's end into Q of its beginning, for the sessions that are there."""
    there = buying.shape[1]
    kind, lowest = batch.kind[:there], batch.lowest(slot, there)
    stored, taken, top = batch.stored[:there], batch.taken[:there], batch.top[:there]
    _sink(buying[axis.not_above[slot] :], stored, lowest)
    _lift_first(buying, axis.resold[:, slot], kind, taken, top)
    _lift(selling[: axis.below[slot]], taken, top)
    _sink_from(selling, axis.rebought[:, slot], kind, stored, lowest)


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


def _lift_first(levels: FloatArray, counts: IntArray, kind: IntArray, taken: FloatArray, top: FloatArray) -> None:
    """Lift the first rows: as many as the count of each session's kind."""
    least, most = int(counts.min()), int(counts.max())
    _lift(levels[:least], taken, top)
    if least < most:
        some = levels[least:most]
        inside = np.arange(least, most)[:, None] < counts[kind]
        np.copyto(some, np.minimum(some + taken, top), where=inside)


def _sink_from(levels: FloatArray, begins: IntArray, kind: IntArray, stored: FloatArray, lowest: FloatArray) -> None:
    """Sink the last rows: from where each session's kind begins."""
    least, most = int(begins.min()), int(begins.max())
    _sink(levels[most:], stored, lowest)
    if least < most:
        some = levels[least:most]
        inside = np.arange(least, most)[:, None] >= begins[kind]
        np.copyto(some, np.maximum(some - stored, lowest), where=inside)


def follow(batch: Batch, levels: Thresholds) -> tuple[FloatArray, FloatArray]:
    """Go forward from arrival under the thresholds.

    Returns:
        kWh stored and kWh taken, battery side, each of shape (slots, sessions).
    """
    shape = (batch.slot_count, len(batch.rows))
    stored, taken = np.zeros(shape), np.zeros(shape)
    state = batch.start.copy()
    for slot in range(batch.slot_count):
        there = int(batch.connected_count[slot])
        now, up, down = state[:there], levels.charge_up_to[slot, :there], levels.discharge_down_to[slot, :there]
        rise = np.maximum(np.minimum(now + batch.stored[:there], up) - now, 0.0)
        fall = np.maximum(now - np.maximum(now - batch.taken[:there], down), 0.0)
        fall[rise > 0.0] = 0.0
        stored[slot, :there], taken[slot, :there] = rise, fall
        now += rise - fall
    return stored, taken


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
    return float(np.sum(missed * excess.T[:, batch.kind] * batch.connected()))


def burning_eur(price_eur_per_kwh: FloatArray, kinds: FloatArray) -> FloatArray:
    """Return what charging and discharging one stored kWh in the same slot would be paid, at least 0, shape (kinds, T)."""
    charge_share, discharge_share, wear = kinds[:, 0:1], kinds[:, 1:2], kinds[:, 2:3]
    earned = discharge_share * (price_eur_per_kwh - wear)
    return np.maximum(earned - (price_eur_per_kwh + wear) / charge_share, 0.0)
