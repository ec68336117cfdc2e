"""What was refused of a partner's events is kept with its reason, once per event, beside what was taken."""

from dataclasses import replace
from datetime import timedelta

from gateway.domain.programs import REFUSED_RULE, NonCompliance
from gateway.domain.signals import EventAnswer, GridEvent, OptType
from tests.services.scene import GRID, TENANT, VTN, Scene, event, message, tree


def refusal(event_id: str, code: int = 454, description: str = "no duration") -> EventAnswer:
    return EventAnswer(event_id=event_id, modification=0, opt=OptType.OPT_OUT, code=code, description=description)


async def a_scene() -> Scene:
    scene = Scene()
    await scene.store.seed(TENANT, *tree())
    await scene.load()
    return scene


async def test_a_refused_event_is_kept_with_its_reason_and_message() -> None:
    scene = await a_scene()
    await scene.services.signals.receive(GRID, replace(message(event()), rejected=(refusal("bad"),)))
    [kept] = scene.store.all(NonCompliance, TENANT)
    assert (kept.authority, kept.object_kind, kept.object_id, kept.rule) == (VTN, "event", "bad", REFUSED_RULE)
    assert (kept.problem, kept.is_applied, kept.raw_signal) == ("no duration (told as 454)", False, "raw-1")
    assert [one.event_id for one in scene.store.all(GridEvent, TENANT)] == ["e1"]
    scene.clock.move(minutes=1)
    again = replace(message(event(), raw_id="raw-2"), rejected=(refusal("bad"),))
    await scene.services.signals.receive(GRID, again)
    [newer] = scene.store.all(NonCompliance, TENANT)
    assert newer.at == kept.at + timedelta(minutes=1)


async def test_an_event_for_nobody_here_is_refused_too() -> None:
    scene = await a_scene()
    [answer] = await scene.services.signals.receive(GRID, message(event(nodes=("elsewhere",))))
    assert answer.is_refusal
    [kept] = scene.store.all(NonCompliance, TENANT)
    assert kept.problem.startswith(answer.description)


async def test_an_answer_of_no_and_an_older_modification_are_no_refusals() -> None:
    scene = await a_scene()
    await scene.services.signals.receive(GRID, message(event(modification=2)))
    await scene.services.signals.receive(GRID, message(event(modification=1), raw_id="raw-2"))
    old = replace(message(raw_id="raw-3"), rejected=(refusal("e1", 450, "modification is out of sequence"),))
    await scene.services.signals.receive(GRID, old)
    assert scene.store.all(NonCompliance, TENANT) == []


async def test_of_one_message_only_so_many_are_kept() -> None:
    scene = await a_scene()
    many = tuple(refusal(f"bad-{number}") for number in range(80))
    await scene.services.signals.receive(GRID, replace(message(), rejected=many))
    assert len(scene.store.all(NonCompliance, TENANT)) == 50
