"""Forecasts of sessions from earlier days only: who will come, how long they stay, how much they take.

Whole past days of the same type are drawn, so that what belongs together (arrivals, stays, energies, sites) stays together.
Nothing that ended after `known_until` may go in; a history that holds such a session is refused, because a forecast that saw
the future looks better than it is.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import lru_cache

import numpy as np

from bidding.arrays import BoolArray, FloatArray, IntArray, finite_vector, integer_vector, require_each, same_length
from bidding.civil_day import HOUR_S, CivilDay, DayType, day_type, wall_times
from bidding.fleet.sessions import SessionArrays, join_sessions
from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import DeliveryDay, TimeGrid, require_utc

DEFAULT_WEEKS = 8
DEFAULT_DAYS = 10
HALF_LIFE_WEEKS = 4.0
SETTLED_AFTER = timedelta(hours=10)
"""A past day is used once it has been over for so long: earlier, its overnight sessions are still missing."""
EARLY_DEPARTURE_QUANTILE = 0.1
"""Cars whose drivers said nothing are planned, and served, as if they left when one in ten like them had left."""
MIN_SAMPLES = 20
ARRIVAL_BLOCK_HOURS = 3
_QUARTER_S = 900


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SessionHistory:
    """Ended sessions in columns, in any order; times are seconds since 1970-01-01 UTC."""

    covered_since: datetime
    """From here on every ended session is in the history: a day without sessions was a quiet day, not a missing one."""
    arrival_s: IntArray
    departure_s: IntArray
    power_kw: FloatArray
    """Most that car and charger drew, above 0."""
    energy_kwh: FloatArray
    """What was charged."""
    site_index: IntArray
    """Connection point."""
    told_departure: BoolArray | None = None
    """Whether the driver had said until when; None when that is not known of any."""

    def __post_init__(self) -> None:
        """Check every column and make it read-only."""
        require_utc("history.covered_since", self.covered_since)
        for name in ("arrival_s", "departure_s", "site_index"):
            object.__setattr__(self, name, integer_vector(f"history.{name}", getattr(self, name)))
        for name in ("power_kw", "energy_kwh"):
            object.__setattr__(self, name, finite_vector(f"history.{name}", getattr(self, name)))
        names = ("arrival_s", "departure_s", "power_kw", "energy_kwh", "site_index")
        columns = [(f"history.{name}", len(getattr(self, name))) for name in names]
        if self.told_departure is not None:
            columns.append(("history.told_departure", len(self.told_departure)))
        same_length(columns)
        require_each("history.departure_s", self.departure_s > self.arrival_s, "must be after arrival_s")
        require_each("history.power_kw", self.power_kw > 0.0, "must be above 0")
        require_each("history.energy_kwh", self.energy_kwh >= 0.0, "must be at least 0")

    def __len__(self) -> int:
        return len(self.arrival_s)

    def require_known(self, known_until: datetime) -> None:
        """Refuse a history that knows the future.

        Raises:
            InvalidInput: A session ended after `known_until`; its index is in the field.
        """
        until_s = require_utc("known_until", known_until).timestamp()
        require_each("history.departure_s", self.departure_s <= until_s, "is after known_until")


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceDay:
    """A past day that stands for a day to come, and how much it counts."""

    day: date
    weight: float


@dataclass(frozen=True, kw_only=True, slots=True)
class DaySource:
    """Where the forecast of one day came from."""

    target: date
    days: tuple[SourceDay, ...]
    """Weights sum to one."""
    is_same_type: bool
    """False when no day of the target's type was in the past and other days had to do."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SessionForecast:
    """Sessions to come, and which past days they are made of."""

    sessions: SessionArrays
    """Windows in slots of the planning grid; they may exceed it."""
    sources: tuple[DaySource, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ForecastFrame:
    """For when, in which time zone and with which knowledge a forecast is made."""

    grid: TimeGrid
    zone: str
    """IANA time zone of the people who charge."""
    known_until: datetime
    """Nothing that ended later goes in, no session that arrives earlier comes out: those cars are known."""
    weeks: int = DEFAULT_WEEKS
    """How far back past days are looked for."""
    day_limit: int = DEFAULT_DAYS
    """How many past days stand for one to come, the latest ones; each adds its sessions to the average."""
    holidays: AbstractSet[date] = frozenset()


def expected_sessions(history: SessionHistory, frame: ForecastFrame) -> SessionForecast:
    """Return the average of all matching past days: each day's sessions, scaled to the day's weight.

    What a fleet can do adds up and scales exactly, so the average of ten days is the fleet of all their sessions at a tenth
    of rate and energy. There is no random number in it.

    Raises:
        InvalidInput: The history knows the future, or holds no complete day before `known_until`.
    """
    return _forecast(history, frame, lambda source: source.days)


def draw_sessions(history: SessionHistory, frame: ForecastFrame, generator: np.random.Generator) -> SessionForecast:
    """Return one scenario: for each day to come one whole past day, drawn by weight.

    Raises:
        InvalidInput: The history knows the future, or holds no complete day before `known_until`.
    """

    def one_of(source: DaySource) -> tuple[SourceDay, ...]:
        chosen = generator.choice(len(source.days), p=[day.weight for day in source.days])
        return (SourceDay(day=source.days[int(chosen)].day, weight=1.0),)

    return _forecast(history, frame, one_of)


def find_sources(history: SessionHistory, frame: ForecastFrame, target: date) -> DaySource:
    """Return the past days that stand for a day, newest first, weighted by recency (half as much every four weeks).

    Raises:
        InvalidInput: The history holds no complete day before `known_until`.
    """
    past = _complete_days(history, frame)
    if not past:
        raise InvalidInput("history", "holds no complete day before known_until")
    wanted = day_type(target, frame.holidays)
    types = {day: day_type(day, frame.holidays) for day in past}
    alike = [day for day in past if types[day] is wanted]
    weekend = [day for day in past if wanted is not DayType.WEEKDAY and types[day] is not DayType.WEEKDAY]
    chosen = (alike or weekend or past)[: frame.day_limit]
    weights = np.array([0.5 ** ((target - day).days / 7.0 / HALF_LIFE_WEEKS) for day in chosen])
    weights /= weights.sum()
    days = tuple(SourceDay(day=day, weight=float(weight)) for day, weight in zip(chosen, weights, strict=True))
    return DaySource(target=target, days=days, is_same_type=bool(alike))


def _complete_days(history: SessionHistory, frame: ForecastFrame) -> list[date]:
    """Return the days that are wholly in the history, over for long enough, and not too old; newest first."""
    newest = DeliveryDay.containing(frame.known_until - SETTLED_AFTER, frame.zone).next(-1)
    found = []
    for age in range(7 * frame.weeks):
        day = newest.next(-age)
        if day.interval.start < history.covered_since:
            break
        found.append(day.day)
    return found


def _forecast(
    history: SessionHistory, frame: ForecastFrame, pick: Callable[[DaySource], Sequence[SourceDay]]
) -> SessionForecast:
    history.require_known(frame.known_until)
    day = DeliveryDay.containing(frame.grid.start, frame.zone)
    sources: list[DaySource] = []
    parts: list[SessionArrays] = []
    while day.interval.start < frame.grid.end:
        source = find_sources(history, frame, day.day)
        picked = tuple(pick(source))
        sources.append(DaySource(target=source.target, days=picked, is_same_type=source.is_same_type))
        parts += [moved_sessions(history, frame, one, day) for one in picked]
        day = day.next()
    return SessionForecast(sessions=join_sessions(parts), sources=tuple(sources))


def moved_sessions(
    history: SessionHistory, frame: ForecastFrame, source: SourceDay, target: DeliveryDay
) -> SessionArrays:
    """Return the sessions that arrived on a past day, moved to the same wall clock of another day and scaled.

    Arrivals round down and departures up to slots, so that what was charged in the past still fits.
    """
    before, after = CivilDay.of(DeliveryDay(day=source.day, zone=frame.zone)), CivilDay.of(target)
    elapsed = history.arrival_s - before.start_s
    rows = np.flatnonzero((elapsed >= 0) & (elapsed < before.length_s))
    arrival = after.start_s + after.elapsed_of(before.wall_of(elapsed[rows]))
    rows = rows[arrival >= frame.known_until.timestamp()]
    arrival = arrival[arrival >= frame.known_until.timestamp()]
    departure = arrival + history.departure_s[rows] - history.arrival_s[rows]
    origin, step_s = int(frame.grid.start.timestamp()), int(frame.grid.step.total_seconds())
    first = (arrival - origin) // step_s
    last = -((origin - departure) // step_s)
    inside = (first < frame.grid.count) & (last > 0)
    rows, first, last = rows[inside], first[inside], last[inside]
    energy = history.energy_kwh[rows] * source.weight
    return SessionArrays(
        arrival_slot=first,
        departure_slot=last,
        rate_kwh_per_slot=history.power_kw[rows] * frame.grid.step_hours * source.weight,
        energy_min_kwh=energy,
        energy_max_kwh=energy,
        site_index=history.site_index[rows],
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Sample:
    """Stays and energies that were seen under one condition."""

    stay_s: FloatArray
    """In order."""
    energy_kwh: FloatArray


# Class of the site, part of the week, block of the day; (class,) and () are the wider conditions.
Condition = tuple[str, ...]


class LearnedStays:
    """What earlier sessions teach about a car that is there now but told us nothing.

    Learned per class of site (home, work, public...), part of the week and time of arrival; with fewer than 20 samples the
    class alone decides, then everything.
    """

    def __init__(self, zone: str, samples: Mapping[Condition, _Sample]) -> None:
        self._zone = zone
        self._samples = dict(samples)

    @classmethod
    def learn(
        cls, history: SessionHistory, site_classes: Sequence[str], *, zone: str, known_until: datetime
    ) -> "LearnedStays":
        """Return what the history teaches.

        Args:
            history: Ended sessions.
            site_classes: Class of each `site_index`.
            zone: IANA time zone of the people who charge.
            known_until: Nothing that ended later may be in the history.

        Raises:
            InvalidInput: The history is empty, knows the future, or has a site without a class.
        """
        history.require_known(known_until)
        if not len(history):
            raise InvalidInput("history", "must have at least one session")
        inside = (history.site_index >= 0) & (history.site_index < len(site_classes))
        require_each("history.site_index", inside, "has no class in site_classes")
        rows: dict[Condition, list[int]] = defaultdict(list)
        for row, condition in enumerate(_conditions(history.arrival_s, history.site_index, site_classes, zone)):
            for known in (condition, condition[:1], ()):
                rows[known].append(row)
        return cls(zone, {condition: _sample(history, np.array(members)) for condition, members in rows.items()})

    def believe_departure(
        self, site_class: str, arrival: datetime, quantile: float, *, still_there_at: datetime | None = None
    ) -> datetime:
        """Return when a car is believed to leave.

        Args:
            site_class: Class of its site.
            arrival: When it came.
            quantile: Share of like cars that left earlier; 0.1 plans for an early departure.
            still_there_at: An instant at which it was seen plugged in: only stays longer than that count. None when
                nothing is known but the arrival.

        Returns:
            The believed departure; `still_there_at` itself when no car ever stayed so long.
        """
        stays = self._sample_of(site_class, arrival).stay_s
        if still_there_at is not None:
            stays = stays[np.searchsorted(stays, (still_there_at - arrival).total_seconds(), side="right") :]
            if not stays.size:
                return still_there_at
        return arrival + timedelta(seconds=_quantile_of_ordered(stays, quantile))

    def believe_energy(
        self, site_class: str, arrival: datetime, quantile: float, *, delivered_kwh: float = 0.0
    ) -> float:
        """Return how much a car is believed to take in total, in kWh; what it already took when none ever took more."""
        energies = self._sample_of(site_class, arrival).energy_kwh
        energies = energies[energies >= delivered_kwh]
        return _quantile(energies, quantile) if energies.size else delivered_kwh

    def without_promises(self, history: SessionHistory, site_classes: Sequence[str], quantile: float) -> SessionHistory:
        """Return a past in which nobody counts on a car to stay longer than was to be expected of it.

        A past day shows how long each car stayed; on the day nobody knows that of a car whose driver says nothing. Such a
        session ends here where the given share of cars like it had left, or as soon as it could have had its energy, if that
        is later; never later than it did. What is planned from this past finds its cars.

        Args:
            history: Ended sessions; returned as they are when nothing is known of what drivers said.
            site_classes: Class of each `site_index`.
            quantile: Share of like cars that left earlier than is believed.
        """
        if history.told_departure is None or not len(history):
            return history
        believed = {}
        early_s = np.empty(len(history))
        for row, condition in enumerate(_conditions(history.arrival_s, history.site_index, site_classes, self._zone)):
            if condition not in believed:
                stays = self._sample_under(condition).stay_s
                believed[condition] = _quantile_of_ordered(stays, quantile)
            early_s[row] = believed[condition]
        charge_s = history.energy_kwh / history.power_kw * HOUR_S
        stay_s = (history.departure_s - history.arrival_s).astype(np.float64)
        counted_s = np.where(history.told_departure, stay_s, np.minimum(stay_s, np.maximum(early_s, charge_s)))
        departure_s = history.arrival_s + np.maximum(np.ceil(counted_s), 1.0).astype(np.int64)
        return replace(history, departure_s=departure_s)

    def _sample_of(self, site_class: str, arrival: datetime) -> _Sample:
        quarter = int(require_utc("arrival", arrival).timestamp()) // _QUARTER_S
        return self._sample_under(_condition(site_class, quarter, self._zone))

    def _sample_under(self, condition: Condition) -> _Sample:
        for known in (condition, condition[:1]):
            sample = self._samples.get(known)
            if sample is not None and len(sample.stay_s) >= MIN_SAMPLES:
                return sample
        return self._samples[()]


@lru_cache(maxsize=4_096)
def _condition(site_class: str, quarter: int, zone: str) -> Condition:
    """Return the condition of an arrival within a quarter-hour, counted from 1970-01-01 UTC; clocks change between two of them."""
    arrival_s = np.array([quarter * _QUARTER_S])
    (condition,) = _conditions(arrival_s, np.zeros(1, dtype=np.int64), (site_class,), zone)
    return condition


def _conditions(
    arrival_s: IntArray, site_index: IntArray, site_classes: Sequence[str], zone: str
) -> Iterator[Condition]:
    times = wall_times(arrival_s, zone)
    weeks = ["weekday" if one is DayType.WEEKDAY else "weekend" for one in times.types]
    blocks = times.wall_s // (ARRIVAL_BLOCK_HOURS * HOUR_S)
    for site, day, block in zip(site_index.tolist(), times.day.tolist(), blocks.tolist(), strict=True):
        yield (site_classes[site], weeks[day], str(block))


def _sample(history: SessionHistory, rows: IntArray) -> _Sample:
    stay_s = np.sort((history.departure_s - history.arrival_s)[rows]).astype(np.float64)
    return _Sample(stay_s=stay_s, energy_kwh=history.energy_kwh[rows])


def _quantile_of_ordered(values: FloatArray, quantile: float) -> float:
    """Return what `_quantile` does of values in order, without looking at all of them: cars by the thousand ask at once."""
    if not 0.0 <= quantile <= 1.0:
        raise InvalidInput("quantile", "must be 0 to 1")
    place = quantile * (len(values) - 1)
    below = int(place)
    low, high = float(values[below]), float(values[min(below + 1, len(values) - 1)])
    return low + (high - low) * (place - below)


def _quantile(values: FloatArray, quantile: float) -> float:
    if not 0.0 <= quantile <= 1.0:
        raise InvalidInput("quantile", "must be 0 to 1")
    return float(np.quantile(values, quantile))
