"""What ties the sessions of one connection point together: its limit per slot and its demand charge."""

from dataclasses import dataclass

import numpy as np

from bidding.arrays import FloatArray, finite_vector
from gateway.domain.errors import InvalidInput


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DemandCharge:
    """A price on the highest draw of the billing period, linear in that peak.

    The charge is `eur_per_peak_kwh * max(peak_so_far_kwh, max_t (load_kwh[t] + schedule[t]))`. A tariff in EUR per kW is
    multiplied by kW per kWh-in-a-slot, which is 4 for quarter-hours.
    """

    eur_per_peak_kwh: float
    """EUR per kWh in the highest slot, at least 0."""
    peak_so_far_kwh: float
    """Highest slot already measured in the billing period: up to here a new peak costs nothing more."""
    load_kwh: FloatArray
    """Draw of everything else behind the meter, kWh per slot."""

    def __post_init__(self) -> None:
        """Reject negative prices and peaks."""
        for field in ("eur_per_peak_kwh", "peak_so_far_kwh"):
            value = getattr(self, field)
            if not np.isfinite(value) or value < 0.0:
                raise InvalidInput(f"demand_charge.{field}", "must be a finite number of at least 0")
        object.__setattr__(self, "load_kwh", finite_vector("demand_charge.load_kwh", self.load_kwh))

    def cost_eur(self, schedule_kwh: FloatArray) -> float:
        """Return the whole charge with this schedule, including what the peak so far costs anyway."""
        peak = max(self.peak_so_far_kwh, float(np.max(self.load_kwh + schedule_kwh)))
        return self.eur_per_peak_kwh * peak


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Coupling:
    """The coupling of one connection point over one horizon."""

    cap_kwh: FloatArray
    """Most the sessions may draw together in each slot; infinity where nothing limits."""
    demand_charge: DemandCharge | None = None

    def __post_init__(self) -> None:
        """Reject negative or missing caps and a load of another length."""
        cap = np.array(self.cap_kwh, dtype=np.float64)
        if cap.ndim != 1 or not cap.size:
            raise InvalidInput("cap_kwh", "must have one dimension and at least one slot")
        broken = np.flatnonzero(~(cap >= 0.0))
        if broken.size:
            raise InvalidInput(f"cap_kwh[{broken[0]}]", "must be at least 0")
        cap.setflags(write=False)
        object.__setattr__(self, "cap_kwh", cap)
        if self.demand_charge is not None and len(self.demand_charge.load_kwh) != len(cap):
            raise InvalidInput("demand_charge.load_kwh", f"must have {len(cap)} values")

    @property
    def slot_count(self) -> int:
        """Length of the horizon."""
        return len(self.cap_kwh)

    def cost_eur(self, price_eur_per_kwh: FloatArray, schedule_kwh: FloatArray) -> float:
        """Return the objective: energy at its price plus the demand charge."""
        energy = float(price_eur_per_kwh @ schedule_kwh)
        return energy if self.demand_charge is None else energy + self.demand_charge.cost_eur(schedule_kwh)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CouplingPrices:
    """Duals of the coupling: what one kWh more of room would save, per slot, at least 0."""

    cap: FloatArray
    peak: FloatArray

    @property
    def total(self) -> FloatArray:
        """Price on top of the energy price that makes each session respect the coupling by itself."""
        return self.cap + self.peak

    def towards(self, other: "CouplingPrices", share: float) -> "CouplingPrices":
        """Return the point on the way to `other`: 0.0 is here, 1.0 is there."""
        return CouplingPrices(
            cap=(1.0 - share) * self.cap + share * other.cap, peak=(1.0 - share) * self.peak + share * other.peak
        )


def lagrangian_bound(coupling: Coupling, prices: CouplingPrices, least_cost_eur: float) -> float:
    """Return a bound that no feasible schedule can undercut.

    Relax cap and peak with the given prices: `min over P of (c + total).P` (which the caller found by the exact price
    response) `- cap.cap_kwh + peak.load + (D - sum peak) * peak_so_far`. Valid for any prices >= 0 with `sum peak <= D`.

    Args:
        coupling: Cap and demand charge.
        prices: Their duals; slots without a cap must have price 0.
        least_cost_eur: Least cost of the fleet at the energy price plus `prices.total`.
    """
    priced = prices.cap > 0.0
    bound = least_cost_eur - float(prices.cap[priced] @ coupling.cap_kwh[priced])
    charge = coupling.demand_charge
    if charge is None:
        return bound
    unassigned = charge.eur_per_peak_kwh - float(prices.peak.sum())
    return bound + float(prices.peak @ charge.load_kwh) + unassigned * charge.peak_so_far_kwh


def legal_prices(coupling: Coupling, cap: FloatArray, peak: FloatArray) -> CouplingPrices:
    """Return solver duals made valid for the bound: not negative, and peak prices that sum to at most the charge."""
    peak = np.maximum(peak, 0.0)
    allowed = 0.0 if coupling.demand_charge is None else coupling.demand_charge.eur_per_peak_kwh
    total = float(peak.sum())
    if total > allowed:
        peak = peak * (allowed / total)
    return CouplingPrices(cap=np.where(np.isfinite(coupling.cap_kwh), np.maximum(cap, 0.0), 0.0), peak=peak)
