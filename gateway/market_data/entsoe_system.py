"""Demand (A65) and forecasts of wind and sun (A69) from the ENTSO-E Transparency Platform.

```
load                  A65  processType A16 (realised)    outBiddingZone_Domain
load-forecast         A65  processType A01 (day ahead)   outBiddingZone_Domain
wind-solar-forecast   A69  processType A01               in_Domain, one series per MktPSRType B16, B18, B19
```

Both come as GL_MarketDocument with `quantity` in MAW; a curve holds as everywhere on the platform (`entsoe_elements`).
Source: Transparency Platform RESTful API, implementation guide (6.1.A, 6.1.B, 14.1.D).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from lxml import etree

from gateway.domain.errors import InvalidInput
from gateway.domain.system_series import SystemKind, SystemSeries, system_series_id
from gateway.domain.timegrid import DeliveryDay, TimeGrid
from gateway.market_data.areas import area_code
from gateway.market_data.carbon_of_generation import power_mw
from gateway.market_data.entsoe import LICENCE, NAME, EntsoeEndpoint
from gateway.market_data.entsoe_elements import (
    Slots,
    children,
    curve_of,
    instant_of,
    is_acknowledgement,
    lay_out,
    points_of,
    require_area,
    require_kind,
    require_no_data,
    text_of,
)
from gateway.market_data.entsoe_generation import DEFAULT_MAX_SPAN
from gateway.market_data.entsoe_xml import read_tree

_LOAD = "urn:iec62325.351:tc57wg16:451-6:generationloaddocument:"
_OF_TYPE = {
    "B16": SystemKind.SOLAR_FORECAST,
    "B18": SystemKind.WIND_OFFSHORE_FORECAST,
    "B19": SystemKind.WIND_ONSHORE_FORECAST,
}
_REALISED, _DAY_AHEAD = "A16", "A01"


@dataclass(frozen=True, kw_only=True, slots=True)
class SystemDocument:
    """A document about load, or about forecasts of wind and sun."""

    created_at: datetime
    by_kind: Mapping[SystemKind, tuple[Slots, ...]]


class EntsoeSystemSource:
    """One item of the platform; `services.gather_market_data.SystemSource`.

    Args:
        endpoint: The platform's door.
        subject: `load`, `load-forecast` or `wind-solar-forecast`.
    """

    def __init__(self, *, endpoint: EntsoeEndpoint, subject: str) -> None:
        if subject not in _READERS:
            raise InvalidInput("market.system", f"must be one of {', '.join(_READERS)}")
        self._endpoint = endpoint
        self._subject = subject

    @property
    def subject(self) -> str:
        """What it is asked for."""
        return self._subject

    @property
    def is_forecast(self) -> bool:
        """Whether it has values before the day begins."""
        return self._subject != "load"

    async def fetch(self, zone: str, day: DeliveryDay) -> tuple[SystemSeries, ...]:
        """Return the series of a delivery day, gaps as None; nothing when nothing is published yet.

        Raises:
            PeerUnavailable: The platform does not answer, asks to wait or sends a web page.
            InvalidInput: The zone is unknown, the platform refuses, or the document breaks a rule.
        """
        area = area_code(zone)
        if self._subject == "wind-solar-forecast":
            kind, domains = "A69", {"processType": _DAY_AHEAD, "in_Domain": area}
        else:
            process = _DAY_AHEAD if self.is_forecast else _REALISED
            kind, domains = "A65", {"processType": process, "outBiddingZone_Domain": area}
        reply = await self._endpoint.ask(kind, domains, day)
        document = await self._endpoint.read(_READERS[self._subject], reply.body, area)
        if document is None:
            return ()
        grid = day.grid()
        made = (self._series(zone, day, grid, document, one) for one in sorted(document.by_kind))
        return tuple(series for series in made if any(value is not None for value in series.power_mw))

    def _series(
        self, zone: str, day: DeliveryDay, grid: TimeGrid, document: SystemDocument, kind: SystemKind
    ) -> SystemSeries:
        power = power_mw(document.by_kind[kind], grid)
        values = tuple(None if value != value else float(value) for value in power)  # noqa: PLR0124  # NaN is a gap
        return SystemSeries(
            id=system_series_id(zone, kind, day, values),
            zone=zone,
            kind=kind,
            grid=grid,
            power_mw=values,
            source=NAME,
            published_at=document.created_at,
            fetched_at=self._endpoint.now(),
            licence=LICENCE,
        )


def read_load(body: bytes, area: str) -> SystemDocument | None:
    """Read the body of a reply about realised load; importable by name for a worker process."""
    return _read(body, area, "A65", SystemKind.LOAD)


def read_load_forecast(body: bytes, area: str) -> SystemDocument | None:
    """Read the body of a reply about the forecast of load."""
    return _read(body, area, "A65", SystemKind.LOAD_FORECAST)


def read_wind_and_sun(body: bytes, area: str) -> SystemDocument | None:
    """Read the body of a reply about forecasts of wind and sun."""
    return _read(body, area, "A69", None)


_READERS = {
    "load": read_load,
    "load-forecast": read_load_forecast,
    "wind-solar-forecast": read_wind_and_sun,
}


def _read(body: bytes, area: str, document_type: str, kind: SystemKind | None) -> SystemDocument | None:
    root = read_tree(body)
    if is_acknowledgement(root):
        require_no_data(root)
        return None
    require_kind(root, "GL_MarketDocument", _LOAD, document_type)
    found: dict[SystemKind, list[Slots]] = {}
    for series in children(root, "TimeSeries"):
        require_area(series, "inBiddingZone_Domain.mRID" if kind is None else "outBiddingZone_Domain.mRID", area)
        if text_of(series, "quantity_Measure_Unit.name") != "MAW":
            raise InvalidInput("quantity_Measure_Unit.name", "must be MAW")
        curve = curve_of(series)
        periods = found.setdefault(_kind_of(series) if kind is None else kind, [])
        for period in children(series, "Period"):
            periods.append(lay_out(period, points_of(period, "quantity", None)[None], curve, DEFAULT_MAX_SPAN))
    return SystemDocument(
        created_at=instant_of(text_of(root, "createdDateTime"), "createdDateTime"),
        by_kind={one: tuple(periods) for one, periods in found.items()},
    )


def _kind_of(series: etree._Element) -> SystemKind:
    holders = list(children(series, "MktPSRType"))
    kind = _OF_TYPE.get(text_of(holders[0], "psrType")) if len(holders) == 1 else None
    if kind is None:
        raise InvalidInput("MktPSRType", "must be there once and be B16, B18 or B19")
    return kind
