"""A recorded week of two workplaces, 1 to 7 May 2019, charged as it came and charged when electricity was expected to be cleaner.

Cars of ACN-Data and the marginal intensity of the same grid with the forecasts that were issued then (three hours ahead). A car may wait
two hours from its arrival, never beyond the departure that its driver announced; many leave earlier than they said, and who waits for
long may leave with less. Emissions are counted with the intensities that came true.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bidding.goals.cleaner import charges_now

FloatArray = npt.NDArray[np.float64]
FOLDER = Path(__file__).resolve().parents[1] / "config" / "data" / "us_2019"
FIRST, LAST = "2019-05-01T00:00-07:00", "2019-05-08T00:00-07:00"
CAR_KW = 7.0
SLOT_S = 900.0
LONGEST_WAIT_S = 7_200.0
_STEPS_PER_SLOT = 3
"""Intensities come every five minutes."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Stays:
    """Sessions in columns, shape (C,); instants in seconds since 1970."""

    arrival_s: FloatArray
    departure_s: FloatArray
    energy_kwh: FloatArray
    announced_s: FloatArray
    """NaN where the driver said nothing."""

    @property
    def is_early(self) -> npt.NDArray[np.bool_]:
        """Whose driver left before the announced departure."""
        return np.asarray(self.departure_s < self.announced_s)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Charged:
    """What a week of charging gave, shape (C,)."""

    energy_kwh: FloatArray
    emission_kg: FloatArray


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Intensities:
    """Marginal intensity in g/kWh by quarter-hour since 1970."""

    true: dict[int, float]
    forecast: dict[int, FloatArray]
    """As issued at the begin of the quarter-hour, for it and those after it."""


def read_stays() -> Stays:
    """Return the sessions that began in the week."""
    first, last = _seconds(FIRST), _seconds(LAST)
    with (FOLDER / "sessions.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if first <= _seconds(row["arrival"]) < last]
    return Stays(
        arrival_s=np.array([_seconds(row["arrival"]) for row in rows]),
        departure_s=np.array([_seconds(row["departure"]) for row in rows]),
        energy_kwh=np.array([float(row["delivered_kwh"]) for row in rows]),
        announced_s=np.array(
            [np.nan if not row["estimated_departure"] else _seconds(row["estimated_departure"]) for row in rows]
        ),
    )


def read_intensities() -> Intensities:
    """Return what came true and what was expected."""
    steps: dict[int, list[float]] = {}
    with (FOLDER / "sgip_caiso_sce_moer_2019_05.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            steps.setdefault(int(_seconds(row["start_utc"]) // SLOT_S), []).append(float(row["moer_kg_per_kwh"]))
    with (FOLDER / "moer_forecasts_2019_05_01_07.csv").open(encoding="utf-8") as file:
        lines = list(csv.reader(file))[1:]
    return Intensities(
        true={k: 1_000.0 * sum(found) / len(found) for k, found in steps.items() if len(found) == _STEPS_PER_SLOT},
        forecast={int(_seconds(line[0]) // SLOT_S): np.array([float(cell) for cell in line[1:]]) for line in lines},
    )


def charge(stays: Stays, intensities: Intensities, *, waits: bool) -> Charged:
    """Charge every car of the week, as soon as it comes or when it is expected to be cleaner.

    Args:
        stays: The cars.
        intensities: What is known at each quarter-hour and what came true.
        waits: Whether cars wait for cleaner quarter-hours.
    """
    left = stays.energy_kwh.copy()
    emission = np.zeros(len(left))
    until = np.fmin(stays.announced_s, stays.arrival_s + LONGEST_WAIT_S)
    for slot in range(int(stays.arrival_s.min() // SLOT_S), int(stays.departure_s.max() // SLOT_S) + 1):
        begin = slot * SLOT_S
        here_s = np.clip(
            np.minimum(stays.departure_s, begin + SLOT_S) - np.maximum(stays.arrival_s, begin), 0.0, SLOT_S
        )
        forecast = intensities.forecast.get(slot) if waits else None
        goes = (here_s > 0.0) & (left > 0.0)
        if forecast is not None:
            waiting = np.clip((until - begin) // SLOT_S, 0, len(forecast)).astype(np.int64)
            goes &= charges_now(left * 3_600.0 / (CAR_KW * SLOT_S), waiting, forecast)
        taken = np.where(goes, np.minimum(left, CAR_KW * here_s / 3_600.0), 0.0)
        if taken.any():
            emission += taken * intensities.true[slot] / 1_000.0
        left -= taken
    return Charged(energy_kwh=stays.energy_kwh - left, emission_kg=emission)


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
