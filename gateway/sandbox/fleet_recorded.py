"""Recorded sessions replayed as they were, instead of drawn ones; see `config/data/us_2019/SOURCE.md`."""

import csv
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import DeliveryDay, require_utc
from gateway.domain.topology import Charger
from gateway.sandbox.fleet_sessions import SessionTable, fit_into_stay
from gateway.sandbox.fleet_statistics import Floats, Ints

_BATTERY_KWH = 60.0
"""Recordings do not know the battery: it is assumed, or larger where more was charged."""
_TAKEN_SHARE = 0.75
_END_SOC = 0.8
_MINUTE_S = 60

Row = Mapping[str, str | None]


class RecordedBook:
    """The sessions of a file, day after day.

    Args:
        first: First day that is replayed; cars that came before it are left out.
        file: CSV with charger, arrival, departure, requested_kwh, delivered_kwh and estimated_departure.
        chargers: The platform's chargers by position.

    Raises:
        InvalidInput: A cell is wrong, a charger is unknown or has two cars at once; row and column are named.
        OSError: The file cannot be read.
    """

    def __init__(self, first: DeliveryDay, file: Path, chargers: Sequence[Charger]) -> None:
        self.next_day = first
        self.dropped_count = 0
        with file.open(encoding="utf-8", newline="") as text:
            self._sessions = _parse(list(csv.DictReader(text)), chargers, file.name)

    def draw_next(self) -> SessionTable:
        """Return the sessions that begin on the next day."""
        start, end = self.next_day.interval.start, self.next_day.next().interval.start
        arrival_s = self._sessions.arrival_s
        self.next_day = self.next_day.next()
        return self._sessions.take((arrival_s >= start.timestamp()) & (arrival_s < end.timestamp()))


def _parse(rows: Sequence[Row], chargers: Sequence[Charger], name: str) -> SessionTable:
    place = {charger.id: index for index, charger in enumerate(chargers)}
    charger = np.zeros(len(rows), dtype=np.int64)
    for number, row in enumerate(rows):
        charger_id = row.get("charger") or ""
        if charger_id not in place:
            raise InvalidInput(f"{name}[{number}].charger", "is not a charger of this platform")
        charger[number] = place[charger_id]
    arrival_s, departure_s = _instants(rows, "arrival", name), _instants(rows, "departure", name)
    for number in np.flatnonzero(~(departure_s > arrival_s)).tolist():
        raise InvalidInput(f"{name}[{number}].departure", "must be after the arrival")
    max_kw = np.array([one.max_import_kw for one in chargers])[charger]
    delivered_kwh = _numbers(rows, "delivered_kwh", name)
    for number in np.flatnonzero(~(delivered_kwh >= 0.0)).tolist():
        raise InvalidInput(f"{name}[{number}].delivered_kwh", "must be a number of at least 0")
    battery_kwh = np.maximum(_BATTERY_KWH, delivered_kwh / _TAKEN_SHARE)
    start_soc = _END_SOC - delivered_kwh / battery_kwh
    stay_h = (departure_s - arrival_s) / 3600.0
    table = SessionTable(
        id=np.array([f"rec-{number:06d}" for number in range(len(rows))], dtype="U20"),
        charger=charger,
        arrival_s=arrival_s.astype(np.int64),
        departure_s=departure_s.astype(np.int64),
        energy_kwh=fit_into_stay(delivered_kwh, battery_kwh, start_soc, max_kw, stay_h),
        battery_kwh=battery_kwh,
        start_soc=start_soc,
        max_kw=max_kw,
        phases=np.array([one.phases for one in chargers], dtype=np.int64)[charger],
        stated_energy_kwh=_numbers(rows, "requested_kwh", name),
        stated_departure_s=_instants(rows, "estimated_departure", name, may_be_empty=True),
    )
    _refuse_overlaps(charger, table.arrival_s, table.departure_s, name)
    return SessionTable.join([table])


def _refuse_overlaps(charger: Ints, arrival_s: Ints, departure_s: Ints, name: str) -> None:
    order = np.lexsort((arrival_s, charger))
    same = charger[order[1:]] == charger[order[:-1]]
    overlaps = same & (arrival_s[order[1:]] < departure_s[order[:-1]])
    for position in np.flatnonzero(overlaps).tolist():
        raise InvalidInput(f"{name}[{order[position + 1]}].arrival", "is before the car before has left")


def _numbers(rows: Sequence[Row], column: str, name: str) -> Floats:
    """Return a column of finite numbers; NaN where the cell is empty."""
    values = np.full(len(rows), np.nan)
    for number, row in enumerate(rows):
        cell = row.get(column)
        if cell:
            try:
                values[number] = float(cell)
            except ValueError as error:
                raise InvalidInput(f"{name}[{number}].{column}", "must be a number") from error
            if not math.isfinite(values[number]):
                raise InvalidInput(f"{name}[{number}].{column}", "must be a finite number")
    return values


def _instants(rows: Sequence[Row], column: str, name: str, *, may_be_empty: bool = False) -> Floats:
    """Return a column of instants in whole minutes, in seconds since 1970; NaN where the cell is empty."""
    values = np.full(len(rows), np.nan)
    for number, row in enumerate(rows):
        cell = row.get(column)
        if not cell and may_be_empty:
            continue
        field = f"{name}[{number}].{column}"
        try:
            instant = require_utc(field, datetime.fromisoformat(cell or ""))
        except ValueError as error:
            raise InvalidInput(field, "must be an ISO 8601 instant") from error
        values[number] = instant.timestamp() // _MINUTE_S * _MINUTE_S
    return values
