"""From power to amperes, tenths and few periods: never more than was allowed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.charging_profiles import (
    Period,
    RateUnit,
    Supply,
    ac_limits_a,
    compress_periods,
    floor_to_step,
)
from gateway.domain.errors import InvalidInput

DAY_S = 86_400
AMPERE, WATT = RateUnit.AMPERE, RateUnit.WATT


@pytest.mark.parametrize(
    ("supply", "power_kw", "unit", "limit"),
    [
        pytest.param(Supply(phases=3), 4.2, AMPERE, 6.0, id="o24-three-phase"),
        pytest.param(Supply(phases=1), 4.2, AMPERE, 18.2, id="o24-one-phase"),
        pytest.param(Supply(is_dc=True), 1.00005, WATT, 1000.0, id="o29"),
        pytest.param(Supply(phases=3), 4.14, AMPERE, 6.0, id="exactly-the-minimum-in-spite-of-binary-fractions"),
        pytest.param(Supply(phases=3), 4.139, AMPERE, 0.0, id="below-six-amperes-is-a-pause"),
        pytest.param(Supply(phases=3), 4.0, WATT, 0.0, id="watts-below-six-amperes-are-a-pause-too"),
        pytest.param(Supply(phases=3, voltage_v=235.0), 11.0, AMPERE, 15.6, id="measured-voltage"),
        pytest.param(Supply(phases=1, step=1.0), 4.2, AMPERE, 18.0, id="whole-amperes"),
        pytest.param(Supply(phases=3, min_current_a=10.0), 6.0, AMPERE, 0.0, id="a-car-that-needs-more"),
        pytest.param(Supply(is_dc=True, min_power_kw=5.0), 4.9, WATT, 0.0, id="dc-minimum"),
        pytest.param(Supply(is_dc=True), 50.0, WATT, 50_000.0, id="dc"),
        pytest.param(Supply(), 0.0, AMPERE, 0.0, id="zero-is-zero"),
    ],
)
def test_limits(supply: Supply, power_kw: float, unit: RateUnit, limit: float) -> None:
    assert supply.limit(power_kw, unit) == limit


def test_the_unit_is_amperes_for_ac_and_watts_for_dc() -> None:
    assert (Supply().best_unit, Supply(is_dc=True).best_unit) == (AMPERE, WATT)


@given(
    power_kw=st.floats(0.0, 400.0),
    phases=st.sampled_from([1, 3]),
    voltage_v=st.floats(207.0, 253.0),
    unit=st.sampled_from(list(RateUnit)),
)
def test_a_limit_never_allows_more_than_was_asked(
    power_kw: float, phases: int, voltage_v: float, unit: RateUnit
) -> None:
    supply = Supply(phases=phases, voltage_v=voltage_v)
    limit = supply.limit(power_kw, unit)
    assert supply.power_kw(limit, unit) <= power_kw + 1e-6
    assert limit == round(limit, 1), "one decimal"
    if unit is AMPERE:
        assert limit == 0.0 or limit >= 6.0
        assert ac_limits_a(np.array([power_kw]), np.array([phases], dtype=np.int32), np.array([voltage_v])) == limit


@given(st.integers(0, 10_000_000))
def test_tenths_stay_what_they_are(tenths: int) -> None:
    value = tenths / 10
    assert floor_to_step(np.array([value]))[0] == value


def limit_at(periods: tuple[Period, ...], second: int) -> float:
    return next(p.limit for p in reversed(periods) if p.start_s <= second)


@st.composite
def days(draw: st.DrawFn) -> tuple[Period, ...]:
    starts = [0, *sorted(draw(st.sets(st.integers(1, DAY_S - 1), max_size=60)))]
    return tuple(Period(start_s=start, limit=draw(st.integers(0, 320)) / 10) for start in starts)


@given(periods=days(), most=st.integers(1, 30))
def test_o28_fewer_periods_are_nowhere_above_the_originals(periods: tuple[Period, ...], most: int) -> None:
    few = compress_periods(periods, DAY_S, most)
    assert 1 <= len(few) <= most
    assert few[0].start_s == 0
    originals = {p.limit for p in periods}
    for at in {p.start_s for p in (*periods, *few)}:
        assert limit_at(few, at) <= limit_at(periods, at)
    assert {p.limit for p in few} <= originals


@given(days())
def test_o28_with_room_enough_nothing_is_lost(periods: tuple[Period, ...]) -> None:
    few = compress_periods(periods, DAY_S, len(periods))
    assert [limit_at(few, p.start_s) for p in periods] == [p.limit for p in periods]


def test_o28_ninety_six_quarter_hours_in_24_periods() -> None:
    limits = np.random.default_rng(28).integers(60, 320, 96) / 10
    day = tuple(Period(start_s=900 * i, limit=float(a)) for i, a in enumerate(limits))
    few = compress_periods(day, DAY_S, 24)
    assert len(few) <= 24
    ends = [*(p.start_s for p in few[1:]), DAY_S]
    for period, end in zip(few, ends, strict=True):
        merged = limits[period.start_s // 900 : end // 900]
        assert period.limit <= merged.min()


def test_what_is_joined_first_loses_least() -> None:
    day = (Period(start_s=0, limit=16.0), Period(start_s=900, limit=15.9), Period(start_s=1800, limit=6.0))
    assert compress_periods(day, 2700, 2) == (Period(start_s=0, limit=15.9), Period(start_s=1800, limit=6.0))


@pytest.mark.parametrize(
    ("periods", "duration_s", "most"),
    [
        ((), 900, 1),
        ((Period(start_s=5, limit=6.0),), 900, 1),
        ((Period(start_s=0, limit=6.0), Period(start_s=0, limit=7.0)), 900, 1),
        ((Period(start_s=0, limit=6.0),), 0, 1),
        ((Period(start_s=0, limit=-1.0),), 900, 1),
        ((Period(start_s=0, limit=float("nan")),), 900, 1),
        ((Period(start_s=0, limit=6.0),), 900, 0),
    ],
)
def test_what_is_no_profile_is_refused(periods: tuple[Period, ...], duration_s: int, most: int) -> None:
    with pytest.raises(InvalidInput):
        compress_periods(periods, duration_s, most)


@pytest.mark.parametrize(
    "wrong", [{"phases": 4}, {"voltage_v": 0.0}, {"step": 0.0}, {"min_current_a": -1.0}, {"min_power_kw": float("nan")}]
)
def test_what_is_no_supply_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidInput):
        Supply(**wrong)  # type: ignore[arg-type]  # on purpose
