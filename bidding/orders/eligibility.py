"""Whether a fleet can stand for a capacity obligation: hold X MW for Y hours in Z % of scenarios.

In a scenario the fleet passes when, for every start that may be called, it can draw at least X less (or more) than its
reference in every slot of the Y hours and still give every car its energy. Exact: the energy of the whole window is
compared with `least_kwh` and `most_kwh` of the fleet's table, which alone refuses most failures; where that passes, a
schedule under the limit per slot is searched, and found or proved not to exist.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import cvxpy as cp
import numpy as np
import numpy.typing as npt

from bidding.arrays import FloatArray
from bidding.fleet.flexibility import FlexibilityTable, power_bounds
from bidding.optimum.convex import Fleet, mix_columns
from bidding.optimum.terms import rules
from bidding.orders.profiles import finite_table, probabilities
from gateway.domain.errors import InvalidInput

ENERGY_TOLERANCE_KWH = 1e-6
"""Rounding of sums over a fleet."""
PROBABILITY_TOLERANCE = 1e-9


class Direction(StrEnum):
    """Which way the obligation moves the draw."""

    LESS = "less"
    MORE = "more"


@dataclass(frozen=True, kw_only=True, slots=True)
class Obligation:
    """What a capacity product asks for."""

    power_kw: float
    slot_count: int
    """How long it must be held, in slots."""
    share: float
    """In how much of the scenarios, in [0, 1]."""
    direction: Direction
    starts: tuple[int, ...]
    """Slots at which a call may come; it is one call, not one after the other."""

    def __post_init__(self) -> None:
        """Reject amounts that ask for nothing and starts that are none."""
        if not np.isfinite(self.power_kw) or self.power_kw <= 0.0:
            raise InvalidInput("obligation.power_kw", "must be a finite number above 0")
        if self.slot_count < 1:
            raise InvalidInput("obligation.slot_count", "must be at least 1")
        if not 0.0 <= self.share <= 1.0:
            raise InvalidInput("obligation.share", "must be within [0, 1]")
        if not self.starts:
            raise InvalidInput("obligation.starts", "must have at least one slot")


@dataclass(frozen=True, kw_only=True, slots=True)
class Eligibility:
    """Whether a fleet can stand for an obligation, and where it is weakest."""

    is_eligible: bool
    share: float
    """Probability of the scenarios in which every call can be held."""
    holds: tuple[bool, ...]
    """Per scenario."""
    worst_scenario: int
    """Where the energy of the window has the least room, among failing scenarios when there are any."""
    worst_start: int
    """First slot of the call in that scenario."""
    worst_margin_kwh: float
    """Room of that window's energy; below 0: missing. A scenario may also fail with room, in single slots."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Call:
    """One call in one scenario."""

    holds: bool
    start: int
    margin_kwh: float


def check_eligibility(
    scenarios: Sequence[FlexibilityTable],
    reference_kwh: npt.ArrayLike,
    obligation: Obligation,
    *,
    step_hours: float,
    probability: npt.ArrayLike | None = None,
) -> Eligibility:
    """Return whether the fleet can hold the power for the time in enough scenarios.

    Args:
        scenarios: What the fleet can do in each scenario.
        reference_kwh: Draw that the change counts from, kWh per slot, shape (S, T); zeros to hold an absolute draw.
        obligation: What is asked for.
        step_hours: Length of a slot.
        probability: Of each scenario; None for equally likely.

    Raises:
        InvalidInput: No scenario, other lengths, or a call that leaves the horizon.
    """
    if not scenarios:
        raise InvalidInput("scenarios", "must have at least one")
    reference = finite_table("reference_kwh", reference_kwh, scenarios[0].slot_count)
    if len(reference) != len(scenarios):
        raise InvalidInput("reference_kwh", f"has {len(reference)} rows for {len(scenarios)} scenarios")
    weights = probabilities("probability", probability, len(scenarios))
    for index, start in enumerate(obligation.starts):
        if not 0 <= start <= reference.shape[1] - obligation.slot_count:
            raise InvalidInput(f"obligation.starts[{index}]", "leaves the horizon")
    change_kwh = obligation.power_kw * step_hours
    weakest = [
        _weakest_call(table, base, obligation, change_kwh) for table, base in zip(scenarios, reference, strict=True)
    ]
    share = float(weights @ np.array([call.holds for call in weakest], dtype=np.float64))
    worst = min(range(len(weakest)), key=lambda number: (weakest[number].holds, weakest[number].margin_kwh))
    return Eligibility(
        is_eligible=share >= obligation.share - PROBABILITY_TOLERANCE,
        share=share,
        holds=tuple(call.holds for call in weakest),
        worst_scenario=worst,
        worst_start=weakest[worst].start,
        worst_margin_kwh=weakest[worst].margin_kwh,
    )


def _weakest_call(table: FlexibilityTable, base: FloatArray, obligation: Obligation, change_kwh: float) -> _Call:
    """Return the call with the least room of energy, or one that fails for another reason."""
    calls = [
        (_margin_kwh(table, _wanted(base, start, obligation, change_kwh), start, obligation), start)
        for start in obligation.starts
    ]
    margin, start = min(calls)
    if margin < -ENERGY_TOLERANCE_KWH:
        return _Call(holds=False, start=start, margin_kwh=margin)
    for room, first in sorted(calls):
        if not _can_hold(table, _wanted(base, first, obligation, change_kwh), first, obligation.direction):
            return _Call(holds=False, start=first, margin_kwh=room)
    return _Call(holds=True, start=start, margin_kwh=margin)


def _wanted(base: FloatArray, start: int, obligation: Obligation, change_kwh: float) -> FloatArray:
    """Return the draw per slot of the call that must not be exceeded (or must be reached)."""
    inside = base[start : start + obligation.slot_count]
    wanted: FloatArray = inside - change_kwh if obligation.direction is Direction.LESS else inside + change_kwh
    return wanted


def _margin_kwh(table: FlexibilityTable, wanted: FloatArray, start: int, obligation: Obligation) -> float:
    """Return the room between the window's energy and what the fleet must or can draw in it."""
    slots = np.zeros(table.slot_count, dtype=np.bool_)
    slots[start : start + len(wanted)] = True
    energy = float(wanted.sum())
    if obligation.direction is Direction.LESS:
        return energy - table.least_kwh(slots)
    return table.most_kwh(slots) - energy


def _can_hold(table: FlexibilityTable, wanted: FloatArray, start: int, direction: Direction) -> bool:
    """Tell whether some schedule keeps every slot of the call on the right side."""
    inside = slice(start, start + len(wanted))
    least, most = power_bounds(table)
    if direction is Direction.LESS:
        if np.any(wanted < least[inside] - ENERGY_TOLERANCE_KWH):
            return False
        if np.all(wanted >= most[inside]):
            return True
    elif np.any(wanted > most[inside] + ENERGY_TOLERANCE_KWH):
        return False
    schedule = cp.Variable(table.slot_count)
    draw = schedule[inside]
    limit = (
        draw <= wanted + ENERGY_TOLERANCE_KWH if direction is Direction.LESS else draw >= wanted - ENERGY_TOLERANCE_KWH
    )
    return mix_columns([Fleet(schedule=schedule, table=table)], rules(limit)).is_usable
