"""The platform's world from minute to minute: cars come and go, chargers draw, meters count, drivers are satisfied or not."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from gateway.domain.inventory import Inventory
from gateway.domain.timegrid import DeliveryDay
from gateway.domain.topology import Charger
from gateway.sandbox.fleet_bank import STEP_S, Bools, ChargerBank, EndedSessions, Obedience
from gateway.sandbox.fleet_load import draw_other_load
from gateway.sandbox.fleet_sessions import (
    SessionSource,
    SessionTable,
    SiteChargers,
    chargers_by_site,
    hours_to_charge,
)
from gateway.sandbox.fleet_statistics import Floats, Ints

LATENCY_S = (3.0, 8.0, 15.0)
"""How long a command takes to reach a charger: each charger has one of these."""
MISSED_SHARE = 0.05
"""A driver who leaves with less than the stated energy by more than this was let down."""
_REMEMBERED_MISSES = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class FleetOptions:
    """What decides a run of the fleet."""

    csms: str
    """Which of the inventory's platforms this program is."""
    seed: int
    rejecting_share: float
    """Share of chargers that refuse commands, 0 to 1."""
    not_following_share: float
    """Share of chargers that accept commands and do not follow, 0 to 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Received:
    """What became of a command for many chargers."""

    accepted: Bools
    """Per charger of the command, shape (K,)."""
    groups: tuple[tuple[float, Ints], ...]
    """When it comes into force (seconds since 1970) and at which chargers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """All meters at one instant."""

    measure_s: int
    power_kw: Floats
    """Per charger, shape (C,)."""
    register_kwh: Floats
    """Per charger, shape (C,)."""
    meter_register_kwh: Floats
    """Net register per connection point, shape (P,)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepEvents:
    """What happened at the begin of a minute: who left and which chargers got a car."""

    ended: EndedSessions | None
    plugged: Ints


@dataclass(slots=True)
class Score:
    """How drivers fared so far."""

    ended_count: int = 0
    delivered_kwh: float = 0.0
    missed_count: int = 0
    """Left with less than the stated energy by more than 5 %."""
    missed_early_count: int = 0
    """Of these: left before the departure that was announced."""
    missed_kwh: float = 0.0

    def add(self, ended: EndedSessions) -> Bools:
        """Count cars that left and return which of them were let down."""
        cars = ended.sessions
        # Nobody can be given more than the car takes.
        owed_kwh = np.minimum(cars.stated_energy_kwh, cars.energy_kwh)
        missed = ended.delivered_kwh < (1.0 - MISSED_SHARE) * owed_kwh
        self.ended_count += len(cars)
        self.delivered_kwh += float(ended.delivered_kwh.sum())
        self.missed_count += int(missed.sum())
        self.missed_early_count += int((missed & (cars.departure_s < cars.stated_departure_s)).sum())
        self.missed_kwh += float((owed_kwh - ended.delivered_kwh)[missed].sum())
        return np.asarray(missed)


class FleetSimulation:
    """All chargers, cars and meters of one charging platform.

    Args:
        inventory: Sites and chargers; those of other platforms are left out.
        book: The sessions; its first day begins the history.
        options: Seed and shares.
        start: Instant from which minutes are simulated; cars that came before are there and have charged unlimited.

    Attributes:
        time_s: Up to when the world has been simulated, in seconds since 1970.
        history: Sessions that ended before the start, with what they took.
        past: Sessions that began before the start, whether they have ended or not.
        first_day: First day of the history.
        load_sites: Id, kind of place and rating in kW of each site, as `draw_other_load` takes them.
        seed: What decides the other load.
    """

    def __init__(
        self,
        inventory: Inventory,
        book: SessionSource,
        options: FleetOptions,
        start: datetime,
    ) -> None:
        self.chargers = own_chargers(inventory, options.csms)
        self.sites = own_sites(inventory, options.csms)
        self.points = _first_point_of(inventory, [site.site for site in self.sites])
        generator = np.random.default_rng([options.seed, 0])
        self.bank = ChargerBank(self.chargers, generator)
        self.bank.obedience[:] = _draw_obedience(len(self.chargers), options, generator)
        self.time_s = int(start.timestamp()) // STEP_S * STEP_S
        self.score = Score()
        self.missed_ids: deque[str] = deque(maxlen=_REMEMBERED_MISSES)
        self.meter_register_kwh = np.round(generator.uniform(1e5, 1e6, len(self.points)), 3)
        self._latency_s = generator.choice(np.array(LATENCY_S), size=len(self.chargers))
        self._site_of = np.zeros(len(self.chargers), dtype=np.int64)
        for place, site in enumerate(self.sites):
            self._site_of[site.charger] = place
        rating_of = {node.id: node.max_import_kw for node in inventory.nodes}
        self.load_sites = [(site.site, site.site_class, rating_of[site.site]) for site in self.sites]
        self.seed = options.seed
        self.first_day = book.next_day
        self._book = book
        self._coming = _no_sessions(self.bank.cars)
        self._next_row = 0
        self._load_day = book.next_day.next(-1)
        self._load_kw = np.zeros((len(self.sites), 0))
        self.past = self._begin(start)
        self.history = self.past.take(self.past.departure_s <= self.time_s)

    @property
    def dropped_count(self) -> int:
        """Cars so far that found no free charger, history included."""
        return self._book.dropped_count

    def step(self) -> StepEvents:
        """Let one minute pass: cars leave, cars come, chargers draw, meters count."""
        ended = self.bank.unplug(self.time_s)
        if ended is not None:
            self.missed_ids.extend(ended.sessions.id[self.score.add(ended)].tolist())
        plugged = self._plug_in_arrivals()
        energy_kwh = self.bank.step(self.time_s)
        per_site_kwh = np.bincount(self._site_of, weights=energy_kwh, minlength=len(self.sites))
        self.meter_register_kwh += per_site_kwh + self._other_load_kw() * (STEP_S / 3600.0)
        self.time_s += STEP_S
        return StepEvents(ended=ended, plugged=plugged)

    def receive(
        self, index: Ints, limit_kw: Floats, fallback_kw: Floats, *, sequence: int, lease_until_s: float, now_s: float
    ) -> Received:
        """Take a command from the gateway; arguments as in `ChargerBank.receive`, `now_s` is market time."""
        at_s = now_s + self._latency_s[index]
        accepted = self.bank.receive(
            index, limit_kw, fallback_kw, sequence=sequence, lease_until_s=lease_until_s, at_s=at_s
        )
        groups = tuple((float(at), index[accepted & (at_s == at)]) for at in np.unique(at_s[accepted]))
        return Received(accepted=accepted, groups=groups)

    def reading(self) -> Reading:
        """Return all meters as they are now; the arrays are copies."""
        return Reading(
            measure_s=self.time_s,
            power_kw=self.bank.power_kw.copy(),
            register_kwh=self.bank.register_kwh.copy(),
            meter_register_kwh=self.meter_register_kwh.copy(),
        )

    def plugged_in(self) -> Ints:
        """Return the chargers that have a car now."""
        return np.asarray(np.flatnonzero(self.bank.occupied), dtype=np.int64)

    def site_power_kw(self) -> dict[str, float]:
        """Return the power that the chargers of each site draw."""
        return {site.site: round(float(self.bank.power_kw[site.charger].sum()), 3) for site in self.sites}

    def set_obedience(self, index: Ints, obedience: Obedience) -> None:
        """Make chargers obey or not from the next minute on."""
        self.bank.obedience[index] = obedience

    def _begin(self, start: datetime) -> SessionTable:
        """Draw all days up to the start, plug in who is there, and return all who have come."""
        tables = [_no_sessions(self.bank.cars)]
        while self._book.next_day.interval.start <= start:
            tables.append(self._book.draw_next())
        drawn = SessionTable.join(tables)
        arrived = drawn.arrival_s < self.time_s
        here = drawn.take(arrived & (drawn.departure_s > self.time_s))
        hours = (self.time_s - here.arrival_s) / 3600.0
        needed_h = hours_to_charge(here.energy_kwh, here.battery_kwh, here.start_soc, here.max_kw)
        self.bank.plug_in(here, here.energy_kwh * np.minimum(1.0, hours / np.maximum(needed_h, 1e-9)))
        self._coming = drawn.take(~arrived)
        return drawn.take(arrived)

    def _plug_in_arrivals(self) -> Ints:
        while self._book.next_day.interval.start.timestamp() <= self.time_s:
            ahead = self._coming.take(np.arange(self._next_row, len(self._coming)))
            self._coming = SessionTable.join([ahead, self._book.draw_next()])
            self._next_row = 0
        last = int(np.searchsorted(self._coming.arrival_s, self.time_s, side="right"))
        rows = self._coming.take(np.arange(self._next_row, last))
        self._next_row = last
        if len(rows):
            self.bank.plug_in(rows, np.zeros(len(rows)))
        return rows.charger

    def _other_load_kw(self) -> Floats:
        minute = (self.time_s - int(self._load_day.interval.start.timestamp())) // STEP_S
        if minute >= self._load_kw.shape[1]:
            now = datetime.fromtimestamp(self.time_s, UTC)
            self._load_day = DeliveryDay.containing(now, self._load_day.zone)
            self._load_kw = draw_other_load(self._load_day, self.load_sites, self.seed)
            minute = (self.time_s - int(self._load_day.interval.start.timestamp())) // STEP_S
        return np.asarray(self._load_kw[:, minute])


def own_chargers(inventory: Inventory, csms: str) -> tuple[Charger, ...]:
    """Return the chargers of one platform in the order of the inventory, which is the charger index of its streams."""
    return tuple(charger for charger in inventory.chargers if charger.csms == csms)


def own_sites(inventory: Inventory, csms: str) -> list[SiteChargers]:
    """Return the sites where a platform has chargers."""
    return chargers_by_site(inventory.nodes, own_chargers(inventory, csms), inventory.connection_points)


def _draw_obedience(count: int, options: FleetOptions, generator: np.random.Generator) -> Ints:
    """Return `Obedience` values: a seeded choice of chargers, at least one of each kind whose share is above 0."""
    drawn = np.zeros(count, dtype=np.int64)
    shuffled = generator.permutation(count)
    rejecting, not_following = (
        min(count, max(1, round(share * count))) if share > 0.0 else 0
        for share in (options.rejecting_share, options.not_following_share)
    )
    drawn[shuffled[:rejecting]] = Obedience.REJECTING
    drawn[shuffled[rejecting : rejecting + not_following]] = Obedience.NOT_FOLLOWING
    return drawn


def _first_point_of(inventory: Inventory, sites: Sequence[str]) -> tuple[str, ...]:
    """Return the meter of each site: its first connection point."""
    first: dict[str, str] = {}
    for point in inventory.connection_points:
        first.setdefault(point.site, point.id)
    return tuple(first[site] for site in sites)


def _no_sessions(like: SessionTable) -> SessionTable:
    return like.take(np.zeros(0, dtype=np.int64))
