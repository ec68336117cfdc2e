"""What was known at a gate, and what was believed because of it. The only way from recorded truth to a forecast.

Prices: every delivery day up to the day before delivery. Sessions: those that had ended, and of those plugged in what their
drivers had said. Everything else is learned from these or not known.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np

from bidding.arrays import FloatArray, IntArray
from bidding.backtest.charging import ChargingCars, cars_of, join_cars
from bidding.backtest.recording import SLOT_HOURS, SLOT_S, AuctionCalendar, Recording, gate_of
from bidding.civil_day import HOUR_S, DayType, wall_times
from bidding.fleet.sessions import SessionArrays
from bidding.forecasts.prices import PastPrices
from bidding.forecasts.sessions import (
    ARRIVAL_BLOCK_HOURS,
    ForecastFrame,
    LearnedStays,
    SessionHistory,
    expected_sessions,
)

EARLY_DEPARTURE_QUANTILE = 0.1
"""Cars that said nothing are planned to leave when one in ten like them had left."""
ENERGY_QUANTILE = 0.9
"""And to need what nine in ten like them do not exceed."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BelievedFleet:
    """Forecast sessions from a gate on. Not what came: see `RealisedFleet`."""

    sessions: SessionArrays
    """Cars still to come, in slots from the gate on, with the windows that a causal dispatcher will be able to use."""
    untouched: SessionArrays
    """The same with the whole stays: what uncontrolled charging uses."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RealisedFleet:
    """All recorded sessions with what a dispatcher believes of each on arrival. Only simulations and hindsight take it."""

    cars: ChargingCars
    is_guaranteed: np.ndarray[tuple[int], np.dtype[np.bool_]]
    """Whether the driver said when the car leaves and how much it needs: then the energy is promised."""


def past_prices(recording: Recording, day: date) -> tuple[PastPrices, ...]:
    """Return the prices that are published when the auction for a delivery day closes: of all earlier delivery days."""
    return tuple(
        PastPrices(day=one.day, price_eur_per_mwh=one.day_ahead_eur_per_mwh)
        for one in recording.days
        if one.day.day < day
    )


def history_at(recording: Recording, known_until: datetime, believed: "Beliefs | None" = None) -> SessionHistory:
    """Return the sessions that had ended by an instant.

    Args:
        recording: The truth.
        known_until: Nothing that ended later goes in.
        believed: When given, stays end where a dispatcher would have had to be done: it forecasts usable windows.
    """
    sessions = recording.sessions
    rows = np.flatnonzero(sessions.departure_s <= known_until.timestamp())
    departure = sessions.departure_s[rows]
    if believed is not None:
        departure = np.minimum(departure, believed.usable_until_s[rows])
    return SessionHistory(
        covered_since=recording.covered_since,
        arrival_s=sessions.arrival_s[rows],
        departure_s=departure,
        power_kw=sessions.power_kw[rows],
        energy_kwh=sessions.energy_kwh[rows],
        site_index=sessions.site_index[rows],
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Beliefs:
    """What a dispatcher believes of each recorded session once it has arrived, learned from what had ended by a gate."""

    departure_s: FloatArray
    """Said by the driver, or learned."""
    energy_kwh: FloatArray
    """Asked for, or learned."""
    usable_until_s: IntArray
    """Believed departure, but late enough for the energy at full power."""


def beliefs_at(recording: Recording, known_until: datetime) -> Beliefs:
    """Return the beliefs about all sessions with the knowledge of an instant.

    Silent drivers are learned from ended sessions of the same class of site, part of the week and time of day. The
    sessions' own departures and energies are not looked at, except those of sessions that had ended by then.
    """
    sessions = recording.sessions
    stays = LearnedStays.learn(
        history_at(recording, known_until), recording.site_classes, zone=recording.zone, known_until=known_until
    )
    departure = sessions.stated_departure_s.copy()
    energy = sessions.stated_energy_kwh.copy()
    for rows in _alike(recording):
        site_class = recording.site_classes[int(sessions.site_index[rows[0]])]
        arrival = datetime.fromtimestamp(int(sessions.arrival_s[rows[0]]), tz=UTC)
        stay_s = (stays.believe_departure(site_class, arrival, EARLY_DEPARTURE_QUANTILE) - arrival).total_seconds()
        learned_kwh = stays.believe_energy(site_class, arrival, ENERGY_QUANTILE)
        silent = rows[np.isnan(departure[rows])]
        departure[silent] = sessions.arrival_s[silent] + stay_s
        energy[rows] = np.where(np.isnan(energy[rows]), learned_kwh, energy[rows])
    full_s = np.ceil(energy / sessions.power_kw * HOUR_S).astype(np.int64)
    least = np.maximum(sessions.arrival_s + full_s, sessions.arrival_s + SLOT_S)
    usable = np.maximum(np.floor(departure).astype(np.int64), least)
    return Beliefs(departure_s=departure, energy_kwh=energy, usable_until_s=usable)


def _alike(recording: Recording) -> Sequence[IntArray]:
    """Return groups of sessions that `LearnedStays` treats alike."""
    sessions = recording.sessions
    if not len(sessions):
        return ()
    times = wall_times(sessions.arrival_s, recording.zone)
    is_weekend = np.array([one is not DayType.WEEKDAY for one in times.types])[times.day]
    block = times.wall_s // (ARRIVAL_BLOCK_HOURS * HOUR_S)
    classes = {name: number for number, name in enumerate(sorted(set(recording.site_classes)))}
    kind = np.array([classes[name] for name in recording.site_classes])[sessions.site_index]
    key = (kind * 2 + is_weekend) * (24 // ARRIVAL_BLOCK_HOURS + 1) + block
    order = np.argsort(key, kind="stable")
    borders = np.flatnonzero(np.diff(key[order])) + 1
    return np.split(order, borders)


def realised_fleet(recording: Recording, beliefs: Beliefs | None) -> RealisedFleet:
    """Return the recorded sessions as cars to simulate.

    Args:
        recording: The truth. Windows are rounded outward to quarter-hours, as the forecasts do; energy beyond full power
            over the window is left out for every strategy alike.
        beliefs: What a dispatcher goes by; None for one that knows every departure and energy.
    """
    sessions = recording.sessions
    first = sessions.arrival_s // SLOT_S
    end = -(-sessions.departure_s // SLOT_S)
    rate = sessions.power_kw * SLOT_HOURS
    energy = np.minimum(sessions.energy_kwh, rate * (end - first))
    believed_end, believed_kwh = end, energy
    is_guaranteed = np.ones(len(sessions), dtype=np.bool_)
    if beliefs is not None:
        believed_end = np.maximum(np.floor(beliefs.departure_s / SLOT_S).astype(np.int64), first + 1)
        believed_kwh = beliefs.energy_kwh
        is_guaranteed = ~np.isnan(sessions.stated_departure_s) & ~np.isnan(sessions.stated_energy_kwh)
    cars = ChargingCars(
        first=first,
        end=end,
        rate_kwh=rate,
        energy_kwh=energy,
        believed_end=believed_end,
        believed_kwh=believed_kwh,
        drawn_kwh=np.zeros(len(sessions)),
        row=np.arange(len(sessions)),
    )
    return RealisedFleet(cars=cars, is_guaranteed=is_guaranteed)


def believed_fleet(
    recording: Recording, calendar: AuctionCalendar, beliefs: Beliefs, holidays: AbstractSet[date] = frozenset()
) -> BelievedFleet:
    """Return the sessions that are expected to arrive after the gate, from days before it."""
    gate = gate_of(calendar.day)
    frame = ForecastFrame(grid=calendar.horizon_grid, zone=recording.zone, known_until=gate, holidays=holidays)
    return BelievedFleet(
        sessions=expected_sessions(history_at(recording, gate, beliefs), frame).sessions,
        untouched=expected_sessions(history_at(recording, gate), frame).sessions,
    )


def fleet_at_gate(present: ChargingCars, coming: SessionArrays, gate: int) -> ChargingCars:
    """Return cars that are plugged in, as far as believed, and cars that are expected, to rehearse the evening with.

    The rehearsal sees no real departure or energy: a present car is taken to do what is believed of it.
    """
    need = np.maximum(present.believed_kwh - present.drawn_kwh, 0.0)
    asks = present.energy_kwh > present.drawn_kwh
    slots_needed = np.ceil(need / present.rate_kwh).astype(np.int64)
    end = np.maximum(present.believed_end, gate + np.maximum(slots_needed, 1))
    believed = ChargingCars(
        first=present.first,
        end=end,
        rate_kwh=present.rate_kwh,
        energy_kwh=np.where(asks, need, 0.0),
        believed_end=end,
        believed_kwh=np.where(asks, need, 0.0),
        drawn_kwh=np.zeros(len(present)),
    )
    return join_cars(believed, cars_of(coming, gate))
