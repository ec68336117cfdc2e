"""Synthetic sessions of a delivery day, drawn by a seeded generator from recorded statistics.

A day of a site is decided by seed, day and site alone; which charger a car gets depends also on the cars that are still there
from the days before, so days are drawn in order. Arrivals follow the local clock of the market: a day of 23 or 25 hours has
its hour less or more.

What a driver will do is in the table, but most of it stays hidden: the platform reports a departure only when the car has
left, and the energy and departure that a driver announces only where one is announced.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import date
from typing import Protocol

import numpy as np
import numpy.typing as npt

from gateway.domain.timegrid import DeliveryDay
from gateway.domain.topology import Charger, ConnectionPoint, Node
from gateway.sandbox.fleet_arrivals import draw_arrivals
from gateway.sandbox.fleet_statistics import Floats, Ints, SessionStatistics, Vehicles

STATED_ENERGY_SHARE = 0.6
"""Share of drivers who say how much energy they need."""
TAPER_FROM = 0.8
"""State of charge from which a car draws less and less."""
TAPER_TO_SHARE = 0.2
"""Share of its power that a car draws just before it is full."""
_USABLE_SHARE = 0.95
_STAY_USED_SHARE = 0.97
_TURNOVER_S = 120
_QUARTER_S = 900


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteChargers:
    """The chargers of one site, as arriving cars see them; shape (C,) each."""

    site: str
    site_class: str
    """`home`, `public` or `workplace`."""
    charger: Ints
    """Positions in the fleet's list of chargers."""
    max_kw: Floats
    phases: Ints


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionTable:
    """Sessions in columns, ordered by arrival; shape (S,) each. NaN: the driver said nothing."""

    id: npt.NDArray[np.str_]
    charger: Ints
    """Position in the fleet's list of chargers."""
    arrival_s: Ints
    """Whole minutes, in seconds since 1970 UTC."""
    departure_s: Ints
    """When the car will really leave; hidden until then."""
    energy_kwh: Floats
    """What the car takes when nobody limits it; it fits into battery and stay."""
    battery_kwh: Floats
    start_soc: Floats
    """State of charge at arrival, 0 to 1."""
    max_kw: Floats
    """What car and charger together can draw."""
    phases: Ints
    stated_energy_kwh: Floats
    stated_departure_s: Floats

    def __len__(self) -> int:
        return len(self.charger)

    def take(self, rows: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> "SessionTable":
        """Return the rows at these positions."""
        return SessionTable(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    @classmethod
    def join(cls, tables: Sequence["SessionTable"]) -> "SessionTable":
        """Return the rows of all tables, ordered by arrival."""
        joined = cls(**{f.name: np.concatenate([getattr(table, f.name) for table in tables]) for f in fields(cls)})
        return joined.take(np.argsort(joined.arrival_s, kind="stable"))


@dataclass(frozen=True, kw_only=True, slots=True)
class DrawnDay:
    """The sessions of one day at one site."""

    sessions: SessionTable
    dropped_count: int
    """Cars that found no free charger and drove on."""
    free_from_s: Ints
    """From when each charger of the site is free again; shape (C,)."""


def chargers_by_site(
    nodes: Sequence[Node], chargers: Sequence[Charger], points: Sequence[ConnectionPoint]
) -> list[SiteChargers]:
    """Group the chargers of a fleet by the site that they stand on, in the order of the connection points."""
    parent_of = {node.id: node.parent for node in nodes}
    sites = {point.site: point.site_class for point in points}

    def site_of(node: str | None) -> str:
        while node is not None and node not in sites:
            node = parent_of[node]
        return "" if node is None else node

    at = np.array([site_of(charger.parent) for charger in chargers])
    max_kw = np.array([charger.max_import_kw for charger in chargers])
    phases = np.array([charger.phases for charger in chargers], dtype=np.int64)
    return [
        SiteChargers(site=site, site_class=kind, charger=here, max_kw=max_kw[here], phases=phases[here])
        for site, kind in sites.items()
        if (here := np.flatnonzero(at == site)).size
    ]


def draw_sessions(
    day: DeliveryDay, site: SiteChargers, seed: int, statistics: SessionStatistics, free_from_s: Ints | None = None
) -> DrawnDay:
    """Draw the cars that arrive at a site on a delivery day.

    Args:
        day: Day of the market; arrivals lie inside it.
        site: Chargers of the site.
        seed: With day and site it decides which cars come.
        statistics: What cars are drawn from.
        free_from_s: From when each charger is free, from the day before, shape (C,); None means all are free.
    """
    generator = np.random.default_rng([seed, day.day.toordinal(), _digest(site.site)])
    cars = draw_arrivals(day, site.site_class, len(site.charger), generator, statistics)
    departure_s = cars.arrival_s + np.rint(cars.stay_h * 60.0).astype(np.int64) * 60
    free_from_s = np.zeros(len(site.charger), dtype=np.int64) if free_from_s is None else free_from_s
    place, free_from_s = _park(cars.arrival_s, departure_s, free_from_s, generator)
    kind = _choose_vehicles(statistics.vehicles, cars.energy_kwh, generator)
    start_soc = _start_soc(statistics.vehicles.battery_kwh[kind], cars.energy_kwh, generator)
    stated = generator.random(len(place)) < STATED_ENERGY_SHARE
    parked = np.flatnonzero(place >= 0)
    cars, at, kind, start_soc = cars.take(parked), place[parked], kind[parked], start_soc[parked]
    phases, max_kw = _shared_power(statistics.vehicles, kind, site, at)
    battery_kwh = statistics.vehicles.battery_kwh[kind]
    energy_kwh = fit_into_stay(cars.energy_kwh, battery_kwh, start_soc, max_kw, cars.stay_h)
    sessions = SessionTable(
        id=np.array([_session_id(seed, day.day, site.site, number) for number in parked.tolist()], dtype="U20"),
        charger=site.charger[at],
        arrival_s=cars.arrival_s,
        departure_s=departure_s[parked],
        energy_kwh=energy_kwh,
        battery_kwh=battery_kwh,
        start_soc=start_soc,
        max_kw=max_kw,
        phases=phases,
        stated_energy_kwh=_stated_energy(energy_kwh, stated[parked], generator),
        stated_departure_s=_stated_departure(cars.arrival_s, cars.stated_stay_h),
    )
    return DrawnDay(sessions=sessions, dropped_count=len(place) - len(parked), free_from_s=free_from_s)


class SessionSource(Protocol):
    """Sessions day after day."""

    @property
    def next_day(self) -> DeliveryDay:
        """The day that comes next."""
        ...

    @property
    def dropped_count(self) -> int:
        """Cars so far that found no free charger."""
        ...

    def draw_next(self) -> SessionTable:
        """Return the sessions that begin on the next day, and go on to the day after."""
        ...


class SessionBook:
    """The sessions of all sites, drawn day after day.

    Args:
        first: First day that is drawn; all chargers are free when it begins.
        sites: Chargers of each site.
        seed: Decides all that follows.
        statistics: What cars are drawn from.
    """

    def __init__(
        self, first: DeliveryDay, sites: Sequence[SiteChargers], seed: int, statistics: SessionStatistics
    ) -> None:
        self.next_day = first
        self.dropped_count = 0
        self._sites = tuple(sites)
        self._seed = seed
        self._statistics = statistics
        self._free_from_s: list[Ints | None] = [None] * len(self._sites)

    def draw_next(self) -> SessionTable:
        """Draw the next day of all sites."""
        tables = []
        for place, site in enumerate(self._sites):
            drawn = draw_sessions(self.next_day, site, self._seed, self._statistics, self._free_from_s[place])
            self._free_from_s[place] = drawn.free_from_s
            self.dropped_count += drawn.dropped_count
            tables.append(drawn.sessions)
        self.next_day = self.next_day.next()
        return SessionTable.join(tables)


def hours_to_charge(energy_kwh: Floats, battery_kwh: Floats, start_soc: Floats, max_kw: Floats) -> Floats:
    """Return how long a car needs at its full power, in hours, with the taper of `taper_share` integrated; shape (S,)."""
    end_soc = start_soc + energy_kwh / battery_kwh
    flat = np.maximum(np.minimum(end_soc, TAPER_FROM) - start_soc, 0.0)
    width = (1.0 - TAPER_FROM) / (1.0 - TAPER_TO_SHARE)
    zero_at = TAPER_FROM + width
    taper = width * np.log((zero_at - np.maximum(start_soc, TAPER_FROM)) / (zero_at - np.maximum(end_soc, TAPER_FROM)))
    return np.asarray((flat + np.maximum(taper, 0.0)) * battery_kwh / max_kw)


def taper_share(soc: Floats) -> Floats:
    """Return the share of its power that a car draws at a state of charge: 1 up to 80 %, falling to 0.2 when full; shape (S,)."""
    falling = 1.0 - (soc - TAPER_FROM) * ((1.0 - TAPER_TO_SHARE) / (1.0 - TAPER_FROM))
    return np.asarray(np.clip(falling, TAPER_TO_SHARE, 1.0))


def _park(arrival_s: Ints, departure_s: Ints, free_from_s: Ints, generator: np.random.Generator) -> tuple[Ints, Ints]:
    """Give each car in order of arrival a free charger, -1 if there is none; return places and from when each is free."""
    free_from_s = free_from_s.copy()
    place = np.full(len(arrival_s), -1, dtype=np.int64)
    pick = generator.random(len(arrival_s))
    for car in range(len(arrival_s)):
        free = np.flatnonzero(free_from_s <= arrival_s[car])
        if free.size:
            place[car] = free[int(pick[car] * free.size)]
            free_from_s[place[car]] = departure_s[car] + _TURNOVER_S
    return place, free_from_s


def _choose_vehicles(vehicles: Vehicles, energy_kwh: Floats, generator: np.random.Generator) -> Ints:
    """Choose a kind of car by registrations among those whose battery holds the energy; the largest if none does."""
    below = np.concatenate([[0.0], np.cumsum(vehicles.registrations)])
    first = np.minimum(np.searchsorted(vehicles.battery_kwh * _USABLE_SHARE, energy_kwh), len(vehicles.battery_kwh) - 1)
    draw = below[first] + generator.random(len(energy_kwh)) * (below[-1] - below[first])
    return np.asarray(np.searchsorted(below, draw, side="right") - 1, dtype=np.int64)


def _start_soc(battery_kwh: Floats, energy_kwh: Floats, generator: np.random.Generator) -> Floats:
    """Return the state of charge at arrival, so that the car is at 80, 90 or 100 % when it has taken its energy."""
    target = generator.choice([0.8, 0.9, 1.0], p=[0.4, 0.2, 0.4], size=len(energy_kwh))
    return np.asarray(np.maximum(target - energy_kwh / battery_kwh, 1.0 - _USABLE_SHARE))


def _shared_power(vehicles: Vehicles, car: Ints, site: SiteChargers, at: Ints) -> tuple[Ints, Floats]:
    """Return the phases that car and charger share and the power in kW that both can carry on them."""
    phases = np.minimum(vehicles.phases[car], site.phases[at])
    per_phase_kw = np.minimum(vehicles.max_ac_kw[car] / vehicles.phases[car], site.max_kw[at] / site.phases[at])
    return phases, np.round(phases * per_phase_kw, 2)


def fit_into_stay(energy_kwh: Floats, battery_kwh: Floats, start_soc: Floats, max_kw: Floats, stay_h: Floats) -> Floats:
    """Return the energy in kWh cut to what battery and stay allow, shape (S,): recorded energies are what really flowed."""
    energy_kwh = np.minimum(energy_kwh, (1.0 - start_soc) * battery_kwh)
    needed_h = hours_to_charge(energy_kwh, battery_kwh, start_soc, max_kw)
    return np.asarray(energy_kwh * np.minimum(1.0, _STAY_USED_SHARE * stay_h / np.maximum(needed_h, 1e-9)))


def _stated_energy(energy_kwh: Floats, stated: npt.NDArray[np.bool_], generator: np.random.Generator) -> Floats:
    """Return what drivers say they need: what the car takes or up to a quarter less, in steps of half a kWh."""
    # Every second driver says what the car takes, the others less.
    share = np.minimum(generator.uniform(0.75, 1.25, len(energy_kwh)), 1.0)
    halves = np.floor(energy_kwh * share * 2.0) / 2.0
    return np.where(stated & (halves > 0.0), halves, np.nan)


def _stated_departure(arrival_s: Ints, stated_stay_h: Floats) -> Floats:
    """Return announced departures, rounded to quarter-hours after the arrival."""
    rounded = np.rint((arrival_s + stated_stay_h * 3600.0) / _QUARTER_S)
    return np.asarray(np.maximum(rounded, arrival_s // _QUARTER_S + 1) * _QUARTER_S)


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def _session_id(seed: int, day: date, site: str, number: int) -> str:
    """Return an opaque id that is the same in every run with the seed."""
    return "ses-" + hashlib.blake2b(f"{seed}/{day.isoformat()}/{site}/{number}".encode(), digest_size=8).hexdigest()
