"""Carbon intensity of Great Britain from the UK Carbon Intensity API, national or of one region.

`GET /intensity/{from}/{to}` answers `{"data": [{"from": "2026-10-03T19:30Z", "to": ..., "intensity": {"forecast": 281, "actual":
275 | null}}]}`, `GET /regional/intensity/{from}/{to}/postcode/{postcode}` the same below `data.data` and without `actual`. Half
hours, g/kWh, keyless, CC BY 4.0. Factors are those of the power plants alone, imports are counted. Times carry no seconds.
Source: National Energy System Operator, Carbon Intensity API definition 2.0.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import aiohttp

from gateway.domain.errors import InvalidInput, PeerUnavailable
from gateway.domain.series import CarbonBasis, CarbonKind, CarbonScope, CarbonSeries, Quality
from gateway.domain.timegrid import DeliveryDay
from gateway.market_data.carbon import MAX_INTENSITY_G_PER_KWH
from gateway.market_data.carbon_grid import fill, on_quarter_hours
from gateway.market_data.http_fetch import FetchCaps, checked_url, fetch
from gateway.market_data.json_document import as_instant, as_list, as_number, as_object, read_object
from gateway.market_data.provenance import UNNAMED, joined_note, named_carbon
from gateway.ports import Clock

NAME = "uk-carbon-intensity"
LICENCE = "CC BY 4.0, National Energy System Operator"
PUBLIC_URL = "https://api.carbonintensity.org.uk"
_HALF_HOUR = timedelta(minutes=30)


class UkCarbonIntensity:
    """Intensity of one place; `ports.CarbonSource`.

    Args:
        zone: What the place is called in rows.
        postcode: Outward part of a postcode for the region around it; None for the national value.
        session: HTTP session of the application.
        clock: For the fetch times.
        url: Address of the API; https except on loopback.
        caps: Bounds of one request in real seconds and bytes.

    Raises:
        InvalidInput: The postcode is no outward code, or the address may not be used.
    """

    def __init__(  # every argument by name
        self,
        *,
        zone: str,
        postcode: str | None,
        session: aiohttp.ClientSession,
        clock: Clock,
        url: str = PUBLIC_URL,
        caps: FetchCaps | None = None,
    ) -> None:
        if postcode is not None and not (2 <= len(postcode) <= 4 and postcode.isascii() and postcode.isalnum()):
            raise InvalidInput("carbon.postcode", "must be an outward postcode such as SW1A")
        self._zone = zone
        self._postcode = postcode
        self._session = session
        self._clock = clock
        self._url = checked_url("carbon.url", url).rstrip("/")
        self._caps = FetchCaps() if caps is None else caps

    @property
    def name(self) -> str:
        """Short name for provenance."""
        return NAME

    async def fetch(self, zone: str, day: DeliveryDay) -> CarbonSeries | None:
        """Return the intensity of a delivery day in g/kWh: measured where the API has it, forecast elsewhere.

        Raises:
            PeerUnavailable: The API does not answer.
            InvalidInput: It is asked for another zone, or a reply breaks a rule.
        """
        if zone != self._zone:
            raise InvalidInput("zone", f"{zone!r} is not the place of this source")
        body, stand_in = await self._ask(day)
        if body is None:
            return None
        measured, forecast = _read(body, is_regional=self._postcode is not None)
        grid = day.grid()
        values: list[float | None] = list(on_quarter_hours(measured, _HALF_HOUR, grid))
        is_measured = all(value is not None for value in values)
        fill(values, on_quarter_hours(forecast, _HALF_HOUR, grid))
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
            quality=quality if stand_in is None else Quality.SUBSTITUTED,
            licence=LICENCE,
            note=joined_note((), stand_in),
            basis=CarbonBasis.DIRECT,
            scope=CarbonScope.CONSUMPTION,
        )
        return named_carbon(series, day)

    async def _ask(self, day: DeliveryDay) -> tuple[bytes | None, str | None]:
        # The API returns the half-hours that end after `from`, so the first one would be the day before's.
        start, end = _stamp(day.grid().start + timedelta(minutes=1)), _stamp(day.grid().end)
        path = f"/intensity/{start}/{end}"
        if self._postcode is not None:
            path = f"/regional{path}/postcode/{self._postcode}"
        reply = await fetch(
            self._session, f"{self._url}{path}", peer="the UK carbon API", params={}, headers={}, caps=self._caps
        )
        if reply.status == 404:
            return None, None
        if reply.status != 200:
            raise PeerUnavailable(f"the UK carbon API answered with status {reply.status}")
        return reply.body, reply.stand_in


def _read(body: bytes, *, is_regional: bool) -> tuple[Mapping[datetime, float], Mapping[datetime, float]]:
    """Return measured and forecast intensities by the begin of their half-hour."""
    document = read_object(body, "carbon").get("data")
    if is_regional:
        document = as_object(document, "data").get("data")
    found: dict[str, dict[datetime, float]] = {"actual": {}, "forecast": {}}
    seen: set[datetime] = set()
    for i, row in enumerate(as_list(document, "data")):
        entry = as_object(row, f"data[{i}]")
        start = as_instant(entry.get("from"), f"data[{i}].from")
        if as_instant(entry.get("to"), f"data[{i}].to") - start != _HALF_HOUR or start.timestamp() % 1800:
            raise InvalidInput(f"data[{i}].to", "must be half an hour after a full or half hour")
        if start in seen:
            raise InvalidInput(f"data[{i}].from", "is given twice")
        seen.add(start)
        intensity = as_object(entry.get("intensity"), f"data[{i}].intensity")
        for name, values in found.items():
            if intensity.get(name) is not None:
                values[start] = _value(intensity[name], f"data[{i}].intensity.{name}")
    return found["actual"], found["forecast"]


def _value(value: object, field: str) -> float:
    number = as_number(value, field)
    if not 0.0 <= number <= MAX_INTENSITY_G_PER_KWH:
        raise InvalidInput(field, f"must be 0 to {MAX_INTENSITY_G_PER_KWH:.0f} g/kWh")
    return number


def _stamp(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")
