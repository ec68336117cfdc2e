"""Who decides on an event: policy, a person until a deadline, what the fleet can deliver, and what must be followed."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from gateway.domain.errors import PreconditionFailed, StorageUnavailable
from gateway.domain.programs import OptSchedule
from gateway.domain.signals import GridEvent, OptType
from gateway.domain.timegrid import Interval
from gateway.services.decide_opt import OptMode, OptRules
from gateway.services.declare_availability import AvailabilityDesk
from gateway.services.gather_signals import OPT_TOPIC, ProgramRules
from tests.fakes.clock import START
from tests.services.scene import GRID, OPERATOR, TENANT, VTN, Scene, event, message, tree

CONTEXT = "http://grid-demo.example/dr"


async def a_scene(**options: object) -> Scene:
    scene = Scene(**options)  # type: ignore[arg-type]
    await scene.store.seed(TENANT, *tree())
    await scene.load()
    return scene


async def settle() -> None:
    """Let everybody who was woken act."""
    for _ in range(10):
        await asyncio.sleep(0)


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


def away(opt_id: str = "opt-1", **changes: object) -> OptSchedule:
    """Not available in two windows; the first begins inside the event and the second on the next day."""
    plain = OptSchedule(
        id=f"{VTN}:{opt_id}",
        tenant=TENANT,
        authority=VTN,
        opt_id=opt_id,
        opt=OptType.OPT_OUT,
        reason="mustRun",
        market_context="",
        windows=(Interval(start=minutes(60), end=minutes(120)), Interval(start=minutes(1500), end=minutes(1560))),
        resources=(),
        created_by="olga",
        created_at=START,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


async def answers_to(scene: Scene, *asked: GridEvent) -> list[OptType | None]:
    await scene.services.decider.load(TENANT)
    await scene.services.signals.receive(GRID, message(*asked))
    return [kept(scene, one.event_id).opt for one in asked]


async def test_an_event_in_a_time_in_which_we_said_not_to_be_available_is_opted_out_of_also_after_a_restart() -> None:
    scene = await a_scene()
    await scene.store.seed(TENANT, away())
    assert await answers_to(scene, event()) == [OptType.OPT_OUT]
    assert kept(scene).opt_reason == "not available from 2025-10-15 09:00Z to 2025-10-15 10:00Z (mustRun)"
    assert (await scene.services.signals.resolve(OPERATOR, "vpp", minutes(30))).kw == 200.0
    await scene.restart(keeps_stream=False)
    tomorrow = event("tomorrow", start=minutes(1490), minutes=11)
    before, after = event("before", minutes=50), event("after", start=minutes(120))
    answers = await answers_to(scene, tomorrow, before, after)
    assert answers == [OptType.OPT_OUT, OptType.OPT_IN, OptType.OPT_IN], "windows are half-open"


@pytest.mark.parametrize(
    "changes",
    [
        {"opt": OptType.OPT_IN},
        {"cancelled_at": START},
        {"authority": "vtn:another", "id": "vtn:another:opt-1"},
        {"market_context": "http://other.example"},
        {"resources": ("depot-2", "unheard-of")},
        {"event_id": "another", "windows": ()},
        {"windows": (Interval(start=minutes(-60), end=minutes(0)),)},
    ],
    ids=["available", "withdrawn", "partner", "program", "resource", "event", "over"],
)
async def test_what_was_declared_about_something_else_changes_no_answer(changes: dict[str, object]) -> None:
    scene = await a_scene(resource_nodes={VTN: {"depot-1": "vpp", "depot-2": "site-2"}})
    await scene.store.seed(TENANT, away(**changes))  # type: ignore[arg-type]
    assert await answers_to(scene, event(start=minutes(-10), minutes=120)) == [OptType.OPT_IN]


async def test_a_declaration_about_a_program_and_a_resource_is_heeded_for_them() -> None:
    scene = await a_scene(resource_nodes={VTN: {"depot-1": "site-1", "depot-2": "site-2"}})
    await scene.store.seed(TENANT, away(market_context=CONTEXT, resources=("depot-1",)))
    asked = (event(nodes=("site-1", "site-2")), event("second", nodes=("site-2",)))
    assert await answers_to(scene, *asked) == [OptType.OPT_OUT, OptType.OPT_IN]


@pytest.mark.parametrize(
    ("rules", "changes"),
    [(OptRules(), {"is_binding": True}), (OptRules(is_mandatory=True), {}), (OptRules(), {"test_event": True})],
    ids=["binding", "mandatory", "test"],
)
async def test_what_must_be_followed_is_followed_whatever_was_declared(
    rules: OptRules, changes: dict[str, object]
) -> None:
    scene = await a_scene(opt_rules={VTN: rules})
    await scene.store.seed(TENANT, away())
    assert await answers_to(scene, event(**changes)) == [OptType.OPT_IN]  # type: ignore[arg-type]


async def test_what_is_declared_or_withdrawn_while_we_run_counts_from_then_on() -> None:
    scene = await a_scene()
    await scene.services.decider.load(TENANT)
    desk = AvailabilityDesk(store=scene.store, clock=scene.clock, ids=scene.ids, partners={TENANT: [VTN]})
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(scene.services.decider.run())
        await settle()
        said = await desk.declare(
            OPERATOR,
            authority=VTN,
            opt=OptType.OPT_OUT,
            reason="economic",
            windows=[Interval(start=minutes(60), end=minutes(120))],
            request_id="r-1",
        )
        await settle()
        await scene.services.signals.receive(GRID, message(event()))
        await desk.withdraw(OPERATOR, schedule_id=said.id, request_id="r-2")
        await settle()
        await scene.services.signals.receive(GRID, message(event("later"), raw_id="raw-2"))
        running.cancel()
    assert (kept(scene).opt, kept(scene, "later").opt) == (OptType.OPT_OUT, OptType.OPT_IN)


async def test_declarations_that_cannot_be_read_leave_the_known_ones_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = await a_scene()
    await scene.store.seed(TENANT, away())
    await scene.services.decider.load(TENANT)
    tries: list[object] = []

    async def unreadable(*asked: object, **more: object) -> list[object]:
        tries.append(asked)
        raise StorageUnavailable("the disk is gone")

    async with asyncio.TaskGroup() as tasks:
        with monkeypatch.context() as patch:
            patch.setattr(scene.store, "find", unreadable)
            running = tasks.create_task(scene.services.decider.run())
            await settle()
        running.cancel()
    assert tries
    await scene.services.signals.receive(GRID, message(event()))
    assert kept(scene).opt is OptType.OPT_OUT
