"""Cars at chargers as a simulation sees them: what is true of each, and what is believed.

Three ways to charge: uncontrolled; by the causal rule of a dispatcher, which sees one quarter-hour at a time and believes
what drivers said or what like cars did; and exactly, when the sessions of the whole day are known (`flow`).
"""

from dataclasses import dataclass, field, replace

import numpy as np

from bidding.arrays import FloatArray, IntArray
from bidding.fleet.sessions import SessionArrays

DRAWN_TOLERANCE_KWH = 1e-9
"""A car that lacks less than this is full."""
PROMISE_TOLERANCE_KWH = 2e-3
"""A promise kept to two watt-hours is kept: exact deliveries count whole watt-hours."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ChargingCars:
    """Cars in columns; slots are quarter-hours since 1970."""

    first: IntArray
    """First slot in which the car can charge."""
    end: IntArray
    """First slot in which it really cannot any more; a causal dispatcher learns it when it comes."""
    rate_kwh: FloatArray
    """Most per slot."""
    energy_kwh: FloatArray
    """What the car takes when nobody limits it; a dispatcher sees only whether it still asks for more."""
    believed_end: IntArray
    """When it is believed to leave: the energy is there before."""
    believed_kwh: FloatArray
    """What it is believed to need."""
    drawn_kwh: FloatArray
    """What it has drawn so far."""
    row: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """Row of each car in the recording; empty for forecast ones."""

    def __len__(self) -> int:
        return len(self.first)

    def select(self, rows: IntArray) -> "ChargingCars":
        """Return the cars at these positions."""
        return ChargingCars(
            first=self.first[rows],
            end=self.end[rows],
            rate_kwh=self.rate_kwh[rows],
            energy_kwh=self.energy_kwh[rows],
            believed_end=self.believed_end[rows],
            believed_kwh=self.believed_kwh[rows],
            drawn_kwh=self.drawn_kwh[rows],
            row=self.row[rows] if len(self.row) else self.row,
        )

    def with_drawn(self, drawn_kwh: FloatArray) -> "ChargingCars":
        """Return the same cars after they have drawn this much."""
        return replace(self, drawn_kwh=drawn_kwh)

    def touching(self, first: int, end: int) -> IntArray:
        """Return the positions of the cars that can charge in some slot of `[first, end)`."""
        return np.flatnonzero((self.first < end) & (self.end > first))


def cars_of(sessions: SessionArrays, origin: int) -> ChargingCars:
    """Return believed sessions as cars that do what is believed.

    Args:
        sessions: Windows in slots of a grid.
        origin: Slot since 1970 at which the grid begins.
    """
    return ChargingCars(
        first=sessions.arrival_slot + origin,
        end=sessions.departure_slot + origin,
        rate_kwh=sessions.rate_kwh_per_slot,
        energy_kwh=sessions.energy_min_kwh,
        believed_end=sessions.departure_slot + origin,
        believed_kwh=sessions.energy_min_kwh,
        drawn_kwh=np.zeros(len(sessions)),
    )


def join_cars(one: ChargingCars, other: ChargingCars) -> ChargingCars:
    """Return the cars of both; they are in no recording any more."""
    names = ("first", "end", "rate_kwh", "energy_kwh", "believed_end", "believed_kwh", "drawn_kwh")
    columns = {name: np.concatenate([getattr(one, name), getattr(other, name)]) for name in names}
    return ChargingCars(**columns)


def remaining_sessions(cars: ChargingCars, first: int, end: int) -> tuple[SessionArrays, IntArray]:
    """Return what cars still need from a slot on, as far as anybody believes, in slots counted from it; and which cars.

    A car that overstays, or whose believed stay is too short for its need, is planned at full rate from the first slot on.
    Need that does not fit before `end` is not planned.
    """
    need = believed_need(cars)
    slots_needed = np.ceil(need / cars.rate_kwh - DRAWN_TOLERANCE_KWH).astype(np.int64)
    arrival = np.maximum(cars.first, first)
    departure = np.minimum(np.maximum(cars.believed_end, arrival + slots_needed), end)
    rows = np.flatnonzero((need > DRAWN_TOLERANCE_KWH) & (departure > arrival) & (cars.end > first))
    window = (departure - arrival)[rows]
    energy = np.minimum(need[rows], cars.rate_kwh[rows] * window)
    sessions = SessionArrays(
        arrival_slot=arrival[rows] - first,
        departure_slot=departure[rows] - first,
        rate_kwh_per_slot=cars.rate_kwh[rows],
        energy_min_kwh=energy,
        energy_max_kwh=energy,
    )
    return sessions, rows


def believed_need(cars: ChargingCars) -> FloatArray:
    """Return what each car is believed to need still; a car that asks for more than was believed: one slot at full rate."""
    need = np.maximum(cars.believed_kwh - cars.drawn_kwh, 0.0)
    asks = cars.energy_kwh - cars.drawn_kwh > DRAWN_TOLERANCE_KWH
    still: FloatArray = np.where(asks, np.where(need > DRAWN_TOLERANCE_KWH, need, cars.rate_kwh), 0.0)
    return still


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Charged:
    """What happened in a span of slots."""

    draw_kwh: FloatArray
    """Per slot."""
    cars: ChargingCars
    """The same cars, in the same order, afterwards."""
    due: IntArray
    """Positions of cars that were still there when their believed departure came: what was promised fell due."""
    missed: IntArray
    """Those of them that then had less than they were believed to need, could take, and could have got at full rate."""


def charge_uncontrolled(cars: ChargingCars, first: int, end: int) -> Charged:
    """Let every car charge at full rate in the slots `[first, end)` from plug-in until it is full."""
    drawn = cars.drawn_kwh.copy()
    total = np.zeros(end - first)
    promises = _Promises(cars)
    for slot in range(first, end):
        here = np.flatnonzero((cars.first <= slot) & (slot < cars.end))
        draw = np.minimum(cars.rate_kwh[here], cars.energy_kwh[here] - drawn[here])
        drawn[here] += draw
        total[slot - first] = draw.sum()
        promises.close(slot, here, drawn)
    return promises.charged(total, drawn)


def charge_tracking(cars: ChargingCars, first: int, award_kwh: FloatArray, slots_per_period: int) -> Charged:
    """Follow an award one quarter-hour at a time, with every believed departure kept.

    In each slot the draw is as close to what the award leaves for it as is possible without missing a departure: every car
    gets at least what it must have now (need beyond full rate in its remaining slots), the rest goes by least laxity. Real
    departures and energies come to light only as cars leave or stop asking.

    Args:
        cars: The cars; those that are believed to need nothing more but still ask are served before they leave.
        first: First slot.
        award_kwh: What was bought per delivery period from `first` on; periods begin at `first`.
        slots_per_period: Quarter-hours in a period.
    """
    drawn = cars.drawn_kwh.copy()
    promises = _Promises(cars)
    total = np.zeros(len(award_kwh) * slots_per_period)
    for number in range(len(total)):
        period, place = divmod(number, slots_per_period)
        so_far = total[number - place : number].sum()
        target = max(award_kwh[period] - so_far, 0.0) / (slots_per_period - place)
        slot = first + number
        here = np.flatnonzero((cars.first <= slot) & (slot < cars.end))
        present = cars.with_drawn(drawn).select(here)
        draw = np.minimum(_tick(present, slot, target), present.energy_kwh - present.drawn_kwh)
        drawn[here] += draw
        total[number] = draw.sum()
        promises.close(slot, here, drawn)
    return promises.charged(total, drawn)


class _Promises:
    """Looks at every car when the slot before its believed departure has passed."""

    def __init__(self, cars: ChargingCars) -> None:
        self._cars = cars
        reachable = cars.rate_kwh * (cars.believed_end - cars.first)
        self._promised = np.minimum(np.minimum(cars.believed_kwh, cars.energy_kwh), reachable)
        self._due: list[IntArray] = []
        self._missed: list[IntArray] = []

    def close(self, slot: int, here: IntArray, drawn: FloatArray) -> None:
        due = here[self._cars.believed_end[here] == slot + 1]
        self._due.append(due)
        self._missed.append(due[drawn[due] < self._promised[due] - PROMISE_TOLERANCE_KWH])

    def charged(self, total: FloatArray, drawn: FloatArray) -> Charged:
        none = np.zeros(0, dtype=np.int64)
        return Charged(
            draw_kwh=total,
            cars=self._cars.with_drawn(drawn),
            due=np.concatenate([none, *self._due]),
            missed=np.concatenate([none, *self._missed]),
        )


def _tick(cars: ChargingCars, slot: int, target_kwh: float) -> FloatArray:
    """Return the draw of cars that are all there: the must-run part, and by least laxity up to the target."""
    need = believed_need(cars)
    left = np.maximum(cars.believed_end - slot, 1)
    most = np.minimum(cars.rate_kwh, need)
    draw: FloatArray = np.minimum(np.maximum(need - cars.rate_kwh * (left - 1), 0.0), most)
    wanted = target_kwh - draw.sum()
    if wanted > 0.0:
        order = np.argsort(left - need / cars.rate_kwh, kind="stable")
        room = (most - draw)[order]
        before = np.cumsum(room) - room
        draw[order] += np.clip(wanted - before, 0.0, room)
    return draw
