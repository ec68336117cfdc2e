"""Prices are complete or say that they are not; every revision is kept; nobody is asked too early or too often."""

import asyncio
import dataclasses
from datetime import date, time, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest

from gateway.domain.errors import InvalidInput, NotFound, PeerUnavailable, PermissionRefused
from gateway.domain.identity import Principal, Role
from gateway.domain.series import CarbonKind, CarbonSeries, DayState, PriceProduct, PriceSeries, Quality
from gateway.domain.timegrid import DeliveryDay, TimeGrid
from gateway.services.gather_market_data import GatherSettings, MarketDataGatherer, PublicationLoop, shifted_series
from tests.fakes.clock import HandClock
from tests.fakes.ids import CountingIds
from tests.fakes.market import ScriptedSource, price_series
from tests.fakes.store import MemoryStore
from tests.services.market_scene import DAY, STRANGER, TENANT, TRADER, ZONE, prices_of

SDAC = PriceProduct.DAY_AHEAD_SDAC
KEY = ("BE", SDAC)


class Gathering:
    """A gatherer with one or two sources, in front of tomorrow's publication."""

    def __init__(self, *, sources: int = 1, history_days: int = 0, tenants: tuple[str, ...] = (TENANT,)) -> None:
        self.clock = HandClock(DAY.next(-1).at(time(11)))
        self.store = MemoryStore(self.clock)
        self.sources = [ScriptedSource(f"source-{i}") for i in range(sources)]
        settings = GatherSettings(tenants=tenants, time_zones={"BE": ZONE}, history_days=history_days)
        self.gatherer = MarketDataGatherer(
            store=self.store,
            clock=self.clock,
            ids=CountingIds(),
            price_sources={KEY: self.sources},
            carbon_sources={},
            settings=settings,
        )

    def series(self, *, gaps: int = 0, day: DeliveryDay = DAY, plus: int = 0) -> PriceSeries:
        prices: list[Decimal | None] = [None if i < gaps else p and p + plus for i, p in enumerate(prices_of(day))]
        return price_series(day, prices, fetched_at=self.clock.now())

    def answer(self, *answers: PriceSeries | PeerUnavailable | InvalidInput | None, source: int = 0) -> None:
        self.sources[source].answers[DAY.day.isoformat()] = list(answers)

    async def state(self) -> DayState:
        return (await self.gatherer.refresh("BE", SDAC, DAY)).state


async def test_day_goes_from_waiting_over_partial_to_complete() -> None:
    some = Gathering()
    some.answer(None, some.series(gaps=3), some.series())
    assert await some.state() is DayState.WAITING
    partial = await some.gatherer.refresh("BE", SDAC, DAY)
    assert (partial.state, partial.missing_count) == (DayState.PARTIAL, 3)
    complete = await some.gatherer.refresh("BE", SDAC, DAY)
    assert (complete.state, complete.missing_count) == (DayState.COMPLETE, 0)
    prices = await some.gatherer.prices(TRADER, "BE", SDAC, DAY)
    assert prices.id == complete.series_id
    assert prices.is_complete


async def test_gaps_stay_gaps() -> None:
    some = Gathering()
    some.answer(some.series(gaps=2))
    await some.state()
    prices = await some.gatherer.prices(TRADER, "BE", SDAC, DAY)
    assert prices.prices_per_mwh[:3] == (None, None, some.series().prices_per_mwh[2])


@pytest.mark.parametrize(("hour", "minute", "state"), [(13, 59, "partial"), (14, 0, "late"), (19, 59, "late")])
async def test_day_that_is_not_complete_gets_late(hour: int, minute: int, state: str) -> None:
    some = Gathering()
    some.answer(some.series(gaps=1))
    some.clock.set(DAY.next(-1).at(time(hour, minute)))
    assert (await some.state()).value == state


async def test_after_eight_in_the_evening_last_week_stands_in_and_says_so() -> None:
    some = Gathering()
    week_ago = DAY.next(-7)
    some.sources[0].answers[week_ago.day.isoformat()] = [some.series(day=week_ago)]
    await some.gatherer.refresh("BE", SDAC, week_ago)
    some.clock.set(DAY.next(-1).at(time(20)))
    assert await some.state() is DayState.FALLBACK
    prices = await some.gatherer.prices(TRADER, "BE", SDAC, DAY)
    assert prices.quality is Quality.SUBSTITUTED
    assert "2025-10-08" in prices.note
    assert prices.prices_per_mwh == some.series(day=week_ago).prices_per_mwh
    some.answer(some.series())
    assert await some.state() is DayState.COMPLETE
    assert (await some.gatherer.prices(TRADER, "BE", SDAC, DAY)).quality is Quality.FINAL


async def test_fallback_without_a_past_has_no_prices() -> None:
    some = Gathering()
    some.clock.set(DAY.next(-1).at(time(20)))
    status = await some.gatherer.refresh("BE", SDAC, DAY)
    assert (status.state, status.series_id) == (DayState.FALLBACK, None)
    with pytest.raises(NotFound):
        await some.gatherer.prices(TRADER, "BE", SDAC, DAY)


@pytest.mark.parametrize(
    ("past", "day", "count"), [("2025-03-23", "2025-03-30", 92), ("2025-10-19", "2025-10-26", 100)]
)
def test_stand_in_follows_the_wall_clock_where_it_changes(past: str, day: str, count: int) -> None:
    source = DeliveryDay(day=date.fromisoformat(past), zone=ZONE)
    target = DeliveryDay(day=date.fromisoformat(day), zone=ZONE)
    series = price_series(source, [Decimal(i) for i in range(96)], fetched_at=DAY.at(time(0)))
    moved = shifted_series(series, source, target, DAY.at(time(0)))
    assert moved.grid.count == count
    assert moved.is_complete
    # Noon is noon on both days.
    assert moved.prices_per_mwh[moved.grid.index_of(target.at(time(12)))] == Decimal(48)


@pytest.mark.parametrize("past", ["2025-03-30", "2025-10-26"])
def test_stand_in_from_a_day_of_clock_change_is_whole(past: str) -> None:
    source = DeliveryDay(day=date.fromisoformat(past), zone=ZONE)
    series = price_series(source, [Decimal(i) for i in range(source.grid().count)], fetched_at=DAY.at(time(0)))
    assert shifted_series(series, source, source.next(7), DAY.at(time(0))).is_complete


async def test_same_prices_are_one_row_and_a_revision_is_another() -> None:
    some = Gathering()
    some.answer(some.series(), some.series(), some.series(plus=1))
    first = await some.gatherer.refresh("BE", SDAC, DAY)
    batches = len(some.store.applied)
    assert await some.gatherer.refresh("BE", SDAC, DAY) == first
    assert len(some.store.applied) == batches
    second = await some.gatherer.refresh("BE", SDAC, DAY)
    assert second.series_id != first.series_id
    assert {series.id for series in some.store.all(PriceSeries, TENANT)} == {first.series_id, second.series_id}


async def test_source_that_withdraws_values_does_not_take_them_from_us() -> None:
    some = Gathering()
    some.answer(some.series(), some.series(gaps=4))
    first = await some.gatherer.refresh("BE", SDAC, DAY)
    second = await some.gatherer.refresh("BE", SDAC, DAY)
    assert (second.state, second.series_id) == (DayState.COMPLETE, first.series_id)
    assert "withdrew" in second.note


@pytest.mark.parametrize(
    "wrong",
    [
        {"zone": "NL"},
        {"product": PriceProduct.DAY_AHEAD_EXAA},
        {"grid": TimeGrid(start=DAY.interval.start + timedelta(hours=1), count=96)},
        {"grid": TimeGrid(start=DAY.interval.start, step=timedelta(minutes=5), count=96)},
    ],
)
async def test_answer_to_another_question_is_not_taken(wrong: dict[str, object]) -> None:
    some = Gathering()
    some.answer(dataclasses.replace(some.series(), **wrong))  # type: ignore[arg-type]
    status = await some.gatherer.refresh("BE", SDAC, DAY)
    assert (status.state, status.series_id) == (DayState.WAITING, None)
    assert "breaks a rule" in status.note


async def test_second_source_helps_when_the_first_fails_or_has_gaps() -> None:
    some = Gathering(sources=2)
    some.answer(PeerUnavailable("503"), source=0)
    some.answer(some.series(gaps=5), source=1)
    status = await some.gatherer.refresh("BE", SDAC, DAY)
    assert (status.state, status.missing_count) == (DayState.PARTIAL, 5)
    assert "source-0 does not answer" in status.note
    some.answer(some.series(gaps=9), source=0)
    some.answer(some.series(), source=1)
    assert await some.state() is DayState.COMPLETE


async def test_hourly_day_is_complete_with_24_prices() -> None:
    some = Gathering()
    hours = DAY.grid(timedelta(hours=1))
    hourly = dataclasses.replace(some.series(), grid=hours, prices_per_mwh=tuple(Decimal(i) for i in range(24)))
    some.answer(hourly)
    assert await some.state() is DayState.COMPLETE


async def test_every_tenant_has_its_own_rows() -> None:
    some = Gathering(tenants=("demo", "second"))
    some.answer(some.series())
    await some.state()
    assert len(some.store.all(PriceSeries, "demo")) == len(some.store.all(PriceSeries, "second")) == 1
    with pytest.raises(NotFound):
        await some.gatherer.prices(STRANGER, "BE", SDAC, DAY)


async def test_reading_needs_the_permission_and_a_known_source() -> None:
    some = Gathering()
    csms = Principal(tenant=TENANT, actor="c", roles=frozenset({Role.CSMS}))
    with pytest.raises(PermissionRefused):
        await some.gatherer.prices(csms, "BE", SDAC, DAY)
    with pytest.raises(NotFound):
        await some.gatherer.refresh("NL", SDAC, DAY)


def test_zone_without_a_time_zone_is_refused_at_the_start() -> None:
    with pytest.raises(InvalidInput, match="NL"):
        MarketDataGatherer(
            store=MemoryStore(),
            clock=HandClock(),
            ids=CountingIds(),
            price_sources={("NL", SDAC): []},
            carbon_sources={},
            settings=GatherSettings(tenants=(TENANT,), time_zones={"BE": ZONE}),
        )


async def run_until(some: Gathering, *, hours: float, step_s: float = 30.0) -> list[str]:
    """Let the loop run and return when it asked for tomorrow's prices, as local wall-clock times."""
    asked: list[str] = []
    async with asyncio.TaskGroup() as group:
        task = group.create_task(PublicationLoop(some.gatherer).run())
        end = some.clock.now() + timedelta(hours=hours)
        while some.clock.now() < end:
            before = len(some.sources[0].asked)
            for _ in range(40):
                await asyncio.sleep(0)
            if len(some.sources[0].asked) > before:
                asked.append(some.clock.now().strftime("%H:%M:%S"))
            some.clock.move(seconds=step_s)
        task.cancel()
    return asked


async def test_loop_is_quiet_before_publication_and_polls_every_2_to_5_minutes() -> None:
    some = Gathering()
    some.sources[0].answers[DAY.next(-1).day.isoformat()] = [some.series(day=DAY.next(-1))]
    some.answer(None)
    asked = await run_until(some, hours=2.9)
    polls = [text for text in asked if text > "10:30:00"]
    assert polls[0].startswith("10:4")
    assert min(polls) >= "10:45:00"
    seconds = [int(t[:2]) * 3600 + int(t[3:5]) * 60 + int(t[6:]) for t in polls]
    gaps = [later - earlier for earlier, later in pairwise(seconds)]
    assert all(120 <= gap <= 330 + 30 for gap in gaps)
    assert len(set(gaps)) > 2, "no jitter"


async def test_loop_asks_at_most_so_often_on_the_worst_day() -> None:
    some = Gathering()
    some.answer(None)
    await run_until(some, hours=12.9, step_s=60)
    tomorrow = [day for _, day in some.sources[0].asked if day == DAY.day.isoformat()]
    assert 35 <= len(tomorrow) <= 40


async def test_loop_stops_asking_once_the_day_is_complete() -> None:
    some = Gathering()
    some.answer(None, some.series(gaps=1), some.series())
    await run_until(some, hours=4)
    assert [day for _, day in some.sources[0].asked].count(DAY.day.isoformat()) == 3


async def test_loop_fetches_the_past_once_and_gives_up_on_what_is_not_there() -> None:
    some = Gathering(history_days=4)
    for back in (1, 2, 3, 4):
        day = DAY.next(-1 - back)
        some.sources[0].answers[day.day.isoformat()] = [some.series(day=day)] if back != 3 else [None]
    await run_until(some, hours=1.5)
    asked = [day for _, day in some.sources[0].asked]
    assert asked.count(DAY.next(-2).day.isoformat()) == 1
    assert asked.count(DAY.next(-4).day.isoformat()) == 3


async def test_loop_outlives_a_store_that_is_down() -> None:
    some = Gathering()
    some.answer(some.series())
    some.clock.set(DAY.next(-1).at(time(12, 45)))
    some.store.is_down = True
    await run_until(some, hours=0.2)
    some.store.is_down = False
    await run_until(some, hours=0.2)
    assert (await some.gatherer.day_status(TRADER, "BE", SDAC, DAY)).state is DayState.COMPLETE


class CarbonAnswers:
    """A carbon source with one answer."""

    def __init__(self, answer: CarbonSeries | PeerUnavailable | None) -> None:
        self.name = "carbon"
        self.answer = answer

    async def fetch(self, zone: str, day: DeliveryDay) -> CarbonSeries | None:
        if isinstance(self.answer, PeerUnavailable):
            raise self.answer
        return self.answer


def carbon(level: float) -> CarbonSeries:
    return CarbonSeries(
        id="whatever",
        zone="BE",
        kind=CarbonKind.MARGINAL,
        grid=DAY.grid(),
        intensity_g_per_kwh=tuple([level] * 96),
        source="stand-in",
        fetched_at=DAY.next(-1).at(time(11)) + timedelta(minutes=int(level)),
        quality=Quality.SUBSTITUTED,
        licence="CC BY 4.0",
        note="another place",
    )


async def test_carbon_is_kept_once_and_the_latest_is_answered() -> None:
    some = Gathering()
    source = CarbonAnswers(None)
    gatherer = MarketDataGatherer(
        store=some.store,
        clock=some.clock,
        ids=CountingIds(),
        price_sources={},
        carbon_sources={"BE": [source]},
        settings=GatherSettings(tenants=(TENANT,), time_zones={"BE": ZONE}),
    )
    with pytest.raises(NotFound):
        await gatherer.carbon(TRADER, "BE", DAY)
    assert not await gatherer.refresh_carbon("BE", DAY)
    source.answer = PeerUnavailable("down")
    assert not await gatherer.refresh_carbon("BE", DAY)
    for level in (200.0, 200.0, 220.0):
        source.answer = carbon(level)
        assert await gatherer.refresh_carbon("BE", DAY)
    assert len(some.store.all(CarbonSeries, TENANT)) == 2
    latest = await gatherer.carbon(TRADER, "BE", DAY)
    assert latest.intensity_g_per_kwh[0] == 220.0
    assert (latest.quality, latest.note) == (Quality.SUBSTITUTED, "another place")


class CarbonForecast:
    """A carbon source that knows the whole day before, as an estimate, and what really was once the day is over."""

    def __init__(self, clock: HandClock) -> None:
        self.name = "carbon"
        self.clock = clock
        self.asked: list[tuple[str, str]] = []

    async def fetch(self, zone: str, day: DeliveryDay) -> CarbonSeries | None:
        now = self.clock.now()
        self.asked.append((day.day.isoformat(), now.strftime("%d %H:%M")))
        is_over = now >= day.next().interval.start
        quality = Quality.FINAL if is_over else Quality.ESTIMATED
        return dataclasses.replace(
            carbon(300.0 if is_over else 200.0), grid=day.grid(), fetched_at=now, quality=quality
        )


async def test_a_carbon_forecast_is_replaced_by_what_really_was() -> None:
    some = Gathering()
    some.clock.set(DAY.at(time(22)))
    source = CarbonForecast(some.clock)
    some.gatherer = MarketDataGatherer(
        store=some.store,
        clock=some.clock,
        ids=CountingIds(),
        price_sources={},
        carbon_sources={"BE": [source]},
        settings=GatherSettings(tenants=(TENANT,), time_zones={"BE": ZONE}),
    )
    await run_until(some, hours=5, step_s=300)
    iso = DAY.day.isoformat()
    assert [when for day, when in source.asked if day == iso] == ["15 20:00", "15 22:00"]
    latest = await some.gatherer.carbon(TRADER, "BE", DAY)
    assert (latest.quality, latest.intensity_g_per_kwh[0]) == (Quality.FINAL, 300.0)


async def test_a_tariff_is_asked_for_days_ahead_and_an_auction_is_not() -> None:
    some = Gathering()
    tariff = ScriptedSource("tariff")
    some.gatherer = MarketDataGatherer(
        store=some.store,
        clock=some.clock,
        ids=CountingIds(),
        price_sources={KEY: some.sources, ("BE", PriceProduct.TARIFF_ENERGY): [tariff]},
        carbon_sources={},
        settings=GatherSettings(tenants=(TENANT,), time_zones={"BE": ZONE}, history_days=0),
    )
    await run_until(some, hours=2)
    assert max(day for _, day in tariff.asked) == DAY.next(6).day.isoformat()
    assert max(day for _, day in some.sources[0].asked) == DAY.day.isoformat()


async def test_19_every_instant_is_answered_with_what_was_known_then() -> None:
    some = Gathering()
    first, second = some.series(gaps=3), some.series(plus=1)
    some.answer(first, first)
    await some.gatherer.refresh("BE", SDAC, DAY)
    morning = some.clock.now()
    some.clock.move(hours=2)
    some.answer(dataclasses.replace(second, fetched_at=some.clock.now()))
    await some.gatherer.refresh("BE", SDAC, DAY)
    some.clock.move(hours=2)
    third = dataclasses.replace(some.series(plus=2), fetched_at=some.clock.now())
    some.answer(third)
    await some.gatherer.refresh("BE", SDAC, DAY)
    known = some.gatherer.prices_as_known
    early = await known(TRADER, "BE", SDAC, DAY, morning)
    assert (early.prices_per_mwh, len(early.gaps)) == (first.prices_per_mwh, 3)
    between = await known(TRADER, "BE", SDAC, DAY, some.clock.now() - timedelta(seconds=1))
    assert between.prices_per_mwh == second.prices_per_mwh
    assert (await known(TRADER, "BE", SDAC, DAY, some.clock.now())).prices_per_mwh == third.prices_per_mwh
    with pytest.raises(NotFound):
        await known(TRADER, "BE", SDAC, DAY, morning - timedelta(seconds=1))
    with pytest.raises(NotFound):
        await known(TRADER, "BE", SDAC, DAY.next(), some.clock.now())
    with pytest.raises(NotFound):
        await known(STRANGER, "BE", SDAC, DAY, some.clock.now())
