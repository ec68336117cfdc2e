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
from decimal import Decimal

from aiohttp import web

from gateway.domain.timegrid import DeliveryDay
from gateway.sandbox.clock import SandboxClock
from gateway.sandbox.market_recorded import MARKET_ZONE, DayValues, Recording

AREA = "10YBE----------2"
PUBLICATION_TIME = time(12, 55)
IMBALANCE_FINAL_TIME = time(2, 0)
_IMBALANCE_DELAY = timedelta(minutes=5)
_QUARTER = timedelta(minutes=15)
_YEAR = timedelta(days=366)
_PUBLICATION_NS = "urn:iec62325.351:tc57wg16:451-3:publicationdocument:7:3"
_BALANCING_NS = "urn:iec62325.351:tc57wg16:451-6:balancingdocument:4:1"
_ACK_NS = "urn:iec62325.351:tc57wg16:451-1:acknowledgementdocument:7:0"
_XML = '<?xml version="1.0" encoding="utf-8"?>\n'


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
            page = "<html><head><title>Error</title></head><body>Unauthorized. Missing or invalid security token</body></html>"
            return web.Response(status=401, text=page, content_type="text/html")
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
            return self._acknowledge(_no_data("ENERGY_PRICES [12.1.D]", query))
        parts = [
            _XML,
            f'<Publication_MarketDocument xmlns="{_PUBLICATION_NS}">',
            _header("A44", now, days[0].day.grid().start, days[-1].day.grid().end),
        ]
        parts.extend(_day_ahead_series(number, day) for number, day in enumerate(days, start=1))
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
            return self._acknowledge(_no_data("IMBALANCE_PRICES_R3 [17.1.G]", query))
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, document in documents:
                archive.writestr(name, document)
        return _labelled(web.Response(body=buffer.getvalue(), content_type="application/zip"), labelled)

    def _acknowledge(self, text: str, status: int = 200) -> web.Response:
        now = _instant(self._clock.now(), "%Y-%m-%dT%H:%M:%SZ")
        body = (
            f'{_XML}<Acknowledgement_MarketDocument xmlns="{_ACK_NS}"><mRID>sandbox</mRID>'
            f"<createdDateTime>{now}</createdDateTime>"
            f"<received_MarketDocument.createdDateTime>{now}</received_MarketDocument.createdDateTime>"
            f"<Reason><code>999</code><text>{text}</text></Reason></Acknowledgement_MarketDocument>"
        )
        return web.Response(status=status, body=body.encode(), content_type="text/xml", charset="UTF-8")


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


def _no_data(item: str, query: _Query) -> str:
    begin, end = (_instant(t, "%Y-%m-%dT%H:%M:%S.000Z") for t in (query.start, query.end))
    return f"No matching data found for Data item {item} ({query.domain}) and interval {begin}/{end}."


def _header(kind: str, now: datetime, start: datetime, end: datetime) -> str:
    return (
        f"<mRID>sandbox-{kind}</mRID><revisionNumber>1</revisionNumber><type>{kind}</type>"
        '<sender_MarketParticipant.mRID codingScheme="A01">10X1001A1001A450</sender_MarketParticipant.mRID>'
        f"<createdDateTime>{_instant(now, '%Y-%m-%dT%H:%M:%SZ')}</createdDateTime>"
        f"<period.timeInterval><start>{_minute(start)}</start><end>{_minute(end)}</end></period.timeInterval>"
    )


def _day_ahead_series(number: int, day: DayValues) -> str:
    """Return one day as a TimeSeries in curve A03; Belgium has one auction and therefore no sequence."""
    grid = day.day.grid()
    points: list[str] = []
    last: Decimal | None = None
    for position, value in enumerate(day.values, start=1):
        if value != last:
            points.append(f"<Point><position>{position}</position><price.amount>{value:f}</price.amount></Point>")
        last = value
    return (
        f"<TimeSeries><mRID>{number}</mRID><auction.type>A01</auction.type><businessType>A62</businessType>"
        f'<in_Domain.mRID codingScheme="A01">{AREA}</in_Domain.mRID>'
        f'<out_Domain.mRID codingScheme="A01">{AREA}</out_Domain.mRID>'
        "<contract_MarketAgreement.type>A01</contract_MarketAgreement.type>"
        "<currency_Unit.name>EUR</currency_Unit.name><price_Measure_Unit.name>MWH</price_Measure_Unit.name>"
        f"<curveType>A03</curveType>{_period(grid.start, grid.end, points)}</TimeSeries>"
    )


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
            f"<curveType>A01</curveType>{_period(grid.start, end, points)}</TimeSeries>"
        )
    status = "A02" if is_final else "A01"
    return (
        f'{_XML}<Balancing_MarketDocument xmlns="{_BALANCING_NS}">{_header("A85", now, grid.start, end)}'
        f'<area_Domain.mRID codingScheme="A01">{AREA}</area_Domain.mRID>'
        f"<docStatus><value>{status}</value></docStatus>{''.join(series)}</Balancing_MarketDocument>"
    )


def _period(start: datetime, end: datetime, points: Sequence[str]) -> str:
    return (
        f"<Period><timeInterval><start>{_minute(start)}</start><end>{_minute(end)}</end></timeInterval>"
        f"<resolution>PT15M</resolution>{''.join(points)}</Period>"
    )


def _labelled(response: web.Response, days: Sequence[DayValues]) -> web.Response:
    labels = [day.stand_in for day in days if day.stand_in is not None]
    if labels:
        response.headers["X-Stand-In"] = "; ".join(labels)[:1000]
    return response


def _minute(instant: datetime) -> str:
    return _instant(instant, "%Y-%m-%dT%H:%MZ")


def _instant(instant: datetime, form: str) -> str:
    return instant.astimezone(UTC).strftime(form)
