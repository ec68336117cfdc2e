"""Sessions as columns: what is refused, how windows are clipped, what uncontrolled charging draws."""

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bidding.fleet.sessions import (
    SessionArrays,
    at_the_plug,
    fit_to_horizon,
    join_sessions,
    require_fitted,
    uncontrolled_schedule,
)
from gateway.domain.errors import InvalidInput

GOOD: dict[str, Any] = {
    "arrival_slot": np.array([0, 1]),
    "departure_slot": np.array([2, 3]),
    "rate_kwh_per_slot": np.array([1.0, 2.0]),
    "energy_min_kwh": np.array([0.5, 1.0]),
    "energy_max_kwh": np.array([0.5, 2.0]),
}


@pytest.mark.parametrize(
    ("column", "value", "field"),
    [
        ("arrival_slot", np.array([0.5, 1.0]), "arrival_slot"),
        ("arrival_slot", np.array([[0], [1]]), "arrival_slot"),
        ("arrival_slot", np.array([0]), "departure_slot"),
        ("departure_slot", np.array([2, 1]), "departure_slot[1]"),
        ("rate_kwh_per_slot", np.array([1.0, 0.0]), "rate_kwh_per_slot[1]"),
        ("rate_kwh_per_slot", np.array([1.0, np.nan]), "rate_kwh_per_slot[1]"),
        ("rate_kwh_per_slot", ["one", "two"], "rate_kwh_per_slot"),
        ("energy_min_kwh", np.array([-0.1, 1.0]), "energy_min_kwh[0]"),
        ("energy_max_kwh", np.array([0.4, 2.0]), "energy_max_kwh[0]"),
        ("energy_max_kwh", np.array([0.5, np.inf]), "energy_max_kwh[1]"),
        ("site_index", np.array([0, -1]), "site_index[1]"),
        ("site_index", np.array([0]), "site_index"),
        ("session_ids", ("a",), "session_ids"),
        ("efficiency", np.array([0.9, 0.0]), "efficiency[1]"),
        ("efficiency", np.array([1.01, 0.9]), "efficiency[0]"),
        ("efficiency", np.array([0.9]), "efficiency"),
        ("is_bidirectional", np.array([1, 0]), "is_bidirectional"),
        ("is_bidirectional", np.array([True]), "is_bidirectional"),
    ],
)
def test_a_bad_column_is_refused_by_name(column: str, value: object, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        SessionArrays(**{**GOOD, column: value})
    assert refused.value.field == field


def test_columns_cannot_be_changed_behind_the_checks() -> None:
    sessions = SessionArrays(**GOOD)
    with pytest.raises(ValueError, match="read-only"):
        sessions.rate_kwh_per_slot[0] = -1.0
    GOOD["rate_kwh_per_slot"][0] = 1.0
    copy = pickle.loads(pickle.dumps(sessions))  # noqa: S301  # bytes of our own
    assert copy.energy_max_kwh.tolist() == [0.5, 2.0]


def test_windows_are_clipped_and_no_energy_is_free_beyond_the_horizon(
    sessions_of: Callable[..., SessionArrays],
) -> None:
    sessions = sessions_of(
        (-3, 2, 1, 1.5),  # is already there
        (2, 9, 1, 1.5),  # leaves after the end: all its energy inside
        (3, 9, 1, 4.0),  # cannot take all inside: as much as fits
        (2, 5, 1, 9.0),  # cannot take all ever
        (6, 9, 1, 1.0),  # comes after the end
        (-4, 0, 1, 1.0),  # left before the begin
    )
    fitted = fit_to_horizon(sessions, 4)
    assert fitted.kept_rows.tolist() == [0, 1, 2, 3]
    assert fitted.sessions.arrival_slot.tolist() == [0, 2, 3, 2]
    assert fitted.sessions.departure_slot.tolist() == [2, 4, 4, 4]
    assert fitted.sessions.energy_min_kwh.tolist() == [1.5, 1.5, 1.0, 2.0]
    assert fitted.shortfall_kwh.tolist() == [0.0, 0.0, 0.0, 6.0]
    assert fitted.deferred_kwh.tolist() == [0.0, 0.0, 3.0, 1.0]
    assert fitted.sessions.session_ids == ("s0", "s1", "s2", "s3")
    require_fitted(fitted.sessions, 4)


@pytest.mark.parametrize(
    ("row", "field"),
    [((-1, 2, 1, 1), "arrival_slot[0]"), ((0, 5, 1, 1), "departure_slot[0]"), ((0, 2, 1, 2.1), "energy_max_kwh[0]")],
)
def test_what_was_not_fitted_is_refused(
    sessions_of: Callable[..., SessionArrays], row: tuple[float, ...], field: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        require_fitted(sessions_of(row), 4)
    assert refused.value.field == field


def test_sites_are_picked_and_joined() -> None:
    both = SessionArrays(**GOOD, site_index=np.array([1, 0]), session_ids=("x", "y"))
    assert both.at_site(1).session_ids == ("x",)
    joined = join_sessions([both.at_site(0), both.at_site(1)])
    assert joined.site_index is not None
    assert joined.site_index.tolist() == [0, 1]
    assert joined.session_ids == ("y", "x")
    assert join_sessions([both, SessionArrays(**GOOD)]).session_ids is None
    assert len(join_sessions([])) == 0
    with pytest.raises(InvalidInput, match="site_index"):
        SessionArrays(**GOOD).at_site(0)


def test_losses_and_direction_travel_with_the_sessions() -> None:
    plain = SessionArrays(**GOOD)
    lossy = SessionArrays(**GOOD, efficiency=np.array([0.9, 0.8]), is_bidirectional=np.array([True, False]))
    both = join_sessions([lossy.select(np.array([1])), plain])
    assert both.efficiency is not None
    assert both.efficiency.tolist() == [0.8, 1.0, 1.0]
    assert both.is_bidirectional is not None
    assert both.is_bidirectional.tolist() == [False, False, False]
    assert join_sessions([plain, plain]).efficiency is None
    fitted = fit_to_horizon(lossy, 2).sessions
    assert fitted.efficiency is not None
    assert fitted.efficiency.tolist() == [0.9, 0.8]
    assert lossy.with_energy(plain.energy_min_kwh, plain.energy_min_kwh).is_bidirectional is not None
    assert lossy.battery_kwh(np.array([2.0, 2.0])).tolist() == [1.8, 1.6]
    assert plain.battery_kwh(np.array([2.0, 2.0])).tolist() == [2.0, 2.0]
    assert at_the_plug(np.array([1.8, 1.6]), lossy.efficiency_or_one).tolist() == [2.0, 2.0]


def test_uncontrolled_charging_is_full_rate_from_arrival(sessions_of: Callable[..., SessionArrays]) -> None:
    sessions = sessions_of((0, 4, 2, 5), (1, 3, 1, 2), (3, 4, 1, 0.25))
    drawn = uncontrolled_schedule(sessions, sessions.energy_min_kwh, 4)
    np.testing.assert_allclose(drawn, [2, 3, 2, 0.25])


def test_a_sum_of_tenths_does_not_lose_a_slot(sessions_of: Callable[..., SessionArrays]) -> None:
    sessions = sessions_of((0, 3, 0.1, 0.1 + 0.1 + 0.1))
    np.testing.assert_allclose(uncontrolled_schedule(sessions, sessions.energy_min_kwh, 3), [0.1, 0.1, 0.1])
