"""Time-of-use tariffs as data: seasons, weekdays and hours of a utility's price sheet to a price per quarter-hour.

The file format is that of acnportal's tariff schedules: a list of schedules, each with a season (`effective_start` and
`effective_end`, month and day, both inclusive, may wrap the year), a weekday mask, and prices in USD/kWh from given local hours
on. Demand charges are read and kept beside the energy prices; they are not energy and are in no series.
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Protocol

from gateway.domain.errors import InvalidInput
from gateway.domain.series import PriceProduct, PriceSeries, Quality
from gateway.domain.site_tariff import ILLUSTRATIVE
from gateway.domain.timegrid import DeliveryDay, zone_of
from gateway.market_data.json_document import as_list, as_number, as_object, as_text, read_object
from gateway.market_data.provenance import UNNAMED, named_prices
from gateway.ports import Clock

NAME = "tariff"
_KWH_PER_MWH = Decimal(1000)
_MONTH_DAY = re.compile(r"(\d{2})-(\d{2})", re.ASCII)
_MASKS = {"WEEKDAYS": frozenset(range(5)), "WEEKENDS": frozenset({5, 6}), "ALL": frozenset(range(7))}


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """Prices of one kind of day in one season."""

    id: str
    first_day: tuple[int, int]
    """Month and day of the season's first day."""
    last_day: tuple[int, int]
    """Month and day of its last day, inclusive; before `first_day` when the season wraps the year."""
    weekdays: frozenset[int]
    """Monday is 0."""
    from_times: tuple[timedelta, ...]
    """Local times since midnight from which each price holds; the first is midnight, ascending."""
    prices_per_kwh: tuple[Decimal, ...]
    """One energy price per entry of `from_times`."""
    demand_charge_per_kw: Decimal
    """Per kW of the billing period's highest power; 0 when there is none."""

    def applies(self, day: date) -> bool:
        """Tell whether a civil day is in this season and on one of these weekdays."""
        today = (day.month, day.day)
        if self.first_day <= self.last_day:
            in_season = self.first_day <= today <= self.last_day
        else:
            in_season = today >= self.first_day or today <= self.last_day
        return in_season and day.weekday() in self.weekdays

    def price_at(self, since_midnight: timedelta) -> Decimal:
        """Return the price per kWh that holds at a local wall-clock time."""
        price = self.prices_per_kwh[0]
        for start, candidate in zip(self.from_times, self.prices_per_kwh, strict=True):
            if start <= since_midnight:
                price = candidate
        return price


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeOfUseTariff:
    """A utility's tariff."""

    name: str
    currency: str
    schedules: tuple[Schedule, ...]

    def schedule_on(self, day: date) -> Schedule:
        """Return the one schedule of a civil day.

        Raises:
            InvalidInput: No schedule, or more than one, applies: the tariff is not usable on that day.
        """
        found = [schedule for schedule in self.schedules if schedule.applies(day)]
        if len(found) != 1:
            raise InvalidInput("tariff.schedule", f"{len(found)} schedules apply on {day.isoformat()}")
        return found[0]

    def illustrative_on(self, day: date) -> tuple[str, ...]:
        """Return nothing: a schedule is transcribed from a utility's price sheet or it is not here."""
        return ()

    def demand_per_kw(self, day: date) -> Decimal:
        """Return what each kW of the billing period's highest power costs; 0 for nothing."""
        return self.schedule_on(day).demand_charge_per_kw

    def prices_per_mwh(self, day: DeliveryDay) -> tuple[Decimal, ...]:
        """Return the energy price of each quarter-hour of a day, per MWh; the hour of a clock change is what the clock says."""
        schedule = self.schedule_on(day.day)
        zone = zone_of(day.zone)
        return tuple(
            schedule.price_at(_since_midnight(start.astimezone(zone))) * _KWH_PER_MWH for start in day.grid().starts()
        )


class PricedEnergy(Protocol):
    """A tariff that says what a kWh costs at every quarter-hour: `TimeOfUseTariff` and `SiteTariff` do."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    @property
    def currency(self) -> str:
        """ISO 4217 code."""
        ...

    def prices_per_mwh(self, day: DeliveryDay) -> tuple[Decimal, ...]:
        """Return the price of each quarter-hour of a day, per MWh; raises InvalidInput for a day it does not cover."""
        ...

    def demand_per_kw(self, day: date) -> Decimal:
        """Return what each kW of the month's highest power costs; 0 for nothing."""
        ...

    def illustrative_on(self, day: date) -> tuple[str, ...]:
        """Return the names of its parts whose amounts on a day are examples of nobody."""
        ...


class TariffPriceSource:
    """A tariff as a price source; `ports.PriceSource`. It knows every day, so that nothing is ever not yet published.

    Prices with illustrative layers in them are estimates, and their note says which layers.

    Args:
        tariff: The tariff.
        zone: Name under which its prices are asked for, for example `SCE-TOU-EV-4`.
        licence: Of the tariff's data.
        clock: For `fetched_at`.
    """

    def __init__(self, tariff: PricedEnergy, *, zone: str, licence: str, clock: Clock) -> None:
        self._tariff = tariff
        self._zone = zone
        self._licence = licence
        self._clock = clock

    @property
    def name(self) -> str:
        """Short name for provenance."""
        return NAME

    async def fetch(self, zone: str, day: DeliveryDay) -> PriceSeries | None:
        """Return the energy prices of a day per MWh.

        Raises:
            InvalidInput: Another zone, or a day that the tariff does not cover.
        """
        if zone != self._zone:
            raise InvalidInput("zone", f"the tariff is {self._zone}")
        prices = self._tariff.prices_per_mwh(day)
        charge = self._tariff.demand_per_kw(day.day)
        examples = self._tariff.illustrative_on(day.day)
        series = PriceSeries(
            id=UNNAMED,
            zone=zone,
            product=PriceProduct.TARIFF_ENERGY,
            currency=self._tariff.currency,
            grid=day.grid(),
            prices_per_mwh=prices,
            source=f"{NAME}: {self._tariff.name}",
            published_at=None,
            fetched_at=self._clock.now(),
            quality=Quality.ESTIMATED if examples else Quality.FINAL,
            licence=self._licence,
            note="; ".join(_notes(examples, f"{charge} {self._tariff.currency}/kW" if charge > 0 else "")),
        )
        return named_prices(series, day)


def _notes(examples: Sequence[str], demand: str) -> Iterator[str]:
    if examples:
        yield f"{ILLUSTRATIVE} ({', '.join(examples)})"
    if demand:
        yield f"energy only; the demand charge of {demand} comes on top"


def load_tariff(path: Path, *, currency: str) -> TimeOfUseTariff:
    """Read a tariff from a JSON file of the format above.

    Raises:
        InvalidInput: The file is missing or breaks a rule; the field names where.
    """
    try:
        body = path.read_bytes()
    except OSError as error:
        raise InvalidInput("tariff", f"{path.name} cannot be read") from error
    document = read_object(body, "tariff")
    schedules = tuple(
        _schedule(as_object(row, f"tariff.schedule[{index}]"), f"tariff.schedule[{index}]")
        for index, row in enumerate(as_list(document.get("schedule"), "tariff.schedule"))
    )
    if not schedules:
        raise InvalidInput("tariff.schedule", "must not be empty")
    return TimeOfUseTariff(name=as_text(document.get("name"), "tariff.name"), currency=currency, schedules=schedules)


def _schedule(row: object, place: str) -> Schedule:
    fields = as_object(row, place)
    mask = _MASKS.get(as_text(fields.get("dow_mask"), f"{place}.dow_mask"))
    if mask is None:
        raise InvalidInput(f"{place}.dow_mask", f"must be one of {', '.join(_MASKS)}")
    times = tuple(
        timedelta(hours=as_number(hour, f"{place}.times[{i}]"))
        for i, hour in enumerate(as_list(fields.get("times"), f"{place}.times"))
    )
    prices = tuple(
        _money(price, f"{place}.tariffs[{i}]")
        for i, price in enumerate(as_list(fields.get("tariffs"), f"{place}.tariffs"))
    )
    _require_times(times, f"{place}.times")
    if len(prices) != len(times):
        raise InvalidInput(f"{place}.tariffs", "must have one price per time")
    return Schedule(
        id=as_text(fields.get("id"), f"{place}.id"),
        first_day=_month_day(fields.get("effective_start"), f"{place}.effective_start"),
        last_day=_month_day(fields.get("effective_end"), f"{place}.effective_end"),
        weekdays=mask,
        from_times=times,
        prices_per_kwh=prices,
        demand_charge_per_kw=_money(fields.get("demand_charge", 0), f"{place}.demand_charge"),
    )


def _require_times(times: tuple[timedelta, ...], place: str) -> None:
    if not times or times[0] != timedelta(0):
        raise InvalidInput(place, "must begin with 0")
    if any(later <= earlier for earlier, later in itertools.pairwise(times)):
        raise InvalidInput(place, "must increase")
    if times[-1] >= timedelta(hours=24) or any(time % timedelta(minutes=15) for time in times):
        raise InvalidInput(place, "must be quarter-hours below 24")


def _money(value: object, place: str) -> Decimal:
    """Return a number of the file exactly as it is written there: the shortest text of a float is its decimal."""
    return Decimal(repr(as_number(value, place)))


def _month_day(value: object, place: str) -> tuple[int, int]:
    match = _MONTH_DAY.fullmatch(as_text(value, place))
    if match is None:
        raise InvalidInput(place, "must be month and day such as 06-01")
    month, day = int(match[1]), int(match[2])
    try:
        date(2020, month, day)  # a leap year, so that 02-29 is a day
    except ValueError as error:
        raise InvalidInput(place, "is no day of the year") from error
    return month, day


def _since_midnight(local: datetime) -> timedelta:
    return timedelta(hours=local.hour, minutes=local.minute)
