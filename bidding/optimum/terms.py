"""What a schedule costs and what it must respect, in cvxpy: one function per family, each a `Term` that adds to others.

A model is a sum of terms over one variable, the aggregate schedule in kWh per slot:

    schedule = cp.Variable(96)
    model = energy_cost(schedule, price) + site_cap(schedule, cap) + demand_charge(schedule + load, 3.0, peak_so_far_kwh=80.0)
    best = optimise_convex(sessions, schedule, model)

Anything convex may be added as a `Term` of one's own. Draws are kWh per slot (positive when drawn), prices EUR per kWh.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import cvxpy as cp
import numpy as np
import numpy.typing as npt
from cvxpy.atoms.affine.reshape import reshape
from cvxpy.atoms.elementwise.neg import neg
from cvxpy.atoms.elementwise.pos import pos
from cvxpy.atoms.norm1 import norm1
from cvxpy.atoms.sum_squares import sum_squares

from bidding.arrays import FloatArray, finite_vector, require_each
from bidding.optimum.recheck import Violation
from gateway.domain.errors import InvalidInput

PROBABILITY_TOLERANCE = 1e-9
"""Scenario probabilities may miss 1 by this much."""
SAME_PRICE_TOLERANCE_EUR_PER_KWH = 1e-12
"""Prices this close are one price: a curve cannot tell them apart."""


class Asset(Protocol):
    """A device in the model whose solution is checked by separate code, and that may need more than convexity says."""

    def recheck(self) -> tuple[Violation, ...]:
        """Return the physical rules that the values of its variables break."""
        ...

    def exclusions(self) -> tuple[cp.Constraint, ...]:
        """Return constraints that forbid what its present values do and physics does not allow; usually none."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Term:
    """A part of a model: a cost and what comes with it."""

    cost: cp.Expression
    """EUR, convex, one number."""
    constraints: tuple[cp.Constraint, ...] = ()
    assets: tuple[Asset, ...] = ()

    def __post_init__(self) -> None:
        """Reject what no convex solver can take."""
        if self.cost.size != 1 or not self.cost.is_convex():
            raise InvalidInput("cost", "must be one convex expression (cvxpy: is_convex)")
        for number, constraint in enumerate(self.constraints):
            if not constraint.is_dcp():
                raise InvalidInput(f"constraints[{number}]", "must be convex (cvxpy: is_dcp)")

    def __add__(self, other: "Term") -> "Term":
        """Return both together."""
        return Term(
            cost=self.cost + other.cost,
            constraints=self.constraints + other.constraints,
            assets=self.assets + other.assets,
        )


def rules(*constraints: cp.Constraint) -> Term:
    """Return a term of constraints alone."""
    return Term(cost=cp.Constant(0.0), constraints=constraints)


# ---------------------------------------------------------------- costs


def energy_cost(draw: cp.Expression, price_eur_per_kwh: FloatArray) -> Term:
    """Energy at its price per slot."""
    cost: cp.Expression = draw @ price_eur_per_kwh
    return Term(cost=cost)


def carbon_cost(draw: cp.Expression, intensity_kg_per_kwh: FloatArray, eur_per_kg: float) -> Term:
    """Energy at the price of the carbon it causes: a shift of the energy price.

    Raises:
        InvalidInput: The price of carbon is negative.
    """
    return energy_cost(draw, _not_negative("eur_per_kg", eur_per_kg) * intensity_kg_per_kwh)


def demand_charge(draw: cp.Expression, eur_per_peak_kwh: float, *, peak_so_far_kwh: float = 0.0) -> Term:
    """A price on the highest slot of the billing period: `D max(peak so far, max_t draw_t)`.

    The whole charge is counted, including what the peak so far costs anyway.

    Raises:
        InvalidInput: Price or peak is negative.
    """
    price = _not_negative("eur_per_peak_kwh", eur_per_peak_kwh)
    peak = cp.Variable(bounds=[_not_negative("peak_so_far_kwh", peak_so_far_kwh), None])
    return Term(cost=peak * price, constraints=(draw <= peak,))


def two_price_imbalance(
    draw: cp.Expression,
    position_kwh: cp.Expression | FloatArray,
    shortage_eur_per_kwh: FloatArray,
    surplus_eur_per_kwh: FloatArray,
) -> Term:
    """What leaving a position costs on top of the day-ahead price, `sum_t up (P - q)^+ + down (q - P)^+`.

    Args:
        draw: The schedule P.
        position_kwh: What was or will be bought, q; a variable when it is to be decided.
        shortage_eur_per_kwh: Price of drawing more than bought minus the day-ahead price, at least 0.
        surplus_eur_per_kwh: Day-ahead price minus the price of drawing less than bought, at least 0.

    Raises:
        InvalidInput: A spread is negative: the cost would not be convex, and a position would be speculation.
    """
    cost = imbalance_costs(draw, position_kwh, shortage_eur_per_kwh, surplus_eur_per_kwh, np.zeros((1, draw.size)))
    return Term(cost=cost.sum())


def imbalance_costs(
    draw: cp.Expression,
    position_kwh: cp.Expression | FloatArray,
    shortage_eur_per_kwh: FloatArray,
    surplus_eur_per_kwh: FloatArray,
    deviation_kwh: npt.NDArray[np.float64],
) -> cp.Expression:
    """Return the two-price imbalance cost per scenario of what else deviates, shape (S,).

    Args:
        draw: The schedule P, shape (T,).
        position_kwh: The position q, shape (T,).
        shortage_eur_per_kwh: As in `two_price_imbalance`.
        surplus_eur_per_kwh: As in `two_price_imbalance`.
        deviation_kwh: Draw of everything else minus what was bought for it, shape (S, T).

    Raises:
        InvalidInput: A spread is negative or not finite.
    """
    for field, spread in (("shortage_eur_per_kwh", shortage_eur_per_kwh), ("surplus_eur_per_kwh", surplus_eur_per_kwh)):
        require_each(field, finite_vector(field, spread, draw.size) >= 0.0, "must be at least 0")
    gap = reshape(draw - position_kwh, (1, draw.size), order="C")
    off = deviation_kwh + np.ones((len(deviation_kwh), 1)) @ gap
    over, under = pos(off), neg(off)  # type: ignore[no-untyped-call]  # not annotated in cvxpy
    cost: cp.Expression = over @ shortage_eur_per_kwh + under @ surplus_eur_per_kwh
    return cost


def energy_costs(draw: cp.Expression, price_eur_per_kwh: npt.NDArray[np.float64]) -> cp.Expression:
    """Return the energy cost per scenario of prices, shape (S,), for prices of shape (S, T)."""
    costs: cp.Expression = draw @ price_eur_per_kwh.T
    return costs


def expected_cost(costs_eur: cp.Expression, probability: FloatArray | None = None) -> Term:
    """Return the mean of costs per scenario.

    Args:
        costs_eur: Cost per scenario, shape (S,).
        probability: Of each scenario; None when all are equally likely.
    """
    return Term(cost=costs_eur @ _probabilities(probability, costs_eur.size))


def mean_cvar(
    costs_eur: cp.Expression, *, tail_weight: float, level: float, probability: FloatArray | None = None
) -> Term:
    """Weigh the mean cost against the mean of its worst tail (Rockafellar and Uryasev 2000).

    `(1 - w) E[cost] + w (eta + sum_s pi_s z_s / (1 - level))` with `z_s >= cost_s - eta`, `z_s >= 0`.

    Args:
        costs_eur: Cost per scenario, convex, shape (S,).
        tail_weight: w in [0, 1].
        level: Share of outcomes that is not the tail, in [0, 1): 0.9 looks at the worst tenth.
        probability: Of each scenario; None when all are equally likely.

    Raises:
        InvalidInput: Weight, level or probabilities are not such.
    """
    if not 0.0 <= tail_weight <= 1.0:
        raise InvalidInput("tail_weight", "must be within [0, 1]")
    if not 0.0 <= level < 1.0:
        raise InvalidInput("level", "must be at least 0 and below 1")
    weights = _probabilities(probability, costs_eur.size)
    # The costs get variables of their own: dense rows of scenario prices then appear once.
    cost = cp.Variable(costs_eur.size)
    threshold, above = cp.Variable(), cp.Variable(costs_eur.size, nonneg=True)
    tail = threshold + (weights @ above) / (1.0 - level)
    return Term(
        cost=(1.0 - tail_weight) * (weights @ cost) + tail_weight * tail,
        constraints=(cost >= costs_eur, above >= cost - threshold),
    )


def track_square(draw: cp.Expression, target_kwh: FloatArray, eur_per_square_kwh: float) -> Term:
    """Stay near a target; large deviations count more than their share."""
    off: cp.Expression = sum_squares(draw - target_kwh)
    return Term(cost=off * _not_negative("eur_per_square_kwh", eur_per_square_kwh))


def track_absolute(draw: cp.Expression, target_kwh: FloatArray, eur_per_kwh: float) -> Term:
    """Stay near a target; every kWh off costs the same."""
    off: cp.Expression = norm1(draw - target_kwh)
    return Term(cost=off * _not_negative("eur_per_kwh", eur_per_kwh))


# ---------------------------------------------------------------- rules


def site_cap(draw: cp.Expression, cap_kwh: FloatArray) -> Term:
    """The connection draws at most its limit in the slots that have one (infinity where nothing limits)."""
    limited = np.flatnonzero(np.isfinite(cap_kwh))
    return rules(draw[limited] <= cap_kwh[limited]) if limited.size else rules()


def monotone_in_price(volumes: Sequence[cp.Expression], price_eur_per_kwh: npt.NDArray[np.float64]) -> Term:
    """Volumes of scenarios are points of one falling curve per slot: never more at a higher price, the same at the same.

    Args:
        volumes: Per scenario, shape (T,) each.
        price_eur_per_kwh: Day-ahead price per scenario and slot, shape (S, T).
    """
    found: list[cp.Constraint] = []
    order = np.argsort(price_eur_per_kwh, axis=0, kind="stable")
    for cheaper, dearer in itertools.pairwise(order):
        for slot, (low, high) in enumerate(zip(cheaper, dearer, strict=True)):
            rise = price_eur_per_kwh[high, slot] - price_eur_per_kwh[low, slot]
            below, above = volumes[low][slot], volumes[high][slot]
            found.append(below == above if rise <= SAME_PRICE_TOLERANCE_EUR_PER_KWH else below >= above)
    return rules(*found)


def _not_negative(field: str, value: float) -> float:
    if not np.isfinite(value) or value < 0.0:
        raise InvalidInput(field, "must be a finite number of at least 0")
    return value


def _probabilities(probability: FloatArray | None, count: int) -> FloatArray:
    if probability is None:
        return np.full(count, 1.0 / count)
    weights = finite_vector("probability", probability, count)
    require_each("probability", weights >= 0.0, "must be at least 0")
    if abs(float(weights.sum()) - 1.0) > PROBABILITY_TOLERANCE:
        raise InvalidInput("probability", "must sum to 1")
    return weights
