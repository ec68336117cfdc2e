"""What drivers ask for, in columns beside their cars: a goal per session and the numbers that goal needs."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from bidding.arrays import BoolArray, FloatArray, IntArray, finite_vector, integer_vector, require_each
from bidding.fleet.sessions import SessionArrays, fit_to_horizon
from gateway.domain.errors import InvalidInput

BY_ENERGY_ALONE = -1
"""In `boost_until_slot`: the boost has no end in time."""


class Goal(IntEnum):
    """What a driver asked for; the code is what stands in the column."""

    GUARANTEED = 0
    """The needed energy by departure at least cost; under scarcity the last to give way."""
    CHEAPEST = 1
    """The needed energy by departure at least cost; gives way before what is guaranteed."""
    GREENEST = 2
    """As CHEAPEST, at a price between money and carbon (`carbon_weight`)."""
    CAPPED = 3
    """The needed energy, and more in steps, each only in slots whose price is at or below the step's cap."""
    BOOST = 4
    """Full rate now, until an energy or an instant; what is needed beyond that as CHEAPEST."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PriceSteps:
    """A table of steps, several per session: up to this state of charge at this price at most.

    "80 % if below 0.15 EUR per kWh, else 50 %" are two rows: share 0.5 with an infinite cap, share 0.8 with cap 0.15. Rows of
    one session stand together, shares rise and caps fall.
    """

    session_row: IntArray
    """Which session; never falls down the table."""
    share: FloatArray
    """State of charge that the step leads to, above 0 and at most 1."""
    price_cap_eur_per_kwh: FloatArray
    """Highest price at which the step is charged; infinity: whatever it costs."""

    def __post_init__(self) -> None:
        """Reject shares that do not rise and caps that do not fall."""
        object.__setattr__(self, "session_row", integer_vector("steps.session_row", self.session_row))
        object.__setattr__(self, "share", finite_vector("steps.share", self.share, len(self.session_row)))
        cap = np.array(self.price_cap_eur_per_kwh, dtype=np.float64)
        if cap.shape != self.share.shape:
            raise InvalidInput("steps.price_cap_eur_per_kwh", f"must have {len(self.share)} values")
        cap.setflags(write=False)
        object.__setattr__(self, "price_cap_eur_per_kwh", cap)
        require_each("steps.share", (self.share > 0.0) & (self.share <= 1.0), "must be above 0 and at most 1")
        require_each("steps.price_cap_eur_per_kwh", cap > -np.inf, "must be a number or plus infinity")
        require_each("steps.session_row", _since_last(self.session_row) >= 0, "must not fall")
        follows = self.follows
        rises = np.concatenate([[True], np.diff(self.share) > 0.0])[: len(cap)]
        require_each("steps.share", rises | ~follows, "must be above the step before")
        falls = np.concatenate([[True], cap[1:] < cap[:-1]])[: len(cap)]
        require_each("steps.price_cap_eur_per_kwh", falls | ~follows, "must be below the cap of the step before")

    @property
    def follows(self) -> BoolArray:
        """Whether a row continues the session of the row before."""
        same: BoolArray = _since_last(self.session_row) == 0
        return same

    @property
    def position(self) -> IntArray:
        """Number of each step within its session, from 0."""
        index = np.arange(len(self.session_row))
        begin = np.maximum.accumulate(np.where(self.follows, 0, index)) if index.size else index
        return index - begin

    def select(self, session_rows: IntArray) -> "PriceSteps":
        """Return the steps of some sessions (rising row numbers), renumbered to their places in the selection."""
        kept = np.isin(self.session_row, session_rows)
        return PriceSteps(
            session_row=np.searchsorted(session_rows, self.session_row[kept]),
            share=self.share[kept],
            price_cap_eur_per_kwh=self.price_cap_eur_per_kwh[kept],
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DriverWishes:
    """The wishes behind one connection point; row `i` of every column belongs to row `i` of `cars`.

    A column that no session uses is None.
    """

    cars: SessionArrays
    """Windows and rates; `energy_min_kwh` is what the driver needs by departure, `energy_max_kwh` what may be charged."""
    goal: IntArray
    """A `Goal` per session."""
    carbon_weight: FloatArray | None = None
    """GREENEST: weight of carbon against money, above 0 (money alone) and at most 1 (carbon alone); 0 for all others."""
    minimum_kwh: FloatArray | None = None
    """Energy to be charged as early as possible and guaranteed, whatever the goal; 0 for none."""
    boost_kwh: FloatArray | None = None
    """BOOST: full rate until this energy; 0 when the instant alone ends it."""
    boost_until_slot: IntArray | None = None
    """BOOST: full rate until the beginning of this slot; `BY_ENERGY_ALONE` when the energy alone ends it."""
    steps: PriceSteps | None = None
    """CAPPED (and, with some weight on money, GREENEST): the steps."""
    full_kwh: FloatArray | None = None
    """With steps: draw that charges the battery from empty to full."""
    state_of_charge: FloatArray | None = None
    """With steps: share of `full_kwh` already in the battery at slot 0."""

    def __post_init__(self) -> None:
        """Check every column and that every goal has its numbers; the first wrong element is named."""
        count = len(self.cars)
        for name in ("goal", "boost_until_slot"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, integer_vector(name, value))
                if len(getattr(self, name)) != count:
                    raise InvalidInput(name, f"has {len(value)} values, expected {count}")
        for name in ("carbon_weight", "minimum_kwh", "boost_kwh", "full_kwh", "state_of_charge"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, finite_vector(name, value, count))
                require_each(name, getattr(self, name) >= 0.0, "must be at least 0")
        require_each("goal", np.isin(self.goal, [int(goal) for goal in Goal]), "is not the code of a goal")
        self._require_weights()
        self._require_boosts()
        self._require_steps()
        most = self.cars.energy_max_kwh
        require_each("minimum_kwh", self.minimum <= most, "must be at most energy_max_kwh")
        require_each("boost_kwh", self.boost <= most, "must be at most energy_max_kwh")

    def _require_weights(self) -> None:
        weight = self.weight
        greenest = self.has(Goal.GREENEST)
        require_each("carbon_weight", weight <= 1.0, "must be at most 1")
        require_each("carbon_weight", (weight > 0.0) | ~greenest, "is needed above 0 for the goal GREENEST")
        require_each("carbon_weight", (weight == 0.0) | greenest, "must be 0 for every goal but GREENEST")

    def _require_boosts(self) -> None:
        boosts = self.has(Goal.BOOST)
        stated = (self.boost > 0.0) | (self.boost_until != BY_ENERGY_ALONE)
        require_each("boost_kwh", stated | ~boosts, "or boost_until_slot is needed for the goal BOOST")
        require_each("boost_kwh", (self.boost == 0.0) | boosts, "must be 0 for every goal but BOOST")
        unused = self.boost_until == BY_ENERGY_ALONE
        require_each("boost_until_slot", unused | boosts, f"must be {BY_ENERGY_ALONE} for every goal but BOOST")
        ahead = self.boost_until > self.cars.arrival_slot
        require_each("boost_until_slot", unused | ahead, "must be after arrival_slot")

    def _require_steps(self) -> None:
        count = len(self.cars)
        has_steps = np.zeros(count, dtype=np.bool_)
        if self.steps is not None:
            inside = (self.steps.session_row >= 0) & (self.steps.session_row < count)
            require_each("steps.session_row", inside, f"must be at least 0 and below {count}")
            has_steps[self.steps.session_row] = True
        require_each("goal", has_steps | ~self.has(Goal.CAPPED), "CAPPED needs steps")
        mixed = self.has(Goal.GREENEST) & (self.weight < 1.0)
        may = self.has(Goal.CAPPED) | mixed
        require_each("goal", may | ~has_steps, "steps go with CAPPED, or GREENEST with some weight on money")
        if has_steps.any() and (self.full_kwh is None or self.state_of_charge is None):
            raise InvalidInput("full_kwh", "and state_of_charge are needed with steps")
        if self.full_kwh is not None:
            require_each("full_kwh", (self.full_kwh > 0.0) | ~has_steps, "must be above 0 with steps")
        if self.state_of_charge is not None:
            require_each("state_of_charge", self.state_of_charge <= 1.0, "must be at most 1")

    def has(self, goal: Goal) -> BoolArray:
        """Return where a goal stands, shape (N,)."""
        mask: BoolArray = self.goal == int(goal)
        return mask

    @property
    def weight(self) -> FloatArray:
        """`carbon_weight` as numbers."""
        return _or_zeros(self.carbon_weight, len(self.cars))

    @property
    def minimum(self) -> FloatArray:
        """`minimum_kwh` as numbers."""
        return _or_zeros(self.minimum_kwh, len(self.cars))

    @property
    def boost(self) -> FloatArray:
        """`boost_kwh` as numbers."""
        return _or_zeros(self.boost_kwh, len(self.cars))

    @property
    def boost_until(self) -> IntArray:
        """`boost_until_slot` as numbers."""
        absent = np.full(len(self.cars), BY_ENERGY_ALONE, dtype=np.int64)
        return absent if self.boost_until_slot is None else self.boost_until_slot


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FittedWishes:
    """Wishes whose windows lie in the horizon and whose energies fit their windows."""

    wishes: DriverWishes
    kept_rows: IntArray
    """Row of each kept session in the wishes that came in."""
    shortfall_kwh: FloatArray
    """Per kept session: needed energy that full rate until departure does not reach."""
    deferred_kwh: FloatArray
    """Per kept session: needed energy that only fits after the end of the horizon."""


def fit_wishes(wishes: DriverWishes, slot_count: int) -> FittedWishes:
    """Clip windows to the horizon and every energy to what is left of its window (see `fit_to_horizon`).

    A boost whose end lies before slot 0 is over: that session goes on as CHEAPEST.
    """
    fitted = fit_to_horizon(wishes.cars, slot_count)
    kept, cars = fitted.kept_rows, fitted.sessions
    most = cars.energy_max_kwh
    until = wishes.boost_until[kept]
    over = (until != BY_ENERGY_ALONE) & (until <= cars.arrival_slot)
    goal = np.where(over, int(Goal.CHEAPEST), wishes.goal[kept])
    return FittedWishes(
        wishes=DriverWishes(
            cars=cars,
            goal=goal,
            carbon_weight=wishes.weight[kept],
            minimum_kwh=np.minimum(wishes.minimum[kept], most),
            boost_kwh=np.where(over, 0.0, np.minimum(wishes.boost[kept], most)),
            boost_until_slot=np.where(over, BY_ENERGY_ALONE, until),
            steps=None if wishes.steps is None else wishes.steps.select(kept),
            full_kwh=None if wishes.full_kwh is None else wishes.full_kwh[kept],
            state_of_charge=None if wishes.state_of_charge is None else wishes.state_of_charge[kept],
        ),
        kept_rows=kept,
        shortfall_kwh=fitted.shortfall_kwh,
        deferred_kwh=fitted.deferred_kwh,
    )


def _or_zeros(column: FloatArray | None, count: int) -> FloatArray:
    return np.zeros(count) if column is None else column


def _since_last(row: IntArray) -> IntArray:
    """Return the difference to the row before; for the first one something that is neither 0 nor negative."""
    return np.concatenate([np.ones(1, dtype=np.int64), np.diff(row)])[: len(row)]
