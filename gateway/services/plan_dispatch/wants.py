"""What the cars want now: power, minimum, who comes first, who cannot wait.

Laxity is the slack of a car in slots of 15 minutes: time until it leaves minus the time it needs at full rate. A car whose driver was
promised energy must run, whatever the schedule says, but never beyond a limit, once little slack is left: one slot, and a quarter
of the time it needs, because cars take less than their rate when they are nearly full. A driver who asked for a guarantee does not
wait for a cheap or green hour, and one who asked for a boost runs now; limits hold for all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from gateway.domain.fleet import FleetView
from gateway.domain.timegrid import Interval
from gateway.domain.units import QUARTER_HOUR

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

QUANTUM_KW = 0.01
"""Set points are whole multiples of this, rounded down."""
_ENOUGH_KWH = 0.05
_SLOT_S = QUARTER_HOUR.total_seconds()
_MOST_LAXITY = 96.0
TAPER_SHARE = 0.25
"""Of the time at full rate: so much longer may a car take that slows down near full."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Wants:
    """What each charger wants, shape (C,) each."""

    wanted_kw: FloatArray
    min_kw: FloatArray
    """Smallest command at which it charges."""
    laxity: FloatArray
    """Slack in slots; infinite without a car."""
    must_run: BoolArray


class IdleCars:
    """Cars that took nothing although they might: full, or not ready. They come last until they are asked again."""

    def __init__(self, ask_again: timedelta, ask_urgent: timedelta) -> None:
        """Remember for how long a car is believed to go on taking nothing; one that must run now for a shorter time."""
        self._ask_again_s = ask_again.total_seconds()
        self._ask_urgent_s = ask_urgent.total_seconds()
        self._arrival = np.zeros(0)
        self._since = np.zeros(0)

    def shift(self, seconds: float) -> None:
        """Move every instant with a clock that was set by so many seconds."""
        self._since += seconds

    def of(self, view: FleetView, takes_nothing: BoolArray, must_run: BoolArray, now: float) -> BoolArray:
        """Return which cars come last now, shape (C,).

        Args:
            view: The fleet; a car is known by its arrival.
            takes_nothing: Whose draw has been nothing for long, with a limit at which they could charge.
            must_run: Who must run: a promise is not forgotten because the car was not ready earlier.
            now: Seconds of the clock.
        """
        if len(self._arrival) != len(view.arrival):
            self._arrival, self._since = np.full(len(view.arrival), np.nan), np.full(len(view.arrival), -np.inf)
        since = np.where(self._arrival == view.arrival, self._since, -np.inf)
        wait = np.where(must_run, self._ask_urgent_s, self._ask_again_s)
        self._since = np.where(takes_nothing & (now >= since + wait), now, since)
        self._arrival = view.arrival.copy()
        return np.asarray(view.has_session & (now < self._since + wait))


class Departures:
    """When cars are believed to leave; a belief is kept until it has passed or the car has gone."""

    def __init__(self, believe: Callable[[str, datetime, datetime], datetime]) -> None:
        """Remember whom to ask."""
        self._believe = believe
        self._arrival = np.zeros(0)
        self._leaves_at = np.zeros(0)

    def of(self, view: FleetView, now: datetime) -> FloatArray:
        """Return when each car leaves, as the driver said or as believed; infinite without a car."""
        if len(self._arrival) != len(view.arrival):
            self._arrival = np.full(len(view.arrival), np.nan)
            self._leaves_at = np.full(len(view.arrival), -np.inf)
        unsaid = view.has_session & np.isnan(view.expected_departure)
        # A car is known by its arrival.
        is_unknown = unsaid & ((self._arrival != view.arrival) | (self._leaves_at <= now.timestamp()))
        for i in np.flatnonzero(is_unknown).tolist():
            arrival = datetime.fromtimestamp(float(view.arrival[i]), UTC)
            self._arrival[i] = view.arrival[i]
            self._leaves_at[i] = self._believe(view.site_class(i), arrival, now).timestamp()
        said = np.where(view.has_session, view.expected_departure, np.inf)
        return np.where(unsaid, self._leaves_at, said)


def read_wants(view: FleetView, leaves_at: FloatArray, believed_energy_kwh: float, now: float) -> Wants:
    """Return what the cars want now.

    Args:
        view: The fleet.
        leaves_at: When each car leaves, seconds since 1970-01-01 UTC.
        believed_energy_kwh: What a car needs whose driver said nothing.
        now: Seconds of the clock.
    """
    is_said = ~np.isnan(view.energy_needed_kwh)
    is_boosted, is_guaranteed = _wishes(view)
    # Only a driver who said how much and until when was promised anything; a belief alone never overrides a schedule.
    is_promised = is_said & ~np.isnan(view.expected_departure)
    left_kwh = needed_kwh(view, believed_energy_kwh)
    # A driver who said nothing may want more than we believe: the car says when it is full.
    wants = view.has_session & ((left_kwh > _ENOUGH_KWH) | ~is_said)
    rate = np.where(wants, view.session_max_kw, 0.0)
    slots_needed = np.divide(left_kwh * 3600.0 / _SLOT_S, rate, out=np.zeros_like(rate), where=rate > 0.0)
    slots_left = np.where(wants, (leaves_at - now) / _SLOT_S, np.inf)
    laxity = slots_left - slots_needed
    wanted = floor_to_quantum(rate)
    lowest = np.minimum(command_minimum(view.min_kw), np.maximum(wanted, view.min_kw))
    return Wants(
        wanted_kw=wanted,
        min_kw=lowest,
        laxity=laxity,
        must_run=wants
        & (
            is_boosted
            | (is_promised & (left_kwh > _ENOUGH_KWH) & (is_guaranteed | (laxity < 1.0 + TAPER_SHARE * slots_needed)))
        ),
    )


def needed_kwh(view: FleetView, believed_energy_kwh: float) -> FloatArray:
    """Return what each car still needs, shape (C,): as its driver said, else as its battery or a belief says; 0 without a car."""
    needed = view.energy_needed_kwh
    needed = np.where(np.isnan(needed), _believed_kwh(view, believed_energy_kwh), needed)
    return np.where(view.has_session, np.maximum(needed - view.delivered_kwh, 0.0), 0.0)


def _believed_kwh(view: FleetView, believed_energy_kwh: float) -> FloatArray:
    """Return what cars need whose drivers said nothing, shape (C,): what is missing in a battery that is known, else as believed."""
    if view.data is None:
        return np.full(len(view.max_kw), believed_energy_kwh)
    missing = view.delivered_kwh + (1.0 - view.data.state_of_charge) * view.data.battery_kwh
    return np.where(np.isnan(missing), believed_energy_kwh, missing)


def _wishes(view: FleetView) -> tuple[BoolArray, BoolArray]:
    """Return whose driver wants full power now and whose wants to be full in time whatever it costs, shape (C,) each."""
    if view.data is None:
        nobody = np.zeros(len(view.max_kw), dtype=bool)
        return nobody, nobody
    return view.data.is_boosted, view.data.is_guaranteed


def promised_power_kw(view: FleetView, span: Interval, now: float) -> FloatArray:
    """Return the mean power in kW that each car must draw within a span to get what its driver was promised, shape (C,).

    What it can draw at full rate before the span and between the span and its departure need not be drawn within. An open end
    counts as the departure.

    Args:
        view: The fleet.
        span: The time asked about.
        now: Seconds of the clock.
    """
    start = max(span.start.timestamp(), now)
    # A car whose departure nobody told was promised nothing: it counts as gone.
    leaves_at = np.nan_to_num(view.expected_departure, nan=start)
    end = leaves_at if span.end is None else np.full(len(leaves_at), max(span.end.timestamp(), start))
    is_promised = view.has_session & ~np.isnan(view.energy_needed_kwh) & (leaves_at > start)
    left_kwh = np.where(is_promised, np.maximum(np.nan_to_num(view.energy_needed_kwh) - view.delivered_kwh, 0.0), 0.0)
    outside_s = (start - now) + np.maximum(leaves_at - end, 0.0)
    inside_s = np.minimum(leaves_at, end) - start
    inside_kwh = np.maximum(left_kwh - view.session_max_kw * np.where(is_promised, outside_s, 0.0) / 3600.0, 0.0)
    hours = np.where(is_promised, np.maximum(inside_s, 1.0), 1.0) / 3600.0
    return np.where(is_promised, np.minimum(inside_kwh / hours, view.session_max_kw), 0.0)


def priority_of(laxity: FloatArray, turns: FloatArray | BoolArray) -> FloatArray:
    """Return who comes first when not all can charge: the least slack, with a bonus in slots for who charges or has waited."""
    return -np.clip(laxity, -_MOST_LAXITY, _MOST_LAXITY) + turns


def sleeper_bonus(view: FleetView, in_force_kw: FloatArray) -> FloatArray:
    """Return a bonus that puts cars which would not wake up after a pause before all others while they charge, shape (C,)."""
    if view.tree.wiring is None:
        return np.zeros(len(in_force_kw))
    return np.where(~view.tree.wiring.wakes_after_pause & (in_force_kw > 0.0), 2.0 * _MOST_LAXITY, 0.0)


def weight_of(laxity: FloatArray) -> FloatArray:
    """Return each car's share above its minimum: more for less slack, 1 to about 1/100."""
    return np.asarray(1.0 / (1.0 + np.clip(laxity, 0.0, _MOST_LAXITY)))


def floor_to_quantum(power_kw: FloatArray) -> FloatArray:
    """Return powers rounded down to whole quanta; what lies on one up to rounding errors stays on it."""
    return np.asarray(np.floor(power_kw / QUANTUM_KW + 1e-6) * QUANTUM_KW)


def command_minimum(min_kw: FloatArray) -> FloatArray:
    """Return the smallest whole quanta that are still at least the minimum after a trip over the wire in 32-bit floats."""
    count = np.ceil(min_kw / QUANTUM_KW - 1e-6)
    is_short = (count * QUANTUM_KW).astype(np.float32) < min_kw
    return np.asarray((count + is_short) * QUANTUM_KW)
