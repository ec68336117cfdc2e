"""The hours between two gates as they came: cars charge, promises fall due, periods are delivered or missed."""

from dataclasses import dataclass

import numpy as np

from bidding.arrays import FloatArray
from bidding.backtest.charging import (
    PROMISE_TOLERANCE_KWH,
    Charged,
    ChargingCars,
    charge_tracking,
    charge_uncontrolled,
    remaining_sessions,
)
from bidding.backtest.flow import deliver
from bidding.backtest.knowledge import RealisedFleet
from bidding.backtest.results import Part


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Span:
    """From one gate to the next; slots are quarter-hours since 1970."""

    first: int
    midnight: int
    end: int
    after: int
    """Until here sessions are looked at by a dispatcher that knows them."""
    award_kwh: FloatArray
    """Bought per delivery period from `first` on, for as long as anything is bought."""
    slots_per_period: int

    @property
    def lasting_award_kwh(self) -> FloatArray:
        """The award until `end`."""
        return self.award_kwh[: (self.end - self.first) // self.slots_per_period]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Lived:
    """What came of a span."""

    evening: Part
    morning: Part
    cars: ChargingCars
    """All cars at the end."""


def live(
    fleet: RealisedFleet, cars: ChargingCars, span: Span, *, is_controlled: bool, knows: bool, price: FloatArray
) -> Lived:
    """Let the cars of a span come, charge and go.

    Args:
        fleet: The truth.
        cars: The same cars with what they have drawn.
        span: When, and what was bought.
        is_controlled: Whether cars follow the award.
        knows: Whether the dispatcher knows all sessions beforehand; otherwise it sees them come.
        price: Known prices per slot of the award; where excess goes when it is not avoidable.
    """
    rows = cars.touching(span.first, span.after if knows else span.end)
    present = cars.select(rows)
    if not is_controlled:
        charged = charge_uncontrolled(present, span.first, span.end)
    elif knows:
        charged = charge_knowing(present, span, price)
    else:
        charged = charge_tracking(present, span.first, span.lasting_award_kwh, span.slots_per_period)
    drawn = cars.drawn_kwh.copy()
    drawn[rows] = charged.cars.drawn_kwh
    guaranteed = fleet.is_guaranteed[rows]
    return Lived(
        evening=_part(charged, span, guaranteed, span.first, span.midnight),
        morning=_part(charged, span, guaranteed, span.midnight, span.end),
        cars=cars.with_drawn(drawn),
    )


def charge_knowing(cars: ChargingCars, span: Span, price: FloatArray) -> Charged:
    """Follow an award exactly as well as sessions that are all known allow, and carry it out until the span ends."""
    slot_count = span.after - span.first
    known, rows = remaining_sessions(cars, span.first, span.after)
    delivery = deliver(known, slot_count, span.award_kwh, span.slots_per_period, price)
    drawn = cars.drawn_kwh.copy()
    drawn[rows] += delivery.drawn_before(span.end - span.first, len(known))
    # Flows count whole watt-hours: what rounding put on top of a need is taken back.
    drawn = np.minimum(drawn, cars.energy_kwh)
    due = np.flatnonzero((cars.end > span.first) & (cars.end <= span.end))
    missed = due[drawn[due] < cars.energy_kwh[due] - PROMISE_TOLERANCE_KWH]
    return Charged(
        draw_kwh=delivery.draw_kwh[: span.end - span.first], cars=cars.with_drawn(drawn), due=due, missed=missed
    )


def _part(
    charged: Charged, span: Span, guaranteed: np.ndarray[tuple[int], np.dtype[np.bool_]], first: int, end: int
) -> Part:
    cars = charged.cars
    periods = slice((first - span.first) // span.slots_per_period, (end - span.first) // span.slots_per_period)
    drawn = charged.draw_kwh[first - span.first : end - span.first]
    in_part = (cars.believed_end > first) & (cars.believed_end <= end) & guaranteed
    gone = (cars.end > first) & (cars.end <= end)
    return Part(
        award_kwh=span.award_kwh[periods],
        delivered_kwh=drawn.reshape(-1, span.slots_per_period).sum(axis=1),
        promised_count=int(in_part[charged.due].sum()),
        missed_count=int(in_part[charged.missed].sum()),
        departed_count=int(gone.sum()),
        unserved_kwh=float(np.maximum(cars.energy_kwh - cars.drawn_kwh, 0.0)[gone].sum()),
    )
