"""What a limit would do before it is set: nothing is written, and setting it then does what was said."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from gateway.domain.bids import Schedule
from gateway.domain.errors import InvalidInput, NotFound, PermissionRefused
from gateway.domain.limits import Limit
from gateway.domain.simulation import SimulatedLimit
from tests.fakes.clock import START
from tests.services.scene import GRID, OPERATOR, PLATFORM, TENANT, Scene, message, session
from tests.services.scene import event as grid_event


async def tried(
    scene: Scene, node: str, max_kw: float, *, begins: float = 0.0, minutes: float = 60.0
) -> SimulatedLimit:
    now = scene.clock.now()
    limit = scene.services.signals.draft_manual_limit(
        OPERATOR,
        node_id=node,
        max_kw=max_kw,
        start=now + timedelta(minutes=begins),
        end=now + timedelta(minutes=begins + minutes),
        reason="works",
    )
    return await scene.services.dispatcher.simulate(OPERATOR, limit)


async def test_a_tried_limit_says_what_setting_it_then_does_and_writes_nothing() -> None:
    scene = Scene()
    platform = await scene.start()
    batches, audits = len(scene.store.applied), len(await scene.store.audit_entries())
    said = await tried(scene, "site-1", 20.0)
    assert (len(scene.store.applied), len(await scene.store.audit_entries())) == (batches, audits)
    assert not scene.store.all(Limit, TENANT)
    assert scene.services.signals.limits_by_node(TENANT) == {}
    assert said.binds
    assert said.after.kw == 20.0
    assert said.before.authority == "rating"
    assert said.power_kw == pytest.approx(55.0)
    assert said.reduction_now_kw == pytest.approx(55.0 - 19.0, abs=2.5)
    assert (said.lowered_count, len(said.pauses)) == (5, 1), "five cars of at least 4.14 kW do not fit in 19 kW"
    assert {one.charger_id.rsplit("-", 1)[0] for one in said.pauses} == {"ch-1"}
    now = scene.clock.now()
    await scene.services.signals.set_manual_limit(
        OPERATOR, node_id="site-1", max_kw=20.0, start=None, end=now + timedelta(hours=1), reason="x", request_id="r"
    )
    await scene.turn()
    paused = {name for name, kw in scene.limits().items() if kw == 0.0}
    assert paused == {one.charger_id for one in said.pauses}
    assert platform.total("ch-1") == pytest.approx(55.0 - said.reduction_now_kw, abs=0.1)


async def test_a_limit_that_would_not_bind_says_what_binds_instead() -> None:
    scene = Scene()
    await scene.start()
    await scene.services.signals.receive(
        GRID, message(grid_event(start=scene.clock.now(), max_kw=15.0, nodes=("site-1",)))
    )
    await scene.pass_time(30)
    said = await tried(scene, "site-1", 30.0, minutes=30)
    assert not said.binds
    assert (said.reduction_now_kw, said.lowered_count, said.pauses) == (0.0, 0, ())
    assert said.why().startswith("It would change nothing: 15.0 kW at site-1 by order of vtn:grid")


async def test_the_sentence_counts_cars_and_broken_promises() -> None:
    scene = Scene()
    await scene.start(cars=0)
    leaves = scene.clock.now() + timedelta(hours=2)
    cars = [
        session(f"ch-1-{k}", energy_needed_kwh=20.0, expected_departure=leaves if k < 2 else None) for k in range(4)
    ]
    await scene.services.tracker.report_sessions(PLATFORM, cars, is_history=False, request_id="two")
    assert scene.platform is not None
    scene.platform.plug(*(car.charger for car in cars))
    await scene.pass_time(300)
    said = await tried(scene, "site-1", 10.0, minutes=120)
    assert {one.session_id for one in said.broken} <= {"s-ch-1-0-1", "s-ch-1-1-1"}, (
        "who was promised nothing loses nothing"
    )
    view = scene.services.tracker.view(TENANT)
    need_kwh = sum(20.0 - float(view.delivered_kwh[view.tree.charger_ids.index(f"ch-1-{k}")]) for k in range(2))
    hours = (leaves - scene.clock.now()) / timedelta(hours=1)
    assert sum(one.missing_kwh for one in said.broken) == pytest.approx(need_kwh - hours * 9.5, abs=0.1)
    assert all(one.departure == leaves for one in said.broken)
    assert "to drivers would break" in said.why()
    kind = await tried(scene, "site-1", 60.0, minutes=120)
    assert kind.broken == ()
    assert "no promises to drivers would break" in kind.why()


async def test_the_next_day_is_taken_from_the_schedule_where_there_is_one_and_else_from_what_was_measured() -> None:
    scene = Scene()
    await scene.start()
    start = START.replace(minute=0) + timedelta(hours=1)
    plan = Schedule(
        id="site-1:2025-10-15",
        tenant=TENANT,
        node="site-1",
        connection_point="541448820000000015",
        delivery_day="2025-10-15",
        start=start,
        step_minutes=15,
        power_kw=(40.0,) * 8,
        cause="plan:p",
        made_at=START,
    )
    await scene.store.seed(TENANT, plan)
    await scene.services.dispatcher.load()
    blind = await tried(scene, "site-1", 30.0, begins=55.0, minutes=90)
    known = [
        (x, y) for x, y in zip(blind.expected_kw, blind.reduction_kw, strict=True) if x is not None and y is not None
    ]
    assert [x for x, _ in known] == [40.0] * 8
    assert sum(y for _, y in known) == pytest.approx(10.0 * 6)
    assert blind.energy_kwh == pytest.approx(15.0)
    assert blind.expected_from == "schedule"
    scene.expected_kw = lambda tenant, node, grid: np.full(grid.count, 35.0)
    both = await tried(scene, "vpp", 30.0, minutes=60)
    assert both.expected_from == "schedule and measurements"
    assert both.energy_kwh == pytest.approx(5.0, abs=1.3)


async def test_a_tried_limit_is_checked_as_one_that_is_set() -> None:
    scene = Scene()
    await scene.start(cars=1)
    with pytest.raises(InvalidInput, match="rating"):
        await tried(scene, "site-1", 81.0)
    with pytest.raises(InvalidInput, match="days"):
        await tried(scene, "site-1", 8.0, minutes=60 * 24 * 8)
    with pytest.raises(NotFound):
        await tried(scene, "nowhere", 8.0)
    limit = scene.services.signals.draft_manual_limit(
        OPERATOR, node_id="vpp", max_kw=1.0, start=None, end=scene.clock.now() + timedelta(hours=1)
    )
    with pytest.raises(PermissionRefused):
        await scene.services.dispatcher.simulate(replace(PLATFORM, roles=frozenset()), limit)
