"""Lots, ticks, demand curves and the newsvendor's volume."""

from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bidding.orders.curves import MarketRules, Tranche, demand_curve, newsvendor_volume, round_to_lots
from gateway.domain.bids import BidPeriod
from gateway.domain.errors import InvalidInput

RULES = MarketRules()
LOT = Decimal("0.1")
VOLUMES = st.lists(st.floats(-5, 20, allow_nan=False), min_size=1, max_size=100)


@given(VOLUMES)
def test_rounding_keeps_the_energy_within_half_a_lot(volumes: list[float]) -> None:
    lots = np.array(round_to_lots(np.array(volumes), LOT))
    error = np.cumsum(np.array(volumes) - lots * 0.1)
    assert np.all(np.abs(error) <= 0.05 + 1e-9)


@given(VOLUMES, st.lists(st.floats(0, 5), min_size=100, max_size=100))
def test_rounding_never_exceeds_what_can_be_drawn(volumes: list[float], slack: list[float]) -> None:
    wanted = np.array(volumes)
    capability = wanted + np.array(slack[: len(volumes)])
    lots = np.array(round_to_lots(wanted, LOT, capability))
    assert np.all(lots * 0.1 <= capability + 1e-9)
    assert np.all(np.abs(lots * 0.1 - wanted) <= 0.15 + 1e-9)  # what was cut comes back a lot at a time
    error = np.cumsum(wanted - lots * 0.1)
    assert np.all(error >= -0.05 - 1e-9)


@given(st.lists(st.integers(0, 400), min_size=1, max_size=100))
def test_whole_lots_stay_as_they_are(lots: list[int]) -> None:
    assert list(round_to_lots(np.array(lots) * 0.1, LOT)) == lots


def test_what_was_cut_is_made_up_slowly() -> None:
    wanted = np.array([0.19] * 10 + [0.0] * 10)
    capability = np.array([0.19] * 10 + [1.0] * 10)
    lots = round_to_lots(wanted, LOT, capability)
    assert lots[:10] == (1,) * 10
    assert set(lots[10:]) == {0, 1}
    assert sum(lots) == 19


PRICES = st.decimals(-500, 4000, places=2)
TRANCHES = st.lists(
    st.builds(Tranche, limit_price_per_mwh=PRICES, volume_mw=st.floats(0, 3, allow_nan=False)), max_size=8
)


def period(tranches: list[Tranche], total: int, rules: MarketRules = RULES) -> BidPeriod:
    from datetime import UTC, datetime, timedelta

    start = datetime(2026, 5, 1, tzinfo=UTC)
    # The domain refuses curves that are not ascending in price and falling in volume.
    curve = demand_curve(tranches, total, rules)
    return BidPeriod(start=start, end=start + timedelta(minutes=15), curve=curve)


@given(TRANCHES, st.integers(-1, 1))
def test_a_curve_is_legal_and_holds_the_total(tranches: list[Tranche], carried: int) -> None:
    total = max(0, round(10 * sum(tranche.volume_mw for tranche in tranches)) + carried)
    bought = period(tranches, total)
    assert bought.max_volume_mw == total * LOT
    assert bought.curve[-1].price_per_mwh == RULES.max_price_per_mwh
    assert all(point.volume_mw % LOT == 0 and point.volume_mw >= 0 for point in bought.curve)
    for tranche in tranches:
        wanted = sum(t.volume_mw for t in tranches if t.limit_price_per_mwh >= tranche.limit_price_per_mwh)
        assert float(bought.volume_at(tranche.limit_price_per_mwh)) <= max(wanted + 0.05, total * 0.1) + 1e-9
        if total * 0.1 >= wanted and tranche.volume_mw > 0:
            assert float(bought.volume_at(tranche.limit_price_per_mwh)) >= wanted - 0.05 - 1e-9


def test_must_run_stands_at_the_maximum_price() -> None:
    tranches = [
        Tranche(limit_price_per_mwh=Decimal(4000), volume_mw=0.8),
        Tranche(limit_price_per_mwh=Decimal(45), volume_mw=2.4),
        Tranche(limit_price_per_mwh=Decimal(0), volume_mw=0.3),
    ]
    bought = period(tranches, 35)
    by_price = [(int(point.price_per_mwh), str(point.volume_mw)) for point in bought.curve]
    assert by_price == [(0, "3.5"), (45, "3.2"), (4000, "0.8")]


def test_a_period_without_volume_says_zero() -> None:
    assert [str(point.volume_mw) for point in period([], 0).curve] == ["0.0"]


def test_a_sold_volume_is_sold_at_any_price() -> None:
    bought = period([Tranche(limit_price_per_mwh=Decimal(4000), volume_mw=-0.7)], -7)
    assert [(str(point.price_per_mwh), str(point.volume_mw)) for point in bought.curve] == [("4000", "-0.7")]


def test_the_smallest_steps_are_given_up_first() -> None:
    volumes = {4000: 0.5, 90: 0.4, 80: 0.1, 70: 0.6, 60: 0.2}
    tranches = [Tranche(limit_price_per_mwh=Decimal(price), volume_mw=volume) for price, volume in volumes.items()]
    bought = period(tranches, 18, MarketRules(max_points=4))
    by_price = [(int(point.price_per_mwh), str(point.volume_mw)) for point in bought.curve]
    assert by_price == [(60, "1.8"), (70, "1.6"), (90, "0.9"), (4000, "0.5")]


def test_a_curve_has_at_most_the_points_a_market_takes() -> None:
    tranches = [Tranche(limit_price_per_mwh=Decimal(price), volume_mw=0.1 + price / 1000) for price in range(0, 500, 5)]
    total = round(10 * sum(tranche.volume_mw for tranche in tranches))
    bought = period(tranches, total, MarketRules(max_points=7))
    assert len(bought.curve) == 7
    assert bought.max_volume_mw == total * LOT
    full = period(tranches, total)
    for tranche in tranches:
        assert bought.volume_at(tranche.limit_price_per_mwh) <= full.volume_at(tranche.limit_price_per_mwh)


@pytest.mark.parametrize(
    ("price", "legal"), [(12.3449, "12.34"), (-900.0, "-500"), (9000.0, "4000"), (0.0, "0.00"), (-0.004, "0.00")]
)
def test_prices_are_put_on_the_tick_and_into_the_range(price: float, legal: str) -> None:
    assert RULES.legal_price(price) == Decimal(legal)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("lot_mw", Decimal(0)),
        ("price_tick", Decimal("-0.01")),
        ("min_volume_mw", Decimal("0.05")),
        ("max_price_per_mwh", Decimal(-500)),
        ("max_points", 1),
        ("slots_per_period", 0),
    ],
)
def test_impossible_rules_are_refused(field: str, value: Any) -> None:
    with pytest.raises(InvalidInput) as refused:
        MarketRules(**{field: value})
    assert refused.value.field == f"market.{field}"


def test_21_newsvendor() -> None:
    demand = np.array([8.0, 12.0])
    volume = newsvendor_volume(demand, price=50.0, surplus_price=40.0, shortage_price=70.0)
    assert volume == 12.0
    cost = 50 * volume + np.mean(70 * np.maximum(demand - volume, 0) - 40 * np.maximum(volume - demand, 0))
    assert cost == pytest.approx(520)


def test_newsvendor_beats_every_other_volume() -> None:
    rng = np.random.default_rng(2)
    for _ in range(50):
        demand = rng.uniform(0, 10, rng.integers(1, 9))
        low, price, high = np.sort(rng.uniform(0, 100, 3))
        best = newsvendor_volume(demand, price=price, surplus_price=low, shortage_price=high)
        costs = {
            volume: price * volume
            + np.mean(high * np.maximum(demand - volume, 0) - low * np.maximum(volume - demand, 0))
            for volume in demand
        }
        assert costs[best] == pytest.approx(min(costs.values()))


@pytest.mark.parametrize(("price", "surplus", "shortage"), [(30, 40, 70), (80, 40, 70), (50, 50, 50)])
def test_newsvendor_refuses_money_machines(price: float, surplus: float, shortage: float) -> None:
    with pytest.raises(InvalidInput, match="price"):
        newsvendor_volume(np.ones(2), price=price, surplus_price=surplus, shortage_price=shortage)
    with pytest.raises(InvalidInput, match="demand"):
        newsvendor_volume(np.zeros(0), price=50, surplus_price=40, shortage_price=70)
