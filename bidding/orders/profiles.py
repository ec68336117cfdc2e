"""Profiles that may become the blocks of an exclusive group: what a fleet would draw under each price that may come.

All profiles of a group hold the same energy in the delivery day, so that the market compares them by price alone and never
decides how much is charged. For cars that stay beyond the day the split of their energy is decided once, at the mean price;
each scenario then only chooses the periods. The cheapest schedule with a given energy in the day is found by one price on
top of the day's periods (a Lagrange multiplier): the two responses around the right one are mixed.

The few profiles that are worth a block are chosen greedily by expected cost (k-median over scenarios). The saving is a
submodular set function, so the choice reaches at least 1 - 1/e of the best saving over the first profile
(Nemhauser, Wolsey and Fisher 1978).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bidding.arrays import FloatArray, finite_vector, require_each
from gateway.domain.errors import InvalidInput

Response = Callable[[FloatArray], FloatArray]
"""From one price per slot (EUR per kWh) to a cheapest schedule (kWh per slot): `PriceResponse.schedule`, or an optimum
under caps. Every schedule lies in one convex set, so mixtures can be followed too."""

MULTIPLIER_STEPS = 16
"""Halvings of the span of the price on top; the mixture has the right energy after any number of them."""
BEYOND_ALL_EUR_PER_KWH = 1e-3
"""With this beyond twice the highest price, the day's periods are all dearer or all cheaper than the rest."""
ENERGY_TOLERANCE = 1e-9
"""Relative: an energy this close is the one asked for."""
NO_SAVING = 1e-12
"""A further profile that saves less than this share of the expected cost is not worth a block."""


def finite_table(field: str, values: npt.ArrayLike, column_count: int | None = None) -> FloatArray:
    """Return a read-only table of finite numbers with at least one row.

    Raises:
        InvalidInput: Not two-dimensional, of another width, or not finite somewhere (row and column are named).
    """
    table: FloatArray = np.array(values, dtype=np.float64)
    if table.ndim != 2 or not table.size:
        raise InvalidInput(field, "must be a table with at least one row and column")
    if column_count is not None and table.shape[1] != column_count:
        raise InvalidInput(field, f"has {table.shape[1]} columns, expected {column_count}")
    bad = np.argwhere(~np.isfinite(table))
    if bad.size:
        raise InvalidInput(f"{field}[{bad[0][0]}][{bad[0][1]}]", "must be a finite number")
    table.setflags(write=False)
    return table


def probabilities(field: str, values: npt.ArrayLike | None, count: int) -> FloatArray:
    """Return the probability of each scenario; None means equally likely.

    Raises:
        InvalidInput: Another number of them, negative ones, or a sum that is not 1.
    """
    if values is None:
        return np.full(count, 1.0 / count)
    weights = finite_vector(field, values, count)
    require_each(field, weights >= 0.0, "must be at least 0")
    if abs(float(weights.sum()) - 1.0) > ENERGY_TOLERANCE:
        raise InvalidInput(field, "must sum to 1")
    return weights


def respond_with_energy(
    response: Response, price_eur_per_kwh: FloatArray, delivery: slice, energy_kwh: float
) -> FloatArray:
    """Return the cheapest schedule that draws a given energy in the slots of the delivery day.

    Args:
        response: What the fleet does under a price.
        price_eur_per_kwh: Price per slot, shape (T,).
        delivery: Slots of the delivery day.
        energy_kwh: What to draw in them.

    Returns:
        kWh per slot; its cost is optimal up to the last halving of the price on top, its energy is exact.

    Raises:
        InvalidInput: The fleet cannot draw so much or so little in the delivery day.
    """
    close = ENERGY_TOLERANCE * max(1.0, abs(energy_kwh))
    plain = response(price_eur_per_kwh)
    if abs(_energy(plain, delivery) - energy_kwh) <= close:
        return plain
    span = 2.0 * float(np.max(np.abs(price_eur_per_kwh))) + BEYOND_ALL_EUR_PER_KWH
    low, high = -span, span
    most, least = (_shifted(response, price_eur_per_kwh, delivery, shift) for shift in (low, high))
    if not _energy(least, delivery) - close <= energy_kwh <= _energy(most, delivery) + close:
        raise InvalidInput("energy_kwh", "is outside what the fleet can draw in the delivery day")
    if _energy(plain, delivery) > energy_kwh:
        low, most = 0.0, plain
    else:
        high, least = 0.0, plain
    for _ in range(MULTIPLIER_STEPS):
        middle = 0.5 * (low + high)
        found = _shifted(response, price_eur_per_kwh, delivery, middle)
        if _energy(found, delivery) > energy_kwh:
            low, most = middle, found
        else:
            high, least = middle, found
    gap = _energy(most, delivery) - _energy(least, delivery)
    share = 0.0 if gap <= 0.0 else min(max((energy_kwh - _energy(least, delivery)) / gap, 0.0), 1.0)
    return share * most + (1.0 - share) * least


def _shifted(response: Response, price: FloatArray, delivery: slice, shift: float) -> FloatArray:
    shifted = price.copy()
    shifted[delivery] += shift
    return response(shifted)


def _energy(schedule: FloatArray, delivery: slice) -> float:
    return float(schedule[delivery].sum())


def candidate_profiles(
    response: Response,
    scenarios_eur_per_kwh: npt.ArrayLike,
    delivery: slice,
    *,
    probability: npt.ArrayLike | None = None,
    energy_kwh: float | None = None,
) -> FloatArray:
    """Return what the fleet would draw in the delivery day at the mean price and at every scenario's.

    Slots before the delivery day are decided already: a horizon should begin with it, with the sessions that
    `two_auctions.plan_second_day` returns. Otherwise profiles could move energy into an auction that is over.

    Args:
        response: What the fleet does under a price.
        scenarios_eur_per_kwh: Prices of the whole planning horizon, shape (S, T).
        delivery: Slots of the delivery day.
        probability: Of each scenario; None for equally likely.
        energy_kwh: Energy of the delivery day; None for that of the response to the mean price.

    Returns:
        Different profiles of equal energy, kWh per slot of the delivery day, shape (M, D); the first is the mean price's.

    Raises:
        InvalidInput: Scenarios or probabilities are malformed, or the energy is out of the fleet's reach.
    """
    scenarios = finite_table("scenarios_eur_per_kwh", scenarios_eur_per_kwh)
    weights = probabilities("probability", probability, len(scenarios))
    mean = weights @ scenarios
    first = response(mean) if energy_kwh is None else respond_with_energy(response, mean, delivery, energy_kwh)
    energy = _energy(first, delivery)
    others = (respond_with_energy(response, price, delivery, energy) for price in scenarios)
    profiles = np.array([schedule[delivery] for schedule in (first, *others)])
    _, places = np.unique(np.round(profiles, 9), axis=0, return_index=True)
    return profiles[np.sort(places)]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ProfileChoice:
    """Which candidates to send, best first."""

    index: tuple[int, ...]
    expected_cost_eur: tuple[float, ...]
    """After the first, the first two, and so on: what the cheapest of them costs on average over the scenarios."""


def choose_profiles(cost_eur: FloatArray, count: int, probability: FloatArray) -> ProfileChoice:
    """Choose up to `count` candidates whose cheapest one costs least on average.

    Args:
        cost_eur: Cost of each candidate in each scenario, shape (S, M).
        count: Most profiles; fewer are taken when another one saves nothing.
        probability: Of each scenario, shape (S,).

    Returns:
        The greedy choice; among equals the earlier candidate.

    Raises:
        InvalidInput: The count is below 1 or the costs are malformed.
    """
    costs = finite_table("cost_eur", cost_eur)
    if count < 1:
        raise InvalidInput("count", "must be at least 1")
    chosen = [int(np.argmin(probability @ costs))]
    cheapest = costs[:, chosen[0]].copy()
    expected = [float(probability @ cheapest)]
    worthwhile = NO_SAVING * float(probability @ np.abs(costs).max(axis=1))
    while len(chosen) < count:
        saving = probability @ np.maximum(cheapest[:, None] - costs, 0.0)
        best = int(np.argmax(saving))
        if saving[best] <= worthwhile:
            break
        chosen.append(best)
        cheapest = np.minimum(cheapest, costs[:, best])
        expected.append(float(probability @ cheapest))
    return ProfileChoice(index=tuple(chosen), expected_cost_eur=tuple(expected))
