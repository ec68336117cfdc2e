"""Who gives way by how much when a limit is short: weighted max-min of the served share, tier after tier, exact.

The energies that can be served together are a polymatroid (a flow from cars to slots), so the weighted max-min point is
unique and also lexicographically best: nobody can get more without somebody with a smaller share getting less (Megiddo 1974;
Fujishige 1980, "Lexicographically optimal base of a polymatroid with respect to a weight vector").

The level of a tier rises until some set A of slots is full. The optimiser finds A as its certificate of infeasibility; then

    sum_i max(0, e_i(level) - u_i |W_i outside A|) = allowed in A

is one piecewise linear equation whose solution is the next level (Newton's step on the certificate, as Dinkelbach 1967 does
for ratios). Once the level fits, the sessions that must draw in A are stuck and stay; the others go on rising. The number of
optimisations is about the number of full sets of slots, not the number of sessions.
"""

from dataclasses import dataclass
from enum import Enum

import numpy as np

from bidding.arrays import BoolArray, FloatArray, IntArray, finite_vector, require_each
from bidding.fleet.sessions import SessionArrays
from bidding.optimum.coupling import Coupling
from bidding.optimum.optimise import OptimiserOptions, optimise
from bidding.optimum.outcome import Infeasible, SolutionRejected
from bidding.optimum.recheck import Violation

NEWTON_STEP_LIMIT = 60
"""Newton's steps end after as many as there are kinks between the starting level and the solution; some suffice."""
UNDECIDED = Violation(rule="iteration-limit", index=-1, excess=0.0)
"""The search ended before it was clear whether some energies fit."""
SERVED_TOLERANCE = 1e-9
"""A share this close to the whole is the whole."""


class ScarcityRule(Enum):
    """Who gives way when a limit is short, among needs of the same tier."""

    BY_NEED = "by-need"
    """All get the same share of what they need (times their weight)."""
    BY_ARRIVAL = "by-arrival"
    """Who arrived earlier is served first; who arrived in the same slot shares by need."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Tier:
    """One round of service: from what a session has to what it wants in this round."""

    wanted_kwh: FloatArray
    """Total energy each session wants by the end of this tier, at least what it has so far."""
    weight: FloatArray
    """Share that one unit of level serves, above 0: twice the weight, twice the share under scarcity."""


def tier_ranks(tier: Tier, arrival_slot: IntArray, rule: ScarcityRule) -> list[Tier]:
    """Return the tier split by arrival, or as it is when the rule shares by need."""
    if rule is ScarcityRule.BY_NEED:
        return [tier]
    return [
        Tier(wanted_kwh=np.where(arrival_slot <= slot, tier.wanted_kwh, 0.0), weight=tier.weight)
        for slot in np.unique(arrival_slot)
    ]


def serve_fairly(
    cars: SessionArrays, tiers: list[Tier], coupling: Coupling, options: OptimiserOptions | None = None
) -> FloatArray:
    """Return the energy each session gets when tiers are served one after the other, each as fairly as possible.

    Args:
        cars: Sessions fitted to the horizon; their own energies are not looked at.
        tiers: What is wanted, most important first.
        coupling: The cap per slot; a demand charge never takes energy away.
        options: How to search for certificates.

    Returns:
        kWh per session, shape (N,); all of it fits under the cap together.

    Raises:
        InvalidInput: A weight is not above 0 or an energy does not fit its window.
        SolutionRejected: The iteration budget of `options` does not suffice.
    """
    for tier in tiers:
        require_each("weight", finite_vector("weight", tier.weight, len(cars)) > 0.0, "must be above 0")
    filling = _Filling(cars, Coupling(cap_kwh=coupling.cap_kwh), options)
    served = np.zeros(len(cars))
    done, stride = 0, 1
    while done < len(tiers):
        # Tiers that fit whole are passed in strides that double: by arrival there are as many as slots.
        wanted = np.maximum.reduce([served, *(tier.wanted_kwh for tier in tiers[done : done + stride])])
        if filling.full_slots(wanted) is None:
            served, done, stride = wanted, done + stride, 2 * stride
        elif stride > 1:
            stride = 1
        else:
            served, done = filling.raise_to(served, wanted, tiers[done].weight), done + 1
    return served


class _Filling:
    """Progressive filling under one cap."""

    def __init__(self, cars: SessionArrays, coupling: Coupling, options: OptimiserOptions | None) -> None:
        self._cars = cars
        self._coupling = coupling
        self._options = options
        # One price in all slots prefers nothing, yet gives the search a cost that its gap is relative to.
        self._any_price = np.ones(coupling.slot_count)

    def full_slots(self, energy_kwh: FloatArray) -> BoolArray | None:
        """Return the slots in which these energies do not fit, or None when they fit."""
        outcome = optimise(
            self._cars.with_energy(energy_kwh, energy_kwh), self._any_price, self._coupling, self._options
        ).outcome
        if isinstance(outcome, Infeasible):
            slots = np.zeros(self._coupling.slot_count, dtype=np.bool_)
            slots[list(outcome.conflicts[0].slots)] = True
            return slots
        if outcome.kind == "timed-out":
            raise SolutionRejected((UNDECIDED,))
        return None

    def raise_to(self, served: FloatArray, wanted: FloatArray, weight: FloatArray) -> FloatArray:
        """Return the max-min fair energies between what is served and what is wanted, which does not fit whole."""
        base, rising = served.copy(), wanted > served
        while rising.any():
            ramp = _Ramp(
                base=base, slope=np.where(rising, weight * (wanted - served), 0.0), top=np.where(rising, wanted, base)
            )
            energy, slots = self.highest_on(ramp)
            if slots is None:
                return energy
            spare = self.spare_elsewhere(energy, slots)
            stuck = rising & (spare <= SERVED_TOLERANCE * np.maximum(wanted, 1.0))
            done = rising & (energy >= wanted * (1.0 - SERVED_TOLERANCE))
            held = stuck | done if stuck.any() else rising
            base = np.where(held, energy, base)
            rising = rising & ~held
        return base

    def highest_on(self, ramp: "_Ramp") -> tuple[FloatArray, BoolArray | None]:
        """Return the energies at the highest level that fits, and the slots that are full then (None: the top fits)."""
        level, slots = np.inf, None
        for _ in range(NEWTON_STEP_LIMIT):
            full = self.full_slots(ramp.at(level))
            if full is None:
                break
            allowed = float(self._coupling.cap_kwh[full].sum())
            lower = ramp.level_that_fills(self.elsewhere(full), allowed)
            if lower >= level:
                # What is missing is the rounding of the search: this level is the solution.
                break
            level, slots = lower, full
        return ramp.at(level), slots

    def elsewhere(self, slots: BoolArray) -> FloatArray:
        """Return what each session can draw outside some slots."""
        outside = np.concatenate([[0], np.cumsum(~slots)])
        count = outside[self._cars.departure_slot] - outside[self._cars.arrival_slot]
        room: FloatArray = self._cars.rate_kwh_per_slot * count
        return room

    def spare_elsewhere(self, energy_kwh: FloatArray, slots: BoolArray) -> FloatArray:
        """Return how much more each session could draw without drawing in some slots; negative: it must draw there."""
        spare: FloatArray = self.elsewhere(slots) - energy_kwh
        return spare


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Ramp:
    """Energies that rise together with one level: `min(base + slope * level, top)`."""

    base: FloatArray
    slope: FloatArray
    top: FloatArray

    def at(self, level: float) -> FloatArray:
        """Return the energies at a level; infinity is the top."""
        if np.isposinf(level):
            return self.top
        return np.minimum(self.base + self.slope * level, self.top)

    def level_that_fills(self, elsewhere_kwh: FloatArray, allowed_kwh: float) -> float:
        """Return the highest level at which `sum max(0, energy - elsewhere)` is at most what is allowed."""
        rising = self.slope > 0.0
        slope, base = self.slope[rising], self.base[rising]
        begin = np.maximum((elsewhere_kwh[rising] - base) / slope, 0.0)
        end = np.maximum((self.top[rising] - base) / slope, begin)
        event = np.concatenate([begin, end])
        order = np.argsort(event, kind="stable")
        event, rate = event[order], np.cumsum(np.concatenate([slope, -slope])[order])
        forced = float(np.maximum(self.base - elsewhere_kwh, 0.0).sum())
        grown = forced + np.concatenate([[0.0], np.cumsum(rate[:-1] * np.diff(event))])
        if not len(event) or grown[-1] <= allowed_kwh:
            return np.inf
        last = max(int(np.searchsorted(grown, allowed_kwh, side="right")) - 1, 0)
        if rate[last] <= 0.0:
            return float(event[last])
        return float(event[last] + max(allowed_kwh - grown[last], 0.0) / rate[last])
