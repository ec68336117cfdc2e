"""One source for all public feeds: bounded requests, the delivery day's grid, and the truth about resolution and licence.

```
feed.samples(ask, zone, day)      what the reply says: step, currency, price by begin
        |
delivery day's grid               hourly values repeated and counted; missing slots stay None
```
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Protocol

import aiohttp

from gateway.domain.errors import InvalidInput, PeerUnavailable
from gateway.domain.series import DELIVERY_STEPS, PriceProduct, PriceSeries, Quality
from gateway.domain.timegrid import DeliveryDay, TimeGrid
from gateway.domain.units import QUARTER_HOUR
from gateway.market_data.http_fetch import FetchCaps, checked_url, fetch
from gateway.market_data.provenance import UNNAMED, joined_note, named_prices
from gateway.market_data.turnstile import Pace, Turnstile
from gateway.ports import Clock

MOST_REQUESTS = 4
"""A feed that needs more requests for one delivery day is being led in circles."""
QUARTER_HOUR_MARKET = datetime(2025, 9, 30, 22, tzinfo=UTC)
"""Begin of the first delivery day on which the single day-ahead coupling clears quarter-hours (1 October 2025, CET)."""
_ABSENT = frozenset({204, 404})


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
        """What its prices are of."""
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
        if reply.status in _ABSENT:
            return None
        if reply.status == 429:
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
        grid = day.grid(grid_step(self._feed.product, samples.step))
        prices = on_grid(samples, grid)
        if all(price is None for price in prices):
            return None
        quality, notes = honest(self._feed.product, samples, grid)
        series = PriceSeries(
            id=UNNAMED,
            zone=zone,
            product=self._feed.product,
            currency=samples.currency,
            grid=grid,
            prices_per_mwh=prices,
            source=self.name,
            published_at=samples.published_at,
            fetched_at=self._clock.now(),
            quality=quality if stand_in is None else Quality.SUBSTITUTED,
            licence=self._feed.licence,
            note=joined_note(notes, stand_in),
        )
        return named_prices(series, day)


def grid_step(product: PriceProduct, native: timedelta) -> timedelta:
    """Return the step of a product's series: quarter-hours in the day-ahead coupling, the native one elsewhere."""
    return QUARTER_HOUR if product is PriceProduct.DAY_AHEAD_SDAC else native


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


def honest(product: PriceProduct, samples: Samples, grid: TimeGrid) -> tuple[Quality, tuple[str, ...]]:
    """Return quality and notes: hourly values of a market that clears quarter-hours are means, not its prices."""
    if samples.step <= grid.step:
        return samples.quality, samples.notes
    minutes = int(samples.step.total_seconds() // 60)
    repeated = f"values of {minutes} minutes are repeated over shorter periods"
    if product is PriceProduct.DAY_AHEAD_SDAC and grid.start >= QUARTER_HOUR_MARKET:
        return Quality.ESTIMATED, (*samples.notes, repeated, "the auction clears quarter-hours: these are means")
    return samples.quality, (*samples.notes, repeated)
