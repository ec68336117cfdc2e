"""A whole day of prices gets a second opinion: kept beside it, told when it differs, asked for seldom and not for ever."""

import asyncio
from dataclasses import replace
from datetime import time, timedelta
from decimal import Decimal

import pytest

from gateway.domain.errors import InvalidInput, PeerUnavailable
from gateway.domain.series import DayState, MarketDayStatus, PriceProduct, PriceSeries, Quality, market_day_id
from gateway.services.gather_market_data import GatherSettings, MarketDataGatherer, PublicationLoop
from tests.fakes.clock import HandClock
from tests.fakes.ids import CountingIds
from tests.fakes.market import ScriptedSource, price_series
from tests.fakes.store import MemoryStore
from tests.services.market_scene import DAY, TENANT, ZONE, prices_of

SDAC = PriceProduct.DAY_AHEAD_SDAC
KEY = market_day_id("BE", SDAC, DAY)
Answer = PriceSeries | PeerUnavailable | InvalidInput | None


class Comparing:
    """A gatherer with a primary and two other sources, after the publication of tomorrow's prices."""

    def __init__(self, *, sources: int = 2) -> None:
        self.clock = HandClock(DAY.next(-1).interval.start + timedelta(hours=13))
        self.store = MemoryStore(self.clock)
        self.sources = [ScriptedSource(f"source-{i}") for i in range(sources)]
        settings = GatherSettings(tenants=(TENANT,), time_zones={"BE": ZONE}, history_days=0)
        self.gatherer = MarketDataGatherer(
            store=self.store,
            clock=self.clock,
            ids=CountingIds(),
            price_sources={("BE", SDAC): self.sources},
            carbon_sources={},
            settings=settings,
        )

    def series(self, source: int = 0, *, plus: str = "0", **changes: object) -> PriceSeries:
        prices: list[Decimal | None] = [*prices_of(DAY)]
        moved = prices[9]
        assert moved is not None
        prices[9] = moved + Decimal(plus)
        found = price_series(DAY, prices, fetched_at=self.clock.now())
        return replace(found, source=f"source-{source}", **changes)  # type: ignore[arg-type]  # fields of the series

    def answer(self, source: int, *answers: Answer) -> None:
        self.sources[source].answers[DAY.day.isoformat()] = list(answers)

    async def confirmed(self) -> str:
        await self.gatherer.refresh("BE", SDAC, DAY)
        return await self.gatherer.confirm("BE", SDAC, DAY)

    async def status(self) -> MarketDayStatus:
        row = await self.store.get(MarketDayStatus, TENANT, KEY)
        assert row is not None
        return row.record


async def test_an_agreeing_source_confirms() -> None:
    some = Comparing()
    some.answer(0, some.series())
    some.answer(1, some.series(1, plus="0.01"))
    assert await some.confirmed() == "confirmed by source-1 in 96 periods"
    assert (await some.status()).cross_check == "confirmed by source-1 in 96 periods"


async def test_a_source_that_differs_is_told_and_the_primary_is_kept() -> None:
    some = Comparing()
    primary = some.series()
    some.answer(0, primary)
    some.answer(1, some.series(1, plus="0.02"))
    assert "differs from source-0 in 1 of 96 periods" in await some.confirmed()
    status = await some.status()
    assert status.state is DayState.COMPLETE
    assert status.series_id is not None
    kept = await some.store.get(PriceSeries, TENANT, status.series_id)
    assert kept is not None
    assert kept.record.prices_per_mwh == primary.prices_per_mwh
    told = await some.store.audit_of(TENANT, "market-day", KEY)
    assert [found.entry.detail["cross_check"] for found in told] == ["", status.cross_check]


async def test_who_has_no_opinion_is_passed_over() -> None:
    some = Comparing(sources=4)
    some.answer(0, some.series())
    some.answer(1, PeerUnavailable("down"))
    some.answer(2, some.series(2, plus="50", quality=Quality.ESTIMATED))
    some.answer(3, some.series(3))
    assert await some.confirmed() == "confirmed by source-3 in 96 periods"


async def test_a_day_that_is_not_complete_is_not_compared() -> None:
    some = Comparing()
    some.answer(0, None)
    some.answer(1, None)
    assert not await some.confirmed()
    assert len(some.sources[1].asked) == 1


async def test_a_revision_is_compared_anew() -> None:
    some = Comparing()
    some.answer(0, some.series(), some.series(plus="5"))
    some.answer(1, some.series(1))
    assert (await some.confirmed()).startswith("confirmed")
    assert (await some.gatherer.refresh("BE", SDAC, DAY)).cross_check == ""
    assert "differs" in await some.gatherer.confirm("BE", SDAC, DAY)


async def run_for(some: Comparing, hours: float) -> None:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(PublicationLoop(some.gatherer).run())
        end = some.clock.now() + timedelta(hours=hours)
        while some.clock.now() < end:
            for _ in range(40):
                await asyncio.sleep(0)
            some.clock.move(seconds=60)
        task.cancel()


async def test_the_loop_asks_every_half_hour_and_stops_after_an_answer() -> None:
    some = Comparing()
    some.answer(0, some.series())
    some.answer(1, None, None, some.series(1))
    await run_for(some, 5)
    asked = [day for _, day in some.sources[1].asked if day == DAY.day.isoformat()]
    assert len(asked) == 3
    # Once to have them, once three hours later, because a publisher may revise them.
    assert [day for _, day in some.sources[0].asked].count(DAY.day.isoformat()) == 2
    assert (await some.status()).cross_check == "confirmed by source-1 in 96 periods"


@pytest.mark.parametrize(("days_later", "is_said"), [(1, True), (7, True), (8, False)])
async def test_m20_days_of_the_last_week_get_the_opinion_they_never_had(days_later: int, *, is_said: bool) -> None:
    some = Comparing()
    some.gatherer.settings = replace(some.gatherer.settings, history_days=10)
    some.answer(0, some.series())
    await some.gatherer.refresh("BE", SDAC, DAY)
    some.answer(1, some.series(1, plus="3"))
    some.clock.set(DAY.next(days_later).at(time(0)))
    await run_for(some, 0.5)
    assert ("differs from source-0 in 1 of 96 periods" in (await some.status()).cross_check) is is_said


async def test_a_past_day_that_nobody_has_an_opinion_on_is_asked_for_twice() -> None:
    some = Comparing()
    some.gatherer.settings = replace(some.gatherer.settings, history_days=3)
    some.answer(0, some.series())
    await some.gatherer.refresh("BE", SDAC, DAY)
    some.answer(1, None)
    some.clock.set(DAY.next(2).at(time(0)))
    await run_for(some, 4)
    assert [day for _, day in some.sources[1].asked].count(DAY.day.isoformat()) == 2


async def test_the_loop_gives_up_after_six_times() -> None:
    some = Comparing()
    some.answer(0, some.series())
    some.answer(1, None)
    await run_for(some, 8)
    assert [day for _, day in some.sources[1].asked].count(DAY.day.isoformat()) == 6


async def test_estimates_are_replaced_after_delivery_has_begun() -> None:
    some = Comparing()
    some.answer(0, PeerUnavailable("down"))
    some.answer(1, some.series(1, quality=Quality.ESTIMATED))
    some.clock.set(DAY.interval.start + timedelta(hours=1))
    await run_for(some, 1)
    assert (await some.status()).state is DayState.COMPLETE
    some.answer(0, some.series())
    await run_for(some, 4)
    series_id = (await some.status()).series_id
    assert series_id is not None
    kept = await some.store.get(PriceSeries, TENANT, series_id)
    assert kept is not None
    assert (kept.record.source, kept.record.quality) == ("source-0", Quality.FINAL)


async def test_one_source_alone_is_never_asked_for_an_opinion() -> None:
    some = Comparing(sources=1)
    some.answer(0, some.series())
    await run_for(some, 3)
    assert [day for _, day in some.sources[0].asked].count(DAY.day.isoformat()) == 1
