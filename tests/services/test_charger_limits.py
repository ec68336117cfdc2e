"""Limits at single chargers: an authority that is lost opens none, and everything that begins within the lead counts."""

import asyncio
from dataclasses import replace
from datetime import timedelta

from gateway.domain.dispatch import DispatchState
from tests.fakes.clock import START
from tests.services.scene import GRID, OPERATOR, SETTINGS, TENANT, Scene, event, message
from tests.services.test_stated_limits import limit, said

BOX = "lpc:box"


async def test_g9_losing_the_authority_of_a_charger_limit_opens_nothing() -> None:
    scene = Scene()
    platform = await scene.start()
    one = limit("l1", 5.0, 0, 10, authority=BOX, node="ch-1-0")
    await scene.services.signals.state_limits(GRID, said(one, authority=BOX))
    await scene.pass_time(60)
    assert scene.limits()["ch-1-0"] == 5.0
    await scene.services.signals.contact(GRID, BOX, is_lost=True)
    await scene.pass_time(1500)
    told = await scene.services.signals.resolve(OPERATOR, "ch-1-0", None)
    assert told.kw == 4.14, "its fallback, when the last limit is over"
    assert platform.power("ch-1-0") <= told.kw, "what people are told is what is done"
    assert platform.power("ch-1-1") == 11.0


async def test_every_limit_of_a_charger_that_begins_within_the_lead_counts() -> None:
    scene = Scene(settings=replace(SETTINGS, lead=timedelta(seconds=30)))
    await scene.start()
    minute = (scene.clock.now() - START).total_seconds() / 60.0
    for name, kw, seconds in (("charger:x", 9.0, 10.0), ("charger:y", 5.0, 20.0)):
        one = limit(name, kw, minute + seconds / 60.0, None, node="ch-1-0", authority=name)
        await scene.services.signals.state_limits(GRID, said(one, authority=name))
    await scene.turn()
    assert scene.limits()["ch-1-0"] == 5.0


async def test_no_rise_leaves_when_the_charger_has_a_smaller_limit_by_then() -> None:
    scene, charger = Scene(), "charger:x"
    platform = await scene.start()
    desk = scene.services.signals
    await desk.state_limits(GRID, said(limit("a", 5.0, 0, None, node="ch-1-0", authority=charger), authority=charger))
    await scene.pass_time(60)
    open_again = limit("b", 11.0, 0, None, node="ch-1-0", authority=charger)
    await desk.state_limits(GRID, said(open_again, withdrawn=("a",), authority=charger))
    ledger, smaller = desk.scribe.ledger(TENANT), limit("c", 4.5, 0, None, node="ch-1-0", authority=charger)
    for _ in range(60):
        scene.clock.move(seconds=5)
        platform.measure()
        scene.store.hang = asyncio.Event()
        step = asyncio.create_task(scene.services.dispatcher.step(TENANT))
        for _ in range(5):
            await asyncio.sleep(0)
        ledger.hold([smaller])  # while its rise is written
        scene.store.hang.set()
        await step
        scene.store.hang = None
        await platform.read()
        assert platform.limit_kw["ch-1-0"] <= 5.0
        ledger.let_go(["c"])


async def test_who_draws_too_much_is_asked_to_keep_its_own_limit_too() -> None:
    scene = Scene()
    platform = await scene.start()
    await scene.services.signals.receive(GRID, message(event(start=scene.clock.now(), max_kw=80.0)))
    await scene.pass_time(60)
    platform.disobeys.add("ch-1-0")
    await scene.services.signals.receive(GRID, message(event(start=scene.clock.now(), max_kw=60.0), raw_id="raw-2"))
    await scene.pass_time(120)
    assert scene.state("ch-1-0") is DispatchState.NOT_FOLLOWING
    assert scene.limits()["ch-1-0"] > 5.0
    one = limit("l1", 5.0, 0, None, authority=BOX, node="ch-1-0")
    await scene.services.signals.state_limits(GRID, said(one, authority=BOX))
    await scene.pass_time(10)
    assert scene.limits()["ch-1-0"] == 5.0
    platform.disobeys.clear()
    await scene.pass_time(60)
    assert platform.power("ch-1-0") <= 5.0
