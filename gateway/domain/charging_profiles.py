"""From power to what charging stations understand: amperes per phase or watts, tenths, and a bounded number of periods.

Protocol-neutral arithmetic for every way to a charging station (OCPP, OCPI, REST of a CSMS). Limits are upper bounds, so every
step rounds down: a station that is told too little wastes a little power, one that is told too much trips a fuse.

* Tenths: OCPP and OCPI carry one decimal; OCPP libraries refuse a second one (OCPP 1.6 `limit` is a multiple of 0.1).
* Current: `limit_a = power / (phases * voltage)`, per phase. Without measured voltage the nominal one is used.
* IEC 61851-1: an AC car charges at 6 A or more; a limit between 0 and the minimum is a pause and is sent as 0.
"""

import heapq
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from gateway.domain.errors import InvalidInput
from gateway.domain.units import MIN_CHARGING_CURRENT_A

FloatArray = npt.NDArray[np.float64]

BACKDATED = timedelta(minutes=5)
"""How long before now absolute schedules begin; their ends stay where they are.

A station whose clock is behind ours would otherwise have no limit at all until its clock has come to the start.
"""
TENTH = 0.1
"""Step of limits in OCPP and OCPI, in amperes or watts."""
_NOISE_STEPS = 1e-6
"""A value this little (in steps) below a step is that step: binary fractions are not exact, 4.14 kW over 690 V is 6 A."""
_DECIMALS = 9
"""Multiples of a step are rounded to so many decimals: 182 steps of 0.1 are 18.2 and not 18.200000000000003."""
_W_PER_KW = 1000.0


class RateUnit(StrEnum):
    """Unit of the limits of a charging profile (OCPP `chargingRateUnit`, OCPI `charging_rate_unit`)."""

    AMPERE = "A"
    """Per phase; what AC stations understand best."""
    WATT = "W"
    """Total over phases; for DC stations."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Supply:
    """How one charger is fed, as far as limits are concerned."""

    phases: int = 3
    """Phases that the car uses, or those of the charger while that is unknown."""
    voltage_v: float = 230.0
    """Line to neutral, measured where known."""
    is_dc: bool = False
    min_current_a: float = MIN_CHARGING_CURRENT_A
    """AC: least current per phase at which charger and car charge."""
    min_power_kw: float = 0.0
    """DC: least power at which it charges."""
    step: float = TENTH
    """Least difference of two limits: 0.1, or 1.0 for chargers that take whole amperes only."""

    def __post_init__(self) -> None:
        """Reject what no supply has."""
        if self.phases not in {1, 2, 3}:
            raise InvalidInput("supply.phases", "must be 1, 2 or 3")
        if not np.isfinite(self.voltage_v) or self.voltage_v <= 0.0:
            raise InvalidInput("supply.voltage_v", "must be a finite number above 0")
        if not np.isfinite(self.step) or self.step <= 0.0:
            raise InvalidInput("supply.step", "must be a finite number above 0")
        for field in ("min_current_a", "min_power_kw"):
            value = getattr(self, field)
            if not np.isfinite(value) or value < 0.0:
                raise InvalidInput(f"supply.{field}", "must be a finite number of at least 0")

    @property
    def best_unit(self) -> RateUnit:
        """Unit to prefer: amperes for AC, watts for DC."""
        return RateUnit.WATT if self.is_dc else RateUnit.AMPERE

    def limit(self, power_kw: float, unit: RateUnit) -> float:
        """Return the limit that allows at most this power: in steps, never rounded up, 0 where charging cannot start.

        Args:
            power_kw: Upper bound in kW, at least 0.
            unit: Amperes per phase or watts in total.
        """
        if unit is RateUnit.AMPERE:
            raw, least = power_kw * _W_PER_KW / (self.phases * self.voltage_v), self.min_current_a
        else:
            raw, least = power_kw * _W_PER_KW, self._least_kw * _W_PER_KW
        return float(pause_below(floor_to_step(np.array([raw]), self.step), np.array([least]))[0])

    def power_kw(self, limit: float, unit: RateUnit) -> float:
        """Return the power in kW that a limit allows; the inverse of `limit` up to rounding."""
        if unit is RateUnit.AMPERE:
            return limit * self.phases * self.voltage_v / _W_PER_KW
        return limit / _W_PER_KW

    @property
    def _least_kw(self) -> float:
        return self.min_power_kw if self.is_dc else self.power_kw(self.min_current_a, RateUnit.AMPERE)


def floor_to_step(values: FloatArray, step: float = TENTH) -> FloatArray:
    """Return values rounded down to a multiple of a step, shape kept; noise of binary fractions does not cost a step."""
    steps = np.floor(values / step + _NOISE_STEPS)
    return np.asarray(np.round(steps * step, _DECIMALS), dtype=np.float64)


def pause_below(limits: FloatArray, least: FloatArray) -> FloatArray:
    """Return limits with those below the least at which charging starts set to 0 (IEC 61851-1: nothing between 0 and 6 A)."""
    return np.asarray(np.where(limits < least - TENTH * _NOISE_STEPS, 0.0, limits), dtype=np.float64)


def ac_limits_a(
    power_kw: FloatArray,
    phases: npt.NDArray[np.int32],
    voltage_v: FloatArray,
    *,
    min_current_a: float = MIN_CHARGING_CURRENT_A,
    step: float = TENTH,
) -> FloatArray:
    """Return limits in amperes per phase for many AC chargers at once, shape (C,).

    Args:
        power_kw: Upper bounds in kW, total over phases, shape (C,).
        phases: Phases in use, shape (C,).
        voltage_v: Line to neutral, shape (C,).
        min_current_a: Least current at which charging starts.
        step: Least difference of two limits.
    """
    raw = power_kw * _W_PER_KW / (phases * voltage_v)
    return pause_below(floor_to_step(raw, step), np.full(raw.shape, min_current_a))


@dataclass(frozen=True, kw_only=True, slots=True)
class Period:
    """One step of a charging profile: a limit that holds until the next one begins."""

    start_s: int
    """Seconds since the start of the profile."""
    limit: float
    """In the unit of the profile."""


def compress_periods(periods: Sequence[Period], duration_s: int, most: int) -> tuple[Period, ...]:
    """Return at most so many periods that allow nowhere more than the originals did (case o28).

    Neighbours with equal limits become one. Then those two neighbours are joined again and again, at the lower limit, that lose
    the least energy by it.

    Args:
        periods: In order, the first at 0.
        duration_s: End of the last period, in seconds since the start.
        most: Largest number of periods, at least 1 (OCPP 1.6 `ChargingScheduleMaxPeriods`, 2.0.1 `PeriodsPerSchedule`).

    Raises:
        InvalidInput: No period, not in order, a first one that does not begin at 0, or a limit that is negative or not finite.
    """
    _check_periods(periods, duration_s, most)
    starts, limits = _without_repeats(periods)
    ends = [*starts[1:], duration_s]
    chain = _Chain(starts, ends, limits)
    while chain.count > most:
        chain.join_cheapest()
    return tuple(Period(start_s=start, limit=limit) for start, limit in chain.rest())


def _check_periods(periods: Sequence[Period], duration_s: int, most: int) -> None:
    if most < 1:
        raise InvalidInput("most", "must be at least 1")
    if not periods or periods[0].start_s != 0:
        raise InvalidInput("periods", "must begin at 0")
    starts = [period.start_s for period in periods]
    if any(later <= earlier for earlier, later in itertools.pairwise(starts)) or duration_s <= starts[-1]:
        raise InvalidInput("periods", "must be in order and end after the last start")
    if not all(np.isfinite(period.limit) and period.limit >= 0.0 for period in periods):
        raise InvalidInput("periods.limit", "must be finite numbers of at least 0")


def _without_repeats(periods: Sequence[Period]) -> tuple[list[int], list[float]]:
    starts, limits = [periods[0].start_s], [periods[0].limit]
    for period in periods[1:]:
        if period.limit != limits[-1]:
            starts.append(period.start_s)
            limits.append(period.limit)
    return starts, limits


class _Chain:
    """Periods as a linked list with a heap of what joining two neighbours would cost."""

    def __init__(self, starts: list[int], ends: list[int], limits: list[float]) -> None:
        self._starts, self._ends, self._limits = starts, ends, limits
        self.count = len(starts)
        self._next = [*range(1, self.count), -1]
        self._previous = list(range(-1, self.count - 1))
        self._age = [0] * self.count
        self._heap: list[tuple[float, int, int, int]] = []
        for left in range(self.count - 1):
            self._offer(left)

    def _offer(self, left: int) -> None:
        """Put the cost of joining a period with the next one into the heap."""
        right = self._next[left]
        if left >= 0 and right >= 0:
            low = min(self._limits[left], self._limits[right])
            lost = sum((self._limits[i] - low) * (self._ends[i] - self._starts[i]) for i in (left, right))
            heapq.heappush(self._heap, (lost, left, self._age[left], self._age[right]))

    def join_cheapest(self) -> None:
        """Join the two neighbours that lose the least."""
        while True:
            _, left, left_age, right_age = heapq.heappop(self._heap)
            right = self._next[left]
            if right >= 0 and left_age == self._age[left] and right_age == self._age[right]:
                break
        self._limits[left] = min(self._limits[left], self._limits[right])
        self._ends[left] = self._ends[right]
        self._next[left] = self._next[right]
        if self._next[left] >= 0:
            self._previous[self._next[left]] = left
        self._age[left] += 1
        self._age[right] = -1
        self.count -= 1
        self._offer(left)
        if self._previous[left] >= 0:
            self._offer(self._previous[left])

    def rest(self) -> list[tuple[int, float]]:
        """Return what is left, neighbours with equal limits joined."""
        kept: list[tuple[int, float]] = []
        at = 0
        while at >= 0:
            if not kept or kept[-1][1] != self._limits[at]:
                kept.append((self._starts[at], self._limits[at]))
            at = self._next[at]
        return kept
