"""Where money in two currencies would meet, a stated rate converts it, or nothing is computed (case 11)."""

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from gateway.domain.errors import RateMissing
from gateway.domain.exchange_rates import ExchangeRate
from gateway.domain.series import MarketDayStatus, PriceProduct, PriceSeries, market_day_id
from gateway.ports import Batch, Put
from gateway.rpc.bid_messages import position_message
from gateway.web.trader_view import money_line
from tests.services.market_scene import DAY, TENANT, MarketScene, prices_of
from tests.services.test_settle_delivery import busiest, limit_on, nomination
from tests.services.test_two_imbalance_prices import delivered, published, settled

SYSTEM_PRICE = PriceProduct.IMBALANCE
LABEL = f"imbalance prices converted from GBP to EUR by EUR/GBP 0.8 of {DAY.day.isoformat()} by ecb"


async def with_rate(scene: MarketScene, rate: str = "0.8", day: date = DAY.day) -> None:
    stated = ExchangeRate(
        base="EUR",
        quote="GBP",
        rate=Decimal(rate),
        day=day,
        source="ecb",
        fetched_at=datetime(2025, 10, 15, tzinfo=UTC),
    )
    await scene.store.apply(Batch(tenant=TENANT, puts=(Put(record=stated),)))


async def in_pounds() -> MarketScene:
    scene = await delivered(1.2)
    await published(scene, PriceProduct.IMBALANCE_SHORT, prices_of(DAY, 80.0), currency="GBP")
    await published(scene, PriceProduct.IMBALANCE_LONG, prices_of(DAY, 80.0), currency="GBP")
    return scene


async def test_m11_a_settlement_never_counts_pounds_as_euros() -> None:
    scene = await in_pounds()
    with pytest.raises(RateMissing) as raised:
        await settled(scene)
    assert raised.value.field == "imbalance.currency"
    assert "GBP" in raised.value.problem


async def test_m11_a_settlement_converts_by_the_stated_rate_and_says_so() -> None:
    scene = await in_pounds()
    await with_rate(scene)
    pounds = prices_of(DAY, 80.0)
    for settlement in await settled(scene):
        assert settlement.currency == "EUR"
        assert settlement.conversions == (LABEL,)
        for period, price in zip(settlement.periods, pounds, strict=True):
            assert price is not None
            assert period.imbalance_price_per_mwh == price / Decimal("0.8")
    made = await settled(scene)
    line = money_line(made)
    assert line is not None
    assert line.conversions == (LABEL,)
    assert list(position_message(made[0]).conversions) == [LABEL]
    entries = [one.entry for one in await scene.store.audit_entries() if one.entry.action == "settlement.make"]
    assert {entry.detail["conversions"] for entry in entries} == {LABEL}


async def test_m11_prices_in_the_awards_currency_need_no_rate() -> None:
    scene = await delivered(1.2)
    plain = await settled(scene)
    assert {one.conversions for one in plain} == {()}
    await with_rate(scene)
    assert [replace(one, settled_at=plain[0].settled_at) for one in await settled(scene)] == [
        replace(one, settled_at=plain[0].settled_at) for one in plain
    ]


async def in_pounds_since(scene: MarketScene, days_back: int) -> None:
    """Rewrite the prices of a past day as if it had been published in pounds."""
    day = DAY.next(-days_back)
    row = await scene.store.get(MarketDayStatus, TENANT, market_day_id("BE", PriceProduct.DAY_AHEAD_SDAC, day))
    assert row is not None
    assert row.record.series_id is not None
    series = await scene.store.get(PriceSeries, TENANT, row.record.series_id)
    assert series is not None
    await scene.store.seed(TENANT, replace(series.record, currency="GBP"))


async def test_m11_a_plan_is_not_made_from_pounds_without_a_rate() -> None:
    scene = await MarketScene().with_past()
    await in_pounds_since(scene, 2)
    with pytest.raises(RateMissing) as raised:
        await scene.plan()
    assert raised.value.field == "plan.prices.currency"
    assert DAY.next(-2).day.isoformat() in raised.value.problem


async def test_m11_a_plan_learns_from_pounds_by_the_rate_of_their_day() -> None:
    scene = await MarketScene().with_past()
    outcome = await scene.plan()
    await in_pounds_since(scene, 2)
    await with_rate(scene, "1", DAY.next(-2).day)
    same = await scene.plan("plan-2")
    assert same.plan.price_per_mwh == outcome.plan.price_per_mwh, "a pound is worth a euro here"
    await with_rate(scene, "0.5", DAY.next(-2).day)
    other = await scene.plan("plan-3")
    assert other.plan.price_per_mwh != outcome.plan.price_per_mwh


async def test_m11_a_residual_assumes_pounds_as_euros_by_a_stated_rate_only() -> None:
    scene = await MarketScene().with_past()
    await scene.awarded()
    past = DAY.next(-2)
    row = await scene.store.get(MarketDayStatus, TENANT, market_day_id("BE", PriceProduct.IMBALANCE, past))
    assert row is not None
    assert row.record.series_id is not None
    series = await scene.store.get(PriceSeries, TENANT, row.record.series_id)
    assert series is not None
    limit = limit_on("site-01", 0.0, nomination(scene).periods[busiest(scene)].start, known=scene.clock.now())
    await scene.store.seed(TENANT, limit)
    [plain] = await scene.settler.find_residuals(limit)
    await scene.store.seed(TENANT, replace(series.record, currency="GBP"))
    [unknown] = await scene.settler.find_residuals(limit)
    assert "no exchange rate" in unknown.basis
    assert unknown.basis.endswith("the energy is assumed to bring nothing")
    await with_rate(scene, "0.8", past.day)
    [known] = await scene.settler.find_residuals(limit)
    assert f"converted from GBP to EUR by EUR/GBP 0.8 of {past.day.isoformat()} by ecb" in known.basis
    assert known.exposure < plain.exposure < unknown.exposure, (
        "the energy brings a quarter more, and nothing without a rate"
    )
