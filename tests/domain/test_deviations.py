"""Why a delivery period came out as it did, and what a late limit takes away."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.limits import Binding, Direction, Limit, LimitKind
from gateway.domain.residuals import PositionAtRisk, in_force, shortfall_under
from gateway.domain.settlement import PeriodEvidence, causes_of_deviation
from gateway.domain.timegrid import Interval

START = datetime(2025, 10, 15, tzinfo=UTC)
QUARTER = timedelta(minutes=15)


def saw(metered: float | None, *, limits: tuple[str, ...] = (), dispatches: tuple[str, ...] = ()) -> PeriodEvidence:
    return PeriodEvidence(position_kwh=100.0, metered_kwh=metered, limits=limits, not_followed=dispatches)


def test_small_deviations_need_no_cause() -> None:
    assert causes_of_deviation([saw(95.0), saw(105.0, dispatches=("d",)), saw(96.0, limits=("l",))]) == ("none",) * 3
    tiny = PeriodEvidence(position_kwh=1.0, metered_kwh=3.5)
    assert causes_of_deviation([tiny]) == ("none",)


def test_each_cause_where_it_belongs() -> None:
    assert causes_of_deviation(
        [
            saw(None),
            saw(50.0),
            saw(50.0, limits=("l1", "l2")),
            saw(150.0, dispatches=("d1",)),
            saw(50.0, dispatches=("d",)),
        ]
    ) == ("missing-meter", "forecast", "limit:l1", "dispatch:d1", "forecast")


def test_what_a_limit_held_back_comes_later_and_no_more_than_that() -> None:
    causes = causes_of_deviation([saw(150.0), saw(40.0, limits=("l",)), saw(130.0), saw(125.0), saw(140.0), saw(140.0)])
    assert causes == ("forecast", "limit:l", "after-limit:l", "after-limit:l", "after-limit:l", "forecast")


def limit(kw: float, minutes: float, *, withdrawn: float | None = None) -> Limit:
    return Limit(
        id="l",
        tenant="t",
        authority="dso",
        node="n",
        direction=Direction.IMPORT,
        kind=LimitKind.LIMIT,
        binding=Binding.MANDATORY,
        max_kw=kw,
        interval=Interval(start=START, end=START + timedelta(minutes=minutes)),
        cause="x:y",
        known_at=START,
        withdrawn_at=None if withdrawn is None else START + timedelta(minutes=withdrawn),
    )


def positions(*kw: float, day_ahead: float = 100.0, assumed: float = 60.0) -> list[PositionAtRisk]:
    return [
        PositionAtRisk(
            start=START + QUARTER * i,
            end=START + QUARTER * (i + 1),
            power_kw=power,
            day_ahead_price_per_mwh=day_ahead,
            assumed_price_per_mwh=assumed,
        )
        for i, power in enumerate(kw)
    ]


def test_shortfall_is_the_position_above_the_limit() -> None:
    found = shortfall_under(limit(400.0, 30), positions(1000.0, 300.0, 1000.0))
    assert (found.energy_mwh, found.exposure) == (Decimal("0.15"), Decimal("6.0"))


def test_energy_that_brings_more_than_it_cost_is_a_gain() -> None:
    assert shortfall_under(limit(0.0, 15), positions(400.0, day_ahead=-20.0)).exposure == Decimal("-8.0")


def test_limit_withdrawn_before_it_began_takes_nothing() -> None:
    assert in_force(limit(0.0, 30, withdrawn=0)) is None
    assert shortfall_under(limit(0.0, 30, withdrawn=0), positions(100.0)).energy_mwh == 0
    assert shortfall_under(limit(0.0, 30, withdrawn=7.5), positions(400.0, 400.0)).energy_mwh == Decimal("0.05")


@given(
    st.lists(st.floats(min_value=0.0, max_value=5000.0), min_size=1, max_size=8),
    st.floats(0.0, 5000.0),
    st.floats(0, 120),
)
def test_tighter_or_longer_limits_never_take_less(power: list[float], kw: float, minutes: float) -> None:
    base = shortfall_under(limit(kw, minutes + 1), positions(*power)).energy_mwh
    assert shortfall_under(limit(kw / 2, minutes + 1), positions(*power)).energy_mwh >= base
    assert shortfall_under(limit(kw, minutes + 10), positions(*power)).energy_mwh >= base
    assert base <= Decimal(str(round(sum(power) / 4000.0, 6))) + Decimal("0.000001")
