"""Case 12 and its neighbours: a publication that is late, in pieces, decoupled, revised or never comes, on one virtual day."""

import asyncio
import dataclasses
from collections.abc import Callable
from datetime import datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise
from random import Random

import pytest

from gateway.domain.errors import PeerUnavailable
from gateway.domain.market_asking import MarketPoll
from gateway.domain.series import DayState, MarketDayStatus, PriceProduct, PriceSeries, Quality, market_day_id
from gateway.domain.timegrid import DeliveryDay
from gateway.services.gather_market_data import GatherSettings, MarketDataGatherer, PublicationLoop
from gateway.services.gather_market_data.polls import Window, next_pause
from tests.fakes.clock import HandClock
from tests.fakes.ids import CountingIds
from tests.fakes.market import price_series
from tests.fakes.store import MemoryStore
from tests.services.market_scene import DAY, TENANT, TRADER, ZONE, prices_of

SDAC, LOCAL = PriceProduct.DAY_AHEAD_SDAC, PriceProduct.DAY_AHEAD_LOCAL
KEY = market_day_id("BE", SDAC, DAY)
Answer = Callable[[datetime], PriceSeries | None]


def eve(hour: int, minute: int = 0) -> datetime:
    """Wall-clock time of the day before delivery."""
    return DAY.next(-1).at(time(hour, minute))


def whole(day: DeliveryDay = DAY, *, plus: int = 0, product: PriceProduct = SDAC, at: datetime) -> PriceSeries:
    prices: list[Decimal | None] = [p and p + plus for p in prices_of(day)]
    return price_series(day, prices, product=product, fetched_at=at)


class Platform:
    """A source that answers by the clock."""

    def __init__(self, clock: HandClock, answer: Answer) -> None:
        self.name = "platform"
        self.clock = clock
        self.answer = answer
        self.asked: list[datetime] = []

    async def fetch(self, zone: str, day: DeliveryDay) -> PriceSeries | None:
        if day.day == DAY.next(-7).day:
            return whole(day, at=self.clock.now())
        if day.day != DAY.day:
            return None
        self.asked.append(self.clock.now())
        return self.answer(self.clock.now())


class PublicationDay:
    """The day before delivery, from 11:00 on."""

    def __init__(self, answer: Answer, *, local: Answer | None = None) -> None:
        self.clock = HandClock(eve(11))
        self.store = MemoryStore(self.clock)
        self.platform = Platform(self.clock, answer)
        sources = {("BE", SDAC): [self.platform]}
        if local is not None:
            sources["BE", LOCAL] = [Platform(self.clock, local)]
        self.gatherer = MarketDataGatherer(
            store=self.store,
            clock=self.clock,
            ids=CountingIds(),
            price_sources=sources,
            carbon_sources={},
            settings=GatherSettings(tenants=(TENANT,), time_zones={"BE": ZONE}, history_days=7),
        )
        self.states: list[DayState] = []

    async def run_until(self, end: datetime) -> None:
        """Let the loop run minute by minute and note every change of state."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(PublicationLoop(self.gatherer).run())
            while self.clock.now() < end:
                for _ in range(60):
                    await asyncio.sleep(0)
                row = await self.store.get(MarketDayStatus, TENANT, KEY)
                if row is not None and (not self.states or self.states[-1] is not row.record.state):
                    self.states.append(row.record.state)
                self.clock.move(seconds=60)
            task.cancel()

    @property
    def seen(self) -> list[str]:
        return [state.value for state in self.states]

    async def prices(self) -> PriceSeries:
        return await self.gatherer.prices(TRADER, "BE", SDAC, DAY)


def published_at(at: datetime) -> Answer:
    return lambda now: None if now < at else whole(at=now)


async def test_m12_published_at_1340_is_seen_within_five_minutes() -> None:
    day = PublicationDay(published_at(eve(13, 40)))
    await day.run_until(eve(14, 30))
    assert day.seen == ["waiting", "complete"]
    first = next(at for at in day.platform.asked if at >= eve(13, 40))
    assert first - eve(13, 40) <= timedelta(minutes=6)
    assert day.platform.asked[0] >= eve(12, 45)


async def test_m12_published_at_1425_was_late_and_decoupled_before() -> None:
    day = PublicationDay(published_at(eve(14, 25)))
    await day.run_until(eve(23))
    assert day.seen == ["waiting", "late", "decoupled", "complete"]
    row = await day.store.get(MarketDayStatus, TENANT, KEY)
    assert row is not None
    assert "local auctions" in row.record.note
    assert len(day.platform.asked) <= 40


async def test_m12_never_published_ends_with_last_week_and_says_so() -> None:
    day = PublicationDay(lambda _: None)
    await day.run_until(eve(23, 59))
    assert day.seen == ["waiting", "late", "decoupled", "fallback"]
    prices = await day.prices()
    assert prices.quality is Quality.SUBSTITUTED
    assert "2025-10-08" in prices.note
    assert 30 <= len(day.platform.asked) <= 40
    assert day.platform.asked[-1] > eve(20), "nobody asked any more in the evening"


async def test_m12_a_local_auction_stands_in_before_last_week_does() -> None:
    local: Answer = lambda now: None if now < eve(14, 40) else whole(plus=7, product=LOCAL, at=now)  # noqa: E731
    day = PublicationDay(lambda _: None, local=local)
    await day.run_until(eve(22))
    prices = await day.prices()
    assert prices.quality is Quality.SUBSTITUTED
    assert "local auction" in prices.note
    assert prices.prices_per_mwh == whole(plus=7, at=eve(15)).prices_per_mwh


async def test_a_day_in_pieces_is_late_not_decoupled() -> None:
    def half(now: datetime) -> PriceSeries:
        prices: list[Decimal | None] = [*prices_of(DAY)]
        return price_series(DAY, [None if i >= 48 else p for i, p in enumerate(prices)], fetched_at=now)

    day = PublicationDay(half)
    await day.run_until(eve(15))
    assert day.seen == ["partial", "late"]


async def test_m12_a_restart_begins_no_second_budget() -> None:
    day = PublicationDay(lambda _: None)
    for hour in (13, 14, 15, 16, 18, 20, 22):
        await day.run_until(eve(hour))
    assert 30 <= len(day.platform.asked) <= 40


async def test_m19_a_revision_before_delivery_is_seen_and_both_versions_stay() -> None:
    day = PublicationDay(lambda now: whole(plus=0 if now < eve(15) else 3, at=now))
    await day.run_until(eve(17))
    assert day.seen == ["complete"]
    kept = {series.prices_per_mwh[0] for series in day.store.all(PriceSeries, TENANT) if series.grid == DAY.grid()}
    first, revised = whole(at=eve(15)).prices_per_mwh[0], whole(plus=3, at=eve(15)).prices_per_mwh[0]
    assert kept == {first, revised}
    assert (await day.prices()).prices_per_mwh[0] == revised
    told = await day.store.audit_of(TENANT, "market-day", KEY)
    assert len({entry.entry.causes for entry in told}) == 2


async def test_m14_a_platform_in_trouble_is_asked_with_doubling_pauses() -> None:
    def broken(now: datetime) -> PriceSeries:
        if now < eve(13):
            raise PeerUnavailable("status 503")
        return whole(at=now)

    day = PublicationDay(broken)
    await day.run_until(eve(14))
    gaps = [(b - a).total_seconds() / 60 for a, b in pairwise(day.platform.asked)]
    assert day.seen[-1] == "complete"
    assert all(
        low <= gap <= high + 1 for gap, (low, high) in zip(gaps, [(1, 2), (2, 4), (4, 8), (8, 16)], strict=False)
    )


def poll(asked: int, *, failed: int = 0, at: datetime) -> MarketPoll:
    return MarketPoll(id=KEY, tenant=TENANT, asked_count=asked, failed_count=failed, asked_at=at, due_at=None)


@pytest.mark.parametrize("luck", ["short", "long", *range(20)])
def test_m12_never_more_than_forty_requests_whatever_the_jitter(luck: str | int) -> None:
    chance = Random(luck if isinstance(luck, int) else 0)
    roll = {"short": lambda low, _: low, "long": lambda _, high: high}.get(str(luck), chance.uniform)
    settings = GatherSettings(tenants=(TENANT,), time_zones={})
    window = Window(steady_until=eve(16), end=DAY.interval.start)
    now, asked = eve(12, 45), 0
    times: list[datetime] = []
    while now < window.end and asked < settings.requests_per_day:
        asked += 1
        times.append(now)
        now += next_pause(poll(asked, at=now), window, settings, roll)
    assert 30 <= asked <= 40
    assert times[-1] > eve(19)
    before_1420 = [b - a for a, b in pairwise(times) if b < eve(14, 30)]
    assert max(before_1420) <= timedelta(minutes=17)


def test_failures_never_wait_longer_than_half_an_hour() -> None:
    settings = GatherSettings(tenants=(TENANT,), time_zones={})
    window = Window(steady_until=eve(16), end=DAY.interval.start)
    pauses = [next_pause(poll(9, failed=n, at=eve(13)), window, settings, lambda _, high: high) for n in range(1, 60)]
    assert pauses[:4] == [timedelta(minutes=2), timedelta(minutes=4), timedelta(minutes=8), timedelta(minutes=16)]
    assert pauses[-1] == timedelta(minutes=30)
    assert dataclasses.replace(poll(1, at=eve(13))).failed_count == 0


async def test_a_past_that_was_not_answered_is_asked_for_again_after_a_restart() -> None:
    """Ten failures in a row, as with a wrong token, do not use up the three tries of a past day."""
    past = DAY.next(-7)
    some = PublicationDay(lambda _: None)
    answer, asked = some.platform.fetch, 0

    async def broken(zone: str, day: DeliveryDay) -> PriceSeries | None:
        nonlocal asked
        asked += day.day == past.day
        raise PeerUnavailable("down")

    some.platform.fetch = broken  # type: ignore[method-assign]  # the platform is down
    await some.run_until(eve(15))
    assert asked > 3
    some.platform.fetch = answer  # type: ignore[method-assign]  # and up again
    await some.run_until(eve(16))
    status = await some.gatherer.day_status(TRADER, "BE", SDAC, past)
    assert status.state is DayState.COMPLETE
