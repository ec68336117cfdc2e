"""Carbon intensity from Electricity Maps (API v3) or a server of the same wire format.

Hours that have passed come from `/v3/carbon-intensity/past-range`, the rest of the day from `/v3/carbon-intensity/forecast`;
`history` is left alone because it only knows the last 24 hours. Source: Electricity Maps API reference v3 (carbon intensity:
past range, forecast; parameters zone, start, end, temporalGranularity, horizonHours; header auth-token; gCO2eq/kWh).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import aiohttp

from gateway.domain.errors import InvalidInput, PeerUnavailable
from gateway.domain.series import CarbonBasis, CarbonKind, CarbonScope, CarbonSeries, Quality
from gateway.domain.timegrid import DeliveryDay, TimeGrid
from gateway.domain.units import QUARTER_HOUR
from gateway.market_data.carbon_grid import fill, on_quarter_hours
from gateway.market_data.http_fetch import FetchCaps, checked_url, fetch
from gateway.market_data.json_document import as_instant, as_list, as_number, as_object, as_text, read_object
from gateway.market_data.provenance import UNNAMED, joined_note, named_carbon
from gateway.ports import Clock

NAME = "electricity-maps"
LICENCE = "Electricity Maps, terms of the account"
MAX_INTENSITY_G_PER_KWH = 3_000.0
"""No power plant emits more per kWh; a larger value is an error of unit."""
_GRANULARITIES = {
    "5_minutes": timedelta(minutes=5),
    "15_minutes": QUARTER_HOUR,
    "hourly": timedelta(hours=1),
}
_HORIZONS_H = (6, 24, 48, 72)
"""Forecast horizons the API offers."""


_BASES = {"direct": CarbonBasis.DIRECT, "lifecycle": CarbonBasis.LIFECYCLE}


@dataclass(frozen=True, kw_only=True, slots=True)
class CarbonAccount:
    """Where the server is, who we are to it, and what it measures."""

    url: str
    """Address up to and without `/v3`, for example `https://api.electricitymaps.com`; https except on loopback."""
    token: str = field(repr=False)
    kind: CarbonKind
    """What the values are: Electricity Maps publishes averages; the sandbox's stand-in is marginal."""

    def __post_init__(self) -> None:
        """Reject an address that may not be given a token, and an empty token."""
        checked_url("carbon.url", self.url)
        if not self.token:
            raise InvalidInput("carbon.token", "must not be empty")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Samples:
    """What one reply says."""

    step: timedelta
    by_start: Mapping[datetime, float]
    is_estimated: bool
    basis: str | None
    """`lifecycle` or `direct`; None when it does not say."""
    stand_in: str | None


class CarbonIntensitySource:
    """Carbon intensity of a zone; `ports.CarbonSource`."""

    def __init__(
        self, *, account: CarbonAccount, session: aiohttp.ClientSession, clock: Clock, caps: FetchCaps | None = None
    ) -> None:
        self._account = account
        self._session = session
        self._clock = clock
        self._caps = FetchCaps() if caps is None else caps

    @property
    def name(self) -> str:
        """Short name for provenance."""
        return NAME

    async def fetch(self, zone: str, day: DeliveryDay) -> CarbonSeries | None:
        """Return the intensity of a delivery day in g/kWh: measured where it has passed, forecast where it has not.

        Quarter-hours that neither knows are gaps. A value that is estimated or forecast makes the day `estimated`; stand-in
        values make it `substituted`.

        Raises:
            PeerUnavailable: The server does not answer or asks to wait.
            InvalidInput: The token is refused or a reply breaks a rule; the field says where.
        """
        now = self._clock.now()
        grid = day.grid()
        split = min(max(grid.start, now - timedelta(seconds=now.timestamp() % 900)), grid.end)
        replies: list[_Samples] = []
        values: list[float | None] = [None] * grid.count
        if split > grid.start:
            span = {"start": grid.start.isoformat(), "end": split.isoformat()}
            fill(values, _slots(await self._ask("past-range", zone, span, replies), grid))
        if split < grid.end and (horizon := _horizon_h(grid.end - now)) is not None:
            fill(values, _slots(await self._ask("forecast", zone, {"horizonHours": str(horizon)}, replies), grid))
        if all(value is None for value in values):
            return None
        return self._series(zone, day, tuple(values), replies)

    async def _ask(
        self, endpoint: str, zone: str, params: Mapping[str, str], replies: list[_Samples]
    ) -> _Samples | None:
        """Return what one endpoint says and note it in `replies`; None when it has no data."""
        reply = await fetch(
            self._session,
            f"{self._account.url.rstrip('/')}/v3/carbon-intensity/{endpoint}",
            peer="the carbon server",
            params={"zone": zone, "temporalGranularity": "15_minutes", **params},
            headers={"auth-token": self._account.token},
            caps=self._caps,
        )
        if reply.status in {401, 403}:
            raise InvalidInput("carbon.token", "is refused by the carbon server")
        if reply.status == 404:
            return None
        if reply.status != 200:
            raise PeerUnavailable(f"the carbon server answered with status {reply.status}")
        key = "forecast" if endpoint == "forecast" else "data"
        replies.append(_read_samples(reply.body, key, zone, self._account.kind, reply.stand_in))
        return replies[-1]

    def _series(
        self, zone: str, day: DeliveryDay, values: tuple[float | None, ...], replies: list[_Samples]
    ) -> CarbonSeries:
        stand_in = next((reply.stand_in for reply in replies if reply.stand_in is not None), None)
        quality = Quality.ESTIMATED if any(reply.is_estimated for reply in replies) else Quality.FINAL
        if stand_in is not None:
            quality = Quality.SUBSTITUTED
        bases = {reply.basis for reply in replies if reply.basis is not None}
        if len(bases) > 1:
            raise InvalidInput("carbon.emissionFactorType", "lifecycle and direct factors do not mix")
        basis = next(iter(bases), None)
        kind = self._account.kind
        series = CarbonSeries(
            id=UNNAMED,
            zone=zone,
            kind=kind,
            grid=day.grid(),
            intensity_g_per_kwh=values,
            source=NAME,
            fetched_at=self._clock.now(),
            quality=quality,
            licence=LICENCE,
            note=joined_note(() if basis is None else (f"{basis} factors",), stand_in),
            basis=_BASES.get(basis or "", CarbonBasis.UNSTATED),
            scope=CarbonScope.CONSUMPTION if kind is CarbonKind.AVERAGE else CarbonScope.UNSTATED,
        )
        return named_carbon(series, day)


def _slots(samples: _Samples | None, grid: TimeGrid) -> tuple[float | None, ...]:
    return () if samples is None else on_quarter_hours(samples.by_start, samples.step, grid)


def _horizon_h(ahead: timedelta) -> int | None:
    """Return the smallest horizon that reaches so far ahead; None when none does."""
    return next((hours for hours in _HORIZONS_H if timedelta(hours=hours) >= ahead), None)


def _read_samples(body: bytes, key: str, zone: str, kind: CarbonKind, stand_in: str | None) -> _Samples:
    document = read_object(body, "carbon")
    if document.get("zone") != zone:
        raise InvalidInput("carbon.zone", f"must be {zone}")
    if "signalType" in document and document["signalType"] != kind.value:
        raise InvalidInput("carbon.signalType", f"must be {kind.value}: average and marginal never mix")
    step = _GRANULARITIES.get(as_text(document.get("temporalGranularity"), "carbon.temporalGranularity"))
    if step is None:
        raise InvalidInput("carbon.temporalGranularity", f"must be one of {', '.join(_GRANULARITIES)}")
    samples: dict[datetime, float] = {}
    is_estimated = key == "forecast"
    bases: set[str] = set()
    for index, row in enumerate(as_list(document.get(key), f"carbon.{key}")):
        place = f"carbon.{key}[{index}]"
        sample = as_object(row, place)
        start = as_instant(sample.get("datetime"), f"{place}.datetime")
        if start.timestamp() % step.total_seconds():
            raise InvalidInput(f"{place}.datetime", "is not on the granularity")
        if start in samples:
            raise InvalidInput(f"{place}.datetime", "is given twice")
        if sample.get("carbonIntensity") is None:
            continue
        samples[start] = _intensity(sample["carbonIntensity"], f"{place}.carbonIntensity")
        is_estimated = is_estimated or sample.get("isEstimated") is not False
        if "emissionFactorType" in sample:
            bases.add(as_text(sample["emissionFactorType"], f"{place}.emissionFactorType"))
    if len(bases) > 1:
        raise InvalidInput("carbon.emissionFactorType", "lifecycle and direct factors do not mix")
    return _Samples(
        step=step,
        by_start=samples,
        is_estimated=is_estimated,
        basis=next(iter(bases), None),
        stand_in=stand_in,
    )


def _intensity(value: object, place: str) -> float:
    intensity = as_number(value, place)
    if not 0.0 <= intensity <= MAX_INTENSITY_G_PER_KWH:
        raise InvalidInput(place, f"must be 0 to {MAX_INTENSITY_G_PER_KWH:.0f} g/kWh")
    return intensity
