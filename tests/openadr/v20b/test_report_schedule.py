"""When updates are due, which intervals they cover, and what of the readings can be sent."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import InvalidInput
from gateway.domain.signals import ReportRequest, ResourceStatus, UsageReading
from gateway.domain.timegrid import TimeGrid
from gateway.openadr.v20b.report_catalogue import DataPoint, Quantity, ReportKind, offers_of
from gateway.openadr.v20b.report_requests import Problem, accept, carry_on, is_repetition
from gateway.openadr.v20b.report_schedule import (
    border_after,
    due_at,
    floor_to,
    grids_between,
    is_finished,
    next_metadata,
    position_of,
    ready_until,
    slot_of,
)
from gateway.openadr.v20b.report_values import known_values, status_mark, status_value
from gateway.openadr.v20b.settings import ReportPoint, VenSettings
from gateway.openadr.v20b.wire_reports import ControlRange, LoadStatus, WireReportRequest

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


def moved(request: ReportRequest, until: datetime) -> ReportRequest:
    return replace(request, reported_until=until, reached=(until,) * len(request.r_ids))


def play(
    request: ReportRequest, until: datetime, most: int = 1000
) -> list[tuple[datetime, list[tuple[datetime, datetime]]]]:
    """Send every update the moment it is due; return when, and the intervals it covered."""
    sent = []
    while (due := due_at(request)) is not None and due <= until:
        border = ready_until(request, due)
        assert border is not None
        grids = grids_between(request, position_of(request), border, most)
        assert grids, "due, but nothing to send"
        slots = [slot for grid in grids for slot in (grid.slot(index) for index in range(grid.count))]
        sent.append((due, [(slot.start, slot.end or due) for slot in slots]))
        request = moved(request, grids[-1].end)
    return sent


def test_a29_ten_minutes_of_minutes_every_two_minutes() -> None:
    start = NOW + timedelta(seconds=15)
    sent = play(accepted(wish(start=start, duration=10 * MINUTE)), NOW + timedelta(hours=1))
    assert [when - start for when, _ in sent] == [2 * MINUTE, 4 * MINUTE, 6 * MINUTE, 8 * MINUTE, 10 * MINUTE]
    assert all(len(slots) == 2 for _, slots in sent)


def test_a30_ninety_seconds_stay_ninety_seconds() -> None:
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


def test_usage_on_change_is_served_at_the_finest_sampling() -> None:
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
        (wish(start=NOW - timedelta(days=70)), 454),
        (wish(duration=timedelta(days=70), specifier="history-usage"), 454),
        (wish(specifier="telemetry-status"), 452),
        (wish(specifier="telemetry-status", r_ids=("a-status",), granularity=timedelta(seconds=5)), 461),
        (wish(specifier="METADATA", request_id=""), 452),
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
        border = ready_until(request, now)
        grids = () if border is None else grids_between(request, reached, border, 3)
        if not grids:
            break
        assert grids[0].start == reached
        reached = grids[-1].end
        request = moved(request, reached)
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
POWER = DataPoint(r_id="a", node="vpp-be", resource_id="vpp-be", quantity=Quantity.POWER)
ENERGY = DataPoint(r_id="a-energy", node="vpp-be", resource_id="vpp-be", quantity=Quantity.ENERGY)
STATUS = DataPoint(r_id="a-status", node="vpp-be", resource_id="vpp-be", quantity=Quantity.STATUS)


def readings(*powers: float | None, coverage: float = 1.0) -> list[UsageReading]:
    return [
        UsageReading(start=NOW + i * MINUTE, end=NOW + (i + 1) * MINUTE, power_kw=power, coverage=coverage)
        for i, power in enumerate(powers)
    ]


def test_known_readings_are_sent_with_confidence_and_quality() -> None:
    until, values = known_values(POWER, [(GRID, readings(1.0, 0.0, 3.0, coverage=0.5))], NOW)
    assert until == GRID.end
    assert [(value.start, value.value, value.confidence) for value in values] == [
        (NOW, 1.0, 50),
        (NOW + MINUTE, 0.0, 50),
        (NOW + 2 * MINUTE, 3.0, 50),
    ]
    assert {value.quality for value in values} == {"Quality Uncertain - Sub Normal"}
    _, values = known_values(POWER, [(GRID, readings(1.0, 2.0, 3.0))], NOW)
    assert {value.quality for value in values} == {"Quality Good - Non Specific"}


def test_energy_is_power_times_time() -> None:
    _, values = known_values(ENERGY, [(GRID, readings(60.0, 0.0, 120.0))], NOW)
    assert [(value.r_id, value.value) for value in values] == [("a-energy", 1.0), ("a-energy", 0.0), ("a-energy", 2.0)]


def test_a34_a_missing_reading_is_waited_for_and_then_left_out() -> None:
    series = [(GRID, readings(1.0, None, 3.0))]
    until, values = known_values(POWER, series, NOW)
    assert until == NOW + MINUTE
    assert [value.value for value in values] == [1.0]
    until, values = known_values(POWER, series, NOW + 2 * MINUTE)
    assert until == GRID.end
    assert [value.value for value in values] == [1.0, 3.0]


def test_nothing_known_yet_is_no_progress() -> None:
    assert known_values(POWER, [(GRID, readings(None, 2.0, 3.0))], NOW) == (None, [])
    assert known_values(POWER, [(GRID, [])], NOW) == (None, [])
    assert known_values(POWER, [(GRID, readings(float("nan"), 2.0, 3.0))], NOW) == (None, [])


def test_a_point_that_is_gone_is_passed_over() -> None:
    assert known_values(POWER, [(GRID, None)], NOW) == (GRID.end, [])


def resource(**changes: Any) -> ResourceStatus:
    plain = ResourceStatus(at=NOW, is_online=True, is_overridden=False, power_kw=10.0, limit_kw=40.0, rating_kw=100.0)
    return replace(plain, **{"floor_kw": 8.0, **changes})


def test_a_status_says_where_the_controls_stand() -> None:
    value = status_value(STATUS, resource(), NOW, MINUTE)
    assert value.value == LoadStatus(
        is_online=True,
        is_overridden=False,
        capacity=ControlRange(current=0.4, low=0.08, high=1.0, normal=1.0),
        set_point=ControlRange(current=40.0, low=8.0, high=100.0, normal=100.0),
    )
    assert value.quality == "Quality Good - Non Specific"
    assert status_value(STATUS, resource(is_overridden=True), NOW, MINUTE).quality == "Quality Good - Local Override"


@pytest.mark.parametrize(
    ("power_kw", "share"), [(55.0, 0.55), (10.0, 0.4), (None, 1.0)], ids=["more", "less", "unknown"]
)
def test_where_a_limit_is_not_kept_the_capacity_is_what_is_drawn(power_kw: float | None, share: float) -> None:
    value = status_value(STATUS, resource(is_short=True, power_kw=power_kw), NOW, MINUTE).value
    assert isinstance(value, LoadStatus)
    assert value.capacity is not None
    assert value.capacity.current == share
    assert value.set_point is not None
    assert value.set_point.current == 40.0, "what was ordered stays what was ordered"


def test_a_node_without_a_rating_has_no_share_of_it() -> None:
    value = status_value(STATUS, resource(rating_kw=0.0, limit_kw=0.0), NOW, MINUTE).value
    assert isinstance(value, LoadStatus)
    assert value.capacity is None


def test_an_unknown_status_is_never_online() -> None:
    value = status_value(STATUS, resource(is_online=None), NOW, MINUTE)
    assert isinstance(value.value, LoadStatus)
    assert value.value.is_online is False
    assert value.quality == "Quality Bad - Not Connected"


@pytest.mark.parametrize(
    ("changes", "is_change"),
    [
        ({"power_kw": 99.0}, False),
        ({"floor_kw": 1.0}, False),
        ({"at": NOW + MINUTE}, False),
        ({"is_online": None}, True),
        ({"is_online": False}, True),
        ({"is_overridden": True}, True),
        ({"limit_kw": 39.0}, True),
        ({"rating_kw": 90.0}, True),
        ({"is_short": True}, True),
    ],
    ids=["power", "floor", "time", "unknown", "offline", "overridden", "limit", "rating", "not-kept"],
)
def test_what_counts_as_a_change(changes: dict[str, Any], is_change: bool) -> None:
    assert (status_mark(resource(**changes)) != status_mark(resource())) is is_change


def status_wish(granularity: timedelta, report_back: timedelta, **more: Any) -> ReportRequest:
    return accepted(wish(granularity, report_back, specifier="telemetry-status", r_ids=("a-status",), **more))


def test_a28_a_status_at_once_is_one_look() -> None:
    request = status_wish(NOTHING, NOTHING)
    assert (request.start, request.end, due_at(request)) == (NOW, NOW + timedelta(seconds=1), NOW)
    assert due_at(moved(request, NOW + timedelta(seconds=1))) is None


def test_a_status_every_minute_is_looked_at_when_the_minute_begins() -> None:
    request = status_wish(MINUTE, 2 * MINUTE, start=NOW + timedelta(seconds=15), duration=5 * MINUTE)
    start = NOW + timedelta(seconds=15)
    assert due_at(request) == start
    assert slot_of(request, start + timedelta(seconds=70)) == start + MINUTE
    assert [border_after(request, start + i * MINUTE) - start for i in range(5)] == [
        2 * MINUTE,
        2 * MINUTE,
        4 * MINUTE,
        4 * MINUTE,
        5 * MINUTE,
    ]


def test_a_status_on_change_is_looked_at_often_and_told_at_its_borders() -> None:
    request = status_wish(NOTHING, MINUTE, start=NOW + 2 * MINUTE)
    assert (request.is_on_change, request.granularity, request.end) == (True, SETTINGS.status_every, None)
    assert border_after(request, NOW + 2 * MINUTE + timedelta(seconds=30)) == NOW + 3 * MINUTE


@pytest.mark.parametrize(
    ("start", "duration", "granularity", "first", "last"),
    [
        (None, None, NOTHING, -192, 0),
        (NOW, NOTHING, NOTHING, -192, 0),
        (NOW, NOTHING, 15 * MINUTE, -192 * 15, 0),
        (NOW - 30 * MINUTE, NOTHING, NOTHING, -30, 0),
    ],
    ids=["nothing-said", "now-without-end", "quarters", "from-a-past-instant"],
)
def test_a31_the_whole_history(
    start: datetime | None, duration: timedelta | None, granularity: timedelta, first: int, last: int
) -> None:
    request = accepted(wish(granularity, NOTHING, start=start, duration=duration, specifier="history-usage"))
    border = floor_to(NOW, granularity or MINUTE)
    begin = NOW - 30 * MINUTE if first == -30 else border + first * MINUTE
    assert (request.start, request.end) == (begin, border + last * MINUTE)
    assert request.end is not None
    assert first == -30 or (request.end - request.start) // request.granularity >= 100


def test_a31_a_part_of_the_history_is_exactly_that_part() -> None:
    request = accepted(wish(NOTHING, NOTHING, start=NOW - 30 * MINUTE, duration=30 * MINUTE, specifier="history-usage"))
    ((when, slots),) = play(request, NOW)
    assert when == NOW
    assert slots == [(NOW + (i - 30) * MINUTE, NOW + (i - 29) * MINUTE) for i in range(30)]


def test_metadata_once_and_every_minute() -> None:
    once = accepted(wish(NOTHING, NOTHING, specifier="METADATA", r_ids=("anything",)))
    assert (once.kind, once.r_ids, due_at(once)) == (ReportKind.METADATA, (), NOW)
    assert is_finished(replace(once, reported_until=next_metadata(once, NOW)))
    often = accepted(wish(NOTHING, MINUTE, start=NOW, duration=2 * MINUTE, specifier="METADATA"))
    assert due_at(often) == NOW
    often = replace(often, reported_until=next_metadata(often, NOW + timedelta(seconds=3)))
    assert due_at(often) == NOW + MINUTE
    assert is_finished(replace(often, reported_until=next_metadata(often, NOW + MINUTE)))


def test_the_same_words_are_the_same_request_whenever_they_are_heard() -> None:
    wanted = wish(NOTHING, NOTHING, start=NOW)
    assert is_repetition(accepted(wanted, NOW + 5 * MINUTE), accepted(wanted))
    assert not is_repetition(accepted(wish(NOTHING, NOTHING, start=NOW + MINUTE)), accepted(wanted))
    assert not is_repetition(accepted(replace(wanted, r_ids=("b",))), accepted(wanted))


def test_a_data_point_that_is_named_twice_is_reported_once() -> None:
    assert accepted(wish(r_ids=("a", "b", "a"))).r_ids == ("a", "b")


@given(SPANS, st.one_of(SPANS, st.just(NOTHING)), st.one_of(SPANS, st.none()), st.integers(0, 20_000))
def test_every_status_goes_out_after_it_was_seen_and_before_the_end(
    granularity: timedelta, report_back: timedelta, duration: timedelta | None, late: int
) -> None:
    request = status_wish(granularity, report_back, start=NOW, duration=duration)
    now = NOW + timedelta(seconds=late)
    slot = slot_of(request, now)
    assert slot <= now < slot + request.granularity
    if request.end is None or slot < request.end:
        border = border_after(request, slot)
        assert slot < border <= (request.end or border)
        assert border - slot <= (request.report_back or border - slot)


def test_what_is_offered_has_an_id_of_its_own() -> None:
    offers = offers_of(SETTINGS)
    assert {key: sorted(offer.points) for key, offer in offers.items()} == {
        "telemetry-usage": ["a", "a-energy", "b", "b-energy"],
        "telemetry-status": ["a-status", "b-status"],
        "history-usage": ["a", "a-energy", "b", "b-energy"],
    }
    assert offers["history-usage"].span // offers["history-usage"].min_period >= 100
    assert offers_of(replace(SETTINGS, report_points=())) == {}


def test_a_coarser_past_may_be_longer() -> None:
    request = accepted(wish(granularity=15 * MINUTE, start=NOW - timedelta(days=700)))
    assert request.start == NOW - timedelta(days=700)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"history_points": 99}, "openadr.history_points"),
        ({"status_every": NOTHING}, "openadr.status_every"),
        (
            {
                "report_points": (
                    ReportPoint(r_id="depot", node="n", resource_id="x"),
                    ReportPoint(r_id="depot-power", node="m", resource_id="y"),
                )
            },
            "openadr.report_points",
        ),
    ],
    ids=["history", "status", "same-ids"],
)
def test_settings_that_cannot_be_served_are_refused(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        replace(SETTINGS, **changes)
    assert caught.value.field == field
