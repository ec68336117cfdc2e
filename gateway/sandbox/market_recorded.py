"""Recorded prices and carbon values per quarter-hour, and labelled stand-ins for the days that were not recorded.

A day outside the record is a recorded day of the same weekday, taken by its wall clock: on the day of 92 quarter-hours the hour
that the clock skips is left out, on the day of 100 the hour that it repeats comes twice.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path

from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import DeliveryDay, zone_of

MARKET_ZONE = "Europe/Brussels"
DATA = Path(__file__).resolve().parents[2] / "config" / "data"


@dataclass(frozen=True, kw_only=True, slots=True)
class DayValues:
    """The values of one delivery day."""

    day: DeliveryDay
    values: tuple[Decimal, ...]
    """One per quarter-hour: 92, 96 or 100."""
    stand_in: str | None
    """What the values really are; None when they were recorded on this day."""


class RecordedSeries:
    """One recorded series with a value for each quarter-hour of some whole days.

    Args:
        values: Value by the begin of its quarter-hour.
        label: What every value of the series is, when none is of its own day or place; None for a true record.

    Raises:
        InvalidInput: No delivery day is complete.
    """

    def __init__(self, values: Mapping[datetime, Decimal], *, label: str | None = None) -> None:
        self._values = values
        self._label = label
        self._by_weekday: dict[int, list[date]] = {}
        self._days: dict[DeliveryDay, DayValues] = {}
        day = DeliveryDay.containing(min(values), MARKET_ZONE)
        while day.grid().start <= max(values):
            if all(start in values for start in day.grid().starts()):
                self._by_weekday.setdefault(day.day.weekday(), []).append(day.day)
            day = day.next()
        if len(self._by_weekday) < 7:
            raise InvalidInput("recorded", "needs a complete day of each weekday")

    def day(self, day: DeliveryDay) -> DayValues:
        """Return the values of a delivery day, recorded or stood in for."""
        if day not in self._days:
            self._days[day] = self._find(day)
        return self._days[day]

    def _find(self, day: DeliveryDay) -> DayValues:
        recorded = self._by_weekday[day.day.weekday()]
        if day.day in recorded:
            values = tuple(self._values[start] for start in day.grid().starts())
            return DayValues(day=day, values=values, stand_in=self._label)
        source = recorded[day.day.toordinal() // 7 % len(recorded)]
        shifted = f"values of {source.isoformat()} for {day.day.isoformat()}"
        label = shifted if self._label is None else f"{self._label}; {shifted}"
        return DayValues(day=day, values=self._by_wall_clock(day, source), stand_in=label)

    def _by_wall_clock(self, day: DeliveryDay, source: date) -> tuple[Decimal, ...]:
        zone = zone_of(day.zone)
        other = DeliveryDay(day=source, zone=day.zone)
        return tuple(
            self._values[other.at(time(local.hour, local.minute))]
            for local in (start.astimezone(zone) for start in day.grid().starts())
        )


def read_series(path: Path, column: str, *, label: str | None = None) -> RecordedSeries:
    """Return one column of a CSV file with `start_utc`.

    Raises:
        InvalidInput: The file has no such column, or a value that is no number.
    """
    values: dict[datetime, Decimal] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.DictReader(file), start=2):
            if column not in row:
                raise InvalidInput(f"{path.name}.{column}", "is missing")
            start = datetime.strptime(row["start_utc"], "%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC)
            try:
                values[start] = Decimal(row[column])
            except ArithmeticError as error:
                raise InvalidInput(f"{path.name}[{number}].{column}", "must be a number") from error
    return RecordedSeries(values, label=label)


@dataclass(frozen=True, kw_only=True, slots=True)
class Recording:
    """Everything the market replays."""

    day_ahead_eur_per_mwh: RecordedSeries
    imbalance_eur_per_mwh: RecordedSeries
    marginal_g_per_kwh: RecordedSeries


def read_recording(data: Path = DATA) -> Recording:
    """Return the recording of Belgium, October 2025, with its stand-in for carbon."""
    prices = data / "be_october_2025" / "prices.csv"
    return Recording(
        day_ahead_eur_per_mwh=read_series(prices, "day_ahead_eur_per_mwh"),
        imbalance_eur_per_mwh=read_series(prices, "imbalance_eur_per_mwh"),
        marginal_g_per_kwh=read_series(
            data / "carbon_standin" / "marginal_intensity.csv",
            "marginal_g_per_kwh",
            label="Californian marginal intensity of October 2020, not Belgian",
        ),
    )
