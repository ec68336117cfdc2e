"""How good a forecast was: by the number, by the band, by the path, and by the money its decisions cost.

Sharp and honest forecasts get small numbers (Gneiting and Raftery 2007, "Strictly proper scoring rules, prediction, and
estimation"). What pays is the last one, the regret: what was paid above what perfect foresight would have paid.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bidding.arrays import FloatArray, IntArray, finite_vector
from gateway.domain.errors import InvalidInput

DEFAULT_RESAMPLES = 2000
DEFAULT_BLOCK_DAYS = 7
"""Bad days come in weeks: days are resampled in blocks of so many."""
DEFAULT_CONFIDENCE = 0.95
VARIOGRAM_ORDER = 0.5


def mean_absolute_error(actual: npt.ArrayLike, forecast: npt.ArrayLike) -> float:
    """Return the mean of `|actual - forecast|`, in the unit of the series; any shape, both the same.

    Raises:
        InvalidInput: The shapes differ, there is no value, or one is not finite.
    """
    seen, said = _pair(actual, forecast)
    return float(np.abs(seen - said).mean())


def relative_mae(actual: npt.ArrayLike, forecast: npt.ArrayLike, naive: npt.ArrayLike) -> float:
    """Return the mean absolute error as a share of that of a naive forecast (Lago et al. 2021, rMAE); below 1 is better.

    Raises:
        InvalidInput: The shapes differ, a value is not finite, or the naive forecast has no error to compare with.
    """
    reference = mean_absolute_error(actual, naive)
    if reference == 0.0:
        raise InvalidInput("naive", "has no error: nothing can be said relative to it")
    return mean_absolute_error(actual, forecast) / reference


def pinball_loss(actual: npt.ArrayLike, quantiles: npt.ArrayLike, levels: npt.ArrayLike) -> FloatArray:
    """Return the mean pinball loss of each level, shape (levels,): `max(q (y - f), (q - 1) (y - f))`.

    Args:
        actual: What came, shape (...).
        quantiles: What was said, shape (levels, ...).
        levels: Probabilities inside (0, 1), ascending.

    Raises:
        InvalidInput: A shape does not fit, a value is not finite, or a level is outside (0, 1) or not ascending.
    """
    probability = checked_levels(levels)
    seen, said = _against(actual, quantiles, "quantiles")
    if len(said) != len(probability):
        raise InvalidInput("quantiles", f"has {len(said)} levels, expected {len(probability)}")
    above = (seen - said).reshape(len(probability), -1)
    share = probability[:, None]
    loss: FloatArray = np.maximum(share * above, (share - 1.0) * above).mean(axis=1)
    return loss


def crps_of_quantiles(actual: npt.ArrayLike, quantiles: npt.ArrayLike, levels: npt.ArrayLike) -> float:
    """Return the CRPS as twice the pinball loss integrated over the levels (Laio and Tamea 2007), in the series' unit.

    The trapezoid rule runs between the given levels; below the first and above the last level the loss falls linearly to
    the 0 it has at probability 0 and 1. With few levels it is an approximation; with a full ensemble use `crps_of_members`.

    Raises:
        InvalidInput: As `pinball_loss`.
    """
    loss = pinball_loss(actual, quantiles, levels)
    probability = np.concatenate([[0.0], checked_levels(levels), [1.0]])
    return float(2.0 * np.trapezoid(np.concatenate([[0.0], loss, [0.0]]), probability))


def crps_of_members(actual: npt.ArrayLike, members: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Return the mean CRPS of an ensemble, `E|X - y| - E|X - X'| / 2`, in the unit of the series.

    Args:
        actual: What came, shape (...).
        members: Equally likely values, or weighted ones, shape (S, ...).
        weights: One per member, summing to one; None for equal.

    Raises:
        InvalidInput: A shape does not fit, a value is not finite, or the weights are not probabilities.
    """
    seen, said = _against(actual, members, "members")
    share = checked_weights(weights, len(said))
    flat = said.reshape(len(said), -1)
    off = share @ np.abs(flat - seen.reshape(-1))
    order = np.argsort(flat, axis=0)
    ranked, weight = np.take_along_axis(flat, order, axis=0), share[order]
    # E|X - X'| over sorted members: each gap counts with the probability of lying on either side of it, twice.
    below = np.cumsum(weight, axis=0)[:-1]
    spread = 2.0 * (np.diff(ranked, axis=0) * below * (1.0 - below)).sum(axis=0)
    return float((off - 0.5 * spread).mean())


def interval_coverage(actual: npt.ArrayLike, low: npt.ArrayLike, high: npt.ArrayLike) -> float:
    """Return the share of values inside `[low, high]`.

    Raises:
        InvalidInput: The shapes differ, a value is not finite, or there is none.
    """
    seen, least = _pair(actual, low)
    _, most = _pair(actual, high)
    return float(((seen >= least) & (seen <= most)).mean())


def energy_score(actual: npt.ArrayLike, members: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Return `E||X - y|| - E||X - X'|| / 2` of one path: the CRPS of a whole day (Gneiting and Raftery 2007).

    Args:
        actual: The day as it came, shape (T,).
        members: Scenarios, shape (S, T).
        weights: One per scenario, summing to one; None for equal.

    Raises:
        InvalidInput: A shape does not fit, a value is not finite, or the weights are not probabilities.
    """
    seen, said, share = _path(actual, members, weights)
    off = share @ np.linalg.norm(said - seen, axis=1)
    apart = np.linalg.norm(said[:, None, :] - said[None, :, :], axis=2)
    return float(off - 0.5 * share @ apart @ share)


def variogram_score(
    actual: npt.ArrayLike,
    members: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
    order: float = VARIOGRAM_ORDER,
) -> float:
    """Return the variogram score of one path: `mean over i, j of (|y_i - y_j|^p - E|X_i - X_j|^p)^2`.

    It sees what the energy score hardly sees, whether the hours of a day move together as they do in truth (Scheuerer and
    Hamill 2015, with equal pair weights).

    Args:
        actual: The day as it came, shape (T,).
        members: Scenarios, shape (S, T).
        weights: One per scenario, summing to one; None for equal.
        order: The power p, above 0.

    Raises:
        InvalidInput: A shape does not fit, a value is not finite, the weights are not probabilities, or p is not above 0.
    """
    if not order > 0.0:
        raise InvalidInput("order", "must be above 0")
    seen, said, share = _path(actual, members, weights)
    truth = np.abs(seen[:, None] - seen[None, :]) ** order
    mean = np.zeros_like(truth)
    for weight, one in zip(share, said, strict=True):
        mean += weight * np.abs(one[:, None] - one[None, :]) ** order
    return float(((truth - mean) ** 2).mean())


@dataclass(frozen=True, kw_only=True, slots=True)
class MeanInterval:
    """A mean over days and where the true mean lies with a stated confidence."""

    mean: float
    low: float
    high: float
    confidence: float
    """Probability that `[low, high]` holds the true mean, as the bootstrap sees it."""
    day_count: int


def realised_regret(
    cost_eur: npt.ArrayLike,
    foresight_eur: npt.ArrayLike,
    generator: np.random.Generator,
    *,
    block_days: int = DEFAULT_BLOCK_DAYS,
    resamples: int = DEFAULT_RESAMPLES,
    confidence: float = DEFAULT_CONFIDENCE,
) -> MeanInterval:
    """Return what deciding on a forecast cost per day above deciding with perfect foresight: the decision score.

    Args:
        cost_eur: Realised cost of each day, in the order of the days, positive when paid.
        foresight_eur: Cost of the same days decided with the prices and sessions that came.
        generator: Draws the resamples.
        block_days: Days resampled together; 1 when days are independent.
        resamples: How many.
        confidence: Of the interval, inside (0, 1).

    Raises:
        InvalidInput: As `mean_with_interval`, or the series differ in length.
    """
    paid = finite_vector("cost_eur", cost_eur)
    best = finite_vector("foresight_eur", foresight_eur, len(paid))
    return mean_with_interval(paid - best, generator, block_days=block_days, resamples=resamples, confidence=confidence)


def mean_with_interval(
    values: npt.ArrayLike,
    generator: np.random.Generator,
    *,
    block_days: int = DEFAULT_BLOCK_DAYS,
    resamples: int = DEFAULT_RESAMPLES,
    confidence: float = DEFAULT_CONFIDENCE,
) -> MeanInterval:
    """Return the mean of daily values with a percentile interval of the circular block bootstrap.

    Blocks of consecutive days are drawn, running over the end to the beginning, so that each day is drawn equally often
    (Politis and Romano 1992). For two methods give the difference of their days: pairs remove what both suffer alike.

    Raises:
        InvalidInput: There is no day, a value is not finite, a count is below 1 or the confidence is outside (0, 1).
    """
    days = finite_vector("values", values)
    if not len(days):
        raise InvalidInput("values", "must have at least one day")
    for field, count in (("block_days", block_days), ("resamples", resamples)):
        if count < 1:
            raise InvalidInput(field, "must be at least 1")
    if not 0.0 < confidence < 1.0:
        raise InvalidInput("confidence", "must be between 0 and 1")
    block = min(block_days, len(days))
    blocks = -(-len(days) // block)
    first = generator.integers(0, len(days), size=(resamples, blocks, 1))
    drawn: IntArray = (first + np.arange(block)).reshape(resamples, -1)[:, : len(days)] % len(days)
    means = days[drawn].mean(axis=1)
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(means, [tail, 1.0 - tail])
    return MeanInterval(
        mean=float(days.mean()), low=float(low), high=float(high), confidence=confidence, day_count=len(days)
    )


def checked_levels(levels: npt.ArrayLike) -> FloatArray:
    """Return quantile levels as an ascending vector inside (0, 1).

    Raises:
        InvalidInput: There is none, one is outside (0, 1), or they do not ascend.
    """
    probability = finite_vector("levels", levels)
    if not len(probability):
        raise InvalidInput("levels", "must have at least one")
    if probability[0] <= 0.0 or probability[-1] >= 1.0 or bool(np.any(np.diff(probability) <= 0.0)):
        raise InvalidInput("levels", "must ascend inside (0, 1)")
    return probability


def checked_weights(weights: npt.ArrayLike | None, count: int) -> FloatArray:
    """Return probabilities of `count` scenarios; equal ones for None.

    Raises:
        InvalidInput: Of another number, negative, or not summing to one.
    """
    if weights is None:
        return np.full(count, 1.0 / count)
    share = finite_vector("weights", weights, count)
    if bool(np.any(share < 0.0)) or not np.isclose(share.sum(), 1.0):
        raise InvalidInput("weights", "must be at least 0 and sum to 1")
    return share


def _pair(actual: npt.ArrayLike, forecast: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    seen, said = np.asarray(actual, dtype=np.float64), np.asarray(forecast, dtype=np.float64)
    if seen.shape != said.shape:
        raise InvalidInput("forecast", f"has the shape {said.shape}, actual has {seen.shape}")
    _require_finite("actual", seen)
    _require_finite("forecast", said)
    return seen, said


def _against(actual: npt.ArrayLike, many: npt.ArrayLike, field: str) -> tuple[FloatArray, FloatArray]:
    """Return what came and what was said, with an axis more in front."""
    seen, said = np.asarray(actual, dtype=np.float64), np.asarray(many, dtype=np.float64)
    if said.ndim == 0 or said.shape[1:] != seen.shape or not len(said):
        raise InvalidInput(field, f"has the shape {said.shape}, expected (n, *{seen.shape})")
    _require_finite("actual", seen)
    _require_finite(field, said)
    return seen, said


def _path(
    actual: npt.ArrayLike, members: npt.ArrayLike, weights: npt.ArrayLike | None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    seen, said = _against(finite_vector("actual", actual), members, "members")
    return seen, said, checked_weights(weights, len(said))


def _require_finite(field: str, values: FloatArray) -> None:
    bad = np.flatnonzero(~np.isfinite(values.ravel()))
    if bad.size:
        raise InvalidInput(f"{field}[{bad[0]}]", "must be a finite number")
    if not values.size:
        raise InvalidInput(field, "must have at least one value")
