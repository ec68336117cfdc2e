"""Positions add up to the award to the last digit; schedules follow them."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.bids import AwardedPeriod, PlanRun, PlanSite, PositionPeriod
from gateway.domain.errors import InvalidInput
from gateway.domain.money import apportion
from gateway.domain.positions import schedule_kw, split_award

START = datetime(2025, 10, 14, 22, tzinfo=UTC)
QUARTER = timedelta(minutes=15)

amounts = st.decimals(min_value="-900", max_value="900", places=4)
weights = st.lists(st.floats(min_value=0.0, max_value=1e6), min_size=1, max_size=40)


@given(amounts, weights)
def test_parts_add_up_exactly_and_are_near_their_share(total: Decimal, shares: list[float]) -> None:
    parts = apportion(total, shares, Decimal("0.001"))
    assert sum(parts) == total
    whole = sum(shares)
    for part, share in zip(parts, shares, strict=True):
        fair = float(total) * (share / whole if whole else 1.0 / len(shares))
        assert abs(float(part) - fair) <= 0.0021
        assert part * total >= 0


@given(st.decimals(min_value="0", max_value="900", places=3), weights)
def test_parts_are_whole_quanta(total: Decimal, shares: list[float]) -> None:
    assert all(part % Decimal("0.001") == 0 for part in apportion(total, shares, Decimal("0.001")))


def test_left_over_quanta_go_to_the_largest_remainders_ties_to_the_first() -> None:
    assert apportion(Decimal("0.010"), [1.0, 1.0, 1.0], Decimal("0.001")) == (
        Decimal("0.004"),
        Decimal("0.003"),
        Decimal("0.003"),
    )
    assert apportion(Decimal("0.010"), [0.3, 0.3, 0.6], Decimal("0.001")) == (
        Decimal("0.003"),
        Decimal("0.002"),
        Decimal("0.005"),
    )

    # 3.33, 1.67 and 5 quanta: the one left over goes to the second.
    assert apportion(Decimal("0.010"), [2.0, 1.0, 3.0], Decimal("0.001")) == (
        Decimal("0.003"),
        Decimal("0.002"),
        Decimal("0.005"),
    )


@pytest.mark.parametrize(
    ("shares", "quantum"), [([], "0.001"), ([-1.0], "0.001"), ([float("nan")], "0.001"), ([1.0], "0")]
)
def test_nonsense_is_refused(shares: list[float], quantum: str) -> None:
    with pytest.raises(InvalidInput):
        apportion(Decimal(1), shares, Decimal(quantum))


def plan_of(*sites: tuple[tuple[float, ...], tuple[float, ...]]) -> PlanRun:
    count = len(sites[0][0]) if sites else 2
    return PlanRun(
        id="plan-1",
        tenant="demo",
        portfolio="vpp",
        delivery_day="2025-10-15",
        made_at=START,
        known_until=START,
        outcome="proved",
        gap=0.0,
        message="",
        start=START,
        step_minutes=15,
        price_series=None,
        price_per_mwh=(50.0,) * count,
        price_quality="forecast",
        carbon_series=None,
        sites=tuple(
            PlanSite(
                connection_point=f"cp-{i}",
                node=f"site-{i}",
                power_kw=power,
                session_count=1,
                energy_kwh=sum(power) / 4.0,
                uncontrolled_kw=power,
                other_load_kw=other,
            )
            for i, (power, other) in enumerate(sites)
        ),
        expected_cost=Decimal(0),
        uncontrolled_cost=Decimal(0),
        currency="EUR",
        limits=(),
    )


def awarded(*volumes: str, length: timedelta = QUARTER) -> tuple[AwardedPeriod, ...]:
    return tuple(
        AwardedPeriod(
            start=START + length * i, end=START + length * (i + 1), volume_mw=Decimal(v), price_per_mwh=Decimal(50)
        )
        for i, v in enumerate(volumes)
    )


def volumes(positions: tuple[PositionPeriod, ...]) -> list[Decimal]:
    return [period.volume_mw for period in positions]


def test_award_is_split_by_the_plans_shares_of_each_period() -> None:
    plan = plan_of(((100.0, 300.0), ()), ((300.0, 100.0), ()))
    split = split_award(awarded("0.4", "0.4"), plan)
    assert volumes(split["cp-0"]) == [Decimal("0.100"), Decimal("0.300")]
    assert volumes(split["cp-1"]) == [Decimal("0.300"), Decimal("0.100")]


def test_period_that_was_not_planned_is_split_by_the_energy_of_the_day() -> None:
    plan = plan_of(((0.0, 300.0), ()), ((0.0, 100.0), ()))
    split = split_award(awarded("0.4", "0.4"), plan)
    assert volumes(split["cp-0"])[0] == Decimal("0.300")


def test_hourly_award_covers_four_slots_of_the_plan() -> None:
    plan = plan_of(((100.0,) * 4, ()), ((0.0, 0.0, 0.0, 400.0), ()))
    split = split_award(awarded("0.2", length=timedelta(hours=1)), plan)
    assert [volumes(split["cp-0"]), volumes(split["cp-1"])] == [[Decimal("0.100")], [Decimal("0.100")]]
    assert schedule_kw(plan, plan.sites[0], split["cp-0"]) == (100.0,) * 4


def test_other_load_is_in_the_position_and_not_in_the_schedule() -> None:
    plan = plan_of(((60.0, 60.0), (40.0, 40.0)), ((100.0, 100.0), ()))
    split = split_award(awarded("0.2", "0.06"), plan)
    assert volumes(split["cp-0"]) == [Decimal("0.100"), Decimal("0.030")]
    assert schedule_kw(plan, plan.sites[0], split["cp-0"]) == (60.0, 0.0)


def test_plan_without_points_cannot_take_an_award() -> None:
    with pytest.raises(InvalidInput):
        split_award(awarded("1"), plan_of())


@given(
    st.lists(st.tuples(*[st.floats(min_value=0.0, max_value=900.0)] * 3), min_size=1, max_size=12),
    st.lists(st.decimals(min_value="0", max_value="20", places=1), min_size=3, max_size=3),
)
def test_positions_always_add_up_to_the_award(powers: list[tuple[float, ...]], bought: list[Decimal]) -> None:
    plan = plan_of(*[(power, ()) for power in powers])
    periods = awarded(*[str(volume) for volume in bought])
    split = split_award(periods, plan)
    for index, period in enumerate(periods):
        assert sum(own[index].volume_mw for own in split.values()) == period.volume_mw
