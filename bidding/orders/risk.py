"""Choosing among a few ways to trade, each with its cost in every scenario: mean cost weighed against the worst tail."""

import numpy as np
import numpy.typing as npt

from bidding.arrays import FloatArray
from bidding.orders.profiles import finite_table, probabilities
from gateway.domain.errors import InvalidInput


def mean_cvar_cost(
    cost_eur: npt.ArrayLike, *, tail_weight: float, level: float, probability: npt.ArrayLike | None = None
) -> FloatArray:
    """Return `(1 - w) mean + w CVaR` of every option.

    The conditional value at risk is the mean of the worst `1 - level` of the outcomes, with the share of the outcome at the
    border counted in part (Rockafellar and Uryasev 2000).

    Args:
        cost_eur: Cost of each option in each scenario, shape (options, S).
        tail_weight: w in [0, 1].
        level: Share of outcomes that is not the tail, in [0, 1).
        probability: Of each scenario; None for equally likely.

    Returns:
        EUR per option.

    Raises:
        InvalidInput: Weight, level, costs or probabilities are not such.
    """
    costs = finite_table("cost_eur", cost_eur)
    weights = probabilities("probability", probability, costs.shape[1])
    if not 0.0 <= tail_weight <= 1.0:
        raise InvalidInput("tail_weight", "must be within [0, 1]")
    if not 0.0 <= level < 1.0:
        raise InvalidInput("level", "must be at least 0 and below 1")
    worst_first = np.argsort(-costs, axis=1, kind="stable")
    share = weights[worst_first]
    before = np.cumsum(share, axis=1) - share
    in_tail = np.clip(1.0 - level - before, 0.0, share)
    tail = (np.take_along_axis(costs, worst_first, axis=1) * in_tail).sum(axis=1) / (1.0 - level)
    weighed: FloatArray = (1.0 - tail_weight) * (costs @ weights) + tail_weight * tail
    return weighed


def best_option(
    cost_eur: npt.ArrayLike, *, tail_weight: float, level: float, probability: npt.ArrayLike | None = None
) -> int:
    """Return the option of least `mean_cvar_cost`; among equals the first.

    Raises:
        InvalidInput: As `mean_cvar_cost`.
    """
    return int(np.argmin(mean_cvar_cost(cost_eur, tail_weight=tail_weight, level=level, probability=probability)))
