"""A fleet's flexibility as it may leave the house: no ids, no sessions, no window with few cars in it.

What is exported is an **inner approximation**: whatever a receiver plans inside it, the fleet can do. Windows that hold
fewer than a minimum count of sessions are narrowed to coarser and coarser borders (2, 4, 8 .. slots) until enough of them
share one; a car that is there longer than planned loses flexibility, never its energy. What must charge in a window that
cannot be narrowed, because it needs nearly all of it, is not flexible in the export: it is part of one fixed load, as early
as possible, when enough sessions are in that; otherwise it is withheld and stays with the sender.

What remains visible of a published window are sums of at least the minimum count of sessions by rank.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

import numpy as np

from bidding.arrays import FloatArray, finite_vector, integer_vector, require_each, same_length
from bidding.fleet.flexibility import FlexibilityTable
from gateway.domain.errors import InvalidInput

FEWEST_SESSIONS = 5
"""Usual least number of sessions in anything that is published."""

Window: TypeAlias = tuple[int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class FlexibilityExport:
    """Flexibility without personal data; plain numbers only, so that it can be sent as JSON (`columns`)."""

    slot_count: int
    fewest_sessions: int
    """No window, and no fixed load, is from fewer sessions than this."""
    arrival_slot: tuple[int, ...]
    departure_slot: tuple[int, ...]
    session_count: tuple[int, ...]
    """Sessions in each window."""
    major_kwh: tuple[float, ...]
    """Amounts by rank at the most energy (`FlexibilityTable.major`), window after window."""
    minor_kwh: tuple[float, ...]
    """Amounts by rank at the least energy."""
    fixed_kwh: tuple[float, ...]
    """Draw per slot of sessions whose flexibility is not published; comes on top."""
    fixed_count: int
    """Sessions in the fixed load: 0 or at least the minimum."""
    withheld_count: int
    """Sessions that are in nothing of this: below the minimum."""

    def __post_init__(self) -> None:
        """Check what may have come over a wire, the promise of a minimum count included."""
        arrival = integer_vector("arrival_slot", self.arrival_slot)
        departure = integer_vector("departure_slot", self.departure_slot)
        count = integer_vector("session_count", self.session_count)
        same_length([("arrival_slot", len(arrival)), ("departure_slot", len(departure)), ("session_count", len(count))])
        require_each("arrival_slot", arrival >= 0, "must be at least 0")
        require_each("departure_slot", departure > arrival, "must be after arrival_slot")
        require_each("departure_slot", departure <= self.slot_count, f"must be at most {self.slot_count}")
        require_each("session_count", count >= self.fewest_sessions, f"must be at least {self.fewest_sessions}")
        cells = int((departure - arrival).sum())
        finite_vector("major_kwh", self.major_kwh, cells)
        finite_vector("minor_kwh", self.minor_kwh, cells)
        finite_vector("fixed_kwh", self.fixed_kwh, self.slot_count)
        if 0 < self.fixed_count < self.fewest_sessions:
            raise InvalidInput("fixed_count", f"must be 0 or at least {self.fewest_sessions}")

    def columns(self) -> dict[str, int | list[int] | list[float]]:
        """Return the export as a dict of numbers and lists of numbers, ready for JSON."""
        every = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in every.items()}

    @classmethod
    def from_columns(cls, columns: Mapping[str, Any]) -> "FlexibilityExport":
        """Return the export that `columns` came from.

        Raises:
            InvalidInput: A column is missing, unknown, of the wrong type or breaks a rule.
        """
        for unknown in columns.keys() - {field.name for field in fields(cls)}:
            raise InvalidInput(unknown, "is not a column of a flexibility export")
        for field in fields(cls):
            if field.name not in columns:
                raise InvalidInput(field.name, "is missing")
            is_list = isinstance(columns[field.name], list | tuple)
            if is_list is (field.type is int) or isinstance(columns[field.name], str | bool | float | None):
                raise InvalidInput(field.name, "must be a whole number" if field.type is int else "must be a list")
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in columns.items()
        }
        return cls(**values)

    def table(self) -> FlexibilityTable:
        """Return the published windows as a table, to plan with or to add to others."""
        empty = FlexibilityTable(self.slot_count)
        layout = empty.layout
        count = np.zeros(layout.window_count, dtype=np.int64)
        major, minor = np.zeros(layout.cell_count), np.zeros(layout.cell_count)
        window = layout.window_of(
            np.array(self.arrival_slot, dtype=np.int64), np.array(self.departure_slot, dtype=np.int64)
        )
        begin = 0
        for place, number in zip(window, self.session_count, strict=True):
            cells = slice(int(layout.offset[place]), int(layout.offset[place + 1]))
            end = begin + cells.stop - cells.start
            count[place] += number
            major[cells] += self.major_kwh[begin:end]
            minor[cells] += self.minor_kwh[begin:end]
            begin = end
        has_range = self.major_kwh != self.minor_kwh
        return FlexibilityTable.from_amounts(self.slot_count, count, major, minor if has_range else None)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Row:
    """Sessions of one window."""

    count: int
    major: FloatArray
    minor: FloatArray

    def __add__(self, other: "_Row") -> "_Row":
        return _Row(count=self.count + other.count, major=self.major + other.major, minor=self.minor + other.minor)

    def narrowed(self, length: int) -> "_Row | None":
        """Return the same sessions in a shorter window inside theirs, or None when a need does not fit into it."""
        if self.minor[length:].any():
            return None
        return _Row(count=self.count, major=self.major[:length], minor=self.minor[:length])


def export_flexibility(table: FlexibilityTable, fewest_sessions: int = FEWEST_SESSIONS) -> FlexibilityExport:
    """Return what may be published of a fleet.

    Args:
        table: What the fleet can do.
        fewest_sessions: Least number of sessions in anything published, at least 1; 1 publishes the table as it is.

    Raises:
        InvalidInput: The minimum is below 1.
    """
    if fewest_sessions < 1:
        raise InvalidInput("fewest_sessions", "must be at least 1")
    rows = dict(_rows_of(table))
    border = 2
    while border <= table.slot_count:
        rows = _coarsened(rows, border, fewest_sessions)
        border *= 2
    published = {window: row for window, row in sorted(rows.items()) if row.count >= fewest_sessions}
    rest = {window: row for window, row in rows.items() if row.count < fewest_sessions}
    rest_count = sum(row.count for row in rest.values())
    is_fixed = rest_count >= fewest_sessions
    return FlexibilityExport(
        slot_count=table.slot_count,
        fewest_sessions=fewest_sessions,
        arrival_slot=tuple(arrival for arrival, _ in published),
        departure_slot=tuple(departure for _, departure in published),
        session_count=tuple(row.count for row in published.values()),
        major_kwh=tuple(float(amount) for row in published.values() for amount in row.major),
        minor_kwh=tuple(float(amount) for row in published.values() for amount in row.minor),
        fixed_kwh=_earliest_kwh(rest if is_fixed else {}, table.slot_count),
        fixed_count=rest_count if is_fixed else 0,
        withheld_count=0 if is_fixed else rest_count,
    )


def _rows_of(table: FlexibilityTable) -> Iterator[tuple[Window, _Row]]:
    layout, major, minor = table.layout, table.major, table.minor
    for window in table.occupied_windows:
        cells = slice(int(layout.offset[window]), int(layout.offset[window + 1]))
        row = _Row(count=int(table.session_count[window]), major=major[cells], minor=minor[cells])
        yield (int(layout.arrival[window]), int(layout.departure[window])), row


def _coarsened(rows: Mapping[Window, _Row], border: int, fewest_sessions: int) -> dict[Window, _Row]:
    """Narrow small windows to multiples of a border where their needs fit, and add up what then shares a window."""
    merged: dict[Window, _Row] = {}
    for (arrival, departure), row in rows.items():
        window, kept = (arrival, departure), row
        if row.count < fewest_sessions:
            inside = (-(-arrival // border) * border, departure // border * border)
            narrowed = row.narrowed(inside[1] - inside[0]) if inside[1] > inside[0] else None
            if narrowed is not None:
                window, kept = inside, narrowed
        merged[window] = merged[window] + kept if window in merged else kept
    return merged


def _earliest_kwh(rows: Mapping[Window, _Row], slot_count: int) -> tuple[float, ...]:
    """Return the draw per slot of sessions that take what they need as early as they can."""
    drawn = np.zeros(slot_count)
    for (arrival, departure), row in rows.items():
        drawn[arrival:departure] += row.minor
    return tuple(float(amount) for amount in drawn)
