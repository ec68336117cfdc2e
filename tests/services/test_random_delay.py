"""Random delays in the dispatcher: a schedule's changes reach each charger at its own time, both ways, once, and never a limit."""

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest

from gateway.domain.bids import Schedule
from gateway.domain.random_delay import DelayRules, DelaySeed
from tests.fakes.clock import START
from tests.services.scene import CSMS, GRID, OPERATOR, PLATFORM, SETTINGS, TENANT, VTN, Scene, event, message, session

DELAY = DelayRules(nodes=("site-1",))
SEED = DelaySeed(id="random-delay", tenant=TENANT, seed=7, drawn_at=START)
STEP_S = 10.0
BORDER = START + timedelta(seconds=320)
"""When the second slot of the schedules begins, soon after the scene has settled."""


def schedule(*power_kw: float, start: datetime = BORDER - timedelta(minutes=15), **changes: object) -> Schedule:
    plain = Schedule(
        id="site-1:2025-10-15",
        tenant=TENANT,
        node="site-1",
        connection_point="541448820000000015",
        delivery_day="2025-10-15",
        start=start,
        step_minutes=15,
        power_kw=power_kw,
        cause="award:a1",
        made_at=START - timedelta(days=1),
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def scene_with(rules: DelayRules = DELAY) -> Scene:
    return Scene(settings=replace(SETTINGS, random_delay=rules))


async def at_the_second_slot(rules: DelayRules, *power_kw: float) -> Scene:
    """Five cars at site 1 under a schedule; the clock stands just before its second slot."""
    scene = scene_with(rules)
    await scene.store.seed(TENANT, schedule(*power_kw), SEED)
    await scene.start()
    await scene.pass_time((BORDER - scene.clock.now()).total_seconds() - STEP_S)
    return scene


async def changes_of(scene: Scene, seconds: float) -> dict[str, float]:
    """Let time pass and return when each charger's command first left where it stood, in seconds after the second slot's begin."""
    before = dict(scene.limits())
    seen: dict[str, float] = {}
    for _ in range(round(seconds / STEP_S)):
        scene.clock.move(seconds=STEP_S)
        await scene.turn()
        for charger, kw in scene.limits().items():
            if charger.startswith("ch-1") and charger not in seen and abs(kw - before[charger]) > 0.1:
                seen[charger] = (scene.clock.now() - BORDER).total_seconds()
    return seen


async def test_a_decrease_of_the_schedule_reaches_each_charger_at_its_own_time() -> None:
    scene = await at_the_second_slot(DELAY, 50.0, 0.0, 0.0)
    seen = await changes_of(scene, 620.0)
    assert len(seen) == 5
    assert len(set(seen.values())) >= 4, "not all at one instant"
    assert max(seen.values()) > 60.0
    plain = await at_the_second_slot(DelayRules(), 50.0, 0.0, 0.0)
    assert max((await changes_of(plain, 620.0)).values()) <= STEP_S * 2


async def test_an_increase_of_the_schedule_is_delayed_as_well() -> None:
    scene = await at_the_second_slot(DELAY, 0.0, 55.0, 55.0)
    seen = await changes_of(scene, 620.0)
    assert len(seen) == 5
    assert len(set(seen.values())) >= 4
    assert all(0.0 <= at <= 620.0 for at in seen.values())


async def test_a_restart_keeps_the_offset_of_every_charger() -> None:
    whole = await changes_of(await at_the_second_slot(DELAY, 50.0, 0.0, 0.0), 620.0)
    scene = await at_the_second_slot(DELAY, 50.0, 0.0, 0.0)
    first = await changes_of(scene, 200.0)
    await scene.restart()
    rest = await changes_of(scene, 430.0)
    assert set(first) | set(rest) == set(whole)
    late = {charger: at for charger, at in whole.items() if at > 300.0}
    assert late
    for charger, at in late.items():
        assert abs(rest[charger] - at) <= 2 * STEP_S


async def test_the_seed_is_drawn_once_and_kept() -> None:
    scene = scene_with()
    await scene.start()
    [seed] = scene.store.all(DelaySeed, TENANT)
    await scene.restart()
    assert scene.store.all(DelaySeed, TENANT) == [seed]
    assert scene.services.dispatcher._controls[TENANT]._delays._seed == seed.seed
    unused = scene_with(DelayRules())
    await unused.start()
    assert not unused.store.all(DelaySeed, TENANT)


async def test_the_owners_boost_is_not_delayed() -> None:
    scene = await at_the_second_slot(DELAY, 0.0, 55.0, 55.0)
    await scene.pass_time(STEP_S * 2)
    boosted = [session(f"ch-1-{k}", boost=True) for k in range(2)]
    await scene.services.tracker.report_sessions(PLATFORM, boosted, is_history=False, request_id="boost")
    seen = await changes_of(scene, 620.0)
    plain = await changes_of(await at_the_second_slot(DELAY, 0.0, 55.0, 55.0), 620.0)
    assert max(plain["ch-1-0"], plain["ch-1-1"]) > 100.0
    assert max(seen["ch-1-0"], seen["ch-1-1"]) <= STEP_S * 4
    assert {name: at for name, at in seen.items() if name > "ch-1-1"} == {
        name: at for name, at in plain.items() if name > "ch-1-1"
    }


@pytest.mark.parametrize("by", [CSMS, "charger"], ids=["platform", "charger"])
async def test_whoever_delays_by_itself_is_not_delayed_twice(by: str) -> None:
    names = frozenset({CSMS}) if by == CSMS else frozenset(f"ch-1-{k}" for k in range(5))
    scene = await at_the_second_slot(replace(DELAY, applied_by=names), 50.0, 0.0, 0.0)
    assert max((await changes_of(scene, 620.0)).values()) <= STEP_S * 2


async def test_a_limit_in_force_is_kept_at_once_whoever_waits() -> None:
    scene = await at_the_second_slot(DELAY, 50.0, 40.0, 40.0)
    await scene.pass_time(STEP_S * 2)
    end = scene.clock.now() + timedelta(hours=1)
    await scene.services.signals.set_manual_limit(
        OPERATOR, node_id="site-1", max_kw=10.0, start=None, end=end, reason="fuse", request_id="m"
    )
    await scene.turn()
    assert scene.platform is not None
    assert scene.platform.total("ch-1") <= 10.0


async def test_the_end_of_an_event_is_followed_at_random_but_not_that_of_a_response_service() -> None:
    for rules, is_delayed in ((DELAY, True), (replace(DELAY, response_authorities=frozenset({"vtn:demo"})), False)):
        scene = scene_with(rules)
        await scene.start()
        begin = scene.clock.now() + timedelta(seconds=20)
        called = event("e1", start=begin, minutes=1.0, max_kw=10.0, nodes=("site-1",), authority="vtn:demo")
        await scene.services.signals.receive(GRID, message(called))
        await scene.pass_time(70)
        held: list[int] = []
        for _ in range(50):
            await scene.pass_time(STEP_S, step=STEP_S)
            view = scene.services.tracker.view(TENANT)
            control = scene.services.dispatcher._controls[TENANT]
            limits = scene.services.signals.limits_by_node(TENANT)
            waiting = control._delays.held(view, (), limits, scene.clock.now())
            held.append(int(waiting.sum()))
        assert (max(held) == 5) == is_delayed
        assert not is_delayed or 0 < held[30] < 5, "about half are released after half the time"


async def test_chargers_elsewhere_are_not_delayed() -> None:
    scene = scene_with(replace(DELAY, nodes=("site-2",)))
    await scene.store.seed(TENANT, schedule(50.0, 0.0, 0.0))
    await scene.start()
    await scene.pass_time((BORDER - scene.clock.now()).total_seconds() - STEP_S)
    assert max((await changes_of(scene, 620.0)).values()) <= STEP_S * 2


async def test_a_newer_schedule_counts_from_when_it_was_made() -> None:
    scene = await at_the_second_slot(DELAY, 50.0, 50.0, 50.0)
    await scene.pass_time(60)
    control = scene.services.dispatcher._controls[TENANT]
    newer = schedule(0.0, 0.0, 0.0, id="site-1:newer", made_at=scene.clock.now())
    view = scene.services.tracker.view(TENANT)
    scene.clock.move(seconds=1)
    held = control._delays.held(view, (schedule(50.0, 50.0, 50.0), newer), {}, scene.clock.now())
    names = np.array(view.tree.charger_ids, dtype=object)[held]
    assert {name[:4] for name in names.tolist()} == {"ch-1"}


async def with_event(rules: DelayRules, notice_s: float) -> tuple[Scene, datetime]:
    """Five cars at site 1 and an event that leaves them nothing, so long ahead."""
    scene = scene_with(rules)
    await scene.store.seed(TENANT, SEED)
    await scene.start()
    begin = scene.clock.now() + timedelta(seconds=notice_s)
    called = event("e1", start=begin, minutes=30.0, max_kw=0.0, nodes=("site-1",))
    await scene.services.signals.receive(GRID, message(called))
    return scene, begin


async def falls(scene: Scene, begin: datetime, seconds: float) -> dict[str, float]:
    """Let time pass and return when each charger of site 1 was stopped, in seconds after the begin of the event."""
    seen: dict[str, float] = {}
    for _ in range(round(seconds / STEP_S)):
        scene.clock.move(seconds=STEP_S)
        await scene.turn()
        for charger, kw in scene.limits().items():
            if charger.startswith("ch-1") and charger not in seen and kw < 0.1:
                seen[charger] = (scene.clock.now() - begin).total_seconds()
    return seen


async def test_demand_response_is_followed_at_random_before_it_begins_so_that_it_is_met_when_it_does() -> None:
    scene, begin = await with_event(DELAY, 620.0)
    seen = await falls(scene, begin, 640.0)
    assert len(seen) == 5
    assert len(set(seen.values())) >= 4, "not all at one instant"
    assert max(seen.values()) <= 0.0, "the limit is kept from its begin on"
    assert min(seen.values()) < -100.0
    scene, begin = await with_event(DelayRules(), 620.0)
    plain = await falls(scene, begin, 640.0)
    assert len(set(plain.values())) == 1, "without the rule all fall together"


async def test_demand_response_on_short_notice_is_kept_at_its_begin_all_the_same() -> None:
    scene, begin = await with_event(DELAY, 100.0)
    seen = await falls(scene, begin, 120.0)
    assert len(seen) == 5
    assert max(seen.values()) <= 0.0


async def test_a_response_service_is_followed_when_it_begins() -> None:
    scene, begin = await with_event(replace(DELAY, response_authorities=frozenset({VTN})), 620.0)
    seen = await falls(scene, begin, 640.0)
    assert set(seen.values()) == {0.0}
