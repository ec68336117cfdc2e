"""The independent check of a plan for bidirectional sessions: plain sums, sharing no code with what found it.

Nothing here knows about thresholds, columns or bounds. A plan that breaks a rule is never used.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from typing_extensions import override

from bidding.arrays import FloatArray
from bidding.v2g.caps import FleetCaps
from bidding.v2g.sessions import BidirectionalSessions

TOLERANCE_KWH = 1e-6
RELATIVE_TOLERANCE = 1e-6


@dataclass(frozen=True, kw_only=True, slots=True)
class BrokenRule:
    """The worst breach of one rule."""

    rule: str
    """`shape`, `number`, `window`, `charge-rate`, `discharge-rate`, `both-at-once`, `soc-min`, `soc-max`, `trip-reserve`,
    `departure`, `import-cap`, `export-cap` or `cost`."""
    session: int
    """Row; -1 when it is about the fleet."""
    slot: int
    """Slot; -1 when it is about a departure or the whole plan."""
    excess: float
    """By how much, in kWh (EUR for `cost`)."""

    @override
    def __str__(self) -> str:
        return f"{self.rule}[{self.session}, {self.slot}] by {self.excess:.3g}"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class V2gClaim:
    """What a plan says, as plain arrays."""

    charge_kwh: FloatArray
    """Drawn, shape (N, T)."""
    discharge_kwh: FloatArray
    """Fed in, shape (N, T)."""
    cost_eur: float


def recheck_v2g(
    sessions: BidirectionalSessions,
    claim: V2gClaim,
    price_eur_per_kwh: FloatArray,
    caps: FleetCaps | None = None,
) -> tuple[BrokenRule, ...]:
    """Return every rule the plan breaks, with its worst place; empty when it may be used.

    Args:
        sessions: Sessions fitted to the horizon.
        claim: The plan.
        price_eur_per_kwh: Price the cost is stated at, shape (T,).
        caps: Limits of the fleet; None when there are none.
    """
    expected = (len(sessions), len(price_eur_per_kwh))
    if claim.charge_kwh.shape != expected or claim.discharge_kwh.shape != expected:
        return (BrokenRule(rule="shape", session=-1, slot=-1, excess=float("nan")),)
    if not (np.isfinite(claim.charge_kwh).all() and np.isfinite(claim.discharge_kwh).all()):
        return (BrokenRule(rule="number", session=-1, slot=-1, excess=float("nan")),)
    excesses = [*_of_rates(sessions, claim), *_of_batteries(sessions, claim)]
    found = [_worst(rule, excess) for rule, excess in excesses]
    if caps is not None:
        found.extend(_of_caps(claim, caps))
    found.append(_of_cost(sessions, claim, price_eur_per_kwh))
    return tuple(broken for broken in found if broken is not None)


def _of_rates(sessions: BidirectionalSessions, claim: V2gClaim) -> Iterator[tuple[str, FloatArray]]:
    charge, discharge = claim.charge_kwh, claim.discharge_kwh
    slot = np.arange(charge.shape[1])[None, :]
    away = (slot < sessions.arrival_slot[:, None]) | (slot >= sessions.departure_slot[:, None])
    yield "window", np.where(away, np.abs(charge) + np.abs(discharge), 0.0)
    yield "charge-rate", np.maximum(charge - sessions.charge_kwh_per_slot[:, None], -charge)
    yield "discharge-rate", np.maximum(discharge - sessions.discharge_kwh_per_slot[:, None], -discharge)
    yield "both-at-once", np.minimum(charge, discharge)


def _of_batteries(sessions: BidirectionalSessions, claim: V2gClaim) -> Iterator[tuple[str, FloatArray]]:
    """Yield breaches by the state of charge, which loses energy both ways."""
    inflow = claim.charge_kwh * sessions.charge_efficiency[:, None]
    outflow = claim.discharge_kwh / sessions.discharge_efficiency[:, None]
    state = sessions.soc_arrival_kwh[:, None] + np.cumsum(inflow - outflow, axis=1)
    yield "soc-min", sessions.soc_min_kwh[:, None] - state
    yield "soc-max", state - sessions.soc_max_kwh[:, None]
    # A car that arrives below its reserve owes what full rate gives until it has it.
    connected_for = np.arange(1, state.shape[1] + 1)[None, :] - sessions.arrival_slot[:, None]
    rate = (sessions.charge_kwh_per_slot * sessions.charge_efficiency)[:, None]
    attainable = sessions.soc_arrival_kwh[:, None] + rate * np.maximum(connected_for, 0)
    owed = np.minimum(sessions.trip_reserve_kwh[:, None], attainable) - state
    there = (connected_for > 0) & (connected_for <= sessions.window_length[:, None])
    yield "trip-reserve", np.where(there, owed, 0.0)
    at_departure = state[np.arange(len(state)), sessions.departure_slot - 1]
    yield "departure", sessions.soc_departure_kwh - at_departure


def _of_caps(claim: V2gClaim, caps: FleetCaps) -> Iterator[BrokenRule | None]:
    draw = np.sum(claim.charge_kwh, axis=0) - np.sum(claim.discharge_kwh, axis=0)
    slack = RELATIVE_TOLERANCE * float(np.max(np.abs(draw), initial=0.0))
    for rule, excess in (("import-cap", draw - caps.import_kwh), ("export-cap", -draw - caps.export_kwh)):
        slot = int(np.argmax(excess))
        if excess[slot] > TOLERANCE_KWH + slack:
            yield BrokenRule(rule=rule, session=-1, slot=slot, excess=float(excess[slot]))


def _of_cost(sessions: BidirectionalSessions, claim: V2gClaim, price: FloatArray) -> BrokenRule | None:
    energy = float(np.sum((claim.charge_kwh - claim.discharge_kwh) * price[None, :]))
    throughput = np.sum(claim.charge_kwh + claim.discharge_kwh, axis=1)
    wear = float(np.sum(throughput * sessions.degradation_eur_per_kwh))
    turnover = float(np.sum((claim.charge_kwh + claim.discharge_kwh) * np.abs(price)[None, :])) + wear
    difference = abs(energy + wear - claim.cost_eur)
    if difference <= RELATIVE_TOLERANCE * max(turnover, 1.0):
        return None
    return BrokenRule(rule="cost", session=-1, slot=-1, excess=difference)


def _worst(rule: str, excess: FloatArray) -> BrokenRule | None:
    if not excess.size or float(np.max(excess)) <= TOLERANCE_KWH:
        return None
    place = np.unravel_index(int(np.argmax(excess)), excess.shape)
    slot = int(place[1]) if excess.ndim > 1 else -1
    return BrokenRule(rule=rule, session=int(place[0]), slot=slot, excess=float(excess[place]))
