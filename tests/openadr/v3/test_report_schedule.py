"""When reports by descriptor are due and which intervals they hold."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import InvalidInput
from gateway.openadr.v3.literals import NOW, ZERO, IsoDuration
from gateway.openadr.v3.report_descriptors import (
    FOR_EVER,
    OPEN_INTERVALS,
    SUB_INTERVALS,
    problem_of,
    read_descriptor,
    timing_of,
    write_descriptor,
)
from gateway.openadr.v3.report_schedule import (
    MOST_SLOTS,
    Course,
    ReportDue,
    Slot,
    course_of,
    first_number,
    is_ad_hoc,
    report_due,
    report_slots,
    resumed_number,
)
from gateway.openadr.v3.timing import Schedule
from gateway.openadr.v3.timing import Slot as TimingSlot
from gateway.openadr.v3.wire import IntervalPeriod, Meta, ReportDescriptor, Target, WireEvent, WireInterval

START = datetime(2025, 10, 15, 8, 0, tzinfo=UTC)
QUARTER = timedelta(minutes=15)


def asks(**wishes: int | bool | str) -> ReportDescriptor:
    return ReportDescriptor(payload_type="USAGE", **wishes)  # type: ignore[arg-type]  # the fields of each test


def minutes(count: float) -> IsoDuration:
    return IsoDuration(text="", exact=timedelta(minutes=count))


def quarters(count: int, *, loops: bool = False, end: float | None = None) -> Course:
    """Return intervals of 15 minutes with ids 10, 11 and so on; an end is in quarters after the start."""
    slots = tuple(
        TimingSlot(
            index=i,
            interval=WireInterval(id=10 + i, payloads=()),
            origin=START,
            before=minutes(15 * i),
            length=minutes(15),
        )
        for i in range(count)
    )
    last = count if end is None else end
    return Course(
        schedule=Schedule(
            start=START,
            end=None if loops and end is None else START + last * QUARTER,
            slots=slots,
            cycle=minutes(15 * count) if loops else None,
            shift=timedelta(0),
        )
    )


def implied() -> Course:
    schedule = Schedule(start=START, end=None, slots=(), cycle=None, shift=timedelta(0))
    return Course(schedule=schedule, implied=minutes(15))


def plan(descriptor: ReportDescriptor, course: Course, most: int = 20) -> list[tuple[float, list[int]]]:
    """Return the reports as quarters after the start and the ids they hold."""
    found: list[tuple[float, list[int]]] = []
    for number in range(most):
        due = report_due(descriptor, course, number)
        if due is None:
            break
        found.append(((due.at - START) / QUARTER, [slot.id for slot in due.slots]))
    return found


def test_b16_the_default_is_one_report_after_the_last_interval_with_all_ids() -> None:
    assert plan(asks(), quarters(4)) == [(4, [10, 11, 12, 13])]


@pytest.mark.parametrize(
    ("wishes", "reports"),
    [
        pytest.param(
            {"frequency": 2, "repeat": 3}, [(2, [10, 11]), (4, [12, 13]), (6, [14, 15])], id="frequency-and-repeat"
        ),
        pytest.param(
            {"start_interval": 1, "num_intervals": 2, "frequency": 2, "repeat": 3},
            [(2, [10, 11]), (4, [12, 13]), (6, [14, 15])],
            id="as-the-user-guide-writes-it",
        ),
        pytest.param(
            {"num_intervals": 2, "repeat": 3},
            [(2, [10, 11]), (4, [12, 13]), (6, [14, 15])],
            id="frequency-is-as-many-as-reported",
        ),
    ],
)
def test_b16_frequency_two_repeat_three_are_three_reports(
    wishes: dict[str, int], reports: list[tuple[float, list[int]]]
) -> None:
    assert plan(asks(**wishes), quarters(6)) == reports


def test_b16_repeat_for_ever_ends_with_the_last_interval() -> None:
    assert plan(asks(frequency=2, repeat=FOR_EVER), quarters(5)) == [(2, [10, 11]), (4, [12, 13]), (5, [14])]


def test_b16_repeat_for_ever_on_a_looping_event_goes_on_for_ever() -> None:
    looping = quarters(3, loops=True)
    ids = [10, 11, 12]
    assert plan(asks(repeat=FOR_EVER), looping, most=4) == [(3, ids), (6, ids), (9, ids), (12, ids)]
    far = report_due(asks(repeat=FOR_EVER), looping, 1_000_000)
    assert far is not None
    assert far.at == START + QUARTER * 3 * 1_000_001


def test_b16_a_looping_event_that_its_own_duration_ends() -> None:
    looping = quarters(2, loops=True, end=3.5)
    assert plan(asks(repeat=FOR_EVER), looping) == [(2, [10, 11]), (3.5, [10, 11])]
    last = report_due(asks(repeat=FOR_EVER), looping, 1)
    assert last is not None
    assert last.slots[-1].end == START + 3.5 * QUARTER


def test_b16_a_duration_shorter_than_the_intervals_leaves_the_last_ones_out() -> None:
    assert plan(asks(), quarters(4, end=2.0)) == [(2, [10, 11])]


@pytest.mark.parametrize(
    ("wishes", "reports"),
    [
        pytest.param({"start_interval": 1, "num_intervals": 3}, [(4, [11, 12, 13])], id="subset"),
        pytest.param({"start_interval": 5}, [(10, [15, 16, 17, 18, 19])], id="the-last-five-of-ten"),
        pytest.param({"start_interval": 9}, [(10, list(range(10, 20)))], id="the-last-interval-named"),
        pytest.param({"num_intervals": 3}, [(10, [17, 18, 19])], id="the-last-three"),
        pytest.param({"start_interval": 4, "num_intervals": 2}, [(5, [13, 14])], id="two-up-to-the-fifth"),
        pytest.param({"start_interval": 10}, [], id="no-such-interval"),
        pytest.param({"historical": False}, [(0, list(range(10, 20)))], id="forecast-of-all"),
        pytest.param(
            {"historical": False, "start_interval": 0, "num_intervals": 3, "frequency": 1, "repeat": 3},
            [(0, [10, 11, 12]), (1, [11, 12, 13]), (2, [12, 13, 14])],
            id="rolling-forecast",
        ),
        pytest.param(
            {"historical": False, "start_interval": 8, "num_intervals": 4}, [(8, [18, 19])], id="forecast-at-the-end"
        ),
        pytest.param(
            {"num_intervals": 4, "frequency": 4, "repeat": 2},
            [(4, [10, 11, 12, 13]), (8, [14, 15, 16, 17])],
            id="each-hour",
        ),
        pytest.param(
            {"num_intervals": 3, "frequency": 1, "repeat": 3},
            [(1, [10]), (2, [10, 11]), (3, [10, 11, 12])],
            id="rolling-back",
        ),
        pytest.param({"frequency": 0, "repeat": FOR_EVER}, [], id="ad-hoc"),
    ],
)
def test_b16_subsets_forecasts_and_rolling_reports(
    wishes: dict[str, int], reports: list[tuple[float, list[int]]]
) -> None:
    assert plan(asks(**wishes), quarters(10)) == reports


def test_b16_implied_intervals_are_counted_on_from_the_period() -> None:
    hourly = implied()
    rolling = asks(historical=False, start_interval=0, num_intervals=4, frequency=1, repeat=FOR_EVER)
    assert plan(rolling, hourly, most=2) == [(0, [0, 1, 2, 3]), (1, [1, 2, 3, 4])]
    assert plan(asks(), hourly) == [(1, [0])]
    assert plan(asks(num_intervals=4), hourly) == [(4, [0, 1, 2, 3])]


def test_an_interval_without_end_is_never_reported_after_it() -> None:
    endless = IsoDuration(text="P9999Y", is_endless=True)
    slot = TimingSlot(index=0, interval=WireInterval(id=0, payloads=()), origin=START, before=ZERO, length=endless)
    open_ended = Course(schedule=Schedule(start=START, end=None, slots=(slot,), cycle=None, shift=timedelta(0)))
    assert report_due(asks(), open_ended, 0) is None
    forecast = report_due(asks(historical=False), open_ended, 0)
    assert forecast is not None
    assert forecast.at == START


def test_without_intervals_the_moment_is_ours() -> None:
    assert is_ad_hoc(asks(), None)
    assert not is_ad_hoc(asks(), quarters(1))
    assert is_ad_hoc(asks(frequency=0), quarters(1))


@pytest.mark.parametrize(
    ("now", "number"), [(0.0, 0), (1.9, 0), (2.0, 0), (4.1, 1), (6.0, 2), (999.0, 2)], ids=lambda value: f"{value:g}"
)
def test_b16_of_reports_whose_time_had_passed_only_the_latest_is_made(now: float, number: int) -> None:
    assert first_number(asks(frequency=2, repeat=FOR_EVER), quarters(6), START + now * QUARTER) == number


def test_the_first_number_of_an_endless_event_is_found_at_once() -> None:
    years_later = START + timedelta(days=3650)
    number = first_number(asks(repeat=FOR_EVER), quarters(1, loops=True), years_later)
    assert number == 3650 * 96 - 1


def test_sub_intervals_keep_the_ids_and_open_ones_have_ours() -> None:
    hours = (
        Slot(id=7, start=START, end=START + 2.5 * QUARTER),
        Slot(id=9, start=START + 2.5 * QUARTER, end=START + 3 * QUARTER),
    )
    parts = report_slots(asks(report_intervals=SUB_INTERVALS), hours, QUARTER)
    assert [(slot.id, (slot.start - START) / QUARTER) for slot in parts] == [(7, 0), (7, 1), (7, 2), (9, 2.5)]
    ours = report_slots(asks(report_intervals=OPEN_INTERVALS), hours, QUARTER)
    assert [slot.id for slot in ours] == [0, 1, 2, 3]
    assert [slot.end for slot in ours] == [slot.end for slot in parts]
    assert report_slots(asks(), hours, QUARTER) == hours
    century = (Slot(id=0, start=START, end=START + timedelta(days=36_500)),)
    assert report_slots(asks(report_intervals=SUB_INTERVALS), century, QUARTER) == century


def test_a_report_holds_no_more_than_anybody_would_read() -> None:
    due = report_due(asks(num_intervals=2**31 - 1), implied(), 0)
    assert due is not None
    assert len(due.slots) == MOST_SLOTS


@pytest.mark.parametrize(
    "wishes",
    [
        {"start_interval": -2},
        {"num_intervals": 0},
        {"num_intervals": -2},
        {"frequency": -2},
        {"repeat": 0},
        {"repeat": -2},
        {"report_intervals": "SOME"},
    ],
    ids=str,
)
def test_what_asks_for_nothing_says_why(wishes: dict[str, int]) -> None:
    assert problem_of(asks(**wishes)) is not None
    assert problem_of(asks()) is None


counts = st.integers(1, 12)
wishes = st.builds(
    ReportDescriptor,
    payload_type=st.just("USAGE"),
    start_interval=st.integers(-1, 12),
    num_intervals=st.sampled_from([-1, 1, 2, 3, 7]),
    historical=st.booleans(),
    frequency=st.sampled_from([-1, 1, 2, 5]),
    repeat=st.sampled_from([-1, 1, 2, 6]),
)
courses = st.builds(quarters, counts, loops=st.booleans())


def reports(descriptor: ReportDescriptor, course: Course) -> list[ReportDue]:
    found = (report_due(descriptor, course, number) for number in range(30))
    return [due for due in found if due is not None]


@given(wishes, courses)
def test_every_report_holds_intervals_that_are_over_or_to_come(descriptor: ReportDescriptor, course: Course) -> None:
    made = reports(descriptor, course)
    assert [due.number for due in made] == list(range(len(made)))
    assert all(a.at < b.at for a, b in itertools.pairwise(made))
    assert descriptor.repeat == FOR_EVER or len(made) <= descriptor.repeat
    for due in made:
        starts = [slot.start for slot in due.slots]
        assert starts == sorted(set(starts))
        if descriptor.historical:
            assert max(slot.end for slot in due.slots if slot.end is not None) == due.at
        else:
            assert starts[0] == due.at


@given(counts, st.sampled_from([-1, 1, 2, 3, 5]))
def test_every_interval_is_reported_once_where_reports_follow_each_other(count: int, frequency: int) -> None:
    made = reports(asks(frequency=frequency, repeat=FOR_EVER), quarters(count))
    assert [slot.id for due in made for slot in due.slots] == list(range(10, 10 + count))


@given(wishes, courses, st.integers(0, 30))
def test_the_first_number_is_the_latest_that_has_passed(
    descriptor: ReportDescriptor, course: Course, passed: int
) -> None:
    now = START + QUARTER * passed
    number = first_number(descriptor, course, now)
    following = report_due(descriptor, course, number + 1)
    assert following is None or following.at > now
    if number:
        due = report_due(descriptor, course, number)
        assert due is not None
        assert due.at <= now


@given(wishes, st.lists(st.builds(Target, st.text(max_size=5), st.text(max_size=5)), max_size=3))
def test_a_descriptor_comes_back_from_the_store_as_it_was(descriptor: ReportDescriptor, targets: list[Target]) -> None:
    kept = ReportDescriptor(payload_type="Ü", units="KWH", targets=tuple(targets), repeat=descriptor.repeat)
    assert read_descriptor(write_descriptor(kept)) == kept
    assert timing_of(kept) == timing_of(ReportDescriptor(payload_type="X", targets=kept.targets, repeat=kept.repeat))


def test_an_edited_store_is_refused() -> None:
    for text in ("", "[]", "{}", '{"targets": []}', '{"targets": [1], "payload_type": "A"}'):
        with pytest.raises(InvalidInput, match="no descriptor"):
            read_descriptor(text)


@pytest.mark.parametrize(
    ("length", "is_implied"),
    [(None, False), (ZERO, False), (minutes(60), True), (IsoDuration(text="P9999Y", is_endless=True), False)],
    ids=["none", "zero", "hour", "endless"],
)
def test_a_period_without_intervals_implies_them(length: IsoDuration | None, *, is_implied: bool) -> None:
    event = WireEvent(meta=Meta(id="e"), program_id="p", period=IntervalPeriod(start=NOW, duration=length))
    bare = Schedule(start=START, end=None, slots=(), cycle=None, shift=timedelta(0))
    found = course_of(event, bare)
    assert (found is not None) == is_implied
    assert course_of(event, None) is None


@pytest.mark.parametrize(
    ("until", "number"), [(0.0, 0), (1.0, 0), (2.0, 1), (3.0, 1), (4.0, 2), (6.0, 3)], ids=lambda value: f"{value:g}"
)
def test_a_changed_event_goes_on_after_what_was_reported(until: float, number: int) -> None:
    assert resumed_number(asks(frequency=2, repeat=FOR_EVER), quarters(6), START + until * QUARTER) == number
