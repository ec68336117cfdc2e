"""Columns of CSV rows as arrays; a wrong cell is named by column and row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from math import isfinite

import numpy as np

from bidding.arrays import FloatArray, IntArray, require_each
from bidding.fleet.sessions import SessionArrays
from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import TimeGrid, require_utc

Rows = Sequence[Mapping[str, str | None]]


def numbers(rows: Rows, column: str) -> FloatArray:
    """Return a column of finite numbers.

    Raises:
        InvalidInput: A cell is missing or no finite number; named `column[row]`, rows counted from 0 below the heading.
    """
    return _cells(rows, column, float, "must be a finite number")


def instants(rows: Rows, column: str) -> FloatArray:
    """Return a column of ISO 8601 instants with offsets, in seconds since 1970 UTC.

    Raises:
        InvalidInput: A cell is missing, no instant, or without an offset; named likewise.
    """

    def seconds(cell: str) -> float:
        return require_utc(column, datetime.fromisoformat(cell)).timestamp()

    return _cells(rows, column, seconds, "must be an ISO 8601 instant with its offset")


def slots(rows: Rows, column: str, grid: TimeGrid, *, sign: int = 1) -> IntArray:
    """Return the slots of a grid that begin at or hold the instants of a column; with sign -1 minus the next border.

    Raises:
        InvalidInput: As `instants`.
    """
    since = instants(rows, column) - grid.start.timestamp()
    return np.floor(sign * since / grid.step.total_seconds()).astype(np.int64)


def sessions(rows: Rows, grid: TimeGrid) -> SessionArrays:
    """Return sessions with the columns arrival, departure, power_kw and energy_kwh, in slots of a grid.

    A car can charge in whole slots between arrival and departure; every session must lie inside the grid.

    Raises:
        InvalidInput: A cell is wrong, a car leaves before a whole slot is over, a session leaves the grid, or its energy
            does not fit its window at full power.
    """
    come, leave = -slots(rows, "arrival", grid, sign=-1), slots(rows, "departure", grid)
    power, energy = numbers(rows, "power_kw"), numbers(rows, "energy_kwh")
    require_each("arrival", come >= 0, f"must not be before {grid.start.isoformat()}")
    require_each("departure", leave <= grid.count, f"must not be after {grid.end.isoformat()}")
    require_each("departure", leave > come, "must be at least a whole slot after the arrival")
    require_each("power_kw", power > 0.0, "must be above 0")
    require_each("energy_kwh", energy >= 0.0, "must be at least 0")
    rate = power * grid.step_hours
    require_each("energy_kwh", energy <= rate * (leave - come), "is more than full power over the stay gives")
    return SessionArrays(
        arrival_slot=come,
        departure_slot=leave,
        rate_kwh_per_slot=rate,
        energy_min_kwh=energy,
        energy_max_kwh=energy,
    )


def _cells(rows: Rows, column: str, convert: Callable[[str], float], problem: str) -> FloatArray:
    found = np.zeros(len(rows))
    for number, row in enumerate(rows):
        try:
            found[number] = convert(row[column] or "")
        except (KeyError, ValueError, InvalidInput) as error:
            raise InvalidInput(f"{column}[{number}]", problem) from error
        if not isfinite(found[number]):
            raise InvalidInput(f"{column}[{number}]", problem)
    return found
