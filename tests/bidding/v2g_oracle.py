"""Random bidirectional fleets, and their optimum the slow and obvious way: one program over all sessions and slots."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.optimize import Bounds, LinearConstraint, milp

from bidding.arrays import FloatArray
from bidding.v2g.caps import FleetCaps
from bidding.v2g.sessions import BidirectionalSessions


def sessions_of(**columns: Any) -> BidirectionalSessions:
    """Return sessions with the columns given and a lossless battery of 2 kWh that may be empty for the rest."""
    count = max(len(values) for values in columns.values())
    rest = {
        "arrival_slot": np.zeros(count, dtype=np.int64),
        "departure_slot": np.full(count, 2),
        "charge_kwh_per_slot": np.ones(count),
        "discharge_kwh_per_slot": np.ones(count),
        "charge_efficiency": np.ones(count),
        "discharge_efficiency": np.ones(count),
        "soc_arrival_kwh": np.ones(count),
        "soc_min_kwh": np.zeros(count),
        "soc_max_kwh": np.full(count, 2.0),
        "soc_departure_kwh": np.ones(count),
        "trip_reserve_kwh": np.zeros(count),
        "degradation_eur_per_kwh": np.zeros(count),
    }
    return BidirectionalSessions(**{**rest, **columns})


def random_sessions(
    rng: np.random.Generator, count: int, slot_count: int, *, kind_count: int = 2
) -> BidirectionalSessions:
    """Return cars of some kinds (losses and wear), some of which only charge or arrive below their trip reserve."""
    arrival = rng.integers(0, slot_count, count)
    departure = np.minimum(arrival + 1 + (rng.random(count) * (slot_count - arrival)).astype(np.int64), slot_count)
    rate = rng.choice([1.0, 2.0, 3.0], count)
    capacity = rng.choice([4.0, 8.0, 12.0], count)
    least = capacity * rng.choice([0.0, 0.1], count)
    arrived = least + rng.random(count) * (capacity - least)
    kind = rng.integers(0, kind_count, count)
    charge_efficiency = rng.uniform(0.8, 1.0, kind_count)[kind]
    reach = arrived + charge_efficiency * rate * (departure - arrival)
    return BidirectionalSessions(
        arrival_slot=arrival,
        departure_slot=departure,
        charge_kwh_per_slot=rate,
        discharge_kwh_per_slot=rate * rng.choice([0.0, 0.5, 1.0], count),
        charge_efficiency=charge_efficiency,
        discharge_efficiency=rng.uniform(0.8, 1.0, kind_count)[kind],
        soc_arrival_kwh=arrived,
        soc_min_kwh=least,
        soc_max_kwh=capacity,
        soc_departure_kwh=np.minimum(rng.random(count) * capacity, reach),
        trip_reserve_kwh=capacity * rng.choice([0.0, 0.3, 0.5], count),
        degradation_eur_per_kwh=rng.choice([0.0, 0.005, 0.02], kind_count)[kind],
    )


@dataclass(frozen=True)
class _Program:
    """Columns: drawn, fed in, then whether a car feeds in, each for every session and slot."""

    sessions: BidirectionalSessions
    slot_count: int

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.sessions), self.slot_count

    def present(self) -> FloatArray:
        slot = np.arange(self.slot_count)
        inside = (slot >= self.sessions.arrival_slot[:, None]) & (slot < self.sessions.departure_slot[:, None])
        return inside.astype(float)

    def batteries(self) -> LinearConstraint:
        """State of charge after each slot of each window between what must and what may be there."""
        one, slots = self.sessions, self.slot_count
        sums = np.tril(np.ones((slots, slots)))
        rows = sp.hstack(
            [
                sp.block_diag([share * sums for share in one.charge_efficiency]),
                sp.block_diag([-sums / share for share in one.discharge_efficiency]),
                sp.csr_matrix((len(one) * slots, len(one) * slots)),
            ]
        )
        after = np.arange(1, slots + 1)
        attainable = one.reach_kwh(0)[:, None] + one.stored_per_slot_kwh[:, None] * after
        lowest = np.minimum(np.maximum(one.soc_min_kwh, one.trip_reserve_kwh)[:, None], attainable)
        at_departure = after == one.departure_slot[:, None]
        lowest = np.where(at_departure, np.maximum(lowest, one.soc_departure_kwh[:, None]), lowest)
        start = one.soc_arrival_kwh[:, None]
        low = np.where(self.present() > 0, lowest - start, -np.inf)
        high = np.broadcast_to(one.soc_max_kwh[:, None] - start, self.shape)
        return LinearConstraint(rows, low.ravel(), high.ravel())

    def caps(self, caps: FleetCaps) -> LinearConstraint:
        pick = sp.kron(np.ones((1, len(self.sessions))), sp.eye(self.slot_count))
        return LinearConstraint(sp.hstack([pick, -pick, 0 * pick]), -caps.export_kwh, caps.import_kwh)

    def one_at_a_time(self) -> list[LinearConstraint]:
        """A car draws only when it does not feed in, and the other way round."""
        one, size = self.sessions, self.shape[0] * self.slot_count
        same, none = sp.eye(size), sp.csr_matrix((size, size))
        draw, feed = (
            sp.diags(np.repeat(rate, self.slot_count)) for rate in (one.charge_kwh_per_slot, one.discharge_kwh_per_slot)
        )
        room = np.repeat(one.charge_kwh_per_slot, self.slot_count)
        return [
            LinearConstraint(sp.hstack([same, none, draw]), -np.inf, room),
            LinearConstraint(sp.hstack([none, same, -feed]), -np.inf, 0.0),
        ]


def least_cost(
    sessions: BidirectionalSessions,
    price: FloatArray,
    caps: FleetCaps | None = None,
    *,
    feed_in_price: FloatArray | None = None,
    exclusive: bool = False,
) -> float | None:
    """Return the least cost, or None when nothing fits.

    Args:
        sessions: Sessions fitted to the horizon.
        price: What drawing costs per slot.
        caps: Limits of the fleet.
        feed_in_price: What feeding in earns per session and slot before wear; the price when None.
        exclusive: Forbid to do both in a slot, with a binary for each session and slot.
    """
    program = _Program(sessions, len(price))
    there = program.present()
    wear = sessions.degradation_eur_per_kwh[:, None] * np.ones(program.shape)
    earned = np.broadcast_to(price if feed_in_price is None else feed_in_price, program.shape)
    cost = np.concatenate([(price + wear).ravel(), (wear - earned).ravel(), np.zeros(there.size)])
    most = [there * sessions.charge_kwh_per_slot[:, None], there * sessions.discharge_kwh_per_slot[:, None], there]
    rules = [program.batteries()]
    if caps is not None:
        rules.append(program.caps(caps))
    if exclusive:
        rules.extend(program.one_at_a_time())
    result = milp(
        cost,
        constraints=rules,
        bounds=Bounds(0.0, np.concatenate([one.ravel() for one in most])),
        integrality=np.repeat([0, 0, int(exclusive)], there.size),
        options={"mip_rel_gap": 1e-10},
    )
    if result.status == 2:
        return None
    assert result.status == 0, result.message
    return float(result.fun)


def least_overflow(sessions: BidirectionalSessions, caps: FleetCaps) -> float:
    """Return the least energy above the import cap of any plan within the export cap."""
    program = _Program(sessions, caps.slot_count)
    there, slots = program.present(), caps.slot_count
    size = 3 * there.size
    most = [there * sessions.charge_kwh_per_slot[:, None], there * sessions.discharge_kwh_per_slot[:, None], there]

    def widened(rule: LinearConstraint, overflow: FloatArray) -> LinearConstraint:
        rows: Any = rule.A
        return LinearConstraint(sp.hstack([rows, sp.csr_matrix(overflow)]), rule.lb, rule.ub)

    batteries, limits = program.batteries(), program.caps(caps)
    exported = LinearConstraint(limits.A, limits.lb, np.inf)
    imported = LinearConstraint(limits.A, -np.inf, limits.ub)
    result = milp(
        np.concatenate([np.zeros(size), np.ones(slots)]),
        constraints=[
            widened(batteries, np.zeros((there.size, slots))),
            widened(exported, np.zeros((slots, slots))),
            widened(imported, -np.eye(slots)),
        ],
        bounds=Bounds(0.0, np.concatenate([*(one.ravel() for one in most), np.full(slots, np.inf)])),
    )
    assert result.status == 0, result.message
    return float(result.fun)
