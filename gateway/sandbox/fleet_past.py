"""What the meters of the platform's sites counted before the program started. Modelled, not measured.

The other load is that of the simulation itself (`fleet_load`). Charging is modelled as uncontrolled: each past session draws
at its full power from plug-in until it has its energy, without taper and whatever the site's rating is.
"""

from dataclasses import dataclass

import numpy as np

from gateway.domain.timegrid import DeliveryDay
from gateway.sandbox.fleet_load import draw_other_load
from gateway.sandbox.fleet_sessions import SessionTable
from gateway.sandbox.fleet_simulation import FleetSimulation
from gateway.sandbox.fleet_statistics import Floats, Ints

_QUARTER_S = 900
_MINUTES_PER_QUARTER = 15
_HOUR_S = 3600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class PastMeters:
    """Energy per delivery period of each connection point, in the order of `FleetSimulation.points`; shape (P, T) each."""

    start_s: int
    """Begin of the first period, in seconds since 1970."""
    energy_kwh: Floats
    """At the meter."""
    charger_energy_kwh: Floats
    """Of it, the chargers."""


def model_past_meters(simulation: FleetSimulation, day_count: int) -> PastMeters:
    """Return the first days of the simulation's history, whole delivery days on the market's local clock.

    They depend on seed, inventory and first day alone, not on when the program starts. Cars that were there before the first
    day are missing.

    Args:
        simulation: Whose past it is.
        day_count: How many days, at least 1, all before the simulation's start.
    """
    days = [simulation.first_day.next(number) for number in range(day_count)]
    other_kwh = np.hstack([_other_load_kwh(simulation, day) for day in days])
    start_s = int(days[0].interval.start.timestamp())
    border_s = start_s + np.arange(other_kwh.shape[1] + 1) * _QUARTER_S
    past = simulation.past
    chargers_kwh = np.array(
        [charging_kwh(past.take(np.isin(past.charger, site.charger)), border_s) for site in simulation.sites]
    ).reshape(other_kwh.shape)
    return PastMeters(start_s=start_s, energy_kwh=other_kwh + chargers_kwh, charger_energy_kwh=chargers_kwh)


def charging_kwh(sessions: SessionTable, border_s: Ints) -> Floats:
    """Return the energy between borders in kWh, shape (borders - 1,), when all sessions charge at full power on plug-in.

    Each session's energy up to t is p (t - a)+ - p (t - e)+ with power p, arrival a and end of charging e; both sums are read
    off cumulative sums over the sorted instants.
    """
    end_s: Floats = sessions.arrival_s + sessions.energy_kwh / sessions.max_kw * _HOUR_S
    since_s = (border_s - border_s[0]).astype(np.float64)
    begun = _ramps(sessions.arrival_s.astype(np.float64) - float(border_s[0]), sessions.max_kw, since_s)
    done = _ramps(np.asarray(end_s - float(border_s[0])), sessions.max_kw, since_s)
    # Differences of large sums may fall below zero by their rounding.
    return np.asarray(np.maximum(np.diff(begun - done) / _HOUR_S, 0.0))


def _ramps(from_s: Floats, power_kw: Floats, at_s: Floats) -> Floats:
    """Return the sum over rows of power times the time since its instant, where that has passed, in kWs."""
    order = np.argsort(from_s)
    power = np.concatenate([[0.0], np.cumsum(power_kw[order])])
    moment = np.concatenate([[0.0], np.cumsum((power_kw * from_s)[order])])
    passed = np.searchsorted(from_s[order], at_s, side="right")
    return np.asarray(at_s * power[passed] - moment[passed])


def _other_load_kwh(simulation: FleetSimulation, day: DeliveryDay) -> Floats:
    """Return the other load per site and delivery period of a day in kWh, as the meters of the simulation would count it."""
    power_kw = draw_other_load(day, simulation.load_sites, simulation.seed)
    per_quarter = power_kw.reshape(len(power_kw), -1, _MINUTES_PER_QUARTER)
    return np.asarray(per_quarter.sum(axis=2) / 60.0)
