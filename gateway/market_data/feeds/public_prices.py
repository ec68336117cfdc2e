"""One source for all public feeds: bounded requests, the delivery day's grid, and the truth about resolution and licence.

```
feed.samples(ask, zone, day)      what the reply says: step, currency, price by begin
        |
delivery day's grid               hourly values repeated, their native step kept; missing slots stay None
```
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Protocol

import aiohttp

from gateway.domain.errors import InvalidInput, PeerUnavailable
from gateway.domain.market_time_units import MarketTimeUnit, day_ahead_product, market_time_unit
from gateway.domain.series import DELIVERY_STEPS, PriceProduct, PriceSeries, Quality, SlotRun, slot_runs
from gateway.domain.timegrid import DeliveryDay, TimeGrid
from gateway.domain.units import QUARTER_HOUR
from gateway.market_data.http_fetch import FetchCaps, checked_url, fetch
from gateway.market_data.provenance import UNNAMED, joined_note, named_prices
from gateway.market_data.turnstile import SERVER_ERROR, TOO_MANY, Pace, Turnstile
from gateway.ports import Clock

MOST_REQUESTS = 4
"""A feed that needs more requests for one delivery day is being led in circles."""
QUARTER_HOUR_MARKET = datetime(2025, 9, 30, 22, tzinfo=UTC)
"""Begin of the first delivery day on which the single day-ahead coupling clears quarter-hours (1 October 2025, CET)."""
_ABSENT = frozenset({204, 404})
_ON_QUARTER_HOURS = frozenset({PriceProduct.DAY_AHEAD_SDAC, PriceProduct.DAY_AHEAD_LOCAL})


@dataclass(frozen=True, kw_only=True, slots=True)
class Samples:
    """What a feed's replies say about a delivery day."""

    currency: str
    """ISO 4217 code."""
    step: timedelta
    """Native resolution: 15, 30 or 60 minutes."""
    price_per_mwh: Mapping[datetime, Decimal | None]
    """By the begin of its period, aware UTC; None where the feed itself says that it has none."""
    quality: Quality = Quality.FINAL
    published_at: datetime | None = None
    notes: tuple[str, ...] = ()


Ask = Callable[[str, Mapping[str, str]], Awaitable[bytes | None]]
"""Asks for a path below the feed's address with query parameters; None when there is no such thing (yet)."""


class PriceFeed(Protocol):
    """A place that publishes prices without a key."""

    @property
    def name(self) -> str:
        """Short name for provenance."""
        ...

    @property
    def licence(self) -> str:
        """Under which terms the values may be used."""
        ...

    @property
    def product(self) -> PriceProduct:
        """What its prices are of; prices of the coupling are those of the zone's own auction in a zone outside of it."""
        ...

    async def samples(self, ask: Ask, zone: str, day: DeliveryDay) -> Samples | None:
        """Return what the feed knows about a delivery day; None when nothing is published yet.

        Raises:
            InvalidInput: It does not cover the zone, or a reply breaks a rule; the field says where.
        """
        ...


class PublicPrices:
    """Prices of one public feed; `ports.PriceSource`.

    Args:
        feed: The place.
        url: Its address; https except on loopback.
        session: HTTP session of the application.
        clock: For the fetch times and the budget.
        pace: How often it may be asked.
        caps: Bounds of one request in real seconds and bytes.
    """

    def __init__(
        self,
        *,
        feed: PriceFeed,
        url: str,
        session: aiohttp.ClientSession,
        clock: Clock,
        pace: Pace | None = None,
        caps: FetchCaps | None = None,
    ) -> None:
        self._feed = feed
        self._url = checked_url(f"{feed.name}.url", url).rstrip("/")
        self._session = session
        self._clock = clock
        self._caps = FetchCaps() if caps is None else caps
        pace = Pace() if pace is None else pace
        self._turnstile = Turnstile(peer=feed.name, key=feed.name, pace=pace, clock=clock)

    @property
    def name(self) -> str:
        """Short name for provenance."""
        return self._feed.name

    def product_in(self, zone: str) -> PriceProduct:
        """Return what its prices of a zone are of."""
        own = self._feed.product
        return day_ahead_product(zone) if own is PriceProduct.DAY_AHEAD_SDAC else own

    async def fetch(self, zone: str, day: DeliveryDay) -> PriceSeries | None:
        """Return the prices of a delivery day, gaps as None; None when nothing is published yet.

        Raises:
            PeerUnavailable: The feed does not answer, asks to wait, or its budget is spent.
            InvalidInput: The zone is not covered, or a reply breaks a rule.
        """
        stand_ins: list[str] = []
        left = MOST_REQUESTS

        async def ask(path: str, params: Mapping[str, str]) -> bytes | None:
            nonlocal left
            left -= 1
            if left < 0:
                raise PeerUnavailable(f"{self.name} needs more than {MOST_REQUESTS} requests for one day")
            return await self._ask(path, params, stand_ins)

        samples = await self._feed.samples(ask, zone, day)
        if samples is None:
            return None
        return self._series(zone, day, samples, stand_ins[0] if stand_ins else None)

    async def _ask(self, path: str, params: Mapping[str, str], stand_ins: list[str]) -> bytes | None:
        await self._turnstile.enter()
        reply = await fetch(
            self._session, f"{self._url}{path}", peer=self.name, params=params, headers={}, caps=self._caps
        )
        if reply.status < SERVER_ERROR and reply.status != TOO_MANY:
            await self._turnstile.answered()
        if reply.status in _ABSENT:
            return None
        if reply.status == TOO_MANY:
            minutes = (await self._turnstile.refused()).total_seconds() / 60.0
            raise PeerUnavailable(f"{self.name} had too many requests; waiting {minutes:.0f} minutes")
        if reply.status != 200:
            raise PeerUnavailable(f"{self.name} answered with status {reply.status}")
        if reply.stand_in is not None:
            stand_ins.append(reply.stand_in)
        return reply.body

    def _series(self, zone: str, day: DeliveryDay, samples: Samples, stand_in: str | None) -> PriceSeries | None:
        if samples.step not in DELIVERY_STEPS:
            raise InvalidInput("step", f"{samples.step} is no delivery period of a market")
        product = self.product_in(zone)
        grid = day.grid(grid_step(product, samples.step))
        prices = on_grid(samples, grid)
        if all(price is None for price in prices):
            return None
        quality, notes = honest(samples, market_time_unit(product, zone, day.day))
        quality = quality if stand_in is None else Quality.SUBSTITUTED
        series = PriceSeries(
            id=UNNAMED,
            zone=zone,
            product=product,
            currency=samples.currency,
            grid=grid,
            prices_per_mwh=prices,
            source=self.name,
            published_at=samples.published_at,
            fetched_at=self._clock.now(),
            quality=quality,
            licence=self._feed.licence,
            note=joined_note(notes, stand_in),
            runs=native_runs(samples, grid, self.name, quality),
        )
        return named_prices(series, day)


def grid_step(product: PriceProduct, native: timedelta) -> timedelta:
    """Return the step of a product's series: quarter-hours for day-ahead auctions of Europe, the native one elsewhere."""
    return QUARTER_HOUR if product in _ON_QUARTER_HOURS else native


def on_grid(samples: Samples, grid: TimeGrid) -> tuple[Decimal | None, ...]:
    """Return one price per slot of the grid: the sample whose period holds the slot, None where there is none.

    Raises:
        InvalidInput: A sample inside the grid does not begin on a whole period of the market's day.
    """
    for start in samples.price_per_mwh:
        if grid.start <= start < grid.end and (start - grid.start) % samples.step:
            raise InvalidInput("samples", f"{start.isoformat()} is no begin of a delivery period")
    return tuple(
        samples.price_per_mwh.get(grid.start + (start - grid.start) // samples.step * samples.step)
        for start in grid.starts()
    )


def honest(samples: Samples, unit: MarketTimeUnit | None) -> tuple[Quality, tuple[str, ...]]:
    """Return quality and notes: values of longer periods than the market clears are means of its prices.

    Args:
        samples: What the feed says.
        unit: What the market clears; None where it is not known: then the feed is believed.
    """
    if unit is None or samples.step <= unit.step:
        return samples.quality, samples.notes
    cleared, told = (int(step.total_seconds() // 60) for step in (unit.step, samples.step))
    means = f"the auction clears periods of {cleared} minutes: these are means of {told}"
    return Quality.ESTIMATED, (*samples.notes, means)


def native_runs(samples: Samples, grid: TimeGrid, source: str, quality: Quality) -> tuple[SlotRun, ...]:
    """Return the runs of a series whose values are all of the feed's step."""
    return slot_runs([(samples.step, source, quality)] * grid.count, (grid.step, source, quality))
