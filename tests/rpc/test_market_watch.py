"""Market data as a stream: a snapshot, then every change once, also across a reconnection."""

import asyncio

import grpc
import pytest

from gateway.domain.series import CarbonKind, CarbonSeries, PriceProduct, Quality
from gateway.domain.system_series import SystemKind, SystemSeries
from gateway.v1 import market_data_service_pb2 as pb
from tests.fakes.wired import Wired
from tests.rpc.conftest import Caller
from tests.rpc.test_services import refused
from tests.services.market_scene import DAY, TENANT

SDAC = PriceProduct.DAY_AHEAD_SDAC


async def test_days_are_watched_from_a_snapshot_on_and_resumed_without_loss_or_repeat(
    house: Wired, call: Caller
) -> None:
    async with call("tara") as gateway:
        watch = gateway.market_data.WatchMarketData(pb.WatchMarketDataRequest(zone="BE"))
        last = await watch.read()
        known: dict[tuple[str, int], pb.WatchMarketDataResponse] = {(last.delivery_day, last.product): last}
        while (DAY.next(-1).day.isoformat(), pb.PRICE_PRODUCT_DAY_AHEAD_SDAC) not in known:
            last = await watch.read()
            known[last.delivery_day, last.product] = last
        watch.cancel()
        assert {one.state for one in known.values()} == {pb.MARKET_DAY_STATE_COMPLETE}
        # Written while nobody watched.
        house.scene.clock.move(seconds=1)
        await house.scene.publish(DAY, SDAC)
        request = pb.WatchMarketDataRequest(zone="BE", resume_token=last.resume_token)
        watch = gateway.market_data.WatchMarketData(request)
        first = await watch.read()
        while first.delivery_day != DAY.day.isoformat():
            first = await watch.read()
        house.scene.clock.move(seconds=1)
        await house.scene.publish(DAY, SDAC, level=40.0)
        revised = await watch.read()
        assert (revised.delivery_day, revised.state) == (first.delivery_day, pb.MARKET_DAY_STATE_COMPLETE)
        assert revised.series_id != first.series_id
        assert revised.missing_count == 0
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(watch.read(), 0.2)


async def test_another_zone_is_not_streamed_and_a_csms_may_not_watch(house: Wired, call: Caller) -> None:
    async with call("tara") as gateway:
        watch = gateway.market_data.WatchMarketData(pb.WatchMarketDataRequest(zone="NL"))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(watch.read(), 0.2)
    async with call("csms") as gateway:
        seen = await refused(gateway.market_data.WatchMarketData(pb.WatchMarketDataRequest()).read())
        assert seen.code is grpc.StatusCode.PERMISSION_DENIED


async def test_demand_comes_over_the_wire_with_its_gaps(house: Wired, call: Caller) -> None:
    grid = DAY.grid()
    series = SystemSeries(
        id="BE:load:1",
        zone="BE",
        kind=SystemKind.LOAD,
        grid=grid,
        power_mw=(None, *(8000.5,) * (grid.count - 1)),
        source="entsoe",
        published_at=None,
        fetched_at=grid.start,
        licence="made up",
    )
    await house.scene.store.seed(TENANT, series)
    request = pb.GetSystemSeriesRequest(zone="BE", delivery_day=DAY.day.isoformat(), kind=pb.SYSTEM_KIND_LOAD)
    async with call("tara") as gateway:
        found = await gateway.market_data.GetSystemSeries(request)
        assert [point.HasField("value") for point in found.points[:2]] == [False, True]
        assert (found.points[1].value, found.source) == ("8000.5", "entsoe")
        request.kind = pb.SYSTEM_KIND_SOLAR_FORECAST
        assert (await refused(gateway.market_data.GetSystemSeries(request))).code is grpc.StatusCode.NOT_FOUND
        request.kind = pb.SYSTEM_KIND_UNSPECIFIED
        assert (await refused(gateway.market_data.GetSystemSeries(request))).field == "kind"


async def test_m25_a_measured_intensity_that_replaces_an_estimate_is_told_once(house: Wired, call: Caller) -> None:
    def carbon(name: str, level: float, quality: Quality) -> CarbonSeries:
        return CarbonSeries(
            id=name,
            zone="BE",
            kind=CarbonKind.AVERAGE,
            grid=DAY.grid(),
            intensity_g_per_kwh=(None, *(level,) * 95),
            source="electricity-maps",
            fetched_at=house.scene.clock.now(),
            quality=quality,
            licence="made up",
        )

    await house.scene.store.seed(TENANT, carbon("old", 1.0, Quality.ESTIMATED))
    async with call("tara") as gateway:
        watch = gateway.market_data.WatchMarketData(pb.WatchMarketDataRequest(zone="BE"))
        last = await watch.read()
        while last.delivery_day != DAY.next(-1).day.isoformat():
            last = await watch.read()
            assert not last.HasField("carbon"), "what was there before is no change"
        house.scene.clock.move(seconds=1)
        await house.scene.store.seed(TENANT, carbon("estimate", 250.0, Quality.ESTIMATED))
        told = await watch.read()
        while not told.HasField("carbon"):
            told = await watch.read()
        assert (told.series_id, told.carbon.quality, told.carbon.missing_count) == ("estimate", pb.QUALITY_ESTIMATED, 1)
        assert told.delivery_day == DAY.day.isoformat()
        watch.cancel()
        house.scene.clock.move(seconds=1)
        await house.scene.store.seed(TENANT, carbon("measured", 255.0, Quality.FINAL))
        request = pb.WatchMarketDataRequest(zone="BE", resume_token=told.resume_token)
        watch = gateway.market_data.WatchMarketData(request)
        again = await watch.read()
        assert (again.series_id, again.carbon.quality) == ("measured", pb.QUALITY_FINAL)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(watch.read(), 0.2)
