"""Bidirectional fleets under caps: the cheapest plan within what may be drawn and fed in per slot, with a certified gap.

Dantzig-Wolfe decomposition: `mixing` weighs schedules the fleet can follow, its duals are what a kWh under each cap is worth,
and the exact response to price plus duals (`response`) is the best new schedule and, less the rent of the caps, a lower bound
on every plan (Lagrange). Duals are damped towards the best so far (Wentges 1997).

Set points: the energies of one session under every price of the mix, weighed alike, are feasible for it, because its battery
is linear in charged and discharged energy. Where the mix charges and discharges a car in the same slot, both are lowered by
the same stored energy: its states of charge stay, less is lost. The fleet then draws less than the mix said; an export cap
that this would break is tightened by the excess and the search goes on.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from bidding.arrays import FloatArray, finite_vector
from bidding.v2g.caps import FleetCaps
from bidding.v2g.mixing import CapPrices, Mix, Mixer, power_limits
from bidding.v2g.plan import V2gPlan
from bidding.v2g.response import Engine, FleetAnswer, FleetResponse
from bidding.v2g.sessions import BidirectionalSessions
from gateway.domain.errors import InvalidInput

SMOOTHING = 0.7
"""Share of the best duals so far in the price of a response."""
SEARCH_EUR_PER_KWH = 1e9
"""Price of a unit of overflow dual while a plan is searched for: degradation counts only between equals."""
REDUCED_COST_TOLERANCE = 1e-9
OVERFLOW_TOLERANCE = 1e-7
"""Energy above a cap below this share of the highest possible draw is rounding."""
SMALL_SHARE = 1e-3
"""Gaps are relative to the cost, but at least to this share of the turnover at full rate: costs near 0 exist."""
TIGHTENINGS = 20
"""How often an export cap is tightened before the plan is given up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CappedLimits:
    """When the search stops."""

    relative_gap: float = 1e-6
    """Certified gap that counts as proved."""
    iteration_limit: int = 2000
    """Solves of the mix; there is no clock here, a worker process can be killed."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class V2gProved:
    """Optimal within the gap asked for."""

    kind: ClassVar[str] = "proved"

    plan: V2gPlan
    iteration_count: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class V2gFeasible:
    """Usable; `plan.gap_eur` is what a better plan could save at most."""

    kind: ClassVar[str] = "feasible"

    plan: V2gPlan
    iteration_count: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class V2gInfeasible:
    """No plan meets every departure within the caps.

    Counting each slot's draw by its weight, the fleet must draw `must_draw_kwh` even when it gives back all it can, and the
    caps allow `allowed_kwh`. (With losses the weights lie between 0 and 1; without feed-in they are 0 or 1 and name a set.)
    """

    kind: ClassVar[str] = "infeasible"

    slots: tuple[int, ...]
    """Slots with a weight, in order."""
    weights: tuple[float, ...]
    """Their weights, in (0, 1]."""
    must_draw_kwh: float
    allowed_kwh: float
    sessions: tuple[str, ...]
    """Ids (or `#row`) of the sessions that must draw there."""
    iteration_count: int

    @property
    def missing_kwh(self) -> float:
        """Least energy above the import cap of any plan, proved."""
        return self.must_draw_kwh - self.allowed_kwh


@dataclass(frozen=True, kw_only=True, slots=True)
class V2gTimedOut:
    """The iterations ended before a usable plan was found; says nothing about whether one exists."""

    kind: ClassVar[str] = "timed-out"

    iteration_count: int


V2gOutcome = V2gProved | V2gFeasible | V2gInfeasible | V2gTimedOut


def plan_within_caps(
    sessions: BidirectionalSessions,
    price_eur_per_kwh: npt.ArrayLike,
    caps: FleetCaps,
    *,
    limits: CappedLimits = CappedLimits(),
    engine: Engine = Engine.NUMPY,
) -> V2gOutcome:
    """Return the cheapest plan of the fleet within its caps, with set points of every session.

    Args:
        sessions: Sessions fitted to the horizon.
        price_eur_per_kwh: EUR per kWh per slot. A strongly negative one leaves a gap (see `FleetResponse`).
        caps: Limits on the fleet's net draw and net feed-in.
        limits: When to stop.
        engine: What runs the responses.

    Raises:
        InvalidInput: Price and caps differ in length, or as `FleetResponse`.
    """
    price = finite_vector("price_eur_per_kwh", price_eur_per_kwh)
    if caps.slot_count != len(price):
        raise InvalidInput("caps", f"have {caps.slot_count} slots, the price has {len(price)}")
    response = FleetResponse(sessions, len(price), engine=engine)
    alone = response.total(price)
    if np.all(alone.draw_kwh <= caps.import_kwh) and np.all(-alone.draw_kwh <= caps.export_kwh):
        plan = response.respond(price).plan
        outcome = V2gProved if plan.gap_eur <= limits.relative_gap * abs(plan.cost_eur) else V2gFeasible
        return outcome(plan=plan, iteration_count=0)
    search = _Search(response, price, caps, limits)
    search.add(price, alone)
    return search.run()


class _Search:
    """One column generation: the mix, the prices of its columns, the best bound."""

    def __init__(self, response: FleetResponse, price: FloatArray, caps: FleetCaps, limits: CappedLimits) -> None:
        most = power_limits(response.sessions, len(price))
        self.response = response
        self.price = price
        self.caps = caps
        self.limits = limits
        self.mixer = Mixer(caps, most)
        self.column_prices: list[FloatArray] = []
        self.iteration_count = 0
        self.highest_kwh = max(float(np.max(most[0], initial=0.0)), 1e-9)
        self.least_reference_eur = max(SMALL_SHARE * float(np.abs(price) @ (most[0] + most[1])), 1e-9)
        at_once = np.zeros_like(price)  # charges as early as it can and never feeds in: within every export cap
        self.add(at_once, response.total(at_once))

    def add(self, price: FloatArray, answer: FleetAnswer) -> None:
        """Add the answer to a price as a column."""
        self.mixer.add(answer.draw_kwh, float(self.price @ answer.draw_kwh) + answer.degradation_eur)
        self.column_prices.append(price)

    def run(self) -> V2gOutcome:
        """Find a mix that fits, then the cheapest, then its set points."""
        mix, least_kwh, prices = self.least_overflow()
        if mix.overflow_kwh > OVERFLOW_TOLERANCE * self.highest_kwh:
            if least_kwh > OVERFLOW_TOLERANCE * self.highest_kwh:
                return self.conflict(prices)
            return V2gTimedOut(iteration_count=self.iteration_count)
        self.mixer.forbid_overflow()
        bound, centre = -np.inf, None
        for _ in range(TIGHTENINGS):
            mix, bound, centre = self.least_cost(bound, centre)
            if not mix.is_within_caps:
                break
            charge, discharge = self.set_points(mix)
            draw = np.sum(charge - discharge, axis=0)
            excess = np.maximum(-draw - self.caps.export_kwh, 0.0)
            if np.max(excess) <= OVERFLOW_TOLERANCE * self.highest_kwh:
                return self.outcome(charge, discharge, bound)
            self.mixer.tighten_export(excess)
        return self.without_feed_in(bound)

    # ------------------------------------------------------------ the two searches

    def least_overflow(self) -> tuple[Mix, float, CapPrices]:
        """Return a mix of least overflow, a lower bound on it in kWh and the duals of that bound."""
        bound, best = -np.inf, None
        tolerance = OVERFLOW_TOLERANCE * self.highest_kwh
        while True:
            mix = self.solve()
            if mix.overflow_kwh <= tolerance:
                return mix, 0.0, mix.prices
            improved = False
            for prices in self.prices_to_try(mix, best):
                asked = SEARCH_EUR_PER_KWH * prices.net
                answer = self.response.total(asked)
                found = (answer.lower_bound_eur - self.most_degradation_eur()) / SEARCH_EUR_PER_KWH
                found -= prices.rent(self.caps)
                if found > bound:
                    bound, best = found, prices
                if float(mix.prices.net @ answer.draw_kwh) < mix.dual - REDUCED_COST_TOLERANCE * self.highest_kwh:
                    self.add(asked, answer)
                    improved = True
                    break
            if bound > tolerance and mix.overflow_kwh - bound <= self.limits.relative_gap * mix.overflow_kwh:
                improved = False
            if not improved or self.is_exhausted():
                return mix, bound, mix.prices if best is None else best

    def least_cost(self, bound: float, best: CapPrices | None) -> tuple[Mix, float, CapPrices | None]:
        """Return the cheapest mix, the best lower bound in EUR and its duals, from those known so far."""
        while True:
            mix = self.solve()
            if not mix.is_within_caps:
                return mix, bound, best
            reference = max(abs(mix.objective), self.least_reference_eur)
            improved = False
            for prices in self.prices_to_try(mix, best):
                answer = self.response.total(self.price + prices.net)
                found = answer.lower_bound_eur - prices.rent(self.caps)
                if found > bound:
                    bound, best = found, prices
                priced = float((self.price + mix.prices.net) @ answer.draw_kwh) + answer.degradation_eur
                if priced < mix.dual - REDUCED_COST_TOLERANCE * reference:
                    self.add(self.price + prices.net, answer)
                    improved = True
                    break
            closed = mix.objective - bound <= self.limits.relative_gap * reference
            if closed or not improved or self.is_exhausted():
                return mix, bound, best

    def solve(self) -> Mix:
        """Solve the mix and count it."""
        self.iteration_count += 1
        return self.mixer.solve()

    def is_exhausted(self) -> bool:
        """Return whether the iterations are used up."""
        return self.iteration_count >= self.limits.iteration_limit

    @staticmethod
    def prices_to_try(mix: Mix, best: CapPrices | None) -> tuple[CapPrices, ...]:
        """Return the damped duals first, the mix's own if those add nothing."""
        return (mix.prices,) if best is None else (mix.prices.towards(best, SMOOTHING), mix.prices)

    def most_degradation_eur(self) -> float:
        """Return a bound on the degradation of any plan."""
        sessions = self.response.sessions
        rate = np.maximum(sessions.charge_kwh_per_slot, sessions.discharge_kwh_per_slot)
        return float(np.sum(sessions.degradation_eur_per_kwh * rate * sessions.window_length))

    # ------------------------------------------------------------ what it came to

    def set_points(self, mix: Mix) -> tuple[FloatArray, FloatArray]:
        """Return what each session draws and feeds in, never both in a slot, shape (N, T)."""
        sessions = self.response.sessions
        used = np.flatnonzero(mix.weights > 0.0)
        shares = mix.weights[used] / mix.weights[used].sum()
        stored, taken = (np.zeros((len(sessions), self.response.slot_count)) for _ in range(2))
        for share, column in zip(shares, used, strict=True):
            plan = self.response.respond(self.column_prices[column]).plan
            stored += share * plan.charge_kwh
            taken += share * plan.discharge_kwh
        stored *= sessions.charge_efficiency[:, None]
        taken /= sessions.discharge_efficiency[:, None]
        both = np.minimum(stored, taken)
        stored -= both
        taken -= both
        return stored / sessions.charge_efficiency[:, None], taken * sessions.discharge_efficiency[:, None]

    def outcome(self, charge: FloatArray, discharge: FloatArray, bound: float) -> V2gOutcome:
        """Return the plan with its cost as it is, not as the mix said."""
        throughput = np.sum(charge + discharge, axis=1)
        wear_eur = float(throughput @ self.response.sessions.degradation_eur_per_kwh)
        cost = float(self.price @ np.sum(charge - discharge, axis=0)) + wear_eur
        plan = V2gPlan(charge_kwh=charge, discharge_kwh=discharge, cost_eur=cost, lower_bound_eur=bound)
        reference = max(abs(cost), self.least_reference_eur)
        proved = plan.gap_eur <= self.limits.relative_gap * reference
        return (V2gProved if proved else V2gFeasible)(plan=plan, iteration_count=self.iteration_count)

    def without_feed_in(self, bound: float) -> V2gOutcome:
        """Return a plan that only charges, where losses could not be kept out of a plan at an export cap."""
        sessions = self.response.sessions
        charging = replace(sessions, discharge_kwh_per_slot=np.zeros(len(sessions)))
        outcome = plan_within_caps(charging, self.price, self.caps, limits=self.limits, engine=self.response.engine)
        if isinstance(outcome, V2gProved | V2gFeasible):
            plan = replace(outcome.plan, lower_bound_eur=bound)
            return V2gFeasible(plan=plan, iteration_count=self.iteration_count + outcome.iteration_count)
        return V2gTimedOut(iteration_count=self.iteration_count + outcome.iteration_count)

    def conflict(self, prices: CapPrices) -> V2gInfeasible:
        """Return why nothing fits, at the duals that prove it."""
        asked = SEARCH_EUR_PER_KWH * prices.net
        answer = self.response.total(asked)
        least = (answer.lower_bound_eur - self.most_degradation_eur()) / SEARCH_EUR_PER_KWH
        mine = self.response.respond(asked).plan.draw_kwh @ prices.net
        must = np.flatnonzero(mine > OVERFLOW_TOLERANCE * self.highest_kwh)
        slots = np.flatnonzero(prices.import_cap > REDUCED_COST_TOLERANCE)
        return V2gInfeasible(
            slots=tuple(int(slot) for slot in slots),
            weights=tuple(float(weight) for weight in prices.import_cap[slots]),
            must_draw_kwh=least,
            allowed_kwh=prices.rent(self.caps),
            sessions=tuple(self.response.sessions.name_of(int(row)) for row in must),
            iteration_count=self.iteration_count,
        )
