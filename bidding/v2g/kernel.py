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
    # Views and scalars of the window let the compiler handle several earlier slots in one instruction.
    arrival, length = window[0], window[1] - window[0]
    stored, taken, top, needed, wear = car[STORED], car[TAKEN], car[TOP], car[NEEDED], car[WEAR]
    here, worth = price[arrival : arrival + length], resale[arrival : arrival + length]
    bought, sold = up[arrival : arrival + length], down[arrival : arrival + length]
    for slot in range(length):
        bought[slot] = needed if here[slot] >= -wear else top
        sold[slot] = needed if here[slot] > wear else top
    for slot in range(length - 1, 0, -1):
        lowest = min(car[FLOOR], car[START] + stored * slot)
        now, now_worth = here[slot], worth[slot]
        for earlier in range(slot):
            level, then = bought[earlier], here[earlier]
            lifted = min(level + taken, top) if then < now_worth else level
            bought[earlier] = max(level - stored, lowest) if then > now else lifted
        for earlier in range(slot):
            level, then = sold[earlier], here[earlier]
            sunk = max(level - stored, lowest) if now < worth[earlier] else level
            sold[earlier] = min(level + taken, top) if then < now else sunk


def session_exchange(
    window: IntArray, car: FloatArray, levels: tuple[FloatArray, FloatArray], rise: FloatArray, fall: FloatArray
) -> None:
    """Write what one session stores and takes in every slot of its window, kWh in the battery."""
    up, down = levels
    state = car[START]
    for slot in range(window[0], window[1]):
        risen = max(state, min(state + car[STORED], up[slot]))
        after = min(risen, max(state - car[TAKEN], down[slot]))
        rise[slot], fall[slot] = max(after - state, 0.0), max(state - after, 0.0)
        state = after


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
