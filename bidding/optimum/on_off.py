"""Set points for chargers that are off or draw at least a minimum: every car follows one column, full power or nothing.

The exact set points of a mixture are averages, often a few per cent of full power, and a charger does not go below 6 A per
phase. But a point of a Minkowski sum needs only a few of its terms off their extreme points (Shapley and Folkman): on a large
fleet almost nothing is lost when every car follows the response to *one* price, which is full rate in its best slots, a rest
in one more, and nothing else. Which column a car follows is drawn systematically: along the cars in the order of window and
duration, steps of the golden ratio pick from the columns' weights, so that like cars are spread over the columns as evenly
as the weights ask. This is deterministic, and better than independent draws by a factor that grows with the fleet.

The sum then misses the plan a little (`deviation`). It is for the plan of a day; the dispatcher trims what is left over.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bidding.arrays import BoolArray, FloatArray, IntArray, finite_vector, require_each
from bidding.fleet.sessions import SLOT_TOLERANCE, SessionArrays, split_duration
from bidding.optimum.duty import MixtureRanks

GOLDEN_STEP = (5.0**0.5 - 1.0) / 2.0
"""Its multiples modulo 1 fill the unit interval as evenly as those of any number do."""
LEAST_CURRENT_A = 6.0
"""Least current per phase of a charging car (IEC 61851-1)."""
PHASE_VOLTAGE_V = 230.0


def least_kwh_per_slot(phase_count: IntArray, step_hours: float, voltage_v: float = PHASE_VOLTAGE_V) -> FloatArray:
    """Return what a car draws in a slot at 6 A per phase.

    Args:
        phase_count: Phases each car charges on, 1 to 3.
        step_hours: Length of a slot.
        voltage_v: Between phase and neutral.
    """
    least: FloatArray = phase_count.astype(np.float64) * (LEAST_CURRENT_A * voltage_v / 1000.0 * step_hours)
    return least


@dataclass(frozen=True, kw_only=True, slots=True)
class Deviation:
    """What it costs that cars are on or off."""

    aggregate_share: float
    """Sum over the slots of |drawn - planned|, relative to what is planned in all."""
    worst_over_cap_share: float
    """Most that a slot's draw exceeds its cap, relative to the cap; at most 0.0 when none does."""
    partial_share: float
    """Share of the charging slots that are below full rate."""
    pulsed_count: int
    """Sessions that run at the minimum for only a part of one slot: their need is too small for a whole one."""


class _PartPlan:
    """One column for every session of one part of the fleet, and what it draws."""

    def __init__(
        self, sessions: SessionArrays, ranks: MixtureRanks, column: IntArray, least_kwh_per_slot: FloatArray
    ) -> None:
        self._sessions = sessions
        self._ranks = ranks
        self._column = column
        rate, least = sessions.rate_kwh_per_slot, least_kwh_per_slot
        paid = np.concatenate([np.zeros((len(ranks.weights), 1), dtype=np.int64), ranks.is_paid.cumsum(axis=1)], axis=1)
        paid_slots = paid[column, sessions.departure_slot] - paid[column, sessions.arrival_slot]
        # As much as is paid for, but never less than needed: the greedy response of this session to its column's price.
        energy = np.clip(rate * paid_slots, sessions.energy_min_kwh, sessions.energy_max_kwh)
        self._full, rest = split_duration(energy, rate, sessions.window_length)
        is_short = (rest > 0.0) & (rest < least)
        may_drop = is_short & (self._full * rate >= sessions.energy_min_kwh)
        may_fill = is_short & ~may_drop & (self._full * rate + least <= sessions.energy_max_kwh)
        may_borrow = is_short & ~may_drop & ~may_fill & (self._full > 0) & (rate + rest >= 2.0 * least)
        self._rest: FloatArray = np.where(may_drop, 0.0, np.where(may_fill | may_borrow, least, rest))
        self._last_full: FloatArray = np.where(may_borrow, rate - (least - rest), rate)
        self.is_pulsed: BoolArray = is_short & ~may_drop & ~may_fill & ~may_borrow
        """Sessions whose rest is below the minimum whatever is done, shape (N,)."""

    def at(self, slot: int) -> FloatArray:
        """Return the draw of every session of the part in one slot."""
        sessions = self._sessions
        here = np.flatnonzero((sessions.arrival_slot <= slot) & (slot < sessions.departure_slot))
        rank = self._ranks.of_column(
            slot, sessions.arrival_slot[here], sessions.departure_slot[here], self._column[here]
        )
        full = self._full[here]
        drawn = np.zeros(len(sessions))
        amounts = (sessions.rate_kwh_per_slot[here], self._last_full[here], self._rest[here])
        drawn[here] = np.select([rank < full - 1, rank == full - 1, rank == full], amounts, 0.0)
        return drawn


class OnOffPlan:
    """What every session of a fleet draws when it is on or off.

    Args:
        sessions: All sessions.
        parts: Rows of each part of the fleet, its mixture, and which of its columns each of the rows follows.
        least_kwh_per_slot: Least that each session may draw in a slot in which it charges, shape (N,).
    """

    def __init__(
        self,
        sessions: SessionArrays,
        parts: Sequence[tuple[IntArray, MixtureRanks, IntArray]],
        least_kwh_per_slot: FloatArray,
    ) -> None:
        self._sessions = sessions
        self._slot_count = parts[0][1].slot_count
        self._parts = [
            (rows, _PartPlan(sessions.select(rows), ranks, column, least_kwh_per_slot[rows]))
            for rows, ranks, column in parts
        ]
        self.is_pulsed: BoolArray = np.zeros(len(sessions), dtype=np.bool_)
        """Sessions whose rest is below the minimum whatever is done: on for a part of one slot, shape (N,)."""
        for rows, part in self._parts:
            self.is_pulsed[rows] = part.is_pulsed

    def at(self, slot: int) -> FloatArray:
        """Return the draw of every session in one slot, shape (N,), kWh: zero or at least the minimum, unless pulsed."""
        drawn = np.zeros(len(self._sessions))
        for rows, part in self._parts:
            drawn[rows] = part.at(slot)
        return drawn

    def by_slot(self) -> Iterator[tuple[int, FloatArray]]:
        """Yield every slot with the draw of every session in it, shape (N,), kWh; one slot is held at a time."""
        for slot in range(self._slot_count):
            yield slot, self.at(slot)

    def deviation(self, planned_kwh: FloatArray, cap_kwh: FloatArray) -> Deviation:
        """Return how far the sum is from the plan and above the caps.

        Args:
            planned_kwh: Schedule of the fleet, shape (T,).
            cap_kwh: Most it may draw in each slot; infinity where nothing limits, shape (T,).

        Raises:
            InvalidInput: The plan has not one value per slot.
        """
        planned = finite_vector("planned_kwh", planned_kwh, self._slot_count)
        total, charging, partial = np.zeros(len(planned)), 0, 0
        for slot, drawn in self.by_slot():
            total[slot] = drawn.sum()
            charging += int(np.count_nonzero(drawn))
            below = drawn < self._sessions.rate_kwh_per_slot * (1.0 - SLOT_TOLERANCE)
            partial += int(np.count_nonzero(below & (drawn > 0.0)))
        limited = np.isfinite(cap_kwh) & (cap_kwh > 0.0)
        over = (total[limited] - cap_kwh[limited]) / cap_kwh[limited]
        return Deviation(
            aggregate_share=float(np.abs(total - planned).sum() / max(float(planned.sum()), SLOT_TOLERANCE)),
            worst_over_cap_share=float(np.max(over, initial=-1.0)),
            partial_share=partial / max(charging, 1),
            pulsed_count=int(np.count_nonzero(self.is_pulsed)),
        )


def draw_on_off(
    sessions: SessionArrays,
    parts: Sequence[tuple[IntArray, MixtureRanks]],
    least_kwh_per_slot: FloatArray,
    *,
    start: float = 0.5,
) -> OnOffPlan:
    """Return an on/off plan whose sum is near the mixture's.

    Args:
        sessions: The sessions of the mixture.
        parts: Rows of each part of the fleet and its mixture (`FleetSetPoints.parts`, `Disaggregation.ranks`); every row is
            in exactly one part.
        least_kwh_per_slot: Least that each session may draw in a slot in which it charges, shape (N,); 0 where any power
            goes (`least_kwh_per_slot`).
        start: Where the draw begins, from 0 to 1; another start is another plan as good.

    Raises:
        InvalidInput: A minimum is negative, above the session's rate, or missing; or the parts are not the sessions.
    """
    least = finite_vector("least_kwh_per_slot", least_kwh_per_slot, len(sessions))
    require_each("least_kwh_per_slot", least >= 0.0, "must be at least 0")
    slack = 1.0 + SLOT_TOLERANCE
    require_each("least_kwh_per_slot", least <= sessions.rate_kwh_per_slot * slack, "is above the session's rate")
    times = np.bincount(np.concatenate([rows for rows, _ in parts]), minlength=len(sessions))
    require_each("parts", times == 1, "must be in exactly one part")
    drawn_before, chosen = 0, []
    for rows, ranks in parts:
        chosen.append((rows, ranks, _drawn_columns(sessions.select(rows), ranks, start + GOLDEN_STEP * drawn_before)))
        drawn_before += len(rows)
    return OnOffPlan(sessions, chosen, least)


def _drawn_columns(sessions: SessionArrays, ranks: MixtureRanks, start: float) -> IntArray:
    """Return a column for every session, drawn along the order of window and duration."""
    duration = sessions.energy_max_kwh / sessions.rate_kwh_per_slot
    order = np.lexsort((duration, sessions.departure_slot, sessions.arrival_slot))
    draw = np.empty(len(sessions))
    draw[order] = (start + GOLDEN_STEP * np.arange(len(sessions))) % 1.0
    border = np.cumsum(ranks.weights)
    column: IntArray = np.searchsorted(border, draw * border[-1], side="right")
    return np.minimum(column, len(border) - 1)
