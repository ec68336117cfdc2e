"""The independent check of a solution: plain sums over plain arrays, sharing no code with what found it.

Nothing here knows about tables, columns, duals or solvers. A solution that breaks a rule is never used.
"""

from dataclasses import dataclass

import numpy as np
from typing_extensions import override

from bidding.arrays import FloatArray, IntArray
from bidding.fleet.sessions import SessionArrays

RELATIVE_TOLERANCE = 1e-6
ABSOLUTE_TOLERANCE_KWH = 1e-6


@dataclass(frozen=True, kw_only=True, slots=True)
class Violation:
    """One broken rule."""

    rule: str
    """Named for the physics: `window`, `rate`, `energy`, `cap`, `sum`, `objective`."""
    index: int
    """Row of the session or slot; -1 for the whole."""
    excess: float
    """By how much, in the unit of the rule (kWh, EUR)."""

    @override
    def __str__(self) -> str:
        return f"{self.rule}[{self.index}] by {self.excess:.3g}"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Claim:
    """What a solver says: who draws what when, and what that sums up to."""

    row: IntArray
    """Session of each entry."""
    slot: IntArray
    """Slot of each entry."""
    energy_kwh: FloatArray
    """Draw of each entry."""
    schedule_kwh: FloatArray
    """Draw of the fleet per slot."""
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
    found = (
        _worst("window", _outside_window(sessions, claim), claim.row),
        _worst("rate", _above_rate(sessions, claim), claim.row),
        _worst("energy", _energy_missed(sessions, claim), None),
        _worst("cap", _above_cap(claim, terms), None),
        _worst("sum", _sum_mismatch(claim), None),
        _objective_mismatch(claim, terms),
    )
    return tuple(violation for violation in found if violation is not None)


def _outside_window(sessions: SessionArrays, claim: Claim) -> FloatArray:
    early = claim.slot < sessions.arrival_slot[claim.row]
    late = claim.slot >= sessions.departure_slot[claim.row]
    return np.where(early | late, np.abs(claim.energy_kwh), 0.0)


def _above_rate(sessions: SessionArrays, claim: Claim) -> FloatArray:
    rate = sessions.rate_kwh_per_slot[claim.row]
    return np.maximum(claim.energy_kwh - rate * (1.0 + RELATIVE_TOLERANCE), -claim.energy_kwh)


def _energy_missed(sessions: SessionArrays, claim: Claim) -> FloatArray:
    charged = np.zeros(len(sessions))
    np.add.at(charged, claim.row, claim.energy_kwh)
    slack = RELATIVE_TOLERANCE * sessions.energy_max_kwh
    return np.maximum(sessions.energy_min_kwh - slack - charged, charged - sessions.energy_max_kwh - slack)


def _above_cap(claim: Claim, terms: Terms) -> FloatArray:
    excess = np.zeros(len(claim.schedule_kwh))
    limited = np.isfinite(terms.cap_kwh)
    highest = float(np.max(claim.schedule_kwh, initial=0.0))
    excess[limited] = claim.schedule_kwh[limited] - terms.cap_kwh[limited] - RELATIVE_TOLERANCE * highest
    return excess


def _sum_mismatch(claim: Claim) -> FloatArray:
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
