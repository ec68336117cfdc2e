"""Years of prices in one array: every day in its place, gaps as gaps, the newest word counts, two currencies never meet."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.domain.errors import PermissionRefused
from gateway.domain.identity import Principal, Role
from gateway.domain.series import PriceProduct, PriceSeries, Quality, SlotRun, price_series_id
from gateway.domain.timegrid import DeliveryDay
from gateway.services.gather_market_data import PriceHistories
from tests.fakes.clock import HandClock
from tests.fakes.market import price_series
from tests.fakes.store import MemoryStore
from tests.services.market_scene import TENANT, TRADER, ZONE

SDAC = PriceProduct.DAY_AHEAD_SDAC
NOW = datetime(2026, 6, 1, tzinfo=UTC)


def day_of(iso: str) -> DeliveryDay:
    return DeliveryDay(day=date.fromisoformat(iso), zone=ZONE)


def priced(iso: str, price: str | None, *, minutes: int = 15, fetched: int = 0, **changes: Any) -> PriceSeries:
    """Return a day at one price; fetched so many minutes before now."""
    day = day_of(iso)
    grid = day.grid(timedelta(minutes=minutes))
    values = (None if price is None else Decimal(price),) * grid.count
    base = price_series(day, [Decimal(0)] * day.grid().count, fetched_at=NOW - timedelta(minutes=fetched))
    series = replace(base, grid=grid, prices_per_mwh=values, **changes)
    return replace(series, id=price_series_id(series, day))


class Shelf:
    """Rows in memory and the histories over them."""

    def __init__(self) -> None:
        self.store = MemoryStore(HandClock(NOW))
        self.histories = PriceHistories(store=self.store, clock=HandClock(NOW))

    async def put(self, *series: PriceSeries) -> None:
        await self.store.seed(TENANT, *series)

    async def prices(self) -> list[float]:
        history = await self.histories.of(TRADER, "BE", SDAC)
        return [float(price) for price in history.prices_per_mwh]

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(self.histories.follow())
            await asyncio.sleep(0)
            yield
            task.cancel()


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


async def test_nothing_is_known_of_a_product_nobody_wrote(shelf: Shelf) -> None:
    history = await shelf.histories.of(TRADER, "BE", SDAC)
    assert (len(history.prices_per_mwh), history.currency, history.origins) == (0, "", ())


async def test_days_of_the_clock_change_have_their_92_and_100_quarter_hours(shelf: Shelf) -> None:
    await shelf.put(priced("2026-03-28", "1"), priced("2026-03-29", "2"), priced("2026-03-30", "3"))
    assert await shelf.prices() == [1.0] * 96 + [2.0] * 92 + [3.0] * 96
    autumn = Shelf()
    await autumn.put(priced("2025-10-26", "4"), priced("2025-10-27", "5"))
    assert await autumn.prices() == [4.0] * 100 + [5.0] * 96


async def test_a_day_nobody_has_and_a_price_nobody_published_are_gaps(shelf: Shelf) -> None:
    await shelf.put(priced("2026-01-01", "1"), priced("2026-01-03", None), priced("2026-01-04", "0"))
    prices = await shelf.prices()
    assert prices[:96] == [1.0] * 96
    assert np.isnan(prices[96:288]).all()
    assert prices[288:] == [0.0] * 96


async def test_an_hourly_day_stands_in_its_quarter_hours_and_says_so(shelf: Shelf) -> None:
    await shelf.put(priced("2025-09-30", "7", minutes=60), priced("2025-10-01", "8"))
    history = await shelf.histories.of(TRADER, "BE", SDAC)
    assert history.prices_per_mwh.tolist() == [7.0] * 96 + [8.0] * 96
    assert [origin.resolution_minutes for origin in history.origins] == [60, 15]
    assert history.start == day_of("2025-09-30").interval.start


async def test_m6_a_day_of_two_resolutions_has_two_origins(shelf: Shelf) -> None:
    fine = SlotRun(count=92, native_step=timedelta(minutes=15), source="a", quality=Quality.FINAL)
    hour = SlotRun(count=4, native_step=timedelta(hours=1), source="b", quality=Quality.ESTIMATED)
    day = priced("2026-01-01", "1")
    await shelf.put(replace(day, runs=(fine, hour)), priced("2026-01-02", "1", source="a"))
    history = await shelf.histories.of(TRADER, "BE", SDAC)
    assert [(origin.start, origin.resolution_minutes, origin.source, origin.quality) for origin in history.origins] == [
        (day.grid.start, 15, "a", "final"),
        (day.grid.slot_start(92), 60, "b", "estimated"),
        (day.grid.end, 15, "a", "final"),
    ]


async def test_the_newest_revision_counts_unless_it_lost_prices(shelf: Shelf) -> None:
    await shelf.put(priced("2026-01-01", "1", fetched=30), priced("2026-01-01", "2", fetched=20))
    await shelf.put(priced("2026-01-01", None, fetched=10))
    assert await shelf.prices() == [2.0] * 96


async def test_another_currency_is_a_gap_and_counted(shelf: Shelf) -> None:
    await shelf.put(priced("2026-01-01", "999", currency="BGN"), priced("2026-01-02", "50"))
    history = await shelf.histories.of(TRADER, "BE", SDAC)
    assert (history.currency, history.foreign_days) == ("EUR", 1)
    assert np.isnan(history.prices_per_mwh[:96]).all()


async def test_days_of_one_origin_share_it(shelf: Shelf) -> None:
    days = [priced(f"2026-01-0{i}", "1", source="b" if i == 3 else "a") for i in range(1, 6)]
    await shelf.put(*days)
    history = await shelf.histories.of(TRADER, "BE", SDAC)
    assert [(origin.start, origin.source) for origin in history.origins] == [
        (days[0].grid.start, "a"),
        (days[2].grid.start, "b"),
        (days[3].grid.start, "a"),
    ]


async def test_what_is_written_while_somebody_follows_is_read_and_nothing_else(shelf: Shelf) -> None:
    await shelf.put(priced("2026-01-01", "1"), priced("2026-01-02", "2"))
    async with shelf.following():
        assert await shelf.prices() == [1.0] * 96 + [2.0] * 96
        first = await shelf.histories.of(TRADER, "BE", SDAC)
        assert await shelf.histories.of(TRADER, "BE", SDAC) is first
        await shelf.put(priced("2026-01-02", "3", fetched=-1), priced("2025-12-31", "9"), priced("2026-01-03", "4"))
        await asyncio.sleep(0)
        # What is fetched after the present instant is not known yet.
        assert await shelf.prices() == [9.0] * 96 + [1.0] * 96 + [2.0] * 96 + [4.0] * 96
        assert first.prices_per_mwh.tolist() == [1.0] * 96 + [2.0] * 96


class CountingStore(MemoryStore):
    """Counts what is asked of it."""

    reads = 0

    async def find(self, *args: Any, **more: Any) -> list[Any]:
        self.reads += 1
        return await super().find(*args, **more)


async def test_what_is_wanted_at_once_is_read_before_anybody_asks() -> None:
    store = CountingStore(HandClock(NOW))
    await store.seed(TENANT, priced("2026-01-01", "1"))
    shelf = Shelf()
    shelf.histories = PriceHistories(store=store, clock=HandClock(NOW), at_once=[(TENANT, "BE", SDAC)])
    async with shelf.following():
        async with asyncio.timeout(10):
            while store.reads < 3:  # the first row, the last row, the rows between
                await asyncio.sleep(0.001)
        assert await shelf.prices() == [1.0] * 96
        assert store.reads == 3


async def test_while_nobody_follows_the_rows_are_read_anew(shelf: Shelf) -> None:
    await shelf.put(priced("2026-01-01", "1"))
    assert await shelf.prices() == [1.0] * 96
    await shelf.put(priced("2026-01-02", "2"))
    assert await shelf.prices() == [1.0] * 96 + [2.0] * 96


async def test_who_may_not_read_market_data_sees_nothing(shelf: Shelf) -> None:
    stranger = Principal(tenant=TENANT, actor="csms", roles=frozenset({Role.CSMS}))
    with pytest.raises(PermissionRefused):
        await shelf.histories.of(stranger, "BE", SDAC)


async def test_a_tenant_sees_its_own_prices_only(shelf: Shelf) -> None:
    await shelf.put(priced("2026-01-01", "1"))
    other = replace(TRADER, tenant="other")
    assert len((await shelf.histories.of(other, "BE", SDAC)).prices_per_mwh) == 0


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(days=st.dictionaries(st.integers(0, 500), st.tuples(st.integers(-500, 4000), st.sampled_from([15, 30, 60]))))
async def test_every_price_is_where_its_instant_says(days: dict[int, tuple[int, int]]) -> None:
    shelf = Shelf()
    all_series = [
        priced((date(2024, 12, 1) + timedelta(days=offset)).isoformat(), str(price), minutes=minutes)
        for offset, (price, minutes) in days.items()
    ]
    await shelf.put(*all_series)
    history = await shelf.histories.of(TRADER, "BE", SDAC)
    expected = np.full(len(history.prices_per_mwh), np.nan, dtype=np.float32)
    for series in all_series:
        first = int((series.grid.start - history.start) / timedelta(minutes=15))
        count = int((series.grid.end - series.grid.start) / timedelta(minutes=15))
        expected[first : first + count] = float(series.prices_per_mwh[0] or 0)
    assert np.array_equal(history.prices_per_mwh, expected, equal_nan=True)
