"""What a site pays for electricity, layer by layer: energy, network fees, taxes and levies, each with its validity.

```
per kWh     energy 0.0925 | network 0.0312 | tax 0.0205      added up per quarter-hour of the wall clock
per kW      on the highest mean power of a billing month
per month   and per day: the same whatever is drawn
share       of everything else, for example value added tax
```

A layer that is not valid on a day costs nothing on it; a layer that is valid must say what every quarter-hour costs: what it is
silent about would otherwise be free. Where a sheet has no price outside its windows, the layer says `elsewhere` what holds there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, time
from decimal import Decimal
from enum import StrEnum

from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import DeliveryDay, zone_of

_KWH_PER_MWH = Decimal(1000)
ILLUSTRATIVE = "illustrative: structure of a public price sheet, numbers are not a tariff"
"""What is said wherever a layer is shown whose amount is an example of nobody in particular."""


class LayerKind(StrEnum):
    """What a layer is for."""

    ENERGY = "energy"
    NETWORK = "network"
    TAX = "tax"
    LEVY = "levy"


class LayerUnit(StrEnum):
    """What an amount is multiplied with."""

    PER_KWH = "per-kwh"
    PER_KW_MONTH = "per-kw-month"
    """The highest mean power of a quarter-hour in a calendar month, at the meter."""
    PER_MONTH = "per-month"
    PER_DAY = "per-day"
    SHARE = "share"
    """Of the sum of all other layers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TariffWindow:
    """When an amount holds, by the wall clock."""

    amount: Decimal
    first_day: tuple[int, int] = (1, 1)
    """Month and day of the season's first day."""
    last_day: tuple[int, int] = (12, 31)
    """Month and day of its last day, inclusive; before `first_day` when the season wraps the year."""
    weekdays: frozenset[int] = frozenset(range(7))
    """Monday is 0."""
    start: time = time(0)
    end: time | None = None
    """First wall-clock time outside; None is midnight. Before `start` when the window wraps midnight."""

    def holds(self, day: date, clock: time) -> bool:
        """Tell whether it holds at a wall-clock time of a civil day."""
        today = (day.month, day.day)
        if self.first_day <= self.last_day:
            in_season = self.first_day <= today <= self.last_day
        else:
            in_season = today >= self.first_day or today <= self.last_day
        return in_season and day.weekday() in self.weekdays and self._is_inside(clock)

    def _is_inside(self, clock: time) -> bool:
        if self.end is None:
            return clock >= self.start
        if self.start <= self.end:
            return self.start <= clock < self.end
        return clock >= self.start or clock < self.end


@dataclass(frozen=True, kw_only=True, slots=True)
class TariffLayer:
    """One line of a bill."""

    name: str
    kind: LayerKind
    unit: LayerUnit
    valid_from: date
    valid_until: date | None
    """First day on which it holds no more; None when no end is known."""
    windows: tuple[TariffWindow, ...]
    """One without any restriction when the amount is the same always."""
    elsewhere: Decimal | None = None
    """What holds outside all windows; None when they must cover everything."""
    source: str = ""
    """Where its amounts are published; empty when only the tariff as a whole says."""
    is_illustrative: bool = False
    """Whether its amounts are examples of nobody in particular: only the structure is that of a price sheet."""

    def __post_init__(self) -> None:
        """Reject an end before the begin, amounts that are not finite, and windows where a unit has no time of day."""
        if self.valid_until is not None and self.valid_until <= self.valid_from:
            raise InvalidInput(f"layer.{self.name}.valid_until", "must be after valid_from")
        if any(not window.amount.is_finite() for window in self.windows):
            raise InvalidInput(f"layer.{self.name}.amount", "must be a finite number")
        if self.is_illustrative and self.source:
            raise InvalidInput(f"layer.{self.name}.illustrative", "is for amounts that nobody has published")
        if self.unit is not LayerUnit.PER_KWH and any(window.start > time(0) or window.end for window in self.windows):
            raise InvalidInput(f"layer.{self.name}.hours", f"has no meaning for {self.unit.value}")

    def is_valid_on(self, day: date) -> bool:
        """Tell whether the layer holds on a civil day."""
        return self.valid_from <= day and (self.valid_until is None or day < self.valid_until)

    def amount_at(self, day: date, clock: time = time(0)) -> Decimal:
        """Return the amount at a wall-clock time of a day on which the layer is valid.

        Raises:
            InvalidInput: No window holds and nothing is said for elsewhere, or two windows hold.
        """
        found = [window.amount for window in self.windows if window.holds(day, clock)]
        if len(found) > 1:
            raise InvalidInput(f"layer.{self.name}", f"has two amounts at {day.isoformat()} {clock:%H:%M}")
        if found:
            return found[0]
        if self.elsewhere is None:
            raise InvalidInput(f"layer.{self.name}", f"has no amount at {day.isoformat()} {clock:%H:%M}")
        return self.elsewhere


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteTariff:
    """All layers of one site's supply."""

    name: str
    currency: str
    """ISO 4217 code."""
    time_zone: str
    """IANA time zone whose wall clock the windows are of."""
    source: str
    licence: str
    layers: tuple[TariffLayer, ...]

    def __post_init__(self) -> None:
        """Reject a tariff without layers and two layers of one name that hold on the same day."""
        zone_of(self.time_zone)
        if not self.layers:
            raise InvalidInput("tariff.layer", "must not be empty")
        for index, one in enumerate(self.layers):
            for other in self.layers[index + 1 :]:
                if one.name == other.name and (one.is_valid_on(other.valid_from) or other.is_valid_on(one.valid_from)):
                    raise InvalidInput(f"layer.{one.name}", "is valid twice on one day")

    @property
    def has_energy(self) -> bool:
        """Whether it prices the energy itself; otherwise its layers come on top of a market's price."""
        return any(layer.kind is LayerKind.ENERGY for layer in self.layers)

    def illustrative_on(self, day: date) -> tuple[str, ...]:
        """Return the names of the layers of a day whose amounts are illustrative: what is made from them is no real cost."""
        return tuple(layer.name for layer in self.layers if layer.is_illustrative and layer.is_valid_on(day))

    def prices_per_mwh(self, day: DeliveryDay) -> tuple[Decimal, ...]:
        """Return the sum of all layers per kWh of each quarter-hour of a day, per MWh, shares included.

        Raises:
            InvalidInput: The day is of another time zone, no layer is valid, or one is silent about a quarter-hour.
        """
        if day.zone != self.time_zone:
            raise InvalidInput("tariff.time_zone", f"is {self.time_zone}, the day is of {day.zone}")
        layers = self._valid(day.day, LayerUnit.PER_KWH)
        if not layers:
            raise InvalidInput("tariff.layer", f"says nothing about energy on {day.day.isoformat()}")
        factor = self._factor(day.day) * _KWH_PER_MWH
        zone = zone_of(self.time_zone)
        clocks = (start.astimezone(zone).time() for start in day.grid().starts())
        return tuple(
            sum((layer.amount_at(day.day, clock) for layer in layers), Decimal(0)) * factor for clock in clocks
        )

    def demand_per_kw(self, day: date) -> Decimal:
        """Return what each kW of the month's highest mean power costs, shares included; 0 when there is no such layer."""
        layers = self._valid(day, LayerUnit.PER_KW_MONTH)
        return sum((layer.amount_at(day) for layer in layers), Decimal(0)) * self._factor(day)

    def fixed_per_day(self, day: date, days_in_month: int) -> Decimal:
        """Return what a day costs whatever is drawn: amounts per day, and per month by its number of days, shares included."""
        daily = sum((layer.amount_at(day) for layer in self._valid(day, LayerUnit.PER_DAY)), Decimal(0))
        monthly = sum((layer.amount_at(day) for layer in self._valid(day, LayerUnit.PER_MONTH)), Decimal(0))
        return (daily + monthly / days_in_month) * self._factor(day)

    def shares(self, day: DeliveryDay, kwh: Sequence[Decimal]) -> dict[str, Decimal]:
        """Return what each layer per kWh costs for the energy of a day's quarter-hours, shares as layers of their own."""
        zone = zone_of(self.time_zone)
        clocks = [start.astimezone(zone).time() for start in day.grid().starts()]
        costs = {
            layer.name: sum(
                (layer.amount_at(day.day, at) * one for at, one in zip(clocks, kwh, strict=True)), Decimal(0)
            )
            for layer in self._valid(day.day, LayerUnit.PER_KWH)
        }
        total = sum(costs.values(), Decimal(0))
        taxes = {layer.name: layer.amount_at(day.day) * total for layer in self._valid(day.day, LayerUnit.SHARE)}
        return costs | taxes

    def _valid(self, day: date, unit: LayerUnit) -> list[TariffLayer]:
        return [layer for layer in self.layers if layer.unit is unit and layer.is_valid_on(day)]

    def _factor(self, day: date) -> Decimal:
        shares = self._valid(day, LayerUnit.SHARE)
        return Decimal(1) + sum((layer.amount_at(day) for layer in shares), Decimal(0))
