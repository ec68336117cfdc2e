"""The same response one session after the other, in a form numba can compile; an optional extra for very large fleets.

Run as plain Python it gives the same numbers, slowly. It shares the rule with `batches`, not the code: there every step is
an array operation over all sessions, here it is a loop over the slots of one.
"""

import functools
import importlib.util
from collections.abc import Callable
from typing import Any

from bidding.arrays import FloatArray, IntArray

STORED, TAKEN, START, FLOOR, NEEDED, TOP, CHARGE_SHARE, DISCHARGE_SHARE, WEAR = range(9)
"""Columns of a car."""
PerSession = Callable[..., None]


def is_numba_installed() -> bool:
    """Return whether the extra `fast` is there."""
    return importlib.util.find_spec("numba") is not None


def session_levels(
    window: IntArray, car: FloatArray, price: FloatArray, resale: FloatArray, up: FloatArray, down: FloatArray
) -> None:
    """Write both thresholds of one session.

    Args:
        window: Arrival and departure slot.
        car: Its nine numbers.
        price: EUR per kWh per slot.
        resale: Highest purchase price worth paying for a sale in each slot.
        up: Written in its window: charge up to here, kWh in the battery.
        down: Written in its window: discharge down to here.
    """
    arrival, departure = window[0], window[1]
    for slot in range(arrival, departure):
        up[slot] = car[NEEDED] if price[slot] >= -car[WEAR] else car[TOP]
        down[slot] = car[NEEDED] if price[slot] > car[WEAR] else car[TOP]
    for slot in range(departure - 1, arrival, -1):
        lowest = min(car[FLOOR], car[START] + car[STORED] * (slot - arrival))
        for earlier in range(arrival, slot):
            if price[earlier] > price[slot]:
                up[earlier] = max(up[earlier] - car[STORED], lowest)
            elif price[earlier] < resale[slot]:
                up[earlier] = min(up[earlier] + car[TAKEN], car[TOP])
            if price[earlier] < price[slot]:
                down[earlier] = min(down[earlier] + car[TAKEN], car[TOP])
            elif price[slot] < resale[earlier]:
                down[earlier] = max(down[earlier] - car[STORED], lowest)


def session_exchange(
    window: IntArray, car: FloatArray, levels: tuple[FloatArray, FloatArray], rise: FloatArray, fall: FloatArray
) -> None:
    """Write what one session stores and takes in every slot of its window, kWh in the battery."""
    up, down = levels
    state = car[START]
    for slot in range(window[0], window[1]):
        rise[slot] = max(min(state + car[STORED], up[slot]) - state, 0.0)
        fall[slot] = 0.0
        if rise[slot] <= 0.0:
            fall[slot] = max(state - max(state - car[TAKEN], down[slot]), 0.0)
        state += rise[slot] - fall[slot]


def fleet_exchange(
    levels_of: PerSession,
    exchange_of: PerSession,
    sessions: tuple[IntArray, FloatArray, IntArray],
    prices: tuple[FloatArray, FloatArray, FloatArray],
    work: tuple[FloatArray, FloatArray, FloatArray, FloatArray],
    totals: FloatArray,
) -> tuple[float, float]:
    """Go through all sessions.

    Args:
        levels_of: `session_levels`, compiled or not.
        exchange_of: `session_exchange`, compiled or not.
        sessions: Windows (N, 2), cars (N, 9) and the kind of each (N,).
        prices: Price per slot (T,), resale price per kind and slot, and what burning a kWh is paid per kind and slot.
        work: Thresholds and energies (battery side), each of shape (N, T) to keep all, or (1, T) to keep only the totals.
        totals: Increased by the net draw of the fleet per slot.

    Returns:
        Degradation and the distance of the lower bound below the cost, EUR.
    """
    windows, cars, kinds = sessions
    price, resale, burning = prices
    wear_eur, missed_eur = 0.0, 0.0
    for row in range(len(kinds)):
        at = min(row, len(work[0]) - 1)
        up, down, rise, fall = work[0][at], work[1][at], work[2][at], work[3][at]
        window, car = windows[row], cars[row]
        levels_of(window, car, price, resale[kinds[row]], up, down)
        exchange_of(window, car, (up, down), rise, fall)
        share = car[TAKEN] / (car[STORED] + car[TAKEN])
        for slot in range(window[0], window[1]):
            drawn, fed = rise[slot] / car[CHARGE_SHARE], fall[slot] * car[DISCHARGE_SHARE]
            totals[slot] += drawn - fed
            wear_eur += car[WEAR] * (drawn + fed)
            excess = burning[kinds[row], slot]
            if excess > 0.0 and fall[slot] > 0.0:
                missed_eur += excess * (1.0 - share) * (car[TAKEN] - fall[slot])
            elif excess > 0.0:
                missed_eur += excess * share * (car[STORED] - rise[slot])
    return wear_eur, missed_eur


PLAIN: tuple[Any, Any, Any] = (fleet_exchange, session_levels, session_exchange)
"""The three loops as Python runs them."""


@functools.cache
def compiled() -> tuple[Any, Any, Any]:
    """Return the three loops compiled for this process, about two seconds at the first call of each."""
    import numba  # noqa: PLC0415  # an optional extra, and half a second to load

    return numba.njit(fleet_exchange), numba.njit(session_levels), numba.njit(session_exchange)
