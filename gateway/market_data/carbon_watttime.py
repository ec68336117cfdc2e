"""Marginal carbon intensity from WattTime (API v3): what one kWh more would emit.

`GET /login` with HTTP Basic gives a token for 30 minutes; `GET /v3/historical?region=&signal_type=co2_moer&start=&end=` and
`GET /v3/forecast?region=&signal_type=co2_moer&horizon_hours=` answer `{"data": [{"point_time", "value"}], "meta": {"units":
"lbs_co2_per_mwh", "data_point_period_seconds": 300, "generated_at"}}`. Five-minute values, pounds per MWh; the unit is read,
never assumed. Source: WattTime API v3 documentation; 1 lb = 0.45359237 kg (International Yard and Pound Agreement 1959).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import aiohttp

from gateway.domain.errors import InvalidInput, PeerUnavailable
from gateway.domain.series import CarbonBasis, CarbonKind, CarbonSeries, Quality
from gateway.domain.timegrid import DeliveryDay, TimeGrid
from gateway.market_data.carbon import MAX_INTENSITY_G_PER_KWH
from gateway.market_data.carbon_grid import fill, on_quarter_hours
from gateway.market_data.http_fetch import FetchCaps, Reply, checked_url, fetch
from gateway.market_data.json_document import (
    as_count,
    as_instant,
    as_list,
    as_number,
    as_object,
    as_text,
    read_object,
)
from gateway.market_data.provenance import UNNAMED, joined_note, named_carbon
from gateway.market_data.rate_budget import RateBudget
from gateway.ports import Clock

NAME = "watttime"
LICENCE = "WattTime, terms of the account"
PUBLIC_URL = "https://api.watttime.org"
SIGNAL = "co2_moer"
GRAMS_PER_POUND = 453.59237
_G_PER_KWH = {"lbs_co2_per_mwh": GRAMS_PER_POUND / 1000.0, "kg_co2_per_kwh": 1000.0, "g_co2_per_kwh": 1.0}
"""Factor to g/kWh of each unit the API names."""
_LONGEST_HORIZON = timedelta(hours=72)
_PER_MINUTE = 300
"""The API allows 10 requests a second; half of that is enough for any fleet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WattTimeAccount:
    """Who we are to WattTime."""

    username: str
    password: str = field(repr=False)
    region: str
    """WattTime's name of the grid region, for example `CAISO_NORTH`."""
    zone: str
    """What the place is called in rows."""
    url: str = PUBLIC_URL

    def __post_init__(self) -> None:
        """Reject an address that may not be given a password, and empty names."""
        checked_url("watttime.url", self.url)
        for name in ("username", "password", "region", "zone"):
            if not getattr(self, name):
                raise InvalidInput(f"watttime.{name}", "must not be empty")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Samples:
    step: timedelta
    g_per_kwh: Mapping[datetime, float]
    issued_at: datetime | None
    stand_in: str | None


class WattTime:
    """Marginal intensity of one region; `ports.CarbonSource`. A dead token is renewed once per request, never in a loop."""

    def __init__(
        self, *, account: WattTimeAccount, session: aiohttp.ClientSession, clock: Clock, caps: FetchCaps | None = None
    ) -> None:
        self._account = account
        self._session = session
        self._clock = clock
        self._caps = FetchCaps() if caps is None else caps
        self._budget = RateBudget(peer="WattTime", per_minute=_PER_MINUTE, clock=clock)
        self._token = ""

    @property
    def name(self) -> str:
        """Short name for provenance."""
        return NAME

    async def fetch(self, zone: str, day: DeliveryDay) -> CarbonSeries | None:
        """Return the marginal intensity of a delivery day in g/kWh: history where it has passed, forecast where it has not.

        Raises:
            PeerUnavailable: The API does not answer or asks to wait.
            InvalidInput: The account is refused, the zone is another one, or a reply breaks a rule.
        """
        if zone != self._account.zone:
            raise InvalidInput("zone", f"{zone!r} is not the place of this source")
        grid, now = day.grid(), self._clock.now()
        values: list[float | None] = [None] * grid.count
        replies: list[_Samples] = []
        if grid.start < now:
            # The end is inclusive: a point at the end of the day would be the next day's first.
            span = {"start": _stamp(grid.start), "end": _stamp(min(now, grid.end - timedelta(seconds=1)))}
            fill(values, await self._slots("historical", span, grid, replies))
        is_past = now >= grid.end
        if not is_past and grid.end - now <= _LONGEST_HORIZON:
            hours = -(-(grid.end - now) // timedelta(hours=1))
            fill(values, await self._slots("forecast", {"horizon_hours": str(hours)}, grid, replies))
        if all(value is None for value in values):
            return None
        return self._series(day, tuple(values), replies, is_measured=is_past)

    def _series(
        self, day: DeliveryDay, values: tuple[float | None, ...], replies: list[_Samples], *, is_measured: bool
    ) -> CarbonSeries:
        stand_in = next((reply.stand_in for reply in replies if reply.stand_in is not None), None)
        quality = Quality.FINAL if is_measured else Quality.ESTIMATED
        issued = [reply.issued_at for reply in replies if reply.issued_at is not None]
        series = CarbonSeries(
            id=UNNAMED,
            zone=self._account.zone,
            kind=CarbonKind.MARGINAL,
            grid=day.grid(),
            intensity_g_per_kwh=values,
            source=NAME,
            fetched_at=self._clock.now(),
            quality=quality if stand_in is None else Quality.SUBSTITUTED,
            licence=LICENCE,
            note=joined_note((), stand_in),
            basis=CarbonBasis.DIRECT,
            issued_at=None if is_measured else max(issued, default=None),
        )
        return named_carbon(series, day)

    async def _slots(
        self, endpoint: str, params: Mapping[str, str], grid: TimeGrid, replies: list[_Samples]
    ) -> tuple[float | None, ...]:
        asked = {"region": self._account.region, "signal_type": SIGNAL, **params}
        reply = await self._ask(endpoint, asked)
        if reply is None:
            return ()
        samples = _read(reply, self._account.region)
        replies.append(samples)
        return on_quarter_hours(samples.g_per_kwh, samples.step, grid)

    async def _ask(self, endpoint: str, params: Mapping[str, str]) -> Reply | None:
        reply = await self._with_token(endpoint, params)
        if reply.status == 401:
            self._token = ""
            reply = await self._with_token(endpoint, params)
        if reply.status == 401:
            raise InvalidInput("watttime.token", "is refused by WattTime")
        if reply.status in {400, 404}:
            return None
        if reply.status == 403:
            raise InvalidInput("watttime.region", "is not in the account's plan")
        if reply.status != 200:
            raise PeerUnavailable(f"WattTime answered with status {reply.status}")
        return reply

    async def _with_token(self, endpoint: str, params: Mapping[str, str]) -> Reply:
        if not self._token:
            await self._log_in()
        return await self._get(f"/v3/{endpoint}", params, {"Authorization": f"Bearer {self._token}"})

    async def _log_in(self) -> None:
        basic = aiohttp.encode_basic_auth(self._account.username, self._account.password)
        reply = await self._get("/login", {}, {"Authorization": basic})
        if reply.status in {401, 403}:
            raise InvalidInput("watttime.password", "is refused by WattTime")
        if reply.status != 200:
            raise PeerUnavailable(f"WattTime answered the login with status {reply.status}")
        self._token = as_text(read_object(reply.body, "watttime").get("token"), "watttime.token")

    async def _get(self, path: str, params: Mapping[str, str], headers: Mapping[str, str]) -> Reply:
        self._budget.take()
        url = f"{self._account.url.rstrip('/')}{path}"
        reply = await fetch(self._session, url, peer="WattTime", params=params, headers=headers, caps=self._caps)
        if reply.status == 429:
            self._budget.hold(timedelta(minutes=1))
            raise PeerUnavailable("WattTime had too many requests; waiting a minute")
        return reply


def _read(reply: Reply, region: str) -> _Samples:
    document = read_object(reply.body, "watttime")
    meta = as_object(document.get("meta"), "meta")
    if meta.get("region") != region or meta.get("signal_type") != SIGNAL:
        raise InvalidInput("meta.region", f"must be {region} with {SIGNAL}")
    factor = _G_PER_KWH.get(as_text(meta.get("units"), "meta.units"))
    if factor is None:
        raise InvalidInput("meta.units", f"must be one of {', '.join(_G_PER_KWH)}")
    period_s = as_count(meta.get("data_point_period_seconds"), "meta.data_point_period_seconds")
    values: dict[datetime, float] = {}
    for i, row in enumerate(as_list(document.get("data"), "data")):
        point = as_object(row, f"data[{i}]")
        start = as_instant(point.get("point_time"), f"data[{i}].point_time")
        if start in values:
            raise InvalidInput(f"data[{i}].point_time", "is given twice")
        values[start] = as_number(point.get("value"), f"data[{i}].value") * factor
        if not 0.0 <= values[start] <= MAX_INTENSITY_G_PER_KWH:
            raise InvalidInput(f"data[{i}].value", f"must be 0 to {MAX_INTENSITY_G_PER_KWH:.0f} g/kWh")
    issued = meta.get("generated_at")
    return _Samples(
        step=timedelta(seconds=period_s),
        g_per_kwh=values,
        issued_at=None if issued is None else as_instant(issued, "meta.generated_at"),
        stand_in=reply.stand_in,
    )


def _stamp(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat(timespec="seconds")
