"""The statistics that the fleet's sessions are drawn from, read from `config/data/ev_sessions` (see its SOURCE.md)."""

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gateway.domain.errors import InvalidInput

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

DEFAULT_FOLDER = Path(__file__).resolve().parents[2] / "config" / "data" / "ev_sessions"
DRAWN_CLASSES = ("home", "public")
"""Kinds of place whose sessions come from distributions; those of workplaces are resampled from recorded ones."""
WORKPLACE_DAYS = (9, 9, 9, 9, 8, 8, 9)
"""How many Mondays, Tuesdays, ... the recorded workplace sessions cover: September and October 2019."""
WORKPLACE_CHARGER_COUNT = 102
"""How many chargers they were recorded at."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlaceStatistics:
    """Distributions of one kind of place."""

    arrival_weekday: Floats
    """Share of a day's arrivals in each local quarter-hour, Monday to Friday; shape (96,), sums to 1."""
    arrival_weekend: Floats
    """The same on Saturday and Sunday."""
    stay_h: Floats
    """Quantiles of the stay in hours, ascending; shape (101,)."""
    energy_kwh: Floats
    """Quantiles of the energy of a session in kWh, ascending; shape (101,)."""
    stay_factor: Floats
    """Mean stay of cars that arrive in a local half-hour over the mean of all; shape (48,)."""
    energy_factor: Floats
    """Mean energy of cars that arrive in a local half-hour over the mean of all; shape (48,)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkplaceSessions:
    """Recorded sessions of workplace chargers, ordered by weekday; shape (W,) each."""

    weekday: Ints
    """0 is Monday."""
    arrival_minute: Ints
    """Local minute of the day."""
    stay_min: Ints
    energy_kwh: Floats
    estimated_stay_min: Floats
    """The stay that the driver announced; NaN when the driver announced none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Vehicles:
    """Kinds of car, ordered by battery; shape (V,) each."""

    battery_kwh: Floats
    max_ac_kw: Floats
    phases: Ints
    registrations: Floats


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionStatistics:
    """Everything that sessions are drawn from."""

    places: Mapping[str, PlaceStatistics]
    """By kind of place: `home` and `public`."""
    workplace: WorkplaceSessions
    vehicles: Vehicles


def load_statistics(folder: Path = DEFAULT_FOLDER) -> SessionStatistics:
    """Read the statistics.

    Raises:
        InvalidInput: A file lacks a column or holds something that is no number; file and column are named.
        OSError: A file cannot be read.
    """
    arrivals, quantiles = _Columns(folder / "arrivals.csv"), _Columns(folder / "quantiles.csv")
    means, workplace = _Columns(folder / "means_by_arrival.csv"), _Columns(folder / "workplace_sessions.csv")
    vehicles = _Columns(folder / "vehicles.csv")
    return SessionStatistics(
        places={place: _place(place, arrivals, quantiles, means) for place in DRAWN_CLASSES},
        workplace=WorkplaceSessions(
            weekday=workplace.whole("weekday"),
            arrival_minute=workplace.whole("arrival_minute"),
            stay_min=workplace.whole("stay_min"),
            energy_kwh=workplace.number("energy_kwh"),
            estimated_stay_min=workplace.number("estimated_stay_min"),
        ),
        vehicles=Vehicles(
            battery_kwh=vehicles.number("battery_kwh"),
            max_ac_kw=vehicles.number("max_ac_kw"),
            phases=vehicles.whole("phases"),
            registrations=vehicles.number("registrations"),
        ),
    )


class _Columns:
    """A CSV file by column."""

    def __init__(self, path: Path) -> None:
        self._name = path.name
        with path.open(encoding="utf-8", newline="") as file:
            self._rows = list(csv.DictReader(file))

    def number(self, column: str) -> Floats:
        """Return a column of numbers; an empty cell is NaN."""
        return np.array(self._cells(column, lambda cell: float(cell) if cell else np.nan))

    def whole(self, column: str) -> Ints:
        """Return a column of whole numbers."""
        return np.array(self._cells(column, int), dtype=np.int64)

    def _cells(self, column: str, convert: Callable[[str], float]) -> list[float]:
        try:
            return [convert(row[column]) for row in self._rows]
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput(f"{self._name}.{column}", "is missing or holds something that is no number") from error


def _place(place: str, arrivals: _Columns, quantiles: _Columns, means: _Columns) -> PlaceStatistics:
    weekday = arrivals.number(f"{place}_weekday_percent")
    weekend = arrivals.number(f"{place}_weekend_percent")
    # Means by arrival count as often as cars arrive then, so that the factors leave the mean of all cars as it is.
    by_half_hour = weekday.reshape(-1, 2).sum(axis=1)
    stay, energy = means.number(f"{place}_stay_h"), means.number(f"{place}_energy_kwh")
    return PlaceStatistics(
        arrival_weekday=weekday / weekday.sum(),
        arrival_weekend=weekend / weekend.sum(),
        stay_h=np.sort(quantiles.number(f"{place}_stay_h")),
        energy_kwh=np.sort(quantiles.number(f"{place}_energy_kwh")),
        stay_factor=stay / np.average(stay, weights=by_half_hour),
        energy_factor=energy / np.average(energy, weights=by_half_hour),
    )
