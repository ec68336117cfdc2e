"""The independent check of a solution: plain sums over plain arrays, sharing no code with what found it.

Nothing here knows about tables, columns, duals or solvers. A solution that breaks a rule is never used.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from bidding.arrays import FloatArray, IntArray
from bidding.fleet.sessions import SessionArrays

RELATIVE_TOLERANCE = 1e-6
ABSOLUTE_TOLERANCE_KWH = 1e-6
BOTH_WAYS_SHARE = 1e-5
"""A battery may be said to charge and discharge in one slot by this share of its power: the solver's rounding."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Violation:
    """One broken rule."""

    rule: str
    """Named for the physics: `window`, `rate`, `energy`, `cap`, `sum`, `objective`, `model`, `battery-..`, `sunshine`."""
    index: int
    """Row of the session or slot; -1 for the whole."""
    excess: float
    """By how much, in the unit of the rule (kWh, EUR)."""

    @override
    def __str__(self) -> str:
        return f"{self.rule}[{self.index}] by {self.excess:.3g}"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Following:
    """How sessions are said to follow a schedule: who draws what when, and what that sums up to."""

    row: IntArray
    """Session of each entry."""
    slot: IntArray
    """Slot of each entry."""
    energy_kwh: FloatArray
    """Draw of each entry."""
    schedule_kwh: FloatArray
    """Draw of the fleet per slot."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Claim(Following):
    """What a solver says: how the schedule is followed, and what it costs."""

    objective_eur: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Terms:
    """What the solution is held against."""

    price_eur_per_kwh: FloatArray
    cap_kwh: FloatArray
    load_kwh: FloatArray
    eur_per_peak_kwh: float
    peak_so_far_kwh: float


def recheck(sessions: SessionArrays, claim: Claim, terms: Terms) -> tuple[Violation, ...]:
    """Return every rule the claim breaks (the worst place of each); empty when it may be used."""
    cap = _worst("cap", _above_cap(claim.schedule_kwh, terms.cap_kwh), None)
    return _found(*recheck_following(sessions, claim), cap, _objective_mismatch(claim, terms))


def recheck_following(sessions: SessionArrays, claim: Following) -> tuple[Violation, ...]:
    """Return every rule of the sessions that the set points break: windows, rates, energies, and the sum per slot."""
    return _found(
        _worst("window", _outside_window(sessions, claim), claim.row),
        _worst("rate", _above_rate(sessions, claim), claim.row),
        _worst("energy", _energy_missed(sessions, claim), None),
        _worst("sum", _sum_mismatch(claim), None),
    )


def recheck_caps(draw_kwh: FloatArray, cap_kwh: FloatArray) -> tuple[Violation, ...]:
    """Return the slot in which a draw is farthest above its limit; infinity does not limit."""
    return _found(_worst("cap", _above_cap(draw_kwh, cap_kwh), None))


def recheck_tree(
    claim: Following, node: IntArray, parent: IntArray, cap_kwh: npt.NDArray[np.float64]
) -> tuple[Violation, ...]:
    """Return every limit of a tree that the set points break; the rule carries the node's number.

    Args:
        claim: Set points of the sessions.
        node: Where each session charges.
        parent: The node above each node, -1 above a root.
        cap_kwh: Limit per node and slot.
    """
    found: list[Violation | None] = []
    for limited in range(len(parent)):
        draw, at = np.zeros(len(claim.schedule_kwh)), node.copy()
        inside = np.zeros(len(node), dtype=np.bool_)
        # Climb from every session to its root; whoever passes the node draws through it.
        while np.any(at >= 0):
            inside |= at == limited
            at = np.where(at >= 0, parent[at], -1)
        np.add.at(draw, claim.slot, np.where(inside[claim.row], claim.energy_kwh, 0.0))
        found.append(_worst(f"cap-of-node-{limited}", _above_cap(draw, cap_kwh[limited]), None))
    return _found(*found)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BatteryClaim:
    """What a solver says a battery does, and what the battery is; energies in kWh, per slot where arrays."""

    charge_kwh: FloatArray
    discharge_kwh: FloatArray
    initial_kwh: float
    floor_kwh: float
    capacity_kwh: float
    charge_kwh_per_slot: float
    discharge_kwh_per_slot: float
    charge_efficiency: float
    discharge_efficiency: float
    final_min_kwh: float


def recheck_battery(claim: BatteryClaim) -> tuple[Violation, ...]:
    """Return every rule of a battery that is broken: power, both ways at once, stored energy slot by slot, the end."""
    power = np.maximum.reduce(
        [
            -claim.charge_kwh,
            -claim.discharge_kwh,
            claim.charge_kwh - claim.charge_kwh_per_slot,
            claim.discharge_kwh - claim.discharge_kwh_per_slot,
        ]
    )
    highest = max(claim.charge_kwh_per_slot, claim.discharge_kwh_per_slot)
    both = np.minimum(claim.charge_kwh, claim.discharge_kwh) - BOTH_WAYS_SHARE * highest
    stored, outside = claim.initial_kwh, np.zeros(len(claim.charge_kwh))
    for slot, (drawn, given) in enumerate(zip(claim.charge_kwh, claim.discharge_kwh, strict=True)):
        stored += drawn * claim.charge_efficiency - given / claim.discharge_efficiency
        outside[slot] = max(claim.floor_kwh - stored, stored - claim.capacity_kwh)
    rounding = RELATIVE_TOLERANCE * max(claim.capacity_kwh, highest)
    return _found(
        _worst("battery-power", power - rounding, None),
        _worst("battery-both-ways", both, None),
        _worst("battery-energy", outside - rounding, None),
        _worst("battery-end", np.array([claim.final_min_kwh - stored - rounding]), None),
    )


def recheck_curtailment(used_kwh: FloatArray, available_kwh: FloatArray) -> tuple[Violation, ...]:
    """Return the slot in which a plant is said to give the most beyond what the sun does, or the most below nothing."""
    rounding = RELATIVE_TOLERANCE * float(np.max(available_kwh, initial=0.0))
    return _found(_worst("sunshine", np.maximum(used_kwh - available_kwh, -used_kwh) - rounding, None))


def _found(*violations: Violation | None) -> tuple[Violation, ...]:
    return tuple(violation for violation in violations if violation is not None)


def _outside_window(sessions: SessionArrays, claim: Following) -> FloatArray:
    early = claim.slot < sessions.arrival_slot[claim.row]
    late = claim.slot >= sessions.departure_slot[claim.row]
    return np.where(early | late, np.abs(claim.energy_kwh), 0.0)


def _above_rate(sessions: SessionArrays, claim: Following) -> FloatArray:
    rate = sessions.rate_kwh_per_slot[claim.row]
    return np.maximum(claim.energy_kwh - rate * (1.0 + RELATIVE_TOLERANCE), -claim.energy_kwh)


def _energy_missed(sessions: SessionArrays, claim: Following) -> FloatArray:
    charged = np.zeros(len(sessions))
    np.add.at(charged, claim.row, claim.energy_kwh)
    slack = RELATIVE_TOLERANCE * sessions.energy_max_kwh
    return np.maximum(sessions.energy_min_kwh - slack - charged, charged - sessions.energy_max_kwh - slack)


def _above_cap(draw_kwh: FloatArray, cap_kwh: FloatArray) -> FloatArray:
    excess = np.zeros(len(draw_kwh))
    limited = np.isfinite(cap_kwh)
    highest = float(np.max(draw_kwh, initial=0.0))
    excess[limited] = draw_kwh[limited] - cap_kwh[limited] - RELATIVE_TOLERANCE * highest
    return excess


def _sum_mismatch(claim: Following) -> FloatArray:
    total = np.zeros(len(claim.schedule_kwh))
    np.add.at(total, claim.slot, claim.energy_kwh)
    return np.abs(total - claim.schedule_kwh) - RELATIVE_TOLERANCE * np.maximum(total, 1.0)


def _objective_mismatch(claim: Claim, terms: Terms) -> Violation | None:
    per_slot = terms.price_eur_per_kwh * claim.schedule_kwh
    peak = max(terms.peak_so_far_kwh, float(np.max(terms.load_kwh + claim.schedule_kwh)))
    cost = float(per_slot.sum()) + terms.eur_per_peak_kwh * peak
    turnover = float(np.abs(per_slot).sum()) + terms.eur_per_peak_kwh * peak
    difference = abs(cost - claim.objective_eur)
    if difference <= RELATIVE_TOLERANCE * max(turnover, 1.0):
        return None
    return Violation(rule="objective", index=-1, excess=difference)


def _worst(rule: str, excess: FloatArray, index: IntArray | None) -> Violation | None:
    """Return the largest excess above the tolerance; `index` translates positions when they are not rows or slots."""
    if not excess.size:
        return None
    at = int(np.argmax(excess))
    # argmax finds a NaN first, and NaN is not within any tolerance.
    if excess[at] <= ABSOLUTE_TOLERANCE_KWH:
        return None
    return Violation(rule=rule, index=at if index is None else int(index[at]), excess=float(excess[at]))
