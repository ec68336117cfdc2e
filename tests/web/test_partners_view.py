"""What the utility's page says in words."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.programs import PendingReport, ReportDuty
from gateway.domain.signals import EventInterval, Instruction, OptType, ReportRequest
from gateway.ports import PartnerExchange, PartnerStanding
from gateway.web import partners_view as view
from gateway.web.partners_view import _WORDS
from tests.web.partners_scene import grid_event

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)
HERE = ZoneInfo("Europe/Brussels")
HOUR = timedelta(hours=1)


def interval(instruction: Instruction, value: float, **more: Any) -> EventInterval:
    return EventInterval(start=NOW, end=NOW + HOUR, instruction=instruction, value=value, signal_id="s", **more)


def test_every_instruction_has_words() -> None:
    assert set(_WORDS) | {Instruction.ALERT, Instruction.INFORMATION} == set(Instruction)


def test_what_intervals_ask_is_one_phrase_each() -> None:
    asked = [
        interval(Instruction.IMPORT_LIMIT_KW, 40.0),
        interval(Instruction.IMPORT_LIMIT_KW, 12.5),
        interval(Instruction.PRICE, 80.0, currency="EUR"),
        interval(Instruction.ALERT, 0.0, text="stay home"),
        interval(Instruction.SIMPLE_LEVEL, 2.0),
    ]
    assert view.asks_text(asked) == "draw at most 12.5 to 40 kW, price 80 EUR per MWh, stay home, SIMPLE level 2"
    assert view.asks_text([]) == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (-5, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3_725, "1 h 2 min"),
        (86_400, "1 d"),
        (90_061, "1 d 1 h"),
    ],
)
def test_durations_in_two_units(seconds: float, text: str) -> None:
    assert view.duration_text(timedelta(seconds=seconds)) == text


@given(st.integers(min_value=0, max_value=10**8))
def test_a_duration_never_loses_its_largest_unit(seconds: int) -> None:
    text = view.duration_text(timedelta(seconds=seconds))
    assert text.count(" ") in {1, 3}
    sizes = {"d": 86_400, "h": 3_600, "min": 60, "s": 1}
    words = text.split()
    told = sum(int(words[i]) * sizes[words[i + 1]] for i in range(0, len(words), 2))
    assert 0 <= seconds - told < max(sizes[words[1]] // 24, 1) + 60


def test_who_may_decide_and_what() -> None:
    coming = grid_event("e", NOW + HOUR, opt_deadline=NOW + timedelta(minutes=5))
    assert view.may_decide(coming, NOW)
    assert not view.may_decide(coming, NOW + timedelta(minutes=5))
    assert not view.may_decide(grid_event("e", NOW - 3 * HOUR), NOW)
    assert not view.may_decide(grid_event("e", NOW + HOUR, is_binding=True), NOW)
    assert not view.may_decide(grid_event("e", NOW + HOUR, test_event=True), NOW)
    assert view.other_opt(coming) == (OptType.OPT_OUT,)
    assert set(view.other_opt(grid_event("e", NOW, opt=None))) == set(OptType)


def test_events_that_run_or_come_stand_first() -> None:
    starts = {"late": 5, "soon": 1, "running": -0.5, "done": -2, "long done": -9}
    events = [grid_event(name, NOW + hours * HOUR) for name, hours in starts.items()]
    lines = view.event_lines(events, NOW, HERE, 4)
    assert [line.event_id for line in lines] == ["running", "soon", "late", "done"]
    assert view.span_text(NOW, NOW + HOUR, HERE) == "15 Jan 13:00 to 14:00"
    assert view.span_text(NOW, NOW + 24 * HOUR, HERE) == "15 Jan 13:00 to 16 Jan 13:00"
    assert view.span_text(NOW, None, HERE) == "15 Jan 13:00 until cancelled"


def request(**changes: object) -> ReportRequest:
    fields: dict[str, object] = {
        "id": "a:1",
        "tenant": "t",
        "authority": "a",
        "report_request_id": "1",
        "report_specifier_id": "usage",
        "r_ids": (),
        "granularity": timedelta(minutes=1),
        "report_back": timedelta(minutes=15),
        "start": NOW - HOUR,
        "end": None,
        "reported_until": NOW - HOUR / 2,
    }
    return ReportRequest(**(fields | changes))  # type: ignore[arg-type]  # fields of any kind


def test_reports_say_how_far_they_are() -> None:
    pending = [
        PendingReport(id="1", tenant="t", authority="a", request="a:1", body="", made_at=NOW),
        PendingReport(id="2", tenant="t", authority="a", request="a:1", body="", made_at=NOW, sent_at=NOW),
        PendingReport(id="3", tenant="t", authority="a", request="a:1", body="", made_at=NOW, dropped_at=NOW),
    ]
    duty = ReportDuty(
        id="a:e:0", tenant="t", authority="a", event_id="e", version=0, index=0, descriptor="nonsense", is_finished=True
    )
    requests = [
        request(),
        request(id="a:2", is_on_change=True, cancelled=True),
        request(id="a:3", report_back=timedelta(0), end=NOW, reported_until=NOW),
    ]
    lines = view.report_lines(requests, [duty], pending, NOW, HERE)
    assert [(line.state, line.cadence, line.sent, line.pending) for line in lines] == [
        ("running", "every 15 min", "1", 1),
        ("done", "frequency -1, repeat 1", "0", 0),
        ("cancelled", "on change", "0", 0),
        ("done", "once", "0", 0),
    ]


def exchange(authority: str, *, is_failed: bool, repeats: int = 1) -> PartnerExchange:
    return PartnerExchange(
        authority=authority,
        at=NOW - timedelta(minutes=3),
        is_ours=True,
        what="poll",
        outcome="",
        is_failed=is_failed,
        sent_bytes=0,
        received_bytes=0,
        repeats=repeats,
    )


def test_partners_are_heard_only_when_they_answered() -> None:
    exchanges = [
        exchange("a", is_failed=True, repeats=4),
        exchange("a", is_failed=False),
        exchange("b", is_failed=True),
    ]
    lines = view.partner_lines(["b", "c"], exchanges, frozenset({"d"}), NOW, 10)
    assert [(one.authority, one.standing, one.failed_count, one.ago) for one in lines] == [
        ("b", "not heard", 1, "3 min ago"),
        ("c", "not heard", 0, "not yet"),
        ("a", "heard", 4, "3 min ago"),
    ]
    [lost] = view.partner_lines(["d"], [exchange("d", is_failed=False)], frozenset({"d"}), NOW, 10)
    assert lost.standing == "lost"


def test_every_event_that_waits_for_a_decision_is_told_however_many_there_are() -> None:
    waiting = [grid_event(f"e{n:02}", NOW + n * HOUR, opt_deadline=NOW + (50 - n) * HOUR / 10) for n in range(1, 41)]
    over = grid_event("over", NOW - 5 * HOUR, opt_deadline=NOW + HOUR)
    late = grid_event("late", NOW + HOUR, opt_deadline=NOW)
    lines = view.waiting_lines([over, late, grid_event("asked nobody", NOW + HOUR), *waiting], NOW, HERE)
    assert [line.event_id for line in lines] == [f"e{n:02}" for n in range(40, 0, -1)]
    assert all(line.deadline for line in lines)


@pytest.mark.parametrize(
    ("state", "ven_id", "said", "is_good"),
    [
        ("registered", "ven-1", "registered as ven-1", True),
        ("registered", "", "registered", True),
        ("unregistered", "ven-1", "not registered", False),
        ("left", "", "left by us", False),
        ("cancelled", "", "registration cancelled by the VTN", False),
    ],
)
def test_how_we_stand_with_a_partner(state: str, ven_id: str, said: str, is_good: bool) -> None:
    standing = PartnerStanding(
        authority="a",
        state=state,
        ven_id=ven_id,
        heard_at=None,
        lost_since=None,
        failures=1,
        last_error="",
        pending_reports=0,
    )
    line = view.standing_line(standing, NOW)
    assert (line.state, line.is_good, line.problem) == (said, is_good, "1 failed attempt")
    assert line.heard == "not heard since the start"
    lost = view.standing_line(replace(standing, lost_since=NOW, failures=0, last_error="no answer"), NOW + HOUR)
    assert (lost.state, lost.is_good) == (f"{said}, lost since 15 Jan 12:00:00Z", False)
    assert lost.problem == "last error: no answer"
