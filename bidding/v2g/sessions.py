"""Bidirectional sessions as columns: when a car is there, what its battery holds and must hold, what exchange costs."""

from dataclasses import dataclass, replace

import numpy as np

from bidding.arrays import (
    FloatArray,
    IntArray,
    finite_vector,
    integer_vector,
    require_each,
    same_length,
)

REACH_TOLERANCE = 1e-9
"""A required state of charge this share above what full rate reaches is rounding."""

_SLOT_COLUMNS = ("arrival_slot", "departure_slot")
_FLOAT_COLUMNS = (
    "charge_kwh_per_slot",
    "discharge_kwh_per_slot",
    "charge_efficiency",
    "discharge_efficiency",
    "soc_arrival_kwh",
    "soc_min_kwh",
    "soc_max_kwh",
    "soc_departure_kwh",
    "trip_reserve_kwh",
    "degradation_eur_per_kwh",
)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BidirectionalSessions:
    """Sessions in columns of equal length; row `i` of every column is one car at one charger.

    Rates, draws and the degradation cost count energy at the grid side of the charger; states of charge count energy in the
    battery. Drawing `x` kWh stores `charge_efficiency * x`; feeding in `y` kWh takes `y / discharge_efficiency` out.

    A charge per kWh drawn that is not paid back on feed-in (a grid fee `f`) is stated as half of it in the price and half
    in the degradation cost: drawing then costs `price + f`, feeding in earns `price`.
    """

    arrival_slot: IntArray
    """First slot in which the car is connected."""
    departure_slot: IntArray
    """First slot in which it is not any more (half-open window)."""
    charge_kwh_per_slot: FloatArray
    """Most it draws in one slot, above 0."""
    discharge_kwh_per_slot: FloatArray
    """Most it feeds in in one slot; 0 for a car that only charges."""
    charge_efficiency: FloatArray
    """kWh stored per kWh drawn, in (0, 1]."""
    discharge_efficiency: FloatArray
    """kWh fed in per kWh taken from the battery, in (0, 1]."""
    soc_arrival_kwh: FloatArray
    """Energy in the battery when the window begins (at slot 0 for a car that is already there)."""
    soc_min_kwh: FloatArray
    """Least the battery may ever hold."""
    soc_max_kwh: FloatArray
    """Most it may ever hold."""
    soc_departure_kwh: FloatArray
    """What it must hold at departure."""
    trip_reserve_kwh: FloatArray
    """What it must hold at all times for an unplanned trip; a car that arrives with less charges at full rate up to here."""
    degradation_eur_per_kwh: FloatArray
    """Wear of the battery per kWh drawn and per kWh fed in."""
    session_ids: tuple[str, ...] | None = None
    """Opaque ids for explanations; None for forecast sessions."""

    def __post_init__(self) -> None:
        """Check every column and make it read-only; the first wrong element is named.

        Raises:
            InvalidInput: With field `column[row]`.
        """
        for name in _SLOT_COLUMNS:
            object.__setattr__(self, name, integer_vector(name, getattr(self, name)))
        for name in _FLOAT_COLUMNS:
            object.__setattr__(self, name, finite_vector(name, getattr(self, name)))
        lengths = [(name, len(getattr(self, name))) for name in _SLOT_COLUMNS + _FLOAT_COLUMNS]
        if self.session_ids is not None:
            lengths.append(("session_ids", len(self.session_ids)))
        same_length(lengths)
        require_each("departure_slot", self.departure_slot > self.arrival_slot, "must be after arrival_slot")
        self._require_rates()
        self._require_states()

    def _require_rates(self) -> None:
        require_each("charge_kwh_per_slot", self.charge_kwh_per_slot > 0.0, "must be above 0")
        require_each("discharge_kwh_per_slot", self.discharge_kwh_per_slot >= 0.0, "must be at least 0")
        for name in ("charge_efficiency", "discharge_efficiency"):
            share = getattr(self, name)
            require_each(name, (share > 0.0) & (share <= 1.0), "must be above 0 and at most 1")
        require_each("degradation_eur_per_kwh", self.degradation_eur_per_kwh >= 0.0, "must be at least 0")

    def _require_states(self) -> None:
        require_each("soc_min_kwh", self.soc_min_kwh >= 0.0, "must be at least 0")
        require_each("soc_max_kwh", self.soc_max_kwh >= self.soc_min_kwh, "must be at least soc_min_kwh")
        for name in ("soc_departure_kwh", "trip_reserve_kwh"):
            wanted = getattr(self, name)
            require_each(name, wanted >= 0.0, "must be at least 0")
            require_each(name, wanted <= self.soc_max_kwh, "must be at most soc_max_kwh")
        inside = (self.soc_arrival_kwh >= self.soc_min_kwh) & (self.soc_arrival_kwh <= self.soc_max_kwh)
        require_each("soc_arrival_kwh", inside, "must be between soc_min_kwh and soc_max_kwh")

    def __len__(self) -> int:
        return len(self.arrival_slot)

    @property
    def window_length(self) -> IntArray:
        """Number of slots in each window."""
        return self.departure_slot - self.arrival_slot

    @property
    def stored_per_slot_kwh(self) -> FloatArray:
        """Most that enters each battery in one slot."""
        return self.charge_kwh_per_slot * self.charge_efficiency

    @property
    def taken_per_slot_kwh(self) -> FloatArray:
        """Most that leaves each battery in one slot."""
        return self.discharge_kwh_per_slot / self.discharge_efficiency

    @property
    def floor_kwh(self) -> FloatArray:
        """What each battery must hold once it has held it: the larger of its minimum and its trip reserve."""
        return np.maximum(self.soc_min_kwh, self.trip_reserve_kwh)

    def reach_kwh(self, slot: IntArray | int) -> FloatArray:
        """Return what each battery holds at the beginning of a slot when it charges at full rate from arrival."""
        return self.soc_arrival_kwh + self.stored_per_slot_kwh * (slot - self.arrival_slot)

    def needed_kwh(self) -> FloatArray:
        """Return what each battery must hold at departure: what is asked for, at least its floor where it gets that far."""
        return np.maximum(self.soc_departure_kwh, np.minimum(self.floor_kwh, self.reach_kwh(self.departure_slot)))

    def select(self, rows: IntArray) -> "BidirectionalSessions":
        """Return the sessions at these row numbers, in that order."""
        ids = None if self.session_ids is None else tuple(self.session_ids[row] for row in rows)
        columns = {name: getattr(self, name)[rows] for name in _SLOT_COLUMNS + _FLOAT_COLUMNS}
        return replace(self, **columns, session_ids=ids)

    def name_of(self, row: int) -> str:
        """Return how to call a session in an explanation: its id, or its row number when it has none."""
        return f"#{row}" if self.session_ids is None else self.session_ids[row]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FittedBidirectional:
    """Sessions whose windows lie in the horizon and whose departures can be met."""

    sessions: BidirectionalSessions
    kept_rows: IntArray
    """Row of each kept session in the arrays that came in."""
    shortfall_kwh: FloatArray
    """Per kept session: what is missing at departure even when it charges at full rate all the time; 0.0 for most."""
    deferred_kwh: FloatArray
    """Per kept session: what can only be charged after the end of the horizon; the next plan's business."""


def fit_bidirectional(sessions: BidirectionalSessions, slot_count: int) -> FittedBidirectional:
    """Clip windows to `[0, slot_count)` and the energy at departure to what the clipped windows reach.

    The rule for a window that reaches beyond the horizon is that of charging sessions: what is required at departure is
    required at the end of the horizon, up to what full rate reaches there, so that energy after the horizon is never free.
    A window wholly outside is dropped.
    """
    arrival = np.maximum(sessions.arrival_slot, 0)
    departure = np.minimum(sessions.departure_slot, slot_count)
    kept = np.flatnonzero(departure > arrival)
    inside = replace(sessions.select(kept), arrival_slot=arrival[kept])
    ever = inside.reach_kwh(inside.departure_slot)
    wanted = inside.soc_departure_kwh
    by_end = np.minimum(wanted, inside.reach_kwh(departure[kept]))
    fitted = replace(inside, departure_slot=departure[kept], soc_departure_kwh=by_end)
    shortfall = np.maximum(wanted - ever, 0.0)
    deferred = np.maximum(wanted - by_end - shortfall, 0.0)
    return FittedBidirectional(sessions=fitted, kept_rows=kept, shortfall_kwh=shortfall, deferred_kwh=deferred)


def require_fitted(sessions: BidirectionalSessions, slot_count: int) -> None:
    """Reject sessions that were not fitted to the horizon.

    Raises:
        InvalidInput: A window leaves `[0, slot_count)` or a departure cannot be met at full rate.
    """
    require_each("arrival_slot", sessions.arrival_slot >= 0, "must be at least 0; use fit_bidirectional")
    inside = sessions.departure_slot <= slot_count
    require_each("departure_slot", inside, f"must be at most {slot_count}; use fit_bidirectional")
    reach = sessions.reach_kwh(sessions.departure_slot)
    met = sessions.soc_departure_kwh <= reach * (1.0 + REACH_TOLERANCE)
    require_each("soc_departure_kwh", met, "cannot be reached at full rate; use fit_bidirectional")
