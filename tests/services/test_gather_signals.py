"""Events of one authority to limits: order, duplicates, priority, opt, and what people order."""

from dataclasses import replace
from datetime import timedelta

import pytest

from gateway.domain.errors import (
    InvalidInput,
    NotFound,
    PermissionRefused,
    PreconditionFailed,
    RequestReused,
    StorageUnavailable,
)
from gateway.domain.identity import Principal, Role
from gateway.domain.limits import Binding, Limit
from gateway.domain.signals import EventAnswer, EventInterval, GridEvent, Instruction, OptType, RawSignal
from gateway.services.decide_opt import OptRules
from gateway.services.gather_signals import ProgramRules
from tests.fakes.clock import START
from tests.services.scene import GRID, OPERATOR, PLATFORM, TENANT, VTN, Scene, event, message, session, tree


async def a_scene(**options: object) -> Scene:
    scene = Scene(**options)  # type: ignore[arg-type]
    await scene.store.seed(TENANT, *tree())
    await scene.load()
    return scene


def in_force(scene: Scene, minute: float, node: str = "vpp") -> list[float]:
    at = START + timedelta(minutes=minute)
    found = scene.services.signals.limits_by_node(TENANT).get(node, ())
    return sorted(x.max_kw for x in found if x.covers(at) and x.binding is not Binding.VOLUNTARY)


async def test_an_opted_in_event_becomes_a_committed_limit_with_its_provenance() -> None:
    scene = await a_scene()
    answers = await scene.services.signals.receive(GRID, message(event()))
    assert answers == [EventAnswer(event_id="e1", modification=0, opt=OptType.OPT_IN, code=200, description="OK")]
    [limit] = scene.store.all(Limit, TENANT)
    assert (limit.max_kw, limit.binding, limit.cause, limit.node) == (50.0, Binding.COMMITTED, f"event:{VTN}:e1", "vpp")
    assert [raw.id for raw in scene.store.all(RawSignal, TENANT)] == ["raw-1"]
    assert len(scene.store.applied) == 2, "signal, event and limit are written together"


@pytest.mark.parametrize(
    ("instruction", "value", "kw"),
    [("simple-level", 0, []), ("simple-level", 1, [140.0]), ("simple-level", 3, [0.0]), ("import-limit-fraction", 0.25, [50.0]),
     ("import-limit-kw", 500.0, [200.0]), ("price", 90.0, [])],
)  # fmt: skip
async def test_instructions_become_kilowatts_of_the_rating(instruction: str, value: float, kw: list[float]) -> None:
    scene = await a_scene()
    await scene.services.signals.receive(GRID, message(event(instruction=instruction, max_kw=value)))
    assert in_force(scene, 15) == kw


async def test_a_reduction_is_measured_from_a_baseline_that_is_kept() -> None:
    scene = await a_scene()
    asked: list[str] = []

    def baseline(tenant: str, node: str, at: object) -> float | None:
        asked.append(node)
        return 90.0 if len(asked) == 1 else None

    scene.baseline_kw = baseline
    await scene.services.signals.receive(GRID, message(event(instruction="reduction-kw", max_kw=30.0)))
    assert in_force(scene, 15) == [60.0]
    await scene.services.signals.receive(GRID, message(event("e2"), raw_id="raw-2"))
    assert in_force(scene, 15) == [50.0, 60.0], "asking again later must not loosen it"


async def test_a_reduction_without_a_past_is_not_promised() -> None:
    scene = await a_scene()
    [answer] = await scene.services.signals.receive(GRID, message(event(instruction="reduction-kw", max_kw=30.0)))
    assert answer.opt is OptType.OPT_OUT
    assert in_force(scene, 15) == []


async def test_a_lower_modification_is_out_of_sequence_and_changes_nothing() -> None:
    scene = await a_scene()
    await scene.services.signals.receive(GRID, message(event(modification=3, max_kw=40.0)))
    [answer] = await scene.services.signals.receive(GRID, message(event(modification=2, max_kw=60.0), raw_id="raw-2"))
    assert (answer.code, answer.modification) == (450, 2)
    assert in_force(scene, 15) == [40.0]


async def test_a_higher_modification_replaces_and_keeps_the_drawn_offset() -> None:
    scene = await a_scene()
    drawn = event(start_offset=timedelta(minutes=4), start_after=timedelta(minutes=5))
    await scene.services.signals.receive(GRID, message(drawn))
    changed = event(modification=1, max_kw=30.0, start_after=timedelta(minutes=5))
    await scene.services.signals.receive(GRID, message(changed, raw_id="raw-2"))
    [kept] = scene.store.all(GridEvent, TENANT)
    assert kept.start_offset == timedelta(minutes=4)
    assert kept.active.start == changed.active.start + timedelta(minutes=4)
    assert in_force(scene, 15) == [30.0]
    assert in_force(scene, 12) == []


async def test_the_same_message_again_writes_no_second_effect() -> None:
    scene = await a_scene()
    await scene.services.signals.receive(GRID, message(event()))
    limits = scene.store.all(Limit, TENANT)
    await scene.services.signals.receive(GRID, message(event(), raw_id="raw-2"))
    assert scene.store.all(Limit, TENANT) == limits


async def test_an_unknown_cancelled_event_is_answered_and_never_dispatched() -> None:
    scene = await a_scene()
    gone = event(cancelled=True, cancelled_at=START)
    [answer] = await scene.services.signals.receive(GRID, message(gone))
    assert (answer.opt, answer.code) == (OptType.OPT_IN, 200)
    assert scene.store.all(Limit, TENANT) == []


async def test_a_cancellation_that_takes_effect_later_holds_until_then() -> None:
    scene = await a_scene()
    await scene.services.signals.receive(GRID, message(event()))
    later = START + timedelta(minutes=20)
    gone = event(modification=1, cancelled=True, cancelled_at=later)
    await scene.services.signals.receive(GRID, message(gone, raw_id="raw-2"))
    assert in_force(scene, 19) == [50.0]
    assert in_force(scene, 20) == []


async def test_what_a_complete_message_does_not_name_is_cancelled_and_may_come_back() -> None:
    scene = await a_scene()
    await scene.services.signals.receive(GRID, message(event("a"), event("b", max_kw=40.0)))
    other = event("c", authority="vtn:other")
    await scene.services.signals.receive(GRID, message(other, raw_id="raw-2"))
    await scene.services.signals.receive(GRID, message(event("b", max_kw=40.0), raw_id="raw-3", complete=True))
    cancelled = {e.event_id: e.cancelled for e in scene.store.all(GridEvent, TENANT)}
    assert cancelled == {"a": True, "b": False, "c": False}
    assert in_force(scene, 15) == [40.0, 50.0], "another authority's event is not touched"
    await scene.services.signals.receive(
        GRID, message(event("a"), event("b", max_kw=40.0), raw_id="raw-4", complete=True)
    )
    assert in_force(scene, 15) == [40.0, 50.0, 50.0]


async def test_within_one_authority_priority_selects_and_the_others_are_shadowed() -> None:
    scene = await a_scene()
    wide = event("wide", priority=2, max_kw=40.0, start=START, minutes=60)
    narrow = event("narrow", priority=1, max_kw=80.0, start=START + timedelta(minutes=20), minutes=10)
    lowest = event("lowest", priority=None, max_kw=10.0, start=START + timedelta(minutes=20), minutes=10)
    await scene.services.signals.receive(GRID, message(wide, narrow, lowest))
    assert [in_force(scene, m) for m in (10, 25, 35)] == [[40.0], [80.0], [40.0]]
    shadowed = [x for x in scene.store.all(Limit, TENANT) if x.binding is Binding.VOLUNTARY]
    assert {x.reason for x in shadowed} == {
        "event wide, shadowed by event narrow",
        "event lowest, shadowed by event narrow",
    }


async def test_equal_priorities_hold_together() -> None:
    scene = await a_scene()
    await scene.services.signals.receive(GRID, message(event("a", priority=1), event("b", priority=1, max_kw=20.0)))
    assert in_force(scene, 15) == [20.0, 50.0]


async def test_an_event_that_is_not_followed_shadows_nothing() -> None:
    scene = await a_scene(opt_rules={VTN: OptRules(most_events_per_day=1)})
    first = event("first", priority=2, max_kw=40.0)
    second = event("second", priority=1, max_kw=90.0)
    answers = await scene.services.signals.receive(GRID, message(first, second))
    assert [a.opt for a in answers] == [OptType.OPT_IN, OptType.OPT_OUT]
    assert in_force(scene, 15) == [40.0]


async def test_a_test_event_is_answered_and_never_dispatched() -> None:
    scene = await a_scene()
    [answer] = await scene.services.signals.receive(GRID, message(event(test_event=True)))
    assert answer.opt is OptType.OPT_IN
    assert scene.store.all(Limit, TENANT) == []


async def test_one_event_for_a_foreign_target_does_not_affect_the_others() -> None:
    scene = await a_scene()
    answers = await scene.services.signals.receive(GRID, message(event("a", nodes=("nowhere",)), event("b")))
    assert [(a.event_id, a.code, a.opt) for a in answers] == [("a", 462, OptType.OPT_OUT), ("b", 200, OptType.OPT_IN)]
    assert in_force(scene, 15) == [50.0]


async def test_refused_events_are_answered_after_the_others() -> None:
    scene = await a_scene()
    refused = EventAnswer(event_id="bad", modification=0, opt=OptType.OPT_OUT, code=454, description="no duration")
    received = replace(message(event()), rejected=(refused,))
    assert [a.event_id for a in await scene.services.signals.receive(GRID, received)] == ["e1", "bad"]


async def test_a_broken_modification_leaves_the_last_good_version_in_force() -> None:
    scene = await a_scene()
    await scene.services.signals.receive(GRID, message(event()))
    refused = EventAnswer(event_id="e1", modification=1, opt=OptType.OPT_OUT, code=454, description="no duration")
    broken = replace(message(raw_id="raw-2", complete=True), rejected=(refused,))
    await scene.services.signals.receive(GRID, broken)
    assert in_force(scene, 15) == [50.0]
    await scene.services.signals.receive(GRID, message(raw_id="raw-3", complete=True))
    assert in_force(scene, 15) == []


async def test_an_active_event_with_a_random_start_ends_at_random_when_it_is_no_longer_named() -> None:
    scene = await a_scene()
    started = event(start=START - timedelta(minutes=1), start_after=timedelta(minutes=10))
    await scene.services.signals.receive(GRID, message(started))
    await scene.services.signals.receive(GRID, message(raw_id="raw-2", complete=True))
    [gone] = scene.store.all(GridEvent, TENANT)
    assert gone.cancelled_at is not None
    assert START < gone.cancelled_at <= START + timedelta(minutes=10)
    assert in_force(scene, 0) == [50.0]
    assert in_force(scene, 11) == []


async def test_another_startafter_draws_again() -> None:
    scene = await a_scene()
    drawn = event(start_offset=timedelta(minutes=4), start_after=timedelta(minutes=5))
    await scene.services.signals.receive(GRID, message(drawn))
    changed = event(modification=1, start_offset=timedelta(minutes=7), start_after=timedelta(minutes=8))
    await scene.services.signals.receive(GRID, message(changed, raw_id="raw-2"))
    [kept] = scene.store.all(GridEvent, TENANT)
    assert kept.start_offset == timedelta(minutes=7)


async def test_nothing_is_kept_or_answered_when_the_store_fails_but_a_reduction_acts() -> None:
    scene = await a_scene()
    await scene.services.signals.receive(GRID, message(event("old")))
    scene.store.is_down = True
    gone = event("old", modification=1, cancelled=True, cancelled_at=START)
    with pytest.raises(StorageUnavailable):
        await scene.services.signals.receive(GRID, message(gone, event("new", max_kw=20.0), raw_id="raw-2"))
    assert in_force(scene, 15) == [20.0, 50.0], "the new limit acts, the old one is not opened"
    scene.store.is_down = False
    await scene.services.signals.receive(GRID, message(gone, event("new", max_kw=20.0), raw_id="raw-2"))
    assert in_force(scene, 15) == [20.0]


async def test_a_thousand_events_in_one_message_are_taken_in() -> None:
    scene = await a_scene()
    storm = [event(f"e{i}", priority=i % 4 or None, max_kw=float(i % 90)) for i in range(1000)]
    assert len(await scene.services.signals.receive(GRID, message(*storm))) == 1000
    assert in_force(scene, 15)[0] == 1.0


async def test_limits_survive_a_restart() -> None:
    scene = await a_scene()
    await scene.services.signals.receive(GRID, message(event()))
    before = in_force(scene, 15)
    await scene.restart(keeps_stream=False)
    assert in_force(scene, 15) == before


async def test_a_person_may_opt_out_and_the_limit_follows() -> None:
    scene = await a_scene()
    await scene.services.signals.receive(GRID, message(event()))
    decide = scene.services.decider.decide
    changed = await decide(OPERATOR, event_id=f"{VTN}:e1", opt=OptType.OPT_OUT, reason="plant visit", request_id="r1")
    assert changed.opt is OptType.OPT_OUT
    assert in_force(scene, 15) == []
    [told] = await scene.store.due_outbox("openadr-opt", scene.clock.now())
    assert told.key == f"{VTN}:e1"
    again = await decide(OPERATOR, event_id=f"{VTN}:e1", opt=OptType.OPT_OUT, reason="plant visit", request_id="r1")
    assert again == changed
    with pytest.raises(RequestReused):
        await decide(OPERATOR, event_id=f"{VTN}:e1", opt=OptType.OPT_IN, reason="", request_id="r1")
    await decide(OPERATOR, event_id=f"{VTN}:e1", opt=OptType.OPT_IN, reason="", request_id="r2")
    assert in_force(scene, 15) == [50.0]


async def test_what_a_person_may_not_decide_is_refused() -> None:
    scene = await a_scene(
        programs={"vtn:law": ProgramRules(is_mandatory=True)}, opt_rules={"vtn:law": OptRules(is_mandatory=True)}
    )
    await scene.services.signals.receive(GRID, message(event("must", authority="vtn:law")))
    await scene.services.signals.receive(GRID, message(event(), raw_id="raw-2"))
    decide = scene.services.decider.decide
    out = OptType.OPT_OUT
    with pytest.raises(PreconditionFailed):
        await decide(OPERATOR, event_id="vtn:law:must", opt=out, reason="x", request_id="1")
    with pytest.raises(NotFound):
        await decide(OPERATOR, event_id="vtn:law:none", opt=out, reason="x", request_id="2")
    with pytest.raises(InvalidInput, match="reason"):
        await decide(OPERATOR, event_id=f"{VTN}:e1", opt=out, reason="", request_id="3")
    stranger = replace(OPERATOR, tenant="other")
    with pytest.raises(NotFound):
        await decide(stranger, event_id=f"{VTN}:e1", opt=out, reason="x", request_id="4")
    scene.clock.move(hours=3)
    with pytest.raises(PreconditionFailed):
        await decide(OPERATOR, event_id=f"{VTN}:e1", opt=out, reason="x", request_id="5")


def manual(**changes: object) -> dict[str, object]:
    return {
        "node_id": "site-1", "max_kw": 10.0, "start": None, "end": START + timedelta(hours=1), "reason": "works",
        "request_id": "m1",
    } | changes  # fmt: skip


async def test_a_manual_limit_is_named_after_its_person_and_can_be_withdrawn() -> None:
    scene = await a_scene()
    signals = scene.services.signals
    limit = await signals.set_manual_limit(OPERATOR, **manual())  # type: ignore[arg-type]
    assert (limit.authority, limit.binding, limit.reason) == ("manual:olga", Binding.MANDATORY, "works")
    assert await signals.set_manual_limit(OPERATOR, **manual()) == limit  # type: ignore[arg-type]
    assert len(scene.store.all(Limit, TENANT)) == 1
    resolution = await signals.resolve(OPERATOR, "site-1", None)
    assert resolution.why() == "10.0 kW at site-1 by order of manual:olga (works) until 2025-10-15 09:00Z"
    scene.clock.move(minutes=10)
    withdrawn = await signals.withdraw_manual_limit(OPERATOR, limit_id=limit.id, reason="done", request_id="w1")
    assert withdrawn.withdrawn_at == scene.clock.now()
    assert (await signals.resolve(OPERATOR, "site-1", None)).kw == 80.0
    assert (await signals.resolve(OPERATOR, "site-1", START + timedelta(minutes=5))).kw == 10.0, "as it was then"
    assert await signals.limits(OPERATOR, "site-1", scene.clock.now()) == []
    with pytest.raises(PreconditionFailed):
        await signals.withdraw_manual_limit(OPERATOR, limit_id=limit.id, reason="again", request_id="w2")


@pytest.mark.parametrize(
    ("changes", "error", "field"),
    [
        ({"max_kw": -1.0}, InvalidInput, "max_power_kw"),
        ({"max_kw": 80.1}, InvalidInput, "max_power_kw"),
        ({"max_kw": float("nan")}, InvalidInput, "max_power_kw"),
        ({"end": START}, InvalidInput, "expire_time"),
        ({"end": START + timedelta(days=8)}, InvalidInput, "expire_time"),
        ({"node_id": "nowhere"}, NotFound, "nowhere"),
        ({"request_id": ""}, InvalidInput, "request_id"),
        ({"request_id": "x" * 129}, InvalidInput, "request_id"),
    ],
)
async def test_impossible_manual_limits_are_refused(
    changes: dict[str, object], error: type[Exception], field: str
) -> None:
    scene = await a_scene()
    with pytest.raises(error, match=field):
        await scene.services.signals.set_manual_limit(OPERATOR, **manual(**changes))  # type: ignore[arg-type]
    assert scene.store.all(Limit, TENANT) == []


async def test_a_request_id_may_not_be_reused_for_another_limit() -> None:
    scene = await a_scene()
    await scene.services.signals.set_manual_limit(OPERATOR, **manual())  # type: ignore[arg-type]
    with pytest.raises(RequestReused):
        await scene.services.signals.set_manual_limit(OPERATOR, **manual(max_kw=11.0))  # type: ignore[arg-type]


async def test_only_manual_limits_can_be_withdrawn_by_hand() -> None:
    scene = await a_scene()
    await scene.services.signals.receive(GRID, message(event()))
    [limit] = scene.store.all(Limit, TENANT)
    with pytest.raises(NotFound):
        await scene.services.signals.withdraw_manual_limit(OPERATOR, limit_id=limit.id, reason="x", request_id="w")


async def test_roles_without_the_permission_are_refused() -> None:
    scene = await a_scene()
    trader = Principal(tenant=TENANT, actor="tom", roles=frozenset({Role.TRADER}))
    signals = scene.services.signals
    with pytest.raises(PermissionRefused):
        await signals.set_manual_limit(trader, **manual())  # type: ignore[arg-type]
    with pytest.raises(PermissionRefused):
        await signals.receive(trader, message(event()))
    with pytest.raises(PermissionRefused):
        await scene.services.decider.decide(trader, event_id="e", opt=OptType.OPT_IN, reason="", request_id="r")


async def test_events_are_listed_by_start() -> None:
    scene = await a_scene()
    late = event("late", start=START + timedelta(hours=5))
    await scene.services.signals.receive(GRID, message(late, event("early")))
    assert [e.event_id for e in await scene.services.signals.events(OPERATOR)] == ["early", "late"]


async def test_contact_found_is_kept_before_it_opens_anything() -> None:
    scene = await a_scene(programs={VTN: ProgramRules(is_unconditional=True)})
    scene.store.is_down = True
    with pytest.raises(StorageUnavailable):
        await scene.services.signals.contact(GRID, VTN, is_lost=False)
    assert scene.services.signals.lost == frozenset({VTN})


# ---------------------------------------------------------------- policy


async def test_what_can_be_charged_before_and_after_an_event_does_not_stand_against_it() -> None:
    scene = Scene()
    await scene.start()
    late = scene.clock.now() + timedelta(hours=8)
    patient = [session(f"ch-1-{k}", expected_departure=late, energy_needed_kwh=20.0) for k in range(5)]
    await scene.services.tracker.report_sessions(PLATFORM, patient, is_history=False, request_id="p")
    [answer] = await scene.services.signals.receive(GRID, message(event(start=scene.clock.now(), max_kw=0.0)))
    assert answer.opt is OptType.OPT_IN


async def test_an_event_that_would_break_a_guarantee_is_answered_opt_out() -> None:
    scene = Scene()
    platform = await scene.start()
    soon = scene.clock.now() + timedelta(minutes=90)
    hurried = [session(f"ch-1-{k}", expected_departure=soon, energy_needed_kwh=20.0) for k in range(5)]
    await scene.services.tracker.report_sessions(PLATFORM, hurried, is_history=False, request_id="h")
    [answer] = await scene.services.signals.receive(GRID, message(event(start=scene.clock.now(), max_kw=30.0)))
    assert answer.opt is OptType.OPT_OUT
    [kept] = scene.store.all(GridEvent, TENANT)
    assert kept.opt_reason == "cars at vpp were promised 55.0 kW in that time, the event leaves 30.0 kW"
    await scene.turn()
    assert platform.total() > 100.0


@pytest.mark.parametrize(
    ("rules", "start_in", "reason"),
    [
        (OptRules(min_notice=timedelta(minutes=30)), 10, "notice is shorter than 0:30:00"),
        (OptRules(most_events_per_day=0), 10, "more than 0 events on one day"),
        (OptRules(), -120, "event is over"),
        (OptRules(is_mandatory=True, min_notice=timedelta(hours=9)), 10, "program is mandatory"),
    ],
)
async def test_the_policy_gives_its_reason(rules: OptRules, start_in: float, reason: str) -> None:
    scene = await a_scene(opt_rules={VTN: rules})
    asked = event(start=START + timedelta(minutes=start_in))
    decision = scene.services.decider.decide_now(asked, [], START)
    assert decision.reason == reason
    assert (decision.opt is OptType.OPT_IN) == rules.is_mandatory


async def test_the_count_of_promised_events_survives_a_restart() -> None:
    scene = await a_scene(opt_rules={VTN: OptRules(most_events_per_day=1)})
    await scene.services.signals.receive(GRID, message(event("first")))
    await scene.restart(keeps_stream=False)
    await scene.services.decider.load(TENANT)
    [answer] = await scene.services.signals.receive(GRID, message(event("second"), raw_id="raw-2"))
    assert answer.opt is OptType.OPT_OUT


def test_program_fractions_must_make_sense() -> None:
    for fractions in ((1.0, 0.5, 0.6, 0.0), (1.0, 1.1, 0.5, 0.0), (1.0, 0.5, 0.2, -0.1)):
        with pytest.raises(InvalidInput, match="simple_fraction"):
            ProgramRules(simple_fraction=fractions)


async def test_an_event_with_several_signals_binds_by_the_smallest() -> None:
    scene = await a_scene()
    both = event()
    second = EventInterval(
        start=both.active.start, end=both.active.end, instruction=Instruction.SIMPLE_LEVEL, value=3.0, signal_id="s2"
    )
    await scene.services.signals.receive(GRID, message(replace(both, intervals=(*both.intervals, second))))
    assert in_force(scene, 15) == [0.0, 50.0]
