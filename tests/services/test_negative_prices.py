"""Case 9: at -500 the cars charge what they can, the cost is negative, and nothing is cut off at zero."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import numpy as np
import pytest

from bidding.arrays import FloatArray
from gateway.domain.bids import PlanRun, Schedule
from gateway.domain.series import PriceProduct
from tests.fakes.market import price_series
from tests.services.market_scene import DAY, TENANT, MarketScene, prices_of

SDAC = PriceProduct.DAY_AHEAD_SDAC
PAID = range(8, 20)
"""Three hours in which whoever draws is paid; as long and as deep as in the Netherlands on 2 July 2023, while these cars are there."""


async def planned(prices: list[Decimal | None]) -> tuple[PlanRun, FloatArray]:
    scene = await MarketScene().with_past()
    scene.clock.set(scene.gate + timedelta(hours=1))
    series = price_series(DAY, prices, product=SDAC, fetched_at=scene.clock.now())
    scene.source.answers[DAY.day.isoformat()] = [replace(series, product=SDAC)]
    await scene.gatherer.refresh("BE", SDAC, DAY)
    await scene.plan()
    schedules = [one for one in scene.store.all(Schedule, TENANT) if one.delivery_day == scene.iso]
    power = np.sum([one.power_kw for one in schedules], axis=0)
    return scene.store.all(PlanRun, TENANT)[-1], power


async def test_m9_negative_prices_are_planned_with_as_they_are() -> None:
    usual = [*prices_of(DAY)]
    paid = [Decimal(-500) if i in PAID else price for i, price in enumerate(usual)]
    before, power_before = await planned(usual)
    plan, power = await planned(paid)
    assert min(plan.price_per_mwh) == -500.0
    assert plan.expected_cost < 0 < before.expected_cost
    _, most = await planned([Decimal(-500) if i in PAID else Decimal(4000) for i in range(96)])
    drawn, drawn_before, possible = (one[PAID.start : PAID.stop].sum() for one in (power, power_before, most))
    assert drawn > 1.2 * drawn_before
    assert drawn == pytest.approx(possible, rel=0.01), "more could be drawn while drawing is paid"
