"""When intervals are: tables from the User Guide, and properties that hold for any event."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import InvalidInput
from gateway.openadr.v3.chance import draws
from gateway.openadr.v3.literals import NOW, Start, parse_duration
from gateway.openadr.v3.timing import Schedule, divide, is_cancelled, plan, unroll
from gateway.openadr.v3.wire import IntervalPeriod, Meta, WireEvent, WireInterval

ANCHOR = datetime(2025, 10, 15, 8, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
FAR = datetime.max.replace(tzinfo=UTC)


def at(instant: datetime | None) -> Start:
    return NOW if instant is None else Start(instant=instant)


def span(start: datetime | str | None = "", duration: str = "", randomize: str = "") -> IntervalPeriod:
    """Return a period; a start of None is now, an empty one is not said."""
    return IntervalPeriod(
        start=None if isinstance(start, str) else at(start),
        duration=parse_duration("d", duration) if duration else None,
        randomize=parse_duration("r", randomize) if randomize else None,
    )


def event(*periods: IntervalPeriod | None, period: IntervalPeriod | None = None, duration: str = "") -> WireEvent:
    return WireEvent(
        meta=Meta(id="e1"),
        program_id="p1",
        period=period,
        duration=parse_duration("duration", duration) if duration else None,
        intervals=tuple(WireInterval(id=number, payloads=(), period=one) for number, one in enumerate(periods)),
    )


def never(_name: str) -> float:
    return 0.0


def hours(schedule: Schedule, until: float = 1000.0) -> list[tuple[float, float | None]]:
    """Return starts and ends as hours from the anchor."""
    found = unroll(schedule, schedule.start, ANCHOR + until * HOUR, 100).occurrences
    return [((one.start - ANCHOR) / HOUR, None if one.end is None else (one.end - ANCHOR) / HOUR) for one in found]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (event(None, None, period=span(ANCHOR, "PT1H")), [(0, 1), (1, 2)]),
        (event(None, span(duration="PT2H"), None, period=span(ANCHOR, "PT1H")), [(0, 1), (1, 3), (3, 4)]),
        (event(span(ANCHOR + 5 * HOUR, "PT1H"), span(duration="PT2H")), [(5, 6), (6, 8)]),
        (event(span(None, "PT1H"), span(None, "PT1H")), [(0, 1), (1, 2)]),
        (event(span(None, "PT1H"), None, period=span(ANCHOR + 3 * HOUR, "PT2H")), [(3, 4), (4, 6)]),
        (event(span(ANCHOR + 9 * HOUR), None, period=span(ANCHOR, "PT1H")), [(9, 10), (10, 11)]),
        (event(span(ANCHOR + 2 * HOUR, "PT1H"), span(ANCHOR, "PT1H")), [(0, 1), (2, 3)]),
        (event(None, None, None, period=span(ANCHOR, "PT1H"), duration="PT90M"), [(0, 1), (1, 1.5)]),
        (event(None, None, period=span(ANCHOR, "PT1H"), duration="PT3H"), [(0, 1), (1, 2), (2, 3)]),
        (event(None, None, period=span(ANCHOR, "PT1H"), duration="PT0S"), [(0, 1), (1, 2)]),
        (event(None, period=span(ANCHOR), duration="PT4H"), [(0, 4)]),
        (event(None, period=span(None, "P9999Y")), [(0, None)]),
        (event(None, period=span(ANCHOR), duration="P9999Y"), [(0, None)]),
        (event(None, period=span(None, "P9999Y"), duration="PT2H"), [(0, 2)]),
        (event(None, None, period=span(ANCHOR, "P9999Y")), [(0, None)]),
        (event(None, span(duration="PT0S"), None, period=span(ANCHOR, "PT1H")), [(0, 1), (1, 2), (2, 3)]),
    ],
    ids=[
        "default-period", "own-duration", "own-start-first", "now-follows", "first-now-is-the-event", "own-start-moves",
        "out-of-order", "cut", "repeated", "zero-is-not-said", "one-takes-the-event", "alert", "alert-by-duration",
        "endless-cut", "after-endless-nothing", "zero-takes-the-default",
    ],
)  # fmt: skip
def test_intervals_are_where_the_user_guide_says(wanted: WireEvent, found: list[tuple[float, float | None]]) -> None:
    assert hours(plan(wanted, ANCHOR, never)) == found


def test_what_never_begins_is_named() -> None:
    schedule = plan(event(None, None, period=span(ANCHOR, "P9999Y")), ANCHOR, never)
    assert [(one.rule, one.path) for one in schedule.findings] == [("never-begins", "intervals[1]")]


@pytest.mark.parametrize(
    "wanted",
    [
        event(None),
        event(None, period=span(duration="PT1H")),
        event(span(duration="PT1H")),
        event(None, period=span(ANCHOR, "PT1H", "P1M")),
        event(None, period=span(ANCHOR, "PT1H", "P9999Y")),
        event(None, period=span(ANCHOR, "PT0.1S"), duration="P9999Y"),
        event(None, period=span(datetime(9999, 12, 31, 23, 59, tzinfo=UTC), "PT1H", "PT1H")),
        event(),
    ],
    ids=["nothing", "no-start", "own-no-start", "month-range", "endless-range", "too-fast", "end-of-calendar", "empty"],
)
def test_times_that_cannot_be_told_are_refused(wanted: WireEvent) -> None:
    with pytest.raises(InvalidInput):
        plan(wanted, ANCHOR, lambda _name: 0.9)


def test_b12_one_shift_for_all_until_an_interval_has_a_range_of_its_own() -> None:
    shares = {"": 0.5, "2": -1.0}
    ranged = event(
        None, None, span(randomize="PT1H"), None, span(ANCHOR + 10 * HOUR), period=span(ANCHOR, "PT1H", "PT2H")
    )
    schedule = plan(ranged, ANCHOR, shares.__getitem__)
    assert schedule.shift == HOUR
    assert hours(schedule) == [(1, 2), (1, 2), (2, 3), (2, 3), (9, 10)]


def test_b12_the_event_ends_shifted_as_it_began() -> None:
    shifted = event(None, None, period=span(ANCHOR, "PT1H", "PT30M"), duration="P9999Y")
    schedule = plan(shifted, ANCHOR, lambda _name: -1.0)
    assert hours(schedule, until=2) == [(-0.5, 0.5), (0.5, 1.5), (1.5, 2.5)]


def test_b5_months_keep_their_day() -> None:
    start = datetime(2025, 1, 31, tzinfo=UTC)
    monthly = plan(event(None, period=span(start, "P1M"), duration="P9999Y"), ANCHOR, never)
    starts = [one.start for one in unroll(monthly, start, start + timedelta(days=160), 100).occurrences]
    assert [(one.month, one.day) for one in starts] == [(1, 31), (2, 28), (3, 31), (4, 30), (5, 31), (6, 30)]


def test_b5_a_period_without_end_repeats_only_in_3_0_1_and_only_intervals_with_durations_of_their_own() -> None:
    own = event(span(duration="PT1H"), span(duration="PT1H"), period=span(ANCHOR, "P9999Y"))
    assert plan(own, ANCHOR, never).cycle is None
    assert plan(own, ANCHOR, never, period_repeats=True).cycle is not None
    assert plan(event(None, None, period=span(ANCHOR, "P9999Y")), ANCHOR, never, period_repeats=True).cycle is None


@pytest.mark.parametrize(
    ("wanted", "cancelled"),
    [
        (event(None, period=span(None, "PT0S")), True),
        (event(None, period=span(None, "PT0S"), duration="PT0S"), True),
        (event(None, period=span(None), duration="PT0S"), True),
        (event(span(None, "PT0S"), period=span(None, "PT0S")), True),
        (event(period=span(None, "PT0S")), True),
        (event(None, period=span(None, "P9999Y"), duration="PT0S"), False),
        (event(None, period=span(None)), False),
        (event(span(duration="PT1H"), period=span(None, "PT0S"), duration="PT0S"), False),
        (event(None, period=span(ANCHOR, "PT0S")), False),
        (event(None), False),
    ],
    ids=[
        "period", "both", "event", "interval-too", "no-intervals", "filled-in-beside-endless", "nothing-zero",
        "own-duration", "absolute", "no-period",
    ],
)  # fmt: skip
def test_b10_what_counts_as_cancelled(wanted: WireEvent, cancelled: bool) -> None:
    assert is_cancelled(wanted) is cancelled


def test_b6_a_span_is_shared_to_the_microsecond() -> None:
    parts = divide(ANCHOR, ANCHOR + timedelta(microseconds=10), 3)
    assert [(one - ANCHOR).microseconds for one, _ in parts] == [0, 3, 6]
    assert parts[-1][1] == ANCHOR + timedelta(microseconds=10)
    assert divide(ANCHOR, None, 1) == ((ANCHOR, None),)
    with pytest.raises(InvalidInput):
        divide(ANCHOR, None, 2)


# ---------------------------------------------------------------- properties

DURATIONS = st.one_of(
    st.builds(lambda minutes: f"PT{minutes}M", st.integers(0, 5000)),
    st.sampled_from(["P9999Y", "P1M", "P1Y", "PT0S", "P7D", "PT0.5S", "P1W", "P999Y", "P999999999D"]),
)
STARTS = st.one_of(
    st.just(""),
    st.none(),
    st.integers(-50_000, 2_912_000).map(lambda days: ANCHOR + timedelta(days=days)),
    st.integers(-200, 200).map(lambda quarter: ANCHOR + timedelta(minutes=15 * quarter)),
)
PERIODS = st.one_of(
    st.none(),
    st.builds(
        span, STARTS, st.one_of(st.just(""), DURATIONS), st.sampled_from(["", "PT5M", "P366D", "P999999D", "-P30D"])
    ),
)


@st.composite
def events(draw: st.DrawFn) -> WireEvent:
    return event(
        *draw(st.lists(PERIODS, max_size=6)),
        period=draw(PERIODS),
        duration=draw(st.one_of(st.just(""), DURATIONS)),
    )


@given(events(), st.integers(-10_000, 100_000), st.booleans())
def test_any_event_is_laid_out_or_refused_and_every_window_is_bounded(
    wanted: WireEvent, offset: int, period_repeats: bool
) -> None:
    try:
        schedule = plan(wanted, ANCHOR, draws("seed", "e1"), period_repeats=period_repeats)
    except InvalidInput:
        return
    since = ANCHOR + timedelta(minutes=offset)
    found = unroll(schedule, since, since + 48 * HOUR, 200)
    starts = [one.start for one in found.occurrences]
    assert len(starts) <= 200
    for one in found.occurrences:
        assert one.end is None or one.start < one.end
        assert one.end is None or one.end > since
        assert one.start < since + 48 * HOUR
        assert schedule.start <= one.start
        assert schedule.end is None or (one.end is not None and one.end <= schedule.end)
    if schedule.cycle is None:
        assert starts == sorted(starts)


@given(events(), st.integers(0, 20_000), st.integers(0, 3000))
def test_two_windows_say_the_same_of_what_is_in_both(wanted: WireEvent, offset: int, later: int) -> None:
    try:
        schedule = plan(wanted, ANCHOR, draws("seed", "e1"))
    except InvalidInput:
        return
    since = ANCHOR + timedelta(minutes=offset)
    until, moved = since + 96 * HOUR, since + timedelta(minutes=later)
    first, second = unroll(schedule, since, until, 500), unroll(schedule, moved, until, 500)
    if first.until is not None and first.until < until:
        return
    lasting = [one for one in first.occurrences if one.end is None or one.end > moved]
    assert list(second.occurrences)[: len(lasting)] == lasting


@given(
    st.integers(1, 12), st.integers(1, 2000), st.integers(0, 5_000_000), st.sampled_from(["P9999Y", "P100Y", "P999Y"])
)
def test_b5_a_repeated_event_says_at_any_time_what_its_cycle_says(
    count: int, minutes: int, passed: int, duration: str
) -> None:
    length = timedelta(minutes=minutes)
    schedule = plan(event(*[None] * count, period=span(ANCHOR, f"PT{minutes}M"), duration=duration), ANCHOR, never)
    now = ANCHOR + timedelta(minutes=passed)
    if schedule.end is not None and now >= schedule.end:
        return
    [current] = unroll(schedule, now, now + timedelta(microseconds=1), 10).occurrences
    assert current.index == (now - ANCHOR) // length % count
    assert current.start <= now
    assert current.end is not None
    assert now < current.end


@given(st.datetimes(timezones=st.just(UTC)), st.integers(1, 10**13), st.integers(1, 200))
def test_b6_parts_cover_their_span_without_gap_and_almost_equal(start: datetime, length: int, parts: int) -> None:
    try:
        end = start + timedelta(microseconds=length)
    except OverflowError:
        return
    found = divide(start, end, parts)
    assert (found[0][0], found[-1][1], len(found)) == (start, end, parts)
    assert all(one[1] == other[0] for one, other in pairwise(found))
    lengths = {(one[1] - one[0]) // timedelta(microseconds=1) for one in found if one[1] is not None}
    assert max(lengths) - min(lengths) <= 1


@given(st.text(), st.text(), st.text())
def test_b12_a_share_is_in_its_range_and_the_same_for_ever(seed: str, event_id: str, name: str) -> None:
    share = draws(seed, event_id)(name)
    assert -1.0 <= share < 1.0
    assert draws(seed, event_id)(name) == share


def test_b12_shares_are_spread_evenly() -> None:
    shares = [draws("seed", f"e{number}")("") for number in range(2000)]
    assert abs(sum(shares) / len(shares)) < 0.05
    assert all(150 <= sum(low / 5 - 1 <= one < (low + 1) / 5 - 1 for one in shares) <= 250 for low in range(10))
