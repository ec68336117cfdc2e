"""When updates are due, which intervals they cover, and what of the readings can be sent."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.signals import ReportRequest, UsageReading
from gateway.domain.timegrid import TimeGrid
from gateway.openadr.v20b.report_requests import Problem, accept, carry_on
from gateway.openadr.v20b.report_schedule import due_at, floor_to, is_finished, ready_grids
from gateway.openadr.v20b.reports import sendable
from gateway.openadr.v20b.settings import ReportPoint, VenSettings
from gateway.openadr.v20b.wire_reports import WireReportRequest

NOW = datetime(2025, 10, 15, 8, 0, 42, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
NOTHING = timedelta(0)
SETTINGS = VenSettings(
    authority="vtn:test",
    tenant="demo",
    vtn_url="https://vtn.example/OpenADR2/Simple/2.0b",
    ven_name="v",
    market_contexts=("http://grid.example/dr",),
    own_nodes=("vpp-be",),
    report_points=(
        ReportPoint(r_id="a", node="vpp-be", resource_id="vpp-be"),
        ReportPoint(r_id="b", node="site-01", resource_id="site-01"),
    ),
)


def wish(
    granularity: timedelta = MINUTE,
    report_back: timedelta = 2 * MINUTE,
    start: datetime | None = None,
    duration: timedelta | None = None,
    r_ids: tuple[str, ...] = ("a",),
    specifier: str = "telemetry-usage",
    request_id: str = "RR",
) -> WireReportRequest:
    return WireReportRequest(
        request_id=request_id,
        specifier_id=specifier,
        granularity=granularity,
        report_back=report_back,
        start=start,
        duration=duration,
        r_ids=r_ids,
    )


def accepted(wanted: WireReportRequest, now: datetime = NOW) -> ReportRequest:
    request = accept(wanted, SETTINGS, now)
    assert isinstance(request, ReportRequest)
    return request


def play(
    request: ReportRequest, until: datetime, most: int = 1000
) -> list[tuple[datetime, list[tuple[datetime, datetime]]]]:
    """Send every update the moment it is due; return when, and the intervals it covered."""
    sent = []
    while (due := due_at(request)) is not None and due <= until:
        grids = ready_grids(request, due, most)
        assert grids, "due, but nothing to send"
        slots = [slot for grid in grids for slot in (grid.slot(index) for index in range(grid.count))]
        sent.append((due, [(slot.start, slot.end or due) for slot in slots]))
        request = replace(request, reported_until=grids[-1].end)
    return sent


def test_ten_minutes_of_minutes_every_two_minutes() -> None:
    start = NOW + timedelta(seconds=15)
    sent = play(accepted(wish(start=start, duration=10 * MINUTE)), NOW + timedelta(hours=1))
    assert [when - start for when, _ in sent] == [2 * MINUTE, 4 * MINUTE, 6 * MINUTE, 8 * MINUTE, 10 * MINUTE]
    assert all(len(slots) == 2 for _, slots in sent)


def test_ninety_seconds_stay_ninety_seconds() -> None:
    request = accepted(wish(granularity=timedelta(seconds=90), report_back=2 * MINUTE))
    sent = play(request, NOW + timedelta(minutes=20))
    starts = [slot[0] for _, slots in sent for slot in slots]
    assert {later - earlier for earlier, later in itertools.pairwise(starts)} == {timedelta(seconds=90)}
    assert all(slots[-1][1] <= when for when, slots in sent)


def test_one_shot_is_the_last_complete_interval_at_once() -> None:
    request = accepted(wish(granularity=NOTHING, report_back=NOTHING))
    assert (request.start, request.end) == (NOW.replace(minute=59, second=0, hour=7), NOW.replace(second=0))
    assert due_at(request) == request.end
    assert play(request, NOW) == [(request.end, [(request.start, request.end)])]


def test_one_shot_in_the_future_waits_for_its_moment() -> None:
    request = accepted(wish(granularity=NOTHING, report_back=NOTHING, start=NOW + timedelta(hours=1), duration=NOTHING))
    assert due_at(request) == floor_to(NOW + timedelta(hours=1), MINUTE)


def test_on_change_is_served_at_the_finest_sampling() -> None:
    request = accepted(wish(granularity=NOTHING, report_back=MINUTE))
    assert (request.granularity, request.report_back, request.end) == (MINUTE, MINUTE, None)


def test_no_report_back_is_one_report_at_the_end() -> None:
    request = accepted(wish(report_back=NOTHING, start=NOW - timedelta(minutes=30), duration=timedelta(minutes=30)))
    sent = play(request, NOW)
    assert len(sent) == 1
    assert len(sent[0][1]) == 30


def test_no_report_back_and_no_end_is_one_report_per_interval() -> None:
    assert accepted(wish(report_back=NOTHING)).report_back == MINUTE


def test_a_tail_shorter_than_the_granularity_is_sent_too() -> None:
    start = datetime(2025, 10, 15, 8, 0, tzinfo=UTC)
    sent = play(accepted(wish(start=start, duration=timedelta(seconds=150))), NOW + timedelta(hours=1))
    assert sent[-1][1][-1] == (start + 2 * MINUTE, start + timedelta(seconds=150))


def test_without_a_start_it_begins_with_the_running_interval() -> None:
    request = accepted(wish(granularity=timedelta(minutes=15), report_back=timedelta(minutes=15)))
    assert request.start == datetime(2025, 10, 15, 8, 0, tzinfo=UTC)
    assert due_at(request) == datetime(2025, 10, 15, 8, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        (wish(specifier="else"), 461),
        (wish(granularity=timedelta(seconds=1)), 461),
        (wish(r_ids=()), 452),
        (wish(r_ids=("a", "c")), 452),
        (wish(request_id=""), 452),
        (wish(granularity=-MINUTE), 454),
        (wish(report_back=-MINUTE), 454),
        (wish(start=NOW, duration=-MINUTE), 454),
        (wish(start=NOW.replace(year=9999), duration=timedelta(days=9_999)), 454),
        (wish(start=NOW.replace(year=1)), 454),
        (wish(granularity=timedelta(days=36_000)), 454),
        (wish(report_back=timedelta(days=36_000)), 454),
    ],
)
def test_wishes_that_are_not_served(wanted: WireReportRequest, code: int) -> None:
    problem = accept(wanted, SETTINGS, NOW)
    assert isinstance(problem, Problem)
    assert problem.code == code


SPANS = st.integers(60, 4_000).map(lambda seconds: timedelta(seconds=seconds))


@given(SPANS, st.one_of(SPANS, st.just(NOTHING)), st.one_of(SPANS, st.none()), st.integers(1, 5))
def test_no_interval_is_lost_or_sent_twice(
    granularity: timedelta, report_back: timedelta, duration: timedelta | None, most: int
) -> None:
    request = accepted(wish(granularity, report_back, start=NOW, duration=duration))
    horizon = NOW + timedelta(hours=6)
    sent = play(request, horizon, most)
    slots = [slot for _, update in sent for slot in update]
    assert all(one[1] == other[0] for one, other in itertools.pairwise(slots))
    assert not slots or slots[0][0] == NOW
    if duration is not None:
        assert slots[-1][1] == NOW + duration
    if duration is None:
        assert slots[-1][1] > horizon - granularity - request.report_back
    assert all(slot[1] <= when for when, update in sent for slot in update)


@given(SPANS, SPANS, st.integers(1, 100_000))
def test_a_backlog_is_sent_in_pieces_that_add_up(granularity: timedelta, report_back: timedelta, late: int) -> None:
    request = accepted(wish(granularity, report_back, start=NOW))
    now = NOW + timedelta(seconds=late)
    reached = request.reported_until
    for _ in range(2_000):
        grids = ready_grids(request, now, 3)
        if not grids:
            break
        assert grids[0].start == reached
        reached = grids[-1].end
        request = replace(request, reported_until=reached)
    due = due_at(request)
    assert due is not None
    assert due > now


def test_finished_is_cancelled_or_reported_to_the_end() -> None:
    request = accepted(wish(start=NOW, duration=10 * MINUTE))
    assert not is_finished(request)
    assert is_finished(replace(request, cancelled=True))
    assert is_finished(replace(request, reported_until=NOW + 10 * MINUTE))
    assert due_at(replace(request, cancelled=True)) is None


def test_a_request_under_a_new_id_goes_on_where_the_old_one_was() -> None:
    old = replace(accepted(wish()), reported_until=NOW - 5 * MINUTE)
    new = carry_on(accepted(wish(request_id="RR-2")), [old])
    assert (new.start, new.reported_until) == (NOW - 5 * MINUTE, NOW - 5 * MINUTE)
    other = accepted(wish(request_id="RR-3", r_ids=("b",)))
    assert carry_on(other, [old]) == other


GRID = TimeGrid(start=NOW, step=MINUTE, count=3)


def readings(*powers: float | None, coverage: float = 1.0) -> list[UsageReading]:
    return [
        UsageReading(start=NOW + i * MINUTE, end=NOW + (i + 1) * MINUTE, power_kw=power, coverage=coverage)
        for i, power in enumerate(powers)
    ]


def test_known_readings_are_sent_with_confidence_and_quality() -> None:
    until, values = sendable([(GRID, {"a": readings(1.0, 0.0, 3.0, coverage=0.5)})], NOW)
    assert until == GRID.end
    assert [(value.start, value.value, value.confidence) for value in values] == [
        (NOW, 1.0, 50),
        (NOW + MINUTE, 0.0, 50),
        (NOW + 2 * MINUTE, 3.0, 50),
    ]
    assert {value.quality for value in values} == {"Quality Uncertain - Sub Normal"}
    _, values = sendable([(GRID, {"a": readings(1.0, 2.0, 3.0)})], NOW)
    assert {value.quality for value in values} == {"Quality Good - Non Specific"}


def test_a_missing_reading_is_waited_for_and_then_left_out() -> None:
    series = [(GRID, {"a": readings(1.0, None, 3.0)})]
    until, values = sendable(series, NOW)
    assert until == NOW + MINUTE
    assert [value.value for value in values] == [1.0]
    until, values = sendable(series, NOW + 2 * MINUTE)
    assert until == GRID.end
    assert [value.value for value in values] == [1.0, 3.0]


def test_nothing_known_yet_is_no_progress() -> None:
    assert sendable([(GRID, {"a": readings(None, 2.0, 3.0)})], NOW) == (None, ())
    assert sendable([(GRID, {"a": []})], NOW) == (None, ())
    assert sendable([(GRID, {"a": readings(float("nan"), 2.0, 3.0)})], NOW) == (None, ())


def test_a_point_that_cannot_be_read_holds_up_no_other() -> None:
    until, values = sendable([(GRID, {"a": readings(1.0, 2.0, 3.0), "b": None})], NOW)
    assert until == GRID.end
    assert {value.r_id for value in values} == {"a"}


def test_a_point_that_is_late_holds_up_all_so_that_nothing_is_lost() -> None:
    until, values = sendable([(GRID, {"a": readings(1.0, 2.0, 3.0), "b": readings(1.0, None, None)})], NOW)
    assert until == NOW + MINUTE
    assert [(value.r_id, value.value) for value in values] == [("a", 1.0), ("b", 1.0)]
