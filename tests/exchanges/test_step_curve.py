import itertools
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.bids import BidPeriod, CurvePoint
from gateway.domain.errors import InvalidInput
from gateway.exchanges.step_curve import exchange_points, volume_between
from tests.exchanges.orders import bid_period, curve

MIN, MAX, TICK = Decimal(-500), Decimal(4000), Decimal("0.01")


def points_of(period: BidPeriod) -> tuple[CurvePoint, ...]:
    return exchange_points(period, min_price=MIN, max_price=MAX, tick=TICK)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([(50, 3)], [(-500, 3), (50, 3), ("50.01", 0), (4000, 0)]),
        ([(50, 3), (90, 1)], [(-500, 3), (50, 3), ("50.01", 1), (90, 1), ("90.01", 0), (4000, 0)]),
        ([(50, 3), ("50.01", 1)], [(-500, 3), (50, 3), ("50.01", 1), ("50.02", 0), (4000, 0)]),
        ([(4000, 3)], [(-500, 3), (4000, 3)]),
        ([(-500, 3)], [(-500, 3), ("-499.99", 0), (4000, 0)]),
        ([("3999.99", 3)], [(-500, 3), ("3999.99", 3), (4000, 0)]),
        ([("3999.99", 3), (4000, 1)], [(-500, 3), ("3999.99", 3), (4000, 1)]),
        ([(50, 3), (60, 3), (70, 1)], [(-500, 3), (60, 3), ("60.01", 1), (70, 1), ("70.01", 0), (4000, 0)]),
        ([(50, 3), (4000, 0)], [(-500, 3), (50, 3), ("50.01", 0), (4000, 0)]),
        ([(4000, 0)], [(-500, 0), (4000, 0)]),
    ],
)
def test_a_step_is_two_points_one_tick_apart(
    steps: list[tuple[object, object]], expected: list[tuple[object, object]]
) -> None:
    assert points_of(bid_period(*steps)) == curve(*expected)


@pytest.mark.parametrize(
    ("steps", "field"),
    [
        ([("4000.01", 1)], "curve[0].price_per_mwh"),
        ([("-500.01", 1)], "curve[0].price_per_mwh"),
        ([(50, 1), ("60.005", 0.5)], "curve[1].price_per_mwh"),
        ([(50, 1), (60, -1)], "curve.volume_mw"),
    ],
)
def test_a_curve_the_exchange_cannot_hold_is_named(steps: list[tuple[object, object]], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        points_of(bid_period(*steps))
    assert caught.value.field == field


def test_selling_up_to_the_highest_price_is_a_curve() -> None:
    assert points_of(bid_period((50, 1), (4000, -2))) == curve((-500, 1), (50, 1), ("50.01", -2), (4000, -2))


def test_the_exchange_reads_straight_lines() -> None:
    wide = curve((-500, 50), (50, 50), ("50.1", 0), (4000, 0))
    assert volume_between(wide, Decimal("50.05")) == 25
    assert volume_between(wide, Decimal(50)) == 50
    with pytest.raises(InvalidInput, match="outside"):
        volume_between(wide, Decimal(4001))


@st.composite
def step_curves(draw: st.DrawFn) -> BidPeriod:
    ticks = sorted(draw(st.sets(st.integers(-50_000, 400_000), min_size=1, max_size=12)))
    lots = sorted((draw(st.integers(0, 300)) for _ in ticks), reverse=True)
    return bid_period(*((Decimal(tick) / 100, Decimal(lot) / 10) for tick, lot in zip(ticks, lots, strict=True)))


@given(period=step_curves(), data=st.data())
def test_at_every_price_on_the_tick_the_exchange_reads_our_volume(period: BidPeriod, data: st.DataObject) -> None:
    points = points_of(period)
    borders = [point.price_per_mwh + TICK * off for point in period.curve for off in (-1, 0, 1)]
    anywhere = st.integers(-50_000, 400_000).map(lambda tick: Decimal(tick) / 100)
    for price in [*borders, MIN, MAX, *(data.draw(anywhere) for _ in range(10))]:
        if MIN <= price <= MAX:
            assert volume_between(points, price) == period.volume_at(price)


@given(period=step_curves())
def test_what_is_sent_keeps_the_exchanges_rules(period: BidPeriod) -> None:
    points = points_of(period)
    assert (points[0].price_per_mwh, points[-1].price_per_mwh) == (MIN, MAX)
    assert 2 <= len(points) <= 2 * len(period.curve) + 2
    for low, high in itertools.pairwise(points):
        assert low.price_per_mwh < high.price_per_mwh
        assert low.volume_mw >= high.volume_mw
    assert all(point.price_per_mwh % TICK == 0 and point.volume_mw % Decimal("0.1") == 0 for point in points)
