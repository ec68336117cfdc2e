"""Scenarios of whole fleets: for each day to come one whole past day of its type, as flexibility tables.

What a fleet can do adds up exactly, so a past day becomes a table once and a scenario is the sum of the tables of the days drawn for
it, with the cars that are plugged in now as its fixed part: many scenarios cost little more than the days they are made of,
however many cars there are.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from bidding.arrays import IntArray
from bidding.fleet.flexibility import FlexibilityTable
from bidding.fleet.sessions import SessionArrays, fit_to_horizon
from bidding.forecasts.sessions import (
    DaySource,
    ForecastFrame,
    SessionHistory,
    SourceDay,
    find_sources,
    moved_sessions,
)
from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import DeliveryDay


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DrawnDays:
    """Which past days the scenarios are made of, drawn once for all sites: what sites have in common stays in common."""

    sources: tuple[DaySource, ...]
    """Per day to come the past days that could be drawn, with their chances."""
    picks: IntArray
    """Position in the source's days, shape (scenarios, days to come)."""

    def __len__(self) -> int:
        return len(self.picks)

    def days_of(self, scenario: int) -> tuple[date, ...]:
        """Return the past days one scenario is made of, one per day to come."""
        picked = self.picks[scenario].tolist()
        return tuple(source.days[pick].day for source, pick in zip(self.sources, picked, strict=True))


def draw_days(history: SessionHistory, frame: ForecastFrame, count: int, generator: np.random.Generator) -> DrawnDays:
    """Draw one past day for each day to come, `count` times, by the recency weights of the day type.

    Raises:
        InvalidInput: The count is below 1, the history knows the future, or holds no complete day before `known_until`.
    """
    if count < 1:
        raise InvalidInput("count", "must be at least 1")
    history.require_known(frame.known_until)
    sources = tuple(find_sources(history, frame, day.day) for day in _days_to_come(frame))
    picks = [generator.choice(len(one.days), size=count, p=[day.weight for day in one.days]) for one in sources]
    return DrawnDays(sources=sources, picks=np.column_stack(picks).astype(np.int64))


def scenario_tables(
    history: SessionHistory,
    frame: ForecastFrame,
    drawn: DrawnDays,
    *,
    present: SessionArrays | None = None,
    site_index: int | None = None,
) -> Iterator[FlexibilityTable]:
    """Yield the flexibility of the fleet in each scenario, equally likely, one at a time.

    Args:
        history: Ended sessions, the same that the days were drawn from.
        frame: For when the forecast is made; cars that came before `known_until` are not forecast, they are known.
        drawn: The days, from `draw_days`.
        present: Cars that are plugged in now, in slots of the frame's grid: they are in every scenario. None for none.
        site_index: One connection point only; None for the sum over all. The tables of all sites with the same `drawn` add
            up to it scenario by scenario.

    Raises:
        InvalidInput: The history knows the future, or a column of `present` is wrong.
    """
    history.require_known(frame.known_until)
    slot_count = frame.grid.count
    known = FlexibilityTable(slot_count) if present is None else _table(present, slot_count, site_index)
    made: dict[tuple[int, int], FlexibilityTable] = {}
    days = tuple(_days_to_come(frame))
    for picked in drawn.picks.tolist():
        table = known
        for number, pick in enumerate(picked):
            if (number, pick) not in made:
                source = SourceDay(day=drawn.sources[number].days[pick].day, weight=1.0)
                sessions = moved_sessions(history, frame, source, days[number])
                made[number, pick] = _table(sessions, slot_count, site_index)
            table = table + made[number, pick]
        yield table


def scenario_sessions(
    history: SessionHistory,
    frame: ForecastFrame,
    drawn: DrawnDays,
    scenario: int,
) -> Sequence[SessionArrays]:
    """Return the cars of one scenario, one part per day to come, not fitted to the horizon: for set points and checks.

    Raises:
        InvalidInput: The scenario does not exist, or the history knows the future.
    """
    if not 0 <= scenario < len(drawn):
        raise InvalidInput("scenario", f"must be at least 0 and below {len(drawn)}")
    history.require_known(frame.known_until)
    return [
        moved_sessions(history, frame, SourceDay(day=source, weight=1.0), day)
        for source, day in zip(drawn.days_of(scenario), _days_to_come(frame), strict=True)
    ]


def _days_to_come(frame: ForecastFrame) -> Iterator[DeliveryDay]:
    day = DeliveryDay.containing(frame.grid.start, frame.zone)
    while day.interval.start < frame.grid.end:
        yield day
        day = day.next()


def _table(sessions: SessionArrays, slot_count: int, site_index: int | None) -> FlexibilityTable:
    mine = sessions if site_index is None else sessions.at_site(site_index)
    return FlexibilityTable.build(fit_to_horizon(mine, slot_count).sessions, slot_count)
