"""Which prices of a day count when sources come and go: nothing final is given up for less, and nothing published is lost."""

from dataclasses import replace
from datetime import datetime, time, timedelta
from decimal import Decimal

import pytest

from gateway.domain.errors import PeerUnavailable
from gateway.domain.series import DayState, MarketDayStatus, PriceProduct, PriceSeries, Quality
from gateway.domain.timegrid import DeliveryDay
from gateway.services.gather_market_data import GatherSettings, MarketDataGatherer, PriceHistories
from tests.fakes.clock import HandClock
from tests.fakes.ids import CountingIds
from tests.fakes.market import ScriptedSource, price_series
from tests.fakes.store import MemoryStore
from tests.services.market_scene import DAY, TENANT, TRADER, ZONE, prices_of

SDAC = PriceProduct.DAY_AHEAD_SDAC
DOWN = PeerUnavailable("down")
Answer = PriceSeries | PeerUnavailable | None


class Market:
    """A first and a second source, in the afternoon before the day."""

    def __init__(self) -> None:
        self.clock = HandClock(DAY.next(-1).at(time(13)))
        self.store = MemoryStore(self.clock)
        self.sources = [ScriptedSource("first"), ScriptedSource("second")]
        self.gatherer = MarketDataGatherer(
            store=self.store,
            clock=self.clock,
            ids=CountingIds(),
            price_sources={("BE", SDAC): self.sources},
            carbon_sources={},
            settings=GatherSettings(tenants=(TENANT,), time_zones={"BE": ZONE}, history_days=0),
        )

    def series(
        self, source: str = "first", *, plus: int = 0, gaps: int = 0, day: DeliveryDay = DAY, **changes: object
    ) -> PriceSeries:
        prices = [None if i < gaps else p and p + plus for i, p in enumerate(prices_of(day))]
        found = price_series(day, prices, fetched_at=self.clock.now())
        return replace(found, source=source, **changes)  # type: ignore[arg-type]  # fields of the series

    async def told(self, first: Answer, second: Answer = None, *, day: DeliveryDay = DAY) -> MarketDayStatus:
        """Return the status after both sources were asked, a minute later than before."""
        self.clock.move(minutes=1)
        for source, answer in zip(self.sources, (first, second), strict=True):
            fresh = replace(answer, fetched_at=self.clock.now()) if isinstance(answer, PriceSeries) else answer
            source.answers[day.day.isoformat()] = [fresh]
        return await self.gatherer.refresh("BE", SDAC, day)

    async def prices(self, day: DeliveryDay = DAY) -> PriceSeries:
        return await self.gatherer.prices(TRADER, "BE", SDAC, day)

    async def known_at(self, at: datetime, day: DeliveryDay = DAY) -> PriceSeries:
        return await self.gatherer.prices_as_known(TRADER, "BE", SDAC, day, at)


@pytest.mark.parametrize("quality", [Quality.FINAL, Quality.PRELIMINARY, Quality.ESTIMATED])
async def test_m20_the_primarys_prices_stay_when_it_is_down_and_another_answers(quality: Quality) -> None:
    some = Market()
    before = await some.told(some.series())
    after = await some.told(DOWN, some.series("second", plus=7, quality=quality))
    assert (after.state, after.series_id) == (DayState.COMPLETE, before.series_id)
    assert (await some.prices()).source == "first"


async def test_the_primary_replaces_what_helped_out() -> None:
    some = Market()
    await some.told(DOWN, some.series("second", quality=Quality.ESTIMATED))
    assert (await some.prices()).quality is Quality.ESTIMATED
    await some.told(some.series(plus=1), some.series("second", quality=Quality.ESTIMATED))
    assert ((await some.prices()).source, (await some.prices()).quality) == ("first", Quality.FINAL)


async def test_final_prices_of_another_replace_preliminary_ones() -> None:
    some = Market()
    await some.told(some.series(quality=Quality.PRELIMINARY))
    await some.told(DOWN, some.series("second"))
    assert ((await some.prices()).source, (await some.prices()).quality) == ("second", Quality.FINAL)
    status = await some.told(some.series(quality=Quality.PRELIMINARY))
    assert (await some.prices()).source == "second"
    assert "those of second are kept" in status.note


async def test_m19_prices_that_come_back_count_again_now_and_as_known_and_in_the_years() -> None:
    some = Market()
    first, second = some.series(), some.series(plus=10)
    at = [some.clock.now() + timedelta(minutes=i) for i in range(5)]
    ids = [(await some.told(answer)).series_id for answer in (first, second, first, first)]
    assert len(set(ids)) == 3
    assert ids[2] == ids[3], "the same prices again are no revision"
    assert (await some.prices()).prices_per_mwh == first.prices_per_mwh
    known = [(await some.known_at(one)).prices_per_mwh for one in at[1:]]
    assert known == [one.prices_per_mwh for one in (first, second, first, first)]
    history = await PriceHistories(store=some.store, clock=some.clock).of(TRADER, "BE", SDAC)
    assert Decimal(f"{history.prices_per_mwh[0]:.2f}") == first.prices_per_mwh[0]


async def test_m22_what_was_published_of_a_day_that_is_over_stays_and_nothing_stands_in() -> None:
    """Belgium, 31 March 2024: two hours at the clock change are missing for ever."""
    some = Market()
    day = DeliveryDay(day=DAY.next(-30).day, zone=ZONE)
    await some.told(some.series(day=day.next(-7)), day=day.next(-7))
    status = await some.told(some.series(day=day, gaps=8), day=day)
    assert (status.state, status.missing_count) == (DayState.LATE, 8)
    found = await some.prices(day)
    assert found.quality is Quality.FINAL
    assert found.prices_per_mwh == some.series(day=day, gaps=8).prices_per_mwh


async def test_what_was_published_is_kept_beside_what_stands_in_for_it() -> None:
    some = Market()
    await some.told(some.series(day=DAY.next(-7)), day=DAY.next(-7))
    some.clock.set(DAY.next(-1).at(time(20)))
    pieces = some.series(gaps=8)
    for _ in range(2):
        status = await some.told(pieces)
        assert status.state is DayState.FALLBACK
        assert (await some.prices()).quality is Quality.SUBSTITUTED
    kept = await some.gatherer.revisions(TRADER, "BE", SDAC, DAY)
    assert sorted(one.quality.value for one in kept) == ["final", "substituted"]
    assert (await some.known_at(some.clock.now())).quality is Quality.SUBSTITUTED
    some.clock.set(DAY.next().at(time(0)))
    status = await some.told(pieces)
    assert (status.state, status.missing_count) == (DayState.LATE, 8)
    assert (await some.prices()).prices_per_mwh == pieces.prices_per_mwh
    assert (await some.known_at(some.clock.now())).prices_per_mwh == pieces.prices_per_mwh


async def test_a_stand_in_never_stands_in_for_another_day() -> None:
    some = Market()
    await some.told(some.series(day=DAY.next(-14)), day=DAY.next(-14))
    await some.told(some.series(day=DAY.next(-7), plus=99, quality=Quality.SUBSTITUTED), day=DAY.next(-7))
    some.clock.set(DAY.next(-1).at(time(20)))
    status = await some.told(None)
    assert DAY.next(-14).day.isoformat() in status.note
    assert (await some.prices()).prices_per_mwh == some.series(day=DAY.next(-14)).prices_per_mwh


async def test_m4_a_partial_final_day_does_not_give_way_to_a_whole_estimate() -> None:
    some = Market()
    early = some.series(gaps=40)
    status = await some.told(early, some.series("second", plus=7, quality=Quality.ESTIMATED))
    assert (status.state, status.missing_count) == (DayState.COMPLETE, 0)
    found = await some.prices()
    assert found.prices_per_mwh[40:] == early.prices_per_mwh[40:]
    assert [(run.count, run.source, run.quality) for run in found.runs] == [
        (40, "second", Quality.ESTIMATED),
        (56, "first", Quality.FINAL),
    ]
    assert found.quality is Quality.ESTIMATED, "a day is as good as its worst slot, and is asked for again"


async def test_m4_what_was_final_stays_when_its_source_is_down_and_an_estimate_comes() -> None:
    some = Market()
    early = some.series(gaps=40)
    await some.told(early)
    estimate = some.series("second", plus=7, quality=Quality.ESTIMATED)
    status = await some.told(DOWN, estimate)
    first = await some.prices()
    assert (status.state, first.prices_per_mwh[40:]) == (DayState.COMPLETE, early.prices_per_mwh[40:])
    again = await some.told(DOWN, some.series("second", plus=9, quality=Quality.ESTIMATED))
    assert (await some.prices()).id == first.id, "its final slots are not given up for estimates"
    assert "those of second + first are kept" in again.note
    assert (await some.known_at(some.clock.now())).id == first.id
    whole = await some.told(some.series(), estimate)
    assert whole.state is DayState.COMPLETE
    assert (await some.prices()).runs == ()
    assert (await some.prices()).source == "first"


async def test_two_sources_that_each_have_a_part_make_a_whole_day() -> None:
    some = Market()
    late = some.series("second")
    late = replace(late, prices_per_mwh=(*late.prices_per_mwh[:50], *[None] * 46))
    status = await some.told(some.series(gaps=40), late)
    assert status.state is DayState.COMPLETE
    assert [(run.count, run.source) for run in (await some.prices()).runs] == [(40, "second"), (56, "first")]


async def test_final_slots_stay_beside_what_stands_in_for_the_others() -> None:
    some = Market()
    await some.told(some.series(day=DAY.next(-7), plus=500), day=DAY.next(-7))
    some.clock.set(DAY.next(-1).at(time(20)))
    pieces = some.series(gaps=8)
    status = await some.told(pieces)
    found = await some.prices()
    assert (status.state, found.quality) == (DayState.FALLBACK, Quality.SUBSTITUTED)
    assert found.prices_per_mwh[8:] == pieces.prices_per_mwh[8:]
    assert [(run.count, run.quality) for run in found.runs] == [(8, Quality.SUBSTITUTED), (88, Quality.FINAL)]
