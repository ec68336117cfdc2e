"""Sessions on their way into the arrays that a plan is made from, a chunk at a time."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np

from bidding.arrays import FloatArray, IntArray
from gateway.domain.sessions import Session
from gateway.ports import Stored

CHUNK = 2_000
"""Rows turned into columns before the loop gets its turn."""


class SessionColumns:
    """Sessions on their way into arrays, a chunk at a time, so that no step takes long however many there are."""

    _NAMES = ("arrival_s", "departure_s", "power_kw", "needed_kwh", "delivered_kwh", "point", "is_told")

    def __init__(self) -> None:
        self._rows: list[tuple[float, ...]] = []
        self._chunks: list[FloatArray] = []

    def add(self, session: Session, departure: datetime | None, point: int, delivered_kwh: float) -> None:
        """Append one session."""
        self._rows.append(
            (
                session.arrival.timestamp(),
                np.nan if departure is None else departure.timestamp(),
                session.max_power_kw,
                np.nan if session.energy_needed_kwh is None else session.energy_needed_kwh,
                delivered_kwh,
                point,
                session.expected_departure is not None,
            )
        )

    async def seal(self) -> None:
        """Turn what was appended into an array and give the loop its turn."""
        if self._rows:
            self._chunks.append(np.array(self._rows))
            self._rows = []
        await asyncio.sleep(0)

    def column(self, name: str) -> FloatArray:
        """Return a column of all sealed chunks; instants are seconds since 1970-01-01 UTC, NaN is unknown."""
        at = self._NAMES.index(name)
        return np.concatenate([np.zeros(0), *(chunk[:, at] for chunk in self._chunks)])

    def integers(self, name: str) -> IntArray:
        """Return a column as whole numbers."""
        return self.column(name).astype(np.int64)


async def ended_into(
    columns: SessionColumns, rows: Sequence[Stored[Session]], point_of_charger: Mapping[str, int], now: datetime
) -> None:
    """Append the sessions that have ended, a chunk at a time."""
    for begin in range(0, len(rows), CHUNK):
        for row in rows[begin : begin + CHUNK]:
            session = row.record
            left = session.departure
            point = point_of_charger.get(session.charger)
            if left is None or point is None or left > now or int(left.timestamp()) <= int(session.arrival.timestamp()):
                continue
            columns.add(session, left, point, session.delivered_kwh)
        await columns.seal()
