"""When cars come to a site on a delivery day, how long they stay and what they want, before anybody looks for a charger."""

import math
from dataclasses import dataclass, fields
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from gateway.domain.timegrid import DeliveryDay
from gateway.sandbox.fleet_statistics import (
    WORKPLACE_CHARGER_COUNT,
    WORKPLACE_DAYS,
    Floats,
    Ints,
    SessionStatistics,
)

SESSIONS_PER_CHARGER = {"home": 1.0, "public": 2.45}
"""Cars that come to a charger in a day of 24 hours; workplaces follow their recorded sessions."""
STATED_DEPARTURE_SHARE = 0.5
"""Share of drivers who say when they leave."""
STAY_ENERGY_CORRELATION = 0.6
"""The distributions are given one by one; how stay and energy go together is assumed."""
_LONGEST_STAY_H = 72.0
_SHORTEST_STAY_H = 0.2
_SMALLEST_ENERGY_KWH = 0.3
_SATURDAY = 5
_QUARTER_S = 900
_LABELS_PER_HOUR = 4
_LABELS_PER_DAY = 96


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrivals:
    """Cars in order of their arrival; shape (A,) each."""

    arrival_s: Ints
    """Whole minutes, in seconds since 1970 UTC."""
    stay_h: Floats
    """How long the car will really stay."""
    energy_kwh: Floats
    """What its driver would like to take."""
    stated_stay_h: Floats
    """The stay that the driver announces, often wrong; NaN when none is announced."""

    def take(self, rows: npt.NDArray[np.intp]) -> "Arrivals":
        """Return the cars at these positions."""
        return Arrivals(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


def draw_arrivals(
    day: DeliveryDay,
    site_class: str,
    charger_count: int,
    generator: np.random.Generator,
    statistics: SessionStatistics,
) -> Arrivals:
    """Draw the cars that come to a site on a day.

    Args:
        day: Day of the market; all arrivals lie inside it, at times that its local clock shows.
        site_class: `home`, `public` or `workplace`.
        charger_count: Cars come in proportion to it.
        generator: Seeded; it is advanced.
        statistics: What cars are drawn from.
    """
    draw = _draw_recorded if site_class == "workplace" else _draw_distributed
    cars = draw(day, site_class, charger_count, generator, statistics)
    return cars.take(np.argsort(cars.arrival_s, kind="stable"))


def quarter_labels(day: DeliveryDay) -> Ints:
    """Return what the local clock shows in each delivery period of the day, as a quarter-hour from 0 to 95.

    On a day of 25 hours four labels come twice, on one of 23 hours four are missing; shape (92,), (96,) or (100,).
    """
    zone = ZoneInfo(day.zone)
    local = [start.astimezone(zone) for start in day.grid().starts()]
    return np.array([at.hour * _LABELS_PER_HOUR + at.minute // 15 for at in local], dtype=np.int64)


def _draw_distributed(
    day: DeliveryDay,
    site_class: str,
    charger_count: int,
    generator: np.random.Generator,
    statistics: SessionStatistics,
) -> Arrivals:
    place = statistics.places[site_class]
    labels = quarter_labels(day)
    weights = (place.arrival_weekend if day.day.weekday() >= _SATURDAY else place.arrival_weekday)[labels]
    expected = SESSIONS_PER_CHARGER[site_class] * charger_count * weights.sum()
    slot = generator.choice(len(labels), size=generator.poisson(expected), p=weights / weights.sum())
    count, half_hour = len(slot), labels[slot] // 2
    stay_percent, energy_percent = _linked_percentiles(count, generator)
    percent = np.arange(101.0)
    stay_h = np.interp(stay_percent, percent, place.stay_h) * place.stay_factor[half_hour]
    stay_h = np.clip(stay_h, _SHORTEST_STAY_H, _LONGEST_STAY_H)
    energy_kwh = np.interp(energy_percent, percent, place.energy_kwh)
    announced = generator.random(count) < STATED_DEPARTURE_SHARE
    return Arrivals(
        arrival_s=_instants(day, slot, generator.integers(0, 15, count)),
        stay_h=stay_h,
        energy_kwh=np.maximum(energy_kwh * place.energy_factor[half_hour], _SMALLEST_ENERGY_KWH),
        stated_stay_h=np.where(announced, stay_h * _errors(statistics, count, generator), np.nan),
    )


def _draw_recorded(
    day: DeliveryDay,
    site_class: str,
    charger_count: int,
    generator: np.random.Generator,
    statistics: SessionStatistics,
) -> Arrivals:
    del site_class  # only workplaces are recorded
    recorded, weekday = statistics.workplace, day.day.weekday()
    pool = np.flatnonzero(recorded.weekday == weekday)
    expected = len(pool) / WORKPLACE_DAYS[weekday] * charger_count / WORKPLACE_CHARGER_COUNT
    row = generator.choice(pool, size=generator.poisson(expected))
    minute = recorded.arrival_minute[row]
    announced = generator.random(len(row)) < STATED_DEPARTURE_SHARE
    return Arrivals(
        arrival_s=_instants(day, _slots_showing(day, minute // 15, generator), minute % 15),
        stay_h=np.maximum(recorded.stay_min[row] / 60.0, _SHORTEST_STAY_H),
        energy_kwh=recorded.energy_kwh[row],
        stated_stay_h=np.where(announced, recorded.estimated_stay_min[row] / 60.0, np.nan),
    )


def _linked_percentiles(count: int, generator: np.random.Generator) -> tuple[Floats, Floats]:
    """Return percentiles of stay and energy, each uniform in 0 to 100, joined by a Gaussian copula: who stays long takes more."""
    stay, other = generator.standard_normal((2, count))
    energy = STAY_ENERGY_CORRELATION * stay + math.sqrt(1.0 - STAY_ENERGY_CORRELATION**2) * other
    return _normal_percentile(stay), _normal_percentile(energy)


def _normal_percentile(values: Floats) -> Floats:
    return np.array([50.0 * (1.0 + math.erf(value / math.sqrt(2.0))) for value in values.tolist()])


def _slots_showing(day: DeliveryDay, wanted: Ints, generator: np.random.Generator) -> Ints:
    """Return a delivery period of the day for each local quarter-hour.

    A quarter-hour that the clock skips is taken an hour later; of one that comes twice, either is as good.
    """
    slots_of: dict[int, list[int]] = {}
    for slot, label in enumerate(quarter_labels(day).tolist()):
        slots_of.setdefault(label, []).append(slot)
    slots = []
    for label in wanted.tolist():
        options = slots_of.get(label) or slots_of[(label + _LABELS_PER_HOUR) % _LABELS_PER_DAY]
        slots.append(options[int(generator.integers(len(options)))])
    return np.array(slots, dtype=np.int64)


def _instants(day: DeliveryDay, slot: Ints, minute: Ints) -> Ints:
    return np.asarray(int(day.interval.start.timestamp()) + slot * _QUARTER_S + minute * 60, dtype=np.int64)


def _errors(statistics: SessionStatistics, count: int, generator: np.random.Generator) -> Floats:
    """Return announced over real stay, as recorded: about a third of the drivers leave before what they announced."""
    recorded = statistics.workplace
    ratio = (recorded.estimated_stay_min / recorded.stay_min)[~np.isnan(recorded.estimated_stay_min)]
    return np.asarray(np.clip(generator.choice(ratio, size=count), 0.25, 3.0))
