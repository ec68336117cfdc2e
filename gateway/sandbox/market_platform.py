"""ENTSO-E as it behaves on good and bad days: `/entsoe/api` over a world of prices.

It answers A44 (contracts A01 and A07, sequences by zone), A85 as a zip, A65, A69 and A75; takes parameter names with either case
of their first letter; gives whole delivery days; refuses a year and a day, for generation and load 30 days. A switch makes it cap
replies at 1,000 points, ignore `offset`, drop its filter on the sequence, or write curve A01. More than 400 requests a minute are
answered with a ban of ten minutes of market time.
"""

import io
import zipfile
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from aiohttp import web

from gateway.domain.timegrid import DeliveryDay
from gateway.sandbox.market_entsoe_xml import (
    BALANCING_NS,
    GENERATION_NS,
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
from gateway.sandbox.market_world import HOUR, INTRADAY, QUARTER, ZONES, Paper, PriceWorld, Zone, days_touching

_YEAR = timedelta(days=366)
_MONTH = timedelta(days=31)
_MINUTE = timedelta(minutes=1)
_TYPES = ("B04", "B14", "B16", "B18", "B19")
"""Production types that the sandbox's zones report."""
_BANNED = "<html><body>HTTP Status 429 - TOO MANY REQUESTS. Max allowed requests per minute from each unique IP is 400</body></html>"


@dataclass(kw_only=True, slots=True)
class PlatformHabits:
    """How the platform behaves."""

    per_minute: int = 400
    ban: timedelta = timedelta(minutes=10)
    cap_points: int | None = None
    """No reply has more points; what is beyond is left out without a word."""
    refuse_points: int | None = None
    """A request whose reply would have more points is refused: `The amount of requested data exceeds allowed limit`."""
    refuse_series: int | None = None
    """A request whose reply would have more series is refused: `The number of instances (149) exceeds the allowed maximum`."""
    whole_days: bool = False
    """Production and load are sent for the whole delivery days that a request touches, whatever part was asked for."""
    ignores_offset: bool = False
    mixes_sequences: bool = False
    """All auctions of a contract are sent, whatever position was asked for."""
    curve: str = "A03"


class PlatformDoor:
    """Answers requests to the platform.

    Args:
        world: What is published.
        token: The one token that is known.
    """

    def __init__(self, world: PriceWorld, token: str) -> None:
        self._world = world
        self._token = token
        self.habits = PlatformHabits()
        self._asked: deque[datetime] = deque()
        self._banned_until: datetime | None = None

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of this door."""
        return [web.get("/entsoe/api", self._api)]

    async def _api(self, request: web.Request) -> web.Response:
        params = {name[:1].lower() + name[1:]: value for name, value in request.query.items()}
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self._token not in (params.get("securityToken"), bearer):
            return web.Response(status=401, text=UNAUTHORIZED, content_type="text/html")
        if self._is_banned():
            return web.Response(status=429, text=_BANNED, content_type="text/html")
        kind = params.get("documentType", "")
        domain = {"A85": "controlArea_Domain", "A65": "outBiddingZone_Domain"}.get(kind, "in_Domain")
        zone = next((one for one in ZONES.values() if one.area == params.get(domain)), None)
        span = _span(params)
        problem = _problem(kind, zone, span)
        if problem or zone is None or span is None:
            return self._nothing(problem, 400)
        if params.get("offset", "0") != "0" and not self.habits.ignores_offset:
            return self._nothing(no_data(kind, zone.area, *span))
        if kind == "A44":
            return self._prices(zone, span, params)
        return self._imbalance(zone, span) if kind == "A85" else self._power(kind, zone, span, params)

    def _is_banned(self) -> bool:
        """Count a request, and tell whether its sender is shut out."""
        now = self._world.now()
        if self._banned_until is not None and now < self._banned_until:
            return True
        self._asked.append(now)
        while self._asked[0] <= now - _MINUTE:
            self._asked.popleft()
        if len(self._asked) <= self.habits.per_minute:
            return False
        self._banned_until = now + self.habits.ban
        self._asked.clear()
        return True

    def _nothing(self, text: str, status: int = 200) -> web.Response:
        body = acknowledgement(text, self._world.now())
        return web.Response(status=status, body=body, content_type="text/xml")

    def _prices(self, zone: Zone, span: tuple[datetime, datetime], params: dict[str, str]) -> web.Response:
        contract = params.get("contract_MarketAgreement.type", "A01")
        auctions = zone.sequences if contract == "A01" else INTRADAY
        wanted = params.get("classificationSequence_AttributeInstanceComponent.position")
        chosen = {
            name: position
            for name, position in auctions.items()
            if wanted is None or position == wanted or self.habits.mixes_sequences
        }
        days = list(days_touching(*span, zone.time_zone))
        series = []
        revision = 1
        for name, position in sorted(chosen.items(), reverse=True):
            for day in days:
                paper = self._world.paper(zone.name, name, day)
                if paper is not None:
                    revision = max(revision, paper.revision)
                    series.append(self._series(zone, paper, contract, position))
        if not series:
            return self._nothing(no_data("ENERGY_PRICES [12.1.D]", zone.area, *span))
        head = header("A44", self._world.now(), days[0].interval.start, days[-1].next().interval.start)
        head = head.replace("<revisionNumber>1<", f"<revisionNumber>{revision}<")
        body = f'{XML}<Publication_MarketDocument xmlns="{PUBLICATION_NS}">{head}{"".join(series)}</Publication_MarketDocument>'
        return web.Response(body=body.encode(), content_type="text/xml")

    def _series(self, zone: Zone, paper: Paper, contract: str, position: str) -> str:
        known = [i for i, price in enumerate(paper.prices) if price is not None]
        first, last = known[0], known[-1] + 1
        points = points_of(paper.prices[first:last], "price.amount", curve=self.habits.curve)
        if self.habits.cap_points is not None:
            points = points[: self.habits.cap_points]
        start, step = paper.grid.start + first * paper.grid.step, paper.grid.step
        resolution = "PT60M" if step == HOUR else "PT15M"
        body = period(start, start + (last - first) * step, points, resolution)
        return price_series(
            zone.area, body, contract=contract, sequence=position, currency=zone.currency, curve=self.habits.curve
        )

    def _imbalance(self, zone: Zone, span: tuple[datetime, datetime]) -> web.Response:
        members = []
        for day in days_touching(*span, zone.time_zone):
            passed = min((self._world.now() - day.interval.start) // QUARTER, day.grid().count)
            if passed > 0:
                members.append(self._balancing(zone, day, passed))
        if not members:
            return self._nothing(no_data("IMBALANCE_PRICES_R3 [17.1.G]", zone.area, *span))
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for number, document in enumerate(members, start=1):
                archive.writestr(f"{number:03}-IMBALANCE_PRICES_R3.xml", document)
        return web.Response(body=buffer.getvalue(), content_type="application/zip")

    def _balancing(self, zone: Zone, day: DeliveryDay, count: int) -> str:
        """Return the first quarter-hours of a day; in a zone with two prices long gets less than short in every eighth."""
        grid = day.grid()
        _, prices = self._world.truth(zone.name, "imbalance", day)
        values = [price for price in prices for _ in range(grid.count // len(prices))][:count]
        series = []
        for category in ("A04", "A05"):
            tag = f"<imbalance_Price.category>{category}</imbalance_Price.category></Point>"
            shown: Sequence[Decimal] = [
                price - 40 if zone.is_dual and category == "A04" and i % 8 == 0 else price
                for i, price in enumerate(values)
            ]
            points = [one.replace("</Point>", tag) for one in points_of(shown, "imbalance_Price.amount", curve="A01")]
            series.append(
                "<TimeSeries><mRID>1</mRID><businessType>A19</businessType><currency_Unit.name>EUR</currency_Unit.name>"
                "<price_Measure_Unit.name>MWH</price_Measure_Unit.name><curveType>A01</curveType>"
                f"{period(grid.start, grid.start + count * QUARTER, points)}</TimeSeries>"
            )
        status = "A02" if count == grid.count else "A01"
        return (
            f'{XML}<Balancing_MarketDocument xmlns="{BALANCING_NS}">'
            f"{header('A85', self._world.now(), grid.start, grid.start + count * QUARTER)}"
            f'<area_Domain.mRID codingScheme="A01">{zone.area}</area_Domain.mRID>'
            f"<docStatus><value>{status}</value></docStatus>{''.join(series)}</Balancing_MarketDocument>"
        )

    def _powers(
        self, kind: str, zone: Zone, span: tuple[datetime, datetime], params: dict[str, str]
    ) -> Iterator["_Power"]:
        """Yield what happened, or is expected, in the asked part of each delivery day."""
        types = ("",) if kind == "A65" else _TYPES if kind == "A75" else _TYPES[2:]
        wanted = params.get("psrType")
        for day in days_touching(*span, zone.time_zone):
            grid = day.grid()
            is_realised = params.get("processType") == "A16"
            passed = (self._world.now() - grid.start) // QUARTER if is_realised else grid.count
            end = max(0, min(passed, grid.count))
            first = 0
            if not self.habits.whole_days:
                first = max(0, (span[0] - grid.start) // QUARTER)
                end = min(end, -((grid.start - span[1]) // QUARTER))
            for number, psr in enumerate(types):
                if wanted is None or psr == wanted:
                    _, shape = self._world.truth(zone.name, f"power-{kind}-{psr}", day)
                    values = [
                        abs(price) * (number + 1) * 10 for price in shape for _ in range(grid.count // len(shape))
                    ]
                    yield _Power(psr=psr, start=grid.start + first * QUARTER, values=values[first:end])

    def _power(self, kind: str, zone: Zone, span: tuple[datetime, datetime], params: dict[str, str]) -> web.Response:
        """Return load (A65), forecasts of wind and sun (A69) or production by type (A75)."""
        powers = [power for power in self._powers(kind, zone, span, params) if power.values]
        points = sum(len(power.values) for power in powers)
        habits = self.habits
        if habits.refuse_series is not None and len(powers) > habits.refuse_series:
            problem = f"The number of instances ({len(powers)}) exceeds the allowed maximum ({habits.refuse_series})"
            return self._nothing(problem, 400)
        if habits.refuse_points is not None and points > habits.refuse_points:
            return self._nothing("The amount of requested data exceeds allowed limit", 400)
        series, left = [], points if habits.cap_points is None else habits.cap_points
        for power in powers:
            values = power.values[: max(0, left)]
            left -= len(values)
            if values:
                series.append(_power_series(kind, zone, power.start, values, power.psr))
        if not series:
            return self._nothing(no_data(kind, zone.area, *span))
        days = list(days_touching(*span, zone.time_zone))
        head = header(
            kind,
            self._world.now(),
            days[0].interval.start,
            days[-1].next().interval.start,
            span="time_Period.timeInterval",
        )
        body = f'{XML}<GL_MarketDocument xmlns="{GENERATION_NS}">{head}{"".join(series)}</GL_MarketDocument>'
        return web.Response(body=body.encode(), content_type="text/xml")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Power:
    """Quarter-hours of one production type, or of load."""

    psr: str
    start: datetime
    values: Sequence[Decimal]


def _power_series(kind: str, zone: Zone, start: datetime, values: Sequence[Decimal], psr: str) -> str:
    domain = "outBiddingZone_Domain.mRID" if kind == "A65" else "inBiddingZone_Domain.mRID"
    holder = f"<MktPSRType><psrType>{psr}</psrType></MktPSRType>" if psr else ""
    points = points_of(values, "quantity", curve="A01")
    return (
        f'<TimeSeries><mRID>1</mRID><businessType>A01</businessType><{domain} codingScheme="A01">{zone.area}</{domain}>'
        f"<quantity_Measure_Unit.name>MAW</quantity_Measure_Unit.name><curveType>A01</curveType>{holder}"
        f"{period(start, start + len(values) * QUARTER, points)}</TimeSeries>"
    )


def _span(params: dict[str, str]) -> tuple[datetime, datetime] | None:
    try:
        start, end = (
            datetime.strptime(params[name], "%Y%m%d%H%M").replace(tzinfo=UTC) for name in ("periodStart", "periodEnd")
        )
    except (KeyError, ValueError):
        return None
    return start, end


def _problem(kind: str, zone: Zone | None, span: tuple[datetime, datetime] | None) -> str:
    """Return the platform's text for what is wrong with a request; empty when nothing is."""
    if kind not in {"A44", "A85", "A65", "A69", "A75"}:
        return "The combination of parameters is not valid"
    if span is None:
        return "Mandatory parameter periodStart or periodEnd is missing or malformed"
    if zone is None:
        return "Invalid value for parameter domain"
    if span[1] <= span[0]:
        return "periodEnd must be after periodStart"
    longest = _YEAR if kind in {"A44", "A85"} else _MONTH
    return "The requested time period is too long" if span[1] - span[0] > longest else ""
