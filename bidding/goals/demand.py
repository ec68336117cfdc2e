"""From wishes to numbers a plan understands: energies in order of their urgency, and every driver's own price per slot.

One session's energy is a staircase, from the bottom up: what is urgent (boost, minimum), what is needed, then steps that are
only worth a stated price. With reservation prices that fall from step to step the value of energy is concave, so the best
answer to a price per slot fills the cheapest slots first and stops at the first step that is worth less than its slot
(`response`). The steps of a car share its rate by this construction: they are parts of one fill, not sessions of their own.

The reservation price is compared with money, yet a plan compares it with the driver's own price plus the price of room at the
connection point. Both are at least the money part, so a step is never charged above its cap; under a binding limit it may be
left out below its cap, where the room is worth more to others.
"""

from dataclasses import dataclass

import numpy as np

from bidding.arrays import FloatArray, IntArray, finite_vector, require_each
from bidding.goals.wishes import BY_ENERGY_ALONE, DriverWishes, Goal, PriceSteps
from gateway.domain.errors import InvalidInput

AT_CAP_EUR_PER_KWH = 1e-6
"""A step is worth so much more than its cap, that a slot exactly at the cap is charged; less than any price tick."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class GoalPrices:
    """What energy costs and emits per slot."""

    price_eur_per_kwh: FloatArray
    """What the driver pays per slot, with tariff and tax; caps are compared with this. Shape (T,)."""
    carbon_kg_per_kwh: FloatArray | None = None
    """CO2 of the grid per slot, at least 0; None when unknown."""
    carbon_eur_per_kg: float = 0.0
    """Exchange rate between carbon and money for GREENEST, above 0 there; nobody is billed for it."""

    def __post_init__(self) -> None:
        """Reject series that are not finite or differ in length, and negative carbon."""
        price = finite_vector("price_eur_per_kwh", self.price_eur_per_kwh)
        object.__setattr__(self, "price_eur_per_kwh", price)
        if not np.isfinite(self.carbon_eur_per_kg) or self.carbon_eur_per_kg < 0.0:
            raise InvalidInput("carbon_eur_per_kg", "must be a finite number of at least 0")
        if self.carbon_kg_per_kwh is not None:
            carbon = finite_vector("carbon_kg_per_kwh", self.carbon_kg_per_kwh, len(price))
            require_each("carbon_kg_per_kwh", carbon >= 0.0, "must be at least 0")
            object.__setattr__(self, "carbon_kg_per_kwh", carbon)

    @property
    def slot_count(self) -> int:
        """Length of the horizon."""
        return len(self.price_eur_per_kwh)

    @property
    def carbon(self) -> FloatArray:
        """The carbon series as numbers: zeros when unknown."""
        return np.zeros(self.slot_count) if self.carbon_kg_per_kwh is None else self.carbon_kg_per_kwh

    def own_price(self, carbon_weight: FloatArray) -> FloatArray:
        """Return the price per slot that drivers with these weights go by, shape (weights, T).

        `(1 - w) * price + w * carbon * carbon_eur_per_kg`, EUR per kWh.

        Raises:
            InvalidInput: A weight is above 0 and the carbon series or its exchange rate is missing.
        """
        if np.any(carbon_weight > 0.0):
            if self.carbon_kg_per_kwh is None:
                raise InvalidInput("carbon_kg_per_kwh", "is needed for the goal GREENEST")
            if self.carbon_eur_per_kg == 0.0:
                raise InvalidInput("carbon_eur_per_kg", "must be above 0 for the goal GREENEST")
        weight = carbon_weight[:, None]
        own: FloatArray = (1.0 - weight) * self.price_eur_per_kwh + weight * self.carbon * self.carbon_eur_per_kg
        return own


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Demand:
    """Every session's staircase of energy and its price class."""

    firm_kwh: FloatArray
    """Guaranteed: the minimum of every session, the whole need of GUARANTEED."""
    boost_kwh: FloatArray
    """To be charged at full rate now; 0 but for BOOST."""
    minimum_kwh: FloatArray
    """To be charged as early as possible, the boost included."""
    need_kwh: FloatArray
    """Needed by departure whatever it costs, everything above included."""
    step_kwh: FloatArray
    """Energy of each further step, shape (N, K); 0 where a session has fewer."""
    step_value_eur_per_kwh: FloatArray
    """What a kWh of each step is worth at the driver's own price, never rising along a row, shape (N, K)."""
    class_price_eur_per_kwh: FloatArray
    """Own price of each class of drivers with one weight, shape (G, T)."""
    class_of: IntArray
    """Class of each session, shape (N,)."""

    @property
    def top_kwh(self) -> FloatArray:
        """Most that any price makes each session charge."""
        top: FloatArray = self.need_kwh + self.step_kwh.sum(axis=1)
        return top


def demand_of(wishes: DriverWishes, prices: GoalPrices) -> Demand:
    """Return the staircases and prices of some wishes.

    Steps with an infinite cap are needs; a step beyond `energy_max_kwh` ends there. A session without steps takes more than
    it needs, up to `energy_max_kwh`, only where its own price is below 0.

    Raises:
        InvalidInput: GREENEST without a carbon series and its exchange rate.
    """
    cars, most = wishes.cars, wishes.cars.energy_max_kwh
    weights, class_of = np.unique(wishes.weight, return_inverse=True)
    boost = _boost_energy(wishes)
    minimum = np.maximum(wishes.minimum, boost)
    level, value = _levels(wishes, prices.price_eur_per_kwh)
    need = np.maximum.reduce([cars.energy_min_kwh, minimum, _energy_at_any_price(wishes)])
    firm = np.where(wishes.has(Goal.GUARANTEED), need, wishes.minimum)
    reached = np.clip(level, need[:, None], most[:, None])
    return Demand(
        firm_kwh=firm,
        boost_kwh=boost,
        minimum_kwh=minimum,
        need_kwh=need,
        step_kwh=np.diff(reached, prepend=need[:, None], axis=1),
        step_value_eur_per_kwh=value * (1.0 - wishes.weight[:, None]),
        class_price_eur_per_kwh=prices.own_price(weights),
        class_of=class_of,
    )


def _boost_energy(wishes: DriverWishes) -> FloatArray:
    """Return the energy of each boost: what ends first, energy or time."""
    cars, until = wishes.cars, wishes.boost_until
    by_time = cars.rate_kwh_per_slot * (np.minimum(until, cars.departure_slot) - cars.arrival_slot)
    in_time = np.where(until == BY_ENERGY_ALONE, np.inf, by_time)
    in_energy = np.where(wishes.boost > 0.0, wishes.boost, np.inf)
    ends: FloatArray = np.minimum(np.minimum(in_time, in_energy), cars.energy_max_kwh)
    return np.where(wishes.has(Goal.BOOST), ends, 0.0)


def _levels(wishes: DriverWishes, price: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the energy each step leads to and its worth in money, shape (N, K).

    A session without steps has one, up to `energy_max_kwh` and worth nothing. Places a session does not use repeat its last
    step, which leaves them empty; a step at any price is part of the need, which leaves it empty too.
    """
    cars, steps = wishes.cars, wishes.steps
    if steps is None:
        return cars.energy_max_kwh[:, None], np.zeros((len(cars), 1))
    shape = (len(cars), int(steps.position.max(initial=0)) + 1)
    level, cap = np.zeros(shape), np.full(shape, np.inf)
    level[:, 0], cap[:, 0] = cars.energy_max_kwh, np.inf
    level[steps.session_row, steps.position] = _step_energy(wishes, steps)
    cap[steps.session_row, steps.position] = steps.price_cap_eur_per_kwh
    value = np.minimum.accumulate(_value_of_cap(cap, price), axis=1)
    return np.maximum.accumulate(level, axis=1), np.where(np.isinf(value), 0.0, value)


def _energy_at_any_price(wishes: DriverWishes) -> FloatArray:
    """Return the energy of the steps with an infinite cap, 0 where there is none."""
    energy = np.zeros(len(wishes.cars))
    if wishes.steps is not None:
        unlimited = np.isposinf(wishes.steps.price_cap_eur_per_kwh)
        energy[wishes.steps.session_row[unlimited]] = _step_energy(wishes, wishes.steps)[unlimited]
    return np.minimum(energy, wishes.cars.energy_max_kwh)


def _step_energy(wishes: DriverWishes, steps: PriceSteps) -> FloatArray:
    """Return the draw from slot 0 that leads to each step's state of charge."""
    if wishes.full_kwh is None or wishes.state_of_charge is None:
        raise InvalidInput("full_kwh", "and state_of_charge are needed with steps")
    row = steps.session_row
    energy: FloatArray = np.maximum(steps.share - wishes.state_of_charge[row], 0.0) * wishes.full_kwh[row]
    return energy


def _value_of_cap(cap: FloatArray, price: FloatArray) -> FloatArray:
    """Return a worth at least the cap and below the next price above it, so that "at the cap" is charged."""
    known = np.append(np.unique(price), np.inf)
    above = known[np.searchsorted(known[:-1], cap, side="right")]
    finite = np.isfinite(cap)
    room = np.subtract(above, cap, out=np.zeros_like(cap), where=finite)
    return np.where(finite, cap + np.minimum(AT_CAP_EUR_PER_KWH, room / 2.0), cap)
