"""A settlement follows its prices: a revision, a contradiction or another exchange rate makes it again, and the trail says why."""

import asyncio
from datetime import timedelta

import pytest

from gateway.domain.evidence import AuditEntry
from gateway.domain.series import PriceProduct
from gateway.domain.settlement import Settlement
from tests.services.market_scene import DAY, PORTFOLIO, SYSTEM, TENANT, MarketScene
from tests.services.test_price_doubts import DIFFERS, doubt

SDAC = PriceProduct.DAY_AHEAD_SDAC


@pytest.fixture
async def scene() -> MarketScene:
    """A settled day, ten days ago."""
    found = await MarketScene().with_past()
    await found.awarded()
    await found.deliver(share=1.1)
    await found.settler.settle(SYSTEM, PORTFOLIO, found.iso)
    found.clock.move(days=10)
    return found


async def one_sweep(scene: MarketScene) -> None:
    async with asyncio.TaskGroup() as group:
        loop = group.create_task(scene.settler.run())
        for _ in range(600):
            await asyncio.sleep(0)
        loop.cancel()


async def settlements(scene: MarketScene) -> list[Settlement]:
    return [row.record for row in await scene.store.find(Settlement, TENANT, {"delivery_day": scene.iso})]


async def reasons(scene: MarketScene) -> list[str]:
    entries: list[AuditEntry] = [one.entry for one in await scene.store.audit_entries()]
    return [one.detail["reason"] for one in entries if one.action == "settlement.revise"]


async def test_m19_a_revision_of_the_day_ahead_prices_settles_the_day_again(scene: MarketScene) -> None:
    before = await settlements(scene)
    await scene.publish(DAY, SDAC, level=77.0)
    await one_sweep(scene)
    after = await settlements(scene)
    assert [one.causes for one in after] != [one.causes for one in before]
    assert len(after) == len(before)
    told = await reasons(scene)
    assert len(told) == len(after)
    assert all(one.startswith("prices were revised: made from BE:day-ahead-sdac") for one in told)


async def test_m20_a_contradiction_that_comes_later_is_said_in_the_settlement(scene: MarketScene) -> None:
    await doubt(scene, DAY, cross_check=DIFFERS)
    await one_sweep(scene)
    assert {one.price_doubts for one in await settlements(scene)} == {
        ("day-ahead-sdac: prices that another source contradicts",)
    }
    assert {one.partition(":")[0] for one in await reasons(scene)} == {
        "what is doubtful about its prices is another thing now"
    }


async def test_nothing_is_made_again_that_is_current_or_that_nobody_settled(scene: MarketScene) -> None:
    written = len(scene.store.applied)
    scene.clock.move(days=40)
    await one_sweep(scene)
    assert len(scene.store.applied) == written
    scene.clock.move(days=30)
    await scene.publish(DAY, SDAC, level=77.0)
    await one_sweep(scene)
    assert await reasons(scene) == [], "what is older than two months is left alone"
    assert scene.clock.now() > DAY.interval.start + timedelta(days=60)
