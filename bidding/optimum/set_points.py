"""Set points of every car from a fleet that is mixed in parts: each part by its own columns, together the fleet's schedule."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

import numpy as np

from bidding.arrays import FloatArray, IntArray, offsets_of, ragged_ranges
from bidding.fleet.flexibility import FlexibilityTable
from bidding.fleet.sessions import SessionArrays
from bidding.optimum.decomposition import MixedPart
from bidding.optimum.disaggregation import Disaggregation, ScheduleBlock, SessionSchedule
from bidding.optimum.window_groups import sessions_in


class InParts(Protocol):
    """What is mixed in parts: a mixture of any search."""

    @property
    def parts(self) -> tuple[MixedPart, ...]:
        """The parts, which together hold every window of the table."""
        ...


class FleetSetPoints:
    """The set points of a mixture's sessions: of one slot, block by block, or all at once.

    Args:
        sessions: The sessions of the table that was mixed, in any order.
        table: That table.
        mixture: Its mixture.
    """

    def __init__(self, sessions: SessionArrays, table: FlexibilityTable, mixture: InParts) -> None:
        self._sessions = sessions
        self._slot_count = table.slot_count
        self._parts: list[tuple[IntArray, Disaggregation]] = []
        for part in mixture.parts:
            rows = sessions_in(sessions, table, part.windows)
            self._parts.append((rows, Disaggregation(sessions.select(rows), part.columns, part.weights)))

    @property
    def parts(self) -> tuple[tuple[IntArray, Disaggregation], ...]:
        """Rows of each part with its disaggregation: for duty curves and on/off plans."""
        return tuple(self._parts)

    def at(self, slot: int) -> FloatArray:
        """Return the draw of every session in one slot: the tick of a dispatcher, shape (N,), kWh."""
        drawn = np.zeros(len(self._sessions))
        for rows, part in self._parts:
            drawn[rows] = part.at(slot)
        return drawn

    def by_slot(self) -> Iterator[tuple[int, FloatArray]]:
        """Yield every slot with the draw of every session in it, shape (N,), kWh; one slot is held at a time."""
        for slot in range(self._slot_count):
            yield slot, self.at(slot)

    def blocks(self) -> Iterator[ScheduleBlock]:
        """Yield all set points, some sessions of one window at a time; every session is in exactly one block."""
        for rows, part in self._parts:
            for block in part.blocks():
                yield replace(block, row=rows[block.row])

    def schedule(self) -> SessionSchedule:
        """Return the draw of every session in every slot of its window, all at once."""
        length = self._sessions.window_length
        offset = offsets_of(length)
        energy = np.zeros(int(offset[-1]))
        for rows, part in self._parts:
            energy[ragged_ranges(offset[rows], length[rows])] = part.schedule().energy_kwh
        return SessionSchedule(
            offset=offset, slot=ragged_ranges(self._sessions.arrival_slot, length), energy_kwh=energy
        )
