"""Columns that most fleets never fill: the same as a column that is full from the start, without its memory."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.rare_column import RareColumn

COUNT = 6
PLACES = st.lists(st.integers(0, COUNT - 1), unique=True).map(lambda some: np.array(some, dtype=np.int64))
STEPS = st.lists(st.tuples(st.sampled_from(["put", "clear", "shift"]), PLACES, st.sampled_from([1.5, 0.0, np.nan])))


@pytest.mark.parametrize("blank", [np.nan, -np.inf])
@given(steps=STEPS)
def test_it_is_a_column_that_was_full_from_the_start(
    blank: float, steps: list[tuple[str, npt.NDArray[np.int64], float]]
) -> None:
    column, full = RareColumn(COUNT, blank), np.full(COUNT, blank)
    for what, at, value in steps:
        if what == "put":
            column.put(at, np.full(len(at), value))
            full[at] = value
        elif what == "clear":
            column.clear(at)
            full[at] = blank
        else:
            column.shift(2.0)
            full += 2.0
    assert column.values.tolist() == pytest.approx(full.tolist(), nan_ok=True)
    newer = RareColumn(2, blank)
    newer.carry_over(column, np.array([0, 1]), np.array([3, 0]))
    assert newer.values.tolist() == pytest.approx(full[[3, 0]].tolist(), nan_ok=True)


def test_without_a_value_it_takes_no_memory() -> None:
    column = RareColumn(COUNT, np.nan)
    column.put(np.array([1, 2]), np.array([np.nan, np.nan]))
    column.clear(np.array([3]))
    assert column.is_blank
    assert column.values.strides == (0,)
    column.put(np.array([1]), 0.0)
    assert not column.is_blank
