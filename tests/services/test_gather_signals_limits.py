"""From instructions to limits: fallbacks, wishes, offsets, ramps, priorities of equal rank, and the fold as a whole."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.errors import InvalidInput
from gateway.domain.limits import Binding, Direction, Limit, LimitKind, resolve
from gateway.domain.signals import EventInterval, GridEvent, Instruction, OptType
from gateway.domain.timegrid import Interval
from gateway.domain.topology import Node, NodeKind
from gateway.services.gather_signals import ProgramRules
from gateway.services.gather_signals.programs import Circumstances, limits_of_events
from tests.fakes.clock import START
from tests.services.scene import VTN, event

RATING_KW = 200.0
NODE = Node(
    id="vpp",
    tenant="demo",
    parent=None,
    kind=NodeKind.PORTFOLIO,
    name="vpp",
    max_import_kw=RATING_KW,
    max_export_kw=90.0,
    fail_safe_import_kw=20.0,
)


def at(minute: float) -> datetime:
    return START + timedelta(minutes=minute)


def span(start: float, end: float | None) -> Interval:
    return Interval(start=at(start), end=None if end is None else at(end))


def asked(event_id: str, *values: tuple[str, float, float, float | None], **changes: object) -> GridEvent:
    """An opted-in event of intervals (instruction, value, start, end), in minutes from now."""
    intervals = tuple(
        EventInterval(
            start=at(start),
            end=None if end is None else at(end),
            instruction=Instruction(instruction),
            value=value,
            signal_id=instruction,
        )
        for instruction, value, start, end in values
    )
    ends = [end for *_, end in values]
    last = None if None in ends else max(end for end in ends if end is not None)
    plain = replace(
        event(event_id),
        opt=OptType.OPT_IN,
        intervals=intervals,
        active=span(min(start for _, _, start, _ in values), last),
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def fold(*events: GridEvent, rules: ProgramRules | None = None, now: datetime = START) -> list[Limit]:
    chosen = ProgramRules() if rules is None else rules
    return list(
        limits_of_events(events, Circumstances(rules_of=lambda e: chosen, ratings_kw={"vpp": RATING_KW}, now=now))
    )


def resolved(
    limits: list[Limit], minute: float, direction: Direction = Direction.IMPORT, lost: frozenset[str] = frozenset()
) -> float:
    return resolve(NODE, limits, at(minute), direction=direction, lost=lost).kw


# ---------------------------------------------------------------- instructions


@pytest.mark.parametrize(
    ("instruction", "value", "kw"),
    [
        ("level-offset", 0.0, 200.0),
        ("level-offset", 3.0, 200.0),
        ("level-offset", -1.0, 180.0),
        ("level-offset", -2.5, 140.0),
        ("level-offset", -10.0, 0.0),
        ("percent-offset", 0.5, 200.0),
        ("percent-offset", -0.25, 150.0),
        ("percent-offset", -1.0, 0.0),
        ("target-kw", 30.0, 200.0),
        ("state-of-charge", 0.8, 200.0),
        ("charge-kwh", 40.0, 200.0),
        ("demand-charge", 12.0, 200.0),
        ("information", 1.0, 200.0),
    ],
)
def test_offsets_limit_and_what_only_wishes_or_informs_does_not(instruction: str, value: float, kw: float) -> None:
    assert resolved(fold(asked("e", (instruction, value, 0, 60))), 30) == pytest.approx(kw)


def test_offsets_count_from_the_baseline_where_the_program_says_so() -> None:
    event = asked("e", ("percent-offset", -0.25, 0, 60))
    measured = replace(event, intervals=(replace(event.intervals[0], baseline_kw=80.0),))
    assert resolved(fold(measured, rules=ProgramRules(has_measured_normal=True)), 30) == 60.0
    assert resolved(fold(event, rules=ProgramRules(has_measured_normal=True)), 30) == 150.0, (
        "without a past: the rating"
    )


def test_level_tables_must_make_sense() -> None:
    for fractions in ((0.5,) * 9, (0.1, 0.9) * 5, (1.1,) * 10):
        with pytest.raises(InvalidInput, match="level_fraction"):
            ProgramRules(level_fraction=fractions)


def test_export_limits_bind_feeding_in_only() -> None:
    limits = fold(asked("e", ("export-limit-kw", 40.0, 0, 60)))
    assert resolved(limits, 30, Direction.EXPORT) == 40.0
    assert resolved(limits, 30) == RATING_KW
    assert resolved(fold(asked("e", ("export-limit-kw", 400.0, 0, 60))), 30, Direction.EXPORT) == 90.0


def test_a_wish_is_inside_the_limits_and_never_a_limit() -> None:
    limits = fold(asked("e", ("target-kw", 60.0, 0, 60)), asked("f", ("import-limit-kw", 50.0, 30, 60)))
    assert {limit.kind for limit in limits} == {LimitKind.OPTIMUM, LimitKind.LIMIT}
    assert [resolve(NODE, limits, at(m)).optimum_kw for m in (10, 40)] == [60.0, 50.0]
    assert [resolve(NODE, limits, at(m)).kw for m in (10, 40)] == [RATING_KW, 50.0]


def test_a_wish_that_we_did_not_agree_to_is_shown_and_not_wished() -> None:
    [limit] = fold(asked("e", ("target-kw", 60.0, 0, 60), opt=OptType.OPT_OUT))
    assert limit.binding is Binding.VOLUNTARY
    assert resolve(NODE, [limit], at(10)).optimum_kw is None


def test_a_wish_to_feed_in_is_a_wish_not_to_draw() -> None:
    limits = fold(asked("e", ("target-kw", -25.0, 0, 60)))
    assert resolve(NODE, limits, at(10)).optimum_kw == 0.0
    assert resolve(NODE, limits, at(10), direction=Direction.EXPORT).optimum_kw == 25.0


def test_a_wished_change_needs_a_baseline() -> None:
    event = asked("e", ("target-delta-kw", -30.0, 0, 60))
    assert fold(event) == []
    measured = replace(event, intervals=(replace(event.intervals[0], baseline_kw=80.0),))
    assert resolve(NODE, fold(measured), at(10)).optimum_kw == 50.0


def test_b8_import_limits_of_two_half_hours_change_at_their_border() -> None:
    limits = fold(asked("e", ("import-limit-kw", 10.0, 0, 30), ("import-limit-kw", 8.0, 30, 60)))
    assert [resolved(limits, m) for m in (0, 29.99, 30, 59.99, 60)] == [10.0, 10.0, 8.0, 8.0, RATING_KW]


def test_a22_a_set_point_of_several_intervals_changes_at_each_boundary() -> None:
    values = [("import-limit-kw", kw, 10.0 * i, 10.0 * (i + 1)) for i, kw in enumerate((40.0, 30.0, 55.0, 0.0))]
    limits = fold(asked("e", *values))
    second = 1 / 60
    for border, before, after in ((10, 40.0, 30.0), (20, 30.0, 55.0), (30, 55.0, 0.0), (40, 0.0, RATING_KW)):
        assert (resolved(limits, border - second), resolved(limits, border)) == (before, after)


def test_a20_an_open_ended_event_holds_until_it_is_cancelled() -> None:
    event = asked("e", ("import-limit-kw", 30.0, 0, None))
    assert [resolved(fold(event), m) for m in (0, 10_000_000)] == [30.0, 30.0]
    gone = replace(event, cancelled=True, cancelled_at=at(500))
    assert [resolved(fold(gone, now=at(400)), m) for m in (499, 500)] == [30.0, RATING_KW]
    assert fold(gone, now=at(501)) == []


# ---------------------------------------------------------------- subscriptions


def test_b13_the_subscription_applies_when_the_schedule_of_limits_is_exhausted_or_has_a_gap() -> None:
    limits = fold(
        asked("contract", ("import-subscription-kw", 70.0, 0, None)),
        asked("schedule", ("import-limit-kw", 100.0, 0, 15), ("import-limit-kw", 40.0, 30, 45)),
    )
    lost = frozenset({VTN})
    assert [resolved(limits, m, lost=lost) for m in (5, 20, 35, 50)] == [100.0, 70.0, 40.0, 70.0]
    [contract] = [limit for limit in limits if limit.kind is LimitKind.FALLBACK]
    assert (contract.binding, contract.reason) == (Binding.MANDATORY, "subscription of event contract")


def test_b13_without_a_subscription_the_fail_safe_of_the_node_applies() -> None:
    limits = fold(asked("schedule", ("import-limit-kw", 100.0, 0, 15)))
    assert resolved(limits, 20, lost=frozenset({VTN})) == 20.0


def test_a_reservation_adds_to_the_subscription_while_it_lasts() -> None:
    limits = fold(
        asked("contract", ("import-subscription-kw", 70.0, 0, None)),
        asked("more", ("import-reservation-kw", 30.0, 10, 20)),
        asked("less", ("import-reservation-kw", 10.0, 15, 25)),
        asked("far-too-much", ("import-reservation-kw", 500.0, 40, 50)),
    )
    assert [resolved(limits, m) for m in (5, 12, 17, 22, 30, 45)] == [70.0, 100.0, 80.0, 80.0, 70.0, RATING_KW]
    assert any(limit.reason == "subscription of event contract and reservation of event more" for limit in limits)


def test_a_reservation_alone_limits_nothing_and_a_contract_holds_whatever_we_answer() -> None:
    assert fold(asked("more", ("import-reservation-kw", 30.0, 10, 20))) == []
    out = asked("contract", ("import-subscription-kw", 70.0, 0, None), opt=OptType.OPT_OUT)
    assert resolved(fold(out), 30) == 70.0


def test_subscriptions_of_both_directions_stand_side_by_side() -> None:
    limits = fold(asked("c", ("import-subscription-kw", 70.0, 0, None), ("export-subscription-kw", 20.0, 0, None)))
    assert (resolved(limits, 1), resolved(limits, 1, Direction.EXPORT)) == (70.0, 20.0)


# ---------------------------------------------------------------- ramps


RAMP = timedelta(minutes=8)


@pytest.mark.parametrize(
    ("ramps", "expected"),
    [
        (
            {"ramp_up": RAMP},
            {51.9: 200.0, 52: 170.0, 54: 140.0, 57: 110.0, 59.9: 80.0, 60: 50.0, 119: 50.0, 120: 200.0},
        ),
        ({"ramp_up": -RAMP}, {59.9: 200.0, 60: 170.0, 63: 140.0, 67.9: 80.0, 68: 50.0, 119: 50.0, 120: 200.0}),
        ({"recovery": RAMP}, {59.9: 200.0, 60: 50.0, 119.9: 50.0, 120: 80.0, 123: 110.0, 127.9: 170.0, 128: 200.0}),
        ({"recovery": -RAMP}, {60: 50.0, 111.9: 50.0, 112: 80.0, 115: 110.0, 119.9: 170.0, 120: 200.0}),
        ({"ramp_up": -2 * RAMP * 10}, {60: 170.0, 119: 80.0, 120: 200.0}),
    ],
    ids=["before", "after-the-start", "after-the-end", "before-the-end", "longer-than-the-event"],
)
def test_a23_a_limit_is_approached_and_left_in_steps(ramps: dict[str, timedelta], expected: dict[float, float]) -> None:
    limits = fold(asked("e", ("import-limit-kw", 50.0, 60, 120), **ramps))
    assert {m: pytest.approx(resolved(limits, m)) for m in expected} == expected


def test_a23_a_recovery_lasts_beyond_the_end_of_the_event() -> None:
    event = asked("e", ("import-limit-kw", 50.0, 60, 120), recovery=RAMP)
    assert resolved(fold(event, now=at(121)), 123) == pytest.approx(110.0)
    assert fold(event, now=at(128)) == []


def test_a23_a_ramp_never_opens_what_holds_without_it() -> None:
    ramped = asked("first", ("import-limit-kw", 50.0, 60, 120), ramp_up=RAMP, recovery=RAMP, priority=1)
    other = asked("other", ("import-limit-kw", 60.0, 0, 200), priority=2)
    contract = asked("contract", ("import-subscription-kw", 90.0, 0, None))
    limits = fold(ramped, other, contract)
    assert [resolved(limits, m) for m in (50, 53, 90, 121, 150, 210)] == [60.0, 60.0, 50.0, 60.0, 60.0, 90.0]
    assert [resolved(fold(ramped, contract), m) for m in (50, 53, 121, 130)] == [90.0, 90.0, pytest.approx(80.0), 90.0]


# ---------------------------------------------------------------- who goes first


def two(first: dict[str, object], second: dict[str, object]) -> list[Limit]:
    """Two overlapping events of other market contexts: `early` 0 to 60 at 80 kW, `late` 20 to 90 at 40 kW."""
    return fold(
        asked("early", ("import-limit-kw", 80.0, 0, 60), **({"market_context": "http://a.example"} | first)),
        asked("late", ("import-limit-kw", 40.0, 20, 90), **({"market_context": "http://b.example"} | second)),
    )


@pytest.mark.parametrize(
    ("first", "second", "kw"),
    [
        ({"priority": 2}, {"priority": 1}, [80.0, 40.0, 40.0]),
        ({"priority": 1}, {"priority": 2}, [80.0, 80.0, 40.0]),
        ({"priority": None}, {"priority": 2}, [80.0, 40.0, 40.0]),
        ({"priority": 2}, {"priority": None}, [80.0, 80.0, 40.0]),
        ({"priority": 1}, {"priority": 1}, [80.0, 80.0, 40.0]),
        ({"priority": None}, {"priority": None}, [80.0, 80.0, 40.0]),
        ({"priority": 1}, {"priority": 1, "market_context": "http://a.example"}, [80.0, 40.0, 40.0]),
        ({"protocol": "openadr-3.1.0"}, {"protocol": "openadr-3.1.0"}, [80.0, 40.0, 40.0]),
        ({"priority": 1, "opt": OptType.OPT_OUT}, {"priority": 1}, [RATING_KW, 40.0, 40.0]),
        ({"priority": 1, "test_event": True}, {"priority": 1}, [RATING_KW, 40.0, 40.0]),
        ({"priority": 1, "is_dry_run": True}, {"priority": 1}, [RATING_KW, 40.0, 40.0]),
    ],
    ids=[
        "1-beats-2",
        "1-beats-2-whoever-is-first",
        "none-loses-against-2",
        "2-beats-none",
        "equal-first-started-wins",
        "both-none-first-started-wins",
        "equal-in-one-context-hold-together",
        "equal-in-3x-hold-together",
        "not-followed-shadows-nothing",
        "test-shadows-nothing",
        "dry-run-shadows-nothing",
    ],
)
def test_a21_overlapping_events(first: dict[str, object], second: dict[str, object], kw: list[float]) -> None:
    limits = two(first, second)
    assert [resolved(limits, m) for m in (10, 40, 75)] == kw


def test_a21_events_that_start_together_hold_together() -> None:
    limits = fold(
        asked("a", ("import-limit-kw", 80.0, 0, 60), market_context="http://a.example"),
        asked("b", ("import-limit-kw", 40.0, 0, 60), market_context="http://b.example"),
    )
    assert resolved(limits, 30) == 40.0


def test_b9_zero_goes_before_five_and_null() -> None:
    limits = fold(
        asked("five", ("import-limit-kw", 20.0, 0, 60), priority=5, protocol="openadr-3.1.0"),
        asked("zero", ("import-limit-kw", 80.0, 0, 60), priority=0, protocol="openadr-3.1.0"),
        asked("null", ("import-limit-kw", 10.0, 0, 60), priority=None, protocol="openadr-3.1.0"),
    )
    assert resolved(limits, 30) == 80.0
    assert {limit.reason for limit in limits if limit.binding is Binding.VOLUNTARY} == {
        "event five, shadowed by event zero",
        "event null, shadowed by event zero",
    }


def test_a_shadow_of_several_events_is_one_part() -> None:
    wide = asked("wide", ("import-limit-kw", 40.0, 0, 100), priority=9)
    short = [asked(f"s{i}", ("import-limit-kw", 80.0, 10.0 * i, 10.0 * (i + 1)), priority=i) for i in range(2, 6)]
    parts = [limit for limit in fold(wide, *short) if limit.cause == f"event:{wide.id}"]
    assert [(limit.interval, limit.reason) for limit in parts] == [
        (span(0, 20), "event wide"),
        (span(20, 60), "event wide, shadowed by event s2 and others"),
        (span(60, 100), "event wide"),
    ]


def test_an_event_without_import_limits_shadows_none() -> None:
    limits = fold(
        asked("price", ("price", 90.0, 0, 60), ("export-limit-kw", 5.0, 0, 60), ("target-kw", 9.0, 0, 60), priority=0),
        asked("limit", ("import-limit-kw", 40.0, 0, 60), priority=7),
    )
    assert resolved(limits, 30) == 40.0


def test_normal_operation_of_a_higher_priority_lifts_a_limit() -> None:
    limits = fold(
        asked("normal", ("simple-level", 0.0, 10, 20), priority=0),
        asked("limit", ("import-limit-kw", 40.0, 0, 60), priority=7),
    )
    assert [resolved(limits, m) for m in (5, 15, 25)] == [40.0, RATING_KW, 40.0]


def test_binding_events_oblige_whatever_was_answered() -> None:
    [limit] = fold(asked("e", ("import-limit-kw", 40.0, 0, 60), opt=OptType.OPT_OUT, is_binding=True))
    assert limit.binding is Binding.MANDATORY


# ---------------------------------------------------------------- the fold as a whole


events_of_one_place = st.lists(
    st.builds(
        lambda i, kw, start, length, priority, context, opt, protocol: asked(
            f"e{i}",
            ("import-limit-kw", float(kw), float(start), None if length == 0 else float(start + length)),
            priority=priority,
            market_context=f"http://{context}.example",
            opt=opt,
            protocol=protocol,
        ),
        st.integers(0, 10_000),
        st.integers(0, 199),
        st.integers(0, 40),
        st.integers(0, 40),
        st.sampled_from([None, 0, 1, 2]),
        st.sampled_from("abc"),
        st.sampled_from(list(OptType)),
        st.sampled_from(["openadr-2.0b", "openadr-3.1.0"]),
    ),
    max_size=8,
    unique_by=lambda each: each.id,
)


def by_the_book(events: list[GridEvent], minute: float) -> float:
    """The rules of priority, read off event by event."""
    covering = [e for e in events if e.opt is OptType.OPT_IN and e.active.contains(at(minute))]
    if not covering:
        return RATING_KW
    top = min((e.rank, e.active.start) for e in covering)
    first = [e for e in covering if (e.rank, e.active.start) == top]
    contexts = {e.market_context for e in first if e.protocol == "openadr-2.0b"}
    holding = [
        e
        for e in covering
        if e.rank == top[0]
        and (e.active.start == top[1] or e.protocol != "openadr-2.0b" or not contexts or e.market_context in contexts)
    ]
    return min(e.intervals[0].value for e in holding)


@settings(max_examples=200, deadline=None)
@given(events_of_one_place, st.integers(0, 85))
def test_the_fold_says_what_the_rules_say_at_every_instant(events: list[GridEvent], minute: int) -> None:
    limits = fold(*events)
    assert resolved(limits, minute) == by_the_book(events, minute)
    assert resolved(limits, minute + 0.5) == by_the_book(events, minute + 0.5)


@settings(max_examples=100, deadline=None)
@given(events_of_one_place)
def test_the_fold_covers_every_event_once_and_is_the_same_in_any_order(events: list[GridEvent]) -> None:
    limits = fold(*events)
    assert {x.id for x in limits} == {x.id for x in fold(*reversed(events))}
    assert len({x.id for x in limits}) == len(limits)
    for each in events:
        parts = sorted((x.interval for x in limits if x.cause == f"event:{each.id}"), key=lambda i: i.start)
        assert parts[0].start == each.intervals[0].start
        assert parts[-1].end == each.intervals[0].end
        assert all(one.end == other.start for one, other in itertools.pairwise(parts))


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 200), st.integers(-30, 30), st.integers(-30, 30), st.integers(1, 60), st.integers(-40, 140))
def test_a23_a_ramp_stays_between_the_rating_and_the_limit(
    kw: int, ramp: int, recovery: int, length: int, minute: int
) -> None:
    event = asked(
        "e",
        ("import-limit-kw", float(kw), 0, float(length)),
        ramp_up=timedelta(minutes=ramp),
        recovery=timedelta(minutes=recovery),
    )
    limits = fold(event, now=datetime(2025, 1, 1, tzinfo=UTC))
    value = resolved(limits, minute)
    assert kw - 1e-9 <= value <= RATING_KW
    is_on_its_way = -max(ramp, 0) <= minute < length + max(recovery, 0)
    assert value == RATING_KW or is_on_its_way
    if ramp >= 0 and recovery >= 0 and 0 <= minute < length:
        assert value == kw
