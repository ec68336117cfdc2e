"""Bids: curves that make sense, states that move one way, a hash over what is bought."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.bids import (
    TRANSITIONS,
    Award,
    AwardedPeriod,
    Bid,
    BidPeriod,
    BidState,
    CurvePoint,
    Schedule,
    bid_content_hash,
    energy_mwh,
)
from gateway.domain.errors import InvalidInput, PreconditionFailed
from gateway.domain.topology import Route

T0 = datetime(2025, 10, 15, tzinfo=UTC)
QUARTER = timedelta(minutes=15)


def period(*points: tuple[str, str], start: datetime = T0) -> BidPeriod:
    curve = tuple(CurvePoint(price_per_mwh=Decimal(p), volume_mw=Decimal(v)) for p, v in points)
    return BidPeriod(start=start, end=start + QUARTER, curve=curve)


def bid(state: BidState = BidState.DRAFT) -> Bid:
    periods = (period(("-500", "2"), ("100", "1")), period(("50", "0.5"), start=T0 + QUARTER))
    return Bid(
        id="bid-1",
        tenant="t",
        portfolio="vpp",
        delivery_day="2025-10-15",
        time_zone="Europe/Brussels",
        bidding_zone="BE",
        auction="A1",
        version=1,
        currency="EUR",
        lot_mw=Decimal("0.1"),
        gate_closure=T0,
        route=Route.VIA_BRP,
        brp="brp",
        plan="plan-1",
        periods=periods,
        state=state,
        checks=(),
        content_hash="",
        drafted_by="system:plan",
        drafted_at=T0,
    )


def test_the_volume_of_a_curve_steps_down_after_its_price() -> None:
    curve = period(("10", "3"), ("20", "1"))
    bought = [curve.volume_at(Decimal(p)) for p in ("-5", "10", "10.01", "20", "20.01")]
    assert bought == [3, 3, 1, 1, 0]
    assert curve.max_volume_mw == 3


prices = st.lists(st.integers(-500, 4000), min_size=1, max_size=6, unique=True).map(sorted)


@given(levels=prices, data=st.data())
def test_nobody_buys_more_at_a_higher_price(levels: list[int], data: st.DataObject) -> None:
    volumes = sorted(
        data.draw(st.lists(st.integers(-50, 50), min_size=len(levels), max_size=len(levels))), reverse=True
    )
    curve = period(*[(str(p), str(v)) for p, v in zip(levels, volumes, strict=True)])
    low, high = sorted(data.draw(st.tuples(st.integers(-600, 4000), st.integers(-600, 4000))))
    at_low, at_high = curve.volume_at(Decimal(low)), curve.volume_at(Decimal(high))
    assert at_high <= at_low or high > levels[-1]


@pytest.mark.parametrize(
    ("points", "field"),
    [
        ((), "curve"),
        ((("20", "1"), ("10", "0")), "price_per_mwh"),
        ((("10", "1"), ("10", "0")), "price_per_mwh"),
        ((("10", "1"), ("20", "2")), "volume_mw"),
        ((("NaN", "1"),), "curve"),
        ((("10", "Infinity"),), "curve"),
    ],
)
def test_impossible_curves_are_refused(points: tuple[tuple[str, str], ...], field: str) -> None:
    with pytest.raises(InvalidInput, match=field):
        period(*points)


def test_a_period_must_have_a_length() -> None:
    with pytest.raises(InvalidInput, match=r"period\.end"):
        BidPeriod(start=T0, end=T0, curve=period(("1", "1")).curve)


def test_energy_is_exact() -> None:
    assert bid().energy_mwh == Decimal("0.625")
    assert energy_mwh(Decimal("0.1"), T0, T0 + QUARTER) == Decimal("0.025")
    awarded = AwardedPeriod(start=T0, end=T0 + QUARTER, volume_mw=Decimal("0.4"), price_per_mwh=Decimal(10))
    award = Award(
        id="a", tenant="t", order="o", bid="b", portfolio="p", delivery_day="d", currency="EUR",
        periods=(awarded, awarded), received_at=T0,
    )  # fmt: skip
    assert award.energy_mwh == Decimal("0.2")


@pytest.mark.parametrize("state", list(BidState))
def test_only_the_drawn_transitions_are_possible(state: BidState) -> None:
    for target in BidState:
        if target in TRANSITIONS[state]:
            bid(state).require_transition(target)
        else:
            with pytest.raises(PreconditionFailed):
                bid(state).require_transition(target)


def test_nothing_leaves_an_end_state_and_nothing_is_submitted_without_approval() -> None:
    for end in (BidState.AWARDED, BidState.REJECTED, BidState.MISSED, BidState.WITHDRAWN):
        assert TRANSITIONS[end] == frozenset()
    assert [s for s in BidState if BidState.SUBMITTING in TRANSITIONS[s]] == [BidState.APPROVED]
    assert [s for s in BidState if BidState.APPROVED in TRANSITIONS[s]] == [BidState.PROPOSED]


def test_the_hash_covers_all_that_decides_what_is_bought_for_whom() -> None:
    plain = {
        "portfolio": "p", "delivery_day": "d", "auction": "a", "currency": "EUR", "route": Route.VIA_BRP, "brp": "b",
        "periods": bid().periods,
    }  # fmt: skip
    changes = {
        "portfolio": "q", "delivery_day": "e", "auction": "c", "currency": "USD", "route": Route.OWN_MEMBER, "brp": None,
        "periods": (replace(bid().periods[0], end=T0 + 2 * QUARTER), bid().periods[1]),
    }  # fmt: skip
    first = bid_content_hash(**plain)  # type: ignore[arg-type]
    others = {bid_content_hash(**(plain | {key: value})) for key, value in changes.items()}  # type: ignore[arg-type]
    assert len(others | {first}) == len(changes) + 1


@pytest.mark.parametrize("unknown", [float("nan"), float("inf")])
def test_a_schedule_says_what_to_draw_and_unknown_is_neither_zero_nor_anything(unknown: float) -> None:
    with pytest.raises(InvalidInput, match="power_kw"):
        Schedule(
            id="site-1:2025-10-15",
            tenant="t",
            node="site-1",
            connection_point="541448820000000015",
            delivery_day="2025-10-15",
            start=T0,
            step_minutes=15,
            power_kw=(1.0, unknown),
            cause="award:a1",
            made_at=T0,
        )
