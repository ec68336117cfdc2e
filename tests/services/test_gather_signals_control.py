"""From a signal to the cars: wishes, contracts, tests, dry runs, several partners, lost contact, and events in bad company."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from gateway.domain.errors import NotFound
from gateway.domain.limits import Limit
from gateway.domain.signals import GridEvent, OptType
from gateway.domain.topology import CapacityGroup
from gateway.services.gather_signals import ProgramRules
from tests.fakes.clock import START
from tests.services.scene import GRID, OPERATOR, PLATFORM, TENANT, VTN, Scene, event, message, session, tree


async def running(**options: object) -> Scene:
    """A scene with ten cars that draw about 100 kW."""
    scene = Scene(**options)  # type: ignore[arg-type]
    platform = await scene.start()
    assert platform.total() > 100.0
    return scene


def drawn(scene: Scene) -> float:
    assert scene.platform is not None
    return scene.platform.total()


def soon(scene: Scene, event_id: str = "e1", **changes: object) -> GridEvent:
    """An event that begins in a minute."""
    return event(event_id, **({"start": scene.clock.now() + timedelta(minutes=1)} | changes))


async def test_a_wish_is_followed_and_is_no_limit() -> None:
    scene = await running()
    await scene.services.signals.receive(GRID, message(soon(scene, instruction="target-kw", max_kw=45.0, minutes=20)))
    await scene.pass_time(180)
    assert drawn(scene) <= 45.0
    resolution = await scene.services.signals.resolve(OPERATOR, "vpp", None)
    assert (resolution.kw, resolution.optimum_kw) == (200.0, 45.0)
    await scene.pass_time(1500)
    assert drawn(scene) > 100.0, "what was wished is over"


async def test_a_wish_gives_way_to_what_drivers_were_promised() -> None:
    scene = await running()
    leaves = scene.clock.now() + timedelta(hours=1)
    hurried = [session(f"ch-1-{k}", expected_departure=leaves, energy_needed_kwh=30.0) for k in range(3)]
    await scene.services.tracker.report_sessions(PLATFORM, hurried, is_history=False, request_id="hurry")
    await scene.services.signals.receive(GRID, message(soon(scene, instruction="target-kw", max_kw=0.0)))
    await scene.pass_time(300)
    assert drawn(scene) >= 32.9


async def test_b13_cars_come_down_to_the_subscription_when_the_schedule_ends_while_the_partner_is_lost() -> None:
    scene = await running()
    now = scene.clock.now()
    schedule = soon(scene, "schedule", start=now, minutes=10, max_kw=60.0)
    contract = soon(scene, "contract", start=now, instruction="import-subscription-kw", max_kw=50.0)
    contract = replace(
        contract,
        active=replace(contract.active, end=None),
        intervals=(replace(contract.intervals[0], end=None),),
    )
    await scene.services.signals.receive(GRID, message(schedule, contract))
    await scene.services.signals.contact(GRID, VTN, is_lost=True)
    await scene.pass_time(300)
    assert 50.0 < drawn(scene) <= 60.0
    await scene.pass_time(400)
    assert 40.0 < drawn(scene) <= 50.0
    resolution = await scene.services.signals.resolve(OPERATOR, "vpp", None)
    assert resolution.why().startswith(
        "50.0 kW at vpp by order of vtn:grid (subscription of event contract; its fallback"
    )
    await scene.restart()
    await scene.pass_time(60)
    assert drawn(scene) <= 50.0, "also after a restart"


@pytest.mark.parametrize("changes", [{"test_event": True}, {"is_dry_run": True}], ids=["a18-test", "dry-run"])
async def test_what_only_practises_moves_no_car(changes: dict[str, object]) -> None:
    scene = await running()
    if "is_dry_run" in changes:
        await scene.services.programs.set_dry_run(
            OPERATOR, authority=VTN, program="", is_dry_run=True, reason="practice", request_id="d"
        )
        changes = {}
    asked = replace(soon(scene, max_kw=50.0), **changes)  # type: ignore[arg-type]
    [answer] = await scene.services.signals.receive(GRID, message(asked))
    assert answer.opt is OptType.OPT_IN
    before = drawn(scene)
    await scene.pass_time(180)
    assert drawn(scene) == pytest.approx(before)
    assert scene.store.all(Limit, TENANT) == []


async def test_across_partners_the_minimum_binds_whatever_their_priorities() -> None:
    scene = await running(programs={"vtn:tso": ProgramRules(is_mandatory=True)})
    await scene.services.signals.receive(GRID, message(soon(scene, max_kw=80.0, priority=1)))
    other = soon(scene, "t1", authority="vtn:tso", max_kw=60.0, priority=9)
    await scene.services.signals.receive(GRID, message(other, raw_id="raw-2"))
    await scene.pass_time(180)
    assert drawn(scene) <= 60.0
    resolution = await scene.services.signals.resolve(OPERATOR, "vpp", None)
    assert (resolution.authority, [limit.authority for limit in resolution.shadowed]) == ("vtn:tso", [VTN])


async def test_catalogue_a22_an_open_ended_event_outlasts_its_partner() -> None:
    scene = Scene(programs={VTN: ProgramRules(is_unconditional=True)})
    await scene.store.seed(TENANT, CapacityGroup(id=f"{VTN}:g", tenant=TENANT, authority=VTN, name="g", node="vpp"))
    await scene.start()
    await scene.services.signals.contact(GRID, VTN, is_lost=False)
    await scene.pass_time(300)
    endless = soon(scene, start=scene.clock.now(), max_kw=60.0)
    endless = replace(
        endless, active=replace(endless.active, end=None), intervals=(replace(endless.intervals[0], end=None),)
    )
    await scene.services.signals.receive(GRID, message(endless))
    await scene.services.signals.contact(GRID, VTN, is_lost=True)
    await scene.pass_time(900)
    assert 50.0 < drawn(scene) <= 60.0, "it stays in force, and no fail-safe comes beside it"
    await scene.services.signals.contact(GRID, VTN, is_lost=False)
    await scene.services.signals.receive(GRID, message(raw_id="raw-2", complete=True))
    await scene.pass_time(600)
    assert drawn(scene) > 100.0


@pytest.mark.parametrize("error", [NotFound("node", "vpp"), OverflowError("date value out of range")])
async def test_catalogue_a17_an_event_that_cannot_be_worked_out_leaves_the_others_alone(error: Exception) -> None:
    scene = Scene()
    await scene.store.seed(TENANT, *tree())
    await scene.load()

    def baseline(tenant: str, node: str, at: datetime) -> float | None:
        raise error

    scene.baseline_kw = baseline
    poison = event("e2", instruction="reduction-kw", max_kw=30.0)
    answers = await scene.services.signals.receive(GRID, message(event("e1"), poison, event("e3")))
    assert [(a.event_id, a.opt, a.code) for a in answers] == [
        ("e1", OptType.OPT_IN, 200),
        ("e2", OptType.OPT_OUT, 469),
        ("e3", OptType.OPT_IN, 200),
    ]
    assert {limit.cause for limit in scene.store.all(Limit, TENANT)} == {f"event:{VTN}:e1", f"event:{VTN}:e3"}
    scene.baseline_kw = lambda tenant, node, at: 90.0
    [again] = await scene.services.signals.receive(GRID, message(poison, raw_id="raw-2"))
    assert (again.opt, again.code) == (OptType.OPT_IN, 200), "sent again it is tried again"


async def test_catalogue_a17_a_ramp_that_leaves_the_calendar_refuses_its_event_alone() -> None:
    scene = Scene()
    await scene.store.seed(TENANT, *tree())
    await scene.load()
    endless_ramp = event("ramp", ramp_up=timedelta(days=800_000))
    answers = await scene.services.signals.receive(GRID, message(endless_ramp, event("good")))
    assert [answer.code for answer in answers] == [469, 200]


async def test_catalogue_a18_others_get_their_turn_while_a_thousand_events_are_taken_in() -> None:
    scene = Scene()
    await scene.store.seed(TENANT, *tree())
    await scene.load()
    storm = [event(f"e{i}", priority=i % 4 or None, max_kw=float(i % 90)) for i in range(1000)]
    is_done = asyncio.Event()
    turns = 0

    async def beat() -> None:
        nonlocal turns
        while not is_done.is_set():
            turns += 1
            await asyncio.sleep(0)

    async def receive() -> None:
        answers = await scene.services.signals.receive(GRID, message(*storm))
        assert {answer.opt for answer in answers} == {OptType.OPT_IN}
        is_done.set()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(receive())
        tasks.create_task(beat())
    assert turns > 1000 * 6 / 100, "at least once per so many events"


async def test_catalogue_a18_a_storm_of_nested_priorities_makes_few_limits() -> None:
    scene = Scene()
    await scene.store.seed(TENANT, *tree())
    await scene.load()
    ladder = [
        event(f"e{i}", priority=200 - i, max_kw=float(i), start=START + timedelta(minutes=i), minutes=500.0 - 2 * i)
        for i in range(200)
    ]
    await scene.services.signals.receive(GRID, message(*ladder))
    assert len(scene.store.all(Limit, TENANT)) <= 3 * len(ladder)
