"""Array types of this package and the checks every array from outside passes."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from gateway.domain.errors import InvalidInput

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
Scalar = TypeVar("Scalar", np.float64, np.int64)


def finite_vector(field: str, values: npt.ArrayLike, count: int | None = None) -> FloatArray:
    """Return a read-only float vector of finite numbers.

    Args:
        field: Name for the error.
        values: Anything numpy turns into one dimension of numbers.
        count: Required length; None when any length will do.

    Raises:
        InvalidInput: Not one-dimensional, of another length, or not finite somewhere (the first index is named).
    """
    vector = _vector(field, values, np.float64)
    if count is not None and len(vector) != count:
        raise InvalidInput(field, f"has {len(vector)} values, expected {count}")
    bad = np.flatnonzero(~np.isfinite(vector))
    if bad.size:
        raise InvalidInput(f"{field}[{bad[0]}]", "must be a finite number")
    return vector


def integer_vector(field: str, values: npt.ArrayLike) -> IntArray:
    """Return a read-only vector of integers.

    Raises:
        InvalidInput: Not one-dimensional or not of an integer type: a slot index is never rounded.
    """
    given = np.asarray(values)
    if given.size and given.dtype.kind not in "iu":
        raise InvalidInput(field, "must be integers")
    return _vector(field, given, np.int64)


def require_each(field: str, holds: BoolArray, problem: str) -> None:
    """Raise for the first element that breaks a rule.

    Raises:
        InvalidInput: Some element of `holds` is False; the field carries its index.
    """
    broken = np.flatnonzero(~holds)
    if broken.size:
        raise InvalidInput(f"{field}[{broken[0]}]", problem)


def ragged_ranges(starts: IntArray, lengths: IntArray) -> IntArray:
    """Return `[s, s+1, .. s+n-1]` of every (start, length) pair, one after the other."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    ranges: IntArray = np.arange(total) + np.repeat(starts - (ends - lengths), lengths)
    return ranges


def offsets_of(lengths: IntArray) -> IntArray:
    """Return where each piece begins in a flat array of pieces, with the total length at the end."""
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])


def sum_by(index: IntArray, weights: FloatArray, count: int) -> FloatArray:
    """Return the sum of the weights that fall on each of `count` places."""
    return np.bincount(index, weights=weights, minlength=count).astype(np.float64, copy=False)


def _vector(field: str, values: npt.ArrayLike, dtype: type[Scalar]) -> npt.NDArray[Scalar]:
    try:
        vector: npt.NDArray[Scalar] = np.array(values, dtype=dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInput(field, "must be numbers") from error
    if vector.ndim != 1:
        raise InvalidInput(field, "must have one dimension")
    vector.setflags(write=False)
    return vector


def same_length(fields: Sequence[tuple[str, int]]) -> None:
    """Raise when columns of one table differ in length.

    Raises:
        InvalidInput: The first column whose length differs from the first one's.
    """
    first_field, count = fields[0]
    for field, length in fields[1:]:
        if length != count:
            raise InvalidInput(field, f"has {length} values, {first_field} has {count}")
