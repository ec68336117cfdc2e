"""The exact set points of a schedule: everybody gets what was promised, and limits trim in proportion."""

import asyncio
import threading
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.allocation import Demand, TreeLevels, allocate_within
from gateway.domain.bids import Schedule
from gateway.domain.timegrid import TimeGrid
from gateway.domain.topology import SiteTree
from gateway.services.plan_dispatch import exact
from gateway.services.plan_dispatch.exact import CarsNow, ExactPlans, by_plan, planned_power_kw, profile_from
from gateway.services.plan_dispatch.wants import weight_of
from tests.fakes.clock import START
from tests.services.scene import OPERATOR, PLATFORM, POINTS, TENANT, FloatArray, Scene, session, tree

NOW = START.timestamp()
HOUR_S = 3600.0


def cars(needed: list[float], hours_left: list[float], most: list[float]) -> CarsNow:
    return CarsNow(needed_kwh=np.array(needed), leaves_at=NOW + HOUR_S * np.array(hours_left), most_kw=np.array(most))


def schedule(power_kw: tuple[float, ...], step_minutes: int = 60) -> Schedule:
    return Schedule(
        id="site-1:day",
        tenant=TENANT,
        node="site-1",
        connection_point="p",
        delivery_day="2025-10-15",
        start=START,
        step_minutes=step_minutes,
        power_kw=power_kw,
        cause="award:a",
        made_at=START - timedelta(hours=12),
    )


def one_node(count: int) -> TreeLevels:
    return TreeLevels.of(
        SiteTree(
            node_ids=("site",),
            parent=np.array([-1], dtype=np.int32),
            level=np.array([0], dtype=np.int32),
            rating_kw=np.array([1e9]),
            charger_ids=tuple(f"c{i}" for i in range(count)),
            charger_node=np.zeros(count, dtype=np.int32),
        )
    )


def split(cap_kw: float, target_kw: float, planned: np.ndarray, most: np.ndarray, laxity: np.ndarray) -> np.ndarray:
    least = np.zeros(len(most))
    weight, priority = by_plan(planned, least, weight_of(laxity), -laxity)
    demand = Demand(
        wanted_kw=most,
        min_kw=least,
        priority=priority,
        weight=weight,
        must_run=np.zeros(len(most), dtype=bool),
        reserved_kw=np.zeros(len(most)),
    )
    return allocate_within(one_node(len(most)), np.array([cap_kw]), np.array([target_kw]), demand)


def deliver(profile: np.ndarray, start: CarsNow) -> np.ndarray:
    """Follow a profile slot by slot with exact set points and return what each car still needs when all have left."""
    left = start.needed_kwh.copy()
    for slot in range(len(profile)):
        now = NOW + HOUR_S * slot
        here = np.where(start.leaves_at > now + 1.0, left, 0.0)
        state = CarsNow(needed_kwh=here, leaves_at=start.leaves_at, most_kw=start.most_kw)
        planned = planned_power_kw(profile[slot:], 60, state, now)
        power = split(1e9, float(profile[slot]), planned, np.minimum(start.most_kw, here), np.ones(len(left)))
        left = np.where(here > 0.0, np.maximum(left - power, 0.0), left)
    return left


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_schedule_that_a_plan_can_follow_meets_every_departure_when_split_slot_by_slot(seed: int) -> None:
    generator = np.random.default_rng(seed)
    count, slots = 6, 5
    most = generator.choice([3.7, 7.4, 11.0], count)
    hours = generator.integers(1, slots + 1, count)
    draws = np.where(np.arange(slots)[None, :] < hours[:, None], generator.random((count, slots)) * most[:, None], 0.0)
    start = cars(draws.sum(axis=1).tolist(), hours.astype(float).tolist(), most.tolist())
    assert deliver(draws.sum(axis=0), start).max() <= 1e-4


def test_b32_what_an_instant_rule_misses_the_exact_split_meets() -> None:
    # Two cars leave after two hours and need both at full rate in one of them; the third has time but needs all of it.
    start = cars([10.0, 10.0, 30.0], [2.0, 2.0, 3.0], [10.0, 10.0, 10.0])
    profile = np.array([20.0, 20.0, 10.0])
    assert deliver(profile, start).max() <= 1e-5
    assert planned_power_kw(profile, 60, start, NOW)[2] == pytest.approx(10.0)
    instant = split(1e9, 20.0, np.full(3, np.nan), start.most_kw, np.zeros(3))
    assert instant[2] < 10.0 - 1e-6


def test_a_limit_trims_the_planned_powers_in_proportion() -> None:
    planned, most = np.array([8.0, 4.0, 0.0]), np.array([11.0, 11.0, 11.0])
    laxity = np.ones(3)
    assert split(100.0, 12.0, planned, most, laxity) == pytest.approx([8.0, 4.0, 0.0], abs=0.01)
    assert split(6.0, 12.0, planned, most, laxity) == pytest.approx([4.0, 2.0, 0.0], abs=0.01)


def test_a_profile_begins_now_and_keeps_the_energy_of_the_schedule() -> None:
    sold = schedule((10.0, 30.0, -5.0, 20.0))
    assert profile_from(sold, NOW).tolist() == [10.0, 30.0, 0.0, 20.0]
    half = profile_from(sold, NOW + 1800.0)
    assert half.tolist() == [20.0, 15.0, 10.0, 20.0]
    assert profile_from(sold, NOW + 3 * HOUR_S).tolist() == [20.0]


def test_nobody_needs_anything_and_nobody_gets_anything() -> None:
    assert planned_power_kw(np.array([10.0]), 60, cars([0.0, 5.0], [1.0, 1.0], [11.0, 0.0]), NOW).tolist() == [0.0, 0.0]


async def test_a_plan_holds_for_its_slot_and_is_made_again_when_cars_come_and_go() -> None:
    scene = Scene()
    await scene.store.seed(TENANT, *tree())
    await scene.load()
    first = session("ch-1-0", energy_needed_kwh=11.0, expected_departure=START + timedelta(hours=8))
    await scene.services.tracker.report_sessions(PLATFORM, [first], is_history=False, request_id="one")
    view = scene.services.tracker.view(TENANT)
    node, i = view.tree.node_index("site-1"), view.tree.charger_ids.index("ch-1-0")
    j = view.tree.charger_ids.index("ch-1-1")
    sold, plans = schedule((5.0, 6.0, 11.0)), ExactPlans()
    needed, leaves = np.zeros(len(view.max_kw)), np.full(len(view.max_kw), NOW + 3 * HOUR_S)
    state = CarsNow(needed_kwh=needed, leaves_at=leaves, most_kw=view.max_kw)

    async def planned_at(seconds: float) -> FloatArray:
        at = START + timedelta(seconds=seconds)
        plans.power_kw(view, {node: sold}, state, at)
        assert await plans.answer()
        return plans.power_kw(view, {node: sold}, state, at)

    needed[i] = 11.0
    assert np.isnan(plans.power_kw(view, {node: sold}, state, START)).all(), "nobody waits for a plan"
    assert await plans.answer()
    planned = plans.power_kw(view, {node: sold}, state, START)
    assert planned[i] == pytest.approx(5.0)
    assert np.isnan(planned[view.tree.charger_ids.index("ch-2-0")])
    await scene.services.tracker.report_sessions(
        PLATFORM, [replace(first, id="other", charger="ch-1-1")], is_history=False, request_id="two"
    )
    view = scene.services.tracker.view(TENANT)
    needed[j] = 11.0
    leaves[j] = NOW + HOUR_S
    soon = plans.power_kw(view, {node: sold}, state, START + timedelta(seconds=30))
    assert soon.tolist() == pytest.approx(planned.tolist(), nan_ok=True)
    assert not await plans.answer()
    later = await planned_at(61)
    assert later[j] > 0.0
    next_slot = await planned_at(3600)
    assert next_slot[[i, j]].sum() == pytest.approx(6.0)


async def test_a_revised_schedule_is_planned_at_once_and_plans_of_past_days_are_forgotten() -> None:
    scene = Scene()
    await scene.start()
    view, plans = scene.services.tracker.view(TENANT), ExactPlans()
    node, now = view.tree.node_index("site-1"), scene.clock.now()
    needed, leaves = np.where(view.has_session, 30.0, 0.0), np.full(len(view.max_kw), now.timestamp() + 8 * HOUR_S)
    state = CarsNow(needed_kwh=needed, leaves_at=leaves, most_kw=np.where(view.has_session, 11.0, 0.0))
    sold = replace(schedule((10.0,) * 8), start=now)
    for one, total_kw in ((sold, 10.0), (replace(sold, power_kw=(50.0,) * 8, made_at=now), 50.0)):
        plans.power_kw(view, {node: one}, state, now)
        assert await plans.answer()
        assert np.nansum(plans.power_kw(view, {node: one}, state, now)) == pytest.approx(total_kw)
    plans.power_kw(view, {node: replace(one, id="site-1:next-day")}, state, now)
    await plans.answer()
    assert np.isnan(plans.power_kw(view, {node: one}, state, now)).all()
    assert plans.is_asked


async def test_today_is_read_however_many_sites_had_a_schedule_yesterday() -> None:
    scene = Scene()
    now = scene.clock.now()
    old = replace(schedule((5.0,) * 24), start=now - timedelta(hours=25))
    past = [replace(old, id=f"home-{i}:yesterday", node=f"home-{i}") for i in range(10_000)]
    today = replace(old, id="site-1:today", start=now - timedelta(hours=2))
    await scene.store.seed(TENANT, *tree(), *past, today)
    await scene.load()
    expected, _ = scene.services.dispatcher.expected_kw(
        TENANT, "site-1", TimeGrid(start=now, step=timedelta(minutes=15), count=4)
    )
    assert expected == pytest.approx(5.0)


async def test_schedules_that_are_written_together_are_read_a_few_times_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene, reads = Scene(), 0
    await scene.store.seed(TENANT, *tree())
    await scene.load()
    find = scene.store.find

    async def counted(kind: Any, *args: Any, **options: Any) -> Any:
        nonlocal reads
        reads += kind is Schedule
        return await find(kind, *args, **options)

    monkeypatch.setattr(scene.store, "find", counted)
    sold = [replace(schedule((10.0,) * 8), id=f"home-{i}:day", node=f"home-{i}") for i in range(300)]
    sold.append(schedule((10.0,) * 8))
    dispatcher = scene.services.dispatcher
    async with asyncio.timeout(15), asyncio.TaskGroup() as tasks:
        run = tasks.create_task(dispatcher.run())
        await asyncio.sleep(0.01)
        await scene.store.seed(TENANT, *sold)
        grid = TimeGrid(start=START, step=timedelta(minutes=15), count=1)
        while np.isnan(dispatcher.expected_kw(TENANT, "site-1", grid)[0]).all():
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        run.cancel()
    assert 1 <= reads <= 3


async def test_the_age_of_a_plan_moves_with_a_clock_that_is_set() -> None:
    scene = Scene()
    await scene.start()
    view, plans, now = scene.services.tracker.view(TENANT), ExactPlans(), scene.clock.now()
    node, count = view.tree.node_index("site-1"), len(view.max_kw)
    sold = replace(schedule((10.0,) * 8, step_minutes=7 * 24 * 60), start=now - timedelta(days=3))
    needed = np.where(view.has_session, 30.0, 0.0)
    state = CarsNow(needed_kwh=needed, leaves_at=np.full(count, now.timestamp() + HOUR_S), most_kw=view.max_kw)
    plans.power_kw(view, {node: sold}, state, now)
    await plans.answer()
    plans.shift(-86_400.0)
    for minutes, is_old in ((0.5, False), (2.0, True)):
        seen = replace(view, arrival=view.arrival + minutes)
        plans.power_kw(seen, {node: sold}, state, now + timedelta(days=-1, minutes=minutes))
        assert plans.is_asked == is_old, "cars came and went"


async def test_a_reduction_leaves_while_a_plan_is_worked_out(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene()
    platform = await scene.start()
    is_planning, may_end = threading.Event(), threading.Event()

    def hang(*args: Any) -> FloatArray:
        is_planning.set()
        may_end.wait(10.0)
        return planned_power_kw(*args)

    monkeypatch.setattr(exact, "planned_power_kw", hang)
    dispatcher = scene.services.dispatcher
    sold = replace(schedule((40.0,) * 8), start=scene.clock.now(), connection_point=POINTS[0])
    async with asyncio.timeout(15), asyncio.TaskGroup() as tasks:
        run = tasks.create_task(dispatcher.run())
        await asyncio.sleep(0.05)
        await scene.store.seed(TENANT, sold)
        while not is_planning.is_set():
            await asyncio.sleep(0.01)
        await platform.read()
        end = scene.clock.now() + timedelta(hours=3)
        await scene.services.signals.set_manual_limit(
            OPERATOR, node_id="vpp", max_kw=20.0, start=None, end=end, reason="x", request_id="m"
        )
        assert platform.link is not None
        while sum(scene.limits().values()) > 20.0:
            await asyncio.sleep(0.01)
        assert platform.link.has_pending
        assert not may_end.is_set(), "it left although the plan was not ready"
        may_end.set()
        run.cancel()
