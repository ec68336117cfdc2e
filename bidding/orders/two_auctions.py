"""Cars that stay overnight are bought in two auctions: the first day's award is fixed, the second day is still forecast.

The night's sessions are planned over both days at once. On the first day the schedule follows what was awarded, and leaving
it costs imbalance; on the second it follows the forecast price. What every car will have at midnight then defines the
sessions of the second day, whose groups and curves are built from midnight on: no block crosses the border.

```
   noon                      midnight                      noon
     |---- awarded: fixed ------|------ forecast: to be bid ----|
     [  a car's stay .......... | ............. ]
        charged so far (fixed)      what is left to charge
```
"""

from dataclasses import dataclass, replace

import cvxpy as cp
import numpy as np

from bidding.arrays import FloatArray, IntArray, finite_vector, require_each, sum_by
from bidding.fleet.sessions import SessionArrays
from bidding.optimum.convex_optimum import optimise_convex
from bidding.optimum.outcome import Feasible, Proved, TimedOut
from bidding.optimum.terms import energy_cost, two_price_imbalance
from gateway.domain.errors import InvalidInput

ROUNDING_KWH = 1e-9
"""Energies this small beside a need are rounding."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SecondDay:
    """What is left to plan after the first day's award."""

    schedule_kwh: FloatArray
    """Draw per slot over both days, shape (T,)."""
    deviation_kwh: FloatArray
    """Draw minus award per slot of the first day: what the award cannot be followed in, positive is short."""
    lower_bound_eur: float
    """No schedule costs less, energy of the second day and imbalance of the first together."""
    cost_eur: float
    sessions: SessionArrays
    """Cars that are there on the second day with what they still need; slots counted from its begin."""
    kept_rows: IntArray
    """Row of each of them in the sessions that came in."""


def plan_second_day(
    sessions: SessionArrays,
    awarded_kwh: FloatArray,
    price_eur_per_kwh: FloatArray,
    *,
    shortage_eur_per_kwh: float,
    surplus_eur_per_kwh: float,
) -> SecondDay | TimedOut:
    """Plan both days with the first one's award fixed.

    Args:
        sessions: Fitted to the horizon of both days, shape (T,) slots.
        awarded_kwh: Award per slot of the first day, shape (T1,), T1 < T.
        price_eur_per_kwh: Price per slot, shape (T,); on the first day only deviations are bought.
        shortage_eur_per_kwh: What drawing more than awarded costs above the price, at least 0.
        surplus_eur_per_kwh: What drawing less costs, at least 0.

    Returns:
        The plan; `TimedOut` only when the solver gave up, because every award can be left at a cost.

    Raises:
        InvalidInput: A session was not fitted, the award is not shorter than the horizon, or a spread is negative.
        SolutionRejected: The independent check refused the schedule.
    """
    price = finite_vector("price_eur_per_kwh", price_eur_per_kwh)
    awarded = finite_vector("awarded_kwh", awarded_kwh)
    first = len(awarded)
    if not 0 < first < len(price):
        raise InvalidInput("awarded_kwh", f"must have at least 1 and fewer than {len(price)} values")
    for field, spread in (("shortage_eur_per_kwh", shortage_eur_per_kwh), ("surplus_eur_per_kwh", surplus_eur_per_kwh)):
        require_each(field, np.array([np.isfinite(spread) and spread >= 0.0]), "must be at least 0")
    schedule = cp.Variable(len(price))
    imbalance = two_price_imbalance(
        schedule[:first], awarded, np.full(first, shortage_eur_per_kwh), np.full(first, surplus_eur_per_kwh)
    )
    found = optimise_convex(sessions, schedule, energy_cost(schedule, price) + imbalance, seeds=[price])
    drawn, per_session = found.schedule_kwh, found.session_schedule
    if drawn is None or per_session is None or not isinstance(found.outcome, Proved | Feasible):
        return TimedOut(iteration_count=found.iteration_count)
    before = per_session.slot < first
    charged = sum_by(per_session.row[before], per_session.energy_kwh[before], len(sessions))
    off = drawn[:first] - awarded
    rest, kept = _from_midnight(sessions, charged, first)
    return SecondDay(
        schedule_kwh=drawn,
        deviation_kwh=off,
        lower_bound_eur=found.outcome.lower_bound_eur - float(price[:first] @ awarded),
        cost_eur=float(price[first:] @ drawn[first:])
        + float(price[:first] @ off)
        + shortage_eur_per_kwh * float(np.maximum(off, 0.0).sum())
        + surplus_eur_per_kwh * float(np.maximum(-off, 0.0).sum()),
        sessions=rest,
        kept_rows=kept,
    )


def _from_midnight(sessions: SessionArrays, charged_kwh: FloatArray, first: int) -> tuple[SessionArrays, IntArray]:
    """Return the sessions of the second day with what they need after having charged so much."""
    kept: IntArray = np.flatnonzero(sessions.departure_slot > first)
    there = sessions.select(kept)
    arrival = np.maximum(there.arrival_slot - first, 0)
    departure = there.departure_slot - first
    room = there.rate_kwh_per_slot * (departure - arrival)
    most = np.clip(there.energy_max_kwh - charged_kwh[kept], 0.0, room)
    least = np.clip(there.energy_min_kwh - charged_kwh[kept], 0.0, most)
    least[least < ROUNDING_KWH] = 0.0
    most = np.maximum(np.where(most < ROUNDING_KWH, 0.0, most), least)
    moved = replace(there, arrival_slot=arrival, departure_slot=departure, energy_min_kwh=least, energy_max_kwh=most)
    return moved, kept
