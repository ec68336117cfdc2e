"""Fleets by type of window: each type becomes an exclusive group of its own.

K blocks in each of G groups let the market combine K to the power of G schedules. Cars with like windows answer prices alike, so
few blocks describe each type. Cars that are there at a border of the delivery day are split by which border it is: what
was bought for their evening is a different auction's business.

```
      D-1        00:00            delivery day              00:00     D+1
   -----[ overnight, leaving )                                  .
                   .      [ morning )     [ afternoon )         .
                   .   [short)                         [ overnight, arriving )----
```
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum

import numpy as np

from bidding.arrays import FloatArray, IntArray
from bidding.fleet.sessions import SessionArrays
from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import TimeGrid

SHORT_STAY_HOURS = 4.0
"""A stay below this is short, whenever it is."""
HOURS_PER_HALF_DAY = 12.0


class WindowType(StrEnum):
    """What kind of stay a session is, seen from a delivery day."""

    OVERNIGHT_LEAVING = "overnight-leaving"
    """Is there when the day begins."""
    OVERNIGHT_ARRIVING = "overnight-arriving"
    """Stays over the border at the day's end (also when it stays the whole day)."""
    MORNING = "morning"
    AFTERNOON = "afternoon"
    SHORT = "short"


def split_by_window(
    sessions: SessionArrays, grid: TimeGrid, delivery: slice, *, short_stay_hours: float = SHORT_STAY_HOURS
) -> dict[WindowType, IntArray]:
    """Return the rows of each window type among the sessions that touch the delivery day.

    Args:
        sessions: Windows in slots of the planning grid; they may exceed it.
        grid: Planning grid.
        delivery: Its slots of the delivery day.
        short_stay_hours: Stays below this are short.

    Returns:
        Row numbers, only of types that occur.
    """
    arrival, departure = sessions.arrival_slot, sessions.departure_slot
    stay_hours = sessions.window_length * grid.step_hours
    noon = delivery.start + HOURS_PER_HALF_DAY / grid.step_hours
    is_short = stay_hours < short_stay_hours
    masks = {
        WindowType.SHORT: is_short,
        WindowType.OVERNIGHT_ARRIVING: ~is_short & (departure > delivery.stop),
        WindowType.OVERNIGHT_LEAVING: ~is_short & (departure <= delivery.stop) & (arrival <= delivery.start),
        WindowType.MORNING: ~is_short & (departure <= delivery.stop) & (arrival > delivery.start) & (arrival < noon),
        WindowType.AFTERNOON: ~is_short & (departure <= delivery.stop) & (arrival >= noon),
    }
    touches = (arrival < delivery.stop) & (departure > delivery.start)
    rows = {kind: np.flatnonzero(mask & touches) for kind, mask in masks.items()}
    return {kind: found for kind, found in rows.items() if found.size}


def at_most_groups(
    rows: Mapping[WindowType, IntArray], energy_kwh: FloatArray, count: int
) -> tuple[tuple[str, IntArray], ...]:
    """Put the types with the least energy together until there are no more groups than allowed.

    Args:
        rows: Rows of each type.
        energy_kwh: Energy of every session.
        count: Most groups, at least 1.

    Returns:
        Name and rows of each group, the most energy first; joined types are named with `+`.
    """
    if count < 1:
        raise InvalidInput("count", "must be at least 1")
    named = [(kind.value, found) for kind, found in rows.items()]
    named.sort(key=lambda group: -float(energy_kwh[group[1]].sum()))
    kept, rest = named[: count - 1], named[count - 1 :]
    if not rest:
        return tuple(kept)
    joined = np.sort(np.concatenate([found for _, found in rest]))
    return (*kept, ("+".join(name for name, _ in rest), joined))


def share_caps(cap_kwh: FloatArray, planned_kwh: Sequence[FloatArray]) -> tuple[FloatArray, ...]:
    """Share one limit among groups that the market will combine freely.

    Each group keeps what the common plan gives it in every slot, so that its needs fit; room that the plan leaves is
    shared by the groups' energies. The shares never exceed the limit together, whichever blocks are awarded.

    Args:
        cap_kwh: Limit per slot, at least the plan's sum; infinity where nothing limits.
        planned_kwh: The common plan's draw of each group per slot.

    Raises:
        InvalidInput: The plan itself exceeds the limit.
    """
    total: FloatArray = np.sum(planned_kwh, axis=0)
    is_limited = np.isfinite(cap_kwh)
    room = np.where(is_limited, cap_kwh, total) - total
    tolerance = 1e-6 * max(1.0, float(np.max(total, initial=0.0)))
    over = np.flatnonzero(room < -tolerance)
    if over.size:
        raise InvalidInput(f"planned_kwh[{over[0]}]", "exceeds the limit")
    energy = np.array([float(plan.sum()) for plan in planned_kwh])
    weight = energy / energy.sum() if energy.sum() > 0.0 else np.full(len(energy), 1.0 / max(len(energy), 1))
    return tuple(
        np.where(is_limited, plan + share * np.maximum(room, 0.0), np.inf)
        for plan, share in zip(planned_kwh, weight, strict=True)
    )
