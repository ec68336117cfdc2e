"""Scenarios of whole days from the errors of past forecasts, honest bands, and few scenarios that stand for many.

What a bid needs is how the hours of one day go together: a day that comes out dearer at noon tends to be dearer in the evening too.
An error of a past day is therefore never taken apart: it is added to the forecast as a whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bidding.arrays import FloatArray, IntArray, sum_by
from bidding.forecasts.scores import checked_levels, checked_weights
from gateway.domain.errors import InvalidInput

MEDIAN = 0.5
PUBLISHED_LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ScenarioSet:
    """Possible paths and how likely each is."""

    paths: FloatArray
    """Shape (S, T), in the unit of the forecast."""
    weights: FloatArray
    """Probability of each path; they sum to one."""

    def __post_init__(self) -> None:
        """Check both and make them read-only."""
        paths = np.array(self.paths, dtype=np.float64)
        if paths.ndim != 2 or not len(paths) or not bool(np.isfinite(paths).all()):
            raise InvalidInput("paths", "must be a table of finite numbers with at least one row")
        paths.setflags(write=False)
        object.__setattr__(self, "paths", paths)
        object.__setattr__(self, "weights", checked_weights(self.weights, len(paths)))

    def __len__(self) -> int:
        return len(self.paths)

    def mean(self) -> FloatArray:
        """Return the expected path."""
        expected: FloatArray = self.weights @ self.paths
        return expected

    def quantiles(self, levels: Sequence[float]) -> FloatArray:
        """Return the least value of each slot that at least so much probability does not exceed, shape (levels, T).

        Raises:
            InvalidInput: A level is outside (0, 1) or they do not ascend.
        """
        probability = checked_levels(levels)
        order = np.argsort(self.paths, axis=0, kind="stable")
        ranked = np.take_along_axis(self.paths, order, axis=0)
        below = np.cumsum(self.weights[order], axis=0)
        slack = 1e-12
        row = (below[None] < probability[:, None, None] - slack).sum(axis=1)
        return np.take_along_axis(ranked, np.minimum(row, len(ranked) - 1), axis=0)


def recency_weights(count: int, half_life_days: float | None = None) -> FloatArray:
    """Return probabilities of `count` consecutive days, oldest first: equal, or halving every so many days.

    Raises:
        InvalidInput: There is no day or the half-life is not above 0.
    """
    if count < 1:
        raise InvalidInput("count", "must be at least 1")
    if half_life_days is None:
        return np.full(count, 1.0 / count)
    if not half_life_days > 0.0:
        raise InvalidInput("half_life_days", "must be above 0")
    weight = 0.5 ** (np.arange(count - 1, -1, -1.0) / half_life_days)
    share: FloatArray = weight / weight.sum()
    return share


def add_errors(point: FloatArray, errors: FloatArray, half_life_days: float | None = None) -> ScenarioSet:
    """Return one scenario per past day: the forecast plus that day's whole error vector.

    Args:
        point: The forecast, shape (T,).
        errors: What came minus what had been forecast, shape (days, T), oldest first.
        half_life_days: An error so many days older is half as likely; None: all are equally likely.

    Raises:
        InvalidInput: There is no error, the shapes do not fit, or the half-life is not above 0.
    """
    if errors.ndim != 2 or errors.shape[1:] != point.shape or not len(errors):
        raise InvalidInput("errors", f"has the shape {errors.shape}, expected (days, {len(point)})")
    return ScenarioSet(paths=point + errors, weights=recency_weights(len(errors), half_life_days))


def draw_scenarios(scenarios: ScenarioSet, count: int, generator: np.random.Generator) -> ScenarioSet:
    """Return `count` equally likely paths drawn by weight, with replacement.

    Raises:
        InvalidInput: The count is below 1.
    """
    if count < 1:
        raise InvalidInput("count", "must be at least 1")
    rows = generator.choice(len(scenarios), size=count, p=scenarios.weights)
    return ScenarioSet(paths=scenarios.paths[rows], weights=np.full(count, 1.0 / count))


def conformal_quantiles(point: FloatArray, errors: FloatArray, levels: Sequence[float]) -> FloatArray:
    """Return bands to publish: the forecast shifted by ranked past errors of each slot, shape (levels, T).

    Split conformal prediction (Vovk, Gammerman and Shafer 2005): with n errors that are exchangeable with the one to come, the
    error of rank `ceil((n + 1) q)` is exceeded with probability at most 1 - q, and below the median `floor((n + 1) q)`
    likewise; plain sample quantiles are too narrow. A rank beyond the errors is the outermost error: more cannot be said.

    Raises:
        InvalidInput: There is no error, the shapes do not fit, or the levels do not ascend inside (0, 1).
    """
    probability = checked_levels(levels)
    if errors.ndim != 2 or errors.shape[1:] != point.shape or not len(errors):
        raise InvalidInput("errors", f"has the shape {errors.shape}, expected (days, {len(point)})")
    place = (len(errors) + 1) * probability
    slack = 1e-9
    rank = np.where(probability < MEDIAN, np.floor(place + slack), np.ceil(place - slack)).astype(np.int64)
    ranked = np.sort(errors, axis=0)
    shifted = point + ranked[np.clip(rank - 1, 0, len(errors) - 1)]
    middle = probability == MEDIAN
    shifted[middle] = point + np.median(errors, axis=0)
    return shifted


def reduce_scenarios(scenarios: ScenarioSet, count: int) -> ScenarioSet:
    """Return `count` of the scenarios that stand for all, with the weight of those they stand for.

    Fast forward selection (Heitsch and Roemisch 2003): one after the other the path is kept that brings the probability-weighted
    Euclidean distance from all paths to the nearest kept one down most; the rest give their weight to the nearest kept path. The same
    input gives the same result; ties go to the earlier path.

    Raises:
        InvalidInput: The count is not between 1 and the number of scenarios.
    """
    if not 1 <= count <= len(scenarios):
        raise InvalidInput("count", f"must be between 1 and {len(scenarios)}")
    apart = _distances(scenarios.paths)
    kept: list[int] = []
    nearest = np.full(len(scenarios), np.inf)
    for _ in range(count):
        left = scenarios.weights @ np.minimum(nearest[:, None], apart)
        left[kept] = np.inf
        chosen = int(np.argmin(left))
        kept.append(chosen)
        nearest = np.minimum(nearest, apart[:, chosen])
    order: IntArray = np.sort(np.array(kept))
    guardian = np.argmin(apart[:, order], axis=1)
    guardian[order] = np.arange(count)
    weights = sum_by(guardian, scenarios.weights, count)
    return ScenarioSet(paths=scenarios.paths[order], weights=weights)


def _distances(paths: npt.NDArray[np.float64]) -> FloatArray:
    """Return the Euclidean distance between every two paths, without the cancellation of expanded squares."""
    apart = np.empty((len(paths), len(paths)))
    for row, path in enumerate(paths):
        apart[row] = np.linalg.norm(paths - path, axis=1)
    return apart
