"""What stands beside the chargers: a stationary battery, photovoltaics that can be curtailed, a building.

Each model adds variables and a `Term`; draws are kWh per slot at the connection point's meter, positive when drawn. A site's
draw is the sessions' schedule plus the battery's, minus the PV energy used, plus the building's load.
"""

from dataclasses import dataclass
from enum import Enum

import cvxpy as cp
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from bidding.arrays import FloatArray, finite_vector, require_each
from bidding.optimum.recheck import BatteryClaim, Violation, recheck_battery, recheck_curtailment
from bidding.optimum.terms import Term
from gateway.domain.errors import InvalidInput

BOTH_WAYS_TOLERANCE = 1e-6
"""Share of a battery's power below which charging and discharging in one slot is rounding."""


class Ending(Enum):
    """What a battery must hold when the horizon ends."""

    AT_LEAST_INITIAL = "at-least-initial"
    """As much as at the start: the next day finds the battery as this one did."""
    VALUED = "valued"
    """Anything; what is left is worth `final_value_eur_per_kwh`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StationaryBattery:
    """A battery at the connection point."""

    capacity_kwh: float
    """Highest energy in it that may be reached."""
    initial_kwh: float
    """Energy in it at the start, within [floor_kwh, capacity_kwh]."""
    charge_kwh_per_slot: float
    """Most it draws from the site in one slot."""
    discharge_kwh_per_slot: float
    """Most it gives to the site in one slot."""
    floor_kwh: float = 0.0
    """Lowest energy that may be reached."""
    charge_efficiency: float = 1.0
    """Share of what is drawn that is stored, within (0, 1]."""
    discharge_efficiency: float = 1.0
    """Share of what leaves the store that reaches the site, within (0, 1]."""
    degradation_eur_per_kwh: float = 0.0
    """Cost of wear per kWh of throughput, counted at the meter in both directions."""
    ending: Ending = Ending.AT_LEAST_INITIAL
    final_value_eur_per_kwh: float = 0.0
    """Worth of a stored kWh at the end, when the ending is VALUED."""

    def __post_init__(self) -> None:
        """Reject numbers that no battery has."""
        for field in ("capacity_kwh", "initial_kwh", "charge_kwh_per_slot", "discharge_kwh_per_slot", "floor_kwh"):
            self._require_not_negative(field)
        self._require_not_negative("degradation_eur_per_kwh")
        if not np.isfinite(self.final_value_eur_per_kwh):
            raise InvalidInput("battery.final_value_eur_per_kwh", "must be a finite number")
        if not self.floor_kwh <= self.initial_kwh <= self.capacity_kwh:
            raise InvalidInput("battery.initial_kwh", "must be within [floor_kwh, capacity_kwh]")
        for field in ("charge_efficiency", "discharge_efficiency"):
            if not 0.0 < getattr(self, field) <= 1.0:
                raise InvalidInput(f"battery.{field}", "must be above 0 and at most 1")

    def _require_not_negative(self, field: str) -> None:
        value = getattr(self, field)
        if not np.isfinite(value) or value < 0.0:
            raise InvalidInput(f"battery.{field}", "must be a finite number of at least 0")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BatteryModel:
    """A battery's variables; also the `Asset` that checks their values."""

    battery: StationaryBattery
    charge_kwh: cp.Variable
    """Drawn from the site per slot, shape (T,)."""
    discharge_kwh: cp.Variable
    """Given to the site per slot, shape (T,)."""
    stored_kwh: cp.Variable
    """Energy in it at the end of each slot, shape (T,)."""

    @property
    def draw_kwh(self) -> cp.Expression:
        """What the site sees: charge minus discharge."""
        draw: cp.Expression = self.charge_kwh - self.discharge_kwh
        return draw

    @property
    def term(self) -> Term:
        """Wear, the worth of what is left, and the physics.

        Charging and discharging in one slot would burn energy, which a strongly negative price would pay for. The model
        lets the two only share the battery's power (`charge / most + discharge / most <= 1`, the tightest convex rule); what
        is still burnt is found by `exclusions` and ruled out.
        """
        battery, last = self.battery, self.stored_kwh[-1]
        slot_count = self.stored_kwh.size
        at_start = battery.initial_kwh * (np.arange(slot_count) == 0)
        before = sp.eye_array(slot_count, k=-1) @ self.stored_kwh + at_start
        flow = battery.charge_efficiency * self.charge_kwh - self.discharge_kwh / battery.discharge_efficiency
        constraints = [self.stored_kwh == before + flow, *self._shared_power()]
        cost = battery.degradation_eur_per_kwh * (self.charge_kwh + self.discharge_kwh).sum()
        if battery.ending is Ending.AT_LEAST_INITIAL:
            constraints.append(last >= battery.initial_kwh)
        else:
            cost = cost - battery.final_value_eur_per_kwh * last
        return Term(cost=cost, constraints=tuple(constraints), assets=(self,))

    def exclusions(self) -> tuple[cp.Constraint, ...]:
        """Return, for slots in which the battery now goes both ways, that it goes only where it mostly goes."""
        charge, discharge = np.asarray(self.charge_kwh.value), np.asarray(self.discharge_kwh.value)
        both = np.minimum(charge, discharge) > BOTH_WAYS_TOLERANCE * self._highest
        rises = charge * self.battery.charge_efficiency >= discharge / self.battery.discharge_efficiency
        filling, emptying = np.flatnonzero(both & rises), np.flatnonzero(both & ~rises)
        found: list[cp.Constraint] = []
        if filling.size:
            found.append(self.discharge_kwh[filling] == 0.0)
        if emptying.size:
            found.append(self.charge_kwh[emptying] == 0.0)
        return tuple(found)

    def recheck(self) -> tuple[Violation, ...]:
        """Return the rules of the battery that the values break."""
        battery = self.battery
        claim = BatteryClaim(
            charge_kwh=np.asarray(self.charge_kwh.value),
            discharge_kwh=np.asarray(self.discharge_kwh.value),
            initial_kwh=battery.initial_kwh,
            floor_kwh=battery.floor_kwh,
            capacity_kwh=battery.capacity_kwh,
            charge_kwh_per_slot=battery.charge_kwh_per_slot,
            discharge_kwh_per_slot=battery.discharge_kwh_per_slot,
            charge_efficiency=battery.charge_efficiency,
            discharge_efficiency=battery.discharge_efficiency,
            final_min_kwh=battery.initial_kwh if battery.ending is Ending.AT_LEAST_INITIAL else battery.floor_kwh,
        )
        return recheck_battery(claim)

    @property
    def _highest(self) -> float:
        return max(self.battery.charge_kwh_per_slot, self.battery.discharge_kwh_per_slot)

    def _shared_power(self) -> list[cp.Constraint]:
        charge_most, discharge_most = self.battery.charge_kwh_per_slot, self.battery.discharge_kwh_per_slot
        if charge_most == 0.0 or discharge_most == 0.0:
            return []
        shared: cp.Expression = self.charge_kwh * discharge_most + self.discharge_kwh * charge_most
        return [shared <= charge_most * discharge_most]


def battery_model(battery: StationaryBattery, slot_count: int) -> BatteryModel:
    """Return variables for a battery over a horizon."""
    low, high = np.full(slot_count, battery.floor_kwh), np.full(slot_count, battery.capacity_kwh)
    none = np.zeros(slot_count)
    return BatteryModel(
        battery=battery,
        charge_kwh=cp.Variable(slot_count, bounds=[none, none + battery.charge_kwh_per_slot]),
        discharge_kwh=cp.Variable(slot_count, bounds=[none, none + battery.discharge_kwh_per_slot]),
        stored_kwh=cp.Variable(slot_count, bounds=[low, high]),
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PhotovoltaicModel:
    """A plant whose energy is used or curtailed; also the `Asset` that checks it."""

    available_kwh: FloatArray
    """What the sun gives per slot, at least 0."""
    used_kwh: cp.Variable
    """What is not curtailed per slot."""

    @property
    def curtailed_kwh(self) -> cp.Expression:
        """What is thrown away per slot."""
        curtailed: cp.Expression = -self.used_kwh + self.available_kwh
        return curtailed

    @property
    def term(self) -> Term:
        """The plant costs nothing and its limits are bounds of its variable."""
        return Term(cost=cp.Constant(0.0), assets=(self,))

    def exclusions(self) -> tuple[cp.Constraint, ...]:
        """Return nothing: every value within the bounds can be done."""
        return ()

    def recheck(self) -> tuple[Violation, ...]:
        """Return the slots in which more is used than there is, or less than nothing."""
        return recheck_curtailment(np.asarray(self.used_kwh.value), self.available_kwh)


def photovoltaic_model(available_kwh: FloatArray) -> PhotovoltaicModel:
    """Return a plant with curtailment.

    Raises:
        InvalidInput: A value is negative or not finite.
    """
    available = finite_vector("available_kwh", available_kwh)
    require_each("available_kwh", available >= 0.0, "must be at least 0")
    return PhotovoltaicModel(
        available_kwh=available, used_kwh=cp.Variable(len(available), bounds=[np.zeros(len(available)), available])
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BuildingLoad:
    """A forecast of everything else behind the meter, as quantiles."""

    level: FloatArray
    """Levels of the quantiles, rising, within (0, 1), shape (Q,)."""
    quantile_kwh: npt.NDArray[np.float64]
    """Load per level and slot, shape (Q, T), negative where the site feeds in."""

    def __post_init__(self) -> None:
        """Reject levels out of order and quantiles that cross."""
        level = finite_vector("load.level", self.level)
        require_each("load.level", (level > 0.0) & (level < 1.0), "must be within (0, 1)")
        require_each("load.level", np.diff(level, prepend=0.0) > 0.0, "must rise")
        quantile = np.array(self.quantile_kwh, dtype=np.float64)
        if quantile.ndim != 2 or not len(level) or len(quantile) != len(level) or not np.all(np.isfinite(quantile)):
            raise InvalidInput("load.quantile_kwh", f"must be finite numbers in {len(level)} rows, one per level")
        falling = np.flatnonzero(np.any(np.diff(quantile, axis=0) < 0.0, axis=1))
        if falling.size:
            raise InvalidInput(f"load.quantile_kwh[{falling[0] + 1}]", "must not be below the row before it")
        quantile.setflags(write=False)
        object.__setattr__(self, "level", level)
        object.__setattr__(self, "quantile_kwh", quantile)

    def at(self, level: float) -> FloatArray:
        """Return the load that is not exceeded with a probability, per slot; linear between the levels.

        Raises:
            InvalidInput: The level is outside those of the forecast: tails are not invented.
        """
        if not self.level[0] <= level <= self.level[-1]:
            raise InvalidInput("level", f"must be within [{self.level[0]}, {self.level[-1]}]")
        above = int(np.searchsorted(self.level, level))
        if self.level[above] == level:
            return np.array(self.quantile_kwh[above])
        share = (level - self.level[above - 1]) / (self.level[above] - self.level[above - 1])
        between: FloatArray = (1.0 - share) * self.quantile_kwh[above - 1] + share * self.quantile_kwh[above]
        return between

    def headroom_kwh(self, cap_kwh: FloatArray, level: float) -> FloatArray:
        """Return what a cap leaves for charging per slot with a probability, at least 0.

        Args:
            cap_kwh: Most the connection may draw per slot; infinity where nothing limits.
            level: Probability with which the load leaves at least this room, such as 0.9.
        """
        return np.maximum(cap_kwh - self.at(level), 0.0)
