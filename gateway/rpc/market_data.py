"""MarketDataService: prices and carbon with where they come from."""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Protocol

from typing_extensions import override

from gateway.domain.errors import InvalidInput, NotFound
from gateway.domain.identity import Principal
from gateway.domain.series import CarbonKind, CarbonSeries, PriceProduct, PriceSeries, Quality
from gateway.domain.timegrid import DeliveryDay, TimeGrid
from gateway.rpc import convert
from gateway.rpc.door import Context, caller
from gateway.v1 import market_data_service_pb2 as pb
from gateway.v1 import market_data_service_pb2_grpc as pb_grpc

_PRODUCTS = {
    pb.PRICE_PRODUCT_DAY_AHEAD_SDAC: PriceProduct.DAY_AHEAD_SDAC,
    pb.PRICE_PRODUCT_DAY_AHEAD_EXAA: PriceProduct.DAY_AHEAD_EXAA,
    pb.PRICE_PRODUCT_IMBALANCE: PriceProduct.IMBALANCE,
    pb.PRICE_PRODUCT_TARIFF_ENERGY: PriceProduct.TARIFF_ENERGY,
    pb.PRICE_PRODUCT_PROGRAM_TARIFF: PriceProduct.PROGRAM_TARIFF,
    pb.PRICE_PRODUCT_PROGRAM_EXPORT_TARIFF: PriceProduct.PROGRAM_EXPORT_TARIFF,
}
_QUALITIES = {
    Quality.FINAL: pb.QUALITY_FINAL,
    Quality.PRELIMINARY: pb.QUALITY_PRELIMINARY,
    Quality.ESTIMATED: pb.QUALITY_ESTIMATED,
    Quality.SUBSTITUTED: pb.QUALITY_SUBSTITUTED,
}
_CARBON_KINDS = {CarbonKind.AVERAGE: pb.CARBON_KIND_AVERAGE, CarbonKind.MARGINAL: pb.CARBON_KIND_MARGINAL}


class MarketDoor(Protocol):
    """What this servicer needs of `services.gather_market_data.MarketDataGatherer`."""

    async def prices(self, principal: Principal, zone: str, product: PriceProduct, day: DeliveryDay) -> PriceSeries:
        """Return prices of a delivery day; raises NotFound."""
        ...

    async def carbon(self, principal: Principal, zone: str, day: DeliveryDay) -> CarbonSeries:
        """Return carbon intensity of a delivery day; raises NotFound."""
        ...


class MarketDataServicer(pb_grpc.MarketDataServiceServicer):
    """Translates market data messages."""

    def __init__(self, market: MarketDoor, time_zones: Mapping[str, str]) -> None:
        """Remember who has the data and which IANA time zone the market of each zone has."""
        self._market = market
        self._time_zones = dict(time_zones)

    @override
    async def GetPrices(self, request: pb.GetPricesRequest, context: Context) -> pb.GetPricesResponse:
        """Return prices of a delivery day."""
        if request.product not in _PRODUCTS:
            raise InvalidInput("product", "is required")
        series = await self._market.prices(
            caller(),
            request.zone,
            _PRODUCTS[request.product],
            self._day(request.zone, request.delivery_day),
        )
        return pb.GetPricesResponse(
            id=series.id,
            currency_code=series.currency,
            resolution_minutes=int(series.grid.step.total_seconds()) // 60,
            points=_points(series.grid, series.prices_per_mwh),
            source=series.source,
            publish_time=None if series.published_at is None else convert.timestamp(series.published_at),
            fetch_time=convert.timestamp(series.fetched_at),
            quality=_QUALITIES[series.quality],
            licence=series.licence,
            note=series.note,
            is_complete=series.is_complete,
        )

    @override
    async def GetCarbon(self, request: pb.GetCarbonRequest, context: Context) -> pb.GetCarbonResponse:
        """Return carbon intensity of a delivery day."""
        series = await self._market.carbon(
            caller(),
            request.zone,
            self._day(request.zone, request.delivery_day),
        )
        return pb.GetCarbonResponse(
            id=series.id,
            kind=_CARBON_KINDS[series.kind],
            resolution_minutes=int(series.grid.step.total_seconds()) // 60,
            points=_points(series.grid, series.intensity_g_per_kwh),
            source=series.source,
            fetch_time=convert.timestamp(series.fetched_at),
            quality=_QUALITIES[series.quality],
            licence=series.licence,
            note=series.note,
        )

    def _day(self, zone: str, iso_day: str) -> DeliveryDay:
        time_zone = self._time_zones.get(convert.required_text("zone", zone))
        if time_zone is None:
            raise NotFound("zone", zone)
        day = date.fromisoformat(convert.iso_day("delivery_day", iso_day))
        return DeliveryDay(day=day, zone=time_zone)


def _points(grid: TimeGrid, values: Sequence[Decimal | float | None]) -> list[pb.SeriesPoint]:
    return [
        pb.SeriesPoint(start_time=convert.timestamp(start), value=None if value is None else str(value))
        for start, value in zip(grid.starts(), values, strict=True)
    ]
