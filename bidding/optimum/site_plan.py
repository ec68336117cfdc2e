"""The plan of one connection point: its sessions under its limit, beside whatever else draws there."""

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

import numpy as np

from bidding.arrays import FloatArray, finite_vector, require_each
from bidding.fleet.sessions import FittedSessions, SessionArrays, fit_to_horizon, uncontrolled_schedule
from bidding.optimum.coupling import Coupling, DemandCharge
from bidding.optimum.disaggregation import SessionSchedule
from bidding.optimum.optimise import OptimiserOptions, Optimum, optimise, serve_most
from bidding.optimum.outcome import Outcome
from bidding.optimum.recheck import ABSOLUTE_TOLERANCE_KWH
from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import TimeGrid
from gateway.domain.units import KW_PER_MW

CENT = Decimal("0.01")
GRAMS_PER_KWH_AND_TONNES_PER_MWH = 1000.0
"""1000 g per kWh are one tonne per MWh."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DemandTariff:
    """A network tariff on the highest mean power of a billing period."""

    eur_per_kw: float
    """For the rest of the billing period, at least 0."""
    peak_so_far_kw: float
    """Highest mean power of a slot already measured in the billing period."""

    def __post_init__(self) -> None:
        """Reject negative prices and peaks."""
        for field in ("eur_per_kw", "peak_so_far_kw"):
            value = getattr(self, field)
            if not np.isfinite(value) or value < 0.0:
                raise InvalidInput(f"demand_tariff.{field}", "must be a finite number of at least 0")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SiteFlexibility:
    """What a plan needs to know about one connection point; all arrays have one value per slot of the planning grid."""

    connection_point: str
    """Official code of the settlement meter."""
    sessions: SessionArrays
    """Known and forecast sessions; windows in slots of the planning grid, which they may exceed."""
    cap_kw: FloatArray
    """Most the connection may draw: the least of its rating and every limit known now, at least 0."""
    inflexible_kw: FloatArray | None = None
    """Draw of everything else behind the meter, negative when feeding in; None when there is nothing else."""
    price_shift_eur_per_mwh: FloatArray | None = None
    """What a MWh here costs on top of the energy price (network tariff, tax, price of carbon); None for nothing."""
    demand_tariff: DemandTariff | None = None

    def __post_init__(self) -> None:
        """Reject series that are not finite or differ in length, and negative limits."""
        object.__setattr__(self, "cap_kw", finite_vector("cap_kw", self.cap_kw))
        require_each("cap_kw", self.cap_kw >= 0.0, "must be at least 0")
        for field in ("inflexible_kw", "price_shift_eur_per_mwh"):
            value = getattr(self, field)
            if value is not None:
                object.__setattr__(self, field, finite_vector(field, value, len(self.cap_kw)))

    @property
    def load_kw(self) -> FloatArray:
        """The inflexible draw as numbers: zeros when there is none."""
        return self.inflexible_kw if self.inflexible_kw is not None else np.zeros(len(self.cap_kw))

    @property
    def shift_eur_per_mwh(self) -> FloatArray:
        """The price shift as numbers: zeros when there is none."""
        shift = self.price_shift_eur_per_mwh
        return shift if shift is not None else np.zeros(len(self.cap_kw))


@dataclass(frozen=True, kw_only=True, slots=True)
class EnergyCost:
    """What the flexible energy costs at the planning price, to the cent; the rest of the site costs the same either way."""

    planned_eur: Decimal
    uncontrolled_eur: Decimal
    """The same energies when every car charges at full rate from arrival; limits are not looked at."""
    planned_kwh: float
    uncontrolled_kwh: float
    """Differs from `planned_kwh` only where the span cuts sessions apart."""

    @property
    def saving_eur(self) -> Decimal:
        """Uncontrolled minus planned."""
        return self.uncontrolled_eur - self.planned_eur

    def __add__(self, other: "EnergyCost") -> "EnergyCost":
        """Return both together, exactly."""
        return EnergyCost(
            planned_eur=self.planned_eur + other.planned_eur,
            uncontrolled_eur=self.uncontrolled_eur + other.uncontrolled_eur,
            planned_kwh=self.planned_kwh + other.planned_kwh,
            uncontrolled_kwh=self.uncontrolled_kwh + other.uncontrolled_kwh,
        )


NO_COST = EnergyCost(
    planned_eur=Decimal("0.00"), uncontrolled_eur=Decimal("0.00"), planned_kwh=0.0, uncontrolled_kwh=0.0
)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SitePlan:
    """The plan of one connection point over the planning grid."""

    connection_point: str
    outcome: Outcome
    """Of the full problem: every need met inside every limit."""
    is_best_effort: bool
    """Whether needs had to give way: the limits hold and as much energy as possible is delivered."""
    flexible_kw: FloatArray
    """Draw of the sessions per slot, mean power."""
    site_kw: FloatArray
    """Draw of the connection point per slot: the sessions and everything else."""
    uncontrolled_kw: FloatArray
    """Draw of the same sessions with the same energies, charging at full rate from arrival."""
    overloaded_slots: tuple[int, ...]
    """Slots in which everything else alone exceeds the limit: nothing is left for charging."""
    fitted: FittedSessions
    """The sessions as planned: inside the horizon."""
    session_schedule: SessionSchedule
    """Set points of every session in `fitted`."""
    unserved_kwh: FloatArray
    """Per session in `fitted`: needed energy that the plan does not deliver."""
    room_price_eur_per_mwh: FloatArray
    """What one more MWh of room under the limit would save in each slot."""

    def cost(self, price_eur_per_mwh: FloatArray, slots: slice, step_hours: float) -> EnergyCost:
        """Return what the flexible energy of some slots costs at a price."""
        planned = self.flexible_kw[slots] * step_hours
        uncontrolled = self.uncontrolled_kw[slots] * step_hours
        price = price_eur_per_mwh[slots] / KW_PER_MW
        return EnergyCost(
            planned_eur=_cents(float(price @ planned)),
            uncontrolled_eur=_cents(float(price @ uncontrolled)),
            planned_kwh=float(planned.sum()),
            uncontrolled_kwh=float(uncontrolled.sum()),
        )


def carbon_shift(carbon_g_per_kwh: FloatArray, eur_per_tonne: float) -> FloatArray:
    """Return the price shift in EUR per MWh that carbon at a price per tonne is worth in each slot.

    Added to `SiteFlexibility.price_shift_eur_per_mwh` it trades money against carbon; nobody is billed for it.
    """
    shift: FloatArray = carbon_g_per_kwh * (eur_per_tonne / GRAMS_PER_KWH_AND_TONNES_PER_MWH)
    return shift


def plan_site(
    site: SiteFlexibility, price_eur_per_mwh: FloatArray, grid: TimeGrid, options: OptimiserOptions
) -> SitePlan:
    """Return the cheapest plan of a connection point; when not every need fits, the one that delivers the most.

    Raises:
        InvalidInput: The series of the site do not match the grid.
        SolutionRejected: The independent check refused a solution.
    """
    if len(site.cap_kw) != grid.count:
        raise InvalidInput("cap_kw", f"has {len(site.cap_kw)} values, the grid {grid.count}")
    fitted = fit_to_horizon(site.sessions, grid.count)
    price = (price_eur_per_mwh + site.shift_eur_per_mwh) / KW_PER_MW
    coupling = _coupling(site, grid.step_hours)
    optimum = optimise(fitted.sessions, price, coupling, options)
    best = optimum
    if optimum.schedule_kwh is None:
        best = serve_most(fitted.sessions, price, coupling, options)
    return _as_plan(site, grid, fitted, optimum.outcome, best)


def _coupling(site: SiteFlexibility, step_hours: float) -> Coupling:
    room_kwh = np.maximum(site.cap_kw - site.load_kw, 0.0) * step_hours
    tariff = site.demand_tariff
    if tariff is None:
        return Coupling(cap_kwh=room_kwh)
    charge = DemandCharge(
        eur_per_peak_kwh=tariff.eur_per_kw / step_hours,
        peak_so_far_kwh=tariff.peak_so_far_kw * step_hours,
        load_kwh=site.load_kw * step_hours,
    )
    return Coupling(cap_kwh=room_kwh, demand_charge=charge)


def _as_plan(
    site: SiteFlexibility, grid: TimeGrid, fitted: FittedSessions, outcome: Outcome, best: Optimum
) -> SitePlan:
    if best.schedule_kwh is None or best.session_schedule is None or best.coupling_price_eur_per_kwh is None:
        raise InvalidInput("cap_kw", "leaves no schedule at all")
    delivered = best.session_schedule.total_kwh()
    uncontrolled = uncontrolled_schedule(fitted.sessions, delivered, grid.count)
    flexible_kw = best.schedule_kwh / grid.step_hours
    missing = np.maximum(fitted.sessions.energy_min_kwh - delivered, 0.0)
    missing[missing <= ABSOLUTE_TOLERANCE_KWH] = 0.0
    return SitePlan(
        connection_point=site.connection_point,
        outcome=outcome,
        is_best_effort=outcome.kind in {"infeasible", "timed-out"},
        flexible_kw=flexible_kw,
        site_kw=flexible_kw + site.load_kw,
        uncontrolled_kw=uncontrolled / grid.step_hours,
        overloaded_slots=tuple(int(slot) for slot in np.flatnonzero(site.load_kw > site.cap_kw)),
        fitted=fitted,
        session_schedule=best.session_schedule,
        unserved_kwh=missing + fitted.shortfall_kwh,
        room_price_eur_per_mwh=best.coupling_price_eur_per_kwh * KW_PER_MW,
    )


def _cents(amount_eur: float) -> Decimal:
    return Decimal(repr(amount_eur)).quantize(CENT, rounding=ROUND_HALF_EVEN)
