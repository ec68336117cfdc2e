"""Chargers and the cars on them, in arrays: what each may draw, what it draws, and its energy register.

One call of `step` is one minute for all chargers. Within it a command may come into force or a lease may run out:

```
 t                    change                              t + 60 s
 |--- power as before ---|~ ramp ~|--- power as wanted now ---|     the register gets the whole area
```

A charger without a lease in force does what its fallback says, on its own. A command below the least charging power pauses;
between the least power on one phase and the least on all phases the charger switches to one phase.
"""

from dataclasses import dataclass, fields
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from gateway.domain.topology import Charger
from gateway.domain.units import MIN_CHARGING_CURRENT_A, ac_power_kw
from gateway.sandbox.fleet_sessions import SessionTable, taper_share
from gateway.sandbox.fleet_statistics import Floats, Ints

STEP_S = 60
RAMP_KW_PER_S = 3.0
_NEVER_S = np.inf
_ROUNDING_KW = 0.005
"""Powers arrive as 32-bit floats: 1.38 kW must not count as less than 1.38 kW."""
_DONE_KWH = 1e-6

Bools = npt.NDArray[np.bool_]


class Obedience(IntEnum):
    """How a charger treats commands; integers because they live in arrays."""

    OBEYS = 0
    NOT_FOLLOWING = 1
    """Accepts, and draws what the car wants."""
    REJECTING = 2
    """Refuses every command, and draws what the car wants."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EndedSessions:
    """Cars that left, with what they got; shape (S,) each."""

    sessions: SessionTable
    delivered_kwh: Floats


class ChargerBank:
    """The state of all chargers of a platform; arrays have shape (C,) in the order of `chargers`.

    Attributes:
        cars: What is plugged in, one row per charger; meaningful where `occupied`.
        occupied: Whether a car is there.
        delivered_kwh: What the car that is there has got.
        power_kw: Power at the end of the last step.
        register_kwh: Energy since the charger was installed.
        limit_kw: Bound of the last command that came into force.
        sequence: Sequence of the last command that was accepted; 0 before the first.
        obedience: `Obedience` values.
    """

    def __init__(self, chargers: tuple[Charger, ...], generator: np.random.Generator) -> None:
        count = len(chargers)
        self.min_kw = np.array([charger.min_import_kw for charger in chargers])
        self.max_kw = np.array([charger.max_import_kw for charger in chargers])
        self.cars = _empty_cars(count)
        self.occupied = np.zeros(count, dtype=bool)
        self.delivered_kwh = np.zeros(count)
        self.power_kw = np.zeros(count)
        self.register_kwh = np.round(generator.uniform(500.0, 20_000.0, count), 3)
        self.limit_kw = np.zeros(count)
        self.fallback_kw = np.array([charger.fallback_kw for charger in chargers])
        self.sequence = np.zeros(count, dtype=np.int64)
        self.obedience = np.zeros(count, dtype=np.int8)
        self._lease_until_s = np.full(count, -np.inf)
        self._next_limit_kw = np.zeros(count)
        self._next_fallback_kw = self.fallback_kw.copy()
        self._next_lease_until_s = np.full(count, -np.inf)
        self._next_at_s = np.full(count, _NEVER_S)
        self._one_phase_kw = ac_power_kw(MIN_CHARGING_CURRENT_A, 1)

    def receive(
        self, index: Ints, limit_kw: Floats, fallback_kw: Floats, *, sequence: int, lease_until_s: float, at_s: Floats
    ) -> Bools:
        """Take a command for some chargers and return which of them accept it.

        A command that is not newer than what a charger has is accepted and changes nothing. The newest command comes into force
        at the earliest moment that any pending one would.

        Args:
            index: Positions of the chargers, shape (K,).
            limit_kw: Upper bounds, shape (K,).
            fallback_kw: What applies once the lease has run out, shape (K,); installed with the bound.
            sequence: Number of the command.
            lease_until_s: When the lease runs out, in seconds since 1970.
            at_s: When the command comes into force at each charger, in seconds since 1970, shape (K,).
        """
        accepts = self.obedience[index] != Obedience.REJECTING
        newer = accepts & (self.sequence[index] < sequence)
        at = index[newer]
        self.sequence[at] = sequence
        self._next_limit_kw[at] = limit_kw[newer]
        self._next_fallback_kw[at] = fallback_kw[newer]
        self._next_lease_until_s[at] = lease_until_s
        self._next_at_s[at] = np.minimum(self._next_at_s[at], at_s[newer])
        return np.asarray(accepts)

    def plug_in(self, rows: SessionTable, delivered_kwh: Floats) -> None:
        """Put cars on their chargers, which are free; `delivered_kwh` is what they have got before, shape (S,)."""
        at = rows.charger
        for field in fields(SessionTable):
            getattr(self.cars, field.name)[at] = getattr(rows, field.name)
        self.occupied[at] = True
        self.delivered_kwh[at] = delivered_kwh
        self.power_kw[at] = 0.0

    def unplug(self, until_s: int) -> EndedSessions | None:
        """Let go the cars that leave at or before an instant and return them; None when nobody leaves."""
        at = np.flatnonzero(self.occupied & (self.cars.departure_s <= until_s))
        if not at.size:
            return None
        ended = EndedSessions(sessions=self.cars.take(at), delivered_kwh=self.delivered_kwh[at])
        self.occupied[at] = False
        self.power_kw[at] = 0.0
        return ended

    def step(self, start_s: int) -> Floats:
        """Let a minute pass from `start_s` and return the energy of each charger in it, in kWh."""
        changed_s = self._take_pending(start_s)
        target_kw = self._target_kw(np.where(self._lease_until_s >= start_s + STEP_S, self.limit_kw, self.fallback_kw))
        left_s = STEP_S - (changed_s - start_s)
        gap_kw = target_kw - self.power_kw
        ramped_kw = np.clip(gap_kw, -RAMP_KW_PER_S * left_s, RAMP_KW_PER_S * left_s)
        ramp_s = np.abs(ramped_kw) / RAMP_KW_PER_S
        end_kw = self.power_kw + ramped_kw
        energy_kwh = (self.power_kw * (changed_s - start_s) + end_kw * left_s - ramped_kw * ramp_s / 2.0) / 3600.0
        wanted_kwh = np.where(self.occupied, self.cars.energy_kwh - self.delivered_kwh, 0.0)
        energy_kwh = np.minimum(energy_kwh, np.maximum(wanted_kwh, 0.0))
        self.delivered_kwh += energy_kwh
        self.register_kwh += energy_kwh
        self.power_kw = np.where(wanted_kwh - energy_kwh > _DONE_KWH, end_kw, 0.0)
        return energy_kwh

    def bound_kw(self, at_s: float) -> Floats:
        """Return the bound in force at each charger at an instant: the command's while its lease runs, else the fallback."""
        return np.where(self._lease_until_s > at_s, self.limit_kw, self.fallback_kw)

    def _take_pending(self, start_s: int) -> Floats:
        """Bring into force what falls due in this minute; return when each charger's bound changed, at least `start_s`."""
        end_s = start_s + STEP_S
        # A lease that runs out inside the minute ends there, unless a command takes over.
        changed_s = np.where(self._lease_until_s < end_s, np.maximum(self._lease_until_s, start_s), float(start_s))
        due = np.flatnonzero(self._next_at_s < end_s)
        if due.size:
            changed_s[due] = np.maximum(self._next_at_s[due], start_s)
            self.limit_kw[due] = self._next_limit_kw[due]
            self.fallback_kw[due] = self._next_fallback_kw[due]
            self._lease_until_s[due] = self._next_lease_until_s[due]
            self._next_at_s[due] = _NEVER_S
        return changed_s

    def _target_kw(self, bound_kw: Floats) -> Floats:
        """Return what each charger draws once it has settled: what the car wants within what it may."""
        cars = self.cars
        wish_kw = cars.max_kw * taper_share(cars.start_soc + self.delivered_kwh / cars.battery_kwh)
        bound_kw = np.where(self.obedience == Obedience.OBEYS, bound_kw, np.inf) + _ROUNDING_KW
        on_one_phase = bound_kw < self._one_phase_kw * cars.phases
        wish_kw = np.where(on_one_phase, np.minimum(wish_kw, cars.max_kw / cars.phases), wish_kw)
        bound_kw = np.where(bound_kw < self.min_kw, 0.0, bound_kw - _ROUNDING_KW)
        return np.where(self.occupied, np.minimum(wish_kw, bound_kw), 0.0)


def _empty_cars(count: int) -> SessionTable:
    """Return rows for chargers without cars; numbers that are divided by are 1."""
    return SessionTable(
        id=np.full(count, "", dtype="U20"),
        charger=np.arange(count, dtype=np.int64),
        arrival_s=np.zeros(count, dtype=np.int64),
        departure_s=np.zeros(count, dtype=np.int64),
        energy_kwh=np.zeros(count),
        battery_kwh=np.ones(count),
        start_soc=np.zeros(count),
        max_kw=np.ones(count),
        phases=np.ones(count, dtype=np.int64),
        stated_energy_kwh=np.full(count, np.nan),
        stated_departure_s=np.full(count, np.nan),
    )
