"""Carbon intensity as three services publish it, over a world of made-up values: Electricity Maps, WattTime, UK Carbon Intensity.

- Electricity Maps: `auth-token`; what has passed is estimated for two hours of market time and then measured, a little different.
- WattTime: HTTP Basic login, a token that dies after thirty minutes of market time, more than ten requests a second refused, values in
  lbs/MWh, the end of a range included.
- UK: half-hours with short timestamps; `actual` is null until the half-hour is over.
"""

import base64
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from aiohttp import web

from gateway.domain.timegrid import DeliveryDay
from gateway.sandbox.market_world import QUARTER, PriceWorld

_FIVE = timedelta(minutes=5)
_HALF_HOUR = timedelta(minutes=30)
_MEASURED_AFTER = timedelta(hours=2)
_TOKEN_LIFE = timedelta(minutes=30)
_PER_SECOND = 10
_G_PER_KWH_AND_LBS_PER_MWH = 0.45359237
_ESTIMATE_OFF_BY = 4.0


class PublicCarbonDoor:
    """Answers requests below `/maps/v3`, `/watttime` and `/uk`.

    Args:
        world: Clock and seed.
        token: Of Electricity Maps.
        username: Of WattTime.
        password: Of WattTime.
    """

    def __init__(self, world: PriceWorld, *, token: str, username: str, password: str) -> None:
        self._world = world
        self._token = token
        self._basic = "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()
        self._logins = 0
        self._token_dies: datetime | None = None
        self._asked: deque[datetime] = deque()

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of this door."""
        return [
            web.get("/maps/v3/carbon-intensity/{endpoint}", self._maps),
            web.get("/watttime/login", self._login),
            web.get("/watttime/v3/{endpoint}", self._watttime),
            web.get("/uk/intensity/{start}/{end}", self._uk),
        ]

    def grams(self, at: datetime) -> float:
        """Return the intensity of the quarter-hour that holds an instant, g/kWh."""
        day = DeliveryDay.containing(at, "UTC")
        grid, prices = self._world.truth("world", "carbon", day)
        return 150.0 + float(abs(prices[grid.index_of(at)]))

    async def _maps(self, request: web.Request) -> web.Response:
        if request.headers.get("auth-token") != self._token:
            return web.json_response({"status": "error", "message": "Invalid auth-token"}, status=401)
        zone, now = request.query.get("zone", ""), self._world.now()
        head: dict[str, object] = {"zone": zone, "temporalGranularity": "15_minutes"}
        endpoint = request.match_info["endpoint"]
        if zone == "XX":
            return web.json_response({"status": "no-data", "message": "No data for this zone"}, status=404)
        if endpoint == "past-range":
            start, end = (datetime.fromisoformat(request.query[name]) for name in ("start", "end"))
            return web.json_response({**head, "data": [self._row(at) for at in _steps(start, min(end, now), QUARTER)]})
        if endpoint == "forecast":
            begin = now - timedelta(seconds=now.timestamp() % QUARTER.total_seconds())
            until = now + timedelta(hours=int(request.query.get("horizonHours", "24")))
            rows = [
                {"datetime": _iso(at), "carbonIntensity": self.grams(at) + 20.0} for at in _steps(begin, until, QUARTER)
            ]
            return web.json_response({**head, "updatedAt": _iso(now), "forecast": rows})
        return web.json_response({"status": "error", "message": "Not found"}, status=404)

    def _row(self, at: datetime) -> dict[str, object]:
        """Return a past value: an estimate at first, replaced by the measured one."""
        is_estimate = self._world.now() < at + QUARTER + _MEASURED_AFTER
        return {
            "datetime": _iso(at),
            "updatedAt": _iso(self._world.now()),
            "carbonIntensity": round(self.grams(at) + (_ESTIMATE_OFF_BY if is_estimate else 0.0), 1),
            "emissionFactorType": "lifecycle",
            "isEstimated": is_estimate,
            "estimationMethod": "TIME_SLICER_AVERAGE" if is_estimate else None,
        }

    async def _login(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != self._basic:
            return web.Response(status=401, text="Unauthorized")
        self._logins += 1
        self._token_dies = self._world.now() + _TOKEN_LIFE
        return web.json_response({"token": f"watttime-{self._logins}"})

    async def _watttime(self, request: web.Request) -> web.Response:
        now = self._world.now()
        token = request.headers.get("Authorization", "")
        if self._token_dies is None or now >= self._token_dies or token != f"Bearer watttime-{self._logins}":
            return web.Response(status=401, text="Expired or invalid token")
        self._asked.append(now)
        while self._asked[0] <= now - timedelta(seconds=1):
            self._asked.popleft()
        if len(self._asked) > _PER_SECOND:
            return web.Response(status=429, text="Rate limit exceeded")
        if request.match_info["endpoint"] == "historical":
            start, end = (datetime.fromisoformat(request.query[name]) for name in ("start", "end"))
            points = _steps(start, min(end + _FIVE, now), _FIVE)
        else:
            points = _steps(now, now + timedelta(hours=int(request.query.get("horizon_hours", "24"))), _FIVE)
        data = [
            {"point_time": at.isoformat(), "value": round(self.grams(at) / _G_PER_KWH_AND_LBS_PER_MWH, 3)}
            for at in points
        ]
        meta: dict[str, object] = {
            "data_point_period_seconds": 300,
            "region": request.query.get("region"),
            "signal_type": "co2_moer",
            "units": "lbs_co2_per_mwh",
            "generated_at": now.isoformat(),
            "warnings": [],
        }
        return web.json_response({"data": data, "meta": meta})

    async def _uk(self, request: web.Request) -> web.Response:
        start, end = (datetime.fromisoformat(request.match_info[name]).astimezone(UTC) for name in ("start", "end"))
        rows = []
        begin = start - timedelta(seconds=start.timestamp() % _HALF_HOUR.total_seconds())
        for at in _steps(begin, end, _HALF_HOUR):
            value = round(self.grams(at))
            is_over = self._world.now() >= at + _HALF_HOUR
            intensity = {"forecast": value + 5, "actual": value if is_over else None, "index": "moderate"}
            rows.append({"from": _short(at), "to": _short(at + _HALF_HOUR), "intensity": intensity})
        return web.json_response({"data": rows})


def _steps(start: datetime, end: datetime, step: timedelta) -> Iterator[datetime]:
    at = start.astimezone(UTC)
    at += timedelta(seconds=-at.timestamp() % step.total_seconds())
    while at < end:
        yield at
        at += step


def _iso(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.000Z"


def _short(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%MZ}"
