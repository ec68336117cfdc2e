"""Production of a day from replies that the platform caps: smaller questions until every answer is whole.

```
day   1,000 points, or refused as too much --> halves of its time --> ... --> an hour
      too many series, or an answer that ignores the time asked for --> one production type at a time
```

From November 2025 to January 2026 replies were cut at 1,000 points without a word (case 18); a day of fifteen types has 1,440. A
refusal says so: `exceeds the allowed maximum`. Either way what was cut is thrown away and asked for again in pieces, within a
budget of requests.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.domain.errors import PeerUnavailable
from gateway.domain.timegrid import DeliveryDay, TimeGrid
from gateway.market_data.entsoe import EntsoeEndpoint
from gateway.market_data.entsoe_elements import TooMuchAsked
from gateway.market_data.entsoe_generation import PUMPED, Generation, read_generation

REALISED = "A16"
TYPES = (*(f"B{number:02}" for number in range(1, 21)), "B25")
"""Production types of ENTSO-E's code list; B25 is storage, new in 2025."""
_LEAST_SLOTS = 4
"""Nothing shorter than an hour is asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplyCaps:
    """Where the platform cuts, and how often it may be asked for one day."""

    points: int = 1_000
    """A reply of exactly so many points was cut."""
    series: tuple[int, ...] = (100, 200)
    """A reply of exactly so many series was cut."""
    requests: int = 40


@dataclass(frozen=True, kw_only=True, slots=True)
class WholeGeneration:
    """What was produced on a day, from one reply or from pieces."""

    generation: Generation
    stand_in: str | None
    """What the sandbox says about values that are not of this day or place."""
    request_count: int


class _TimeDoesNotHelp(Exception):
    """A shorter time makes no smaller answer: only one production type at a time does."""


class GenerationPieces:
    """Asks for one day of one zone.

    Args:
        endpoint: The platform's door.
        area: EIC of the zone.
        caps: Where replies are cut.
    """

    def __init__(self, endpoint: EntsoeEndpoint, area: str, caps: ReplyCaps | None = None) -> None:
        self._endpoint = endpoint
        self._area = area
        self._caps = ReplyCaps() if caps is None else caps
        self._asked = 0
        self._stand_ins: list[str] = []

    async def day(self, day: DeliveryDay) -> WholeGeneration | None:
        """Return what was produced on a delivery day; None when nothing is published yet.

        Raises:
            PeerUnavailable: The platform does not answer, or caps even the smallest question, or the budget is spent.
            InvalidInput: The platform refuses for another reason, or a document breaks a rule.
        """
        grid = day.grid()
        try:
            pieces = await self._span(grid, None)
        except _TimeDoesNotHelp:
            pieces = [one for kind in TYPES if kind != PUMPED for one in await self._span(grid, kind)]
        if not pieces:
            return None
        return WholeGeneration(
            generation=_joined(pieces),
            stand_in=self._stand_ins[0] if self._stand_ins else None,
            request_count=self._asked,
        )

    async def _span(self, span: TimeGrid, kind: str | None) -> list[Generation]:
        """Return the whole replies that make up a span, of one production type or of all."""
        try:
            found = await self._ask(span, kind)
        except TooMuchAsked as refusal:
            return await self._smaller(span, kind, by_type=refusal.counts_series)
        if found is None:
            return []
        is_cut = found.point_count == self._caps.points or found.series_count in self._caps.series
        if not is_cut:
            return [found]
        by_type = found.series_count in self._caps.series or _reaches_beyond(found, span)
        return await self._smaller(span, kind, by_type=by_type)

    async def _smaller(self, span: TimeGrid, kind: str | None, *, by_type: bool) -> list[Generation]:
        if by_type or span.count <= _LEAST_SLOTS:
            if kind is None:
                raise _TimeDoesNotHelp
            raise PeerUnavailable("ENTSO-E cuts its answer however little is asked for")
        count = span.count // 2
        first = TimeGrid(start=span.start, step=span.step, count=count)
        second = TimeGrid(start=first.end, step=span.step, count=span.count - count)
        return [*await self._span(first, kind), *await self._span(second, kind)]

    async def _ask(self, span: TimeGrid, kind: str | None) -> Generation | None:
        if self._asked >= self._caps.requests:
            raise PeerUnavailable(f"ENTSO-E cuts its answers: {self._caps.requests} requests are not enough for a day")
        self._asked += 1
        domains = {"processType": REALISED, "in_Domain": self._area}
        if kind is not None:
            domains["psrType"] = kind
        reply = await self._endpoint.ask_span("A75", domains, span)
        if reply.stand_in is not None:
            self._stand_ins.append(reply.stand_in)
        return await self._endpoint.read(_read, reply.body, self._area)


def _reaches_beyond(found: Generation, span: TimeGrid) -> bool:
    """Tell whether a reply has values outside the span that was asked for: then a shorter span makes no shorter reply."""
    return any(
        slots.start < span.start or slots.start + slots.step * len(slots.values) > span.end
        for periods in found.by_type.values()
        for slots in periods
    )


def _joined(pieces: Sequence[Generation]) -> Generation:
    kinds = dict.fromkeys(kind for piece in pieces for kind in piece.by_type)
    return Generation(
        by_type={kind: tuple(slots for piece in pieces for slots in piece.by_type.get(kind, ())) for kind in kinds},
        point_count=sum(piece.point_count for piece in pieces),
        series_count=sum(piece.series_count for piece in pieces),
    )


def _read(body: bytes, area: str) -> Generation | None:
    return read_generation(body, area=area)
