"""The carbon door: Electricity Maps' v3 wire format over a stand-in series.

What has passed is served as recorded, what lies ahead as a persistence forecast: the same quarter-hour of the latest day that has
passed. Everything is marked as estimated, as marginal, and in `X-Stand-In` as not Belgian.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from aiohttp import web

from gateway.domain.timegrid import DeliveryDay
from gateway.sandbox.clock import SandboxClock
from gateway.sandbox.market_recorded import MARKET_ZONE, RecordedSeries

ZONE = "BE"
_QUARTER = timedelta(minutes=15)
_STEPS = {"15_minutes": _QUARTER, "hourly": timedelta(hours=1)}
_LONGEST_RANGE = timedelta(days=10)
_HORIZONS_H = frozenset({6, 24, 48, 72})
_LABEL = "Californian marginal intensity of October 2020, not Belgian"


class _Refused(Exception):
    """A request the API answers with a status and a message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class CarbonDoor:
    """Answers carbon requests from a recorded series."""

    def __init__(self, series: RecordedSeries, clock: SandboxClock, token: str) -> None:
        self._series = series
        self._clock = clock
        self._token = token

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of this door."""
        return [web.get("/carbon/v3/carbon-intensity/{endpoint}", self._intensity)]

    async def _intensity(self, request: web.Request) -> web.Response:
        if request.headers.get("auth-token") != self._token:
            return _error(401, "Invalid auth-token")
        try:
            document = self._answer(request.match_info["endpoint"], request)
        except _Refused as refusal:
            return _error(refusal.status, str(refusal))
        return web.json_response(document, headers={"X-Stand-In": _LABEL})

    def _answer(self, endpoint: str, request: web.Request) -> dict[str, object]:
        if request.query.get("zone") != ZONE:
            raise _Refused(404, "Zone not found")
        granularity = request.query.get("temporalGranularity", "hourly")
        step = _STEPS.get(granularity)
        if step is None:
            raise _Refused(400, f"temporalGranularity must be one of {', '.join(_STEPS)}")
        head: dict[str, object] = {"zone": ZONE, "temporalGranularity": granularity, "signalType": "marginal"}
        now = self._clock.now()
        if endpoint == "past-range":
            start, end = _instant(request, "start"), _instant(request, "end")
            if not start < end <= start + _LONGEST_RANGE:
                raise _Refused(400, "The range must be positive and at most 10 days")
            return {**head, "data": self._past(start, min(end, now), step)}
        if endpoint == "history":
            return {**head, "history": self._past(now - timedelta(hours=24), now, step)}
        if endpoint == "latest":
            return {**head, **self._past(now - 2 * step, now, step)[-1]}
        if endpoint == "forecast":
            return {**head, "updatedAt": _text(now), "forecast": self._forecast(now, request, step)}
        raise _Refused(404, "Not found")

    def _past(self, start: datetime, end: datetime, step: timedelta) -> list[dict[str, object]]:
        """Return the samples that begin in `[start, end)` and have ended."""
        rows: list[dict[str, object]] = []
        at = _ceil(start, step)
        while at < end and at + step <= self._clock.now():
            rows.append(_row(at, self._mean(at, step)))
            at += step
        return rows

    def _forecast(self, now: datetime, request: web.Request, step: timedelta) -> list[dict[str, object]]:
        horizon = request.query.get("horizonHours", "24")
        if not horizon.isdecimal() or int(horizon) not in _HORIZONS_H:
            raise _Refused(400, "horizonHours must be 6, 24, 48 or 72")
        rows: list[dict[str, object]] = []
        at = _ceil(now, step) - step
        while at < now + timedelta(hours=int(horizon)):
            days = max(1, -((now - at - step) // timedelta(days=1)))
            rows.append({"datetime": _text(at), "carbonIntensity": float(self._mean(at - timedelta(days=days), step))})
            at += step
        return rows

    def _mean(self, at: datetime, step: timedelta) -> Decimal:
        parts = step // _QUARTER
        total = sum((self._value(at + _QUARTER * part) for part in range(parts)), Decimal(0))
        return round(total / parts, 1)

    def _value(self, at: datetime) -> Decimal:
        day = DeliveryDay.containing(at, MARKET_ZONE)
        return self._series.day(day).values[day.grid().index_of(at)]


def _row(at: datetime, value: Decimal) -> dict[str, object]:
    return {
        "zone": ZONE,
        "carbonIntensity": float(value),
        "datetime": _text(at),
        "updatedAt": _text(at + _QUARTER),
        "createdAt": _text(at + _QUARTER),
        "emissionFactorType": "direct",
        "isEstimated": True,
        "estimationMethod": "STAND_IN",
    }


def _ceil(instant: datetime, step: timedelta) -> datetime:
    """Return the first whole step at or after an instant."""
    over = instant.timestamp() % step.total_seconds()
    return instant if over == 0.0 else instant + step - timedelta(seconds=over)


def _instant(request: web.Request, name: str) -> datetime:
    try:
        instant = datetime.fromisoformat(request.query[name])
    except (KeyError, ValueError):
        raise _Refused(400, f"{name} must be an ISO 8601 instant") from None
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)


def _text(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"status": "error", "message": message}, status=status)
