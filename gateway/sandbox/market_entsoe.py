"""The price door: ENTSO-E's `/api` for day-ahead prices (A44) and imbalance prices (A85), from the recording.

Day-ahead prices of a day are published at 12:55 local time the day before; until then the answer is an acknowledgement with
reason 999. Imbalance prices come as the quarter-hours pass (`docStatus` A01) and are final (A02) from 02:00 the next day. Prices
are written in curve A03: a point that repeats the one before it is left out. A request is answered with the whole delivery days
that it touches, as the platform does.
"""

import io
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from aiohttp import web

from gateway.domain.timegrid import DeliveryDay
from gateway.sandbox.clock import SandboxClock
from gateway.sandbox.market_entsoe_xml import (
    BALANCING_NS,
    PUBLICATION_NS,
    UNAUTHORIZED,
    XML,
    acknowledgement,
    header,
    no_data,
    period,
    points_of,
    price_series,
)
from gateway.sandbox.market_recorded import MARKET_ZONE, DayValues, Recording

AREA = "10YBE----------2"
PUBLICATION_TIME = time(12, 55)
IMBALANCE_FINAL_TIME = time(2, 0)
_IMBALANCE_DELAY = timedelta(minutes=5)
_QUARTER = timedelta(minutes=15)
_YEAR = timedelta(days=366)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Query:
    start: datetime
    end: datetime
    domain: str

    def days(self) -> Iterator[DeliveryDay]:
        """Return the delivery days the interval touches."""
        day = DeliveryDay.containing(self.start, MARKET_ZONE)
        while day.grid().start < self.end:
            yield day
            day = day.next()


class EntsoeDoor:
    """Answers ENTSO-E requests from a recording."""

    def __init__(self, recording: Recording, clock: SandboxClock, token: str) -> None:
        self._recording = recording
        self._clock = clock
        self._token = token

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of this door."""
        return [web.get("/entsoe/api", self._api)]

    async def _api(self, request: web.Request) -> web.Response:
        # The platform takes parameter names with either case of the first letter.
        params = {name[:1].lower() + name[1:]: value for name, value in request.query.items()}
        bearer = request.headers.get("Authorization", "")
        if self._token not in (params.get("securityToken"), bearer.removeprefix("Bearer ")):
            return web.Response(status=401, text=UNAUTHORIZED, content_type="text/html")
        kind = params.get("documentType")
        if kind not in {"A44", "A85"}:
            return self._acknowledge("The combination of parameters is not valid", status=400)
        query = _read_query(params, "in_Domain" if kind == "A44" else "controlArea_Domain")
        if isinstance(query, str):
            return self._acknowledge(query, status=400)
        return self._day_ahead(query, params.get("offset", "0")) if kind == "A44" else self._imbalance(query)

    def _day_ahead(self, query: _Query, offset: str) -> web.Response:
        now = self._clock.now()
        days = [
            self._recording.day_ahead_eur_per_mwh.day(day)
            for day in query.days()
            if now >= day.next(-1).at(PUBLICATION_TIME)
        ]
        if not days or offset != "0":
            return self._acknowledge(no_data("ENERGY_PRICES [12.1.D]", query.domain, query.start, query.end))
        parts = [
            XML,
            f'<Publication_MarketDocument xmlns="{PUBLICATION_NS}">',
            header("A44", now, days[0].day.grid().start, days[-1].day.grid().end),
        ]
        parts.extend(_day_ahead_series(day) for day in days)
        parts.append("</Publication_MarketDocument>")
        return _labelled(web.Response(body="".join(parts).encode(), content_type="text/xml"), days)

    def _imbalance(self, query: _Query) -> web.Response:
        now = self._clock.now()
        documents: list[tuple[str, bytes]] = []
        labelled: list[DayValues] = []
        for day in query.days():
            is_final = now >= day.next().at(IMBALANCE_FINAL_TIME)
            passed = (now - _IMBALANCE_DELAY - day.grid().start) // _QUARTER
            count = day.grid().count if is_final else min(passed, day.grid().count)
            if count < 1:
                continue
            values = self._recording.imbalance_eur_per_mwh.day(day)
            labelled.append(values)
            name = f"{len(documents) + 1:03}-IMBALANCE_PRICES_R3_{day.day:%Y%m%d}.xml"
            documents.append((name, _imbalance_document(values, count, now, is_final=is_final).encode()))
        if not documents:
            return self._acknowledge(no_data("IMBALANCE_PRICES_R3 [17.1.G]", query.domain, query.start, query.end))
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, document in documents:
                archive.writestr(name, document)
        return _labelled(web.Response(body=buffer.getvalue(), content_type="application/zip"), labelled)

    def _acknowledge(self, text: str, status: int = 200) -> web.Response:
        body = acknowledgement(text, self._clock.now())
        return web.Response(status=status, body=body, content_type="text/xml", charset="UTF-8")


def _read_query(params: dict[str, str], domain: str) -> _Query | str:
    """Return the query, or the platform's text for what is wrong with it."""
    try:
        start = datetime.strptime(params["periodStart"], "%Y%m%d%H%M").replace(tzinfo=UTC)
        end = datetime.strptime(params["periodEnd"], "%Y%m%d%H%M").replace(tzinfo=UTC)
    except (KeyError, ValueError):
        return "Mandatory parameter periodStart or periodEnd is missing or malformed"
    if end <= start:
        return "periodEnd must be after periodStart"
    if end - start > _YEAR:
        return "The requested time period is too long"
    if params.get(domain) != AREA:
        return f"Invalid value for parameter {domain}"
    return _Query(start=start, end=end, domain=AREA)


def _day_ahead_series(day: DayValues) -> str:
    """Return one day as a TimeSeries in curve A03; Belgium has one auction and therefore no sequence."""
    grid = day.day.grid()
    points = points_of(day.values, "price.amount", curve="A03")
    return price_series(AREA, period(grid.start, grid.end, points), currency="EUR", curve="A03")


def _imbalance_document(day: DayValues, count: int, now: datetime, *, is_final: bool) -> str:
    """Return the first `count` quarter-hours of a day; Belgium has one price for long and short, given as both."""
    grid = day.day.grid()
    end = grid.start + _QUARTER * count
    series: list[str] = []
    for number, category in enumerate(("A04", "A05"), start=1):
        points = [
            f"<Point><position>{position}</position><imbalance_Price.amount>{value:f}</imbalance_Price.amount>"
            f"<imbalance_Price.category>{category}</imbalance_Price.category></Point>"
            for position, value in enumerate(day.values[:count], start=1)
        ]
        series.append(
            f"<TimeSeries><mRID>{number}</mRID><businessType>A19</businessType>"
            "<currency_Unit.name>EUR</currency_Unit.name><price_Measure_Unit.name>MWH</price_Measure_Unit.name>"
            f"<curveType>A01</curveType>{period(grid.start, end, points)}</TimeSeries>"
        )
    status = "A02" if is_final else "A01"
    return (
        f'{XML}<Balancing_MarketDocument xmlns="{BALANCING_NS}">{header("A85", now, grid.start, end)}'
        f'<area_Domain.mRID codingScheme="A01">{AREA}</area_Domain.mRID>'
        f"<docStatus><value>{status}</value></docStatus>{''.join(series)}</Balancing_MarketDocument>"
    )


def _labelled(response: web.Response, days: Sequence[DayValues]) -> web.Response:
    labels = [day.stand_in for day in days if day.stand_in is not None]
    if labels:
        response.headers["X-Stand-In"] = "; ".join(labels)[:1000]
    return response
