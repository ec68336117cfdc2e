"""Half-hourly unit rates of Octopus Energy's Agile tariff (Great Britain): what a supply contract charges, not an auction.

`GET /v1/products/{P}/electricity-tariffs/E-1R-{P}-{region}/standard-unit-rates/?period_from=&period_to=` answers pages of
`{"results": [{"value_exc_vat": 25.01, "valid_from": "...Z", "valid_to": "...Z"}], "next": url | null}` in pence per kWh, newest
first, published about 16:00. Rates may be negative. Source: Octopus Energy REST API, public.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from urllib.parse import parse_qsl, urlsplit

from gateway.domain.errors import InvalidInput, PeerUnavailable
from gateway.domain.series import PriceProduct
from gateway.domain.timegrid import DeliveryDay
from gateway.market_data.feeds.public_prices import MOST_REQUESTS, Ask, Samples
from gateway.market_data.json_document import as_decimal, as_instant, as_list, as_object, read_object

PENCE_PER_KWH_TO_POUND_PER_MWH = Decimal(10)
_HALF_HOUR = timedelta(minutes=30)
_REGIONS = frozenset("ABCDEFGHJKLMNP")


class OctopusAgile:
    """The feed of one product and region; `PriceFeed`.

    Args:
        product_code: For example `AGILE-24-10-01`.
        region: Letter of the distribution region, A to P without I and O.
        zone: What the place is called in rows.
        with_vat: Whether rates include value added tax, which a business gets back.
    """

    name = "octopus"
    licence = "Octopus Energy, public API"
    product = PriceProduct.TARIFF_ENERGY

    def __init__(self, *, product_code: str, region: str, zone: str, with_vat: bool = False) -> None:
        if region not in _REGIONS:
            raise InvalidInput("octopus.region", "must be a letter of A to P without I and O")
        if not product_code or not product_code.replace("-", "").isalnum():
            raise InvalidInput("octopus.product", "must be letters, digits and hyphens")
        self._path = (
            f"/v1/products/{product_code}/electricity-tariffs/E-1R-{product_code}-{region}/standard-unit-rates/"
        )
        self._zone = zone
        self._field = "value_inc_vat" if with_vat else "value_exc_vat"

    async def samples(self, ask: Ask, zone: str, day: DeliveryDay) -> Samples | None:
        """Return the day's rates; see `PriceFeed`."""
        if zone != self._zone:
            raise InvalidInput("zone", f"{zone!r} is not the place of this tariff")
        params: Mapping[str, str] = {
            "period_from": _stamp(day.grid().start),
            "period_to": _stamp(day.grid().end),
            "page_size": "100",
        }
        rates: dict[datetime, Decimal | None] = {}
        for _ in range(MOST_REQUESTS):
            body = await ask(self._path, params)
            if body is None:
                return None
            document = read_object(body, "octopus", exact=True)
            rates |= dict(self._rates(document, day))
            following = document.get("next")
            if following is None:
                return Samples(currency="GBP", step=_HALF_HOUR, price_per_mwh=rates) if rates else None
            params = _next_page(following)
        raise PeerUnavailable("octopus pages without end")

    def _rates(self, document: Mapping[str, object], day: DeliveryDay) -> Iterator[tuple[datetime, Decimal]]:
        """Yield the rate of every half-hour; one that is valid for longer, or without end, is repeated inside the day."""
        grid = day.grid(_HALF_HOUR)
        for i, row in enumerate(as_list(document.get("results"), "results")):
            entry = as_object(row, f"results[{i}]")
            value = as_decimal(entry.get(self._field), f"results[{i}].{self._field}") * PENCE_PER_KWH_TO_POUND_PER_MWH
            start = as_instant(entry.get("valid_from"), f"results[{i}].valid_from")
            until = entry.get("valid_to")
            end = grid.end if until is None else as_instant(until, f"results[{i}].valid_to")
            if end <= start:
                raise InvalidInput(f"results[{i}].valid_to", "must lie after valid_from")
            yield from ((slot, value) for slot in grid.starts() if start <= slot < end)


def _next_page(following: object) -> dict[str, str]:
    """Return the parameters of the next page; its address is not followed, only its query is read."""
    if not isinstance(following, str):
        raise InvalidInput("next", "must be an address or null")
    return dict(parse_qsl(urlsplit(following).query))


def _stamp(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")
