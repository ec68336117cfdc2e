"""Public price feeds over a world of prices: energy-charts, SMARD, Nord Pool's portal, Elering, aWATTar, Octopus, CAISO OASIS.

Each has its own way to say that a day is not there: 404, nulls, 204, an empty list, a zip with an XML document.
"""

import io
import json
import zipfile
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from aiohttp import web

from gateway.domain.timegrid import DeliveryDay
from gateway.sandbox.market_world import CENT, HOUR, QUARTER, ZONES, PriceWorld, days_touching

_HALF_HOUR = timedelta(minutes=30)
_CHARTS = {"BE": "BE", "DE-LU": "DE_LU", "NL": "NL", "PL": "PL"}
_SMARD = {"4996": "BE", "4169": "DE_LU", "256": "NL", "257": "PL"}
_PORTAL = {"BE": "BE", "NL": "NL", "FI": "FI", "GER": "DE_LU"}
_OASIS_SPACING = timedelta(seconds=5)
_PAGE_ROWS = 25
_OASIS_HEAD = (
    "INTERVALSTARTTIME_GMT,INTERVALENDTIME_GMT,OPR_DT,OPR_HR,OPR_INTERVAL,NODE_ID_XML,NODE_ID,NODE,MARKET_RUN_ID,LMP_TYPE,"
    "XML_DATA_ITEM,PNODE_RESMRID,GRP_TYPE,POS,MW,GROUP"
)


class PublicFeedsDoor:
    """Answers requests to keyless feeds below `/energy-charts`, `/smard`, `/portal`, `/elering`, `/awattar`, `/octopus`, `/oasis`."""

    def __init__(self, world: PriceWorld) -> None:
        self._world = world
        self._oasis_asked: datetime | None = None

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of this door."""
        return [
            web.get("/energy-charts/price", self._energy_charts),
            web.get("/smard/chart_data/{number}/DE-LU/{file}", self._smard),
            web.get("/portal/api/DayAheadPriceIndices", self._portal),
            web.get("/elering/api/nps/price", self._elering),
            web.get("/awattar/v1/marketdata", self._awattar),
            web.get("/octopus/v1/products/{product}/electricity-tariffs/{tariff}/standard-unit-rates/", self._octopus),
            web.get("/oasis/oasisapi/SingleZip", self._oasis),
        ]

    def _quarters(self, zone: str, day: DeliveryDay) -> dict[datetime, Decimal | None] | None:
        return self._world.quarter_hours(zone, "sdac", day)

    async def _energy_charts(self, request: web.Request) -> web.Response:
        zone = _CHARTS.get(request.query.get("bzn", ""))
        if zone is None:
            return web.json_response({"detail": "unknown zone"}, status=422)
        day = DeliveryDay(day=date.fromisoformat(request.query["start"]), zone=ZONES[zone].time_zone)
        known = self._quarters(zone, day)
        if known is None:
            return web.json_response({"detail": "no data"}, status=404)
        return _json(
            {
                "license_info": "CC BY 4.0 from Bundesnetzagentur | SMARD.de",
                "unix_seconds": [int(start.timestamp()) for start in known],
                "price": list(known.values()),
                "unit": "EUR / MWh",
                "deprecated": False,
            }
        )

    async def _smard(self, request: web.Request) -> web.Response:
        zone, file = _SMARD.get(request.match_info["number"]), request.match_info["file"]
        if zone is None:
            return web.Response(status=404)
        mondays = {int(day.interval.start.timestamp() * 1000): day for day in self._mondays(ZONES[zone].time_zone)}
        if file == "index_quarterhour.json":
            return web.json_response({"timestamps": list(mondays)})
        stamp = file.rpartition("_")[2].removesuffix(".json")
        monday = mondays.get(int(stamp)) if stamp.isdecimal() else None
        if monday is None:
            return web.Response(status=404)
        rows: list[list[object]] = []
        for offset in range(7):
            known = self._quarters(zone, monday.next(offset)) or {}
            starts = monday.next(offset).grid().starts()
            rows += [[int(at.timestamp() * 1000), known.get(at)] for at in starts]
        return _json({"meta_data": {"version": 1}, "series": rows})

    def _mondays(self, time_zone: str) -> list[DeliveryDay]:
        """Return the first days of the weeks that are filed, oldest first; the last one has begun or is next."""
        today = DeliveryDay.containing(self._world.now(), time_zone)
        monday = today.next(-today.day.weekday())
        return [monday.next(7 * week) for week in range(-4, 2)]

    async def _portal(self, request: web.Request) -> web.Response:
        zone = _PORTAL.get(request.query.get("indexNames", ""))
        if zone is None:
            return web.Response(status=204)
        day = DeliveryDay(day=date.fromisoformat(request.query["date"]), zone=ZONES[zone].time_zone)
        known = self._quarters(zone, day)
        if known is None:
            return web.Response(status=204)
        name = request.query["indexNames"]
        is_final = self._world.now() >= day.next(-1).at(datetime.min.time().replace(hour=13, minute=15))
        entries = [
            {"deliveryStart": _z(start), "deliveryEnd": _z(start + QUARTER), "entryPerArea": {name: price}}
            for start, price in known.items()
            if price is not None
        ]
        return _json(
            {
                "deliveryDateCET": day.day.isoformat(),
                "version": 3,
                "updatedAt": f"{self._world.now():%Y-%m-%dT%H:%M:%S}.9456464Z",
                "currency": "EUR",
                "areaStates": [{"state": "Final" if is_final else "Preliminary", "areas": [name]}],
                "multiIndexEntries": entries,
            }
        )

    async def _elering(self, request: web.Request) -> web.Response:
        start, end = (datetime.fromisoformat(request.query[name]) for name in ("start", "end"))
        rows: list[dict[str, object]] = []
        for day in days_touching(start, end, ZONES["FI"].time_zone):
            known = self._quarters("FI", day) or {}
            rows += [
                {"timestamp": int(at.timestamp()), "price": price} for at, price in known.items() if start <= at <= end
            ]
        return _json({"success": True, "data": {"ee": [], "fi": rows}})

    async def _awattar(self, request: web.Request) -> web.Response:
        start, end = (datetime.fromtimestamp(int(request.query[name]) / 1000, tz=UTC) for name in ("start", "end"))
        rows: list[dict[str, object]] = []
        for day in days_touching(start, end, ZONES["DE_LU"].time_zone):
            known = self._quarters("DE_LU", day) or {}
            for at in day.grid(HOUR).starts():
                four = [known.get(at + QUARTER * part) for part in range(4)]
                prices = [price for price in four if price is not None]
                if len(prices) == 4 and start <= at < end:
                    mean = (sum(prices, Decimal(0)) / 4).quantize(CENT)
                    first = int(at.timestamp() * 1000)
                    rows.append(
                        {
                            "start_timestamp": first,
                            "end_timestamp": first + 3_600_000,
                            "marketprice": mean,
                            "unit": "Eur/MWh",
                        }
                    )
        return _json({"object": "list", "data": rows})

    async def _octopus(self, request: web.Request) -> web.Response:
        """Return half-hourly rates, newest first, a page at a time; published at 16:00 of London for the next day."""
        start, end = (datetime.fromisoformat(request.query[f"period_{name}"]) for name in ("from", "to"))
        rows: list[dict[str, object]] = []
        for day in days_touching(start, end, "Europe/London"):
            if self._world.now() < day.next(-1).at(datetime.min.time().replace(hour=16)):
                continue
            _, prices = self._world.truth("GB", "agile", day)
            for number, at in enumerate(day.grid(_HALF_HOUR).starts()):
                if start <= at < end:
                    value = (prices[number] / 10).quantize(CENT)
                    rows.append(
                        {
                            "value_exc_vat": value,
                            "value_inc_vat": value,
                            "valid_from": _z(at),
                            "valid_to": _z(at + _HALF_HOUR),
                        }
                    )
        rows.reverse()
        page = int(request.query.get("page", "1"))
        shown = rows[(page - 1) * _PAGE_ROWS : page * _PAGE_ROWS]
        following = None
        if page * _PAGE_ROWS < len(rows):
            following = str(request.url.update_query({"page": str(page + 1)}))
        return _json({"count": len(rows), "next": following, "previous": None, "results": shown})

    async def _oasis(self, request: web.Request) -> web.Response:
        """Return a zip with a CSV, or with an XML document that says why not; 429 when asked too soon again."""
        now, last = self._world.now(), self._oasis_asked
        self._oasis_asked = now
        if last is not None and now - last < _OASIS_SPACING:
            return web.Response(status=429, text="Too many requests")
        start = datetime.strptime(request.query["startdatetime"], "%Y%m%dT%H:%M%z")
        day = DeliveryDay.containing(start, "America/Los_Angeles")
        if now < day.next(-1).at(datetime.min.time().replace(hour=13)):
            text = (
                '<m:OASISReport xmlns:m="http://www.caiso.com/soa/OASISReport_v1.xsd"><m:ERROR><m:ERR_CODE>1000</m:ERR_CODE>'
                "<m:ERR_DESC>No data returned for the specified selection</m:ERR_DESC></m:ERROR></m:OASISReport>"
            )
            return _zipped("INVALID_REQUEST.xml", text)
        node = request.query["node"]
        _, prices = self._world.truth("CAISO", node, day)
        lines = [_OASIS_HEAD]
        for number, at in enumerate(day.grid(HOUR).starts()):
            span = f"{at:%Y-%m-%dT%H:%M:%S}-00:00,{at + HOUR:%Y-%m-%dT%H:%M:%S}-00:00"
            for kind in ("LMP", "MCE", "MCC", "MCL"):
                who = f"{day.day.isoformat()},{number + 1},0,{node},{node},{node},DAM,{kind},LMP_PRC,{node},ALL,1"
                lines.append(f"{span},{who},{prices[number]},1")
        return _zipped(f"{day.day:%Y%m%d}_PRC_LMP_DAM_v12.csv", "\n".join(lines) + "\n")


def _zipped(name: str, text: str) -> web.Response:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, text)
    return web.Response(body=buffer.getvalue(), content_type="application/x-zip-compressed")


def _json(document: object) -> web.Response:
    """Return a JSON reply with decimals as numbers, digit for digit."""
    return web.Response(text=_text(document), content_type="application/json")


def _text(value: object) -> str:
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, dict):
        return "{" + ",".join(f"{_text(str(key))}:{_text(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_text(one) for one in value) + "]"
    return json.dumps(value)


def _z(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
