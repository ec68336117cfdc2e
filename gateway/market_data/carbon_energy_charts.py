"""Carbon intensity of a country's electricity from energy-charts (Fraunhofer ISE): `GET /co2eq?country=de`.

The reply lists `unix_seconds` with `co2eq` (computed from what was reported) and `co2eq_forecast`, g CO2(eq)/kWh, null where there
is none. Days are asked by `start` and `end`, both included. The page does not say which factors and flows are in it, so basis
and scope are unstated. Source: api.energy-charts.info, OpenAPI description.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

import aiohttp

from gateway.domain.errors import InvalidInput, PeerUnavailable
from gateway.domain.series import CarbonKind, CarbonSeries, Quality
from gateway.domain.timegrid import DeliveryDay
from gateway.market_data.carbon import MAX_INTENSITY_G_PER_KWH
from gateway.market_data.carbon_grid import fill, on_quarter_hours
from gateway.market_data.feeds.energy_charts import step_of
from gateway.market_data.http_fetch import FetchCaps, checked_url, fetch
from gateway.market_data.json_document import as_list, as_number, from_epoch, read_object
from gateway.market_data.provenance import UNNAMED, joined_note, named_carbon
from gateway.ports import Clock

NAME = "energy-charts-co2eq"
LICENCE = "CC BY 4.0, energy-charts.info, Fraunhofer ISE"
PUBLIC_URL = "https://api.energy-charts.info"
_SECOND = timedelta(seconds=1)


class EnergyChartsCarbon:
    """Intensity of one zone; `ports.CarbonSource`.

    Args:
        zone: What the place is called in rows.
        country: Code of the country at energy-charts, for example `de`.
        session: HTTP session of the application.
        clock: For the fetch times.
        url: Address of the API; https except on loopback.
        caps: Bounds of one request in real seconds and bytes.

    Raises:
        InvalidInput: The country is no code of letters, or the address may not be used.
    """

    def __init__(  # every argument by name
        self,
        *,
        zone: str,
        country: str,
        session: aiohttp.ClientSession,
        clock: Clock,
        url: str = PUBLIC_URL,
        caps: FetchCaps | None = None,
    ) -> None:
        if not (2 <= len(country) <= 3 and country.isascii() and country.isalpha()):
            raise InvalidInput("carbon.country", "must be a code of two or three letters, such as de")
        self._zone = zone
        self._country = country.lower()
        self._session = session
        self._clock = clock
        self._url = checked_url("carbon.url", url).rstrip("/")
        self._caps = FetchCaps() if caps is None else caps

    @property
    def name(self) -> str:
        """Short name for provenance."""
        return NAME

    async def fetch(self, zone: str, day: DeliveryDay) -> CarbonSeries | None:
        """Return the intensity of a delivery day in g/kWh: computed where it is, forecast elsewhere.

        Raises:
            PeerUnavailable: The API does not answer.
            InvalidInput: It is asked for another zone, or a reply breaks a rule.
        """
        if zone != self._zone:
            raise InvalidInput("zone", f"{zone!r} is not the place of this source")
        iso = day.day.isoformat()
        params = {"country": self._country, "start": iso, "end": iso}
        reply = await fetch(
            self._session, f"{self._url}/co2eq", peer="energy-charts", params=params, headers={}, caps=self._caps
        )
        if reply.status in {204, 404}:
            return None
        if reply.status != 200:
            raise PeerUnavailable(f"energy-charts answered with status {reply.status}")
        step, measured, forecast = _read(reply.body)
        grid = day.grid()
        values: list[float | None] = list(on_quarter_hours(measured, step, grid))
        is_measured = all(value is not None for value in values)
        fill(values, on_quarter_hours(forecast, step, grid))
        if all(value is None for value in values):
            return None
        quality = Quality.FINAL if is_measured else Quality.ESTIMATED
        series = CarbonSeries(
            id=UNNAMED,
            zone=zone,
            kind=CarbonKind.AVERAGE,
            grid=grid,
            intensity_g_per_kwh=tuple(values),
            source=NAME,
            fetched_at=self._clock.now(),
            quality=quality if reply.stand_in is None else Quality.SUBSTITUTED,
            licence=LICENCE,
            note=joined_note((), reply.stand_in),
        )
        return named_carbon(series, day)


def _read(body: bytes) -> tuple[timedelta, Mapping[datetime, float], Mapping[datetime, float]]:
    """Return the step, computed and forecast intensities by the begin of their sample."""
    document = read_object(body, "co2eq")
    times = as_list(document.get("unix_seconds"), "unix_seconds")
    starts = [from_epoch(one, f"unix_seconds[{i}]", unit=_SECOND) for i, one in enumerate(times)]
    if len(set(starts)) != len(starts):
        raise InvalidInput("unix_seconds", "names a sample twice")
    found: list[dict[datetime, float]] = []
    for name in ("co2eq", "co2eq_forecast"):
        values = as_list(document.get(name, []), name)
        if values and len(values) != len(starts):
            raise InvalidInput(name, f"has {len(values)} values for {len(starts)} times")
        known = zip(starts, values, strict=False) if values else ()
        found.append({start: _value(one, f"{name} at {start}") for start, one in known if one is not None})
    return step_of(starts), found[0], found[1]


def _value(value: object, field: str) -> float:
    number = as_number(value, field)
    if not 0.0 <= number <= MAX_INTENSITY_G_PER_KWH:
        raise InvalidInput(field, f"must be 0 to {MAX_INTENSITY_G_PER_KWH:.0f} g/kWh")
    return number
