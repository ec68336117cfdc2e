"""Fleets for the tests of `bidding`, and the same problems solved the slow and obvious way."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import linprog

from bidding.fleet.sessions import SessionArrays

# (arrival, departure, rate, energy) or (arrival, departure, rate, energy_min, energy_max)
Row = Sequence[float]


def _sessions(*rows: Row) -> SessionArrays:
    return SessionArrays(
        arrival_slot=np.array([int(row[0]) for row in rows], dtype=np.int64),
        departure_slot=np.array([int(row[1]) for row in rows], dtype=np.int64),
        rate_kwh_per_slot=np.array([row[2] for row in rows]),
        energy_min_kwh=np.array([row[3] for row in rows]),
        energy_max_kwh=np.array([row[-1] for row in rows]),
        session_ids=tuple(f"s{i}" for i in range(len(rows))),
    )


def _random_sessions(
    rng: np.random.Generator, count: int, slot_count: int, *, with_range: bool = False
) -> SessionArrays:
    arrival = rng.integers(0, slot_count, count)
    departure = arrival + 1 + (rng.random(count) * (slot_count - arrival)).astype(np.int64)
    departure = np.minimum(departure, slot_count)
    rate = rng.choice([0.5, 1.0, 2.0], count)
    need = rng.uniform(0.0, 1.0, count) * rate * (departure - arrival)
    room = rate * (departure - arrival) - need
    return SessionArrays(
        arrival_slot=arrival,
        departure_slot=departure,
        rate_kwh_per_slot=rate,
        energy_min_kwh=need,
        energy_max_kwh=need + room * rng.uniform(0.0, 1.0, count) if with_range else need,
    )


def _city_sessions(count: int, slot_count: int = 96, seed: int = 0) -> SessionArrays:
    """Overnight homes, workplaces by day and short public stops on a noon-to-noon horizon."""
    rng = np.random.default_rng(seed)
    per_hour = slot_count / 24.0
    kind = rng.choice(3, size=count, p=[0.65, 0.25, 0.10])
    arrival = np.select(
        [kind == 0, kind == 1], [rng.normal(6.3, 1.5, count), rng.normal(20.5, 0.6, count)], rng.uniform(0, 21, count)
    )
    stay = np.select(
        [kind == 0, kind == 1], [rng.normal(13.0, 1.5, count), rng.normal(8.0, 1.0, count)], rng.gamma(3, 0.6, count)
    )
    first = np.clip(np.floor(arrival * per_hour), 0, slot_count - 2).astype(np.int64)
    last = np.clip(first + np.ceil(np.maximum(stay, 0.5) * per_hour).astype(np.int64), first + 2, slot_count)
    rate = rng.choice([3.7, 7.4, 11.0], count) / per_hour
    energy = np.minimum(rng.lognormal(np.log(11.5), 0.65, count), 0.92 * rate * (last - first))
    return SessionArrays(
        arrival_slot=first,
        departure_slot=last,
        rate_kwh_per_slot=rate,
        energy_min_kwh=energy,
        energy_max_kwh=energy,
    )


def _evening_prices(slot_count: int = 96, seed: int = 0) -> np.ndarray:
    """EUR per kWh over a noon-to-noon horizon: cheap noon, evening peak, cheap night, some noise."""
    rng = np.random.default_rng(1000 + seed)
    hour = (12 + np.arange(slot_count) * 24 / slot_count) % 24
    shape = 0.085 - 0.045 * np.exp(-(((hour - 13) / 2.2) ** 2)) + 0.075 * np.exp(-(((hour - 19) / 1.8) ** 2))
    return shape - 0.035 * np.exp(-(((hour - 3.2) / 2.3) ** 2)) + rng.normal(0, 0.006, slot_count)


def _present(sessions: SessionArrays, slot_count: int) -> np.ndarray:
    """Mask (N, T) of the slots in each window."""
    slot = np.arange(slot_count)
    return (slot >= sessions.arrival_slot[:, None]) & (slot < sessions.departure_slot[:, None])


def _least_cost(
    sessions: SessionArrays,
    price: np.ndarray,
    cap: np.ndarray | None = None,
    peak_price: float = 0.0,
    load: np.ndarray | None = None,
) -> float | None:
    """Least cost by LP, or None when nothing fits. The last variable is the peak."""
    count, slot_count = len(sessions), len(price)
    load = np.zeros(slot_count) if load is None else load
    upper = np.where(_present(sessions, slot_count), sessions.rate_kwh_per_slot[:, None], 0.0).ravel()
    per_slot = sp.kron(np.ones((1, count)), sp.eye(slot_count))
    per_session = sp.kron(sp.eye(count), np.ones((1, slot_count)))
    none = sp.csr_matrix((count, 1))
    rows = [sp.hstack([per_session, none]), sp.hstack([-per_session, none])]
    sides = [sessions.energy_max_kwh, -sessions.energy_min_kwh]
    rows.append(sp.hstack([per_slot, sp.csr_matrix(-np.ones((slot_count, 1)))]))
    sides.append(-load)
    if cap is not None:
        rows.append(sp.hstack([per_slot, sp.csr_matrix((slot_count, 1))]))
        sides.append(cap)
    # linprog takes sparse rows, which no published type of it says.
    per_row: Any = sp.csr_matrix(sp.vstack(rows))
    result = linprog(
        np.append(np.tile(price, count), peak_price),
        A_ub=per_row,
        b_ub=np.concatenate(sides),
        bounds=[*((0.0, high) for high in upper), (0.0, None)],
        method="highs",
    )
    if result.status != 0:
        return None
    assert result.fun is not None
    return float(result.fun)


def _subsets(slot_count: int) -> Iterator[np.ndarray]:
    """Every set of slots as a mask."""
    for bits in itertools.product([False, True], repeat=slot_count):
        yield np.array(bits)


def _most(sessions: SessionArrays, slots: np.ndarray) -> float:
    """b(A), straight from its definition."""
    inside = (_present(sessions, len(slots)) & slots).sum(axis=1)
    return float(np.minimum(sessions.rate_kwh_per_slot * inside, sessions.energy_max_kwh).sum())


def _least(sessions: SessionArrays, slots: np.ndarray) -> float:
    """p(A), straight from its definition."""
    outside = (_present(sessions, len(slots)) & ~slots).sum(axis=1)
    return float(np.maximum(sessions.energy_min_kwh - sessions.rate_kwh_per_slot * outside, 0.0).sum())


class Oracle:
    """Answers without any of the product's mathematics: one LP variable per session and slot, sets by brute force."""

    least_cost = staticmethod(_least_cost)
    subsets = staticmethod(_subsets)
    most = staticmethod(_most)
    least = staticmethod(_least)


@pytest.fixture(scope="session")
def oracle() -> type[Oracle]:
    return Oracle


@pytest.fixture(scope="session")
def sessions_of() -> Callable[..., SessionArrays]:
    return _sessions


@pytest.fixture(scope="session")
def random_sessions() -> Callable[..., SessionArrays]:
    return _random_sessions


@pytest.fixture(scope="session")
def city_sessions() -> Callable[..., SessionArrays]:
    return _city_sessions


@pytest.fixture(scope="session")
def evening_prices() -> Callable[..., np.ndarray]:
    return _evening_prices
