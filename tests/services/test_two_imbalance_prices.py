"""Imbalance where long and short have their own prices: the Netherlands in regulation state 2, and zones that always do."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from gateway.domain.errors import PreconditionFailed
from gateway.domain.series import PriceProduct, PriceSeries
from gateway.domain.settlement import Settlement
from gateway.services.gather_market_data import GatherSettings, MarketDataGatherer
from gateway.services.settle_delivery.prices import ImbalancePrices
from tests.fakes.market import ScriptedSource, price_series
from tests.services.market_scene import DAY, PORTFOLIO, SYSTEM, TENANT, ZONE, MarketScene, prices_of

LONG, SHORT = PriceProduct.IMBALANCE_LONG, PriceProduct.IMBALANCE_SHORT
STATE_2 = range(0, 96, 3)
"""Quarter-hours in which both directions were activated: short pays more than long is paid."""


async def published(
    scene: MarketScene, product: PriceProduct, prices: Sequence[Decimal | None], **changes: str
) -> None:
    source = ScriptedSource()
    series = price_series(DAY, [*prices], product=product, fetched_at=scene.clock.now())
    source.answers[DAY.day.isoformat()] = [replace(series, **changes)]  # type: ignore[arg-type]
    gatherer = MarketDataGatherer(
        store=scene.store,
        clock=scene.clock,
        ids=scene.ids,
        price_sources={("BE", product): [source]},
        carbon_sources={},
        settings=GatherSettings(tenants=(TENANT,), time_zones={"BE": ZONE}),
    )
    await gatherer.refresh("BE", product, DAY)


async def settled(scene: MarketScene) -> list[Settlement]:
    return await scene.settler.settle(SYSTEM, PORTFOLIO, scene.iso)


async def delivered(share: float) -> MarketScene:
    scene = await MarketScene().with_past()
    await scene.awarded()
    await scene.deliver(share=share)
    return scene


def with_state_2(plus: int) -> list[Decimal | None]:
    base = prices_of(DAY, 95.0)
    return [p and p + (plus if i in STATE_2 else 0) for i, p in enumerate(base)]


@pytest.mark.parametrize(("share", "applies"), [(1.3, "short"), (0.6, "long")])
async def test_state_2_settles_each_direction_at_its_own_price(share: float, applies: str) -> None:
    scene = await delivered(share)
    one_price = await settled(scene)
    await published(scene, SHORT, with_state_2(+150))
    await published(scene, LONG, with_state_2(-150))
    two_prices = await settled(scene)
    touched = 0
    shift = Decimal(150 if applies == "short" else -150)
    for before, after in zip(one_price, two_prices, strict=True):
        assert after.day_ahead_cash == before.day_ahead_cash
        expected = before.imbalance_cash
        for index, (was, now) in enumerate(zip(before.periods, after.periods, strict=True)):
            deviation = now.metered_mwh - now.position_mwh
            if index in STATE_2 and deviation != 0:
                assert now.imbalance_price_per_mwh == was.imbalance_price_per_mwh + shift
                assert now.imbalance_cash == deviation * now.imbalance_price_per_mwh
                expected += deviation * shift
                touched += 1
            else:
                assert now.imbalance_cash == was.imbalance_cash
        assert after.imbalance_cash == expected
    assert touched > 0, "nothing deviates in these quarter-hours"


async def test_the_same_price_in_both_directions_settles_as_one_price_does() -> None:
    scene = await delivered(0.8)
    one_price = await settled(scene)
    for product in (SHORT, LONG):
        await published(scene, product, prices_of(DAY, 95.0))
    two_prices = await settled(scene)
    assert [replace(one, settled_at=one.settled_at, causes=()) for one in two_prices] == [
        replace(two, settled_at=one.settled_at, causes=()) for one, two in zip(two_prices, one_price, strict=True)
    ]


async def test_one_direction_alone_settles_nothing() -> None:
    scene = await delivered(1.0)
    await published(scene, SHORT, prices_of(DAY, 95.0))
    with pytest.raises(PreconditionFailed, match="imbalance-long"):
        await settled(scene)
    await published(scene, LONG, prices_of(DAY, 95.0), currency="PLN")
    with pytest.raises(PreconditionFailed, match="two currencies"):
        await settled(scene)


def test_what_was_drawn_as_bought_costs_nothing_at_either_price() -> None:
    prices = ImbalancePrices(short=(Decimal(200),), long=(Decimal(-50),), days=(), currency="EUR")
    assert prices.of(0, Decimal(1)) == Decimal(200)
    assert prices.of(0, Decimal(-1)) == Decimal(-50)
    assert prices.of(0, Decimal(0)) * 0 == 0


async def test_both_series_are_causes_of_the_settlement() -> None:
    scene = await delivered(1.0)
    await published(scene, SHORT, with_state_2(+150))
    await published(scene, LONG, with_state_2(-150))
    (one, *_) = await settled(scene)
    named = {cause.removeprefix("series:") for cause in one.causes if cause.startswith("series:BE:imbalance")}
    kept = {series.id for series in scene.store.all(PriceSeries, TENANT) if series.product in (SHORT, LONG)}
    assert named == kept
    assert scene.clock.now() - one.settled_at < timedelta(minutes=1)


async def test_a_day_is_settled_again_by_itself_when_its_imbalance_prices_are_revised() -> None:
    scene = await delivered(1.2)
    async with asyncio.TaskGroup() as group:
        loop = group.create_task(scene.settler.run())
        for _ in range(300):
            await asyncio.sleep(0)
        first = {one.id: one.imbalance_cash for one in scene.store.all(Settlement, TENANT)}
        assert first
        scene.clock.move(minutes=30)
        for _ in range(300):
            await asyncio.sleep(0)
        assert {one.id: one.imbalance_cash for one in scene.store.all(Settlement, TENANT)} == first
        await scene.publish(DAY, PriceProduct.IMBALANCE, level=140.0)
        for _ in range(300):
            await asyncio.sleep(0)
        revised = {one.id: one.imbalance_cash for one in scene.store.all(Settlement, TENANT)}
        loop.cancel()
    assert revised.keys() == first.keys()
    assert all(revised[key] > first[key] for key in first)
