"""What an answer's date tells about two clocks is a bound that is never wrong, and several bounds are one closer one."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.clock_skew import ClockSkew, seen_skew
from gateway.domain.errors import InvalidInput

NOW = datetime(2025, 10, 14, 9, 59, 59, tzinfo=UTC)
SECONDS = st.floats(-30.0, 30.0).map(lambda s: timedelta(seconds=round(s, 3)))
TRIPS = st.lists(st.tuples(st.floats(0.0, 3.0), st.floats(0.0, 1.0), st.floats(0.0, 20.0)), min_size=1, max_size=8)


def skew(low: float, high: float, at: datetime = NOW) -> ClockSkew:
    return ClockSkew(at_least=timedelta(seconds=low), at_most=timedelta(seconds=high), seen_at=at)


def floor(instant: datetime) -> datetime:
    return instant.replace(microsecond=0)


@given(ahead=SECONDS, trips=TRIPS)
def test_m29_the_true_difference_is_never_outside_the_bounds(
    ahead: timedelta, trips: list[tuple[float, float, float]]
) -> None:
    known: ClockSkew | None = None
    sent = NOW
    for length, share, pause in trips:
        received = sent + timedelta(seconds=length)
        # The peer reads its clock somewhere between our question and our reading of the answer.
        date = floor(sent + timedelta(seconds=length * share) - ahead)
        one = seen_skew(sent, received, date)
        known = one if known is None else known.narrowed(one)
        assert known.at_least <= ahead <= known.at_most
        if known.is_off:
            assert abs(ahead) > timedelta(seconds=2)
        sent = received + timedelta(seconds=pause)


@pytest.mark.parametrize(
    ("low", "high", "is_off", "certain"),
    [
        (2.001, 3.0, True, 2.001),
        (2.0, 3.0, False, 2.0),
        (-3.0, -2.001, True, -2.001),
        (-3.0, -2.0, False, -2.0),
        (-0.5, 0.5, False, 0.0),
        (-9.0, 9.0, False, 0.0),
    ],
)
def test_m29_more_than_two_seconds_that_are_certain_are_too_much(
    low: float, high: float, is_off: bool, certain: float
) -> None:
    one = skew(low, high)
    assert one.is_off is is_off
    assert one.certain == timedelta(seconds=certain)


def test_a_clock_that_was_set_begins_anew_and_old_bounds_are_forgotten() -> None:
    assert skew(4.0, 5.0).narrowed(skew(-0.5, 0.5)) == skew(-0.5, 0.5)
    late = NOW + timedelta(minutes=11)
    assert skew(0.0, 0.5).narrowed(skew(0.2, 1.2, late)) == skew(0.2, 1.2, late)
    assert skew(0.0, 0.5).narrowed(skew(0.2, 1.2)) == skew(0.2, 0.5)


def test_a_gate_counts_by_the_clock_that_is_ahead() -> None:
    assert skew(-4.0, -3.0).latest(NOW) == NOW + timedelta(seconds=3)
    assert skew(3.0, 4.0).latest(NOW) == NOW
    assert skew(-9_000.0, -8_000.0).latest(NOW) == NOW, "two clocks hours apart do not show the same time"
    with pytest.raises(InvalidInput):
        skew(2.0, 1.0)


def test_it_is_told_with_its_direction() -> None:
    assert skew(2.5, 3.0).told("the exchange") == "this machine's clock is at least 2.5 s ahead of that of the exchange"
    assert skew(-9.0, -2.25).told("x") == "this machine's clock is at least 2.2 s behind that of x"
