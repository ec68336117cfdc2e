"""The model of uncontrolled charging: full rate from plug-in, shared where the connection is full."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bidding.delivery.uncontrolled import uncontrolled_by_site, uncontrolled_within_room
from bidding.fleet.sessions import SessionArrays, fit_to_horizon, uncontrolled_schedule
from gateway.domain.errors import InvalidInput


def cars(*rows: tuple[int, int, float, float], sites: list[int] | None = None) -> SessionArrays:
    """Return cars from (arrival, departure, rate, energy)."""
    return SessionArrays(
        arrival_slot=np.array([row[0] for row in rows]),
        departure_slot=np.array([row[1] for row in rows]),
        rate_kwh_per_slot=np.array([row[2] for row in rows], dtype=float),
        energy_min_kwh=np.array([row[3] for row in rows], dtype=float),
        energy_max_kwh=np.array([row[3] for row in rows], dtype=float),
        site_index=None if sites is None else np.array(sites),
    )


def draw(sessions: SessionArrays, room: list[float]) -> list[float]:
    drawn: list[float] = uncontrolled_within_room(sessions, sessions.energy_max_kwh, np.array(room)).tolist()
    return drawn


def test_car_charges_at_full_rate_from_arrival_until_it_has_its_energy() -> None:
    assert draw(cars((1, 5, 2.0, 5.0)), [9.0] * 6) == [0.0, 2.0, 2.0, 1.0, 0.0, 0.0]


def test_full_connection_is_shared_by_rate_and_shifts_the_rest() -> None:
    assert draw(cars((0, 4, 2.0, 4.0), (0, 4, 4.0, 4.0)), [3.0] * 4) == [3.0, 3.0, 2.0, 0.0]


def test_car_that_leaves_goes_without_the_rest() -> None:
    assert draw(cars((0, 2, 4.0, 8.0)), [1.0] * 4) == [1.0, 1.0, 0.0, 0.0]


def test_nothing_flows_without_room_and_without_cars() -> None:
    assert draw(cars((0, 2, 4.0, 8.0)), [0.0, 0.0]) == [0.0, 0.0]
    assert draw(cars(), [5.0, 5.0]) == [0.0, 0.0]


def test_sites_are_apart_and_what_was_not_served_is_told() -> None:
    sessions = cars((0, 2, 4.0, 8.0), (0, 2, 1.0, 2.0), sites=[1, 0])
    drawn, missing = uncontrolled_by_site(sessions, sessions.energy_max_kwh, np.array([[9.0, 9.0], [3.0, 3.0]]))
    assert drawn.tolist() == [[1.0, 1.0], [3.0, 3.0]]
    assert missing.tolist() == [0.0, 2.0]


def test_sessions_must_be_fitted() -> None:
    with pytest.raises(InvalidInput):
        draw(cars((0, 9, 1.0, 1.0)), [1.0, 1.0])


windows = st.lists(
    st.tuples(st.integers(0, 10), st.integers(1, 10), st.floats(0.1, 9.0), st.floats(0.0, 40.0)),
    min_size=1,
    max_size=12,
)


@given(windows)
def test_with_room_for_all_it_is_the_plain_uncontrolled_schedule(rows: list[tuple[int, int, float, float]]) -> None:
    sessions = fit_to_horizon(cars(*[(a, a + length, u, e) for a, length, u, e in rows]), 20).sessions
    free = uncontrolled_within_room(sessions, sessions.energy_max_kwh, np.full(20, 1e6))
    assert free == pytest.approx(uncontrolled_schedule(sessions, sessions.energy_max_kwh, 20), abs=1e-9)


@given(windows, st.floats(0.0, 20.0))
def test_room_is_kept_and_no_energy_is_made(rows: list[tuple[int, int, float, float]], room: float) -> None:
    sessions = fit_to_horizon(cars(*[(a, a + length, u, e) for a, length, u, e in rows]), 20).sessions
    drawn = uncontrolled_within_room(sessions, sessions.energy_max_kwh, np.full(20, room))
    assert (drawn <= room + 1e-9).all()
    assert (drawn >= 0.0).all()
    assert drawn.sum() <= sessions.energy_max_kwh.sum() + 1e-6
