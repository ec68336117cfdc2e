"""Charging sessions as columns: when a car is there, how fast it charges and how much it must and may take."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from bidding.arrays import (
    BoolArray,
    FloatArray,
    IntArray,
    finite_vector,
    integer_vector,
    require_each,
    same_length,
    sum_by,
)
from gateway.domain.errors import InvalidInput

OPTIONAL_COLUMNS = ("site_index", "session_ids", "efficiency", "is_bidirectional")
SLOT_TOLERANCE = 1e-12
"""A quotient energy / rate this close below an integer counts as that integer: 3 x 0.1 / 0.1 is 3 slots, not 2."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SessionArrays:
    """Sessions in columns of equal length; row `i` of every column is one car at one charger.

    A window may begin before slot 0 or end after the horizon; `fit_to_horizon` clips it before anything is computed.
    Whoever builds the arrays states energies as they are still needed at slot 0. All energies are counted at the plug, as
    the meter does; `efficiency` says what of it arrives in the battery (`at_the_plug` converts).
    """

    arrival_slot: IntArray
    """First slot in which the car can charge."""
    departure_slot: IntArray
    """First slot in which it cannot any more (half-open window)."""
    rate_kwh_per_slot: FloatArray
    """Most that car and charger draw in one slot, above 0."""
    energy_min_kwh: FloatArray
    """What must be charged before departure."""
    energy_max_kwh: FloatArray
    """What may be charged; equal to `energy_min_kwh` for a fixed need."""
    site_index: IntArray | None = None
    """Which connection point; None when all are behind one."""
    session_ids: tuple[str, ...] | None = None
    """Opaque ids for explanations; None for forecast sessions."""
    efficiency: FloatArray | None = None
    """Energy in the battery per energy at the plug, above 0 and at most 1; None when nothing is lost or nobody asks."""
    is_bidirectional: BoolArray | None = None
    """Whether car and charger can also feed back; None when none can. Charge-only planning ignores it."""

    def __post_init__(self) -> None:
        """Check every column and make it read-only; the first wrong element is named."""
        for name in ("arrival_slot", "departure_slot"):
            object.__setattr__(self, name, integer_vector(name, getattr(self, name)))
        for name in ("rate_kwh_per_slot", "energy_min_kwh", "energy_max_kwh"):
            object.__setattr__(self, name, finite_vector(name, getattr(self, name)))
        if self.site_index is not None:
            object.__setattr__(self, "site_index", integer_vector("site_index", self.site_index))
        if self.efficiency is not None:
            object.__setattr__(self, "efficiency", finite_vector("efficiency", self.efficiency))
        if self.is_bidirectional is not None:
            object.__setattr__(self, "is_bidirectional", _flags("is_bidirectional", self.is_bidirectional))
        self._require_equal_lengths()
        require_each("departure_slot", self.departure_slot > self.arrival_slot, "must be after arrival_slot")
        require_each("rate_kwh_per_slot", self.rate_kwh_per_slot > 0.0, "must be above 0")
        require_each("energy_min_kwh", self.energy_min_kwh >= 0.0, "must be at least 0")
        require_each("energy_max_kwh", self.energy_max_kwh >= self.energy_min_kwh, "must be at least energy_min_kwh")
        if self.site_index is not None:
            require_each("site_index", self.site_index >= 0, "must be at least 0")
        if self.efficiency is not None:
            plausible = (self.efficiency > 0.0) & (self.efficiency <= 1.0)
            require_each("efficiency", plausible, "must be above 0 and at most 1")

    def _require_equal_lengths(self) -> None:
        columns: list[tuple[str, int]] = [
            (name, len(getattr(self, name)))
            for name in ("arrival_slot", "departure_slot", "rate_kwh_per_slot", "energy_min_kwh", "energy_max_kwh")
        ]
        for name in OPTIONAL_COLUMNS:
            column = getattr(self, name)
            if column is not None:
                columns.append((name, len(column)))
        same_length(columns)

    def __len__(self) -> int:
        return len(self.arrival_slot)

    @property
    def window_length(self) -> IntArray:
        """Number of slots in each window."""
        return self.departure_slot - self.arrival_slot

    def select(self, rows: IntArray | BoolArray) -> "SessionArrays":
        """Return the sessions at these row numbers or where the mask is true, in that order."""
        index = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        return SessionArrays(
            arrival_slot=self.arrival_slot[index],
            departure_slot=self.departure_slot[index],
            rate_kwh_per_slot=self.rate_kwh_per_slot[index],
            energy_min_kwh=self.energy_min_kwh[index],
            energy_max_kwh=self.energy_max_kwh[index],
            site_index=None if self.site_index is None else self.site_index[index],
            session_ids=None if self.session_ids is None else tuple(self.session_ids[i] for i in index),
            efficiency=None if self.efficiency is None else self.efficiency[index],
            is_bidirectional=None if self.is_bidirectional is None else self.is_bidirectional[index],
        )

    def at_site(self, site: int) -> "SessionArrays":
        """Return the sessions of one connection point.

        Raises:
            InvalidInput: The sessions carry no `site_index`.
        """
        if self.site_index is None:
            raise InvalidInput("site_index", "is needed to pick a site")
        return self.select(self.site_index == site)

    def with_energy(self, energy_min_kwh: FloatArray, energy_max_kwh: FloatArray) -> "SessionArrays":
        """Return the same cars with other needs."""
        return replace(self, energy_min_kwh=energy_min_kwh, energy_max_kwh=energy_max_kwh)

    @property
    def efficiency_or_one(self) -> FloatArray:
        """Energy in the battery per energy at the plug of every session, 1.0 where none is stated."""
        return np.ones(len(self)) if self.efficiency is None else self.efficiency

    def battery_kwh(self, plug_kwh: FloatArray) -> FloatArray:
        """Return what energies at the plug, one per session, put into the batteries."""
        return plug_kwh * self.efficiency_or_one

    def name_of(self, row: int) -> str:
        """Return how to call a session in an explanation: its id, or its row number when it has none."""
        return f"#{row}" if self.session_ids is None else self.session_ids[row]


def at_the_plug(battery_kwh: FloatArray, efficiency: FloatArray) -> FloatArray:
    """Return the energy to draw so that this much arrives in each battery.

    Args:
        battery_kwh: What shall arrive, for example (target - present state of charge) x capacity.
        efficiency: Energy in the battery per energy at the plug, above 0.
    """
    return battery_kwh / efficiency


def join_sessions(parts: Sequence[SessionArrays]) -> SessionArrays:
    """Return all sessions of all parts, part after part.

    Site indices are kept when every part has them, ids likewise; otherwise the joined sessions have none. An efficiency or
    direction that only some parts state is 1.0 or False for the others.
    """
    sites = [part.site_index for part in parts if part.site_index is not None]
    ids = [part.session_ids for part in parts if part.session_ids is not None]
    lossy = any(part.efficiency is not None for part in parts)
    feeding = [
        np.zeros(len(part), dtype=np.bool_) if part.is_bidirectional is None else part.is_bidirectional
        for part in parts
    ]
    return SessionArrays(
        arrival_slot=_joined([part.arrival_slot for part in parts]),
        departure_slot=_joined([part.departure_slot for part in parts]),
        rate_kwh_per_slot=_joined([part.rate_kwh_per_slot for part in parts]),
        energy_min_kwh=_joined([part.energy_min_kwh for part in parts]),
        energy_max_kwh=_joined([part.energy_max_kwh for part in parts]),
        site_index=_joined(sites) if sites and len(sites) == len(parts) else None,
        session_ids=tuple(one for some in ids for one in some) if ids and len(ids) == len(parts) else None,
        efficiency=_joined([part.efficiency_or_one for part in parts]) if lossy else None,
        is_bidirectional=_joined(feeding) if any(part.is_bidirectional is not None for part in parts) else None,
    )


def _joined(columns: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    return np.concatenate(columns) if columns else np.zeros(0, dtype=np.int64)


def _flags(field: str, values: npt.ArrayLike) -> BoolArray:
    """Return a read-only vector of truth values; numbers are not taken for them."""
    given = np.array(values)
    if given.ndim != 1 or (given.size and given.dtype != np.bool_):
        raise InvalidInput(field, "must be a vector of truth values")
    flags: BoolArray = given.astype(np.bool_)
    flags.setflags(write=False)
    return flags


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FittedSessions:
    """Sessions whose windows lie in the horizon and whose needs fit their windows."""

    sessions: SessionArrays
    kept_rows: IntArray
    """Row of each kept session in the arrays that came in."""
    shortfall_kwh: FloatArray
    """Per kept session: required energy that its window cannot hold even at full rate; 0.0 for most."""
    deferred_kwh: FloatArray
    """Per kept session: required energy that only fits after the end of the horizon; the next plan's business."""


def fit_to_horizon(sessions: SessionArrays, slot_count: int) -> FittedSessions:
    """Clip windows to `[0, slot_count)` and needs to what the clipped windows can hold.

    The rule for a window that reaches beyond the horizon: the car still needs all its energy *inside* the horizon, up to
    what full rate allows there. Energy after the horizon is thus never free and a plan cannot push need over its edge. A
    window wholly outside is dropped. Energy that full rate inside the horizon does not reach is deferred; energy that full
    rate until departure does not reach is a shortfall: no plan can deliver it.
    """
    arrival = np.maximum(sessions.arrival_slot, 0)
    departure = np.minimum(sessions.departure_slot, slot_count)
    kept = np.flatnonzero(departure > arrival)
    most = sessions.rate_kwh_per_slot[kept] * (departure - arrival)[kept]
    inside = sessions if len(kept) == len(sessions) else sessions.select(kept)
    fitted = replace(
        inside,
        arrival_slot=arrival[kept],
        departure_slot=departure[kept],
        energy_min_kwh=np.minimum(inside.energy_min_kwh, most),
        energy_max_kwh=np.minimum(inside.energy_max_kwh, most),
    )
    ever = sessions.rate_kwh_per_slot[kept] * (sessions.departure_slot - arrival)[kept]
    shortfall = np.maximum(inside.energy_min_kwh - ever, 0.0)
    return FittedSessions(
        sessions=fitted,
        kept_rows=kept,
        shortfall_kwh=shortfall,
        deferred_kwh=inside.energy_min_kwh - fitted.energy_min_kwh - shortfall,
    )


def require_fitted(sessions: SessionArrays, slot_count: int) -> None:
    """Reject sessions that were not fitted to the horizon.

    Raises:
        InvalidInput: A window leaves `[0, slot_count)` or a need exceeds full rate over its window.
    """
    require_each("arrival_slot", sessions.arrival_slot >= 0, "must be at least 0; use fit_to_horizon")
    inside = sessions.departure_slot <= slot_count
    require_each("departure_slot", inside, f"must be at most {slot_count}; use fit_to_horizon")
    most = sessions.rate_kwh_per_slot * sessions.window_length
    fits = sessions.energy_max_kwh <= most * (1.0 + SLOT_TOLERANCE)
    require_each("energy_max_kwh", fits, "exceeds full rate over the window; use fit_to_horizon")


def split_duration(
    energy_kwh: FloatArray, rate_kwh_per_slot: FloatArray, window: IntArray
) -> tuple[IntArray, FloatArray]:
    """Split each energy into whole slots at full rate and a rest in one more slot.

    Returns:
        Number of full slots (at most the window) and the rest in kWh (0 when the window is full).
    """
    full = np.floor(energy_kwh / rate_kwh_per_slot + SLOT_TOLERANCE).astype(np.int64)
    rest = np.maximum(energy_kwh - full * rate_kwh_per_slot, 0.0)
    is_full = full >= window
    return np.where(is_full, window, full), np.where(is_full, 0.0, rest)


def uncontrolled_schedule(sessions: SessionArrays, energy_kwh: FloatArray, slot_count: int) -> FloatArray:
    """Return what the fleet draws when every car charges at full rate from arrival until it has its energy.

    Limits are ignored: this is the comparison, not a plan.

    Args:
        sessions: Sessions fitted to the horizon.
        energy_kwh: What each takes; give the planned energies to compare like with like.
        slot_count: Length of the horizon.

    Returns:
        kWh per slot, shape (slot_count,).
    """
    full, rest = split_duration(energy_kwh, sessions.rate_kwh_per_slot, sessions.window_length)
    first_rest = sessions.arrival_slot + full
    size = slot_count + 1
    rate = sessions.rate_kwh_per_slot
    charging: FloatArray = np.cumsum(sum_by(sessions.arrival_slot, rate, size) - sum_by(first_rest, rate, size))
    drawn = charging + sum_by(first_rest, rest, size)
    return np.maximum(drawn[:slot_count], 0.0)
