"""Demand and forecasts are asked for once an hour, kept with every revision, and not for ever."""

import asyncio
from datetime import time, timedelta

import pytest

from gateway.domain.errors import NotFound, PeerUnavailable, PermissionRefused
from gateway.domain.identity import Principal, Role
from gateway.domain.system_series import SystemKind, SystemSeries, system_series_id
from gateway.domain.timegrid import DeliveryDay
from gateway.services.gather_market_data import GatherSettings, SystemGatherer
from tests.fakes.clock import HandClock
from tests.fakes.store import MemoryStore
from tests.services.market_scene import DAY, TENANT, TRADER, ZONE


class Forecasts:
    """A source of one kind; a day has values from its publication on."""

    def __init__(self, clock: HandClock, *, is_forecast: bool = True) -> None:
        self.subject = "load-forecast" if is_forecast else "load"
        self.is_forecast = is_forecast
        self.clock = clock
        self.level = 9000.0
        self.publishes = time(12)
        self.is_down = False
        self.asked: list[str] = []

    async def fetch(self, zone: str, day: DeliveryDay) -> tuple[SystemSeries, ...]:
        self.asked.append(day.day.isoformat())
        if self.is_down:
            raise PeerUnavailable("down")
        if self.is_forecast and self.clock.now() < day.next(-1).at(self.publishes):
            return ()
        kind = SystemKind.LOAD_FORECAST if self.is_forecast else SystemKind.LOAD
        power = (self.level,) * day.grid().count
        return (
            SystemSeries(
                id=system_series_id(zone, kind, day, power),
                zone=zone,
                kind=kind,
                grid=day.grid(),
                power_mw=power,
                source="made up",
                published_at=None,
                fetched_at=self.clock.now(),
                licence="none",
            ),
        )


def gathering(source: Forecasts, clock: HandClock, store: MemoryStore) -> SystemGatherer:
    settings = GatherSettings(tenants=(TENANT,), time_zones={"BE": ZONE})
    return SystemGatherer(store=store, clock=clock, sources={"BE": [source]}, settings=settings)


async def run_until(gatherer: SystemGatherer, clock: HandClock, hours: int) -> None:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(gatherer.run())
        end = clock.now() + timedelta(hours=hours)
        while clock.now() < end:
            for _ in range(60):
                await asyncio.sleep(0)
            clock.move(minutes=1)
        task.cancel()


async def test_a_forecast_comes_when_it_is_published_and_is_then_left_alone() -> None:
    clock = HandClock(DAY.next(-1).at(time(8)))
    source, store = Forecasts(clock), MemoryStore(clock)
    gatherer = gathering(source, clock, store)
    await run_until(gatherer, clock, 10)
    assert 3 <= source.asked.count(DAY.day.isoformat()) <= 4
    found = await gatherer.series(TRADER, "BE", SystemKind.LOAD_FORECAST, DAY)
    assert found.power_mw[0] == 9000.0
    with pytest.raises(NotFound):
        await gatherer.series(TRADER, "BE", SystemKind.LOAD, DAY)
    csms = Principal(tenant=TENANT, actor="c", roles=frozenset({Role.CSMS}))
    with pytest.raises(PermissionRefused):
        await gatherer.series(csms, "BE", SystemKind.LOAD_FORECAST, DAY)


async def test_what_was_drawn_is_not_asked_for_before_the_day_begins() -> None:
    clock = HandClock(DAY.next(-1).at(time(20)))
    source, store = Forecasts(clock, is_forecast=False), MemoryStore(clock)
    await run_until(gathering(source, clock, store), clock, 3)
    assert DAY.day.isoformat() not in source.asked


async def test_a_source_that_is_down_is_asked_again_and_revisions_are_kept() -> None:
    clock = HandClock(DAY.next(-1).at(time(13)))
    source, store = Forecasts(clock), MemoryStore(clock)
    source.is_down = True
    gatherer = gathering(source, clock, store)
    await run_until(gatherer, clock, 2)
    source.is_down = False
    await run_until(gatherer, clock, 2)
    source.level = 9100.0
    await gatherer.refresh("BE", source, DAY)
    kept = [one for one in store.all(SystemSeries, TENANT) if one.grid == DAY.grid()]
    assert {one.power_mw[0] for one in kept} == {9000.0, 9100.0}
    assert (await gatherer.series(TRADER, "BE", SystemKind.LOAD_FORECAST, DAY)).power_mw[0] == 9100.0
