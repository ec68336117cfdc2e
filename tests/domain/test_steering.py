"""The state machine of LPC and LPP: every transition by its number, in virtual time, and what must hold in any history."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.errors import InvalidInput, PreconditionFailed
from gateway.domain.limits import Direction
from gateway.domain.steering import (
    CONTROLLED,
    Limitation,
    LimitationRules,
    LimitWrite,
    SteeringState,
    new_limitation,
)

T = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
RULES = LimitationRules()
INIT, LIMITED = SteeringState.INIT, SteeringState.LIMITED
FREE, AUTONOMOUS, FAILSAFE = (
    SteeringState.UNLIMITED_CONTROLLED,
    SteeringState.UNLIMITED_AUTONOMOUS,
    SteeringState.FAILSAFE,
)
OFF = LimitWrite(max_kw=0.0, is_active=False)


def on(max_kw: float, duration_s: float | None = None) -> LimitWrite:
    return LimitWrite(
        max_kw=max_kw, is_active=True, duration=None if duration_s is None else timedelta(seconds=duration_s)
    )


class Run:
    """One box over time, in seconds after T."""

    def __init__(self, rules: LimitationRules = RULES, direction: Direction = Direction.IMPORT) -> None:
        self.rules = rules
        self.now = T
        self.limitation = new_limitation("t", "box-1", direction, rules, T)

    def at(self, second: float) -> "Run":
        assert T + timedelta(seconds=second) >= self.now
        self.now = T + timedelta(seconds=second)
        self.limitation = self.limitation.pass_time(self.rules, self.now)
        return self

    def beat(self) -> "Run":
        self.limitation = self.limitation.heartbeat(self.now)
        return self

    def write(self, word: LimitWrite) -> "Run":
        self.limitation = self.limitation.write(word, self.now)
        return self

    def restart(self) -> "Run":
        self.limitation = self.limitation.restarted(self.now)
        return self

    @property
    def kw(self) -> float | None:
        return self.limitation.in_force_kw(self.rules, self.now)

    @property
    def seen(self) -> tuple[SteeringState, str, float | None]:
        return self.limitation.state, self.limitation.rule, self.kw


def limited(kw: float = 8.0, duration_s: float | None = None) -> Run:
    return Run().at(1).beat().write(on(kw, duration_s))


def free() -> Run:
    return Run().at(1).beat().write(OFF)


def lost() -> Run:
    """In failsafe from 121 s on, after a box that limited nothing."""
    return free().at(200)


def released() -> Run:
    return Run().at(120)


TRANSITIONS: dict[str, tuple[Callable[[], Run], SteeringState, str, float | None]] = {
    "901/1 a start limits to the failsafe": (Run, INIT, "LPC-901/1", 4.2),
    "901/1 so does a restart out of no limit": (lambda: free().at(30).restart(), INIT, "LPC-901/1", 4.2),
    "904 heartbeat and limit leave init": (limited, LIMITED, "LPC-904", 8.0),
    "905 heartbeat and no limit leave init": (free, FREE, "LPC-905", None),
    "906 nobody ever came": (released, AUTONOMOUS, "LPC-906", None),
    "906 not a second early": (lambda: Run().at(119.9), INIT, "LPC-901/1", 4.2),
    "906 a box that says nothing": (lambda: Run().at(60).beat().at(120).beat().at(180), AUTONOMOUS, "LPC-906", None),
    "908 the duration is over": (lambda: limited(8.0, 90).at(60).beat().at(91), FREE, "LPC-908", None),
    "908 not a second early": (lambda: limited(8.0, 90).at(60).beat().at(90.9), LIMITED, "LPC-904", 8.0),
    "909 the limit is taken back": (lambda: limited().at(5).write(OFF), FREE, "LPC-909", None),
    "909 a duration of zero takes it back": (lambda: limited().at(5).write(on(8.0, 0)), FREE, "LPC-909", None),
    "910 a limit while free": (lambda: free().at(5).write(on(5.0)), LIMITED, "LPC-910", 5.0),
    "911 silence while free": (lambda: free().at(121), FAILSAFE, "LPC-911", 4.2),
    "911 not a second early": (lambda: free().at(120.9), FREE, "LPC-905", None),
    "912 silence while limited": (lambda: limited().at(121), FAILSAFE, "LPC-912", 4.2),
    "914 heartbeats keep a limit": (lambda: limited().at(100).beat().at(200).beat().at(319), LIMITED, "LPC-904", 8.0),
    "916 a heartbeat alone does not leave": (lambda: lost().beat().at(250), FAILSAFE, "LPC-911", 4.2),
    "919 heartbeat and limit leave the failsafe": (lambda: lost().beat().write(on(8.0)), LIMITED, "LPC-919", 8.0),
    "919 heartbeat and limit end autonomy": (lambda: released().at(500).beat().write(on(1.0)), LIMITED, "LPC-919", 1.0),
    "920 heartbeat and no limit leave the failsafe": (lambda: lost().beat().write(OFF), FREE, "LPC-920", None),
    "920 heartbeat and no limit end autonomy": (lambda: released().at(500).beat().write(OFF), FREE, "LPC-920", None),
    "921 a box that came back and says nothing": (
        lambda: lost().beat().at(260).beat().at(320),
        AUTONOMOUS,
        "LPC-921",
        None,
    ),
    "921 not a second early": (lambda: lost().beat().at(260).beat().at(319.9), FAILSAFE, "LPC-911", 4.2),
    "921 not when it fell silent again": (lambda: lost().beat().at(320), FAILSAFE, "LPC-911", 4.2),
    "922 not unless configured": (lambda: lost().at(90_000), FAILSAFE, "LPC-911", 4.2),
}


@pytest.mark.parametrize("name", TRANSITIONS)
def test_o27_every_transition(name: str) -> None:
    run, *expected = TRANSITIONS[name]
    assert list(run().seen) == expected


def test_o27_the_story_of_the_case() -> None:
    """No heartbeat: 4.2 kW; heartbeat alone: stays; with 8 kW: 8 kW; it never expires; heartbeat and no limit: leaves."""
    run = free().at(121)
    assert run.seen == (FAILSAFE, "LPC-911", 4.2)
    assert run.at(300).beat().kw == 4.2
    assert run.write(on(8.0)).kw == 8.0
    for minute in range(6, 60 * 48):
        run.at(60.0 * minute).beat()
    assert run.seen == (LIMITED, "LPC-919", 8.0)
    again = free().at(121).at(300).beat().at(360).beat().at(420)
    assert again.seen == (AUTONOMOUS, "LPC-921", None)


def test_922_leaves_after_the_minimum_duration_where_that_was_agreed() -> None:
    run = Run(replace(RULES, leaves_after_minimum=True)).at(1).beat().write(OFF)
    assert run.at(121 + 7_199.9).limitation.state is FAILSAFE
    assert run.at(121 + 7_200).seen == (AUTONOMOUS, "LPC-922", None)


def test_what_was_agreed_can_keep_init_and_failsafe() -> None:
    rules = replace(RULES, leaves_init=False, leaves_without_limit=False)
    assert Run(rules).at(10_000).kw == 4.2
    assert Run(rules).at(60).beat().at(120).beat().at(180).kw == 4.2
    run = Run(rules).at(1).beat().write(OFF).at(200).beat().at(260).beat().at(330)
    assert run.limitation.state is FAILSAFE


def test_906_does_not_release_a_box_that_was_heard_before_our_restart() -> None:
    assert free().at(30).restart().at(10_000).seen == (INIT, "LPC-901/1", 4.2)


def test_a_tighter_limit_outlives_lost_contact_and_restarts_to_its_end() -> None:
    assert limited(2.0).at(121).seen == (FAILSAFE, "LPC-912", 2.0)
    assert limited(2.0).at(30).restart().kw == 2.0
    run = limited(2.0, 600).at(121)
    assert [bound.max_kw for bound in run.limitation.bounds(RULES, run.now)] == [2.0, 4.2]
    assert run.at(601).kw == 4.2
    spoken = limited(2.0).at(200).beat().at(260).beat().at(330).beat().at(600)
    assert spoken.seen == (FAILSAFE, "LPC-912", 2.0), "an endless limit is not given up because time passes"
    ended = limited(2.0, 400).at(200)
    for second in range(200, 500, 50):
        ended.at(second).beat()
    assert ended.at(401 + 60).limitation.state is AUTONOMOUS, "921 holds once the limit has run out"


def test_a_limit_that_ended_before_a_restart_is_not_kept() -> None:
    assert limited(2.0, 30).at(40).restart().kw == 4.2


def test_the_duration_runs_on_while_contact_is_lost() -> None:
    run = limited(2.0, 600).at(121)
    assert run.limitation.limit_until == T + timedelta(seconds=601)


@pytest.mark.parametrize("state", ["init", "failsafe", "autonomous"])
@pytest.mark.parametrize("gap", [60.0, 60.1])
def test_913_a_limit_must_follow_a_heartbeat_within_60_seconds(state: str, gap: float) -> None:
    run = {"init": Run(), "failsafe": lost(), "autonomous": released()}[state]
    start = (run.now - T).total_seconds() + 5
    run.at(start).beat().at(start + gap)
    if gap > 60.0:
        before = run.limitation
        with pytest.raises(PreconditionFailed):
            run.write(on(5.0))
        assert run.limitation == before
    else:
        assert run.write(on(5.0)).limitation.state is LIMITED


def test_a_heartbeat_from_before_the_state_does_not_count() -> None:
    with pytest.raises(PreconditionFailed):
        limited().at(10).restart().write(on(5.0))


def test_rewriting_the_same_value_is_accepted() -> None:
    run = limited(8.0)
    assert run.at(5).write(on(8.0)).seen == (LIMITED, "LPC-904", 8.0)


@pytest.mark.parametrize("kw", [-0.001, float("nan"), float("inf")])
def test_a_limit_that_is_no_power_is_refused(kw: float) -> None:
    with pytest.raises(InvalidInput) as caught:
        on(kw)
    assert caught.value.field == "max_kw"


def test_zero_is_a_limit() -> None:
    assert limited(0.0).kw == 0.0


def test_failsafe_values_are_written_after_a_limit_and_survive_a_restart() -> None:
    with pytest.raises(PreconditionFailed):
        Run().at(1).beat().limitation.write_failsafe(5.0, None)
    run = limited()
    run.limitation = run.limitation.write_failsafe(5.0, timedelta(hours=3))
    assert run.at(30).restart().kw == 5.0
    assert run.limitation.failsafe_duration == timedelta(hours=3)


@pytest.mark.parametrize(
    ("kw", "hours", "field"),
    [(-1.0, 3.0, "failsafe_kw"), (1.0, 1.99, "failsafe_duration"), (1.0, 24.01, "failsafe_duration")],
    ids=["negative", "short", "long"],
)
def test_022_failsafe_values_out_of_range_are_refused(kw: float, hours: float, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        limited().limitation.write_failsafe(kw, timedelta(hours=hours))
    assert caught.value.field == field


def test_o25_no_order_goes_below_what_is_guaranteed_but_production_has_no_floor() -> None:
    rules = replace(RULES, guaranteed_kw=4.2)
    assert Run(rules).at(1).beat().write(on(2.0)).kw == 4.2
    assert Run(replace(rules, failsafe_kw=0.0)).kw == 4.2
    assert Run(rules, Direction.EXPORT).at(1).beat().write(on(0.0)).kw == 0.0


def test_late_is_the_same_as_in_time() -> None:
    late = limited(2.0, 60).limitation.pass_time(RULES, T + timedelta(hours=1))
    run = limited(2.0, 60)
    for second in range(2, 3_600):
        run.at(second)
    assert late == run.limitation
    assert (late.rule, late.since) == ("LPC-911", T + timedelta(seconds=121))


def test_due_says_when_to_look_again() -> None:
    assert Run().limitation.due_at(RULES) == T + timedelta(seconds=120)
    assert limited().limitation.due_at(RULES) == T + timedelta(seconds=121)
    assert limited(8.0, 30).limitation.due_at(RULES) == T + timedelta(seconds=31)
    assert lost().limitation.due_at(RULES) is None
    assert released().limitation.due_at(RULES) is None


_ACTION = st.one_of(
    st.just(("beat", 0.0, None)),
    st.just(("off", 0.0, None)),
    st.just(("restart", 0.0, None)),
    st.tuples(st.just("on"), st.floats(0.0, 50.0, allow_nan=False), st.one_of(st.none(), st.floats(0.0, 4_000.0))),
)


@settings(max_examples=200, deadline=None)
@given(
    steps=st.lists(st.tuples(st.floats(0.0, 200.0), _ACTION), max_size=25),
    guaranteed_kw=st.sampled_from([0.0, 4.2, 21.21]),
)
def test_nothing_opens_while_nobody_steers(
    steps: list[tuple[float, tuple[str, float, float | None]]], guaranteed_kw: float
) -> None:
    rules = replace(RULES, guaranteed_kw=guaranteed_kw)
    run, second = Run(rules), 0.0
    for wait, (action, kw, duration_s) in steps:
        second += wait
        run.at(second)
        _check(run)
        _act(run, action, kw, duration_s)
        _check(run)


def _act(run: Run, action: str, kw: float, duration_s: float | None) -> None:
    before = run.limitation
    try:
        if action == "on":
            run.write(on(kw, duration_s))
        elif action == "off":
            run.write(OFF)
    except PreconditionFailed:
        assert run.limitation == before
    if action == "beat":
        run.beat()
    elif action == "restart":
        run.restart()


def _check(run: Run) -> None:
    limitation: Limitation = run.limitation
    failsafe_kw = max(limitation.failsafe_kw, run.rules.guaranteed_kw)
    if limitation.state in {INIT, FAILSAFE}:
        assert run.kw is not None
        assert run.kw <= failsafe_kw
    if limitation.state in CONTROLLED:
        assert limitation.heartbeat_at is not None
        assert (run.now - limitation.heartbeat_at).total_seconds() < 120.0, "silence is never slept through"
    if limitation.state is LIMITED:
        assert run.kw is not None
    due = limitation.due_at(run.rules)
    assert due is None or due > run.now
