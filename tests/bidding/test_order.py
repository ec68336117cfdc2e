"""The order of a portfolio: tranches of every connection point in whole lots, checked by separate code."""

import copy
from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bidding.orders import order as order_module
from bidding.orders.bid_check import BidRejected, check_curves
from bidding.orders.curves import MarketRules, Tranche
from bidding.orders.order import DayAheadOrder, SiteOffer, TooSmallToBid, make_order
from gateway.domain.bids import CurvePoint
from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import DeliveryDay, TimeGrid

RULES = MarketRules()


def offer(
    must: Sequence[float], flexible: Sequence[float], limit: float, *, capability: Sequence[float] | None = None
) -> SiteOffer:
    must_mw, flexible_mw = np.array(must, dtype=float), np.array(flexible, dtype=float)
    return SiteOffer(
        must_run_mw=must_mw,
        flexible_mw=flexible_mw,
        flexible_limit_eur_per_mwh=np.full(len(must_mw), limit),
        optional_mw=np.zeros(len(must_mw)),
        optional_limit_eur_per_mwh=np.zeros(len(must_mw)),
        capability_mw=must_mw + flexible_mw + 0.2 if capability is None else np.array(capability, dtype=float),
    )


def grid_of(count: int) -> TimeGrid:
    return TimeGrid(start=DeliveryDay(day=date(2026, 5, 4), zone="UTC").interval.start, count=count)


def points(made: DayAheadOrder | TooSmallToBid) -> list[list[tuple[str, str]]]:
    assert isinstance(made, DayAheadOrder)
    return [[(str(p.price_per_mwh), str(p.volume_mw)) for p in period.curve] for period in made.periods]


def test_sites_add_up_to_one_curve_per_period() -> None:
    sites = [offer([0.2, 0.0], [0.3, 0.0], 40.0), offer([0.1, 0.0], [0.14, 0.06], 60.0)]
    made = make_order(sites, grid_of(2), slice(0, 2), RULES)
    assert points(made) == [
        [("40.00", "0.7"), ("60.00", "0.4"), ("4000", "0.3")],
        [("60.00", "0.1"), ("4000", "0.0")],
    ]
    assert isinstance(made, DayAheadOrder)
    assert made.energy_mwh == Decimal("0.2")
    assert made.rounding_error_mwh == pytest.approx((0.8 - 0.8) / 4)


def test_only_the_delivery_day_is_ordered_and_too_little_is_said() -> None:
    site = offer([5.0, 0.0, 0.02, 5.0], [0.0] * 4, 40.0)
    made = make_order([site], grid_of(4), slice(1, 3), RULES)
    assert isinstance(made, TooSmallToBid)
    assert made.peak_mw == pytest.approx(0.02)
    inside = make_order([site], grid_of(4), slice(2, 4), RULES)
    assert isinstance(inside, DayAheadOrder)
    assert inside.periods[0].start == grid_of(4).slot_start(2)
    with pytest.raises(InvalidInput, match="slots_per_period"):
        make_order([site], grid_of(4), slice(0, 3), MarketRules(slots_per_period=2))


@settings(max_examples=60)
@given(st.data(), st.sampled_from([92, 96, 100]), st.sampled_from([1, 4]))
def test_every_order_passes_the_separate_check(data: st.DataObject, count: int, per_period: int) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 100_000)))
    sites = [
        offer(
            rng.uniform(-0.3 if number else 0.0, 0.5, count).tolist(),
            np.maximum(rng.uniform(-1.0, 2.0, count), 0.0).tolist(),
            float(rng.choice([-600.0, -20.0, 0.0, 35.555, 9000.0])),
        )
        for number in range(3)
    ]
    made = make_order(sites, grid_of(count), slice(0, count), MarketRules(slots_per_period=per_period))
    assert isinstance(made, DayAheadOrder)
    day = TimeGrid(start=grid_of(count).start, step=timedelta(minutes=15 * per_period), count=count // per_period)
    total = np.sum([site.capability_mw for site in sites], axis=0).reshape(-1, per_period).mean(axis=1)
    assert check_curves(made.periods, RULES, day, total) == ()


def test_a_faulty_order_never_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(tranches: Sequence[Tranche], total: int, rules: MarketRules) -> tuple[CurvePoint, ...]:
        return (CurvePoint(price_per_mwh=Decimal(3999), volume_mw=total * rules.lot_mw + Decimal("0.05")),)

    monkeypatch.setattr(order_module, "demand_curve", wrong)
    with pytest.raises(BidRejected, match="lot") as refused:
        make_order([offer([0.5], [0.5], 40.0, capability=[1.0])], grid_of(1), slice(0, 1), RULES)
    assert {broken.rule for broken in refused.value.broken} == {"lot", "end", "capability"}
    again: Any = copy.copy(refused.value)
    assert again.broken == refused.value.broken
