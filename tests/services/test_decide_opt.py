"""Who decides on an event: policy, a person until a deadline, what the fleet can deliver, and what must be followed."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from gateway.domain.errors import PreconditionFailed
from gateway.domain.signals import GridEvent, OptType
from gateway.services.decide_opt import OptMode, OptRules
from gateway.services.gather_signals import OPT_TOPIC, ProgramRules
from tests.fakes.clock import START
from tests.services.scene import GRID, OPERATOR, TENANT, VTN, Scene, event, message, tree

CONTEXT = "http://grid-demo.example/dr"


async def a_scene(**options: object) -> Scene:
    scene = Scene(**options)  # type: ignore[arg-type]
    await scene.store.seed(TENANT, *tree())
    await scene.load()
    return scene


def kept(scene: Scene, event_id: str = "e1") -> GridEvent:
    return next(e for e in scene.store.all(GridEvent, TENANT) if e.event_id == event_id)


def minutes(count: float) -> datetime:
    return START + timedelta(minutes=count)


async def say(scene: Scene, opt: OptType, request_id: str = "r1") -> GridEvent:
    return await scene.services.decider.decide(
        OPERATOR, event_id=f"{VTN}:e1", opt=opt, reason="plant visit", request_id=request_id
    )


ASK = OptRules(mode=OptMode.ASK, ask_within=timedelta(minutes=4))


async def test_a_person_is_asked_after_an_answer_was_given() -> None:
    scene = await a_scene(opt_rules={VTN: ASK})
    [answer] = await scene.services.signals.receive(GRID, message(event()))
    assert answer.opt is OptType.OPT_IN, "2.0b wants its answer before the next poll"
    held = kept(scene)
    assert (held.opt_by, held.opt_deadline) == ("policy", minutes(4))
    scene.clock.move(minutes=3)
    changed = await say(scene, OptType.OPT_OUT)
    assert (changed.opt, changed.opt_reason, changed.opt_by) == (OptType.OPT_OUT, "plant visit", "olga")
    assert len(await scene.store.due_outbox(OPT_TOPIC, scene.clock.now())) == 1
    scene.clock.move(minutes=2)
    await scene.services.signals.keep_up(TENANT)
    assert kept(scene) == changed, "what a person decided is not touched"


async def test_the_deadline_is_the_start_of_the_event_at_the_latest() -> None:
    scene = await a_scene(opt_rules={VTN: replace(ASK, ask_within=timedelta(hours=1))})
    await scene.services.signals.receive(GRID, message(event(), event("now", start=START)))
    assert (kept(scene).opt_deadline, kept(scene, "now").opt_deadline) == (minutes(10), None)


@pytest.mark.parametrize("is_restarted", [False, True], ids=["running", "restarted"])
async def test_after_the_deadline_the_default_stands(is_restarted: bool) -> None:
    scene = await a_scene(opt_rules={VTN: ASK})
    await scene.services.signals.receive(GRID, message(event()))
    await scene.services.signals.keep_up(TENANT)
    assert kept(scene).opt_deadline is not None
    scene.clock.move(minutes=4)
    with pytest.raises(PreconditionFailed, match="the answer given stands"):
        await say(scene, OptType.OPT_OUT)
    if is_restarted:
        await scene.restart(keeps_stream=False)
    await scene.services.signals.keep_up(TENANT)
    held = kept(scene)
    assert (held.opt, held.opt_deadline) == (OptType.OPT_IN, None)
    assert held.opt_reason == (
        "within the agreement and the drivers' guarantees; nobody decided otherwise until 2025-10-15 08:04Z"
    )
    with pytest.raises(PreconditionFailed, match="the answer given stands"):
        await say(scene, OptType.OPT_OUT)
    await scene.services.signals.keep_up(TENANT)
    actions = [c.entry.action for c in await scene.store.audit_of(TENANT, "event", held.id)]
    assert actions == ["event.receive", "event.opt-stands"]


async def test_a_program_may_be_followed_only_when_a_person_says_so() -> None:
    scene = await a_scene(opt_rules={VTN: replace(ASK, default_answer=OptType.OPT_OUT)})
    [answer] = await scene.services.signals.receive(GRID, message(event()))
    assert answer.opt is OptType.OPT_OUT
    assert kept(scene).opt_reason == "the program is followed only when a person says so"
    changed = await say(scene, OptType.OPT_IN)
    assert changed.opt is OptType.OPT_IN
    assert [x.max_kw for x in scene.services.signals.limits_by_node(TENANT)["vpp"] if x.covers(minutes(15))][-1:] == [
        50.0
    ]


async def test_an_objection_goes_before_the_default_answer() -> None:
    scene = await a_scene(opt_rules={VTN: replace(ASK, min_notice=timedelta(hours=1))})
    await scene.services.signals.receive(GRID, message(event()))
    assert (kept(scene).opt, kept(scene).opt_deadline) == (OptType.OPT_OUT, None)


@pytest.mark.parametrize(
    ("programs", "rules", "changes", "reason"),
    [
        ({}, OptRules(mode=OptMode.CAPACITY), {"is_binding": True}, "the program's events are binding"),
        (
            {VTN: ProgramRules(is_mandatory=True)},
            OptRules(is_mandatory=True, min_notice=timedelta(hours=9)),
            {},
            "program is mandatory",
        ),
    ],
    ids=["binding", "mandatory"],
)
async def test_what_must_be_followed_is_never_opted_out_of(
    programs: dict[str, ProgramRules], rules: OptRules, changes: dict[str, object], reason: str
) -> None:
    scene = await a_scene(programs=programs, opt_rules={VTN: rules})
    asked = replace(event(instruction="reduction-kw", max_kw=30.0), **changes)  # type: ignore[arg-type]
    [answer] = await scene.services.signals.receive(GRID, message(asked))
    assert (answer.opt, kept(scene).opt_reason) == (OptType.OPT_IN, reason)
    with pytest.raises(PreconditionFailed, match="must be followed"):
        await say(scene, OptType.OPT_OUT)
    [limit] = scene.services.signals.limits_by_node(TENANT)["vpp"]
    assert limit.max_kw == 170.0, "without a past the reduction counts from the rating"


@pytest.mark.parametrize(
    ("instruction", "value"),
    [("price", 90.0), ("alert", 0.0), ("import-subscription-kw", 70.0), ("carbon-g-per-kwh", 300.0)],
)
async def test_what_only_informs_is_answered_opt_in(instruction: str, value: float) -> None:
    scene = await a_scene(opt_rules={VTN: OptRules(most_events_per_day=0, min_notice=timedelta(hours=9))})
    [answer] = await scene.services.signals.receive(GRID, message(event(instruction=instruction, max_kw=value)))
    assert answer.opt is OptType.OPT_IN
    assert kept(scene).opt_reason == "the event informs and limits nothing"


async def test_a_reduction_of_more_than_is_drawn_cannot_be_delivered() -> None:
    scene = await a_scene(opt_rules={VTN: OptRules(mode=OptMode.CAPACITY)})
    scene.baseline_kw = lambda tenant, node, at: 40.0
    asked = event(instruction="reduction-kw", max_kw=60.0)
    await scene.services.signals.receive(GRID, message(asked, event("less", instruction="reduction-kw", max_kw=30.0)))
    assert kept(scene).opt_reason == "60.0 kW less is asked, only 40.0 kW are drawn"
    assert (kept(scene).opt, kept(scene, "less").opt) == (OptType.OPT_OUT, OptType.OPT_IN)


@pytest.mark.parametrize(("mode", "opt"), [(OptMode.CAPACITY, OptType.OPT_OUT), (OptMode.AUTO, OptType.OPT_IN)])
async def test_power_that_nobody_can_command_cannot_be_taken_off(mode: OptMode, opt: OptType) -> None:
    scene = Scene(opt_rules={VTN: OptRules(mode=mode, protects_guarantees=False)})
    platform = await scene.start()
    await platform.disconnect()
    await scene.pass_time(30)
    scene.clock.move(seconds=1)
    now = scene.clock.now()
    await scene.services.signals.receive(GRID, message(event(start=now, max_kw=20.0)))
    assert kept(scene).opt is opt
    if mode is OptMode.CAPACITY:
        assert kept(scene).opt_reason.endswith("kW at vpp cannot be commanded now, the event leaves 20.0 kW")


async def test_programs_of_one_partner_have_agreements_of_their_own() -> None:
    scene = await a_scene(
        opt_rules={
            VTN: OptRules(most_events_per_day=1),
            f"{VTN}:{CONTEXT}": OptRules(most_events_per_day=2),
        }
    )
    other = "http://other.example"
    events = [event(f"a{i}") for i in range(3)] + [event(f"b{i}", market_context=other) for i in range(2)]
    answers = await scene.services.signals.receive(GRID, message(*events))
    assert [a.opt is OptType.OPT_IN for a in answers] == [True, True, False, True, False]


async def test_what_only_informs_takes_no_place_of_the_day_also_after_a_restart() -> None:
    scene = await a_scene(opt_rules={VTN: OptRules(most_events_per_day=1)})
    await scene.services.signals.receive(
        GRID, message(event("price", instruction="price"), event("t", test_event=True))
    )
    await scene.restart(keeps_stream=False)
    await scene.services.decider.load(TENANT)
    [answer] = await scene.services.signals.receive(GRID, message(event(), raw_id="raw-2"))
    assert answer.opt is OptType.OPT_IN


async def test_an_event_that_a_person_opted_out_of_makes_room_for_another_of_the_day() -> None:
    scene = await a_scene(opt_rules={VTN: OptRules(most_events_per_day=1)})
    await scene.services.signals.receive(GRID, message(event()))
    await say(scene, OptType.OPT_OUT)
    [answer] = await scene.services.signals.receive(GRID, message(event("e2"), raw_id="raw-2"))
    assert answer.opt is OptType.OPT_IN


async def test_a_modification_is_decided_anew_with_a_new_deadline() -> None:
    scene = await a_scene(opt_rules={VTN: ASK})
    await scene.services.signals.receive(GRID, message(event()))
    await say(scene, OptType.OPT_OUT)
    scene.clock.move(minutes=2)
    await scene.services.signals.receive(GRID, message(event(modification=1, max_kw=70.0), raw_id="raw-2"))
    held = kept(scene)
    assert (held.opt, held.opt_by, held.opt_deadline) == (OptType.OPT_IN, "policy", minutes(6))


async def test_an_event_opted_out_of_does_not_bind_while_its_cancellation_waits() -> None:
    scene = await a_scene(opt_rules={VTN: OptRules(min_notice=timedelta(hours=1))})
    await scene.services.signals.receive(GRID, message(event()))
    gone = event(modification=1, cancelled=True, cancelled_at=minutes(30))
    [answer] = await scene.services.signals.receive(GRID, message(gone, raw_id="raw-2"))
    assert answer.opt is OptType.OPT_IN, "a cancellation is confirmed"
    [again] = await scene.services.signals.receive(GRID, message(gone, raw_id="raw-3"))
    assert again.opt is OptType.OPT_IN
    resolution = await scene.services.signals.resolve(OPERATOR, "vpp", minutes(20))
    assert resolution.kw == 200.0
