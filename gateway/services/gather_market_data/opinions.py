"""What every source says about a delivery day now, side by side; nothing of it is kept."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from gateway.domain.errors import InvalidInput, NotFound, PeerUnavailable
from gateway.domain.identity import Permission, Principal
from gateway.domain.price_check import PriceComparison, compare_prices
from gateway.domain.series import PriceProduct, PriceSeries, market_day_id, require_day
from gateway.domain.timegrid import DeliveryDay
from gateway.ports import Clock, PriceSource

REMEMBERED = timedelta(minutes=2)
"""Who asks again within this time gets the same answers: people click twice, sources count calls."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceAnswer:
    """What one source says about a delivery day."""

    source: str
    series: PriceSeries | None
    problem: str
    """Why there is no series; empty when there is one."""


def require_asked(series: PriceSeries, zone: str, product: PriceProduct, day: DeliveryDay) -> None:
    """Check that a source answered what it was asked.

    Raises:
        InvalidInput: Another zone, product or day.
    """
    if series.zone != zone:
        raise InvalidInput("series.zone", f"is not {zone}")
    if series.product is not product:
        raise InvalidInput("series.product", f"is not {product.value}; two auctions never mix")
    require_day(series.grid, day)


async def ask_sources(sources: Iterable[PriceSource], zone: str, day: DeliveryDay) -> tuple[SourceAnswer, ...]:
    """Ask sources for a delivery day one after the other; one that fails says why and stops nobody."""
    answers = []
    for source in sources:
        series, problem = None, "nothing is published"
        try:
            series = await source.fetch(zone, day)
        except (PeerUnavailable, InvalidInput) as error:
            problem = str(error)
        answers.append(SourceAnswer(source=source.name, series=series, problem="" if series is not None else problem))
    return tuple(answers)


def compared(answers: Sequence[SourceAnswer]) -> tuple[PriceComparison | str, ...]:
    """Return how each further source compares with the first that has prices, or why it cannot be compared."""
    known = [answer.series for answer in answers if answer.series is not None]
    found: list[PriceComparison | str] = []
    for other in known[1:]:
        try:
            comparison = compare_prices(known[0], other)
        except InvalidInput as error:
            found.append(f"{other.source} cannot be compared: {error}")
            continue
        found.append(comparison or f"{other.source} cannot be compared: it has no prices of its own for these periods")
    return tuple(found)


class SourceOpinions:
    """Asks the sources for people, one day at a time."""

    def __init__(self, sources: Mapping[tuple[str, PriceProduct], Sequence[PriceSource]], clock: Clock) -> None:
        """Remember the sources, by zone and product in order of preference, and the clock."""
        self._sources = dict(sources)
        self._clock = clock
        self._lock = asyncio.Lock()
        self._last: tuple[str, float, tuple[SourceAnswer, ...]] | None = None

    async def ask(
        self, principal: Principal, zone: str, product: PriceProduct, day: DeliveryDay
    ) -> tuple[SourceAnswer, ...]:
        """Return what every source of a zone and product says about a day.

        Raises:
            PermissionRefused: The caller may not read market data.
            NotFound: There is no source of it.
        """
        principal.require(Permission.MARKET_READ)
        if (zone, product) not in self._sources:
            raise NotFound("price-source", f"{zone}:{product.value}")
        asked = market_day_id(zone, product, day)
        async with self._lock:
            if self._last is not None and self._last[0] == asked and self._clock.monotonic() < self._last[1]:
                return self._last[2]
            answers = await ask_sources(self._sources[zone, product], zone, day)
            self._last = asked, self._clock.monotonic() + REMEMBERED.total_seconds(), answers
        return answers
