"""The prices that the sandbox's platforms publish: made from a seed, published by the clock, bent by a script.

```
day of a zone's auction    whole, at its usual time
script                     later, never, in pieces, revised by an amount, or in place of another auction
```
"""

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from math import pi, sin
from typing import Protocol

import numpy as np

from gateway.domain.timegrid import DeliveryDay, TimeGrid

QUARTER = timedelta(minutes=15)
HOUR = timedelta(hours=1)
QUARTER_HOUR_MARKET = datetime(2025, 9, 30, 22, tzinfo=UTC)
"""Begin of the first delivery day whose prices are quarter-hourly."""
CENT = Decimal("0.01")


class MarketTime(Protocol):
    """Whoever knows what time it is on the market."""

    def now(self) -> datetime:
        """Return market time, aware UTC."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Zone:
    """One bidding zone of the sandbox."""

    name: str
    area: str
    """EIC."""
    time_zone: str
    currency: str
    sequences: Mapping[str, str]
    """Classification sequence of each auction under contract A01; an empty text for a zone with one auction."""
    is_dual: bool = False
    """Whether imbalance has two prices."""


ZONES = {
    zone.name: zone
    for zone in (
        Zone(name="BE", area="10YBE----------2", time_zone="Europe/Brussels", currency="EUR", sequences={"sdac": ""}),
        Zone(name="FI", area="10YFI-1--------U", time_zone="Europe/Brussels", currency="EUR", sequences={"sdac": ""}),
        Zone(
            name="NL",
            area="10YNL----------L",
            time_zone="Europe/Amsterdam",
            currency="EUR",
            sequences={"sdac": ""},
            is_dual=True,
        ),
        Zone(
            name="DE_LU",
            area="10Y1001A1001A82H",
            time_zone="Europe/Berlin",
            currency="EUR",
            sequences={"sdac": "1", "exaa": "2"},
        ),
        Zone(name="PL", area="10YPL-AREA-----S", time_zone="Europe/Warsaw", currency="PLN", sequences={"sdac": "1"}),
        Zone(name="ES", area="10YES-REE------0", time_zone="Europe/Madrid", currency="EUR", sequences={"sdac": "1"}),
    )
}
INTRADAY = {"ida1": "1", "ida2": "2", "ida3": "3"}
"""Sequence of each intraday auction under contract A07."""
PUBLICATION = {
    "sdac": (-1, time(12, 57)),
    "exaa": (-1, time(10, 20)),
    "ida1": (-1, time(15, 20)),
    "ida2": (-1, time(22, 20)),
    "ida3": (0, time(10, 20)),
}
"""Day relative to delivery and local time at which an auction's results come out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DayScript:
    """What happens to one day of one auction."""

    publish_at: datetime | None = None
    """When it is published instead; None with `is_never` False leaves the usual time."""
    is_never: bool = False
    slots: int | None = None
    """Only so many periods from the begin are published; None for all."""
    plus: Decimal = Decimal(0)
    """Added to every price from `plus_at` on: a revision."""
    plus_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Paper:
    """What is published about one day of one auction."""

    grid: TimeGrid
    """Native periods: hours before the quarter-hour market, quarter-hours in it."""
    prices: tuple[Decimal | None, ...]
    revision: int


class PriceWorld:
    """Everything that is published, by zone, auction and day.

    Args:
        seed: Of all prices.
        clock: Market time.
    """

    def __init__(self, seed: int, clock: MarketTime) -> None:
        self._seed = seed
        self._clock = clock
        self._scripts: dict[tuple[str, str, str], DayScript] = {}
        self._truths: dict[tuple[str, str, DeliveryDay], tuple[TimeGrid, tuple[Decimal, ...]]] = {}

    def now(self) -> datetime:
        """Return market time."""
        return self._clock.now()

    def script(self, zone: str, auction: str, day: str, script: DayScript) -> None:
        """Let something happen to a day, an ISO date; the latest script counts."""
        self._scripts[zone, auction, day] = script

    def truth(self, zone: str, auction: str, day: DeliveryDay) -> tuple[TimeGrid, tuple[Decimal, ...]]:
        """Return the prices of a day as they will once be published, before any revision."""
        key = (zone, auction, day)
        if key not in self._truths:
            self._truths[key] = self._made(zone, auction, day)
        return self._truths[key]

    def _made(self, zone: str, auction: str, day: DeliveryDay) -> tuple[TimeGrid, tuple[Decimal, ...]]:
        step = QUARTER if day.interval.start >= QUARTER_HOUR_MARKET else HOUR
        grid = day.grid(step)
        chance = np.random.default_rng([self._seed, zlib.crc32(f"{zone}:{auction}:{day.day.isoformat()}".encode())])
        level = 50.0 + chance.uniform(0.0, 40.0)
        prices = [
            Decimal(f"{level + 35.0 * sin(2 * pi * (i / grid.count - 0.3)) + chance.uniform(-15.0, 15.0):.2f}")
            for i in range(grid.count)
        ]
        return grid, tuple(prices)

    def paper(self, zone: str, auction: str, day: DeliveryDay) -> Paper | None:
        """Return what is published about a day now; None before its publication."""
        script = self._scripts.get((zone, auction, day.day.isoformat()), DayScript())
        offset, at = PUBLICATION[auction]
        publish_at = script.publish_at or day.next(offset).at(at)
        if script.is_never or self.now() < publish_at:
            return None
        grid, truth = self.truth(zone, auction, day)
        is_revised = script.plus_at is not None and self.now() >= script.plus_at
        shown = grid.count if script.slots is None else script.slots
        first = day.at(time(12)) if auction == "ida3" else grid.start
        prices = [
            None if i >= shown or start < first else price + (script.plus if is_revised else Decimal(0))
            for i, (start, price) in enumerate(zip(grid.starts(), truth, strict=True))
        ]
        return Paper(grid=grid, prices=tuple(prices), revision=2 if is_revised else 1)

    def quarter_hours(self, zone: str, auction: str, day: DeliveryDay) -> dict[datetime, Decimal | None] | None:
        """Return what is published by the begin of each quarter-hour; an hour's price is repeated."""
        paper = self.paper(zone, auction, day)
        if paper is None:
            return None
        each = paper.grid.step // QUARTER
        return {
            start + QUARTER * part: price
            for start, price in zip(paper.grid.starts(), paper.prices, strict=True)
            for part in range(each)
        }


def days_touching(start: datetime, end: datetime, time_zone: str) -> Iterator[DeliveryDay]:
    """Return the delivery days that an interval touches, in order."""
    day = DeliveryDay.containing(start, time_zone)
    while day.interval.start < end:
        yield day
        day = day.next()
