"""Prices from the ENTSO-E Transparency Platform: day-ahead (A44) and imbalance (A85).

One request per delivery day, no paging: a day of one zone is far below the platform's 100 series, and paging is where clients
hang on servers that ignore the offset. Why this is not entsoe-py's raw client is said in `areas.py`. The token goes out as the documented query parameter and comes back nowhere: not in
errors, not in logs. Source: Transparency Platform RESTful API, implementation guide (documentType, in_Domain, periodStart).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TypeVar, cast

import aiohttp

from gateway.domain.errors import InvalidInput, PeerUnavailable, Unavailable
from gateway.domain.series import PriceProduct, PriceSeries, Quality, slot_runs
from gateway.domain.timegrid import DeliveryDay, TimeGrid
from gateway.market_data.areas import area_code
from gateway.market_data.entsoe_day import AssembledDay, assemble_day, auction_series, require_limits
from gateway.market_data.entsoe_document import PriceDocument, PriceTimeSeries, read_balancing, read_publication
from gateway.market_data.entsoe_xml import read_zip
from gateway.market_data.http_fetch import FetchCaps, Reply, checked_url, fetch
from gateway.market_data.market_rules import MarketRules, contract_of
from gateway.market_data.provenance import UNNAMED, joined_note, named_prices
from gateway.market_data.turnstile import SERVER_ERROR, TOO_MANY, Pace, Turnstile
from gateway.market_data.zip_guard import is_zip
from gateway.observe import logger
from gateway.ports import Clock, Worker

NAME = "entsoe"
LICENCE = "ENTSO-E Transparency Platform, terms of use; prices are the exchanges'"
REQUESTS_PER_MINUTE = 60
_TOKEN_REFUSED = ("entsoe.token", "is refused by ENTSO-E")
_LOG = logger("market_data")
_FINAL = "A02"
_WITHDRAWN = "A13"
_CATEGORIES = {
    PriceProduct.IMBALANCE: None,
    PriceProduct.IMBALANCE_LONG: "A04",
    PriceProduct.IMBALANCE_SHORT: "A05",
}
"""imbalance_Price.category of each product: excess balance is A04, insufficient balance A05; None takes all."""
_WORKER_FROM_BYTES = 250_000
"""Larger documents take more than about 50 ms to read and go to a worker process."""
_ZIP_RATIO = 25
"""Price documents shrink to about a twenty-fifth."""
_WORKER_DEADLINE_S = 30.0
READER_MEMORY_BYTES = 200_000_000
"""What reading one document may take in a worker process: the largest that the other caps let through takes about a third."""

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True, slots=True)
class EntsoeAccount:
    """Where the platform is and who we are to it."""

    url: str
    """Address of the API, for example `https://web-api.tp.entsoe.eu/api`; https except on loopback."""
    token: str = field(repr=False)
    """The security token."""

    def __post_init__(self) -> None:
        """Reject an address that may not be given a token, and an empty token."""
        checked_url("entsoe.url", self.url)
        if not self.token:
            raise InvalidInput("entsoe.token", "must not be empty")


class EntsoeEndpoint:
    """The platform's door: account, budget and caps, shared by all sources behind it.

    Args:
        account: Address and token.
        session: HTTP session of the application.
        clock: For the fetch times and the budget.
        worker: Where big documents are read; None reads them on the loop.
        pace: How often it is asked, 60 times a minute by default; the platform bans for ten minutes above 400.
        caps: Bounds of one request in real seconds and bytes.
    """

    def __init__(
        self,
        *,
        account: EntsoeAccount,
        session: aiohttp.ClientSession,
        clock: Clock,
        worker: Worker | None = None,
        pace: Pace | None = None,
        caps: FetchCaps | None = None,
    ) -> None:
        self._account = account
        self._session = session
        self._clock = clock
        self._worker = worker
        self._caps = FetchCaps() if caps is None else caps
        pace = Pace(per_minute=REQUESTS_PER_MINUTE) if pace is None else pace
        self._turnstile = Turnstile(peer="ENTSO-E", key=NAME, pace=pace, clock=clock)
        self._is_token_refused = False

    def now(self) -> datetime:
        """Return the current instant, for `fetched_at`."""
        return self._clock.now()

    async def ask(self, document_type: str, domains: dict[str, str], day: DeliveryDay) -> Reply:
        """Ask for one delivery day; see `ask_span`."""
        return await self.ask_span(document_type, domains, day.grid())

    async def ask_span(self, document_type: str, domains: dict[str, str], span: TimeGrid) -> Reply:
        """Ask for a span of time; the reply's status is 200 or 400 (then an acknowledgement).

        Raises:
            PeerUnavailable: No answer, a refusal that passes, or the budget is spent.
            InvalidInput: The platform refuses the token; it is not sent again until the program starts anew.
        """
        if self._is_token_refused:
            raise InvalidInput(*_TOKEN_REFUSED)
        await self._turnstile.enter()
        params = {
            "securityToken": self._account.token,
            "documentType": document_type,
            **domains,
            "periodStart": _stamp(span.start),
            "periodEnd": _stamp(span.end),
        }
        reply = await fetch(
            self._session, self._account.url, peer="ENTSO-E", params=params, headers={}, caps=self._caps
        )
        if reply.status < SERVER_ERROR and reply.status != TOO_MANY:
            await self._turnstile.answered()
        if reply.status in {200, 400}:
            return reply
        if reply.status in {401, 403}:
            self._is_token_refused = True
            _LOG.error("entsoe_token_refused", status=reply.status)
            raise InvalidInput(*_TOKEN_REFUSED)
        if reply.status == TOO_MANY:
            minutes = (await self._turnstile.refused()).total_seconds() / 60.0
            raise PeerUnavailable(f"ENTSO-E had too many requests; waiting {minutes:.0f} minutes")
        raise PeerUnavailable(f"ENTSO-E answered with status {reply.status}")

    async def read(self, reader: Callable[[bytes, str], _T], body: bytes, area: str) -> _T:
        """Read a body, in a worker process when it is big, with the token cut out of whatever goes wrong."""
        try:
            size = len(body) * (_ZIP_RATIO if is_zip(body) else 1)
            if self._worker is None or size < _WORKER_FROM_BYTES:
                return reader(body, area)
            return cast("_T", await self._worker.run(reader, body, area, deadline_s=_WORKER_DEADLINE_S))
        except TimeoutError:
            refusal = InvalidInput("document", f"takes more than {_WORKER_DEADLINE_S:g} s to read")
        except PeerUnavailable:
            raise
        except Unavailable:
            refusal = InvalidInput("document", "ends the process that reads it")
        except MemoryError:
            refusal = InvalidInput("document", "needs more memory to read than a worker may take")
        except InvalidInput as error:
            refusal = type(error)(error.field, error.problem.replace(self._account.token, "***"))
        # Raised out here, so that no chained exception brings the token back.
        raise refusal


class EntsoePriceSource:
    """Prices of one day-ahead or intraday auction; `ports.PriceSource`.

    Only the auction of `product` is returned, chosen by the zone's rule. The EXAA auction is a hint of the day, never the
    price that settles: it is always preliminary. `published_at` is the document's creation time, which the platform sets when
    it answers: the prices were published then or earlier.
    """

    def __init__(
        self, *, endpoint: EntsoeEndpoint, rules: MarketRules, product: PriceProduct = PriceProduct.DAY_AHEAD_SDAC
    ) -> None:
        self._endpoint = endpoint
        self._rules = rules
        self._product = product

    @property
    def name(self) -> str:
        """Short name for provenance."""
        return NAME

    async def fetch(self, zone: str, day: DeliveryDay) -> PriceSeries | None:
        """Return the prices of a delivery day on its quarter-hours, gaps as None; None when nothing is published yet.

        Raises:
            PeerUnavailable: The platform does not answer, asks to wait or sends a web page.
            InvalidInput: The zone is unknown, the platform refuses the request, or the document breaks a rule.
        """
        area = area_code(zone)
        domains = {"in_Domain": area, "out_Domain": area, "contract_MarketAgreement.type": contract_of(self._product)}
        reply = await self._endpoint.ask("A44", domains, day)
        document = await self._endpoint.read(read_prices, reply.body, area)
        if document is None:
            return None
        assembled = assemble_day(auction_series(document, self._rules.zone(zone), self._product), day)
        if assembled is None:
            return None
        require_limits(assembled, self._rules.limits_on(self._product, assembled.currency, day.day))
        is_certain = self._product is not PriceProduct.DAY_AHEAD_EXAA and not assembled.is_suspicious
        asked = _Asked(
            zone=zone,
            product=self._product,
            day=day,
            published_at=document.created_at,
            fetched_at=self._endpoint.now(),
            stand_in=reply.stand_in,
        )
        return _series(assembled, asked, Quality.FINAL if is_certain else Quality.PRELIMINARY)


class EntsoeImbalanceSource:
    """Imbalance prices of one direction, or of both where one price holds, as in Belgium; `ports.PriceSource`.

    A day in progress comes with the quarter-hours that have passed; it is preliminary until the operator's final document. Where
    a document has one price without a category, it is the price of both directions: in the Netherlands long and short differ in
    regulation state 2 only.
    """

    def __init__(
        self, *, endpoint: EntsoeEndpoint, rules: MarketRules, product: PriceProduct = PriceProduct.IMBALANCE
    ) -> None:
        self._endpoint = endpoint
        self._rules = rules
        self._product = product
        self._category = _CATEGORIES[product]

    @property
    def name(self) -> str:
        """Short name for provenance."""
        return NAME

    async def fetch(self, zone: str, day: DeliveryDay) -> PriceSeries | None:
        """Return the imbalance prices of a delivery day, quarter-hours without one as None; None before the first one.

        Raises:
            PeerUnavailable: The platform does not answer, asks to wait or sends a web page.
            InvalidInput: The archive or a document breaks a rule, or long and short have different prices although one price
                was asked for: a series that mixed them would settle wrongly.
        """
        area = area_code(zone)
        reply = await self._endpoint.ask("A85", {"controlArea_Domain": area}, day)
        documents = await self._endpoint.read(read_imbalance, reply.body, area)
        valid = [document for document in documents if document.status != _WITHDRAWN]
        final = _single_price(self._mine(d for d in valid if d.status == _FINAL), day)
        early = _single_price(self._mine(d for d in valid if d.status != _FINAL), day)
        chosen = _first_known(final, early)
        if chosen is None:
            return None
        require_limits(chosen, self._rules.limits_on(PriceProduct.IMBALANCE, chosen.currency, day.day))
        asked = _Asked(
            zone=zone,
            product=self._product,
            day=day,
            published_at=max(document.created_at for document in valid),
            fetched_at=self._endpoint.now(),
            stand_in=reply.stand_in,
        )
        is_final = final is not None and chosen.prices_per_mwh == final.prices_per_mwh
        return _series(chosen, asked, Quality.FINAL if is_final else Quality.PRELIMINARY)

    def _mine(self, documents: Iterable[PriceDocument]) -> list[PriceTimeSeries]:
        """Return the series of our direction: its own category, or the one price that holds for both."""
        found = [series for document in documents for series in document.series]
        if self._category is None:
            return found
        return [series for series in found if series.category in (self._category, None)]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Asked:
    """What was asked for and what the reply says about itself."""

    zone: str
    product: PriceProduct
    day: DeliveryDay
    published_at: datetime
    fetched_at: datetime
    stand_in: str | None


def read_prices(body: bytes, area: str) -> PriceDocument | None:
    """Read the body of an A44 reply; importable by name for a worker process."""
    return read_publication(body, area=area)


def read_imbalance(body: bytes, area: str) -> tuple[PriceDocument, ...]:
    """Read the body of an A85 reply, an archive or an acknowledgement; empty when there is no matching data yet."""
    members = read_zip(body) if is_zip(body) else (body,)
    read = (read_balancing(member, area=area) for member in members)
    return tuple(document for document in read if document is not None)


def _single_price(series: Sequence[PriceTimeSeries], day: DeliveryDay) -> AssembledDay | None:
    """Return the day when all categories agree on one price per slot."""
    by_category = [
        assembled
        for category in sorted({s.category or "" for s in series})
        if (assembled := assemble_day([s for s in series if (s.category or "") == category], day)) is not None
    ]
    merged: AssembledDay | None = None
    for assembled in by_category:
        merged = assembled if merged is None else _merge(merged, assembled, must_agree=True)
    return merged


def _first_known(first: AssembledDay | None, then: AssembledDay | None) -> AssembledDay | None:
    """Return the first day with its gaps filled from the second, which comes later in rank."""
    if first is None or then is None:
        return then if first is None else first
    return _merge(first, then, must_agree=False)


def _merge(first: AssembledDay, then: AssembledDay, *, must_agree: bool) -> AssembledDay:
    if first.currency != then.currency:
        raise InvalidInput("currency_Unit.name", f"{first.currency} and {then.currency} do not mix")
    prices: list[Decimal | None] = []
    steps: list[timedelta | None] = []
    for slot, (left, right) in enumerate(zip(first.prices_per_mwh, then.prices_per_mwh, strict=True)):
        if must_agree and left is not None and right is not None and left != right:
            start = first.grid.slot_start(slot).isoformat()
            raise InvalidInput("imbalance_Price", f"long and short differ at {start}: {left} and {right}")
        prices.append(right if left is None else left)
        steps.append(then.native_steps[slot] if left is None else first.native_steps[slot])
    return AssembledDay(
        grid=first.grid,
        currency=first.currency,
        prices_per_mwh=tuple(prices),
        native_steps=tuple(steps),
        repeated_tail=max(first.repeated_tail, then.repeated_tail),
    )


def _series(assembled: AssembledDay, asked: _Asked, quality: Quality) -> PriceSeries:
    if asked.stand_in is not None:
        quality = Quality.SUBSTITUTED
    series = PriceSeries(
        id=UNNAMED,
        zone=asked.zone,
        product=asked.product,
        currency=assembled.currency,
        grid=assembled.grid,
        prices_per_mwh=assembled.prices_per_mwh,
        source=NAME,
        published_at=asked.published_at,
        fetched_at=asked.fetched_at,
        quality=quality,
        licence=LICENCE,
        note=joined_note(assembled.notes(), asked.stand_in),
        runs=slot_runs(
            [None if step is None else (step, NAME, quality) for step in assembled.native_steps],
            (assembled.grid.step, NAME, quality),
        ),
    )
    return named_prices(series, asked.day)


def _stamp(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y%m%d%H%M")
