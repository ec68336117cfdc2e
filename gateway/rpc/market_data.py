"""MarketDataService: prices and carbon with where they come from."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Protocol

from typing_extensions import override

from gateway.domain.errors import InvalidInput, NotFound
from gateway.domain.exchange_rates import Conversion, ExchangeRate
from gateway.domain.identity import Permission, Principal
from gateway.domain.price_doubts import contradiction_in
from gateway.domain.series import (
    CarbonBasis,
    CarbonKind,
    CarbonScope,
    CarbonSeries,
    MarketDayStatus,
    PriceProduct,
    PriceSeries,
    Quality,
    SlotRun,
)
from gateway.domain.system_series import SystemKind, SystemSeries
from gateway.domain.timegrid import DeliveryDay, TimeGrid
from gateway.ports import Clock, Store, Stored
from gateway.rpc import convert
from gateway.rpc.door import Context, caller
from gateway.rpc.watching import LOOK_AGAIN, RowWatch
from gateway.v1 import market_data_service_pb2 as pb
from gateway.v1 import market_data_service_pb2_grpc as pb_grpc
from gateway.wakeup import woken_by

_PRODUCTS = {getattr(pb, f"PRICE_PRODUCT_{product.name}"): product for product in PriceProduct}
"""Both sides name a product by the same word."""
_PRODUCT_NUMBERS = {product: number for number, product in _PRODUCTS.items()}
_SYSTEM_KINDS = {getattr(pb, f"SYSTEM_KIND_{kind.name}"): kind for kind in SystemKind}
_PLACE_MARK = "."
"""Between the place in the days' rows and the place in the carbon rows; the tokens themselves never hold it."""
_QUALITIES = {
    Quality.FINAL: pb.QUALITY_FINAL,
    Quality.PRELIMINARY: pb.QUALITY_PRELIMINARY,
    Quality.ESTIMATED: pb.QUALITY_ESTIMATED,
    Quality.SUBSTITUTED: pb.QUALITY_SUBSTITUTED,
}
_CARBON_KINDS = {CarbonKind.AVERAGE: pb.CARBON_KIND_AVERAGE, CarbonKind.MARGINAL: pb.CARBON_KIND_MARGINAL}

_BASES = {
    CarbonBasis.UNSTATED: pb.CARBON_BASIS_UNSPECIFIED,
    CarbonBasis.DIRECT: pb.CARBON_BASIS_DIRECT,
    CarbonBasis.LIFECYCLE: pb.CARBON_BASIS_LIFECYCLE,
}
_SCOPES = {
    CarbonScope.UNSTATED: pb.CARBON_SCOPE_UNSPECIFIED,
    CarbonScope.PRODUCTION: pb.CARBON_SCOPE_PRODUCTION,
    CarbonScope.CONSUMPTION: pb.CARBON_SCOPE_CONSUMPTION,
}


class MarketDoor(Protocol):
    """What this servicer needs of `services.gather_market_data.MarketDataGatherer`."""

    async def prices(self, principal: Principal, zone: str, product: PriceProduct, day: DeliveryDay) -> PriceSeries:
        """Return prices of a delivery day; raises NotFound."""
        ...

    async def prices_as_known(
        self, principal: Principal, zone: str, product: PriceProduct, day: DeliveryDay, at: datetime
    ) -> PriceSeries:
        """Return the prices of a delivery day as an instant of the past knew them; raises NotFound."""
        ...

    async def day_status(
        self, principal: Principal, zone: str, product: PriceProduct, day: DeliveryDay
    ) -> MarketDayStatus:
        """Return how far the prices of a delivery day have come; raises NotFound."""
        ...

    async def carbon(self, principal: Principal, zone: str, day: DeliveryDay) -> CarbonSeries:
        """Return carbon intensity of a delivery day; raises NotFound."""
        ...


class CurrencyDoor(Protocol):
    """What this servicer needs of `services.gather_market_data.Currencies`."""

    async def in_currency(
        self, principal: Principal, series: PriceSeries, day: DeliveryDay, currency: str
    ) -> tuple[PriceSeries, Conversion | None]:
        """Return prices in a currency and how they were converted; raises RateMissing."""
        ...


class SystemDoor(Protocol):
    """What this servicer needs of `services.gather_market_data.SystemGatherer`."""

    async def series(self, principal: Principal, zone: str, kind: SystemKind, day: DeliveryDay) -> SystemSeries:
        """Return the newest series of a delivery day; raises NotFound."""
        ...


class ContradictionDoor(Protocol):
    """What this servicer needs of `services.gather_market_data.Contradictions`."""

    async def days(self, principal: Principal, *, only_open: bool = True) -> list[MarketDayStatus]:
        """Return the market days whose prices are contradicted, newest day first."""
        ...

    async def acknowledge(
        self,
        principal: Principal,
        *,
        place: tuple[str, PriceProduct, DeliveryDay],
        contradiction: str,
        believed: str,
        reason: str,
        request_id: str,
    ) -> MarketDayStatus:
        """Keep a person's word on one contradiction."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class MarketDoors:
    """Services behind the servicer."""

    market: MarketDoor
    system: SystemDoor
    currencies: CurrencyDoor
    contradictions: ContradictionDoor


class MarketDataServicer(pb_grpc.MarketDataServiceServicer):
    """Translates market data messages."""

    def __init__(self, store: Store, clock: Clock, doors: MarketDoors, time_zones: Mapping[str, str]) -> None:
        """Remember who has the data and which IANA time zone the market of each zone has."""
        self._store = store
        self._clock = clock
        self._market = doors.market
        self._system = doors.system
        self._currencies = doors.currencies
        self._contradictions = doors.contradictions
        self._time_zones = dict(time_zones)

    @override
    async def GetPrices(self, request: pb.GetPricesRequest, context: Context) -> pb.GetPricesResponse:
        """Return prices of a delivery day."""
        if request.product not in _PRODUCTS:
            raise InvalidInput("product", "is required")
        product, day = _PRODUCTS[request.product], self._day(request.zone, request.delivery_day)
        status: MarketDayStatus | None = None
        if request.HasField("known_time"):
            at = convert.instant("known_time", request.known_time)
            series = await self._market.prices_as_known(caller(), request.zone, product, day, at)
        else:
            series = await self._market.prices(caller(), request.zone, product, day)
            status = await self._market.day_status(caller(), request.zone, product, day)
        conversion: Conversion | None = None
        if request.currency_code:
            series, conversion = await self._currencies.in_currency(caller(), series, day, request.currency_code)
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
            cross_check="" if status is None else status.cross_check,
            contradiction=None if status is None else _contradiction_message(status),
            runs=[_run_message(run) for run in series.origins],
            conversion=[] if conversion is None else [_rate_message(rate) for rate in conversion.rates],
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
            basis=_BASES[series.basis],
            scope=_SCOPES[series.scope],
            issue_time=None if series.issued_at is None else convert.timestamp(series.issued_at),
        )

    @override
    async def GetSystemSeries(self, request: pb.GetSystemSeriesRequest, context: Context) -> pb.GetSystemSeriesResponse:
        """Return demand, or a forecast of demand, wind or sun, of a delivery day."""
        if request.kind not in _SYSTEM_KINDS:
            raise InvalidInput("kind", "is required")
        day = self._day(request.zone, request.delivery_day)
        series = await self._system.series(caller(), request.zone, _SYSTEM_KINDS[request.kind], day)
        return pb.GetSystemSeriesResponse(
            id=series.id,
            resolution_minutes=int(series.grid.step.total_seconds()) // 60,
            points=_points(series.grid, series.power_mw),
            source=series.source,
            publish_time=None if series.published_at is None else convert.timestamp(series.published_at),
            fetch_time=convert.timestamp(series.fetched_at),
            licence=series.licence,
        )

    @override
    async def ListContradictions(
        self, request: pb.ListContradictionsRequest, context: Context
    ) -> pb.ListContradictionsResponse:
        """List the days of which two sources say different prices."""
        days = await self._contradictions.days(caller(), only_open=not request.with_acknowledged)
        chosen, token = convert.page(days, request.page, [status.id for status in days])
        return pb.ListContradictionsResponse(
            days=[
                pb.ContradictedDay(
                    zone=status.zone,
                    delivery_day=status.day,
                    product=_PRODUCT_NUMBERS[status.product],
                    contradiction=_contradiction_message(status),
                )
                for status in chosen
            ],
            next_page_token=token,
        )

    @override
    async def AcknowledgeContradiction(
        self, request: pb.AcknowledgeContradictionRequest, context: Context
    ) -> pb.AcknowledgeContradictionResponse:
        """Keep a person's word on one contradiction."""
        if request.product not in _PRODUCTS:
            raise InvalidInput("product", "is required")
        status = await self._contradictions.acknowledge(
            caller(),
            place=(request.zone, _PRODUCTS[request.product], self._day(request.zone, request.delivery_day)),
            contradiction=convert.required_text("contradiction_id", request.contradiction_id),
            believed=convert.required_text("believed_source", request.believed_source),
            reason=convert.required_text("reason", request.reason),
            request_id=convert.required_text("request_id", request.request_id),
        )
        return pb.AcknowledgeContradictionResponse(contradiction=_contradiction_message(status))

    @override
    async def WatchMarketData(
        self, request: pb.WatchMarketDataRequest, context: Context
    ) -> AsyncIterator[pb.WatchMarketDataResponse]:
        """Stream delivery days as their prices and their carbon intensity change."""
        principal = caller()
        principal.require(Permission.MARKET_READ)
        day_token, _, carbon_token = request.resume_token.partition(_PLACE_MARK)
        days = RowWatch(self._store, self._clock, MarketDayStatus, principal.tenant, day_token)
        carbon = RowWatch(self._store, self._clock, CarbonSeries, principal.tenant, carbon_token)
        if not carbon_token:
            for old in await carbon.newer():
                carbon.passed(old)
        async with woken_by(self._store, self._clock, (MarketDayStatus, CarbonSeries)) as wake:
            while True:
                for row in await days.newer():
                    days.passed(row)
                    if request.zone in {"", row.record.zone}:
                        yield _day_message(row, f"{days.token}{_PLACE_MARK}{carbon.token}")
                for series in await carbon.newer():
                    carbon.passed(series)
                    if request.zone in {"", series.record.zone}:
                        yield self._carbon_message(series, f"{days.token}{_PLACE_MARK}{carbon.token}")
                await wake.wait(self._clock.now() + LOOK_AGAIN)

    def _carbon_message(self, row: Stored[CarbonSeries], token: str) -> pb.WatchMarketDataResponse:
        series = row.record
        day = DeliveryDay.containing(series.grid.start, self._time_zones.get(series.zone, "UTC"))
        return pb.WatchMarketDataResponse(
            resume_token=token,
            event_time=convert.timestamp(row.written_at),
            zone=series.zone,
            delivery_day=day.day.isoformat(),
            series_id=series.id,
            note=series.note,
            carbon=pb.CarbonChange(
                kind=_CARBON_KINDS[series.kind],
                quality=_QUALITIES[series.quality],
                source=series.source,
                missing_count=sum(value is None for value in series.intensity_g_per_kwh),
            ),
        )

    def _day(self, zone: str, iso_day: str) -> DeliveryDay:
        time_zone = self._time_zones.get(convert.required_text("zone", zone))
        if time_zone is None:
            raise NotFound("zone", zone)
        day = date.fromisoformat(convert.iso_day("delivery_day", iso_day))
        return DeliveryDay(day=day, zone=time_zone)


def _day_message(row: Stored[MarketDayStatus], token: str) -> pb.WatchMarketDataResponse:
    status = row.record
    return pb.WatchMarketDataResponse(
        resume_token=token,
        event_time=convert.timestamp(row.written_at),
        zone=status.zone,
        delivery_day=status.day,
        product=_PRODUCT_NUMBERS[status.product],
        state=getattr(pb, f"MARKET_DAY_STATE_{status.state.name}"),
        missing_count=status.missing_count,
        series_id="" if status.series_id is None else status.series_id,
        note=status.note,
        cross_check=status.cross_check,
        contradiction=_contradiction_message(status),
    )


def _contradiction_message(status: MarketDayStatus) -> pb.Contradiction | None:
    found = contradiction_in(status)
    if found is None:
        return None
    word = found.word
    return pb.Contradiction(
        id=found.id,
        source=found.source,
        other_source=found.other,
        message=found.told,
        find_time=convert.timestamp(found.found_at),
        word=None
        if word is None
        else pb.ContradictionWord(
            actor=word.actor,
            acknowledge_time=convert.timestamp(word.spoken_at),
            believed_source=word.believed,
            reason=word.reason,
        ),
    )


def _run_message(run: SlotRun) -> pb.SlotRun:
    return pb.SlotRun(
        slot_count=run.count,
        native_resolution_minutes=int(run.native_step.total_seconds()) // 60,
        source=run.source,
        quality=_QUALITIES[run.quality],
    )


def _rate_message(rate: ExchangeRate) -> pb.ExchangeRate:
    return pb.ExchangeRate(
        base_code=rate.base, quote_code=rate.quote, rate=str(rate.rate), day=rate.day.isoformat(), source=rate.source
    )


def _points(grid: TimeGrid, values: Sequence[Decimal | float | None]) -> list[pb.SeriesPoint]:
    return [
        pb.SeriesPoint(start_time=convert.timestamp(start), value=None if value is None else str(value))
        for start, value in zip(grid.starts(), values, strict=True)
    ]
